//! What a release stored, sent or exported is read by later ones, and a form does not change without a
//! version: CONTRIBUTING.md ("A stored or sent form") has the rule.
//!
//! `tests/golden/storage` holds the whole storage of a shard, a global object, the registry and a catalog, some of them in
//! more than one state, row by row, with what was seen of it; `messages` one of each message, in each of its forms;
//! `export` the lines of an export, with what an import reads in them. A new version's files stand beside the old ones:
//! `UPDATE_GOLDEN=1 cargo test --test native golden` writes files that are missing, never one that is there. What is kept
//! by JavaScript lies beside them, and is read in tests of its own.

use std::collections::BTreeSet;
use std::fmt::{Debug, Write as _};
use std::fs;
use std::path::{Path, PathBuf};

use hitparade::board::{Board, CatalogKind, DirectoryNews, MAIN, ObjectName, board_key};
use hitparade::capacity;
use hitparade::catalog::{CatalogLimits, Keeper};
use hitparade::codec::{self, Record, RecordKind, forms};
use hitparade::filter::Filter;
use hitparade::global::{ChartRules, Global};
use hitparade::http::{end_line, head_line, line_of, push_line, read_lines};
use hitparade::leaderboard::{
    Card, ChartForm, ClosedChart, ClosedPlace, Compared, ComparedWith, Count, Leaderboard,
    ListedChart, Place, Published, Run,
};
use hitparade::region::{Admission, Shard, Trouble};
use hitparade::registry::Registry;
use hitparade::settings::RegionSetting;
use hitparade::storage::{MemoryStorage, Storage, Table, Write};
use hitparade::summary::{Seed, Summary};
use hitparade::topology::{DeletedRegion, Epoch, Region, RegionTable, ShardId};
use hitparade::watchers::{LEASE_MS, Watchers};
use hitparade::window::{
    ClockChange, DAY_MS, Days, HOUR_MS, Level, MINUTE_MS, PeriodKind, Span, Zone,
};
use hitparade::wire::GlobalMetrics;
use hitparade::wire::ShardMetrics;
use hitparade::wire::*;
use serde::{Deserialize, Serialize};

const NOW_MS: u64 = 20_000 * DAY_MS + 30_000;
const SEED: [u8; 16] = *b"golden test seed";
const PLAYS_HASH: u32 = 0x0102_0304;
/// A day of [`days`], three before.
const DAY: Span = Span::new(19_997 * DAY_MS - HOUR_MS, 19_998 * DAY_MS - HOUR_MS);
/// The moment of an export that is begun at [`NOW_MS`], where six shards are to cut their logs.
const EXPORT_MS: u64 = NOW_MS + 1_300;
/// The version of the files that are written today.
const VERSION: &str = "v1";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs
        .map(|pair| u8::from_str_radix(&pair, 16).unwrap())
        .collect()
}

/// What is in the file; what is to be in it where it is not there and may be written.
fn golden(path: &Path, wanted: &str) -> String {
    if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, wanted).unwrap();
    }
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Of a zone that was UTC before.
fn days() -> Days {
    let change = ClockChange {
        at_ms: NOW_MS + 2 * DAY_MS,
        offset_s: 7_200,
    };
    let zone = Zone::new("Europe/Berlin", 3_600, vec![change]).unwrap();
    Days::default().changed(&zone, NOW_MS).unwrap()
}

/// Every row: table, key, value.
fn dump(storage: &MemoryStorage) -> String {
    let mut text = String::new();
    for table in Table::ALL {
        for (key, value) in storage.scan(table, &[], &[], usize::MAX).unwrap() {
            writeln!(text, "{} {} {}", table.name(), hex(&key), hex(&value)).unwrap();
        }
    }
    text
}

fn load(dumped: &str) -> MemoryStorage {
    let storage = MemoryStorage::new();
    for line in dumped.lines() {
        let [table, key, value] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let table = Table::ALL
            .into_iter()
            .find(|known| known.name() == table)
            .unwrap();
        storage
            .write(&[Write::put(table, unhex(key), unhex(value))])
            .unwrap();
    }
    storage
}

fn record(shard: &mut Shard, storage: &MemoryStorage, message: &[u8], now_ms: u64) -> RecordReply {
    let request = RecordRequest {
        board: MAIN,
        region_id: "NA",
        shard: 3,
        epoch_ms: 0,
        seed: SEED,
        listed: Some(ShardListing {
            shards: 2,
            beacons: true,
        }),
        batch: message,
    };
    match shard.admit(&request, now_ms) {
        Admission::Answer(reply) => reply,
        Admission::Wait { reply, .. } => {
            assert!(shard.commit(storage, now_ms).unwrap());
            shard.committed(now_ms).unwrap();
            reply
        }
    }
}

/// Where claims go.
fn target() -> ShardId {
    ShardId {
        key: "MOON/1".into(),
        shard: 2,
    }
}

fn batch(key: &str, now_ms: u64) -> Vec<u8> {
    let plays = [("post 1", 7), ("é", 1), ("post 2", 70_000)].map(|(post_id, count)| BatchPlay {
        post_id,
        timestamp_ms: now_ms,
        count,
    });
    codec::encode(&Batch {
        key: Some(key.as_bytes()),
        plays_hash: PLAYS_HASH,
        sent_ms: now_ms,
        plays: plays.to_vec(),
    })
}

/// A shard with rows in each of its tables; the last batches are in the journal only.
fn stored_shard() -> MemoryStorage {
    let storage = MemoryStorage::new();
    let mut shard = Shard::load(&storage, [3; 32], NOW_MS).unwrap();
    shard.synced(shard.sync_point());
    let mut now_ms = NOW_MS;
    for minute in 0..3 {
        now_ms = NOW_MS + minute * MINUTE_MS;
        record(
            &mut shard,
            &storage,
            &batch(&format!("batch {minute}"), now_ms),
            now_ms,
        );
        shard.checkpoint(&storage, now_ms).unwrap();
    }
    let claim = codec::encode(&Claim {
        key: b"claimed",
        plays_hash: PLAYS_HASH,
        sent_ms: now_ms,
        to: target(),
    });
    record(&mut shard, &storage, &claim, now_ms);
    shard.checkpoint(&storage, now_ms).unwrap();
    let claim = codec::encode(&Claim {
        key: b"claimed last",
        plays_hash: PLAYS_HASH,
        sent_ms: now_ms,
        to: target(),
    });
    record(&mut shard, &storage, &claim, now_ms);
    record(&mut shard, &storage, &batch("the last", now_ms), now_ms);
    shard.set_watched(&storage, Some(NOW_MS)).unwrap();
    storage
}

