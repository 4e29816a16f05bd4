/**
 * `npm run bench -- time`: what the global object costs, in Wasm: its state machine as it runs on
 * Workers, with its storage outside of the instance. Full ladders, panes as shards send them,
 * steady load; every shard pushes every 5 s. Processor time, medians.
 */
import { median, cpuMs, Report, settle } from "../lib/report.mjs";
import { say } from "../lib/say.mjs";
import { buildExample, instantiate } from "../lib/wasm-example.mjs";
import { Storage } from "./time/storage.mjs";
import { copyRegions, DAY_MS, MINUTE_MS, paneSizes, repeatOlderDays } from "./time/rows.mjs";

/** Where the year's charts need most panes: the clock is set to the worst minute of a day. */
const SOME_DAY_MS = Date.UTC(2026, 10, 23);
const PUSH_INTERVAL_MS = 5_000;
const LEVELS = { minute: 0, quarter: 1, twoHours: 2, day: 3 };
/** Panes that are drawn; the 800 days of the ladder repeat the last of them. */
const HISTORY = { [LEVELS.day]: 70, [LEVELS.twoHours]: 193, [LEVELS.quarter]: 210, [LEVELS.minute]: 180 };
const LENGTHS = {
  [LEVELS.day]: DAY_MS,
  [LEVELS.twoHours]: 2 * 60 * MINUTE_MS,
  [LEVELS.quarter]: 15 * MINUTE_MS,
  [LEVELS.minute]: MINUTE_MS,
};
const DAY_HOURS = 24;
const MONTH_HOURS = 30 * 24;
const LONGEST_HOURS = 400 * 24;
/** Regions whose ladders are folded; the others have the same rows. */
const FOLDED_REGIONS = 2;
const MIB = 1 << 20;
/** As `chart` of benches/time/wasm.rs numbers them. */
const SORTS = { views: 0, rising: 1, distinctive: 2 };
const SORT_ROUNDS = 5;
/** Charts are asked for in each third second, live panes are merged in each. */
const CHARTS_EVERY = 3;

/** @param {{json: boolean}} options @returns {Promise<boolean>} whether every limit holds */
export async function run({ json }) {
  const module = await buildExample("time_wasm");
  const report = new Report();
  const world = new World(module);
  say(`▸ ladders of 10 regions (30 s)`);
  const stored = world.ladders();
  say(`▸ steady load (2 min)`);

  const ten = new Board(module, world, stored, { regions: 10, shards: 1 });
  const hundred = new Board(module, world, stored, { regions: 10, shards: 10 });
  const thousand = new Board(module, world, stored, { regions: 10, shards: 100 });
  for (const board of [ten, hundred, thousand]) board.askEverything();
  await settle();
  for (const board of [ten, hundred, thousand]) board.minute();
  const many = new Board(module, world, copyRegions(stored, 10, 100), { regions: 100, shards: 1 });
  many.askEverything();
  many.minute();

  const { spent } = hundred;
  const pushes = spent.push.reduce((sum, ms) => sum + ms, 0) / (hundred.pushes || 1);
  report.add("a push is taken and folded, its share of the flush included", pushes, "ms", { must: 5, aim: 1 });
  report.add("· the slowest second of pushes, with the flush", Math.max(...spent.push), "ms");
  for (const { name, hours, all, limits } of [
    { name: "24h", hours: DAY_HOURS, all: spent.chart24, limits: { must: 15, aim: 5 } },
    { name: "30d", hours: MONTH_HOURS, all: spent.chart720, limits: { must: 25, aim: 8 } },
  ]) {
    report.add(`cold chart over ${name}, with previous_rank`, median(all), "ms", limits);
    const first = hundred.firstCharts(hours);
    // Without a limit: it comes once for each scope after a start of the object.
    report.add(`· first chart over ${name} of a scope since the start`, median(first), "ms");
  }
  for (const { name, hours } of [
    { name: "24h", hours: DAY_HOURS },
    { name: "30d", hours: MONTH_HOURS },
  ]) {
    const { views, rising, distinctive } = hundred.sorts(hours);
    report.add(`cold chart over ${name}, sort=rising against views`, rising / views, "×", { must: 2 });
    report.add(`cold chart over ${name}, sort=distinctive against views`, distinctive / views, "×", { must: 2 });
  }
  /** @param {Board} board */
  const chart = (board) => median([...board.spent.chart24, ...board.spent.chart720]);
  report.add("a chart at 1,000 shards against one at 10", chart(thousand) / chart(ten), "×", { must: 1.2, aim: 1 });
  for (const board of [ten, hundred, thousand]) {
    report.add(`· merging what is live, at ${board.shards * 10} shards`, median(board.spent.live), "ms");
  }
  const whole = [...thousand.spent.push, ...thousand.spent.live].reduce((sum, ms) => sum + ms, 0);
  report.add("the whole CPU at 1,000 shards, a push every 5 s", whole / 600, "%", { must: 30, aim: 10 });
  report.add("memory at 100 shards in 10 regions", hundred.memoryMiB(), "MiB", { must: 64, aim: 32 });
  report.add("memory at 100 shards in 100 regions", many.memoryMiB(), "MiB", { must: 96, aim: 64 });
  report.add("· memory at 1,000 shards in 10 regions", thousand.memoryMiB(), "MiB");
  report.add("rows written a minute at 100 shards", hundred.rows + hundred.expiringRows(), "rows", { must: 600, aim: 200 });
  const { bytes, formula } = paneSizes(stored);
  report.add("storage after a year, a region", bytes / 1e6, "MB", { must: 40, aim: 40 });
  report.add("· one post's page over 24h", median(hundred.repeat(5, () => hundred.post(DAY_HOURS))), "ms");
  const [first, ...again] = hundred.repeat(5, () => hundred.post(LONGEST_HOURS));
  report.add("· one post's page over 400d", median(again), "ms");
  report.add("· the first one, a scope at a time", first / (hundred.regionCount + 1), "ms a scope");
  report.add("· the list of regions", median(hundred.repeat(5, () => hundred.regions())), "ms");
  return report.print({
    json,
    title: `The global object: 10 regions, ${world.panes[DAY_HOURS]} panes for 24h and ${world.panes[MONTH_HOURS]} for 30d with the windows before`,
    command: "npm run bench -- time",
    notes: [`Storage: ${formula}.`],
  });
}

