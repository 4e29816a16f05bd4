//! How an id is held in a counter: 16 bytes, with ids of up to 16 bytes inside.

use std::sync::OnceLock;

use super::seed::Seed;

/// The longest id that is counted, in bytes.
pub const MAX_ID_BYTES: usize = 256;

/// The longest id that fits into a key.
pub(super) const INLINE_BYTES: usize = 16;

/// Marks the last byte of a key; the low four bits are the length. UTF-8 text never ends in a
/// byte of `0xc0` or more, so an id of 16 bytes cannot be taken for a shorter one.
const SHORT_MARK: u64 = 0xc0;

/// The marks of ids of 0 to 16 bytes.
const MARKS: [u64; INLINE_BYTES + 1] = {
    let mut marks = [0; INLINE_BYTES + 1];
    let mut length = 0;
    while length < INLINE_BYTES {
        marks[length] = (SHORT_MARK | length as u64) << 56;
        length += 1;
    }
    marks
};

/// Ones in the first bytes, 0 to 16 of them.
pub(super) const FIRST: [u128; INLINE_BYTES + 1] = {
    let mut first = [0; INLINE_BYTES + 1];
    let mut length = 0;
    while length < INLINE_BYTES {
        first[length + 1] = first[length] << 8 | 0xff;
        length += 1;
    }
    first
};

/// Marks the last byte of a key that is only the hash of a longer id.
const LONG_MARK: u64 = 0xff;

/// An id of up to 16 bytes, or a stand-in for a longer one. Two ids of up to 16 bytes have equal
/// keys only if they are equal; two longer ones with equal keys must be compared as text.
#[derive(Clone, Copy, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    low: u64,
    high: u64,
}

/// Both words at once: whether a play's id has a counter is no better predicted than a coin, so
/// it must not become two branches, nor one.
impl PartialEq for Key {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        (self.low ^ other.low) | (self.high ^ other.high) == 0
    }
}

impl Key {
    /// The key of an id of 1 to 16 bytes.
    #[inline(always)]
    pub(super) fn short(id: &[u8]) -> Option<Self> {
        let length = id.len();
        let (low, high) = if let Some((first, last)) = ends::<8>(id) {
            if length > INLINE_BYTES {
                return None;
            }
            // In two steps: at a length of 8 nothing of the last eight bytes is left.
            let half = 4 * (INLINE_BYTES - length);
            let rest = u64::from_le_bytes(last) >> half >> half;
            (u64::from_le_bytes(first), rest)
        } else if let Some((first, last)) = ends::<4>(id) {
            let rest = u64::from(u32::from_le_bytes(last)) >> (64 - 8 * length);
            (u64::from(u32::from_le_bytes(first)) | rest << 32, 0)
        } else {
            let (first, middle, last) = (id.first()?, id.get(length / 2)?, id.last()?);
            let middle = u64::from(*middle) << (8 * (length / 2));
            let last = u64::from(*last) << (8 * (length - 1));
            (u64::from(*first) | middle | last, 0)
        };
        let high = high | MARKS.get(length)?;
        Some(Self { low, high })
    }

    /// The same of an id whose bytes are in a number, the first in the lowest, with zeros after its end.
    #[inline(always)]
    pub(super) fn inline(id: u128, length: usize) -> Self {
        Self {
            low: id as u64,
            high: (id >> 64) as u64 | MARKS.get(length).copied().unwrap_or(0),
        }
    }

    pub(super) fn is_long(&self) -> bool {
        self.high >> 56 == LONG_MARK
    }
}

/// Eight bytes at a time; the longest id has 32 such words, and the last eight bytes are one more.
const WORDS: usize = MAX_ID_BYTES / 8 + 1;

/// Makes the keys of longer ids: NH again, as in [`KeyHasher`], over as many words as the id has.
///
/// Of two different ids, whoever made them, at most one pair in 2^32 has equal keys over the seeds;
/// those are told apart by their texts. The numbers that it takes are made with the first long id.
#[derive(Clone)]
pub(super) struct LongKeys {
    seed: Seed,
    words: OnceLock<Box<[u64; WORDS]>>,
}

impl LongKeys {
    pub(super) fn new(seed: Seed) -> Self {
        let words = OnceLock::new();
        Self { seed, words }
    }

    /// The key of an id of any length.
    #[inline]
    pub(super) fn key_of(&self, id: &str) -> Key {
        Key::short(id.as_bytes()).unwrap_or_else(|| self.long(id.as_bytes()))
    }

    /// The key of an id of 17 to 256 bytes.
    #[inline]
    pub(super) fn long(&self, id: &[u8]) -> Key {
        let secrets = self.words.get_or_init(|| self.derive());
        let (words, _) = id.as_chunks::<8>();
        let (last_secret, secrets) = (secrets[WORDS - 1], &secrets[..WORDS - 1]);
        let last = id.last_chunk::<8>().map_or(0, |it| u64::from_le_bytes(*it));
        let pairs = words.iter().zip(secrets);
        let sum = pairs.fold(nh(last, last_secret), |sum, (word, secret)| {
            sum.wrapping_add(nh(u64::from_le_bytes(*word), *secret))
        });
        Key {
            low: sum,
            high: LONG_MARK << 56 | id.len() as u64,
        }
    }

    #[cold]
    fn derive(&self) -> Box<[u64; WORDS]> {
        // Those of the hash of keys come first.
        Box::new(std::array::from_fn(|at| self.seed.derive(3 + at as u32)))
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.words.get().map_or(0, |words| size_of_val(&**words))
    }
}

