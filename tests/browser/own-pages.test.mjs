/** The pages as an installation's own, the operator's page, and wrong addresses. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { Service, eventually, readProblem } from "../runtime/harness.mjs";
import { launchChromium } from "./chromium.mjs";

const METRICS_TOKEN = "metrics-token-of-the-tests";
const HTML = { headers: { accept: "text/html,application/xhtml+xml" } };

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {Service} as it is from the start */
let usual;
/** @type {Service} with everything set */
let own;
before(async () => {
  browser = await launchChromium();
  [usual, own] = await Promise.all([
    Service.start({ METRICS_TOKEN, VOTES_PER_MINUTE: "3" }),
    Service.start({
      PAGE_TITLE: "Rock & <Roll>",
      PAGE_ACCENT: "#0a5bd8 #99ccff",
      PAGE_REGION: "EU",
      PAGE_TIMEFRAME: "7d",
      PAGE_FIGURES: "plays",
      PAGE_REGIONS: "false",
      TIME_ZONE: "Asia/Tokyo",
    }),
  ]);
  await own.send([
    { post_id: "song", region_id: "EU", count: 3 },
    { post_id: "other", region_id: "NA", count: 9 },
  ]);
  await eventually(async () => assert.equal((await own.topPosts({ timeframe: "7d" })).total_views, 12));
});
after(async () => {
  await browser?.close();
  await Promise.all([usual, own].map((service) => service?.dispose()));
});
afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
});

/** @param {Service} service @param {string} path @param {import("playwright-core").BrowserContextOptions} [options] */
async function open(service, path, options) {
  const page = await (await browser.newContext(options)).newPage();
  page.errors = [];
  page.on("pageerror", (error) => page.errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && !/404/.test(message.text()) && page.errors.push(message.text()));
  await page.goto(service.url + path);
  return page;
}

describe("a dashboard of one's own, from settings alone", () => {
  test("has its title, first view and figures, and no word of regions", async () => {
    const page = await open(own, "/");
    await eventually(async () =>
      assert.deepEqual(await page.locator('[data-testid="chart"] li').evaluateAll((rows) => rows.map((row) => row.dataset.postId)), [
        "song",
      ]),
    );
    assert.equal(await page.title(), "Top 10 \u00b7 Rock & <Roll>");
    assert.equal((await page.locator(".brand").innerText()).trim(), "Rock & <Roll>");
    assert.equal(await page.locator("h1").innerText(), "Top 10");
    assert.match(await page.locator("#explain").innerText(), /last 7 days/);
    assert.deepEqual(await page.locator(".figures dt:visible").allInnerTexts(), ["Plays in this window"]);
    for (const part of ["#region-choice", "#aside"]) assert.ok(await page.locator(part).isHidden(), part);
    await page.getByRole("link", { name: "song", exact: true }).click();
    await eventually(async () => assert.match(await page.locator("#post .figures").innerText(), /Plays, in the last 7 days\s+3/));
    assert.ok(await page.locator(".where").isHidden());
    assert.equal(new URL(page.url()).search, "?post=song");
    assert.deepEqual(page.errors, []);
  });

  test("has its zone's days and times, and without a zone each reader his own", async () => {
    const [today, abroad] = ["/?timeframe=today", { timezoneId: "America/New_York", locale: "en-US" }];
    const asked = (page) => page.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => name));
    const window = (page) => page.locator("#window").innerText();
    const page = await open(own, today, abroad);
    await eventually(async () => assert.match(await window(page), /^12:00 AM – .* GMT\+9$|^12:00 – .* AM GMT\+9$/));
    const charts = (await asked(page)).filter((url) => /timeframe=today/.test(url));
    assert.ok(charts.length > 0 && charts.every((url) => !/tz=/.test(url)), String(charts));
    // Whose clock shows the same needs no word of it.
    const there = await open(own, today, { ...abroad, timezoneId: "Asia/Tokyo" });
    await eventually(async () => assert.match(await window(there), /^12:00[^G]*$/));
    const usually = await open(usual, today, abroad);
    await eventually(async () => assert.match(String(await asked(usually)), /timeframe=today&tz=America%2FNew_York/));
    await eventually(async () => assert.match(await window(usually), /^12:00[^G]*$/));
    for (const { errors } of [page, there, usually]) assert.deepEqual(errors, []);
  });

  test("has its colour on light paper and on dark", async () => {
    for (const [colorScheme, accent] of [
      ["light", "#0a5bd8"],
      ["dark", "#99ccff"],
    ]) {
      const page = await open(own, "/widget.html", { colorScheme });
      assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).getPropertyValue("--accent").trim()), accent);
      assert.match(await page.title(), /Rock & <Roll>$/);
      assert.match(await page.locator("#code").innerText(), /style="--top-posts-accent: #0a5bd8"/);
    }
  });

  test("is asked about by its tag, and sent once", async () => {
    for (const path of ["/", "/page/own.js", "/page/own.css"]) {
      const first = await own.fetch(path);
      const etag = first.headers.get("etag");
      assert.ok(etag, path);
      assert.equal(first.headers.get("cache-control"), "no-cache");
      assert.equal((await own.fetch(path, { headers: { "if-none-match": etag } })).status, 304, path);
    }
  });

  test("without settings the files are as they were built", async () => {
    assert.match(await (await usual.fetch("/page/own.js")).text(), /Hitparade/);
    assert.match(await (await usual.fetch("/")).text(), /<title>Hitparade<\/title>/);
  });
});

