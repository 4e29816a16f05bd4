//! Where a batch goes that was claimed, whose home is older than the number of shards, or that is for several
//! boards: by Workers whose directories are old, to real shards.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use futures_util::FutureExt;
use hitparade::board::{Board, Directory, MAIN};
use hitparade::codec;
use hitparade::home::{Home, hash_of, shard_of};
use hitparade::play::{BoardIds, Play};
use hitparade::region::{Admission, LISTED_FOR_MS, Shard};
use hitparade::routing::{
    self, MAX_PARTS, MessageKind, Name, Network, NotCounted, Rejection, Verdict,
};
use hitparade::storage::MemoryStorage;
use hitparade::topology::{Region, RegionTable, ShardId};
use hitparade::window::DAY_MS;
use hitparade::wire::ShardMetrics;
use hitparade::wire::{BlindRequest, RecordReply, RecordRequest};

const NOW_MS: u64 = 20_000 * DAY_MS;
const CLIENT: &str = "k3J9";
/// The epoch that a batch names which was sent without a directory.
const BLIND: u64 = u64::MAX;

/// A shard: the key of its board, and which it is.
type Address = (String, ShardId);

/// A shard does not answer.
#[derive(Debug)]
struct Away;

#[derive(Default)]
struct World {
    shards: RefCell<BTreeMap<Address, (MemoryStorage, Shard)>>,
    /// What was sent: to whom, what for, and the epoch that it names.
    sent: RefCell<Vec<(Address, MessageKind, u64)>>,
    /// What the registry says, where it is reached.
    newest: RefCell<Option<Rc<Directory>>>,
    /// How often it was asked.
    asked: RefCell<u32>,
    /// Keys of boards whose shards do not answer, and of those that were deleted.
    away: RefCell<BTreeSet<String>>,
    /// How long after the first batch it is.
    later_ms: Cell<u64>,
    gone: RefCell<BTreeSet<String>>,
}

impl Network for World {
    type Error = Away;

    async fn send(
        &self,
        board_key: &str,
        to: &ShardId,
        _hint: Option<&str>,
        kind: MessageKind,
        request: &[u8],
    ) -> Result<RecordReply, Away> {
        let blind = codec::decode::<BlindRequest<'_>>(request).ok();
        let request = codec::decode::<RecordRequest<'_>>(request).ok();
        let epoch_ms = request.as_ref().map_or(BLIND, |request| request.epoch_ms);
        assert!(request.as_ref().is_none_or(|it| it.board == board_key));
        let address = (board_key.to_owned(), to.clone());
        let sent = (address.clone(), kind, epoch_ms);
        self.sent.borrow_mut().push(sent);
        if self.away.borrow().contains(board_key) {
            return Err(Away);
        }
        if self.gone.borrow().contains(board_key) && kind != MessageKind::CheckName {
            return Ok(RecordReply::Gone);
        }
        let mut shards = self.shards.borrow_mut();
        let (storage, shard) = shards.entry(address).or_insert_with(|| {
            let storage = MemoryStorage::new();
            let mut shard = Shard::load(&storage, [3; 32], NOW_MS).unwrap();
            shard.synced(shard.sync_point());
            (storage, shard)
        });
        let now_ms = NOW_MS + self.later_ms.get();
        let seen = || shard.seen(blind.as_ref()?, now_ms);
        let Some(request) = request.or_else(seen) else {
            return Ok(RecordReply::Unlisted);
        };
        Ok(match shard.admit(&request, now_ms) {
            Admission::Answer(reply) => reply,
            Admission::Wait { reply, .. } => {
                assert!(shard.commit(storage, now_ms).unwrap());
                shard.committed(now_ms).unwrap();
                reply
            }
        })
    }

    async fn newer_directory(&self) -> Option<Rc<Directory>> {
        *self.asked.borrow_mut() += 1;
        self.newest.borrow().clone()
    }

    fn here(&self, table: &RegionTable) -> Option<String> {
        table.regions.first().map(|region| region.region_id.clone())
    }
}

