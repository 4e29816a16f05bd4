//! What ought to be, in plays alone: which plays each shard has counted, which of them charts may
//! have, and which they must have.
//!
//! It knows nothing of how plays get into a chart. It watches four things: what a shard writes to
//! its journal, at which moments a shard told the global object what it had, when the last of it had
//! arrived, and when the global object stores what it has taken of a region. So it can't be wrong in
//! the same way as the protocol.
//!
//! When nothing goes wrong any more it also watches when shards answer: what they had counted by then is in
//! every chart some seconds later.
//!
//! A chart that lacks plays of which the shard was told that they have arrived says that it is
//! incomplete, also that of a global object that has just started again.

use hitparade::window::{HOUR_MS, Span};

/// A shard that was not heard from for a day is not waited for. Clocks differ, and answers come late.
const PROMISED_FOR_MS: u64 = 23 * HOUR_MS;

/// A play as the model knows it.
#[derive(Clone, Copy, Debug)]
pub struct Play {
    pub batch: usize,
    /// Of the batch: of each board what is placed, or all of one that has no name, and then what is of
    /// each region that plays name.
    pub part: usize,
    /// It is the first of its part.
    pub begins_part: bool,
    pub post: usize,
    pub timestamp_ms: u64,
    pub count: u32,
}

/// What one attempt asks a shard to journal.
#[derive(Debug)]
pub struct Asked {
    pub batch: usize,
    pub part: usize,
    pub is_claim: bool,
    /// How many of them it asks for.
    pub plays: usize,
}

/// Where a shard took note of its epoch: what it had counted then, as far as it was seen.
#[derive(Clone, Copy, Default)]
pub struct Followed {
    pub epoch_ms: u64,
    pub from: usize,
    pub to: usize,
}

/// The plays that a shard has counted since its storage was new, in their order. A moment of the
/// shard is a number of plays: those that it had counted by then.
pub struct Ledger {
    plays: Vec<Counted>,
    /// What it had counted when it began anew: charts have nothing of that. None while it has not heard
    /// that counting began anew, nor does anything of it count.
    begins: Option<usize>,
    /// The last epoch that it took note of.
    pub followed: Followed,
    /// What it had counted when it made the last push that has arrived: charts have no more.
    heard: usize,
    /// When it was told that the global object has all of it, and what it had counted when it
    /// made that push: charts have no less until the global object forgets what is not durable.
    told: Vec<Arrived>,
    /// What it had counted when nothing was left to do: charts have it for good.
    kept: usize,
    /// What it had counted when it answered a sender, and when: from some time on charts have no less.
    answered: Vec<Arrived>,
    /// The global object was set back, and the shard was told nothing since: nobody asks it, if it is a quiet one that
    /// was not known then.
    is_unknown: bool,
    /// What it had told when the global object stored last what it took of the region, and when it
    /// was told so: a global object that starts again misses it aloud.
    promised: Arrived,
    /// The last that it was told at all, before the global object forgot what was not durable: the same.
    missed: Arrived,
    /// A push of before this moment had come late when the global object forgot.
    late_before: usize,
}

/// What a shard was told to have arrived, and when.
pub type Arrived = (u64, usize);

#[derive(Clone, Copy)]
struct Counted {
    play: Play,
    /// It was lost with a storage, or may have been: charts have it or not.
    may_be_lost: bool,
}

impl Ledger {
    /// Of a new storage. What it counts is in charts unless counting began anew, of which it knows
    /// nothing.
    pub fn new(began_anew: bool) -> Self {
        Ledger {
            plays: Vec::new(),
            begins: (!began_anew).then_some(0),
            followed: Followed::default(),
            heard: 0,
            told: Vec::new(),
            kept: 0,
            answered: Vec::new(),
            is_unknown: false,
            promised: (0, 0),
            missed: (0, 0),
            late_before: 0,
        }
    }

    /// Counting begins anew, here or elsewhere.
    pub fn is_over(&mut self) {
        self.begins = None;
    }

    /// Counting began anew, which the shard has heard of if it has followed: between two moments where it died
    /// then, and nobody saw which of the plays between them it had counted.
    pub fn follow(&mut self, epoch_ms: u64) {
        let Followed {
            epoch_ms: followed_ms,
            from,
            to,
        } = self.followed;
        if self.begins.is_some() || followed_ms < epoch_ms {
            return;
        }
        self.begins = Some(from);
        let between = self.plays.iter_mut().take(to).skip(from);
        between.for_each(|counted| counted.may_be_lost = true);
    }

