//! Changes of the number of shards that a shard was told of: what lets it refuse batches that a
//! Worker routed without knowing them.

use serde::{Deserialize, Serialize};

use crate::topology::Change;

/// They are minutes apart, and batches are refused 17 minutes after their first attempt: so many
/// tell all that can matter.
const MAX_CHANGES: usize = 16;

/// The changes, in the order in which they were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes(Vec<Change>);

impl Changes {
    /// Takes a change; `false` where it was known.
    pub fn learn(&mut self, change: Change) -> bool {
        let place = self
            .0
            .partition_point(|known| known.asked_ms < change.asked_ms);
        if self
            .0
            .get(place)
            .is_some_and(|known| known.asked_ms == change.asked_ms)
        {
            return false;
        }
        self.0.insert(place, change);
        if self.0.len() > MAX_CHANGES {
            // The two oldest become one that refuses what either does.
            let oldest = self.0.remove(0);
            if let Some(next) = self.0.first_mut() {
                next.from_ms = next.from_ms.min(oldest.from_ms);
            }
        }
        true
    }

    /// Whether a batch was routed without a change that concerns it. `last_change`: the newest
    /// that its Worker knew.
    pub fn concern(&self, last_change: u64, sent_ms: u64) -> bool {
        let mut unknown = self.0.iter().filter(|known| known.asked_ms > last_change);
        unknown.any(|change| sent_ms >= change.from_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_was_routed_without_a_change_is_refused_from_its_margin_on() {
        let mut changes = Changes::default();
        assert!(!changes.concern(0, u64::MAX));
        let change = |asked_ms, from_ms| Change { asked_ms, from_ms };
        assert!(changes.learn(change(200, 500)));
        assert!(changes.learn(change(100, 300)), "they come in any order");
        assert!(!changes.learn(change(200, 500)), "and twice");
        assert!(!changes.concern(0, 299));
        assert!(changes.concern(0, 300));
        assert!(!changes.concern(100, 499));
        assert!(changes.concern(199, 500));
        assert!(!changes.concern(200, u64::MAX));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_refuses_no_less() {
        let mut changes = Changes::default();
        for asked_ms in 1..=1_000 {
            changes.learn(Change {
                asked_ms,
                from_ms: 10 * asked_ms,
            });
        }
        assert_eq!(changes.0.len(), MAX_CHANGES);
        assert!(changes.concern(0, 10));
        assert!(changes.concern(999, 10_000));
        assert!(!changes.concern(1_000, u64::MAX));
    }
}
