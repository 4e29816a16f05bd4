//! The sockets of an object and its driver: charts now, and whenever they change.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;

use futures_util::{StreamExt, stream};
use wasm_bindgen::JsValue;
use worker::Response;

use super::Driver;
use super::live::{self, ChartRendering, NoPlace, Shown, SocketOwner};
use super::looks::Looks;
use crate::codec;
use crate::host::{ASKED_AT_ONCE, Host};
use crate::wire::{LiveRequest, Look, Refusal};
use crate::worker_host::WorkerHost;

/// Rows that are rendered for readers before others have their turn: 5 ms.
const RENDERED_AT_ONCE: usize = 2_500;

/// A clone is another handle of the same.
#[derive(Clone)]
pub struct Sockets(Rc<SocketsState>);

impl Deref for Sockets {
    type Target = SocketsState;

    fn deref(&self) -> &SocketsState {
        &self.0
    }
}

pub struct SocketsState {
    driver: Driver<WorkerHost>,
    shown: RefCell<Shown>,
    looks: RefCell<Looks>,
    /// Whether the global object was asked, since this object woke, to tell of changes, and will.
    is_watching: Cell<bool>,
    /// What it was told of is being looked at; and it was told again since.
    is_looking: Cell<bool>,
    has_more_to_look_at: Cell<bool>,
    /// Sockets that are being opened, and how often this object was told: what they are about to be sent may
    /// be of before.
    openings: Cell<usize>,
    times_told: Cell<u64>,
}

/// A socket that is being opened, until it is there or its reader has gone.
struct Opening<'a>(&'a Cell<usize>);

