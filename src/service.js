/**
 * The Worker and its objects in Wasm, as the runtime is best given them.
 *
 * Calls on an object (RPC) spare a beacon two messages with bodies; the runtime takes them only
 * for classes that extend its own, which those of Wasm do not. And what `worker-build` makes wraps
 * everything in proxies, which cost a beacon a fifth of its time; here their one task, to make
 * the instance of Wasm anew after a panic, is done by hand.
 */
import { DurableObject } from "cloudflare:workers";
import Entrypoint, { DoorLimit, RegionShard as Shard } from "./index.js";

const { fetch: handle } = Entrypoint.prototype;
const { count } = DoorLimit;
const { constructor: PlainShard } = Shard.prototype;
const wasm = globalThis.__worker_init_state;

/** @param {unknown} error */
function note(error) {
  if (error instanceof WebAssembly.RuntimeError) wasm.criticalError = true;
  return error;
}

/** @param {Request} request */
export async function serve(request, env, ctx) {
  // The proxy makes the instance anew.
  if (wasm.criticalError) return new Entrypoint(ctx, env).fetch(request);
  try {
    return await handle.call({ env, ctx }, request);
  } catch (error) {
    throw note(error);
  }
}

/**
 * Counts a request of an address that is answered without `serve`.
 * @param {string} address @param {number} limit a minute
 * @returns {boolean} whether it may be
 */
export function mayAnswer(address, limit) {
  if (wasm.criticalError) return false;
  try {
    return count(address, limit);
  } catch (error) {
    throw note(error);
  }
}

export class RegionShard extends DurableObject {
  #shard = null;
  #instanceId = -1;

  /** Its counterpart in the instance of Wasm that lives. */
  #ready() {
    if (wasm.criticalError) new Shard(this.ctx, this.env);
    if (this.#instanceId !== wasm.instanceId) {
      this.#shard = new PlainShard(this.ctx, this.env);
      this.#instanceId = wasm.instanceId;
    }
    return this.#shard;
  }

  async #call(method, ...args) {
    try {
      return await this.#ready()[method](...args);
    } catch (error) {
      throw note(error);
    }
  }

  /**
   * Batches that came together; each is answered by itself, as `tell` of glue.js says.
   * @param {Uint8Array[]} batches @param {(Uint8Array | undefined)[]} voters who sent them
   * @returns {Promise<(number | Uint8Array | Error)[]>}
   */
  record(batches, voters) {
    const record = (batch, index) => this.#call("record", batch, voters[index]).catch((error) => new Error(String(error)));
    return Promise.all(batches.map(record));
  }

  fetch(request) {
    return this.#call("fetch", request);
  }

  alarm() {
    return this.#call("alarm");
  }

  webSocketMessage(socket, message) {
    return this.#call("webSocketMessage", socket, message);
  }

  webSocketClose(socket, code, reason, wasClean) {
    return this.#call("webSocketClose", socket, code, reason, wasClean);
  }

  webSocketError(socket, error) {
    return this.#call("webSocketError", socket, error);
  }
}
