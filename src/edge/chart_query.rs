//! The query of a chart: region, timeframe, k and the rest, with what is allowed where not.

use super::problem::Problem;
use super::request::Call;
use crate::http::{Misnamed, misnamed};
use crate::leaderboard::{ChartForm, MAX_K, Sort};
use crate::topology::{GLOBAL_SCOPE, check_region_id};
use crate::window::{Kind, MINUTE_MS, Timeframe, parse_rfc3339_of_query_ms};
use crate::wire::WindowRequest;

/// What a reader asks for.
pub struct ChartQuery {
    pub window: WindowRequest,
    pub form: ChartForm,
}

impl ChartQuery {
    /// # Errors
    /// 400 with what is allowed.
    pub fn read(call: &Call) -> Result<Self, Problem> {
        if let Some(Misnamed { code, detail }) = misnamed(call.parameter_names()) {
            return Err(Problem::bad(code, detail));
        }
        let (window, timeframe) = read_window(call)?;
        Ok(ChartQuery {
            window,
            form: ChartForm {
                sort: read_sort(call)?,
                scope: read_scope(call)?,
                timeframe,
                k: read_k(call)?,
            },
        })
    }
}

/// The world, or what may be a region: nothing behind this holds names that none can have.
fn read_scope(call: &Call) -> Result<String, Problem> {
    let scope = call.parameter("region");
    let scope = scope.unwrap_or_else(|| GLOBAL_SCOPE.into());
    match scope == GLOBAL_SCOPE || check_region_id(&scope).is_ok() {
        true => Ok(scope),
        false => Err(Problem::unknown_region()),
    }
}

fn read_sort(call: &Call) -> Result<Sort, Problem> {
    match call.parameter("sort").as_deref() {
        None | Some("views") => Ok(Sort::Views),
        Some("rising") => Ok(Sort::Rising),
        Some("distinctive") => Ok(Sort::Distinctive),
        Some(_) => Err(Problem::bad(
            "bad_sort",
            "sort is views, rising or distinctive",
        )),
    }
}

fn read_k(call: &Call) -> Result<usize, Problem> {
    let Some(text) = call.parameter("k") else {
        return Ok(10);
    };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let k = text
        .parse()
        .ok()
        .filter(|k| digits && (1..=MAX_K).contains(k));
    k.ok_or_else(|| Problem::bad("bad_k", "k is a whole number from 1 to 1000"))
}

fn read_window(call: &Call) -> Result<(WindowRequest, Option<String>), Problem> {
    let moment = |name: &'static str| {
        call.parameter(name)
            .map(|text| {
                let detail = format!("{name} is a time in RFC 3339, like 2026-11-23T12:00:00Z");
                parse_rfc3339_of_query_ms(&text).ok_or_else(|| Problem::bad("bad_window", detail))
            })
            .transpose()
    };
    let kind = match call.parameter("window") {
        None => Kind::Sliding,
        Some(text) => text
            .parse::<Kind>()
            .map_err(|error| Problem::bad("bad_window", error.to_string()))?,
    };
    let text = call.parameter("timeframe").unwrap_or_else(|| "24h".into());
    let timeframe = text
        .parse::<Timeframe>()
        .map_err(|error| Problem::bad("bad_timeframe", error.to_string()))?;
    match (moment("from")?, moment("to")?) {
        (Some(from_ms), Some(to_ms)) => Ok((snapped(from_ms, to_ms), None)),
        (None, None) => {
            let window = match (timeframe, kind) {
                (Timeframe::All, _) => WindowRequest::All,
                (Timeframe::Length { ms, .. }, Kind::Sliding) => {
                    WindowRequest::Sliding { length_ms: ms }
                }
                (Timeframe::Length { ms, .. }, Kind::Tumbling) => {
                    WindowRequest::Tumbling { length_ms: ms }
                }
            };
            Ok((window, Some(timeframe.to_string())))
        }
        _ => Err(Problem::bad("bad_window", "from and to go together")),
    }
}

/// Outward to the finest panes: questions with the same answer are one question. A span that
/// cannot be answered stays as it is.
fn snapped(from_ms: u64, to_ms: u64) -> WindowRequest {
    if from_ms >= to_ms {
        return WindowRequest::Between { from_ms, to_ms };
    }
    WindowRequest::Between {
        from_ms: from_ms - from_ms % MINUTE_MS,
        to_ms: to_ms.checked_next_multiple_of(MINUTE_MS).unwrap_or(to_ms),
    }
}
