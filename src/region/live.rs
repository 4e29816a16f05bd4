//! `/live`: a chart over a WebSocket, now and whenever it changes.
//!
//! Sockets hibernate: between two looks the object holds nothing for them. What a socket wants is
//! written in what is attached to it, and named by its tag: the chart for a class of k, and the k that it
//! is rendered for. Sockets of a chart share
//! one question a look, those of a rendering one comparison; only the sends grow with their
//! number.
//!
//! The object looks when it is told that something changed, at most every 2 s, and where a chart changes with
//! time alone ([`super::looks`]): while nobody plays it sleeps.
//!
//! # At its limits
//! [`MAX_SOCKETS`] sockets, and the charts and renderings of [`places`]; whoever comes after them is told to
//! come back later, or gets the place of somebody who has many. An address that has all the sockets that
//! its Worker grants it, or [`MAX_RENDERINGS_OF_ADDRESS`] renderings, is told so. A reader that does not read is
//! dropped (see [`Backlog`] and `sockets.js`), and so is one that says nothing for [`UNHEARD_MS`].

use std::collections::BTreeMap;
use std::rc::Rc;

use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use super::backlog::Backlog;
use super::places::{self, HeldRendering};
use crate::clock::now_ms;
use crate::codec;
use crate::leaderboard::{Chart, Format, Leaderboard, Rendered};
use crate::log::report;
use crate::wire::{ChartReply, LiveRequest, MAX_RENDERINGS_OF_ADDRESS, Refusal};

/// Sockets of one object: more are told to come back later.
const MAX_SOCKETS: usize = 10_000;
/// A socket of which nobody has heard for so long is closed, also where nothing was sent to it: its
/// reader may have gone before it had its end, and then it would stay for ever, with 78 kB and a place
/// of its address. It is noticed when the object wakes for its readers, half an hour later at most. Pages
/// say `ping` every 25 s, others are asked to every five minutes (docs/live.md).
const UNHEARD_MS: u64 = 15 * 60_000;
/// How often these are looked for: a look at 10,000 sockets takes 30 ms.
const UNHEARD_INTERVAL_MS: u64 = 60_000;
/// How often at most it is looked who could give a place up: a look at 10,000 sockets takes 15 ms.
const CENSUS_INTERVAL_MS: u64 = 1_000;

#[wasm_bindgen(module = "/src/js/sockets.js")]
extern "C" {
    #[wasm_bindgen(js_name = answerPings)]
    fn answer_pings(context: &JsValue);

    #[wasm_bindgen(catch)]
    fn accept(
        context: &JsValue,
        tag: &str,
        address: Option<&str>,
        asks: Vec<u8>,
        text: &str,
    ) -> Result<web_sys::WebSocket, JsValue>;

    fn count(context: &JsValue, tag: Option<&str>) -> usize;

    #[wasm_bindgen(js_name = countOf)]
    fn count_of(context: &JsValue, address: &str) -> usize;

    #[wasm_bindgen(js_name = tagsOf)]
    fn tags_of(context: &JsValue, address: &str) -> Vec<String>;

    fn census(context: &JsValue) -> Vec<String>;

    #[wasm_bindgen(js_name = endAll)]
    fn end_all(context: &JsValue);

    #[wasm_bindgen(js_name = asksOf)]
    fn asks_of(context: &JsValue, tag: &str) -> Option<Vec<u8>>;

    #[wasm_bindgen(js_name = giveUp)]
    fn give_up(context: &JsValue, tag: &str);

    #[wasm_bindgen(js_name = endDeleted)]
    fn end_deleted(context: &JsValue, tag: &str);

    #[wasm_bindgen(js_name = endPrivate)]
    fn end_private(context: &JsValue, tag: &str);

    #[wasm_bindgen(js_name = endPeriod)]
    fn end_period(context: &JsValue, tag: &str) -> bool;

    #[wasm_bindgen(js_name = closeUnheard)]
    fn close_unheard(context: &JsValue, heard_since_ms: f64);

    fn send(context: &JsValue, tag: &str, text: &str, heard_since_ms: f64);
}

/// Which charts the sockets of this object show, and what was sent last.
///
/// It is empty after the object slept; the sockets bring it back.
pub struct Shown {
    /// The object's context, which has the sockets.
    context: JsValue,
    /// By [`LiveRequest::tag`]: those of a chart come together.
    renderings: BTreeMap<String, ShownRendering>,
    /// Those that closed since the last look are still in it.
    sockets: usize,
    census_ms: u64,
    unheard_ms: u64,
}

