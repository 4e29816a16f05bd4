/** Talking to the service as a sender that must not lose a play. */
import { setTimeout as sleep } from "node:timers/promises";
import { DEV_VARS } from "./paths.mjs";
import { Advice, messageOf, say } from "./say.mjs";

/** @typedef {{post_id: string, region_id?: string, timestamp?: number | string, count?: number, board?: string, boards?: string[]}} Play */

/** A request that is answered with no byte for so long is sent again. */
const SILENCE_MS = 30_000;
/** What a body may take besides, on its way there: nobody says how much of it has arrived. */
const SLOWEST_BYTES_PER_MS = 32;
/** For so long a command tries that somebody waits for. */
const PATIENCE_MS = 300_000;
const MAX_PAUSE_MS = 30_000;

/**
 * Sends one batch as NDJSON, again and again under the same key until it is counted.
 * @param {string} url of the server
 * @param {object} batch
 * @param {Play[]} batch.plays
 * @param {string} batch.key the same for the same batch
 * @param {string} batch.token the ingest token
 * @param {AbortSignal} [batch.signal] gives up
 * @param {(why: string) => void} [batch.onRetry]
 * @returns {Promise<{accepted: number, rejected: {index: number, code: string}[], repeated: boolean}>}
 */
export async function sendPlays(url, { plays, key, token, signal, onRetry }) {
  return sendUntilDone(`${url}/plays`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/x-ndjson", "idempotency-key": key },
    body: toNdjson(plays),
    signal,
    onRetry,
  });
}

/** @param {object[]} rows */
export const toNdjson = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

/**
 * A request that is safe to repeat: 429 and 503 wait as long as they say, a broken connection a second.
 * @param {string} url
 * @param {RequestInit & {onRetry?: (why: string) => void}} request
 * @returns {Promise<any>} the JSON of a 2xx answer; any other answer is an error
 */
export async function sendUntilDone(url, request) {
  return JSON.parse((await askUntilDone(url, request)).text);
}

/**
 * As `sendUntilDone`, for an answer that is not JSON.
 * @param {string} url
 * @param {RequestInit & {onRetry?: (why: string) => void, patienceMs?: number}} request `patienceMs`: after that it gives up
 * @returns {Promise<{text: string, headers: Headers}>}
 */
export async function askUntilDone(url, { onRetry = () => {}, signal, patienceMs = Infinity, ...request }) {
  const silenceMs = Math.min(SILENCE_MS, patienceMs);
  for (const begunMs = Date.now(); ;) {
    signal?.throwIfAborted();
    const ending = new AbortController();
    const end = () => ending.abort(new Error(`no byte for ${silenceMs / 1_000} s`));
    const timer = setTimeout(end, silenceMs + String(request.body ?? "").length / SLOWEST_BYTES_PER_MS);
    let pauseMs = 1_000;
    let why = "";
    try {
      const answer = await fetch(url, { ...request, signal: signal ? AbortSignal.any([signal, ending.signal]) : ending.signal });
      let text = "";
      const decoder = new TextDecoder();
      for await (const bytes of answer.body ?? []) {
        timer.refresh();
        text += decoder.decode(bytes, { stream: true });
      }
      if (answer.ok) return { text, headers: answer.headers };
      if (answer.status !== 429 && answer.status !== 503) {
        throw refused(request.method ?? "GET", url, answer.status, text);
      }
      pauseMs = Math.min((Number(answer.headers.get("retry-after")) || 1) * 1_000, MAX_PAUSE_MS);
      why = `status ${answer.status}`;
    } catch (error) {
      if (error instanceof RefusedError || signal?.aborted) throw error;
      why = reasonOf(error);
    } finally {
      clearTimeout(timer);
    }
    if (Date.now() - begunMs >= patienceMs) {
      throw new Advice(
        `${request.method ?? "GET"} ${url}: not done within ${patienceMs / 1_000} s (${why}).`,
        `\`npx hitparade doctor --url ${new URL(url).origin}\` says what of it works; then start this again.`,
      );
    }
    onRetry(why);
    await sleep(pauseMs, undefined, { signal: signal ?? undefined });
  }
}

/**
 * As `askUntilDone`, for a command that somebody waits for: says what it waits for, and gives up.
 * @param {{url: string, headers: Record<string, string>, patienceMs?: number}} admin
 * @param {string} path @param {RequestInit & {headers?: Record<string, string>}} [request]
 */
export const askAs = ({ url, headers, patienceMs = PATIENCE_MS }, path, request = {}) =>
  askUntilDone(url + path, {
    ...request,
    headers: { ...headers, ...request.headers },
    patienceMs,
    onRetry: (why) => say(`  not yet (${why}); trying again`),
  });

/** Why no answer came: `fetch` puts what the network said below its own error. @param {unknown} error @returns {string} */
export const reasonOf = (error) => /** @type {Error & {cause?: NodeJS.ErrnoException}} */ (error).cause?.code ?? messageOf(error);

/** An answer that would be the same on a repeat. */
export class RefusedError extends Advice {}

/**
 * How a board is made that is none yet.
 * @param {string} url of the installation @param {string} board
 * @param {object} [settings] without any it is public, with the installation's posts
 */
export const makeBoard = (url, board, settings) =>
  `Make it first: curl -X PUT ${url}/boards/${encodeURIComponent(board)} -H "Authorization: Bearer $ADMIN_TOKEN"${settings ? ` -d ${quoted(JSON.stringify(settings))}` : ""}`;

/** A word of a shell. @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Every board of an installation, as `GET /boards` gives it. @param {Parameters<typeof askAs>[0]} admin @returns {Promise<any[]>} */
export async function listBoards(admin) {
  const { text } = await askAs(admin, "/boards");
  try {
    const { boards } = JSON.parse(text);
    if (Array.isArray(boards)) return boards;
  } catch {}
  throw refused("GET", `${admin.url}/boards`, 200, text);
}

/** What helps, by the code of a problem. @type {Record<string, string>} */
const HELPS = {
  unauthorized: `The token is taken from the environment, else from ${DEV_VARS}: is it one of this installation's?`,
  disabled: "The installation itself has no such token: set one there.",
};

/** @param {string} method @param {string} url @param {number} status @param {string} text */
function refused(method, url, status, text) {
  const request = `${method} ${url}`;
  let problem;
  try {
    problem = JSON.parse(text);
  } catch {
    // Somebody else's answer.
  }
  if (typeof problem?.code !== "string") {
    return new RefusedError(
      `${request}: ${status} ${text.slice(0, 200)}`,
      "This is no answer of Hitparade's: is it the address of an installation?",
    );
  }
  const helps = HELPS[problem.code];
  return new RefusedError(`${request}: ${status} ${problem.code}: ${problem.detail}`, ...(helps ? [helps] : []));
}
