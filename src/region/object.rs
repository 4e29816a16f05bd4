//! The Durable Object of a shard: it loads the state machine, answers when commits are durable,
//! and wakes up to push. Everything that can be decided without the platform is in [`Shard`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::{StreamExt, stream};
use js_sys::Uint8Array;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::spawn_local;
use worker::{
    Delay, DurableObject, Env, Request, Response, State, WebSocket, WebSocketIncomingMessage,
    durable_object,
};

use super::charts::{ChartCache, FRESH_MS};
use super::live::{self, LOOK_INTERVAL_MS, NoPlace, Reader, Shown};
use super::votes::{Sifted, Taken, Votes};
use super::{Admission, Alarm, GROUP_AFTER_A_SECOND, GROUP_BYTES, GROUP_REQUESTS, GROUP_WAIT_MS};
use super::{PUSH_TIMEOUT_MS, PUSHES_AN_ALARM, PushTimer, Shard};
use crate::codec;
use crate::log::report;
use crate::panics;
use crate::platform::{
    LIVE_ADDRESS_HEADER, LIVE_HEADER, LIVE_LIMIT_HEADER, answer, call_raw, global_stub,
    instance_metrics, keep_as_set, memory_is_short, memory_is_spent, now_ms, random_bytes, within,
};
use crate::storage::{SqlStorage, StorageError};
use crate::topology::Epoch;
use crate::wire::{
    Announcement, AnnouncementReply, COUNTED, ChartReply, CountedInPart, CutRequest, KeptChart,
    LiveRequest, PushReplyOrRefusal, REPEATED, RecordReply, RecordRequest, Refusal, ShardMetrics,
    ShardReport, Voter,
};

/// How long readers wait for the global object before they get what is there.
const CHART_TIMEOUT_MS: u64 = 3_000;
/// Charts that are asked for at once: the platform takes six connections.
const CHARTS_AT_ONCE: usize = 6;
/// Rows that are rendered for readers before others have their turn: 5 ms.
const ROWS_AT_ONCE: usize = 2_500;
/// What an error costs a sender: the time a restarted object needs.
const RETRY_AFTER_FAILURE_S: u32 = 2;

#[durable_object]
pub struct RegionShard {
    inner: Rc<Inner>,
}

/// Shared by the handlers and the commit task, which belongs to the object and not to the
/// request that happened to start it: a sender that hangs up delays nobody.
struct Inner {
    state: State,
    env: Env,
    storage: RefCell<Option<Rc<SqlStorage>>>,
    shard: RefCell<Option<Shard>>,
    waiters: RefCell<BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
    group_is_full: RefCell<Option<oneshot::Sender<()>>>,
    committing: Cell<bool>,
    pushing: Cell<bool>,
    /// The log was cut, and no push has told of it.
    cut_is_untold: Cell<bool>,
    alarm: Cell<Alarm>,
    arrivals: Cell<Arrivals>,
    push_timer: Cell<PushTimer>,
    /// Since when there is something that the global object has not taken; 0 where there is nothing.
    unpushed_since_ms: Cell<u64>,
    /// What was to be stored last was not.
    storage_fails: Cell<bool>,
    shown: RefCell<Shown>,
    counters: Cell<ShardMetrics>,
    votes: RefCell<Votes>,
    charts: RefCell<ChartCache>,
    /// Questions that are under way.
    chart_questions: RefCell<BTreeMap<Vec<u8>, Question>>,
}

/// A question to the global object, and who waits for its answer.
struct Question {
    asked_ms: u64,
    waiters: Vec<oneshot::Sender<Answered>>,
}

/// What was decided about a batch.
struct Admitted {
    admission: Admission,
    /// The places of plays that its sender may not add.
    too_many: Rc<[u16]>,
    taken: Taken,
    /// The requests and bytes that wait for a commit.
    waiting: (usize, usize),
}

/// What waiters are told: the refusal, where there was one; else they look for themselves.
type Answered = Option<Rc<[u8]>>;

/// A leaderboard as this object knows it.
struct Kept {
    /// An encoded [`ChartReply`].
    reply: Vec<u8>,
    age_ms: u64,
    stale: bool,
}

