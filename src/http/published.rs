//! Published charts: reading paths and queries, and making lists, feeds and the heads of pages, which link
//! previews show.

use std::borrow::Cow;
use std::fmt::Write;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::agent::is_bot;
use super::chart_query::{ChartQuery, read_board, read_number, read_scope};
use super::problem::Problem;
use super::query::Query;
use crate::board::MAIN;
use crate::filter::Filter;
use crate::leaderboard::{
    ChartForm, Format, Leaderboard, ListedChart, NamedWindow, PUBLISHED_KINDS, PUBLISHED_PLACES,
    Place, Sort, csv_text,
};
use crate::pages::escaped;
use crate::play::{NormaliseId, check_post_id, normalised_id};
use crate::topology::GLOBAL_SCOPE;
use crate::window::{Period, PeriodKind, rfc3339};
use crate::wire::{ListPublished, MAX_LISTED_CHARTS, PublishedList, WindowRequest};

/// Charts of a list where the query does not say how many.
const USUAL_LIST: usize = 50;
/// Charts of a feed, and the places shown of each.
const FEED_CHARTS: u32 = 20;
const FEED_PLACES: u32 = 10;
/// Places that a link preview shows.
const PREVIEW_PLACES: usize = 5;

/// A form of feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    Json,
    Atom,
}

/// What lies under `/charts/{kind}/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    Chart(Option<Period>),
    Feed(Feed),
}

/// The kind of charts that a path names.
///
/// # Errors
/// 404 for any other word.
pub fn read_kind(segment: &str) -> Result<PeriodKind, Problem> {
    let kind = PeriodKind::of_name(segment).filter(|kind| PUBLISHED_KINDS.contains(kind));
    kind.ok_or_else(|| {
        Problem::not_found("charts are published by day, week and month: /charts/week")
    })
}

/// A path's last segment.
///
/// # Errors
/// 400 for a period that the calendar does not have, or of another kind.
pub fn read_leaf(kind: PeriodKind, segment: &str) -> Result<Leaf, Problem> {
    match segment {
        "latest" => return Ok(Leaf::Chart(None)),
        "feed.json" => return Ok(Leaf::Feed(Feed::Json)),
        "feed.atom" => return Ok(Leaf::Feed(Feed::Atom)),
        _ => {}
    }
    let bad = |detail: String| Problem::bad("bad_period", detail);
    let period: Period = (segment.parse()).map_err(|error| bad(format!("{error}")))?;
    if period.kind() != kind {
        let named = period.kind().name();
        return Err(bad(format!(
            "{segment} is a {named}, and this is /charts/{}",
            kind.name()
        )));
    }
    Ok(Leaf::Chart(Some(period)))
}

/// What [`ChartQuery`] reads besides, and a published chart is not made by: whoever asks so would take the chart of all
/// posts for theirs. Other unknown parameters are ignored, so that a link with one more still works.
const OF_LIVE_CHARTS: [(&str, &str); 10] = [
    ("tag", "bad_filter"),
    ("exclude_tag", "bad_filter"),
    ("author", "bad_filter"),
    ("published", "bad_filter"),
    ("sort", "bad_sort"),
    ("timeframe", "bad_timeframe"),
    ("window", "bad_window"),
    ("from", "bad_window"),
    ("to", "bad_window"),
    ("tz", "bad_tz"),
];

fn refuse_others(kind: PeriodKind, query: &Query) -> Result<(), Problem> {
    let given = |(name, _): &(&str, &str)| query.first(name).is_some();
    let Some((name, code)) = OF_LIVE_CHARTS.into_iter().find(given) else {
        return Ok(());
    };
    let frame = match kind {
        PeriodKind::Day => "yesterday",
        PeriodKind::Month => "last-month",
        _ => "last-week",
    };
    let value = match code {
        "bad_filter" | "bad_sort" | "bad_tz" => format!("&{name}=…"),
        _ => String::new(),
    };
    let detail = format!(
        "published charts are of all posts, by plays, without {name}: ask /top-posts?timeframe={frame}{value}"
    );
    Err(Problem::bad(code, detail))
}

