/** Ended and started again on the same folder, the service goes on where it was. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Model, Service, eventually } from "./harness.mjs";

const HOUR_MS = 3_600_000;
const REGIONS = ["NA", "EU", "Südsee 🏝"];
const AGES_MS = [0, 2 * 60_000, 40 * 60_000, 5 * HOUR_MS, 80 * HOUR_MS, 500 * HOUR_MS, 9_000 * HOUR_MS];

/** @type {Service} */
let service;
const model = new Model();
/** Every batch so far, by key. */
const batches = new Map();

before(async () => {
  service = await Service.start();
  await service.addRegions("Südsee 🏝");
  assert.equal((await service.put("/posts/post 1", { content: "Kept", author: "A" })).status, 200);
});
after(() => service?.dispose());

/** Plays over all regions and times; every batch another one. */
async function sendBatches(count) {
  for (let number = 0; number < count; number++) {
    const key = `batch-${batches.size}`;
    const plays = Array.from({ length: 60 }, (_, index) => ({
      post_id: `post ${(index * (batches.size + 3)) % 90}`,
      region_id: REGIONS[index % REGIONS.length],
      timestamp: Date.now() - AGES_MS[index % AGES_MS.length],
      count: 1 + ((index * 7) % 5),
    }));
    batches.set(key, plays);
    assert.deepEqual(await service.send(plays, key), { accepted: 60, rejected: [], repeated: false });
    model.add(plays);
  }
}

async function repeatAll() {
  for (const [key, plays] of batches) {
    assert.deepEqual(await service.send(plays, key), { accepted: 60, rejected: [], repeated: true }, key);
  }
}

test("after SIGTERM, which ends it with exit code 0", { timeout: 120_000 }, async () => {
  await sendBatches(20);
  assert.deepEqual(await service.terminate(), { code: 0, signal: null });
  await service.launch();
  await model.assertExactly(service);
});

test("after SIGKILL right after the answer", { timeout: 120_000 }, async () => {
  await sendBatches(20);
  await service.kill();
  await service.launch();
  await model.assertExactly(service);
});

test("after SIGKILL when everything has reached the charts", { timeout: 120_000 }, async () => {
  await service.kill();
  await service.launch();
  await model.assertExactly(service);
});

test("remembers what it has counted", { timeout: 120_000 }, async () => {
  await repeatAll();
  await service.kill();
  await service.launch();
  await repeatAll();
  await sendBatches(2);
  await model.assertExactly(service);
});

test("remembers the catalog and the regions", { timeout: 60_000 }, async () => {
  const post = await eventually(() => service.post("post 1", { timeframe: "all" }));
  assert.deepEqual([post.content, post.author], ["Kept", "A"]);
  const { regions } = await service.get("/regions");
  assert.ok(regions.some(({ region_id }) => region_id === "Südsee 🏝"));
});

test("charts of every length stay true", { timeout: 60_000 }, async () => {
  for (const [timeframe, agesUpTo] of [
    ["1h", HOUR_MS],
    ["24h", 24 * HOUR_MS],
    ["7d", 168 * HOUR_MS],
    ["400d", 9_600 * HOUR_MS],
  ]) {
    const within = new Model();
    const keep = (play) => Date.now() - play.timestamp <= agesUpTo;
    for (const plays of batches.values()) within.add(plays.filter(keep));
    await within.assertExactly(service, timeframe);
  }
});
