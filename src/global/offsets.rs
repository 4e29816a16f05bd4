//! Which offsets of which shard's log were taken: a partition log's consumer offsets.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{BUSY_WITHIN_MS, GONE_AFTER_MS, MAX_LOGS_A_SHARD};
use crate::codec::record;
use crate::mutants::{self, Mutant};
use crate::storage::{Storage, StorageError, Table, Write, two_copies};
use crate::topology::GLOBAL_SCOPE;
use crate::wire::{Push, ShardName};

/// One log of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardLog {
    pub log_id: u128,
    /// [`crate::wire::Push::log_began_ms`].
    pub began_ms: u64,
    /// Everything below was folded, and is stored together with this number.
    pub consumed: u64,
    /// Everything below was taken; ahead of `consumed` by what is pending. Not stored.
    #[serde(skip)]
    pub accepted: u64,
    /// The part of `consumed` that is known to be durable. Not stored.
    #[serde(skip)]
    pub durable: u64,
    pub last_heard_ms: u64,
    /// `last_heard_ms` as it is stored.
    #[serde(skip)]
    stored_heard_ms: u64,
    /// `has_open` as it is stored: a state that is loaded misses nothing of a shard where it is not.
    #[serde(skip)]
    stored_open: bool,
    /// [`MadeAt::of`] the last push whose copies were taken.
    copied: MadeAt,
    /// By then the shard had plays that no entry holds which was taken. A pull never says that it has none:
    /// the shard does not know that it was said.
    pub has_open: bool,
    /// What it had open when a state was loaded is lost, and what it has pushed since may be of before that.
    is_missed: bool,
    /// The shard was told to be quiet, and has not shown that it was told otherwise since: what it has open is
    /// asked for.
    pub is_quiet: bool,
    /// The push to which it was told so, if it has heard that: it may be an old one, for whose answer nobody waits.
    /// Not stored.
    #[serde(skip)]
    told_busy: Option<MadeAt>,
    /// When it was asked for what it has, and has told since. Not stored.
    #[serde(skip)]
    pub told_ms: u64,
    /// It had something open when this state was loaded, and was not asked since: what comes of it may be an old push,
    /// and what came after that be lost. Not stored.
    #[serde(skip)]
    is_to_ask: bool,
    /// The shard pushes what is new soon, as somebody watches, and knows that for good: it need not be asked. Not
    /// stored.
    #[serde(skip)]
    pub tells_soon: bool,
}

/// When a push of a log was made, as its shard counts: its last commit, then what it had sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct MadeAt {
    journal_seq: u64,
    next_offset: u64,
}

impl MadeAt {
    fn of(push: &Push<'_>) -> Self {
        MadeAt {
            journal_seq: push.journal_seq,
            next_offset: push.next_offset,
        }
    }
}

impl ShardLog {
    /// The last commit that charts show.
    pub fn shown_seq(&self) -> u64 {
        self.copied.journal_seq
    }
}

/// The logs of a region's shards, as one row.
#[derive(Serialize, Deserialize)]
struct OffsetsRow {
    shards: Vec<(u32, Vec<ShardLog>)>,
}

record!(OffsetsRow v 1);

/// Two copies a region: without its offsets its panes would be folded again.
fn row_name(region_id: &str) -> Vec<u8> {
    let mut name = region_id.as_bytes().to_vec();
    name.push(0);
    name
}

/// Where every shard's logs stand.
#[derive(Default)]
pub struct Offsets {
    shards: BTreeMap<ShardName, Vec<ShardLog>>,
    /// Regions whose offsets cannot be read: their pushes are refused, nothing is lost.
    damaged_regions: Vec<String>,
    generations: BTreeMap<String, u8>,
    /// Copies that cannot be read.
    pub damaged_rows: u64,
    is_ahead_of_durable: bool,
    /// Regions with a shard that has something open, or is quiet, and whose stored row says otherwise.
    unsaved: BTreeSet<String>,
    /// The same, until their rows are durable, with the flush that stored them last.
    undurable: BTreeMap<String, u64>,
    flushes: u64,
    /// Quiet shards with something open.
    quiet_open: BTreeSet<ShardName>,
    /// Offsets that were passed over because no shard could send them any more.
    pub gaps: u64,
}

