/**
 * What passes between the Worker's JavaScript and Wasm. Each side is compiled without seeing the other:
 * `npm run dev -- types` holds the JavaScript to this file, and `cargo test --test native house` the names
 * that Rust gives and takes.
 *
 * As a module it is what the build makes of the crate, which src/js/service.js starts: the bindings, and
 * the compiled module as their default.
 */

declare const module: WebAssembly.Module;
export default module;

/** Starts an instance of the compiled module. */
export function initSync(how: { module: WebAssembly.Module }): void;

/** Makes the instance anew, of the same module: nothing of the one before is there any more. */
export function __wbg_reset_state(): void;

/** The Worker (src/edge/mod.rs). */
export function fetch(request: Request, env: Env, context: ExecutionContext): Promise<Response>;

/**
 * Counts a request of an address (src/edge/limits.rs).
 * @param limit a minute
 * @returns whether it may be
 */
export function countAtTheDoor(address: string, limit: number): boolean;
/** Whether a user agent says of itself that no person is behind it (src/edge/published.rs). */
export function isBot(user_agent: string): boolean;
/** An address's hash, for what holds within an isolate. */
export function readerAtTheDoor(address: string): bigint;

/**
 * Whose request it is that comes over a proxy (src/edge/request.rs).
 * @param peer whose connection it is
 * @param addresses what the proxy says
 * @returns `undefined` where only `fetch` can tell
 */
export function visitorAddress(peer: string, addresses: string | null): string | undefined;

/** Whether memory is short for the largest body that anybody may send (src/instance.rs). */
export function memoryIsSpent(): boolean;

/** The global object's half in Wasm (src/global/object.rs). */
export class GlobalBoard {
  constructor(context: DurableObjectState, env: Env);
  /** @returns none to a message that it does not know */
  answer(path: string, message: Uint8Array): Promise<Uint8Array | undefined>;
}

/** The registry's half in Wasm (src/registry/object.rs). */
export class SharedRegistry {
  constructor(context: DurableObjectState, env: Env);
  answer(path: string, message: Uint8Array): Promise<Uint8Array | undefined>;
  alarm(): Promise<void>;
}

/** A shard's half in Wasm (src/region/object.rs). */
export class RegionShard {
  constructor(context: DurableObjectState, env: Env);
  answer(path: string, message: Uint8Array): Promise<Uint8Array | undefined>;
  /** A reader who wants a socket. */
  fetch(request: Request): Promise<Response>;
  alarm(): Promise<Response>;
  /** @returns one of the common answers, or a message */
  record(batch: Uint8Array, voter: Uint8Array | undefined): Promise<number | Uint8Array>;
  /** Why plays cannot be taken, or do not get on: a number that src/js/health.js knows; 0 for nothing. */
  trouble(): number;
  webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void>;
  webSocketClose(socket: WebSocket, code: number, reason: string, wasClean: boolean): Promise<void>;
  webSocketError(socket: WebSocket, error: unknown): Promise<void>;
}

/** Of the bindings and settings of wrangler.toml, those that are looked at outside of Wasm. */
export interface Env {
  SHARD: DurableObjectNamespace<import("./service.js").RegionShard>;
  GLOBAL: DurableObjectNamespace;
  REGISTRY: DurableObjectNamespace;
  /** Where a proxy says whose request it is; absent or empty where there is none. */
  CLIENT_ADDRESS_HEADER?: string;
  /** In a rehearsal, which is no request. */
  waitUntil?: (work: Promise<unknown>) => void;
}

/** What the bare runtime tells of a request in its `cf`, and Cloudflare in a header. */
export interface Peer {
  clientIp?: string;
}

/** An answer that the door may give again, to everybody. */
export interface Kept {
  body: Uint8Array;
  content_type: string;
  etag: string;
  /** Requests a minute from one address, to be counted; 0 for any number. */
  limit: number;
  /** Bots get another answer at the same address. */
  not_for_bots: boolean;
  /** From then on one request asks for a newer answer, by the clock of src/js/clock.js. */
  renew_ms: number;
  /** From then on nobody gets this one. */
  expires_ms: number;
}

/** What Rust imports of src/js/glue.js (src/objects.rs; src/edge/request.rs, ids.rs, shards.rs, answer.rs). */
export interface Glue {
  look(request: Request, more: string): string;
  normalised(text: string): string;
  ask(
    env: Env,
    binding: "SHARD" | "GLOBAL" | "REGISTRY",
    name: string,
    hint: DurableObjectLocationHint | undefined,
    path: string,
    message: Uint8Array,
    limit_ms: number,
  ): Promise<Uint8Array>;
  tell(
    env: Env,
    name: string,
    hint: DurableObjectLocationHint | undefined,
    batch: Uint8Array,
    voter: Uint8Array | undefined,
  ): Promise<number | Uint8Array>;
  respond(status: number, body: Uint8Array | undefined, fixed: string, varying: string, reader: bigint | undefined): Response;
}

/** What Rust imports of src/js/bodies.js (src/edge/body.rs). */
export interface Bodies {
  readBody(
    request: Request,
    isTrusted: boolean,
    owner_id: bigint,
    head_bytes: number,
    announced: number | undefined,
    max_bytes: number,
  ): Promise<Uint8Array>;
  giveUp(whole: Promise<Uint8Array>): void;
}

/** What Rust imports of src/js/door.js (src/edge/answer.rs). */
export interface Door {
  keep(url: string, accept: string | undefined, answer: Response, given: Kept): void;
  repeatedAtTheDoor(): number;
}

/** What Rust imports of src/js/clock.js (src/clock.rs). */
export interface SteadyClock {
  steadyMs(): number;
}

/** What Rust imports of src/js/health.js (src/edge/health.rs). */
export interface Health {
  knownOfShards(): string;
}

/** What Rust imports of src/js/instance.js (src/instance.rs). */
export interface Instance {
  end(): void;
  goOn(): void;
}

/** What Rust imports of src/js/sockets.js (src/region/live.rs). */
export interface Sockets {
  answerPings(context: DurableObjectState): void;
  accept(context: DurableObjectState, tag: string, address: string | undefined, asks: Uint8Array, text: string): WebSocket;
  count(context: DurableObjectState, tag: string | undefined): number;
  countOf(context: DurableObjectState, address: string): number;
  tagsOf(context: DurableObjectState, address: string): string[];
  census(context: DurableObjectState): string[];
  asksOf(context: DurableObjectState, tag: string): Uint8Array | undefined;
  giveUp(context: DurableObjectState, tag: string): void;
  endDeleted(context: DurableObjectState, tag: string): void;
  endPrivate(context: DurableObjectState, tag: string): void;
  endPeriod(context: DurableObjectState, tag: string): boolean;
  endAll(context: DurableObjectState): void;
  closeUnheard(context: DurableObjectState, heard_since_ms: number): void;
  send(context: DurableObjectState, tag: string, text: string, heard_since_ms: number): void;
}

/** What Rust imports of src/js/zones.js (src/zones.rs). */
export interface Zones {
  zone(name: string, now_ms: number): string | undefined;
}

type Held<Contract, Module extends Contract> = Module;

/** An error here: the module is not as Rust imports it. */
export type Modules = [
  Held<Glue, typeof import("./glue.js")>,
  Held<Bodies, typeof import("./bodies.js")>,
  Held<Door, typeof import("./door.js")>,
  Held<SteadyClock, typeof import("./clock.js")>,
  Held<Health, typeof import("./health.js")>,
  Held<Instance, typeof import("./instance.js")>,
  Held<Sockets, typeof import("./sockets.js")>,
  Held<Zones, typeof import("./zones.js")>,
];
