//! Shards and the global object as tests hold them: storage and clock in hand.

#![allow(dead_code, reason = "no test needs all of it")]

pub mod host;
pub mod hours;
pub mod metered;

use hitparade::board::MAIN;
use hitparade::catalog::{CatalogLimits, Keeper};
use hitparade::codec;
use hitparade::filter::Filter;
use hitparade::global::{ChartRules, Global};
use hitparade::leaderboard::Leaderboard;
use hitparade::region::{Admission, Shard};
use hitparade::registry::Registry;
use hitparade::settings::RegionSetting;
use hitparade::storage::{MemoryStorage, Storage};
use hitparade::summary::{Seed, Summary};
use hitparade::topology::{DeletedRegion, Region, RegionTable};
use hitparade::window::{KnownDays, PaneKey, Zone};
use hitparade::wire::{
    Batch, BatchPlay, ChartRequest, DeleteRegion, PostPatch, Push, PutPosts, PutRegion,
    RecordReply, RecordRequest, Refusal, Reset, ResetDone, SealedPane, Sort, WindowRequest,
};

pub const REGIONS: [&str; 2] = ["NA", "EU"];
pub const SEED: [u8; 16] = *b"sixteen byte key";

/// A table of these regions, of one shard each.
pub fn table_of(region_ids: &[&str], seed: [u8; 16]) -> RegionTable {
    let regions = region_ids.iter().map(|id| Region::new(*id, *id, 1));
    RegionTable::new(regions.collect(), seed)
}

/// The global object of [`REGIONS`], from what is stored.
pub fn load_global(storage: &MemoryStorage) -> Global {
    load_global_in(storage, &Zone::utc(), 0)
}

/// The same, where `TIME_ZONE` says this.
pub fn load_global_in(storage: &MemoryStorage, zone: &Zone, now_ms: u64) -> Global {
    let mut global = Global::load(storage, &table_of(&REGIONS, SEED)).unwrap();
    let zone = || Some(zone.clone());
    global.follow_zone(storage, zone, now_ms).unwrap();
    global
}

/// A registry, and what it has stored.
pub struct Registered {
    pub registry: Registry,
    pub storage: MemoryStorage,
    version: u64,
}

impl Registered {
    /// Of these regions.
    pub fn new(region_ids: &[&str], seed: [u8; 16]) -> Self {
        let first = region_ids.iter().map(|id| RegionSetting {
            id: (*id).into(),
            ..RegionSetting::default()
        });
        let first: Vec<RegionSetting> = first.collect();
        let storage = MemoryStorage::new();
        let registry = Registry::load(&storage, &first, seed).unwrap();
        Registered {
            registry,
            storage,
            version: 0,
        }
    }

    /// Its instance ended; what is stored is there.
    pub fn start_again(&mut self) {
        self.registry = Registry::load(&self.storage, &[], SEED).unwrap();
    }

    fn version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub fn table(&self) -> RegionTable {
        self.registry.table().clone()
    }

    pub fn put(&mut self, request: &PutRegion) -> Result<Region, Refusal> {
        let version = self.version();
        self.registry.put_region(&self.storage, request, version)
    }

    pub fn delete(&mut self, region_id: &str, now_ms: u64) -> Result<DeletedRegion, Refusal> {
        let (version, region_id) = (self.version(), region_id.to_owned());
        let request = DeleteRegion { region_id };
        (self.registry).delete_region(&self.storage, &request, version, now_ms)
    }

    pub fn reset(&mut self, id: [u8; 16], random: u8, now_ms: u64) -> Result<ResetDone, Refusal> {
        let (version, installation_id) = (self.version(), id);
        let request = Reset { installation_id };
        (self.registry).reset(&self.storage, &request, [random; 32], version, now_ms)
    }

    pub fn adopt_seed(&mut self, seed: [u8; 16]) -> RegionTable {
        let version = self.version();
        let adopted = self.registry.adopt_seed(&self.storage, seed, version);
        adopted.unwrap()
    }
}

/// Puts posts into the catalog that lies in a storage, and tells a global object of it.
pub fn put_posts(global: &Global, storage: &impl Storage, patches: &[PostPatch]) {
    let mut keeper = Keeper::load(storage, CatalogLimits::default(), 1).unwrap();
    let request = PutPosts {
        patches: patches.to_vec(),
        only_new: false,
    };
    let mark = keeper.position().number;
    keeper.put(storage, &request, mark).unwrap();
    hear_of_catalog(global, storage);
}

