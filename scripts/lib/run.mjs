/** Running other programs. */
import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants as modes, statSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { ROOT } from "./paths.mjs";
import { Advice } from "./say.mjs";

const ENDING = ["SIGINT", "SIGTERM"];

/**
 * Runs a program to its end, its output on our standard error (or where `stdout` says).
 * @param {string} program
 * @param {string[]} args
 * @param {{env?: NodeJS.ProcessEnv, cwd?: string, stdout?: "inherit", stdin?: "inherit" | "ignore", onLine?: (line: string) => void}} [options]
 *   `stdin`: the program may ask the user; `onLine`: gets what it says, which is not shown
 * @returns {Promise<number>} the exit code; 1 when a signal ended it
 */
export function run(program, args, { env = process.env, cwd = ROOT, stdout, stdin = "ignore", onLine } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd, env, stdio: onLine ? [stdin, "pipe", "pipe"] : [stdin, stdout ?? 2, 2] });
    if (onLine) for (const stream of [child.stdout, child.stderr]) if (stream) createInterface({ input: stream }).on("line", onLine);
    // Whoever ends this script ends what it runs, even when the signal came to the script alone.
    let ending = null;
    const pass = (signal) => child.kill((ending = signal));
    for (const signal of ENDING) process.on(signal, pass);
    child.on("error", reject);
    child.on("close", (code) => {
      for (const signal of ENDING) process.off(signal, pass);
      if (ending) process.exit(128 + constants.signals[ending]);
      resolve(code ?? 1);
    });
  });
}

/**
 * Like `run`, but a failure is an `Advice`.
 * @param {string} program
 * @param {string[]} args
 * @param {Parameters<typeof run>[2] & {todo?: string[]}} [options] `todo`: what to do when it fails
 */
export async function mustRun(program, args, { todo = [], ...options } = {}) {
  const command = `${program} ${args.join(" ")}`;
  let said = "";
  const { onLine } = options;
  if (onLine) {
    options.onLine = (line) => {
      said += `${line}\n`;
      onLine(line);
    };
  }
  const code = await run(program, args, options).catch((error) => {
    throw new Advice(`\`${command}\` could not be started: ${error.message}`, ...todo);
  });
  if (code !== 0) process.stderr.write(said && `\n${said}`);
  if (code !== 0) throw new Advice(`\`${command}\` failed (exit code ${code}); its messages are above.`, ...todo);
}

/**
 * What a program prints, or null when it is not there or fails.
 * @param {string} program
 * @param {...string} args
 */
export function outputOf(program, ...args) {
  const { status, stdout } = spawnSync(program, args, { cwd: ROOT, encoding: "utf8" });
  return status === 0 ? stdout.trim() : null;
}

/**
 * The first program of these names on the PATH, or null.
 * @param {...string} names
 */
export function findOnPath(...names) {
  for (const name of names) {
    for (const folder of (process.env.PATH ?? "").split(delimiter)) {
      const path = join(folder, name);
      if (folder && isProgram(path)) return path;
    }
  }
  return null;
}

/** @param {string} path */
export function isProgram(path) {
  try {
    accessSync(path, modes.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
