/**
 * The lines of an input, and how far it was read: what lets a second run go on where the first one ended.
 *
 * A place in an input is how many bytes of it were read, a hash of all of them, and the first ones as they are. An input
 * that begins with the same bytes is the same one, read again: it is passed over up to that place, and the hash says
 * whether it was the same indeed. Memory: one chunk, one line, 4 KiB.
 */
import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";
import { Readable, pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { Advice, messageOf } from "../say.mjs";

/** Longer than any line of a log, and than 4,000 plays in one message of Kafka. */
export const MAX_LINE_BYTES = 1 << 20;
/** Enough that two logs differ: their first lines carry times and addresses. */
export const HEAD_BYTES = 4_096;
const NEWLINE = 0x0a;

/**
 * @typedef {object} Place
 * @property {number} bytes read so far, always whole lines
 * @property {string} [sha256] of them; of a log that was followed nobody knows it
 * @property {string} head the first of them, in base64
 */

/**
 * @typedef {object} Line
 * @property {Buffer | null} bytes without its end; null where it is too long
 * @property {number} end where the next one begins
 * @property {boolean} whole it ends with a newline
 */

/**
 * An input's bytes: unpacked where it is gzip, in UTF-8 where it is UTF-16.
 * @param {AsyncIterable<Buffer>} stream
 * @returns {AsyncGenerator<Buffer>}
 */
export async function* unpacked(stream) {
  const chunks = stream[Symbol.asyncIterator]();
  let first = Buffer.alloc(0);
  while (first.length < 2) {
    const { value, done } = await chunks.next();
    if (done) break;
    first = Buffer.concat([first, value]);
  }
  const all = (async function* () {
    yield first;
    for (let next; !(next = await chunks.next()).done;) yield next.value;
  })();
  const [one, two] = first;
  if (one === 0x1f && two === 0x8b) {
    const gunzip = createGunzip();
    pipeline(Readable.from(all), gunzip, () => {});
    try {
      // What is in it may be UTF-16 again.
      yield* unpacked(gunzip);
    } catch (error) {
      throw new Advice(`The input cannot be unpacked: ${messageOf(error)}`, "What was read before that is sent.");
    }
  } else if ((one === 0xff && two === 0xfe) || (one === 0xfe && two === 0xff)) {
    const decoder = new TextDecoder(one === 0xff ? "utf-16le" : "utf-16be");
    for await (const chunk of all) yield Buffer.from(decoder.decode(chunk, { stream: true }));
    yield Buffer.from(decoder.decode());
  } else {
    yield* all;
  }
}

/**
 * A line's text, or null where it is not of that encoding.
 * @param {Buffer} bytes @param {string} encoding `utf-8`, or a name that TextDecoder knows
 */
export function textOf(bytes, encoding) {
  const end = bytes[bytes.length - 1] === 0x0d ? bytes.length - 1 : bytes.length;
  const start = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  const line = start || end < bytes.length ? bytes.subarray(start, end) : bytes;
  if (encoding === "utf-8") return isUtf8(line) ? line.toString("utf8") : null;
  return new TextDecoder(encoding).decode(line);
}

export class Lines {
  #chunks;
  /** Of all bytes before `#held`. */
  #hash = createHash("sha256");
  #head = Buffer.alloc(0);
  /** What was read, from the place on that is asked for next. */
  #held = Buffer.alloc(0);
  /** Where it begins in the input, and where the lines end in it that were given out. */
  #start = 0;
  #given = 0;
  #tooLong = false;
  #ended = false;

  /** @param {AsyncIterable<Buffer>} chunks */
  constructor(chunks) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /**
   * Passes over what was read of this input before. To be called first.
   * @param {Place[]} places of inputs that were read before
   * @returns {Promise<{found: "new"} | {found: "again" | "short", place: Place}>} another input; that one, its place reached; that
   *   one, and it ended before
   * @throws {Advice} it begins like one of them, and goes on differently
   */
  async passOver(places) {
    const place = await this.#begunLike(places);
    if (!place) return { found: "new" };
    const { bytes, sha256 } = place;
    while (this.#start + this.#held.length < bytes) {
      this.#drop(this.#held.length);
      if (!(await this.#read())) return { found: "short", place };
    }
    // Without a hash it is known at least that a line ends there.
    const isLine = this.#held[bytes - this.#start - 1] === NEWLINE;
    this.#drop(bytes - this.#start);
    if (sha256 ? this.placeAt(bytes).sha256 === sha256 : isLine) return { found: "again", place };
    throw new Advice(
      "This input begins like the one that was read before, but is another one further on.",
      "If all of it is new, send it with a --spool of its own.",
    );
  }

  /** The place of the input that begins as this one does. @param {Place[]} places @returns {Promise<Place | undefined>} */
  async #begunLike(places) {
    let known = places.map((place) => ({ place, head: Buffer.from(place.head, "base64") })).filter(({ head }) => head.length > 0);
    for (let isMore = true; known.length > 0; isMore = await this.#read()) {
      known = known.filter(({ head }) => {
        const both = Math.min(this.#held.length, head.length);
        return this.#held.compare(head, 0, both, 0, both) === 0;
      });
      const isLong = known.every(({ head }) => head.length <= this.#held.length);
      if (isLong || !isMore) break;
    }
    const whole = known.find(({ head }) => head.length <= this.#held.length);
    return this.#held.length > 0 ? (whole ?? known[0])?.place : undefined;
  }

  /**
   * The lines that have come since, in their order; null at the end. The last one may lack its newline.
   * @param {number} end before which `placeAt` is not asked for any more
   * @returns {Promise<Line[] | null>}
   */
  async next(end) {
    if (end > this.#start) this.#drop(end - this.#start);
    for (;;) {
      const lines = this.#cut();
      if (lines.length > 0) return lines;
      if (this.#ended) return null;
      if (!(await this.#read()) && this.#held.length > this.#given) {
        const bytes = this.#tooLong ? null : this.#held.subarray(this.#given);
        this.#given = this.#held.length;
        return [{ bytes, end: this.#start + this.#given, whole: false }];
      }
    }
  }

  /** @param {number} end of a line that was given out, none before one that `next` was told @returns {Place} */
  placeAt(end) {
    const sha256 = this.#hash
      .copy()
      .update(this.#held.subarray(0, end - this.#start))
      .digest("base64");
    return { bytes: end, sha256, head: this.#head.subarray(0, end).toString("base64") };
  }

  /** @param {number} length of what is held */
  #drop(length) {
    this.#hash.update(this.#held.subarray(0, length));
    this.#held = this.#held.subarray(length);
    this.#start += length;
    this.#given = Math.max(this.#given - length, 0);
  }

  /** @returns {Promise<boolean>} false at the end */
  async #read() {
    const { value, done } = await this.#chunks.next();
    if (done) {
      this.#ended = true;
      return false;
    }
    if (this.#head.length < HEAD_BYTES) this.#head = Buffer.concat([this.#head, value]).subarray(0, HEAD_BYTES);
    this.#held = this.#held.length === 0 ? value : Buffer.concat([this.#held, value]);
    return true;
  }

  /** Every whole line of what was read. @returns {Line[]} */
  #cut() {
    const bytes = this.#held;
    /** @type {Line[]} */
    const lines = [];
    for (let at; (at = bytes.indexOf(NEWLINE, this.#given)) !== -1; this.#given = at + 1) {
      const line = this.#tooLong || at - this.#given > MAX_LINE_BYTES ? null : bytes.subarray(this.#given, at);
      this.#tooLong = false;
      lines.push({ bytes: line, end: this.#start + at + 1, whole: true });
    }
    if (lines.length === 0 && bytes.length - this.#given > MAX_LINE_BYTES) {
      this.#tooLong = true;
      this.#given = bytes.length;
    }
    return lines;
  }
}
