//! A start: what is stored becomes a state again.

use super::*;

/// By so much a batch may seem to have been sent after it was counted: as long as its body may be under
/// way to a Worker. New batches are refused for so long after a damage, so it is no more than that.
const REFUSE_MARGIN_MS: u64 = 15_000;

impl Shard {
    /// Makes the state from what is stored. `random` names the log of a shard that has none.
    ///
    /// Rows that cannot be read are counted and left as they are.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load(
        storage: &impl Storage,
        random: [u8; 32],
        now_ms: u64,
    ) -> Result<Self, StorageError> {
        Self::load_within(storage, random, now_ms, Limits::default())
    }

    /// [`Shard::load`] with limits of one's own.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load_within(
        storage: &impl Storage,
        random: [u8; 32],
        now_ms: u64,
        limits: Limits,
    ) -> Result<Self, StorageError> {
        let stored = two_copies::load::<Checkpoint>(storage, Table::Meta, CHECKPOINT_NAME)?;
        let lost_header = stored.is_lost();
        let is_new = stored.record.is_none();
        let checkpoint = stored
            .record
            .unwrap_or_else(|| Checkpoint::new(random, now_ms));
        let covered_seq = if lost_header {
            0
        } else {
            checkpoint.covered_seq
        };
        let (journal, mut commits) = Journal::load(storage, covered_seq, limits.journal_rows)?;
        let damaged_rows = stored.damaged + journal.unread_after(covered_seq);
        let mut shard = Shard {
            applied_seq: checkpoint.covered_seq,
            applied_ms: now_ms,
            header_dirty: is_new,
            header_generation: stored.generation,
            wanted_offset: 0,
            sendable_offset: 0,
            checkpoint,
            journal,
            open: OpenPanes::default(),
            sealed: Vec::new(),
            sealed_bytes: 0,
            open_rows: BTreeSet::new(),
            unread_open_rows: BTreeSet::new(),
            seen: Seen::new(),
            unread_seen_rows: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            pending: BTreeMap::new(),
            in_flight: None,
            next_ticket: 1,
            outbox: Outbox::default(),
            damaged_rows,
            load_id: random.first_chunk().map_or(0, |id| u64::from_be_bytes(*id)),
            settled: false,
            cut_sent_ms: None,
            committed: Committed::default(),
            told: listing::Told::load(storage)?,
            watched: watched::Watched::load(storage)?,
            replied_by: 0,
            limits,
        };
        if lost_header {
            shard.begin_beside_lost_header(storage, &mut commits, now_ms)?;
        }
        shard.load_open_panes(storage)?;
        let (outbox, damaged_keys) = Outbox::load(storage, shard.checkpoint.log_start)?;
        shard.outbox = outbox;
        shard.damaged_rows += damaged_keys;
        shard.wanted_offset = shard.oldest_offset();
        shard.load_seen(storage, now_ms)?;
        let damaged_rows = shard.damaged_rows;
        for commit in &commits {
            // By a date to come, of a clock that was set back, the fingerprints from before would be too old.
            let (seq, now_ms) = (commit.last_seq, commit.counted_ms.min(now_ms));
            for batch in &commit.batches {
                shard.apply(batch, Applied { seq, now_ms });
            }
            shard.applied_seq = seq;
        }
        // What the journal had was counted before.
        shard.committed = Committed::default();
        shard.seal_over_the_limits();
        let lost_batches = shard.damaged_rows > damaged_rows;
        let refuses = shard.refuse_what_may_be_lost(lost_header, lost_batches, now_ms);
        if refuses {
            // Pushes of before may have told of what cannot be read, and are older than those of now.
            shard.applied_seq = shard.journal.past_unread();
        }
        if refuses || !shard.journal.can_go_on() {
            // What is refused is refused once, not anew from each start on until something is taken. Nothing
            // else is written: a shard may be woken for each of its plays.
            shard.checkpoint(storage, now_ms)?;
        }
        Ok(shard)
    }

    /// Nobody knows any more which commits are in the panes, nor which log the outbox belongs to:
    /// neither is counted again. The rows stay where they are.
    pub(super) fn begin_beside_lost_header(
        &mut self,
        storage: &impl Storage,
        commits: &mut Vec<FoundCommit>,
        now_ms: u64,
    ) -> Result<(), StorageError> {
        let secret = self.checkpoint.secret;
        for commit in std::mem::take(commits) {
            let batches = commit.batches.iter();
            for wanted in batches.filter_map(|batch| Wanted::decode(batch)) {
                if let Some(fingerprint) = wanted.fingerprint(&secret) {
                    let fate = wanted.fate(&mut self.seen);
                    self.seen.insert(fingerprint, fate, now_ms);
                }
            }
            self.applied_seq = self.applied_seq.max(commit.last_seq);
        }
        self.journal.cover(self.applied_seq);
        self.checkpoint.covered_seq = self.applied_seq;
        // The open panes say it.
        self.checkpoint.epoch_ms = None;
        let next = Outbox::next_free_offset(storage)?;
        self.checkpoint.log_start = next;
        self.checkpoint.next_offset = next;
        Ok(())
    }

    pub(super) fn load_seen(
        &mut self,
        storage: &impl Storage,
        now_ms: u64,
    ) -> Result<(), StorageError> {
        if mutants::active(Mutant::FingerprintsForgotten) {
            return Ok(());
        }
        for (key, value) in storage.scan(Table::Seen, &[], &[], usize::MAX)? {
            self.unread_seen_rows += u64::from(!self.seen.load_row(&key, &value));
        }
        self.damaged_rows += self.unread_seen_rows;
        self.seen.loaded(now_ms);
        Ok(())
    }

    /// What was sent before fingerprints were lost may have been counted or claimed: from now on it is
    /// refused. Says whether that is news. `lost_batches`: some of the journal cannot be read.
    fn refuse_what_may_be_lost(
        &mut self,
        lost_header: bool,
        lost_batches: bool,
        now_ms: u64,
    ) -> bool {
        let known = self.checkpoint.damaged_seen;
        self.reckon_with_unread();
        if mutants::active(Mutant::DamagedClaimsForgotten) {
            return false;
        }
        // Without the header's secret no fingerprint says anything.
        let newest_ms = self.seen.newest_row_ms().filter(|_| lost_header);
        // A row of the journal may be as young as the last answer.
        let in_journal = self.journal.unread_after(self.checkpoint.covered_seq);
        let last_ms = match lost_header || lost_batches || in_journal > 0 {
            true => now_ms,
            false => self.checkpoint.written_ms,
        };
        let is_more = lost_batches || self.checkpoint.damaged_seen > known;
        let Some(lost_ms) = newest_ms.max(is_more.then_some(last_ms)) else {
            return false;
        };
        let refuse_before_ms = lost_ms.saturating_add(REFUSE_MARGIN_MS);
        let before_ms = &mut self.checkpoint.refuse_before_ms;
        *before_ms = refuse_before_ms.max(*before_ms);
        self.header_dirty = true;
        true
    }

    /// Takes back what the last checkpoint left open: what every row there holds, with a header or
    /// without. What is of an epoch before the last that is known is over.
    pub(super) fn load_open_panes(&mut self, storage: &impl Storage) -> Result<(), StorageError> {
        let seed = self.seed();
        let mut rows = Vec::new();
        for (key, row) in storage.scan(Table::OpenPanes, &[], &[], usize::MAX)? {
            let Ok(number) = key.try_into().map(u64::from_be_bytes) else {
                self.damaged_rows += 1;
                continue;
            };
            let Some((epoch_ms, panes)) = read_open_row(&row, seed) else {
                self.damaged_rows += 1;
                self.unread_open_rows.insert(number);
                continue;
            };
            self.open_rows.insert(number);
            rows.push((epoch_ms, panes));
        }
        let known_ms = &mut self.checkpoint.epoch_ms;
        if known_ms.is_none() {
            *known_ms = rows.iter().map(|(epoch_ms, _)| *epoch_ms).max();
        }
        let epoch_ms = self.epoch_ms();
        let rows = rows.into_iter().filter(|(of_ms, _)| *of_ms >= epoch_ms);
        for (_, panes) in rows {
            for (key, pane) in panes {
                // Two panes of one span: one of them could not be read for a while.
                if let Some(other) = self.open.panes.insert(key, pane) {
                    self.add_sealed(key, other);
                }
            }
        }
        Ok(())
    }
}

/// The panes of a row and the epoch that they count in, if all of them can be read.
fn read_open_row(row: &[u8], seed: Seed) -> Option<(u64, Vec<(PaneKey, OpenPane)>)> {
    let OpenPanesRow { epoch_ms, panes } = codec::decode(row).ok()?;
    let panes = panes.into_iter();
    let panes = panes.map(|(opened_ms, pane)| read_open_pane(pane, opened_ms, seed));
    Some((epoch_ms, panes.collect::<Option<Vec<_>>>()?))
}

fn read_open_pane(pane: &[u8], opened_ms: u64, seed: Seed) -> Option<(PaneKey, OpenPane)> {
    let pane: SealedPane<'_> = codec::decode(pane).ok()?;
    let key = PaneKey::checked(Level::from_code(pane.level)?, pane.start_ms, pane.end_ms)?;
    let mut summary = Summary::decode(pane.summary, seed).ok()?;
    capacity::reopen(&mut summary, key.level);
    let open = OpenPane {
        summary,
        opened_ms,
        first_seq: pane.first_seq,
        copy: None,
    };
    Some((key, open))
}
