//! The name of a batch: other plays under it are refused, whatever happened in between.

use hitparade::board::MAIN;
use hitparade::codec::{self, Record};
use hitparade::region::{Admission, Limits, Shard};
use hitparade::storage::{MemoryStorage, Storage, Table, Write};
use hitparade::topology::{Epoch, ShardId};
use hitparade::window::DAY_MS;
use hitparade::wire::ShardMetrics;
use hitparade::wire::*;
use serde::Serialize;

const NOW_MS: u64 = 20_000 * DAY_MS;
const KEY: &[u8] = b"access.log batch-aa";
/// Hashes of the plays of two days.
const DAY_1: u32 = 1;
const DAY_2: u32 = 2;
const COUNTED: RecordReply = RecordReply::Counted {
    repeated: false,
    too_many: Vec::new(),
};
const REPEATED: RecordReply = RecordReply::Counted {
    repeated: true,
    too_many: Vec::new(),
};

struct Node {
    storage: MemoryStorage,
    shard: Shard,
}

impl Node {
    fn new() -> Self {
        Self::of(MemoryStorage::new())
    }

    fn of(storage: MemoryStorage) -> Self {
        Self::loaded_at(storage, NOW_MS)
    }

    fn loaded_at(storage: MemoryStorage, now_ms: u64) -> Self {
        let mut shard = Shard::load(&storage, [3; 32], now_ms).unwrap();
        shard.synced(shard.sync_point());
        Node { storage, shard }
    }

    fn restarted(self) -> Self {
        Self::of(self.storage)
    }

    fn begin_anew(&mut self, now_ms: u64) {
        let epoch = Epoch {
            began_ms: now_ms,
            seed: [8; 16],
        };
        let follows = self.shard.follow(&self.storage, epoch, [9; 16]);
        follows.unwrap();
    }

    fn admit(&mut self, message: &(impl Record + Serialize)) -> Admission {
        self.admit_at(message, NOW_MS)
    }

    fn admit_at(&mut self, message: &(impl Record + Serialize), now_ms: u64) -> Admission {
        let request = RecordRequest {
            board: MAIN,
            region_id: "NA",
            shard: 0,
            epoch_ms: 0,
            seed: [7; 16],
            listed: None,
            batch: &codec::encode(message),
        };
        self.shard.admit(&request, now_ms)
    }

    fn commit(&mut self) {
        assert!(self.shard.commit(&self.storage, NOW_MS).unwrap());
        self.shard.committed(NOW_MS).unwrap();
    }

    /// Admits and commits.
    fn tell(&mut self, message: &(impl Record + Serialize)) -> RecordReply {
        self.tell_at(message, NOW_MS)
    }

    fn tell_at(&mut self, message: &(impl Record + Serialize), now_ms: u64) -> RecordReply {
        match self.admit_at(message, now_ms) {
            Admission::Answer(reply) => reply,
            Admission::Wait { reply, .. } => {
                self.commit();
                reply
            }
        }
    }

    fn plays(&self) -> u64 {
        self.shard.tell(ShardMetrics::default(), 0).committed.plays
    }
}

/// A batch of two plays, or of what votes left of it.
fn batch(plays_hash: u32, left: usize) -> Batch<'static> {
    let play = BatchPlay {
        post_id: "post",
        timestamp_ms: NOW_MS,
        count: 1,
    };
    Batch {
        key: Some(KEY),
        plays_hash,
        sent_ms: NOW_MS,
        plays: vec![play; left],
    }
}

fn target(shard: u32) -> ShardId {
    ShardId {
        key: "EU".into(),
        shard,
    }
}

fn claim(plays_hash: u32, shard: u32) -> Claim<'static> {
    Claim {
        key: KEY,
        plays_hash,
        sent_ms: NOW_MS,
        to: target(shard),
    }
}

fn check(plays_hash: u32) -> NameCheck<'static> {
    NameCheck {
        key: KEY,
        plays_hash,
    }
}

