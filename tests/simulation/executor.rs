//! Runs tasks by hand: nobody polls one but the world, when it likes, in the order that it likes.
//! No threads, no time: whatever a task waits for is an event of the world's queue.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

pub type Work<T> = Pin<Box<dyn Future<Output = T>>>;

/// What wakes a task: it notes the task's number.
struct Bell {
    task: u64,
    rings: AtomicBool,
    woken: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if !self.rings.swap(true, Ordering::Relaxed) {
            let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
            woken.push(self.task);
        }
    }
}

struct Task<O, T> {
    owner: O,
    work: Work<T>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Tasks with their owners, which end in a `T`.
pub struct Executor<O, T> {
    tasks: BTreeMap<u64, Task<O, T>>,
    next_task: u64,
    woken: Arc<Mutex<Vec<u64>>>,
}

impl<O, T> Executor<O, T> {
    pub fn new() -> Self {
        Executor {
            tasks: BTreeMap::new(),
            next_task: 0,
            woken: Arc::default(),
        }
    }

    /// Takes a task, to be polled for the first time soon. Returns its number.
    pub fn spawn(&mut self, owner: O, work: Work<T>) -> u64 {
        let task = self.next_task;
        self.next_task += 1;
        let bell = Arc::new(Bell {
            task,
            rings: AtomicBool::new(false),
            woken: Arc::clone(&self.woken),
        });
        let waker = Waker::from(Arc::clone(&bell));
        waker.wake_by_ref();
        let spawned = Task {
            owner,
            work,
            bell,
            waker,
        };
        self.tasks.insert(task, spawned);
        task
    }

    /// A task that may go on: which of so many is chosen by the caller. It is to be polled then, or to
    /// be woken again.
    pub fn next_woken(&mut self, choose: impl FnOnce(usize) -> usize) -> Option<u64> {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        // One may have been polled, or dropped, since it was woken.
        woken.retain(|task| {
            let task = self.tasks.get(task);
            task.is_some_and(|task| task.bell.rings.load(Ordering::Relaxed))
        });
        let place = match woken.len() {
            0 => return None,
            1 => 0,
            many => choose(many),
        };
        Some(woken.swap_remove(place))
    }

    /// Lets a task go on until it waits again. Returns what it ended with, if it did.
    pub fn poll(&mut self, number: u64) -> Option<T> {
        let task = self.tasks.get_mut(&number)?;
        task.bell.rings.store(false, Ordering::Relaxed);
        let mut context = Context::from_waker(&task.waker);
        match task.work.as_mut().poll(&mut context) {
            Poll::Pending => None,
            Poll::Ready(end) => {
                self.tasks.remove(&number);
                Some(end)
            }
        }
    }

    pub fn owner(&self, task: u64) -> Option<&O> {
        self.tasks.get(&task).map(|task| &task.owner)
    }

    pub fn owners(&self) -> impl Iterator<Item = &O> {
        self.tasks.values().map(|task| &task.owner)
    }

    /// Drops a task where it waits.
    pub fn drop_task(&mut self, task: u64) {
        self.tasks.remove(&task);
    }

    /// Drops the tasks of some owners where they wait.
    pub fn drop_owned(&mut self, is_dropped: impl Fn(&O) -> bool) {
        self.tasks.retain(|_, task| !is_dropped(&task.owner));
    }
}
