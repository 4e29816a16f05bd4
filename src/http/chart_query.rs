//! The query parameters of a chart. An error says what is allowed.

use super::catalog::read_tag;
use super::parameters::{Misnamed, misnamed};
use super::problem::Problem;
use super::query::Query;
use crate::board::{MAIN, check_board_id};
use crate::filter::{Filter, read_published};
use crate::leaderboard::{ChartForm, MAX_K, Sort};
use crate::play::NormaliseId;
use crate::topology::{GLOBAL_SCOPE, check_region_id};
use crate::window::{
    CalendarFrame, MINUTE_MS, Period, PeriodError, PeriodKind, Timeframe, WindowKind, Zone,
    parse_rfc3339_of_query_ms,
};
use crate::wire::WindowRequest;

/// Places of a chart where the query does not say how many.
const USUAL_K: usize = 10;
/// Tags that a parameter lists, repeated ones included: each is normalised before it is compared.
const MAX_LISTED_TAGS: usize = 16;

/// What a reader asks for.
#[derive(Debug)]
pub struct ChartQuery {
    pub window: WindowRequest,
    /// When the same query begins to mean another period, as `today` does at midnight.
    pub ends_ms: Option<u64>,
    pub form: ChartForm,
}

/// The clocks by which calendar periods are read.
pub struct Clocks<'a> {
    pub now_ms: u64,
    /// The setting `TIME_ZONE`, for queries that name no zone.
    pub own_zone: &'a str,
    /// The zone of this name, if the platform knows it.
    pub zone: &'a dyn Fn(&str) -> Option<Zone>,
}

impl Clocks<'_> {
    fn zone(&self, name: &str) -> Result<Zone, Problem> {
        (self.zone)(name).ok_or_else(|| {
            let detail = "tz is the name of a zone in the tz database, such as Europe/Berlin";
            Problem::bad("bad_tz", detail)
        })
    }

    /// UTC where the setting names no known zone; `/healthz` reports that.
    fn own_zone(&self) -> Result<Zone, Problem> {
        Ok((self.zone)(self.own_zone).unwrap_or_else(Zone::utc))
    }
}

impl ChartQuery {
    /// `normalise` brings tags that look alike into one form.
    ///
    /// # Errors
    /// 400 with what is allowed.
    pub fn read(
        query: &Query,
        clocks: &Clocks<'_>,
        normalise: Option<NormaliseId>,
    ) -> Result<Self, Problem> {
        if let Some(Misnamed { code, detail }) = misnamed(query.names()) {
            return Err(Problem::bad(code, detail));
        }
        let asked = read_window(query, clocks)?;
        Ok(ChartQuery {
            window: asked.window,
            ends_ms: asked.ends_ms,
            form: ChartForm {
                board: read_board(query)?,
                sort: read_sort(query)?,
                scope: read_scope(query)?,
                timeframe: asked.timeframe,
                time_zone: asked.time_zone,
                k: read_number(query, ("k", "bad_k"), MAX_K, USUAL_K)?,
                filter: read_filter(query, normalise)?,
            },
        })
    }
}

/// A well-formed board id, as [`read_scope`] for regions.
pub fn read_board(query: &Query) -> Result<String, Problem> {
    let board_id = query.first("board").unwrap_or(MAIN);
    match check_board_id(board_id) {
        Ok(()) => Ok(board_id.to_owned()),
        Err(_) => Err(Problem::unknown_board()),
    }
}

/// `global`, or a well-formed region id. Caches and tables behind this never hold malformed names.
pub fn read_scope(query: &Query) -> Result<String, Problem> {
    let scope = query.first("region").unwrap_or(GLOBAL_SCOPE);
    match scope == GLOBAL_SCOPE || check_region_id(scope).is_ok() {
        true => Ok(scope.to_owned()),
        false => Err(Problem::unknown_region()),
    }
}

