/** `npm start`: the whole service on this machine, with a demo of real data. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { ensureBuilt } from "./build.mjs";
import { backfill, loadCatalog, playLive, readDemo } from "./lib/demo.mjs";
import { numberOption, readOptions } from "./lib/options.mjs";
import { ROOT } from "./lib/paths.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";
import { startServer } from "./lib/server.mjs";

const USAGE = `usage: npm start -- [--port 8787] [--speed 1800]

  --port N    port on 127.0.0.1
  --speed N   how many times faster than in reality the demo plays; 1800: half an hour a second`;

const PORT = { min: 0, max: 65_535 };
/** More than half a million would be over 20,000 plays a second, all that two requests may hold. */
const SPEED = { min: 1, max: 500_000, whole: false };
const STATUS_INTERVAL_MS = 15_000;

await runMain(async () => {
  const options = readOptions(USAGE, { port: "8787", speed: "1800" });
  if (!options) return;
  const port = numberOption("port", options.values.port, PORT, options.refuse);
  const speed = numberOption("speed", options.values.speed, SPEED, options.refuse);
  await ensureBuilt();
  const end = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => end.abort());

  const tokens = {
    INGEST_TOKEN: process.env.INGEST_TOKEN || newToken(),
    ADMIN_TOKEN: process.env.ADMIN_TOKEN || newToken(),
    // Nobody should need one to look at the demo.
    READ_TOKEN: "",
  };
  const demo = readDemo();
  // The demo's airports instead of the continents, whose charts would stay empty.
  const regions = { REGIONS: JSON.stringify(demo.regions) };
  const server = await startServer({
    port,
    state: join(ROOT, ".state", "demo"),
    fresh: true,
    environment: { ...process.env, ...regions, ...tokens },
  });
  const crashed = server.ended.then((how) => {
    if (!end.signal.aborted) throw new Advice(`workerd ended by itself (${how}); its messages are above.`);
  });
  try {
    await Promise.race([play(server.url, demo, tokens, speed, end.signal), crashed]);
  } catch (error) {
    if (!end.signal.aborted) throw error;
  } finally {
    end.abort();
    await server.stop();
  }
  say("\nThe demo has ended. `npm start` starts it anew; `npm run serve` serves without a demo.");
});

async function play(url, demo, tokens, speed, signal) {
  const days = demo.spanMs / 86_400_000;
  const onRetry = (why) => say(`  the service asks to wait (${why}); trying again`);
  const sending = { token: tokens.INGEST_TOKEN, signal, onRetry };
  say(`▸ the demo's catalog: ${demo.posts.length} destinations, ${demo.regions.length} airports`);
  await loadCatalog(url, demo, { adminToken: tokens.ADMIN_TOKEN, signal });
  say(`▸ ${demo.flights.length.toLocaleString("en")} plays of the last ${days} days (some seconds)`);
  await backfill(url, demo, { ...sending, onProgress: () => {} });
  process.stdout.write(`ready ${url}\n`);
  say(`
  Open ${url}

  What you see: departures from New York, each a play of its destination, in the region of its
  airport (${demo.regions.map(({ id }) => id).join(", ")}). The last ${days} days are in the charts already. Now the same
  weeks run again, ${describeSpeed(speed)} (--speed ${speed}): the chart of the last hour moves at once,
  that of the last 24 hours after a minute or so.

  Ctrl-C ends it.
`);
  let told = Date.now();
  await playLive(url, demo, {
    ...sending,
    speed,
    onProgress: (sent, demoTime) => {
      if (Date.now() - told < STATUS_INTERVAL_MS) return;
      told = Date.now();
      const [, day, time] = /^(.{10})T(.{5})/.exec(new Date(demoTime).toISOString());
      say(`  ${sent.toLocaleString("en").padStart(9)} live plays sent; in the demo it is ${day} ${time}`);
    },
  });
}

function newToken() {
  return randomBytes(18).toString("base64url");
}

function describeSpeed(speed) {
  const seconds = Math.round(speed);
  if (seconds < 120) return `${seconds} s each second`;
  return seconds < 7_200 ? `${Math.round(seconds / 60)} minutes each second` : `${Math.round(seconds / 3_600)} hours each second`;
}
