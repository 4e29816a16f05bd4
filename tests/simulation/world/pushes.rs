//! Shards: what `region/object.rs` does when it wakes up.

use super::*;

/// Of so many pushes it is remembered what they said.
const MAX_OLD_PUSHES: usize = 12;

impl World {
    pub(super) fn ensure_alarm(&mut self, shard: usize, within_ms: u64) {
        let node = &mut self.shards[shard];
        let now_ms = shifted(self.now_ms, node.skew_ms);
        let Some(due_ms) = node.alarm.to_be_set(now_ms, within_ms) else {
            return;
        };
        node.alarm.was_set(due_ms);
        node.alarm_number += 1;
        node.alarm_comes = true;
        let number = node.alarm_number;
        let mut delay_ms = due_ms - now_ms;
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
            0 => self.shards[shard].alarm_comes = false,
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
        let node = &mut self.shards[shard];
        if node.alarm_number == number {
            node.alarm_comes = false;
        }
        node.alarm.fired();
        let has_work = self.shard_op(shard, |state, _, _| Ok(state.has_work()));
        if has_work == Some(false) {
            return;
        }
        let interval_ms = self.shards[shard].push_timer.interval_ms();
        self.ensure_alarm(shard, interval_ms);
        let node = &mut self.shards[shard];
        let now_ms = shifted(self.now_ms, node.skew_ms);
        if has_work.is_none() || node.pushing || !node.push_timer.begin(now_ms) {
            return;
        }
        let waited_ms = now_ms.saturating_sub(node.push_began_ms);
        let told_ms = node.told_interval_ms;
        node.push_began_ms = now_ms;
        node.pushing = true;
        node.pushes_left = PUSHES_AN_ALARM;
        // Alarms come a little early.
        if waited_ms + 500 < told_ms {
            let early = format!("shard {shard} pushes after {waited_ms} ms, told {told_ms}");
            return self.fail(early);
        }
        self.prepare_push(shard);
    }

    pub(super) fn prepare_push(&mut self, shard: usize) {
        self.shards[shard].pushes_left -= 1;
        let point = self.shard_op(shard, |state, disk, now_ms| {
            if state.checkpoint_is_due(now_ms) {
                state.checkpoint(disk, now_ms)?;
            }
            Ok(state.sync_point())
        });
        let Some(point) = point else {
            self.shards[shard].pushing = false;
            return;
        };
        let life = self.shards[shard].life;
        let written = self.shards[shard].drive.written();
        let sync_ms = self.random.between(1, 20);
        let ready = Event::PushReady {
            shard,
            life,
            written,
            point,
        };
        if mutants::active(Mutant::SentBeforeDurable) {
            return self.push(shard, 0, point);
        }
        self.after(sync_ms, ready);
    }

    pub(super) fn push(&mut self, shard: usize, written: u64, point: region::SyncPoint) {
        let Some(sent) = self.make_push(shard, written, point) else {
            self.shards[shard].pushing = false;
            return;
        };
        let (life, number) = (sent.life, sent.number);
        let is_silent = self.shards[shard].silent_until_ms > self.now_ms;
        let deliveries = self.deliveries(20 * MINUTE_MS);
        for delay_ms in deliveries.into_iter().filter(|_| !is_silent) {
            self.after(delay_ms, Event::Push(sent.clone()));
        }
        self.remember_push(sent);
        let timeout = Event::PushAnswer {
            shard,
            life,
            number,
            reply: None,
        };
        self.after(PUSH_TIMEOUT_MS, timeout);
    }

    fn make_push(&mut self, shard: usize, written: u64, point: region::SyncPoint) -> Option<Sent> {
        self.shards[shard].drive.sync(written);
        let push = self.shard_op(shard, |state, disk, _| {
            state.synced(point);
            state.push(disk)
        });
        let mut message = push??;
        self.figures.pushes += 1;
        let node = &mut self.shards[shard];
        if node.foreign_until_ms > self.now_ms {
            message[1] += 1;
        }
        node.push_number += 1;
        node.push_moment = node.memory.applied;
        Some(Sent {
            shard,
            life: node.life,
            number: node.push_number,
            ledger: node.ledgers.len() - 1,
            moment: node.memory.applied,
            message: Rc::new(message),
        })
    }

    /// The last push of a storage, which comes late and has sealed what the new storage opens again.
    /// By chance alone that would hardly ever be so.
    pub(super) fn push_late(&mut self, shard: usize) {
        let point = self.shard_op(shard, |state, disk, now_ms| {
            state.checkpoint(disk, now_ms + 2 * MINUTE_MS)?;
            Ok(state.sync_point())
        });
        let written = self.shards[shard].drive.written();
        let last = point.and_then(|point| self.make_push(shard, written, point));
        if let Some(last) = last {
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

    pub(super) fn pushed(&mut self, shard: usize, number: u64, reply: Option<Heard>) {
        let node = &mut self.shards[shard];
        if node.push_number != number || !node.pushing {
            return;
        }
        // Nobody waits for another answer to this push.
        node.push_number += 1;
        let Some((reply, times_forgot)) = reply else {
            node.pushing = false;
            return;
        };
        node.push_timer.told(reply.push_interval_ms);
        node.told_interval_ms = reply.push_interval_ms;
        let random = self.random.bytes();
        let more = self.shard_op(shard, |state, disk, _| {
            state.pushed(disk, &reply, random)?;
            Ok((state.has_more_to_send(), state.has_work()))
        });
        let now_ms = self.now_ms;
        let is_there_yet = self.global.times_forgot == times_forgot;
        let node = &mut self.shards[shard];
        let (moment, applied) = (node.push_moment, node.memory.applied);
        match more {
            Some((_, false)) => node.ledger().kept(applied),
            Some((false, true)) if is_there_yet => node.ledger().told(now_ms, moment),
            Some((true, _)) if !self.calm && self.random.chance(self.profile.silence) => {
                // Its other pushes get lost.
                let silent_ms = self.random.skewed(10 * MINUTE_MS);
                self.shards[shard].silent_until_ms = now_ms + silent_ms;
            }
            _ => {}
        }
        let more = more.is_some_and(|(more, _)| more);
        if more && self.shards[shard].pushes_left > 0 {
            self.prepare_push(shard);
        } else {
            self.shards[shard].pushing = false;
        }
    }
}
