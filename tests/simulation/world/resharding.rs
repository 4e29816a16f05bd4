//! Changes of the number of shards: what `edge/regions.rs` does.

use hitparade::topology::Change;

use super::*;

/// A change of which shards are being told.
pub struct Announcing {
    region: usize,
    incarnation: u32,
    change: Change,
    untold: BTreeSet<u32>,
}

impl World {
    /// An operator asks for another number of shards, or finds that not every shard knows of the
    /// last change.
    pub(super) fn reshard(&mut self) {
        if !self.global_is_up() {
            return;
        }
        let region = self.random.below(self.profile.regions as u64) as usize;
        let id = region_name(region);
        let known = self.region_table();
        let known = known.and_then(|table| table.find(id).cloned());
        let Some(known) = known else { return };
        match known.untold() {
            Some((change, shards)) => self.announce(region, change, shards),
            None => self.put_shards(region),
        }
    }

    fn put_shards(&mut self, region: usize) {
        let shards = self.random.between(1, self.profile.most_shards) as u32;
        let request = PutRegion {
            region_id: region_name(region).into(),
            region_name: None,
            shards: Some(shards),
            hint: None,
        };
        self.say(|| format!("reshard {region} to {shards}"));
        let put = self.ask_global(|driver| driver.put_region(&codec::encode(&request)));
        self.global.reshards += 1;
        let put = put.and_then(|put| codec::decode::<PutRegionReply>(&put).ok()?.0.ok());
        if let Some((change, shards)) = put.and_then(|region| region.untold()) {
            self.last_changes[region] = change.asked_ms;
            self.announce(region, change, shards);
        }
    }

    /// Each shard of the number before is told; messages may be lost, and come late or twice.
    fn announce(&mut self, region: usize, change: Change, shards: u32) {
        self.announcing.push(Announcing {
            region,
            incarnation: self.incarnations[region].0,
            change,
            untold: (0..shards).collect(),
        });
        let number = self.announcing.len() - 1;
        for shard in 0..shards {
            for delay_ms in self.deliveries(5 * MINUTE_MS) {
                self.after(delay_ms, Event::Announce { number, shard });
            }
        }
    }

    pub(super) fn hear(&mut self, number: usize, shard: u32) {
        let Announcing {
            region,
            incarnation,
            change,
            ..
        } = self.announcing[number];
        let node = self.shard_node(region, incarnation, shard);
        let told = move || Event::Announced { number, shard };
        self.tell_news(node, News::Shards(change), told);
    }

    pub(super) fn announced(&mut self, number: usize, shard: u32) {
        let announcing = &mut self.announcing[number];
        announcing.untold.remove(&shard);
        let is_there = self.incarnations[announcing.region] == (announcing.incarnation, true);
        if !announcing.untold.is_empty() || !is_there || !self.global_is_up() {
            return;
        }
        let announcing = &self.announcing[number];
        let told = Told {
            region_id: region_name(announcing.region).into(),
            asked_ms: announcing.change.asked_ms,
        };
        self.say(|| format!("every shard was told of {told:?}"));
        self.ask_global(|driver| driver.told(&codec::encode(&told)));
    }
}
