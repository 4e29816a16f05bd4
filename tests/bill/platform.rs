//! The platform on virtual time: objects that sleep, messages and timers that take theirs, alarms; and what
//! all of it is billed as.
//!
//! # What is counted, as the platform's price list says it (scripts/cost/prices.mjs has its address)
//! - *A request to an object* is a message to it, or an alarm that fires.
//! - *A row written* is a part of a value, a delete that finds one, and each alarm that is set.
//! - *Duration* is the time in which an object has something to do: an event that is not answered yet, a
//!   timer, a call that waits for its answer. An object that is idle and could hibernate is not billed. What
//!   it would be with a tail of [`ASLEEP_AFTER_MS`] behind each such time is counted beside.
//!
//! An object that was idle for [`ASLEEP_AFTER_MS`] has forgotten what was in its memory.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use futures_channel::oneshot::{self, Sender};
use hitparade::board::ObjectName;
use hitparade::storage::{Storage, Table};

use crate::executor::{Executor, Work};
use crate::host::{BillHost, Object};
use crate::objects::metered::Metered;

/// After so long without anything to do an object goes out of memory.
pub const ASLEEP_AFTER_MS: u64 = 10_000;

/// How long things take. What an object is billed for is mostly this.
#[derive(Clone, Copy)]
pub struct Pace {
    /// A message from a Worker to a shard of its region, one way.
    pub near_ms: u64,
    /// One from anybody to the global object or the registry, one way: half of the way around the world.
    pub far_ms: u64,
    /// Until what was written is durable.
    pub sync_ms: u64,
    /// Of an event, its processor time included.
    pub event_ms: u64,
}

/// Over the world's nets.
pub const AROUND_THE_WORLD: Pace = Pace {
    near_ms: 10,
    far_ms: 100,
    sync_ms: 10,
    event_ms: 5,
};

/// Of one machine, with everything on it.
pub const ONE_MACHINE: Pace = Pace {
    near_ms: 1,
    far_ms: 1,
    sync_ms: 2,
    event_ms: 1,
};

/// Whose a task is.
#[derive(Clone)]
pub enum Owner {
    Object(Rc<Node>),
    /// A Worker's.
    Worker,
}

enum Event {
    Wake(Sender<()>),
    Message {
        to: ObjectName,
        path: &'static str,
        message: Vec<u8>,
        way_ms: u64,
        answer: Sender<Vec<u8>>,
    },
    Answer(Sender<Vec<u8>>, Vec<u8>),
    Alarm {
        of: Rc<Node>,
        number: u64,
    },
    Begin(Work<()>),
}

/// What objects were billed for.
#[derive(Clone, Debug, Default)]
pub struct Bill {
    /// By the kind of object, and what was asked of it.
    pub requests: BTreeMap<(&'static str, &'static str), u64>,
    /// By the kind of object, and the table; alarms are one.
    pub rows: BTreeMap<(&'static str, &'static str), u64>,
    pub rows_read: u64,
    pub active_ms: u64,
    /// The same with a tail behind each time.
    pub with_tail_ms: u64,
    /// How often an object came into memory.
    pub wakes: BTreeMap<&'static str, u64>,
}

impl Bill {
    pub fn requests(&self) -> u64 {
        self.requests.values().sum()
    }

    pub fn rows(&self) -> u64 {
        self.rows.values().sum()
    }

    /// 128 MB for each object, whatever it has.
    pub fn gb_s(&self) -> f64 {
        self.active_ms as f64 / 1e3 * 0.128
    }

    pub fn gb_s_with_tail(&self) -> f64 {
        self.with_tail_ms as f64 / 1e3 * 0.128
    }
}

/// A Durable Object.
pub struct Node {
    pub name: ObjectName,
    pub storage: Rc<Metered>,
    /// What is in memory.
    object: RefCell<Option<Object>>,
    /// Tasks that are not done.
    tasks: Cell<u64>,
    began_ms: Cell<u64>,
    /// When it had nothing to do any more.
    idle_since_ms: Cell<Option<u64>>,
    /// When the alarm is due, and which one that is.
    alarm: Cell<Option<(u64, u64)>>,
    alarms_set: Cell<u64>,
}

