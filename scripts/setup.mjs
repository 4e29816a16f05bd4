/**
 * Everything that a build needs, installed where it is missing. Uses only what Node brings, as it
 * runs before there are any packages. By itself: `npm run setup`.
 */
import { pathToFileURL } from "node:url";
import { ensureNpmPackages } from "./lib/npm-packages.mjs";
import { ensureRust, ensureWasmTarget } from "./lib/rust.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";

const MIN_NODE = 20;

/** Node and the npm packages: what serving an existing build needs. */
export async function setupToServe() {
  if (Number(process.versions.node.split(".")[0]) < MIN_NODE) {
    throw new Advice(
      `Node ${process.versions.node} is too old: ${MIN_NODE} or newer is needed.`,
      "Get it from https://nodejs.org or your package manager.",
    );
  }
  if (process.platform === "win32") {
    throw new Advice("These scripts need Linux or macOS.", "On Windows, use WSL: https://learn.microsoft.com/windows/wsl");
  }
  await ensureNpmPackages();
}

/** All of it: what building needs. */
export async function setupToBuild() {
  await setupToServe();
  await ensureRust();
  await ensureWasmTarget();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await runMain(async () => {
    await setupToBuild();
    say("everything is set up");
  });
}
