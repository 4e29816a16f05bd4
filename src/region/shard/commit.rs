//! A commit: what waits is written, and counted when it is durable.

use super::*;

impl Shard {
    /// Writes what waits to the journal; `false` if nothing waits or a commit is under way. After
    /// the next sync call [`Shard::committed`].
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn commit(&mut self, storage: &impl Storage, now_ms: u64) -> Result<bool, StorageError> {
        if self.in_flight.is_some() || self.waiting.is_empty() {
            return Ok(false);
        }
        let mut batches: Vec<Waiting> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            let full = batches.len() >= MAX_COMMIT_REQUESTS
                || bytes + next.batch.len() > MAX_COMMIT_BYTES && !batches.is_empty();
            if full {
                break;
            }
            bytes += next.batch.len();
            batches.extend(self.waiting.pop_front());
        }
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        let encoded: Vec<&[u8]> = batches.iter().map(|waiting| &waiting.batch[..]).collect();
        let (mut writes, mut last_seq) = self.journal.rows_of(&encoded, now_ms);
        if !self.journal.has_room_for(writes.len()) {
            self.checkpoint(storage, now_ms)?;
            (writes, last_seq) = self.journal.rows_of(&encoded, now_ms);
        }
        // The header goes first: a journal without it would be counted as another log's.
        self.write_header(&mut writes);
        self.told.write(&mut writes);
        storage.write(&writes)?;
        self.told.written();
        self.header_dirty = false;
        self.journal.written(last_seq, bytes as u64);
        self.in_flight = Some(InFlight {
            first_ticket: batches.first().map_or(0, |first| first.ticket),
            last_ticket: batches.last().map_or(0, |last| last.ticket),
            last_seq,
            counted_ms: now_ms,
            batches,
        });
        Ok(true)
    }

    /// The commit's rows are durable: counts its plays. Returns the tickets that may be answered.
    pub fn committed(&mut self, now_ms: u64) -> Option<RangeInclusive<u64>> {
        let commit = self.in_flight.take()?;
        self.committed.commit_sizes.add(commit.batches.len() as u64);
        let seq = commit.last_seq;
        let applied = Applied {
            seq,
            now_ms: commit.counted_ms,
        };
        for waiting in &commit.batches {
            self.apply(&waiting.batch, applied);
            if let Some(fingerprint) = &waiting.fingerprint {
                self.pending.remove(fingerprint);
            }
        }
        self.applied_seq = seq;
        self.applied_ms = now_ms;
        self.seal_over_the_limits();
        Some(commit.first_ticket..=commit.last_ticket)
    }

    /// Counts a journaled batch, unless it was counted before.
    pub(super) fn apply(&mut self, batch: &[u8], applied: Applied) {
        let Some(wanted) = Wanted::decode(batch) else {
            // It was checked when it was admitted; only a row of another release gets here.
            self.damaged_rows += 1;
            return;
        };
        if let Some(fingerprint) = wanted.fingerprint(&self.checkpoint.secret) {
            if let Some(known) = self.seen.fate(&fingerprint) {
                let counts_twice =
                    known.moved_to.is_some() && mutants::active(Mutant::ClaimsIgnored);
                if !counts_twice {
                    return;
                }
            }
            let fate = wanted.fate(&mut self.seen);
            self.seen.insert(fingerprint, fate, applied.now_ms);
        }
        let Wanted::Plays(batch) = wanted else {
            self.committed.claims += 1;
            return;
        };
        let seed = self.seed();
        self.committed.batch_sizes.add(batch.plays.len() as u64);
        for play in &batch.plays {
            self.committed.plays = self.committed.plays.saturating_add(u64::from(play.count));
            let (post_id, timestamp_ms) = (play.post_id, play.timestamp_ms);
            let days = &self.checkpoint.days;
            self.open
                .record(post_id, timestamp_ms, play.count, seed, days, applied);
        }
    }

    pub(super) fn seal_over_the_limits(&mut self) {
        for key in self.open.over_the_limits(&self.limits) {
            if mutants::active(Mutant::LatePaneDropped) {
                self.open.remove(key);
            }
            self.seal(key);
        }
    }

    pub(in crate::region) fn seal(&mut self, key: PaneKey) {
        if let Some(pane) = self.open.remove(key) {
            self.add_sealed(key, pane);
        }
    }

    pub(super) fn add_sealed(&mut self, key: PaneKey, pane: OpenPane) {
        self.sealed_bytes += pane.summary.heap_bytes();
        let last_seq = self.applied_seq;
        self.sealed.push(SealedInMemory {
            key,
            pane,
            last_seq,
        });
    }
}
