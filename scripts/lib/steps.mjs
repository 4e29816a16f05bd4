/**
 * What a command is doing: each step with its time so far, and what is left. At a terminal one line
 * that changes; elsewhere a line now and then.
 */
import { say } from "./say.mjs";

/** @typedef {{what: string, seconds: number}} Step its name, and how long it takes on two cores */

const LINE_INTERVAL_MS = 15_000;

/** @type {Step[]} */
let expected = [];
let done = 0;

/** Steps that will come, for the estimate of what is left. @param {...Step} steps */
export function expectSteps(...steps) {
  expected.push(...steps);
}

/**
 * Does a step.
 * @template T
 * @param {Step} step
 * @param {(tell: (how_far: string) => void) => Promise<T>} work may tell how far it is
 * @returns {Promise<T>}
 */
export async function step({ what, seconds }, work) {
  expected = expected.filter((other) => other.what !== what);
  done++;
  const of = expected.length > 0 || done > 1 ? `${done}/${done + expected.length} ` : "";
  const after_s = expected.reduce((sum, other) => sum + other.seconds, 0);
  const started_ms = Date.now();
  const elapsed_s = () => (Date.now() - started_ms) / 1_000;
  let how_far = "";
  const left = () => {
    if (elapsed_s() > 1.5 * seconds + 5) return ", longer than usual";
    const left_s = Math.round(Math.max(seconds - elapsed_s(), 0) + after_s);
    return left_s > 0 ? `, about ${left_s} s left` : "";
  };
  const line = () => `▸ ${of}${what}${how_far && `: ${how_far}`} (${Math.round(elapsed_s())} s${left()})`;
  const isTerminal = process.stderr.isTTY;
  const show = () => (isTerminal ? process.stderr.write(`\r\x1b[K${line()}`.slice(0, 4 + (process.stderr.columns ?? 80))) : say(line()));
  if (seconds >= 1) show();
  const timer = setInterval(show, isTerminal ? 250 : LINE_INTERVAL_MS);
  const end = (text) => {
    clearInterval(timer);
    if (isTerminal) process.stderr.write("\r\x1b[K");
    say(text);
  };
  try {
    const result = await work((text) => void (how_far = text));
    end(`✔ ${of}${what} (${elapsed_s().toFixed(1)} s)`);
    return result;
  } catch (error) {
    end(`✘ ${of}${what} (${elapsed_s().toFixed(1)} s)`);
    throw error;
  }
}
