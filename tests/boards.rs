//! The life of boards: made, changed, deleted for good, made again; and what their objects make of it.

use std::rc::Rc;

use crate::objects::host::TestHost;
use crate::objects::{self, REGIONS, Registered, SEED, table_of};
use hitparade::board::{Board, CatalogKind, MAIN, MAX_BOARDS, ObjectName};
use hitparade::catalog::{self, CatalogLimits};
use hitparade::codec;
use hitparade::global::{self, GlobalSettings};
use hitparade::region::{Driver, Limits};
use hitparade::registry::{self, Registry};
use hitparade::storage::{MemoryStorage, Storage, Table, Write};
use hitparade::summary::{Seed, Summary};
use hitparade::topology::RegionTable;
use hitparade::window::DAY_MS;
use hitparade::wire::*;

const NOW_MS: u64 = 20_000 * DAY_MS;

fn named(board_id: &str) -> PutBoard {
    PutBoard {
        board_id: board_id.into(),
        ..PutBoard::default()
    }
}

struct World {
    registered: Registered,
    random: u64,
}

impl World {
    fn new() -> Self {
        World {
            registered: Registered::new(&REGIONS, SEED),
            random: 100,
        }
    }

    fn put(&mut self, request: &PutBoard) -> Result<Board, Refusal> {
        self.random += 1;
        let Registered {
            registry, storage, ..
        } = &mut self.registered;
        registry.put_board(storage, request, (self.random, self.random), NOW_MS)
    }

    fn delete(&mut self, board_id: &str) -> Result<String, Refusal> {
        self.random += 1;
        let Registered {
            registry, storage, ..
        } = &mut self.registered;
        registry.delete_board(storage, board_id, self.random, NOW_MS)
    }

    fn table_for(&mut self, object: &ObjectName) -> Result<RegionTable, Refusal> {
        let Registered {
            registry, storage, ..
        } = &mut self.registered;
        registry.enlist(storage, object)
    }

    fn enlist(&mut self, object: &ObjectName) -> Result<(), Refusal> {
        self.table_for(object).map(|_| ())
    }

    fn objects_to_wipe(&self, key: &str) -> (Vec<ObjectName>, u64) {
        let Registered {
            registry, storage, ..
        } = &self.registered;
        let (objects, deletion) = registry.objects_to_wipe(storage, key, 40).unwrap();
        (objects, deletion.objects_left)
    }

    fn wiped(&mut self, key: &str, objects: &[ObjectName]) {
        let Registered {
            registry, storage, ..
        } = &mut self.registered;
        registry.wiped(storage, key, objects).unwrap();
    }
}

#[test]
fn a_board_is_made_and_changed_and_what_is_no_board_is_refused_with_a_reason() {
    let mut world = World::new();
    let jazz = world.put(&named("jazz")).unwrap();
    assert!(jazz.beacons && jazz.public && jazz.incarnation > 0);
    let change = PutBoard {
        board_name: Some("Jazz".into()),
        public: Some(false),
        shards: [("EU".to_owned(), 3)].into(),
        ..named("jazz")
    };
    let changed = world.put(&change).unwrap();
    assert_eq!(changed.incarnation, jazz.incarnation);
    assert_eq!(
        (changed.board_name.as_str(), changed.public),
        ("Jazz", false)
    );
    assert_eq!(changed.shards["EU"].shards, 3);
    assert_eq!(
        world.put(&named("jazz")).unwrap(),
        changed,
        "fields that are left out stay"
    );
    let main = PutBoard {
        beacons: Some(false),
        ..named(MAIN)
    };
    assert!(world.put(&main).unwrap().is_main());
    let bad = [
        named("Jazz"),
        named("__proto__!"),
        named(""),
        named(&"a".repeat(65)),
        PutBoard {
            board_name: Some(" ".into()),
            ..named("rock")
        },
        PutBoard {
            shards: [("EU".to_owned(), 1_001)].into(),
            ..named("rock")
        },
        PutBoard {
            catalog: Some(CatalogKind::Own),
            ..named("jazz")
        },
        PutBoard {
            shards: [("EU".to_owned(), 2)].into(),
            ..named(MAIN)
        },
        PutBoard {
            incarnation: Some(7),
            ..named("jazz")
        },
    ];
    for bad in bad {
        let refused = world.put(&bad);
        assert!(matches!(refused, Err(Refusal::Invalid(_))), "{bad:?}");
    }
    let nowhere = PutBoard {
        shards: [("MOON".to_owned(), 2)].into(),
        ..named("rock")
    };
    assert_eq!(world.put(&nowhere), Err(Refusal::UnknownRegion));
    assert!(matches!(world.delete(MAIN), Err(Refusal::Invalid(_))));
    assert_eq!(world.delete("rock"), Err(Refusal::Gone));
    // Every start finds the same.
    let news = world.registered.registry.directory_news(None);
    world.registered.start_again();
    assert_eq!(world.registered.registry.directory_news(None), news);
    assert_eq!(news.boards.len(), 2);
}

