//! Charts of a filter against exact counts of every id: bounds, what is not listed, what is certain, in
//! every order, over random catalogs and streams.

use crate::objects;
use crate::objects::hours::{EXACT, NOW_MS, Plays, any_plays, falling_plays, fold};
use hitparade::filter::Filter;
use hitparade::global::{ChartRules, Global};
use hitparade::leaderboard::Leaderboard;
use hitparade::settings::VisiblePosts;
use hitparade::storage::MemoryStorage;
use hitparade::window::HOUR_MS;
use hitparade::wire::{ChartRequest, PostPatch, Refusal, Sort, WindowRequest};
use proptest::prelude::*;

const DAY_MS: u64 = 24 * HOUR_MS;
const SORTS: [Sort; 3] = [Sort::Views, Sort::Rising, Sort::Distinctive];
const POSTS: usize = 90;
const TAGS: [&str; 4] = ["jazz", "日本", "a", "live"];

#[derive(Clone, Debug, Default)]
struct Entry {
    tags: Vec<&'static str>,
    author: Option<u8>,
    published_ms: Option<u64>,
    hidden: bool,
}

/// What the catalog says of each post; nothing of some.
type Entries = Vec<Option<Entry>>;

/// Short ids, ids that are just too long for a counter, and addresses.
fn id(post: usize) -> String {
    match post % 3 {
        0 => format!("{post}"),
        1 => format!("a post of {post:08}"),
        _ => format!("https://example.com/{post}/é"),
    }
}

fn loaded(plays: &Plays, entries: &Entries, capacity: usize) -> (Global, MemoryStorage) {
    let (global, storage) = fold(plays, id, capacity);
    let known = entries.iter().enumerate();
    let patches = known.filter_map(|(post, entry)| {
        let entry = entry.as_ref()?;
        let mut tags: Vec<String> = entry.tags.iter().map(|tag| (*tag).to_owned()).collect();
        tags.sort_unstable();
        Some(PostPatch {
            post_id: id(post),
            tags: Some(tags),
            author: Some(entry.author.map(|author| format!("author {author}"))),
            timestamp_ms: Some(entry.published_ms),
            hidden: Some(entry.hidden),
            ..PostPatch::default()
        })
    });
    let patches: Vec<PostPatch> = patches.collect();
    objects::put_posts(&global, &storage, &patches);
    (global, storage)
}

fn ask(
    (global, storage): &(Global, MemoryStorage),
    (scope, sort, k_class): (&str, Sort, u32),
    filter: &Filter,
    visible: VisiblePosts,
) -> Leaderboard {
    let request = ChartRequest {
        scope: scope.into(),
        window: WindowRequest::Sliding { length_ms: HOUR_MS },
        sort,
        k_class,
        filter: filter.clone(),
    };
    let rules = ChartRules { visible };
    objects::chart_of(global, storage, &request, rules, NOW_MS).unwrap()
}

/// Whether a post is one of a filter's that may be shown.
fn is_shown(post: usize, entries: &Entries, filter: &Filter, visible: VisiblePosts) -> bool {
    let Some(entry) = &entries[post] else {
        let is_any =
            filter.tags.is_empty() && filter.author.is_none() && filter.published_hours.is_none();
        let has_catalog = entries
            .iter()
            .flatten()
            .any(|it| !it.tags.is_empty() || it.author.is_some() || it.published_ms.is_some());
        return is_any
            && match visible {
                VisiblePosts::All => true,
                VisiblePosts::KnownIfAny => !has_catalog,
                VisiblePosts::Known => false,
            };
    };
    let has = |tag: &String| entry.tags.contains(&tag.as_str());
    let hour_ms = NOW_MS - NOW_MS % HOUR_MS;
    !entry.hidden
        && filter.tags.iter().all(has)
        && !filter.excluded_tags.iter().any(has)
        && filter.author.as_ref().is_none_or(|author| {
            entry
                .author
                .is_some_and(|it| *author == format!("author {it}"))
        })
        && filter.published_hours.is_none_or(|hours| {
            let from_ms = hour_ms - u64::from(hours) * HOUR_MS;
            entry
                .published_ms
                .is_some_and(|ms| (from_ms..hour_ms + HOUR_MS).contains(&ms))
        })
}

/// The posts of a chart with their exact counts, most first.
fn ranked(plays: &[u64], is_shown: impl Fn(usize) -> bool) -> Vec<(String, u64)> {
    let posts = (0..POSTS).filter(|post| plays[*post] > 0 && is_shown(*post));
    let mut ranked: Vec<(String, u64)> = posts.map(|post| (id(post), plays[post])).collect();
    ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    ranked
}

struct Case {
    plays: Plays,
    entries: Entries,
    capacity: usize,
    visible: VisiblePosts,
}

