//! How often one sender may come: a sliding-window counter over two fixed minutes.
//!
//! The share of the last minute that still lies in the sliding one is taken as evenly spread:
//! `last · (1 − elapsed) + this`, rounded up. That is off by a few per cent at worst and needs two numbers a
//! sender. So a minute of the clock never sees more than the limit, and 60 seconds that begin
//! anywhere never see twice the limit (docs/windows.md), whatever is asked and however much:
//!
//! # At capacity
//! The first [`MAX_EXACT`] senders of a minute are counted one by one. Those who come after them
//! are counted in a [`Sketch`], which may count a sender for more than it is and never for less: it
//! may be refused too early, and nobody is let through because a table is full.
//!
//! Time does not go back: what is asked with an earlier clock counts as asked now. Only a clock
//! that was set back by more than two minutes begins anew, or everybody would wait until it is there
//! again.
//!
//! Senders are 64-bit hashes under a key that changes daily; addresses are never kept.

use std::collections::HashMap;
use std::hash::Hasher;
use std::net::IpAddr;

use ahash::RandomState;
use siphasher::sip::SipHasher13;

use crate::visitor::address_of;

/// Length of the window.
pub const WINDOW_MS: u64 = 60_000;
/// Senders that are counted one by one in a minute: what a table of 65,536 places of 17 bytes holds
/// before it grows, 1.1 MB. With the sketch, two minutes are 4.3 MB at most.
pub const MAX_EXACT: usize = 57_344;
/// Rows of a sketch, one for each 16 bits of a sender's hash, and the cells of a row.
const SKETCH_ROWS: usize = 4;
const SKETCH_CELLS: usize = 1 << 16;
const DAY_MS: u64 = 24 * 3_600_000;

/// Counts by sender.
#[derive(Default)]
pub struct Limiter {
    minute: u64,
    this: Minute,
    last: Minute,
}

/// What a sender may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub allowed: bool,
    pub remaining: u32,
    /// Until the current fixed minute is over.
    pub reset_s: u32,
}

impl Limiter {
    /// Counts a request of a sender that may make `limit` a minute. One that is refused is not
    /// counted: whoever waits is let in again.
    pub fn take(&mut self, sender: u64, limit: u32, now_ms: u64) -> Allowance {
        self.take_as(1, sender, limit, now_ms)
    }

    /// Counts something that is worth so many requests: all of them, or none. More than the whole
    /// limit is taken by whoever has nothing counted yet.
    pub fn take_as(&mut self, requests: u32, sender: u64, limit: u32, now_ms: u64) -> Allowance {
        let now_ms = self.turn_to(now_ms);
        let left = limit.saturating_sub(self.counted(sender, now_ms));
        let requests = requests.min(limit.max(1));
        let allowed = requests <= left;
        if allowed {
            self.this.add(sender, requests);
        }
        Allowance {
            allowed,
            remaining: if allowed { left - requests } else { left },
            reset_s: ((WINDOW_MS - now_ms % WINDOW_MS).div_ceil(1_000)) as u32,
        }
    }

    /// What a sender that may make `limit` requests a minute has left.
    pub fn left(&mut self, sender: u64, limit: u32, now_ms: u64) -> u32 {
        let now_ms = self.turn_to(now_ms);
        limit.saturating_sub(self.counted(sender, now_ms))
    }

    /// Gives back what a sender took at `taken_ms`, as [`turn_to`](Limiter::turn_to) said, and did
    /// not use after all: not more than it took then.
    pub fn give_back(&mut self, requests: u32, sender: u64, taken_ms: u64) {
        let minute = taken_ms / WINDOW_MS;
        match self.minute.checked_sub(minute) {
            Some(0) => self.this.give_back(sender, requests),
            Some(1) => self.last.give_back(sender, requests),
            // It counts no longer.
            _ => {}
        }
    }

