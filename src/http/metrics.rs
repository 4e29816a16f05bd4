//! The text of `/metrics`.

use std::collections::BTreeMap;

use super::counters::{AGE_BOUNDS_S, Counters};
use super::exposition::{Seconds, Text, kind_of};
use crate::codec;
use crate::wire::{GlobalMetrics, InstanceMetrics, RegistryMetrics, ShardMetrics, Sizes};

/// What `/metrics` is made of.
pub struct MetricsInput<'a> {
    /// The global object's last figures, with those that shards sent it; `None` where it never answered.
    pub global: Option<&'a GlobalMetrics>,
    /// How long ago that was.
    pub older_ms: u64,
    /// Whether it answered when it was asked last.
    pub is_up: bool,
    /// The registry's last figures; `None` where it never answered, or the figures are those of another board.
    pub registry: Option<RegistryMetrics>,
    /// Whether it answered when it was asked last; `None` where nobody asked.
    pub registry_is_up: Option<bool>,
    /// The counters of the isolate that answers.
    pub counters: &'a Counters,
    /// Charts that its door (`src/js/door.js`) answered by itself.
    pub repeated_at_the_door: u64,
    /// The instance that answers.
    pub instance: InstanceMetrics,
}

/// A metric: its name, its help text and how to read its value. A name that ends in `_total` is a counter.
type Metric<T, V> = (&'static str, &'static str, fn(&T) -> V);

/// A table of metrics, a line each.
macro_rules! metrics {
    ($table:ident: $of:ty => $value_type:ty; $($name:literal, $help:literal, $value:expr;)*) => {
        const $table: &[Metric<$of, $value_type>] = &[$(($name, $help, $value)),*];
    };
}

metrics! {
    OF_SHARDS: ShardMetrics => u64;
    "plays_total", "Plays counted, each as often as its count says.", |m| m.committed.plays;
    "batches_total", "Batches made durable and counted.", |m| m.batches;
    "repeated_batches_total", "Batches that had been counted before.", |m| m.repeated_batches;
    "claimed_batches_total", "Batches that came to another shard, and count there.", |m| m.committed.claims;
    "busy_batches_total", "Batches that were told to come back.", |m| m.busy_batches;
    "rows_written_total", "Rows written, as billed.", |m| m.rows_written;
    "pushes_total", "Pushes that the global object took.", |m| m.pushes;
    "pushed_bytes_total", "Bytes of these.", |m| m.pushed_bytes;
    "failed_pushes_total", "Pushes that it did not take.", |m| m.failed_pushes;
    "charts_asked_total", "Leaderboards that the global object was asked for.", |m| m.charts_asked;
    "state_loads_total", "How often the state was read from storage: once a start, and after errors.", |m| m.loads;
    "damaged_rows", "Stored rows that cannot be read.", |m| m.damaged_rows;
    "waiting_batches", "Batches that wait for a commit.", |m| m.waiting_batches;
    "open_panes", "Panes that take plays.", |m| m.open_panes;
    "outbox_panes", "Sealed panes that the global object has not consumed.", |m| m.outbox_panes;
    "outbox_bytes", "Bytes of these.", |m| m.outbox_bytes;
    "outbox_age_seconds", "Since the oldest of these was sealed.", |m| m.outbox_age_ms / 1_000;
    "remembered_batches", "Fingerprints of batches, against repeats.", |m| m.remembered_batches;
    "shard_started_seconds", "When the object started: another value is a restart.", |m| m.started_ms / 1_000;
}

