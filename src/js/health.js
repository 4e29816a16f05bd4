/**
 * What this isolate knows of shards: how they were when they last answered to plays. `/healthz` tells
 * it, which wakes no object.
 */
import { steadyMs } from "./clock.js";

/** Three push intervals: who takes plays every second is heard from, and what is mended is soon forgotten. */
const KNOWN_MS = 15_000;
/** As many as a region may have; of more, those that were heard from longest ago are forgotten. */
const MAX_SHARDS = 1_000;
const MAX_TOLD = 10;

/** By the numbers that a shard gives (`Trouble` in src/region/driver.rs). */
const WHAT = ["", "memory", "storage", "pushes", "away"];
/** The shard did not answer. */
export const AWAY = WHAT.indexOf("away");

/** @type {Map<string, {heard_ms: number, trouble: number}>} by the object's name, in the order in which they were heard from */
const shards = new Map();

/** @param {string} name of the object @param {number | undefined} trouble 0 or undefined for none */
export function heard(name, trouble = 0) {
  shards.delete(name);
  shards.set(name, { heard_ms: steadyMs(), trouble });
  if (shards.size <= MAX_SHARDS) return;
  const [oldest] = shards.keys();
  shards.delete(oldest);
}

/** @returns {string} JSON, as src/edge/health.rs reads it */
export function knownOfShards() {
  const since_ms = steadyMs() - KNOWN_MS;
  for (const [name, { heard_ms }] of shards) {
    if (heard_ms >= since_ms) break;
    shards.delete(name);
  }
  const wrong = new Map();
  for (const [name, { trouble }] of shards) {
    if (trouble === 0 || wrong.size >= MAX_TOLD) continue;
    // Of "main/NA/0": a region's id has no slash.
    const [, region_id] = name.split("/");
    const what = WHAT[trouble] ?? "away";
    wrong.set(`${what} ${region_id}`, { what, region_id });
  }
  return JSON.stringify({ shards: shards.size, wrong: [...wrong.values()] });
}
