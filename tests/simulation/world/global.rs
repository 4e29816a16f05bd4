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
            node.memory = GlobalInMemory::load(node.drive.latest());
            match Global::load(&node.drive.disk, &first, SEED) {
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
        match outcome {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.say(|| format!("global: {refusal:?}"));
                if self.global.drive.disk.crashed.get() {
                    self.crash_global();
                } else if matches!(refusal, Refusal::Storage(_)) {
                    self.global.state = None;
                    self.global.memory = GlobalInMemory::default();
                }
                None
            }
        }
    }

    pub(super) fn global_written(&mut self) {
        let node = &mut self.global;
        for writes in node.drive.disk.take_recent() {
            let mut on_disk = node.drive.latest().clone();
            node.memory.written(&mut on_disk, &writes);
            node.drive.later.push_back(on_disk);
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
        node.memory = GlobalInMemory::default();
        node.life += 1;
        node.syncing = false;
        if !self.calm {
            node.down_until_ms = node.down_until_ms.max(self.now_ms + down_ms);
        }
    }

    pub(super) fn take_push(
        &mut self,
        shard: usize,
        life: u64,
        number: u64,
        message: &[u8],
        pushed: &Rc<Pushed>,
    ) {
        if !self.global_is_up() {
            return;
        }
        let taken = self.global_op(|global, _, now_ms| {
            let refused_before = global.health().refused_pushes;
            match global.take_push(message, now_ms) {
                Ok(reply) => Ok(Some((reply, global.health().gaps))),
                Err(refusal) => {
                    let counted = global.health().refused_pushes == refused_before + 1;
                    assert!(counted, "{refusal:?} is counted");
                    Ok(None)
                }
            }
        });
        let Some(taken) = taken else { return };
        let mut reply = None;
        if let Some((taken, _)) = taken {
            let log = (pushed.region, pushed.shard, pushed.log_id);
            let before = self.global.memory.accepted.get(&log).copied();
            let (wanted, gap) = self.global.memory.take(pushed);
            self.say(|| format!("push of {shard} taken up to {wanted}, {before:?} before"));
            if taken.wanted_offset != wanted {
                return self.fail(format!(
                    "offset {wanted} of {log:?} is next, {} is wanted",
                    taken.wanted_offset
                ));
            }
            if before.is_some_and(|before| wanted < before) {
                return self.fail("an offset went back");
            }
            if gap > 0 && !self.global.was_set_back && !self.profile.damage_outbox {
                return self.fail(format!("a gap of {gap} in {log:?}"));
            }
            let durable = self.global.drive.durable.consumed.get(&log);
            let promised = durable.or(self.global.memory.began.get(&log));
            if taken.durable_offset > promised.copied().unwrap_or(0) {
                let what = taken.durable_offset;
                return self.fail(format!(
                    "{what} is promised of {log:?}, {promised:?} is durable"
                ));
            }
            reply = Some(taken);
        } else if message[1] == 1 {
            return self.fail("a sound push was refused");
        }
        let flushed = self.global_op(|global, disk, now_ms| {
            // Full memory makes a flush due before its time: here it often is.
            if global.flush_is_due(now_ms.saturating_add(FLUSH_EARLY_MS)) {
                let refused = |error: StorageError| Refusal::Storage(error.0);
                global.flush(disk, now_ms).map_err(refused)?;
            }
            Ok(global.sync_is_due().then(|| global.sync_point()))
        });
        let Some(point) = flushed else { return };
        if let Some(point) = point
            && !std::mem::replace(&mut self.global.syncing, true)
        {
            let (life, written) = (self.global.life, self.global.drive.written());
            let is_slow = self.random.chance(100);
            let sync_ms = match is_slow {
                true => self.random.between(50, 10_000),
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
            let reply = reply.clone();
            self.after(
                delay_ms,
                Event::PushAnswer {
                    shard,
                    life,
                    number,
                    reply,
                },
            );
        }
    }
}
