//! `POST /plays`: reads, checks, sends each region's plays to their shard.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use worker::Env;

use super::access::{Token, shows};
use super::answer::Answer;
use super::limits::Bucket;
use super::request::Call;
use super::shards::{Told, tell_shard};
use super::{body, counters, ids, limits, table};
use crate::clock::{now_ms, within, within_or_rest};
use crate::codec;
use crate::environment::setting;
use crate::http::{Cors, Problem, announces_lines, is_bot};
use crate::log::report;
use crate::play::{
    Body, BodyError, Clock, ClockError, Envelope, MAX_BODY_BYTES, MAX_BODY_BYTES_TRUSTED,
    MAX_IDEMPOTENCY_KEY_BYTES, MAX_PLAYS, MAX_PLAYS_TRUSTED, Play, Refused, Rules, read_body,
};
use crate::settings::{RegionSetting, place, read_regions};
use crate::topology::{DeletedRegion, Region, RegionTable};
use crate::wire::{
    Batch, BatchPlay, COUNTED, Claim, CountedInPart, NameCheck, REPEATED, RecordReply,
    RecordRequest, Voter,
};

/// How long a shard may take at least to make a batch durable.
const RECORD_TIMEOUT_MS: u64 = 10_000;
/// The platform opens at most six connections at once for a request.
const SHARDS_AT_ONCE: usize = 6;

/// How often the log says that a region is not made.
const MISSING_SAID_MS: u64 = 3_600_000;

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

/// Who sends a batch.
#[derive(Clone, Copy)]
enum Sender {
    Trusted,
    Anybody {
        /// Its address, hashed; none where the runtime does not tell.
        address: Option<u64>,
        /// With a limit on its votes, where there is one.
        voter: Option<Voter>,
    },
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
    if trusted {
        return count_in_time(call, Sender::Trusted).await;
    }
    let address = limits::sender_of(call).await;
    let limit = limits::count(call, Bucket::Beacons, address).await?;
    let voter = limits::votes_per_minute(call).zip(address);
    let voter = voter.map(|(limit, sender)| Voter { sender, limit });
    let answer = count_in_time(call, Sender::Anybody { address, voter }).await?;
    Ok(limit.tell(answer))
}

/// One timer for the body and the shards, as each costs as much as a message's tenth: the body has
/// [`body::DEADLINE_MS`], the shards what is left of it and [`RECORD_TIMEOUT_MS`] more.
async fn count_in_time(call: &Call, sender: Sender) -> Result<Answer, Problem> {
    let progress = Cell::new(Progress::Reading);
    let counting = std::pin::pin!(count(call, sender, &progress));
    let counting = match within_or_rest(body::DEADLINE_MS, counting).await {
        Ok(answer) => return answer,
        Err(_) if progress.get() == Progress::Reading => return Err(body::too_slow()),
        Err(counting) => counting,
    };
    let answer = within(RECORD_TIMEOUT_MS, counting).await;
    answer.unwrap_or_else(|| {
        let has_key = progress.get() != Progress::SentWithoutKey;
        Err(unanswered(has_key, &"no answer in time".into()))
    })
}

/// How far a request has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Reading,
    Read,
    /// What becomes of it now is known from the shard's answer alone: it cannot be repeated.
    SentWithoutKey,
}

