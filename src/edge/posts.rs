//! `/posts`: one post's numbers, and the catalog.
//!
//! A page costs the global object 15 ms to seconds. It is in the turn of the address that asks, and what
//! one was told serves everybody who asks the same within [`KEPT_MS`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::access::{Token, may_read_or_moderate, require};
use super::answer::Answer;
use super::chart_query::ChartQuery;
use super::problem::Problem;
use super::request::Call;
use super::{ASK_TIMEOUT_MS, body, ids, limits, table};
use crate::leaderboard::{Count, NamedWindow};
use crate::platform::{call as ask, global_stub, now_ms};
use crate::play::{
    MAX_BODY_BYTES_TRUSTED, MAX_PLAYS_TRUSTED, Refused, check_post_id, lines, other_unicode_form,
    read_post_id, without_marks,
};
use crate::window::{parse_rfc3339_ms, rfc3339};
use crate::wire::{
    CatalogEntry, PostPatch, PostQuestion, PostReply, PostRequest, PutPosts, PutPostsReply,
};

const MAX_AUTHOR_BYTES: usize = 256;
const MAX_CONTENT_BYTES: usize = 1 << 10;
const MAX_LINK_BYTES: usize = 1 << 10;
/// A page is shown again for so long, as its `max-age` says.
const KEPT_MS: u64 = 1_000;
/// Pages in the memory of an isolate: of 10 KB usually. At either limit all are forgotten together.
const MAX_KEPT: usize = 256;
const MAX_KEPT_BYTES: usize = 4 << 20;

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// Pages that were shown a moment ago, by what was asked.
#[derive(Default)]
struct Kept {
    pages: HashMap<(PostRequest, Option<String>), KeptPage>,
    bytes: usize,
}

struct KeptPage {
    body: Rc<[u8]>,
    made_ms: u64,
}

impl Kept {
    fn get(&self, asked: &(PostRequest, Option<String>), now_ms: u64) -> Option<Rc<[u8]>> {
        let page = self.pages.get(asked)?;
        let is_fresh = now_ms.checked_sub(page.made_ms)? < KEPT_MS;
        is_fresh.then(|| Rc::clone(&page.body))
    }

    fn put(&mut self, asked: (PostRequest, Option<String>), body: Rc<[u8]>, made_ms: u64) {
        if self.pages.len() >= MAX_KEPT || self.bytes + body.len() > MAX_KEPT_BYTES {
            *self = Kept::default();
        }
        self.bytes += body.len();
        let before = self.pages.insert(asked, KeptPage { body, made_ms });
        self.bytes -= before.map_or(0, |before| before.body.len());
    }
}

