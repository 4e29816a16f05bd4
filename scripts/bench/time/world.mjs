/** What is played in the benchmark of time: full ladders, and panes as shards send them. */
import { check, send, start } from "./instance.mjs";
import { copyRegions, DAY_MS, MINUTE_MS, repeatOlderDays } from "./rows.mjs";
import { Storage } from "./storage.mjs";

/** Where the year's charts need most panes: the clock is set to the worst minute of a day. */
const SOME_DAY_MS = Date.UTC(2026, 10, 23);
const LEVELS = { minute: 0, quarter: 1, twoHours: 2, day: 3 };
/** Panes that are drawn; the 800 days of the ladder repeat the last of them. */
const HISTORY = { [LEVELS.day]: 70, [LEVELS.twoHours]: 193, [LEVELS.quarter]: 210, [LEVELS.minute]: 180 };
export const LENGTHS = {
  [LEVELS.day]: DAY_MS,
  [LEVELS.twoHours]: 2 * 60 * MINUTE_MS,
  [LEVELS.quarter]: 15 * MINUTE_MS,
  [LEVELS.minute]: MINUTE_MS,
};
export const DAY_HOURS = 24;
export const MONTH_HOURS = 30 * 24;
/** Regions whose ladders are folded; the others have the same rows. */
const FOLDED_REGIONS = 2;

/** Draws plays, in an instance of its own. */
export class World {
  constructor(module) {
    this.module = module;
    this.storage = new Storage();
    this.instance = start(module, this.storage);
    this.instance.draw();
    const minutes = Array.from({ length: 1_440 }, (_, minute) => SOME_DAY_MS + minute * MINUTE_MS);
    const most = (at) => this.instance.panes_of(DAY_HOURS, at + 1) + this.instance.panes_of(MONTH_HOURS, at + 1);
    this.startMs = minutes.reduce((best, at) => (most(at) > most(best) ? at : best));
    this.panes = Object.fromEntries([DAY_HOURS, MONTH_HOURS].map((hours) => [hours, this.instance.panes_of(hours, this.startMs + 1)]));
  }

  /** What was made last, copied out. */
  message(bytes) {
    const at = this.instance.made() >>> 0;
    return new Uint8Array(this.instance.memory.buffer, at, bytes).slice();
  }

  push(region, shard, minute, step) {
    return this.message(this.instance.draw_push(region, shard, this.startMs, minute, step));
  }

  /** The stored rows of 10 regions; those of the first are folded by the state machine itself. */
  ladders() {
    const storage = new Storage();
    const loader = start(this.module, storage);
    check(loader.load(FOLDED_REGIONS));
    for (const level of [LEVELS.day, LEVELS.twoHours, LEVELS.quarter, LEVELS.minute]) {
      const end = Math.floor(this.startMs / LENGTHS[level]) * LENGTHS[level];
      // Of days as many are taken at once as may be folded at once: at least one.
      const atOnce = level === LEVELS.day ? 1 : 10;
      for (let from = 0; from < HISTORY[level]; from += atOnce) {
        const count = Math.min(atOnce, HISTORY[level] - from);
        for (let region = 0; region < FOLDED_REGIONS; region++) {
          const bytes = this.instance.draw_history(region, level, end - from * LENGTHS[level], count);
          send(loader, this.message(bytes));
          check(loader.take_history(this.startMs));
          check(loader.flush(this.startMs));
        }
      }
    }
    repeatOlderDays(storage, HISTORY[LEVELS.day], 800);
    return copyRegions(storage, FOLDED_REGIONS, 10);
  }
}