#[test]
fn there_are_ten_thousand_boards_at_most_and_those_whose_deletion_is_not_done_count() {
    let mut world = World::new();
    for number in 0..MAX_BOARDS {
        world.put(&named(&format!("b{number}"))).unwrap();
    }
    let refused = |world: &mut World| matches!(world.put(&named("more")), Err(Refusal::Invalid(_)));
    assert!(refused(&mut world));
    let known = world.registered.registry.directory_news(None);
    assert!(codec::encode(&DirectoryReply(Ok(known.clone()))).len() < 700_000);
    world.put(&named("b7")).unwrap();
    let shard = {
        let b7 = known.boards.iter().find(|board| board.board_id == "b7");
        ObjectName::shard(&b7.unwrap().key(), "EU", 0)
    };
    world.enlist(&shard).unwrap();
    let key = world.delete("b7").unwrap();
    assert!(refused(&mut world), "it is not wiped");
    world.wiped(&key, &[shard]);
    world.put(&named("more")).unwrap();
    // Whoever knew all hears of two.
    let news = world
        .registered
        .registry
        .directory_news(Some(known.version));
    assert!(!news.is_whole && news.table.is_none());
    assert_eq!((news.boards.len(), news.gone), (1, vec!["b7".to_owned()]));
}

#[test]
fn a_deletion_wipes_what_was_enlisted_shards_first_and_goes_on_after_every_start() {
    let mut world = World::new();
    let jazz = world.put(&named("jazz")).unwrap();
    let old = jazz.key().into_owned();
    let objects = [
        ObjectName::global(&old),
        ObjectName::shard(&old, "NA", 0),
        ObjectName::shard(&old, "EU", 2),
        ObjectName::Catalog { board: old.clone() },
    ];
    for object in &objects {
        // It may ask twice.
        world.enlist(object).unwrap();
        world.enlist(object).unwrap();
    }
    assert_eq!(world.delete("jazz").unwrap(), old);
    let again = world.put(&named("jazz")).unwrap();
    assert_ne!(again.incarnation, jazz.incarnation);
    world.enlist(&ObjectName::global(&again.key())).unwrap();
    for object in &objects {
        assert_eq!(world.enlist(object), Err(Refusal::Gone), "{object:?}");
    }
    let mut wiped = Vec::new();
    while !world.registered.registry.to_wipe().is_empty() {
        assert_eq!(world.registered.registry.to_wipe(), [old.as_str()]);
        let (next, left) = world.objects_to_wipe(&old);
        assert_eq!(left as usize, objects.len() - wiped.len());
        // One at a time, and a start after each.
        wiped.push(next[0].clone());
        world.wiped(&old, &next[..1]);
        world.registered.start_again();
    }
    let is_shard = |object: &ObjectName| matches!(object, ObjectName::Shard { .. });
    assert!(wiped[..2].iter().all(is_shard));
    assert_eq!(wiped[2..], [objects[0].clone(), objects[3].clone()]);
    assert_eq!(world.enlist(&objects[1]), Err(Refusal::Gone), "for ever");
    // Nothing of it is stored.
    let storage = &world.registered.storage;
    let rows = storage.keys(hitparade::storage::Table::Meta, b"").unwrap();
    let has_old = |key: &Vec<u8>| key.windows(old.len()).any(|part| part == old.as_bytes());
    assert!(!rows.iter().any(has_old));
}

#[test]
fn two_who_wipe_the_same_objects_of_a_board_leave_the_others_to_be_wiped() {
    let mut world = World::new();
    let key = world.put(&named("jazz")).unwrap().key().into_owned();
    for number in 0..60 {
        world
            .enlist(&ObjectName::shard(&key, "NA", number))
            .unwrap();
    }
    world.enlist(&ObjectName::global(&key)).unwrap();
    world.delete("jazz").unwrap();
    // An operator who asks again beside the alarm.
    let (first, left) = world.objects_to_wipe(&key);
    assert_eq!((first.len(), left), (40, 61));
    world.wiped(&key, &first);
    world.wiped(&key, &first);
    assert_eq!(world.registered.registry.to_wipe(), [key.as_str()]);
    let (next, left) = world.objects_to_wipe(&key);
    assert_eq!((next.len(), left), (20, 21));
    world.wiped(&key, &next);
    let (last, _) = world.objects_to_wipe(&key);
    assert_eq!(last, [ObjectName::global(&key)]);
    world.wiped(&key, &last);
    assert!(world.registered.registry.to_wipe().is_empty());
    world.wiped(&key, &last);
}

#[test]
fn counting_anew_is_of_all_boards_and_keeps_their_settings() {
    let mut world = World::new();
    let jazz = PutBoard {
        public: Some(false),
        ..named("jazz")
    };
    let before = world.put(&jazz).unwrap();
    world.enlist(&ObjectName::global(&before.key())).unwrap();
    let id = world.registered.table().installation_id;
    world.registered.reset(id, 7, NOW_MS).unwrap();
    let news = world.registered.registry.directory_news(None);
    let after = news.boards.iter().find(|board| board.board_id == "jazz");
    let after = after.unwrap();
    assert!(!after.public && after.incarnation != before.incarnation);
    assert_eq!(world.registered.registry.to_wipe(), [before.key().as_ref()]);
}