pub async fn get(call: &Call, post_id: String) -> Result<Answer, Problem> {
    let is_moderator = may_read_or_moderate(call)?;
    let query = ChartQuery::read(call)?;
    let post_id = checked_id(call, post_id)?;
    table::require_scope(call, &query.form.scope).await?;
    let page = PostRequest {
        post_id,
        scope: query.form.scope.clone(),
        window: query.window,
        hidden_too: is_moderator,
    };
    let asked = (page, query.form.timeframe.clone());
    let body = match KEPT.with(|kept| kept.borrow().get(&asked, now_ms())) {
        Some(kept) => kept,
        None => {
            let made_ms = now_ms();
            let body: Rc<[u8]> = made(call, &asked.0, &query).await?.into();
            KEPT.with(|kept| kept.borrow_mut().put(asked, Rc::clone(&body), made_ms));
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

/// A page as the global object makes it.
async fn made(call: &Call, page: &PostRequest, query: &ChartQuery) -> Result<Vec<u8>, Problem> {
    let away = |error| Problem::away("the global object", &error);
    let stub = global_stub(&call.env).map_err(away)?;
    let question = PostQuestion {
        asker: limits::sender_of(call).await.unwrap_or_default(),
        page: page.clone(),
    };
    let PostReply(reply) = ask(&stub, "/post", &question, ASK_TIMEOUT_MS)
        .await
        .map_err(away)?;
    let report = reply.map_err(|refusal| Problem::refused(refusal, "bad_window"))?;
    let series = report.series.iter().map(|(span, count)| {
        let window = NamedWindow::from(*span);
        merged(json!(window), count_json(*count))
    });
    let regions = report
        .regions
        .iter()
        .map(|(region_id, count)| merged(json!({ "region_id": region_id }), count_json(*count)));
    let asked = json!({
        "region": query.form.scope,
        "timeframe": query.form.timeframe,
        "window": NamedWindow::from(report.span),
    });
    let parts = json!({
        "rank": report.rank,
        "series": series.collect::<Vec<Value>>(),
        "regions": regions.collect::<Vec<Value>>(),
    });
    let more = [asked, count_json(report.count), parts];
    let mut body = more.into_iter().fold(entry_json(&report.entry), merged);
    if report.incomplete {
        body = merged(body, json!({ "incomplete": true }));
    }
    // What is made of our own types always serializes.
    Ok(serde_json::to_vec(&body).unwrap_or_default())
}

pub async fn put(call: &mut Call, post_id: String) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let bytes = body::read(call, MAX_BODY_BYTES_TRUSTED).await?;
    let post_id = checked_id(call, post_id)?;
    let given: PostBody<'_> = serde_json::from_slice(text_of(&bytes)?)
        .map_err(|error| Problem::bad("malformed_body", error.to_string()))?;
    if given.post_id.is_some() {
        let refused = |refused: Refused| Problem::bad(refused.code, refused.detail);
        let named = read_post_id(given.post_id).map_err(refused)?;
        if ids::kept(&call.env, named.into_owned()) != post_id {
            return Err(Problem::bad(
                "bad_post_id",
                "post_id differs from the path's",
            ));
        }
    }
    let patch = given
        .patch(post_id)
        .map_err(|detail| Problem::bad("bad_post", detail))?;
    stored(call, vec![patch]).await
}

pub async fn delete(call: &Call, post_id: String) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let post_id = checked_id(call, post_id)?;
    let patch = match call.parameter("erase").as_deref() {
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
    if elements.len() > MAX_PLAYS_TRUSTED {
        let detail = "at most 10000 posts a request; nothing was stored";
        return Err(Problem::new(413, "too_many_posts", detail));
    }
    let mut patches = Vec::with_capacity(elements.len());
    let mut rejected = Vec::new();
    for (index, element) in elements.into_iter().enumerate() {
        match element.and_then(|element| read_post(call, element)) {
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
        let mut problem = Problem::bad("no_good_post", "no post of this list can be stored");
        problem.more.insert("rejected".into(), rejected.into());
        return Err(problem);
    }
    Ok(Answer::json(
        &json!({ "stored": stored, "rejected": rejected }),
    ))
}

async fn stored(call: &Call, patches: Vec<PostPatch>) -> Result<Answer, Problem> {
    let entry = put_patches(call, patches).await?;
    Ok(Answer::json(&entry_json(&entry.unwrap_or_default())))
}

async fn put_patches(
    call: &Call,
    patches: Vec<PostPatch>,
) -> Result<Option<CatalogEntry>, Problem> {
    let away = |error| Problem::away("the global object", &error);
    let stub = global_stub(&call.env).map_err(away)?;
    let request = PutPosts { patches };
    KEPT.with(RefCell::take);
    let reply = ask(&stub, "/put-posts", &request, ASK_TIMEOUT_MS).await;
    KEPT.with(RefCell::take);
    let PutPostsReply(reply) = reply.map_err(away)?;
    reply.map_err(|refusal| Problem::refused(refusal, "bad_post"))
}

/// An id in the form in which its plays count.
fn checked_id(call: &Call, post_id: String) -> Result<String, Problem> {
    let post_id = ids::kept(&call.env, post_id);
    match check_post_id(&post_id) {
        Ok(()) => Ok(post_id),
        Err(refused) => Err(Problem::bad(refused.code, refused.detail)),
    }
}

/// A body's text without marks at its start.
fn text_of(bytes: &[u8]) -> Result<&[u8], Problem> {
    match other_unicode_form(bytes) {
        None => Ok(without_marks(bytes)),
        Some(form) => {
            let detail = format!("the body is {form}, and is read as UTF-8 only");
            Err(Problem::bad("malformed_body", detail))
        }
    }
}

type Element<'a> = Result<&'a RawValue, (&'static str, String)>;

/// The elements of an array, or the lines of NDJSON.
fn elements(bytes: &[u8]) -> Result<Vec<Element<'_>>, Problem> {
    let malformed = |detail: String| Problem::bad("malformed_body", detail);
    let bytes = text_of(bytes)?;
    if bytes.is_empty() {
        return Err(malformed("the body is empty".into()));
    }
    if bytes.starts_with(b"[") {
        let elements: Vec<&RawValue> =
            serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        return Ok(elements.into_iter().map(Ok).collect());
    }
    let elements = lines(bytes).take(MAX_PLAYS_TRUSTED + 1).map(|line| {
        serde_json::from_slice::<&RawValue>(line)
            .map_err(|error| ("malformed_line", error.to_string()))
    });
    Ok(elements.collect())
}

fn read_post(call: &Call, element: &RawValue) -> Result<PostPatch, (&'static str, String)> {
    let given: PostBody<'_> =
        serde_json::from_str(element.get()).map_err(|error| ("bad_post", error.to_string()))?;
    let refused = |refused: Refused| (refused.code, refused.detail.into_owned());
    let post_id = read_post_id(given.post_id).map_err(refused)?.into_owned();
    let post_id = ids::kept(&call.env, post_id);
    check_post_id(&post_id).map_err(refused)?;
    given.patch(post_id).map_err(|detail| ("bad_post", detail))
}

/// The fields that a sender may set. One that is left out stays; `null` clears it.
#[derive(Deserialize)]
struct PostBody<'a> {
    /// As plays have it.
    #[serde(borrow, default)]
    post_id: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "given")]
    author: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    content: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    url: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    image: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    timestamp: Option<Option<Moment>>,
    /// Not `null`, which an export of a database without such a column may say of every post.
    #[serde(default, deserialize_with = "yes_or_no")]
    hidden: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Milliseconds(u64),
    Text(String),
}

