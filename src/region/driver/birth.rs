//! The beginning and the end of a shard of a board that can be deleted.
//!
//! Before its first write it asks the registry, which enlists it or says that the board is gone. So the
//! registry knows of all that a board has stored. When the board is deleted, the registry says so, and
//! everything here goes.

use std::rc::Rc;

use futures_channel::oneshot;

use super::{Driver, Inner};
use crate::board::{Life, ObjectName};
use crate::host::{Host, QUESTION_TIMEOUT_MS};
use crate::mutants::{self, Mutant};
use crate::wire::{Enlist, Refusal, Wipe};

impl<H: Host> Driver<H> {
    /// Sees to it that the registry knows of this object, where something is stored for the first time.
    ///
    /// # Errors
    /// [`Refusal::Gone`] where its board is no more; [`Refusal::Busy`] where the registry is away.
    pub async fn be_enlisted(&self) -> Result<(), Refusal> {
        if self.life.get() == Life::Unknown {
            let is_stored = || self.host.is_empty().map(|is_empty| !is_empty);
            let is_to_ask =
                self.host.object().is_to_enlist() && !mutants::active(Mutant::BirthUnasked);
            if !is_to_ask || is_stored()? {
                self.life.set(Life::Enlisted);
            } else {
                self.enlist().await;
            }
        }
        match self.life.get() {
            Life::Enlisted => Ok(()),
            Life::Over => Err(Refusal::Gone),
            Life::Unknown => Err(Refusal::Busy { retry_after_s: 1 }),
        }
    }

    /// Asks once for all who wait: the question belongs to the object.
    async fn enlist(&self) {
        let (waiter, answered) = oneshot::channel::<()>();
        self.unborn.borrow_mut().push(waiter);
        if self.unborn.borrow().len() == 1 {
            let inner = Rc::clone(&self.0);
            self.host.spawn(async move {
                let object = inner.host.object().clone();
                let (registry, question) = (ObjectName::Registry, Enlist { object });
                let answer = (inner.host).ask_question(&registry, &question, QUESTION_TIMEOUT_MS);
                let life = Enlist::life(&answer.await);
                // It may have been told meanwhile that its board is deleted: an answer of before does
                // not count.
                if inner.life.get() == Life::Unknown {
                    inner.life.set(life);
                }
                // Dropping them wakes them.
                inner.unborn.borrow_mut().clear();
            });
        }
        let _ = answered.await;
    }

    /// The board is deleted: stops taking, fails what waits, and deletes all that is stored. Repeated, it
    /// does so again.
    ///
    /// # Errors
    /// Where the message is not for this object, or the disk refuses: then it is to be told again.
    pub async fn wipe(&self, message: &[u8]) -> Result<(), Refusal> {
        Wipe::read(message, self.host.object())?;
        self.life.set(Life::Over);
        self.forget();
        self.host.delete_all().await.map_err(Refusal::from)
    }
}

impl<H: Host> Inner<H> {
    /// Whether its board is deleted.
    pub fn is_over(&self) -> bool {
        self.life.get() == Life::Over
    }

    /// Whether anything may be loaded: of an object that is not enlisted nothing is stored.
    pub(super) fn may_load(&self) -> bool {
        let is_known = self.life.get() == Life::Enlisted || !self.host.object().is_to_enlist();
        is_known || (!self.is_over() && self.host.is_empty() == Ok(false))
    }

    /// All that is in memory goes. Whoever waits is told that the outcome is in doubt: dropping its sender does that.
    fn forget(&self) {
        self.loaded.forget();
        self.waiters.borrow_mut().clear();
        self.charts.borrow_mut().forget();
        self.unpushed_since_ms.set(0);
    }
}
