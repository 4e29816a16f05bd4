//! `GET /metrics`: figures for the operator, in Prometheus' text format.
//!
//! Shards are asked in turn, six at a time and [`MAX_SHARDS`] at most. One that does not answer is
//! left out and counted in `hitparade_shards_silent`.

use std::fmt::Write;

use futures_util::{StreamExt, stream};

use super::answer::Answer;
use super::problem::Problem;
use super::request::Call;
use super::table;
use crate::codec;
use crate::platform::{allocated_bytes, call_raw, instance, now_ms, shard_stub, wasm_memory_bytes};
use crate::region::ShardMetrics;

/// Shards that one answer speaks of: a message each.
const MAX_SHARDS: usize = 64;
const SHARDS_AT_ONCE: usize = 6;
const TIMEOUT_MS: u64 = 5_000;

/// A metric of shards: name, type, what it says, where it is found.
type OfShard = (
    &'static str,
    &'static str,
    &'static str,
    fn(&ShardMetrics) -> u64,
);

const OF_SHARDS: [OfShard; 11] = [
    (
        "rows_written_total",
        "counter",
        "Rows written, as billed, since the object started.",
        |m| m.rows_written,
    ),
    (
        "batches_total",
        "counter",
        "Batches made durable and counted.",
        |m| m.batches,
    ),
    (
        "repeated_batches_total",
        "counter",
        "Batches that had been counted before.",
        |m| m.repeated_batches,
    ),
    (
        "busy_batches_total",
        "counter",
        "Batches that were told to come back.",
        |m| m.busy_batches,
    ),
    (
        "damaged_rows",
        "gauge",
        "Stored rows that cannot be read.",
        |m| m.damaged_rows,
    ),
    (
        "waiting_batches",
        "gauge",
        "Batches that wait for a commit.",
        |m| m.waiting_batches,
    ),
    ("open_panes", "gauge", "Panes that take plays.", |m| {
        m.open_panes
    }),
    (
        "outbox_panes",
        "gauge",
        "Sealed panes that the global object has not consumed.",
        |m| m.outbox_panes,
    ),
    ("outbox_bytes", "gauge", "Bytes of these.", |m| {
        m.outbox_bytes
    }),
    (
        "remembered_batches",
        "gauge",
        "Fingerprints of batches, against repeats.",
        |m| m.remembered_batches,
    ),
    (
        "charts_asked_total",
        "counter",
        "Leaderboards that the global object was asked for.",
        |m| m.charts_asked,
    ),
];

pub async fn get(call: &Call) -> Result<Answer, Problem> {
    let table = table::table(&call.env).await?;
    let now_ms = now_ms();
    let shards = table
        .regions
        .iter()
        .flat_map(|region| (0..region.shards_at(now_ms)).map(move |shard| (region, shard)));
    let asked = shards.take(MAX_SHARDS).map(async |(region, shard)| {
        let id = region.region_id.as_str();
        let stub = shard_stub(&call.env, id, shard, region.hint.as_deref()).ok()?;
        let answer = call_raw(&stub, "/metrics", &[], TIMEOUT_MS).await.ok()?;
        let metrics = codec::decode::<ShardMetrics>(&answer).ok()?;
        Some((id, shard, metrics))
    });
    let answers: Vec<_> = stream::iter(asked).buffered(SHARDS_AT_ONCE).collect().await;
    let silent = answers.iter().filter(|answer| answer.is_none()).count();
    let answers: Vec<_> = answers.into_iter().flatten().collect();

    let mut text = String::new();
    for (name, kind, help, value) in OF_SHARDS {
        head(&mut text, name, kind, help);
        for (region, shard, metrics) in &answers {
            let region = escaped(region);
            let value = value(metrics);
            let _ = writeln!(
                text,
                "hitparade_{name}{{region=\"{region}\",shard=\"{shard}\"}} {value}"
            );
        }
    }
    let (id, started_ms) = instance();
    let gauges = [
        (
            "shards_silent",
            "Shards that did not answer.",
            silent as u64,
        ),
        (
            "wasm_memory_bytes",
            "Memory of this instance of Wasm; it never shrinks.",
            wasm_memory_bytes() as u64,
        ),
        (
            "allocated_bytes",
            "What is in use of it.",
            allocated_bytes() as u64,
        ),
    ];
    for (name, help, value) in gauges {
        head(&mut text, name, "gauge", help);
        let _ = writeln!(text, "hitparade_{name} {value}");
    }
    head(
        &mut text,
        "instance_started_seconds",
        "gauge",
        "When this instance of Wasm started; another id is another instance.",
    );
    let _ = writeln!(
        text,
        "hitparade_instance_started_seconds{{instance=\"{id:016x}\"}} {}",
        started_ms / 1_000
    );
    Ok(
        Answer::bytes("text/plain; version=0.0.4", text.into_bytes())
            .with_header("Cache-Control", "no-store"),
    )
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(
        text,
        "# HELP hitparade_{name} {help}\n# TYPE hitparade_{name} {kind}"
    );
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
