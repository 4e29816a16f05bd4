//! Who shows charts over sockets is told when they may have changed, and only then.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::objects::host::TestHost;
use crate::objects::{SEED, table_of};
use hitparade::board::{MAIN, ObjectName};
use hitparade::codec;
use hitparade::filter::Filter;
use hitparade::global::{Driver, GlobalLimits, GlobalSettings, MAX_WAITING_READERS};
use hitparade::host::Host;
use hitparade::leaderboard::Leaderboard;
use hitparade::region::{self, Limits};
use hitparade::storage::{Storage, Table, Write};
use hitparade::summary::{Seed, Summary};
use hitparade::topology::RegionTable;
use hitparade::watchers::{
    LEASE_MS, MAX_WATCHERS, TELL_AFTER_MS, TELL_INTERVAL_MS, WATCH_AGAIN_MS, Watchers,
};
use hitparade::window::{DAY_MS, Level, MINUTE_MS, PaneKey};
use hitparade::wire::{
    Batch, BatchPlay, ChartReply, ChartRequest, CloseHistory, CloseHistoryReply, EnlistReply,
    Learn, Look, Noted, PUSH_INTERVAL_MS, Pull, PullReply, Push, PushReply, PushReplyOrRefusal,
    QUIET_SEALING_MS, RecordReply, RecordRequest, Refusal, SealedPane, ShardReport, Sort, Spent,
    Watch, WatchReply, WindowRequest,
};

const NOW_MS: u64 = 1_800_000_000_000;

/// A global object of these regions, and its platform.
struct World {
    host: TestHost,
    driver: Driver<TestHost>,
    /// In which shards count.
    epoch_ms: u64,
    /// The state that has answered shards last.
    replied_by: Cell<u64>,
}

impl World {
    fn new(regions: &[&str]) -> Self {
        World::with(regions, GlobalSettings::default())
    }

    fn with(regions: &[&str], settings: GlobalSettings) -> Self {
        let host = TestHost::at(NOW_MS);
        let table = EnlistReply(Ok(table_of(regions, SEED)));
        *host.enlisted.borrow_mut() = Some(codec::encode(&table));
        let driver = Driver::new(host.clone(), settings);
        World {
            host,
            driver,
            epoch_ms: 0,
            replied_by: Cell::new(0),
        }
    }

    /// Counting begins anew: the registry and the shards know of it.
    fn begin_anew(&mut self, region_ids: &[&str]) {
        self.epoch_ms = self.host.now_ms();
        let table = RegionTable {
            number: 2,
            epoch_ms: self.epoch_ms,
            ..table_of(region_ids, SEED)
        };
        *self.host.enlisted.borrow_mut() = Some(codec::encode(&EnlistReply(Ok(table))));
    }

    /// The object is told which regions there are.
    fn learn(&self, table: &RegionTable) {
        *self.host.enlisted.borrow_mut() = Some(codec::encode(&EnlistReply(Ok(table.clone()))));
        let message = codec::encode(&Learn {
            table: table.clone(),
        });
        let reply = self.host.run(self.driver.learn(&message), || {});
        assert_eq!(codec::decode::<Noted>(&reply).unwrap().0, Ok(()));
    }

    /// The object slept.
    fn sleep(&mut self) {
        self.host.tasks.borrow_mut().clear();
        self.driver = Driver::new(self.host.clone(), GlobalSettings::default());
    }

    fn watch(&self, object: ObjectName) -> Result<Look, Refusal> {
        let message = codec::encode(&Watch { object });
        let reply = self.host.run(self.driver.watch(&message), || {});
        codec::decode::<WatchReply>(&reply).unwrap().0
    }

    /// Hears of a change from another object.
    fn hear(&self) -> Result<(), Refusal> {
        let message = codec::encode(&Look {
            board_is_public: true,
        });
        let reply = self.host.run(self.driver.hear_of_change(&message), || {});
        codec::decode::<Noted>(&reply).unwrap().0
    }

    /// A push of a shard with so many plays in its open pane, of as many commits.
    fn push(&self, region_id: &str, plays: u64) -> PushReply {
        self.push_of(region_id, plays, None)
    }

    /// The same of one that knows that somebody watches, or does not.
    fn push_of(&self, region_id: &str, plays: u64, watched_since_ms: Option<u64>) -> PushReply {
        self.take(&self.report(region_id, 1, plays, watched_since_ms))
    }

    fn take(&self, report: &[u8]) -> PushReply {
        let reply = self.host.run(self.driver.push(report), || {});
        let PushReplyOrRefusal(reply) = codec::decode(&reply).unwrap();
        let reply = reply.unwrap();
        self.replied_by.set(reply.state);
        reply
    }

    /// Shards answer that they have so many plays in their open pane, in the log of this number.
    fn answers(&self, region_id: &str, log: u64, plays: u64) {
        let reply = PullReply(Ok(self.report(region_id, log, plays, None)));
        let mut pulled = self.host.pulled.borrow_mut();
        pulled.insert(shard(region_id), codec::encode(&reply));
    }

    fn report(
        &self,
        region_id: &str,
        log: u64,
        plays: u64,
        watched_since_ms: Option<u64>,
    ) -> Vec<u8> {
        self.report_with((region_id, log), plays, watched_since_ms, 0)
    }

    /// The same of a shard that has so many sealed panes to send next.
    fn report_with(
        &self,
        (region_id, log): (&str, u64),
        plays: u64,
        watched_since_ms: Option<u64>,
        next_offset: u64,
    ) -> Vec<u8> {
        let now_ms = self.host.now_ms();
        let start_ms = now_ms - now_ms % MINUTE_MS;
        let key = PaneKey::checked(Level::Minute, start_ms, start_ms + MINUTE_MS).unwrap();
        let mut summary = Summary::new(100, Seed::from_bytes(SEED));
        summary.record("a", plays);
        let copy = codec::encode(&SealedPane {
            level: key.level.code(),
            start_ms: key.start_ms,
            end_ms: key.end_ms,
            first_seq: 1,
            last_seq: plays.max(1),
            summary: &summary.encode(),
        });
        let push = codec::encode(&Push {
            region_id,
            shard: 0,
            epoch_ms: self.epoch_ms,
            log_id: u128::from(log),
            log_began_ms: log,
            oldest_offset: 0,
            first_offset: 0,
            entries: Vec::new(),
            next_offset,
            journal_seq: plays,
            copies: Some(&copy[..]).filter(|_| plays > 0).into_iter().collect(),
            copies_left_out: false,
            cut: None,
            watched_since_ms,
            replied_by: self.replied_by.get(),
        });
        codec::encode(&ShardReport {
            region_id,
            shard: 0,
            push: &push,
            figures: &[],
        })
    }

