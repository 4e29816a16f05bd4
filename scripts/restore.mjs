/** `npm run restore`: puts a copy of `npm run backup` back, after checking that it is whole. */
import { resolve } from "node:path";
import { readOptions } from "./lib/options.mjs";
import { runMain, say } from "./lib/say.mjs";
import { restore } from "./lib/state.mjs";

const USAGE = `usage: npm run restore -- --from DIR [--state .state/serve]

  --from DIR   what \`npm run backup\` wrote
  --state DIR  folder for it, to be given to \`npm run serve\`; must hold no state`;

await runMain(async () => {
  const options = readOptions(USAGE, { from: "", state: ".state/serve" });
  if (!options) return;
  const { values, refuse } = options;
  const from = values.from || refuse("--from needs the name of a folder.");
  const { files, bytes, made } = await restore(resolve(from), resolve(values.state));
  say(`${values.state}: ${files} files, ${bytes} bytes, as of ${made}.`);
});