impl Node {
    pub fn alarm_ms(&self) -> Option<u64> {
        self.alarm.get().map(|(due_ms, _)| due_ms)
    }

    fn kind(&self) -> &'static str {
        match self.name {
            ObjectName::Shard { .. } => "shard",
            ObjectName::Global { .. } => "global",
            ObjectName::Catalog { .. } | ObjectName::Registry => "registry",
            ObjectName::Unnamed => "nobody",
        }
    }
}

/// Everything there is. Cheap to clone: a handle.
#[derive(Clone)]
pub struct Platform(Rc<Inner>);

pub struct Inner {
    pub pace: Pace,
    now_ms: Cell<u64>,
    queue: RefCell<BinaryHeap<Reverse<(u64, u64)>>>,
    events: RefCell<BTreeMap<u64, Event>>,
    next_event: Cell<u64>,
    spawned: RefCell<Vec<(Owner, Work<()>)>>,
    executor: RefCell<Executor<Owner, ()>>,
    nodes: RefCell<BTreeMap<ObjectName, Rc<Node>>>,
    bill: RefCell<Bill>,
    /// `REGIONS` and `DAILY_REQUESTS`.
    pub regions: String,
    daily_requests: Cell<Option<u64>>,
}

impl Platform {
    pub fn new(pace: Pace, now_ms: u64, regions: String) -> Self {
        Platform(Rc::new(Inner {
            pace,
            now_ms: Cell::new(now_ms),
            queue: RefCell::default(),
            events: RefCell::default(),
            next_event: Cell::default(),
            spawned: RefCell::default(),
            executor: RefCell::new(Executor::new()),
            nodes: RefCell::default(),
            bill: RefCell::default(),
            regions,
            daily_requests: Cell::default(),
        }))
    }

    pub fn now_ms(&self) -> u64 {
        self.0.now_ms.get()
    }

    pub fn pace(&self) -> Pace {
        self.0.pace
    }

    pub fn daily_requests(&self) -> Option<u64> {
        self.0.daily_requests.get()
    }

    pub fn set_daily_requests(&self, requests: Option<u64>) {
        self.0.daily_requests.set(requests);
    }

    pub fn regions(&self) -> &str {
        &self.0.regions
    }

    fn at(&self, at_ms: u64, event: Event) {
        let number = self.0.next_event.get();
        self.0.next_event.set(number + 1);
        let at_ms = at_ms.max(self.now_ms());
        self.0.queue.borrow_mut().push(Reverse((at_ms, number)));
        self.0.events.borrow_mut().insert(number, event);
    }

    fn after(&self, ms: u64, event: Event) {
        self.at(self.now_ms() + ms, event);
    }

    /// A Worker does something then.
    pub fn work_at(&self, at_ms: u64, work: impl Future<Output = ()> + 'static) {
        self.at(at_ms, Event::Begin(Box::pin(work)));
    }

    pub async fn sleep(&self, ms: u64) {
        let (sender, over) = oneshot::channel();
        self.after(ms, Event::Wake(sender));
        // Nobody ends the platform while somebody waits for it.
        let _ = over.await;
    }

    /// Sends a message. An error where the object is not there to answer.
    pub async fn ask(
        &self,
        to: &ObjectName,
        path: &'static str,
        message: &[u8],
    ) -> Result<Vec<u8>, oneshot::Canceled> {
        let pace = self.pace();
        let way_ms = match to {
            ObjectName::Shard { .. } => pace.near_ms,
            _ => pace.far_ms,
        };
        self.ask_over(way_ms, to, path, message).await
    }

