//! The way that plays take: real shards, their pushes, the real global object, its folds and
//! charts. Clock and storage are in hand, nothing is left out but the network.

use std::collections::BTreeMap;

use cpu_time::ThreadTime;
use hitparade::filter::Filter;
use hitparade::global::{ChartRules, Global};
use hitparade::leaderboard::{Leaderboard, MAX_K};
use hitparade::region::Shard;
use hitparade::storage::{MemoryStorage, Storage, Table};
use hitparade::topology::{Region, RegionTable};
use hitparade::window::{Level, MINUTE_MS};
use hitparade::wire::{BatchPlay, ChartRequest, RecordReply, Sort, WindowRequest};

use super::objects::{self, SEED};

/// How often shards push.
pub const PUSH_INTERVAL_MS: u64 = 5_000;

/// A shard with its disk.
struct Held {
    storage: MemoryStorage,
    shard: Shard,
    region: usize,
    number: u32,
    batches: u64,
}

/// What was sent since [`Way::forget_sent`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub pushes: u64,
    pub bytes: u64,
}

pub struct Way {
    pub now_ms: u64,
    pub regions: Vec<String>,
    shards: Vec<Held>,
    pub storage: MemoryStorage,
    pub global: Global,
    pub sent: Sent,
    /// Since when what is sent is counted.
    pub sent_since_ms: Option<u64>,
    /// Processor time of each fold, in milliseconds.
    pub folds_ms: Vec<f64>,
}

impl Way {
    /// So many regions with so many shards each, all empty.
    pub fn new(regions: &[&str], shards_a_region: u32, now_ms: u64) -> Self {
        let made = regions.iter().map(|id| Region::new(*id, *id, 1));
        let table = RegionTable::new(made.collect(), SEED);
        let storage = MemoryStorage::new();
        let global = Global::load(&storage, &table).unwrap();
        let mut shards = Vec::new();
        for region in 0..regions.len() {
            for number in 0..shards_a_region {
                let storage = MemoryStorage::new();
                let mut random = [7; 32];
                random[..4].copy_from_slice(&(shards.len() as u32).to_be_bytes());
                let shard = Shard::load(&storage, random, now_ms).unwrap();
                shards.push(Held {
                    storage,
                    shard,
                    region,
                    number,
                    batches: 0,
                });
            }
        }
        Way {
            now_ms,
            regions: regions.iter().map(|id| (*id).to_owned()).collect(),
            shards,
            storage,
            global,
            sent: Sent::default(),
            sent_since_ms: None,
            folds_ms: Vec::new(),
        }
    }

    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// A batch for a shard, numbered through all regions; durable at once.
    pub fn play(&mut self, shard: usize, plays: &[BatchPlay<'_>]) {
        let held = &mut self.shards[shard];
        held.batches += 1;
        let key = [(shard as u64).to_be_bytes(), held.batches.to_be_bytes()].concat();
        let name = (self.regions[held.region].as_str(), held.number);
        let reply = objects::record(
            (&held.storage, &mut held.shard),
            name,
            &key,
            plays,
            self.now_ms,
        );
        assert_eq!(reply, RecordReply::counted(false));
        if held.shard.checkpoint_is_needed() {
            held.shard.checkpoint(&held.storage, self.now_ms).unwrap();
        }
    }

    /// Every shard pushes; or, where copies are not asked for, those that have something to seal.
    /// Copies are never folded: only charts show them, so they may be left out between charts.
    pub fn push(&mut self, with_copies: bool) {
        for at in 0..self.shards.len() {
            if with_copies || self.shards[at].shard.checkpoint_is_due(self.now_ms) {
                self.push_of(at);
            }
        }
    }

    fn push_of(&mut self, at: usize) {
        let held = &mut self.shards[at];
        loop {
            if held.shard.checkpoint_is_due(self.now_ms) {
                held.shard.checkpoint(&held.storage, self.now_ms).unwrap();
            }
            held.shard.synced(held.shard.sync_point());
            let Some(push) = held.shard.push(&held.storage).unwrap() else {
                return;
            };
            self.sent.pushes += 1;
            self.sent.bytes += push.len() as u64;
            let reply = self.global.take_push(&push, self.now_ms).unwrap();
            let random = [at as u8; 16];
            held.shard.pushed(&held.storage, &reply, random).unwrap();
            if !held.shard.has_more_to_send() {
                return;
            }
        }
    }

    /// Counts what is sent from now on.
    pub fn forget_sent(&mut self) {
        self.sent = Sent::default();
        self.sent_since_ms = Some(self.now_ms);
    }

    /// Bytes that a shard has sent a minute.
    pub fn pushed_a_minute(&self) -> f64 {
        let Some(since_ms) = self.sent_since_ms.filter(|ms| *ms < self.now_ms) else {
            return 0.0;
        };
        let minutes = (self.now_ms - since_ms) as f64 / MINUTE_MS as f64;
        self.sent.bytes as f64 / minutes / self.shards.len() as f64
    }

    /// Folds what is pending, if it is time.
    pub fn fold_if_due(&mut self) {
        if !self.global.flush_is_due(self.now_ms) {
            return;
        }
        let started = ThreadTime::now();
        self.global.flush(&self.storage, self.now_ms).unwrap();
        self.folds_ms.push(started.elapsed().as_secs_f64() * 1e3);
        self.global.synced(&self.global.sync_point());
    }

    /// A chart of a thousand places, and the milliseconds that it took.
    pub fn chart(&self, scope: &str, window: WindowRequest) -> (Leaderboard, f64) {
        let request = ChartRequest {
            scope: scope.into(),
            window,
            sort: Sort::Views,
            k_class: MAX_K as u32,
            filter: Filter::default(),
        };
        let rules = ChartRules::default();
        let started = ThreadTime::now();
        let chart = self
            .global
            .chart(&self.storage, &request, rules, self.now_ms);
        (chart.unwrap(), started.elapsed().as_secs_f64() * 1e3)
    }

    /// The mean bytes of the stored panes of regions, by level.
    pub fn stored(&self) -> BTreeMap<Level, f64> {
        let mut sizes: BTreeMap<Level, Vec<usize>> = BTreeMap::new();
        for (key, value) in self
            .storage
            .scan(Table::Panes, &[], &[], usize::MAX)
            .unwrap()
        {
            let Some((scope, level)) = scope_and_level(&key) else {
                continue;
            };
            if self.regions.iter().any(|id| id.as_bytes() == scope) {
                sizes.entry(level).or_default().push(value.len());
            }
        }
        let mean = |all: Vec<usize>| all.iter().sum::<usize>() as f64 / all.len() as f64;
        sizes
            .into_iter()
            .map(|(level, all)| (level, mean(all)))
            .collect()
    }
}

/// Scope, 0, level, start (8 bytes), generation.
fn scope_and_level(key: &[u8]) -> Option<(&[u8], Level)> {
    let (rest, _) = key.split_last_chunk::<9>()?;
    let (scope, [0, level]) = rest.split_last_chunk::<2>()? else {
        return None;
    };
    Some((scope, Level::from_code(*level)?))
}
