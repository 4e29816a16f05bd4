//! Who watches an object, to be told when something changed: the shards that show a board's charts over
//! sockets, and the boards that show what the registry and a catalog know.
//!
//! # Cost
//! Nothing while nobody watches. Otherwise a message to each at a change, at most one in
//! [`TELL_INTERVAL_MS`]; and a row an hour for all of them, as who watches says so again every
//! [`WATCH_AGAIN_MS`]. Whoever answers that nobody looks there any more is forgotten, and who has not come again
//! within [`LEASE_MS`].
//!
//! # At its limits
//! [`MAX_WATCHERS`]. More are refused, and look by themselves ([`Refusal::Busy`]).
//!
//! What is kept is soft: a row that cannot be read is as none, and is written anew when the next one comes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::board::ObjectName;
use crate::codec::{self, record};
use crate::host::{ASKED_AT_ONCE, Host, QUESTION_TIMEOUT_MS};
use crate::storage::{Storage, StorageError, Table, Write};
use crate::wire::{Look, Refusal};

/// A watcher says this often that it still watches: 48 messages a day.
pub const WATCH_AGAIN_MS: u64 = 30 * 60_000;
/// A watcher is told of changes for so long after it said so: one of its messages may be lost.
pub const LEASE_MS: u64 = 5 * WATCH_AGAIN_MS / 2;
/// Watchers are told of a change after this time: a chart that was made just before the change is shown for so
/// long ([`crate::global::LIVE_MAX_AGE_MS`]).
pub const TELL_AFTER_MS: u64 = 1_000;
/// And they are told at most this often.
pub const TELL_INTERVAL_MS: u64 = 2_000;
/// The platform lets one request ask 50 others on its free plan. More regions than that, or more boards, are
/// seldom looked at over sockets at once.
pub const MAX_WATCHERS: usize = 40;

const WATCHERS_KEY: &[u8] = b"watchers";

/// Since when there are any, and until when each is to be told.
#[derive(Default, Serialize, Deserialize)]
struct WatchersRow(u64, Vec<(ObjectName, u64)>);

record!(WatchersRow v 1);

/// See the module's introduction.
#[derive(Default)]
pub struct Watchers {
    until_ms: RefCell<BTreeMap<ObjectName, u64>>,
    since_ms: Cell<u64>,
    is_telling: Cell<bool>,
    /// Who came while they were being told: an answer that nobody looks there may be older.
    came: RefCell<BTreeSet<ObjectName>>,
    /// Something changed since they were told.
    has_more_to_tell: Cell<bool>,
    told_ms: Cell<u64>,
    /// When the last change was.
    changed_ms: Cell<u64>,
}

impl Watchers {
    /// Takes what is stored.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load(&self, storage: &impl Storage) -> Result<(), StorageError> {
        let row = storage.get(Table::Meta, WATCHERS_KEY)?;
        let row = row.and_then(|row| codec::decode::<WatchersRow>(&row).ok());
        let WatchersRow(since_ms, until_ms) = row.unwrap_or_default();
        *self.until_ms.borrow_mut() = until_ms.into_iter().collect();
        self.since_ms.set(since_ms);
        Ok(())
    }

    /// Whether there are none. Who has not come again in time is forgotten.
    pub fn is_empty(&self, now_ms: u64) -> bool {
        let mut until_ms = self.until_ms.borrow_mut();
        until_ms.retain(|_, until_ms| {
            // A clock may have been set back: then nobody stays longer than who comes now.
            *until_ms = (*until_ms).min(now_ms.saturating_add(LEASE_MS));
            *until_ms > now_ms
        });
        until_ms.is_empty()
    }

    /// Since when there are any; none where there are not.
    pub fn since_ms(&self, now_ms: u64) -> Option<u64> {
        (!self.is_empty(now_ms)).then(|| self.since_ms.get())
    }

    /// Notes a watcher, and stores it where half of its stored [`LEASE_MS`] is over.
    ///
    /// # Errors
    /// [`Refusal::Busy`] where there are too many, [`Refusal::Storage`] when the disk refuses.
    pub fn add(
        &self,
        storage: &impl Storage,
        object: ObjectName,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        if self.is_empty(now_ms) {
            self.since_ms.set(now_ms);
        }
        let mut until_ms = self.until_ms.borrow_mut();
        let left_ms = |until_ms: &u64| until_ms.saturating_sub(now_ms);
        let known = until_ms.get(&object).map(left_ms);
        if known.is_none() && until_ms.len() >= MAX_WATCHERS {
            return Err(Refusal::Busy { retry_after_s: 5 });
        }
        if self.is_telling.get() {
            self.came.borrow_mut().insert(object.clone());
        }
        if known.is_some_and(|left_ms| left_ms > LEASE_MS / 2) {
            return Ok(());
        }
        until_ms.insert(object, now_ms + LEASE_MS);
        drop(until_ms);
        Ok(self.store(storage)?)
    }

    /// # Errors
    /// When the disk refuses.
    pub fn store(&self, storage: &impl Storage) -> Result<(), StorageError> {
        let until_ms = self.until_ms.borrow();
        let until_ms = until_ms.clone().into_iter().collect();
        let row = WatchersRow(self.since_ms.get(), until_ms);
        storage.write(&[Write::put(Table::Meta, WATCHERS_KEY, codec::encode(&row))])
    }

    /// Tells all of them, soon; if they are being told, once more after that. `true` where some are
    /// forgotten now, which is to be stored.
    pub async fn tell<H: Host>(&self, host: &H, look: impl Fn(&ObjectName) -> Look) -> bool {
        self.has_more_to_tell.set(true);
        self.changed_ms.set(host.now_ms());
        if self.is_telling.replace(true) {
            return false;
        }
        let before = self.until_ms.borrow().len();
        while self.has_more_to_tell.get() && !self.is_empty(host.now_ms()) {
            let since_ms = host.now_ms().abs_diff(self.told_ms.get());
            let left_ms = TELL_INTERVAL_MS.saturating_sub(since_ms);
            host.sleep(left_ms.max(TELL_AFTER_MS)).await;
            let now_ms = host.now_ms();
            // The watchers may ask before that change shows: they are told of it once more.
            let is_soon = now_ms.abs_diff(self.changed_ms.get()) < TELL_AFTER_MS;
            self.has_more_to_tell.set(is_soon);
            self.told_ms.set(now_ms);
            self.tell_now(host, &look).await;
        }
        self.is_telling.set(false);
        self.until_ms.borrow().len() < before
    }

    async fn tell_now<H: Host>(&self, host: &H, look: impl Fn(&ObjectName) -> Look) {
        self.came.borrow_mut().clear();
        let names: Vec<ObjectName> = self.until_ms.borrow().keys().cloned().collect();
        let told = stream::iter(names).for_each_concurrent(ASKED_AT_ONCE, async |name| match host
            .ask_question(&name, &look(&name), QUESTION_TIMEOUT_MS)
            .await
        {
            Ok(Err(Refusal::NotFound | Refusal::Gone)) if !self.came.borrow().contains(&name) => {
                self.until_ms.borrow_mut().remove(&name);
            }
            Ok(_) => {}
            Err(error) => host.report(format_args!("telling {}: {error}", name.as_named())),
        });
        told.await;
    }
}
