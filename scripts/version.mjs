/** What `npm version` calls once it has changed package.json: everything else follows. */
import { copyFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { buildAssets } from "./lib/assets.mjs";
import { readOptions } from "./lib/options.mjs";
import { BUILD_DIR, ROOT } from "./lib/paths.mjs";
import { readPackage } from "./lib/release.mjs";
import { mustRun } from "./lib/run.mjs";
import { runMain, say } from "./lib/say.mjs";
import { notesOf, setVersion } from "./lib/version.mjs";

const USAGE = `usage: npm version 0.3.0
       npm run dev -- version [--notes]

Brings whatever names the version to that of package.json, dates the section "Unreleased" of CHANGELOG.md, and keeps
this release's beacon in www, where it stays as it is. \`npm version\` then makes the commit and its tag.

  --notes  only prints what CHANGELOG.md says of the version`;

await runMain(async () => {
  const options = readOptions(USAGE, { notes: false });
  if (!options) return;
  const { version } = readPackage();
  if (options.values.notes) return void process.stdout.write(notesOf(ROOT, version));
  const written = setVersion(ROOT, version, new Date().toISOString().slice(0, 10));
  await buildAssets();
  for (const name of [`beacon.${version}.js`, `beacon-elements.${version}.js`]) {
    const kept = join("www", name);
    if (existsSync(join(ROOT, kept))) continue;
    copyFileSync(join(BUILD_DIR, "www", name), join(ROOT, kept));
    written.push(kept);
  }
  say(written.length > 0 ? `${version} now: ${written.join(", ")}` : `${version} everywhere`);
  if (written.length > 0 && process.env.npm_lifecycle_event === "version") await mustRun("git", ["add", ...written], { cwd: ROOT });
});
