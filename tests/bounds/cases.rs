//! Panes on their way through the service, as large as they get, with the bounds of every id.
//!
//! A length has 64 bits in native tests and 32 in Wasm, and the product of two may have more. So the
//! same cases run in both: natively from `mod.rs`, in Wasm from `wasm.rs`. How many rows are kept
//! stands in the cases, so both keep as many.

use std::collections::BTreeMap;

use hitparade::capacity::{
    COPY_BYTES, EXACT_BYTES, MOST_PANE_BYTES, OPEN_COUNTERS, THINNED_BYTES, counters, encode_copy,
    encode_within, fold, open_pane, sealed_bytes,
};
use hitparade::summary::{Seed, Summary};
use hitparade::window::Level;

const SEED: Seed = Seed::from_bytes([4; 16]);

/// Ids that no open pane can hold exactly.
const TOO_MANY: u64 = 90_000;

const CHARACTERS: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";

/// An id of 11 characters that shares little with the next, as those of videos are.
fn video(number: u64) -> String {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = || {
        let at = (mixed & 63) as usize;
        mixed >>= 6;
        char::from(CHARACTERS[at])
    };
    std::iter::repeat_with(next).take(11).collect()
}

/// A pane and what it should know.
struct Pane {
    summary: Summary,
    exact: BTreeMap<String, u64>,
    /// The fewest counters of any pane in it that had to drop something.
    fewest: usize,
}

impl Pane {
    /// A shard's open pane of so many videos, most of them played once; `turn` says which are the popular.
    fn open(videos: u64, turn: u64) -> Self {
        let mut summary = open_pane(Level::Minute, SEED);
        let mut exact = BTreeMap::new();
        for rank in 1..=videos {
            let (id, plays) = (video((rank + turn) % videos), 1 + 40_000 / rank);
            summary.record(&id, plays);
            exact.insert(id, plays);
        }
        let fewest = match summary.is_full() {
            true => summary.capacity(),
            false => usize::MAX,
        };
        Self {
            summary,
            exact,
            fewest,
        }
        .checked("open")
    }

    /// What became of the panes.
    fn of(what: &str, parts: &[&Self], summary: Summary) -> Self {
        let mut exact = BTreeMap::new();
        for (id, plays) in parts.iter().flat_map(|part| &part.exact) {
            *exact.entry(id.clone()).or_default() += plays;
        }
        let mut fewest = parts.iter().map(|part| part.fewest).min();
        if summary.is_full() {
            fewest = fewest.min(Some(summary.capacity()));
        }
        let fewest = fewest.unwrap_or(usize::MAX);
        Self {
            summary,
            exact,
            fewest,
        }
        .checked(what)
    }

    fn folded(what: &str, parts: &[&Self], level: Level) -> Self {
        let summaries = parts.iter().map(|part| &part.summary);
        Self::of(what, parts, fold(summaries, level, SEED))
    }

    fn cut(&self, most_bytes: usize) -> Self {
        let what = format!("cut to {most_bytes} bytes");
        let encoded = encode_within(&self.summary, most_bytes);
        assert!(encoded.len() <= most_bytes, "{what}: {}", encoded.len());
        assert!(
            encoded.len() >= self.summary.encode().len().min(most_bytes) / 2,
            "{what}: only {} bytes and {} rows of {}",
            encoded.len(),
            decoded(&encoded).len(),
            self.summary.len()
        );
        Self::of(&what, &[self], decoded(&encoded))
    }

    #[track_caller]
    fn checked(self, what: &str) -> Self {
        let total: u64 = self.exact.values().sum();
        assert_eq!(self.summary.total(), total, "{what}");
        let allowed = total / self.fewest as u64;
        // Looks ids up by an index, which what was decoded has not.
        let indexed = Summary::merge_all([&self.summary], SEED);
        for (id, &plays) in &self.exact {
            let bounds = indexed.bounds(id);
            assert!(
                bounds.lower <= plays && plays <= bounds.upper,
                "{what}: {id} was played {plays} times, and has {bounds:?}"
            );
            assert!(
                bounds.upper - plays <= allowed,
                "{what}: {id} was played {plays} times, may have {allowed} more, and has {bounds:?}"
            );
        }
        self
    }

    fn rows(&self) -> usize {
        self.summary.len()
    }
}

#[track_caller]
fn decoded(encoded: &[u8]) -> Summary {
    match Summary::decode(encoded, SEED) {
        Ok(summary) => summary,
        Err(error) => unreachable!("{error}"),
    }
}

/// Panes of 16,384 counters and ten times as many cells become panes of a ladder.
pub fn the_largest_filters_are_folded() {
    let (one, other) = (Pane::open(TOO_MANY, 0), Pane::open(TOO_MANY, 20_000));
    assert_eq!((one.rows(), other.rows()), (OPEN_COUNTERS, OPEN_COUNTERS));
    for level in [Level::Minute, Level::TwoHours] {
        let pane = Pane::folded("one", &[&one], level);
        assert_eq!(pane.rows(), counters(level));
        let both = Pane::folded("both", &[&one, &other], level);
        assert_eq!(both.rows(), counters(level));
        let again = Pane::folded("again", &[&both, &one], Level::Day);
        assert_eq!(again.rows(), 8_192);
    }
}

/// Panes that were cut have filters of any size, and are folded with all others.
pub fn filters_of_any_sizes_are_folded_together() {
    let open = Pane::open(TOO_MANY, 0);
    let sealed = open.cut(sealed_bytes(Level::Minute, usize::MAX));
    let copy = Pane::of("copy", &[&open], decoded(&encode_copy(&open.summary).0));
    let day = Pane::folded("day", &[&open, &sealed], Level::Day);
    let thinned = day.cut(THINNED_BYTES);
    let rows = [&sealed, &copy, &thinned].map(Pane::rows);
    assert_eq!(rows, [11_777, 1_706, 5_710]);
    let parts = [&open, &sealed, &copy, &day, &thinned];
    for level in [Level::Minute, Level::Day] {
        Pane::folded("all", &parts, level);
    }
    let summaries = parts.map(|part| &part.summary);
    Pane::of("chart", &parts, Summary::merge_all(summaries, SEED));
}

/// Panes of more videos than fit keep of them what does.
pub fn a_large_exact_pane_is_cut_to_nearly_what_it_may_take() {
    let limits = [
        COPY_BYTES,
        THINNED_BYTES,
        sealed_bytes(Level::Minute, usize::MAX),
        sealed_bytes(Level::Quarter, usize::MAX),
        EXACT_BYTES,
        MOST_PANE_BYTES,
    ];
    let kept = [33_000, 60_000].map(|videos| {
        let pane = Pane::open(videos, 0);
        assert!(pane.summary.is_exact());
        limits.map(|most| pane.cut(most).rows())
    });
    assert_eq!(
        kept,
        [
            [1_764, 6_969, 13_379, 33_000, 33_000, 33_000],
            [1_748, 6_297, 12_888, 16_384, 60_000, 60_000],
        ]
    );
}
