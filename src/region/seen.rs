//! What became of batches that have a name. A batch that was counted leaves a fingerprint, so that a
//! repeat is not counted again; one that was claimed leaves a fingerprint and the shard that counts it.
//! Beside each fingerprint is a hash of the batch's plays, so that other plays under the same name are
//! not taken for a repeat.
//!
//! A fingerprint is 96 bits of SipHash under a key that only this shard has. Among 1.2 million of
//! them (1,000 batches/s for [`REMEMBER_MS`]) a new batch collides with another one with a probability of
//! 1.5 · 10⁻²³. Other plays under the same name have the same hash of 32 bits once in 4 billion
//! times; a sender that aims at that loses plays of its own. Each checkpoint stores the new fingerprints
//! as one row. A row whose youngest fingerprint is older than [`REMEMBER_MS`] is overwritten.
//!
//! In memory: a hash map for the current minute, sorted arrays for each minute before, 16 bytes
//! a batch, 20 a claim (the shards that claims name are shared). A lookup searches at most 21 arrays
//! of each kind, a microsecond or two.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::Hasher;
use std::rc::Rc;

use ahash::RandomState;
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::REMEMBER_MS;
use crate::codec::{self, record};
use crate::mutants::{self, Mutant};
use crate::storage::{Table, Write};
use crate::topology::ShardId;

const BYTES: usize = 12;
/// A fingerprint and the hash of its plays, as stored.
const STORED_BYTES: usize = BYTES + 4;
const GENERATION_MS: u64 = 60_000;

/// What is kept of a batch's key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Fingerprint([u8; BYTES]);

impl Fingerprint {
    /// Of a batch's key, under the shard's secret.
    pub fn of(secret: &[u8; 16], key: &[u8]) -> Self {
        let mut hasher = SipHasher13::new_with_key(secret);
        hasher.write(key);
        let hash = hasher.finish128().as_bytes();
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(hash.first_chunk::<BYTES>().unwrap_or(&[0; BYTES]));
        Fingerprint(bytes)
    }
}

/// What became of a batch, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The hash of its plays.
    pub plays_hash: u32,
    /// The shard that counts it, where it was claimed; `None` where it was counted here.
    pub moved_to: Option<Rc<ShardId>>,
}

/// A batch that was counted: what it is known by, and the hash of its plays.
type CountedBatch = (Fingerprint, u32);
/// A batch that was claimed.
type MovedBatch = (Fingerprint, u32, Rc<ShardId>);

/// The batches that came between two checkpoints.
#[derive(Serialize, Deserialize)]
struct SeenRow<'a> {
    newest_ms: u64,
    /// [`STORED_BYTES`] each.
    #[serde(borrow)]
    counted: &'a [u8],
    /// The same of those that were claimed, by where they went.
    #[serde(borrow)]
    moved: Vec<(ShardId, &'a [u8])>,
}

record!(SeenRow<'_> v 1);

/// When the youngest of some batches came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Dated {
    /// By the clock as it has been since, where it was set back.
    at_latest_ms: u64,
    /// By the clock as it was then.
    ms: u64,
}

impl Dated {
    fn at(ms: u64) -> Self {
        Dated {
            at_latest_ms: ms,
            ms,
        }
    }

    /// Whether they are to be forgotten. A clock that goes back for a moment, and comes again a little behind where it was,
    /// makes nothing older; of one that was further ahead the date says nothing before it has come.
    fn is_old(self, now_ms: u64) -> bool {
        let is_old = |ms: u64| now_ms.saturating_sub(ms) > REMEMBER_MS;
        is_old(self.at_latest_ms)
            && (self.ms > now_ms.saturating_add(REMEMBER_MS) || is_old(self.ms))
    }
}

#[derive(Default)]
struct Generation {
    newest: Dated,
    /// Sorted.
    counted: Box<[CountedBatch]>,
    moved: Box<[MovedBatch]>,
}

impl Generation {
    fn of(newest: Dated, mut counted: Vec<CountedBatch>, mut moved: Vec<MovedBatch>) -> Self {
        counted.sort_unstable();
        moved.sort_unstable();
        Generation {
            newest,
            counted: counted.into(),
            moved: moved.into(),
        }
    }

