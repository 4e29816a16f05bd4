//! Recording a play.

use std::hint::select_unpredictable;

use super::filter::{CELLS_PER_COUNTER, Cells, Filter, units_up};
use super::key::{INLINE_BYTES, Key, spread};
use super::{Growth, MAX_ID_BYTES, Summary};

/// Totals and weights below this need no care: a count is at most twice the total.
const CAREFREE: u64 = 1 << 62;

/// What the quick way of recording came to.
enum Quickly {
    Done,
    /// The id has no counter, and may be due one.
    Absent,
    Unknown,
}

impl Summary {
    /// Counts `weight` plays of `id`. An id of no or more than 256 bytes, or a weight of 0, is
    /// not a play and is ignored.
    #[inline]
    pub fn record(&mut self, id: &str, weight: u64) {
        let Some(key) = Key::short(id.as_bytes()) else {
            return self.record_long(id, weight);
        };
        match self.record_quickly(key, b"", weight) {
            Quickly::Done => {}
            Quickly::Absent => self.record_absent(key, id, weight),
            Quickly::Unknown => self.record_anyway(id, weight),
        }
    }

    /// The same for ids of more than 16 bytes: their keys take longer to make, and where one is
    /// found, its text is compared.
    #[inline(never)]
    fn record_long(&mut self, id: &str, weight: u64) {
        if !(INLINE_BYTES + 1..=MAX_ID_BYTES).contains(&id.len()) {
            return;
        }
        let key = self.long_keys.long(id.as_bytes());
        match self.record_quickly(key, id.as_bytes(), weight) {
            Quickly::Done => {}
            Quickly::Absent => self.record_absent(key, id, weight),
            Quickly::Unknown => self.record_anyway(id, weight),
        }
    }

    /// Does what nearly every play needs. Whether the id has a counter is no better predicted
    /// than a coin, so nothing here branches on it: the weight goes to a counter and a cell, one
    /// of them as 0.
    ///
    /// `long`: the id, if it is longer than its key. Unless done, nothing was changed.
    #[inline(always)]
    fn record_quickly(&mut self, key: Key, long: &[u8], weight: u64) -> Quickly {
        let hash = self.hasher.hash(&key);
        let Some(probe) = self.table.probe(&key, hash) else {
            return Quickly::Unknown;
        };
        // Any slot's text is compared, not only that of a hit: that would be the coin again.
        if !long.is_empty() && probe.hit & self.texts.differs(probe.slot, long) {
            return Quickly::Unknown;
        }
        let Some(upper) = self.uppers.get_mut(probe.slot) else {
            return Quickly::Unknown;
        };
        let counted = select_unpredictable(probe.hit, weight, 0);
        if (self.total | weight) >= CAREFREE || probe.unsure {
            return Quickly::Unknown;
        }
        let filtered = weight - counted;
        let added = self
            .filter
            .add(hash, probe.hit, filtered, self.admit_above)
            .is_some();
        if !added {
            return Quickly::Absent;
        }
        *upper = upper.wrapping_add(counted);
        self.total += weight;
        Quickly::Done
    }

    /// Records an id that is known to have no counter.
    #[inline(never)]
    fn record_absent(&mut self, key: Key, id: &str, weight: u64) {
        if weight > 0 {
            self.total = self.total.saturating_add(weight);
            self.admit(key, self.hasher.hash(&key), id, weight);
        }
    }

    #[inline(never)]
    fn record_anyway(&mut self, id: &str, weight: u64) {
        if id.is_empty() || id.len() > MAX_ID_BYTES || weight == 0 {
            return;
        }
        self.index();
        self.total = self.total.saturating_add(weight);
        let key = self.long_keys.key_of(id);
        let hash = self.hasher.hash(&key);
        match self.slot_of(&key, hash, id) {
            Some(slot) => {
                if let Some(upper) = self.uppers.get_mut(slot) {
                    *upper = upper.saturating_add(weight);
                }
            }
            None => self.admit(key, hash, id, weight),
        }
    }

    /// Counts an id without a counter, and gives it one if it is due one.
    fn admit(&mut self, key: Key, hash: u64, id: &str, weight: u64) {
        let overcount = self.filter.bound(hash);
        let upper = overcount.saturating_add(weight);
        if self.len() < self.capacity && self.may_grow(id) {
            self.push(key, hash, id, upper, overcount);
            return;
        }
        if let Some(growth) = self.growth.take() {
            self.stop_growing(growth);
            return self.admit(key, hash, id, weight);
        }
        self.full = true;
        self.filter.allocate(self.capacity * CELLS_PER_COUNTER);
        let Some((slot, least)) = self.smallest.find(&self.uppers) else {
            return;
        };
        let least_left = if upper <= least {
            self.filter.raise(hash, upper);
            least
        } else {
            self.take_over(slot, key, hash, id);
            self.overcounts.set(slot, overcount);
            if let Some(place) = self.uppers.get_mut(slot) {
                *place = upper;
            }
            self.smallest.replaced(upper, slot)
        };
        // Below the largest number, so that a bound which saturates comes here.
        let most = self.filter.representable().min(u64::MAX - 1);
        self.admit_above = least_left.min(most);
    }

