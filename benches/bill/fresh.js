/**
 * The Worker, whose global object is given rows and asked for a chart, and nothing else is asked of anybody: for
 * `npm run bench -- bill`. `/fill` takes `{table, key, value}[]`, in hex; `/script` says what was asked for the chart that
 * came next, `/tell` takes it, and `/ask` asks so.
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
let isTold = false;

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
    if (pathname === "/chart" && !isTold) script.question = hex(await request.clone().arrayBuffer());
    return super.fetch(request);
  }
}

/** Answers as the first time, and does nothing for it: that is another invocation. */
const scripted = (/** @type {any} */ Class, /** @type {string} */ binding) =>
  class extends Class {
    /** @param {Request} request */
    async fetch(request) {
      const { pathname } = new URL(request.url);
      const path = `${this.ctx.id.name}${pathname}`;
      if (isTold && script.answers[path] !== undefined) return new Response(bytes(script.answers[path]));
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
    const ask = (/** @type {string} */ name, /** @type {string} */ path, /** @type {any} */ body) =>
      env.GLOBAL.getByName(name).fetch(`http://object${path}`, { method: "POST", body });
    switch (new URL(request.url).pathname) {
      case "/fill":
        return ask("main", "/fill", await request.arrayBuffer());
      case "/script":
        return Response.json(script);
      case "/tell":
        script = await request.json();
        isTold = true;
        // The platform starts the objects and opens their databases; the code of ours is not called yet.
        for (const { binding, name, path } of script.asked) {
          await env[binding].getByName(name).fetch(`http://object${path}`, { method: "POST", body: bytes(script.question) });
        }
        return ask("main", "/nothing", bytes(script.question));
      case "/ask":
        return ask("main", "/chart", bytes(script.question));
      default:
        return built.default.fetch(request, env, context);
    }
  },
};
