/**
 * The few things that are better done on this side: each call across the border of Wasm costs
 * about a microsecond, and these would be a dozen each. Nothing is decided here.
 */

import { waitUntil } from "cloudflare:workers";
import { answerWith } from "./answers.js";
import { steadyMs } from "./clock.js";
import { AWAY, heard } from "./health.js";

/** @import { Env } from "./contract.d.ts" */

const HEADERS = [
  "Authorization",
  "Origin",
  "Content-Type",
  "Content-Length",
  "Content-Encoding",
  "Idempotency-Key",
  "Hitparade-Home",
  "User-Agent",
];
const MAX_BASES = 100;

/** Calls to one object from one isolate are so far apart, unless they are full. */
const SPACING_MS = 5;
/** As many as a shard makes durable together. */
const CALL_BATCHES = 64;
const CALL_BYTES = 64 << 10;

/** @type {Map<string, Headers>} headers that come again and again, by their text */
const bases = new Map();

/**
 * What the Worker looks at in every request, a line each: method, address, where it comes from,
 * headers. What is there begins with "+".
 * @param {Request} request @param {string} more names of further headers, each behind a space
 */
export function look(request, more) {
  const { method, url, headers, cf } = request;
  const found = [cf?.clientIp ?? headers.get("CF-Connecting-IP"), cf?.country, cf?.continent];
  for (const name of HEADERS) found.push(headers.get(name));
  if (more !== "") for (const name of more.split(" ").slice(1)) found.push(name === "" ? null : headers.get(name));
  let text = `${method}\n${url}`;
  for (const value of found) text += value == null ? "\n" : `\n+${value}`;
  return text;
}

/**
 * A text in the one form that all texts have which look like it: without characters that nobody sees,
 * composed, without spaces around it.
 * @param {string} text
 */
export const normalised = (text) =>
  text
    .replace(/\p{Default_Ignorable_Code_Point}/gu, "")
    .normalize("NFC")
    .trim();

/**
 * Sends a message to an object.
 * @param {Env} env @param {"SHARD" | "GLOBAL" | "REGISTRY"} binding @param {string} name of the object
 * @param {DurableObjectLocationHint | undefined} hint where it should live
 * @param {string} path @param {Uint8Array} message @param {number} limit_ms for its answer
 * @returns {Promise<Uint8Array>} the body of its answer
 */
export async function ask(env, binding, name, hint, path, message, limit_ms) {
  // Not `new Promise`, as in `tell`.
  const { promise, resolve, reject } = Promise.withResolvers();
  const object = env[binding].getByName(name, hint ? { locationHint: hint } : undefined);
  const late = setTimeout(() => reject(new Error(`${path}: no answer in ${limit_ms} ms`)), limit_ms);
  answerOf(object, path, message).then(resolve, reject);
  try {
    return await promise;
  } finally {
    clearTimeout(late);
  }
}

