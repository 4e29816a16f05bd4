//! Boards: sets of charts, each with shards and a global object of its own.
//!
//! `main` always exists; others are made and deleted by name. A board that is made again under a name is
//! another board. It has another incarnation, which is random, and its [`Board::key`] carries the
//! incarnation into the names of all that belongs to it: objects, messages, rows and keys of caches. A
//! counter would not do: a registry that is restored from a backup would hand out a number twice.
//!
//! Regions, and the seed of all summaries, belong to the installation ([`RegionTable`]). The number of shards in
//! a region belongs to the board; that of `main` stands in [`Region`], where `PUT /regions` sets it.
//!
//! # Size
//! A board takes about 60 bytes as it is sent and 250 in memory ([`Directory`]): 10,000 of them are 600 kB
//! once and 2.5 MB in each isolate that knows them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::codec::record;
use crate::mutants::{self, Mutant};
use crate::topology::{Region, RegionTable, ShardId};

/// The board that is always there.
pub const MAIN: &str = "main";
/// Boards, including those whose deletion is under way. A Worker's copy of so many takes 2.5 MB.
pub const MAX_BOARDS: usize = 10_000;
/// Bytes of a board's id.
pub const MAX_BOARD_ID_BYTES: usize = 64;
/// Digits of an incarnation in a key.
const INCARNATION_DIGITS: usize = 16;

/// Checks a board's id. Its characters need no escaping in an address, a file's name or a header.
///
/// # Errors
/// What is allowed, as a sentence.
pub fn check_board_id(board_id: &str) -> Result<(), &'static str> {
    let is_allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    match (1..=MAX_BOARD_ID_BYTES).contains(&board_id.len()) && board_id.bytes().all(is_allowed) {
        true => Ok(()),
        false => Err("a board's id has 1 to 64 of a-z, 0-9, \"-\" and \"_\""),
    }
}

/// Whose cards and hidden posts a board shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatalogKind {
    /// The installation's.
    #[default]
    Shared,
    /// The board's own: for tenants who must not see each other's posts.
    Own,
}

/// The highest bit of an incarnation is set where the board's catalog is its own.
const HAS_OWN_CATALOG: u64 = 1 << 63;

impl CatalogKind {
    /// The catalog of the board with this incarnation. The incarnation says it so that an object knows from its
    /// own name whose posts it shows, also while the registry is away, and after a restore from a backup.
    pub const fn of_incarnation(incarnation: u64) -> Self {
        match incarnation & HAS_OWN_CATALOG {
            0 => CatalogKind::Shared,
            _ => CatalogKind::Own,
        }
    }

    /// An incarnation of a board with such a catalog, from 64 random bits.
    pub fn incarnation(self, random: u64) -> u64 {
        let random = match mutants::active(Mutant::NameWithoutIncarnation) {
            true => 1,
            false => random,
        };
        match (self, random & !HAS_OWN_CATALOG) {
            (CatalogKind::Own, random) => random | HAS_OWN_CATALOG,
            (CatalogKind::Shared, 0) => 1,
            (CatalogKind::Shared, random) => random,
        }
    }
}

/// How many shards a board has in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardShards {
    /// Where batches without a home go.
    pub shards: u32,
    /// The most that it ever had there: see [`Region::most_shards`].
    pub most_shards: u32,
}

impl Default for BoardShards {
    fn default() -> Self {
        BoardShards {
            shards: 1,
            most_shards: 1,
        }
    }
}

/// A board as the registry knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    pub board_id: String,
    /// 63 random bits, and whose its catalog is ([`CatalogKind::of_incarnation`]); 0 is `main`'s alone.
    pub incarnation: u64,
    pub board_name: String,
    /// Whether browsers may send plays here.
    pub beacons: bool,
    /// Whether everybody who may read charts may read this board's; otherwise they need the read token.
    pub public: bool,
    /// 0 is `main`'s: there was nothing before it.
    pub made_ms: u64,
    /// By the key of the region, where the board has or had more than one shard. Empty for `main`.
    pub shards: BTreeMap<String, BoardShards>,
}

