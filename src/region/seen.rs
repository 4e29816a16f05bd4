//! Fingerprints of the batches that were counted, so that a repeat is not counted again.
//!
//! A fingerprint is 96 bits of SipHash under a key that only this shard has. Among 1.2 million of
//! them (1,000 batches/s for [`REMEMBER_MS`]) a new batch meets a foreign one with a probability of
//! 1.5 · 10⁻²³. Each checkpoint stores the new ones as one row; a row whose youngest is older than
//! [`REMEMBER_MS`] is overwritten by a later one.
//!
//! In memory: a hash set for the current minute, one sorted array for each minute before, 12 bytes
//! a fingerprint. A lookup searches at most 21 arrays, a microsecond or two.

use std::collections::{HashSet, VecDeque};
use std::hash::Hasher;

use ahash::RandomState;
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::REMEMBER_MS;
use crate::codec::{self, Record};
use crate::storage::{Table, Write};

const BYTES: usize = 12;
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

/// The fingerprints that came between two checkpoints.
#[derive(Serialize, Deserialize)]
struct SeenRow<'a> {
    newest_ms: u64,
    #[serde(borrow)]
    fingerprints: &'a [u8],
}

impl Record for SeenRow<'_> {
    const KIND: u8 = 32;
    const VERSION: u8 = 1;
}

struct Generation {
    newest_ms: u64,
    sorted: Box<[Fingerprint]>,
}

/// The batches that a shard remembers.
pub struct Seen {
    current: HashSet<Fingerprint, RandomState>,
    current_since_ms: u64,
    older: VecDeque<Generation>,
    /// Not in storage yet.
    unsaved: Vec<Fingerprint>,
    /// Stored rows: slot and the time of its youngest, oldest first.
    rows: VecDeque<(u64, u64)>,
    next_slot: u64,
}

impl Seen {
    pub fn new() -> Self {
        Seen {
            // Fingerprints are the output of a keyed hash: nobody can aim at this one.
            current: HashSet::with_hasher(RandomState::with_seeds(1, 2, 3, 4)),
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
        let fingerprints = row.fingerprints.chunks_exact(BYTES);
        let mut sorted: Vec<_> = fingerprints
            .filter_map(|chunk| chunk.try_into().ok().map(Fingerprint))
            .collect();
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
        self.current.contains(fingerprint)
            || self
                .older
                .iter()
                .rev()
                .any(|generation| generation.sorted.binary_search(fingerprint).is_ok())
    }

    /// Marks a batch as counted.
    pub fn insert(&mut self, fingerprint: Fingerprint, now_ms: u64) {
        if now_ms.saturating_sub(self.current_since_ms) >= GENERATION_MS {
            self.close_generation(now_ms);
        }
        self.current.insert(fingerprint);
        self.unsaved.push(fingerprint);
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
        let fingerprints = self.unsaved.iter().flat_map(|fingerprint| fingerprint.0);
        let row = codec::encode(&SeenRow {
            newest_ms: now_ms,
            fingerprints: &fingerprints.collect::<Vec<u8>>(),
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

    #[test]
    fn batches_are_remembered_for_their_time_also_across_a_restart() {
        let mut seen = Seen::new();
        let mut rows = std::collections::BTreeMap::new();
        let start_ms = 1_000_000_000;
        for second in 0..3_600 {
            let now_ms = start_ms + second * 1_000;
            seen.insert(fingerprint(second), now_ms);
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
                    loaded.insert(fingerprint(fresh), now_ms);
                }
                seen = loaded;
            }
            for old in second.saturating_sub(REMEMBER_MS / 1_000 - 60)..=second {
                assert!(seen.contains(&fingerprint(old)), "{old} at {second}");
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
        seen.insert(fingerprint(1), 1_000);
        let Some(Write::Put { key, mut value, .. }) = seen.save(1_000) else {
            panic!("a row")
        };
        value[8] ^= 1;
        let mut loaded = Seen::new();
        assert!(!loaded.load_row(&key, &value));
        assert!(!loaded.load_row(b"short", &value));
        loaded.loaded(1_000);
        loaded.insert(fingerprint(2), 2_000);
        let Some(Write::Put { key: next, .. }) = loaded.save(2_000) else {
            panic!("a row")
        };
        assert_ne!(key, next);
    }
}