/** @param {Fetcher} object @param {string} path @param {Uint8Array} message */
async function answerOf(object, path, message) {
  const answer = await object.fetch(`http://object${path}`, { method: "POST", body: message });
  if (answer.status !== 200) throw new Error(`${path}: status ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

/** Batches on their way to one object. */
class Lane {
  /** @type {{batch: Uint8Array, voter?: Uint8Array, resolve: Function, reject: Function}[]} */
  waiting = [];
  bytes = 0;
  departed_ms = 0;

  get isFull() {
    return this.waiting.length >= CALL_BATCHES || this.bytes >= CALL_BYTES;
  }
}

/** @type {Map<string, Lane>} by the object's name */
const lanes = new Map();
/** A lane is some 300 bytes; an isolate may send to all shards of 10,000 boards. */
const MAX_LANES = 1_000;

/** @param {string} name of the object */
function laneTo(name) {
  const known = lanes.get(name);
  if (known) return known;
  if (lanes.size >= MAX_LANES) {
    // One in which nobody waits is no other than a new one, once its spacing is over.
    const since_ms = steadyMs() - SPACING_MS;
    for (const [idle, { waiting, departed_ms }] of lanes) if (waiting.length === 0 && departed_ms <= since_ms) lanes.delete(idle);
  }
  const lane = new Lane();
  lanes.set(name, lane);
  return lane;
}

/**
 * A batch to a shard. Batches that come within a moment of each other share a call, whoever sent
 * them: calls are half of what a beacon costs under load, an object takes only so many of them a
 * second, and they are billed. One that finds the lane empty for that long goes at once.
 *
 * Each waits for its own answer, with its own patience; a sender that hangs up takes nobody else's
 * call along.
 * @param {Env} env @param {string} name of the object @param {DurableObjectLocationHint | undefined} hint where it should live
 * @param {Uint8Array} batch @param {Uint8Array} [voter] who sends it
 * @returns {Promise<number | Uint8Array>} one of the common answers, or a message
 */
export function tell(env, name, hint, batch, voter) {
  const lane = laneTo(name);
  // Not `new Promise`: once that is compiled to machine code, the runtime no longer sees whose
  // promise it is, and goes on with everybody's requests in that of the sender who made the call.
  const { promise, resolve, reject } = Promise.withResolvers();
  lane.waiting.push({ batch, voter, resolve, reject });
  lane.bytes += batch.length;
  const wait_ms = lane.departed_ms + SPACING_MS - steadyMs();
  if (wait_ms <= 0 || lane.isFull) {
    depart(env, name, hint, lane);
  } else if (lane.waiting.length === 1) {
    // Should it come to nothing, the next one to arrive finds that it is time.
    waitIn(env)(sleep(wait_ms).then(() => depart(env, name, hint, lane)));
  }
  return promise;
}

/** @param {Env} env @param {string} name @param {DurableObjectLocationHint | undefined} hint @param {Lane} lane */
function depart(env, name, hint, lane) {
  const { waiting } = lane;
  if (waiting.length === 0) return;
  lane.waiting = [];
  lane.bytes = 0;
  lane.departed_ms = steadyMs();
  const shard = env.SHARD.getByName(name, hint ? { locationHint: hint } : undefined);
  const batches = waiting.map(({ batch }) => batch);
  const voters = waiting.map(({ voter }) => voter);
  const told = shard.record(batches, voters).then(
    (answers) => {
      const trouble = answers[waiting.length];
      heard(name, typeof trouble === "number" ? trouble : undefined);
      for (const [index, { resolve, reject }] of waiting.entries()) {
        const answer = answers[index];
        if (answer instanceof Error) reject(answer);
        else resolve(answer);
      }
    },
    (error) => {
      heard(name, AWAY);
      for (const { reject } of waiting) reject(error);
    },
  );
  waitIn(env)(told);
}

/** What keeps a request from its end. @param {Env} env */
const waitIn = (env) => env.waitUntil ?? waitUntil;

/** @param {number} duration_ms @returns {Promise<void>} */
const sleep = (duration_ms) => new Promise((done) => setTimeout(done, duration_ms));

/**
 * @param {number} status @param {Uint8Array | undefined} body
 * @param {string} fixed headers that many answers have, as lines of name and value in turn
 * @param {string} varying the others
 * @param {bigint | undefined} reader who may be told to ask again; none where the answer must be given
 */
export function respond(status, body, fixed, varying, reader) {
  let headers = bases.get(fixed);
  if (!headers) {
    if (bases.size >= MAX_BASES) bases.clear();
    headers = new Headers(pairs(fixed));
    bases.set(fixed, headers);
  }
  const response = answerWith(body, { status, headers }, reader);
  for (const [name, value] of pairs(varying)) response.headers.append(name, value);
  return response;
}

/** @param {string} text lines of name and value in turn */
function pairs(text) {
  if (text === "") return [];
  const lines = text.split("\n");
  return Array.from({ length: lines.length / 2 }, (_, index) => [lines[2 * index], lines[2 * index + 1]]);
}
