//! The way of a batch: settled, admitted, written, durable, counted, answered.

use std::rc::Rc;

use futures_channel::oneshot;

use super::super::votes::{Sifted, TakenVotes};
use super::super::{Admission, GROUP_BYTES, GROUP_WAIT_MS, Shard};
use super::{Driver, Inner};
use crate::board::MAIN;
use crate::codec::{self, RecordError};
use crate::host::Host;
use crate::mutants::{self, Mutant};
use crate::panics;
use crate::storage::StorageError;
use crate::topology::Epoch;
use crate::wire::{BlindRequest, RecordReply, RecordRequest, Refusal, Voter};

/// After an error senders are told to wait so long: until the object has started again.
const RETRY_AFTER_FAILURE_S: u32 = 2;

/// The platform puts an object to sleep that nobody has asked anything for so long.
const SLEEPS_AFTER_MS: u64 = 10_000;

/// What was decided about a batch.
struct Admitted {
    admission: Admission,
    too_many: Rc<[u16]>,
    taken: TakenVotes,
    /// How many requests and bytes wait for a commit.
    waiting: (usize, usize),
}

impl<H: Host> Driver<H> {
    /// Makes a batch durable, and counts how it went.
    pub async fn record(&self, message: &[u8], voter: Option<Voter>) -> RecordReply {
        panics::point("record");
        let reply = if self.host.memory_is_short(4 * message.len()) {
            RecordReply::Busy { retry_after_s: 1 }
        } else {
            match codec::decode::<RecordRequest<'_>>(message) {
                Err(RecordError::OtherKind { .. }) => self.record_blind(message, voter).await,
                Err(_) => RecordReply::Invalid,
                Ok(request) if self.host.object().board() != Some(request.board) => {
                    self.host
                        .report(format_args!("plays for another board: {}", request.board));
                    RecordReply::Invalid
                }
                Ok(request) => match self.be_enlisted().await {
                    Ok(()) => self.record_batch(&request, voter).await,
                    Err(Refusal::Gone) => RecordReply::Gone,
                    Err(_) => RecordReply::Busy { retry_after_s: 1 },
                },
            }
        };
        self.count(|counters| match reply {
            RecordReply::Counted {
                repeated: false, ..
            } => counters.batches += 1,
            RecordReply::Counted { repeated: true, .. } => counters.repeated_batches += 1,
            RecordReply::Busy { .. } => counters.busy_batches += 1,
            _ => {}
        });
        reply
    }

    /// Stays awake until no address has votes that are to be remembered: more than ten of one post, where
    /// sixty a minute are allowed.
    fn stay_awake(&self) {
        let needed_ms = |driver: &Self| driver.votes.borrow().needed_ms(driver.host.now_ms());
        if needed_ms(self) < SLEEPS_AFTER_MS || self.staying_awake.replace(true) {
            return;
        }
        let driver = self.clone();
        self.host.spawn(async move {
            // Votes that came meanwhile take longer.
            while let ms @ 1.. = needed_ms(&driver) {
                driver.host.sleep(ms).await;
            }
            driver.staying_awake.set(false);
        });
    }

    /// A batch of a Worker that does not know whether it is this shard's to count.
    async fn record_blind(&self, message: &[u8], voter: Option<Voter>) -> RecordReply {
        let Ok(blind) = codec::decode::<BlindRequest<'_>>(message) else {
            return RecordReply::Invalid;
        };
        // Whoever has never been told anything stores nothing for that.
        let is_new = self.look(|_| ()).is_none() && self.host.is_empty() == Ok(true);
        if is_new || self.host.object().board() != Some(MAIN) || self.be_enlisted().await.is_err() {
            return RecordReply::Unlisted;
        }
        let now_ms = self.host.now_ms();
        match self.with_shard(|shard, _| Ok(shard.seen(&blind, now_ms))) {
            Ok(Some(request)) => self.record_batch(&request, voter).await,
            Ok(None) => RecordReply::Unlisted,
            Err(_) => RecordReply::Busy {
                retry_after_s: RETRY_AFTER_FAILURE_S,
            },
        }
    }

    async fn record_batch(&self, request: &RecordRequest<'_>, voter: Option<Voter>) -> RecordReply {
        let busy = RecordReply::Busy {
            retry_after_s: RETRY_AFTER_FAILURE_S,
        };
        let mut arrivals = self.arrivals.get();
        arrivals.add(self.host.now_ms());
        self.arrivals.set(arrivals);
        if !self.settle().await {
            return busy;
        }
        let Ok(admitted) = self.admit(request, voter) else {
            return busy;
        };
        self.stay_awake();
        let Admitted {
            admission,
            too_many,
            taken,
            waiting,
        } = admitted;
        let (ticket, reply) = match admission {
            Admission::Answer(reply) => return reply.without(&too_many),
            Admission::Wait { ticket, reply } => (ticket, reply),
        };
        if self.is_full(waiting) {
            self.group_is_full.borrow_mut().take();
        }
        let committed = self.committed(ticket);
        if !self.committing.replace(true) {
            let driver = self.clone();
            self.host.spawn(async move {
                driver.commit_all().await;
                driver.committing.set(false);
            });
        }
        if committed.await.is_ok() {
            return reply.without(&too_many);
        }
        let now_ms = self.host.now_ms();
        self.votes.borrow_mut().give_back(&taken, now_ms);
        match mutants::active(Mutant::DoubtTakenForNo) {
            true => busy,
            false => RecordReply::InDoubt,
        }
    }
}

