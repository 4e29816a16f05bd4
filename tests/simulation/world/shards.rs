//! Shards: what `region/object.rs` does with batches.

use super::*;

/// A pane of the posts that are played in a minute takes less.
const MOST_PANE_BYTES: u64 = 1_000;

impl World {
    pub(super) fn shard_node(&mut self, region: usize, incarnation: u32, shard: u32) -> usize {
        let found = self.shards.iter().position(|node| {
            (node.region, node.incarnation, node.shard) == (region, incarnation, shard)
        });
        found.unwrap_or_else(|| {
            let most_ms = self.profile.skew_ms;
            let skew_ms = self.random.below(2 * most_ms + 1) as i64 - most_ms as i64;
            self.shards.push(ShardNode {
                region,
                incarnation,
                shard,
                skew_ms,
                drive: Drive::new(),
                memory: ShardInMemory::default(),
                died_at: 0,
                ledgers: vec![Ledger::new(self.epoch_ms > 0)],
                state: None,
                life: 0,
                down_until_ms: 0,
                committing: false,
                pushing: false,
                pushes_left: 0,
                push_timer: PushTimer::default(),
                push_began_ms: 0,
                told_interval_ms: 0,
                push_number: 0,
                push_moment: 0,
                silent_until_ms: 0,
                alarm: Alarm::default(),
                alarm_number: 0,
                alarm_comes: false,
                waiters: BTreeMap::new(),
                lost_storage: false,
                foreign_until_ms: 0,
            });
            self.shards.len() - 1
        })
    }

    /// Runs a change of a shard's state, loading it first; `None` when its disk refused.
    pub(super) fn shard_op<T>(
        &mut self,
        shard: usize,
        change: impl FnOnce(&mut Shard, &Disk, u64) -> Result<T, StorageError>,
    ) -> Option<T> {
        let random = self.random.bytes();
        let limits = self.profile.limits;
        let node = &mut self.shards[shard];
        let now_ms = shifted(self.now_ms, node.skew_ms);
        let mut outcome = Ok(());
        if node.state.is_none() {
            // Its panes show all that its disk holds.
            node.memory = ShardInMemory::default();
            node.memory.applied = *node.drive.latest();
            match Shard::load_within(&node.drive.disk, random, now_ms, limits) {
                Ok(state) => node.state = Some(state),
                Err(error) => outcome = Err(error),
            }
            self.shard_written(shard);
            let died_at = self.shards[shard].died_at;
            self.follow_in_model(shard, died_at);
        }
        let node = &mut self.shards[shard];
        let changed = match (outcome, node.state.as_mut()) {
            (Ok(()), Some(state)) => change(state, &node.drive.disk, now_ms),
            (outcome, _) => Err(outcome.err().unwrap_or(StorageError(String::new()))),
        };
        self.shard_written(shard);
        match changed {
            Ok(value) => {
                let applied = self.shards[shard].memory.applied;
                self.follow_in_model(shard, applied);
                self.check_limits(shard);
                Some(value)
            }
            Err(error) => {
                self.say(|| format!("shard {shard}: {error}"));
                if self.shards[shard].drive.disk.crashed.get() {
                    self.crash_shard(shard);
                } else {
                    self.drop_shard_state(shard);
                }
                None
            }
        }
    }

    pub(super) fn shard_written(&mut self, shard: usize) {
        let node = &mut self.shards[shard];
        for writes in node.drive.disk.take_recent() {
            let is_row = |write: &Write| {
                matches!(write, Write::Put { .. }) && write.table() == Table::Journal
            };
            if writes.iter().any(is_row) {
                let waiting = std::mem::take(&mut node.memory.waiting);
                node.memory.in_flight = Some(node.ledger().journaled(&waiting));
            }
            let counted = node.ledger().len();
            node.drive.later.push_back(counted);
        }
    }

    pub(super) fn check_limits(&mut self, shard: usize) {
        let limits = self.profile.limits;
        let Some(state) = &self.shards[shard].state else {
            return;
        };
        let health = state.health();
        // Live panes: the minutes between the slowest and the fastest clock, and two to seal.
        let most_open = limits.late_panes + 16;
        if health.open_panes > most_open || health.waiting > limits.waiting_requests {
            self.fail(format!("shard {shard} is over its limits: {health:?}"));
        }
    }