describe("a wrong address", () => {
  test("answers a browser with a page, and a program with a problem", async () => {
    for (const path of ["/no/such/page", "/nothing.html", "/a.png"]) {
      const page = await usual.fetch(path, HTML);
      assert.equal(page.status, 404, path);
      assert.match(page.headers.get("content-type"), /^text\/html/);
      assert.equal(page.headers.get("vary"), "Accept");
      assert.match(page.headers.get("content-security-policy"), /default-src 'none'/);
      assert.match(await page.text(), /There is nothing here/);
      assert.equal((await readProblem(await usual.fetch(path), 404)).code, "not_found");
    }
    const again = await usual.fetch("/nowhere", { headers: { ...HTML.headers, "if-none-match": "*" } });
    assert.equal(again.status, 404);
    const page = await open(usual, "/no/such/page");
    await page.getByRole("link", { name: "To the chart" }).click();
    await eventually(async () => assert.equal(await page.locator("h1").innerText(), "Top 10 worldwide"));
  });
});

describe("a chart's links", () => {
  test("are the chart that is shown, as JSON and as CSV", async () => {
    const page = await open(own, "/?timeframe=24h");
    const [json, csv] = await Promise.all(["JSON", "CSV"].map((name) => page.getByRole("link", { name }).getAttribute("href")));
    const chart = await own.get(json.replace("./", "/"));
    assert.deepEqual([chart.region, chart.timeframe, chart.top_posts.length], ["EU", "24h", 1]);
    const file = await own.fetch(csv.replace("./", "/"), HTML);
    assert.match(file.headers.get("content-type"), /^text\/csv/);
    assert.match(await file.text(), /^rank,[^]*\n1,[^]*song/);
  });
});

describe("/status", () => {
  test("needs the key; says that all is well, and what was refused, by reason", { timeout: 120_000 }, async () => {
    for (let votes = 0; votes < 5; votes++) await usual.request("POST", "/plays", { post_id: "favourite" });
    await eventually(async () => {
      const figures = await (await usual.fetch("/metrics", { headers: { authorization: `Bearer ${METRICS_TOKEN}` } })).text();
      assert.match(figures, /hitparade_plays_total\{[^}]*\} 3/);
    });
    const page = await open(usual, "/status");
    await page.getByLabel("Key").fill("wrong");
    await page.getByRole("button").click();
    await eventually(async () => assert.match(await page.locator("#explain").innerText(), /The key is not the right one/));
    assert.ok(await page.locator("#figures").isHidden());
    await page.getByLabel("Key").fill(METRICS_TOKEN);
    await page.getByRole("button").click();
    await eventually(async () => assert.match(await page.locator("#verdict").innerText(), /^All is well$/));
    assert.equal(await page.locator("#checks li").count(), 5);
    assert.match(await page.locator("#checks").innerText(), /Plays taken\s+3 so far/i);
    assert.match(await page.locator("#refused").innerText(), /too_many_votes \(plays\)\s+0\s+2\s+One address plays one post/);
  });

  test("says what is wrong, and what helps", async () => {
    const page = await (await browser.newContext()).newPage();
    await page.route("**/healthz", (route) =>
      route.fulfill({ status: 503, json: { status: 503, detail: "a shard of NA cannot store plays" } }),
    );
    await page.route("**/metrics", (route) =>
      route.fulfill({
        body: 'hitparade_global_up 1\nhitparade_push_age_seconds{region="NA",shard="0"} 300\nhitparade_global_gaps_total 0\n',
      }),
    );
    await page.goto(`${usual.url}/status`);
    await eventually(async () => assert.equal(await page.locator("#verdict").innerText(), "Something is wrong"));
    assert.match(await page.locator("#explain").innerText(), /plays taken, pushed/);
    assert.match(await page.locator("#checks").innerText(), /cannot store plays[^]*5 min[^]*its log says why/);
  });
});