/// What a sender sends.
struct Sent {
    has_key: bool,
    is_trusted: bool,
    home: Option<&'static str>,
    says_sent: bool,
    sent_ms: u64,
    boards: &'static [&'static str],
    plays: Vec<Play<'static>>,
}

impl Sent {
    fn batch<'a>(&self, name: Option<&'a Name>, home: Option<&'a Home>) -> routing::SentBatch<'a> {
        routing::SentBatch {
            name,
            is_trusted: self.is_trusted,
            home,
            sent_ms: self.sent_ms,
            says_sent: self.says_sent,
            plays_hash: 1,
            boards: names(self.boards),
            plays: self.plays.iter().cloned().map(Ok).collect(),
        }
    }
}

impl Default for Sent {
    fn default() -> Self {
        Sent {
            has_key: true,
            is_trusted: false,
            home: None,
            says_sent: true,
            sent_ms: NOW_MS,
            boards: &[],
            plays: vec![play("post", None, &[])],
        }
    }
}

fn names(boards: &[&str]) -> Option<BoardIds> {
    let names = boards.iter().map(|&name| name.to_owned());
    (!boards.is_empty()).then(|| names.collect())
}

fn play(post_id: &'static str, region: Option<&'static str>, boards: &[&str]) -> Play<'static> {
    Play {
        post_id: post_id.into(),
        region_id: region.map(Into::into),
        boards: names(boards),
        timestamp_ms: NOW_MS,
        count: 1,
    }
}

impl World {
    /// An attempt at a batch of a sender in the first region of the Worker's directory.
    fn attempt(&self, directory: &Rc<Directory>, sent: &Sent) -> Result<Verdict, NotCounted<Away>> {
        self.sent.borrow_mut().clear();
        let name = Name::ClientSeq(CLIENT.into(), 1);
        let home = sent.home.map(|home| Home::read(home).unwrap());
        let batch = sent.batch(sent.has_key.then_some(&name), home.as_ref());
        let outcome = routing::count(self, Rc::clone(directory), batch);
        outcome.now_or_never().unwrap()
    }

    /// An attempt of a Worker without a directory, at a sender in a region of `REGIONS`.
    fn blind(&self, here: &str, sent: &Sent) -> Option<Result<Verdict, NotCounted<Away>>> {
        self.sent.borrow_mut().clear();
        let name = Name::ClientSeq(CLIENT.into(), 1);
        let home = sent.home.map(|home| Home::read(home).unwrap());
        let batch = sent.batch(sent.has_key.then_some(&name), home.as_ref());
        let outcome = routing::count_blind(self, (here, None), &batch);
        outcome.now_or_never().unwrap()
    }

    fn sent(&self) -> Vec<(Address, MessageKind, u64)> {
        self.sent.borrow().clone()
    }

    /// To whom messages of a kind went, without their order.
    fn met(&self, kind: MessageKind) -> BTreeSet<Address> {
        let sent = self.sent();
        let of_kind = sent.into_iter().filter(|(_, it, _)| *it == kind);
        of_kind.map(|(address, ..)| address).collect()
    }

    /// How many plays each board counted, by its key.
    fn plays(&self) -> BTreeMap<String, u64> {
        let mut plays = BTreeMap::new();
        for ((board, _), (_, shard)) in self.shards.borrow().iter() {
            *plays.entry(board.clone()).or_default() +=
                shard.tell(ShardMetrics::default(), 0).committed.plays;
        }
        plays.retain(|_, plays| *plays > 0);
        plays
    }
}

fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter()
        .map(|&(key, plays)| (key.to_owned(), plays))
        .collect()
}

fn directory(epoch_ms: u64, regions: &[Region], boards: &[Board]) -> Rc<Directory> {
    let table = RegionTable {
        number: 1,
        installation_id: [1; 16],
        epoch_ms,
        seed: [7; 16],
        origin: "NA".into(),
        regions: regions.to_vec(),
        deleted: Vec::new(),
    };
    Rc::new(Directory::new(table, boards.to_vec(), 1))
}

