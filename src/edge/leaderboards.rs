//! Where a leaderboard comes from: memory of the isolate ▸ Cache API ▸ the shard next to the reader
//! ▸ the global object.
//!
//! # Freshness
//! All of them together keep a leaderboard for [`BUDGET_MS`]. One request at a time asks for a
//! newer one; the others get the one that is known. While nobody can be asked, it goes on being
//! shown, and says so.
//!
//! # At its limits
//! Memory holds [`MEMORY_ENTRIES`] leaderboards, the oldest go first. Charts that are not known are
//! limited by address. When the global object has too much to do, they are refused here for
//! [`BUSY_MS`], without asking.

use std::collections::HashMap;
use std::rc::Rc;

use super::access::needs_token;
use super::isolate::{count_here, here};
use super::plays::region_of_request;
use super::request::Call;
use super::{ASK_TIMEOUT_MS, cache, directory, limits};
use crate::board::{Board, ObjectName};
use crate::clock::{now_ms, steady_ms};
use crate::codec;
use crate::http::{ChartQuery, Problem, Source};
use crate::leaderboard::{Leaderboard, class_of_k};
use crate::log::report;
use crate::objects::call_raw;
use crate::wire::{ChartReply, ChartRequest, KeptChart, Refusal};

/// How long an isolate answers from its memory.
pub const MEMORY_MS: u64 = 1_000;
/// How old a leaderboard may get in all caches together.
pub const BUDGET_MS: u64 = 3_000;
/// How long the others get the old one while one request asks for a newer one.
const ASKING_MS: u64 = 1_000;
/// Leaderboards in the memory of an isolate: 256 of 100 places and 100 bytes are 2.5 MB.
const MEMORY_ENTRIES: usize = 256;
/// How long nobody asks the global object that is busy: it computes five of its 20 cold charts a second.
const BUSY_MS: u64 = 250;

/// What this isolate was told.
#[derive(Default)]
pub struct ChartMemory {
    entries: HashMap<ChartKey, RememberedChart>,
    /// Until then the global object has too much to do.
    busy_until_ms: u64,
}

/// A board's key, and what it is asked for.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ChartKey {
    board_key: String,
    request: ChartRequest,
}

fn memory<T>(run: impl FnOnce(&mut ChartMemory) -> T) -> T {
    here(|isolate| run(&mut isolate.leaderboards.borrow_mut()))
}

/// A leaderboard as this isolate knows it.
#[derive(Clone)]
pub struct KnownChart {
    pub leaderboard: Rc<Leaderboard>,
    /// When the global object computed it, by the steady clock of this isolate.
    pub computed_ms: u64,
    pub received_ms: u64,
    /// Nobody could be asked for a newer one.
    pub stale: bool,
}

struct RememberedChart {
    known: KnownChart,
    /// When a request last set out to ask for a newer one.
    asked_ms: u64,
}

/// What memory says to a question.
enum Recalled {
    Answer(KnownChart),
    /// Ask for a newer one; this one serves if nobody answers.
    Ask(Option<KnownChart>),
}

/// The leaderboard that a query asks for.
///
/// # Errors
/// 404 for an unknown region, 400 for a window that cannot be answered, 503 where there is none
/// and nobody to ask.
pub async fn leaderboard(
    call: &Call,
    board: &Board,
    query: &ChartQuery,
) -> Result<KnownChart, Problem> {
    let request = ChartRequest {
        scope: query.form.scope.clone(),
        window: query.window,
        sort: query.form.sort,
        k_class: class_of_k(query.form.k) as u32,
        filter: query.form.filter.clone(),
    };
    let message = codec::encode(&request);
    let question = ChartKey {
        board_key: board.key().into_owned(),
        request,
    };
    let known = match recall(&question) {
        Recalled::Answer(known) => {
            count_here(|counters| counters.found(Source::Memory));
            return Ok(known);
        }
        Recalled::Ask(known) => known,
    };
    // All isolates of this place share the cache. What it has takes no object's time, so no limit holds for it.
    if let Some(cached) = cached(call, board, &message).await {
        count_here(|counters| counters.found(Source::Cache));
        remember(question, cached.clone());
        return Ok(cached);
    }
    if known.is_none() {
        directory::require_scope(call, &question.request.scope).await?;
        if memory(|memory| memory.busy_until_ms) > steady_ms() {
            // Checked behind the caches, not at the door: nobody is refused a chart that is cached.
            return Err(Problem::refused(Refusal::Busy { retry_after_s: 1 }, ""));
        }
        limits::count_cold_chart(call).await?;
    }
    match ask_for_chart(call, board, &message).await {
        Ok(fresh) => {
            remember(question, fresh.clone());
            Ok(fresh)
        }
        // Whatever is known goes on being shown while nobody can be asked.
        Err(problem) if problem.status == 503 => {
            if problem.code == "overloaded" {
                memory(|memory| memory.busy_until_ms = steady_ms() + BUSY_MS);
            }
            match known {
                Some(known) => {
                    let cause = problem.cause.unwrap_or(problem.detail);
                    report!("worker", "chart: {cause}; the old one serves");
                    Ok(aged(known))
                }
                None => Err(problem),
            }
        }
        Err(problem) => Err(problem),
    }
}

