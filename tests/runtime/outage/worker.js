/**
 * The service with one difference: whatever goes to the global object goes over a connection that
 * the test can cut. Worker and shards see what they would see if the object were away.
 */
import { WorkerEntrypoint } from "cloudflare:workers";
import service, { GlobalBoard, RegionShard as Shard } from "./entry.js";

export { GlobalBoard };

export default {
  fetch: (request, env, context) => service.fetch(request, cut(env), context),
};

export class RegionShard extends Shard {
  constructor(state, env) {
    super(state, cut(env));
  }
}

/** The far end of the connection. */
export class FarEnd extends WorkerEntrypoint {
  fetch(request) {
    return this.env.GLOBAL.getByName(request.headers.get("object-name")).fetch(request);
  }
}

const cut = (env) => ({ ...env, GLOBAL: new DurableObjectNamespace(env) });

/** Bindings are recognized by the name of their class. */
class DurableObjectNamespace {
  constructor(env) {
    this.env = env;
  }

  getByName(name) {
    return {
      fetch: async (request) => {
        const headers = new Headers(request.headers);
        headers.set("object-name", name);
        return this.env.CONNECTION.fetch(new Request(request, { headers }));
      },
    };
  }
}
