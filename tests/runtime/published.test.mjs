/** Published charts on the real runtime: closed on request, shown in every form, and as they were. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ADMIN_TOKEN, INGEST_TOKEN, Service, eventually } from "./harness.mjs";

const DAY_MS = 24 * 3_600_000;
const ADMIN = { authorization: `Bearer ${ADMIN_TOKEN}` };
const BROWSER = { accept: "text/html,application/xhtml+xml,*/*;q=0.8", "user-agent": "Mozilla/5.0" };
const TITLE = `</title><script>alert("1")</script> & 'Ä'`;
/** Noon of the last Wednesday that is over for a week: of the week before the last. */
const WEDNESDAY_MS = Math.floor((Date.now() / DAY_MS - 6) / 7) * 7 * DAY_MS + 6 * DAY_MS - 7 * DAY_MS + DAY_MS / 2;

/** @type {Service} */
let service;
before(async () => {
  service = await Service.start({
    IMAGE_ORIGINS: "https://img.example https://b.example",
    PAGE_TITLE: "Tom & Jerry's",
    NORMALISE_IDS: "true",
  });
  await service.put("/posts/first", { content: TITLE, author: "A <b>", image: "https://img.example/1.png" });
  await service.put(
    "/posts",
    ["second", "third", "hidden"].map((post_id) => ({ post_id, content: post_id })),
  );
  const week = (weeks_ago, counts, region_id = "NA") =>
    Object.entries(counts).map(([post_id, count]) => ({
      post_id,
      region_id,
      count,
      timestamp: WEDNESDAY_MS - 7 * weeks_ago * DAY_MS,
    }));
  await service.send([
    ...week(3, { first: 10, second: 20, third: 5 }),
    ...week(2, { second: 20, third: 25 }),
    ...week(1, { first: 30, second: 20, third: 10, hidden: 25 }),
    ...week(1, { third: 7 }, "EU"),
  ]);
  // What was acknowledged a moment ago is waited for: nobody is told that all is done before.
  const first = await closeCharts(service);
  assert.equal(first.done, false);
  assert.deepEqual([first.closed, first.periods_waiting], [0, first.periods_left]);
  // Every shard tells an export what it has, and all of it is folded.
  await exportAll(service);
  await eventually(async () => assert.equal((await closeCharts(service)).done, true), 60_000);
});
after(() => service?.dispose());

/** @param {Service} service */
async function exportAll(service) {
  const lines = [];
  for (let next = "/export"; next;) {
    const answer = await service.fetch(next, { headers: ADMIN });
    if (answer.status === 503) continue;
    assert.equal(answer.status, 200);
    lines.push(...(await answer.text()).trimEnd().split("\n"));
    next = /<([^>]+)>/.exec(answer.headers.get("link") ?? "")?.[1] ?? "";
  }
  return lines.filter(Boolean).map((line) => JSON.parse(line));
}

/** @param {Service} service */
const closeCharts = async (service) => (await service.request("POST", "/admin/close-charts", "", ADMIN)).json();

/** The name of the week of a moment, as ISO 8601 has it. */
function weekOf(ms) {
  const thursday = new Date(ms - ((new Date(ms).getUTCDay() + 6) % 7) * DAY_MS + 3 * DAY_MS);
  const first = Date.UTC(thursday.getUTCFullYear(), 0, 1);
  const week = Math.floor((thursday.getTime() - first) / (7 * DAY_MS)) + 1;
  return `${thursday.getUTCFullYear()}-W${String(week).padStart(2, "0")}`;
}
const WEEK = weekOf(WEDNESDAY_MS - 7 * DAY_MS);

