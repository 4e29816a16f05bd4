//! How often one sender may come: a sliding-window counter over two fixed minutes.
//!
//! The share of the last minute that still lies in the sliding one is taken as evenly spread:
//! `last · (1 − elapsed) + this`. That is off by a few per cent at worst, needs two numbers a
//! sender, and never lets more than twice the limit through (docs/windows.md).
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
/// Senders that are told apart in a minute: 2 × 65,536 of 24 bytes are 3 MB. Those that come
/// after them are let through: a flood from so many addresses is not stopped by counting them.
const MAX_SENDERS: usize = 65_536;
const DAY_MS: u64 = 24 * 3_600_000;

/// Counts by sender.
pub struct Limiter {
    minute: u64,
    this: HashMap<u64, u32, RandomState>,
    last: HashMap<u64, u32, RandomState>,
}

/// What a sender may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub allowed: bool,
    pub remaining: u32,
    /// Until the current fixed minute is over.
    pub reset_s: u32,
}

impl Default for Limiter {
    fn default() -> Self {
        // Keys are the output of a keyed hash: nobody can aim at this one.
        let map = || HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4));
        Limiter {
            minute: 0,
            this: map(),
            last: map(),
        }
    }
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
        self.turn_to(now_ms / WINDOW_MS);
        let elapsed_ms = now_ms % WINDOW_MS;
        let last = self.last.get(&sender).copied().unwrap_or(0);
        let this = self.this.get(&sender).copied().unwrap_or(0);
        let still_counted = u64::from(last) * (WINDOW_MS - elapsed_ms) / WINDOW_MS;
        let counted = u32::try_from(still_counted)
            .unwrap_or(u32::MAX)
            .saturating_add(this);
        let requests = requests.min(limit.max(1));
        let allowed = counted.saturating_add(requests) <= limit;
        if allowed && (self.this.len() < MAX_SENDERS || self.this.contains_key(&sender)) {
            *self.this.entry(sender).or_insert(0) += requests;
        }
        Allowance {
            allowed,
            remaining: limit.saturating_sub(counted).saturating_sub(if allowed {
                requests
            } else {
                0
            }),
            reset_s: ((WINDOW_MS - elapsed_ms).div_ceil(1_000)) as u32,
        }
    }

    /// Gives back what a sender took at `taken_ms` and did not use after all.
    pub fn give_back(&mut self, sender: u64, taken_ms: u64) {
        let minute = taken_ms / WINDOW_MS;
        let counts = match self.minute.checked_sub(minute) {
            Some(0) => &mut self.this,
            Some(1) => &mut self.last,
            // It counts no longer.
            _ => return,
        };
        if let Some(count) = counts.get_mut(&sender) {
            *count = count.saturating_sub(1);
        }
    }

    fn turn_to(&mut self, minute: u64) {
        if minute == self.minute {
            return;
        }
        std::mem::swap(&mut self.this, &mut self.last);
        self.this.clear();
        if minute != self.minute + 1 {
            self.last.clear();
        }
        self.minute = minute;
    }
}

/// All cold charts that a sender may ask for at once come back in this time.
const COLD_WINDOW_MS: u64 = 2 * WINDOW_MS;
/// Addresses whose cold charts are told apart: 65,536 of 17 bytes are 1.1 MB.
const MAX_COLD_SENDERS: usize = 65_536;

/// Charts that nobody looked at lately, by sender: a bucket each that fills in [`COLD_WINDOW_MS`],
/// kept as the moment when it is full again (the generic cell rate algorithm). Full buckets are
/// forgotten when room is short; if that is not enough, new senders are let through, as by
/// [`Limiter`].
pub struct ColdCharts {
    full_ms: HashMap<u64, u64, RandomState>,
}

impl Default for ColdCharts {
    fn default() -> Self {
        // Keys are the output of a keyed hash: nobody can aim at this one.
        let full_ms = HashMap::with_hasher(RandomState::with_seeds(13, 14, 15, 16));
        ColdCharts { full_ms }
    }
}

impl ColdCharts {
    /// Takes one for a sender that may ask for `at_once` (1 at least).
    ///
    /// # Errors
    /// Where it may not: in how many milliseconds it may.
    pub fn take(&mut self, sender: u64, at_once: u32, now_ms: u64) -> Result<(), u64> {
        let one_ms = (COLD_WINDOW_MS / u64::from(at_once.max(1))).max(1);
        let full_ms = self.full_ms.get(&sender).copied().unwrap_or(0).max(now_ms);
        let empties_ms = full_ms - now_ms + one_ms;
        if empties_ms > COLD_WINDOW_MS {
            return Err(empties_ms - COLD_WINDOW_MS);
        }
        if self.full_ms.len() >= MAX_COLD_SENDERS && !self.full_ms.contains_key(&sender) {
            self.full_ms.retain(|_, full_ms| *full_ms > now_ms);
        }
        if self.full_ms.len() < MAX_COLD_SENDERS || self.full_ms.contains_key(&sender) {
            self.full_ms.insert(sender, full_ms + one_ms);
        }
        Ok(())
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
            limiter.give_back(1, now_ms);
        }
        limiter.give_back(2, now_ms);
        assert_eq!(taken(&mut limiter, now_ms), 4);
        assert_eq!(taken(&mut limiter, now_ms + WINDOW_MS), 0);
        for _ in 0..20 {
            limiter.give_back(1, now_ms);
        }
        assert_eq!(taken(&mut limiter, now_ms + WINDOW_MS), 10);
        limiter.give_back(1, now_ms - WINDOW_MS);
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
    fn the_table_of_cold_charts_is_bounded_and_forgets_who_rests() {
        let mut charts = ColdCharts::default();
        for sender in 0..100_000 {
            assert_eq!(charts.take(sender, 60, 1_000), Ok(()));
        }
        assert_eq!(charts.full_ms.len(), MAX_COLD_SENDERS);
        assert_eq!(charts.take(200_000, 60, 10_000), Ok(()));
        assert_eq!(charts.full_ms.len(), 1);
    }

    #[test]
    fn the_table_of_senders_is_bounded() {
        let mut limiter = Limiter::default();
        for sender in 0..100_000 {
            assert!(limiter.take(sender, 1, WINDOW_MS).allowed);
        }
        assert_eq!(limiter.this.len(), MAX_SENDERS);
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
