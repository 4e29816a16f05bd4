/**
 * What of wrangler.toml concerns serving on bare workerd. Reads the part of TOML that the file
 * uses, and refuses the rest, so that both runtimes are given the same.
 */
import { readFileSync } from "node:fs";
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
  const toml = parseToml(readFileSync(join(ROOT, "wrangler.toml"), "utf8"));
  return {
    compatibilityDate: toml.compatibility_date,
    compatibilityFlags: toml.compatibility_flags ?? [],
    objects: toml.durable_objects.bindings.map(({ name, class_name }) => ({ name, className: class_name })),
    assets: toml.assets,
    vars: toml.vars,
  };
}

/**
 * Tables, arrays of tables; strings, booleans, whole numbers and one-line arrays of strings.
 * @param {string} text
 */
export function parseToml(text) {
  const root = {};
  let table = root;
  const lines = text.split(/\r?\n/);
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index].trim();
    if (!line || line.startsWith("#")) continue;
    const refuse = () => {
      throw new Advice(`wrangler.toml, line ${index + 1}: cannot read \`${line}\`.`, "Write it more simply.");
    };
    const header = /^(\[\[?)\s*([\w.-]+)\s*\]\]?\s*(#.*)?$/.exec(line);
    if (header) {
      table = openTable(root, header[2].split("."), header[1] === "[[");
      continue;
    }
    const [, key, rest] = /^([\w-]+)\s*=\s*(.*)$/.exec(line) ?? refuse();
    if (rest.startsWith("'''")) {
      const body = [rest.slice(3)];
      while (!body.at(-1).includes("'''")) body.push(lines[++index] ?? refuse());
      table[key] = body.join("\n").split("'''")[0].trim();
    } else {
      table[key] = parseValue(rest) ?? refuse();
    }
  }
  return root;
}

function openTable(root, path, isArray) {
  const last = path.pop();
  let parent = root;
  for (const name of path) parent = parent[name] ??= {};
  if (!isArray) return (parent[last] ??= {});
  const entry = {};
  (parent[last] ??= []).push(entry);
  return entry;
}

function parseValue(text) {
  const literal = /^'([^']*)'\s*(#.*)?$/.exec(text);
  if (literal) return literal[1];
  // What is left looks as in JSON, but for a comment after it.
  const value = /^("(?:[^"\\]|\\.)*"|true|false|-?\d+|\[(?:\s*"(?:[^"\\]|\\.)*"\s*,?)*\s*\])\s*(#.*)?$/.exec(text);
  return value ? JSON.parse(value[1].replace(/,\s*\]$/, "]")) : undefined;
}
