//! The registry: the driver of `src/registry/driver.rs`, on a machine that dies, is away, or lives twice for a
//! while; its alarm, which comes late, twice, and again where it was not done with; and its messages.

use std::cell::RefCell;

use futures_channel::oneshot::Sender;
use hitparade::board::{Directory, ObjectName};
use hitparade::host::SendError;
use hitparade::registry;

use super::*;

pub type RegistryDriver = registry::Driver<SimHost>;

/// Whoever asked waits no longer than that for an answer that can be had at once.
const POLLS_AT_ONCE: usize = 4;

pub struct RegistryNode {
    pub skew_ms: i64,
    /// On its disk is which boards there are.
    pub drive: Drive<StoredBoards>,
    /// The object, where it is in memory.
    pub driver: Option<RegistryDriver>,
    pub life: u64,
    /// One that is alive still, though another has taken over.
    pub old: Option<(u64, RegistryDriver)>,
    pub down_until_ms: u64,
    alarm_number: u64,
    /// The last that it set has not come yet.
    alarm_comes: bool,
}

impl RegistryNode {
    pub fn new(skew_ms: i64) -> Self {
        RegistryNode {
            skew_ms,
            drive: Drive::new(),
            driver: None,
            life: 0,
            old: None,
            down_until_ms: 0,
            alarm_number: 0,
            alarm_comes: false,
        }
    }
}

impl World {
    pub(super) fn registry_is_up(&self) -> bool {
        self.registry.down_until_ms <= self.now_ms
    }

    fn registry_instance(&self, life: u64) -> Instance {
        Instance {
            node: Node::Registry,
            life,
        }
    }

    /// Who takes a message: while there are two instances, either may.
    fn registry_taker(&mut self) -> (Instance, RegistryDriver) {
        if let Some((life, driver)) = self.registry.old.clone()
            && !self.calm
            && self.random.chance(300)
        {
            return (self.registry_instance(life), driver);
        }
        self.registry_driver()
    }

    /// The instance that the platform takes for the registry's.
    fn registry_driver(&mut self) -> (Instance, RegistryDriver) {
        self.platform.now_ms.set(self.now_ms);
        let instance = self.registry_instance(self.registry.life);
        let (node, random) = (&mut self.registry, &mut self.random);
        let regions = self.profile.regions;
        let made = node.driver.get_or_insert_with(|| {
            let host = SimHost {
                platform: Rc::clone(&self.platform),
                instance,
                object: ObjectName::Registry,
                skew_ms: Rc::new(Cell::new(node.skew_ms)),
                handle: DiskHandle::new(&node.drive.disk),
                random: RefCell::new(Random::new(random.next())),
                memory_is_short: Rc::default(),
                zone: Rc::clone(&self.zone),
            };
            let regions = (0..regions).map(|region| {
                let id = region_name(region);
                format!(r#"{{"id":"{id}"}}"#)
            });
            let regions: Vec<String> = regions.collect();
            RegistryDriver::new(host, Some(format!("[{}]", regions.join(","))))
        });
        (instance, made.clone())
    }

    /// Asks the registry; who asks hears nothing where it does not live through it.
    pub(super) fn ask_registry<F: Future<Output = Vec<u8>> + 'static>(
        &mut self,
        ask: impl FnOnce(RegistryDriver) -> F,
        then: impl FnOnce(&mut World, &[u8]) + 'static,
    ) -> u64 {
        let (instance, driver) = self.registry_taker();
        let reply = ask(driver);
        let errand = Errand::Other;
        let work = async move {
            let reply = reply.await;
            let then: Then = Box::new(move |world| then(world, &reply));
            Some(then)
        };
        self.start(Owner { instance, errand }, Box::pin(work))
    }

    /// The regions as a Worker is told of them, with what it has; `None` where no answer comes at once.
    pub(super) fn directory(&mut self, known: Option<&Directory>) -> Option<Directory> {
        let version = known.map(|directory| directory.version);
        let question = codec::encode(&DirectoryQuestion { version });
        let reply: Rc<RefCell<Option<Vec<u8>>>> = Rc::default();
        let answered = Rc::clone(&reply);
        let task = self.ask_registry(
            |driver| async move { driver.directory(&question).await },
            move |_, reply| *answered.borrow_mut() = Some(reply.to_vec()),
        );
        for _ in 0..POLLS_AT_ONCE {
            if reply.borrow().is_none() {
                self.poll(task);
            }
        }
        self.executor.drop_task(task);
        let DirectoryReply(news) = codec::decode(reply.borrow().as_deref()?).ok()?;
        match known {
            Some(known) => {
                let mut directory = known.clone();
                directory.take(news.ok()?);
                Some(directory)
            }
            None => Directory::of_news(news.ok()?),
        }
    }