record!(Board v 1);

impl Board {
    /// A board of these settings' defaults, with its id as its name.
    pub fn new(board_id: impl Into<String>, incarnation: u64, made_ms: u64) -> Self {
        let board_id = board_id.into();
        Board {
            board_name: board_id.clone(),
            board_id,
            incarnation,
            beacons: true,
            public: true,
            made_ms,
            shards: BTreeMap::new(),
        }
    }

    /// `main`, before anybody changes anything of it.
    pub fn main() -> Self {
        Board::new(MAIN, 0, 0)
    }

    pub fn is_main(&self) -> bool {
        self.incarnation == 0
    }

    /// Chosen when it is made.
    pub fn catalog(&self) -> CatalogKind {
        CatalogKind::of_incarnation(self.incarnation)
    }

    /// What its objects are named by, and what messages, rows and keys of caches carry: `main`, or
    /// `jazz.0123456789abcdef`. No id has a dot or a slash in it.
    pub fn key(&self) -> Cow<'_, str> {
        board_key(&self.board_id, self.incarnation)
    }

    /// How many shards it has in a region that there is or was.
    pub fn shards_in(&self, region: &Region) -> BoardShards {
        if self.is_main() {
            return BoardShards {
                shards: region.shards,
                most_shards: region.most_shards,
            };
        }
        let shards = self.shards.get(region.key().as_ref());
        shards.copied().unwrap_or_default()
    }

    /// Has another number of shards in a region from now on. For `main`, see [`Region::reshard`].
    pub fn reshard(&mut self, region_key: &str, shards: u32) {
        let of_region = self.shards.entry(region_key.to_owned()).or_default();
        of_region.shards = shards;
        of_region.most_shards = of_region.most_shards.max(shards);
        if *of_region == BoardShards::default() {
            self.shards.remove(region_key);
        }
    }
}

/// A [`Board::key`].
pub fn board_key(board_id: &str, incarnation: u64) -> Cow<'_, str> {
    match incarnation {
        0 => Cow::Borrowed(board_id),
        _ => Cow::Owned(format!("{board_id}.{incarnation:016x}")),
    }
}

/// The id and the incarnation of the board that has this key; `None` of what is no key.
pub fn parts_of_board_key(key: &str) -> Option<(&str, u64)> {
    let (board_id, incarnation) = match key.split_once('.') {
        Some((board_id, digits)) => {
            let is_written_so = digits.len() == INCARNATION_DIGITS
                && digits
                    .bytes()
                    .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
            let incarnation = u64::from_str_radix(digits, 16).ok()?;
            (
                board_id,
                (is_written_so && incarnation != 0).then_some(incarnation)?,
            )
        }
        None => (key, 0),
    };
    let is_main = board_id == MAIN;
    (check_board_id(board_id).is_ok() && is_main == (incarnation == 0))
        .then_some((board_id, incarnation))
}

/// Whether an object of a board may store anything, as far as the object knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// It has not asked yet, or nobody answered.
    #[default]
    Unknown,
    /// The registry knows of it.
    Enlisted,
    /// Its board was deleted.
    Over,
}

/// A Durable Object, by what it is named by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ObjectName {
    /// A shard of a board in a region. It stands first because objects are deleted in this order.
    Shard { board: String, id: ShardId },
    /// What folds a board's plays and answers its charts.
    Global { board: String },
    /// A catalog of a board's own.
    Catalog { board: String },
    /// What all boards share.
    Registry,
    /// The platform does not say which object it is. It must not touch storage, which belongs to some board.
    Unnamed,
}

impl ObjectName {
    pub fn shard(board: &str, region_key: &str, shard: u32) -> Self {
        ObjectName::Shard {
            board: board.to_owned(),
            id: ShardId {
                key: region_key.to_owned(),
                shard,
            },
        }
    }

