//! Fingerprints of the batches that were counted, so that a repeat is not counted again, and beside
//! each a hash of its plays, so that other plays under the same name are not taken for a repeat.
//!
//! A fingerprint is 96 bits of SipHash under a key that only this shard has. Among 1.2 million of
//! them (1,000 batches/s for [`REMEMBER_MS`]) a new batch meets a foreign one with a probability of
//! 1.5 · 10⁻²³. Other plays under the same name have the same hash of 32 bits once in 4 billion
//! times; who aims at that loses plays of its own. Each checkpoint stores the new ones as one row; a row whose youngest is older than
//! [`REMEMBER_MS`] is overwritten by a later one.
//!
//! In memory: a hash map for the current minute, one sorted array for each minute before, 16 bytes
//! a batch. A lookup searches at most 21 arrays, a microsecond or two.

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;

use ahash::RandomState;
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::REMEMBER_MS;
use crate::codec::{self, Record};
use crate::storage::{Table, Write};

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

impl Fingerprint {
    /// Of a claim of that batch: another one than the batch's own.
    pub fn of_claim(secret: &[u8; 16], key: &[u8]) -> Self {
        Self::of(&secret.map(|byte| !byte), key)
    }
}

/// A batch that was counted, or claimed: what it is known by, and the hash of its plays.
type Batch = (Fingerprint, u32);

/// The batches that came between two checkpoints.
#[derive(Serialize, Deserialize)]
struct SeenRow<'a> {
    newest_ms: u64,
    /// [`STORED_BYTES`] each.
    #[serde(borrow)]
    batches: &'a [u8],
}

impl Record for SeenRow<'_> {
    const KIND: u8 = 32;
    const VERSION: u8 = 1;
}

struct Generation {
    newest_ms: u64,
    sorted: Box<[Batch]>,
}

impl Generation {
    fn find(&self, fingerprint: &Fingerprint) -> Option<u32> {
        let place = self
            .sorted
            .binary_search_by_key(fingerprint, |batch| batch.0);
        place
            .ok()
            .and_then(|place| self.sorted.get(place))
            .map(|batch| batch.1)
    }
}

fn read_batch(stored: &[u8]) -> Option<Batch> {
    let (fingerprint, plays_hash) = stored.split_first_chunk::<BYTES>()?;
    let plays_hash = plays_hash.try_into().ok().map(u32::from_be_bytes)?;
    Some((Fingerprint(*fingerprint), plays_hash))
}