impl Case {
    fn check(&self, filters: &[Filter]) -> Result<(), TestCaseError> {
        let Case {
            plays,
            entries,
            capacity,
            visible,
        } = self;
        let (visible, capacity) = (*visible, *capacity);
        let worlds = [EXACT, capacity].map(|capacity| loaded(plays, entries, capacity));
        for filter in filters {
            for (world, is_exact) in worlds.iter().zip([true, false]) {
                self.check_views(world, filter, is_exact)?;
            }
            for sort in SORTS {
                let [exact, vague] = [0, 1].map(|at| {
                    let k_class = if at == 0 { 1_000 } else { 10 };
                    ask(&worlds[at], ("NA", sort, k_class), filter, visible)
                });
                // With the plays of all posts: only the rows are chosen.
                let all = ask(
                    &worlds[0],
                    ("NA", sort, 1_000),
                    &Filter::default(),
                    VisiblePosts::All,
                );
                let shown = |post_id: &str| {
                    let post = (0..POSTS).find(|post| id(*post) == post_id).unwrap();
                    is_shown(post, entries, filter, visible)
                };
                let expected = all.places.iter().filter(|place| shown(&place.post_id));
                let listed = |it: &hitparade::leaderboard::Place| {
                    (it.post_id.clone(), it.count, it.compared)
                };
                let expected: Vec<_> = expected.map(listed).collect();
                let found: Vec<_> = exact.places.iter().map(listed).collect();
                prop_assert_eq!(found, expected, "{:?} {:?}", sort, filter);
                prop_assert_eq!(exact.total_views, all.total_views);
                let totals =
                    |chart: &Leaderboard| chart.compared_with.as_ref().map(|it| it.total_views);
                prop_assert_eq!(totals(&exact), totals(&all));
                for k in [1, 3, 10] {
                    let top: Vec<&str> =
                        exact.places.iter().take(k).map(|it| &*it.post_id).collect();
                    for (place, is_certain) in vague.places.iter().zip(vague.certain(k)) {
                        prop_assert!(
                            !is_certain || top.contains(&&*place.post_id),
                            "{sort:?} {k} {filter:?}"
                        );
                    }
                }
            }
        }
        Ok(())
    }

    /// Every id's bounds, worldwide and in a region.
    fn check_views(
        &self,
        world: &(Global, MemoryStorage),
        filter: &Filter,
        is_exact: bool,
    ) -> Result<(), TestCaseError> {
        let of_here = |is_now| self.plays[&(0, is_now)].clone();
        let everywhere = |is_now| {
            let pairs = self.plays[&(0, is_now)]
                .iter()
                .zip(&self.plays[&(1, is_now)]);
            pairs
                .map(|(here, there)| here + there)
                .collect::<Vec<u64>>()
        };
        for (scope, now, before) in [
            ("NA", of_here(true), of_here(false)),
            ("global", everywhere(true), everywhere(false)),
        ] {
            let shown = |post| is_shown(post, &self.entries, filter, self.visible);
            let (expected, before) = (ranked(&now, shown), ranked(&before, shown));
            let chart = ask(world, (scope, Sort::Views, 10), filter, self.visible);
            prop_assert_eq!(chart.total_views, now.iter().sum::<u64>(), "all plays");
            for place in &chart.places {
                let count = expected
                    .iter()
                    .find(|(post_id, _)| *post_id == place.post_id);
                // Who has a counter may have had no play in a vague window.
                let post = (0..POSTS).find(|post| id(*post) == place.post_id).unwrap();
                prop_assert!(shown(post), "{}: {:?}", place.post_id, filter);
                let count = count.map_or(0, |(_, count)| *count);
                prop_assert!(
                    place.count.view_count_min <= count && count <= place.count.view_count_max
                );
            }
            let listed = |post_id: &str| chart.places.iter().any(|place| place.post_id == post_id);
            let unlisted = expected.iter().filter(|(post_id, _)| !listed(post_id));
            let most = unlisted.map(|(_, count)| *count).max().unwrap_or(0);
            prop_assert!(
                most <= chart.unlisted_max,
                "{most} > {}: {filter:?}",
                chart.unlisted_max
            );
            if is_exact {
                prop_assert_eq!(chart.unlisted_max, most, "{:?}", filter);
                let ids: Vec<&str> = chart.places.iter().map(|place| &*place.post_id).collect();
                let first: Vec<&str> = expected
                    .iter()
                    .take(10)
                    .map(|(post_id, _)| &**post_id)
                    .collect();
                prop_assert_eq!(ids, first);
                prop_assert!(chart.certain(10).iter().all(|is_certain| *is_certain));
                for place in &chart.places {
                    let rank = before
                        .iter()
                        .zip(1..)
                        .find(|((post_id, _), _)| *post_id == place.post_id);
                    prop_assert_eq!(place.previous_rank, rank.map(|(_, rank)| rank));
                }
            }
        }
        Ok(())
    }
}

