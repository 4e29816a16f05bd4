//! What shards say of themselves to the operator, as their last pushes brought it: whoever asks for
//! figures wakes no shard.
//!
//! # Limits
//! As many shards as there may be, [`MAX_FIGURES_BYTES`] each: 250 bytes usually, so 10,000 shards
//! are 4 MB. They are in memory only; after a restart they come with the next pushes.

use std::collections::BTreeMap;

use crate::topology::MAX_SHARDS_IN_ALL;
use crate::wire::{ShardFigures, ShardName};

/// More are no figures, and not kept.
const MAX_FIGURES_BYTES: usize = 1 << 10;
/// Shards that one answer speaks of: 100 KB. Those that were heard from last come first.
pub const MAX_SHOWN: usize = 256;

#[derive(Default)]
pub struct Figures(BTreeMap<ShardName, (u64, Box<[u8]>)>);

impl Figures {
    /// A push of a shard was taken, with these.
    pub fn put(&mut self, shard: ShardName, figures: &[u8], now_ms: u64) {
        if figures.len() > MAX_FIGURES_BYTES {
            return;
        }
        let is_full = self.0.len() >= MAX_SHARDS_IN_ALL as usize;
        if is_full && !self.0.contains_key(&shard) {
            // Of a number of shards that is no more.
            let quietest = self.0.iter().min_by_key(|(_, (heard_ms, _))| *heard_ms);
            if let Some(quietest) = quietest.map(|(shard, _)| shard.clone()) {
                self.0.remove(&quietest);
            }
        }
        self.0.insert(shard, (now_ms, figures.into()));
    }

    /// How many shards there are figures of.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Those of [`MAX_SHOWN`] shards, by name.
    pub fn shown(&self, now_ms: u64) -> Vec<ShardFigures> {
        let mut latest: Vec<_> = self.0.iter().collect();
        latest.sort_by_key(|(_, (heard_ms, _))| std::cmp::Reverse(*heard_ms));
        latest.truncate(MAX_SHOWN);
        latest.sort_by_key(|(shard, _)| *shard);
        let shown = latest.into_iter().map(|(shard, (heard_ms, figures))| {
            let (region_id, shard) = shard.clone();
            ShardFigures {
                region_id,
                shard,
                age_ms: now_ms.saturating_sub(*heard_ms),
                figures: figures.to_vec(),
            }
        });
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_a_shard_said_is_kept_and_there_is_room_for_every_shard_and_no_more() {
        let mut figures = Figures::default();
        for round in 0..2_u64 {
            for shard in 0..2 * MAX_SHARDS_IN_ALL {
                figures.put(("NA".into(), shard), &[round as u8; 250], u64::from(shard));
            }
        }
        assert_eq!(figures.count(), MAX_SHARDS_IN_ALL as usize);
        figures.put(("NA".into(), 5), &[7; MAX_FIGURES_BYTES + 1], 50_000);
        figures.put(("EU".into(), 5), &[7; MAX_FIGURES_BYTES], 50_000);
        assert_eq!(figures.count(), MAX_SHARDS_IN_ALL as usize);
        let shown = figures.shown(60_000);
        assert_eq!(shown.len(), MAX_SHOWN);
        assert_eq!(
            (shown[0].region_id.as_str(), shown[0].age_ms),
            ("EU", 10_000)
        );
        let last = (shown[255].shard, shown[255].age_ms);
        assert_eq!(last, (2 * MAX_SHARDS_IN_ALL - 1, 40_001));
    }
}
