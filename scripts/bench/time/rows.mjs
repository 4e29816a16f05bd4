/** The stored panes as rows. The form of a key is that of `src/global/ladder.rs`. */
import { Storage, TABLES } from "./storage.mjs";

export const MINUTE_MS = 60_000;
export const DAY_MS = 24 * 60 * MINUTE_MS;
const NAMES = ["minute", "15 minutes", "2 hours", "day", "all time"];
/** Panes kept a year after the first play; `src/window/mod.rs` has the numbers. */
const DAY = 3;
const KEPT = [180, 210, 193, 365, 1];

/** scope, 0, level, start as u64, generation. */
const partsOf = (key) => {
  const [scope] = key.split("\0", 1);
  const rest = Buffer.from(key.slice(scope.length + 1), "latin1");
  return { scope, level: rest[0], start: rest.readBigUInt64BE(1) };
};

const keyOf = ({ scope, level, start }) => {
  const rest = Buffer.alloc(10);
  rest[0] = level;
  rest.writeBigUInt64BE(start, 1);
  return `${scope}\0${rest.toString("latin1")}`;
};

/** Stores days again, further and further back, up to so many in all: the older half of `days`, which are thinned. */
export function repeatOlderDays(storage, days, inAll) {
  const dayRows = [...storage.rows(TABLES.panes)].map(([key, value]) => ({ value, ...partsOf(key) })).filter(({ level }) => level === DAY);
  const newest = dayRows.reduce((newest, { start }) => (start > newest ? start : newest), 0n);
  const period = days / 2;
  for (const { value, ...parts } of dayRows) {
    if (parts.start > newest - BigInt(period * DAY_MS)) continue;
    for (let back = period; back < inAll - period; back += period) {
      storage.set(TABLES.panes, keyOf({ ...parts, start: parts.start - BigInt(back * DAY_MS) }), value);
    }
  }
}

/** The same with more regions: the first ones over again, under other names. */
export function copyRegions(stored, regions, inAll) {
  const more = new Storage();
  for (const [key, value] of stored.rows(TABLES.panes)) {
    more.set(TABLES.panes, key, value);
    const parts = partsOf(key);
    if (parts.scope === "global") continue;
    const number = Number(parts.scope.slice(1));
    for (let region = number + regions; region < inAll; region += regions) {
      more.set(TABLES.panes, keyOf({ ...parts, scope: `R${region}` }), value);
    }
  }
  return more;
}

/**
 * What a region's ladder takes after a year: the mean size of each level times the panes kept.
 * @param {Storage} stored
 * @param {number} nowMs
 */
export function paneSizes(stored, nowMs) {
  /** @type {number[][]} */
  const sizes = KEPT.map(() => []);
  const yearAgo = BigInt(nowMs - KEPT[DAY] * DAY_MS);
  for (const [key, value] of stored.rows(TABLES.panes)) {
    const { scope, level, start } = partsOf(key);
    if (scope !== "global" && (level !== DAY || start > yearAgo)) sizes[level].push(value.length);
  }
  const means = sizes.map((all) => all.reduce((sum, size) => sum + size, 0) / all.length);
  const bytes = means.reduce((sum, mean, level) => sum + mean * KEPT[level], 0);
  const terms = means.map((mean, level) => `${KEPT[level]} × ${(mean / 1e3).toFixed(1)} kB (${NAMES[level]})`);
  return { bytes, means, formula: `${terms.join(" + ")}` };
}

/**
 * What the published charts of a region take in a year: the mean size of each kind times its periods.
 * @param {Storage} stored
 */
export function chartSizes(stored) {
  const periods = [365, 52, 12];
  /** @type {number[][]} */
  const sizes = periods.map(() => []);
  for (const [key, value] of stored.rows(TABLES.charts)) {
    const [scope] = key.split("\0", 1);
    // The kind comes first after the scope, in the order in which they are numbered.
    if (scope !== "global") sizes[key.charCodeAt(scope.length + 1)]?.push(value.length);
  }
  const means = sizes.map((all) => all.reduce((sum, size) => sum + size, 0) / all.length);
  const terms = means.map((mean, kind) => `${periods[kind]} × ${(mean / 1e3).toFixed(1)} kB`);
  return { bytes: means.reduce((sum, mean, kind) => sum + mean * periods[kind], 0), formula: terms.join(" + ") };
}
