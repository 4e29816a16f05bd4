/**
 * The one instance of Wasm in which the Worker and all objects of this isolate live, and its end.
 *
 * A panic, and whatever else the machine stops the code for, leaves memory in the middle of a
 * change: nothing may run in it any more. What was under way in it is refused at once, since
 * nobody would ever answer; the next call finds a new instance, and objects load what they stored.
 */
import { steadyMs } from "./clock.js";

/** Why a call got no answer: the instance ended. The caller may try again at once. */
export class InstanceEnded extends Error {
  name = "InstanceEnded";
}

/** Makes the instance anew; from service.js, which starts it. */
let renew = () => {};
let isSpent = () => false;
let has_ended = false;
let number = 0;

/** Where it is the objects' states that take the memory, a new instance soon has no more of it. */
const SPENT_SPACING_MS = 600_000;
let spent_ms = 0;

/** What waits for an answer from this instance: how each is refused. @type {Set<(why: Error) => void>} */
const waiting = new Set();

/** @param {() => void} make_anew @param {() => boolean} is_spent its memory is used up, and plays are refused */
export function renewBy(make_anew, is_spent) {
  renew = make_anew;
  isSpent = is_spent;
}

export const hasEnded = () => has_ended;

/**
 * The instance must not run any more. Called by the panic's own hook too, from inside: the instance
 * is left alone until its last call has returned.
 */
export function end() {
  if (has_ended) return;
  has_ended = true;
  const why = new InstanceEnded("the service was interrupted; try again");
  for (const refuse of waiting) refuse(why);
  waiting.clear();
}

/**
 * A panic in what Wasm had called back for ends all of the calls that led there, also where an
 * error would have been caught on the way.
 */
export function goOn() {
  if (has_ended) throw new InstanceEnded("a call back into it panicked");
}

/**
 * What is left over when nothing is under way belongs to states, which load what they stored, or to
 * nobody: an instance that has no memory left is better made anew.
 */
function endIfSpent() {
  if (has_ended || waiting.size > 0 || !isSpent() || steadyMs() - spent_ms < SPENT_SPACING_MS) return;
  spent_ms = steadyMs();
  console.error(
    JSON.stringify({ level: "error", source: "worker", message: "no memory was left and nothing under way: the instance is made anew" }),
  );
  end();
}

/** @param {unknown} error that came out of Wasm: an error of the code's own, or the end of it all */
export function note(error) {
  if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) end();
}

/** Number of the instance that runs, made anew where need be: what was made in another one is gone. */
export function current() {
  if (has_ended) {
    renew();
    number++;
    has_ended = false;
  }
  return number;
}

/**
 * Calls into the instance, and answers when it does, or when it ends.
 * @template T
 * @param {() => Promise<T>} work begins in Wasm
 * @returns {Promise<T>}
 */
export function answerOf(work) {
  // Not `new Promise`, as in `tell` of glue.js.
  const { promise, resolve, reject } = Promise.withResolvers();
  waiting.add(reject);
  /** @type {<V>(settle: (value: V) => void) => (value: V) => void} */
  const done = (settle) => (value) => {
    waiting.delete(reject);
    settle(value);
    endIfSpent();
  };
  try {
    work().then(done(resolve), done(reject));
  } catch (error) {
    note(error);
    done(reject)(error);
  }
  return promise;
}

/**
 * Calls a function that answers at once, in the instance that runs.
 * @template T
 * @param {() => T} work
 * @returns {T}
 */
export function resultOf(work) {
  current();
  try {
    return work();
  } catch (error) {
    note(error);
    throw error;
  }
}
