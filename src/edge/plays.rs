//! `POST /plays`: reads, checks, has each part of a batch counted ([`crate::routing`]).

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use serde::Serialize;

use super::access::{Token, shows};
use super::answer::Answer;
use super::isolate::count_here;
use super::limits::Bucket;
use super::request::Call;
use super::shards::{ShardAnswer, tell_shard};
use super::{body, directory, ids, isolate, limits};
use crate::board::{Board, Directory, parts_of_board_key};
use crate::clock::{now_ms, within, within_or_rest};
use crate::codec;
use crate::environment::setting;
use crate::home::Home;
use crate::http::{Cors, Problem, announces_lines, is_bot};
use crate::log::report;
use crate::play::{
    BoardIds, Body, BodyError, Clock, ClockError, Envelope, MAX_BODY_BYTES, MAX_BODY_BYTES_TRUSTED,
    MAX_IDEMPOTENCY_KEY_BYTES, MAX_PLAYS, MAX_PLAYS_TRUSTED, Play, Refused, Rules, read_body,
};
use crate::routing::{
    self, MAX_PARTS, MessageKind, Name, Network, NotCounted, Rejected, boards_of,
};
use crate::settings::{RegionSetting, place, read_regions};
use crate::topology::{RegionTable, ShardId};
use crate::wire::{COUNTED, REPEATED, RecordReply, Voter};

/// How long a shard may take at least to make a batch durable.
const RECORD_TIMEOUT_MS: u64 = 10_000;
/// The home of batches that their sender seals from now on.
const HOME: &str = "Hitparade-Home";

/// How often the log says that a region is not made.
const MISSING_SAID_MS: u64 = 3_600_000;

/// What the sender is told.
#[derive(Serialize)]
struct PlaysAnswer<'a> {
    accepted: usize,
    rejected: Vec<RejectedPlay<'a>>,
    repeated: bool,
}

#[derive(Serialize)]
struct RejectedPlay<'a> {
    index: usize,
    code: &'static str,
    detail: &'a str,
    /// The one on which it is not counted; none: on no board.
    #[serde(skip_serializing_if = "Option::is_none")]
    board: Option<&'a str>,
}

/// What is known of a request while it is under way.
struct Attempt {
    progress: Cell<Progress>,
    /// The ids of the boards that it is about.
    boards: RefCell<BTreeSet<String>>,
}

/// Who sends a batch.
#[derive(Clone, Copy)]
enum Sender {
    Trusted,
    /// Its address, hashed; none where the runtime does not tell.
    Anybody(Option<u64>),
}

pub async fn post(call: &mut Call, cors: &Cors) -> Result<Answer, Problem> {
    let attempt = Attempt {
        progress: Cell::new(Progress::Reading),
        boards: RefCell::default(),
    };
    let outcome = admit_plays(call, cors, &attempt).await;
    // As far as this isolate knows.
    let boards = attempt.boards.take();
    let home = directory::known().and_then(|directory| home_of_sender(call, &directory, &boards));
    let Some(home) = home else {
        return outcome;
    };
    match outcome {
        Ok(answer) => Ok(answer.with_header(HOME, home)),
        Err(problem) => Err(problem.with_header(HOME, home)),
    }
}

/// The home of batches for some boards that are sealed where a request comes from. Of those that take no
/// plays of browsers it tells nobody who shows no token: there seem to be none.
pub fn home_of_sender(
    call: &Call,
    directory: &Directory,
    boards: &BTreeSet<String>,
) -> Option<String> {
    let table = &directory.table;
    let region = table.find(&region_of_request(call, table)?)?;
    // Who shows one that is not valid names no boards: the request is refused before it is read.
    let is_told = |board: &&Board| board.beacons || call.seen.authorization.is_some();
    let boards = boards.iter().filter_map(|id| directory.board(id));
    let boards = boards.filter(is_told);
    Some(Home::of(region, boards).to_string())
}

async fn admit_plays(call: &Call, cors: &Cors, attempt: &Attempt) -> Result<Answer, Problem> {
    let trusted = shows(call, Token::Ingest)?;
    if !cors.allows_origin() {
        let detail =
            "pages of this origin may not send plays here: the operator adds it to ALLOWED_ORIGINS";
        return Err(Problem::new(403, "origin_not_allowed", detail));
    }
    if trusted {
        return count_in_time(call, Sender::Trusted, attempt).await;
    }
    let address = limits::sender_of_beacon(call);
    let limit = limits::count(call, Bucket::Beacons, address).await?;
    let answer = count_in_time(call, Sender::Anybody(address), attempt).await?;
    Ok(limit.tell(answer))
}

