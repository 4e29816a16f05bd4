/** The npm packages of the lock file, and the programs they bring. */
import { existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { ROOT } from "./paths.mjs";
import { isProgram, mustRun, step } from "./run.mjs";

const MODULES = join(ROOT, "node_modules");

/** @param {string} name a program of an npm package, such as `esbuild` */
const bin = (name) => join(MODULES, ".bin", name);

/** The runtime itself. */
export const WORKERD = bin("workerd");
export const ESBUILD = bin("esbuild");
export const WASM_OPT = bin("wasm-opt");

/** The tool that uploads a Worker; to be run by `NODE`, which is new enough for it. */
export const WRANGLER = join(MODULES, "wrangler", "bin", "wrangler.js");

/** Node from the lock file, newer than what the user may have; for `wrangler` and the tests. */
export const NODE = bin("node");

/** Installs the packages unless exactly those of the lock file are there. Built-ins only. */
export async function ensureNpmPackages() {
  if (packagesMatchLock() && [WORKERD, ESBUILD, WASM_OPT, NODE].every(isProgram)) return;
  await step("npm packages from package-lock.json", "10 s to 2 min", () =>
    mustRun("npm", ["ci", "--loglevel=error", "--include=optional", "--include=dev"], {
      // npm must not run on the Node it is about to delete.
      env: { ...process.env, PATH: withoutOwnPrograms(process.env.PATH), npm_config_dry_run: "" },
      todo: [
        "Is the npm registry in reach? `npm ping` tells.",
        "Then try again; `rm -rf node_modules` first gives it a clean start.",
      ],
    }),
  );
}

/** Whether `node_modules` holds the versions of the lock file, and nothing is missing. */
function packagesMatchLock() {
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