    /// The same of one that sends a sealed pane with so many plays, and has so many in its open one.
    fn report_sealed(&self, region_id: &str, sealed: u64, open: u64) -> Vec<u8> {
        let [sealed_report, open_report] =
            [sealed, open].map(|plays| self.report(region_id, 1, plays, None));
        let push_of = |report: &'_ [u8]| {
            codec::decode::<ShardReport<'_>>(report)
                .unwrap()
                .push
                .to_vec()
        };
        let (sealed_push, open_push) = (push_of(&sealed_report), push_of(&open_report));
        let push = codec::encode(&Push {
            entries: codec::decode::<Push<'_>>(&sealed_push).unwrap().copies,
            next_offset: 1,
            journal_seq: sealed + open,
            ..codec::decode(&open_push).unwrap()
        });
        codec::encode(&ShardReport {
            region_id,
            shard: 0,
            push: &push,
            figures: &[],
        })
    }

    /// Somebody looks at a chart. Says which shards were asked for it, and whether they were told that somebody
    /// watches.
    fn look(&self) -> Vec<(ObjectName, bool)> {
        self.chart();
        self.pulled()
    }

    fn chart(&self) -> Leaderboard {
        let message = codec::encode(&everything());
        let reply = self.host.run(self.driver.chart(&message), || {});
        codec::decode::<ChartReply>(&reply).unwrap().0.unwrap()
    }

    fn pulled(&self) -> Vec<(ObjectName, bool)> {
        let pulls = std::mem::take(&mut *self.host.pulls.borrow_mut());
        let pulls = pulls.into_iter();
        pulls
            .map(|(name, pull)| (name, pull.watched_since_ms.is_some()))
            .collect()
    }

    fn pass(&self, ms: u64) {
        let until_ms = self.host.now_ms() + ms;
        while self.host.now_ms() < until_ms {
            self.host.run(self.host.sleep(10), || {});
        }
    }

    /// When shards were told since this was asked last.
    fn told(&self) -> Vec<(ObjectName, u64)> {
        std::mem::take(&mut *self.host.looks.borrow_mut())
    }
}

/// The chart of all time.
fn everything() -> ChartRequest {
    ChartRequest {
        scope: "global".into(),
        window: WindowRequest::All,
        sort: Sort::Views,
        k_class: 10,
        filter: Filter::default(),
    }
}

fn shard(region_id: &str) -> ObjectName {
    ObjectName::shard(MAIN, region_id, 0)
}

fn names(told: &[(ObjectName, u64)]) -> Vec<ObjectName> {
    told.iter().map(|(name, _)| name.clone()).collect()
}

#[test]
fn an_object_that_was_asleep_loads_asks_its_shards_and_makes_a_chart_in_an_invocation_each() {
    let mut world = World::new(&["NA"]);
    world.push("NA", 1);
    world.sleep();
    world.pass(10_000);
    world.answers("NA", 1, 3);
    let ask_if_awake = |world: &World| {
        let message = codec::encode(&everything());
        let reply = (world.host).run(world.driver.chart_if_awake(&message), || {});
        codec::decode::<ChartReply>(&reply).unwrap().0
    };
    assert_eq!(ask_if_awake(&world), Err(Refusal::Waking));
    assert_eq!(world.pulled(), [], "it has loaded");
    assert_eq!(ask_if_awake(&world), Err(Refusal::Waking));
    assert_eq!(world.pulled(), [(shard("NA"), false)]);
    let chart = ask_if_awake(&world).unwrap();
    assert_eq!((chart.total_views, chart.incomplete), (3, false));
    assert_eq!(world.pulled(), [], "asked once for both");
    let world = World::new(&["NA"]);
    assert_eq!(ask_if_awake(&world), Err(Refusal::Waking));
    assert!(ask_if_awake(&world).is_ok(), "nobody has anything open");
}

#[test]
fn shards_are_told_of_plays_that_no_chart_showed_and_of_nothing_else() {
    let world = World::new(&["NA", "EU"]);
    world.push("NA", 1);
    world.pass(10_000);
    assert_eq!(world.told(), [], "nobody watches");
    world.watch(shard("EU")).unwrap();
    world.push("NA", 1);
    world.pass(10_000);
    assert_eq!(world.told(), [], "nothing new");
    let pushed_ms = world.host.now_ms();
    world.push("NA", 2);
    world.pass(10_000);
    let told = world.told();
    assert_eq!(names(&told), [shard("EU")]);
    let after_ms = told[0].1 - pushed_ms;
    // Until then a chart that was made before the push may serve.
    assert!(
        (TELL_AFTER_MS..TELL_INTERVAL_MS).contains(&after_ms),
        "{after_ms}"
    );
}

#[test]
fn however_many_pushes_come_shards_are_told_every_two_seconds_and_of_the_last_one() {
    let world = World::new(&["NA", "EU"]);
    world.watch(shard("EU")).unwrap();
    let mut last_ms = 0;
    for plays in 1..=200 {
        last_ms = world.host.now_ms();
        world.push("NA", plays);
        world.pass(100);
    }
    world.pass(10_000);
    let told = world.told();
    assert!(told.len() > 2, "{}", told.len());
    assert!(
        told.windows(2)
            .all(|two| two[1].1 - two[0].1 >= TELL_INTERVAL_MS)
    );
    assert!(told.last().unwrap().1 >= last_ms + TELL_AFTER_MS);
}

