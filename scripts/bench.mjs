/** `npm run bench`: measures, prints the tables, and exits 1 where a limit is missed. */
import { join } from "node:path";
import { ROWS } from "./bench/time.mjs";
import { ROOT } from "./lib/paths.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";

const NAMES = ["summary", "accuracy", "time", "ingest", "read"];
/** Not among all: what the cost model takes, what lasts twenty minutes, and what needs another program or many open files. */
const BY_NAME = ["bill", "bill-real", "sizes", "cpu", "redis", "live"];
const fileOf = (name) => join(ROOT, "scripts", "bench", `${name}.mjs`);
const CALLED = [...NAMES, ...BY_NAME];

const USAGE = `usage: npm run bench [-- ${CALLED.join("|")}] [--json] [--rows NAMES]

  --json        a line a row: name, value, unit, must, aim, holds
  --rows NAMES  of \`time\`, which takes minutes: only ${ROWS.join(", ")}, some of these with commas between

Without a name all but ${BY_NAME.join(", ")} run, one after the other.`;

await runMain(async () => {
  const words = process.argv.slice(2);
  if (words.includes("--help") || words.includes("-h")) return void say(USAGE);
  const json = words.includes("--json");
  const at = words.indexOf("--rows");
  const [, rows] = at < 0 ? [] : words.splice(at, 2);
  const names = words.filter((word) => word !== "--json");
  if (at >= 0 && (!rows || names.join() !== "time")) throw new Advice("`--rows` goes with `time`.", ...USAGE.split("\n"));
  const unknown = names.find((name) => !CALLED.includes(name));
  if (unknown) throw new Advice(`There is no benchmark \`${unknown}\`.`, ...USAGE.split("\n"));

  let held = true;
  for (const name of names.length > 0 ? names : NAMES) {
    const { run } = await import(fileOf(name));
    held = (await run({ json, ...(rows && { rows: rows.split(",") }) })) && held;
  }
  return held ? 0 : 1;
});
