/** Charts of a tag, of an author, of what is new: real departures by tag and region against exact counts. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { ADMIN_TOKEN, Service, eventually, readProblem } from "./harness.mjs";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const REGION_OF = { LGA: "NA", JFK: "EU", EWR: "EU" };
/** Told apart by what shows alone: of 日本 and of é in two forms of Unicode. */
const ODD_TAGS = ["日本", "e\u{301}", "\u{e9}", "__proto__", "100% & more"];

/** @type {Service} */
let service;
/** @type {{ post_id: string, region_id: string }[]} */
let plays;
/** @type {Map<string, { tags: string[], author: string, timestamp: number | null }>} */
const catalog = new Map();

before(async () => {
  service = await Service.start();
  const [, ...rows] = readFileSync(join(ROOT, "tests", "global_windows", "flights.tsv"), "utf8")
    .trimEnd()
    .split("\n");
  const from = Date.now() - 2 * 24 * HOUR_MS;
  plays = rows.map((row) => {
    const [minute, origin, destination] = row.split("\t");
    // About half of the ids are too long to be held in a counter.
    const post_id = destination < "M" ? destination : `a flight to the airport ${destination}`;
    return { post_id, region_id: REGION_OF[origin], timestamp: from + Number(minute) * MINUTE_MS };
  });
  for (const [place, post_id] of [...new Set(plays.map((play) => play.post_id))].entries()) {
    const published = [null, Date.now() - 30 * MINUTE_MS, Date.now() - 3 * 24 * HOUR_MS, Date.now() - 100 * 24 * HOUR_MS][place % 4];
    const tags = [`letter ${post_id.at(-3)}`, place % 3 ? "even" : "third", ODD_TAGS[place % ODD_TAGS.length]].sort();
    catalog.set(post_id, { tags, author: `captain ${place % 7}`, timestamp: published });
  }
  const posts = [...catalog].map(([post_id, entry]) => ({ post_id, ...entry }));
  const stored = await (await service.put("/posts", posts)).json();
  assert.deepEqual(stored, { stored: posts.length, rejected: [] });
  await service.send(plays);
  await eventually(async () => assert.equal((await service.topPosts({ timeframe: "7d" })).total_views, plays.length));
});
after(() => service?.dispose());

const letters = () => [...new Set([...catalog.values()].map(({ tags }) => tags.find((tag) => tag.startsWith("letter "))))];

