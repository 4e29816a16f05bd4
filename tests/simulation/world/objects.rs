//! Objects of boards other than `main`, besides their shards: what folds their plays, and catalogs of their
//! own. They run the drivers of `src/` on machines that die and disks that refuse.

use std::cell::RefCell;

use futures_channel::oneshot::Sender;
use hitparade::board::ObjectName;
use hitparade::catalog;
use hitparade::global::GlobalSettings;
use hitparade::host::SendError;

use super::global::GlobalDriver;
use super::messages::Asker;
use super::*;

pub struct ObjectOfBoard {
    pub name: ObjectName,
    pub board: usize,
    pub drive: Drive<()>,
    /// The object, where it is in memory.
    driver: Option<ObjectDriver>,
    pub life: u64,
    down_until_ms: u64,
    skew_ms: i64,
}

#[derive(Clone)]
enum ObjectDriver {
    Global(GlobalDriver),
    Catalog(catalog::Driver<SimHost>),
}

impl ObjectDriver {
    async fn answer(self, path: &'static str, message: &[u8]) -> Vec<u8> {
        match (self, path) {
            (ObjectDriver::Global(driver), "/push") => driver.push(message).await,
            (ObjectDriver::Global(driver), "/chart") => driver.chart(message).await,
            (ObjectDriver::Global(driver), "/chart-if-awake") => {
                driver.chart_if_awake(message).await
            }
            (ObjectDriver::Global(driver), "/wipe") => driver.wipe(message).await,
            (ObjectDriver::Catalog(driver), "/catalog") => driver.answer(message).await,
            (ObjectDriver::Catalog(driver), "/list-posts") => driver.list_posts(message).await,
            (ObjectDriver::Catalog(driver), "/wipe") => driver.wipe(message).await,
            _ => Vec::new(),
        }
    }
}

impl World {
    /// The object of a name.
    fn object_node(&mut self, name: &ObjectName) -> Option<usize> {
        if let Some(node) = self.objects.iter().position(|node| node.name == *name) {
            return Some(node);
        }
        let board = self.board_of(name.board()?)?;
        let most_ms = self.profile.skew_ms;
        let skew_ms = self.random.below(2 * most_ms + 1) as i64 - most_ms as i64;
        self.objects.push(ObjectOfBoard {
            name: name.clone(),
            board,
            drive: Drive::new(),
            driver: None,
            life: 0,
            down_until_ms: 0,
            skew_ms,
        });
        Some(self.objects.len() - 1)
    }

    fn object_instance(&self, node: usize) -> Instance {
        Instance {
            node: Node::OfBoard(node),
            life: self.objects[node].life,
        }
    }

    fn object_driver(&mut self, number: usize) -> ObjectDriver {
        self.platform.now_ms.set(self.now_ms);
        let instance = self.object_instance(number);
        let (node, random) = (&mut self.objects[number], &mut self.random);
        let (limits, on_catalog) = (self.profile.on_global, self.profile.on_catalog);
        let made = node.driver.get_or_insert_with(|| {
            let host = SimHost {
                platform: Rc::clone(&self.platform),
                instance,
                object: node.name.clone(),
                skew_ms: Rc::new(Cell::new(node.skew_ms)),
                handle: DiskHandle::new(&node.drive.disk),
                random: RefCell::new(Random::new(random.next())),
                zone: Rc::clone(&self.zone),
                memory_is_short: Rc::clone(&self.global.memory_is_short),
            };
            match node.name {
                ObjectName::Catalog { .. } => {
                    ObjectDriver::Catalog(catalog::Driver::new(host, on_catalog))
                }
                _ => {
                    let settings = GlobalSettings {
                        limits,
                        ..GlobalSettings::default()
                    };
                    ObjectDriver::Global(GlobalDriver::new(host, settings))
                }
            }
        });
        made.clone()
    }

    /// Asks an object. Who asks hears nothing where it does not live through it.
    pub(super) fn ask_object(
        &mut self,
        object: &ObjectName,
        path: &'static str,
        message: Vec<u8>,
        then: impl FnOnce(&mut World, &[u8]) + 'static,
    ) {
        let Some(node) = self.object_node(object) else {
            return;
        };
        if self.objects[node].down_until_ms > self.now_ms {
            return;
        }
        let driver = self.object_driver(node);
        let instance = self.object_instance(node);
        let work = async move {
            let reply = driver.answer(path, &message).await;
            let then: Then = Box::new(move |world| then(world, &reply));
            Some(then)
        };
        let errand = Errand::Other;
        self.start(Owner { instance, errand }, Box::pin(work));
    }

    /// Sends a message from one object to another of a board.
    pub(super) fn send_to_object(
        &mut self,
        object: ObjectName,
        path: &'static str,
        message: Vec<u8>,
        asker: (u64, Sender<Result<Vec<u8>, SendError>>),
    ) {
        self.carry(asker, move |world, asker| {
            world.object_asked(&object, path, message.clone(), asker);
        });
    }

    fn object_asked(
        &mut self,
        object: &ObjectName,
        path: &'static str,
        message: Vec<u8>,
        asker: Asker,
    ) {
        match object {
            ObjectName::Shard { board, id } if path == "/wipe" => {
                let Some(board) = self.board_of(board) else {
                    return;
                };
                let shard = self.node_of(board, id);
                self.wipe_shard(shard, message, asker);
            }
            ObjectName::Shard { .. } => self.fail(format!("{path} to {}", object.as_named())),
            object => self.ask_object(object, path, message, |world, reply| {
                world.reply(asker, reply.to_vec());
            }),
        }
    }