impl Kept {
    /// Says that the global object is away: then nobody needs to ask it again.
    fn nothing() -> Self {
        let refusal = Refusal::Storage("the global object does not answer".into());
        Kept {
            reply: codec::encode(&ChartReply(Err(refusal))),
            age_ms: 0,
            stale: true,
        }
    }

    fn as_sent(&self) -> KeptChart<'_> {
        KeptChart {
            age_ms: self.age_ms,
            stale: self.stale,
            reply: &self.reply,
        }
    }
}

/// Requests in this second and in the one before: what tells a busy shard from an idle one.
#[derive(Clone, Copy, Default)]
struct Arrivals {
    second: u64,
    now: u32,
    before: u32,
}

impl Arrivals {
    fn add(&mut self, now_ms: u64) {
        let second = now_ms / 1_000;
        if second != self.second {
            self.before = if second == self.second + 1 {
                self.now
            } else {
                0
            };
            self.now = 0;
            self.second = second;
        }
        self.now += 1;
    }

    fn is_busy(&self) -> bool {
        self.now.max(self.before) >= GROUP_AFTER_A_SECOND
    }
}

#[wasm_bindgen]
impl RegionShard {
    /// What Workers call for each batch: `src/service.js` passes it on. Releases before this one
    /// send the same message to `/record`.
    pub async fn record(&self, message: Vec<u8>, voter: Option<Vec<u8>>) -> JsValue {
        let voter = voter.and_then(|voter| codec::decode::<Voter>(&voter).ok());
        let message = match self.inner.record(&message, voter).await {
            (RecordReply::Counted { repeated }, too_many) if !too_many.is_empty() => {
                codec::encode(&CountedInPart {
                    repeated,
                    too_many: too_many.to_vec(),
                })
            }
            (RecordReply::Counted { repeated: false }, _) => return COUNTED.into(),
            (RecordReply::Counted { repeated: true }, _) => return REPEATED.into(),
            (other, _) => codec::encode(&other),
        };
        Uint8Array::from(&message[..]).into()
    }

    /// Why plays cannot be taken here, or do not get on: a number that `src/health.js` knows; 0 for
    /// nothing. Goes out with each answer to a Worker, whose `/healthz` wakes no object.
    pub fn trouble(&self) -> u8 {
        let inner = &self.inner;
        if memory_is_spent() {
            Trouble::Memory as u8
        } else if inner.storage_fails.get() {
            Trouble::Storage as u8
        } else if inner.pushes_fail() {
            Trouble::Pushes as u8
        } else {
            0
        }
    }
}

#[derive(Clone, Copy)]
enum Trouble {
    Memory = 1,
    Storage = 2,
    Pushes = 3,
}

/// Pushes that fail for so many intervals are told: one that is late is not.
const FAILING_INTERVALS: u64 = 3;

impl DurableObject for RegionShard {
    fn new(state: State, env: Env) -> Self {
        keep_as_set(&env);
        let state = state._inner();
        let context = JsValue::clone(state.as_ref());
        let state = State::from(state);
        RegionShard {
            inner: Rc::new(Inner {
                state,
                env,
                storage: RefCell::new(None),
                shard: RefCell::new(None),
                waiters: RefCell::default(),
                group_is_full: RefCell::new(None),
                committing: Cell::new(false),
                pushing: Cell::new(false),
                cut_is_untold: Cell::new(false),
                alarm: Cell::default(),
                arrivals: Cell::default(),
                push_timer: Cell::default(),
                unpushed_since_ms: Cell::new(0),
                storage_fails: Cell::new(false),
                shown: RefCell::new(Shown::new(context)),
                counters: Cell::new(ShardMetrics {
                    started_ms: now_ms(),
                    ..ShardMetrics::default()
                }),
                votes: RefCell::new(Votes::new(random_bytes())),
                charts: RefCell::default(),
                chart_questions: RefCell::default(),
            }),
        }
    }

