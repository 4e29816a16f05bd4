//! `POST /plays`: reads, checks, sends each region's plays to their shard.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use worker::{Env, console_error};

use super::access::{Cors, Token, shows};
use super::answer::Answer;
use super::problem::Problem;
use super::request::Call;
use super::{body, limits, table};
use crate::codec;
use crate::limiter::is_bot;
use crate::platform::{call as ask, now_ms, setting, shard_stub};
use crate::play::{
    Body, BodyError, Clock, ClockError, Envelope, MAX_BODY_BYTES, MAX_BODY_BYTES_TRUSTED,
    MAX_IDEMPOTENCY_KEY_BYTES, MAX_PLAYS, MAX_PLAYS_TRUSTED, Play, Refused, Rules, read_body,
};
use crate::settings::{read_regions, region_of};
use crate::topology::{Region, RegionTable};
use crate::wire::{Batch, BatchPlay, Claim, RecordReply, RecordRequest};

/// How long a shard may take to make a batch durable.
const RECORD_TIMEOUT_MS: u64 = 10_000;
/// The platform opens at most six connections at once for a request.
const SHARDS_AT_ONCE: usize = 6;

/// What the sender is told.
#[derive(Serialize)]
struct Verdict {
    accepted: usize,
    rejected: Vec<Rejected>,
    repeated: bool,
}

#[derive(Serialize)]
struct Rejected {
    index: usize,
    code: &'static str,
    detail: String,
}

/// How a batch is known again.
enum Name {
    ClientSeq(String, u64),
    IdempotencyKey(String),
}

pub async fn post(call: &mut Call, cors: &Cors) -> Result<Answer, Problem> {
    let trusted = shows(call, Token::Ingest)?;
    if !cors.allows_origin() {
        let detail = "pages of this origin may not send plays here (ALLOWED_ORIGINS)";
        return Err(Problem::new(403, "origin_not_allowed", detail));
    }
    let limit = if trusted {
        None
    } else {
        Some(limits::count(call).await?)
    };
    let answer = count(call, trusted).await?;
    Ok(match limit {
        Some(limit) => limit.tell(answer),
        None => answer,
    })
}

async fn count(call: &mut Call, trusted: bool) -> Result<Answer, Problem> {
    let lines = announced_as_lines(call)?;
    let header_key = idempotency_key(call)?;
    let limit = if trusted {
        MAX_BODY_BYTES_TRUSTED
    } else {
        MAX_BODY_BYTES
    };
    let bytes = body::read(call, limit).await?;
    let body = read_body(&bytes, lines).map_err(body_problem)?;
    let max_plays = if trusted {
        MAX_PLAYS_TRUSTED
    } else {
        MAX_PLAYS
    };
    if body.plays.len() > max_plays {
        return Err(too_many_plays(max_plays));
    }
    let clock = Clock::new(&body.envelope, now_ms()).map_err(clock_problem)?;
    let name = batch_name(&body.envelope, header_key);

    let mut table = table::table(&call.env).await?;
    let names_unknown_region = |table: &RegionTable, plays: &[Result<Play<'_>, Refused>]| {
        let mut named = plays
            .iter()
            .flatten()
            .filter_map(|play| play.region_id.as_ref());
        named.any(|region_id| table.find(region_id).is_none())
    };
    let from_bot = !trusted
        && call
            .header("User-Agent")
            .is_some_and(|agent| is_bot(&agent));
    let plays = if from_bot {
        let refused = || Refused::new("bot", "this user agent says that it is no person");
        body.plays.iter().map(|_| Err(refused())).collect()
    } else {
        check(&body, Rules { clock, trusted })
    };
    if names_unknown_region(&table, &plays) {
        table = table::newer_table(&call.env).await?;
    }
    let here = region_of_request(call, &table);
    let (batches, rejected) = by_region(plays, &table, here.as_deref());
    if batches.is_empty() {
        let mut problem = Problem::bad("no_good_play", "no play of this batch can be counted");
        let rejected = serde_json::to_value(&rejected).unwrap_or_default();
        problem.more.insert("rejected".into(), rejected);
        return Err(problem);
    }
    if batches.len() > 1 && name.is_none() {
        let detail = "a batch over several regions needs client and seq, or an Idempotency-Key";
        return Err(Problem::bad("key_required", detail));
    }
    let accepted = batches.values().map(Vec::len).sum();
    let key = name.as_ref().map(|name| key_of(name, trusted));
    let client = match &name {
        // A key without a first attempt could meet another number of shards: always shard 0.
        Some(Name::ClientSeq(client, _)) if body.envelope.sent_ms.is_some() => {
            Some(client.as_str())
        }
        _ => None,
    };
    let env = &call.env;
    let sends = batches.iter().map(|(region_id, plays)| {
        send(
            env,
            &table,
            region_id,
            plays,
            key.as_deref(),
            client,
            clock.sent_ms,
        )
    });
    let replies: Vec<Result<bool, Problem>> = stream::iter(sends)
        .buffer_unordered(SHARDS_AT_ONCE)
        .collect()
        .await;
    let mut repeated = true;
    for reply in replies {
        repeated &= reply?;
    }
    Ok(Answer::json(&Verdict {
        accepted,
        rejected,
        repeated,
    })
    .with_status(202))
}

