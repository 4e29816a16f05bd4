/**
 * The way of a play and of a chart, gone once while the Worker starts, before anybody asks it for anything: what is
 * played all over the world is counted, its minutes are sealed, pushed and folded, and objects that have just come into
 * memory make a chart of it. Nothing of it stays: what it was gone in ends, and the next instance is made at once.
 *
 * The engine compiles a function when it is called for the first time, and that is the time of whoever calls: of
 * the first chart of a fresh global object it was nine tenths. What is called here is compiled while the Worker
 * starts, where a plan allows a second, and a request of a free one 10 ms.
 *
 * The platform's part is played by what stands here: while a Worker starts it takes and gives nothing, has no clock,
 * no timers and no random numbers.
 */
import { GlobalBoard, RegionShard, SharedRegistry } from "bindgen/index.js";
import { again, forgetCharts } from "./door.js";
import { HalfInWasm } from "./half.js";
import { current, end } from "./instance.js";

/** @import { Env } from "./contract.d.ts" */

const MINUTE_MS = 60_000;
const BEGINS_MS = 20_000 * 24 * 60 * MINUTE_MS;
const CONTINENTS = ["AF", "AS", "EU", "NA", "OC", "SA"];
/** What a sender with a token brings: enough for what sorts, and for what packs many numbers. */
const REHEARSED_POSTS = 600;
/** What a visitor brings: so little that a shard is a quiet one. */
const VISITOR_POSTS = 24;
const TOKEN = "of-the-rehearsal";
/** By then a minute is sealed (`QUIET_SEALING_MS` of src/wire/mod.rs). */
const SEALED_AFTER_MS = 17 * MINUTE_MS;
/** By then what there is was pushed, and what was pushed before is not fresh any more (`PUSH_INTERVAL_MS` there). */
const PUSHED_BY_MS = 10_000;
/** Who waits for nothing but a timer does nothing for so many turns of the engine. */
const IDLE_TURNS = 1_000;
/** What never ends must not keep the Worker from its start. */
const MAX_TURNS = 100_000;

/** An object's database, for the statements of src/storage/sql.rs. */
class Database {
  /** @type {Map<string, Map<string, Uint8Array>>} by table and key */
  #tables = new Map();
  databaseSize = 0;

  /** @param {string} query @param {...any} bindings */
  exec(query, ...bindings) {
    const rows = this.#rows(query, bindings);
    return { rowsWritten: 0, raw: () => rows.values() };
  }

  /** @param {string} query @param {any[]} bindings @returns {unknown[][]} */
  #rows(query, [first, second, value]) {
    if (query.startsWith("CREATE")) return [];
    if (query.includes("sqlite_master")) return this.#tables.size > 0 ? [[1]] : [];
    const [, table = ""] = /(?:FROM|INTO) (\w+)/.exec(query) ?? [];
    const rows = this.#tables.get(table) ?? new Map();
    this.#tables.set(table, rows);
    if (query.startsWith("INSERT")) rows.set(text(first), value.slice());
    if (query.startsWith("DELETE") && second === 0) rows.delete(text(first));
    if (!query.startsWith("SELECT")) return [];
    const asked = query.includes("json_each") ? JSON.parse(first) : query.includes("key = ?") ? [text(first)] : undefined;
    const isAsked = (/** @type {string} */ key) =>
      asked?.includes(key) ?? (key >= text(first) && (second === undefined || key < text(second)));
    const keys = [...rows.keys()].filter(isAsked).sort();
    const columns = query.slice("SELECT ".length, query.indexOf(" FROM")).split(", ");
    const found = keys.map((key) => columns.map((name) => (name === "key" ? bytes(key) : rows.get(key)).slice().buffer));
    return query.endsWith("LIMIT 1") ? found.slice(0, 1) : found;
  }
}

const text = (/** @type {Uint8Array} */ bytes) => String.fromCharCode(...bytes);
const bytes = (/** @type {string} */ text) => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** Of the platform's, what is used of an answer. */
class StageResponse {
  /** @param {Uint8Array | undefined} body @param {{status?: number, headers?: HeadersInit}} [how] */
  constructor(body, { status = 200, headers } = {}) {
    this.body = body;
    this.status = status;
    this.headers = new Headers(headers);
  }

  async arrayBuffer() {
    return this.body?.slice().buffer;
  }
}

/** An object: what it has stored, and while it is in memory its half there. */
class StageObject {
  /** @type {HalfInWasm | undefined} */
  #half;
  has_alarm = false;

  /** @param {string} name @param {Env} env @param {new (ctx: DurableObjectState, env: Env) => object} Half */
  constructor(name, env, Half) {
    const set = (/** @type {boolean} */ is_set) => async () => void (this.has_alarm = is_set);
    const storage = {
      sql: new Database(),
      transactionSync: (/** @type {() => void} */ change) => change(),
      sync: async () => {},
      getAlarm: async () => null,
      setAlarm: set(true),
      deleteAlarm: set(false),
    };
    const context = { id: { name }, storage, waitUntil: () => {}, getWebSockets: () => [], setWebSocketAutoResponse: () => {} };
    this.wake = () => new HalfInWasm({ ctx: /** @type {any} */ (context), env }, Half);
  }

