/**
 * Whether the build is up to date: by the contents of what went into it, as times of files say
 * little after a checkout.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { filesBelow } from "./files.mjs";
import { BUILD_DIR, MODULES, ROOT, TARGET_DIR } from "./paths.mjs";

const recordOf = (folder) => join(folder, "inputs.json");
const FILES = [
  "Cargo.toml",
  "Cargo.lock",
  "rust-toolchain.toml",
  "package-lock.json",
  "scripts/build.mjs",
  "build.rs",
  ".cargo/config.toml",
];

/** @typedef {Record<string, string>} Inputs path below the project to hash of its contents */

/** @returns {Inputs} what a build would be made from now */
export function buildInputs() {
  const files = [
    ...FILES.map((name) => join(ROOT, name)),
    ...["src", "tools"].flatMap((folder) => filesBelow(join(ROOT, folder))),
    ...includedFiles(),
  ];
  const inputs = {};
  for (const file of [...new Set(files)].sort()) {
    if (existsSync(file)) inputs[relative(ROOT, file)] = hashOf(file);
  }
  return inputs;
}

/** @param {string} [folder] of the build */
export function isBuildCurrent(folder = BUILD_DIR) {
  const outputs = MODULES.map((name) => join(folder, name));
  if (![...outputs, recordOf(folder)].every(existsSync)) return false;
  return readFileSync(recordOf(folder), "utf8") === asText(buildInputs());
}

/**
 * Notes what the build was made from.
 * @param {Inputs} before as they were when the build began
 * @param {string} [folder] of the build
 */
export function recordBuild(before, folder = BUILD_DIR) {
  // The compiler's list of files is new now: it may name some that nobody knew of before.
  const inputs = buildInputs();
  for (const file of Object.keys(inputs)) inputs[file] = before[file] ?? inputs[file];
  writeFileSync(recordOf(folder), asText(inputs));
}

const asText = (inputs) => JSON.stringify(inputs, null, 1);

const hashOf = (file) => createHash("sha256").update(readFileSync(file)).digest("hex");

/** What `include_str!` and its like took in, from the compiler's list of dependencies. */
function includedFiles() {
  const list = join(TARGET_DIR, "wasm32-unknown-unknown", "worker", "hitparade.d");
  if (!existsSync(list)) return [];
  return readFileSync(list, "utf8")
    .split("\n")
    .flatMap((line) => line.replace(/^.*?: ?/, "").split(/(?<!\\) /))
    .map((path) => path.replaceAll("\\ ", " "))
    .filter((path) => path.startsWith(ROOT) && !path.startsWith(TARGET_DIR));
}