    /// What a shard stores stays within its limits, but for what was taken before it was at them.
    pub(super) fn check_storage(&mut self) {
        let limits = self.profile.limits;
        for shard in 0..self.shards.len() {
            let disk = &self.shards[shard].drive.disk;
            let rows = |table| disk.keys(table, &[]).unwrap_or_default().len() as u64;
            let journal_rows = rows(Table::Journal);
            let open_panes = rows(Table::OpenPanes);
            let outbox_bytes = disk.bytes(Table::Outbox).unwrap_or(0);
            let open_bytes = (limits.late_panes as u64 + 16) * MOST_PANE_BYTES;
            if journal_rows > limits.journal_rows
                || open_panes > limits.late_panes as u64 + 16
                || outbox_bytes > limits.outbox_bytes + open_bytes
            {
                return self.fail(format!(
                    "shard {shard} stores {journal_rows} journal rows, {open_panes} open panes, \
                     {outbox_bytes} bytes of sealed ones"
                ));
            }
        }
    }

    pub(super) fn drop_shard_state(&mut self, shard: usize) {
        let node = &mut self.shards[shard];
        node.state = None;
        node.memory = ShardInMemory::default();
        let waiters = std::mem::take(&mut node.waiters);
        let reply = match mutants::active(Mutant::DoubtTakenForNo) {
            true => RecordReply::Busy { retry_after_s: 2 },
            false => RecordReply::InDoubt,
        };
        for (rpc, stage, _) in waiters.into_values().flatten() {
            self.answer_record(shard, rpc, stage, reply);
        }
    }

    pub(super) fn crash_shard(&mut self, shard: usize) {
        self.figures.crashes += 1;
        let keep = self
            .random
            .below(self.shards[shard].drive.later.len() as u64 + 1) as usize;
        self.say(|| format!("shard {shard} dies"));
        let down_ms = self.random.skewed(10_000);
        let node = &mut self.shards[shard];
        if node.state.is_some() {
            node.died_at = node.memory.applied;
        }
        node.drive.crash(keep);
        let kept = *node.drive.latest();
        node.ledger().set_back(kept);
        node.state = None;
        node.memory = ShardInMemory::default();
        node.life += 1;
        node.committing = false;
        node.pushing = false;
        node.alarm = Alarm::default();
        node.push_timer = PushTimer::default();
        node.told_interval_ms = 0;
        node.waiters.clear();
        if !self.calm {
            node.down_until_ms = self.now_ms + down_ms;
        }
    }

