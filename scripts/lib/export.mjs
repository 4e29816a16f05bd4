/** An export of one moment, written to a file as a whole. */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { RefusedError, askAs, listBoards } from "./client.mjs";
import { Advice, say } from "./say.mjs";

const PAUSE_MS = 5_000;

/**
 * Exports, again and again for a while, as long as some shard does not tell what it has.
 * @param {string} file replaced only when everything is there; what lacks something is in FILE.incomplete
 * @param {{url: string, headers: Record<string, string>, board?: string, patienceMs?: number}} admin
 * @param {number} waitS
 * @returns {Promise<{rows: number, asOf: string}>}
 */
export async function exportWhole(file, admin, waitS) {
  for (const deadline = Date.now() + 1_000 * waitS; ; await sleep(PAUSE_MS)) {
    const { asOf, end } = await exportTo(file, admin, deadline);
    if (end.complete) {
      rmSync(lacking(file), { force: true });
      return { rows: end.rows, asOf };
    }
    if (end.damaged_rows > 0) throw new Advice(`${end.damaged_rows} stored rows cannot be read. All others are in ${lacking(file)}.`);
    if (Date.now() > deadline) {
      throw new Advice(
        `${lacking(file)}: ${end.rows} rows, but some plays are not in it: a shard did not say what it had.`,
        "Look at the log (docs/operate.md), and export again.",
      );
    }
    say("  a shard did not say what it had; trying again");
  }
}

/**
 * Says which boards are not in the export of one.
 * @param {{url: string, headers: Record<string, string>, board: string}} admin
 */
export async function tellOtherBoards({ board, ...admin }) {
  const others = (await listBoards(admin)).map((other) => other.board_id).filter((id) => id !== board);
  if (others.length > 0) say(`  Not in it: the boards ${others.join(", ")}, each of which needs a file of its own (--board).`);
}

/** Where an export goes that lacks something: one of before may be whole. @param {string} file */
const lacking = (file) => `${file}.incomplete`;

/** One export; begun again where it was over before its last page. */
async function exportTo(file, admin, deadline) {
  const { board = "main" } = admin;
  const fresh = `${file}.${process.pid}.new`;
  const settings = (await listBoards(admin)).find(({ board_id }) => board_id === board);
  const descriptor = openSync(fresh, "w", 0o600);
  let [first, last] = ["", ""];
  try {
    for (let next = `/export?${new URLSearchParams({ board })}`; next;) {
      const page = await askAs(admin, next);
      const lines = page.text.trimEnd().split("\n");
      // For who reads the board: where its posts may be shown.
      if (!first) page.text = page.text.replace(lines[0], () => (first = JSON.stringify({ ...JSON.parse(lines[0]), board: settings })));
      writeFileSync(descriptor, page.text);
      last = lines.at(-1) || last;
      next = /^<(\/export\?[^>]*)>; rel="next"$/.exec(page.headers.get("link") ?? "")?.[1] ?? "";
    }
    fsyncSync(descriptor);
  } catch (error) {
    rmSync(fresh, { force: true });
    if (!(error instanceof RefusedError && error.message.includes("export_over")) || Date.now() > deadline) throw error;
    say("  another export was begun meanwhile; beginning again");
    return exportTo(file, admin, deadline);
  } finally {
    closeSync(descriptor);
  }
  const end = JSON.parse(last);
  renameSync(fresh, end.complete ? file : lacking(file));
  return { asOf: JSON.parse(first).as_of, end };
}
