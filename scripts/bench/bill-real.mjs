/**
 * `npm run bench -- bill-real`: twenty real minutes of the blog on bare workerd, every object counted from
 * outside (benches/bill/worker.js), against the same twenty minutes on virtual time, by the same clock.
 */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ensureBuilt } from "../build.mjs";
import { BUILD_DIR, ROOT } from "../lib/paths.mjs";
import { Report } from "../lib/report.mjs";
import { say } from "../lib/say.mjs";
import { startServer } from "../lib/server.mjs";
import { runBill, sum } from "./bill.mjs";

/** Both count the same, but for what falls beyond an edge. */
const WITHIN = 0.1;
const MINUTES = "twenty_minutes_of_a_blog";

/** @typedef {{at_ms: number, region: string, post: string | null, scope: string | null, visitor: number}} Planned */

/** @param {{json: boolean}} how @returns {Promise<boolean>} */
export async function run({ json }) {
  await ensureBuilt();
  const { plan, length_ms } = await runBill(MINUTES);
  const { startMs, bill: real } = await runReal(plan, length_ms);
  /** @type {import("./bill.mjs").Bill} */
  const virtual = await runBill(MINUTES, { BILL_BEGINS_MS: String(startMs) });
  const report = new Report();
  const off = (name, ours, theirs) => {
    report.add(`${name}, on workerd`, theirs, "");
    report.add("· on virtual time", ours, "");
    report.add("· off by", Math.abs(ours - theirs) / theirs, "×", { must: WITHIN });
  };
  off("requests to objects", sum(virtual.requests), sum(real.requests));
  off("rows written, but for the tables themselves", sum(virtual.rows), sum(real.rows) - sum(schemaOf(real.rows)));
  for (const what of new Set([...Object.keys(virtual.requests), ...Object.keys(real.requests)])) {
    report.add(`${what}: virtual, workerd`, virtual.requests[what] ?? 0, "");
    report.add("·", real.requests[what] ?? 0, "");
  }
  for (const what of new Set([...Object.keys(virtual.rows), ...Object.keys(real.rows)])) {
    report.add(`rows of ${what}: virtual, workerd`, virtual.rows[what] ?? 0, "");
    report.add("·", real.rows[what] ?? 0, "");
  }
  return report.print({ json, title: "Twenty minutes of a blog, real and virtual", command: "npm run bench -- bill-real" });
}

/** What making the tables of a new object writes, once. @param {Record<string, number>} rows */
const schemaOf = (rows) => Object.fromEntries(Object.entries(rows).filter(([what]) => what.endsWith(" schema")));

/** @param {Planned[]} plan @param {number} length_ms */
async function runReal(plan, length_ms) {
  const folder = mkdtempSync(join(tmpdir(), "hitparade-bill-"));
  const build = join(folder, "build");
  mkdirSync(build);
  copyFileSync(join(BUILD_DIR, "index_bg.wasm"), join(build, "index_bg.wasm"));
  const { build: bundle } = await import("esbuild");
  await bundle({
    entryPoints: [join(ROOT, "benches", "bill", "worker.js")],
    outfile: join(build, "entry.js"),
    alias: { hitparade: join(BUILD_DIR, "entry.js") },
    external: ["cloudflare:workers", "*.wasm"],
    bundle: true,
    format: "esm",
    logLevel: "error",
  });
  const environment = {
    ...process.env,
    TRUSTED_PROXIES: "127.0.0.1",
    CLIENT_ADDRESS_HEADER: "X-Address",
    CONTINENT_HEADER: "X-Continent",
    READ_TOKEN: "",
  };
  const server = await startServer({ port: 0, state: join(folder, "state"), environment, build });
  try {
    const startMs = Date.now();
    say(`▸ ${plan.length} plays and charts in ${length_ms / 60_000} minutes`);
    await Promise.all(plan.map((planned) => play(server.url, planned, startMs)));
    await sleep(Math.max(0, startMs + length_ms - Date.now()));
    const answer = await fetch(`${server.url}/bill`);
    return { startMs, bill: /** @type {any} */ (await answer.json()) };
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @param {string} url @param {Planned} planned @param {number} startMs */
async function play(url, { at_ms, region, post, scope, visitor }, startMs) {
  await sleep(startMs + at_ms - Date.now());
  const address = `10.${(visitor >> 16) & 255}.${(visitor >> 8) & 255}.${visitor & 255}`;
  const headers = { "X-Continent": region, "X-Address": address };
  const now = Date.now();
  const body = JSON.stringify({
    client: `visitor-${visitor}`,
    seq: 1,
    sent: now,
    now,
    home: `${region}/1`,
    plays: [{ post_id: post, timestamp: now }],
  });
  const answer = post
    ? await fetch(`${url}/plays`, { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body })
    : await fetch(`${url}/top-posts?region=${scope}&timeframe=24h&k=10`, { headers });
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  await answer.arrayBuffer();
}
