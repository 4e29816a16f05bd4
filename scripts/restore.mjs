/** `npm run restore`: puts a copy of `npm run backup` back, after checking that it is whole. */
import { resolve } from "node:path";
import { readOptions } from "./lib/options.mjs";
import { NOT_IN_STATE } from "./lib/paths.mjs";
import { runMain, say } from "./lib/say.mjs";
import { restore } from "./lib/state.mjs";

const USAGE = `usage: npm run restore -- --from DIR [--state .state/serve]

  --from DIR   what \`npm run backup\` wrote
  --state DIR  folder for it, to be given to \`npm run serve\`; must hold no state`;

const ELSEWHERE = {
  file: "--from names a folder that `npm run backup -- --to DIR` wrote; `npm run import -- --file FILE` takes the lines of an export.",
};

await runMain(async () => {
  const options = readOptions(USAGE, { from: "", state: ".state/serve" }, ELSEWHERE);
  if (!options) return;
  const { values, refuse } = options;
  const from = values.from || refuse("--from needs the name of a folder.");
  const { files, bytes, made } = await restore(resolve(from), resolve(values.state));
  say(`${values.state}: ${files} files, ${bytes} bytes, as of ${made}.`);
  say(`  ${NOT_IN_STATE}: those that are here count.`);
});
