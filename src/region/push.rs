//! Telling the global object: what is sent, and what its reply changes.

use std::collections::BTreeMap;

use super::shard::{Shard, encode_pane, outbox_key};
use crate::codec;
use crate::mutants::{self, Mutant};
use crate::storage::{Storage, StorageError, Table, Write};
use crate::wire::{Push, PushReply, SealedPane};

impl Shard {
    /// The message for the global object: sealed panes from the wanted offset on, as many as fit,
    /// and a copy of the open ones. `None` while the shard does not know who it is.
    ///
    /// Late panes are sealed early where the copies would grow too large: call it after a
    /// checkpoint, and look whether one is due again.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn push(&mut self, storage: &impl Storage) -> Result<Option<Vec<u8>>, StorageError> {
        let Some((region_id, shard)) = self.checkpoint.name.clone() else {
            return Ok(None);
        };
        let provisional = self.provisional();
        let provisional_bytes: usize = provisional.iter().map(Vec::len).sum();
        let oldest_offset = self.oldest_offset();
        let first_offset = self.wanted_offset.max(oldest_offset);
        let entries = self.entries(storage, first_offset, provisional_bytes)?;
        Ok(Some(codec::encode(&Push {
            region_id: &region_id,
            shard,
            log_id: self.checkpoint.log_id,
            oldest_offset,
            first_offset,
            entries: entries.iter().map(Vec::as_slice).collect(),
            next_offset: self.next_offset(),
            journal_seq: self.applied_seq,
            provisional: provisional.iter().map(Vec::as_slice).collect(),
        })))
    }

    /// What the outbox holds from an offset on, as much as fits: one item an offset, an empty one
    /// where there is nothing to be read. That row is put aside, so that it blocks nothing.
    fn entries(
        &mut self,
        storage: &impl Storage,
        first_offset: u64,
        mut bytes: usize,
    ) -> Result<Vec<Vec<u8>>, StorageError> {
        let mut entries = Vec::new();
        let mut damaged = Vec::new();
        for offset in first_offset..self.sendable_offset() {
            let mut readable = None;
            if let Some(entry) = self.outbox.get(&offset) {
                bytes += entry.bytes as usize;
                // One entry always fits: a pane is at most 1.2 MB.
                if bytes > self.limits.push_bytes && !entries.is_empty() {
                    break;
                }
                let key = outbox_key(offset, entry.sealed_ms, entry.bytes);
                readable = storage
                    .get(Table::Outbox, &key)?
                    .filter(|value| codec::decode::<SealedPane<'_>>(value).is_ok());
                if readable.is_none() {
                    damaged.push(offset);
                }
            }
            entries.push(readable.unwrap_or_default());
        }
        for offset in damaged {
            self.put_aside(storage, offset)?;
        }
        Ok(entries)
    }

    /// Copies of the open panes. Late ones that do not fit are sealed instead.
    fn provisional(&mut self) -> Vec<Vec<u8>> {
        let mut copies: BTreeMap<_, _> = self
            .open
            .panes
            .iter()
            .map(|(key, pane)| (*key, encode_pane(*key, &pane.summary)))
            .collect();
        let mut bytes: usize = copies.values().map(Vec::len).sum();
        for key in self.open.late() {
            if bytes <= self.limits.provisional_bytes {
                break;
            }
            bytes -= copies.get(&key).map_or(0, Vec::len);
            copies.remove(&key);
            self.seal(key);
        }
        copies.into_values().collect()
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
        let kept = self.outbox.split_off(&durable_offset);
        let forgotten = std::mem::replace(&mut self.outbox, kept);
        let mut writes = Vec::with_capacity(forgotten.len());
        for (offset, entry) in forgotten {
            self.outbox_bytes = self.outbox_bytes.saturating_sub(entry.bytes);
            let key = outbox_key(offset, entry.sealed_ms, entry.bytes);
            writes.push(Write::delete(Table::Outbox, key));
        }
        if writes.is_empty() {
            return Ok(());
        }
        storage.write(&writes)
    }
}
