//! Shards: the driver of `src/region/driver.rs`, on machines that die and disks that refuse; and what
//! the model sees of them, from outside: what is written, what is durable, what is applied.

use std::cell::RefCell;

use futures_channel::oneshot::Sender;

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
            let began_anew = self.epoch_ms > 0;
            let node = ShardNode::new(region, incarnation, shard, skew_ms, began_anew);
            self.shards.push(node);
            self.shards.len() - 1
        })
    }

    fn instance(&self, shard: usize) -> Instance {
        Instance {
            node: Node::Shard(shard),
            life: self.shards[shard].life,
        }
    }

    /// The driver of a shard: the object is made for its first event.
    pub(super) fn driver(&mut self, shard: usize) -> Driver<SimHost> {
        self.platform.now_ms.set(self.now_ms);
        let instance = self.instance(shard);
        let limits = self.profile.limits;
        let node = &mut self.shards[shard];
        let random = &mut self.random;
        let made = node.driver.get_or_insert_with(|| {
            let host = SimHost {
                platform: Rc::clone(&self.platform),
                instance,
                skew_ms: node.skew_ms,
                handle: DiskHandle::new(&node.drive.disk),
                random: RefCell::new(Random::new(random.next())),
                memory_is_short: Rc::clone(&self.memory_is_short),
            };
            Driver::new(host, limits)
        });
        made.clone()
    }

    /// Who takes a request to a shard: while there are two instances of it, either may.
    fn taker(&mut self, shard: usize) -> (Instance, Driver<SimHost>) {
        let goes_to_old = self.random.chance(300);
        if let Some(old) = self.shards[shard].old.as_ref().filter(|_| goes_to_old) {
            let node = Node::Shard(shard);
            let life = old.life;
            return (Instance { node, life }, old.driver.clone());
        }
        let driver = self.driver(shard);
        (self.instance(shard), driver)
    }

    /// Does something to a shard's state, as a fault does or a check.
    pub(super) fn shard_op<T>(
        &mut self,
        shard: usize,
        change: impl FnOnce(&mut Shard, &DiskHandle, u64) -> Result<T, StorageError>,
    ) -> Option<T> {
        let driver = self.driver(shard);
        let life = self.shards[shard].life;
        self.before_shard(shard, life);
        let now_ms = shifted(self.now_ms, self.shards[shard].skew_ms);
        let outcome = driver.with_shard(|state, disk| change(state, disk, now_ms));
        self.see(shard);
        self.serve_calls();
        outcome.ok()
    }

    pub(super) fn before_shard(&mut self, shard: usize, life: u64) {
        let node = &mut self.shards[shard];
        if node.life == life {
            node.waiting_before = node.look(|state| state.waiting().0);
        }
    }

    /// What a task of a shard has done.
    pub(super) fn after_shard(&mut self, shard: usize, owner: &Owner) {
        if self.shards[shard].life != owner.instance.life {
            // Its disk is another's now.
            return;
        }
        let before = self.shards[shard].waiting_before.unwrap_or(0);
        self.see(shard);
        if let Errand::Record { asked, .. } = &owner.errand
            && self.shards[shard].look(|state| state.waiting().0) > Some(before)
        {
            self.admitted(shard, asked);
        }
    }

    /// What a shard has written and applied since it was looked at last.
    fn see(&mut self, shard: usize) {
        self.shard_written(shard);
        let node = &mut self.shards[shard];
        if node.drive.disk.crashed.get() {
            return self.crash_shard(shard);
        }
        let was_loaded = node.waiting_before.is_some();
        let Some(applied_seq) = node.look(Shard::applied_seq) else {
            return;
        };
        let before = if was_loaded {
            node.applied
        } else {
            node.died_at
        };
        node.applied = node.moment_of(applied_seq);
        if !was_loaded {
            node.votes = VotesInModel::default();
        }
        if node.look(Shard::has_work) == Some(false) {
            let applied = node.applied;
            node.ledger().kept(applied);
        }
        self.follow_in_model(shard, before);
        self.check_limits(shard);
    }

    fn shard_written(&mut self, shard: usize) {
        let node = &mut self.shards[shard];
        let mut too_many = None;
        for writes in node.drive.disk.take_recent() {
            if let Some((seq, batches)) = region::journaled(&writes) {
                let plays: Vec<Play> = batches.iter().flat_map(|batch| plays_of(batch)).collect();
                too_many = too_many.or(node.votes.journaled(&plays, &self.batches));
                let moment = node.ledger().journaled(&plays);
                node.moments.insert(seq, moment);
            }
            let counted = node.ledger().len();
            node.drive.later.push_back(counted);
        }
        let limit = self.profile.votes_limit.unwrap_or(u32::MAX);
        if let Some((votes, of)) = too_many.filter(|(votes, _)| *votes > limit) {
            self.fail(format!(
                "shard {shard}: {votes} votes of {of:?} in a minute"
            ));
        }
    }

    /// A batch or a claim waits to be journaled.
    fn admitted(&mut self, shard: usize, asked: &Asked) {
        if !asked.is_claim {
            let now_ms = shifted(self.now_ms, self.shards[shard].skew_ms);
            let votes = &mut self.shards[shard].votes;
            votes.admitted(asked.batch, now_ms / MINUTE_MS);
            self.check_epoch(shard);
            self.check_deleted(shard);
        }
    }

    fn check_limits(&mut self, shard: usize) {
        let limits = self.profile.limits;
        let Some(health) = self.shards[shard].look(Shard::health) else {
            return;
        };
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

    /// The machine of a shard dies, or its object goes elsewhere: what is not durable may be lost, and
    /// all that is in memory is.
    pub(super) fn crash_shard(&mut self, shard: usize) {
        self.figures.crashes += 1;
        self.say(|| format!("shard {shard} dies"));
        self.end_instance(shard);
        let instance = self.instance(shard);
        let dead = Instance {
            life: instance.life - 1,
            ..instance
        };
        self.executor.drop_owned(|owner| owner.instance == dead);
        self.shards[shard].driver = None;
        if !self.calm {
            let down_ms = self.random.skewed(10_000);
            self.shards[shard].down_until_ms = self.now_ms + down_ms;
        }
    }

    /// What is not durable may be lost. The next instance is another one.
    fn end_instance(&mut self, shard: usize) {
        let node = &mut self.shards[shard];
        let keep = self.random.below(node.drive.later.len() as u64 + 1) as usize;
        if let Some(applied) = node.look(|_| node.applied) {
            node.died_at = applied;
        }
        node.drive.crash(keep);
        let kept = *node.drive.latest();
        node.set_back(kept);
        let instance = self.instance(shard);
        self.alarm_survives(shard, instance);
        let node = &mut self.shards[shard];
        node.life += 1;
        node.told_interval_ms = 0;
        node.votes = VotesInModel::default();
    }

    /// A new instance of an object begins while another is alive still: that one may send, and answer
    /// from memory, but its storage is not its own any more.
    pub(super) fn move_shard(&mut self, shard: usize) {
        let node = &mut self.shards[shard];
        if node.old.is_some() || node.down_until_ms > self.now_ms {
            return;
        }
        let Some(driver) = node.driver.take() else {
            return;
        };
        self.say(|| format!("shard {shard} begins elsewhere"));
        let node = &mut self.shards[shard];
        driver.host().handle.is_fenced.set(true);
        let life = node.life;
        let applied = node.applied;
        node.old = Some(OldInstance {
            life,
            applied,
            driver: driver.clone(),
        });
        self.end_instance(shard);
        let instance = Instance {
            node: Node::Shard(shard),
            life,
        };
        let ends = move |world: &mut World| world.end_old(shard, life);
        let lives_ms = self.random.skewed(MINUTE_MS);
        self.after(lives_ms, Event::Then(Box::new(ends)));
        // It has been woken before it learns anything.
        let alarm = move |world: &mut World| {
            let work = async move {
                driver.alarm(None).await;
                None
            };
            if world.is_there(instance) {
                let errand = Errand::Other;
                world.start(Owner { instance, errand }, Box::pin(work));
            }
        };
        let in_ms = self.random.below(lives_ms);
        self.after(in_ms, Event::Then(Box::new(alarm)));
    }

    fn end_old(&mut self, shard: usize, life: u64) {
        let instance = Instance {
            node: Node::Shard(shard),
            life,
        };
        self.executor.drop_owned(|owner| owner.instance == instance);
        self.shards[shard].old = None;
    }

    pub(super) fn serve_shard(&mut self, shard: usize, instance: Instance, task: u64, call: Call) {
        let is_old = self.shards[shard].life != instance.life;
        let fenced = || StorageError("another instance has taken over".into());
        match call {
            Call::Sync(done) | Call::SetAlarm(_, done) if is_old => {
                let after_ms = self.random.between(1, 20);
                self.then_send(after_ms, done, Err(fenced()));
            }
            Call::Sync(done) => self.sync_shard(shard, task, done),
            Call::SetAlarm(delay_ms, done) => self.set_alarm(shard, delay_ms, done),
            Call::AskGlobal {
                path: "/push",
                message,
                limit_ms,
                answer,
            } => self.push(instance, task, message, (limit_ms, answer)),
            Call::AskGlobal { .. } | Call::Sleep(..) | Call::Report(_) => {}
        }
    }

    fn sync_shard(&mut self, shard: usize, task: u64, done: Sender<Result<(), StorageError>>) {
        let errand = self.executor.owner(task).map(|owner| &owner.errand);
        if matches!(errand, Some(Errand::Alarm)) {
            self.push_began(shard, task);
        }
        let random = &mut self.random;
        let is_slow = random.chance(100);
        let sync_ms = match is_slow {
            true => random.between(50, 5_000),
            false => random.between(1, 20),
        };
        let has_faults = self.profile.write_fault_every_ms > 0 && !self.calm;
        let fails = has_faults && random.chance(5);
        let life = self.shards[shard].life;
        if is_slow && has_faults {
            let after_ms = random.below(sync_ms);
            let left_ms = sync_ms - after_ms;
            let refuse = Event::RefuseCheckpoint {
                shard,
                life,
                left_ms,
            };
            self.after(after_ms, refuse);
        }
        let written = self.shards[shard].drive.written();
        let synced = move |world: &mut World| {
            let node = &mut world.shards[shard];
            let outcome = if node.life != life || fails {
                Err(StorageError("nobody knows what is durable".into()))
            } else {
                node.drive.sync(written);
                Ok(())
            };
            let _ = done.send(outcome);
        };
        self.after(sync_ms, Event::Then(Box::new(synced)));
    }

    pub(super) fn record(
        &mut self,
        rpc: usize,
        stage: u32,
        shard: usize,
        message: &Rc<Vec<u8>>,
        asked: Rc<Asked>,
    ) {
        if self.shards[shard].down_until_ms > self.now_ms {
            return;
        }
        if let Ok(request) = codec::decode::<RecordRequest<'_>>(message) {
            let node = &self.shards[shard];
            let is_outdated = request
                .last_change
                .is_some_and(|known| known < self.last_changes[node.region]);
            if node.lost_storage && is_outdated {
                // Nobody can tell it: neither its storage nor this Worker knows.
                self.batches[asked.batch].excused = true;
            }
        }
        let (instance, driver) = self.taker(shard);
        let voter = self.profile.votes_limit.map(|limit| Voter {
            sender: self.batches[asked.batch].client as u64,
            limit,
        });
        let message = Rc::clone(message);
        let work = async move {
            let recorded = driver.record(&message, voter).await;
            let answer = move |world: &mut World| {
                world.answer_record(shard, rpc, stage, recorded);
            };
            Some(Box::new(answer) as Then)
        };
        let errand = Errand::Record { asked };
        let task = self.start(Owner { instance, errand }, Box::pin(work));
        if !self.calm && self.random.chance(self.profile.hung_up) {
            let in_ms = self.random.skewed(RECORD_TIMEOUT_MS);
            let hang_up = move |world: &mut World| world.executor.drop_task(task);
            self.after(in_ms, Event::Then(Box::new(hang_up)));
        }
    }

    fn answer_record(&mut self, shard: usize, rpc: usize, stage: u32, recorded: Recorded) {
        let (reply, too_many) = recorded;
        self.say(|| format!("shard {shard} says {reply:?} {too_many:?}"));
        if self.shards[shard].foreign_until_ms > self.now_ms {
            // The Worker cannot read it: no answer.
            return;
        }
        for delay_ms in self.deliveries(20_000) {
            let too_many = Rc::clone(&too_many);
            let answer = Event::RecordAnswer {
                rpc,
                stage,
                reply,
                too_many,
            };
            self.after(delay_ms, answer);
        }
    }

    /// Tells a shard news. What comes when it has said that it knows.
    pub(super) fn tell_news(
        &mut self,
        shard: usize,
        news: News,
        told: impl Fn() -> Event + 'static,
    ) {
        if self.shards[shard].down_until_ms > self.now_ms {
            return;
        }
        let message = codec::encode(&Announcement {
            region_id: &self.shards[shard].key(),
            shard: self.shards[shard].shard,
            news,
        });
        let (instance, driver) = self.taker(shard);
        let work = async move {
            let heard = driver.hear(&message).await;
            let tell = move |world: &mut World| match heard {
                Ok(()) => {
                    for delay_ms in world.deliveries(MINUTE_MS) {
                        world.after(delay_ms, told());
                    }
                }
                Err(Refusal::Storage(_)) => {}
                Err(refusal) => world.fail(format!("shard {shard} refuses news: {refusal:?}")),
            };
            Some(Box::new(tell) as Then)
        };
        let errand = Errand::Other;
        let task = self.start(Owner { instance, errand }, Box::pin(work));
        self.poll(task);
        // By chance alone a crash would hardly ever meet these few writes.
        if !self.calm && self.profile.shard_crash_every_ms > 0 && self.random.chance(300) {
            self.crash_shard(shard);
        }
    }
}

