/**
 * Bodies of requests while they come in: outside of Wasm, which gets one whole or not at all, and
 * read no faster than there is room for them, so that the rest of a body waits with its sender.
 *
 * What is held here is bounded in all. When there is no room for more, the address that holds most
 * makes way, and whoever would hold most gets no more. So a thousand slow bodies cost their senders
 * their turn, a beacon that is sent at once finds room, and nobody loses a body to who holds more.
 *
 * Senders with a token have room of their own. None of their bodies makes way: the next one waits.
 */
import { steadyMs } from "./clock.js";

/**
 * Of everybody: 6 MiB are six of the largest bodies, or 700 that have just begun. Beside them there
 * are `TRUSTED_BYTES`, 96 MiB of Wasm, 8 MiB of charts (entry.js) and 8 of large answers (answers.js):
 * 127 of the platform's 128 MiB, were all of them full at once.
 */
const MAX_BYTES = 6 << 20;
/** Of senders with a token, whom nobody else can take room from: an import of 8 MiB, or two batches. */
const TRUSTED_BYTES = 9 << 20;
/** Bodies of one token that wait for room there. They hold nothing yet; what has come waits in the runtime. */
const MAX_WAITING = 32;
/** Of the 15 s that a body has (body.rs): the last third is left for it to come in. */
const LONGEST_WAIT_MS = 10_000;
/**
 * What one holds before its first byte, beside its headers: what waits for it here and in Wasm. (The
 * runtime itself has 50 KiB for a request under way, outside of the memory that is bounded here.)
 */
const BEGUN_BYTES = 8 << 10;
/** Most beacons have less, and one that announces its length gets no more than that. */
const FIRST_BYTES = 16 << 10;
const GROWTH = 4;
/** What an address holds with one beacon, headers of 2 KiB included. */
const BEACON_BYTES = BEGUN_BYTES + FIRST_BYTES + (2 << 10);
/** A page's beacon comes in one piece; 1 MiB in this time are 4 Mbit/s. */
const SLOW_MS = 2_000;
/**
 * Nothing goes on so long: the deadline is shorter, and the platform ends what takes longer. Also where our clock
 * went a minute forward meanwhile (clock.js).
 */
const GONE_MS = 120_000;
/** Of a body that is too large, so much is read before it is refused. */
const DRAIN_BYTES = 16 << 20;
const DRAIN_BUFFER_BYTES = 64 << 10;

/** Why there is no body: the statuses of what its sender is told. */
const BROKEN = 400;
const TOO_LARGE = 413;
const NO_ROOM = 429;
const BUSY = 503;

/** What bodies of one kind may hold together, and who holds it. */
class Room {
  bytes = 0;
  /** @type {Map<bigint, Owner>} */
  owners = new Map();

  /** @param {number} max_bytes */
  constructor(max_bytes) {
    this.max_bytes = max_bytes;
  }

  /** @param {number} more */
  hasRoom(more) {
    return this.bytes + more <= this.max_bytes;
  }

  /** @param {Body} body @param {number} more */
  give(body, more) {
    body.bytes += more;
    body.owner.bytes += more;
    this.bytes += more;
  }

  /** @param {Body} body that holds nothing any more */
  left({ owner, bytes }) {
    owner.bytes -= bytes;
    this.bytes -= bytes;
    if (owner.bodies.size === 0) this.owners.delete(owner.id);
  }
}

/** Of everybody: whoever holds most makes way. */
class OpenRoom extends Room {
  /** @param {Body} body @param {number} more what it holds from now on @param {number} _most what it may come to hold */
  enter(body, more, _most) {
    if (!this.take(body, more)) throw NO_ROOM;
  }

  /** @param {Body} body that is to hold so many bytes more @param {number} more @returns {boolean} whether it may */
  take(body, more) {
    while (!this.hasRoom(more)) {
      const loser = this.#ofLargest(body.owner, more) ?? this.#slowest(body.owner, more);
      loser?.fail(NO_ROOM);
      if (loser === undefined || loser === body) return false;
    }
    this.give(body, more);
    return true;
  }

