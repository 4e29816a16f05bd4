//! `GET /metrics`: figures for the operator, in Prometheus' text format.
//!
//! It wakes no shard: shards tell their figures with each push, and the global object, which is awake
//! wherever something is pushed, has the last of each. It is asked once a second an isolate at most,
//! and so whoever asks more often costs a text and no message; requests are counted as all reads are.
//! Where the global object does not answer, `hitparade_global_up` is 0 and the figures are those that
//! it told last, with their age. What the Worker itself has seen is that of the isolate that answers:
//! the only one on bare workerd, one of many on Cloudflare.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

use wasm_bindgen::JsValue;
use worker::Env;

use super::access::may_read_metrics;
use super::answer::Answer;
use super::counters::{self, AGE_BOUNDS_S, Counters};
use super::problem::Problem;
use super::request::Call;
use crate::codec;
use crate::platform::{call_raw, global_stub, instance_metrics, now_ms};
use crate::wire::{GlobalMetrics, InstanceMetrics, ShardMetrics, Sizes};

const TIMEOUT_MS: u64 = 5_000;
/// What was told serves for so long.
const KEPT_MS: u64 = 1_000;

thread_local! {
    static TOLD: RefCell<Option<Told>> = const { RefCell::new(None) };
    /// When a request last set out to ask.
    static ASKED_MS: Cell<u64> = const { Cell::new(0) };
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// What the global object told this isolate last.
#[derive(Clone)]
struct Told {
    global: Rc<GlobalMetrics>,
    told_ms: u64,
    /// Whether it answered when it was asked last.
    is_up: bool,
}

/// A metric: name, what it says, where it is found. A name that ends in `_total` is a counter.
type Metric<T, V = u64> = (&'static str, &'static str, fn(&T) -> V);

const OF_SHARDS: [Metric<ShardMetrics>; 18] = [
    (
        "plays_total",
        "Plays counted, each as often as its count says.",
        |m| m.counted.plays,
    ),
    ("batches_total", "Batches made durable and counted.", |m| {
        m.batches
    }),
    (
        "repeated_batches_total",
        "Batches that had been counted before.",
        |m| m.repeated_batches,
    ),
    (
        "busy_batches_total",
        "Batches that were told to come back.",
        |m| m.busy_batches,
    ),
    ("rows_written_total", "Rows written, as billed.", |m| {
        m.rows_written
    }),
    ("pushes_total", "Pushes that the global object took.", |m| {
        m.pushes
    }),
    ("pushed_bytes_total", "Bytes of these.", |m| m.pushed_bytes),
    ("failed_pushes_total", "Pushes that it did not take.", |m| {
        m.failed_pushes
    }),
    (
        "charts_asked_total",
        "Leaderboards that the global object was asked for.",
        |m| m.charts_asked,
    ),
    (
        "state_loads_total",
        "How often the state was read from storage: once a start, and after errors.",
        |m| m.loads,
    ),
    ("damaged_rows", "Stored rows that cannot be read.", |m| {
        m.damaged_rows
    }),
    ("waiting_batches", "Batches that wait for a commit.", |m| {
        m.waiting_batches
    }),
    ("open_panes", "Panes that take plays.", |m| m.open_panes),
    (
        "outbox_panes",
        "Sealed panes that the global object has not consumed.",
        |m| m.outbox_panes,
    ),
    ("outbox_bytes", "Bytes of these.", |m| m.outbox_bytes),
    (
        "outbox_age_seconds",
        "Since the oldest of these was sealed.",
        |m| m.outbox_age_ms / 1_000,
    ),
    (
        "remembered_batches",
        "Fingerprints of batches, against repeats.",
        |m| m.remembered_batches,
    ),
    (
        "shard_started_seconds",
        "When the object started: another value is a restart.",
        |m| m.started_ms / 1_000,
    ),
];

const OF_GLOBAL: [Metric<GlobalMetrics>; 18] = [
    (
        "global_rows_written_total",
        "Rows written, as billed.",
        |m| m.rows_written,
    ),
    (
        "global_folds_total",
        "How often what was pending went into the ladders.",
        |m| m.folds,
    ),
    (
        "global_folded_panes_total",
        "Rows of ladders that this wrote.",
        |m| m.folded_panes,
    ),
    (
        "global_gaps_total",
        "Sealed panes that no shard could send any more: lost.",
        |m| m.gaps,
    ),
    ("global_pushes_total", "Pushes of shards.", |m| m.pushes),
    (
        "global_refused_pushes_total",
        "Pushes that were refused.",
        |m| m.refused_pushes,
    ),
    (
        "global_charts_total",
        "Leaderboards that were asked for.",
        |m| m.charts,
    ),
    (
        "global_refused_charts_total",
        "Those that had no turn.",
        |m| m.refused_charts,
    ),
    (
        "global_reading_milliseconds_total",
        "What charts, pages and lists of regions were charged, by what was read and merged.",
        |m| m.reading_ms,
    ),
    (
        "global_state_loads_total",
        "How often the state was read from storage: once a start, and after errors.",
        |m| m.loads,
    ),
    (
        "global_damaged_rows",
        "Stored rows that cannot be read.",
        |m| m.damaged_rows,
    ),
    (
        "global_damaged_regions",
        "Regions whose pushes are refused, as their offsets cannot be read.",
        |m| m.damaged_regions,
    ),
    (
        "global_pending_bytes",
        "What was taken and is not folded yet.",
        |m| m.pending_bytes,
    ),
    (
        "global_stored_bytes",
        "Bytes of the database of the global object.",
        |m| m.stored_bytes,
    ),
    ("global_catalog_posts", "Posts of the catalog.", |m| {
        m.catalog_posts
    }),
    ("global_catalog_bytes", "Bytes of these.", |m| {
        m.catalog_bytes
    }),
    (
        "global_shards_told",
        "Shards that have told their figures since it started; 256 of them are shown.",
        |m| m.shards_told,
    ),
    (
        "global_started_seconds",
        "When the object started: another value is a restart.",
        |m| m.started_ms / 1_000,
    ),
];

/// What is known, asked anew where that is over a second old. While one request asks, the others get
/// what is there.
async fn told(env: &Env) -> Option<Told> {
    let known = TOLD.with(|told| told.borrow().clone());
    let now_ms = now_ms();
    let is_asked = ASKING.get() && now_ms.saturating_sub(ASKED_MS.get()) < TIMEOUT_MS;
    if is_asked || now_ms.saturating_sub(ASKED_MS.get()) < KEPT_MS {
        return known;
    }
    ASKED_MS.set(now_ms);
    ASKING.set(true);
    let answer = ask_global(env).await;
    ASKING.set(false);
    let told = match (answer, known) {
        (Some(global), _) => Some(Told {
            global: Rc::new(global),
            told_ms: now_ms,
            is_up: true,
        }),
        (None, Some(known)) => Some(Told {
            is_up: false,
            ..known
        }),
        (None, None) => None,
    };
    TOLD.with(|known| known.borrow_mut().clone_from(&told));
    told
}

async fn ask_global(env: &Env) -> Option<GlobalMetrics> {
    let stub = global_stub(env).ok()?;
    let answer = call_raw(&stub, "/metrics", &[], TIMEOUT_MS).await.ok()?;
    codec::decode(&answer).ok()
}

/// A shard's figures, and how old they are.
struct Shard<'a> {
    region: &'a str,
    shard: String,
    age_ms: u64,
    metrics: ShardMetrics,
}

