//! The panes of a shard that still take plays.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::capacity::open_pane;
use crate::summary::{Seed, Summary};
use crate::window::{KnownDays, Level, PaneKey};

use super::{Limits, SEAL_AFTER_END_MS, SEAL_LATE_AFTER_MS};
use crate::wire::{MOST_QUIET_BYTES, MOST_QUIET_PLAYS, QUIET_SEALING_MS};

/// Short ids take about so many times more in memory than as they are sent, long ones no more.
const HELD_A_BYTE: usize = 2;

/// A pane that takes plays.
#[derive(Clone)]
pub struct OpenPane {
    pub summary: Summary,
    pub opened_ms: u64,
    /// The commit that opened it.
    pub first_seq: u64,
    /// Its copy as it was encoded last, where no play has come since: making the copies of a year that
    /// is imported anew with each push would take a tenth of a second.
    pub copy: Option<Copied>,
}

/// A copy of an open pane, as it is sent.
#[derive(Clone)]
pub struct Copied {
    /// An encoded [`SealedPane`](crate::wire::SealedPane).
    pub bytes: Rc<[u8]>,
    /// It holds all that the pane does.
    pub is_whole: bool,
}

impl Copied {
    /// The copy, where it may be stored and sealed in place of its pane.
    pub fn whole(&self) -> Option<&[u8]> {
        self.is_whole.then_some(&*self.bytes)
    }
}

impl OpenPane {
    /// When no more plays are waited for: a while after the pane's end, or after its opening
    /// where it was opened later than that.
    fn seal_at_ms(&self, key: PaneKey) -> u64 {
        let live_until_ms = key.end_ms.saturating_add(SEAL_AFTER_END_MS);
        if self.is_late(key) {
            self.opened_ms.saturating_add(SEAL_LATE_AFTER_MS)
        } else {
            live_until_ms
        }
    }

    /// When a quiet shard seals it: all panes of a quarter together, so that they share a push and its rows.
    fn seal_quietly_at_ms(&self, key: PaneKey) -> u64 {
        if self.is_late(key) {
            return self.seal_at_ms(key);
        }
        let quarters = key.end_ms.div_ceil(QUIET_SEALING_MS);
        (quarters.saturating_mul(QUIET_SEALING_MS)).saturating_add(SEAL_AFTER_END_MS)
    }

    fn is_late(&self, key: PaneKey) -> bool {
        // What is older than any day that is kept is in the pane of all time, which has no end.
        key.level == Level::All || self.opened_ms >= key.end_ms.saturating_add(SEAL_AFTER_END_MS)
    }
}

/// All open panes of a shard, by span.
#[derive(Default)]
pub struct OpenPanes {
    pub panes: BTreeMap<PaneKey, OpenPane>,
    /// They are not in storage as they are here.
    pub changed: bool,
}

/// When and in which commit plays are applied.
#[derive(Clone, Copy)]
pub struct Applied {
    pub seq: u64,
    pub now_ms: u64,
}

impl OpenPanes {
    /// Counts a play in the finest pane that still covers its time.
    pub fn record(
        &mut self,
        post_id: &str,
        timestamp_ms: u64,
        count: u32,
        seed: Seed,
        days: &KnownDays,
        applied: Applied,
    ) {
        let key = days.recording_pane(timestamp_ms, applied.now_ms);
        let pane = self.panes.entry(key).or_insert_with(|| OpenPane {
            summary: open_pane(key.level, seed),
            opened_ms: applied.now_ms,
            first_seq: applied.seq,
            copy: None,
        });
        pane.summary.record(post_id, u64::from(count));
        pane.copy = None;
        self.changed = true;
    }

    /// Takes a pane out.
    pub fn remove(&mut self, key: PaneKey) -> Option<OpenPane> {
        let pane = self.panes.remove(&key)?;
        self.changed = true;
        Some(pane)
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.panes.clear();
        self.changed = true;
    }