fn read_sort(query: &Query) -> Result<Sort, Problem> {
    let sort = query.first("sort").map_or(Ok(Sort::default()), str::parse);
    sort.map_err(|_| Problem::bad("bad_sort", "sort is views, rising or distinctive"))
}

/// A parameter that is a whole number from 1 to `most`, or `usual` where it is not given.
///
/// # Errors
/// 400 of this code for anything else.
pub fn read_number(
    query: &Query,
    (name, code): (&str, &'static str),
    most: usize,
    usual: usize,
) -> Result<usize, Problem> {
    let Some(text) = query.first(name) else {
        return Ok(usual);
    };
    let number: Option<usize> = text.parse().ok();
    let is_sound = |number: &usize| !text.starts_with('+') && (1..=most).contains(number);
    number.filter(is_sound).ok_or_else(|| {
        let detail = format!("{name} is a whole number from 1 to {most}");
        Problem::bad(code, detail)
    })
}

/// Tags are separated by commas, or the parameter is repeated.
fn read_filter(query: &Query, normalise: Option<NormaliseId>) -> Result<Filter, Problem> {
    let bad = |detail: String| Problem::bad("bad_filter", detail);
    let tags = |name: &'static str| {
        let listed = || query.all(name).flat_map(|listed| listed.split(','));
        match listed().nth(MAX_LISTED_TAGS) {
            Some(_) => Err(bad(format!("{name} lists at most {MAX_LISTED_TAGS} tags"))),
            None => Ok(listed().map(|tag| read_tag(tag, normalise)).collect()),
        }
    };
    if query.all("author").count() > 1 {
        return Err(bad("a post has one author: author is given once".into()));
    }
    let author = query.first("author").map(str::to_owned);
    let published = query.first("published").map(read_published).transpose();
    let published = published.map_err(|detail| bad(detail.to_owned()))?;
    Filter::new(tags("tag")?, tags("exclude_tag")?, author, published).map_err(bad)
}

/// The window that a query asks for, with its names.
#[derive(Debug)]
struct AskedWindow {
    window: WindowRequest,
    timeframe: Option<String>,
    time_zone: Option<String>,
    ends_ms: Option<u64>,
}

impl AskedWindow {
    fn of(window: WindowRequest) -> Self {
        AskedWindow {
            window,
            timeframe: None,
            time_zone: None,
            ends_ms: None,
        }
    }
}

fn read_window(query: &Query, clocks: &Clocks<'_>) -> Result<AskedWindow, Problem> {
    let bad = |detail: String| Problem::bad("bad_window", detail);
    // Checked even where it is not needed, so that an unknown zone is always an error.
    let zone = query
        .first("tz")
        .map(|name| clocks.zone(name))
        .transpose()?;
    let zone = || zone.clone().map_or_else(|| clocks.own_zone(), Ok);
    let kind = match query.first("window") {
        None => WindowKind::Sliding,
        Some(text) => text
            .parse()
            .map_err(|_| bad("not a kind of window: use sliding or tumbling".into()))?,
    };
    let text = query.first("timeframe").unwrap_or("24h");
    let frame = CalendarFrame::of_name(text);
    let timeframe = match frame {
        Some(_) => Timeframe::All,
        None => (text.parse::<Timeframe>())
            .map_err(|error| Problem::bad("bad_timeframe", error.to_string()))?,
    };
    let moment = |name: &'static str| {
        let read = query.first(name).map(|text| read_moment(name, text, &zone));
        read.transpose()
    };
    match (moment("from")?, moment("to")?, frame) {
        (Some(from_ms), Some(to_ms), _) => Ok(AskedWindow::of(snapped(from_ms, to_ms))),
        (Some(from_ms), None, _) if from_ms >= clocks.now_ms => Err(bad(
            "from is ahead of now, and without to a window ends now".into(),
        )),
        (Some(from_ms), None, _) => Ok(AskedWindow::of(WindowRequest::Since {
            from_ms: from_ms - from_ms % MINUTE_MS,
            to_ms: u64::MAX,
            before_ms: None,
        })),
        (None, Some(_), _) => Err(bad("to needs a from; from alone means until now".into())),
        (None, None, Some(frame)) => Ok(asked_frame(frame, text, &zone()?, clocks.now_ms)),
        (None, None, None) => {
            let window = match (timeframe, kind) {
                (Timeframe::All, _) => WindowRequest::All,
                (Timeframe::Length { ms, .. }, WindowKind::Sliding) => {
                    WindowRequest::Sliding { length_ms: ms }
                }
                (Timeframe::Length { ms, .. }, WindowKind::Tumbling) => {
                    WindowRequest::Tumbling { length_ms: ms }
                }
            };
            Ok(AskedWindow {
                timeframe: Some(timeframe.to_string()),
                ..AskedWindow::of(window)
            })
        }
    }
}