    /// The registry tells a shard that its board is deleted.
    fn wipe_shard(&mut self, shard: usize, message: Vec<u8>, asker: Asker) {
        if self.shards[shard].down_until_ms > self.now_ms {
            return;
        }
        let (instance, driver) = self.taker(shard);
        let work = async move {
            let wiped = codec::encode(&Noted(driver.wipe(&message).await));
            let told: Then = Box::new(move |world| world.reply(asker, wiped));
            Some(told)
        };
        let errand = Errand::Other;
        self.start(Owner { instance, errand }, Box::pin(work));
        // By chance alone a crash would hardly ever meet these few writes.
        if !self.calm && self.profile.shard_crash_every_ms > 0 && self.random.chance(200) {
            let life = self.shards[shard].life;
            let within_ms = self.random.below(40);
            self.after(within_ms, Event::Die { shard, life });
        }
    }

    /// A shard of such a board sends something to the board's global object.
    pub(super) fn send_from_shard(
        &mut self,
        instance: Instance,
        (object, path): (ObjectName, &'static str),
        message: Vec<u8>,
        asker: (u64, Sender<Result<Vec<u8>, SendError>>),
    ) {
        let Node::Shard(shard) = instance.node else {
            return;
        };
        let node = &self.shards[shard];
        let old = node.old.as_ref();
        let old = old.filter(|old| old.life == instance.life);
        let moment = old.map_or(node.applied, |old| old.applied);
        let ledger = node.ledgers.len() - 1;
        self.carry(asker, move |world, asker| {
            if path == "/push" {
                // Whatever becomes of it, charts may have what it holds.
                world.shards[shard].ledgers[ledger].heard(moment);
            }
            world.object_asked(&object, path, message.clone(), asker);
        });
    }

    /// Does what the driver asks of the platform.
    pub(super) fn serve_object(&mut self, instance: Instance, call: Call) {
        let Node::OfBoard(node) = instance.node else {
            return;
        };
        match call {
            Call::Sync(done) => self.sync_object(node, instance, done),
            // None of them ever sets one.
            Call::SetAlarm(_, done) | Call::DeleteAlarm(done) => self.then_send(1, done, Ok(())),
            Call::Ask {
                object,
                message,
                limit_ms,
                answer,
                path: "/pull",
            } => self.pull_asked(instance, &object, message, (limit_ms, answer)),
            Call::Ask {
                object,
                path,
                message,
                limit_ms,
                answer,
            } => self.send_to_object(object, path, message, (limit_ms, answer)),
            Call::ReadAlarm(_) | Call::Sleep(..) | Call::Report(_) => {}
        }
    }

    fn sync_object(
        &mut self,
        node: usize,
        instance: Instance,
        done: Sender<Result<(), StorageError>>,
    ) {
        let written = self.objects[node].drive.written();
        let sync_ms = match !self.calm && self.random.chance(150) {
            true => self.random.between(50, 10_000),
            false => self.random.between(1, 20),
        };
        let has_faults = self.profile.write_fault_every_ms > 0 && !self.calm;
        let fails = has_faults && self.random.chance(20);
        let synced = move |world: &mut World| {
            let node = &mut world.objects[node];
            if node.life != instance.life {
                return;
            }
            let outcome = match fails {
                true => Err(StorageError("it cannot be told".into())),
                false => {
                    node.drive.sync(written);
                    Ok(())
                }
            };
            let _ = done.send(outcome);
        };
        self.after(sync_ms, Event::Then(Box::new(synced)));
    }

    /// What a task of such an object has done.
    pub(super) fn see_object(&mut self, node: usize) {
        let drive = &mut self.objects[node].drive;
        for _ in drive.disk.take_recent() {
            drive.later.push_back(());
        }
        if drive.disk.crashed.get() {
            self.crash_object(node);
        }
    }

    pub(super) fn crash_object(&mut self, node: usize) {
        let unsynced = self.objects[node].drive.later.len() as u64;
        let keep = self.random.below(unsynced + 1) as usize;
        self.end_object(node, keep);
        if !self.calm {
            let down_ms = self.random.skewed(20_000);
            self.objects[node].down_until_ms = self.now_ms + down_ms;
        }
    }

    /// It goes, with so many of the batches that were not durable kept.
    fn end_object(&mut self, node: usize, keep: usize) {
        self.figures.crashes += 1;
        self.say(|| format!("{} dies", self.objects[node].name.as_named()));
        let dead = self.object_instance(node);
        self.executor.drop_owned(|owner| owner.instance == dead);
        let node = &mut self.objects[node];
        node.drive.crash(keep);
        node.driver = None;
        node.life += 1;
    }

    /// Only what is durable counts.
    pub(super) fn end_objects(&mut self) {
        for node in 0..self.objects.len() {
            self.end_object(node, 0);
        }
    }

    pub(super) fn crash_some_object(&mut self) {
        if !self.objects.is_empty() {
            let node = self.random.below(self.objects.len() as u64) as usize;
            self.crash_object(node);
        }
    }

    pub(super) fn fault_of_some_object(&mut self) {
        if !self.objects.is_empty() {
            let node = self.random.below(self.objects.len() as u64) as usize;
            let kinds = [Fault::Refuse, Fault::CrashBefore, Fault::CrashAfter];
            let kind = kinds[self.random.below(3) as usize];
            let writes = self.random.below(4);
            self.objects[node].drive.disk.set_fault(writes, kind);
        }
    }

    pub(super) fn objects_come_back(&mut self) {
        for node in &mut self.objects {
            node.down_until_ms = 0;
            node.drive.disk.clear_fault();
        }
    }
}
