/** A lock between processes: a file with the owner's process id. */
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { outputOf } from "./run.mjs";

/**
 * Takes the lock unless a living process holds it.
 * @param {string} path
 * @returns {{release: () => void} | {holder: number}}
 */
export function tryLock(path) {
  mkdirSync(dirname(path), { recursive: true });
  // Written aside and linked into place: nobody ever sees a lock without its owner.
  const own = `${path}.${process.pid}`;
  writeFileSync(own, `${process.pid}\n${startOf(process.pid)}\n`);
  try {
    for (;;) {
      try {
        linkSync(own, path);
        return { release: () => rmSync(path, { force: true }) };
      } catch (error) {
        if (/** @type {NodeJS.ErrnoException} */ (error).code !== "EEXIST") throw error;
      }
      const holder = livingHolder(path) ?? removeLeft(path);
      if (holder !== null) return { holder };
    }
  } finally {
    rmSync(own, { force: true });
  }
}

/**
 * Removes a lock whose owner has ended. Only who holds another lock may: of two that find the same one, the second would
 * remove what the first one has taken by then.
 * @param {string} path
 * @returns {number | null} who is at it
 */
function removeLeft(path) {
  const held = tryLock(`${path}.left`);
  if ("holder" in held) return held.holder;
  try {
    const text = textOf(path);
    // The same before and after it was asked for: its owner has not released it to somebody else in between.
    if (livingHolder(path) === null && textOf(path) === text) rmSync(path, { force: true });
    return null;
  } finally {
    held.release();
  }
}

/**
 * Takes the lock, waiting for whoever holds it.
 * @param {string} path
 * @param {(holder: number) => void} onWait called once when there is somebody to wait for
 */
export async function lock(path, onWait) {
  for (let told = false; ; told = true) {
    const result = tryLock(path);
    if ("release" in result) return result;
    if (!told) onWait(result.holder);
    await sleep(500);
  }
}

/** The process id in the lock file if that very process still runs, else null. @param {string} path */
function livingHolder(path) {
  const text = textOf(path);
  if (text === null) return null;
  const [pid, start] = text.split("\n");
  return startOf(pid) === start ? Number(pid) : null;
}

/** @param {string} path @returns {string | null} null where nothing is */
function textOf(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

/**
 * When a process was started, in whatever form the system tells it; empty when it does not run.
 * With it a lock that was left behind is not taken for held when its process id has gone to
 * another process.
 */
function startOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field, the program's name, may contain anything; the third is the state, Z for
    // a process that has ended but was not asked for its exit code; the 22nd is the start time.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? "" : fields[19];
  } catch {
    // In one language and one zone: two processes may have others, and a summer may begin between two looks.
    const line = outputOf("env", "LC_ALL=C", "TZ=UTC0", "ps", "-o", "stat=,lstart=", "-p", String(pid)) ?? "";
    return line.startsWith("Z") ? "" : line.replace(/^\S+\s+/, "");
  }
}
