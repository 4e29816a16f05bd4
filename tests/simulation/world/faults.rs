//! What goes wrong.

use super::pulls::ASKED_FOR_MS;
use super::*;

impl World {
    pub(super) fn strike(&mut self, fault: Event) {
        let some_shard = self.random.below(self.shards.len() as u64) as usize;
        let has_shard = !self.shards.is_empty();
        match fault {
            Event::ShardCrash if has_shard => self.crash_shard(some_shard),
            Event::Move if has_shard => self.move_shard(some_shard),
            Event::ClockStep => self.step_clock(),
            Event::GlobalCrash => self.crash_global(),
            Event::RegistryCrash => self.crash_registry(),
            Event::RegistryMove => self.move_registry(),
            Event::PutPost => self.put_post(),
            Event::CatalogCrash => self.crash_catalog(),
            Event::CatalogFault => self.fault_of_catalog(),
            Event::CatalogSetBack => self.restore_catalog(),
            Event::WriteFault => {
                let kinds = [Fault::Refuse, Fault::CrashBefore, Fault::CrashAfter];
                let kind = kinds[self.random.below(3) as usize];
                let writes = self.random.below(4);
                if has_shard && self.random.chance(600) {
                    self.shards[some_shard].drive.disk.set_fault(writes, kind);
                } else if self.random.chance(200) {
                    self.registry.drive.disk.set_fault(writes, kind);
                } else {
                    self.global.drive.disk.set_fault(writes, kind);
                }
            }
            Event::Reshard => self.reshard(),
            Event::MakeBoard => self.make_board(),
            Event::Boards => self.operate_boards(),
            Event::Reset => self.reset(),
            Event::Delete => self.delete(),
            Event::Export => self.export(),
            Event::CutOff => {
                let worker = self.random.below(self.workers.len() as u64) as usize;
                let away_ms = self.random.below(40 * MINUTE_MS);
                self.say(|| format!("worker {worker} is cut off for {} s", away_ms / 1_000));
                self.workers[worker].cut_off_until_ms = self.now_ms + away_ms;
            }
            Event::LoseStorage if has_shard => self.lose_storage(some_shard),
            Event::Backup => {
                let kept = |node: &ShardNode| node.ledgers.iter().map(Ledger::kept_plays).collect();
                let kept = self.shards.iter().map(kept).collect();
                let node = &mut self.global;
                node.backup = Some(Backup {
                    rows: node.drive.disk.backup(),
                    kept,
                    reshards: node.reshards,
                });
            }
            Event::SetBack => self.set_back(),
            Event::Outage => {
                let away_ms = self.random.between(10 * MINUTE_MS, 60 * HOUR_MS);
                self.say(|| format!("global away for {} min", away_ms / MINUTE_MS));
                self.crash_global();
                self.global.down_until_ms = self.now_ms + away_ms;
                // Life goes on for a while after it is back; only few plays come meanwhile.
                self.profile.batch_every_ms = self.profile.batch_every_ms.max(away_ms / 40);
                self.end_ms = self.now_ms + away_ms + 5 * MINUTE_MS;
            }
            Event::Foreign => {
                let until_ms = self.now_ms + self.random.below(MINUTE_MS);
                let workers = self.workers.len() as u64;
                match self.random.below(3) {
                    0 => self.global.foreign_until_ms = until_ms,
                    1 if has_shard => self.shards[some_shard].foreign_until_ms = until_ms,
                    _ => {
                        let worker = self.random.below(workers) as usize;
                        self.workers[worker].foreign_until_ms = until_ms;
                    }
                }
            }
            Event::DamageOutbox if has_shard => self.damage_outbox(some_shard),
            Event::DamageSeen if has_shard => self.damage_seen(some_shard),
            Event::DamageJournal if has_shard => self.damage_journal(some_shard),
            Event::RefuseCheckpoint {
                shard,
                life,
                left_ms,
            } if self.lives(shard, life) => self.refuse_checkpoint(shard, left_ms),
            Event::Die { shard, life } if self.lives(shard, life) => self.crash_shard(shard),
            _ => {}
        }
    }

