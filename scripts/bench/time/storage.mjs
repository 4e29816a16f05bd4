/** The rows of an instance, outside of it, as a Durable Object's database is. See `host.rs`. */

/** Keys in order, in pieces: of a million, one more costs as little as of a thousand. */
class Keys {
  static MOST = 512;
  /** @type {string[][]} */
  #pieces = [[]];

  /** @param {Iterable<string>} keys */
  constructor(keys) {
    const all = [...keys].sort();
    for (let at = 0; at < all.length; at += Keys.MOST / 2) this.#pieces.push(all.slice(at, at + Keys.MOST / 2));
    if (all.length > 0) this.#pieces.shift();
  }

  /** The piece that a key is in, or would be. */
  #pieceOf(key) {
    let [low, high] = [0, this.#pieces.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#pieces[middle][0] <= key) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  add(key) {
    const number = this.#pieceOf(key);
    const piece = this.#pieces[number];
    piece.splice(placeIn(piece, key), 0, key);
    if (piece.length > Keys.MOST) this.#pieces.splice(number + 1, 0, piece.splice(Keys.MOST / 2));
  }

  delete(key) {
    const number = this.#pieceOf(key);
    const piece = this.#pieces[number];
    piece.splice(placeIn(piece, key), 1);
    if (piece.length === 0 && this.#pieces.length > 1) this.#pieces.splice(number, 1);
  }

  /** Those that are `start` or above. */
  *from(start) {
    let number = this.#pieceOf(start);
    let at = placeIn(this.#pieces[number], start);
    for (; number < this.#pieces.length; number++, at = 0) {
      for (const piece = this.#pieces[number]; at < piece.length; at++) yield piece[at];
    }
  }
}

/** The place of the first key of some in order that is not below this one. */
function placeIn(keys, key) {
  let [low, high] = [0, keys.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keys[middle] < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** As `Table` of src/storage/mod.rs numbers them. */
export const TABLES = { panes: 5, charts: 11 };

const keyOf = (bytes) => Buffer.from(bytes).toString("latin1");
const bytesOf = (key) => Buffer.from(key, "latin1");

export class Storage {
  /** @type {Map<number, Map<string, Uint8Array>>} by table and key */
  tables = new Map();
  /** Of tables of which keys were asked for in order. @type {Map<number, Keys>} */
  #sorted = new Map();
  #found = Buffer.alloc(0);
  puts = 0;
  panePuts = 0;
  deletes = 0;
  /** @type {Record<string, any>} exports of the instance */
  instance = {};

  /** Another storage with the same rows. */
  clone() {
    const copy = new Storage();
    for (const [table, rows] of this.tables) copy.tables.set(table, new Map(rows));
    return copy;
  }

  /** @param {number} table */
  rows(table) {
    let rows = this.tables.get(table);
    if (!rows) this.tables.set(table, (rows = new Map()));
    return rows;
  }

  set(table, key, value) {
    const rows = this.rows(table);
    if (!rows.has(key)) this.#sorted.get(table)?.add(key);
    rows.set(key, value);
  }

  #bytes(at, length) {
    return new Uint8Array(this.instance.memory.buffer, at >>> 0, length >>> 0);
  }

  /** The keys of a table that are `start` or above and begin with `prefix`. */
  *#from(table, prefix, start) {
    let keys = this.#sorted.get(table);
    if (!keys) this.#sorted.set(table, (keys = new Keys(this.rows(table).keys())));
    for (const key of keys.from(start)) {
      if (!key.startsWith(prefix)) return;
      yield key;
    }
  }

  /** What the instance imports. */
  imports = {
    storage: {
      find: (table, prefixAt, prefixLength, fromAt, fromLength, maxBytes, what) => {
        const prefix = keyOf(this.#bytes(prefixAt, prefixLength));
        const rows = this.rows(table);
        if (what === 0) {
          const value = rows.get(prefix);
          this.#found = value ? Buffer.concat([value, Buffer.of(1)]) : Buffer.alloc(0);
          return this.#found.length;
        }
        const from = keyOf(this.#bytes(fromAt, fromLength));
        const parts = [];
        let bytes = 0;
        for (const key of this.#from(table, prefix, from > prefix ? from : prefix)) {
          if (bytes > maxBytes >>> 0) break;
          const value = (what === 1 ? rows.get(key) : undefined) ?? new Uint8Array();
          const lengths = Buffer.alloc(8);
          lengths.writeUInt32LE(key.length, 0);
          lengths.writeUInt32LE(value.length, 4);
          parts.push(lengths, bytesOf(key), value);
          bytes += value.length;
        }
        this.#found = Buffer.concat(parts);
        return this.#found.length;
      },
      take: (at) => this.#bytes(at, this.#found.length).set(this.#found),
      put: (table, keyAt, keyLength, valueAt, valueLength) => {
        this.puts++;
        if (table === TABLES.panes) this.panePuts++;
        this.set(table, keyOf(this.#bytes(keyAt, keyLength)), this.#bytes(valueAt, valueLength).slice());
      },
      delete: (table, keyAt, keyLength) => {
        this.deletes++;
        const key = keyOf(this.#bytes(keyAt, keyLength));
        if (this.rows(table).delete(key)) this.#sorted.get(table)?.delete(key);
      },
      bytes: (table) => [...this.rows(table).values()].reduce((sum, value) => sum + value.length, 0),
    },
  };
}
