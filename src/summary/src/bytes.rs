//! Bytes and numbers one after the other, written and read.

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

/// Appends a number of 1 to 10 bytes, 7 bits each, the lowest first.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
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

    pub(super) fn word(&mut self) -> Result<u64, DecodeError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = tail;
        Ok(u64::from_le_bytes(*head))
    }

    /// Reads what [`put`] wrote.
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
