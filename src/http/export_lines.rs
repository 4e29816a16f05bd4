//! The lines of an export, which are those of an import.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::catalog::{entry_json, merged, read_post};
use super::hex::hex;
use super::problem::Problem;
use crate::leaderboard::{ClosedChart, ClosedPlace, Run};
use crate::play::{check_post_id, lines, wrong_in_line};
use crate::summary::{Seed, Summary};
use crate::window::{Days, Level, PaneKey, Period, PeriodError, Span, parse_rfc3339_ms, rfc3339};
use crate::wire::{CatalogEntry, ImportRow, PutRegion, TransferChart, TransferPane, TransferRow};

/// The version of the lines.
const VERSION: u32 = 1;
const MAX_IMPORT_ROWS: usize = 10_000;

/// The first line: which export it is, of which installation, and of which moment.
pub fn head_line(id: &[u8; 16], seed: &[u8; 16], at_ms: u64) -> Value {
    json!({
        "kind": "export",
        "version": VERSION,
        "id": hex(id),
        "seed": hex(seed),
        "as_of": rfc3339(at_ms),
    })
}

/// The last line: how many came before it, and whether everything is there.
pub fn end_line(rows: u64, damaged_rows: u64, complete: bool) -> Value {
    json!({
        "kind": "end",
        "rows": rows,
        "damaged_rows": damaged_rows,
        "complete": complete && damaged_rows == 0,
    })
}

pub fn push_line(text: &mut String, line: &Value) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

pub fn line_of(row: &TransferRow, seed: Seed) -> Value {
    match row {
        TransferRow::Region(region) => merged(json!({"kind": "region"}), json!(region)),
        TransferRow::Post(entry) => merged(json!({"kind": "post"}), entry_json(entry)),
        TransferRow::Days(days) => merged(json!({"kind": "days"}), json!(days)),
        TransferRow::Pane(pane) => pane_line(pane, seed),
        TransferRow::Chart(chart) => chart_line(chart),
    }
}

fn pane_line(pane: &TransferPane, seed: Seed) -> Value {
    let mut line = json!({
        "kind": "pane",
        "scope": pane.scope,
        "level": Level::from_code(pane.level).map(Level::name),
        "from": rfc3339(pane.start_ms),
        "to": (pane.end_ms < u64::MAX).then(|| rfc3339(pane.end_ms)),
    });
    // The global object decoded it a moment ago.
    if let Ok(summary) = Summary::decode(&pane.summary, seed) {
        let posts = summary.top(usize::MAX).into_iter().map(|row| {
            json!({
                "post_id": row.id,
                "view_count_min": row.lower,
                "view_count_max": row.upper,
            })
        });
        let readable = json!({
            "total_views": summary.total(),
            "unlisted_max": summary.unlisted_max(),
            "posts": posts.collect::<Vec<Value>>(),
        });
        line = merged(line, readable);
    }
    merged(line, json!({"summary": STANDARD.encode(&pane.summary)}))
}

fn chart_line(TransferChart { scope, chart }: &TransferChart) -> Value {
    let posts = chart.places.iter().map(|place| {
        json!({
            "post_id": place.post_id,
            "view_count_min": place.view_count_min,
            "view_count_max": place.view_count_max,
            "previous_rank": place.previous_rank,
            "peak_rank": place.run.peak_rank,
            "periods": place.run.periods,
            "streak": place.run.streak,
            "debut": place.run.debut.to_string(),
        })
    });
    json!({
        "kind": "chart",
        "scope": scope,
        "period": chart.period.to_string(),
        "time_zone": chart.time_zone,
        "from": rfc3339(chart.span.from_ms),
        "to": rfc3339(chart.span.to_ms),
        "as_of": rfc3339(chart.closed_ms),
        "total_views": chart.total_views,
        "unlisted_max": chart.unlisted_max,
        "incomplete": chart.incomplete,
        "exact": chart.exact,
        "posts": posts.collect::<Vec<Value>>(),
    })
}

/// A line of an export. Of a pane, only the encoded summary is read; the rest is for people.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Export {
        version: u32,
    },
    Region(PutRegion),
    /// As a request puts it.
    Post {},
    Days(Days),
    Pane {
        scope: String,
        level: String,
        from: String,
        to: Option<String>,
        summary: String,
    },
    Chart {
        scope: String,
        period: String,
        time_zone: String,
        from: String,
        to: String,
        as_of: String,
        total_views: u64,
        unlisted_max: u64,
        incomplete: bool,
        exact: bool,
        posts: Vec<ChartPost>,
    },
    End {},
}

