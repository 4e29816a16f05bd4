/** Published charts in a real browser: a week, its list, a post's run, and the week on paper. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ADMIN_TOKEN, Service, eventually } from "../runtime/harness.mjs";
import { launchChromium } from "./chromium.mjs";

const DAY_MS = 24 * 3_600_000;
const ADMIN = { authorization: `Bearer ${ADMIN_TOKEN}` };
const WEEKS = 9;
const ROWS = '[data-testid="chart"] li[data-post-id]';
/** Where pictures are put for whoever wants to look at them. */
const PICTURES = process.env.PICTURES;

/** @type {Service} */
let service;
/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  service = await Service.start({ LIMIT_PER_MINUTE: "0" });
  browser = await launchChromium();
  const posts = Array.from({ length: 40 }, (_, post) => ({
    post_id: `post-${post}`,
    content: post === 3 ? "<b>Bold</b> & a very long title that goes on and on until nobody reads it any more" : `Song number ${post}`,
    author: `Artist ${post % 7}`,
  }));
  await service.put("/posts", posts);
  const plays = [];
  for (let week = 1; week <= WEEKS; week++) {
    for (const [post, { post_id }] of posts.entries()) {
      // One of them is off the chart for two weeks, and number one in others.
      if (post === 5 && (week === 4 || week === 5)) continue;
      const count = post === 5 && week < 4 ? 2_000 : 1_000 - ((post * 17 + week * 29 * (1 + (post % 3))) % 700);
      plays.push({ post_id, region_id: post % 2 ? "EU" : "NA", count, timestamp: Date.now() - (7 * week + 1) * DAY_MS });
    }
  }
  await service.send(plays);
  for (let next = "/export"; next;) {
    const answer = await service.fetch(next, { headers: ADMIN });
    await answer.text();
    if (answer.status === 200) next = /<([^>]+)>/.exec(answer.headers.get("link") ?? "")?.[1] ?? "";
  }
  await eventually(async () => {
    const closed = await (await service.request("POST", "/admin/close-charts", "", ADMIN)).json();
    assert.equal(closed.done, true);
  }, 60_000);
  if (PICTURES) mkdirSync(PICTURES, { recursive: true });
});
after(async () => {
  await browser?.close();
  await service?.dispose();
});

/** A page, and what it complains of. @param {import("playwright-core").BrowserContextOptions} [options] */
async function open(path, options = {}) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.goto(service.url + path);
  return { page, complaints };
}

async function picture(page, name, fullPage = true) {
  if (PICTURES) await page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage });
}

test("a week has an address, its places their peaks and weeks, and neighbours", { timeout: 120_000 }, async () => {
  const { page, complaints } = await open("/charts/week/latest");
  await page.waitForSelector(ROWS);
  const { period, earlier, top_posts } = await service.get("/charts/week/latest");
  assert.equal(new URL(page.url()).pathname, `/charts/week/${period}`);
  assert.equal(await page.locator(ROWS).count(), 40);
  assert.match(await page.title(), /^Week \d+ of \d{4} · Hitparade$/);
  const row = page.locator(`${ROWS}[data-post-id="post-5"]`);
  const { peak_rank, periods } = top_posts.find((entry) => entry.post_id === "post-5");
  assert.deepEqual([peak_rank, periods], [1, WEEKS - 2]);
  assert.equal(await row.locator(".peak").innerText(), "1");
  assert.equal(await row.locator(".periods").innerText(), String(WEEKS - 2));
  assert.equal(await page.locator(`${ROWS} b`).count(), 0, "text, never markup");
  await picture(page, "week-desktop", false);
  await page.click("#earlier");
  await page.waitForURL(`**/charts/week/${earlier}`);
  await page.waitForSelector(ROWS);
  await page.click("#all");
  await page.waitForSelector('[data-testid="archive"] li');
  assert.equal(await page.locator('[data-testid="archive"] li').count(), WEEKS);
  assert.match(await page.locator('[data-testid="archive"] .count').first().innerText(), /plays? of all posts$/);
  await picture(page, "weeks-desktop");
  await page.selectOption("#region", "EU");
  await page.waitForURL("**/charts/week?region=EU");
  await page.waitForSelector('[data-testid="archive"] li');
  assert.deepEqual(complaints, []);
  await page.close();
});

test("on a phone nothing is wider than the phone", { timeout: 60_000 }, async () => {
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    const { page } = await open("/charts/week/latest", { viewport: { width: 360, height: 740 }, colorScheme });
    await page.waitForSelector(ROWS);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 360, `${width}`);
    assert.match(await page.locator(`${ROWS}[data-post-id="post-5"] .why`).innerText(), /Peak 1 · 7 weeks/);
    await picture(page, `week-phone-${colorScheme}`, false);
    await page.close();
  }
});