/// A calendar period as a span of time, so that queries for the same hours are equal, whatever their zones.
fn asked_frame(frame: CalendarFrame, name: &str, zone: &Zone, now_ms: u64) -> AskedWindow {
    let period = frame.period(now_ms, zone);
    let span = period.span(zone);
    let running = Period::of(now_ms, frame.kind, zone);
    AskedWindow {
        window: WindowRequest::Since {
            from_ms: span.from_ms,
            to_ms: span.to_ms,
            before_ms: Some(period.last_before(zone).span(zone).from_ms),
        },
        timeframe: Some(name.to_owned()),
        time_zone: Some(zone.name().to_owned()),
        ends_ms: Some(running.span(zone).to_ms),
    }
}

/// A moment, or the beginning of a day.
fn read_moment(
    name: &str,
    text: &str,
    zone: &impl Fn() -> Result<Zone, Problem>,
) -> Result<u64, Problem> {
    if let Some(ms) = parse_rfc3339_of_query_ms(text) {
        return Ok(ms);
    }
    let bad = |detail: &str| Err(Problem::bad("bad_window", format!("{name}: {detail}")));
    let says = "a time is to be written in RFC 3339, like 2026-11-23T12:00:00Z, or as a day, like \
                2026-11-23";
    match text.parse::<Period>() {
        Ok(day) if day.kind() == PeriodKind::Day => {
            let span = day.span(&zone()?);
            match span.is_empty() {
                true => bad("this zone left that day out"),
                false => Ok(span.from_ms),
            }
        }
        Err(error @ PeriodError::NoneSuch) => bad(&error.to_string()),
        _ => bad(says),
    }
}

