//! The driver of the global object: what happens between the platform's events and the state machine
//! ([`Global`]). It loads the state, hands it messages, makes durable what has to be, lets readers have
//! their turns, and answers: encoded messages in, encoded replies out. The Durable Object is a
//! [`Host`] and a table of routes; the simulation is another.
//!
//! # What happens when something fails
//! After an error of the storage, a sync's among them, the state is dropped, and the next message loads
//! what is stored. Pushes say by offsets what is durable, so a reply that promises too little costs a
//! repeat, and none promises too much.
//!
//! A sender that goes away drops the future of its request, at whatever await. What others wait for is
//! not in it: syncs of pushes are tasks of the object ([`pushes`]), and who waits for a page that somebody
//! else was making makes it ([`reading`]).

mod building;
mod pushes;
mod reading;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures_channel::oneshot;
use serde::Deserialize;

use super::figures::Figures;
use super::pages::{Answered, Pages};
use super::region_list::CountedRegions;
use super::turns::Turns;
use super::{ChartRules, FirstRegion, Global, GlobalLimits};
use crate::codec::{self, Record};
use crate::host::Host;
use crate::mutants::{self, Mutant};
use crate::settings::read_regions;
use crate::storage::{Storage, StorageError, Table};
use crate::wire::*;

/// What the installation's settings say to the global object.
#[derive(Clone, Debug, Default)]
pub struct GlobalSettings {
    /// `REGIONS`.
    pub regions: Option<String>,
    pub rules: ChartRules,
    pub limits: GlobalLimits,
}

/// See the module's introduction. A clone is another handle of the same.
pub struct Driver<H: Host>(Rc<Inner<H>>);

impl<H: Host> Clone for Driver<H> {
    fn clone(&self) -> Self {
        Driver(Rc::clone(&self.0))
    }
}

struct Inner<H: Host> {
    host: H,
    settings: GlobalSettings,
    loaded: RefCell<Option<(Global, H::Storage)>>,
    is_syncing: Cell<bool>,
    is_building: Cell<bool>,
    turns: RefCell<Turns>,
    /// The plays of a day of each region, as they were counted last.
    regions: RefCell<CountedRegions>,
    counters: RefCell<GlobalMetrics>,
    figures: RefCell<Figures>,
    pages: RefCell<Pages<oneshot::Sender<Answered>>>,
}

impl<H: Host> Driver<H> {
    /// Loads nothing yet: the first message does.
    pub fn new(host: H, settings: GlobalSettings) -> Self {
        let counters = GlobalMetrics {
            started_ms: host.now_ms(),
            ..GlobalMetrics::default()
        };
        Driver(Rc::new(Inner {
            host,
            settings,
            loaded: RefCell::new(None),
            is_syncing: Cell::new(false),
            is_building: Cell::new(false),
            turns: RefCell::default(),
            regions: RefCell::default(),
            counters: RefCell::new(counters),
            figures: RefCell::default(),
            pages: RefCell::default(),
        }))
    }

    pub fn host(&self) -> &H {
        &self.0.host
    }

    /// The state, if one is loaded: for whoever checks it.
    pub fn look<T>(&self, look: impl FnOnce(&Global) -> T) -> Option<T> {
        self.0
            .loaded
            .borrow()
            .as_ref()
            .map(|(global, _)| look(global))
    }

    /// How often a state that was loaded was dropped, with what it had in memory alone.
    pub fn states_dropped(&self) -> u64 {
        let is_loaded = u64::from(self.0.loaded.borrow().is_some());
        self.0.counters.borrow().loads - is_loaded
    }

    /// `/table` → [`TableReply`]
    pub fn table(&self) -> Vec<u8> {
        let table = self.0.with_global(|global, _| Ok(global.table().clone()));
        codec::encode(&TableReply(table))
    }

    /// `/put-posts`: [`PutPosts`] → [`PutPostsReply`]
    pub fn put_posts(&self, message: &[u8]) -> Vec<u8> {
        let put = self
            .0
            .ask(message, |global, storage, request: PutPosts, now_ms| {
                global.end_idle_export(storage, now_ms)?;
                global.put_posts(storage, &request.patches)
            });
        self.build_postings();
        codec::encode(&PutPostsReply(put))
    }

