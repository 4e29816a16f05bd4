//! Pushes: taken in one go, answered at once, and made durable for many of them together.

use std::rc::Rc;

use super::{Driver, Inner};
use crate::codec;
use crate::global::Global;
use crate::host::Host;
use crate::mutants::{self, Mutant};
use crate::panics;
use crate::wire::{PushReply, PushReplyOrRefusal, Refusal, ShardReport};

impl<H: Host> Driver<H> {
    /// `/push`: [`ShardReport`] → [`PushReplyOrRefusal`]. Takes a push, and keeps what its shard says of
    /// itself. Waits for no disk, and for the registry only where it meets what it has not heard of: the reply promises what is durable already.
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
        self.0.spend_on_push(report.push, &mut reply);
        self.0.ask_registry_now_and_then();
        let now_ms = self.0.host.now_ms();
        let shard = (report.region_id.to_owned(), report.shard);
        (self.0.figures.borrow_mut()).put(shard, report.figures, now_ms);
        Ok(reply)
    }

    /// Takes a push, also where memory is short: refusing it would keep what could be freed.
    fn take_push(&self, message: &[u8], now_ms: u64) -> Result<PushReply, Refusal> {
        let inner = &self.0;
        inner.counters.borrow_mut().pushes += 1;
        let is_short = |_: &Global| inner.host.memory_is_short(4 * message.len());
        let (reply, is_news, is_sync_due, is_to_close) = inner.with_global(|global, storage| {
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
                global.flush(storage, now_ms)?;
                panics::point("folded");
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
}

impl<H: Host> Inner<H> {
    /// Waits until what was folded is durable; from then on replies say so. What is folded meanwhile is
    /// of the sync that the next push begins.
    async fn sync_folded(&self) {
        let Ok(point) = self.with_global(|global, _| Ok(global.sync_point())) else {
            return;
        };
        if mutants::active(Mutant::FoldedTakenForDurable) || self.sync().await.is_ok() {
            // The state may have been dropped meanwhile: a fresh one knows no such log yet.
            let _ = self.with_global(|global, _| {
                global.synced(&point);
                Ok(())
            });
        }
    }
}
