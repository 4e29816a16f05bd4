//! Everything that was played in a scope and span.

use std::rc::Rc;

use super::ladder::{PaneRow, next_stored_ms, read_pane};
use super::live::LivePart;
use super::merging::{Merging, Needed};
use super::state::Global;
use super::stretches::{Stretch, blocks, stretches};
use super::work::Done;
use crate::storage::Storage;
use crate::summary::{Bounds, Merger, Summary};
use crate::window::{
    self, Days, Level, PaneKey, Span, Timeframe, Unit, Window, WindowError, WindowKind, tiles,
};
use crate::wire::{Refusal, WindowRequest};

/// The plays of a window in one summary.
pub struct Merged {
    /// Its ids are not indexed.
    pub summary: Summary,
    /// Plays of the window may be missing: a stored row could not be read, or shards have not told
    /// what they have open.
    pub incomplete: bool,
}

/// What those posts have in a scope and span that have a row in a summary, one after the other.
pub struct Beside {
    pub bounds: Vec<Bounds>,
    /// All plays.
    pub total: u64,
    pub is_exact: bool,
    /// As [`Merged::incomplete`].
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
pub struct EmptyBefore([u64; Level::LADDER.len()]);

impl EmptyBefore {
    fn before_ms(&mut self, level: Level) -> Option<&mut u64> {
        self.0.get_mut(usize::from(level.code()))
    }
}

/// Takes the plays of a window, one summary at a time. Says what is needed of the next.
type Add<'a> = &'a mut dyn FnMut(Rc<Summary>) -> Needed;

/// A stretch of stored panes that a question needs, to be merged ahead of it.
pub struct Ahead {
    stretch: Stretch,
    key: String,
    panes: Vec<PaneKey>,
}

/// Who else looks posts up in a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookUp {
    /// Nobody.
    Once,
    /// Pages of other posts: what they look into often is to be merged in the end.
    Often,
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
        window_of(request, now_ms, self.days())
    }

    /// Merges stored and live panes.
    pub(super) fn merged(
        &self,
        storage: &impl Storage,
        scope: &str,
        span: Span,
        now_ms: u64,
    ) -> Result<Merged, Refusal> {
        let (merging, incomplete) =
            self.merging(|add| self.visit(storage, scope, span, now_ms, add))?;
        Ok(Merged {
            summary: merging.finish(),
            incomplete,
        })
    }

    /// The same of those posts alone that have a row in a summary.
    pub(super) fn merged_beside(
        &self,
        storage: &impl Storage,
        (scope, span): (&str, Span),
        here: &Summary,
        now_ms: u64,
    ) -> Result<Beside, Refusal> {
        let mut merger = Merger::of_ids(here);
        let incomplete = self.visit(storage, scope, span, now_ms, &mut |plays| {
            self.work.merged(&plays);
            merger.add(&plays);
            Needed::All
        })?;
        Ok(Beside {
            total: merger.total(),
            is_exact: !merger.is_full(),
            incomplete,
            bounds: merger.finish_bounds(),
        })
    }

    /// Merges what is stored of some panes with more, and keeps no part of it. Says whether a row could not be read.
    pub(super) fn merge_stored(
        &self,
        storage: &impl Storage,
        (key, panes): (&str, &[PaneKey]),
        merging: &mut Merging,
    ) -> Result<bool, Refusal> {
        let add = &mut |plays: Rc<Summary>| {
            self.work.merged(&plays);
            merging.add(&plays);
            merging.needed()
        };
        let damaged = self.decode_panes(storage, (key, panes), &mut EmptyBefore::default(), add)?;
        Ok(damaged || self.offsets.is_scope_damaged(key))
    }

    /// What is to be merged for windows of a scope and is not kept, the last first. Whoever merges one after the
    /// other, and lets others have their turns in between, then finds all of it kept.
    pub(super) fn ahead(&self, scope: &str, windows: &[Window], now_ms: u64) -> Vec<Ahead> {
        self.ahead_where(scope, windows, now_ms, |stretch| {
            !self.stretches.has(stretch)
        })
    }

    /// What pages have looked into so often in a window of a scope that it is to be merged, as [`Global::ahead`].
    pub(super) fn often_looked_into(&self, scope: &str, window: Window, now_ms: u64) -> Vec<Ahead> {
        self.ahead_where(scope, &[window], now_ms, |it| {
            self.stretches.is_worth_merging(it)
        })
    }

    fn ahead_where(
        &self,
        scope: &str,
        windows: &[Window],
        now_ms: u64,
        is_wanted: impl Fn(&Stretch) -> bool,
    ) -> Vec<Ahead> {
        let key = self.key_of(scope);
        let ahead = |stretch, panes: &[PaneKey]| Ahead {
            stretch,
            key: key.clone(),
            panes: panes.to_vec(),
        };
        let mut all = Vec::new();
        for window in windows {
            for panes in stretches(&tiles(window.span, now_ms, self.days()), now_ms) {
                let Some(whole) = Stretch::of(&key, panes).filter(&is_wanted) else {
                    continue;
                };
                all.push(ahead(whole, panes));
                for block in blocks(panes).filter(|block| block.len() < panes.len()) {
                    all.extend(Stretch::of(&key, block).map(|it| ahead(it, block)));
                }
            }
        }
        all
    }

    /// Merges a stretch, unless somebody has meanwhile.
    pub(super) fn merge_ahead(&self, storage: &impl Storage, ahead: Ahead) -> Result<(), Refusal> {
        let Ahead {
            stretch,
            key,
            panes,
        } = ahead;
        if !self.stretches.has(&stretch) {
            let absent = &mut EmptyBefore::default();
            self.stretch(storage, (&key, &panes), absent, stretch)?;
        }
        Ok(())
    }

    /// What is stored of one post in a scope and span, without merging: its bounds are as tight as those
    /// of the merged window, or tighter. It is looked up in what is kept merged, and else in the panes as they
    /// are stored. Says whether a row could not be read.
    pub(super) fn stored_tally(
        &self,
        storage: &impl Storage,
        (scope, span, post_id): (&str, Span, &str),
        now_ms: u64,
        (how, absent): (LookUp, &mut EmptyBefore),
    ) -> Result<(Bounds, bool), Refusal> {
        let key = self.key_of(scope);
        let (mut sum, mut damaged) = (Bounds { lower: 0, upper: 0 }, false);
        for panes in stretches(&tiles(span, now_ms, self.days()), now_ms) {
            let stretch = Stretch::of(&key, panes);
            let kept =
                (stretch.as_ref()).and_then(|it| self.stretches.bounds(it, post_id, self.seed()));
            if let Some((bounds, searched)) = kept {
                self.work.searched(searched);
                sum = add(sum, bounds);
                continue;
            }
            if let Some(stretch) = stretch.filter(|_| how == LookUp::Often) {
                self.stretches.looked_into(&stretch);
            }
            let read = &mut |row: PaneRow<'_>| {
                self.work.searched(row.bytes());
                let bounds = row.bounds(post_id, self.seed());
                bounds.map(|more| sum = add(sum, more)).is_some()
            };
            damaged |= self.visit_panes(storage, (&key, panes), absent, read)?;
        }
        Ok((sum, damaged))
    }

    /// What is live of one post in a scope and span.
    pub(super) fn live_tally(
        &self,
        (scope, span, post_id): (&str, Span, &str),
        now_ms: u64,
    ) -> LiveTally {
        let (key, seed) = (self.key_of(scope), self.seed());
        let mut panes = Vec::new();
        let tally = &mut |key: PaneKey, part: LivePart<'_>| {
            if !span.contains(key.span()) {
                return;
            }
            let bounds = match part {
                LivePart::Merged(plays) => {
                    self.work.searched(plays.len());
                    Some(plays.bounds(post_id))
                }
                LivePart::Sent(pane) => {
                    self.work.searched(pane.summary.len());
                    // It was decoded when it was taken: this cannot fail, and must not panic.
                    Summary::bounds_in(&pane.summary, post_id, seed).ok()
                }
            };
            panes.extend(bounds.map(|bounds| (key, bounds)));
        };
        self.live.visit(&key, seed, now_ms, tally);
        LiveTally {
            panes,
            incomplete: self.may_lack_plays(&key, now_ms),
        }
    }

    /// Whether a post has plays in the merged live panes of a scope.
    pub(super) fn is_live(&self, scope: &str, post_id: &str, now_ms: u64) -> bool {
        let mut is_live = false;
        let look = &mut |_, part: LivePart<'_>| {
            if let LivePart::Merged(plays) = part {
                self.work.searched(plays.len());
                is_live |= plays.bounds(post_id).lower > 0;
            }
        };
        self.live
            .visit(&self.key_of(scope), self.seed(), now_ms, look);
        is_live
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
        let add = &mut |part: Rc<Summary>| {
            total = total.saturating_add(part.total());
            Needed::Largest
        };
        self.visit(storage, scope, span, now_ms, add)?;
        Ok(total)
    }

    /// What was done so far, to tell what a question cost.
    pub fn done(&self) -> Done {
        self.work.done()
    }

    /// Merges what `visit` hands over, and passes on what it says.
    fn merging(
        &self,
        visit: impl FnOnce(Add<'_>) -> Result<bool, Refusal>,
    ) -> Result<(Merging, bool), Refusal> {
        let mut merging = Merging::new(self.seed());
        let said = visit(&mut |plays| {
            self.work.merged(&plays);
            merging.add(&plays);
            merging.needed()
        })?;
        Ok((merging, said))
    }

    /// Hands stored and live plays to `add`, each in one of the summaries, one summary at a time.
    /// Says whether some may be missing.
    fn visit(
        &self,
        storage: &impl Storage,
        scope: &str,
        span: Span,
        now_ms: u64,
        add: Add<'_>,
    ) -> Result<bool, Refusal> {
        let (key, seed) = (&*self.key_of(scope), self.seed());
        let damaged = self.visit_stored(storage, (key, span), now_ms, add)?;
        self.live.visit(key, seed, now_ms, &mut |pane, part| {
            if !span.contains(pane.span()) {
                return;
            }
            let plays = match part {
                LivePart::Merged(plays) => Some(Rc::clone(plays)),
                LivePart::Sent(pane) => pane.decode(seed).inspect(|it| self.work.read(it)),
            };
            plays.map(&mut *add);
        });
        Ok(damaged || self.may_lack_plays(key, now_ms))
    }

    /// Whether plays of a scope may be missing that are not in a row which could not be read.
    fn may_lack_plays(&self, key: &str, now_ms: u64) -> bool {
        self.offsets.is_scope_damaged(key) || self.lacks_live_plays(key, now_ms)
    }

    /// Hands what is stored of a scope in a span to `add`: stretches that are kept, or merged once and
    /// kept, and other panes one by one. Says whether a row could not be read.
    fn visit_stored(
        &self,
        storage: &impl Storage,
        (key, span): (&str, Span),
        now_ms: u64,
        add: Add<'_>,
    ) -> Result<bool, Refusal> {
        let (mut damaged, absent) = (false, &mut EmptyBefore::default());
        for panes in stretches(&tiles(span, now_ms, self.days()), now_ms) {
            if let Some(stretch) = Stretch::of(key, panes) {
                let (plays, is_damaged) = self.stretch(storage, (key, panes), absent, stretch)?;
                add(plays);
                damaged |= is_damaged;
            } else {
                damaged |= self.decode_panes(storage, (key, panes), absent, add)?;
            }
        }
        Ok(damaged)
    }

    /// Panes that lie in a row as one, which is kept. Says whether a row could not be read.
    fn stretch(
        &self,
        storage: &impl Storage,
        of: (&str, &[PaneKey]),
        absent: &mut EmptyBefore,
        stretch: Stretch,
    ) -> Result<(Rc<Summary>, bool), Refusal> {
        if let Some((kept, was_decoded)) = self.stretches.get(&stretch, self.seed()) {
            if was_decoded {
                self.work.read(&kept);
            }
            return Ok((kept, false));
        }
        let (merging, damaged) = self.merging(|add| self.blocks(storage, of, absent, add))?;
        let merged = Rc::new(merging.finish_stretch());
        if !damaged {
            self.stretches.put(stretch, &merged);
        }
        Ok((merged, damaged))
    }

    /// Hands the panes of a stretch to `add`: those of a long one merged a block at a time, each of which is kept
    /// too. Says whether a row could not be read.
    fn blocks(
        &self,
        storage: &impl Storage,
        (key, panes): (&str, &[PaneKey]),
        absent: &mut EmptyBefore,
        add: Add<'_>,
    ) -> Result<bool, Refusal> {
        let mut damaged = false;
        for block in blocks(panes) {
            match Stretch::of(key, block).filter(|_| block.len() < panes.len()) {
                Some(stretch) => {
                    let of = (key, block);
                    let (plays, is_damaged) = self.stretch(storage, of, absent, stretch)?;
                    add(plays);
                    damaged |= is_damaged;
                }
                None => damaged |= self.decode_panes(storage, (key, block), absent, add)?,
            }
        }
        Ok(damaged)
    }

    /// Hands each of these panes to `add`, or its largest counters where those are enough. Says whether a row could not
    /// be read.
    fn decode_panes(
        &self,
        storage: &impl Storage,
        of: (&str, &[PaneKey]),
        absent: &mut EmptyBefore,
        add: Add<'_>,
    ) -> Result<bool, Refusal> {
        let mut needed = Needed::All;
        let read = &mut |row: PaneRow<'_>| {
            let plays = match needed {
                Needed::All => row.decode(self.seed()),
                Needed::Largest => row.decode_largest(self.seed()),
            };
            let plays = plays.inspect(|it| self.work.read(it)).map(Rc::new);
            plays.map(|plays| needed = add(plays)).is_some()
        };
        self.visit_panes(storage, of, absent, read)
    }

    /// Hands the rows of these panes to `read`, which says whether it could read them. Says whether one
    /// could not be read.
    fn visit_panes(
        &self,
        storage: &impl Storage,
        (scope, panes): (&str, &[PaneKey]),
        absent: &mut EmptyBefore,
        read: &mut impl FnMut(PaneRow<'_>) -> bool,
    ) -> Result<bool, Refusal> {
        let mut damaged = false;
        for pane in panes {
            let absent_before_ms = absent.before_ms(pane.level);
            if absent_before_ms.is_some_and(|before_ms| pane.start_ms < *before_ms) {
                continue;
            }
            let stored = read_pane(storage, scope, *pane, &self.damage, read)?;
            self.work.looked_for();
            damaged |= stored.damaged;
            if stored.is_absent {
                let next_ms = next_stored_ms(storage, scope, *pane)?;
                if let Some(before_ms) = absent.before_ms(pane.level) {
                    *before_ms = next_ms.unwrap_or(u64::MAX);
                }
            }
        }
        Ok(damaged)
    }
}

pub(super) fn window_of(
    request: WindowRequest,
    now_ms: u64,
    days: &Days,
) -> Result<Window, Refusal> {
    let invalid = |error: WindowError| Refusal::Invalid(error.to_string());
    let timeframe = |length_ms| Timeframe::Length {
        ms: length_ms,
        unit: Unit::Minutes,
    };
    Ok(match request {
        WindowRequest::All => window::window(WindowKind::Sliding, Timeframe::All, now_ms, days),
        WindowRequest::Sliding { length_ms } => window::sliding(timeframe(length_ms), now_ms, days),
        WindowRequest::Tumbling { length_ms } => {
            window::tumbling(timeframe(length_ms), now_ms, days)
        }
        WindowRequest::Between { from_ms, to_ms } => {
            window::between(from_ms, to_ms, now_ms, days).map_err(invalid)?
        }
        WindowRequest::Since {
            from_ms,
            to_ms,
            before_ms,
        } => window::since(from_ms, to_ms, before_ms, now_ms, days).map_err(invalid)?,
        WindowRequest::Published { .. } => {
            return Err(Refusal::Invalid("a published chart is no window".into()));
        }
    })
}
