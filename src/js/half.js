/** The half of an object that is in Wasm. */
import { AWAY } from "./health.js";
import { answerOf, current, resultOf } from "./instance.js";

/** @import { Env } from "./contract.d.ts" */

/** Made by whoever needs it first, and anew with the instance. */
export class HalfInWasm {
  /** @type {any} */
  #half = null;
  #instance = -1;

  /** @param {{ctx: DurableObjectState, env: Env}} object @param {new (ctx: DurableObjectState, env: Env) => object} Half */
  constructor(object, Half) {
    this.object = object;
    this.Half = Half;
  }

  /** @returns {any} in the instance that runs */
  #ready() {
    const instance = current();
    if (this.#instance !== instance) {
      this.#half = resultOf(() => new this.Half(this.object.ctx, this.object.env));
      this.#instance = instance;
    }
    return this.#half;
  }

  /** @param {string} method @param {...unknown} args */
  async call(method, ...args) {
    const half = this.#ready();
    return answerOf(() => half[method](...args));
  }

  /** Answers a message of another object, or of a Worker. @param {Request} request */
  async answer(request) {
    const message = new Uint8Array(await request.arrayBuffer());
    const answer = await this.call("answer", new URL(request.url).pathname, message);
    return new Response(answer, { status: answer ? 200 : 404 });
  }

  /**
   * Batches that came together, to a shard; each is answered by itself, as `tell` of glue.js says. The last answer
   * is how the shard is, for health.js.
   * @param {Uint8Array[]} batches @param {(Uint8Array | undefined)[]} voters who sent them
   * @returns {Promise<(number | Uint8Array | Error)[]>}
   */
  async record(batches, voters) {
    /** @param {Uint8Array} batch @param {number} index */
    const record = (batch, index) => this.call("record", batch, voters[index]).catch((error) => new Error(String(error)));
    const answers = await Promise.all(batches.map(record));
    return [...answers, this.#trouble()];
  }

  /** That it cannot say how it is must not cost the batches their answers. */
  #trouble() {
    try {
      return resultOf(() => this.#ready().trouble());
    } catch {
      return AWAY;
    }
  }
}