/** Draws plays, in an instance of its own. */
class World {
  constructor(module) {
    this.module = module;
    this.storage = new Storage();
    this.instance = start(module, this.storage);
    this.instance.draw();
    const minutes = Array.from({ length: 1_440 }, (_, minute) => SOME_DAY_MS + minute * MINUTE_MS);
    const most = (at) => this.instance.panes_of(DAY_HOURS, at + 1) + this.instance.panes_of(MONTH_HOURS, at + 1);
    this.startMs = minutes.reduce((best, at) => (most(at) > most(best) ? at : best));
    this.panes = Object.fromEntries([DAY_HOURS, MONTH_HOURS].map((hours) => [hours, this.instance.panes_of(hours, this.startMs + 1)]));
  }

  /** What was made last, copied out. */
  message(bytes) {
    const at = this.instance.made() >>> 0;
    return new Uint8Array(this.instance.memory.buffer, at, bytes).slice();
  }

  push(region, shard, minute, step) {
    return this.message(this.instance.draw_push(region, shard, this.startMs, minute, step));
  }

  /** The stored rows of 10 regions; those of the first are folded by the state machine itself. */
  ladders() {
    const storage = new Storage();
    const loader = start(this.module, storage);
    check(loader.load(FOLDED_REGIONS));
    for (const level of [LEVELS.day, LEVELS.twoHours, LEVELS.quarter, LEVELS.minute]) {
      const end = Math.floor(this.startMs / LENGTHS[level]) * LENGTHS[level];
      for (let from = 0; from < HISTORY[level]; from += 10) {
        const count = Math.min(10, HISTORY[level] - from);
        for (let region = 0; region < FOLDED_REGIONS; region++) {
          const bytes = this.instance.draw_history(region, level, end - from * LENGTHS[level], count);
          send(loader, this.message(bytes));
          check(loader.take_push(this.startMs));
        }
        check(loader.flush(this.startMs));
      }
    }
    repeatOlderDays(storage, HISTORY[LEVELS.day], 800);
    return copyRegions(storage, FOLDED_REGIONS, 10);
  }
}

/** A global object with its shards. */
class Board {
  minutes = 0;
  /** Processor time, ms. @type {Record<"push" | "live" | "chart24" | "chart720", number[]>} */
  spent = { push: [], live: [], chart24: [], chart720: [] };
  pushes = 0;
  rows = 0;
  now = 0;

  /**
   * @param {WebAssembly.Module} module @param {World} world @param {Storage} stored
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

  /** A chart of each scope and window: from then on the load is steady. */
  askEverything() {
    for (const hours of [DAY_HOURS, MONTH_HOURS]) {
      for (let scope = 0; scope <= this.regionCount; scope++) {
        check(this.instance.chart(scope, hours * 60, 1_000, SORTS.views, this.world.startMs));
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
          check(this.instance.take_push(now));
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
    for (let round = 0; round < SORT_ROUNDS; round++) {
      for (let scope = 1; scope <= this.regionCount; scope++) {
        for (const name of /** @type {(keyof typeof SORTS)[]} */ (Object.keys(SORTS))) {
          // Another number of places each time: the same chart would be given again as it is.
          spent[name].push(cpuMs(() => check(this.instance.chart(scope, hours * 60, 1_000 - round, SORTS[name], this.now))));
        }
      }
    }
    return { views: median(spent.views), rising: median(spent.rising), distinctive: median(spent.distinctive) };
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

function start(module, storage) {
  storage.instance = instantiate(module, storage.imports);
  return storage.instance;
}

function send(instance, message) {
  const at = instance.message(message.length) >>> 0;
  new Uint8Array(instance.memory.buffer, at, message.length).set(message);
}

function check(answer) {
  if (answer < 0) throw new Error("the benchmark's global object refused");
}
