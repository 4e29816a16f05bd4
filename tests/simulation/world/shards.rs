//! What shards are asked, and what the model sees of them from outside: what they write, and what they
//! say that they have applied.

use super::*;

/// What a shard writes so long after it was refused an alarm, it began to write later.
const TRIED_AGAIN_MS: u64 = 5_000;

/// When nothing has gone wrong for so long, what went wrong before is over.
const SETTLED_AFTER_MS: u64 = 60_000;
/// A pane of the posts that are played in a minute takes less.
const MOST_PANE_BYTES: u64 = 1_000;

impl World {
    /// The node of a shard, by its board, its region and which of its name that is, and its number.
    pub(super) fn shard_node(&mut self, board: usize, place: (usize, u32, u32)) -> usize {
        let found = self.shards.iter().position(|node| {
            node.board == board && (node.region, node.incarnation, node.shard) == place
        });
        found.unwrap_or_else(|| {
            let most_ms = self.profile.skew_ms;
            let skew_ms = self.random.below(2 * most_ms + 1) as i64 - most_ms as i64;
            // Other boards than main are other boards then.
            let began_anew = self.epoch_ms > 0 && board == 0;
            let node = ShardNode::new(board, place, skew_ms, began_anew);
            self.shards.push(node);
            self.shards.len() - 1
        })
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
        let now_ms = shifted(self.now_ms, self.shards[shard].skew_ms.get());
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
        let board = node.board;
        // A deletion that is not durable may not have been.
        if self.is_gone_for_good(board) {
            // Nothing is promised of what is being deleted.
            return;
        }
        let node = &mut self.shards[shard];
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
        self.follow_in_model(shard, before);
        let node = &mut self.shards[shard];
        if node.look(Shard::has_work) == Some(false) {
            let applied = node.applied;
            node.ledger().kept(applied);
        }
        self.check_limits(shard);
    }

    fn shard_written(&mut self, shard: usize) {
        let node = &mut self.shards[shard];
        let mut too_many = None;
        let mut journaled = Vec::new();
        for writes in node.drive.disk.take_recent() {
            if let Some((seq, batches)) = region::journaled(&writes) {
                let plays = batches
                    .iter()
                    .flat_map(|batch| plays_of(batch, node.board, node.region));
                let plays: Vec<Play> = plays.collect();
                too_many = too_many.or(node.votes.journaled(&plays, &self.batches));
                let moment = node.ledger().journaled(&plays);
                journaled.push((seq, plays, moment));
                node.moments.insert(seq, moment);
            }
            let counted = node.ledger().len();
            node.drive.later.push_back(counted);
        }
        let now_ms = self.now_ms;
        let node = &mut self.shards[shard];
        let refused_ms = node.alarm_refused_ms;
        if !journaled.is_empty() && refused_ms.is_some_and(|at_ms| at_ms + TRIED_AGAIN_MS < now_ms)
        {
            // Before these it had to try again.
            node.alarm_refused_ms = None;
        }
        for (seq, plays, moment) in journaled {
            self.say(|| {
                let posts = plays
                    .iter()
                    .map(|play| (self.posts[play.post].as_str(), play.count));
                let posts: Vec<_> = posts.collect();
                format!("shard {shard} writes {posts:?} as {seq}, its first {moment}")
            });
        }
        // So many at once, and as many again come back until the minute is over, but for the last.
        let limit = (self.profile.votes_limit).map_or(u32::MAX, |limit| 2 * limit - 1);
        if let Some((votes, of)) = too_many.filter(|(votes, _)| *votes > limit) {
            self.fail(format!(
                "shard {shard}: {votes} votes of {of:?} in a minute"
            ));
        }
    }

    /// A batch or a claim waits to be journaled.
    fn admitted(&mut self, shard: usize, asked: &Asked) {
        if !asked.is_claim {
            let now_ms = shifted(self.now_ms, self.shards[shard].skew_ms.get());
            let votes = &mut self.shards[shard].votes;
            votes.admitted(asked.batch, now_ms / MINUTE_MS);
            self.check_epoch(shard);
        }
    }

