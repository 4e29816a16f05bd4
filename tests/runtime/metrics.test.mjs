/** `/metrics` is Prometheus' format and says what happened; requests have ids; logs are lines of JSON. */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { readPackage } from "../../scripts/lib/release.mjs";
import { setTimeout as sleep } from "node:timers/promises";
import { Service, eventually, readProblem } from "./harness.mjs";
import { CuttableService } from "./outage/service.mjs";

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const LABEL = `[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"`;
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(${LABEL}(?:,${LABEL})*)\\})? (\\S+)$`);
const KINDS = ["counter", "gauge", "histogram"];

/**
 * The text exposition format, strictly: each family has its help and type before its samples, all
 * in one place; no sample comes twice; buckets grow up to +Inf, which is the count.
 * @param {string} text
 * @returns {Map<string, {kind: string, samples: {name: string, labels: Map<string, string>, value: number}[]}>}
 */
function parse(text) {
  assert.ok(text.endsWith("\n"), "the last line ends");
  const families = new Map();
  const seen = new Set();
  let family;
  for (const line of text.slice(0, -1).split("\n")) {
    const [, help] = /^# HELP (\S+) .+$/.exec(line) ?? [];
    const [, type, kind] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? [];
    if (help) {
      assert.ok(!families.has(help), `${help} comes twice`);
      families.set(help, (family = { name: help, kind: null, samples: [] }));
    } else if (type) {
      assert.equal(type, family?.name, line);
      assert.ok(KINDS.includes(kind) && family.kind === null && family.samples.length === 0, line);
      family.kind = kind;
    } else {
      const [, name, labels = "", value] = SAMPLE.exec(line) ?? assert.fail(`no sample: ${line}`);
      const own = family.kind === "histogram" ? ["_bucket", "_sum", "_count"].map((end) => family.name + end) : [family.name];
      assert.ok(own.includes(name), `${line} is not of ${family.name}`);
      assert.ok(!seen.has(`${name}{${labels}}`), `${line} comes twice`);
      seen.add(`${name}{${labels}}`);
      assert.ok(Number.isFinite(Number(value)), line);
      if (family.kind === "counter") assert.match(name, /_total$/, line);
      const pairs = labels.matchAll(/([^=,]+)="((?:[^"\\]|\\.)*)"/g);
      family.samples.push({ name, labels: new Map([...pairs].map(([, key, text]) => [key, text])), value: Number(value) });
    }
  }
  for (const { name, kind, samples } of families.values()) if (kind === "histogram") checkHistogram(name, samples);
  return families;
}

function checkHistogram(name, samples) {
  const series = new Map();
  for (const sample of samples) {
    const key = JSON.stringify([...sample.labels].filter(([label]) => label !== "le"));
    series.set(key, [...(series.get(key) ?? []), sample]);
  }
  for (const own of series.values()) {
    const buckets = own.filter((sample) => sample.name === `${name}_bucket`);
    const bounds = buckets.map(({ labels }) => (labels.get("le") === "+Inf" ? Infinity : Number(labels.get("le"))));
    assert.deepEqual(
      bounds,
      [...bounds].sort((a, b) => a - b),
      name,
    );
    assert.equal(bounds.at(-1), Infinity, name);
    const counts = buckets.map(({ value }) => value);
    assert.deepEqual(
      counts,
      [...counts].sort((a, b) => a - b),
      name,
    );
    assert.equal(own.find((sample) => sample.name === `${name}_count`).value, counts.at(-1), name);
    assert.ok(
      own.some((sample) => sample.name === `${name}_sum`),
      name,
    );
  }
}

/** The sum of a family's samples with these labels. */
function total(families, name, labels = {}) {
  const [base] = /^(.*?)(?:_sum|_count)?$/.exec(name).slice(1);
  const family = families.get(name) ?? families.get(base) ?? assert.fail(`no ${name}`);
  const own = family.samples.filter(
    (sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels.get(key) === value),
  );
  return own.reduce((sum, { value }) => sum + value, 0);
}

describe("/metrics", { timeout: 180_000 }, () => {
  /** @type {Service} */
  let service;
  before(async () => (service = await Service.start({ LOG_REQUESTS: "all", PLAYS_PATH: "/media/song" })));
  after(() => service?.dispose());

  const metrics = async () => {
    // What an isolate was told serves it for a second.
    await sleep(1_100);
    const answer = await service.fetch("/metrics");
    assert.equal(answer.headers.get("content-type"), "text/plain; version=0.0.4");
    return parse(await answer.text());
  };

  test("counts plays, repeats, rejections, commits, pushes, folds and charts", async () => {
    await service.addRegions('a "quoted" \\ region');
    await service.put("/posts/a", { content: "x".repeat(100) });
    const plays = [
      { post_id: "a", region_id: "NA", count: 5 },
      { post_id: "b", region_id: "NA" },
      { post_id: "", region_id: "NA" },
      { post_id: "c", region_id: "nowhere" },
    ];
    await service.send(plays, "one");
    await service.send(plays, "one");
    await service.send([{ post_id: "a", region_id: 'a "quoted" \\ region', timestamp: Date.now() - 3_600_000 }], "two");
    for (let time = 0; time < 3; time++) await service.topPosts({ region: "NA" });
    await service.fetch("/top-posts?region=nowhere");
    const na = { region: "NA", shard: "0" };
    // Figures come with pushes, which a quiet shard makes as somebody looks: those of the last one say how many there were
    // before.
    const said = await eventually(async () => {
      await service.topPosts({ region: "NA" });
      const said = await metrics();
      assert.ok(total(said, "hitparade_pushes_total", na) >= 1);
      return said;
    });
    const of = (name, labels) => total(said, `hitparade_${name}`, labels);
    // Named and timed by the first who asks, and not by what it rehearses while there is neither.
    for (const { labels, value } of said.get("hitparade_instance_started_seconds").samples) {
      assert.ok(Number(`0x${labels.get("instance")}`) > 0 && Date.now() / 1_000 - value < 600, `started ${value}`);
    }
    assert.doesNotMatch(service.log, /rehears/);
    // There are no random numbers while it rehearses.
    assert.doesNotMatch(service.log, /"request_id":"0{16}/, "a line of a request that nobody made");
    assert.equal(of("build_info", { version: readPackage().version }), 1);
    assert.equal(of("plays_total", na), 6);
    assert.equal(of("batches_total", na), 1);
    assert.equal(of("repeated_batches_total", na), 1);
    assert.equal(of("batch_plays_sum", na), 2);
    assert.equal(of("batch_plays_count", na), 1);
    assert.equal(of("commit_batches_count", na), 1);
    assert.equal(of("rejected_plays_total", { code: "bad_post_id" }), 2);
    assert.equal(of("rejected_plays_total", { code: "unknown_region" }), 2);
    assert.equal(of("problems_total", { code: "unknown_region" }), 1);
    assert.equal(of("requests_total", { route: "plays", status: "202" }), 3);
    assert.equal(of("requests_total", { route: "top-posts", status: "404" }), 1);
    assert.ok(of("charts_total") >= 3);
    assert.ok(of("chart_age_seconds_count") >= 1);
    assert.ok(of("rows_written_total", na) >= 1 && of("pushed_bytes_total", na) > 0);
    assert.equal(of("global_shards_told"), 2, "those that have pushed");
    assert.ok(of("figures_age_seconds", na) < 10, "since its last push");
    assert.equal(of("global_up"), 1);
    assert.ok(of("global_pushes_total") >= 1);
    assert.equal(of("global_gaps_total"), 0);
    assert.deepEqual([of("registry_up"), of("registry_boards"), of("registry_deletions")], [1, 1, 0]);
    assert.ok(of("registry_changes_total") >= 2 && of("registry_rows_written_total") >= 2 && of("registry_stored_bytes") > 1_000);
    assert.equal(of("global_closed_charts_total"), 0, "no day has ended");
    assert.equal(of("push_age_seconds", na) < 60, true);
    const stored = of("global_stored_bytes");
    assert.ok(stored > 10_000 && stored < 1e8, `${stored}`);
    assert.ok(Math.abs(of("global_stored_share") - stored / 1e10) < 1e-9);
    assert.equal(of("global_catalog_posts"), 1);
    assert.ok(of("global_catalog_bytes") > 100 && of("global_catalog_share") < 1e-5);
    assert.ok(of("wasm_memory_bytes") > 1e6 && of("allocated_bytes") > 1e4);
    const started = of("shard_started_seconds", na);
    assert.ok(Math.abs(Date.now() / 1_000 - started) < 600);
  });

  test("counts plays that come by another name as plays", async () => {
    const labels = { route: "plays", status: "202" };
    const before = total(await metrics(), "hitparade_requests_total", labels);
    assert.equal((await service.request("POST", "/media/song", { post_id: "a" })).status, 202);
    assert.equal(total(await metrics(), "hitparade_requests_total", labels), before + 1);
  });

  test("shows a restart, and counts nothing twice after it", async () => {
    const before = total(await metrics(), "hitparade_shard_started_seconds", { region: "NA" });
    await new Promise((done) => setTimeout(done, 1_100));
    await service.kill();
    await service.launch();
    await service.send([{ post_id: "a", region_id: "NA" }]);
    await eventually(async () => {
      await service.topPosts({ region: "NA" });
      const said = await metrics();
      const started = said.get("hitparade_shard_started_seconds").samples;
      assert.ok(
        started.every(({ value }) => value > before),
        "nothing is shown that was told before",
      );
      assert.equal(total(said, "hitparade_plays_total", { region: "NA" }), 1);
    });
  });

  test("has everything that the dashboard and the documents name, and nothing else", async () => {
    const said = await metrics();
    const served = new Set(
      [...said.values()].flatMap(({ name, kind }) =>
        kind === "histogram" ? ["_bucket", "_sum", "_count"].map((end) => name + end) : [name],
      ),
    );
    const { panels } = JSON.parse(readFileSync(join(ROOT, "deploy", "grafana.json"), "utf8"));
    const queries = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    assert.ok(queries.length > 15);
    const asked = new Set(queries.flatMap((query) => query.match(/\bhitparade_\w+/g) ?? assert.fail(query)));
    for (const name of asked) assert.ok(served.has(name), `${name} is not served`);
    for (const of of ["shard_started", "global_up", "registry_up"])
      assert.ok(
        [...asked].some((name) => name.includes(of)),
        of,
      );
    const folder = join(ROOT, "docs");
    const pages = readdirSync(folder).filter((name) => name.endsWith(".md"));
    const told = new Set(pages.flatMap((page) => readFileSync(join(folder, page), "utf8").match(/\bhitparade_\w+/g) ?? []));
    // Some are served only where a setting is on.
    const source = readFileSync(join(ROOT, "src", "http", "metrics.rs"), "utf8");
    for (const name of told)
      assert.ok(
        [...served].some((known) => known.startsWith(name)) || source.includes(`"${name.replace("hitparade_", "")}"`),
        `${name} of the documents is not served`,
      );
    const ofFamily = (name) => ["", "_bucket", "_sum", "_count"].map((end) => name + end);
    const untold = [...said.values()].filter(({ name }) => !ofFamily(name).some((word) => told.has(word) || asked.has(word)));
    assert.deepEqual(
      untold.map(({ name }) => name),
      [],
      "served, and neither on the dashboard nor in a document",
    );
  });

  test("gives each request an id, which its line in the log has too", async () => {
    const [one, two] = await Promise.all(["/healthz", "/nowhere?secret=1"].map((path) => service.fetch(path)));
    const ids = [one, two].map((answer) => answer.headers.get("x-request-id"));
    assert.ok(ids.every((id) => /^[0-9a-f]{16}-[0-9a-f]+$/.test(id)) && ids[0] !== ids[1], ids.join(" "));
    const line = await eventually(async () => {
      const found = service.log.split("\n").find((line) => line.includes(`"${ids[1]}"`));
      return JSON.parse(found.slice(found.indexOf("{")));
    });
    assert.deepEqual(
      [line.level, line.source, line.method, line.path, line.status, line.code],
      ["info", "request", "GET", "/nowhere", 404, "not_found"],
    );
    assert.ok(!service.log.includes("secret=1"), "queries are not logged");
  });
});

describe("/metrics, whoever asks", () => {
  test("wakes no shard, and asks the global object once a second", async () => {
    const service = await CuttableService.start();
    try {
      await service.send([{ post_id: "a", region_id: "NA" }]);
      const figures = async (path = "/metrics") => {
        const answer = await service.fetch(path);
        assert.equal(answer.status, 200);
        return parse(await answer.text());
      };
      await eventually(async () => assert.equal(total(await figures(), "hitparade_plays_total", { region: "NA" }), 1));
      // With the shards away the figures are there all the same.
      await service.cutShards();
      await sleep(1_100);
      const started = performance.now();
      const answers = await Promise.all(Array.from({ length: 50 }, () => figures()));
      assert.ok(performance.now() - started < 4_000, "nobody waited for a shard");
      for (const said of answers) assert.equal(total(said, "hitparade_plays_total", { region: "NA" }), 1);
      await service.mendShards();

      // With the global object away they are those that it told last, older and older.
      await service.connection.cut();
      const aged = await eventually(async () => {
        const said = await figures();
        assert.equal(total(said, "hitparade_global_up"), 0);
        return said;
      });
      assert.equal(total(aged, "hitparade_plays_total", { region: "NA" }), 1);
      await sleep(1_100);
      const older = await figures();
      assert.ok(total(older, "hitparade_figures_age_seconds") > total(aged, "hitparade_figures_age_seconds") + 1);
      await service.connection.mend();
      await eventually(async () => assert.equal(total(await figures(), "hitparade_global_up"), 1));
    } finally {
      await service.dispose();
    }
  });

  test("needs the metrics token where there is one, else the read token, and is counted", async () => {
    const withTokens = { READ_TOKEN: "read-token", METRICS_TOKEN: "metrics-token", LIMIT_PER_MINUTE: "20" };
    for (const settings of [withTokens, { ...withTokens, METRICS_TOKEN: "" }]) {
      const service = await Service.start(settings);
      try {
        const as = (token) => service.fetch("/metrics", { headers: token ? { authorization: `Bearer ${token}` } : {} });
        const [right, wrong] = settings.METRICS_TOKEN ? ["metrics-token", "read-token"] : ["read-token", "metrics-token"];
        assert.equal((await as(right)).status, 200);
        for (const token of [wrong, "x", null]) assert.equal((await readProblem(await as(token), 401)).code, "unauthorized");
        const statuses = await Promise.all(Array.from({ length: 60 }, async () => (await as(right)).status));
        assert.ok(statuses.includes(429), "it is counted as a read");
        const play = await service.request("POST", "/plays", { post_id: "a" });
        assert.equal(play.status, 202, "plays go on");
      } finally {
        await service.dispose();
      }
    }
  });
});
