//! A checkpoint: what the journal holds goes to its final place, and what is due is sealed.

use super::*;
use crate::codec::record;

/// The two copies of the checkpoint's header: without it the journal would be counted again.
pub(super) const CHECKPOINT_NAME: &[u8] = b"checkpoint/";

/// What a checkpoint says besides panes, outbox and fingerprints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::region) struct Checkpoint {
    pub log_id: u128,
    /// When the log began; later than the one before.
    pub log_began_ms: u64,
    /// The key of the fingerprints.
    pub secret: [u8; 16],
    /// Who this shard is, once it was told.
    pub name: Option<(String, u32)>,
    pub seed: Option<[u8; 16]>,
    /// Where days begin, as the global object told it last. What comes with each of its replies alone, up
    /// to when that is known, may be older here.
    pub days: KnownDays,
    /// [`Epoch::began_ms`] of what is counted here. None where the header was lost and no open pane
    /// says it: nothing is counted then, until somebody does.
    pub epoch_ms: Option<u64>,
    /// Where the log was cut last, for an export.
    pub cut: Option<Cut>,
    /// The moment of an export at which the log is to be cut, or was, until the global object is told of that:
    /// the shard may sleep meanwhile.
    pub cut_at_ms: Option<u64>,
    /// The journal up to here is in the panes and the outbox. A new log numbers its commits from the
    /// millisecond on in which it began: there are less than 1,000 a second, so no log of a shard has
    /// a number of one before.
    pub covered_seq: u64,
    /// The offset of the next sealed pane.
    pub next_offset: u64,
    /// The first offset of this log: what lies below in the outbox belongs to another.
    pub log_start: u64,
    /// When this was written.
    pub written_ms: u64,
    /// Fingerprints were lost: a batch that was first sent before this may have been counted.
    pub refuse_before_ms: u64,
    /// Rows of fingerprints and of the journal that cannot be read and that are reckoned with already.
    pub damaged_seen: u64,
}

record!(Checkpoint v 1);

impl Checkpoint {
    pub(super) fn new(random: [u8; 32], now_ms: u64) -> Self {
        let (log_id, secret) = random.split_at(16);
        Checkpoint {
            log_id: log_id.try_into().map_or(0, u128::from_be_bytes),
            log_began_ms: now_ms,
            secret: secret.try_into().unwrap_or_default(),
            name: None,
            seed: None,
            days: KnownDays::default(),
            epoch_ms: Some(0),
            cut: None,
            cut_at_ms: None,
            covered_seq: match mutants::active(Mutant::CommitsNumberedAnew) {
                true => 0,
                false => now_ms,
            },
            next_offset: 0,
            log_start: 0,
            written_ms: 0,
            refuse_before_ms: 0,
            damaged_seen: 0,
        }
    }
}

/// Open panes as a checkpoint found them, as many as fit into a row: when each was opened, and an
/// encoded [`SealedPane`].
#[derive(Serialize, Deserialize)]
pub(super) struct OpenPanesRow<'a> {
    /// [`Epoch::began_ms`] of what they count: the header may be lost.
    pub epoch_ms: u64,
    #[serde(borrow)]
    pub panes: Vec<(u64, &'a [u8])>,
}

