/**
 * `npm run bench -- ingest`: how fast plays come in, against the runtime's own floor in the same
 * run. Both are on bare workerd on this machine; their turns alternate, so that what else the
 * machine does falls on both, and the median of the turns counts.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { benchmark, NO_LIMIT, TOKEN } from "../lib/bench.mjs";
import { sendPlays } from "../lib/client.mjs";
import { startFloor } from "../lib/floor.mjs";
import { readMetrics, readSettledMetrics } from "../lib/metrics.mjs";
import { median } from "../lib/report.mjs";
import { say } from "../lib/say.mjs";
import { sendBeacons } from "../lib/wrk.mjs";

const CONNECTIONS = 256;
const PAIRS = 7;
const SECONDS = 2;
const PLAYS = 20;
const STEADY_SECONDS = 20;
const SINGLES = 100;
const BOARDS = 1_000;
const BOARDS_AT_ONCE = 16;
const MEMORY_MINUTES = 10;
/** Senders are as many as they say: the load comes from one address. */
const BY_ADDRESS = { TRUSTED_PROXIES: "127.0.0.1", CLIENT_ADDRESS_HEADER: "X-Forwarded-For" };
/** Two push intervals and some. */
const PUSHED_MS = 12_000;

/** @param {{json: boolean}} how @returns {Promise<boolean>} whether every limit holds */
export function run({ json }) {
  const title = "Ingest: beacons and plays on bare workerd, against the runtime's own floor in the same run";
  return benchmark({ json, title, command: "npm run bench -- ingest" }, async ({ report, notes, folder, keep, serve }) => {
    const floor = keep(await startFloor(join(folder, "floor")));
    const ours = await serve("ours", { LIMIT_PER_MINUTE: NO_LIMIT, VOTES_PER_MINUTE: NO_LIMIT, ...BY_ADDRESS });
    await measureLoad(report, floor, ours, notes);
    await measureSteady(report, ours);
    await measureSingles(report, floor, ours, notes);
    await measureBoards(
      report,
      await serve("boards", { LIMIT_PER_MINUTE: NO_LIMIT, VOTES_PER_MINUTE: NO_LIMIT, ADMIN_TOKEN: TOKEN }),
      notes,
    );
    await measureMemory(report, ours, notes);
  });
}

async function measureLoad(report, floor, ours, notes) {
  const turns = {
    hop: { url: `${floor.url}/hop`, plays: 1 },
    single: { url: `${ours.url}/plays`, plays: 1 },
    twenty: { url: `${ours.url}/plays`, plays: PLAYS },
    upsert: { url: `${floor.url}/upsert`, plays: PLAYS },
  };
  const load = ({ url, plays }, seconds) => sendBeacons(url, { plays, seconds, connections: CONNECTIONS });
  for (const turn of Object.values(turns)) await load(turn, 1);
  const results = [];
  let rows = 0;
  let beacons = 0;
  for (let pair = 1; pair <= PAIRS; pair++) {
    const rates = {};
    const before = await readSettledMetrics(ours.url);
    for (const [name, turn] of Object.entries(turns)) {
      const result = await load(turn, SECONDS);
      if (result.refused + result.broken > 0) {
        notes.push(`${name}, turn ${pair}: ${result.refused} refused, ${result.broken} broken`);
      }
      rates[name] = result.perSecond;
      if (name === "single" || name === "twenty") beacons += result.requests - result.refused;
    }
    rows += (await readSettledMetrics(ours.url)).total("hitparade_rows_written_total") - before.total("hitparade_rows_written_total");
    results.push(rates);
    const text = Object.entries(rates).map(([name, rate]) => `${name} ${Math.round(rate)}`);
    say(`  pair ${pair} of ${PAIRS}, requests/s: ${text.join(", ")}`);
  }
  const ratio = (of, to) => median(results.map((rates) => rates[of] / rates[to]));
  const rate = (name) => Math.round(median(results.map((rates) => rates[name])));
  report.add("beacons of 1 play, durable, to the bare hop's requests/s", ratio("single", "hop"), "×", { atLeast: 0.65, aim: 0.85 });
  report.add(`plays/s at ${PLAYS} a beacon, to the bare hop's requests/s`, PLAYS * ratio("twenty", "hop"), "×", { atLeast: 9, aim: 15 });
  report.add("… to an object with one SQL upsert a play", ratio("twenty", "upsert"), "×", { atLeast: 3, aim: 10 });
  report.add("rows written a beacon at that load", rows / beacons, "rows", { must: 0.03, aim: 0.015 });
  notes.push(
    `requests/s (medians): bare hop ${rate("hop")}, beacons of 1 play ${rate("single")}, ` +
      `of ${PLAYS} plays ${rate("twenty")}, upsert of ${PLAYS} plays ${rate("upsert")}`,
  );
}

/** 100 beacons/s, each sent at its time whether the others are back or not. */
async function measureSteady(report, ours) {
  const count = STEADY_SECONDS * 100;
  const before = (await readSettledMetrics(ours.url)).total("hitparade_rows_written_total");
  const started = performance.now();
  const answers = [];
  for (let number = 0; number < count; number++) {
    const late = performance.now() - started - number * 10;
    if (late < 0) await sleep(-late);
    answers.push(beacon(`${ours.url}/plays`, `steady-${number % 50}`, number));
  }
  await Promise.all(answers);
  const rows = (await readSettledMetrics(ours.url)).total("hitparade_rows_written_total") - before;
  report.add("… at 100 beacons/s on a shard", rows / count, "rows", { must: 0.12, aim: 0.1 });
}

