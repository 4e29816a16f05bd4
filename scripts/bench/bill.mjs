/**
 * `npm run bench -- bill`: what a day of a blog costs by the platform's price list, counted on virtual time
 * through the drivers of src/ (tests/bill).
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cpuMs, median, Report } from "../lib/report.mjs";
import { mustRun } from "../lib/run.mjs";
import { buildExample, instantiate } from "../lib/wasm-example.mjs";
import { setupToBuild } from "../setup.mjs";
import { freshOnWorkerd } from "./bill/fresh.mjs";
import { Storage } from "./time/storage.mjs";

export const DAY = "the_day_of_a_blog_fits_the_free_plan";
/** From the third day on as much expires as comes. */
const BILL_DAYS_BEFORE = "3";
const WAKES = 9;
const DAY_MINUTES = 24 * 60;

/**
 * @typedef {object} Bill
 * @property {number} requests_to_workers
 * @property {Record<string, number>} requests
 * @property {Record<string, number>} rows
 * @property {number} rows_read
 * @property {number} gb_s
 * @property {number} gb_s_with_tail
 * @property {Record<string, number>} wakes
 * @property {number} incomplete
 * @property {import("./bill/fresh.mjs").Stored} stored what the global object has
 */

export const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);

/**
 * Runs a test of tests/bill and reads what it wrote.
 * @param {string} test @param {Record<string, string>} [environment] @returns {Promise<any>}
 */
export async function runBill(test, environment = {}) {
  await setupToBuild();
  const folder = mkdtempSync(join(tmpdir(), "hitparade-bill-"));
  const [file, rows] = ["bill.json", "rows.json"].map((name) => join(folder, name));
  try {
    const args = ["test", "--quiet", "--test", "bill", "--", "--exact", test];
    await mustRun("cargo", args, { env: { ...process.env, ...environment, BILL_FILE: file, BILL_ROWS: rows } });
    const stored = existsSync(rows) ? JSON.parse(readFileSync(rows, "utf8")) : null;
    return { ...JSON.parse(readFileSync(file, "utf8")), stored };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @param {{json: boolean}} how @returns {Promise<boolean>} */
export async function run({ json }) {
  /** @type {Bill} */
  const bill = await runBill(DAY, { BILL_DAYS_BEFORE });
  const report = new Report();
  report.add("requests to Workers", bill.requests_to_workers, "");
  report.add("requests to objects", sum(bill.requests), "", { must: 60_000, aim: 45_000 });
  for (const [what, count] of Object.entries(bill.requests)) report.add(`· ${what}`, count, "");
  report.add("rows written", sum(bill.rows), "", { must: 60_000, aim: 30_000 });
  for (const [what, count] of Object.entries(bill.rows)) report.add(`· ${what}`, count, "");
  report.add("rows read", bill.rows_read, "", { must: 5_000_000 });
  report.add("duration of objects", bill.gb_s, "GB-s", { must: 3_000, aim: 1_500 });
  report.add("· with 10 s behind each event", bill.gb_s_with_tail, "GB-s");
  for (const [what, count] of Object.entries(bill.wakes)) report.add(`times that a ${what} comes into memory`, count, "");
  const wakes = await firstCharts(bill.stored);
  report.add("a global object that has slept: its first chart, in Node", median(wakes.slice(1)), "ms", { must: 8, aim: 5 });
  const { worker, load, pull, global, beacon, start } = await freshOnWorkerd(bill.stored);
  const invocations = {
    "the Worker": worker,
    "the global object, which loads": load,
    "the same, which asks its shards": pull,
    "the same, which makes the chart": global,
  };
  const medians = Object.values(invocations).map(median);
  report.add("a fresh instance's first chart, on bare workerd: its largest invocation", Math.max(...medians), "ms", { must: 8, aim: 5 });
  for (const [who, times] of Object.entries(invocations)) {
    report.add(`· ${who}`, median(times), "ms");
    report.add(`· at most, of ${times.length} instances`, Math.max(...times), "ms");
  }
  report.add("· all together", sum(medians), "ms");
  report.add("· before that: workerd and the instance start", median(start), "ms");
  report.add("a fresh instance's first beacon, in the Worker and in its shard, which are two", median(beacon), "ms");
  return report.print({
    json,
    title: "The day of a blog: 10,000 plays, 5,000 charts, six regions, every request to a Worker that has just been started",
    command: "npm run bench -- bill",
  });
}

/**
 * Processor time of the first chart of a global object that has just come into memory, in WebAssembly: load
 * and chart, the storage's part included.
 * @param {import("./bill/fresh.mjs").Stored} stored @returns {Promise<number[]>} ms; the engine compiles during the first
 */
async function firstCharts({ now_ms, rows }) {
  const module = await buildExample("time_wasm");
  return Array.from({ length: WAKES }, () => {
    const storage = new Storage();
    for (const [table, key, value] of rows) storage.set(table, Buffer.from(key, "hex").toString("latin1"), Buffer.from(value, "hex"));
    const instance = instantiate(module, storage.imports);
    storage.instance = instance;
    return cpuMs(() => {
      if (instance.load(0) < 0 || instance.chart(0, DAY_MINUTES, 10, 0, now_ms) < 0) throw new Error("the global object has no chart");
    });
  });
}