    /// A shard's clock, or that of the global object, is another one from now on: it goes back, or jumps.
    pub(super) fn step_clock(&mut self) {
        let most_ms = self.profile.skew_ms;
        let mut skew_ms = self.random.below(2 * most_ms + 1) as i64 - most_ms as i64;
        let node = self.random.below(self.shards.len() as u64 + 1) as usize;
        let clock = match self.shards.get_mut(node) {
            Some(shard) => {
                // The same minute may come again.
                shard.votes = VotesInModel::default();
                // Its alarm comes when it was to come, and by its clock that is too early: it waits once more.
                shard.ledger().answers_later();
                shard.highest_skew_ms = shard.highest_skew_ms.max(shard.skew_ms.get());
                if shard.lost_storage {
                    // Which of two logs came first is known by the clock alone.
                    skew_ms = skew_ms.max(shard.highest_skew_ms);
                }
                // Where it goes back, the shard waits from when it sees that.
                let shows_ms = shifted(self.now_ms, skew_ms);
                shard.waits_from_ms = shard.waits_from_ms.min(shows_ms);
                shard.could_push_ms = self.now_ms;
                &shard.skew_ms
            }
            None => &self.global.skew_ms,
        };
        let by_ms = skew_ms - clock.replace(skew_ms);
        if node == self.shards.len() {
            // Until its clock is where it was, it may take what was missing for missing.
            let again_ms = self.now_ms.saturating_add_signed(-by_ms);
            self.unanswered_ms = self.unanswered_ms.max(again_ms);
            if by_ms > 0 && self.now_ms < self.asked_ms + ASKED_FOR_MS {
                // To who looks now it has been under way for longer than anybody waits.
                self.unanswered_ms = self.unanswered_ms.max(self.now_ms);
            }
            if by_ms < 0 {
                self.may_be_due_again();
                self.looks_young(by_ms.unsigned_abs());
            }
        }
        self.say(|| format!("the clock of {node} steps by {by_ms} ms"));
    }

    /// The clock of the global object went back, and where nobody looked at it shortly before, nothing shows that:
    /// what it was told by then looks younger than it is, until its clock is where it was.
    fn looks_young(&mut self, by_ms: u64) {
        let (young_by_ms, until_ms) = self.looks_young;
        let still_ms = if self.now_ms < until_ms {
            young_by_ms
        } else {
            0
        };
        let by_ms = by_ms + still_ms;
        self.looks_young = (by_ms, self.now_ms + by_ms);
    }

    /// How late it was for sure by what the global object has seen, when somebody asked it.
    pub(super) fn seems_ms(&self, asked_ms: u64) -> u64 {
        let (young_by_ms, until_ms) = self.looks_young;
        // As long as anything is taken for known.
        let is_young = asked_ms < until_ms + catalog::SHOWN_WITHIN_MS;
        asked_ms.saturating_sub(if is_young { young_by_ms } else { 0 })
    }

    /// A shard's disk refuses a checkpoint while a commit is not durable. What is loaded then was
    /// written by that commit. Its senders ask again, and a crash takes it back. By chance alone
    /// these would hardly ever meet.
    fn refuse_checkpoint(&mut self, shard: usize, left_ms: u64) {
        let node = &mut self.shards[shard];
        let is_in_flight = node.ledger().len() > node.applied;
        if !is_in_flight || node.down_until_ms > self.now_ms {
            return;
        }
        let asked: BTreeSet<usize> = (self.executor.owners())
            .filter(|owner| owner.instance.node == Node::Shard(shard))
            .filter_map(|owner| match &owner.errand {
                Errand::Record { asked, .. } => Some(asked.batch),
                _ => None,
            })
            .collect();
        let node = &mut self.shards[shard];
        node.drive.disk.set_fault(0, Fault::Refuse);
        self.shard_op(shard, |state, disk, now_ms| state.checkpoint(disk, now_ms));
        self.shards[shard].drive.disk.clear_fault();
        for batch in asked {
            let within_ms = self.random.below(200);
            self.after(within_ms, Event::Attempt(batch));
        }
        if self.profile.shard_crash_every_ms > 0 {
            let life = self.shards[shard].life;
            let within_ms = self.random.below(left_ms);
            self.after(within_ms, Event::Die { shard, life });
        }
    }

