/**
 * The Worker, whose global object is given rows and asked for a chart, and nothing else is asked of anybody: for
 * `npm run bench -- bill`. `/fill` takes `{table, key, value}[]`, in hex; `/script` says what was asked for the first chart
 * since the start, `/tell` takes it, `/chart-if-awake` asks so, and `/nothing` for nothing.
 */
import * as built from "hitparade";

/** How far the clock of the rows is behind. */
const BEHIND_MS = /** @type {number} */ (globalThis.BEHIND_MS);
const now = Date.now.bind(Date);
Date.now = () => now() - BEHIND_MS;

const bytes = (/** @type {string} */ hex) => Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
const hex = (/** @type {ArrayBuffer} */ buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * What the global object is asked for a chart, and what the others answered it: taken down by the first time, and
 * said again by the others.
 * @type {{question: string, answers: Record<string, string>, asked: {binding: string, name: string, path: string}[]}}
 */
let script = { question: "", answers: {}, asked: [] };
/** The same, as bytes: making them of it is no part of an invocation. @type {Uint8Array | undefined} */
let question;
/** @type {Map<string, Uint8Array>} */
const answers = new Map();
/** @type {string[]} */
const unanswered = [];

export class GlobalBoard extends built.GlobalBoard {
  #sql;

  /** @param {any} ctx @param {any} env */
  constructor(ctx, env) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
  }

  /** @param {Request} request */
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/nothing") return new Response(JSON.stringify(this.#sql.exec("SELECT 1").toArray()));
    if (pathname === "/fill") {
      for (const { table, key, value } of await request.json()) {
        const columns = "(key BLOB NOT NULL, part INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (key, part))";
        this.#sql.exec(`CREATE TABLE IF NOT EXISTS ${table} ${columns} WITHOUT ROWID`);
        this.#sql.exec(`INSERT OR REPLACE INTO ${table} VALUES (?, 0, ?)`, bytes(key).buffer, bytes(value).buffer);
      }
      return new Response();
    }
    if (pathname === "/chart-if-awake" && question === undefined) script.question = hex(await request.clone().arrayBuffer());
    return super.fetch(request);
  }
}

/** Answers as the first time, and does nothing for it: that is another invocation. */
const scripted = (/** @type {any} */ Class, /** @type {string} */ binding) =>
  class extends Class {
    #storage;

    /** @param {any} ctx @param {any} env */
    constructor(ctx, env) {
      const { storage } = ctx;
      const getAlarm = storage.getAlarm.bind(storage);
      // It was set by the platform's clock.
      storage.getAlarm = async () => ((/** @type {number | null} */ at_ms) => at_ms && at_ms - BEHIND_MS)(await getAlarm());
      super(ctx, env);
      this.#storage = storage;
    }

    /** @param {Request} request */
    async fetch(request) {
      const { pathname } = new URL(request.url);
      const path = `${this.ctx.id.name}${pathname}`;
      if (pathname === "/sleep") return new Response(await this.#storage.deleteAlarm());
      if (question !== undefined && !answers.has(path)) unanswered.push(path);
      if (question !== undefined) return new Response(answers.get(path));
      const answer = await (await super.fetch(request)).arrayBuffer();
      script.answers[path] = hex(answer);
      script.asked.push({ binding, name: this.ctx.id.name, path: pathname });
      return new Response(answer);
    }
  };

export const Registry = scripted(built.Registry, "REGISTRY");
export const RegionShard = scripted(built.RegionShard, "SHARD");

export default {
  /** @param {Request} request @param {any} env @param {any} context */
  async fetch(request, env, context) {
    const ask = (/** @type {string} */ binding, /** @type {string} */ name, /** @type {string} */ path, /** @type {any} */ body) =>
      env[binding].getByName(name).fetch(`http://object${path}`, { method: "POST", body });
    const { pathname } = new URL(request.url);
    switch (pathname) {
      case "/fill":
        return ask("GLOBAL", "main", "/fill", await request.arrayBuffer());
      case "/script":
        // Nobody wakes by itself any more.
        for (const { binding, name } of script.asked) await ask(binding, name, "/sleep");
        return Response.json(script);
      case "/tell":
        script = await request.json();
        question = bytes(script.question);
        for (const [path, answer] of Object.entries(script.answers)) answers.set(path, bytes(answer));
        // The platform starts the objects and opens their databases; the code of ours is not called yet.
        for (const { binding, name, path } of script.asked) await ask(binding, name, path, question);
        return ask("GLOBAL", "main", "/nothing", question);
      case "/nothing":
      case "/chart-if-awake": {
        const answer = await ask("GLOBAL", "main", pathname, question);
        return unanswered.length === 0 ? answer : new Response(`nobody has said what ${unanswered} answers`, { status: 500 });
      }
      default:
        return built.default.fetch(request, env, context);
    }
  },
};