    /// The panes whose time has come.
    pub fn due(&self, now_ms: u64) -> Vec<PaneKey> {
        let due = self
            .panes
            .iter()
            .filter(|(key, pane)| pane.seal_at_ms(**key) <= now_ms);
        due.map(|(key, _)| *key).collect()
    }

    /// When a quiet shard seals the first of them.
    pub fn sealed_quietly_at_ms(&self) -> Option<u64> {
        let panes = self.panes.iter();
        panes.map(|(key, pane)| pane.seal_quietly_at_ms(*key)).min()
    }

    /// Whether a minute has more plays than a quiet shard has, or all of them more bytes.
    pub fn are_busy(&self) -> bool {
        let mut panes = self.panes.iter();
        let has_many = |(key, pane): (&PaneKey, &OpenPane)| {
            key.level == Level::Minute && pane.summary.total() > MOST_QUIET_PLAYS
        };
        let held = self.panes.values().map(|pane| pane.summary.heap_bytes());
        panes.any(has_many) || held.sum::<usize>() > HELD_A_BYTE * MOST_QUIET_BYTES
    }

    /// The panes to seal before their time: of too many late ones those opened first, and where
    /// all are too large the largest, late ones before others. So memory is freed by few panes,
    /// and whoever fills many small ones seals none of them early.
    pub fn over_the_limits(&self, limits: &Limits) -> Vec<PaneKey> {
        let late = self.late();
        let excess = late.len().saturating_sub(limits.late_panes);
        let mut to_seal = late;
        let late: BTreeSet<PaneKey> = to_seal.split_off(excess).into_iter().collect();
        let size = |key| {
            let pane: Option<&OpenPane> = self.panes.get(key);
            pane.map_or(0, |pane| pane.summary.heap_bytes())
        };
        let mut bytes: usize = self.panes.keys().map(size).sum();
        bytes -= to_seal.iter().map(size).sum::<usize>();
        if bytes > limits.open_bytes {
            let others = self.panes.keys().filter(|key| !to_seal.contains(key));
            let mut sizes: Vec<(bool, usize, PaneKey)> = others
                .map(|key| (late.contains(key), size(key), *key))
                .collect();
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            for (_, size, key) in sizes {
                if bytes <= limits.open_bytes {
                    break;
                }
                bytes -= size;
                to_seal.push(key);
            }
        }
        to_seal
    }

