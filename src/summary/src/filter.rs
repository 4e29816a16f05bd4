//! What ids without a counter may have.
//!
//! An array of cells; each id belongs to one. A cell is at least the count of every id in it
//! that has no counter. Cells start with 16 bits and widen to 32; counts of more than 32 bits, and those of a
//! filter that was coarsened to 8 bits a cell, are kept in units of a power of two, rounded up, which keeps them
//! bounds.

use super::key::spread;

/// Cells per counter: with 8, charts of many equally popular ids err by more than wanted; each
/// further one costs 2 bytes in memory and 1.2 in an encoding. Measured in `docs/inside/accuracy.md`.
pub(super) const CELLS_PER_COUNTER: usize = 10;

#[derive(Clone)]
pub(super) enum Cells {
    /// They widen when one is raised.
    Coarse(Vec<u8>),
    Narrow(Vec<u16>),
    Wide(Vec<u32>),
}

#[derive(Clone)]
pub(super) struct Filter {
    /// Every id may have this much, besides its cell: from filters that were keyed otherwise.
    pub base: u64,
    pub cells: Cells,
    /// A cell counts units of `1 << shift`; 0 while they are narrow.
    pub shift: u32,
    /// No id without a counter has more than this.
    pub highest: u64,
}

impl Default for Filter {
    fn default() -> Self {
        Self::of_base(0)
    }
}

impl Filter {
    pub(super) fn of_base(base: u64) -> Self {
        Self {
            base,
            cells: Cells::Narrow(Vec::new()),
            shift: 0,
            highest: base,
        }
    }

    /// A filter of cells that count single plays.
    pub(super) fn of_counts(base: u64, counts: &[u64], highest: u64) -> Self {
        let most = counts.iter().copied().max().unwrap_or(0);
        let mut shift = 0;
        while units_up(most, shift) > u64::from(u32::MAX) {
            shift += 1;
        }
        let units = |&count: &u64| units_up(count, shift);
        let cells = if most <= u64::from(u16::MAX) {
            Cells::Narrow(counts.iter().map(|&count| count as u16).collect())
        } else {
            Cells::Wide(counts.iter().map(|count| units(count) as u32).collect())
        };
        Self {
            base,
            cells,
            shift,
            highest: highest.max(base),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.cells {
            Cells::Coarse(cells) => cells.len(),
            Cells::Narrow(cells) => cells.len(),
            Cells::Wide(cells) => cells.len(),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match &self.cells {
            Cells::Coarse(cells) => cells.capacity(),
            Cells::Narrow(cells) => cells.capacity() * size_of::<u16>(),
            Cells::Wide(cells) => cells.capacity() * size_of::<u32>(),
        }
    }

    /// Makes the cells, if there are none yet.
    pub(super) fn allocate(&mut self, cells: usize) {
        if self.len() == 0 {
            self.cells = Cells::Narrow(vec![0; cells]);
        }
    }

    /// What the id of this hash may have, if it has no counter.
    #[inline(always)]
    pub(super) fn bound(&self, hash: u64) -> u64 {
        self.bound_of(self.units(spread(hash as u32, self.len())))
    }

    #[inline(always)]
    fn units(&self, at: usize) -> u64 {
        match &self.cells {
            Cells::Coarse(cells) => cells.get(at).copied().unwrap_or(0).into(),
            Cells::Narrow(cells) => cells.get(at).copied().unwrap_or(0).into(),
            Cells::Wide(cells) => cells.get(at).copied().unwrap_or(0).into(),
        }
    }

    #[inline(always)]
    pub(super) fn bound_of(&self, cell: u64) -> u64 {
        let count = scaled(cell, self.shift);
        self.base.saturating_add(count).min(self.highest)
    }

    /// What the ids of a cell may have beyond the base.
    pub(super) fn count(&self, at: usize) -> u64 {
        self.bound_of(self.units(at)) - self.base
    }

    /// Makes the bound of this hash at least `bound`. There must be cells.
    pub(super) fn raise(&mut self, hash: u64, bound: u64) {
        self.highest = self.highest.max(bound);
        let count = bound.saturating_sub(self.base);
        self.make_representable(count);
        let at = spread(hash as u32, self.len());
        let units = units_up(count, self.shift);
        match &mut self.cells {
            // Whatever is raised can be represented, and is coarse no more.
            Cells::Coarse(_) => {}
            Cells::Narrow(cells) => {
                if let Some(cell) = cells.get_mut(at) {
                    *cell = (*cell).max(units as u16);
                }
            }
            Cells::Wide(cells) => {
                if let Some(cell) = cells.get_mut(at) {
                    *cell = (*cell).max(units as u32);
                }
            }
        }
    }

    fn make_representable(&mut self, count: u64) {
        match &self.cells {
            Cells::Narrow(_) if count <= u64::from(u16::MAX) => return,
            Cells::Narrow(cells) => {
                self.cells = Cells::Wide(cells.iter().map(|&cell| cell.into()).collect());
            }
            Cells::Coarse(cells) => {
                self.cells = Cells::Wide(cells.iter().map(|&cell| cell.into()).collect());
            }
            Cells::Wide(_) => {}
        }
        if let Cells::Wide(cells) = &mut self.cells {
            while units_up(count, self.shift) > u64::from(u32::MAX) {
                self.shift += 1;
                cells.iter_mut().for_each(|cell| *cell = cell.div_ceil(2));
            }
        }
    }

    /// The largest bound that a cell can take as it is.
    pub(super) fn representable(&self) -> u64 {
        let most = match &self.cells {
            Cells::Narrow(_) => u16::MAX.into(),
            Cells::Coarse(_) | Cells::Wide(_) => scaled(u32::MAX.into(), self.shift),
        };
        self.base.saturating_add(most)
    }

    /// Lets a cell take 8 bits, of units of which the highest one has more than 127: each is rounded up by less than
    /// a 127th of that.
    pub(super) fn coarsen(&mut self) {
        let (cells, more) = match &self.cells {
            Cells::Coarse(cells) => coarse(cells),
            Cells::Narrow(cells) => coarse(cells),
            Cells::Wide(cells) => coarse(cells),
        };
        self.cells = Cells::Coarse(cells);
        self.shift += more;
    }
}

/// Cells of 8 bits, and by how much more a unit of theirs is shifted.
fn coarse<T: Copy + Into<u64>>(cells: &[T]) -> (Vec<u8>, u32) {
    let units = || cells.iter().map(|&cell| cell.into());
    let most = units().max().unwrap_or(0);
    let mut more = 0;
    while units_up(most, more) > u64::from(u8::MAX) {
        more += 1;
    }
    (units().map(|it| units_up(it, more) as u8).collect(), more)
}

/// `units << shift`, saturating.
#[inline(always)]
pub(super) fn scaled(units: u64, shift: u32) -> u64 {
    let count = units << shift;
    if count >> shift == units {
        count
    } else {
        u64::MAX
    }
}

/// `count` in units of `1 << shift`, rounded up.
#[inline(always)]
pub(super) fn units_up(count: u64, shift: u32) -> u64 {
    (count >> shift) + u64::from(count & ((1 << shift) - 1) != 0)
}