/// A shard of a board, and what its registry says.
fn shard() -> (TestHost, Driver<TestHost>, Vec<u8>) {
    let board = "jazz.0123456789abcdef";
    let host = TestHost {
        object: Rc::new(ObjectName::shard(board, "NA", 0)),
        ..TestHost::at(NOW_MS)
    };
    *host.enlisted.borrow_mut() = None;
    let request = objects::request_of_a_play(board, NOW_MS);
    let driver = Driver::new(host.clone(), Limits::default());
    (host, driver, request)
}

fn enlist_reply() -> Option<Vec<u8>> {
    Some(codec::encode(&EnlistReply(Ok(table_of(&REGIONS, SEED)))))
}

fn is_empty(storage: &MemoryStorage) -> bool {
    storage.size().unwrap() == 0
}

fn host_of(object: ObjectName) -> TestHost {
    let host = TestHost {
        object: Rc::new(object),
        ..TestHost::at(NOW_MS)
    };
    *host.enlisted.borrow_mut() = None;
    host
}

fn wipe_of(host: &TestHost) -> Vec<u8> {
    codec::encode(&Wipe {
        object: ObjectName::clone(&host.object),
    })
}

/// Boards whose catalog is the installation's, and its own.
const SHARES: &str = "jazz.0123456789abcdef";
const OWNS: &str = "jazz.8123456789abcdef";

/// The global object of a board, and what a shard of it pushes.
fn global(board: &str) -> (TestHost, global::Driver<TestHost>, Vec<u8>) {
    let host = host_of(ObjectName::global(board));
    let driver = global::Driver::new(host.clone(), GlobalSettings::default());
    let mut summary = Summary::new(100, Seed::from_bytes(SEED));
    summary.record("post", 7);
    let pane = objects::pane(objects::recording_pane(NOW_MS, NOW_MS), &summary);
    let report = codec::encode(&ShardReport {
        region_id: "NA",
        shard: 0,
        push: &objects::first_push(("NA", 0), &[], &[pane]),
        figures: &[],
    });
    (host, driver, report)
}

fn push(host: &TestHost, driver: &global::Driver<TestHost>, report: &[u8]) -> Result<(), Refusal> {
    let reply = host.run(driver.push(report), || {
        host.now_ms.set(host.now_ms.get() + 100)
    });
    let PushReplyOrRefusal(reply) = codec::decode(&reply).unwrap();
    reply.map(|_| ())
}

#[test]
fn a_global_object_of_a_board_writes_nothing_until_it_is_enlisted_and_asks_once() {
    let (host, driver, report) = global(SHARES);
    for _ in 0..2 {
        assert!(matches!(
            push(&host, &driver, &report),
            Err(Refusal::Busy { .. })
        ));
    }
    assert!(is_empty(&host.storage), "the registry is away");
    host.now_ms.set(host.now_ms.get() + 2_000);
    *host.enlisted.borrow_mut() = enlist_reply();
    let asked = host.times_enlisted.get();
    assert_eq!(push(&host, &driver, &report), Ok(()));
    assert_eq!(push(&host, &driver, &report), Ok(()));
    assert_eq!(host.times_enlisted.get(), asked + 1);
    assert!(!is_empty(&host.storage));
    // Its instance ends, and the registry is away: what is stored says that it was enlisted.
    *host.enlisted.borrow_mut() = None;
    let again = global::Driver::new(host.clone(), GlobalSettings::default());
    assert_eq!(push(&host, &again, &report), Ok(()));
}

#[test]
fn a_global_object_whose_board_is_gone_or_is_wiped_has_nothing_and_takes_nothing_more() {
    let (host, driver, report) = global(SHARES);
    *host.enlisted.borrow_mut() = Some(codec::encode(&EnlistReply(Err(Refusal::Gone))));
    for _ in 0..2 {
        assert_eq!(push(&host, &driver, &report), Err(Refusal::Gone));
        assert!(is_empty(&host.storage));
    }
    let (host, driver, report) = global(SHARES);
    *host.enlisted.borrow_mut() = enlist_reply();
    assert_eq!(push(&host, &driver, &report), Ok(()));
    let noted = |reply: Vec<u8>| codec::decode::<Noted>(&reply).unwrap().0;
    let other = codec::encode(&Wipe {
        object: ObjectName::global(OWNS),
    });
    assert!(noted(host.run(driver.wipe(&other), || {})).is_err());
    assert!(!is_empty(&host.storage), "it was meant for another");
    for _ in 0..2 {
        assert_eq!(noted(host.run(driver.wipe(&wipe_of(&host)), || {})), Ok(()));
        assert_eq!(push(&host, &driver, &report), Err(Refusal::Gone));
        assert!(is_empty(&host.storage));
    }
    // Another instance, and a push that comes late: it asks, and hears so.
    *host.enlisted.borrow_mut() = Some(codec::encode(&EnlistReply(Err(Refusal::Gone))));
    let again = global::Driver::new(host.clone(), GlobalSettings::default());
    assert_eq!(push(&host, &again, &report), Err(Refusal::Gone));
    assert!(is_empty(&host.storage));
}

