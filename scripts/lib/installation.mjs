/** Which installation a command is for, and whether it may. */
import { setTimeout as sleep } from "node:timers/promises";
import { reasonOf } from "./client.mjs";
import { DEV_VARS } from "./paths.mjs";
import { readWranglerConfig } from "./wrangler-config.mjs";
import { Advice } from "./say.mjs";
import { newestOf, readSettings, workerVariables } from "./variables.mjs";

/** For so long nobody has to answer at first: it may be starting. */
const START_MS = 3_000;
const PAUSE_MS = 1_000;

/**
 * @param {string} url such as `https://hitparade.example.workers.dev`
 * @param {(why: string) => never} refuse
 * @returns {Promise<{url: string, headers: {authorization: string}}>} its origin, and the admin token's header
 */
export async function adminOf(url, refuse) {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (!parsed || !/^https?:$/.test(parsed.protocol))
    refuse(`--url ${url}: the address of an installation is needed, such as http://127.0.0.1:8787.`);
  if (parsed.pathname !== "/" || parsed.search) refuse(`--url ${url}: the address alone is needed, ${parsed.origin}.`);
  const { origin } = parsed;
  const token = workerVariables(readSettings((await readWranglerConfig()).layers)).ADMIN_TOKEN;
  if (!token) throw new Advice("ADMIN_TOKEN is needed.", `Put it into the environment or into ${DEV_VARS}.`);
  await answers(origin);
  return { url: origin, headers: { authorization: `Bearer ${newestOf(token)}` } };
}

/** Whether somebody is there at all: what follows waits for who is away as long as it takes. @param {string} origin */
async function answers(origin) {
  for (const deadline = Date.now() + START_MS; ; await sleep(PAUSE_MS)) {
    try {
      await (await fetch(`${origin}/healthz`, { signal: AbortSignal.timeout(10_000) })).body?.cancel();
      return;
    } catch (error) {
      if (Date.now() > deadline) {
        throw new Advice(
          `Nobody answers at ${origin} (${reasonOf(error)}).`,
          "Is it served? `npm run serve` prints its address; --url names another one.",
        );
      }
    }
  }
}
