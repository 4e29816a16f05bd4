//! Stretches of stored panes, merged once and kept: most of a long window is one that has not changed
//! since the last question.
//!
//! A stretch is consecutive panes of one scope and level, or a single large pane. It is forgotten as soon as one
//! of its panes is folded into, so it is always what merging the rows anew would give. Panes that are
//! still folded into each minute, and the days that browsers still send late plays for, are apart. A stretch
//! of more than two months is merged from blocks of a month, which windows that end on another day share.
//!
//! # Cost
//! `docs/inside/performance.md` has what a first chart takes, and one whose stretches are kept.

use std::cell::RefCell;
use std::rc::Rc;

use super::cache::{Cache, Key};
use crate::cache::Room;
use crate::summary::{Bounds, Seed, Summary};
use crate::window::{DAY_MS, Level, MINUTE_MS, PaneKey, Span};

/// Fewer panes than this are read anew.
const FEWEST_PANES: usize = 4;
/// Days that are merged in one step at most: those of a month, and a month before it.
const DAYS_IN_ONE: usize = 62;
/// More are merged so many at a time: in 20 ms of the world's 8,192 posts a day, and in 0.2 s of a region's 60,000
/// (native). A year's blocks are 1.5 MB encoded, which have room where everything else is asked for again.
const BLOCK_MS: u64 = 32 * DAY_MS;
/// How often the panes of one are looked into before they are merged, which takes 9 to 16 times as long (native,
/// days of 36,000 posts).
const MOST_LOOKS: u32 = 8;
/// Encoded stretches: 110 of 8,192 posts, or the 8 that each of eleven scopes needs for a day, a month and a day of
/// another zone, with the windows before them, and three of quarters.
pub const MOST_ENCODED_BYTES: usize = 12 << 20;
/// Those that wait to be encoded: of ten scopes whose first charts are asked for within a minute, in 0.1 s.
const MOST_TO_ENCODE: usize = 64;
/// Panes that ended later than this ago are still folded into each minute. So they are no part of a stretch
/// that would be merged anew each time.
const SETTLED_AFTER_MS: u64 = 2 * MINUTE_MS;
/// Days that ended later than this ago still take plays that browsers send late.
const DAYS_SETTLED_AFTER_MS: u64 = DAY_MS + DAY_MS / 2;

/// Panes in a row, all of a level.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stretch {
    scope: String,
    level: Level,
    span: Span,
    panes: usize,
}

impl Stretch {
    /// The stretch of these panes, if it is worth keeping.
    pub fn of(scope: &str, panes: &[PaneKey]) -> Option<Self> {
        let (first, last) = (panes.first()?, panes.last()?);
        // One pane of these is as large as a stretch.
        let is_large = first.level >= Level::TwoHours;
        let is_worth_it = is_large || panes.len() >= FEWEST_PANES;
        is_worth_it.then(|| Stretch {
            scope: scope.to_owned(),
            level: first.level,
            span: Span::new(first.start_ms, last.end_ms),
            panes: panes.len(),
        })
    }

    fn has(&self, scope: &str, pane: PaneKey) -> bool {
        self.level == pane.level && self.scope == scope && self.span.contains(pane.span())
    }
}

/// Splits a window's panes into stretches that can each be kept.
pub fn stretches(panes: &[PaneKey], now_ms: u64) -> impl Iterator<Item = &[PaneKey]> {
    panes.chunk_by(move |a, b| a.level == b.level && is_settled(a, now_ms) == is_settled(b, now_ms))
}

/// The parts that a stretch is merged from, each in a step of its own; itself, where it is short.
pub fn blocks(panes: &[PaneKey]) -> impl Iterator<Item = &[PaneKey]> {
    let is_long = panes.len() > DAYS_IN_ONE;
    let block = move |pane: &PaneKey| match pane.level {
        Level::Day if is_long => pane.start_ms / BLOCK_MS,
        _ => 0,
    };
    panes.chunk_by(move |a, b| block(a) == block(b))
}

fn is_settled(pane: &PaneKey, now_ms: u64) -> bool {
    let after_ms = match pane.level {
        Level::Day => DAYS_SETTLED_AFTER_MS,
        _ => SETTLED_AFTER_MS,
    };
    pane.end_ms.saturating_add(after_ms) <= now_ms
}