    /// The same, over a way that takes so long.
    pub async fn ask_over(
        &self,
        way_ms: u64,
        to: &ObjectName,
        path: &'static str,
        message: &[u8],
    ) -> Result<Vec<u8>, oneshot::Canceled> {
        let (answer, answered) = oneshot::channel();
        let message = Event::Message {
            to: to.clone(),
            path,
            message: message.to_vec(),
            way_ms,
            answer,
        };
        self.after(way_ms, message);
        answered.await
    }

    pub fn spawn(&self, of: &Rc<Node>, work: impl Future<Output = ()> + 'static) {
        let owner = Owner::Object(Rc::clone(of));
        self.0.spawned.borrow_mut().push((owner, Box::pin(work)));
    }

    pub fn set_alarm(&self, of: &Rc<Node>, delay_ms: u64) {
        let number = of.alarms_set.get() + 1;
        of.alarms_set.set(number);
        let due_ms = self.now_ms() + delay_ms;
        of.alarm.set(Some((due_ms, number)));
        let of = Rc::clone(of);
        self.at(due_ms, Event::Alarm { of, number });
    }

    pub fn delete_alarm(&self, of: &Node) {
        of.alarm.set(None);
    }

    fn node(&self, name: &ObjectName) -> Rc<Node> {
        let mut nodes = self.0.nodes.borrow_mut();
        let node = nodes.entry(name.clone()).or_insert_with(|| {
            Rc::new(Node {
                name: name.clone(),
                storage: Rc::default(),
                object: RefCell::default(),
                tasks: Cell::default(),
                began_ms: Cell::default(),
                idle_since_ms: Cell::default(),
                alarm: Cell::default(),
                alarms_set: Cell::default(),
            })
        });
        Rc::clone(node)
    }

    /// An event comes to an object: it is in memory from now on.
    fn object_of(&self, node: &Rc<Node>, what: &'static str) -> Object {
        let mut bill = self.0.bill.borrow_mut();
        *bill.requests.entry((node.kind(), what)).or_default() += 1;
        if node.tasks.get() == 0
            && let Some(idle_since_ms) = node.idle_since_ms.get()
            && self.now_ms().saturating_sub(idle_since_ms) >= ASLEEP_AFTER_MS
        {
            node.object.take();
        }
        let made = || {
            *bill.wakes.entry(node.kind()).or_default() += 1;
            Object::new(BillHost::new(self, node))
        };
        node.object.borrow_mut().get_or_insert_with(made).clone()
    }

    fn begin(&self, owner: Owner, work: Work<()>) {
        if let Owner::Object(node) = &owner {
            node.tasks.set(node.tasks.get() + 1);
            if node.tasks.get() == 1 {
                node.began_ms.set(self.now_ms());
            }
        }
        self.0.executor.borrow_mut().spawn(owner, work);
    }

    fn end(&self, owner: &Owner) {
        let Owner::Object(node) = owner else { return };
        node.tasks.set(node.tasks.get() - 1);
        if node.tasks.get() > 0 {
            return;
        }
        let end_ms = self.now_ms() + self.pace().event_ms;
        // It may have gone on before what it did last was over.
        let last_ms = node.idle_since_ms.get().unwrap_or_default();
        let began_ms = node.began_ms.get();
        let mut bill = self.0.bill.borrow_mut();
        bill.active_ms += end_ms - began_ms.max(last_ms).min(end_ms);
        bill.with_tail_ms += end_ms + ASLEEP_AFTER_MS
            - began_ms
                .max(last_ms + ASLEEP_AFTER_MS)
                .min(end_ms + ASLEEP_AFTER_MS);
        node.idle_since_ms.set(Some(end_ms));
    }

    fn run_ready(&self) {
        loop {
            for (owner, work) in self.0.spawned.take() {
                self.begin(owner, work);
            }
            let next = self.0.executor.borrow_mut().next_woken(|_| 0);
            let Some(task) = next else {
                if self.0.spawned.borrow().is_empty() {
                    return;
                }
                continue;
            };
            let owner = self.0.executor.borrow().owner(task).cloned();
            let ended = self.0.executor.borrow_mut().poll(task).is_some();
            // What it began belongs to the same time.
            for (owner, work) in self.0.spawned.take() {
                self.begin(owner, work);
            }
            if let Some(owner) = owner.filter(|_| ended) {
                self.end(&owner);
            }
        }
    }

