/** What the runtime is given: the Worker, and the classes of its objects. */
import { again } from "./door.js";
import { serve } from "./service.js";

export { GlobalBoard, RegionShard, Registry } from "./service.js";

/** @import { Env } from "./contract.d.ts" */

export default {
  /** @param {Request} request @param {Env} env @param {ExecutionContext} context */
  fetch: (request, env, context) => again(request, env) ?? serve(request, env, context),
};
