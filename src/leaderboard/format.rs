//! A leaderboard as JSON, CSV or NDJSON: what readers get, wherever it is written.

use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::{Count, Leaderboard, Run, Sort};
use crate::filter::{Filter, published_text};
use crate::window::{Span, rfc3339};

/// What a reader asked for, as far as the answer repeats it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChartForm {
    /// A board's id.
    pub board: String,
    /// A region's id or `global`.
    pub scope: String,
    /// As it was asked for; `None` for `from` and `to`.
    pub timeframe: Option<String>,
    /// Whose days, weeks, months and years they are, where it is a period of the calendar.
    pub time_zone: Option<String>,
    pub sort: Sort,
    pub k: usize,
    pub filter: Filter,
}

/// The format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Json,
    Csv,
    Lines,
}

/// An answer's bytes, and what its headers say of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub content_type: &'static str,
    pub body: Vec<u8>,
    pub etag: String,
}

/// A span as answers name it.
#[derive(Serialize)]
pub struct NamedWindow {
    from: String,
    to: String,
}

impl From<Span> for NamedWindow {
    fn from(span: Span) -> Self {
        NamedWindow {
            from: rfc3339(span.from_ms),
            to: rfc3339(span.to_ms),
        }
    }
}

/// The answer of `/top-posts`.
#[derive(Serialize)]
pub struct Chart<'a> {
    board: &'a str,
    region: &'a str,
    timeframe: Option<&'a str>,
    /// Where it is a period of the calendar.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<&'a str>,
    sort: Sort,
    /// Only where it is not of all posts.
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<NamedFilter<'a>>,
    window: NamedWindow,
    as_of: String,
    total_views: u64,
    unlisted_max: u64,
    /// Only where the order is made of a comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    compared_with: Option<OtherSide<'a>>,
    #[serde(flatten)]
    published: Option<PublishedPart<'a>>,
    /// A stored row of the window cannot be read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
    /// Nobody could be asked for a newer one; `as_of` says how old it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
    top_posts: Vec<ChartLine<'a>>,
}

/// Which posts a chart is of, as queries name it.
#[derive(Serialize)]
struct NamedFilter<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tag: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    exclude_tag: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<String>,
}

impl<'a> NamedFilter<'a> {
    fn new(filter: &'a Filter) -> Option<Self> {
        (!filter.is_empty()).then(|| NamedFilter {
            tag: &filter.tags,
            exclude_tag: &filter.excluded_tags,
            author: filter.author.as_deref(),
            published: filter.published_hours.map(published_text),
        })
    }
}

/// What a chart that is not sorted by plays compares with.
#[derive(Serialize)]
struct OtherSide<'a> {
    region: &'a str,
    /// The region without the chart's own.
    elsewhere: bool,
    window: NamedWindow,
    total_views: u64,
}

/// What only a published chart says.
#[derive(Serialize)]
struct PublishedPart<'a> {
    period: String,
    time_zone: &'a str,
    earlier: Option<String>,
    later: Option<String>,
}

/// What only a place of a published chart says.
#[derive(Serialize)]
struct RunPart {
    peak_rank: u32,
    periods: u32,
    streak: u32,
    debut: String,
    re_entry: bool,
}

impl From<Run> for RunPart {
    fn from(run: Run) -> Self {
        RunPart {
            peak_rank: run.peak_rank,
            periods: run.periods,
            streak: run.streak,
            debut: run.debut.to_string(),
            re_entry: run.is_re_entry(),
        }
    }
}

#[derive(Serialize)]
struct Comparison {
    /// At least so many times as often, allowing for bounds and chance.
    times: f64,
    #[serde(flatten)]
    count: Count,
}

#[derive(Serialize)]
struct ChartLine<'a> {
    rank: usize,
    previous_rank: Option<u32>,
    #[serde(flatten)]
    run: Option<RunPart>,
    post_id: &'a str,
    author: Option<&'a str>,
    content: Option<&'a str>,
    url: Option<&'a str>,
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(flatten)]
    count: Count,
    certain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Comparison>,
}

