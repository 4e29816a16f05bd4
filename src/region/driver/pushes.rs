//! What an alarm does: the next alarm set, a checkpoint written, durable, sent. And what a shard answers that
//! is asked for what it has.

use super::super::{PUSH_TIMEOUT_MS, PUSHES_AN_ALARM, PushTimer, Shard, SyncPoint};
use super::Inner;
use crate::codec;
use crate::host::Host;
use crate::mutants::{self, Mutant};
use crate::panics;
use crate::storage::StorageError;
use crate::wire::{Pull, PushReplyOrRefusal, Refusal, ShardReport};

/// What a shard has, as it is sent.
struct Report {
    /// An encoded [`ShardReport`].
    message: Vec<u8>,
    /// Something of it is open.
    has_open: bool,
}

impl<H: Host> Inner<H> {
    /// Runs when the alarm has fired: pushes what there is. `wake_in_ms`: the time after which something
    /// else in the object, such as its sockets, wants the next alarm.
    ///
    /// # Errors
    /// Where the next alarm could not be set: then this one is to fire again.
    pub async fn alarm(&self, wake_in_ms: Option<u64>) -> Result<(), StorageError> {
        panics::point("alarm");
        self.alarm_fired();
        self.change_timer(PushTimer::fired);
        if !self.may_load() {
            // Nothing is stored, or what was is deleted: there is nothing to push. Readers may wait for a
            // board's first play, though.
            return match wake_in_ms {
                Some(next_ms) => self.set_alarm(next_ms).await,
                None => Ok(()),
            };
        }
        let found = self.with_shard(|shard, storage| {
            self.cut_if_due(shard, storage)?;
            Ok((shard.has_work(), shard.to_push()))
        });
        let Ok((has_work, to_push)) = found else {
            let next_ms = wake_in_ms.unwrap_or(u64::MAX);
            let interval_ms = self.push_timer.get().interval_ms();
            return self.set_alarm(next_ms.min(interval_ms)).await;
        };
        if !has_work {
            // What was committed last may have been claims alone, which nobody pushes.
            self.unpushed_since_ms.set(0);
        }
        let timer = self.push_timer.get();
        if timer.is_busy() && has_work {
            // The next one first: whatever happens below, there will be another try.
            let others_ms = self.wakes_in_ms(wake_in_ms).unwrap_or(u64::MAX);
            self.ensure_alarm(others_ms.min(timer.interval_ms())).await;
        }
        let is_due = timer.is_due(self.spread(to_push), self.host.now_ms());
        if has_work && (is_due || self.cut_is_owed.get()) {
            self.owes_push(0);
            self.push().await;
        }
        // Where the shard ends before this is set, or it cannot be, the alarm that has fired is fired again.
        let next_ms = self.next_push_in_ms();
        let next_ms = next_ms.filter(|_| !mutants::active(Mutant::LastPaneWithoutAlarm));
        let others_ms = self.wakes_in_ms(wake_in_ms);
        match next_ms.into_iter().chain(others_ms).min() {
            Some(next_ms) => self.set_alarm(next_ms).await,
            None => Ok(()),
        }
    }

    /// When something else than a push wants an alarm.
    fn wakes_in_ms(&self, wake_in_ms: Option<u64>) -> Option<u64> {
        let cut_in_ms = self.look(|shard| shard.cut_in_ms(self.host.now_ms()));
        wake_in_ms.into_iter().chain(cut_in_ms.flatten()).min()
    }

