//! Whether somebody watches the board's charts over sockets: then a quiet shard pushes its news soon, too, and
//! nobody has to ask it.
//!
//! # Invariants
//! - Stored: the next play may find the shard out of memory.
//! - A push says so only where that is durable. From then on the global object relies on it, until it answers a
//!   push otherwise: nothing else takes it back.
//!
//! # Cost
//! A row where it changes, one read at a start.

use super::*;
use crate::codec::record;

const WATCHED_NAME: &[u8] = b"watched";

/// Since when, as it is stored.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(in crate::region) struct WatchedRow(Option<u64>);

record!(WatchedRow v 1);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watched {
    pub since_ms: Option<u64>,
    /// As far as it is durable.
    durable_ms: Option<u64>,
    /// The last commit of which a push was answered; those before a start are not known.
    pushed_seq: u64,
    /// That of the push that is under way.
    sent_seq: u64,
}

impl Watched {
    /// A row that cannot be read says nothing: the next reply tells it again.
    pub fn load(storage: &impl Storage) -> Result<Self, StorageError> {
        let row = storage.get(Table::Meta, WATCHED_NAME)?;
        let row = row.and_then(|row| codec::decode::<WatchedRow>(&row).ok());
        Ok(Watched {
            since_ms: row.unwrap_or_default().0,
            ..Watched::default()
        })
    }

    /// What was so before a sync is durable.
    pub fn synced(&mut self, since_ms: Option<u64>) {
        self.durable_ms = since_ms.filter(|_| self.since_ms == since_ms);
    }
}

impl Shard {
    /// Takes what it was told.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn set_watched(
        &mut self,
        storage: &impl Storage,
        since_ms: Option<u64>,
    ) -> Result<(), StorageError> {
        if self.watched.since_ms == since_ms {
            return Ok(());
        }
        self.watched.since_ms = since_ms;
        self.watched.durable_ms = None;
        if mutants::active(Mutant::WatchedInMemoryAlone) {
            return Ok(());
        }
        let row = codec::encode(&WatchedRow(since_ms));
        storage.write(&[Write::put(Table::Meta, WATCHED_NAME, row)])
    }

    /// As a push says it.
    pub(in crate::region) fn watched_for_good(&self) -> Option<u64> {
        self.watched.durable_ms
    }

    /// Whether somebody waits for what it has counted, or is about to, since the last push.
    pub(in crate::region) fn has_watched_news(&self) -> bool {
        let is_counting = !self.waiting.is_empty() || self.in_flight.is_some();
        let is_news = is_counting || self.applied_seq > self.watched.pushed_seq;
        self.watched.since_ms.is_some() && is_news
    }

    /// A push is made of all that is counted.
    pub(in crate::region) fn news_is_sent(&mut self) {
        self.watched.sent_seq = self.applied_seq;
    }

    /// The push was answered.
    pub(in crate::region) fn news_is_told(&mut self) {
        self.watched.pushed_seq = self.watched.sent_seq;
    }
}
