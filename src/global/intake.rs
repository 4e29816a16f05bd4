//! Taking pushes: each is checked whole before anything of it is kept.

use std::collections::BTreeMap;

use super::live::{Copies, SentPane};
use super::offsets::{Entries, ShardLog, Taken};
use super::pace::{Loudness, PULL_AFTER_MS};
use super::state::Global;
use crate::codec;
use crate::mutants::{self, Mutant};
use crate::storage::Storage;
use crate::summary::Summary;
use crate::topology::{GLOBAL_SCOPE, MAX_REGIONS, MAX_SHARDS};
use crate::window::{Level, PaneKey};
use crate::wire::{MAX_PANE_AHEAD_MS, Push, PushReply, Refusal, SealedPane, ShardName};

use super::{BUSY_WITHIN_MS, GONE_AFTER_MS, HEARD_AFTER_MS, PUSHED_AFTER_MS};

/// A push whose every part was found to be sound.
struct CheckedPush<'a> {
    shard: ShardName,
    push: Push<'a>,
    /// One an offset; `None` for a gap.
    entries: Vec<Option<SentPane>>,
    /// Without those that are passed over, as no chart of now has them.
    copies: Vec<SentPane>,
    /// There is no room for any.
    lacks_copies: bool,
    /// When it was asked for, where it was.
    pulled_ms: Option<u64>,
}

impl CheckedPush<'_> {
    fn loudness(&self) -> Loudness {
        let panes = || self.entries.iter().flatten().chain(&self.copies);
        let minutes = panes().filter(|pane| pane.key.level == Level::Minute);
        Loudness {
            plays_a_minute: minutes.map(|pane| pane.plays).max().unwrap_or(0),
            bytes: panes().map(|pane| pane.summary.len()).sum(),
        }
    }
}

impl Global {
    /// Takes a push, also where memory is short: refusing it would keep what could be freed. `is_short`
    /// says so, of all that the instance holds and with what the push itself takes.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed, but for [`Refusal::Storage`]: drop this state and load it anew.
    pub fn take_push_within(
        &mut self,
        storage: &impl Storage,
        push: &[u8],
        is_short: impl Fn(&Self) -> bool,
        now_ms: u64,
    ) -> Result<PushReply, Refusal> {
        self.take_within(storage, push, None, is_short, now_ms)
    }

    /// Takes what a shard answered when it was asked for it, at that time. Nobody tells it so.
    ///
    /// # Errors
    /// As [`Global::take_push_within`].
    pub fn take_pulled_within(
        &mut self,
        storage: &impl Storage,
        push: &[u8],
        asked_ms: u64,
        is_short: impl Fn(&Self) -> bool,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let taken = self.take_within(storage, push, Some(asked_ms), is_short, now_ms);
        taken.map(|_| ())
    }

    fn take_within(
        &mut self,
        storage: &impl Storage,
        push: &[u8],
        pulled_ms: Option<u64>,
        is_short: impl Fn(&Self) -> bool,
        now_ms: u64,
    ) -> Result<PushReply, Refusal> {
        self.end_idle_export(storage, now_ms)?;
        if is_short(self) {
            self.free_memory(storage, now_ms)?;
        }
        let with_copies = !is_short(self);
        self.take_as_checked(push, with_copies, pulled_ms, now_ms)
    }

    /// Takes a push. The reply may be sent at once: it promises only what is durable.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was changed.
    pub fn take_push(&mut self, push: &[u8], now_ms: u64) -> Result<PushReply, Refusal> {
        self.take_as_checked(push, true, None, now_ms)
    }

    /// The clock is looked at. Where it went back, what was merged before would be fresh again when its time comes.
    pub fn clock_is(&mut self, now_ms: u64) {
        if now_ms < self.seen_ms {
            self.live.forget_scopes();
            self.forget_made();
        }
        self.seen_ms = now_ms;
        self.latest_ms = self.latest_ms.max(now_ms);
    }

