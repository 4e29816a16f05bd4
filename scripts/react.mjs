/** `npm run dev -- react`: hitparade/react in an application of Vite, the beacon in one of Next.js, the client in Deno. */
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
development, in strict mode, and as built; and the beacon so in an application of Next.js. Runs the program of
docs/client.md in Deno. Needs a registry of npm in reach.`;

await runMain(async () => {
  if (!readOptions(USAGE, {})) return 0;
  await ensureBuilt();
  const env = { ...process.env, CHROME_PATH: await ensureBrowser() };
  const files = ["react", "next", "deno"].map((name) => join(ROOT, "tests", "react", `${name}.test.mjs`));
  return run(NODE, ["--test", "--test-reporter=spec", "--test-concurrency=1", ...files], { env, stdout: "inherit" });
});
