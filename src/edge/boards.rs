//! Which board a request is about, and whether who asks may read it.

use super::access::{Token, may_read, shows};
use super::request::Call;
use super::table;
use crate::board::{Board, MAIN, check_board_id, parts_of_board_key};
use crate::http::Problem;

/// The board that a request names by its `board=`; `main` where it names none.
pub async fn of_query(call: &Call) -> Result<Board, Problem> {
    find(call, call.query.first("board").unwrap_or(MAIN)).await
}

/// The board of a request for what it shows. What is not for everybody shows itself to the read token; and to
/// the admin token, since an installation whose other charts are open has no read token.
///
/// # Errors
/// 401 without the read token, where all charts need one; 404 for a board that is none, or that is not
/// for everybody.
pub async fn to_read(call: &Call) -> Result<Board, Problem> {
    let Err(problem) = may_read(call) else {
        return open_to(call, of_query(call).await?);
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

/// The board of an id. It touches no object of a board, and asks about a name that is not known at most
/// once a second.
async fn find(call: &Call, board_id: &str) -> Result<Board, Problem> {
    if check_board_id(board_id).is_err() {
        return Err(Problem::unknown_board());
    }
    let directory = table::directory(&call.env).await?;
    if let Some(board) = directory.board(board_id) {
        return Ok(board.clone());
    }
    let newer = table::newer_directory(&call.env).await?;
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
    let board = find(call, board_id).await?;
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
