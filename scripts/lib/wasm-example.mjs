/** The library in an example of its own, compiled to Wasm, for benchmarks and tests in Node. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setupToBuild } from "../setup.mjs";
import { ROOT } from "./paths.mjs";
import { mustRun } from "./run.mjs";
import { step } from "./steps.mjs";

/**
 * @param {string} name of an example in Cargo.toml
 * @returns {Promise<WebAssembly.Module>}
 */
export async function buildExample(name) {
  await setupToBuild();
  const target = "wasm32-unknown-unknown";
  await step({ what: `the example ${name} in WebAssembly`, seconds: 60 }, () =>
    mustRun("cargo", ["build", "--quiet", "--profile", "worker", "--target", target, "--example", name]),
  );
  const folder = resolve(ROOT, process.env.CARGO_TARGET_DIR ?? "target");
  return new WebAssembly.Module(readFileSync(join(folder, target, "worker", "examples", `${name}.wasm`)));
}

/**
 * @param {WebAssembly.Module} module
 * @param {WebAssembly.Imports} imports what the example imports; the platform is not there, and
 *   what would call it does nothing
 * @returns {Record<string, any>} its exports
 */
export function instantiate(module, imports = {}) {
  const all = { ...imports };
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    all[from] = { [name]: () => 0, ...all[from] };
  }
  return new WebAssembly.Instance(module, all).exports;
}
