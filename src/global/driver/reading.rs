//! Charts, pages of posts and the list of regions: each in its turn ([`Turns`]), and what takes
//! long in steps between which others have theirs.
//!
//! [`Turns`]: crate::global::turns::Turns

use std::rc::Rc;

use futures_channel::oneshot;

use super::spending::REQUESTS_A_CHART;
use super::{Driver, Inner};
use crate::codec;
use crate::global::pages::{MAX_MAKING_MS, PageAnswer};
use crate::global::post::PostPage;
use crate::global::region_list::RegionList;
use crate::global::turns::Turn;
use crate::global::{Done, Global};
use crate::host::Host;
use crate::leaderboard::Leaderboard;
use crate::panics;
use crate::topology::GLOBAL_SCOPE;
use crate::wire::*;

/// Where a part took longer, others have their turn before the next.
pub(super) const US_AT_ONCE: u64 = 10_000;
/// A chart or page is made at most this often. Between two makings up to [`MAX_ASKED_IDS`] more posts are looked up:
/// 8,192 in all, less those already known.
pub(super) const MAX_MAKINGS: u32 = 5;
/// A timer as short as there is.
const READER_LOOK_MS: u64 = 1;

impl<H: Host> Driver<H> {
    /// `/chart`: [`ChartRequest`] → [`ChartReply`]
    pub async fn chart(&self, message: &[u8]) -> Vec<u8> {
        let chart = self.0.having_heard(async || self.0.chart(message).await);
        codec::encode(&ChartReply(chart.await))
    }

    /// `/chart-if-awake`: [`ChartRequest`] → [`ChartReply`]. An object that was asleep does one step of what goes before
    /// a chart, and says [`Refusal::Waking`]: each is an invocation, and none takes longer than a plan gives it.
    pub async fn chart_if_awake(&self, message: &[u8]) -> Vec<u8> {
        let waking = match self.0.wake(message).await {
            Ok(false) => return self.chart(message).await,
            Ok(true) => {
                self.0.spend(1);
                Refusal::Waking
            }
            Err(refusal) => refusal,
        };
        codec::encode(&ChartReply(Err(waking)))
    }

    /// `/post`: [`PostQuestion`] → [`PostReply`]
    pub async fn post(&self, message: &[u8]) -> Vec<u8> {
        let post = self.0.having_heard(async || self.0.post(message).await);
        codec::encode(&PostReply(post.await))
    }

    /// `/regions` → [`RegionsReply`]
    pub async fn regions(&self) -> Vec<u8> {
        codec::encode(&RegionsReply(self.0.regions().await))
    }
}

impl<H: Host> Inner<H> {
    /// A step of what goes before a leaderboard, where one is left: the state is loaded, then the shards are asked.
    async fn wake(self: &Rc<Self>, message: &[u8]) -> Result<bool, Refusal> {
        let request = codec::decode::<ChartRequest>(message)?;
        if self.loaded.look(|_| ()).is_none() {
            self.ready().await?;
            return Ok(true);
        }
        let is_published = matches!(request.window, WindowRequest::Published { .. });
        // Where the day's requests are short, shards are asked for few charts, and by chance.
        if is_published || self.stretch() > 1 {
            return Ok(false);
        }
        let loads = self.counters.borrow().loads;
        if self.asked_at_load.replace(loads) == loads {
            return Ok(false);
        }
        let pulls = self.counters.borrow().pulls;
        self.refresh(&request.scope).await;
        Ok(self.counters.borrow().pulls > pulls)
    }

    /// A leaderboard, in its turn.
    async fn chart(self: &Rc<Self>, message: &[u8]) -> Result<Leaderboard, Refusal> {
        let request = codec::decode::<ChartRequest>(message)?;
        self.ready().await?;
        self.counters.borrow_mut().charts += 1;
        self.spend(REQUESTS_A_CHART);
        panics::point("chart");
        let is_published = matches!(request.window, WindowRequest::Published { .. });
        let fresh = match is_published {
            true => {
                self.close_due().await?;
                None
            }
            false => Some(self.refresh(&request.scope).await),
        };
        let mut turn = self.turn_to_filter(&request).await?;
        let made = self.as_known(async || self.chart_as_known(&request, turn.take()).await);
        let (made, is_whole) = made.await;
        // What is made while the catalog is away may lack something.
        made.map(|mut leaderboard| {
            leaderboard.incomplete |= !is_whole;
            if let Some(fresh) = fresh {
                leaderboard.incomplete |= fresh.is_lacking;
                leaderboard.as_of_ms = leaderboard.as_of_ms.min(fresh.as_of_ms);
            }
            leaderboard.exact &= !leaderboard.incomplete;
            leaderboard
        })
    }