test("a week's chart has ranks, counts and the run of each post", async () => {
  const chart = await service.get(`/charts/week/${WEEK}`);
  assert.deepEqual([chart.period, chart.timeframe, chart.region, chart.time_zone], [WEEK, "week", "global", "UTC"]);
  assert.deepEqual([chart.earlier, chart.later], [weekOf(WEDNESDAY_MS - 14 * DAY_MS), null]);
  assert.equal(chart.total_views, 92);
  const told = chart.top_posts.map((row) => [
    row.rank,
    row.post_id,
    row.view_count,
    row.previous_rank,
    row.peak_rank,
    row.periods,
    row.streak,
  ]);
  assert.deepEqual(told, [
    [1, "first", 30, null, 1, 2, 1],
    [2, "hidden", 25, null, 2, 1, 1],
    [3, "second", 20, 2, 1, 3, 3],
    [4, "third", 17, 1, 1, 3, 3],
  ]);
  assert.deepEqual(
    chart.top_posts.map((row) => [row.re_entry, row.debut]),
    [
      [true, weekOf(WEDNESDAY_MS - 21 * DAY_MS)],
      [false, WEEK],
      [false, weekOf(WEDNESDAY_MS - 21 * DAY_MS)],
      [false, weekOf(WEDNESDAY_MS - 21 * DAY_MS)],
    ],
  );
  const europe = await service.get(`/charts/week/${WEEK}?region=EU`);
  assert.deepEqual(
    europe.top_posts.map((row) => [row.post_id, row.view_count, row.periods]),
    [["third", 7, 1]],
  );
  const latest = await service.get("/charts/week/latest?k=1");
  assert.deepEqual([latest.period, latest.top_posts.length], [WEEK, 1]);
  const day = new Date(WEDNESDAY_MS - 7 * DAY_MS).toISOString().slice(0, 10);
  assert.equal((await service.get(`/charts/day/${day}`)).total_views, 92);
});

test("it comes as CSV and lines, and is not sent again where it is known", async () => {
  const csv = await (await service.fetch(`/charts/week/${WEEK}?format=csv`)).text();
  assert.match(csv, /certain,peak_rank,periods,streak,debut,re_entry\r\n1,,first,/);
  const lines = await (await service.fetch(`/charts/week/${WEEK}`, { headers: { accept: "application/x-ndjson" } })).text();
  assert.equal(lines.trimEnd().split("\n").length, 4);
  const first = await service.fetch(`/charts/week/${WEEK}`);
  assert.match(first.headers.get("cache-control") ?? "", /^public, max-age=\d$/);
  const etag = first.headers.get("etag") ?? "";
  const again = await service.fetch(`/charts/week/${WEEK}`, { headers: { "if-none-match": etag } });
  assert.equal(again.status, 304);
});

test("asked for again it comes from the Worker's door, and bots get its page all the same", async () => {
  const path = `/charts/week/${WEEK}?k=3`;
  const figures = async () => {
    const metrics = await service.readMetrics();
    return ["door", "memory"].map((from) => metrics.get(`hitparade_charts_total{from="${from}"}`) ?? 0);
  };
  const times = 200;
  const [door, memory] = await figures();
  const first = await (await service.fetch(path)).text();
  for (let time = 0; time < times; time++) {
    const answer = await service.fetch(path);
    assert.equal(answer.headers.get("vary"), "Accept, User-Agent");
    assert.equal(await answer.text(), first);
    const page = await service.fetch(path, { headers: { "user-agent": "facebookexternalhit/1.1" } });
    assert.match(page.headers.get("content-type") ?? "", /^text\/html/);
    await page.text();
  }
  const [doorAfter, memoryAfter] = await figures();
  // Once a second one goes on, to ask for a newer one.
  assert.ok(doorAfter - door > 0.8 * times, `${doorAfter - door} of ${times} came from the door, ${memoryAfter - memory} from memory`);
});

test("lists tell which there are, page by page, and a post's run", async () => {
  const list = await service.get("/charts/week?limit=2");
  assert.deepEqual(
    list.charts.map(({ period, total_views, top_post }) => [period, total_views, top_post.post_id]),
    [
      [WEEK, 92, "first"],
      [weekOf(WEDNESDAY_MS - 14 * DAY_MS), 45, "third"],
    ],
  );
  const rest = await service.get(list.next);
  assert.deepEqual([rest.charts.length, rest.next], [1, null]);
  const run = await service.get("/charts/week?post_id=first");
  assert.deepEqual(
    run.charts.map(({ period, post }) => [period, post.rank, post.periods]),
    [
      [WEEK, 1, 2],
      [weekOf(WEDNESDAY_MS - 21 * DAY_MS), 2, 1],
    ],
  );
  // One that looks like it is the same post.
  assert.deepEqual(await service.get(`/charts/week?post_id=${encodeURIComponent(" fi\u200brst")}`), run);
  assert.deepEqual((await service.get("/charts/month?post_id=unheard-of")).charts, []);
});

