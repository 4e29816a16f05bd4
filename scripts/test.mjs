/** `npm test`: everything, or one group, or those of its tests whose name contains a word. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ensureBuilt } from "./build.mjs";
import { ensureBrowser } from "./lib/browser.mjs";
import { NODE } from "./lib/npm-packages.mjs";
import { ROOT } from "./lib/paths.mjs";
import { run } from "./lib/run.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";
import { setupToBuild } from "./setup.mjs";

const USAGE = `usage: npm test -- [rust|runtime|browser] [word]

  rust     native tests; a word goes on to \`cargo test\`
  runtime  tests of the service on workerd; a word chooses files, such as \`contract\`
  browser  tests of the page in Chromium; a word chooses files`;

const GROUPS = ["rust", "runtime", "browser"];

await runMain(async () => {
  const [group, ...words] = process.argv.slice(2);
  if (group === "--help" || group === "-h") return void say(USAGE);
  if (group && !GROUPS.includes(group)) throw new Advice(`There is no group \`${group}\`.`, ...USAGE.split("\n"));
  const chosen = group ? [group] : GROUPS;

  const parts = [];
  if (chosen.includes("rust")) parts.push({ name: "rust", test: () => testRust(words) });
  const folders = chosen.filter((name) => name !== "rust");
  if (folders.length > 0) parts.push({ name: folders.join(" and "), test: () => testService(folders, words) });

  const results = [];
  for (const { name, test } of parts) {
    say(`\n▸ tests: ${name}`);
    const started = Date.now();
    const code = await test();
    results.push({ name, passed: code === 0, seconds: Math.round((Date.now() - started) / 1000) });
  }
  say("");
  for (const { name, passed, seconds } of results) say(`${passed ? "passed" : "FAILED"}  ${name} (${seconds} s)`);
  return results.every(({ passed }) => passed) ? 0 : 1;
});

async function testRust(words) {
  await setupToBuild();
  return run("cargo", ["test", "--no-fail-fast", ...words], { stdout: "inherit" });
}

/** One run of node's test runner over all files, so that its closing lines count them all. */
async function testService(folders, words) {
  const files = folders.flatMap((folder) => testFiles(folder, words));
  if (files.length === 0) throw new Advice(`No test file's name contains ${words.join(" or ")}.`);
  await ensureBuilt();
  const env = { ...process.env };
  if (folders.includes("browser")) env.CHROME_PATH = await ensureBrowser();
  // Two files at a time: each has a server of its own, and waits for charts more than it computes.
  return run(NODE, ["--test", "--test-reporter=spec", "--test-concurrency=2", ...files], { env, stdout: "inherit" });
}

function testFiles(folder, words) {
  return readdirSync(join(ROOT, "tests", folder))
    .filter((name) => name.endsWith(".test.mjs"))
    .filter((name) => words.length === 0 || words.some((word) => name.includes(word)))
    .sort()
    .map((name) => join(ROOT, "tests", folder, name));
}