    /// The regions as an operator sees them.
    pub(super) fn region_table(&mut self) -> Option<Rc<RegionTable>> {
        if !self.registry_is_up() {
            return None;
        }
        Some(self.directory(None)?.table)
    }

    /// An operator makes or changes a region. The global object is told, or not.
    pub(super) fn put_region(&mut self, request: &PutRegion) {
        let message = codec::encode(request);
        self.ask_registry(
            |driver| async move { driver.put_region(&message).await },
            |world, _| {
                if !world.random.chance(500) {
                    world.tell_global();
                }
            },
        );
    }

    /// Tells the global object which regions there are now, as `edge/regions.rs` does.
    pub(super) fn tell_global(&mut self) {
        if let Some(table) = self.region_table() {
            self.tell_global_of(&table, |_| {});
        }
    }

    /// Tells it of a table that the registry has answered with.
    pub(super) fn tell_global_of(
        &mut self,
        table: &RegionTable,
        then: impl FnOnce(&mut World) + 'static,
    ) {
        let table = table.clone();
        let message = codec::encode(&Learn { table });
        let Some(delay_ms) = self.deliveries(MINUTE_MS).first().copied() else {
            return;
        };
        let tell = move |world: &mut World| {
            if !world.global_is_up() {
                return;
            }
            world.ask_for_a_while(
                |driver| async move { driver.learn(&message).await },
                move |world, reply| {
                    if let Ok(Noted(Ok(()))) = codec::decode(reply) {
                        then(world);
                    }
                },
            );
        };
        self.after(delay_ms, Event::Then(Box::new(tell)));
    }

    /// Another object's question on its way to the registry, and the answer on its way back.
    pub(super) fn registry_asked(
        &mut self,
        path: &'static str,
        message: Vec<u8>,
        asker: (u64, Sender<Result<Vec<u8>, SendError>>),
    ) -> Waiting {
        self.carry(asker, move |world, asker| {
            if !world.registry_is_up() {
                return;
            }
            let message = message.clone();
            world.ask_registry(
                |driver| async move {
                    match path {
                        "/enlist" => driver.enlist(&message).await,
                        "/watch" => codec::encode(&WatchReply(Ok(Look {
                            board_is_public: true,
                        }))),
                        _ => Vec::new(),
                    }
                },
                move |world, reply| {
                    if !matches!(codec::decode(reply), Ok(EnlistReply(Ok(_)))) {
                        world.is_unanswered(&asker.answer);
                    }
                    world.reply(asker, reply.to_vec());
                },
            );
        })
    }

    /// What a task of the registry has done.
    pub(super) fn see_registry(&mut self) {
        for writes in self.registry.drive.disk.take_recent() {
            let drive = &mut self.registry.drive;
            let mut stored = drive.latest().clone();
            let boards = stored.take(&writes);
            drive.later.push_back(stored);
            boards
                .into_iter()
                .for_each(|board| self.board_stored(board));
        }
        if self.registry.drive.disk.crashed.get() {
            self.crash_registry();
        }
    }

    /// Does what the driver asks of the platform.
    pub(super) fn serve_registry(&mut self, instance: Instance, call: Call) {
        let is_old = self.registry.life != instance.life;
        match call {
            Call::Sync(done) | Call::SetAlarm(_, done) if is_old => {
                let fenced = StorageError("another instance has taken over".into());
                let after_ms = self.random.between(1, 20);
                self.then_send(after_ms, done, Err(fenced));
            }
            Call::Sync(done) => self.sync_registry(instance, done),
            Call::SetAlarm(delay_ms, done) => self.set_alarm_of_registry(instance, delay_ms, done),
            Call::Ask {
                object,
                path,
                message,
                limit_ms,
                answer,
            } => self.send_to_object(object, path, message, (limit_ms, answer)),
            Call::Sleep(..) | Call::DeleteAlarm(_) | Call::ReadAlarm(_) | Call::Report(_) => {}
        }
    }

    fn sync_registry(&mut self, instance: Instance, done: Sender<Result<(), StorageError>>) {
        let written = self.registry.drive.written();
        let has_faults = self.profile.write_fault_every_ms > 0 && !self.calm;
        let fails = has_faults && self.random.chance(20);
        let synced = move |world: &mut World| {
            if world.registry.life != instance.life {
                return;
            }
            let outcome = match fails {
                true => Err(StorageError("it cannot be told".into())),
                false => {
                    world.registry.drive.sync(written);
                    Ok(())
                }
            };
            let _ = done.send(outcome);
        };
        if self.random.chance(700) {
            return synced(self);
        }
        let sync_ms = self.random.skewed(2_000);
        self.after(sync_ms, Event::Then(Box::new(synced)));
    }

