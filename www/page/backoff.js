/**
 * When to try again. What fails for one reader mostly fails for all of them at the same moment, such
 * as a server that is started anew; were they to come back together, it would fail again. So the
 * wait is drawn evenly from none to all of a span ("full jitter"), which doubles with each failure.
 *
 * @param {number} failures in a row, before this one
 * @param {{ baseMs: number, mostMs: number }} limits
 * @param {() => number} [random]
 * @returns {number} milliseconds
 */
export function retryInMs(failures, { baseMs, mostMs }, random = Math.random) {
  return random() * Math.min(baseMs * 2 ** failures, mostMs);
}
