//! The stored form.

use super::{CELLS_PER_COUNTER, Counter, MAX_ID_BYTES, Seed, Summary};

/// The version that [`Summary::encode`] writes.
const VERSION: u8 = 1;

/// Why bytes are not a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end before the summary does.
    Truncated,
    /// Written by a version that this build does not read.
    UnknownVersion(u8),
    /// Something in it cannot be; the text says what.
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
            Self::Damaged(what) => write!(formatter, "a damaged summary: {what}"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl Summary {
    /// The summary as bytes, starting with a version.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::from(self.full)];
        out.extend_from_slice(&self.seed.id().to_le_bytes());
        for value in [
            self.capacity as u64,
            self.total,
            self.base,
            self.unlisted_max,
            self.cells.len() as u64,
        ] {
            put(&mut out, value);
        }
        self.cells.iter().for_each(|&cell| put(&mut out, cell));
        put(&mut out, self.counters.len() as u64);
        let mut sorted: Vec<&Counter> = self.counters.iter().collect();
        sorted.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let mut before: &[u8] = &[];
        for counter in sorted {
            let id = counter.id.as_bytes();
            let shared = id.iter().zip(before).take_while(|(a, b)| a == b).count();
            put(&mut out, shared as u64);
            put(&mut out, (id.len() - shared) as u64);
            out.extend_from_slice(&id[shared..]);
            put(&mut out, counter.upper);
            put(&mut out, counter.overcount);
            before = id;
        }
        out
    }

    /// Reads what [`encode`](Self::encode) wrote. If it was written under another seed, its
    /// filter becomes one number: looser, still a bound.
    ///
    /// # Errors
    ///
    /// If the bytes are not a whole summary of a known version.
    pub fn decode(bytes: &[u8], seed: Seed) -> Result<Summary, DecodeError> {
        let mut input = Input(bytes);
        let version = input.byte()?;
        if version != VERSION {
            return Err(DecodeError::UnknownVersion(version));
        }
        let full = input.byte()? != 0;
        let mut seed_id = [0; 8];
        seed_id.copy_from_slice(input.take(8)?);
        let capacity = input.length(Self::MAX_MERGED, "capacity")?;
        if capacity == 0 {
            return Err(DecodeError::Damaged("capacity"));
        }
        let mut summary = Self::with_limit(capacity, seed);
        summary.full = full;
        summary.total = input.number()?;
        summary.base = input.number()?;
        summary.unlisted_max = input.number()?;
        let cells = input.length(Self::MAX_CAPACITY * CELLS_PER_COUNTER, "cells")?;
        if cells > input.0.len() {
            return Err(DecodeError::Truncated);
        }
        for _ in 0..cells {
            summary.cells.push(input.number()?);
        }
        if u64::from_le_bytes(seed_id) != seed.id() {
            summary.cells = Vec::new();
            summary.base = summary.unlisted_max;
        }
        let rows = input.length(capacity, "rows")?;
        let mut id: Vec<u8> = Vec::new();
        for _ in 0..rows {
            let shared = input.length(id.len(), "shared prefix")?;
            let rest = input.length(MAX_ID_BYTES - shared, "id length")?;
            id.truncate(shared);
            id.extend_from_slice(input.take(rest)?);
            let text = std::str::from_utf8(&id).map_err(|_| DecodeError::Damaged("id"))?;
            if text.is_empty() || summary.index.contains_key(text) {
                return Err(DecodeError::Damaged("id"));
            }
            let (upper, overcount) = (input.number()?, input.number()?);
            if overcount > upper {
                return Err(DecodeError::Damaged("overcount"));
            }
            summary.push(Counter {
                id: text.into(),
                upper,
                overcount,
            });
        }
        if !input.0.is_empty() {
            return Err(DecodeError::Damaged("bytes after the end"));
        }
        Ok(summary)
    }
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self
            .0
            .split_at_checked(count)
            .ok_or(DecodeError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&head, tail) = self.0.split_first().ok_or(DecodeError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Damaged("number"))
    }

    fn length(&mut self, most: usize, what: &'static str) -> Result<usize, DecodeError> {
        match usize::try_from(self.number()?) {
            Ok(length) if length <= most => Ok(length),
            _ => Err(DecodeError::Damaged(what)),
        }
    }
}
