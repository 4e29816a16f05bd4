//! How much is stored, and how much one pane may take of what is left.
//!
//! The platform gives a database 10 GB; one that is full refuses every write. What grows here is
//! bounded so that it never comes to that:
//!
//! | what | most |
//! |---|---|
//! | ladders before panes are bounded | 4.2 GB |
//! | panes that are stored from then on, at their least | 3.6 GB |
//! | catalog ([`MAX_CATALOG_BYTES`]) | 1 GB |
//! | what is put aside for an export ([`super::moment`]), with a flush of all panes | 0.77 GB |
//! | offsets of 100 regions × 1,000 shards × 16 logs of 40 bytes | 0.06 GB |
//!
//! # Panes
//! A pane keeps at most [`counters`](crate::capacity::counters). With ids of 256 bytes that share
//! nothing, one of a day is 0.9 MB packed, and 100 regions and the world would take
//! 101 × (800 × 0.9 MB + 193 × 0.45 + 390 × 0.22 + 1.8) = 88 GB (the test adds it up). So from [`FREE_BYTES`] stored on, a
//! pane may take less and less bytes, at [`TIGHT_BYTES`] no more than [`least_bytes`]: it keeps the
//! counters that fit, what it drops goes into its filter, and bounds hold. Panes that are there
//! already stay as they are until they expire. So ladders never pass
//! `TIGHT_BYTES` + 101 × (800 × 32 KiB + 193 × 24 + 210 × 16 + 180 × 12 + 64) = 4.2 + 3.8 GB.
//!
//! Honest panes of short ids take 72 kB a day: seven regions are at 0.5 GB after 800 days, forty at
//! [`FREE_BYTES`].

use crate::storage::{Storage, StorageError};
use crate::summary::Summary;
use crate::window::Level;

/// What the platform gives a database.
pub const DATABASE_BYTES: u64 = 10_000_000_000;
/// Entries of the catalog and their bytes, keys included.
pub const MAX_CATALOG_POSTS: u64 = 2_000_000;
pub const MAX_CATALOG_BYTES: u64 = 1_000_000_000;
/// Stored bytes below which a pane may take what it needs.
const FREE_BYTES: u64 = 3_000_000_000;
/// Stored bytes from which on it may take its least only.
const TIGHT_BYTES: u64 = 4_200_000_000;
/// Counters that a pane keeps at least: 16 of the longest ids are 4 kB.
const FEWEST_COUNTERS: usize = 16;

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

/// More than any pane needs: 8,192 counters of all time, of the longest ids.
const MOST_BYTES: u64 = 3 << 20;

/// The room that panes have, as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    stored_bytes: u64,
}

impl Room {
    /// # Errors
    /// When the disk refuses.
    pub fn of(storage: &impl Storage) -> Result<Self, StorageError> {
        let stored_bytes = storage.size()?;
        Ok(Room { stored_bytes })
    }

    /// The bytes that a pane may take.
    fn pane_bytes(self, level: Level) -> u64 {
        let over = self.stored_bytes.clamp(FREE_BYTES, TIGHT_BYTES) - FREE_BYTES;
        if over == 0 {
            return u64::MAX;
        }
        let least = least_bytes(level);
        // In between by equal factors: half the way is the geometric mean.
        let way = over as f64 / (TIGHT_BYTES - FREE_BYTES) as f64;
        let factor = (least as f64 / MOST_BYTES as f64).powf(way);
        least.max((MOST_BYTES as f64 * factor) as u64)
    }

    /// A pane as it is to be stored: with as many of its counters as there is room for.
    pub fn encode(self, mut pane: Summary, level: Level) -> Vec<u8> {
        let most = self.pane_bytes(level);
        loop {
            let bytes = pane.encode();
            let stored = bytes.len() as u64;
            if stored <= most || pane.len() <= FEWEST_COUNTERS {
                return bytes;
            }
            // Those that stay may have the longer ids: a tenth less each time.
            let fitting = pane.len() as u64 * most / stored;
            let capacity = usize::try_from(fitting * 9 / 10).unwrap_or(usize::MAX);
            pane.truncate(capacity.max(FEWEST_COUNTERS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::counters;
    use crate::global::moment::MAX_KEPT_BYTES;
    use crate::summary::Seed;
    use crate::topology::MAX_REGIONS;
    use std::collections::HashMap;

    const SEED: Seed = Seed::from_bytes([3; 16]);
    /// Panes that a scope has at most: `src/window/level.rs` has the retentions.
    const PANES: [(Level, u64); 5] = [
        (Level::Minute, 180),
        (Level::Quarter, 210),
        (Level::TwoHours, 193),
        (Level::Day, 801),
        (Level::All, 1),
    ];
    const TIGHT: Room = Room {
        stored_bytes: TIGHT_BYTES,
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
            let free = Room { stored_bytes: 0 }.encode(pane.clone(), level).len() as u64;
            let tight = TIGHT.encode(pane, level).len() as u64;
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
        let all = TIGHT_BYTES + at_most + one_flush + aside + MAX_CATALOG_BYTES + 60_000_000;
        assert!(all <= DATABASE_BYTES, "{all}");
    }

    #[test]
    fn the_less_room_there_is_the_less_a_pane_may_take() {
        for (level, _) in PANES {
            let at = |stored_bytes| Room { stored_bytes }.pane_bytes(level);
            let steps: Vec<u64> = (0..=100).map(|step| at(step * 100_000_000)).collect();
            assert!(steps.is_sorted_by(|a, b| a >= b), "{level:?}");
            assert_eq!((steps[30], steps[100]), (u64::MAX, least_bytes(level)));
        }
    }

    #[test]
    fn what_a_pane_drops_for_want_of_room_stays_within_its_bounds() {
        let (pane, played) = full(Level::Day);
        let total = pane.total();
        let stored = TIGHT.encode(pane, Level::Day);
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
        let stored = TIGHT.encode(pane, Level::Day);
        let kept = Summary::decode(&stored, SEED).unwrap().len();
        assert!(kept > 1_000, "{kept}");
    }
}