/// Whose a socket is, and how many that address may have here.
pub struct SocketOwner {
    /// A hash of today: see [`crate::visitor::sender`].
    pub address: String,
    pub max_sockets: usize,
}

/// Why a reader gets no socket.
pub enum NoPlace {
    /// Its address has as many as it may have.
    OfAddress,
    /// The object has.
    OfObject,
}

/// A rendering of a chart that sockets show.
#[derive(Clone)]
pub struct ChartRendering {
    pub request: Rc<LiveRequest>,
    pub tag: String,
}

struct ShownRendering {
    request: Rc<LiveRequest>,
    etag: Option<String>,
    backlog: Backlog,
}

impl ShownRendering {
    fn new(request: LiveRequest) -> Self {
        ShownRendering {
            request: Rc::new(request),
            etag: None,
            backlog: Backlog::default(),
        }
    }
}

impl Shown {
    pub fn new(context: JsValue) -> Self {
        answer_pings(&context);
        Shown {
            context,
            renderings: BTreeMap::new(),
            sockets: 0,
            census_ms: 0,
            unheard_ms: 0,
        }
    }

    /// Finds the charts of the sockets that outlived the memory of this object.
    pub fn restore(&mut self) {
        if self.renderings.is_empty() {
            for (tag, _) in self.held() {
                let asks = asks_of(&self.context, &tag);
                let request = asks.and_then(|asks| codec::decode(&asks).ok());
                match request {
                    Some(request) => {
                        self.renderings.insert(tag, ShownRendering::new(request));
                    }
                    // Of another release: who reads on comes again.
                    None => give_up(&self.context, &tag),
                }
            }
            self.sockets = count(&self.context, None);
        }
    }

    /// What every socket shows, and whose it is.
    fn held(&self) -> Vec<HeldRendering> {
        let held = census(&self.context).into_iter();
        let held = held.filter_map(|line| {
            let (tag, address) = line.split_once(' ')?;
            let address = (!address.is_empty()).then(|| address.to_owned());
            Some((tag.to_owned(), address))
        });
        held.collect()
    }

    /// All renderings that are shown, by chart; those that nobody looks at any more are forgotten.
    pub fn charts(&mut self) -> Vec<Vec<ChartRendering>> {
        let now_ms = now_ms();
        if now_ms.abs_diff(self.unheard_ms) >= UNHEARD_INTERVAL_MS {
            self.unheard_ms = now_ms;
            close_unheard(&self.context, now_ms.saturating_sub(UNHEARD_MS) as f64);
        }
        self.renderings
            .retain(|tag, _| count(&self.context, Some(tag)) > 0);
        self.sockets = count(&self.context, None);
        let mut charts: Vec<Vec<ChartRendering>> = Vec::new();
        for (tag, shown) in &self.renderings {
            let rendering = ChartRendering {
                request: Rc::clone(&shown.request),
                tag: tag.clone(),
            };
            let last = charts.last().and_then(|renderings| renderings.last());
            let is_same =
                last.is_some_and(|last| places::chart_of(&last.tag) == places::chart_of(tag));
            match charts.last_mut() {
                Some(renderings) if is_same => renderings.push(rendering),
                _ => charts.push(vec![rendering]),
            }
        }
        charts
    }

    /// Sends a chart to everybody who looks at it, if it says something new.
    pub fn send(&mut self, tag: &str, rendered: &Rendered, now_ms: u64) {
        let Some(shown) = self.renderings.get_mut(tag) else {
            return;
        };
        if shown.etag.as_ref() == Some(&rendered.etag) {
            return;
        }
        shown.etag = Some(rendered.etag.clone());
        let Ok(text) = std::str::from_utf8(&rendered.body) else {
            return;
        };
        let heard_since_ms = shown.backlog.heard_since_ms(now_ms);
        shown.backlog.add(now_ms, text.len());
        send(&self.context, tag, text, heard_since_ms as f64);
    }

    /// Closes the sockets of a chart that is no more, where a reply says that its region was deleted, or all
    /// where the board was: the registry tells so only objects that have something stored.
    pub fn end_deleted(&mut self, renderings: &[ChartRendering], reply: &[u8]) {
        match codec::decode(reply) {
            Ok(ChartReply(Err(Refusal::Gone))) => self.end_all(),
            Ok(ChartReply(Err(Refusal::RegionDeleted))) => {
                for ChartRendering { tag, .. } in renderings {
                    end_deleted(&self.context, tag);
                    self.renderings.remove(tag);
                }
            }
            _ => {}
        }
    }

