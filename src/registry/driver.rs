//! The driver of the registry: what happens between the platform's events and the state machine
//! ([`Registry`]). Encoded messages in, encoded replies out. The Durable Object is a [`Host`] and a table of
//! routes; the simulation is another.
//!
//! # What happens when something fails
//! After an error of the storage, a sync's among them, the state is dropped, and the next message loads
//! what is stored. Whatever is answered is durable: questions wait for the changes before them. An instance that
//! another has taken over from answers nothing: what it says would undo changes where they were heard of.

use std::rc::Rc;

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::Registry;
use crate::board::ObjectName;
use crate::codec::{self, Record};
use crate::host::{ASKED_AT_ONCE, Host, QUESTION_TIMEOUT_MS};
use crate::loaded::Loaded;
use crate::settings::read_regions;
use crate::storage::{Storage, StorageError, Table};
use crate::wire::*;

/// Objects that one request has emptied: the platform lets it ask 50 others on its free plan.
const WIPED_A_REQUEST: usize = 40;
/// What is not wiped is tried again so much later.
const WIPE_AGAIN_MS: u64 = 30_000;
/// What one request or one alarm has left to do, and could do, goes on so soon.
const WIPE_ON_MS: u64 = 1_000;

/// See the module's introduction. A clone is another handle of the same.
pub struct Driver<H: Host>(Rc<Inner<H>>);

impl<H: Host> Clone for Driver<H> {
    fn clone(&self) -> Self {
        Driver(Rc::clone(&self.0))
    }
}

struct Inner<H: Host> {
    host: H,
    /// `REGIONS`.
    regions: Option<String>,
    loaded: Loaded<Registry, H::Storage>,
    started_ms: u64,
}

impl<H: Host> Driver<H> {
    /// Loads nothing yet: the first message does. `regions` is the setting `REGIONS`.
    pub fn new(host: H, regions: Option<String>) -> Self {
        Driver(Rc::new(Inner {
            started_ms: host.now_ms(),
            host,
            regions,
            loaded: Loaded::new("registry", Registry::damaged_rows),
        }))
    }

    pub fn host(&self) -> &H {
        &self.0.host
    }

    /// The state, if one is loaded: for whoever checks it.
    pub fn look<T>(&self, look: impl FnOnce(&Registry) -> T) -> Option<T> {
        self.0.loaded.look(look)
    }

    /// What a board is told that shows charts over sockets: this object may be a board's own catalog, which
    /// does not know who may see them.
    pub fn looks(&self) -> impl Fn(&ObjectName) -> Look + use<H> {
        let inner = Rc::clone(&self.0);
        move |object| {
            let is_registry = *inner.host.object() == ObjectName::Registry;
            let board = object.board().unwrap_or_default();
            let is_public = || inner.with_registry(|registry, _| Ok(registry.is_public(board)));
            Look {
                board_is_public: !is_registry || is_public().unwrap_or(true),
            }
        }
    }

    /// `/directory`: [`DirectoryQuestion`] → [`DirectoryReply`]
    pub async fn directory(&self, message: &[u8]) -> Vec<u8> {
        self.answer(message, DirectoryReply, |registry, _, question| {
            let DirectoryQuestion { version } = question;
            Ok(registry.directory_news(version))
        })
        .await
    }

    /// `/enlist`: [`Enlist`] → [`EnlistReply`]
    pub async fn enlist(&self, message: &[u8]) -> Vec<u8> {
        self.answer(
            message,
            EnlistReply,
            |registry, storage, request: Enlist| registry.enlist(storage, &request.object),
        )
        .await
    }

    /// `/put-region`: [`PutRegion`] → [`PutRegionReply`]
    pub async fn put_region(&self, message: &[u8]) -> Vec<u8> {
        let version = self.0.version();
        self.answer(message, PutRegionReply, |registry, storage, request| {
            registry.put_region(storage, &request, version)
        })
        .await
    }

    /// `/delete-region`: [`DeleteRegion`] → [`DeleteRegionReply`]
    pub async fn delete_region(&self, message: &[u8]) -> Vec<u8> {
        let (version, now_ms) = (self.0.version(), self.0.host.now_ms());
        self.answer(message, DeleteRegionReply, |registry, storage, request| {
            registry.delete_region(storage, &request, version, now_ms)
        })
        .await
    }

    /// `/reset`: [`Reset`] → [`ResetReply`], when it is durable, and as much of what boards had is wiped as can
    /// be in one go.
    pub async fn reset(&self, message: &[u8]) -> Vec<u8> {
        codec::encode(&ResetReply(self.begin_anew(message).await))
    }