    async fn fetch(&self, mut request: Request) -> worker::Result<Response> {
        match request.path().as_str() {
            "/record" => {
                let message = request.bytes().await?;
                answer(&self.inner.record(&message, None).await.0)
            }
            "/announce" => {
                let message = request.bytes().await?;
                answer(&AnnouncementReply(self.inner.hear(&message).await))
            }
            "/cut" => {
                let message = request.bytes().await?;
                answer(&AnnouncementReply(self.inner.cut(&message).await))
            }
            "/metrics" => answer(&self.inner.metrics()),
            "/chart" => {
                let question = request.bytes().await?;
                answer(&self.inner.chart(&question).await.as_sent())
            }
            "/live" => {
                let headers = request.headers();
                let tag = headers.get(LIVE_HEADER)?.unwrap_or_default();
                let limit = headers.get(LIVE_LIMIT_HEADER)?;
                let limit = limit.and_then(|limit| limit.parse().ok());
                let reader = headers.get(LIVE_ADDRESS_HEADER)?.zip(limit);
                let reader = reader.map(|(address, max_sockets)| Reader {
                    address,
                    max_sockets,
                });
                self.inner.watch(&tag, reader.as_ref()).await
            }
            _ => Response::error("no such message", 404),
        }
    }

    async fn alarm(&self) -> worker::Result<Response> {
        self.inner.alarm().await;
        Response::empty()
    }

    /// Readers have nothing to say.
    async fn websocket_message(
        &self,
        _socket: WebSocket,
        _message: WebSocketIncomingMessage,
    ) -> worker::Result<()> {
        Ok(())
    }

    async fn websocket_close(
        &self,
        socket: WebSocket,
        _code: usize,
        _reason: String,
        _was_clean: bool,
    ) -> worker::Result<()> {
        // The other side has closed already: there is nobody left to tell of a failure.
        let _ = socket.close(Some(1000), Some("bye"));
        Ok(())
    }

    async fn websocket_error(
        &self,
        _socket: WebSocket,
        _error: worker::Error,
    ) -> worker::Result<()> {
        Ok(())
    }
}

impl Inner {
    /// Runs a change of the state, loading it first where it is not in memory. After a storage
    /// error the state is dropped, so that the next one starts from what is stored.
    fn with_shard<T>(
        &self,
        change: impl FnOnce(&mut Shard, &SqlStorage) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let outcome = self.loaded().and_then(|storage| {
            let mut shard = self.shard.borrow_mut();
            match shard.as_mut() {
                Some(shard) => {
                    let epoch_ms = shard.epoch_ms();
                    let outcome = change(shard, &storage);
                    if shard.epoch_ms() != epoch_ms {
                        // No chart of before is shown any more.
                        *self.charts.borrow_mut() = ChartCache::default();
                    }
                    outcome
                }
                None => Err(StorageError("the state is not loaded".into())),
            }
        });
        if let Err(error) = &outcome {
            report!("shard", "{error}: state dropped, to be loaded again");
            self.drop_state();
        }
        outcome
    }

    fn loaded(&self) -> Result<Rc<SqlStorage>, StorageError> {
        let mut storage = self.storage.borrow_mut();
        let storage = match &*storage {
            Some(storage) => Rc::clone(storage),
            None => {
                let opened = Rc::new(SqlStorage::open(&self.state.storage())?);
                *storage = Some(Rc::clone(&opened));
                opened
            }
        };
        let mut shard = self.shard.borrow_mut();
        if shard.is_none() {
            let loaded = Shard::load(&*storage, random_bytes(), now_ms())?;
            let damaged_rows = loaded.health().damaged_rows;
            if damaged_rows > 0 {
                report!(
                    "shard",
                    "{damaged_rows} stored rows cannot be read; they are kept"
                );
            }
            *shard = Some(loaded);
            self.count(|counters| counters.loads += 1);
        }
        Ok(storage)
    }

