//! The query of a chart: region, timeframe, k and the rest, with what is allowed where not.

use super::catalog::read_tag;
use super::parameters::{Misnamed, misnamed};
use super::problem::Problem;
use super::query::Query;
use crate::board::{MAIN, check_board_id};
use crate::filter::{Filter, read_published};
use crate::leaderboard::{ChartForm, MAX_K, Sort};
use crate::play::NormaliseId;
use crate::topology::{GLOBAL_SCOPE, check_region_id};
use crate::window::{Kind, MINUTE_MS, Timeframe, parse_rfc3339_of_query_ms};
use crate::wire::WindowRequest;

/// What a reader asks for.
#[derive(Debug)]
pub struct ChartQuery {
    pub window: WindowRequest,
    pub form: ChartForm,
}

impl ChartQuery {
    /// `normalise` makes one tag of those that look alike.
    ///
    /// # Errors
    /// 400 with what is allowed.
    pub fn read(query: &Query, normalise: Option<NormaliseId>) -> Result<Self, Problem> {
        if let Some(Misnamed { code, detail }) = misnamed(query.names()) {
            return Err(Problem::bad(code, detail));
        }
        let (window, timeframe) = read_window(query)?;
        Ok(ChartQuery {
            window,
            form: ChartForm {
                board: read_board(query)?,
                sort: read_sort(query)?,
                scope: read_scope(query)?,
                timeframe,
                k: read_k(query)?,
                filter: read_filter(query, normalise)?,
            },
        })
    }
}

/// What may be a board, as with regions.
fn read_board(query: &Query) -> Result<String, Problem> {
    let board_id = query.first("board").unwrap_or(MAIN);
    match check_board_id(board_id) {
        Ok(()) => Ok(board_id.to_owned()),
        Err(_) => Err(Problem::unknown_board()),
    }
}

/// The world, or what may be a region: nothing behind this holds names that none can have.
fn read_scope(query: &Query) -> Result<String, Problem> {
    let scope = query.first("region").unwrap_or(GLOBAL_SCOPE);
    match scope == GLOBAL_SCOPE || check_region_id(scope).is_ok() {
        true => Ok(scope.to_owned()),
        false => Err(Problem::unknown_region()),
    }
}

fn read_sort(query: &Query) -> Result<Sort, Problem> {
    match query.first("sort") {
        None | Some("views") => Ok(Sort::Views),
        Some("rising") => Ok(Sort::Rising),
        Some("distinctive") => Ok(Sort::Distinctive),
        Some(_) => Err(Problem::bad(
            "bad_sort",
            "sort is views, rising or distinctive",
        )),
    }
}

fn read_k(query: &Query) -> Result<usize, Problem> {
    let Some(text) = query.first("k") else {
        return Ok(10);
    };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let k = text
        .parse()
        .ok()
        .filter(|k| digits && (1..=MAX_K).contains(k));
    k.ok_or_else(|| Problem::bad("bad_k", "k is a whole number from 1 to 1000"))
}

/// Tags are listed with commas, or the parameter is repeated.
fn read_filter(query: &Query, normalise: Option<NormaliseId>) -> Result<Filter, Problem> {
    let bad = |detail: String| Problem::bad("bad_filter", detail);
    let tags = |name: &'static str| {
        let listed = query.all(name).flat_map(|listed| listed.split(','));
        listed.map(|tag| read_tag(tag, normalise)).collect()
    };
    if query.all("author").count() > 1 {
        return Err(bad("a post has one author: author is given once".into()));
    }
    let author = query.first("author").map(str::to_owned);
    let published = query.first("published").map(read_published).transpose();
    let published = published.map_err(|detail| bad(detail.to_owned()))?;
    Filter::new(tags("tag"), tags("exclude_tag"), author, published).map_err(bad)
}

