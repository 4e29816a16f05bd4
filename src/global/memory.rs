//! What the global objects of an instance hold together, and what they give up.
//!
//! All boards of an instance share one budget, [`HELD_BYTES`]. What is merged goes first, of the board that
//! holds most of it ([`Room`]). Of charts that are being closed, one is kept at a time from step to step, of whichever
//! board: all boards come due at the same moment, and each chart of a month is 7 MB until it is done. Then copies of what shards have open: a board takes what the others leave, and one
//! that has more than its part gives way with its next push where others want more.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::closed::ChartUnderWay;
use super::state::Global;
use super::stretches::MOST_ENCODED_BYTES;
use super::{HELD_BYTES, LEAST_CACHE_BYTES, MOST_CACHE_BYTES};
use crate::cache::Room;
use crate::storage::{Storage, StorageError};

/// A part of what caches may take is for encoded stretches.
const ENCODED_SHARE: usize = 3;
/// A chart with which its board does not go on for so long gives way to another board's: who asked for it has hung up,
/// or the board waits for its catalog.
const UNDER_WAY_IDLE_MS: u64 = 5_000;

/// What all global objects of an instance hold. A clone is another handle of the same.
#[derive(Clone, Default)]
pub struct Together(Rc<Sums>);

#[derive(Default)]
struct Sums {
    room: Room,
    held: Cell<HeldSum>,
    /// What is known of catalogs, by all of them together.
    catalog_bytes: Cell<usize>,
    boards_with_copies: Cell<usize>,
    /// How many boards there were, and so the number of the next one.
    boards: Cell<u64>,
    under_way: RefCell<Option<ChartInSteps>>,
}

/// The chart that is merged from step to step.
struct ChartInSteps {
    board: u64,
    /// Of the last step.
    at_ms: u64,
    chart: ChartUnderWay,
}

/// What is held besides caches, of one of them or of all.
#[derive(Clone, Copy, Default)]
struct HeldSum {
    /// All of it.
    bytes: usize,
    copies: usize,
    /// What copies took before some were dropped.
    wanted_copies: usize,
}

impl Together {
    /// What all of them have merged, and could merge again.
    pub fn room(&self) -> &Room {
        &self.0.room
    }

    /// What cannot be had again.
    fn needed_bytes(&self) -> usize {
        let under_way = self.0.under_way.borrow();
        let under_way_bytes = under_way.as_ref().map_or(0, |it| it.chart.held_bytes());
        self.0.held.get().bytes + self.0.catalog_bytes.get() + under_way_bytes
    }
}

/// What one of them holds.
pub struct Share {
    board: u64,
    together: Together,
    held: Cell<HeldSum>,
}

impl Share {
    pub fn of(together: &Together) -> Self {
        let boards = &together.0.boards;
        boards.set(boards.get() + 1);
        Share {
            board: boards.get(),
            together: together.clone(),
            held: Cell::default(),
        }
    }

    pub fn together(&self) -> &Together {
        &self.together
    }

    /// Whether this board may keep a chart from one step to the next: no other one does.
    pub fn may_keep_chart(&self, now_ms: u64) -> bool {
        let kept = self.together.0.under_way.borrow();
        kept.as_ref().is_none_or(|kept| {
            kept.board == self.board || now_ms.abs_diff(kept.at_ms) >= UNDER_WAY_IDLE_MS
        })
    }

    /// Keeps a chart until it is taken, where [`Share::may_keep_chart`].
    pub fn keep_chart(&self, chart: ChartUnderWay, at_ms: u64) {
        let board = self.board;
        *self.together.0.under_way.borrow_mut() = Some(ChartInSteps {
            board,
            at_ms,
            chart,
        });
    }

    /// The chart that this board has kept.
    pub fn take_chart(&self) -> Option<ChartUnderWay> {
        let mut kept = self.together.0.under_way.borrow_mut();
        let mine = kept.take_if(|kept| kept.board == self.board);
        mine.map(|kept| kept.chart)
    }

