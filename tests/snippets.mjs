/** The examples of the documents, for the tests that run them: each has the test's name beside it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../scripts/lib/paths.mjs";

/** Their every example is run. */
export const DOCUMENTS = ["README.md", "docs/beacon.md", "docs/ingest.md"];
const SNIPPET = /^```([a-z]+)\n([^]*?)^```\n(?:\n?<!-- run by ([^:]+): (.+) -->\n)?/gm;

/**
 * @typedef {object} Snippet
 * @property {string} language
 * @property {string} text
 * @property {string | undefined} file of the test that runs it
 * @property {string | undefined} name of that test
 */

/** @param {string} document @returns {Snippet[]} */
export const snippetsOf = (document) =>
  [...readFileSync(join(ROOT, document), "utf8").matchAll(SNIPPET)].map(([, language, text, file, name]) => ({
    language,
    text,
    file,
    name,
  }));

/** What a test of this name runs. @param {string} document @param {string} name */
export function snippet(document, name) {
  const found = snippetsOf(document).filter((each) => each.name === name);
  if (found.length === 0) throw new Error(`${document} has no example that is run by “${name}”`);
  return found.map(({ text }) => text).join("\n");
}
