/**
 * The Worker's door: charts that this isolate gave a moment ago go out again from here; everything else
 * goes on to the Worker in Wasm, which decides what may be kept, and for how long, and hands it over.
 *
 * Only answers that are the same for everybody come: charts that need no token, on an installation that
 * is open to every page. They are kept by path, query and `Accept`, which is all that they depend on, but for
 * published charts, of which bots get a page; and counted like all requests.
 */
import { countAtTheDoor, isBot, visitorAddress } from "bindgen/index.js";
import { answerWith } from "./answers.js";
import { steadyMs } from "./clock.js";
import { resultOf } from "./instance.js";

/** @import { Env, Kept as Given, Peer } from "./contract.d.ts" */
/** @typedef {Given & { headers: Headers }} Kept */

/** 512 charts of 10 posts are 1.2 MB; the bytes bound those of 1,000. */
const KEPT_CHARTS = 512;
const MAX_BYTES = 8 << 20;
/** JSON, CSV and NDJSON by the few names that clients have for them. */
const MAX_FORMS = 16;
const MAX_NAME_LENGTH = 512;
/** How long the others get the old answer while one request fetches a newer one. */
const RENEWAL_MS = 1_000;

/** @type {Map<string, Map<string, Kept>>} by path and query, then by `Accept` */
const charts = new Map();
let bytes = 0;

/** Answers that went out from here. */
let repeated = 0;

/** @returns {number} for `/metrics`, which is on the other side */
export const repeatedAtTheDoor = () => repeated;

/**
 * The answer that was given before, where it is still good.
 * @param {Request} request @param {Env} env
 * @returns {Response | undefined}
 */
export function again(request, env) {
  if (request.method !== "GET") return undefined;
  const { headers } = request;
  const kept = charts.get(pathOf(request.url))?.get(formOf(headers.get("accept")));
  if (kept === undefined || headers.get("authorization") !== null) return undefined;
  const now_ms = steadyMs();
  if (now_ms >= kept.renew_ms) {
    kept.renew_ms = now_ms + RENEWAL_MS;
    return undefined;
  }
  if (now_ms >= kept.expires_ms) return undefined;
  const etag = headers.get("if-none-match");
  if (etag !== null && etag !== kept.etag) return undefined;
  if (kept.not_for_bots && resultOf(() => isBot(headers.get("user-agent") ?? ""))) return undefined;
  if (kept.limit > 0) {
    const address = addressOf(request, env);
    if (address === undefined || !resultOf(() => countAtTheDoor(address, kept.limit))) return undefined;
  }
  repeated++;
  return etag === null ? answerWith(kept.body, kept, () => addressOf(request, env) ?? "") : unchanged(kept);
}

/** @param {Kept} kept */
function unchanged({ headers }) {
  const answer = new Response(null, { status: 304, headers });
  answer.headers.delete("content-type");
  return answer;
}

/**
 * Keeps an answer that is about to go out.
 * @param {string} url that it answers @param {string | undefined} accept in which form
 * @param {Response} answer @param {Given} given
 */
export function keep(url, accept, answer, given) {
  // Without room for an answer it went out as another one (answers.js).
  if (answer.status !== 200 && answer.status !== 304) return;
  const headers = new Headers(answer.headers);
  headers.set("content-type", given.content_type);
  const [path, form] = [pathOf(url), formOf(accept ?? null)];
  if (path.length + form.length > MAX_NAME_LENGTH) return;
  const forms = charts.get(path) ?? new Map();
  forget(path);
  if (forms.size >= MAX_FORMS && !forms.has(form)) forms.clear();
  forms.set(form, { ...given, headers });
  charts.set(path, forms);
  bytes += bytesOf(forms);
  // The first one was renewed longest ago: charts that are looked at stay beside a flood of others.
  for (const oldest of charts.keys()) {
    if (charts.size <= KEPT_CHARTS && bytes <= MAX_BYTES) break;
    forget(oldest);
  }
}

/** Begins anew: what came before was a rehearsal. */
export function forgetCharts() {
  charts.clear();
  bytes = 0;
}

/** @param {string} path */
function forget(path) {
  bytes -= bytesOf(charts.get(path) ?? new Map());
  charts.delete(path);
}

/** @param {Map<string, Kept>} forms */
function bytesOf(forms) {
  let bytes = 0;
  for (const { body } of forms.values()) bytes += body.length;
  return bytes;
}

/** @param {string} url */
const pathOf = (url) => url.slice(url.indexOf("/", 8));

/**
 * Whose request it is, as the Worker in Wasm finds it (glue.js, src/visitor.rs).
 * @param {Request} request @param {Env} env @returns {string | undefined} `undefined` where only it can
 */
function addressOf({ headers, cf }, env) {
  const peer = /** @type {Peer | undefined} */ (cf)?.clientIp ?? headers.get("cf-connecting-ip") ?? "";
  const header = env.CLIENT_ADDRESS_HEADER;
  return header ? resultOf(() => visitorAddress(peer, headers.get(header))) : peer;
}

/** What decides the format. @param {string | null} accept */
const formOf = (accept) => (accept === null || accept === "*/*" ? "" : accept);
