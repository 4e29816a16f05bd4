/**
 * `npm run bench -- time`: what the global object costs, in Wasm: its state machine as it runs on
 * Workers, with its storage outside of the instance. Full ladders, panes as shards send them,
 * steady load; every shard pushes every 5 s. Processor time, medians.
 */
import { zone } from "../../src/js/zones.js";
import { median, Report, settle } from "../lib/report.mjs";
import { Advice, say } from "../lib/say.mjs";
import { buildExample } from "../lib/wasm-example.mjs";
import { Board } from "./time/board.mjs";
import { check, send } from "./time/instance.mjs";
import { chartSizes, copyRegions, DAY_MS, MINUTE_MS, paneSizes } from "./time/rows.mjs";
import { DAY_HOURS, LENGTHS, MONTH_HOURS, World } from "./time/world.mjs";

/** Rows that belong together, each with what it needs: to be run alone with `--rows`. */
const GROUPS = { pushes, charts, calendar, filters, closing, pages, memory, storage };
export const ROWS = Object.keys(GROUPS);

const LONGEST_HOURS = 400 * 24;
const SIZES = {
  ten: { regions: 10, shards: 1 },
  hundred: { regions: 10, shards: 10 },
  thousand: { regions: 10, shards: 100 },
  many: { regions: 100, shards: 1 },
};
const POSTS = { few: 5_000, most: 1_000_000 };
/** As `TAGS` of benches/time/wasm.rs numbers them. */
const TAGS = { hundred: 0, tenth: 1 };
const KATHMANDU_AHEAD_MS = (5 * 60 + 45) * MINUTE_MS;

/** @param {{json: boolean, rows?: string[]}} options @returns {Promise<boolean>} whether every limit holds */
export async function run({ json, rows = ROWS }) {
  const unknown = rows.find((name) => !ROWS.includes(name));
  if (unknown) throw new Advice(`There are no rows \`${unknown}\`.`, `There are ${ROWS.join(", ")}.`);
  const module = await buildExample("time_wasm");
  const bench = new Bench(module);
  for (const name of ROWS.filter((name) => rows.includes(name))) {
    say(`▸ ${name}`);
    await GROUPS[name](bench);
  }
  const { panes } = bench.world;
  return bench.report.print({
    json,
    title: `The global object: 10 regions, ${panes[DAY_HOURS]} panes for 24h and ${panes[MONTH_HOURS]} for 30d with the windows before`,
    command: rows === ROWS ? "npm run bench -- time" : `npm run bench -- time --rows ${rows.join(",")}`,
    notes: bench.notes,
  });
}

/** What rows are made from, each made when the first row asks for it. */
class Bench {
  report = new Report();
  /** @type {string[]} */
  notes = [];
  /** @type {Map<string, Board>} */
  #boards = new Map();

  constructor(module) {
    this.module = module;
    this.world = new World(module);
    say("▸ ladders of 10 regions (30 s)");
    this.stored = this.world.ladders();
  }

  /** A board that had a minute of steady load. @param {keyof typeof SIZES} name */
  async board(name) {
    let board = this.#boards.get(name);
    if (board) return board;
    const stored = name === "many" ? copyRegions(this.stored, SIZES.ten.regions, SIZES.many.regions) : this.stored;
    this.#boards.set(name, (board = new Board(this.module, this.world, stored, SIZES[name])));
    board.askEverything();
    await settle();
    board.minute();
    return board;
  }
}

/** @param {Bench} bench */
async function pushes(bench) {
  const { report } = bench;
  const [ten, hundred, thousand] = [await bench.board("ten"), await bench.board("hundred"), await bench.board("thousand")];
  const { spent, flushes } = hundred;
  const each = spent.push.reduce((sum, ms) => sum + ms, 0) / hundred.pushes;
  report.add("a push is taken and folded, its share of the flush included", each, "ms", { must: 5, aim: 1 });
  report.add("· the slowest second of pushes, with the flush", Math.max(...spent.push), "ms");
  const folded = flushes.filter(({ panes }) => panes > 0);
  report.add("fold of a sealed minute, a scope and level", median(folded.map(({ ms, panes }) => ms / panes)), "ms", { must: 15, aim: 6 });
  report.add("· all of them, in one turn", Math.max(...folded.map(({ ms }) => ms)), "ms");
  /** @param {Board} board */
  const chart = (board) => median([...board.spent.chart24, ...board.spent.chart720]);
  report.add("a chart at 1,000 shards against one at 10", chart(thousand) / chart(ten), "×", { must: 1.2, aim: 1 });
  for (const board of [ten, hundred, thousand]) {
    report.add(`· merging what is live, at ${board.shards * 10} shards`, median(board.spent.live), "ms");
  }
  const whole = [...thousand.spent.push, ...thousand.spent.live].reduce((sum, ms) => sum + ms, 0);
  report.add("the whole CPU at 1,000 shards, a push every 5 s", whole / 600, "%", { must: 30, aim: 10 });
  report.add("rows written a minute at 100 shards", hundred.rows + hundred.expiringRows(), "rows", { must: 600, aim: 200 });
}