/// Widens a span to whole minutes, so that queries with the same answer are equal. A span that is empty or
/// reversed stays as it is, and is refused later.
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
    use crate::window::{DAY_MS, HOUR_MS, rfc3339};
    use proptest::prelude::*;

    /// 2026-11-26T12:00:00Z, a Thursday.
    const NOW_MS: u64 = 1_795_694_400_000;

    fn read(query: &str) -> Result<ChartQuery, (u16, &'static str)> {
        let query = Query::of(&format!("https://charts.example/top-posts?{query}"));
        let clocks = Clocks {
            now_ms: NOW_MS,
            own_zone: "UTC",
            zone: &|name| match name {
                "UTC" => Some(Zone::utc()),
                "Asia/Kathmandu" => Zone::read(name, "20700"),
                "Pacific/Apia" => Zone::read(name, "-36000\n1325239200000 50400"),
                _ => None,
            },
        };
        ChartQuery::read(&query, &clocks, None).map_err(|problem| (problem.status, problem.code))
    }

    #[test]
    fn a_period_of_the_calendar_is_a_span_of_its_zone_with_the_one_before_it() {
        let asked = |query: &str| {
            let ChartQuery {
                window,
                form,
                ends_ms,
            } = read(query).unwrap();
            let WindowRequest::Since {
                from_ms,
                to_ms,
                before_ms,
            } = window
            else {
                unreachable!("{query}")
            };
            let [from, to, before, ends] =
                [from_ms, to_ms, before_ms.unwrap(), ends_ms.unwrap()].map(rfc3339);
            (
                form.time_zone.unwrap(),
                format!("{before} {from} {to} {ends}"),
            )
        };
        for (query, zone, spans) in [
            (
                "timeframe=today",
                "UTC",
                "2026-11-25T00:00:00Z 2026-11-26T00:00:00Z 2026-11-27T00:00:00Z 2026-11-27T00:00:00Z",
            ),
            (
                "timeframe=yesterday&tz=Asia/Kathmandu",
                "Asia/Kathmandu",
                "2026-11-23T18:15:00Z 2026-11-24T18:15:00Z 2026-11-25T18:15:00Z 2026-11-26T18:15:00Z",
            ),
            (
                "timeframe=this-week",
                "UTC",
                "2026-11-16T00:00:00Z 2026-11-23T00:00:00Z 2026-11-30T00:00:00Z 2026-11-30T00:00:00Z",
            ),
            (
                "timeframe=last-month",
                "UTC",
                "2026-09-01T00:00:00Z 2026-10-01T00:00:00Z 2026-11-01T00:00:00Z 2026-12-01T00:00:00Z",
            ),
            (
                "timeframe=last-year&window=tumbling",
                "UTC",
                "2024-01-01T00:00:00Z 2025-01-01T00:00:00Z 2026-01-01T00:00:00Z 2027-01-01T00:00:00Z",
            ),
        ] {
            assert_eq!(asked(query), (zone.into(), spans.into()), "{query}");
        }
        assert_eq!(
            read("timeframe=this-year")
                .unwrap()
                .form
                .timeframe
                .as_deref(),
            Some("this-year")
        );
    }

    #[test]
    fn from_alone_is_until_now_and_a_day_is_one_of_the_zone() {
        let window = |query: &str| read(query).unwrap().window;
        let from_ms = NOW_MS - HOUR_MS;
        let since = WindowRequest::Since {
            from_ms,
            to_ms: u64::MAX,
            before_ms: None,
        };
        assert_eq!(window("from=2026-11-26T11:00:30Z"), since);
        let from_ms = NOW_MS - 12 * HOUR_MS - 20_700_000;
        let to_ms = from_ms + DAY_MS;
        assert_eq!(
            window("from=2026-11-26&to=2026-11-27&tz=Asia/Kathmandu"),
            WindowRequest::Between { from_ms, to_ms }
        );
        assert_eq!(
            window("from=2026-11-26"),
            WindowRequest::Since {
                from_ms: NOW_MS - 12 * HOUR_MS,
                to_ms: u64::MAX,
                before_ms: None,
            }
        );
    }

    #[test]
    fn what_is_left_out_has_its_default_and_what_nobody_knows_is_ignored() {
        let ChartQuery { window, form, .. } = read("colour=red&utm_source=x").unwrap();
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
            ("to=2026-11-23T12:00:00Z", "bad_window"),
            ("from=2026-11-26T12:00:00Z", "bad_window"),
            ("from=2026-11-27", "bad_window"),
            ("from=2026-02-30", "bad_window"),
            ("from=2026-W47", "bad_window"),
            (
                "from=2011-12-30&to=2012-01-01&tz=Pacific/Apia",
                "bad_window",
            ),
            ("tz=Mars/Olympus", "bad_tz"),
            ("timeframe=today&tz=", "bad_tz"),
            ("zone=UTC", "bad_tz"),
            ("timeframe=next-week", "bad_timeframe"),
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
        assert!(read(&format!("tag={}", ["a"; 16].join(","))).is_ok());
        let many = format!("tag={}", ["a"; 17].join(","));
        assert_eq!(read(&many).unwrap_err(), (400, "bad_filter"));
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
        fn any_query_is_read_or_refused(query: String, names in "(board|k|from|to|tz|region|sort|window|timeframe|tag|exclude_tag|author|published)=.{0,20}") {
            let _ = (read(&query), read(&names));
        }
    }
}
