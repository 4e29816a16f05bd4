//! How much a pane keeps, by its level and by where it is.
//!
//! Small is exact: a pane drops nothing as long as it fits. A pane that does not is a filtered summary
//! of its level's [`counters`]: with m of them it overcounts by at most N/m, N being the plays of its
//! span, and by a tenth of that as measured. What a pane has dropped no later one can know, so the
//! first on the way decides: the minute that a shard has open. `npm run bench -- accuracy` measures
//! charts on the whole way (`docs/inside/accuracy.md`).
//!
//! # The way, at a thousand plays a second over a million posts (Zipf 1.0)
//! | pane | is exact up to | otherwise keeps | here |
//! |---|---|---|---|
//! | open in a shard | [`OPEN_BYTES`] of memory | [`OPEN_COUNTERS`] | 24,600 posts a minute, exact, 1.0 MB |
//! | sealed, sent once | [`sealed_bytes`] | what fits | 45 kB; UUIDs 128 kB, of 400 |
//! | copied every 5 s, 18 times in its 90 s | [`COPY_COUNTERS`], [`COPY_BYTES`] | what fits | 8 kB on average; UUIDs 24 |
//! | of the ladder | [`exact_rows`], [`EXACT_BYTES`] | [`counters`] | 16 kB a minute, 115 kB a day |
//! | of the ladder, a day older than [`THINNED_AFTER_DAYS`] | [`THINNED_BYTES`] | what fits | 74 kB |
//!
//! So a shard sends 45 + 18 x 8 = 189 kB a minute, and a year takes 31 x 115 + 334 x 74 kB of days,
//! 193 x 83 of two hours, 210 x 32 of quarters, 180 x 16 of minutes: 54 MB a region.

use crate::summary::{Seed, Summary};
use crate::window::Level;

/// Memory of a shard's open pane up to which it is exact: 65,536 posts of up to 16 bytes (38 bytes
/// each, and a quarter of room), or 29,000 UUIDs. Two of them are live at a time.
pub const OPEN_BYTES: usize = 3 << 20;
/// Counters of a shard's open pane that is not exact: twice what any pane of a ladder has.
pub const OPEN_COUNTERS: usize = 16_384;
/// Posts up to which a copy of an open pane has all of them.
pub const SMALL_COPY_POSTS: usize = 4_096;
/// What a copy of a pane with more has: it is sent again and again, and shown for a minute and a half. So
/// many are the first 2,048 of a shard's minute, twice what a chart shows; twice as many would make what is
/// live twice as costly to merge, which the global object does each second.
pub const COPY_COUNTERS: usize = 2_048;
/// So many with short ids take 8 kB; where ids are longer, it has fewer.
pub const COPY_BYTES: usize = 24 << 10;
/// A copy of a pane with no more posts than that: 4,096 of up to 11 bytes that share nothing, 2,400 UUIDs, or 180
/// of the longest ids. A hundred plays of new UUIDs a second fill it after half a minute; without a limit a shard
/// would send 800 kB a minute.
pub const SMALL_COPY_BYTES: usize = 46 << 10;
/// The same pane sealed, which is sent once: 1,100 of the longest ids, or 4,096 of 65 bytes.
const SMALL_SEALED_BYTES: usize = 288 << 10;
/// No stored pane takes more: values are at most 1 MiB.
pub const MOST_PANE_BYTES: usize = 1_000_000;
/// Memory of a pane of a ladder up to which it is exact: of 65,536 posts with ids of up to 35 bytes.
const FOLDED_BYTES: usize = 6 << 20;
/// A pane of a ladder that is exact is read and written with each minute that is folded into it. So
/// much takes 10 ms or so: 65,536 posts with short ids, or 30,000 UUIDs.
pub const EXACT_BYTES: usize = 512 << 10;
/// Counters that a pane keeps at least: 16 of the longest ids are 4 kB.
pub const FEWEST_COUNTERS: usize = 16;
/// Days that ended so long ago may take so much: only windows of more than a month show them. That is
/// 36,000 posts with short ids, or 4,300 counters and their filter.
pub const THINNED_AFTER_DAYS: u64 = 31;
pub const THINNED_BYTES: usize = 72 << 10;

/// Counters of a pane of a ladder that is not exact.
pub fn counters(level: Level) -> usize {
    #[cfg(feature = "simulation")]
    if let Some(simulated) = simulated::PANES.get() {
        return simulated.counters << level.code();
    }
    match level {
        Level::Minute | Level::Quarter => 4_096,
        Level::TwoHours | Level::Day | Level::All => 8_192,
    }
}

/// Posts up to which a pane of a ladder is exact. `24h` is 33 panes at most, and a chart of it is exact with
/// 65,536 posts; where the minutes had as many, an hour would be 4 million rows to merge.
pub fn exact_rows(level: Level) -> usize {
    #[cfg(feature = "simulation")]
    if simulated::PANES.get().is_some() {
        // Days of which some are in two parts.
        let times = if level == Level::Day { 4 } else { 1 };
        return times * counters(level);
    }
    match level {
        Level::Minute | Level::Quarter => 16_384,
        Level::TwoHours | Level::Day | Level::All => Summary::MAX_MERGED,
    }
}