/// Whose votes a beacon has, as far as is known now: where a table of regions is known, an address is the same to all
/// isolates.
fn voter_of(call: &Call, sender: Sender) -> Option<Voter> {
    let Sender::Anybody(_) = sender else {
        return None;
    };
    let voter = limits::votes_per_minute(call).zip(limits::sender_of_beacon(call));
    voter.map(|(limit, sender)| Voter { sender, limit })
}

/// One timer for both, since a timer costs a tenth of a message: the body has
/// [`body::DEADLINE_MS`], the shards what is left of it and [`RECORD_TIMEOUT_MS`] more.
async fn count_in_time(call: &Call, sender: Sender, attempt: &Attempt) -> Result<Answer, Problem> {
    let Attempt { progress, .. } = attempt;
    let counting = std::pin::pin!(count_plays(call, sender, attempt));
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

async fn count_plays(call: &Call, sender: Sender, attempt: &Attempt) -> Result<Answer, Problem> {
    let Attempt { progress, boards } = attempt;
    let (trusted, owner) = match sender {
        Sender::Trusted => (true, body::Owner::Ingest),
        Sender::Anybody(address) => (false, body::Owner::Address(address)),
    };
    let lines = announced_as_lines(call)?;
    if call.query.first("board").is_some() || call.query.first("boards").is_some() {
        let detail = "plays name their board in the body: \"board\" or \"boards\", beside the plays or on a play";
        return Err(Problem::bad("bad_envelope", detail));
    }
    let header_key = idempotency_key(call)?;
    let limit = if trusted {
        MAX_BODY_BYTES_TRUSTED
    } else {
        MAX_BODY_BYTES
    };
    let bytes = body::read_all(call, owner, limit).await?;
    progress.set(Progress::Read);
    if let Sender::Anybody(address) = sender {
        limits::count_bytes(call, address, bytes.len()).await?;
    }
    let max_plays = if trusted {
        MAX_PLAYS_TRUSTED
    } else {
        MAX_PLAYS
    };
    let body = read_body(&bytes, lines).map_err(|error| body_problem(error, max_plays))?;
    if body.plays.len() > max_plays {
        return Err(too_many_plays(max_plays));
    }
    let clock = Clock::new(&body.envelope, now_ms()).map_err(clock_problem)?;
    let name = batch_name(&body.envelope, header_key);
    let header_home = call.seen.home.as_deref();
    let header_home = header_home.map(|text| Home::read(text).ok_or_else(bad_home));
    let home = body.envelope.home.clone();
    let home = home.map_or_else(|| header_home.transpose(), |home| Ok(Some(home)))?;
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
        check_plays(&body, rules)
    };
    let named = boards_named(&body.envelope.boards, &plays);
    if named.plays > max_plays {
        return Err(too_many_plays(max_plays));
    }
    if named.boards.len() > MAX_PARTS {
        return Err(too_many_parts());
    }
    if let Sender::Anybody(address) = sender {
        limits::count_boards(call, address, named.boards.len()).await?;
    }
    let at_home = home.iter().flat_map(|home| home.boards.keys());
    let at_home = at_home.filter_map(|key| Some(parts_of_board_key(key)?.0.to_owned()));
    boards.replace(named.boards.into_iter().chain(at_home).collect());
    let shards = || Shards {
        call,
        trusted,
        voter: voter_of(call, sender),
        progress,
    };
    let batch = routing::SentBatch {
        name: name.as_ref(),
        is_trusted: trusted,
        home: home.as_ref(),
        sent_ms: clock.sent_ms,
        says_sent: body.envelope.sent_ms.is_some(),
        plays_hash: body.plays_hash(),
        boards: body.envelope.boards.clone(),
        plays,
    };
    let blind = match directory::goes_blind() {
        true => count_blind(&shards(), &batch).await,
        false => None,
    };
    let verdict = match blind {
        Some(verdict) => verdict,
        None => {
            let directory = directory::fresh(&call.env).await?;
            routing::count(&shards(), directory, batch).await
        }
    };
    let verdict = verdict.map_err(|error| not_counted(error, name.is_some()))?;
    count_rejected(&verdict.rejected);
    Ok(Answer::json(&PlaysAnswer {
        accepted: verdict.accepted,
        rejected: rejected_plays(&verdict.rejected).collect(),
        repeated: verdict.repeated,
    })
    .with_status(202))
}

