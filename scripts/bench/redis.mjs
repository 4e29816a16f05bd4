/**
 * `npm run bench -- redis`: the same beacons to the service and to what one would build with Redis:
 * a minimal HTTP front that does one ZINCRBY a play into the sorted set of its minute. That front
 * checks nothing, knows no repeats, and answers when Redis has: once with every write synced to
 * disk before the answer, as the service does, and once synced each second, which a crash loses.
 */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ensureBuilt } from "../build.mjs";
import { median, Report } from "../lib/report.mjs";
import { findOnPath, run as runProgram } from "../lib/run.mjs";
import { step } from "../lib/steps.mjs";
import { Advice, say } from "../lib/say.mjs";
import { startServer } from "../lib/server.mjs";
import { ensureWrk, sendBeacons } from "../lib/wrk.mjs";

const CONNECTIONS = 256;
const TURNS = 5;
const SECONDS = 2;
const NO_LIMIT = "1000000000";

/** @param {{json: boolean}} how @returns {Promise<boolean>} */
export async function run({ json }) {
  await ensureWrk();
  await ensureRedis();
  await ensureBuilt();
  const folder = mkdtempSync(join(tmpdir(), "hitparade-redis-"));
  const running = [];
  const report = new Report();
  try {
    const environment = { ...process.env, LIMIT_PER_MINUTE: NO_LIMIT, VOTES_PER_MINUTE: NO_LIMIT };
    const ours = await startServer({ port: 0, state: join(folder, "ours"), environment });
    running.push(ours);
    const turns = { service: `${ours.url}/plays` };
    for (const fsync of ["always", "everysec"]) {
      const front = await startFront(join(folder, fsync), fsync);
      running.push(front);
      turns[`Redis, fsync ${fsync}`] = front.url;
    }
    for (const plays of [1, 20]) await measure(report, turns, plays);
  } finally {
    await Promise.all(running.map((server) => server.stop()));
    rmSync(folder, { recursive: true, force: true });
  }
  return report.print({
    json,
    title: "Plays per second: the service on workerd, and a minimal front (Node) to Redis with ZINCRBY by minute",
    command: "npm run bench -- redis",
  });
}

async function measure(report, turns, plays) {
  /** @type {Record<string, number[]>} */
  const rates = Object.fromEntries(Object.keys(turns).map((name) => [name, []]));
  for (const url of Object.values(turns)) await sendBeacons(url, { plays, seconds: 1, connections: CONNECTIONS });
  for (let turn = 0; turn < TURNS; turn++) {
    for (const [name, url] of Object.entries(turns)) {
      const { perSecond } = await sendBeacons(url, { plays, seconds: SECONDS, connections: CONNECTIONS });
      rates[name].push(perSecond * plays);
    }
    say(`  ${plays} a beacon, turn ${turn + 1} of ${TURNS}`);
  }
  for (const name of Object.keys(turns)) {
    report.add(`${name}, ${plays} a beacon`, Math.round(median(rates[name])), "plays/s");
    if (name === "service") continue;
    report.add("  the service to it", median(rates.service.map((rate, turn) => rate / rates[name][turn])), "×");
  }
}

async function ensureRedis() {
  if (findOnPath("redis-server")) return;
  if (process.getuid?.() === 0 && findOnPath("apt-get")) {
    // The package starts a server of its own unless it is told not to.
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" };
    await step({ what: "redis-server", seconds: 15 }, async () => {
      await runProgram("apt-get", ["install", "-y", "-qq", "--no-install-recommends", "redis-server"], { env });
    });
  }
  if (!findOnPath("redis-server")) {
    throw new Advice(
      "redis-server is not installed, so there is nothing to compare with.",
      "Debian and Ubuntu: apt-get install redis-server",
    );
  }
}

/** Redis on a socket of its own, and the front. */
async function startFront(folder, fsync) {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, "redis.sock");
  const options = ["--port", "0", "--unixsocket", path, "--dir", folder, "--save", "", "--appendonly", "yes", "--appendfsync", fsync];
  const redis = spawn("redis-server", options, { stdio: "ignore" });
  const connection = await connected(path);
  const front = createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", async () => {
      const { plays } = JSON.parse(Buffer.concat(chunks).toString());
      await connection.increment(plays);
      response.writeHead(202, { "content-type": "application/json" }).end(`{"accepted":${plays.length}}`);
    });
  });
  await once(front.listen(0, "127.0.0.1"), "listening");
  const stop = async () => {
    front.close();
    front.closeAllConnections();
    connection.close();
    redis.kill("SIGTERM");
    if (redis.exitCode === null) await once(redis, "exit");
  };
  const { port } = /** @type {import("node:net").AddressInfo} */ (front.address());
  return { url: `http://127.0.0.1:${port}`, stop };
}

/** One connection, commands of all requests in a row, as every client of Redis does it. */
async function connected(path) {
  const deadline = Date.now() + 10_000;
  /** @type {import("node:net").Socket | null} */
  let socket = null;
  while (!socket) {
    socket = await new Promise((done) => {
      const attempt = connect(path);
      attempt.on("connect", () => done(attempt));
      attempt.on("error", () => done(null));
    });
    if (!socket && Date.now() > deadline) throw new Advice("redis-server does not start.");
    if (!socket) await sleep(50);
  }
  /** How many replies each request still waits for. @type {{left: number, done: (nothing?: unknown) => void}[]} */
  const waiting = [];
  socket.on("data", (data) => {
    // Each ZINCRBY is answered by `$length\r\nnumber\r\n`: two lines.
    for (let at = data.indexOf(10); at >= 0; at = data.indexOf(10, at + 1)) {
      const first = waiting[0];
      if (first && --first.left === 0) waiting.shift()?.done();
    }
  });
  return {
    increment(plays) {
      let commands = "";
      for (const { post_id, timestamp } of plays) {
        const minute = `plays:${Math.floor(timestamp / 60_000)}`;
        commands += `*4\r\n$7\r\nZINCRBY\r\n$${minute.length}\r\n${minute}\r\n$1\r\n1\r\n$${Buffer.byteLength(post_id)}\r\n${post_id}\r\n`;
      }
      return new Promise((done) => {
        waiting.push({ left: 2 * plays.length, done });
        socket.write(commands);
      });
    },
    close: () => socket.destroy(),
  };
}
