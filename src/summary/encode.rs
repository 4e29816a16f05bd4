//! The stored form.
//!
//! ```text
//! version: u8 = 1            flags: u8 (1: full)      seed id: u64, little-endian
//! capacity, total, rows: varint
//! if full:  base, highest, shift of cells, number of cells: varint
//!           cells: numbers
//!           the smallest upper, shift of overcounts: varint
//! rows in the order of their ids' bytes, as columns:
//!           bytes shared with the id before, bytes that follow: numbers
//!           uppers, less the smallest: numbers
//!           if full: overcounts: numbers
//!           the following bytes of all ids: numbers
//! crc32 of all that: u32, little-endian
//! ```
//!
//! For `numbers` see [`super::numbers`]. About 18 bytes a counter after 20 million plays.

use super::Summary;
use super::filter::Cells;
use super::numbers::{BYTES, COUNTS, put_numbers};

/// The version that [`Summary::encode`] writes.
pub(super) const VERSION: u8 = 1;

/// Set if something was ever dropped.
pub(super) const FLAG_FULL: u8 = 1;

impl Summary {
    /// The summary as bytes, starting with a version.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, if self.full { FLAG_FULL } else { 0 }];
        out.extend_from_slice(&self.seed.id().to_le_bytes());
        put(&mut out, self.capacity as u64);
        put(&mut out, self.total);
        put(&mut out, self.len() as u64);
        let least = self.uppers.iter().copied().min().unwrap_or(0);
        if self.full {
            put(&mut out, self.filter.base);
            put(&mut out, self.filter.highest);
            put(&mut out, self.filter.shift.into());
            put(&mut out, self.filter.len() as u64);
            let cells: Vec<u64> = match &self.filter.cells {
                Cells::Narrow(cells) => cells.iter().map(|&cell| cell.into()).collect(),
                Cells::Wide(cells) => cells.iter().map(|&cell| cell.into()).collect(),
            };
            put_numbers(&mut out, &cells, COUNTS);
            put(&mut out, least);
            put(&mut out, self.overcounts.shift.into());
        }
        self.put_rows(&mut out, if self.full { least } else { 0 });
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    fn put_rows(&self, out: &mut Vec<u8>, least: u64) {
        let mut sorted: Vec<(&[u8], usize)> = (0..self.len())
            .map(|slot| (self.text(slot).as_bytes(), slot))
            .collect();
        sorted.sort_unstable();
        let (mut shared, mut following, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        let mut before: &[u8] = &[];
        for &(id, _) in &sorted {
            let both = id.iter().zip(before).take_while(|(a, b)| a == b).count();
            shared.push(both as u64);
            following.push((id.len() - both) as u64);
            bytes.extend(id[both..].iter().map(|&byte| u64::from(byte)));
            before = id;
        }
        put_numbers(out, &shared, COUNTS);
        put_numbers(out, &following, COUNTS);
        let column = |of: &dyn Fn(usize) -> u64| -> Vec<u64> {
            sorted.iter().map(|&(_, slot)| of(slot)).collect()
        };
        put_numbers(out, &column(&|slot| self.uppers[slot] - least), COUNTS);
        if self.full {
            let units = &self.overcounts.units;
            put_numbers(out, &column(&|slot| units[slot].into()), COUNTS);
        }
        put_numbers(out, &bytes, BYTES);
    }
}

/// Appends a number of 1 to 10 bytes, 7 bits each, the lowest first.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