/// A published chart.
///
/// # Errors
/// 400 with what is allowed.
pub fn chart_asked(
    kind: PeriodKind,
    period: Option<Period>,
    query: &Query,
) -> Result<ChartQuery, Problem> {
    refuse_others(kind, query)?;
    Ok(ChartQuery {
        window: WindowRequest::Published { kind, period },
        ends_ms: None,
        form: ChartForm {
            time_zone: None,
            board: read_board(query)?,
            scope: read_scope(query)?,
            timeframe: Some(kind.name().to_owned()),
            sort: Sort::Views,
            k: read_number(query, ("k", "bad_k"), PUBLISHED_PLACES, PUBLISHED_PLACES)?,
            filter: Filter::default(),
        },
    })
}

/// A list of published charts.
///
/// # Errors
/// 400 with what is allowed.
pub fn list_asked(
    kind: PeriodKind,
    query: &Query,
    normalise_id: Option<NormaliseId>,
) -> Result<ListPublished, Problem> {
    refuse_others(kind, query)?;
    let before = query
        .first("before")
        .map(|text| match read_leaf(kind, text)? {
            Leaf::Chart(Some(period)) => Ok(period),
            _ => Err(Problem::bad(
                "bad_period",
                "before is a period, such as 2026-W47",
            )),
        });
    let limit = ("limit", "bad_limit");
    let limit = read_number(query, limit, MAX_LISTED_CHARTS, USUAL_LIST)?;
    let post_id = query.first("post_id");
    let post_id = post_id.map(|id| normalised_id(Cow::Borrowed(id), normalise_id).into_owned());
    if let Some(Err(refused)) = post_id.as_deref().map(check_post_id) {
        return Err(Problem::bad(refused.code, refused.detail));
    }
    Ok(ListPublished {
        asker: 0,
        scope: read_scope(query)?,
        kind,
        before: before.transpose()?,
        post_id,
        limit: limit as u32,
        places: 1,
    })
}

/// The charts of a feed.
///
/// # Errors
/// 400 with what is allowed.
pub fn feed_asked(kind: PeriodKind, query: &Query) -> Result<ListPublished, Problem> {
    refuse_others(kind, query)?;
    Ok(ListPublished {
        asker: 0,
        scope: read_scope(query)?,
        kind,
        before: None,
        post_id: None,
        limit: FEED_CHARTS,
        places: FEED_PLACES,
    })
}

/// Whether a request wants a page rather than data: it comes from a browser, or from a maker of link previews,
/// most of which accept anything.
pub fn wants_page(query: &Query, accept: Option<&str>, user_agent: Option<&str>) -> bool {
    query.first("format").is_none()
        && (accept.is_some_and(|accept| accept.contains("text/html"))
            || user_agent.is_some_and(is_bot))
}

/// A list as it is sent: its media type and its bytes.
pub fn published_list(
    board_id: &str,
    asked: &ListPublished,
    list: &PublishedList,
    format: Format,
) -> (&'static str, Vec<u8>) {
    let rows = || list.charts.iter().map(|chart| list_row(asked, chart));
    match format {
        Format::Json => {
            let mut body = json!({
                "board": board_id,
                "region": asked.scope,
                "timeframe": asked.kind.name(),
                "charts": rows().collect::<Vec<Value>>(),
                "next": next_address(board_id, asked, list),
            });
            if let (Some(post_id), Value::Object(body)) = (&asked.post_id, &mut body) {
                body.insert("post_id".into(), post_id.as_str().into());
            }
            ("application/json", body.to_string().into_bytes())
        }
        Format::Lines => {
            let lines: String = rows().map(|row| format!("{row}\n")).collect();
            ("application/x-ndjson", lines.into_bytes())
        }
        Format::Csv => {
            let mut csv = "period,from,to,total_views,rank,post_id,view_count\r\n".to_owned();
            for chart in &list.charts {
                let window = (rfc3339(chart.span.from_ms), rfc3339(chart.span.to_ms));
                let first = chart.places.first();
                let rank = first.map(|place| place.rank_at(0).to_string());
                let post_id = first.map(|place| csv_text(&place.post_id));
                let count = first.map(|place| place.count.view_count.to_string());
                // Writing to a string cannot fail.
                let _ = write!(
                    csv,
                    "{},{},{},{},{},{},{}\r\n",
                    chart.period,
                    window.0,
                    window.1,
                    chart.total_views,
                    rank.unwrap_or_default(),
                    post_id.unwrap_or_default(),
                    count.unwrap_or_default(),
                );
            }
            ("text/csv; charset=utf-8", csv.into_bytes())
        }
    }
}

