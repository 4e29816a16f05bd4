//! One id's bounds out of the stored form, without making a summary of it.
//!
//! Rows are in the order of their ids' bytes, and each says how many it shares with the id before. So
//! an id is found by its place: no id is put together, no key is made, nothing is indexed. The bytes of ids
//! are read up to where it is; of the other columns one number is read, and the lane before it.

use super::bytes::{DecodeError, Input};
use super::decode::{FilterHead, Head, checked_body, take_lengths, take_shift};
use super::filter::scaled;
use super::key::{KeyHasher, LongKeys};
use super::numbers::{BYTES, COUNTS, List, Pieces, take_numbers};
use super::{Bounds, Seed, Summary};

impl Summary {
    /// The bounds of one id in what [`encode`](Self::encode) wrote: those that the summary would give
    /// which [`decode_checked`](Self::decode_checked) makes of it, for a fraction of the time.
    ///
    /// # Errors
    ///
    /// If the bytes are no summary of a known version. Less is looked at than for decoding: bytes
    /// that are refused there may give bounds here.
    pub fn bounds_in(bytes: &[u8], id: &str, seed: Seed) -> Result<Bounds, DecodeError> {
        let mut input = Input::new(checked_body(bytes)?);
        let head = Head::take(&mut input)?;
        let full = match head.full {
            true => Some(Full::take(&mut input)?),
            false => None,
        };
        let shared: Vec<u16> = take_numbers(&mut input, head.rows, COUNTS)?;
        let following = take_lengths(&mut input, head.rows)?;
        let uppers = Column::pass(&mut input, head.rows)?;
        let overcounts = match &full {
            Some(_) => Some(Column::pass(&mut input, head.rows)?),
            None => None,
        };
        let lengths = following.iter().map(|&length| usize::from(length));
        let texts = List::open(&mut input, lengths.sum(), BYTES)?;
        if id.is_empty() {
            return Ok(Bounds { lower: 0, upper: 0 });
        }
        let texts = texts.pieces(&mut input)?;
        let row = row_of(id.as_bytes(), &shared, &following, texts)?;
        let Some(row) = row else {
            let upper = match &full {
                Some(full) => full.bound(&head, id, seed)?,
                None => 0,
            };
            return Ok(Bounds { lower: 0, upper });
        };
        let least = full.as_ref().map_or(0, |full| full.least);
        let upper = least.saturating_add(uppers.get(row)?);
        let overcount = match overcounts.zip(full) {
            Some((units, full)) => {
                let overcount = scaled(units.get(row)?, full.shift);
                overcount.min(full.filter.highest).min(upper)
            }
            None => 0,
        };
        let lower = upper - overcount;
        Ok(Bounds { lower, upper })
    }

    /// The same of one id in what [`encode_parts`](Self::encode_parts) wrote.
    ///
    /// # Errors
    ///
    /// As [`bounds_in`](Self::bounds_in).
    pub fn bounds_in_parts(
        (largest, others): (&[u8], &[u8]),
        id: &str,
        seed: Seed,
    ) -> Result<Bounds, DecodeError> {
        let bounds = Self::bounds_in(largest, id, seed)?;
        match bounds.lower {
            0 => Self::bounds_in(others, id, seed),
            _ => Ok(bounds),
        }
    }
}

/// What only a summary has that dropped something.
struct Full<'a> {
    filter: FilterHead,
    cells: &'a [u8],
    least: u64,
    /// Of the overcounts.
    shift: u32,
}

impl<'a> Full<'a> {
    fn take(input: &mut Input<'a>) -> Result<Self, DecodeError> {
        let filter = FilterHead::take(input)?;
        let cells = input.rest();
        filter.cells.pass(input)?;
        Ok(Full {
            filter,
            cells,
            least: input.number()?,
            shift: take_shift(input, "unit of overcounts")?,
        })
    }

    /// What an id may have that has no counter.
    fn bound(&self, head: &Head, id: &str, seed: Seed) -> Result<u64, DecodeError> {
        if head.seed_id != seed.id() {
            return Ok(self.filter.highest);
        }
        let key = LongKeys::new(seed).key_of(id);
        let hash = KeyHasher::new(seed).hash(&key);
        self.filter.bound(hash, &mut Input::new(self.cells))
    }
}

/// A column of which one number is read, or none.
struct Column<'a> {
    list: List,
    body: &'a [u8],
}

impl<'a> Column<'a> {
    fn pass(input: &mut Input<'a>, rows: usize) -> Result<Self, DecodeError> {
        let list = List::open(input, rows, COUNTS)?;
        let body = input.rest();
        list.pass(input)?;
        Ok(Column { list, body })
    }

    fn get(&self, row: usize) -> Result<u64, DecodeError> {
        self.list.nth(row, &mut Input::new(self.body))
    }
}

/// The row of an id, if it has one: of each the bytes that it shares with the row before, and how many
/// follow.
fn row_of(
    id: &[u8],
    shared: &[u16],
    following: &[u16],
    mut texts: Pieces<'_>,
) -> Result<Option<usize>, DecodeError> {
    let (mut read, mut at): (Vec<u8>, _) = (Vec::new(), 0);
    // So many bytes of the id the row before begins with; it goes on with a smaller one, or ends.
    let mut matched = 0;
    for (row, (&shared, &following)) in shared.iter().zip(following).enumerate() {
        let from = at;
        at += usize::from(following);
        let shared = usize::from(shared);
        if shared > matched {
            // It goes on as the row before.
            continue;
        }
        if shared < matched {
            // The row before went on as the id does, and this one is larger.
            return Ok(None);
        }
        while read.len() < at {
            let length = read.len();
            texts.next(&mut read)?;
            if read.len() == length {
                return Err(DecodeError::Truncated);
            }
        }
        let more = read.get(from..at).unwrap_or_default();
        let left = id.get(matched..).unwrap_or_default();
        let both = more.iter().zip(left).take_while(|(a, b)| a == b).count();
        matched += both;
        match (more.get(both), left.get(both)) {
            (None, None) => return Ok(Some(row)),
            (Some(_), None) => return Ok(None),
            (Some(next), Some(wanted)) if next > wanted => return Ok(None),
            _ => {}
        }
    }
    Ok(None)
}
