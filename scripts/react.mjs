/** `npm run dev -- react`: hitparade/react in an application of Vite. */
import { join } from "node:path";
import { ensureBuilt } from "./build.mjs";
import { ensureBrowser } from "./lib/browser.mjs";
import { NODE } from "./lib/npm-packages.mjs";
import { readOptions } from "./lib/options.mjs";
import { ROOT } from "./lib/paths.mjs";
import { run } from "./lib/run.mjs";
import { runMain } from "./lib/say.mjs";

const USAGE = `usage: npm run dev -- react

Packs the package, installs it with Vite and React into an application of its own, and looks at that in Chromium: in
development, in strict mode, and as built. Needs a registry of npm in reach.`;

await runMain(async () => {
  if (!readOptions(USAGE, {})) return 0;
  await ensureBuilt();
  const env = { ...process.env, CHROME_PATH: await ensureBrowser() };
  return run(NODE, ["--test", "--test-reporter=spec", join(ROOT, "tests", "react", "react.test.mjs")], { env, stdout: "inherit" });
});
