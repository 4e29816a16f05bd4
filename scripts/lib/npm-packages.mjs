/** The npm packages of the lock file, and the programs they bring. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { lock } from "./lock.mjs";
import { ROOT } from "./paths.mjs";
import { isProgram, mustRun } from "./run.mjs";
import { say } from "./say.mjs";
import { step } from "./steps.mjs";

const MODULES = join(ROOT, "node_modules");

/** @param {string} name a program of an npm package, such as `esbuild` */
const bin = (name) => join(MODULES, ".bin", name);

/** The runtime itself: the program, not what stands in for it where npm ran no scripts. */
export const workerd = () => createRequire(join(ROOT, "package.json"))("workerd").default;
const ESBUILD = bin("esbuild");

/** The tool that uploads a Worker; to be run by `NODE`, which is new enough for it. */
export const WRANGLER = join(MODULES, "wrangler", "bin", "wrangler.js");

/** TypeScript's compiler, which only checks here. */
export const TSC = join(MODULES, "typescript", "bin", "tsc");

/** What brings JavaScript into one form. */
export const PRETTIER = join(MODULES, "prettier", "bin", "prettier.cjs");

/** Node from the lock file, newer than what the user may have; for `wrangler` and the tests. */
export const NODE = bin("node");

const NPM_STEP = { what: "npm packages from package-lock.json", seconds: 20 };

const hasNpmPackages = () => packagesMatchLock() && [bin("workerd"), ESBUILD, NODE].every(isProgram);

/** Installs the packages unless exactly those of the lock file are there; one process at a time. */
export async function ensureNpmPackages() {
  if (hasNpmPackages()) return;
  const held = await lock(join(ROOT, "target", "hitparade-npm.lock"), (holder) =>
    say(`▸ waiting for another command (process ${holder}) that installs the npm packages`),
  );
  try {
    if (!hasNpmPackages()) await step(NPM_STEP, install);
  } finally {
    held.release();
  }
}

const install = () =>
  mustRun("npm", ["ci", "--loglevel=error", "--include=optional", "--include=dev"], {
    // npm must not run on the Node it is about to delete.
    env: { ...process.env, PATH: withoutOwnPrograms(process.env.PATH), npm_config_dry_run: "" },
    onLine: () => {},
    todo: [
      "Is the npm registry in reach (`npm ping` tells)? Is there 1 GB free?",
      "Then try again: what was fetched is kept. `rm -rf node_modules` first gives it a clean start.",
    ],
  });

/** Whether `node_modules` holds the versions of the lock file, and nothing is missing. */
export function packagesMatchLock() {
  const wanted = packagesOf(join(ROOT, "package-lock.json"));
  const installed = packagesOf(join(MODULES, ".package-lock.json"));
  if (!wanted || !installed) return false;
  const same = ([path, entry]) => {
    const there = installed[path];
    // Optional packages are for other machines: npm leaves out those that do not fit.
    if (!there) return path === "" || Boolean(entry.optional);
    return there.version === entry.version && existsSync(join(ROOT, path));
  };
  return Object.entries(wanted).every(same) && Object.keys(installed).every((path) => path in wanted);
}

function packagesOf(lockFile) {
  try {
    return JSON.parse(readFileSync(lockFile, "utf8")).packages;
  } catch {
    return null;
  }
}

function withoutOwnPrograms(path = "") {
  return path
    .split(delimiter)
    .filter((folder) => folder !== join(MODULES, ".bin"))
    .join(delimiter);
}
