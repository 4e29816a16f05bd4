//! Shards, the global object and the list of all plays.

use std::collections::BTreeMap;

use hitparade::global::{ChartRules, Global, HEARD_AFTER_MS};
use hitparade::leaderboard::Leaderboard;
use hitparade::region::Shard;
use hitparade::storage::MemoryStorage;
use hitparade::topology::GLOBAL_SCOPE;
use hitparade::window::{DAY_MS, HOUR_MS, MINUTE_MS, Span, Zone};
use hitparade::wire::ShardMetrics;
use hitparade::wire::{BatchPlay, PostRequest, RecordReply, Sort, WindowRequest};

use crate::objects::{self, REGIONS, load_global_in};

pub const SHARDS: usize = 2;
pub const START_MS: u64 = 20_000 * DAY_MS + 13 * HOUR_MS + 47 * MINUTE_MS + 12_345;

struct Play {
    region: usize,
    post_id: String,
    timestamp_ms: u64,
    count: u64,
}

pub struct World {
    pub now_ms: u64,
    zone: Zone,
    plays: Vec<Play>,
    shards: BTreeMap<(usize, usize), (MemoryStorage, Shard)>,
    pub storage: MemoryStorage,
    pub global: Global,
    batches: u64,
    restarted_ms: u64,
}

impl World {
    pub fn new() -> Self {
        Self::at(START_MS, Zone::utc())
    }

    /// Of an installation whose days are those of this zone.
    pub fn in_zone(zone: Zone) -> Self {
        Self::at(START_MS, zone)
    }

    /// One that begins at a moment.
    pub fn at(now_ms: u64, zone: Zone) -> Self {
        let storage = MemoryStorage::new();
        let global = load_global_in(&storage, &zone, now_ms);
        let mut shards = BTreeMap::new();
        for region in 0..REGIONS.len() {
            for shard in 0..SHARDS {
                let disk = MemoryStorage::new();
                let mut random = [0; 32];
                random[0] = (region * SHARDS + shard) as u8 + 1;
                let state = Shard::load(&disk, random, now_ms).unwrap();
                shards.insert((region, shard), (disk, state));
            }
        }
        World {
            now_ms,
            zone,
            plays: Vec::new(),
            shards,
            storage,
            global,
            batches: 0,
            restarted_ms: 0,
        }
    }

    pub fn play(
        &mut self,
        region: usize,
        shard: usize,
        post_id: &str,
        timestamp_ms: u64,
        count: u32,
    ) {
        self.play_all(
            region,
            shard,
            &[BatchPlay {
                post_id,
                timestamp_ms,
                count,
            }],
        );
    }

    /// A batch of plays. Once they are acknowledged the model knows them; a shard whose outbox
    /// could not be emptied for a week takes none.
    pub fn play_all(&mut self, region: usize, shard: usize, plays: &[BatchPlay<'_>]) {
        self.batches += 1;
        let key = self.batches.to_be_bytes();
        let now_ms = self.now_ms;
        let (disk, state) = self.shards.get_mut(&(region, shard)).unwrap();
        let name = (REGIONS[region], shard as u32);
        match objects::record((&*disk, state), name, &key, plays, now_ms) {
            RecordReply::Busy { .. } => return,
            reply => assert_eq!(reply, RecordReply::counted(false)),
        }
        self.plays.extend(plays.iter().map(|play| Play {
            region,
            post_id: play.post_id.into(),
            timestamp_ms: play.timestamp_ms,
            count: play.count.into(),
        }));
    }

    /// Checkpoints where that is due and pushes until nothing more is to be sent.
    pub fn push(&mut self, region: usize, shard: usize) {
        let now_ms = self.now_ms;
        let (disk, state) = self.shards.get_mut(&(region, shard)).unwrap();
        loop {
            if state.checkpoint_is_due(now_ms) {
                state.checkpoint(disk, now_ms).unwrap();
            }
            state.synced(state.sync_point());
            let Some(push) = state.push(disk).unwrap() else {
                return;
            };
            let reply = self.global.take_push(&push, now_ms).unwrap();
            if self.global.flush_is_due(now_ms) {
                self.global.flush(&self.storage, now_ms).unwrap();
                let point = self.global.sync_point();
                self.global.synced(&point);
            }
            state.pushed(disk, &reply, [9; 16]).unwrap();
            if !state.checkpoint_is_due(now_ms) && !state.has_more_to_send() {
                return;
            }
        }
    }

    /// The same, and nothing is folded for that.
    pub fn push_unfolded(&mut self, region: usize, shard: usize) {
        let (disk, state) = self.shards.get_mut(&(region, shard)).unwrap();
        let push = state.push(disk).unwrap().unwrap();
        self.global.take_push(&push, self.now_ms).unwrap();
    }

    pub fn push_all(&mut self) {
        for region in 0..REGIONS.len() {
            (0..SHARDS).for_each(|shard| self.push(region, shard));
        }
    }

    /// Waits until everything is sealed and folded.
    pub fn settle(&mut self) {
        for _ in 0..12 {
            self.now_ms += MINUTE_MS;
            self.push_all();
        }
        self.global.flush(&self.storage, self.now_ms).unwrap();
    }

    pub fn restart_shard(&mut self, region: usize, shard: usize) {
        let (disk, state) = self.shards.get_mut(&(region, shard)).unwrap();
        *state = Shard::load(disk, [7; 32], self.now_ms).unwrap();
    }

    /// What was pending and every copy of an open pane is lost; the shards send it again.
    /// `TIME_ZONE` is another from now on.
    pub fn move_to(&mut self, zone: Zone) {
        self.zone = zone;
        self.restart_global();
    }

    pub fn restart_global(&mut self) {
        self.global = load_global_in(&self.storage, &self.zone, self.now_ms);
        self.restarted_ms = self.now_ms;
        // A message makes an object load its state.
        self.chart(0, WindowRequest::All, Sort::Views);
    }

    pub fn open_panes(&self, region: usize, shard: usize) -> usize {
        self.shards[&(region, shard)]
            .1
            .tell(ShardMetrics::default(), 0)
            .open_panes as usize
    }

    /// 0 is worldwide, then the regions.
    pub fn chart(&self, scope: usize, window: WindowRequest, sort: Sort) -> Leaderboard {
        let asked = (window, sort);
        objects::chart(
            &self.global,
            &self.storage,
            scope_of(scope),
            asked,
            self.now_ms,
        )
        .unwrap()
    }

    fn exact(&self, scope: usize, span: Span) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for play in &self.plays {
            if (scope == 0 || play.region + 1 == scope) && span.contains_ms(play.timestamp_ms) {
                *counts.entry(&*play.post_id).or_default() += play.count;
            }
        }
        counts
    }

