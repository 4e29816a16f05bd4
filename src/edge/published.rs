//! `/charts`: the charts of complete days, weeks and months, as they were published; lists of them, feeds,
//! and a page of each.
//!
//! A chart that was published changes no more but for cards and hidden posts, which all charts show within
//! seconds. So it comes the same way as every other one ([`super::leaderboards`]), and is kept as long.
//!
//! Browsers, and whoever makes a preview of a link, get a page at the same address: `www/charts.html`,
//! with a head that tells of the chart.

use serde_json::json;
use wasm_bindgen::prelude::wasm_bindgen;

use super::access::{Token, needs_token, require};
use super::answer::Answer;
use super::leaderboards::{self, leaderboard};
use super::request::Call;
use super::{ASK_TIMEOUT_MS, boards, charts, directory, ids, limits, www};
use crate::board::{Board, ObjectName};
use crate::http::{
    Feed, Leaf, Method, PageHead, PageNames, Problem, chart_asked, feed_asked, feed_text,
    format_asked, is_bot, list_asked, next_address, origin_of, published_list, read_kind,
    read_leaf, wants_page,
};
use crate::pages::TITLE;
use crate::topology::GLOBAL_SCOPE;
use crate::window::{Period, PeriodKind};
use crate::wire::{CloseHistory, ListPublished, MAX_PUSH_INTERVAL_MS, PublishedList};

const PAGE: &str = "/charts.html";
/// It waits until each shard has pushed.
const CLOSING_TIMEOUT_MS: u64 = MAX_PUSH_INTERVAL_MS + 3 * ASK_TIMEOUT_MS;
/// How long a list or a feed may be kept: a post that is hidden is in none 10 s later.
const LIST_CACHE: &str = "public, max-age=3";

/// What lies at `/charts/{kind}/{leaf}`.
pub async fn get(call: &Call, kind: &str, leaf: &str) -> Result<Answer, Problem> {
    let kind = match read_kind(kind) {
        Err(problem) => return nowhere(call, problem).await,
        Ok(kind) => kind,
    };
    match read_leaf(kind, leaf) {
        Ok(Leaf::Feed(feed)) => self::feed(call, kind, feed).await,
        Ok(Leaf::Chart(period)) if is_for_a_person(call) => page_of(call, kind, period).await,
        Ok(Leaf::Chart(period)) => {
            let answer = charts::answer_to(call, &chart_asked(kind, period, &call.query)?).await?;
            Ok(answer
                .not_kept_for_bots()
                .with_header("Vary", "Accept, User-Agent"))
        }
        // The page says the same in words.
        Err(problem) if is_for_a_person(call) => closed_page(call, kind, problem.status).await,
        Err(problem) => Err(problem),
    }
}

/// `/charts/{kind}`: which there are.
pub async fn list(call: &Call, kind: &str) -> Result<Answer, Problem> {
    let kind = match read_kind(kind) {
        Err(problem) => return nowhere(call, problem).await,
        Ok(kind) => kind,
    };
    let asked = list_asked(kind, &call.query, ids::normaliser(&call.env));
    if is_for_a_person(call) && call.query.first("post_id").is_none() {
        let status = asked.map_or_else(|problem| problem.status, |_| 200);
        return closed_page(call, kind, status).await;
    }
    let board = boards::to_read(call).await?;
    let asked = asked?;
    let format = format_asked(&call.query, call.header("Accept").as_deref())?;
    let list = list_closed(call, &board, &asked).await?;
    let (content_type, body) = published_list(&board.board_id, &asked, &list, format);
    let answer = kept_by_tag(call, content_type, body);
    Ok(match next_address(&board.board_id, &asked, &list) {
        Some(next) => answer.with_header("Link", format!("<{next}>; rel=\"next\"")),
        None => answer,
    })
}

/// Closes charts of what was played before the board began, or came with an import.
pub async fn close(call: &Call) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let board = boards::of_query(call).await?;
    let global = ObjectName::global(&board.key());
    let closed = call.ask(&global, &CloseHistory, CLOSING_TIMEOUT_MS, "bad_period");
    let closed = closed.await?;
    leaderboards::forget();
    Ok(Answer::json(&json!({
        "closed": closed.charts,
        "periods_left": closed.periods_left,
        "periods_waiting": closed.periods_waiting,
        "done": closed.periods_left == 0,
    }))
    .with_header("Cache-Control", "no-store"))
}

/// Whether a user agent gets a page at the address of a chart, whatever it accepts: what the Worker's door
/// (`src/js/door.js`) keeps is data.
#[wasm_bindgen(js_name = isBot)]
pub fn is_bot_at_the_door(user_agent: &str) -> bool {
    is_bot(user_agent)
}

