//! The driver of a catalog: it takes messages to the [`Keeper`]. It runs in the object that keeps the catalog,
//! beside the registry's driver where that is the registry.
//!
//! A catalog of a board's own asks the registry before it stores anything, and is deleted with its board.
//!
//! After an error of the storage the state is dropped, and the next message loads what is stored. A put is
//! acknowledged when it is durable. Boards may be told of a change before it is durable; if it is lost with
//! the keeper's machine, the log's mark tells them.

use std::cell::Cell;
use std::rc::Rc;

use serde::Deserialize;

use super::{CatalogLimits, Keeper, MAX_PUT_POSTS};
use crate::board::{Life, ObjectName};
use crate::codec::{self, Record};
use crate::host::{Host, QUESTION_TIMEOUT_MS};
use crate::loaded::Loaded;
use crate::storage::{Storage, StorageError};
use crate::summary::Seed;
use crate::watchers::Watchers;
use crate::wire::{
    CatalogAnswer, CatalogQuestion, Enlist, ListPosts, ListPostsReply, Look, Noted, PutPost,
    PutPosts, PutPostsReply, Refusal, Watch, WatchReply, Wipe,
};

/// See the module's introduction. A clone is another handle of the same.
pub struct Driver<H: Host>(Rc<Inner<H>>);

impl<H: Host> Clone for Driver<H> {
    fn clone(&self) -> Self {
        Driver(Rc::clone(&self.0))
    }
}

struct Inner<H: Host> {
    host: H,
    limits: CatalogLimits,
    life: Cell<Life>,
    loaded: Loaded<Keeper, H::Storage>,
    is_building: Cell<bool>,
    /// Boards that show it over sockets.
    watchers: Watchers,
}

/// The pause between two steps of building the index of filters. A step reads 500 posts in some 20 ms, or 100
/// where each of them has tags of its own.
const PAUSE_MS: u64 = 20;
/// Steps that a question with a filter waits for: all, for a catalog of 5,000 posts.
const STEPS_AT_ONCE: u32 = 12;

/// Begins the index of filters, and completes it where the catalog is small.
fn index(keeper: &mut Keeper, storage: &impl Storage, seed: Seed) -> Result<(), StorageError> {
    keeper.index_under(storage, seed)?;
    for _ in 0..STEPS_AT_ONCE {
        if keeper.build_step(storage)? {
            break;
        }
    }
    Ok(())
}

impl<H: Host> Driver<H> {
    /// Loads nothing yet: the first message does.
    pub fn new(host: H, limits: CatalogLimits) -> Self {
        Driver(Rc::new(Inner {
            host,
            limits,
            life: Cell::default(),
            loaded: Loaded::new("catalog", Keeper::damaged_rows),
            is_building: Cell::new(false),
            watchers: Watchers::default(),
        }))
    }

    /// `/watch`: [`Watch`] → [`WatchReply`]. `look` is what the board is told now.
    pub async fn watch(&self, message: &[u8], look: impl Fn(&ObjectName) -> Look) -> Vec<u8> {
        let watched = self.0.watch(message).await;
        codec::encode(&WatchReply(watched.map(|object| look(&object))))
    }

    /// Something changed that boards show: those that show it over sockets are told, soon.
    pub fn tell_watchers(&self, look: impl Fn(&ObjectName) -> Look + 'static) {
        // A state that is not loaded knows of none yet.
        let loaded = self.0.with_keeper(|_, _| Ok(()));
        if loaded.is_err() || self.0.watchers.is_empty(self.0.host.now_ms()) {
            return;
        }
        let inner = Rc::clone(&self.0);
        self.0.host.spawn(async move {
            if inner.watchers.tell(&inner.host, look).await {
                let stored = inner.with_keeper(|_, storage| Ok(inner.watchers.store(storage)?));
                match stored {
                    // Of a catalog that was deleted meanwhile nothing is to be known.
                    Ok(()) | Err(Refusal::Gone) => {}
                    Err(refusal) => (inner.host).report(format_args!("who watches: {refusal:?}")),
                }
            }
        });
    }

    /// Builds the rest of the index in a task of the object. If the object ends before, the next question
    /// goes on from there.
    fn build_postings(&self) {
        let is_to_be_built = self.0.loaded.look(Keeper::is_to_be_built);
        if is_to_be_built != Some(true) || self.0.is_building.replace(true) {
            return;
        }
        let inner = Rc::clone(&self.0);
        (self.0.host).note(format_args!("builds what filters are answered from"));
        self.0.host.spawn(async move {
            let step = |keeper: &mut Keeper, storage: &H::Storage| Ok(keeper.build_step(storage)?);
            while let Ok(false) = inner.with_keeper(step) {
                inner.host.sleep(PAUSE_MS).await;
            }
            inner.is_building.set(false);
        });
    }

    /// `/catalog`: [`CatalogQuestion`] → [`CatalogAnswer`]
    pub async fn answer(&self, message: &[u8]) -> Vec<u8> {
        let answer = self.0.born_to::<CatalogQuestion>(message).await;
        let answer = answer.and_then(|question| {
            self.0.with_keeper(|keeper, storage| {
                if !question.matching.is_empty() {
                    index(keeper, storage, Seed::from_bytes(question.seed))?;
                }
                keeper.answer(storage, &question)
            })
        });
        self.build_postings();
        codec::encode(&CatalogAnswer(answer))
    }