  get half() {
    return (this.#half ??= this.wake());
  }

  sleep() {
    this.#half = undefined;
  }

  /** @param {string} url @param {{body: Uint8Array}} message */
  fetch(url, { body }) {
    return this.half.answer(/** @type {any} */ ({ url, arrayBuffer: async () => body.slice().buffer }));
  }

  /** @param {Uint8Array[]} batches @param {(Uint8Array | undefined)[]} voters */
  record(batches, voters) {
    return this.half.record(batches, voters);
  }

  async alarm() {
    if (!this.has_alarm) return;
    this.has_alarm = false;
    await this.half.call("alarm");
  }
}

/** Goes the way; whatever fails is compiled when somebody asks. @param {(request: Request, env: Env, context: any) => Promise<Response>} serve */
export async function rehearsed(serve) {
  const how = await onStage((clock) => played(serve, clock));
  if (how === "served") return;
  console.error(JSON.stringify({ level: "error", source: "worker", message: "the rehearsal did not come to its end", how }));
}

/**
 * @param {(request: Request, env: Env, context: any) => Promise<Response>} serve @param {{now_ms: number}} clock
 * @returns {Promise<string>} how it ended
 */
async function played(serve, clock) {
  /** @type {Map<string, StageObject>} */
  const objects = new Map();
  const namespace = (/** @type {new (ctx: DurableObjectState, env: Env) => object} */ Half) => ({
    getByName(/** @type {string} */ name) {
      const object = objects.get(name) ?? new StageObject(name, env, Half);
      objects.set(name, object);
      return object;
    },
  });
  /** @type {any} It has no other settings. */
  const env = {
    INGEST_TOKEN: TOKEN,
    SHARD: namespace(RegionShard),
    GLOBAL: namespace(GlobalBoard),
    REGISTRY: namespace(SharedRegistry),
    waitUntil: () => {},
  };
  const context = { waitUntil: () => {}, passThroughOnException: () => {} };
  const requested = async (/** @type {string} */ method, /** @type {string} */ path, /** @type {any} */ more) => {
    const request = { method, url: `https://rehearsal.invalid${path}`, ...more };
    return (await (again(request, env) ?? serve(request, env, context))).status;
  };
  const play = async (/** @type {number} */ posts, /** @type {string} */ continent, /** @type {string} */ token) => {
    const plays = Array.from({ length: posts }, (_, index) => ({
      post_id: `post-${index + 1}`,
      timestamp: clock.now_ms - (index % 2) * MINUTE_MS,
      // In no order.
      ...(token && { count: 1 + ((index * 37) % 101) }),
    }));
    const body = new TextEncoder().encode(JSON.stringify({ plays }));
    const headers = new Headers({ "content-type": "application/json", "content-length": `${body.length}` });
    if (token) headers.set("authorization", `Bearer ${token}`);
    let read = 0;
    const readAtLeast = async (/** @type {number} */ length, /** @type {Uint8Array} */ view) => {
      view.set(body.subarray(read, (read += length)));
      return { value: view, done: false };
    };
    const cf = { clientIp: "192.0.2.1", continent };
    const status = await requested("POST", "/plays", { headers, cf, body: { getReader: () => ({ readAtLeast }) } });
    if (status !== 202) throw new Error(`plays: ${status}`);
  };
  const wakeAfter = (/** @type {number} */ ms) => {
    clock.now_ms += ms;
    return Promise.all([...objects.values()].map((object) => object.alarm()));
  };
  await play(REHEARSED_POSTS, "EU", TOKEN);
  for (let time = 0; time < 2; time++) {
    for (const continent of CONTINENTS) await play(VISITOR_POSTS, continent, "");
    await wakeAfter(PUSHED_BY_MS);
    if (time === 0) await wakeAfter(SEALED_AFTER_MS);
  }
  clock.now_ms += PUSHED_BY_MS;
  for (const object of objects.values()) object.sleep();
  const asked = () =>
    requested("GET", "/top-posts?region=global&timeframe=24h&k=10", { headers: new Headers(), cf: { clientIp: "192.0.2.1" } });
  const [status, repeated] = [await asked(), await asked()];
  return status === 200 && repeated === 200 ? "served" : `${status}, ${repeated}`;
}

/**
 * @param {(clock: {now_ms: number}) => Promise<string>} work
 * @returns {Promise<string>} how it ended
 */
async function onStage(work) {
  const { Response, setTimeout, clearTimeout } = globalThis;
  const { now } = Date;
  const { log } = console;
  const clock = { now_ms: BEGINS_MS };
  /** By their numbers, in the order in which they were set. @type {Map<number, {due_ms: number, fire: () => void}>} */
  const timers = new Map();
  let timers_set = 0;
  Object.assign(globalThis, {
    Response: StageResponse,
    setTimeout: (/** @type {() => void} */ fire, /** @type {number} */ in_ms) => {
      timers.set(++timers_set, { due_ms: clock.now_ms + in_ms, fire });
      return timers_set;
    },
    clearTimeout: (/** @type {number} */ number) => timers.delete(number),
  });
  crypto.getRandomValues = (array) => array;
  Date.now = () => clock.now_ms;
  // Of a request that nobody made there is no line.
  console.log = () => {};
  let how = "";
  const ended = (/** @type {unknown} */ value) => void (how = String(value));
  try {
    work(clock).then(ended, ended);
    for (let turn = 1; turn < MAX_TURNS; turn++) {
      await undefined;
      if (turn % IDLE_TURNS > 0) continue;
      // What goes on behind the last answer has come to rest.
      if (how !== "") break;
      const [first] = [...timers].sort(([, one], [, other]) => one.due_ms - other.due_ms);
      if (first === undefined) continue;
      const [number, { due_ms, fire }] = first;
      timers.delete(number);
      clock.now_ms = Math.max(clock.now_ms, due_ms);
      fire();
    }
  } catch (error) {
    // A timer of an instance that has ended meanwhile.
    ended(error);
  } finally {
    Object.assign(globalThis, { Response, setTimeout, clearTimeout });
    Reflect.deleteProperty(crypto, "getRandomValues");
    Date.now = now;
    console.log = log;
    forgetCharts();
    end();
    current();
  }
  return how;
}
