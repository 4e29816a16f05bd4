/** What the documents name is there: links, commands, files. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";

const LEFT_OUT = ["node_modules", "target", "build", ".state", ".git", ".wrangler"];

/** The commands of a program that takes their names. @param {string} file in scripts */
const commandsOf = (file) => {
  const [, table] = /const COMMANDS = \{\n([^]*?)\n\};/.exec(readFileSync(join(ROOT, "scripts", file), "utf8"));
  return [...table.matchAll(/^ {2}"?([a-z-]+)"?: /gm)].map(([, name]) => name);
};
const DEV = commandsOf("dev.mjs");
const HITPARADE = commandsOf("hitparade.mjs");

function documents(folder = ROOT) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (LEFT_OUT.includes(entry.name)) return [];
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return documents(path);
    return entry.name.endsWith(".md") ? [path] : [];
  });
}

/** As GitHub makes them of headings. */
function anchors(path) {
  const headings = readFileSync(path, "utf8").matchAll(/^#+ (.+)$/gm);
  return new Set(
    [...headings].map(([, text]) =>
      text
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

for (const path of documents()) {
  const name = relative(ROOT, path);
  const text = readFileSync(path, "utf8");

  test(`${name}: every link leads somewhere`, () => {
    const prose = text.replace(/^```[^]*?^```/gm, "");
    for (const [, target] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^(https?|mailto):/.test(target)) continue;
      const [file, anchor] = target.split("#");
      const to = file ? join(dirname(path), file) : path;
      assert.ok(existsSync(to), `${target} is not there`);
      if (anchor) assert.ok(anchors(to).has(anchor), `${target}: no such heading`);
    }
  });

  test(`${name}: every command is there`, () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    for (const [, script] of text.matchAll(/npm run ([a-z-]+)/g)) assert.ok(script in scripts, `npm run ${script}`);
    for (const [, command] of text.matchAll(/npm run dev -- ([a-z-]+)/g)) assert.ok(DEV.includes(command), `npm run dev -- ${command}`);
    for (const [, command] of text.matchAll(/npx hitparade ([a-z]+)/g)) assert.ok(HITPARADE.includes(command), `npx hitparade ${command}`);
    for (const [, words, file] of text.matchAll(/(?:cargo test|--test) ([^`\n]*?)--test ([a-z_]+)/g)) {
      const folder = words.includes("-p hitparade-summary") ? join(ROOT, "src", "summary", "tests") : join(ROOT, "tests");
      assert.ok(existsSync(join(folder, `${file}.rs`)) || existsSync(join(folder, file)), `--test ${file}`);
    }
  });
}

test("every command is in a document", () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  const all = documents()
    .map((path) => readFileSync(path, "utf8"))
    .join("\n");
  for (const command of DEV) {
    const called = ["test", "bench", "simulate"].includes(command) ? command : `npm run dev -- ${command}`;
    assert.ok(all.includes(called), `no document says what ${called} is for`);
  }
  for (const command of HITPARADE.filter((name) => name !== "demo")) {
    assert.ok(all.includes(`npx hitparade ${command}`), `no document says what npx hitparade ${command} is for`);
  }
  for (const script of Object.keys(scripts).filter((name) => name !== "prepack")) {
    const called = ["start", "test"].includes(script) ? `npm ${script}` : `npm run ${script}`;
    assert.ok(all.includes(called), `no document says what ${called} is for`);
  }
});
