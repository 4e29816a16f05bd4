//! Merging summaries in bounded memory.
//!
//! Limits are bytes held, not counters: ids of 256 bytes take six times the memory of short ones,
//! and encodings hide it, because ids share what they have in common with the ones before.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::capacity::{counters, exact_rows};
use crate::summary::{Merger, Seed, Summary};
use crate::window::{Level, PaneKey};

/// What is merged takes so much memory at most before some of it is let go: 200,000 ids of up to 16 bytes,
/// more than a [`Merger`] has at once, or 100,000 UUIDs.
const MERGING_BYTES: usize = 8 << 20;
/// What a merged window takes at most: 65,536 ids of up to 64 bytes, or 20,000 of the longest. Where
/// there are more, [`Summary::MAX_CAPACITY`] are kept, which is more than any part has that is not
/// exact: so the guarantee N/m stays what the parts make it.
const MERGED_BYTES: usize = 6 << 20;

/// Merges any number of summaries, and holds none of them: [`MERGING_BYTES`], half as much more while that
/// grows, and in the end what is made of it.
pub struct Merging(Merger);

/// What of a stored pane is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    All,
    /// Its largest counters do, with a filter for the others: nothing is exact any more.
    Largest,
}

impl Merging {
    pub fn new(seed: Seed) -> Self {
        Merging(Merger::new(seed))
    }

    pub fn add(&mut self, part: &Summary) {
        self.0.add(part);
        if self.0.heap_bytes() > MERGING_BYTES {
            self.0.truncate(Summary::MAX_MERGED);
            if self.0.heap_bytes() > MERGED_BYTES {
                self.0.truncate(Summary::MAX_CAPACITY);
            }
        }
    }

    /// What is needed of the next part.
    pub fn needed(&self) -> Needed {
        match self.0.is_beyond() {
            true => Needed::Largest,
            false => Needed::All,
        }
    }

    /// Lets go what is more than a merged window may take, so that no more than that is held until more comes.
    pub fn settle(&mut self) {
        self.0.truncate(Summary::MAX_MERGED);
    }

    /// Everything in one, and more may be added. Its ids are indexed.
    pub fn settled(&self) -> Rc<Summary> {
        let mut merged = Merging(self.0.clone()).finish();
        merged.index();
        Rc::new(merged)
    }

    pub fn held_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// Everything in one. Its ids are not indexed.
    pub fn finish(self) -> Summary {
        let mut merged = self.0.finish(Summary::MAX_MERGED);
        if merged.heap_bytes() > MERGED_BYTES {
            merged.truncate(Summary::MAX_CAPACITY);
        }
        merged
    }

    /// Sealed panes of the same span in one, as [`merge_sealed`] does it.
    pub fn finish_sealed(self, key: PaneKey) -> Summary {
        finish_pane(self.0, key, sealed_counters())
    }

    /// Everything in one that is kept as a stretch: where it is not exact, at most as many counters as a
    /// day has.
    ///
    /// Thirty days list 50,000 posts, of which a chart shows a thousand: kept all, a month of one
    /// scope would have six times as many rows, and each chart would merge them again. What is
    /// dropped has no say in the bounds of what stays; a post behind the first 8,192 has its cell's
    /// bound from here instead of its own. And cells are made coarse: exact ones would be half of all that is kept
    /// encoded, and so eleven scopes asked in turn would each find theirs gone.
    pub fn finish_stretch(self) -> Summary {
        let within = (Summary::MAX_MERGED, MERGED_BYTES);
        let mut merged = self.0.finish_within(within, counters(Level::Day));
        if merged.is_full() {
            merged.coarsen();
        }
        merged
    }
}

/// Merges panes of the same span, as long as all of them together stay within a limit.
pub struct PaneMerging {
    seed: Seed,
    panes: BTreeMap<PaneKey, Vec<Rc<Summary>>>,
    bytes: usize,
    limit: usize,
    /// Where a merged pane is exact no longer it has the counters of its level, or so many if they are more.
    least_counters: usize,
}

/// All panes together take too much memory.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

impl PaneMerging {
    /// Of what charts show. Where a pane is exact no longer, the counters that it will have once it is stored
    /// are enough: twice those of a copy, so that the guarantee stays what the copies make it, as nothing
    /// that is dropped was above N/m of them.
    pub fn new(seed: Seed, limit: usize) -> Self {
        PaneMerging {
            seed,
            panes: BTreeMap::new(),
            bytes: 0,
            limit,
            least_counters: 0,
        }
    }

    /// Of sealed panes, as [`merge_sealed`] does it.
    pub fn of_sealed(seed: Seed, limit: usize) -> Self {
        PaneMerging {
            least_counters: sealed_counters(),
            ..Self::new(seed, limit)
        }
    }

    /// # Errors
    /// [`TooLarge`]: what was added before is of no use any more.
    pub fn add(&mut self, key: PaneKey, part: Rc<Summary>) -> Result<(), TooLarge> {
        self.bytes += part.heap_bytes();
        self.panes.entry(key).or_default().push(part);
        if self.bytes > self.limit {
            self.merge();
        }
        if self.bytes > self.limit {
            Err(TooLarge)
        } else {
            Ok(())
        }
    }

    fn merge(&mut self) {
        self.bytes = 0;
        for (key, parts) in &mut self.panes {
            let parts_of_it = parts.drain(..);
            let merged = merge_pane(*key, parts_of_it, self.least_counters, self.seed);
            self.bytes += merged.heap_bytes();
            parts.push(merged);
        }
    }