/// The same shard, whose log was cut for an export.
fn stored_shard_cut() -> MemoryStorage {
    let storage = stored_shard();
    let now_ms = NOW_MS + 3 * MINUTE_MS;
    let mut shard = Shard::load(&storage, [3; 32], now_ms).unwrap();
    let request = CutRequest {
        region_id: "NA",
        shard: 3,
        epoch: Epoch {
            began_ms: 0,
            seed: SEED,
        },
        at_ms: now_ms + 1,
    };
    let will_cut = shard.cut_at(&storage, &request, [5; 16], now_ms).unwrap();
    assert!(will_cut && shard.cut_if_due(&storage, now_ms + 1).unwrap());
    storage
}

/// The same, that has lost its header and what it had open, and does not know who it is.
fn stored_shard_lost() -> MemoryStorage {
    let storage = stored_shard();
    for key in storage.keys(Table::Meta, b"checkpoint/").unwrap() {
        let damaged = Write::put(Table::Meta, key, b"damaged".to_vec());
        storage.write(&[damaged]).unwrap();
    }
    storage.clear(Table::OpenPanes).unwrap();
    let now_ms = NOW_MS + 3 * MINUTE_MS;
    let mut shard = Shard::load(&storage, [3; 32], now_ms).unwrap();
    shard.set_watched(&storage, None).unwrap();
    storage
}

fn seen_of_lost_shard(storage: &MemoryStorage) -> String {
    let now_ms = NOW_MS + 4 * MINUTE_MS;
    let shard = Shard::load(storage, [4; 32], now_ms).unwrap();
    let (log_id, damaged) = (shard.log_id(), shard.damaged_rows());
    format!("{:?} log {log_id:x}, {damaged} damaged\n", shard.name())
}

/// What can be seen of a shard: its pushes, and which batches it knows.
fn seen_of_shard(storage: &MemoryStorage) -> String {
    let now_ms = NOW_MS + 2 * MINUTE_MS;
    let mut shard = Shard::load(storage, [4; 32], now_ms).unwrap();
    assert_eq!(shard.damaged_rows(), 0);
    shard.synced(shard.sync_point());
    let push = shard.push(storage).unwrap().unwrap();
    let push: Push<'_> = codec::decode(&push).unwrap();
    let mut text = format!(
        "{}/{} log {:x} offsets {}..{} journal {}\n",
        push.region_id,
        push.shard,
        push.log_id,
        push.first_offset,
        push.next_offset,
        push.journal_seq
    );
    writeln!(text, "{:?} {:?}", push.cut, push.watched_since_ms).unwrap();
    for (name, panes) in [("sealed", &push.entries), ("open", &push.copies)] {
        for pane in panes {
            writeln!(text, "{name} {}", hex(pane)).unwrap();
        }
    }
    for key in [
        "batch 0",
        "batch 1",
        "batch 2",
        "the last",
        "claimed",
        "claimed last",
        "another",
    ] {
        let reply = record(&mut shard, storage, &batch(key, now_ms), now_ms);
        writeln!(text, "{key}: {reply:?}").unwrap();
    }
    text
}

fn load_global(storage: &MemoryStorage) -> Global {
    let mut global = Global::load(storage, &table()).unwrap();
    let zone = || Some(days().zone_at(u64::MAX));
    global.follow_zone(storage, zone, NOW_MS).unwrap();
    global
}

fn table() -> RegionTable {
    let region = |id: &str| Region {
        hint: Some("weur".into()),
        ..Region::new(id, format!("name of {id}"), 1)
    };
    let south = Region::new("Südsee 🏝", "South", 4);
    RegionTable::new(vec![region("NA"), region("EU"), south], SEED)
}

fn stored_global() -> MemoryStorage {
    let storage = MemoryStorage::new();
    let mut global = load_global(&storage);
    let shard = stored_shard();
    let mut shard = (
        Shard::load(&shard, [4; 32], NOW_MS + 5 * MINUTE_MS).unwrap(),
        shard,
    );
    shard
        .0
        .checkpoint(&shard.1, NOW_MS + 5 * MINUTE_MS)
        .unwrap();
    shard.0.synced(shard.0.sync_point());
    let push = shard.0.push(&shard.1).unwrap().unwrap();
    global.take_push(&push, NOW_MS + 5 * MINUTE_MS).unwrap();
    global.flush(&storage, NOW_MS + 5 * MINUTE_MS).unwrap();
    let import = ImportRequest {
        source: [8; 16],
        export_id: [9; 16],
        first_row: 0,
        rows: vec![ImportRow::Nothing],
    };
    global.begin_import(&storage, &import).unwrap();
    global.import(&storage, &import, NOW_MS).unwrap();
    // An export of a moment that its shards do not tell of.
    let begun = global.begin_export(&storage, NOW_MS).unwrap();
    assert_eq!(begun.at_ms, EXPORT_MS);
    let request = ExportRequest {
        at_ms: EXPORT_MS,
        position: ExportPosition {
            table: 0,
            key: Vec::new(),
        },
    };
    let late_ms = NOW_MS + 5 * MINUTE_MS;
    global.export(&storage, &request, late_ms).unwrap();
    // What changes then is put aside as it was, and what comes then as nothing. A day of many posts is in two parts.
    let mut posts = Summary::new(100, Seed::from_bytes(SEED));
    (0..40).for_each(|number| posts.record(&format!("post {number}"), 1 + number / 3));
    let day = TransferRow::Pane(TransferPane {
        scope: "NA".into(),
        level: Level::Day.code(),
        start_ms: DAY.from_ms,
        end_ms: DAY.to_ms,
        summary: posts.encode(),
    });
    let mut rows = import_rows();
    rows.insert(1, ImportRow::Row(day));
    let import = ImportRequest {
        first_row: 1,
        rows,
        ..import
    };
    capacity::set_counters(Some(2));
    global.import(&storage, &import, late_ms).unwrap();
    capacity::set_counters(None);
    let shard = ObjectName::shard(MAIN, "NA", 0);
    Watchers::default().add(&storage, shard, NOW_MS).unwrap();
    storage
}

/// Adds the lines of an export.
fn export(
    global: &mut Global,
    storage: &MemoryStorage,
    (at_ms, now_ms): (u64, u64),
    lines: &mut String,
) {
    let mut next = Some(ExportPosition {
        table: 0,
        key: Vec::new(),
    });
    while let Some(position) = next {
        let request = ExportRequest { at_ms, position };
        let page = global.export(storage, &request, now_ms);
        let ExportAnswer::Page(page) = page.unwrap() else {
            panic!("there is no export");
        };
        for row in &page.rows {
            push_line(lines, &line_of(row, Seed::from_bytes(SEED)));
        }
        next = page.next;
    }
}