    /// Makes something of what is known of the catalog, again as long as something of it was missing. Also
    /// says whether in the end nothing was.
    pub(super) async fn as_known<T>(
        self: &Rc<Self>,
        mut make: impl AsyncFnMut() -> Result<T, Refusal>,
    ) -> (Result<T, Refusal>, bool) {
        let mut makings = 0;
        loop {
            makings += 1;
            let is_fresh = self.hear_of_catalog(false).await;
            let misses = self.catalog.misses();
            let made = make().await;
            let is_whole = self.catalog.misses() == misses;
            if is_whole || makings == MAX_MAKINGS || self.catalog_is_away(self.host.now_ms()) {
                return (made, is_fresh && is_whole);
            }
        }
    }

    /// The turn of a chart whose filter's posts are not known: what the catalog does to find them is done
    /// for who has one. The next question asks for them.
    async fn turn_to_filter(&self, request: &ChartRequest) -> Result<Option<Turn>, Refusal> {
        let (filter, now_ms) = (&request.filter, self.host.now_ms());
        if self.with_global(|global, _| Ok(global.knows_members(filter, now_ms)))? {
            return Ok(None);
        }
        let turn = self.turn_of(request).await?;
        self.with_global(|global, _| {
            let _ = global.members(filter, self.host.now_ms());
            Ok(())
        })?;
        Ok(Some(turn))
    }

    async fn turn_of(&self, request: &ChartRequest) -> Result<Turn, Refusal> {
        let turn = (self.turns.borrow_mut()).chart(request, self.host.now_ms());
        if turn.is_none() {
            self.counters.borrow_mut().refused_charts += 1;
        }
        self.wait_for(turn).await
    }

    /// A leaderboard of what is known of the catalog, in its turn: one that has begun, or a new one.
    async fn chart_as_known(
        &self,
        request: &ChartRequest,
        begun: Option<Turn>,
    ) -> Result<Leaderboard, Refusal> {
        let rules = self.settings.rules;
        let mut turn = match begun {
            Some(turn) => turn,
            None => {
                // What another shard has just asked for needs no turn.
                let now_ms = self.host.now_ms();
                let known =
                    self.with_global(|global, _| Ok(global.known_chart(request, rules, now_ms)))?;
                if let Some(known) = known {
                    return Ok(known);
                }
                self.turn_of(request).await?
            }
        };
        let mut ahead = None;
        let made = self.in_steps(&mut turn, |global, storage| {
            let now_ms = self.host.now_ms();
            let ahead = ahead.get_or_insert_with(|| global.ahead_of_chart(request, now_ms));
            match ahead.pop() {
                Some(next) => global.merge_ahead(storage, next).map(|()| None),
                None => global.chart(storage, request, rules, now_ms).map(Some),
            }
        });
        let made = made.await;
        if !request.filter.is_empty() {
            // What the catalog has read for filters, nobody else pays.
            let postings = self.catalog.postings_to_pay();
            let done = Done {
                postings,
                ..Done::default()
            };
            let now_ms = self.host.now_ms();
            self.turns.borrow_mut().settle(&mut turn, done, now_ms);
        }
        made
    }

    /// One post's numbers, in their turn.
    async fn post(self: &Rc<Self>, message: &[u8]) -> Result<PostReport, Refusal> {
        let PostQuestion { asker, page } = codec::decode::<PostQuestion>(message)?;
        self.ready().await?;
        if page.hidden_too {
            // A moderator has mostly just changed something.
            self.hear_of_catalog(true).await;
        }
        let fresh = self.refresh(&page.scope).await;
        if let Some(known) = self.known_page(&page).await {
            return known;
        }
        let began_ms = self.host.now_ms();
        let turn = self.turns.borrow_mut().page(asker, began_ms);
        if turn.is_some() {
            // Others who ask the same wait from now on: their turns are not needed.
            self.pages.borrow_mut().begin(&page, began_ms);
        }
        let answered = self.page_in_turn(turn, asker, &page).await;
        let answered = answered.map(|report| PostReport {
            incomplete: report.incomplete || fresh.is_lacking,
            ..report
        });
        // A state that was dropped has nothing to keep it in.
        let _ = (self.loaded).look(|global| global.keep_page(&page, &answered, began_ms));
        let waiters = self.pages.borrow_mut().made(&page);
        for waiter in waiters {
            // A reader who hung up does not wait any more.
            let _ = waiter.send(answered.clone());
        }
        answered
    }

    async fn page_in_turn(
        self: &Rc<Self>,
        mut turn: Option<Turn>,
        asker: u64,
        page: &PostRequest,
    ) -> Result<PostReport, Refusal> {
        let mut makings = 0;
        loop {
            makings += 1;
            let begun = self.wait_for(turn).await?;
            self.catalog.entry(&page.post_id);
            let is_fresh = self.hear_of_catalog(false).await;
            let misses = self.catalog.misses();
            let made = self.make_page(begun, page.clone()).await;
            let is_whole = self.catalog.misses() == misses;
            if is_whole || makings == MAX_MAKINGS || self.catalog_is_away(self.host.now_ms()) {
                return made.map(|report| PostReport {
                    incomplete: report.incomplete || !(is_fresh && is_whole),
                    ..report
                });
            }
            turn = self.turns.borrow_mut().page(asker, self.host.now_ms());
        }
    }

