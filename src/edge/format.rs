//! A leaderboard as JSON, CSV or NDJSON.

use std::hash::Hasher;

use serde::Serialize;
use siphasher::sip::SipHasher13;

use super::answer::Answer;
use super::chart_query::ChartQuery;
use crate::leaderboard::Leaderboard;
use crate::topology::BOARD;
use crate::window::{Span, rfc3339};
use crate::wire::Sort;

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Csv,
    Lines,
}

impl Form {
    /// The first form of ours that `Accept` names; JSON where it names none.
    pub fn of(accept: Option<&str>) -> Self {
        let named = accept.unwrap_or_default().split(',').find_map(|range| {
            match range.split(';').next().unwrap_or_default().trim() {
                "application/json" => Some(Form::Json),
                "text/csv" => Some(Form::Csv),
                "application/x-ndjson" => Some(Form::Lines),
                _ => None,
            }
        });
        named.unwrap_or(Form::Json)
    }
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
    board: &'static str,
    region: &'a str,
    timeframe: Option<&'a str>,
    sort: &'static str,
    window: NamedWindow,
    as_of: String,
    total_views: u64,
    unlisted_max: u64,
    /// Only where the order is made of a comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    compared_with: Option<OtherSide<'a>>,
    /// A stored row of the window cannot be read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
    /// Nobody could be asked for a newer one; `as_of` says how old it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
    top_posts: Vec<Row<'a>>,
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

#[derive(Serialize)]
struct Comparison {
    /// At least so many times as often, allowing for bounds and chance.
    times: f64,
    view_count: u64,
    view_count_min: u64,
    view_count_max: u64,
}

#[derive(Serialize)]
struct Row<'a> {
    rank: usize,
    previous_rank: Option<u32>,
    post_id: &'a str,
    author: Option<&'a str>,
    content: Option<&'a str>,
    url: Option<&'a str>,
    image: Option<&'a str>,
    view_count: u64,
    view_count_min: u64,
    view_count_max: u64,
    certain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Comparison>,
}

impl<'a> Chart<'a> {
    /// The first k places of a leaderboard that may have more.
    pub fn new(query: &'a ChartQuery, leaderboard: &'a Leaderboard, stale: bool) -> Self {
        let certain = leaderboard.certain(query.k);
        let places = leaderboard.places.iter().take(query.k);
        let rows = places
            .zip(certain)
            .zip(1..)
            .map(|((place, certain), rank)| Row {
                rank,
                previous_rank: place.previous_rank,
                post_id: &place.post_id,
                author: place.card.author.as_deref(),
                content: place.card.content.as_deref(),
                url: place.card.url.as_deref(),
                image: place.card.image.as_deref(),
                view_count: place.count.view_count,
                view_count_min: place.count.view_count_min,
                view_count_max: place.count.view_count_max,
                certain,
                compared: place.compared.map(|compared| Comparison {
                    times: (compared.times * 1e3).floor() / 1e3,
                    view_count: compared.count.view_count,
                    view_count_min: compared.count.view_count_min,
                    view_count_max: compared.count.view_count_max,
                }),
            });
        Chart {
            board: BOARD,
            region: &query.scope,
            timeframe: query.timeframe.as_deref(),
            sort: match query.sort {
                Sort::Views => "views",
                Sort::Rising => "rising",
                Sort::Distinctive => "distinctive",
            },
            window: leaderboard.span.into(),
            as_of: rfc3339(leaderboard.as_of_ms),
            total_views: leaderboard.total_views,
            unlisted_max: leaderboard.unlisted_max_at(query.k),
            compared_with: leaderboard.compared_with.as_ref().map(|other| OtherSide {
                region: &other.scope,
                elsewhere: other.elsewhere,
                window: other.span.into(),
                total_views: other.total_views,
            }),
            incomplete: leaderboard.incomplete,
            stale,
            top_posts: rows.collect(),
        }
    }

    /// A name for what the answer says, whenever it was computed: weak, since `as_of` may differ.
    pub fn etag(&self, form: Form) -> String {
        let mut hasher = SipHasher13::new();
        let said = (
            (
                self.board,
                self.region,
                self.timeframe,
                self.sort,
                &self.window,
            ),
            (
                self.total_views,
                self.unlisted_max,
                self.incomplete,
                &self.top_posts,
            ),
            form as u8,
        );
        hasher.write(&serde_json::to_vec(&said).unwrap_or_default());
        format!("W/\"{:016x}\"", hasher.finish())
    }

    pub fn answer(&self, form: Form) -> Answer {
        match form {
            Form::Json => Answer::json(self),
            Form::Csv => Answer::bytes("text/csv; charset=utf-8", self.csv().into_bytes()),
            Form::Lines => {
                let mut lines = Vec::new();
                for row in &self.top_posts {
                    lines.extend(serde_json::to_vec(row).unwrap_or_default());
                    lines.push(b'\n');
                }
                Answer::bytes("application/x-ndjson", lines)
            }
        }
    }

    fn csv(&self) -> String {
        let mut csv = String::from(
            "rank,previous_rank,post_id,author,content,url,image,\
             view_count,view_count_min,view_count_max,certain\r\n",
        );
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
                "{},{},{texts},{},{},{},{}\r\n",
                row.rank,
                previous_rank.unwrap_or_default(),
                row.view_count,
                row.view_count_min,
                row.view_count_max,
                row.certain,
            );
        }
        csv
    }
}

/// A cell that a spreadsheet shows and does not run: one that begins like a formula gets an
/// apostrophe before it.
fn csv_text(text: &str) -> String {
    let runs = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guard = if runs { "'" } else { "" };
    if runs || text.contains([',', '"', '\n', '\r']) {
        return format!("\"{guard}{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}
