//! Vote stuffing: what one address can add to one post a minute.
//!
//! Plays over the limit are answered as rejected, with their places in the batch; the others count.
//! An address is known by a hash that changes daily ([`crate::visitor::sender`]), a pair of address and
//! post by a hash under a key that this object has in memory alone. Nothing of either is stored.
//!
//! Votes are taken when a batch is looked at, so that batches which wait for their commit together
//! do not pass the limit together. The votes of a batch that is not counted after all are given back, as
//! its sender sends it again. So are those of a batch of which nobody knows whether it was counted: a
//! sender loses nothing by that, and can do nothing to make it happen.
//!
//! # Limits
//! An address may add to a post as many votes at once as its limit says, and from then on as many a
//! minute, one after the other. So within any 60 seconds it adds less than twice its limit, whatever is
//! sent, and however many pairs of address and post there are ([`Limiter`]; `tests/votes.rs` compares it
//! with an exact model). All posts together get at most [`MAX_VOTES_OF_ADDRESS`] a minute of one address:
//! otherwise it could fill the sketch of pairs, and others would be limited for votes that they never cast.
//!
//! All of it is in memory: an object that sleeps or restarts begins anew. It sleeps when nobody has
//! asked it anything for 10 s, unless it is busy and has something to push.
//!
//! All shards of an instance, of whatever boards, have one table and one sketch ([`VotesOfInstance`]):
//! 3.2 MB, and not as much for each. Their votes are apart, as each has a secret of its own. What one
//! address adds to all posts is counted over all of them.
//!
//! Verdicts are remembered for [`MAX_VERDICTS`] batches and [`MAX_INDEXES`] plays of all of them (under 1 MB),
//! and not across a restart; the oldest are dropped first. A repeat of a batch whose verdict is forgotten is told
//! that all of it was accepted. That changes nothing about what was counted.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;
use std::rc::Rc;

use siphasher::sip::SipHasher13;

use crate::codec;
use crate::limiter::{Limiter, MAX_BACK_MS, Rate};
use crate::wire::{Batch, Claim, RecordRequest, Voter};

/// What an address adds a minute to all posts of an instance's shards together, however many: a hundred full
/// batches. Twenty such addresses bring 2 million votes a minute, and only beyond that an address
/// may be refused a vote while it has many left (a few too early, where it comes near its limit, from
/// the 57,345th pair on).
pub const MAX_VOTES_OF_ADDRESS: u32 = 100_000;
const OF_ADDRESS: Rate = Rate::a_minute(MAX_VOTES_OF_ADDRESS);
const MAX_VERDICTS: usize = 4_096;
const MAX_INDEXES: usize = 262_144;

/// What is left of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sifted {
    /// The batch without the plays over the limit; none if it is as it was sent.
    pub batch: Option<Vec<u8>>,
    /// The places of these plays.
    pub too_many: Rc<[u16]>,
    /// Whether nothing is left to count.
    pub is_empty: bool,
    /// The votes of the plays that are left, until they are counted.
    pub taken: TakenVotes,
}

/// Votes that were taken, so that they can be given back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenVotes {
    /// One a play: 8 KB of a batch with 1,000.
    votes: Vec<u64>,
    /// Under which all votes of the address are counted.
    of_address: u64,
    /// What the address may add to one post a minute.
    limit: u32,
    taken_ms: u64,
}

/// The votes that all shards of an instance have taken lately. A clone is another handle of the same.
#[derive(Clone, Default)]
pub struct VotesOfInstance(Rc<RefCell<InstanceVotes>>);

#[derive(Default)]
struct InstanceVotes {
    limiter: Limiter,
    /// Under which addresses are known to all shards: the secret of the first.
    secret: Option<[u8; 16]>,
    next_shard: u64,
    verdicts: Verdicts,
}

/// What was said of batches.
#[derive(Default)]
struct Verdicts {
    of_batches: BTreeMap<BatchKey, Rc<[u16]>>,
    order: VecDeque<BatchKey>,
    indexes: usize,
}

