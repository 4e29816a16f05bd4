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
use super::bytes::put;
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
            match &self.filter.cells {
                Cells::Coarse(cells) => put_numbers(&mut out, cells, COUNTS),
                Cells::Narrow(cells) => put_numbers(&mut out, cells, COUNTS),
                Cells::Wide(cells) => put_numbers(&mut out, cells, COUNTS),
            }
            put(&mut out, least);
            put(&mut out, self.overcounts.shift.into());
        }
        self.put_rows(&mut out, if self.full { least } else { 0 });
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    fn put_rows(&self, out: &mut Vec<u8>, least: u64) {
        let mut sorted: Vec<(u128, &[u8], usize)> = (0..self.len())
            .map(|slot| {
                let id = self.text(slot).as_bytes();
                (first_bytes(id), id, slot)
            })
            .collect();
        // Ids whose first 16 bytes differ need not be looked at. What was decoded and merged with little
        // is nearly in order, which a stable sort makes use of.
        sorted.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        let rows = sorted.len();
        let (mut shared, mut following) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let mut bytes: Vec<u8> = Vec::new();
        let mut before: &[u8] = &[];
        for &(_, id, _) in &sorted {
            let both = id.iter().zip(before).take_while(|(a, b)| a == b).count();
            shared.push(both as u16);
            following.push((id.len() - both) as u16);
            bytes.extend_from_slice(id.get(both..).unwrap_or_default());
            before = id;
        }
        put_numbers(out, &shared, COUNTS);
        put_numbers(out, &following, COUNTS);
        let slots = || sorted.iter().map(|&(_, _, slot)| slot);
        let uppers: Vec<u64> = slots().map(|slot| self.uppers[slot] - least).collect();
        put_numbers(out, &uppers, COUNTS);
        if self.full {
            let units: Vec<u32> = slots().map(|slot| self.overcounts.units[slot]).collect();
            put_numbers(out, &units, COUNTS);
        }
        put_numbers(out, &bytes, BYTES);
    }
}

/// An id's first bytes as a number of the same order, if they differ.
fn first_bytes(id: &[u8]) -> u128 {
    match id.first_chunk() {
        Some(chunk) => u128::from_be_bytes(*chunk),
        None => {
            let mut chunk = [0; 16];
            chunk.iter_mut().zip(id).for_each(|(to, &byte)| *to = byte);
            u128::from_be_bytes(chunk)
        }
    }
}
