//! Messages to Durable Objects, and their answers.

use js_sys::Uint8Array;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use worker::{Env, Stub};

use crate::board::ObjectName;
use crate::codec;
use crate::wire::{AnswerTo, Question, Refusal, Reply};

#[wasm_bindgen(module = "/src/js/glue.js")]
extern "C" {
    /// # Errors
    /// As [`call_raw`].
    #[wasm_bindgen(catch, js_name = ask)]
    async fn ask_object(
        env: &Env,
        binding: &str,
        name: &str,
        hint: Option<&str>,
        path: &str,
        message: Uint8Array,
        limit_ms: f64,
    ) -> Result<JsValue, JsValue>;
}

/// # Errors
/// Where it has no name.
fn binding_of(object: &ObjectName) -> worker::Result<&'static str> {
    match object {
        ObjectName::Shard { .. } => Ok("SHARD"),
        ObjectName::Global { .. } => Ok("GLOBAL"),
        ObjectName::Catalog { .. } | ObjectName::Registry => Ok("REGISTRY"),
        ObjectName::Unnamed => Err("nobody can ask an object without a name".into()),
    }
}

/// An object. The hint says where the platform is to make it, where it has none yet.
///
/// # Errors
/// When the binding is missing.
pub fn stub(env: &Env, object: &ObjectName, hint: Option<&str>) -> worker::Result<Stub> {
    let namespace = env.durable_object(binding_of(object)?)?;
    let name = object.as_named();
    match hint {
        Some(hint) => namespace.get_by_name_with_location_hint(&name, hint),
        None => namespace.get_by_name(&name),
    }
}

/// Sends a message to an object and returns the bytes of its answer. The hint is as in [`stub`].
///
/// # Errors
/// When the object is away, fails, or does not answer in time.
pub async fn call_raw(
    env: &Env,
    (object, hint): (&ObjectName, Option<&str>),
    path: &str,
    message: &[u8],
    limit_ms: u64,
) -> worker::Result<Vec<u8>> {
    let (binding, name) = (binding_of(object)?, object.as_named());
    let (message, limit_ms) = (Uint8Array::from(message), limit_ms as f64);
    let answer = ask_object(env, binding, &name, hint, path, message, limit_ms).await?;
    Ok(answer.unchecked_into::<Uint8Array>().to_vec())
}

/// Asks an object a question, and decodes the reply: an answer, or why there is none. The hint is as in
/// [`stub`].
///
/// # Errors
/// As [`call_raw`], and where the reply cannot be read.
pub async fn ask<Q: Question>(
    env: &Env,
    object: (&ObjectName, Option<&str>),
    question: &Q,
    limit_ms: u64,
) -> worker::Result<Result<AnswerTo<Q>, Refusal>> {
    let message = codec::encode(question);
    let reply = call_raw(env, object, Q::PATH, &message, limit_ms).await?;
    let reply = codec::decode::<Q::Reply>(&reply).map(Reply::answer);
    reply.map_err(|error| worker::Error::from(format!("{}: {error}", Q::PATH)))
}

/// What an object answers to a message that it does not know.
pub const NO_SUCH_MESSAGE: JsValue = JsValue::UNDEFINED;

/// An object's answer, an encoded message, as `src/js/half.js` is given it.
pub fn as_answer(message: &[u8]) -> JsValue {
    Uint8Array::from(message).into()
}
