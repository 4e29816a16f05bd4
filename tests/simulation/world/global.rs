//! The global object: the driver of `src/global/driver.rs`, on a machine that dies and a disk that
//! refuses; and what the model sees of it, from outside.

use std::cell::RefCell;

use futures_channel::oneshot::Sender;
use hitparade::board::{MAIN, ObjectName};
use hitparade::global::{self, ClosingRules, GlobalSettings};
use hitparade::summary::{Seed, Summary};
use hitparade::wire::GlobalMetrics;

use super::*;

pub type GlobalDriver = global::Driver<SimHost>;

fn told(global: &Global) -> GlobalMetrics {
    global.tell(GlobalMetrics::default(), 0)
}

impl World {
    pub(super) fn global_is_up(&self) -> bool {
        self.global.down_until_ms <= self.now_ms
    }

    fn global_instance(&self) -> Instance {
        Instance {
            node: Node::Global,
            life: self.global.life,
        }
    }

    /// The driver: the object is made for its first event.
    fn global_driver(&mut self) -> GlobalDriver {
        self.platform.now_ms.set(self.now_ms);
        let instance = self.global_instance();
        let (node, random) = (&mut self.global, &mut self.random);
        let profile = &self.profile;
        let ending = self.ending.as_ref();
        let closing = ending.map_or_else(ClosingRules::default, |ending| ClosingRules {
            close_after_ms: ending.close_after_ms,
            ..ClosingRules::default()
        });
        let made = node.driver.get_or_insert_with(|| {
            let host = SimHost {
                platform: Rc::clone(&self.platform),
                instance,
                object: ObjectName::global(MAIN),
                skew_ms: Rc::clone(&node.skew_ms),
                handle: DiskHandle::new(&node.drive.disk),
                random: RefCell::new(Random::new(random.next())),
                zone: Rc::clone(&self.zone),
                memory_is_short: Rc::clone(&node.memory_is_short),
            };
            let settings = GlobalSettings {
                limits: profile.on_global,
                closing,
                ..GlobalSettings::default()
            };
            GlobalDriver::new(host, settings)
        });
        made.clone()
    }

