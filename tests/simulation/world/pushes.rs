//! What wakes shards, and their messages to the global object.

use futures_channel::oneshot::Sender;
use hitparade::host::SendError;

use super::*;

/// Of so many pushes it is remembered what they said.
const MAX_OLD_PUSHES: usize = 12;

/// An export waits 20 s for what lies below its cut; a shard goes on with that each second.
const GOES_ON_MS: u64 = 15_000;
/// A push that fails takes so long at most, and an alarm finds another under way.
const LATE_PUSH_MS: u64 = 2 * PUSH_TIMEOUT_MS;

/// Whoever waits for the answer to a push.
pub struct PushAsked {
    instance: Instance,
    task: u64,
    moment: usize,
    /// What the global object wants next when it has all of the push.
    next_offset: u64,
    cut: Option<Cut>,
    answer: Sender<Result<Vec<u8>, SendError>>,
}

impl World {
    pub(super) fn set_alarm(
        &mut self,
        shard: usize,
        delay_ms: u64,
        done: Sender<Result<(), StorageError>>,
    ) {
        if !self.calm && self.random.chance(self.profile.alarm_fault / 20) {
            self.say(|| format!("shard {shard} is refused an alarm"));
            let now_ms = self.now_ms;
            self.shards[shard].alarm_refused_ms = Some(now_ms);
            return self.then_send(1, done, Err(StorageError("no alarm".into())));
        }
        let is_set_at_once = self.random.chance(700);
        let instance = self.instance(shard);
        let follows_fired = self.is_awake(instance);
        let node = &mut self.shards[shard];
        let (life, number) = (node.life, node.alarms_asked);
        node.alarms_asked += 1;
        // Whichever is asked for later is the one that stays, however long the answers take.
        node.alarm_pending = None;
        if is_set_at_once {
            self.alarm_is_set(shard, delay_ms);
            let _ = done.send(Ok(()));
            return;
        }
        node.alarm_pending = Some(PendingAlarm {
            number,
            delay_ms,
            written: node.drive.written(),
            follows_fired,
        });
        let set = move |world: &mut World| {
            let node = &mut world.shards[shard];
            if node.life != life {
                return;
            }
            let is_ours = |pending: &mut PendingAlarm| pending.number == number;
            if node.alarm_pending.take_if(is_ours).is_some() {
                world.alarm_is_set(shard, delay_ms);
            }
            let _ = done.send(Ok(()));
        };
        let in_ms = self.random.between(1, 10);
        self.after(in_ms, Event::Then(Box::new(set)));
    }

    fn alarm_is_set(&mut self, shard: usize, mut delay_ms: u64) {
        self.say(|| format!("shard {shard} is to be woken in {delay_ms} ms"));
        let node = &mut self.shards[shard];
        node.alarm_number += 1;
        node.alarm_comes = true;
        node.alarm_is_lost = false;
        node.alarm_refused_ms = None;
        node.alarm_due_ms = Some(self.now_ms + delay_ms);
        let number = node.alarm_number;
        // What happens every 5 s happens less often while the global object is away for days.
        let away_ms = self.global.down_until_ms.saturating_sub(self.now_ms);
        if away_ms > 10 * MINUTE_MS && !self.calm {
            delay_ms += self.random.below(away_ms / 5);
        }
        let alarm = |is_again| Event::Alarm {
            shard,
            number,
            is_again,
        };
        let faulty = !self.calm && self.random.chance(self.profile.alarm_fault);
        match if faulty { self.random.below(3) } else { 3 } {
            0 => {
                self.shards[shard].alarm_comes = false;
                self.shards[shard].alarm_is_lost = true;
            }
            1 => {
                let late_ms = self.random.skewed(2 * MINUTE_MS);
                self.after(delay_ms + late_ms, alarm(false));
            }
            2 => {
                let apart_ms = self.random.skewed(1_000);
                self.after(delay_ms, alarm(false));
                self.after(delay_ms + apart_ms, alarm(true));
            }
            _ => self.after(delay_ms, alarm(false)),
        }
    }

