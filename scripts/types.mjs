/** `npm run dev -- types`: TypeScript reads all JavaScript, as src, www, client and scripts each have to be read. */
import { join } from "node:path";
import { readOptions } from "./lib/options.mjs";
import { NODE, TSC, ensureNpmPackages } from "./lib/npm-packages.mjs";
import { ROOT } from "./lib/paths.mjs";
import { run } from "./lib/run.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";

const USAGE = `usage: npm run dev -- types

Checks the types of the JavaScript in src, www, client and scripts; each has a tsconfig.json.`;

const FOLDERS = ["src/js", "www", "client", "scripts"];

await runMain(async () => {
  if (!readOptions(USAGE, {})) return 0;
  await ensureNpmPackages();
  /** @type {string[]} */
  const failed = [];
  for (const folder of FOLDERS) {
    const code = await run(NODE, [TSC, "--project", join(ROOT, folder)]);
    if (code !== 0) failed.push(folder);
  }
  if (failed.length > 0) throw new Advice(`The types of ${failed.join(" and ")} do not fit; what is wrong stands above.`);
  say(`the types of ${FOLDERS.join(", ")} fit`);
});