/// The address of the next page of a list.
pub fn next_address(board_id: &str, asked: &ListPublished, list: &PublishedList) -> Option<String> {
    let before = list.next_before?;
    let mut address = format!(
        "/charts/{}?before={before}&limit={}",
        asked.kind.name(),
        asked.limit
    );
    let more = [
        ("board", Some(board_id).filter(|board_id| *board_id != MAIN)),
        (
            "region",
            Some(&asked.scope[..]).filter(|scope| *scope != GLOBAL_SCOPE),
        ),
        ("post_id", asked.post_id.as_deref()),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
            let _ = write!(address, "&{name}={value}");
        }
    }
    Some(address)
}

fn list_row(asked: &ListPublished, chart: &ListedChart) -> Value {
    let mut row = Map::new();
    row.insert("period".into(), chart.period.to_string().into());
    row.insert("time_zone".into(), chart.time_zone.as_str().into());
    row.insert(
        "window".into(),
        serde_json::to_value(NamedWindow::from(chart.span)).unwrap_or_default(),
    );
    row.insert("as_of".into(), rfc3339(chart.closed_ms).into());
    row.insert("total_views".into(), chart.total_views.into());
    let place = chart.places.first();
    let named = if asked.post_id.is_some() {
        "post"
    } else {
        "top_post"
    };
    let place = place.map_or(Value::Null, |place| {
        let run = place.run;
        json!({
            "rank": place.rank_at(0),
            "previous_rank": place.previous_rank,
            "peak_rank": run.map(|run| run.peak_rank),
            "periods": run.map(|run| run.periods),
            "streak": run.map(|run| run.streak),
            "debut": run.map(|run| run.debut.to_string()),
            "re_entry": run.map(|run| run.is_re_entry()),
            "post_id": place.post_id,
            "author": place.card.author,
            "content": place.card.content,
            "url": place.card.url,
            "image": place.card.image,
            "view_count": place.count.view_count,
        })
    });
    row.insert(named.into(), place);
    Value::Object(row)
}

/// The names that titles and addresses are made of.
pub struct PageNames<'a> {
    /// `PAGE_TITLE`.
    pub site: &'a str,
    /// The id and the name of a board that is not `main`.
    pub board: Option<(&'a str, &'a str)>,
    /// The region's name; `None` worldwide, or where the pages show no regions.
    pub region: Option<&'a str>,
    pub scope: &'a str,
    /// Scheme and host of the request.
    pub origin: &'a str,
}

impl PageNames<'_> {
    fn address(&self, path: &str) -> String {
        let board = self.board.map(|(id, _)| format!("board={id}"));
        let region = (self.scope != GLOBAL_SCOPE).then(|| {
            let scope = utf8_percent_encode(self.scope, NON_ALPHANUMERIC);
            format!("region={scope}")
        });
        let query: Vec<String> = board.into_iter().chain(region).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let query = query.join("&");
        format!("{}/charts/{path}{mark}{query}", self.origin)
    }

    fn address_of(&self, period: Period) -> String {
        self.address(&format!("{}/{period}", period.kind().name()))
    }

    /// `, board, region`; without `main`, and without a region worldwide.
    fn in_region(&self) -> String {
        let board = self.board.map(|(_, name)| name);
        let parts = board.into_iter().chain(self.region);
        parts.map(|part| format!(", {part}")).collect()
    }

    /// `Week 47 of 2026, Europe`.
    fn title_of(&self, period: Period) -> String {
        format!("{}{}", in_words(period), self.in_region())
    }
}

/// Scheme and host of an address.
///
/// `proto` is what a proxy says that the visitor came by (`X-Forwarded-Proto`): one that ends TLS asks for `http:`. It is
/// believed of anybody, as `Host` is: who makes it up has it in the answer alone.
pub fn origin_of<'a>(url: &'a str, proto: Option<&str>) -> Cow<'a, str> {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(host..).and_then(|rest| rest.find(['/', '?', '#']));
    let end = end.map_or(url.len(), |end| host + end);
    let origin = url.get(..end).unwrap_or(url);
    match origin.strip_prefix("http://") {
        Some(host) if proto.is_some_and(|proto| proto.eq_ignore_ascii_case("https")) => {
            Cow::Owned(format!("https://{host}"))
        }
        _ => Cow::Borrowed(origin),
    }
}

