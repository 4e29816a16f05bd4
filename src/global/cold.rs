//! How much of the object's time goes into charts and pages that nobody asked for lately.
//!
//! A chart costs milliseconds, and whoever writes queries can ask for any number of different
//! ones. Those that readers look at are few and come back every few seconds: they are *warm*, and
//! shards ask for each at most once in two seconds. All others are *cold*. Charts over the rate
//! wait for their turn, so pushes come before them; those that would wait too long are refused.
//!
//! A turn is 5 to 10 ms. A question that reads more of the ladders than that pays for it in further
//! turns, afterwards, when it is known: 400 days and those before are half a second where they are
//! not in memory, and 60 turns. Until they are over, nothing else of its kind is begun.

use std::collections::HashMap;

use ahash::RandomState;

use crate::wire::ChartRequest;

/// Cold charts a second: a fifth of the object's time or less.
const COLD_A_SECOND: u64 = 20;
/// Warm charts a second; more of them are answered from what their shards keep.
const WARM_A_SECOND: u64 = 60;
/// A chart stays warm for so long after it was asked for.
const WARM_MS: u64 = 10_000;
/// Turns a second for posts' pages: ten pages of a day, or one of 400 days.
const PAGE_TURNS_A_SECOND: u64 = 30;
/// Counters that are read in the time of a turn, at 0.1 to 0.2 µs each.
const COUNTERS_A_TURN: u64 = 50_000;
/// How long a chart may wait for its turn; whoever asks waits 10 s.
const MAX_WAIT_MS: u64 = 1_000;
/// Charts that can be warm: those of [`WARM_MS`] at the two rates are fewer.
const MAX_WARM: usize = 1_024;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Cold,
    Warm,
    Page,
}

/// A turn that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pub asked: Asked,
    /// In how many milliseconds it begins.
    pub wait_ms: u64,
}

/// Gives turns: buckets that fill at their rates, hold a second's worth, and lend what
/// [`MAX_WAIT_MS`] bring in.
pub struct Admission {
    warm: HashMap<ChartRequest, u64, RandomState>,
    cold_charts: Bucket,
    warm_charts: Bucket,
    pages: Bucket,
}

impl Default for Admission {
    fn default() -> Self {
        Admission {
            warm: HashMap::with_hasher(RandomState::with_seeds(9, 10, 11, 12)),
            cold_charts: Bucket::of(COLD_A_SECOND),
            warm_charts: Bucket::of(WARM_A_SECOND),
            pages: Bucket::of(PAGE_TURNS_A_SECOND),
        }
    }
}

impl Admission {
    /// The turn of a chart; `None` where it is too far away.
    pub fn chart(&mut self, request: &ChartRequest, now_ms: u64) -> Option<Turn> {
        let is_fresh = |asked_ms: u64| now_ms.saturating_sub(asked_ms) < WARM_MS;
        let is_warm = self
            .warm
            .get(request)
            .is_some_and(|asked_ms| is_fresh(*asked_ms));
        let turn = self.turn(if is_warm { Asked::Warm } else { Asked::Cold }, now_ms)?;
        if self.warm.len() >= MAX_WARM && !self.warm.contains_key(request) {
            self.warm.retain(|_, asked_ms| is_fresh(*asked_ms));
        }
        if self.warm.len() < MAX_WARM {
            self.warm.insert(request.clone(), now_ms);
        }
        Some(turn)
    }

    /// The turn of a post's page; `None` where it is too far away.
    pub fn page(&mut self, now_ms: u64) -> Option<Turn> {
        self.turn(Asked::Page, now_ms)
    }

    /// Whether a turn that was waited for can begin: those before may have cost more than was
    /// known.
    pub fn can_begin(&mut self, turn: Turn, now_ms: u64) -> bool {
        turn.wait_ms == 0 || self.bucket(turn.asked).wait_us(now_ms) <= 2_000 * MAX_WAIT_MS
    }

    /// Takes the further turns that reading so many counters was worth.
    pub fn pay(&mut self, turn: Turn, counters_read: u64, now_ms: u64) {
        let turns = counters_read / COUNTERS_A_TURN;
        self.bucket(turn.asked).take(turns, now_ms);
    }

    fn turn(&mut self, asked: Asked, now_ms: u64) -> Option<Turn> {
        let bucket = self.bucket(asked);
        let wait_us = bucket.wait_us(now_ms);
        if wait_us > MAX_WAIT_MS * 1_000 {
            return None;
        }
        bucket.take(1, now_ms);
        let wait_ms = wait_us.div_ceil(1_000);
        Some(Turn { asked, wait_ms })
    }

    fn bucket(&mut self, asked: Asked) -> &mut Bucket {
        match asked {
            Asked::Cold => &mut self.cold_charts,
            Asked::Warm => &mut self.warm_charts,
            Asked::Page => &mut self.pages,
        }
    }
}

