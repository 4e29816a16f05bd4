/** `npm run simulate -- --seeds 10000`: the whole service on virtual time, with every fault there is. */
import { availableParallelism } from "node:os";
import { readOptions, numberOption } from "./lib/options.mjs";
import { run } from "./lib/run.mjs";
import { runMain, say } from "./lib/say.mjs";
import { setupToBuild } from "./setup.mjs";

const USAGE = `usage: npm run simulate -- [--seeds 10000] [--first S] [--threads N] | --seed S [--trace yes]

  --seeds N    so many seeds, from a random one that is printed
  --first S    from this one on
  --threads N  so many at once; as many as there are processors if not given
  --seed S     this one only: what a violation prints, seen again
  --trace yes  with --seed: says what happens, event by event`;

const MAX_SEED = 2 ** 48;

await runMain(async () => {
  const random = String(Math.floor(Math.random() * MAX_SEED));
  const cores = String(availableParallelism());
  const options = readOptions(USAGE, { seeds: "10000", first: random, threads: cores, seed: "", trace: "" });
  if (!options) return 0;
  const { values, refuse } = options;
  const env = { ...process.env };
  if (values.seed) {
    env.SEED = String(numberOption("seed", values.seed, { min: 0, max: MAX_SEED }, refuse));
    if (values.trace) env.TRACE = "1";
  } else {
    env.SEEDS = String(numberOption("seeds", values.seeds, { min: 1, max: 1e9 }, refuse));
    env.FIRST_SEED = String(numberOption("first", values.first, { min: 0, max: MAX_SEED }, refuse));
    env.THREADS = String(numberOption("threads", values.threads, { min: 1, max: 256 }, refuse));
    say(`${env.SEEDS} seeds from ${env.FIRST_SEED}`);
  }
  await setupToBuild();
  const test = ["test", "--release", "--test", "simulation", "--", "--nocapture", "--exact"];
  const name = "no_fault_loses_an_acknowledged_play_or_counts_one_twice";
  return run("cargo", [...test, name], { env, stdout: "inherit" });
});