    fn set_alarm_of_registry(
        &mut self,
        instance: Instance,
        delay_ms: u64,
        done: Sender<Result<(), StorageError>>,
    ) {
        if !self.calm && self.random.chance(self.profile.alarm_fault / 20) {
            return self.then_send(1, done, Err(StorageError("no alarm".into())));
        }
        // Where it dies before this is done, there is none.
        let set = move |world: &mut World| {
            if world.registry.life == instance.life {
                world.alarm_of_registry_comes(delay_ms);
                let _ = done.send(Ok(()));
            }
        };
        match self.random.chance(700) {
            true => set(self),
            false => {
                let in_ms = self.random.between(1, 10);
                self.after(in_ms, Event::Then(Box::new(set)));
            }
        }
    }

    fn alarm_of_registry_comes(&mut self, delay_ms: u64) {
        let node = &mut self.registry;
        node.alarm_number += 1;
        node.alarm_comes = true;
        let number = node.alarm_number;
        let is_faulty = !self.calm && self.random.chance(self.profile.alarm_fault);
        let late_ms = match is_faulty && self.random.chance(500) {
            true => self.random.skewed(2 * MINUTE_MS),
            false => 0,
        };
        let comes = move |world: &mut World| world.alarm_of_registry(number);
        self.after(delay_ms + late_ms, Event::Then(Box::new(comes)));
        if is_faulty && late_ms == 0 {
            let again_ms = delay_ms + self.random.skewed(1_000);
            let again = move |world: &mut World| world.alarm_of_registry(number);
            self.after(again_ms, Event::Then(Box::new(again)));
        }
    }

    fn alarm_of_registry(&mut self, number: u64) {
        if self.registry.alarm_number != number {
            // Another was set in its place.
            return;
        }
        if !self.registry_is_up() {
            let comes = move |world: &mut World| world.alarm_of_registry(number);
            let up_ms = self.registry.down_until_ms;
            return self.at(up_ms, Event::Then(Box::new(comes)));
        }
        self.registry.alarm_comes = false;
        let (instance, driver) = self.registry_driver();
        let work = async move {
            let done = driver.alarm().await;
            let then: Then = Box::new(move |world| {
                if done.is_err() {
                    world.alarm_of_registry_again();
                }
            });
            Some(then)
        };
        let errand = Errand::Alarm;
        self.start(Owner { instance, errand }, Box::pin(work));
    }

    /// An alarm that was not done with comes again, unless another has been set: the platform sees to that.
    fn alarm_of_registry_again(&mut self) {
        if !self.registry.alarm_comes {
            let in_ms = self.random.between(1, 2_000);
            self.alarm_of_registry_comes(in_ms);
        }
    }

    pub(super) fn crash_registry(&mut self) {
        self.figures.crashes += 1;
        self.say(|| "the registry dies".into());
        let dead = self.registry_instance(self.registry.life);
        self.end_registry();
        self.executor.drop_owned(|owner| owner.instance == dead);
        self.registry.driver = None;
        if !self.calm {
            let down_ms = self.random.skewed(MINUTE_MS);
            self.registry.down_until_ms = self.now_ms + down_ms;
        }
    }

    /// What is not durable may be lost. The next instance is another one.
    fn end_registry(&mut self) {
        let node = &mut self.registry;
        let keep = self.random.below(node.drive.later.len() as u64 + 1) as usize;
        node.drive.crash(keep);
        let dead = self.registry_instance(self.registry.life);
        self.registry.life += 1;
        let is_its_alarm =
            |owner: &Owner| owner.instance == dead && matches!(owner.errand, Errand::Alarm);
        if self.executor.owners().any(is_its_alarm) {
            self.alarm_of_registry_again();
        }
    }

    /// It begins elsewhere while it is alive still.
    pub(super) fn move_registry(&mut self) {
        let node = &mut self.registry;
        if node.old.is_some() || node.down_until_ms > self.now_ms {
            return;
        }
        let Some(driver) = node.driver.take() else {
            return;
        };
        self.say(|| "the registry begins elsewhere".into());
        driver.host().handle.is_fenced.set(true);
        let life = self.registry.life;
        self.registry.old = Some((life, driver));
        self.end_registry();
        let instance = self.registry_instance(life);
        let ends = move |world: &mut World| {
            world
                .executor
                .drop_owned(|owner| owner.instance == instance);
            world.registry.old = None;
        };
        let lives_ms = self.random.skewed(MINUTE_MS);
        self.after(lives_ms, Event::Then(Box::new(ends)));
    }
}
