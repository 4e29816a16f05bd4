/** Which installation a command is for, and whether it may. */
import { readWranglerConfig } from "./wrangler-config.mjs";
import { Advice } from "./say.mjs";
import { newestOf, readSettings, workerVariables } from "./variables.mjs";

/**
 * @param {string} url such as `https://hitparade.example.workers.dev`
 * @param {(why: string) => never} refuse
 * @returns {Promise<{url: string, headers: {authorization: string}}>} its origin, and the admin token's header
 */
export async function adminOf(url, refuse) {
  let origin;
  try {
    origin = new URL(url).origin;
  } catch {
    refuse(`--url ${url}: the address of an installation is needed, such as http://127.0.0.1:8787.`);
  }
  const token = workerVariables(readSettings((await readWranglerConfig()).layers)).ADMIN_TOKEN;
  if (!token) throw new Advice("ADMIN_TOKEN is needed.", "Put it into the environment or into .dev.vars.");
  return { url: origin, headers: { authorization: `Bearer ${newestOf(token)}` } };
}
