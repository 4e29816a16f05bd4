//! The Worker: stateless, in the city nearest to the user.
//!
//! [`route`] sends a request to the file that answers it; each answers with an [`Answer`] or a
//! [`Problem`]. Nothing here keeps state that matters: isolates come and go.

mod access;
mod admin;
mod answer;
mod boards;
mod body;
mod cache;
mod charts;
mod directory;
mod health;
mod ids;
mod isolate;
mod leaderboards;
mod limits;
mod live;
mod log;
mod metrics;
mod plays;
mod posts;
mod published;
mod regions;
mod request;
mod shards;
mod telling;
mod transfer;
mod www;

use futures_util::future::LocalBoxFuture;
use worker::{Context, Env, event};

use answer::Answer;
use limits::Bucket;
use request::Call;

use crate::environment::keep_as_set;
use crate::http::{Cors, Method, Problem, decoded};
use crate::panics;
use request::RequestFields;

/// How long a charts or catalog question to the global object may take.
const ASK_TIMEOUT_MS: u64 = 10_000;

/// The first words of paths that are no files.
const ROUTES: [&str; 12] = [
    "boards",
    "charts",
    "plays",
    "top-posts",
    "posts",
    "regions",
    "live",
    "healthz",
    "metrics",
    "export",
    "import",
    "admin",
];

#[event(fetch)]
async fn fetch(
    request: web_sys::Request,
    env: Env,
    context: Context,
) -> worker::Result<web_sys::Response> {
    keep_as_set(&env);
    let seen = RequestFields::of(&request, request::trust(&env).proxies());
    let cors = access::cors_of(&seen, &env);
    let is_head = seen.method == Method::Head;
    let reader = (seen.method == Method::Get)
        .then(|| limits::reader_at_the_door(seen.visitor.address.as_deref().unwrap_or_default()));
    let showed_token = seen.authorization.is_some();
    let entry = log::RequestLine::new(&seen, &env);
    let outcome = route(Call::new(request, seen, env, context), &cors).await;
    let request_id = entry.write(&outcome);
    let mut answer = outcome.unwrap_or_else(Answer::from);
    if showed_token {
        answer = answer.for_its_reader_only();
    }
    answer
        .with_header(log::REQUEST_ID, request_id)
        .with_headers(cors.headers())
        .into_response(is_head, reader)
}

async fn route(mut call: Call, cors: &Cors) -> Result<Answer, Problem> {
    use Method::{Delete, Get, Head, Options, Post, Put};
    #[cfg(feature = "panics")]
    if panics::arm(&call.path) {
        return Ok(Answer::preflight(&[Get]));
    }
    panics::point_of_rehearsal(&call.seen.url);
    panics::point("worker");
    panics::point("memory");
    if route_word(&call.path).is_none()
        && let Some(usual) = www::beacon_names(&call.env).usual_path(&call.path)
    {
        call.path = usual;
    }
    let path = call.path.clone();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let allowed: &[Method] = match *segments.as_slice() {
        ["plays" | "import"] => &[Post],
        ["top-posts" | "regions" | "boards" | "live"] => &[Get],
        ["healthz" | "metrics" | "export" | "admin"] => &[Get],
        ["charts", ..] => &[Get],
        ["posts"] => &[Get, Put],
        ["posts", _] => &[Get, Put, Delete],
        ["regions" | "boards", _] => &[Put, Delete],
        ["admin", "reset" | "close-charts"] => &[Post],
        _ => &[Get],
    };
    let method = match call.seen.method {
        Head => Get,
        method => method,
    };
    if method == Options {
        return Ok(Answer::preflight(allowed));
    }
    let is_chart = matches!(*segments.as_slice(), ["charts", _, _]);
    if route_word(&path).is_none() || segments.len() > 2 && !is_chart {
        // An unknown path is 404 whatever the method; a file is only ever read.
        return Box::pin(www::serve(&call, method)).await;
    }
    if !allowed.contains(&method) {
        return Err(Problem::method_not_allowed(allowed));
    }
    let limit = match (&method, segments.as_slice()) {
        (
            Get,
            [
                "top-posts" | "charts" | "posts" | "regions" | "boards" | "live" | "metrics",
                ..,
            ],
        ) => {
            let reader = limits::sender_of(&call).await;
            Some(limits::count(&call, Bucket::Reads, reader).await?)
        }
        _ => None,
    };
    let answer = answer_request(&mut call, cors, method, &segments).await?;
    Ok(match limit {
        // A chart may be kept on its way and given to others: it says nothing of who asked first.
        Some(limit) if !matches!(segments.as_slice(), ["top-posts" | "charts", ..]) => {
            limit.tell(answer)
        }
        _ => answer,
    })
}

/// The first word of a path that begins as those of the service do; everything else is a file.
fn route_word(path: &str) -> Option<&'static str> {
    let first = path.split('/').nth(1)?;
    ROUTES.into_iter().find(|word| *word == first)
}

/// Each route is a future behind a pointer: the engine compiles a function when it is called first, and all routes in
/// one are a third of a megabyte that the first request of an instance waits for.
async fn answer_request(
    call: &mut Call,
    cors: &Cors,
    method: Method,
    segments: &[&str],
) -> Result<Answer, Problem> {
    use Method::{Delete, Get, Post, Put};
    let work: LocalBoxFuture<'_, _> = match (method, segments) {
        (Post, ["plays"]) => Box::pin(plays::post(call, cors)),
        (Get, ["live"]) => Box::pin(live::get(call, cors)),
        (Get, ["top-posts"]) => Box::pin(charts::get(call)),
        (Get, ["charts", kind]) => Box::pin(published::list(call, kind)),
        (Get, ["charts", kind, leaf]) => {
            let leaf = decoded(leaf)?;
            Box::pin(async move { published::get(call, kind, &leaf).await })
        }
        (Get, ["posts"]) => match call.query.first("post_id").map(str::to_owned) {
            None if call.seen.authorization.is_some() => Box::pin(posts::list(call)),
            post_id => Box::pin(posts::get(call, post_id.unwrap_or_default())),
        },
        (Put, ["posts"]) => Box::pin(posts::put_many(call)),
        (Get, ["posts", post_id]) => Box::pin(posts::get(call, decoded(post_id)?)),
        (Put, ["posts", post_id]) => Box::pin(posts::put(call, decoded(post_id)?)),
        (Delete, ["posts", post_id]) => Box::pin(posts::delete(call, decoded(post_id)?)),
        (Get, ["regions"]) => Box::pin(regions::get(call)),
        (Put, ["regions", id]) => Box::pin(regions::put(call, decoded(id)?)),
        (Delete, ["regions", id]) => Box::pin(regions::delete(call, decoded(id)?)),
        (Get, ["boards"]) => Box::pin(boards::list(call)),
        (Put, ["boards", id]) => Box::pin(boards::put(call, decoded(id)?)),
        (Delete, ["boards", id]) => Box::pin(boards::delete(call, decoded(id)?)),
        (Get, ["admin"]) => Box::pin(admin::get(call)),
        (Post, ["admin", "close-charts"]) => Box::pin(published::close(call)),
        (Post, ["admin", "reset"]) => Box::pin(admin::reset(call)),
        (Get, ["export"]) => Box::pin(transfer::export(call)),
        (Post, ["import"]) => Box::pin(transfer::import(call)),
        (Get, ["metrics"]) => Box::pin(metrics::get(call)),
        (Get, ["healthz"]) => return health::get(call),
        _ => return Err(Problem::not_found("there is nothing at this path")),
    };
    work.await
}
