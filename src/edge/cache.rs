//! The platform's cache of this place (`caches.default`), where there is one: the bare runtime has
//! none, and says so by throwing.
//!
//! Entries are the global object's replies, by the key of its board and the question as it is sent:
//! scope, window, sort, class of k and filter, in their one form.

use std::fmt::Write;

use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use worker::{Context, Headers, Response};

use super::isolate::here;

/// When the reply was computed, in milliseconds since 1970.
const COMPUTED: &str = "X-Computed-Ms";

pub struct Cached {
    /// An encoded [`crate::wire::ChartReply`].
    pub reply: Vec<u8>,
    pub computed_ms: u64,
}

/// The reply to a question, where this place has it.
pub async fn get(board_key: &str, question: &[u8]) -> Option<Cached> {
    let found = call("match", &[address(board_key, question).into()]).await?;
    let mut response = Response::from(found.dyn_into::<web_sys::Response>().ok()?);
    let computed_ms = response.headers().get(COMPUTED).ok()??.parse().ok()?;
    let reply = response.bytes().await.ok()?;
    Some(Cached { reply, computed_ms })
}

/// Keeps a reply for so long, without letting anybody wait.
pub fn put(
    context: &Context,
    board_key: &str,
    question: &[u8],
    reply: Vec<u8>,
    computed_ms: u64,
    left_ms: u64,
) {
    if is_absent() {
        return;
    }
    let address = address(board_key, question);
    let store = async move {
        let response = response(reply, computed_ms, left_ms)?;
        call("put", &[address.into(), response.into()]).await
    };
    context.wait_until(async {
        store.await;
    });
}

fn response(reply: Vec<u8>, computed_ms: u64, left_ms: u64) -> Option<web_sys::Response> {
    let headers = Headers::new();
    headers.set(COMPUTED, &computed_ms.to_string()).ok()?;
    let max_age_s = left_ms.div_ceil(1_000);
    headers
        .set("Cache-Control", &format!("public, max-age={max_age_s}"))
        .ok()?;
    let response = Response::from_bytes(reply).ok()?.with_headers(headers);
    Some(response.into())
}

/// Calls a method of the cache. Once it is found to be absent, it is not asked again.
async fn call(method: &str, arguments: &[JsValue]) -> Option<JsValue> {
    if is_absent() {
        return None;
    }
    let answer = async {
        let caches = Reflect::get(&js_sys::global(), &"caches".into())?;
        let cache = Reflect::get(&caches, &"default".into())?;
        let method: Function = Reflect::get(&cache, &method.into())?.dyn_into()?;
        let promise = Reflect::apply(&method, &cache, &arguments.iter().collect())?;
        JsFuture::from(promise.dyn_into::<Promise>()?).await
    };
    let answer = answer.await;
    here(|isolate| isolate.has_no_cache.set(answer.is_err()));
    answer.ok().filter(|answer| !answer.is_undefined())
}

fn is_absent() -> bool {
    here(|isolate| isolate.has_no_cache.get())
}

fn address(board_key: &str, question: &[u8]) -> String {
    let mut address = format!("https://charts.invalid/{board_key}/");
    for byte in question {
        // Writing to a string cannot fail.
        let _ = write!(address, "{byte:02x}");
    }
    address
}