metrics! {
    OF_GLOBAL: GlobalMetrics => u64;
    "global_rows_written_total", "Rows written, as billed.", |m| m.rows_written;
    "global_folds_total", "How often what was pending went into the ladders.", |m| m.folds;
    "global_folded_panes_total", "Rows of ladders that this wrote.", |m| m.folded_panes;
    "global_closed_charts_total", "Published charts that were closed with something on them.", |m| m.closed_charts;
    "global_gaps_total", "Sealed panes that no shard could send any more, or of a clock days ahead: lost.", |m| m.gaps;
    "global_pushes_total", "Pushes of shards.", |m| m.pushes;
    "global_refused_pushes_total", "Pushes that were refused.", |m| m.refused_pushes;
    "global_pulls_total", "Quiet shards that were asked what they have.", |m| m.pulls;
    "global_failed_pulls_total", "Quiet shards that did not answer.", |m| m.failed_pulls;
    "global_charts_total", "Leaderboards that were asked for.", |m| m.charts;
    "global_refused_charts_total", "Those that had no turn.", |m| m.refused_charts;
    "global_reading_milliseconds_total", "What charts, pages and lists of regions were charged, by what was read and merged.", |m| m.reading_ms;
    "global_state_loads_total", "How often the state was read from storage: once a start, and after errors.", |m| m.loads;
    "global_damaged_rows", "Stored rows that cannot be read.", |m| m.damaged_rows;
    "global_damaged_regions", "Regions whose pushes are refused, as their offsets cannot be read.", |m| m.damaged_regions;
    "global_pending_bytes", "What was taken and is not folded yet.", |m| m.pending_bytes;
    "global_stored_bytes", "Bytes of the database of the global object.", |m| m.stored_bytes;
    "global_catalog_posts", "Posts of the catalog.", |m| m.catalog_posts;
    "global_catalog_bytes", "Bytes of these.", |m| m.catalog_bytes;
    "global_shards_told", "Shards that have told their figures since it started; 256 of them are shown.", |m| m.shards_told;
    "global_started_seconds", "When the object started: another value is a restart.", |m| m.started_ms / 1_000;
}

metrics! {
    SIZES_OF_SHARDS: ShardMetrics => Sizes;
    "batch_plays", "Entries of the batches that were counted.", |m| m.committed.batch_sizes;
    "commit_batches", "Batches of each commit.", |m| m.committed.commit_sizes;
}

metrics! {
    OF_INSTANCES: InstanceMetrics => u64;
    "wasm_memory_bytes", "Memory of an instance of Wasm; it never shrinks.", |m| m.memory_bytes;
    "allocated_bytes", "What is in use of it.", |m| m.allocated_bytes;
    "instance_started_seconds", "When an instance started; another id is another instance.", |m| m.started_ms / 1_000;
}

metrics! {
    OF_REGISTRY: RegistryMetrics => u64;
    "registry_boards", "Boards, main among them; 10,000 others at most, with those that are being deleted.", |m| m.boards;
    "registry_deletions", "Boards that are deleted and not wiped everywhere yet.", |m| m.deletions;
    "registry_oldest_deletion_seconds", "For how long the oldest of these has been so.", |m| m.oldest_deletion_age_ms / 1_000;
    "registry_changes_total", "Changes of regions and boards, since the installation began.", |m| m.changes;
    "registry_damaged_rows", "Stored rows that cannot be read.", |m| m.damaged_rows;
    "registry_rows_written_total", "Rows written, as billed; those of the catalog among them.", |m| m.rows_written;
    "registry_stored_bytes", "Bytes of its database, in which the catalog lies that boards share.", |m| m.stored_bytes;
    "registry_started_seconds", "When the object started: another value is a restart.", |m| m.started_ms / 1_000;
}

/// A shard's figures, and how old they are.
struct ReportedShard<'a> {
    region: &'a str,
    shard: String,
    age_ms: u64,
    metrics: ShardMetrics,
}

