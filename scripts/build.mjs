/**
 * `npm run dev -- build`, and the build command of wrangler.toml: the Worker in `build` (its main module is
 * `entry.js`), the static files in `build/www`. Does the set-up that is missing; does nothing when
 * nothing has changed.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { buildAssets } from "./lib/assets.mjs";
import { buildInputs, isBuildCurrent, recordBuild } from "./lib/build-inputs.mjs";
import { lock } from "./lib/lock.mjs";
import { readOptions } from "./lib/options.mjs";
import { BUILD_DIR, IS_PACKAGE, ROOT, TARGET_DIR } from "./lib/paths.mjs";
import { mustRun } from "./lib/run.mjs";
import { runMain, say } from "./lib/say.mjs";
import { expectSteps, step } from "./lib/steps.mjs";
import { setupToBuild, setupToServe } from "./setup.mjs";

const USAGE = `usage: npm run dev -- build

Makes the Worker in \`build\` and the static files in \`build/www\`, if a source has changed; does the set-up that is missing.`;

const COMPILED = join(TARGET_DIR, "wasm32-unknown-unknown", "worker", "hitparade.wasm");
const isFirst = !existsSync(COMPILED);
const COMPILE_STEP = { what: "the Worker in WebAssembly", seconds: isFirst ? 90 : 10 };
const MODULES_STEP = { what: "its modules", seconds: 2 };
const BUILD_LOCK = join(ROOT, "target", "hitparade-build.lock");

/** Builds if a source has changed since the last build; installs what is missing for that. */
export async function ensureBuilt() {
  if (IS_PACKAGE) return setupToServe();
  if (!isBuildCurrent()) expectSteps(COMPILE_STEP, MODULES_STEP);
  await setupToServe();
  if (!isBuildCurrent()) await buildOnce();
  await buildAssets();
}

/** One build at a time: whoever comes second takes what the first has built. */
async function buildOnce() {
  const held = await lock(BUILD_LOCK, (holder) => say(`▸ waiting for another build (process ${holder})`));
  try {
    if (!isBuildCurrent()) await build();
  } finally {
    held.release();
  }
}

async function build() {
  await setupToBuild();
  // Taken before the compiler reads them: an edit made meanwhile makes the next build.
  const inputs = buildInputs();
  await buildWorker(BUILD_DIR);
  recordBuild(inputs);
}

/**
 * A build of its own with features of Cargo.toml, for tests; made where a source has changed.
 * @param {string} folder for `MODULES` @param {string[]} features
 */
export async function buildWith(folder, features) {
  await setupToBuild();
  const held = await lock(BUILD_LOCK, (holder) => say(`▸ waiting for another build (process ${holder})`));
  try {
    if (isBuildCurrent(folder)) return;
    const inputs = buildInputs();
    await buildWorker(folder, features);
    recordBuild(inputs, folder);
  } finally {
    held.release();
  }
}

async function buildWorker(folder, features = []) {
  await step(COMPILE_STEP, (tell) => compile(features, tell));
  await step(MODULES_STEP, async () => {
    const bindings = join(folder, "bindgen");
    mkdirSync(bindings, { recursive: true });
    await mustRun(join(TARGET_DIR, "tool", "bindgen"), [COMPILED, bindings]);
    // No `wasm-opt`: after the compiler's own passes it took 2 % off in 10 to 35 s of processor time.
    copyFileSync(join(bindings, "index_bg.wasm"), join(folder, "index_bg.wasm"));
    await bundle(bindings, folder);
  });
}

/** The Worker, and beside it the tool that makes its modules: neither needs the other. */
async function compile(features, tell) {
  const todo = [
    "If the compiler complains, its first message says where. If something could not be downloaded,",
    "or the disk is full, try again when that is mended: what was compiled is kept.",
  ];
  let crates = 0;
  const onLine = (line) => line.includes("Compiling ") && tell(`${++crates} crates`);
  const env = { ...process.env, CARGO_TERM_COLOR: process.stderr.isTTY ? "always" : "auto", CARGO_TERM_PROGRESS_WHEN: "never" };
  const cargo = (...words) => mustRun("cargo", ["build", "--locked", ...words], { todo, env, onLine });
  const chosen = features.flatMap((feature) => ["--features", feature]);
  const worker = cargo("--profile", "worker", "--target", "wasm32-unknown-unknown", "--lib", ...chosen);
  const tool = cargo("--profile", "tool", "--package", "bindgen");
  // Both, also where one fails: what is done is kept.
  for (const result of await Promise.allSettled([worker, tool])) if (result.status === "rejected") throw result.reason;
}

/** The JavaScript of src/js and that of wasm-bindgen in one module, `entry.js`. */
async function bundle(bindings, folder) {
  const { build: esbuild } = await import("esbuild");
  const ours = {
    name: "ours",
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /\/index_bg\.wasm$/ }, () => ({ path: "./index_bg.wasm", external: true }));
      onResolve({ filter: /^bindgen\/index\.js$/ }, () => ({ path: join(bindings, "index.js") }));
      onLoad({ filter: /\/bindgen\/index\.js$/ }, ({ path }) => ({ contents: withEachModuleOnce(readFileSync(path, "utf8")) }));
      // wasm-bindgen copies the modules that Rust imports. They share what they know with the others,
      // so each must be there once.
      const copy = /^.*\/snippets\/hitparade-[^/]+\//;
      onResolve({ filter: copy }, ({ path }) => ({ path: join(ROOT, path.replace(copy, "")) }));
    },
  };
  await esbuild({
    entryPoints: [join(ROOT, "src", "js", "entry.js")],
    outfile: join(folder, "entry.js"),
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2024",
    external: ["cloudflare:*"],
    inject: [join(ROOT, "src", "js", "microtasks.js")],
    plugins: [ours],
    logLevel: "warning",
  });
}

/** wasm-bindgen lists a module once for each function of it; later tools warn of names that come twice. */
function withEachModuleOnce(bindings) {
  const listed = new Set();
  return bindings.replace(/^\s*"(\.\/snippets\/[^"]+)": import\d+,\n/gm, (line, name) =>
    listed.has(name) ? "" : listed.add(name) && line,
  );
}

/** `npm run dev -- build` */
export const main = () =>
  runMain(async () => {
    if (!readOptions(USAGE, {})) return;
    await ensureBuilt();
    say("the build is up to date");
  });
