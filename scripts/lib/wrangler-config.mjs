/** What of wrangler.toml concerns serving on bare workerd, so that both runtimes are given the same. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { HOME, ROOT } from "./paths.mjs";
import { Advice, messageOf } from "./say.mjs";

const FILE = "wrangler.toml";

/**
 * @typedef {object} WorkerConfig
 * @property {string} compatibilityDate
 * @property {string[]} compatibilityFlags
 * @property {{name: string, className: string}[]} objects bindings of Durable Object classes
 * @property {{directory: string, binding: string}} assets its folder by its whole path
 * @property {Record<string, string>} vars
 * @property {{name: string, limit: number, period: number}[]} rateLimits which bare workerd has not
 */

/**
 * What the file may have of it.
 * @typedef {object} Toml
 * @property {string} [compatibility_date]
 * @property {string[]} [compatibility_flags]
 * @property {{bindings?: {name: string, class_name: string}[]}} [durable_objects]
 * @property {{directory?: string, binding: string}} [assets]
 * @property {Record<string, string>} [vars]
 * @property {{name: string, simple: {limit: number, period: number}}[]} [ratelimits]
 */

/** @returns {Promise<WorkerConfig>} */
export async function readWranglerConfig() {
  // One's own, or the one that comes with the package.
  const folder = existsSync(join(HOME, FILE)) ? HOME : ROOT;
  const toml = await readToml(join(folder, FILE));
  if (!toml.compatibility_date || !toml.durable_objects?.bindings || !toml.assets?.directory) {
    throw new Advice(`${join(folder, FILE)} lacks compatibility_date, or the bindings of durable_objects, or the directory of assets.`, "`npx hitparade init my-charts` makes one that has all of them.");
  }
  toml.vars ??= {};
  return {
    compatibilityDate: toml.compatibility_date,
    compatibilityFlags: toml.compatibility_flags ?? [],
    objects: toml.durable_objects.bindings.map(({ name, class_name }) => ({ name, className: class_name })),
    assets: { ...toml.assets, directory: join(folder, toml.assets.directory) },
    vars: toml.vars,
    rateLimits: (toml.ratelimits ?? []).map(({ name, simple }) => ({ name, ...simple })),
  };
}

/** @param {string} path @returns {Promise<Toml>} */
async function readToml(path) {
  // Loaded here: scripts start before the packages are installed.
  const { parse } = await import("smol-toml");
  try {
    return parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new Advice(`${path} cannot be read.`, messageOf(error));
  }
}
