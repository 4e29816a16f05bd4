//! The Durable Object of the global board: it loads the state machine, hands it messages and
//! sends its answers. Everything that can be decided without the platform is in [`Global`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use wasm_bindgen_futures::spawn_local;
use worker::{Delay, DurableObject, Env, Request, Response, State, durable_object};

use super::admission::{Admission, Turn};
use super::figures::Figures;
use super::pages::{Answered, MAX_MAKING_MS, Pages};
use super::post::PostPage;
use super::region_list::{CountedRegions, RegionList};
use super::{ChartRules, Done, FirstRegion, Global};
use crate::codec::{self, Record};
use crate::leaderboard::Leaderboard;
use crate::log::report;
use crate::panics;
use crate::platform::{
    answer, instance_metrics, keep_as_set, memory_is_short, now_ms, random_bytes, setting,
    setting_is_true, within,
};
use crate::settings::read_regions;
use crate::storage::{SqlStorage, Storage, StorageError, Table};
use crate::wire::*;

/// Where a scope took longer, others have their turn before the next.
const US_AT_ONCE: u64 = 10_000;
/// A timer as short as there is.
const LOOK_MS: u64 = 1;

#[durable_object(fetch)]
pub struct GlobalBoard {
    inner: Rc<Inner>,
}

struct Inner {
    state: State,
    env: Env,
    loaded: RefCell<Option<(Global, Rc<SqlStorage>)>>,
    syncing: Cell<bool>,
    admission: RefCell<Admission>,
    /// The plays of a day of each region, as they were counted last.
    regions: RefCell<CountedRegions>,
    counters: RefCell<GlobalMetrics>,
    figures: RefCell<Figures>,
    pages: RefCell<Pages<oneshot::Sender<Answered>>>,
}

impl DurableObject for GlobalBoard {
    fn new(state: State, env: Env) -> Self {
        keep_as_set(&env);
        GlobalBoard {
            inner: Rc::new(Inner {
                state,
                env,
                loaded: RefCell::new(None),
                syncing: Cell::new(false),
                admission: RefCell::default(),
                regions: RefCell::default(),
                figures: RefCell::default(),
                pages: RefCell::default(),
                counters: RefCell::new(GlobalMetrics {
                    started_ms: now_ms(),
                    ..GlobalMetrics::default()
                }),
            }),
        }
    }

    async fn fetch(&self, mut request: Request) -> worker::Result<Response> {
        let message = request.bytes().await?;
        let inner = &self.inner;
        let now_ms = now_ms();
        let path = request.path();
        if matches!(path.as_str(), "/put-posts" | "/put-region" | "/import") {
            inner.pages.borrow_mut().forget();
        }
        match path.as_str() {
            "/push" => answer(&PushReplyOrRefusal(inner.take_report(&message, now_ms))),
            "/table" => answer(&TableReply(
                inner.with_global(|global, _| Ok(global.table().clone())),
            )),
            "/chart" => answer(&ChartReply(inner.chart(&message).await)),
            "/post" => answer(&PostReply(inner.post(&message).await)),
            "/regions" => answer(&RegionsReply(inner.regions().await)),
            "/put-posts" => answer(&PutPostsReply(inner.ask(
                &message,
                |global, storage, request: PutPosts| {
                    global.end_idle_export(storage, now_ms)?;
                    global.put_posts(storage, &request.patches)
                },
            ))),
            "/put-region" => answer(&PutRegionReply(
                inner.ask(&message, |global, storage, request| {
                    global.put_region(storage, &request, now_ms)
                }),
            )),
            "/delete-region" => answer(&DeleteRegionReply(
                inner
                    .change(&message, |global, storage, request: DeleteRegion| {
                        global.delete_region(storage, &request, now_ms)
                    })
                    .await,
            )),
            "/reset" => answer(&ResetReply(inner.reset(&message, now_ms).await)),
            "/metrics" => answer(&inner.metrics(now_ms)),
            "/begin-export" => answer(&BeginExportReply(
                inner.ask(&message, |global, storage, BeginExport| {
                    global.begin_export(storage, now_ms)
                }),
            )),
            "/export" => answer(&ExportReply(
                inner.ask(&message, |global, storage, request: ExportRequest| {
                    global.export(storage, &request, now_ms)
                }),
            )),
            "/import" => answer(&ImportReply(inner.import(&message, now_ms).await)),
            "/telling" => answer(&TellingReply(
                inner.ask(&message, |global, storage, request: Telling| {
                    global.telling(storage, request)
                }),
            )),
            "/told" => answer(&PutRegionReply(
                inner.ask(&message, |global, storage, request: Told| {
                    global.told(storage, &request, now_ms)
                }),
            )),
            _ => Response::error("no such message", 404),
        }
    }
}

