/** From the lines of an input to batches in the spool, as fast as they are answered. */
import { randomBytes } from "node:crypto";
import { Extent } from "../../../client/hitparade.js";
import { Advice } from "../say.mjs";
import { Confirmed } from "./confirm.mjs";
import { MAX_LINE_BYTES, textOf } from "./lines.mjs";

/** What the service takes at once from a sender with the token (src/play/mod.rs). */
const MAX_PLAYS_TRUSTED = 10_000;
/** A quarter of what the service takes: proxies before it mostly let 1 MiB through. */
const MAX_BYTES = (1 << 20) - 4_096;
/** A play that came alone waits so long for others. */
const HOLD_MS = 1_000;
/** Told to end, it still takes what is in the pipe: what comes within so long. */
const QUIET_MS = 200;
/** Of each reason, so many lines are named. */
const EXAMPLES = 3;

/** Waits for the next of many things: a race with a promise that is never kept would hold on to all that ever won. */
class Bell {
  #ring = () => {};

  ring() {
    this.#ring();
  }

  /** @param {number} [ms] at most @returns {Promise<void>} */
  wait(ms = Infinity) {
    return new Promise((done) => {
      const timer = ms < Infinity ? setTimeout(() => this.ring(), Math.max(ms, 0)) : undefined;
      this.#ring = () => {
        clearTimeout(timer);
        this.#ring = () => {};
        done();
      };
    });
  }
}

/** What was read, and not taken. */
export class LeftOut {
  /** `lines`: the first ones, and one more where there are more. @type {Map<string, {times: number, lines: number[]}>} */
  reasons = new Map();

  /** @param {string} reason @param {number} line its number in what was read now */
  add(reason, line) {
    const entry = this.reasons.get(reason) ?? { times: 0, lines: [] };
    this.reasons.set(reason, entry);
    entry.times++;
    // Of an array of plays many may be left out.
    if (entry.lines.length <= EXAMPLES && entry.lines.at(-1) !== line) entry.lines.push(line);
  }

  /** @returns {string[]} a line a reason */
  inWords() {
    return [...this.reasons].map(
      ([reason, { times, lines }]) =>
        `  ${times} left out: ${reason} (line ${lines.slice(0, EXAMPLES).join(", ")}${lines.length > EXAMPLES ? ", …" : ""})`,
    );
  }
}

/**
 * Lines to plays.
 * @param {object} options
 * @param {import("./readers.mjs").Reader} options.reader
 * @param {string} options.encoding
 * @param {string} options.region of plays that name none
 * @param {string} options.board of plays that name none
 * @param {LeftOut} options.leftOut
 * @returns {(line: import("./lines.mjs").Line) => {plays: any[], isTaken: boolean}} `isTaken`: reading may go on behind it
 */
export function takerOf({ reader, encoding, region, board, leftOut }) {
  let number = 0;
  let isOpen = false;
  return (line) => {
    number++;
    const none = (/** @type {string[]} */ reasons) => {
      // What is cut off may be whole the next time.
      const isCut = !line.whole;
      for (const reason of reasons) leftOut.add(isCut ? `the last line is cut off (${reason})` : reason, number);
      return { plays: [], isTaken: !isCut };
    };
    if (line.bytes === null) return none([`a line of over ${MAX_LINE_BYTES >> 20} MiB`]);
    const text = textOf(line.bytes, encoding);
    if (text === null) return none([`not ${encoding.toUpperCase()}: --encoding says what it is, such as latin1`]);
    const said = reader.read(text);
    isOpen = said === "more";
    if (isOpen) return line.whole ? { plays: [], isTaken: false } : none(["a quote that does not end"]);
    if (said === null || said === "more") return { plays: [], isTaken: true };
    if ("fatal" in said) throw new Advice(String(said.fatal));
    const reasons = said.leftOut ?? [];
    if (said.plays.length === 0 && reasons.length > 0) return none(reasons);
    if (said.plays.length > MAX_PLAYS_TRUSTED) return none([`over ${MAX_PLAYS_TRUSTED} plays in one line`]);
    for (const reason of reasons) leftOut.add(reason, number);
    for (const play of said.plays) {
      if (region && play.region_id === undefined) play.region_id = region;
      if (board && play.board === undefined && play.boards === undefined) play.board = board;
      play.timestamp ??= Date.now();
    }
    return { plays: said.plays, isTaken: true };
  };
}

