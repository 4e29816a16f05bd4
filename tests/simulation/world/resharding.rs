//! Changes of the number of shards.

use super::*;

impl World {
    /// An operator asks for another number of shards.
    pub(super) fn reshard(&mut self) {
        if self.random.chance(300) {
            self.make_board();
        }
        let region = self.random.below(self.profile.regions as u64) as usize;
        let id = region_name(region);
        let is_there = self
            .region_table()
            .is_some_and(|table| table.find(id).is_some());
        if !is_there {
            return;
        }
        let shards = self.random.between(1, self.profile.most_shards) as u32;
        let request = PutRegion {
            region_id: id.into(),
            region_name: None,
            shards: Some(shards),
            hint: None,
        };
        self.say(|| format!("reshard {region} to {shards}"));
        self.put_region(&request);
    }
}
