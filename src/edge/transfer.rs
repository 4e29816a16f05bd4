//! `GET /export` and `POST /import`: everything that is kept, as lines of JSON, out of one
//! installation and into another.
//!
//! An export is of one moment, which it names, and is read page by page while senders go on; the
//! address of the next page is in `Link`. The last line says how many lines there are and whether the
//! export is complete: whether every shard has told what it had by then. An import sends the same lines back in
//! order, any number at a time; each is taken once (`src/global/transfer.rs`).

use std::fmt::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use worker::Delay;

use super::access::{Token, require};
use super::answer::Answer;
use super::problem::Problem;
use super::request::Call;
use super::telling::Teller;
use super::{ASK_TIMEOUT_MS, body, posts, table};
use crate::codec;
use crate::leaderboard::Card;
use crate::platform::{call as ask, global_stub, now_ms, random_bytes};
use crate::play::lines;
use crate::summary::{Seed, Summary};
use crate::window::{Level, PaneKey, parse_rfc3339_ms, rfc3339};
use crate::wire::{
    BeginExport, BeginExportReply, CatalogEntry, ExportAnswer, ExportCursor, ExportPage,
    ExportPosition, ExportReply, ExportRequest, ImportReply, ImportRequest, ImportRow, PutRegion,
    ToCut, TransferPane, TransferRow,
};

/// The version of the lines.
const VERSION: u32 = 1;
/// A pane of 8,192 ids of 256 bytes each is 4 MB as a line without its readable part.
const MAX_IMPORT_BYTES: usize = 8 << 20;
const MAX_IMPORT_ROWS: usize = 10_000;
/// How long a request waits for the moment.
const PAGE_WITHIN_MS: u64 = 10_000;

pub async fn export(call: &Call) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let cursor = call.parameter("cursor").map(|text| {
        let bytes = read_hex(&text);
        let cursor = bytes.and_then(|bytes| codec::decode::<ExportCursor>(&bytes).ok());
        cursor.ok_or_else(|| Problem::bad("bad_cursor", "take the address from Link as it is"))
    });
    let answer = |text: String| {
        Answer::bytes("application/x-ndjson", text.into_bytes())
            .with_header("Cache-Control", "no-store")
    };
    let link = |cursor: &ExportCursor| {
        let next = hex(&codec::encode(cursor));
        format!("</export?cursor={next}>; rel=\"next\"")
    };
    let mut text = String::new();
    let Some(before) = cursor.transpose()? else {
        let begun = begin(call).await?;
        let head = json!({
            "kind": "export",
            "version": VERSION,
            "id": hex(&random_bytes::<16>()),
            "seed": hex(&begun.epoch.seed),
            "as_of": rfc3339(begun.at_ms),
        });
        push_line(&mut text, &head);
        let first = ExportCursor {
            at_ms: begun.at_ms,
            position: ExportPosition {
                table: 0,
                key: Vec::new(),
            },
            rows: 1,
            damaged_rows: 0,
        };
        return Ok(answer(text).with_header("Link", link(&first)));
    };
    let Some(page) = page(call, &before).await? else {
        return Ok(answer(text).with_header("Link", link(&before)));
    };
    let seed = Seed::from_bytes(page.seed);
    for row in &page.rows {
        push_line(&mut text, &line_of(row, seed));
    }
    let rows = before.rows + page.rows.len() as u64;
    let damaged_rows = before.damaged_rows + page.damaged_rows;
    let Some(position) = page.next else {
        push_line(
            &mut text,
            &json!({
                "kind": "end",
                "rows": rows,
                "damaged_rows": damaged_rows,
                "complete": page.complete && damaged_rows == 0,
            }),
        );
        return Ok(answer(text));
    };
    let next = ExportCursor {
        position,
        rows,
        damaged_rows,
        ..before
    };
    Ok(answer(text).with_header("Link", link(&next)))
}

/// Sets the moment, and tells the first shards of it.
async fn begin(call: &Call) -> Result<ToCut, Problem> {
    let away = |error| Problem::away("the global object", &error);
    let stub = global_stub(&call.env).map_err(away)?;
    let reply = ask(&stub, "/begin-export", &BeginExport, ASK_TIMEOUT_MS).await;
    let BeginExportReply(reply) = reply.map_err(away)?;
    let begun = reply.map_err(|refusal| Problem::refused(refusal, "bad_cursor"))?;
    Teller::new(&call.env).cut(&begun).await;
    Ok(begun)
}

/// The page at a cursor; none as long as there are shards to be told. Who comes too early waits a little,
/// and then comes again.
async fn page(call: &Call, cursor: &ExportCursor) -> Result<Option<ExportPage>, Problem> {
    let away = |error| Problem::away("the global object", &error);
    let stub = global_stub(&call.env).map_err(away)?;
    let request = ExportRequest {
        at_ms: cursor.at_ms,
        position: cursor.position.clone(),
    };
    let deadline_ms = now_ms() + PAGE_WITHIN_MS;
    while now_ms() < deadline_ms {
        let reply = ask(&stub, "/export", &request, ASK_TIMEOUT_MS).await;
        let ExportReply(reply) = reply.map_err(away)?;
        match reply.map_err(|refusal| Problem::refused(refusal, "bad_cursor"))? {
            ExportAnswer::Page(page) => return Ok(Some(page)),
            ExportAnswer::Tell(to_cut) => {
                Teller::new(&call.env).cut(&to_cut).await;
                return Ok(None);
            }
            ExportAnswer::Wait { ms } => Delay::from(Duration::from_millis(ms)).await,
        }
    }
    let detail = "the moment of this export is to come, or shards have not told yet what they had \
                  by then; ask again for the same page";
    Err(Problem::busy("overloaded", 1, detail))
}