    /// Pushes what there is, if it is time and no push is under way.
    async fn push(&self) {
        let mut timer = self.push_timer.get();
        if self.cut_is_owed.get() {
            timer.hurry();
        }
        if self.pushing.get() || !timer.begin(self.host.now_ms()) {
            return;
        }
        self.push_timer.set(timer);
        self.cut_is_owed.set(false);
        self.pushing.set(true);
        let taken = || self.look(Shard::wanted_offset);
        let before = taken();
        for _ in 0..PUSHES_AN_ALARM {
            match self.push_once().await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.count(|counters| counters.failed_pushes += 1);
                    self.host.report(format_args!("push: {error}"));
                    break;
                }
            }
        }
        self.pushing.set(false);
        // An export waits for all that lies below its cut, not for as long as pushes do.
        match self.look(|shard| (shard.owes_of_cut(), shard.has_untold_cut())) {
            Some((true, _)) if taken() > before => self.cut_is_owed.set(true),
            // It was cut while this push was under way, which told all.
            Some((false, false)) => self.cut_is_owed.set(false),
            _ => {}
        }
    }

    /// Seals what is due, makes it durable, pushes. `true` if there is more to send at once.
    async fn push_once(&self) -> Result<bool, String> {
        let point = self.with_shard(|shard, storage| {
            let now_ms = self.host.now_ms();
            let is_due = match self.push_timer.get().is_busy() {
                true => shard.checkpoint_is_due(now_ms),
                false => shard.quiet_checkpoint_is_due(now_ms),
            };
            if is_due {
                shard.checkpoint(storage, now_ms)?;
            }
            Ok(shard.sync_point())
        });
        let point = point.map_err(|error| error.0)?;
        if !mutants::active(Mutant::SentBeforeDurable) {
            self.sync().await.map_err(|error| error.0)?;
        }
        let report = self.report(point, Shard::push);
        let report = report.map_err(|error| error.0)?;
        let Some(Report { message, has_open }) = report else {
            return Ok(false);
        };
        let global = self.global();
        self.watched_by_pull.set(None);
        let reply = (self.host).ask(&global, "/push", &message, PUSH_TIMEOUT_MS);
        let reply = reply.await.map_err(|error| error.0)?;
        panics::point("pushed");
        let reply = codec::decode::<PushReplyOrRefusal>(&reply);
        let PushReplyOrRefusal(reply) = reply.map_err(|error| error.to_string())?;
        let mut reply = reply.map_err(|refusal| format!("{refusal:?}"))?;
        // Somebody may have begun to watch since the reply was made.
        reply.watched_since_ms = reply.watched_since_ms.or(self.watched_by_pull.get());
        self.count(|counters| {
            counters.pushes += 1;
            counters.pushed_bytes += message.len() as u64;
        });
        self.change_timer(|timer| timer.told(reply.push_interval_ms, reply.is_quiet, has_open));
        let more = self.with_shard(|shard, storage| {
            let log_id = shard.log_id();
            shard.pushed(storage, &reply, self.host.random())?;
            if shard.log_id() != log_id {
                self.change_timer(PushTimer::begins_anew);
            }
            Ok(shard.has_more_to_send())
        });
        let more = more.map_err(|error| error.0)?;
        self.unpushed_since_ms.set(0);
        if let Some(next_ms) = self.next_push_in_ms() {
            self.owes_push(next_ms);
        }
        Ok(more)
    }

    /// What there is, in a message to the global object. `point` was taken before the last sync.
    fn report(
        &self,
        point: SyncPoint,
        push: impl FnOnce(&mut Shard, &H::Storage) -> Result<Option<Vec<u8>>, StorageError>,
    ) -> Result<Option<Report>, StorageError> {
        let figures = codec::encode(&self.metrics());
        self.with_shard(|shard, storage| {
            shard.synced(point);
            let (has_open, push) = (shard.has_open(), push(shard, storage)?);
            Ok(push.zip(shard.name()).map(|(push, (region_id, shard))| {
                let message = codec::encode(&ShardReport {
                    region_id,
                    shard,
                    push: &push,
                    figures: &figures,
                });
                Report { message, has_open }
            }))
        })
    }

    /// What there is, as an encoded [`ShardReport`], for whoever looks. Nobody says whether it has arrived, and
    /// nothing is written for it, but that somebody watches.
    ///
    /// # Errors
    /// Where the shard cannot tell: it stores nothing yet, its board is deleted, or the disk refuses.
    pub async fn pull(&self, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let Pull { watched_since_ms } = codec::decode(message)?;
        // Loading what was never stored would make it.
        if self.look(|_| ()).is_none() && self.host.is_empty()? {
            return Err(Refusal::NotFound);
        }
        if !self.may_load() {
            return Err(Refusal::Gone);
        }
        let point = self.with_shard(|shard, storage| {
            if watched_since_ms.is_some() {
                shard.set_watched(storage, watched_since_ms)?;
                self.watched_by_pull.set(watched_since_ms);
            }
            Ok(shard.sync_point())
        })?;
        // What was loaded may not be durable; and where another instance has taken over, this fails, and
        // nobody takes what is in this memory for the news.
        self.sync().await?;
        self.know_alarm().await;
        if !self.pushing.get() && !self.alarm_is_set() {
            // It was lost, and nothing else may wake this object before its next play.
            self.ensure_push().await;
        }
        let report = self.report(point, Shard::pulled)?;
        // It was dropped and loaded again meanwhile, and is not known to be durable.
        let report = report.ok_or(Refusal::Busy { retry_after_s: 1 })?;
        Ok(report.message)
    }
}