    fn count(&self, change: impl FnOnce(&mut ShardMetrics)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    fn drop_state(&self) {
        self.storage_fails.set(true);
        *self.shard.borrow_mut() = None;
        // Whoever waits is told to try again: dropping a sender does it.
        self.waiters.borrow_mut().clear();
    }

    /// Makes a batch durable, and counts how it went.
    async fn record(
        self: &Rc<Self>,
        message: &[u8],
        voter: Option<Voter>,
    ) -> (RecordReply, Rc<[u16]>) {
        panics::point("record");
        let (reply, too_many) = if memory_is_short(4 * message.len()) {
            (RecordReply::Busy { retry_after_s: 1 }, Rc::default())
        } else {
            match codec::decode::<RecordRequest<'_>>(message) {
                Err(_) => (RecordReply::Invalid, Rc::default()),
                Ok(request) => self.record_batch(&request, voter).await,
            }
        };
        self.count(|counters| match reply {
            RecordReply::Counted { repeated: false } => counters.batches += 1,
            RecordReply::Counted { repeated: true } => counters.repeated_batches += 1,
            RecordReply::Busy { .. } => counters.busy_batches += 1,
            _ => {}
        });
        (reply, too_many)
    }

    /// Takes out what an address may not add to a post any more this minute, and decides about the
    /// rest: at one moment, so that two attempts of a batch get one verdict.
    fn admit(
        &self,
        request: &RecordRequest<'_>,
        voter: Option<Voter>,
    ) -> Result<Admitted, StorageError> {
        let now_ms = now_ms();
        self.with_shard(|shard, storage| {
            if request.epoch_ms > shard.epoch_ms() {
                let (began_ms, seed) = (request.epoch_ms, request.seed);
                shard.follow(storage, Epoch { began_ms, seed }, random_bytes())?;
            }
            let mut votes = self.votes.borrow_mut();
            let sifted = voter
                .and_then(|voter| votes.sift(request, voter, now_ms, |key| shard.knows(key)))
                .unwrap_or_default();
            let Sifted {
                batch,
                too_many,
                is_empty,
                taken,
            } = sifted;
            let admission = if is_empty {
                Admission::Answer(RecordReply::Counted { repeated: false })
            } else {
                let batch = batch.as_deref().unwrap_or(request.batch);
                shard.admit(&RecordRequest { batch, ..*request }, now_ms)
            };
            if let Admission::Answer(_) = admission {
                votes.give_back(&taken);
            }
            Ok(Admitted {
                admission,
                too_many,
                taken,
                waiting: shard.waiting(),
            })
        })
    }

    /// Takes note of news, and answers when that is durable.
    async fn hear(&self, message: &[u8]) -> Result<(), Refusal> {
        let refused = |error: StorageError| Refusal::Storage(error.0);
        let announcement = codec::decode::<Announcement<'_>>(message)
            .map_err(|error| Refusal::Invalid(error.to_string()))?;
        let is_ours =
            self.with_shard(|shard, storage| shard.hear(storage, &announcement, random_bytes()));
        if !is_ours.map_err(refused)? {
            return Err(Refusal::Invalid("meant for another shard".into()));
        }
        let synced = self.state.storage().sync().await;
        synced.map_err(|error| {
            self.drop_state();
            Refusal::Storage(error.to_string())
        })
    }

    /// Is to cut its log at a moment that is about to come, and to push then.
    async fn cut(&self, message: &[u8]) -> Result<(), Refusal> {
        let refused = |error: StorageError| Refusal::Storage(error.0);
        let request = codec::decode::<CutRequest<'_>>(message)
            .map_err(|error| Refusal::Invalid(error.to_string()))?;
        let cut = self.with_shard(|shard, storage| {
            let is_ours = shard.cut_at(storage, &request, random_bytes())?;
            Ok((is_ours, shard.cut_in_ms(now_ms())))
        });
        let (is_ours, in_ms) = cut.map_err(refused)?;
        if !is_ours {
            let detail = "meant for another shard, or for a moment that has passed or that a later one followed";
            return Err(Refusal::Invalid(detail.into()));
        }
        self.ensure_alarm_within(in_ms.unwrap_or(0)).await;
        Ok(())
    }

    /// Cuts the log where it is time, and pushes then however short ago the last push was.
    fn cut_if_due(&self, shard: &mut Shard, storage: &SqlStorage) -> Result<(), StorageError> {
        if shard.cut_if_due(storage, now_ms())? {
            self.cut_is_untold.set(true);
        }
        Ok(())
    }

