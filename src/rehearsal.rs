//! What an instance does once, before anybody asks it for anything: plays are counted, their minutes sealed, pushed
//! and folded, a global object that has just come into memory asks the shard what is new and makes a chart of all, and
//! the Worker gives that to a reader. Nothing of it stays.
//!
//! The engine compiles a function when it is called for the first time, and that is the time of whoever calls: of
//! the first chart of a fresh global object it was nine tenths. What is called here is compiled while the Worker
//! starts, where a plan allows a second, and a request of a free one 10 ms.
//!
//! The objects are those of `src/`, on a [`Host`] whose storage and clock are made up: functions of another host
//! would be others. What a function of `async` calls is compiled with it, but for what lies behind a pointer: so each
//! of an object's answers does, here and there. The Worker gets the answers from `src/js/rehearsal.js`.

use std::cell::Cell;
use std::rc::Rc;

use futures_util::future::FutureExt;

use crate::board::{MAIN, ObjectName};
use crate::codec;
use crate::filter::Filter;
use crate::global::{self, GlobalSettings};
use crate::host::{Host, Stage, StageAnswers};
use crate::leaderboard::Leaderboard;
use crate::region::{self, Limits};
use crate::registry;
use crate::topology::{GLOBAL_SCOPE, Region, RegionTable};
use crate::window::{DAY_MS, MINUTE_MS};
use crate::wire::*;

/// One of those that are there at first.
const REGION: &str = "NA";
const SEED: [u8; 16] = *b"of the rehearsal";
/// As `src/js/rehearsal.js` has it.
const BEGINS_MS: u64 = 20_000 * DAY_MS;
/// By then a minute is sealed.
const SEALED_AFTER_MS: u64 = QUIET_SEALING_MS + 2 * MINUTE_MS;
/// Posts, played in turn in two minutes, in no order of their counts: enough for what sorts, and for what packs many
/// numbers.
const POSTS_PLAYED: u32 = 600;
const MINUTES_PLAYED: u32 = 2;
/// Somebody looks so much later than the last push that the shard is asked.
const LOOKS_AFTER_MS: u64 = 10_000;

/// Rehearses; `host` makes the host of an object. Returns the chart, and what the others answer to a Worker.
///
/// # Errors
/// What did not end, or was refused. Then the rest is compiled when somebody asks.
pub fn rehearse<H: Host>(
    host: impl Fn(ObjectName, Stage) -> H,
) -> Result<(Leaderboard, StageAnswers), &'static str> {
    let now_ms = Rc::new(Cell::new(BEGINS_MS));
    let answers = StageAnswers::default();
    let stage = || Stage::new(&now_ms, &answers);
    let (of_registry, of_shard, of_global) = (stage(), stage(), stage());
    let answered = |path, answer: &[u8]| answers.borrow_mut().insert(path, answer.to_vec());

    let registry = host(ObjectName::Registry, of_registry.clone());
    let registry = registry::Driver::new(registry, None);
    let question = codec::encode(&DirectoryQuestion { version: None });
    let directory = of_registry.run(registry.directory(&question).boxed_local());
    answered(DirectoryQuestion::PATH, &directory.ok_or("directory")?);

    let table = RegionTable::new(vec![Region::new(REGION, REGION, 1)], SEED);
    drop(global::Global::load(&of_global.storage, &table).map_err(|_| "load")?);
    let shard = host(ObjectName::shard(MAIN, REGION, 0), of_shard.clone());
    let shard = region::Driver::new(shard, Limits::default());
    let record = |key: &[u8]| {
        let message = batch(key, now_ms.get());
        match of_shard.run(shard.record(&message, None).boxed_local()) {
            Some(RecordReply::Counted { .. }) => Ok(()),
            _ => Err("record"),
        }
    };
    let report = || {
        let question = codec::encode(&Pull {
            watched_since_ms: None,
        });
        let report = of_shard.run(shard.pull(&question).boxed_local());
        report.ok_or("pull")?.map_err(|_| "pull")
    };
    record(b"first")?;
    now_ms.set(now_ms.get() + SEALED_AFTER_MS);
    record(b"second")?;
    // Nobody answers its push; then it is asked.
    let _ = of_shard
        .run(shard.alarm(None).boxed_local())
        .ok_or("alarm")?;
    let global_object = || {
        let host = host(ObjectName::global(MAIN), of_global.clone());
        global::Driver::new(host, GlobalSettings::default())
    };
    let pushed = report()?;
    of_global
        .run(global_object().push(&pushed).boxed_local())
        .ok_or("push")?;
    now_ms.set(now_ms.get() + LOOKS_AFTER_MS);
    answered("/pull", &codec::encode(&PullReply(Ok(report()?))));
    // It is out of memory by now.
    let chart = of_global.run(global_object().chart(&chart()).boxed_local());
    let chart = chart.ok_or("chart")?;
    answered("/chart", &chart);
    let kept = of_shard.run(shard.chart(&self::chart()).boxed_local());
    let kept = kept.ok_or("the shard's chart")?;
    answered("/chart", &codec::encode(&kept.as_sent()));
    match codec::decode(&chart) {
        Ok(ChartReply(Ok(chart))) => Ok((chart, answers)),
        _ => Err("chart"),
    }
}

