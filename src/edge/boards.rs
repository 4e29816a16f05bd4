//! Which board a request is about, and whether who asks may read it; and `/boards`: which there are, making,
//! changing and deleting one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::access::{Token, may_read, may_read_or_moderate, require, shows};
use super::answer::Answer;
use super::request::Call;
use super::{ASK_TIMEOUT_MS, body, directory};
use crate::board::{
    Board, CatalogKind, Directory, MAIN, ObjectName, check_board_id, parts_of_board_key,
};
use crate::http::{Fields, Problem};
use crate::window::rfc3339;
use crate::wire::{DeleteBoard, PutBoard};

/// A board's fields are few, and at most a number for each of 100 regions.
const MAX_BOARD_BODY_BYTES: usize = 16 << 10;
/// One request has 40 objects emptied, six at once, 5 s each at most.
pub const WIPE_TIMEOUT_MS: u64 = 60_000;

/// The board that a request names by its `board=`; `main` where it names none.
pub async fn of_query(call: &Call) -> Result<Board, Problem> {
    find_board(call, call.query.first("board").unwrap_or(MAIN)).await
}

/// The board of a request for what it shows. What is not for everybody shows itself to the read token; and to
/// the admin token, since an installation whose other charts are open has no read token.
///
/// # Errors
/// 401 without the read token, where all charts need one; 404 for a board that is none, or that is not
/// for everybody.
pub async fn to_read(call: &Call) -> Result<Board, Problem> {
    let Err(problem) = may_read(call) else {
        let is_main = call.query.first("board").unwrap_or(MAIN) == MAIN;
        return match of_query(call).await {
            // Nobody can be asked for anything then. What this place's cache has of `main` is for everybody,
            // or it would not be there.
            Err(away) if is_main && away.status == 503 => Ok(Board::main()),
            board => open_to(call, board?),
        };
    };
    if call.seen.authorization.is_none() || shows(call, Token::Admin).is_err() {
        return Err(problem);
    }
    match of_query(call).await? {
        board if board.public => Err(problem),
        board => Ok(board),
    }
}

/// A board, where who asks may read it.
///
/// # Errors
/// 404, as of one that is none.
pub fn open_to(call: &Call, board: Board) -> Result<Board, Problem> {
    // Who shows a token was let in with it.
    match board.public || call.seen.authorization.is_some() {
        true => Ok(board),
        false => Err(Problem::unknown_board()),
    }
}

/// The board of an id, as fresh as charts need it: one that was closed to the public shows to nobody for
/// long, and of one that was made anew nobody reads what was counted before. It touches no object of a board,
/// and asks about a name that is not known at most once a second.
async fn find_board(call: &Call, board_id: &str) -> Result<Board, Problem> {
    if check_board_id(board_id).is_err() {
        return Err(Problem::unknown_board());
    }
    let directory = directory::for_charts(&call.env).await?;
    if let Some(board) = directory.board(board_id) {
        return Ok(board.clone());
    }
    let newer = directory::newer(&call.env).await?;
    newer
        .board(board_id)
        .cloned()
        .ok_or_else(Problem::unknown_board)
}

/// The board of a key, for who goes on with what was begun: not one that was made under its name since.
///
/// # Errors
/// 404 where it is no more.
pub async fn of_key(call: &Call, key: &str) -> Result<Board, Problem> {
    let (board_id, incarnation) = parts_of_board_key(key).ok_or_else(Problem::unknown_board)?;
    let board = find_board(call, board_id).await?;
    match board.incarnation == incarnation {
        true => Ok(board),
        false => Err(Problem::unknown_board()),
    }
}