/// A shard's number, and the key of a batch. Senders choose these, so they are compared and not hashed.
type BatchKey = (u64, Box<[u8]>);

/// The votes that a shard has taken lately.
pub struct Votes {
    secret: [u8; 16],
    /// When all votes have come back.
    needed_until_ms: u64,
    /// What the instance knows this shard by.
    shard: u64,
    instance: VotesOfInstance,
}

impl Drop for Votes {
    fn drop(&mut self) {
        self.instance.0.borrow_mut().verdicts.forget(self.shard);
    }
}

impl Votes {
    pub fn of_instance(instance: &VotesOfInstance, secret: [u8; 16]) -> Self {
        let mut kept = instance.0.borrow_mut();
        kept.secret.get_or_insert(secret);
        kept.next_shard += 1;
        Votes {
            secret,
            needed_until_ms: 0,
            shard: kept.next_shard,
            instance: instance.clone(),
        }
    }

    /// Takes the plays over the limit out of a batch; what was said of one that `is_known` stays, and
    /// is what is said to a claim of it. `None` where there is nothing to sift.
    pub fn sift(
        &mut self,
        request: &RecordRequest<'_>,
        voter: Option<Voter>,
        now_ms: u64,
        is_known: impl FnOnce(&[u8]) -> bool,
    ) -> Option<Sifted> {
        let mut kept = self.instance.0.borrow_mut();
        let InstanceVotes {
            limiter,
            secret: secret_of_all,
            verdicts,
            ..
        } = &mut *kept;
        let said = |verdicts: &Verdicts, key: &[u8]| Sifted {
            too_many: verdicts.of(self.shard, key),
            ..Sifted::default()
        };
        if let Ok(claim) = codec::decode::<Claim<'_>>(request.batch) {
            return is_known(claim.key).then(|| said(verdicts, claim.key));
        }
        let voter = voter?;
        let mut batch = codec::decode::<Batch<'_>>(request.batch).ok()?;
        if let Some(key) = batch.key.filter(|key| is_known(key)) {
            return Some(said(verdicts, key));
        }
        let now_ms = limiter.moment(now_ms);
        // No post has this id.
        let of_address = vote(&secret_of_all.unwrap_or_default(), voter.sender, "");
        let left = limiter.left(of_address, OF_ADDRESS, now_ms).remaining;
        let of_post = Rate::a_minute(voter.limit);
        let mut votes = Vec::new();
        let mut too_many = Vec::new();
        let mut index: u16 = 0;
        let mut back_in_ms = 0;
        batch.plays.retain(|play| {
            let vote = vote(&self.secret, voter.sender, play.post_id);
            let taken =
                (votes.len() < left as usize).then(|| limiter.take(1, vote, of_post, now_ms));
            let allowed = matches!(taken, Some(Ok(_)));
            if let Some(Ok(left)) = taken {
                back_in_ms = left.full_in_ms.max(back_in_ms);
                votes.push(vote);
            } else {
                too_many.push(index);
            }
            index = index.saturating_add(1);
            allowed
        });
        let taken = votes.len() as u32;
        if taken > 0 {
            // There are so many left.
            let left = limiter.take(taken, of_address, OF_ADDRESS, now_ms);
            back_in_ms = left.map_or(0, |left| left.full_in_ms).max(back_in_ms);
        }
        self.needed_until_ms = self.needed_until_ms.max(now_ms + back_in_ms);
        let too_many: Rc<[u16]> = too_many.into();
        if let Some(key) = batch.key.filter(|_| !batch.plays.is_empty()) {
            verdicts.remember((self.shard, key.into()), Rc::clone(&too_many));
        }
        Some(Sifted {
            is_empty: batch.plays.is_empty(),
            batch: (!too_many.is_empty()).then(|| codec::encode(&batch)),
            too_many,
            taken: TakenVotes {
                votes,
                of_address,
                limit: voter.limit,
                taken_ms: now_ms,
            },
        })
    }

    /// In how many milliseconds all votes have come back, so that they may be forgotten.
    pub fn needed_ms(&self, now_ms: u64) -> u64 {
        let needed_ms = self.needed_until_ms.saturating_sub(now_ms);
        // A clock that was set back has the limits begin anew.
        if needed_ms > MAX_BACK_MS {
            0
        } else {
            needed_ms
        }
    }

    /// Gives back the votes of a batch that was not counted, as far as they have not come back by
    /// themselves.
    pub fn give_back(&mut self, taken: &TakenVotes, now_ms: u64) {
        let of_post = Rate::a_minute(taken.limit);
        let (mut kept, taken_ms) = (self.instance.0.borrow_mut(), taken.taken_ms);
        let limiter = &mut kept.limiter;
        let mut votes = taken.votes.clone();
        votes.sort_unstable();
        for same in votes.chunk_by(PartialEq::eq) {
            if let Some(vote) = same.first() {
                limiter.give_back(same.len() as u32, *vote, of_post, taken_ms, now_ms);
            }
        }
        let all = votes.len() as u32;
        limiter.give_back(all, taken.of_address, OF_ADDRESS, taken_ms, now_ms);
    }
}

