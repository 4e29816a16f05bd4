//! The static files: the dashboard, `beacon.js`, `widget.js`.
//!
//! The bare runtime gives files without a type, so types are set here (`src/http/files.rs`).

use worker::{Env, Headers, RequestInit};

use super::answer::Answer;
use super::request::Call;
use crate::environment::setting;
use crate::http::{Method, PAGE_POLICY, Problem, cache_control, content_type, decoded};
use crate::log::report;
use crate::settings::BeaconNames;

pub async fn serve(call: &Call, method: Method) -> Result<Answer, Problem> {
    let nothing = || Problem::not_found("there is nothing at this path");
    let path = match decoded(&call.path)?.as_str() {
        "/" => "/index.html".to_owned(),
        path => path.to_owned(),
    };
    let content_type = content_type(&path).ok_or_else(nothing)?;
    if path.contains("..") || path.contains('\\') {
        return Err(nothing());
    }
    let is_beacon = matches!(path.as_str(), "/beacon.js" | "/beacon.mjs");
    let names = if is_beacon {
        beacon_names(&call.env)
    } else {
        BeaconNames::default()
    };
    let is_as_stored = names == BeaconNames::default();
    let assets = call.env.assets("ASSETS").map_err(|_| nothing())?;
    let headers = Headers::new();
    // The tag of the file says nothing about the names that are put into it.
    if let Some(known) = call.header("If-None-Match").filter(|_| is_as_stored) {
        headers
            .set("If-None-Match", &known)
            .map_err(|_| nothing())?;
    }
    let mut init = RequestInit::new();
    init.with_headers(headers);
    let response = assets
        .fetch(format!("http://assets{path}"), Some(init))
        .await;
    let mut response = response.map_err(|_| nothing())?;
    if !matches!(response.status_code(), 200 | 304) {
        return Err(nothing());
    }
    if method != Method::Get {
        return Err(Problem::method_not_allowed(&[Method::Get]));
    }
    let etag = response.headers().get("ETag").ok().flatten();
    let etag = etag.filter(|_| is_as_stored);
    let answer = if is_as_stored {
        Answer::passed(response)
    } else {
        let script = response.text().await.map_err(|_| nothing())?;
        Answer::bytes(content_type, names.put_into(&script).into_bytes())
    };
    let mut answer = answer
        .with_header("Content-Type", content_type)
        .with_header("Cache-Control", cache_control(&path))
        .with_header("Cross-Origin-Resource-Policy", "cross-origin");
    if let Some(etag) = etag {
        answer = answer.with_header("ETag", etag);
    }
    if content_type.starts_with("text/html") {
        return Ok(answer
            .with_header("Content-Security-Policy", PAGE_POLICY)
            .with_header("Referrer-Policy", "no-referrer"));
    }
    Ok(answer)
}

/// What the settings call the beacon; its usual names where they are wrong.
pub fn beacon_names(env: &Env) -> BeaconNames {
    let [beacon, plays] = ["BEACON_PATH", "PLAYS_PATH"].map(|name| setting(env, name));
    BeaconNames::read(beacon.as_deref(), plays.as_deref()).unwrap_or_else(|error| {
        report!("worker", "{error}");
        BeaconNames::default()
    })
}
