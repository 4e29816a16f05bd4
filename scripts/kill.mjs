/** `npm run dev -- kill --rounds 20`: kills the server under load, again and again, and counts every play. */
import { join } from "node:path";
import { ensureBuilt } from "./build.mjs";
import { NODE } from "./lib/npm-packages.mjs";
import { numberOption, readOptions } from "./lib/options.mjs";
import { ROOT } from "./lib/paths.mjs";
import { run } from "./lib/run.mjs";
import { runMain } from "./lib/say.mjs";

const USAGE = `usage: npm run dev -- kill [--rounds 20] [--seed N]

  --rounds N  how often the server is killed
  --seed N    makes the same plays again; when the server is killed stays a matter of chance`;

const MAX_SEED = 2 ** 32 - 1;

await runMain(async () => {
  const random = String(Math.floor(Math.random() * MAX_SEED));
  const options = readOptions(USAGE, { rounds: "20", seed: random });
  if (!options) return 0;
  const { values, refuse } = options;
  const rounds = numberOption("rounds", values.rounds, { min: 1, max: 10_000 }, refuse);
  const seed = numberOption("seed", values.seed, { min: 0, max: MAX_SEED }, refuse);
  await ensureBuilt();
  return run(NODE, ["--test", "--test-reporter=spec", join(ROOT, "tests", "runtime", "kill.test.mjs")], {
    env: { ...process.env, SAY_PROGRESS: "1", KILL_ROUNDS: String(rounds), KILL_SEED: String(seed) },
    stdout: "inherit",
  });
});
