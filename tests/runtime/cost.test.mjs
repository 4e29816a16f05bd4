/** The arithmetic of `npm run dev -- cost`, on a workload that can be done by hand. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { CLOUDFLARE, USUAL } from "../../scripts/cost/prices.mjs";
import { cloudflareBill, sizeOf, total, usualBill } from "../../scripts/lib/cost.mjs";
import { ROOT } from "../../scripts/lib/paths.mjs";

const MONTH_S = 730 * 3_600;
const measured = {
  pushMs: 2,
  liveMs: 50,
  chartMs: 10,
  pushBytes: 30_000,
  playsPerSecondOfShard: 100_000,
  rowsPerBatch: 0.01,
  globalRowsPerMinute: 60,
  memory: [
    { shards: 100, mib: 40 },
    { shards: 1_000, mib: 85 },
  ],
  storageMbPerRegion: 20,
  batchCpuMs: 0.5,
  readCpuMs: 0.1,
};
const load = { regions: 10, playsPerSecond: 70_000, playsPerBatch: 10, readsPerSecond: 1_000, charts: 4 };

test("sizes by requests where batches are small, and by plays where they are large", () => {
  // 7,000 batches/s are 700 a region: one shard at 70 % of 1,000.
  const size = sizeOf(load, measured);
  assert.deepEqual([size.shardsPerRegion, size.shards, size.shardRequestsPerSecond], [1, 10, 700]);
  assert.equal(sizeOf({ ...load, regions: 100, playsPerSecond: 100 * 700_000, playsPerBatch: 1 }, measured).pushIntervalS, 200);
  assert.deepEqual([size.pushesPerSecond, size.chartsPerSecond, size.globalRequestsPerSecond], [2, 20, 22]);
  // 2 pushes of 2 ms, a hundredth of what is live at 1,000 shards; 4 charts, each once a second, of 10 ms.
  assert.deepEqual([size.pushBusy, size.chartBusy], [(4 + 0.5) / 1_000, 0.04]);
  assert.equal(size.globalMemoryMiB, 40);
  assert.equal(sizeOf({ ...load, playsPerSecond: 1_400_000 }, measured).globalMemoryMiB, 45);
  assert.equal(size.pushedBytesPerSecond, 60_000);
  assert.equal(size.storageGb, 0.22);
  assert.equal(sizeOf({ ...load, playsPerBatch: 9 }, measured).shardsPerRegion, 2);
  // 210,000 plays/s a region in few batches: three shards at 70,000.
  assert.equal(sizeOf({ ...load, playsPerSecond: 2_100_000, playsPerBatch: 10_000 }, measured).shardsPerRegion, 3);
});

test("bills each line by its price beyond what is included", () => {
  const bill = cloudflareBill(load, measured, CLOUDFLARE);
  const near = (index, dollars) =>
    assert.ok(Math.abs(bill[index].dollars - dollars) < 0.01, `${bill[index].name}: ${bill[index].dollars}, not ${dollars}`);
  near(0, 5);
  near(1, ((8_000 * MONTH_S - 10e6) / 1e6) * 0.3);
  near(2, (((7_000 * 0.5 + 1_000 * 0.1) * MONTH_S - 30e6) / 1e6) * 0.02);
  near(3, (((7_000 + 2 * 2 + 2 * 20) * MONTH_S - 1e6) / 1e6) * 0.15);
  near(4, ((11 * 0.128 * MONTH_S - 400_000) / 1e6) * 12.5);
  near(5, (((70 + 2 + 1) * MONTH_S - 50e6) / 1e6) * 1);
  near(6, 0);
  assert.ok(Math.abs(total(bill) - bill.reduce((sum, { dollars }) => sum + dollars, 0)) < 1e-6);
});

test("gives the usual stack three machines of a kind at least, and what the load asks for", () => {
  const lines = new Map(usualBill(load, USUAL).map((line) => [line.name, line.amount]));
  assert.equal(lines.get("collectors and chart servers"), 3);
  // 7 MB/s: one broker would do.
  assert.equal(lines.get("Kafka brokers"), 3);
  assert.equal(lines.get("Kafka storage, a day, three copies"), (7e6 * 86_400 * 3) / 1e9);
  assert.equal(lines.get("Flink"), 3);
});

test("prints its tables from the figures in the repository", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, "scripts", "cost.mjs")], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  assert.equal(stdout.match(/requests\/s of the global object/g).length, 3);
  assert.doesNotMatch(stdout, /NaN|undefined|Infinity/);
  // What the documentation shows was printed by this very arithmetic.
  const page = readFileSync(join(ROOT, "docs", "cost.md"), "utf8");
  assert.ok(page.includes(stdout.trimEnd()), "docs/cost.md shows other figures: run `npm run dev -- cost` and put them in");
});