fn seen_of_global(storage: &MemoryStorage) -> String {
    let mut global = load_global(storage);
    let health = global.tell(GlobalMetrics::default(), 0);
    assert_eq!((health.damaged_rows, health.damaged_regions), (0, 0));
    let mut text = format!("{:?}\n", global.table());
    for scope in ["NA", "global"] {
        for window in [
            WindowRequest::All,
            WindowRequest::Sliding {
                length_ms: 10 * MINUTE_MS,
            },
            WindowRequest::Between {
                from_ms: DAY.from_ms,
                to_ms: DAY.to_ms,
            },
        ] {
            let request = ChartRequest {
                scope: scope.into(),
                window,
                sort: Sort::Views,
                k_class: 10,
                filter: Filter::default(),
            };
            let rules = ChartRules::default();
            let chart = global
                .chart(storage, &request, rules, NOW_MS + 5 * MINUTE_MS)
                .unwrap();
            writeln!(text, "{chart:?}").unwrap();
        }
    }
    let import = ImportRequest {
        source: [8; 16],
        export_id: [9; 16],
        first_row: 7,
        rows: Vec::new(),
    };
    writeln!(text, "{:?}", global.import(storage, &import, NOW_MS)).unwrap();
    let list = ListPublished {
        asker: 1,
        scope: "NA".into(),
        kind: PeriodKind::Week,
        before: None,
        post_id: None,
        limit: 9,
        places: 9,
    };
    writeln!(text, "{:?}", global.list_published(storage, &list)).unwrap();
    let watchers = Watchers::default();
    watchers.load(storage).unwrap();
    let since_ms = [LEASE_MS - 1, LEASE_MS].map(|later_ms| watchers.since_ms(NOW_MS + later_ms));
    writeln!(text, "watched {since_ms:?}").unwrap();
    // Its export, of the moment before the last import; and one of now, with the day in two parts.
    let now_ms = NOW_MS + 6 * MINUTE_MS;
    export(&mut global, storage, (EXPORT_MS, now_ms), &mut text);
    let begun = global.begin_export(storage, now_ms).unwrap();
    let now_ms = now_ms + MINUTE_MS;
    export(&mut global, storage, (begun.at_ms, now_ms), &mut text);
    text
}

fn load_registry(storage: &MemoryStorage) -> Registry {
    let regions = ["NA", "EU"].map(|id| RegionSetting {
        id: id.into(),
        name: Some(format!("name of {id}")),
        hint: Some("weur".into()),
        ..RegionSetting::default()
    });
    Registry::load(storage, &regions, SEED).unwrap()
}

fn stored_registry() -> MemoryStorage {
    let storage = MemoryStorage::new();
    let mut registry = load_registry(&storage);
    let region = |region_id: &str| PutRegion {
        region_id: region_id.into(),
        region_name: Some("South".into()),
        shards: Some(4),
        hint: None,
    };
    for (version, region_id) in ["Südsee 🏝", "MOON"].into_iter().enumerate() {
        let put = registry.put_region(&storage, &region(region_id), version as u64);
        put.unwrap();
    }
    let moon = DeleteRegion {
        region_id: "MOON".into(),
    };
    registry.delete_region(&storage, &moon, 3, NOW_MS).unwrap();
    let told = Telling {
        news: "began 7".into(),
        progress: Some(ToldSoFar::default()),
    };
    registry.telling(&storage, told).unwrap();
    for (board_id, incarnation) in BOARDS {
        let board = PutBoard {
            board_id: board_id.into(),
            catalog: Some(CatalogKind::of_incarnation(incarnation)),
            ..PutBoard::default()
        };
        let put = registry.put_board(&storage, &board, (incarnation, incarnation), NOW_MS);
        let key = put.unwrap().key().into_owned();
        let objects = [
            ObjectName::shard(&key, "NA", 0),
            ObjectName::global(&key),
            ObjectName::catalog(&key),
        ];
        for object in objects.iter().filter(|object| object.is_to_enlist()) {
            registry.enlist(&storage, object).unwrap();
        }
    }
    registry.delete_board(&storage, "rock", 9, NOW_MS).unwrap();
    storage
}

/// The last one has a catalog of its own.
const BOARDS: [(&str, u64); 3] = [("jazz", 7), ("rock", 8), ("own", 10 | 1 << 63)];

/// The same, after counting began anew.
fn stored_registry_reset() -> MemoryStorage {
    let storage = stored_registry();
    let mut registry = load_registry(&storage);
    let reset = Reset {
        installation_id: registry.table().installation_id,
    };
    let done = registry.reset(&storage, &reset, [6; 32], 11, NOW_MS + 1);
    done.unwrap();
    storage
}

fn seen_of_registry(storage: &MemoryStorage) -> String {
    let mut registry = load_registry(storage);
    assert_eq!(registry.damaged_rows(), 0);
    let mut text = format!("{:?}\n", registry.table());
    writeln!(text, "{:?}", registry.directory_news(Some(1))).unwrap();
    writeln!(text, "{:?}", registry.directory_news(None)).unwrap();
    writeln!(text, "{:?}", registry.to_wipe()).unwrap();
    for (board_id, incarnation) in BOARDS {
        let key = board_key(board_id, incarnation);
        // First its shards, then what they push to, then its catalog.
        loop {
            let (objects, deletion) = registry.objects_to_wipe(storage, &key, 9).unwrap();
            writeln!(text, "{objects:?} {deletion:?}").unwrap();
            if objects.is_empty() {
                break;
            }
            registry.wiped(storage, &key, &objects).unwrap();
        }
    }
    text
}

fn request_of(tag: &str) -> MatchRequest {
    MatchRequest {
        filter: Filter {
            tags: vec![tag.into()],
            ..Filter::default()
        },
        hour: 0,
    }
}

fn stored_catalog() -> MemoryStorage {
    let storage = MemoryStorage::new();
    let mut keeper = Keeper::load(&storage, CatalogLimits::default(), 1).unwrap();
    keeper
        .index_under(&storage, Seed::from_bytes(SEED))
        .unwrap();
    let patch = |post_id: &str, hidden| PostPatch {
        post_id: post_id.into(),
        author: Some(Some("someone".into())),
        timestamp_ms: Some(Some(NOW_MS)),
        hidden: Some(hidden),
        tags: Some(vec!["jazz".into()]),
        ..PostPatch::default()
    };
    let both = vec![patch("post 1", false), patch("é", true)];
    for (patches, mark) in [(both, 2), (vec![PostPatch::erasing("post 2".into())], 3)] {
        let request = PutPosts {
            patches,
            only_new: false,
        };
        keeper.put(&storage, &request, mark).unwrap();
    }
    storage
}