pub async fn get(call: &Call) -> Result<Answer, Problem> {
    may_read_metrics(call)?;
    // An operator needs the rest most of all where something is away.
    let told = told(&call.env).await;
    let older_ms = |told: &Told| now_ms().saturating_sub(told.told_ms);
    let older_ms = told.as_ref().map_or(0, older_ms);
    let is_up = told.as_ref().is_some_and(|told| told.is_up);
    let global = told.map(|told| told.global);
    let shards = global.iter().flat_map(|global| &global.shards);
    let shards = shards.filter_map(|told| {
        Some(Shard {
            region: &told.region_id,
            shard: told.shard.to_string(),
            age_ms: told.age_ms + older_ms,
            metrics: codec::decode(&told.figures).ok()?,
        })
    });
    let shards: Vec<Shard<'_>> = shards.collect();

    let mut text = Text::default();
    of_shards(&mut text, &shards);
    text.one(
        "global_up",
        "Whether the global object answers.",
        u64::from(is_up),
    );
    if let Some(global) = &global {
        for (name, help, value) in OF_GLOBAL {
            text.one(name, help, value(global));
        }
        for (name, help, bytes, most) in [
            (
                "global_stored_share",
                "Share of what the platform gives a database: from 0.3 on, panes are kept shorter.",
                global.stored_bytes,
                global.most_stored_bytes,
            ),
            (
                "global_catalog_share",
                "Share of the bytes or posts that the catalog may have: at 1 it takes no more.",
                global.catalog_bytes.max(
                    global.catalog_posts
                        * (global.most_catalog_bytes / global.most_catalog_posts.max(1)),
                ),
                global.most_catalog_bytes,
            ),
        ] {
            text.family(name, "gauge", help);
            text.sample(name, &[], bytes as f64 / most as f64);
        }
        text.family(
            "push_age_seconds",
            "gauge",
            "Since a shard that has panes open was last heard of.",
        );
        for (region, shard, age_ms) in &global.push_ages_ms {
            let shard = shard.to_string();
            text.sample(
                "push_age_seconds",
                &[("region", region), ("shard", &shard)],
                Seconds(*age_ms + older_ms),
            );
        }
    }
    of_worker(&mut text, &counters::now());
    let instances = shards.iter().map(|shard| shard.metrics.instance);
    let instances = instances.chain(global.as_ref().map(|global| global.instance));
    of_instances(&mut text, instances.chain([instance_metrics()]));
    let answer = Answer::bytes("text/plain; version=0.0.4", text.0.into_bytes());
    Ok(answer.with_header("Cache-Control", "no-store"))
}

