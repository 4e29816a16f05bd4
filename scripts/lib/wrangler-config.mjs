/** What of wrangler.toml concerns serving on bare workerd, so that both runtimes are given the same. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { ROOT } from "./paths.mjs";
import { Advice } from "./say.mjs";

/**
 * @typedef {object} WorkerConfig
 * @property {string} compatibilityDate
 * @property {string[]} compatibilityFlags
 * @property {{name: string, className: string}[]} objects bindings of Durable Object classes
 * @property {{directory: string, binding: string}} assets
 * @property {Record<string, string>} vars
 */

/** @returns {WorkerConfig} */
export function readWranglerConfig() {
  // Loaded here: scripts start before the packages are installed.
  const { parse } = createRequire(import.meta.url)("smol-toml");
  const toml = readToml(parse);
  return {
    compatibilityDate: toml.compatibility_date,
    compatibilityFlags: toml.compatibility_flags ?? [],
    objects: toml.durable_objects.bindings.map(({ name, class_name }) => ({ name, className: class_name })),
    assets: toml.assets,
    vars: toml.vars,
  };
}

function readToml(parse) {
  try {
    return parse(readFileSync(join(ROOT, "wrangler.toml"), "utf8"));
  } catch (error) {
    throw new Advice("wrangler.toml cannot be read.", error.message);
  }
}
