//! `/posts`: one post's numbers, and the catalog.
//!
//! A page costs the global object 15 ms to seconds. It is in the turn of the address that asks, and what
//! one was told serves everybody who asks the same within [`PAGE_KEPT_MS`].

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::json;

use super::access::{Token, may_read_or_moderate, require};
use super::answer::Answer;
use super::charts::read_query;
use super::isolate::here;
use super::request::Call;
use super::{ASK_TIMEOUT_MS, boards, body, directory, ids, limits};
use crate::board::ObjectName;
use crate::catalog::MAX_PUT_POSTS;
use crate::clock::steady_ms;
use crate::http::{
    ChartQuery, Problem, elements, entry_json, format_asked, list_page, merged, page_json,
    read_post, read_post_of,
};
use crate::play::{MAX_BODY_BYTES_TRUSTED, check_post_id};
use crate::wire::{ListPosts, PostPatch, PostQuestion, PostRequest, PutPost, PutPosts};

/// A page is shown again for so long, as its `max-age` says.
const PAGE_KEPT_MS: u64 = 1_000;
/// Pages in the memory of an isolate: of 10 KB usually. At either limit all are forgotten together.
const MAX_KEPT_PAGES: usize = 256;
const MAX_KEPT_PAGE_BYTES: usize = 4 << 20;

/// Pages that were shown a moment ago, by what was asked.
#[derive(Default)]
pub struct KeptPages {
    pages: HashMap<PageKey, KeptPage>,
    bytes: usize,
}

/// The key of a board, what was asked of it, and the timeframe and its zone as they were asked for.
type PageKey = (String, PostRequest, (Option<String>, Option<String>));

struct KeptPage {
    body: Rc<[u8]>,
    made_ms: u64,
}

impl KeptPages {
    fn get(&self, asked: &PageKey, now_ms: u64) -> Option<Rc<[u8]>> {
        let page = self.pages.get(asked)?;
        let is_fresh = now_ms.saturating_sub(page.made_ms) < PAGE_KEPT_MS;
        is_fresh.then(|| Rc::clone(&page.body))
    }

    fn put(&mut self, asked: PageKey, body: Rc<[u8]>, made_ms: u64) {
        if self.pages.len() >= MAX_KEPT_PAGES || self.bytes + body.len() > MAX_KEPT_PAGE_BYTES {
            *self = KeptPages::default();
        }
        self.bytes += body.len();
        let before = self.pages.insert(asked, KeptPage { body, made_ms });
        self.bytes -= before.map_or(0, |before| before.body.len());
    }
}

pub async fn get(call: &Call, post_id: String) -> Result<Answer, Problem> {
    let is_moderator = may_read_or_moderate(call)?;
    let board = boards::open_to(call, boards::of_query(call).await?)?;
    let query = read_query(call)?;
    let post_id = checked_id(call, post_id)?;
    directory::require_scope(call, &query.form.scope).await?;
    let page = PostRequest {
        post_id,
        scope: query.form.scope.clone(),
        window: query.window,
        hidden_too: is_moderator,
    };
    let (board_key, form) = (board.key().into_owned(), &query.form);
    let words = (form.timeframe.clone(), form.time_zone.clone());
    let asked = (board_key, page, words);
    let body = match here(|isolate| isolate.pages.borrow().get(&asked, steady_ms())) {
        Some(kept) => kept,
        None => {
            let made_ms = steady_ms();
            let body: Rc<[u8]> = made(call, &asked, &query).await?.into();
            here(|isolate| {
                let mut pages = isolate.pages.borrow_mut();
                pages.put(asked, Rc::clone(&body), made_ms);
            });
            body
        }
    };
    // What a moderator sees is for nobody else.
    let caching = match is_moderator {
        true => "private, no-store",
        false => "public, max-age=1",
    };
    Ok(Answer::bytes("application/json", body.to_vec()).with_header("Cache-Control", caching))
}

