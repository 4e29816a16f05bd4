/** The rows of an instance, outside of it, as a Durable Object's database is. See `host.rs`. */

const keyOf = (bytes) => Buffer.from(bytes).toString("latin1");
const bytesOf = (key) => Buffer.from(key, "latin1");

export class Storage {
  /** @type {Map<number, Map<string, Uint8Array>>} by table and key */
  tables = new Map();
  /** Keys in order, of tables of which keys were asked for in order. @type {Map<number, string[]>} */
  #sorted = new Map();
  #found = Buffer.alloc(0);
  puts = 0;
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
    if (!rows.has(key)) this.#sorted.delete(table);
    rows.set(key, value);
  }

  #bytes(at, length) {
    return new Uint8Array(this.instance.memory.buffer, at >>> 0, length >>> 0);
  }

  /** The keys of a table that are `start` or above and begin with `prefix`. */
  *#from(table, prefix, start) {
    let keys = this.#sorted.get(table);
    if (!keys) this.#sorted.set(table, (keys = [...this.rows(table).keys()].sort()));
    let [low, high] = [0, keys.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (keys[middle] < start) low = middle + 1;
      else high = middle;
    }
    for (; low < keys.length && keys[low].startsWith(prefix); low++) yield keys[low];
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
        this.set(table, keyOf(this.#bytes(keyAt, keyLength)), this.#bytes(valueAt, valueLength).slice());
      },
      delete: (table, keyAt, keyLength) => {
        this.deletes++;
        if (this.rows(table).delete(keyOf(this.#bytes(keyAt, keyLength)))) this.#sorted.delete(table);
      },
      bytes: (table) => [...this.rows(table).values()].reduce((sum, value) => sum + value.length, 0),
    },
  };
}