    /// Brings the counts to a moment, and says which that is: never one before what was asked.
    pub fn turn_to(&mut self, now_ms: u64) -> u64 {
        let minute = now_ms / WINDOW_MS;
        if minute == self.minute {
            return now_ms;
        }
        if minute < self.minute && self.minute - minute <= 2 {
            return self.minute * WINDOW_MS;
        }
        self.last = std::mem::take(&mut self.this);
        if minute != self.minute + 1 {
            self.last = Minute::default();
        }
        self.minute = minute;
        now_ms
    }

    fn counted(&self, sender: u64, now_ms: u64) -> u32 {
        let left_ms = WINDOW_MS - now_ms % WINDOW_MS;
        // Rounded up, or the last second of a minute would see twice the limit.
        let still_counted = (u64::from(self.last.get(sender)) * left_ms).div_ceil(WINDOW_MS);
        let still_counted = u32::try_from(still_counted).unwrap_or(u32::MAX);
        still_counted.saturating_add(self.this.get(sender))
    }
}

/// What was counted in a minute of the clock.
struct Minute {
    exact: HashMap<u64, u32, RandomState>,
    others: Option<Sketch>,
}

impl Default for Minute {
    fn default() -> Self {
        // Keys are the output of a keyed hash: nobody can aim at this one.
        Minute {
            exact: HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4)),
            others: None,
        }
    }
}

impl Minute {
    fn get(&self, sender: u64) -> u32 {
        let others = || self.others.as_ref().map_or(0, |others| others.get(sender));
        self.exact.get(&sender).copied().unwrap_or_else(others)
    }

    fn add(&mut self, sender: u64, requests: u32) {
        let has_room = self.exact.len() < MAX_EXACT;
        if let Some(count) = self.exact.get_mut(&sender) {
            *count = count.saturating_add(requests);
        } else if has_room {
            self.exact.insert(sender, requests);
        } else {
            let others = self.others.get_or_insert_with(Sketch::new);
            others.change(sender, |count| count.saturating_add(requests));
        }
    }

    /// Where it was added: a sender is in one of the two for the whole minute.
    fn give_back(&mut self, sender: u64, requests: u32) {
        if let Some(count) = self.exact.get_mut(&sender) {
            *count = count.saturating_sub(requests);
        } else if let Some(others) = &mut self.others {
            others.change(sender, |count| count.saturating_sub(requests));
        }
    }
}

/// A count-min sketch: each sender has a cell in each row, which others may share. The smallest of
/// its cells is what it came, or more. The hash of a sender is its cells: it is under a key that
/// nobody knows, so nobody can look for two that share all of them.
///
/// # Error
/// With n requests in it, a sender is counted for n / 65,536 more on average in each row, and so for
/// less than that: a limit of 60 refuses nobody too early while there are 2 million
/// (a test below).
struct Sketch(Box<[u32]>);

impl Sketch {
    fn new() -> Self {
        Sketch(vec![0; SKETCH_ROWS * SKETCH_CELLS].into_boxed_slice())
    }

    fn get(&self, sender: u64) -> u32 {
        let cells = Self::cells(sender).map(|cell| self.0.get(cell).copied());
        cells.into_iter().flatten().min().unwrap_or(u32::MAX)
    }