/// Which offsets are stored at a moment, and by how many flushes.
pub struct StoredOffsets {
    pub consumed: Vec<(ShardName, u128, u64)>,
    flushes: u64,
}

/// How the copies of a push came.
#[derive(Clone, Copy, Debug)]
pub enum Taken {
    /// The shard sent them, and is told this.
    Pushed {
        is_quiet: bool,
        watched_since_ms: Option<u64>,
    },
    /// They were asked for.
    Pulled,
}

/// Where the entries of a push are in their log.
#[derive(Debug, PartialEq, Eq)]
pub enum Entries {
    /// The first `skip` were taken before; the others are next.
    Next { skip: usize },
    /// Some before these are missing: the shard is to send from there.
    Ahead,
}

impl Offsets {
    /// # Errors
    /// When the disk refuses.
    pub fn load(storage: &impl Storage, regions: &[String]) -> Result<Self, StorageError> {
        let mut logs = Offsets::default();
        for region_id in regions {
            logs.load_region(storage, region_id)?;
        }
        Ok(logs)
    }

    /// Reads where the logs of a region stand, once: what is known of one that the registry had lost for a
    /// while is later than what is stored. A region that is made may have been there before.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn load_region(
        &mut self,
        storage: &impl Storage,
        region_id: &str,
    ) -> Result<(), StorageError> {
        if self.generations.contains_key(region_id) {
            return Ok(());
        }
        let stored = two_copies::load::<OffsetsRow>(storage, Table::Offsets, &row_name(region_id))?;
        self.damaged_rows += stored.damaged;
        if stored.is_lost() {
            self.damaged_regions.push(region_id.to_owned());
        }
        self.generations
            .insert(region_id.to_owned(), stored.generation);
        for (shard, mut shard_logs) in stored.record.into_iter().flat_map(|row| row.shards) {
            for log in &mut shard_logs {
                if log.has_open || log.is_quiet {
                    // As far as is known, until the next sync.
                    self.undurable.insert(region_id.to_owned(), self.flushes);
                }
                log.accepted = log.consumed;
                log.stored_heard_ms = log.last_heard_ms;
                log.stored_open = log.has_open;
                log.is_to_ask = log.has_open;
                if mutants::active(Mutant::WokenTakenForWhole) {
                    log.told_ms = u64::MAX;
                }
                // What is read may have been written a moment ago, by a state that was dropped.
                log.durable = match mutants::active(Mutant::LoadedTakenForDurable) {
                    true => log.consumed,
                    false => 0,
                };
            }
            let shard = (region_id.to_owned(), shard);
            self.shards.insert(shard.clone(), shard_logs);
            self.note_quiet_open(&shard);
            self.is_ahead_of_durable = true;
        }
        Ok(())
    }

    pub fn is_damaged(&self, region_id: &str) -> bool {
        self.damaged_regions
            .iter()
            .any(|damaged| damaged == region_id)
    }

    /// Whether nothing more is taken of a scope, or of a part of it, as long as nobody repairs it.
    pub fn is_scope_damaged(&self, scope: &str) -> bool {
        let all = scope == GLOBAL_SCOPE && !self.damaged_regions.is_empty();
        all || self.is_damaged(scope)
    }

    pub fn damaged_regions(&self) -> usize {
        self.damaged_regions.len()
    }

    /// The log, from its oldest offset on where it is new.
    pub fn log(
        &mut self,
        shard: &ShardName,
        (log_id, began_ms): (u128, u64),
        oldest: u64,
    ) -> &mut ShardLog {
        // Of a new log that was pulled the shard was told nothing: it goes on as before.
        let is_quiet = self.is_quiet(shard);
        let logs = self.shards.entry(shard.clone()).or_default();
        let any_log = mutants::active(Mutant::OffsetsWithoutLogId);
        let position = logs.iter().position(|log| log.log_id == log_id || any_log);
        let position = position.unwrap_or_else(|| {
            if logs.len() >= MAX_LOGS_A_SHARD {
                let ages = logs.iter().enumerate();
                let oldest = ages.min_by_key(|(_, log)| log.began_ms);
                oldest.map(|(at, _)| at).map(|at| logs.remove(at));
            }
            logs.push(ShardLog {
                log_id,
                began_ms,
                consumed: oldest,
                accepted: oldest,
                durable: oldest,
                last_heard_ms: 0,
                stored_heard_ms: 0,
                stored_open: false,
                copied: MadeAt::default(),
                has_open: false,
                is_missed: false,
                is_quiet,
                told_busy: None,
                told_ms: 0,
                is_to_ask: false,
                tells_soon: false,
            });
            logs.len() - 1
        });
        if let Some(log) = logs.get_mut(position)
            && log.accepted < oldest
        {
            // What lies between cannot be filled any more: this object was set back to an
            // earlier state, or a row of the shard's outbox is damaged.
            self.gaps += oldest - log.accepted;
            log.accepted = oldest;
        }
        // The position is inside: it was found, or just pushed.
        #[allow(clippy::indexing_slicing)]
        &mut logs[position]
    }

    /// Whether a log may be one that was forgotten to make room: nobody knows what was folded of it.
    pub fn is_forgotten(&self, shard: &ShardName, (log_id, began_ms): (u128, u64)) -> bool {
        let logs = self.shards.get(shard).map_or(&[][..], Vec::as_slice);
        logs.len() >= MAX_LOGS_A_SHARD
            && logs
                .iter()
                .all(|log| log.log_id != log_id && log.began_ms >= began_ms)
    }

    /// Whether a push has come late: after another that its shard made later. Its copies are of what
    /// was open then. What became of it since is in entries that were taken, in newer copies, or was
    /// lost with a storage: these would show it again.
    pub fn has_come_late(&self, shard: &ShardName, push: &Push<'_>) -> bool {
        let mut logs = self.shards.get(shard).into_iter().flatten();
        logs.any(|log| {
            if log.log_id != push.log_id {
                return log.began_ms > push.log_began_ms && !mutants::active(Mutant::OldLogsCopied);
            }
            MadeAt::of(push) < log.copied && !mutants::active(Mutant::ProvisionalUnguarded)
        })
    }

    /// When a shard of each region was heard from last that pushes by itself.
    pub fn heard_by_region(&self) -> BTreeMap<String, u64> {
        let mut heard: BTreeMap<String, u64> = BTreeMap::new();
        for ((region_id, _), logs) in &self.shards {
            // What is stored of the others says whether they have something open.
            let busy = logs.iter().filter(|log| !log.is_quiet);
            let last_ms = busy.map(|log| log.last_heard_ms).max();
            let known_ms = heard.entry(region_id.clone()).or_default();
            *known_ms = last_ms.unwrap_or(0).max(*known_ms);
        }
        heard
    }

    /// How many shards push by themselves.
    pub fn busy_shards(&self) -> usize {
        let shards = self.shards.keys();
        shards.filter(|shard| !self.is_quiet(shard)).count()
    }

    /// When any shard was heard from last.
    pub fn last_heard_ms(&self) -> u64 {
        let logs = self.shards.values().flatten();
        logs.map(|log| log.last_heard_ms).max().unwrap_or(0)
    }

    /// Up to where entries of a log were taken.
    pub fn accepted(&self, shard: &ShardName, log_id: u128) -> Option<u64> {
        Some(self.find(shard, log_id)?.accepted)
    }

    /// The copies of a push are taken, and its entries as far as they are next: notes when it was made,
    /// whether its shard has more, whether that is still missed, and how it was taken.
    pub fn copies_taken(
        &mut self,
        shard: &ShardName,
        push: &Push<'_>,
        taken: Taken,
        is_missed: bool,
    ) {
        let logs = self.shards.get_mut(shard).into_iter().flatten();
        for log in logs.filter(|log| log.log_id == push.log_id) {
            log.copied = MadeAt::of(push);
            log.is_missed = is_missed;
            let are_entries_missing = log.accepted < push.next_offset;
            let before = (log.has_open, log.is_quiet);
            let has_open = !push.copies.is_empty() || push.copies_left_out || are_entries_missing;
            match taken {
                Taken::Pushed {
                    is_quiet,
                    watched_since_ms,
                } => {
                    log.has_open = has_open;
                    // A busy shard pushes again.
                    let told_busy = log.told_busy.replace(log.copied);
                    let is_busy = !log.is_quiet || told_busy.is_some_and(|it| it < log.copied);
                    log.is_quiet = is_quiet || !is_busy;
                    if is_quiet {
                        log.told_busy = None;
                    }
                    // One that comes again may be of before the shard was told that nobody watches any more.
                    let knows = push.watched_since_ms == watched_since_ms;
                    log.tells_soon = watched_since_ms.is_some() && knows && !log.is_to_ask;
                }
                Taken::Pulled => log.has_open |= has_open,
            }
            // What is stored is of so long ago that a state which is loaded would not miss it, unless it asks; and
            // who is gone is not missed where it does not answer.
            let unstored_ms = log.last_heard_ms.saturating_sub(log.stored_heard_ms);
            let is_asked = before == (true, true) && unstored_ms < GONE_AFTER_MS / 2;
            let was_away = unstored_ms >= BUSY_WITHIN_MS / 2 && !is_asked;
            let has_more = log.has_open || log.accepted > log.consumed;
            if has_more && (was_away || !log.stored_open) || log.is_quiet && !before.1 {
                self.unsaved.insert(shard.0.clone());
                self.undurable.insert(shard.0.clone(), u64::MAX);
            }
        }
        self.note_quiet_open(shard);
    }

    fn newest(&self, shard: &ShardName) -> Option<&ShardLog> {
        let logs = self.shards.get(shard)?;
        logs.iter().max_by_key(|log| log.began_ms)
    }

    fn note_quiet_open(&mut self, shard: &ShardName) {
        let is_it = |log: &ShardLog| log.is_quiet && log.has_open;
        match self.newest(shard).is_some_and(is_it) {
            true => self.quiet_open.insert(shard.clone()),
            false => self.quiet_open.remove(shard),
        };
    }

    /// Whether a shard was told to be quiet.
    pub fn is_quiet(&self, shard: &ShardName) -> bool {
        self.newest(shard).is_some_and(|log| log.is_quiet)
    }

    /// Quiet shards with something open, which is to be asked for.
    pub fn quiet_open(&self) -> &BTreeSet<ShardName> {
        &self.quiet_open
    }

    /// When a shard was heard from last.
    pub fn heard_ms(&self, shard: &ShardName) -> u64 {
        self.newest(shard).map_or(0, |log| log.last_heard_ms)
    }

    /// A shard has told what it had when it was asked, or one of its pushes that was made later.
    pub fn told(&mut self, shard: &ShardName, asked_ms: u64, now_ms: u64) {
        let logs = self.shards.get_mut(shard).into_iter().flatten();
        if let Some(log) = logs.max_by_key(|log| log.began_ms) {
            // What is later than now is of a clock that was set back.
            let known_ms = Some(log.told_ms).filter(|told_ms| *told_ms <= now_ms);
            log.told_ms = known_ms.map_or(asked_ms, |told_ms| told_ms.max(asked_ms));
            log.is_to_ask = false;
        }
    }

    /// Whether a quiet shard pushes by itself what is new.
    pub fn tells_soon(&self, shard: &ShardName) -> bool {
        self.newest(shard).is_some_and(|log| log.tells_soon)
    }

    /// Since when it is not known what a shard has.
    pub fn told_ms(&self, shard: &ShardName) -> u64 {
        self.newest(shard).map_or(0, |log| log.told_ms)
    }

    /// How a log stands.
    pub fn find(&self, shard: &ShardName, log_id: u128) -> Option<&ShardLog> {
        let logs = self.shards.get(shard)?;
        logs.iter().find(|log| log.log_id == log_id)
    }

    /// The regions whose rows are to be stored so that a state that is loaded knows what it lacks.
    pub fn unsaved(&self) -> &BTreeSet<String> {
        &self.unsaved
    }

    /// Whether a state that is loaded after a crash might not know what it lacks of a region: its shards are
    /// told nothing until that is over.
    pub fn is_undurable(&self, region_id: &str) -> bool {
        self.undurable.contains_key(region_id)
    }

    /// The shards that had more than what was taken when their offsets were stored, and when they were
    /// heard last.
    pub fn with_open(&self) -> impl Iterator<Item = (&ShardName, u64)> {
        self.heard_where(|log| log.has_open)
    }

    /// The shards of which a state that was loaded does not have all that was told to be there, and when they were
    /// heard last.
    pub fn to_miss(&self) -> impl Iterator<Item = (&ShardName, u64)> {
        self.heard_where(|log| log.has_open || log.is_missed)
    }

    /// The shards whose newest log is such a one, and when they were heard last.
    pub fn heard_where(
        &self,
        is_it: fn(&ShardLog) -> bool,
    ) -> impl Iterator<Item = (&ShardName, u64)> {
        self.shards.keys().filter_map(move |shard| {
            let newest = self.newest(shard)?;
            is_it(newest).then_some((shard, newest.last_heard_ms))
        })
    }

    /// How many shards were heard from, and about how many bytes they take here.
    pub fn held_bytes(&self) -> usize {
        // A name, one log, and what a shard has in the trees of what is live.
        self.shards.len() * 1_000
    }

    /// What was folded up to now goes into storage with these rows.
    pub fn rows(&self, regions: &[String]) -> Vec<Write> {
        let mut writes = Vec::new();
        for region_id in regions {
            let shards = self.shards_of(region_id);
            let shards = shards.map(|((_, shard), logs)| {
                let folded = logs.iter().cloned().map(|mut log| {
                    log.consumed = log.accepted;
                    log
                });
                (*shard, folded.collect())
            });
            let row = OffsetsRow {
                shards: shards.collect(),
            };
            let generation = self.generations.get(region_id).copied().unwrap_or(0);
            let name = row_name(region_id);
            writes.extend(two_copies::writes(Table::Offsets, &name, generation, &row));
        }
        writes
    }

    /// Those rows are written: everything that was accepted is consumed.
    pub fn written(&mut self, regions: &[String]) {
        self.flushes += 1;
        for region_id in regions {
            self.unsaved.remove(region_id);
            if let Some(flush) = self.undurable.get_mut(region_id) {
                *flush = self.flushes;
            }
            let shards = self.shards.range_mut((region_id.clone(), 0)..);
            let shards = shards.take_while(|(shard, _)| shard.0 == *region_id);
            for log in shards.flat_map(|(_, logs)| logs) {
                log.consumed = log.accepted;
                log.stored_heard_ms = log.last_heard_ms;
                log.stored_open = log.has_open;
            }
        }
        self.is_ahead_of_durable = true;
    }

    /// Whether anything is consumed that is not known to be durable.
    pub fn is_ahead_of_durable(&self) -> bool {
        self.is_ahead_of_durable
    }

    fn shards_of<'a>(
        &'a self,
        region_id: &'a str,
    ) -> impl Iterator<Item = (&'a ShardName, &'a Vec<ShardLog>)> {
        let shards = self.shards.range((region_id.to_owned(), 0)..);
        shards.take_while(move |(shard, _)| shard.0 == region_id)
    }

    /// What is stored at this moment, for [`Offsets::synced`] after the sync that follows.
    pub fn stored(&self) -> StoredOffsets {
        let all = self.shards.iter().flat_map(|(shard, logs)| {
            logs.iter()
                .map(move |log| (shard.clone(), log.log_id, log.consumed))
        });
        StoredOffsets {
            consumed: all.collect(),
            flushes: self.flushes,
        }
    }

    /// A sync is done that began when `stored` was taken.
    pub fn synced(&mut self, stored: &StoredOffsets) {
        (self.undurable).retain(|_, flush| *flush > stored.flushes);
        for (shard, log_id, offset) in &stored.consumed {
            let logs = self.shards.get_mut(shard);
            let log = logs.and_then(|logs| logs.iter_mut().find(|log| log.log_id == *log_id));
            if let Some(log) = log {
                log.durable = log.durable.max(*offset);
            }
        }
        let mut logs = self.shards.values().flatten();
        self.is_ahead_of_durable = logs.any(|log| log.durable < log.consumed);
    }
}

impl ShardLog {
    /// Where entries that begin at `first_offset` are.
    pub fn entries(&self, first_offset: u64) -> Entries {
        if first_offset > self.accepted {
            return Entries::Ahead;
        }
        let skip = usize::try_from(self.accepted - first_offset).unwrap_or(usize::MAX);
        Entries::Next { skip }
    }
}