#[test]
fn who_watches_is_known_after_a_sleep_until_nobody_looks_there_or_it_does_not_come_again() {
    let mut world = World::new(&["NA", "EU"]);
    world.watch(shard("NA")).unwrap();
    world.watch(shard("EU")).unwrap();
    world.sleep();
    world.push("NA", 1);
    world.pass(5_000);
    assert_eq!(names(&world.told()), [shard("EU"), shard("NA")]);
    world.host.away.borrow_mut().push(shard("EU"));
    world.push("NA", 2);
    world.pass(5_000);
    assert_eq!(names(&world.told()), [shard("EU"), shard("NA")]);
    world.sleep();
    world.push("NA", 3);
    world.pass(5_000);
    assert_eq!(
        names(&world.told()),
        [shard("NA")],
        "EU has said that nobody looks"
    );
    world.host.now_ms.set(world.host.now_ms() + LEASE_MS);
    world.push("NA", 4);
    world.pass(5_000);
    assert_eq!(world.told(), [], "NA has not come again");
    assert_eq!(world.push("NA", 5).watched_since_ms, None);
    world.sleep();
    assert_eq!(world.push("NA", 6).watched_since_ms, None);
}

#[test]
fn whoever_comes_again_and_again_stays_and_is_written_once_an_hour() {
    let world = World::new(&["NA"]);
    let row = || world.host.storage.get(Table::Meta, b"watchers").unwrap();
    world.watch(shard("NA")).unwrap();
    let (mut last, mut times_written) = (row(), 0);
    for _ in 0..48 {
        world.host.now_ms.set(world.host.now_ms() + WATCH_AGAIN_MS);
        world.watch(shard("NA")).unwrap();
        times_written += u32::from(row() != last);
        last = row();
    }
    assert_eq!(times_written, 24);
    // The registry, which has the catalog too, is asked as often.
    assert_eq!(world.host.watches.get(), 49);
    world.push("NA", 1);
    world.pass(5_000);
    assert_eq!(world.told().len(), 1);
}

#[test]
fn there_is_room_for_so_many_and_the_next_one_is_to_look_by_itself() {
    let regions: Vec<String> = (0..=MAX_WATCHERS)
        .map(|number| format!("R{number}"))
        .collect();
    let regions: Vec<&str> = regions.iter().map(String::as_str).collect();
    let world = World::new(&regions);
    for region in &regions[..MAX_WATCHERS] {
        world.watch(shard(region)).unwrap();
    }
    let last = shard(regions[MAX_WATCHERS]);
    assert!(matches!(
        world.watch(last.clone()),
        Err(Refusal::Busy { .. })
    ));
    world.watch(shard(regions[0])).unwrap();
    world.host.now_ms.set(world.host.now_ms() + LEASE_MS + 1);
    world.watch(last).unwrap();
}

#[test]
fn only_shards_of_the_board_may_watch() {
    let world = World::new(&["NA"]);
    for object in [
        ObjectName::Registry,
        ObjectName::global(MAIN),
        ObjectName::shard("jazz@1", "NA", 0),
        shard("MOON"),
    ] {
        let refused = world.watch(object.clone());
        assert!(
            matches!(refused, Err(Refusal::Invalid(_))),
            "{object:?}: {refused:?}"
        );
    }
}

#[test]
fn what_others_tell_is_passed_on_where_somebody_watches() {
    let world = World::new(&["NA"]);
    assert_eq!(world.hear(), Err(Refusal::NotFound));
    world.watch(shard("NA")).unwrap();
    assert_eq!(world.hear(), Ok(()));
    world.pass(5_000);
    assert_eq!(names(&world.told()), [shard("NA")]);
}

#[test]
fn whoever_has_said_that_nobody_watches_watches_again_when_somebody_does() {
    let world = World::new(&["NA"]);
    world.watch(shard("NA")).unwrap();
    assert_eq!(world.host.watches.get(), 1, "the registry's");
    world.watch(shard("NA")).unwrap();
    assert_eq!(world.host.watches.get(), 1, "it knows");
    world.host.away.borrow_mut().push(shard("NA"));
    assert_eq!(world.hear(), Ok(()));
    world.pass(5_000);
    world.host.away.borrow_mut().clear();
    // The registry forgets who says so.
    assert_eq!(world.hear(), Err(Refusal::NotFound));
    world.watch(shard("NA")).unwrap();
    assert_eq!(world.host.watches.get(), 2);
}

#[test]
fn who_says_that_nobody_looks_and_comes_again_at_once_is_not_forgotten() {
    let host = TestHost::at(NOW_MS);
    let (watchers, na) = (Watchers::default(), shard("NA"));
    watchers.add(&host.storage, na.clone(), NOW_MS).unwrap();
    host.away.borrow_mut().push(na.clone());
    let tell = |between: &dyn Fn()| {
        let look = |_: &ObjectName| Look {
            board_is_public: true,
        };
        host.looks.borrow_mut().clear();
        host.run(watchers.tell(&host, look), between)
    };
    // Its answer is on the way when the next reader comes.
    let come_again = || {
        if !host.looks.borrow().is_empty() {
            watchers.add(&host.storage, na.clone(), NOW_MS).unwrap();
        }
    };
    assert!(!tell(&come_again), "nobody is forgotten");
    assert_eq!(names(&host.looks.borrow()), std::slice::from_ref(&na));
    assert!(tell(&|| {}), "it has said so and not come again");
    assert!(watchers.is_empty(host.now_ms()));
}

#[test]
fn quiet_shards_are_told_that_somebody_watches_and_are_not_asked_once_they_know() {
    let world = World::new(&["NA", "EU"]);
    let reply = world.push("NA", 1);
    assert!(reply.is_quiet && reply.watched_since_ms.is_none());
    world.watch(shard("EU")).unwrap();
    world.pass(100);
    assert_eq!(world.pulled(), [(shard("NA"), true)]);
    let since_ms = world.push("NA", 2).watched_since_ms;
    assert!(since_ms.is_some());
    world.pass(10_000);
    assert_eq!(
        world.look(),
        [(shard("NA"), true)],
        "it does not say that it knows"
    );
    assert_eq!(world.push_of("NA", 3, since_ms).watched_since_ms, since_ms);
    world.pass(10_000);
    assert_eq!(world.look(), []);
    world.host.away.borrow_mut().push(shard("EU"));
    world.push_of("NA", 4, since_ms);
    world.pass(5_000);
    assert_eq!(world.push_of("NA", 5, since_ms).watched_since_ms, None);
    world.pass(10_000);
    assert_eq!(world.look(), [(shard("NA"), false)]);
}

