/** Files of a folder. */
import { mkdirSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";

/** @param {string} folder @returns {string[]} the paths of all files in it and below */
export function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return filesBelow(path);
    return entry.isFile() ? [path] : [];
  });
}

/** Makes a folder, if need be, that is for nobody else to read; those above it that lack are as folders are. @param {string} folder */
export function makeOwnFolder(folder) {
  mkdirSync(dirname(folder), { recursive: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
}
