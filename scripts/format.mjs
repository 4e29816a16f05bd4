/** `npm run dev -- format`: all JavaScript in one form, that of Prettier. */
import { NODE, PRETTIER, ensureNpmPackages } from "./lib/npm-packages.mjs";
import { readOptions } from "./lib/options.mjs";
import { run } from "./lib/run.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";

const USAGE = `usage: npm run dev -- format [--check]

Brings all JavaScript into one form: Prettier's, with the settings of package.json.

  --check  changes nothing, and fails where something is in another form`;

/** A released beacon stays as it was. */
const FILES = ["**/*.{js,mjs,d.ts,d.mts}", "!www/beacon*.*.*.*.js"];

await runMain(async () => {
  const options = readOptions(USAGE, { check: false });
  if (!options) return 0;
  await ensureNpmPackages();
  const how = options.values.check ? "--check" : "--write";
  const code = await run(NODE, [PRETTIER, how, "--log-level", "warn", ...FILES]);
  if (code !== 0) throw new Advice("This JavaScript is in another form; `npm run dev -- format` mends it.");
  say("all JavaScript is in one form");
});