/// The same, whose index is built anew under another seed, up to the last entry.
fn stored_catalog_building() -> MemoryStorage {
    let storage = stored_catalog();
    let mut keeper = Keeper::load(&storage, CatalogLimits::default(), 1).unwrap();
    keeper
        .index_under(&storage, Seed::from_bytes([7; 16]))
        .unwrap();
    for _ in 0..2 {
        assert!(!keeper.build_step(&storage).unwrap());
    }
    storage
}

/// The same, whose index is not built, as an entry was damaged before it was changed.
fn stored_catalog_damaged() -> MemoryStorage {
    let storage = stored_catalog();
    let damaged = Write::put(Table::Posts, b"post 1".to_vec(), b"damaged".to_vec());
    storage.write(&[damaged]).unwrap();
    let mut keeper = Keeper::load(&storage, CatalogLimits::default(), 1).unwrap();
    let request = PutPosts {
        patches: vec![PostPatch::hiding("post 1".into())],
        only_new: false,
    };
    keeper.put(&storage, &request, 4).unwrap();
    storage
}

fn seen_of_catalog(storage: &MemoryStorage) -> String {
    let keeper = Keeper::load(storage, CatalogLimits::default(), 1).unwrap();
    let question = CatalogQuestion {
        since: Some(CatalogPosition { number: 1, mark: 2 }),
        kept: vec![PostSet::Hidden],
        sets: vec![PostSet::Hidden, PostSet::Known],
        entries: vec!["é".into(), "nothing".into()],
        known: vec!["post 1".into()],
        matching: vec![request_of("jazz")],
        seed: SEED,
    };
    let news = keeper.answer(storage, &question).unwrap();
    format!("{news:?}\n{:?}\n", keeper.list(storage, None).unwrap())
}

/// An object's storage, how it comes to be, and what is seen of it.
type Stored = (
    &'static str,
    fn() -> MemoryStorage,
    fn(&MemoryStorage) -> String,
);
const STORED: [Stored; 9] = [
    ("shard", stored_shard, seen_of_shard),
    ("shard-cut", stored_shard_cut, seen_of_shard),
    ("shard-lost", stored_shard_lost, seen_of_lost_shard),
    ("global", stored_global, seen_of_global),
    ("registry", stored_registry, seen_of_registry),
    ("registry-reset", stored_registry_reset, seen_of_registry),
    ("catalog", stored_catalog, seen_of_catalog),
    ("catalog-building", stored_catalog_building, seen_of_catalog),
    ("catalog-damaged", stored_catalog_damaged, seen_of_catalog),
];

#[test]
fn the_storage_of_every_release_loads_and_todays_is_written_as_it_was() {
    for (name, stored, seen) in STORED {
        let storage = stored();
        let folder = folder().join("storage");
        let rows = golden(
            &folder.join(format!("{VERSION}-{name}.rows")),
            &dump(&storage),
        );
        golden(
            &folder.join(format!("{VERSION}-{name}.seen")),
            &seen(&storage),
        );
        assert_eq!(
            dump(&stored()),
            rows,
            "rows of {name} changed: a new version is needed"
        );
        for file in files_of(&folder, &format!("-{name}.rows")) {
            let storage = load(&fs::read_to_string(&file).unwrap());
            let was = fs::read_to_string(file.with_extension("seen")).unwrap();
            assert_eq!(seen(&storage), was, "{}", file.display());
        }
    }
}

/// A message as today's release writes it.
struct Message {
    name: String,
    bytes: Vec<u8>,
    /// Whether this release reads such bytes, whichever release wrote them.
    is_read: fn(&[u8]) -> bool,
}

#[derive(Default)]
struct Messages(Vec<Message>);

/// Reads a type that may borrow from the bytes.
macro_rules! reads {
    ($name:ident) => {
        |bytes| codec::decode::<$name<'_>>(bytes).is_ok()
    };
}

impl Messages {
    fn add<T: Record + Serialize>(&mut self, record: &T, is_read: fn(&[u8]) -> bool) {
        let name = std::any::type_name::<T>().rsplit("::").next().unwrap();
        let name = name.split('<').next().unwrap().to_owned();
        let bytes = codec::encode(record);
        assert!(is_read(&bytes), "{name}");
        self.0.push(Message {
            name,
            bytes,
            is_read,
        });
    }

    fn add_owned<T>(&mut self, record: &T)
    where
        T: Record + Serialize + Debug + PartialEq + for<'de> Deserialize<'de>,
    {
        self.add(record, |bytes| codec::decode::<T>(bytes).is_ok());
        let bytes = &self.0.last().unwrap().bytes;
        assert_eq!(codec::decode::<T>(bytes).as_ref(), Ok(record));
    }
}