/// A period as a headline has it: `Week 47 of 2026`.
pub fn in_words(period: Period) -> String {
    const MONTHS: &str =
        "January February March April May June July August September October November December";
    let text = period.to_string();
    let mut parts = text.split('-');
    let year = parts.next().unwrap_or_default();
    let month = |part: &str| {
        let number: usize = part.parse().unwrap_or(0);
        let name = MONTHS.split(' ').nth(number.wrapping_sub(1));
        name.unwrap_or_default()
    };
    match (parts.next(), parts.next()) {
        (Some(week), None) if period.kind() == PeriodKind::Week => {
            let week = week.trim_start_matches(['W', '0']);
            format!("Week {week} of {year}")
        }
        (Some(part), None) => format!("{} {year}", month(part)),
        (Some(part), Some(day)) => {
            format!("{} {} {year}", day.trim_start_matches('0'), month(part))
        }
        (None, _) => year.to_owned(),
    }
}

/// A post's title and author, or its id.
fn name_of(place: &Place) -> String {
    let title = place.card.content.as_deref().unwrap_or(&place.post_id);
    match &place.card.author {
        Some(author) => format!("{title} – {author}"),
        None => title.to_owned(),
    }
}

/// A place in a line of a feed.
fn place_line(position: usize, place: &Place, kind: PeriodKind) -> String {
    let mut line = format!("{}. {}", place.rank_at(position), name_of(place));
    let Some(run) = place.run else { return line };
    let told = match (run.periods, run.is_re_entry()) {
        (1, _) => "new".to_owned(),
        (_, true) => format!("back, peak {}", run.peak_rank),
        (periods, _) => {
            let was = place
                .previous_rank
                .map_or_else(String::new, |rank| format!("last {rank}, "));
            format!("{was}peak {}, {periods} {}s", run.peak_rank, kind.name())
        }
    };
    let _ = write!(line, " ({told})");
    line
}

fn text_of_chart(chart: &ListedChart) -> String {
    let lines = chart.places.iter().enumerate();
    let lines = lines.map(|(position, place)| place_line(position, place, chart.period.kind()));
    lines.collect::<Vec<String>>().join("\n")
}

/// The title of one kind's charts: `Hitparade, week by week, Europe`.
fn title_of_all(named: &PageNames<'_>, kind: PeriodKind) -> String {
    let kind = kind.name();
    format!("{}, {kind} by {kind}{}", named.site, named.in_region())
}

/// A feed as it is sent: its media type and its text.
pub fn feed_text(
    named: &PageNames<'_>,
    kind: PeriodKind,
    charts: &[ListedChart],
    feed: Feed,
) -> (&'static str, String) {
    match feed {
        Feed::Json => (
            "application/feed+json; charset=utf-8",
            json_feed(named, kind, charts),
        ),
        Feed::Atom => (
            "application/atom+xml; charset=utf-8",
            atom_feed(named, kind, charts),
        ),
    }
}

/// JSON Feed 1.1. All content is plain text; no data becomes HTML.
fn json_feed(named: &PageNames<'_>, kind: PeriodKind, charts: &[ListedChart]) -> String {
    let items = charts.iter().map(|chart| {
        let address = named.address_of(chart.period);
        json!({
            "id": address,
            "url": address,
            "title": named.title_of(chart.period),
            "content_text": text_of_chart(chart),
            "date_published": rfc3339(chart.closed_ms),
        })
    });
    let feed = json!({
        "version": "https://jsonfeed.org/version/1.1",
        "title": title_of_all(named, kind),
        "home_page_url": named.address(kind.name()),
        "feed_url": named.address(&format!("{}/feed.json", kind.name())),
        "icon": format!("{}/preview.png", named.origin),
        "items": items.collect::<Vec<Value>>(),
    });
    feed.to_string()
}

