/** `npm run backup`: a copy of what `npm run serve` has stored, while it is stopped. */
import { resolve } from "node:path";
import { readOptions } from "./lib/options.mjs";
import { runMain, say } from "./lib/say.mjs";
import { backUp } from "./lib/state.mjs";

const USAGE = `usage: npm run backup -- --to DIR [--state .state/serve]

  --to DIR     folder of the copy; must not exist yet
  --state DIR  what \`npm run serve\` was given; the server must be stopped`;

await runMain(async () => {
  const options = readOptions(USAGE, { to: "", state: ".state/serve" });
  if (!options) return;
  const { values, refuse } = options;
  const to = values.to || refuse("--to needs the name of a folder.");
  const { files, bytes } = await backUp(resolve(values.state), resolve(to));
  say(`${to}: ${files} files, ${bytes} bytes.`);
});
