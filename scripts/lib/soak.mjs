/**
 * Load that never pauses, on a server that is killed again and again: every play is a real departure
 * of the demo, known by what it is, so that at the end the charts can be held against a plain count.
 * A batch whose answer the kill swallowed is sent again under its name. Beside it others reset their
 * connections at random moments of all routes, or never come to the end of what they send.
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { toNdjson } from "./client.mjs";
import { readDemo } from "./demo.mjs";
import { Metrics } from "./metrics.mjs";
import { ROOT } from "./paths.mjs";
import { randomNumbers } from "./random.mjs";
import { isOfResets, resetMany, sendSlowly } from "./resets.mjs";

const TOKENS = { ingest: "ingest-token-of-the-soak", admin: "admin-token-of-the-soak" };
const BATCH = 1_000;
/** The three airports of the demo, and what readers look at meanwhile. */
const READ_EVERY_MS = 250;
const SAMPLE_EVERY_MS = 5_000;
const SETTLE_MS = 60_000;
/** What a server answers to batches that are right: other statuses are errors. */
const DOCUMENTED = new Set([202, 503]);
const READ_DOCUMENTED = new Set([200, 503]);
/** 50 a second. */
const RESETS_AT_ONCE = 100;
const RESETS_EVERY_MS = 2_000;
const SLOW_BODIES = 20;
/** Late samples may be larger than early ones by so much. */
const MAX_GROWTH = 1.2;

export class Soak {
  #demo = readDemo();
  #plays = { sent: 0, repeated: 0, requests: 0, unanswered: 0 };
  #statuses = new Map();
  #counts = new Map();
  #samples = [];
  #kills = 0;
  #next = 0;
  #resets = 0;
  #slow = { refused: 0, broken: 0 };
  #running = true;
  /** @type {import("node:child_process").ChildProcessByStdio<null, import("node:stream").Readable, import("node:stream").Readable> | null} */
  #child = null;
  startedMs = 0;
  seconds = 0;
  #url = "";
  #failures = [];
  #log = "";

  constructor(folder, senders) {
    this.folder = folder;
    this.senders = senders;
  }