#[test]
fn a_push_of_before_does_not_say_that_its_shard_knows_who_watches_now() {
    let world = World::new(&["NA", "EU"]);
    world.watch(shard("EU")).unwrap();
    let before_ms = world.push("NA", 1).watched_since_ms;
    world.push_of("NA", 2, before_ms);
    world.host.away.borrow_mut().push(shard("EU"));
    world.pass(5_000);
    assert_eq!(world.push_of("NA", 3, before_ms).watched_since_ms, None);
    world.host.away.borrow_mut().clear();
    world.watch(shard("EU")).unwrap();
    assert_ne!(
        world.push_of("NA", 4, before_ms).watched_since_ms,
        before_ms
    );
    world.pass(10_000);
    world.pulled();
    assert_eq!(world.look(), [(shard("NA"), true)]);
}

#[test]
fn an_old_push_does_not_stand_after_a_start_for_what_its_shard_has_told_since() {
    let mut world = World::new(&["NA", "EU"]);
    world.watch(shard("EU")).unwrap();
    let since_ms = world.push("NA", 1).watched_since_ms;
    world.push_of("NA", 2, since_ms);
    world.push_of("NA", 3, since_ms);
    world.pass(10_000);
    assert_eq!(world.look(), [], "it knows, and tells");
    world.sleep();
    // What it told last is gone, and it has nothing new to tell.
    world.push_of("NA", 2, since_ms);
    world.pass(10_000);
    world.answers("NA", 1, 3);
    let chart = world.chart();
    assert_eq!(world.pulled(), [(shard("NA"), true)]);
    assert_eq!((chart.total_views, chart.incomplete), (3, false));
    world.push_of("NA", 4, since_ms);
    world.pass(10_000);
    assert_eq!(world.look(), [], "it was asked once");
}

#[test]
fn after_a_start_an_old_push_of_a_busy_shard_does_not_stand_for_what_it_has_told_since() {
    for asks in [true, false] {
        let mut world = World::new(&["NA"]);
        assert!(!world.push("NA", 1_000).is_quiet);
        let old = world.report("NA", 1, 2_000, None);
        world.push("NA", 3_000);
        assert_eq!(world.chart().total_views, 3_000);
        world.sleep();
        world.take(&old);
        world.pass(20_000);
        let chart = world.chart();
        assert_eq!((chart.total_views, chart.incomplete), (2_000, true));
        // Who looks has it asked; or it has heard of this state, and pushes again.
        if asks {
            world.answers("NA", 1, 3_000);
        } else {
            world.push("NA", 3_000);
        }
        world.pass(6_000);
        let chart = world.chart();
        assert_eq!((chart.total_views, chart.incomplete), (3_000, false));
    }
}

#[test]
fn after_a_start_no_old_push_of_a_shard_that_was_quiet_stands_for_what_it_has_told_since() {
    let asked = vec![(shard("NA"), false)];
    // It had grown loud, and nothing of that was stored.
    let world = &mut World::new(&["NA"]);
    assert!(world.push("NA", 1).is_quiet);
    let old = [1_000, 2_000].map(|plays| world.report("NA", 1, plays, None));
    for plays in [1_000, 2_000, 3_000] {
        world.push("NA", plays);
    }
    world.sleep();
    world.pulled();
    for report in &old {
        world.take(report);
    }
    world.pass(20_000);
    assert!(world.chart().incomplete);
    assert_eq!(world.pulled(), asked);

    // It had sealed all, and opened a pane since.
    let world = &mut World::new(&["NA"]);
    assert!(world.push("NA", 1).is_quiet);
    let old = world.report_sealed("NA", 2, 0);
    let new = world.report_sealed("NA", 2, 3_000);
    world.take(&old);
    world.take(&new);
    world.sleep();
    world.pulled();
    world.take(&old);
    world.pass(20_000);
    assert!(world.chart().incomplete);
    assert_eq!(world.pulled(), asked);
}

#[test]
fn a_shard_of_which_an_old_push_came_after_a_start_is_missed_after_the_next_start_too() {
    let world = &mut World::new(&["NA"]);
    world.push("NA", 1_000);
    world.pass(20_000);
    let old = world.report_sealed("NA", 1_000, 0);
    world.take(&world.report_sealed("NA", 1_000, 500));
    world.sleep();
    world.take(&old);
    world.pass(100_000);
    world.sleep();
    world.pulled();
    assert!(world.chart().incomplete);
    assert_eq!(world.pulled(), [(shard("NA"), false)]);
    world.answers("NA", 1, 1_500);
    world.pass(20_000);
    assert!(!world.chart().incomplete);
}

/// A quiet shard, and its platform.
struct Quiet {
    host: TestHost,
    driver: region::Driver<TestHost>,
    plays: u64,
}

impl Quiet {
    fn new() -> Self {
        let host = TestHost {
            object: std::rc::Rc::new(shard("NA")),
            ..TestHost::at(NOW_MS)
        };
        let driver = region::Driver::new(host.clone(), Limits::default());
        Quiet {
            host,
            driver,
            plays: 0,
        }
    }

    fn sleep(&mut self) {
        self.host.tasks.borrow_mut().clear();
        self.driver = region::Driver::new(self.host.clone(), Limits::default());
    }

    /// Says in how long it is to be woken from then on.
    fn play_after(&mut self, ms: u64) -> u64 {
        self.host.now_ms.set(self.host.now_ms() + ms);
        self.play();
        self.host.run(self.host.sleep(20), || {});
        self.host.alarm_ms.get().unwrap() - self.host.now_ms()
    }

    fn play(&mut self) {
        self.play_of(&["a".into()], 0);
    }

