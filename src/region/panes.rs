//! The panes of a shard that still take plays.

use std::collections::BTreeMap;

use crate::capacity::counters;
use crate::summary::{Seed, Summary};
use crate::window::{PaneKey, recording_pane};

use super::{Limits, SEAL_AFTER_END_MS, SEAL_LATE_AFTER_MS};

/// A pane that takes plays.
#[derive(Clone)]
pub struct OpenPane {
    pub summary: Summary,
    /// Its row in storage: `None` until the first checkpoint.
    pub row: Option<u64>,
    /// It changed since the last checkpoint.
    pub dirty: bool,
    pub opened_ms: u64,
}

impl OpenPane {
    /// When no more plays are waited for: a while after the pane's end, or after its opening
    /// where it was opened later than that.
    fn seal_at_ms(&self, key: PaneKey) -> u64 {
        let live_until_ms = key.end_ms().saturating_add(SEAL_AFTER_END_MS);
        if self.is_late(key) {
            self.opened_ms.saturating_add(SEAL_LATE_AFTER_MS)
        } else {
            live_until_ms
        }
    }

    fn is_late(&self, key: PaneKey) -> bool {
        self.opened_ms >= key.end_ms().saturating_add(SEAL_AFTER_END_MS)
    }
}

/// All open panes of a shard, by span.
#[derive(Default)]
pub struct OpenPanes {
    pub panes: BTreeMap<PaneKey, OpenPane>,
}

impl OpenPanes {
    /// Counts a play in the finest pane that still covers its time.
    pub fn record(
        &mut self,
        post_id: &str,
        timestamp_ms: u64,
        count: u32,
        seed: Seed,
        now_ms: u64,
    ) {
        let key = recording_pane(timestamp_ms, now_ms);
        let pane = self.panes.entry(key).or_insert_with(|| OpenPane {
            summary: Summary::new(counters(key.level), seed),
            row: None,
            dirty: true,
            opened_ms: now_ms,
        });
        pane.summary.record(post_id, u64::from(count));
        pane.dirty = true;
    }

    /// The panes whose time has come.
    pub fn due(&self, now_ms: u64) -> Vec<PaneKey> {
        let due = self
            .panes
            .iter()
            .filter(|(key, pane)| pane.seal_at_ms(**key) <= now_ms);
        due.map(|(key, _)| *key).collect()
    }

    /// The panes to seal before their time so that number and memory stay within their limits:
    /// late ones first, the one opened first before the others.
    pub fn over_the_limits(&self, limits: &Limits) -> Vec<PaneKey> {
        let mut by_age: Vec<(bool, u64, PaneKey)> = self
            .panes
            .iter()
            .map(|(key, pane)| (!pane.is_late(*key), pane.opened_ms, *key))
            .collect();
        by_age.sort_unstable();
        let late = by_age.iter().filter(|(live, _, _)| !live).count();
        let mut bytes: usize = self
            .panes
            .values()
            .map(|pane| pane.summary.heap_bytes())
            .sum();
        let mut excess = late.saturating_sub(limits.late_panes);
        let mut to_seal = Vec::new();
        for (_, _, key) in by_age {
            if excess == 0 && bytes <= limits.open_bytes {
                break;
            }
            excess = excess.saturating_sub(1);
            bytes -= self
                .panes
                .get(&key)
                .map_or(0, |pane| pane.summary.heap_bytes());
            to_seal.push(key);
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

    #[test]
    fn a_live_pane_is_due_after_its_end_and_a_late_one_after_its_opening() {
        let mut open = OpenPanes::default();
        open.record("a", NOW_MS, 1, SEED, NOW_MS);
        open.record("a", NOW_MS - 10 * MINUTE_MS, 1, SEED, NOW_MS);
        assert!(open.due(NOW_MS + 59_999).is_empty());
        assert_eq!(open.due(NOW_MS + 60_000).len(), 2);
        let pane = |timestamp_ms| recording_pane(timestamp_ms, NOW_MS);
        assert_eq!(open.late(), [pane(NOW_MS - 10 * MINUTE_MS)]);
    }

    #[test]
    fn an_import_of_years_keeps_few_panes_open() {
        let mut open = OpenPanes::default();
        for day in 0..400 {
            open.record("a", NOW_MS - day * DAY_MS, 1, SEED, NOW_MS + day);
        }
        let to_seal = open.over_the_limits(&Limits::default());
        for key in &to_seal {
            open.panes.remove(key);
        }
        assert!(open.over_the_limits(&Limits::default()).is_empty());
        assert!(open.late().len() <= Limits::default().late_panes);
        assert!(
            open.panes.contains_key(&recording_pane(NOW_MS, NOW_MS)),
            "live ones stay"
        );
    }
}