  /** @param {{minutes: number, everyS: number, onMinute: (line: string) => void}} how */
  async run({ minutes, everyS, onMinute }) {
    await this.#launch();
    this.startedMs = Date.now();
    const endMs = this.startedMs + minutes * 60_000;
    const work = [
      ...Array.from({ length: this.senders }, () => this.#send()),
      ...Array.from({ length: SLOW_BODIES }, () => this.#sendSlowly()),
      this.#reset(),
      this.#read(),
      this.#sample(),
    ];
    for (let kill = 1; ; kill++) {
      const left = endMs - Date.now();
      if (left <= 0) break;
      await sleep(Math.min(left, 1_000 * everyS));
      if (Date.now() >= endMs) break;
      await this.#kill();
      await this.#launch();
      this.#kills = kill;
      const last = this.#samples.at(-1);
      onMinute(
        `  ${Math.round((Date.now() - this.startedMs) / 60_000)} min: ${this.#plays.sent.toLocaleString("en")} plays, ${kill} kills, ${mib(last?.process)} MiB`,
      );
    }
    this.#running = false;
    await Promise.all(work);
    this.seconds = (Date.now() - this.startedMs) / 1_000;
    onMinute("  the last plays go through");
    await this.#compare();
  }

  async stop() {
    this.#running = false;
    if (this.#child) await this.#kill();
  }

  report() {
    const { sent, repeated, requests, unanswered } = this.#plays;
    // After each start memory grows to what the load needs: compare what runs have reached.
    const peaks = this.#peaks();
    const third = Math.max(1, Math.floor(peaks.length / 3));
    const most = (list) => Math.max(...list.map(({ process }) => process));
    const [early, late] = [most(peaks.slice(0, third)), most(peaks.slice(-third))];
    const wasm = (list) => Math.max(...list.map(({ wasm }) => wasm));
    if (this.#slow.refused === 0) this.#failures.push("no slow body was refused");
    if (late > MAX_GROWTH * early) this.#failures.push(`memory grew: ${mib(early)} MiB early, ${mib(late)} MiB late`);
    const statuses = [...this.#statuses].sort().map(([status, count]) => `${count.toLocaleString("en")} × ${status}`);
    return {
      failures: this.#failures,
      lines: [
        `plays sent and found in the charts   ${sent.toLocaleString("en")} in ${Math.round(this.seconds)} s: ${Math.round(sent / this.seconds).toLocaleString("en")}/s, ${BATCH} a batch`,
        `kills (SIGKILL of all processes)     ${this.#kills}; batches without an answer ${unanswered}, of which ${repeated} had been counted`,
        `answers                              ${statuses.join(", ")}`,
        `requests                             ${requests.toLocaleString("en")}`,
        `connections that were reset          ${this.#resets.toLocaleString("en")}, of all routes`,
        `bodies that never ended              ${this.#slow.refused} refused in time, ${this.#slow.broken} broken off by a kill`,
        `memory of the process, highest       ${mib(early)} MiB in the first third, ${mib(late)} MiB in the last`,
        `memory of Wasm, highest              ${mib(wasm(peaks.slice(0, third)))} MiB in the first third, ${mib(wasm(peaks.slice(-third)))} MiB in the last`,
        `errors that are not documented       ${this.#failures.length === 0 ? "none" : this.#failures.length}`,
      ],
    };
  }

  /** The highest sample of each run between two kills. */
  #peaks() {
    const runs = new Map();
    for (const sample of this.#samples) {
      const best = runs.get(sample.run);
      runs.set(sample.run, { process: Math.max(sample.process, best?.process ?? 0), wasm: Math.max(sample.wasm, best?.wasm ?? 0) });
    }
    return [...runs.values()];
  }

  async #send() {
    while (this.#running) {
      const number = this.#next++;
      const plays = this.#batch(number);
      for (let attempt = 0; ; attempt++) {
        const answer = await this.#post(`soak-${number}`, plays);
        if (answer === null) {
          if (attempt === 0) this.#plays.unanswered++;
          await sleep(100);
          continue;
        }
        if (answer.status === 503) {
          await sleep(200);
          continue;
        }
        if (answer.status === 202 && answer.body.accepted === BATCH) {
          this.#plays.sent += BATCH;
          if (answer.body.repeated) this.#plays.repeated++;
          if (answer.body.repeated && attempt === 0) this.#fail(`batch ${number} was new, and said to be repeated`);
          this.#count(plays);
        } else {
          this.#fail(`batch ${number}: ${answer.status} ${JSON.stringify(answer.body).slice(0, 200)}`);
        }
        break;
      }
    }
  }

  /** Departures in their order, again and again; each happens now. */
  #batch(number) {
    const { flights } = this.#demo;
    const region = number % this.#demo.regions.length;
    const { id } = this.#demo.regions[region];
    return Array.from({ length: BATCH }, (_, index) => ({
      post_id: flights[(number * BATCH + index) % flights.length].dest,
      region_id: id,
    }));
  }

  #count(plays) {
    for (const { post_id, region_id } of plays) {
      for (const scope of [region_id, "global"]) {
        const key = `${scope} ${post_id}`;
        this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
      }
    }
  }

  async #post(key, plays) {
    this.#plays.requests++;
    try {
      const answer = await fetch(`${this.#url}/plays`, {
        method: "POST",
        headers: { authorization: `Bearer ${TOKENS.ingest}`, "content-type": "application/x-ndjson", "idempotency-key": key },
        body: toNdjson(plays),
        signal: AbortSignal.timeout(30_000),
      });
      const body = await answer.json();
      this.#saw(answer.status, DOCUMENTED, "POST /plays");
      return { status: answer.status, body };
    } catch {
      return null;
    }
  }

  /** Charts, as readers look at them. */
  async #read() {
    for (let number = 0; this.#running; number++) {
      const scopes = ["global", ...this.#demo.regions.map(({ id }) => id)];
      const question = new URLSearchParams({
        region: scopes[number % scopes.length],
        timeframe: ["1h", "24h", "all"][number % 3],
        k: "100",
      });
      try {
        const answer = await fetch(`${this.#url}/top-posts?${question}`, { signal: AbortSignal.timeout(30_000) });
        await answer.arrayBuffer();
        this.#saw(answer.status, READ_DOCUMENTED, "GET /top-posts");
      } catch {
        // Nobody is there for a moment: a kill.
      }
      await sleep(READ_EVERY_MS);
    }
  }

  async #reset() {
    const random = randomNumbers(1);
    while (this.#running) {
      await resetMany(this.#url, { resets: RESETS_AT_ONCE, random, tokens: TOKENS });
      this.#resets += RESETS_AT_ONCE;
      await sleep(RESETS_EVERY_MS);
    }
  }

  async #sendSlowly() {
    while (this.#running) {
      const status = await sendSlowly(this.#url);
      if (status === null) this.#slow.broken++;
      else if (status === 408) this.#slow.refused++;
      else this.#fail(`a body that never ended: status ${status}`);
      if (status === null) await sleep(READ_EVERY_MS);
    }
  }

