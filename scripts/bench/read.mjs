/**
 * `npm run bench -- read`: how fast charts go out, against a Worker that answers a constant of the
 * same size at once, in the same run. Both are on bare workerd on this machine; their turns
 * alternate, so that what else the machine does falls on both, and the median of the turns counts.
 */
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { benchmark, NO_LIMIT, TOKEN } from "../lib/bench.mjs";
import { askUntilDone, sendPlays } from "../lib/client.mjs";
import { startConstant } from "../lib/floor.mjs";
import { readMetrics } from "../lib/metrics.mjs";
import { median } from "../lib/report.mjs";
import { say } from "../lib/say.mjs";
import { read, readAtRate, sendBeacons } from "../lib/wrk.mjs";

const CONNECTIONS = 64;
const PAIRS = 7;
/** Of what is only to be compared with. */
const PAIRS_OF_MORE = 3;
const SECONDS = 2;
const HOT = "/top-posts?region=NA&timeframe=24h&k=10";
const COLD = "/top-posts?region=global&timeframe=%dm&k=100";
const POSTS = 1_000;
/** A day that is over and published, and in the chart of 24h no more. */
const PUBLISHED_DAYS_AGO = 4;
/** Its plays are sealed a minute after they came, and then pushed and folded. */
const PUBLISHED_WITHIN_MS = 150_000;
const READERS = 1_000;
const CHARTS = 50;
const READING_SECONDS = 10;
/** How long a shard answers from what it keeps (`FRESH_MS` of src/region/charts.rs). */
const TTL_S = 2;
/** As the benchmark of ingest has them: fewer would wait for groups to fill, not for the machine. */
const BEACON_CONNECTIONS = 256;
/** A push takes 3 % of them: each turn has just one, or turns would differ by that alone. */
const BEACON_SECONDS = 5;
const ASKED_A_SECOND = 1_000;
const PLAYS = 60;
/** A chart shows its last plays within 10 s; one that is not there by then never comes. */
const PLAY_TIMEOUT_MS = 30_000;

/** @param {{json: boolean}} how @returns {Promise<boolean>} whether every limit holds */
export function run({ json }) {
  const title = "Read: charts on bare workerd, against a Worker that answers a constant at once in the same run";
  return benchmark({ json, title, command: "npm run bench -- read" }, async ({ report, notes, folder, keep, serve }) => {
    // Requests are counted as by default, or 64 connections of one address would soon be refused.
    const counting = await serve("counting", { LIMIT_PER_MINUTE: NO_LIMIT });
    await play(counting);
    const constant = async (bytes) => keep(await startConstant(join(folder, "constant"), bytes));
    await measureHot(report, counting, constant, notes);
    await measurePublished(report, await serve("published", { LIMIT_PER_MINUTE: NO_LIMIT, ADMIN_TOKEN: TOKEN }), notes);
    await measureReaders(report, counting, notes);
    const limited = await serve("limited");
    await play(limited);
    const cold = { path: COLD, connections: CONNECTIONS };
    await measureBeside(report, limited, notes, {
      ...cold,
      name: "1,000 different cold charts a second from one client: ingest",
      // They count as reads, which the flood from the same address leaves none of.
      readsFigures: false,
      pairs: PAIRS,
    });
    await measureBeside(report, counting, notes, { ...cold, name: "· with no limit by address", pairs: PAIRS_OF_MORE });
    await measureBeside(report, counting, notes, {
      name: "· beside 1,000 requests a second for a hot chart",
      path: HOT,
      connections: CONNECTIONS,
      pairs: PAIRS_OF_MORE,
    });
    await measurePlayToChart(report, counting, notes);
    // Last, as its days stay.
    const days = await serve("days", { LIMIT_PER_MINUTE: NO_LIMIT });
    await playDays(days);
    await measureBeside(report, days, notes, {
      ...WARM,
      name: "60 warm 30d charts a second over exact days: ingest",
      connections: CONNECTIONS,
      pairs: PAIRS,
      limits: { atLeast: 0.9 },
    });
    await measureCharged(days, notes);
  });
}

