//! Closing charts a few at a time: pushes and readers have their turns in between.

use std::rc::Rc;

use super::reading::{MAX_MAKINGS, US_AT_ONCE};
use super::{Driver, Inner};
use crate::codec;
use crate::global::Global;
use crate::global::closed::{ClosingStep, Knowing};
use crate::host::Host;
use crate::storage::StorageError;
use crate::topology::GLOBAL_SCOPE;
use crate::wire::*;

/// How long one request closes charts of a history. The next one goes on.
const HISTORY_AT_ONCE_MS: u64 = 4_000;
/// While another board of the instance closes a chart in steps, this one looks so often whether it has finished: for
/// 0.25 s in all, twice what a month takes. Then it closes its own in one step.
const LOOKS_AT_OTHERS: u32 = 10;
const LOOK_AT_OTHERS_MS: u64 = 25;
/// A push is on its way for so long.
const ON_THE_WAY_MS: u64 = 1_000;

impl<H: Host> Driver<H> {
    /// `/list-published`: [`ListPublished`] → [`ListPublishedReply`]
    pub async fn list_published(&self, message: &[u8]) -> Vec<u8> {
        let listed = self
            .0
            .having_heard(async || self.0.list_published(message).await);
        codec::encode(&ListPublishedReply(listed.await))
    }

    /// `/close-history`: [`CloseHistory`] → [`CloseHistoryReply`], when what was closed is durable.
    pub async fn close_history(&self, message: &[u8]) -> Vec<u8> {
        codec::encode(&CloseHistoryReply(self.0.close_history(message).await))
    }

    /// Closes what is due as a task of the object.
    pub(super) fn close_beside(&self) {
        if self.0.is_closing.replace(true) {
            return;
        }
        let inner = Rc::clone(&self.0);
        self.0.host.spawn(async move {
            // A disk that refuses was told of; the next event tries again.
            if inner.close_due().await.is_ok() {
                // Pushes waited for the closing to be folded. Perhaps no other one comes before this object ends.
                inner.flush_due().await;
            }
            inner.is_closing.set(false);
        });
    }
}

impl<H: Host> Inner<H> {
    /// Closes what is due.
    pub(super) async fn close_due(self: &Rc<Self>) -> Result<(), Refusal> {
        let is_due = |inner: &Self| {
            let now_ms = inner.host.now_ms();
            inner.with_global(|global, _| Ok(global.closing_is_due(now_ms)))
        };
        while is_due(self)? {
            self.some_steps(|global, storage, knowing| {
                global.close_step(storage, knowing, self.host.now_ms())
            })
            .await?;
        }
        Ok(())
    }

    /// Takes steps until they have taken their time, or there are no more. Then others have their turn.
    async fn some_steps(
        self: &Rc<Self>,
        mut step: impl FnMut(&mut Global, &H::Storage, Knowing) -> Result<ClosingStep, StorageError>,
    ) -> Result<(), Refusal> {
        for _ in 0..LOOKS_AT_OTHERS {
            let now_ms = self.host.now_ms();
            if self.with_global(|global, _| Ok(global.may_close_in_steps(now_ms)))? {
                break;
            }
            self.host.sleep(LOOK_AT_OTHERS_MS).await;
        }
        let mut knowing = Knowing::All;
        for asked in 0..=MAX_MAKINGS {
            let is_fresh = self.hear_of_catalog(false).await;
            if !is_fresh || asked == MAX_MAKINGS {
                knowing = Knowing::SoFar;
            }
            let come_to = self.with_global(|global, storage| {
                let before = global.done();
                loop {
                    let come_to = step(global, storage, knowing)?;
                    let is_long = (global.done() - before).us() > US_AT_ONCE;
                    if come_to != ClosingStep::Done || is_long {
                        return Ok(come_to);
                    }
                }
            })?;
            if come_to != ClosingStep::Asks {
                break;
            }
        }
        self.host.sleep(0).await;
        Ok(())
    }

    async fn list_published(self: &Rc<Self>, message: &[u8]) -> Result<PublishedList, Refusal> {
        let request = codec::decode::<ListPublished>(message)?;
        self.ready().await?;
        self.close_due().await?;
        let list = async || {
            let turn = (self.turns.borrow_mut()).page(request.asker, self.host.now_ms());
            let mut turn = self.wait_for(turn).await?;
            let list = |global: &mut Global, storage: &H::Storage| {
                global.list_published(storage, &request)
            };
            self.in_turn(&mut turn, list).0
        };
        self.as_known(list).await.0
    }

    async fn close_history(self: &Rc<Self>, message: &[u8]) -> Result<HistoryClosed, Refusal> {
        let CloseHistory = codec::decode(message)?;
        self.ready().await?;
        let began_ms = self.host.now_ms();
        let mut charts = 0;
        loop {
            // However short the day's requests are: nobody asks for this often.
            let (_, told_stretch) = self.stretches();
            let fresh = self.refresh_for(GLOBAL_SCOPE, (1, told_stretch)).await;
            self.close_due().await?;
            let mut history = self.with_global(|global, storage| {
                Ok(global.closing_of_history(storage, self.host.now_ms())?)
            })?;
            let until_ms = self.host.now_ms() + HISTORY_AT_ONCE_MS;
            while !history.is_over() && self.host.now_ms() < until_ms {
                self.some_steps(|global, storage, knowing| {
                    global.close_history_step(storage, &mut history, knowing, self.host.now_ms())
                })
                .await?;
            }
            charts += history.closed;
            let passed_ms = self.host.now_ms().abs_diff(began_ms);
            // What shards accepted before it was asked they tell after an interval.
            let told_within_ms = fresh.interval_ms + ON_THE_WAY_MS;
            if history.left() == 0 && passed_ms < told_within_ms {
                self.host.sleep(told_within_ms - passed_ms).await;
                continue;
            }
            self.sync().await?;
            if history.left() == 0 && fresh.is_lacking {
                // Nobody knows what a shard has that does not answer.
                return Err(Refusal::Busy { retry_after_s: 5 });
            }
            return Ok(HistoryClosed {
                charts,
                periods_left: history.left(),
                periods_waiting: history.waiting,
            });
        }
    }
}
