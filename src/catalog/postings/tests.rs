//! Against a catalog that is looked through, post by post.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::catalog::{CatalogLimits, Keeper};
use crate::filter::hour_of;
use crate::storage::MemoryStorage;
use crate::wire::{PostPatch, PutPosts};

const SEED: Seed = Seed::from_bytes([5; 16]);
const NOW_MS: u64 = 20_000 * 24 * 3_600_000 + 5_000;
const HOUR_MS: u64 = 3_600_000;

/// The entries as they should be, and a catalog of them.
struct World {
    storage: MemoryStorage,
    catalog: Keeper,
    entries: BTreeMap<String, CatalogEntry>,
    block_entries: usize,
}

/// Ids of all kinds: short, of 16 bytes, longer ones that begin alike.
fn id(number: usize) -> String {
    match number % 4 {
        0 => format!("{number}"),
        1 => format!("post {number:011}"),
        2 => format!("https://example.com/articles/{number}"),
        _ => format!("é{number}"),
    }
}

impl World {
    fn new(block_entries: usize) -> Self {
        let storage = MemoryStorage::new();
        let catalog = Keeper::load(&storage, CatalogLimits::default(), 1).unwrap();
        let mut world = World {
            storage,
            catalog,
            entries: BTreeMap::new(),
            block_entries,
        };
        world.load(SEED);
        world
    }

    fn postings(&mut self) -> &mut Postings {
        self.catalog.postings.as_mut().unwrap()
    }

    fn load(&mut self, seed: Seed) {
        self.catalog = Keeper::load(&self.storage, CatalogLimits::default(), 1).unwrap();
        self.catalog.index_under(&self.storage, seed).unwrap();
        self.postings().block_entries = self.block_entries;
    }

    fn put(&mut self, patches: Vec<PostPatch>) {
        let request = PutPosts {
            patches,
            only_new: false,
        };
        self.catalog.put(&self.storage, &request, 1).unwrap();
        for patch in request.patches {
            let entry = self.storage.get(Table::Posts, patch.post_id.as_bytes());
            let entry = codec::decode(&entry.unwrap().unwrap()).unwrap();
            self.entries.insert(patch.post_id, entry);
        }
    }

    fn build(&mut self) {
        for _ in 0..1_000 {
            if self.catalog.build_step(&self.storage).unwrap() {
                return;
            }
        }
        panic!("building does not end");
    }

    fn matching(&self, filter: &Filter) -> Result<Members, Refusal> {
        let (filter, hour) = (filter.clone(), hour_of(NOW_MS));
        self.catalog
            .matching(&self.storage, SEED, &MatchRequest { filter, hour })
    }

    /// Looks through all entries.
    fn check(&self, filter: &Filter) {
        let keys = IdKeys::new(SEED);
        let is_one = |entry: &CatalogEntry| {
            let has = |tag: &String| entry.card.tags.contains(tag);
            let from_ms = filter.published_hours.map(|hours| {
                (NOW_MS - NOW_MS % HOUR_MS).saturating_sub(u64::from(hours) * HOUR_MS)
            });
            let to_ms = NOW_MS - NOW_MS % HOUR_MS + HOUR_MS;
            filter.tags.iter().all(has)
                && !filter.excluded_tags.iter().any(has)
                && (filter.author.is_none() || entry.card.author == filter.author)
                && from_ms.is_none_or(|from_ms| {
                    entry
                        .timestamp_ms
                        .is_some_and(|ms| (from_ms..to_ms).contains(&ms))
                })
        };
        let members = self.matching(filter).unwrap();
        let excludes_only =
            filter.tags.is_empty() && filter.author.is_none() && filter.published_hours.is_none();
        assert_eq!(matches!(members, Members::AllBut(_)), excludes_only);
        for (post_id, entry) in &self.entries {
            let has = members.has(keys.key_of(post_id));
            // Hidden ones are in no block; who lists all but some looks whether they are hidden.
            let expected = is_one(entry) && (!entry.hidden || excludes_only);
            let is_hidden_and_open = entry.hidden && excludes_only;
            assert!(
                has == expected || is_hidden_and_open,
                "{post_id}: {entry:?}, {filter:?}"
            );
        }
        assert_eq!(members.has(keys.key_of("never put")), excludes_only);
    }

