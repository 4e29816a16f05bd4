//! What is in charts and in no ladder yet: pending entries, and copies of what shards have not
//! sealed.
//!
//! Both stay encoded as they came. Charts need them merged by region and pane; that is done at
//! most once in [`LIVE_MAX_AGE_MS`], and copies by groups of shards ([`by_shards`]), so
//! the cost of a chart does not grow with the number of shards. What is not merged is decoded, and paid for, by
//! each question that reaches it: days and all of time, which only hold what is sent two weeks late, and
//! a scope whose merged panes would take more than [`MAX_SCOPE_BYTES`]. So who imports a year makes
//! nobody's chart of today costly.
//!
//! # No play is in it twice
//! An entry and a copy can hold the same play only where their spans and their ranges of commits
//! overlap ([`SealedPane`](crate::wire::SealedPane)). So taking an entry drops the copies that it
//! overlaps, and new copies drop old ones. Those of a push that comes late are not taken: see
//! [`Offsets::has_come_late`](super::offsets::Offsets::has_come_late).

mod by_shards;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::LIVE_MAX_AGE_MS;
use super::cache::{Cache, Key};
use super::merging::{Merging, PaneMerging, TooLarge};
use crate::mutants::{self, Mutant};
use crate::summary::{Seed, Summary};
use crate::topology::GLOBAL_SCOPE;
use crate::window::{Level, PaneKey, Span};
use crate::wire::ShardName;
use by_shards::ByShards;

/// Memory of a scope's merged panes: usually two minutes' with 8,192 counters each, 1 MB.
const MAX_SCOPE_BYTES: usize = 8 << 20;

/// A pane as it was sent.
pub struct SentPane {
    pub key: PaneKey,
    /// Of the plays' commits.
    pub first_seq: u64,
    pub last_seq: u64,
    /// An encoded summary that was decoded once, to check it.
    pub summary: Box<[u8]>,
    /// What it takes decoded.
    pub decoded_bytes: usize,
    /// How many plays it has.
    pub plays: u64,
}

impl SentPane {
    /// What it takes as it is, with what the allocator adds.
    pub fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.summary.len() + 16
    }

    /// What it takes decoded, where it is a day or all time.
    pub fn late_bytes(&self) -> usize {
        match is_merged(self) {
            true => 0,
            false => self.decoded_bytes,
        }
    }

    /// Whether it was sent as the other was.
    fn is_same(&self, other: &SentPane) -> bool {
        let of = |pane: &SentPane| (pane.key, pane.first_seq, pane.last_seq);
        of(self) == of(other) && self.summary == other.summary
    }

    /// Whether a play may be in both: its time is in both spans, its commit in both ranges.
    pub fn overlaps(&self, other: &SentPane) -> bool {
        let (a, b) = (self.key.span(), other.key.span());
        a.from_ms < b.to_ms
            && b.from_ms < a.to_ms
            && self.first_seq <= other.last_seq
            && other.first_seq <= self.last_seq
    }

    /// It was decoded when it was taken: this cannot fail, and must not panic.
    pub fn decode(&self, seed: Seed) -> Option<Rc<Summary>> {
        Summary::decode(&self.summary, seed).ok().map(Rc::new)
    }
}

/// Whether live panes of this kind are merged before anybody asks for them.
fn is_merged(pane: &SentPane) -> bool {
    pane.key.level < Level::Day
}

