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
//! asked it anything for 10 s and it has nothing to push.
//!
//! Verdicts are remembered for [`MAX_VERDICTS`] batches and [`MAX_INDEXES`] plays (under 1 MB), and not
//! across a restart; the oldest are dropped first. A repeat of a batch whose verdict is forgotten is told
//! that all of it was accepted. That changes nothing about what was counted.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;
use std::rc::Rc;

use siphasher::sip::SipHasher13;

use crate::codec;
use crate::limiter::{Limiter, Rate};
use crate::wire::{Batch, Claim, RecordRequest, Voter};

/// What an address adds a minute to all posts of a shard together, however many: a hundred full
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
    pub taken: Taken,
}

/// Votes that were taken, so that they can be given back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// One a play: 8 KB of a batch with 1,000.
    votes: Vec<u64>,
    /// Under which all votes of the address are counted.
    of_address: u64,
    /// What the address may add to one post a minute.
    limit: u32,
    taken_ms: u64,
}

/// The votes that a shard has taken lately.
pub struct Votes {
    secret: [u8; 16],
    limiter: Limiter,
    /// By the keys of batches. Senders choose these, so they are compared and not hashed.
    verdicts: BTreeMap<Box<[u8]>, Rc<[u16]>>,
    order: VecDeque<Box<[u8]>>,
    indexes: usize,
}

impl Votes {
    pub fn new(secret: [u8; 16]) -> Self {
        Votes {
            secret,
            limiter: Limiter::default(),
            verdicts: BTreeMap::new(),
            order: VecDeque::new(),
            indexes: 0,
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
        let said = |key: &[u8]| Sifted {
            too_many: self.verdicts.get(key).cloned().unwrap_or_default(),
            ..Sifted::default()
        };
        if let Ok(claim) = codec::decode::<Claim<'_>>(request.batch) {
            return is_known(claim.key).then(|| said(claim.key));
        }
        let voter = voter?;
        let mut batch = codec::decode::<Batch<'_>>(request.batch).ok()?;
        if let Some(key) = batch.key.filter(|key| is_known(key)) {
            return Some(said(key));
        }
        let now_ms = self.limiter.moment(now_ms);
        // No post has this id.
        let of_address = self.vote(voter.sender, "");
        let left = self.limiter.left(of_address, OF_ADDRESS, now_ms).remaining;
        let of_post = Rate::a_minute(voter.limit);
        let mut votes = Vec::new();
        let mut too_many = Vec::new();
        let mut index: u16 = 0;
        batch.plays.retain(|play| {
            let vote = self.vote(voter.sender, play.post_id);
            let allowed =
                votes.len() < left as usize && self.limiter.take(1, vote, of_post, now_ms).is_ok();
            if allowed {
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
            let _ = self.limiter.take(taken, of_address, OF_ADDRESS, now_ms);
        }
        let too_many: Rc<[u16]> = too_many.into();
        if let Some(key) = batch.key.filter(|_| !batch.plays.is_empty()) {
            self.remember(key, Rc::clone(&too_many));
        }
        Some(Sifted {
            is_empty: batch.plays.is_empty(),
            batch: (!too_many.is_empty()).then(|| codec::encode(&batch)),
            too_many,
            taken: Taken {
                votes,
                of_address,
                limit: voter.limit,
                taken_ms: now_ms,
            },
        })
    }

    /// Gives back the votes of a batch that was not counted, as far as they have not come back by
    /// themselves.
    pub fn give_back(&mut self, taken: &Taken, now_ms: u64) {
        let of_post = Rate::a_minute(taken.limit);
        let (limiter, taken_ms) = (&mut self.limiter, taken.taken_ms);
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

    fn vote(&self, sender: u64, post_id: &str) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        hasher.write_u64(sender);
        hasher.write(post_id.as_bytes());
        hasher.finish()
    }

    /// An earlier attempt that was not counted may have left another verdict.
    fn remember(&mut self, key: &[u8], too_many: Rc<[u16]>) {
        if too_many.is_empty() && !self.verdicts.contains_key(key) {
            return;
        }
        self.indexes += too_many.len();
        if let Some(old) = self.verdicts.insert(key.into(), too_many) {
            self.indexes -= old.len();
        } else {
            self.order.push_back(key.into());
        }
        while self.order.len() > MAX_VERDICTS || self.indexes > MAX_INDEXES {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            let dropped = self.verdicts.remove(&oldest);
            self.indexes -= dropped.map_or(0, |dropped| dropped.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let mut votes = Votes::new([1; 16]);
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
        assert!(
            !votes.verdicts.contains_key(&b"full"[..]),
            "it may come again"
        );
    }

    #[test]
    fn a_batch_that_was_not_counted_finds_its_votes_again() {
        let mut votes = Votes::new([1; 16]);
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
        let mut votes = Votes::new([1; 16]);
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
        let mut votes = Votes::new([1; 16]);
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
        assert_eq!(
            (votes.verdicts.len(), votes.indexes),
            (MAX_VERDICTS, MAX_VERDICTS)
        );
    }
}