    fn metrics(&self) -> ShardMetrics {
        let health = self.with_shard(|shard, storage| Ok((shard.health(), storage.rows_written())));
        let counters = self.counters.get();
        let counters = ShardMetrics {
            instance: instance_metrics(),
            ..counters
        };
        match health {
            Ok((health, rows_written)) => ShardMetrics {
                rows_written,
                ..counters.with_health(&health, now_ms())
            },
            Err(_) => counters,
        }
    }

    async fn record_batch(
        self: &Rc<Self>,
        request: &RecordRequest<'_>,
        voter: Option<Voter>,
    ) -> (RecordReply, Rc<[u16]>) {
        let busy = RecordReply::Busy {
            retry_after_s: RETRY_AFTER_FAILURE_S,
        };
        let mut arrivals = self.arrivals.get();
        arrivals.add(now_ms());
        self.arrivals.set(arrivals);
        if !self.settle().await {
            return (busy, Rc::default());
        }
        let Ok(admitted) = self.admit(request, voter) else {
            return (busy, Rc::default());
        };
        let Admitted {
            admission,
            too_many,
            taken,
            waiting: (requests, bytes),
        } = admitted;
        let (ticket, reply) = match admission {
            Admission::Answer(reply) => return (reply, too_many),
            Admission::Wait { ticket, reply } => (ticket, reply),
        };
        if requests >= GROUP_REQUESTS || bytes >= GROUP_BYTES {
            self.group_is_full.borrow_mut().take();
        }
        let (sender, committed) = oneshot::channel();
        self.waiters
            .borrow_mut()
            .entry(ticket)
            .or_default()
            .push(sender);
        if !self.committing.replace(true) {
            let inner = Rc::clone(self);
            spawn_local(async move {
                inner.commit_all().await;
                inner.committing.set(false);
            });
        }
        if committed.await.is_ok() {
            return (reply, too_many);
        }
        self.votes.borrow_mut().give_back(&taken);
        (RecordReply::InDoubt, too_many)
    }

    /// A leaderboard, as the global object answers: one question serves all who wait for it.
    async fn chart(&self, question: &[u8]) -> Kept {
        let is_put_off = self.charts.borrow().is_put_off(question, now_ms());
        let serves_ms = if is_put_off { u64::MAX } else { FRESH_MS };
        if let Some(kept) = self.kept_chart(question, serves_ms) {
            return kept;
        }
        let refusal = match self.join_question(question) {
            // Fresh, or the old one if there was no answer.
            Some(answered) => within(CHART_TIMEOUT_MS, answered).await,
            None => Some(Ok(self.ask_for_chart(question).await)),
        };
        let kept = self.kept_chart(question, u64::MAX);
        match refusal {
            // Where there is too much to do, the last that is known serves.
            Some(Ok(Some(refusal))) if kept.is_none() || !is_busy(&refusal) => Kept {
                reply: refusal.to_vec(),
                age_ms: 0,
                stale: false,
            },
            _ => kept.unwrap_or_else(Kept::nothing),
        }
    }

    /// Waits with whoever asks already; `None` where the caller is the one to ask. A question
    /// whose answer is overdue is asked again.
    fn join_question(&self, question: &[u8]) -> Option<oneshot::Receiver<Answered>> {
        let now_ms = now_ms();
        let mut questions = self.chart_questions.borrow_mut();
        if let Some(under_way) = questions.get_mut(question)
            && now_ms.saturating_sub(under_way.asked_ms) < 2 * CHART_TIMEOUT_MS
        {
            let (sender, answered) = oneshot::channel();
            under_way.waiters.push(sender);
            return Some(answered);
        }
        let asked = Question {
            asked_ms: now_ms,
            waiters: Vec::new(),
        };
        questions.insert(question.to_vec(), asked);
        None
    }