/// Of `main` alone.
fn table(epoch_ms: u64, regions: &[Region]) -> Rc<Directory> {
    directory(epoch_ms, regions, &[])
}

fn region(region_id: &str, shards: u32) -> Region {
    Region::new(region_id, region_id, shards)
}

/// It had four shards, and has two.
fn shrunk() -> Region {
    let mut region = region("NA", 4);
    region.reshard(2);
    region
}

fn place_on(board: &Board, key: &str, shard: u32) -> Address {
    let key = key.into();
    (board.key().into_owned(), ShardId { key, shard })
}

fn place(key: &str, shard: u32) -> Address {
    place_on(&Board::main(), key, shard)
}

fn jazz() -> Board {
    Board::new("jazz", 7, NOW_MS - DAY_MS)
}

fn rock() -> Board {
    Board::new("rock", 8, NOW_MS - DAY_MS)
}

/// What was rejected: of which play, on which board, and why.
fn rejections(rejected: &[Rejection]) -> Vec<(usize, Option<&str>, &str)> {
    rejected
        .iter()
        .map(|it| (it.index, it.board.as_deref(), it.refused.code))
        .collect()
}

#[test]
fn nothing_is_sent_to_a_shard_with_a_table_that_is_older_than_the_shard() {
    let decider = place("NA", 0);
    let at_home = Sent {
        home: Some("NA/1"),
        ..Sent::default()
    };
    let beyond = shard_of(hash_of(CLIENT.as_bytes()), 50);
    assert!(beyond > 0);
    for (newer, target) in [
        // A region that was made after counting began anew, and one that has more shards since.
        (
            vec![region("AS", 1), region("NA", 1), region("EU", 1)],
            place("AS", 0),
        ),
        (
            vec![
                Region {
                    shards: 50,
                    most_shards: 50,
                    ..region("EU", 1)
                },
                region("NA", 1),
            ],
            place("EU", beyond),
        ),
    ] {
        let old = table(0, &[region("EU", 1), region("NA", 1)]);
        let newer = table(NOW_MS - 1, &newer);
        let world = World::default();
        // Its answer was lost; where it was claimed is what the decider remembers.
        assert!(!world.attempt(&newer, &at_home).unwrap().repeated);
        assert_eq!(world.sent().last().unwrap().0, target);

        let away = world.attempt(&old, &at_home);
        assert!(matches!(away, Err(NotCounted::UnknownHome)), "{away:?}");
        *world.newest.borrow_mut() = Some(Rc::clone(&old));
        let as_old = world.attempt(&old, &at_home);
        assert!(matches!(as_old, Err(NotCounted::UnknownHome)), "{as_old:?}");
        assert_eq!(world.sent(), [(decider.clone(), MessageKind::Claim, 0)]);

        *world.newest.borrow_mut() = Some(newer);
        assert!(world.attempt(&old, &at_home).unwrap().repeated);
        let went = [
            (decider.clone(), MessageKind::Claim, 0),
            (target, MessageKind::Count, NOW_MS - 1),
        ];
        assert_eq!(world.sent(), went);
        assert_eq!(world.plays(), counts(&[(MAIN, 1)]));
    }
}

#[test]
fn an_old_home_of_more_shards_reaches_no_more_that_count() {
    let mut na = region("NA", 50);
    na.reshard(1);
    let table = table(0, &[na]);
    let decider = place("NA", shard_of(hash_of(CLIENT.as_bytes()), 50));
    assert_ne!(decider.1.shard, 0);
    let world = World::default();
    let of_fifty = Sent {
        home: Some("NA/50"),
        ..Sent::default()
    };
    world.attempt(&table, &of_fifty).unwrap();
    let went = [
        (decider.clone(), MessageKind::Claim, 0),
        (place("NA", 0), MessageKind::Count, 0),
    ];
    assert_eq!(world.sent(), went);
    assert_eq!(world.plays(), counts(&[(MAIN, 1)]));
    // What does not say when it was first sent may come again when its claim is forgotten.
    let world = World::default();
    let says_nothing = Sent {
        says_sent: false,
        ..of_fifty
    };
    world.attempt(&table, &says_nothing).unwrap();
    assert_eq!(world.sent(), [(decider, MessageKind::Count, 0)]);
}

