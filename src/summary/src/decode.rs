//! Reading the stored form, from bytes that may be anything. The form is in [`super::encode`].

use super::bytes::{DecodeError, Input};
use super::encode::{FLAG_FULL, VERSION};
use super::filter::{CELLS_PER_COUNTER, Cells, Filter, scaled};
use super::key::{FIRST, INLINE_BYTES, Key, spread};
use super::numbers::{BYTES, COUNTS, List, take_numbers};
use super::overcounts::Overcounts;
use super::{MAX_ID_BYTES, Seed, Summary};

/// 8 bits, as coarse cells have, and a shift of 56 reach every 64-bit count; rounding up may take one more.
const MAX_SHIFT: usize = 57;

impl Summary {
    /// Reads what [`encode`](Self::encode) wrote. `seed` is the
    /// installation's: if the summary was written under another one, its filter becomes one
    /// number, looser but still a bound.
    ///
    /// The ids are not indexed yet: merging needs no index, the first play recorded makes it, and
    /// until then [`bounds`](Self::bounds) looks through all counters.
    ///
    /// Memory is bounded by the bytes: 40 kB and under 200 for each, apart from what ids share with
    /// the ids before them, and never more than what [`MAX_MERGED`](Self::MAX_MERGED) counters
    /// take.
    ///
    /// # Errors
    ///
    /// If the bytes are not one whole summary of a known version.
    pub fn decode(bytes: &[u8], seed: Seed) -> Result<Summary, DecodeError> {
        let body = checked_body(bytes)?;
        if crc32fast::hash(body) != checksum_of(bytes) {
            return Err(DecodeError::Checksum);
        }
        Self::decode_body(body, seed)
    }