    fn find(&self, fingerprint: &Fingerprint) -> Option<Fate> {
        let counted = (self.counted).binary_search_by_key(fingerprint, |batch| batch.0);
        if let Some((_, plays_hash)) = counted.ok().and_then(|at| self.counted.get(at)) {
            return Some(Fate {
                plays_hash: *plays_hash,
                moved_to: None,
            });
        }
        let moved = (self.moved).binary_search_by_key(fingerprint, |batch| batch.0);
        let (_, plays_hash, to) = moved.ok().and_then(|at| self.moved.get(at))?;
        Some(Fate {
            plays_hash: *plays_hash,
            moved_to: Some(Rc::clone(to)),
        })
    }

    fn len(&self) -> usize {
        self.counted.len() + self.moved.len()
    }
}

fn read_batches(stored: &[u8]) -> impl Iterator<Item = CountedBatch> + '_ {
    stored.chunks_exact(STORED_BYTES).filter_map(|stored| {
        let (fingerprint, plays_hash) = stored.split_first_chunk::<BYTES>()?;
        let plays_hash = plays_hash.try_into().ok().map(u32::from_be_bytes)?;
        Some((Fingerprint(*fingerprint), plays_hash))
    })
}

fn write_batch(stored: &mut Vec<u8>, fingerprint: &Fingerprint, plays_hash: u32) {
    stored.extend(fingerprint.0);
    stored.extend(plays_hash.to_be_bytes());
}

/// The batches that a shard remembers.
pub struct Seen {
    current: HashMap<Fingerprint, Fate, RandomState>,
    current_since_ms: u64,
    older: VecDeque<Generation>,
    /// Fingerprints that are not in storage yet.
    unsaved: Vec<(Fingerprint, Fate)>,
    /// When the youngest of them came.
    unsaved_ms: u64,
    /// Every shard that a claim names, once: at most as many as there are.
    shards: BTreeSet<Rc<ShardId>>,
    /// Stored rows: slot and the time of its youngest, oldest first.
    rows: VecDeque<(u64, Dated)>,
    next_slot: u64,
}