fn messages() -> Vec<Message> {
    let mut all = Messages::default();
    let batch = batch("key", NOW_MS);
    all.add(
        &RecordRequest {
            board: MAIN,
            region_id: "NA",
            shard: 1,
            epoch_ms: 0,
            seed: SEED,
            listed: None,
            batch: &batch,
        },
        reads!(RecordRequest),
    );
    all.add(
        &RecordRequest {
            board: MAIN,
            region_id: "NA",
            shard: 1,
            epoch_ms: 0,
            seed: SEED,
            listed: Some(ShardListing {
                shards: 2,
                beacons: true,
            }),
            batch: &batch,
        },
        reads!(RecordRequest),
    );
    for reply in [
        RecordReply::counted(true).without(&[2, 300]),
        RecordReply::Moved { to: target() },
        RecordReply::TooOld,
        RecordReply::Busy { retry_after_s: 3 },
        RecordReply::Invalid,
        RecordReply::InDoubt,
        RecordReply::KeyReused,
        RecordReply::NameFree,
        RecordReply::Gone,
        RecordReply::Unlisted,
    ] {
        all.add_owned(&reply);
    }
    let read: Batch<'_> = codec::decode(&batch).unwrap();
    all.add(&read, reads!(Batch));
    all.add(&Batch { key: None, ..read }, reads!(Batch));
    all.add(
        &Claim {
            key: b"key",
            plays_hash: PLAYS_HASH,
            sent_ms: NOW_MS,
            to: target(),
        },
        reads!(Claim),
    );
    all.add(
        &BlindRequest {
            region_id: "NA",
            shard: 1,
            here: "NA",
            batch: &[1, 2, 3],
        },
        reads!(BlindRequest),
    );
    all.add(
        &NameCheck {
            key: b"key",
            plays_hash: PLAYS_HASH,
        },
        reads!(NameCheck),
    );
    let pane = SealedPane {
        level: 2,
        start_ms: NOW_MS,
        end_ms: NOW_MS + 2 * HOUR_MS,
        first_seq: 3,
        last_seq: 300,
        summary: b"summary",
    };
    all.add(&pane, reads!(SealedPane));
    let pane = codec::encode(&pane);
    let push = Push {
        region_id: "NA",
        shard: 1,
        epoch_ms: 0,
        log_id: u128::MAX / 3,
        log_began_ms: NOW_MS,
        oldest_offset: 4,
        first_offset: 5,
        entries: vec![&pane, b""],
        next_offset: 7,
        journal_seq: 8,
        copies: vec![&pane],
        copies_left_out: false,
        cut: Some(Cut {
            at_ms: NOW_MS,
            offset: 6,
        }),
        watched_since_ms: Some(NOW_MS),
        replied_by: 7,
    };
    all.add(&push, reads!(Push));
    let unwatched = Push {
        cut: None,
        watched_since_ms: None,
        ..push
    };
    all.add(&unwatched, reads!(Push));
    all.add(
        &ShardReport {
            region_id: "NA",
            shard: 1,
            push: b"push",
            figures: b"figures",
        },
        reads!(ShardReport),
    );
    for watched_since_ms in [Some(NOW_MS), None] {
        all.add_owned(&Pull { watched_since_ms });
    }
    all.add_owned(&PullReply(Ok(b"report".to_vec())));
    let reply = PushReply {
        wanted_offset: 1,
        durable_offset: 2,
        epoch_ms: NOW_MS,
        seed: SEED,
        push_interval_ms: 5_000,
        is_quiet: true,
        watched_since_ms: Some(NOW_MS),
        state: 7,
        days: Some(days().told(NOW_MS)),
    };
    all.add_owned(&PushReplyOrRefusal(Ok(reply.clone())));
    all.add_owned(&PushReplyOrRefusal(Ok(PushReply {
        watched_since_ms: None,
        days: None,
        ..reply
    })));
    for refusal in [
        Refusal::UnknownRegion,
        Refusal::Gone,
        Refusal::LaterEpoch,
        Refusal::Waking,
        Refusal::Invalid("why".into()),
        Refusal::Damaged("what".into()),
        Refusal::Busy { retry_after_s: 1 },
        Refusal::Storage("how".into()),
        Refusal::NotFound,
        Refusal::NotCounted { view_count_max: 2 },
        Refusal::RegionDeleted,
        Refusal::WrongInstallation,
        Refusal::ExportIsOver,
        Refusal::FilterTooWide,
        Refusal::NotPublished {
            detail: "why".into(),
            closes_ms: Some(NOW_MS),
        },
        Refusal::NotPublished {
            detail: "why".into(),
            closes_ms: None,
        },
    ] {
        all.add_owned(&PushReplyOrRefusal(Err(refusal)));
    }
    let published = |kind| WindowRequest::Published { kind, period: None };
    let since = |before_ms| WindowRequest::Since {
        from_ms: 3,
        to_ms: 4,
        before_ms,
    };
    for (window, sort) in [
        (WindowRequest::Sliding { length_ms: 1 }, Sort::Views),
        (WindowRequest::Tumbling { length_ms: 2 }, Sort::Rising),
        (WindowRequest::All, Sort::Distinctive),
        (
            WindowRequest::Between {
                from_ms: 3,
                to_ms: 4,
            },
            Sort::Views,
        ),
        (
            WindowRequest::Published {
                kind: PeriodKind::Week,
                period: Some("2024-W40".parse().unwrap()),
            },
            Sort::Views,
        ),
        (published(PeriodKind::Day), Sort::Views),
        (published(PeriodKind::Week), Sort::Views),
        (published(PeriodKind::Month), Sort::Views),
        (published(PeriodKind::Year), Sort::Views),
        (since(Some(2)), Sort::Rising),
        (since(None), Sort::Rising),
    ] {
        all.add_owned(&ChartRequest {
            scope: "NA".into(),
            window,
            sort,
            k_class: 10,
            filter: Filter::default(),
        });
    }
    let filter = Filter {
        tags: vec!["a".into(), "b".into()],
        excluded_tags: vec!["c".into()],
        author: Some("d".into()),
        published_hours: Some(168),
    };
    let count = Count {
        view_count: 2,
        view_count_min: 1,
        view_count_max: 3,
    };
    let card = Card {
        author: Some("a".into()),
        content: Some("c".into()),
        url: Some("u".into()),
        image: Some("i".into()),
        tags: vec!["t".into(), "u".into()],
    };
    let span = Span::new(1, 2);
    let run = Run {
        rank: 3,
        peak_rank: 2,
        periods: 5,
        streak: 1,
        debut: "2024-W30".parse().unwrap(),
    };
    let leaderboard = Leaderboard {
        span,
        as_of_ms: NOW_MS,
        total_views: 9,
        unlisted_max: 1,
        compared_with: Some(ComparedWith {
            scope: "global".into(),
            elsewhere: true,
            span,
            total_views: 8,
            unlisted_times_max: 0.5,
        }),
        published: Some(Published {
            period: "2024-W40".parse().unwrap(),
            time_zone: "Europe/Berlin".into(),
            earlier: Some("2024-W39".parse().unwrap()),
            later: None,
        }),
        incomplete: true,
        exact: true,
        places: vec![Place {
            post_id: "post".into(),
            count,
            compared: Some(Compared {
                count,
                times: 1.5,
                times_max: 2.5,
            }),
            previous_rank: Some(4),
            run: Some(run),
            card: card.clone(),
        }],
    };
    all.add_owned(&leaderboard);
    all.add_owned(&Leaderboard {
        compared_with: None,
        published: Some(Published {
            period: "2024-W40".parse().unwrap(),
            time_zone: "Europe/Berlin".into(),
            earlier: None,
            later: Some("2024-W41".parse().unwrap()),
        }),
        places: vec![Place {
            compared: None,
            previous_rank: None,
            run: None,
            ..leaderboard.places[0].clone()
        }],
        ..leaderboard.clone()
    });
    all.add_owned(&Leaderboard {
        published: None,
        ..leaderboard.clone()
    });
    let list = ListPublished {
        asker: 1,
        scope: "NA".into(),
        kind: PeriodKind::Week,
        before: Some("2024-W41".parse().unwrap()),
        post_id: Some("post".into()),
        limit: 50,
        places: 1,
    };
    all.add_owned(&list);
    all.add_owned(&ListPublished {
        before: None,
        post_id: None,
        ..list
    });
    all.add_owned(&ListPublishedReply(Ok(PublishedList::default())));
    all.add_owned(&ListPublishedReply(Ok(PublishedList {
        charts: vec![ListedChart {
            period: "2024-W40".parse().unwrap(),
            time_zone: "Europe/Berlin".into(),
            span,
            total_views: 9,
            closed_ms: NOW_MS,
            places: leaderboard.places.clone(),
        }],
        next_before: Some("2024-W40".parse().unwrap()),
    })));
    all.add_owned(&ListRegions);
    all.add_owned(&CloseHistory);
    all.add_owned(&CloseHistoryReply(Ok(HistoryClosed {
        charts: 7,
        periods_left: 8,
        periods_waiting: 2,
    })));
    let reply = ChartReply(Ok(leaderboard));
    all.add_owned(&reply);
    all.add(
        &KeptChart {
            age_ms: 5,
            stale: true,
            reply: &codec::encode(&reply),
        },
        reads!(KeptChart),
    );
    let live = LiveRequest {
        window: WindowRequest::All,
        ends_ms: Some(NOW_MS),
        form: ChartForm {
            board: MAIN.into(),
            scope: "NA".into(),
            timeframe: Some("24h".into()),
            time_zone: Some("Europe/Berlin".into()),
            sort: Sort::Rising,
            k: 10,
            filter,
        },
        has_token: true,
    };
    all.add_owned(&live);
    all.add_owned(&LiveRequest {
        window: since(Some(2)),
        ends_ms: None,
        form: ChartForm {
            timeframe: None,
            time_zone: None,
            ..live.form
        },
        ..live
    });
    let look = Look {
        board_is_public: true,
    };
    all.add_owned(&Watch {
        object: ObjectName::shard(MAIN, "NA", 0),
    });
    all.add_owned(&WatchReply(Ok(look)));
    all.add_owned(&look);
    all.add_owned(&PostQuestion {
        asker: 1,
        page: PostRequest {
            post_id: "post".into(),
            scope: "NA".into(),
            window: WindowRequest::All,
            hidden_too: false,
        },
    });
    let entry = CatalogEntry {
        post_id: "post".into(),
        card,
        timestamp_ms: Some(NOW_MS),
        hidden: true,
    };
    all.add_owned(&entry);
    all.add_owned(&PostReply(Ok(PostReport {
        entry: entry.clone(),
        span,
        count,
        rank: Some(1),
        series: vec![(span, count)],
        regions: vec![("NA".into(), count)],
        incomplete: false,
    })));
    all.add_owned(&PostReply(Ok(PostReport {
        entry: CatalogEntry::default(),
        span,
        count,
        rank: None,
        series: Vec::new(),
        regions: Vec::new(),
        incomplete: true,
    })));
    let unchanged = PostPatch {
        post_id: "post".into(),
        ..PostPatch::default()
    };
    all.add_owned(&PutPosts {
        patches: vec![
            unchanged,
            entry.clone().into(),
            PostPatch::erasing("post".into()),
        ],
        only_new: false,
    });
    all.add_owned(&PutPosts {
        patches: vec![PostPatch {
            post_id: "post".into(),
            author: Some(None),
            content: Some(Some("c".into())),
            tags: Some(vec!["t".into()]),
            timestamp_ms: Some(Some(1)),
            hidden: Some(true),
            ..PostPatch::default()
        }],
        only_new: true,
    });
    let at = CatalogPosition { number: 7, mark: 9 };
    all.add_owned(&CatalogQuestion {
        since: Some(at),
        kept: vec![PostSet::Hidden],
        sets: vec![PostSet::Known],
        entries: vec!["post".into()],
        known: vec!["another".into()],
        matching: vec![request_of("jazz")],
        seed: SEED,
    });
    all.add_owned(&CatalogQuestion::default());
    all.add_owned(&CatalogAnswer(Ok(CatalogNews::default())));
    all.add_owned(&CatalogAnswer(Ok(CatalogNews {
        position: at,
        size: CatalogSize {
            posts: 3,
            bytes: 400,
            described: 2,
        },
        hidden_posts: 1,
        damaged_rows: 1,
        changes: Some(vec![PostChange {
            post_id: "post".into(),
            is_of: 1,
        }]),
        sets: vec![None, Some(vec![7; 16])],
        entries: vec![Some(entry.clone()), None],
        known: vec![true, false],
        matching: vec![
            Ok(Matches {
                all_but: true,
                keys: vec![7; 16],
            }),
            Err(Refusal::FilterTooWide),
        ],
        postings_read: 3,
    })));
    all.add_owned(&PutPostsReply(Ok(Some(PutPost {
        entry: entry.clone(),
        was_known: true,
    }))));
    all.add_owned(&PutPostsReply(Ok(None)));
    for after in [Some("before".into()), None] {
        all.add_owned(&ListPosts { after });
    }
    all.add_owned(&ListPostsReply(Ok(PostList::default())));
    all.add_owned(&ListPostsReply(Ok(PostList {
        entries: vec![entry.clone()],
        next_after: Some("post".into()),
        damaged_rows: 1,
    })));
    let put_region = PutRegion {
        region_id: "NA".into(),
        region_name: Some("North".into()),
        shards: Some(2),
        hint: Some(Some("enam".into())),
    };
    all.add_owned(&put_region);
    for hint in [Some(None), None] {
        all.add_owned(&PutRegion {
            region_id: "NA".into(),
            region_name: None,
            shards: None,
            hint,
        });
    }
    let mut region = Region::new("NA", "North", 2);
    region.reshard(3);
    all.add(
        &BeginEpoch {
            region_id: "NA",
            shard: 1,
            epoch: Epoch {
                began_ms: NOW_MS,
                seed: SEED,
            },
        },
        reads!(BeginEpoch),
    );
    all.add_owned(&Noted(Ok(())));
    let progress = Some(ToldSoFar {
        up_to: Some(("NA".to_owned(), 39)),
        silent: vec![("EU".to_owned(), 3)],
    });
    all.add_owned(&Telling {
        news: "began 7".into(),
        progress: progress.clone(),
    });
    all.add_owned(&TellingReply(Ok(progress)));
    all.add_owned(&Telling {
        news: "began 7".into(),
        progress: None,
    });
    all.add_owned(&TellingReply(Ok(Some(ToldSoFar::default()))));
    all.add_owned(&TellingReply(Ok(None)));
    let deleted = DeletedRegion {
        region: Region {
            incarnation: 1,
            ..Region::new("MOON", "Moon", 3)
        },
        deleted_ms: NOW_MS,
    };
    all.add_owned(&deleted);
    all.add_owned(&DeleteRegion {
        region_id: "MOON".into(),
    });
    all.add_owned(&DeleteRegionReply(Ok(deleted.clone())));
    let table = RegionTable {
        number: 5,
        installation_id: [3; 16],
        epoch_ms: NOW_MS,
        seed: SEED,
        origin: "NA".into(),
        regions: vec![region.clone()],
        deleted: vec![deleted],
    };
    all.add_owned(&Reset {
        installation_id: [3; 16],
    });
    all.add_owned(&ResetReply(Ok(ResetDone {
        table: table.clone(),
        repeated: true,
        boards_left: 2,
    })));
    all.add_owned(&PutRegionReply(Ok(region.clone())));
    all.add_owned(&region);
    all.add_owned(&table);
    for object in [
        ObjectName::shard("jazz.0123456789abcdef", "NA/1", 2),
        ObjectName::global("jazz.0123456789abcdef"),
        ObjectName::catalog("jazz.8123456789abcdef"),
        ObjectName::Registry,
        ObjectName::Unnamed,
    ] {
        all.add_owned(&Enlist { object });
    }
    all.add_owned(&EnlistReply(Ok(table.clone())));
    for version in [Some(7), None] {
        all.add_owned(&DirectoryQuestion { version });
    }
    all.add_owned(&DirectoryReply(Ok(DirectoryNews {
        version: 8,
        table: None,
        is_whole: true,
        boards: Vec::new(),
        gone: Vec::new(),
    })));
    let mut board = Board::new("jazz", 0x0123_4567_89ab_cdef, NOW_MS);
    board.reshard("NA/1", 3);
    all.add_owned(&board);
    all.add_owned(&DirectoryReply(Ok(DirectoryNews {
        version: 8,
        table: Some(table.clone()),
        is_whole: false,
        boards: vec![board],
        gone: vec!["rock".into()],
    })));
    all.add_owned(&AdoptSeedReply(Ok(table.clone())));
    all.add_owned(&Learn { table });
    all.add_owned(&AdoptSeed { seed: SEED });
    all.add_owned(&Wipe {
        object: ObjectName::global("jazz.0123456789abcdef"),
    });
    all.add_owned(&PutBoard {
        board_id: "jazz".into(),
        shards: [("NA".to_owned(), 3)].into(),
        ..PutBoard::default()
    });
    for catalog in [CatalogKind::Shared, CatalogKind::Own] {
        all.add_owned(&PutBoard {
            board_id: "jazz".into(),
            board_name: Some("Jazz".into()),
            beacons: Some(true),
            public: Some(false),
            catalog: Some(catalog),
            incarnation: Some(7),
            ..PutBoard::default()
        });
    }
    all.add_owned(&PutBoardReply(Ok(Board::new("jazz", 7, NOW_MS))));
    all.add_owned(&DeleteBoard {
        board_id: "jazz".into(),
    });
    all.add_owned(&DeleteBoardReply(Ok(Deletion {
        deleted_ms: NOW_MS,
        objects_left: 1,
    })));
    all.add_owned(&AdoptSeedReply(Err(Refusal::Busy { retry_after_s: 1 })));
    let status = RegionStatus {
        region_id: "NA".into(),
        region_name: "North".into(),
        shards: 2,
        hint: None,
        views_24h: 7,
        push_age_ms: Some(8),
    };
    let silent = RegionStatus {
        hint: Some("enam".into()),
        push_age_ms: None,
        ..status.clone()
    };
    all.add_owned(&RegionsReply(Ok(vec![status, silent])));
    all.add_owned(&Voter {
        sender: 1,
        limit: 2,
    });
    let instance = InstanceMetrics {
        id: 1,
        started_ms: 2,
        memory_bytes: 3,
        allocated_bytes: 4,
    };
    all.add_owned(&ShardMetrics {
        rows_written: 1,
        committed: Committed {
            plays: 2,
            claims: 3,
            batch_sizes: Sizes {
                counts: [1, 2, 3, 4, 5, 6, 7],
                sum: 8,
            },
            ..Committed::default()
        },
        instance,
        ..ShardMetrics::default()
    });
    all.add_owned(&Spent {
        day: 20_000,
        requests: 300,
        requests_before: 200,
    });
    all.add_owned(&GlobalMetrics {
        folds: 1,
        instance,
        push_ages_ms: vec![("NA".into(), 1, 2)],
        shards_told: 3,
        shards: vec![ShardFigures {
            region_id: "NA".into(),
            shard: 1,
            age_ms: 2,
            figures: vec![3],
        }],
        ..GlobalMetrics::default()
    });
    all.add_owned(&RegistryMetrics {
        boards: 1,
        deletions: 2,
        instance,
        ..RegistryMetrics::default()
    });
    let position = ExportPosition {
        table: 1,
        key: vec![2],
    };
    all.add_owned(&BeginExport);
    let epoch = Epoch {
        began_ms: 1,
        seed: SEED,
    };
    let to_cut = ToCut {
        at_ms: NOW_MS,
        epoch,
        shards: vec![
            ("NA/1".into(), 2, Some("enam".into())),
            ("EU".into(), 0, None),
        ],
    };
    all.add_owned(&BeginExportReply(Ok(to_cut.clone())));
    all.add_owned(&ExportReply(Ok(ExportAnswer::Tell(to_cut))));
    all.add(
        &CutRequest {
            region_id: "NA/1",
            shard: 1,
            epoch,
            at_ms: NOW_MS,
        },
        reads!(CutRequest),
    );
    all.add_owned(&ExportRequest {
        at_ms: NOW_MS,
        position: position.clone(),
    });
    all.add_owned(&ExportReply(Ok(ExportAnswer::Wait { ms: 250 })));
    all.add_owned(&ExportReply(Ok(ExportAnswer::Page(ExportPage {
        seed: SEED,
        rows: transfer_rows(),
        damaged_rows: 1,
        next: Some(position.clone()),
        complete: true,
    }))));
    all.add_owned(&ExportReply(Ok(ExportAnswer::Page(ExportPage {
        seed: SEED,
        rows: Vec::new(),
        damaged_rows: 0,
        next: None,
        complete: false,
    }))));
    all.add_owned(&ExportCursor {
        board: MAIN.into(),
        at_ms: NOW_MS,
        position,
        rows: 1,
        damaged_rows: 2,
    });
    all.add_owned(&ImportRequest {
        source: SEED,
        export_id: [1; 16],
        first_row: 2,
        rows: import_rows(),
    });
    all.add_owned(&ImportReply(Ok(Imported { next_row: 3 })));
    all.0
}