    /// Each pane once, and the bytes of all.
    pub fn finish(mut self) -> (Vec<(PaneKey, Rc<Summary>)>, usize) {
        self.merge();
        let panes = self.panes.into_iter();
        let panes = panes.flat_map(|(key, parts)| parts.into_iter().map(move |part| (key, part)));
        (panes.collect(), self.bytes)
    }
}

/// Sealed panes are folded into coarser ones too, none of which has more counters than a day: twice those are
/// more than any of the parts has that is full.
fn sealed_counters() -> usize {
    2 * counters(Level::Day)
}

/// Merges sealed panes of the same span that are to be folded.
pub fn merge_sealed(key: PaneKey, parts: &[Rc<Summary>], seed: Seed) -> Rc<Summary> {
    merge_pane(key, parts.iter().cloned(), sealed_counters(), seed)
}

/// Merges panes of the same span that charts show, as [`PaneMerging::new`] does it. Each is asked for when the
/// one before it is merged.
pub fn merge_live(
    key: PaneKey,
    parts: impl Iterator<Item = Rc<Summary>>,
    seed: Seed,
) -> Rc<Summary> {
    merge_pane(key, parts, 0, seed)
}

fn merge_pane(
    key: PaneKey,
    mut parts: impl Iterator<Item = Rc<Summary>>,
    least: usize,
    seed: Seed,
) -> Rc<Summary> {
    let first = parts.next();
    let second = parts.next();
    if let (Some(only), None) = (&first, &second) {
        return Rc::clone(only);
    }
    let mut merger = Merger::new(seed);
    for part in first.into_iter().chain(second).chain(parts) {
        merger.add(&part);
    }
    Rc::new(finish_pane(merger, key, least))
}

fn finish_pane(merger: Merger, key: PaneKey, least: usize) -> Summary {
    let most = counters(key.level).max(least);
    merger.finish_within((exact_rows(key.level), MERGED_BYTES), most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::{DAY_MS, Days};

    const SEED: Seed = Seed::from_bytes([5; 16]);

    /// Ids of 256 bytes, counted once to a hundred times.
    fn long_ids(from: usize, to: usize) -> Rc<Summary> {
        let mut summary = Summary::new(to - from, SEED);
        (from..to).for_each(|id| summary.record(&format!("{id:0>256}"), 1 + id as u64 % 100));
        Rc::new(summary)
    }

    #[test]
    fn a_merged_window_stays_within_its_bytes_and_its_bounds_hold_for_every_id() {
        let mut merging = Merging::new(SEED);
        for part in 0..100 {
            merging.add(&long_ids(part * 1_000, (part + 1) * 1_000));
            assert!(merging.0.heap_bytes() <= MERGING_BYTES);
        }
        let mut merged = merging.finish();
        merged.index();
        assert!(
            merged.heap_bytes() <= MERGED_BYTES,
            "{}",
            merged.heap_bytes()
        );
        assert_eq!(merged.total(), 100_000 / 100 * 5_050);
        for id in 0..100_000 {
            let bounds = merged.bounds(&format!("{id:0>256}"));
            let truth = 1 + id % 100;
            assert!(bounds.lower <= truth && truth <= bounds.upper, "{id}");
        }
    }

    #[test]
    fn short_ids_are_merged_exactly_far_beyond_what_a_summary_counts() {
        let mut merging = Merging::new(SEED);
        for part in 0..40 {
            let mut summary = Summary::new(1_000, SEED);
            (0..1_000).for_each(|id| summary.record(&format!("{}", part * 1_000 + id), 2));
            merging.add(&summary);
        }
        let merged = merging.finish();
        assert!(merged.is_exact());
        assert_eq!(merged.len(), 40_000);
    }

    #[test]
    fn a_stretch_is_capped_also_where_all_of_it_was_exact() {
        let stretch_of = |thousands: usize| {
            let mut merging = Merging::new(SEED);
            (0..thousands)
                .for_each(|part| merging.add(&long_ids(part * 1_000, (part + 1) * 1_000)));
            merging.finish_stretch()
        };
        let small = stretch_of(20);
        assert_eq!((small.len(), small.is_exact()), (20_000, true));
        assert!(small.heap_bytes() <= MERGED_BYTES);
        let capped = stretch_of(24);
        assert_eq!(
            (capped.len(), capped.is_exact()),
            (counters(Level::Day), false)
        );
    }

    #[test]
    fn panes_that_take_too_much_together_are_given_up() {
        let pane = |day: u64| {
            PaneKey::of(
                Level::Minute,
                20_000 * DAY_MS + day * 60_000,
                &Days::default(),
            )
        };
        let mut merging = PaneMerging::new(SEED, 4 << 20);
        let same = (0..200).try_for_each(|_| merging.add(pane(1), long_ids(0, 1_000)));
        assert_eq!(same, Ok(()));
        let (panes, bytes) = merging.finish();
        assert_eq!((panes.len(), panes[0].1.len()), (1, 1_000));
        assert!(bytes < 1 << 20);
        let mut merging = PaneMerging::new(SEED, 4 << 20);
        let others = (0..200).try_for_each(|day| merging.add(pane(day), long_ids(0, 1_000)));
        assert_eq!(others, Err(TooLarge));
    }
}
