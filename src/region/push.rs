//! Telling the global object: what is sent, and what its reply changes.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::ToPush;
use super::outbox::Outbox;
use super::shard::{Shard, copy_of};
use crate::codec;
use crate::mutants::{self, Mutant};
use crate::storage::{Storage, StorageError};
use crate::topology::Epoch;
use crate::wire::{Push, PushReply};

/// A copy of an open pane as it is sent; a pane that did not change since keeps it.
type EncodedCopy = Rc<[u8]>;

impl Shard {
    /// The message for the global object: sealed panes from the wanted offset on, as many as fit,
    /// and copies of what is not durable in the outbox. `None` while the shard does not know who
    /// it is, or whether what it has loaded is durable.
    ///
    /// Late panes are sealed early where the copies would grow too large: call it after a
    /// checkpoint, and look whether one is due again.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn push(&mut self, storage: &impl Storage) -> Result<Option<Vec<u8>>, StorageError> {
        self.news_is_sent();
        self.cut_is_sent();
        self.push_from(storage, self.wanted_offset)
    }

    /// What is pulled: a push of all that is not known to be durable elsewhere.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn pulled(&mut self, storage: &impl Storage) -> Result<Option<Vec<u8>>, StorageError> {
        self.push_from(storage, 0)
    }

    fn push_from(
        &mut self,
        storage: &impl Storage,
        first_offset: u64,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        if !self.is_settled() {
            return Ok(None);
        }
        let Some((region_id, shard)) = self.checkpoint.name.clone() else {
            return Ok(None);
        };
        let oldest_offset = self.oldest_offset();
        let first_offset = first_offset.max(oldest_offset);
        let next_offset = self.sendable_offset().max(first_offset);
        let mut room = PushRoom {
            bytes: self.limits.push.copy_bytes,
            panes: self.limits.push.panes / 2,
        };
        let (copies, copies_left_out) = self.copies(storage, next_offset, &mut room)?;
        let copied: usize = copies.iter().map(|copy| copy.len()).sum();
        room.bytes = self.limits.push.bytes.saturating_sub(copied);
        room.panes = self.limits.push.panes.saturating_sub(copies.len());
        if mutants::active(Mutant::PushWithoutLimits) {
            (room.bytes, room.panes) = (usize::MAX, usize::MAX);
        }
        let entries = self.entries(storage, first_offset..next_offset, &mut room)?;
        Ok(Some(codec::encode(&Push {
            region_id: &region_id,
            shard,
            epoch_ms: self.epoch_ms(),
            log_id: self.checkpoint.log_id,
            log_began_ms: self.checkpoint.log_began_ms,
            oldest_offset,
            first_offset,
            entries: entries.iter().map(Vec::as_slice).collect(),
            next_offset,
            journal_seq: self.applied_seq,
            copies: copies.iter().map(|copy| &**copy).collect(),
            copies_left_out: copies_left_out && !mutants::active(Mutant::CopiesLeftOutInSilence),
            cut: self.cut_to_tell(next_offset),
            watched_since_ms: self.watched_for_good(),
            replied_by: self.replied_by,
        })))
    }

    /// Whether something is open: then a push says so, also where its copies did not fit.
    pub fn has_open(&self) -> bool {
        !self.open.panes.is_empty()
    }

    /// What there is to push, for whoever sets the alarm.
    pub fn to_push(&self) -> ToPush {
        ToPush {
            is_urgent: self.has_sealed()
                || self.open.are_busy()
                || self.has_watched_news()
                || self.has_untold_cut(),
            seals_at_ms: self.open.sealed_quietly_at_ms(),
        }
    }

    /// What the outbox holds of these offsets, as much as there is room for: one item an offset,
    /// an empty one where there is nothing to be read. Such a row is put aside, so that it blocks
    /// nothing.
    fn entries(
        &mut self,
        storage: &impl Storage,
        offsets: std::ops::Range<u64>,
        room: &mut PushRoom,
    ) -> Result<Vec<Vec<u8>>, StorageError> {
        let mut entries: Vec<Vec<u8>> = Vec::new();
        let mut offset = offsets.start;
        while offset < offsets.end {
            let row = self.outbox.row_of(offset);
            let read = match row {
                Some(row) => Outbox::read(storage, row, offset)?,
                None => None,
            };
            if let (Some(row), None) = (row, &read) {
                self.outbox.put_aside(storage, row)?;
                self.damaged_rows += 1;
            }
            for entry in read.unwrap_or_else(|| vec![Vec::new()]) {
                let fits = room.take(&entry);
                // One entry is sent however large it is, but alone.
                if offset == offsets.end || !fits && !entries.is_empty() {
                    return Ok(entries);
                }
                entries.push(entry);
                if !fits {
                    return Ok(entries);
                }
                offset += 1;
            }
        }
        Ok(entries)
    }

    /// Copies of all plays that are in no durable entry, and whether some did not fit. Late panes that
    /// there is no room for are sealed: they become entries soon, and are missing from charts until
    /// then.
    fn copies(
        &mut self,
        storage: &impl Storage,
        next_offset: u64,
        room: &mut PushRoom,
    ) -> Result<(Vec<EncodedCopy>, bool), StorageError> {
        let mut copies = Vec::new();
        let mut left_out = false;
        let mut add = |copy: Rc<[u8]>| {
            let fits = room.take(&copy);
            left_out |= !fits;
            if fits {
                copies.push(copy);
            }
            fits
        };
        let late = self.open.late();
        // There may be a thousand: a set, so that a push is not a million comparisons.
        let is_late: BTreeSet<_> = late.iter().copied().collect();
        let live = self.open.panes.keys().filter(|key| !is_late.contains(key));
        let by_age: Vec<_> = live.chain(late.iter().rev()).copied().collect();
        // What is on its way into the outbox already; what is sealed below was looked at.
        for copy in self.sealed_in_memory() {
            add(copy.into());
        }
        for key in by_age {
            let Some(pane) = self.open.panes.get_mut(&key) else {
                continue;
            };
            let copy = pane.copy.take();
            let copy = copy.unwrap_or_else(|| copy_of(key, pane, self.applied_seq));
            if add(Rc::clone(&copy.bytes)) {
                pane.copy = Some(copy);
            } else if is_late.contains(&key) {
                self.seal(key);
            }
        }
        let rows: Vec<_> = self.outbox.rows_from(next_offset).collect();
        for row in rows {
            let panes = Outbox::read(storage, row, row.first_offset)?;
            for copy in panes.into_iter().flatten() {
                add(copy.into());
            }
        }
        Ok((copies, left_out))
    }

    /// What the global object has taken of the log, as far as is known.
    pub fn wanted_offset(&self) -> u64 {
        self.wanted_offset
    }

    /// Whether there is more to send at once.
    pub fn has_more_to_send(&self) -> bool {
        self.wanted_offset < self.sendable_offset()
    }

    /// Takes the reply of the global object: forgets what is durable there. `random` names the
    /// next log should this one turn out to be older than what was sent of it.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn pushed(
        &mut self,
        storage: &impl Storage,
        reply: &PushReply,
        random: [u8; 16],
    ) -> Result<(), StorageError> {
        if let Some(days) = &reply.days {
            self.set_days(days);
        }
        self.news_is_told();
        self.replied_by = reply.state;
        self.set_watched(storage, reply.watched_since_ms)?;
        if reply.epoch_ms != self.epoch_ms() {
            // To a push of before counting began anew, or it begins now.
            let (began_ms, seed) = (reply.epoch_ms, reply.seed);
            return self.follow(storage, Epoch { began_ms, seed }, random);
        }
        self.set_seed(reply.seed);
        if reply.wanted_offset > self.checkpoint.next_offset {
            let writes = self.start_new_log(u128::from_be_bytes(random));
            return storage.write(&writes);
        }
        self.wanted_offset = reply.wanted_offset.max(self.oldest_offset());
        let mut durable_offset = reply.durable_offset.min(reply.wanted_offset);
        if mutants::active(Mutant::ForgottenBeforeDurable) {
            durable_offset = reply.wanted_offset;
        }
        let mut writes = self.outbox.forget_below(durable_offset);
        self.cut_is_told(&mut writes);
        if writes.is_empty() {
            return Ok(());
        }
        storage.write(&writes)
    }
}

/// What a push has left of its limits.
struct PushRoom {
    bytes: usize,
    panes: usize,
}

impl PushRoom {
    /// Takes the room of a pane, if there is enough.
    fn take(&mut self, pane: &[u8]) -> bool {
        let Some((bytes, panes)) =
            (self.bytes.checked_sub(pane.len())).zip(self.panes.checked_sub(1))
        else {
            return false;
        };
        (self.bytes, self.panes) = (bytes, panes);
        true
    }
}
