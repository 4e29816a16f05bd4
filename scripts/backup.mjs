/**
 * `npm run backup`: a copy of an installation. Of one that runs, wherever it does, an export of one
 * moment; of what `npm run serve` has stored, while it is stopped, its files.
 */
import { resolve } from "node:path";
import { setupToServe } from "./setup.mjs";
import { exportWhole, tellOtherBoards } from "./lib/export.mjs";
import { adminOf } from "./lib/installation.mjs";
import { readOptions } from "./lib/options.mjs";
import { NOT_IN_STATE } from "./lib/paths.mjs";
import { runMain, say } from "./lib/say.mjs";
import { backUp } from "./lib/state.mjs";

const USAGE = `usage: npm run backup -- --to FILE --url URL [--board main]
       npm run backup -- --to DIR [--state .state/serve]

  --url URL    an installation that runs: everything that was accepted up to a moment, a second or two
               from now, as lines for \`npm run import\`. Senders may go on. ADMIN_TOKEN is taken from
               the environment or from .dev.vars
  --board ID   the board whose counts they are; another board needs a file of its own
  --to FILE    where they go; replaced only by a whole copy, one that lacks something is in FILE.incomplete

  --to DIR     folder of a copy for \`npm run restore\`; must not exist yet
  --state DIR  what \`npm run serve\` was given; the server must be stopped`;

/** How long a shard that does not say what it has is asked again. */
const WAIT_S = 180;

const ELSEWHERE = { file: "--file is of `npm run export`: --to names where a backup goes." };

await runMain(async () => {
  const options = readOptions(USAGE, { to: "", state: ".state/serve", url: "", board: "main" }, ELSEWHERE);
  if (!options) return;
  const { values, refuse } = options;
  const to = values.to || refuse("--to needs the name of a folder, or with --url of a file.");
  if (values.url) {
    await setupToServe();
    const admin = await adminOf(values.url, refuse);
    const { board } = values;
    const { rows, asOf } = await exportWhole(resolve(to), { ...admin, board }, WAIT_S);
    say(`${to}: ${rows} rows, everything that the board ${board} had accepted by ${asOf}.`);
    say(`  ${NOT_IN_STATE}.`);
    return tellOtherBoards({ ...admin, board });
  }
  const { files, bytes } = await backUp(resolve(values.state), resolve(to));
  say(`${to}: ${files} files, ${bytes} bytes.`);
  say(`  ${NOT_IN_STATE}.`);
});