    /// A play of each of these posts, so long ago.
    fn play_of(&mut self, posts: &[String], ago_ms: u64) {
        self.plays += 1;
        let plays = posts.iter().map(|post_id| BatchPlay {
            post_id,
            timestamp_ms: self.host.now_ms() - ago_ms,
            count: 1,
        });
        let key = format!("batch {}", self.plays);
        let batch = Batch {
            key: Some(key.as_bytes()),
            sent_ms: self.host.now_ms(),
            plays_hash: 1,
            plays: plays.collect(),
        };
        let message = codec::encode(&RecordRequest {
            board: MAIN,
            region_id: "NA",
            shard: 0,
            epoch_ms: 0,
            seed: SEED,
            listed: None,
            batch: &codec::encode(&batch),
        });
        let recorded = Box::pin(self.driver.record(&message, None));
        let reply = self.host.run(self.host.within(MINUTE_MS, recorded), || {});
        let is_counted = matches!(reply, Some(RecordReply::Counted { .. }));
        assert!(is_counted, "{reply:?}");
    }

    /// Pushes are answered so from now on: everything is durable below that offset.
    fn answers(&self, durable_offset: u64, is_watched: bool) {
        self.answers_to(true, durable_offset, is_watched);
    }

    fn answers_to(&self, is_quiet: bool, durable_offset: u64, is_watched: bool) {
        let watched_since_ms = is_watched.then_some(NOW_MS);
        let reply = PushReplyOrRefusal(Ok(PushReply {
            wanted_offset: durable_offset,
            durable_offset,
            epoch_ms: 0,
            seed: SEED,
            push_interval_ms: PUSH_INTERVAL_MS,
            is_quiet,
            watched_since_ms,
            state: 1,
            days: None,
        }));
        *self.host.push_reply.borrow_mut() = Some(codec::encode(&reply));
    }

    /// Its alarm fires, and the push is answered. Says what the push knows, and in how long it is to be woken.
    fn push(&self, is_watched: bool) -> (bool, u64) {
        self.answers(0, is_watched);
        self.host.now_ms.set(self.host.alarm_ms.take().unwrap());
        self.host.run(self.driver.alarm(None), || {}).unwrap();
        let pushed = std::mem::take(&mut *self.host.pushed.borrow_mut());
        let report = codec::decode::<ShardReport<'_>>(pushed.last().unwrap()).unwrap();
        let push = codec::decode::<Push<'_>>(report.push).unwrap();
        assert_eq!(pushed.len(), 1);
        (
            push.watched_since_ms.is_some(),
            self.host.alarm_ms.get().unwrap() - self.host.now_ms(),
        )
    }

    fn pull(&self, is_watched: bool) {
        let watched_since_ms = is_watched.then_some(NOW_MS);
        let message = codec::encode(&Pull { watched_since_ms });
        let report = self.host.run(self.driver.pull(&message), || {});
        report.unwrap();
    }
}

#[test]
fn a_quiet_shard_pushes_soon_while_somebody_watches_also_when_it_has_slept() {
    let is_soon = |in_ms| in_ms <= PUSH_INTERVAL_MS;
    let mut quiet = Quiet::new();
    assert!(is_soon(quiet.play_after(0)));
    let (knows, in_ms) = quiet.push(false);
    assert!(!knows && in_ms > QUIET_SEALING_MS - MINUTE_MS, "{in_ms}");
    assert!(!is_soon(quiet.play_after(20_000)));
    quiet.pull(false);
    assert!(!is_soon(quiet.play_after(20_000)));
    quiet.pull(true);
    assert!(is_soon(quiet.play_after(20_000)));
    let (knows, in_ms) = quiet.push(true);
    assert!(knows && !is_soon(in_ms), "{in_ms}");
    assert!(is_soon(quiet.play_after(1_000)));
    quiet.push(true);
    quiet.sleep();
    assert!(is_soon(quiet.play_after(60_000)));
    let (knows, in_ms) = quiet.push(false);
    assert!(knows && !is_soon(in_ms), "{in_ms}");
    quiet.sleep();
    assert!(!is_soon(quiet.play_after(60_000)));
}

#[test]
fn who_begins_to_watch_while_a_push_is_answered_is_not_forgotten() {
    let mut quiet = Quiet::new();
    quiet.play_after(0);
    quiet.push(false);
    quiet.pull(true);
    assert!(quiet.play_after(20_000) <= PUSH_INTERVAL_MS);
    let (host, driver) = (quiet.host.clone(), quiet.driver.clone());
    host.now_ms.set(host.alarm_ms.take().unwrap());
    let mut is_asked = false;
    // The reply was made before.
    let alarm = host.run(quiet.driver.alarm(None), || {
        if !host.pushed.borrow().is_empty() && !std::mem::replace(&mut is_asked, true) {
            let driver = driver.clone();
            let message = codec::encode(&Pull {
                watched_since_ms: Some(NOW_MS),
            });
            host.spawn(async move { drop(driver.pull(&message).await) });
        }
    });
    assert!(is_asked && alarm.is_ok());
    assert!(quiet.play_after(20_000) <= PUSH_INTERVAL_MS);
}

#[test]
fn an_alarm_is_not_done_with_where_the_next_could_not_be_set() {
    let mut quiet = Quiet::new();
    quiet.play_after(0);
    quiet.answers(0, false);
    let host = quiet.host.clone();
    host.now_ms.set(host.alarm_ms.take().unwrap());
    host.refused_alarms.set(u64::MAX);
    let refused = host.run(quiet.driver.alarm(None), || {});
    assert!(refused.is_err());
    host.refused_alarms.set(0);
    host.run(quiet.driver.alarm(None), || {}).unwrap();
    assert!(host.alarm_ms.get().is_some());
}

#[test]
fn a_busy_shard_that_is_refused_an_alarm_asks_again_after_its_commit() {
    let mut quiet = Quiet::new();
    quiet.play_after(0);
    quiet.answers_to(false, 1, false);
    let host = quiet.host.clone();
    // All that it has is sealed and taken: it is a busy one without work.
    while let Some(alarm_ms) = host.alarm_ms.take() {
        host.now_ms.set(alarm_ms + MINUTE_MS);
        host.run(quiet.driver.alarm(None), || {}).unwrap();
    }
    host.refused_alarms.set(1);
    assert!(quiet.play_after(0) <= PUSH_INTERVAL_MS);
    assert_eq!(host.refused_alarms.get(), 0);
}