fn entries() -> impl Strategy<Value = Entries> {
    let tags = proptest::sample::subsequence(TAGS.to_vec(), 0..=TAGS.len());
    let published_ms = (0..10 * DAY_MS).prop_map(|ago_ms| NOW_MS - ago_ms);
    let fields = (
        tags,
        proptest::option::of(0..3_u8),
        proptest::option::of(published_ms),
        proptest::bool::weighted(0.1),
    );
    let entry = fields.prop_map(|(tags, author, published_ms, hidden)| Entry {
        tags,
        author,
        published_ms,
        hidden,
    });
    proptest::collection::vec(proptest::option::weighted(0.8, entry), POSTS)
}

fn filter() -> impl Strategy<Value = Filter> {
    let tags = |most| proptest::sample::subsequence(TAGS.to_vec(), 0..=most);
    let owned = |tags: Vec<&str>| tags.into_iter().map(str::to_owned).collect();
    let published = proptest::option::weighted(0.4, prop_oneof![Just(1), Just(24), Just(168)]);
    let author = proptest::option::weighted(0.3, (0..4_u8).prop_map(|it| format!("author {it}")));
    (tags(3), tags(2), author, published).prop_filter_map(
        "contradicts itself",
        move |(tags, excluded, author, published)| {
            Filter::new(owned(tags), owned(excluded), author, published).ok()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_chart_of_a_filter_is_that_of_its_posts_with_bounds_that_hold_for_every_one(
        (plays, entries) in (any_plays(POSTS), entries()),
        capacity in 8_usize..80,
        visible in prop_oneof![Just(VisiblePosts::All), Just(VisiblePosts::KnownIfAny), Just(VisiblePosts::Known)],
        filters in proptest::collection::vec(filter(), 1..5),
    ) {
        Case { plays, entries, capacity, visible }.check(&filters)?;
    }
}

fn of_tags(tags: &[&str], excluded: &[&str]) -> Filter {
    let owned = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect();
    Filter::new(owned(tags), owned(excluded), None, None).unwrap()
}

fn falling() -> Plays {
    falling_plays(POSTS, [3_000, 4_000, 1_000, 2_000])
}

#[test]
fn a_tag_that_nobody_has_is_an_empty_chart_of_which_nothing_is_left_out() {
    let entries: Entries = (0..POSTS)
        .map(|_| {
            Some(Entry {
                tags: vec!["jazz"],
                ..Entry::default()
            })
        })
        .collect();
    for capacity in [EXACT, 20] {
        let world = loaded(&falling(), &entries, capacity);
        for sort in SORTS {
            let chart = ask(
                &world,
                ("NA", sort, 10),
                &of_tags(&["nobody's"], &[]),
                VisiblePosts::All,
            );
            assert!(chart.places.is_empty());
            assert_eq!(chart.unlisted_max, 0);
            assert_eq!(
                chart.compared_with.map_or(0.0, |it| it.unlisted_times_max),
                0.0
            );
            assert_eq!(chart.total_views, falling()[&(0, true)].iter().sum::<u64>());
        }
    }
}

#[test]
fn a_post_that_changes_its_tag_or_is_hidden_changes_its_charts_at_once() {
    let tagged = |tag| {
        Some(Entry {
            tags: vec![tag],
            ..Entry::default()
        })
    };
    let entries: Entries = (0..POSTS).map(|post| tagged(TAGS[post % 2])).collect();
    let (global, storage) = loaded(&falling(), &entries, EXACT);
    let first = |global: &Global, tag| {
        let request = ChartRequest {
            scope: "NA".into(),
            window: WindowRequest::Sliding { length_ms: HOUR_MS },
            sort: Sort::Views,
            k_class: 10,
            filter: of_tags(&[tag], &[]),
        };
        let rules = ChartRules::default();
        let chart = objects::chart_of(global, &storage, &request, rules, NOW_MS).unwrap();
        (
            chart.places[0].post_id.clone(),
            chart.places[0].card.tags.clone(),
        )
    };
    assert_eq!(first(&global, "jazz"), (id(0), vec!["jazz".into()]));
    let moved = PostPatch {
        post_id: id(0),
        tags: Some(vec!["live".into()]),
        ..PostPatch::default()
    };
    objects::put_posts(&global, &storage, &[moved]);
    assert_eq!(first(&global, "jazz").0, id(2));
    assert_eq!(first(&global, "live"), (id(0), vec!["live".into()]));
    let hidden = [PostPatch::hiding(id(2)), PostPatch::erasing(id(4))];
    objects::put_posts(&global, &storage, &hidden);
    assert_eq!(first(&global, "jazz").0, id(6));
}

#[test]
fn a_question_that_no_worker_asks_is_refused() {
    let (global, storage) = loaded(&falling(), &vec![None; POSTS], EXACT);
    let contradicting = Filter {
        tags: vec!["a".into()],
        excluded_tags: vec!["a".into()],
        ..Filter::default()
    };
    let request = ChartRequest {
        scope: "NA".into(),
        window: WindowRequest::All,
        sort: Sort::Views,
        k_class: 10,
        filter: contradicting,
    };
    let rules = ChartRules::default();
    let refused = objects::chart_of(&global, &storage, &request, rules, NOW_MS);
    assert!(matches!(refused, Err(Refusal::Invalid(_))));
}
