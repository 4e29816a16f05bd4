//! One line a request: an id that its sender knows, what was asked, what was answered, and why.
//!
//! Lines are written for answers of 5xx; for all or for none as `LOG_REQUESTS` says ("all",
//! "none"). They hold no address and no query. The id goes out as `X-Request-Id`; a chart that is
//! repeated from memory carries the id of the request that it was made for.

use serde_json::json;
use worker::Env;

use super::answer::Answer;
use super::isolate::{count_here, here};
use super::request::RequestFields;
use super::{route_word, www};
use crate::clock::now_ms;
use crate::environment::setting;
use crate::http::{Problem, path_of};
use crate::instance::instance;
use crate::log;

pub const REQUEST_ID: &str = "X-Request-Id";
/// A path is a route and an id of up to 256 bytes, each of them three characters.
const MAX_PATH_BYTES: usize = 1_024;

/// What is known of a request when it comes.
pub struct RequestLine {
    request_id: String,
    method: &'static str,
    path: String,
    route: &'static str,
    started_ms: u64,
    wanted: WhichLines,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WhichLines {
    Errors,
    All,
    None,
}

impl RequestLine {
    pub fn new(seen: &RequestFields, env: &Env) -> Self {
        let wanted = match setting(env, "LOG_REQUESTS").as_deref() {
            Some("all") => WhichLines::All,
            Some("none") => WhichLines::None,
            _ => WhichLines::Errors,
        };
        let mut path = path_of(&seen.url).to_owned();
        path.truncate(path.floor_char_boundary(MAX_PATH_BYTES));
        RequestLine {
            request_id: request_id(),
            method: seen.method.name(),
            route: route_of(&path, env),
            path,
            started_ms: now_ms(),
            wanted,
        }
    }

    /// Counts the answer, and writes the line if it is wanted. Returns the id.
    pub fn write(self, outcome: &Result<Answer, Problem>) -> String {
        let (status, code) = match outcome {
            Ok(answer) => (answer.status(), None),
            Err(problem) => (problem.status, Some(problem.code)),
        };
        count_here(|counters| counters.answered(self.route, status, code));
        let is_error = status >= 500;
        let is_wanted = match self.wanted {
            WhichLines::Errors => is_error,
            WhichLines::All => true,
            WhichLines::None => false,
        };
        if !is_wanted {
            return self.request_id;
        }
        let mut fields = json!({
            "level": if is_error { "error" } else { "info" },
            "source": "request",
            "request_id": self.request_id,
            "method": self.method,
            "path": self.path,
            "status": status,
            "duration_ms": now_ms().saturating_sub(self.started_ms),
        });
        if let Err(problem) = outcome {
            fields["code"] = problem.code.into();
            fields["detail"] = problem.detail.as_str().into();
            if let Some(cause) = &problem.cause {
                fields["cause"] = cause.as_str().into();
            }
        }
        log::line(is_error, &fields);
        self.request_id
    }
}

/// The name of the instance, and the number of the request in it.
fn request_id() -> String {
    let number = here(|isolate| {
        isolate.requests.set(isolate.requests.get() + 1);
        isolate.requests.get()
    });
    let (instance, _) = instance();
    format!("{instance:016x}-{number:x}")
}

/// The first word of the path where it is one of ours, by whatever name: a label that nobody outside
/// can invent.
fn route_of(path: &str, env: &Env) -> &'static str {
    let usual = || route_word(&www::beacon_names(env).usual_path(path)?);
    route_word(path).or_else(usual).unwrap_or("file")
}