impl Inner {
    fn rules(&self) -> ChartRules {
        ChartRules {
            require_known_posts: setting_is_true(&self.env, "REQUIRE_KNOWN_POSTS"),
        }
    }

    /// Runs something on the state, loading it first where it is not in memory. After a storage
    /// error the state is dropped, so that the next one starts from what is stored.
    fn with_global<T>(
        &self,
        run: impl FnOnce(&mut Global, &SqlStorage) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut loaded = self.loaded.borrow_mut();
        if loaded.is_none() {
            let fresh = self.load().map_err(|error| {
                report!("global", "{error}");
                Refusal::Storage(error.0)
            })?;
            *loaded = Some(fresh);
            self.counters.borrow_mut().loads += 1;
        }
        let Some((global, storage)) = loaded.as_mut() else {
            return Err(Refusal::Storage("the state is not loaded".into()));
        };
        let damaged_before = global.health().damaged_rows;
        let outcome = run(global, storage);
        let damaged_rows = global.health().damaged_rows;
        if damaged_rows > damaged_before {
            report!(
                "global",
                "{damaged_rows} stored rows cannot be read; they are kept"
            );
        }
        if let Err(Refusal::Storage(error)) = &outcome {
            report!("global", "{error}: state dropped, to be loaded again");
            *loaded = None;
        }
        outcome
    }

    fn load(&self) -> Result<(Global, Rc<SqlStorage>), StorageError> {
        let storage = SqlStorage::open(&self.state.storage())?;
        let regions = read_regions(setting(&self.env, "REGIONS").as_deref()).or_else(|error| {
            // Those that are there stay; without any, no play could be taken.
            report!("global", "{error}");
            match storage.keys(Table::Regions, &[])?.is_empty() {
                true => read_regions(None).map_err(StorageError),
                false => Ok(Vec::new()),
            }
        });
        let first: Vec<FirstRegion> = regions?
            .into_iter()
            .map(|region| FirstRegion {
                region_name: region.name.unwrap_or_else(|| region.id.clone()),
                region_id: region.id,
                hint: region.hint,
            })
            .collect();
        let global = Global::load(&storage, &first, random_bytes())?;
        let health = global.health();
        if health.damaged_rows > 0 || health.damaged_regions > 0 {
            report!(
                "global",
                "stored rows cannot be read; they are kept: {health:?}"
            );
        }
        for difference in global.region_differences() {
            report!("global", "{difference}");
        }
        Ok((global, Rc::new(storage)))
    }

    /// Decodes a question and answers it.
    fn ask<Q: Record + for<'de> serde::Deserialize<'de>, A>(
        &self,
        message: &[u8],
        run: impl FnOnce(&mut Global, &SqlStorage, Q) -> Result<A, Refusal>,
    ) -> Result<A, Refusal> {
        let question =
            codec::decode::<Q>(message).map_err(|error| Refusal::Invalid(error.to_string()))?;
        self.with_global(|global, storage| run(global, storage, question))
    }

    /// Takes rows of an export; answers when they are durable.
    async fn import(&self, message: &[u8], now_ms: u64) -> Result<Imported, Refusal> {
        if memory_is_short(4 * message.len()) {
            return Err(Refusal::Busy { retry_after_s: 1 });
        }
        self.change(message, |global, storage, request: ImportRequest| {
            global.import(storage, &request, now_ms)
        })
        .await
    }

    /// Begins counting anew; answers when that is durable.
    async fn reset(&self, message: &[u8], now_ms: u64) -> Result<ResetDone, Refusal> {
        let done = self
            .change(message, |global, storage, request: Reset| {
                global.reset(storage, &request, random_bytes(), now_ms)
            })
            .await?;
        if !done.repeated {
            *self.regions.borrow_mut() = CountedRegions::default();
            report!("global", "counting begins anew");
        }
        Ok(done)
    }

    /// Asks for a change, and answers when it is durable.
    async fn change<Q: Record + for<'de> serde::Deserialize<'de>, A>(
        &self,
        message: &[u8],
        run: impl FnOnce(&mut Global, &SqlStorage, Q) -> Result<A, Refusal>,
    ) -> Result<A, Refusal> {
        let changed = self.ask(message, run)?;
        if let Err(error) = self.state.storage().sync().await {
            report!("global", "sync: {error}");
            *self.loaded.borrow_mut() = None;
            return Err(Refusal::Storage(error.to_string()));
        }
        Ok(changed)
    }

