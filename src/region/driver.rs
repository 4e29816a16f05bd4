//! A shard's driver: what happens between the events of the platform and the state machine
//! ([`Shard`]), in which order, and what when it fails.
//!
//! # The order
//! What makes an acknowledged play last is the order of a few lines. `docs/inside/how-it-works.md` has the
//! table of what the simulation finds when one of them is missing.
//! - *A batch*: settled, admitted, alarm set, written, **durable**, counted, answered.
//! - *A push*: next alarm set, checkpoint written, **durable**, sent, and what the reply frees
//!   forgotten. A quiet shard sets its next alarm last: until then the platform fires this one again.
//! - *A pull*: **durable**, answered. It writes nothing but that somebody watches.
//! - *A new epoch, the moment of an export*: taken note of, **durable**, confirmed.
//!
//! # Who waits for whom
//! One commit is under way at a time. It belongs to the object, not to the request that happened to
//! start it: a sender that hangs up delays nobody. A push belongs to the alarm that began it in the same way.
//! Senders wait by ticket, readers by question; whoever drops the state drops what its waiters wait on, and
//! they are told that their batch may be counted or not.
//!
//! # When something fails
//! After any error of the storage the state is dropped ([`Inner::with_shard`]), and the next event
//! loads it again. What was loaded is promised to nobody before a sync ([`Inner::settle`]): the state
//! that was dropped may have written it a moment ago.

mod birth;
mod charts;
mod commits;
mod pushes;
mod watching;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use futures_channel::oneshot;
use siphasher::sip::SipHasher13;

use super::arrivals::Arrivals;
use super::votes::{Votes, VotesOfInstance};
use super::{
    Alarm, FIRST_PUSH_MS, Limits, PUSH_SPREAD_MS, PushTimer, QUIET_MARGIN_MS, Shard, ToPush,
};
use crate::board::{Life, ObjectName};
use crate::codec;
use crate::host::Host;
use crate::loaded::Loaded;
use crate::mutants::{self, Mutant};
use crate::play::MAX_BODY_BYTES;
use crate::storage::{Storage, StorageError};
use crate::wire::{BeginEpoch, CutRequest, Refusal, ShardMetrics};
use charts::Charts;
pub use charts::KeptReply;

/// A shard's driver. Cheap to clone: all of them are of one object.
pub struct Driver<H: Host>(Rc<Inner<H>>);

impl<H: Host> Clone for Driver<H> {
    fn clone(&self) -> Self {
        Driver(Rc::clone(&self.0))
    }
}

impl<H: Host> Deref for Driver<H> {
    type Target = Inner<H>;

    fn deref(&self) -> &Inner<H> {
        &self.0
    }
}

/// What an object has in memory.
pub struct Inner<H: Host> {
    host: H,
    limits: Limits,
    life: Cell<Life>,
    /// Who waits for the registry's word.
    unborn: RefCell<Vec<oneshot::Sender<()>>>,
    loaded: Loaded<Shard, H::Storage>,
    /// Who waits for a commit, by ticket.
    waiters: RefCell<BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
    group_is_full: RefCell<Option<oneshot::Sender<()>>>,
    committing: Cell<bool>,
    pushing: Cell<bool>,
    /// What a pull has told of who watches since the last push began.
    watched_by_pull: Cell<Option<u64>>,
    /// The log was cut, and not all of it is sent: the next push is to be at once.
    cut_is_owed: Cell<bool>,
    alarm: Cell<Alarm>,
    arrivals: Cell<Arrivals>,
    push_timer: Cell<PushTimer>,
    /// Since when there is something that is to be pushed and was not: 0 where there is nothing; later than
    /// now where it is to be pushed later.
    unpushed_since_ms: Cell<u64>,
    /// What was to be stored last was not.
    storage_fails: Cell<bool>,
    counters: Cell<ShardMetrics>,
    votes: RefCell<Votes>,
    /// As long as votes are to be remembered.
    staying_awake: Cell<bool>,
    charts: RefCell<Charts>,
}

/// Why plays cannot be taken, or do not get on: numbers that `src/js/health.js` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Memory = 1,
    Storage = 2,
    Pushes = 3,
}