/// What was played in the last minutes.
fn batch(key: &[u8], now_ms: u64) -> Vec<u8> {
    let posts: Vec<String> = (1..=POSTS_PLAYED)
        .map(|number| format!("post-{number}"))
        .collect();
    let plays = posts.iter().zip(1..).map(|(post_id, number)| BatchPlay {
        post_id,
        timestamp_ms: now_ms - u64::from(number % MINUTES_PLAYED) * MINUTE_MS,
        count: 1 + number * 37 % 101,
    });
    let batch = codec::encode(&Batch {
        key: Some(key),
        plays_hash: 0,
        sent_ms: now_ms,
        plays: plays.collect(),
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
        scope: GLOBAL_SCOPE.into(),
        window: WindowRequest::Sliding { length_ms: DAY_MS },
        sort: Sort::Views,
        k_class: 10,
        filter: Filter::default(),
    })
}

#[cfg(target_arch = "wasm32")]
mod at_start {
    use js_sys::{Object, Reflect, Uint8Array};
    use wasm_bindgen::prelude::wasm_bindgen;
    use wasm_bindgen::{JsCast, JsValue};
    use worker::State;
    use worker::worker_sys::DurableObjectState;

    use crate::edge::forget_all;
    use crate::instance::forget_name;
    use crate::storage::{SqlStorage, Storage, StorageError, Table, Write};
    use crate::worker_host::WorkerHost;

    /// What the start of an instance calls (`src/js/rehearsal.js`). `state` is an object's, whose storage answers
    /// whatever is asked. Returns what others would answer to the Worker, by the paths of the questions; nothing where
    /// it has not gone the whole way.
    #[wasm_bindgen]
    pub fn rehearse(state: JsValue) -> Option<Object> {
        let rehearsed = super::rehearse(WorkerHost::on_stage);
        crate::panics::point("rehearsal");
        let (_, answers) = rehearsed
            .ok()
            .filter(|(chart, _)| !chart.places.is_empty())?;
        let state = State::from(state.unchecked_into::<DurableObjectState>());
        ask_for_all(&SqlStorage::open(&state.storage()).ok()?).ok()?;
        let object = Object::new();
        for (path, answer) in answers.borrow().iter() {
            let answer = Uint8Array::from(&answer[..]);
            Reflect::set(&object, &JsValue::from_str(path), &answer).ok()?;
        }
        Some(object)
    }

    fn ask_for_all(storage: &SqlStorage) -> Result<(), StorageError> {
        let key = b"key".to_vec();
        let put = Write::put(Table::Meta, key.clone(), vec![0]);
        storage.write(&[
            put,
            Write::Delete {
                table: Table::Meta,
                key,
            },
        ])?;
        storage.get(Table::Meta, b"key")?;
        storage.scan(Table::Meta, b"key", b"", usize::MAX)?;
        storage.keys(Table::Meta, b"key")?;
        storage.next_key(Table::Meta, b"key", b"")?;
        storage.get_all(Table::Meta, &["key"])?;
        storage.has_all(Table::Meta, &["key"])?;
        storage.size().map(|_| ())
    }

    /// Forgets what the Worker has remembered of its rehearsal.
    #[wasm_bindgen(js_name = endRehearsal)]
    pub fn end_rehearsal() {
        forget_all();
        forget_name();
    }
}