#[test]
fn plays_that_come_while_the_commit_before_sets_the_alarm_are_counted() {
    let mut quiet = Quiet::new();
    quiet.play_after(0);
    quiet.push(false);
    let set = quiet.host.alarms.get();
    quiet.host.alarm_takes_ms.set(100);
    let posts: Vec<String> = (0..250).map(|number| format!("{number}")).collect();
    // They are counted before the alarm of a busy shard is set.
    quiet.play_of(&posts, 0);
    assert_eq!(quiet.host.alarms.get(), set);
    quiet.play();
    assert_eq!(quiet.host.alarms.get(), set + 1);
}

#[test]
fn whoever_asks_a_shard_whose_alarm_was_lost_sees_to_it_that_there_is_one() {
    let mut quiet = Quiet::new();
    quiet.play_after(0);
    quiet.push(false);
    quiet.host.alarm_ms.take();
    quiet.sleep();
    quiet.pull(false);
    quiet.host.run(quiet.host.sleep(20), || {});
    assert!(quiet.host.alarm_ms.get().is_some());
}

#[test]
fn a_shard_that_has_begun_a_new_log_when_it_is_asked_is_asked_again() {
    let world = World::new(&["NA"]);
    assert!(world.push("NA", 1).is_quiet);
    world.pass(10_000);
    world.answers("NA", 2, 5);
    assert_eq!(world.look(), [(shard("NA"), false)]);
    world.pass(10_000);
    assert_eq!(world.look(), [(shard("NA"), false)]);
}

#[test]
fn what_a_shard_answers_after_the_state_was_dropped_that_asked_does_not_stand_for_it() {
    let world = World::new(&["NA", "EU"]);
    world.watch(shard("EU")).unwrap();
    let since_ms = world.push("NA", 1).watched_since_ms;
    world.pass(10_000);
    world.host.pull_takes_ms.set(1_000);
    world.answers("NA", 1, 1);
    world.pulled();
    let message = codec::encode(&everything());
    let mut at_once = Some(());
    let reply = world.host.run(world.driver.chart(&message), || {
        // While the shard is asked: it pushes more, then the state is dropped that has taken it.
        if !world.host.pulls.borrow().is_empty() && at_once.take().is_some() {
            world.push_of("NA", 2, since_ms);
            world.host.failed_syncs.set(u64::MAX);
            let report = world.report("EU", 1, 0, None);
            let reply = world.host.run(world.driver.push(&report), || {});
            let PushReplyOrRefusal(reply) = codec::decode(&reply).unwrap();
            assert!(reply.is_err());
            world.host.failed_syncs.set(0);
        }
    });
    assert!(codec::decode::<ChartReply>(&reply).unwrap().0.is_ok());
    assert!(at_once.is_none() && world.pulled().len() == 1);
    // An old push comes once more.
    world.push_of("NA", 1, since_ms);
    world.pass(20_000);
    world.answers("NA", 1, 2);
    assert_eq!(world.chart().total_views, 2);
    assert_eq!(world.pulled(), [(shard("NA"), true)]);
}

#[test]
fn a_shard_that_counts_anew_when_it_is_asked_is_heard_at_once() {
    let mut world = World::new(&["NA"]);
    assert!(world.push("NA", 9).is_quiet);
    world.pass(10_000);
    // Nobody told the global object: the message was lost.
    world.begin_anew(&["NA"]);
    world.answers("NA", 2, 5);
    let chart = world.chart();
    assert_eq!((chart.total_views, chart.incomplete), (5, false));
}

#[test]
fn a_shard_that_comes_back_after_days_is_missed_by_an_object_that_sleeps_at_once() {
    let mut world = World::new(&["NA"]);
    assert!(world.push("NA", 9).is_quiet);
    world.host.now_ms.set(NOW_MS + 3 * DAY_MS);
    let report = world.report_with(("NA", 1), 9, None, 40);
    let reply = world.host.run(world.driver.push(&report), || {});
    let PushReplyOrRefusal(reply) = codec::decode(&reply).unwrap();
    assert_eq!(reply.unwrap().wanted_offset, 0);
    world.sleep();
    assert!(world.chart().incomplete, "nobody knows what the shard has");
}

#[test]
fn a_shard_hears_nothing_before_what_a_dropped_state_stored_of_it_is_durable() {
    let world = World::new(&["NA"]);
    assert!(!world.chart().incomplete, "it has heard of its regions");
    // One that is busy: it has sealed panes to send.
    let report = world.report_with(("NA", 1), 9, None, 40);
    let push = || {
        let reply = world.host.run(world.driver.push(&report), || {});
        codec::decode::<PushReplyOrRefusal>(&reply).unwrap().0
    };
    world.host.failed_syncs.set(u64::MAX);
    assert!(push().is_err());
    // The state was dropped, and the next one read what may be lost yet.
    assert!(push().is_err());
    world.host.failed_syncs.set(0);
    assert_eq!(push().unwrap().wanted_offset, 0);
}

#[test]
fn each_epoch_that_a_shard_knows_first_is_asked_for() {
    let mut world = World::new(&["NA"]);
    assert!(world.push("NA", 9).is_quiet);
    for (log, plays) in [(2, 5), (3, 2)] {
        world.pass(10_000);
        // Nobody told the global object, this time neither.
        world.begin_anew(&["NA"]);
        let report = world.report("NA", log, plays, None);
        let reply = world.host.run(world.driver.push(&report), || {});
        let PushReplyOrRefusal(reply) = codec::decode(&reply).unwrap();
        assert_eq!(reply.unwrap().epoch_ms, world.epoch_ms);
        let known = (world.driver).look(|global| global.table().epoch_ms);
        assert_eq!(
            known,
            Some(world.epoch_ms),
            "plays of this epoch would go with those of before"
        );
    }
}

