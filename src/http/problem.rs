//! Errors as RFC 9457 problem details.

use std::fmt::Display;

use serde_json::{Map, Value, json};

use super::method::{Method, method_list};
use crate::filter::MAX_MEMBERS;
use crate::window::rfc3339;
use crate::wire::Refusal;

/// An error as the sender of a request is told it, with what to do.
#[derive(Debug)]
pub struct Problem {
    pub status: u16,
    /// A stable word for programs.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub detail: String,
    pub headers: Vec<(&'static str, String)>,
    /// Further members of the body; few problems have any.
    pub more: Box<Map<String, Value>>,
    /// What led to it: for the operator's log, not for the reader.
    pub cause: Option<String>,
}

impl Problem {
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        let (detail, more) = (detail.into(), Box::default());
        Problem {
            status,
            code,
            detail,
            headers: Vec::new(),
            more,
            cause: None,
        }
    }

    /// Adds the cause.
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    pub fn bad(code: &'static str, detail: impl Into<String>) -> Self {
        Problem::new(400, code, detail)
    }

    pub fn not_found(detail: &str) -> Self {
        Problem::new(404, "not_found", detail)
    }

    pub fn unknown_region() -> Self {
        Problem::new(
            404,
            "unknown_region",
            "there is no such region; GET /regions lists them",
        )
    }

    /// For a board that does not exist, or is not public. The answer does not tell which, so that nobody learns
    /// of boards that are not public.
    pub fn unknown_board() -> Self {
        let detail = "there is no such board, or it needs the read token; GET /boards lists them";
        Problem::new(404, "unknown_board", detail)
    }

    pub fn region_deleted() -> Self {
        Problem::new(
            410,
            "region_deleted",
            "this region was deleted; PUT /regions/{region_id} makes a new one of its name",
        )
    }

    /// Adds a header.
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds a member to the body.
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.more.insert(member.into(), value.into());
        self
    }

    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Problem::new(401, "unauthorized", detail).with_header("WWW-Authenticate", "Bearer")
    }

    pub fn busy(code: &'static str, retry_after_s: u32, detail: &str) -> Self {
        Problem::new(503, code, detail).with_header("Retry-After", retry_after_s.to_string())
    }

    pub fn method_not_allowed(allowed: &[Method]) -> Self {
        let allowed = method_list(allowed);
        let detail = format!("this path takes {allowed}");
        Problem::new(405, "method_not_allowed", detail).with_header("Allow", allowed)
    }

    /// An object that is away or failing.
    pub fn away(what: &str, error: &impl Display) -> Self {
        let problem = Problem::busy("unavailable", 2, &format!("{what} is away; try again"));
        problem.because(format!("{what}: {error}"))
    }

    /// The body, a JSON object.
    pub fn body(&self) -> Value {
        let mut body = json!({
            "type": "about:blank",
            "title": title(self.status),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        });
        if let Value::Object(members) = &mut body {
            members.extend((*self.more).clone());
        }
        body
    }

    /// What an object's refusal means for the sender of the request. `invalid_code` is the code of
    /// [`Refusal::Invalid`].
    pub fn refused(refusal: Refusal, invalid_code: &'static str) -> Self {
        match refusal {
            Refusal::UnknownRegion => Problem::unknown_region(),
            Refusal::RegionDeleted => Problem::region_deleted(),
            Refusal::Gone => Problem::unknown_board(),
            Refusal::LaterEpoch => {
                Problem::busy("overloaded", 1, "it has not heard of it; try again")
            }
            Refusal::Waking => Problem::busy("overloaded", 1, "it is waking; try again"),
            Refusal::WrongInstallation => Problem::new(
                409,
                "wrong_installation",
                "this installation has another id; GET /admin says which",
            ),
            Refusal::ExportIsOver => Problem::new(
                410,
                "export_over",
                "this export is over: another one was begun, or nobody asked for its next page for ten \
                 minutes; begin again with GET /export",
            ),
            Refusal::FilterTooWide => {
                let detail = format!(
                    "this filter matches more than {MAX_MEMBERS} posts; ask for one that is narrower, or \
                     count these posts on a board of their own"
                );
                Problem::bad("filter_too_wide", detail)
            }
            Refusal::NotFound => Problem::not_found(
                "nobody played this post in this window, or it is not in the catalog",
            ),
            Refusal::NotCounted { view_count_max } => {
                let detail = format!("not among those counted; at most {view_count_max} plays");
                Problem::not_found(&detail).with("view_count_max", view_count_max)
            }
            Refusal::NotPublished { detail, closes_ms } => {
                let problem = Problem::new(404, "no_chart", detail);
                match closes_ms {
                    Some(closes_ms) => problem.with("closes_at", rfc3339(closes_ms)),
                    None => problem,
                }
            }
            Refusal::Invalid(detail) => Problem::bad(invalid_code, detail),
            Refusal::Busy { retry_after_s } => {
                Problem::busy("overloaded", retry_after_s, "too much to do; try again")
            }
            Refusal::Damaged(detail) | Refusal::Storage(detail) => {
                let problem = Problem::busy("unavailable", 2, "storage is away; try again");
                problem.because(format!("the global object: {detail}"))
            }
        }
    }
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_is_wrong_in_the_members_of_rfc_9457_and_more_behind_them() {
        let problem = Problem::new(422, "key_reused", "other plays were sent").with("index", 3);
        assert_eq!(
            problem.body().to_string(),
            r#"{"type":"about:blank","title":"Unprocessable Content","status":422,"detail":"other plays were sent","code":"key_reused","index":3}"#
        );
    }

    #[test]
    fn every_refusal_of_an_object_has_a_status_and_those_that_pass_say_when_to_come_back() {
        let refusals = [
            (Refusal::UnknownRegion, 404),
            (Refusal::RegionDeleted, 410),
            (Refusal::WrongInstallation, 409),
            (Refusal::ExportIsOver, 410),
            (Refusal::FilterTooWide, 400),
            (
                Refusal::NotPublished {
                    detail: "not over".into(),
                    closes_ms: Some(7),
                },
                404,
            ),
            (Refusal::NotFound, 404),
            (Refusal::NotCounted { view_count_max: 7 }, 404),
            (Refusal::Invalid("no".into()), 400),
            (Refusal::Busy { retry_after_s: 3 }, 503),
            (Refusal::Damaged("a row".into()), 503),
            (Refusal::Storage("full".into()), 503),
            (Refusal::Waking, 503),
        ];
        for (refusal, status) in refusals {
            let text = format!("{refusal:?}");
            let problem = Problem::refused(refusal, "bad_window");
            assert_eq!(problem.status, status, "{text}");
            assert_ne!(title(status), "Error", "{text}");
            let waits = problem
                .headers
                .iter()
                .any(|(name, _)| *name == "Retry-After");
            assert_eq!(waits, status == 503, "{text}");
        }
    }

    #[test]
    fn what_led_to_a_problem_is_for_the_operator_alone() {
        let problem = Problem::away("the shard", &"connection lost");
        assert_eq!(problem.cause.as_deref(), Some("the shard: connection lost"));
        assert!(!problem.body().to_string().contains("connection lost"));
    }
}
