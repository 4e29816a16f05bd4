//! What an address adds to a post a minute, for any sequence of requests: an exact model counts along
//! with the real structure, through floods that fill every table of it.

use std::collections::{HashMap, HashSet};

use hitparade::board::MAIN;
use hitparade::codec;
use hitparade::limiter::MAX_EXACT;
use hitparade::region::{MAX_VOTES_OF_ADDRESS, TakenVotes, Votes, VotesOfInstance};
use hitparade::wire::{Batch, BatchPlay, RecordRequest, Voter};
use proptest::prelude::*;

const WINDOW_MS: u64 = 60_000;
const START_MS: u64 = 29_000_000 * WINDOW_MS;
const FULL_BATCH: u32 = 1_000;

/// An address and a post.
type Pair = (u64, u32);

#[derive(Clone, Debug)]
enum Step {
    /// Plays of a few posts, each so many times.
    Play {
        address: u64,
        posts: Vec<(u32, u8)>,
    },
    /// So many full batches, each play of another post.
    Flood {
        address: u64,
        batches: u32,
    },
    /// A batch that was looked at is not counted after all.
    GiveBack {
        batch: prop::sample::Index,
    },
    Wait {
        ms: u64,
    },
    /// The platform's clock is a little behind.
    Behind {
        ms: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let play = (0..4_u64, prop::collection::vec((0..3_u32, 1..40_u8), 1..4))
        .prop_map(|(address, posts)| Step::Play { address, posts });
    let flood =
        (0..40_u64, 1..40_u32).prop_map(|(address, batches)| Step::Flood { address, batches });
    let step = prop_oneof![
        8 => play,
        2 => flood,
        2 => any::<prop::sample::Index>().prop_map(|batch| Step::GiveBack { batch }),
        3 => prop_oneof![0..2_000_u64, 0..90_000_u64].prop_map(|ms| Step::Wait { ms }),
        1 => (0..3_000_u64).prop_map(|ms| Step::Behind { ms }),
    ];
    prop::collection::vec(step, 1..60)
}

/// What was let through and not given back: the moments, oldest first, and when all of it has come back.
#[derive(Default)]
struct Done {
    times: Vec<u64>,
    full_us: u64,
}

impl Done {
    fn after(full_us: u64, limit: u32, now_ms: u64) -> u64 {
        full_us.max(now_ms * 1_000) + 60_000_000_u64.div_ceil(limit.into())
    }

    fn allows(&self, limit: u32, now_ms: u64) -> bool {
        let all_us = u64::from(limit) * 60_000_000_u64.div_ceil(limit.into());
        Self::after(self.full_us, limit, now_ms) <= now_ms * 1_000 + all_us
    }

    fn add(&mut self, limit: u32, now_ms: u64) {
        self.times.push(now_ms);
        self.full_us = Self::after(self.full_us, limit, now_ms);
    }

    /// As if it had never been.
    fn remove(&mut self, limit: u32, taken_ms: u64) {
        let times = &mut self.times;
        let at = times.iter().rposition(|at_ms| *at_ms == taken_ms).unwrap();
        times.remove(at);
        let after = |full_us, at_ms: &u64| Self::after(full_us, limit, *at_ms);
        self.full_us = times.iter().fold(0, after);
    }
}

#[derive(Default)]
struct Model {
    limit: u32,
    pairs: HashMap<Pair, Done>,
    of_address: HashMap<u64, Done>,
    /// Something was given back to them: they may be refused a little early.
    touched: HashSet<u64>,
}

impl Model {
    fn add(&mut self, pair: Pair, now_ms: u64) {
        let of_pair = self.pairs.entry(pair).or_default();
        of_pair.add(self.limit, now_ms);
        let of_address = self.of_address.entry(pair.0).or_default();
        of_address.add(MAX_VOTES_OF_ADDRESS, now_ms);
    }

    /// All of a batch.
    fn give_back(&mut self, pairs: &[Pair], taken_ms: u64) {
        for pair in pairs {
            self.touched.insert(pair.0);
            let of_pair = self.pairs.get_mut(pair).unwrap();
            of_pair.remove(self.limit, taken_ms);
        }
        let Some((address, _)) = pairs.first() else {
            return;
        };
        let of_address = self.of_address.get_mut(address).unwrap();
        // At once, as there may be thousands.
        let mut left = pairs.len() - 1;
        of_address.times.retain(|at_ms| {
            let goes = *at_ms == taken_ms && left > 0;
            left -= usize::from(goes);
            !goes
        });
        of_address.remove(MAX_VOTES_OF_ADDRESS, taken_ms);
    }

    fn allows(&self, pair: Pair, now_ms: u64) -> bool {
        let done = self.pairs.get(&pair);
        done.is_none_or(|done| done.allows(self.limit, now_ms))
    }

    fn address_allows(&self, address: u64, now_ms: u64) -> bool {
        let done = self.of_address.get(&address);
        done.is_none_or(|done| done.allows(MAX_VOTES_OF_ADDRESS, now_ms))
    }

    /// Whether everybody has a place of its own; the table has the addresses as well.
    fn table_has_room(&self) -> bool {
        self.pairs.len() + self.of_address.len() + 1_000 < MAX_EXACT
    }
}

struct World {
    votes: Votes,
    model: Model,
    limit: u32,
    now_ms: u64,
    behind_ms: u64,
    /// The latest that was ever asked.
    clock_ms: u64,
    /// Batches that may be given back, with what of them was let through.
    taken: Vec<(TakenVotes, Vec<Pair>, u64)>,
    flooded: u32,
}

impl World {
    fn new(limit: u32) -> Self {
        World {
            votes: Votes::of_instance(&VotesOfInstance::default(), [5; 16]),
            model: Model {
                limit,
                ..Model::default()
            },
            limit,
            now_ms: START_MS,
            behind_ms: 0,
            clock_ms: 0,
            taken: Vec::new(),
            flooded: 0,
        }
    }