/// The stretches that are kept: decoded in the cache of everything, and encoded in one of their own. A
/// stretch of 8,192 posts is 310 kB decoded, and 106 to 124 kB encoded; of quarters that are exact 270 and 58 kB. So
/// those that charts of a day, a month and a day of another zone need of eleven scopes stay where live panes take the
/// room of the decoded ones, and are there again for 0.6 ms each in place of 20 to 50.
///
/// Encoding takes 2 ms each, for which whoever asks for the first chart does not wait: as long as there is room for the
/// decoded ones, the next flush does it. One that is gone by then is merged anew.
pub struct Stretches {
    cache: Cache,
    encoded: crate::cache::Cache<Stretch>,
    to_encode: RefCell<Vec<Stretch>>,
}

impl Stretches {
    pub fn new(cache: Cache, room: &Room) -> Self {
        Stretches {
            cache,
            encoded: crate::cache::Cache::within(room, MOST_ENCODED_BYTES),
            to_encode: RefCell::default(),
        }
    }

    /// What is kept of a stretch, decoded; and whether it was decoded for this.
    pub fn get(&self, stretch: &Stretch, seed: Seed) -> Option<(Rc<Summary>, bool)> {
        let encoded = self.encoded.get::<Vec<u8>>(stretch);
        let key = Key::Stretch(stretch.clone());
        // Those that are asked for again are known encoded. Decoded they go first, which costs 0.6 ms each, and what is
        // live has the room: without it 1,000 shards take twice the processor.
        if let Some(plays) = self.cache.peek(&key) {
            return Some((plays, false));
        }
        let plays = Rc::new(Summary::decode_checked(&encoded?, seed).ok()?);
        self.cache.put(key, Rc::clone(&plays), plays.heap_bytes());
        Some((plays, true))
    }

    /// Whether it is kept.
    pub fn has(&self, stretch: &Stretch) -> bool {
        self.encoded.has(stretch) || self.cache.has(&Key::Stretch(stretch.clone()))
    }

    /// The bounds of one post in what is kept of a stretch, and how much was gone through to find it. Nothing is
    /// decoded for that.
    pub fn bounds(&self, stretch: &Stretch, post_id: &str, seed: Seed) -> Option<(Bounds, usize)> {
        let encoded = self.encoded.get::<Vec<u8>>(stretch);
        if let Some(plays) = self.cache.get::<Summary>(&Key::Stretch(stretch.clone())) {
            return Some((plays.bounds(post_id), plays.len()));
        }
        let encoded = encoded?;
        let bounds = Summary::bounds_in(&encoded, post_id, seed).ok()?;
        Some((bounds, encoded.len()))
    }

    /// To be told where the panes of a stretch are looked into that is not kept.
    pub fn looked_into(&self, stretch: &Stretch) {
        let key = Key::LookedInto(stretch.clone());
        let looks = self.cache.get::<u32>(&key).map_or(0, |looks| *looks);
        self.cache.put(key, Rc::new(looks.saturating_add(1)), 0);
    }

    /// Whether one that is not kept was looked into so often that merging it costs no more.
    pub fn is_worth_merging(&self, stretch: &Stretch) -> bool {
        let looks = self.cache.peek::<u32>(&Key::LookedInto(stretch.clone()));
        looks.is_some_and(|looks| *looks >= MOST_LOOKS) && !self.has(stretch)
    }

    pub fn put(&self, stretch: Stretch, plays: &Rc<Summary>) {
        self.cache.remove(&Key::LookedInto(stretch.clone()));
        // One pane lies in the storage as it would lie here.
        if stretch.panes > 1 {
            let mut later = self.to_encode.borrow_mut();
            if later.len() < MOST_TO_ENCODE && self.cache.is_half_empty() {
                later.push(stretch.clone());
            } else {
                self.encode(stretch.clone(), plays);
            }
        }
        let bytes = plays.heap_bytes();
        self.cache
            .put(Key::Stretch(stretch), Rc::clone(plays), bytes);
    }

    fn encode(&self, stretch: Stretch, plays: &Summary) {
        let encoded = plays.encode();
        let bytes = encoded.len();
        self.encoded.put(stretch, Rc::new(encoded), bytes);
    }

    /// Encodes those that were not when they were put there, and are there still. Minutes are others soon.
    pub fn encode_rest(&self) {
        for stretch in self.to_encode.take() {
            let plays = self.cache.peek::<Summary>(&Key::Stretch(stretch.clone()));
            if let Some(plays) = plays.filter(|_| stretch.level != Level::Minute) {
                self.encode(stretch, &plays);
            }
        }
    }