    /// Adds what a shard wrote to its journal. Returns the moment after it.
    pub fn journaled(&mut self, plays: &[Play]) -> usize {
        let counted = plays.iter().map(|play| Counted {
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
        self.answered.retain(|(_, moment)| *moment <= to);
        self.promised.1 = self.promised.1.min(to);
        self.missed.1 = self.missed.1.min(to);
        self.late_before = self.late_before.min(to);
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
        self.is_unknown = false;
        // Of one that came late nothing is taken that is open: a newer one had come before a start, which lost it.
        if moment >= self.late_before {
            self.told.push((now_ms, moment));
        }
    }

    /// The shard answers a sender, in a time in which nothing goes wrong: whoever looks is to see it.
    pub fn answered(&mut self, now_ms: u64, moment: usize) {
        if !self.is_unknown {
            self.answered.push((now_ms, moment));
        }
    }

    /// The global object is set back: it is known what the shard has when it pushes next.
    pub fn unknown(&mut self) {
        self.is_unknown = true;
        self.answered.clear();
    }

    /// What nobody has heard of yet may come later than whoever was answered was promised.
    pub fn answers_later(&mut self) {
        let heard = self.heard;
        self.answered.retain(|(_, moment)| *moment <= heard);
    }

    /// The shard has nothing left to do.
    pub fn kept(&mut self, moment: usize) {
        self.kept = self.kept.max(moment);
    }

    pub fn kept_plays(&self) -> usize {
        self.kept
    }

    /// The last that it was told to have arrived.
    pub fn last_told(&self) -> Arrived {
        self.told.last().copied().unwrap_or(self.promised)
    }

    /// The global object has forgotten what was not durable. What this had told when it stored last
    /// what it took of the region, it knows to be missing.
    pub fn forgotten(&mut self, promised: Arrived) {
        self.late_before = self.heard;
        self.missed = self.told.drain(..).next_back().unwrap_or(self.missed);
        self.promised = promised;
    }

    /// Of what was counted so far, only so much is in charts for sure.
    pub fn lost_after(&mut self, kept: usize) {
        self.kept = self.kept.min(kept);
        self.told.clear();
        (self.promised, self.missed) = ((0, 0), (0, 0));
        for counted in self.plays.iter_mut().skip(kept) {
            counted.may_be_lost = true;
        }
    }

    /// How many may be lost.
    pub fn lost_plays(&self) -> usize {
        self.plays.iter().filter(|it| it.may_be_lost).count()
    }

    /// The moments from and up to which charts have the plays.
    fn moments(&self, says: &Says) -> (usize, usize) {
        let told = self.told.iter();
        let told = told.filter(|(at_ms, _)| *at_ms <= says.older_than_ms);
        let told = told.map(|(_, moment)| *moment).max().unwrap_or(0);
        let promised = [self.promised, self.missed].into_iter();
        let promised = promised.filter(|(told_ms, _)| {
            says.is_complete && says.older_than_ms < told_ms + PROMISED_FOR_MS
        });
        let promised = promised.map(|(_, moment)| moment).max().unwrap_or(0);
        let told = if says.is_complete || says.is_roomy {
            told
        } else {
            0
        };
        let answered = self.answered.iter();
        let answered = answered.filter(|(at_ms, _)| *at_ms <= says.answered_before_ms);
        let answered = answered.map(|(_, moment)| *moment).max();
        let answered = answered.filter(|_| says.is_complete).unwrap_or(0);
        let least = self.kept.max(told).max(promised).max(answered);
        (least, self.heard)
    }

    /// Adds what a chart over a span must have, and what it may have.
    pub fn add_to(&self, sums: &mut Expected, span: Span, says: &Says) {
        let (least, most) = self.moments(says);
        let Some(begins) = self.begins else { return };
        let plays = self.plays.iter().enumerate().skip(begins);
        for (number, Counted { play, may_be_lost }) in plays {
            if number < most.max(least) && span.contains_ms(play.timestamp_ms) {
                let certain = number < least && !may_be_lost;
                sums.add(play, certain);
            }
        }
    }
}

/// What is known of a chart before it is looked into.
pub struct Says {
    /// It may be so old.
    pub older_than_ms: u64,
    /// What was answered by then is in it, unless it says that it is incomplete.
    pub answered_before_ms: u64,
    /// It doesn't say that it is incomplete.
    pub is_complete: bool,
    /// No limit is reached that would make it so.
    pub is_roomy: bool,
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