fn assert_taken(node: &mut Node, when: &str) {
    assert_eq!(
        node.tell(&batch(DAY_2, 2)),
        RecordReply::KeyReused,
        "{when}"
    );
    assert_eq!(
        node.tell(&claim(DAY_2, 1)),
        RecordReply::KeyReused,
        "{when}"
    );
    assert_eq!(node.tell(&check(DAY_2)), RecordReply::KeyReused, "{when}");
    assert_eq!(node.tell(&batch(DAY_1, 2)), REPEATED, "{when}");
    assert_eq!(node.tell(&claim(DAY_1, 1)), REPEATED, "{when}");
    assert_eq!(node.tell(&check(DAY_1)), RecordReply::NameFree, "{when}");
}

#[test]
fn other_plays_under_the_name_of_a_batch_are_refused_also_after_restarts() {
    let mut node = Node::new();
    assert_eq!(node.tell(&check(DAY_1)), RecordReply::NameFree);
    assert_eq!(node.tell(&batch(DAY_1, 2)), COUNTED);
    assert_taken(&mut node, "at once");
    assert_eq!(node.plays(), 2);
    let mut node = node.restarted();
    assert_taken(&mut node, "from the journal");
    node.shard.checkpoint(&node.storage, NOW_MS).unwrap();
    let mut node = node.restarted();
    assert_taken(&mut node, "from the rows");
    assert_eq!(node.plays(), 0, "nothing more was counted");
}

#[test]
fn other_plays_are_refused_while_the_first_wait_for_their_commit() {
    let mut node = Node::new();
    assert!(matches!(
        node.admit(&batch(DAY_1, 2)),
        Admission::Wait { .. }
    ));
    let reused = Admission::Answer(RecordReply::KeyReused);
    assert_eq!(node.admit(&batch(DAY_2, 2)), reused);
    assert_eq!(node.admit(&check(DAY_2)), reused);
    node.commit();
    assert_taken(&mut node, "after the commit");
}

#[test]
fn what_votes_leave_of_a_batch_is_the_same_batch() {
    let mut node = Node::new();
    assert_eq!(node.tell(&batch(DAY_1, 1)), COUNTED);
    assert_eq!(node.tell(&batch(DAY_1, 2)), REPEATED);
}

/// What the decider of a batch says that was first claimed for shard 1.
fn assert_moved(decider: &mut Node, when: &str) {
    let moved = RecordReply::Moved { to: target(1) };
    assert_eq!(decider.tell(&claim(DAY_1, 1)), moved, "{when}");
    assert_eq!(
        decider.tell(&claim(DAY_1, 2)),
        moved,
        "the first says where, {when}"
    );
    assert_eq!(decider.tell(&batch(DAY_1, 2)), moved, "{when}");
    assert_eq!(decider.tell(&check(DAY_1)), RecordReply::NameFree, "{when}");
    for reused in [
        decider.tell(&claim(DAY_2, 1)),
        decider.tell(&batch(DAY_2, 2)),
        decider.tell(&check(DAY_2)),
    ] {
        assert_eq!(reused, RecordReply::KeyReused, "{when}");
    }
    assert_eq!(decider.plays(), 0, "{when}");
}

#[test]
fn a_batch_that_was_claimed_is_for_the_shard_of_the_first_claim_also_after_restarts() {
    let mut decider = Node::new();
    assert_moved(&mut decider, "at once");
    let claims = |node: &Node| node.shard.tell(ShardMetrics::default(), 0).committed.claims;
    assert_eq!(claims(&decider), 1, "the one that decided");
    let mut decider = decider.restarted();
    assert_eq!(claims(&decider), 0, "since the start");
    assert_moved(&mut decider, "from the journal");
    decider.shard.checkpoint(&decider.storage, NOW_MS).unwrap();
    let mut decider = decider.restarted();
    assert_moved(&mut decider, "from the rows");
    let mut target = Node::new();
    assert_eq!(target.tell(&batch(DAY_1, 2)), COUNTED);
    assert_taken(&mut target, "at the target");
}

#[test]
fn whoever_asks_waits_for_the_commit_that_decides() {
    let mut decider = Node::new();
    let Admission::Wait { ticket, reply } = decider.admit(&claim(DAY_1, 1)) else {
        panic!("it is not durable yet")
    };
    let waits = Admission::Wait { ticket, reply };
    assert_eq!(decider.admit(&claim(DAY_1, 2)), waits);
    assert_eq!(decider.admit(&batch(DAY_1, 2)), waits);
    decider.commit();
    assert_moved(&mut decider, "after the commit");

    let mut decider = Node::new();
    assert!(matches!(
        decider.admit(&batch(DAY_1, 2)),
        Admission::Wait { .. }
    ));
    let Admission::Wait { reply, .. } = decider.admit(&claim(DAY_1, 1)) else {
        panic!("it is not durable yet")
    };
    assert_eq!(reply, REPEATED);
}

