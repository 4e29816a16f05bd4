//! Sets of posts, as boards have them: keys of 16 bytes, in order.

use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

use crate::wire::PostChange;

/// An id of up to 15 bytes, or the hash of a longer one.
pub type PostKey = [u8; 16];

/// In a key's last byte: it is a hash. Otherwise that byte is the id's length.
const HASHED: u8 = 0x80;

/// The key of an id. Two ids of up to 15 bytes have equal keys only if they are equal; of two longer ones it
/// takes 2^63 attempts to find such.
pub fn post_key(post_id: &str) -> PostKey {
    let id = post_id.as_bytes();
    let mut key = [0; 16];
    match key.get_mut(..id.len()).filter(|part| part.len() < 16) {
        Some(part) => {
            part.copy_from_slice(id);
            key[15] = id.len() as u8;
        }
        None => {
            let mut hasher = SipHasher13::new();
            hasher.write(id);
            key = hasher.finish128().as_bytes();
            key[15] |= HASHED;
        }
    }
    key
}

/// A set of posts: 16 bytes each, and a search of 17 steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(Vec<PostKey>);

impl KeySet {
    pub fn new(mut keys: Vec<PostKey>) -> Self {
        keys.sort_unstable();
        keys.dedup();
        KeySet(keys)
    }

    /// As it is sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.as_flattened().to_vec()
    }

    /// What was sent. A part of a key at the end is none.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        KeySet::new(bytes.as_chunks::<16>().0.to_vec())
    }

    pub fn has(&self, key: &PostKey) -> bool {
        self.0.binary_search(key).is_ok()
    }

    pub fn held_bytes(&self) -> usize {
        self.0.capacity() * size_of::<PostKey>()
    }

    /// The set after changes, of whose numbers this bit says whether a post is of it.
    pub fn changed(&self, changes: &[PostChange], bit: u32) -> Self {
        let mut of_it: Vec<(PostKey, bool)> = changes
            .iter()
            .map(|change| (post_key(&change.post_id), change.is_of & bit != 0))
            .collect();
        of_it.sort_unstable();
        let is_changed = |key: &PostKey| of_it.binary_search_by(|(it, _)| it.cmp(key)).is_ok();
        let stay = self.0.iter().filter(|key| !is_changed(key)).copied();
        let join = of_it
            .iter()
            .filter(|(_, is_in)| *is_in)
            .map(|(key, _)| *key);
        // Two runs in order: sorting merges them.
        let mut keys: Vec<PostKey> = stay.chain(join).collect();
        keys.sort();
        keys.dedup();
        keys.shrink_to_fit();
        KeySet(keys)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_have_keys_of_their_own() {
        let mut ids: Vec<String> = ["", "a", "a\0", "\0", "ä", "a\u{f}"]
            .map(Into::into)
            .to_vec();
        for length in [1, 14, 15, 16, 17, 31, 256] {
            for last in ["x", "y", "\0"] {
                ids.push("x".repeat(length - 1) + last);
            }
        }
        let different: BTreeSet<&String> = ids.iter().collect();
        let keys: BTreeSet<PostKey> = ids.iter().map(|id| post_key(id)).collect();
        assert_eq!(keys.len(), different.len());
    }

    proptest! {
        #[test]
        fn a_set_has_what_was_put_into_it_and_what_changed(
            first in proptest::collection::btree_set("[a-e]{1,3}", 0..50),
            changes in proptest::collection::btree_map("[a-e]{1,3}", any::<u32>(), 0..50),
            bit in 0..32_u32,
        ) {
            let bit = 1 << bit;
            let key_set = KeySet::new(first.iter().map(|id| post_key(id)).collect());
            let sent = KeySet::of_bytes(&key_set.to_bytes());
            prop_assert_eq!(&sent, &key_set);
            let mut expected: BTreeSet<String> = first;
            let changes: Vec<PostChange> = changes
                .into_iter()
                .map(|(post_id, is_of)| PostChange { post_id, is_of })
                .collect();
            for change in &changes {
                match change.is_of & bit != 0 {
                    true => expected.insert(change.post_id.clone()),
                    false => expected.remove(&change.post_id),
                };
            }
            let changed = sent.changed(&changes, bit);
            prop_assert_eq!(&changed, &KeySet::new(expected.iter().map(|id| post_key(id)).collect()));
            prop_assert!(expected.iter().all(|id| changed.has(&post_key(id))));
        }
    }
}