/** The same alone, to see whether what reading is charged is what it takes. */
async function measureCharged(server, notes) {
  if (process.platform !== "linux") return;
  const [before, cpu] = [await readMetrics(server.url), cpuMs(server.pid)];
  const { requests } = await readAtRate(server.url, { ...WARM, seconds: READING_SECONDS, connections: CONNECTIONS });
  const [after, spent] = [await readMetrics(server.url), cpuMs(server.pid) - cpu];
  const [charged, asked, refused] = ["reading_milliseconds", "charts", "refused_charts"].map(
    (name) => after.total(`hitparade_global_${name}_total`) - before.total(`hitparade_global_${name}_total`),
  );
  notes.push(
    `the same alone for ${READING_SECONDS} s: ${requests} requests took ${spent} ms of processor time, of which reading was charged ` +
      `${charged}; ${asked} were asked of the global object, and ${refused} had no turn and were given as they were last`,
  );
}

/** Processor time of a process so far, in ms: Linux counts it in hundredths of a second. */
function cpuMs(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** 120 charts of 30 days, a few minutes shorter each: all of the same days, and each asked for all 2 s. */
const WARM = { path: "/top-posts?region=NA&timeframe=%dm&k=10", perSecond: 60, least: 43_000, many: 120 };
const DAYS = 60;
const IDS_A_DAY = 4_000;
const DAY_MS = 86_400_000;

/** Days of which each has posts of its own, fewer than a day's pane has counters; and every chart looked at once. */
async function playDays(server) {
  const now = Date.now();
  for (let day = DAYS; day >= 1; day--) {
    const plays = Array.from({ length: IDS_A_DAY }, (_, number) => ({
      post_id: `exact-${day}-${number}`,
      region_id: "NA",
      timestamp: Math.floor(now / DAY_MS - day) * DAY_MS + Math.floor((number / IDS_A_DAY) * DAY_MS),
    }));
    await sendPlays(server.url, { plays, key: `day-${day}`, token: TOKEN });
  }
  const charts = Array.from({ length: WARM.many }, (_, number) => server.url + WARM.path.replace("%d", String(WARM.least + number)));
  const seen = async () => (await askUntilDone(`${server.url}/top-posts?region=NA&timeframe=60d&k=1`, {})).text;
  for (const deadline = Date.now() + PLAY_TIMEOUT_MS; JSON.parse(await seen()).total_views < (DAYS - 1) * IDS_A_DAY; await sleep(1_000)) {
    if (Date.now() > deadline) throw new Error("the days of the benchmark do not show in the chart");
  }
  // Each waits for its turn the first time.
  await Promise.all(charts.map((chart) => askUntilDone(chart, {})));
}

/** Something to be read, and seen to be in the chart; or of a time before. */
async function play(server, timestamp = Date.now()) {
  const plays = Array.from({ length: POSTS }, (_, index) => ({
    post_id: `post-${index * 7_919}`,
    region_id: "NA",
    count: Math.ceil(1e6 / (index + 1)),
    timestamp,
  }));
  await sendPlays(server.url, { plays, key: `posts-${timestamp}`, token: TOKEN });
  for (const deadline = Date.now() + PLAY_TIMEOUT_MS; Date.now() < deadline; await sleep(500)) {
    const answer = await fetch(server.url + HOT);
    if (answer.ok && (await answer.json()).top_posts.length === 10) return;
  }
  throw new Error("the plays of the benchmark do not show in the chart");
}

async function measureHot(report, ours, startConstant, notes) {
  const size = await sizeOf(ours.url, HOT);
  const HEAD = "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nContent-Type: application/json\r\n\r\n".length;
  const constant = await startConstant(size - HEAD);
  const turns = { constant: constant.url, chart: ours.url + HOT };
  const results = await byTurns(turns, notes);
  const ratio = (of) => median(results.map(({ chart, constant }) => chart[of] / constant[of]));
  report.add("hot chart, k=10: share of the constant's requests/s", ratio("perSecond"), "×", { atLeast: 0.6, aim: 0.85 });
  report.add("hot chart, k=10: p99 against the constant's", ratio("p99Ms"), "×", { must: 2, aim: 1.3 });
  const of = (name, what) => median(results.map((result) => result[name][what]));
  notes.push(
    `${CONNECTIONS} connections, medians: constant ${Math.round(of("constant", "perSecond"))}/s, p99 ${of("constant", "p99Ms").toFixed(1)} ms; ` +
      `chart ${Math.round(of("chart", "perSecond"))}/s, p99 ${of("chart", "p99Ms").toFixed(1)} ms; ${size} bytes each, headers and all`,
  );
}

/**
 * So many turns of each address, one after the other.
 * @param {Record<string, string>} turns
 * @param {string[]} notes
 * @returns {Promise<Record<string, import("../lib/wrk.mjs").Load>[]>} of each turn
 */
async function byTurns(turns, notes) {
  const load = (url, seconds) => read(url, { seconds, connections: CONNECTIONS });
  for (const url of Object.values(turns)) await load(url, 1);
  const results = [];
  for (let pair = 1; pair <= PAIRS; pair++) {
    const result = {};
    for (const [name, url] of Object.entries(turns)) {
      result[name] = await load(url, SECONDS);
      const { refused, broken } = result[name];
      if (refused + broken > 0) notes.push(`${name}, turn ${pair}: ${refused} refused, ${broken} broken`);
    }
    results.push(result);
    const text = Object.entries(result).map(
      ([name, { perSecond, p99Ms }]) => `${name} ${Math.round(perSecond)}/s, p99 ${p99Ms.toFixed(1)} ms`,
    );
    say(`  pair ${pair} of ${PAIRS}: ${text.join(" · ")}`);
  }
  return results;
}

/** A day's chart that is published, against the hot chart of the same server. */
async function measurePublished(report, server, notes) {
  const at = Date.now() - PUBLISHED_DAYS_AGO * DAY_MS;
  const day = new Date(at).toISOString().slice(0, 10);
  const path = `/charts/day/${day}?region=NA&k=10`;
  await play(server);
  await play(server, at);
  const close = () => askUntilDone(`${server.url}/admin/close-charts`, { method: "POST", headers: { authorization: `Bearer ${TOKEN}` } });
  for (const deadline = Date.now() + PUBLISHED_WITHIN_MS; ; await sleep(1_000)) {
    if (Date.now() > deadline) throw new Error("the day of the benchmark is not published");
    await close();
    const answer = await fetch(server.url + path);
    const chart = await answer.json();
    if (answer.ok && chart.top_posts.length === 10) break;
  }
  const results = await byTurns({ hot: server.url + HOT, published: server.url + path }, notes);
  const share = median(results.map(({ hot, published }) => published.perSecond / hot.perSecond));
  report.add("published chart, k=10: share of the hot chart's requests/s", share, "×", { atLeast: 0.8, aim: 0.95 });
  notes.push(`${await sizeOf(server.url, HOT)} bytes of the hot chart, ${await sizeOf(server.url, path)} of the published one`);
}

/** Everything that goes over the wire for one answer. */
function sizeOf(url, path) {
  const { hostname, port } = new URL(url);
  return new Promise((done, fail) => {
    let size = 0;
    const socket = connect(Number(port), hostname);
    socket.on("error", fail);
    socket.on("data", (data) => (size += data.length));
    socket.on("close", () => done(size - "Connection: close\r\n".length));
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${hostname}\r\nConnection: close\r\n\r\n`);
  });
}

async function measureReaders(report, server, notes) {
  const paths = Array.from({ length: CHARTS }, (_, index) => `/top-posts?region=global&timeframe=${index + 1}h&k=10`);
  const load = (seconds) => read(server.url, { seconds, connections: READERS, paths });
  // Fifty charts that nobody asked for before take their turns: that is another limit.
  await load(4);
  const asked = async () => (await readMetrics(server.url)).total("hitparade_global_charts_total");
  const [before, started] = [await asked(), performance.now()];
  const { perSecond, refused, broken } = await load(READING_SECONDS);
  const seconds = (performance.now() - started) / 1000;
  const name = "1,000 readers of 50 charts: asked of the global object a TTL";
  report.add(name, ((await asked()) - before) / (seconds / TTL_S), "charts", { must: CHARTS });
  notes.push(`${READERS} connections reading ${CHARTS} charts: ${Math.round(perSecond)}/s, ${refused} refused, ${broken} broken`);
}

/**
 * Durable beacons of a trusted sender, by turns alone and beside as many requests a second for
 * charts, which take part of the one thread that all of the bare runtime has here, objects and all.
 * Each turn is held against those alone before and after it: they differ by a tenth where others
 * share the machine's caches.
 */
async function measureBeside(
  report,
  server,
  notes,
  { name, path, connections, pairs, limits = {}, perSecond = ASKED_A_SECOND, readsFigures = true, ...numbers },
) {
  const ingest = async () => {
    const load = { plays: 1, seconds: BEACON_SECONDS, connections: BEACON_CONNECTIONS, token: TOKEN };
    return (await sendBeacons(`${server.url}/plays`, load)).perSecond;
  };
  const seconds = BEACON_SECONDS + 1;
  const shares = [];
  const asked = { requests: 0, refused: 0 };
  let chargedMs = 0;
  const charged = async () => (readsFigures ? (await readMetrics(server.url)).total("hitparade_global_reading_milliseconds_total") : 0);
  await ingest();
  let before = await ingest();
  for (let pair = 1; pair <= pairs; pair++) {
    const asking = readAtRate(server.url, { path, perSecond, seconds, connections, ...numbers });
    await sleep(500);
    const chargedBefore = await charged();
    const beside = await ingest();
    chargedMs += (await charged()) - chargedBefore;
    const { requests, refused } = await asking;
    const after = await ingest();
    shares.push((2 * beside) / (before + after));
    asked.requests += requests;
    asked.refused += refused;
    say(
      `  pair ${pair} of ${pairs}, beacons/s: ${Math.round(beside)} beside ${requests} charts, ${Math.round(before)} and ${Math.round(after)} alone`,
    );
    before = after;
  }
  report.add(name, median(shares), "× its speed", limits);
  const arrived = Math.round(asked.requests / (pairs * seconds));
  notes.push(
    `${name.replace(/^· /, "")}: ${arrived} of ${perSecond} a second arrived, over ${connections} connections; of ${asked.requests} ` +
      `${asked.requests - asked.refused} were answered, the others refused; ` +
      (readsFigures ? `reading was charged ${Math.round(chargedMs / (pairs * BEACON_SECONDS))} ms of a second; ` : "") +
      `pairs ${shares.map((share) => share.toFixed(2)).join(", ")}`,
  );
}

/** Plays of posts of their own, each at a moment of its own, until the chart shows them. */
async function measurePlayToChart(report, server, notes) {
  const path = "/top-posts?region=EU&timeframe=1h&k=1000";
  const waiting = new Map();
  const times = [];
  let sent = 0;
  const look = async () => {
    const { top_posts } = await (await fetch(server.url + path)).json();
    for (const { post_id } of top_posts ?? []) {
      const since = waiting.get(post_id);
      if (since === undefined) continue;
      waiting.delete(post_id);
      times.push(performance.now() - since);
    }
  };
  const started = performance.now();
  while (times.length < PLAYS && performance.now() - started < PLAY_TIMEOUT_MS + PLAYS * 300) {
    if (sent < PLAYS && performance.now() - started > sent * 271) {
      const post_id = `seen-${sent++}`;
      await sendPlays(server.url, { plays: [{ post_id, region_id: "EU" }], key: post_id, token: TOKEN });
      waiting.set(post_id, performance.now());
    }
    await look();
    await sleep(20);
  }
  times.push(...[...waiting.values()].map(() => PLAY_TIMEOUT_MS));
  times.sort((a, b) => a - b);
  const p99 = times[Math.ceil(times.length * 0.99) - 1] / 1000;
  report.add("play → chart, p99 at default settings", p99, "s", { must: 10, aim: 6 });
  notes.push(
    `play → chart, of ${PLAYS} plays: median ${(median(times) / 1000).toFixed(1)} s, longest ${(times.at(-1) / 1000).toFixed(1)} s`,
  );
}
