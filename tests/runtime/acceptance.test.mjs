/**
 * A year of real departures goes in over HTTP, and the published answers come out.
 *
 * The year is in the folder that HITPARADE_DATA names (flights.tsv.gz in the form of demo/README.md). Without it the
 * demo's four weeks take its place, with counts made from the file.
 * Every row counts: a missing tail number (`NA`) is a post as any other.
 * ACCEPTANCE_STRIDE=1 asks for every single aircraft by itself, which takes minutes.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { countKeys, readFlights } from "../../scripts/lib/flights.mjs";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { Service, eventually } from "./harness.mjs";

const DAY_MS = 24 * 3_600_000;
const BATCH = 10_000;
const REGIONS = ["EWR", "JFK", "LGA"];
const TIMEFRAME = "400d";
/** Of the posts beyond the chart's thousand, one in so many is asked for by itself. */
const STRIDE = Number(process.env.ACCEPTANCE_STRIDE ?? 30);

/** R for Data Science, chapter on joins, and counts by origin from the same data. */
const PUBLISHED = {
  rows: 336_776,
  global: "ORD 17283, ATL 17215, LAX 16174, BOS 15508, MCO 14082, CLT 14064, SFO 13331, FLL 12055, MIA 11728, DCA 9705",
  EWR: "ORD 6100, BOS 5327, SFO 5127, CLT 5026, ATL 5022",
  JFK: "LAX 11262, SFO 8204, BOS 5898, MCO 5464, SJU 4752",
  LGA: "ATL 10263, ORD 8857, CLT 6168, MIA 5781, DTW 5040",
};

const { flights, whole } = readData();

describe(`${flights.length} departures`, () => {
  test("by destination", { timeout: 600_000 }, async (t) => {
    await withPlays(
      (flight) => flight.dest,
      async (service, truth) => {
        for (const scope of ["global", ...REGIONS]) {
          const chart = await service.topPosts({ region: scope, timeframe: TIMEFRAME, k: 1000 });
          assertBounds(chart, truth.get(scope));
          const listed = chart.top_posts.map(({ post_id, view_count }) => `${post_id} ${view_count}`);
          if (whole) {
            const published = PUBLISHED[scope].split(", ");
            assert.deepEqual(listed.slice(0, published.length), published, `the published answer for ${scope}`);
          }
          // 105 destinations: counted exactly, down to the last one.
          assert.deepEqual(
            listed,
            truth.get(scope).map(([id, count]) => `${id} ${count}`),
          );
          t.diagnostic(`${scope}: ${listed.slice(0, 5).join(", ")}, …`);
        }
      },
    );
  });

  test("by aircraft", { timeout: 900_000 }, async (t) => {
    await withPlays(
      (flight) => flight.tailnum,
      async (service, truth) => {
        for (const scope of ["global", ...REGIONS]) {
          const counts = truth.get(scope);
          const chart = await service.topPosts({ region: scope, timeframe: TIMEFRAME, k: 1000 });
          assertBounds(chart, counts);
          const top = chart.top_posts.slice(0, 10).map(({ post_id }) => post_id);
          assertTop(top, counts, scope);
          t.diagnostic(`${scope}: ${chart.top_posts.slice(0, 5).map(({ post_id, view_count }) => `${post_id} ${view_count}`)}, …`);
        }
        const counts = truth.get("global");
        const chart = await service.topPosts({ timeframe: TIMEFRAME, k: 1000 });
        const { asked, widest } = await assertUnlistedPosts(service, counts, chart);
        t.diagnostic(
          `${counts.length} aircraft within their bounds, ${chart.top_posts.length} of them listed; ` +
            `${asked} others asked for one by one, their bounds at most ${widest} apart`,
        );
      },
    );
  });
});

function readData() {
  const folder = process.env.HITPARADE_DATA || join(ROOT, "demo");
  const flights = readFlights(join(folder, "flights.tsv.gz"));
  return { flights, whole: flights.length === PUBLISHED.rows };
}

/**
 * Sends all flights, so moved that the last one was yesterday, waits until the charts have them,
 * and hands over the true counts by scope.
 */
async function withPlays(postOf, check) {
  const service = await Service.start();
  try {
    await service.addRegions(...REGIONS);
    const shiftMs = Math.floor((Date.now() - DAY_MS - flights.at(-1).time) / DAY_MS) * DAY_MS;
    const plays = flights.map((flight) => ({
      post_id: postOf(flight),
      region_id: flight.origin,
      timestamp: flight.time + shiftMs,
    }));
    for (let start = 0; start < plays.length; start += BATCH) {
      const batch = plays.slice(start, start + BATCH);
      const answer = await service.send(batch, `batch-${start}`);
      assert.deepEqual(answer, { accepted: batch.length, rejected: [], repeated: false });
    }
    const truth = new Map([["global", countKeys(flights.map(postOf))]]);
    for (const region of REGIONS) {
      const here = flights.filter(({ origin }) => origin === region);
      truth.set(region, countKeys(here.map(postOf)));
    }
    await eventually(async () => {
      for (const [region, counts] of truth) {
        const { total_views } = await service.topPosts({ region, timeframe: TIMEFRAME });
        assert.equal(total_views, sum(counts), `total_views of ${region}`);
      }
    }, 120_000);
    await check(service, truth);
  } finally {
    await service.dispose();
  }
}

const sum = (counts) => counts.reduce((total, [, count]) => total + count, 0);

/** Every listed post lies within its bounds, every other one below `unlisted_max`. */
function assertBounds(chart, counts) {
  const unlisted = new Map(counts);
  for (const post of chart.top_posts) {
    const { post_id, view_count, view_count_min, view_count_max } = post;
    const count = unlisted.get(post_id);
    assert.ok(count !== undefined, `${post_id} was never played`);
    assert.ok(view_count_min <= count && count <= view_count_max, `${count}: ${JSON.stringify(post)}`);
    assert.ok(view_count_min <= view_count && view_count <= view_count_max, JSON.stringify(post));
    unlisted.delete(post_id);
  }
  for (const [id, count] of unlisted) assert.ok(count <= chart.unlisted_max, `${id} ${count} > ${chart.unlisted_max}`);
}

/** The first places in their true order; posts with the same count by their bytes. */
function assertTop(top, counts, scope) {
  assert.deepEqual(
    top,
    counts.slice(0, top.length).map(([id]) => id),
    `the top of ${scope}`,
  );
}

/**
 * Asks for posts that no chart lists, by themselves.
 * @returns {Promise<{asked: number, widest: number}>} how many, and the widest distance between bounds
 */
async function assertUnlistedPosts(service, counts, chart) {
  const listed = new Set(chart.top_posts.map(({ post_id }) => post_id));
  const unlisted = counts.filter(([id]) => !listed.has(id));
  let [asked, widest] = [0, 0];
  for (let index = 0; index < unlisted.length; index += STRIDE) {
    const [id, count] = unlisted[index];
    const post = await service.post(id, { timeframe: TIMEFRAME });
    const { view_count_min, view_count_max } = post;
    assert.ok(view_count_min <= count && count <= view_count_max, `${id} ${count}: ${view_count_min} to ${view_count_max}`);
    widest = Math.max(widest, view_count_max - view_count_min);
    asked++;
  }
  return { asked, widest };
}