  /**
   * Of the address that holds most: the oldest where that takes long, or the largest. None where it is
   * the one who asks for more.
   * @param {Owner} asking @param {number} more
   */
  #ofLargest(asking, more) {
    let most = asking;
    let most_bytes = asking.bytes + more;
    for (const owner of this.owners.values()) {
      if (owner.bytes > most_bytes) [most, most_bytes] = [owner, owner.bytes];
    }
    if (most === asking) return undefined;
    const [oldest] = most.bodies;
    if (oldest && oldest.begun_ms < steadyMs() - SLOW_MS) return oldest;
    return [...most.bodies].reduce((largest, body) => (body.bytes > largest.bytes ? body : largest));
  }

  /**
   * The oldest that takes long, of the address that asks. Where hundreds of addresses hold a beacon's
   * worth each, whose ever it is makes way for an address that wants no more than that.
   * @param {Owner} asking @param {number} more
   */
  #slowest(asking, more) {
    const isBeacon = asking.bytes + more <= BEACON_BYTES;
    const before_ms = steadyMs() - SLOW_MS;
    for (const body of underWay.values()) {
      if (body.begun_ms >= before_ms) return undefined;
      if (body.room === this && (isBeacon || body.owner === asking)) return body;
    }
    return undefined;
  }
}

/** Of senders with a token: none of them makes way, and the next waits. */
class OrderlyRoom extends Room {
  /** In the order in which they came. @type {Map<Body, {bytes: number, admit: () => void}>} */
  #waiting = new Map();

  /**
   * Until there is room for all that it may come to hold: two that hold a part each could wait for
   * each other for ever.
   * @param {Body} body @param {number} begun @param {number} most
   */
  async enter(body, begun, most) {
    const bytes = begun + most;
    if (this.#waiting.size === 0 && this.hasRoom(bytes)) return this.give(body, bytes);
    const of_owner = [...this.#waiting.keys()].filter(({ owner }) => owner === body.owner);
    if (of_owner.length >= MAX_WAITING) throw BUSY;
    const { promise, resolve } = Promise.withResolvers();
    this.#waiting.set(body, { bytes, admit: () => resolve(undefined) });
    this.#admit();
    const timer = setTimeout(() => body.fail(BUSY), LONGEST_WAIT_MS);
    await promise;
    clearTimeout(timer);
  }

  /** It was given in the beginning. */
  take() {
    return true;
  }

  /** @param {Body} body */
  left(body) {
    // Whoever waits for its turn is told by its own failure; the wait itself ends with it.
    this.#waiting.get(body)?.admit();
    this.#waiting.delete(body);
    super.left(body);
    this.#admit();
  }

  /** The token that holds least is first, and nobody comes before it, however large its body is. */
  #admit() {
    for (;;) {
      /** @type {Body | undefined} */
      let next;
      for (const body of this.#waiting.keys()) {
        if (next === undefined || body.owner.bytes < next.owner.bytes) next = body;
      }
      const wish = next && this.#waiting.get(next);
      if (next === undefined || wish === undefined || !this.hasRoom(wish.bytes)) return;
      this.#waiting.delete(next);
      this.give(next, wish.bytes);
      wish.admit();
    }
  }
}

/** @typedef {{id: bigint, bytes: number, bodies: Set<Body>}} Owner in the order in which they began */

const everybody = new OpenRoom(MAX_BYTES);
const trusted = new OrderlyRoom(TRUSTED_BYTES);
/** By what their readers wait for, in the order in which they began. @type {Map<Promise<Uint8Array>, Body>} */
const underWay = new Map();

class Body {
  bytes = 0;
  begun_ms = steadyMs();
  /** @type {ReadableStreamBYOBReader | null} */
  reader = null;

  /** @param {OpenRoom | OrderlyRoom} room @param {bigint} owner_id */
  constructor(room, owner_id) {
    // Not `new Promise`, as in `tell` of glue.js.
    const { promise, resolve, reject } = Promise.withResolvers();
    this.whole = promise;
    this.resolve = resolve;
    this.reject = reject;
    this.room = room;
    this.owner = room.owners.get(owner_id) ?? { id: owner_id, bytes: 0, bodies: new Set() };
    this.owner.bodies.add(this);
    room.owners.set(owner_id, this.owner);
    underWay.set(promise, this);
  }

  get isOver() {
    return !underWay.has(this.whole);
  }

  /** It holds nothing any more, and nobody waits for it. */
  leave() {
    underWay.delete(this.whole);
    this.owner.bodies.delete(this);
    this.room.left(this);
  }

  /** @param {Uint8Array} bytes */
  succeed(bytes) {
    if (this.isOver) return;
    this.leave();
    this.resolve(bytes);
  }

  /** @param {number} why */
  fail(why) {
    if (this.isOver) return;
    this.leave();
    this.reject(why);
  }

