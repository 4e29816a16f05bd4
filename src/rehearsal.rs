//! What an instance does once, before anybody asks it for anything: a play is counted, its minute sealed, pushed
//! and folded, and a global object that has just come into memory makes a chart of it. Nothing of it stays.
//!
//! The engine compiles a function when it is called for the first time, and that is the time of whoever calls: of
//! the first chart of a fresh global object it was nine tenths. What is called here is compiled while the Worker
//! starts, where a plan allows a second, and a request of a free one 10 ms.
//!
//! The objects are those of `src/`, on a [`Host`] whose storage and clock are made up: functions of another host
//! would be others.

use std::cell::Cell;
use std::rc::Rc;

use crate::board::{MAIN, ObjectName};
use crate::codec;
use crate::filter::Filter;
use crate::global::{self, GlobalSettings};
use crate::host::{Host, Stage};
use crate::leaderboard::Leaderboard;
use crate::region::{self, Limits};
use crate::topology::{Region, RegionTable};
use crate::window::{DAY_MS, MINUTE_MS};
use crate::wire::*;
#[cfg(target_arch = "wasm32")]
use crate::worker_host::WorkerHost;

const REGION: &str = "rehearsal";
const SEED: [u8; 16] = *b"of the rehearsal";
const BEGINS_MS: u64 = 20_000 * DAY_MS;
/// By then a minute is sealed.
const SEALED_AFTER_MS: u64 = QUIET_SEALING_MS + 2 * MINUTE_MS;
/// Rehearses; `host` makes the host of an object. Returns the chart.
///
/// # Errors
/// What did not end, or was refused. Then the rest is compiled when somebody asks.
pub fn rehearse<H: Host>(
    host: impl Fn(ObjectName, Stage) -> H,
) -> Result<Leaderboard, &'static str> {
    let now_ms = Rc::new(Cell::new(BEGINS_MS));
    let (of_shard, of_global) = (Stage::new(&now_ms), Stage::new(&now_ms));
    let region = Region::new(REGION, REGION, 1);
    let table = RegionTable::new(vec![region], SEED);
    drop(global::Global::load(&of_global.storage, &table).map_err(|_| "load")?);

    let shard = host(ObjectName::shard(MAIN, REGION, 0), of_shard.clone());
    let shard = region::Driver::new(shard, Limits::default());
    match of_shard.run(shard.record(&batch(), None)) {
        Some(RecordReply::Counted { .. }) => {}
        _ => return Err("record"),
    }
    let global_object = || {
        let host = host(ObjectName::global(MAIN), of_global.clone());
        global::Driver::new(host, GlobalSettings::default())
    };
    now_ms.set(BEGINS_MS + SEALED_AFTER_MS);
    // Nobody answers its push; then it is asked.
    let _ = of_shard.run(shard.alarm(None)).ok_or("alarm")?;
    let question = codec::encode(&Pull {
        watched_since_ms: None,
    });
    let report = of_shard.run(shard.pull(&question)).ok_or("pull")?;
    let report = report.map_err(|_| "pull")?;
    of_global.run(global_object().push(&report)).ok_or("push")?;
    // It is out of memory by now.
    let answer = of_global.run(global_object().chart(&chart()));
    let answer = answer.ok_or("chart")?;
    match codec::decode(&answer) {
        Ok(ChartReply(Ok(chart))) => Ok(chart),
        _ => Err("chart"),
    }
}

fn batch() -> Vec<u8> {
    let play = BatchPlay {
        post_id: "post",
        timestamp_ms: BEGINS_MS,
        count: 1,
    };
    let batch = codec::encode(&Batch {
        key: Some(b"key"),
        plays_hash: 0,
        sent_ms: BEGINS_MS,
        plays: vec![play],
    });
    codec::encode(&RecordRequest {
        board: MAIN,
        region_id: REGION,
        shard: 0,
        epoch_ms: 0,
        seed: SEED,
        listed: None,
        batch: &batch,
    })
}

fn chart() -> Vec<u8> {
    codec::encode(&ChartRequest {
        scope: REGION.into(),
        window: WindowRequest::Sliding { length_ms: DAY_MS },
        sort: Sort::Views,
        k_class: 10,
        filter: Filter::default(),
    })
}

/// What the start of an instance calls (src/js/service.js). Whether it has gone the whole way.
#[cfg(target_arch = "wasm32")]
#[wasm_bindgen::prelude::wasm_bindgen(js_name = rehearse)]
pub fn rehearse_at_start() -> bool {
    let chart = rehearse(WorkerHost::on_stage);
    crate::panics::point("rehearsal");
    chart.is_ok_and(|chart| !chart.places.is_empty())
}
