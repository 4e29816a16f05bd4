//! `GET /top-posts`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::access::may_read;
use super::answer::Answer;
use super::chart_query::ChartQuery;
use super::plays::region_of_request;
use super::problem::Problem;
use super::request::Call;
use super::{ASK_TIMEOUT_MS, table};
use crate::codec;
use crate::leaderboard::{Chart, Format, Leaderboard, class_of_k};
use crate::platform::{call_raw, global_stub, now_ms, shard_stub};
use crate::wire::{ChartReply, ChartRequest, KeptChart};

/// How long an isolate answers from its memory. A part of the 3 s that all caches may take.
const MEMORY_MS: u64 = 1_000;
/// How old a leaderboard may get in all caches together.
const BUDGET_MS: u64 = 3_000;
/// Leaderboards in the memory of an isolate: 256 of 100 places and 100 bytes are 2.5 MB.
const MEMORY_ENTRIES: usize = 256;

thread_local! {
    static MEMORY: RefCell<HashMap<ChartRequest, Known>> = RefCell::default();
}

/// A leaderboard as this isolate knows it.
#[derive(Clone)]
pub struct Known {
    pub leaderboard: Rc<Leaderboard>,
    /// When the global object computed it, by the clock of this isolate.
    computed_ms: u64,
    received_ms: u64,
    /// Nobody could be asked for a newer one.
    pub stale: bool,
}

pub async fn get(call: &Call) -> Result<Answer, Problem> {
    may_read(call)?;
    let query = ChartQuery::read(call)?;
    let known = leaderboard(call, &query).await?;
    let chart = Chart::new(&query.form, &known.leaderboard, known.stale);
    let rendered = chart.render(Format::of(call.header("Accept").as_deref()));
    let answer = if call
        .header("If-None-Match")
        .is_some_and(|known| lists(&known, &rendered.etag))
    {
        Answer::empty(304)
    } else {
        Answer::bytes(rendered.content_type, rendered.body)
    };
    let age_ms = now_ms().saturating_sub(known.computed_ms);
    Ok(answer
        .with_header("ETag", rendered.etag)
        .with_header("Vary", "Accept")
        .with_header("Cache-Control", cache_control(call, age_ms)))
}

/// What is left of the budget. Charts that need a token are for who showed it.
fn cache_control(call: &Call, age_ms: u64) -> String {
    let whose = if call.header("Authorization").is_some() {
        "private"
    } else {
        "public"
    };
    format!(
        "{whose}, max-age={}",
        BUDGET_MS.saturating_sub(age_ms) / 1_000
    )
}

fn lists(header: &str, etag: &str) -> bool {
    header
        .split(',')
        .map(str::trim)
        .any(|known| known == etag || known == "*")
}

pub async fn leaderboard(call: &Call, query: &ChartQuery) -> Result<Known, Problem> {
    let request = ChartRequest {
        scope: query.form.scope.clone(),
        window: query.window,
        sort: query.form.sort,
        k_class: class_of_k(query.form.k) as u32,
    };
    let known = MEMORY.with(|memory| memory.borrow().get(&request).cloned());
    if let Some(known) = &known
        && now_ms().saturating_sub(known.received_ms) < MEMORY_MS
    {
        return Ok(known.clone());
    }
    match ask_nearest(call, &request).await {
        Ok(fresh) => {
            remember(request, fresh.clone());
            Ok(fresh)
        }
        // Whatever is known goes on being shown while nobody can be asked.
        Err(problem) if problem.status == 503 => known
            .map(|known| Known {
                stale: true,
                ..known
            })
            .ok_or(problem),
        Err(problem) => Err(problem),
    }
}

/// Asks the shard next to the reader, which asks once for all; the global object itself where
/// that shard is away.
async fn ask_nearest(call: &Call, request: &ChartRequest) -> Result<Known, Problem> {
    let message = codec::encode(request);
    let table = table::table(&call.env).await?;
    if let Some(here) = region_of_request(call, &table).and_then(|here| table.find(&here)) {
        let stub = shard_stub(&call.env, &here.region_id, 0, here.hint.as_deref());
        if let Ok(stub) = stub
            && let Ok(answer) = call_raw(&stub, "/chart", &message, ASK_TIMEOUT_MS).await
            && let Ok(kept) = codec::decode::<KeptChart<'_>>(&answer)
        {
            return known(kept.reply, kept.age_ms, kept.stale);
        }
    }
    let away = |error| Problem::away("the global object", &error);
    let stub = global_stub(&call.env).map_err(away)?;
    let answer = call_raw(&stub, "/chart", &message, ASK_TIMEOUT_MS)
        .await
        .map_err(away)?;
    known(&answer, 0, false)
}

fn known(reply: &[u8], age_ms: u64, stale: bool) -> Result<Known, Problem> {
    let ChartReply(reply) = codec::decode(reply).map_err(|error| {
        Problem::away("the global object", &worker::Error::from(error.to_string()))
    })?;
    let leaderboard = reply.map_err(|refusal| Problem::refused(refusal, "bad_window"))?;
    Ok(Known {
        leaderboard: Rc::new(leaderboard),
        computed_ms: now_ms().saturating_sub(age_ms),
        received_ms: now_ms(),
        stale,
    })
}

fn remember(request: ChartRequest, known: Known) {
    MEMORY.with(|memory| {
        let mut memory = memory.borrow_mut();
        if memory.len() >= MEMORY_ENTRIES {
            let now_ms = now_ms();
            memory.retain(|_, known| now_ms.saturating_sub(known.received_ms) < MEMORY_MS);
        }
        if memory.len() < MEMORY_ENTRIES || memory.contains_key(&request) {
            memory.insert(request, known);
        }
    });
}
