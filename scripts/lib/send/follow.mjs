/**
 * A log as it grows, from where it was left, also when it was rotated meanwhile: what `tail -F` does, and it knows where it
 * is. A place in it names the file (device and inode), so that a rotated one is read to its end under its new name before
 * the next one is begun. A file that was emptied (copytruncate) is read from its beginning, after the rest of its copy.
 */
import { open, readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../say.mjs";
import { HEAD_BYTES, MAX_LINE_BYTES } from "./lines.mjs";

const LOOK_MS = 250;
const CHUNK_BYTES = 256 << 10;

/** The old file is done when it did not grow for so long after the new one came. */
const GRACE_MS = 1_000;

/** What logrotate puts behind a name: a number, or a date. Another file beside it may be a copy. */
const ROTATED = /^(\.\d+|-\d{8}(-?\d+)?)$/;

/** @typedef {{inode: string, head: Buffer, mtimeMs: number}} File which one it is, and when it was written to before it was read */
/**
 * @typedef {object} FollowPlace
 * @property {number} bytes read so far, always whole lines
 * @property {string} head the first of them, in base64
 * @property {string} [path] under which it was followed
 * @property {string} [inode] and device; none of an input that was not followed
 * @property {number} [mtimeMs]
 */

export class Follow {
  #path;
  #stop;
  #tell;
  #begun;
  /** @type {import("node:fs/promises").FileHandle | null} */
  #handle = null;
  /** @type {File} */
  #file = { inode: "", head: Buffer.alloc(0), mtimeMs: 0 };
  /** Where `#rest` begins: what was read and is no line yet. */
  #at = 0;
  #rest = Buffer.alloc(0);
  #tooLong = false;
  #grewAt = 0;
  /** When another file was first seen in its place; 0 while there is none. */
  #replacedAt = 0;
  #isAwaited = false;
  /** Of what was read before this run, and not found yet. @type {FollowPlace[]} */
  #places = [];
  /** The files that were there then: no other one can have been read before. @type {Set<string>} */
  #old = new Set();
  /** The file that was read to its end last, and how long it was. */
  #done = { inode: "", size: 0n };

  /**
   * @param {string} path
   * @param {object} options
   * @param {AbortSignal} options.stop
   * @param {(text: string) => void} options.tell
   * @param {(place: any) => void} options.begun told the beginning of each file, before its first line is read
   */
  constructor(path, { stop, tell, begun }) {
    [this.#path, this.#stop, this.#tell, this.#begun] = [resolve(path), stop, tell, begun];
  }

  /**
   * @param {FollowPlace[]} places of what was read before, the last one first
   * @returns {Promise<{found: "new"} | {found: "again", place: FollowPlace}>}
   */
  async passOver(places) {
    const said = await this.#lookFor(places);
    this.#places = "place" in said ? places.filter((place) => place !== said.place) : places;
    for (const name of await this.#names()) {
      const found = await stat(join(dirname(this.#path), name), { bigint: true }).catch(() => null);
      if (found) this.#old.add(inodeOf(found));
    }
    return said;
  }

  /** @param {FollowPlace[]} places @returns {ReturnType<Follow["passOver"]>} */
  async #lookFor(places) {
    const isKnown = places.some(({ path = this.#path, inode }) => inode && path === this.#path);
    // Of a log that is rotated just now, or whose disk is not there yet, neither name may be seen at one look.
    for (let looks = 0; looks < 2 && !this.#stop.aborted;) {
      const place = await this.#goOnAt(places);
      if (place) return { found: "again", place };
      const there = await open(this.#path).catch((error) => this.#await(error));
      if (there) await there.close();
      if (there && !isKnown) return { found: "new" };
      looks = there ? looks + 1 : 0;
      await this.#pause();
    }
    if (this.#stop.aborted) return { found: "new" };
    this.#tell(`! the file that ${this.#path} was when it was read last is not there any more: what was not read of it is missing`);
    return { found: "new" };
  }

  /** The path itself, then what it may have been renamed to. */
  async #names() {
    const name = basename(this.#path);
    const names = await readdir(dirname(this.#path)).catch(() => []);
    return [name, ...names.filter((other) => other !== name && other.startsWith(name))];
  }

  /**
   * Opens the file of one of these places, and goes on there: of several that are as likely, in what was written last.
   * @param {FollowPlace[]} places
   * @param {string[]} [names] of files beside the log
   * @returns {Promise<FollowPlace | null>} which one it was
   */
  async #goOnAt(places, names) {
    const folder = dirname(this.#path);
    let best = { likeness: 0, mtimeNs: 0n, place: /** @type {FollowPlace | null} */ (null) };
    for (const candidate of names ?? (await this.#names())) {
      if (best.likeness === 3) break;
      // To open a pipe would be to wait for who writes to it.
      const isFile = (await stat(join(folder, candidate)).catch(() => null))?.isFile();
      const handle = isFile ? await open(join(folder, candidate)).catch(() => null) : null;
      if (!handle) continue;
      const found = await handle.stat({ bigint: true });
      for (const place of places) {
        const likeness = this.#likeness(place, found, candidate);
        const isBetter = likeness > best.likeness || (likeness > 0 && likeness === best.likeness && found.mtimeNs > best.mtimeNs);
        if (!isBetter || found.size < BigInt(place.bytes)) continue;
        const head = Buffer.from(place.head, "base64");
        if (!(await beginsWith(handle, head))) continue;
        best = { likeness, mtimeNs: found.mtimeNs, place };
        if (this.#handle !== handle) await this.#handle?.close();
        this.#handle = handle;
        this.#file = { inode: inodeOf(found), head: head.subarray(0, HEAD_BYTES), mtimeMs: Number(found.mtimeMs) };
        [this.#at, this.#rest, this.#tooLong, this.#replacedAt] = [place.bytes, Buffer.alloc(0), false, 0];
      }
      if (this.#handle !== handle) await handle.close();
    }
    return best.place;
  }

  /**
   * How surely a file that begins as that of a place did is that one; 0: it is not.
   * @param {FollowPlace} place
   * @param {import("node:fs").BigIntStats} found
   * @param {string} name
   */
  #likeness({ inode, path = this.#path, head, mtimeMs = 0 }, found, name) {
    if (inode === inodeOf(found)) return 3;
    // A disk may have another number after each start of the machine.
    if (inode?.endsWith(`:${found.ino}`)) return 2;
    const isRotated = ROTATED.test(name.slice(basename(this.#path).length));
    if (!head || path !== this.#path) return 0;
    // What was copied before it was emptied; a file that was rotated earlier is older.
    if (inode) return isRotated && Number(found.mtimeMs) >= mtimeMs ? 1 : 0;
    return isRotated || name === basename(this.#path) ? 1 : 0;
  }

  /** Says once why there is nothing to read. @param {unknown} error @returns {null} */
  #await(error) {
    const isMissing = /** @type {NodeJS.ErrnoException} */ (error).code === "ENOENT";
    if (!this.#isAwaited)
      this.#tell(`▸ ${this.#path} ${isMissing ? "is not there" : `cannot be read (${messageOf(error)})`}: it is waited for`);
    this.#isAwaited = true;
    return null;
  }

  #pause = () => sleep(LOOK_MS, undefined, { signal: this.#stop }).catch(() => {});

  /** @returns {Promise<import("./lines.mjs").Line[] | null>} null when it is told to stop */
  async next() {
    for (;;) {
      if (this.#stop.aborted) {
        await this.#close();
        return null;
      }
      const lines = this.#handle || (await this.#begin()) ? await this.#read() : [];
      if (lines.length > 0) return lines;
      if (!this.#handle || !(await this.#isOver())) await this.#pause();
    }
  }

  /** @param {{file: File, bytes: number} | 0} end of a line that was given out */
  placeAt(end) {
    if (end === 0) return undefined;
    return this.#placeIn(end.file, end.bytes);
  }

  /** @param {File} file @param {number} bytes @returns {FollowPlace} */
  #placeIn({ inode, head, mtimeMs }, bytes) {
    return { path: this.#path, inode, mtimeMs, bytes, head: head.subarray(0, bytes).toString("base64") };
  }

  async #close() {
    await this.#handle?.close();
    this.#handle = null;
  }

  /** @returns {Promise<boolean>} whether there is a file */
  async #begin(path = this.#path) {
    await this.#close();
    const handle = await open(path).catch((error) => this.#await(error));
    if (!handle) return false;
    const found = await handle.stat({ bigint: true });
    [this.#handle, this.#isAwaited] = [handle, false];
    this.#file = { inode: inodeOf(found), head: Buffer.alloc(0), mtimeMs: Number(found.mtimeMs) };
    [this.#at, this.#rest, this.#tooLong, this.#replacedAt] = [0, Buffer.alloc(0), false, 0];
    this.#begun(this.#placeIn(this.#file, 0));
    return true;
  }

  async #read() {
    const handle = /** @type {import("node:fs/promises").FileHandle} */ (this.#handle);
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, this.#at + this.#rest.length);
    if (bytesRead === 0) return [];
    const file = this.#file;
    const { mtimeMs } = await handle.stat();
    // Emptied, it may have outgrown what was read before it is looked at again.
    if (!(await beginsWith(handle, file.head))) {
      await this.#emptied();
      return [];
    }
    [this.#grewAt, file.mtimeMs] = [performance.now(), Math.floor(mtimeMs)];
    const come = buffer.subarray(0, bytesRead);
    const isBehindHead = file.head.length === this.#at + this.#rest.length;
    if (isBehindHead && file.head.length < HEAD_BYTES) file.head = Buffer.concat([file.head, come]).subarray(0, HEAD_BYTES);
    const bytes = Buffer.concat([this.#rest, come]);
    /** @type {any[]} */
    const lines = [];
    let begin = 0;
    for (let at; (at = bytes.indexOf(0x0a, begin)) !== -1; begin = at + 1) {
      lines.push({ bytes: this.#tooLong ? null : bytes.subarray(begin, at), end: { file, bytes: this.#at + at + 1 }, whole: true });
      this.#tooLong = false;
    }
    this.#rest = bytes.subarray(begin);
    this.#at += begin;
    if (this.#rest.length > MAX_LINE_BYTES) {
      this.#tooLong = true;
      this.#at += this.#rest.length;
      this.#rest = Buffer.alloc(0);
    }
    return lines;
  }

  /** At the end of what is written: whether another file has taken its place. @returns {Promise<boolean>} */
  async #isOver() {
    const { size, mtimeNs } = await /** @type {import("node:fs/promises").FileHandle} */ (this.#handle).stat({ bigint: true });
    const there = await stat(this.#path, { bigint: true }).catch(() => null);
    if (size < this.#at + this.#rest.length) return this.#emptied();
    if (!there || inodeOf(there) === this.#file.inode) return false;
    // Whoever writes may not have heard yet that it was renamed, however long it wrote nothing before.
    this.#replacedAt ||= performance.now();
    if (performance.now() - Math.max(this.#grewAt, this.#replacedAt) < GRACE_MS || size > this.#at + this.#rest.length) return false;
    if (this.#rest.length > 0) this.#tell(`! half a line at the end of the file that ${this.#path} was is left out`);
    const next = await this.#after(mtimeNs, this.#done);
    this.#done = { inode: this.#file.inode, size };
    const found = await stat(next, { bigint: true }).catch(() => null);
    // It may have been read before, by its own name.
    const isOld = found && this.#old.delete(inodeOf(found));
    return isOld && (await this.#goOnAt(this.#places, [basename(next)])) ? true : this.#begin(next);
  }

  /** Goes on in the copy that was made before (copytruncate), where there is one, and then at the beginning. @returns {Promise<boolean>} */
  async #emptied() {
    const file = this.#file;
    await this.#goOnAt([this.#placeIn(file, this.#at)]);
    const isCopied = this.#file !== file;
    this.#tell(`▸ ${this.#path} was emptied: it is read from its beginning${isCopied ? ", after the rest of its copy" : ""}`);
    return isCopied ? true : this.#begin();
  }

  /** The file after this one: where it was rotated more than once meanwhile, another one that was rotated. @param {bigint} mtimeNs @param {{inode: string, size: bigint}} before which one was read before this one */
  async #after(mtimeNs, before) {
    const [folder, name] = [dirname(this.#path), basename(this.#path)];
    let next = { path: this.#path, mtimeNs: -1n };
    for (const other of await readdir(folder).catch(() => [])) {
      if (!other.startsWith(name) || !ROTATED.test(other.slice(name.length))) continue;
      const found = await stat(join(folder, other), { bigint: true }).catch(() => null);
      if (!found?.isFile() || found.mtimeNs <= mtimeNs || inodeOf(found) === this.#file.inode) continue;
      // Written to once more when this one was there already, and read with that.
      if (inodeOf(found) === before.inode && found.size === before.size) continue;
      if (next.mtimeNs < 0n || found.mtimeNs < next.mtimeNs) next = { path: join(folder, other), mtimeNs: found.mtimeNs };
    }
    return next.path;
  }
}

/** @param {import("node:fs").BigIntStats} found */
const inodeOf = ({ dev, ino }) => `${dev}:${ino}`;

/** @param {import("node:fs/promises").FileHandle} handle @param {Buffer} head */
async function beginsWith(handle, head) {
  const { buffer } = await handle.read(Buffer.alloc(head.length), 0, head.length, 0);
  return buffer.equals(head);
}