/// Whether the body is announced as lines; forms that are no plays are refused.
fn announced_as_lines(call: &Call) -> Result<bool, Problem> {
    let announced = call.header("Content-Type").unwrap_or_default();
    let essence = announced
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match essence.as_str() {
        "application/x-ndjson" => Ok(true),
        "" | "text/plain" | "application/json" => Ok(false),
        _ => Err(Problem::new(
            415,
            "unsupported_media_type",
            "send plays as application/json, text/plain or application/x-ndjson",
        )),
    }
}

fn idempotency_key(call: &Call) -> Result<Option<String>, Problem> {
    let key = call.header("Idempotency-Key");
    match &key {
        Some(key) if !(1..=MAX_IDEMPOTENCY_KEY_BYTES).contains(&key.len()) => Err(Problem::bad(
            "bad_key",
            "Idempotency-Key has 1 to 256 bytes",
        )),
        _ => Ok(key),
    }
}

fn batch_name(envelope: &Envelope, header_key: Option<String>) -> Option<Name> {
    match &envelope.client_seq {
        Some((client, seq)) => Some(Name::ClientSeq(client.clone(), *seq)),
        None => header_key.map(Name::IdempotencyKey),
    }
}

/// The bytes under which a shard remembers a batch. Trusted and untrusted ones, names and keys
/// are kept apart, so that nobody can make another's batch look like a repeat.
fn key_of(name: &Name, trusted: bool) -> Vec<u8> {
    let trusted = u8::from(trusted);
    match name {
        Name::ClientSeq(client, seq) => {
            [&[trusted, b'c'], &seq.to_be_bytes()[..], client.as_bytes()].concat()
        }
        Name::IdempotencyKey(key) => [&[trusted, b'k'], key.as_bytes()].concat(),
    }
}

fn check<'a>(body: &Body<'a>, rules: Rules) -> Vec<Result<Play<'a>, Refused>> {
    let checked = body.plays.iter().map(|raw| match raw {
        Ok(raw) => rules.check(raw),
        Err(detail) => Err(Refused::new("bad_play", detail.clone())),
    });
    checked.collect()
}

/// Where a request without a region's name counts: by the country that the runtime saw.
pub fn region_of_request(call: &Call, table: &RegionTable) -> Option<String> {
    let first = table.regions.first().map(|region| region.region_id.clone());
    let Ok(settings) = read_regions(setting(&call.env, "REGIONS").as_deref()) else {
        return first;
    };
    let cf = call.request.cf();
    let country = cf.and_then(|cf| cf.country());
    let continent = cf.and_then(|cf| cf.continent());
    if country.is_none() && continent.is_none() {
        return first;
    }
    let region = region_of(&settings, country.as_deref(), continent.as_deref());
    region
        .filter(|region| table.find(region).is_some())
        .map(str::to_owned)
        .or(first)
}

type Batches<'a> = BTreeMap<String, Vec<Play<'a>>>;

