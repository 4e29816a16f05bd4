/** What serving needs to be there. Nothing is built or installed here: who serves may not write in the project's folder. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { isBuildCurrent } from "./build-inputs.mjs";
import { packagesMatchLock } from "./npm-packages.mjs";
import { BUILD_DIR, IS_PACKAGE, MODULES, ROOT } from "./paths.mjs";
import { Advice, say } from "./say.mjs";

const BUILD = "npm run dev -- build";
const PACKAGES = ["workerd", "smol-toml"].map((name) => join(ROOT, "node_modules", name));

export function requireUnix() {
  if (process.platform !== "win32") return;
  throw new Advice("These scripts need Linux or macOS.", "On Windows, use WSL: https://learn.microsoft.com/windows/wsl");
}

/**
 * Requires a build. One of older sources is served all the same, so that a service that restarts in
 * the middle of an upgrade goes on with what it had.
 */
export function requireBuilt() {
  requireUnix();
  if (IS_PACKAGE) return;
  const missing = [...MODULES.map((name) => join(BUILD_DIR, name)), ...PACKAGES].find((path) => !existsSync(path));
  if (missing)
    throw new Advice(`Nothing is built here yet: ${missing} is missing.`, `Run \`${BUILD}\` first, as the user to whom ${ROOT} belongs.`);
  if (!isBuildCurrent() || !packagesMatchLock())
    say(`▸ this serves a build of older sources; \`${BUILD}\` makes it anew, and a restart serves it`);
}
