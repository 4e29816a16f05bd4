/** The global object of the benchmark of time, with its shards. */
import { cpuMs, median } from "../../lib/report.mjs";
import { check, send, start } from "./instance.mjs";
import { MINUTE_MS } from "./rows.mjs";
import { DAY_HOURS, LENGTHS, MONTH_HOURS } from "./world.mjs";

const PUSH_INTERVAL_MS = 5_000;
const MIB = 1 << 20;
/** As `chart` of benches/time/wasm.rs numbers them. */
const SORTS = { views: 0, rising: 1, distinctive: 2 };
const ROUNDS = 5;
const POSTS_A_PUT = 500;
/** Charts are asked for in each third second, live panes are merged in each. */
const CHARTS_EVERY = 3;

/** A global object with its shards. */
export class Board {
  minutes = 0;
  /** Processor time, ms. @type {Record<"push" | "live" | "chart24" | "chart720", number[]>} */
  spent = { push: [], live: [], chart24: [], chart720: [] };
  /** Of each flush: its processor time, and panes of ladders that it wrote. @type {{ms: number, panes: number}[]} */
  flushes = [];
  pushes = 0;
  rows = 0;
  now = 0;

  /**
   * @param {WebAssembly.Module} module @param {import("./world.mjs").World} world
   * @param {import("./storage.mjs").Storage} stored
   * @param {{regions: number, shards: number}} size `shards`: of each region
   */
  constructor(module, world, stored, { regions, shards }) {
    this.world = world;
    this.shards = shards;
    this.regionCount = regions;
    this.storage = stored.clone();
    this.instance = start(module, this.storage);
    check(this.instance.load(regions));
  }

  /** Charts of each scope and window, and again after two seconds, as they are asked for all the time: from then on the load is steady. */
  askEverything() {
    for (const hours of [DAY_HOURS, MONTH_HOURS]) {
      // A moment after the minute began, as all charts of that minute are asked for.
      for (const askedMs of [1, 2_001]) {
        for (let scope = 0; scope <= this.regionCount; scope++) {
          check(this.instance.chart(scope, hours * 60, 1_000, SORTS.views, this.world.startMs + askedMs));
        }
      }
    }
    // What expired before the start is deleted at the first flush; from then on as much expires
    // as is begun.
    check(this.instance.flush(this.world.startMs));
  }

  /** A minute of pushes, evenly spread, with charts in between. */
  minute() {
    this.minutes++;
    const { puts, deletes } = this.storage;
    for (let second = 0; second < 60; second++) this.second(second);
    this.rows += this.storage.puts - puts + this.storage.deletes - deletes;
  }

  second(second) {
    const pushes = this.pushesOf(second);
    this.pushes += pushes.length;
    this.spent.push.push(
      cpuMs(() => {
        for (const { message, now } of pushes) {
          send(this.instance, message);
          if (check(this.instance.take_push(now))) this.flush(now);
        }
      }),
    );
    this.now = this.world.startMs + (this.minutes - 1) * MINUTE_MS + (second + 1) * 1_000 - 1;
    // The last minute of everywhere: hardly more than what is live.
    this.spent.live.push(cpuMs(() => check(this.instance.chart(0, 1, 10, SORTS.views, this.now))));
    if (second % CHARTS_EVERY !== 0) return;
    const scope = second % (this.regionCount + 1);
    /** @type {["chart24" | "chart720", number][]} */
    const charts = [
      ["chart24", DAY_HOURS],
      ["chart720", MONTH_HOURS],
    ];
    for (const [name, hours] of (second / CHARTS_EVERY) % 2 ? charts.reverse() : charts) {
      this.spent[name].push(cpuMs(() => check(this.instance.chart(scope, hours * 60, 1_000, SORTS.views, this.now))));
    }
  }

  flush(now) {
    const { panePuts } = this.storage;
    const ms = cpuMs(() => check(this.instance.flush(now)));
    this.flushes.push({ ms, panes: this.storage.panePuts - panePuts });
  }

