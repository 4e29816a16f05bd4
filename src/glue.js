/**
 * The few things that are better done on this side: each call across the border of Wasm costs
 * about a microsecond, and these would be a dozen each. Nothing is decided here.
 */

const HEADERS = ["Authorization", "Origin", "Content-Type", "Content-Length", "Idempotency-Key", "User-Agent"];
const MAX_BASES = 100;

// Wasm's futures are woken through queueMicrotask, several times a request. The runtime's own makes
// a native function at each call, which took 8 % of a beacon's time; this one makes nothing.
const settled = Promise.resolve();
let known = null;
let guarded = null;
globalThis.queueMicrotask = (work) => {
  if (work !== known) {
    known = work;
    // What is thrown must still be seen as an error: after a panic the instance is made anew.
    guarded = () => {
      try {
        work();
      } catch (error) {
        reportError(error);
      }
    };
  }
  settled.then(guarded);
};

/** @type {Map<string, Headers>} headers that come again and again, by their text */
const bases = new Map();

/**
 * What the Worker looks at in every request, a line each: method, address, where it comes from,
 * headers. What is there begins with "+".
 * @param {Request} request
 */
export function look(request) {
  const { method, url, headers, cf } = request;
  const found = [cf?.clientIp ?? headers.get("CF-Connecting-IP"), cf?.country, cf?.continent];
  for (const name of HEADERS) found.push(headers.get(name));
  return found.reduce((text, value) => text + (value == null ? "\n" : `\n+${value}`), `${method}\n${url}`);
}

/** @param {Request} request @returns {Promise<Uint8Array>} */
export async function whole(request) {
  return new Uint8Array(await request.arrayBuffer());
}

/**
 * A batch to a shard.
 * @param {any} env @param {string} name of the object @param {string | undefined} hint where it should live
 * @param {Uint8Array} batch @param {Uint8Array} [voter] who sends it
 * @returns {Promise<number | Uint8Array>} one of the common answers, or a message
 */
export async function tell(env, name, hint, batch, voter) {
  return await env.SHARD.getByName(name, hint ? { locationHint: hint } : undefined).record(batch, voter);
}

/**
 * @param {number} status @param {Uint8Array | undefined} body
 * @param {string} fixed headers that many answers have, as lines of name and value in turn
 * @param {string} varying the others
 */
export function respond(status, body, fixed, varying) {
  let headers = bases.get(fixed);
  if (!headers) {
    if (bases.size >= MAX_BASES) bases.clear();
    headers = new Headers(pairs(fixed));
    bases.set(fixed, headers);
  }
  const response = new Response(body, { status, headers });
  for (const [name, value] of pairs(varying)) response.headers.append(name, value);
  return response;
}

function pairs(text) {
  if (text === "") return [];
  const lines = text.split("\n");
  return Array.from({ length: lines.length / 2 }, (_, index) => [lines[2 * index], lines[2 * index + 1]]);
}