/// A place of a published chart, in the order of their ranks.
#[derive(Deserialize)]
struct ChartPost {
    post_id: String,
    view_count_min: u64,
    view_count_max: u64,
    previous_rank: Option<u32>,
    peak_rank: u32,
    periods: u32,
    streak: u32,
    debut: String,
}

impl ChartPost {
    fn place(self, rank: u32) -> Result<ClosedPlace, String> {
        check_post_id(&self.post_id).map_err(|refused| refused.detail.into_owned())?;
        Ok(ClosedPlace {
            post_id: self.post_id,
            view_count_min: self.view_count_min,
            view_count_max: self.view_count_max,
            previous_rank: self.previous_rank,
            run: Run {
                rank,
                peak_rank: self.peak_rank,
                periods: self.periods,
                streak: self.streak,
                debut: period(&self.debut)?,
            },
        })
    }
}

fn period(text: &str) -> Result<Period, String> {
    text.parse()
        .map_err(|error: PeriodError| format!("{text:?}: {error}"))
}

/// The rows of an import.
///
/// # Errors
/// 400 with the line that cannot be read, 413 for too many.
pub fn read_lines(bytes: &[u8]) -> Result<Vec<ImportRow>, Problem> {
    let mut rows = Vec::new();
    for (number, line) in lines(bytes) {
        if rows.len() >= MAX_IMPORT_ROWS {
            let detail = format!("at most {MAX_IMPORT_ROWS} lines a request; none was taken");
            return Err(Problem::new(413, "too_many_rows", detail));
        }
        let bad = |detail: String| {
            Problem::bad("bad_import", format!("line {number} of the body: {detail}"))
        };
        rows.push(import_row(line).map_err(bad)?);
    }
    Ok(rows)
}

