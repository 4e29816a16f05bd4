/**
 * What wrangler.toml says, and over it the installation's own file, hitparade.toml: for both runtimes.
 * Of a table each name is replaced by itself, everything else as a whole.
 */
import { existsSync, readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { DEV_VARS, HOME, OWN_SETTINGS_FILE, ROOT, SETTINGS_FILE } from "./paths.mjs";
import { Advice, messageOf } from "./say.mjs";
import { SECRETS, readDevVars } from "./variables.mjs";

/** What wrangler reads at the top of a file only, and what people add to its end. */
const TOP_LEVEL = [
  "name",
  "main",
  "routes",
  "route",
  "account_id",
  "workers_dev",
  "preview_urls",
  "compatibility_date",
  "compatibility_flags",
  "logpush",
];

/**
 * @typedef {object} WorkerConfig
 * @property {string} compatibilityDate
 * @property {string[]} compatibilityFlags
 * @property {{name: string, className: string}[]} objects bindings of Durable Object classes
 * @property {string} main the Worker's main module, by its whole path
 * @property {{directory: string, binding: string}} assets its folder by its whole path
 * @property {Record<string, string>} vars
 * @property {Layer[]} layers where they come from; the first that has one counts
 * @property {string[]} files whole paths of the files that may have some, in this order
 * @property {{name: string, limit: number, period: number}[]} rateLimits which bare workerd has not
 * @property {Toml} toml everything, for wrangler; its paths are whole ones
 * @property {string[]} known names of settings that this release has
 * @property {string[]} warnings lines that do nothing, or what was not meant, and why
 */

/** @typedef {{source: string, vars: Record<string, string | undefined>}} Layer settings of one file, or the environment's */

/**
 * What the file may have of it.
 * @typedef {object} Toml
 * @property {string} [main]
 * @property {unknown} [build]
 * @property {string} [compatibility_date]
 * @property {string[]} [compatibility_flags]
 * @property {{bindings?: {name: string, class_name: string}[]}} [durable_objects]
 * @property {{directory?: string, binding: string}} [assets]
 * @property {Record<string, string>} [vars]
 * @property {{name: string, simple: {limit: number, period: number}}[]} [ratelimits]
 */

/**
 * @param {string} [own] the installation's own file; without a name, `hitparade.toml`, where there is one
 * @returns {Promise<WorkerConfig>}
 */
export async function readWranglerConfig(own) {
  // One's own, or the one that comes with the package.
  const folder = existsSync(join(HOME, SETTINGS_FILE)) ? HOME : ROOT;
  const base = await readToml(join(folder, SETTINGS_FILE));
  const ownPath = own ? resolve(own) : join(HOME, OWN_SETTINGS_FILE);
  if (own && !existsSync(ownPath)) throw new Advice(`There is no file ${own}.`);
  const over = existsSync(ownPath) ? await readToml(ownPath) : null;
  const toml = over ? merged(base, over) : base;
  if (!toml.compatibility_date || !toml.durable_objects?.bindings || !toml.assets?.directory) {
    throw new Advice(
      `${join(folder, SETTINGS_FILE)} lacks compatibility_date, or the bindings of durable_objects, or the directory of assets.`,
      "`npx hitparade init my-charts` makes one that has all of them.",
    );
  }
  const layers = [
    ...(over ? [{ source: basename(ownPath), vars: textsOf(over.vars) }] : []),
    { source: SETTINGS_FILE, vars: textsOf(base.vars) },
  ];
  const vars = Object.assign({}, ...layers.toReversed().map((layer) => layer.vars));
  const known = Object.keys((folder === ROOT ? base : await readToml(join(ROOT, SETTINGS_FILE))).vars ?? {});
  const main = resolve(folder, toml.main ?? "build/entry.js");
  const assets = { ...toml.assets, directory: resolve(folder, toml.assets.directory) };
  return {
    compatibilityDate: toml.compatibility_date,
    compatibilityFlags: toml.compatibility_flags ?? [],
    objects: toml.durable_objects.bindings.map(({ name, class_name }) => ({ name, className: class_name })),
    main,
    assets,
    vars,
    layers,
    files: [ownPath, join(folder, SETTINGS_FILE)],
    rateLimits: (toml.ratelimits ?? []).map(({ name, simple }) => ({ name, ...simple })),
    toml: { ...toml, vars, assets, main },
    known,
    warnings: [
      ...misplaced(base, SETTINGS_FILE, known),
      ...(over ? misplaced(over, basename(ownPath), known) : []),
      ...layers.flatMap(({ source, vars }) => Object.keys(vars).flatMap((name) => oddName(name, source, known))),
      ...Object.keys(readDevVars()).flatMap((name) => (SECRETS.includes(name) ? [] : oddName(name, basename(DEV_VARS), known))),
    ],
  };
}

const isTable = (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);

/** @param {any} base @param {any} over @returns {any} */
function merged(base, over) {
  if (!isTable(base) || !isTable(over)) return over;
  const names = new Set([...Object.keys(base), ...Object.keys(over)]);
  return Object.fromEntries([...names].map((name) => [name, name in over ? merged(base[name], over[name]) : base[name]]));
}

/** The Worker takes texts: 600 is "600", and a list of regions its JSON. @param {Record<string, unknown>} [vars] */
const textsOf = (vars = {}) =>
  Object.fromEntries(Object.entries(vars).map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]));

/** @param {Record<string, any>} toml @param {string} file @param {string[]} known */
function misplaced(toml, file, known) {
  const tables = Object.entries(toml).filter(([name, value]) => isTable(value) && !["env", "vars"].includes(name));
  return [
    // Nothing that wrangler reads there is in capitals.
    ...Object.keys(toml).flatMap((name) =>
      known.includes(name)
        ? [`${file}: nothing reads \`${name}\` there: write vars.${name}.`]
        : /^[A-Z][A-Z\d_]*$/.test(name)
          ? oddName(name, file, known)
          : [],
    ),
    ...tables.flatMap(([table, value]) =>
      [...known, ...SECRETS]
        .filter((name) => name in value)
        .flatMap((name) =>
          SECRETS.includes(name)
            ? oddName(name, file, known)
            : [
                `${file}: \`${name}\` stands under [${table}], where nothing reads it: write vars.${name} above the first line in brackets.`,
              ],
        ),
    ),
    ...[...tables, ["vars", toml.vars ?? {}]].flatMap(([table, value]) =>
      TOP_LEVEL.filter((name) => name in value).map(
        (name) => `${file}: \`${name}\` stands under [${table}], where nothing reads it. Put it above the first line in brackets.`,
      ),
    ),
  ];
}

/** @param {string} name @param {string} source @param {string[]} known */
function oddName(name, source, known) {
  if (SECRETS.includes(name))
    return [
      `${source}: ${name} is a secret, and this file is uploaded for others to read. Put it into .dev.vars here, and on Cloudflare with \`npx wrangler secret put ${name}\`.`,
    ];
  return known.includes(name) ? [] : [`${source}: there is no setting ${name}.`];
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