    /// The blocks are those that would be made of the entries.
    fn check_blocks(&self) {
        let mut expected: BTreeMap<Vec<u8>, BTreeMap<[u8; 16], u32>> = BTreeMap::new();
        let keys = IdKeys::new(SEED);
        for (post_id, entry) in &self.entries {
            for term in terms_of(entry) {
                let of_term = expected.entry(term).or_default();
                of_term.insert(keys.key_of(post_id).to_bytes(), minute_of(entry));
            }
        }
        let mut found: BTreeMap<Vec<u8>, BTreeMap<[u8; 16], u32>> = BTreeMap::new();
        let mut lasts: BTreeMap<Vec<u8>, IdKey> = BTreeMap::new();
        let rows = self
            .storage
            .scan(Table::Postings, &[], &[], usize::MAX)
            .unwrap();
        for (row_key, value) in rows {
            let (term, name) = row_key.split_last_chunk::<16>().unwrap();
            let entries = decode(&value).unwrap();
            assert!(!entries.is_empty() && entries.len() <= self.block_entries);
            assert!(entries.is_sorted_by(|a, b| a.key < b.key));
            assert!(entries.last().unwrap().key.to_bytes() <= *name);
            assert!(lasts.get(term).is_none_or(|last| *last < entries[0].key));
            lasts.insert(term.to_vec(), entries.last().unwrap().key);
            let of_term = found.entry(term.to_vec()).or_default();
            of_term.extend(
                entries
                    .iter()
                    .map(|entry| (entry.key.to_bytes(), entry.minute)),
            );
        }
        assert_eq!(found, expected);
    }
}

fn tag(number: usize) -> String {
    ["jazz", "a", "日本", "e\u{301}", "\u{e9}", "__proto__"][number % 6].to_owned()
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<PostPatch>),
    Load,
    Reseed,
    DamageBlocks,
    DamageEntries(usize),
}

