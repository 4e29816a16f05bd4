/** Where things are. Everything else asks here. */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of the project. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url)).replace(/[/\\]$/, "");

/** Installed from npm: the build is there, and no source that it could be made from. */
export const IS_PACKAGE = !existsSync(join(ROOT, "src"));

/** The release's settings, and over them the installation's own. */
export const SETTINGS_FILE = "wrangler.toml";
export const OWN_SETTINGS_FILE = "hitparade.toml";

/**
 * Whose settings, secrets and state are meant: of the folder where a command is called, if it is an installation, which it
 * is with either file; else of the clone. The package is no installation itself.
 */
export const HOME = IS_PACKAGE || isInstallation() ? process.cwd() : ROOT;

/** Whether the folder where a command is called has settings. */
export function isInstallation() {
  return [SETTINGS_FILE, OWN_SETTINGS_FILE].some((name) => existsSync(resolve(name)));
}

/** Tokens and settings of this machine. */
export const DEV_VARS = join(HOME, ".dev.vars");

/** What an installation has besides its state, for who moves it. */
export const NOT_IN_STATE = `Settings and tokens are not in a backup (${OWN_SETTINGS_FILE}, .dev.vars, the environment)`;

/** Where the build goes. */
export const BUILD_DIR = join(ROOT, "build");

/** What a Worker is made of: one module of JavaScript, and the Wasm that it starts. */
export const MODULES = ["entry.js", "index_bg.wasm"];

/** What the compiler makes. */
export const TARGET_DIR = resolve(ROOT, process.env.CARGO_TARGET_DIR || "target");

/** Kept between clones: what the commands for developers install. */
export const CACHE_DIR = process.env.HITPARADE_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "hitparade");
