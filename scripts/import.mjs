/** `npm run import`: the lines of an export into another installation, each once. */
import { statSync } from "node:fs";
import { open } from "node:fs/promises";
import { setupToServe } from "./setup.mjs";
import { RefusedError, askAs, listBoards, makeBoard } from "./lib/client.mjs";
import { adminOf } from "./lib/installation.mjs";
import { readOptions } from "./lib/options.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";
import { importFrom } from "./lib/send/command.mjs";

const USAGE = `usage: npm run import -- --file FILE [--url http://127.0.0.1:8787] [--board ID]

  --file FILE  what \`npm run export\` wrote
  --url URL    the installation; ADMIN_TOKEN is taken from the environment or from .dev.vars
  --board ID   the board that the counts go to, whichever they come from; \`main\` where they come from there. Of one that
               was not public, or had posts of its own, only into a board like that

Broken off, it may be started again: what was taken is not taken twice.
What another system counted: --from plausible|matomo|goatcounter|csv, of which --from csv --help tells more.`;

const MAIN = "main";
/** The service takes 8 MiB and 10,000 lines at once. */
const MAX_BYTES = 4 << 20;
const MAX_LINES = 5_000;

await runMain(async () => {
  if (process.argv.some((word) => word === "--from" || word.startsWith("--from="))) return importFrom();
  const options = readOptions(USAGE, { url: "http://127.0.0.1:8787", file: "", board: "" });
  if (!options) return 0;
  const { values, refuse } = options;
  const file = values.file || refuse("--file needs the name of a file.");
  if (statSync(file, { throwIfNoEntry: false })?.isDirectory())
    throw new Advice(`${file} is a folder.`, `That of a backup is put back while nothing is served: npm run restore -- --from ${file}`);
  await setupToServe();
  const admin = await adminOf(values.url, refuse);
  const { head, end } = await endsOf(file);
  const from = head.board?.board_id ?? MAIN;
  if (from !== MAIN && !values.board)
    throw new Advice(
      `${file} is of the board ${from}.`,
      `--board ${from} puts it into the board of that name, --board ${MAIN} adds it to what ${MAIN} has, for good.`,
    );
  const to = values.board || MAIN;
  await requireBoard(admin, to, head.board);
  if (!end.complete) say(`! ${file} says that some plays are not in it (docs/deploy.md).`);
  let row = 0;
  let board = to;
  for await (const lines of batches(file)) {
    // The rest is for no other board that is made under its name meanwhile.
    ({ row, board } = await importRows(admin, { file, head, board }, row, lines));
  }
  say(`${values.url}: ${end.rows} rows of ${file} are there.`);
});

/** The first and the last line of a file that is as it was written: nothing is sent of another one. */
async function endsOf(file) {
  let [head, last] = [/** @type {any} */ ({}), /** @type {any} */ ({})];
  let [number, bad] = [0, 0];
  for await (const line of linesOf(file)) {
    last = rowOf(line);
    if (++number === 1) head = last;
    if (!last.kind) bad ||= number;
  }
  if (head.kind !== "export")
    throw new Advice(
      `${file} is no export.`,
      "Counts of another service are brought along with --from (--help), plays sent by `npx hitparade send`, posts by PUT /posts.",
    );
  if (last.kind !== "end") throw new Advice(`${file} is cut off: its last line is not the end.`, "Export again.");
  if (bad) throw new Advice(`Line ${bad} of ${file} is none of an export; nothing was sent.`, "Export again.");
  if (last.rows !== number - 1)
    throw new Advice(`${file} has ${number - 1} lines before its end, which says that they were ${last.rows}.`, "Export again.");
  return { head, end: last };
}

/** What a line says; nothing where it is none of an export. @param {string} line */
function rowOf(line) {
  try {
    return Object(JSON.parse(line));
  } catch {
    return {};
  }
}

/**
 * The board that the rows go to: not one that shows to more people what it is given than the one of the export.
 * @param {{url: string, headers: Record<string, string>}} admin @param {string} board
 * @param {any} from as `GET /boards` gave it; none in lines that `GET /export` gave somebody else
 */
async function requireBoard(admin, board, from) {
  const found = (await listBoards(admin)).find(({ board_id }) => board_id === board);
  if (!found) {
    const { board_name, beacons, public: isPublic, catalog } = from ?? {};
    throw new Advice(
      `${admin.url} has no board ${board}.`,
      makeBoard(admin.url, board, from && { board_name, beacons, public: isPublic, catalog }),
    );
  }
  const here = `${board} of ${admin.url}`;
  if (from?.public === false && found.public)
    throw new Advice(`${from.board_id} was not public, and ${here} is.`, `PUT /boards/${board} with {"public":false} changes that.`);
  if (from?.catalog === "own" && found.catalog !== "own")
    throw new Advice(
      `${from.board_id} had posts of its own, and ${here} shares those of the installation.`,
      '--board names another one, made with {"catalog":"own"}.',
    );
}

async function* linesOf(file) {
  const opened = await open(file).catch((error) => {
    throw new Advice(`${file} cannot be read: ${error.message}`);
  });
  yield* opened.readLines();
}

/** Lines as they are sent: without what is in them for people, which the service does not read. */
async function* batches(file) {
  let [lines, bytes] = [/** @type {string[]} */ ([]), 0];
  for await (const line of linesOf(file)) {
    const row = JSON.parse(line);
    // A pane's posts are all in its summary.
    if (row.kind === "pane") delete row.posts;
    const text = JSON.stringify(row);
    if (lines.length > 0 && (lines.length >= MAX_LINES || bytes + text.length > MAX_BYTES)) {
      yield lines;
      [lines, bytes] = [[], 0];
    }
    lines.push(text);
    bytes += Buffer.byteLength(text) + 1;
  }
  if (lines.length > 0) yield lines;
}

/** @returns {Promise<{row: number, board: string}>} the row that comes next, and the key of the board */
async function importRows(admin, { file, head, board }, first, lines) {
  const query = new URLSearchParams({ board, seed: head.seed, id: head.id, row: String(first) });
  const { text } = await askAs(admin, `/import?${query}`, {
    method: "POST",
    headers: { "content-type": "application/x-ndjson" },
    body: lines.join("\n"),
  }).catch((error) => {
    if (error instanceof RefusedError)
      error.message = error.message.replace(/line (\d+) of the body/, (_, line) => `line ${first + Number(line)} of ${file}`);
    throw error;
  });
  const { next_row: next, board: key } = JSON.parse(text);
  const wanted = first + lines.length;
  // Further than that where it was imported before.
  if (next < wanted) throw new Advice(`The installation has rows up to ${next} only; import the whole file again.`);
  return { row: wanted, board: key };
}