    /// The same for bytes out of an envelope whose checksum was found to be right: the summary's
    /// own is not looked at.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    pub fn decode_checked(bytes: &[u8], seed: Seed) -> Result<Summary, DecodeError> {
        Self::decode_body(checked_body(bytes)?, seed)
    }

    /// Reads what [`encode_parts`](Self::encode_parts) wrote, out of an envelope as in
    /// [`decode_checked`](Self::decode_checked). An id that is in both, as only another writer's may be, has two rows.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    pub fn decode_parts(largest: &[u8], others: &[u8], seed: Seed) -> Result<Summary, DecodeError> {
        let mut whole = Self::decode_checked(largest, seed)?;
        let others = Self::decode_checked(others, seed)?;
        let listed = whole
            .uppers
            .iter()
            .copied()
            .fold(others.total, u64::saturating_add);
        let has_overcounts = whole.overcounts.units.iter().any(|units| *units > 0);
        if others.full || has_overcounts || listed != whole.total {
            return Err(DecodeError::Damaged("total of parts"));
        }
        if whole.len() + others.len() > others.capacity {
            return Err(DecodeError::Damaged("number of rows"));
        }
        whole.texts.append(whole.table.len(), &others.texts);
        whole.table.append_unindexed(&others.table);
        whole.uppers.extend_from_slice(&others.uppers);
        whole.overcounts = Overcounts::zeros(whole.len());
        whole.filter = Filter::default();
        whole.full = false;
        whole.capacity = others.capacity;
        Ok(whole)
    }

    fn decode_body(body: &[u8], seed: Seed) -> Result<Summary, DecodeError> {
        let mut input = Input::new(body);
        let head = Head::take(&mut input)?;
        let mut summary = Self::empty(head.capacity, seed);
        summary.full = head.full;
        summary.total = head.total;
        let mut least = 0;
        if head.full {
            summary.filter = Filter::take(&mut input)?;
            if head.seed_id != seed.id() {
                summary.filter = Filter::of_base(summary.filter.highest);
            }
            // The guarantee, and what recording relies on: bounds of twice the total.
            if summary.filter.highest > summary.total {
                return Err(DecodeError::Damaged("highest bound"));
            }
            least = input.number()?;
            summary.overcounts.shift = take_shift(&mut input, "unit of overcounts")?;
        }
        summary.take_rows(&mut input, &head, least)?;
        if input.left() > 0 {
            return Err(DecodeError::Damaged("bytes after the end"));
        }
        // What is listed is a part of the total; all of it where nothing was dropped.
        let lowers = (0..summary.len()).map(|slot| summary.bounds_of(slot).lower);
        let listed = lowers.fold(0, u64::saturating_add);
        if listed > summary.total || (!summary.full && listed < summary.total) {
            return Err(DecodeError::Damaged("total"));
        }
        Ok(summary)
    }

    fn take_rows(
        &mut self,
        input: &mut Input<'_>,
        head: &Head,
        least: u64,
    ) -> Result<(), DecodeError> {
        let rows = head.rows;
        let shared: Vec<u16> = take_numbers(input, rows, COUNTS)?;
        let following = take_lengths(input, rows)?;
        let mut uppers: Vec<u64> = take_numbers(input, rows, COUNTS)?;
        for upper in &mut uppers {
            *upper = least
                .checked_add(*upper)
                .filter(|&upper| upper <= self.total.saturating_mul(2))
                .ok_or(DecodeError::Damaged("count"))?;
        }
        self.overcounts.units = match self.full {
            true => take_numbers(input, rows, COUNTS)?,
            false => vec![0; rows],
        };
        for (&units, &upper) in self.overcounts.units.iter().zip(&uppers) {
            if units > 0 && scaled(u64::from(units) - 1, self.overcounts.shift) >= upper {
                return Err(DecodeError::Damaged("overcount"));
            }
        }
        self.uppers = uppers;
        let lengths = following.iter().map(|&length| usize::from(length));
        let bytes: Vec<u8> = take_numbers(input, lengths.sum(), BYTES)?;
        self.take_ids(&shared, &following, &bytes)
    }

    /// Puts ids together, each of the first bytes of the id before and of those that follow.
    fn take_ids(
        &mut self,
        shared: &[u16],
        following: &[u16],
        bytes: &[u8],
    ) -> Result<(), DecodeError> {
        // All of it is ASCII if this is, as nearly always: then ids need not be looked at again.
        let is_ascii = bytes.is_ascii();
        let mut id = [0_u8; MAX_ID_BYTES];
        // The id before: its first bytes, and zeros after its end.
        let (mut first, mut length, mut at) = (0, 0, 0);
        self.table.expect(shared.len());
        for (&shared, &following) in shared.iter().zip(following) {
            let (shared, following) = (usize::from(shared), usize::from(following));
            let (before, from) = (length, at);
            (length, at) = (shared + following, at + following);
            if shared > before {
                return Err(DecodeError::Damaged("prefix of an id"));
            }
            // From where the id would begin: so nothing is moved.
            let inline = from.checked_sub(shared).and_then(|from| bytes.get(from..));
            if let Some(inline) = inline.and_then(|rest| rest.first_chunk())
                && is_ascii
                && length <= INLINE_BYTES
            {
                let inline = u128::from_le_bytes(*inline);
                let (kept, all) = (FIRST[shared], FIRST[length]);
                let next = all & !kept & FIRST[INLINE_BYTES.min(shared + 1)];
                let is_larger = shared == before || inline & next > first & next;
                if next == 0 || !is_larger {
                    return Err(DecodeError::Damaged("order of ids"));
                }
                first = first & kept | inline & all & !kept;
                self.table.push_unindexed(Key::inline(first, length));
                if let Some(id) = id.first_chunk_mut() {
                    *id = first.to_le_bytes();
                }
                continue;
            }
            let more = bytes.get(from..at).ok_or(DecodeError::Truncated)?;
            let place = id.get_mut(shared..length);
            let place = place.ok_or(DecodeError::Damaged("prefix of an id"))?;
            // Where the id before went on, this one must be larger: no id comes twice.
            let larger = match (more.first(), place.first()) {
                (Some(next), Some(old)) => shared == before || next > old,
                _ => false,
            };
            if !larger {
                return Err(DecodeError::Damaged("order of ids"));
            }
            place.copy_from_slice(more);
            let inline = id.first_chunk().map_or(0, |id| u128::from_le_bytes(*id));
            first = inline & FIRST[INLINE_BYTES.min(length)];
            let id = id.get(..length).unwrap_or_default();
            let text = match is_ascii {
                true => "",
                false => std::str::from_utf8(id).map_err(|_| DecodeError::Damaged("id"))?,
            };
            self.take_id(id, text)?;
        }
        Ok(())
    }

    /// Adds an id; `text` is the same, where that is known yet.
    #[inline(always)]
    fn take_id(&mut self, id: &[u8], text: &str) -> Result<(), DecodeError> {
        if let Some(key) = Key::short(id) {
            self.table.push_unindexed(key);
            return Ok(());
        }
        let text = match text {
            "" => std::str::from_utf8(id).map_err(|_| DecodeError::Damaged("id"))?,
            text => text,
        };
        let key = self.long_keys.long(id);
        self.table.push_unindexed(key);
        self.set_text(self.len() - 1, &key, text);
        Ok(())
    }
}

