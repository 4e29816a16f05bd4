//! The static files: the dashboard, `beacon.js`, `widget.js`.
//!
//! The bare runtime gives files without a type, so types are set here (`src/http/files.rs`).

use std::collections::BTreeSet;

use siphasher::sip::SipHasher13;
use worker::{Env, Headers, RequestInit, Response};

use super::answer::Answer;
use super::directory;
use super::plays::home_of_sender;
use super::request::Call;
use crate::environment::{or_report, setting};
use crate::http::{
    Method, Problem, cache_control, content_type, decoded, has_version, page_policy,
};
use crate::pages::{OwnPages, may_be_own};
use crate::settings::{BeaconNames, read_image_origins, read_own_pages};

const HTML: &str = "text/html";
/// Of pages and feeds that name their own address: who asks for them, and by which scheme.
pub const VARY_OF_ADDRESSES: &str = "Accept, User-Agent, X-Forwarded-Proto";
const NOT_FOUND_PAGE: &str = "/404.html";
const BEACON: &str = "/beacon.js";
/// Its text is the same everywhere, so its home goes beside it.
const BEACON_OF_VERSION: &str = "/beacon.";

pub async fn serve(call: &Call, method: Method) -> Result<Answer, Problem> {
    let path = match decoded(&call.path)?.as_str() {
        "/" => "/index.html".to_owned(),
        "/status" => "/status.html".to_owned(),
        path => path.to_owned(),
    };
    let accept = call.header("Accept").unwrap_or_default();
    match file(call, &path, &method).await {
        // Whoever followed a wrong link reads a page; programs read the problem.
        Err(problem) if problem.status == 404 && method == Method::Get && accept.contains(HTML) => {
            let page = file(call, NOT_FOUND_PAGE, &method).await;
            let page = page.map(|page| page.with_status(404).with_header("Vary", "Accept"));
            page.map_err(|_| problem)
        }
        answered => answered,
    }
}

async fn file(call: &Call, path: &str, method: &Method) -> Result<Answer, Problem> {
    let nothing = || Problem::not_found("there is nothing at this path");
    let content_type = content_type(path).ok_or_else(nothing)?;
    if path.contains("..") || path.contains('\\') {
        return Err(nothing());
    }
    let own = Own::of(call, path).await;
    // The tag of the file says nothing about what is put into it.
    let known = call.header("If-None-Match");
    let known = known.filter(|_| own.is_none() && path != NOT_FOUND_PAGE);
    let mut response = asset(call, path, known).await.ok_or_else(nothing)?;
    if *method != Method::Get {
        return Err(Problem::method_not_allowed(&[Method::Get]));
    }
    let (answer, etag) = match own {
        None => {
            let etag = response.headers().get("ETag").ok().flatten();
            (Answer::passed(response), etag)
        }
        Some(own) => {
            let text = response.text().await.map_err(|_| nothing())?;
            let text = own.put_into(path, text);
            let etag = etag_of(text.as_bytes());
            let answer = match path {
                NOT_FOUND_PAGE => Answer::bytes(content_type, text.into_bytes()),
                _ => Answer::tagged(call, content_type, text.into_bytes(), etag.clone()),
            };
            (answer, Some(etag))
        }
    };
    let mut answer = answer
        .with_header("Content-Type", content_type)
        .with_header("Cache-Control", cache_control(path))
        .with_header("Cross-Origin-Resource-Policy", "cross-origin");
    if let Some(etag) = etag {
        answer = answer.with_header("ETag", etag);
    }
    if path.starts_with(BEACON_OF_VERSION)
        && has_version(path)
        && let Some(home) = home_of_page(call).await
    {
        answer = answer
            .with_header("Server-Timing", format!("home;desc=\"{home}\""))
            .with_header("Timing-Allow-Origin", "*");
    }
    if content_type.starts_with(HTML) {
        return Ok(with_page_headers(call, answer));
    }
    Ok(answer)
}

/// What goes into a file: of the settings, and into the beacon the home of batches that are sealed where
/// it is asked for. So that is another file in each region, which no shared cache keeps; one that travels
/// is a little slower to count, and no less right.
enum Own {
    Beacon(BeaconNames, Option<String>),
    Pages(OwnPages),
}

