//! What boards know of catalogs.
//!
//! Boards of one instance that share a catalog know it together: what one of them was told serves all. Each
//! asks for itself, though: on the platform an object must not wait for what another one asked.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::set::{KeySet, PostKey, post_key};
use super::{FOLLOWED_BYTES, MAX_SETS_AT_ONCE, STALE_AFTER_MS};
use crate::cache::Cache;
use crate::filter::Members;
use crate::mutants::{self, Mutant};
use crate::wire::{
    CatalogEntry, CatalogNews, CatalogPosition, CatalogQuestion, CatalogSize, MAX_ASKED_ENTRIES,
    MAX_ASKED_IDS, MAX_KEPT_SETS, MatchRequest, PostChange, PostSet, Refusal,
};

/// Catalogs that an instance has copies of, some 200 bytes each besides what is cached. At the limit the one
/// that was heard from longest ago is forgotten.
const MAX_CATALOGS: usize = 4_096;
/// A set that no chart used for so long is not kept up to date any more.
const SET_IDLE_MS: u64 = 60_000;

/// What all boards of an instance know of all catalogs. A clone is another handle of the same.
#[derive(Clone)]
pub struct Catalogs(Rc<Followed>);

struct Followed {
    known: RefCell<BTreeMap<String, KnownCatalog>>,
    cache: Cache<PartKey>,
}

impl Default for Catalogs {
    fn default() -> Self {
        Catalogs::within(FOLLOWED_BYTES)
    }
}

impl Catalogs {
    /// With a limit on memory, in bytes.
    pub fn within(most_bytes: usize) -> Self {
        Catalogs(Rc::new(Followed {
            known: RefCell::default(),
            cache: Cache::new(most_bytes),
        }))
    }
}

/// What is kept of a catalog, and can be asked for again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum CatalogPart {
    Entry(String),
    Set(PostSet),
    /// Whether there is an entry of a post.
    IsKnown(PostKey),
    /// The posts of a filter, by their keys under a seed.
    Members(MatchRequest, [u8; 16]),
}

type PartKey = (Rc<str>, CatalogPart);

/// A set; `None` where it is too large to be sent.
type KeptSet = Option<KeySet>;

/// The posts of a filter, or why the catalog refused; and when it was asked.
struct KeptMembers {
    members: Result<Rc<Members>, Refusal>,
    asked_ms: u64,
}

/// A catalog's position and figures, as it was heard from last.
#[derive(Clone, Default)]
struct KnownCatalog {
    position: CatalogPosition,
    /// When the answered question was asked: later changes are not in it.
    asked_ms: u64,
    size: CatalogSize,
    hidden_posts: u64,
    damaged_rows: u64,
    /// Sets that were sent, and when a chart last used each.
    sets: BTreeMap<PostSet, u64>,
}

/// What a board knows of its catalog.
pub struct Follower {
    catalogs: Catalogs,
    catalog: Rc<str>,
    /// What was looked up in vain: the next question asks for it.
    wanted: RefCell<WantedParts>,
    /// How often something was looked up in vain.
    misses: Cell<u64>,
    /// What answers cost the catalog that no reader's turn was charged for yet.
    unpaid_postings: Cell<u64>,
}

#[derive(Default)]
struct WantedParts {
    sets: BTreeSet<PostSet>,
    entries: BTreeSet<String>,
    known: BTreeSet<String>,
    matching: Vec<MatchRequest>,
    /// Of what matches.
    seed: [u8; 16],
}

impl Follower {
    pub fn new(catalogs: &Catalogs, catalog: &str) -> Self {
        Follower {
            catalogs: catalogs.clone(),
            catalog: catalog.into(),
            wanted: RefCell::default(),
            misses: Cell::new(0),
            unpaid_postings: Cell::new(0),
        }
    }

    /// Of a catalog that is empty.
    pub fn of_nothing() -> Self {
        let follower = Follower::new(&Catalogs::default(), "");
        let question = CatalogQuestion::default();
        follower.take(&question, CatalogNews::default(), 0);
        follower
    }

    fn with_known<T>(&self, look: impl FnOnce(&mut KnownCatalog) -> T) -> Option<T> {
        let mut known = self.catalogs.0.known.borrow_mut();
        known.get_mut(&*self.catalog).map(look)
    }

    fn key(&self, part: CatalogPart) -> PartKey {
        (Rc::clone(&self.catalog), part)
    }

    fn cache(&self) -> &Cache<PartKey> {
        &self.catalogs.0.cache
    }