#[test]
fn nobody_moves_a_batch_to_the_shard_that_decides_about_it() {
    let own = Claim {
        to: ShardId {
            key: "NA".into(),
            shard: 0,
        },
        ..claim(DAY_1, 0)
    };
    let mut decider = Node::new();
    assert_eq!(decider.tell(&own), RecordReply::Invalid);
    assert_eq!(decider.tell(&batch(DAY_1, 2)), COUNTED);
}

#[test]
fn what_was_sent_before_what_cannot_be_read_was_stored_is_counted_and_claimed_no_more() {
    for begins_anew in [false, true] {
        let mut decider = Node::new();
        assert_moved(&mut decider, "at once");
        if begins_anew {
            decider.begin_anew(NOW_MS);
        } else {
            let (storage, shard) = (&decider.storage, &mut decider.shard);
            shard.checkpoint(storage, NOW_MS).unwrap();
        }
        damage(&decider.storage, Table::Seen);
        assert_refused(&mut decider.restarted());
    }
}

/// No row of the table can be read any more.
fn damage(storage: &MemoryStorage, table: Table) {
    for (key, _) in storage.scan(table, &[], &[], 10).unwrap() {
        let damage = Write::put(table, key, b"damaged".to_vec());
        storage.write(&[damage]).unwrap();
    }
}

fn assert_refused(decider: &mut Node) {
    assert_eq!(decider.tell(&claim(DAY_1, 2)), RecordReply::TooOld);
    assert_eq!(decider.tell(&batch(DAY_1, 2)), RecordReply::TooOld);
}

#[test]
fn what_was_sent_before_the_journal_was_damaged_is_counted_and_claimed_no_more() {
    let mut decider = Node::new();
    assert_moved(&mut decider, "at once");
    damage(&decider.storage, Table::Journal);
    assert_refused(&mut Node::of(decider.storage));
}

#[test]
fn a_damaged_journal_row_refuses_once_and_hides_no_later_damage() {
    let later_ms = NOW_MS + 60_000;
    let late = |node: &mut Node, key| {
        let batch = Batch {
            key: Some(key),
            sent_ms: later_ms,
            ..batch(DAY_1, 2)
        };
        node.tell_at(&batch, later_ms)
    };
    let mut node = Node::new();
    assert_moved(&mut node, "at once");
    damage(&node.storage, Table::Journal);
    // Nothing was taken in between: that it refuses was stored nevertheless.
    let node = node.restarted();
    let mut node = Node::loaded_at(node.storage, later_ms);
    assert_refused(&mut node);
    assert_eq!(late(&mut node, b"late"), COUNTED);
    // A new epoch forgets the row, and the next one that is damaged is not taken for it.
    node.begin_anew(later_ms);
    assert_eq!(late(&mut node, b"later"), COUNTED);
    damage(&node.storage, Table::Journal);
    let mut node = Node::loaded_at(node.storage, later_ms);
    assert_eq!(late(&mut node, b"later"), RecordReply::TooOld);
}

#[test]
fn a_shard_whose_outbox_is_full_still_takes_claims() {
    let limits = Limits {
        outbox_bytes: 0,
        ..Limits::default()
    };
    let storage = MemoryStorage::new();
    let mut shard = Shard::load_within(&storage, [3; 32], NOW_MS, limits).unwrap();
    shard.synced(shard.sync_point());
    let mut node = Node { storage, shard };
    let first = Batch {
        key: Some(b"first"),
        ..batch(DAY_1, 2)
    };
    assert_eq!(node.tell(&first), COUNTED);
    let sealed_ms = NOW_MS + DAY_MS;
    node.shard.checkpoint(&node.storage, sealed_ms).unwrap();
    let busy = node.tell(&batch(DAY_1, 2));
    assert!(matches!(busy, RecordReply::Busy { .. }), "{busy:?}");
    let moved = RecordReply::Moved { to: target(1) };
    assert_eq!(node.tell(&claim(DAY_1, 1)), moved);
}