impl Own {
    /// None where the file goes out as it is stored.
    async fn of(call: &Call, path: &str) -> Option<Self> {
        if matches!(path, BEACON | "/beacon.mjs") {
            let names = beacon_names(&call.env);
            let home = match path {
                BEACON => home_of_page(call).await,
                _ => None,
            };
            let is_as_stored = names == BeaconNames::default() && home.is_none();
            return (!is_as_stored).then_some(Own::Beacon(names, home));
        }
        if !may_be_own(path) {
            return None;
        }
        own_pages(&call.env).map(Own::Pages)
    }

    fn put_into(&self, path: &str, text: String) -> String {
        match self {
            Own::Beacon(names, home) => names.put_into(&text, home.as_deref()),
            Own::Pages(pages) => pages.put_into(path, &text).unwrap_or(text),
        }
    }
}

/// The home of batches that a page seals where it is asked for. An old one is no less right; without a
/// table there is none yet, and the beacon learns it from the first answer.
async fn home_of_page(call: &Call) -> Option<String> {
    directory::any_regions(&call.env).await;
    let directory = directory::known()?;
    home_of_sender(call, &directory, &BTreeSet::new())
}

/// The pages as the settings have them; none where they stay as they are, or a setting is wrong.
pub fn own_pages(env: &Env) -> Option<OwnPages> {
    or_report(read_own_pages(|name| setting(env, name)), || None)
}

/// A file of the build, or that it is still the one of the tag that is `known`.
async fn asset(call: &Call, path: &str, known: Option<String>) -> Option<Response> {
    let headers = Headers::new();
    if let Some(known) = known {
        headers.set("If-None-Match", &known).ok()?;
    }
    let mut init = RequestInit::new();
    init.with_headers(headers);
    let assets = call.env.assets("ASSETS").ok()?;
    let asked = assets.fetch(format!("http://assets{path}"), Some(init));
    let response = asked.await.ok()?;
    matches!(response.status_code(), 200 | 304).then_some(response)
}

/// Where pictures may come from; from nowhere else where that cannot be read.
fn image_origins(env: &Env) -> Vec<String> {
    let origins = read_image_origins(setting(env, "IMAGE_ORIGINS").as_deref());
    or_report(origins, || vec!["'self'".into()])
}

/// A page with something in its head that stands for `<title>`; `status` is the answer's.
///
/// # Errors
/// 404 where the build has no such page.
pub async fn page(call: &Call, path: &str, head: &str, status: u16) -> Result<Answer, Problem> {
    const TITLE: &str = "<title>Hitparade</title>\n";
    let nothing = || Problem::not_found("there is nothing at this path");
    let mut response = asset(call, path, None).await.ok_or_else(nothing)?;
    let text = response.text().await.map_err(|_| nothing())?;
    let (before, after) = text.split_once(TITLE).ok_or_else(nothing)?;
    let own = own_pages(&call.env);
    let put = |text: &str| {
        let own = own.as_ref().and_then(|own| own.put_into(path, text));
        own.unwrap_or_else(|| text.to_owned())
    };
    let text = [&put(before), head, &put(after)].concat();
    let etag = etag_of(text.as_bytes());
    let (content_type, bytes) = ("text/html; charset=utf-8", text.into_bytes());
    let answer = match status {
        200 => Answer::tagged(call, content_type, bytes, etag),
        _ => Answer::bytes(content_type, bytes).with_status(status),
    };
    Ok(with_page_headers(call, answer)
        .with_header("Cache-Control", cache_control(path))
        .with_header("Vary", VARY_OF_ADDRESSES))
}

/// A name for these very bytes.
pub fn etag_of(bytes: &[u8]) -> String {
    format!("\"{:016x}\"", SipHasher13::new().hash(bytes))
}

fn with_page_headers(call: &Call, answer: Answer) -> Answer {
    let policy = page_policy(&call.seen.url, &image_origins(&call.env));
    answer
        .with_header("Content-Security-Policy", policy)
        .with_header("Referrer-Policy", "no-referrer")
}

/// What the settings call the beacon; its usual names where they are wrong.
pub fn beacon_names(env: &Env) -> BeaconNames {
    let [beacon, plays] = ["BEACON_PATH", "PLAYS_PATH"].map(|name| setting(env, name));
    let names = BeaconNames::read(beacon.as_deref(), plays.as_deref());
    or_report(names, BeaconNames::default)
}
