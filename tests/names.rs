//! The name of a batch: other plays under it are refused, whatever happened in between.

#![allow(clippy::unwrap_used)]

use hitparade::codec::{self, Record};
use hitparade::region::{Admission, Shard};
use hitparade::storage::MemoryStorage;
use hitparade::window::DAY_MS;
use hitparade::wire::*;
use serde::Serialize;

const NOW_MS: u64 = 20_000 * DAY_MS;
const KEY: &[u8] = b"access.log batch-aa";
/// Hashes of the plays of two days.
const DAY_1: u32 = 1;
const DAY_2: u32 = 2;
const COUNTED: RecordReply = RecordReply::Counted { repeated: false };
const REPEATED: RecordReply = RecordReply::Counted { repeated: true };

struct Place {
    storage: MemoryStorage,
    shard: Shard,
}

impl Place {
    fn new() -> Self {
        Self::of(MemoryStorage::new())
    }

    fn of(storage: MemoryStorage) -> Self {
        let mut shard = Shard::load(&storage, [3; 32], NOW_MS).unwrap();
        shard.synced(shard.sync_point());
        Place { storage, shard }
    }

    fn restarted(self) -> Self {
        Self::of(self.storage)
    }

    fn admit(&mut self, message: &(impl Record + Serialize)) -> Admission {
        let request = RecordRequest {
            region_id: "NA",
            shard: 0,
            epoch_ms: 0,
            seed: [7; 16],
            last_change: None,
            batch: &codec::encode(message),
        };
        self.shard.admit(&request, NOW_MS)
    }

    fn commit(&mut self) {
        assert!(self.shard.commit(&self.storage, NOW_MS).unwrap());
        self.shard.committed(NOW_MS).unwrap();
    }

    /// Admits and commits.
    fn tell(&mut self, message: &(impl Record + Serialize)) -> RecordReply {
        match self.admit(message) {
            Admission::Answer(reply) => reply,
            Admission::Wait { reply, .. } => {
                self.commit();
                reply
            }
        }
    }

    fn plays(&self) -> u64 {
        self.shard.health().counted.plays
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

fn claim(plays_hash: u32) -> Claim<'static> {
    Claim {
        key: KEY,
        plays_hash,
        sent_ms: NOW_MS,
    }
}

fn check(plays_hash: u32) -> NameCheck<'static> {
    NameCheck {
        key: KEY,
        plays_hash,
    }
}

fn assert_taken(place: &mut Place, when: &str) {
    assert_eq!(
        place.tell(&batch(DAY_2, 2)),
        RecordReply::KeyReused,
        "{when}"
    );
    assert_eq!(place.tell(&claim(DAY_2)), RecordReply::KeyReused, "{when}");
    assert_eq!(place.tell(&check(DAY_2)), RecordReply::KeyReused, "{when}");
    assert_eq!(place.tell(&batch(DAY_1, 2)), REPEATED, "{when}");
    assert_eq!(place.tell(&claim(DAY_1)), REPEATED, "{when}");
    assert_eq!(place.tell(&check(DAY_1)), RecordReply::NameFree, "{when}");
}

#[test]
fn other_plays_under_the_name_of_a_batch_are_refused_also_after_restarts() {
    let mut place = Place::new();
    assert_eq!(place.tell(&check(DAY_1)), RecordReply::NameFree);
    assert_eq!(place.tell(&batch(DAY_1, 2)), COUNTED);
    assert_taken(&mut place, "at once");
    assert_eq!(place.plays(), 2);
    let mut place = place.restarted();
    assert_taken(&mut place, "from the journal");
    place.shard.checkpoint(&place.storage, NOW_MS).unwrap();
    let mut place = place.restarted();
    assert_taken(&mut place, "from the rows");
    assert_eq!(place.plays(), 0, "nothing more was counted");
}

#[test]
fn other_plays_are_refused_while_the_first_wait_for_their_commit() {
    let mut place = Place::new();
    assert!(matches!(
        place.admit(&batch(DAY_1, 2)),
        Admission::Wait { .. }
    ));
    let reused = Admission::Answer(RecordReply::KeyReused);
    assert_eq!(place.admit(&batch(DAY_2, 2)), reused);
    assert_eq!(place.admit(&check(DAY_2)), reused);
    place.commit();
    assert_taken(&mut place, "after the commit");
}

#[test]
fn what_votes_leave_of_a_batch_is_the_same_batch() {
    let mut place = Place::new();
    assert_eq!(place.tell(&batch(DAY_1, 1)), COUNTED);
    assert_eq!(place.tell(&batch(DAY_1, 2)), REPEATED);
}

#[test]
fn a_claim_leaves_the_name_to_the_shard_that_counts() {
    let (mut old, mut new) = (Place::new(), Place::new());
    assert_eq!(old.tell(&claim(DAY_1)), RecordReply::Claimed);
    assert_eq!(new.tell(&batch(DAY_1, 2)), COUNTED);
    // Its name is taken where it was counted; the old shard says what it always says.
    let mut old = old.restarted();
    {
        assert_eq!(old.tell(&claim(DAY_2)), RecordReply::Claimed);
        assert_eq!(old.tell(&batch(DAY_1, 2)), RecordReply::Moved);
        assert_eq!(old.tell(&batch(DAY_2, 2)), RecordReply::Moved);
        assert_eq!(old.tell(&check(DAY_2)), RecordReply::NameFree);
    }
    assert_taken(&mut new, "at the new shard");
}
