/** Where things are. Everything else asks here. */
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of the project. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url)).replace(/[/\\]$/, "");

/** Where the build goes. */
export const BUILD_DIR = join(ROOT, "build");

/** What a Worker is made of: one module of JavaScript, and the Wasm that it starts. */
export const MODULES = ["entry.js", "index_bg.wasm"];

/** What the compiler makes. */
export const TARGET_DIR = resolve(ROOT, process.env.CARGO_TARGET_DIR || "target");

/** Kept between clones: what the commands for developers install. */
export const CACHE_DIR =
  process.env.HITPARADE_CACHE ||
  join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "hitparade");