test("on paper it has the chart, its address, and nothing to press", { timeout: 60_000 }, async () => {
  const { page } = await open("/charts/week/latest");
  await page.waitForSelector(ROWS);
  await page.emulateMedia({ media: "print" });
  for (const hidden of ["#kinds", "#tools", "#data", ".foot"]) assert.equal(await page.locator(hidden).isVisible(), false, hidden);
  assert.equal(await page.locator("#printed").innerText(), page.url());
  assert.equal(await page.locator(ROWS).first().isVisible(), true);
  const pdf = await page.pdf({ format: "A4", ...(PICTURES ? { path: join(PICTURES, "week.pdf") } : {}) });
  const pages = pdf.toString("latin1").match(/\/Type\s*\/Page\b/g)?.length ?? 0;
  assert.ok(pages >= 1 && pages <= 2, `40 places on ${pages} pages`);
  await page.setViewportSize({ width: 720, height: 1_000 });
  await picture(page, "week-print");
  await page.close();
});

test("a post's page shows its run, with its weeks at the top", { timeout: 60_000 }, async () => {
  const { page, complaints } = await open("/?post=post-5");
  await page.waitForSelector('[data-testid="run"] circle');
  const dots = await page.locator('[data-testid="run"] circle').count();
  const tops = await page.locator('[data-testid="run"] circle.top').count();
  assert.deepEqual([dots, tops], [WEEKS - 2, 3]);
  assert.match(
    await page.locator('[data-testid="run"] .readout').innerText(),
    /^Peak 1 · 7 weeks on the chart · 3 at number one · since Week/,
  );
  // Two weeks off the chart are a gap in the line.
  const path = await page.locator('[data-testid="run"] path.line').getAttribute("d");
  assert.equal(path?.match(/M/g)?.length, 2);
  await page.locator('[data-testid="run"]').scrollIntoViewIfNeeded();
  await picture(page, "run", false);
  await page.locator('[data-testid="run"] a').last().click();
  await page.waitForURL("**/charts/week/*");
  await page.waitForSelector(ROWS);
  assert.deepEqual(complaints, []);
  await page.close();
});

test("a week that has no chart says why, in words", { timeout: 60_000 }, async () => {
  const { page } = await open("/charts/week/2001-W01");
  await page.waitForSelector("#panel:not([hidden])");
  const words = await page.locator("#panel").innerText();
  assert.match(words, /There is no such chart[^]*nothing was played/i);
  assert.doesNotMatch(words, /POST|admin/, "that is for the operator");
  await picture(page, "no-week", false);
  await page.goto(`${service.url}/charts/week/latest?board=typo`);
  await page.waitForSelector("#panel:not([hidden])");
  assert.match(await page.locator("#panel").innerText(), /There is no such chart[^]*board/);
  await page.close();
});

test("a page of published charts of a tag is refused, not shown as one of all posts", { timeout: 60_000 }, async () => {
  for (const path of ["/charts/week?tag=jazz", "/charts/week/latest?tag=jazz"]) {
    assert.equal((await service.fetch(path, { headers: { accept: "text/html" } })).status, 400, path);
    const { page } = await open(path);
    await page.waitForSelector("#panel:not([hidden])");
    assert.match(await page.locator("#panel").innerText(), /of all posts[^]*without tag/, path);
    assert.equal(await page.locator('[data-testid="archive"] li').count(), 0, path);
    await page.close();
  }
});

test("the charts of boards are chosen where there are several, on a phone too", { timeout: 60_000 }, async () => {
  const alone = await open("/charts/week/latest");
  await alone.page.waitForSelector(ROWS);
  assert.equal(await alone.page.locator("#board-choice").isVisible(), false);
  await alone.page.close();
  await service.put("/boards/jazz", { board_name: "Jazz" });
  await service.put("/regions/LONG", { region_name: "The region of a very long name, which hardly fits anywhere" });
  const { page } = await open("/charts/week", { viewport: { width: 390, height: 844 } });
  await eventually(async () => assert.deepEqual(await page.locator("#board-pick option").allInnerTexts(), ["main", "Jazz"]));
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390, "nothing is wider than the page");
  await page.locator("#board-pick").selectOption("jazz");
  await page.waitForURL("**/charts/week?board=jazz");
  await page.waitForSelector("#panel:not([hidden])");
  assert.match(await page.locator("#panel").innerText(), /No chart was published yet/);
  await eventually(async () => assert.match(await page.locator("#explain").innerText(), /Jazz/));
  await eventually(async () => assert.equal(await page.locator("#board-pick").inputValue(), "jazz"));
  await page.locator("#board-pick").selectOption("main");
  await page.waitForURL(/\/charts\/week$/);
  await page.waitForSelector('[data-testid="archive"] li');
  await page.close();
});

test("a list's older charts come once, however often one presses", { timeout: 60_000 }, async () => {
  const { page } = await open("/");
  await page.route("**/charts/week?*", async (route) => {
    const answer = await route.fetch();
    const list = await answer.json();
    if (!/before=/.test(route.request().url()))
      return route.fulfill({ response: answer, json: { ...list, charts: list.charts.slice(0, 4), next: "more" } });
    // The second press comes before the answer.
    await new Promise((done) => setTimeout(done, 500));
    await route.fulfill({ response: answer });
  });
  await page.goto(`${service.url}/charts/week`);
  const row = page.locator('[data-testid="archive"] li');
  await eventually(async () => assert.equal(await row.count(), 4));
  await page.locator("#more").dblclick();
  await eventually(async () => assert.ok((await row.count()) >= WEEKS));
  await new Promise((done) => setTimeout(done, 500));
  assert.equal(await row.count(), WEEKS);
  await page.close();
});
