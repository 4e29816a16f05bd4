/** The folder of a server's state: held by one process at a time, and copied as a whole. What boards keep to themselves is in it. */
import { createHash } from "node:crypto";
import {
  accessSync,
  closeSync,
  constants,
  cpSync,
  createReadStream,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join, relative } from "node:path";
import { filesBelow, makeOwnFolder } from "./files.mjs";
import { tryLock } from "./lock.mjs";
import { Advice, messageOf } from "./say.mjs";

const OBJECTS = "objects";
const MANIFEST = "backup.json";

/** The databases of a state folder. */
export const objectsOf = (folder) => join(folder, OBJECTS);

/** Whether nothing was stored in a state folder before. @param {string} folder */
export const isNewState = (folder) => !existsSync(objectsOf(folder)) || filesBelow(objectsOf(folder)).length === 0;

/**
 * Holds a state folder, made if need be, for this process.
 * @param {string} folder
 * @param {string} [otherwise] what else to do where it is in use
 * @returns {{release: () => void}}
 */
export function lockState(folder, otherwise = "or name another folder with --state.") {
  try {
    makeOwnFolder(folder);
    accessSync(folder, constants.W_OK);
  } catch (error) {
    throw new Advice(`Cannot store under ${folder}: ${messageOf(error)}.`, "Name another folder with --state.");
  }
  const held = tryLock(join(folder, "lock"));
  if ("holder" in held) {
    throw new Advice(`${folder} is in use by a server that runs already (process ${held.holder}).`, `End that one, ${otherwise}`);
  }
  return held;
}

/**
 * Copies a state folder that nobody uses. The objects' databases agree with each other only when
 * they are copied at one moment: a shard's outbox and the offsets that the global object consumed
 * are two halves of one account.
 * @param {string} state
 * @param {string} target does not exist yet
 * @returns {Promise<{files: number, bytes: number}>}
 */
export async function backUp(state, target) {
  if (!existsSync(objectsOf(state))) throw new Advice(`${state} holds no state of a server.`);
  if (existsSync(target)) throw new Advice(`${target} exists already.`, "Name another folder with --to.");
  const held = lockState(state, "or back it up while it runs, with --url and the address that it serves at.");
  const fresh = `${target}.${process.pid}.new`;
  try {
    for (const made of [fresh, objectsOf(fresh)]) makeOwnFolder(made);
    cpSync(objectsOf(state), objectsOf(fresh), { recursive: true });
    const files = await sumsOf(objectsOf(fresh));
    writeFileSync(join(fresh, MANIFEST), `${JSON.stringify({ version: 1, made: new Date().toISOString(), files }, null, 1)}\n`);
    syncAll(fresh);
    renameSync(fresh, target);
    return sizeOf(files);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
    held.release();
  }
}

/**
 * Puts a copy back, into a folder that holds no state.
 * @param {string} backup
 * @param {string} state
 * @returns {Promise<{files: number, bytes: number, made: string}>}
 */
export async function restore(backup, state) {
  const { made, files } = readManifest(backup);
  const found = await sumsOf(objectsOf(backup));
  const wrong = [...Object.keys(files), ...Object.keys(found)].find((name) => files[name]?.sha256 !== found[name]?.sha256);
  if (wrong) throw new Advice(`${backup} is damaged: ${wrong} is not as it was copied.`);
  const held = lockState(state);
  try {
    if (existsSync(objectsOf(state))) {
      throw new Advice(`${state} holds the state of a server already.`, "Move it away first, or name another folder with --state.");
    }
    // Whole or not at all: a server that starts on half of it would begin anew beside it.
    const fresh = `${objectsOf(state)}.new`;
    rmSync(fresh, { recursive: true, force: true });
    makeOwnFolder(fresh);
    cpSync(objectsOf(backup), fresh, { recursive: true });
    syncAll(fresh);
    renameSync(fresh, objectsOf(state));
    return { made, ...sizeOf(files) };
  } finally {
    held.release();
  }
}

function readManifest(backup) {
  if (statSync(backup, { throwIfNoEntry: false })?.isFile()) {
    throw new Advice(
      `${backup} is a file, and a backup's folder is needed.`,
      `Lines of \`npm run export\`, or of \`npm run backup\` with --url, go into an installation that runs: npm run import -- --file ${backup}`,
    );
  }
  try {
    const manifest = JSON.parse(readFileSync(join(backup, MANIFEST), "utf8"));
    if (manifest.version === 1) return manifest;
  } catch (error) {
    throw new Advice(`${backup} is no backup: ${messageOf(error)}.`);
  }
  throw new Advice(`${backup} was made by a newer release.`);
}

/** @returns {Promise<Record<string, {bytes: number, sha256: string}>>} by path */
async function sumsOf(folder) {
  const sums = {};
  for (const path of existsSync(folder) ? filesBelow(folder).sort() : []) {
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(path)) hash.update(chunk);
    sums[relative(folder, path)] = { bytes: statSync(path).size, sha256: hash.digest("hex") };
  }
  return sums;
}

function sizeOf(files) {
  const all = Object.values(files);
  return { files: all.length, bytes: all.reduce((sum, { bytes }) => sum + bytes, 0) };
}

/** Everything below a folder is on the disk before its name is. */
function syncAll(folder) {
  for (const path of filesBelow(folder)) {
    const file = openSync(path, "r");
    fsyncSync(file);
    closeSync(file);
  }
}