fn closed_place(rank: u32, previous_rank: Option<u32>) -> ClosedPlace {
    ClosedPlace {
        post_id: format!("post {rank}"),
        view_count_min: 1,
        view_count_max: 3,
        previous_rank,
        run: Run {
            rank,
            peak_rank: 1,
            periods: 5,
            streak: 2,
            debut: "2024-W30".parse().unwrap(),
        },
    }
}

/// One of each kind that an export has.
fn transfer_rows() -> Vec<TransferRow> {
    let mut summary = Summary::new(10, Seed::from_bytes(SEED));
    for (post_id, views) in [("post", 7), ("é", 70_000)] {
        summary.record(post_id, views);
    }
    vec![
        TransferRow::Days(days()),
        TransferRow::Region(PutRegion {
            region_id: "NA".into(),
            region_name: Some("North".into()),
            shards: Some(2),
            hint: Some(Some("enam".into())),
        }),
        TransferRow::Pane(TransferPane {
            scope: "NA".into(),
            level: 4,
            start_ms: 0,
            end_ms: u64::MAX,
            summary: summary.encode(),
        }),
        TransferRow::Chart(TransferChart {
            scope: "NA".into(),
            chart: ClosedChart {
                period: "2024-W40".parse().unwrap(),
                time_zone: "Europe/Berlin".into(),
                span: Span::new(DAY_MS, 2 * DAY_MS),
                closed_ms: NOW_MS,
                total_views: 9,
                unlisted_max: 1,
                incomplete: false,
                exact: true,
                places: vec![closed_place(1, None), closed_place(2, Some(3))],
            },
        }),
        TransferRow::Post(CatalogEntry {
            post_id: "post".into(),
            card: Card {
                author: Some("a".into()),
                content: Some("c".into()),
                url: Some("https://u.example/".into()),
                image: Some("https://i.example/".into()),
                tags: vec!["t".into(), "u".into()],
            },
            timestamp_ms: Some(NOW_MS),
            hidden: true,
        }),
    ]
}