#[test]
fn a_board_follows_its_own_catalog_or_the_one_that_is_shared_and_exports_its_own_alone() {
    let own = ObjectName::Catalog { board: OWNS.into() };
    for (board, keeper, exports) in [
        (MAIN, ObjectName::Registry, true),
        (SHARES, ObjectName::Registry, false),
        (OWNS, own, true),
    ] {
        let (host, driver, report) = global(board);
        *host.enlisted.borrow_mut() = enlist_reply();
        assert_eq!(push(&host, &driver, &report), Ok(()));
        host.run(driver.metrics(), || {});
        assert_eq!(host.catalog_asked.take(), Some(keeper), "{board}");
        let put = codec::encode(&PutPosts {
            patches: vec![PostPatch {
                post_id: "post".into(),
                ..PostPatch::default()
            }],
            only_new: false,
        });
        let catalog = catalog::Driver::new(host.clone(), CatalogLimits::default());
        host.run(catalog.put_posts(&put), || {});
        assert_eq!(has_posts(&exported(&host, &driver)), exports, "{board}");
    }
}

#[test]
fn an_export_waits_for_the_shards_that_its_board_has_and_for_no_others() {
    let mut world = World::new();
    let of_main = |region_id: &str, shards| PutRegion {
        region_id: region_id.into(),
        region_name: None,
        shards: Some(shards),
        hint: None,
    };
    world.registered.put(&of_main("NA", 5)).unwrap();
    world.registered.put(&of_main("SA", 2)).unwrap();
    let with_shards = |shards| PutBoard {
        shards: [("EU", shards), ("SA", shards)]
            .map(|(id, shards)| (id.into(), shards))
            .into(),
        ..named("jazz")
    };
    let jazz = world.put(&with_shards(3)).unwrap();
    world.put(&with_shards(1)).unwrap();
    world.registered.delete("SA", NOW_MS).unwrap();
    let expected = |shards: &[(&str, u32)]| {
        let all = shards
            .iter()
            .flat_map(|(key, shards)| (0..*shards).map(|shard| ((*key).to_owned(), shard)));
        all.collect::<Vec<ShardName>>()
    };
    for (key, shards) in [
        (jazz.key(), &[("NA", 1), ("EU", 3), ("SA", 3)]),
        (MAIN.into(), &[("NA", 5), ("EU", 1), ("SA", 2)]),
    ] {
        let (host, driver, _) = global(&key);
        let table = world.table_for(&host.object);
        *host.enlisted.borrow_mut() = Some(codec::encode(&EnlistReply(table)));
        let begun = host.run(driver.begin_export(&codec::encode(&BeginExport)), || {});
        let BeginExportReply(begun) = codec::decode(&begun).unwrap();
        let told = begun.unwrap().shards.into_iter();
        let told: Vec<ShardName> = told.map(|(key, shard, _)| (key, shard)).collect();
        assert_eq!(told, expected(shards), "{key}");
    }
}

fn has_posts(rows: &[TransferRow]) -> bool {
    rows.iter().any(|row| matches!(row, TransferRow::Post(_)))
}

/// All rows of an export.
fn exported(host: &TestHost, driver: &global::Driver<TestHost>) -> Vec<TransferRow> {
    let begin = codec::encode(&BeginExport);
    let begun = host.run(driver.begin_export(&begin), || {});
    let BeginExportReply(to_cut) = codec::decode(&begun).unwrap();
    let at_ms = to_cut.unwrap().at_ms;
    let start = ExportPosition {
        table: 0,
        key: Vec::new(),
    };
    let (mut rows, mut next) = (Vec::new(), Some(start));
    while let Some(position) = next {
        host.now_ms.set(host.now_ms.get() + 60_000);
        let request = codec::encode(&ExportRequest { at_ms, position });
        let ExportReply(page) = codec::decode(&host.run(driver.export(&request), || {})).unwrap();
        let ExportAnswer::Page(page) = page.unwrap() else {
            panic!("it waits for shards");
        };
        rows.extend(page.rows);
        next = page.next;
    }
    rows
}

