//! `/regions`: which there are, and making or changing one.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::access::{Token, require};
use super::answer::Answer;
use super::request::Call;
use super::{ASK_TIMEOUT_MS, boards, body, directory};
use crate::board::{MAIN, ObjectName};
use crate::http::{Fields, Problem, given};
use crate::log::report;
use crate::topology::{Region, RegionTable};
use crate::window::rfc3339;
use crate::wire::{DeleteRegion, Learn, ListRegions, PutRegion};

/// A region's fields are few and short.
const MAX_REGION_BODY_BYTES: usize = 16 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionBody {
    #[serde(default)]
    region_id: Option<String>,
    #[serde(default)]
    region_name: Option<String>,
    #[serde(default)]
    shards: Option<u32>,
    /// `null` clears it.
    #[serde(default, deserialize_with = "given")]
    hint: Option<Option<String>>,
    // What `GET /regions` says of it, for whoever sends that back.
    #[serde(rename = "views_24h")]
    _views_24h: Option<IgnoredAny>,
    #[serde(rename = "push_age_ms")]
    _push_age_ms: Option<IgnoredAny>,
}

const REGION_FIELDS: Fields = Fields {
    of: "a region",
    bad_code: "bad_region",
    kinds: &[
        ("region_id", "a text"),
        ("region_name", "a text"),
        ("shards", "a whole number"),
        ("hint", "a text, such as \"weur\", or null"),
    ],
    others: &[
        ("id", "region_id"),
        ("name", "region_name"),
        ("title", "region_name"),
    ],
};

pub async fn get(call: &Call) -> Result<Answer, Problem> {
    let board = boards::to_read(call).await?;
    let global = ObjectName::global(&board.key());
    let regions = call.ask(&global, &ListRegions, ASK_TIMEOUT_MS, "bad_region");
    let regions = regions.await?;
    let directory = directory::fresh(&call.env).await?;
    let told = |id: &str| regions.iter().find(|region| region.region_id == id);
    // What the board has heard of is counted there; a region that was made since has no plays yet.
    let regions = directory.table.regions.iter().map(|region| {
        let heard = told(&region.region_id);
        json!({
            "region_id": region.region_id,
            "region_name": region.region_name,
            "shards": board.shards_in(region).shards,
            "hint": region.hint,
            "views_24h": heard.map_or(0, |heard| heard.views_24h),
            "push_age_ms": heard.and_then(|heard| heard.push_age_ms),
        })
    });
    let others = directory.boards().cloned();
    let readable = others.filter(|board| boards::open_to(call, board.clone()).is_ok());
    let body = json!({
        "board": board.board_id,
        "regions": regions.collect::<Vec<Value>>(),
        // So a page knows whether there is anything to choose from.
        "boards": readable.count(),
    });
    Ok(Answer::json(&body).with_header("Cache-Control", "public, max-age=1"))
}

pub async fn put(call: &mut Call, region_id: String) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let given: RegionBody = body::read_object(call, MAX_REGION_BODY_BYTES, &REGION_FIELDS).await?;
    if given.region_id.is_some_and(|given| given != region_id) {
        return Err(Problem::bad(
            "bad_region",
            "region_id differs from the path's",
        ));
    }
    let request = PutRegion {
        region_id,
        region_name: given.region_name,
        shards: given.shards,
        hint: given.hint,
    };
    let registry = ObjectName::Registry;
    let region = call.ask(&registry, &request, ASK_TIMEOUT_MS, "bad_region");
    let region = region.await?;
    directory::forget();
    if let Err(problem) = tell_main(call).await {
        // The global object hears of the region with the first push or question that names it.
        report!("worker", "{}", problem.detail);
    }
    Ok(Answer::json(&region_json(&region)))
}

/// Deletes a region. Repeated, it gives the same answer.
pub async fn delete(call: &Call, region_id: String) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let (registry, request) = (ObjectName::Registry, DeleteRegion { region_id });
    let deleted = call.ask(&registry, &request, ASK_TIMEOUT_MS, "bad_region");
    let deleted = deleted.await?;
    directory::forget();
    tell_main(call).await?;
    Ok(Answer::json(&json!({
        "region_id": deleted.region.region_id,
        "deleted": rfc3339(deleted.deleted_ms),
    })))
}

/// Tells `main`'s global object of the regions as they are now. Those of other boards hear of them when they
/// meet one that they do not know, or after minutes.
///
/// # Errors
/// 503 where the registry or the global object is away.
async fn tell_main(call: &Call) -> Result<(), Problem> {
    let directory = directory::fetch(&call.env).await?;
    tell_main_of(call, RegionTable::clone(&directory.table)).await
}

/// Tells it of a table that the registry has just answered with.
///
/// # Errors
/// 503 where the global object is away.
pub async fn tell_main_of(call: &Call, table: RegionTable) -> Result<(), Problem> {
    let global = ObjectName::global(MAIN);
    call.ask(&global, &Learn { table }, ASK_TIMEOUT_MS, "bad_region")
        .await
}

fn region_json(region: &Region) -> Value {
    json!({
        "region_id": region.region_id,
        "region_name": region.region_name,
        "shards": region.shards,
        "hint": region.hint,
    })
}
