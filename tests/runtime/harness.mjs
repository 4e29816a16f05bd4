/** The service as its users have it: the build on workerd, in processes of its own, over HTTP. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { sendPlays, toNdjson } from "../../scripts/lib/client.mjs";
import { ROOT } from "../../scripts/lib/paths.mjs";

export { randomNumbers } from "../../scripts/lib/random.mjs";

export const INGEST_TOKEN = "ingest-token-of-the-tests";
export const ADMIN_TOKEN = "admin-token-of-the-tests";

/** From 202 to chart: the contract's 10 s, and some for a machine that does other things too. */
export const CHART_TIMEOUT_MS = 20_000;
const START_TIMEOUT_MS = 60_000;
/** How long a reader waits for a turn at most. */
const TURN_TIMEOUT_MS = 60_000;

/** A server with a folder of its own. */
export class Service {
  /** @type {import("node:child_process").ChildProcess | null} */
  #process = null;
  #exited = Promise.resolve();
  #log = "";
  #port = 0;

  /** @param {string} state @param {Record<string, string>} environment */
  constructor(state, environment) {
    this.state = state;
    this.environment = environment;
  }

  /**
   * @param {Record<string, string>} [environment] over the defaults; an empty token is none
   * @returns {Promise<Service>} when it answers
   */
  static async start(environment = {}) {
    const state = await mkdtemp(join(tmpdir(), "hitparade-test-"));
    const service = new Service(state, {
      INGEST_TOKEN,
      ADMIN_TOKEN,
      READ_TOKEN: "",
      METRICS_TOKEN: "",
      ALLOWED_ORIGINS: "",
      REQUIRE_KNOWN_POSTS: "false",
      LIMIT_PER_MINUTE: "0",
      VOTES_PER_MINUTE: "0",
      ...environment,
    });
    await service.launch();
    return service;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** What the server has said so far. */
  get log() {
    return this.#log;
  }

  /** Starts it, on the port that it had and on what it stored. */
  async launch() {
    const serve = join(ROOT, "scripts", "serve.mjs");
    // A group of its own: killed as a whole, as by a power cut.
    const child = spawn(process.execPath, [serve, "--port", String(this.#port), "--state", this.state], {
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, END_WITH_PARENT: "1", ...this.environment },
    });
    this.#process = child;
    this.#exited = new Promise((done) => child.once("exit", (code, signal) => done({ code, signal })));
    child.stderr.on("data", (data) => (this.#log += data));
    const ready = new Promise((done) => {
      let text = "";
      child.stdout.on("data", (data) => {
        text += data;
        const line = /^ready http:\/\/127\.0\.0\.1:(\d+)$/m.exec(text);
        if (line) done(Number(line[1]));
      });
    });
    const failed = this.#exited.then(({ code }) => {
      throw new Error(`the server ended with ${code} before it was ready:\n${this.#log}`);
    });
    const timer = AbortSignal.timeout(START_TIMEOUT_MS);
    const late = new Promise((_, fail) => {
      timer.addEventListener("abort", () => fail(new Error(`the server was not ready in time:\n${this.#log}`)));
    });
    failed.catch(() => {});
    late.catch(() => {});
    this.#port = await Promise.race([ready, failed, late]);
  }

  /** Ends all its processes at once, wherever they are. */
  async kill() {
    process.kill(-this.#process.pid, "SIGKILL");
    await this.#exited;
  }

  /** Asks it to end. @returns {Promise<{code: number | null, signal: string | null}>} */
  async terminate() {
    this.#process.kill("SIGTERM");
    return this.#exited;
  }

  /** Ends it and removes what it stored. */
  async dispose() {
    if (this.#process.exitCode === null && this.#process.signalCode === null) await this.terminate();
    await rm(this.state, { recursive: true, force: true });
  }

  /** @param {string} path @param {RequestInit} [init] */
  fetch(path, init = {}) {
    return fetch(this.url + path, { signal: AbortSignal.timeout(60_000), redirect: "manual", ...init });
  }

  /**
   * The JSON of a 200 answer. Reading has its turns, and they are rare where the machine is busy:
   * who is told to come back does so, as any client.
   * @param {string} path @param {RequestInit} [init]
   */
  async get(path, init) {
    for (const deadline = Date.now() + TURN_TIMEOUT_MS; ;) {
      const answer = await this.fetch(path, init);
      const text = await answer.text();
      if (answer.status === 503 && JSON.parse(text).code === "overloaded" && Date.now() < deadline) {
        await sleep(Number(answer.headers.get("retry-after")) * 1_000);
        continue;
      }
      assert.equal(answer.status, 200, `GET ${path}: ${answer.status} ${text}`);
      return JSON.parse(text);
    }
  }

  /** @param {Record<string, string | number>} question @returns {Promise<any>} */
  topPosts(question) {
    return this.get(`/top-posts?${new URLSearchParams(question)}`);
  }

  /** @param {string} id @param {Record<string, string | number>} [question] */
  post(id, question = {}) {
    return this.get(`/posts/${encodeURIComponent(id)}?${new URLSearchParams(question)}`);
  }

  /** A trusted batch, sent until it is counted. @param {import("../../scripts/lib/client.mjs").Play[]} plays */
  send(plays, key = randomKey(), options = {}) {
    return sendPlays(this.url, { plays, key, token: INGEST_TOKEN, ...options });
  }

  /** One request with a JSON body, as `text/plain` unless told otherwise. */
  request(method, path, body, headers = {}) {
    return this.fetch(path, { method, headers, body: typeof body === "string" ? body : JSON.stringify(body) });
  }

  /** @param {string} path @param {unknown} body */
  put(path, body, headers = {}) {
    const lines = Array.isArray(body);
    return this.request("PUT", path, lines ? toNdjson(body) : body, {
      authorization: `Bearer ${ADMIN_TOKEN}`,
      "content-type": lines ? "application/x-ndjson" : "application/json",
      ...headers,
    });
  }

  /** Creates regions. @param {...string} ids */
  async addRegions(...ids) {
    for (const id of ids) {
      const answer = await this.put(`/regions/${encodeURIComponent(id)}`, { region_name: id });
      assert.equal(answer.status, 200, await answer.text());
    }
  }

  /** Creates boards. @param {...string} ids */
  async addBoards(...ids) {
    for (const id of ids) {
      const answer = await this.put(`/boards/${id}`, { board_name: id });
      assert.equal(answer.status, 200, await answer.text());
    }
  }

  /** The metrics by name with labels. @returns {Promise<Map<string, number>>} */
  async readMetrics() {
    const text = await (await this.fetch("/metrics")).text();
    const lines = text.split("\n").filter((line) => line && !line.startsWith("#"));
    return new Map(lines.map((line) => [line.replace(/ [^ ]+$/, ""), Number(line.split(" ").pop())]));
  }
}

/**
 * Every error looks like this.
 * @param {Response} answer @param {number} status
 * @returns {Promise<{code: string, detail: string, rejected?: {index: number, code: string}[]}>}
 */
export async function readProblem(answer, status) {
  const text = await answer.text();
  assert.equal(answer.status, status, text);
  assert.match(answer.headers.get("content-type"), /^application\/problem\+json/);
  const problem = JSON.parse(text);
  assert.deepEqual(Object.keys(problem).slice(0, 5), ["type", "title", "status", "detail", "code"]);
  for (const member of ["type", "title", "detail"]) assert.equal(typeof problem[member], "string", text);
  assert.equal(problem.status, status, text);
  assert.match(problem.code, /^[a-z][a-z0-9_]*$/, text);
  return problem;
}

export const randomKey = () => crypto.randomUUID();

/**
 * Waits until the work succeeds.
 * @template T
 * @param {() => Promise<T>} work throws while it is not yet so
 * @param {number} [timeoutMs]
 * @returns {Promise<T>}
 */
export async function eventually(work, timeoutMs = CHART_TIMEOUT_MS) {
  for (const deadline = Date.now() + timeoutMs; ; await sleep(200)) {
    try {
      return await work();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}

/** Says how far a long run is, at once where it is a command's; the test runner keeps diagnostics for the end. */
export function sayProgress(/** @type {import("node:test").TestContext} */ t, /** @type {string} */ text) {
  if (process.env.SAY_PROGRESS) console.log(text);
  else t.diagnostic(text);
}

/** No region has this name. */
const SOMEWHERE = "/";

/**
 * What the charts must say: an exact count of every play, by region.
 */
export class Model {
  /** @type {Map<string, Map<string, number>>} region to post to count */
  #regions = new Map();

  /** @param {import("../../scripts/lib/client.mjs").Play[]} plays @param {string} [region] of plays that name none */
  add(plays, region = "NA") {
    for (const { post_id, region_id = region, count = 1 } of plays) {
      const posts = this.#regions.get(region_id) ?? new Map();
      this.#regions.set(region_id, posts);
      posts.set(post_id, (posts.get(post_id) ?? 0) + count);
    }
  }

  /** Plays of which is known that they count, and not in which region. @param {import("../../scripts/lib/client.mjs").Play[]} plays */
  addSomewhere(plays) {
    this.add(plays.map((play) => ({ ...play, region_id: SOMEWHERE })));
  }

  /** @returns {[string, Map<string, number>][]} every region, and `global` */
  scopes() {
    const all = new Map();
    for (const posts of this.#regions.values()) {
      for (const [id, count] of posts) all.set(id, (all.get(id) ?? 0) + count);
    }
    const regions = [...this.#regions].filter(([region]) => region !== SOMEWHERE);
    return [...regions, ["global", all]];
  }

  /**
   * Every scope's chart holds exactly these counts, in order. For up to 1,000 posts a scope, few
   * enough that the service counts them exactly.
   * @param {Service} service
   * @param {string} [timeframe]
   * @param {string} [board]
   */
  async assertExactly(service, timeframe = "all", board = "main") {
    const somewhere = this.#regions.get(SOMEWHERE) ?? new Map();
    for (const [region, posts] of this.scopes()) {
      const expected = [...posts]
        .sort(([a, m], [b, n]) => n - m || Buffer.compare(Buffer.from(a), Buffer.from(b)))
        .map(([id, count]) => `${id} ${count} ${count} ${count}`);
      const total = [...posts.values()].reduce((sum, count) => sum + count, 0);
      await eventually(async () => {
        const chart = await service.topPosts({ board, region, timeframe, k: 1000 });
        const isKnown = ({ post_id }) => region === "global" || !somewhere.has(post_id);
        const known = chart.top_posts.filter(isKnown);
        const unknown = chart.top_posts.filter((post) => !isKnown(post));
        const listed = known.map((post) => `${post.post_id} ${post.view_count} ${post.view_count_min} ${post.view_count_max}`);
        const views = chart.total_views - unknown.reduce((sum, post) => sum + post.view_count, 0);
        assert.equal(views, total, `total_views of ${region} on ${board}`);
        assert.deepEqual(listed, expected, `chart of ${region} on ${board}`);
      });
    }
  }
}
