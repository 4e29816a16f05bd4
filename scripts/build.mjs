/**
 * `npm run build`, and the build command of wrangler.toml: the Worker in `build` (its main module is
 * `entry.js`), the static files in `build/www`. Does the set-up that is missing; does nothing when
 * nothing has changed.
 */
import { copyFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { join } from "node:path";
import { buildAssets } from "./lib/assets.mjs";
import { buildInputs, isBuildCurrent, recordBuild } from "./lib/build-inputs.mjs";
import { lock } from "./lib/lock.mjs";
import { ESBUILD, WASM_OPT } from "./lib/npm-packages.mjs";
import { BUILD_DIR, ROOT } from "./lib/paths.mjs";
import { mustRun, step } from "./lib/run.mjs";
import { runMain, say } from "./lib/say.mjs";
import { setupToBuild, setupToServe } from "./setup.mjs";

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
  const { workerBuild, wasmBindgen } = await setupToBuild();
  // Taken before the compiler reads them: an edit made meanwhile makes the next build.
  const inputs = buildInputs();
  await step("the Worker in WebAssembly", "20 s; the first time 1 to 3 min", () =>
    mustRun(workerBuild, ["--release"], {
      // Without these `worker-build` downloads the three programs.
      env: { ...process.env, WASM_BINDGEN_BIN: wasmBindgen, WASM_OPT_BIN: WASM_OPT, ESBUILD_BIN: ESBUILD },
      todo: ["If the compiler complains, its first message says where."],
    }),
  );
  copyFileSync(join(ROOT, "src", "edge", "entry.js"), join(BUILD_DIR, "entry.js"));
  copyFileSync(join(ROOT, "src", "service.js"), join(BUILD_DIR, "service.js"));
  recordBuild(inputs);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await runMain(async () => {
    await ensureBuilt();
    say("the build is up to date");
  });
}
