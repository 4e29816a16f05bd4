//! What is kept and could be had again: a cache with one limit, in bytes as they are held, and one rule.
//!
//! # Rule
//! What was asked for once goes first, then what was asked for again, each the longest ago first
//! (segmented LRU; what was asked for again has [`AGAIN_FIFTHS`] of the room). So whoever asks for any
//! number of different things, each once, makes nothing costly that others ask for.
//!
//! Several caches may share a [`Room`]: where all of them hold too much, the one that holds most gives way.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::rc::{Rc, Weak};

/// What an entry takes besides what it holds: its key twice, and its places in two maps.
const ENTRY_BYTES: usize = 400;
/// So many fifths of the room are for what was asked for again.
const AGAIN_FIFTHS: usize = 4;

/// The cache; a clone is another handle of the same.
pub struct Cache<K>(Rc<RefCell<CacheEntries<K>>>);

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Cache(Rc::clone(&self.0))
    }
}

/// What some caches may hold together. A clone is another handle of the same.
#[derive(Clone, Default)]
pub struct Room(Rc<Shared>);

struct Shared {
    most_bytes: Cell<usize>,
    bytes: Cell<usize>,
    caches: RefCell<Vec<Weak<dyn GivesWay>>>,
}

impl Default for Shared {
    /// As much as each of them.
    fn default() -> Self {
        Shared {
            most_bytes: Cell::new(usize::MAX),
            bytes: Cell::default(),
            caches: RefCell::default(),
        }
    }
}

/// A cache that shares a room.
trait GivesWay {
    fn holds(&self) -> usize;
    fn give_way(&self, down_to_bytes: usize);
}

impl<K: Clone + Eq + Hash> GivesWay for RefCell<CacheEntries<K>> {
    fn holds(&self) -> usize {
        self.borrow().bytes
    }

    fn give_way(&self, down_to_bytes: usize) {
        self.borrow_mut().evict_down_to(down_to_bytes);
    }
}

impl Room {
    /// All caches may hold so many bytes from now on.
    pub fn keep_within(&self, most_bytes: usize) {
        self.0.most_bytes.set(most_bytes);
        self.stay_within(most_bytes);
    }

    /// What all of them hold.
    pub fn bytes(&self) -> usize {
        self.0.bytes.get()
    }

    /// All of them forget everything.
    pub fn give_up(&self) {
        self.stay_within(0);
    }

    /// The largest gives way, down to the next one at most, until all have room.
    fn stay_within(&self, most_bytes: usize) {
        while let over @ 1.. = self.bytes().saturating_sub(most_bytes) {
            let mut caches = self.0.caches.borrow_mut();
            caches.retain(|cache| cache.strong_count() > 0);
            let (mut largest, mut next_bytes) = (None, 0);
            for cache in caches.iter().filter_map(Weak::upgrade) {
                let bytes = cache.holds();
                match &largest {
                    Some((most, _)) if bytes <= *most => next_bytes = next_bytes.max(bytes),
                    _ => {
                        let before = largest.replace((bytes, cache));
                        next_bytes = before.map_or(next_bytes, |(bytes, _)| bytes);
                    }
                }
            }
            let Some((bytes, cache)) = largest.filter(|(bytes, _)| *bytes > 0) else {
                return;
            };
            // Of two that hold as much, one has to.
            let down_to_bytes = next_bytes.min(bytes - 1).max(bytes.saturating_sub(over));
            cache.give_way(down_to_bytes);
        }
    }

    fn changed(&self, was_bytes: usize, is_bytes: usize) {
        self.0.bytes.set(self.bytes() - was_bytes + is_bytes);
    }
}

struct CacheEntries<K> {
    room: Room,
    entries: HashMap<K, CacheEntry>,
    /// The keys in the order in which they go.
    order: BTreeMap<Standing, K>,
    turn: u64,
    bytes: usize,
    /// Of what was asked for again.
    again_bytes: usize,
    most_bytes: usize,
}

struct CacheEntry {
    value: Rc<dyn Any>,
    bytes: usize,
    place: Standing,
}

/// Whether it was asked for again, and when it was asked for last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    again: bool,
    turn: u64,
}

impl<K: Clone + Eq + Hash> Cache<K> {
    /// A cache that may take so many bytes.
    pub fn new(most_bytes: usize) -> Self
    where
        K: 'static,
    {
        Cache::within(&Room::default(), most_bytes)
    }

