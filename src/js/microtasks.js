/**
 * How the futures of Wasm are woken, several times a request. The build puts this in place of the runtime's
 * own `queueMicrotask` (scripts/build.mjs), which makes a native function at each call: that took 8 % of a
 * beacon's time. This one makes nothing.
 */

import { hasEnded, note } from "./instance.js";

const settled = Promise.resolve();
/** @type {Function | null} */
let known = null;
/** @type {(() => void) | undefined} */
let guarded;

/** @param {() => void} work nearly always the same */
export function queueMicrotask(work) {
  if (work !== known) {
    known = work;
    guarded = () => {
      if (hasEnded()) return;
      try {
        work();
      } catch (error) {
        note(error);
        reportError(error);
      }
    };
  }
  settled.then(guarded);
}