/// A batch whose home is where its sender is, if all of `REGIONS` are made.
async fn count_blind(
    shards: &Shards<'_>,
    batch: &routing::SentBatch<'_>,
) -> Option<Result<routing::Verdict, NotCounted<worker::Error>>> {
    let call = shards.call;
    let (country, continent) = (&call.seen.visitor.country, &call.seen.visitor.continent);
    if country.is_none() && continent.is_none() {
        // Where they count, the table alone says.
        return None;
    }
    let regions = regions_of_setting(call);
    let here = place(&regions, country.as_deref(), continent.as_deref(), |_| true);
    let here = regions
        .iter()
        .find(|region| Some(&region.id[..]) == here.region_id)?;
    routing::count_blind(shards, (&here.id, here.hint.as_deref()), batch).await
}

fn rejected_plays(rejected: &Rejected) -> impl Iterator<Item = RejectedPlay<'_>> {
    rejected.iter().map(|rejection| RejectedPlay {
        index: rejection.index,
        code: rejection.refused.code,
        detail: &rejection.refused.detail,
        board: rejection.board.as_deref(),
    })
}

/// What the plays of a batch come to on all their boards.
struct NamedBoards {
    /// On each board of its own.
    plays: usize,
    boards: BTreeSet<String>,
}

fn boards_named(envelope: &Option<BoardIds>, plays: &[Result<Play<'_>, Refused>]) -> NamedBoards {
    let mut named = NamedBoards {
        plays: 0,
        boards: BTreeSet::new(),
    };
    for play in plays {
        let own = play.as_ref().ok().and_then(|play| play.boards.as_ref());
        for board_id in boards_of(own, envelope.as_ref()) {
            named.plays += 1;
            if !named.boards.contains(board_id) {
                named.boards.insert(board_id.to_owned());
            }
        }
    }
    named
}

fn no_good_play(rejected: &Rejected) -> Problem {
    count_rejected(rejected);
    let rejected: Vec<RejectedPlay<'_>> = rejected_plays(rejected).collect();
    let rejected = serde_json::to_value(rejected).unwrap_or_default();
    Problem::bad("no_good_play", "no play of this batch can be counted").with("rejected", rejected)
}

fn count_rejected(rejected: &Rejected) {
    for rejection in rejected {
        count_here(|counters| counters.rejected(rejection.refused.code));
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

fn check_plays<'a>(body: &Body<'a>, rules: Rules) -> Vec<Result<Play<'a>, Refused>> {
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

/// Notes for `/metrics` that plays are of a region that is not made, and logs it once an hour a region.
fn say_missing(missing: &str, here: Option<&str>) {
    count_here(|counters| counters.elsewhere(missing));
    let now_ms = now_ms();
    let is_due = isolate::here(|isolate| {
        let mut said = isolate.said_missing_ms.borrow_mut();
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

/// `REGIONS`, read once.
fn regions_of_setting(call: &Call) -> Rc<Vec<RegionSetting>> {
    let read_once = || {
        let regions = read_regions(setting(&call.env, "REGIONS").as_deref());
        Rc::new(regions.unwrap_or_default())
    };
    isolate::here(|isolate| Rc::clone(isolate.regions.get_or_init(read_once)))
}

/// The region of a request, and the one that REGIONS has for it where that is not made.
fn place_of_request(call: &Call, table: &RegionTable) -> (Option<String>, Option<String>) {
    let first = || table.regions.first().map(|region| region.region_id.clone());
    let (country, continent) = (&call.seen.visitor.country, &call.seen.visitor.continent);
    if country.is_none() && continent.is_none() {
        return (first(), None);
    }
    let regions = regions_of_setting(call);
    let is_made = |region_id: &str| table.find(region_id).is_some();
    let place = place(&regions, country.as_deref(), continent.as_deref(), is_made);
    let here = place.region_id.map(str::to_owned).or_else(first);
    (here, place.missing.map(str::to_owned))
}

/// The shards, as the platform reaches them for one request.
struct Shards<'a> {
    call: &'a Call,
    trusted: bool,
    voter: Option<Voter>,
    progress: &'a Cell<Progress>,
}

impl Network for Shards<'_> {
    type Error = worker::Error;

    async fn send(
        &self,
        board_key: &str,
        to: &ShardId,
        hint: Option<&str>,
        kind: MessageKind,
        request: &[u8],
    ) -> worker::Result<RecordReply> {
        if kind == MessageKind::CountUnnamed {
            self.progress.set(Progress::SentWithoutKey);
        }
        let counts = matches!(kind, MessageKind::Count | MessageKind::CountUnnamed);
        let voter = self.voter.filter(|_| counts);
        let voter = voter.map(|voter| codec::encode(&voter));
        let env = &self.call.env;
        let told = tell_shard(env, board_key, to, hint, request, voter.as_deref());
        match told.await? {
            ShardAnswer::Common(COUNTED) => Ok(RecordReply::counted(false)),
            ShardAnswer::Common(REPEATED) => Ok(RecordReply::counted(true)),
            ShardAnswer::Common(other) => Err(worker::Error::from(format!("answer {other}"))),
            ShardAnswer::Message(answer) => {
                codec::decode(&answer).map_err(|error| worker::Error::from(error.to_string()))
            }
        }
    }

    async fn newer_directory(&self) -> Option<Rc<Directory>> {
        directory::newer(&self.call.env).await.ok()
    }

    fn here(&self, table: &RegionTable) -> Option<String> {
        match self.trusted {
            true => region_of_request(self.call, table),
            false => region_for_plays(self.call, table),
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

fn not_counted(error: NotCounted<worker::Error>, has_key: bool) -> Problem {
    match error {
        NotCounted::NoGoodPlay(rejected) => no_good_play(&rejected),
        NotCounted::TooManyParts => too_many_parts(),
        NotCounted::KeyRequired => {
            let detail = "a batch over several boards or regions needs client and seq, or an \
                          Idempotency-Key";
            Problem::bad("key_required", detail)
        }
        NotCounted::HomeWithoutRegion => {
            let detail = "a home without a region is for batches whose plays all name one; send the \
                          whole Hitparade-Home of an answer";
            Problem::bad("bad_home", detail)
        }
        NotCounted::UnknownHome => {
            let detail = "this home is of a region, or of a number of shards, that is not known here \
                          yet; not counted; send the whole batch again as it is, and batches that are \
                          sealed from now on with the Hitparade-Home of this answer";
            Problem::busy("unknown_home", 2, detail)
        }
        NotCounted::TooOld => clock_problem(ClockError::TooOldToRepeat),
        NotCounted::KeyReused => Problem::new(
            422,
            "key_reused",
            "other plays, or the same for other boards, were sent under this name within the last 20 \
             minutes; nothing of this batch was counted where that name is known; if it is a new one, send \
             it under a name of its own",
        ),
        NotCounted::Busy { retry_after_s } => {
            let again = "not counted; send the whole batch again under the same key";
            Problem::busy("overloaded", retry_after_s, again)
        }
        NotCounted::InDoubt => unanswered(has_key, &"its storage failed".into()),
        NotCounted::Unanswered(error) => unanswered(has_key, &error),
        NotCounted::Refused(reply) => {
            let detail =
                "the shard runs another release, or this name was sent with two homes; try again";
            let cause = format!("it refused a batch of ours: {reply:?}");
            Problem::busy("unavailable", 2, detail).because(cause)
        }
    }
}

fn bad_home() -> Problem {
    let detail =
        "home is the text of Hitparade-Home in an answer, as it was when the batch was sealed";
    Problem::bad("bad_home", detail)
}

fn body_problem(error: BodyError, max_plays: usize) -> Problem {
    match error {
        BodyError::Malformed(detail) => Problem::bad("malformed_body", detail),
        BodyError::BadEnvelope(detail) => Problem::bad("bad_envelope", detail),
        BodyError::BadHome => bad_home(),
        BodyError::TooManyPlays => too_many_plays(max_plays),
    }
}

fn too_many_plays(limit: usize) -> Problem {
    let detail = format!(
        "at most {limit} plays a request, where one for several boards is as many; nothing was counted"
    );
    Problem::new(413, "too_many_plays", detail)
}

fn too_many_parts() -> Problem {
    let detail = format!(
        "a batch is for at most {MAX_PARTS} boards, each with its regions; nothing was counted; send its \
         plays in several batches"
    );
    Problem::new(413, "too_many_parts", detail)
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