    /// The catalog's position as it is known; `None` where it was never heard from.
    pub fn position(&self) -> Option<CatalogPosition> {
        self.with_known(|known| known.position)
    }

    /// Where the clock went back, nobody knows how old the copy is, and whatever is said from now on is newer.
    pub fn clock_is(&self, now_ms: u64) {
        self.with_known(|known| {
            if now_ms < known.asked_ms {
                known.asked_ms = 0;
            }
        });
    }

    /// Whether the copy is at least as new as this time.
    pub fn was_asked_since(&self, since_ms: u64) -> bool {
        let asked_ms = self.with_known(|known| known.asked_ms);
        asked_ms.is_some_and(|asked_ms| asked_ms >= since_ms)
    }

    /// Whether the copy is less than [`STALE_AFTER_MS`] old.
    pub fn is_fresh(&self, now_ms: u64) -> bool {
        let asked_ms = self.with_known(|known| known.asked_ms);
        let age_ms = asked_ms.and_then(|asked_ms| now_ms.checked_sub(asked_ms));
        age_ms.is_some_and(|age_ms| age_ms < STALE_AFTER_MS)
    }

    /// Memory of the copies of all boards of the instance, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.cache().bytes()
    }

    /// How often something was looked up in vain so far. A chart during which this grows is incomplete.
    pub fn misses(&self) -> u64 {
        self.misses.get()
    }

    /// Entries of the index that the catalog read for this board, since the last call.
    pub fn postings_to_pay(&self) -> u64 {
        self.unpaid_postings.take()
    }

    /// Whether something is to be asked for.
    pub fn wants(&self) -> bool {
        let wanted = self.wanted.borrow();
        let is_empty = wanted.sets.is_empty() && wanted.entries.is_empty();
        !(is_empty && wanted.known.is_empty() && wanted.matching.is_empty())
    }

    fn miss(&self, note: impl FnOnce(&mut WantedParts)) {
        self.misses.set(self.misses.get() + 1);
        note(&mut self.wanted.borrow_mut());
    }

    /// How large the catalog was when it was heard from last, and how many rows it could not read.
    pub fn stands(&self) -> (CatalogSize, u64) {
        let stands = self.with_known(|known| (known.size, known.damaged_rows));
        stands.unwrap_or_default()
    }

    /// Whether the catalog describes any post. An entry that only hides its post does not count. `None` where that
    /// is not known.
    pub fn describes_posts(&self) -> Option<bool> {
        let describes = self.with_known(|known| known.size.described > 0);
        if describes.is_none() {
            self.miss(|_| ());
        }
        describes
    }

    /// Whether a post is hidden; `None` where that is not known.
    pub fn is_hidden(&self, post_id: &str) -> Option<bool> {
        let hidden_posts = self.with_known(|known| known.hidden_posts);
        if hidden_posts == Some(0) {
            return Some(false);
        }
        let set = self.set(PostSet::Hidden)?;
        // Of a set that is too large to be sent, which never happens, no post shows.
        let keys = set.as_ref().as_ref();
        Some(keys.is_none_or(|keys| keys.has(&post_key(post_id))))
    }

    /// Whether a post has an entry; `None` where that is not known.
    pub fn is_known(&self, post_id: &str) -> Option<bool> {
        let posts = self.with_known(|known| known.size.posts);
        match posts {
            Some(0) => return Some(false),
            Some(_) => {}
            None => {
                self.miss(|_| ());
                return None;
            }
        }
        let set = self.set(PostSet::Known)?;
        if let Some(keys) = &*set {
            return Some(keys.has(&post_key(post_id)));
        }
        // The set is too large to be sent: each post is asked for.
        let key = self.key(CatalogPart::IsKnown(post_key(post_id)));
        if let Some(is_known) = self.cache().get::<bool>(&key) {
            return Some(*is_known);
        }
        self.miss(|wanted| {
            if wanted.known.len() < MAX_ASKED_IDS {
                wanted.known.insert(post_id.to_owned());
            }
        });
        None
    }

    /// The entry of a post, if it has one; the outer `None` where that is not known.
    pub fn entry(&self, post_id: &str) -> Option<Rc<Option<CatalogEntry>>> {
        if self.with_known(|known| known.size.posts) == Some(0) {
            return Some(Rc::new(None));
        }
        let key = self.key(CatalogPart::Entry(post_id.to_owned()));
        let entry = self.cache().get(&key);
        if entry.is_none() {
            self.miss(|wanted| {
                if wanted.entries.len() < MAX_ASKED_ENTRIES {
                    wanted.entries.insert(post_id.to_owned());
                }
            });
        }
        entry
    }

    /// The posts of a filter, by their keys under a seed; `None` where they are not known.
    ///
    /// # Errors
    /// [`Refusal::FilterTooWide`]; [`Refusal::Busy`] where the catalog was building its index a moment ago.
    pub fn members(
        &self,
        request: &MatchRequest,
        seed: [u8; 16],
    ) -> Option<Result<Rc<Members>, Refusal>> {
        let key = self.key(CatalogPart::Members(request.clone(), seed));
        let kept = self.cache().get::<KeptMembers>(&key);
        if let Some(kept) = kept.filter(|kept| self.still_holds(kept)) {
            return Some(kept.members.clone());
        }
        self.miss(|wanted| {
            if wanted.seed != seed {
                wanted.matching.clear();
                wanted.seed = seed;
            }
            if wanted.matching.len() < MAX_SETS_AT_ONCE && !wanted.matching.contains(request) {
                wanted.matching.push(request.clone());
            }
        });
        None
    }

    /// Whether [`Follower::members`] has an answer. Asks for nothing where it has none.
    pub fn has_members(&self, request: &MatchRequest, seed: [u8; 16]) -> bool {
        let key = self.key(CatalogPart::Members(request.clone(), seed));
        let kept = self.cache().peek::<KeptMembers>(&key);
        kept.is_some_and(|kept| self.still_holds(&kept))
    }

    /// Whether a kept answer still counts: a [`Refusal::Busy`] counts until the next answer of the catalog.
    fn still_holds(&self, kept: &KeptMembers) -> bool {
        let is_busy = matches!(kept.members, Err(Refusal::Busy { .. }));
        !is_busy || Some(kept.asked_ms) == self.with_known(|known| known.asked_ms)
    }

    /// Looks up the sets that say which posts may show, so that the next question asks for those that are
    /// missing.
    pub fn look_at_sets(&self, only_known: bool) {
        let posts = self.with_known(|known| (known.hidden_posts, known.size.posts));
        let (hidden, posts) = posts.unwrap_or((1, 1));
        if hidden > 0 {
            self.set(PostSet::Hidden);
        }
        if only_known && posts > 0 {
            self.set(PostSet::Known);
        }
    }

    /// A set; the outer `None` where it is not known, the inner where it is too large to be sent.
    fn set(&self, set: PostSet) -> Option<Rc<KeptSet>> {
        let kept = self.cache().get(&self.key(CatalogPart::Set(set.clone())));
        match kept.is_some() {
            true => {
                self.with_known(|known| known.sets.insert(set, known.asked_ms));
            }
            false => self.miss(|wanted| {
                wanted.sets.insert(set);
            }),
        }
        kept
    }

    /// The next question: as much of what is wanted as one question may ask for.
    pub fn question(&self) -> CatalogQuestion {
        let mut wanted = self.wanted.take();
        let sets: Vec<PostSet> = (0..MAX_SETS_AT_ONCE)
            .map_while(|_| wanted.sets.pop_first())
            .collect();
        self.wanted.borrow_mut().sets = wanted.sets;
        let is_kept = |set: &PostSet| {
            let key = self.key(CatalogPart::Set(set.clone()));
            self.cache().peek::<KeptSet>(&key).is_some()
        };
        let known = self.with_known(|known| {
            let in_use = known.sets.iter().filter(|(set, looked_ms)| {
                known.asked_ms.saturating_sub(**looked_ms) < SET_IDLE_MS && is_kept(set)
            });
            let in_use = in_use.take(MAX_KEPT_SETS).map(|(set, _)| set.clone());
            (known.position, in_use.collect())
        });
        let (since, kept) = known.map_or((None, Vec::new()), |(since, kept)| (Some(since), kept));
        CatalogQuestion {
            since,
            kept,
            sets,
            entries: wanted.entries.into_iter().collect(),
            known: wanted.known.into_iter().collect(),
            matching: wanted.matching,
            seed: wanted.seed,
        }
    }

    /// Takes the answer to a question that was asked at this time. Returns `false` and drops an answer that
    /// another one has overtaken.
    pub fn take(&self, question: &CatalogQuestion, news: CatalogNews, asked_ms: u64) -> bool {
        let unpaid = self.unpaid_postings.get();
        self.unpaid_postings
            .set(unpaid.saturating_add(news.postings_read));
        let before = self.with_known(|known| (known.position, known.asked_ms));
        let position = before.map(|(position, _)| position);
        if position != Some(news.position) {
            let is_overtaken = before.is_some_and(|(_, heard_ms)| asked_ms < heard_ms);
            if question.since != position || is_overtaken {
                return false;
            }
            match news.changes.as_ref().filter(|_| position.is_some()) {
                Some(changes) => self.change(&question.kept, changes),
                None => self.forget(),
            }
        }
        self.put_known(&news, asked_ms);
        for (set, keys) in question.sets.iter().zip(&news.sets) {
            let keys: KeptSet = keys.as_deref().map(KeySet::of_bytes);
            self.put_set(set.clone(), keys);
        }
        for (post_id, entry) in question.entries.iter().zip(news.entries) {
            let texts = entry
                .as_ref()
                .map_or(0, |entry| entry.post_id.len() + entry.card.text_bytes());
            let bytes = size_of::<CatalogEntry>() + post_id.len() * 2 + texts;
            let key = self.key(CatalogPart::Entry(post_id.clone()));
            self.cache().put(key, Rc::new(entry), bytes);
        }
        for (request, matches) in question.matching.iter().zip(news.matching) {
            let damaged = Refusal::Invalid("keys of a filter that are none".into());
            let members = matches.and_then(|matches| matches.members().ok_or(damaged));
            let members = members.map(Rc::new);
            let bytes = members.as_ref().map_or(0, |members| members.heap_bytes());
            let bytes = bytes + 2 * request.filter.heap_bytes();
            let key = self.key(CatalogPart::Members(request.clone(), question.seed));
            let kept = KeptMembers { members, asked_ms };
            self.cache().put(key, Rc::new(kept), bytes);
        }
        for (post_id, is_known) in question.known.iter().zip(news.known) {
            let key = self.key(CatalogPart::IsKnown(post_key(post_id)));
            self.cache().put(key, Rc::new(is_known), 0);
        }
        true
    }

    fn put_known(&self, news: &CatalogNews, asked_ms: u64) {
        let mut catalogs = self.catalogs.0.known.borrow_mut();
        if !catalogs.contains_key(&*self.catalog) && catalogs.len() >= MAX_CATALOGS {
            let oldest = catalogs.iter().min_by_key(|(_, known)| known.asked_ms);
            if let Some(oldest) = oldest.map(|(catalog, _)| catalog.clone()) {
                catalogs.remove(&oldest);
                self.cache().forget(|(catalog, _)| **catalog == *oldest);
            }
        }
        let known = catalogs.entry(self.catalog.to_string()).or_default();
        known.position = news.position;
        known.asked_ms = known.asked_ms.max(asked_ms);
        known.size = news.size;
        known.hidden_posts = news.hidden_posts;
        known.damaged_rows = news.damaged_rows;
    }

    fn put_set(&self, set: PostSet, keys: KeptSet) {
        let bytes = keys.as_ref().map_or(0, KeySet::held_bytes);
        let key = self.key(CatalogPart::Set(set.clone()));
        self.cache().put(key, Rc::new(keys), bytes);
        self.with_known(|known| known.sets.insert(set, known.asked_ms));
    }

    /// Nothing is known any more but up to where.
    fn forget(&self) {
        self.cache().forget(|(catalog, _)| *catalog == self.catalog);
        self.with_known(|known| known.sets.clear());
    }

    /// These posts changed. Sets that are not among the kept ones were not told, and go, as do the posts of
    /// filters.
    fn change(&self, kept: &[PostSet], changes: &[PostChange]) {
        self.cache().forget(|(catalog, part)| {
            let is_of_filter = matches!(part, CatalogPart::Members(..));
            *catalog == self.catalog && is_of_filter && !mutants::active(Mutant::MembersKept)
        });
        let sets = self.with_known(|known| std::mem::take(&mut known.sets));
        for (set, looked_ms) in sets.unwrap_or_default() {
            let key = self.key(CatalogPart::Set(set.clone()));
            let bit = kept.iter().position(|it| *it == set);
            let had = self.cache().peek::<KeptSet>(&key);
            let (Some(bit), Some(had)) = (bit, had) else {
                self.cache().remove(&key);
                continue;
            };
            if let Some(keys) = &*had {
                let changed = keys.changed(changes, 1 << bit);
                self.put_set(set.clone(), Some(changed));
            }
            self.with_known(|known| known.sets.insert(set, looked_ms));
        }
        for change in changes {
            let post_id = &change.post_id;
            self.cache()
                .remove(&self.key(CatalogPart::Entry(post_id.clone())));
            // There are no changes of posts without an entry, and no entry ever goes.
            let key = self.key(CatalogPart::IsKnown(post_key(post_id)));
            if self.cache().peek::<bool>(&key).is_some() {
                self.cache().put(key, Rc::new(true), 0);
            }
        }
    }
}