#[test]
fn a_catalog_of_a_boards_own_is_enlisted_before_its_first_write_and_goes_with_its_board() {
    let host = host_of(ObjectName::Catalog { board: OWNS.into() });
    let driver = catalog::Driver::new(host.clone(), CatalogLimits::default());
    let message = codec::encode(&PutPosts {
        patches: vec![PostPatch {
            post_id: "post".into(),
            ..PostPatch::default()
        }],
        only_new: false,
    });
    let put = |driver: &catalog::Driver<TestHost>| {
        let reply = host.run(driver.put_posts(&message), || {});
        codec::decode::<PutPostsReply>(&reply)
            .unwrap()
            .0
            .map(|_| ())
    };
    let list = |driver: &catalog::Driver<TestHost>| {
        let list = codec::encode(&ListPosts { after: None });
        let reply = host.run(driver.list_posts(&list), || {});
        let listed = codec::decode::<ListPostsReply>(&reply).unwrap().0;
        listed.map(|list| list.entries.len())
    };
    let busy = Refusal::Busy { retry_after_s: 1 };
    assert_eq!(
        (put(&driver), list(&driver)),
        (Err(busy.clone()), Err(busy))
    );
    assert!(is_empty(&host.storage), "the registry is away");
    *host.enlisted.borrow_mut() = enlist_reply();
    let asked = host.times_enlisted.get();
    assert_eq!((put(&driver), list(&driver)), (Ok(()), Ok(1)));
    assert_eq!(host.times_enlisted.get(), asked + 1);
    *host.enlisted.borrow_mut() = None;
    let again = catalog::Driver::new(host.clone(), CatalogLimits::default());
    assert_eq!(
        list(&again),
        Ok(1),
        "what is stored says that it was enlisted"
    );

    let noted = |reply: Vec<u8>| codec::decode::<Noted>(&reply).unwrap().0;
    let other = codec::encode(&Wipe {
        object: ObjectName::Registry,
    });
    assert!(noted(host.run(again.wipe(&other), || {})).is_err());
    assert_eq!(list(&again), Ok(1), "it was meant for another");
    for _ in 0..2 {
        assert_eq!(noted(host.run(again.wipe(&wipe_of(&host)), || {})), Ok(()));
        assert_eq!(
            (put(&again), list(&again)),
            (Err(Refusal::Gone), Err(Refusal::Gone))
        );
        assert!(is_empty(&host.storage));
    }
    // The catalog that all share is never wiped.
    let registry = host_of(ObjectName::Registry);
    let driver = catalog::Driver::new(registry.clone(), CatalogLimits::default());
    assert!(noted(registry.run(driver.wipe(&wipe_of(&registry)), || {})).is_err());
}

#[test]
fn whose_its_catalog_is_a_board_keeps_where_counting_begins_anew_and_where_it_is_adopted() {
    let mut world = World::new();
    let own = PutBoard {
        catalog: Some(CatalogKind::Own),
        ..named("tenant")
    };
    let tenant = world.put(&own).unwrap();
    let jazz = world.put(&named("jazz")).unwrap();
    let of = |board: &Board| ObjectName::catalog(&board.key());
    let object = ObjectName::Catalog {
        board: tenant.key().into_owned(),
    };
    assert_eq!((of(&tenant), of(&jazz)), (object, ObjectName::Registry));
    let other = PutBoard {
        catalog: Some(CatalogKind::Shared),
        ..named("tenant")
    };
    assert!(matches!(world.put(&other), Err(Refusal::Invalid(_))));
    let id = world.registered.table().installation_id;
    world.registered.reset(id, 7, NOW_MS).unwrap();
    let news = world.registered.registry.directory_news(None);
    let kinds = news
        .boards
        .iter()
        .map(|board| (board.board_id.as_str(), board.catalog()));
    let expected = [
        (MAIN, CatalogKind::Shared),
        ("jazz", CatalogKind::Shared),
        ("tenant", CatalogKind::Own),
    ];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
    // A registry that was restored knows of no board.
    let mut restored = World::new();
    let adopt = PutBoard {
        incarnation: Some(tenant.incarnation),
        ..named("tenant")
    };
    assert_eq!(restored.put(&adopt).unwrap().catalog(), CatalogKind::Own);
}

#[test]
fn a_shard_of_a_board_asks_once_before_its_first_write_and_writes_nothing_until_it_is_enlisted() {
    let (host, driver, request) = shard();
    let record = |driver: &Driver<TestHost>| host.run(driver.record(&request, None), || {});
    assert_eq!(record(&driver), RecordReply::Busy { retry_after_s: 1 });
    host.run(driver.alarm(None), || {}).unwrap();
    assert!(is_empty(&host.storage), "the registry is away");
    *host.enlisted.borrow_mut() = enlist_reply();
    for _ in 0..3 {
        assert!(matches!(record(&driver), RecordReply::Counted { .. }));
    }
    assert_eq!(host.times_enlisted.get(), 2);
    // Its instance ends; what is stored says that it was enlisted.
    *host.enlisted.borrow_mut() = None;
    let again = Driver::new(host.clone(), Limits::default());
    assert_eq!(record(&again), RecordReply::counted(true));
    assert_eq!(host.times_enlisted.get(), 2);
}

