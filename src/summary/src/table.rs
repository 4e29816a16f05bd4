//! Which slot holds a key.
//!
//! Groups of seven slots with one byte of the hash each, compared all at once as one word. A
//! group is planned for two and a half keys, so about one in two hundred is ever full; what does not
//! fit goes into the next group and is counted as overflow in every group it passed, so a look-up ends at
//! the first group that nothing has passed. Nothing is marked as deleted, nothing is ever moved.

use super::key::{Key, KeyHasher, StoredKey, spread};

/// Two groups are planned for this many keys: 9.6 bytes of groups a key.
const PLANNED_FOR_TWO: usize = 5;

/// Slots of a group. The eighth byte counts the overflow.
const SLOTS: usize = 7;

/// An overflow that has been this large is not counted down any more.
const STICKY: u64 = 255;

#[derive(Clone, Copy)]
struct Group {
    /// A byte for each slot, 0 if it is empty; the overflow in the highest.
    tags: u64,
    slots: [u16; 8],
}

const EMPTY: Group = Group {
    tags: 0,
    slots: [0; 8],
};

impl Group {
    #[inline(always)]
    fn overflow(&self) -> u64 {
        self.tags >> 56
    }

    /// The slots whose tag is this, as the highest bits of their bytes. The first is right; those
    /// after it may be wrong.
    #[inline(always)]
    fn matches(&self, tag: u64) -> Matches {
        const EACH: u64 = 0x0101_0101_0101_0101;
        let differing = self.tags ^ (tag * EACH);
        Matches(differing.wrapping_sub(EACH) & !differing & 0x0080_8080_8080_8080)
    }

    fn set(&mut self, place: usize, tag: u64, slot: usize) {
        self.tags = self.tags & !(255 << (8 * place)) | tag << (8 * place);
        self.slots[place & SLOTS] = slot as u16;
    }

    fn pass(&mut self) {
        if self.overflow() != STICKY {
            self.tags += 1 << 56;
        }
    }

    fn unpass(&mut self) {
        if (1..STICKY).contains(&self.overflow()) {
            self.tags -= 1 << 56;
        }
    }
}

#[derive(Clone, Copy)]
struct Matches(u64);

impl Matches {
    /// The first place, or the eighth, which is never used.
    #[inline(always)]
    fn first(self) -> usize {
        (self.0 | 1 << 63).trailing_zeros() as usize / 8
    }

    #[inline(always)]
    fn others(self) -> Self {
        Self(self.0 & self.0.wrapping_sub(1))
    }

    #[inline(always)]
    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What one look into one group tells.
pub(super) struct Probe {
    /// Where the key is if `hit`; otherwise any slot in use.
    pub slot: usize,
    pub hit: bool,
    /// Not a hit, but the key may still be elsewhere: [`Table::find`] knows.
    pub unsure: bool,
}

/// The keys of all counters, by slot, and the groups that find them. There are no groups before
/// the first [`reserve`](Table::reserve): then all keys are looked through.
#[derive(Clone, Default)]
pub(super) struct Table {
    groups: Vec<Group>,
    keys: Vec<StoredKey>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn keys(&self) -> &[StoredKey] {
        &self.keys
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Group>() + self.keys.capacity() * size_of::<StoredKey>()
    }

    /// Whether there are groups for all keys.
    pub(super) fn is_indexed(&self) -> bool {
        self.keys.is_empty() || !self.groups.is_empty()
    }

    /// Makes room for so many keys without groups.
    pub(super) fn expect(&mut self, keys: usize) {
        self.keys.reserve_exact(keys);
    }

    /// Adds a key that is not there yet, while there are no groups.
    #[inline(always)]
    pub(super) fn push_unindexed(&mut self, key: Key) {
        self.keys.push(StoredKey::new(key));
    }

    /// Adds the keys of another, none of which is there yet, while there are no groups.
    pub(super) fn append_unindexed(&mut self, other: &Self) {
        self.keys.reserve_exact(other.keys.len());
        self.keys.extend_from_slice(&other.keys);
    }

