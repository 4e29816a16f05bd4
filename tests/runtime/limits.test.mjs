/** Limits by address, bots and origins, on the real runtime. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createTestHarness } from "wrangler";
import { BUILD_DIR, ROOT } from "../../scripts/lib/paths.mjs";
import { readWranglerConfig } from "../../scripts/lib/wrangler-config.mjs";
import { INGEST_TOKEN, Service } from "./harness.mjs";

const LIMIT = 20;
const ORIGIN = "https://music.example";
const OTHER_ORIGIN = "https://other.example";

describe("limits", () => {
  /** @type {Service} */
  let service;
  before(async () => {
    service = await Service.start({ LIMIT_PER_MINUTE: String(LIMIT), ALLOWED_ORIGINS: `${ORIGIN}, ${OTHER_ORIGIN}` });
  });
  after(() => service.dispose());

  const play = (headers = {}) =>
    service.fetch("/plays", {
      method: "POST",
      headers: { "Content-Type": "text/plain", ...headers },
      body: JSON.stringify({ post_id: "a" }),
    });

  it("refuses plays of bots with a code, whatever else is right", async () => {
    const response = await play({ "User-Agent": "Mozilla/5.0 (compatible; ExampleBot/1.0)" });
    assert.equal(response.status, 400);
    const problem = await response.json();
    assert.equal(problem.code, "no_good_play");
    assert.deepEqual(
      problem.rejected.map(({ code }) => code),
      ["bot"],
    );
  });

  it("takes plays from the pages that are allowed, and from senders that are no pages", async () => {
    assert.equal((await play({ Origin: ORIGIN })).status, 202);
    assert.equal((await play()).status, 202);
    const refused = await play({ Origin: "https://elsewhere.example" });
    assert.equal(refused.status, 403);
    assert.equal((await refused.json()).code, "origin_not_allowed");
    // The beacon reads why, and says on the console what to do.
    assert.equal(refused.headers.get("Access-Control-Allow-Origin"), "https://elsewhere.example");
    const chart = await service.fetch("/top-posts", { headers: { Origin: ORIGIN } });
    assert.equal(chart.headers.get("Access-Control-Allow-Origin"), ORIGIN);
  });

  it("tells an address what is left, lets it wait when nothing is, and does not limit trusted senders", async () => {
    let last;
    for (let request = 0; request <= 2 * LIMIT; request++) {
      last = await service.fetch("/top-posts");
      if (last.status === 429) break;
      assert.equal(last.status, 200);
      // A chart may be kept on its way and given to others: it says nothing of who asked first.
      assert.equal(last.headers.get("RateLimit"), null);
      const regions = await service.fetch("/regions");
      if (regions.status !== 200) continue;
      assert.match(regions.headers.get("RateLimit"), /^"address";r=\d+;t=\d+$/);
      assert.equal(regions.headers.get("RateLimit-Policy"), `"address";q=${LIMIT};w=60`);
    }
    assert.equal(last.status, 429);
    assert.match(last.headers.get("RateLimit"), /^"address";r=0;t=\d+$/);
    assert.equal(last.headers.get("RateLimit-Policy"), `"address";q=${LIMIT};w=60`);
    assert.equal((await last.json()).code, "rate_limited");
    const wait = Number(last.headers.get("Retry-After"));
    assert.ok(wait >= 1 && wait <= 60, `Retry-After: ${wait}`);
    for (const path of ["/posts/a", "/regions", "/metrics", "/live"]) {
      // One comes back every three seconds: of two that follow each other, the second is refused.
      await (await service.fetch(path)).arrayBuffer();
      const refused = await service.fetch(path);
      assert.deepEqual([refused.status, (await refused.json()).code], [429, "rate_limited"], `${path} is a read`);
    }
    const first = await play();
    assert.equal(first.status, 202, "beacons have a bucket of their own");
    // One comes back every three seconds.
    const beacons = await Promise.all(Array.from({ length: 2 * LIMIT }, () => play()));
    assert.ok(
      beacons.some(({ status }) => status === 429),
      "which has a bottom too",
    );
    assert.equal((await play({ Authorization: `Bearer ${INGEST_TOKEN}` })).status, 202);
    assert.equal((await service.fetch("/healthz")).status, 200);
  });

  it("lets the pages of each allowed origin read that they are refused", async () => {
    let refused = 0;
    for (let request = 0; request < 4 * LIMIT; request++) {
      const origin = request % 2 === 0 ? ORIGIN : OTHER_ORIGIN;
      const answer = await service.fetch("/top-posts", { headers: { Origin: origin } });
      await answer.arrayBuffer();
      assert.equal(answer.headers.get("Access-Control-Allow-Origin"), origin, `request ${request}, status ${answer.status}`);
      if (answer.status === 429) refused++;
    }
    assert.ok(refused > LIMIT, `${refused} refused`);
  });
});

