/** What moves and what is special here, among two days of real departures that end now. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { Service, eventually } from "./harness.mjs";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const REGION_OF = { LGA: "NA", JFK: "EU", EWR: "EU" };

/** @type {Service} */
let service;
/** Departures by region. */
const flights = { NA: 0, EU: 0 };

before(async () => {
  service = await Service.start();
  const [, ...rows] = readFileSync(join(ROOT, "tests", "global_windows", "flights.tsv"), "utf8")
    .trimEnd()
    .split("\n");
  const from = Date.now() - 2 * 24 * HOUR_MS;
  const plays = rows.map((row) => {
    const [minute, origin, post_id] = row.split("\t");
    flights[REGION_OF[origin]]++;
    return { post_id, region_id: REGION_OF[origin], timestamp: from + Number(minute) * MINUTE_MS };
  });
  await service.send(plays);
  const { length } = plays;
  await eventually(async () => assert.equal((await service.topPosts({ timeframe: "7d" })).total_views, length));
});
after(() => service?.dispose());

const chart = (question) => service.topPosts({ timeframe: "24h", ...question });
const ids = ({ top_posts }) => top_posts.map(({ post_id }) => post_id);
const plant = (post_id, region_id, count) => service.send([{ post_id, region_id, count }]);

test("a planted riser comes first, with the figures that put it there, and only where it was played", async () => {
  assert.ok(!ids(await chart({ region: "NA", sort: "rising" })).includes("riser"));
  await plant("riser", "NA", 120);
  for (const region of ["NA", "global"]) {
    const { top_posts } = await eventually(async () => {
      const found = await chart({ region, sort: "rising" });
      assert.equal(found.top_posts[0]?.post_id, "riser");
      return found;
    });
    const [{ previous_rank, view_count, compared }] = top_posts;
    assert.deepEqual([previous_rank, view_count, compared.view_count, compared.view_count_max], [null, 120, 0, 0]);
    assert.ok(
      compared.times > 1 && top_posts.every((row, index) => index === 0 || row.compared.times <= top_posts[index - 1].compared.times),
    );
  }
  assert.ok(!ids(await chart({ region: "EU", sort: "rising" })).includes("riser"));
});

test("a planted local favourite is the most distinctive there, and nowhere else", async () => {
  const most = (await chart({ region: "global", k: 1 })).top_posts[0].view_count;
  await plant("favourite", "EU", most);
  await eventually(async () => {
    const [first] = (await chart({ region: "EU", sort: "distinctive" })).top_posts;
    assert.equal(first?.post_id, "favourite");
    assert.deepEqual([first.view_count, first.compared.view_count], [most, 0]);
  });
  assert.ok(!ids(await chart({ region: "NA", sort: "distinctive" })).includes("favourite"));
});

test("every sort says where its posts were in the window before", async () => {
  for (const sort of ["views", "rising", "distinctive"]) {
    // Both windows lie in the past, on the panes' edges: neither changes while they are compared.
    const day = (back) => new Date(Math.floor(Date.now() / HOUR_MS) * HOUR_MS - back * 12 * HOUR_MS).toISOString();
    const question = { region: "NA", sort, k: 1000 };
    const now = await service.topPosts({ ...question, from: day(1), to: day(0) });
    const before = await service.topPosts({ ...question, from: day(2), to: day(1) });
    const ranks = new Map(before.top_posts.map(({ post_id, rank }) => [post_id, rank]));
    for (const { post_id, previous_rank } of now.top_posts) {
      assert.equal(previous_rank, ranks.get(post_id) ?? null, `${sort}: ${post_id}`);
    }
    if (sort === "views") assert.ok(now.top_posts.some(({ previous_rank }) => previous_rank !== null));
  }
});

test("a post's page adds up: over time and over regions", async () => {
  const { top_posts } = await chart({ region: "global", timeframe: "7d", k: 20 });
  for (const { post_id, rank, view_count } of top_posts) {
    const post = await service.post(post_id, { timeframe: "7d" });
    assert.deepEqual([post.view_count, post.rank], [view_count, rank]);
    const sum = (parts) => parts.reduce((all, part) => all + part.view_count, 0);
    assert.equal(sum(post.series), view_count, `${post_id} over time`);
    assert.equal(sum(post.regions), view_count, `${post_id} over regions`);
    for (const { region_id, view_count } of post.regions) {
      const here = await service.post(post_id, { region: region_id, timeframe: "7d" });
      assert.deepEqual([here.view_count, sum(here.series)], [view_count, view_count], `${post_id} in ${region_id}`);
    }
  }
});
