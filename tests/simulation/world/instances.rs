//! Instances of the shards' objects: the driver of `src/region/driver.rs` on machines that die, on disks
//! that refuse, and for a while twice.

use std::cell::RefCell;

use futures_channel::oneshot::Sender;
use hitparade::board::ObjectName;

use super::*;

/// An object that has had nothing to do for so long goes out of memory.
const ASLEEP_AFTER_MS: u64 = 10_000;

impl World {
    pub(super) fn instance(&self, shard: usize) -> Instance {
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
        let board_key = self.key_of_board(self.shards[shard].board);
        let node = &mut self.shards[shard];
        let key = node.key();
        let random = &mut self.random;
        let made = node.driver.get_or_insert_with(|| {
            let host = SimHost {
                platform: Rc::clone(&self.platform),
                instance,
                object: ObjectName::shard(&board_key, &key, node.shard),
                skew_ms: Rc::clone(&node.skew_ms),
                handle: DiskHandle::new(&node.drive.disk),
                random: RefCell::new(Random::new(random.next())),
                zone: Rc::clone(&self.zone),
                memory_is_short: Rc::clone(&self.memory_is_short),
            };
            Driver::new(host, limits)
        });
        made.clone()
    }

    /// Who takes a request to a shard: while there are two instances of it, either may.
    pub(super) fn taker(&mut self, shard: usize) -> (Instance, Driver<SimHost>) {
        let goes_to_old = self.random.chance(300);
        if let Some(old) = self.shards[shard].old.as_ref().filter(|_| goes_to_old) {
            let node = Node::Shard(shard);
            let life = old.life;
            return (Instance { node, life }, old.driver.clone());
        }
        let driver = self.driver(shard);
        (self.instance(shard), driver)
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

    /// Objects that have nothing to do go out of memory, with all that they have there; what they have written
    /// is durable by then.
    pub(super) fn let_sleep(&mut self) {
        if self.profile.sleeps == 0 || !self.random.chance(self.profile.sleeps) {
            return;
        }
        let has_work = |world: &World, node: Node| {
            let mut owners = world.executor.owners();
            owners.any(|owner| owner.instance.node == node)
        };
        for shard in 0..self.shards.len() {
            let node = &self.shards[shard];
            let is_idle = node.driver.is_some() && node.old.is_none();
            if is_idle && node.alarm_pending.is_none() && !has_work(self, Node::Shard(shard)) {
                self.say(|| format!("shard {shard} sleeps"));
                let drive = &mut self.shards[shard].drive;
                drive.sync(drive.written());
                self.end_instance(shard);
                self.shards[shard].driver = None;
            }
        }
        // What busy shards push is stored, and promised, with the next of their pushes.
        let is_idle = self.now_ms > self.global.busy_ms + ASLEEP_AFTER_MS;
        if self.global.driver.is_some() && is_idle && !has_work(self, Node::Global) {
            self.say(|| "global sleeps".into());
            let drive = &mut self.global.drive;
            drive.sync(drive.written());
            self.forget_global(0);
        }
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
                drop(driver.alarm(None).await);
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
            Call::Sync(done) | Call::SetAlarm(_, done) | Call::DeleteAlarm(done) if is_old => {
                let after_ms = self.random.between(1, 20);
                self.then_send(after_ms, done, Err(fenced()));
            }
            Call::Sync(done) => self.sync_shard(shard, task, done),
            Call::SetAlarm(delay_ms, done) => self.set_alarm(shard, delay_ms, done),
            Call::DeleteAlarm(done) => self.alarm_is_deleted(shard, done),
            Call::ReadAlarm(done) => {
                let is_told = !is_old && (self.calm || !self.random.chance(10));
                let due_ms = self.shards[shard].alarm_due_ms;
                let found = is_told.then_some(due_ms).ok_or_else(fenced);
                let after_ms = self.random.below(3);
                self.then_send(after_ms, done, found);
            }
            Call::Ask {
                object,
                path,
                message,
                limit_ms,
                answer,
            } if self.shards[shard].board > 0 => {
                self.send_from_shard(instance, (object, path), message, (limit_ms, answer));
            }
            Call::Ask {
                path: "/push",
                message,
                limit_ms,
                answer,
                ..
            } => self.push(instance, task, message, (limit_ms, answer)),
            Call::Ask {
                path,
                message,
                limit_ms,
                answer,
                ..
            } => self.chart_asked((path, message), (limit_ms, answer)),
            Call::Sleep(..) | Call::Report(_) => {}
        }
    }

    fn sync_shard(&mut self, shard: usize, task: u64, done: Sender<Result<(), StorageError>>) {
        let errand = self.executor.owner(task).map(|owner| &owner.errand);
        if matches!(errand, Some(Errand::Alarm)) {
            self.push_began(shard, task);
        }
        let random = &mut self.random;
        let is_slow = !self.calm && random.chance(100);
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
}
