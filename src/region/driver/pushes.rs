//! What an alarm does: the next alarm set, a checkpoint written, durable, sent.

use super::super::{PUSH_TIMEOUT_MS, PUSHES_AN_ALARM};
use super::Inner;
use crate::codec;
use crate::host::Host;
use crate::mutants::{self, Mutant};
use crate::panics;
use crate::wire::{PUSH_INTERVAL_MS, PushReplyOrRefusal, ShardReport};

impl<H: Host> Inner<H> {
    /// Runs when the alarm has fired: pushes what there is. `wake_in_ms`: the time after which something
    /// else in the object, such as its sockets, wants the next alarm.
    pub async fn alarm(&self, wake_in_ms: Option<u64>) {
        panics::point("alarm");
        self.alarm_fired();
        if !self.may_load() {
            // Nothing is stored, or what was is deleted: there is nothing to push. Readers may wait for a
            // board's first play, though.
            if let Some(next_ms) = wake_in_ms {
                self.ensure_alarm(next_ms).await;
            }
            return;
        }
        let found = self.with_shard(|shard, storage| {
            self.cut_if_due(shard, storage)?;
            let has_work = shard.has_work() || self.cut_is_untold.get();
            Ok((has_work, shard.cut_in_ms(self.host.now_ms())))
        });
        let has_work = found.as_ref().map(|(has_work, _)| *has_work);
        let cut_in_ms = found.as_ref().ok().and_then(|(_, cut_in_ms)| *cut_in_ms);
        if has_work == Ok(false) {
            // What was committed last may have been claims alone, which nobody pushes.
            self.unpushed_since_ms.set(0);
        }
        if has_work == Ok(false) && wake_in_ms.is_none() && cut_in_ms.is_none() {
            return;
        }
        // The next one first: whatever happens below, there will be another try.
        let push_in_ms = (has_work != Ok(false)).then(|| self.push_timer.get().interval_ms());
        let moments_ms = [wake_in_ms, push_in_ms, cut_in_ms];
        let next_ms = moments_ms.into_iter().flatten().min();
        self.ensure_alarm(next_ms.unwrap_or(PUSH_INTERVAL_MS)).await;
        if has_work == Ok(true) {
            self.has_something_to_push();
            self.push().await;
        }
    }

    /// Pushes what there is, if it is time and no push is under way.
    async fn push(&self) {
        let mut timer = self.push_timer.get();
        if self.cut_is_untold.get() {
            timer.hurry();
        }
        if self.pushing.get() || !timer.begin(self.host.now_ms()) {
            return;
        }
        self.push_timer.set(timer);
        self.cut_is_untold.set(false);
        self.pushing.set(true);
        for _ in 0..PUSHES_AN_ALARM {
            match self.push_once().await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.count(|counters| counters.failed_pushes += 1);
                    self.tell(format_args!("push: {error}"));
                    break;
                }
            }
        }
        self.pushing.set(false);
    }

    /// Seals what is due, makes it durable, pushes. `true` if there is more to send at once.
    async fn push_once(&self) -> Result<bool, String> {
        let point = self.with_shard(|shard, storage| {
            let now_ms = self.host.now_ms();
            if shard.checkpoint_is_due(now_ms) {
                shard.checkpoint(storage, now_ms)?;
            }
            Ok(shard.sync_point())
        });
        let point = point.map_err(|error| error.0)?;
        if !mutants::active(Mutant::SentBeforeDurable) {
            self.sync().await.map_err(|error| error.0)?;
        }
        let figures = codec::encode(&self.metrics());
        let report = self.with_shard(|shard, storage| {
            shard.synced(point);
            let push = shard.push(storage)?;
            Ok(push.zip(shard.name()).map(|(push, (region_id, shard))| {
                codec::encode(&ShardReport {
                    region_id,
                    shard,
                    push: &push,
                    figures: &figures,
                })
            }))
        });
        let Some(report) = report.map_err(|error| error.0)? else {
            return Ok(false);
        };
        let global = self.global();
        let reply = (self.host).ask(&global, "/push", &report, PUSH_TIMEOUT_MS);
        let reply = reply.await.map_err(|error| error.0)?;
        panics::point("pushed");
        let reply = codec::decode::<PushReplyOrRefusal>(&reply);
        let PushReplyOrRefusal(reply) = reply.map_err(|error| error.to_string())?;
        let reply = reply.map_err(|refusal| format!("{refusal:?}"))?;
        let mut timer = self.push_timer.get();
        timer.told(reply.push_interval_ms);
        self.push_timer.set(timer);
        self.count(|counters| {
            counters.pushes += 1;
            counters.pushed_bytes += report.len() as u64;
        });
        let more = self.with_shard(|shard, storage| {
            shard.pushed(storage, &reply, self.host.random())?;
            let now_ms = self.host.now_ms();
            self.unpushed_since_ms
                .set(if shard.has_work() { now_ms } else { 0 });
            Ok(shard.has_more_to_send())
        });
        more.map_err(|error| error.0)
    }
}