#[test]
fn a_clock_that_is_set_back_makes_nobody_wait_for_what_shards_have() {
    let world = World::new(&["NA"]);
    assert!(world.push("NA", 1).is_quiet);
    world.answers("NA", 1, 1);
    world.look();
    world.host.now_ms.set(NOW_MS - 60 * MINUTE_MS);
    assert_eq!(world.look(), [(shard("NA"), false)]);
    assert_eq!(world.look(), [], "it has just told");
}

#[test]
fn a_shard_that_does_not_answer_holds_readers_up_once_each_time_that_it_is_asked() {
    let world = World::new(&["NA"]);
    assert!(world.push("NA", 1).is_quiet);
    world.host.pull_takes_ms.set(60_000);
    let until_ms = world.host.now_ms() + 20_000;
    let mut waits_ms = Vec::new();
    while world.host.now_ms() < until_ms {
        world.pass(500);
        let began_ms = world.host.now_ms();
        assert!(world.chart().incomplete);
        waits_ms.push(world.host.now_ms() - began_ms);
    }
    let asked = world.pulled().len();
    assert!((3..=5).contains(&asked), "{asked}");
    let waited = waits_ms.iter().filter(|ms| **ms > 100).count();
    assert!(waited <= asked, "{waits_ms:?}");
    assert!(waits_ms.iter().all(|ms| *ms <= 1_600), "{waits_ms:?}");
}

#[test]
fn of_more_quiet_shards_than_may_be_asked_at_once_the_others_become_busy_and_are_not_missed_in_silence()
 {
    let region_ids = ["A", "B", "C", "D"];
    let settings = GlobalSettings {
        limits: GlobalLimits {
            pulled_shards: 2,
            ..GlobalLimits::default()
        },
        ..GlobalSettings::default()
    };
    let world = World::with(&region_ids, settings);
    // Without anything open they may all be quiet.
    for region_id in region_ids {
        assert!(world.push(region_id, 0).is_quiet);
    }
    let push_all = |plays| region_ids.map(|region_id| world.push(region_id, plays).is_quiet);
    assert_eq!(push_all(1), [true, true, false, false]);
    world.pass(PUSH_INTERVAL_MS);
    for region_id in region_ids {
        world.answers(region_id, 1, 10);
    }
    // Nobody knows yet whether the others have heard that they are to push.
    let chart = world.chart();
    assert_eq!(world.pulled().len(), 2);
    assert_eq!((chart.total_views, chart.incomplete), (22, true));
    // Of those that were asked a moment ago it is known.
    let chart = world.chart();
    assert_eq!(world.pulled().len(), 2);
    assert_eq!((chart.total_views, chart.incomplete), (40, false));
    // Those that were to push have heard it, and give way; then there is room for two.
    push_all(11);
    world.pass(PUSH_INTERVAL_MS);
    assert_eq!(push_all(12), [true, true, false, false]);
    world.pass(PUSH_INTERVAL_MS);
    assert_eq!(push_all(13), [true, true, false, false]);
    world.pass(PUSH_INTERVAL_MS);
    assert_eq!(world.look().len(), 2);
    assert!(!world.chart().incomplete);
}

#[test]
fn counting_begins_anew_at_once_also_where_the_registry_was_set_back_before() {
    let world = World::new(&["NA"]);
    let table = |number, epoch_ms| RegionTable {
        number,
        epoch_ms,
        ..table_of(&["NA"], SEED)
    };
    world.learn(&table(9, 0));
    world.push("NA", 3);
    assert_eq!(world.chart().total_views, 3);
    world.pass(1_000);
    world.learn(&table(2, world.host.now_ms()));
    assert_eq!(world.chart().total_views, 0);
}

#[test]
fn the_world_is_incomplete_while_the_registry_has_lost_a_region_whose_shards_push() {
    let mut world = World::new(&["EU", "NA"]);
    let table = |number, region_ids: &[&str]| RegionTable {
        number,
        ..table_of(region_ids, SEED)
    };
    let push = |world: &World| {
        let report = world.report("EU", 1, 0, None);
        let reply = world.host.run(world.driver.push(&report), || {});
        codec::decode::<PushReplyOrRefusal>(&reply).unwrap().0
    };
    assert!(push(&world).is_ok());
    assert!(!world.chart().incomplete);
    world.learn(&table(2, &["NA"]));
    // A chart serves for a second.
    world.pass(1_500);
    assert!(world.chart().incomplete);
    world.sleep();
    world.pass(20_000);
    assert!(!world.chart().incomplete, "this one knows nothing of it");
    assert_eq!(push(&world), Err(Refusal::UnknownRegion));
    world.pass(1_500);
    assert!(world.chart().incomplete);
    // What was refused is still to come.
    world.learn(&table(3, &["EU", "NA"]));
    world.pass(1_500);
    assert!(world.chart().incomplete);
    world.answers("EU", 1, 0);
    world.pass(6_000);
    assert!(!world.chart().incomplete);
}

#[test]
fn a_region_that_comes_back_after_a_start_is_missed_until_its_shards_are_heard() {
    let mut world = World::new(&["EU", "NA"]);
    let learn = |world: &World, number, region_ids: &[&str]| {
        world.learn(&RegionTable {
            number,
            ..table_of(region_ids, SEED)
        });
    };
    world.push("EU", 3_000);
    world.pass(20_000);
    learn(&world, 2, &["NA"]);
    world.sleep();
    world.pass(20_000);
    learn(&world, 3, &["EU", "NA"]);
    assert!(world.chart().incomplete);
    world.answers("EU", 1, 3_000);
    world.pass(20_000);
    let chart = world.chart();
    assert_eq!((chart.total_views, chart.incomplete), (3_000, false));
}

#[test]
fn a_quiet_shard_that_is_gone_is_missed_for_a_day() {
    let world = World::new(&["NA"]);
    assert!(world.push("NA", 1).is_quiet);
    world.pass(10_000);
    assert!(world.chart().incomplete);
    world.host.now_ms.set(world.host.now_ms() + DAY_MS);
    assert!(!world.chart().incomplete);
    world.pass(10_000);
    world.answers("NA", 1, 3);
    assert_eq!(world.chart().total_views, 3, "it is back");
}

