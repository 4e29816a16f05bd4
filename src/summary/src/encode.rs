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
use super::filter::{Cells, Filter};
use super::key::spread;
use super::numbers::{BYTES, COUNTS, put_numbers};

/// The version that [`Summary::encode`] writes.
pub(super) const VERSION: u8 = 1;

/// Set if something was ever dropped.
pub(super) const FLAG_FULL: u8 = 1;

/// Cells for each of the largest counters of a summary in two parts, for what the others have: they are there to be read
/// where it matters. With 5, ids without a counter in a month of days have bounds that are 2 % narrower.
const CELLS_PER_LARGEST: usize = 2;

impl Summary {
    /// The summary as bytes, starting with a version.
    pub fn encode(&self) -> Vec<u8> {
        let filter = self.full.then_some(&self.filter);
        self.encode_rows(&self.in_order(), (self.capacity, self.total), filter)
    }

    /// An exact summary in two parts, each of which is one as [`encode`](Self::encode) writes it: one of the
    /// `counters` largest (clamped as in [`new`](Self::new)), with a filter for all others, and one of these. The
    /// first is to be merged in place of the whole where that would not be exact; both make the whole
    /// ([`decode_parts`](Self::decode_parts)). `None` where it is not exact, or has no more counters than that.
    pub fn encode_parts(&self, counters: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        let counters = counters.clamp(1, Self::MAX_CAPACITY);
        if self.full || self.len() <= counters {
            return None;
        }
        let mut uppers = self.uppers.clone();
        let (larger, least, _) = uppers.select_nth_unstable_by(counters - 1, |a, b| b.cmp(a));
        let least = *least;
        // Of equal ones those that come first, which are the same in each summary.
        let mut even = counters - larger.iter().filter(|upper| **upper > least).count();
        let mut cells = vec![0; counters * CELLS_PER_LARGEST];
        let mut highest = 0;
        let (mut largest, mut others) = (Vec::with_capacity(counters), Vec::new());
        for row in self.in_order() {
            let upper = self.uppers[row.slot];
            let is_even = upper == least && even > 0;
            even -= usize::from(is_even);
            if upper > least || is_even {
                largest.push(row);
                continue;
            }
            let hash = self.hasher.hash(&self.table.keys()[row.slot].key());
            let at = spread(hash as u32, cells.len());
            cells[at] = upper.max(cells[at]);
            highest = upper.max(highest);
            others.push(row);
        }
        let listed = others.iter().map(|row| self.uppers[row.slot]);
        let total = listed.fold(0, u64::saturating_add);
        let mut filter = Filter::of_counts(0, &cells, highest);
        filter.coarsen();
        let largest = self.encode_rows(&largest, (counters, self.total), Some(&filter));
        Some((
            largest,
            self.encode_rows(&others, (self.capacity, total), None),
        ))
    }

    fn encode_rows(
        &self,
        rows: &[Ordered<'_>],
        (capacity, total): (usize, u64),
        filter: Option<&Filter>,
    ) -> Vec<u8> {
        let mut out = vec![VERSION, if filter.is_some() { FLAG_FULL } else { 0 }];
        out.extend_from_slice(&self.seed.id().to_le_bytes());
        put(&mut out, capacity as u64);
        put(&mut out, total);
        put(&mut out, rows.len() as u64);
        let mut least = 0;
        if let Some(filter) = filter {
            put(&mut out, filter.base);
            put(&mut out, filter.highest);
            put(&mut out, filter.shift.into());
            put(&mut out, filter.len() as u64);
            match &filter.cells {
                Cells::Coarse(cells) => put_numbers(&mut out, cells, COUNTS),
                Cells::Narrow(cells) => put_numbers(&mut out, cells, COUNTS),
                Cells::Wide(cells) => put_numbers(&mut out, cells, COUNTS),
            }
            let uppers = rows.iter().map(|row| self.uppers[row.slot]);
            least = uppers.min().unwrap_or(0);
            put(&mut out, least);
            put(&mut out, self.overcounts.shift.into());
        }
        self.put_rows(&mut out, rows, (least, filter.is_some()));
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// All rows in the order of their ids' bytes.
    fn in_order(&self) -> Vec<Ordered<'_>> {
        let row = |slot| {
            let id = self.text(slot).as_bytes();
            let first = first_bytes(id);
            Ordered { first, id, slot }
        };
        let mut rows: Vec<_> = (0..self.len()).map(row).collect();
        // Ids whose first 16 bytes differ need not be looked at. What was decoded and merged with little
        // is nearly in order, which a stable sort makes use of.
        rows.sort_by(|a, b| a.first.cmp(&b.first).then_with(|| a.id.cmp(b.id)));
        rows
    }

    fn put_rows(&self, out: &mut Vec<u8>, rows: &[Ordered<'_>], (least, full): (u64, bool)) {
        let count = rows.len();
        let (mut shared, mut following) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut bytes: Vec<u8> = Vec::new();
        let mut before: &[u8] = &[];
        for &Ordered { id, .. } in rows {
            let both = id.iter().zip(before).take_while(|(a, b)| a == b).count();
            shared.push(both as u16);
            following.push((id.len() - both) as u16);
            bytes.extend_from_slice(id.get(both..).unwrap_or_default());
            before = id;
        }
        put_numbers(out, &shared, COUNTS);
        put_numbers(out, &following, COUNTS);
        let slots = || rows.iter().map(|row| row.slot);
        let uppers: Vec<u64> = slots().map(|slot| self.uppers[slot] - least).collect();
        put_numbers(out, &uppers, COUNTS);
        if full {
            let units: Vec<u32> = slots().map(|slot| self.overcounts.units[slot]).collect();
            put_numbers(out, &units, COUNTS);
        }
        put_numbers(out, &bytes, BYTES);
    }
}

/// A row where rows are in the order of their ids.
struct Ordered<'a> {
    /// What [`first_bytes`] says of it.
    first: u128,
    id: &'a [u8],
    slot: usize,
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
