//! What is kept and could be had again: a cache with one limit, in bytes as they are held, and one rule.
//!
//! # Rule
//! What was asked for once goes first, then what was asked for again, each the longest ago first
//! (segmented LRU; what was asked for again has [`AGAIN_FIFTHS`] of the room). So whoever asks for any
//! number of different things, each once, makes nothing costly that others ask for.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::rc::Rc;

/// What an entry takes besides what it holds: its key twice, and its places in two maps.
const ENTRY_BYTES: usize = 400;
/// So many fifths of the room are for what was asked for again.
const AGAIN_FIFTHS: usize = 4;

/// The cache; a clone is another handle of the same.
pub struct Cache<K>(Rc<RefCell<Kept<K>>>);

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Cache(Rc::clone(&self.0))
    }
}

struct Kept<K> {
    entries: HashMap<K, Entry>,
    /// The keys in the order in which they go.
    order: BTreeMap<Place, K>,
    turn: u64,
    bytes: usize,
    /// Of what was asked for again.
    again_bytes: usize,
    most_bytes: usize,
}

struct Entry {
    value: Rc<dyn Any>,
    bytes: usize,
    place: Place,
}

/// Whether it was asked for again, and when it was asked for last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    again: bool,
    turn: u64,
}

impl<K: Clone + Eq + Hash> Cache<K> {
    /// A cache that may take so many bytes.
    pub fn new(most_bytes: usize) -> Self {
        Cache(Rc::new(RefCell::new(Kept {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            turn: 0,
            bytes: 0,
            again_bytes: 0,
            most_bytes,
        })))
    }

    /// What is kept under a key, which is asked for.
    pub fn get<T: 'static>(&self, key: &K) -> Option<Rc<T>> {
        let mut kept = self.0.borrow_mut();
        kept.move_to(key, true);
        let value = Rc::clone(&kept.entries.get(key)?.value);
        kept.stay_within();
        value.downcast().ok()
    }

    /// As [`Cache::get`], for whoever only looks.
    pub fn peek<T: 'static>(&self, key: &K) -> Option<Rc<T>> {
        let value = Rc::clone(&self.0.borrow().entries.get(key)?.value);
        value.downcast().ok()
    }

    /// Keeps something that holds so many bytes, if there is room for it at all.
    pub fn put<T: 'static>(&self, key: K, value: Rc<T>, bytes: usize) {
        let mut kept = self.0.borrow_mut();
        // What is made anew under the same key is asked for again.
        let again = kept.remove(&key).is_some_and(|place| place.again);
        let bytes = bytes + ENTRY_BYTES;
        if bytes > kept.most_bytes {
            return;
        }
        kept.turn += 1;
        let turn = kept.turn;
        let place = Place { again, turn };
        kept.bytes += bytes;
        kept.again_bytes += if again { bytes } else { 0 };
        kept.order.insert(place, key.clone());
        let entry = Entry {
            value,
            bytes,
            place,
        };
        kept.entries.insert(key, entry);
        kept.stay_within();
    }

    pub fn remove(&self, key: &K) {
        self.0.borrow_mut().remove(key);
    }

    /// Forgets all of which this says so.
    pub fn forget(&self, is_stale: impl Fn(&K) -> bool) {
        let mut kept = self.0.borrow_mut();
        let stale = kept.entries.keys().filter(|key| is_stale(key));
        let stale: Vec<K> = stale.cloned().collect();
        for key in &stale {
            kept.remove(key);
        }
    }

    /// It may take so many bytes from now on.
    pub fn keep_within(&self, most_bytes: usize) {
        let mut kept = self.0.borrow_mut();
        kept.most_bytes = most_bytes;
        kept.stay_within();
    }

    pub fn most_bytes(&self) -> usize {
        self.0.borrow().most_bytes
    }

    /// What is held.
    pub fn bytes(&self) -> usize {
        self.0.borrow().bytes
    }
}