    /// Whether a counter more leaves it within what it may take, where it grows.
    fn may_grow(&self, id: &str) -> bool {
        self.growth.is_none_or(|growth| {
            let held = self.heap_bytes() + id.len();
            match self.len() == self.table.room() {
                true => held / self.len().max(1) * next_room(self.len()) <= growth.bytes,
                false => held <= growth.bytes,
            }
        })
    }

    #[cold]
    fn stop_growing(&mut self, growth: Growth) {
        if self.len() > growth.counters {
            *self = Self::merge([&*self], growth.counters, self.seed);
        }
        // Where ids are long, there may be fewer: one more would take more than it may.
        self.capacity = growth.counters.min(self.len()).max(1);
    }

    /// Adds a counter. The id must not have one, and there must be capacity.
    pub(super) fn push(&mut self, key: Key, hash: u64, id: &str, upper: u64, overcount: u64) {
        if self.len() == self.table.room() {
            self.reserve(next_room(self.len()).min(self.capacity.max(8)));
        }
        self.table.push(key, hash);
        self.uppers.push(upper);
        self.overcounts.push(overcount);
        self.set_text(self.len() - 1, &key, id);
    }

    /// Makes room for this many counters in all.
    pub(super) fn reserve(&mut self, room: usize) {
        self.table.reserve(room, &self.hasher);
        let room = self.table.room().min(self.capacity);
        let more = room.saturating_sub(self.uppers.len());
        self.uppers.reserve_exact(more);
        self.overcounts.units.reserve_exact(more);
    }

    /// Gives the counter of `slot` to another id; what it had goes into the filter.
    fn take_over(&mut self, slot: usize, key: Key, hash: u64, id: &str) {
        let Some(before) = self.table.keys().get(slot) else {
            return;
        };
        let hash_before = self.hasher.hash(&before.key());
        let had = self.uppers.get(slot).copied().unwrap_or(0);
        self.filter.raise(hash_before, had);
        self.table.replace(slot, hash_before, key, hash);
        self.set_text(slot, &key, id);
    }

    pub(super) fn set_text(&mut self, slot: usize, key: &Key, id: &str) {
        let is_long = key.is_long();
        self.texts
            .set(slot, if is_long { id.as_bytes() } else { b"" });
    }
}

/// Below this, room doubles.
const SMALL: usize = 4_096;

/// The room of a summary that has to grow: a large one wastes at most a fifth.
fn next_room(len: usize) -> usize {
    match len {
        0..=SMALL => (2 * len).max(8),
        _ => len + len / 4,
    }
}

impl Filter {
    /// Counts an id without a counter in its cell, unless its bound would exceed `most`, which is
    /// at most [`representable`](Filter::representable). Of a `hit`, which has a
    /// counter, the weight is 0, and nothing changes. Numbers must be far from overflowing.
    ///
    /// `None`: nothing was changed.
    #[inline(always)]
    fn add(&mut self, hash: u64, hit: bool, weight: u64, most: u64) -> Option<()> {
        // Nothing was ever dropped: fine for an id with a counter.
        let without_cells = hit.then_some(());
        match &mut self.cells {
            Cells::Coarse(_) => return without_cells,
            Cells::Narrow(cells) => {
                let at = spread(hash as u32, cells.len());
                let Some(cell) = cells.get_mut(at) else {
                    return without_cells;
                };
                let bound = self.base.wrapping_add((*cell).into()).wrapping_add(weight);
                if select_unpredictable(hit, 0, bound) > most {
                    return None;
                }
                *cell = cell.wrapping_add(weight as u16);
                self.highest = self.highest.max(bound);
            }
            Cells::Wide(cells) => {
                let at = spread(hash as u32, cells.len());
                let Some(cell) = cells.get_mut(at) else {
                    return without_cells;
                };
                let bound = self.base.wrapping_add(u64::from(*cell) << self.shift);
                let bound = bound.min(self.highest).wrapping_add(weight);
                if select_unpredictable(hit, 0, bound) > most {
                    return None;
                }
                let units = units_up(bound.wrapping_sub(self.base), self.shift) as u32;
                *cell = units.max(*cell);
                self.highest = self.highest.max(bound);
            }
        }
        Some(())
    }
}
