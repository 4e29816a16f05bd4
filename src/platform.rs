//! What the Worker and the objects need of the platform: time, messages, objects.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{Either, select};
use js_sys::Uint8Array;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use worker::{Delay, Env, Headers, Request, RequestInit, Response, Stub};

use crate::codec::{self, Record};
use crate::http::Method;
use crate::play::MAX_BODY_BYTES;
use crate::settings::read_retention_days;
use crate::topology::{BOARD, shard_object_name};
use crate::visitor::{Proxies, Visitor};
use crate::window::{MAX_DAYS, keep_days};
use crate::wire::InstanceMetrics;

#[wasm_bindgen(module = "/src/js/glue.js")]
extern "C" {
    fn look(request: &web_sys::Request, more: &str) -> String;

    #[wasm_bindgen(js_name = normalised)]
    fn normalised_by_platform(text: &str) -> String;

    #[wasm_bindgen(catch)]
    async fn tell(
        env: &Env,
        name: &str,
        hint: Option<&str>,
        batch: Uint8Array,
        voter: Option<Uint8Array>,
    ) -> Result<JsValue, JsValue>;

    #[wasm_bindgen(catch, js_name = respond)]
    fn respond_with(
        status: u16,
        body: Option<Uint8Array>,
        fixed: &str,
        varying: &str,
        reader: Option<u64>,
    ) -> Result<web_sys::Response, JsValue>;
}

#[wasm_bindgen(module = "/src/js/instance.js")]
extern "C" {
    fn end();

    /// To be called after a call back into Wasm whose errors were caught: does not return where that
    /// was a panic.
    #[wasm_bindgen(js_name = goOn)]
    pub fn go_on();
}

/// What an instance does first. A panic ends it: nothing may run in it any more.
#[wasm_bindgen(start, private)]
fn start() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tell(info);
        end();
    }));
}

/// What all objects of an instance may hold together. The platform ends one at 128 MiB, and its
/// memory never shrinks: room is left for what is under way when the budget is reached.
const INSTANCE_BYTES: usize = 96 << 20;

#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

/// Bytes that are in use in this instance.
fn allocated_bytes() -> usize {
    ALLOCATOR.allocated()
}

/// Bytes of this instance's memory, which never shrinks.
fn wasm_memory_bytes() -> usize {
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

/// This instance, for the operator.
pub fn instance_metrics() -> InstanceMetrics {
    let (id, started_ms) = instance();
    InstanceMetrics {
        id,
        started_ms,
        memory_bytes: wasm_memory_bytes() as u64,
        allocated_bytes: allocated_bytes() as u64,
    }
}

/// Whether `more` bytes would pass the budget: then the answer is to come back later.
pub fn memory_is_short(more: usize) -> bool {
    allocated_bytes().saturating_add(more) > INSTANCE_BYTES
}

/// Whether memory is short for the largest body that anybody may send: plays are refused.
#[wasm_bindgen(js_name = memoryIsSpent)]
pub fn memory_is_spent() -> bool {
    memory_is_short(2 * MAX_BODY_BYTES)
}

/// The header in which the Worker tells a shard which chart a socket is for.
pub const LIVE_HEADER: &str = "X-Hitparade-Live";
/// The headers that tell it whose socket it is, and how many its address may have there; none where
/// addresses are not limited.
pub const LIVE_ADDRESS_HEADER: &str = "X-Hitparade-Live-Address";
pub const LIVE_LIMIT_HEADER: &str = "X-Hitparade-Live-Limit";

/// Random bytes of the platform. All zero where it has none, which no platform of ours is.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let bytes = Uint8Array::new_with_length(N as u32);
    let global = js_sys::global();
    let crypto = js_sys::Reflect::get(&global, &"crypto".into());
    if let Some(crypto) = crypto
        .ok()
        .and_then(|crypto| crypto.dyn_into::<web_sys::Crypto>().ok())
    {
        let _ = crypto.get_random_values_with_js_u8_array(&bytes);
    }
    let mut random = [0; N];
    bytes.copy_to(&mut random);
    random
}

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

/// As [`within`], but gives the future back when its time is over.
///
/// # Errors
/// The future, unfinished.
pub async fn within_or_rest<F: Future + Unpin>(limit_ms: u64, future: F) -> Result<F::Output, F> {
    match select(future, Delay::from(Duration::from_millis(limit_ms))).await {
        Either::Left((output, _)) => Ok(output),
        Either::Right((_, future)) => Err(future),
    }
}