test("feeds have the charts as text", async () => {
  const answer = await service.fetch("/charts/week/feed.json");
  assert.match(answer.headers.get("content-type") ?? "", /^application\/feed\+json/);
  const feed = await answer.json();
  assert.equal(feed.version, "https://jsonfeed.org/version/1.1");
  assert.equal(feed.items.length, 3);
  assert.equal(feed.items[0].url, `${service.url}/charts/week/${WEEK}`);
  assert.ok(feed.items[0].content_text.startsWith(`1. ${TITLE} – A <b> (back, peak 1)\n`), feed.items[0].content_text);
  const atom = await (await service.fetch("/charts/week/feed.atom?region=NA")).text();
  assert.match(atom, /^<\?xml/);
  assert.equal(atom.match(/<entry>/g)?.length, 3);
  assert.ok(!atom.includes("<script>") && atom.includes("&lt;script&gt;"));
});

test("browsers and previews get a page whose head tells of the chart, as text", async () => {
  const path = `/charts/week/${WEEK}`;
  for (const headers of [BROWSER, { accept: "*/*", "user-agent": "facebookexternalhit/1.1" }, { "user-agent": "WhatsApp/2.23" }]) {
    const page = await service.fetch(path, { headers });
    assert.match(page.headers.get("content-type") ?? "", /^text\/html/);
    assert.equal(page.headers.get("vary"), "Accept, User-Agent, X-Forwarded-Proto");
    const html = await page.text();
    assert.ok(!html.includes("<script>alert"), html);
    const [, title] = /<title>([^<]*)<\/title>/.exec(html) ?? [];
    assert.match(title, /^Week \d+ of \d{4} · Tom &amp; Jerry&#39;s$/);
    assert.match(html, /<meta property="og:description" content="1 &lt;\/title&gt;&lt;script&gt;alert\(&quot;1&quot;\)/);
    assert.ok(html.includes(`<meta property="og:image" content="${service.url}/preview.png">`));
    assert.ok(html.includes(`<link rel="canonical" href="${service.url}${path}">`));
  }
  // A proxy ends TLS and says so; whatever else it says is no scheme of ours.
  const { host } = new URL(service.url);
  for (const [scheme, shown] of [
    ["https", "https"],
    ["http", "http"],
    ["gopher", "http"],
    ['https://evil.example/"><b', "http"],
  ]) {
    const behind = await service.fetch(path, { headers: { ...BROWSER, "x-forwarded-proto": scheme } });
    assert.equal(behind.status, 200, scheme);
    assert.ok((await behind.text()).includes(`<link rel="canonical" href="${shown}://${host}${path}">`), scheme);
  }
  const page = await service.fetch(path, { headers: BROWSER });
  assert.match(page.headers.get("content-security-policy") ?? "", /img-src 'self' data: https:\/\/img\.example https:\/\/b\.example/);
  const again = await service.fetch(path, { headers: { ...BROWSER, "if-none-match": page.headers.get("etag") ?? "" } });
  assert.equal(again.status, 304);
  const picture = await service.fetch("/preview.png");
  assert.equal(picture.headers.get("content-type"), "image/png");
  const latest = await service.fetch("/charts/week/latest?region=NA", { headers: BROWSER, redirect: "manual" });
  assert.deepEqual([latest.status, latest.headers.get("location")], [302, `${WEEK}?region=NA`]);
  for (const nowhere of [
    "/charts/week/2001-W01",
    "/charts/week/latest?board=typo",
    `${path}?board=typo`,
    "/charts/year/2026",
    "/charts/year",
  ]) {
    const missing = await service.fetch(nowhere, { headers: BROWSER });
    assert.deepEqual([missing.status, missing.headers.get("content-type")], [404, "text/html; charset=utf-8"], nowhere);
  }
  assert.equal((await service.fetch("/charts/week", { headers: BROWSER })).headers.get("content-type"), "text/html; charset=utf-8");
  assert.equal(
    (await service.fetch(path, { headers: { "user-agent": "curl/8.5.0", accept: "*/*" } })).headers.get("content-type"),
    "application/json",
  );
});

test("what is not there says why, and what is wrong how it is right", async () => {
  const told = async (path) => {
    const answer = await service.fetch(path);
    const { code, detail, closes_at } = await answer.json();
    return { status: answer.status, code, detail, closes_at };
  };
  const now = await told(`/charts/week/${weekOf(Date.now())}`);
  assert.deepEqual([now.status, now.code], [404, "no_chart"]);
  assert.match(now.detail, /not over|not closed/);
  assert.ok(Date.parse(now.closes_at) > Date.now());
  for (const [path, status, code, says] of /** @type {const} */ ([
    ["/charts/week/2099-W01", 404, "no_chart", /not begun/],
    ["/charts/week/1970-W01", 404, "no_chart", /nothing was played[^]*POST \/admin\/close-charts/],
    ["/charts/week/latest?tag=jazz", 400, "bad_filter", /\/top-posts\?timeframe=last-week&tag=/],
    ["/charts/day?sort=rising", 400, "bad_sort", /\/top-posts\?timeframe=yesterday&sort=/],
    ["/charts/month/feed.json?timeframe=7d", 400, "bad_timeframe", /\/top-posts\?timeframe=last-month$/],
    ["/charts/week/2026-W54", 400, "bad_period", /no such/],
    ["/charts/day/2026-02-30", 400, "bad_period", /no such/],
    ["/charts/week/2026-11", 400, "bad_period", /is a month/],
    ["/charts/week/soon", 400, "bad_period", /2026-W47/],
    ["/charts/year/2026", 404, "not_found", /day, week and month/],
    ["/charts/week/latest?region=Atlantis", 404, "unknown_region", /region/],
    ["/charts/week/latest?k=101", 400, "bad_k", /1 to 100/],
    ["/charts/week?before=latest", 400, "bad_period", /before/],
    ["/charts/week?limit=0", 400, "bad_limit", /1 to 100/],
  ])) {
    const problem = await told(path);
    assert.deepEqual([problem.status, problem.code], [status, code], path);
    assert.match(problem.detail, says, path);
  }
  for (const [headers, says] of /** @type {const} */ ([
    [{}, /send Authorization: Bearer with ADMIN_TOKEN$/],
    [{ authorization: `Bearer ${INGEST_TOKEN}` }, /this token is none of ADMIN_TOKEN here/],
  ])) {
    const answer = await service.request("POST", "/admin/close-charts", "", headers);
    assert.equal(answer.status, 401);
    assert.match((await answer.json()).detail, says);
  }
  const boards = await service.request("GET", "/boards", undefined, { authorization: "Bearer wrong" });
  assert.match((await boards.json()).detail, /none of READ_TOKEN or ADMIN_TOKEN here/);
});

test("late plays change nothing of it, and a post that is hidden leaves a gap", async () => {
  await service.send([{ post_id: "second", region_id: "NA", count: 1_000, timestamp: WEDNESDAY_MS - 7 * DAY_MS }]);
  await exportAll(service);
  assert.deepEqual(await closeCharts(service), { closed: 0, periods_left: 0, periods_waiting: 0, done: true });
  await service.request("DELETE", "/posts/hidden", "", ADMIN);
  await eventually(async () => {
    const chart = await service.get(`/charts/week/${WEEK}`);
    assert.deepEqual(
      chart.top_posts.map((row) => [row.rank, row.post_id, row.view_count]),
      [
        [1, "first", 30],
        [3, "second", 20],
        [4, "third", 17],
      ],
    );
  }, 10_000);
});

test("charts go along with an export, and stay what they are", { timeout: 120_000 }, async () => {
  const lines = await exportAll(service);
  const charts = lines.filter((line) => line.kind === "chart");
  assert.ok(charts.some((line) => line.scope === "EU" && line.period === WEEK));
  const next = await Service.start();
  try {
    const [{ id, seed }] = lines;
    const body = lines.map((line) => JSON.stringify(line)).join("\n");
    const imported = await next.request("POST", `/import?id=${id}&seed=${seed}&row=0`, body, ADMIN);
    assert.deepEqual([imported.status, (await imported.json()).next_row], [200, lines.length]);
    const [here, there] = await Promise.all([service, next].map((service) => service.get(`/charts/week/${WEEK}`)));
    assert.deepEqual(there, here);
    assert.equal((await closeCharts(next)).closed, 0);
  } finally {
    await next.dispose();
  }
});