fn read_window(query: &Query) -> Result<(WindowRequest, Option<String>), Problem> {
    let moment = |name: &'static str| {
        query
            .first(name)
            .map(|text| {
                let detail = format!("{name} is a time in RFC 3339, like 2026-11-23T12:00:00Z");
                parse_rfc3339_of_query_ms(text).ok_or_else(|| Problem::bad("bad_window", detail))
            })
            .transpose()
    };
    let kind = match query.first("window") {
        None => Kind::Sliding,
        Some(text) => text
            .parse::<Kind>()
            .map_err(|error| Problem::bad("bad_window", error.to_string()))?,
    };
    let text = query.first("timeframe").unwrap_or("24h");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::{DAY_MS, HOUR_MS};
    use proptest::prelude::*;

    fn read(query: &str) -> Result<ChartQuery, (u16, &'static str)> {
        let query = Query::of(&format!("https://charts.example/top-posts?{query}"));
        ChartQuery::read(&query, None).map_err(|problem| (problem.status, problem.code))
    }

    #[test]
    fn what_is_left_out_has_its_default_and_what_nobody_knows_is_ignored() {
        let ChartQuery { window, form } = read("colour=red&utm_source=x").unwrap();
        assert_eq!(window, WindowRequest::Sliding { length_ms: DAY_MS });
        assert_eq!((form.scope.as_str(), form.k), ("global", 10));
        assert_eq!(
            (form.sort, form.timeframe.as_deref()),
            (Sort::Views, Some("24h"))
        );
    }

    #[test]
    fn windows_are_named_or_span_from_one_moment_to_another() {
        let window = |query: &str| read(query).unwrap().window;
        let length_ms = HOUR_MS;
        assert_eq!(window("timeframe=1h"), WindowRequest::Sliding { length_ms });
        assert_eq!(
            window("timeframe=60m&window=tumbling"),
            WindowRequest::Tumbling { length_ms }
        );
        assert_eq!(window("timeframe=all"), WindowRequest::All);
        let span = "from=1970-01-01T00:01:30Z&to=1970-01-01T00:02:01Z";
        let snapped = WindowRequest::Between {
            from_ms: MINUTE_MS,
            to_ms: 3 * MINUTE_MS,
        };
        assert_eq!(window(span), snapped, "to the finest panes");
        assert_eq!(read(span).unwrap().form.timeframe, None);
    }

    #[test]
    fn a_filter_is_the_same_however_it_is_written() {
        let filter = |query: &str| read(query).unwrap().form.filter;
        assert!(filter("").is_empty());
        let two = filter("tag=blues,jazz&exclude_tag=live&author=A,%20B&published=7d");
        assert_eq!(two.tags, ["blues", "jazz"]);
        assert_eq!(two.excluded_tags, ["live"]);
        assert_eq!(two.author.as_deref(), Some("A, B"));
        assert_eq!(two.published_hours, Some(168));
        let again = "published=168h&tag=jazz&author=A,+B&tag=+blues%20,jazz&exclude_tag=live";
        assert_eq!(filter(again), two);
    }

    #[test]
    fn what_cannot_be_answered_is_refused_by_what_is_wrong_with_it() {
        for (query, code) in [
            ("k=0", "bad_k"),
            ("k=1001", "bad_k"),
            ("k=", "bad_k"),
            ("k=%2B1", "bad_k"),
            ("limit=5", "bad_k"),
            ("sort=loudest", "bad_sort"),
            ("timeframe=401d", "bad_timeframe"),
            ("timeframe=", "bad_timeframe"),
            ("window=sideways", "bad_window"),
            ("from=2026-11-23T12:00:00Z", "bad_window"),
            ("from=yesterday&to=today", "bad_window"),
            ("tag=", "bad_filter"),
            ("tag=a,,b", "bad_filter"),
            ("tag=a&exclude_tag=b,a", "bad_filter"),
            ("tag=a,b,c,d,e", "bad_filter"),
            ("exclude_tag=a&exclude_tag=b&exclude_tag=c", "bad_filter"),
            ("author=", "bad_filter"),
            ("author=a&author=b", "bad_filter"),
            ("published=", "bad_filter"),
            ("published=30m", "bad_filter"),
            ("tags=jazz", "bad_filter"),
        ] {
            assert_eq!(read(query).unwrap_err(), (400, code), "{query}");
        }
        let long = format!("tag={}", "x".repeat(65));
        assert_eq!(read(&long).unwrap_err(), (400, "bad_filter"));
        for region in ["", "a%2Fb", "%00", &"x".repeat(65)] {
            let refused = read(&format!("region={region}")).unwrap_err();
            assert_eq!(refused, (404, "unknown_region"), "{region}");
        }
        for board in [
            "",
            "Jazz",
            "a%2Fb",
            "jazz.0123456789abcdef",
            &"x".repeat(65),
        ] {
            let refused = read(&format!("board={board}")).unwrap_err();
            assert_eq!(refused, (404, "unknown_board"), "{board}");
        }
        assert_eq!(read("board=__proto__").unwrap().form.board, "__proto__");
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query: String, names in "(board|k|from|to|region|sort|window|timeframe|tag|exclude_tag|author|published)=.{0,20}") {
            let _ = (read(&query), read(&names));
        }
    }
}