/// Pushes that fail for so many intervals are told: one that is late is not.
const FAILING_INTERVALS: u64 = 3;

impl<H: Host> Driver<H> {
    /// Loads nothing: the first event does.
    pub fn new(host: H, limits: Limits) -> Self {
        Driver::beside(host, limits, &VotesOfInstance::default())
    }

    /// [`Driver::new`], in an instance with others.
    pub fn beside(host: H, limits: Limits, votes: &VotesOfInstance) -> Self {
        let votes = RefCell::new(Votes::of_instance(votes, host.random()));
        let counters = Cell::new(ShardMetrics {
            started_ms: host.now_ms(),
            ..ShardMetrics::default()
        });
        Driver(Rc::new(Inner {
            host,
            limits,
            life: Cell::default(),
            unborn: RefCell::default(),
            loaded: Loaded::new("state", Shard::damaged_rows),
            waiters: RefCell::default(),
            group_is_full: RefCell::default(),
            committing: Cell::default(),
            pushing: Cell::default(),
            watched_by_pull: Cell::default(),
            cut_is_owed: Cell::default(),
            alarm: Cell::default(),
            arrivals: Cell::default(),
            push_timer: Cell::default(),
            unpushed_since_ms: Cell::default(),
            storage_fails: Cell::default(),
            counters,
            votes,
            staying_awake: Cell::default(),
            charts: RefCell::default(),
        }))
    }

    /// Takes note that counting has begun anew, and answers when that is durable.
    ///
    /// # Errors
    /// Where the news cannot be read, is meant for another shard, or the disk refuses: then it is to
    /// be told again.
    pub async fn begin_epoch(&self, message: &[u8]) -> Result<(), Refusal> {
        let news = codec::decode::<BeginEpoch<'_>>(message)?;
        self.be_enlisted().await?;
        let random = self.host.random();
        let is_ours = self.with_shard(|shard, storage| shard.begin_epoch(storage, &news, random));
        if !is_ours? {
            return Err(Refusal::Invalid("meant for another shard".into()));
        }
        // Where a batch told of it first, the global object may have answered as before since.
        self.charts.borrow_mut().forget();
        if mutants::active(Mutant::ToldBeforeDurable) {
            return Ok(());
        }
        self.sync().await.map_err(Refusal::from)
    }

    /// Notes a moment, about to come, at which this shard is to cut its log and push.
    ///
    /// # Errors
    /// Where the request cannot be read, comes too late, is meant for another shard, or the disk
    /// refuses.
    pub async fn cut(&self, message: &[u8]) -> Result<(), Refusal> {
        let request = codec::decode::<CutRequest<'_>>(message)?;
        self.be_enlisted().await?;
        let (random, now_ms) = (self.host.random(), self.host.now_ms());
        let cut = self.with_shard(|shard, storage| {
            let is_ours = shard.cut_at(storage, &request, random, now_ms)?;
            Ok((is_ours, shard.cut_in_ms(now_ms)))
        });
        let (is_ours, in_ms) = cut?;
        if !is_ours {
            let detail = "meant for another shard, or for a moment that has passed or that a later one followed";
            return Err(Refusal::Invalid(detail.into()));
        }
        self.ensure_alarm(in_ms.unwrap_or(0)).await;
        // It may sleep until then.
        self.sync().await.map_err(Refusal::from)
    }
}

impl<H: Host> Inner<H> {
    /// Runs a change of the state, loading it first where it is not in memory. After a storage
    /// error the state is dropped, so that the next one starts from what is stored.
    ///
    /// # Errors
    /// What the change fails with, or the load.
    pub fn with_shard<T>(
        &self,
        change: impl FnOnce(&mut Shard, &H::Storage) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let change = |shard: &mut Shard, storage: &H::Storage| {
            let epoch_ms = shard.epoch_ms();
            let outcome = change(shard, storage);
            if shard.epoch_ms() != epoch_ms {
                // No chart of before is shown any more.
                self.charts.borrow_mut().forget();
                self.change_timer(PushTimer::begins_anew);
            }
            outcome
        };
        let outcome = self.loaded.with(&self.host, || self.load(), change);
        outcome.inspect_err(|_| self.was_dropped())
    }

