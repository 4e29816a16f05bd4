/** Of every page: axe-core finds nothing, narrow and wide, light and dark; nothing is wider than the window. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { Service, eventually } from "../runtime/harness.mjs";
import { launchChromium } from "./chromium.mjs";

const PAGES = [
  "/",
  "/?region=NA&timeframe=1h&sort=distinctive",
  "/?region=AF",
  "/?region=nowhere",
  "/?post=one",
  "/?post=never",
  "/widget.html",
  "/beacon.html",
  "/status",
  "/charts/week",
  "/no/such/page",
];

let service;
let browser;
let axe;
before(async () => {
  axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  service = await Service.start();
  browser = await launchChromium();
  await service.send(["one", "two", "three"].map((post_id, place) => ({ post_id, region_id: "NA", count: 30 - place })));
  await eventually(async () => assert.equal((await service.topPosts({ timeframe: "1h" })).top_posts.length, 3));
});
after(async () => {
  await browser?.close();
  await service?.dispose();
});

for (const path of PAGES) {
  test(path, async () => {
    for (const colorScheme of ["light", "dark"]) {
      for (const width of [390, 1280]) {
        const context = await browser.newContext({ viewport: { width, height: 844 }, colorScheme, reducedMotion: "reduce" });
        const page = await context.newPage();
        // On a machine that does other things too, the page is not done at once.
        await page.goto(service.url + path, { waitUntil: "networkidle", timeout: 120_000 });
        // The network is also idle where the page's script has not asked for anything yet.
        await page.locator("html:not([data-freshness=loading]) main h1:visible").waitFor({ timeout: 120_000 });
        await page.evaluate(axe);
        const { violations, passes } = await page.evaluate(() => window.axe.run());
        assert.deepEqual(
          violations.map(({ id, nodes }) => [id, nodes[0].html]),
          [],
          `${colorScheme}, ${width} wide`,
        );
        assert.ok(passes.length > 12);
        await context.close();
      }
    }
  });
}

test("no page scrolls sideways, from the narrowest phone to a desktop", async () => {
  const page = await browser.newPage();
  const wide = [];
  for (const path of PAGES) {
    await page.goto(service.url + path, { waitUntil: "networkidle", timeout: 120_000 });
    for (let width = 300; width <= 1300; width += 20) {
      await page.setViewportSize({ width, height: 844 });
      const reaches = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (reaches > 0) wide.push(`${path} at ${width}: ${reaches} px`);
    }
  }
  assert.deepEqual(wide, []);
  await page.close();
});
