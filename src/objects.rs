//! Messages to Durable Objects, and their answers.

use worker::{Env, Headers, Request, RequestInit, Response, Stub};

use crate::board::ObjectName;
use crate::clock::within;
use crate::codec;
use crate::wire::{AnswerTo, Question, Refusal, Reply};

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

/// Asks an object a question, and decodes the reply: an answer, or why there is none. The hint is as in
/// [`stub`].
///
/// # Errors
/// As [`call_raw`], and where the reply cannot be read.
pub async fn ask<Q: Question>(
    env: &Env,
    (object, hint): (&ObjectName, Option<&str>),
    question: &Q,
    limit_ms: u64,
) -> worker::Result<Result<AnswerTo<Q>, Refusal>> {
    let message = codec::encode(question);
    let reply = call_raw(&stub(env, object, hint)?, Q::PATH, &message, limit_ms).await?;
    let reply = codec::decode::<Q::Reply>(&reply).map(Reply::answer);
    reply.map_err(|error| worker::Error::from(format!("{}: {error}", Q::PATH)))
}

/// An object's answer: an encoded message.
///
/// # Errors
/// When the platform refuses to make a response.
pub fn answer(message: Vec<u8>) -> worker::Result<Response> {
    let headers = Headers::new();
    headers.set("Content-Type", "application/octet-stream")?;
    Ok(Response::from_bytes(message)?.with_headers(headers))
}
