/** Departures from New York: the demo's extract and the whole year have the same columns. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

/**
 * @typedef {object} Flight
 * @property {number} time scheduled departure, New York local time taken as UTC, ms
 * @property {string} origin EWR, JFK or LGA
 * @property {string} dest
 * @property {string} carrier
 * @property {string} tailnum `NA` where it is missing
 */

/**
 * @param {string} path of a gzipped table with a header line
 * @returns {Flight[]} in order of time
 */
export function readFlights(path) {
  const [header, ...rows] = gunzipSync(readFileSync(path)).toString("utf8").trimEnd().split("\n");
  const columns = header.split("\t");
  const [time, origin, dest, carrier, tailnum] = ["sched_dep_local", "origin", "dest", "carrier", "tailnum"].map((name) =>
    columns.indexOf(name),
  );
  return rows.map((row) => {
    const cells = row.split("\t");
    return {
      time: Date.parse(`${cells[time]}Z`),
      origin: cells[origin],
      dest: cells[dest],
      carrier: cells[carrier],
      tailnum: cells[tailnum],
    };
  });
}

/**
 * The first two columns of a CSV table.
 * @param {string} path
 * @returns {Map<string, string>} without the header
 */
export function readNames(path) {
  const [, ...rows] = readFileSync(path, "utf8").trimEnd().split(/\r?\n/);
  return new Map(
    rows.map((row) => {
      const columns = /^([^,]*),(?:"((?:[^"]|"")*)"|([^,]*))/.exec(row);
      if (!columns) throw new Error(`${path}: ${row} has one column only`);
      const [, key, quoted, plain] = columns;
      return [key, quoted?.replaceAll('""', '"') ?? plain];
    }),
  );
}

/**
 * Counts, most frequent first; equal ones in order of their UTF-8 bytes, as charts are.
 * @param {Iterable<string>} keys
 * @returns {[string, number][]}
 */
export function countKeys(keys) {
  const counts = new Map();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return [...counts].sort(([a, m], [b, n]) => n - m || Buffer.compare(Buffer.from(a), Buffer.from(b)));
}
