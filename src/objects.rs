//! Messages to Durable Objects, and their answers.

use serde::{Deserialize, Serialize};
use worker::{Env, Headers, Request, RequestInit, Response, Stub};

use crate::board::ObjectName;
use crate::clock::within;
use crate::codec::{self, Record};

/// An object. The hint says where the platform is to make it, where it has none yet.
///
/// # Errors
/// When the binding is missing.
pub fn stub(env: &Env, object: &ObjectName, hint: Option<&str>) -> worker::Result<Stub> {
    let namespace = env.durable_object(match object {
        ObjectName::Shard { .. } => "SHARD",
        ObjectName::Global { .. } => "GLOBAL",
        ObjectName::Catalog { .. } | ObjectName::Registry => "REGISTRY",
        ObjectName::Unnamed => return Err("nobody can ask an object without a name".into()),
    })?;
    let name = object.as_named();
    match hint {
        Some(hint) => namespace.get_by_name_with_location_hint(&name, hint),
        None => namespace.get_by_name(&name),
    }
}

/// The object of a shard, by the keys of its board and its region.
///
/// # Errors
/// When the binding is missing.
pub fn shard_stub(
    env: &Env,
    board_key: &str,
    key: &str,
    shard: u32,
    hint: Option<&str>,
) -> worker::Result<Stub> {
    stub(env, &ObjectName::shard(board_key, key, shard), hint)
}

/// The global object of a board, by its key.
///
/// # Errors
/// When the binding is missing.
pub fn global_stub(env: &Env, board_key: &str) -> worker::Result<Stub> {
    stub(env, &ObjectName::global(board_key), None)
}

/// The registry.
///
/// # Errors
/// When the binding is missing.
pub fn registry_stub(env: &Env) -> worker::Result<Stub> {
    stub(env, &ObjectName::Registry, None)
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
