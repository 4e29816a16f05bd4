/** Where things are. Everything else asks here. */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of the project. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url)).replace(/[/\\]$/, "");

/** Installed from npm: the build is there, and no source that it could be made from. */
export const IS_PACKAGE = !existsSync(join(ROOT, "src"));

/** Whose settings, secrets and state are meant: the clone, or the folder where the package is called. */
export const HOME = IS_PACKAGE ? process.cwd() : ROOT;

/** Where the build goes. */
export const BUILD_DIR = join(ROOT, "build");

/** What a Worker is made of: one module of JavaScript, and the Wasm that it starts. */
export const MODULES = ["entry.js", "index_bg.wasm"];

/** What the compiler makes. */
export const TARGET_DIR = resolve(ROOT, process.env.CARGO_TARGET_DIR || "target");

/** Kept between clones: what the commands for developers install. */
export const CACHE_DIR = process.env.HITPARADE_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "hitparade");