record!(OpenPanesRow<'_> v 1);

impl Shard {
    /// Whether a checkpoint must be written now, after a commit: the journal grows too long, or
    /// too much is sealed in memory. Panes whose time has come wait for the next push, so what
    /// they cost does not grow with the number of commits.
    pub fn checkpoint_is_needed(&self) -> bool {
        let (rows, bytes) = self.journal.uncovered();
        rows >= self.limits.checkpoint_rows
            || bytes >= CHECKPOINT_BYTES
            || self.sealed_bytes >= self.limits.sealed_bytes
    }

    /// Whether a checkpoint should be written before a push: there is something to seal, too.
    pub fn checkpoint_is_due(&self, now_ms: u64) -> bool {
        self.checkpoint_is_needed() || !self.sealed.is_empty() || !self.open.due(now_ms).is_empty()
    }

    /// The same of a quiet shard, which seals the panes of a quarter together however often it pushes.
    pub fn quiet_checkpoint_is_due(&self, now_ms: u64) -> bool {
        let seals_at_ms = self.open.sealed_quietly_at_ms();
        let seals_now = seals_at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        self.checkpoint_is_needed() || !self.sealed.is_empty() || seals_now
    }

    /// Writes everything that the journal holds into its final place, atomically, and seals what
    /// is due. What is in flight stays in the journal.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn checkpoint(&mut self, storage: &impl Storage, now_ms: u64) -> Result<(), StorageError> {
        for key in self.open.due(now_ms) {
            if mutants::active(Mutant::AlarmNotIdempotent)
                && let Some(pane) = self.open.panes.get(&key)
            {
                self.add_sealed(key, pane.clone());
                continue;
            }
            self.seal(key);
        }
        storage.atomically(|| {
            self.save_sealed(storage, now_ms)?;
            self.save_open(storage)?;
            if let Some(write) = self.seen.save(now_ms) {
                self.header_dirty = true;
                storage.write(&[write])?;
            }
            if self.checkpoint.covered_seq != self.applied_seq || self.header_dirty {
                if !mutants::active(Mutant::JournalNotCovered) {
                    self.checkpoint.covered_seq = self.applied_seq;
                }
                self.checkpoint.written_ms = now_ms;
                self.header_dirty = true;
            }
            self.reckon_with_unread();
            self.store_header(storage)
        })?;
        self.header_dirty = false;
        self.journal.cover(self.applied_seq);
        Ok(())
    }

    /// Notes how much is stored that may hold fingerprints and cannot be read: no more than there is, or
    /// what is damaged later would be taken for what was damaged before.
    pub(super) fn reckon_with_unread(&mut self) {
        let in_journal = self.journal.unread_after(self.checkpoint.covered_seq);
        let unread = self.unread_seen_rows + in_journal;
        self.header_dirty |= unread != self.checkpoint.damaged_seen;
        self.checkpoint.damaged_seen = unread;
    }

    /// Moves what is sealed into the outbox.
    pub(super) fn save_sealed(
        &mut self,
        storage: &impl Storage,
        now_ms: u64,
    ) -> Result<(), StorageError> {
        if self.sealed.is_empty() {
            return Ok(());
        }
        let sealed = std::mem::take(&mut self.sealed);
        self.sealed_bytes = 0;
        let panes: Vec<Vec<u8>> = sealed.iter().map(SealedInMemory::encode).collect();
        let (offset, row_bytes) = (self.checkpoint.next_offset, self.limits.row_bytes);
        self.outbox
            .add(storage, offset, &panes, row_bytes, now_ms)?;
        self.checkpoint.next_offset += panes.len() as u64;
        self.header_dirty = true;
        Ok(())
    }

    /// Writes the open panes, if they changed, in place of those of the checkpoint before. Rows that
    /// are not needed any more are deleted, not left: the panes in them were sealed, and nobody but a
    /// header could tell a start so.
    pub(super) fn save_open(&mut self, storage: &impl Storage) -> Result<(), StorageError> {
        if !std::mem::take(&mut self.open.changed) {
            return Ok(());
        }
        let last_seq = self.applied_seq;
        let mut room = self.limits.push.copy_bytes;
        let panes = self.open.panes.iter_mut();
        let panes = panes.map(|(key, pane)| {
            let is_small = pane.summary.len() <= capacity::COPY_COUNTERS;
            if pane.copy.is_none() && is_small {
                pane.copy = Some(copy_of(*key, pane, last_seq));
            }
            let copy = pane.copy.take();
            let whole = copy.as_ref().and_then(Copied::whole);
            let stored = whole.map(<[u8]>::to_vec).unwrap_or_else(|| {
                // Only ids that are very long take more: after a restart they have fewer counters.
                let summary = capacity::encode_within(&pane.summary, capacity::MOST_PANE_BYTES);
                encode_pane(*key, pane, last_seq, &summary)
            });
            // What fits into no push is not kept.
            room = room.saturating_sub(copy.as_ref().map_or(0, |copy| copy.bytes.len()));
            pane.copy = copy.filter(|_| room > 0);
            stored
        });
        let panes: Vec<Vec<u8>> = panes.collect();
        let mut opened_ms = self.open.panes.values().map(|pane| pane.opened_ms);
        let free = (0_u64..).filter(|number| !self.unread_open_rows.contains(number));
        let mut written = BTreeSet::new();
        for (number, panes) in free.zip(rows_of(&panes, self.limits.row_bytes)) {
            let panes = panes.iter().map(Vec::as_slice);
            let row = OpenPanesRow {
                epoch_ms: self.epoch_ms(),
                panes: opened_ms.by_ref().zip(panes).collect(),
            };
            let row = Write::put(Table::OpenPanes, number.to_be_bytes(), codec::encode(&row));
            storage.write(&[row])?;
            written.insert(number);
        }
        let emptied = self.open_rows.difference(&written);
        let deletes: Vec<Write> = emptied
            .map(|number| Write::delete(Table::OpenPanes, number.to_be_bytes()))
            .collect();
        self.open_rows = written;
        storage.write(&deletes)
    }

    /// Writes the header, if it changed.
    pub(super) fn store_header(&self, storage: &impl Storage) -> Result<(), StorageError> {
        let mut header = Vec::new();
        self.write_header(&mut header);
        storage.write(&header)
    }

    pub(super) fn write_header(&self, writes: &mut Vec<Write>) {
        if self.header_dirty {
            let (generation, header) = (self.header_generation, &self.checkpoint);
            let copies = two_copies::writes(Table::Meta, CHECKPOINT_NAME, generation, header);
            writes.extend(copies);
        }
    }
}

/// A copy of an open pane.
pub(in crate::region) fn copy_of(key: PaneKey, pane: &OpenPane, last_seq: u64) -> Copied {
    let (summary, is_whole) = capacity::encode_copy(&pane.summary);
    Copied {
        bytes: encode_pane(key, pane, last_seq, &summary).into(),
        is_whole,
    }
}

/// A pane as it is sent and stored; `summary` is its own, encoded, or what there is room for.
pub(in crate::region) fn encode_pane(
    key: PaneKey,
    pane: &OpenPane,
    last_seq: u64,
    summary: &[u8],
) -> Vec<u8> {
    codec::encode(&SealedPane {
        level: key.level.code(),
        start_ms: key.start_ms,
        end_ms: key.end_ms,
        first_seq: pane.first_seq,
        // Where a clock was set back before a header was lost, the open panes are of later commits.
        last_seq: last_seq.max(pane.first_seq),
        summary,
    })
}