fn patch() -> impl Strategy<Value = PostPatch> {
    let tags = proptest::collection::btree_set(0..6_usize, 0..4);
    let tags = tags.prop_map(|tags| {
        let tags: BTreeSet<String> = tags.into_iter().map(tag).collect();
        tags.into_iter().collect::<Vec<_>>()
    });
    let author = proptest::option::of((0..3_usize).prop_map(|author| format!("author {author}")));
    // Around both ends of an hour, a day, a week, and far away.
    let moment = prop_oneof![
        (0..60_u64 * 24 * 9).prop_map(|minutes| NOW_MS - minutes * 60_000),
        (0..7_200_000_u64).prop_map(|ms| NOW_MS + ms),
        Just(0),
        Just(u64::MAX),
    ];
    let hidden = prop_oneof![6 => Just(None), 1 => Just(Some(true)), 2 => Just(Some(false))];
    let fields = (
        0..60_usize,
        proptest::option::weighted(0.8, tags),
        proptest::option::of(author),
        proptest::option::of(proptest::option::of(moment)),
        hidden,
        proptest::bool::weighted(0.1),
    );
    fields.prop_map(
        |(number, tags, author, timestamp_ms, hidden, erases)| match erases {
            true => PostPatch::erasing(id(number)),
            false => PostPatch {
                post_id: id(number),
                tags,
                author,
                timestamp_ms,
                hidden,
                ..PostPatch::default()
            },
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => proptest::collection::vec(patch(), 1..40).prop_map(Step::Put),
        1 => Just(Step::Load),
        1 => Just(Step::Reseed),
        1 => Just(Step::DamageBlocks),
        1 => (0..60_usize).prop_map(Step::DamageEntries),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let tags = |most| proptest::collection::vec((0..6_usize).prop_map(tag), 0..=most);
    let author =
        proptest::option::weighted(0.3, (0..4_usize).prop_map(|it| format!("author {it}")));
    let published = proptest::option::of(prop_oneof![Just(1), Just(24), Just(167), Just(9_600)]);
    let fields = (tags(3), tags(2), author, published);
    fields.prop_filter_map(
        "contradicts itself",
        |(tags, excluded, author, published)| {
            let filter = Filter::new(tags, excluded, author, published).ok()?;
            (!filter.is_empty()).then_some(filter)
        },
    )
}

proptest! {
    #[test]
    fn a_filter_finds_what_a_look_at_every_post_finds_whatever_was_put_or_damaged(
        steps in proptest::collection::vec(step(), 1..12),
        filters in proptest::collection::vec(filter(), 1..12),
    ) {
        let mut world = World::new(16);
        for step in steps {
            match step {
                Step::Put(patches) => world.put(patches),
                Step::Load => world.load(SEED),
                Step::Reseed => {
                    world.load(Seed::from_bytes([6; 16]));
                    world.load(SEED);
                }
                Step::DamageBlocks => world.storage.damage(Table::Postings, |value| {
                    value.pop();
                }),
                Step::DamageEntries(number) => {
                    let post_id = id(number);
                    let key = post_id.as_bytes();
                    if world.entries.contains_key(&post_id) {
                        let damaged = Write::put(Table::Posts, key, vec![1, 2, 3]);
                        world.storage.write(&[damaged]).unwrap();
                        world.load(SEED);
                        // The damage is found when the entry is put anew.
                        let tags = Some(vec![tag(number)]);
                        world.put(vec![PostPatch { post_id, tags, ..PostPatch::default() }]);
                    }
                }
            }
        }
        // Damage that nobody has met shows with the first question.
        let every_term = Filter { published_hours: Some(9_600), ..Filter::default() };
        for filter in filters.iter().chain([&every_term]) {
            let _ = world.matching(filter);
        }
        if world.catalog.is_to_be_built() {
            prop_assert_eq!(world.matching(&every_term), Err(Refusal::Busy { retry_after_s: 2 }));
        }
        world.build();
        for filter in &filters {
            if let Err(Refusal::Busy { .. }) = world.matching(filter) {
                world.build();
            }
            world.check(filter);
        }
    }

    #[test]
    fn blocks_are_those_of_the_entries_and_no_more_than_they_need(
        puts in proptest::collection::vec(proptest::collection::vec(patch(), 1..60), 1..20),
    ) {
        let mut world = World::new(16);
        for patches in puts {
            world.put(patches);
            world.check_blocks();
        }
        // All that had a tag lose it.
        let ids: Vec<String> = world.entries.keys().cloned().collect();
        for post_id in ids {
            world.put(vec![PostPatch::erasing(post_id)]);
        }
        world.check_blocks();
        assert_eq!(world.storage.len(Table::Postings), 0);
    }

    #[test]
    fn what_is_put_while_blocks_are_built_is_in_them(
        before in proptest::collection::vec(patch(), 1..60),
        during in proptest::collection::vec(patch(), 1..60),
        filters in proptest::collection::vec(filter(), 1..6),
        stops in 1..4_usize,
    ) {
        let mut world = World::new(16);
        // So many that building takes several steps.
        let many = (0..3 * BUILT_POSTS).map(|number| PostPatch {
            post_id: format!("{number:05}"),
            tags: Some(vec!["many".into()]),
            ..PostPatch::default()
        });
        world.put(many.chain(before).collect());
        world.storage.write(&[Write::delete(Table::Meta, POSTINGS_HEAD_KEY)]).unwrap();
        world.load(SEED);
        for patch in during {
            for _ in 0..stops {
                world.catalog.build_step(&world.storage).unwrap();
            }
            world.put(vec![patch]);
        }
        world.build();
        world.check_blocks();
        filters.iter().for_each(|filter| world.check(filter));
    }
}

fn tagged(numbers: Range<usize>, tags: &[&str]) -> Vec<PostPatch> {
    let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let patches = numbers.map(|number| PostPatch {
        post_id: id(number),
        tags: Some(tags.clone()),
        ..PostPatch::default()
    });
    patches.collect()
}

fn of_tags(tags: &[&str], excluded: &[&str]) -> Filter {
    let owned = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect();
    Filter::new(owned(tags), owned(excluded), None, None).unwrap()
}

#[test]
fn a_filter_of_too_many_posts_is_refused_and_one_of_fewer_of_them_is_not() {
    let mut world = World::new(BLOCK_ENTRIES);
    for from in (0..MAX_MEMBERS + 1).step_by(10_000) {
        world.put(tagged(from..(from + 10_000).min(MAX_MEMBERS + 1), &["all"]));
    }
    world.put(tagged(5..105, &["all", "some"]));
    for filter in [of_tags(&["all"], &[]), of_tags(&[], &["all"])] {
        assert_eq!(world.matching(&filter), Err(Refusal::FilterTooWide));
    }
    world.check(&of_tags(&["all", "some"], &[]));
    world.check(&of_tags(&["all"], &["some"]));
    let read = world.postings().entries_read();
    world.check(&of_tags(&["some"], &["all"]));
    let read = world.postings().entries_read() - read;
    assert!(
        read < 100 + 101 * BLOCK_ENTRIES as u64,
        "{read}: not all blocks of the larger one"
    );
    world.put(tagged(0..1, &[]));
    world.check(&of_tags(&["all"], &[]));
    // As many rows as are needed.
    let rows = world.storage.len(Table::Postings);
    assert!(rows < 2 * MAX_MEMBERS / BLOCK_ENTRIES, "{rows}");
}

#[test]
fn a_hundred_thousand_tags_are_a_row_each_and_found() {
    let mut world = World::new(BLOCK_ENTRIES);
    for from in (0..100_000).step_by(10_000) {
        let patches = (from..from + 10_000).map(|number| PostPatch {
            post_id: id(number % 20_000),
            tags: Some(
                (0..5)
                    .map(|at| format!("tag {}", number % 20_000 * 5 + at))
                    .collect(),
            ),
            ..PostPatch::default()
        });
        world.put(patches.collect());
    }
    assert_eq!(world.storage.len(Table::Postings), 100_000);
    let read = world.postings().entries_read();
    world.check(&of_tags(&["tag 99999"], &[]));
    world.check(&of_tags(&["tag 99995", "tag 99999"], &[]));
    world.check(&of_tags(&["tag 7"], &["tag 99999"]));
    world.check(&of_tags(&["nobody has it"], &[]));
    assert!(world.postings().entries_read() - read < 10);
}

#[test]
fn what_changes_nothing_of_its_terms_writes_no_block() {
    let mut world = World::new(BLOCK_ENTRIES);
    let patches = tagged(0..1_000, &["a", "b"]);
    world.put(patches.clone());
    world.postings().is_head_stored = true;
    let mut changes = TermChanges::default();
    let entry = world.entries[&id(7)].clone();
    let postings = world.catalog.postings.as_ref().unwrap();
    postings.note(&mut changes, Some(&entry), &entry);
    let written = postings.writes(&world.storage, &changes).unwrap();
    assert!(written.writes.is_empty());
}

#[test]
fn an_erased_post_is_in_no_block_also_where_its_entry_could_not_be_read() {
    let mut world = World::new(BLOCK_ENTRIES);
    world.put(tagged(0..10, &["a"]));
    let holds = |storage: &MemoryStorage| {
        let rows = storage.scan(Table::Postings, &[], &[], usize::MAX).unwrap();
        rows.iter()
            .any(|(_, value)| value.windows(8).any(|bytes| bytes == b"00000005"))
    };
    assert!(holds(&world.storage), "id 5 is short enough to be its key");
    let damaged = Write::put(Table::Posts, id(5), vec![0]);
    world.storage.write(&[damaged]).unwrap();
    world.load(SEED);
    world.put(vec![PostPatch::erasing(id(5))]);
    assert!(world.catalog.is_to_be_built());
    world.build();
    assert!(!holds(&world.storage));
    world.check(&of_tags(&["a"], &[]));
}