async fn count(call: &Call, sender: Sender, progress: &Cell<Progress>) -> Result<Answer, Problem> {
    let (trusted, voter, owner) = match sender {
        Sender::Trusted => (true, None, body::Owner::Ingest),
        Sender::Anybody { address, voter } => (false, voter, body::Owner::Address(address)),
    };
    let lines = announced_as_lines(call)?;
    let header_key = idempotency_key(call)?;
    let limit = if trusted {
        MAX_BODY_BYTES_TRUSTED
    } else {
        MAX_BODY_BYTES
    };
    let bytes = body::read_all(call, owner, limit).await?;
    progress.set(Progress::Read);
    if let Sender::Anybody { address, .. } = sender {
        limits::count_bytes(call, address, bytes.len()).await?;
    }
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
    let from_bot = !trusted && call.seen.user_agent.as_deref().is_some_and(is_bot);
    let plays = if from_bot {
        let refused = || Refused::new("bot", "this user agent says that it is no person");
        body.plays.iter().map(|_| Err(refused())).collect()
    } else {
        let normalise_id = ids::normaliser(&call.env);
        let rules = Rules {
            clock,
            trusted,
            normalise_id,
        };
        check(&body, rules)
    };
    if names_unknown_region(&table, &plays) {
        table = table::newer_table(&call.env).await?;
    }
    let here = match trusted {
        true => region_of_request(call, &table),
        false => region_for_plays(call, &table),
    };
    let (batches, mut rejected) = by_region(plays, &table, here.as_deref());
    if batches.is_empty() {
        return Err(no_good_play(&rejected));
    }
    if batches.len() > 1 && name.is_none() {
        let detail = "a batch over several regions needs client and seq, or an Idempotency-Key";
        return Err(Problem::bad("key_required", detail));
    }
    let mut accepted: usize = batches.values().map(Vec::len).sum();
    let key = name.as_ref().map(|name| key_of(name, trusted));
    let named = key.as_deref().map(|key| Named {
        key,
        plays_hash: body.plays_hash(),
    });
    let client = match &name {
        // A key without a first attempt could meet another number of shards: always shard 0.
        Some(Name::ClientSeq(client, _)) if body.envelope.sent_ms.is_some() => {
            Some(client.as_str())
        }
        _ => None,
    };
    let sender = BatchSender {
        env: &call.env,
        table: &table,
        named,
        client,
        sent_ms: clock.sent_ms,
        voter,
        names_regions: trusted && names_regions(&body),
        says_sent: body.envelope.sent_ms.is_some(),
    };
    match named {
        None => progress.set(Progress::SentWithoutKey),
        Some(named) if batches.len() > 1 => sender.check_name(named, batches.keys()).await?,
        Some(_) => {}
    }
    let sends = batches
        .iter()
        .map(|(region_id, plays)| sender.send(region_id, plays));
    let replies: Vec<Result<Counted, Problem>> = stream::iter(sends)
        .buffer_unordered(SHARDS_AT_ONCE)
        .collect()
        .await;
    let mut repeated = true;
    for reply in replies {
        let counted = reply?;
        repeated &= counted.repeated;
        accepted = accepted.saturating_sub(counted.too_many.len());
        rejected.extend(counted.too_many.into_iter().map(|index| Rejected {
            index,
            code: "too_many_votes",
            detail: "one address may add only so many plays to one post a minute".to_owned(),
        }));
    }
    if accepted == 0 {
        return Err(no_good_play(&rejected));
    }
    count_rejected(&rejected);
    rejected.sort_by_key(|rejected| rejected.index);
    Ok(Answer::json(&Verdict {
        accepted,
        rejected,
        repeated,
    })
    .with_status(202))
}

fn no_good_play(rejected: &[Rejected]) -> Problem {
    count_rejected(rejected);
    let mut problem = Problem::bad("no_good_play", "no play of this batch can be counted");
    let rejected = serde_json::to_value(rejected).unwrap_or_default();
    problem.more.insert("rejected".into(), rejected);
    problem
}

fn count_rejected(rejected: &[Rejected]) {
    for rejected in rejected {
        counters::rejected(rejected.code);
    }
}

/// Whether the body is announced as lines; forms that are no plays are refused.
fn announced_as_lines(call: &Call) -> Result<bool, Problem> {
    announces_lines(call.seen.content_type.as_deref())
        .map_err(|detail| Problem::new(415, "unsupported_media_type", detail))
}

fn idempotency_key(call: &Call) -> Result<Option<String>, Problem> {
    let key = call.seen.idempotency_key.clone();
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

fn names_regions(body: &Body<'_>) -> bool {
    let mut plays = body.plays.iter().flatten();
    plays.any(|raw| raw.region_id.is_some())
}

fn check<'a>(body: &Body<'a>, rules: Rules) -> Vec<Result<Play<'a>, Refused>> {
    let checked = body.plays.iter().map(|raw| match raw {
        Ok(raw) => rules.check(raw),
        Err(detail) => Err(Refused::new("bad_play", detail.clone())),
    });
    checked.collect()
}

