//! A batch's home names the shard that decides about the batch, so that every Worker asks the same one,
//! however old its copy of the region table is.
//!
//! For senders it is an opaque text from an earlier answer, such as `NA/4 jazz.0123456789abcdef=2`: a region,
//! percent-encoded, how many shards `main` had there, and how many other boards had, by their keys.
//! `docs/inside/how-it-works.md` ("A batch has a home") has the protocol. A region that was deleted and made
//! again has its incarnation in the middle (`NA/1/4`), because its shards are not those of the region before.
//! A server that names the region of each play needs the number of shards alone (`/4`).

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use siphasher::sip::SipHasher13;

use crate::board::{Board, MAIN, MAX_BOARD_ID_BYTES, parts_of_board_key};
use crate::topology::{MAX_SHARDS, Region, check_region_id, key_of, parts_of_key};

/// Boards that a home names besides `main`: as many as a batch has parts ([`crate::routing`]).
const MAX_BOARDS_OF_HOME: usize = 24;
/// A space, a board's key, `=` and a number of shards.
const MAX_BOARD_BYTES: usize = 1 + MAX_BOARD_ID_BYTES + 1 + 16 + 1 + 4;
/// An id of 64 bytes with three characters each, an incarnation, a number of shards, two slashes, and
/// the boards.
const MAX_HOME_BYTES: usize = 3 * 64 + 10 + 4 + 2 + MAX_BOARDS_OF_HOME * MAX_BOARD_BYTES;
/// All but the unreserved characters of RFC 3986: the text is put into headers and scripts.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where a batch was at home when it was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// [`Region::key`]. None where each play of the batch names its region.
    pub key: Option<String>,
    /// How many shards `main` had there.
    pub shards: u32,
    /// The shards of other boards that had more than one, by [`Board::key`].
    pub boards: BTreeMap<String, u32>,
}

impl Home {
    /// The home of batches that are sealed now, by the region of their sender. It names the first
    /// [`MAX_BOARDS_OF_HOME`] of `boards` that have more than one shard.
    pub fn of<'a>(region: &Region, boards: impl IntoIterator<Item = &'a Board>) -> Self {
        let others = boards.into_iter().filter(|board| !board.is_main());
        let shards = others.map(|board| {
            let shards = board.shards_in(region).shards;
            (board.key().into_owned(), shards)
        });
        Home {
            key: Some(region.key().into_owned()),
            shards: region.shards,
            boards: shards
                .filter(|(_, shards)| *shards > 1)
                .take(MAX_BOARDS_OF_HOME)
                .collect(),
        }
    }

    /// How many shards of a board there are to choose from.
    pub fn shards_of(&self, board_key: &str) -> u32 {
        match board_key {
            MAIN => self.shards,
            key => self.boards.get(key).copied().unwrap_or(1),
        }
    }

    /// Reads the home that a sender gives; `None` for a text that no answer can have given.
    pub fn read(text: &str) -> Option<Self> {
        if text.len() > MAX_HOME_BYTES {
            return None;
        }
        let mut words = text.split(' ');
        let (region, shards) = words.next()?.rsplit_once('/')?;
        let shards = read_shards(shards)?;
        let mut boards = BTreeMap::new();
        for word in words {
            let (key, shards) = word.split_once('=')?;
            let is_next = boards
                .last_key_value()
                .is_none_or(|(last, _): (&String, _)| last.as_str() < key);
            let (board_id, _) = parts_of_board_key(key).filter(|_| is_next)?;
            if board_id == MAIN {
                return None;
            }
            boards.insert(key.to_owned(), read_shards(shards)?);
        }
        if boards.len() > MAX_BOARDS_OF_HOME {
            return None;
        }
        let key = match region {
            "" => None,
            region => Some(read_region(region)?),
        };
        Some(Home {
            key,
            shards,
            boards,
        })
    }
}

/// The key of the region that a home names.
fn read_region(region: &str) -> Option<String> {
    let (region_id, incarnation) = match region.split_once('/') {
        Some((region_id, incarnation)) => (region_id, read_number(incarnation)?),
        None => (region, 0),
    };
    let region_id = percent_decode_str(region_id).decode_utf8().ok()?;
    check_region_id(&region_id).ok()?;
    Some(key_of(&region_id, incarnation).into_owned())
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            let (region_id, incarnation) = parts_of_key(key);
            utf8_percent_encode(region_id, ENCODED).fmt(f)?;
            if incarnation > 0 {
                write!(f, "/{incarnation}")?;
            }
        }
        write!(f, "/{}", self.shards)?;
        let mut boards = self.boards.iter();
        boards.try_for_each(|(key, shards)| write!(f, " {key}={shards}"))
    }
}

/// A number from 1 on, without leading zeros: each number has one text.
fn read_number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain)
}

fn read_shards(text: &str) -> Option<u32> {
    read_number(text).filter(|shards| *shards <= MAX_SHARDS)
}

