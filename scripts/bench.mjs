/** `npm run bench`: measures, prints the tables, and exits 1 where a limit is missed. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./lib/paths.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";

const NAMES = ["summary", "accuracy", "time", "ingest", "read"];
/** Not among all: what the cost model takes, what lasts twenty minutes, and what needs another program or many open files. */
const BY_NAME = ["bill", "bill-real", "cpu", "redis", "live"];
const fileOf = (name) => join(ROOT, "scripts", "bench", `${name}.mjs`);
const THERE = NAMES.filter((name) => existsSync(fileOf(name)));
const CALLED = [...THERE, ...BY_NAME];

const USAGE = `usage: npm run bench [-- ${CALLED.join("|")}] [--json]

  --json  a line a row: name, value, unit, must, aim, holds

Without a name all but ${BY_NAME.join(", ")} run, one after the other.`;

await runMain(async () => {
  const words = process.argv.slice(2);
  if (words.includes("--help") || words.includes("-h")) return void say(USAGE);
  const json = words.includes("--json");
  const names = words.filter((word) => word !== "--json");
  const unknown = names.find((name) => !CALLED.includes(name));
  if (unknown) throw new Advice(`There is no benchmark \`${unknown}\`.`, ...USAGE.split("\n"));

  let held = true;
  for (const name of names.length > 0 ? names : THERE) {
    const { run } = await import(fileOf(name));
    held = (await run({ json })) && held;
  }
  return held ? 0 : 1;
});
