//! `DAILY_REQUESTS`: how often objects were asked anything today on behalf of this board, as far as its global
//! object sees it, and how much longer what may wait is to take ([`budget`]).
//!
//! # What is counted
//! A push with its alarm and the beacons that it brings; a chart with all that is asked for it; a step of waking; a pull. So it is
//! a little more than the platform counts where Workers have what they need, and never much less.
//!
//! # Cost
//! Objects sleep between two events, so what is counted is stored, but not each time: by chance each eighth
//! event is, for eight. A day of 20,000 events is off by 2 % then, and costs 2,500 rows. Nothing is counted
//! where there is no budget.
//!
//! [`budget`]: crate::budget

use super::Inner;
use crate::budget::stretch;
use crate::codec;
use crate::host::Host;
use crate::storage::{Storage, Table, Write};
use crate::window::DAY_MS;
use crate::wire::{MAX_PUSH_INTERVAL_MS, Push, PushReply, SealedPane, Spent};

/// A Worker asks for the directory, then a shard, which asks here; the catalog is asked.
pub(super) const REQUESTS_A_CHART: u64 = 4;
/// The alarm, and the push.
const REQUESTS_A_PUSH: u64 = 2;
/// One event of so many is stored.
const STORED_OF: u64 = 8;
const SPENT_NAME: &[u8] = b"spent";

/// How many beacons a push brings for good: each was a commit of its own, or shared one with others.
fn beacons_of(push: &Push<'_>) -> u64 {
    let panes = push.entries.iter();
    let panes = panes.filter_map(|pane| codec::decode::<SealedPane<'_>>(pane).ok());
    let commits = panes.map(|pane| (pane.first_seq, pane.last_seq));
    let span = commits.reduce(|(first, last), (from, to)| (first.min(from), last.max(to)));
    span.map_or(0, |(first, last)| last.saturating_sub(first) + 1)
}

impl<H: Host> Inner<H> {
    /// Objects were asked so often for an event.
    pub(super) fn spend(&self, requests: u64) {
        let [chance] = self.host.random();
        if self.settings.daily_requests.is_none() || !u64::from(chance).is_multiple_of(STORED_OF) {
            return;
        }
        let Some(spent) = self.spent() else {
            return;
        };
        let more = requests.saturating_mul(STORED_OF);
        let row = codec::encode(&Spent {
            requests: spent.requests.saturating_add(more),
            ..spent
        });
        let write = Write::put(Table::Meta, SPENT_NAME, row);
        // Where the disk refuses, the state is dropped and it is told: the next event says it.
        let _ = self.with_global(|_, storage| {
            storage.write(&[write])?;
            Ok(())
        });
    }

    /// For the operator; 0 where nothing is counted.
    pub(super) fn requests_today(&self) -> u64 {
        let budget = self.settings.daily_requests;
        let spent = budget.and_then(|_| self.spent());
        spent.map_or(0, |spent| spent.requests)
    }

    /// The requests of today so far, and of the day before; none where the disk refuses: then nothing waits for them.
    fn spent(&self) -> Option<Spent> {
        let row = self.with_global(|_, storage| Ok(storage.get(Table::Meta, SPENT_NAME)?));
        let spent = match row.ok()? {
            None => Spent::default(),
            // What cannot be read is counted anew.
            Some(row) => codec::decode(&row).unwrap_or_default(),
        };
        let today = self.host.now_ms() / DAY_MS;
        if spent.day == today {
            return Some(spent);
        }
        let is_yesterday = spent.day + 1 == today;
        Some(Spent {
            day: today,
            requests: 0,
            requests_before: if is_yesterday { spent.requests } else { 0 },
        })
    }

    /// How many times longer than usual what may wait is to take.
    pub(super) fn stretch(&self) -> u64 {
        self.stretches().0
    }

    /// The same, and the largest stretch that a shard still waiting may have been told.
    pub(super) fn stretches(&self) -> (u64, u64) {
        let budget = self.settings.daily_requests;
        let spent = budget.and_then(|_| self.spent());
        let Some((budget, spent)) = budget.zip(spent) else {
            return (1, 1);
        };
        let now_ms = self.host.now_ms();
        let now = stretch(budget, spent.requests, now_ms);
        let told_ms = now_ms.saturating_sub(MAX_PUSH_INTERVAL_MS);
        // An upper bound of what had been used of its day at `told_ms`: what is used of that by now.
        let used = match told_ms / DAY_MS == spent.day {
            true => spent.requests,
            false => spent.requests_before,
        };
        (now, now.max(stretch(budget, used, told_ms)))
    }

    /// Counts a push, and lets its shard wait longer with the next one where the day is short.
    pub(super) fn spend_on_push(&self, push: &[u8], reply: &mut PushReply) {
        if self.settings.daily_requests.is_none() {
            return;
        }
        let beacons = codec::decode::<Push<'_>>(push).map_or(0, |push| beacons_of(&push));
        self.spend(REQUESTS_A_PUSH + beacons);
        reply.push_interval_ms = self.stretched_ms(reply.push_interval_ms, self.stretch());
    }

    /// How long a shard waits with new plays, where it would wait `interval_ms` otherwise.
    pub(super) fn stretched_ms(&self, interval_ms: u64, stretch: u64) -> u64 {
        let most_ms = MAX_PUSH_INTERVAL_MS.max(interval_ms);
        interval_ms.saturating_mul(stretch).min(most_ms)
    }
}
