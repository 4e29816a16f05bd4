/** Senders that go away at every moment of every route, and what of them stays. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { randomNumbers } from "./random.mjs";
import { resetMany } from "./resets.mjs";
import { startServer } from "./server.mjs";

const TOKENS = { ingest: "ingest-token-of-the-soak", admin: "admin-token-of-the-soak" };
/** One that is never taken away holds 5 kB. Charts and panes of the minutes that pass are a few. */
const MAX_HELD_A_RESET = 30;

/**
 * @param {{resets: number, seed: number, onProgress: (line: string) => void}} how
 * @returns {Promise<{lines: string[], failures: string[]}>}
 */
export async function soakResets({ resets, seed, onProgress }) {
  const folder = mkdtempSync(join(tmpdir(), "hitparade-soak-"));
  const environment = {
    ...process.env,
    INGEST_TOKEN: TOKENS.ingest,
    ADMIN_TOKEN: TOKENS.admin,
    READ_TOKEN: "",
    LIMIT_PER_MINUTE: "0",
    VOTES_PER_MINUTE: "0",
  };
  const server = await startServer({ port: 0, state: folder, environment });
  try {
    const random = randomNumbers(seed);
    const how = { random, tokens: TOKENS, onProgress: (done) => onProgress(`  ${done.toLocaleString("en")} resets`) };
    // What is known of charts and posts that were asked for stays, as it should: all of it by then.
    await resetMany(server.url, { resets: resets / 10, ...how });
    const before = await heldWhenQuiet(server);
    const neighbour = new Neighbour(server.url);
    await resetMany(server.url, { resets, ...how });
    const { answers, slowest_ms } = await neighbour.end();
    const after = await heldWhenQuiet(server);
    const failures = [];
    const grown = after.wasm - before.wasm;
    if (grown > MAX_HELD_A_RESET * resets) failures.push(`${grown} bytes are held after ${resets} resets`);
    if (answers.size !== 1 || !answers.has(202)) failures.push("plays of a neighbour were refused");
    return {
      failures,
      lines: [
        `resets                          ${resets.toLocaleString("en")}`,
        `held in Wasm, before and after  ${before.wasm.toLocaleString("en")} and ${after.wasm.toLocaleString("en")} bytes`,
        `memory of the process           ${mib(before.process)} and ${mib(after.process)} MiB`,
        `a neighbour's plays             ${[...answers].map(([status, count]) => `${count} × ${status}`).join(", ")}; slowest ${slowest_ms} ms`,
      ],
    };
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Held when two looks find the same. */
async function heldWhenQuiet({ url, pid }) {
  for (let last = Infinity; ;) {
    const text = await (await fetch(`${url}/metrics`)).text();
    const wasm = Math.max(...[...text.matchAll(/^hitparade_allocated_bytes\{.*\} (\d+)$/gm)].map(([, bytes]) => Number(bytes)));
    if (Math.abs(wasm - last) < 20_000) return { wasm, process: residentBytes(pid) };
    last = wasm;
    await sleep(1_000);
  }
}

/** Sends a play at a time, from an address of its own. */
class Neighbour {
  #answers = new Map();
  #slowest_ms = 0;
  #running = true;
  #ended;

  constructor(url) {
    this.#ended = this.#send(url);
  }

  async end() {
    this.#running = false;
    await this.#ended;
    return { answers: this.#answers, slowest_ms: Math.round(this.#slowest_ms) };
  }

  async #send(url) {
    while (this.#running) {
      const started_ms = performance.now();
      const answer = await fetch(`${url}/plays`, { method: "POST", body: '{"post_id":"neighbour"}' }).catch(() => null);
      await answer?.arrayBuffer();
      this.#slowest_ms = Math.max(this.#slowest_ms, performance.now() - started_ms);
      const status = answer?.status ?? "broken";
      this.#answers.set(status, (this.#answers.get(status) ?? 0) + 1);
      await sleep(20);
    }
  }
}

const mib = (bytes) => (bytes / 2 ** 20).toFixed(1);

function residentBytes(pid) {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
}