/// The same as they come in, between the first line and the last.
fn import_rows() -> Vec<ImportRow> {
    let rows = transfer_rows().into_iter().map(ImportRow::Row);
    let ends = || std::iter::once(ImportRow::Nothing);
    ends().chain(rows).chain(ends()).collect()
}

/// The files of a folder, each of a release.
fn files_of(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let files: Vec<PathBuf> = files
        .filter(|file| file.to_str().unwrap().ends_with(ending))
        .collect();
    assert!(!files.is_empty(), "{} of {}", ending, folder.display());
    files
}

#[test]
fn the_export_of_every_release_is_read_and_todays_is_written_as_it_was() {
    let mut today = String::new();
    let rows = transfer_rows();
    push_line(&mut today, &head_line(&[1; 16], &SEED, NOW_MS));
    for row in &rows {
        push_line(&mut today, &line_of(row, Seed::from_bytes(SEED)));
    }
    push_line(&mut today, &end_line(rows.len() as u64 + 1, 0, true));
    assert_eq!(read_lines(today.as_bytes()).unwrap(), import_rows());

    let seen = |lines: &str| format!("{:#?}\n", read_lines(lines.as_bytes()).unwrap());
    let folder = folder().join("export");
    let written = golden(&folder.join(format!("{VERSION}.ndjson")), &today);
    golden(&folder.join(format!("{VERSION}.seen")), &seen(&today));
    assert_eq!(
        today, written,
        "the lines of an export changed: a new version is needed"
    );
    for file in files_of(&folder, ".ndjson") {
        let was = fs::read_to_string(file.with_extension("seen")).unwrap();
        let lines = fs::read_to_string(&file).unwrap();
        assert_eq!(seen(&lines), was, "{}", file.display());
    }
}