    /// Something is folded into a pane.
    pub fn forget(&self, scope: &str, pane: PaneKey) {
        self.encoded.forget(|stretch| stretch.has(scope, pane));
        let is_of = |key: &Key| match key {
            Key::Stretch(stretch) | Key::LookedInto(stretch) => stretch.has(scope, pane),
            Key::Ranks(ranks) => ranks.are_of(scope, pane.span()),
            _ => false,
        };
        self.cache.forget(is_of);
    }

    /// They may take so many bytes encoded.
    pub fn keep_within(&self, most_bytes: usize) {
        self.encoded.keep_within(most_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::counters;
    use crate::global::merging::Merging;
    use crate::global::state::Global;
    use crate::storage::MemoryStorage;
    use crate::topology::{Region, RegionTable};
    use crate::window::Days;

    const NOW_MS: u64 = 20_000 * DAY_MS;
    const SEED: Seed = Seed::from_bytes([5; 16]);

    fn plays() -> Rc<Summary> {
        let mut plays = Summary::new(4, SEED);
        for id in ["a", "b", "c", "d", "e"] {
            plays.record(id, 3);
        }
        Rc::new(plays)
    }

    fn days(count: u64) -> Vec<PaneKey> {
        let start = |day| PaneKey::of(Level::Day, NOW_MS - day * DAY_MS, &Days::default());
        (1..=count).rev().map(start).collect()
    }

    #[test]
    fn a_stretch_is_forgotten_when_one_of_its_panes_changes() {
        let stretches = Stretches::new(Cache::default(), &Room::default());
        let panes = days(10);
        let stretch = Stretch::of("NA", &panes).unwrap();
        stretches.put(stretch.clone(), &plays());
        let two_hours = PaneKey::of(Level::TwoHours, panes[4].start_ms, &Days::default());
        stretches.forget("EU", panes[4]);
        stretches.forget("NA", two_hours);
        assert!(stretches.get(&stretch, SEED).is_some());
        stretches.forget("NA", panes[4]);
        assert!(stretches.get(&stretch, SEED).is_none());
    }

    /// As many posts as a stretch has that is not exact, with counts of every size.
    fn many_plays() -> Rc<Summary> {
        let mut merging = Merging::new(SEED);
        let (mut random, posts) = (7_u64, 1_000_000);
        for _ in 0..4 {
            let mut plays = Summary::new(counters(Level::Day), SEED);
            for _ in 0..60_000 {
                random = (random.wrapping_mul(6_364_136_223_846_793_005)).wrapping_add(1);
                plays.record(&format!("{:011}", (random >> 33) % posts), random >> 52);
            }
            merging.add(&plays);
        }
        Rc::new(merging.finish_stretch())
    }

    #[test]
    fn what_charts_of_a_day_a_month_and_another_zones_day_need_of_eleven_scopes_stays() {
        let (cache, plays) = (Cache::default(), many_plays());
        assert!(plays.is_full() && plays.len() == counters(Level::Day));
        let stretches = Stretches::new(cache.clone(), &Room::default());
        // What is live takes the room of those that are decoded.
        cache.keep_within(0);
        let panes = days(20);
        for round in 0..2 {
            // A day, and a day of another zone, with the one before: two of two-hour panes each, which are as large. A
            // month: four of days and of two hours. All else is of quarters, and smaller.
            for (scope, from) in (0..11).flat_map(|scope| (0..8).map(move |from| (scope, from))) {
                let stretch = Stretch::of(&format!("R{scope}"), &panes[from..]).unwrap();
                match round {
                    0 => stretches.put(stretch, &plays),
                    _ => assert!(stretches.get(&stretch, SEED).is_some(), "scope {scope}"),
                }
            }
        }
    }

    #[test]
    fn the_last_days_are_not_in_a_stretch() {
        let panes = days(10);
        let lengths = stretches(&panes, NOW_MS).map(<[PaneKey]>::len);
        assert_eq!(lengths.collect::<Vec<_>>(), [8, 2]);
    }

    #[test]
    fn windows_of_a_year_that_end_on_different_days_share_what_they_are_merged_from() {
        let of = |panes: &[PaneKey]| -> Vec<Stretch> {
            blocks(panes)
                .filter_map(|it| Stretch::of("NA", it))
                .collect()
        };
        let (today, tomorrow) = (of(&days(400)), of(&days(399)));
        assert!((13..=14).contains(&today.len()), "{}", today.len());
        let shared = tomorrow.iter().filter(|stretch| today.contains(stretch));
        assert!(shared.count() >= tomorrow.len() - 1);
        assert_eq!(of(&days(62)).len(), 1, "a month with the one before");
    }

    #[test]
    fn a_stretch_that_is_looked_into_often_is_worth_merging_until_it_is_kept_or_changes() {
        let cache = Cache::default();
        let stretches = Stretches::new(cache.clone(), &Room::default());
        let panes = days(10);
        let stretch = Stretch::of("NA", &panes).unwrap();
        let look = || (0..MOST_LOOKS).for_each(|_| stretches.looked_into(&stretch));
        assert!(!stretches.is_worth_merging(&stretch));
        look();
        assert!(stretches.is_worth_merging(&stretch));
        stretches.put(stretch.clone(), &plays());
        assert!(!stretches.is_worth_merging(&stretch));
        stretches.forget("NA", panes[4]);
        assert!(!stretches.is_worth_merging(&stretch), "counted anew");
        look();
        assert!(stretches.is_worth_merging(&stretch));
        stretches.forget("NA", panes[4]);
        assert!(!stretches.is_worth_merging(&stretch), "it is another");
    }

    #[test]
    fn a_post_has_the_same_bounds_in_a_stretch_that_is_encoded() {
        let cache = Cache::default();
        let stretches = Stretches::new(cache.clone(), &Room::default());
        let stretch = Stretch::of("NA", &days(10)).unwrap();
        assert!(!stretches.has(&stretch) && stretches.bounds(&stretch, "a", SEED).is_none());
        stretches.put(stretch.clone(), &plays());
        let of = |id| stretches.bounds(&stretch, id, SEED).unwrap().0;
        let decoded = ["a", "e", "none"].map(of);
        stretches.encode_rest();
        cache.keep_within(0);
        assert!(stretches.has(&stretch));
        assert_eq!(["a", "e", "none"].map(of), decoded);
    }

    #[test]
    fn what_there_is_room_for_is_encoded_with_the_next_flush_and_else_at_once() {
        let storage = MemoryStorage::new();
        let region = Region::new("NA", "NA", 1);
        let table = RegionTable::new(vec![region], [5; 16]);
        let mut global = Global::load(&storage, &table).unwrap();
        let stretch = Stretch::of("NA", &days(10)).unwrap();
        global.stretches.put(stretch.clone(), &plays());
        assert!(!global.stretches.encoded.has(&stretch));
        global.flush(&storage, NOW_MS).unwrap();
        assert!(global.stretches.encoded.has(&stretch));

        let cache = Cache::default();
        let stretches = Stretches::new(cache.clone(), &Room::default());
        let bytes = cache.most_bytes() / 2;
        cache.put(Key::Copies(1), Rc::new(()), bytes);
        stretches.put(stretch.clone(), &plays());
        assert!(stretches.encoded.has(&stretch));
    }

    #[test]
    fn the_pane_of_all_time_is_kept_until_anything_is_folded() {
        let stretches = Stretches::new(Cache::default(), &Room::default());
        let stretch = Stretch::of("global", &[PaneKey::ALL]).unwrap();
        stretches.put(stretch.clone(), &plays());
        stretches.forget("global", PaneKey::ALL);
        assert!(stretches.get(&stretch, SEED).is_none());
    }

    #[test]
    fn a_stretch_outlives_the_decoded_one_and_is_the_same() {
        let cache = Cache::default();
        let stretches = Stretches::new(cache.clone(), &Room::default());
        let stretch = Stretch::of("NA", &days(10)).unwrap();
        stretches.put(stretch.clone(), &plays());
        assert!(stretches.get(&stretch, SEED).is_some_and(|(_, anew)| !anew));
        stretches.encode_rest();
        cache.keep_within(0);
        cache.keep_within(1 << 20);
        let (again, anew) = stretches.get(&stretch, SEED).unwrap();
        assert!(anew);
        assert_eq!(again.encode(), plays().encode());
        assert!(stretches.get(&stretch, SEED).is_some_and(|(_, anew)| !anew));
        stretches.keep_within(0);
        cache.keep_within(0);
        assert!(stretches.get(&stretch, SEED).is_none());
    }
}