    fn handle(&self, event: Event) {
        match event {
            // Whoever waited may have gone.
            Event::Wake(sender) => {
                let _ = sender.send(());
            }
            Event::Answer(sender, answer) => {
                let _ = sender.send(answer);
            }
            Event::Begin(work) => self.begin(Owner::Worker, work),
            Event::Message {
                to,
                path,
                message,
                way_ms,
                answer,
            } => {
                let node = self.node(&to);
                let object = self.object_of(&node, path);
                let platform = self.clone();
                let work = async move {
                    let reply = object.answer(path, &message).await;
                    platform.after(way_ms, Event::Answer(answer, reply));
                };
                self.begin(Owner::Object(node), Box::pin(work));
            }
            Event::Alarm { of, number } => {
                if of.alarm.get().is_some_and(|(_, set)| set == number) {
                    of.alarm.set(None);
                    let object = self.object_of(&of, "alarm");
                    let work = Box::pin(async move { object.alarm().await });
                    self.begin(Owner::Object(of), work);
                }
            }
        }
    }

    /// Lets happen what is to come until then.
    pub fn run_until(&self, end_ms: u64) {
        self.run_ready();
        loop {
            let next = self.0.queue.borrow().peek().map(|Reverse(next)| *next);
            let Some((at_ms, number)) = next.filter(|(at_ms, _)| *at_ms < end_ms) else {
                break;
            };
            self.0.queue.borrow_mut().pop();
            self.0.now_ms.set(at_ms);
            let event = self.0.events.borrow_mut().remove(&number);
            if let Some(event) = event {
                self.handle(event);
                self.run_ready();
            }
        }
        self.0.now_ms.set(end_ms);
    }

    /// What was billed so far. An object that is busy now is billed for that later.
    pub fn bill(&self) -> Bill {
        let mut bill = self.0.bill.borrow().clone();
        for node in self.0.nodes.borrow().values() {
            for table in Table::ALL {
                let rows = node.storage.written_to(table);
                *bill.rows.entry((node.kind(), table.name())).or_default() += rows;
            }
            let alarms = node.alarms_set.get();
            *bill.rows.entry((node.kind(), "alarms")).or_default() += alarms;
            bill.rows_read += node.storage.read();
        }
        bill.rows.retain(|_, rows| *rows > 0);
        bill
    }
}

impl Platform {
    /// Everything that an object has stored: table, key, value.
    pub fn rows_of(&self, name: &ObjectName) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        let node = self.node(name);
        let rows = Table::ALL.into_iter().flat_map(|table| {
            let rows = node.storage.scan(table, &[], &[], usize::MAX);
            let rows = rows.unwrap_or_default().into_iter();
            rows.map(move |(key, value)| (table, key, value))
        });
        rows.collect()
    }
}

impl Bill {
    /// What came on top of what was billed before.
    pub fn since(&self, before: &Bill) -> Bill {
        fn less<K: Ord + Clone>(
            now: &BTreeMap<K, u64>,
            then: &BTreeMap<K, u64>,
        ) -> BTreeMap<K, u64> {
            let left = now.iter().map(|(key, count)| {
                (
                    key.clone(),
                    count - then.get(key).copied().unwrap_or_default(),
                )
            });
            left.filter(|(_, count)| *count > 0).collect()
        }
        Bill {
            requests: less(&self.requests, &before.requests),
            rows: less(&self.rows, &before.rows),
            rows_read: self.rows_read - before.rows_read,
            active_ms: self.active_ms - before.active_ms,
            with_tail_ms: self.with_tail_ms - before.with_tail_ms,
            wakes: less(&self.wakes, &before.wakes),
        }
    }
}
