/**
 * Large answers, given to the runtime a piece at a time as their readers take them: it would copy a
 * whole one for each reader, and keep it for as long as that one doesn't read.
 *
 * Answers under way are bounded, in number and in what they hold. When there is no room, those make
 * way whose readers have taken nothing for a while, then those of the address that holds most, then
 * those that take long; if there are none, the next answer must wait. What tells a sender that its
 * request was carried out neither waits nor makes way: without it, the sender would send once more.
 */
import { readerAtTheDoor } from "bindgen/index.js";
import { waitUntil } from "cloudflare:workers";
import { steadyMs } from "./clock.js";
import { resultOf } from "./instance.js";

/** What a connection takes at once, whether or not it is read. */
const LARGE_BYTES = 128 << 10;
const PIECE_BYTES = 64 << 10;
/** Each has a piece here and one with the runtime: 32 MiB of the process, outside of what is bounded here. */
const MAX_ANSWERS = 256;
/**
 * Of different texts: readers of a chart that is kept at the door share it. Two charts of the largest
 * kind: 1,000 posts whose ids (256 characters of two bytes in JSON), names (256), texts (1,024) and two
 * addresses (1,014 each) are as long as may be are 3.83 MB. Or fifty of posts that say little.
 * One that is larger goes out alone.
 */
const MAX_BYTES = 8 << 20;
const STALLED_MS = 2_000;
/** 3.83 MB in this time are 3 Mbit/s. */
const LONG_MS = 10_000;

/** In the order in which their readers last took something. @type {Set<Answer>} */
const underWay = new Set();
/** How many answers hold each text. @type {Map<Uint8Array, number>} */
const holders = new Map();
let bytes = 0;

class Answer {
  begun_ms = steadyMs();
  taken_ms = this.begun_ms;

  /** @param {Uint8Array} text @param {bigint | undefined} reader whose it is; none where it may not be broken off */
  constructor(text, reader) {
    // Not `new Promise`, as in `tell` of glue.js.
    const { promise, reject } = Promise.withResolvers();
    this.ended = promise;
    this.end = reject;
    this.text = text;
    this.reader = reader;
    underWay.add(this);
    const count = holders.get(text) ?? 0;
    if (count === 0) bytes += text.length;
    holders.set(text, count + 1);
  }

  /** What it holds: a piece, and its part of a text that others hold too. */
  get bytes() {
    return PIECE_BYTES + this.text.length / (holders.get(this.text) ?? 1);
  }

  /** Its reader has taken a piece. */
  taken() {
    if (!underWay.delete(this)) return;
    underWay.add(this);
    this.taken_ms = steadyMs();
  }

  /** It holds nothing any more. */
  leave() {
    if (!underWay.delete(this)) return;
    const count = (holders.get(this.text) ?? 1) - 1;
    if (count > 0) return void holders.set(this.text, count);
    holders.delete(this.text);
    bytes -= this.text.length;
  }
}

/**
 * A response with a text that nobody changes any more.
 * @param {Uint8Array | undefined} text @param {ResponseInit} init
 * @param {bigint | (() => string) | undefined} reader who may be told to ask again: an address's hash, or
 *   how to find the address; none where the answer must be given
 * @returns {Response}
 */
export function answerWith(text, init, reader) {
  if (text === undefined || text.length <= LARGE_BYTES) return new Response(text, init);
  const asker = typeof reader === "function" ? readerOf(reader()) : reader;
  if (!makeRoom(text, asker) && asker !== undefined) return new Response(TOO_MANY, { status: 503, headers: TOO_MANY_HEADERS });
  const { readable, writable } = new FixedLengthStream(text.length);
  waitUntil(give(new Answer(text, asker), writable.getWriter()));
  return new Response(readable, init);
}

/** @param {string} address @returns {bigint} as the Worker in Wasm names it */
const readerOf = (address) => resultOf(() => readerAtTheDoor(address));

const TOO_MANY = JSON.stringify({
  type: "about:blank",
  title: "Service Unavailable",
  status: 503,
  detail: "too many large answers are under way; try again",
  code: "overloaded",
});
const TOO_MANY_HEADERS = {
  "content-type": "application/problem+json",
  "cache-control": "no-store",
  "retry-after": "1",
  "access-control-allow-origin": "*",
};

/** @param {Uint8Array} text @param {bigint | undefined} asker @returns {boolean} whether one more may hold it */
function makeRoom(text, asker) {
  const isFull = () => underWay.size >= MAX_ANSWERS || (!holders.has(text) && bytes + text.length > MAX_BYTES);
  while (underWay.size > 0 && isFull()) {
    const loser = stalled() ?? ofLargest(text, asker) ?? longest();
    if (loser === undefined) return false;
    loser.leave();
    loser.end(new Error("others need its room"));
  }
  return true;
}

/** Of which nothing was taken for longest. */
function stalled() {
  const before_ms = steadyMs() - STALLED_MS;
  for (const answer of underWay) {
    if (answer.taken_ms > before_ms) return undefined;
    if (answer.reader !== undefined) return answer;
  }
  return undefined;
}

/** The largest of the address that holds most; none where that would be the one who asks. @param {Uint8Array} text @param {bigint | undefined} asker */
function ofLargest(text, asker) {
  /** @type {Map<bigint, number>} */
  const held = new Map();
  for (const { reader, bytes } of underWay) {
    if (reader !== undefined) held.set(reader, (held.get(reader) ?? 0) + bytes);
  }
  const wanted = PIECE_BYTES + text.length / ((holders.get(text) ?? 0) + 1);
  let most_bytes = wanted + ((asker !== undefined && held.get(asker)) || 0);
  /** @type {bigint | undefined} */
  let most;
  for (const [reader, bytes] of held) {
    if (reader !== asker && bytes > most_bytes) [most, most_bytes] = [reader, bytes];
  }
  if (most === undefined) return undefined;
  return [...underWay]
    .filter(({ reader }) => reader === most)
    .reduce((largest, answer) => (answer.bytes > largest.bytes ? answer : largest));
}

/** The oldest of those that take long. */
function longest() {
  const before_ms = steadyMs() - LONG_MS;
  const long = [...underWay].filter(({ reader, begun_ms }) => reader !== undefined && begun_ms <= before_ms);
  return long.length === 0 ? undefined : long.reduce((oldest, answer) => (answer.begun_ms < oldest.begun_ms ? answer : oldest));
}

/** @param {Answer} answer @param {WritableStreamDefaultWriter} writer */
async function give(answer, writer) {
  // Where it has to make way, in its own request: no other one may touch its connection.
  answer.ended.catch((why) => writer.abort(why)).catch(() => {});
  try {
    for (let at = 0; at < answer.text.length; at += PIECE_BYTES) {
      await writer.write(answer.text.subarray(at, at + PIECE_BYTES));
      answer.taken();
    }
    await writer.close();
  } catch {
    // Its reader has gone, or it had to make way.
  } finally {
    answer.leave();
  }
}