#[test]
fn a_play_for_several_boards_counts_on_each_once_whatever_fails_where() {
    let (jazz, rock) = (jazz(), rock());
    let directory = directory(0, &[region("NA", 1)], &[jazz.clone(), rock.clone()]);
    let world = World::default();
    let sent = Sent {
        home: Some("NA/1"),
        boards: &["jazz", "rock"],
        plays: vec![play("a", None, &[]), play("b", None, &[MAIN])],
        ..Sent::default()
    };
    let all = counts(&[(&jazz.key(), 1), (MAIN, 1), (&rock.key(), 1)]);
    for away in [&rock, &jazz] {
        let key = away.key().into_owned();
        world.away.borrow_mut().insert(key.clone());
        let outcome = world.attempt(&directory, &sent);
        assert!(matches!(outcome, Err(NotCounted::Unanswered(Away))));
        world.away.borrow_mut().remove(&key);
        assert!(world.plays().contains_key(MAIN), "the others count");
    }
    let verdict = world.attempt(&directory, &sent).unwrap();
    assert!(verdict.repeated, "all of it was counted, a part each time");
    assert_eq!((verdict.accepted, verdict.rejected), (2, Vec::new()));
    assert_eq!(world.plays(), all);
    let places = [&jazz, &Board::main(), &rock].map(|board| place_on(board, "NA", 0));
    assert_eq!(world.met(MessageKind::Count), places.into());
    assert_eq!(world.sent().len(), 3, "a message for each board");
}

#[test]
fn a_repeat_says_so_only_when_each_board_had_counted_it() {
    let jazz = jazz();
    let directory = directory(0, &[region("NA", 1)], std::slice::from_ref(&jazz));
    let world = World::default();
    let sent = Sent {
        home: Some("NA/1"),
        boards: &["jazz", MAIN],
        ..Sent::default()
    };
    world.away.borrow_mut().insert(jazz.key().into_owned());
    assert!(world.attempt(&directory, &sent).is_err());
    world.away.borrow_mut().clear();
    assert!(!world.attempt(&directory, &sent).unwrap().repeated);
    assert!(world.attempt(&directory, &sent).unwrap().repeated);
    assert_eq!(world.plays(), counts(&[(&jazz.key(), 1), (MAIN, 1)]));
}

#[test]
fn unknown_boards_and_those_that_are_closed_to_browsers_are_rejected_alike_and_lose_no_other() {
    let closed = Board {
        beacons: false,
        ..rock()
    };
    let directory = directory(0, &[region("NA", 1)], &[closed.clone(), jazz()]);
    let boards: &[&str] = &["__proto__", "jazz", "rock", "Rock", "deleted"];
    for is_trusted in [false, true] {
        let world = World::default();
        let sent = Sent {
            is_trusted,
            boards,
            ..Sent::default()
        };
        let verdict = world.attempt(&directory, &sent).unwrap();
        let mut unknown = vec!["Rock", "__proto__", "deleted"];
        if !is_trusted {
            unknown.push("rock");
        }
        let unknown: Vec<_> = unknown
            .into_iter()
            .map(|board| (0, Some(board), "unknown_board"))
            .collect();
        assert_eq!(rejections(&verdict.rejected), unknown);
        let details: BTreeSet<_> = verdict
            .rejected
            .iter()
            .map(|it| &it.refused.detail)
            .collect();
        assert_eq!(details.len(), 1, "nobody learns which it is");
        assert_eq!(verdict.accepted, 1);
        assert_eq!(*world.asked.borrow(), 1, "once for all of them");
        assert_eq!(world.plays().contains_key(&*closed.key()), is_trusted);
    }
    let world = World::default();
    let sent = Sent {
        boards: &["__proto__", "ROCK"],
        ..Sent::default()
    };
    let outcome = world.attempt(&directory, &sent);
    assert!(matches!(outcome, Err(NotCounted::NoGoodPlay(rejected)) if rejected.len() == 2));
    assert!(world.sent().is_empty(), "no object is touched for a name");
}

