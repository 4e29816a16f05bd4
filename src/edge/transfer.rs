//! `GET /export` and `POST /import`: everything that is kept, as lines of JSON, out of one
//! installation and into another.
//!
//! An export is of one moment, which it names, and is read page by page while senders go on; the
//! address of the next page is in `Link`. The last line says how many lines there are and whether the
//! export is complete: whether every shard has told what it had by then. An import sends the same lines back in
//! order, any number at a time; each is taken once (`src/global/transfer.rs`). Both are of one board, and of
//! no other that is made under its name meanwhile: an export's address has its key, and who goes on with an
//! import says the key that the first answer named.

use std::time::Duration;

use serde_json::json;
use worker::Delay;

use super::access::{Token, require};
use super::answer::Answer;
use super::request::Call;
use super::telling::Teller;
use super::{ASK_TIMEOUT_MS, boards, body, directory};
use crate::board::{Board, ObjectName};
use crate::clock::steady_ms;
use crate::codec;
use crate::http::{Problem, end_line, head_line, hex, line_of, push_line, read_hex, read_lines};
use crate::instance::random_bytes;
use crate::summary::Seed;
use crate::wire::{
    BeginExport, ExportAnswer, ExportCursor, ExportPage, ExportPosition, ExportRequest,
    ImportRequest, ToCut,
};

/// A pane of 8,192 ids of 256 bytes each is 4 MB as a line without its readable part.
const MAX_IMPORT_BYTES: usize = 8 << 20;
/// How long a request waits for the moment.
const PAGE_WITHIN_MS: u64 = 10_000;

pub async fn export(call: &Call) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let cursor = call.query.first("cursor").map(|text| {
        let bytes = read_hex(text);
        let cursor = bytes.and_then(|bytes| codec::decode::<ExportCursor>(&bytes).ok());
        cursor.ok_or_else(|| Problem::bad("bad_cursor", "take the address from Link as it is"))
    });
    let cursor = cursor.transpose()?;
    let board = match &cursor {
        Some(cursor) => boards::of_key(call, &cursor.board).await?,
        None => boards::of_query(call).await?,
    };
    let answer = |text: String| {
        Answer::bytes("application/x-ndjson", text.into_bytes())
            .with_header("Cache-Control", "no-store")
    };
    let link = |cursor: &ExportCursor| {
        let next = hex(&codec::encode(cursor));
        format!("</export?cursor={next}>; rel=\"next\"")
    };
    let mut text = String::new();
    let Some(before) = cursor else {
        let begun = begin(call, &board).await?;
        let id = random_bytes();
        let head = head_line(&id, &begun.epoch.seed, begun.at_ms);
        push_line(&mut text, &head);
        let first = ExportCursor {
            board: board.key().into_owned(),
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
    let Some(page) = export_page(call, &board, &before).await? else {
        return Ok(answer(text).with_header("Link", link(&before)));
    };
    let seed = Seed::from_bytes(page.seed);
    for row in &page.rows {
        push_line(&mut text, &line_of(row, seed));
    }
    // A cursor comes from outside.
    let rows = before.rows.saturating_add(page.rows.len() as u64);
    let damaged_rows = before.damaged_rows.saturating_add(page.damaged_rows);
    let Some(position) = page.next else {
        push_line(&mut text, &end_line(rows, damaged_rows, page.complete));
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
async fn begin(call: &Call, board: &Board) -> Result<ToCut, Problem> {
    let global = ObjectName::global(&board.key());
    let begun = call.ask(&global, &BeginExport, ASK_TIMEOUT_MS, "bad_cursor");
    let begun = begun.await?;
    Teller::new(&call.env).cut(&board.key(), &begun).await;
    Ok(begun)
}

/// The page at a cursor; none as long as there are shards to be told. Who comes too early waits a little,
/// and then comes again.
async fn export_page(
    call: &Call,
    board: &Board,
    cursor: &ExportCursor,
) -> Result<Option<ExportPage>, Problem> {
    let global = ObjectName::global(&board.key());
    let request = ExportRequest {
        at_ms: cursor.at_ms,
        position: cursor.position.clone(),
    };
    let deadline_ms = steady_ms() + PAGE_WITHIN_MS;
    while steady_ms() < deadline_ms {
        let answer = call.ask(&global, &request, ASK_TIMEOUT_MS, "bad_cursor");
        match answer.await? {
            ExportAnswer::Page(page) => return Ok(Some(page)),
            ExportAnswer::Tell(to_cut) => {
                Teller::new(&call.env).cut(&board.key(), &to_cut).await;
                return Ok(None);
            }
            ExportAnswer::Wait { ms } => Delay::from(Duration::from_millis(ms)).await,
        }
    }
    let detail = "the moment of this export is to come, or shards have not told yet what they had \
                  by then; ask again for the same page";
    Err(Problem::busy("overloaded", 1, detail))
}

pub async fn import(call: &Call) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let board = boards::of_id_or_key(call).await?;
    let bytes = body::read(call, MAX_IMPORT_BYTES).await?;
    let name = |parameter: &str| {
        let bytes = call.query.first(parameter).and_then(read_hex);
        let name: Option<[u8; 16]> = bytes.and_then(|bytes| bytes.try_into().ok());
        let detail = format!("{parameter} is that of the export's first line: 32 digits");
        name.ok_or_else(|| Problem::bad("bad_import", detail))
    };
    let first_row = call.query.first("row").and_then(|text| text.parse().ok());
    let request = ImportRequest {
        source: name("seed")?,
        export_id: name("id")?,
        first_row: first_row.ok_or_else(|| {
            Problem::bad("bad_import", "row is the number of the first line, from 0")
        })?,
        rows: read_lines(&bytes)?,
    };
    let global = ObjectName::global(&board.key());
    let imported = call.ask(&global, &request, ASK_TIMEOUT_MS, "bad_import");
    let imported = imported.await?;
    directory::forget();
    Ok(Answer::json(
        &json!({ "board": board.key(), "next_row": imported.next_row }),
    ))
}
