//! `/regions`: which there are, and making or changing one.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use worker::Env;

use super::access::{Token, may_read, require};
use super::answer::Answer;
use super::request::Call;
use super::telling::{Teller, shards_of};
use super::{ASK_TIMEOUT_MS, body, table};
use crate::codec::{self, Record};
use crate::http::{Problem, given};
use crate::objects::{call as ask, call_raw, global_stub};
use crate::topology::{DeletedRegion, Region, RegionTable};
use crate::window::rfc3339;
use crate::wire::{
    DeleteRegion, DeleteRegionReply, News, PutRegion, PutRegionReply, RegionsReply, Told,
};

/// A region's fields are few and short.
const MAX_BYTES: usize = 16 << 10;

#[derive(Deserialize)]
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
}

pub async fn get(call: &Call) -> Result<Answer, Problem> {
    may_read(call)?;
    let away = |error| Problem::away("the global object", &error);
    let stub = global_stub(&call.env).map_err(away)?;
    let reply = call_raw(&stub, "/regions", &[], ASK_TIMEOUT_MS)
        .await
        .map_err(away)?;
    let RegionsReply(reply) =
        codec::decode(&reply).map_err(|error| away(worker::Error::from(error.to_string())))?;
    let regions = reply.map_err(|refusal| Problem::refused(refusal, "bad_region"))?;
    let regions = regions.into_iter().map(|region| {
        json!({
            "region_id": region.region_id,
            "region_name": region.region_name,
            "shards": region.shards,
            "hint": region.hint,
            "views_24h": region.views_24h,
            "push_age_ms": region.push_age_ms,
        })
    });
    let body = json!({ "regions": regions.collect::<Vec<Value>>() });
    Ok(Answer::json(&body).with_header("Cache-Control", "public, max-age=1"))
}

pub async fn put(call: &mut Call, region_id: String) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let bytes = body::read(call, MAX_BYTES).await?;
    let bytes = if bytes.trim_ascii().is_empty() {
        b"{}".to_vec()
    } else {
        bytes
    };
    let given: RegionBody = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::bad("malformed_body", error.to_string()))?;
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
    let table = table_now(&call.env).await?;
    let mut teller = Teller::new(&call.env);
    announce_deletions(&mut teller, &call.env, &table, &request.region_id).await?;
    // A change of the number is taken only when all know of the one before.
    if request.shards.is_some()
        && let Some(region) = table.find(&request.region_id)
    {
        announce(&mut teller, &call.env, region).await?;
    }
    let region = change(&call.env, "/put-region", &request).await?;
    table::forget();
    announce(&mut teller, &call.env, &region).await?;
    Ok(Answer::json(&region_json(&region)))
}

/// Deletes a region; the answer says that none of its shards takes plays any more. Again and again, it
/// is the same.
pub async fn delete(call: &Call, region_id: String) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let away = |error| Problem::away("the global object", &error);
    let table = table_now(&call.env).await?;
    let mut teller = Teller::new(&call.env);
    announce_deletions(&mut teller, &call.env, &table, &region_id).await?;
    let stub = global_stub(&call.env).map_err(away)?;
    let request = DeleteRegion { region_id };
    let reply = ask(&stub, "/delete-region", &request, ASK_TIMEOUT_MS).await;
    let DeleteRegionReply(reply) = reply.map_err(away)?;
    let deleted = reply.map_err(|refusal| Problem::refused(refusal, "bad_region"))?;
    table::forget();
    announce_deletion(&mut teller, &call.env, &deleted).await?;
    Ok(Answer::json(&json!({
        "region_id": deleted.region.region_id,
        "deleted": rfc3339(deleted.deleted_ms),
    })))
}

async fn table_now(env: &Env) -> Result<RegionTable, Problem> {
    let table = table::fetch(env).await;
    table.map_err(|error| Problem::away("the global object", &error))
}

/// Before an id is made or deleted again: nobody would come back to the region of before, and batches
/// would be claimed at it for ever.
async fn announce_deletions(
    teller: &mut Teller<'_>,
    env: &Env,
    table: &RegionTable,
    region_id: &str,
) -> Result<(), Problem> {
    for deleted in table.untold_deletions(region_id) {
        announce_deletion(teller, env, deleted).await?;
    }
    Ok(())
}

/// Tells every shard of a region that it was deleted, and the global object that they know.
///
/// # Errors
/// 503 as long as not all of them know.
async fn announce_deletion(
    teller: &mut Teller<'_>,
    env: &Env,
    deleted: &DeletedRegion,
) -> Result<(), Problem> {
    let region = &deleted.region;
    let shards = shards_of(region, region.most_shards());
    let name = format!("deleted {}", region.key());
    let told = teller.announce(&name, News::Deleted, shards).await;
    told.map_err(|untold| {
        untold.problem(
            "a region of this id is deleted, but a shard of it may take plays until it has been told",
        )
    })?;
    if deleted.claim_until_ms.is_none() {
        let told = Told {
            region_id: region.key().into_owned(),
            asked_ms: deleted.deleted_ms,
        };
        change(env, "/told", &told).await?;
        table::forget();
    }
    Ok(())
}

/// Asks the global object to change a region.
async fn change<Q: Record + Serialize>(
    env: &Env,
    path: &str,
    request: &Q,
) -> Result<Region, Problem> {
    let away = |error| Problem::away("the global object", &error);
    let stub = global_stub(env).map_err(away)?;
    let reply = ask(&stub, path, request, ASK_TIMEOUT_MS).await;
    let PutRegionReply(reply) = reply.map_err(away)?;
    reply.map_err(|refusal| Problem::refused(refusal, "bad_region"))
}

/// Tells the shards of the number before of the last change, if not all of them know, and the
/// global object that they do.
///
/// # Errors
/// 503 as long as not all of them know. The change takes effect all the same, and batches that it moves
/// are claimed, which costs a message each, until this is done.
async fn announce(teller: &mut Teller<'_>, env: &Env, region: &Region) -> Result<(), Problem> {
    let Some((change_of_shards, shards)) = region.untold() else {
        return Ok(());
    };
    let asked_ms = change_of_shards.asked_ms;
    let name = format!("shards {asked_ms} {}", region.key());
    let news = News::Shards(change_of_shards);
    let told = teller
        .announce(&name, news, shards_of(region, shards))
        .await;
    told.map_err(|untold| {
        untold.problem(
            "the change is stored; until all shards have been told, each batch that moves costs a second message",
        )
    })?;
    let told = Told {
        region_id: region.region_id.clone(),
        asked_ms,
    };
    change(env, "/told", &told).await.map(drop)
}

fn region_json(region: &Region) -> Value {
    json!({
        "region_id": region.region_id,
        "region_name": region.region_name,
        "shards": region.shards_wanted(),
        "hint": region.hint,
    })
}
