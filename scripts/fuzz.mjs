/** `npm run dev -- fuzz --minutes 10`: bad input of every kind against the service, mixed with good plays. */
import { join } from "node:path";
import { ensureBuilt } from "./build.mjs";
import { NODE } from "./lib/npm-packages.mjs";
import { numberOption, readOptions } from "./lib/options.mjs";
import { ROOT } from "./lib/paths.mjs";
import { run } from "./lib/run.mjs";
import { runMain } from "./lib/say.mjs";

const USAGE = `usage: npm run dev -- fuzz [--minutes 10] [--seed N]

  --minutes N  how long
  --seed N     makes the same requests again; how they meet stays a matter of chance`;

const MAX_SEED = 2 ** 32 - 1;

await runMain(async () => {
  const random = String(Math.floor(Math.random() * MAX_SEED));
  const options = readOptions(USAGE, { minutes: "10", seed: random });
  if (!options) return 0;
  const { values, refuse } = options;
  const minutes = numberOption("minutes", values.minutes, { min: 0.1, max: 10_000, whole: false }, refuse);
  const seed = numberOption("seed", values.seed, { min: 0, max: MAX_SEED }, refuse);
  await ensureBuilt();
  return run(NODE, ["--test", "--test-reporter=spec", join(ROOT, "tests", "runtime", "fuzz.test.mjs")], {
    env: { ...process.env, SAY_PROGRESS: "1", FUZZ_SECONDS: String(60 * minutes), FUZZ_SEED: String(seed) },
    stdout: "inherit",
  });
});