    pub fn global(board: &str) -> Self {
        ObjectName::Global {
            board: board.to_owned(),
        }
    }

    /// The catalog whose posts a board shows, by its key.
    pub fn catalog(board: &str) -> Self {
        match parts_of_board_key(board).map(|(_, it)| CatalogKind::of_incarnation(it)) {
            Some(CatalogKind::Own) => ObjectName::Catalog {
                board: board.to_owned(),
            },
            Some(CatalogKind::Shared) | None => ObjectName::Registry,
        }
    }

    /// The object of this name, in a class: `shard`, `global` or `registry`. A malformed name is
    /// [`ObjectName::Unnamed`], never `main`'s.
    pub fn of_name(kind: &str, name: &str) -> Self {
        let is_board = |key: &str| parts_of_board_key(key).is_some();
        let shard = || {
            let (board, rest) = name.split_once('/')?;
            let (key, shard) = rest.rsplit_once('/')?;
            let shard = ObjectName::shard(board, key, shard.parse().ok()?);
            (is_board(board) && shard.as_named() == name).then_some(shard)
        };
        match kind {
            "shard" => shard().unwrap_or(ObjectName::Unnamed),
            "global" if is_board(name) => ObjectName::global(name),
            "registry" if name == ObjectName::Registry.as_named() => ObjectName::Registry,
            "registry" if is_board(name) => ObjectName::Catalog { board: name.into() },
            _ => ObjectName::Unnamed,
        }
    }

    /// Whether its board can be deleted: then it asks the registry before its first write.
    pub fn is_to_enlist(&self) -> bool {
        self.board().is_some_and(|board| board != MAIN)
    }

    /// The key of its board; `None` for the registry, and for an object without a name.
    pub fn board(&self) -> Option<&str> {
        match self {
            ObjectName::Registry | ObjectName::Unnamed => None,
            ObjectName::Shard { board, .. }
            | ObjectName::Global { board }
            | ObjectName::Catalog { board } => Some(board),
        }
    }

    /// What it is called where it does not answer.
    pub fn in_words(&self) -> &'static str {
        match self {
            ObjectName::Shard { .. } => "the shard",
            ObjectName::Global { .. } => "the global object",
            ObjectName::Catalog { .. } => "the catalog",
            ObjectName::Registry => "the registry",
            ObjectName::Unnamed => "an object without a name",
        }
    }

    /// What the platform knows it by, among those of its class.
    pub fn as_named(&self) -> Cow<'_, str> {
        match self {
            ObjectName::Registry => Cow::Borrowed("shared"),
            ObjectName::Unnamed => Cow::Borrowed(""),
            ObjectName::Shard { board, id } => {
                Cow::Owned(format!("{board}/{}/{}", id.key, id.shard))
            }
            ObjectName::Global { board } | ObjectName::Catalog { board } => Cow::Borrowed(board),
        }
    }
}

/// What a Worker knows of the installation: its regions and its boards, of one version.
///
/// A version is 64 random bits, without an order of its own. The registry knows the order, and answers a
/// version that it does not know with everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    pub table: Rc<RegionTable>,
    pub version: u64,
    /// By their ids; `main` is always there.
    boards: BTreeMap<String, Board>,
}

/// Registry → Worker: what changed since the version that it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryNews {
    /// The version that a Worker has from now on.
    pub version: u64,
    /// `None` where it did not change.
    pub table: Option<RegionTable>,
    /// `boards` are all that exist: forget all others first.
    pub is_whole: bool,
    pub boards: Vec<Board>,
    /// Ids of boards that are no more.
    pub gone: Vec<String>,
}

