/** `npm run export`: everything that an installation keeps, as lines of JSON in a file. */
import { setupToServe } from "./setup.mjs";
import { exportWhole, tellOtherBoards } from "./lib/export.mjs";
import { adminOf } from "./lib/installation.mjs";
import { numberOption, readOptions } from "./lib/options.mjs";
import { runMain, say } from "./lib/say.mjs";

const USAGE = `usage: npm run export -- --file FILE [--url http://127.0.0.1:8787] [--board main] [--wait 180]

  --file FILE  where the lines go; replaced only by a whole export, one that lacks something is in FILE.incomplete
  --url URL    the installation; ADMIN_TOKEN is taken from the environment or from .dev.vars
  --board ID   the board whose counts they are; another board needs a file of its own
  --wait N     for so many seconds, try again where a shard does not say what it has (docs/deploy.md)

All lines are of one moment, a second or two from now. Senders may go on.`;

const ELSEWHERE = { to: "--to is of `npm run backup`: --file names where an export goes." };

await runMain(async () => {
  const options = readOptions(USAGE, { url: "http://127.0.0.1:8787", file: "", board: "main", wait: "180" }, ELSEWHERE);
  if (!options) return 0;
  const { values, refuse } = options;
  const file = values.file || refuse("--file needs the name of a file.");
  const waitS = numberOption("wait", values.wait, { min: 0, max: 86_400 }, refuse);
  await setupToServe();
  const admin = await adminOf(values.url, refuse);
  const from = { ...admin, board: values.board };
  const { rows, asOf } = await exportWhole(file, from, waitS);
  say(`${file}: ${rows} rows, everything that the board ${values.board} had accepted by ${asOf}.`);
  await tellOtherBoards(from);
});
