//! Regions that are deleted and made again: what `edge/regions.rs` does, and what must hold.

use super::*;

impl World {
    /// An operator deletes a region, or makes it again. One is left at any time.
    pub(super) fn delete(&mut self) {
        if self.profile.regions < 2 {
            return;
        }
        let Some(table) = self.region_table() else {
            return;
        };
        match (0..2).find(|region| table.find(region_name(*region)).is_none()) {
            Some(region) => self.make_again(region),
            None => self.delete_one(),
        }
    }

    fn delete_one(&mut self) {
        let region = self.random.below(self.profile.regions as u64) as usize;
        let request = DeleteRegion {
            region_id: region_name(region).into(),
        };
        self.say(|| format!("region {region} is deleted"));
        let message = codec::encode(&request);
        self.ask_registry(
            |driver| async move { driver.delete_region(&message).await },
            |world, _| world.tell_global(),
        );
    }

    fn make_again(&mut self, region: usize) {
        let shards = self.random.between(1, self.profile.most_shards) as u32;
        let request = PutRegion {
            region_id: region_name(region).into(),
            region_name: None,
            shards: Some(shards),
            hint: None,
        };
        self.say(|| format!("region {region} is made again"));
        self.put_region(&request);
    }

    /// There are no charts of a region that was deleted.
    pub(super) fn check_refused(&mut self, scope: Option<usize>, window: WindowRequest) {
        let request = ChartRequest {
            scope: scope.map_or("global", region_name).into(),
            window,
            sort: Sort::Views,
            k_class: 10,
            filter: Filter::default(),
        };
        let message = codec::encode(&request);
        self.ask_for_a_while(
            |driver| async move { driver.chart(&message).await },
            move |world, reply| {
                let reply = codec::decode::<ChartReply>(reply);
                // It may have been made again by a write after which the machine died.
                let is_deleted = scope.is_some_and(|region| !world.incarnations[region].1);
                if matches!(reply, Ok(ChartReply(Ok(_)))) && is_deleted {
                    world.fail("a chart of a region that was deleted");
                }
            },
        );
    }

    /// What the table of the global object says is durable before anybody hears of it, as the platform
    /// sees to.
    pub(super) fn regions_in_model(&mut self) {
        let regions = self.profile.regions;
        let now = self.look_at_global(|global| {
            let table = global.table();
            [0, 1].map(|region| {
                let id = region_name(region);
                let is_there = table.find(id).is_some() || region >= regions;
                (table.incarnations(id), is_there)
            })
        });
        let Some(now) = now else { return };
        if now == self.incarnations {
            return;
        }
        self.incarnations = now;
        let written = self.global.drive.written();
        self.global.drive.sync(written);
        // A backup of before knows nothing of it.
        self.global.reshards += 1;
        self.shown.clear();
    }
}
