/**
 * Everything that a build needs, installed where it is missing. Uses only what Node brings, as it
 * runs before there are any packages. By itself: `npm run dev -- setup`.
 */
import { requireUnix } from "./lib/built.mjs";
import { ensureNpmPackages } from "./lib/npm-packages.mjs";
import { readOptions } from "./lib/options.mjs";
import { IS_PACKAGE } from "./lib/paths.mjs";
import { ensureRust, ensureWasmTarget } from "./lib/rust.mjs";
import { runMain, say } from "./lib/say.mjs";

const USAGE = `usage: npm run dev -- setup

Installs what building and testing need: npm packages, Rust for this project, its WebAssembly target.`;

/** The npm packages: what starting an existing build needs. */
export async function setupToServe() {
  requireUnix();
  if (!IS_PACKAGE) await ensureNpmPackages();
}

/** All of it: what building needs. */
export async function setupToBuild() {
  await setupToServe();
  await ensureRust();
  await ensureWasmTarget();
}

/** `npm run dev -- setup` */
export const main = () =>
  runMain(async () => {
    if (!readOptions(USAGE, {})) return;
    await setupToBuild();
    say("everything is set up");
  });
