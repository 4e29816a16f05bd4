//! `/live`: a chart over a WebSocket, now and whenever it changes.
//!
//! Sockets hibernate: between two looks the object holds nothing for them. What a socket wants is
//! written in its tag, so sockets that want the same share one question, one rendering and one
//! comparison a look; only the sends grow with their number.
//!
//! The object looks every [`LOOK_INTERVAL_MS`] while it has sockets, which bounds both the
//! messages (one a look at most) and the alarms that are billed (a row each).
//!
//! # At its limits
//! [`MAX_SOCKETS`] sockets and [`MAX_CHARTS`] charts; whoever comes after them is told to come back
//! later. So is an address that has all the sockets that its Worker grants it. A reader that does not read is dropped (see [`Backlog`] and `sockets.js`).

use std::collections::BTreeMap;

use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use super::backlog::Backlog;
use crate::codec;
use crate::leaderboard::{Chart, Format, Rendered};
use crate::log::report;
use crate::wire::{ChartReply, LiveRequest};

/// How often charts are looked at for changes.
pub const LOOK_INTERVAL_MS: u64 = 2_000;
/// Sockets of one object: more are told to come back later.
const MAX_SOCKETS: usize = 10_000;
/// Charts that they look at: as many as a shard keeps.
const MAX_CHARTS: usize = 256;

#[wasm_bindgen(module = "/src/region/sockets.js")]
extern "C" {
    #[wasm_bindgen(js_name = answerPings)]
    fn answer_pings(context: &JsValue);

    #[wasm_bindgen(catch)]
    fn accept(
        context: &JsValue,
        tag: &str,
        address: Option<&str>,
        text: &str,
    ) -> Result<web_sys::WebSocket, JsValue>;

    fn count(context: &JsValue, tag: Option<&str>) -> usize;

    #[wasm_bindgen(js_name = countOf)]
    fn count_of(context: &JsValue, address: &str) -> usize;

    fn tags(context: &JsValue) -> Vec<String>;

    fn send(context: &JsValue, tag: &str, text: &str, heard_since_ms: f64);
}

/// Which charts the sockets of this object show, and what was sent last.
///
/// It is empty after the object slept; the sockets' tags bring it back.
pub struct Shown {
    /// The object's context, which has the sockets.
    context: JsValue,
    charts: BTreeMap<String, ShownChart>,
    /// Those that closed since the last look are still in it.
    sockets: usize,
}

/// Whose a socket is, and how many that address may have here.
pub struct Reader {
    /// A hash of today: see [`crate::limiter::sender`].
    pub address: String,
    pub max_sockets: usize,
}

#[derive(Default)]
struct ShownChart {
    etag: Option<String>,
    backlog: Backlog,
}

impl Shown {
    pub fn new(context: JsValue) -> Self {
        answer_pings(&context);
        Shown {
            context,
            charts: BTreeMap::new(),
            sockets: 0,
        }
    }

    /// Finds the charts of the sockets that outlived the memory of this object.
    pub fn restore(&mut self) {
        if self.charts.is_empty() {
            let tags = tags(&self.context).into_iter();
            self.charts
                .extend(tags.map(|tag| (tag, ShownChart::default())));
            self.sockets = count(&self.context, None);
        }
    }

    /// The tags of all charts that are shown; those that nobody looks at any more are forgotten.
    pub fn tags(&mut self) -> Vec<String> {
        self.charts
            .retain(|tag, _| count(&self.context, Some(tag)) > 0);
        self.sockets = count(&self.context, None);
        self.charts.keys().cloned().collect()
    }

    /// Sends a chart to everybody who looks at it, if it says something new.
    pub fn send(&mut self, tag: &str, rendered: &Rendered, now_ms: u64) {
        let Some(chart) = self.charts.get_mut(tag) else {
            return;
        };
        if chart.etag.as_ref() == Some(&rendered.etag) {
            return;
        }
        chart.etag = Some(rendered.etag.clone());
        let Ok(text) = std::str::from_utf8(&rendered.body) else {
            return;
        };
        let heard_since_ms = chart.backlog.heard_since_ms(now_ms);
        chart.backlog.add(now_ms, text.len());
        send(&self.context, tag, text, heard_since_ms as f64);
    }

    /// Whether a chart is shown to somebody: it is looked at regularly.
    pub fn shows(&self, tag: &str) -> bool {
        self.charts.contains_key(tag)
    }

    /// Whether there is room for one more socket.
    pub fn has_room(&self, tag: &str) -> bool {
        self.sockets < MAX_SOCKETS && (self.charts.len() < MAX_CHARTS || self.shows(tag))
    }

    /// Whether a reader's address may have one more socket.
    pub fn grants(&self, reader: &Reader) -> bool {
        count_of(&self.context, &reader.address) < reader.max_sockets
    }

    /// Takes a new socket and sends it the chart. Returns the reader's end.
    ///
    /// # Errors
    /// When the platform has no more sockets.
    pub fn accept(
        &mut self,
        tag: &str,
        reader: Option<&Reader>,
        rendered: &Rendered,
    ) -> worker::Result<worker::WebSocket> {
        let text = String::from_utf8_lossy(&rendered.body);
        let address = reader.map(|reader| reader.address.as_str());
        let reader = accept(&self.context, tag, address, &text)?;
        self.sockets += 1;
        self.charts
            .entry(tag.to_owned())
            .or_insert_with(|| ShownChart {
                etag: Some(rendered.etag.clone()),
                backlog: Backlog::default(),
            });
        Ok(reader.into())
    }
}

/// The message for a chart: the answer of `/top-posts`.
pub fn render(request: &LiveRequest, reply: &[u8], stale: bool) -> Option<Rendered> {
    match codec::decode::<ChartReply>(reply) {
        Ok(ChartReply(Ok(leaderboard))) => {
            Some(Chart::new(&request.form, &leaderboard, stale).render(Format::Json))
        }
        Ok(ChartReply(Err(_))) => None,
        Err(error) => {
            report!("shard", "chart: {error}");
            None
        }
    }
}
