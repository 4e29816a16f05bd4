/**
 * What the runtime itself costs, for `npm run bench -- ingest`: the least that a Worker with an
 * object can do, and what people do today. It runs on the same bare workerd as the service.
 *
 *   POST /hop     to an object and back; the object answers at once and reads nothing
 *   POST /upsert  one SQL upsert a play; the platform's output gate makes it durable
 *   POST /insert  one row, and an answer when `sync()` says that it is durable
 */
import { DurableObject } from "cloudflare:workers";

export default {
  /** @param {Request} request @param {{FLOOR: any}} env */
  async fetch(request, env) {
    const path = new URL(request.url).pathname;
    return env.FLOOR.getByName(path).fetch(request);
  },
};

export class Floor extends DurableObject {
  #sql;
  #rows = 0;

  constructor(state, env) {
    super(state, env);
    this.#sql = state.storage.sql;
    this.#sql.exec(
      "CREATE TABLE IF NOT EXISTS plays (post_id TEXT, minute INTEGER, plays INTEGER, PRIMARY KEY (post_id, minute)) WITHOUT ROWID",
    );
    this.#sql.exec("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, body TEXT)");
  }

  /** @param {Request} request */
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/upsert") return this.#upsert(await request.json());
    if (pathname === "/insert") return this.#insert(await request.text());
    return new Response(null, { status: 202 });
  }

  #upsert({ plays }) {
    for (const { post_id, timestamp } of plays) {
      this.#sql.exec(
        "INSERT INTO plays VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET plays = plays + 1",
        post_id,
        Math.floor(timestamp / 60_000),
      );
    }
    return Response.json({ accepted: plays.length }, { status: 202 });
  }

  async #insert(body) {
    this.#sql.exec("INSERT OR REPLACE INTO rows VALUES (?, ?)", this.#rows++ % 256, body);
    await this.ctx.storage.sync();
    return Response.json({ accepted: 1 }, { status: 202 });
  }
}