#[test]
fn readers_who_wait_for_a_boards_first_play_wake_its_shard_and_the_play_does_too() {
    let (host, driver, request) = shard();
    // Readers came before any play: nobody has enlisted the shard.
    host.run(driver.ensure_alarm(1_000), || {});
    for looks in 2..5 {
        host.now_ms.set(host.now_ms.get() + 1_000);
        host.run(driver.alarm(Some(1_000)), || {}).unwrap();
        assert_eq!(host.alarms.get(), looks, "the next look");
    }
    // They are gone when the alarm fires for the last time, and then a play comes.
    host.now_ms.set(host.now_ms.get() + 1_000);
    host.run(driver.alarm(None), || {}).unwrap();
    assert!(host.alarms.get() == 4 && is_empty(&host.storage));
    *host.enlisted.borrow_mut() = enlist_reply();
    host.run(driver.record(&request, None), || {});
    assert_eq!(host.alarms.get(), 5, "somebody pushes it");
}

#[test]
fn a_shard_whose_board_is_gone_writes_nothing_whatever_comes_late() {
    let (host, driver, request) = shard();
    *host.enlisted.borrow_mut() = Some(codec::encode(&EnlistReply(Err(Refusal::Gone))));
    for _ in 0..2 {
        let reply = host.run(driver.record(&request, None), || {});
        assert_eq!(reply, RecordReply::Gone);
    }
    host.run(driver.alarm(None), || {}).unwrap();
    assert!(driver.metrics().batches == 0 && is_empty(&host.storage));
}

#[test]
fn a_shard_that_is_wiped_has_nothing_left_and_takes_nothing_more() {
    let wipe = |object: &ObjectName| {
        codec::encode(&Wipe {
            object: object.clone(),
        })
    };
    let (host, driver, request) = shard();
    *host.enlisted.borrow_mut() = enlist_reply();
    host.run(driver.record(&request, None), || {});
    assert!(!is_empty(&host.storage));
    let other = wipe(&ObjectName::shard("jazz.0123456789abcdee", "NA", 0));
    assert!(host.run(driver.wipe(&other), || {}).is_err());
    assert!(!is_empty(&host.storage), "it was meant for another");
    let ours = wipe(&host.object);
    for _ in 0..2 {
        assert_eq!(host.run(driver.wipe(&ours), || {}), Ok(()));
        let reply = host.run(driver.record(&request, None), || {});
        assert_eq!(reply, RecordReply::Gone);
        host.run(driver.alarm(None), || {}).unwrap();
        assert!(is_empty(&host.storage));
    }
    // The registry's word of before, which comes after the wiping, does not count.
    let (host, driver, request) = shard();
    *host.enlisted.borrow_mut() = enlist_reply();
    let ours = wipe(&host.object);
    let mut is_wiped = false;
    let reply = host.run(driver.record(&request, None), || {
        if !std::mem::replace(&mut is_wiped, true) {
            let wiped = host.clone().run(driver.wipe(&ours), || {});
            assert_eq!(wiped, Ok(()));
        }
    });
    assert_eq!(reply, RecordReply::Gone);
    assert!(is_empty(&host.storage));
}

#[test]
fn a_shard_takes_nothing_that_is_for_another_board() {
    let (host, _, request) = shard();
    *host.enlisted.borrow_mut() = enlist_reply();
    for name in ["main/NA/0", "jazz.0123456789abcdee/NA/0", "NA/0", ""] {
        let other = TestHost {
            object: Rc::new(ObjectName::of_name("shard", name)),
            ..host.clone()
        };
        let driver = Driver::new(other.clone(), Limits::default());
        let reply = other.run(driver.record(&request, None), || {});
        assert_eq!(reply, RecordReply::Invalid, "{name:?}");
        assert!(is_empty(&host.storage), "{name:?}");
    }
}

/// The registry as its next instance finds it.
fn registry_on(host: &TestHost) -> registry::Driver<TestHost> {
    registry::Driver::new(host.clone(), None)
}

/// Makes a board of this name. Returns its key.
fn made(host: &TestHost, driver: &registry::Driver<TestHost>, name: &str) -> String {
    let put = host.run(driver.put_board(&codec::encode(&named(name))), || {});
    let PutBoardReply(board) = codec::decode(&put).unwrap();
    board.unwrap().key().into_owned()
}

