/**
 * The Worker's door: charts that this isolate gave a moment ago go out again from here, and refusals of
 * whoever reads too often; everything else goes on to the Worker in Wasm, which decides what may be kept,
 * and for how long.
 *
 * It hands them over as `kept` on its response. Only answers that are the same for everybody come
 * with it: charts that need no token, on an installation that is open to every page. They are kept
 * by path, query and `Accept`, which is all that they depend on, and counted like all requests. A
 * refusal comes as `refusal`: it goes out again to whom it is for, in its turn, without being counted.
 */
import { mayAnswer, serve, visitorOf } from "../service.js";
import { answerWith } from "./answers.js";

export { GlobalBoard, RegionShard } from "../service.js";

/** @import { Env, Origin } from "../contract.d.ts" */
/** @typedef {import("../contract.d.ts").Kept & { headers: Headers }} Kept */

/** 512 charts of 10 posts are 1.2 MB; the bytes bound those of 1,000. */
const MAX_CHARTS = 512;
const MAX_BYTES = 8 << 20;
/** JSON, CSV and NDJSON by the few names that clients have for them. */
const MAX_FORMS = 16;
const MAX_NAME_LENGTH = 512;
/** How long the others get the old answer while one request fetches a newer one. */
const RENEWAL_MS = 1_000;

/** @type {Map<string, Map<string, Kept>>} by path and query, then by `Accept` */
const charts = new Map();
let bytes = 0;

/** Answers that went out from here, for `/metrics`, which is on the other side. */
const counts = (globalThis.hitparadeDoor = { repeated: 0, refused: 0 });

/** @typedef {import("../contract.d.ts").Refusal & { headers: Headers }} Refusal */

/** What the refused must know. Every header is 1 to 2 % of what a refusal costs. */
const REFUSAL_HEADERS = [
  "content-type",
  "cache-control",
  "retry-after",
  "ratelimit",
  "ratelimit-policy",
  "access-control-allow-origin",
  "access-control-expose-headers",
];
/** Addresses that come too often; where there are more, all are forgotten. */
const MAX_REFUSALS = 1_024;
/** @type {Map<string, Refusal>} */
const refusals = new Map();
/** From then on none of them holds: nobody's address is looked at. */
let refusing_until_ms = 0;
/**
 * To addresses they go out 100 a second, all together. One takes more than a third of a beacon's
 * time, and a client of 64 connections that asks again as soon as it is refused brings 5,000 a second.
 */
const REFUSAL_SPACING_MS = 10;
/** So 100 wait at most; who comes then is refused at once. */
const MAX_HELD_MS = 1_000;
let next_refusal_ms = 0;

export default {
  /** @param {Request} request @param {Env} env @param {ExecutionContext} context */
  fetch(request, env, context) {
    const path = pathOf(request.url);
    if (request.method !== "GET" || !READS.test(path)) return serve(request, env, context);
    const forms = charts.get(path);
    const of_all_reads = forms !== undefined || !isChart(path);
    return refused(request, of_all_reads, env) ?? (forms && again(request, forms, env)) ?? ask(request, path, env, context);
  },
};

/**
 * The answer that was given before, where it is still good.
 * @param {Request} request @param {Map<string, Kept>} forms @param {Env} env
 * @returns {Response | undefined}
 */
function again(request, forms, env) {
  const { headers } = request;
  const kept = forms.get(formOf(headers));
  if (kept === undefined || headers.get("authorization") !== null) return undefined;
  const now_ms = Date.now();
  if (now_ms >= kept.renew_ms) {
    kept.renew_ms = now_ms + RENEWAL_MS;
    return undefined;
  }
  if (now_ms >= kept.expires_ms) return undefined;
  const etag = headers.get("if-none-match");
  if (etag !== null && etag !== kept.etag) return undefined;
  if (kept.limit > 0) {
    const address = addressOf(request, env);
    if (address === undefined || !mayAnswer(address, kept.limit)) return undefined;
  }
  counts.repeated++;
  return etag === null ? answerWith(kept.body, kept, () => addressOf(request, env) ?? "") : unchanged(kept);
}

/** @param {Kept} kept */
function unchanged({ headers }) {
  const answer = new Response(null, { status: 304, headers });
  answer.headers.delete("content-type");
  return answer;
}