    /// Asks the global object, keeps a leaderboard, and tells whoever waits. A refusal is for
    /// those who asked; it is not kept.
    async fn ask_for_chart(&self, question: &[u8]) -> Answered {
        self.count(|counters| counters.charts_asked += 1);
        let asked_ms = now_ms();
        let answer = match global_stub(&self.env) {
            Ok(stub) => call_raw(&stub, "/chart", question, CHART_TIMEOUT_MS).await,
            Err(error) => Err(error),
        };
        let refusal = match answer {
            Ok(reply) if is_leaderboard(&reply) => {
                self.charts.borrow_mut().put(question, reply, asked_ms);
                None
            }
            Ok(refusal) => {
                if is_busy(&refusal) {
                    self.charts.borrow_mut().put_off(question, now_ms());
                }
                Some(Rc::from(refusal))
            }
            Err(error) => {
                report!("shard", "chart: {error}");
                None
            }
        };
        let asked = self.chart_questions.borrow_mut().remove(question);
        for waiter in asked.into_iter().flat_map(|asked| asked.waiters) {
            // A reader who hung up does not wait any more.
            let _ = waiter.send(refusal.clone());
        }
        refusal
    }

    fn kept_chart(&self, question: &[u8], max_age_ms: u64) -> Option<Kept> {
        let charts = self.charts.borrow();
        let (reply, age_ms) = charts.get(question, now_ms())?;
        let stale = age_ms > FRESH_MS + CHART_TIMEOUT_MS;
        (age_ms <= max_age_ms).then(|| Kept {
            reply: reply.to_vec(),
            age_ms,
            stale,
        })
    }

    /// Takes a socket for a chart and sends it the chart as it is now.
    async fn watch(&self, tag: &str, reader: Option<&Reader>) -> worker::Result<Response> {
        let Some(request) = LiveRequest::of_tag(tag) else {
            return Response::error("no such chart", 400);
        };
        self.shown.borrow_mut().restore();
        if let Err(refused) = self.make_room(tag, reader) {
            return refused;
        }
        let question = codec::encode(&request.chart_request());
        // Whoever comes to a chart that others look at gets what they have, and then the next one.
        let is_shown = self.shown.borrow().shows(tag);
        let shown = is_shown.then(|| self.kept_chart(&question, u64::MAX));
        let kept = match shown.flatten() {
            Some(kept) => kept,
            None => self.chart(&question).await,
        };
        let Some(leaderboard) = live::leaderboard(&kept.reply) else {
            // The Worker asked for the same chart before it sent the reader here.
            return Response::error("no such chart", 400);
        };
        let rendered = live::render(&request, &leaderboard, kept.stale);
        // Nothing waits between this and the next step: many at once do not pass it together.
        if let Err(refused) = self.make_room(tag, reader) {
            return refused;
        }
        let reader = self.shown.borrow_mut().accept(tag, reader, &rendered)?;
        self.ensure_alarm_within(LOOK_INTERVAL_MS).await;
        Response::from_websocket(reader)
    }

    /// A place for a socket, or what is answered instead of one.
    fn make_room(
        &self,
        tag: &str,
        reader: Option<&Reader>,
    ) -> Result<(), worker::Result<Response>> {
        let made = self.shown.borrow_mut().make_room(tag, reader, now_ms());
        made.map_err(|no_place| match no_place {
            NoPlace::OfAddress => Response::error("too many sockets of one address", 429),
            NoPlace::OfObject => Response::error("too many readers here", 503),
        })
    }

    /// Sends what has changed to whoever looks at it.
    async fn look(&self) {
        self.shown.borrow_mut().restore();
        let charts = self.shown.borrow_mut().tags();
        let shown = stream::iter(charts).for_each_concurrent(CHARTS_AT_ONCE, async |tags| {
            let cuts = tags.iter();
            let cuts = cuts.filter_map(|tag| Some((LiveRequest::of_tag(tag)?, tag)));
            let cuts: Vec<(LiveRequest, &String)> = cuts.collect();
            let Some((request, _)) = cuts.first() else {
                return;
            };
            let question = codec::encode(&request.chart_request());
            let kept = self.chart(&question).await;
            if let Some(leaderboard) = live::leaderboard(&kept.reply) {
                let mut rows = 0;
                for (request, tag) in cuts {
                    let rendered = live::render(&request, &leaderboard, kept.stale);
                    self.shown.borrow_mut().send(tag, &rendered, now_ms());
                    rows += request.form.k.min(leaderboard.places.len());
                    if rows > ROWS_AT_ONCE {
                        rows = 0;
                        Delay::from(Duration::ZERO).await;
                    }
                }
            }
        });
        shown.await;
    }

