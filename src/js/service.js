/**
 * The Worker and its objects in Wasm, as the runtime is best given them: started here, and made anew
 * where the instance ended (instance.js).
 *
 * Calls on an object (RPC) spare a beacon two messages with bodies; the runtime takes them only
 * for classes that extend its own, which those of Wasm do not.
 */
import { DurableObject } from "cloudflare:workers";
import { forgetAll } from "./bodies.js";
import { HalfInWasm } from "./half.js";
import module from "bindgen/index_bg.wasm";
import {
  GlobalBoard as Board,
  RegionShard as Shard,
  SharedRegistry as Shared,
  __wbg_reset_state,
  fetch as handle,
  initSync,
  memoryIsSpent,
} from "bindgen/index.js";
import { InstanceEnded, answerOf, current, renewBy } from "./instance.js";
import { rehearsed } from "./rehearsal.js";

/** @import { Env } from "./contract.d.ts" */

// Now and not at the first request: the runtime compiles and keeps what starts here. No input, no
// output and no random numbers are allowed yet; Rust's own start sets hooks only.
initSync({ module });
renewBy(() => {
  forgetAll();
  __wbg_reset_state();
}, memoryIsSpent);

/** Routes of POST whose repeats change nothing. */
const SAFE_TO_REPEAT = /^\/(?:import|admin\/reset)$/;

/** What a request gets that was under way when the instance ended. @param {Request} request */
function interrupted(request) {
  // A batch may have its name inside; one without might count twice. Plays come in by names of one's
  // own too (PLAYS_PATH), so every path is theirs that is not known to be another's.
  const isNamed = request.method !== "POST" || request.headers.has("idempotency-key") || SAFE_TO_REPEAT.test(new URL(request.url).pathname);
  const [status, title, code, detail] = isNamed
    ? [503, "Service Unavailable", "unavailable", "the service was interrupted by an error of its own; send the request again"]
    : [
        504,
        "Gateway Timeout",
        "outcome_unknown",
        "the service was interrupted: whether the batch was counted is not known; sent again without a name, it might count twice",
      ];
  const headers = { "content-type": "application/problem+json", "cache-control": "no-store", ...(isNamed && { "retry-after": "1" }) };
  return new Response(JSON.stringify({ type: "about:blank", title, status, detail, code }), { status, headers });
}

/**
 * Whoever goes away before the answer leaves the work to its end: the runtime would stop it in the
 * middle, for ever, with everything that it holds in Wasm.
 * @param {Request} request @param {Env} env @param {ExecutionContext} ctx @returns {Promise<Response>}
 */
export function serve(request, env, ctx) {
  const answer = answered(request, env, ctx);
  ctx.waitUntil(answer);
  return answer;
}

/** @param {Request} request @param {Env} env @param {ExecutionContext} ctx @returns {Promise<Response>} */
async function answered(request, env, ctx) {
  try {
    current();
    return await answerOf(() => handle(request, env, ctx));
  } catch (error) {
    if (!(error instanceof InstanceEnded || error instanceof WebAssembly.RuntimeError)) throw error;
    return interrupted(request);
  }
}

/** A name that no call from outside can have. */
const inWasm = Symbol("inWasm");

/** An object whose other half is in Wasm. */
class ObjectInWasm extends DurableObject {
  /** @type {HalfInWasm} */
  [inWasm];

  /** @param {DurableObjectState} ctx @param {Env} env @param {new (ctx: DurableObjectState, env: Env) => object} Half */
  constructor(ctx, env, Half) {
    super(ctx, env);
    this[inWasm] = new HalfInWasm(/** @type {any} */ (this), Half);
  }

  /** @param {Request} request @returns {Promise<Response>} */
  fetch(request) {
    return this[inWasm].answer(request);
  }
}

export class GlobalBoard extends ObjectInWasm {
  /** @param {DurableObjectState} ctx @param {Env} env */
  constructor(ctx, env) {
    super(ctx, env, Board);
  }
}

export class Registry extends ObjectInWasm {
  /** @param {DurableObjectState} ctx @param {Env} env */
  constructor(ctx, env) {
    super(ctx, env, Shared);
  }

  alarm() {
    return this[inWasm].call("alarm");
  }
}

export class RegionShard extends ObjectInWasm {
  /** @param {DurableObjectState} ctx @param {Env} env */
  constructor(ctx, env) {
    super(ctx, env, Shard);
  }

  /** @param {Request} request @returns {Promise<Response>} */
  fetch(request) {
    return request.headers.has("upgrade") ? this[inWasm].call("fetch", request) : super.fetch(request);
  }

  /** @param {Uint8Array[]} batches @param {(Uint8Array | undefined)[]} voters */
  record(batches, voters) {
    return this[inWasm].record(batches, voters);
  }

  alarm() {
    return this[inWasm].call("alarm");
  }

  /** @param {WebSocket} socket @param {string | ArrayBuffer} message */
  webSocketMessage(socket, message) {
    return this[inWasm].call("webSocketMessage", socket, message);
  }

  /** @param {WebSocket} socket @param {number} code @param {string} reason @param {boolean} wasClean */
  webSocketClose(socket, code, reason, wasClean) {
    return this[inWasm].call("webSocketClose", socket, code, reason, wasClean);
  }

  /** @param {WebSocket} socket @param {unknown} error */
  webSocketError(socket, error) {
    return this[inWasm].call("webSocketError", socket, error);
  }
}

// What comes first is compiled now, not in the time of a request.
await rehearsed(serve);