    /// Late panes, the one opened first before the others.
    pub fn late(&self) -> Vec<PaneKey> {
        let mut late: Vec<(u64, PaneKey)> = self
            .panes
            .iter()
            .filter(|(key, pane)| pane.is_late(**key))
            .map(|(key, pane)| (pane.opened_ms, *key))
            .collect();
        late.sort_unstable();
        late.into_iter().map(|(_, key)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::{DAY_MS, MINUTE_MS};

    const SEED: Seed = Seed::from_bytes([1; 16]);
    const NOW_MS: u64 = 20_000 * DAY_MS + 30_000;

    /// UTC's, for ever.
    fn known_days() -> KnownDays {
        KnownDays {
            until_ms: u64::MAX,
            ..KnownDays::default()
        }
    }

    fn recording_pane(timestamp_ms: u64, now_ms: u64) -> PaneKey {
        known_days().recording_pane(timestamp_ms, now_ms)
    }

    fn record(open: &mut OpenPanes, post_id: &str, timestamp_ms: u64, now_ms: u64) {
        let applied = Applied { seq: 1, now_ms };
        open.record(post_id, timestamp_ms, 1, SEED, &known_days(), applied);
    }

    #[test]
    fn a_live_pane_is_due_after_its_end_and_a_late_one_after_its_opening() {
        let mut open = OpenPanes::default();
        record(&mut open, "a", NOW_MS, NOW_MS);
        record(&mut open, "a", NOW_MS - 10 * MINUTE_MS, NOW_MS);
        assert!(open.due(NOW_MS + 59_999).is_empty());
        assert_eq!(open.due(NOW_MS + 60_000).len(), 2);
        let pane = |timestamp_ms| recording_pane(timestamp_ms, NOW_MS);
        assert_eq!(open.late(), [pane(NOW_MS - 10 * MINUTE_MS)]);
    }

    #[test]
    fn a_quiet_shard_seals_the_panes_of_a_quarter_together_and_late_ones_as_ever() {
        let mut open = OpenPanes::default();
        assert_eq!(open.sealed_quietly_at_ms(), None);
        let sealed_ms = NOW_MS - 30_000 + QUIET_SEALING_MS + SEAL_AFTER_END_MS;
        for minute in [0, 7, 14] {
            let now_ms = NOW_MS + minute * MINUTE_MS;
            record(&mut open, "a", now_ms, now_ms);
            assert_eq!(open.sealed_quietly_at_ms(), Some(sealed_ms));
        }
        let next_ms = NOW_MS - 20_000 + QUIET_SEALING_MS;
        record(&mut open, "a", next_ms, next_ms);
        assert_eq!(open.sealed_quietly_at_ms(), Some(sealed_ms));
        for key in open.due(sealed_ms) {
            open.remove(key);
        }
        assert_eq!(open.panes.len(), 1);
        assert_eq!(
            open.sealed_quietly_at_ms(),
            Some(sealed_ms + QUIET_SEALING_MS)
        );
        record(&mut open, "a", next_ms - DAY_MS, next_ms);
        assert_eq!(
            open.sealed_quietly_at_ms(),
            Some(next_ms + SEAL_LATE_AFTER_MS)
        );
    }

    #[test]
    fn a_minute_with_more_plays_than_a_quiet_shard_has_makes_it_busy() {
        let mut open = OpenPanes::default();
        for _ in 0..MOST_QUIET_PLAYS {
            record(&mut open, "a", NOW_MS, NOW_MS);
            record(&mut open, "a", NOW_MS + MINUTE_MS, NOW_MS);
            record(&mut open, "a", NOW_MS - 9 * DAY_MS, NOW_MS);
            record(&mut open, "a", NOW_MS - 9 * DAY_MS, NOW_MS);
        }
        assert!(!open.are_busy());
        record(&mut open, "b", NOW_MS, NOW_MS);
        assert!(open.are_busy());
    }

    #[test]
    fn of_too_many_late_panes_those_opened_first_are_sealed() {
        let limits = Limits {
            late_panes: 64,
            ..Limits::default()
        };
        let mut open = OpenPanes::default();
        for day in 0..400 {
            record(&mut open, "a", NOW_MS - day * DAY_MS, NOW_MS + day);
        }
        let to_seal = open.over_the_limits(&limits);
        let newest = recording_pane(NOW_MS - 399 * DAY_MS, NOW_MS);
        assert!(!to_seal.contains(&newest));
        for key in &to_seal {
            open.remove(*key);
        }
        assert!(open.over_the_limits(&limits).is_empty());
        assert_eq!(open.late().len(), 64);
        assert!(
            open.panes.contains_key(&recording_pane(NOW_MS, NOW_MS)),
            "live ones stay"
        );
    }

    #[test]
    fn where_panes_are_too_large_the_largest_late_one_is_sealed_and_small_ones_stay() {
        let limits = Limits {
            open_bytes: 200_000,
            ..Limits::default()
        };
        let mut open = OpenPanes::default();
        for quarter in 0..60 {
            record(&mut open, "a", NOW_MS - DAY_MS + quarter * 900_000, NOW_MS);
        }
        let (large, live) = (NOW_MS - DAY_MS + 60 * 900_000, NOW_MS);
        for id in 0..1_000 {
            record(&mut open, &format!("{id:0>256}"), large, NOW_MS);
            record(&mut open, &format!("{id:0>16}"), live, NOW_MS);
        }
        let to_seal = open.over_the_limits(&limits);
        assert_eq!(to_seal, [recording_pane(large, NOW_MS)]);
    }
}
