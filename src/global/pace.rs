//! How often shards are to push.
//!
//! One object takes all pushes of a board. A push takes it half a millisecond with its fold
//! (`npm run bench -- time`), so [`PUSHES_A_SECOND`] are a quarter of its time: 2,500 shards that push
//! every 5 s. Where more have something to tell, each reply asks for longer intervals, and charts
//! follow later: 10,000 shards, as many as there may be, push every 20 s.

//! # Quiet shards
//! A shard with little to tell is told to be quiet: it pushes by the quarter of an hour, and whoever looks in
//! between asks it ([`MAX_PULLED_SHARDS`] at once at most). What makes a shard quiet is what it really pushes.

use crate::wire::{MAX_PUSH_INTERVAL_MS, MOST_QUIET_BYTES, MOST_QUIET_PLAYS, PUSH_INTERVAL_MS};

/// Pushes that are taken a second once shards keep to what they are told.
pub const PUSHES_A_SECOND: u64 = 500;
/// Plays of a minute, and bytes of all panes of a push, up to which a shard becomes quiet: one play a second.
/// It stays so up to four times as much ([`MOST_QUIET_PLAYS`], [`MOST_QUIET_BYTES`]), so that it does not go to and fro.
/// A site of 1,700 plays a day and region has one a minute, and ten in its best; a quarter of it is a few
/// kilobytes. A region of 1,000 plays/s has 60,000 a minute.
const QUIET_PLAYS: u64 = MOST_QUIET_PLAYS / 4;
const QUIET_BYTES: usize = MOST_QUIET_BYTES / 4;
/// What a shard has is known for so long after it was asked: with what its plays may wait elsewhere, in
/// caches 3 s, they are in charts within 10 s.
pub const PULL_AFTER_MS: u64 = 5_000;
/// Shards that are asked at once, and so how many quiet ones with something open a board may have: on its free
/// plan the platform lets an event ask 50 others. Further shards are busy ones, however little they have.
pub const MAX_PULLED_SHARDS: usize = 40;

/// What a push brought.
#[derive(Clone, Copy, Debug)]
pub struct Loudness {
    /// The plays of the fullest of its minutes.
    pub plays_a_minute: u64,
    /// Of all its panes.
    pub bytes: usize,
}

impl Loudness {
    /// Whether a shard that pushes this is quiet, or stays so.
    pub fn is_quiet(self, was_quiet: bool) -> bool {
        let (plays, bytes) = match was_quiet {
            true => (MOST_QUIET_PLAYS, MOST_QUIET_BYTES),
            false => (QUIET_PLAYS, QUIET_BYTES),
        };
        self.plays_a_minute <= plays && self.bytes <= bytes
    }
}

/// How many shards push, and the interval that follows from it.
#[derive(Debug)]
pub struct Pace {
    /// When counting began.
    since_ms: u64,
    /// The pauses before each push since then, added up: a shard's are as long as the time that
    /// passed, however often it pushes.
    pauses_ms: u64,
    interval_ms: u64,
    /// A longer one that shards were told before, and until when they may wait by it.
    longer_ms: u64,
    longer_until_ms: u64,
    push_gap_ms: u64,
}

impl Pace {
    /// A push can be taken every so many milliseconds. So many shards have pushed all the time.
    pub fn new(push_gap_ms: u64, shards: usize) -> Self {
        Pace {
            since_ms: 0,
            pauses_ms: 0,
            interval_ms: bounded_ms(shards as u64 * push_gap_ms),
            longer_ms: 0,
            longer_until_ms: 0,
            push_gap_ms,
        }
    }

    /// A push came, so long after the last one of the same shard.
    pub fn add(&mut self, pause_ms: u64, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.since_ms);
        // Long enough for each of them to have pushed once or twice.
        if passed_ms >= 2 * self.interval_ms {
            let wanted_ms = self.pauses_ms / passed_ms * self.push_gap_ms;
            self.longer_ms = self.told_ms(now_ms);
            self.longer_until_ms = self.longer_until_ms.max(now_ms + self.interval_ms);
            self.interval_ms = bounded_ms(wanted_ms);
            self.since_ms = now_ms;
            self.pauses_ms = 0;
        }
        // Whoever had nothing to tell for long counts as one that pushes now.
        self.pauses_ms += pause_ms.min(2 * self.interval_ms);
    }

    /// How long a shard is to wait until its next push.
    pub fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// The longest that a shard waits, by what it was told.
    pub fn told_ms(&self, now_ms: u64) -> u64 {
        match now_ms < self.longer_until_ms {
            true => self.interval_ms.max(self.longer_ms),
            false => self.interval_ms,
        }
    }
}