#[test]
fn the_messages_of_every_release_are_read_and_todays_are_written_as_they_were() {
    let folder = folder().join("messages");
    let messages = messages();
    let today: String = messages
        .iter()
        .map(|message| format!("{} {}\n", message.name, hex(&message.bytes)))
        .collect();
    assert_eq!(
        golden(&folder.join(format!("{VERSION}.txt")), &today),
        today,
        "a message changed: a new version is needed"
    );
    for file in files_of(&folder, ".txt") {
        for line in fs::read_to_string(&file).unwrap().lines() {
            let (name, bytes) = line.split_once(' ').unwrap();
            let known = messages.iter().find(|message| message.name == name);
            assert!(
                known.is_some_and(|message| (message.is_read)(&unhex(bytes))),
                "{}: {name} is not read any more",
                file.display()
            );
        }
    }
}

#[test]
fn every_kind_of_record_every_form_of_it_and_every_table_has_a_golden_one() {
    let mut tables = BTreeSet::new();
    let messages = messages();
    // What is read while they are made is in no file.
    let storages = STORED.map(|(_, stored, seen)| (stored(), seen));
    let forms = forms::read_by(|| {
        for message in messages {
            assert!((message.is_read)(&message.bytes), "{}", message.name);
        }
        for (storage, seen) in storages {
            seen(&storage);
            let has_rows = |table| storage.next_key(table, &[], &[]).unwrap().is_some();
            tables.extend(Table::ALL.into_iter().filter(|table| has_rows(*table)));
        }
    });
    let kinds = RecordKind::ALL.iter();
    let unread: Vec<&RecordKind> = kinds
        .filter(|kind| !forms.kinds.contains(&(**kind as u8)))
        .collect();
    assert!(unread.is_empty(), "no golden one is read as {unread:?}");
    let missing: Vec<&String> = forms.missing().collect();
    assert!(missing.is_empty(), "no golden one has {missing:#?}");
    assert_eq!(tables.len(), Table::ALL.len(), "{tables:?}");
}

/// What has no version, as it is no more than a number: one that is given never means anything else.
#[test]
fn the_bare_numbers_that_a_shard_answers_with_are_as_they_were() {
    assert_eq!((COUNTED, REPEATED), (202, 208));
    for (trouble, number, name) in [
        (Trouble::Memory, 1, "memory"),
        (Trouble::Storage, 2, "storage"),
        (Trouble::Pushes, 3, "pushes"),
    ] {
        assert_eq!(trouble as usize, number, "{name}");
        assert_eq!(TROUBLES[number], name);
    }
    let known = format!("const WHAT = {TROUBLES:?};");
    let health = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/js/health.js");
    let health = fs::read_to_string(health).unwrap();
    assert!(health.contains(&known), "src/js/health.js has not {known}");
}

/// In `src/js/health.js`, by their numbers; what no shard says is there, too.
const TROUBLES: [&str; 5] = ["", "memory", "storage", "pushes", "away"];