    /// Closes sockets of a chart whose period is over, some at a time: their readers ask anew. `true` where
    /// some are left.
    pub fn end_period(&mut self, renderings: &[ChartRendering]) -> bool {
        let mut is_some_left = false;
        for ChartRendering { tag, .. } in renderings {
            match end_period(&self.context, tag) {
                true => is_some_left = true,
                false => drop(self.renderings.remove(tag)),
            }
        }
        is_some_left
    }

    /// Closes the sockets of all who showed no token: the board is closed to the public.
    pub fn end_private(&mut self) {
        self.renderings.retain(|tag, shown| {
            if !shown.request.has_token {
                end_private(&self.context, tag);
            }
            shown.request.has_token
        });
    }

    /// Closes all sockets: the board is deleted.
    pub fn end_all(&mut self) {
        end_all(&self.context);
        self.renderings.clear();
    }

    /// Whether a chart is shown to somebody, whatever its k: it is looked at whenever it changes.
    pub fn shows(&self, tag: &str) -> bool {
        let mut tags = self.renderings.keys();
        tags.any(|shown| places::chart_of(shown) == places::chart_of(tag))
    }

    /// Sees to it that there is a place for one more socket.
    ///
    /// # Errors
    /// Where there is none.
    pub fn make_room(
        &mut self,
        tag: &str,
        reader: Option<&SocketOwner>,
        now_ms: u64,
    ) -> Result<(), NoPlace> {
        if let Some(reader) = reader {
            let read = tags_of(&self.context, &reader.address);
            let is_another = !read.iter().any(|known| known == tag);
            if count_of(&self.context, &reader.address) >= reader.max_sockets
                || is_another && read.len() >= MAX_RENDERINGS_OF_ADDRESS
            {
                return Err(NoPlace::OfAddress);
            }
        }
        if self.sockets >= MAX_SOCKETS {
            return Err(NoPlace::OfObject);
        }
        if self.has_room(tag) {
            return Ok(());
        }
        let is_time = now_ms.abs_diff(self.census_ms) >= CENSUS_INTERVAL_MS;
        if let Some(reader) = reader.filter(|_| is_time) {
            self.census_ms = now_ms;
            let held = self.held();
            // Some may have closed theirs since the last look.
            self.renderings
                .retain(|tag, _| held.iter().any(|(shown, _)| shown == tag));
            if !self.has_room(tag) {
                for given_up in places::to_give_up(&held, &reader.address) {
                    give_up(&self.context, &given_up);
                    self.renderings.remove(&given_up);
                }
            }
        }
        match self.has_room(tag) {
            true => Ok(()),
            false => Err(NoPlace::OfObject),
        }
    }

    fn has_room(&self, tag: &str) -> bool {
        places::has_room(self.renderings.keys().map(String::as_str), tag)
    }

    /// Takes a new socket and sends it the chart. Returns the reader's end.
    ///
    /// # Errors
    /// When the platform has no more sockets.
    pub fn accept(
        &mut self,
        request: &LiveRequest,
        reader: Option<&SocketOwner>,
        rendered: &Rendered,
    ) -> worker::Result<worker::WebSocket> {
        let text = String::from_utf8_lossy(&rendered.body);
        let address = reader.map(|reader| reader.address.as_str());
        let (tag, asks) = (request.tag(), codec::encode(request));
        let reader = accept(&self.context, &tag, address, asks, &text)?;
        self.sockets += 1;
        self.renderings
            .entry(tag)
            .or_insert_with(|| ShownRendering {
                etag: Some(rendered.etag.clone()),
                ..ShownRendering::new(request.clone())
            });
        Ok(reader.into())
    }
}

/// The message for a rendering: the answer of `/top-posts`.
pub fn render(request: &LiveRequest, leaderboard: &Leaderboard, stale: bool) -> Rendered {
    Chart::new(&request.form, leaderboard, stale).render(Format::Json)
}

/// The chart of a reply, where it has one.
pub fn leaderboard(reply: &[u8]) -> Option<Leaderboard> {
    match codec::decode::<ChartReply>(reply) {
        Ok(ChartReply(Ok(leaderboard))) => Some(leaderboard),
        Ok(ChartReply(Err(_))) => None,
        Err(error) => {
            report!("shard", "chart: {error}");
            None
        }
    }
}
