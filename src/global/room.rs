//! How much is stored, and how much one pane may take of what is left.
//!
//! The platform gives a database 10 GB; one that is full refuses every write. What grows here is
//! bounded so that it never comes to that:
//!
//! | what | most |
//! |---|---|
//! | ladders before panes are bounded, with published charts ([`super::closed`]) | 4.0 GB |
//! | panes that are stored from then on, at their least | 3.8 GB |
//! | what is put aside for an export ([`super::moment`]), with a flush of all panes | 0.77 GB |
//! | offsets of 10,000 shards × 16 logs of 40 bytes, in two copies | 0.01 GB |
//!
//! # Panes
//! A pane takes at most [`MOST_PANE_BYTES`], and with ids of 256 bytes that share nothing it does: 100
//! regions and the world would take 101 × (1,193 × 1 MB + 193 × 0.9) = 138 GB (the test adds it up).
//! So from [`FREE_BYTES`] stored on, a
//! pane may take less and less bytes, at [`TIGHT_BYTES`] no more than [`least_bytes`]: it keeps the
//! counters that fit, what it drops goes into its filter, and bounds hold. Panes that are there
//! already stay as they are until they expire. So ladders never pass
//! `TIGHT_BYTES` + 101 × (802 × 32 KiB + 193 × 24 + 210 × 16 + 180 × 12 + 64) = 4.0 + 3.8 GB.
//!
//! A region of a thousand plays a second takes 54 MB a year ([`crate::capacity`]), and 86 MB in 800 days, of which
//! 435 more are 74 kB each: some 35 of them are at [`FREE_BYTES`] then.

use crate::capacity::{
    EXACT_BYTES, MOST_PANE_BYTES, THINNED_AFTER_DAYS, THINNED_BYTES, encode_in_parts,
};
use crate::storage::{Storage, StorageError};
use crate::summary::Summary;
use crate::window::{DAY_MS, Level, PaneKey};

/// What the platform gives a database.
pub const DATABASE_BYTES: u64 = 10_000_000_000;
/// Stored bytes below which a pane may take what it needs.
pub const FREE_BYTES: u64 = 3_000_000_000;
/// Stored bytes from which on it may take its least only.
const TIGHT_BYTES: u64 = 4_000_000_000;

/// What a pane of a level may take where room is short.
const fn least_bytes(level: Level) -> u64 {
    match level {
        Level::Minute => 12 << 10,
        Level::Quarter => 16 << 10,
        Level::TwoHours => 24 << 10,
        Level::Day => 32 << 10,
        Level::All => 64 << 10,
    }
}

/// What a pane may take where there is room.
const MOST_BYTES: u64 = MOST_PANE_BYTES as u64;

/// The room that panes have, as it is now.
#[derive(Clone, Copy, Debug)]
pub struct PaneRoom {
    stored_bytes: u64,
    now_ms: u64,
}

impl PaneRoom {
    /// # Errors
    /// When the disk refuses.
    pub fn of(storage: &impl Storage, now_ms: u64) -> Result<Self, StorageError> {
        let stored_bytes = storage.size()?;
        Ok(PaneRoom {
            stored_bytes,
            now_ms,
        })
    }

    /// Whether no more may be stored for good than there is.
    pub fn is_short(self) -> bool {
        self.stored_bytes >= FREE_BYTES
    }

    /// The bytes that a pane may take.
    fn pane_bytes(self, level: Level) -> u64 {
        let over = self.stored_bytes.clamp(FREE_BYTES, TIGHT_BYTES) - FREE_BYTES;
        if over == 0 {
            return MOST_BYTES;
        }
        let least = least_bytes(level);
        // In between by equal factors: half the way is the geometric mean.
        let way = over as f64 / (TIGHT_BYTES - FREE_BYTES) as f64;
        let factor = (least as f64 / MOST_BYTES as f64).powf(way);
        least.max((MOST_BYTES as f64 * factor) as u64)
    }