/// Bytes of a sealed pane of so many posts: it is sent once, and a small one whole, whatever its ids. What
/// is imported is sealed in coarser panes.
pub const fn sealed_bytes(level: Level, posts: usize) -> usize {
    match level {
        Level::Minute if posts <= SMALL_COPY_POSTS => SMALL_SEALED_BYTES,
        Level::Minute => 128 << 10,
        Level::Quarter => 256 << 10,
        Level::TwoHours => 512 << 10,
        Level::Day | Level::All => MOST_PANE_BYTES,
    }
}

/// A pane that takes plays, empty.
pub fn open_pane(level: Level, seed: Seed) -> Summary {
    match open_limits(level) {
        (Some(bytes), counters) => Summary::growing(bytes, counters, seed),
        (None, counters) => Summary::new(counters, seed),
    }
}

/// Lets an open pane go on that was stored meanwhile.
pub fn reopen(pane: &mut Summary, level: Level) {
    if let (Some(bytes), counters) = open_limits(level) {
        pane.grow_within(bytes, counters);
    }
}

/// Bytes up to which an open pane is exact, if it grows, and its counters once it is not.
fn open_limits(level: Level) -> (Option<usize>, usize) {
    #[cfg(feature = "simulation")]
    if let Some(simulated) = simulated::PANES.get() {
        return (simulated.open_bytes, counters(level));
    }
    let _ = level;
    (Some(OPEN_BYTES), OPEN_COUNTERS)
}

/// What a pane of a ladder keeps of those that are folded into it.
pub fn fold<'a>(parts: impl IntoIterator<Item = &'a Summary>, level: Level, seed: Seed) -> Summary {
    let within = (exact_rows(level), FOLDED_BYTES);
    Summary::merge_within(parts, within, counters(level), seed)
}

/// A summary in at most so many bytes, if need be with fewer counters, but no fewer than
/// [`FEWEST_COUNTERS`]. What it drops goes into its filter.
pub fn encode_within(summary: &Summary, most_bytes: usize) -> Vec<u8> {
    let encoded = summary.encode();
    if encoded.len() <= most_bytes || summary.len() <= FEWEST_COUNTERS {
        return encoded;
    }
    let mut kept = match summary.is_exact() {
        // With what it drops comes a filter: mostly of ones, some 12 bits a counter.
        true => scaled(
            summary.len(),
            most_bytes,
            encoded.len() + summary.len() * 3 / 2,
        ),
        false => scaled(summary.len(), most_bytes, encoded.len()),
    };
    loop {
        kept = kept.clamp(FEWEST_COUNTERS, Summary::MAX_CAPACITY);
        let encoded = Summary::merge([summary], kept, summary.seed()).encode();
        if encoded.len() <= most_bytes || kept == FEWEST_COUNTERS {
            return encoded;
        }
        // Those that stay may have the longer ids.
        kept = scaled(kept, most_bytes, encoded.len()) * 24 / 25;
    }
}

/// A pane of a ladder in at most so many bytes, as [`encode_within`]. A day that is exact and has more than twice the
/// counters that it would have otherwise is in two parts: those counters, and the others. A chart of many days that is
/// not exact whatever they hold reads the first alone, and is as good as of days that have no more. That takes 5 %
/// more room.
pub fn encode_in_parts(pane: &Summary, level: Level, most_bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let counters = counters(level);
    let parts = match level == Level::Day && pane.len() > 2 * counters {
        true => pane.encode_parts(counters),
        false => None,
    };
    let parts = parts.filter(|(largest, others)| largest.len() + others.len() <= most_bytes);
    parts.unwrap_or_else(|| (encode_within(pane, most_bytes), Vec::new()))
}

/// `number * by / of`, in 64 bits: the product of a pane's rows and bytes has more than the 32 that a
/// length has in Wasm.
fn scaled(number: usize, by: usize, of: usize) -> usize {
    (number as u64 * by as u64 / (of as u64).max(1)) as usize
}

/// A copy of an open pane, encoded, and whether it holds all that the pane does.
pub fn encode_copy(pane: &Summary) -> (Vec<u8>, bool) {
    if pane.len() <= SMALL_COPY_POSTS {
        let whole = pane.encode();
        return match whole.len() <= SMALL_COPY_BYTES {
            true => (whole, true),
            false => (encode_within(pane, SMALL_COPY_BYTES), false),
        };
    }
    let copy = Summary::merge([pane], COPY_COUNTERS, pane.seed());
    (encode_within(&copy, COPY_BYTES), false)
}

/// Small summaries for the simulation: they are full after a handful of plays.
#[cfg(feature = "simulation")]
mod simulated {
    use std::cell::Cell;

