//! `/admin`: which installation this is, and beginning to count anew.

use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{Token, require};
use super::answer::Answer;
use super::boards::WIPE_TIMEOUT_MS;
use super::regions::tell_main_of;
use super::request::Call;
use super::telling::{Teller, shards_of};
use super::{body, directory, leaderboards};
use crate::board::ObjectName;
use crate::http::{Problem, hex, read_hex};
use crate::topology::RegionTable;
use crate::window::{kept_days, rfc3339};
use crate::wire::Reset;

/// An id, and room for spaces.
const MAX_RESET_BODY_BYTES: usize = 4 << 10;

#[derive(Deserialize)]
struct ResetBody {
    installation_id: String,
}

pub async fn get(call: &Call) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let directory = directory::fetch(&call.env).await?;
    Ok(Answer::json(&about(&directory.table)).with_header("Cache-Control", "no-store"))
}

/// What is to be known of an installation.
fn about(table: &RegionTable) -> Value {
    let since = (table.epoch_ms > 0).then(|| rfc3339(table.epoch_ms));
    let deleted = table.deleted.iter().map(|region| {
        json!({
            "region_id": region.region.region_id,
            "deleted": rfc3339(region.deleted_ms),
        })
    });
    json!({
        "installation_id": hex(&table.installation_id),
        "counting_since": since,
        "retention_days": kept_days(),
        "deleted_regions": deleted.collect::<Vec<Value>>(),
    })
}

/// Begins counting anew. The registry decides so; the answer says that the global object and every shard
/// have been told, and that nothing is left of other boards, so that no play that is acknowledged from then on is
/// among what goes.
pub async fn reset(call: &Call) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let bytes = body::read(call, MAX_RESET_BODY_BYTES).await?;
    let wanted = "send {\"installation_id\": \"…\"}, which GET /admin says";
    let given: ResetBody = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::bad("bad_reset", format!("{error}; {wanted}")))?;
    let id = read_hex(given.installation_id.trim());
    let id: Option<[u8; 16]> = id.and_then(|id| id.try_into().ok());
    let installation_id = id.ok_or_else(|| {
        let detail = format!("installation_id has 32 hexadecimal digits; {wanted}");
        Problem::bad("bad_reset", detail)
    })?;
    let (registry, request) = (ObjectName::Registry, Reset { installation_id });
    let done = call.ask(&registry, &request, WIPE_TIMEOUT_MS, "bad_reset");
    let done = done.await?;
    directory::forget();
    tell_main_of(call, done.table.clone()).await?;
    leaderboards::forget();
    // Those of deleted regions, too: a Worker that has not heard of it sends them plays.
    let deleted = done.table.deleted.iter().map(|deleted| &deleted.region);
    let regions = done.table.regions.iter().chain(deleted);
    Teller::new(&call.env)
        .begin_epoch(done.table.epoch(), regions.flat_map(shards_of))
        .await
        .map_err(|untold| {
            untold.problem(
                "counting begins anew, but what a shard takes until it has been told is lost",
            )
        })?;
    if done.boards_left > 0 {
        let detail = format!(
            "counting begins anew, but what {} boards take until they are emptied is lost; send the same request again",
            done.boards_left
        );
        return Err(Problem::busy("not_announced", 1, &detail));
    }
    let mut body = about(&done.table);
    if let Value::Object(members) = &mut body {
        members.insert("repeated".into(), done.repeated.into());
    }
    Ok(Answer::json(&body))
}
