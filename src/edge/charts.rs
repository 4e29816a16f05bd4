//! `GET /top-posts`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use worker::Env;

use super::access::may_read;
use super::answer::Answer;
use super::chart_query::ChartQuery;
use super::problem::Problem;
use super::request::Call;
use super::{ASK_TIMEOUT_MS, format};
use crate::leaderboard::{Leaderboard, class_of_k};
use crate::platform::{call as ask, global_stub, now_ms};
use crate::wire::{ChartReply, ChartRequest};

/// How long an isolate answers from its memory. A part of the 3 s that all caches may take.
const MEMORY_MS: u64 = 1_000;
/// Leaderboards in the memory of an isolate: 256 of 100 places and 100 bytes are 2.5 MB.
const MEMORY_ENTRIES: usize = 256;

thread_local! {
    static MEMORY: RefCell<HashMap<ChartRequest, (u64, Rc<Leaderboard>)>> = RefCell::default();
}

pub async fn get(call: &Call) -> Result<Answer, Problem> {
    may_read(call)?;
    let query = ChartQuery::read(call)?;
    let leaderboard = leaderboard(&call.env, &query).await?;
    let chart = format::Chart::new(&query, &leaderboard);
    let form = format::Form::of(call.header("Accept").as_deref());
    let etag = chart.etag(form);
    let answer = if call
        .header("If-None-Match")
        .is_some_and(|known| lists(&known, &etag))
    {
        Answer::empty(304)
    } else {
        chart.answer(form)
    };
    Ok(answer
        .with_header("ETag", etag)
        .with_header("Vary", "Accept")
        .with_header("Cache-Control", "public, max-age=1"))
}

fn lists(header: &str, etag: &str) -> bool {
    header
        .split(',')
        .map(str::trim)
        .any(|known| known == etag || known == "*")
}

async fn leaderboard(env: &Env, query: &ChartQuery) -> Result<Rc<Leaderboard>, Problem> {
    let request = ChartRequest {
        scope: query.scope.clone(),
        window: query.window,
        sort: query.sort,
        k_class: class_of_k(query.k) as u32,
    };
    let now_ms = now_ms();
    let known = MEMORY.with(|memory| memory.borrow().get(&request).cloned());
    if let Some((computed_ms, leaderboard)) = known
        && now_ms.saturating_sub(computed_ms) < MEMORY_MS
    {
        return Ok(leaderboard);
    }
    let away = |error| Problem::away("the global object", &error);
    let stub = global_stub(env).map_err(away)?;
    let ChartReply(reply) = ask(&stub, "/chart", &request, ASK_TIMEOUT_MS)
        .await
        .map_err(away)?;
    let leaderboard = Rc::new(reply.map_err(|refusal| Problem::refused(refusal, "bad_window"))?);
    MEMORY.with(|memory| {
        let mut memory = memory.borrow_mut();
        if memory.len() >= MEMORY_ENTRIES {
            memory.retain(|_, (computed_ms, _)| now_ms.saturating_sub(*computed_ms) < MEMORY_MS);
        }
        if memory.len() < MEMORY_ENTRIES {
            memory.insert(request, (now_ms, Rc::clone(&leaderboard)));
        }
    });
    Ok(leaderboard)
}