    /// Asks what takes a while. Who asks hears nothing where the global object does not live through it.
    pub(super) fn ask_for_a_while<F: Future<Output = Vec<u8>> + 'static>(
        &mut self,
        ask: impl FnOnce(GlobalDriver) -> F,
        then: impl FnOnce(&mut World, &[u8]) + 'static,
    ) {
        let reply = ask(self.global_driver());
        let owner = Owner {
            instance: self.global_instance(),
            errand: Errand::Other,
        };
        let work = async move {
            let reply = reply.await;
            let then: Then = Box::new(move |world| then(world, &reply));
            Some(then)
        };
        let task = self.start(owner, Box::pin(work));
        if !self.calm && self.random.chance(50) {
            // Who asks goes away before the answer.
            let gone = move |world: &mut World| world.executor.drop_task(task);
            let in_ms = self.random.skewed(2_000);
            self.after(in_ms, Event::Then(Box::new(gone)));
        }
    }

    /// What a task of the global object has done.
    pub(super) fn see_global(&mut self) {
        self.global_written();
        if self.global.drive.disk.crashed.get() {
            return self.crash_global();
        }
        self.begin_anew_in_model();
        self.regions_in_model();
        let dropped = self
            .global
            .driver
            .as_ref()
            .map_or(0, |it| it.states_dropped());
        if std::mem::replace(&mut self.global.states_dropped, dropped) < dropped {
            self.global_forgot();
            // By chance alone it would hardly ever die before what is under way is durable.
            let dies = self.profile.global_crash_every_ms > 0 && self.random.chance(800);
            if self.global.syncs > 0 && dies {
                let within_ms = self.random.below(15_000);
                self.after(within_ms, Event::GlobalCrash);
            }
        }
    }

    /// Does what the driver asks of the platform.
    pub(super) fn serve_global(&mut self, instance: Instance, call: Call) {
        let done = match call {
            Call::Sync(done) => done,
            Call::Ask {
                object,
                message,
                limit_ms,
                answer,
                path: "/pull",
            } => return self.pull_asked(instance, &object, message, (limit_ms, answer)),
            Call::Ask {
                limit_ms,
                answer,
                path: "/look",
                ..
            } => return self.look_asked((limit_ms, answer)),
            _ => return,
        };
        self.global.syncs += 1;
        let written = self.global.drive.written();
        let is_slow = !self.calm && self.random.chance(150);
        let sync_ms = match is_slow {
            true => self.random.between(50, 20_000),
            false => self.random.between(1, 20),
        };
        // By chance alone a refused write would hardly ever meet a sync that is under way.
        let has_faults = self.profile.write_fault_every_ms > 0 && !self.calm;
        if is_slow && has_faults {
            self.global.drive.disk.set_fault(0, Fault::Refuse);
        }
        let fails = has_faults && self.random.chance(20);
        let synced = move |world: &mut World| world.global_synced(instance, written, done, fails);
        self.after(sync_ms, Event::Then(Box::new(synced)));
    }

    /// A sync is over. Where it fails, nobody is told what of it is durable.
    fn global_synced(
        &mut self,
        instance: Instance,
        written: u64,
        done: Sender<Result<(), StorageError>>,
        fails: bool,
    ) {
        if self.global.life != instance.life {
            return;
        }
        self.global.syncs -= 1;
        if fails {
            let _ = done.send(Err(StorageError("it cannot be told".into())));
            return;
        }
        self.global.drive.sync(written);
        let _ = done.send(Ok(()));
    }

    fn global_written(&mut self) {
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
        self.end_global(keep);
        let node = &mut self.global;
        if !self.calm {
            node.down_until_ms = node.down_until_ms.max(self.now_ms + down_ms);
        }
        let up_ms = node.down_until_ms;
        self.repeat_old_pushes(up_ms);
    }

    /// The object goes, with so many of the batches that were not durable kept. The next one may have another
    /// zone.
    pub(super) fn end_global(&mut self, keep: usize) {
        // The day that ends during the run is that of one zone.
        if self.random.chance(200) && self.ending.is_none() {
            let zone = drawn_zone(&mut self.random, self.now_ms);
            self.say(|| format!("TIME_ZONE is another: {zone:?}"));
            *self.zone.borrow_mut() = Some(zone);
        }
        self.forget_global(keep);
    }

    pub(super) fn forget_global(&mut self, keep: usize) {
        let dead = self.global_instance();
        self.executor.drop_owned(|owner| owner.instance == dead);
        let node = &mut self.global;
        node.drive.crash(keep);
        node.driver = None;
        node.states_dropped = 0;
        node.life += 1;
        node.syncs = 0;
        self.global_forgot();
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
        let report = codec::encode(&ShardReport {
            region_id: &self.shards[shard].key(),
            shard: self.shards[shard].shard,
            push: message,
            figures: &[],
        });
        // Whatever becomes of it, charts may have what it holds.
        self.shards[shard].ledgers[ledger].heard(moment);
        // What is forgotten from now on, it does not have.
        let times_forgot = self.global.times_forgot;
        let refused_before = self.look_at_global(told).map(|told| told.refused_pushes);
        // Where it has to ask the registry first, others may be refused meanwhile.
        let is_at_once = Rc::new(Cell::new(true));
        let at_once = Rc::clone(&is_at_once);
        let driver = self.global_driver();
        let owner = Owner {
            instance: self.global_instance(),
            errand: Errand::Other,
        };
        let sent = sent.clone();
        let work = async move {
            let reply = driver.push(&report).await;
            let before = refused_before.filter(|_| at_once.get());
            let before = (before, times_forgot);
            let taken = move |world: &mut World| world.push_taken(&sent, &reply, before);
            Some(Box::new(taken) as Then)
        };
        let life = self.global.life;
        let task = self.start(owner, Box::pin(work));
        self.poll(task);
        is_at_once.set(false);
        if self.global.life != life {
            let died = Event::PushAnswer {
                number,
                reply: None,
            };
            self.after(1, died);
        }
    }

    /// The global object has answered a push.
    fn push_taken(
        &mut self,
        sent: &Sent,
        reply: &[u8],
        (refused_before, times_forgot): (Option<u64>, u64),
    ) {
        let Sent {
            shard,
            number,
            moment,
            ref message,
            ..
        } = *sent;
        let reply = codec::decode::<PushReplyOrRefusal>(reply);
        let Ok(PushReplyOrRefusal(taken)) = reply else {
            return self.fail("an answer to a push that cannot be read");
        };
        let told = self.look_at_global(told);
        let refused_after = told.as_ref().map(|told| told.refused_pushes);
        if let (Some(before), Some(after)) = (refused_before, refused_after) {
            let is_refused = taken.as_ref().is_err_and(|it| {
                let is_away = matches!(it, Refusal::Storage(_) | Refusal::Busy { .. });
                !is_away && *it != Refusal::LaterEpoch
            });
            if is_refused != (after > before) {
                return self.fail(format!("a refusal is counted: {taken:?}"));
            }
        }
        let is_sound = message[1] == 1;
        let mut reply = match taken {
            Ok(reply) => Some(reply),
            Err(Refusal::Storage(_)) => None,
            // The registry is away.
            Err(Refusal::Busy { .. } | Refusal::UnknownRegion | Refusal::LaterEpoch) => None,
            Err(refusal) if is_sound => {
                return self.fail(format!("a sound push was refused: {refusal:?}"));
            }
            Err(_) => None,
        };
        if let Some(reply) = &reply {
            if !reply.is_quiet {
                self.global.busy_ms = self.now_ms;
            }
            if let Ok(push) = codec::decode::<Push<'_>>(message) {
                self.shards[shard].pushed_log = push.log_id;
            }
            let said = (reply.wanted_offset, reply.durable_offset);
            self.say(|| {
                let held = told_by(message);
                format!("push of {shard} with its first {moment} plays: {held}; {said:?}")
            });
            let gaps = told.map_or(0, |told| told.gaps);
            if gaps > 0 && !self.global.was_set_back && !self.profile.damage_outbox {
                return self.fail(format!("{gaps} gaps where nothing was lost"));
            }
        }
        if self.global.foreign_until_ms > self.now_ms {
            reply = None;
        }
        for delay_ms in self.deliveries(PUSH_TIMEOUT_MS + 10_000) {
            let reply = reply.clone().map(|reply| (reply, times_forgot));
            self.after(delay_ms, Event::PushAnswer { number, reply });
        }
    }

    /// What is in the memory of the global object.
    pub(super) fn look_at_global<T>(&self, look: impl FnOnce(&Global) -> T) -> Option<T> {
        self.global
            .driver
            .as_ref()
            .and_then(|driver| driver.look(look))
    }
}

/// What a push says, for whoever looks into a violation.
pub(super) fn told_by(push: &[u8]) -> String {
    let Ok(push) = codec::decode::<Push<'_>>(push) else {
        return String::new();
    };
    let pane = |pane: &&[u8]| match codec::decode::<SealedPane<'_>>(pane) {
        Ok(pane) => {
            let plays = Summary::decode(pane.summary, Seed::from_bytes([7; 16]));
            let plays = plays.map_or(0, |plays| plays.total());
            let (level, start_s) = (pane.level, pane.start_ms / 1_000 % 1_000_000);
            format!(
                "{level}@{start_s}s:{}-{}:{plays}",
                pane.first_seq, pane.last_seq
            )
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
