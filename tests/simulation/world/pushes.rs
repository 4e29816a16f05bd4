//! Shards: what `region/object.rs` does when it wakes up.

use super::*;

impl World {
    pub(super) fn ensure_alarm(&mut self, shard: usize) {
        let node = &mut self.shards[shard];
        let now_ms = shifted(self.now_ms, node.skew_ms);
        let Some(due_ms) = node.alarm.to_be_set(now_ms, region::PUSH_INTERVAL_MS) else {
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
        let faulty = !self.calm && self.random.chance(self.profile.alarm_fault);
        match if faulty { self.random.below(3) } else { 3 } {
            0 => self.shards[shard].alarm_comes = false,
            1 => {
                let late_ms = self.random.skewed(2 * MINUTE_MS);
                self.after(delay_ms + late_ms, Event::Alarm { shard, number });
            }
            2 => {
                let apart_ms = self.random.skewed(1_000);
                self.after(delay_ms, Event::Alarm { shard, number });
                self.after(delay_ms + apart_ms, Event::Alarm { shard, number });
            }
            _ => self.after(delay_ms, Event::Alarm { shard, number }),
        }
    }

    pub(super) fn alarm(&mut self, shard: usize, number: u64) {
        let down_until_ms = self.shards[shard].down_until_ms;
        if down_until_ms > self.now_ms {
            return self.at(down_until_ms, Event::Alarm { shard, number });
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
        self.ensure_alarm(shard);
        if has_work.is_none() || std::mem::replace(&mut self.shards[shard].pushing, true) {
            return;
        }
        self.shards[shard].pushes_left = PUSHES_AN_ALARM;
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
        self.shards[shard].drive.sync(written);
        let push = self.shard_op(shard, |state, disk, _| {
            state.synced(point);
            state.push(disk)
        });
        let Some(Some(mut message)) = push else {
            self.shards[shard].pushing = false;
            return;
        };
        self.figures.pushes += 1;
        let pushed = match self.read_push(shard, &message) {
            Ok(pushed) => Rc::new(pushed),
            Err(what) => return self.fail(format!("push of shard {shard}: {what}")),
        };
        let node = &mut self.shards[shard];
        if node.foreign_until_ms > self.now_ms {
            message[1] += 1;
        }
        node.push_number += 1;
        let (life, number) = (node.life, node.push_number);
        let message = Rc::new(message);
        for delay_ms in self.deliveries(20 * MINUTE_MS) {
            let (message, pushed) = (Rc::clone(&message), Rc::clone(&pushed));
            self.after(
                delay_ms,
                Event::Push {
                    shard,
                    life,
                    number,
                    message,
                    pushed,
                },
            );
        }
        let timeout = Event::PushAnswer {
            shard,
            life,
            number,
            reply: None,
        };
        self.after(PUSH_TIMEOUT_MS, timeout);
    }

    /// What a push says, checked against what the shard has.
    pub(super) fn read_push(&mut self, shard: usize, message: &[u8]) -> Result<Pushed, String> {
        let push = codec::decode::<Push<'_>>(message).map_err(|error| error.to_string())?;
        let node = &mut self.shards[shard];
        node.log_id = Some(push.log_id);
        let region = node.region;
        let mut provisional = Vec::new();
        for copy in &push.provisional {
            let pane = codec::decode::<SealedPane<'_>>(copy).map_err(|error| error.to_string())?;
            let level = hitparade::window::Level::from_code(pane.level).ok_or("no level")?;
            let key = hitparade::window::PaneKey::of(level, pane.start_ms);
            let summary = Summary::decode(pane.summary, Seed::from_bytes(SEED))
                .map_err(|error| error.to_string())?;
            let plays = node
                .memory
                .open
                .get(&key)
                .ok_or("a copy of a pane that is not open")?;
            check_summary(&summary, plays, &self.posts)?;
            provisional.push(Rc::new(Pane {
                region,
                key,
                plays: Rc::clone(plays),
            }));
        }
        // What is open and was not sent was sealed to make room.
        let is_sent = |key| provisional.iter().any(|pane| pane.key == key);
        let keys: Vec<_> = node.memory.open.keys().copied().collect();
        for key in keys.into_iter().filter(|key| !is_sent(*key)) {
            let plays = node.memory.open.remove(&key).unwrap_or_default();
            node.memory.sealed.push((key, plays));
        }
        let mut entries = Vec::new();
        for (offset, entry) in (push.first_offset..).zip(&push.entries) {
            let held = node.drive.latest().outbox.get(&offset);
            let held = match (held, entry.is_empty()) {
                (Some(held), false) => Rc::clone(held),
                (_, true) => Rc::new(Pane {
                    region,
                    key: hitparade::window::PaneKey::ALL,
                    plays: Rc::default(),
                }),
                (None, false) => return Err(format!("offset {offset} is not in the outbox")),
            };
            entries.push(held);
        }
        if push.next_offset < push.first_offset + entries.len() as u64 {
            return Err("offsets contradict each other".into());
        }
        Ok(Pushed {
            region,
            shard: node.shard,
            log_id: push.log_id,
            oldest_offset: push.oldest_offset,
            first_offset: push.first_offset,
            entries,
            next_offset: push.next_offset,
            journal_seq: push.journal_seq,
            provisional,
        })
    }

    pub(super) fn pushed(&mut self, shard: usize, number: u64, reply: Option<PushReply>) {
        let node = &mut self.shards[shard];
        if node.push_number != number || !node.pushing {
            return;
        }
        // Nobody waits for another answer to this push.
        node.push_number += 1;
        let Some(reply) = reply else {
            node.pushing = false;
            return;
        };
        let random = self.random.bytes();
        let more = self.shard_op(shard, |state, disk, _| {
            state.pushed(disk, &reply, random)?;
            Ok(state.has_more_to_send())
        });
        if more == Some(true) && self.shards[shard].pushes_left > 0 {
            self.prepare_push(shard);
        } else {
            self.shards[shard].pushing = false;
        }
    }
}
