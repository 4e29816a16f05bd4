//! `GET /top-posts`, and every other chart.

use super::answer::{Answer, DoorCopy};
use super::isolate::count_here;
use super::leaderboards::{BUDGET_MS, KnownChart, MEMORY_MS, leaderboard};
use super::request::Call;
use super::{boards, ids, limits};
use crate::clock::{now_ms, steady_ms};
use crate::environment::setting;
use crate::http::{ChartQuery, Clocks, Problem, format_asked};
use crate::leaderboard::{Chart, Rendered};
use crate::settings::time_zone;
use crate::zones::zone_named;

pub async fn get(call: &Call) -> Result<Answer, Problem> {
    answer_to(call, &read_query(call)?).await
}

/// The chart that is asked for, published ones too.
pub async fn answer_to(call: &Call, query: &ChartQuery) -> Result<Answer, Problem> {
    let board = boards::to_read(call).await?;
    let accept = call.header("Accept");
    let format = format_asked(&call.query, accept.as_deref())?;
    let known = leaderboard(call, &board, query).await?;
    let age_ms = steady_ms().saturating_sub(known.computed_ms);
    count_here(|counters| counters.shown(age_ms));
    let chart = Chart::new(&query.form, &known.leaderboard, known.stale);
    let rendered = chart.render(format);
    let left_s = left_s(&known, steady_ms());
    let needed_token = call.header("Authorization").is_some();
    let limit = limits::for_the_door(call).filter(|_| !needed_token);
    let kept = limit.map(|limit| DoorCopy {
        url: call.seen.url.clone(),
        accept,
        ..door_copy(&known, &rendered, left_s, limit)
    });
    let answer = Answer::tagged(call, rendered.content_type, rendered.body, rendered.etag);
    Ok(answer
        .with_header("Vary", "Accept")
        .with_header("Cache-Control", format!("public, max-age={left_s}"))
        .with_kept(kept))
}

/// What a request asks for.
///
/// # Errors
/// 400 with what is allowed.
pub fn read_query(call: &Call) -> Result<ChartQuery, Problem> {
    let own_zone = setting(&call.env, "TIME_ZONE");
    let clocks = Clocks {
        now_ms: now_ms(),
        own_zone: time_zone(own_zone.as_deref()),
        zone: &zone_named,
    };
    ChartQuery::read(&call.query, &clocks, ids::normaliser(&call.env))
}

/// Whole seconds of the budget that are left.
fn left_s(known: &KnownChart, now_ms: u64) -> u64 {
    (known.computed_ms + BUDGET_MS).saturating_sub(now_ms) / 1_000
}

/// What the Worker's door may answer by itself: until memory is too old, or `max-age` is wrong.
fn door_copy(known: &KnownChart, rendered: &Rendered, left_s: u64, limit: u32) -> DoorCopy {
    let mut renew_ms = known.received_ms + MEMORY_MS;
    let mut expires_ms = known.computed_ms + BUDGET_MS;
    if left_s > 0 {
        renew_ms = renew_ms.min(expires_ms - left_s * 1_000);
    }
    if known.stale {
        renew_ms = steady_ms() + MEMORY_MS;
        expires_ms = steady_ms() + BUDGET_MS;
    }
    DoorCopy {
        url: String::new(),
        accept: None,
        body: rendered.body.clone(),
        content_type: rendered.content_type,
        etag: rendered.etag.clone(),
        limit,
        not_for_bots: false,
        renew_ms,
        expires_ms,
    }
}
