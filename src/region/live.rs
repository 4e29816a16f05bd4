//! `/live`: a chart over a WebSocket, now and whenever it changes.
//!
//! Sockets hibernate: between two looks the object holds nothing for them. What a socket wants is
//! written in its tag, so sockets that want the same share one question, one rendering and one
//! comparison a look; only the sends grow with their number.
//!
//! The object looks every [`LOOK_INTERVAL_MS`] while it has sockets, which bounds both the
//! messages (one a look at most) and the alarms that are billed (a row each).

use std::collections::BTreeMap;

use worker::{State, WebSocket, WebSocketPair, console_error};

use crate::codec;
use crate::leaderboard::{Chart, Format, Rendered};
use crate::wire::{ChartReply, LiveRequest};

/// How often charts are looked at for changes.
pub const LOOK_INTERVAL_MS: u64 = 2_000;
/// Sockets of one object: more are told to come back later.
const MAX_SOCKETS: usize = 10_000;

/// Which charts the sockets of this object show, and what was sent last.
///
/// It is empty after the object slept; the sockets' tags bring it back.
#[derive(Default)]
pub struct Shown {
    last: BTreeMap<String, Option<String>>,
}

impl Shown {
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// Finds the charts of the sockets that outlived the memory of this object.
    pub fn restore(&mut self, state: &State) {
        if self.is_empty() {
            for socket in state.get_websockets() {
                for tag in state.get_tags(&socket) {
                    self.last.insert(tag, None);
                }
            }
        }
    }

    /// The tags of all charts that are shown; those that nobody looks at any more are forgotten.
    pub fn tags(&mut self, state: &State) -> Vec<String> {
        self.last
            .retain(|tag, _| !state.get_websockets_with_tag(tag).is_empty());
        self.last.keys().cloned().collect()
    }

    /// Sends a chart to everybody who looks at it, if it says something new.
    pub fn send(&mut self, state: &State, tag: &str, rendered: &Rendered) {
        let Some(last) = self.last.get_mut(tag) else {
            return;
        };
        if last.as_ref() == Some(&rendered.etag) {
            return;
        }
        *last = Some(rendered.etag.clone());
        let Ok(text) = std::str::from_utf8(&rendered.body) else {
            return;
        };
        for socket in state.get_websockets_with_tag(tag) {
            if socket.send_with_str(text).is_err() {
                // It does not take what it is sent: it may come again.
                let _ = socket.close(Some(1013), Some("too slow"));
            }
        }
    }

    /// Takes a new socket. Returns the end for the reader and our own, or `None` where there are
    /// too many.
    pub fn accept(&mut self, state: &State, tag: &str) -> worker::Result<Option<Accepted>> {
        if state.get_websockets().len() >= MAX_SOCKETS {
            return Ok(None);
        }
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        state.accept_websocket_with_tags(&server, &[tag]);
        self.last.entry(tag.to_owned()).or_default();
        Ok(Some(Accepted { client, server }))
    }
}

/// Both ends of a socket.
pub struct Accepted {
    pub client: WebSocket,
    pub server: WebSocket,
}

/// The message for a chart: the answer of `/top-posts`.
pub fn render(request: &LiveRequest, reply: &[u8], stale: bool) -> Option<Rendered> {
    match codec::decode::<ChartReply>(reply) {
        Ok(ChartReply(Ok(leaderboard))) => {
            Some(Chart::new(&request.form, &leaderboard, stale).render(Format::Json))
        }
        Ok(ChartReply(Err(_))) => None,
        Err(error) => {
            console_error!("shard: chart: {error}");
            None
        }
    }
}
