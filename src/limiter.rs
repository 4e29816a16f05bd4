//! How often a sender may do something: the generic cell rate algorithm (GCRA), the one limiter of the
//! house.
//!
//! # Arithmetic
//! A sender that may do `n` things at once, which come back within `w`, has a bucket of `n` into which one
//! comes back every `w / n`. All that is kept of a bucket is the moment when it is full again. Doing one
//! thing puts that off by `w / n`; it may not be put off beyond `w` from now:
//!
//! ```text
//! full := max(full, now) + w / n    if that is at most now + w, else nothing is done
//! ```
//!
//! So `n` go at once and one every `w / n` from then on, and a span of any length `t`, wherever it begins,
//! sees at most `n + t·n / w`: in 60 s fewer than twice what a minute allows. `w / n` is rounded up to
//! microseconds, which lets through a little less.
//!
//! What was done and is to be undone is given back: `w / n`, less the time that has passed since, as so
//! much has come back by itself. A bucket is then never fuller than if it had never been done.
//!
//! # At capacity
//! [`MAX_EXACT`] buckets that are not full have a place of their own; full ones are forgotten where places
//! are short. Who finds none shares a [`Sketch`], where its bucket may be taken for emptier than it is and
//! never for fuller: it may be refused too early, and nobody is let through because a table is full.
//! Nothing is given back in the sketch, where it could be another's.
//!
//! Time does not go back: what is asked with an earlier clock counts as asked now. Only a clock that was
//! set back by more than [`MAX_BACK_MS`] begins anew, or everybody would wait until it is there again.
//!
//! Senders are 64-bit hashes under a key that changes daily; addresses are never kept.

use std::collections::HashMap;

use ahash::RandomState;

/// Buckets that are told apart: what a table of 65,536 places of 17 bytes holds before it grows, 1.1 MB.
/// With the sketch, 3.2 MB.
pub const MAX_EXACT: usize = 57_344;
/// Rows of a sketch, one for each 16 bits of a sender's hash, and the cells of a row: 2 MB.
const SKETCH_ROWS: usize = 4;
const SKETCH_CELLS: usize = 1 << 16;
/// How often full buckets are looked for: that takes a millisecond.
const CLEARED_EVERY_MS: u64 = 1_000;
/// How far a clock may be behind without beginning anew.
pub const MAX_BACK_MS: u64 = 120_000;

/// How much may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So much at once; 0 is taken for 1.
    pub at_once: u32,
    /// All of it comes back in this time.
    pub within_ms: u64,
}

/// What a sender has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub remaining: u32,
    /// Until everything is there again.
    pub full_in_ms: u64,
}

impl Rate {
    pub const fn a_minute(at_once: u32) -> Self {
        Rate {
            at_once,
            within_ms: 60_000,
        }
    }

    fn at_once(self) -> u64 {
        u64::from(self.at_once.max(1))
    }

    /// In how many microseconds one comes back.
    fn one_us(self) -> u64 {
        (self.within_ms * 1_000).div_ceil(self.at_once()).max(1)
    }

    /// In how many all do: `w`, and what rounding adds.
    fn all_us(self) -> u64 {
        self.one_us() * self.at_once()
    }

    /// What a bucket holds that is full in so long.
    fn left(self, full_in_us: u64) -> Left {
        let left = self.all_us().saturating_sub(full_in_us) / self.one_us();
        Left {
            remaining: u32::try_from(left).unwrap_or(u32::MAX),
            full_in_ms: full_in_us.div_ceil(1_000),
        }
    }
}

/// Buckets by sender.
pub struct Limiter {
    now_ms: u64,
    /// When each is full again, in microseconds since 1970.
    full_us: HashMap<u64, u64, RandomState>,
    others: Option<Sketch>,
    cleared_ms: u64,
    max_exact: usize,
}

impl Default for Limiter {
    fn default() -> Self {
        Limiter::with_room_for(MAX_EXACT)
    }
}