/// The catalog of a board in pages, for who keeps it.
pub async fn list(call: &Call) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let board = boards::of_query(call).await?;
    let format = format_asked(&call.query, call.header("Accept").as_deref())?;
    if call.query.first("format") == Some("csv") {
        let detail = "format is json or ndjson: a page of CSV could not say that another follows";
        return Err(Problem::bad("bad_format", detail));
    }
    let request = ListPosts {
        after: call.query.first("after").map(str::to_owned),
    };
    let keeper = ObjectName::catalog(&board.key());
    let list = call.ask(&keeper, &request, ASK_TIMEOUT_MS, "bad_post_id");
    let list = list.await?;
    let named = call.query.first("board");
    let page = list_page(&list, format, named);
    let answer = Answer::bytes(page.content_type, page.body)
        .with_header("Cache-Control", "private, no-store");
    Ok(match page.next {
        Some(next) => answer.with_header("Link", format!("<{next}>; rel=\"next\"")),
        None => answer,
    })
}

/// A page as the global object makes it.
async fn made(call: &Call, asked: &PageKey, query: &ChartQuery) -> Result<Vec<u8>, Problem> {
    let (board_key, page, _) = asked;
    let question = PostQuestion {
        asker: limits::sender_of(call).await.unwrap_or_default(),
        page: page.clone(),
    };
    let global = ObjectName::global(board_key);
    let report = call.ask(&global, &question, ASK_TIMEOUT_MS, "bad_window");
    let body = page_json(&report.await?, &query.form);
    // What is made of our own types always serializes.
    Ok(serde_json::to_vec(&body).unwrap_or_default())
}

pub async fn put(call: &mut Call, post_id: String) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let bytes = body::read(call, MAX_BODY_BYTES_TRUSTED).await?;
    let post_id = checked_id(call, post_id)?;
    let patch = read_post_of(&bytes, post_id, ids::normaliser(&call.env))?;
    stored(call, vec![patch]).await
}

pub async fn delete(call: &Call, post_id: String) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let post_id = checked_id(call, post_id)?;
    let patch = match call.query.first("erase") {
        None | Some("false") => PostPatch::hiding(post_id),
        Some("true") => PostPatch::erasing(post_id),
        // Who means to erase must not believe that it is done.
        Some(_) => return Err(Problem::bad("bad_post", "erase is true or false")),
    };
    stored(call, vec![patch]).await
}

pub async fn put_many(call: &mut Call) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let bytes = body::read(call, MAX_BODY_BYTES_TRUSTED).await?;
    let elements = elements(&bytes)?;
    let normalise = ids::normaliser(&call.env);
    if elements.len() > MAX_PUT_POSTS {
        let detail = "at most 10000 posts a request; nothing was stored";
        return Err(Problem::new(413, "too_many_posts", detail));
    }
    let mut patches = Vec::with_capacity(elements.len());
    let mut rejected = Vec::new();
    for (index, element) in elements.into_iter().enumerate() {
        match element.and_then(|element| read_post(element.get().as_bytes(), normalise)) {
            Ok(patch) => patches.push(patch),
            Err((code, detail)) => {
                rejected.push(json!({ "index": index, "code": code, "detail": detail }));
            }
        }
    }
    let stored = patches.len();
    if stored > 0 {
        put_patches(call, patches).await?;
    } else if !rejected.is_empty() {
        let problem = Problem::bad("no_good_post", "no post of this list can be stored");
        return Err(problem.with("rejected", rejected));
    }
    Ok(Answer::json(
        &json!({ "stored": stored, "rejected": rejected }),
    ))
}

async fn stored(call: &Call, patches: Vec<PostPatch>) -> Result<Answer, Problem> {
    let PutPost { entry, was_known } = put_patches(call, patches).await?.unwrap_or_default();
    let body = merged(entry_json(&entry), json!({ "known": was_known }));
    Ok(Answer::json(&body))
}

async fn put_patches(call: &Call, patches: Vec<PostPatch>) -> Result<Option<PutPost>, Problem> {
    let board = boards::of_query(call).await?;
    let keeper = ObjectName::catalog(&board.key());
    let request = PutPosts {
        patches,
        only_new: false,
    };
    here(|isolate| isolate.pages.take());
    let entry = call.ask(&keeper, &request, ASK_TIMEOUT_MS, "bad_post");
    let entry = entry.await;
    here(|isolate| isolate.pages.take());
    entry
}

/// An id in the form in which its plays count.
fn checked_id(call: &Call, post_id: String) -> Result<String, Problem> {
    let post_id = ids::kept(&call.env, post_id);
    match check_post_id(&post_id) {
        Ok(()) => Ok(post_id),
        Err(refused) => Err(Problem::bad(refused.code, refused.detail)),
    }
}
