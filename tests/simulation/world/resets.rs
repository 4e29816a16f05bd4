//! Counting begins anew: what `edge/admin.rs` does, and what the model makes of it.

use std::collections::BTreeSet;

use super::*;

/// An epoch of which the shards are being told.
pub struct Telling {
    epoch: Epoch,
    untold: BTreeSet<usize>,
}

impl World {
    /// An operator lets counting begin anew, and every shard is told; messages may be lost, and come late
    /// or twice.
    pub(super) fn reset(&mut self) {
        let Some(table) = self.region_table() else {
            return;
        };
        let installation_id = table.installation_id;
        self.say(|| "counting begins anew".into());
        let message = codec::encode(&Reset { installation_id });
        self.ask_registry(
            |driver| async move { driver.reset(&message).await },
            |world, reply| {
                if let Ok(ResetReply(Ok(done))) = codec::decode(reply) {
                    world.check_wiped();
                    let table = done.table.clone();
                    world.tell_global_of(&table, move |world| world.begun_anew(&done));
                }
            },
        );
    }

    /// The global object knows that counting begins anew, durably; now the shards are told.
    fn begun_anew(&mut self, done: &ResetDone) {
        let deleted = done.table.deleted.iter().map(|deleted| &deleted.region);
        let mut nodes = BTreeSet::new();
        for region in done.table.regions.iter().chain(deleted) {
            let id = &region.region_id;
            let number = (0..2).find(|number| region_name(*number) == id);
            for shard in 0..region.most_shards {
                let number = number.unwrap_or_default();
                nodes.insert(self.shard_node(0, (number, region.incarnation, shard)));
            }
        }
        let untold = nodes;
        let number = self.telling.len();
        for shard in untold.iter().copied().collect::<Vec<usize>>() {
            for delay_ms in self.deliveries(5 * MINUTE_MS) {
                self.after(delay_ms, Event::TellEpoch { number, shard });
            }
        }
        let epoch = done.table.epoch();
        self.telling.push(Telling { epoch, untold });
    }

    pub(super) fn hear_epoch(&mut self, number: usize, shard: usize) {
        let epoch = self.telling[number].epoch;
        let told = move || Event::EpochTold { number, shard };
        self.tell_epoch(shard, epoch, told);
    }

    /// When all have said so, the operator is told.
    pub(super) fn epoch_told(&mut self, number: usize, shard: usize) {
        let telling = &mut self.telling[number];
        telling.untold.remove(&shard);
        if telling.untold.is_empty() {
            self.told_epoch_ms = self.told_epoch_ms.max(telling.epoch.began_ms);
        }
    }

    /// From the answer to the operator on, no shard takes plays that would go with those of before.
    pub(super) fn check_epoch(&mut self, shard: usize) {
        let node = &self.shards[shard];
        // Only shards of `main` are told.
        let epoch_ms = node.look(Shard::epoch_ms).filter(|_| node.board == 0);
        let told_ms = self.told_epoch_ms;
        if epoch_ms.is_some_and(|epoch_ms| epoch_ms < told_ms) && !node.lost_storage {
            self.fail(format!("shard {shard} counts in an epoch that is over"));
        }
    }

    /// What the global object has begun is durable before anybody hears of it, as the platform sees to;
    /// nothing that was counted before is in charts from then on.
    pub(super) fn begin_anew_in_model(&mut self) {
        let Some(epoch_ms) = self.look_at_global(|global| global.table().epoch_ms) else {
            return;
        };
        if epoch_ms <= self.epoch_ms {
            return;
        }
        self.epoch_ms = epoch_ms;
        let written = self.global.drive.written();
        self.global.drive.sync(written);
        // A backup of before would bring it back.
        self.global.reshards += 1;
        self.shown.clear();
        self.published_nothing();
        // Other boards are made again as others.
        for node in self.shards.iter_mut().filter(|node| node.board == 0) {
            // Also one whose storage was lost may have followed before: what it had sent is under way.
            for ledger in &mut node.ledgers {
                ledger.is_over();
                ledger.follow(epoch_ms);
            }
        }
    }

    /// A shard that is loaded may not know of an epoch that it knew of; one that follows has forgotten all
    /// that its panes showed. It may follow before the global object does, whose charts go on showing what
    /// they had.
    pub(super) fn follow_in_model(&mut self, shard: usize, from: usize) {
        let node = &mut self.shards[shard];
        let Some(epoch_ms) = node.look(Shard::epoch_ms).filter(|_| node.board == 0) else {
            return;
        };
        let applied = node.applied;
        let ledger = node.ledger();
        let all = ledger.len();
        if ledger.followed.epoch_ms != epoch_ms {
            ledger.followed = Followed {
                epoch_ms,
                from: from.min(applied),
                // Also what is written and not applied: its machine may die before that.
                to: all,
            };
            if epoch_ms > self.epoch_ms {
                let kept = node.ledger().kept_plays();
                node.ledger().lost_after(kept);
            }
        }
        if epoch_ms < self.epoch_ms {
            node.ledger().is_over();
        } else {
            node.ledger().follow(epoch_ms);
        }
    }
}
