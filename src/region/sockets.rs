//! The sockets of an object and its driver: charts now, and whenever they change.

use std::cell::RefCell;

use futures_util::{StreamExt, stream};
use wasm_bindgen::JsValue;
use worker::Response;

use super::Driver;
use super::live::{self, Cut, LOOK_INTERVAL_MS, NoPlace, Reader, Shown};
use crate::codec;
use crate::host::Host;
use crate::wire::LiveRequest;
use crate::worker_host::WorkerHost;

/// Charts that are asked for at once: the platform takes six connections.
const CHARTS_AT_ONCE: usize = 6;
/// Rows that are rendered for readers before others have their turn: 5 ms.
const ROWS_AT_ONCE: usize = 2_500;

pub struct Sockets {
    driver: Driver<WorkerHost>,
    shown: RefCell<Shown>,
}

impl Sockets {
    pub fn new(driver: Driver<WorkerHost>, context: JsValue) -> Self {
        Sockets {
            driver,
            shown: RefCell::new(Shown::new(context)),
        }
    }

    /// The board is deleted: nobody is shown anything any more.
    pub fn close_all(&self) {
        self.shown.borrow_mut().end_all();
    }

    /// When the object is to wake up for its readers, if it has any.
    pub fn wake_in_ms(&self) -> Option<u64> {
        let mut shown = self.shown.borrow_mut();
        shown.restore();
        (!shown.charts().is_empty()).then_some(LOOK_INTERVAL_MS)
    }

    /// Takes a socket for a chart and sends it the chart as it is now.
    ///
    /// # Errors
    /// When the platform refuses.
    pub async fn watch(
        &self,
        request: &LiveRequest,
        reader: Option<&Reader>,
    ) -> worker::Result<Response> {
        let tag = &request.tag();
        self.shown.borrow_mut().restore();
        if let Err(refused) = self.make_room(tag, reader) {
            return refused;
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
        self.driver.ensure_alarm(LOOK_INTERVAL_MS).await;
        Response::from_websocket(reader)
    }

    /// A place for a socket, or what is answered instead of one.
    fn make_room(
        &self,
        tag: &str,
        reader: Option<&Reader>,
    ) -> Result<(), worker::Result<Response>> {
        let now_ms = self.driver.host().now_ms();
        let made = self.shown.borrow_mut().make_room(tag, reader, now_ms);
        made.map_err(|no_place| match no_place {
            NoPlace::OfAddress => Response::error("too many sockets of one address", 429),
            NoPlace::OfObject => Response::error("too many readers here", 503),
        })
    }

    /// Sends what has changed to whoever looks at it.
    pub async fn look(&self) {
        self.shown.borrow_mut().restore();
        let charts = self.shown.borrow_mut().charts();
        let looked = stream::iter(charts).for_each_concurrent(CHARTS_AT_ONCE, async |cuts| {
            self.look_at(&cuts).await;
        });
        looked.await;
    }

    /// The cuts of one chart.
    async fn look_at(&self, cuts: &[Cut]) {
        let Some(cut) = cuts.first() else {
            return;
        };
        let now_ms = self.driver.host().now_ms();
        if (cut.request.ends_ms).is_some_and(|ends_ms| ends_ms <= now_ms) {
            self.shown.borrow_mut().end_period(cuts);
            return;
        }
        let question = codec::encode(&cut.request.chart_request());
        let kept = self.driver.chart(&question).await;
        self.shown.borrow_mut().end_deleted(cuts, &kept.reply);
        let Some(leaderboard) = live::leaderboard(&kept.reply) else {
            return;
        };
        let host = self.driver.host();
        let mut rows = 0;
        for Cut { request, tag } in cuts {
            let rendered = live::render(request, &leaderboard, kept.stale);
            self.shown.borrow_mut().send(tag, &rendered, host.now_ms());
            rows += request.form.k.min(leaderboard.places.len());
            if rows > ROWS_AT_ONCE {
                rows = 0;
                host.sleep(0).await;
            }
        }
    }
}
