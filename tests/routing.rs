//! Where a batch goes that was claimed, or whose home is older than the number of shards: by Workers whose
//! tables are old, to real shards.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;

use futures_util::FutureExt;
use hitparade::codec;
use hitparade::home::{Home, hash_of, shard_of};
use hitparade::play::Play;
use hitparade::region::{Admission, Shard};
use hitparade::routing::{self, Kind, Name, Network, NotCounted, Verdict};
use hitparade::storage::MemoryStorage;
use hitparade::topology::{Region, RegionTable, ShardId};
use hitparade::window::DAY_MS;
use hitparade::wire::{RecordReply, RecordRequest};

const NOW_MS: u64 = 20_000 * DAY_MS;
const CLIENT: &str = "k3J9";

#[derive(Default)]
struct World {
    shards: RefCell<BTreeMap<ShardId, (MemoryStorage, Shard)>>,
    /// What was sent: to whom, what for, and the epoch that it names.
    sent: RefCell<Vec<(ShardId, Kind, u64)>>,
    /// What the global object says, where it is reached.
    newest: RefCell<Option<Rc<RegionTable>>>,
}

impl Network for World {
    type Error = Infallible;

    async fn send(
        &self,
        to: &ShardId,
        _hint: Option<&str>,
        kind: Kind,
        request: &[u8],
    ) -> Result<RecordReply, Infallible> {
        let request: RecordRequest<'_> = codec::decode(request).unwrap();
        let sent = (to.clone(), kind, request.epoch_ms);
        self.sent.borrow_mut().push(sent);
        let mut shards = self.shards.borrow_mut();
        let (storage, shard) = shards.entry(to.clone()).or_insert_with(|| {
            let storage = MemoryStorage::new();
            let mut shard = Shard::load(&storage, [3; 32], NOW_MS).unwrap();
            shard.synced(shard.sync_point());
            (storage, shard)
        });
        Ok(match shard.admit(&request, NOW_MS) {
            Admission::Answer(reply) => reply,
            Admission::Wait { reply, .. } => {
                assert!(shard.commit(storage, NOW_MS).unwrap());
                shard.committed(NOW_MS).unwrap();
                reply
            }
        })
    }

    async fn newer_table(&self) -> Option<Rc<RegionTable>> {
        self.newest.borrow().clone()
    }

    fn here(&self, table: &RegionTable) -> Option<String> {
        table.regions.first().map(|region| region.region_id.clone())
    }
}

impl World {
    /// An attempt at the batch `seq` of a sender in the first region of the Worker's table.
    fn attempt(
        &self,
        table: &Rc<RegionTable>,
        home: &str,
        says_sent: bool,
    ) -> Result<Verdict, NotCounted<Infallible>> {
        self.sent.borrow_mut().clear();
        let name = Name::ClientSeq(CLIENT.into(), 1);
        let home = Home::read(home).unwrap();
        let play = Play {
            post_id: "post".into(),
            region_id: None,
            timestamp_ms: NOW_MS,
            count: 1,
        };
        let batch = routing::Batch {
            name: Some(&name),
            is_trusted: false,
            home: Some(&home),
            sent_ms: NOW_MS,
            says_sent,
            plays_hash: 1,
            plays: vec![Ok(play)],
        };
        let outcome = routing::count(self, Rc::clone(table), batch);
        outcome.now_or_never().unwrap()
    }

    fn sent(&self) -> Vec<(ShardId, Kind, u64)> {
        self.sent.borrow().clone()
    }

    fn plays(&self) -> u64 {
        let shards = self.shards.borrow();
        let plays = shards
            .values()
            .map(|(_, shard)| shard.health().counted.plays);
        plays.sum()
    }
}

fn table(epoch_ms: u64, regions: &[Region]) -> Rc<RegionTable> {
    Rc::new(RegionTable {
        installation_id: [1; 16],
        epoch_ms,
        seed: [7; 16],
        origin: "NA".into(),
        regions: regions.to_vec(),
        deleted: Vec::new(),
    })
}

fn region(region_id: &str, shards: u32) -> Region {
    Region::new(region_id, region_id, shards)
}

fn place(key: &str, shard: u32) -> ShardId {
    ShardId {
        key: key.into(),
        shard,
    }
}

#[test]
fn nothing_is_sent_to_a_shard_with_a_table_that_is_older_than_the_shard() {
    let decider = place("NA", 0);
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
        assert!(!world.attempt(&newer, "NA/1", true).unwrap().repeated);
        assert_eq!(world.sent().last().unwrap().0, target);

        let away = world.attempt(&old, "NA/1", true);
        assert!(matches!(away, Err(NotCounted::UnknownHome)), "{away:?}");
        *world.newest.borrow_mut() = Some(Rc::clone(&old));
        let as_old = world.attempt(&old, "NA/1", true);
        assert!(matches!(as_old, Err(NotCounted::UnknownHome)), "{as_old:?}");
        assert_eq!(world.sent(), [(decider.clone(), Kind::Claim, 0)]);

        *world.newest.borrow_mut() = Some(newer);
        assert!(world.attempt(&old, "NA/1", true).unwrap().repeated);
        let went = [
            (decider.clone(), Kind::Claim, 0),
            (target, Kind::Count, NOW_MS - 1),
        ];
        assert_eq!(world.sent(), went);
        assert_eq!(world.plays(), 1);
    }
}

#[test]
fn an_old_home_of_more_shards_reaches_no_more_that_count() {
    let mut na = region("NA", 50);
    na.reshard(1);
    let table = table(0, &[na]);
    let decider = place("NA", shard_of(hash_of(CLIENT.as_bytes()), 50));
    assert_ne!(decider.shard, 0);
    let world = World::default();
    world.attempt(&table, "NA/50", true).unwrap();
    let went = [
        (decider.clone(), Kind::Claim, 0),
        (place("NA", 0), Kind::Count, 0),
    ];
    assert_eq!(world.sent(), went);
    assert_eq!(world.plays(), 1);
    // What does not say when it was first sent may come again when its claim is forgotten.
    let world = World::default();
    world.attempt(&table, "NA/50", false).unwrap();
    assert_eq!(world.sent(), [(decider, Kind::Count, 0)]);
}
