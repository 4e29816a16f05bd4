/**
 * The clock by which this isolate ages what it keeps. The platform's may be set back: by that one, a chart
 * of before would be fresh until the clock is where it was, and a board that was made private since open.
 */

/** Requests see the time a little apart, by as much as their timers are late: such steps mean nothing. */
const APART_MS = 5_000;
/** As long as anything is kept by this clock: the directory (`PLAYS_FRESH_MS` in src/edge/directory.rs). */
const LONGEST_MS = 60_000;

/** What this clock is ahead of the platform's. */
let ahead_ms = 0;
let latest_ms = 0;

/**
 * Milliseconds, for differences only: it never goes back. Where the platform's clock did, nobody knows how
 * long that took, and all that is kept is too old for good.
 * @returns {number}
 */
export function steadyMs() {
  const now_ms = Date.now() + ahead_ms;
  const back_ms = latest_ms - now_ms;
  if (back_ms > APART_MS) {
    ahead_ms += back_ms + LONGEST_MS;
    latest_ms += LONGEST_MS;
  } else if (back_ms < 0) {
    latest_ms = now_ms;
  }
  return latest_ms;
}
