//! Batches on their way to shards.

use js_sys::Uint8Array;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use worker::Env;

use crate::board::ObjectName;
use crate::topology::ShardId;

#[wasm_bindgen(module = "/src/js/glue.js")]
extern "C" {
    #[wasm_bindgen(catch)]
    async fn tell(
        env: &Env,
        name: &str,
        hint: Option<&str>,
        batch: Uint8Array,
        voter: Option<Uint8Array>,
    ) -> Result<JsValue, JsValue>;
}

/// What a shard answers to a batch.
pub enum ShardAnswer {
    Common(u16),
    Message(Vec<u8>),
}

/// Sends a batch to a shard. Whoever calls this sees to it that it does not wait for ever.
///
/// # Errors
/// When the shard is away.
pub async fn tell_shard(
    env: &Env,
    board_key: &str,
    to: &ShardId,
    hint: Option<&str>,
    batch: &[u8],
    voter: Option<&[u8]>,
) -> worker::Result<ShardAnswer> {
    let name = ObjectName::shard(board_key, &to.key, to.shard);
    let (batch, voter) = (Uint8Array::from(batch), voter.map(Uint8Array::from));
    let told = tell(env, &name.as_named(), hint, batch, voter).await?;
    Ok(match told.as_f64() {
        Some(common) => ShardAnswer::Common(common as u16),
        None => ShardAnswer::Message(told.unchecked_into::<Uint8Array>().to_vec()),
    })
}
