/**
 * `npm run bench -- live`: what 10,000 sockets on one object cost, against an object that sends a
 * constant of the same size to as many, on the same bare workerd in the same run. Linux only: it
 * reads /proc. workerd needs two open files a socket; where `ulimit -n` is below 20,200 there are
 * fewer sockets.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { benchmark, NO_LIMIT, TOKEN } from "../lib/bench.mjs";
import { sendPlays } from "../lib/client.mjs";
import { startFloor } from "../lib/floor.mjs";
import { readMetrics } from "../lib/metrics.mjs";
import { Readers } from "../lib/readers.mjs";
import { median } from "../lib/report.mjs";
import { say } from "../lib/say.mjs";

const FEW = 100;
/** As many as an object takes (`MAX_SOCKETS` of src/region/live.rs), if there may be so many. */
const MAX_SOCKETS = 10_000;
const OPEN_FILES = Number(execFileSync("sh", ["-c", "ulimit -n"], { encoding: "utf8" })) || Infinity;
const MOST = Math.min(MAX_SOCKETS, Math.floor((OPEN_FILES - 200) / 2));
const CHANGES = 7;
const POSTS = 1_000;
/** A push, a look, and a slow machine. */
const CHANGE_TIMEOUT_MS = 30_000;
const TICK_MS = 10;

/** @param {{json: boolean}} how @returns {Promise<boolean>} whether every limit holds */
export function run({ json }) {
  const title = "Live: 10,000 sockets on one object, against the runtime's own sends in the same run";
  return benchmark({ json, title, command: "npm run bench -- live" }, async ({ report, notes, folder, keep, serve }) => {
    const ours = await serve("ours", { LIMIT_PER_MINUTE: NO_LIMIT });
    await play(ours, "posts", POSTS);
    await sleep(10_000);
    const live = await measure(ours, `${ours.url}/live?region=global&timeframe=24h&k=10`, {
      change: (number) => play(ours, `change-${number}`, 1),
      wasm: async () => (await readMetrics(ours.url)).total("hitparade_allocated_bytes"),
    });
    const floor = keep(await startFloor(join(folder, "floor"), "sockets.js"));
    const least = await measure(floor, `${floor.url}/`, {
      change: () => fetch(`${floor.url}/${live.bytes}`, { method: "POST" }),
      wasm: async () => 0,
    });
    report.add("sockets of one object", live.sockets, "sockets");
    if (MOST === MAX_SOCKETS) {
      const spread = /^HTTP\/1\.1 503 [^]*^retry-after: (\d+)/im.exec(live.refused);
      report.add("· one more is told to come back in", Number(spread?.[1] ?? NaN), "s", { must: 30 });
    }
    report.add("CPU of a change for each of them, to a bare send's", live.sendUs / least.sendUs, "×", { must: 1.5, aim: 1.1 });
    report.add("memory of the process for each of them, to a bare socket's", live.socketKb / least.socketKb, "×", { must: 1.5, aim: 1.1 });
    report.add("· in Wasm", live.wasmBytes, "bytes", { must: 64, aim: 8 });
    const kb = (of) => `${of.socketKb.toFixed(1)} kB and ${of.sendUs.toFixed(1)} µs a change`;
    notes.push(
      `a socket: ours ${kb(live)}, bare ${kb(least)}; messages of ${live.bytes} bytes, medians of ${CHANGES} changes, ` +
        `at ${MOST} sockets less those at ${FEW}`,
    );
    notes.push(`CPU of a change, its play, push and chart included: ${live.fewMs} ms at ${FEW} sockets, ${live.mostMs} ms at ${MOST}`);
  });
}

async function play(server, key, posts) {
  const plays = Array.from({ length: posts }, (_, index) => ({ post_id: `post-${index}`, region_id: "NA", count: posts - index }));
  await sendPlays(server.url, { plays, key, token: TOKEN });
}

/** What a socket costs: at 10,000 of them, less what it is at 100. */
async function measure(server, url, { change, wasm }) {
  const readers = new Readers(url);
  try {
    const at = async (count) => {
      await readers.open(count);
      await changed(readers, () => change(`${count}-first`));
      const costs = [];
      let bytes;
      for (let number = 0; number < CHANGES; number++) {
        const before = cpuMs(server.pid);
        bytes = await changed(readers, () => change(`${count}-${number}`));
        costs.push(cpuMs(server.pid) - before);
      }
      say(`  ${count} sockets, CPU of a change: ${costs.join(", ")} ms`);
      return { ms: median(costs), kb: residentKb(server.pid), wasm: await wasm(), bytes };
    };
    const few = await at(FEW);
    const most = await at(MOST);
    const more = MOST - FEW;
    return {
      sockets: readers.count,
      refused: await readers.refused(),
      bytes: Math.round(most.bytes / MOST),
      fewMs: few.ms,
      mostMs: most.ms,
      sendUs: ((most.ms - few.ms) * 1_000) / more,
      socketKb: (most.kb - few.kb) / more,
      wasmBytes: Math.max(0, (most.wasm - few.wasm) / more),
    };
  } finally {
    readers.close();
  }
}

/** @returns {Promise<number>} bytes that all sockets got together */
async function changed(readers, change) {
  readers.expect();
  await change();
  await readers.got(CHANGE_TIMEOUT_MS);
  // What is left of the last messages.
  await sleep(500);
  return readers.got(CHANGE_TIMEOUT_MS);
}

function cpuMs(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

function residentKb(pid) {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}
