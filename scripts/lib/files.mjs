/** Files of a folder. */
import { readdirSync } from "node:fs";
import { join } from "node:path";

/** @param {string} folder @returns {string[]} the paths of all files in it and below */
export function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return filesBelow(path);
    return entry.isFile() ? [path] : [];
  });
}
