/** `npm run serve -- --port 8787 --state DIR`, and `npx hitparade serve`: what is built, on bare workerd, with no demo. */
import { resolve } from "node:path";
import { requireBuilt } from "./lib/built.mjs";
import { limitsInWords } from "./lib/limits.mjs";
import { numberOption, readOptions } from "./lib/options.mjs";
import { HOME } from "./lib/paths.mjs";
import { copyRelease, hasOtherRelease, readPackage } from "./lib/release.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";
import { startServer } from "./lib/server.mjs";
import { isNewState } from "./lib/state.mjs";
import { readSettings, settingsInWords, workerVariables } from "./lib/variables.mjs";
import { readWranglerConfig } from "./lib/wrangler-config.mjs";

const USAGE = `usage: npm run serve -- [--port 8787] [--state .state/serve] [--settings hitparade.toml]

  --port N         port on 127.0.0.1; 0 takes any free one
  --state DIR      folder for everything that is stored; the same folder again goes on where it ended
  --settings FILE  the installation's own settings, in place of hitparade.toml

Tokens and settings are taken from the environment, else from .dev.vars, else from the installation's
own file, else from wrangler.toml: those of the folder where you are, if it has one of the two files of
settings. It prints where each came from. Prints \`ready http://127.0.0.1:PORT\` when it answers.`;

await runMain(async () => {
  const options = readOptions(USAGE, { port: "8787", state: ".state/serve", settings: "" });
  if (!options) return;
  const port = numberOption("port", options.values.port, { min: 0, max: 65_535 }, options.refuse);
  const state = options.values.state || options.refuse("--state needs the name of a folder.");
  requireBuilt();
  let ending = false;
  const signalled = new Promise((done) => {
    for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => done((ending = true)));
    whenParentIsGone(() => done((ending = true)));
  });
  const own = options.values.settings || undefined;
  const isNew = isNewState(state);
  const server = await startServer({ port, state, own, prepare: bringUpToDate });
  const { layers, files, known, warnings } = await readWranglerConfig(own);
  const settings = readSettings(layers);
  for (const warning of warnings) say(`warning: ${warning}`);
  say(settingsInWords(settings, files, known));
  say(`State: ${resolve(state)}${isNew ? " (new: nothing was stored there before)" : ""}`);
  say(limitsInWords(workerVariables(settings)));
  process.stdout.write(`ready ${server.url}\n`);
  await Promise.race([signalled, server.ended]);
  if (ending) return server.stop();
  // The signal to the whole process group may end workerd a moment before it reaches us.
  const how = await server.ended;
  await new Promise((done) => setTimeout(done, 100));
  if (!ending) throw new Advice(`workerd ended by itself (${how}); its messages are above.`);
});

/** Worker and pages are of one release in any case: both are served from this folder. */
function bringUpToDate() {
  if (!hasOtherRelease(HOME)) return;
  const { version } = readPackage();
  try {
    copyRelease(HOME);
    say(`▸ the Worker and the pages of ${HOME} are those of release ${version} now`);
  } catch (error) {
    if (!["EACCES", "EPERM", "EROFS"].includes(/** @type {any} */ (error).code)) throw error;
    say(
      `▸ this serves the Worker and the pages of another release than ${version}; \`npx hitparade init\` in ${HOME}, as the user to whom it belongs, puts these there, and a restart serves them`,
    );
  }
}

/**
 * A parent that was killed cannot pass that on: npm, and the tests, which set END_WITH_PARENT.
 * Started from a shell, the server outlives it as usual.
 */
function whenParentIsGone(then) {
  const parent = process.ppid;
  if (!process.env.npm_lifecycle_event && !process.env.END_WITH_PARENT) return;
  setInterval(() => process.ppid !== parent && then(), 250).unref();
}
