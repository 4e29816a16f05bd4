/** What the Worker is told: settings of wrangler.toml, over them `.dev.vars`, over those the environment. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { HOME } from "./paths.mjs";
import { Advice } from "./say.mjs";

/** What must not stand in a file that others read. */
export const SECRETS = ["INGEST_TOKEN", "ADMIN_TOKEN", "READ_TOKEN", "METRICS_TOKEN"];

/** The first of the tokens of a secret, of which there may be several (`new,old`). @param {string} secret */
export const newestOf = (secret) => secret.split(",")[0].trim();

/**
 * @param {Record<string, string>} settings `[vars]` of wrangler.toml
 * @param {NodeJS.ProcessEnv} environment
 * @returns {Record<string, string>} an empty token is as good as none, and left out
 */
export function workerVariables(settings, environment = process.env) {
  const local = readDevVars(join(HOME, ".dev.vars"));
  const variables = { ...settings, ...local };
  for (const name of [...SECRETS, ...Object.keys(variables)]) variables[name] = environment[name] ?? variables[name];
  for (const name of SECRETS) if (!variables[name]) delete variables[name];
  return variables;
}

/** `NAME=value` lines, the value optionally in quotes, as wrangler reads them. */
function readDevVars(path) {
  if (!existsSync(path)) return {};
  const variables = {};
  for (const [index, line] of readFileSync(path, "utf8").split(/\r?\n/).entries()) {
    if (/^\s*(#.*)?$/.test(line)) continue;
    const [, name, value] = /^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (!name) throw new Advice(`.dev.vars, line ${index + 1}: not of the form NAME=value.`);
    variables[name] = /^(["']).*\1$/.test(value) ? value.slice(1, -1) : value;
  }
  return variables;
}