    /// Compares a chart and some posts' numbers with the list of plays.
    pub fn check(&self, scope: usize, window: WindowRequest) {
        let asked = (window, Sort::Views);
        let now_ms = self.now_ms;
        let chart = objects::chart(&self.global, &self.storage, scope_of(scope), asked, now_ms);
        let Some(chart) = chart else {
            assert!(
                matches!(window, WindowRequest::Between { .. }),
                "only a span may be refused"
            );
            return;
        };
        let is_new = now_ms < self.restarted_ms + HEARD_AFTER_MS;
        assert!(is_new || !chart.incomplete);
        let span = if window == WindowRequest::All {
            Span::ALL
        } else {
            chart.span
        };
        let mut exact = self.exact(scope, span);
        assert_eq!(
            chart.total_views,
            exact.values().sum::<u64>(),
            "{window:?} {:?} at {}",
            chart.span,
            self.now_ms
        );
        let before = |place: &hitparade::leaderboard::Place| {
            (
                std::cmp::Reverse(place.count.view_count),
                place.post_id.clone(),
            )
        };
        assert!(
            chart
                .places
                .windows(2)
                .all(|pair| before(&pair[0]) < before(&pair[1]))
        );
        for (number, place) in chart.places.iter().enumerate() {
            let count = exact.remove(&*place.post_id).unwrap_or(0);
            let bounds = place.count.view_count_min..=place.count.view_count_max;
            assert!(
                bounds.contains(&count),
                "{}: {count} not in {bounds:?}",
                place.post_id
            );
            if number % 101 == 0 {
                self.check_post(scope, window, &place.post_id, span, count);
            }
        }
        for (post_id, count) in exact {
            assert!(
                count <= chart.unlisted_max,
                "{post_id}: {count} > {}",
                chart.unlisted_max
            );
        }
    }

    /// A post's series and regions: each point within its bounds, and together the whole.
    fn check_post(
        &self,
        scope: usize,
        window: WindowRequest,
        post_id: &str,
        span: Span,
        count: u64,
    ) {
        let request = PostRequest {
            post_id: post_id.into(),
            scope: scope_of(scope).into(),
            window,
            hidden_too: false,
        };
        let rules = ChartRules::default();
        let report = self
            .global
            .post(&self.storage, &request, rules, self.now_ms)
            .unwrap();
        let within = |counted: &hitparade::leaderboard::Count, count: u64| {
            assert!(
                counted.view_count_min <= count && count <= counted.view_count_max,
                "{post_id}: {count} {counted:?}"
            );
        };
        within(&report.count, count);
        let mut sum = 0;
        for (step, counted) in &report.series {
            let exact = self.exact(scope, *step).get(post_id).copied().unwrap_or(0);
            within(counted, exact);
            sum += exact;
        }
        assert_eq!(sum, count, "the steps are the whole");
        for (region, counted) in &report.regions {
            let region = REGIONS.iter().position(|id| id == region).unwrap() + 1;
            within(
                counted,
                self.exact(region, span).get(post_id).copied().unwrap_or(0),
            );
        }
    }
}

fn scope_of(scope: usize) -> &'static str {
    match scope.checked_sub(1) {
        None => GLOBAL_SCOPE,
        Some(region) => REGIONS[region],
    }
}
