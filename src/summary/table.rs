//! Which slot holds a key.
//!
//! Groups of 15 slots with one byte of the hash each, compared all at once. A group is planned
//! for 8 keys, so about one in a hundred is ever full; what does not fit goes into the next
//! group and is counted as overflow in every group it passed, so a look-up ends at the first
//! group that nothing has passed. Nothing is marked as deleted, and nothing is ever moved.

use super::key::{Key, KeyHasher, spread};

/// Keys that a group is planned for.
const PLANNED: usize = 8;

/// Slots of a group. The sixteenth byte counts the overflow.
const SLOTS: usize = 15;

/// An overflow that has been this large is not counted down any more.
const STICKY: u8 = u8::MAX;

#[derive(Clone, Copy)]
#[repr(align(16))]
struct Group {
    /// 0 is an empty slot.
    tags: [u8; 16],
    slots: [u16; 16],
}

const EMPTY: Group = Group {
    tags: [0; 16],
    slots: [0; 16],
};

impl Group {
    fn overflow(&self) -> u8 {
        self.tags[SLOTS]
    }

    fn overflow_mut(&mut self) -> &mut u8 {
        &mut self.tags[SLOTS]
    }

    #[inline(always)]
    fn matches(&self, tag: u8) -> u32 {
        bytes_equal(&self.tags, tag) & ((1 << SLOTS) - 1)
    }
}

/// A bit for each byte that equals `byte`.
#[inline(always)]
fn bytes_equal(bytes: &[u8; 16], byte: u8) -> u32 {
    let (low, high) = halves(bytes);
    (word_equal(low, byte) | word_equal(high, byte) << 8) as u32
}

#[inline(always)]
fn word_equal(word: u64, byte: u8) -> u64 {
    const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let differing = word ^ (u64::from(byte) * 0x0101_0101_0101_0101);
    let equal = !(((differing & LOW_BITS) + LOW_BITS) | differing | LOW_BITS);
    // Gathers the highest bit of each byte.
    (equal >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[inline(always)]
fn halves(bytes: &[u8; 16]) -> (u64, u64) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *bytes;
    (
        u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        u64::from_le_bytes([i, j, k, l, m, n, o, p]),
    )
}

/// What one look into one group tells.
pub(super) struct Probe {
    /// Where the key is if `hit`; otherwise any slot in use.
    pub slot: usize,
    pub hit: bool,
    /// Not a hit, but the key may still be elsewhere: [`Table::find`] knows.
    pub unsure: bool,
}

/// The keys of all counters, by slot, and the groups that find them.
#[derive(Clone, Default)]
pub(super) struct Table {
    groups: Vec<Group>,
    keys: Vec<Key>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Group>() + self.keys.capacity() * size_of::<Key>()
    }

    /// How many keys fit before the groups are laid out anew.
    pub(super) fn room(&self) -> usize {
        self.groups.len() * PLANNED
    }

    /// Lays the groups out for `room` keys.
    pub(super) fn reserve(&mut self, room: usize, hasher: &KeyHasher) {
        self.groups = vec![EMPTY; room.div_ceil(PLANNED).max(1)];
        self.keys
            .reserve_exact(room.saturating_sub(self.keys.len()));
        for slot in 0..self.keys.len() {
            let hash = hasher.hash(&self.keys[slot]);
            self.link(hash, slot);
        }
    }

    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        spread((hash >> 32) as u32, self.groups.len())
    }

    /// Looks into the key's own group and compares with the first candidate only. Right for
    /// keys of ids of up to 16 bytes; without a branch that depends on the key.
    #[inline(always)]
    pub(super) fn probe(&self, key: &Key, hash: u64) -> Probe {
        let Some(group) = self.groups.get(self.home(hash)) else {
            return Probe {
                slot: 0,
                hit: false,
                unsure: false,
            };
        };
        let candidates = group.matches(tag(hash));
        // Without a candidate this is the unused sixteenth slot, which says 0: a wrong slot
        // does no harm, its key differs.
        let first = (candidates | 1 << SLOTS).trailing_zeros() as usize;
        let slot = usize::from(group.slots[first & SLOTS]);
        let hit = self.keys.get(slot) == Some(key);
        let others = candidates & candidates.wrapping_sub(1);
        Probe {
            slot,
            hit,
            unsure: !hit & ((others != 0) | (group.overflow() != 0)),
        }
    }

    /// The slot of a key that `same` accepts; `same` decides between longer ids.
    #[inline]
    pub(super) fn find(&self, key: &Key, hash: u64, same: impl Fn(usize) -> bool) -> Option<usize> {
        let mut at = self.home(hash);
        for _ in 0..self.groups.len() {
            let group = self.groups.get(at)?;
            let mut candidates = group.matches(tag(hash));
            while candidates != 0 {
                let slot = usize::from(group.slots[candidates.trailing_zeros() as usize]);
                if self.keys.get(slot) == Some(key) && same(slot) {
                    return Some(slot);
                }
                candidates &= candidates - 1;
            }
            if group.overflow() == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 < self.groups.len() {
            at + 1
        } else {
            0
        }
    }

    /// Adds a key that is not there yet. There must be room.
    pub(super) fn push(&mut self, key: Key, hash: u64) {
        let slot = self.keys.len();
        self.keys.push(key);
        self.link(hash, slot);
    }

    /// Gives a slot to another key, which is not there yet.
    pub(super) fn replace(&mut self, slot: usize, hash_before: u64, key: Key, hash: u64) {
        self.unlink(hash_before, slot);
        if let Some(place) = self.keys.get_mut(slot) {
            *place = key;
        }
        self.link(hash, slot);
    }

    fn link(&mut self, hash: u64, slot: usize) {
        let mut at = self.home(hash);
        for _ in 0..self.groups.len() {
            let next = self.after(at);
            let group = &mut self.groups[at];
            let free = group.matches(0);
            if free != 0 {
                let place = free.trailing_zeros() as usize;
                group.tags[place] = tag(hash);
                group.slots[place] = slot as u16;
                return;
            }
            let overflow = group.overflow_mut();
            *overflow = overflow.saturating_add(1);
            at = next;
        }
    }

    fn unlink(&mut self, hash: u64, slot: usize) {
        let mut at = self.home(hash);
        for _ in 0..self.groups.len() {
            let next = self.after(at);
            let group = &mut self.groups[at];
            let mut candidates = group.matches(tag(hash));
            while candidates != 0 {
                let place = candidates.trailing_zeros() as usize;
                if usize::from(group.slots[place]) == slot {
                    group.tags[place] = 0;
                    return;
                }
                candidates &= candidates - 1;
            }
            let overflow = group.overflow_mut();
            if *overflow != STICKY {
                *overflow = overflow.saturating_sub(1);
            }
            at = next;
        }
    }
}

/// One byte of the hash, never 0.
#[inline(always)]
fn tag(hash: u64) -> u8 {
    let byte = hash as u8;
    byte | u8::from(byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_equal_byte_is_found_and_no_other() {
        let mut bytes = [0_u8; 16];
        for round in 0..4096_usize {
            bytes[round % 16] = (round * 7 % 11) as u8 * 25;
            for byte in [0, 1, 25, 128, 250, 255] {
                let expected =
                    (0..16).fold(0, |mask, at| mask | u32::from(bytes[at] == byte) << at);
                assert_eq!(bytes_equal(&bytes, byte), expected);
            }
        }
    }
}
