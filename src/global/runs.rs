//! Stretches of stored panes that were merged once and are kept: most of a long window is one
//! that has not changed since the last question.
//!
//! A run is the panes of one scope and level in a row. It is forgotten as soon as one of its
//! panes is folded into, so it is always what merging the rows anew would give. The days that
//! browsers still send late plays for are not part of one.
//!
//! # Cost
//! A chart over 30 days with the window before it takes 57 ms where all panes are read and merged,
//! and 8 ms with runs (`npm run bench -- time`). Runs asked for lately are kept as they are, up to
//! [`MAX_DECODED_BYTES`], others encoded, up to [`MAX_ENCODED_BYTES`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::summary::{Seed, Summary};
use crate::window::{DAY_MS, Level, PaneKey, Span};

/// Runs kept as they are. One has at most 16,384 counters where its panes are not exact, by
/// arithmetic about 0.5 MB.
const MAX_DECODED_BYTES: usize = 12 << 20;
/// Runs kept encoded: those of `24h` and `30d` with the windows before, in 20 scopes.
const MAX_ENCODED_BYTES: usize = 8 << 20;
/// Fewer panes than this are read anew.
const FEWEST_PANES: usize = 4;
/// Days that ended later than this ago still take plays that browsers send late.
const SETTLED_AFTER_MS: u64 = DAY_MS + DAY_MS / 2;

/// Panes in a row, all of a level.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    scope: String,
    level: Level,
    span: Span,
}

impl Run {
    /// The run of these panes, if there are enough.
    pub fn of(scope: &str, panes: &[PaneKey], now_ms: u64) -> Option<Self> {
        let (first, last) = (panes.first()?, panes.last()?);
        // The one pane of all time is the largest there is.
        let is_long = panes.len() >= FEWEST_PANES || first.level == Level::All;
        let worth_it = is_long && is_settled(first, now_ms);
        worth_it.then(|| Run {
            scope: scope.to_owned(),
            level: first.level,
            span: Span::new(first.start_ms, last.end_ms()),
        })
    }
}

/// Splits a window's panes into stretches that can each be a run.
pub fn stretches(panes: &[PaneKey], now_ms: u64) -> impl Iterator<Item = &[PaneKey]> {
    panes.chunk_by(move |a, b| a.level == b.level && is_settled(a, now_ms) == is_settled(b, now_ms))
}

fn is_settled(pane: &PaneKey, now_ms: u64) -> bool {
    pane.level != Level::Day || pane.end_ms().saturating_add(SETTLED_AFTER_MS) <= now_ms
}

#[derive(Default)]
struct Kept {
    decoded: Option<Rc<Summary>>,
    encoded: Option<Vec<u8>>,
    /// When it was asked for last.
    turn: u64,
}

impl Kept {
    fn decoded_bytes(&self) -> usize {
        self.decoded
            .as_ref()
            .map_or(0, |summary| summary.heap_bytes())
    }

    fn encoded_bytes(&self) -> usize {
        self.encoded.as_ref().map_or(0, Vec::len)
    }
}

/// The runs of all scopes.
#[derive(Default)]
pub struct Runs {
    kept: RefCell<BTreeMap<Run, Kept>>,
    /// They may take less than the limits, where others need the memory.
    room: Cell<Option<usize>>,
    /// Rows that were encoded or decoded so far, to tell what a question cost.
    recoded: Cell<u64>,
}

impl Runs {
    /// The plays of a run, if it is kept.
    pub fn get(&self, run: &Run, seed: Seed) -> Option<Rc<Summary>> {
        let mut kept = self.kept.borrow_mut();
        let turn = next_turn(&kept);
        let found = kept.get_mut(run)?;
        found.turn = turn;
        if let Some(summary) = &found.decoded {
            return Some(Rc::clone(summary));
        }
        let summary = Rc::new(Summary::decode(found.encoded.as_ref()?, seed).ok()?);
        found.decoded = Some(Rc::clone(&summary));
        self.add_recoded(summary.len());
        self.stay_within_limits(&mut kept);
        Some(summary)
    }

    pub fn keep(&self, run: Run, summary: &Rc<Summary>) {
        let mut kept = self.kept.borrow_mut();
        let turn = next_turn(&kept);
        let entry = Kept {
            decoded: Some(Rc::clone(summary)),
            encoded: None,
            turn,
        };
        kept.insert(run, entry);
        self.stay_within_limits(&mut kept);
    }

    /// They may take so many bytes from now on.
    pub fn keep_within(&self, bytes: usize) {
        self.room.set(Some(bytes));
        self.stay_within_limits(&mut self.kept.borrow_mut());
    }

    /// Encodes what was not asked for the longest, then drops it.
    fn stay_within_limits(&self, kept: &mut BTreeMap<Run, Kept>) {
        let room = self.room.get().unwrap_or(usize::MAX);
        self.add_recoded(encode_over(kept, MAX_DECODED_BYTES.min(room / 5 * 3)));
        drop_over(kept, MAX_ENCODED_BYTES.min(room / 5 * 2));
    }