/// As [`region_of_request`], for plays: where it is not the region that they should count in, that is
/// said.
fn region_for_plays(call: &Call, table: &RegionTable) -> Option<String> {
    let (here, missing) = place_of_request(call, table);
    if let Some(missing) = missing {
        say_missing(&missing, here.as_deref());
    }
    here
}

/// Where a request without a region's name counts, and is answered from: by the country that the
/// runtime or a trusted proxy saw.
pub fn region_of_request(call: &Call, table: &RegionTable) -> Option<String> {
    place_of_request(call, table).0
}

/// Counts a batch whose region is not made; of each region a line goes into the log, once an hour.
fn say_missing(missing: &str, here: Option<&str>) {
    thread_local! {
        static SAID_MS: RefCell<BTreeMap<String, u64>> = RefCell::default();
    }
    counters::elsewhere(missing);
    let now_ms = now_ms();
    let is_due = SAID_MS.with(|said| {
        let mut said = said.borrow_mut();
        let due_ms = said
            .get(missing)
            .map_or(0, |said_ms| said_ms + MISSING_SAID_MS);
        let is_due = now_ms >= due_ms;
        if is_due {
            said.insert(missing.to_owned(), now_ms);
        }
        is_due
    });
    if is_due {
        let here = here.unwrap_or("no region");
        report!(
            "worker",
            "plays of the region {missing}, which REGIONS names, count in {here}: it is not made; \
             PUT /regions/{missing} makes it"
        );
    }
}

/// The region of a request, and the one that REGIONS has for it where that is not made.
fn place_of_request(call: &Call, table: &RegionTable) -> (Option<String>, Option<String>) {
    thread_local! {
        static REGIONS: RefCell<Option<Rc<Vec<RegionSetting>>>> = RefCell::default();
    }
    let first = || table.regions.first().map(|region| region.region_id.clone());
    let (country, continent) = (&call.seen.visitor.country, &call.seen.visitor.continent);
    if country.is_none() && continent.is_none() {
        return (first(), None);
    }
    let regions = REGIONS.with(|read| {
        let read_once = || {
            let regions = read_regions(setting(&call.env, "REGIONS").as_deref());
            Rc::new(regions.unwrap_or_default())
        };
        Rc::clone(read.borrow_mut().get_or_insert_with(read_once))
    });
    let is_made = |region_id: &str| table.find(region_id).is_some();
    let place = place(&regions, country.as_deref(), continent.as_deref(), is_made);
    let here = place.region_id.map(str::to_owned).or_else(first);
    (here, place.missing.map(str::to_owned))
}

/// Plays by region, each with its place in the body.
type Batches<'a> = BTreeMap<String, Vec<(usize, Play<'a>)>>;

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
            if table.is_deleted(&region_id) {
                let detail = "this region was deleted";
                return Err(Refused::new("region_deleted", detail));
            }
            if table.find(&region_id).is_none() {
                let detail = "there is no such region; PUT /regions makes one";
                return Err(Refused::new("unknown_region", detail));
            }
            Ok((region_id, play))
        });
        match placed {
            Ok((region_id, play)) => batches.entry(region_id).or_default().push((index, play)),
            Err(Refused { code, detail }) => rejected.push(Rejected {
                index,
                code,
                detail: detail.into_owned(),
            }),
        }
    }
    (batches, rejected)
}

/// What a shard did.
struct Counted {
    repeated: bool,
    /// The places in the body of plays that it rejected.
    too_many: Vec<usize>,
}

/// A batch's name, and what the plays are that have it.
#[derive(Clone, Copy)]
struct Named<'a> {
    key: &'a [u8],
    /// Of the whole batch, so that each of its parts carries the same.
    plays_hash: u32,
}

/// Sends a batch to the shards of its regions: what all its parts have in common.
struct BatchSender<'a> {
    env: &'a Env,
    table: &'a RegionTable,
    named: Option<Named<'a>>,
    client: Option<&'a str>,
    sent_ms: u64,
    voter: Option<Voter>,
    /// A play of the batch names its region, whether or not it can be counted.
    names_regions: bool,
    says_sent: bool,
}

