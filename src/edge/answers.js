/**
 * Large answers, given to the runtime a piece at a time as their readers take them: it would copy a
 * whole one for each reader, and keep it for as long as that one doesn't read.
 *
 * Answers under way are bounded, in number and in what they hold. When there is no room, those make
 * way whose readers have taken nothing for a while; if there are none, the next answer must wait.
 */
import { waitUntil } from "cloudflare:workers";

/** What a connection takes at once, whether or not it is read. */
const LARGE_BYTES = 128 << 10;
const PIECE_BYTES = 64 << 10;
/** Each has a piece here and one with the runtime: 32 MiB of the process, outside of what is bounded here. */
const MAX_ANSWERS = 256;
/**
 * Of different texts: readers of a chart that is kept at the door share it. Four charts of the largest
 * kind (1,000 posts of 1.3 kB), forty of posts that say little.
 */
const MAX_BYTES = 6 << 20;
const STALLED_MS = 2_000;

/** In the order in which their readers last took something. @type {Set<Answer>} */
const underWay = new Set();
/** How many answers hold each text. @type {Map<Uint8Array, number>} */
const holders = new Map();
let bytes = 0;

class Answer {
  taken_ms = Date.now();

  /** @param {Uint8Array} text */
  constructor(text) {
    // Not `new Promise`, as in `tell` of src/glue.js.
    const { promise, reject } = Promise.withResolvers();
    this.ended = promise;
    this.end = reject;
    this.text = text;
    underWay.add(this);
    const count = holders.get(text) ?? 0;
    if (count === 0) bytes += text.length;
    holders.set(text, count + 1);
  }

  /** Its reader has taken a piece. */
  taken() {
    if (!underWay.delete(this)) return;
    underWay.add(this);
    this.taken_ms = Date.now();
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
 * @param {Uint8Array | undefined} text @param {ResponseInit} init @returns {Response}
 */
export function answerWith(text, init) {
  if (text === undefined || text.length <= LARGE_BYTES) return new Response(text, init);
  if (!makeRoom(text)) return new Response(TOO_MANY, { status: 503, headers: TOO_MANY_HEADERS });
  const { readable, writable } = new FixedLengthStream(text.length);
  waitUntil(give(new Answer(text), writable.getWriter()));
  return new Response(readable, init);
}

const TOO_MANY = JSON.stringify({
  type: "about:blank",
  title: "Service Unavailable",
  status: 503,
  detail: "too many large answers are under way; try again",
  code: "overloaded",
});
const TOO_MANY_HEADERS = { "content-type": "application/problem+json", "cache-control": "no-store", "retry-after": "1", "access-control-allow-origin": "*" };

/** @param {Uint8Array} text @returns {boolean} whether one more may hold it */
function makeRoom(text) {
  const stalled_ms = Date.now() - STALLED_MS;
  const isFull = () => underWay.size >= MAX_ANSWERS || (!holders.has(text) && bytes + text.length > MAX_BYTES);
  while (isFull()) {
    const [first] = underWay;
    if (first === undefined || first.taken_ms > stalled_ms) return false;
    first.leave();
    first.end(new Error("its reader is too slow, and others need its room"));
  }
  return true;
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
