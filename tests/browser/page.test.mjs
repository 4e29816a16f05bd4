/** The page in a real browser, on the real service. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { CHART_TIMEOUT_MS, Service } from "../runtime/harness.mjs";
import { launchChromium } from "./chromium.mjs";

const ROWS = '[data-testid="chart"] li[data-post-id]';

/** @type {Service} */
let service;
/** @type {import("playwright-core").Browser} */
let browser;
before(async () => {
  service = await Service.start();
  browser = await launchChromium();
});
after(async () => {
  await browser?.close();
  await service?.dispose();
});

/** Waits for a row in the first place. */
const leads = (page, id) =>
  page.waitForFunction(([rows, leader]) => document.querySelector(rows)?.getAttribute("data-post-id") === leader, [ROWS, id], {
    timeout: CHART_TIMEOUT_MS,
  });

test("the chart changes when plays arrive", { timeout: 120_000 }, async () => {
  assert.equal((await service.put("/posts/quiet", { content: "A quiet song", author: "Somebody" })).status, 200);
  await service.send([
    { post_id: "quiet", region_id: "NA", count: 3 },
    { post_id: 'a "quoted" <b>post</b>', region_id: "EU", count: 2 },
  ]);
  const page = await browser.newPage();
  const complaints = [];
  const foreign = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  page.on("request", (request) => {
    const { protocol, host } = new URL(request.url());
    if (/^(http|ws)/.test(protocol) && host !== new URL(service.url).host) foreign.push(request.url());
  });

  await page.goto(service.url);
  await leads(page, "quiet");
  assert.match(await page.locator(ROWS).first().innerText(), /A quiet song/);
  // Shown as text, never as markup.
  assert.equal(await page.locator(ROWS).nth(1).getAttribute("data-post-id"), 'a "quoted" <b>post</b>');
  assert.equal(await page.locator(`${ROWS} b:text-is("post")`).count(), 0);

  await service.send([{ post_id: "loud", region_id: "NA", count: 50 }]);
  await leads(page, "loud");
  assert.match(await page.locator(ROWS).first().innerText(), /50/);
  await service.send([{ post_id: "quiet", region_id: "EU", count: 100 }]);
  await leads(page, "quiet");
  assert.match(await page.locator(ROWS).first().innerText(), /103/);

  assert.deepEqual(complaints, []);
  assert.deepEqual(foreign, []);
  await page.close();
});
