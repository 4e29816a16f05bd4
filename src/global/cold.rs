//! How many charts that nobody asked for lately are computed a second.
//!
//! A chart costs milliseconds, and whoever writes queries can ask for any number of different
//! ones. Those that readers look at are few and come back every few seconds: they are *warm*, and
//! shards ask for each at most once in two seconds. All others are *cold*. Charts over the rate
//! wait for their turn, so pushes come before them; those that would wait too long are refused.

use std::collections::HashMap;

use ahash::RandomState;

use crate::wire::ChartRequest;

/// Cold charts a second: at 5 to 15 ms each, a fifth of the object's time or less.
const COLD_A_SECOND: u64 = 20;
/// Warm charts a second; more of them are answered from what their shards keep.
const WARM_A_SECOND: u64 = 60;
/// A chart stays warm for so long after it was asked for.
const WARM_MS: u64 = 10_000;
/// Panes a second that posts' pages may look at, in their scope and again in every region: 50 pages
/// of a day, 5 of 400 days.
const POST_PANES_A_SECOND: u64 = 2_000;
/// How long a chart may wait for its turn; whoever asks waits 3 s.
const MAX_WAIT_MS: u64 = 1_000;
/// Charts that can be warm: those of [`WARM_MS`] at the two rates are fewer.
const MAX_WARM: usize = 1_024;

/// Admits charts: two buckets that fill at their rates, hold a second's worth, and lend what
/// [`MAX_WAIT_MS`] bring in.
pub struct ChartAdmission {
    warm: HashMap<ChartRequest, u64, RandomState>,
    cold: Bucket,
    all_warm: Bucket,
    post_panes: Bucket,
}

impl Default for ChartAdmission {
    fn default() -> Self {
        ChartAdmission {
            warm: HashMap::with_hasher(RandomState::with_seeds(9, 10, 11, 12)),
            cold: Bucket::of(COLD_A_SECOND),
            all_warm: Bucket::of(WARM_A_SECOND),
            post_panes: Bucket::of(POST_PANES_A_SECOND),
        }
    }
}

impl ChartAdmission {
    /// In how many milliseconds a chart may be computed; `None` where that is too far away.
    pub fn admit(&mut self, request: &ChartRequest, now_ms: u64) -> Option<u64> {
        let is_fresh = |asked_ms: u64| now_ms.saturating_sub(asked_ms) < WARM_MS;
        let is_warm = self
            .warm
            .get(request)
            .is_some_and(|asked_ms| is_fresh(*asked_ms));
        let bucket = if is_warm {
            &mut self.all_warm
        } else {
            &mut self.cold
        };
        let wait_ms = bucket.take(1, now_ms)?;
        if self.warm.len() >= MAX_WARM && !self.warm.contains_key(request) {
            self.warm.retain(|_, asked_ms| is_fresh(*asked_ms));
        }
        if self.warm.len() < MAX_WARM {
            self.warm.insert(request.clone(), now_ms);
        }
        Some(wait_ms)
    }

    /// In how many milliseconds the page of a post over so many panes may be made; `None` where
    /// that is too far away.
    pub fn admit_post(&mut self, panes: usize, now_ms: u64) -> Option<u64> {
        self.post_panes.take(panes as u64, now_ms)
    }
}

struct Bucket {
    rate: u64,
    /// When the next chart may be computed, if more than a second's worth was not spared.
    next_us: u64,
}

impl Bucket {
    const fn of(rate: u64) -> Self {
        Bucket { rate, next_us: 0 }
    }

    fn take(&mut self, count: u64, now_ms: u64) -> Option<u64> {
        let now_us = now_ms.saturating_mul(1_000);
        let next_us = self.next_us.max(now_us.saturating_sub(1_000_000));
        let wait_us = next_us.saturating_sub(now_us);
        if wait_us > MAX_WAIT_MS * 1_000 {
            return None;
        }
        self.next_us = next_us + count * 1_000_000 / self.rate;
        Some(wait_us.div_ceil(1_000))
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
        let mut admission = ChartAdmission::default();
        let admitted = (0..10_000_u64)
            .filter(|ms| admission.admit(&chart(*ms), 1_000_000 + ms).is_some())
            .count();
        // Ten seconds' worth, what was spared, and what waits.
        assert!((200..=262).contains(&admitted), "{admitted}");
        assert!(admission.warm.len() <= MAX_WARM);
    }

    #[test]
    fn charts_over_the_rate_wait_for_their_turn() {
        let mut admission = ChartAdmission::default();
        let waits: Vec<Option<u64>> = (0..70)
            .map(|number| admission.admit(&chart(number), 1_000_000))
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
        let mut admission = ChartAdmission::default();
        let mut refused = 0;
        for ms in 0..60_000_u64 {
            let now_ms = 1_000_000 + ms;
            if ms % 100 == 0
                && admission
                    .admit(&chart(u64::MAX - ms % 2_000), now_ms)
                    .is_none()
            {
                refused += 1;
            }
            admission.admit(&chart(ms), now_ms);
        }
        assert!(refused <= 40, "{refused}");
    }

    #[test]
    fn pages_of_posts_are_limited_by_what_they_look_at() {
        for (panes, a_second) in [(40, 50), (400, 5)] {
            let mut admission = ChartAdmission::default();
            let admitted = (0..10_000_u64)
                .filter(|ms| admission.admit_post(panes, 1_000_000 + ms).is_some())
                .count() as u64;
            // Ten seconds' worth, what was spared, what waits, and one that passes the limit.
            let range = 10 * a_second..=12 * a_second + 1;
            assert!(range.contains(&admitted), "{panes} panes: {admitted}");
        }
    }

    #[test]
    fn asking_again_for_the_charts_of_a_flood_is_bounded_too() {
        let mut admission = ChartAdmission::default();
        let admitted = (0..60_000_u64)
            .filter(|ms| {
                admission
                    .admit(&chart(ms % 1_000), 1_000_000 + ms)
                    .is_some()
            })
            .count() as u64;
        assert!(
            admitted <= 63 * (COLD_A_SECOND + WARM_A_SECOND),
            "{admitted}"
        );
    }
}