#[test]
fn names_that_no_board_can_have_are_looked_up_nowhere() {
    let directory = directory(0, &[region("NA", 1)], &[]);
    let world = World::default();
    let sent = Sent {
        boards: &["ROCK", "", "a/b", MAIN],
        ..Sent::default()
    };
    assert_eq!(world.attempt(&directory, &sent).unwrap().accepted, 1);
    assert_eq!(*world.asked.borrow(), 0);
}

#[test]
fn a_board_that_was_made_since_the_directory_was_fetched_is_found() {
    let old = directory(0, &[region("NA", 1)], &[]);
    let world = World::default();
    let newest = directory(0, &[region("NA", 1)], &[jazz()]);
    *world.newest.borrow_mut() = Some(newest);
    let sent = Sent {
        boards: &["jazz"],
        ..Sent::default()
    };
    assert_eq!(world.attempt(&old, &sent).unwrap().accepted, 1);
    assert_eq!(world.plays(), counts(&[(&jazz().key(), 1)]));
}

#[test]
fn a_part_whose_board_is_gone_is_rejected_and_the_others_count() {
    let (jazz, rock) = (jazz(), rock());
    let old = directory(0, &[region("NA", 1)], &[jazz.clone(), rock.clone()]);
    for is_trusted in [false, true] {
        for home in [None, Some("NA/1"), Some("NA/2")] {
            let world = World::default();
            world.gone.borrow_mut().insert(jazz.key().into_owned());
            let regions = [Region {
                most_shards: 2,
                ..region("NA", 1)
            }];
            let newest = directory(0, &regions, std::slice::from_ref(&rock));
            *world.newest.borrow_mut() = Some(newest);
            let sent = Sent {
                is_trusted,
                home,
                boards: &["jazz", "rock"],
                plays: vec![play("a", None, &[]), play("b", None, &["jazz"])],
                ..Sent::default()
            };
            let verdict = world.attempt(&old, &sent).unwrap();
            let gone = (Some("jazz"), "unknown_board");
            let gone = [(0, gone.0, gone.1), (1, gone.0, gone.1)];
            assert_eq!(rejections(&verdict.rejected), gone);
            assert_eq!(verdict.accepted, 1);
            assert_eq!(world.plays(), counts(&[(&rock.key(), 1)]));
            assert!(*world.asked.borrow() > 0, "the next batch finds it gone");
        }
    }
}

#[test]
fn what_was_first_sent_before_a_board_was_made_is_not_counted_there() {
    let directory = directory(0, &[region("NA", 1)], &[Board::new("jazz", 7, NOW_MS)]);
    for (ago_ms, accepted) in [(180_000, 1), (180_001, 0)] {
        let world = World::default();
        let sent = Sent {
            boards: &["jazz", MAIN],
            sent_ms: NOW_MS - ago_ms,
            ..Sent::default()
        };
        let verdict = world.attempt(&directory, &sent).unwrap();
        assert_eq!(verdict.rejected.len(), 1 - accepted);
        assert_eq!(world.plays().len(), 1 + accepted);
    }
}