    /// `/list-posts`: [`ListPosts`] → [`ListPostsReply`]
    pub fn list_posts(&self, message: &[u8]) -> Vec<u8> {
        codec::encode(&ListPostsReply(self.0.ask(
            message,
            |global, storage, request: ListPosts, _| {
                global.list_posts(storage, request.after.as_deref())
            },
        )))
    }

    /// `/put-region`: [`PutRegion`] → [`PutRegionReply`]
    pub fn put_region(&self, message: &[u8]) -> Vec<u8> {
        let put = self.0.ask(message, |global, storage, request, _| {
            global.put_region(storage, &request)
        });
        codec::encode(&PutRegionReply(put))
    }

    /// `/telling`: [`Telling`] → [`TellingReply`].
    pub fn telling(&self, message: &[u8]) -> Vec<u8> {
        codec::encode(&TellingReply(
            self.0.ask(message, |global, storage, request: Telling, _| {
                global.telling(storage, request)
            }),
        ))
    }

    /// `/delete-region`: [`DeleteRegion`] → [`DeleteRegionReply`], when it is durable.
    pub async fn delete_region(&self, message: &[u8]) -> Vec<u8> {
        let deleted = self.0.change(message, |global, storage, request, now_ms| {
            global.delete_region(storage, &request, now_ms)
        });
        codec::encode(&DeleteRegionReply(deleted.await))
    }

    /// `/reset`: [`Reset`] → [`ResetReply`], when it is durable that counting begins anew.
    pub async fn reset(&self, message: &[u8]) -> Vec<u8> {
        let inner = &self.0;
        let done = inner.change(message, |global, storage, request, now_ms| {
            global.reset(storage, &request, inner.host.random(), now_ms)
        });
        let done = done.await.inspect(|done| {
            if !done.repeated {
                *inner.regions.borrow_mut() = CountedRegions::default();
                inner.host.report(format_args!("counting begins anew"));
            }
        });
        codec::encode(&ResetReply(done))
    }

    /// `/begin-export`: [`BeginExport`] → [`BeginExportReply`]
    pub fn begin_export(&self, message: &[u8]) -> Vec<u8> {
        let begun = self.0.ask(message, |global, storage, BeginExport, now_ms| {
            global.begin_export(storage, now_ms)
        });
        codec::encode(&BeginExportReply(begun))
    }

    /// `/export`: [`ExportRequest`] → [`ExportReply`]
    pub fn export(&self, message: &[u8]) -> Vec<u8> {
        let page = self.0.ask(message, |global, storage, request, now_ms| {
            global.export(storage, &request, now_ms)
        });
        codec::encode(&ExportReply(page))
    }

    /// `/import`: [`ImportRequest`] → [`ImportReply`], when the rows are durable.
    pub async fn import(&self, message: &[u8]) -> Vec<u8> {
        let imported = match self.0.host.memory_is_short(4 * message.len()) {
            true => Err(Refusal::Busy { retry_after_s: 1 }),
            false => {
                let imported = self.0.change(message, |global, storage, request, now_ms| {
                    global.import(storage, &request, now_ms)
                });
                imported.await
            }
        };
        codec::encode(&ImportReply(imported))
    }

    /// `/metrics` → [`GlobalMetrics`]
    pub fn metrics(&self) -> Vec<u8> {
        let (inner, now_ms) = (&self.0, self.0.host.now_ms());
        let counters = GlobalMetrics {
            instance: inner.host.instance(),
            shards_told: inner.figures.borrow().count() as u64,
            shards: inner.figures.borrow().shown(now_ms),
            reading_ms: (inner.turns.borrow().settled_us() / 1e3) as u64,
            ..inner.counters.borrow().clone()
        };
        let told = inner.with_global(|global, storage| {
            Ok(GlobalMetrics {
                rows_written: storage.rows_written(),
                stored_bytes: storage.size().unwrap_or_default(),
                ..global.tell(counters.clone(), now_ms)
            })
        });
        codec::encode(&told.unwrap_or(counters))
    }
}