    /// One that may take so many bytes, and shares a room with others.
    pub fn within(room: &Room, most_bytes: usize) -> Self
    where
        K: 'static,
    {
        let kept = Rc::new(RefCell::new(CacheEntries {
            room: room.clone(),
            entries: HashMap::new(),
            order: BTreeMap::new(),
            turn: 0,
            bytes: 0,
            again_bytes: 0,
            most_bytes,
        }));
        let shares: Rc<dyn GivesWay> = Rc::<RefCell<CacheEntries<K>>>::clone(&kept);
        let mut caches = room.0.caches.borrow_mut();
        caches.retain(|cache| cache.strong_count() > 0);
        caches.push(Rc::downgrade(&shares));
        Cache(kept)
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

    /// Whether something is kept under a key.
    pub fn has(&self, key: &K) -> bool {
        self.0.borrow().entries.contains_key(key)
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
        let place = Standing { again, turn };
        kept.room.changed(0, bytes);
        kept.bytes += bytes;
        kept.again_bytes += if again { bytes } else { 0 };
        kept.order.insert(place, key.clone());
        let entry = CacheEntry {
            value,
            bytes,
            place,
        };
        kept.entries.insert(key, entry);
        kept.stay_within();
        let room = kept.room.clone();
        drop(kept);
        room.stay_within(room.0.most_bytes.get());
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

    /// Whether there is room for as much again as is held, here and in what it shares with others.
    pub fn is_half_empty(&self) -> bool {
        let kept = self.0.borrow();
        let most_of_all = kept.room.0.most_bytes.get();
        kept.bytes < kept.most_bytes / 2 && kept.room.bytes() < most_of_all / 2
    }
}

impl<K: Clone + Eq + Hash> CacheEntries<K> {
    /// Makes an entry the last to go of those that were asked for again, or once.
    fn move_to(&mut self, key: &K, again: bool) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        self.turn += 1;
        let turn = self.turn;
        let before = std::mem::replace(&mut entry.place, Standing { again, turn });
        self.again_bytes -= if before.again { entry.bytes } else { 0 };
        self.again_bytes += if again { entry.bytes } else { 0 };
        if let Some(key) = self.order.remove(&before) {
            self.order.insert(Standing { again, turn }, key);
        }
    }

    fn remove(&mut self, key: &K) -> Option<Standing> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.place);
        self.room.changed(entry.bytes, 0);
        self.bytes -= entry.bytes;
        self.again_bytes -= if entry.place.again { entry.bytes } else { 0 };
        Some(entry.place)
    }

    fn stay_within(&mut self) {
        const FIRST_AGAIN: Standing = Standing {
            again: true,
            turn: 0,
        };
        while self.again_bytes > self.most_bytes / 5 * AGAIN_FIFTHS
            && let Some((_, oldest)) = self.order.range(FIRST_AGAIN..).next()
        {
            let oldest = oldest.clone();
            self.move_to(&oldest, false);
        }
        self.evict_down_to(self.most_bytes);
    }

    fn evict_down_to(&mut self, most_bytes: usize) {
        while self.bytes > most_bytes
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.remove(&oldest);
        }
    }
}

impl<K> Drop for CacheEntries<K> {
    fn drop(&mut self) {
        self.room.changed(self.bytes, 0);
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

    #[test]
    fn of_caches_that_share_a_room_the_one_that_holds_most_gives_way() {
        const BYTES: usize = 1_000 - ENTRY_BYTES;
        let room = Room::default();
        let cache = || Cache::<u64>::within(&room, MOST_BYTES);
        let (busy, other, quiet) = (cache(), cache(), cache());
        let fill = |cache: &Cache<u64>| (0..100).for_each(|key| cache.put(key, Rc::new(()), BYTES));
        room.keep_within(10_000);
        fill(&busy);
        quiet.put(0, Rc::new(()), BYTES);
        assert_eq!((busy.bytes(), quiet.bytes()), (9_000, 1_000));
        fill(&other);
        let held = (busy.bytes(), other.bytes(), quiet.bytes());
        assert_eq!(held.2, 1_000, "who holds little keeps it");
        assert!(held.0.abs_diff(held.1) <= 1_000, "{held:?}");
        assert_eq!(held.0 + held.1 + held.2, room.bytes());
        assert!((9_000..=10_000).contains(&room.bytes()));
        drop(other);
        fill(&busy);
        assert_eq!((busy.bytes(), room.bytes()), (9_000, 10_000));
        room.give_up();
        assert_eq!((busy.bytes(), quiet.bytes(), room.bytes()), (0, 0, 0));
        fill(&busy);
        assert_eq!(busy.bytes(), 10_000, "it may hold as much as before");
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