fn import_row(text: &[u8]) -> Result<ImportRow, String> {
    let line: Line = serde_json::from_slice(text).map_err(|error| wrong_in_line(&error))?;
    let moment = |text: &str| parse_rfc3339_ms(text).ok_or_else(|| format!("{text} is no time"));
    Ok(match line {
        Line::Export { version } if version > VERSION => {
            return Err(format!("this release reads version {VERSION}"));
        }
        Line::Export { .. } | Line::End {} => ImportRow::Nothing,
        Line::Region(region) => ImportRow::Row(TransferRow::Region(region)),
        Line::Post {} => {
            let patch = read_post(text, None).map_err(|(_, detail)| detail)?;
            ImportRow::Row(TransferRow::Post(CatalogEntry::default().patched(&patch)))
        }
        Line::Days(days) if days.is_sound() => ImportRow::Row(TransferRow::Days(days)),
        Line::Days(_) => return Err("no days that follow each other".into()),
        Line::Chart {
            scope,
            period: named,
            time_zone,
            from,
            to,
            as_of,
            total_views,
            unlisted_max,
            incomplete,
            exact,
            posts,
        } => {
            let places = (1..).zip(posts).map(|(rank, post)| post.place(rank));
            ImportRow::Row(TransferRow::Chart(TransferChart {
                scope,
                chart: ClosedChart {
                    period: period(&named)?,
                    time_zone,
                    span: Span::new(moment(&from)?, moment(&to)?),
                    closed_ms: moment(&as_of)?,
                    total_views,
                    unlisted_max,
                    incomplete,
                    exact,
                    places: places.collect::<Result<_, String>>()?,
                },
            }))
        }
        Line::Pane {
            scope,
            level,
            from,
            to,
            summary,
        } => {
            let start_ms = moment(&from)?;
            let end_ms = to.as_deref().map_or(Ok(u64::MAX), moment)?;
            let level = Level::of_name(&level).ok_or_else(|| format!("no level {level:?}"))?;
            let pane = PaneKey::checked(level, start_ms, end_ms).ok_or("no pane has this span")?;
            let summary = STANDARD.decode(summary);
            ImportRow::Row(TransferRow::Pane(TransferPane {
                scope,
                level: pane.level.code(),
                start_ms,
                end_ms,
                summary: summary.map_err(|error| format!("summary: {error}"))?,
            }))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaderboard::Card;
    use proptest::prelude::*;

    const SEED: [u8; 16] = [7; 16];

    fn text(rows: &[TransferRow]) -> String {
        let mut text = String::new();
        push_line(&mut text, &head_line(&[1; 16], &SEED, 0));
        for row in rows {
            push_line(&mut text, &line_of(row, Seed::from_bytes(SEED)));
        }
        push_line(&mut text, &end_line(1 + rows.len() as u64, 0, true));
        text
    }

    #[test]
    fn what_goes_out_comes_in_as_it_was() {
        let rows = [
            TransferRow::Region(PutRegion {
                region_id: "NA".into(),
                region_name: Some("North".into()),
                shards: Some(3),
                hint: Some(Some("enam".into())),
            }),
            TransferRow::Post(CatalogEntry {
                post_id: "\u{e4} \"".into(),
                card: Card {
                    author: Some("somebody".into()),
                    url: Some("https://x.example/".into()),
                    tags: vec!["jazz".into(), "日本".into()],
                    ..Card::default()
                },
                timestamp_ms: Some(1_500),
                hidden: true,
            }),
            TransferRow::Days(Days::default()),
            TransferRow::Pane(TransferPane {
                scope: "NA".into(),
                level: Level::Day.code(),
                start_ms: 86_400_000,
                end_ms: 172_800_000,
                summary: vec![1, 2, 3],
            }),
            TransferRow::Chart(TransferChart {
                scope: "NA".into(),
                chart: ClosedChart {
                    period: "1970-W02".parse().unwrap(),
                    time_zone: "Europe/Berlin".into(),
                    span: Span::new(1_000, 2_000),
                    closed_ms: 3_000,
                    total_views: 9,
                    unlisted_max: 1,
                    incomplete: true,
                    exact: false,
                    places: vec![ClosedPlace {
                        post_id: "\u{e4} \"".into(),
                        view_count_min: 2,
                        view_count_max: 3,
                        previous_rank: None,
                        run: Run {
                            rank: 1,
                            peak_rank: 1,
                            periods: 2,
                            streak: 1,
                            debut: "1970-W01".parse().unwrap(),
                        },
                    }],
                },
            }),
        ];
        let read = read_lines(text(&rows).as_bytes()).unwrap();
        let [first, between @ .., last] = read.as_slice() else {
            unreachable!("there is a head and an end")
        };
        assert_eq!((first, last), (&ImportRow::Nothing, &ImportRow::Nothing));
        let expected: Vec<ImportRow> = rows.into_iter().map(ImportRow::Row).collect();
        assert_eq!(between, expected);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        for (line, says) in [
            (r#"{"kind": "export", "version": 2}"#, "reads version 1"),
            (r#"{"kind": "other"}"#, "unknown variant"),
            (
                r#"{"kind": "pane", "scope": "NA", "level": "2d", "from": "1970-01-01T00:00:00Z", "summary": ""}"#,
                "no level",
            ),
            (
                r#"{"kind": "pane", "scope": "NA", "level": "1d", "from": "1970-01-01T00:01:00Z", "to": "1970-01-02T00:01:00Z", "summary": ""}"#,
                "no pane has this span",
            ),
            (
                r#"{"kind": "pane", "scope": "NA", "level": "1d", "from": "1970-01-01T00:00:00Z", "to": "1970-01-02T00:00:00Z", "summary": "?"}"#,
                "summary",
            ),
            (r#"{"kind": "post", "post_id": ""}"#, ""),
            (
                r#"{"kind": "post", "post_id": "a", "url": "ftp://x"}"#,
                "https://",
            ),
            (
                r#"{"kind": "post", "post_id": "a", "tags": ["a,b"]}"#,
                "comma",
            ),
            ("{", ""),
        ] {
            let body = format!("{{\"kind\":\"end\"}}\n{line}\n");
            let problem = read_lines(body.as_bytes()).unwrap_err();
            assert_eq!(
                (problem.status, problem.code),
                (400, "bad_import"),
                "{line}"
            );
            assert!(
                problem.detail.starts_with("line 2 of the body"),
                "{line}: {}",
                problem.detail
            );
            assert!(problem.detail.contains(says), "{line}: {}", problem.detail);
        }
        let many = "{\"kind\":\"end\"}\n".repeat(MAX_IMPORT_ROWS + 1);
        assert_eq!(read_lines(many.as_bytes()).unwrap_err().status, 413);
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(bytes: Vec<u8>) {
            let _ = read_lines(&bytes);
        }
    }
}