    /// Rows that were encoded or decoded so far.
    pub fn recoded(&self) -> u64 {
        self.recoded.get()
    }

    fn add_recoded(&self, rows: usize) {
        self.recoded.set(self.recoded.get() + rows as u64);
    }

    /// Something is folded into this pane.
    pub fn forget(&self, scope: &str, pane: PaneKey) {
        self.kept.borrow_mut().retain(|run, _| {
            run.level != pane.level || run.scope != scope || !run.span.contains(pane.span())
        });
    }
}

fn next_turn(kept: &BTreeMap<Run, Kept>) -> u64 {
    kept.values().map(|kept| kept.turn).max().unwrap_or(0) + 1
}

/// Encodes what was not asked for the longest. Returns how many rows it encoded.
fn encode_over(kept: &mut BTreeMap<Run, Kept>, most_bytes: usize) -> usize {
    let mut rows = 0;
    let mut decoded: usize = kept.values().map(Kept::decoded_bytes).sum();
    while decoded > most_bytes {
        let all = kept.values_mut().filter(|kept| kept.decoded.is_some());
        let Some(oldest) = all.min_by_key(|kept| kept.turn) else {
            break;
        };
        decoded -= oldest.decoded_bytes();
        if let Some(summary) = oldest.decoded.take() {
            oldest.encoded.get_or_insert_with(|| {
                rows += summary.len();
                summary.encode()
            });
        }
    }
    rows
}

fn drop_over(kept: &mut BTreeMap<Run, Kept>, most_bytes: usize) {
    let mut encoded: usize = kept.values().map(Kept::encoded_bytes).sum();
    while encoded > most_bytes {
        let all = kept.iter().filter(|(_, kept)| kept.encoded.is_some());
        let oldest = all.min_by_key(|(_, kept)| kept.turn);
        let Some(run) = oldest.map(|(run, _)| run.clone()) else {
            break;
        };
        encoded -= kept.remove(&run).map_or(0, |kept| kept.encoded_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed::from_bytes([3; 16]);
    const NOW_MS: u64 = 20_000 * DAY_MS;

    fn days(count: u64) -> Vec<PaneKey> {
        let start = |day| PaneKey::of(Level::Day, NOW_MS - day * DAY_MS);
        (1..=count).rev().map(start).collect()
    }

    fn summary(ids: usize) -> Rc<Summary> {
        let mut summary = Summary::new(ids.max(1), SEED);
        (0..ids).for_each(|id| summary.record(&format!("{id:016}"), 1));
        Rc::new(summary)
    }

    #[test]
    fn a_run_is_forgotten_when_one_of_its_panes_changes() {
        let runs = Runs::default();
        let panes = days(10);
        let run = Run::of("NA", &panes, NOW_MS + 2 * DAY_MS).unwrap();
        runs.keep(run.clone(), &summary(3));
        runs.forget("EU", panes[4]);
        runs.forget("NA", PaneKey::of(Level::TwoHours, panes[4].start_ms));
        assert_eq!(runs.get(&run, SEED).unwrap().total(), 3);
        runs.forget("NA", panes[4]);
        assert!(runs.get(&run, SEED).is_none());
    }

    #[test]
    fn the_last_days_are_not_in_a_run() {
        let panes = days(10);
        let stretches: Vec<_> = stretches(&panes, NOW_MS).collect();
        assert_eq!(
            stretches
                .iter()
                .map(|panes| panes.len())
                .collect::<Vec<_>>(),
            [8, 2]
        );
        assert!(Run::of("NA", stretches[0], NOW_MS).is_some());
        assert!(Run::of("NA", stretches[1], NOW_MS).is_none());
    }

    #[test]
    fn memory_stays_within_its_limits_and_what_was_asked_last_stays() {
        let runs = Runs::default();
        let later_ms = NOW_MS + 2 * DAY_MS;
        let large = summary(10_000);
        let panes = days(400);
        let run = |at: usize| Run::of("NA", &panes[at..at + 5], later_ms).unwrap();
        for at in 0..300 {
            runs.keep(run(at), &large);
            assert_eq!(runs.get(&run(0), SEED).unwrap().total(), 10_000);
        }
        let recoded = runs.recoded();
        assert!(recoded > 0, "what was encoded is counted");
        // One that has to be decoded is counted; one that is there costs nothing.
        runs.get(&run(298), SEED).unwrap();
        runs.get(&run(299), SEED).unwrap();
        let there = runs.recoded();
        runs.get(&run(299), SEED).unwrap();
        assert_eq!(runs.recoded(), there);
        let kept = runs.kept.borrow();
        let decoded: usize = kept.values().map(Kept::decoded_bytes).sum();
        let encoded: usize = kept.values().map(Kept::encoded_bytes).sum();
        assert!(decoded <= MAX_DECODED_BYTES && encoded <= MAX_ENCODED_BYTES);
        assert!(kept.contains_key(&run(299)) && kept.contains_key(&run(0)));
        assert!(kept.values().any(|kept| kept.decoded.is_none()));
    }
}
