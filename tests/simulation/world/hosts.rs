//! The platform: what the drivers of `src/` ask of it becomes events, and what they wait for comes
//! when the event does. Between any two awaits anything may happen.

use std::cell::{Cell, RefCell};
use std::fmt::Arguments;

use futures_channel::oneshot::{self, Receiver, Sender};
use hitparade::board::ObjectName;
use hitparade::host::{Host, SendError};

use super::*;
use crate::executor::Work;

/// Something to do to the world.
pub type Then = Box<dyn FnOnce(&mut World)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    Shard(usize),
    Global,
    Registry,
    Catalog,
    /// Of another board than `main`, and no shard.
    OfBoard(usize),
}

/// An object as it is in memory, from one start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    pub node: Node,
    pub life: u64,
}

/// Whose a task is, and what it is for.
#[derive(Clone)]
pub struct Owner {
    pub instance: Instance,
    pub errand: Errand,
}

#[derive(Clone)]
pub enum Errand {
    /// A batch or a claim, of a Worker that may hang up.
    Record {
        asked: Rc<Asked>,
    },
    Alarm,
    /// Whatever else: it ends with its object only.
    Other,
}

/// What a driver asks of its host.
pub enum Call {
    Sync(Sender<Result<(), StorageError>>),
    Sleep(u64, Sender<()>),
    SetAlarm(u64, Sender<Result<(), StorageError>>),
    DeleteAlarm(Sender<Result<(), StorageError>>),
    ReadAlarm(Sender<Result<Option<u64>, StorageError>>),
    Ask {
        object: ObjectName,
        path: &'static str,
        message: Vec<u8>,
        limit_ms: u64,
        answer: Sender<Result<Vec<u8>, SendError>>,
    },
    Report(String),
}

pub struct Called {
    pub instance: Instance,
    /// The task that asks.
    pub task: u64,
    pub call: Call,
}

/// What all hosts share.
#[derive(Default)]
pub struct Platform {
    pub now_ms: Cell<u64>,
    /// The task that is polled.
    pub task: Cell<u64>,
    pub calls: RefCell<Vec<Called>>,
    pub spawned: RefCell<Vec<(Instance, Work<()>)>>,
}

/// A disk as one instance sees it.
#[derive(Clone)]
pub struct DiskHandle {
    pub disk: Rc<Disk>,
    /// Another instance has taken over: nothing can be read or written any more.
    pub is_fenced: Rc<Cell<bool>>,
}

impl DiskHandle {
    pub fn new(disk: &Rc<Disk>) -> Self {
        DiskHandle {
            disk: Rc::clone(disk),
            is_fenced: Rc::default(),
        }
    }

    fn of_this_instance(&self) -> Result<&Disk, StorageError> {
        match self.is_fenced.get() {
            true => Err(StorageError("another instance has taken over".into())),
            false => Ok(&self.disk),
        }
    }
}

impl Storage for DiskHandle {
    hitparade::pass_reads_on!(self => self.of_this_instance()?);

    fn write(&self, batch: &[Write]) -> Result<(), StorageError> {
        self.of_this_instance()?.write(batch)
    }

    fn atomically<T>(
        &self,
        change: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.of_this_instance()?.atomically(change)
    }
}

/// The platform of one instance.
pub struct SimHost {
    pub platform: Rc<Platform>,
    pub instance: Instance,
    pub object: ObjectName,
    /// It may be another one at any time.
    pub skew_ms: Rc<Cell<i64>>,
    pub handle: DiskHandle,
    pub random: RefCell<Random>,
    /// What `TIME_ZONE` says to this instance.
    pub zone: Rc<RefCell<Option<Zone>>>,
    /// How many of a thousand times memory is short.
    pub memory_is_short: Rc<Cell<u64>>,
}

impl SimHost {
    fn call(&self, call: Call) {
        // A machine that died asks nothing any more, though this poll of a task goes on.
        if !self.handle.disk.crashed.get() || self.handle.is_fenced.get() {
            self.platform.calls.borrow_mut().push(Called {
                instance: self.instance,
                task: self.platform.task.get(),
                call,
            });
        }
    }