    fn take_as_checked(
        &mut self,
        push: &[u8],
        with_copies: bool,
        pulled_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<PushReply, Refusal> {
        self.clock_is(now_ms);
        self.started_ms.set(self.started_ms.get().or(Some(now_ms)));
        let taken = self
            .check_push(push, with_copies, now_ms)
            .map(|push| self.take(CheckedPush { pulled_ms, ..push }, now_ms));
        // Of a later epoch it is asked for first.
        let is_refused = !matches!(taken, Ok(_) | Err(Refusal::LaterEpoch));
        self.refused_pushes += u64::from(is_refused);
        taken
    }

    /// Whether this keeps what the sender is to keep: see [`PushLimits`](crate::wire::PushLimits).
    fn is_within_limits(&self, push: &Push<'_>) -> bool {
        let bytes = |panes: &[&[u8]]| panes.iter().map(|pane| pane.len()).sum::<usize>();
        let (entries, copies) = (bytes(&push.entries), bytes(&push.copies));
        let is_one = push.entries.len() == 1;
        (is_one || entries + copies <= self.limits.push.bytes)
            && copies <= self.limits.push.copy_bytes
            && (is_one || push.entries.len() + push.copies.len() <= self.limits.push.panes)
    }

    fn check_push<'a>(
        &self,
        push: &'a [u8],
        with_copies: bool,
        now_ms: u64,
    ) -> Result<CheckedPush<'a>, Refusal> {
        let invalid = |detail: String| Refusal::Invalid(detail);
        let push: Push<'_> = codec::decode(push).map_err(|error| invalid(error.to_string()))?;
        if !self.table.knows_key(push.region_id) {
            self.note_lost_region(push.region_id, now_ms);
            return Err(Refusal::UnknownRegion);
        }
        if push.epoch_ms > self.table.epoch_ms.max(self.taken_epoch_ms) {
            self.refused_epoch_ms.set(push.epoch_ms);
            return Err(Refusal::LaterEpoch);
        }
        if self.offsets.is_damaged(push.region_id) {
            return Err(Refusal::Damaged(format!(
                "offsets of region {}",
                push.region_id
            )));
        }
        let last = push.first_offset.checked_add(push.entries.len() as u64);
        let contradicts = push.shard >= MAX_SHARDS
            || push.first_offset < push.oldest_offset
            || last.is_none_or(|last| last > push.next_offset);
        if contradicts {
            return Err(invalid("offsets contradict each other".into()));
        }
        if !self.is_within_limits(&push) {
            return Err(invalid("more than a push may hold".into()));
        }
        let shard = (push.region_id.to_owned(), push.shard);
        let log = (push.log_id, push.log_began_ms);
        if self.offsets.is_forgotten(&shard, log) {
            return Err(invalid("a log that was forgotten".into()));
        }
        let mut entries = Vec::with_capacity(push.entries.len());
        for entry in &push.entries {
            entries.push(match *entry {
                [] => None,
                pane => self.check_pane(pane, &BTreeMap::new(), now_ms)?,
            });
        }
        let known = self.live.last_copies(&shard);
        let mut copies = Vec::with_capacity(push.copies.len());
        for copy in push.copies.iter().filter(|_| with_copies) {
            copies.extend(self.check_pane(copy, &known, now_ms)?);
        }
        Ok(CheckedPush {
            shard,
            lacks_copies: !with_copies && !push.copies.is_empty(),
            push,
            entries,
            copies,
            pulled_ms: None,
        })
    }

    /// `known`: what its shard has sent before, by pane and first commit. The same need not be looked at
    /// again. `None` for one that is passed over: see [`MAX_PANE_AHEAD_MS`]. To refuse it would refuse all
    /// that comes with it, until its time has come.
    fn check_pane(
        &self,
        pane: &[u8],
        known: &BTreeMap<(PaneKey, u64), &SentPane>,
        now_ms: u64,
    ) -> Result<Option<SentPane>, Refusal> {
        let invalid = |detail: String| Refusal::Invalid(detail);
        let pane: SealedPane<'_> =
            codec::decode(pane).map_err(|error| invalid(format!("pane: {error}")))?;
        let key = Level::from_code(pane.level)
            .and_then(|level| PaneKey::checked(level, pane.start_ms, pane.end_ms))
            .ok_or_else(|| invalid("pane: no such span".into()))?;
        if pane.first_seq > pane.last_seq {
            return Err(invalid("pane: no such commits".into()));
        }
        // A clock that is behind makes no pane one of the future.
        let latest_ms = now_ms.max(self.latest_ms);
        if key.start_ms > latest_ms.saturating_add(MAX_PANE_AHEAD_MS) {
            return Ok(None);
        }
        let (decoded_bytes, plays) = match known.get(&(key, pane.first_seq)) {
            Some(known) if *known.summary == *pane.summary => (known.decoded_bytes, known.plays),
            _ => {
                let summary = Summary::decode(pane.summary, self.seed());
                let summary = summary.map_err(|error| invalid(format!("summary: {error}")))?;
                (summary.heap_bytes(), summary.total())
            }
        };
        Ok(Some(SentPane {
            key,
            first_seq: pane.first_seq,
            last_seq: pane.last_seq,
            summary: pane.summary.into(),
            decoded_bytes,
            plays,
        }))
    }

    fn take(&mut self, checked: CheckedPush<'_>, now_ms: u64) -> PushReply {
        let loudness = checked.loudness();
        let CheckedPush {
            shard,
            push,
            entries,
            copies,
            lacks_copies,
            pulled_ms,
        } = checked;
        if push.epoch_ms < self.table.epoch_ms && !mutants::active(Mutant::OldEpochTaken) {
            // It was counted before counting began anew: the shard forgets it when it hears of it.
            return PushReply {
                wanted_offset: push.first_offset,
                durable_offset: push.oldest_offset,
                epoch_ms: self.table.epoch_ms,
                seed: self.table.seed,
                push_interval_ms: self.pace.interval_ms(),
                is_quiet: false,
                watched_since_ms: self.watched_since_ms,
                state: self.number,
                days: self.kept_days.told(now_ms),
            };
        }
        let is_quiet = loudness.is_quiet(self.offsets.is_quiet(&shard));
        let pulled_shards = self.offsets.quiet_open();
        // Those that were told to push stay among them until they have heard it: then who comes gives way to them.
        let most = self.limits.pulled_shards - usize::from(!pulled_shards.contains(&shard));
        let has_turn = pulled_shards.len() <= most;
        // Asked for, or to be asked for: it does not answer, and pushes.
        let is_untold = !self.is_told(&shard, now_ms.saturating_sub(PULL_AFTER_MS), now_ms);
        let is_awaited = pulled_ms.is_some() || pulled_shards.contains(&shard) && is_untold;
        let is_closing = self.closing_is_due(now_ms);
        // Until the moment is kept, however late that is.
        let cutting = self.cutting.as_mut();
        let limit = cutting.and_then(|cutting| cutting.limit(&shard, &push));
        let log = self
            .offsets
            .log(&shard, (push.log_id, push.log_began_ms), push.oldest_offset);
        let shown_seq = log.shown_seq();
        let mut is_news = push.journal_seq > shown_seq;
        let pause_ms = now_ms.saturating_sub(log.last_heard_ms);
        if pulled_ms.is_none() {
            self.pace.add(pause_ms, now_ms);
        }
        if is_closing && log.has_open {
            // What comes now is not in the charts that are closed.
            let heard_ms = self.heard_late.entry(shard.clone());
            heard_ms.or_insert(log.last_heard_ms);
        }
        log.last_heard_ms = now_ms;
        let mut gaps = 0;
        let mut shows_other = false;
        if let Entries::Next { skip } = log.entries(push.first_offset) {
            let skip = match mutants::active(Mutant::FoldWithoutOffsetCheck) {
                true => 0,
                false => skip,
            };
            let most = limit.map_or(usize::MAX, |limit| {
                usize::try_from(limit.saturating_sub(log.accepted)).unwrap_or(usize::MAX)
            });
            // What is folded at once is bounded: the shard sends the rest again when it hears of it.
            let mut late_bytes = self.live.pending_late_bytes;
            let entries = entries.into_iter().skip(skip).take(most);
            let entries = entries.take_while(|entry| {
                let has_room = late_bytes < self.limits.late_bytes;
                late_bytes += entry.as_ref().map_or(0, SentPane::late_bytes);
                has_room
            });
            let taken: Vec<Option<SentPane>> = entries.collect();
            shows_other = !taken.is_empty();
            if shows_other {
                log.accepted += taken.len() as u64;
                gaps = taken.iter().filter(|pane| pane.is_none()).count() as u64;
                let panes: Vec<SentPane> = taken.into_iter().flatten().collect();
                is_news |= panes.iter().any(|pane| pane.last_seq > shown_seq);
                self.live.add_pending(&shard, panes, now_ms);
            }
        }
        let are_entries_missing = log.accepted < push.next_offset;
        let mut reply = PushReply {
            wanted_offset: log.accepted,
            durable_offset: log.durable,
            // A later one, where this object was set back: the shard stays where it is.
            epoch_ms: self.table.epoch_ms.max(push.epoch_ms),
            seed: self.table.seed,
            push_interval_ms: self.pace.interval_ms(),
            is_quiet: false,
            watched_since_ms: self.watched_since_ms,
            state: self.number,
            days: self.kept_days.told(now_ms),
        };
        self.offsets.gaps += gaps;
        if let Some(asked_ms) = pulled_ms {
            self.offsets.told(&shard, asked_ms, now_ms);
        }
        // What was missing before may be in any of them.
        is_news |= self.lacks_live_plays(&shard.0, now_ms);
        self.news += u64::from(is_news);
        if !self.offsets.has_come_late(&shard, &push) {
            // It may be of before what a state before this one has taken, and lost: then it does not stand for that.
            let is_newest = pulled_ms.is_some()
                || push.replied_by == self.number
                || mutants::active(Mutant::HeardByOldPushes);
            let was_missed = is_newest && self.unheard.remove(&shard).is_some();
            if was_missed && pulled_ms.is_none() {
                self.live.nothing_missing_since(&shard, now_ms);
            }
            let silent = mutants::active;
            let incomplete = push.copies_left_out
                || lacks_copies && !silent(Mutant::CopiesLeftInSilence)
                || are_entries_missing && !silent(Mutant::EntriesMissingInSilence);
            let is_whole = !incomplete && !lacks_copies;
            reply.is_quiet = is_quiet && has_turn && is_whole && pulled_ms.is_none();
            let taken = match pulled_ms {
                Some(_) => Taken::Pulled,
                None => Taken::Pushed {
                    is_quiet: reply.is_quiet,
                    watched_since_ms: reply.watched_since_ms,
                },
            };
            let is_missed = self.unheard.contains_key(&shard);
            (self.offsets).copies_taken(&shard, &push, taken, is_missed);
            let copies = Copies {
                log_id: push.log_id,
                incomplete,
                panes: copies,
                received_ms: now_ms,
            };
            let is_pulled = pulled_ms.is_some();
            let are_others =
                (self.live).take_copies(&shard, copies, are_entries_missing, is_pulled);
            shows_other |= are_others || was_missed;
        }
        if is_awaited && shows_other {
            // Somebody waits for it, and is to have it.
            self.live.forget_scopes();
            self.forget_made();
        }
        self.make_room();
        reply
    }

    /// Shards know this state by a number from now on.
    pub fn is_known_by(&mut self, number: u64) {
        self.number = number;
    }

    /// Shards are told from now on since when somebody watches, if anybody does.
    pub fn set_watched(&mut self, since_ms: Option<u64>) {
        self.watched_since_ms = since_ms;
    }

    /// Counts pushes that brought plays which no chart of before shows.
    pub fn news(&self) -> u64 {
        self.news
    }

    /// How long shards wait between two pushes, by what they were told.
    pub fn told_interval_ms(&self, now_ms: u64) -> u64 {
        self.pace.told_ms(now_ms)
    }

    /// How a shard's log stands: what a reply to its last push may say.
    pub fn standing(&self, shard: &ShardName, log_id: u128) -> Option<&ShardLog> {
        self.offsets.find(shard, log_id)
    }

    /// Whether a state that is loaded after a crash might not know what it lacks of a region.
    pub fn is_undurable(&self, region_id: &str) -> bool {
        self.offsets.is_undurable(region_id)
    }

    /// The shards of a scope that are to be asked what they have, since nobody knows that since a moment:
    /// quiet ones with something open, and after a start those that are missed. At most one more than are asked at
    /// once: then there are others.
    pub fn to_pull(&self, scope: &str, since_ms: u64, now_ms: u64) -> Vec<ShardName> {
        let key = self.key_of(scope);
        let in_scope = |shard: &&ShardName| scope == GLOBAL_SCOPE || shard.0 == key;
        let is_old = |shard: &&ShardName| !self.is_told(shard, since_ms, now_ms);
        let quiet = self.offsets.quiet_open().iter().filter(in_scope);
        let missed = self.unheard.iter().filter(|(shard, heard_ms)| {
            let is_quiet = self.offsets.quiet_open().contains(*shard);
            !is_quiet && now_ms.saturating_sub(**heard_ms) < GONE_AFTER_MS
        });
        let missed = missed.map(|(shard, _)| shard).filter(in_scope);
        let mut shards: Vec<&ShardName> = quiet.filter(is_old).chain(missed).collect();
        // In turn, where they are more.
        shards.sort_by_key(|shard| self.offsets.told_ms(shard));
        let shards = shards.into_iter().take(self.limits.pulled_shards + 1);
        shards.cloned().collect()
    }

    /// The oldest of the moments at which quiet shards of a scope were asked what they have, of those since one:
    /// what was counted by then is in charts. None where there are none.
    pub fn told_by_ms(&self, scope: &str, since_ms: u64, now_ms: u64) -> Option<u64> {
        let key = self.key_of(scope);
        let in_scope = |shard: &&ShardName| scope == GLOBAL_SCOPE || shard.0 == key;
        let quiet = self.offsets.quiet_open().iter().filter(in_scope);
        let told_ms = quiet.map(|shard| self.offsets.told_ms(shard));
        told_ms
            .filter(|told_ms| (since_ms..=now_ms).contains(told_ms))
            .min()
    }

    /// Whether a shard has told what it has when it was asked since a moment. One that has nothing open tells
    /// by itself, and so does a busy one, and one that knows that somebody watches.
    pub fn is_told(&self, shard: &ShardName, since_ms: u64, now_ms: u64) -> bool {
        let told_ms = self.offsets.told_ms(shard);
        let is_told = match mutants::active(Mutant::PulledOnce) {
            true => told_ms > 0,
            // Where the clock was set back, nobody knows how long ago that is.
            false => (since_ms..=now_ms).contains(&told_ms),
        };
        let is_quiet = self.offsets.quiet_open().contains(shard);
        let is_to_tell = !is_quiet || self.offsets.tells_soon(shard);
        is_told || is_to_tell && !self.unheard.contains_key(shard)
    }

    /// Whether a shard was not heard from for so long that no chart lacks what it may have.
    pub fn is_gone(&self, shard: &ShardName, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.offsets.heard_ms(shard)) >= GONE_AFTER_MS
    }

    /// The registry does not know of a region any more: what its shards have is in no chart.
    pub(super) fn note_lost_region(&self, region_id: &str, now_ms: u64) {
        let mut lost = self.lost_regions.borrow_mut();
        if lost.len() < MAX_REGIONS || lost.contains_key(region_id) {
            lost.insert(region_id.to_owned(), now_ms);
        }
    }

    pub(super) fn lacks_lost_regions(&self, now_ms: u64) -> bool {
        let lost = self.lost_regions.borrow();
        lost.values()
            .any(|refused_ms| now_ms.saturating_sub(*refused_ms) < GONE_AFTER_MS)
    }

    /// Whether a shard of a scope had something open that was played before a moment, and was not heard from since.
    pub(super) fn misses_plays_before(&self, scope: &str, until_ms: u64, now_ms: u64) -> bool {
        let late = self.heard_late.iter();
        let late = late.map(|(shard, heard_ms)| (shard, *heard_ms));
        // Nobody asks a quiet one for charts that nobody looks at.
        let missed = self.unheard.iter();
        let missed = missed.filter(|(shard, _)| !self.offsets.is_quiet(shard));
        let missed = missed.map(|(shard, heard_ms)| (shard, *heard_ms));
        let mut open = self.offsets.with_open().chain(late).chain(missed);
        open.any(|((region_id, _), heard_ms)| {
            let in_scope = scope == GLOBAL_SCOPE || region_id == scope;
            let may_come = now_ms.saturating_sub(heard_ms) < GONE_AFTER_MS;
            in_scope && may_come && heard_ms < until_ms
        }) || scope == GLOBAL_SCOPE && self.lacks_lost_regions(now_ms)
    }

    /// Whether a busy shard of a scope was heard from shortly before this state was loaded: then it may have
    /// something open. A shard that has pushes all the time.
    fn was_busy(&self, scope: &str, started_ms: u64) -> bool {
        let mut heard = self.heard_before.iter();
        let was_busy = heard.any(|(region_id, heard_ms)| {
            let in_scope = scope == GLOBAL_SCOPE || region_id == scope;
            in_scope && started_ms.saturating_sub(*heard_ms) < BUSY_WITHIN_MS
        });
        // What was heard after the last flush was not stored yet, if that was so shortly before. An object
        // that was asleep had nothing of it.
        let unsaved_ms = self.limits.flush_after_ms + PUSHED_AFTER_MS;
        was_busy || started_ms.saturating_sub(self.saved_ms) < unsaved_ms
    }

    /// Whether charts of a scope may lack plays that were in them before: copies did not fit, or this
    /// state was loaded a moment ago and shards have not told yet what they have open.
    pub(super) fn lacks_live_plays(&self, scope: &str, now_ms: u64) -> bool {
        self.lacks_known_shards(scope, now_ms)
            || scope == GLOBAL_SCOPE && self.lacks_lost_regions(now_ms)
    }

    /// The same of the regions that the registry knows.
    pub(super) fn lacks_known_shards(&self, scope: &str, now_ms: u64) -> bool {
        let started_ms = self.started_ms.get().unwrap_or(now_ms);
        self.started_ms.set(Some(started_ms));
        let heard_after_ms = HEARD_AFTER_MS.max(2 * self.pace.told_ms(now_ms));
        let is_new = now_ms.saturating_sub(started_ms) < heard_after_ms;
        let in_scope = |shard: &&ShardName| scope == GLOBAL_SCOPE || shard.0 == scope;
        is_new && self.was_busy(scope, started_ms)
            || self.unheard.iter().any(|(shard, heard_ms)| {
                in_scope(&shard) && now_ms.saturating_sub(*heard_ms) < GONE_AFTER_MS
            })
            || self.live.is_incomplete(scope, now_ms)
    }
}
