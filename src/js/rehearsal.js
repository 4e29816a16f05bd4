/**
 * The way of a chart through the Worker, gone once while it starts (src/rehearsal.rs): so it is compiled, on this side
 * too, when somebody asks. The platform's part is played by what stands here: while a Worker starts it takes and gives
 * nothing, has no clock, no timers and no random numbers. Settings are its own.
 */
import { env } from "cloudflare:workers";
import { GlobalBoard, endRehearsal, fetch as handle, rehearse } from "bindgen/index.js";
import { forgetCharts } from "./door.js";
import { note } from "./instance.js";

/** @import { Env } from "./contract.d.ts" */

/** As src/rehearsal.rs has it. */
const NOW_MS = 20_000 * 24 * 60 * 60_000;
const ASKS = "https://rehearsal.invalid/top-posts?region=global&timeframe=24h&k=10";
/** What never ends must not keep the Worker from its start. The way takes some hundred. */
const MAX_TURNS = 10_000;

/** An object's storage, whose every statement finds one row of blobs. */
const database = {
  sql: {
    databaseSize: 0,
    exec: () => ({ rowsWritten: 0, raw: () => [[new ArrayBuffer(1), new ArrayBuffer(1)]].values() }),
  },
  transactionSync: (/** @type {() => void} */ change) => change(),
};

/** Of the platform's, what is used of an answer on its way out. */
class StageResponse {
  /** @param {unknown} body @param {{status?: number, headers?: HeadersInit}} [how] */
  constructor(body, { status = 200, headers } = {}) {
    this.status = status;
    this.headers = new Headers(headers);
  }
}

/** Goes the way; whatever fails is compiled when somebody asks. */
export async function rehearsed() {
  try {
    const answers = rehearse({ storage: database });
    const status = answers && (await onStage(() => chart(answers)));
    if (status === 200) return;
    console.error(JSON.stringify({ level: "error", source: "worker", message: "the rehearsal did not come to its end", status }));
  } catch (error) {
    note(error);
  }
}

/** @param {Record<string, Uint8Array>} answers of the objects @returns {Promise<number>} the status of the Worker's */
async function chart(answers) {
  const object = {
    fetch: async (/** @type {string} */ address) => ({ status: 200, arrayBuffer: async () => answers[new URL(address).pathname] }),
  };
  const namespace = { getByName: () => object };
  // Not assigned: what is set where `env` is behind is set there, for everybody.
  const stage = Object.create(env, {
    SHARD: { value: namespace },
    GLOBAL: { value: namespace },
    REGISTRY: { value: namespace },
    RATE_LIMITER: { value: undefined },
  });
  const [token] = String(stage.READ_TOKEN ?? "").split(",");
  const headers = new Headers({ "cf-connecting-ip": "192.0.2.1", ...(token && { authorization: `Bearer ${token.trim()}` }) });
  const request = /** @type {Request} */ ({ method: "GET", url: ASKS, headers });
  const context = /** @type {any} */ ({ waitUntil: () => {}, passThroughOnException: () => {} });
  // What the others have around their answers, it has too.
  const message = { method: "POST", url: "http://object/nothing", headers, arrayBuffer: async () => new ArrayBuffer(0) };
  const board = new GlobalBoard(/** @type {any} */ ({ id: {}, storage: database }), /** @type {Env} */ (stage));
  await board.fetch(/** @type {any} */ (message));
  return (await handle(request, /** @type {Env} */ (stage), context)).status;
}

/**
 * @template T
 * @param {() => Promise<T>} work @returns {Promise<T | undefined>} none where it does not end
 */
async function onStage(work) {
  const { Response, setTimeout, clearTimeout } = globalThis;
  const { now } = Date;
  const { log } = console;
  Object.assign(globalThis, { Response: StageResponse, setTimeout: () => 0, clearTimeout: () => {} });
  crypto.getRandomValues = (array) => array;
  Date.now = () => NOW_MS;
  // Of a request that nobody made there is no line.
  console.log = () => {};
  try {
    /** @type {T | undefined} */
    let done;
    let has_ended = false;
    const end = () => void (has_ended = true);
    work()
      .then((value) => void (done = value))
      .then(end, end);
    for (let turn = 0; turn < MAX_TURNS && !has_ended; turn++) await undefined;
    return done;
  } finally {
    Object.assign(globalThis, { Response, setTimeout, clearTimeout });
    Reflect.deleteProperty(crypto, "getRandomValues");
    Date.now = now;
    console.log = log;
    forgetCharts();
    endRehearsal();
  }
}
