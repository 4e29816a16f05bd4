//! The catalog and those who follow it: whatever gets lost, late or twice, and whoever starts anew, what a
//! board has is as the catalog was at the number that it says.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Poll;

use crate::objects;
use crate::objects::host::TestHost;
use hitparade::catalog::{CatalogLimits, Catalogs, Driver, Follower, Keeper, STALE_AFTER_MS};
use hitparade::codec;
use hitparade::filter::Filter;
use hitparade::global::{self, GlobalSettings};
use hitparade::leaderboard::Leaderboard;
use hitparade::settings::VisiblePosts;
use hitparade::storage::{MemoryStorage, Storage, Table, Write};
use hitparade::summary::{Seed, Summary};
use hitparade::window::DAY_MS;
use hitparade::wire::*;
use proptest::prelude::*;

const POSTS: u8 = 6;

fn id(post: u8) -> String {
    // Short ones are their keys, long ones have a hash.
    match post % 2 {
        0 => format!("post {post}"),
        _ => format!("post {post} with a name of more than sixteen bytes"),
    }
}

fn put_of(patches: Vec<PostPatch>) -> PutPosts {
    PutPosts {
        patches,
        only_new: false,
    }
}

/// What a catalog says of its posts: whether each is hidden, and its text.
type State = BTreeMap<String, (bool, Option<String>)>;

fn state_of(keeper: &Keeper, storage: &MemoryStorage) -> State {
    let entries = keeper.list(storage, None).unwrap().entries.into_iter();
    let said = entries.map(|entry| (entry.post_id, (entry.hidden, entry.card.content)));
    said.collect()
}

#[derive(Clone, Debug)]
enum Step {
    /// Posts are hidden or shown, with a text.
    Put(Vec<(u8, bool, u8)>),
    /// What was put is durable.
    Sync,
    /// The keeper starts anew, without what was not durable.
    Crash,
    Backup,
    /// The keeper is restored from its backup.
    Restore,
    /// A row of the log cannot be read any more.
    Damage(u8),
    /// A board looks for posts and asks for what is not there.
    Ask {
        board: bool,
        posts: Vec<u8>,
    },
    /// An answer under way arrives; it may arrive again.
    Deliver {
        place: u8,
        again: bool,
    },
    Lose(u8),
    /// What an instance knows is gone.
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let posts = || proptest::collection::vec(0..POSTS, 0..4);
    prop_oneof![
        6 => proptest::collection::vec((0..POSTS, any::<bool>(), 0..3_u8), 1..4).prop_map(Step::Put),
        2 => Just(Step::Sync),
        2 => Just(Step::Crash),
        1 => Just(Step::Backup),
        1 => Just(Step::Restore),
        1 => (0..8_u8).prop_map(Step::Damage),
        6 => (any::<bool>(), posts()).prop_map(|(board, posts)| Step::Ask { board, posts }),
        6 => (any::<u8>(), any::<bool>()).prop_map(|(place, again)| Step::Deliver { place, again }),
        1 => any::<u8>().prop_map(Step::Lose),
        1 => Just(Step::Forget),
    ]
}

struct World {
    storage: MemoryStorage,
    durable: MemoryStorage,
    backup: MemoryStorage,
    keeper: Keeper,
    limits: CatalogLimits,
    boards: [Follower; 2],
    under_way: Vec<(bool, CatalogQuestion, CatalogNews, u64)>,
    /// What the catalog was at each position that it ever had.
    states: BTreeMap<(u64, u64), State>,
    marks: u64,
    now_ms: u64,
}

impl World {
    fn new(limits: CatalogLimits, cache_bytes: usize) -> Self {
        let storage = MemoryStorage::new();
        let mut world = World {
            keeper: Keeper::load(&storage, limits, 0).unwrap(),
            durable: storage.clone(),
            backup: storage.clone(),
            storage,
            limits,
            boards: boards(cache_bytes),
            under_way: Vec::new(),
            states: BTreeMap::new(),
            marks: 0,
            now_ms: 1,
        };
        world.note();
        world
    }

    fn note(&mut self) {
        let CatalogPosition { number, mark } = self.keeper.position();
        let state = state_of(&self.keeper, &self.storage);
        let before = self.states.insert((number, mark), state.clone());
        assert!(
            before.is_none_or(|before| before == state),
            "one position, two states"
        );
    }