    /// Waits, once after each load, until what was loaded is durable; `false` if that failed.
    async fn settle(&self) -> bool {
        let unsettled =
            self.with_shard(|shard, _| Ok((!shard.is_settled()).then(|| shard.sync_point())));
        match unsettled {
            Ok(None) => true,
            Err(_) => false,
            Ok(Some(point)) => {
                if let Err(error) = self.state.storage().sync().await {
                    report!("shard", "sync: {error}");
                    self.drop_state();
                    return false;
                }
                let settled = self.with_shard(|shard, _| {
                    shard.synced(point);
                    Ok(())
                });
                self.storage_fails.set(settled.is_err());
                settled.is_ok()
            }
        }
    }

    fn has_something_to_push(&self) {
        let (since_ms, now_ms) = (self.unpushed_since_ms.get(), now_ms());
        // A clock may have been set back.
        if since_ms == 0 || since_ms > now_ms {
            self.unpushed_since_ms.set(now_ms);
        }
    }

    fn pushes_fail(&self) -> bool {
        let since_ms = self.unpushed_since_ms.get();
        let limit_ms = FAILING_INTERVALS * self.push_timer.get().interval_ms();
        since_ms > 0 && now_ms().saturating_sub(since_ms) > limit_ms
    }

    /// Commits until nothing waits.
    async fn commit_all(&self) {
        self.has_something_to_push();
        let delay_ms = self.push_timer.get().delay_ms();
        self.ensure_alarm_within(delay_ms).await;
        loop {
            if self.arrivals.get().is_busy() {
                self.wait_for_group().await;
            }
            if !self.commit_once().await {
                return;
            }
        }
    }

    /// One group: written, durable, counted, answered. `false` when nothing waits any more.
    async fn commit_once(&self) -> bool {
        let written = self.with_shard(|shard, storage| {
            self.cut_if_due(shard, storage)?;
            Ok((shard.commit(storage, now_ms())?, shard.sync_point()))
        });
        let Ok((true, point)) = written else {
            return self
                .shard
                .borrow()
                .as_ref()
                .is_some_and(|shard| shard.waiting().0 > 0);
        };
        panics::point("written");
        if let Err(error) = self.state.storage().sync().await {
            report!("shard", "sync: {error}");
            self.drop_state();
            return false;
        }
        panics::point("durable");
        let counted = self.with_shard(|shard, storage| {
            self.cut_if_due(shard, storage)?;
            let tickets = shard.committed(now_ms());
            shard.synced(point);
            if shard.checkpoint_is_needed() {
                shard.checkpoint(storage, now_ms())?;
            }
            Ok((tickets, shard.waiting().0 > 0))
        });
        let Ok((tickets, more)) = counted else {
            return false;
        };
        self.storage_fails.set(false);
        for ticket in tickets.into_iter().flatten() {
            for waiter in self
                .waiters
                .borrow_mut()
                .remove(&ticket)
                .into_iter()
                .flatten()
            {
                // A sender that hung up does not wait any more.
                let _ = waiter.send(());
            }
        }
        more
    }

    /// Lets a busy shard's group grow until it is full or its time is over.
    async fn wait_for_group(&self) {
        let waiting = self.shard.borrow().as_ref().map(Shard::waiting);
        let (requests, bytes) = waiting.unwrap_or_default();
        if requests >= GROUP_REQUESTS || bytes >= GROUP_BYTES {
            return;
        }
        let (full, is_full) = oneshot::channel();
        *self.group_is_full.borrow_mut() = Some(full);
        within(GROUP_WAIT_MS, is_full).await;
        self.group_is_full.borrow_mut().take();
    }

    /// Sees to it that the object wakes up in time: before anything is written, so that no crash
    /// leaves plays that nobody pushes.
    async fn ensure_alarm_within(&self, delay_ms: u64) {
        let mut alarm = self.alarm.get();
        let now_ms = now_ms();
        let Some(due_ms) = alarm.to_be_set(now_ms, delay_ms) else {
            return;
        };
        // Whoever comes while this waits need not set it too.
        alarm.was_set(due_ms);
        self.alarm.set(alarm);
        if let Err(error) = self.state.storage().set_alarm(delay_ms as i64).await {
            report!("shard", "alarm: {error}");
            self.alarm_fired();
        }
    }

