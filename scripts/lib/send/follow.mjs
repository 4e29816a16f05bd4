/**
 * A log as it grows, from where it was left, also when it was rotated meanwhile: what `tail -F` does, and it knows where it
 * is. A place in it names the file (device and inode), so that a rotated one is read to its end under its new name before
 * the next one is begun. A file that was emptied (copytruncate) is read from its beginning.
 */
import { open, readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { MAX_LINE_BYTES } from "./lines.mjs";

const LOOK_MS = 250;
const CHUNK_BYTES = 256 << 10;
/** Enough to know a file that got the inode of one that is gone. */
const HEAD_BYTES = 1_024;

/** The old file is done when it did not grow for so long after the new one came. */
const GRACE_MS = 1_000;

/** What logrotate puts behind a name: a number, or a date. Another file beside it may be a copy. */
const ROTATED = /^(\.\d+|-\d{8}(-?\d+)?)$/;

/** @typedef {{inode: string, head: Buffer}} File which one it is */

export class Follow {
  #path;
  #stop;
  #tell;
  #begun;
  /** @type {import("node:fs/promises").FileHandle | null} */
  #handle = null;
  /** @type {File} */
  #file = { inode: "", head: Buffer.alloc(0) };
  /** Where `#rest` begins: what was read and is no line yet. */
  #at = 0;
  #rest = Buffer.alloc(0);
  #tooLong = false;
  #grewAt = 0;
  /** When another file was first seen in its place; 0 while there is none. */
  #replacedAt = 0;

  /**
   * @param {string} path
   * @param {object} options
   * @param {AbortSignal} options.stop
   * @param {(text: string) => void} options.tell
   * @param {(place: any) => void} options.begun told the beginning of each file, before its first line is read
   */
  constructor(path, { stop, tell, begun }) {
    [this.#path, this.#stop, this.#tell, this.#begun] = [path, stop, tell, begun];
  }

  /** @param {{inode: string, bytes: number, head: string}} place @returns {Promise<"new" | "again">} */
  async passOver({ inode, bytes, head }) {
    const [folder, name] = [dirname(this.#path), basename(this.#path)];
    const names = await readdir(folder).catch(() => []);
    // The path itself, then what it may have been renamed to.
    for (const candidate of [name, ...names.filter((other) => other !== name && other.startsWith(name))]) {
      const handle = await open(join(folder, candidate)).catch(() => null);
      if (!handle) continue;
      const { ino, dev, size } = await handle.stat({ bigint: true });
      const known = Buffer.from(head, "base64");
      const { buffer } = await handle.read(Buffer.alloc(known.length), 0, known.length, 0);
      if (`${dev}:${ino}` === inode && size >= BigInt(bytes) && buffer.equals(known)) {
        [this.#handle, this.#file, this.#at] = [handle, { inode, head: known }, bytes];
        return "again";
      }
      await handle.close();
    }
    this.#tell(`! the file that ${this.#path} was when it was read last is not there any more: what was not read of it is missing`);
    return "new";
  }

  /** @returns {Promise<import("./lines.mjs").Line[] | null>} null when it is told to stop */
  async next() {
    for (;;) {
      if (this.#stop.aborted) {
        await this.#close();
        return null;
      }
      const lines = this.#handle || (await this.#begin()) ? await this.#read() : [];
      if (lines.length > 0) return lines;
      if (!this.#handle || !(await this.#isOver())) await sleep(LOOK_MS, undefined, { signal: this.#stop }).catch(() => {});
    }
  }

  /** @param {{file: File, bytes: number} | 0} end of a line that was given out */
  placeAt(end) {
    if (end === 0) return undefined;
    const { file, bytes } = end;
    return { inode: file.inode, bytes, head: file.head.subarray(0, bytes).toString("base64") };
  }

  async #close() {
    await this.#handle?.close();
    this.#handle = null;
  }

  /** @returns {Promise<boolean>} whether there is a file */
  async #begin(path = this.#path) {
    await this.#close();
    this.#handle = await open(path).catch(() => null);
    if (!this.#handle) return false;
    const { ino, dev } = await this.#handle.stat({ bigint: true });
    this.#file = { inode: `${dev}:${ino}`, head: Buffer.alloc(0) };
    [this.#at, this.#rest, this.#tooLong, this.#replacedAt] = [0, Buffer.alloc(0), false, 0];
    this.#begun(this.placeAt({ file: this.#file, bytes: 0 }));
    return true;
  }

  async #read() {
    const handle = /** @type {import("node:fs/promises").FileHandle} */ (this.#handle);
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, this.#at + this.#rest.length);
    if (bytesRead === 0) return [];
    this.#grewAt = performance.now();
    const come = buffer.subarray(0, bytesRead);
    const file = this.#file;
    if (file.head.length < HEAD_BYTES) file.head = Buffer.concat([file.head, come]).subarray(0, HEAD_BYTES);
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
    if (size < this.#at + this.#rest.length) {
      this.#tell(`▸ ${this.#path} was emptied: it is read from its beginning`);
      return this.#begin();
    }
    if (!there || `${there.dev}:${there.ino}` === this.#file.inode) return false;
    // Whoever writes may not have heard yet that it was renamed, however long it wrote nothing before.
    this.#replacedAt ||= performance.now();
    if (performance.now() - Math.max(this.#grewAt, this.#replacedAt) < GRACE_MS || size > this.#at + this.#rest.length) return false;
    if (this.#rest.length > 0) this.#tell(`! half a line at the end of the file that ${this.#path} was is left out`);
    return this.#begin(await this.#after(mtimeNs));
  }

  /** The file after this one: where it was rotated more than once meanwhile, another one that was rotated. @param {bigint} mtimeNs */
  async #after(mtimeNs) {
    const [folder, name] = [dirname(this.#path), basename(this.#path)];
    let next = { path: this.#path, mtimeNs: -1n };
    for (const other of await readdir(folder).catch(() => [])) {
      if (!other.startsWith(name) || !ROTATED.test(other.slice(name.length))) continue;
      const found = await stat(join(folder, other), { bigint: true }).catch(() => null);
      if (!found?.isFile() || found.mtimeNs <= mtimeNs || `${found.dev}:${found.ino}` === this.#file.inode) continue;
      if (next.mtimeNs < 0n || found.mtimeNs < next.mtimeNs) next = { path: join(folder, other), mtimeNs: found.mtimeNs };
    }
    return next.path;
  }
}