/// RFC 4287.
fn atom_feed(named: &PageNames<'_>, kind: PeriodKind, charts: &[ListedChart]) -> String {
    let own = named.address(&format!("{}/feed.atom", kind.name()));
    // `updated` is required; a feed without charts has never changed.
    let updated = rfc3339(charts.first().map_or(0, |chart| chart.closed_ms));
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\">\n\
         <title>{}</title>\n<id>{own}</id>\n<link rel=\"self\" href=\"{own}\"/>\n\
         <link href=\"{}\"/>\n<updated>{updated}</updated>\n<author><name>{}</name></author>\n",
        xml_text(&title_of_all(named, kind)),
        xml_text(&named.address(kind.name())),
        xml_text(named.site),
        own = xml_text(&own),
    );
    for chart in charts {
        let address = named.address_of(chart.period);
        let closed = rfc3339(chart.closed_ms);
        let _ = write!(
            xml,
            "<entry>\n<title>{}</title>\n<id>{address}</id>\n<link href=\"{address}\"/>\n\
             <published>{closed}</published>\n<updated>{closed}</updated>\n\
             <content type=\"text\">{}</content>\n</entry>\n",
            xml_text(&named.title_of(chart.period)),
            xml_text(&text_of_chart(chart)),
            address = xml_text(&address),
        );
    }
    xml + "</feed>\n"
}

/// Escapes text for XML, and drops the characters that no XML document may contain.
fn xml_text(text: &str) -> String {
    let can_be = |letter: &char| matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    escaped(&text.chars().filter(can_be).collect::<String>())
}

/// The head of a page of published charts, for browsers, search engines and link previews (Open Graph). All
/// values are escaped, also inside quotes.
pub struct PageHead {
    title: String,
    description: String,
    address: String,
    /// The kind whose feeds belong to it.
    kind: PeriodKind,
}

impl PageHead {
    /// Of a chart.
    pub fn of_chart(named: &PageNames<'_>, kind: PeriodKind, chart: &Leaderboard) -> Self {
        let period = chart.published.as_ref().map(|it| it.period);
        let places = chart.places.iter().enumerate().take(PREVIEW_PLACES);
        let places = places
            .map(|(position, place)| format!("{} {}", place.rank_at(position), name_of(place)));
        PageHead {
            title: period.map_or_else(|| named.site.to_owned(), |period| named.title_of(period)),
            description: places.collect::<Vec<String>>().join(" · "),
            address: match period {
                Some(period) => named.address_of(period),
                None => named.address(kind.name()),
            },
            kind,
        }
    }

    /// Of a list; also of a chart that does not exist, or that needs a token.
    pub fn of_list(named: &PageNames<'_>, kind: PeriodKind) -> Self {
        PageHead {
            title: title_of_all(named, kind),
            description: format!("The most played of each {}.", kind.name()),
            address: named.address(kind.name()),
            kind,
        }
    }

    /// As HTML.
    pub fn html(&self, named: &PageNames<'_>) -> String {
        let title = match self.title.starts_with(named.site) {
            true => self.title.clone(),
            false => format!("{} · {}", self.title, named.site),
        };
        let picture = format!("{}/preview.png", named.origin);
        let mut html = format!("<title>{}</title>\n", escaped(&title));
        for (attribute, name, content) in [
            ("name", "description", &self.description[..]),
            ("property", "og:type", "website"),
            ("property", "og:site_name", named.site),
            ("property", "og:title", &self.title),
            ("property", "og:description", &self.description),
            ("property", "og:url", &self.address),
            ("property", "og:image", &picture),
            ("property", "og:image:type", "image/png"),
            ("property", "og:image:width", "1200"),
            ("property", "og:image:height", "630"),
            ("property", "og:image:alt", named.site),
            ("name", "twitter:card", "summary_large_image"),
        ] {
            let content = escaped(content);
            let _ = writeln!(html, "<meta {attribute}=\"{name}\" content=\"{content}\">");
        }
        let _ = writeln!(
            html,
            "<link rel=\"canonical\" href=\"{}\">",
            escaped(&self.address)
        );
        for (feed, content_type) in [
            ("feed.json", "application/feed+json"),
            ("feed.atom", "application/atom+xml"),
        ] {
            let address = named.address(&format!("{}/{feed}", self.kind.name()));
            let _ = writeln!(
                html,
                "<link rel=\"alternate\" type=\"{content_type}\" href=\"{}\">",
                escaped(&address)
            );
        }
        html
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaderboard::{Card, Count, Run};
    use crate::window::Span;

    const NAMED: PageNames<'_> = PageNames {
        site: "R&B <charts>",
        board: None,
        region: Some("Ro\"ck"),
        scope: "R&B/\"é",
        origin: "https://charts.example",
    };

    fn period() -> Period {
        "2026-W47".parse().unwrap()
    }

    fn place(title: &str, run: Run, previous_rank: Option<u32>) -> Place {
        Place {
            post_id: "id".into(),
            count: Count::default(),
            compared: None,
            previous_rank,
            run: Some(run),
            card: Card {
                content: Some(title.into()),
                author: Some("</script>\u{1}".into()),
                ..Card::default()
            },
        }
    }