    async fn make_page(&self, mut turn: Turn, page: PostRequest) -> Result<PostReport, Refusal> {
        let now_ms = self.host.now_ms();
        let mut page = self.with_global(|global, _| PostPage::begin(global, page, now_ms))?;
        self.in_steps(&mut turn, |global, storage| {
            page.step(global, storage, self.settings.rules)
        })
        .await
    }

    /// A page that was made a moment ago, or that somebody makes now. `None` where nobody does, or
    /// whoever did could not.
    async fn known_page(&self, page: &PostRequest) -> Option<PageAnswer> {
        let now_ms = self.host.now_ms();
        let known = self.with_global(|global, _| Ok(global.known_page(page, now_ms)));
        if let Ok(Some(known)) = known {
            return Some(known);
        }
        let (waiter, made) = oneshot::channel();
        let joined = self.pages.borrow_mut().join(page, waiter, now_ms);
        joined.ok()?;
        let made = self.host.within(MAX_MAKING_MS, made).await?.ok()?;
        let is_of_its_maker = matches!(made, Err(Refusal::Busy { .. }));
        (!is_of_its_maker).then_some(made)
    }

    /// Every region. Their plays are counted at most once a second, in turns; who finds none gets
    /// those that were counted last.
    async fn regions(self: &Rc<Self>) -> Result<Vec<RegionStatus>, Refusal> {
        self.ready().await?;
        let known =
            |global: &Global| global.known_regions(&self.regions.borrow(), self.host.now_ms());
        if let Some(known) =
            self.with_global(|global, _| Ok(known(global).filter(|it| it.is_fresh)))?
        {
            return Ok(known.regions);
        }
        self.refresh(GLOBAL_SCOPE).await;
        let turn = self.turns.borrow_mut().list(self.host.now_ms());
        let mut turn = match self.wait_for(turn).await {
            Ok(turn) => turn,
            Err(busy) => {
                let last = self.with_global(|global, _| Ok(known(global)))?;
                return last.map(|it| it.regions).ok_or(busy);
            }
        };
        let now_ms = self.host.now_ms();
        let mut list = self.with_global(|global, _| RegionList::begin(global, now_ms))?;
        let counted = self
            .in_steps(&mut turn, |global, storage| list.step(global, storage))
            .await?;
        *self.regions.borrow_mut() = counted;
        let all = self.with_global(|global, _| Ok(known(global)))?;
        // A region may have been made meanwhile.
        all.map(|it| it.regions)
            .ok_or(Refusal::Busy { retry_after_s: 1 })
    }

    /// Waits for a turn, and where it is time for that, sees whether somebody else waits for the
    /// thread.
    pub(super) async fn wait_for(&self, turn: Option<Turn>) -> Result<Turn, Refusal> {
        let busy = Refusal::Busy { retry_after_s: 2 };
        let Some(turn) = turn else { return Err(busy) };
        if turn.wait_ms > 0 {
            self.host.sleep(turn.wait_ms).await;
        }
        if self.turns.borrow().is_to_look(self.host.now_ms()) {
            self.look().await;
        }
        let can_begin = (self.turns.borrow_mut()).can_begin(&turn, self.host.now_ms());
        if can_begin { Ok(turn) } else { Err(busy) }
    }

    /// Sees by a timer whether somebody waits for the thread.
    async fn look(&self) {
        let settled_us = self.turns.borrow().settled_us();
        let due_ms = self.host.now_ms() + READER_LOOK_MS;
        self.host.sleep(READER_LOOK_MS).await;
        let now_ms = self.host.now_ms();
        let late_ms = now_ms.saturating_sub(due_ms);
        let mut turns = self.turns.borrow_mut();
        turns.looked(late_ms, settled_us, now_ms);
    }

    /// Does something in a turn, a part at a time: others have theirs in between.
    async fn in_steps<T>(
        &self,
        turn: &mut Turn,
        mut step: impl FnMut(&mut Global, &H::Storage) -> Result<Option<T>, Refusal>,
    ) -> Result<T, Refusal> {
        let mut us = 0;
        loop {
            let (outcome, done) = self.in_turn(turn, &mut step);
            if let Some(whole) = outcome? {
                return Ok(whole);
            }
            us += done.us();
            if us > US_AT_ONCE {
                us = 0;
                self.host.sleep(0).await;
            }
        }
    }

    /// Does something in a turn, and settles what it costs. Also says what was done.
    pub(super) fn in_turn<T>(
        &self,
        turn: &mut Turn,
        run: impl FnOnce(&mut Global, &H::Storage) -> Result<T, Refusal>,
    ) -> (Result<T, Refusal>, Done) {
        let mut done = Done::default();
        let outcome = self.with_global(|global, storage| {
            let before = global.done();
            let outcome = run(global, storage);
            done = global.done() - before;
            outcome
        });
        let mut turns = self.turns.borrow_mut();
        turns.settle(turn, done, self.host.now_ms());
        (outcome, done)
    }
}