/// The figures in Prometheus' text format.
pub fn metrics_text(figures: &MetricsInput<'_>) -> String {
    let global = figures.global;
    let shards = global.iter().flat_map(|global| &global.shards);
    let shards = shards.filter_map(|told| {
        Some(ReportedShard {
            region: &told.region_id,
            shard: told.shard.to_string(),
            age_ms: told.age_ms + figures.older_ms,
            metrics: codec::decode(&told.figures).ok()?,
        })
    });
    let shards: Vec<ReportedShard<'_>> = shards.collect();

    let mut text = Text::default();
    let help = "Always 1; the release that answers is its label.";
    text.family("build_info", "gauge", help);
    text.sample("build_info", &[("version", crate::VERSION)], 1);
    of_shards(&mut text, &shards);
    text.one(
        "global_up",
        "Whether the global object answers.",
        u64::from(figures.is_up),
    );
    if let Some(global) = global {
        for (name, help, value) in OF_GLOBAL {
            text.one(name, help, value(global));
        }
        if global.daily_requests > 0 {
            let left = global.daily_requests.saturating_sub(global.requests_today);
            let help = "Requests to objects that are left of DAILY_REQUESTS today: the fewer, the longer all that may wait takes.";
            text.one("global_daily_requests_left", help, left);
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
            // Of an object that nothing has reached yet no limit is known.
            text.sample(name, &[], bytes as f64 / most.max(1) as f64);
        }
        text.family(
            "push_age_seconds",
            "gauge",
            "How long a shard that has panes open has been waited for; a quiet one, since its push was due.",
        );
        for (region, shard, age_ms) in &global.push_ages_ms {
            let shard = shard.to_string();
            text.sample(
                "push_age_seconds",
                &[("region", region), ("shard", &shard)],
                Seconds(*age_ms + figures.older_ms),
            );
        }
    }
    if let Some(is_up) = figures.registry_is_up {
        let help = "Whether the registry answers.";
        text.one("registry_up", help, u64::from(is_up));
    }
    let registry = figures.registry;
    for (name, help, value) in OF_REGISTRY {
        if let Some(registry) = &registry {
            text.one(name, help, value(registry));
        }
    }
    of_worker(&mut text, figures.counters, figures.repeated_at_the_door);
    let instances = shards.iter().map(|shard| shard.metrics.instance);
    let instances = instances.chain(global.map(|global| global.instance));
    let instances = instances.chain(registry.map(|registry| registry.instance));
    of_instances(&mut text, instances.chain([figures.instance]));
    text.0
}

impl ReportedShard<'_> {
    fn labels(&self) -> [(&str, &str); 2] {
        [("region", self.region), ("shard", &self.shard)]
    }
}