/** What the chart should be. @param {string} region @param {(entry: { tags: string[], author: string, timestamp: number | null }) => boolean} isOne */
function expected(region, isOne) {
  const counts = new Map();
  for (const { post_id, region_id } of plays)
    if ((region === "global" || region_id === region) && isOne(catalog.get(post_id))) counts.set(post_id, (counts.get(post_id) ?? 0) + 1);
  return [...counts].sort(([a, m], [b, n]) => n - m || Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** @param {Record<string, string>} filter @param {Parameters<typeof expected>[1]} isOne */
async function check(filter, isOne) {
  for (const region of ["global", "NA", "EU"]) {
    const chart = await service.topPosts({ region, timeframe: "7d", k: 1_000, ...filter });
    const all = expected(region, isOne);
    assert.deepEqual(
      chart.top_posts.map(({ post_id, view_count_min, view_count_max }) => [post_id, view_count_min, view_count_max]),
      all.slice(0, 1_000).map(([post_id, count]) => [post_id, count, count]),
      `${JSON.stringify(filter)} ${region}`,
    );
    assert.equal(chart.unlisted_max, all[1_000]?.[1] ?? 0);
    assert.equal(chart.total_views, plays.filter(({ region_id }) => region === "global" || region_id === region).length);
    for (const { post_id, tags } of chart.top_posts) assert.deepEqual(tags, catalog.get(post_id).tags);
  }
}

test("the chart of each tag, in each region, has exactly its posts with exactly their counts", async () => {
  for (const letter of letters()) await check({ tag: letter }, ({ tags }) => tags.includes(letter));
});

test("what is asked for together holds together, and odd tags are told apart byte for byte", async () => {
  for (const odd of ODD_TAGS) await check({ tag: odd }, ({ tags }) => tags.includes(odd));
  await check({ tag: "letter M,third" }, ({ tags }) => tags.includes("letter M") && tags.includes("third"));
  await check({ exclude_tag: "letter M,third" }, ({ tags }) => !tags.includes("letter M") && !tags.includes("third"));
  await check(
    { tag: "even", exclude_tag: "letter M", author: "captain 3" },
    ({ tags, author }) => tags.includes("even") && !tags.includes("letter M") && author === "captain 3",
  );
  const isNew = ({ timestamp }) => timestamp !== null && timestamp > Date.now() - 7 * 24 * HOUR_MS;
  await check({ published: "7d" }, isNew);
  await check({ published: "2h" }, ({ timestamp }) => timestamp !== null && timestamp > Date.now() - 2 * HOUR_MS);
  await check({ published: "7d", tag: "third" }, (entry) => isNew(entry) && entry.tags.includes("third"));
  await check({ tag: "nobody has it" }, () => false);
});

test("the answer says which filter it is of, whatever order it was asked in, and one is not passed off as another", async () => {
  const url = "/top-posts?timeframe=7d&k=5";
  const ask = async (query) => {
    const answer = await service.fetch(`${url}&${query}`);
    return { etag: answer.headers.get("etag"), chart: await answer.json() };
  };
  const one = await ask("tag=third,letter%20M&published=7d&exclude_tag=x");
  assert.deepEqual(one.chart.filter, { tag: ["letter M", "third"], exclude_tag: ["x"], published: "7d" });
  const again = await ask("exclude_tag=x&tag=letter%20M&published=168h&tag=%20third");
  assert.deepEqual([again.etag, again.chart.filter], [one.etag, one.chart.filter]);
  const all = await ask("");
  assert.equal(all.chart.filter, undefined);
  assert.notEqual(all.etag, one.etag);
  const unchanged = await service.fetch(`${url}&tag=third,letter%20M&published=7d&exclude_tag=x`, {
    headers: { "if-none-match": one.etag },
  });
  assert.equal(unchanged.status, 304);
});

test("every order and every form has the filter's posts alone", async () => {
  const isOne = (post_id) => catalog.get(post_id)?.tags.includes("letter M");
  for (const sort of ["views", "rising", "distinctive"]) {
    const { top_posts } = await service.topPosts({ region: "NA", timeframe: "24h", sort, tag: "letter M", k: 100 });
    assert.ok(sort !== "views" || top_posts.length > 0);
    for (const { post_id } of top_posts) assert.ok(isOne(post_id), `${sort}: ${post_id}`);
  }
  const lines = await (await service.fetch("/top-posts?timeframe=7d&tag=letter%20M&format=ndjson")).text();
  for (const line of lines.trimEnd().split("\n")) assert.ok(isOne(JSON.parse(line).post_id));
  const csv = await (await service.fetch("/top-posts?timeframe=7d&tag=letter%20M&format=csv")).text();
  const [, ...rows] = csv.trimEnd().split("\r\n");
  assert.ok(rows.length > 3);
  for (const row of rows) assert.ok(isOne(row.split(",")[2]), row);
});

test("a socket shows the filter's chart, also one with the longest filter there is", async () => {
  const long = (letter, bytes) => letter.repeat(bytes);
  const longest = {
    tag: ["a", "b", "c", "d"].map((letter) => long(letter, 64)).join(","),
    exclude_tag: [long("e", 64), long("f", 64)].join(","),
    author: long("g", 256),
    published: "400d",
  };
  for (const filter of [{ tag: "letter M" }, longest]) {
    const query = new URLSearchParams({ timeframe: "7d", ...filter });
    const socket = new WebSocket(`${service.url.replace("http", "ws")}/live?${query}`);
    const [{ data }] = await once(socket, "message");
    const { as_of: _, ...chart } = JSON.parse(data);
    const { as_of: __, ...asked } = await service.topPosts({ timeframe: "7d", ...filter });
    assert.deepEqual(chart, asked);
    socket.close();
  }
});

test("a changed tag, a hidden post and an erased one are in charts within 10 s, and after a restart", async () => {
  const first = async () => (await service.topPosts({ timeframe: "7d", tag: "letter M", k: 3 })).top_posts.map(({ post_id }) => post_id);
  const [one, two, three] = await first();
  assert.equal((await service.put(`/posts/${encodeURIComponent(one)}`, { tags: ["moved"] })).status, 200);
  const remove = (id, query = "") =>
    service.fetch(`/posts/${encodeURIComponent(id)}${query}`, { method: "DELETE", headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
  assert.equal((await remove(two)).status, 200);
  const erased = await (await remove(three, "?erase=true")).json();
  assert.deepEqual([erased.tags, erased.timestamp], [[], null]);
  const isMoved = async () => {
    const now = await first();
    assert.ok(![one, two, three].some((id) => now.includes(id)), String(now));
    const { top_posts } = await service.topPosts({ timeframe: "7d", tag: "moved" });
    assert.deepEqual(
      top_posts.map(({ post_id }) => post_id),
      [one],
    );
  };
  await eventually(isMoved);
  await service.kill();
  await service.launch();
  await eventually(isMoved);
});

test("after counting began anew filters are built anew", async () => {
  const headers = { authorization: `Bearer ${ADMIN_TOKEN}`, "content-type": "application/json" };
  const { installation_id } = await service.get("/admin", { headers });
  assert.equal((await service.request("POST", "/admin/reset", { installation_id }, headers)).status, 200);
  const [long] = [...catalog].find(([post_id, { tags }]) => post_id.length > 16 && tags.includes("letter S"));
  await service.send([{ post_id: long, region_id: "NA", count: 3 }]);
  await eventually(async () => {
    const { top_posts } = await service.topPosts({ timeframe: "1h", tag: "letter S" });
    assert.deepEqual(
      top_posts.map(({ post_id, view_count }) => [post_id, view_count]),
      [[long, 3]],
    );
  });
});

test("what contradicts itself or cannot be is told what is wrong", async () => {
  for (const [query, says] of [
    ["tag=", "1 to 64 bytes"],
    ["tag=a,,b", "1 to 64 bytes"],
    [`tag=${"x".repeat(65)}`, "1 to 64 bytes"],
    ["tag=a,b,c,d,e", "at most 4"],
    ["exclude_tag=a,b,c", "at most 2"],
    ["tag=a&exclude_tag=a", "both name"],
    ["author=a&author=b", "given once"],
    ["published=30m", "<n>h or <n>d"],
    ["published=401d", "400d"],
    ["category=jazz", "tag=jazz"],
  ]) {
    for (const path of ["/top-posts", "/live"]) {
      const problem = await readProblem(await service.fetch(`${path}?${query}`), 400);
      assert.equal(problem.code, "bad_filter", query);
      assert.ok(problem.detail.includes(says), `${query}: ${problem.detail}`);
    }
  }
  for (const tags of [["a,b"], [""], ["x".repeat(65)], ["a\nb"], Array.from({ length: 17 }, (_, tag) => String(tag)), "jazz", [7]]) {
    const problem = await readProblem(await service.put("/posts/x", { tags }), 400);
    assert.match(problem.code, /^(bad_post|malformed_body)$/, JSON.stringify(tags));
  }
});