#[test]
fn a_deletion_says_how_many_objects_are_away_and_an_alarm_goes_on_after_every_start() {
    let host = host_of(ObjectName::Registry);
    let driver = registry_on(&host);
    let key = made(&host, &driver, "jazz");
    // More than one request empties.
    let shards = (0..50).map(|shard| ObjectName::shard(&key, "NA", shard));
    let objects: Vec<ObjectName> = shards.chain([ObjectName::global(&key)]).collect();
    let enlist = |object: &ObjectName| {
        let enlist = codec::encode(&Enlist {
            object: object.clone(),
        });
        let reply = host.run(registry_on(&host).enlist(&enlist), || {});
        codec::decode::<EnlistReply>(&reply).unwrap().0.map(|_| ())
    };
    let delete = || {
        let delete = codec::encode(&DeleteBoard {
            board_id: "jazz".into(),
        });
        let reply = host.run(registry_on(&host).delete_board(&delete), || {});
        let DeleteBoardReply(deletion) = codec::decode(&reply).unwrap();
        deletion.map(|deletion| deletion.objects_left)
    };
    for object in &objects {
        assert_eq!(enlist(object), Ok(()));
    }
    *host.away.borrow_mut() = objects.clone();
    assert_eq!(delete(), Ok(51), "all are away");
    assert!(host.alarms.get() > 0, "it goes on by itself");
    for object in &objects {
        assert_eq!(enlist(object), Err(Refusal::Gone));
    }
    // One shard is away for a while: the global object, which it pushes to, waits for it.
    *host.away.borrow_mut() = vec![objects[7].clone()];
    host.wiped.take();
    for _ in 0..3 {
        let alarms = host.alarms.get();
        host.run(registry_on(&host).alarm(), || {}).unwrap();
        assert!(host.alarms.get() > alarms, "it comes again");
    }
    assert!(host.wiped.borrow().contains(&objects[7]));
    assert!(!host.wiped.borrow().contains(&objects[50]));
    assert_eq!(delete(), Ok(2));
    host.away.take();
    host.run(registry_on(&host).alarm(), || {}).unwrap();
    assert_eq!(
        host.wiped.borrow().last(),
        Some(&objects[50]),
        "last of all"
    );
    assert_eq!(delete(), Err(Refusal::Gone));
    assert_eq!(enlist(&objects[0]), Err(Refusal::Gone));
    let (wiped, rows) = (
        host.wiped.borrow().len(),
        host.storage.keys(Table::Meta, b""),
    );
    host.run(registry_on(&host).alarm(), || {}).unwrap();
    assert_eq!(host.wiped.borrow().len(), wiped, "nothing is left to do");
    let has_key = |row: &Vec<u8>| row.windows(key.len()).any(|part| part == key.as_bytes());
    assert!(!rows.unwrap().iter().any(has_key));
}

#[test]
fn a_deletion_ends_where_a_row_of_its_objects_is_damaged() {
    let host = host_of(ObjectName::Registry);
    let driver = registry_on(&host);
    let key = made(&host, &driver, "jazz");
    let objects = [ObjectName::shard(&key, "NA", 0), ObjectName::global(&key)];
    for object in &objects {
        let enlist = codec::encode(&Enlist {
            object: object.clone(),
        });
        host.run(driver.enlist(&enlist), || {});
    }
    for row in host.storage.keys(Table::Meta, b"object/").unwrap() {
        let damaged = Write::put(Table::Meta, row, b"damaged".to_vec());
        host.storage.write(&[damaged]).unwrap();
    }
    // A key that is damaged names nobody else's object.
    let key = format!("object/{key}/2{MAIN}").into_bytes();
    let stray = Write::put(Table::Meta, key, Vec::new());
    host.storage.write(&[stray]).unwrap();
    let delete = codec::encode(&DeleteBoard {
        board_id: "jazz".into(),
    });
    let reply = host.run(registry_on(&host).delete_board(&delete), || {});
    let DeleteBoardReply(deletion) = codec::decode(&reply).unwrap();
    assert_eq!(deletion.unwrap().objects_left, 1);
    assert_eq!(*host.wiped.borrow(), objects);
}

#[test]
fn a_deletion_that_may_not_be_durable_is_looked_at_again() {
    let host = host_of(ObjectName::Registry);
    let driver = registry_on(&host);
    let object = ObjectName::shard(&made(&host, &driver, "jazz"), "NA", 0);
    let enlist = codec::encode(&Enlist {
        object: object.clone(),
    });
    host.run(driver.enlist(&enlist), || {});
    *host.away.borrow_mut() = vec![object];
    let delete = codec::encode(&DeleteBoard {
        board_id: "jazz".into(),
    });
    host.run(driver.delete_board(&delete), || {});
    host.away.take();
    host.wiped.take();
    host.failed_syncs.set(1);
    host.run(driver.alarm(), || {}).unwrap();
    assert!(
        host.wiped.borrow().is_empty(),
        "a crash may bring the board back: its shards keep their plays"
    );
    let fail_once_wiped = || {
        let wiped = host.wiped.take().len();
        host.failed_syncs.set(wiped as u64);
    };
    host.run(driver.alarm(), fail_once_wiped).unwrap();
    let alarms = host.alarms.get();
    host.failed_syncs.set(1);
    let looked_at = host.run(driver.alarm(), || {});
    assert!(
        looked_at.is_err(),
        "a crash may bring it back: the alarm is to come again"
    );
    host.run(driver.alarm(), || {}).unwrap();
    assert_eq!(driver.look(|it| it.to_wipe().len()), Some(0));
    assert_eq!(host.alarms.get(), alarms);
}