    fn check_limits(&mut self, shard: usize) {
        let limits = self.profile.limits;
        let tell = |shard: &Shard| shard.tell(hitparade::wire::ShardMetrics::default(), 0);
        let Some(told) = self.shards[shard].look(tell) else {
            return;
        };
        // Live panes: the minutes between the slowest and the fastest clock, and two to seal.
        let most_open = limits.late_panes as u64 + 16;
        if told.open_panes > most_open || told.waiting_batches > limits.waiting_requests as u64 {
            self.fail(format!("shard {shard} is over its limits: {told:?}"));
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
        let (instance, driver) = self.taker(shard);
        let batch = &self.batches[asked.batch];
        let voter = self.profile.votes_limit.map(|limit| Voter {
            sender: batch.client as u64,
            limit,
        });
        let voter = voter.filter(|_| asked.plays > 0 && !batch.is_trusted);
        let message = Rc::clone(message);
        let number = asked.batch;
        let work = async move {
            let reply = driver.record(&message, voter).await;
            let answer = move |world: &mut World| {
                if reply == RecordReply::InDoubt {
                    world.shards[shard].votes.given_back(number);
                }
                world.answer_record(shard, rpc, stage, &reply);
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

    fn answer_record(&mut self, shard: usize, rpc: usize, stage: u32, reply: &RecordReply) {
        self.say(|| format!("shard {shard} says {reply:?}"));
        let keeps_pace = !self.profile.slow_pace;
        let is_counted = matches!(reply, RecordReply::Counted { .. });
        if is_counted && keeps_pace && self.now_ms > self.end_ms + SETTLED_AFTER_MS {
            let (now_ms, node) = (self.now_ms, &mut self.shards[shard]);
            let moment = node.applied;
            node.ledger().answered(now_ms, moment);
        }
        if self.shards[shard].foreign_until_ms > self.now_ms {
            // The Worker cannot read it: no answer.
            return;
        }
        for delay_ms in self.deliveries(20_000) {
            let reply = reply.clone();
            self.after(delay_ms, Event::RecordAnswer { rpc, stage, reply });
        }
    }

    /// Tells a shard that counting has begun anew. What comes when it has said that it knows.
    pub(super) fn tell_epoch(
        &mut self,
        shard: usize,
        epoch: Epoch,
        told: impl Fn() -> Event + 'static,
    ) {
        if self.shards[shard].down_until_ms > self.now_ms {
            return;
        }
        let message = codec::encode(&BeginEpoch {
            region_id: &self.shards[shard].key(),
            shard: self.shards[shard].shard,
            epoch,
        });
        let (instance, driver) = self.taker(shard);
        let work = async move {
            let heard = driver.begin_epoch(&message).await;
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

/// The plays of a part as it was journaled at a shard of a board and a region; a claim has none.
fn plays_of(batch: &[u8], board: usize, region: usize) -> Vec<Play> {
    let Ok(batch) = codec::decode::<hitparade::wire::Batch<'_>>(batch) else {
        return Vec::new();
    };
    // What `routing::Name` makes of those of a trusted sender that name a region.
    let names_region = batch.key.and_then(<[u8]>::first) == Some(&1);
    let plays = batch.plays.iter().enumerate().map(|(place, play)| {
        let number = play.post_id.split('-').next_back();
        Play {
            batch: batch.plays_hash as usize,
            part: part_of(board, names_region.then_some(region)),
            begins_part: place == 0,
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
    /// The batches that they came in.
    votes: BTreeMap<(usize, usize, u64), Vec<usize>>,
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
            if batches[play.batch].is_trusted {
                return None;
            }
            let of = (batches[play.batch].client, play.post, minute);
            let votes = self.votes.entry(of).or_default();
            votes.push(play.batch);
            Some((votes.len() as u32, of))
        });
        votes.max()
    }

    /// Nobody knows whether a batch was counted.
    fn given_back(&mut self, batch: usize) {
        let votes = self.votes.values_mut();
        votes.for_each(|batches| batches.retain(|of| *of != batch));
    }
}
