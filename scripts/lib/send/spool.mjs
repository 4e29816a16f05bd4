/**
 * Batches that wait for an answer, in a folder: what is in it survives the program, at any moment.
 *
 * | file | what |
 * |---|---|
 * | `state.json` | how far the input was read, and others before it; the home that was learned last, the number of the next batch |
 * | `0000000042.batch` | a sealed batch: a line of what it is, a line of its plays. It never changes |
 * | `0000000042.sent` | when it was tried first; there before anybody can have heard of the batch |
 * | `open-0000000043` | lines that were confirmed and wait for a batch |
 * | `in-doubt/`, `refused/` | batches that are not sent again, as NDJSON: see `send.mjs` |
 * | `rejected.ndjson` | single plays that the service did not take, and why |
 * | `damaged/` | confirmed lines that cannot be read any more, as they are |
 *
 * A batch carries the place of the input after it; with its file the input has been read that far. A file is written
 * aside, synced and renamed into its place. Cost: two small writes and two syncs a batch, of up to 10,000 plays.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createHash, randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import { makeOwnFolder } from "../files.mjs";
import { tryLock } from "../lock.mjs";
import { Advice, messageOf } from "../say.mjs";

const VERSION = 1;
/** What was rejected is kept to be looked at, not for good. */
const MAX_REJECTED_BYTES = 16 << 20;
/** Places of other inputs that are kept: 5 KiB each, in a file that is written with each batch. */
const MOST_OTHERS = 31;
/** What is in a log is not for everybody. */
const OWN_FILE = 0o600;

/**
 * @typedef {object} Batch
 * @property {string} key its file's name without the ending
 * @property {string} client its name
 * @property {number} count of plays
 * @property {number} bytes of them
 * @property {string | null} home
 * @property {number} sent milliseconds; 0 before the first attempt
 * @property {number} [begun] the same by a clock that nobody sets, where it was in this run
 */

export class Spool {
  #lock;
  /** @type {any} */
  #state;
  #next = 1;
  #rejectedBytes = 0;
  /** In the order in which they were sealed. @type {Batch[]} */
  waiting = [];
  waitingBytes = 0;
  /** The input's place after what was sealed last. @type {any} */
  place = null;
  /** Those of inputs that were read before it, the last one first. @type {any[]} */
  #others = [];
  /** @type {string | null} */
  home = null;
  /** Confirmed lines that could not be read. */
  damaged = { lines: 0, file: "" };
  /** Where confirmed lines go. @type {number | null} */
  #open = null;

  /**
   * @param {string} folder made if need be
   * @param {string} url of the installation that it is for
   * @param {Record<string, string> | null} [asked] options that say where plays count, by their names; null where no line
   *   is passed over, so that they may change
   * @throws {Advice} it is in use, of another installation or with other options, or cannot be read
   */
  constructor(folder, url, asked = null) {
    this.folder = folder;
    makeOwnFolder(folder);
    const held = tryLock(join(folder, "lock"));
    if ("holder" in held) {
      throw new Advice(`${folder} is in use by process ${held.holder}.`, "Two senders at a time need a --spool of their own each.");
    }
    this.#lock = held;
    try {
      this.#read(url, asked);
    } catch (error) {
      held.release();
      throw error;
    }
  }