    /// Sends a batch, and holds every verdict to the model.
    fn send(&mut self, address: u64, posts: &[u32]) -> Result<(), TestCaseError> {
        let ids: Vec<String> = posts.iter().map(|post| format!("post {post}")).collect();
        let plays = ids.iter().map(|post_id| BatchPlay {
            post_id,
            timestamp_ms: self.now_ms,
            count: 1,
        });
        let batch = codec::encode(&Batch {
            key: None,
            plays_hash: 0,
            sent_ms: self.now_ms,
            plays: plays.collect(),
        });
        let request = RecordRequest {
            board: MAIN,
            region_id: "NA",
            shard: 0,
            seed: [0; 16],
            epoch_ms: 0,
            listed: None,
            batch: &batch,
        };
        let voter = Voter {
            sender: address,
            limit: self.limit,
        };
        let asked_ms = self.now_ms - std::mem::take(&mut self.behind_ms);
        let sifted = self.votes.sift(&request, Some(voter), asked_ms, |_| false);
        let sifted = sifted.unwrap();
        // Time does not go back.
        self.clock_ms = self.clock_ms.max(asked_ms);
        let at_ms = self.clock_ms;
        let is_exact = self.model.table_has_room() && !self.model.touched.contains(&address);
        let mut let_through = Vec::new();
        let mut too_many = sifted.too_many.iter().peekable();
        for (index, post) in posts.iter().enumerate() {
            let pair = (address, *post);
            let allows = self.model.allows(pair, at_ms);
            let address_allows = self.model.address_allows(address, at_ms);
            if too_many.next_if_eq(&&(index as u16)).is_none() {
                prop_assert!(allows && address_allows, "{pair:?} is let through");
                self.model.add(pair, at_ms);
                let_through.push(pair);
            } else if is_exact {
                prop_assert!(!allows || !address_allows, "{pair:?} is refused");
            }
        }
        self.taken.push((sifted.taken, let_through, at_ms));
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Play { address, posts } => {
                let posts = posts.iter();
                let posts = posts.flat_map(|(post, times)| vec![*post; (*times).into()]);
                self.send(address, &posts.collect::<Vec<_>>())
            }
            Step::Flood { address, batches } => (0..batches).try_for_each(|_| {
                self.flooded += FULL_BATCH;
                let posts = self.flooded..self.flooded + FULL_BATCH;
                self.send(address, &posts.collect::<Vec<_>>())
            }),
            Step::GiveBack { batch } => {
                if !self.taken.is_empty() {
                    let (taken, pairs, taken_ms) =
                        self.taken.swap_remove(batch.index(self.taken.len()));
                    self.votes.give_back(&taken, self.now_ms);
                    self.clock_ms = self.clock_ms.max(self.now_ms);
                    self.model.give_back(&pairs, taken_ms);
                }
                Ok(())
            }
            Step::Wait { ms } => {
                self.now_ms += ms;
                Ok(())
            }
            Step::Behind { ms } => {
                self.behind_ms = ms;
                Ok(())
            }
        }
    }

    /// The number that SECURITY.md names.
    fn check(&self) -> Result<(), TestCaseError> {
        for (pair, Done { times, .. }) in &self.model.pairs {
            for (first, from_ms) in times.iter().enumerate() {
                let within = times[first..]
                    .iter()
                    .take_while(|at_ms| **at_ms < from_ms + WINDOW_MS);
                let within = within.count();
                prop_assert!(
                    within < 2 * self.limit as usize,
                    "{pair:?}: {within} in 60 s"
                );
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_requests_adds_more_than_the_limit_and_none_is_refused_without_cause(
        limit in 2..80_u32,
        steps in steps(),
    ) {
        let mut world = World::new(limit);
        for step in steps {
            world.step(step)?;
        }
        world.check()?;
    }
}

#[test]
fn one_address_that_fills_every_table_adds_no_more_than_its_sixty_and_its_neighbours_theirs() {
    let mut world = World::new(60);
    for _ in 0..2 {
        world
            .step(Step::Flood {
                address: 1,
                batches: 66,
            })
            .unwrap();
        world.send(1, &[7; 1_000]).unwrap();
    }
    for address in 1_000..2_000 {
        world.send(address, &[7; 50]).unwrap();
    }
    let votes = |address| {
        let done = world.model.pairs.get(&(address, 7));
        done.map_or(0, |done| done.times.len())
    };
    assert!((1_000..2_000).all(|address| votes(address) == 50));
    let stuffed = votes(1);
    assert!((50..=60).contains(&stuffed), "{stuffed} of one address");
    world.check().unwrap();
}

#[test]
fn an_address_has_so_many_votes_for_all_posts_together() {
    let mut world = World::new(60);
    world
        .step(Step::Flood {
            address: 1,
            batches: 120,
        })
        .unwrap();
    let spent = world.model.of_address[&1].times.len();
    assert_eq!(spent, MAX_VOTES_OF_ADDRESS as usize);
    world.send(2, &[7; 61]).unwrap();
    assert_eq!(world.model.pairs[&(2, 7)].times.len(), 60, "its neighbour");
}