impl Limiter {
    fn with_room_for(max_exact: usize) -> Self {
        Limiter {
            now_ms: 0,
            // Keys are the output of a keyed hash: nobody can aim at this one.
            full_us: HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4)),
            others: None,
            cleared_ms: 0,
            max_exact,
        }
    }

    /// Lets a sender do so many things: all of them, or none. More than fit into a bucket are done by whoever
    /// has a full one. Says what is left.
    ///
    /// # Errors
    /// Where it may not: in how many milliseconds it may. Nothing is taken then, so whoever waits is let in.
    pub fn take(&mut self, things: u32, sender: u64, rate: Rate, now_ms: u64) -> Result<Left, u64> {
        let now_us = self.moment(now_ms) * 1_000;
        let full_in_us = self.full_in_us(sender, now_us);
        let things = u64::from(things).min(rate.at_once());
        let would_be_us = full_in_us + things * rate.one_us();
        if let Some(over_us) = would_be_us.checked_sub(rate.all_us()).filter(|us| *us > 0) {
            return Err(over_us.div_ceil(1_000));
        }
        if things > 0 {
            self.fill_at(sender, now_us + would_be_us);
        }
        Ok(rate.left(would_be_us))
    }

    /// What a sender has left.
    pub fn left(&mut self, sender: u64, rate: Rate, now_ms: u64) -> Left {
        let now_us = self.moment(now_ms) * 1_000;
        rate.left(self.full_in_us(sender, now_us))
    }

    /// Gives back what a sender took at `taken_ms`, as [`moment`](Limiter::moment) said, and did not do
    /// after all: all that it took at once, or a part of it.
    pub fn give_back(&mut self, things: u32, sender: u64, rate: Rate, taken_ms: u64, now_ms: u64) {
        let passed_us = self.moment(now_ms).saturating_sub(taken_ms) * 1_000;
        let back_us = (u64::from(things) * rate.one_us()).saturating_sub(passed_us);
        if let Some(full_us) = self.full_us.get_mut(&sender) {
            *full_us = full_us.saturating_sub(back_us);
        }
    }

    /// The moment at which something counts that is asked now: never one before what was asked already.
    pub fn moment(&mut self, now_ms: u64) -> u64 {
        if now_ms.saturating_add(MAX_BACK_MS) < self.now_ms {
            *self = Limiter::with_room_for(self.max_exact);
        }
        self.now_ms = self.now_ms.max(now_ms);
        self.now_ms
    }

    fn full_in_us(&self, sender: u64, now_us: u64) -> u64 {
        let shared = || self.others.as_ref().map_or(0, |others| others.get(sender));
        let full_us = self.full_us.get(&sender).copied();
        full_us.unwrap_or_else(shared).saturating_sub(now_us)
    }

    fn fill_at(&mut self, sender: u64, full_us: u64) {
        if let Some(known) = self.full_us.get_mut(&sender) {
            *known = full_us;
            return;
        }
        if self.full_us.len() >= self.max_exact {
            self.forget_full();
        }
        if self.full_us.len() < self.max_exact {
            self.full_us.insert(sender, full_us);
        } else {
            let others = self.others.get_or_insert_with(Sketch::new);
            others.raise(sender, full_us);
        }
    }

    /// A bucket that is full is as one that nobody knows.
    fn forget_full(&mut self) {
        if self.now_ms.abs_diff(self.cleared_ms) < CLEARED_EVERY_MS {
            return;
        }
        self.cleared_ms = self.now_ms;
        let now_us = self.now_ms * 1_000;
        self.full_us.retain(|_, full_us| *full_us > now_us);
        self.others.take_if(|others| others.latest_us <= now_us);
    }
}

