//! Everything that was played in a scope and span.

use std::rc::Rc;

use super::cache::Key;
use super::ladder::{next_stored_ms, read_pane};
use super::merging::Merging;
use super::state::Global;
use super::stretches::{Stretch, stretches};
use super::work::Done;
use crate::storage::{Storage, StorageError};
use crate::summary::{Bounds, Summary};
use crate::window::{self, Kind, Level, PaneKey, Span, Timeframe, Unit, Window, tiles};
use crate::wire::{Refusal, WindowRequest};

/// The plays of a window in one summary.
pub struct Merged {
    pub summary: Summary,
    /// Plays of the window may be missing: a stored row could not be read, or shards have not told
    /// what they have open.
    pub incomplete: bool,
}

/// What is live of one post in a scope and span, by pane.
pub struct LiveTally {
    panes: Vec<(PaneKey, Bounds)>,
    /// As [`Merged::incomplete`].
    pub incomplete: bool,
}

impl LiveTally {
    /// The post's bounds with what is live of it within a span.
    pub fn within(&self, span: Span, stored: Bounds) -> Bounds {
        let panes = self.panes.iter();
        let panes = panes.filter(|(key, _)| span.contains(key.span()));
        panes.fold(stored, |sum, (_, more)| add(sum, *more))
    }
}

fn add(sum: Bounds, more: Bounds) -> Bounds {
    Bounds {
        lower: sum.lower.saturating_add(more.lower),
        upper: sum.upper.saturating_add(more.upper),
    }
}

/// Up to when nothing is stored of each level of a scope, as far as that was found: most of a young
/// ladder is empty, and what is absent is passed over in one step. For panes in order of time.
#[derive(Default)]
pub struct Absent([u64; Level::LADDER.len()]);

impl Absent {
    fn before_ms(&mut self, level: Level) -> Option<&mut u64> {
        self.0.get_mut(usize::from(level.code()))
    }
}

/// How stretches of stored panes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Merged once and kept.
    Kept,
    /// Pane by pane, keeping nothing: for a span that only one question asks about.
    Apart,
}

impl Global {
    /// The window that is asked for, in a scope that exists.
    pub(super) fn window(
        &self,
        scope: &str,
        request: WindowRequest,
        now_ms: u64,
    ) -> Result<Window, Refusal> {
        self.require(scope)?;
        window_of(request, now_ms)
    }

    /// Merges stored and live panes.
    pub(super) fn merged(
        &self,
        storage: &impl Storage,
        scope: &str,
        span: Span,
        now_ms: u64,
    ) -> Result<Merged, Refusal> {
        let mut merging = Merging::new(self.seed());
        let add = &mut |part: Rc<Summary>| {
            self.work.merged(std::iter::once(&*part));
            merging.add(part);
        };
        let incomplete = self.visit(storage, scope, span, now_ms, add)?;
        Ok(Merged {
            summary: merging.finish(),
            incomplete,
        })
    }

    /// What is stored of one post in a scope and span, without merging: its bounds are as tight as those
    /// of the merged window, or tighter. Says whether a row could not be read.
    pub(super) fn stored_tally(
        &self,
        storage: &impl Storage,
        (scope, span, post_id): (&str, Span, &str),
        now_ms: u64,
        how: (Reading, &mut Absent),
    ) -> Result<(Bounds, bool), Refusal> {
        let mut bounds = Bounds { lower: 0, upper: 0 };
        let tally = &mut |part: Rc<Summary>| {
            self.work.merged(std::iter::once(&*part));
            bounds = add(bounds, part.bounds(post_id));
        };
        let key = self.key_of(scope);
        let damaged = self.visit_stored(storage, (&key, span), now_ms, how, tally)?;
        Ok((bounds, damaged))
    }

    /// What is live of one post in a scope and span.
    pub(super) fn live_tally(
        &self,
        (scope, span, post_id): (&str, Span, &str),
        now_ms: u64,
    ) -> LiveTally {
        let key = self.key_of(scope);
        let mut panes = Vec::new();
        let tally = &mut |key: PaneKey, part: Rc<Summary>| {
            if span.contains(key.span()) {
                self.work.merged(std::iter::once(&*part));
                panes.push((key, part.bounds(post_id)));
            }
        };
        self.live.visit(&key, self.seed(), now_ms, tally);
        LiveTally {
            panes,
            incomplete: self.may_lack_plays(&key, now_ms),
        }
    }

    /// All plays in a scope and span, exact.
    pub(super) fn total(
        &self,
        storage: &impl Storage,
        scope: &str,
        span: Span,
        now_ms: u64,
    ) -> Result<u64, Refusal> {
        let mut total = 0_u64;
        let add = &mut |part: Rc<Summary>| total = total.saturating_add(part.total());
        self.visit(storage, scope, span, now_ms, add)?;
        Ok(total)
    }

