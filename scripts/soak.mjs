/** `npm run dev -- soak`: half an hour at the highest rate that this machine takes, killed every minute. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBuilt } from "./build.mjs";
import { numberOption, readOptions } from "./lib/options.mjs";
import { machine } from "./lib/report.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";
import { Soak } from "./lib/soak.mjs";

const USAGE = `usage: npm run dev -- soak [--minutes 30] [--every 60] [--senders 8]

  --minutes N  how long
  --every N    seconds from one SIGKILL to the next
  --senders N  how many send at the same time, each the next batch at the answer to the last

Fails where a play is missing or twice, where memory grows, and on an answer that is not documented.`;

await runMain(async () => {
  const options = readOptions(USAGE, { minutes: "30", every: "60", senders: "8" });
  if (!options) return 0;
  const { values, refuse } = options;
  const minutes = numberOption("minutes", values.minutes, { min: 0.5, max: 10_000, whole: false }, refuse);
  const everyS = numberOption("every", values.every, { min: 10, max: 86_400 }, refuse);
  const senders = numberOption("senders", values.senders, { min: 1, max: 256 }, refuse);
  await ensureBuilt();
  const folder = mkdtempSync(join(tmpdir(), "hitparade-soak-"));
  const soak = new Soak(folder, senders);
  try {
    await soak.run({ minutes, everyS, onMinute: say });
    const { lines, failures } = soak.report();
    process.stdout.write(`\nnpm run dev -- soak --minutes ${minutes} --every ${everyS} --senders ${senders} · ${machine()} · ${new Date().toISOString().slice(0, 10)}\n\n${lines.join("\n")}\n`);
    if (failures.length > 0) throw new Advice("The soak failed:", ...failures);
  } finally {
    await soak.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});
