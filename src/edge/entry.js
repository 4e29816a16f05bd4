/**
 * The Worker's door: answers that this isolate gave a moment ago go out again from here; everything
 * else goes on to the Worker in Wasm, which decides what may be kept, and for how long.
 *
 * It hands them over as `kept` on its response. Only answers that are the same for everybody come
 * with it: charts that need no token, on an installation that is open to every page and counts no
 * requests. They are kept by path, query and `Accept`, which is all that they depend on. A refusal
 * comes as `refusal`, for the address that came too often.
 */
import { serve } from "./service.js";

export { GlobalBoard } from "./index.js";
export { RegionShard } from "./service.js";

/**
 * @typedef {object} Kept
 * @property {Uint8Array} body
 * @property {Headers} headers
 * @property {string} etag
 * @property {number} renew_ms from then on one request asks for a newer answer
 * @property {number} expires_ms from then on nobody gets this one
 */

/** 512 charts of 10 posts are 1.2 MB; the bytes bound those of 1,000. */
const MAX_ANSWERS = 512;
const MAX_BYTES = 8 << 20;
const MAX_KEY_LENGTH = 512;
/** How long the others get the old answer while one request fetches a newer one. */
const RENEWAL_MS = 1_000;

/** @type {Map<string, Kept>} */
const answers = new Map();
let bytes = 0;

/** Answers that went out from here, for `/metrics`, which is on the other side. */
const counts = (globalThis.hitparadeDoor = { repeated: 0, refused: 0 });

/** Addresses that come too often, all of them forgotten together a moment later. */
const MAX_REFUSALS = 1_024;
/** @type {Map<string, {body: Uint8Array, headers: Headers, status: number, expires_ms: number}>} */
const refusals = new Map();

export default {
  /** @param {Request} request */
  fetch(request, env, context) {
    return known(request) ?? refused(request) ?? ask(request, env, context);
  },
};

/** @param {Request} request @returns {Response | undefined} */
function known(request) {
  if (answers.size === 0) return undefined;
  const { headers } = request;
  const kept = answers.get(keyOf(request.url, headers.get("accept")));
  if (kept === undefined || request.method !== "GET" || headers.get("authorization") !== null) return undefined;
  const now_ms = Date.now();
  if (now_ms >= kept.renew_ms) {
    kept.renew_ms = now_ms + RENEWAL_MS;
    return undefined;
  }
  if (now_ms >= kept.expires_ms) return undefined;
  const etag = headers.get("if-none-match");
  if (etag !== null && etag !== kept.etag) return undefined;
  counts.repeated++;
  return etag === null ? new Response(kept.body, kept) : unchanged(kept);
}

/** @param {Kept} kept */
function unchanged({ headers }) {
  const answer = new Response(null, { status: 304, headers });
  answer.headers.delete("content-type");
  return answer;
}

/**
 * An address that came too often is told so again, for a moment, without being counted.
 * @param {Request} request @returns {Response | undefined}
 */
function refused(request) {
  if (refusals.size === 0 || request.method !== "GET") return undefined;
  const refusal = refusals.get(addressOf(request));
  if (refusal === undefined || !/^\/top-posts($|\?)/.test(pathOf(request.url))) return undefined;
  if (Date.now() >= refusal.expires_ms) {
    refusals.clear();
    return undefined;
  }
  counts.refused++;
  return new Response(refusal.body, refusal);
}

async function ask(request, env, context) {
  const answer = await serve(request, env, context);
  const { kept, refusal } = answer;
  if (kept) {
    kept.headers = new Headers(answer.headers);
    kept.headers.set("content-type", kept.content_type);
    keep(keyOf(request.url, request.headers.get("accept")), kept);
  }
  if (refusal && refusals.size < MAX_REFUSALS) {
    refusal.headers = new Headers(answer.headers);
    refusals.set(withoutPort(refusal.address), refusal);
  }
  return answer;
}

/** @param {string} key @param {Kept} kept */
function keep(key, kept) {
  if (key.length > MAX_KEY_LENGTH) return;
  bytes += kept.body.length - (answers.get(key)?.body.length ?? 0);
  answers.set(key, kept);
  if (answers.size <= MAX_ANSWERS && bytes <= MAX_BYTES) return;
  // Those that are asked for come back with their next request.
  answers.clear();
  bytes = 0;
}

const pathOf = (url) => url.slice(url.indexOf("/", 8));

/** The bare runtime names the port too, which differs by connection. */
const withoutPort = (address) => address.replace(/(?<=\.\d+|\]):\d+$/, "");

/** As the Worker in Wasm finds it (src/edge/limits.rs). @param {Request} request */
function addressOf({ cf, headers }) {
  return withoutPort(cf?.clientIp ?? headers.get("cf-connecting-ip") ?? "");
}

/** Path and query as they were sent, and what decides the format. */
function keyOf(url, accept) {
  const path = pathOf(url);
  return accept === null || accept === "*/*" ? path : `${path}\n${accept}`;
}