  /** Nothing more is read, by the request whose body this is: no other one may touch it. */
  async stop() {
    try {
      await this.reader?.cancel();
    } catch {
      // Its sender has gone.
    }
  }
}

/**
 * Reads a body.
 * @param {Request} request
 * @param {boolean} isTrusted its sender has shown a token
 * @param {bigint} owner_id whose body it is: an address, or a token
 * @param {number} head_bytes what its headers hold
 * @param {number | undefined} announced its length, where that was said
 * @param {number} max_bytes
 * @returns {Promise<Uint8Array>} rejected with one of the statuses above
 */
export function readBody(request, isTrusted, owner_id, head_bytes, announced, max_bytes) {
  forgetGone();
  const body = new Body(isTrusted ? trusted : everybody, owner_id);
  enterAndRead(body, request, head_bytes, announced, max_bytes).then(
    (bytes) => body.succeed(bytes),
    (why) => body.fail(typeof why === "number" ? why : BROKEN),
  );
  // Where somebody else needed its room, or nobody waits for it any more.
  body.whole.catch(() => body.stop());
  return body.whole;
}

/** @param {Body} body @param {Request} request @param {number} head_bytes @param {number | undefined} announced @param {number} max_bytes */
async function enterAndRead(body, request, head_bytes, announced, max_bytes) {
  const most_bytes = DRAIN_BUFFER_BYTES + (announced ?? max_bytes + 1);
  await body.room.enter(body, BEGUN_BYTES + head_bytes, Math.min(most_bytes, DRAIN_BUFFER_BYTES + max_bytes + 1));
  if (body.isOver) throw NO_ROOM;
  return read(body, request, announced, max_bytes);
}

/** Nobody waits for a body any more. @param {Promise<Uint8Array>} whole what `readBody` gave */
export function giveUp(whole) {
  underWay.get(whole)?.fail(BROKEN);
}

/** The instance that asked for all of them has ended, and their requests with it. */
export function forgetAll() {
  for (const body of underWay.values()) body.leave();
}

/** Bodies whose request the platform has ended. */
function forgetGone() {
  const before_ms = steadyMs() - GONE_MS;
  for (const body of underWay.values()) {
    if (body.begun_ms >= before_ms) return;
    body.fail(BUSY);
  }
}

/** @param {Body} body @param {Request} request @param {number | undefined} announced @param {number} max_bytes */
async function read(body, request, announced, max_bytes) {
  const stream = request.body;
  if (stream === null || announced === 0) return new Uint8Array(0);
  body.reader = stream.getReader({ mode: "byob" });
  if (announced !== undefined && announced > max_bytes) {
    if (announced <= DRAIN_BYTES) await drain(body);
    throw TOO_LARGE;
  }
  // One byte more tells a body that is too large.
  const most_bytes = announced ?? max_bytes + 1;
  let capacity = 0;
  let buffer = new ArrayBuffer(0);
  let length = 0;
  while (length < most_bytes) {
    if (length === capacity) {
      const grown = Math.min(most_bytes, Math.max(FIRST_BYTES, GROWTH * capacity));
      if (!body.room.take(body, grown - capacity)) throw NO_ROOM;
      buffer = buffer.transfer(grown);
      capacity = grown;
    }
    // Waits outside of JavaScript until there is that much: a body in pieces of a byte costs no more.
    const { value, done } = await body.reader.readAtLeast(capacity - length, new Uint8Array(buffer, length, capacity - length));
    if (body.isOver) throw NO_ROOM;
    if (value) {
      buffer = value.buffer;
      length += value.byteLength;
    }
    if (done) break;
  }
  if (announced !== undefined && length < announced) throw BROKEN;
  if (length > max_bytes) {
    await drain(body);
    throw TOO_LARGE;
  }
  return new Uint8Array(buffer, 0, length);
}

/**
 * Reads on and keeps nothing: most senders look for an answer only after they have sent everything,
 * and see a broken connection instead of the reason where nobody listens.
 * @param {Body} body
 */
async function drain(body) {
  const { reader } = body;
  if (reader === null || !body.room.take(body, DRAIN_BUFFER_BYTES)) return;
  let buffer = new ArrayBuffer(DRAIN_BUFFER_BYTES);
  for (let read_bytes = 0; read_bytes < DRAIN_BYTES;) {
    const { value, done } = await reader.readAtLeast(DRAIN_BUFFER_BYTES, new Uint8Array(buffer));
    if (done || body.isOver) return;
    buffer = value.buffer;
    read_bytes += value.byteLength;
  }
}
