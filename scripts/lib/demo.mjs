/** The demo: real departures as plays, first the weeks that end now, then live. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { sendPlays, sendUntilDone, toNdjson } from "./client.mjs";
import { countKeys, readFlights, readNames } from "./flights.mjs";
import { ROOT } from "./paths.mjs";

const FOLDER = join(ROOT, "demo");
const WEEK_MS = 7 * 24 * 3_600_000;
/** A trusted sender may send 10,000 plays at once; smaller batches show progress. */
const BACKFILL_BATCH = 5_000;
const LIVE_BATCH = 10_000;
const TICK_MS = 500;
const CLOSE_MS = 5_000;

/** The demo's data and what is derived from it. */
export function readDemo() {
  const flights = readFlights(join(FOLDER, "flights.tsv.gz"));
  const airports = readNames(join(FOLDER, "airports.csv"));
  const airlines = readNames(join(FOLDER, "airlines.csv"));
  const spanMs = Math.ceil((flights[flights.length - 1].time - flights[0].time) / WEEK_MS) * WEEK_MS;
  return {
    flights,
    spanMs,
    /** The end of the last week; the first flights come right after the start of the first one. */
    endMs: Math.floor(flights[0].time / 3_600_000) * 3_600_000 + spanMs,
    posts: catalogOf(flights, airports, airlines),
    regions: [...new Set(flights.map(({ origin }) => origin))].sort().map((id) => ({ id, name: airports.get(id) })),
  };
}

/** As people call it, without what kind of company it is. @param {string} airline */
const shortName = (airline) => airline.replace(/ (Inc\.|Co\.|Corporation)$/, "");

/** A destination's name, the airline that flies there most, and all that do as its tags. */
function catalogOf(flights, airports, airlines) {
  const carriersTo = new Map();
  for (const { dest, carrier } of flights) {
    if (!carriersTo.has(dest)) carriersTo.set(dest, []);
    carriersTo.get(dest).push(carrier);
  }
  return [...carriersTo].map(([dest, carriers]) => {
    const [[carrier]] = countKeys(carriers);
    const nameOf = (/** @type {string} */ code) => airlines.get(code) ?? code;
    const tags = [...new Set(carriers)].map((code) => shortName(nameOf(code)));
    return { post_id: dest, content: airports.get(dest) ?? dest, author: nameOf(carrier), tags };
  });
}

/**
 * @param {string} url of the server
 * @param {ReturnType<typeof readDemo>} demo
 * @param {{adminToken: string, signal: AbortSignal}} options
 */
export async function loadCatalog(url, demo, { adminToken, signal }) {
  const put = (path, body, type) =>
    sendUntilDone(`${url}${path}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${adminToken}`, "content-type": type },
      body,
      signal,
    });
  for (const { id, name } of demo.regions) {
    await put(`/regions/${encodeURIComponent(id)}`, JSON.stringify({ region_name: name }), "application/json");
  }
  await put("/posts", toNdjson(demo.posts), "application/x-ndjson");
}

/** Sends plays in numbered batches of one run. */
function sender(url, { token, signal, onRetry }) {
  const run = randomBytes(8).toString("hex");
  let batches = 0;
  return (plays) => sendPlays(url, { plays, key: `demo-${run}-${batches++}`, token, signal, onRetry });
}

const playOf = (flight, timestamp) => ({ post_id: flight.dest, region_id: flight.origin, timestamp });

/**
 * All flights, moved in time so that the last week ends now.
 * @param {string} url
 * @param {ReturnType<typeof readDemo>} demo
 * @param {{token: string, signal: AbortSignal, onRetry: (why: string) => void, onProgress: (sent: number) => void}} options
 */
export async function backfill(url, demo, options) {
  const send = sender(url, options);
  const shiftMs = Date.now() - demo.endMs;
  for (let start = 0; start < demo.flights.length; start += BACKFILL_BATCH) {
    const batch = demo.flights.slice(start, start + BACKFILL_BATCH);
    await send(batch.map((flight) => playOf(flight, flight.time + shiftMs)));
    options.onProgress(start + batch.length);
  }
}

/**
 * Publishes the charts of the days, weeks and months that are over: most at once, those
 * whose plays are not folded yet within two minutes.
 * @param {string} url of the server @param {{adminToken: string, signal: AbortSignal}} options
 */
export async function publishCharts(url, { adminToken, signal }) {
  const request = { method: "POST", headers: { authorization: `Bearer ${adminToken}` }, signal };
  while (!(await sendUntilDone(`${url}/admin/close-charts`, request)).done) await sleep(CLOSE_MS, undefined, { signal });
}

/**
 * The flights once more, `speed` times as fast as they were, each played at the moment it is sent;
 * after the last one from the first again. Goes on until the signal.
 * @param {string} url
 * @param {ReturnType<typeof readDemo>} demo
 * @param {{token: string, speed: number, signal: AbortSignal, onRetry: (why: string) => void,
 *   onProgress: (sent: number, demoTime: number) => void}} options
 */
export async function playLive(url, demo, { speed, onProgress, ...options }) {
  const send = sender(url, options);
  const startMs = demo.endMs - demo.spanMs;
  const started = Date.now();
  let next = 0;
  let sent = 0;
  /** Demo time of a flight, counting the rounds before it. */
  const due = (index) => {
    const round = Math.floor(index / demo.flights.length);
    return round * demo.spanMs + demo.flights[index % demo.flights.length].time - startMs;
  };
  for (;;) {
    await sleep(TICK_MS, undefined, { signal: options.signal });
    const now = Date.now();
    const played = (now - started) * speed;
    const batch = [];
    while (due(next) <= played && batch.length < LIVE_BATCH) {
      batch.push(playOf(demo.flights[next++ % demo.flights.length], now));
    }
    if (batch.length > 0) await send(batch);
    sent += batch.length;
    onProgress(sent, startMs + (played % demo.spanMs));
  }
}
