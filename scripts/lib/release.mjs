/** What an installation of one's own is uploaded from: a copy of the build, in a folder of the user's. */
import { copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { BUILD_DIR, MODULES, ROOT } from "./paths.mjs";

const WORKER_FOLDER = "worker";
export const PAGES_FOLDER = "www";
/** It begins a name of the DNS, which has 63 letters at most between two points. */
const MAX_WORKER_NAME = 63;

/** @returns {{name: string, version: string, devDependencies: Record<string, string>}} */
export const readPackage = () => JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));

/** Puts the Worker and the pages of this release there; other files of the pages' folder stay. @param {string} folder */
export function copyRelease(folder) {
  mkdirSync(join(folder, WORKER_FOLDER), { recursive: true });
  for (const name of MODULES) copyFileSync(join(BUILD_DIR, name), join(folder, WORKER_FOLDER, name));
  cpSync(join(BUILD_DIR, "www"), join(folder, PAGES_FOLDER), { recursive: true });
}

/** What the Worker is called that is deployed from a folder: as that, so that no installation replaces another. @param {string} folder */
export function workerNameOf(folder) {
  const name = basename(resolve(folder))
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, MAX_WORKER_NAME)
    .replace(/^-+|-+$/g, "");
  return name || "hitparade";
}

/** Settings as in this release, for those files. @param {string} folder */
export function writeSettings(folder) {
  const text = readFileSync(join(ROOT, "wrangler.toml"), "utf8");
  /** @type {[RegExp, string][]} */
  const changes = [
    [
      /^# The Worker on Cloudflare[^]*?(?=^name = )/m,
      "# The Worker on Cloudflare: `npx hitparade deploy`. `npx hitparade serve` reads it too.\n",
    ],
    [/^name = .*$/m, `name = "${workerNameOf(folder)}"`],
    [/^main = .*$/m, `main = "${WORKER_FOLDER}/entry.js"`],
    [/^build\.command = .*\n\n/m, ""],
    [/^assets\.directory = .*$/m, `assets.directory = "${PAGES_FOLDER}"`],
  ];
  const settings = changes.reduce((before, [what, by]) => {
    if (!what.test(before)) throw new Error(`wrangler.toml has nothing like ${what}`);
    return before.replace(what, by);
  }, text);
  writeFileSync(join(folder, "wrangler.toml"), settings);
}