/**
 * Whoever came too often is told so again, for a moment, without being counted. The headers are
 * left alone: to look at them is a tenth of what this costs.
 * @param {Request} request
 * @param {boolean} of_all_reads only if whatever the address reads is refused
 * @param {Env} env
 * @returns {Response | Promise<Response> | undefined}
 */
function refused(request, of_all_reads, env) {
  const now_ms = Date.now();
  if (now_ms >= refusing_until_ms) {
    // No address is known here for longer than it is refused.
    refusals.clear();
    return undefined;
  }
  const refusal = refusals.get(withoutPort(addressOf(request, env) ?? ""));
  if (refusal === undefined || (of_all_reads && !refusal.of_all_reads)) return undefined;
  if (now_ms >= refusal.expires_ms) {
    refusals.delete(refusal.address);
    return undefined;
  }
  counts.refused++;
  const wait_ms = refusalWait(now_ms);
  const answer = () => new Response(refusal.body, refusal);
  return wait_ms > 0 ? scheduler.wait(wait_ms).then(answer) : answer();
}

/** @param {number} now_ms @returns {number} in how many milliseconds the next refusal goes out */
function refusalWait(now_ms) {
  const wait_ms = Math.max(next_refusal_ms - now_ms, 0);
  if (wait_ms >= MAX_HELD_MS) return 0;
  next_refusal_ms = now_ms + wait_ms + REFUSAL_SPACING_MS;
  return wait_ms;
}

/** @param {Request} request @param {string} path @param {Env} env @param {ExecutionContext} context */
async function ask(request, path, env, context) {
  const answer = await serve(request, env, context);
  const { kept, refusal } = answer;
  // Without room for an answer it went out as another one (src/edge/answers.js).
  if (kept && (answer.status === 200 || answer.status === 304)) {
    const headers = new Headers(answer.headers);
    headers.set("content-type", kept.content_type);
    keep(path, formOf(request.headers), Object.assign(kept, { headers }));
  }
  if (refusal) {
    const given = REFUSAL_HEADERS.filter((name) => answer.headers.has(name));
    const headers = new Headers(given.map((name) => [name, answer.headers.get(name) ?? ""]));
    refusal.address = withoutPort(refusal.address);
    if (refusals.size >= MAX_REFUSALS) refusals.clear();
    refusals.set(refusal.address, Object.assign(refusal, { headers }));
    refusing_until_ms = Math.max(refusing_until_ms, refusal.expires_ms);
  }
  return answer;
}

/** @param {string} path @param {string} form @param {Kept} kept */
function keep(path, form, kept) {
  if (path.length + form.length > MAX_NAME_LENGTH) return;
  const forms = charts.get(path) ?? new Map();
  forget(path);
  if (forms.size >= MAX_FORMS && !forms.has(form)) forms.clear();
  forms.set(form, kept);
  charts.set(path, forms);
  bytes += bytesOf(forms);
  // The first one was renewed longest ago: charts that are looked at stay beside a flood of others.
  for (const oldest of charts.keys()) {
    if (charts.size <= MAX_CHARTS && bytes <= MAX_BYTES) break;
    forget(oldest);
  }
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

/** Paths whose requests are counted as reads. */
const READS = /^\/(?:top-posts|posts|regions|live|metrics)(?:[/?]|$)/;

/** @param {string} path with its query */
const isChart = (path) => path.startsWith("/top-posts") && (path.length === 10 || path[10] === "?");

/** The bare runtime names the port too, which differs by connection. @param {string} address */
function withoutPort(address) {
  const colon = address.lastIndexOf(":");
  const isPorts = colon > 0 && (address[colon - 1] === "]" || address.indexOf(":") === colon);
  return isPorts ? address.slice(0, colon) : address;
}

/**
 * Whose request it is, as the Worker in Wasm finds it (src/glue.js, src/visitor.rs).
 * @param {Request} request @param {Env} env @returns {string | undefined} `undefined` where only it can
 */
function addressOf({ headers, cf }, env) {
  const peer = /** @type {Origin | undefined} */ (cf)?.clientIp ?? headers.get("cf-connecting-ip") ?? "";
  const header = env.CLIENT_ADDRESS_HEADER;
  return header ? visitorOf(peer, headers.get(header)) : peer;
}

/** What decides the format. @param {Headers} headers */
function formOf(headers) {
  const accept = headers.get("accept");
  return accept === null || accept === "*/*" ? "" : accept;
}