/// Buckets that senders share: each has a cell in each row, with the latest moment at which any bucket of
/// that cell is full. The earliest of its cells is when its own is full, or later. The hash of a sender is
/// its cells: it is under a key that nobody knows, so nobody can look for two that share all of them.
///
/// # Error
/// A bucket is taken for emptier only where all four of its cells are others' too: for n / 65,536 things
/// on average at most, while n things of a minute are in it. A limit of 60 refuses nobody too early while
/// there are 2 million (a test below).
struct Sketch {
    cells: Box<[u64]>,
    latest_us: u64,
}

impl Sketch {
    fn new() -> Self {
        Sketch {
            cells: vec![0; SKETCH_ROWS * SKETCH_CELLS].into_boxed_slice(),
            latest_us: 0,
        }
    }

    fn get(&self, sender: u64) -> u64 {
        let cells = Self::cells(sender).map(|cell| self.cells.get(cell).copied());
        cells.into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    fn raise(&mut self, sender: u64, full_us: u64) {
        self.latest_us = self.latest_us.max(full_us);
        for cell in Self::cells(sender) {
            if let Some(known) = self.cells.get_mut(cell) {
                *known = full_us.max(*known);
            }
        }
    }

    fn cells(sender: u64) -> [usize; SKETCH_ROWS] {
        std::array::from_fn(|row| {
            let bits = (sender >> (16 * row)) & 0xffff;
            row * SKETCH_CELLS + bits as usize
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::hash::Hasher;

    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;

    use super::*;

    const NOW_MS: u64 = 100 * 60_000;

    /// As senders are: hashes.
    fn hashed(number: u64) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&[7; 16]);
        hasher.write_u64(number);
        hasher.finish()
    }

    /// How many of many are let through.
    fn taken(limiter: &mut Limiter, sender: u64, rate: Rate, now_ms: u64) -> usize {
        let takes = (0..1_000).filter(|_| limiter.take(1, sender, rate, now_ms).is_ok());
        takes.count()
    }

    /// What was done, and when: all of it, as long as it is needed.
    #[derive(Default)]
    struct Model(Vec<(u64, u64)>);

    impl Model {
        /// By definition: no span that ends now may see more than fits into a bucket and comes back in it.
        fn allows(&self, things: u64, rate: Rate, now_us: u64) -> bool {
            let (one_us, at_once) = (rate.one_us(), rate.at_once());
            let mut done = things;
            let mut spans = self.0.iter().rev().map(|(at_us, things)| {
                done += things;
                // In microseconds of what comes back, so that nothing is rounded.
                done * one_us <= at_once * one_us + (now_us - at_us)
            });
            things <= at_once && spans.all(|holds| holds)
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take { sender: u64, things: u32 },
        GiveBack { which: prop::sample::Index },
        Wait { ms: u64 },
        Behind { ms: u64 },
    }

    fn steps(senders: u64) -> impl Strategy<Value = Vec<Step>> {
        let take = (0..senders, prop_oneof![8 => 1..3_u32, 1 => 0..40_u32]);
        let step = prop_oneof![
            8 => take.prop_map(|(sender, things)| Step::Take { sender, things }),
            1 => any::<prop::sample::Index>().prop_map(|which| Step::GiveBack { which }),
            3 => prop_oneof![0..500_u64, 0..90_000_u64].prop_map(|ms| Step::Wait { ms }),
            1 => (0..MAX_BACK_MS).prop_map(|ms| Step::Behind { ms }),
        ];
        prop::collection::vec(step, 1..300)
    }

    /// Holds every verdict to a model that keeps everything.
    fn check(mut limiter: Limiter, rate: Rate, steps: Vec<Step>) -> Result<(), TestCaseError> {
        let mut models: BTreeMap<u64, Model> = BTreeMap::new();
        let mut taken: Vec<(u64, u64, u64)> = Vec::new();
        let mut was_given_back = Vec::new();
        let (mut now_ms, mut behind_ms) = (NOW_MS, 0);
        for step in steps {
            match step {
                Step::Wait { ms } => now_ms += ms,
                Step::Behind { ms } => behind_ms = ms,
                Step::GiveBack { which } => {
                    if taken.is_empty() {
                        continue;
                    }
                    let (sender, at_us, things) = taken.swap_remove(which.index(taken.len()));
                    limiter.give_back(things as u32, hashed(sender), rate, at_us / 1_000, now_ms);
                    let done = &mut models.get_mut(&sender).unwrap().0;
                    let place = done.iter().position(|it| *it == (at_us, things)).unwrap();
                    done.remove(place);
                    was_given_back.push(sender);
                }
                Step::Take { sender, things } => {
                    // The clock was there already.
                    let at_ms = now_ms - std::mem::take(&mut behind_ms);
                    let _ = limiter.moment(now_ms);
                    let model = models.entry(sender).or_default();
                    let things = things.min(rate.at_once);
                    let now_us = now_ms * 1_000;
                    let allows = model.allows(things.into(), rate, now_us);
                    match limiter.take(things, hashed(sender), rate, at_ms) {
                        Ok(_) => {
                            prop_assert!(allows || things == 0, "{sender} is let through");
                            model.0.push((now_us, things.into()));
                            taken.push((sender, now_us, things.into()));
                        }
                        Err(wait_ms) => {
                            let is_exact = limiter.others.is_none();
                            let is_whole = !was_given_back.contains(&sender);
                            if is_exact && is_whole {
                                prop_assert!(!allows, "{sender} is refused");
                                let later = |ms: u64| now_us + ms * 1_000;
                                let at = |ms| model.allows(things.into(), rate, later(ms));
                                prop_assert!(at(wait_ms) && !at(wait_ms - 1), "{wait_ms}");
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn every_verdict_is_that_of_an_exact_model(
            at_once in 1..40_u32,
            within_ms in 1..200_000_u64,
            steps in steps(4),
        ) {
            check(Limiter::default(), Rate { at_once, within_ms }, steps)?;
        }

        #[test]
        fn at_capacity_nobody_is_let_through_whom_an_exact_model_refuses(
            at_once in 1..40_u32,
            within_ms in 1..200_000_u64,
            steps in steps(40),
        ) {
            check(Limiter::with_room_for(3), Rate { at_once, within_ms }, steps)?;
        }
    }

    #[test]
    fn so_many_go_at_once_and_then_one_after_the_other_and_others_do_not_wait() {
        let mut limiter = Limiter::default();
        let rate = Rate::a_minute(600);
        for used in 1..=600 {
            let left = limiter.take(1, 1, rate, NOW_MS).unwrap();
            assert_eq!(
                (left.remaining, left.full_in_ms),
                (600 - used, 100 * u64::from(used))
            );
        }
        assert_eq!(limiter.take(1, 1, rate, NOW_MS), Err(100));
        assert_eq!(limiter.take(1, 1, rate, NOW_MS + 99), Err(1));
        assert!(limiter.take(1, 2, rate, NOW_MS).is_ok());
        assert_eq!(taken(&mut limiter, 1, rate, NOW_MS + 30_000), 300);
        assert_eq!(taken(&mut limiter, 1, rate, NOW_MS + 10 * 60_000), 600);
        assert_eq!(taken(&mut limiter, 3, Rate::a_minute(0), NOW_MS), 1);
        assert!(limiter.take(1, 4, Rate::a_minute(u32::MAX), NOW_MS).is_ok());
    }

    #[test]
    fn what_is_worth_many_is_counted_whole_or_not_at_all() {
        let mut limiter = Limiter::default();
        let rate = Rate::a_minute(10);
        assert!(limiter.take(7, 1, rate, NOW_MS).is_ok());
        assert_eq!(limiter.take(4, 1, rate, NOW_MS), Err(6_000));
        assert_eq!(limiter.take(3, 1, rate, NOW_MS).unwrap().remaining, 0);
        assert!(limiter.take(100, 2, rate, NOW_MS).is_ok(), "alone");
        assert!(limiter.take(1, 2, rate, NOW_MS).is_err());
        assert_eq!(limiter.left(2, rate, NOW_MS + 12_000).remaining, 2);
    }

    #[test]
    fn what_is_given_back_at_once_can_be_taken_again_and_later_only_what_did_not_come_back() {
        let mut limiter = Limiter::default();
        let rate = Rate::a_minute(10);
        assert_eq!(taken(&mut limiter, 1, rate, NOW_MS), 10);
        limiter.give_back(4, 1, rate, NOW_MS, NOW_MS);
        assert_eq!(taken(&mut limiter, 1, rate, NOW_MS), 4);
        limiter.give_back(4, 1, rate, NOW_MS, NOW_MS + 12_000);
        assert_eq!(
            taken(&mut limiter, 1, rate, NOW_MS + 12_000),
            4,
            "two and two"
        );
        limiter.give_back(20, 9, rate, NOW_MS, NOW_MS);
        limiter.give_back(10, 1, rate, NOW_MS, NOW_MS + 60_000);
        assert_eq!(taken(&mut limiter, 1, rate, NOW_MS + 60_000), 8);
    }

    #[test]
    fn tables_are_bounded_a_limit_stays_one_when_they_are_full_and_who_rests_is_forgotten() {
        let mut limiter = Limiter::default();
        let rate = Rate::a_minute(60);
        for number in 0..2 * MAX_EXACT as u64 {
            let _ = limiter.take(1, hashed(number), rate, NOW_MS);
        }
        assert_eq!(limiter.full_us.len(), MAX_EXACT);
        for number in 0..1_000 {
            let taken = taken(&mut limiter, hashed(1_000_000 + number), rate, NOW_MS);
            assert!(
                (55..=60).contains(&taken),
                "{taken}: a few too early at most"
            );
        }
        assert_eq!(
            taken(&mut limiter, hashed(1_000_000), rate, NOW_MS + 30_000),
            30,
            "its own"
        );
        let _ = limiter.take(1, hashed(0), rate, NOW_MS + 200_000);
        assert!(limiter.full_us.len() < MAX_EXACT);
        let _ = limiter.take(1, hashed(1), rate, NOW_MS + 400_000);
        for number in 2_000_000..2_000_000 + 2 * MAX_EXACT as u64 {
            let _ = limiter.take(1, hashed(number), rate, NOW_MS + 400_000);
        }
        assert_eq!(limiter.full_us.len(), MAX_EXACT);
    }

    #[test]
    fn honest_senders_are_told_apart_while_two_million_requests_lie_beyond_the_table() {
        let mut limiter = Limiter::default();
        let rate = Rate::a_minute(60);
        for number in 0..MAX_EXACT as u64 + 2_000_000 {
            let _ = limiter.take(1, hashed(number), rate, NOW_MS);
        }
        let refused = (0..10_000).filter(|number| {
            let sender = hashed(1 << 32 | number);
            limiter.take(1, sender, rate, NOW_MS).is_err()
        });
        assert_eq!(refused.count(), 0);
    }

    #[test]
    fn a_clock_that_goes_back_a_little_brings_nothing_back() {
        let mut limiter = Limiter::default();
        let rate = Rate::a_minute(10);
        assert_eq!(taken(&mut limiter, 1, rate, NOW_MS), 10);
        for back_ms in [1, 60_000, MAX_BACK_MS] {
            assert_eq!(taken(&mut limiter, 1, rate, NOW_MS - back_ms), 0);
            assert_eq!(taken(&mut limiter, 1, rate, NOW_MS), 0);
        }
        let set_anew_ms = NOW_MS - MAX_BACK_MS - 1;
        assert_eq!(taken(&mut limiter, 1, rate, set_anew_ms), 10, "set anew");
    }
}