#[test]
fn objects_of_main_are_never_wiped() {
    let host = TestHost {
        object: Rc::new(ObjectName::shard(MAIN, "NA", 0)),
        ..TestHost::at(NOW_MS)
    };
    let driver = Driver::new(host.clone(), Limits::default());
    let wipe = codec::encode(&Wipe {
        object: ObjectName::clone(&host.object),
    });
    assert!(host.run(driver.wipe(&wipe), || {}).is_err());
    let registry = Registered::new(&REGIONS, SEED).registry;
    assert!(Registry::to_wipe(&registry).is_empty());
}

#[test]
fn counting_anew_is_done_when_nothing_is_left_of_boards_and_goes_on_by_itself() {
    let host = host_of(ObjectName::Registry);
    let driver = registry_on(&host);
    // Nobody has played most of them: nothing is to be wiped there.
    let keys = (0..100).map(|number| {
        let put = codec::encode(&named(&format!("board-{number}")));
        let PutBoardReply(made) = codec::decode(&host.run(driver.put_board(&put), || {})).unwrap();
        made.unwrap().key().into_owned()
    });
    let keys: Vec<String> = keys.collect();
    for key in &keys[..50] {
        let object = ObjectName::shard(key, "NA", 0);
        host.run(driver.enlist(&codec::encode(&Enlist { object })), || {});
    }
    let away = ObjectName::shard(&keys[3], "NA", 0);
    *host.away.borrow_mut() = vec![away.clone()];
    let installation_id = driver.look(|it| it.table().installation_id).unwrap();
    let reset = |driver: &registry::Driver<TestHost>| {
        let reset = codec::encode(&Reset { installation_id });
        let reply = host.run(driver.reset(&reset), || {});
        let ResetReply(done) = codec::decode(&reply).unwrap();
        done.map(|done| (done.repeated, done.boards_left)).unwrap()
    };
    assert_eq!(
        reset(&driver),
        (false, 11),
        "one is away, and ten are too many"
    );
    assert_eq!(host.alarms.get(), 1);
    // An alarm goes on, and so does the same request.
    let driver = registry_on(&host);
    host.run(driver.alarm(), || {}).unwrap();
    assert_eq!(driver.look(|it| it.to_wipe().len()), Some(1));
    assert_eq!(reset(&driver), (true, 1));
    host.away.take();
    assert_eq!(reset(&driver), (true, 0));
    assert_eq!(host.wiped.borrow().last(), Some(&away));
}

#[test]
fn a_board_whose_row_cannot_be_read_is_not_gone_and_no_other_takes_its_place() {
    let mut world = World::new();
    let key = world.put(&named("jazz")).unwrap().key().into_owned();
    let row = [&b"board/"[..], b"jazz"].concat();
    let damaged = Write::put(Table::Meta, row.clone(), vec![1, 2, 3]);
    let Registered {
        registry, storage, ..
    } = &mut world.registered;
    storage.write(&[damaged]).unwrap();
    *registry = Registry::load(storage, &[], SEED).unwrap();
    assert_eq!(registry.damaged_rows(), 1);
    let is_damaged = |refused| matches!(refused, Err(Refusal::Damaged(_)));
    assert!(is_damaged(world.enlist(&ObjectName::shard(&key, "NA", 1))));
    assert!(is_damaged(world.put(&named("jazz")).map(|_| ())));
    assert!(is_damaged(world.delete("jazz").map(|_| ())));
    let stored = world.registered.storage.get(Table::Meta, &row).unwrap();
    assert_eq!(stored, Some(vec![1, 2, 3]), "it is kept");
}

#[test]
fn a_board_that_nobody_plays_costs_no_row_no_alarm_and_no_request_a_day() {
    let host = TestHost {
        object: Rc::new(ObjectName::Registry),
        ..TestHost::at(NOW_MS)
    };
    let driver = hitparade::registry::Driver::new(host.clone(), None);
    for number in 0..100 {
        let put = codec::encode(&named(&format!("board-{number}")));
        let reply = host.run(driver.put_board(&put), || {});
        assert!(matches!(codec::decode(&reply), Ok(PutBoardReply(Ok(_)))));
    }
    let stored = || {
        let rows = |table| host.storage.scan(table, &[], &[], usize::MAX).unwrap();
        hitparade::storage::Table::ALL.map(rows)
    };
    let before = stored();
    let question = codec::encode(&DirectoryQuestion { version: None });
    let mut version = None;
    for _ in 0..24 * 60 {
        host.now_ms.set(host.now_ms.get() + 60_000);
        let asked = match version {
            None => question.clone(),
            version => codec::encode(&DirectoryQuestion { version }),
        };
        let reply = host.run(driver.directory(&asked), || {});
        let DirectoryReply(news) = codec::decode(&reply).unwrap();
        version = Some(news.unwrap().version);
    }
    host.run(driver.alarm(), || {}).unwrap();
    assert_eq!(stored(), before);
    assert_eq!((host.alarms.get(), host.times_enlisted.get()), (0, 0));
}
