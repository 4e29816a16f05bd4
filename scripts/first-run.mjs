/**
 * `npm run dev -- first-run`: how long it takes from nothing to the first chart, in a folder with its
 * own CARGO_HOME, npm cache and target. What is committed is cloned; Rust and Node are there already.
 */
import { spawn } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { gzipSync } from "node:zlib";
import { readOptions } from "./lib/options.mjs";
import { ROOT } from "./lib/paths.mjs";
import { Report } from "./lib/report.mjs";
import { mustRun } from "./lib/run.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";

const USAGE = `usage: npm run dev -- first-run [--in DIR] [--test] [--keep]

  --in DIR  where the clone and all caches go; a folder of its own in the temporary one if not given
  --test    also \`npm test\`, on a clone of its own
  --keep    leaves the folder there`;

const TIMEOUT_MS = 45 * 60_000;

await runMain(async () => {
  const options = readOptions(USAGE, { in: "", test: false, keep: false });
  if (!options) return 0;
  const { values } = options;
  if (values.in) mkdirSync(values.in, { recursive: true });
  if (values.in && readdirSync(values.in).length > 0) throw new Advice(`${values.in} is not empty.`, "Name another folder with --in.");
  const folder = values.in || mkdtempSync(join(tmpdir(), "hitparade-first-run-"));
  try {
    const report = await measure(folder, values.test);
    const words = values.test ? " --test" : "";
    return report.print({ json: false, title: "From nothing to the first chart", command: `npm run dev -- first-run${words}` }) ? 0 : 1;
  } finally {
    if (values.keep) say(`everything is in ${folder}`);
    else rmSync(folder, { recursive: true, force: true });
  }
});

/** @param {string} folder @param {boolean} withTests @returns {Promise<Report>} */
async function measure(folder, withTests) {
  const report = new Report();
  const add = (name, value, unit, must, aim) => {
    report.add(name, value, unit, { must, aim });
    say(`\n=== ${name}: ${value.toFixed(1)} ${unit}\n`);
  };
  const clone = join(folder, "clone");
  const own = ownCaches(folder, "first");
  await cloneTo(clone);
  const start = ["npm", ["start", "--", "--port", "0", "--no-open"]];
  add("fresh clone, nothing cached: npm start to the first chart", await secondsToChart(...start, clone, own), "s", 180, 120);
  appendFileSync(join(clone, "src", "codec.rs"), "\n/// One line more.\npub const ONE_LINE_MORE: bool = true;\n");
  add("one line of Rust changed: npm start to the chart", await secondsToChart(...start, clone, own), "s", 30, 15);

  const packed = await pack(clone, folder, own);
  add("size of the packed file", statSync(packed).size / 1e6, "MB", 3, 2);
  const modules = ["entry.js", "index_bg.wasm"].map((name) => gzipSync(readFileSync(join(clone, "build", name))).length);
  add("Worker, compressed", (modules[0] + modules[1]) / 1024, "KiB", 1_024, 900);

  const site = join(folder, "site");
  mkdirSync(site);
  const program = ["npx", ["--yes", `./${basename(packed)}`, "--port", "0", "--no-open"]];
  await mustRun("cp", [packed, site]);
  const withoutRust = ownCaches(folder, "site");
  add("packed file, nothing cached: npx to the first chart", await secondsToChart(...program, site, withoutRust), "s", 30);
  add("packed file, packages cached: npx to the first chart", await secondsToChart(...program, site, withoutRust), "s", 5);

  if (withTests) {
    const second = join(folder, "clone-for-tests");
    await cloneTo(second);
    const started = Date.now();
    await mustRun("npm", ["test"], { cwd: second, env: ownCaches(folder, "tests") });
    add("fresh clone, nothing cached: npm test", (Date.now() - started) / 1_000, "s", 780, 600);
  }
  return report;
}

function cloneTo(path) {
  return mustRun("git", ["clone", "--quiet", ROOT, path]);
}

/** An environment in which nothing was ever fetched or compiled; the tool chain is this machine's. */
function ownCaches(folder, name) {
  const at = (what) => join(folder, `${name}-${what}`);
  const { CARGO_TARGET_DIR: _, ...environment } = process.env;
  const kept = Object.entries(environment).filter(([key]) => !/^npm_/i.test(key));
  return {
    ...Object.fromEntries(kept),
    // rustup keeps its tool chains elsewhere; the programs that it put on the PATH stay.
    CARGO_HOME: at("cargo"),
    HITPARADE_CACHE: at("cache"),
    npm_config_cache: at("npm"),
  };
}

/** From the command to the address that it prints once the charts are filled, and a chart from there. */
async function secondsToChart(program, args, cwd, env) {
  const started = Date.now();
  const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "inherit"], detached: true });
  const ended = new Promise((done) => child.once("exit", done));
  const timer = setTimeout(() => end(child), TIMEOUT_MS);
  try {
    const url = await new Promise((done, fail) => {
      let text = "";
      child.stdout.on("data", (data) => {
        const line = /^ready (\S+)$/m.exec((text += data));
        if (line) done(line[1]);
      });
      ended.then((code) => fail(new Advice(`\`${program} ${args.join(" ")}\` ended (exit code ${code}) before it was ready.`)));
    });
    const { top_posts: posts } = await (await fetch(`${url}/top-posts?timeframe=24h&k=10`)).json();
    if (!(posts?.length > 0)) throw new Advice(`${url} is ready, but its chart is empty.`);
    return (Date.now() - started) / 1_000;
  } finally {
    clearTimeout(timer);
    end(child);
    await ended;
  }
}

/** Ends a command with all that it started. */
function end(child) {
  try {
    process.kill(-child.pid, "SIGINT");
  } catch {
    // It has ended.
  }
}

async function pack(clone, folder, env) {
  await mustRun("npm", ["pack", "--loglevel=error", "--pack-destination", folder], { cwd: clone, env });
  const name = readdirSync(folder).find((file) => file.endsWith(".tgz"));
  if (!name || !existsSync(join(folder, name))) throw new Advice("`npm pack` left no file.");
  return join(folder, name);
}