impl<'a> Opening<'a> {
    fn begin(openings: &'a Cell<usize>) -> Self {
        openings.set(openings.get() + 1);
        Opening(openings)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Sockets {
    pub fn new(driver: Driver<WorkerHost>, context: JsValue) -> Self {
        let name = driver.host().object().as_named().into_owned();
        let looks = Looks::new(&name, driver.host().now_ms());
        Sockets(Rc::new(SocketsState {
            driver,
            shown: RefCell::new(Shown::new(context)),
            looks: RefCell::new(looks),
            is_watching: Cell::default(),
            is_looking: Cell::default(),
            has_more_to_look_at: Cell::default(),
            openings: Cell::default(),
            times_told: Cell::default(),
        }))
    }

    /// Takes a socket for a chart and sends it the chart as it is now.
    ///
    /// # Errors
    /// When the platform refuses.
    pub async fn watch(
        &self,
        request: &LiveRequest,
        reader: Option<&SocketOwner>,
    ) -> worker::Result<Response> {
        let tag = &request.tag();
        self.shown.borrow_mut().restore();
        if let Err(refused) = self.make_room(tag, reader) {
            return refused;
        }
        let _opening = Opening::begin(&self.openings);
        let times_told = self.times_told.get();
        // Before the chart: no change is between them.
        let was_told = self.is_watching.get();
        if !was_told {
            self.watch_board().await;
        }
        let question = codec::encode(&request.chart_request());
        // Whoever comes to a chart that others look at gets what they have, and then the next one.
        let is_shown = self.shown.borrow().shows(tag);
        let shown = is_shown.then(|| self.driver.kept_chart(&question, u64::MAX));
        let kept = match shown.flatten() {
            Some(kept) => kept,
            None => self.driver.chart(&question).await,
        };
        let Some(leaderboard) = live::leaderboard(&kept.reply) else {
            // The Worker asked for the same chart before it sent the reader here.
            return Response::error("no such chart", 400);
        };
        let rendered = live::render(request, &leaderboard, kept.stale);
        // Nothing waits between this and the next step: many at once do not pass it together.
        if let Err(refused) = self.make_room(tag, reader) {
            return refused;
        }
        let reader = self.shown.borrow_mut().accept(request, reader, &rendered)?;
        // What came just before this object watched may be in no chart that somebody keeps, and is not told.
        if !was_told || kept.stale || leaderboard.incomplete {
            let now_ms = self.driver.host().now_ms();
            self.looks.borrow_mut().looked(now_ms, true, now_ms);
        }
        if self.times_told.get() != times_told {
            self.look_soon();
        }
        self.wake().await;
        Response::from_websocket(reader)
    }

    /// Something may have changed: sends it to whoever looks at it, in a task of the object, so that nobody
    /// waits for it who tells others too.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] where nobody looks: then it is not told any more.
    pub fn told(&self, look: Look) -> Result<(), Refusal> {
        self.shown.borrow_mut().restore();
        self.take(look);
        self.times_told.set(self.times_told.get() + 1);
        if self.charts().is_empty() && self.openings.get() == 0 {
            self.is_watching.set(false);
            return Err(Refusal::NotFound);
        }
        self.look_soon();
        Ok(())
    }

    fn look_soon(&self) {
        self.has_more_to_look_at.set(true);
        if !self.is_looking.replace(true) {
            let sockets = self.clone();
            self.driver.host().spawn(async move {
                while sockets.has_more_to_look_at.replace(false) {
                    sockets.look_at_all(sockets.charts(), true).await;
                }
                sockets.is_looking.set(false);
            });
        }
    }
}

impl SocketsState {
    /// The board is deleted: nobody is shown anything any more.
    pub fn close_all(&self) {
        self.shown.borrow_mut().end_all();
    }

    /// In how long the object is to wake up for its readers, if it has any.
    pub fn wake_in_ms(&self) -> Option<u64> {
        let charts = self.charts();
        let requests = charts.iter().flatten().map(|rendering| &*rendering.request);
        let now_ms = self.driver.host().now_ms();
        let looks = self.looks.borrow();
        (!charts.is_empty()).then(|| looks.wake_in_ms(requests, now_ms))
    }

    fn charts(&self) -> Vec<Vec<ChartRendering>> {
        let mut shown = self.shown.borrow_mut();
        shown.restore();
        shown.charts()
    }

    async fn wake(&self) {
        if let Some(wake_in_ms) = self.wake_in_ms() {
            self.driver.ensure_alarm(wake_in_ms).await;
        }
    }

    /// A place for a socket, or what is answered instead of one.
    fn make_room(
        &self,
        tag: &str,
        reader: Option<&SocketOwner>,
    ) -> Result<(), worker::Result<Response>> {
        let now_ms = self.driver.host().now_ms();
        let made = self.shown.borrow_mut().make_room(tag, reader, now_ms);
        made.map_err(|no_place| match no_place {
            NoPlace::OfAddress => Response::error("too many sockets of one address", 429),
            NoPlace::OfObject => Response::error("too many readers here", 503),
        })
    }

    /// Has the global object tell of changes. `false` where it won't: then this object looks by itself,
    /// every [`super::looks::LOOK_AGAIN_MS`].
    async fn watch_board(&self) -> bool {
        let began_ms = self.driver.host().now_ms();
        let watched = self.driver.watch().await;
        if let Ok(look) = watched {
            self.looks.borrow_mut().watched(began_ms);
            self.take(look);
        }
        self.is_watching.set(watched.is_ok());
        watched.is_ok()
    }

    fn take(&self, look: Look) {
        if !look.board_is_public {
            self.shown.borrow_mut().end_private();
        }
    }

    /// Looks at what is due, or at everything, and says again that this object watches, where that is due.
    pub async fn look_at_what_is_due(&self, all: bool) {
        let mut charts = self.charts();
        let now_ms = self.driver.host().now_ms();
        let watch_is_due = self.looks.borrow().watch_is_due(now_ms);
        let is_told = !watch_is_due || self.watch_board().await;
        charts.retain(|renderings| {
            let is_due =
                |rendering: &ChartRendering| self.looks.borrow().is_due(&rendering.request, now_ms);
            all || renderings.iter().any(is_due)
        });
        if !charts.is_empty() || !is_told {
            self.look_at_all(charts, is_told).await;
        }
    }

    async fn look_at_all(&self, charts: Vec<Vec<ChartRendering>>, is_told: bool) {
        let host = self.driver.host();
        let (began_ms, in_vain) = (host.now_ms(), Cell::new(!is_told));
        let looked = stream::iter(charts).for_each_concurrent(ASKED_AT_ONCE, async |renderings| {
            if !self.look_at(&renderings).await {
                in_vain.set(true);
            }
        });
        looked.await;
        let looked_ms = host.now_ms();
        (self.looks.borrow_mut()).looked(began_ms, in_vain.get(), looked_ms);
        self.wake().await;
    }

    /// The renderings of one chart. `false` where it is to be looked at again soon.
    async fn look_at(&self, renderings: &[ChartRendering]) -> bool {
        let Some(first) = renderings.first() else {
            return true;
        };
        let host = self.driver.host();
        let began_ms = host.now_ms();
        if (first.request.ends_ms).is_some_and(|ends_ms| ends_ms <= began_ms) {
            return !self.shown.borrow_mut().end_period(renderings);
        }
        let question = codec::encode(&first.request.chart_request());
        let kept = self.driver.chart_of_now(&question).await;
        self.shown.borrow_mut().end_deleted(renderings, &kept.reply);
        let Some(leaderboard) = live::leaderboard(&kept.reply) else {
            return false;
        };
        let mut rows = 0;
        for ChartRendering { request, tag } in renderings {
            let rendered = live::render(request, &leaderboard, kept.stale);
            self.shown.borrow_mut().send(tag, &rendered, host.now_ms());
            rows += request.form.k.min(leaderboard.places.len());
            if rows > RENDERED_AT_ONCE {
                rows = 0;
                host.sleep(0).await;
            }
        }
        // An older one serves where nobody could be asked. What it lacks, no play need bring.
        !leaderboard.incomplete && kept.age_ms <= host.now_ms().saturating_sub(began_ms)
    }
}