    #[derive(Clone, Copy, Debug)]
    pub struct SmallPanes {
        /// Of a minute's pane; each coarser level has twice as many.
        pub counters: usize,
        /// An open pane is exact within so much memory.
        pub open_bytes: Option<usize>,
    }

    thread_local! {
        pub static PANES: Cell<Option<SmallPanes>> = const { Cell::new(None) };
    }

    /// Makes panes small in this thread.
    pub fn simulate(panes: Option<SmallPanes>) {
        PANES.set(panes);
    }

    /// Gives a minute's pane so many counters in this thread.
    pub fn set_counters(of_a_minute: Option<usize>) {
        simulate(of_a_minute.map(|counters| SmallPanes {
            counters,
            open_bytes: None,
        }));
    }
}

#[cfg(feature = "simulation")]
pub use simulated::{SmallPanes, set_counters, simulate};

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed::from_bytes([4; 16]);

    fn uuid(number: u64) -> String {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (high, low) = (mixed >> 32, mixed & 0xffff_ffff);
        let (short, last) = (high & 0xfff, mixed >> 16);
        format!(
            "{low:08x}-{:04x}-4{short:03x}-8{short:03x}-{last:012x}",
            high >> 16
        )
    }

    /// Posts of a Zipf-like minute: most are played once.
    fn minute(posts: u64, id: impl Fn(u64) -> String) -> (Summary, Vec<(String, u64)>) {
        let mut pane = open_pane(Level::Minute, SEED);
        let plays = (1..=posts).map(|rank| (id(rank), 1 + 4_000 / rank));
        let plays: Vec<(String, u64)> = plays.collect();
        plays.iter().for_each(|(id, count)| pane.record(id, *count));
        (pane, plays)
    }

    #[track_caller]
    fn check(encoded: &[u8], plays: &[(String, u64)]) -> Summary {
        let pane = Summary::decode(encoded, SEED).unwrap();
        assert_eq!(
            pane.total(),
            plays.iter().map(|(_, count)| count).sum::<u64>()
        );
        let indexed = Summary::merge_all([&pane], SEED);
        for (id, count) in plays {
            let bounds = indexed.bounds(id);
            assert!(
                bounds.lower <= *count && *count <= bounds.upper,
                "{id}: {bounds:?}"
            );
        }
        pane
    }

    #[test]
    fn a_minute_of_a_thousand_plays_a_second_is_sent_exactly_and_copied_in_part() {
        let (pane, plays) = minute(24_600, |number| format!("song-{number:06}"));
        assert!(pane.heap_bytes() <= OPEN_BYTES / 2, "{}", pane.heap_bytes());
        let sealed = encode_within(&pane, sealed_bytes(Level::Minute, pane.len()));
        assert!(check(&sealed, &plays).is_exact());
        assert!(sealed.len() < 70_000, "{}", sealed.len());
        let (copy, is_whole) = encode_copy(&pane);
        assert!(!is_whole);
        assert_eq!(check(&copy, &plays).len(), COPY_COUNTERS);
        assert!(copy.len() < COPY_BYTES, "{}", copy.len());
    }

    #[test]
    fn what_does_not_fit_is_cut_to_nearly_what_it_may_take_and_keeps_its_bounds() {
        let (pane, plays) = minute(24_600, uuid);
        for most in [24 << 10, 72 << 10, 128 << 10] {
            let encoded = encode_within(&pane, most);
            assert!(
                (most / 2..=most).contains(&encoded.len()),
                "{}",
                encoded.len()
            );
            check(&encoded, &plays);
        }
        assert!(encode_copy(&pane).0.len() <= COPY_BYTES);
        assert_eq!(
            check(&encode_within(&pane, 100), &plays).len(),
            FEWEST_COUNTERS
        );
    }

    #[test]
    fn an_open_pane_is_exact_as_long_as_it_fits_and_stays_about_as_large() {
        let (pane, plays) = minute(60_000, |number| format!("song-{number:06}"));
        assert!(pane.is_exact() && pane.len() == plays.len());
        let (pane, plays) = minute(70_000, |number| format!("song-{number:06}"));
        assert_eq!((pane.is_full(), pane.len()), (true, OPEN_COUNTERS));
        check(&pane.encode(), &plays);
        for length in [40, 256] {
            let (pane, plays) = minute(40_000, |number| format!("{number:0>length$}"));
            assert!(pane.heap_bytes() <= OPEN_BYTES * 2, "{}", pane.heap_bytes());
            let stored = encode_within(&pane, MOST_PANE_BYTES);
            assert!(stored.len() <= MOST_PANE_BYTES);
            check(&stored, &plays);
        }
    }

    #[test]
    fn an_open_pane_goes_on_where_it_was_stored() {
        let (pane, mut plays) = minute(20_000, uuid);
        let mut again = Summary::decode(&pane.encode(), SEED).unwrap();
        reopen(&mut again, Level::Minute);
        for number in 100_000..104_000 {
            again.record(&uuid(number), 3);
            plays.push((uuid(number), 3));
        }
        assert!(check(&again.encode(), &plays).is_exact());
    }
}