  #read(url, asked) {
    this.#state = this.#readState(url, asked);
    this.#readBatches();
    const last = this.waiting[this.waiting.length - 1];
    this.#next = Math.max(this.#state.next, last ? numberOf(last.key) + 1 : 1);
    for (const name of readdirSync(this.folder)) {
      // Its lines were sealed: the batch of its number is there, or was sent.
      if (name.startsWith("open-") && Number(name.slice(5)) < this.#next) rmSync(this.#path(name));
    }
    this.home = this.#state.home;
    this.#others = this.#state.others ?? [];
    if (last && numberOf(last.key) >= this.#state.next) this.place = this.#headOf(last.key).place;
    else this.place = this.#state.place;
    if (existsSync(this.#path("rejected.ndjson"))) this.#rejectedBytes = statSync(this.#path("rejected.ndjson")).size;
  }

  /** Of each input that was read, the last one first. @returns {any[]} */
  get places() {
    return [this.place, ...this.#others].filter(Boolean);
  }

  /**
   * What came before the next batch: with it, the same plays of another input make another name, also where one goes on
   * and another one is begun after the same. Null for the first one: its names are known again without the spool.
   * @returns {any}
   */
  get before() {
    return this.place ?? (this.#others.length > 0 ? { after: this.#others } : null);
  }

  /**
   * What is sealed from now on is of another input.
   * @param {any} place one of `places`, or null: of one that is new
   * @returns {boolean} whether the place of one was given up
   */
  goOn(place) {
    if (place === this.place) return false;
    const others = this.places.filter((other) => other !== place);
    this.#others = others.slice(0, MOST_OTHERS);
    this.place = place;
    this.#saveState();
    return others.length > MOST_OTHERS;
  }

  /**
   * The place of a spool that somebody else may be writing to just now: it may be a little behind.
   * @param {string} folder
   * @param {(place: any) => boolean} [isIt] of which input
   * @returns {any} null where there is none
   */
  static placeOf(folder, isIt = () => true) {
    for (let tries = 0; ; tries++) {
      try {
        const state = JSON.parse(readFileSync(join(folder, "state.json"), "utf8"));
        const last = readdirSync(folder)
          .filter((name) => name.endsWith(".batch"))
          .sort()
          .at(-1);
        let { place } = state;
        if (last && numberOf(last) >= state.next) {
          const text = readFileSync(join(folder, last), "utf8");
          ({ place } = JSON.parse(text.slice(0, text.indexOf("\n"))));
        }
        return [place, ...(state.others ?? [])].find((one) => one && isIt(one)) ?? null;
      } catch (error) {
        const isGone = /** @type {NodeJS.ErrnoException} */ (error).code === "ENOENT";
        // A batch may have been answered between two looks; a spool that is not there stays so.
        if (isGone && !existsSync(join(folder, "state.json"))) return null;
        if (!isGone || tries >= 10) throw new Advice(`${folder} cannot be read: ${messageOf(error)}`);
      }
    }
  }

  release() {
    if (this.#open !== null) closeSync(this.#open);
    this.#lock.release();
  }

  /** @param {string[]} names */
  #path = (...names) => join(this.folder, ...names);

  #readState(url, asked) {
    const none = { version: VERSION, url, asked, next: 1, place: null, others: [], home: null };
    if (!existsSync(this.#path("state.json"))) {
      this.#write("state.json", JSON.stringify(none));
      return none;
    }
    let state;
    try {
      state = JSON.parse(readFileSync(this.#path("state.json"), "utf8"));
    } catch {
      state = {};
    }
    if (state.version !== VERSION)
      throw new Advice(
        `${this.#path("state.json")} cannot be read by this version.`,
        "Send with another --spool, or with the version that wrote it.",
      );
    // What was read is passed over: the same lines would not be sent there.
    const other = Object.entries(state.asked && asked ? asked : {}).find(([name, value]) => state.asked[name] !== value);
    if (state.url === url && !other) return state;
    const isEmpty = state.next === 1 && !readdirSync(this.folder).some((name) => /\.batch$|^open-/.test(name));
    if (isEmpty) {
      // Of what was read nothing was a play: it was tried with other options, and is read again.
      this.#write("state.json", JSON.stringify(none));
      return none;
    }
    if (state.url !== url) throw new Advice(`${this.folder} holds what was read for ${state.url}.`, `For ${url} take another --spool.`);
    const [name, value] = /** @type {[string, string]} */ (other);
    throw new Advice(
      `${this.folder} holds what was read ${state.asked[name] ? `with --${name} ${state.asked[name]}` : `without --${name}`}.`,
      `${value ? `For --${name} ${value}` : `Without --${name}`} take another --spool.`,
    );
  }

  #readBatches() {
    const names = new Set(readdirSync(this.folder));
    const keys = [...names]
      .filter((name) => name.endsWith(".batch"))
      .map((name) => name.slice(0, -6))
      .sort();
    for (const key of keys) {
      // Halves of a batch that is still there, which stands before them, were never sent.
      const before = this.waiting.at(-1);
      if (before && key.startsWith(`${before.key}.`)) {
        rmSync(this.#path(`${key}.batch`));
        continue;
      }
      const { client, count, bytes, home } = this.#headOf(key);
      const sent = names.has(`${key}.sent`) ? Number(readFileSync(this.#path(`${key}.sent`), "utf8")) : 0;
      this.#push({ key, client, count, bytes, home, sent });
    }
  }

  #headOf(key) {
    const text = readFileSync(this.#path(`${key}.batch`), "utf8");
    return JSON.parse(text.slice(0, text.indexOf("\n")));
  }

  /** The plays of a batch, as a JSON array. @param {Batch} batch */
  playsOf({ key }) {
    const text = readFileSync(this.#path(`${key}.batch`), "utf8");
    return text.slice(text.indexOf("\n") + 1);
  }

  #push(batch) {
    this.waiting.push(batch);
    this.waitingBytes += batch.bytes;
  }

  /** Where the input was begun, before anything of it is sealed: it may have another name when it is looked for again. @param {any} place */
  begunAt(place) {
    if (this.place) return;
    this.place = place;
    this.#saveState();
  }

  /**
   * Makes a batch of plays. Its name is a hash of them and of their place: the same again where the same is read again.
   * Its home is kept with it, since the same name with another home may be counted twice. Where each play names its
   * region the batch has none, so that it is known again though the folder is lost; else it has the one that was learned
   * last.
   * @param {string[]} plays each as JSON
   * @param {any} place of the input after them
   * @param {string} where what tells these plays from the same ones at another place
   */
  seal(plays, place, where) {
    const key = keyOf(this.#next++);
    const text = `[${plays.join(",")}]`;
    const home = this.home && !plays.every(namesRegion) ? this.home : null;
    this.#writeBatch(key, { client: nameOf(where, text), count: plays.length, place, home }, text);
    this.place = place;
    if (this.#open !== null) closeSync(this.#open);
    this.#open = null;
    rmSync(this.#path(`open-${key}`), { force: true });
  }

  #writeBatch(key, head, text) {
    const whole = { ...head, bytes: Buffer.byteLength(text) };
    this.#write(`${key}.batch`, `${JSON.stringify(whole)}\n${text}`);
    this.#push({ key, client: whole.client, count: whole.count, bytes: whole.bytes, home: whole.home, sent: 0 });
  }

  /** Before the first attempt: from now on somebody may have heard of it. @param {Batch} batch */
  begin(batch) {
    [batch.sent, batch.begun] = [Date.now(), performance.now()];
    this.#write(`${batch.key}.sent`, String(batch.sent));
  }

  /** Nobody has heard of it, after all. @param {Batch} batch */
  forgetAttempt(batch) {
    batch.sent = 0;
    rmSync(this.#path(`${batch.key}.sent`), { force: true });
  }

  /** It was answered for good. @param {Batch} batch */
  done(batch) {
    // First what it says of the input, then it goes.
    if (numberOf(batch.key) >= this.#state.next || this.home !== this.#state.home) this.#saveState();
    this.#remove(batch);
  }

  #saveState() {
    this.#state = { ...this.#state, next: this.#next, place: this.place, others: this.#others, home: this.home };
    this.#write("state.json", JSON.stringify(this.#state));
  }

  #remove(batch) {
    rmSync(this.#path(`${batch.key}.batch`), { force: true });
    rmSync(this.#path(`${batch.key}.sent`), { force: true });
    this.waiting.splice(this.waiting.indexOf(batch), 1);
    this.waitingBytes -= batch.bytes;
  }

  /** Another name for a batch of which nothing was counted. @param {Batch} batch */
  rename(batch) {
    const { place, count } = this.#headOf(batch.key);
    const text = this.playsOf(batch);
    const client = nameOf(randomBytes(16).toString("hex"), text);
    this.#write(`${batch.key}.batch`, `${JSON.stringify({ client, count, place, bytes: batch.bytes, home: batch.home })}\n${text}`);
    this.forgetAttempt(batch);
    batch.client = client;
  }

  /** Two halves in the place of a batch that was too large, and of which nothing was counted. @param {Batch} batch */
  split(batch) {
    const plays = JSON.parse(this.playsOf(batch)).map((play) => JSON.stringify(play));
    const { place } = this.#headOf(batch.key);
    const middle = plays.length >> 1;
    const rest = this.waiting.splice(this.waiting.indexOf(batch));
    for (const [half, part] of [
      ["a", plays.slice(0, middle)],
      ["b", plays.slice(middle)],
    ]) {
      const text = `[${part.join(",")}]`;
      this.#writeBatch(
        `${batch.key}.${half}`,
        { client: nameOf(`${batch.client} ${half}`, text), count: part.length, place, home: batch.home },
        text,
      );
    }
    this.waiting.push(...rest);
    this.#remove(batch);
  }

  /** Keeps the plays of a batch that is not sent again. @param {Batch} batch @param {"in-doubt" | "refused"} why @returns {string} the file */
  setAside(batch, why) {
    makeOwnFolder(this.#path(why));
    const name = join(why, `${batch.key}.ndjson`);
    this.#write(
      name,
      JSON.parse(this.playsOf(batch))
        .map((play) => `${JSON.stringify(play)}\n`)
        .join(""),
    );
    this.done(batch);
    return this.#path(name);
  }

  /**
   * What was not counted, so that it may be sent again: on one board alone, where others have counted the play.
   * @param {Batch} batch @param {{index: number, code: string, detail: string, board?: string}[]} rejected
   */
  keepRejected(batch, rejected) {
    if (rejected.length === 0 || this.#rejectedBytes > MAX_REJECTED_BYTES) return;
    const plays = JSON.parse(this.playsOf(batch));
    const text = rejected
      .map(({ index, board, ...why }) => `${JSON.stringify({ ...plays[index], ...(board ? { board, boards: undefined } : {}), ...why })}\n`)
      .join("");
    this.#rejectedBytes += Buffer.byteLength(text);
    writeFileSync(this.#path("rejected.ndjson"), text, { flag: "a", mode: OWN_FILE });
  }

  /** An entry that may be confirmed when this returns: it is on disk, or this throws. @param {any} entry as JSON */
  append(entry) {
    if (this.#open === null) {
      this.#open = openSync(this.#path(`open-${keyOf(this.#next)}`), "a", OWN_FILE);
      syncFolder(this.folder);
    }
    const { size } = fstatSync(this.#open);
    try {
      writeFileSync(this.#open, `${JSON.stringify(entry)}\n`);
      fsyncSync(this.#open);
    } catch (error) {
      // A disk that is full takes a part of it, behind which the next one would stand.
      ftruncateSync(this.#open, size);
      throw error;
    }
  }

  /** What was confirmed and not sealed. @returns {any[]} */
  appended() {
    const name = `open-${keyOf(this.#next)}`;
    if (!existsSync(this.#path(name))) return [];
    const bytes = readFileSync(this.#path(name));
    // What stands behind the last line's end was not confirmed.
    const end = bytes.lastIndexOf("\n") + 1;
    if (end < bytes.length) truncateSync(this.#path(name), end);
    /** @type {any[]} */
    const entries = [];
    const damaged = bytes
      .toString("utf8", 0, end)
      .split("\n")
      .filter((line) => line && !isRead(line, entries));
    if (damaged.length > 0) {
      makeOwnFolder(this.#path("damaged"));
      this.#write(join("damaged", name), damaged.map((line) => `${line}\n`).join(""));
      this.damaged = { lines: damaged.length, file: this.#path("damaged", name) };
    }
    return entries;
  }

  /** What was confirmed becomes a batch before anything else does: the next one takes its number, whoever reads what now. */
  sealConfirmed() {
    const entries = this.appended();
    if (entries.length === 0) return;
    // They are of no file.
    this.goOn(this.places.find(({ input }) => !input) ?? null);
    const place = { reader: this.place?.reader, confirmed: entries.at(-1).hash };
    const plays = entries.flatMap(({ texts }) => texts);
    if (plays.length > 0) this.seal(plays, place, randomBytes(16).toString("hex"));
    else this.place = place;
  }

  /** A file that is there as a whole, or not at all. */
  #write(name, text) {
    const path = this.#path(name);
    const file = openSync(`${path}.new`, "w", OWN_FILE);
    try {
      writeFileSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(`${path}.new`, path);
    syncFolder(dirname(path));
  }
}

/** So that a new name in it outlives the machine, too. @param {string} path */
function syncFolder(path) {
  const folder = openSync(path, "r");
  fsyncSync(folder);
  closeSync(folder);
}

/** @param {string} line @param {any[]} entries to which what it says is added */
function isRead(line, entries) {
  try {
    return entries.push(JSON.parse(line)) > 0;
  } catch {
    return false;
  }
}

/** @param {string} play as JSON */
const namesRegion = (play) => typeof JSON.parse(play).region_id === "string";
/** @param {number} number so that names sort as numbers do */
const keyOf = (number) => String(number).padStart(10, "0");
/** @param {string} key of a batch, or of a part of it */
const numberOf = (key) => Number(key.slice(0, 10));
/** 43 letters: a client's name has 64 at most. @param {string} where @param {string} text */
const nameOf = (where, text) => createHash("sha256").update(`${where}\n`).update(text).digest("base64url");