fn of_shards(text: &mut Text, shards: &[ReportedShard<'_>]) {
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
    for (name, help, value) in SIZES_OF_SHARDS {
        text.family(name, "histogram", help);
        for shard in shards {
            let sizes = value(&shard.metrics);
            let labels = shard.labels();
            let bounds = Sizes::BOUNDS.map(|bound| bound.to_string());
            text.histogram(name, &labels, &bounds, &sizes.counts, sizes.sum);
        }
    }
}

fn of_worker(text: &mut Text, counters: &Counters, repeated_at_the_door: u64) {
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
    let errors = "Answers of this instance that are errors, by code.";
    by_label(text, ("problems_total", errors), "code", &counters.problems);
    let rejected = "Plays that this instance rejected, by code.";
    let plays = &counters.rejected_plays;
    by_label(text, ("rejected_plays_total", rejected), "code", plays);
    let elsewhere =
        "Batches that counted in another region, by the one of REGIONS that is not made.";
    let batches = &counters.elsewhere;
    by_label(
        text,
        ("elsewhere_batches_total", elsewhere),
        "region",
        batches,
    );
    text.family(
        "charts_total",
        "counter",
        "Charts of this instance, by where they came from.",
    );
    text.sample("charts_total", &[("from", "door")], repeated_at_the_door);
    for (source, count) in &counters.charts {
        text.sample("charts_total", &[("from", source.into())], count);
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

/// A counter with one label.
fn by_label(
    text: &mut Text,
    (name, help): (&str, &str),
    label: &str,
    counts: &BTreeMap<impl AsRef<str>, u64>,
) {
    text.family(name, "counter", help);
    for (value, count) in counts {
        text.sample(name, &[(label, value.as_ref())], count);
    }
}

fn of_instances(text: &mut Text, instances: impl Iterator<Item = InstanceMetrics>) {
    let by_id: BTreeMap<u64, InstanceMetrics> =
        instances.map(|instance| (instance.id, instance)).collect();
    for (name, help, value) in OF_INSTANCES {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Source;
    use crate::wire::ShardFigures;

    /// As Prometheus reads it: each family once, with a type that its name keeps, each sample once.
    fn check(text: &str) -> BTreeMap<String, f64> {
        let mut families = BTreeMap::new();
        let mut samples = BTreeMap::new();
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                let (name, kind) = family.split_once(' ').unwrap();
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                assert!(
                    families.insert(name.to_owned(), kind).is_none(),
                    "{name} twice"
                );
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let value: f64 = value.parse().unwrap();
                assert!(value.is_finite(), "{line}");
                assert!(
                    samples.insert(name.to_owned(), value).is_none(),
                    "{name} twice"
                );
                let family = name.split('{').next().unwrap();
                let parts = ["_bucket", "_sum", "_count"];
                let whole = parts.iter().find_map(|part| family.strip_suffix(part));
                let is_known = families.contains_key(family)
                    || whole.is_some_and(|whole| families.get(whole) == Some(&"histogram"));
                assert!(is_known, "{name} is of no family");
            }
        }
        samples
    }

    #[test]
    fn every_figure_is_of_one_family_and_says_whose_it_is() {
        let mut counters = Counters::default();
        counters.answered("plays", 202, None);
        counters.answered("plays", 503, Some("overloaded"));
        counters.rejected("bad_post_id");
        counters.elsewhere("MOON");
        counters.found(Source::Memory);
        counters.shown(1_500);
        counters.shown(90_000);
        let of_shard = ShardMetrics {
            batches: 11,
            ..ShardMetrics::default()
        };
        let global = GlobalMetrics {
            folds: 3,
            most_stored_bytes: 10,
            most_catalog_bytes: 10,
            shards: vec![ShardFigures {
                region_id: "N\"A".into(),
                shard: 4,
                age_ms: 250,
                figures: codec::encode(&of_shard),
            }],
            push_ages_ms: vec![("N\"A".into(), 4, 750)],
            ..GlobalMetrics::default()
        };
        let figures = MetricsInput {
            global: Some(&global),
            older_ms: 1_000,
            is_up: true,
            registry: Some(RegistryMetrics {
                boards: 7,
                oldest_deletion_age_ms: 61_999,
                ..RegistryMetrics::default()
            }),
            registry_is_up: Some(true),
            counters: &counters,
            repeated_at_the_door: 5,
            instance: InstanceMetrics::default(),
        };
        let samples = check(&metrics_text(&figures));
        for (name, value) in [
            ("batches_total{region=\"N\\\"A\",shard=\"4\"}", 11.0),
            ("figures_age_seconds{region=\"N\\\"A\",shard=\"4\"}", 1.25),
            ("push_age_seconds{region=\"N\\\"A\",shard=\"4\"}", 1.75),
            ("global_up", 1.0),
            ("global_folds_total", 3.0),
            ("registry_up", 1.0),
            ("registry_boards", 7.0),
            ("registry_oldest_deletion_seconds", 61.0),
            ("requests_total{route=\"plays\",status=\"503\"}", 1.0),
            ("problems_total{code=\"overloaded\"}", 1.0),
            ("rejected_plays_total{code=\"bad_post_id\"}", 1.0),
            ("elsewhere_batches_total{region=\"MOON\"}", 1.0),
            ("charts_total{from=\"door\"}", 5.0),
            ("charts_total{from=\"memory\"}", 1.0),
            ("chart_age_seconds_bucket{le=\"2\"}", 1.0),
            ("chart_age_seconds_bucket{le=\"+Inf\"}", 2.0),
            ("chart_age_seconds_sum", 91.5),
        ] {
            assert_eq!(
                samples.get(&format!("hitparade_{name}")),
                Some(&value),
                "{name}"
            );
        }
    }

    fn without_figures<'a>(
        global: Option<&'a GlobalMetrics>,
        counters: &'a Counters,
    ) -> MetricsInput<'a> {
        MetricsInput {
            global,
            older_ms: 0,
            is_up: global.is_some(),
            registry: None,
            registry_is_up: Some(false),
            counters,
            repeated_at_the_door: 0,
            instance: InstanceMetrics::default(),
        }
    }

    #[test]
    fn nothing_is_stored_where_nobody_has_played_yet() {
        let global = GlobalMetrics::default();
        let counters = Counters::default();
        let samples = check(&metrics_text(&without_figures(Some(&global), &counters)));
        for share in ["stored", "catalog"] {
            let share = format!("hitparade_global_{share}_share");
            assert_eq!(samples.get(&share), Some(&0.0), "{share}");
        }
    }

    #[test]
    fn a_global_object_that_never_answered_leaves_the_rest() {
        let counters = Counters::default();
        let samples = check(&metrics_text(&without_figures(None, &counters)));
        assert_eq!(samples.get("hitparade_global_up"), Some(&0.0));
        assert_eq!(samples.get("hitparade_registry_up"), Some(&0.0));
        assert!(
            samples
                .keys()
                .any(|name| name.starts_with("hitparade_allocated_bytes"))
        );
    }
}
