/**
 * What the Worker is told, in this order: the environment, `.dev.vars`, `hitparade.toml`,
 * `wrangler.toml`. The first that has a setting counts.
 */
import { existsSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { DEV_VARS } from "./paths.mjs";
import { Advice } from "./say.mjs";

/** What must not stand in a file that others read. */
export const SECRETS = ["INGEST_TOKEN", "ADMIN_TOKEN", "READ_TOKEN", "METRICS_TOKEN"];
/** Of a value that is told, at most so many characters. */
const TOLD_CHARACTERS = 48;

/** The first of the tokens of a secret, of which there may be several (`new,old`). @param {string} secret */
export const newestOf = (secret) => secret.split(",")[0].trim();

/**
 * @typedef {object} Setting
 * @property {string} name
 * @property {string} value
 * @property {string} source where it comes from
 * @property {string[]} unused where it stands, too, and does not count
 */

/**
 * @param {import("./wrangler-config.mjs").Layer[]} layers of the files
 * @param {NodeJS.ProcessEnv} environment
 * @param {string} [devVars]
 * @returns {Setting[]} tokens first
 */
export function readSettings(layers, environment = process.env, devVars = DEV_VARS) {
  const files = [{ source: basename(devVars), vars: readDevVars(devVars) }, ...layers];
  const all = [{ source: "the environment", vars: environment }, ...files];
  const names = new Set([...SECRETS, ...files.flatMap(({ vars }) => Object.keys(vars))]);
  return [...names].flatMap((name) => {
    const [first, ...others] = all.filter(({ vars }) => vars[name] !== undefined);
    if (!first) return [];
    return [{ name, value: String(first.vars[name]), source: first.source, unused: others.map(({ source }) => source) }];
  });
}

/**
 * @param {Setting[]} settings
 * @returns {Record<string, string>} an empty token is as good as none, and left out
 */
export function workerVariables(settings) {
  const given = settings.filter(({ name, value }) => value || !SECRETS.includes(name));
  return Object.fromEntries(given.map(({ name, value }) => [name, value]));
}

/**
 * Each setting, and where it came from; of a token only that it is set, and of a name that nobody knows, which may be a
 * token's with a letter wrong.
 * @param {Setting[]} settings
 * @param {string[]} files of settings by their whole paths, in their order
 * @param {string[]} known names of settings
 */
export function settingsInWords(settings, files, known) {
  const width = Math.max(...settings.map(({ name }) => name.length));
  const lines = settings.map(({ name, value, source, unused }) => {
    const one = value.replace(/\s+/g, " ").trim();
    const told = !known.includes(name) ? "set" : one.length > TOLD_CHARACTERS ? `${one.slice(0, TOLD_CHARACTERS)}…` : one;
    // Whatever goes before it, a release's own value is only a default.
    const over = unused.filter((other) => other !== "wrangler.toml");
    const note = over.length > 0 ? `; that of ${over.join(" and ")} does not count` : "";
    return `  ${name.padEnd(width)}  ${value ? told : "empty"} (${source}${note})`;
  });
  const there = [DEV_VARS, ...files].map((file) => `    ${file}${existsSync(file) ? "" : " (there is none)"}\n`);
  return `Settings, each from the first that has it: the environment,\n${there.join("")}${lines.join("\n")}`;
}

/** `NAME=value` lines, the value optionally in quotes, as wrangler reads them. @returns {Record<string, string>} */
export function readDevVars(path = DEV_VARS) {
  if (!existsSync(path)) return {};
  const variables = {};
  for (const [index, line] of textOf(path).split(/\r?\n/).entries()) {
    if (/^\s*(#.*)?$/.test(line)) continue;
    const [, name, value] = /^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (!name) throw new Advice(`.dev.vars, line ${index + 1}: not of the form NAME=value.`);
    variables[name] = /^(["']).*\1$/.test(value) ? value.slice(1, -1) : value;
  }
  return variables;
}

/** @param {string} path */
function textOf(path) {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (/** @type {any} */ (error).code !== "EACCES") throw error;
    throw new Advice(
      `${path} cannot be read by this user.`,
      "A service has its tokens from a file of root's, which systemd reads: sudo mv .dev.vars /etc/hitparade.env (docs/deploy.md)",
    );
  }
}
