/**
 * The cache of a place (`caches.default`), which the bare runtime has not: on workerd as `wrangler`
 * sets it up, with two more isolates that have nothing but that cache.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createTestHarness } from "wrangler";
import { BUILD_DIR } from "../../scripts/lib/paths.mjs";
import { readWranglerConfig } from "../../scripts/lib/wrangler-config.mjs";
import { INGEST_TOKEN, eventually } from "./harness.mjs";

/** All caches together keep a leaderboard so long (`BUDGET_MS` of src/edge/leaderboards.rs). */
const BUDGET_MS = 3_000;
const CHART = "http://charts.example/top-posts?timeframe=1h&k=3";

let folder;
let harness;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), "hitparade-test-"));
  const { objects, compatibilityDate, vars } = await readWranglerConfig();
  const config = (name, more, settings) => {
    const path = join(folder, `${name}.json`);
    const common = { name, main: join(BUILD_DIR, "entry.js"), compatibility_date: compatibilityDate };
    writeFileSync(path, JSON.stringify({ ...common, vars: { ...vars, INGEST_TOKEN, LIMIT_PER_MINUTE: "0", ...settings }, ...more }));
    return { configPath: path };
  };
  const whole = {
    durable_objects: { bindings: objects.map(({ name, className }) => ({ name, class_name: className })) },
    migrations: [{ tag: "v1", new_sqlite_classes: objects.map(({ className }) => className) }],
  };
  harness = createTestHarness({ workers: [config("whole", whole), config("second", {}, { LIMIT_PER_MINUTE: "10" }), config("third", {})] });
  await harness.listen();
});
after(async () => {
  await harness?.close();
  rmSync(folder, { recursive: true, force: true });
});

const ask = async (name) => {
  const answer = await harness.getWorker(name).fetch(CHART, { headers: { "cf-connecting-ip": "192.0.2.1" } });
  return { status: answer.status, cacheControl: answer.headers.get("cache-control"), body: await answer.json() };
};

test("a chart that one isolate was given serves the others of its place, as long as the budget lasts", async () => {
  assert.equal((await ask("second")).status, 503, "it has nobody to ask, and the cache is empty");
  const sent = await harness.getWorker("whole").fetch("http://charts.example/plays", {
    method: "POST",
    headers: { authorization: `Bearer ${INGEST_TOKEN}`, "content-type": "application/json" },
    body: JSON.stringify({ post_id: "a", count: 3 }),
  });
  assert.equal(sent.status, 202, await sent.text());
  const first = await eventually(async () => {
    const answer = await ask("whole");
    assert.equal(answer.body.top_posts?.[0]?.view_count, 3);
    return answer;
  });
  // It is put into the cache without letting its reader wait. The second one has spent the one chart
  // that nobody looked at which it grants an address: this is none.
  const second = await eventually(async () => {
    await ask("whole");
    const answer = await ask("second");
    assert.equal(answer.status, 200);
    return answer;
  });
  assert.deepEqual(second.body.top_posts, first.body.top_posts);
  const age_ms = Date.now() - Date.parse(second.body.as_of);
  const max_age_s = Number(/max-age=(\d)/.exec(second.cacheControl)[1]);
  assert.ok(1_000 * max_age_s <= BUDGET_MS, second.cacheControl);
  assert.ok(!second.body.stale && age_ms <= 2 * BUDGET_MS, `${age_ms} ms old`);
  await sleep(BUDGET_MS + 1_000);
  assert.equal((await ask("third")).status, 503, "what is over the budget is given to nobody");
});