struct Bucket {
    rate: u64,
    /// When the next turn begins, if more than a second's worth was not spared.
    next_us: u64,
}

impl Bucket {
    const fn of(rate: u64) -> Self {
        Bucket { rate, next_us: 0 }
    }

    fn wait_us(&self, now_ms: u64) -> u64 {
        self.next_us.saturating_sub(now_ms.saturating_mul(1_000))
    }

    fn take(&mut self, turns: u64, now_ms: u64) {
        let spared_us = now_ms.saturating_mul(1_000).saturating_sub(1_000_000);
        self.next_us = self.next_us.max(spared_us) + turns * 1_000_000 / self.rate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaderboard::Sort;
    use crate::wire::WindowRequest;

    fn chart(number: u64) -> ChartRequest {
        ChartRequest {
            scope: "global".into(),
            window: WindowRequest::Sliding { length_ms: number },
            sort: Sort::Views,
            k_class: 10,
        }
    }

    #[test]
    fn of_a_flood_of_different_charts_twenty_a_second_are_computed() {
        let mut admission = Admission::default();
        let admitted = (0..10_000_u64)
            .filter(|ms| admission.chart(&chart(*ms), 1_000_000 + ms).is_some())
            .count();
        // Ten seconds' worth, what was spared, and what waits.
        assert!((200..=262).contains(&admitted), "{admitted}");
        assert!(admission.warm.len() <= MAX_WARM);
    }

    #[test]
    fn charts_over_the_rate_wait_for_their_turn() {
        let mut admission = Admission::default();
        let waits: Vec<Option<u64>> = (0..70)
            .map(|number| {
                admission
                    .chart(&chart(number), 1_000_000)
                    .map(|turn| turn.wait_ms)
            })
            .collect();
        assert_eq!(waits[..21], [Some(0); 21]);
        assert_eq!(
            [waits[21], waits[30], waits[40]],
            [Some(50), Some(500), Some(1_000)]
        );
        assert_eq!(waits[41], None);
    }

    #[test]
    fn charts_that_readers_look_at_go_on_beside_a_flood() {
        let mut admission = Admission::default();
        let mut refused = 0;
        for ms in 0..60_000_u64 {
            let now_ms = 1_000_000 + ms;
            if ms % 100 == 0
                && admission
                    .chart(&chart(u64::MAX - ms % 2_000), now_ms)
                    .is_none()
            {
                refused += 1;
            }
            admission.chart(&chart(ms), now_ms);
        }
        assert!(refused <= 40, "{refused}");
    }

    #[test]
    fn pages_of_posts_are_limited_by_what_is_read_for_them() {
        for (counters_read, in_a_minute) in
            [(0, 1_800), (100_000, 600), (1_600_000, 54), (17_600_000, 5)]
        {
            let mut admission = Admission::default();
            let mut admitted = 0;
            for now_ms in 1_000_000..1_060_000 {
                if let Some(turn) = admission.page(now_ms) {
                    admission.pay(turn, counters_read, now_ms);
                    admitted += 1;
                }
            }
            // A minute's worth, what was spared, what waits, and one that passes the limit.
            let range = in_a_minute..=in_a_minute + in_a_minute / 30 + 2;
            assert!(
                range.contains(&admitted),
                "{counters_read} counters: {admitted}"
            );
        }
    }

    #[test]
    fn charts_that_read_long_ladders_take_as_many_turns_as_they_take_time() {
        let mut admission = Admission::default();
        let mut admitted = 0;
        for now_ms in 1_000_000..1_060_000 {
            if let Some(turn) = admission.chart(&chart(now_ms), now_ms) {
                admission.pay(turn, 3_200_000, now_ms);
                admitted += 1;
            }
        }
        // Half a second each.
        assert!((18..=20).contains(&admitted), "{admitted}");
    }

    #[test]
    fn charts_that_waited_do_not_begin_when_those_before_cost_too_much() {
        let mut admission = Admission::default();
        let ask = |admission: &mut Admission, number| admission.chart(&chart(number), 1_000_000);
        let turns: Vec<Turn> = (0..41)
            .filter_map(|number| ask(&mut admission, number))
            .collect();
        assert_eq!((turns.len(), turns[40].wait_ms), (41, 1_000));
        assert!(admission.can_begin(turns[40], 1_001_000));
        admission.pay(turns[0], 4_000_000, 1_000_000);
        assert!(admission.can_begin(turns[0], 1_000_000));
        assert!(!admission.can_begin(turns[40], 1_001_000));
    }

    #[test]
    fn asking_again_for_the_charts_of_a_flood_is_bounded_too() {
        let mut admission = Admission::default();
        let admitted = (0..60_000_u64)
            .filter(|ms| {
                admission
                    .chart(&chart(ms % 1_000), 1_000_000 + ms)
                    .is_some()
            })
            .count() as u64;
        assert!(
            admitted <= 63 * (COLD_A_SECOND + WARM_A_SECOND),
            "{admitted}"
        );
    }
}