impl Seen {
    pub fn new() -> Self {
        Seen {
            // Fingerprints are the output of a keyed hash: nobody can aim at this one.
            current: HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4)),
            current_since_ms: 0,
            older: VecDeque::new(),
            unsaved: Vec::new(),
            unsaved_ms: 0,
            shards: BTreeSet::new(),
            rows: VecDeque::new(),
            next_slot: 0,
        }
    }

    /// The one copy of a shard's name that all claims share.
    pub fn shared(&mut self, shard: ShardId) -> Rc<ShardId> {
        if let Some(known) = self.shards.get(&shard) {
            return Rc::clone(known);
        }
        let shard = Rc::new(shard);
        self.shards.insert(Rc::clone(&shard));
        shard
    }

    /// Takes a stored row back; `false` if it cannot be read. Its slot is not reused then.
    pub fn load_row(&mut self, key: &[u8], value: &[u8]) -> bool {
        let Ok(slot) = <[u8; 8]>::try_from(key).map(u64::from_be_bytes) else {
            return false;
        };
        self.next_slot = self.next_slot.max(slot.saturating_add(1));
        let Ok(row) = codec::decode::<SeenRow<'_>>(value) else {
            return false;
        };
        let mut counted: Vec<_> = read_batches(row.counted).collect();
        let mut moved = Vec::new();
        for (shard, batches) in row.moved {
            if mutants::active(Mutant::TargetLost) {
                counted.extend(read_batches(batches));
                continue;
            }
            let to = self.shared(shard);
            let batches = read_batches(batches);
            moved.extend(batches.map(|(known, plays_hash)| (known, plays_hash, Rc::clone(&to))));
        }
        let newest = Dated::at(row.newest_ms);
        (self.older).push_back(Generation::of(newest, counted, moved));
        self.rows.push_back((slot, newest));
        true
    }

    /// When the youngest of the rows taken back was stored.
    pub fn newest_row_ms(&self) -> Option<u64> {
        self.rows
            .iter()
            .map(|(_, newest)| newest.at_latest_ms)
            .max()
    }

    /// To be called once after the last row: brings them into order and into minutes.
    pub fn loaded(&mut self, now_ms: u64) {
        self.date_back(now_ms);
        self.rows
            .make_contiguous()
            .sort_unstable_by_key(|(_, newest)| *newest);
        let mut generations: Vec<Generation> = self.older.drain(..).collect();
        generations.sort_unstable_by_key(|generation| generation.newest);
        for generation in generations {
            match self.older.back_mut() {
                Some(last)
                    if last.newest.ms / GENERATION_MS == generation.newest.ms / GENERATION_MS =>
                {
                    *last = Generation::of(
                        generation.newest,
                        [&last.counted[..], &generation.counted].concat(),
                        [&last.moved[..], &generation.moved].concat(),
                    );
                }
                _ => self.older.push_back(generation),
            }
        }
        self.expire(now_ms);
    }

    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.fate(fingerprint).is_some()
    }

    /// What became of a batch.
    pub fn fate(&self, fingerprint: &Fingerprint) -> Option<Fate> {
        let mut older = self.older.iter().rev();
        let in_older = || older.find_map(|older| older.find(fingerprint));
        self.current.get(fingerprint).cloned().or_else(in_older)
    }

    /// Remembers what became of a batch.
    pub fn insert(&mut self, fingerprint: Fingerprint, fate: Fate, now_ms: u64) {
        let is_set_back = now_ms < self.current_since_ms;
        if is_set_back {
            self.date_back(now_ms);
        }
        if is_set_back || now_ms.saturating_sub(self.current_since_ms) >= GENERATION_MS {
            self.close_generation(now_ms);
        }
        self.current.insert(fingerprint, fate.clone());
        self.unsaved.push((fingerprint, fate));
        self.unsaved_ms = self.unsaved_ms.max(now_ms);
    }

    /// A mistake: a restart knows nothing of it.
    pub fn remember_in_memory_alone(&mut self, fingerprint: Fingerprint, fate: Fate) {
        self.current.insert(fingerprint, fate);
    }

    /// The clock was set back. What is dated later than now came before.
    fn date_back(&mut self, now_ms: u64) {
        let older = self.older.iter_mut();
        let older = older.map(|generation| &mut generation.newest);
        let rows = self.rows.iter_mut().map(|(_, newest)| newest);
        for newest in older.chain(rows) {
            newest.at_latest_ms = now_ms.min(newest.at_latest_ms);
        }
    }

    fn close_generation(&mut self, now_ms: u64) {
        if !self.current.is_empty() {
            let (mut counted, mut moved) = (Vec::new(), Vec::new());
            for (fingerprint, fate) in self.current.drain() {
                match fate.moved_to {
                    None => counted.push((fingerprint, fate.plays_hash)),
                    Some(to) => moved.push((fingerprint, fate.plays_hash, to)),
                }
            }
            // A generation may have been open for long when nothing came: what is in it came
            // before now, and that is what counts for remembering it long enough. Where the clock was set back, it came
            // while the generation was open.
            let mut newest = Dated::at(now_ms);
            if now_ms < self.current_since_ms {
                newest.ms = self.current_since_ms + GENERATION_MS;
            }
            self.older.push_back(Generation::of(newest, counted, moved));
            self.current.shrink_to(1_024);
        }
        self.current_since_ms = now_ms;
        self.expire(now_ms);
    }

    fn expire(&mut self, now_ms: u64) {
        let age_ms =
            |generation: &Generation| now_ms.saturating_sub(generation.newest.at_latest_ms);
        let is_forgotten = |generation: &Generation| generation.newest.is_old(now_ms);
        while self.older.front().is_some_and(is_forgotten) {
            self.older.pop_front();
        }
        if mutants::active(Mutant::ClaimForgottenEarly) {
            let early = |generation: &&mut Generation| age_ms(generation) > GENERATION_MS;
            let early = self.older.iter_mut().filter(early);
            early.for_each(|generation| generation.moved = Box::default());
        }
        // What no claim names any more is here alone.
        self.shards.retain(|shard| Rc::strong_count(shard) > 1);
    }

    /// The row for a checkpoint, if there is anything new.
    pub fn save(&mut self, now_ms: u64) -> Option<Write> {
        if self.unsaved.is_empty() {
            return None;
        }
        self.date_back(now_ms);
        let reusable = self.rows.front().copied();
        let slot = match reusable {
            Some((slot, newest)) if newest.is_old(now_ms) => {
                self.rows.pop_front();
                slot
            }
            _ => {
                self.next_slot += 1;
                self.next_slot - 1
            }
        };
        let newest = Dated {
            at_latest_ms: now_ms,
            ms: now_ms.max(std::mem::take(&mut self.unsaved_ms)),
        };
        self.rows.push_back((slot, newest));
        let mut counted = Vec::with_capacity(self.unsaved.len() * STORED_BYTES);
        let mut moved: BTreeMap<Rc<ShardId>, Vec<u8>> = BTreeMap::new();
        for (fingerprint, fate) in self.unsaved.drain(..) {
            let stored = match fate.moved_to {
                None => &mut counted,
                Some(to) => moved.entry(to).or_default(),
            };
            write_batch(stored, &fingerprint, fate.plays_hash);
        }
        let moved = moved.iter();
        let moved = moved.map(|(shard, batches)| (ShardId::clone(shard), &batches[..]));
        let row = codec::encode(&SeenRow {
            newest_ms: newest.ms,
            counted: &counted,
            moved: moved.collect(),
        });
        Some(Write::put(Table::Seen, slot.to_be_bytes(), row))
    }

    /// How many batches are remembered.
    pub fn len(&self) -> usize {
        let older = self.older.iter().map(Generation::len);
        self.current.len() + older.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(number: u64) -> Fingerprint {
        Fingerprint::of(&[7; 16], &number.to_be_bytes())
    }

    /// Every third one is a claim, to one of two shards.
    fn fate(number: u64) -> Fate {
        let to = ShardId {
            key: "EU".into(),
            shard: number as u32 % 2,
        };
        Fate {
            plays_hash: number as u32 ^ 0xa5a5_0000,
            moved_to: number.is_multiple_of(3).then(|| Rc::new(to)),
        }
    }

    #[test]
    fn what_became_of_batches_is_remembered_for_its_time_also_across_a_restart() {
        let mut seen = Seen::new();
        let mut rows = std::collections::BTreeMap::new();
        let start_ms = 1_000_000_000;
        for second in 0..3_600 {
            let now_ms = start_ms + second * 1_000;
            seen.insert(fingerprint(second), fate(second), now_ms);
            if second % 13 == 0
                && let Some(Write::Put { key, value, .. }) = seen.save(now_ms)
            {
                rows.insert(key, value);
            }
            if second % 977 == 0 {
                let mut loaded = Seen::new();
                for (key, value) in &rows {
                    assert!(loaded.load_row(key, value));
                }
                loaded.loaded(now_ms);
                for fresh in loaded.unsaved_since_last_save(second) {
                    loaded.insert(fingerprint(fresh), fate(fresh), now_ms);
                }
                seen = loaded;
            }
            for old in second.saturating_sub(REMEMBER_MS / 1_000 - 60)..=second {
                let known = seen.fate(&fingerprint(old));
                assert_eq!(known, Some(fate(old)), "{old} at {second}");
            }
        }
        assert!(rows.len() < 120, "slots are reused: {}", rows.len());
        assert!(!seen.contains(&fingerprint(4_000)));
        assert!(seen.len() < 1_400, "the old are forgotten: {}", seen.len());
    }

    impl Seen {
        /// What a journal would give back after a restart: everything since the last save.
        fn unsaved_since_last_save(&self, second: u64) -> std::ops::RangeInclusive<u64> {
            (second - second % 13)..=second
        }
    }

    #[test]
    fn a_clock_that_goes_back_for_a_moment_makes_nothing_forgotten() {
        const NOW_MS: u64 = 1_000_000_000;
        let (starts, backs, afters) = ([false, true], [3, 60], [5_000, 90_000]);
        let cases = starts.iter().flat_map(|starts_again| {
            let of = move |back| afters.map(|after_ms| (*starts_again, back, after_ms));
            backs.into_iter().flat_map(of)
        });
        for (starts_again, minutes_back, after_ms) in cases {
            let mut seen = Seen::new();
            seen.insert(fingerprint(1), fate(1), NOW_MS);
            if after_ms > GENERATION_MS {
                seen.insert(fingerprint(2), fate(2), NOW_MS + 70_000);
            }
            // Nothing was stored before the clock went back.
            let back_ms = NOW_MS + after_ms - minutes_back * 60_000;
            seen.insert(fingerprint(3), fate(3), back_ms);
            let row = seen.save(back_ms).unwrap();
            if starts_again {
                seen = Seen::new();
                let Write::Put { key, value, .. } = row else {
                    panic!("it is stored")
                };
                assert!(seen.load_row(&key, &value));
                seen.loaded(NOW_MS + after_ms + 5_000);
            }
            for second in 10..REMEMBER_MS / 1_000 {
                let now_ms = NOW_MS + after_ms + second * 1_000;
                seen.insert(fingerprint(100 + second), fate(100 + second), now_ms);
                if now_ms < NOW_MS + REMEMBER_MS {
                    assert_eq!(seen.fate(&fingerprint(1)), Some(fate(1)));
                }
            }
        }
    }

    #[test]
    fn what_came_before_the_clock_was_set_back_is_remembered_for_its_time_and_then_forgotten() {
        const DAY_MS: u64 = 24 * 3_600_000;
        for starts_again in [false, true] {
            let mut seen = Seen::new();
            let mut rows = BTreeMap::new();
            // For an hour the clock is a day ahead.
            let ahead_ms = 1_000_000_000 + DAY_MS;
            let back_s = 3_600;
            for second in 0..3 * back_s {
                let now_ms = ahead_ms + second * 1_000;
                let now_ms = now_ms - if second < back_s { 0 } else { DAY_MS };
                seen.insert(fingerprint(second), fate(second), now_ms);
                if second % 13 == 0
                    && let Some(Write::Put { key, value, .. }) = seen.save(now_ms)
                {
                    rows.insert(key, value);
                }
                if starts_again && second == back_s + 13 * 2 {
                    seen = Seen::new();
                    for (key, value) in &rows {
                        assert!(seen.load_row(key, value));
                    }
                    seen.loaded(now_ms);
                    for fresh in seen.unsaved_since_last_save(second) {
                        seen.insert(fingerprint(fresh), fate(fresh), now_ms);
                    }
                }
                let promised = second.saturating_sub(REMEMBER_MS / 1_000 - 60)..=second;
                for old in promised.step_by(7) {
                    let known = seen.fate(&fingerprint(old));
                    assert_eq!(known, Some(fate(old)), "{old} at {second}");
                }
            }
            assert!(seen.len() < 1_400, "the old are forgotten: {}", seen.len());
            assert!(seen.current.len() <= 60, "{}", seen.current.len());
            assert!(rows.len() < 220, "slots are reused: {}", rows.len());
        }
    }

    #[test]
    fn a_damaged_row_is_refused_and_its_slot_left_alone() {
        let mut seen = Seen::new();
        seen.insert(fingerprint(1), fate(3), 1_000);
        let Some(Write::Put { key, mut value, .. }) = seen.save(1_000) else {
            panic!("a row")
        };
        value[8] ^= 1;
        let mut loaded = Seen::new();
        assert!(!loaded.load_row(&key, &value));
        assert!(!loaded.load_row(b"short", &value));
        loaded.loaded(1_000);
        loaded.insert(fingerprint(2), fate(2), 2_000);
        let Some(Write::Put { key: next, .. }) = loaded.save(2_000) else {
            panic!("a row")
        };
        assert_ne!(key, next);
    }

    #[test]
    fn the_shards_that_claims_name_are_held_once_and_for_as_long_as_they_are_named() {
        let mut seen = Seen::new();
        for number in 0..1_000 {
            let mut fate = fate(3 * number);
            let to = ShardId::clone(fate.moved_to.as_ref().unwrap());
            fate.moved_to = Some(seen.shared(to));
            seen.insert(fingerprint(number), fate, 1_000_000);
        }
        assert_eq!(seen.shards.len(), 2);
        seen.save(1_000_000);
        seen.close_generation(2_000_000);
        assert_eq!(seen.shards.len(), 2);
        seen.close_generation(2_000_000 + REMEMBER_MS + 1);
        assert_eq!((seen.shards.len(), seen.len()), (0, 0));
    }
}
