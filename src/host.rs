//! The platform as a driver sees it.
//!
//! A driver ([`crate::region::Driver`], [`crate::global::Driver`], [`crate::registry::Driver`],
//! [`crate::catalog::Driver`]) is everything between the events of an
//! object and its state machine: it loads, commits, waits, answers, pushes, and knows what to do
//! when each of these fails. It asks for all of it here, so the very same driver runs in the
//! Durable Object, where the platform answers, and in the simulation, where everything that can go
//! wrong does, at every `await`.
//!
//! # What a driver may rely on
//! - Between two awaits nothing else runs.
//! - At an await anything may happen: another event, the end of the object, or, of what is done for
//!   a sender, the end of the sender's patience: then its future is dropped there. What must not
//!   end with a sender is [`Host::spawn`]ed.
//! - Nobody outlives the object: its tasks end with it.

use std::fmt;
use std::pin::pin;

use futures_util::future::{Either, select};

use crate::board::ObjectName;
use crate::codec;
use crate::storage::{Storage, StorageError};
use crate::window::Zone;
use crate::wire::{AnswerTo, InstanceMetrics, Question, Refusal, Reply};

/// How long a question between objects may wait for its answer, where nothing else is said.
pub const QUESTION_TIMEOUT_MS: u64 = 5_000;
/// The platform opens six connections for a request: how many objects are asked at once.
pub const ASKED_AT_ONCE: usize = 6;

/// An object did not answer, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SendError(pub String);

/// The object's storage and clock, timers, and messages to other objects.
pub trait Host: 'static {
    type Storage: Storage;

    /// Which object this is.
    fn object(&self) -> &ObjectName;

    /// Whether nothing was ever stored, or everything was deleted. Looking makes nothing.
    ///
    /// # Errors
    /// When the disk refuses.
    fn is_empty(&self) -> Result<bool, StorageError>;

    /// Deletes everything that is stored, the alarm included; durable when this is done.
    ///
    /// # Errors
    /// When it is not known to be deleted.
    fn delete_all(&self) -> impl Future<Output = Result<(), StorageError>>;

    /// Milliseconds since 1970. Stands still between two awaits.
    fn now_ms(&self) -> u64;

    /// What the clocks of `TIME_ZONE` show, as the platform knows it today. None where there is no such
    /// zone.
    fn zone(&self) -> Option<Zone>;

    /// Random bytes that nobody can guess.
    fn random<const N: usize>(&self) -> [u8; N];

    /// The object's storage, with every table there.
    ///
    /// # Errors
    /// When the disk refuses.
    fn open(&self) -> Result<Self::Storage, StorageError>;

    /// Whether `more` bytes would pass the budget of the instance, which other objects share.
    fn memory_is_short(&self, more: usize) -> bool;

    /// The instance, for the operator.
    fn instance(&self) -> InstanceMetrics;

    /// Runs a task that belongs to the object, and ends with it alone.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);

    /// Waits until all that was written before is durable.
    ///
    /// # Errors
    /// When it is not known to be: drop the state then.
    fn sync(&self) -> impl Future<Output = Result<(), StorageError>>;

    /// Waits.
    fn sleep(&self, ms: u64) -> impl Future<Output = ()>;

    /// Wakes the object in so many milliseconds, in place of any other moment: durable once this is
    /// done. It may come late, twice, or never.
    ///
    /// # Errors
    /// When it is not set.
    fn set_alarm(&self, delay_ms: u64) -> impl Future<Output = Result<(), StorageError>>;

    /// When the object is to be woken, in milliseconds since 1970, as far as the platform knows: what an
    /// instance before this one has set, too. `None` where no alarm is set, and while one is fired.
    ///
    /// # Errors
    /// When it is not known.
    fn alarm_ms(&self) -> impl Future<Output = Result<Option<u64>, StorageError>>;

    /// Sends a message to another object, and waits for its answer as long as it may take.
    ///
    /// # Errors
    /// When it is away, fails, or does not answer in time.
    fn ask(
        &self,
        object: &ObjectName,
        path: &'static str,
        message: &[u8],
        limit_ms: u64,
    ) -> impl Future<Output = Result<Vec<u8>, SendError>>;

    /// Asks another object a question, and decodes the reply: an answer, or why there is none.
    ///
    /// # Errors
    /// As [`Host::ask`], and where the reply cannot be read.
    fn ask_question<Q: Question>(
        &self,
        object: &ObjectName,
        question: &Q,
        limit_ms: u64,
    ) -> impl Future<Output = Result<Result<AnswerTo<Q>, Refusal>, SendError>> {
        async move {
            let message = codec::encode(question);
            let reply = self.ask(object, Q::PATH, &message, limit_ms).await?;
            let reply = codec::decode::<Q::Reply>(&reply);
            (reply.map(Reply::answer)).map_err(|error| SendError(error.to_string()))
        }
    }

    /// Tells the operator what went wrong.
    fn report(&self, what: fmt::Arguments<'_>);

    /// Tells the operator what was done that is no fault.
    fn note(&self, what: fmt::Arguments<'_>);

    /// Waits for a future, but not for ever. `None` when its time is over.
    fn within<F: Future>(
        &self,
        limit_ms: u64,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> {
        async move {
            match select(pin!(future), pin!(self.sleep(limit_ms))).await {
                Either::Left((output, _)) => Some(output),
                Either::Right(_) => None,
            }
        }
    }
}