/// What an encoding begins with.
pub(super) struct Head {
    pub full: bool,
    pub seed_id: u64,
    capacity: usize,
    total: u64,
    pub rows: usize,
}

impl Head {
    pub(super) fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        // The version, which was looked at.
        input.byte()?;
        let flags = input.byte()?;
        if flags & !FLAG_FULL != 0 {
            return Err(DecodeError::Damaged("flags"));
        }
        let seed_id = input.word()?;
        let capacity = input.length(Summary::MAX_MERGED, "capacity")?;
        if capacity == 0 {
            return Err(DecodeError::Damaged("capacity"));
        }
        Ok(Self {
            full: flags & FLAG_FULL != 0,
            seed_id,
            capacity,
            total: input.number()?,
            rows: input.length(capacity, "number of rows")?,
        })
    }
}

/// How many bytes of each row's id follow those that it shares.
pub(super) fn take_lengths(input: &mut Input<'_>, rows: usize) -> Result<Vec<u16>, DecodeError> {
    let following: Vec<u16> = take_numbers(input, rows, COUNTS)?;
    let mut lengths = following.iter().map(|&length| usize::from(length));
    match lengths.any(|length| length > MAX_ID_BYTES) {
        true => Err(DecodeError::Damaged("length of an id")),
        false => Ok(following),
    }
}

pub(super) fn take_shift(input: &mut Input<'_>, what: &'static str) -> Result<u32, DecodeError> {
    Ok(input.length(MAX_SHIFT, what)? as u32)
}

/// All but the checksum, if this build reads the version.
pub(super) fn checked_body(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    match bytes.first() {
        None => Err(DecodeError::Truncated),
        Some(&VERSION) => match bytes.split_last_chunk::<4>() {
            Some((body, _)) => Ok(body),
            None => Err(DecodeError::Truncated),
        },
        Some(&version) => Err(DecodeError::UnknownVersion(version)),
    }
}

fn checksum_of(bytes: &[u8]) -> u32 {
    bytes
        .last_chunk()
        .map_or(0, |checksum| u32::from_le_bytes(*checksum))
}

impl Filter {
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let head = FilterHead::take(input)?;
        head.read(input)
    }
}

/// A filter of which the cells are still to be read.
pub(super) struct FilterHead {
    base: u64,
    pub highest: u64,
    shift: u32,
    pub cells: List,
}

impl FilterHead {
    pub(super) fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let base = input.number()?;
        let highest = input.number()?;
        if highest < base {
            return Err(DecodeError::Damaged("highest bound"));
        }
        let shift = take_shift(input, "unit of cells")?;
        let most = Summary::MAX_CAPACITY * CELLS_PER_COUNTER;
        let cells = input.length(most, "number of cells")?;
        let cells = List::open(input, cells, COUNTS)?;
        Ok(Self {
            base,
            highest,
            shift,
            cells,
        })
    }

    /// What [`Filter::bound`] says of the filter that is read from the cells.
    pub(super) fn bound(&self, hash: u64, cells: &mut Input<'_>) -> Result<u64, DecodeError> {
        let cell: u32 = match self.cells.count() {
            0 => 0,
            count => self.cells.nth(spread(hash as u32, count), cells)?,
        };
        let count = scaled(cell.into(), self.shift);
        Ok(self.base.saturating_add(count).min(self.highest))
    }

    fn read(&self, input: &mut Input<'_>) -> Result<Filter, DecodeError> {
        let cells = match (self.cells.most(), self.shift) {
            (..=0xFFFF, 0) => Cells::Narrow(self.cells.read(input)?),
            (..=0xFF, _) => Cells::Coarse(self.cells.read(input)?),
            _ => Cells::Wide(self.cells.read(input)?),
        };
        Ok(Filter {
            base: self.base,
            cells,
            shift: self.shift,
            highest: self.highest,
        })
    }
}