    fn alarm_fired(&self) {
        let mut alarm = self.alarm.get();
        alarm.fired();
        self.alarm.set(alarm);
    }

    async fn alarm(&self) {
        panics::point("alarm");
        self.shown.borrow_mut().restore();
        self.alarm_fired();
        let found = self.with_shard(|shard, storage| {
            self.cut_if_due(shard, storage)?;
            let has_work = shard.has_work() || self.cut_is_untold.get();
            Ok((has_work, shard.cut_in_ms(now_ms())))
        });
        let has_work = found.as_ref().map(|(has_work, _)| *has_work);
        let cut_in_ms = found.as_ref().ok().and_then(|(_, cut_in_ms)| *cut_in_ms);
        if has_work == Ok(false) {
            // What was committed last may have been claims alone, which nobody pushes.
            self.unpushed_since_ms.set(0);
        }
        let has_readers = !self.shown.borrow_mut().tags().is_empty();
        if has_work == Ok(false) && !has_readers && cut_in_ms.is_none() {
            return;
        }
        // The next one first: whatever happens below, there will be another try.
        let next_ms = if has_readers {
            LOOK_INTERVAL_MS
        } else {
            self.push_timer.get().interval_ms()
        };
        self.ensure_alarm_within(next_ms.min(cut_in_ms.unwrap_or(u64::MAX)))
            .await;
        if has_work == Ok(true) {
            self.has_something_to_push();
            self.push().await;
        }
        if has_readers {
            self.look().await;
        }
    }

    /// Pushes what there is, if it is time and no push is under way.
    async fn push(&self) {
        let mut timer = self.push_timer.get();
        if self.cut_is_untold.get() {
            timer.hurry();
        }
        if self.pushing.get() || !timer.begin(now_ms()) {
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
                    report!("shard", "push: {error}");
                    break;
                }
            }
        }
        self.pushing.set(false);
    }

    /// Seals what is due, makes it durable, pushes. `true` if there is more to send at once.
    async fn push_once(&self) -> worker::Result<bool> {
        let refused = |error: StorageError| worker::Error::from(error.0);
        let point = self.with_shard(|shard, storage| {
            if shard.checkpoint_is_due(now_ms()) {
                shard.checkpoint(storage, now_ms())?;
            }
            Ok(shard.sync_point())
        });
        let point = point.map_err(refused)?;
        if let Err(error) = self.state.storage().sync().await {
            self.drop_state();
            return Err(error);
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
        let Some(report) = report.map_err(refused)? else {
            return Ok(false);
        };
        let reply = call_raw(&global_stub(&self.env)?, "/push", &report, PUSH_TIMEOUT_MS).await?;
        panics::point("pushed");
        match codec::decode::<PushReplyOrRefusal>(&reply) {
            Ok(PushReplyOrRefusal(Ok(reply))) => {
                let mut timer = self.push_timer.get();
                timer.told(reply.push_interval_ms);
                self.push_timer.set(timer);
                self.count(|counters| {
                    counters.pushes += 1;
                    counters.pushed_bytes += report.len() as u64;
                });
                let more = self.with_shard(|shard, storage| {
                    shard.pushed(storage, &reply, random_bytes())?;
                    let since_ms = if shard.has_work() { now_ms() } else { 0 };
                    self.unpushed_since_ms.set(since_ms);
                    Ok(shard.has_more_to_send())
                });
                more.map_err(refused)
            }
            Ok(PushReplyOrRefusal(Err(refusal))) => {
                Err(worker::Error::from(format!("{refusal:?}")))
            }
            Err(error) => Err(worker::Error::from(error.to_string())),
        }
    }
}

fn is_leaderboard(reply: &[u8]) -> bool {
    matches!(codec::decode(reply), Ok(ChartReply(Ok(_))))
}

fn is_busy(reply: &[u8]) -> bool {
    matches!(
        codec::decode(reply),
        Ok(ChartReply(Err(Refusal::Busy { .. } | Refusal::Storage(_))))
    )
}