    /// A shard's storage is gone, with all that it knew.
    pub(super) fn lose_storage(&mut self, shard: usize) {
        if self.shards[shard].down_until_ms <= self.now_ms {
            self.push_late(shard);
        }
        self.say(|| format!("shard {shard} loses its storage"));
        for batch in &mut self.batches {
            batch.excused |= batch.met.contains(&shard);
        }
        self.crash_shard(shard);
        let node = &mut self.shards[shard];
        let kept = node.ledger().kept_plays();
        node.ledger().lost_after(kept);
        node.ledgers
            .push(Ledger::new(self.epoch_ms > 0 && node.board == 0));
        node.drive = Drive::new();
        node.moments.clear();
        node.applied = 0;
        node.died_at = 0;
        node.lost_storage = true;
        // As where its clock steps.
        let skew_ms = node.highest_skew_ms.max(node.skew_ms.get());
        node.skew_ms.set(skew_ms);
        self.shown.clear();
    }

    /// The global object is restored from a backup.
    pub(super) fn set_back(&mut self) {
        let node = &mut self.global;
        let Some(backup) = node
            .backup
            .take_if(|backup| backup.reshards == node.reshards)
        else {
            return;
        };
        self.crash_global();
        let node = &mut self.global;
        node.drive.disk.restore(backup.rows);
        node.drive.later.clear();
        node.drive.durable.clear();
        node.was_set_back = true;
        self.say(|| "global set back".into());
        // What was stored since, and forgotten by the shards, is lost.
        let mut kept = backup.kept.into_iter().map(Vec::into_iter);
        for node in &mut self.shards {
            let mut kept = kept.next().into_iter().flatten();
            for ledger in &mut node.ledgers {
                ledger.lost_after(kept.next().unwrap_or(0));
                if node.board == 0 {
                    ledger.unknown();
                }
            }
        }
    }

    /// A row of a shard's sealed panes cannot be read any more.
    pub(super) fn damage_outbox(&mut self, shard: usize) {
        if !self.damage_row(shard, Table::Outbox) {
            return;
        }
        // Nobody says which plays were in it.
        let node = &mut self.shards[shard];
        let kept = node.ledger().kept_plays();
        node.ledger().lost_after(kept);
        self.shown.clear();
    }

    /// A row of a shard cannot be read any more. Says whether it has one.
    fn damage_row(&mut self, shard: usize, table: Table) -> bool {
        let node = &mut self.shards[shard];
        let written = node.drive.written();
        node.drive.sync(written);
        node.drive.disk.clear_fault();
        let keys = node.drive.disk.keys(table, &[]).unwrap_or_default();
        if keys.is_empty() {
            return false;
        }
        let key = keys[self.random.below(keys.len() as u64) as usize].clone();
        let damage = Write::put(table, key, b"damaged".to_vec());
        let node = &mut self.shards[shard];
        if node.drive.disk.write(&[damage]).is_err() {
            return false;
        }
        node.drive.disk.take_recent();
        node.drive.disk.make_durable(1);
        true
    }

    /// A row of a shard's journal cannot be read any more, which it finds at its next start: the plays of
    /// a commit are lost where no checkpoint covers it.
    fn damage_journal(&mut self, shard: usize) {
        if !self.damage_row(shard, Table::Journal) {
            return;
        }
        self.say(|| format!("shard {shard} loses a row of its journal"));
        let node = &mut self.shards[shard];
        let kept = node.ledger().kept_plays();
        node.ledger().lost_after(kept);
        self.shown.clear();
        self.forget_batches(shard);
    }

    /// A row of what a shard remembers of batches cannot be read any more, which it finds at its next
    /// start.
    fn damage_seen(&mut self, shard: usize) {
        if self.damage_row(shard, Table::Seen) {
            self.say(|| format!("shard {shard} forgets batches"));
            self.forget_batches(shard);
        }
    }

    /// A shard is to start again, and will not know some of the batches that it met.
    fn forget_batches(&mut self, shard: usize) {
        // One that does not say when it was first sent cannot be refused for that.
        for batch in &mut self.batches {
            batch.excused |= !batch.says_sent && batch.met.contains(&shard);
        }
        self.crash_shard(shard);
    }
}
