/**
 * `npm run bench -- accuracy`: charts beside exact counts of every id, on the way that plays take
 * through shards, pushes, folds and the global object; on drawn streams, and on four weeks of
 * departures from New York (the last of a year where `HITPARADE_DATA` names a folder that has it, else
 * those of demo/). Counts come out the same everywhere; times and bytes are shown beside them.
 *
 * A day of a thousand plays a second is 86 million of them: all cases take half an hour on two cores.
 * `ACCURACY_HOURS=2 ACCURACY_CASES=uuid,flights` takes a shorter day and some of the cases.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { ROOT } from "../lib/paths.mjs";
import { Advice } from "../lib/say.mjs";
import { setupToBuild } from "../setup.mjs";

/** @returns {Promise<boolean>} false where a bound does not hold, or something is not as it must be */
export async function run() {
  await setupToBuild();
  const folders = [process.env.HITPARADE_DATA, join(ROOT, "demo")];
  const files = folders.flatMap((folder) => (folder ? [join(folder, "flights.tsv.gz")] : []));
  const file = files.find((path) => existsSync(path));
  if (!file) throw new Advice(`There is none of ${files.join(", ")}.`, "Name a folder that has flights.tsv.gz with HITPARADE_DATA.");
  const input = gunzipSync(readFileSync(file));
  const hours = process.env.ACCURACY_HOURS ? ["--hours", process.env.ACCURACY_HOURS] : [];
  const cases = process.env.ACCURACY_CASES?.split(",") ?? [];
  const bench = ["bench", "--quiet", "--bench", "accuracy", "--", ...hours, ...cases];
  const { status } = spawnSync("cargo", bench, { cwd: ROOT, input, stdio: ["pipe", "inherit", "inherit"] });
  return status === 0;
}