/// What is live of a pane, or a part of it.
pub enum LivePart<'a> {
    Merged(&'a Rc<Summary>),
    Sent(&'a SentPane),
}

/// The copies of what a shard has not sealed, as its last push brought them.
pub struct Copies {
    pub log_id: u128,
    pub panes: Vec<SentPane>,
    pub received_ms: u64,
    /// Some were dropped because there was no room, or entries are missing beside them.
    pub incomplete: bool,
}

/// Copies with what they take.
struct HeldCopies {
    copies: Copies,
    bytes: usize,
}

impl HeldCopies {
    fn new(copies: Copies) -> Self {
        let bytes = copies.panes.iter().map(SentPane::held_bytes).sum();
        HeldCopies { copies, bytes }
    }
}

/// What is live in a scope, merged at one moment.
struct LiveScope {
    merged_ms: u64,
    /// Tells this from what is merged of the scope later.
    version: u64,
    /// `None`: they take too much memory to be kept.
    panes: Option<Vec<(PaneKey, Rc<Summary>)>>,
    /// Of the world: which version of each region it was made of, if all are of this moment.
    regions: BTreeMap<String, u64>,
}

/// What is pending of a region, merged by pane.
struct MergedPending {
    /// How many of its entries are in it: the first.
    entries: usize,
    panes: Vec<(PaneKey, Rc<Summary>)>,
}

/// Everything that charts need besides the ladders.
#[derive(Default)]
pub struct Live {
    /// By region, in the order in which they came.
    pending: BTreeMap<String, Vec<SentPane>>,
    /// Bytes held of it, and what it would take merged by region and pane, about: of each as much as the
    /// largest part.
    pub pending_bytes: usize,
    pub pending_decoded_bytes: usize,
    /// The same of what is not merged: days, and all time.
    pub pending_late_bytes: usize,
    pub pending_since_ms: Option<u64>,
    /// What the largest part of each takes decoded, by pane and region.
    pending_panes: BTreeMap<PaneKey, BTreeMap<String, usize>>,
    copies: BTreeMap<ShardName, HeldCopies>,
    /// Since when nothing is missing of a region's shard of which something was.
    whole_since_ms: BTreeMap<String, u64>,
    copy_bytes: usize,
    by_shards: ByShards,
    versions: Cell<u64>,
    cache: Cache,
}

impl Live {
    /// What is merged goes into the cache.
    pub fn new(cache: Cache) -> Self {
        Live {
            cache,
            ..Live::default()
        }
    }

    /// Adds what was taken of a region's shard. Nothing but a gap may have been: then there is an
    /// offset to be stored.
    pub fn add_pending(&mut self, shard: &ShardName, panes: Vec<SentPane>, now_ms: u64) {
        self.pending_since_ms.get_or_insert(now_ms);
        if !mutants::active(Mutant::CopiesOutliveTheirEntries) {
            self.drop_copies_of(shard, &panes);
        }
        for pane in &panes {
            self.pending_bytes += pane.held_bytes();
            let regions = self.pending_panes.entry(pane.key).or_default();
            let largest = regions.entry(shard.0.clone()).or_default();
            self.pending_decoded_bytes += pane.decoded_bytes.saturating_sub(*largest);
            *largest = pane.decoded_bytes.max(*largest);
            self.pending_late_bytes += pane.late_bytes();
        }
        self.pending
            .entry(shard.0.clone())
            .or_default()
            .extend(panes);
    }

    /// Drops the copies of a shard that may hold plays of these entries.
    fn drop_copies_of(&mut self, shard: &ShardName, entries: &[SentPane]) {
        let is_taken = |copy: &SentPane| entries.iter().any(|entry| entry.overlaps(copy));
        let Some(held) = self.copies.get_mut(shard) else {
            return;
        };
        let taken = held.copies.panes.extract_if(.., |copy| is_taken(copy));
        let taken: Vec<SentPane> = taken.collect();
        let bytes = taken.iter().map(SentPane::held_bytes).sum::<usize>();
        held.bytes -= bytes;
        self.copy_bytes -= bytes;
        self.changed(shard, taken.iter().map(|copy| copy.key));
    }

    /// A shard's copies of these panes have gone, or are others.
    fn changed(&self, shard: &ShardName, panes: impl IntoIterator<Item = PaneKey>) {
        let copies = self.copies_of_shard(&shard.0, shard.1);
        let merged = panes.into_iter().filter(|pane| pane.level < Level::Day);
        for pane in merged {
            let has_some = copies.iter().any(|copy| copy.key == pane);
            (self.by_shards).replaced(&self.cache, shard, pane, has_some);
        }
    }

    /// Takes the copies of a push in place of the last ones, after its entries.
    ///
    /// Of the last copies those stay that no new one overlaps, as long as entries are missing: their
    /// panes are sealed meanwhile and not taken yet. Says whether they are others than before.
    pub fn take_copies(
        &mut self,
        shard: &ShardName,
        mut copies: Copies,
        are_entries_missing: bool,
        is_pulled: bool,
    ) -> bool {
        let added = mutants::active(Mutant::ProvisionalAdded)
            || is_pulled && mutants::active(Mutant::PulledAdded);
        let last = self.copies.remove(shard);
        let was_incomplete = last.as_ref().is_some_and(|last| last.copies.incomplete);
        let new = copies.panes.len();
        let last_bytes = last.as_ref().map_or(0, |last| last.bytes);
        let stays = last.as_ref().is_some_and(|last| {
            last.copies.log_id == copies.log_id && are_entries_missing || added
        });
        let last = last.map(|last| last.copies);
        copies.incomplete |= stays && was_incomplete;
        let last = last.map_or(Vec::new(), |last| last.panes);
        let is_in = |panes: &[SentPane], copy: &SentPane| panes.iter().any(|it| it.is_same(copy));
        let others = copies.panes.iter().filter(|copy| !is_in(&last, copy));
        let mut changed: BTreeSet<PaneKey> = others.map(|copy| copy.key).collect();
        for pane in last {
            let fresh = copies.panes.get(..new).unwrap_or_default();
            if stays && (added || !fresh.iter().any(|copy| copy.overlaps(&pane))) {
                copies.panes.push(pane);
            } else if !is_in(fresh, &pane) {
                changed.insert(pane.key);
            }
        }
        self.copy_bytes -= last_bytes;
        if was_incomplete && !copies.incomplete {
            self.nothing_missing_since(shard, copies.received_ms);
        }
        let held = HeldCopies::new(copies);
        self.copy_bytes += held.bytes;
        self.copies.insert(shard.clone(), held);
        // What was merged of the others serves on.
        let are_others = !changed.is_empty();
        self.changed(shard, changed);
        are_others
    }

    /// Drops copies until they take at most so much: of the shard that has most of them first.
    pub fn drop_copies_over(&mut self, most_bytes: usize) {
        while self.copy_bytes > most_bytes {
            let all = self.copies.iter_mut();
            let Some((shard, largest)) = all.max_by_key(|(_, held)| held.bytes) else {
                return;
            };
            let bytes = std::mem::take(&mut largest.bytes);
            if bytes == 0 {
                return;
            }
            self.copy_bytes -= bytes;
            let dropped = std::mem::take(&mut largest.copies.panes);
            largest.copies.incomplete = !mutants::active(Mutant::CopiesDroppedInSilence);
            let shard = shard.clone();
            self.changed(&shard, dropped.iter().map(|copy| copy.key));
        }
    }

    pub fn copy_bytes(&self) -> usize {
        self.copy_bytes
    }

    /// Bytes of pending entries and copies.
    pub fn held_bytes(&self) -> usize {
        self.pending_bytes + self.copy_bytes
    }

    /// What is pending, by pane and then by region.
    pub fn pending_by_pane(&self) -> BTreeMap<(PaneKey, &str), Vec<&SentPane>> {
        let mut by_pane: BTreeMap<(PaneKey, &str), Vec<&SentPane>> = BTreeMap::new();
        for (region_id, panes) in &self.pending {
            for pane in panes {
                by_pane.entry((pane.key, region_id)).or_default().push(pane);
            }
        }
        by_pane
    }

    /// How many different spans are pending, and of how many regions.
    pub fn pending_spans_and_regions(&self) -> (usize, usize) {
        (self.pending_panes.len(), self.pending.len())
    }

    /// The spans of all that is live; without all of time, in which no part of it is found.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        let held = self.copies.values();
        let copies = held.flat_map(|held| held.copies.panes.iter().map(|pane| &pane.key));
        let keys = self.pending_panes.keys().chain(copies);
        keys.filter(|key| key.level != Level::All)
            .map(|key| key.span())
    }

    /// The regions that something is pending of.
    pub fn pending_regions(&self) -> Vec<String> {
        self.pending.keys().cloned().collect()
    }

    /// What was pending is in the ladders now.
    pub fn folded(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
        self.pending_decoded_bytes = 0;
        self.pending_late_bytes = 0;
        self.pending_panes.clear();
        self.pending_since_ms = None;
        // Merged panes that hold what is in the ladders too would count it twice.
        self.forget_merged();
    }

    /// What is live of scopes is merged anew for the next that ask: they waited for what has come.
    pub fn forget_scopes(&self) {
        self.cache.forget(|key| matches!(key, Key::Live(_)));
    }

    fn forget_merged(&self) {
        self.cache
            .forget(|key| matches!(key, Key::Live(_) | Key::Pending(_)));
    }

    /// Notes that nothing of a shard is missing any more that was missing until now.
    pub fn nothing_missing_since(&mut self, shard: &ShardName, now_ms: u64) {
        self.whole_since_ms.insert(shard.0.clone(), now_ms);
    }

    /// Whether something of a scope is not in its charts: copies were dropped, or entries are missing.
    /// What was merged before they came serves for a while.
    pub fn is_incomplete(&self, scope: &str, now_ms: u64) -> bool {
        let mut whole = self.whole_since_ms.iter();
        self.copies_of(scope).any(|(_, copies)| copies.incomplete)
            || whole.any(|(region_id, since_ms)| {
                let in_scope = scope == GLOBAL_SCOPE || region_id == scope;
                in_scope && now_ms.saturating_sub(*since_ms) < 2 * LIVE_MAX_AGE_MS
            })
    }

    /// The shards of a scope that have told of something, with their last copies.
    pub fn copies_of<'a>(
        &'a self,
        scope: &'a str,
    ) -> impl Iterator<Item = (&'a ShardName, &'a Copies)> {
        let all = scope == GLOBAL_SCOPE;
        let first = (if all { "" } else { scope }.to_owned(), 0);
        let copies = self.copies.range(first..);
        let in_scope = copies.take_while(move |(shard, _)| all || shard.0 == scope);
        in_scope.map(|(shard, held)| (shard, &held.copies))
    }

    /// Hands what is live in a scope to `add`.
    pub fn visit(
        &self,
        scope: &str,
        seed: Seed,
        now_ms: u64,
        add: &mut impl FnMut(PaneKey, LivePart<'_>),
    ) {
        let merged = self.merged(scope, seed, now_ms);
        for (key, pane) in merged.panes.iter().flatten() {
            add(*key, LivePart::Merged(pane));
        }
        let are_apart = |pane: &SentPane| merged.panes.is_none() || !is_merged(pane);
        if scope != GLOBAL_SCOPE {
            let apart = self.sent_of(scope).filter(|pane| are_apart(pane));
            return apart.for_each(|pane| add(pane.key, LivePart::Sent(pane)));
        }
        for region_id in self.regions() {
            if merged.panes.is_none() {
                self.visit(&region_id, seed, now_ms, add);
                continue;
            }
            let apart = self.sent_of(&region_id).filter(|pane| are_apart(pane));
            apart.for_each(|pane| add(pane.key, LivePart::Sent(pane)));
        }
    }

    /// Whether something is live of a scope in a span.
    pub fn is_within(&self, scope: &str, span: Span) -> bool {
        let is_within = |region_id: &str| {
            let mut sent = self.sent_of(region_id);
            sent.any(|pane| span.contains(pane.key.span()))
        };
        match scope {
            GLOBAL_SCOPE => self.regions().iter().any(|region_id| is_within(region_id)),
            region_id => is_within(region_id),
        }
    }

    /// Everything of a region as it was sent.
    fn sent_of<'a>(&'a self, region_id: &'a str) -> impl Iterator<Item = &'a SentPane> {
        let pending = self.pending.get(region_id).into_iter().flatten();
        pending.chain((self.copies_of(region_id)).flat_map(|(_, copies)| &copies.panes))
    }

    /// What a region's panes take merged, about: each as much as its largest part, or more.
    fn merged_bytes(&self, region_id: &str) -> usize {
        let mut largest: BTreeMap<PaneKey, usize> = BTreeMap::new();
        for pane in self.sent_of(region_id).filter(|pane| is_merged(pane)) {
            let bytes = largest.entry(pane.key).or_default();
            *bytes = pane.decoded_bytes.max(*bytes);
        }
        largest.into_values().sum()
    }

    /// What is live in a scope, merged from all shards of its regions at most [`LIVE_MAX_AGE_MS`] ago.
    fn merged(&self, scope: &str, seed: Seed, now_ms: u64) -> Rc<LiveScope> {
        let key = Key::Live(scope.to_owned());
        if let Some(known) = self.cache.get::<LiveScope>(&key)
            && now_ms.saturating_sub(known.merged_ms) < LIVE_MAX_AGE_MS
            && known.merged_ms <= now_ms
        {
            return known;
        }
        let mut regions = BTreeMap::new();
        let limit = MAX_SCOPE_BYTES.min(self.cache.most_bytes().max(1 << 20));
        let mut merging = PaneMerging::new(seed, limit);
        let merged = if scope == GLOBAL_SCOPE {
            self.merge_regions(&mut merging, &mut regions, seed, now_ms)
        } else {
            match self.merged_bytes(scope) > limit {
                true => Err(TooLarge),
                false => self.merge_region(&mut merging, scope, seed),
            }
        };
        let panes = merged.is_ok().then(|| merging.finish());
        let (panes, bytes) = panes.unzip();
        self.versions.set(self.versions.get() + 1);
        let merged = Rc::new(LiveScope {
            merged_ms: now_ms,
            version: self.versions.get(),
            panes,
            regions,
        });
        let bytes = bytes.unwrap_or_default();
        self.cache.put(key, Rc::clone(&merged), bytes);
        merged
    }

    /// What is pending of a region, by pane. Each entry is decoded and merged once, however often charts
    /// are asked for until all of it is folded, and not again for that.
    fn merged_pending(&self, region_id: &str, seed: Seed) -> Result<Rc<MergedPending>, TooLarge> {
        let key = Key::Pending(region_id.to_owned());
        let pending = self.pending.get(region_id).map_or(&[][..], Vec::as_slice);
        let known = self.cache.get::<MergedPending>(&key);
        if let Some(known) = &known
            && known.entries == pending.len()
        {
            return Ok(Rc::clone(known));
        }
        let mut merging = PaneMerging::of_sealed(seed, MAX_SCOPE_BYTES);
        let (merged, new) = match &known {
            Some(known) => (&known.panes[..], pending.get(known.entries..)),
            None => (&[][..], Some(pending)),
        };
        for (key, summary) in merged {
            merging.add(*key, Rc::clone(summary))?;
        }
        for pane in new
            .unwrap_or_default()
            .iter()
            .filter(|pane| is_merged(pane))
        {
            if let Some(summary) = pane.decode(seed) {
                merging.add(pane.key, summary)?;
            }
        }
        let (panes, bytes) = merging.finish();
        let entries = pending.len();
        let merged = Rc::new(MergedPending { entries, panes });
        self.cache.put(key, Rc::clone(&merged), bytes);
        Ok(merged)
    }

    /// What is pending of a region and pane, in one, to be folded.
    pub fn merged_entries(
        &self,
        (region_id, pane): (&str, PaneKey),
        entries: &[&SentPane],
        seed: Seed,
    ) -> Rc<Summary> {
        let key = Key::Pending(region_id.to_owned());
        let known = self.cache.peek::<MergedPending>(&key);
        let pending = self.pending.get(region_id).map_or(0, Vec::len);
        if let Some(known) = known.filter(|known| known.entries == pending)
            && let Some((_, merged)) = known.panes.iter().find(|(key, _)| *key == pane)
        {
            return Rc::clone(merged);
        }
        let mut decoded = entries.iter().filter_map(|entry| entry.decode(seed));
        if entries.len() == 1
            && let Some(only) = decoded.next()
        {
            return only;
        }
        let mut merging = Merging::new(seed);
        decoded.for_each(|summary| merging.add(&summary));
        Rc::new(merging.finish_sealed(pane))
    }

    fn merge_region(
        &self,
        merging: &mut PaneMerging,
        region_id: &str,
        seed: Seed,
    ) -> Result<(), TooLarge> {
        for (key, summary) in &self.merged_pending(region_id, seed)?.panes {
            merging.add(*key, Rc::clone(summary))?;
        }
        let copies = |shard| self.copies_of_shard(region_id, shard);
        let add = |key, summary| merging.add(key, summary);
        (self.by_shards).visit(&self.cache, region_id, seed, copies, add)
    }

    fn merge_regions(
        &self,
        merging: &mut PaneMerging,
        versions: &mut BTreeMap<String, u64>,
        seed: Seed,
        now_ms: u64,
    ) -> Result<(), TooLarge> {
        for region_id in self.regions() {
            let region = self.merged(&region_id, seed, now_ms);
            for (key, summary) in region.panes.as_ref().ok_or(TooLarge)? {
                merging.add(*key, Rc::clone(summary))?;
            }
            if region.merged_ms == now_ms {
                versions.insert(region_id, region.version);
            }
        }
        Ok(())
    }

    /// What is kept of a scope, if anything is.
    fn kept(&self, scope: &str) -> Option<Rc<LiveScope>> {
        self.cache.peek(&Key::Live(scope.to_owned()))
    }

    /// Sees to it that every region and the world show the same moment, at `now_ms` or up to
    /// [`LIVE_MAX_AGE_MS`] before, unless they take too much memory to be kept. To be asked before several
    /// scopes are read.
    pub fn align(&self, seed: Seed, now_ms: u64) {
        let world = self.merged(GLOBAL_SCOPE, seed, now_ms);
        if world.panes.is_none() {
            return;
        }
        let is_of_it = |(region_id, version): (&String, &u64)| {
            (self.kept(region_id)).is_some_and(|region| region.version == *version)
        };
        let is_whole = world.regions.len() == self.regions().len();
        if !(is_whole && world.regions.iter().all(is_of_it)) {
            self.forget_merged();
        }
    }

    /// When what is live in a scope was merged that serves its charts now.
    pub fn merged_ms(&self, scope: &str, now_ms: u64) -> u64 {
        let kept = self.kept(scope).filter(|kept| kept.panes.is_some());
        kept.map_or(now_ms, |kept| kept.merged_ms)
    }

    fn copies_of_shard(&self, region_id: &str, shard: u32) -> &[SentPane] {
        let copies = self.copies.get(&(region_id.to_owned(), shard));
        copies.map_or(&[], |held| &held.copies.panes)
    }

    /// A shard's last copies, by pane and first commit.
    pub fn last_copies(&self, shard: &ShardName) -> BTreeMap<(PaneKey, u64), &SentPane> {
        let held = self.copies.get(shard).into_iter();
        let panes = held.flat_map(|held| &held.copies.panes);
        panes
            .map(|pane| ((pane.key, pane.first_seq), pane))
            .collect()
    }

    fn regions(&self) -> Vec<String> {
        let with_copies = self.copies.keys().map(|(region_id, _)| region_id);
        let mut regions: Vec<String> = self.pending.keys().chain(with_copies).cloned().collect();
        regions.sort_unstable();
        regions.dedup();
        regions
    }
}
