/** `npm test`: everything, or one group, or those of its tests whose name contains a word. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ensureBuilt } from "./build.mjs";
import { ensureBrowser } from "./lib/browser.mjs";
import { NODE } from "./lib/npm-packages.mjs";
import { ROOT } from "./lib/paths.mjs";
import { findOnPath, run } from "./lib/run.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";
import { setupToBuild } from "./setup.mjs";

const USAGE = `usage: npm test -- [rust|runtime|browser] [words]

  rust     native tests; a word goes on to \`cargo test\`
  runtime  tests of the service on workerd; words choose files, such as \`contract openapi\`
  browser  tests of the page in Chromium; words choose files`;

const GROUPS = ["rust", "runtime", "browser"];

await runMain(async () => {
  const [group, ...words] = process.argv.slice(2);
  if (group === "--help" || group === "-h") return void say(USAGE);
  if (group && !GROUPS.includes(group)) throw new Advice(`There is no group \`${group}\`.`, ...USAGE.split("\n"));
  const chosen = group ? [group] : GROUPS;

  await setupToBuild();
  const lanes = [];
  const folders = chosen.filter((name) => name !== "rust");
  // Shown as it comes; what the other lane says follows.
  if (folders.length > 0) lanes.push(inLane(folders.join(" and "), () => testService(folders, words)));
  if (chosen.includes("rust")) lanes.push(lanes.length > 0 ? besides(lanes[0], words) : inLane("rust", () => testRust(words)));

  const results = await Promise.all(lanes);
  say("");
  for (const { name, passed, seconds } of results) say(`${passed ? "passed" : "FAILED"}  ${name} (${seconds} s)`);
  return results.every(({ passed }) => passed) ? 0 : 1;
});

/** @param {string} name @param {() => Promise<number>} test gives an exit code */
async function inLane(name, test) {
  say(`\n▸ tests: ${name}`);
  const started = Date.now();
  const code = await test();
  return { name, passed: code === 0, seconds: Math.round((Date.now() - started) / 1000) };
}

/**
 * The native tests beside those of the service: these wait for charts more than they compute, and go
 * first where both want the processor.
 */
function besides(service, words) {
  let said = "";
  /** @type {(text: string) => unknown} */
  let tell = (text) => void (said += text);
  const shown = service
    .catch(() => {})
    .then(() => {
      process.stdout.write(`\n▸ tests: rust\n${said}`);
      tell = (text) => process.stdout.write(text);
    });
  const tested = inLane("rust, beside them", () => testRust(words, (line) => tell(`${line}\n`)));
  return shown.then(() => tested);
}

async function testRust(words, onLine) {
  const nice = onLine && findOnPath("nice");
  let code = 0;
  // All but the examples: these are for Wasm, and cargo would compile them natively to run nothing.
  for (const targets of [["--lib", "--tests"], ["--doc"]]) {
    const cargo = ["cargo", "test", "--no-fail-fast", ...targets, ...words];
    const [program, ...args] = nice ? [nice, "-n", "10", ...cargo] : cargo;
    code = (await run(program, args, onLine ? { onLine } : { stdout: "inherit" })) || code;
  }
  return code;
}

/** One run of node's test runner over all files, so that its closing lines count them all. */
async function testService(folders, words) {
  const files = folders.flatMap((folder) => testFiles(folder, words));
  if (files.length === 0) throw new Advice(`No test file's name contains ${words.join(" or ")}.`);
  await ensureBuilt();
  const env = { ...process.env };
  if (folders.includes("browser")) env.CHROME_PATH = await ensureBrowser();
  // Each has a server of its own, and waits for charts six sevenths of its time.
  return run(NODE, ["--test", "--test-reporter=spec", "--test-concurrency=4", ...files], { env, stdout: "inherit" });
}

function testFiles(folder, words) {
  return readdirSync(join(ROOT, "tests", folder))
    .filter((name) => name.endsWith(".test.mjs"))
    .filter((name) => words.length === 0 || words.some((word) => name.includes(word)))
    .sort()
    .map((name) => join(ROOT, "tests", folder, name));
}
