//! Recording a play.

use super::filter::{CELLS_PER_COUNTER, Cells, Filter, scaled, units_up};
use super::key::Key;
use super::{MAX_ID_BYTES, Summary};

impl Summary {
    /// Counts `weight` plays of `id`. An id of no or more than 256 bytes, or a weight of 0, is
    /// not a play and is ignored.
    #[inline]
    pub fn record(&mut self, id: &str, weight: u64) {
        match Key::short(id.as_bytes()) {
            Some(key) => self.record_short(key, id, weight),
            None => self.record_long(id, weight),
        }
    }

    #[inline(always)]
    fn record_short(&mut self, key: Key, id: &str, weight: u64) {
        let hash = self.hasher.hash(&key);
        self.total = self.total.saturating_add(weight);
        let probe = self.table.probe(&key, hash);
        // What goes to the counter, and what to the filter: one of them is 0.
        let counted = if probe.hit { weight } else { 0 };
        let filtered = weight - counted;
        let most = if probe.hit {
            u64::MAX
        } else {
            self.admit_above
        };
        let Some(upper) = self.uppers.get_mut(probe.slot) else {
            return self.admit(key, hash, id, weight);
        };
        if probe.unsure {
            return self.record_anywhere(key, hash, id, weight);
        }
        if self.filter.add(hash, filtered, most) {
            *upper = upper.saturating_add(counted);
        } else if probe.hit {
            *upper = upper.saturating_add(weight);
        } else {
            self.admit(key, hash, id, weight);
        }
    }

    #[cold]
    #[inline(never)]
    fn record_long(&mut self, id: &str, weight: u64) {
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return;
        }
        let key = Key::long(id.as_bytes(), self.seed);
        self.total = self.total.saturating_add(weight);
        self.record_anywhere(key, self.hasher.hash(&key), id, weight);
    }

    #[inline(never)]
    fn record_anywhere(&mut self, key: Key, hash: u64, id: &str, weight: u64) {
        if let Some(slot) = self.slot_of(&key, hash, id) {
            if let Some(upper) = self.uppers.get_mut(slot) {
                *upper = upper.saturating_add(weight);
            }
        } else if !self.filter.add(hash, weight, self.admit_above) {
            self.admit(key, hash, id, weight);
        }
    }

    /// Counts an id without a counter that may be due one.
    #[inline(never)]
    fn admit(&mut self, key: Key, hash: u64, id: &str, weight: u64) {
        if weight == 0 {
            return;
        }
        let overcount = self.filter.bound(hash);
        let upper = overcount.saturating_add(weight);
        if self.len() < self.capacity {
            self.push(key, hash, id, upper, overcount);
            return;
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

    /// Adds a counter. The id must not have one, and there must be capacity.
    pub(super) fn push(&mut self, key: Key, hash: u64, id: &str, upper: u64, overcount: u64) {
        if self.len() == self.table.room() {
            let room = (2 * self.len()).clamp(8, self.capacity.max(8));
            self.reserve(room);
        }
        self.table.push(key, hash);
        self.uppers.push(upper);
        self.overcounts.push(overcount);
        self.set_text(self.len() - 1, &key, id);
    }

    /// Makes room for this many counters in all.
    pub(super) fn reserve(&mut self, room: usize) {
        self.table.reserve(room, &self.hasher);
        let more = room.min(self.capacity).saturating_sub(self.uppers.len());
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
        if key.is_long() && self.texts.len() <= slot {
            self.texts.resize(self.len(), Box::default());
        }
        if let Some(text) = self.texts.get_mut(slot) {
            *text = if key.is_long() {
                id.into()
            } else {
                Box::default()
            };
        }
    }
}

impl Filter {
    /// Counts an id without a counter in its cell, unless that would exceed `most`, which must
    /// be at most [`representable`](Filter::representable) or such that there are no cells.
    #[inline(always)]
    fn add(&mut self, hash: u64, weight: u64, most: u64) -> bool {
        match &mut self.cells {
            Cells::Narrow(cells) => {
                let at = super::key::spread(hash as u32, cells.len());
                let Some(cell) = cells.get_mut(at) else {
                    return false;
                };
                let bound = self.base.saturating_add((*cell).into());
                let bound = bound.saturating_add(weight);
                if bound > most {
                    return false;
                }
                *cell = cell.wrapping_add(weight as u16);
                self.highest = self.highest.max(bound);
            }
            Cells::Wide(cells) => {
                let at = super::key::spread(hash as u32, cells.len());
                let Some(cell) = cells.get_mut(at) else {
                    return false;
                };
                let bound = self.base.saturating_add(scaled((*cell).into(), self.shift));
                let bound = bound.min(self.highest).saturating_add(weight);
                if bound > most {
                    return false;
                }
                let units = units_up(bound - self.base, self.shift) as u32;
                *cell = units.max(*cell);
                self.highest = self.highest.max(bound);
            }
        }
        true
    }
}