describe("limits of charts", () => {
  /** @type {Service} */
  let service;
  before(async () => {
    service = await Service.start({ LIMIT_PER_MINUTE: "200" });
  });
  after(() => service.dispose());

  it("count the charts that the Worker's door answers like all others", async () => {
    const statuses = new Map();
    for (let request = 0; request < 450; request++) {
      const { status } = await service.fetch("/top-posts");
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
    assert.deepEqual([...statuses.keys()].sort(), [200, 429]);
    // In a minute, fewer than twice the limit.
    assert.ok(statuses.get(200) >= 200 && statuses.get(200) <= 400, `${statuses.get(200)} went through`);
  });
});

describe("limits of charts that nobody looked at", () => {
  /** @type {Service} */
  let service;
  before(async () => {
    service = await Service.start({ LIMIT_PER_MINUTE: "300" });
  });
  after(() => service.dispose());

  it("refuse an address that asks for too many different ones, and answer it those that are looked at", async () => {
    const hot = "/top-posts?timeframe=24h";
    assert.equal((await service.fetch(hot)).status, 200);
    const statuses = new Map();
    for (let minutes = 1; minutes <= 120; minutes++) {
      const answer = await service.fetch(`/top-posts?timeframe=${minutes}m`);
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
      if (answer.status === 429) {
        assert.equal((await answer.json()).code, "rate_limited");
        // The next one comes within four seconds.
        assert.match(answer.headers.get("retry-after"), /^[1-4]$/);
      }
      if (minutes % 10 === 0) assert.equal((await service.fetch(hot)).status, 200);
    }
    assert.deepEqual([...statuses.keys()].sort(), [200, 429]);
    // A tenth of the limit at once, and one more each four seconds.
    assert.ok(statuses.get(200) >= 29, `${statuses.get(200)} were computed`);
  });
});

describe("the platform's counter", () => {
  const NAME = "RATE_LIMITER";
  let config;
  before(async () => (config = await readWranglerConfig()));

  it("has the limit of the setting, so that one is not changed without the other", () => {
    const { limit, period } = config.rateLimits.find(({ name }) => name === NAME);
    assert.deepEqual([String(limit), period], [config.vars.LIMIT_PER_MINUTE, 60]);
    const source = readFileSync(join(ROOT, "src", "edge", "limits.rs"), "utf8");
    assert.match(source, new RegExp(`const DEFAULT_LIMIT: u32 = ${limit};`));
  });

  it("counts reads and beacons of an address besides, each by itself", async () => {
    const folder = mkdtempSync(join(tmpdir(), "hitparade-test-"));
    const path = join(folder, "worker.json");
    const { objects, compatibilityDate, vars } = config;
    const worker = {
      name: "limited",
      main: join(BUILD_DIR, "entry.js"),
      compatibility_date: compatibilityDate,
      vars,
      durable_objects: { bindings: objects.map(({ name, className }) => ({ name, class_name: className })) },
      migrations: [{ tag: "v1", new_sqlite_classes: objects.map(({ className }) => className) }],
      // Below what the isolate's own table lets through.
      ratelimits: [{ name: NAME, namespace_id: "1001", simple: { limit: 5, period: 60 } }],
    };
    writeFileSync(path, JSON.stringify(worker));
    const harness = createTestHarness({ workers: [{ configPath: path }] });
    try {
      await harness.listen();
      const send = (address, path, init = {}) =>
        harness.getWorker("limited").fetch(`http://charts.example${path}`, { ...init, headers: { "cf-connecting-ip": address } });
      const statuses = async (count, request) => {
        const found = [];
        for (let time = 0; time < count; time++) found.push((await request()).status);
        return found.filter((status) => status === 429).length;
      };
      const read = (address) => () => send(address, "/regions");
      const play = (address) => () => send(address, "/plays", { method: "POST", body: JSON.stringify({ post_id: "a" }) });
      // A minute of its own clock may begin in between.
      assert.ok((await statuses(12, read("192.0.2.1"))) >= 2, "reads are counted");
      assert.equal((await play("192.0.2.1")()).status, 202, "and not with beacons");
      assert.ok((await statuses(12, play("192.0.2.1"))) >= 2, "which are counted too");
      assert.equal(await statuses(3, read("192.0.2.2")), 0, "nor with those of another address");
    } finally {
      await harness.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