/// Spreads senders over the shards of a region.
pub fn shard_of(hash: u64, shards: u32) -> u32 {
    (hash % u64::from(shards.max(1))) as u32
}

/// The fixed hash of a sender's name for itself, or of its key: SipHash-1-3 with a zero key. It must
/// never change: a repeat would meet another decider.
pub fn hash_of(name: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(name);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Directory;
    use crate::topology::RegionTable;

    fn directory(boards: impl IntoIterator<Item = Board>) -> Directory {
        let table = RegionTable {
            number: 1,
            installation_id: [1; 16],
            epoch_ms: 0,
            seed: [2; 16],
            origin: "NA".into(),
            regions: Vec::new(),
            deleted: Vec::new(),
        };
        Directory::new(table, boards, 1)
    }

    #[test]
    fn a_home_is_read_as_it_is_written() {
        for (text, key, shards) in [
            ("NA/4", Some("NA"), 4),
            ("NA/1/4", Some("NA/1"), 4),
            ("/1000", None, 1_000),
            ("a%20%C3%A9%22%3C%27/2/1", Some("a é\"<'/2"), 1),
            ("NA/4 jazz.0123456789abcdef=2", Some("NA"), 4),
            ("/4 a.0000000000000001=1000 b.0000000000000001=1", None, 4),
        ] {
            let home = Home::read(text).unwrap();
            assert_eq!((home.key.as_deref(), home.shards), (key, shards), "{text}");
            assert_eq!(home.to_string(), text);
        }
        let longest = Region {
            incarnation: u32::MAX,
            ..Region::new("\u{e9}".repeat(32), "", MAX_SHARDS)
        };
        let boards = (0..30).map(|number| {
            let board_id = format!("{number:0MAX_BOARD_ID_BYTES$}");
            let mut board = Board::new(board_id, u64::MAX, 1);
            board.reshard(&longest.key(), MAX_SHARDS);
            board
        });
        let directory = directory(boards);
        let longest = Home::of(&longest, directory.boards());
        assert_eq!(longest.boards.len(), MAX_BOARDS_OF_HOME);
        assert_eq!(Home::read(&longest.to_string()), Some(longest));
    }

    #[test]
    fn a_board_has_its_own_number_and_one_where_none_is_said_of_this_incarnation() {
        let mut jazz = Board::new("jazz", 7, 1);
        jazz.reshard("NA", 3);
        let directory = directory([jazz.clone(), Board::new("rock", 8, 1)]);
        let home = Home::of(&Region::new("NA", "", 4), directory.boards());
        assert_eq!(home.to_string(), "NA/4 jazz.0000000000000007=3");
        let again = Board::new("jazz", 9, 1);
        for (board, shards) in [(&Board::main(), 4), (&jazz, 3), (&again, 1)] {
            assert_eq!(home.shards_of(&board.key()), shards);
        }
        assert_eq!(home.shards_of("rock.0000000000000008"), 1);
    }

    #[test]
    fn what_no_answer_said_is_no_home() {
        for text in [
            "",
            "/",
            "4",
            "NA",
            "NA/",
            "NA/0",
            "NA/04",
            "NA/+4",
            "NA/-1",
            "NA/1001",
            "NA/4 ",
            "NA/0/4",
            "NA/01/4",
            "NA//4",
            "//4",
            "/NA/4",
            "NA/x/4",
            "NA/1/2/4",
            "a%2Fb/4",
            "global/1",
            "%FF/1",
            "%0A/1",
            "NA/99999999999",
            "../1",
            " NA/4",
            "NA/4  jazz.0123456789abcdef=2",
            "NA/4 jazz.0123456789abcdef",
            "NA/4 jazz.0123456789abcdef=0",
            "NA/4 jazz.0123456789abcdef=1001",
            "NA/4 jazz=2",
            "NA/4 main=2",
            "NA/4 main.0000000000000000=2",
            "NA/4 __proto__=2",
            "NA/4 jazz.0123456789abcdef=2 jazz.0123456789abcdef=2",
            "NA/4 jazz.0123456789abcdef=2 a.0123456789abcdef=2",
        ] {
            assert_eq!(Home::read(text), None, "{text:?}");
        }
        assert_eq!(Home::read(&format!("{}/4", "%41".repeat(65))), None);
    }

    #[test]
    fn senders_spread_evenly_and_find_their_shard_for_ever() {
        let mut senders = [0; 10];
        for sender in 0..10_000 {
            senders[shard_of(hash_of(sender.to_string().as_bytes()), 10) as usize] += 1;
        }
        let even = 850..1150;
        assert!(senders.iter().all(|of| even.contains(of)), "{senders:?}");
        assert_eq!(hash_of(b"k3J9"), 0xfda9_1e24_0a02_f167);
        assert_eq!(hash_of(b""), 0xd1fb_a762_150c_532c);
    }
}