/// The plays of a batch as it was journaled; a claim has none.
fn plays_of(batch: &[u8]) -> Vec<Play> {
    let Ok(batch) = codec::decode::<hitparade::wire::Batch<'_>>(batch) else {
        return Vec::new();
    };
    let plays = batch.plays.iter().enumerate().map(|(place, play)| {
        let number = play.post_id.split('-').next_back();
        Play {
            batch: batch.plays_hash as usize,
            begins_batch: place == 0,
            post: number.and_then(|number| number.parse().ok()).unwrap_or(0),
            timestamp_ms: play.timestamp_ms,
            count: play.count,
        }
    });
    plays.collect()
}

/// What an address adds to a post in a minute, by the clock of the shard.
#[derive(Default)]
pub struct VotesInModel {
    minutes: BTreeMap<usize, u64>,
    votes: BTreeMap<(usize, usize, u64), u32>,
}

impl VotesInModel {
    fn admitted(&mut self, batch: usize, minute: u64) {
        self.minutes.insert(batch, minute);
    }

    /// The most votes that an address now has for one of these plays' posts.
    fn journaled(
        &mut self,
        plays: &[Play],
        batches: &[Batch],
    ) -> Option<(u32, (usize, usize, u64))> {
        let votes = plays.iter().filter_map(|play| {
            let minute = *self.minutes.get(&play.batch)?;
            let of = (batches[play.batch].client, play.post, minute);
            let votes = self.votes.entry(of).or_default();
            *votes += 1;
            Some((*votes, of))
        });
        votes.max()
    }
}
