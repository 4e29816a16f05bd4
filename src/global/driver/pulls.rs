//! Asking quiet shards what they have, when somebody looks: once for all who wait. Also after a start, which copies
//! of open panes do not survive. `docs/inside/how-it-works.md` ("Busy and quiet") has the rules.
//!
//! # Cost and limits
//! One request a shard, and at most one in [`PULL_AFTER_MS`], however many look; [`MAX_PULLED_SHARDS`] shards at
//! once. A shard that had something open when that was last stored is asked after a start in any case, unless it
//! has pushed twice since. Nobody waits longer than [`PULL_WAIT_MS`] for a shard that does not answer, nor after
//! others have, nor where [`MAX_WAITING_READERS`] wait already: the chart says that it is `incomplete`.
//!
//! [`MAX_PULLED_SHARDS`]: crate::global::pace::MAX_PULLED_SHARDS

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use futures_channel::oneshot;
use futures_util::future::join_all;

use super::{Driver, Inner};
use crate::board::ObjectName;
use crate::codec;
use crate::global::Global;
use crate::global::pace::PULL_AFTER_MS;
use crate::host::Host;
use crate::mutants::{self, Mutant};
use crate::topology::GLOBAL_SCOPE;
use crate::wire::*;

/// A reader waits so long: half of what it waits for a chart in all.
const PULL_WAIT_MS: u64 = 1_500;
/// A shard may take so long: what comes late serves the next reader.
const PULL_TIMEOUT_MS: u64 = 5_000;

/// Readers who wait at once, each for as many shards as are asked: about 6 kB a reader, 3 MB in all. Charts of
/// those who come after them say that they lack something.
pub const MAX_WAITING_READERS: usize = 500;

/// The shards that are asked, or were a moment ago and have not answered.
#[derive(Default)]
pub struct Pulls {
    asked: RefCell<BTreeMap<ShardName, Asked>>,
    /// Each reader who waits has one more handle of it.
    readers: Rc<()>,
}

impl Pulls {
    /// Whether a shard is being asked, and a reader is not to wait with the others: these wait no more, or are
    /// too many.
    fn is_in_vain(&self, shard: &ShardName, may_wait: bool, now_ms: u64) -> bool {
        let asked = self.asked.borrow();
        asked.get(shard).is_some_and(|asked| {
            let waits_no_more = now_ms.abs_diff(asked.at_ms) >= PULL_WAIT_MS;
            asked.waiters.is_some() && (!may_wait || waits_no_more)
        })
    }
}

struct Asked {
    at_ms: u64,
    /// Who waits for the answer; dropping them wakes them. None where there was none.
    waiters: Option<Vec<oneshot::Sender<()>>>,
}

/// Until when everything is in a chart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh {
    /// Everything that was counted by then; of who pushes by itself, what was counted [`PUSH_INTERVAL_MS`] before.
    pub as_of_ms: u64,
    /// How long shards that push by themselves wait, by what they were told.
    pub interval_ms: u64,
    /// A shard did not answer.
    pub is_lacking: bool,
}

impl<H: Host> Inner<H> {
    /// Sees to it that what shards of a scope have is known, for who looks at it.
    pub(super) async fn refresh(self: &Rc<Self>, scope: &str) -> Fresh {
        self.refresh_for(scope, self.stretches()).await
    }

    /// The same for whom everything takes so many times longer, and did when shards were told.
    pub(super) async fn refresh_for(
        self: &Rc<Self>,
        scope: &str,
        (stretch, told_stretch): (u64, u64),
    ) -> Fresh {
        let now_ms = self.host.now_ms();
        // Where the day's requests are short, what is known serves longer, and of readers for whom this object
        // was woken, only one of so many has the shards asked: the others' charts say that they lack something.
        let asks = u64::from(u32::from_le_bytes(self.host.random())).is_multiple_of(stretch);
        let since_ms = now_ms.saturating_sub(PULL_AFTER_MS.saturating_mul(stretch));
        // An error comes again where the chart is made.
        let found = self.with_global(|global, _| {
            let shards = global.to_pull(scope, since_ms, now_ms);
            Ok((shards, global.told_interval_ms(now_ms)))
        });
        let (shards, interval_ms) = found.unwrap_or_default();
        // Of those who push by themselves, and of one that has nothing open as far as is known.
        let interval_ms = self.stretched_ms(interval_ms, told_stretch);
        let late_ms = interval_ms.saturating_sub(PUSH_INTERVAL_MS);
        let whole = Fresh {
            as_of_ms: now_ms.saturating_sub(late_ms),
            interval_ms,
            is_lacking: false,
        };
        let reader = Rc::clone(&self.pulls.readers);
        let may_wait = Rc::strong_count(&reader) <= MAX_WAITING_READERS + 1;
        let most = self.settings.limits.pulled_shards;
        let answers: Vec<_> = shards
            .iter()
            .take(most)
            .filter(|shard| asks && !self.pulls.is_in_vain(shard, may_wait, now_ms))
            .filter_map(|shard| self.pull(shard, now_ms))
            .collect();
        if !answers.is_empty() && may_wait {
            self.host.within(PULL_WAIT_MS, join_all(answers)).await;
        }
        drop(reader);
        let told = self.with_global(|global, _| {
            let answered_ms = self.host.now_ms();
            let is_told = |shard: &ShardName| {
                global.is_told(shard, since_ms, answered_ms) || global.is_gone(shard, answered_ms)
            };
            let told_by_ms = global.told_by_ms(scope, since_ms, answered_ms);
            Ok((shards.iter().all(is_told), told_by_ms))
        });
        let Ok((are_told, told_by_ms)) = told else {
            return whole;
        };
        Fresh {
            as_of_ms: told_by_ms.map_or(whole.as_of_ms, |told_ms| told_ms.min(whole.as_of_ms)),
            is_lacking: !are_told && !mutants::active(Mutant::SilentTakenForFresh),
            ..whole
        }
    }