    /// With all else that a shard of a deleted board has.
    pub(super) fn alarm_is_deleted(
        &mut self,
        shard: usize,
        done: Sender<Result<(), StorageError>>,
    ) {
        let node = &mut self.shards[shard];
        node.alarm_number += 1;
        node.alarm_comes = false;
        node.alarm_due_ms = None;
        node.alarm_pending = None;
        let in_ms = self.random.below(10);
        self.then_send(in_ms, done, Ok(()));
    }

    /// An alarm that was not done with comes again: the platform sees to that. And a shard that has
    /// plays which nobody has taken has an alarm.
    pub(super) fn alarm_survives(&mut self, shard: usize, dead: Instance) {
        let node = &mut self.shards[shard];
        let pending = node.alarm_pending.take();
        // Where what was written after it is there, so is the alarm. Where not, what it was to follow is: that
        // one fired is durable no sooner.
        let follows_fired = pending.as_ref().is_some_and(|it| it.follows_fired);
        if let Some(pending) = pending
            && node.drive.durable_count > pending.written
        {
            self.alarm_is_set(shard, pending.delay_ms);
        }
        if self.shards[shard].alarm_comes {
            return;
        }
        if follows_fired || self.is_awake(dead) {
            return self.alarm_comes_again(shard);
        }
        let node = &mut self.shards[shard];
        let (all, kept) = (node.ledger().len(), node.ledger().kept_plays());
        let may_be_kept = node.lost_storage || self.global.was_set_back || self.epoch_ms > 0;
        let loses_rows = self.profile.damage_outbox || self.profile.damage_journal;
        let has_alarm = !node.alarm_is_lost && node.alarm_refused_ms.is_none();
        let board = node.board;
        let may_be_kept = may_be_kept || loses_rows || self.is_gone(board);
        if all > kept && has_alarm && !may_be_kept {
            self.fail(format!(
                "shard {shard} has {all} plays, {kept} are taken, and nothing wakes it"
            ));
        }
    }

    /// Whether an alarm has fired that an instance is not done with.
    fn is_awake(&self, instance: Instance) -> bool {
        let is_its_alarm =
            |owner: &Owner| owner.instance == instance && matches!(owner.errand, Errand::Alarm);
        self.executor.owners().any(is_its_alarm)
    }

    fn alarm_comes_again(&mut self, shard: usize) {
        let node = &mut self.shards[shard];
        if node.alarm_comes {
            return;
        }
        node.alarm_number += 1;
        node.alarm_comes = true;
        node.alarm_is_lost = false;
        node.alarm_refused_ms = None;
        let again = Event::Alarm {
            shard,
            number: node.alarm_number,
            is_again: true,
        };
        let in_ms = self.random.between(1, 2_000);
        self.after(in_ms, again);
    }

    pub(super) fn alarm(&mut self, shard: usize, number: u64, is_again: bool) {
        let node = &mut self.shards[shard];
        if node.alarm_number != number && !is_again {
            // Another was set in its place.
            return;
        }
        let down_until_ms = node.down_until_ms;
        if down_until_ms > self.now_ms {
            let alarm = Event::Alarm {
                shard,
                number,
                is_again,
            };
            return self.at(down_until_ms, alarm);
        }
        if node.alarm_number == number {
            node.alarm_comes = false;
            node.alarm_due_ms = None;
        }
        self.say(|| format!("shard {shard} is woken"));
        let driver = self.driver(shard);
        let instance = Instance {
            node: Node::Shard(shard),
            life: self.shards[shard].life,
        };
        let work = async move {
            let had_work = driver.look(Shard::has_work) == Some(true);
            let done = driver.alarm(None).await;
            let has_work = had_work && driver.look(Shard::has_work) == Some(true);
            let then: Then = Box::new(move |world| match done {
                Ok(()) if has_work => world.has_pushed(shard),
                Ok(()) => {}
                Err(_) => world.alarm_comes_again(shard),
            });
            Some(then)
        };
        let errand = Errand::Alarm;
        self.start(Owner { instance, errand }, Box::pin(work));
    }

