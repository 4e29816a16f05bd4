/** The version of a release stands in package.json. Where else it is named, and how all of these follow it. */
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { filesBelow } from "./files.mjs";
import { ROOT } from "./paths.mjs";
import { Advice } from "./say.mjs";

const CHANGES = "CHANGELOG.md";
/** A heading of the changes, as keepachangelog.com has it. */
const HEADING = /^## \[(.+?)\].*$/m;
const UNRELEASED = "Unreleased";

/** Where a document names a file of the release. */
export const NAMED = /(?<=\bhitparade-|\bbeacon\.)\d+\.\d+\.\d+(?=\.)/g;

const documents = [...readdirSync(ROOT).map((name) => join(ROOT, name)), ...filesBelow(join(ROOT, "docs"))]
  .map((path) => relative(ROOT, path))
  .filter((name) => name.endsWith(".md") && name !== CHANGES && readFileSync(join(ROOT, name), "utf8").search(NAMED) >= 0);

/** Files, and what of each is the version; the Worker has that of Cargo.toml. @type {[string, RegExp][]} */
export const PLACES = [
  ["Cargo.toml", /(?<=^\[workspace\.package\]\nversion = ")[^"]+/gm],
  ["Cargo.lock", /(?<=^name = "hitparade(?:-summary)?"\nversion = ")[^"]+/gm],
  ["package-lock.json", /(?<="name": "hitparade",\s+"version": ")[^"]+/g],
  ["www/openapi.json", /(?<=^ {2}"version": ")[^"]+/gm],
  ["integrations/wordpress/readme.txt", /(?<=^Stable tag: )\S+/gm],
  ["integrations/wordpress/hitparade.php", /(?<=^ \* Version: +|\), ')\d+\.\d+\.\d+/gm],
  ...documents.map((name) => /** @type {[string, RegExp]} */ ([name, NAMED])),
];

/**
 * Brings every place to one version; what the changes have under "Unreleased" is that release's.
 * @param {string} root @param {string} version @param {string} date as 2026-11-27
 * @returns {string[]} the files that it wrote
 */
export function setVersion(root, version, date) {
  const changes = readFileSync(join(root, CHANGES), "utf8");
  const [heading, newest] = HEADING.exec(changes) ?? [];
  if (!heading || ![UNRELEASED, version].includes(newest)) {
    throw new Advice(`${CHANGES} says nothing of ${version}.`, `Say first what changes for whom, on top, under "## [${UNRELEASED}]".`);
  }
  /** @type {[string, RegExp, string][]} */
  const wanted = PLACES.map(([file, pattern]) => [file, pattern, version]);
  if (newest === UNRELEASED) wanted.push([CHANGES, HEADING, `## [${version}] - ${date}`]);
  return wanted.flatMap(([file, pattern, by]) => {
    const before = readFileSync(join(root, file), "utf8");
    const after = before.replace(pattern, by);
    if (after === before) return [];
    writeFileSync(join(root, file), after);
    return [file];
  });
}

/** What the changes say of a release: its notes. @param {string} root @param {string} version */
export function notesOf(root, version) {
  const [, ...sections] = readFileSync(join(root, CHANGES), "utf8").split(/^(?=## )/m);
  const section = sections.find((text) => HEADING.exec(text)?.[1] === version);
  if (!section) throw new Advice(`${CHANGES} says nothing of ${version}.`);
  return `${section.replace(HEADING, "").trim()}\n`;
}