  pushesOf(second) {
    const count = this.regionCount * this.shards;
    const pushes = [];
    for (let number = 0; number < count; number++) {
      const phase = Math.floor((number * PUSH_INTERVAL_MS) / count);
      const inInterval = (second * 1_000) % PUSH_INTERVAL_MS;
      if (phase < inInterval || phase >= inInterval + 1_000) continue;
      const step = Math.floor((second * 1_000) / PUSH_INTERVAL_MS) + 1;
      const message = this.world.push(number % this.regionCount, Math.floor(number / this.regionCount), this.minutes, step);
      pushes.push({ message, now: this.world.startMs + (this.minutes - 1) * MINUTE_MS + second * 1_000 + phase - inInterval });
    }
    return pushes;
  }

  /** Deletes a minute, which come once an hour: of each level as many panes as are begun. */
  expiringRows() {
    const begun = Object.values(LENGTHS).reduce((sum, length) => sum + MINUTE_MS / length, 0);
    return (this.regionCount + 1) * begun;
  }

  /** A chart of each scope, from a state that was just loaded. */
  firstCharts(hours) {
    check(this.instance.load(this.regionCount));
    const scopes = Array.from({ length: this.regionCount + 1 }, (_, scope) => scope);
    return scopes.map((scope) => cpuMs(() => check(this.instance.chart(scope, hours * 60, 1_000, SORTS.views, this.now))));
  }

  /** What a region's chart costs in each sort, by turns. @returns {Record<keyof typeof SORTS, number>} ms */
  sorts(hours) {
    /** @type {Record<keyof typeof SORTS, number[]>} */
    const spent = { views: [], rising: [], distinctive: [] };
    for (let round = 0; round < ROUNDS; round++) {
      for (let scope = 1; scope <= this.regionCount; scope++) {
        for (const name of /** @type {(keyof typeof SORTS)[]} */ (Object.keys(SORTS))) {
          // Another number of places each time: the same chart would be given again as it is.
          spent[name].push(cpuMs(() => check(this.instance.chart(scope, hours * 60, 1_000 - round, SORTS[name], this.now))));
        }
      }
    }
    return { views: median(spent.views), rising: median(spent.rising), distinctive: median(spent.distinctive) };
  }

  /**
   * What a region's chart of a period costs whose panes were merged before.
   * @param {{from: number, to: number, before: number}} period
   */
  calendar({ from, to, before }) {
    const spent = [];
    for (let round = 0; round <= ROUNDS; round++) {
      for (let scope = 1; scope <= this.regionCount; scope++) {
        const ms = cpuMs(() => check(this.instance.chart_since(scope, from, to, before, 1_000 - round, this.now)));
        if (round > 0) spent.push(ms);
      }
    }
    return median(spent);
  }

  /** Puts so many posts into the catalog, and follows it. */
  catalog(posts) {
    check(this.instance.load_catalog());
    for (let from = 0; from < posts; from += POSTS_A_PUT) check(this.instance.put_posts(from, Math.min(posts, from + POSTS_A_PUT)));
  }

  /**
   * What a region's chart of the posts with a tag costs, of which nothing is known of the catalog: the first since
   * the start, or where the panes were merged before for one of all posts.
   * @param {number | undefined} tag of `TAGS` in benches/time/wasm.rs; of all posts without one
   * @param {{isFirst: boolean}} how
   */
  filtered(tag, { isFirst }) {
    const chart = (scope, of) => check(this.instance.chart_tagged(scope, DAY_HOURS * 60, of ?? -1, 1_000, this.now));
    const scopes = Array.from({ length: this.regionCount }, (_, region) => region + 1);
    const spent = scopes.map((scope) => {
      if (isFirst) check(this.instance.load(this.regionCount));
      else chart(scope, undefined);
      this.instance.follow();
      return cpuMs(() => chart(scope, tag));
    });
    return median(spent);
  }

  /** Closes the charts of all periods that ended between two moments. Returns what each of the steps cost. */
  close(from, to) {
    check(this.instance.load(this.regionCount));
    check(this.instance.close_step(from));
    const spent = [];
    for (let isOver = false; !isOver;) spent.push(cpuMs(() => (isOver = check(this.instance.close_step(to)) === 0)));
    return spent;
  }

  repeat(times, work) {
    return Array.from({ length: times }, () => cpuMs(work));
  }

  post(hours) {
    check(this.instance.post(hours, this.now));
  }

  regions() {
    check(this.instance.regions(this.now));
  }

  memoryMiB() {
    return this.instance.memory.buffer.byteLength / MIB;
  }
}
