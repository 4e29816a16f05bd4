/**
 * The Worker, and around its objects what counts them as the platform bills: for
 * `npm run bench -- bill-real`. `/bill` tells.
 */
import * as built from "hitparade";

/** How long an object stays in memory that has nothing to do. */
const TAIL_MS = 10_000;

/** @type {{requests: Record<string, number>, rows: Record<string, number>, wakes: Record<string, number>, active_ms: number, with_tail_ms: number}} */
const bill = { requests: {}, rows: {}, wakes: {}, active_ms: 0, with_tail_ms: 0 };

/** @param {Record<string, number>} what @param {string} key @param {number} [count] */
const add = (what, key, count = 1) => {
  if (count > 0) what[key] = (what[key] ?? 0) + count;
};

/** When each object had nothing to do any more. @type {Map<string, number>} */
const idleSince = new Map();

/** @param {any} Class @param {string} kind */
function counted(Class, kind) {
  return class extends Class {
    #underWay = 0;
    #began = 0;

    /** @param {any} ctx @param {any} env */
    constructor(ctx, env) {
      const { storage } = ctx;
      const { sql } = storage;
      const [exec, setAlarm] = [sql.exec.bind(sql), storage.setAlarm.bind(storage)];
      sql.exec = (/** @type {string} */ query, /** @type {any[]} */ ...bindings) => {
        const cursor = exec(query, ...bindings);
        add(bill.rows, `${kind} ${/^(?:INSERT OR REPLACE INTO|DELETE FROM) (\w+)/.exec(query)?.[1] ?? "schema"}`, cursor.rowsWritten);
        return cursor;
      };
      storage.setAlarm = (/** @type {any[]} */ ...args) => {
        add(bill.rows, `${kind} alarms`);
        return setAlarm(...args);
      };
      super(ctx, env);
      add(bill.wakes, kind);
    }

    /** @param {string} what @param {() => Promise<any>} work */
    async #event(what, work) {
      add(bill.requests, `${kind} ${what}`);
      if (this.#underWay++ === 0) this.#began = Date.now();
      try {
        return await work();
      } finally {
        if (--this.#underWay === 0) {
          const name = `${kind} ${this.ctx.id.name}`;
          const [now, last] = [Date.now(), idleSince.get(name) ?? 0];
          bill.active_ms += now - this.#began;
          bill.with_tail_ms += now + TAIL_MS - Math.max(this.#began, last + TAIL_MS);
          idleSince.set(name, now);
        }
      }
    }

    /** @param {Request} request */
    fetch(request) {
      return this.#event(new URL(request.url).pathname, () => super.fetch(request));
    }

    /** @param {...any} batches */
    record(...batches) {
      return this.#event("/record", () => super.record(...batches));
    }

    alarm() {
      return this.#event("alarm", () => super.alarm());
    }
  };
}

export const RegionShard = counted(built.RegionShard, "shard");
export const GlobalBoard = counted(built.GlobalBoard, "global");
export const Registry = counted(built.Registry, "registry");

export default {
  /** @param {Request} request @param {any} env @param {any} context */
  fetch(request, env, context) {
    if (new URL(request.url).pathname === "/bill") return Response.json(bill);
    return built.default.fetch(request, env, context);
  },
};
