/** `npm run export`: everything that an installation keeps, as lines of JSON in a file. */
import { closeSync, fsyncSync, openSync, renameSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { setupToServe } from "./setup.mjs";
import { askUntilDone } from "./lib/client.mjs";
import { adminOf } from "./lib/installation.mjs";
import { numberOption, readOptions } from "./lib/options.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";

const USAGE = `usage: npm run export -- --file FILE [--url http://127.0.0.1:8787] [--wait 180]

  --file FILE  where the lines go; replaced only when all of them are there
  --url URL    the installation; ADMIN_TOKEN is taken from the environment or from .dev.vars
  --wait N     for so many seconds, try again as long as plays are under way inside (docs/deploy.md)`;

const PAUSE_MS = 5_000;

await runMain(async () => {
  const options = readOptions(USAGE, { url: "http://127.0.0.1:8787", file: "", wait: "180" });
  if (!options) return 0;
  const { values, refuse } = options;
  const file = values.file || refuse("--file needs the name of a file.");
  const waitS = numberOption("wait", values.wait, { min: 0, max: 86_400 }, refuse);
  await setupToServe();
  const admin = await adminOf(values.url, refuse);
  for (const deadline = Date.now() + 1_000 * waitS; ; await sleep(PAUSE_MS)) {
    const end = await exportTo(file, admin);
    if (end.damaged_rows > 0) throw new Advice(`${end.damaged_rows} stored rows cannot be read and are not in ${file}.`);
    if (end.complete) return void say(`${file}: ${end.rows} rows, everything that was ever accepted.`);
    if (Date.now() > deadline) {
      throw new Advice(
        `${file}: ${end.rows} rows, but some plays are not in it: they are under way inside, or still arriving.`,
        "Stop the senders and export again two minutes later; see docs/deploy.md.",
      );
    }
    say("  plays are still under way inside; trying again");
  }
});

/** Writes one export; returns its last line. @returns {Promise<{rows: number, complete: boolean, damaged_rows: number}>} */
async function exportTo(file, { url, headers }) {
  const fresh = `${file}.${process.pid}.new`;
  const descriptor = openSync(fresh, "w", 0o600);
  let last = "";
  try {
    const onRetry = (why) => say(`  the installation asks to wait (${why}); trying again`);
    for (let next = "/export"; next; ) {
      const page = await askUntilDone(url + next, { headers, onRetry });
      writeSync(descriptor, page.text);
      last = page.text.trimEnd().split("\n").at(-1) || last;
      next = /^<(\/export\?[^>]*)>; rel="next"$/.exec(page.headers.get("link") ?? "")?.[1];
    }
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  renameSync(fresh, file);
  return JSON.parse(last);
}