impl<H: Host> Inner<H> {
    /// Takes out what an address may not add to a post any more this minute, and decides about the
    /// rest: at one moment, so that two attempts of a batch get one verdict.
    fn admit(
        &self,
        request: &RecordRequest<'_>,
        voter: Option<Voter>,
    ) -> Result<Admitted, StorageError> {
        let now_ms = self.host.now_ms();
        self.with_shard(|shard, storage| {
            if request.epoch_ms > shard.epoch_ms() {
                let (began_ms, seed) = (request.epoch_ms, request.seed);
                shard.follow(storage, Epoch { began_ms, seed }, self.host.random())?;
            }
            let mut votes = self.votes.borrow_mut();
            let voter = voter.filter(|_| !mutants::active(Mutant::VotesIgnored));
            let sifted = votes.sift(request, voter, now_ms, |key| shard.knows(key));
            let Sifted {
                batch,
                too_many,
                is_empty,
                taken,
            } = sifted.unwrap_or_default();
            let admission = if is_empty {
                Admission::Answer(RecordReply::counted(false))
            } else {
                let batch = batch.as_deref().unwrap_or(request.batch);
                shard.admit(&RecordRequest { batch, ..*request }, now_ms)
            };
            if let Admission::Answer(_) = admission {
                votes.give_back(&taken, now_ms);
            }
            Ok(Admitted {
                admission,
                too_many,
                taken,
                waiting: shard.waiting(),
            })
        })
    }

    /// Waits until the commit of a ticket is durable and counted. Fails where nobody knows whether it
    /// ever will be.
    fn committed(&self, ticket: u64) -> oneshot::Receiver<()> {
        let (sender, committed) = oneshot::channel();
        let mut waiters = self.waiters.borrow_mut();
        waiters.entry(ticket).or_default().push(sender);
        committed
    }

    /// Commits until nothing waits.
    async fn commit_all(&self) {
        self.ensure_push().await;
        loop {
            if self.arrivals.get().reach(self.limits.group_after_a_second) {
                self.wait_for_group().await;
            }
            self.commit_once().await;
            if !self.push_timer.get().is_busy() || !self.alarm_is_set() {
                // It may have begun what is to be sealed sooner, or have made the shard a busy one; or the alarm was
                // refused before.
                self.ensure_push().await;
            }
            // Whoever came during all of this left it to this task.
            if self.look(|shard| shard.waiting().0 > 0) != Some(true) {
                return;
            }
        }
    }

    /// Commits one group: it is written, durable, counted, answered.
    async fn commit_once(&self) {
        let written = self.with_shard(|shard, storage| {
            self.cut_if_due(shard, storage)?;
            let written = shard.commit(storage, self.host.now_ms())?;
            Ok((written, shard.sync_point()))
        });
        let Ok((true, point)) = written else {
            return;
        };
        panics::point("written");
        let mut too_early = None;
        if mutants::active(Mutant::AcknowledgeBeforeDurable) {
            self.answer(u64::MAX);
        }
        if mutants::active(Mutant::RecordBeforeDurable) {
            let counted = self.with_shard(|shard, _| Ok(shard.committed(self.host.now_ms())));
            too_early = counted.ok().flatten();
        }
        if self.sync().await.is_err() {
            return;
        }
        panics::point("durable");
        let counted = self.with_shard(|shard, storage| {
            self.cut_if_due(shard, storage)?;
            let now_ms = self.host.now_ms();
            let tickets = shard.committed(now_ms).or(too_early);
            shard.synced(point);
            if shard.checkpoint_is_needed() {
                shard.checkpoint(storage, now_ms)?;
            }
            Ok(tickets)
        });
        let Ok(tickets) = counted else {
            return;
        };
        self.storage_fails.set(false);
        if let Some(tickets) = tickets {
            self.answer(*tickets.end());
        }
    }

    /// Tells whoever waits for a ticket up to this one that their batches are counted.
    fn answer(&self, last_ticket: u64) {
        let mut waiters = self.waiters.borrow_mut();
        let next_ticket = last_ticket.saturating_add(1);
        let later = waiters.split_off(&next_ticket);
        let answered = std::mem::replace(&mut *waiters, later);
        for waiter in answered.into_values().flatten() {
            // A sender that hung up does not wait any more.
            let _ = waiter.send(());
        }
    }

    /// Cuts the log if it is time, and notes that a push is owed at once, however recent the last one is.
    pub(super) fn cut_if_due(
        &self,
        shard: &mut Shard,
        storage: &H::Storage,
    ) -> Result<(), StorageError> {
        if shard.cut_if_due(storage, self.host.now_ms())? {
            self.cut_is_owed.set(true);
        }
        Ok(())
    }

    fn is_full(&self, (requests, bytes): (usize, usize)) -> bool {
        requests >= self.limits.group_requests || bytes >= GROUP_BYTES
    }

    /// Lets a busy shard's group grow until it is full or its time is over.
    async fn wait_for_group(&self) {
        let waiting = self.look(Shard::waiting);
        if self.is_full(waiting.unwrap_or_default()) {
            return;
        }
        let (full, is_full) = oneshot::channel();
        *self.group_is_full.borrow_mut() = Some(full);
        self.host.within(GROUP_WAIT_MS, is_full).await;
        self.group_is_full.borrow_mut().take();
    }
}
