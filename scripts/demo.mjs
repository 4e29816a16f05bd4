/** `npm start`, and `npx hitparade demo`: the whole service on this machine, with a demo of real data. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ensureBuilt } from "./build.mjs";
import { backfill, loadCatalog, playLive, publishCharts, readDemo } from "./lib/demo.mjs";
import { numberOption, readOptions } from "./lib/options.mjs";
import { openPage } from "./lib/open.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";
import { freePortFrom, refuseTakenPort, startServer } from "./lib/server.mjs";
import { expectSteps, step } from "./lib/steps.mjs";
import { newToken } from "./lib/tokens.mjs";
import { newestOf } from "./lib/variables.mjs";

const USAGE = `usage: npm start -- [--port 8787] [--speed 1800] [--no-open]

  --port N    port on 127.0.0.1; without it the first free one from 8787 on
  --no-open   leaves the browser alone
  --speed N   how many times faster than in reality the demo plays; 1800: half an hour a second`;

const PORT = { min: 0, max: 65_535 };
/** More than half a million would be over 20,000 plays a second, all that two requests may hold. */
const SPEED = { min: 1, max: 500_000, whole: false };
const USUAL_PORT = 8787;
const STEPS = [
  { what: "the service", seconds: 1 },
  { what: "the last weeks of the demo", seconds: 3 },
];
const STATUS_INTERVAL_MS = 15_000;

await runMain(async () => {
  const options = readOptions(USAGE, { port: "", speed: "1800", "no-open": false });
  if (!options) return;
  const wanted = options.values.port && numberOption("port", options.values.port, PORT, options.refuse);
  const speed = numberOption("speed", options.values.speed, SPEED, options.refuse);
  expectSteps(...STEPS);
  // Now, and not after minutes of building.
  if (wanted !== "") await refuseTakenPort(wanted);
  await ensureBuilt();
  const state = mkdtempSync(join(tmpdir(), "hitparade-demo-"));
  process.on("exit", () => rmSync(state, { recursive: true, force: true }));
  const end = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => end.abort());
  // npm does not pass a SIGTERM on to what it started.
  const parent = process.ppid;
  if (process.env.npm_lifecycle_event) setInterval(() => process.ppid !== parent && end.abort(), 250).unref();

  const tokens = {
    INGEST_TOKEN: process.env.INGEST_TOKEN || newToken(),
    ADMIN_TOKEN: process.env.ADMIN_TOKEN || newToken(),
    // Nobody should need one to look at the demo.
    READ_TOKEN: "",
    METRICS_TOKEN: "",
  };
  const demo = readDemo();
  // The demo's airports instead of the continents, whose charts would stay empty.
  const regions = { REGIONS: JSON.stringify(demo.regions) };
  const environment = { ...process.env, ...regions, ...tokens };
  const start = (port) => startServer({ port, state, environment });
  const server = await step(STEPS[0], () => (wanted === "" ? startOnFreePort(start) : start(wanted)));
  const crashed = server.ended.then((how) => {
    if (!end.signal.aborted) throw new Advice(`workerd ended by itself (${how}); its messages are above.`);
  });
  try {
    await Promise.race([play(server.url, demo, tokens, { ...options.values, speed, signal: end.signal }), crashed]);
  } catch (error) {
    if (!end.signal.aborted) throw error;
  } finally {
    end.abort();
    await server.stop();
  }
  say("\nThe demo has ended. `npm start` starts it anew; `npm run serve` serves without a demo.");
});

/** Until a chart has something to show. Each question is another one: answers are kept for seconds. */
async function untilShown(url, signal) {
  const week_h = 7 * 24;
  for (let more_h = 0; more_h < 200; more_h++) {
    const answer = await fetch(`${url}/top-posts?timeframe=${week_h + more_h}h&k=10`, { signal });
    const { top_posts: posts } = await answer.json();
    if (posts?.length > 0) return;
    await sleep(150, undefined, { signal });
  }
  throw new Advice("The demo's plays are in no chart after half a minute; messages of the service are above.");
}

/**
 * A demo shall not fail for a port. Two that are started at once find the same one free.
 * @param {(port: number) => Promise<import("./lib/server.mjs").Server>} start
 */
async function startOnFreePort(start) {
  for (let from = USUAL_PORT; ;) {
    const port = await freePortFrom(from);
    if (port === null) throw new Advice(`No port from ${from} on is free.`, "Name one with --port.");
    try {
      const server = await start(port);
      if (port !== USUAL_PORT) say(`Port ${USUAL_PORT} is taken; this is on ${port}.`);
      return server;
    } catch (error) {
      if ((await freePortFrom(port)) === port) throw error;
      from = port + 1;
    }
  }
}

/**
 * @param {string} url @param {ReturnType<typeof readDemo>} demo @param {{INGEST_TOKEN: string, ADMIN_TOKEN: string}} tokens
 * @param {{speed: number, signal: AbortSignal, "no-open"?: boolean}} options
 */
async function play(url, demo, tokens, { speed, signal, "no-open": stayClosed }) {
  const days = demo.spanMs / 86_400_000;
  const onRetry = (why) => say(`  not yet (${why}); trying again`);
  const sending = { token: newestOf(tokens.INGEST_TOKEN), signal, onRetry };
  const asAdmin = { adminToken: newestOf(tokens.ADMIN_TOKEN), signal };
  await step(STEPS[1], async (tell) => {
    await loadCatalog(url, demo, asAdmin);
    const all = demo.flights.length.toLocaleString("en");
    await backfill(url, demo, { ...sending, onProgress: (sent) => tell(`${sent.toLocaleString("en")} of ${all} plays`) });
    await untilShown(url, signal);
  });
  process.stdout.write(`ready ${url}\n`);
  if (!stayClosed) openPage(url);
  say(`
  Open ${url}

  What you see: departures from New York, each a play of its destination, in the region of its
  airport (${demo.regions.map(({ id }) => id).join(", ")}). They were in 2013; the charts have ${days} days of them as if the
  last one ended now. The same weeks run again, ${describeSpeed(speed)} (--speed ${speed}), each play at the
  moment when it is sent: the chart of the last hour moves at once, that of the last 24 hours after a
  minute or so. ${url}/charts/week has the charts of the weeks that are over, in two minutes.

  Ctrl-C ends it.
`);
  let told = Date.now();
  const live = playLive(url, demo, {
    ...sending,
    speed,
    onProgress: (sent, demoTime) => {
      if (Date.now() - told < STATUS_INTERVAL_MS) return;
      told = Date.now();
      const [, day, time] = /^(.{10})T(.{5})/.exec(new Date(demoTime).toISOString()) ?? [];
      say(`  ${sent.toLocaleString("en").padStart(9)} live plays sent, as of now; they left on ${day}, ${time}`);
    },
  });
  await Promise.all([publishCharts(url, asAdmin), live]);
}

function describeSpeed(speed) {
  const seconds = Math.round(speed);
  if (seconds < 120) return `${seconds} s each second`;
  return seconds < 7_200 ? `${Math.round(seconds / 60)} minutes each second` : `${Math.round(seconds / 3_600)} hours each second`;
}