fn by_region<'a>(
    plays: Vec<Result<Play<'a>, Refused>>,
    table: &RegionTable,
    here: Option<&str>,
) -> (Batches<'a>, Vec<Rejected>) {
    let mut batches = Batches::new();
    let mut rejected = Vec::new();
    for (index, play) in plays.into_iter().enumerate() {
        let placed = play.and_then(|play| {
            let region_id = play
                .region_id
                .as_deref()
                .or(here)
                .unwrap_or_default()
                .to_owned();
            if table.find(&region_id).is_none() {
                let detail = "there is no such region; PUT /regions makes one";
                return Err(Refused::new("unknown_region", detail));
            }
            Ok((region_id, play))
        });
        match placed {
            Ok((region_id, play)) => batches.entry(region_id).or_default().push(play),
            Err(Refused { code, detail }) => rejected.push(Rejected {
                index,
                code,
                detail: detail.into_owned(),
            }),
        }
    }
    (batches, rejected)
}

/// Sends a region's plays to their shard. Returns whether they had been counted before.
async fn send(
    env: &Env,
    table: &RegionTable,
    region_id: &str,
    plays: &[Play<'_>],
    key: Option<&[u8]>,
    client: Option<&str>,
    sent_ms: u64,
) -> Result<bool, Problem> {
    let region = table.find(region_id).ok_or_else(Problem::unknown_region)?;
    let route = region.route(client, sent_ms);
    if let (Some(old_shard), Some(key)) = (route.claim_at, key) {
        let claim = codec::encode(&Claim { key, sent_ms });
        let reply = send_to(env, table, region, old_shard, &claim).await?;
        if reply != RecordReply::Claimed {
            return verdict_of(reply);
        }
    }
    let plays = plays.iter().map(|play| BatchPlay {
        post_id: &play.post_id,
        timestamp_ms: play.timestamp_ms,
        count: play.count,
    });
    let batch = codec::encode(&Batch {
        key,
        sent_ms,
        plays: plays.collect(),
    });
    verdict_of(send_to(env, table, region, route.shard, &batch).await?)
}

async fn send_to(
    env: &Env,
    table: &RegionTable,
    region: &Region,
    shard: u32,
    batch: &[u8],
) -> Result<RecordReply, Problem> {
    let request = RecordRequest {
        region_id: &region.region_id,
        shard,
        seed: table.seed,
        batch,
    };
    let stub = shard_stub(env, &region.region_id, shard, region.hint.as_deref())
        .map_err(|error| Problem::away("the shard", &error))?;
    ask::<_, RecordReply>(&stub, "/record", &request, RECORD_TIMEOUT_MS)
        .await
        .map_err(|error| Problem::away("the shard", &error))
}

fn verdict_of(reply: RecordReply) -> Result<bool, Problem> {
    let again = "not counted; send the whole batch again under the same key";
    match reply {
        RecordReply::Counted { repeated } => Ok(repeated),
        RecordReply::TooOld => Err(clock_problem(ClockError::TooOldToRepeat)),
        RecordReply::Busy { retry_after_s } => {
            Err(Problem::busy("overloaded", retry_after_s, again))
        }
        // The number of shards is changing: the next attempt asks the shard of the new one.
        RecordReply::Moved => Err(Problem::busy("moved", 2, again)),
        RecordReply::Invalid | RecordReply::Claimed => {
            console_error!("shard refused a batch of ours");
            Err(Problem::busy(
                "unavailable",
                2,
                "the shard runs another release; try again",
            ))
        }
    }
}

fn body_problem(error: BodyError) -> Problem {
    match error {
        BodyError::Malformed(detail) => Problem::bad("malformed_body", detail),
        BodyError::BadEnvelope(detail) => Problem::bad("bad_envelope", detail),
        BodyError::TooManyPlays => too_many_plays(MAX_PLAYS_TRUSTED),
    }
}

fn too_many_plays(limit: usize) -> Problem {
    let detail = format!("at most {limit} plays a request; nothing was counted");
    Problem::new(413, "too_many_plays", detail)
}

fn clock_problem(error: ClockError) -> Problem {
    match error {
        ClockError::TooOldToRepeat => Problem::bad(
            "too_old_to_repeat",
            "first sent over 15 minutes ago: whether it was counted is not known any more; drop it",
        ),
        ClockError::SentAhead => Problem::bad(
            "bad_envelope",
            "sent lies in the future; send now, your clock at this attempt, to have it corrected",
        ),
    }
}
