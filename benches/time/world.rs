//! The plays of the benchmark: what the ladders hold, and what shards push.
//!
//! A region has a thousand plays a second in each of ten shards, Zipf 1.0 over a million posts.
//! Half of the posts are popular everywhere alike, the others in each region differently. Panes
//! of long spans are drawn from fewer plays with more weight.

use std::collections::BTreeMap;

use hitparade::capacity::{encode_copy, encode_within, open_pane, sealed_bytes};
use hitparade::codec;
use hitparade::summary::{Seed, Summary};
use hitparade::window::{Days, Level, MINUTE_MS, PaneKey};
use hitparade::wire::{Push, SealedPane};

use super::streams::{ID_BYTES, IDS, Source, Stream, write_id};

/// Shards whose plays are drawn apart, a region; further ones push the same again.
const DRAWN_SHARDS: u32 = 10;
/// Pushes a minute.
pub const STEPS: u32 = 12;
const PLAYS_A_STEP: usize = 5_000;

pub struct World {
    source: Source,
    seed: Seed,
    /// By region, shard and step: a minute's pane as it is copied, and after the last step as it is
    /// sealed.
    copies: BTreeMap<(u32, u32, u32), Vec<u8>>,
    sealed: BTreeMap<(u32, u32), Vec<u8>>,
    /// Logs that were made for what was before the shards' own.
    histories: u64,
}

pub fn post_id(number: u32) -> String {
    let mut id = [0; ID_BYTES];
    write_id(number, &mut id);
    String::from_utf8_lossy(&id).into_owned()
}

pub fn region_id(region: u32) -> String {
    format!("R{region}")
}

impl World {
    pub fn new(seed: [u8; 16]) -> Self {
        World {
            source: Source::new(Stream::Zipf10, 7),
            seed: Seed::from_bytes(seed),
            copies: BTreeMap::new(),
            sealed: BTreeMap::new(),
            histories: 0,
        }
    }

    fn play(&mut self, region: u32, weight: u64, into: &mut Summary) {
        let drawn = self.source.draw();
        let number = if drawn.is_multiple_of(2) {
            drawn
        } else {
            (drawn + region * 97_003) % IDS as u32
        };
        into.record(&post_id(number), weight);
    }

    /// Panes of one level that were sealed one after the other, the last ending at `end_ms`, as a
    /// push of the region's first shard.
    pub fn history(&mut self, region: u32, level: Level, end_ms: u64, panes: u32) -> Vec<u8> {
        let (plays, weight) = match level {
            Level::Minute => (40_000, 15),
            Level::Quarter => (50_000, 180),
            Level::TwoHours => (80_000, 900),
            _ => (160_000, 5_400),
        };
        let mut entries = Vec::new();
        for pane in 1..=u64::from(panes) {
            let mut summary = open_pane(level, self.seed);
            for _ in 0..plays {
                self.play(region, weight, &mut summary);
            }
            let start_ms = end_ms - pane * level.length_ms();
            let summary = encode_within(&summary, sealed_bytes(level, summary.len()));
            entries.push(sealed(
                PaneKey::of(level, start_ms, &Days::default()),
                1,
                &summary,
            ));
        }
        // A log of its own, so that the shard's begins with its first push; each after the one before.
        self.histories += 1;
        let log_id = u128::from(self.histories) << 64;
        push(region, 0, (log_id, self.histories), 0, &entries, 0, &[])
    }

    /// The copy of a shard's pane after so many steps of a minute.
    fn copy(&mut self, region: u32, shard: u32, step: u32) -> &[u8] {
        let shard = shard % DRAWN_SHARDS;
        if !self.copies.contains_key(&(region, shard, step)) {
            let mut summary = open_pane(Level::Minute, self.seed);
            for step in 1..=STEPS {
                for _ in 0..PLAYS_A_STEP {
                    self.play(region, 1, &mut summary);
                }
                self.copies
                    .insert((region, shard, step), encode_copy(&summary).0);
            }
            let sealed = encode_within(&summary, sealed_bytes(Level::Minute, summary.len()));
            self.sealed.insert((region, shard), sealed);
        }
        self.copies
            .get(&(region, shard, step))
            .map_or(&[], Vec::as_slice)
    }

    /// What a shard pushes at a moment: copies of its open panes, and in the push after half of
    /// the minute the pane of the minute before, sealed. `minute` counts from 1.
    pub fn push(
        &mut self,
        region: u32,
        shard: u32,
        start_ms: u64,
        minute: u32,
        step: u32,
    ) -> Vec<u8> {
        let minute_ms = start_ms + u64::from(minute - 1) * MINUTE_MS;
        let this = PaneKey::of(Level::Minute, minute_ms, &Days::default());
        let before = PaneKey::of(Level::Minute, minute_ms - MINUTE_MS, &Days::default());
        let sealed_before = step > STEPS / 2;
        // The commits of each minute are numbered by its steps.
        let first_seq = u64::from(minute * STEPS) + 1;
        let mut copies = vec![sealed(this, first_seq, self.copy(region, shard, step))];
        let mut entries = Vec::new();
        let seq_before = first_seq - u64::from(STEPS);
        match step {
            _ if !sealed_before => {
                copies.push(sealed(before, seq_before, self.copy(region, shard, STEPS)));
            }
            7 => {
                let summary = self.sealed.get(&(region, shard % DRAWN_SHARDS));
                let summary = summary.map_or(&[][..], Vec::as_slice);
                entries.push(sealed(before, seq_before, summary));
            }
            _ => {}
        }
        let next_offset = u64::from(minute - 1) + u64::from(sealed_before);
        let journal_seq = u64::from(minute * STEPS + step);
        let log = (u128::from(shard) + 1, start_ms);
        push(
            region,
            shard,
            log,
            next_offset,
            &entries,
            journal_seq,
            &copies,
        )
    }
}

fn sealed(pane: PaneKey, first_seq: u64, summary: &[u8]) -> Vec<u8> {
    codec::encode(&SealedPane {
        level: pane.level.code(),
        start_ms: pane.start_ms,
        end_ms: pane.end_ms,
        first_seq,
        last_seq: first_seq + u64::from(STEPS) - 1,
        summary,
    })
}

fn push(
    region: u32,
    shard: u32,
    (log_id, log_began_ms): (u128, u64),
    next_offset: u64,
    entries: &[Vec<u8>],
    journal_seq: u64,
    copies: &[Vec<u8>],
) -> Vec<u8> {
    let next_offset = next_offset.max(entries.len() as u64);
    let first_offset = next_offset - entries.len() as u64;
    codec::encode(&Push {
        region_id: &region_id(region),
        shard,
        epoch_ms: 0,
        log_id,
        log_began_ms,
        oldest_offset: first_offset,
        first_offset,
        entries: entries.iter().map(Vec::as_slice).collect(),
        next_offset,
        journal_seq,
        copies: copies.iter().map(Vec::as_slice).collect(),
        copies_left_out: false,
        cut: None,
        watched_since_ms: None,
        replied_by: 0,
    })
}