/// The object of a shard, by the key of its region.
///
/// # Errors
/// When the binding is missing.
pub fn shard_stub(env: &Env, key: &str, shard: u32, hint: Option<&str>) -> worker::Result<Stub> {
    let namespace = env.durable_object("SHARD")?;
    let name = shard_object_name(key, shard);
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
    init.with_method(worker::Method::Post);
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

/// What the Worker looks at in every request, read at once.
pub struct Seen {
    pub method: Method,
    pub url: String,
    /// Whose it is. The runtime saw the address: Cloudflare sets its header itself, whatever was
    /// sent; the bare runtime does not, and tells in `cf` instead. Trusted proxies know better.
    pub visitor: Visitor,
    pub authorization: Option<String>,
    pub origin: Option<String>,
    pub content_type: Option<String>,
    pub content_length: Option<String>,
    pub content_encoding: Option<String>,
    pub idempotency_key: Option<String>,
    pub user_agent: Option<String>,
}

impl Seen {
    pub fn of(request: &web_sys::Request, proxies: Option<&Proxies>) -> Self {
        let further = proxies.map(|proxies| {
            let names = proxies.headers().map(Option::unwrap_or_default);
            names.map(|name| format!(" {name}")).concat()
        });
        let text = look(request, &further.unwrap_or_default());
        let mut lines = text.split('\n');
        let name = lines.next().unwrap_or_default();
        let method = Method::read(name);
        let url = lines.next().unwrap_or_default().to_owned();
        let mut next = || {
            let line = lines.next()?;
            line.strip_prefix('+').map(str::to_owned)
        };
        let visitor = Visitor {
            address: next(),
            country: next(),
            continent: next(),
        };
        let mut seen = Seen {
            method,
            url,
            visitor,
            authorization: next(),
            origin: next(),
            content_type: next(),
            content_length: next(),
            content_encoding: next(),
            idempotency_key: next(),
            user_agent: next(),
        };
        if let Some(proxies) = proxies {
            let said = [next(), next(), next()];
            let said = said.each_ref().map(Option::as_deref);
            seen.visitor = proxies.visitor(seen.visitor, said);
        }
        seen
    }

    /// What its texts hold, here and with the runtime.
    pub fn bytes(&self) -> usize {
        let texts = [
            &self.authorization,
            &self.origin,
            &self.content_type,
            &self.content_encoding,
            &self.idempotency_key,
            &self.user_agent,
        ];
        let lengths = texts.into_iter().flatten().map(String::len);
        2 * lengths.fold(self.url.len(), usize::saturating_add)
    }
}

/// The text in the form of Unicode that all texts have which look like it: composed (NFC), without
/// characters that nobody sees, without spaces around it.
pub fn normalised(text: &str) -> String {
    normalised_by_platform(text)
}

/// What a shard answers to a batch.
pub enum Told {
    Common(u16),
    Message(Vec<u8>),
}

/// Sends a batch to a shard. Whoever calls this sees to it that it does not wait for ever.
///
/// # Errors
/// When the shard is away.
pub async fn tell_shard(
    env: &Env,
    key: &str,
    shard: u32,
    hint: Option<&str>,
    batch: &[u8],
    voter: Option<&[u8]>,
) -> worker::Result<Told> {
    let name = shard_object_name(key, shard);
    let (batch, voter) = (Uint8Array::from(batch), voter.map(Uint8Array::from));
    let told = tell(env, &name, hint, batch, voter).await?;
    Ok(match told.as_f64() {
        Some(common) => Told::Common(common as u16),
        None => Told::Message(told.unchecked_into::<Uint8Array>().to_vec()),
    })
}

/// An answer of ours. `fixed` are headers that many answers have; each list is lines of name and
/// value in turn. `reader` may be told to ask again where too many large answers are under way; where it
/// is none, the answer is given.
///
/// # Errors
/// When the platform refuses a header.
pub fn respond(
    status: u16,
    body: Option<&[u8]>,
    fixed: &str,
    varying: &str,
    reader: Option<u64>,
) -> worker::Result<web_sys::Response> {
    Ok(respond_with(
        status,
        body.map(Uint8Array::from),
        fixed,
        varying,
        reader,
    )?)
}

/// A setting; `None` where it is absent or empty.
pub fn setting(env: &Env, name: &'static str) -> Option<String> {
    thread_local! {
        // Settings do not change while an instance lives.
        static READ: RefCell<BTreeMap<&'static str, Option<String>>> = RefCell::default();
    }
    let read = || {
        let value = js_sys::Reflect::get(env, &name.into()).ok()?.as_string()?;
        (!value.is_empty()).then_some(value)
    };
    READ.with(|known| known.borrow_mut().entry(name).or_insert_with(read).clone())
}

/// Lets this instance keep panes as long as `RETENTION_DAYS` says; what cannot be read is told by
/// `/healthz`.
pub fn keep_as_set(env: &Env) {
    thread_local! {
        static IS_SET: Cell<bool> = const { Cell::new(false) };
    }
    if !IS_SET.replace(true) {
        let days = read_retention_days(setting(env, "RETENTION_DAYS").as_deref());
        keep_days(days.unwrap_or(MAX_DAYS));
    }
}

/// Whether a setting says yes.
pub fn setting_is_true(env: &Env, name: &'static str) -> bool {
    setting(env, name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
}
