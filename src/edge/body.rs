//! Reading a body: at most so many bytes, in at most so long. It comes in outside of Wasm
//! (`src/js/bodies.js`), which bounds what all bodies under way hold together.

use js_sys::{Promise, Uint8Array};
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use super::request::Call;
use crate::clock::within;
use crate::http::{Coding, Fields, Problem, UnpackError, coding};
use crate::instance::memory_is_short;

/// A body that is not complete by then is given up.
pub const DEADLINE_MS: u64 = 15_000;

#[wasm_bindgen(module = "/src/js/bodies.js")]
extern "C" {
    #[wasm_bindgen(js_name = readBody)]
    fn read_body(
        request: &web_sys::Request,
        is_trusted: bool,
        owner: u64,
        head_bytes: usize,
        announced: Option<f64>,
        max_bytes: usize,
    ) -> Promise;

    #[wasm_bindgen(js_name = giveUp)]
    fn give_up(whole: &Promise);
}

/// Whose body it is. The bodies of one owner never make another owner wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Has shown the token of operators.
    Admin,
    /// Has shown the token of senders.
    Ingest,
    /// An address, hashed; none where the runtime does not tell.
    Address(Option<u64>),
}

/// The whole body of a request with the token of operators, unpacked.
///
/// # Errors
/// 413 over the limit, packed or unpacked; 408 past the deadline, 400 where the sender broke off or
/// what it sent cannot be unpacked, 415 for a coding that is not known, 429 where too much of its
/// address is under way, 503 where memory is short, or the room of those who show tokens.
pub async fn read(call: &Call, max_bytes: usize) -> Result<Vec<u8>, Problem> {
    let reading = within(DEADLINE_MS, read_all(call, Owner::Admin, max_bytes));
    reading.await.unwrap_or_else(|| Err(too_slow()))
}

/// As [`read`], of an object with fields that may all be left out: an empty body has none.
///
/// # Errors
/// As [`read`]; 400 for what is no object of these fields.
pub async fn read_object<T: DeserializeOwned>(
    call: &Call,
    max_bytes: usize,
    fields: &Fields,
) -> Result<T, Problem> {
    let bytes = read(call, max_bytes).await?;
    let object = match bytes.trim_ascii() {
        b"" => b"{}",
        object => object,
    };
    let reads = |field: &[u8]| serde_json::from_slice::<T>(field).is_ok();
    serde_json::from_slice(object).map_err(|error| fields.problem(object, &error, reads))
}

/// As [`read`], for a caller that keeps the deadline itself: to drop this gives the body up.
///
/// # Errors
/// As [`read`].
pub async fn read_all(call: &Call, owner: Owner, max_bytes: usize) -> Result<Vec<u8>, Problem> {
    let coding = coding(call.seen.content_encoding.as_deref()).map_err(unknown_coding)?;
    let whole = received(call, owner, max_bytes).await?;
    // How large a packed body is unpacked is known only at the end.
    let unpacked_bytes = coding.map_or(0, |_| max_bytes);
    if memory_is_short(2 * whole.length() as usize + unpacked_bytes) {
        return Err(Problem::busy(
            "overloaded",
            1,
            "too much to do at once; try again",
        ));
    }
    let bytes = whole.to_vec();
    let Some(coding) = coding else {
        return Ok(bytes);
    };
    coding
        .unpack(&bytes, max_bytes)
        .map_err(|error| match error {
            UnpackError::TooLarge => too_large(max_bytes),
            UnpackError::Broken => not_packed(coding),
        })
}

/// A body that comes in, outside of this memory.
struct UnderWay(Promise);

impl Drop for UnderWay {
    fn drop(&mut self) {
        give_up(&self.0);
    }
}

/// The body as it was sent.
async fn received(call: &Call, owner: Owner, max_bytes: usize) -> Result<Uint8Array, Problem> {
    let announced = call.seen.content_length.as_deref();
    let announced = announced.and_then(|length| length.parse::<u64>().ok());
    let (is_trusted, owner) = match owner {
        Owner::Admin => (true, 0),
        Owner::Ingest => (true, 1),
        Owner::Address(address) => (false, address.unwrap_or_default()),
    };
    let whole = UnderWay(read_body(
        call.raw(),
        is_trusted,
        owner,
        call.seen.bytes(),
        announced.map(|length| length as f64),
        max_bytes,
    ));
    let outcome = JsFuture::from(Promise::clone(&whole.0)).await;
    outcome
        .map(JsCast::unchecked_into)
        .map_err(|why: JsValue| match why.as_f64() {
            Some(413.0) => too_large(max_bytes),
            Some(429.0) => too_many_bodies(),
            Some(503.0) => Problem::busy(
                "overloaded",
                1,
                "more large bodies are under way than there is room for; try again",
            ),
            _ => Problem::bad("incomplete_body", "the body broke off"),
        })
}

fn too_many_bodies() -> Problem {
    let detail = "too many bodies of this sender are under way, or this one is too slow; send one \
                  after the other";
    Problem::new(429, "too_many_bodies", detail).with_header("Retry-After", "1")
}

fn unknown_coding(detail: String) -> Problem {
    let problem = Problem::new(415, "unsupported_media_type", detail);
    problem.with_header("Accept-Encoding", Coding::ACCEPTED)
}

fn not_packed(coding: Coding) -> Problem {
    let name = coding.name();
    let detail = format!("Content-Encoding says {name}, and the body is none, or not all of it");
    Problem::bad("malformed_body", detail)
}

pub fn too_slow() -> Problem {
    let detail = "the body was not complete after 15 seconds";
    Problem::new(408, "too_slow", detail)
}

fn too_large(max_bytes: usize) -> Problem {
    let detail = format!("a body has at most {max_bytes} bytes here; send fewer plays at once");
    Problem::new(413, "too_large", detail)
}