    /// The task of an alarm has written what it pushes: not sooner than it was told to.
    pub(super) fn push_began(&mut self, shard: usize, task: u64) {
        let node = &mut self.shards[shard];
        if node.push_task == Some(task) {
            return;
        }
        let now_ms = shifted(self.now_ms, node.skew_ms.get());
        // None: its clock went back, and it need not wait for as long.
        let waited_ms = now_ms.checked_sub(node.push_began_ms);
        let waited_ms = waited_ms.map(|_| now_ms.saturating_sub(node.waits_from_ms));
        let told_ms = node.told_interval_ms;
        node.push_task = Some(task);
        (node.push_began_ms, node.waits_from_ms) = (now_ms, now_ms);
        node.could_push_ms = self.now_ms;
        // Alarms come a little early.
        let early_ms = waited_ms.filter(|waited_ms| waited_ms + 500 < told_ms);
        if let Some(waited_ms) = early_ms
            && node.at_once_for_ms.is_none()
        {
            self.fail(format!(
                "shard {shard} pushes after {waited_ms} ms, told {told_ms}"
            ));
        }
    }

    /// An alarm is done with, of a shard that had something to tell: where it is a busy one, its last push is not
    /// much longer ago than it was told to wait.
    fn has_pushed(&mut self, shard: usize) {
        let node = &self.shards[shard];
        let told_ms = node.told_interval_ms;
        let waited_ms = self.now_ms - node.could_push_ms;
        if told_ms > 0 && !node.is_told_quiet && waited_ms > told_ms + LATE_PUSH_MS {
            self.fail(format!(
                "shard {shard} does not push after {waited_ms} ms, told {told_ms}"
            ));
        }
    }

    /// A push that failed before anything of it was to be durable, as the disk refused, has begun as well: nothing
    /// else shows it.
    pub(super) fn reported(&mut self, instance: Instance, task: u64, what: &str) {
        if let Node::Shard(shard) = instance.node
            && self.shards[shard].life == instance.life
            && what.starts_with("push: ")
        {
            self.push_began(shard, task);
        }
    }

    pub(super) fn push(
        &mut self,
        instance: Instance,
        task: u64,
        report: Vec<u8>,
        (limit_ms, answer): (u64, Sender<Result<Vec<u8>, SendError>>),
    ) {
        let Node::Shard(shard) = instance.node else {
            return;
        };
        let node = &mut self.shards[shard];
        node.could_push_ms = self.now_ms;
        let old = node.old.as_ref();
        let old = old.filter(|old| old.life == instance.life);
        let moment = old.map_or(node.applied, |old| old.applied);
        let Ok(ShardReport { push, .. }) = codec::decode(&report) else {
            return self.fail("a report that cannot be read");
        };
        let Ok(Push {
            next_offset,
            first_offset,
            entries,
            cut,
            ..
        }) = codec::decode(push)
        else {
            return self.fail("a push that cannot be read");
        };
        let sent_to = first_offset + entries.len() as u64;
        if let Some(cut) = cut.filter(|cut| sent_to < cut.offset) {
            let is_long_ago = self.now_ms > cut.at_ms + GOES_ON_MS;
            self.shards[shard].behind_cut_ms = Some(cut.at_ms).filter(|_| is_long_ago);
        }
        let sent = self.sent(shard, moment, push.to_vec());
        let asked = PushAsked {
            instance,
            task,
            moment,
            next_offset,
            cut,
            answer,
        };
        self.pushes.insert(sent.number, asked);
        let is_silent = self.shards[shard].silent_until_ms > self.now_ms;
        let deliveries = self.deliveries(20 * MINUTE_MS);
        for delay_ms in deliveries.into_iter().filter(|_| !is_silent) {
            self.after(delay_ms, Event::Push(sent.clone()));
        }
        let number = sent.number;
        self.remember_push(sent);
        let reply = None;
        self.after(limit_ms, Event::PushAnswer { number, reply });
    }

    fn sent(&mut self, shard: usize, moment: usize, mut push: Vec<u8>) -> Sent {
        self.figures.pushes += 1;
        let node = &self.shards[shard];
        if node.foreign_until_ms > self.now_ms {
            push[1] += 1;
        }
        Sent {
            shard,
            number: self.figures.pushes,
            ledger: node.ledgers.len() - 1,
            moment,
            message: Rc::new(push),
        }
    }