    fn listed() -> ListedChart {
        let run = |rank, peak_rank, periods, streak| Run {
            rank,
            peak_rank,
            periods,
            streak,
            debut: period(),
        };
        ListedChart {
            period: period(),
            time_zone: "UTC".into(),
            span: Span::new(0, 1_000),
            total_views: 7,
            closed_ms: 1_000,
            places: vec![
                place("<b>\"A\"", run(1, 1, 3, 3), Some(2)),
                place("B", run(2, 2, 1, 1), None),
                place("C", run(4, 1, 9, 1), None),
            ],
        }
    }

    fn query(text: &str) -> Query {
        Query::of(&format!("https://charts.example/charts/week?{text}"))
    }

    fn code<T: std::fmt::Debug>(outcome: Result<T, Problem>) -> (u16, &'static str) {
        let problem = outcome.unwrap_err();
        (problem.status, problem.code)
    }

    #[test]
    fn what_only_live_charts_are_made_by_is_refused_with_the_chart_to_ask_for() {
        let week = PeriodKind::Week;
        let detail = |text: &str| chart_asked(week, None, &query(text)).unwrap_err().detail;
        assert!(detail("tag=jazz").ends_with("ask /top-posts?timeframe=last-week&tag=…"));
        assert!(detail("timeframe=7d").ends_with("ask /top-posts?timeframe=last-week"));
        for (name, code_of) in OF_LIVE_CHARTS {
            let query = query(&format!("region=EU&{name}=x"));
            assert_eq!(code(chart_asked(week, None, &query)), (400, code_of));
            assert_eq!(code(list_asked(week, &query, None)), (400, code_of));
            assert_eq!(code(feed_asked(week, &query)), (400, code_of));
        }
        assert!(list_asked(week, &query("utm_source=mail&k=3"), None).is_ok());
    }

    #[test]
    fn a_path_names_a_chart_a_list_or_a_feed_or_is_told_what_to_write() {
        let week = PeriodKind::Week;
        assert_eq!(read_kind("week").unwrap(), week);
        assert_eq!(code(read_kind("year")), (404, "not_found"));
        assert_eq!(read_leaf(week, "latest").unwrap(), Leaf::Chart(None));
        assert_eq!(
            read_leaf(week, "2026-W47").unwrap(),
            Leaf::Chart(Some(period()))
        );
        assert_eq!(
            read_leaf(week, "feed.atom").unwrap(),
            Leaf::Feed(Feed::Atom)
        );
        for bad in [
            "2026-W54",
            "2026-W00",
            "2026-11",
            "2026-11-23",
            "last",
            "",
            "2026-W1",
        ] {
            assert_eq!(code(read_leaf(week, bad)), (400, "bad_period"), "{bad}");
        }
        let day = PeriodKind::Day;
        assert_eq!(code(read_leaf(day, "2026-02-30")), (400, "bad_period"));
        let asked = chart_asked(week, Some(period()), &query("region=EU&k=7")).unwrap();
        assert_eq!((asked.form.k, &asked.form.scope[..]), (7, "EU"));
        assert_eq!(chart_asked(week, None, &query("")).unwrap().form.k, 100);
        assert_eq!(
            code(chart_asked(week, None, &query("k=101"))),
            (400, "bad_k")
        );
        assert_eq!(
            code(list_asked(week, &query("limit=101"), None)),
            (400, "bad_limit")
        );
        assert_eq!(
            code(list_asked(week, &query("before=latest"), None)),
            (400, "bad_period")
        );
        assert_eq!(
            code(list_asked(week, &query("post_id="), None)),
            (400, "bad_post_id")
        );
    }