fn is_for_a_person(call: &Call) -> bool {
    let accept = call.header("Accept");
    let user_agent = call.seen.user_agent.as_deref();
    wants_page(&call.query, accept.as_deref(), user_agent)
}

/// What is said of charts of no kind: to a person, as of every other wrong link, by a page.
async fn nowhere(call: &Call, problem: Problem) -> Result<Answer, Problem> {
    match is_for_a_person(call) {
        true => www::serve(call, Method::Get).await,
        false => Err(problem),
    }
}

async fn feed(call: &Call, kind: PeriodKind, feed: Feed) -> Result<Answer, Problem> {
    let board = boards::to_read(call).await?;
    let asked = feed_asked(kind, &call.query)?;
    let list = list_closed(call, &board, &asked).await?;
    let (content_type, text) = named(call, &board, &asked.scope, |named| {
        feed_text(named, kind, &list.charts, feed)
    })
    .await;
    Ok(kept_by_tag(call, content_type, text.into_bytes()))
}

async fn list_closed(
    call: &Call,
    board: &Board,
    asked: &ListPublished,
) -> Result<PublishedList, Problem> {
    directory::require_scope(call, &asked.scope).await?;
    let asked = ListPublished {
        asker: limits::sender_of(call).await.unwrap_or_default(),
        ..asked.clone()
    };
    let global = ObjectName::global(&board.key());
    call.ask(&global, &asked, ASK_TIMEOUT_MS, "bad_period")
        .await
}

/// An answer with an entity tag, by which its reader may ask whether it has changed.
fn kept_by_tag(call: &Call, content_type: &'static str, body: Vec<u8>) -> Answer {
    let etag = www::etag_of(&body);
    Answer::tagged(call, content_type, body, etag)
        .with_header("Vary", www::VARY_OF_ADDRESSES)
        .with_header("Cache-Control", LIST_CACHE)
}

/// The page of a chart. The latest one has an address of its own, which is the one to share.
async fn page_of(call: &Call, kind: PeriodKind, period: Option<Period>) -> Result<Answer, Problem> {
    // Who needs a token shows it when the page asks.
    if needs_token(&call.env) {
        return closed_page(call, kind, 200).await;
    }
    let asked = async {
        let asked = chart_asked(kind, period, &call.query)?;
        let board = boards::to_read(call).await?;
        let known = leaderboard(call, &board, &asked).await?;
        Ok::<_, Problem>((asked, board, known))
    };
    let (asked, board, known) = match asked.await {
        Ok(found) => found,
        Err(problem) => return closed_page(call, kind, problem.status).await,
    };
    let published = known.leaderboard.published.as_ref();
    if let (None, Some(latest)) = (period, published) {
        let query = call.seen.url.split_once('?');
        let query = query.map_or_else(String::new, |(_, query)| format!("?{query}"));
        let latest = latest.period;
        return Ok(Answer::empty(302)
            .with_header("Location", format!("{latest}{query}"))
            .with_header("Vary", "Accept, User-Agent")
            .with_header("Cache-Control", LIST_CACHE));
    }
    let head = named(call, &board, &asked.form.scope, |named| {
        PageHead::of_chart(named, kind, &known.leaderboard).html(named)
    });
    www::page(call, PAGE, &head.await, 200).await
}

/// The page of no chart: it asks by itself, and says what it is told.
async fn closed_page(call: &Call, kind: PeriodKind, status: u16) -> Result<Answer, Problem> {
    let board = Board::main();
    let head = named(call, &board, GLOBAL_SCOPE, |named| {
        PageHead::of_list(named, kind).html(named)
    });
    www::page(call, PAGE, &head.await, status).await
}

/// Runs something with the names of the installation, the board and the region.
async fn named<T>(
    call: &Call,
    board: &Board,
    scope: &str,
    run: impl FnOnce(&PageNames<'_>) -> T,
) -> T {
    let own = www::own_pages(&call.env);
    let shows_regions = own.as_ref().is_none_or(|own| own.shows_regions());
    let table = directory::any_regions(&call.env).await;
    let region = table.as_ref().and_then(|table| table.find(scope));
    let region = region.filter(|_| shows_regions);
    let proto = call.header("X-Forwarded-Proto");
    run(&PageNames {
        site: own.as_ref().map_or(TITLE, |own| own.title()),
        board: (!board.is_main()).then_some((&board.board_id[..], &board.board_name[..])),
        region: region.map(|region| region.region_name.as_str()),
        scope,
        origin: &origin_of(&call.seen.url, proto.as_deref()),
    })
}