fn recall(question: &ChartKey) -> Recalled {
    let now_ms = steady_ms();
    memory(|ChartMemory { entries, .. }| {
        let Some(entry) = entries.get_mut(question) else {
            return Recalled::Ask(None);
        };
        if now_ms.saturating_sub(entry.known.received_ms) < MEMORY_MS {
            return Recalled::Answer(entry.known.clone());
        }
        if now_ms.saturating_sub(entry.asked_ms) < ASKING_MS {
            return Recalled::Answer(aged(entry.known.clone()));
        }
        entry.asked_ms = now_ms;
        Recalled::Ask(Some(entry.known.clone()))
    })
}

/// Forgets every leaderboard: this isolate has just made counting begin anew.
pub fn forget() {
    memory(|memory| memory.entries.clear());
}

/// The same, marked as stale where it is older than [`BUDGET_MS`].
fn aged(known: KnownChart) -> KnownChart {
    let stale = known.stale || steady_ms().saturating_sub(known.computed_ms) > BUDGET_MS;
    KnownChart { stale, ..known }
}

fn remember(question: ChartKey, known: KnownChart) {
    memory(|ChartMemory { entries, .. }| {
        if entries.len() >= MEMORY_ENTRIES && !entries.contains_key(&question) {
            let oldest = entries
                .iter()
                .min_by_key(|(_, entry)| entry.known.received_ms)
                .map(|(question, _)| question.clone());
            if let Some(oldest) = oldest {
                entries.remove(&oldest);
            }
        }
        let entry = RememberedChart { known, asked_ms: 0 };
        entries.insert(question, entry);
    });
}

/// What the cache of this place has. What needs a token to be seen stays out of a cache that others
/// read.
async fn cached(call: &Call, board: &Board, message: &[u8]) -> Option<KnownChart> {
    if !is_for_all(call, board) {
        return None;
    }
    let cached = cache::get(&board.key(), message).await?;
    // Another isolate kept it: of one from times to come nobody knows how old it is.
    let age_ms = now_ms().checked_sub(cached.computed_ms)?;
    let known = (age_ms < BUDGET_MS).then(|| decode_chart(&cached.reply, age_ms, false));
    known?.ok()
}

fn is_for_all(call: &Call, board: &Board) -> bool {
    board.public && !needs_token(&call.env)
}

/// Asks whoever is nearest, and leaves the answer to the others of this place.
async fn ask_for_chart(call: &Call, board: &Board, message: &[u8]) -> Result<KnownChart, Problem> {
    count_here(|counters| counters.found(Source::Object));
    let (reply, age_ms, stale) = ask_nearest(call, board, message).await?;
    let known = decode_chart(&reply, age_ms, stale)?;
    let left_ms = BUDGET_MS.saturating_sub(age_ms);
    if is_for_all(call, board) && !stale && left_ms > 0 {
        let computed_ms = now_ms().saturating_sub(age_ms);
        cache::put(
            &call.context,
            &board.key(),
            message,
            reply,
            computed_ms,
            left_ms,
        );
    }
    Ok(known)
}

/// Asks the shard next to the reader, which asks once for all; the global object itself where
/// that shard is away.
async fn ask_nearest(
    call: &Call,
    board: &Board,
    message: &[u8],
) -> Result<(Vec<u8>, u64, bool), Problem> {
    let board_key = board.key();
    let table = directory::regions(&call.env).await?;
    if let Some(here) = region_of_request(call, &table).and_then(|here| table.find(&here)) {
        let shard = ObjectName::shard(&board_key, &here.key(), 0);
        let shard = (&shard, here.hint.as_deref());
        if let Ok(answer) = call_raw(&call.env, shard, "/chart", message, ASK_TIMEOUT_MS).await
            && let Ok(kept) = codec::decode::<KeptChart<'_>>(&answer)
        {
            return Ok((kept.reply.to_vec(), kept.age_ms, kept.stale));
        }
    }
    let global = (&ObjectName::global(&board_key), None);
    let answer = call_raw(&call.env, global, "/chart", message, ASK_TIMEOUT_MS).await;
    let answer = answer.map_err(|error| Problem::away("the global object", &error))?;
    Ok((answer, 0, false))
}

fn decode_chart(reply: &[u8], age_ms: u64, stale: bool) -> Result<KnownChart, Problem> {
    let reply = codec::decode(reply).map_err(|error| Problem::away("the global object", &error));
    let ChartReply(reply) = reply?;
    let leaderboard = reply.map_err(|refusal| Problem::refused(refusal, "bad_window"))?;
    Ok(KnownChart {
        leaderboard: Rc::new(leaderboard),
        computed_ms: steady_ms().saturating_sub(age_ms),
        received_ms: steady_ms(),
        stale,
    })
}