/// One product of NH, on the 32-bit halves of a word.
#[inline(always)]
fn nh(word: u64, secret: u64) -> u64 {
    let sum = word.wrapping_add(secret);
    (sum & 0xffff_ffff).wrapping_mul(sum >> 32)
}

/// A key as it is stored, so that texts can be borrowed from it.
///
/// Apart from [`Key`], because a key that was just put together in two registers must not be
/// taken for bytes: the compiler would take it apart.
#[derive(Clone, Copy)]
pub(super) struct StoredKey([u8; 16]);

impl StoredKey {
    pub(super) fn new(key: Key) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&key.low.to_le_bytes());
        bytes[8..].copy_from_slice(&key.high.to_le_bytes());
        Self(bytes)
    }

    #[inline(always)]
    pub(super) fn key(&self) -> Key {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.0;
        Key {
            low: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            high: u64::from_le_bytes([i, j, k, l, m, n, o, p]),
        }
    }

    /// The id, if it is one of up to 16 bytes.
    pub(super) fn text(&self) -> Option<&str> {
        let length = match u64::from(self.0[15]) {
            LONG_MARK => return None,
            last if last >= SHORT_MARK => (last & 0x0f) as usize,
            _ => INLINE_BYTES,
        };
        std::str::from_utf8(&self.0[..length]).ok()
    }
}

/// What stands for an id wherever its text is too long: its bytes, and its length in the last of them, where
/// it has up to 16; otherwise its length and a keyed hash of 64 bits, which of two different ids at most one
/// pair in 2^32 shares, over the seeds. Keys are compared under one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdKey([u8; IdKey::BYTES]);

impl IdKey {
    /// Bytes of a key.
    pub const BYTES: usize = 16;

    /// Takes what [`to_bytes`](Self::to_bytes) gave.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// To be stored, or sent.
    pub const fn to_bytes(self) -> [u8; Self::BYTES] {
        self.0
    }

    pub(super) fn of(key: &StoredKey) -> Self {
        Self(key.0)
    }

    pub(super) fn key(self) -> Key {
        StoredKey(self.0).key()
    }
}

/// Makes the keys of ids as summaries of a seed have them.
#[derive(Clone)]
pub struct IdKeys(LongKeys);

impl IdKeys {
    /// Of summaries of this seed.
    pub fn new(seed: Seed) -> Self {
        Self(LongKeys::new(seed))
    }

    /// The key of an id of 1 to 256 bytes.
    pub fn key_of(&self, id: &str) -> IdKey {
        IdKey::of(&StoredKey::new(self.0.key_of(id)))
    }
}

/// The first and the last `N` bytes, which may overlap.
#[inline(always)]
fn ends<const N: usize>(id: &[u8]) -> Option<([u8; N], [u8; N])> {
    Some((*id.first_chunk::<N>()?, *id.last_chunk::<N>()?))
}

/// The keyed hash of a key: 64 bits, shared by the table (high half), its tags (low byte) and
/// the filter (low half).
///
/// NH of Black et al., "UMAC" (1999), on 32-bit halves: two keys collide with a chance of at most
/// 2^-32 over the seeds, whatever they are. (The halves are shifted by one 64-bit addition; its
/// carry is the same as another message in the proof.) One multiplication by a secret odd number
/// spreads the result.
#[derive(Clone, Copy)]
pub(super) struct KeyHasher {
    low: u64,
    high: u64,
    factor: u64,
}

impl KeyHasher {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            low: seed.derive(0),
            high: seed.derive(1),
            factor: seed.derive(2) | 1,
        }
    }

    #[inline(always)]
    pub(super) fn hash(&self, key: &Key) -> u64 {
        let sum = nh(key.low, self.low).wrapping_add(nh(key.high, self.high));
        let spread = (sum ^ (sum >> 32)).wrapping_mul(self.factor);
        spread ^ (spread >> 32)
    }
}

/// Maps 32 bits of a hash evenly to `0..count`.
#[inline(always)]
pub(super) fn spread(bits: u32, count: usize) -> usize {
    ((u64::from(bits) * count as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_longer_ids_differ_wherever_a_byte_does() {
        let long = LongKeys::new(Seed::from_bytes([9; 16]));
        let text = "0123456789abcdefghijklmnopqrstuvwxyz".repeat(8);
        let mut keys = Vec::new();
        for length in INLINE_BYTES + 1..=256 {
            let id = &text.as_bytes()[..length];
            keys.push(long.long(id));
            for at in 0..length {
                let mut other = id.to_vec();
                other[at] ^= 1;
                keys.push(long.long(&other));
            }
        }
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup_by(|a, b| a == b);
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn a_key_holds_every_short_id() {
        let id = "abcdefghijklmnopqrstuvwxyz";
        let long = LongKeys::new(Seed::from_bytes([1; 16]));
        let mut keys = Vec::new();
        for from in 0..10 {
            for length in 1..=INLINE_BYTES {
                let key = Key::short(&id.as_bytes()[from..from + length]).unwrap();
                assert_eq!(StoredKey::new(key).text(), Some(&id[from..from + length]));
                assert!(
                    StoredKey::new(key).key() == key
                        && key == long.key_of(&id[from..from + length])
                );
                keys.push(key);
            }
        }
        for zeros in 1..=INLINE_BYTES {
            keys.push(Key::short(&vec![0; zeros]).unwrap());
        }
        keys.push(long.key_of(id));
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(StoredKey::new(long.key_of(id)).text().is_none());
    }
}
