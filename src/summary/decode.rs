//! Reading the stored form, from bytes that may be anything. The form is in [`super::encode`].

use super::encode::{FLAG_FULL, VERSION};
use super::filter::{CELLS_PER_COUNTER, Filter, scaled};
use super::key::Key;
use super::numbers::{BYTES, COUNTS, take_numbers};
use super::{MAX_ID_BYTES, Seed, Summary};

/// 32 bits and a shift of 32 reach every 64-bit count; rounding up may take one more.
const MAX_SHIFT: usize = 33;

/// Why bytes are not a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end before the summary does: get the rest.
    Truncated,
    /// Written by a version that this build does not read: use a newer build.
    UnknownVersion(u8),
    /// The checksum differs: the bytes were changed after they had been written.
    Checksum,
    /// Something in it cannot be, though the checksum is right: not written by this code.
    Damaged(&'static str),
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truncated => write!(formatter, "the summary ends too early"),
            Self::UnknownVersion(version) => write!(
                formatter,
                "a summary of version {version}, which this build does not read"
            ),
            Self::Checksum => write!(formatter, "a summary whose checksum is wrong"),
            Self::Damaged(what) => write!(formatter, "not a summary: impossible {what}"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl Summary {
    /// Reads what [`encode`](Self::encode) wrote. `seed` is the installation's: if the summary
    /// was written under another one, its filter becomes one number, looser but still a bound.
    ///
    /// Memory is bounded by the bytes: 20 kB and under 200 for each, apart from what ids share with
    /// the ids before them, and never more than what [`MAX_MERGED`](Self::MAX_MERGED) counters
    /// take.
    ///
    /// # Errors
    ///
    /// If the bytes are not one whole summary of a known version.
    pub fn decode(bytes: &[u8], seed: Seed) -> Result<Summary, DecodeError> {
        match bytes.first() {
            None => return Err(DecodeError::Truncated),
            Some(&VERSION) => {}
            Some(&version) => return Err(DecodeError::UnknownVersion(version)),
        }
        let (body, checksum) = bytes
            .split_last_chunk::<4>()
            .ok_or(DecodeError::Truncated)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return Err(DecodeError::Checksum);
        }
        let mut input = Input::new(body.get(1..).unwrap_or(&[]));
        let flags = input.byte()?;
        if flags & !FLAG_FULL != 0 {
            return Err(DecodeError::Damaged("flags"));
        }
        let seed_id = input.word()?;
        let capacity = input.length(Self::MAX_MERGED, "capacity")?;
        if capacity == 0 {
            return Err(DecodeError::Damaged("capacity"));
        }
        let mut summary = Self::empty(capacity, seed);
        summary.full = flags & FLAG_FULL != 0;
        summary.total = input.number()?;
        let rows = input.length(capacity, "number of rows")?;
        let mut least = 0;
        if summary.full {
            summary.filter = Filter::take(&mut input)?;
            if seed_id != seed.id() {
                summary.filter = Filter::of_base(summary.filter.highest);
            }
            // The guarantee, and what recording relies on: bounds of twice the total.
            if summary.filter.highest > summary.total {
                return Err(DecodeError::Damaged("highest bound"));
            }
            least = input.number()?;
            let shift = input.length(MAX_SHIFT, "unit of overcounts")?;
            summary.overcounts.shift = shift as u32;
        }
        summary.take_rows(&mut input, rows, least)?;
        if input.left() > 0 {
            return Err(DecodeError::Damaged("bytes after the end"));
        }
        Ok(summary)
    }

    fn take_rows(
        &mut self,
        input: &mut Input<'_>,
        rows: usize,
        least: u64,
    ) -> Result<(), DecodeError> {
        let shared = take_numbers(input, rows, COUNTS)?;
        let following = take_numbers(input, rows, COUNTS)?;
        let uppers = take_numbers(input, rows, COUNTS)?;
        let overcounts = if self.full {
            take_numbers(input, rows, COUNTS)?
        } else {
            vec![0; rows]
        };
        let longest = MAX_ID_BYTES as u64;
        if following.iter().any(|&length| length > longest) {
            return Err(DecodeError::Damaged("length of an id"));
        }
        let bytes = take_numbers(input, following.iter().sum::<u64>() as usize, BYTES)?;
        let mut bytes = bytes.iter().map(|&byte| byte as u8);
        self.reserve(rows);
        let (mut id, mut before) = (Vec::new(), Vec::new());
        for at in 0..rows {
            if shared[at] > (id.len() as u64).min(longest - following[at]) {
                return Err(DecodeError::Damaged("prefix of an id"));
            }
            before.clone_from(&id);
            id.truncate(shared[at] as usize);
            id.extend(bytes.by_ref().take(following[at] as usize));
            let upper = least
                .checked_add(uppers[at])
                .filter(|&upper| upper <= self.total.saturating_mul(2))
                .ok_or(DecodeError::Damaged("count"))?;
            self.take_row(&before, &id, upper, overcounts[at])?;
        }
        Ok(())
    }

    fn take_row(
        &mut self,
        before: &[u8],
        id: &[u8],
        upper: u64,
        overcount_units: u64,
    ) -> Result<(), DecodeError> {
        if id <= before {
            return Err(DecodeError::Damaged("order of ids"));
        }
        let id = std::str::from_utf8(id).map_err(|_| DecodeError::Damaged("id"))?;
        let units = u32::try_from(overcount_units)
            .ok()
            .filter(|&units| units == 0 || scaled(units as u64 - 1, self.overcounts.shift) < upper)
            .ok_or(DecodeError::Damaged("overcount"))?;
        let key = Key::of(id, self.seed);
        self.push(key, self.hasher.hash(&key), id, upper, 0);
        if let Some(last) = self.overcounts.units.last_mut() {
            *last = units;
        }
        Ok(())
    }
}

impl Filter {
    fn take(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let base = input.number()?;
        let highest = input.number()?;
        if highest < base {
            return Err(DecodeError::Damaged("highest bound"));
        }
        let shift = input.length(MAX_SHIFT, "unit of cells")? as u32;
        let most = Summary::MAX_CAPACITY * CELLS_PER_COUNTER;
        let cells = input.length(most, "number of cells")?;
        let units = take_numbers(input, cells, COUNTS)?;
        let units: Result<Vec<u32>, _> = units.into_iter().map(u32::try_from).collect();
        let units = units.map_err(|_| DecodeError::Damaged("cell"))?;
        Ok(Self::of_units(base, &units, shift, highest))
    }
}

/// Bytes still to be read.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self
            .0
            .split_at_checked(count)
            .ok_or(DecodeError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&head, tail) = self.0.split_first().ok_or(DecodeError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    fn word(&mut self) -> Result<u64, DecodeError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = tail;
        Ok(u64::from_le_bytes(*head))
    }

    /// Reads what [`put`](super::encode::put) wrote.
    pub(super) fn number(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(DecodeError::Damaged("number"))
    }

    /// A number of at most `most`.
    pub(super) fn length(&mut self, most: usize, what: &'static str) -> Result<usize, DecodeError> {
        match usize::try_from(self.number()?) {
            Ok(length) if length <= most => Ok(length),
            _ => Err(DecodeError::Damaged(what)),
        }
    }
}