impl<K: Clone + Eq + Hash> Kept<K> {
    /// Makes an entry the last to go of those that were asked for again, or once.
    fn move_to(&mut self, key: &K, again: bool) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        self.turn += 1;
        let turn = self.turn;
        let before = std::mem::replace(&mut entry.place, Place { again, turn });
        self.again_bytes -= if before.again { entry.bytes } else { 0 };
        self.again_bytes += if again { entry.bytes } else { 0 };
        if let Some(key) = self.order.remove(&before) {
            self.order.insert(Place { again, turn }, key);
        }
    }

    fn remove(&mut self, key: &K) -> Option<Place> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.place);
        self.bytes -= entry.bytes;
        self.again_bytes -= if entry.place.again { entry.bytes } else { 0 };
        Some(entry.place)
    }

    fn stay_within(&mut self) {
        const FIRST_AGAIN: Place = Place {
            again: true,
            turn: 0,
        };
        while self.again_bytes > self.most_bytes / 5 * AGAIN_FIFTHS
            && let Some((_, oldest)) = self.order.range(FIRST_AGAIN..).next()
        {
            let oldest = oldest.clone();
            self.move_to(&oldest, false);
        }
        while self.bytes > self.most_bytes
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST_BYTES: usize = 40 << 20;

    /// Keys with their bytes.
    type List = Vec<(u64, usize)>;

    #[derive(Clone, Debug)]
    enum Step {
        Get(u64),
        Put(u64, usize),
        Remove(u64),
        ForgetBelow(u64),
        KeepWithin(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..20_u64).prop_map(Step::Get),
            4 => (0..20_u64, 0..5_000_usize).prop_map(|(key, bytes)| Step::Put(key, bytes)),
            1 => (0..20_u64).prop_map(Step::Remove),
            1 => (0..20_u64).prop_map(Step::ForgetBelow),
            1 => (0..40_000_usize).prop_map(Step::KeepWithin),
        ]
    }

    proptest! {
        /// The oracle keeps two lists, in the order of the last questions.
        #[test]
        fn it_stays_within_its_bytes_and_what_was_asked_for_once_the_longest_ago_goes_first(
            script in proptest::collection::vec(step(), 0..200),
        ) {
            let cache = Cache::new(MOST_BYTES);
            let (mut once, mut again) = (List::new(), List::new());
            let mut most = MOST_BYTES;
            let take = |list: &mut List, key| {
                let at = list.iter().position(|(known, _)| *known == key);
                at.map(|at| list.remove(at))
            };
            let held = |list: &[(u64, usize)]| {
                list.iter().map(|(_, bytes)| bytes + ENTRY_BYTES).sum::<usize>()
            };
            for step in script {
                match step {
                    Step::Get(key) => {
                        let known = take(&mut once, key).or_else(|| take(&mut again, key));
                        let found = cache.get::<usize>(&key).map(|bytes| *bytes);
                        prop_assert_eq!(found, known.map(|(_, bytes)| bytes));
                        again.extend(known);
                    }
                    Step::Put(key, bytes) => {
                        cache.put(key, Rc::new(bytes), bytes);
                        let was_again = take(&mut again, key).is_some();
                        take(&mut once, key);
                        let list = if was_again { &mut again } else { &mut once };
                        if bytes + ENTRY_BYTES <= most {
                            list.push((key, bytes));
                        }
                    }
                    Step::Remove(key) => {
                        cache.remove(&key);
                        take(&mut once, key);
                        take(&mut again, key);
                    }
                    Step::ForgetBelow(end) => {
                        cache.forget(|key| *key < end);
                        once.retain(|(known, _)| *known >= end);
                        again.retain(|(known, _)| *known >= end);
                    }
                    Step::KeepWithin(bytes) => {
                        cache.keep_within(bytes);
                        most = bytes;
                    }
                }
                while held(&again) > most / 5 * AGAIN_FIFTHS {
                    once.push(again.remove(0));
                }
                while held(&once) + held(&again) > most {
                    once.remove(0);
                }
                let kept = cache.0.borrow();
                prop_assert_eq!(kept.bytes, held(&once) + held(&again));
                prop_assert_eq!(kept.again_bytes, held(&again));
                let of = |again| kept.order.iter().filter(move |(place, _)| place.again == again);
                let keys = |list: &[(u64, usize)]| -> Vec<u64> {
                    list.iter().map(|(key, _)| *key).collect()
                };
                prop_assert_eq!(of(false).map(|(_, key)| *key).collect::<Vec<_>>(), keys(&once));
                prop_assert_eq!(of(true).map(|(_, key)| *key).collect::<Vec<_>>(), keys(&again));
                prop_assert_eq!(kept.entries.len(), kept.order.len());
            }
        }
    }
}