    fn load(&mut self) {
        self.marks += 1;
        self.keeper = Keeper::load(&self.storage, self.limits, self.marks).unwrap();
        self.note();
    }

    fn ask(&mut self, board: bool, posts: &[u8]) {
        let follower = &self.boards[usize::from(board)];
        follower.look_at_sets(true);
        for post in posts {
            follower.is_hidden(&id(*post));
            follower.is_known(&id(*post));
            follower.entry(&id(*post));
        }
        let question = follower.question();
        let news = self.keeper.answer(&self.storage, &question).unwrap();
        self.under_way.push((board, question, news, self.now_ms));
    }

    fn deliver(&mut self, place: u8, again: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let place = usize::from(place) % self.under_way.len();
        let (board, question, news, asked_ms) = match again {
            true => self.under_way[place].clone(),
            false => self.under_way.remove(place),
        };
        self.boards[usize::from(board)].take(&question, news, asked_ms);
    }

    fn take(&mut self, step: Step) {
        self.now_ms += 1;
        match step {
            Step::Put(posts) => {
                let patch = |(post, hidden, text): (u8, bool, u8)| PostPatch {
                    post_id: id(post),
                    hidden: Some(hidden),
                    content: Some((text > 0).then(|| format!("text {text}"))),
                    ..PostPatch::default()
                };
                self.marks += 1;
                let put = put_of(posts.into_iter().map(patch).collect());
                self.keeper.put(&self.storage, &put, self.marks).unwrap();
                self.note();
            }
            Step::Sync => self.durable = self.storage.clone(),
            Step::Crash => {
                self.storage = self.durable.clone();
                self.load();
            }
            Step::Backup => self.backup = self.durable.clone(),
            Step::Restore => {
                self.storage = self.backup.clone();
                self.durable = self.storage.clone();
                self.load();
            }
            Step::Damage(place) => {
                let keys = self.storage.keys(Table::CatalogLog, &[]).unwrap();
                if let Some(key) = keys.get(usize::from(place)) {
                    let damaged = Write::put(Table::CatalogLog, key.clone(), vec![7, 7]);
                    self.storage.write(&[damaged]).unwrap();
                }
            }
            Step::Ask { board, posts } => self.ask(board, &posts),
            Step::Deliver { place, again } => self.deliver(place, again),
            Step::Lose(place) => {
                if !self.under_way.is_empty() {
                    let place = usize::from(place) % self.under_way.len();
                    self.under_way.remove(place);
                }
            }
            Step::Forget => self.boards = boards(1 << 20),
        }
        for board in &self.boards {
            self.check(board);
        }
    }

    /// Whatever a board knows is as the catalog was at its position.
    fn check(&self, board: &Follower) {
        let Some(CatalogPosition { number, mark }) = board.position() else {
            assert_eq!(board.is_hidden("post 0"), None);
            return;
        };
        let state = &self.states[&(number, mark)];
        for post in 0..POSTS {
            let id = id(post);
            let said = state.get(&id);
            if let Some(is_hidden) = board.is_hidden(&id) {
                assert_eq!(is_hidden, said.is_some_and(|it| it.0), "{id} at {number}");
            }
            if let Some(is_known) = board.is_known(&id) {
                assert_eq!(is_known, said.is_some(), "{id} at {number}");
            }
            if let Some(entry) = board.entry(&id) {
                let entry = entry.as_ref().as_ref();
                let entry = entry.map(|it| (it.hidden, it.card.content.clone()));
                assert_eq!(entry, said.cloned(), "{id} at {number}");
            }
        }
    }

    /// Nothing gets lost any more: in a few questions a board knows everything, and goes on knowing it.
    fn check_rest(&mut self) {
        self.under_way.clear();
        let all: Vec<u8> = (0..POSTS).collect();
        for _ in 0..4 {
            self.now_ms += 1;
            self.ask(false, &all);
            self.deliver(0, false);
        }
        let board = &self.boards[0];
        assert_eq!(board.position(), Some(self.keeper.position()));
        let misses = board.misses();
        self.check(board);
        assert_eq!(board.misses(), misses, "something is not known");
    }
}