    async fn ask<T>(&self, call: impl FnOnce(Sender<T>) -> Call) -> T {
        let (sender, answer): (Sender<T>, Receiver<T>) = oneshot::channel();
        self.call(call(sender));
        match answer.await {
            Ok(answer) => answer,
            // It is never answered: the machine died.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Host for SimHost {
    type Storage = DiskHandle;

    fn object(&self) -> &ObjectName {
        &self.object
    }

    fn is_empty(&self) -> Result<bool, StorageError> {
        Ok(self.handle.size()? == 0)
    }

    async fn delete_all(&self) -> Result<(), StorageError> {
        self.ask(Call::DeleteAlarm).await?;
        let clear = |table| self.handle.clear(table);
        Table::ALL.into_iter().try_for_each(clear)?;
        self.sync().await
    }

    fn now_ms(&self) -> u64 {
        shifted(self.platform.now_ms.get(), self.skew_ms.get())
    }

    fn zone(&self) -> Option<Zone> {
        self.zone.borrow().clone()
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        self.random.borrow_mut().bytes()
    }

    fn open(&self) -> Result<DiskHandle, StorageError> {
        Ok(self.handle.clone())
    }

    fn memory_is_short(&self, _more: usize) -> bool {
        let in_a_thousand = self.memory_is_short.get();
        in_a_thousand > 0 && self.random.borrow_mut().chance(in_a_thousand)
    }

    fn instance(&self) -> InstanceMetrics {
        InstanceMetrics::default()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut spawned = self.platform.spawned.borrow_mut();
        spawned.push((self.instance, Box::pin(task)));
    }

    async fn sync(&self) -> Result<(), StorageError> {
        self.ask(Call::Sync).await
    }

    async fn sleep(&self, ms: u64) {
        self.ask(|done| Call::Sleep(ms, done)).await;
    }

    async fn set_alarm(&self, delay_ms: u64) -> Result<(), StorageError> {
        self.ask(|done| Call::SetAlarm(delay_ms, done)).await
    }

    async fn alarm_ms(&self) -> Result<Option<u64>, StorageError> {
        let due_ms = self.ask(Call::ReadAlarm).await?;
        Ok(due_ms.map(|due_ms| shifted(due_ms, self.skew_ms.get())))
    }

    async fn ask(
        &self,
        object: &ObjectName,
        path: &'static str,
        message: &[u8],
        limit_ms: u64,
    ) -> Result<Vec<u8>, SendError> {
        let (object, message) = (object.clone(), message.to_vec());
        let ask = |answer| Call::Ask {
            object,
            path,
            message,
            limit_ms,
            answer,
        };
        self.ask(ask).await
    }

    fn report(&self, what: Arguments<'_>) {
        self.call(Call::Report(what.to_string()));
    }

    fn note(&self, what: Arguments<'_>) {
        self.report(what);
    }
}

impl World {
    /// Begins something that is done by an instance.
    pub(super) fn start(&mut self, owner: Owner, work: Work<Option<Then>>) -> u64 {
        self.executor.spawn(owner, work)
    }

    /// Lets every task go on that can, in any order. Some go on a little later only.
    pub(super) fn run_ready(&mut self) {
        loop {
            let random = &mut self.random;
            let next = (self.executor).next_woken(|many| random.below(many as u64) as usize);
            let Some(task) = next else { return };
            if !self.calm && self.random.chance(20) {
                let later_ms = self.random.between(1, 10);
                self.after(
                    later_ms,
                    Event::Then(Box::new(move |world| world.poll(task))),
                );
                continue;
            }
            if !self.calm {
                self.crash_owner(task);
            }
            self.poll(task);
        }
    }

    /// Now and then the machine of a task dies before it goes on.
    fn crash_owner(&mut self, task: u64) {
        let Some(Instance { node, life }) = self.executor.owner(task).map(|it| it.instance) else {
            return;
        };
        let profile = &self.profile;
        let (every_ms, in_a_thousand) = match node {
            Node::Shard(_) => (profile.shard_crash_every_ms, 1),
            Node::Registry => (profile.registry_crash_every_ms, 10),
            Node::OfBoard(_) => (profile.global_crash_every_ms, 5),
            Node::Global | Node::Catalog => return,
        };
        if every_ms == 0 || !self.random.chance(in_a_thousand) {
            return;
        }
        match node {
            Node::Shard(shard) if self.shards[shard].life == life => self.crash_shard(shard),
            Node::Registry if self.registry.life == life => self.crash_registry(),
            Node::OfBoard(object) if self.objects[object].life == life => {
                self.crash_object(object);
            }
            _ => {}
        }
    }

    /// Lets a task go on until it waits again; does what it asks for, and sees what it did.
    pub(super) fn poll(&mut self, task: u64) {
        let Some(owner) = self.executor.owner(task).cloned() else {
            return;
        };
        self.platform.now_ms.set(self.now_ms);
        self.platform.task.set(task);
        self.before_poll(owner.instance);
        let end = self.executor.poll(task);
        self.after_poll(&owner);
        self.serve_calls();
        if let Some(then) = end.flatten()
            && self.is_there(owner.instance)
        {
            then(self);
        }
    }

    pub(super) fn serve_calls(&mut self) {
        let spawned = self.platform.spawned.take();
        for (instance, work) in spawned {
            if !self.is_there(instance) {
                continue;
            }
            let errand = Errand::Other;
            let work = async move {
                work.await;
                None
            };
            self.start(Owner { instance, errand }, Box::pin(work));
        }
        let calls = self.platform.calls.take();
        for called in calls {
            self.serve(called);
        }
    }

    fn serve(&mut self, called: Called) {
        let instance = called.instance;
        match called.call {
            Call::Report(what) => {
                self.say(|| format!("{instance:?}: {what}"));
                self.reported(instance, called.task, &what);
            }
            _ if !self.is_there(instance) => {}
            Call::Sleep(ms, done) => self.then_send(ms, done, ()),
            Call::Ask {
                object: ObjectName::Registry,
                path,
                message,
                limit_ms,
                answer,
            } => match path {
                "/catalog" | "/list-posts" => self.asked_catalog(path, message, limit_ms, answer),
                _ => {
                    let waiting = self.registry_asked(path, message, (limit_ms, answer));
                    if instance.node == Node::Global {
                        self.global.question = Some(waiting);
                    }
                }
            },
            call => match instance.node {
                Node::Shard(shard) => self.serve_shard(shard, instance, called.task, call),
                Node::Global => self.serve_global(instance, call),
                Node::Registry => self.serve_registry(instance, call),
                Node::Catalog => self.serve_catalog(instance, call),
                Node::OfBoard(_) => self.serve_object(instance, call),
            },
        }
    }

    /// Wakes whoever waits, after a while. It may be gone by then.
    pub(super) fn then_send<T: 'static>(&mut self, after_ms: u64, to: Sender<T>, what: T) {
        let send = move |_: &mut World| {
            let _ = to.send(what);
        };
        self.after(after_ms, Event::Then(Box::new(send)));
    }

    /// Whether an instance still is in memory.
    pub(super) fn is_there(&self, instance: Instance) -> bool {
        match instance.node {
            Node::Shard(shard) => {
                let node = &self.shards[shard];
                let is_old = |old: &OldInstance| old.life == instance.life;
                node.life == instance.life || node.old.as_ref().is_some_and(is_old)
            }
            Node::Global => self.global.life == instance.life,
            Node::Registry => {
                let old = self.registry.old.as_ref();
                let is_old = old.is_some_and(|(life, _)| *life == instance.life);
                self.registry.life == instance.life || is_old
            }
            Node::Catalog => self.catalog.life == instance.life,
            Node::OfBoard(node) => self.objects[node].life == instance.life,
        }
    }

    fn before_poll(&mut self, instance: Instance) {
        if let Node::Shard(shard) = instance.node {
            self.before_shard(shard, instance.life);
        }
    }

    fn after_poll(&mut self, owner: &Owner) {
        match owner.instance.node {
            Node::Shard(shard) => self.after_shard(shard, owner),
            Node::Global => self.see_global(),
            Node::Registry => self.see_registry(),
            Node::Catalog => self.see_catalog(),
            Node::OfBoard(node) => self.see_object(node),
        }
    }
}
