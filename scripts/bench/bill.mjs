/**
 * `npm run bench -- bill`: what a day of a blog costs by the platform's price list, counted on virtual time
 * through the drivers of src/ (tests/bill).
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Report } from "../lib/report.mjs";
import { mustRun } from "../lib/run.mjs";
import { setupToBuild } from "../setup.mjs";

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
 * @property {number} processor_ms of the dearest event
 */

export const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);

/**
 * Runs a test of tests/bill and reads what it wrote.
 * @param {string} test @param {Record<string, string>} [environment] @returns {Promise<any>}
 */
export async function runBill(test, environment = {}) {
  await setupToBuild();
  const folder = mkdtempSync(join(tmpdir(), "hitparade-bill-"));
  const file = join(folder, "bill.json");
  try {
    const args = ["test", "--quiet", "--release", "--test", "bill", "--", "--exact", test];
    await mustRun("cargo", args, { env: { ...process.env, ...environment, BILL_FILE: file } });
    return JSON.parse(readFileSync(file, "utf8"));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @param {{json: boolean}} how @returns {Promise<boolean>} */
export async function run({ json }) {
  /** @type {Bill} */
  const bill = await runBill("the_day_of_a_blog_fits_the_free_plan");
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
  return report.print({
    json,
    title: "The day of a blog: 10,000 plays, 5,000 charts, six regions, every request to a Worker that has just been started",
    command: "npm run bench -- bill",
  });
}