/// Two boards of one instance.
fn boards(cache_bytes: usize) -> [Follower; 2] {
    let catalogs = Catalogs::within(cache_bytes);
    [(); 2].map(|()| Follower::new(&catalogs, "shared"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_a_board_knows_is_as_the_catalog_was_at_the_number_that_it_says(
        script in proptest::collection::vec(step(), 0..60),
        log_ids in 1..12_u64,
        most_behind in 1..8_usize,
        set_posts in 0..10_usize,
        cache_bytes in prop_oneof![Just(1 << 20), Just(4_000_usize)],
    ) {
        let limits = CatalogLimits {
            log_ids,
            most_behind,
            // Hidden posts are never more than a set may have.
            set_posts: if set_posts < POSTS.into() { set_posts.max(1) } else { 100 },
            ..CatalogLimits::default()
        };
        let mut world = World::new(limits, cache_bytes);
        for step in script {
            world.take(step);
        }
        if cache_bytes > 4_000 && limits.set_posts == 100 {
            world.check_rest();
        }
    }
}

#[test]
fn who_has_a_clock_that_went_back_takes_what_the_catalog_says_from_then_on() {
    let storage = MemoryStorage::new();
    let mut keeper = Keeper::load(&storage, CatalogLimits::default(), 0).unwrap();
    let [board, _] = boards(1 << 20);
    let mut asks = |at_ms: u64, number: u64| {
        board.clock_is(at_ms);
        let patch = PostPatch::hiding(format!("post {number}"));
        keeper
            .put(&storage, &put_of(vec![patch]), 100 + number)
            .unwrap();
        let question = board.question();
        let news = keeper.answer(&storage, &question).unwrap();
        (board.take(&question, news, at_ms), board.is_fresh(at_ms))
    };
    assert_eq!(asks(1_000_000, 0), (true, true));
    assert_eq!(asks(400_000, 1), (true, true), "ten minutes back");
    assert!(!board.was_asked_since(400_001), "nor is it of later");
    assert_eq!(asks(401_000, 2), (true, true));
    assert!(board.is_fresh(401_500));
    board.clock_is(400_900);
    assert!(!board.is_fresh(401_500), "nobody knows how old it is");
}

#[test]
fn who_is_far_behind_or_was_told_by_a_catalog_that_was_set_back_forgets_and_asks_anew() {
    let limits = CatalogLimits {
        most_behind: 3,
        log_ids: 10,
        ..CatalogLimits::default()
    };
    let storage = MemoryStorage::new();
    let mut keeper = Keeper::load(&storage, limits, 0).unwrap();
    let mut position = Vec::new();
    for number in 0..30_u64 {
        position.push(keeper.position());
        let patch = PostPatch::hiding(format!("post {number}"));
        keeper
            .put(&storage, &put_of(vec![patch]), 100 + number)
            .unwrap();
    }
    let since = |since: CatalogPosition| {
        let question = CatalogQuestion {
            since: Some(since),
            ..CatalogQuestion::default()
        };
        let changes = keeper.answer(&storage, &question).unwrap().changes;
        changes.map(|changes| changes.len())
    };
    assert_eq!(since(keeper.position()), Some(0));
    assert_eq!(since(position[28]), Some(2));
    assert_eq!(since(position[27]), Some(3));
    assert_eq!(since(position[26]), None, "too far behind");
    assert_eq!(since(position[3]), None, "further than the log goes back");
    assert_eq!(storage.len(Table::CatalogLog), 10, "ten ids are kept");
    let another = CatalogPosition {
        mark: 7,
        ..position[28]
    };
    assert_eq!(since(another), None, "another change of the same number");
    let ahead = CatalogPosition {
        number: 31,
        mark: 130,
    };
    assert_eq!(since(ahead), None, "the catalog was set back");
}

#[test]
fn what_changes_nothing_writes_nothing_and_a_change_costs_three_rows() {
    let storage = MemoryStorage::new();
    let mut keeper = Keeper::load(&storage, CatalogLimits::default(), 0).unwrap();
    let patch = |post: u64, text: &str| PostPatch {
        post_id: format!("post {post}"),
        content: Some(Some(text.into())),
        ..PostPatch::default()
    };
    let all: Vec<PostPatch> = (0..500).map(|post| patch(post, "a text")).collect();
    keeper.put(&storage, &put_of(all.clone()), 1).unwrap();
    let position = keeper.position();
    let rows = |storage: &MemoryStorage| Table::ALL.map(|table| storage.len(table));
    let before = rows(&storage);
    assert_eq!(
        keeper
            .put(&storage, &put_of(all), 2)
            .unwrap()
            .unwrap()
            .entry
            .post_id,
        "post 499"
    );
    assert_eq!((keeper.position(), rows(&storage)), (position, before));
    keeper
        .put(&storage, &put_of(vec![patch(3, "another")]), 3)
        .unwrap();
    assert_eq!(keeper.position(), CatalogPosition { number: 2, mark: 3 });
    assert_eq!(storage.len(Table::CatalogLog), 2);
}

#[test]
fn a_catalog_with_damaged_rows_starts_is_reported_and_nobody_is_told_what_it_does_not_know() {
    let storage = MemoryStorage::new();
    let mut keeper = Keeper::load(&storage, CatalogLimits::default(), 0).unwrap();
    let mut positions = Vec::new();
    for number in 0..4_u64 {
        positions.push(keeper.position());
        let patch = PostPatch::hiding(format!("post {number}"));
        keeper
            .put(&storage, &put_of(vec![patch]), 100 + number)
            .unwrap();
    }
    let last = keeper.position();
    for table in [Table::CatalogLog, Table::Posts, Table::Meta] {
        let storage = storage.clone();
        storage.damage(table, |value| {
            value.truncate(value.len() / 2);
        });
        let was = storage.scan(table, &[], &[], usize::MAX).unwrap();
        let mut keeper = Keeper::load(&storage, CatalogLimits::default(), 9).unwrap();
        let question = |since| CatalogQuestion {
            since: Some(since),
            entries: vec!["post 1".into()],
            sets: vec![PostSet::Hidden],
            ..CatalogQuestion::default()
        };
        let news = keeper.answer(&storage, &question(last)).unwrap();
        let hidden = news.sets[0].as_ref().unwrap().len() / 16;
        assert_eq!(hidden, 4, "{table:?}: what is hidden stays hidden");
        match table {
            Table::CatalogLog => {
                assert_eq!(news.changes, None);
                assert_eq!(news.position.mark, 9, "a change of which nobody knows");
            }
            _ => assert_eq!(news.changes, Some(Vec::new())),
        }
        assert_eq!(news.entries[0].is_none(), table == Table::Posts);
        let patch = PostPatch {
            author: Some(Some("A".into())),
            ..PostPatch::hiding("post 1".into())
        };
        keeper.put(&storage, &put_of(vec![patch]), 10).unwrap();
        if table != Table::Meta {
            assert!(keeper.damaged_rows() > 0, "{table:?} is reported");
            let values: BTreeSet<Vec<u8>> = [table, Table::Meta]
                .iter()
                .flat_map(|table| storage.scan(*table, &[], &[], usize::MAX).unwrap())
                .map(|(_, value)| value)
                .collect();
            assert!(
                was.iter().all(|(_, value)| values.contains(value)),
                "{table:?} is kept"
            );
        }
        let again = Keeper::load(&storage, CatalogLimits::default(), 11).unwrap();
        assert_eq!(again.position(), keeper.position());
        assert_eq!(again.size().posts, 4);
    }
}

#[test]
fn a_large_put_is_stored_in_slices_and_one_that_does_not_fit_says_how_far_it_came() {
    let host = TestHost::at(1);
    let catalog = Driver::new(host.clone(), CatalogLimits::default());
    let patches = |from: usize, count: usize, text: &str| {
        let patches = (from..from + count).map(|post| PostPatch {
            post_id: format!("post {post}"),
            content: Some(Some(text.into())),
            ..PostPatch::default()
        });
        codec::encode(&put_of(patches.collect()))
    };
    let put = |message: &[u8]| {
        let reply = host.run(catalog.put_posts(message), || ());
        codec::decode::<PutPostsReply>(&reply).unwrap().0
    };
    let last = put(&patches(0, 10_000, "text")).unwrap().unwrap();
    assert_eq!(last.entry.post_id, "post 9999");
    assert_eq!(host.storage.len(Table::Posts), 10_000);
    assert_eq!(host.storage.len(Table::CatalogLog), 20);
    assert!(matches!(
        put(&patches(0, 10_001, "x")),
        Err(Refusal::Invalid(_))
    ));
    // As if it were nearly full.
    let nearly = CatalogSize {
        posts: hitparade::catalog::MAX_CATALOG_POSTS - 700,
        bytes: 1,
        described: 1,
    };
    let size = Write::put(Table::Meta, b"catalog".to_vec(), codec::encode(&nearly));
    host.storage.write(&[size]).unwrap();
    let catalog = Driver::new(host.clone(), CatalogLimits::default());
    let reply = host.run(catalog.put_posts(&patches(20_000, 1_000, "text")), || ());
    let Ok(PutPostsReply(Err(Refusal::Invalid(detail)))) = codec::decode(&reply) else {
        unreachable!()
    };
    assert!(detail.starts_with("the catalog is full"), "{detail}");
    assert!(
        detail.ends_with("the first 500 posts of this request are stored"),
        "{detail}"
    );
    assert_eq!(host.storage.len(Table::Posts), 10_500);
}

const NOW_MS: u64 = 20_000 * DAY_MS + 30_000;

/// A board with plays of posts 0 to 19, the first most often, and its catalog.
struct Board {
    host: TestHost,
    driver: global::Driver<TestHost>,
    catalog: Driver<TestHost>,
}

impl Board {
    fn new(visible: VisiblePosts) -> Self {
        let host = TestHost::at(NOW_MS);
        let mut settings = GlobalSettings {
            ..GlobalSettings::default()
        };
        settings.rules.visible = visible;
        let driver = global::Driver::new(host.clone(), settings);
        let mut summary = Summary::new(100, Seed::from_bytes(objects::SEED));
        for post in 0..20 {
            summary.record(&format!("post {post}"), 100 - post);
        }
        let pane = objects::pane(objects::recording_pane(NOW_MS, NOW_MS), &summary);
        let report = codec::encode(&ShardReport {
            region_id: "NA",
            shard: 0,
            push: &objects::first_push(("NA", 0), &[], &[pane]),
            figures: &[],
        });
        // Asks the registry. Before the push is durable, charts are closed with what is known by then: nothing.
        host.run(driver.regions(), || ());
        host.catalog_is_away.set(true);
        let reply: PushReplyOrRefusal =
            codec::decode(&host.run(driver.push(&report), || ())).unwrap();
        assert!(reply.0.is_ok());
        host.catalog_is_away.set(false);
        // From then on it is asked again.
        host.now_ms.set(host.now_ms.get() + STALE_AFTER_MS);
        Board {
            catalog: Driver::new(host.clone(), CatalogLimits::default()),
            host,
            driver,
        }
    }

    fn put(&self, patches: Vec<PostPatch>) {
        let message = codec::encode(&put_of(patches));
        let reply = self.host.run(self.catalog.put_posts(&message), || ());
        codec::decode::<PutPostsReply>(&reply).unwrap().0.unwrap();
    }

    fn chart(&self) -> Leaderboard {
        let request = codec::encode(&ChartRequest {
            scope: "NA".into(),
            window: WindowRequest::Sliding {
                length_ms: 3_600_000,
            },
            sort: Sort::Views,
            k_class: 10,
            filter: Filter::default(),
        });
        let reply = self.host.run(self.driver.chart(&request), || ());
        codec::decode::<ChartReply>(&reply).unwrap().0.unwrap()
    }

    fn listed(&self) -> Vec<String> {
        let places = self.chart().places.into_iter();
        places.map(|place| place.post_id).collect()
    }

    fn pass(&self, ms: u64) {
        self.host.now_ms.set(self.host.now_ms.get() + ms);
    }
}

fn describing(post: u64) -> PostPatch {
    PostPatch {
        post_id: format!("post {post}"),
        content: Some(Some(format!("text {post}"))),
        ..PostPatch::default()
    }
}

#[test]
fn a_chart_shows_what_changed_five_seconds_ago_and_asks_no_more_than_once_in_them() {
    let board = Board::new(VisiblePosts::KnownIfAny);
    assert_eq!(board.listed().len(), 10);
    let asked = board.host.catalog_questions.get();
    assert_eq!(
        asked, 1,
        "of a catalog that has nothing one question tells all"
    );
    for _ in 0..40 {
        board.pass(100);
        assert_eq!(board.listed().len(), 10);
    }
    assert_eq!(board.host.catalog_questions.get(), asked);
    board.put(vec![PostPatch::hiding("post 3".into())]);
    assert!(
        board.listed().contains(&"post 3".to_owned()),
        "as it was a moment ago"
    );
    board.pass(STALE_AFTER_MS);
    assert!(!board.listed().contains(&"post 3".to_owned()));
    assert!(!board.chart().incomplete);
    board.put((0..15).map(describing).collect());
    board.pass(STALE_AFTER_MS);
    let chart = board.chart();
    let of = |place: usize| chart.places[place].card.content.as_deref();
    assert_eq!(
        (chart.places.len(), of(0), of(9)),
        (10, Some("text 0"), Some("text 10"))
    );
    let asked = board.host.catalog_questions.get();
    for _ in 0..10 {
        board.pass(STALE_AFTER_MS);
        assert_eq!(
            board.chart().places[0].card.content.as_deref(),
            Some("text 0")
        );
    }
    assert_eq!(board.host.catalog_questions.get(), asked + 10);
}

#[test]
fn without_its_catalog_a_board_shows_what_it_knew_hides_what_it_does_not_and_says_so() {
    let board = Board::new(VisiblePosts::KnownIfAny);
    board.host.catalog_is_away.set(true);
    let chart = board.chart();
    assert!(
        chart.places.is_empty() && chart.incomplete,
        "nobody has told it which posts may show"
    );
    assert!(chart.unlisted_max >= 100, "{}", chart.unlisted_max);
    board.host.catalog_is_away.set(false);
    board.pass(STALE_AFTER_MS);
    board.put((0..5).map(describing).collect());
    let all: Vec<String> = (0..5).map(|post| format!("post {post}")).collect();
    assert_eq!(board.listed(), all);
    board.host.catalog_is_away.set(true);
    board.put(vec![describing(7)]);
    board.pass(STALE_AFTER_MS);
    let chart = board.chart();
    let listed: Vec<String> = chart.places.iter().map(|it| it.post_id.clone()).collect();
    assert_eq!((listed, chart.incomplete), (all, true));
    assert_eq!(chart.places[4].card.content.as_deref(), Some("text 4"));
    board.host.catalog_is_away.set(false);
    board.pass(STALE_AFTER_MS);
    let chart = board.chart();
    assert_eq!((chart.places.len(), chart.incomplete), (6, false));
}

#[test]
fn all_who_wait_for_the_catalog_wait_for_one_question() {
    let board = Board::new(VisiblePosts::KnownIfAny);
    board.put((0..20).map(describing).collect());
    let request = |scope: &str| {
        codec::encode(&ChartRequest {
            scope: scope.into(),
            window: WindowRequest::All,
            sort: Sort::Views,
            k_class: 10,
            filter: Filter::default(),
        })
    };
    let (here, everywhere) = (request("NA"), request("global"));
    let both =
        futures_util::future::join(board.driver.chart(&here), board.driver.chart(&everywhere));
    let (here, everywhere) = board.host.run(both, || ());
    for reply in [here, everywhere] {
        let chart = codec::decode::<ChartReply>(&reply).unwrap().0.unwrap();
        assert_eq!(chart.places.len(), 10);
        assert!(
            chart
                .places
                .iter()
                .all(|place| place.card.content.is_some())
        );
    }
    // How large it is with the sets, which posts there are, and their cards.
    assert!(board.host.catalog_questions.get() <= 3);
}

#[test]
fn for_a_chart_that_has_no_turn_the_catalog_looks_for_no_posts_of_its_filter() {
    let board = Board::new(VisiblePosts::All);
    let ask = |minutes: u64, tags: Vec<String>| {
        let request = codec::encode(&ChartRequest {
            scope: "NA".into(),
            window: WindowRequest::Sliding {
                length_ms: minutes * 60_000,
            },
            sort: Sort::Views,
            k_class: 10,
            filter: Filter::new(tags, vec![], None, None).unwrap(),
        });
        let driver = &board.driver;
        async move {
            let reply = driver.chart(&request).await;
            codec::decode::<ChartReply>(&reply).unwrap().0
        }
    };
    let tag = |number: u64| vec![format!("tag {number}")];
    // Asks the catalog how large it is.
    board.host.run(board.driver.metrics(), || ());
    let asked = board.host.catalog_questions.get();
    // More than have their turns in a second.
    let flood = (0..400).map(|number| ask(100 + number, vec![]));
    let filtered = (1..=20).map(|number| ask(60, tag(number)));
    let mut all: Vec<_> = flood.chain(filtered).map(Box::pin).collect();
    let mut made: Vec<_> = all.iter().map(|_| None).collect();
    let all = std::future::poll_fn(|context| {
        for (chart, made) in all.iter_mut().zip(&mut made) {
            if made.is_none()
                && let Poll::Ready(chart) = chart.as_mut().poll(context)
            {
                *made = Some(chart);
            }
        }
        match made.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    });
    board.host.run(all, || ());
    let made: Vec<_> = made.into_iter().flatten().collect();
    let (flood, filtered) = made.split_at(400);
    assert!(flood.iter().any(Result::is_ok) && flood.iter().any(Result::is_err));
    for chart in filtered {
        assert!(matches!(chart, Err(Refusal::Busy { .. })), "{chart:?}");
    }
    assert_eq!(board.host.catalog_questions.get(), asked);
    board.pass(60_000);
    assert!(board.host.run(ask(60, tag(1)), || ()).is_ok());
    assert!(board.host.catalog_questions.get() > asked);
}

#[test]
fn an_export_takes_the_catalog_along_and_an_import_brings_what_is_new() {
    let old = Board::new(VisiblePosts::All);
    old.put((0..1_500).map(describing).collect());
    old.put(vec![PostPatch::hiding("post 3".into())]);
    let begin = codec::encode(&BeginExport);
    let begun = old.host.run(old.driver.begin_export(&begin), || ());
    let begun: BeginExportReply = codec::decode(&begun).unwrap();
    let at_ms = begun.0.unwrap().at_ms;
    old.pass(60_000);
    let mut position = ExportPosition {
        table: 0,
        key: Vec::new(),
    };
    let (mut rows, mut pages) = (Vec::new(), 0);
    let seed = loop {
        let request = codec::encode(&ExportRequest {
            at_ms,
            position: position.clone(),
        });
        let reply = old.host.run(old.driver.export(&request), || ());
        match codec::decode::<ExportReply>(&reply).unwrap().0.unwrap() {
            ExportAnswer::Page(page) => {
                pages += 1;
                rows.extend(page.rows.into_iter().map(ImportRow::Row));
                match page.next {
                    Some(next) => position = next,
                    None => break page.seed,
                }
            }
            _ => old.pass(1_000),
        }
    };
    let posts = rows
        .iter()
        .filter(|row| matches!(row, ImportRow::Row(TransferRow::Post(_))));
    assert_eq!((posts.count(), pages > 3), (1_500, true));

    let new = Board::new(VisiblePosts::All);
    new.put(vec![PostPatch {
        content: Some(Some("its own".into())),
        ..describing(2)
    }]);
    let import = codec::encode(&ImportRequest {
        source: [9; 16],
        export_id: [8; 16],
        first_row: 0,
        rows,
    });
    assert_ne!(seed, [9; 16], "else it would be refused as its own");
    for _ in 0..2 {
        let reply = new.host.run(new.driver.import(&import), || ());
        let imported = codec::decode::<ImportReply>(&reply).unwrap().0;
        assert!(imported.is_ok(), "{imported:?}");
    }
    assert_eq!(new.host.storage.len(Table::Posts), 1_500);
    new.pass(STALE_AFTER_MS);
    let chart = new.chart();
    let text = |post: &str| {
        let place = chart.places.iter().find(|place| place.post_id == post);
        place.map(|place| place.card.content.clone().unwrap())
    };
    assert_eq!(text("post 1").as_deref(), Some("text 1"));
    assert_eq!(
        text("post 2").as_deref(),
        Some("its own"),
        "what is there stays"
    );
    assert_eq!(text("post 3"), None, "it arrives hidden");
}