impl BatchSender<'_> {
    /// Before any part of a batch over several regions is counted: a shard that refuses its name
    /// refuses all of it. Costs a message a region, to senders of up to 10,000 plays a batch.
    async fn check_name(
        &self,
        Named { key, plays_hash }: Named<'_>,
        region_ids: impl Iterator<Item = &String>,
    ) -> Result<(), Problem> {
        let check = codec::encode(&NameCheck { key, plays_hash });
        let mut shards = Vec::new();
        for region_id in region_ids {
            let region = self.region(region_id)?;
            let route = region.route(self.client, self.sent_ms);
            self.check_claims(region)?;
            shards.extend(self.claim_at(region));
            shards.push((region, route.shard));
        }
        let checks = shards
            .into_iter()
            .map(|(region, shard)| self.tell(region, shard, &check, None));
        let mut replies = stream::iter(checks).buffer_unordered(SHARDS_AT_ONCE);
        while let Some(said) = replies.next().await {
            match said.map_err(|error| unanswered(true, &error))? {
                Said::Reply(RecordReply::NameFree) => {}
                said => {
                    verdict_of(said, &[], true)?;
                }
            }
        }
        Ok(())
    }

    /// Sends a region's plays to their shard, after they were claimed where they may have been counted.
    async fn send(&self, region_id: &str, plays: &[(usize, Play<'_>)]) -> Result<Counted, Problem> {
        let region = self.region(region_id)?;
        let sent_ms = self.sent_ms;
        if let Some(Named { key, plays_hash }) = self.named {
            let claim = codec::encode(&Claim {
                key,
                plays_hash,
                sent_ms,
            });
            self.check_claims(region)?;
            for (asked, shard) in self.claim_at(region) {
                let said = self.tell(asked, shard, &claim, None).await;
                let said = said.map_err(|error| unanswered(true, &error))?;
                if !matches!(said, Said::Reply(RecordReply::Claimed)) {
                    return verdict_of(said, plays, true);
                }
            }
        }
        let batch_plays = plays.iter().map(|(_, play)| BatchPlay {
            post_id: &play.post_id,
            timestamp_ms: play.timestamp_ms,
            count: play.count,
        });
        let batch = codec::encode(&Batch {
            key: self.named.map(|named| named.key),
            plays_hash: self.named.map_or(0, |named| named.plays_hash),
            sent_ms,
            plays: batch_plays.collect(),
        });
        let has_key = self.named.is_some();
        let shard = region.route(self.client, sent_ms).shard;
        let said = self.tell(region, shard, &batch, self.voter).await;
        let said = said.map_err(|error| unanswered(has_key, &error))?;
        verdict_of(said, plays, has_key)
    }

    /// Whether it can be found out if a region that was deleted has counted a part of the batch.
    fn check_claims(&self, region: &Region) -> Result<(), Problem> {
        let mut deleted = self.deleted_claims(region);
        let Some((deleted, _)) = deleted.find(|(deleted, _)| deleted.is_too_wide()) else {
            return Ok(());
        };
        let id = &deleted.region.region_id;
        let detail = format!(
            "what is stored of the deleted region {id} is damaged: which of its shards may have counted \
             this batch is not known; not counted; DELETE /regions/{id} again, or PUT it again, ends this"
        );
        Err(Problem::busy("unavailable", 60, &detail))
    }

    fn deleted_claims<'a>(
        &'a self,
        region: &'a Region,
    ) -> impl Iterator<Item = (&'a DeletedRegion, u32)> {
        let place = (region.region_id.as_str(), self.names_regions);
        let sent = (self.sent_ms, self.says_sent);
        self.table.claim_at(place, self.client, sent)
    }

    /// Where a part of the batch is claimed before it goes to a region: at the shards of deleted ones, in
    /// case it was first sent before all knew of that, then at the one of the number of shards before.
    fn claim_at<'a>(&'a self, region: &'a Region) -> impl Iterator<Item = (&'a Region, u32)> {
        let deleted = self.deleted_claims(region);
        let deleted = deleted.map(|(deleted, shard)| (&deleted.region, shard));
        let before = region.route(self.client, self.sent_ms).claim_at;
        deleted.chain(before.map(|shard| (region, shard)))
    }

    fn region(&self, region_id: &str) -> Result<&Region, Problem> {
        let region = self.table.find(region_id);
        region.ok_or_else(Problem::unknown_region)
    }

    async fn tell(
        &self,
        region: &Region,
        shard: u32,
        batch: &[u8],
        voter: Option<Voter>,
    ) -> worker::Result<Said> {
        let key = region.key();
        let request = RecordRequest {
            region_id: &key,
            shard,
            epoch_ms: self.table.epoch_ms,
            seed: self.table.seed,
            last_change: self.client.map(|_| region.last_change()),
            batch,
        };
        let message = codec::encode(&request);
        let voter = voter.map(|voter| codec::encode(&voter));
        let hint = region.hint.as_deref();
        let told = tell_shard(self.env, &key, shard, hint, &message, voter.as_deref());
        match told.await? {
            Told::Common(COUNTED) => Ok(Said::Reply(RecordReply::Counted { repeated: false })),
            Told::Common(REPEATED) => Ok(Said::Reply(RecordReply::Counted { repeated: true })),
            Told::Common(other) => Err(worker::Error::from(format!("answer {other}"))),
            Told::Message(answer) => match codec::decode::<CountedInPart>(&answer) {
                Ok(part) => Ok(Said::InPart(part)),
                Err(_) => codec::decode::<RecordReply>(&answer)
                    .map(Said::Reply)
                    .map_err(|error| worker::Error::from(error.to_string())),
            },
        }
    }
}