    async fn begin_anew(&self, message: &[u8]) -> Result<ResetDone, Refusal> {
        let (inner, version) = (&self.0, self.0.version());
        let request =
            codec::decode(message).map_err(|error| Refusal::Invalid(error.to_string()))?;
        // First of all: what it leaves of boards is to be wiped.
        let has_others = inner.with_registry(|registry, _| Ok(registry.has_other_boards()));
        if has_others != Ok(false) {
            inner.wake_in(WIPE_AGAIN_MS).await?;
        }
        let done = inner.with_registry(|registry, storage| {
            let (random, now_ms) = (inner.host.random(), inner.host.now_ms());
            registry.reset(storage, &request, random, version, now_ms)
        });
        let done = inner.settled(done).await?;
        if !done.repeated {
            inner.host.note(format_args!("counting begins anew"));
        }
        inner.wipe_some().await;
        let boards_left = inner.with_registry(|registry, _| Ok(registry.to_wipe().len() as u64))?;
        Ok(ResetDone {
            boards_left,
            ..done
        })
    }

    /// `/adopt-seed`: [`AdoptSeed`] → [`AdoptSeedReply`]
    pub async fn adopt_seed(&self, message: &[u8]) -> Vec<u8> {
        let version = self.0.version();
        self.answer(message, AdoptSeedReply, |registry, storage, request| {
            let AdoptSeed { seed } = request;
            registry.adopt_seed(storage, seed, version)
        })
        .await
    }

    /// `/put-board`: [`PutBoard`] → [`PutBoardReply`]
    pub async fn put_board(&self, message: &[u8]) -> Vec<u8> {
        let (random, now_ms) = ((self.0.version(), self.0.version()), self.0.host.now_ms());
        self.answer(message, PutBoardReply, |registry, storage, request| {
            registry.put_board(storage, &request, random, now_ms)
        })
        .await
    }

    /// `/delete-board`: [`DeleteBoard`] → [`DeleteBoardReply`], when it is durable that the board is
    /// deleted, and as much of it is wiped as can be in one go.
    pub async fn delete_board(&self, message: &[u8]) -> Vec<u8> {
        codec::encode(&DeleteBoardReply(self.delete(message).await))
    }

    async fn delete(&self, message: &[u8]) -> Result<Deletion, Refusal> {
        let inner = &self.0;
        let DeleteBoard { board_id } = codec::decode(message)?;
        // First of all: whatever happens below, it will go on.
        inner.wake_in(WIPE_AGAIN_MS).await?;
        let (version, now_ms) = (inner.version(), inner.host.now_ms());
        let key = inner.with_registry(|registry, storage| {
            registry.delete_board(storage, &board_id, version, now_ms)
        });
        let key = inner.settled(key).await?;
        inner.wipe(&key, &mut Wiping::default()).await
    }

    /// The alarm came: goes on wiping what is deleted.
    ///
    /// # Errors
    /// Where no next alarm is set and there may be more to wipe, also after a crash: then this one has to come again.
    pub async fn alarm(&self) -> Result<(), Refusal> {
        let inner = &self.0;
        let to_wipe = inner.with_registry(|registry, _| Ok(registry.to_wipe()));
        if to_wipe.as_ref().is_ok_and(Vec::is_empty) {
            // What is not durable yet of the last deletion, a crash takes back, and nothing else wakes this object.
            return inner.settle().await;
        }
        // Also where nobody can read what is to be wiped.
        inner.wake_in(WIPE_AGAIN_MS).await?;
        let has_more = inner.wipe_some().await;
        match has_more {
            true => inner.wake_in(WIPE_ON_MS).await,
            false => Ok(()),
        }
    }

    /// `/metrics` → [`RegistryMetrics`]
    pub async fn metrics(&self) -> Vec<u8> {
        let inner = &self.0;
        let metrics = RegistryMetrics {
            started_ms: inner.started_ms,
            instance: inner.host.instance(),
            ..RegistryMetrics::default()
        };
        let told = inner.with_registry(|registry, storage| {
            let metrics = RegistryMetrics {
                rows_written: storage.rows_written(),
                stored_bytes: storage.size().unwrap_or_default(),
                ..metrics
            };
            Ok(registry.tell(metrics, inner.host.now_ms()))
        });
        codec::encode(&told.unwrap_or(metrics))
    }

    /// `/telling`: [`Telling`] → [`TellingReply`]
    pub async fn telling(&self, message: &[u8]) -> Vec<u8> {
        self.answer(message, TellingReply, |registry, storage, request| {
            registry.telling(storage, request)
        })
        .await
    }

    /// Decodes a question, answers it, and waits until whatever the answer says is durable.
    async fn answer<Q: Record + for<'de> Deserialize<'de>, A, R: Record + Serialize>(
        &self,
        message: &[u8],
        reply: impl FnOnce(Result<A, Refusal>) -> R,
        run: impl FnOnce(&mut Registry, &H::Storage, Q) -> Result<A, Refusal>,
    ) -> Vec<u8> {
        let question = codec::decode::<Q>(message);
        let question = question.map_err(Refusal::from);
        let answer = question.and_then(|question| {
            self.0
                .with_registry(|registry, storage| run(registry, storage, question))
        });
        codec::encode(&reply(self.0.settled(answer).await))
    }
}