fn bounded_ms(interval_ms: u64) -> u64 {
    interval_ms.clamp(PUSH_INTERVAL_MS, MAX_PUSH_INTERVAL_MS)
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use super::*;

    /// Lets so many shards push as they are told for an hour. Returns the interval at the end and
    /// the pushes of the last second.
    fn run(shards: usize) -> (u64, u64) {
        let mut pace = Pace::new(1_000 / PUSHES_A_SECOND, 0);
        let first = |shard| Reverse((1_000_000 + shard as u64 % PUSH_INTERVAL_MS, 0));
        let mut next: BinaryHeap<Reverse<(u64, u64)>> = (0..shards).map(first).collect();
        let mut last_second = 0;
        while let Some(Reverse((now_ms, pause_ms))) = next.pop() {
            if now_ms > 4_600_000 {
                break;
            }
            pace.add(pause_ms, now_ms);
            last_second += u64::from(now_ms > 4_599_000);
            let pause_ms = pace.interval_ms();
            next.push(Reverse((now_ms + pause_ms, pause_ms)));
        }
        (pace.interval_ms(), last_second)
    }

    #[test]
    fn a_shard_becomes_quiet_and_stays_so_until_it_has_four_times_as_much() {
        let loudness = |plays_a_minute, bytes| Loudness {
            plays_a_minute,
            bytes,
        };
        for (was_quiet, most_plays, most_bytes) in [
            (false, 60, 64 << 10),
            (true, MOST_QUIET_PLAYS, MOST_QUIET_BYTES),
        ] {
            assert!(loudness(most_plays, most_bytes).is_quiet(was_quiet));
            assert!(!loudness(most_plays + 1, 0).is_quiet(was_quiet));
            assert!(!loudness(0, most_bytes + 1).is_quiet(was_quiet));
        }
    }

    #[test]
    fn what_shards_were_told_counts_for_as_long_as_they_wait_by_it() {
        const NOW_MS: u64 = 1_000_000;
        // As many as were known at a start.
        let mut pace = Pace::new(1_000 / PUSHES_A_SECOND, 10_000);
        assert_eq!((pace.interval_ms(), pace.told_ms(NOW_MS)), (20_000, 20_000));
        pace.since_ms = NOW_MS - 40_000;
        pace.add(0, NOW_MS);
        assert_eq!(pace.interval_ms(), PUSH_INTERVAL_MS);
        assert_eq!(pace.told_ms(NOW_MS + 19_999), 20_000);
        pace.add(0, NOW_MS + 15_000);
        assert_eq!(pace.told_ms(NOW_MS + 19_999), 20_000);
        assert_eq!(pace.told_ms(NOW_MS + 20_000), PUSH_INTERVAL_MS);
        let huge = Pace::new(1_000 / PUSHES_A_SECOND, 1_000_000);
        assert_eq!(huge.interval_ms(), MAX_PUSH_INTERVAL_MS);
    }

    #[test]
    fn shards_push_every_five_seconds_as_long_as_they_are_few() {
        assert_eq!(run(1).0, PUSH_INTERVAL_MS);
        assert_eq!(run(1_000).0, PUSH_INTERVAL_MS);
        assert_eq!(run(2_000).0, PUSH_INTERVAL_MS);
    }

    #[test]
    fn however_many_shards_there_are_their_pushes_come_at_the_rate_that_can_be_taken() {
        for shards in [5_000, 10_000, 50_000] {
            let (interval_ms, last_second) = run(shards);
            let wanted_ms = shards as u64 * 1_000 / PUSHES_A_SECOND;
            assert!(
                interval_ms.abs_diff(wanted_ms) < wanted_ms / 2,
                "{interval_ms}"
            );
            assert!(last_second < 3 * PUSHES_A_SECOND, "{shards}: {last_second}");
        }
    }
}
