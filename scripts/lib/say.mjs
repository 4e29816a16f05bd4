/**
 * What the scripts tell the person at the terminal. All of it goes to standard error, so that
 * standard output carries only what other programs read (`ready http://…`, test results).
 */

import { HOME, ROOT } from "./paths.mjs";

/** @param {string} text one line */
export const say = (text) => void process.stderr.write(`${HOME === ROOT ? text : asInstalled(text)}\n`);

/** Commands of a clone by the names that they have elsewhere. */
const asInstalled = (text) =>
  text
    .replace(/npm run (deploy|serve|export|import|backup|restore)\b( --)?/g, "npx hitparade $1")
    .replace(/npm start( --)?/g, "npx hitparade demo");

/**
 * A failure that the user can do something about: printed without a stack trace.
 */
export class Advice extends Error {
  /**
   * @param {string} what what went wrong, one sentence
   * @param {...string} todo what to do about it, a line each
   */
  constructor(what, ...todo) {
    super([what, ...todo.map((line) => `  ${line}`)].join("\n"));
  }
}

/** What an error says of itself. @param {unknown} error */
export const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/** What to do about what the system refuses, by its name for it. @type {Record<string, string>} */
const SYSTEM_ADVICE = {
  ENOENT: "Is the name right? A folder that is not there has to be made first.",
  ENOSPC: "The disk is full.",
  EDQUOT: "The disk is full, as far as this user may fill it.",
  EROFS: "Nothing can be written there: name another place.",
  EACCES: "This user may not do that there.",
  EPERM: "This user may not do that there.",
  EISDIR: "It is a folder.",
  ENOTDIR: "What is named as a folder is none.",
};

/** What is printed of an error: how it came about only where nobody but us can do something about it. @param {unknown} error */
function told(error) {
  if (!(error instanceof Error) || error instanceof Advice) return messageOf(error);
  const advice = SYSTEM_ADVICE[/** @type {any} */ (error).code];
  return advice && "syscall" in error ? `${error.message}\n  ${advice}` : error.stack;
}

/**
 * Runs a script's main function; an `Advice` is printed as it is, anything else with its stack.
 * @param {() => Promise<number | void>} main its number is the exit code
 */
export async function runMain(main) {
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    say(`\nerror: ${told(error)}`);
    process.exitCode = 1;
  }
}
