//! How much each counter may count too much.
//!
//! 32 bits each; larger ones are kept in units of a power of two, rounded up: that lowers a
//! lower bound by less than a part in four billion of `unlisted_max`.

use super::filter::{scaled, units_up};

#[derive(Clone, Default)]
pub(super) struct Overcounts {
    pub units: Vec<u32>,
    /// A unit is `1 << shift` plays.
    pub shift: u32,
}

impl Overcounts {
    pub(super) fn zeros(counters: usize) -> Self {
        Self {
            units: vec![0; counters],
            shift: 0,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.units.capacity() * size_of::<u32>()
    }

    pub(super) fn get(&self, slot: usize) -> u64 {
        let units = self.units.get(slot).copied().unwrap_or(0);
        scaled(units.into(), self.shift)
    }

    pub(super) fn push(&mut self, overcount: u64) {
        let units = self.units_of(overcount);
        self.units.push(units);
    }

    pub(super) fn set(&mut self, slot: usize, overcount: u64) {
        let units = self.units_of(overcount);
        if let Some(place) = self.units.get_mut(slot) {
            *place = units;
        }
    }

    fn units_of(&mut self, overcount: u64) -> u32 {
        while units_up(overcount, self.shift) > u64::from(u32::MAX) {
            self.shift += 1;
            let units = self.units.iter_mut();
            units.for_each(|units| *units = units.div_ceil(2));
        }
        units_up(overcount, self.shift) as u32
    }
}