    fn holds(&self, held: HeldSum) {
        let sums = &self.together.0;
        let (was, all) = (self.held.replace(held), sums.held.get());
        sums.held.set(HeldSum {
            bytes: all.bytes - was.bytes + held.bytes,
            copies: all.copies - was.copies + held.copies,
            wanted_copies: all.wanted_copies - was.wanted_copies + held.wanted_copies,
        });
        let had = usize::from(was.wanted_copies > 0);
        let has = usize::from(held.wanted_copies > 0);
        let boards = &sums.boards_with_copies;
        boards.set(boards.get() - had + has);
    }

    /// What caches of all may hold.
    fn cache_bytes(&self) -> usize {
        let caches = HELD_BYTES.saturating_sub(self.together.needed_bytes());
        caches.clamp(LEAST_CACHE_BYTES, MOST_CACHE_BYTES)
    }

    /// What copies of this one may hold, of so many at most that all may.
    fn copy_bytes(&self, most_bytes: usize) -> usize {
        let (mine, all) = (self.held.get(), self.together.0.held.get());
        let needed = self.together.needed_bytes() - all.copies + LEAST_CACHE_BYTES;
        let copies = HELD_BYTES.saturating_sub(needed).min(most_bytes);
        let left = copies.saturating_sub(all.copies - mine.copies);
        let part = copies / self.together.0.boards_with_copies.get().max(1);
        let wanted_by_others = all.wanted_copies - mine.wanted_copies;
        left.min(copies.saturating_sub(wanted_by_others).max(part))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.holds(HeldSum::default());
        drop(self.take_chart());
    }
}

impl Global {
    /// Gives up everything that can be had again, and folds what is pending: for an instance in
    /// which memory is short, whoever holds it.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn free_memory(&mut self, storage: &impl Storage, now_ms: u64) -> Result<(), StorageError> {
        self.share.together.room().give_up();
        self.live.drop_copies_over(0);
        drop(self.share.take_chart());
        // Less is not worth its rows.
        match self.live.pending_bytes > self.limits.worth_flushing_bytes {
            true => self.flush(storage, now_ms),
            false => Ok(()),
        }
    }

    /// Sees to it that everything that is held in the instance stays within [`HELD_BYTES`]: caches give way
    /// first, then copies, of the shard that has most. A flush frees what is pending.
    pub(super) fn make_room(&mut self) {
        let wanted_copies = self.live.copy_bytes();
        self.count_held(wanted_copies);
        let room = self.share.copy_bytes(self.limits.copy_bytes);
        self.live.drop_copies_over(room);
        self.fit_cache();
    }

    /// Where all of an instance hold so much that cannot be had again that copies and caches have less than half
    /// of the budget: what is worth its rows is folded at once.
    pub(super) fn pending_is_too_much(&self) -> bool {
        let together = &self.share.together;
        let needed = together.needed_bytes() - together.0.held.get().copies;
        needed > HELD_BYTES / 2 && self.live.pending_bytes > self.limits.worth_flushing_bytes
    }

    /// Caches may take what nothing else needs.
    pub(super) fn fit_cache(&self) {
        self.count_held(self.share.held.get().wanted_copies);
        let caches = self.share.cache_bytes();
        self.share.together.room().keep_within(caches);
        let encoded = (caches / ENCODED_SHARE).min(MOST_ENCODED_BYTES);
        self.stretches.keep_within(encoded);
        self.cache.keep_within(caches - encoded);
    }

    fn count_held(&self, wanted_copies: usize) {
        let catalog_bytes = self.catalog.held_bytes();
        self.share.together.0.catalog_bytes.set(catalog_bytes);
        let fixed = self.offsets.held_bytes() + self.moment.held_bytes();
        self.share.holds(HeldSum {
            bytes: fixed + self.live.held_bytes(),
            copies: self.live.copy_bytes(),
            wanted_copies,
        });
    }
}
