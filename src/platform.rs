//! What the Worker and the objects need of the platform: time, messages, objects.

use std::time::Duration;

use futures_util::future::{Either, select};
use serde::{Deserialize, Serialize};
use worker::{Delay, Env, Headers, Method, Request, RequestInit, Response, Stub};

use crate::codec::{self, Record};
use crate::storage::random_bytes;
use crate::topology::{BOARD, shard_object_name};

/// What all objects of an instance may hold together. The platform ends one at 128 MiB, and its
/// memory never shrinks: room is left for what is under way when the budget is reached.
const INSTANCE_BYTES: usize = 96 << 20;

#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

/// Bytes that are in use in this instance.
pub fn allocated_bytes() -> usize {
    ALLOCATOR.allocated()
}

/// Bytes of this instance's memory, which never shrinks.
pub fn wasm_memory_bytes() -> usize {
    core::arch::wasm32::memory_size::<0>() << 16
}

/// A random name of this instance of Wasm, and when it was first asked for. A panic ends an
/// instance; the next one has another name.
pub fn instance() -> (u64, u64) {
    thread_local! {
        static INSTANCE: (u64, u64) = (u64::from_be_bytes(random_bytes()), now_ms());
    }
    INSTANCE.with(|instance| *instance)
}

/// Whether `more` bytes would pass the budget: then the answer is to come back later.
pub fn memory_is_short(more: usize) -> bool {
    allocated_bytes().saturating_add(more) > INSTANCE_BYTES
}

/// The header in which the Worker tells a shard which chart a socket is for.
pub const LIVE_HEADER: &str = "X-Hitparade-Live";

/// Milliseconds since 1970. The platform's clock stands still while code runs.
pub fn now_ms() -> u64 {
    js_sys::Date::now() as u64
}

/// Waits for a future, but not for ever. `None` when its time is over.
pub async fn within<F: Future>(limit_ms: u64, future: F) -> Option<F::Output> {
    let future = std::pin::pin!(future);
    match select(future, Delay::from(Duration::from_millis(limit_ms))).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// The object of a shard.
///
/// # Errors
/// When the binding is missing.
pub fn shard_stub(
    env: &Env,
    region_id: &str,
    shard: u32,
    hint: Option<&str>,
) -> worker::Result<Stub> {
    let namespace = env.durable_object("SHARD")?;
    let name = shard_object_name(region_id, shard);
    match hint {
        Some(hint) => namespace.get_by_name_with_location_hint(&name, hint),
        None => namespace.get_by_name(&name),
    }
}

/// The global object.
///
/// # Errors
/// When the binding is missing.
pub fn global_stub(env: &Env) -> worker::Result<Stub> {
    env.durable_object("GLOBAL")?.get_by_name(BOARD)
}

/// Sends a message to an object and returns the bytes of its answer.
///
/// # Errors
/// When the object is away, fails, or does not answer in time.
pub async fn call_raw(
    stub: &Stub,
    path: &str,
    message: &[u8],
    limit_ms: u64,
) -> worker::Result<Vec<u8>> {
    let mut init = RequestInit::new();
    init.with_method(Method::Post);
    init.with_body(Some(js_sys::Uint8Array::from(message).into()));
    let request = Request::new_with_init(&format!("http://object{path}"), &init)?;
    let answer = async {
        let mut response = stub.fetch_with_request(request).await?;
        if response.status_code() != 200 {
            let status = response.status_code();
            return Err(worker::Error::from(format!("{path}: status {status}")));
        }
        response.bytes().await
    };
    match within(limit_ms, answer).await {
        Some(outcome) => outcome,
        None => Err(worker::Error::from(format!(
            "{path}: no answer in {limit_ms} ms"
        ))),
    }
}

/// Sends a message to an object and decodes its answer.
///
/// # Errors
/// As [`call_raw`], and when the answer is not the record that was expected.
pub async fn call<Q: Record + Serialize, A: Record + for<'de> Deserialize<'de>>(
    stub: &Stub,
    path: &str,
    question: &Q,
    limit_ms: u64,
) -> worker::Result<A> {
    let answer = call_raw(stub, path, &codec::encode(question), limit_ms).await?;
    codec::decode(&answer).map_err(|error| worker::Error::from(format!("{path}: {error}")))
}

/// An object's answer.
///
/// # Errors
/// When the platform refuses to make a response.
pub fn answer<A: Record + Serialize>(answer: &A) -> worker::Result<Response> {
    let headers = Headers::new();
    headers.set("Content-Type", "application/octet-stream")?;
    Ok(Response::from_bytes(codec::encode(answer))?.with_headers(headers))
}

/// A setting; `None` where it is absent or empty.
pub fn setting(env: &Env, name: &str) -> Option<String> {
    let value = js_sys::Reflect::get(env, &name.into()).ok()?.as_string()?;
    (!value.is_empty()).then_some(value)
}

/// Whether a setting says yes.
pub fn setting_is_true(env: &Env, name: &str) -> bool {
    setting(env, name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
}
