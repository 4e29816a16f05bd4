/**
 * `npm run dev -- soak`: half an hour at the highest rate that this machine takes, killed every minute, with
 * connections that are reset and bodies that never end beside it; with `--resets`, what of a great many
 * connections that were reset stays held, on a server that nobody kills.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBuilt } from "./build.mjs";
import { numberOption, readOptions } from "./lib/options.mjs";
import { machine } from "./lib/report.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";
import { Soak } from "./lib/soak.mjs";
import { soakResets } from "./lib/soak-resets.mjs";

const USAGE = `usage: npm run dev -- soak [--minutes 30] [--every 60] [--senders 8]
       npm run dev -- soak --resets 100000 [--seed 1]

  --minutes N  how long
  --every N    seconds from one SIGKILL to the next
  --senders N  how many send at the same time, each the next batch at the answer to the last
  --resets N   connections that are reset at random moments of all routes; nothing may stay held
  --seed N     of their randomness

Fails where a play is missing or twice, where memory grows, and on an answer that is not documented.`;

await runMain(async () => {
  const options = readOptions(USAGE, { minutes: "30", every: "60", senders: "8", resets: "", seed: "1" });
  if (!options) return 0;
  const { values, refuse } = options;
  const minutes = numberOption("minutes", values.minutes, { min: 0.5, max: 10_000, whole: false }, refuse);
  const everyS = numberOption("every", values.every, { min: 10, max: 86_400 }, refuse);
  const senders = numberOption("senders", values.senders, { min: 1, max: 256 }, refuse);
  const resets = values.resets && numberOption("resets", values.resets, { min: 1_000, max: 1e9 }, refuse);
  const seed = numberOption("seed", values.seed, { min: 0, max: 2 ** 32 - 1 }, refuse);
  await ensureBuilt();
  if (resets) {
    const { lines, failures } = await soakResets({ resets, seed, onProgress: say });
    process.stdout.write(
      `\nnpm run dev -- soak --resets ${resets} --seed ${seed} · ${machine()} · ${new Date().toISOString().slice(0, 10)}\n\n${lines.join("\n")}\n`,
    );
    if (failures.length > 0) throw new Advice("The soak failed:", ...failures);
    return 0;
  }
  const folder = mkdtempSync(join(tmpdir(), "hitparade-soak-"));
  const soak = new Soak(folder, senders);
  try {
    await soak.run({ minutes, everyS, onMinute: say });
    const { lines, failures } = soak.report();
    process.stdout.write(
      `\nnpm run dev -- soak --minutes ${minutes} --every ${everyS} --senders ${senders} · ${machine()} · ${new Date().toISOString().slice(0, 10)}\n\n${lines.join("\n")}\n`,
    );
    if (failures.length > 0) throw new Advice("The soak failed:", ...failures);
  } finally {
    await soak.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});