#[test]
fn each_board_has_its_own_decider_by_what_the_home_says_of_it() {
    let mut jazz = jazz();
    jazz.reshard("NA", 50);
    let mut rock = rock();
    rock.reshard("NA", 50);
    let directory = directory(0, &[region("NA", 1)], &[jazz.clone(), rock.clone()]);
    let of_fifty = shard_of(hash_of(CLIENT.as_bytes()), 50);
    assert!(of_fifty > 0);
    let world = World::default();
    // Another jazz had nine of them, and of rock nothing is said.
    let sent = Sent {
        home: Some("NA/1 jazz.0000000000000006=9 jazz.0000000000000007=50"),
        boards: &["jazz", MAIN, "rock"],
        ..Sent::default()
    };
    world.attempt(&directory, &sent).unwrap();
    // Each is one of today's shards, and counts itself.
    let counting = [
        place_on(&jazz, "NA", of_fifty),
        place("NA", 0),
        place_on(&rock, "NA", 0),
    ];
    assert_eq!(world.met(MessageKind::Count), counting.into());
    assert!(world.met(MessageKind::Claim).is_empty());
}

#[test]
fn a_home_of_more_shards_than_a_board_had_is_unknown_for_that_board_alone() {
    let (jazz, rock) = (jazz(), rock());
    let directory = directory(0, &[region("NA", 1)], &[jazz.clone(), rock]);
    let world = World::default();
    let home = Some("NA/1 jazz.0000000000000007=2");
    let sent = |boards| Sent {
        home,
        boards,
        ..Sent::default()
    };
    let outcome = world.attempt(&directory, &sent(&["jazz", MAIN]));
    assert!(matches!(outcome, Err(NotCounted::UnknownHome)));
    assert!(world.sent().is_empty(), "nothing of it is counted");
    assert_eq!(
        world
            .attempt(&directory, &sent(&[MAIN, "rock"]))
            .unwrap()
            .accepted,
        1
    );
    // Where plays name their region, it is one of those that only decide.
    let named = Sent {
        is_trusted: true,
        plays: vec![play("a", Some("NA"), &[])],
        ..sent(&["jazz"])
    };
    assert_eq!(world.attempt(&directory, &named).unwrap().accepted, 1);
}

#[test]
fn the_names_of_a_trusted_sender_are_asked_about_before_anything_counts_in_two_messages_a_part() {
    let jazz = jazz();
    let regions = [region("NA", 4), region("EU", 4)];
    let directory = directory(0, &regions, std::slice::from_ref(&jazz));
    for home in [None, Some("/4"), Some("NA/4")] {
        let world = World::default();
        let sent = Sent {
            is_trusted: true,
            home,
            boards: &["jazz", MAIN],
            plays: vec![play("a", Some("NA"), &[]), play("b", Some("EU"), &[])],
            ..Sent::default()
        };
        let verdict = world.attempt(&directory, &sent).unwrap();
        assert!(!verdict.repeated);
        let sent = world.sent();
        assert!(sent.len() <= 8, "{home:?}: {sent:?}");
        let is_count = |(_, kind, _): &(Address, MessageKind, u64)| *kind == MessageKind::Count;
        let first = sent.iter().position(is_count).unwrap();
        assert!(sent.iter().skip(first).all(is_count), "{home:?}: {sent:?}");
        assert_eq!(world.plays(), counts(&[(&jazz.key(), 2), (MAIN, 2)]));
    }
}

#[test]
fn a_batch_has_at_most_so_many_parts_and_several_need_a_name() {
    let boards: Vec<Board> = (0..MAX_PARTS)
        .map(|number| Board::new(format!("b{number}"), number as u64 + 1, 1))
        .collect();
    let directory = directory(0, &[region("NA", 1), region("EU", 1)], &boards);
    let everywhere = |region| {
        let ids: Vec<&str> = boards.iter().map(|it| it.board_id.as_str()).collect();
        ids.chunks(8)
            .map(|ids| play("a", region, ids))
            .collect::<Vec<_>>()
    };
    let world = World::default();
    let mut sent = Sent {
        is_trusted: true,
        plays: everywhere(None),
        ..Sent::default()
    };
    let verdict = world.attempt(&directory, &sent).unwrap();
    assert_eq!(verdict.accepted, 3);
    assert_eq!(world.plays().len(), MAX_PARTS);
    sent.plays.extend(everywhere(Some("EU")));
    let outcome = world.attempt(&directory, &sent);
    assert!(matches!(outcome, Err(NotCounted::TooManyParts)));
    let unnamed = Sent {
        has_key: false,
        boards: &["b1", "b2"],
        ..Sent::default()
    };
    let outcome = world.attempt(&directory, &unnamed);
    assert!(matches!(outcome, Err(NotCounted::KeyRequired)));
    assert!(world.sent().is_empty());
}

