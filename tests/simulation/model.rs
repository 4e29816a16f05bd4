//! What ought to be, in plays alone: which plays each shard has counted, which of them charts may
//! have, and which they must have.
//!
//! It knows nothing of how plays get into a chart. It watches three things: what a shard writes to
//! its journal, at which moments a shard told the global object what it had, and when the last of
//! it had arrived. So it can't be wrong in the same way as the protocol.

use std::rc::Rc;

use hitparade::window::Span;

/// A play as the model knows it.
#[derive(Clone, Copy, Debug)]
pub struct Play {
    pub batch: usize,
    pub post: usize,
    pub timestamp_ms: u64,
    pub count: u32,
}

/// What one attempt asks a shard to journal; no plays for a claim.
#[derive(Debug)]
pub struct Asked {
    pub batch: usize,
    pub is_claim: bool,
    pub plays: Vec<Play>,
}

/// The plays that a shard has counted since its storage was new, in their order. A moment of the
/// shard is a number of plays: those that it had counted by then.
#[derive(Default)]
pub struct Ledger {
    plays: Vec<Counted>,
    /// What it had counted when it made the last push that has arrived: charts have no more.
    heard: usize,
    /// When it was told that the global object has all of it, and what it had counted when it
    /// made that push: charts have no less until the global object forgets what is not durable.
    told: Vec<(u64, usize)>,
    /// What it had counted when nothing was left to do: charts have it for good.
    kept: usize,
}

#[derive(Clone, Copy)]
struct Counted {
    play: Play,
    /// It was lost with a storage, or may have been: charts have it or not.
    may_be_lost: bool,
}

impl Ledger {
    /// Adds what a shard wrote to its journal. Returns the moment after it.
    pub fn journaled(&mut self, asked: &[Rc<Asked>]) -> usize {
        let plays = asked.iter().flat_map(|asked| &asked.plays);
        let counted = plays.map(|play| Counted {
            play: *play,
            may_be_lost: false,
        });
        self.plays.extend(counted);
        self.plays.len()
    }

    /// A crash took back what was counted after a moment.
    pub fn set_back(&mut self, to: usize) {
        self.plays.truncate(to);
        self.heard = self.heard.min(to);
        self.kept = self.kept.min(to);
        self.told.retain(|(_, moment)| *moment <= to);
    }

    pub fn len(&self) -> usize {
        self.plays.len()
    }

    pub fn plays(&self) -> impl Iterator<Item = &Play> {
        self.plays.iter().map(|counted| &counted.play)
    }

    /// A push that was made at a moment has arrived.
    pub fn heard(&mut self, moment: usize) {
        self.heard = self.heard.max(moment);
    }

    /// The shard was told that the push which it made at a moment has arrived, with all that it
    /// belongs to.
    pub fn told(&mut self, now_ms: u64, moment: usize) {
        self.told.push((now_ms, moment));
    }

    /// The shard has nothing left to do.
    pub fn kept(&mut self, moment: usize) {
        self.kept = self.kept.max(moment);
    }

    pub fn kept_plays(&self) -> usize {
        self.kept
    }

    /// The global object has forgotten what was not durable.
    pub fn forgotten(&mut self) {
        self.told.clear();
    }

    /// Of what was counted so far, only so much is in charts for sure.
    pub fn lost_after(&mut self, kept: usize) {
        self.kept = self.kept.min(kept);
        self.told.clear();
        for counted in self.plays.iter_mut().skip(kept) {
            counted.may_be_lost = true;
        }
    }

    /// The moments from and up to which charts have the plays, that may be so old.
    fn moments(&self, older_than_ms: u64) -> (usize, usize) {
        let told = self
            .told
            .iter()
            .filter(|(at_ms, _)| *at_ms <= older_than_ms);
        let told = told.map(|(_, moment)| *moment).max().unwrap_or(0);
        (self.kept.max(told), self.heard)
    }

    /// Adds what a chart over a span must have, and what it may have.
    pub fn add_to(&self, sums: &mut Expected, span: Span, older_than_ms: u64) {
        let (least, most) = self.moments(older_than_ms);
        for (number, Counted { play, may_be_lost }) in self.plays.iter().enumerate() {
            if number < most.max(least) && span.contains_ms(play.timestamp_ms) {
                let certain = number < least && !may_be_lost;
                sums.add(play, certain);
            }
        }
    }
}

/// How often each post was played, at least and at most, in what a chart may show.
pub struct Expected {
    pub posts: Vec<(u64, u64)>,
    pub total: (u64, u64),
}

impl Expected {
    pub fn new(posts: usize) -> Self {
        Expected {
            posts: vec![(0, 0); posts],
            total: (0, 0),
        }
    }

    fn add(&mut self, play: &Play, certain: bool) {
        let count = u64::from(play.count);
        for sum in [&mut self.posts[play.post], &mut self.total] {
            sum.0 += if certain { count } else { 0 };
            sum.1 += count;
        }
    }
}

/// What a shard has in memory.
#[derive(Default)]
pub struct ShardInMemory {
    /// Admitted and not written.
    pub waiting: Vec<Rc<Asked>>,
    /// The moment that its panes show.
    pub applied: usize,
    /// The moment after the commit that is written and not applied.
    pub in_flight: Option<usize>,
}