fn vote(secret: &[u8; 16], sender: u64, post_id: &str) -> u64 {
    let mut hasher = SipHasher13::new_with_key(secret);
    hasher.write_u64(sender);
    hasher.write(post_id.as_bytes());
    hasher.finish()
}

impl Verdicts {
    fn of(&self, shard: u64, key: &[u8]) -> Rc<[u16]> {
        let said = self.of_batches.get(&(shard, key.into()));
        said.cloned().unwrap_or_default()
    }

    /// An earlier attempt that was not counted may have left another verdict.
    fn remember(&mut self, key: BatchKey, too_many: Rc<[u16]>) {
        if too_many.is_empty() && !self.of_batches.contains_key(&key) {
            return;
        }
        self.indexes += too_many.len();
        if let Some(old) = self.of_batches.insert(key.clone(), too_many) {
            self.indexes -= old.len();
        } else {
            self.order.push_back(key);
        }
        while self.order.len() > MAX_VERDICTS || self.indexes > MAX_INDEXES {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            let dropped = self.of_batches.remove(&oldest);
            self.indexes -= dropped.map_or(0, |dropped| dropped.len());
        }
    }

    /// A shard is gone.
    fn forget(&mut self, shard: u64) {
        self.of_batches.retain(|(of, _), _| *of != shard);
        self.order.retain(|(of, _)| *of != shard);
        self.indexes = self.of_batches.values().map(|said| said.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In an instance with nobody else.
    fn alone(secret: [u8; 16]) -> Votes {
        Votes::of_instance(&VotesOfInstance::default(), secret)
    }
    use crate::board::MAIN;
    use crate::wire::BatchPlay;

    const NOW_MS: u64 = 100 * 60_000;

    fn sift(votes: &mut Votes, sender: u64, key: &[u8], posts: &[&str], known: bool) -> Sifted {
        let play = |post_id| BatchPlay {
            post_id,
            timestamp_ms: NOW_MS,
            count: 1,
        };
        let batch = codec::encode(&Batch {
            key: Some(key),
            plays_hash: 0,
            sent_ms: NOW_MS,
            plays: posts.iter().copied().map(play).collect(),
        });
        let request = RecordRequest {
            board: MAIN,
            region_id: "NA",
            shard: 0,
            epoch_ms: 0,
            seed: [0; 16],
            listed: None,
            batch: &batch,
        };
        let voter = Voter { sender, limit: 3 };
        votes
            .sift(&request, Some(voter), NOW_MS, |_| known)
            .unwrap()
    }

    #[test]
    fn what_one_address_adds_to_one_post_is_bounded_and_the_rest_counts() {
        let mut votes = alone([1; 16]);
        let sifted = sift(
            &mut votes,
            1,
            b"first",
            &["a", "a", "b", "a", "a", "a"],
            false,
        );
        assert_eq!(*sifted.too_many, [4, 5]);
        let left = sifted.batch.unwrap();
        let left = codec::decode::<Batch<'_>>(&left).unwrap();
        assert_eq!(left.plays.len(), 4);
        let again = sift(
            &mut votes,
            1,
            b"first",
            &["a", "a", "b", "a", "a", "a"],
            true,
        );
        assert_eq!((again.batch, &*again.too_many), (None, &[4, 5][..]));
        assert_eq!(sift(&mut votes, 2, b"other", &["a"], false).batch, None);
        assert!(sift(&mut votes, 1, b"full", &["a"], false).is_empty);
        let kept = votes.instance.0.borrow();
        assert!(
            !kept
                .verdicts
                .of_batches
                .contains_key(&(1, b"full"[..].into())),
            "it may come again"
        );
    }

    #[test]
    fn a_batch_that_was_not_counted_finds_its_votes_again() {
        let mut votes = alone([1; 16]);
        for _ in 0..50 {
            let refused = sift(&mut votes, 1, b"again", &["a", "a", "b"], false);
            assert_eq!((refused.batch, &*refused.too_many), (None, &[][..]));
            votes.give_back(&refused.taken, NOW_MS);
        }
        sift(&mut votes, 1, b"another", &["a"], false);
        let counted = sift(&mut votes, 1, b"again", &["a", "a", "b"], false);
        assert!(counted.too_many.is_empty());
        assert!(sift(&mut votes, 1, b"full", &["a"], false).is_empty);
    }

    #[test]
    fn the_verdict_that_counts_is_the_one_of_the_attempt_that_was_counted() {
        let mut votes = alone([1; 16]);
        let another = sift(&mut votes, 1, b"another", &["a", "a"], false);
        let refused = sift(&mut votes, 1, b"again", &["a", "a"], false);
        assert_eq!(*refused.too_many, [1]);
        votes.give_back(&refused.taken, NOW_MS);
        votes.give_back(&another.taken, NOW_MS);
        let counted = sift(&mut votes, 1, b"again", &["a", "a"], false);
        assert!(counted.too_many.is_empty());
        let repeated = sift(&mut votes, 1, b"again", &["a", "a"], true);
        assert!(repeated.too_many.is_empty());
    }

    #[test]
    fn verdicts_are_bounded() {
        let mut votes = alone([1; 16]);
        for batch in 0..2 * MAX_VERDICTS {
            let sender = batch as u64;
            sift(
                &mut votes,
                sender,
                &sender.to_be_bytes(),
                &["a", "a", "a", "a"],
                false,
            );
        }
        let Verdicts {
            of_batches,
            indexes,
            ..
        } = &votes.instance.0.borrow().verdicts;
        assert_eq!((of_batches.len(), *indexes), (MAX_VERDICTS, MAX_VERDICTS));
    }

    #[test]
    fn shards_of_an_instance_have_votes_and_verdicts_apart_and_one_budget() {
        let instance = VotesOfInstance::default();
        let shard = |number| Votes::of_instance(&instance, [number; 16]);
        let (mut first, mut second) = (shard(1), shard(2));
        let posts = ["a", "a", "a", "a"];
        assert_eq!(*sift(&mut first, 1, b"same", &posts, false).too_many, [3]);
        assert!(
            sift(&mut second, 1, b"same", &["a"], false)
                .too_many
                .is_empty()
        );
        assert!(
            sift(&mut second, 1, b"same", &posts, true)
                .too_many
                .is_empty()
        );
        for batch in 0..MAX_VERDICTS as u64 {
            sift(&mut second, 2 + batch, &batch.to_be_bytes(), &posts, false);
        }
        let remembered = || instance.0.borrow().verdicts.of_batches.len();
        assert_eq!(remembered(), MAX_VERDICTS, "of all together");
        drop(second);
        assert_eq!(remembered(), 0, "those of the first were the oldest");
        assert_eq!(
            *sift(&mut first, 1, b"last", &posts, false).too_many,
            [0, 1, 2, 3]
        );
    }
}
