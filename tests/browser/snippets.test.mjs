/** What docs/beacon.md and the README put on a page does, in Chromium, what it says there. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { parse } from "smol-toml";
import { readPackage } from "../../scripts/lib/release.mjs";
import { Service, eventually } from "../runtime/harness.mjs";
import { snippet, snippetsOf } from "../snippets.mjs";
import { launchChromium } from "./chromium.mjs";
import { silentWav } from "./sound.mjs";

const BEACON = "docs/beacon.md";
const HOSTS = /https:\/\/your-worker\.example|http:\/\/127\.0\.0\.1:8787/g;

/** @type {Service} */
let service;
let browser, site;
/** The page that is shown next, and its policy. */
const shown = { body: "", policy: "" };

before(async () => {
  const [settings] = snippetsOf(BEACON).filter(({ language }) => language === "toml");
  service = await Service.start(parse(settings.text).vars);
  browser = await launchChromium(["--disable-blink-features=AutomationControlled", "--autoplay-policy=no-user-gesture-required"]);
  site = createServer(async (request, response) => {
    if (request.url.endsWith(".mp3")) return response.setHeader("Content-Type", "audio/wav").end(silentWav(3));
    if (request.url !== "/") {
      // On the site's own domain is a route to the service.
      const { method, headers } = request;
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const type = headers["content-type"];
      const body = method === "POST" ? Buffer.concat(chunks) : undefined;
      const answer = await service.fetch(request.url, { method, body, headers: type ? { "content-type": type } : {} });
      response.writeHead(answer.status, { "Content-Type": answer.headers.get("content-type") });
      return response.end(await answer.text());
    }
    if (shown.policy) response.setHeader("Content-Security-Policy", shown.policy);
    response.setHeader("Content-Type", "text/html");
    response.end(`<!doctype html><meta charset="utf-8"><title>A page</title><body>${shown.body}`);
  });
  await new Promise((done) => site.listen(0, "127.0.0.1", done));
});
after(async () => {
  await browser?.close();
  site?.close();
  site?.closeAllConnections();
  await service?.dispose();
});

/** Opens a page with an example on it. @param {string} text @param {{policy?: string}} [how] */
async function show(text, { policy = "" } = {}) {
  Object.assign(shown, { body: here(text), policy: here(policy) });
  const page = await (await browser.newContext()).newPage();
  await page.goto(`http://localhost:${site.address().port}/`);
  return page;
}
const here = (text) => text.replaceAll(HOSTS, service.url);

const plays = {};
/** So many plays more than before. @param {Record<string, number>} expected @param {string} [board] */
async function counted(expected) {
  for (const [post, count] of Object.entries(expected)) plays[post] = (plays[post] ?? 0) + count;
  await eventually(async () => {
    const { top_posts: posts } = await service.topPosts({ timeframe: "1h", k: 100 });
    assert.deepEqual(Object.fromEntries(posts.map(({ post_id, view_count }) => [post_id, view_count])), plays);
  }, 40_000);
}

const tests = {
  "this page is a play": async () => {
    await show(snippet(BEACON, "this page is a play"));
    await counted({ "article-42": 1 });
  },
  "a song of a page is a play when it is heard": async () => {
    const name = "a song of a page is a play when it is heard";
    const page = await show(snippet(BEACON, name).replace('data-after="30s"', 'data-after="1s"'));
    await page.evaluate(() => document.querySelector("audio").play());
    await counted({ "slow-comet": 1 });
  },
  "from code": async () => {
    const page = await show(snippet(BEACON, "this page is a play").replace(/ data-post\S+ data-after\S+"/, ""));
    await page.waitForFunction("window.hitparade");
    await page.evaluate(snippet(BEACON, "from code"));
    await counted({ "slow-comet": 1 });
  },
  "from a module": async () => {
    // The board that it names is one of many; here there is main.
    const module = snippet(BEACON, "from a module").replace('"jazz"', '"main"');
    await show(`<script type="module">${module}</script>`);
    await counted({ "slow-comet": 1 });
  },
  "of one version": async () => {
    const name = "of one version";
    const guide = await (await service.fetch("/beacon.html")).text();
    const [, hash] = /integrity="(sha384-[^"]+)"/.exec(guide);
    const text = snippet(BEACON, name);
    assert.ok(text.includes(`beacon.${readPackage().version}.js`), "the version of this release");
    await show(text.replace("sha384-…", hash).replace(">", ' data-to="https://your-worker.example/plays">'));
    await counted({ "article-42": 1 });
  },
  "under names of its own": async () => {
    const [, page] = snippetsOf(BEACON).filter(({ name }) => name === "under names of its own");
    await show(page.text);
    await counted({ "article-42": 1 });
  },
  "a policy of its page": async () => {
    const [, policy] = /^Content-Security-Policy: (.*)$/m.exec(snippet(BEACON, "a policy of its page"));
    await show(snippet(BEACON, "this page is a play"), { policy });
    await counted({ "article-42": 1 });
  },
  "on pages, in ten minutes": async () => {
    const page = await show(snippet("README.md", "on pages, in ten minutes").replace('data-after="30s"', 'data-after="1s"'));
    await page.evaluate(() => document.querySelector("audio").play());
    await counted({ "my-first-page": 1, "slow-comet": 1 });
  },
  "the chart on a page, in ten minutes": async () => {
    const page = await show(snippet("README.md", "the chart on a page, in ten minutes"));
    await page.getByText("Most played this week").waitFor();
    await page.locator("top-posts").getByText("slow-comet").first().waitFor();
  },
  "a section's chart on a page": async () => {
    assert.equal((await service.put("/posts/slow-comet", { tags: ["jazz"] })).status, 200);
    const [widget] = snippet("README.md", "the chart on a page, in ten minutes").split("\n");
    const page = await show(widget + snippet("README.md", "a section's chart on a page"));
    await page.locator("top-posts").getByText("slow-comet").first().waitFor();
    assert.equal(await page.locator("top-posts").getByText("article-42").count(), 0);
  },
};
for (const [name, work] of Object.entries(tests)) test(name, { timeout: 90_000 }, work);