impl Directory {
    /// `main` is added where it is not among the boards.
    pub fn new(table: RegionTable, boards: impl IntoIterator<Item = Board>, version: u64) -> Self {
        let mut directory = Directory {
            table: Rc::new(table),
            version,
            boards: BTreeMap::new(),
        };
        directory.put_all(boards);
        directory
    }

    fn put_all(&mut self, boards: impl IntoIterator<Item = Board>) {
        let with_ids = boards
            .into_iter()
            .map(|board| (board.board_id.clone(), board));
        self.boards.extend(with_ids);
        self.boards
            .entry(MAIN.to_owned())
            .or_insert_with(Board::main);
    }

    /// For a Worker that knows nothing yet; `None` where the news are not of everything.
    pub fn of_news(news: DirectoryNews) -> Option<Self> {
        let table = news.table.filter(|_| news.is_whole)?;
        Some(Directory::new(table, news.boards, news.version))
    }

    /// Takes what changed.
    pub fn take(&mut self, news: DirectoryNews) {
        if news.is_whole {
            self.boards.clear();
        }
        for board_id in &news.gone {
            self.boards.remove(board_id);
        }
        self.put_all(news.boards);
        if let Some(table) = news.table {
            self.table = Rc::new(table);
        }
        self.version = news.version;
    }

    pub fn board(&self, board_id: &str) -> Option<&Board> {
        self.boards.get(board_id)
    }

    /// The board of a [`Board::key`]: none where it was deleted, or made again since.
    pub fn board_of_key(&self, key: &str) -> Option<&Board> {
        let (board_id, incarnation) = parts_of_board_key(key)?;
        self.board(board_id)
            .filter(|board| board.incarnation == incarnation)
    }

