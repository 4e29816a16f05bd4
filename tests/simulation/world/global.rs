//! The global object: what `global/object.rs` does.

use super::*;

/// How much sooner than by time alone the simulation flushes: what goes wrong between a flush and
/// its sync needs many flushes to go wrong.
const FLUSH_EARLY_MS: u64 = 6_000;

impl World {
    pub(super) fn global_is_up(&self) -> bool {
        self.global.down_until_ms <= self.now_ms
    }

    pub(super) fn global_op<T>(
        &mut self,
        run: impl FnOnce(&mut Global, &Disk, u64) -> Result<T, Refusal>,
    ) -> Option<T> {
        let now_ms = shifted(self.now_ms, self.global.skew_ms);
        let node = &mut self.global;
        let mut failed = None;
        if node.state.is_none() {
            let first: Vec<FirstRegion> = (0..self.profile.regions)
                .map(|region| FirstRegion {
                    region_id: region_name(region).into(),
                    region_name: region_name(region).into(),
                    hint: None,
                })
                .collect();
            match Global::load_within(&*node.drive.disk, &first, SEED, self.profile.on_global) {
                Ok(state) => node.state = Some(state),
                Err(error) => failed = Some(Refusal::Storage(error.0)),
            }
            self.global_written();
        }
        let node = &mut self.global;
        let outcome = match (failed, node.state.as_mut()) {
            (None, Some(state)) => run(state, &node.drive.disk, now_ms),
            (failed, _) => Err(failed.unwrap_or(Refusal::NotFound)),
        };
        self.global_written();
        self.begin_anew_in_model();
        self.regions_in_model();
        match outcome {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.say(|| format!("global: {refusal:?}"));
                if self.global.drive.disk.crashed.get() {
                    self.crash_global();
                } else if matches!(refusal, Refusal::Storage(_)) {
                    self.global.state = None;
                    self.global_forgot();
                    // By chance alone it would hardly ever die before what is under way is durable.
                    let dies = self.profile.global_crash_every_ms > 0 && self.random.chance(800);
                    if self.global.syncing && dies {
                        let within_ms = self.random.below(15_000);
                        self.after(within_ms, Event::GlobalCrash);
                    }
                }
                None
            }
        }
    }

    pub(super) fn global_written(&mut self) {
        for writes in self.global.drive.disk.take_recent() {
            let mut told = self.global.drive.latest().clone();
            let offsets = writes.iter().filter(|it| it.table() == Table::Offsets);
            let stored: BTreeSet<&[u8]> = offsets.map(Write::key).collect();
            let is_stored = |node: &ShardNode| {
                let name = region_name(node.region).as_bytes();
                stored.iter().any(|key| key.starts_with(name))
            };
            for (shard, node) in self.shards.iter().enumerate() {
                if is_stored(node) {
                    let last = node.ledgers.last().map_or((0, 0), Ledger::last_told);
                    told.insert(shard, (node.ledgers.len(), last));
                }
            }
            self.global.drive.later.push_back(told);
        }
    }

    /// What it had in memory alone is in charts no more.
    pub(super) fn global_forgot(&mut self) {
        self.global.times_forgot += 1;
        self.shown.clear();
        let stored = self.global.drive.latest();
        for (shard, node) in self.shards.iter_mut().enumerate() {
            let stored = stored.get(&shard).copied();
            let ledgers = (1..).zip(&mut node.ledgers);
            for (number, ledger) in ledgers {
                let promised = stored.filter(|(ledger, _)| *ledger == number);
                ledger.forgotten(promised.map_or((0, 0), |(_, told)| told));
            }
        }
    }

    pub(super) fn crash_global(&mut self) {
        self.figures.crashes += 1;
        self.say(|| "global dies".into());
        let keep = self.random.below(self.global.drive.later.len() as u64 + 1) as usize;
        let down_ms = self.random.skewed(20_000);
        let node = &mut self.global;
        node.drive.crash(keep);
        node.state = None;
        node.life += 1;
        node.syncing = false;
        if !self.calm {
            node.down_until_ms = node.down_until_ms.max(self.now_ms + down_ms);
        }
        let up_ms = node.down_until_ms;
        self.global_forgot();
        self.repeat_old_pushes(up_ms);
    }

    pub(super) fn take_push(&mut self, sent: &Sent) {
        if !self.global_is_up() {
            return;
        }
        let Sent {
            shard,
            number,
            ledger,
            moment,
            ref message,
        } = *sent;
        // Others hold memory of the instance, too, now more and now less.
        let budget = self.random.skewed(2 * self.profile.memory_bytes as u64) as usize;
        let budget = if self.profile.is_roomy {
            usize::MAX
        } else {
            budget
        };
        let is_short = |global: &Global| global.held_bytes() + 4 * message.len() > budget;
        let taken = self.global_op(|global, disk, now_ms| {
            let refused_before = global.health().refused_pushes;
            let taken = global.take_push_within(disk, message, is_short, now_ms);
            if let Err(Refusal::Storage(_)) = taken {
                return taken.map(|reply| (Ok(reply), 0));
            }
            let counted = global.health().refused_pushes > refused_before;
            assert_eq!(counted, taken.is_err(), "a refusal is counted: {taken:?}");
            Ok((taken, global.health().gaps))
        });
        let refused = Event::PushAnswer {
            number,
            reply: None,
        };
        let Some((taken, gaps)) = taken else {
            return self.after(1, refused);
        };
        let is_sound = message[1] == 1;
        let mut reply = match taken {
            Ok(reply) => Some(reply),
            Err(refusal) if is_sound => {
                return self.fail(format!("a sound push was refused: {refusal:?}"));
            }
            Err(_) => None,
        };
        if reply.is_some() {
            let said = reply
                .as_ref()
                .map(|reply| (reply.wanted_offset, reply.durable_offset));
            self.say(|| {
                let held = told_by(message);
                format!("push of {shard} with its first {moment} plays: {held}; {said:?}")
            });
            self.shards[shard].ledgers[ledger].heard(moment);
            if gaps > 0 && !self.global.was_set_back && !self.profile.damage_outbox {
                return self.fail(format!("{gaps} gaps where nothing was lost"));
            }
        }
        let times_forgot = self.global.times_forgot;
        let flushed = self.global_op(|global, disk, now_ms| {
            // Full memory makes a flush due before its time: here it often is.
            if global.flush_is_due(now_ms.saturating_add(FLUSH_EARLY_MS)) {
                let refused = |error: StorageError| Refusal::Storage(error.0);
                global.flush(disk, now_ms).map_err(refused)?;
            }
            Ok(global.sync_is_due().then(|| global.sync_point()))
        });
        let Some(point) = flushed else {
            return self.after(1, refused);
        };
        if let Some(point) = point
            && !std::mem::replace(&mut self.global.syncing, true)
        {
            let (life, written) = (self.global.life, self.global.drive.written());
            let is_slow = self.random.chance(150);
            let sync_ms = match is_slow {
                true => self.random.between(50, 20_000),
                false => self.random.between(1, 20),
            };
            // By chance alone a refused write would hardly ever meet a sync that is under way.
            if is_slow && self.profile.write_fault_every_ms > 0 && !self.calm {
                self.global.drive.disk.set_fault(0, Fault::Refuse);
            }
            self.after(
                sync_ms,
                Event::GlobalSynced {
                    life,
                    written,
                    point,
                },
            );
        }
        if self.global.foreign_until_ms > self.now_ms {
            reply = None;
        }
        for delay_ms in self.deliveries(PUSH_TIMEOUT_MS + 10_000) {
            let reply = reply.clone().map(|reply| (reply, times_forgot));
            self.after(delay_ms, Event::PushAnswer { number, reply });
        }
    }
}

/// What a push says, for whoever looks into a violation.
fn told_by(push: &[u8]) -> String {
    let Ok(push) = codec::decode::<Push<'_>>(push) else {
        return String::new();
    };
    let pane = |pane: &&[u8]| match codec::decode::<SealedPane<'_>>(pane) {
        Ok(pane) => {
            let (level, start_s) = (pane.level, pane.start_ms / 1_000 % 1_000_000);
            format!("{level}@{start_s}s:{}-{}", pane.first_seq, pane.last_seq)
        }
        Err(_) => "?".into(),
    };
    let entries: Vec<String> = push.entries.iter().map(pane).collect();
    let copies: Vec<String> = push.copies.iter().map(pane).collect();
    let (first, next) = (push.first_offset, push.next_offset);
    format!(
        "{first} {entries:?} {next} {copies:?} at {}",
        push.journal_seq
    )
}
