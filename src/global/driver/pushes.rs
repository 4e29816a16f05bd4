//! Pushes: taken in one go, answered at once, and made durable for many of them together. A quiet shard's is
//! complete in itself: it is folded and durable before it is answered, as nothing else may come for a long
//! time, and both objects may be out of memory then. So is one that tells of something open after a time without.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures_channel::oneshot;

use super::{Driver, Inner};
use crate::codec;
use crate::global::Global;
use crate::host::Host;
use crate::mutants::{self, Mutant};
use crate::panics;
use crate::storage::{Storage, StorageError};
use crate::wire::{Push, PushReply, PushReplyOrRefusal, Refusal, ShardReport};

/// What quiet shards have sealed waits so long for what the others seal at the same moment, to be folded
/// together: the panes of the world are written once for all of them.
const QUIET_GROUP_MS: u64 = 1_000;
/// A disk that takes longer has the shard push again, as a busy one does.
const COMPLETE_MS: u64 = 3_000;

/// Pushes of quiet shards that are to be durable before they are answered.
#[derive(Default)]
pub struct Completing {
    /// Who waits, for those that come next; dropping them says that it failed.
    waiters: RefCell<Vec<oneshot::Sender<()>>>,
    is_running: Cell<bool>,
}

impl<H: Host> Driver<H> {
    /// `/push`: [`ShardReport`] → [`PushReplyOrRefusal`]. Takes a push, and keeps what its shard says of
    /// itself. Waits for the registry only where it meets what it has not heard of, and for the disk only where
    /// the shard is quiet, or has something open that a start would not miss: to others the reply promises what is
    /// durable already.
    pub async fn push(&self, message: &[u8]) -> Vec<u8> {
        codec::encode(&PushReplyOrRefusal(self.take_report(message).await))
    }

    async fn take_report(&self, message: &[u8]) -> Result<PushReply, Refusal> {
        let report = codec::decode::<ShardReport<'_>>(message)?;
        self.0.ready().await?;
        let take = async || self.take_push(report.push, self.0.host.now_ms());
        let reply = self.0.having_heard(take).await;
        let mut reply = reply.inspect_err(|refusal| {
            (self.0.host).report(format_args!("push refused: {refusal:?}"));
        })?;
        // Of the state that has taken it.
        let loads = self.0.counters.borrow().loads;
        self.0.spend_on_push(report.push, &mut reply);
        self.0.ask_registry_now_and_then();
        self.keep_figures(&report);
        // A state that is loaded after a crash is to know what it lacks of what the shard was told to have
        // arrived: that something is open there again is durable before the shard hears of it.
        if reply.is_quiet || self.0.is_undurable(report.region_id) {
            self.complete(report.push, loads, &mut reply).await?;
        }
        Ok(reply)
    }

    /// Keeps what a shard says of itself.
    pub(super) fn keep_figures(&self, report: &ShardReport<'_>) {
        let shard = (report.region_id.to_owned(), report.shard);
        let now_ms = self.0.host.now_ms();
        (self.0.figures.borrow_mut()).put(shard, report.figures, now_ms);
    }

    /// Takes a push, also where memory is short: refusing it would keep what could be freed.
    fn take_push(&self, message: &[u8], now_ms: u64) -> Result<PushReply, Refusal> {
        let inner = &self.0;
        inner.counters.borrow_mut().pushes += 1;
        let is_short = |_: &Global| inner.host.memory_is_short(4 * message.len());
        let (reply, is_news, is_sync_due, is_to_close) = inner.with_global(|global, storage| {
            global.set_watched(inner.watchers.since_ms(now_ms));
            let known = global.news();
            let reply = global.take_push_within(storage, message, is_short, now_ms)?;
            let is_news = global.news() != known;
            panics::point("taken");
            // Charts that are due are closed before anything is folded: a few at a time, as long as what is
            // pending may wait.
            let is_to_close = global.closing_is_due(now_ms);
            let may_wait = is_to_close
                && !global.is_full_of_pending()
                && !mutants::active(Mutant::FoldedBeforeClosed);
            if global.flush_is_due(now_ms) && !may_wait {
                fold(global, storage, now_ms)?;
            }
            Ok((reply, is_news, global.sync_is_due(), is_to_close))
        })?;
        if is_news {
            inner.tell_watchers();
        }
        if is_to_close {
            self.close_beside();
        }
        if is_sync_due && !inner.is_syncing.replace(true) {
            let inner = Rc::clone(inner);
            self.0.host.spawn(async move {
                inner.sync_folded().await;
                inner.is_syncing.set(false);
            });
        }
        Ok(reply)
    }

