//! A platform for a driver in a test: rows are durable when they are written, time passes while the
//! driver waits, and nothing else happens but what the test does in between.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hitparade::board::ObjectName;
use hitparade::catalog::{self, CatalogLimits};
use hitparade::codec;
use hitparade::host::{Host, SendError};
use hitparade::storage::{MemoryStorage, Storage, StorageError, Table};
use hitparade::window::Zone;
use hitparade::wire::{EnlistReply, InstanceMetrics, Look, Noted, Pull, Refusal, WatchReply};

/// A disk that outlives its object.
pub type SharedStorage = Rc<MemoryStorage>;

pub type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What the test holds of the platform; a clone is another handle.
#[derive(Clone)]
pub struct TestHost {
    pub storage: SharedStorage,
    pub now_ms: Rc<Cell<u64>>,
    /// None: `TIME_ZONE` names none.
    pub zone: Rc<RefCell<Option<Zone>>>,
    pub object: Rc<ObjectName>,
    /// What the registry answers to whoever would count.
    pub enlisted: Rc<RefCell<Option<Vec<u8>>>>,
    /// How often it was asked.
    pub times_enlisted: Rc<Cell<u64>>,
    /// How often an alarm was set, and when the last one is due; none once the test has fired it.
    pub alarms: Rc<Cell<u64>>,
    pub alarm_ms: Rc<Cell<Option<u64>>>,
    /// How long that takes.
    pub alarm_takes_ms: Rc<Cell<u64>>,
    /// The platform refuses to set so many from now on.
    pub refused_alarms: Rc<Cell<u64>>,
    /// So many syncs fail from now on.
    pub failed_syncs: Rc<Cell<u64>>,
    pub tasks: Rc<RefCell<Vec<Task>>>,
    pub catalog_is_away: Rc<Cell<bool>>,
    /// How often a board asked what is so.
    pub catalog_questions: Rc<Cell<u64>>,
    /// Whom it asked last.
    pub catalog_asked: Rc<RefCell<Option<ObjectName>>>,
    /// Objects that were told to wipe themselves, each as often as it was; those that are away answer nothing.
    pub wiped: Rc<RefCell<Vec<ObjectName>>>,
    pub away: Rc<RefCell<Vec<ObjectName>>>,
    /// Objects that were told to look, and when; those that are away say that nobody looks there.
    pub looks: Rc<RefCell<Vec<(ObjectName, u64)>>>,
    /// How often somebody was watched.
    pub watches: Rc<Cell<u64>>,
    pub numbers: Rc<Cell<u64>>,
    /// What shards were asked, and what they answer; nothing where there is nothing.
    pub pulls: Rc<RefCell<Vec<(ObjectName, Pull)>>>,
    pub pulled: Rc<RefCell<BTreeMap<ObjectName, Vec<u8>>>>,
    /// How long that takes.
    pub pull_takes_ms: Rc<Cell<u64>>,
    /// What was pushed, and what is answered; nothing where there is nothing.
    pub pushed: Rc<RefCell<Vec<Vec<u8>>>>,
    pub push_reply: Rc<RefCell<Option<Vec<u8>>>>,
    /// The next moment that somebody waits for.
    pub next_ms: Rc<Cell<Option<u64>>>,
}

/// Whoever waits for something else than time has it after so many turns.
const TURNS_A_MOMENT: u32 = 4;

impl Default for TestHost {
    fn default() -> Self {
        TestHost {
            storage: SharedStorage::default(),
            now_ms: Rc::default(),
            zone: Rc::default(),
            object: Rc::new(ObjectName::global("main")),
            enlisted: Rc::new(RefCell::new(Some(codec::encode(&EnlistReply(Ok(
                super::table_of(&["NA"], super::SEED),
            )))))),
            times_enlisted: Rc::default(),
            alarms: Rc::default(),
            alarm_ms: Rc::default(),
            alarm_takes_ms: Rc::default(),
            refused_alarms: Rc::default(),
            failed_syncs: Rc::default(),
            tasks: Rc::default(),
            catalog_is_away: Rc::default(),
            catalog_questions: Rc::default(),
            catalog_asked: Rc::default(),
            wiped: Rc::default(),
            away: Rc::default(),
            looks: Rc::default(),
            watches: Rc::default(),
            numbers: Rc::default(),
            pulls: Rc::default(),
            pulled: Rc::default(),
            pull_takes_ms: Rc::default(),
            pushed: Rc::default(),
            push_reply: Rc::default(),
            next_ms: Rc::default(),
        }
    }
}

impl TestHost {
    pub fn at(now_ms: u64) -> Self {
        TestHost {
            now_ms: Rc::new(Cell::new(now_ms)),
            ..TestHost::default()
        }
    }

    /// Waits for a future, and does something each time that it waits itself.
    pub fn run<T>(&self, future: impl Future<Output = T>, mut between: impl FnMut()) -> T {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        for turn in 1.. {
            self.next_ms.set(None);
            if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
                return done;
            }
            let mut tasks = self.tasks.take();
            tasks.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
            self.tasks.borrow_mut().extend(tasks);
            between();
            if let Some(next_ms) = self.next_ms.get()
                && turn % TURNS_A_MOMENT == 0
            {
                self.now_ms.set(self.now_ms.get().max(next_ms));
            }
        }
        unreachable!("it never ends otherwise")
    }
}