    /// Tells quiet shards with something open that somebody watches now, as pulls do. Others hear it in the
    /// replies to their pushes; who does not answer makes the next chart incomplete, and is asked for that.
    pub(super) fn tell_quiet_shards(self: &Rc<Self>) {
        let now_ms = self.host.now_ms();
        let shards =
            self.with_global(|global, _| Ok(global.to_pull(GLOBAL_SCOPE, u64::MAX, now_ms)));
        let inner = Rc::clone(self);
        self.host.spawn(async move {
            let mut shards = shards.unwrap_or_default();
            shards.truncate(inner.settings.limits.pulled_shards);
            let is_under_way = |shard: &&ShardName| inner.pulls.asked.borrow().contains_key(*shard);
            // A question that is under way says nothing of it.
            let again: Vec<_> = shards.iter().filter(is_under_way).collect();
            join_all(shards.iter().filter_map(|shard| inner.pull(shard, now_ms))).await;
            let now_ms = inner.host.now_ms();
            for shard in again {
                // Nobody waits for the answer.
                let _ = inner.pull(shard, now_ms);
            }
        });
    }

    /// Asks a shard, or waits with those who do. `None` where it was asked a moment ago and did not answer.
    fn pull(self: &Rc<Self>, shard: &ShardName, now_ms: u64) -> Option<oneshot::Receiver<()>> {
        let (waiter, answered) = oneshot::channel();
        let mut pulls = self.pulls.asked.borrow_mut();
        pulls.retain(|_, asked| {
            asked.waiters.is_some() || now_ms.abs_diff(asked.at_ms) < PULL_AFTER_MS
        });
        if let Some(asked) = pulls.get_mut(shard) {
            asked.waiters.as_mut()?.push(waiter);
            return Some(answered);
        }
        let asked = Asked {
            at_ms: now_ms,
            waiters: Some(vec![waiter]),
        };
        pulls.insert(shard.clone(), asked);
        let (driver, shard) = (Driver(Rc::clone(self)), shard.clone());
        self.host.spawn(async move {
            let pulled = driver.pull_once(&shard, now_ms).await;
            let inner = &driver.0;
            let mut pulls = inner.pulls.asked.borrow_mut();
            match pulled {
                Ok(()) => drop(pulls.remove(&shard)),
                Err(error) => {
                    let (region_id, number) = &shard;
                    let what = format_args!("pull of {region_id}/{number}: {error}");
                    inner.host.report(what);
                    inner.counters.borrow_mut().failed_pulls += 1;
                    if let Some(asked) = pulls.get_mut(&shard) {
                        asked.waiters = None;
                    }
                }
            }
        });
        Some(answered)
    }
}

impl<H: Host> Driver<H> {
    async fn pull_once(&self, shard: &ShardName, asked_ms: u64) -> Result<(), String> {
        let host = &self.0.host;
        self.0.counters.borrow_mut().pulls += 1;
        let loads = self.0.counters.borrow().loads;
        self.0.spend(1);
        let (key, number) = shard;
        let board = host.object().board().unwrap_or_default();
        let object = ObjectName::shard(board, key, *number);
        let question = Pull {
            watched_since_ms: self.0.watchers.since_ms(host.now_ms()),
        };
        let answer = host.ask_question(&object, &question, PULL_TIMEOUT_MS).await;
        let report = answer.map_err(|error| error.0)?;
        let report = report.map_err(|refusal| format!("{refusal:?}"))?;
        let report = codec::decode::<ShardReport<'_>>(&report);
        let report = report.map_err(|error| error.to_string())?;
        if (report.region_id, report.shard) != (key.as_str(), *number) {
            return Err("it is another shard".into());
        }
        let is_short = |_: &Global| host.memory_is_short(4 * report.push.len());
        let take = async || {
            self.0.with_global(|global, storage| {
                // What the shard has pushed since it was made may be lost with the state that took it.
                if self.0.counters.borrow().loads != loads {
                    return Err(Refusal::Waking);
                }
                let (known, now_ms) = (global.news(), host.now_ms());
                global.take_pulled_within(storage, report.push, asked_ms, is_short, now_ms)?;
                Ok(global.news() != known)
            })
        };
        let taken = self.0.having_heard(take).await;
        if taken.map_err(|refusal| format!("{refusal:?}"))? {
            self.0.tell_watchers();
        }
        self.keep_figures(&report);
        Ok(())
    }
}