fn push_line(text: &mut String, line: &Value) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

fn line_of(row: &TransferRow, seed: Seed) -> Value {
    match row {
        TransferRow::Region(region) => json!({
            "kind": "region",
            "region_id": region.region_id,
            "region_name": region.region_name,
            "shards": region.shards,
            "hint": region.hint,
        }),
        TransferRow::Post(entry) => {
            posts::merged(json!({"kind": "post"}), posts::entry_json(entry))
        }
        TransferRow::Pane(pane) => pane_line(pane, seed),
    }
}

fn pane_line(pane: &TransferPane, seed: Seed) -> Value {
    let mut line = json!({
        "kind": "pane",
        "scope": pane.scope,
        "level": Level::from_code(pane.level).map(Level::name),
        "from": rfc3339(pane.start_ms),
    });
    // The global object has decoded it a moment ago.
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
        line = posts::merged(line, readable);
    }
    posts::merged(line, json!({"summary": STANDARD.encode(&pane.summary)}))
}

/// A line of an export. Of a pane only what is stored is read; the rest is for people.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Export {
        version: u32,
    },
    Region {
        region_id: String,
        region_name: Option<String>,
        shards: Option<u32>,
        hint: Option<String>,
    },
    Post {
        post_id: String,
        author: Option<String>,
        content: Option<String>,
        url: Option<String>,
        image: Option<String>,
        timestamp: Option<String>,
        #[serde(default)]
        hidden: bool,
    },
    Pane {
        scope: String,
        level: String,
        from: String,
        summary: String,
    },
    End {},
}

pub async fn import(call: &Call) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let bytes = body::read(call, MAX_IMPORT_BYTES).await?;
    let name = |parameter: &str| {
        let bytes = call.parameter(parameter).and_then(|text| read_hex(&text));
        let name: Option<[u8; 16]> = bytes.and_then(|bytes| bytes.try_into().ok());
        let detail = format!("{parameter} is that of the export's first line: 32 digits");
        name.ok_or_else(|| Problem::bad("bad_import", detail))
    };
    let first_row = call.parameter("row").and_then(|text| text.parse().ok());
    let request = ImportRequest {
        source: name("seed")?,
        export_id: name("id")?,
        first_row: first_row.ok_or_else(|| {
            Problem::bad("bad_import", "row is the number of the first line, from 0")
        })?,
        rows: read_lines(&bytes)?,
    };
    let away = |error| Problem::away("the global object", &error);
    let stub = global_stub(&call.env).map_err(away)?;
    let reply = ask(&stub, "/import", &request, ASK_TIMEOUT_MS).await;
    let ImportReply(reply) = reply.map_err(away)?;
    let imported = reply.map_err(|refusal| Problem::refused(refusal, "bad_import"))?;
    table::forget();
    Ok(Answer::json(&json!({ "next_row": imported.next_row })))
}

fn read_lines(bytes: &[u8]) -> Result<Vec<ImportRow>, Problem> {
    let mut rows = Vec::new();
    for (index, line) in lines(bytes).enumerate() {
        if index >= MAX_IMPORT_ROWS {
            let detail = format!("at most {MAX_IMPORT_ROWS} lines a request; none was taken");
            return Err(Problem::new(413, "too_many_rows", detail));
        }
        let bad = |detail: String| {
            Problem::bad("bad_import", format!("line {index} of the body: {detail}"))
        };
        let line: Line = serde_json::from_slice(line).map_err(|error| bad(error.to_string()))?;
        rows.push(row_of(line).map_err(bad)?);
    }
    Ok(rows)
}

fn row_of(line: Line) -> Result<ImportRow, String> {
    let moment = |text: &str| parse_rfc3339_ms(text).ok_or_else(|| format!("{text} is no time"));
    Ok(match line {
        Line::Export { version } if version > VERSION => {
            return Err(format!("this release reads version {VERSION}"));
        }
        Line::Export { .. } | Line::End {} => ImportRow::Nothing,
        Line::Region {
            region_id,
            region_name,
            shards,
            hint,
        } => ImportRow::Row(TransferRow::Region(PutRegion {
            region_id,
            region_name,
            shards,
            hint: hint.map(Some),
        })),
        Line::Post {
            post_id,
            author,
            content,
            url,
            image,
            timestamp,
            hidden,
        } => {
            posts::check_card(&author, &content, &url, &image)?;
            crate::play::check_post_id(&post_id).map_err(|refused| refused.detail.into_owned())?;
            ImportRow::Row(TransferRow::Post(CatalogEntry {
                post_id,
                card: Card {
                    author,
                    content,
                    url,
                    image,
                },
                timestamp_ms: timestamp.as_deref().map(moment).transpose()?,
                hidden,
            }))
        }
        Line::Pane {
            scope,
            level,
            from,
            summary,
        } => {
            let start_ms = moment(&from)?;
            let level = Level::of_name(&level).ok_or_else(|| format!("no level {level:?}"))?;
            let pane = PaneKey::checked(level, start_ms).ok_or("no pane begins there")?;
            let summary = STANDARD.decode(summary);
            ImportRow::Row(TransferRow::Pane(TransferPane {
                scope,
                level: pane.level.code(),
                start_ms,
                summary: summary.map_err(|error| format!("summary: {error}"))?,
            }))
        }
    })
}

pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub fn read_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| {
        let pair = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    bytes.collect()
}