    /// A leaderboard, in its turn.
    async fn chart(&self, message: &[u8]) -> Result<Leaderboard, Refusal> {
        let request = codec::decode::<ChartRequest>(message)
            .map_err(|error| Refusal::Invalid(error.to_string()))?;
        self.counters.borrow_mut().charts += 1;
        panics::point("chart");
        // What another shard has just asked for needs no turn.
        let known =
            self.with_global(|global, _| Ok(global.known_chart(&request, self.rules(), now_ms())))?;
        if let Some(known) = known {
            return Ok(known);
        }
        let turn = self.admission.borrow_mut().chart(&request, now_ms());
        if turn.is_none() {
            self.counters.borrow_mut().refused_charts += 1;
        }
        let mut turn = self.wait_for(turn).await?;
        self.in_turn(&mut turn, |global, storage| {
            global.chart(storage, &request, self.rules(), now_ms())
        })
        .0
    }

    /// One post's numbers, in their turn.
    async fn post(&self, message: &[u8]) -> Result<PostReport, Refusal> {
        let PostQuestion { asker, page } = codec::decode::<PostQuestion>(message)
            .map_err(|error| Refusal::Invalid(error.to_string()))?;
        if let Some(known) = self.known_page(&page).await {
            return known;
        }
        let turn = self.admission.borrow_mut().page(asker, now_ms());
        let began_ms = now_ms();
        if turn.is_some() {
            // Others who ask the same wait from now on: their turns are not needed.
            self.pages.borrow_mut().begin(&page, began_ms);
        }
        let answered = match self.wait_for(turn).await {
            Ok(turn) => self.make_page(turn, page.clone()).await,
            Err(busy) => Err(busy),
        };
        let waiters = (self.pages.borrow_mut()).made(page, &answered, began_ms);
        for waiter in waiters {
            // A reader who hung up does not wait any more.
            let _ = waiter.send(answered.clone());
        }
        answered
    }

    async fn make_page(&self, turn: Turn, page: PostRequest) -> Result<PostReport, Refusal> {
        let mut page = self.with_global(|global, _| PostPage::begin(global, page, now_ms()))?;
        self.in_steps(turn, |global, storage| {
            page.step(global, storage, self.rules())
        })
        .await
    }

    /// A page that was made a moment ago, or that somebody makes now. `None` where nobody does, or
    /// whoever did could not.
    async fn known_page(&self, page: &PostRequest) -> Option<Answered> {
        if let Some(known) = self.pages.borrow().get(page, now_ms()) {
            return Some(known);
        }
        let (waiter, made) = oneshot::channel();
        let joined = self.pages.borrow_mut().join(page, waiter, now_ms());
        joined.ok()?;
        let made = within(MAX_MAKING_MS, made).await?.ok()?;
        let is_of_its_maker = matches!(made, Err(Refusal::Busy { .. }));
        (!is_of_its_maker).then_some(made)
    }

    /// Every region. Their plays are counted at most once a second, in turns; who finds none gets
    /// those that were counted last.
    async fn regions(&self) -> Result<Vec<RegionStatus>, Refusal> {
        let known = |global: &Global| global.known_regions(&self.regions.borrow(), now_ms());
        if let Some(known) =
            self.with_global(|global, _| Ok(known(global).filter(|it| it.is_fresh)))?
        {
            return Ok(known.regions);
        }
        let turn = self.admission.borrow_mut().list(now_ms());
        let turn = match self.wait_for(turn).await {
            Ok(turn) => turn,
            Err(busy) => {
                let last = self.with_global(|global, _| Ok(known(global)))?;
                return last.map(|it| it.regions).ok_or(busy);
            }
        };
        let mut list = self.with_global(|global, _| RegionList::begin(global, now_ms()))?;
        let counted = self
            .in_steps(turn, |global, storage| list.step(global, storage))
            .await?;
        *self.regions.borrow_mut() = counted;
        let all = self.with_global(|global, _| Ok(known(global)))?;
        // A region may have been made meanwhile.
        all.map(|it| it.regions)
            .ok_or(Refusal::Busy { retry_after_s: 1 })
    }

    /// Waits for a turn, and where it is time for that, sees whether somebody else waits for the
    /// thread.
    async fn wait_for(&self, turn: Option<Turn>) -> Result<Turn, Refusal> {
        let busy = Refusal::Busy { retry_after_s: 2 };
        let Some(turn) = turn else { return Err(busy) };
        if turn.wait_ms > 0 {
            Delay::from(Duration::from_millis(turn.wait_ms)).await;
        }
        if self.admission.borrow().is_to_look(now_ms()) {
            self.look().await;
        }
        let can_begin = self.admission.borrow_mut().can_begin(&turn, now_ms());
        if can_begin { Ok(turn) } else { Err(busy) }
    }