/** One at a time, by turns, with pauses in which the shard goes idle. */
async function measureSingles(report, floor, ours, notes) {
  await sleep(2_500);
  /** @type {Record<"ours" | "floor", number[]>} */
  const times = { ours: [], floor: [] };
  for (let number = 0; number < SINGLES; number++) {
    times.floor.push(await timed(() => beacon(`${floor.url}/insert`, "single", number)));
    await sleep(75);
    times.ours.push(await timed(() => beacon(`${ours.url}/plays`, "single", number)));
    await sleep(75);
  }
  const [one, least] = [median(times.ours), median(times.floor)];
  report.add("202 of one beacon, to a hop with one insert and sync()", one / least, "×", { must: 1.5, aim: 1.1 });
  notes.push(`one beacon on an idle shard: ${one.toFixed(2)} ms; hop, insert and sync(): ${least.toFixed(2)} ms (medians of ${SINGLES})`);
}

/** Beacons to one board of a thousand that have plays, against beacons to `main`, in turn. */
async function measureBoards(report, server, notes) {
  const ids = Array.from({ length: BOARDS }, (_, number) => `board-${number}`);
  const headers = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };
  const left = ids.values();
  const make = async () => {
    for (const id of left) {
      const made = await fetch(`${server.url}/boards/${id}`, { method: "PUT", headers, body: "{}" });
      if (!made.ok) throw new Error(`${id}: ${made.status} ${await made.text()}`);
      await made.arrayBuffer();
      await sendPlays(server.url, { plays: [{ post_id: "first", board: id }], key: id, token: TOKEN });
    }
  };
  await Promise.all(Array.from({ length: BOARDS_AT_ONCE }, make));
  const load = (board) => sendBeacons(`${server.url}/plays`, { plays: 1, seconds: SECONDS, connections: CONNECTIONS, board });
  const ratios = [];
  for (let pair = 0; pair <= PAIRS; pair++) {
    const [ofMain, ofOne] = [await load(""), await load(ids[pair * 7])];
    // The first is to warm up.
    if (pair > 0) ratios.push(ofOne.perSecond / ofMain.perSecond);
    if (ofOne.refused + ofOne.broken > 0) notes.push(`boards, turn ${pair}: ${ofOne.refused} refused, ${ofOne.broken} broken`);
  }
  report.add(`beacons/s to one board of ${BOARDS} that have plays, to \`main\``, median(ratios), "×", { atLeast: 0.8, aim: 0.95 });
}

async function beacon(url, client, seq) {
  const now = Date.now();
  const body = JSON.stringify({ client, seq, sent: now, now, plays: [{ post_id: `post-${seq % 1000}`, timestamp: now }] });
  const answer = await fetch(url, { method: "POST", headers: { "content-type": "text/plain;charset=UTF-8" }, body });
  if (answer.status !== 202) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
  await answer.arrayBuffer();
}

async function timed(work) {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

/**
 * 10 M plays of 1 M distinct posts, 10,000 a batch: memory at the end against after the first.
 * They fall into the last ten minutes from the first batch on, so that both times the same panes
 * are there; each time what was just recorded has been pushed. The server is the one that had the
 * load: the heap of V8 grows for the first thousands of requests, whatever is in them.
 */
async function measureMemory(report, server, notes) {
  const BATCH = 10_000;
  const POSTS = 1_000_000;
  let first;
  let sendingMs = 0;
  for (let batch = 0; batch < 1_000; batch++) {
    const started = performance.now();
    const plays = Array.from({ length: BATCH }, (_, index) => ({
      post_id: `post-${scattered(batch * BATCH + index, POSTS)}`,
      timestamp: Date.now() - (index % MEMORY_MINUTES) * 60_000,
    }));
    await sendPlays(server.url, { plays, key: `memory-${batch}`, token: TOKEN });
    sendingMs += performance.now() - started;
    if (batch === 99) first = await memoryOf(server);
    if (batch % 200 === 199) say(`  ${(batch + 1) / 100} M plays`);
  }
  const last = await memoryOf(server);
  report.add("memory of Wasm after 10 M plays of 1 M posts, to after 1 M", last.wasm / first.wasm, "×", { must: 1.05 });
  report.add("… of the process", last.process / first.process, "×", { must: 1.2 });
  const mib = (bytes) => (bytes / 2 ** 20).toFixed(1);
  notes.push(
    `memory after 1 M and 10 M plays: Wasm ${mib(first.wasm)} and ${mib(last.wasm)} MiB, ` +
      `process ${mib(first.process)} and ${mib(last.process)} MiB; ` +
      `trusted batches of ${BATCH} from one sender: ${Math.round(1e10 / sendingMs)} plays/s`,
  );
}

/** Every post once in each million, in an order that looks random. */
const scattered = (index, posts) => (index * 7_368_787) % posts;

async function memoryOf(server) {
  await sleep(PUSHED_MS);
  const status = readFileSync(`/proc/${server.pid}/status`, "utf8");
  const wasm = (await readMetrics(server.url)).total("hitparade_wasm_memory_bytes");
  return { wasm, process: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024 };
}