/// What one request does.
struct Wiping {
    /// How many more objects it may have emptied.
    left: usize,
    /// One did not say that it is empty.
    has_failed: bool,
}

impl Default for Wiping {
    fn default() -> Self {
        Wiping {
            left: WIPED_A_REQUEST,
            has_failed: false,
        }
    }
}

impl<H: Host> Inner<H> {
    /// A name for what is so after a change.
    fn version(&self) -> u64 {
        u64::from_le_bytes(self.host.random())
    }

    fn with_registry<T>(
        &self,
        run: impl FnOnce(&mut Registry, &H::Storage) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let load = || self.load().map_err(Refusal::from);
        self.loaded.with(&self.host, load, run)
    }

    fn load(&self) -> Result<(Registry, H::Storage), StorageError> {
        let host = &self.host;
        let storage = host.open()?;
        let regions = read_regions(self.regions.as_deref()).or_else(|error| {
            // Those that are there stay; without any, no play could be taken.
            host.report(format_args!("{error}"));
            match storage.keys(Table::Regions, &[])?.is_empty() {
                true => read_regions(None).map_err(StorageError),
                false => Ok(Vec::new()),
            }
        });
        let registry = Registry::load(&storage, &regions?, host.random())?;
        for difference in registry.region_differences() {
            host.report(format_args!("{difference}"));
        }
        Ok((registry, storage))
    }

    async fn wake_in(&self, ms: u64) -> Result<(), Refusal> {
        Ok(self.host.set_alarm(ms).await?)
    }

    /// Goes on with all deletions, as far as one request can. `true` where it has wiped as much as it may, and
    /// there is more.
    async fn wipe_some(&self) -> bool {
        let to_wipe = self.with_registry(|registry, _| Ok(registry.to_wipe()));
        let mut wiping = Wiping::default();
        // What was loaded may not be durable: a crash would bring back a board whose shards have forgotten their plays.
        if let Err(error) = self.settle().await {
            self.host.report(format_args!("wiping: {error:?}"));
            return false;
        }
        for key in to_wipe.unwrap_or_default() {
            if wiping.left == 0 {
                break;
            }
            if let Err(error) = self.wipe(&key, &mut wiping).await {
                wiping.has_failed = true;
                self.host.report(format_args!("wiping {key}: {error:?}"));
            }
        }
        wiping.left == 0 && !wiping.has_failed
    }

    /// Has objects of a deleted board delete what they have. Returns how far that is.
    async fn wipe(&self, key: &str, wiping: &mut Wiping) -> Result<Deletion, Refusal> {
        loop {
            let most = wiping.left;
            let (objects, deletion) = self
                .with_registry(|registry, storage| registry.objects_to_wipe(storage, key, most))?;
            if objects.is_empty() && deletion.objects_left > 0 {
                return Ok(deletion);
            }
            wiping.left -= objects.len();
            let wipes = objects
                .iter()
                .map(async |object| self.wipe_object(object).await);
            let told: Vec<Option<ObjectName>> =
                stream::iter(wipes).buffered(ASKED_AT_ONCE).collect().await;
            let wiped: Vec<ObjectName> = told.into_iter().flatten().collect();
            wiping.has_failed |= wiped.len() < objects.len();
            let objects_left = self.with_registry(|registry, storage| {
                registry.wiped(storage, key, &wiped)?;
                Ok(registry.objects_to_wipe(storage, key, 0)?.1.objects_left)
            })?;
            self.settle().await?;
            if objects_left == 0 || wiped.len() < objects.len() {
                return Ok(Deletion {
                    objects_left,
                    ..deletion
                });
            }
        }
    }

    /// An object, when it is empty.
    async fn wipe_object(&self, object: &ObjectName) -> Option<ObjectName> {
        let wipe = Wipe {
            object: object.clone(),
        };
        let told = self.host.ask_question(object, &wipe, QUESTION_TIMEOUT_MS);
        let name = object.as_named();
        match told.await {
            Ok(Ok(())) => return Some(object.clone()),
            Ok(Err(refusal)) => (self.host).report(format_args!("wiping {name}: {refusal:?}")),
            Err(error) => self.host.report(format_args!("wiping {name}: {error}")),
        }
        None
    }

    /// An answer, when all that it may tell of is durable: also one that there is no such board, as its
    /// deletion may be under way.
    async fn settled<T>(&self, answer: Result<T, Refusal>) -> Result<T, Refusal> {
        match answer {
            Err(Refusal::Storage(error)) => Err(Refusal::Storage(error)),
            answer => self.settle().await.and(answer),
        }
    }

    /// Waits until all that was written or loaded is durable. Also where nothing was written: it fails where another
    /// instance has taken over, and so nobody takes what is in this memory for the news.
    async fn settle(&self) -> Result<(), Refusal> {
        Ok(self.loaded.sync(&self.host).await?)
    }
}