/// At home in a region of one shard, and a page that was opened there.
fn at_home() -> Sent {
    Sent {
        home: Some("NA/1"),
        ..Sent::default()
    }
}

#[test]
fn a_worker_without_a_directory_has_plays_counted_on_the_word_of_one_that_had_one() {
    let world = World::default();
    let first = Sent {
        sent_ms: NOW_MS - 1,
        has_key: false,
        ..at_home()
    };
    assert!(world.blind("NA", &at_home()).is_none(), "the shard is new");
    let known = table(0, &[region("NA", 1)]);
    world.attempt(&known, &first).unwrap();
    let counted = world.blind("NA", &at_home()).unwrap().unwrap();
    assert_eq!((counted.accepted, counted.repeated), (1, false));
    // Whatever Worker sees it next, it is the same batch.
    let again = world.blind("NA", &at_home()).unwrap().unwrap();
    assert!(again.repeated);
    assert!(world.attempt(&known, &at_home()).unwrap().repeated);
    assert_eq!(world.plays(), counts(&[(MAIN, 2)]));
    // As long as it is believed.
    world.later_ms.set(LISTED_FOR_MS - 1);
    let later = Sent {
        sent_ms: NOW_MS + LISTED_FOR_MS - 1,
        ..at_home()
    };
    assert!(world.blind("NA", &later).is_some());
    world.later_ms.set(LISTED_FOR_MS);
    assert!(world.blind("NA", &later).is_none());
    assert_eq!(world.plays(), counts(&[(MAIN, 2)]));
}

#[test]
fn a_batch_whose_way_is_not_plain_goes_by_a_directory_alone() {
    let world = World::default();
    let known = table(0, &[shrunk(), region("EU", 1)]);
    for home in ["NA/1", "NA/4"] {
        let sent = Sent {
            home: Some(home),
            ..Sent::default()
        };
        world.attempt(&known, &sent).unwrap();
    }
    let plain = at_home();
    assert!(world.blind("NA", &plain).is_some());
    assert!(world.blind("EU", &plain).is_none(), "the sender travels");
    let ways = [
        Sent {
            home: None,
            ..at_home()
        },
        Sent {
            home: Some("/1"),
            ..at_home()
        },
        Sent {
            has_key: false,
            ..at_home()
        },
        Sent {
            is_trusted: true,
            ..at_home()
        },
        Sent {
            says_sent: false,
            ..at_home()
        },
        Sent {
            boards: &["jazz"],
            ..at_home()
        },
        Sent {
            plays: vec![play("post", Some("EU"), &[])],
            ..at_home()
        },
        Sent {
            plays: vec![play("post", None, &["jazz"])],
            ..at_home()
        },
    ];
    for sent in &ways {
        assert!(world.blind("NA", sent).is_none());
    }
    // A shard that counts no more, as the votes of an address would be counted at each of them.
    let of_four = Sent {
        home: Some("NA/4"),
        ..at_home()
    };
    let counts = shard_of(hash_of(CLIENT.as_bytes()), 4) < 2;
    assert_eq!(world.blind("NA", &of_four).is_some(), counts);
    let closed = Board {
        beacons: false,
        ..Board::main()
    };
    let trusted = Sent {
        is_trusted: true,
        ..at_home()
    };
    let known = directory(0, &[region("NA", 1)], &[closed]);
    world.attempt(&known, &trusted).unwrap();
    assert!(world.blind("NA", &plain).is_none(), "closed to browsers");
}