/// As [`of_query`], where `board=` may be a key.
pub async fn of_id_or_key(call: &Call) -> Result<Board, Problem> {
    match call.query.first("board") {
        Some(key) if parts_of_board_key(key).is_some() => of_key(call, key).await,
        _ => of_query(call).await,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoardBody {
    board_id: Option<String>,
    board_name: Option<String>,
    beacons: Option<bool>,
    public: Option<bool>,
    catalog: Option<CatalogKind>,
    #[serde(default)]
    shards: BTreeMap<String, u32>,
    incarnation: Option<String>,
    /// What `GET /boards` says of it, for whoever sends that back.
    #[serde(rename = "made")]
    _made: Option<IgnoredAny>,
}

const BOARD_FIELDS: Fields = Fields {
    of: "a board",
    bad_code: "bad_board",
    kinds: &[
        ("board_id", "a text"),
        ("board_name", "a text"),
        ("beacons", "true or false"),
        ("public", "true or false"),
        ("catalog", "\"shared\" or \"own\""),
        ("shards", "numbers by region, as in {\"EU\": 2}"),
        (
            "incarnation",
            "16 hexadecimal digits, as GET /boards shows it",
        ),
    ],
    others: &[
        ("id", "board_id"),
        ("name", "board_name"),
        ("title", "board_name"),
    ],
};

/// The boards that who asks may read.
pub async fn list(call: &Call) -> Result<Answer, Problem> {
    may_read_or_moderate(call)?;
    let directory = directory::newer(&call.env).await?;
    let boards = directory.boards().cloned();
    let readable = boards.filter_map(|board| open_to(call, board).ok());
    let boards: Vec<Value> = readable.map(|board| json_of(&board, &directory)).collect();
    let answer = Answer::json(&json!({ "boards": boards }));
    Ok(answer.with_header("Cache-Control", "public, max-age=1"))
}

/// Makes or changes a board.
pub async fn put(call: &mut Call, board_id: String) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    let given: BoardBody = body::read_object(call, MAX_BOARD_BODY_BYTES, &BOARD_FIELDS).await?;
    let bad = |detail: &str| Problem::bad("bad_board", detail);
    if given.board_id.is_some_and(|given| given != board_id) {
        return Err(bad("board_id differs from the path's"));
    }
    let incarnation = given
        .incarnation
        .map(|digits| u64::from_str_radix(&digits, 16));
    let incarnation = incarnation
        .transpose()
        .map_err(|_| bad("incarnation is 16 hexadecimal digits, as GET /boards shows it"))?;
    let request = PutBoard {
        board_id,
        board_name: given.board_name,
        beacons: given.beacons,
        public: given.public,
        catalog: given.catalog,
        shards: given.shards,
        incarnation,
    };
    let registry = ObjectName::Registry;
    let board = call.ask(&registry, &request, ASK_TIMEOUT_MS, "bad_board");
    let board = board.await?;
    directory::forget();
    let directory = directory::fresh(&call.env).await?;
    Ok(Answer::json(&json_of(&board, &directory)))
}

/// Deletes a board with all its counts. 200 when all of it is gone from every object, 202 while some are
/// away: the registry goes on by itself, and who asks again hears how far it is.
pub async fn delete(call: &Call, board_id: String) -> Result<Answer, Problem> {
    require(call, Token::Admin)?;
    if call.query.first("confirm") != Some(board_id.as_str()) {
        let detail = "all counts of the board go, for good: say so with confirm= and its id";
        return Err(Problem::bad("not_confirmed", detail));
    }
    let request = DeleteBoard {
        board_id: board_id.clone(),
    };
    let registry = ObjectName::Registry;
    let deletion = call.ask(&registry, &request, WIPE_TIMEOUT_MS, "bad_board");
    let deletion = deletion.await?;
    directory::forget();
    let body = json!({
        "board_id": board_id,
        "deleted": rfc3339(deletion.deleted_ms),
        "objects_left": deletion.objects_left,
    });
    let status = if deletion.objects_left == 0 { 200 } else { 202 };
    Ok(Answer::json(&body).with_status(status))
}

fn json_of(board: &Board, directory: &Directory) -> Value {
    let regions = directory.table.regions.iter();
    let shards = regions.map(|region| {
        let shards = board.shards_in(region).shards;
        (region.region_id.clone(), Value::from(shards))
    });
    json!({
        "board_id": board.board_id,
        "board_name": board.board_name,
        "beacons": board.beacons,
        "public": board.public,
        "catalog": board.catalog(),
        "made": (board.made_ms > 0).then(|| rfc3339(board.made_ms)),
        "incarnation": format!("{:016x}", board.incarnation),
        "shards": shards.collect::<serde_json::Map<String, Value>>(),
    })
}