    /// A pane as it is to be stored: with as many of its counters as there is room for, in two parts where
    /// [`encode_in_parts`] makes them.
    pub fn encode(self, pane: &Summary, key: PaneKey) -> (Vec<u8>, Vec<u8>) {
        let most = usize::try_from(self.pane_bytes(key.level)).unwrap_or(usize::MAX);
        let is_old = key.level == Level::Day
            && key.end_ms <= self.now_ms.saturating_sub(THINNED_AFTER_DAYS * DAY_MS);
        let most = if is_old {
            most.min(THINNED_BYTES)
        } else {
            most
        };
        let most_exact = if pane.is_exact() {
            EXACT_BYTES
        } else {
            usize::MAX
        };
        encode_in_parts(pane, key.level, most.min(most_exact))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::counters;
    use crate::global::ladder;
    use crate::global::moment::MAX_KEPT_BYTES;
    use crate::storage::Damage;
    use crate::storage::{MemoryStorage, Table};
    use crate::summary::Seed;
    use crate::topology::MAX_REGIONS;
    use crate::window::Days;
    use std::collections::HashMap;

    const SEED: Seed = Seed::from_bytes([3; 16]);
    /// Panes that a scope has at most, as `tests/window_properties.rs` finds them.
    const PANES: [(Level, u64); 5] = [
        (Level::Minute, 180),
        (Level::Quarter, 210),
        (Level::TwoHours, 193),
        (Level::Day, 802),
        (Level::All, 1),
    ];
    const TIGHT: PaneRoom = PaneRoom {
        stored_bytes: TIGHT_BYTES,
        now_ms: 0,
    };

    /// An id of 256 bytes that shares nothing with others, and that no packing makes smaller.
    fn long_id(number: u64) -> String {
        let mut state = number + 1;
        let letters = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'!' + (state % 94) as u8)
        });
        letters.take(256).collect()
    }

    fn newest(level: Level) -> PaneKey {
        PaneKey::of(level, u64::from(u32::MAX), &Days::default())
    }

    fn full(level: Level) -> (Summary, HashMap<String, u64>) {
        let (mut pane, mut played) = (Summary::new(counters(level), SEED), HashMap::new());
        for number in 0..counters(level) as u64 * 5 / 4 {
            let (id, count) = (long_id(number), 1 + number % 97);
            pane.record(&id, count);
            played.insert(id, count);
        }
        (pane, played)
    }

    #[test]
    fn whatever_is_played_the_database_is_never_full() {
        let scopes = MAX_REGIONS as u64 + 1;
        let (mut at_most, mut worst) = (0, 0);
        for (level, panes) in PANES {
            let (pane, _) = full(level);
            let free = PaneRoom {
                stored_bytes: 0,
                now_ms: 0,
            }
            .encode(&pane, newest(level))
            .0
            .len() as u64;
            let tight = TIGHT.encode(&pane, newest(level)).0.len() as u64;
            assert!(
                tight <= least_bytes(level) && free <= MOST_BYTES,
                "{level:?}: {tight}, {free}"
            );
            at_most += scopes * panes * tight;
            worst += scopes * panes * free;
        }
        assert!(worst > 8 * DATABASE_BYTES, "without a bound: {worst}");
        // A flush of all panes as they are now may be the one that passes.
        let one_flush = scopes * PANES.len() as u64 * 1_000_000;
        let aside = MAX_KEPT_BYTES + one_flush;
        let all = TIGHT_BYTES + at_most + one_flush + aside + 60_000_000;
        assert!(all <= DATABASE_BYTES, "{all}");
    }

    #[test]
    fn the_less_room_there_is_the_less_a_pane_may_take() {
        for (level, _) in PANES {
            let at = |stored_bytes| {
                PaneRoom {
                    stored_bytes,
                    now_ms: 0,
                }
                .pane_bytes(level)
            };
            let steps: Vec<u64> = (0..=100).map(|step| at(step * 100_000_000)).collect();
            assert!(steps.is_sorted_by(|a, b| a >= b), "{level:?}");
            assert_eq!((steps[30], steps[100]), (MOST_BYTES, least_bytes(level)));
        }
    }

    #[test]
    fn a_day_that_is_a_month_old_has_room_for_fewer_bytes() {
        let (pane, _) = full(Level::Day);
        let day = PaneKey::of(Level::Day, 20_000 * DAY_MS, &Days::default());
        let stored = |days_later| {
            let room = PaneRoom {
                stored_bytes: 0,
                now_ms: day.end_ms + days_later * DAY_MS,
            };
            room.encode(&pane, day).0.len()
        };
        assert!(stored(THINNED_AFTER_DAYS - 1) > 10 * THINNED_BYTES);
        assert!(stored(THINNED_AFTER_DAYS) <= THINNED_BYTES);
    }

    #[test]
    fn a_day_that_was_thinned_when_it_was_folded_is_not_thinned_again() {
        let (storage, damage) = (MemoryStorage::new(), Damage::default());
        let days = Days::default();
        let day = PaneKey::of(Level::Day, 20_000 * DAY_MS, &days);
        let now_ms = day.end_ms + (THINNED_AFTER_DAYS + 1) * DAY_MS;
        let mut nearly = Summary::new(1_000, SEED);
        let mut numbers = 0..;
        while nearly.encode().len() + 300 < THINNED_BYTES {
            nearly.record(&long_id(numbers.next().unwrap()), 1);
        }
        // Byte by byte over the limit.
        let last = long_id(numbers.next().unwrap()).repeat(2);
        for bytes in (20..=256).chain(257..=500) {
            let mut pane = nearly.clone();
            let (one, two) = last.split_at(bytes.min(256));
            pane.record(one, 1);
            if bytes > 256 {
                pane.record(&two[..bytes - 256], 1);
            }
            let room = PaneRoom {
                stored_bytes: 0,
                now_ms,
            };
            let write = ladder::fold(&storage, "NA", day, &[&pane], SEED, (room, &damage));
            storage.write(write.unwrap().as_slice()).unwrap();
            let again = ladder::thinned(&storage, "NA", SEED, now_ms, &days).unwrap();
            assert!(again.is_empty(), "{} bytes", pane.encode().len());
            storage.clear(Table::Panes).unwrap();
        }
    }

    #[test]
    fn what_a_pane_drops_for_want_of_room_stays_within_its_bounds() {
        let (pane, played) = full(Level::Day);
        let total = pane.total();
        let (stored, _) = TIGHT.encode(&pane, newest(Level::Day));
        let pane = Summary::decode(&stored, SEED).unwrap();
        assert_eq!(pane.total(), total);
        for (id, count) in played {
            let bounds = pane.bounds(&id);
            assert!(
                bounds.lower <= count && count <= bounds.upper,
                "{bounds:?}, {count}"
            );
        }
    }

    #[test]
    fn usual_panes_keep_half_of_their_counters_where_room_is_short() {
        let mut pane = Summary::new(counters(Level::Day), SEED);
        (0..200_000_u64).for_each(|number| {
            pane.record(&format!("song-{:06}", number * number % 9_973), 1);
        });
        let (stored, _) = TIGHT.encode(&pane, newest(Level::Day));
        let kept = Summary::decode(&stored, SEED).unwrap().len();
        assert!(kept > 1_000, "{kept}");
    }
}
