/** `npx hitparade doctor`: what of an installation works, what does not, and what to do about it. */
import { basename } from "node:path";
import { CHECKS, leftOut } from "./lib/doctor/checks.mjs";
import { Patient } from "./lib/doctor/patient.mjs";
import { readOptions } from "./lib/options.mjs";
import { DEV_VARS } from "./lib/paths.mjs";
import { messageOf, runMain, say } from "./lib/say.mjs";
import { SECRETS, newestOf, readSettings, workerVariables } from "./lib/variables.mjs";
import { readWranglerConfig } from "./lib/wrangler-config.mjs";

const USAGE = `usage: npx hitparade doctor [--url http://127.0.0.1:8787]

Looks at an installation as its visitors, senders and operators use it: sends a play, repeats it, waits for it in charts
and on a socket; looks at tokens, headers, caching, clock, limits. Says line by line what works, what does not and what to
do; the exit code is 1 if anything is wrong.

  --url URL  the installation; tokens are taken from the environment or from .dev.vars

With ADMIN_TOKEN it looks on a board of its own and deletes that again, also after Ctrl-C; where that token is refused, it
sends no play. Where there is none, it looks on main, by a post that it hides at the end: two plays of it stay in main's
totals then. Over http it shows tokens to this machine alone: elsewhere it looks at none, and with ADMIN_TOKEN sends no play.`;

/** As of a program that Ctrl-C has ended. */
const BROKEN_OFF = 130;
const SIGNS = { works: "✔", wrong: "✖", unknown: "?" };

await runMain(async () => {
  const options = readOptions(USAGE, { url: "http://127.0.0.1:8787" });
  if (!options) return 0;
  const { values, refuse } = options;
  if (!URL.canParse(values.url)) refuse(`--url ${values.url}: the address of an installation is needed, such as http://127.0.0.1:8787.`);
  const settings = readSettings((await readWranglerConfig()).layers);
  const given = workerVariables(settings);
  const tokens = Object.fromEntries(SECRETS.map((name) => [name, given[name] && newestOf(given[name])]));
  const sources = Object.fromEntries(settings.map(({ name, source }) => [name, source === basename(DEV_VARS) ? DEV_VARS : source]));
  const patient = new Patient(new URL(values.url).origin, tokens, sources);

  const numbers = { works: 0, wrong: 0, unknown: 0 };
  const tell = (/** @type {string} */ name, /** @type {import("./lib/doctor/checks.mjs").Finding} */ { state, said, todo }) => {
    numbers[state]++;
    process.stdout.write(`${SIGNS[state]} ${name}: ${said}\n${todo ? `    ${todo}\n` : ""}`);
  };
  say(`${patient.url}:`);
  // Pressed again, it ends at once.
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => patient.ending.abort());
  try {
    for (const [name, check, what] of CHECKS) {
      const finding =
        leftOut(patient, what) ??
        (await check(patient).catch((error) => ({
          state: /** @type {const} */ ("wrong"),
          said: messageOf(error),
          todo: "This is a mistake of the doctor's: please tell.",
        })));
      if (patient.ending.signal.aborted) break;
      tell(name, finding);
      // Whoever does not answer at all has nothing else to say.
      if (name === "the service" && numbers.wrong > 0 && (await patient.ask("GET", "/healthz")).status === 0) break;
    }
  } finally {
    const left = await cleanUp(patient);
    if (left) tell("what is left of this look", left);
  }
  say(`\n${numbers.works} work, ${numbers.wrong} ${numbers.wrong === 1 ? "is" : "are"} wrong, ${numbers.unknown} unknown`);
  if (patient.ending.signal.aborted) return BROKEN_OFF;
  return numbers.wrong > 0 ? 1 : 0;
});

/**
 * Takes back what the look has left.
 * @param {Patient} patient @returns {Promise<import("./lib/doctor/checks.mjs").Finding | null>} null: there is nothing
 */
async function cleanUp(patient) {
  const { board, postId } = patient;
  const token = patient.tokens.ADMIN_TOKEN;
  if (board) {
    const { status, why } = await patient.ask("DELETE", `/boards/${board}?confirm=${board}`, { token });
    if ([200, 202, 404].includes(status)) return { state: "works", said: `nothing: the board ${board} is deleted` };
    return { state: "wrong", said: `the board ${board}: ${why}`, todo: `DELETE /boards/${board}?confirm=${board}` };
  }
  if (!patient.hasPlayed) return null;
  if (!token) return { state: "unknown", said: `plays of ${postId} on main, which DELETE /posts/${postId} hides` };
  const { status, why } = await patient.ask("DELETE", `/posts/${postId}`, { token });
  if ([200, 204, 404].includes(status)) return { state: "works", said: `plays of ${postId} in main's totals; the post is hidden` };
  return { state: "wrong", said: `plays of ${postId} on main: ${why}`, todo: `DELETE /posts/${postId}` };
}
