//! The texts of ids that do not fit into keys, by slot, in one piece of memory.
//!
//! What a counter's last id leaves behind is used again where the next is no longer; otherwise it
//! is garbage, and all is put together anew once there is more garbage than text.

/// Garbage that is not worth the work.
const LITTLE: usize = 4_096;

/// Where a text begins, and its bytes; 0 bytes for an id that is in its key.
#[derive(Clone, Copy, Default)]
struct Place {
    start: u32,
    length: u32,
}

#[derive(Clone, Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    /// Shorter than there are slots if the rest has none.
    places: Vec<Place>,
    /// Bytes that are text.
    used: usize,
}

impl Texts {
    /// Bytes of all texts.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
        self.places.shrink_to_fit();
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.places.capacity() * size_of::<Place>()
    }

    /// The text of a slot, or "".
    #[inline]
    pub(super) fn get(&self, slot: usize) -> &[u8] {
        let place = self.places.get(slot).copied().unwrap_or_default();
        self.at(place)
    }

    #[inline(always)]
    fn at(&self, place: Place) -> &[u8] {
        let start = place.start as usize;
        let text = self.bytes.get(start..start + place.length as usize);
        text.unwrap_or_default()
    }

    /// Whether the text of a slot is another than `id`, which has 9 bytes or more. Does not branch
    /// on the bytes.
    #[inline(always)]
    pub(super) fn differs(&self, slot: usize, id: &[u8]) -> bool {
        let text = self.get(slot);
        if text.len() != id.len() {
            return true;
        }
        let (words, _) = text.as_chunks::<8>();
        let (others, _) = id.as_chunks::<8>();
        let pairs = words.iter().zip(others);
        let differing = pairs.fold(0, |all, (a, b)| {
            all | (u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b))
        });
        // The last eight, of which some were looked at.
        let last = |bytes: &[u8]| {
            bytes
                .last_chunk::<8>()
                .map_or(0, |it| u64::from_le_bytes(*it))
        };
        differing | (last(text) ^ last(id)) != 0
    }

    /// Gives a slot a text, or none. The id of a slot that never had one may be left out.
    pub(super) fn set(&mut self, slot: usize, text: &[u8]) {
        if self.places.len() <= slot {
            if text.is_empty() {
                return;
            }
            make_room(&mut self.places, slot + 1);
            self.places.resize(slot + 1, Place::default());
        }
        let Some(place) = self.places.get_mut(slot) else {
            return;
        };
        let (before, length) = (*place, text.len());
        self.used = self.used + length - before.length as usize;
        let start = if length <= before.length as usize {
            before.start as usize
        } else {
            self.bytes.len()
        };
        *place = Place {
            start: start as u32,
            length: length as u32,
        };
        match self.bytes.get_mut(start..start + length) {
            Some(room) => room.copy_from_slice(text),
            None => {
                make_room(&mut self.bytes, start + length);
                self.bytes.extend_from_slice(text);
            }
        }
        if self.bytes.len() > 2 * self.used + LITTLE {
            self.compact();
        }
    }

    /// Gives the slots from this one on the texts of others.
    pub(super) fn append(&mut self, from: usize, others: &Self) {
        let texts = (0..others.places.len()).map(|slot| (from + slot, others.get(slot)));
        texts.for_each(|(slot, text)| self.set(slot, text));
    }

    #[cold]
    #[inline(never)]
    fn compact(&mut self) {
        let mut bytes = Vec::with_capacity(self.used + self.used / 2);
        for at in 0..self.places.len() {
            let place = self.places[at];
            let start = bytes.len() as u32;
            bytes.extend_from_slice(self.at(place));
            self.places[at].start = start;
        }
        self.bytes = bytes;
    }
}

/// Room for so much in all, and a quarter more: doubled, most of it might never be used.
fn make_room<T>(all: &mut Vec<T>, needed: usize) {
    if needed > all.capacity() {
        all.reserve_exact((needed + needed / 4).saturating_sub(all.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_however_often_slots_change_hands_and_garbage_stays_small() {
        let mut texts = Texts::default();
        let mut expected = vec![Vec::new(); 50];
        let mut state = 7_u64;
        for _ in 0..20_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (slot, length) = ((state >> 33) as usize % 50, (state >> 40) as usize % 200);
            let text = vec![(state >> 50) as u8; length];
            texts.set(slot, &text);
            expected[slot] = text;
            assert!(texts.bytes.len() <= 2 * texts.used() + LITTLE);
        }
        for (slot, text) in expected.iter().enumerate() {
            assert_eq!(texts.get(slot), text);
            if text.len() > 16 {
                assert!(!texts.differs(slot, text));
                for at in 0..text.len() {
                    let mut other = text.clone();
                    other[at] ^= 1;
                    assert!(texts.differs(slot, &other));
                }
                assert!(texts.differs(slot, &text[1..]));
            }
        }
        assert_eq!(texts.used(), expected.iter().map(Vec::len).sum::<usize>());
    }
}