    /// Waits until a push is folded and durable, and what is known of its shard with it. `loads`: which state took it.
    ///
    /// # Errors
    /// Where it is not: the shard is to come again soon.
    async fn complete(
        &self,
        push: &[u8],
        loads: u64,
        reply: &mut PushReply,
    ) -> Result<(), Refusal> {
        let push = codec::decode::<Push<'_>>(push)?;
        if mutants::active(Mutant::QuietBeforeDurable) {
            reply.durable_offset = reply.wanted_offset;
            return Ok(());
        }
        let failed = || Refusal::Storage("what was pushed is not known to be durable".into());
        let (waiter, completed) = oneshot::channel();
        let completing = &self.0.completing;
        completing.waiters.borrow_mut().push(waiter);
        if !completing.is_running.replace(true) {
            let inner = Rc::clone(&self.0);
            self.0.host.spawn(async move {
                while !inner.completing.waiters.borrow().is_empty() {
                    inner.complete_all().await;
                }
                inner.completing.is_running.set(false);
            });
        }
        let completed = self.0.host.within(COMPLETE_MS, completed).await;
        if self.0.counters.borrow().loads != loads {
            // The state that took it was dropped before it was folded, as far as is known.
            return Err(failed());
        }
        match completed {
            Some(Ok(())) => {}
            Some(Err(_)) => return Err(failed()),
            // Charts are closed first: nothing is wrong with the disk.
            None if self.0.is_undurable(push.region_id) => {
                return Err(Refusal::Busy { retry_after_s: 1 });
            }
            None => {
                // What it has got since is not to wait for the disk.
                reply.is_quiet = false;
                return Ok(());
            }
        }
        let shard = (push.region_id.to_owned(), push.shard);
        // It may have taken a later push of the shard.
        let standing = self.0.with_global(|global, _| {
            let log = global.standing(&shard, push.log_id);
            Ok(log.map(|log| (log.accepted, log.durable, log.is_quiet)))
        })?;
        let Some((accepted, durable, is_quiet)) = standing else {
            reply.is_quiet = false;
            return Ok(());
        };
        reply.wanted_offset = accepted;
        reply.durable_offset = durable;
        reply.is_quiet &= is_quiet && durable >= push.next_offset;
        Ok(())
    }
}

impl<H: Host> Inner<H> {
    /// Whether a state that is loaded after a crash might not know what it lacks of a region, as nobody knows of
    /// one that was dropped.
    fn is_undurable(&self, region_id: &str) -> bool {
        let is_undurable = self.loaded.look(|global| global.is_undurable(region_id));
        is_undurable != Some(false) && !mutants::active(Mutant::OpenBeforeDurable)
    }

    /// Folds what is to be folded by now, and waits until that is durable.
    pub(super) async fn flush_due(&self) {
        let now_ms = self.host.now_ms();
        let is_sync_due = self.with_global(|global, storage| {
            if global.flush_is_due(now_ms) {
                fold(global, storage, now_ms)?;
            }
            Ok(global.sync_is_due())
        });
        if is_sync_due == Ok(true) && !self.is_syncing.replace(true) {
            self.sync_folded().await;
            self.is_syncing.set(false);
        }
    }

    /// Folds what was taken, and waits until that is durable; then tells who waits for it.
    async fn complete_all(self: &Rc<Self>) {
        let is_pending = self.with_global(|global, _| Ok(global.live.pending_bytes > 0));
        if is_pending == Ok(true) {
            self.host.sleep(QUIET_GROUP_MS).await;
        }
        // Charts that are due are closed before anything is folded. Where that fails, folding does, too.
        let _ = self.close_due().await;
        let waiters = self.completing.waiters.take();
        let now_ms = self.host.now_ms();
        let folded = self.with_global(|global, storage| {
            if global.has_to_store() {
                fold(global, storage, now_ms)?;
            }
            Ok(())
        });
        if folded.is_ok() && self.sync_folded().await {
            for waiter in waiters {
                // A shard that has gone does not wait any more.
                let _ = waiter.send(());
            }
        }
    }

    /// Waits until what was folded is durable; from then on replies say so. What is folded meanwhile is
    /// of the sync that the next push begins. `false` where nobody knows.
    async fn sync_folded(&self) -> bool {
        let Ok(point) = self.with_global(|global, _| Ok(global.sync_point())) else {
            return false;
        };
        let is_synced = mutants::active(Mutant::FoldedTakenForDurable) || self.sync().await.is_ok();
        if is_synced {
            let _ = self.with_global(|global, _| {
                global.synced(&point);
                Ok(())
            });
        }
        is_synced
    }
}

/// Folds what is pending, and stores it.
fn fold(global: &mut Global, storage: &impl Storage, now_ms: u64) -> Result<(), StorageError> {
    global.flush(storage, now_ms)?;
    panics::point("folded");
    Ok(())
}