    /// In the order of their ids.
    pub fn boards(&self) -> impl ExactSizeIterator<Item = &Board> {
        self.boards.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> RegionTable {
        RegionTable {
            regions: vec![Region::new("NA", "North America", 4)],
            ..RegionTable::default()
        }
    }

    #[test]
    fn an_id_is_of_letters_that_are_plain_everywhere() {
        let longest = "a".repeat(MAX_BOARD_ID_BYTES);
        for good in [
            "main",
            "jazz",
            "a",
            "0",
            "-",
            "_",
            "new-york_2",
            longest.as_str(),
        ] {
            assert_eq!(check_board_id(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(MAX_BOARD_ID_BYTES + 1);
        let bad = [
            "",
            "Jazz",
            "ja zz",
            "jazz.1",
            "a/b",
            "é",
            "a\n",
            "a\0",
            "..",
            "%61",
            too_long.as_str(),
        ];
        for bad in bad {
            assert!(check_board_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_says_which_board_it_is_of_and_nothing_else_is_one() {
        let jazz = Board::new("jazz", 0x0123_4567_89ab_cdef, 5);
        assert_eq!(jazz.key(), "jazz.0123456789abcdef");
        assert_eq!(Board::main().key(), "main");
        assert_eq!(Board::new("a", 1, 5).key(), "a.0000000000000001");
        for board in [jazz, Board::main(), Board::new("-", u64::MAX, 5)] {
            let parts = (board.board_id.as_str(), board.incarnation);
            assert_eq!(parts_of_board_key(&board.key()), Some(parts));
        }
        let bad = [
            "",
            "jazz",
            "jazz.",
            "jazz.1",
            "jazz.0123456789ABCDEF",
            "jazz.+123456789abcdef",
            "jazz.0000000000000000",
            "main.0123456789abcdef",
            "JAZZ.0123456789abcdef",
            "jazz.0123456789abcdef/NA",
            "a.b.0123456789abcdef",
        ];
        for bad in bad {
            assert_eq!(parts_of_board_key(bad), None, "{bad}");
        }
    }

    #[test]
    fn objects_of_two_boards_or_of_one_that_was_made_again_never_share_a_name() {
        let of = |board: &str| {
            let board = board.to_owned();
            [
                ObjectName::shard(&board, "EU", 0),
                ObjectName::shard(&board, "EU/1", 0),
                ObjectName::shard(&board, "EU", 1),
                ObjectName::global(&board),
            ]
        };
        let boards = ["main", "jazz.0123456789abcdef", "jazz.0123456789abcdee"];
        let names: Vec<ObjectName> = boards.into_iter().flat_map(of).collect();
        let mut named: Vec<_> = names.iter().map(ObjectName::as_named).collect();
        for name in &names[..3] {
            assert_eq!(ObjectName::of_name("shard", &name.as_named()), *name);
        }
        assert_eq!(ObjectName::of_name("global", "main"), names[3]);
        // What the platform does not tell is nobody's, least of all main's.
        for kind in ["shard", "global", "registry"] {
            for name in [
                "",
                "NA",
                "EU/0",
                "/",
                "main/EU/x",
                "main/EU/01",
                "Jazz.1",
                "jazz/EU/0",
            ] {
                assert_eq!(
                    ObjectName::of_name(kind, name),
                    ObjectName::Unnamed,
                    "{name}"
                );
            }
        }
        assert_eq!(named[0], "main/EU/0");
        assert_eq!(named[7], "jazz.0123456789abcdef");
        named.sort();
        named.dedup();
        assert_eq!(named.len(), names.len());
    }

    #[test]
    fn shards_are_a_boards_own_and_mains_are_those_of_the_region() {
        let mut jazz = Board::new("jazz", 7, 5);
        let eu = Region::new("EU", "Europe", 2);
        let again = Region {
            incarnation: 1,
            ..eu.clone()
        };
        jazz.reshard("EU", 3);
        jazz.reshard("EU", 2);
        let of = |shards, most_shards| BoardShards {
            shards,
            most_shards,
        };
        jazz.reshard("NA", 1);
        let directory = Directory::new(table(), [jazz.clone()], 1);
        let jazz = directory.board("jazz").unwrap();
        assert_eq!(jazz.shards_in(&eu), of(2, 3));
        assert_eq!(jazz.shards_in(&again), of(1, 1), "its shards are new");
        let na = &directory.table.regions[0];
        assert_eq!(jazz.shards_in(na), of(1, 1));
        assert_eq!(jazz.shards.len(), 1, "what is as usual takes no room");
        let main = directory.board(MAIN).unwrap();
        assert_eq!(main.shards_in(na), of(4, 4));
    }

    #[test]
    fn a_directory_that_takes_the_changes_is_the_one_that_is_told_whole() {
        let (jazz, rock) = (Board::new("jazz", 7, 5), Board::new("rock", 8, 6));
        let mut directory = Directory::new(table(), [jazz.clone(), rock.clone()], 1);
        let again = Board::new("jazz", 9, 7);
        let mut changed = table();
        changed.regions[0].reshard(8);
        let news = DirectoryNews {
            version: 2,
            table: Some(changed.clone()),
            is_whole: false,
            boards: vec![again.clone()],
            gone: vec!["rock".into()],
        };
        directory.take(news.clone());
        let whole = Directory::new(changed, [again.clone()], 2);
        assert_eq!(directory, whole);
        assert_eq!(
            directory.board_of_key(&jazz.key()),
            None,
            "it was made again"
        );
        assert_eq!(directory.board_of_key(&again.key()), Some(&again));
        assert_eq!(directory.board_of_key(&rock.key()), None);
        assert_eq!(directory.board_of_key(MAIN), Some(&Board::main()));
        assert_eq!(
            Directory::of_news(news.clone()),
            None,
            "there is more than that"
        );
        let all = DirectoryNews {
            is_whole: true,
            ..news
        };
        directory.take(all.clone());
        assert_eq!(Directory::of_news(all), Some(whole));
        let ids: Vec<&str> = directory.boards().map(|it| it.board_id.as_str()).collect();
        assert_eq!(ids, ["jazz", MAIN]);
    }
}