impl<'a> Chart<'a> {
    /// The first k places of a leaderboard that may have more.
    pub fn new(asked: &'a ChartForm, leaderboard: &'a Leaderboard, stale: bool) -> Self {
        let k = leaderboard.places_of(asked.k);
        let certain = leaderboard.certain(k);
        let places = leaderboard.places.iter().take(k);
        let rows = places
            .zip(certain)
            .enumerate()
            .map(|(position, (place, certain))| ChartLine {
                rank: place.rank_at(position),
                previous_rank: place.previous_rank,
                run: place.run.map(RunPart::from),
                post_id: &place.post_id,
                author: place.card.author.as_deref(),
                content: place.card.content.as_deref(),
                url: place.card.url.as_deref(),
                image: place.card.image.as_deref(),
                tags: &place.card.tags,
                count: place.count,
                certain,
                compared: place.compared.map(|compared| Comparison {
                    times: (compared.times * 1e3).floor() / 1e3,
                    count: compared.count,
                }),
            });
        Chart {
            board: &asked.board,
            region: &asked.scope,
            timeframe: asked.timeframe.as_deref(),
            time_zone: asked.time_zone.as_deref(),
            sort: asked.sort,
            filter: NamedFilter::new(&asked.filter),
            window: leaderboard.span.into(),
            as_of: rfc3339(leaderboard.as_of_ms),
            total_views: leaderboard.total_views,
            unlisted_max: leaderboard.unlisted_max_at(k),
            compared_with: leaderboard.compared_with.as_ref().map(|other| OtherSide {
                region: &other.scope,
                elsewhere: other.elsewhere,
                window: other.span.into(),
                total_views: other.total_views,
            }),
            published: leaderboard.published.as_ref().map(|it| PublishedPart {
                period: it.period.to_string(),
                time_zone: &it.time_zone,
                earlier: it.earlier.map(|it| it.to_string()),
                later: it.later.map(|it| it.to_string()),
            }),
            incomplete: leaderboard.incomplete,
            stale,
            top_posts: rows.collect(),
        }
    }

    /// A name for what the answer says, whenever it was computed: weak, since `as_of` may differ.
    pub fn etag(&self, format: Format) -> String {
        let mut hasher = SipHasher13::new();
        let said = (
            (
                self.board,
                self.region,
                self.timeframe,
                self.sort,
                &self.filter,
                &self.window,
            ),
            (
                self.total_views,
                self.unlisted_max,
                (self.incomplete, self.stale),
                &self.published,
                &self.top_posts,
            ),
            format as u8,
        );
        hasher.write(&to_json(&said));
        format!("W/\"{:016x}\"", hasher.finish())
    }

    /// The whole answer.
    pub fn render(&self, format: Format) -> Rendered {
        let (content_type, body) = match format {
            Format::Json => ("application/json", to_json(self)),
            Format::Csv => ("text/csv; charset=utf-8", self.csv().into_bytes()),
            Format::Lines => {
                let lines = self.top_posts.iter().flat_map(|row| {
                    let mut line = to_json(row);
                    line.push(b'\n');
                    line
                });
                ("application/x-ndjson", lines.collect())
            }
        };
        Rendered {
            content_type,
            body,
            etag: self.etag(format),
        }
    }

    fn csv(&self) -> String {
        let mut csv = String::from(
            "rank,previous_rank,post_id,author,content,url,image,\
             view_count,view_count_min,view_count_max,certain",
        );
        if self.published.is_some() {
            csv += ",peak_rank,periods,streak,debut,re_entry";
        }
        csv += "\r\n";
        for row in &self.top_posts {
            let previous_rank = row.previous_rank.map(|rank| rank.to_string());
            let texts = [
                Some(row.post_id),
                row.author,
                row.content,
                row.url,
                row.image,
            ];
            let texts = texts
                .map(|text| csv_text(text.unwrap_or_default()))
                .join(",");
            csv += &format!(
                "{},{},{texts},{},{},{},{}",
                row.rank,
                previous_rank.unwrap_or_default(),
                row.count.view_count,
                row.count.view_count_min,
                row.count.view_count_max,
                row.certain,
            );
            if let Some(run) = &row.run {
                let RunPart {
                    peak_rank,
                    periods,
                    streak,
                    debut,
                    re_entry,
                } = run;
                csv += &format!(",{peak_rank},{periods},{streak},{debut},{re_entry}");
            }
            csv += "\r\n";
        }
        csv
    }
}