/** @param {Bench} bench */
async function charts(bench) {
  const { report } = bench;
  const board = await bench.board("hundred");
  for (const { name, hours, all, limits, first } of [
    { name: "24h", hours: DAY_HOURS, all: board.spent.chart24, limits: { must: 20, aim: 8 }, first: { must: 40, aim: 20 } },
    { name: "30d", hours: MONTH_HOURS, all: board.spent.chart720, limits: { must: 30, aim: 12 }, first: { must: 120, aim: 60 } },
  ]) {
    report.add(`cold chart over ${name}, with previous_rank`, median(all), "ms", limits);
    report.add(`· of a scope that nobody asked for since the start`, median(board.firstCharts(hours)), "ms", first);
  }
  for (const { name, hours } of [
    { name: "24h", hours: DAY_HOURS },
    { name: "30d", hours: MONTH_HOURS },
  ]) {
    const { views, rising, distinctive } = board.sorts(hours);
    report.add(`cold chart over ${name}, sort=rising against views`, rising / views, "×", { must: 2 });
    report.add(`cold chart over ${name}, sort=distinctive against views`, distinctive / views, "×", { must: 2 });
  }
}

/** @param {Bench} bench */
async function calendar(bench) {
  const board = await bench.board("hundred");
  const { now } = board;
  const today = Math.floor((now + KATHMANDU_AHEAD_MS) / DAY_MS) * DAY_MS - KATHMANDU_AHEAD_MS;
  const days = { from: today, to: today + DAY_MS, before: today - DAY_MS };
  bench.report.add("cold `today` of another zone (Kathmandu)", board.calendar(days), "ms", { must: 20, aim: 8 });
  const month = (back) => Date.UTC(new Date(now).getUTCFullYear(), new Date(now).getUTCMonth() - back);
  const months = { from: month(1), to: month(0), before: month(2) };
  bench.report.add("cold `last-month` of the own zone", board.calendar(months), "ms", { must: 30, aim: 12 });
}

/** @param {Bench} bench */
async function filters({ report, world, stored, module }) {
  for (const posts of [POSTS.few, POSTS.most]) {
    const board = new Board(module, world, stored, SIZES.ten);
    board.askEverything();
    board.minute();
    say(`  a catalog of ${posts} posts`);
    board.catalog(posts);
    if (posts === POSTS.few) {
      const ratio = board.filtered(TAGS.tenth, { isFirst: true }) / board.filtered(undefined, { isFirst: true });
      report.add(`filtered chart, ${posts} posts in the catalog, cold, against all posts`, ratio, "×", { must: 2, aim: 1.2 });
      continue;
    }
    report.add(`filtered chart, ${posts} posts, a tag of 100`, board.filtered(TAGS.hundred, { isFirst: false }), "ms", { must: 15 });
    report.add("· a tag of 100,000", board.filtered(TAGS.tenth, { isFirst: false }), "ms", { must: 30 });
    report.add("· all posts", board.filtered(undefined, { isFirst: false }), "ms");
  }
}

/** A month of days, weeks and the month, of each scope in its turn, and a few days at a time. @param {Bench} bench */
async function closing({ report, notes, world, stored, module }) {
  const board = new Board(module, world, stored, SIZES.ten);
  const month = new Date(world.startMs);
  const begin = Date.UTC(month.getUTCFullYear(), month.getUTCMonth() - 1);
  const spent = board.close(begin, world.startMs);
  report.add("closing a period, 11 scopes: the slowest step", Math.max(...spent), "ms", { must: 100 });
  const { bytes, formula } = chartSizes(board.storage);
  report.add("storage of published charts a year, a region", bytes / 1e6, "MB", { must: 3, aim: 1 });
  notes.push(`Published charts: ${formula} (day, week, month).`);
}

/** @param {Bench} bench */
async function pages(bench) {
  const { report } = bench;
  const board = await bench.board("hundred");
  report.add("· one post's page over 24h", median(board.repeat(5, () => board.post(DAY_HOURS))), "ms");
  const [first, ...again] = board.repeat(5, () => board.post(LONGEST_HOURS));
  report.add("· one post's page over 400d", median(again), "ms");
  report.add("· the first one, a scope at a time", first / (board.regionCount + 1), "ms a scope");
  report.add("· the list of regions", median(board.repeat(5, () => board.regions())), "ms");
}

/** After charts of every sort. @param {Bench} bench */
async function memory(bench) {
  const { report } = bench;
  const hundred = await bench.board("hundred");
  for (const hours of [DAY_HOURS, MONTH_HOURS]) hundred.sorts(hours);
  report.add("memory at 100 shards in 10 regions", hundred.memoryMiB(), "MiB", { must: 64, aim: 48 });
  report.add("memory at 100 shards in 100 regions", (await bench.board("many")).memoryMiB(), "MiB", { must: 88, aim: 72 });
  report.add("· memory at 1,000 shards in 10 regions", (await bench.board("thousand")).memoryMiB(), "MiB");
}

/** @param {Bench} bench */
async function storage({ report, notes, world, stored }) {
  const { bytes, means, formula } = paneSizes(stored, world.startMs);
  report.add("storage after a year, a region", bytes / 1e6, "MB", { must: 80, aim: 50 });
  notes.push(`Storage: ${formula}.`);
  const kept = (name) => {
    const text = new TextEncoder().encode(zone(name, world.startMs));
    return Object.keys(LENGTHS).map((level) => {
      send(world.instance, text);
      return check(world.instance.panes_kept(Number(level), world.startMs));
    });
  };
  const [utc, own] = [kept("UTC"), kept("America/New_York")];
  const more = own.reduce((sum, panes, level) => sum + (panes - utc[level]) * means[level], 0);
  report.add("· more in the days of New York than in those of UTC", more / 1e6, "MB", { must: 30, aim: 0 });
}
