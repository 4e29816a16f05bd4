/**
 * `npm run bench -- accuracy`: counts beside exact ones, by timeframe, size of a region and
 * counters; on Zipf streams, and on a year of departures from New York (`HITPARADE_DATA` or
 * ../shared/data, otherwise the four weeks of demo/). Nothing is timed: the same comes out everywhere.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { ROOT } from "../lib/paths.mjs";
import { Advice } from "../lib/say.mjs";
import { setupToBuild } from "../setup.mjs";

/** @returns {Promise<boolean>} false where a bound does not hold; there is no other limit */
export async function run() {
  await setupToBuild();
  const folders = [process.env.HITPARADE_DATA, join(ROOT, "..", "shared", "data"), join(ROOT, "demo")];
  const files = folders.flatMap((folder) => (folder ? [join(folder, "flights.tsv.gz")] : []));
  const file = files.find((path) => existsSync(path));
  if (!file) throw new Advice(`There is none of ${files.join(", ")}.`, "Name a folder that has flights.tsv.gz with HITPARADE_DATA.");
  const input = gunzipSync(readFileSync(file));
  const bench = ["bench", "--quiet", "--bench", "accuracy"];
  const { status } = spawnSync("cargo", bench, { cwd: ROOT, input, stdio: ["pipe", "inherit", "inherit"] });
  return status === 0;
}