    /// `/list-posts`: [`ListPosts`] → [`ListPostsReply`]
    pub async fn list_posts(&self, message: &[u8]) -> Vec<u8> {
        let request = self.0.born_to::<ListPosts>(message).await;
        let listed = request.and_then(|request| {
            self.0
                .with_keeper(|keeper, storage| Ok(keeper.list(storage, request.after.as_deref())?))
        });
        codec::encode(&ListPostsReply(listed))
    }

    /// `/put-posts`: [`PutPosts`] → [`PutPostsReply`], when all of it is durable. Others have their turns
    /// between two slices.
    pub async fn put_posts(&self, message: &[u8]) -> Vec<u8> {
        let put = match self.0.born_to::<PutPosts>(message).await {
            Ok(request) => self.0.put_posts(request).await,
            Err(refusal) => Err(refusal),
        };
        self.build_postings();
        codec::encode(&PutPostsReply(put))
    }

    /// `/wipe`: [`Wipe`] → [`Noted`], when nothing is stored any more.
    pub async fn wipe(&self, message: &[u8]) -> Vec<u8> {
        codec::encode(&Noted(self.0.wipe(message).await))
    }
}

impl<H: Host> Inner<H> {
    /// A request to an object that may store something.
    async fn born_to<Q: Record + for<'de> Deserialize<'de>>(
        &self,
        message: &[u8],
    ) -> Result<Q, Refusal> {
        let request = codec::decode::<Q>(message)?;
        self.be_enlisted().await?;
        Ok(request)
    }

    /// Has the registry enlist this object before its first write. Requests that come before the registry's
    /// answer each ask for themselves, since a catalog has few of them.
    async fn be_enlisted(&self) -> Result<(), Refusal> {
        if self.life.get() == Life::Unknown {
            let object = self.host.object();
            let is_stored = || self.host.is_empty().map(|is_empty| !is_empty);
            let life = if !object.is_to_enlist() || is_stored()? {
                Life::Enlisted
            } else {
                self.enlist(object.clone()).await
            };
            // It may have been told meanwhile that its board is deleted.
            if self.life.get() == Life::Unknown {
                self.life.set(life);
            }
        }
        match self.life.get() {
            Life::Enlisted => Ok(()),
            Life::Over => Err(Refusal::Gone),
            Life::Unknown => Err(Refusal::Busy { retry_after_s: 1 }),
        }
    }

    async fn enlist(&self, object: ObjectName) -> Life {
        let (registry, question) = (ObjectName::Registry, Enlist { object });
        let answer = (self.host).ask_question(&registry, &question, QUESTION_TIMEOUT_MS);
        Enlist::life(&answer.await)
    }

    /// The board is deleted: answers nothing more, and deletes all that is stored. Repeated, it does so
    /// again.
    async fn wipe(&self, message: &[u8]) -> Result<(), Refusal> {
        Wipe::read(message, self.host.object())?;
        self.life.set(Life::Over);
        self.loaded.forget();
        Ok(self.host.delete_all().await?)
    }

    async fn watch(&self, message: &[u8]) -> Result<ObjectName, Refusal> {
        let Watch { object } = self.born_to::<Watch>(message).await?;
        let is_board = matches!(object, ObjectName::Global { .. });
        if !is_board || (self.host.object().board()).is_some_and(|own| object.board() != Some(own))
        {
            return Err(Refusal::Invalid("not a board of this catalog".into()));
        }
        let now_ms = self.host.now_ms();
        self.with_keeper(|_, storage| self.watchers.add(storage, object.clone(), now_ms))?;
        self.loaded.sync(&self.host).await?;
        Ok(object)
    }

    async fn put_posts(&self, request: PutPosts) -> Result<Option<PutPost>, Refusal> {
        let PutPosts {
            mut patches,
            only_new,
        } = request;
        if patches.len() > MAX_PUT_POSTS {
            let detail = format!("at most {MAX_PUT_POSTS} posts a message");
            return Err(Refusal::Invalid(detail));
        }
        let (mut stored, mut last) = (0, None);
        while !patches.is_empty() {
            let rest = patches.split_off(patches.len().min(self.limits.slice_posts));
            let slice = PutPosts { patches, only_new };
            let mark = u64::from_be_bytes(self.host.random());
            let put = self.with_keeper(|keeper, storage| keeper.put(storage, &slice, mark));
            last = put.map_err(|refusal| match refusal {
                Refusal::Invalid(detail) if stored > 0 => Refusal::Invalid(format!(
                    "{detail}; the first {stored} posts of this request are stored"
                )),
                refusal => refusal,
            })?;
            stored += slice.patches.len();
            patches = rest;
            if !patches.is_empty() {
                self.host.sleep(0).await;
            }
        }
        self.loaded.sync(&self.host).await?;
        Ok(last)
    }

    fn with_keeper<T>(
        &self,
        run: impl FnOnce(&mut Keeper, &H::Storage) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if self.life.get() == Life::Over {
            return Err(Refusal::Gone);
        }
        let load = || self.load().map_err(Refusal::from);
        self.loaded.with(&self.host, load, run)
    }

    fn load(&self) -> Result<(Keeper, H::Storage), StorageError> {
        let storage = self.host.open()?;
        let mark = u64::from_be_bytes(self.host.random());
        let keeper = Keeper::load(&storage, self.limits, mark)?;
        self.watchers.load(&storage)?;
        Ok((keeper, storage))
    }
}
