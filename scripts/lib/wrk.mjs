/** Load over HTTP with `wrk`, which is installed where it is missing. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { ROOT } from "./paths.mjs";
import { findOnPath, run } from "./run.mjs";
import { step } from "./steps.mjs";
import { Advice } from "./say.mjs";

/** Where the scripts are run, so that each finds what they share. */
const FOLDER = join(ROOT, "benches", "floor");
const BEACONS = "beacons.lua";
const READS = "reads.lua";
const PACED = "paced.lua";

/** `wrk`, from Debian where that is possible. */
export async function ensureWrk() {
  if (findOnPath("wrk")) return;
  if (process.getuid?.() === 0 && findOnPath("apt-get")) {
    await step({ what: "wrk, which makes the load", seconds: 15 }, async () => {
      const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
      const install = () => run("apt-get", ["install", "-y", "-qq", "wrk"], { env });
      if ((await install()) !== 0) {
        await run("apt-get", ["update", "-qq"], { env });
        await install();
      }
    });
  }
  if (!findOnPath("wrk")) {
    throw new Advice("The load generator wrk is not installed.", "Debian and Ubuntu: apt-get install wrk", "macOS: brew install wrk");
  }
}

let run_number = 0;

/**
 * @typedef {object} Load
 * @property {number} perSecond answers that were no error
 * @property {number} requests
 * @property {number} refused
 * @property {number} broken
 * @property {number} p50Ms
 * @property {number} p99Ms
 */

/**
 * Beacons for some seconds, each a batch of its own.
 * @param {string} url
 * @param {{plays: number, seconds: number, connections: number, token?: string, board?: string}} load
 * @returns {Promise<Load>}
 */
export async function sendBeacons(url, { plays, seconds, connections, token = "", board = "" }) {
  const name = (Date.now() * 100 + (run_number++ % 100)).toString(36).slice(-8);
  return wrk(url, { seconds, connections, script: BEACONS, args: [name, String(plays), token, board] });
}

/**
 * Reads for some seconds.
 * @param {string} url
 * @param {{seconds: number, connections: number, paths?: string[]}} load
 * @returns {Promise<Load>}
 */
export async function read(url, { seconds, connections, paths = [] }) {
  return wrk(url, { seconds, connections, script: READS, args: paths });
}

/** Minutes of 400 days. */
const MANY = 576_000;
let paced_number = 0;

/**
 * Reads at a rate for some seconds, whatever they are answered.
 * @param {string} url
 * @param {{path: string, perSecond: number, seconds: number, connections: number, least?: number, many?: number}} load
 *   `%d` in the path is one of `many` numbers from `least` on, each in its turn; else another number
 *   of minutes below 400 days in each request
 * @returns {Promise<Load>}
 */
export async function readAtRate(url, { path, perSecond, seconds, connections, least = 1, many = MANY }) {
  const args = [perSecond, path, paced_number, least, many].map(String);
  paced_number += perSecond * seconds;
  return wrk(url, { seconds, connections, script: PACED, args });
}

async function wrk(url, { seconds, connections, script, args: more }) {
  const args = ["-t1", `-c${connections}`, `-d${seconds}s`, "--timeout", "15s", "-s", script, url, "--", ...more];
  const child = spawn("wrk", args, { cwd: FOLDER, stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  child.stdout.on("data", (data) => (text += data));
  child.stderr.on("data", (data) => (text += data));
  const code = await new Promise((done, fail) => {
    child.on("error", fail);
    child.on("close", done);
  });
  const line = /^\{"requests".*$/m.exec(text)?.[0];
  if (code !== 0 || !line) throw new Advice(`wrk failed (exit code ${code}): ${text.trim()}`);
  const { requests, microseconds, refused, broken, p50, p99 } = JSON.parse(line);
  const perSecond = ((requests - refused) * 1e6) / microseconds;
  return { perSecond, requests, refused, broken, p50Ms: p50 / 1000, p99Ms: p99 / 1000 };
}