/// Tells a field that is `null` from one that is left out.
pub fn given<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn yes_or_no<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    bool::deserialize(deserializer).map(Some)
}

impl PostBody<'_> {
    fn patch(self, post_id: String) -> Result<PostPatch, String> {
        let [author, content, url, image] =
            [&self.author, &self.content, &self.url, &self.image].map(|field| field.as_ref());
        check_card(
            author.unwrap_or(&None),
            content.unwrap_or(&None),
            url.unwrap_or(&None),
            image.unwrap_or(&None),
        )?;
        let timestamp_ms = match self.timestamp {
            None => None,
            Some(None) => Some(None),
            Some(Some(Moment::Milliseconds(ms))) => Some(Some(ms)),
            Some(Some(Moment::Text(text))) => Some(Some(
                parse_rfc3339_ms(&text)
                    .ok_or("timestamp is milliseconds since 1970 or RFC 3339")?,
            )),
        };
        Ok(PostPatch {
            post_id,
            author: self.author,
            content: self.content,
            url: self.url,
            image: self.image,
            timestamp_ms,
            hidden: self.hidden,
        })
    }
}

/// Checks what an entry of the catalog says.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn check_card(
    author: &Option<String>,
    content: &Option<String>,
    url: &Option<String>,
    image: &Option<String>,
) -> Result<(), String> {
    let fields = [
        ("author", author, MAX_AUTHOR_BYTES),
        ("content", content, MAX_CONTENT_BYTES),
        ("url", url, MAX_LINK_BYTES),
        ("image", image, MAX_LINK_BYTES),
    ];
    for (name, text, max_bytes) in fields {
        if text.as_ref().is_some_and(|text| text.len() > max_bytes) {
            return Err(format!("{name} has at most {max_bytes} bytes"));
        }
    }
    for (name, link) in [("url", url), ("image", image)] {
        if link.as_ref().is_some_and(|link| !is_https(link)) {
            return Err(format!("{name} is an address that begins with https://"));
        }
    }
    Ok(())
}

fn is_https(link: &str) -> bool {
    worker::Url::parse(link).is_ok_and(|url| url.scheme() == "https" && url.has_host())
}

pub fn entry_json(entry: &CatalogEntry) -> Value {
    json!({
        "post_id": entry.post_id,
        "author": entry.card.author,
        "content": entry.card.content,
        "url": entry.card.url,
        "image": entry.card.image,
        "timestamp": entry.timestamp_ms.map(rfc3339),
        "hidden": entry.hidden,
    })
}

fn count_json(count: Count) -> Value {
    json!({
        "view_count": count.view_count,
        "view_count_min": count.view_count_min,
        "view_count_max": count.view_count_max,
    })
}

pub fn merged(mut object: Value, more: Value) -> Value {
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}