    /// What was done so far, to tell what a question cost.
    pub fn done(&self) -> Done {
        let done = self.work.done();
        Done {
            entries: self.catalog.reads.get(),
            postings: self.catalog.postings.entries_read(),
            ..done
        }
    }

    /// Hands stored and live plays to `add`, each in one of the summaries, one summary at a time.
    /// Says whether some may be missing.
    fn visit(
        &self,
        storage: &impl Storage,
        scope: &str,
        span: Span,
        now_ms: u64,
        add: &mut impl FnMut(Rc<Summary>),
    ) -> Result<bool, Refusal> {
        let key = &*self.key_of(scope);
        let how = (Reading::Kept, &mut Absent::default());
        let damaged = self.visit_stored(storage, (key, span), now_ms, how, add)?;
        self.live
            .visit(key, self.seed(), now_ms, &mut |pane, part| {
                if span.contains(pane.span()) {
                    add(part);
                }
            });
        Ok(damaged || self.may_lack_plays(key, now_ms))
    }

    /// Whether plays of a scope may be missing that are not in a row which could not be read.
    fn may_lack_plays(&self, key: &str, now_ms: u64) -> bool {
        self.offsets.is_scope_damaged(key) || self.lacks_live_plays(key, now_ms)
    }

    /// Hands what is stored of a scope in a span to `add`. Says whether a row could not be read.
    fn visit_stored(
        &self,
        storage: &impl Storage,
        (key, span): (&str, Span),
        now_ms: u64,
        (reading, absent): (Reading, &mut Absent),
        add: &mut impl FnMut(Rc<Summary>),
    ) -> Result<bool, Refusal> {
        let mut damaged = false;
        for panes in stretches(&tiles(span, now_ms), now_ms) {
            let stretch = Stretch::of(key, panes, now_ms).filter(|_| reading == Reading::Kept);
            damaged |= self.visit_stretch(storage, (key, panes), absent, stretch, add)?;
        }
        Ok(damaged)
    }

    /// Hands panes that lie in a row to `add`, as one where they are kept as a stretch. Says whether a row
    /// could not be read.
    fn visit_stretch(
        &self,
        storage: &impl Storage,
        (scope, panes): (&str, &[PaneKey]),
        absent: &mut Absent,
        stretch: Option<Stretch>,
        add: &mut impl FnMut(Rc<Summary>),
    ) -> Result<bool, Refusal> {
        let seed = self.seed();
        let key = stretch.map(Key::Stretch);
        if let Some(summary) = key.as_ref().and_then(|key| self.cache.get(key)) {
            add(summary);
            return Ok(false);
        }
        let mut merging = key.is_some().then(|| Merging::new(seed));
        let mut damaged = false;
        for pane in panes {
            let absent_before_ms = absent.before_ms(pane.level);
            if absent_before_ms.is_some_and(|before_ms| pane.start_ms < *before_ms) {
                continue;
            }
            let stored = read_pane(storage, scope, *pane, seed, &self.damage).map_err(refused)?;
            damaged |= stored.damaged;
            if stored.is_absent() {
                let next_ms = next_stored_ms(storage, scope, *pane).map_err(refused)?;
                if let Some(before_ms) = absent.before_ms(pane.level) {
                    *before_ms = next_ms.unwrap_or(u64::MAX);
                }
            }
            self.work.read(&stored.summaries);
            for summary in stored.summaries.into_iter().map(Rc::new) {
                match &mut merging {
                    Some(merging) => {
                        self.work.merged(std::iter::once(&*summary));
                        merging.add(summary);
                    }
                    None => add(summary),
                }
            }
        }
        if let Some((merging, key)) = merging.zip(key) {
            let merged = Rc::new(merging.finish_stretch());
            if !damaged {
                let bytes = merged.heap_bytes();
                self.cache.put(key, Rc::clone(&merged), bytes);
            }
            add(merged);
        }
        Ok(damaged)
    }
}

pub(super) fn window_of(request: WindowRequest, now_ms: u64) -> Result<Window, Refusal> {
    let timeframe = |length_ms| Timeframe::Length {
        ms: length_ms,
        unit: Unit::Minutes,
    };
    Ok(match request {
        WindowRequest::All => window::window(Kind::Sliding, Timeframe::All, now_ms),
        WindowRequest::Sliding { length_ms } => window::sliding(timeframe(length_ms), now_ms),
        WindowRequest::Tumbling { length_ms } => window::tumbling(timeframe(length_ms), now_ms),
        WindowRequest::Between { from_ms, to_ms } => window::between(from_ms, to_ms, now_ms)
            .map_err(|error| Refusal::Invalid(error.to_string()))?,
    })
}

pub(super) fn refused(error: StorageError) -> Refusal {
    Refusal::Storage(error.0)
}
