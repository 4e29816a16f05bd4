/**
 * The service with one difference: whatever goes to the global object and to the registry goes over a
 * connection that the test can cut, and so does what its Worker asks of the shards. They see what they would see if
 * the objects were away, or what the platform says where a plan's day is used up.
 */
import { WorkerEntrypoint } from "cloudflare:workers";
import service, { GlobalBoard as Global, RegionShard as Shard, Registry } from "./entry.js";

export { Registry };

let shards_are_away = false;
let disk_is_broken = false;
/** What the plan has no more of today: "rows", or "requests" too. */
let used_up = "";

/** As the platform says it. @param {string} what */
const exceeded = (what) => new Error(`Exceeded allowed ${what} in Durable Objects free tier.`);
const now = Date.now.bind(Date);

export default {
  fetch: (request, env, context) => service.fetch(request, { ...cut(env), SHARD: new DurableObjectNamespace(shardOf(env)) }, context),
};

export class RegionShard extends Shard {
  constructor(state, env) {
    super(state, cut(env));
    Object.defineProperty(this, "ctx", { value: breakable(state) });
    this.state = state;
  }

  fetch(request) {
    if (new URL(request.url).pathname !== "/sockets") return super.fetch(request);
    return Response.json(this.state.getWebSockets().filter(({ readyState }) => readyState === WebSocket.OPEN).length);
  }

  /** The platform comes again with one that it could not give. */
  alarm() {
    return used_up === "requests" ? Promise.reject(exceeded("volume of requests")) : super.alarm();
  }
}

/** What it tells shards goes to the server where they are. */
export class GlobalBoard extends Global {
  constructor(state, env) {
    const shard = (name) => ({
      fetch: (asked, init) => {
        const request = new Request(asked, init);
        return env.BACK.fetch(new Request(`${request.url}?name=${encodeURIComponent(name)}`, request));
      },
    });
    super(state, { ...env, SHARD: new DurableObjectNamespace(shard) });
  }
}

/** The far end of the connection. */
export class FarEnd extends WorkerEntrypoint {
  fetch(request) {
    const { headers } = request;
    return this.env[headers.get("object-binding")].getByName(headers.get("object-name")).fetch(request);
  }
}

/** What the test does to the shards, past the Worker. */
export class Shards extends WorkerEntrypoint {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const name = searchParams.get("name");
    if (name !== null) return this.env.SHARD.getByName(name).fetch(request);
    if (pathname === "/later") {
      const later_ms = Number(searchParams.get("ms"));
      Date.now = () => now() + later_ms;
      return new Response();
    }
    shards_are_away = pathname === "/cut";
    disk_is_broken = pathname === "/break";
    used_up = pathname === "/use-up" ? searchParams.get("what") : "";
    return new Response();
  }
}

const cut = (env) => ({ ...env, GLOBAL: farOff(env, "GLOBAL"), REGISTRY: farOff(env, "REGISTRY") });

const farOff = (env, binding) =>
  new DurableObjectNamespace((name) => ({ fetch: (asked, init) => overConnection(env, [binding, name], new Request(asked, init)) }));

function overConnection(env, [binding, name], request) {
  const headers = new Headers(request.headers);
  headers.set("object-binding", binding);
  headers.set("object-name", name);
  return env.CONNECTION.fetch(new Request(request, { headers }));
}

/** What is written does not become durable while the disk is broken. */
function breakable(state) {
  const sync = (storage) => (disk_is_broken ? Promise.reject(new Error("disk I/O error")) : storage.sync());
  const { sql } = state.storage;
  const exec = (...args) => {
    if (used_up) throw exceeded("rows written");
    return sql.exec(...args);
  };
  const setAlarm = (...args) => (used_up ? Promise.reject(exceeded("rows written")) : state.storage.setAlarm(...args));
  const storage = instead(state.storage, { sync: () => sync(state.storage), setAlarm, sql: instead(sql, { exec }) });
  return instead(state, { storage });
}

/** An object of the platform with some members of its own. */
const instead = (target, members) =>
  new Proxy(target, {
    get(_, name) {
      const value = members[name] ?? target[name];
      return typeof value === "function" && !(name in members) ? value.bind(target) : value;
    },
  });

const shardOf = (env) => (name, options) => {
  const is_refused = used_up === "requests";
  if (!shards_are_away && !is_refused) return env.SHARD.getByName(name, options);
  const away = () => Promise.reject(is_refused ? exceeded("volume of requests") : new Error("Network connection lost."));
  return { fetch: away, record: away };
};

/** Bindings are recognized by the name of their class. */
class DurableObjectNamespace {
  /** @param {(name: string, options?: object) => {fetch: Function}} getByName */
  constructor(getByName) {
    this.getByName = getByName;
  }
}
