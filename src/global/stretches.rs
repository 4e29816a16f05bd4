//! Stretches of stored panes, merged once and kept: most of a long window is one that has not changed
//! since the last question.
//!
//! A stretch is the panes of one scope and level in a row, or the one of all time. It is forgotten as
//! soon as one of its panes is folded into, so it is always what merging the rows anew would give. The
//! days that browsers still send late plays for are not part of one.
//!
//! # Cost
//! A chart over 30 days with the window before it takes 57 ms where all panes are read and merged,
//! and 8 ms with stretches (`npm run bench -- time`).

use super::cache::{Cache, Key};
use crate::window::{DAY_MS, Level, PaneKey, Span};

/// Fewer panes than this are read anew.
const FEWEST_PANES: usize = 4;
/// Days that ended later than this ago still take plays that browsers send late.
const SETTLED_AFTER_MS: u64 = DAY_MS + DAY_MS / 2;

/// Panes in a row, all of a level.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stretch {
    scope: String,
    level: Level,
    span: Span,
}

impl Stretch {
    /// The stretch of these panes, if it is worth keeping.
    pub fn of(scope: &str, panes: &[PaneKey], now_ms: u64) -> Option<Self> {
        let (first, last) = (panes.first()?, panes.last()?);
        // The one pane of all time is the largest there is.
        let is_long = panes.len() >= FEWEST_PANES || first.level == Level::All;
        let is_worth_it = is_long && is_settled(first, now_ms);
        is_worth_it.then(|| Stretch {
            scope: scope.to_owned(),
            level: first.level,
            span: Span::new(first.start_ms, last.end_ms),
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

fn is_settled(pane: &PaneKey, now_ms: u64) -> bool {
    pane.level != Level::Day || pane.end_ms.saturating_add(SETTLED_AFTER_MS) <= now_ms
}

/// Something is folded into a pane.
pub fn forget(cache: &Cache, scope: &str, pane: PaneKey) {
    cache.forget(|key| matches!(key, Key::Stretch(stretch) if stretch.has(scope, pane)));
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::window::Days;

    const NOW_MS: u64 = 20_000 * DAY_MS;

    fn days(count: u64) -> Vec<PaneKey> {
        let start = |day| PaneKey::of(Level::Day, NOW_MS - day * DAY_MS, &Days::default());
        (1..=count).rev().map(start).collect()
    }

    #[test]
    fn a_stretch_is_forgotten_when_one_of_its_panes_changes() {
        let cache = Cache::default();
        let panes = days(10);
        let stretch = Stretch::of("NA", &panes, NOW_MS + 2 * DAY_MS).unwrap();
        let key = Key::Stretch(stretch);
        cache.put(key.clone(), Rc::new(3), 8);
        forget(&cache, "EU", panes[4]);
        forget(
            &cache,
            "NA",
            PaneKey::of(Level::TwoHours, panes[4].start_ms, &Days::default()),
        );
        assert_eq!(cache.get::<i32>(&key).as_deref(), Some(&3));
        forget(&cache, "NA", panes[4]);
        assert!(cache.get::<i32>(&key).is_none());
    }

    #[test]
    fn the_last_days_are_not_in_a_stretch() {
        let panes = days(10);
        let lengths = stretches(&panes, NOW_MS).map(<[PaneKey]>::len);
        assert_eq!(lengths.collect::<Vec<_>>(), [8, 2]);
        let kept = stretches(&panes, NOW_MS).map(|panes| Stretch::of("NA", panes, NOW_MS));
        let kept: Vec<bool> = kept.map(|stretch| stretch.is_some()).collect();
        assert_eq!(kept, [true, false]);
    }

    #[test]
    fn the_pane_of_all_time_is_kept_until_anything_is_folded() {
        let cache = Cache::default();
        let stretch = Stretch::of("global", &[PaneKey::ALL], NOW_MS).unwrap();
        let key = Key::Stretch(stretch);
        cache.put(key.clone(), Rc::new(3), 8);
        forget(&cache, "global", PaneKey::ALL);
        assert!(cache.get::<i32>(&key).is_none());
    }
}
