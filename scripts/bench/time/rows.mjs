/** The stored panes as rows. The form of a key is that of `src/global/ladder.rs`. */
import { Storage } from "./storage.mjs";

export const MINUTE_MS = 60_000;
export const DAY_MS = 24 * 60 * MINUTE_MS;
const PANES = 5;
const NAMES = ["minute", "15 minutes", "2 hours", "day", "all time"];
/** Panes kept a year after the first play; `src/window/mod.rs` has the numbers. */
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

/** Stores the last `days` days again, further and further back, up to so many in all. */
export function repeatOlderDays(storage, days, inAll) {
  for (const [key, value] of [...storage.rows(PANES)]) {
    const parts = partsOf(key);
    if (parts.level !== 3) continue;
    const newest = parts.start;
    for (let back = days; back < inAll; back += days) {
      storage.set(PANES, keyOf({ ...parts, start: newest - BigInt(back * DAY_MS) }), value);
    }
  }
}

/** The same with more regions: the first ones over again, under other names. */
export function copyRegions(stored, regions, inAll) {
  const more = new Storage();
  for (const [key, value] of stored.rows(PANES)) {
    more.set(PANES, key, value);
    const parts = partsOf(key);
    if (parts.scope === "global") continue;
    const number = Number(parts.scope.slice(1));
    for (let region = number + regions; region < inAll; region += regions) {
      more.set(PANES, keyOf({ ...parts, scope: `R${region}` }), value);
    }
  }
  return more;
}

/** What a region's ladder takes after a year: the mean size of each level times the panes kept. */
export function paneSizes(stored) {
  /** @type {number[][]} */
  const sizes = KEPT.map(() => []);
  for (const [key, value] of stored.rows(PANES)) {
    const { scope, level } = partsOf(key);
    if (scope !== "global") sizes[level].push(value.length);
  }
  const means = sizes.map((all) => all.reduce((sum, size) => sum + size, 0) / all.length);
  const bytes = means.reduce((sum, mean, level) => sum + mean * KEPT[level], 0);
  const terms = means.map((mean, level) => `${KEPT[level]} × ${(mean / 1e3).toFixed(1)} kB (${NAMES[level]})`);
  return { bytes, formula: `${terms.join(" + ")}` };
}