impl Shard<'_> {
    fn labels(&self) -> [(&str, &str); 2] {
        [("region", self.region), ("shard", &self.shard)]
    }
}

fn of_shards(text: &mut Text, shards: &[Shard<'_>]) {
    for (name, help, value) in OF_SHARDS {
        text.family(name, kind_of(name), help);
        for shard in shards {
            text.sample(name, &shard.labels(), value(&shard.metrics));
        }
    }
    let name = "figures_age_seconds";
    text.family(
        name,
        "gauge",
        "Since a shard told these figures: with its last push.",
    );
    for shard in shards {
        text.sample(name, &shard.labels(), Seconds(shard.age_ms));
    }
    let sizes: [Metric<ShardMetrics, Sizes>; 2] = [
        (
            "batch_plays",
            "Entries of the batches that were counted.",
            |m| m.counted.batch_sizes,
        ),
        ("commit_batches", "Batches of each commit.", |m| {
            m.counted.commit_sizes
        }),
    ];
    for (name, help, value) in sizes {
        text.family(name, "histogram", help);
        for shard in shards {
            let sizes = value(&shard.metrics);
            let labels = shard.labels();
            let bounds = Sizes::BOUNDS.map(|bound| bound.to_string());
            text.histogram(name, &labels, &bounds, &sizes.counts, sizes.sum);
        }
    }
}

fn of_worker(text: &mut Text, counters: &Counters) {
    text.family(
        "requests_total",
        "counter",
        "Requests to this instance, by route and status.",
    );
    for ((route, status), count) in &counters.requests {
        let status = status.to_string();
        text.sample(
            "requests_total",
            &[("route", route), ("status", &status)],
            count,
        );
    }
    text.family(
        "problems_total",
        "counter",
        "Answers of this instance that are errors, by code.",
    );
    for (code, count) in &counters.problems {
        text.sample("problems_total", &[("code", code)], count);
    }
    text.family(
        "rejected_plays_total",
        "counter",
        "Plays that this instance rejected, by code.",
    );
    for (code, count) in &counters.rejected_plays {
        text.sample("rejected_plays_total", &[("code", code)], count);
    }
    text.family(
        "elsewhere_batches_total",
        "counter",
        "Batches that counted in another region, by the one of REGIONS that is not made.",
    );
    for (region, count) in &counters.elsewhere {
        text.sample("elsewhere_batches_total", &[("region", region)], count);
    }
    text.family(
        "charts_total",
        "counter",
        "Charts of this instance, by where they came from.",
    );
    for (name, count) in door_counts() {
        text.sample("charts_total", &[("from", name)], count);
    }
    for (source, count) in &counters.charts {
        text.sample("charts_total", &[("from", source.name())], count);
    }
    let name = "chart_age_seconds";
    text.family(
        name,
        "histogram",
        "Since a chart was computed when it went out, those from the door left out.",
    );
    let bounds = AGE_BOUNDS_S.map(|bound| bound.to_string());
    text.histogram(
        name,
        &[],
        &bounds,
        &counters.ages,
        Seconds(counters.ages_sum_ms),
    );
}

/// What the Worker's door (`entry.js`) answered by itself.
fn door_counts() -> [(&'static str, u64); 2] {
    let door = js_sys::Reflect::get(&js_sys::global(), &"hitparadeDoor".into());
    let door = door.unwrap_or(JsValue::UNDEFINED);
    [("door", "repeated"), ("refused_at_door", "refused")].map(|(name, field)| {
        let count = js_sys::Reflect::get(&door, &field.into()).ok();
        (
            name,
            count.and_then(|count| count.as_f64()).unwrap_or(0.0) as u64,
        )
    })
}

fn of_instances(text: &mut Text, instances: impl Iterator<Item = InstanceMetrics>) {
    let by_id: BTreeMap<u64, InstanceMetrics> =
        instances.map(|instance| (instance.id, instance)).collect();
    let of: [Metric<InstanceMetrics>; 3] = [
        (
            "wasm_memory_bytes",
            "Memory of an instance of Wasm; it never shrinks.",
            |m| m.memory_bytes,
        ),
        ("allocated_bytes", "What is in use of it.", |m| {
            m.allocated_bytes
        }),
        (
            "instance_started_seconds",
            "When an instance started; another id is another instance.",
            |m| m.started_ms / 1_000,
        ),
    ];
    for (name, help, value) in of {
        text.family(name, "gauge", help);
        for (id, instance) in &by_id {
            text.sample(
                name,
                &[("instance", &format!("{id:016x}"))],
                value(instance),
            );
        }
    }
}

/// Milliseconds, written as seconds.
#[derive(Clone, Copy)]
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

fn kind_of(name: &str) -> &'static str {
    if name.ends_with("_total") {
        "counter"
    } else {
        "gauge"
    }
}

/// The exposition format, line by line. Writing to a string cannot fail.
#[derive(Default)]
struct Text(String);

impl Text {
    /// Begins a metric; its samples follow.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(
            self.0,
            "# HELP hitparade_{name} {help}\n# TYPE hitparade_{name} {kind}"
        );
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "hitparade_{name}{labels} {value}");
    }

    /// A metric of one sample.
    fn one(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, kind_of(name), help);
        self.sample(name, &[], value);
    }

    fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        bounds: &[String],
        counts: &[u64],
        sum: impl std::fmt::Display,
    ) {
        let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
        let mut up_to = 0;
        for (bound, count) in bounds.zip(counts) {
            up_to += count;
            let labels = [labels, &[("le", bound)]].concat();
            self.sample(&format!("{name}_bucket"), &labels, up_to);
        }
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, up_to);
    }
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
