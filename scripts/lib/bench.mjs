/** The frame of a benchmark on bare workerd: a folder and servers that are gone afterwards, a report. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBuilt } from "../build.mjs";
import { Report } from "./report.mjs";
import { startServer } from "./server.mjs";
import { ensureWrk } from "./wrk.mjs";

export const TOKEN = "ingest-token-of-the-bench";
/** High enough to be met by nobody: requests are counted, and all go through. */
export const NO_LIMIT = "1000000000";

/**
 * @typedef {object} Bench
 * @property {Report} report
 * @property {string[]} notes lines below the table
 * @property {string} folder
 * @property {(server: import("./server.mjs").Server) => import("./server.mjs").Server} keep has it stopped at the end
 * @property {(name: string, environment?: NodeJS.ProcessEnv) => Promise<import("./server.mjs").Server>} serve the service, with the defaults
 */

/**
 * @param {{json: boolean, title: string, command: string}} how
 * @param {(bench: Bench) => Promise<void>} measure
 * @returns {Promise<boolean>} whether every limit holds
 */
export async function benchmark(how, measure) {
  await ensureWrk();
  await ensureBuilt();
  const folder = mkdtempSync(join(tmpdir(), "hitparade-bench-"));
  const servers = [];
  const notes = [];
  const report = new Report();
  const keep = (server) => {
    servers.push(server);
    return server;
  };
  const serve = async (name, environment = {}) => {
    const defaults = { ...process.env, INGEST_TOKEN: TOKEN, READ_TOKEN: "", METRICS_TOKEN: "", ALLOWED_ORIGINS: "" };
    return keep(await startServer({ port: 0, state: join(folder, name), environment: { ...defaults, ...environment } }));
  };
  try {
    await measure({ report, notes, folder, keep, serve });
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
    rmSync(folder, { recursive: true, force: true });
  }
  return report.print({ ...how, notes });
}