    /// What is in memory, where the state is loaded.
    pub fn look<T>(&self, look: impl FnOnce(&Shard) -> T) -> Option<T> {
        self.loaded.look(look)
    }

    pub fn host(&self) -> &H {
        &self.host
    }

    /// The global object of this shard's board.
    fn global(&self) -> ObjectName {
        let board = self.host.object().board();
        board.map_or(ObjectName::Unnamed, ObjectName::global)
    }

    fn load(&self) -> Result<(Shard, H::Storage), StorageError> {
        if !self.may_load() {
            return Err(StorageError(
                "its board is deleted, or nobody enlisted it".into(),
            ));
        }
        let storage = self.host.open()?;
        let (random, now_ms) = (self.host.random(), self.host.now_ms());
        let shard = Shard::load_within(&storage, random, now_ms, self.limits)?;
        if self.counters.get().loads == 0 {
            self.change_timer(|timer| timer.loaded(shard.has_open()));
        }
        self.count(|counters| counters.loads += 1);
        Ok((shard, storage))
    }

    fn was_dropped(&self) {
        self.storage_fails.set(true);
        // Whoever waits is told that the outcome is in doubt: dropping its sender does that.
        self.waiters.borrow_mut().clear();
    }

    /// Waits until what was written is durable. Where it may not be, the state is dropped.
    async fn sync(&self) -> Result<(), StorageError> {
        let synced = self.loaded.sync(&self.host).await;
        synced.inspect_err(|_| self.was_dropped())
    }

    /// Waits, once after each load, until what was loaded is durable; `false` if that failed.
    async fn settle(&self) -> bool {
        let unsettled =
            self.with_shard(|shard, _| Ok((!shard.is_settled()).then(|| shard.sync_point())));
        let point = match unsettled {
            Ok(None) => return true,
            Ok(Some(point)) => point,
            Err(_) => return false,
        };
        if self.sync().await.is_err() {
            return false;
        }
        let settled = self.with_shard(|shard, _| {
            shard.synced(point);
            Ok(())
        });
        self.storage_fails.set(settled.is_err());
        settled.is_ok()
    }

    /// Sees to it that the object wakes up in time: before anything is written, so that no crash
    /// leaves plays that nobody pushes.
    pub async fn ensure_alarm(&self, delay_ms: u64) {
        // A refusal is logged, and the next event tries again.
        let _ = self.set_alarm(delay_ms).await;
    }

    /// [`Inner::ensure_alarm`], for callers after which no other event need come.
    ///
    /// # Errors
    /// Where the platform refuses.
    async fn set_alarm(&self, delay_ms: u64) -> Result<(), StorageError> {
        self.know_alarm().await;
        let Some(delay_ms) = self.alarm_sets_in_ms(delay_ms) else {
            return Ok(());
        };
        // Whoever comes while this waits need not set it too.
        let mut alarm = self.alarm.get();
        alarm.was_set(self.host.now_ms(), delay_ms);
        self.alarm.set(alarm);
        let set = self.host.set_alarm(delay_ms).await;
        if mutants::active(Mutant::RefusedAlarmTakenForSet) {
            return Ok(());
        }
        set.inspect_err(|error| {
            self.host.report(format_args!("alarm: {error}"));
            self.alarm_fired();
        })
    }

    /// Sees to it that what is to be pushed is, in time.
    async fn ensure_push(&self) {
        self.know_alarm().await;
        if let Some(delay_ms) = self.next_push_in_ms() {
            self.owes_push(delay_ms);
            self.ensure_alarm(delay_ms).await;
        }
    }

    /// When what there is is to be pushed; `None` where there is nothing.
    fn next_push_in_ms(&self) -> Option<u64> {
        if self.is_over() {
            return None;
        }
        let now_ms = self.host.now_ms();
        self.change_timer(|timer| timer.look(now_ms));
        let timer = self.push_timer.get();
        let Some((has_work, to_push)) = self.look(|shard| (shard.has_work(), shard.to_push()))
        else {
            // Whoever loads it knows.
            return Some(timer.interval_ms());
        };
        let delay_ms = || match self.cut_is_owed.get() {
            true => FIRST_PUSH_MS,
            false => timer.delay_ms(self.spread(to_push), now_ms),
        };
        // While one is under way, no other begins.
        let least_ms = if self.pushing.get() {
            timer.interval_ms()
        } else {
            0
        };
        has_work.then(|| delay_ms().max(least_ms))
    }

