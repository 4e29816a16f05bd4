/** Tags, authors and what is new, chosen on the page and in the widget, in a real browser. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Service, eventually } from "../runtime/harness.mjs";
import { launchChromium } from "./chromium.mjs";

const ROWS = '[data-testid="chart"] li[data-post-id]';
const HOSTILE_TAG = '<img src=x onerror="pwned=1">';
const DAY_MS = 86_400_000;

/** @type {Service} */
let service;
/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  service = await Service.start();
  browser = await launchChromium();
  const posts = [
    {
      post_id: "both",
      content: "Both",
      author: "Somebody",
      tags: ["jazz", "live"],
      timestamp: new Date(Date.now() - 2 * DAY_MS).toISOString(),
    },
    {
      post_id: "jazz",
      content: "Jazz",
      author: "Nobody & Co",
      tags: ["jazz", HOSTILE_TAG],
      timestamp: new Date(Date.now() - 20 * DAY_MS).toISOString(),
    },
    { post_id: "live", content: "Live", tags: ["live"] },
    { post_id: "plain", content: "Plain" },
  ];
  assert.equal((await service.put("/posts", posts)).status, 200);
  await service.send(
    posts.map(({ post_id }, place) => ({ post_id, region_id: post_id === "plain" ? "EU" : "NA", count: 40 - 10 * place })),
  );
  await eventually(async () => assert.equal((await service.topPosts({ timeframe: "24h" })).top_posts.length, 4));
  await eventually(async () => assert.equal((await service.topPosts({ region: "EU", timeframe: "24h" })).top_posts.length, 1));
});
after(async () => {
  await browser?.close();
  await service?.dispose();
});

/** @param {string} path */
async function open(path) {
  const page = await browser.newPage();
  page.errors = [];
  page.scripts = [];
  page.on("pageerror", (error) => page.errors.push(error.message));
  page.on("request", (request) => page.scripts.push(new URL(request.url()).pathname));
  await page.goto(service.url + path);
  return page;
}
const ids = (page) => page.locator(ROWS).evaluateAll((list) => list.map((row) => row.dataset.postId));
const shows = (page, expected) => eventually(async () => assert.deepEqual(await ids(page), expected));
const chips = (page) =>
  page.locator("#filters .chip").evaluateAll((list) => list.map((chip) => (chip.ariaPressed === "true" ? "+" : "") + chip.textContent));
const chip = (page, name) => page.locator("#filters").getByRole("button", { name, exact: true });

test("tags of the posts shown are chips: one chooses them, together, and takes them away again", { timeout: 120_000 }, async () => {
  const page = await open("/");
  await shows(page, ["both", "jazz", "live", "plain"]);
  await eventually(async () => assert.deepEqual(await chips(page), ["jazz", "live", HOSTILE_TAG]));
  await chip(page, "jazz").click();
  await shows(page, ["both", "jazz"]);
  assert.equal(new URL(page.url()).search, "?tag=jazz");
  assert.equal(await page.locator("#headline").innerText(), "Top 10 worldwide · jazz");
  assert.equal(await page.locator("#figures dt").first().innerText(), "Plays of all posts");
  await eventually(async () => assert.equal(await page.locator("#total").innerText(), "100"));
  assert.match(await page.locator("#footnote").innerText(), /^All counts are exact\. No other one of these posts was played/);
  assert.match(await page.locator("#as-csv").getAttribute("href"), /[?&]tag=jazz&format=csv$/);

  // By keyboard, and the chip keeps the focus.
  await chip(page, "live").focus();
  await page.keyboard.press("Enter");
  await shows(page, ["both"]);
  assert.equal(new URL(page.url()).searchParams.get("tag"), "jazz,live");
  await eventually(async () => assert.deepEqual((await chips(page)).slice(0, 2), ["+jazz", "+live"]));
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "live");
  await chip(page, "jazz").click();
  await shows(page, ["both", "live"]);
  await page.goBack();
  await shows(page, ["both"]);
  await chip(page, "jazz").click();
  await chip(page, "live").click();
  await shows(page, ["both", "jazz", "live", "plain"]);
  assert.equal(new URL(page.url()).search, "");

  // A tag is text, whatever it says.
  await chip(page, HOSTILE_TAG).click();
  await shows(page, ["jazz"]);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  assert.equal(await page.locator("main img").count(), 0);
  assert.deepEqual(page.errors, []);
  await page.close();
});

test("what is new is chosen beside them, and a choice that leaves nothing leads back", async () => {
  const page = await open("/?tag=jazz");
  await shows(page, ["both", "jazz"]);
  await page.getByLabel("How new the posts are").selectOption("7d");
  await shows(page, ["both"]);
  assert.match(await page.locator("#explain").innerText(), /^Most played in the last 24 hours\. Of posts published in the last 7 days\.$/);
  await page.getByLabel("How new the posts are").selectOption("24h");
  await page.getByRole("button", { name: "Show all posts" }).click();
  await shows(page, ["both", "jazz", "live", "plain"]);
  await page.goto(`${service.url}/?tag=a&exclude_tag=a`);
  await eventually(async () => assert.match(await page.locator("#panel").innerText(), /both name "a"/));
  await page.close();
});

test("a post's page leads to the charts of its tags and of its author", async () => {
  const page = await open("/?post=jazz");
  await page.locator("#post .chip").first().waitFor();
  assert.deepEqual(await page.locator("#post .chip").allInnerTexts(), [HOSTILE_TAG, "jazz"]);
  await page.getByRole("link", { name: "Nobody & Co" }).click();
  await shows(page, ["jazz"]);
  assert.equal(new URL(page.url()).searchParams.get("author"), "Nobody & Co");
  await eventually(async () => assert.deepEqual((await chips(page))[0], "+by Nobody & Co"));
  await page.close();
});

test("where no post has a tag there is nothing to choose, and nothing is loaded for it", async () => {
  const page = await open("/?region=EU");
  await shows(page, ["plain"]);
  assert.equal(await page.locator("#filters").isVisible(), false);
  assert.ok(!page.scripts.includes("/page/filters.js"), String(page.scripts));
  await page.close();
});

test("the widget shows the chart of a tag, and its page writes the line", async () => {
  const page = await open("/widget.html");
  await page.getByLabel("Tags").fill("jazz");
  await page.getByLabel("Published").selectOption("7d");
  await eventually(async () => assert.match(await page.locator("#preview ol").innerText(), /^1\s+Both\s+Somebody\s+40$/));
  assert.match(await page.locator("#code").innerText(), / tag="jazz" published="7d"/);
  await page.getByLabel("Published").selectOption("");
  await page.getByLabel("Author").fill("Nobody & Co");
  await eventually(async () => assert.match(await page.locator("#preview ol").innerText(), /^1\s+Jazz\s+Nobody & Co\s+30$/));
  await page.locator("#preview").evaluate((widget) => widget.setAttribute("exclude-tag", "jazz"));
  await page.locator("#preview").evaluate((widget) => widget.removeAttribute("tag"));
  await eventually(async () => assert.match(await page.locator("#preview p").innerText(), /^No post to show\.$/));
  await page.close();
});