    /// Sees by a timer whether somebody waits for the thread.
    async fn look(&self) {
        let settled_us = self.admission.borrow().settled_us();
        let due_ms = now_ms() + LOOK_MS;
        Delay::from(Duration::from_millis(LOOK_MS)).await;
        let now_ms = now_ms();
        let late_ms = now_ms.saturating_sub(due_ms);
        let mut admission = self.admission.borrow_mut();
        admission.looked(late_ms, settled_us, now_ms);
    }

    /// Does something in a turn, a scope at a time: others have theirs in between.
    async fn in_steps<T>(
        &self,
        mut turn: Turn,
        mut step: impl FnMut(&mut Global, &SqlStorage) -> Result<Option<T>, Refusal>,
    ) -> Result<T, Refusal> {
        let mut us = 0;
        loop {
            let (outcome, done) = self.in_turn(&mut turn, &mut step);
            if let Some(whole) = outcome? {
                return Ok(whole);
            }
            us += done.us();
            if us > US_AT_ONCE {
                us = 0;
                Delay::from(Duration::ZERO).await;
            }
        }
    }

    /// Does something in a turn, and settles what it costs. Also says what was done.
    fn in_turn<T>(
        &self,
        turn: &mut Turn,
        run: impl FnOnce(&mut Global, &SqlStorage) -> Result<T, Refusal>,
    ) -> (Result<T, Refusal>, Done) {
        let mut done = Done::default();
        let outcome = self.with_global(|global, storage| {
            let before = global.done();
            let outcome = run(global, storage);
            done = global.done() - before;
            outcome
        });
        let mut admission = self.admission.borrow_mut();
        admission.settle(turn, done, now_ms());
        (outcome, done)
    }

    fn metrics(&self, now_ms: u64) -> GlobalMetrics {
        let counters = GlobalMetrics {
            instance: instance_metrics(),
            shards_told: self.figures.borrow().count() as u64,
            shards: self.figures.borrow().shown(now_ms),
            ..self.counters.borrow().clone()
        };
        let told = self.with_global(|global, storage| {
            let told = global.tell(counters.clone(), now_ms);
            Ok(GlobalMetrics {
                rows_written: storage.rows_written(),
                reading_ms: (self.admission.borrow().settled_us() / 1e3) as u64,
                stored_bytes: storage.size().unwrap_or_default(),
                ..told
            })
        });
        told.unwrap_or(counters)
    }

    /// Takes a push, and keeps what its shard says of itself.
    fn take_report(self: &Rc<Self>, message: &[u8], now_ms: u64) -> Result<PushReply, Refusal> {
        let invalid = |error: codec::DecodeError| Refusal::Invalid(error.to_string());
        let report = codec::decode::<ShardReport<'_>>(message).map_err(invalid)?;
        let reply = self.take_push(report.push, now_ms)?;
        let shard = (report.region_id.to_owned(), report.shard);
        (self.figures.borrow_mut()).put(shard, report.figures, now_ms);
        Ok(reply)
    }

    /// Takes a push, also where memory is short: refusing it would keep what could be freed.
    fn take_push(self: &Rc<Self>, message: &[u8], now_ms: u64) -> Result<PushReply, Refusal> {
        self.counters.borrow_mut().pushes += 1;
        let is_short = |_: &Global| memory_is_short(4 * message.len());
        let (reply, sync_is_due) = self.with_global(|global, storage| {
            let reply = global.take_push_within(storage, message, is_short, now_ms);
            let reply = reply.inspect_err(|refusal| {
                report!("global", "push refused: {refusal:?}");
            })?;
            panics::point("taken");
            if global.flush_is_due(now_ms) {
                global
                    .flush(storage, now_ms)
                    .map_err(|error| Refusal::Storage(error.0))?;
                panics::point("folded");
            }
            Ok((reply, global.sync_is_due()))
        })?;
        if sync_is_due && !self.syncing.replace(true) {
            let inner = Rc::clone(self);
            spawn_local(async move {
                inner.sync().await;
                inner.syncing.set(false);
            });
        }
        Ok(reply)
    }

    /// Waits until what was folded is durable; from then on replies say so.
    async fn sync(&self) {
        let Ok(point) = self.with_global(|global, _| Ok(global.sync_point())) else {
            return;
        };
        match self.state.storage().sync().await {
            // The state may have been dropped meanwhile: a fresh one knows no such log yet.
            Ok(()) => {
                let _ = self.with_global(|global, _| {
                    global.synced(&point);
                    Ok(())
                });
            }
            Err(error) => {
                report!("global", "sync: {error}");
                *self.loaded.borrow_mut() = None;
            }
        }
    }
}