/**
 * Reads to the end of the input, or until `stop`; what was read is in the spool then.
 * @param {object} options
 * @param {{next: (end: any) => Promise<import("./lines.mjs").Line[] | null>, placeAt: (end: any) => any}} options.source
 * @param {ReturnType<typeof takerOf>} options.take
 * @param {import("./readers.mjs").Reader} options.reader
 * @param {import("./spool.mjs").Spool} options.spool
 * @param {import("./deliver.mjs").Delivery} options.delivery
 * @param {boolean} options.canRepeat the input can be read again from its beginning
 * @param {boolean} options.knowsPlaces its lines say where they come from
 * @param {boolean} options.isFile nobody waits for its end
 * @param {((text: string) => void) | null} options.confirm answers each line when it is on disk
 * @param {number} options.mostWaiting batches
 * @param {number} options.mostWaitingBytes
 * @param {AbortSignal} options.stop
 * @param {{lines: number, entries: number}} options.read counts
 */
export async function pump({
  source,
  take,
  reader,
  spool,
  delivery,
  canRepeat,
  knowsPlaces,
  isFile,
  confirm,
  mostWaiting,
  mostWaitingBytes,
  stop,
  read,
}) {
  const run = randomBytes(16).toString("hex");
  let [plays, bytes, since] = [/** @type {string[]} */ ([]), 0, 0];
  /** Of the line up to which all was taken. @type {any} */
  let end = 0;
  let state = reader.state;
  let sealed = 0;
  let extent = new Extent();
  const confirmed = new Confirmed(spool, confirm);

  const seal = () => {
    if (plays.length === 0) return;
    // What is known of other lines that cannot be read again stays.
    const place = canRepeat
      ? { input: source.placeAt(end), reader: state }
      : { reader: knowsPlaces ? state : spool.place?.reader, confirmed: confirmed.place ?? spool.place?.confirmed };
    // Where it cannot be read again, the same plays once more are other ones.
    const where = canRepeat || knowsPlaces ? JSON.stringify(spool.before) : `${run} ${sealed}`;
    spool.seal(plays, place, where);
    sealed++;
    [plays, bytes, since] = [[], 0, 0];
    extent = new Extent();
    delivery.wake();
  };
  /** @param {string[]} texts the plays of a line @param {any[]} said what they say */
  const add = (texts, said) => {
    const more = texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0);
    const hasRoom = plays.length + texts.length <= MAX_PLAYS_TRUSTED && bytes + more <= Math.min(MAX_BYTES, delivery.mostBytes);
    if (!hasRoom || !extent.has(...said)) seal();
    for (const play of said) extent.add(play);
    for (const text of texts) plays.push(text);
    bytes += more;
    since ||= performance.now();
  };

  confirmed.begin();
  /** What was read, or why nothing more can be. @type {{lines?: import("./lines.mjs").Line[] | null, error?: unknown} | null} */
  let come = /** @type {any} */ (null);
  let isReading = false;
  let stopAt = Infinity;
  const bell = new Bell();
  stop.addEventListener("abort", () => bell.ring());
  delivery.onChange = () => bell.ring();
  for (;;) {
    if (delivery.error) throw delivery.error;
    if (!come && !isReading) {
      isReading = true;
      source
        .next(end)
        .then(
          (lines) => (come = { lines }),
          (error) => (come = { error }),
        )
        .finally(() => {
          isReading = false;
          bell.ring();
        });
    }
    if (!come) {
      const now = performance.now();
      if (stop.aborted) stopAt = Math.min(stopAt, now + (canRepeat ? 0 : QUIET_MS));
      const sealAt = since && !isFile ? since + HOLD_MS : Infinity;
      if (now >= stopAt) break;
      if (now >= sealAt) seal();
      else await bell.wait(Math.min(stopAt, sealAt) - now);
      continue;
    }
    if ("error" in come) {
      seal();
      throw come.error;
    }
    const { lines } = come;
    come = null;
    if (!lines) break;
    for (const line of lines) {
      if (stop.aborted && canRepeat) break;
      read.lines++;
      if (confirmed.isOver(line)) continue;
      const { plays: taken, isTaken } = take(line);
      const texts = taken.map((play) => JSON.stringify(play));
      if (texts.length > 0) add(texts, taken);
      read.entries += texts.length;
      confirmed.taken(texts);
      state = reader.state;
      if (isTaken) end = line.end;
      while (!stop.aborted && (spool.waiting.length >= mostWaiting || spool.waitingBytes >= mostWaitingBytes)) {
        await bell.wait();
        if (delivery.error) throw delivery.error;
      }
    }
  }
  seal();
}