impl Host for TestHost {
    type Storage = SharedStorage;

    fn object(&self) -> &ObjectName {
        &self.object
    }

    fn is_empty(&self) -> Result<bool, StorageError> {
        Ok(self.storage.size()? == 0)
    }

    async fn delete_all(&self) -> Result<(), StorageError> {
        Table::ALL
            .into_iter()
            .try_for_each(|table| self.storage.clear(table))
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    fn zone(&self) -> Option<Zone> {
        self.zone.borrow().clone()
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        if N == size_of::<u64>() {
            // The number of a state, which is another after each load.
            self.numbers.set(self.numbers.get() + 1);
            return std::array::from_fn(|at| self.numbers.get().to_le_bytes()[at]);
        }
        std::array::from_fn(|at| super::SEED.get(at).copied().unwrap_or(at as u8))
    }

    fn open(&self) -> Result<SharedStorage, StorageError> {
        Ok(self.storage.clone())
    }

    fn memory_is_short(&self, _more: usize) -> bool {
        false
    }

    fn instance(&self) -> InstanceMetrics {
        InstanceMetrics::default()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().push(Box::pin(task));
    }

    async fn sync(&self) -> Result<(), StorageError> {
        self.sleep(0).await;
        match self.failed_syncs.get() {
            0 => Ok(()),
            left => {
                self.failed_syncs.set(left - 1);
                Err(StorageError("it cannot be told".into()))
            }
        }
    }

    async fn sleep(&self, ms: u64) {
        let until_ms = self.now_ms.get() + ms;
        let mut has_waited = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut has_waited, true) && self.now_ms.get() >= until_ms {
                return Poll::Ready(());
            }
            let next_ms = self.next_ms.get().unwrap_or(u64::MAX);
            self.next_ms.set(Some(next_ms.min(until_ms)));
            // Time passes for all: whoever waits among others is to be polled again.
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    async fn set_alarm(&self, delay_ms: u64) -> Result<(), StorageError> {
        if let Some(left) = self.refused_alarms.get().checked_sub(1) {
            self.refused_alarms.set(left);
            return Err(StorageError("no alarm".into()));
        }
        if self.alarm_takes_ms.get() > 0 {
            self.sleep(self.alarm_takes_ms.get()).await;
        }
        self.alarms.set(self.alarms.get() + 1);
        self.alarm_ms.set(Some(self.now_ms.get() + delay_ms));
        Ok(())
    }

    async fn alarm_ms(&self) -> Result<Option<u64>, StorageError> {
        Ok(self.alarm_ms.get())
    }

    /// The catalog that lies in the same storage.
    async fn ask(
        &self,
        object: &ObjectName,
        path: &'static str,
        message: &[u8],
        limit_ms: u64,
    ) -> Result<Vec<u8>, SendError> {
        if self.catalog_is_away.get() {
            self.sleep(0).await;
            return Err(SendError("it is away".into()));
        }
        let catalog = catalog::Driver::new(self.clone(), CatalogLimits::default());
        Ok(match path {
            "/catalog" => {
                self.catalog_questions.set(self.catalog_questions.get() + 1);
                *self.catalog_asked.borrow_mut() = Some(object.clone());
                Box::pin(catalog.answer(message)).await
            }
            "/list-posts" => Box::pin(catalog.list_posts(message)).await,
            "/put-posts" => Box::pin(catalog.put_posts(message)).await,
            "/wipe" => {
                self.wiped.borrow_mut().push(object.clone());
                if self.away.borrow().contains(object) {
                    return Err(SendError("it is away".into()));
                }
                codec::encode(&Noted(Ok(())))
            }
            "/look" => {
                let look = (object.clone(), self.now_ms());
                self.looks.borrow_mut().push(look);
                let nobody_looks = self.away.borrow().contains(object);
                if nobody_looks {
                    // The answer is on its way for a moment.
                    self.sleep(1).await;
                }
                codec::encode(&Noted(match nobody_looks {
                    true => Err(Refusal::NotFound),
                    false => Ok(()),
                }))
            }
            "/watch" => {
                self.watches.set(self.watches.get() + 1);
                let look = Look {
                    board_is_public: true,
                };
                codec::encode(&WatchReply(Ok(look)))
            }
            "/enlist" => {
                self.times_enlisted.set(self.times_enlisted.get() + 1);
                (self.enlisted.borrow().clone()).ok_or_else(|| SendError("it is away".into()))?
            }
            "/pull" => {
                let pulled = (object.clone(), codec::decode(message).unwrap());
                self.pulls.borrow_mut().push(pulled);
                let takes_ms = self.pull_takes_ms.get();
                if takes_ms > 0 {
                    self.sleep(takes_ms.min(limit_ms)).await;
                }
                let answer = self.pulled.borrow().get(object).cloned();
                let answer = answer.filter(|_| takes_ms <= limit_ms);
                answer.ok_or_else(|| SendError("it is away".into()))?
            }
            "/push" => {
                self.pushed.borrow_mut().push(message.to_vec());
                self.sleep(20).await;
                let answer = self.push_reply.borrow().clone();
                answer.ok_or_else(|| SendError("it is away".into()))?
            }
            _ => return Err(SendError("there is nobody else".into())),
        })
    }

    fn report(&self, _what: Arguments<'_>) {}

    fn note(&self, _what: Arguments<'_>) {}
}
