//! `DAILY_REQUESTS`: how a board stays within the requests that it may make of its objects in a day.
//!
//! Plays and readers come when they like. What may wait is what objects ask of each other: a shard's push, and
//! the question for what it has open. So as a day's requests are used up these come less often, charts are
//! older, and beacons are still taken at midnight. Days are those of the platform, in UTC.
//!
//! # The rule
//! What was used an hour so far, against what may be used an hour from now on. Where the first is more, all
//! that may wait takes longer by the fourth power of the ratio: where readers come more rarely than every 5 s, a
//! question asked at most every 5 s saves nothing until its interval is several times longer. The last
//! [`FOR_BEACONS`] of the budget is for what cannot wait: once it is begun, everything else comes as seldom as it ever does. Who sends more than that in a day's
//! last hour, after a quiet day, may find it used up.

use crate::window::{DAY_MS, HOUR_MS};

/// A tenth.
const FOR_BEACONS: u64 = 10;
/// Before so much of a day is over it says nothing of the rest.
const FIRST_MS: u64 = HOUR_MS;
/// What comes each 5 s comes once an hour at last.
pub const MOST_STRETCHED: u64 = 720;

/// How many times longer than usual all that may wait is to take, of a day that began at 00:00 UTC: from 1,
/// where there is no hurry, to [`MOST_STRETCHED`].
pub fn stretch(budget: u64, used: u64, now_ms: u64) -> u64 {
    let may_wait = budget - budget / FOR_BEACONS;
    let left = may_wait.saturating_sub(used);
    if left == 0 {
        return MOST_STRETCHED;
    }
    let passed_ms = (now_ms % DAY_MS).max(FIRST_MS);
    let left_ms = DAY_MS - now_ms % DAY_MS;
    // A day has less than 2^27 milliseconds: the products have room.
    let (used, left) = (u128::from(used), u128::from(left));
    let (passed_ms, left_ms) = (u128::from(passed_ms), u128::from(left_ms));
    let is = used * left_ms;
    let may_be = left * passed_ms;
    if is <= may_be {
        return 1;
    }
    let sixteenths = u64::try_from(is * 16 / may_be).unwrap_or(u64::MAX);
    let power = sixteenths.saturating_pow(4).div_ceil(16_u64.pow(4));
    power.clamp(1, MOST_STRETCHED)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUDGET: u64 = 100_000;

    #[test]
    fn nothing_waits_where_there_is_enough_and_everything_where_there_is_nothing() {
        let noon_ms = DAY_MS / 2;
        assert_eq!(stretch(BUDGET, 0, noon_ms), 1);
        assert_eq!(stretch(BUDGET, BUDGET * 9 / 20, noon_ms), 1);
        // Two thirds are used at noon, and as much an hour as may be used in the next three.
        assert_eq!(stretch(BUDGET, BUDGET * 27 / 40, noon_ms), 81);
        assert_eq!(stretch(BUDGET, BUDGET * 9 / 10, noon_ms), MOST_STRETCHED);
        assert_eq!(stretch(BUDGET, u64::MAX, noon_ms), MOST_STRETCHED);
        assert_eq!(stretch(0, 0, noon_ms), MOST_STRETCHED);
        // The first hour is no measure: half an hour's rush is not a day's.
        assert_eq!(stretch(BUDGET, 3_000, HOUR_MS / 60), 1);
    }

    proptest! {
        #[test]
        fn the_more_is_used_the_longer_all_waits_and_the_later_it_is_the_shorter(
            budget in 0_u64..1 << 53,
            used in 0_u64..1 << 53,
            more in 0_u64..1 << 53,
            now_ms in 0..DAY_MS,
            later_ms in 0..DAY_MS,
        ) {
            let waits = stretch(budget, used, now_ms);
            prop_assert!((1..=MOST_STRETCHED).contains(&waits));
            prop_assert!(stretch(budget, used + more, now_ms) >= waits);
            let later_ms = now_ms.max(later_ms);
            prop_assert!(stretch(budget, used, later_ms) <= waits);
        }

        /// Six shards, each asked and pushing every 5 s while there is anything to tell, as often as is
        /// stretched: 207,360 requests a day, where the day has 100,000.
        #[test]
        fn beacons_are_taken_until_midnight_whatever_the_hours_are_like(
            // The quietest hour has a fifth of the busiest one's.
            hours in prop::collection::vec(20_u64..100, 24),
            beacons in 0_u64..BUDGET / 2,
            heard_late_s in 0_u64..600,
        ) {
            let all: u64 = hours.iter().sum::<u64>().max(1);
            let mut used = 0;
            let mut heard = vec![0_u64];
            let mut due_s = 0;
            let mut sent = 0;
            for second in 0..DAY_MS / 1_000 {
                let hour = (second / 3_600) as usize;
                let before: u64 = hours[..hour].iter().sum();
                let so_far = before * 3_600 + hours[hour] * (second % 3_600);
                let due = beacons * so_far / (all * 3_600);
                used += due - sent;
                sent = due;
                if second >= due_s {
                    used += 6 * 2;
                    let known = heard[heard.len().saturating_sub(1 + heard_late_s as usize)];
                    due_s = second + 5 * stretch(BUDGET, known, second * 1_000);
                }
                heard.push(used);
            }
            prop_assert!(used <= BUDGET, "{used}");
        }
    }
}