    /// How many keys fit before the groups are laid out anew.
    pub(super) fn room(&self) -> usize {
        self.groups.len() * PLANNED_FOR_TWO / 2
    }

    /// Lays the groups out for `room` keys.
    pub(super) fn reserve(&mut self, room: usize, hasher: &KeyHasher) {
        self.groups = vec![EMPTY; (2 * room).div_ceil(PLANNED_FOR_TWO).max(1)];
        // As many as there are groups for: one more would double what there is room for.
        let room = self.room();
        self.keys
            .reserve_exact(room.saturating_sub(self.keys.len()));
        for slot in 0..self.keys.len() {
            let hash = hasher.hash(&self.keys[slot].key());
            self.link(hash, slot);
        }
    }

    /// The group that a key of this hash is looked for in first.
    #[inline(always)]
    pub(super) fn home(&self, hash: u64) -> usize {
        spread((hash >> 32) as u32, self.groups.len())
    }

    /// Looks into the key's own group and compares with the first candidate only. Right for
    /// keys of ids of up to 16 bytes; without a branch that depends on the key. `None` if there
    /// are no keys.
    #[inline(always)]
    pub(super) fn probe(&self, key: &Key, hash: u64) -> Option<Probe> {
        let group = self.groups.get(self.home(hash))?;
        let candidates = group.matches(tag(hash));
        // Without a candidate this is the unused eighth slot, which says 0: a wrong slot does no
        // harm, its key differs.
        let slot = usize::from(group.slots[candidates.first() & SLOTS]);
        let hit = self.keys.get(slot)?.key() == *key;
        Some(Probe {
            slot,
            hit,
            unsure: !hit & (!candidates.others().is_empty() | (group.overflow() != 0)),
        })
    }

    /// The slot of a key that `same` accepts; `same` decides between longer ids.
    #[inline]
    pub(super) fn find(&self, key: &Key, hash: u64, same: impl Fn(usize) -> bool) -> Option<usize> {
        if self.groups.is_empty() {
            let is_key = |&slot: &usize| self.keys[slot].key() == *key && same(slot);
            return (0..self.keys.len()).find(is_key);
        }
        let mut at = self.home(hash);
        for _ in 0..self.groups.len() {
            let group = self.groups.get(at)?;
            let mut candidates = group.matches(tag(hash));
            while !candidates.is_empty() {
                let slot = usize::from(group.slots[candidates.first() & SLOTS]);
                if self.keys.get(slot).map(StoredKey::key) == Some(*key) && same(slot) {
                    return Some(slot);
                }
                candidates = candidates.others();
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
        self.keys.push(StoredKey::new(key));
        self.link(hash, slot);
    }

    /// Gives a slot to another key, which is not there yet.
    pub(super) fn replace(&mut self, slot: usize, hash_before: u64, key: Key, hash: u64) {
        self.unlink(hash_before, slot);
        if let Some(place) = self.keys.get_mut(slot) {
            *place = StoredKey::new(key);
        }
        self.link(hash, slot);
    }

    fn link(&mut self, hash: u64, slot: usize) {
        let mut at = self.home(hash);
        for _ in 0..self.groups.len() {
            let next = self.after(at);
            let group = &mut self.groups[at];
            let free = group.matches(0);
            if !free.is_empty() {
                group.set(free.first(), tag(hash), slot);
                return;
            }
            group.pass();
            at = next;
        }
    }

    fn unlink(&mut self, hash: u64, slot: usize) {
        let mut at = self.home(hash);
        for _ in 0..self.groups.len() {
            let next = self.after(at);
            let group = &mut self.groups[at];
            let mut candidates = group.matches(tag(hash));
            while !candidates.is_empty() {
                let place = candidates.first();
                let tagged = group.tags >> (8 * place) & 255 == tag(hash);
                if tagged && usize::from(group.slots[place & SLOTS]) == slot {
                    group.set(place, 0, 0);
                    return;
                }
                candidates = candidates.others();
            }
            group.unpass();
            at = next;
        }
    }
}

/// Seven bits of the hash, and one so that it is not 0.
#[inline(always)]
fn tag(hash: u64) -> u64 {
    (hash & 127) | 128
}