/// The shard did not say what became of a batch. One with a key is sent again, and counted once;
/// of one without it cannot be said that it was not counted.
fn unanswered(has_key: bool, error: &worker::Error) -> Problem {
    if has_key {
        return Problem::away("the shard", error);
    }
    let detail = "the shard did not answer, and the batch has no key: whether it was counted is \
                  not known; sent again, it might count twice";
    Problem {
        cause: Some(format!("the shard: {error}")),
        ..Problem::new(504, "outcome_unknown", detail)
    }
}

/// A shard's answer to a message.
enum Said {
    Reply(RecordReply),
    InPart(CountedInPart),
}

/// What became of a region's plays, by what their shard said.
fn verdict_of(said: Said, plays: &[(usize, Play<'_>)], has_key: bool) -> Result<Counted, Problem> {
    let again = "not counted; send the whole batch again under the same key";
    let reply = match said {
        Said::Reply(reply) => reply,
        Said::InPart(part) => {
            let places = part.too_many.iter();
            let places = places.filter_map(|place| plays.get(usize::from(*place)));
            return Ok(Counted {
                repeated: part.repeated,
                too_many: places.map(|(index, _)| *index).collect(),
            });
        }
    };
    match reply {
        RecordReply::Counted { repeated } => Ok(Counted {
            repeated,
            too_many: Vec::new(),
        }),
        RecordReply::TooOld => Err(clock_problem(ClockError::TooOldToRepeat)),
        RecordReply::Busy { retry_after_s } => {
            Err(Problem::busy("overloaded", retry_after_s, again))
        }
        RecordReply::InDoubt => Err(unanswered(has_key, &"its storage failed".into())),
        // The next attempt knows it, and goes elsewhere, or is told so.
        RecordReply::Deleted => {
            table::forget();
            Err(Problem::busy("moved", 2, again))
        }
        // The number of shards is changing: the next attempt asks the shard of the new one.
        RecordReply::Moved | RecordReply::Outdated => Err(Problem::busy("moved", 2, again)),
        RecordReply::KeyReused => Err(Problem::new(
            422,
            "key_reused",
            "other plays were sent under this name within the last 20 minutes; nothing of this \
             batch was counted; if it is a new one, send it under a name of its own",
        )),
        RecordReply::Invalid | RecordReply::Claimed | RecordReply::NameFree => {
            let detail = "the shard runs another release; try again";
            Err(Problem::busy("unavailable", 2, detail).because("it refused a batch of ours"))
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
        ClockError::InSeconds => Problem::bad(
            "bad_envelope",
            "sent or now looks like seconds since 1970; send milliseconds",
        ),
    }
}