/// Our own types always serialize; an empty body would be the sign that one does not.
fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// A cell that a spreadsheet shows and does not run: what begins like a formula gets an apostrophe before it. So does
/// what follows a semicolon, a tab or the end of a line: where a spreadsheet takes semicolons for separators, as in
/// much of Europe, a cell ends there, whatever the quotes say.
pub fn csv_text(text: &str) -> String {
    let mut cell = String::with_capacity(text.len() + 2);
    let mut is_beginning = true;
    for letter in text.chars() {
        if is_beginning && matches!(letter, '=' | '+' | '-' | '@' | '\t' | '\r') {
            cell.push('\'');
        }
        if letter == '"' {
            cell.push('"');
        }
        cell.push(letter);
        is_beginning = matches!(letter, ';' | '\t' | '\n' | '\r');
    }
    if cell.starts_with('\'') || cell.contains([',', ';', '"', '\t', '\n', '\r']) {
        cell = format!("\"{cell}\"");
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaderboard::{Card, Count, Place};

    fn leaderboard(post_id: &str, as_of_ms: u64) -> Leaderboard {
        let count = Count {
            view_count: 9,
            view_count_min: 8,
            view_count_max: 9,
        };
        let place = Place {
            post_id: post_id.into(),
            count,
            compared: None,
            previous_rank: Some(3),
            run: None,
            card: Card {
                content: Some("=1+1".into()),
                ..Card::default()
            },
        };
        let last = Place {
            post_id: "last".into(),
            count: Count {
                view_count_max: 4,
                ..Count::default()
            },
            ..place.clone()
        };
        Leaderboard {
            span: Span {
                from_ms: 0,
                to_ms: 60_000,
            },
            as_of_ms,
            total_views: 13,
            unlisted_max: 2,
            compared_with: None,
            published: None,
            incomplete: false,
            exact: false,
            places: vec![place, last],
        }
    }

    fn asked(k: usize) -> ChartForm {
        ChartForm {
            board: "main".into(),
            scope: "NA".into(),
            timeframe: Some("24h".into()),
            time_zone: None,
            sort: Sort::Views,
            k,
            filter: Filter::default(),
        }
    }

    fn text(post_id: &str, k: usize, format: Format) -> String {
        let (asked, leaderboard) = (asked(k), leaderboard(post_id, 1_000));
        let rendered = Chart::new(&asked, &leaderboard, false).render(format);
        String::from_utf8(rendered.body).unwrap()
    }

    #[test]
    fn an_answer_says_what_was_asked_and_what_is_known() {
        let json: serde_json::Value = serde_json::from_str(&text("a", 1, Format::Json)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "board": "main", "region": "NA", "timeframe": "24h", "sort": "views",
                "window": {"from": "1970-01-01T00:00:00Z", "to": "1970-01-01T00:01:00Z"},
                "as_of": "1970-01-01T00:00:01Z", "total_views": 13, "unlisted_max": 4,
                "top_posts": [{
                    "rank": 1, "previous_rank": 3, "post_id": "a", "author": null,
                    "content": "=1+1", "url": null, "image": null, "view_count": 9,
                    "view_count_min": 8, "view_count_max": 9, "certain": true,
                }],
            })
        );
    }

    #[test]
    fn an_answer_says_which_filter_it_is_of_and_rows_have_their_tags() {
        let mut asked = asked(1);
        asked.filter = Filter {
            tags: vec!["a".into(), "b".into()],
            published_hours: Some(168),
            ..Filter::default()
        };
        let mut leaderboard = leaderboard("post", 0);
        leaderboard.places[0].card.tags = vec!["a".into(), "b".into(), "c".into()];
        let chart = Chart::new(&asked, &leaderboard, false);
        let json: serde_json::Value = serde_json::from_slice(&to_json(&chart)).unwrap();
        let filter = serde_json::json!({"tag": ["a", "b"], "published": "7d"});
        assert_eq!(json["filter"], filter);
        assert_eq!(
            json["top_posts"][0]["tags"],
            serde_json::json!(["a", "b", "c"])
        );
        let of_all = ChartForm {
            filter: Filter::default(),
            ..asked.clone()
        };
        let of_all = Chart::new(&of_all, &leaderboard, false);
        assert_ne!(chart.etag(Format::Csv), of_all.etag(Format::Csv));
    }

    #[test]
    fn ids_come_back_byte_for_byte() {
        for id in [
            "\"'\\",
            "a/b",
            "100%",
            "%2F",
            "🎵",
            "שלום",
            "\u{202e}x",
            "a\u{7f}b",
            "<b>",
        ] {
            let lines = text(id, 1, Format::Lines);
            let row: serde_json::Value = serde_json::from_str(&lines).unwrap();
            assert_eq!(row["post_id"], id);
        }
    }

    #[test]
    fn no_cell_of_a_csv_file_runs_as_a_formula() {
        for (id, shown) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t'=1"),
            ("\r=1", "'\r'=1"),
            ("=\"a\",b", "'=\"\"a\"\",b"),
            ("x;=1+1", "x;'=1+1"),
            ("x\t=1", "x\t'=1"),
            ("x\n=1", "x\n'=1"),
            ("x\";\"=1", "x\"\";\"\"=1"),
            ("x; 1-1", "x; 1-1"),
        ] {
            let csv = text(id, 1, Format::Csv);
            let cell = format!("\"{shown}\"");
            assert!(
                csv.contains(&format!("1,3,{cell},,\"'=1+1\",,,9,8,9,true\r\n")),
                "{csv}"
            );
        }
        let plain = text("a \"b\", c", 1, Format::Csv);
        assert!(plain.contains("1,3,\"a \"\"b\"\", c\","), "{plain}");
    }

    #[test]
    fn a_list_is_a_line_a_post() {
        assert_eq!(text("a", 10, Format::Lines).lines().count(), 2);
        assert_eq!(text("a", 10, Format::Csv).lines().count(), 3);
    }

    #[test]
    fn the_etag_changes_with_what_is_said_and_not_with_the_time() {
        let etag = |post_id, as_of_ms, k, format| {
            Chart::new(&asked(k), &leaderboard(post_id, as_of_ms), false).etag(format)
        };
        let one = etag("a", 0, 10, Format::Json);
        assert_eq!(one, etag("a", 5_000, 10, Format::Json));
        assert_ne!(one, etag("b", 0, 10, Format::Json));
        assert_ne!(one, etag("a", 0, 1, Format::Json));
        assert_ne!(one, etag("a", 0, 10, Format::Csv));
    }
}
