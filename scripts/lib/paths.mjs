/** Where things are. Everything else asks here. */
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of the project. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url)).replace(/[/\\]$/, "");

/** Where the build goes. */
export const BUILD_DIR = join(ROOT, "build");

/** What is in it: the main module, what it wraps, and the two that `worker-build` writes. */
export const MODULES = ["entry.js", "service.js", "index.js", "index_bg.wasm"];

/** Kept between clones: the two cargo tools, which take minutes to compile. */
export const CACHE_DIR =
  process.env.HITPARADE_CACHE ||
  join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "hitparade");

/** `cargo install --root` of the tools; the programs are in its `bin`. */
export const TOOLS_DIR = join(CACHE_DIR, "tools");