/// The batches that a shard remembers.
pub struct Seen {
    current: HashMap<Fingerprint, u32, RandomState>,
    current_since_ms: u64,
    older: VecDeque<Generation>,
    /// Not in storage yet.
    unsaved: Vec<Batch>,
    /// Stored rows: slot and the time of its youngest, oldest first.
    rows: VecDeque<(u64, u64)>,
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
            rows: VecDeque::new(),
            next_slot: 0,
        }
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
        let batches = row.batches.chunks_exact(STORED_BYTES);
        let mut sorted: Vec<_> = batches.filter_map(read_batch).collect();
        sorted.sort_unstable();
        self.older.push_back(Generation {
            newest_ms: row.newest_ms,
            sorted: sorted.into(),
        });
        self.rows.push_back((slot, row.newest_ms));
        true
    }

    /// When the youngest of the rows taken back was stored.
    pub fn newest_row_ms(&self) -> Option<u64> {
        self.rows.iter().map(|(_, newest_ms)| *newest_ms).max()
    }

    /// To be called once after the last row: brings them into order and into minutes.
    pub fn loaded(&mut self, now_ms: u64) {
        self.rows
            .make_contiguous()
            .sort_unstable_by_key(|(_, newest_ms)| *newest_ms);
        let mut generations: Vec<Generation> = self.older.drain(..).collect();
        generations.sort_unstable_by_key(|generation| generation.newest_ms);
        for generation in generations {
            match self.older.back_mut() {
                Some(last)
                    if last.newest_ms / GENERATION_MS == generation.newest_ms / GENERATION_MS =>
                {
                    let mut all = [&last.sorted[..], &generation.sorted].concat();
                    all.sort_unstable();
                    last.sorted = all.into();
                    last.newest_ms = generation.newest_ms;
                }
                _ => self.older.push_back(generation),
            }
        }
        self.expire(now_ms);
    }

    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.plays_hash(fingerprint).is_some()
    }

    /// The hash of the plays that were counted under a fingerprint.
    pub fn plays_hash(&self, fingerprint: &Fingerprint) -> Option<u32> {
        let in_older = || {
            self.older
                .iter()
                .rev()
                .find_map(|older| older.find(fingerprint))
        };
        self.current.get(fingerprint).copied().or_else(in_older)
    }

    /// Marks a batch as counted.
    pub fn insert(&mut self, fingerprint: Fingerprint, plays_hash: u32, now_ms: u64) {
        if now_ms.saturating_sub(self.current_since_ms) >= GENERATION_MS {
            self.close_generation(now_ms);
        }
        self.current.insert(fingerprint, plays_hash);
        self.unsaved.push((fingerprint, plays_hash));
    }

    fn close_generation(&mut self, now_ms: u64) {
        if !self.current.is_empty() {
            let mut sorted: Vec<_> = self.current.drain().collect();
            sorted.sort_unstable();
            // A generation may have been open for long when nothing came: what is in it came
            // before now, and that is what counts for remembering it long enough.
            let newest_ms = now_ms;
            self.older.push_back(Generation {
                newest_ms,
                sorted: sorted.into(),
            });
            self.current.shrink_to(1_024);
        }
        self.current_since_ms = now_ms;
        self.expire(now_ms);
    }

    fn expire(&mut self, now_ms: u64) {
        let forgotten = |newest_ms: u64| now_ms.saturating_sub(newest_ms) > REMEMBER_MS;
        while self
            .older
            .front()
            .is_some_and(|generation| forgotten(generation.newest_ms))
        {
            self.older.pop_front();
        }
    }

    /// The row for a checkpoint, if there is anything new.
    pub fn save(&mut self, now_ms: u64) -> Option<Write> {
        if self.unsaved.is_empty() {
            return None;
        }
        let reusable = self.rows.front().copied();
        let slot = match reusable {
            Some((slot, newest_ms)) if now_ms.saturating_sub(newest_ms) > REMEMBER_MS => {
                self.rows.pop_front();
                slot
            }
            _ => {
                self.next_slot += 1;
                self.next_slot - 1
            }
        };
        self.rows.push_back((slot, now_ms));
        let mut batches = Vec::with_capacity(self.unsaved.len() * STORED_BYTES);
        for (fingerprint, plays_hash) in &self.unsaved {
            batches.extend(fingerprint.0);
            batches.extend(plays_hash.to_be_bytes());
        }
        let row = codec::encode(&SeenRow {
            newest_ms: now_ms,
            batches: &batches,
        });
        self.unsaved.clear();
        Some(Write::put(Table::Seen, slot.to_be_bytes(), row))
    }

    /// How many batches are remembered.
    pub fn len(&self) -> usize {
        let older = self.older.iter().map(|generation| generation.sorted.len());
        self.current.len() + older.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(number: u64) -> Fingerprint {
        Fingerprint::of(&[7; 16], &number.to_be_bytes())
    }

    fn hash(number: u64) -> u32 {
        number as u32 ^ 0xa5a5_0000
    }

    #[test]
    fn batches_and_the_hashes_of_their_plays_are_remembered_for_their_time_also_across_a_restart() {
        let mut seen = Seen::new();
        let mut rows = std::collections::BTreeMap::new();
        let start_ms = 1_000_000_000;
        for second in 0..3_600 {
            let now_ms = start_ms + second * 1_000;
            seen.insert(fingerprint(second), hash(second), now_ms);
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
                    loaded.insert(fingerprint(fresh), hash(fresh), now_ms);
                }
                seen = loaded;
            }
            for old in second.saturating_sub(REMEMBER_MS / 1_000 - 60)..=second {
                let known = seen.plays_hash(&fingerprint(old));
                assert_eq!(known, Some(hash(old)), "{old} at {second}");
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
    fn a_damaged_row_is_refused_and_its_slot_left_alone() {
        let mut seen = Seen::new();
        seen.insert(fingerprint(1), 1, 1_000);
        let Some(Write::Put { key, mut value, .. }) = seen.save(1_000) else {
            panic!("a row")
        };
        value[8] ^= 1;
        let mut loaded = Seen::new();
        assert!(!loaded.load_row(&key, &value));
        assert!(!loaded.load_row(b"short", &value));
        loaded.loaded(1_000);
        loaded.insert(fingerprint(2), 2, 2_000);
        let Some(Write::Put { key: next, .. }) = loaded.save(2_000) else {
            panic!("a row")
        };
        assert_ne!(key, next);
    }
}
