/**
 * `npm run build`, and the build command of wrangler.toml: the Worker in `build` (its main module is
 * `entry.js`), the static files in `build/www`. Does the set-up that is missing; does nothing when
 * nothing has changed.
 */
import { mkdirSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { join } from "node:path";
import { buildAssets } from "./lib/assets.mjs";
import { buildInputs, isBuildCurrent, recordBuild } from "./lib/build-inputs.mjs";
import { lock } from "./lib/lock.mjs";
import { NODE, WASM_OPT } from "./lib/npm-packages.mjs";
import { BUILD_DIR, ROOT, TARGET_DIR } from "./lib/paths.mjs";
import { mustRun, step } from "./lib/run.mjs";
import { runMain, say } from "./lib/say.mjs";
import { setupToBuild, setupToServe } from "./setup.mjs";

const COMPILED = join(TARGET_DIR, "wasm32-unknown-unknown", "release", "hitparade.wasm");
const BINDGEN_DIR = join(BUILD_DIR, "bindgen");

/**
 * What the compiler uses of Wasm, so that nothing newer comes out than went in: the runtime must
 * know all of it.
 */
const WASM_FEATURES = [
  "mutable-globals",
  "sign-ext",
  "nontrapping-float-to-int",
  "bulk-memory",
  "multivalue",
  "reference-types",
];

/** Builds if a source has changed since the last build; installs what is missing for that. */
export async function ensureBuilt() {
  await setupToServe();
  if (!isBuildCurrent()) await buildOnce();
  await buildAssets();
}

/** One build at a time: whoever comes second takes what the first has built. */
async function buildOnce() {
  const held = await lock(join(ROOT, "target", "hitparade-build.lock"), (holder) =>
    say(`▸ waiting for another build (process ${holder})`),
  );
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
  await step("the Worker in WebAssembly", "10 s; the first time 1 to 2 min", compile);
  await step("its modules", "5 to 15 s", async () => {
    await mustRun(join(TARGET_DIR, "tool", "bindgen"), [COMPILED, BINDGEN_DIR]);
    mkdirSync(BUILD_DIR, { recursive: true });
    await Promise.all([optimize(), bundle()]);
  });
  recordBuild(inputs);
}

/** The Worker, and beside it the tool that makes its modules: neither needs the other. */
async function compile() {
  const todo = ["If the compiler complains, its first message says where."];
  const cargo = (...words) => mustRun("cargo", ["build", "--locked", ...words], { todo });
  const worker = cargo("--release", "--target", "wasm32-unknown-unknown", "--lib");
  const tool = cargo("--profile", "tool", "--package", "bindgen");
  // Both, also where one fails: what is done is kept.
  for (const result of await Promise.allSettled([worker, tool])) if (result.status === "rejected") throw result.reason;
}

async function optimize() {
  const features = WASM_FEATURES.map((name) => `--enable-${name}`);
  const output = join(BUILD_DIR, "index_bg.wasm");
  await mustRun(NODE, [WASM_OPT, join(BINDGEN_DIR, "index_bg.wasm"), "-O", "-g", ...features, "-o", output]);
}

/** The door, the service, and the glue of wasm-bindgen in one module, `entry.js`. */
async function bundle() {
  const { build: esbuild } = await import("esbuild");
  const ours = {
    name: "ours",
    setup(build) {
      build.onResolve({ filter: /\/index_bg\.wasm$/ }, () => ({ path: "./index_bg.wasm", external: true }));
      // wasm-bindgen copies the modules that Rust imports. They share what they know with the others,
      // so each must be there once.
      const copy = /\/snippets\/hitparade-[^/]+\//;
      build.onResolve({ filter: copy }, ({ path }) => ({ path: join(ROOT, path.slice(copy.exec(path).index).replace(copy, "")) }));
    },
  };
  await esbuild({
    entryPoints: [join(ROOT, "src", "edge", "entry.js")],
    outfile: join(BUILD_DIR, "entry.js"),
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2024",
    external: ["cloudflare:*"],
    plugins: [ours],
    logLevel: "warning",
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await runMain(async () => {
    await ensureBuilt();
    say("the build is up to date");
  });
}
