//! `GET /healthz`: whether plays can be taken, as far as this isolate knows. It wakes no object and
//! waits for none: what it says of shards is what came with their answers to plays a moment ago
//! (`src/js/health.js`). Where no plays come, nothing is known, and nothing is said to be wrong.

use serde::Deserialize;
use serde_json::{Value, json};
use wasm_bindgen::prelude::wasm_bindgen;

use super::answer::Answer;
use super::request::Call;
use crate::environment::setting;
use crate::http::Problem;
use crate::instance::memory_is_spent;
use crate::settings::{self, NO_ZONE};
use crate::zones::own_zone;

#[wasm_bindgen(module = "/src/js/health.js")]
extern "C" {
    #[wasm_bindgen(js_name = knownOfShards)]
    fn known_of_shards() -> String;
}

/// What is known of shards.
#[derive(Default, Deserialize)]
struct KnownShards {
    /// How many answered a moment ago.
    shards: u32,
    /// What is wrong, and where: the first few.
    wrong: Vec<Wrong>,
}

#[derive(Deserialize)]
struct Wrong {
    what: String,
    region_id: String,
}

/// A setting that cannot be read is told before anybody relies on it: the server that is started
/// with it refuses to start.
pub fn get(call: &Call) -> Result<Answer, Problem> {
    settings::check(|name| setting(&call.env, name))
        .and_then(|()| own_zone(&call.env).map(drop).ok_or(NO_ZONE.into()))
        .map_err(|detail| Problem::new(500, "bad_setting", detail))?;
    let known: KnownShards = serde_json::from_str(&known_of_shards()).unwrap_or_default();
    let mut wrong: Vec<Value> = Vec::new();
    if memory_is_spent() {
        wrong.push(json!({"what": "memory"}));
    }
    for Wrong { what, region_id } in known.wrong {
        wrong.push(json!({"what": what, "region_id": region_id}));
    }
    if wrong.is_empty() {
        return Ok(Answer::json(&json!({
            "status": "ok",
            "version": crate::VERSION,
            "shards_heard": known.shards,
        })));
    }
    let said: Vec<String> = wrong.iter().map(sentence).collect();
    let problem = Problem::busy("unhealthy", UNHEALTHY_RETRY_S, &said.join("; "));
    Err(problem.with("wrong", wrong))
}

/// As long as what came with an answer is believed.
const UNHEALTHY_RETRY_S: u32 = 15;

fn sentence(wrong: &Value) -> String {
    let text = |name: &str| wrong.get(name).and_then(Value::as_str).unwrap_or_default();
    let shard = format!("a shard of {}", text("region_id"));
    match (text("what"), text("region_id")) {
        ("memory", "") => "no memory is left here for plays".to_owned(),
        ("memory", _) => format!("{shard} has no memory left for plays"),
        ("storage", _) => format!("{shard} cannot store plays"),
        ("pushes", _) => format!("{shard} has not reached the global object for three intervals"),
        _ => format!("{shard} does not answer"),
    }
}