impl<H: Host> Inner<H> {
    /// Runs something on the state, loading it first where it is not in memory. After a storage
    /// error the state is dropped, so that the next one starts from what is stored.
    fn with_global<T>(
        &self,
        run: impl FnOnce(&mut Global, &H::Storage) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut loaded = self.loaded.borrow_mut();
        if loaded.is_none() {
            let fresh = self.load().map_err(|error| {
                self.host.report(format_args!("{error}"));
                Refusal::Storage(error.0)
            })?;
            *loaded = Some(fresh);
            self.counters.borrow_mut().loads += 1;
        }
        let Some((global, storage)) = loaded.as_mut() else {
            return Err(Refusal::Storage("the state is not loaded".into()));
        };
        let damaged_before = global.health().damaged_rows;
        let outcome = run(global, storage);
        let damaged_rows = global.health().damaged_rows;
        if damaged_rows > damaged_before {
            self.host.report(format_args!(
                "{damaged_rows} stored rows cannot be read; they are kept"
            ));
        }
        if let Err(Refusal::Storage(error)) = &outcome
            && !mutants::active(Mutant::FailedStateKept)
        {
            self.host
                .report(format_args!("{error}: state dropped, to be loaded again"));
            *loaded = None;
        }
        outcome
    }

    fn load(&self) -> Result<(Global, H::Storage), StorageError> {
        let (host, settings) = (&self.host, &self.settings);
        let storage = host.open()?;
        let regions = read_regions(settings.regions.as_deref()).or_else(|error| {
            // Those that are there stay; without any, no play could be taken.
            host.report(format_args!("{error}"));
            match storage.keys(Table::Regions, &[])?.is_empty() {
                true => read_regions(None).map_err(StorageError),
                false => Ok(Vec::new()),
            }
        });
        let first: Vec<FirstRegion> = regions?
            .into_iter()
            .map(|region| FirstRegion {
                region_name: region.name.unwrap_or_else(|| region.id.clone()),
                region_id: region.id,
                hint: region.hint,
            })
            .collect();
        let global = Global::load_within(&storage, &first, host.random(), settings.limits)?;
        let health = global.health();
        if health.damaged_rows > 0 || health.damaged_regions > 0 {
            host.report(format_args!(
                "stored rows cannot be read; they are kept: {health:?}"
            ));
        }
        for difference in global.region_differences() {
            host.report(format_args!("{difference}"));
        }
        Ok((global, storage))
    }

    /// Decodes a question and answers it.
    fn ask<Q: Record + for<'de> Deserialize<'de>, A>(
        &self,
        message: &[u8],
        run: impl FnOnce(&mut Global, &H::Storage, Q, u64) -> Result<A, Refusal>,
    ) -> Result<A, Refusal> {
        let question = decode::<Q>(message)?;
        let now_ms = self.host.now_ms();
        self.with_global(|global, storage| run(global, storage, question, now_ms))
    }

    /// Asks for a change, and answers when it is durable.
    async fn change<Q: Record + for<'de> Deserialize<'de>, A>(
        &self,
        message: &[u8],
        run: impl FnOnce(&mut Global, &H::Storage, Q, u64) -> Result<A, Refusal>,
    ) -> Result<A, Refusal> {
        let changed = self.ask(message, run)?;
        self.sync()
            .await
            .map_err(|error| Refusal::Storage(error.0))?;
        Ok(changed)
    }

    /// Waits until all that was written is durable. The state goes where nobody knows.
    async fn sync(&self) -> Result<(), StorageError> {
        let synced = self.host.sync().await;
        if mutants::active(Mutant::FailedSyncIgnored) {
            return Ok(());
        }
        synced.inspect_err(|error| {
            self.host.report(format_args!("sync: {error}"));
            *self.loaded.borrow_mut() = None;
        })
    }
}

fn decode<'a, Q: Record + Deserialize<'a>>(message: &'a [u8]) -> Result<Q, Refusal> {
    codec::decode(message).map_err(|error| Refusal::Invalid(error.to_string()))
}