    /// The last push of a storage, which comes late and has sealed what the new storage opens again.
    /// By chance alone that would hardly ever be so.
    pub(super) fn push_late(&mut self, shard: usize) {
        let point = self.shard_op(shard, |state, disk, now_ms| {
            state.checkpoint(disk, now_ms + 2 * MINUTE_MS)?;
            Ok(state.sync_point())
        });
        let Some(point) = point else { return };
        let drive = &mut self.shards[shard].drive;
        drive.sync(drive.written());
        let push = self.shard_op(shard, |state, disk, _| {
            state.synced(point);
            state.push(disk)
        });
        let moment = self.shards[shard].applied;
        let of_main = |_: &Vec<u8>| self.shards[shard].board == 0;
        if let Some(push) = push.flatten().filter(of_main) {
            let last = self.sent(shard, moment, push);
            let delay_ms = self.random.skewed(5 * MINUTE_MS);
            self.after(delay_ms, Event::Push(last));
            // Before the new one tells it again.
            let region = self.shards[shard].region;
            self.after(delay_ms + CHART_AGE_MS, Event::LookAt(region));
        }
    }

    /// Some pushes come once more when they are old: after something has started again.
    fn remember_push(&mut self, sent: Sent) {
        if self.old_pushes.len() < MAX_OLD_PUSHES {
            self.old_pushes.push(sent);
        } else if self.random.chance(200) {
            let at = self.random.below(MAX_OLD_PUSHES as u64) as usize;
            self.old_pushes[at] = sent;
        }
    }

    /// Something starts again at a time: old pushes come soon after it.
    pub(super) fn repeat_old_pushes(&mut self, from_ms: u64) {
        if self.calm {
            return;
        }
        for sent in self.old_pushes.clone() {
            if self.random.chance(self.profile.old_pushes) {
                let at_ms = from_ms + self.random.skewed(MINUTE_MS);
                self.at(at_ms, Event::Push(sent));
            }
        }
    }

    /// The answer to a push, or the end of its time.
    pub(super) fn pushed(&mut self, number: u64, reply: Option<Heard>) {
        let Some(asked) = self.pushes.remove(&number) else {
            return;
        };
        let PushAsked {
            instance,
            task,
            moment,
            next_offset,
            cut,
            answer,
        } = asked;
        let Some((reply, times_forgot)) = reply else {
            let _ = answer.send(Err(SendError("no answer".into())));
            return;
        };
        let (interval_ms, is_quiet) = (reply.push_interval_ms, reply.is_quiet);
        let wanted_offset = reply.wanted_offset;
        let _ = answer.send(Ok(codec::encode(&PushReplyOrRefusal(Ok(reply)))));
        let Node::Shard(shard) = instance.node else {
            return;
        };
        if self.shards[shard].life != instance.life {
            return;
        }
        let node = &mut self.shards[shard];
        (node.told_interval_ms, node.is_told_quiet) = (interval_ms, is_quiet);
        // What an export waits for does not wait.
        if let Some(cut) = cut {
            let is_taken = cut.offset <= wanted_offset;
            let at_once_for_ms = node.at_once_for_ms.max(Some(cut.at_ms));
            node.at_once_for_ms = at_once_for_ms.filter(|at_ms| !is_taken || *at_ms > cut.at_ms);
        }
        self.poll(task);
        // Where its disk refuses what the answer changes, nobody has heard it.
        let node = &mut self.shards[shard];
        if node.life != instance.life || node.look(|_| ()).is_none() {
            return;
        }
        let now_ms = self.now_ms;
        if wanted_offset < next_offset {
            if !self.calm && self.random.chance(self.profile.silence) {
                // Its other pushes get lost.
                let silent_ms = self.random.skewed(10 * MINUTE_MS);
                self.shards[shard].silent_until_ms = now_ms + silent_ms;
            }
        } else if wanted_offset == next_offset && self.global.times_forgot == times_forgot {
            node.ledger().told(now_ms, moment);
        }
    }
}
