/**
 * `npm pack`, which calls this first: the build, and the one program `build/bin/hitparade.mjs`.
 *
 * The program is bundled from the very scripts that the npm scripts run: so smol-toml, which reads
 * settings, is inside, and who installs the package gets workerd and nothing else. A file for each
 * command and one for what they share: `hitparade.mjs` itself loads nothing before it knows that
 * Node is new enough.
 */
import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ensureBuilt } from "./build.mjs";
import { readOptions } from "./lib/options.mjs";
import { BUILD_DIR, ROOT } from "./lib/paths.mjs";
import { runMain, say } from "./lib/say.mjs";

const USAGE = `usage: npm run dev -- package

Makes what \`npm pack\` packs, which calls it by itself: the build, and the program in build/bin.`;

await runMain(async () => {
  if (!readOptions(USAGE, {})) return;
  await ensureBuilt();
  const { build } = await import("esbuild");
  const outdir = join(BUILD_DIR, "bin");
  rmSync(outdir, { recursive: true, force: true });
  await build({
    entryPoints: [join(ROOT, "scripts", "hitparade.mjs")],
    outdir,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true,
    platform: "node",
    format: "esm",
    target: "node20",
    // What a clone builds with; the package never gets there.
    external: ["esbuild"],
    legalComments: "inline",
    logLevel: "warning",
  });
  chmodSync(join(outdir, "hitparade.mjs"), 0o755);
  say("the package is ready to be packed: npm pack");
});