    fn change(&mut self, sender: u64, change: impl Fn(u32) -> u32) {
        for cell in Self::cells(sender) {
            if let Some(count) = self.0.get_mut(cell) {
                *count = change(*count);
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

/// All cold charts that a sender may ask for at once come back in this time.
const COLD_WINDOW_MS: u64 = 2 * WINDOW_MS;
/// Addresses whose cold charts are told apart: a table of 65,536 places of 17 bytes, 1.1 MB.
const MAX_COLD_SENDERS: usize = 57_344;
/// Buckets that those who come after them share, by their hash: 32 KB.
const SHARED_BUCKETS: usize = 4_096;
/// How often full buckets are looked for: that takes a millisecond.
const CLEARED_EVERY_MS: u64 = 1_000;

/// Charts that nobody looked at lately, by sender: a bucket each that fills in [`COLD_WINDOW_MS`],
/// kept as the moment when it is full again (the generic cell rate algorithm). Full buckets are
/// forgotten when room is short; if that is not enough, new senders share the buckets of
/// [`SHARED_BUCKETS`], and none has more than one of its own would give it.
pub struct ColdCharts {
    full_ms: HashMap<u64, u64, RandomState>,
    /// None before they are needed.
    shared_full_ms: Vec<u64>,
    cleared_ms: u64,
}

impl Default for ColdCharts {
    fn default() -> Self {
        // Keys are the output of a keyed hash: nobody can aim at this one.
        let full_ms = HashMap::with_hasher(RandomState::with_seeds(13, 14, 15, 16));
        ColdCharts {
            full_ms,
            shared_full_ms: Vec::new(),
            cleared_ms: 0,
        }
    }
}

impl ColdCharts {
    /// Takes one for a sender that may ask for `at_once` (1 at least).
    ///
    /// # Errors
    /// Where it may not: in how many milliseconds it may.
    pub fn take(&mut self, sender: u64, at_once: u32, now_ms: u64) -> Result<(), u64> {
        let one_ms = (COLD_WINDOW_MS / u64::from(at_once.max(1))).max(1);
        let bucket = self.bucket(sender, now_ms);
        // A clock that was set back does not make a bucket emptier than it can be.
        let full_ms = (*bucket).clamp(now_ms, now_ms + COLD_WINDOW_MS);
        let empties_ms = full_ms - now_ms + one_ms;
        if empties_ms > COLD_WINDOW_MS {
            return Err(empties_ms - COLD_WINDOW_MS);
        }
        *bucket = full_ms + one_ms;
        Ok(())
    }

    /// When a sender's bucket is full.
    fn bucket(&mut self, sender: u64, now_ms: u64) -> &mut u64 {
        let is_known = self.full_ms.contains_key(&sender);
        let is_full = self.full_ms.len() >= MAX_COLD_SENDERS;
        if !is_known && is_full && now_ms.abs_diff(self.cleared_ms) >= CLEARED_EVERY_MS {
            self.cleared_ms = now_ms;
            self.full_ms.retain(|_, full_ms| *full_ms > now_ms);
        }
        let shared = sender as usize % SHARED_BUCKETS;
        if is_known || self.full_ms.len() < MAX_COLD_SENDERS {
            // It may have shared one until now.
            let owed = self.shared_full_ms.get(shared).copied();
            return self.full_ms.entry(sender).or_insert(owed.unwrap_or(0));
        }
        self.shared_full_ms.resize(SHARED_BUCKETS, 0);
        &mut self.shared_full_ms[shared]
    }
}

/// Who sends from an address, for today: an IPv6 sender is its network of 64 bits, since a
/// subscriber has all of it.
pub fn sender(address: &str, seed: &[u8; 16], now_ms: u64) -> u64 {
    let mut hasher = SipHasher13::new_with_key(seed);
    hasher.write_u64(now_ms / DAY_MS);
    // The bare runtime names the port too, which differs by connection.
    match address_of(address) {
        Some(IpAddr::V4(address)) => hasher.write(&address.octets()),
        Some(IpAddr::V6(address)) => {
            hasher.write(address.octets().first_chunk::<8>().unwrap_or(&[0; 8]));
        }
        None => hasher.write(address.as_bytes()),
    }
    hasher.finish()
}

/// Whether a user agent says of itself that no person is behind it.
pub fn is_bot(user_agent: &str) -> bool {
    const WORDS: [&str; 9] = [
        "crawl",
        "spider",
        "slurp",
        "archiver",
        "facebookexternalhit",
        "lighthouse",
        "pingdom",
        "preview",
        "scrapy",
    ];
    let agent = user_agent.to_ascii_lowercase();
    // Cubot makes telephones.
    let bot = agent.replace("cubot", "").contains("bot");
    bot || WORDS.iter().any(|word| agent.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worth_many_requests_is_counted_whole_or_not_at_all() {
        let mut limiter = Limiter::default();
        let now_ms = 600_000;
        assert!(limiter.take_as(7, 1, 10, now_ms).allowed);
        assert!(!limiter.take_as(4, 1, 10, now_ms).allowed);
        assert_eq!(limiter.take_as(3, 1, 10, now_ms).remaining, 0);
        assert!(!limiter.take(1, 10, now_ms).allowed);
        assert!(limiter.take_as(100, 2, 10, now_ms).allowed, "alone");
    }
    use proptest::prelude::*;

    const SEED: [u8; 16] = [7; 16];

    /// As senders are: hashes.
    fn hashed(number: u64) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&SEED);
        hasher.write_u64(number);
        hasher.finish()
    }

    #[test]
    fn a_sender_over_its_limit_waits_and_others_do_not() {
        let mut limiter = Limiter::default();
        let now_ms = 100 * WINDOW_MS;
        for used in 1..=600 {
            let allowance = limiter.take(1, 600, now_ms);
            assert_eq!((allowance.allowed, allowance.remaining), (true, 600 - used));
        }
        assert!(!limiter.take(1, 600, now_ms + 59_000).allowed);
        assert!(limiter.take(2, 600, now_ms).allowed);
        // Half of the next minute over, half of the last one still counts.
        let freed = (0..600)
            .filter(|_| limiter.take(1, 600, now_ms + 90_000).allowed)
            .count();
        assert_eq!(freed, 300);
        assert!(limiter.take(1, 600, now_ms + 10 * WINDOW_MS).allowed);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_also_in_the_next_minute() {
        let mut limiter = Limiter::default();
        let now_ms = 100 * WINDOW_MS;
        let taken = |limiter: &mut Limiter, now_ms| {
            let takes = (0..100).filter(|_| limiter.take(1, 10, now_ms).allowed);
            takes.count()
        };
        assert_eq!(taken(&mut limiter, now_ms), 10);
        for _ in 0..4 {
            limiter.give_back(1, 1, now_ms);
        }
        limiter.give_back(1, 2, now_ms);
        assert_eq!(taken(&mut limiter, now_ms), 4);
        assert_eq!(taken(&mut limiter, now_ms + WINDOW_MS), 0);
        limiter.give_back(20, 1, now_ms);
        assert_eq!(taken(&mut limiter, now_ms + WINDOW_MS), 10);
        limiter.give_back(1, 1, now_ms - WINDOW_MS);
        assert_eq!(taken(&mut limiter, now_ms + WINDOW_MS), 0);
    }

    proptest! {
        #[test]
        fn no_minute_ever_sees_twice_the_limit(gaps in prop::collection::vec(0..5_000_u64, 1..400)) {
            let mut limiter = Limiter::default();
            let mut now_ms = 50 * WINDOW_MS;
            let mut let_through: Vec<u64> = Vec::new();
            for gap_ms in gaps {
                now_ms += gap_ms;
                if limiter.take(9, 20, now_ms).allowed {
                    let_through.push(now_ms);
                }
                let recent = let_through.iter().filter(|at| now_ms - **at < WINDOW_MS).count();
                prop_assert!(recent < 40);
            }
        }

        #[test]
        fn any_address_has_a_sender(address: String) {
            sender(&address, &SEED, 0);
        }
    }

    #[test]
    fn cold_charts_come_at_once_and_then_at_a_rate() {
        let mut charts = ColdCharts::default();
        let mut taken = |at_once: u32, from_ms: u64, length_ms: u64| {
            let times = from_ms..from_ms + length_ms;
            let mut take = |now_ms| charts.take(u64::from(at_once), at_once, now_ms);
            times.filter(|now_ms| take(*now_ms).is_ok()).count()
        };
        assert_eq!(taken(60, 1_000_000, 100), 60);
        assert_eq!(taken(60, 1_000_100, 10_000), 5);
        assert_eq!(taken(60, 2_000_000, 100), 60, "after a rest");
        assert_eq!(taken(1, 2_000_000, 100), 1, "another sender");
        assert!(taken(u32::MAX, 2_000_000, 100) >= 100);
    }

    #[test]
    fn a_sender_without_cold_charts_is_told_when_the_next_one_comes() {
        let mut charts = ColdCharts::default();
        let mut now_ms = 1_000_000;
        let mut waits = Vec::new();
        while waits.len() < 5 {
            match charts.take(1, 20, now_ms) {
                Ok(()) => now_ms += 10,
                Err(wait_ms) => {
                    assert_eq!(charts.take(1, 20, now_ms + wait_ms - 1), Err(1));
                    waits.push(wait_ms);
                    now_ms += wait_ms;
                }
            }
        }
        assert_eq!(waits, [5_800, 5_990, 5_990, 5_990, 5_990]);
    }

    #[test]
    fn the_table_of_cold_charts_is_bounded_holds_when_it_is_full_and_forgets_who_rests() {
        let mut charts = ColdCharts::default();
        for number in 0..100_000 {
            let _ = charts.take(hashed(number), 60, 1_000);
        }
        assert_eq!(charts.full_ms.len(), MAX_COLD_SENDERS);
        let taken = |charts: &mut ColdCharts, number, now_ms| {
            let takes = (0..1_000).filter(|_| charts.take(hashed(number), 60, now_ms).is_ok());
            takes.count()
        };
        assert!(taken(&mut charts, 200_000, 1_500) <= 60, "it shares one");
        assert_eq!(
            taken(&mut charts, 200_000, 10_000),
            4,
            "an own one, as empty"
        );
        assert_eq!(charts.full_ms.len(), 1);
        assert_eq!(taken(&mut charts, 200_001, 500_000), 60);
    }

    #[test]
    fn tables_are_bounded_and_a_limit_stays_one_when_they_are_full() {
        let mut limiter = Limiter::default();
        for number in 0..2 * MAX_EXACT as u64 {
            limiter.take(hashed(number), 60, WINDOW_MS);
        }
        assert_eq!(limiter.this.exact.len(), MAX_EXACT);
        for number in 0..1_000 {
            let sender = hashed(1_000_000 + number);
            let takes = (0..200).filter(|_| limiter.take(sender, 60, WINDOW_MS).allowed);
            let taken = takes.count();
            assert!(
                (55..=60).contains(&taken),
                "{taken}: a few too early at most"
            );
        }
    }

    #[test]
    fn honest_senders_are_told_apart_while_two_million_requests_lie_beyond_the_table() {
        let mut limiter = Limiter::default();
        for number in 0..MAX_EXACT as u64 + 2_000_000 {
            limiter.take(hashed(number), 60, WINDOW_MS);
        }
        let refused = (0..10_000).filter(|number| {
            !limiter
                .take(hashed(1 << 32 | number), 60, WINDOW_MS)
                .allowed
        });
        assert_eq!(refused.count(), 0);
    }

    #[test]
    fn a_clock_that_goes_back_a_little_brings_nothing_back() {
        let mut limiter = Limiter::default();
        let now_ms = 100 * WINDOW_MS;
        let taken = |limiter: &mut Limiter, now_ms| {
            let takes = (0..100).filter(|_| limiter.take(1, 10, now_ms).allowed);
            takes.count()
        };
        assert_eq!(taken(&mut limiter, now_ms), 10);
        for back_ms in [1, WINDOW_MS, 2 * WINDOW_MS] {
            assert_eq!(taken(&mut limiter, now_ms - back_ms), 0);
            assert_eq!(taken(&mut limiter, now_ms), 0);
        }
        assert_eq!(taken(&mut limiter, now_ms - 60 * WINDOW_MS), 10, "set anew");
    }

    #[test]
    fn an_ipv6_network_is_one_sender_and_no_sender_lasts_a_day() {
        let of = |address| sender(address, &SEED, 0);
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1:5001"), of("192.0.2.1"));
        assert_eq!(of("[2001:db8:1:2::1]:5001"), of("2001:db8:1:2::7"));
        assert_ne!(of("192.0.2.1"), sender("192.0.2.1", &SEED, DAY_MS));
    }

    #[test]
    fn bots_say_so_and_telephones_do_not() {
        assert!(is_bot(
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
        ));
        assert!(is_bot("facebookexternalhit/1.1"));
        assert!(!is_bot(
            "Mozilla/5.0 (Linux; Android 10; CUBOT X30) AppleWebKit/537.36"
        ));
        assert!(!is_bot("curl/8.5.0"));
        assert!(!is_bot(""));
    }
}
