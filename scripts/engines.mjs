/** `npm run dev -- engines`: the tests of the beacon in each engine that browsers are made of, again and again. */
import { join } from "node:path";
import { ensureBuilt } from "./build.mjs";
import { ensureBrowser } from "./lib/browser.mjs";
import { ENGINES, installDrivers, installEngines, isThere, whereToGet } from "./lib/engines.mjs";
import { NODE } from "./lib/npm-packages.mjs";
import { numberOption, readOptions } from "./lib/options.mjs";
import { ROOT } from "./lib/paths.mjs";
import { run } from "./lib/run.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";

const USAGE = `usage: npm run dev -- engines [--engine chromium|firefox|webkit] [--runs 1]
                              [--only WORDS] [--short] [--if-there]

The tests of the beacon (tests/browser/beacon.test.mjs) in Firefox and WebKit, or in the engine that is named.

  --runs N    so many times in a row; ends at the first that fails
  --only W    the tests whose names match these words, a regular expression
  --short     the few that say most about an engine: under three minutes for both
  --if-there  installs no browser; says what was not run, and where to get it

What an engine's driver cannot do is listed by CANNOT in tests/browser/engines.mjs, and said before each run.`;

await runMain(async () => {
  const options = readOptions(USAGE, { engine: "", runs: "1", only: "", short: false, "if-there": false });
  if (!options) return 0;
  const { values, refuse } = options;
  const runs = numberOption("runs", values.runs, { min: 1, max: 100 }, refuse);
  const only = values.only ? ["--test-name-pattern", values.only] : [];
  const others = /** @type {(keyof typeof ENGINES)[]} */ (Object.keys(ENGINES));
  if (values.engine && values.engine !== "chromium" && !(values.engine in ENGINES)) refuse(`There is no engine ${values.engine}.`);
  const asked = values.engine ? [values.engine] : others;

  const wanted = others.filter((engine) => asked.includes(engine));
  if (!values["if-there"]) await installEngines(wanted);
  const missing = wanted.filter((engine) => !isThere(engine));
  const toGet = missing.map((engine) => `${ENGINES[engine].name} was not run: it is not here. To get it: ${whereToGet(engine)}`);
  if (missing.length > 0 && !values["if-there"]) throw new Advice("A browser is missing.", ...toGet);

  await ensureBuilt();
  if (wanted.length > missing.length) await installDrivers();
  const { CANNOT } = await import("../tests/browser/engines.mjs");
  for (const engine of asked.filter((each) => !missing.includes(each))) {
    for (const [what, why] of Object.entries(CANNOT[engine])) say(`${engine}: not tested is ${what}: ${why}`);
    const env = { ...process.env, ENGINE: engine, SHORT: values.short ? "1" : "0", CHROME_PATH: await ensureBrowser() };
    for (let number = 1; number <= runs; number++) {
      say(`\n▸ ${engine}, run ${number} of ${runs}`);
      const started = Date.now();
      const file = join(ROOT, "tests", "browser", "beacon.test.mjs");
      const code = await run(NODE, ["--test", "--test-reporter=spec", ...only, file], { env, stdout: "inherit" });
      say(`${code === 0 ? "passed" : "FAILED"}  ${engine}, run ${number} of ${runs} (${Math.round((Date.now() - started) / 1000)} s)`);
      if (code !== 0) return 1;
    }
  }
  for (const line of toGet) say(line);
  return 0;
});
