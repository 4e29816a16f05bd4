//! Which boards a play counts on: `board` or `boards`, of the play itself or of its envelope.
//!
//! Only the names are read here. Whether a board exists is decided when the play is routed
//! ([`crate::routing`]); an unknown board does not lose the play for the other boards.

use std::borrow::Cow;
use std::rc::Rc;

use serde_json::value::RawValue;

use super::value::read_text;
use crate::board::MAX_BOARD_ID_BYTES;

/// The most boards of one play: enough for a page's site, section, author and language. Each board is
/// one more message to a shard.
pub const MAX_BOARDS_A_PLAY: usize = 8;
/// The longest list that can be valid: 8 names of 64 bytes, all escaped, with what stands between them.
const MAX_LIST_BYTES: usize = 4 << 10;

/// The names of one to [`MAX_BOARDS_A_PLAY`] boards, each once.
pub type BoardIds = Rc<[String]>;

/// The boards that a play or an envelope names; `None` where it names none.
///
/// # Errors
/// What they have to be, as a sentence.
pub(super) fn read_boards(
    board: Option<&RawValue>,
    boards: Option<&RawValue>,
) -> Result<Option<BoardIds>, &'static str> {
    let named = match (board, boards) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err("board and boards don't go together; list all in boards"),
        (Some(board), None) if board.get().len() <= MAX_LIST_BYTES => {
            vec![read_text(board).ok_or("board is the id of a board: a string")?]
        }
        (None, Some(boards)) if boards.get().len() <= MAX_LIST_BYTES => {
            let list = serde_json::from_str::<Vec<Cow<'_, str>>>(boards.get());
            list.map_err(|_| "boards is a list of boards' ids: strings")?
        }
        _ => return Err("a board's id has 1 to 64 of a-z 0-9 - _, and a play has 1 to 8 boards"),
    };
    if !(1..=MAX_BOARDS_A_PLAY).contains(&named.len()) {
        return Err("a play has 1 to 8 boards");
    }
    let mut names: Vec<String> = Vec::with_capacity(named.len());
    for name in named.iter().map(|name| shortened(name)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(Some(names.into()))
}

/// Cuts a name to the length that a board's id may have, as the sender is told it again. A name that was
/// cut ends in a character that no id has, so it matches no board.
fn shortened(name: &str) -> String {
    if name.len() <= MAX_BOARD_ID_BYTES {
        return name.to_owned();
    }
    let is_end = |end: &usize| name.is_char_boundary(*end);
    let end = (0..=MAX_BOARD_ID_BYTES).rev().find(is_end).unwrap_or(0);
    format!("{}\u{2026}", name.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(object: &str) -> Result<Option<Vec<String>>, &'static str> {
        #[derive(serde::Deserialize)]
        struct Named<'a> {
            #[serde(borrow, default)]
            board: Option<&'a RawValue>,
            #[serde(borrow, default)]
            boards: Option<&'a RawValue>,
        }
        let Named { board, boards } = serde_json::from_str(object).unwrap();
        read_boards(board, boards).map(|read| read.map(|names| names.to_vec()))
    }

    fn names(names: &[&str]) -> Result<Option<Vec<String>>, &'static str> {
        Ok(Some(names.iter().map(|&name| name.to_owned()).collect()))
    }

    #[test]
    fn one_board_or_a_list_of_up_to_eight_each_once() {
        assert_eq!(read("{}"), Ok(None));
        assert_eq!(read(r#"{"board":null,"boards":null}"#), Ok(None));
        assert_eq!(read(r#"{"board":"jazz"}"#), names(&["jazz"]));
        assert_eq!(
            read(r#"{"boards":["jazz","main","jazz"]}"#),
            names(&["jazz", "main"])
        );
        let eight = r#"{"boards":["a","b","c","d","e","f","g","h"]}"#;
        assert_eq!(read(eight).unwrap().unwrap().len(), 8);
    }

    #[test]
    fn what_is_no_board_is_kept_as_a_name_that_nobody_has() {
        for name in ["", "__proto__", "Jazz", "a/b", "\u{e9}"] {
            let object = serde_json::json!({ "board": name }).to_string();
            assert_eq!(read(&object), names(&[name]));
        }
        let long = serde_json::json!({ "board": "\u{e9}".repeat(40) }).to_string();
        let cut = read(&long).unwrap().unwrap();
        assert_eq!(cut, [format!("{}\u{2026}", "\u{e9}".repeat(32))]);
    }

    #[test]
    fn other_shapes_are_told_what_is_wanted() {
        for bad in [
            r#"{"board":7}"#,
            r#"{"board":["jazz"]}"#,
            r#"{"boards":"jazz"}"#,
            r#"{"boards":[]}"#,
            r#"{"boards":[7]}"#,
            r#"{"boards":["jazz",null]}"#,
            r#"{"boards":{"0":"jazz"}}"#,
            r#"{"board":"jazz","boards":["jazz"]}"#,
            r#"{"boards":["a","b","c","d","e","f","g","h","i"]}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let many = serde_json::json!({ "boards": vec!["a"; 100_000] }).to_string();
        assert!(read(&many).is_err());
    }

    proptest! {
        #[test]
        fn no_name_is_longer_than_a_good_one(text: String) {
            let object = serde_json::json!({ "board": text }).to_string();
            if let Ok(Some(names)) = read(&object) {
                let most = MAX_BOARD_ID_BYTES + '\u{2026}'.len_utf8();
                prop_assert!(names[0].len() <= most);
            }
        }
    }
}