    #[test]
    fn browsers_and_previews_get_a_page_and_programs_data() {
        let browser = Some("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
        assert!(wants_page(&query(""), browser, Some("Mozilla/5.0")));
        assert!(!wants_page(
            &query("format=csv"),
            browser,
            Some("Mozilla/5.0")
        ));
        assert!(wants_page(
            &query(""),
            Some("*/*"),
            Some("WhatsApp/2.23.20.0")
        ));
        assert!(wants_page(
            &query(""),
            None,
            Some("facebookexternalhit/1.1")
        ));
        assert!(!wants_page(&query(""), Some("*/*"), Some("curl/8.5.0")));
        assert!(!wants_page(&query(""), None, None));
    }

    #[test]
    fn whatever_is_played_is_text_in_feeds_and_previews() {
        let charts = [listed()];
        let (_, json) = feed_text(&NAMED, PeriodKind::Week, &charts, Feed::Json);
        let json: Value = serde_json::from_str(&json).unwrap();
        let item = &json["items"][0];
        assert_eq!(item["title"], "Week 47 of 2026, Ro\"ck");
        assert_eq!(
            item["url"],
            "https://charts.example/charts/week/2026-W47?region=R%26B%2F%22%C3%A9"
        );
        let text = item["content_text"].as_str().unwrap();
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "1. <b>\"A\" – </script>\u{1} (last 2, peak 1, 3 weeks)",
                "2. B – </script>\u{1} (new)",
                "4. C – </script>\u{1} (back, peak 1)",
            ]
        );
        let (_, atom) = feed_text(&NAMED, PeriodKind::Week, &charts, Feed::Atom);
        assert!(!atom.contains("<b>") && !atom.contains("</script>") && !atom.contains('\u{1}'));
        assert!(atom.contains("<title>Week 47 of 2026, Ro&quot;ck</title>"));
        let chart = Leaderboard {
            span: Span::new(0, 1_000),
            as_of_ms: 0,
            total_views: 0,
            unlisted_max: 0,
            exact: true,
            compared_with: None,
            published: Some(crate::leaderboard::Published {
                period: period(),
                time_zone: "UTC".into(),
                earlier: None,
                later: None,
            }),
            incomplete: false,
            places: listed().places,
        };
        let html = PageHead::of_chart(&NAMED, PeriodKind::Week, &chart).html(&NAMED);
        assert!(
            !html.contains("<b>") && !html.contains("</script>"),
            "{html}"
        );
        assert!(
            html.contains("<title>Week 47 of 2026, Ro&quot;ck · R&amp;B &lt;charts&gt;</title>")
        );
        assert!(html.contains("content=\"1 &lt;b&gt;&quot;A&quot; – &lt;/script&gt;"));
        let list = PageHead::of_list(&NAMED, PeriodKind::Week).html(&NAMED);
        assert!(list.contains("<title>R&amp;B &lt;charts&gt;, week by week, Ro&quot;ck</title>"));
    }

    #[test]
    fn a_period_is_said_as_a_headline_says_it() {
        for (period, words) in [
            ("2026-11-03", "3 November 2026"),
            ("2026-W07", "Week 7 of 2026"),
            ("2026-W50", "Week 50 of 2026"),
            ("2026-02", "February 2026"),
            ("2026", "2026"),
        ] {
            assert_eq!(in_words(period.parse().unwrap()), words);
        }
    }

    #[test]
    fn an_address_has_its_origin_at_the_front() {
        for (url, proto, origin) in [
            ("https://a.example/charts/week?x", None, "https://a.example"),
            ("http://127.0.0.1:8787", None, "http://127.0.0.1:8787"),
            ("http://a.example?x=/", Some("http"), "http://a.example"),
            ("http://a.example/x", Some("HTTPS"), "https://a.example"),
            ("https://a.example/x", Some("http"), "https://a.example"),
            ("http://a.example/x", Some("gopher"), "http://a.example"),
        ] {
            assert_eq!(origin_of(url, proto), origin);
        }
    }

    #[test]
    fn a_list_says_how_it_goes_on() {
        let asked = ListPublished {
            scope: "Südsee".into(),
            ..list_asked(PeriodKind::Week, &query("limit=1&post_id=a%26b"), None).unwrap()
        };
        let list = PublishedList {
            charts: vec![listed()],
            next_before: Some(period()),
        };
        assert_eq!(
            next_address("jazz", &asked, &list).as_deref(),
            Some(
                "/charts/week?before=2026-W47&limit=1&board=jazz&region=S%C3%BCdsee&post_id=a%26b"
            )
        );
        let (_, csv) = published_list(MAIN, &asked, &list, Format::Csv);
        assert_eq!(String::from_utf8(csv).unwrap().lines().count(), 2);
        let (_, json) = published_list(MAIN, &asked, &list, Format::Json);
        let json: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["charts"][0]["post"]["rank"], 1);
        assert_eq!(json["post_id"], "a&b");
    }
}