#[test]
fn of_very_many_readers_only_so_many_wait_for_a_shard_that_does_not_answer() {
    let world = World::new(&["NA"]);
    assert!(world.push("NA", 1).is_quiet);
    world.pass(10_000);
    world.host.pull_takes_ms.set(1_400);
    world.answers("NA", 1, 2);
    let answered = Rc::new(RefCell::new(Vec::new()));
    for _ in 0..2 * MAX_WAITING_READERS {
        let message = codec::encode(&everything());
        let (driver, answered) = (world.driver.clone(), Rc::clone(&answered));
        world.host.spawn(async move {
            let reply = driver.chart(&message).await;
            let ChartReply(chart) = codec::decode(&reply).unwrap();
            answered.borrow_mut().push(chart.map(|it| it.incomplete));
        });
    }
    // Their turns come meanwhile.
    world.pass(1_200);
    let waiting = 2 * MAX_WAITING_READERS - answered.borrow().len();
    assert_eq!(waiting, MAX_WAITING_READERS);
    assert_eq!(world.pulled().len(), 1);
    world.pass(10_000);
    let answered = answered.borrow();
    let (first, last) = answered.split_at(MAX_WAITING_READERS);
    let is_whole = |chart: &&Result<bool, Refusal>| **chart == Ok(false);
    assert!(!first.iter().any(|chart| is_whole(&chart)));
    assert_eq!(last.len(), MAX_WAITING_READERS);
    assert!(last.iter().any(|chart| is_whole(&chart)));
}

#[test]
fn a_chart_is_as_old_as_shards_may_wait_with_what_is_new_where_the_days_requests_are_used_up() {
    let settings = GlobalSettings {
        daily_requests: Some(0),
        ..GlobalSettings::default()
    };
    let world = World::with(&["NA"], settings);
    let reply = world.push("NA", 0);
    assert!(reply.is_quiet && reply.push_interval_ms > PUSH_INTERVAL_MS);
    world.pass(10_000);
    let chart = world.chart();
    // It has nothing open as far as anybody knows, and tells otherwise after so long.
    assert_eq!((chart.incomplete, world.pulled()), (false, Vec::new()));
    let late_ms = reply.push_interval_ms - PUSH_INTERVAL_MS;
    assert!(chart.as_of_ms + late_ms <= world.host.now_ms());
    let world = World::new(&["NA"]);
    world.push("NA", 0);
    assert!(world.host.now_ms() - world.chart().as_of_ms < 100);
}

#[test]
fn a_chart_after_midnight_is_as_old_as_shards_may_wait_by_what_they_were_told_before() {
    const BUDGET: u64 = 1_000;
    let settings = GlobalSettings {
        daily_requests: Some(BUDGET),
        ..GlobalSettings::default()
    };
    let midnight_ms = NOW_MS - NOW_MS % DAY_MS + DAY_MS;
    let mut world = World::with(&["NA", "EU"], settings.clone());
    world.host.now_ms.set(midnight_ms - 20_000);
    let spent = codec::encode(&Spent {
        day: NOW_MS / DAY_MS,
        requests: BUDGET,
        requests_before: 0,
    });
    let row = Write::put(Table::Meta, "spent", spent);
    world.host.storage.write(&[row]).unwrap();
    let told_ms = world.push("NA", 0).push_interval_ms;
    assert!(told_ms > 60 * 1_000);
    let is_late = |world: &World| {
        let chart = world.chart();
        assert!(!chart.incomplete);
        world.host.now_ms() - chart.as_of_ms >= told_ms - PUSH_INTERVAL_MS
    };
    assert!(is_late(&world));
    world.pass(21_000);
    assert!(is_late(&world));
    // Another shard is told otherwise, often enough for that to be counted, and the object sleeps.
    for _ in 0..100 {
        assert_eq!(world.push("EU", 0).push_interval_ms, PUSH_INTERVAL_MS);
    }
    assert!(is_late(&world));
    world.host.tasks.borrow_mut().clear();
    world.driver = Driver::new(world.host.clone(), settings);
    world.pass(10_000);
    assert!(is_late(&world));
    world.host.now_ms.set(midnight_ms + told_ms);
    assert!(!is_late(&world), "it has pushed again by then");
}

#[test]
fn the_charts_of_the_past_are_closed_when_each_shard_has_pushed_however_long_it_may_wait() {
    for daily_requests in [None, Some(0)] {
        let settings = GlobalSettings {
            daily_requests,
            ..GlobalSettings::default()
        };
        let world = World::with(&["NA"], settings);
        // It is asked what it has, and needs not be.
        let told_ms = world.push("NA", 1).push_interval_ms;
        world.answers("NA", 1, 2);
        let began_ms = world.host.now_ms();
        let message = codec::encode(&CloseHistory);
        let close = world.driver.close_history(&message);
        let reply = codec::decode::<CloseHistoryReply>(&world.host.run(close, || {})).unwrap();
        assert_eq!(reply.0.map(|closed| closed.periods_left), Ok(0));
        assert!(world.host.now_ms() - began_ms > told_ms);
        assert!(!world.pulled().is_empty());
    }
}

#[test]
fn a_quiet_shard_with_more_bytes_than_one_may_have_pushes_soon() {
    let mut quiet = Quiet::new();
    quiet.play_after(0);
    quiet.push(false);
    let mut in_ms = 0;
    for minute in 0..14 {
        let posts = |number: u64| format!("{:030}", minute * 240 + number);
        quiet.play_of(&(0..239).map(posts).collect::<Vec<_>>(), 0);
        in_ms = quiet.play_after(MINUTE_MS);
    }
    assert!(in_ms > PUSH_INTERVAL_MS, "as much as it may have: {in_ms}");
    let posts = |number: u64| format!("{number:0256}");
    quiet.play_of(&(0..2_500).map(posts).collect::<Vec<_>>(), DAY_MS);
    assert!(quiet.play_after(0) <= PUSH_INTERVAL_MS);
}