  async #sample() {
    while (this.#running) {
      await sleep(SAMPLE_EVERY_MS);
      try {
        const run = this.#kills;
        const answer = await fetch(`${this.#url}/metrics`, { signal: AbortSignal.timeout(10_000) });
        const metrics = new Metrics(await answer.text());
        const process = this.#residentBytes();
        if (process > 0) this.#samples.push({ run, process, wasm: metrics.total("hitparade_wasm_memory_bytes") });
        for (const name of ["hitparade_global_gaps_total", "hitparade_damaged_rows", "hitparade_global_damaged_rows"]) {
          if (metrics.total(name) > 0) this.#fail(`${name} is ${metrics.total(name)}`);
        }
      } catch {
        // As above.
      }
    }
  }

  /** Of the server's processes; the largest is workerd. */
  #residentBytes() {
    const pid = this.#child?.pid;
    try {
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
      const sizes = children.map((pid) => Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0));
      return 1_024 * Math.max(...sizes);
    } catch {
      return 0;
    }
  }

  /** Every post of every scope, once all that was sent has come through. */
  async #compare() {
    const totals = new Map();
    for (const [key, count] of this.#counts) {
      const [scope, post] = key.split(" ");
      const posts = totals.get(scope) ?? new Map();
      totals.set(scope, posts.set(post, count));
    }
    for (const [scope, posts] of totals) {
      const want = [...posts.values()].reduce((sum, count) => sum + count, 0);
      /** @type {{total_views: number, top_posts: {post_id: string, view_count: number}[]} | undefined} */
      let chart;
      for (const deadline = Date.now() + SETTLE_MS; Date.now() < deadline; await sleep(500)) {
        const answer = await fetch(`${this.#url}/top-posts?region=${scope}&timeframe=all&k=1000`).catch(() => null);
        chart = answer?.ok ? withoutResets(await answer.json()) : chart;
        if (chart?.total_views === want) break;
      }
      if (chart?.total_views !== want) this.#fail(`${scope}: ${chart?.total_views} plays in the chart, ${want} were sent`);
      if (!chart) continue;
      const wrong = chart.top_posts.filter(({ post_id, view_count }) => posts.get(post_id) !== view_count);
      if (wrong.length > 0 || chart.top_posts.length !== posts.size) {
        this.#fail(`${scope}: ${wrong.length} posts are wrong, ${chart.top_posts.length} of ${posts.size} listed`);
      }
    }
  }

  #saw(status, documented, what) {
    this.#statuses.set(status, (this.#statuses.get(status) ?? 0) + 1);
    if (!documented.has(status)) this.#fail(`${what}: status ${status}`);
  }

  #fail(why) {
    if (this.#failures.length < 20) this.#failures.push(why);
  }

  async #launch() {
    const regions = JSON.stringify(this.#demo.regions);
    const port = this.#url ? new URL(this.#url).port : "0";
    const child = spawn(process.execPath, [join(ROOT, "scripts", "serve.mjs"), "--port", port, "--state", this.folder], {
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...process.env,
        END_WITH_PARENT: "1",
        INGEST_TOKEN: TOKENS.ingest,
        ADMIN_TOKEN: TOKENS.admin,
        // Who resets connections puts posts into the catalog.
        REQUIRE_KNOWN_POSTS: "false",
        READ_TOKEN: "",
        METRICS_TOKEN: "",
        LIMIT_PER_MINUTE: "0",
        VOTES_PER_MINUTE: "0",
        REGIONS: regions,
      },
    });
    this.#child = child;
    child.stderr.on("data", (data) => (this.#log = (this.#log + data).slice(-10_000)));
    this.#url = await new Promise((done, fail) => {
      let text = "";
      child.stdout.on("data", (data) => {
        const [, url] = /^ready (\S+)$/m.exec((text += data)) ?? [];
        if (url) done(url);
      });
      child.on("exit", (code) => fail(new Error(`the server ended with ${code}:\n${this.#log}`)));
    });
  }

  async #kill() {
    const child = this.#child;
    this.#child = null;
    if (!child?.pid) return;
    const ended = new Promise((done) => child.once("exit", done));
    if (child.exitCode === null && child.signalCode === null) {
      process.kill(-child.pid, "SIGKILL");
      await ended;
    }
  }
}

/** Plays of connections that were reset may count: nobody was told. Their posts are as few as the others. */
function withoutResets({ total_views, top_posts }) {
  const ours = top_posts.filter(({ post_id }) => !isOfResets(post_id));
  const theirs = top_posts.filter(({ post_id }) => isOfResets(post_id)).reduce((sum, { view_count }) => sum + view_count, 0);
  return { total_views: total_views - theirs, top_posts: ours };
}

const mib = (bytes = 0) => (bytes / 2 ** 20).toFixed(1);
