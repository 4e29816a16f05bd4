/**
 * The first chart in a fresh instance, on bare workerd: what the Worker takes for it, and a fresh global object, which is
 * asked until it makes one: it loads, asks its shards, and makes the chart.
 */
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ensureBuilt } from "../../build.mjs";
import { BUILD_DIR, ROOT } from "../../lib/paths.mjs";
import { startServer, startWorkerd } from "../../lib/server.mjs";

const STARTS = 9;
const INGEST_TOKEN = "of-the-bench";
/** That are there at first, and had the plays of that day. */
const REGIONS = ["NA", "SA", "EU", "AF", "AS", "OC"];
/** Of the day whose rows they are. */
const CHART = "/top-posts?region=global&timeframe=24h&k=10";
/** Until shards have told that they have something: a second (`FIRST_PUSH_MS` of src/region/mod.rs), and some more. */
const PUSHED_MS = 3_000;
/** Until a start has settled: what the engine does behind it is not the chart's. */
const SETTLED_MS = 1_000;

/**
 * @typedef {object} Stored rows of an object: number of the table, key and value in hex
 * @property {number} now_ms
 * @property {string[]} tables
 * @property {[number, string, string][]} rows
 */

/**
 * @typedef {object} Times of each instance
 * @property {number[]} worker the Worker's first chart
 * @property {number[]} load what the global object does before it
 * @property {number[]} pull what it does then
 * @property {number[]} global the chart, in the global object
 * @property {number[]} beacon the first beacon, in the Worker and in its shard
 * @property {number[]} start the same thread until then
 */

/**
 * Each invocation is the first of a process of its own. Counted is the thread that runs JavaScript and WebAssembly,
 * from the request to the chart, also what the runtime does there. What the other objects answer is told beforehand:
 * that is another invocation.
 * @param {Stored} stored what the global object has
 * @returns {Promise<Times>} ms of processor time
 */
export async function freshOnWorkerd({ now_ms, tables, rows }) {
  await ensureBuilt();
  const folder = mkdtempSync(join(tmpdir(), "hitparade-fresh-"));
  const build = join(folder, "build");
  mkdirSync(build);
  copyFileSync(join(BUILD_DIR, "index_bg.wasm"), join(build, "index_bg.wasm"));
  const { build: bundle } = await import("esbuild");
  await bundle({
    entryPoints: [join(ROOT, "benches", "bill", "fresh.js")],
    outfile: join(build, "entry.js"),
    alias: { hitparade: join(BUILD_DIR, "entry.js") },
    external: ["cloudflare:workers", "*.wasm"],
    define: { "globalThis.BEHIND_MS": String(Date.now() - now_ms) },
    bundle: true,
    format: "esm",
    logLevel: "error",
  });
  const state = join(folder, "state");
  /**
   * @template T
   * @param {Promise<import("../../lib/server.mjs").Server>} starting
   * @param {(server: import("../../lib/server.mjs").Server) => Promise<T>} work
   */
  const serving = async (starting, work) => {
    const server = await starting;
    try {
      return await work(server);
    } finally {
      await server.stop();
    }
  };
  try {
    const environment = { ...process.env, READ_TOKEN: "", INGEST_TOKEN };
    const prepared = () => startServer({ port: 0, state, environment, build });
    await serving(prepared(), async ({ url }) => {
      const all = rows.map(([table, key, value]) => ({ table: tables[table], key, value }));
      await post(`${url}/fill`, JSON.stringify(all));
      for (const region_id of REGIONS) await play(url, region_id, now_ms);
      await sleep(PUSHED_MS);
    });
    // So each shard has something to say when it is asked.
    const script = await serving(prepared(), async ({ url }) => {
      await fetched(`${url}${CHART}`);
      return (await fetched(`${url}/script`)).text();
    });
    const { asked } = JSON.parse(script);
    assert.equal(asked.filter(({ path }) => path === "/pull").length, REGIONS.length, `only these were asked: ${JSON.stringify(asked)}`);
    /** @type {Times} */
    const times = { worker: [], load: [], pull: [], global: [], beacon: [], start: [] };
    /** @type {[keyof Times, (url: string) => Promise<Response>, number][][]} of each instance, one after the other; and the least bytes of the answer */
    const instances = [
      [["worker", (url) => fetched(`${url}${CHART}`), 100]],
      [
        ["load", (url) => post(`${url}/chart-if-awake`), 0],
        ["pull", (url) => post(`${url}/chart-if-awake`), 0],
        ["global", (url) => post(`${url}/chart-if-awake`), 100],
      ],
      [["beacon", (url) => play(url, REGIONS[0], now_ms), 0]],
    ];
    for (let time = 0; time < STARTS; time++) {
      for (const invocations of instances) {
        // Nobody asks this one whether it is up: that would be the first.
        const starting = startWorkerd(join(state, "run", "config.capnp"), 0, { READ_TOKEN: "", INGEST_TOKEN });
        await serving(starting, async ({ url, pid }) => {
          times.start.push(mainThreadMs(pid));
          await post(`${url}/tell`, script);
          await sleep(SETTLED_MS);
          for (const [invocation, ask, least] of invocations) {
            const before = mainThreadMs(pid);
            const answer = await ask(url);
            times[invocation].push(mainThreadMs(pid) - before);
            const { byteLength } = await answer.arrayBuffer();
            assert.ok(byteLength > least, `${invocation}: ${byteLength} bytes`);
            assert.ok(least > 0 || invocation === "beacon" || byteLength < 10, `${invocation}: it made a chart already`);
          }
          // What the next one finds is as it was: nobody wakes by himself.
          await post(`${url}/script`);
        });
      }
    }
    return times;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What the process's first thread, which is the only one that runs Workers, had of a processor. @param {number} pid */
function mainThreadMs(pid) {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "utf8").split(" ")[0]) / 1e6;
}

/** @param {string} url @param {string} region_id @param {number} timestamp */
function play(url, region_id, timestamp) {
  const headers = { authorization: `Bearer ${INGEST_TOKEN}`, "content-type": "application/json" };
  return fetched(`${url}/plays`, { method: "POST", headers, body: JSON.stringify([{ post_id: "post-0", region_id, timestamp }]) });
}

const post = (/** @type {string} */ url, /** @type {any} */ body = "") => fetched(url, { method: "POST", body });

/** @param {string} url @param {RequestInit} [init] */
async function fetched(url, init) {
  const answer = await fetch(url, init);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}: ${await answer.text()}`);
  return answer;
}
