/**
 * `npm run bench -- cpu`: the processor time of one beacon and of one chart, everything in the server's
 * process included. What else the machine does costs nothing here: inputs of `npm run dev -- cost`.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBuilt } from "../build.mjs";
import { median, Report } from "../lib/report.mjs";
import { startServer } from "../lib/server.mjs";
import { ensureWrk, read, sendBeacons } from "../lib/wrk.mjs";

const TURNS = 5;
const SECONDS = 4;
const CONNECTIONS = 64;
const HOT = "/top-posts?region=NA&timeframe=24h&k=10";
/** `USER_HZ` of Linux. */
const TICK_MS = 10;

/** @param {{json: boolean}} how @returns {Promise<boolean>} */
export async function run({ json }) {
  await ensureWrk();
  await ensureBuilt();
  const folder = mkdtempSync(join(tmpdir(), "hitparade-bench-"));
  const environment = { ...process.env, LIMIT_PER_MINUTE: "0", VOTES_PER_MINUTE: "0", READ_TOKEN: "", METRICS_TOKEN: "" };
  const server = await startServer({ port: 0, state: folder, environment });
  /** @type {Record<"beacon" | "chart", number[]>} */
  const costs = { beacon: [], chart: [] };
  try {
    for (let turn = 0; turn < TURNS; turn++) {
      const beacons = () => sendBeacons(`${server.url}/plays`, { plays: 1, seconds: SECONDS, connections: CONNECTIONS });
      costs.beacon.push(await each(server.pid, async () => (await beacons()).requests));
      const charts = () => read(server.url + HOT, { seconds: SECONDS, connections: CONNECTIONS });
      costs.chart.push(await each(server.pid, async () => SECONDS * (await charts()).perSecond));
    }
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  const report = new Report();
  report.add("processor time of a beacon of one play, durable", median(costs.beacon), "ms");
  report.add("processor time of a hot chart, k=10", median(costs.chart), "ms");
  return report.print({ json, title: "Processor time of the server's process a request", command: "npm run bench -- cpu" });
}

/** @param {number} pid @param {() => Promise<number>} work how many requests it made */
async function each(pid, work) {
  const before = cpuMs(pid);
  const requests = await work();
  return (cpuMs(pid) - before) / requests;
}

function cpuMs(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(") ") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}