    /// What there is to push, with its time put off by this board's margin and spread.
    fn spread(&self, to_push: ToPush) -> ToPush {
        let board = self.host.object().board().unwrap_or_default();
        let spread_ms = SipHasher13::new().hash(board.as_bytes()) % PUSH_SPREAD_MS;
        let later = |at_ms: u64| at_ms.saturating_add(QUIET_MARGIN_MS + spread_ms);
        ToPush {
            seals_at_ms: to_push.seals_at_ms.map(later),
            ..to_push
        }
    }

    /// Reads when an alarm set by an earlier instance fires. If one is set, what is open is told then; if none,
    /// soon.
    async fn know_alarm(&self) {
        if self.alarm.get().is_known() {
            return;
        }
        let due_ms = self.host.alarm_ms().await.ok().flatten();
        let mut alarm = self.alarm.get();
        if !alarm.is_known() {
            alarm.was_found(due_ms);
            self.alarm.set(alarm);
            if !self.alarm_is_set() {
                self.change_timer(PushTimer::begins_anew);
            }
        }
    }

    /// Whether any alarm is set that was not lost.
    fn alarm_is_set(&self) -> bool {
        self.alarm_sets_in_ms(u64::MAX).is_none()
    }

    fn alarm_sets_in_ms(&self, delay_ms: u64) -> Option<u64> {
        let usual_ms = self.push_timer.get().interval_ms();
        (self.alarm.get()).sets_in_ms(self.host.now_ms(), delay_ms, usual_ms)
    }

    fn alarm_fired(&self) {
        let mut alarm = self.alarm.get();
        alarm.fired();
        self.alarm.set(alarm);
    }

    fn change_timer(&self, change: impl FnOnce(&mut PushTimer)) {
        let mut timer = self.push_timer.get();
        change(&mut timer);
        self.push_timer.set(timer);
    }

    fn count(&self, change: impl FnOnce(&mut ShardMetrics)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    /// Figures for the operator.
    pub fn metrics(&self) -> ShardMetrics {
        let counters = ShardMetrics {
            instance: self.host.instance(),
            ..self.counters.get()
        };
        let told = self.with_shard(|shard, storage| {
            Ok(ShardMetrics {
                rows_written: storage.rows_written(),
                ..shard.tell(counters, self.host.now_ms())
            })
        });
        told.unwrap_or(counters)
    }

    /// What a Worker is told with each answer, whose `/healthz` wakes no object.
    pub fn trouble(&self) -> Option<Trouble> {
        // As for the largest body that anybody may send.
        if self.host.memory_is_short(2 * MAX_BODY_BYTES) {
            Some(Trouble::Memory)
        } else if self.storage_fails.get() {
            Some(Trouble::Storage)
        } else {
            self.pushes_fail().then_some(Trouble::Pushes)
        }
    }

    /// Pushes that failed since the start.
    pub fn failed_pushes(&self) -> u64 {
        self.counters.get().failed_pushes
    }

    /// Something is to be pushed within this time.
    fn owes_push(&self, delay_ms: u64) {
        let now_ms = self.host.now_ms();
        let later_ms = delay_ms.saturating_sub(self.push_timer.get().interval_ms());
        let (since_ms, from_ms) = (self.unpushed_since_ms.get(), now_ms + later_ms);
        // A clock may have been set back.
        if since_ms == 0 || since_ms > from_ms {
            self.unpushed_since_ms.set(from_ms);
        }
    }

    fn pushes_fail(&self) -> bool {
        let since_ms = self.unpushed_since_ms.get();
        let limit_ms = FAILING_INTERVALS * self.push_timer.get().interval_ms();
        since_ms > 0 && self.host.now_ms().saturating_sub(since_ms) > limit_ms
    }
}