/// Tells a global object all that the catalog in a storage says.
pub fn hear_of_catalog(global: &Global, storage: &impl Storage) {
    let mut keeper = Keeper::load(storage, CatalogLimits::default(), 1).unwrap();
    let seed = Seed::from_bytes(global.table().seed);
    keeper.index_under(storage, seed).unwrap();
    while !keeper.build_step(storage).unwrap() {}
    let catalog = global.catalog();
    let listed = keeper.list(storage, None).unwrap();
    // The first question tells where it stands, the next ones ask for what is there.
    for _ in 0..4 {
        catalog.look_at_sets(true);
        for entry in &listed.entries {
            catalog.entry(&entry.post_id);
        }
        let question = catalog.question();
        let news = keeper.answer(storage, &question).unwrap();
        assert!(catalog.take(&question, news, 1));
    }
    assert!(!catalog.wants());
}

/// A chart with all that the catalog in the same storage says.
pub fn chart_of(
    global: &Global,
    storage: &impl Storage,
    request: &ChartRequest,
    rules: ChartRules,
    now_ms: u64,
) -> Result<Leaderboard, Refusal> {
    let mut keeper = Keeper::load(storage, CatalogLimits::default(), 1).unwrap();
    let seed = Seed::from_bytes(global.table().seed);
    keeper.index_under(storage, seed).unwrap();
    while !keeper.build_step(storage).unwrap() {}
    let catalog = global.catalog();
    loop {
        let misses = catalog.misses();
        let chart = global.chart(storage, request, rules, now_ms);
        if catalog.misses() == misses {
            return chart;
        }
        let question = catalog.question();
        let news = keeper.answer(storage, &question).unwrap();
        assert!(catalog.take(&question, news, 1));
    }
}

/// Everything that both have written is durable.
pub fn sync_both(global: &mut Global, shard: &mut Shard) {
    global.synced(&global.sync_point());
    shard.synced(shard.sync_point());
}

/// Asks the first shard of a board in NA to count a play of `post`.
pub fn request_of_a_play(board: &str, now_ms: u64) -> Vec<u8> {
    let batch = codec::encode(&Batch {
        key: Some(b"key"),
        plays_hash: 0,
        sent_ms: now_ms,
        plays: vec![BatchPlay {
            post_id: "post",
            timestamp_ms: now_ms,
            count: 1,
        }],
    });
    request_of(board, &batch)
}

/// A batch's request to the shard `NA/0`.
pub fn request_of(board: &str, batch: &[u8]) -> Vec<u8> {
    codec::encode(&RecordRequest {
        board,
        region_id: "NA",
        shard: 0,
        epoch_ms: 0,
        seed: SEED,
        listed: None,
        batch,
    })
}

/// Hands a batch to a shard and commits it, durable at once.
pub fn record(
    (storage, shard): (&impl Storage, &mut Shard),
    (region_id, number): (&str, u32),
    key: &[u8],
    plays: &[BatchPlay<'_>],
    now_ms: u64,
) -> RecordReply {
    let batch = codec::encode(&Batch {
        key: Some(key),
        plays_hash: 0,
        sent_ms: now_ms,
        plays: plays.to_vec(),
    });
    let request = RecordRequest {
        board: MAIN,
        region_id,
        shard: number,
        epoch_ms: 0,
        seed: SEED,
        listed: None,
        batch: &batch,
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

/// The pane in which a shard records a play that knows of days in UTC, for ever.
pub fn recording_pane(timestamp_ms: u64, now_ms: u64) -> PaneKey {
    let known = KnownDays {
        until_ms: u64::MAX,
        ..KnownDays::default()
    };
    known.recording_pane(timestamp_ms, now_ms)
}

/// A pane as a shard sends it, of one commit.
pub fn pane(key: PaneKey, plays: &Summary) -> Vec<u8> {
    codec::encode(&SealedPane {
        level: key.level.code(),
        start_ms: key.start_ms,
        end_ms: key.end_ms,
        first_seq: 1,
        last_seq: 1,
        summary: &plays.encode(),
    })
}

/// What a shard tells first: all that it has sealed, and copies of what it has open.
pub fn first_push(
    (region_id, shard): (&str, u32),
    entries: &[Vec<u8>],
    copies: &[Vec<u8>],
) -> Vec<u8> {
    codec::encode(&Push {
        region_id,
        shard,
        epoch_ms: 0,
        log_id: 1 + u128::from(shard),
        log_began_ms: 1,
        oldest_offset: 0,
        first_offset: 0,
        entries: entries.iter().map(Vec::as_slice).collect(),
        next_offset: entries.len() as u64,
        journal_seq: 1,
        copies: copies.iter().map(Vec::as_slice).collect(),
        copies_left_out: false,
        cut: None,
        watched_since_ms: None,
        replied_by: 0,
    })
}

/// What a chart of a thousand places says; `None` where the question is refused.
pub fn chart(
    global: &Global,
    storage: &MemoryStorage,
    scope: &str,
    (window, sort): (WindowRequest, Sort),
    now_ms: u64,
) -> Option<Leaderboard> {
    let request = ChartRequest {
        scope: scope.into(),
        window,
        sort,
        k_class: 1_000,
        filter: Filter::default(),
    };
    let chart = global.chart(storage, &request, ChartRules::default(), now_ms);
    chart.ok()
}