    pub(super) fn record(
        &mut self,
        rpc: usize,
        stage: u32,
        shard: usize,
        message: &[u8],
        asked: Rc<Asked>,
    ) {
        if self.shards[shard].down_until_ms > self.now_ms {
            return;
        }
        let Ok(request) = codec::decode::<RecordRequest<'_>>(message) else {
            return self.answer_record(shard, rpc, stage, RecordReply::Invalid);
        };
        let node = &self.shards[shard];
        let is_outdated = request
            .last_change
            .is_some_and(|known| known < self.last_changes[node.region]);
        if node.lost_storage && is_outdated {
            // Nobody can tell it: neither its storage nor this Worker knows.
            self.batches[asked.batch].excused = true;
        }
        let unsettled = self.shard_op(shard, |state, _, _| {
            Ok((!state.is_settled()).then(|| state.sync_point()))
        });
        if let Some(Some(point)) = unsettled {
            let (life, written) = (self.shards[shard].life, self.shards[shard].drive.written());
            let message = Rc::new(message.to_vec());
            let record = Event::Record {
                rpc,
                stage,
                shard,
                message,
                asked,
            };
            let sync_ms = self.random.below(20);
            self.after(
                sync_ms,
                Event::Settled {
                    shard,
                    life,
                    written,
                    point,
                },
            );
            return self.after(sync_ms + 1, record);
        }
        let random = self.random.bytes();
        let admitted = self.shard_op(shard, |state, disk, now_ms| {
            if request.epoch_ms > state.epoch_ms() {
                let (began_ms, seed) = (request.epoch_ms, request.seed);
                state.follow(disk, Epoch { began_ms, seed }, random)?;
            }
            let before = state.waiting().0;
            let admission = state.admit(&request, now_ms);
            Ok((admission, state.waiting().0 > before))
        });
        let Some((admission, is_new)) = admitted else {
            return self.answer_record(shard, rpc, stage, RecordReply::Busy { retry_after_s: 2 });
        };
        let number = asked.batch;
        self.say(|| {
            format!(
                "shard {shard} batch {number} claim {} {admission:?}",
                asked.is_claim
            )
        });
        let node = &mut self.shards[shard];
        match admission {
            Admission::Answer(reply) => return self.answer_record(shard, rpc, stage, reply),
            Admission::Wait { ticket, reply } => {
                node.waiters
                    .entry(ticket)
                    .or_default()
                    .push((rpc, stage, reply));
            }
        }
        if is_new {
            node.memory.waiting.push(asked);
            self.check_epoch(shard);
            self.check_deleted(shard);
        }
        let node = &mut self.shards[shard];
        if !std::mem::replace(&mut node.committing, true) {
            let life = node.life;
            let within_ms = self.shards[shard].push_timer.delay_ms();
            self.ensure_alarm(shard, within_ms);
            let wait_ms = if self.random.chance(300) { 100 } else { 0 };
            self.after(wait_ms, Event::Commit { shard, life });
        }
    }

    pub(super) fn answer_record(
        &mut self,
        shard: usize,
        rpc: usize,
        stage: u32,
        reply: RecordReply,
    ) {
        if self.shards[shard].foreign_until_ms > self.now_ms {
            // The Worker cannot read it: no answer.
            return;
        }
        for delay_ms in self.deliveries(20_000) {
            self.after(delay_ms, Event::RecordAnswer { rpc, stage, reply });
        }
    }

    pub(super) fn answer_tickets(&mut self, shard: usize, tickets: std::ops::RangeInclusive<u64>) {
        for ticket in tickets {
            let waiters = self.shards[shard].waiters.remove(&ticket);
            for (rpc, stage, reply) in waiters.into_iter().flatten() {
                self.answer_record(shard, rpc, stage, reply);
            }
        }
    }

    pub(super) fn commit(&mut self, shard: usize) {
        let written = self.shard_op(shard, |state, disk, now_ms| {
            let written = state.commit(disk, now_ms)?;
            Ok((written, state.sync_point(), state.waiting().0))
        });
        let life = self.shards[shard].life;
        match written {
            Some((true, point, _)) => {
                if mutants::active(Mutant::AcknowledgeBeforeDurable) {
                    self.answer_tickets(shard, 0..=50);
                }
                if mutants::active(Mutant::RecordBeforeDurable) {
                    self.shard_op(shard, |state, _, now_ms| Ok(state.committed(now_ms)));
                }
                let written = self.shards[shard].drive.written();
                let is_slow = self.random.chance(100);
                let sync_ms = match is_slow {
                    true => self.random.between(50, 5_000),
                    false => self.random.between(1, 20),
                };
                if is_slow && self.profile.write_fault_every_ms > 0 {
                    let after_ms = self.random.below(sync_ms);
                    let left_ms = sync_ms - after_ms;
                    let refuse = Event::RefuseCheckpoint {
                        shard,
                        life,
                        left_ms,
                    };
                    self.after(after_ms, refuse);
                }
                self.after(
                    sync_ms,
                    Event::Committed {
                        shard,
                        life,
                        written,
                        point,
                    },
                );
            }
            Some((false, _, 1..)) => self.after(1, Event::Commit { shard, life }),
            _ => self.shards[shard].committing = false,
        }
    }

    pub(super) fn committed(&mut self, shard: usize, written: u64, point: region::SyncPoint) {
        self.shards[shard].drive.sync(written);
        let counted = self.shard_op(shard, |state, _, now_ms| {
            let tickets = state.committed(now_ms);
            state.synced(point);
            Ok(tickets)
        });
        let Some(tickets) = counted else {
            self.shards[shard].committing = false;
            return;
        };
        let memory = &mut self.shards[shard].memory;
        if let Some(moment) = memory.in_flight.take() {
            memory.applied = moment;
        }
        let more = self.shard_op(shard, |state, disk, now_ms| {
            if state.checkpoint_is_needed() {
                state.checkpoint(disk, now_ms)?;
            }
            Ok(state.waiting().0 > 0)
        });
        let Some(more) = more else {
            self.shards[shard].committing = false;
            return;
        };
        if let Some(tickets) = tickets {
            self.answer_tickets(shard, tickets);
        }
        let life = self.shards[shard].life;
        if more {
            self.after(0, Event::Commit { shard, life });
        } else {
            self.shards[shard].committing = false;
        }
    }
}
