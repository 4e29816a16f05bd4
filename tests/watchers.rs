//! Who shows charts over sockets is told when they may have changed, and only then.

#![allow(clippy::unwrap_used, clippy::panic)]

mod objects;

use hitparade::board::{MAIN, ObjectName};
use hitparade::codec;
use hitparade::global::{Driver, GlobalSettings};
use hitparade::host::Host;
use hitparade::storage::{Storage, Table};
use hitparade::summary::{Seed, Summary};
use hitparade::watchers::{
    LEASE_MS, MAX_WATCHERS, TELL_AFTER_MS, TELL_INTERVAL_MS, WATCH_AGAIN_MS,
};
use hitparade::window::{Level, MINUTE_MS, PaneKey};
use hitparade::wire::{
    Look, Noted, Push, PushReplyOrRefusal, Refusal, SealedPane, ShardReport, Watch, WatchReply,
};
use objects::host::TestHost;
use objects::{SEED, table_of};

const NOW_MS: u64 = 1_800_000_000_000;

/// A global object of these regions, and its platform.
struct World {
    host: TestHost,
    driver: Driver<TestHost>,
}

impl World {
    fn new(regions: &[&str]) -> Self {
        let host = TestHost::at(NOW_MS);
        let table = hitparade::wire::EnlistReply(Ok(table_of(regions, SEED)));
        *host.enlisted.borrow_mut() = Some(codec::encode(&table));
        let driver = Driver::new(host.clone(), GlobalSettings::default());
        World { host, driver }
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

    /// A push of a shard with so many plays in its open pane, of as many commits.
    fn push(&self, region_id: &str, plays: u64) {
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
            last_seq: plays,
            summary: &summary.encode(),
        });
        let push = codec::encode(&Push {
            region_id,
            shard: 0,
            epoch_ms: 0,
            log_id: 1,
            log_began_ms: 1,
            oldest_offset: 0,
            first_offset: 0,
            entries: Vec::new(),
            next_offset: 0,
            journal_seq: plays,
            copies: vec![&copy],
            copies_left_out: false,
            cut: None,
        });
        let report = codec::encode(&ShardReport {
            region_id,
            shard: 0,
            push: &push,
            figures: &[],
        });
        let reply = self.host.run(self.driver.push(&report), || {});
        let PushReplyOrRefusal(reply) = codec::decode(&reply).unwrap();
        reply.unwrap();
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

fn shard(region_id: &str) -> ObjectName {
    ObjectName::shard(MAIN, region_id, 0)
}

fn names(told: &[(ObjectName, u64)]) -> Vec<ObjectName> {
    told.iter().map(|(name, _)| name.clone()).collect()
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
        world.push("NA", plays);
        last_ms = world.host.now_ms();
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
    let message = codec::encode(&Look {
        board_is_public: true,
    });
    let hear = || {
        let reply = world.host.run(world.driver.hear_of_change(&message), || {});
        codec::decode::<Noted>(&reply).unwrap().0
    };
    assert_eq!(hear(), Err(Refusal::NotFound));
    world.watch(shard("NA")).unwrap();
    assert_eq!(hear(), Ok(()));
    world.pass(5_000);
    assert_eq!(names(&world.told()), [shard("NA")]);
}
