/** The dashboard and the widget as a person uses them, on the real service. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { transform } from "esbuild";
import { ADMIN_TOKEN, Service, eventually } from "../runtime/harness.mjs";
import { launchChromium } from "./chromium.mjs";

const ROWS = '[data-testid="chart"] li[data-post-id]';
const FIRST_VIEW_BYTES = 60_000;
const WIDGET_BYTES = 4000;
const LAYOUT_SHIFT = 0.05;

/** Titles, authors and links that try to be more than text. */
const HOSTILE = [
  { post_id: '<img src=x onerror="pwned=1">', content: "<script>pwned=1</script>", author: "<b>bold</b>" },
  { post_id: "quotes \" and ' and `", content: '" autofocus onfocus="pwned=1', author: "' OR 1=1" },
  { post_id: "rtl", content: "‮مرحبا بالعالم", author: "ليلى" },
  { post_id: "a/b?c=d&e#f", content: "{{constructor.constructor('pwned=1')()}}", author: "\u200f" },
];
const LEADERS = ["one", "two", "three"];

/** @type {Service} */
let service;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  service = await Service.start();
  browser = await launchChromium();
  await service.addRegions("Mars", "Moon", "Pluto", "Titan");
  const catalog = [{ post_id: "one", content: "First song", author: "Somebody", url: "https://example.com/one" }, ...HOSTILE];
  for (const { post_id, ...entry } of catalog) {
    assert.equal((await service.put(`/posts/${encodeURIComponent(post_id)}`, entry)).status, 200, post_id);
  }
  await service.send([
    ...LEADERS.map((post_id, place) => ({ post_id, region_id: "Mars", count: 300 - 100 * place })),
    ...HOSTILE.map(({ post_id }, place) => ({ post_id, region_id: "Moon", count: 40 - place })),
    { post_id: "many", region_id: "Pluto", count: 1_234_567 },
  ]);
  // A play takes its seconds to the charts: the tests start when all are there.
  for (const [region, posts] of [
    ["Mars", LEADERS.length],
    ["Moon", HOSTILE.length],
    ["Pluto", 1],
    ["global", LEADERS.length + HOSTILE.length + 1],
  ]) {
    for (const timeframe of ["1h", "24h"]) {
      await eventually(async () => assert.equal((await service.topPosts({ region, timeframe })).top_posts.length, posts));
    }
  }
});
after(async () => {
  await browser?.close();
  await service?.dispose();
});
afterEach(async () => {
  for (const context of browser.contexts()) {
    // What a page still asks for is answered in vain, and fails with the page.
    await Promise.all(context.pages().map((page) => page.unrouteAll({ behavior: "ignoreErrors" })));
    await context.close();
  }
});

/** @param {string} path @param {import("playwright-core").BrowserContextOptions} [options] */
async function open(path, options) {
  const page = await (await browser.newContext(options)).newPage();
  page.errors = [];
  page.on("pageerror", (error) => page.errors.push(error.message));
  await page.goto(service.url + path);
  return page;
}
const ids = (page, rows = ROWS) => page.locator(rows).evaluateAll((list) => list.map((row) => row.dataset.postId));
const shows = (page, expected) => eventually(async () => assert.deepEqual(await ids(page), expected));
const text = (page, selector) => page.locator(selector).innerText();

/** Has every chart changed on its way to the page. @param {import("playwright-core").Page} page @param {(chart: any) => any} change */
async function changeCharts(page, change) {
  // What comes over a socket would be as the service said it.
  await page.routeWebSocket(/\/live/, (socket) => socket.close());
  await page.route("**/top-posts*", async (route) => {
    const { "if-none-match": known, ...headers } = route.request().headers();
    const answer = await route.fetch({ headers });
    await route.fulfill({ response: answer, json: change(await answer.json()) });
  });
}

test("region and timeframe by keyboard, in the address, and back", async () => {
  const page = await open("/");
  await shows(page, ["many", ...LEADERS, ...HOSTILE.map(({ post_id }) => post_id)]);
  await page.locator("input[name=region][value=global]").focus();
  for (let presses = 0; presses < 20 && !page.url().includes("Mars"); presses += 1) await page.keyboard.press("ArrowRight");
  assert.equal(new URL(page.url()).searchParams.get("region"), "Mars");
  assert.equal(await text(page, "h1"), "Top 10 in Mars");
  await shows(page, LEADERS);
  assert.equal(await page.evaluate(() => document.activeElement.value), "Mars");

  await page.getByLabel("1 hour").check();
  assert.equal(new URL(page.url()).search, "?region=Mars&timeframe=1h");
  assert.match(await text(page, "#explain"), /last hour/);
  await page.goBack();
  await eventually(async () => assert.match(await text(page, "#explain"), /last 24 hours/));
  assert.ok(await page.locator("input[value='24h']").isChecked());

  const same = await open("/?region=Mars&timeframe=1h");
  await shows(same, LEADERS);
  assert.ok(await same.locator("input[value=Mars]").isChecked());
  assert.deepEqual(page.errors, []);
});

test("the worldwide chart beside a region, and every region's number one", async () => {
  const page = await open("/?region=Moon");
  const beside = '[data-testid="chart-beside"] li[data-post-id]';
  await eventually(async () => {
    assert.deepEqual((await ids(page, beside)).slice(1, 4), LEADERS);
    assert.match(await text(page, `${beside} >> nth=0`), /not in top 10/);
    assert.match(await text(page, `${beside} >> nth=4`), /no\. 1 here/);
  });
  const tile = page.locator('[data-testid="number-ones"] li', { hasText: "Mars" });
  await eventually(async () => assert.match(await tile.innerText(), /First song/));
  await tile.getByRole("link").click();
  await shows(page, LEADERS);
});

test("a post's page: counts, spans that the arrow keys read, regions", async () => {
  const page = await open("/?region=Mars&timeframe=1h");
  await page.getByTestId("chart").getByRole("link", { name: "First song", exact: true }).click();
  await eventually(async () => assert.match(await text(page, "#post .figures"), /300/));
  assert.equal(await text(page, "#post h1"), "First song");
  assert.equal(await page.locator("#post a[target]").getAttribute("href"), "https://example.com/one");
  const series = page.getByTestId("series");
  await series.focus();
  await page.keyboard.press("End");
  // The last minute has none once it is not the one in which they were played.
  for (let minutes = 0; minutes < 10 && /: 0 plays/.test(await series.innerText()); minutes += 1) await page.keyboard.press("ArrowLeft");
  assert.match(await series.innerText(), /: 300 plays/);
  await series.blur();
  assert.match(await series.innerText(), /^Each point is 1 minute; at most 300 plays/);
  assert.match(await page.getByTestId("by-region").innerText(), /Mars[^]*100%[^]*300/);
  await page.getByRole("link", { name: "Chart of Mars" }).click();
  await shows(page, LEADERS);

  const none = await open("/?post=never");
  await eventually(async () =>
    assert.match(await text(none, "#post"), /There is no such post[^]*Nobody has played it yet[^]*To the chart/),
  );
});

test("a hostile catalog is text, everywhere", async () => {
  for (const path of ["/?region=Moon", ...HOSTILE.map(({ post_id }) => `/?region=Moon&post=${encodeURIComponent(post_id)}`)]) {
    const page = await open(path);
    await page.evaluate(() => (window.pwned = 0));
    await eventually(async () =>
      assert.ok((await text(page, "main")).includes(path.includes("post=") ? "Counted exactly" : HOSTILE[0].content)),
    );
    assert.equal(await page.evaluate(() => window.pwned), 0, path);
    assert.equal(await page.locator("main :is(script, img, b, [onerror], [onfocus])").count(), 0, path);
    const schemes = await page.locator("main a[href]").evaluateAll((links) => [...new Set(links.map((link) => link.protocol))]);
    assert.deepEqual(schemes, ["http:"], path);
    assert.deepEqual(page.errors, []);
  }
});

test("over a socket; by polling while there is none; over a socket again", async () => {
  const page = await (await browser.newContext()).newPage();
  /** @type {Set<import("playwright-core").WebSocketRoute>} */
  const sockets = new Set();
  let mayOpen = true;
  await page.routeWebSocket(/\/live/, (socket) => {
    if (!mayOpen) return socket.close();
    sockets.add(socket);
    socket.connectToServer();
  });
  const over = () => page.locator("#status").getAttribute("title");
  const comes = (how) => eventually(async () => assert.match(await over(), new RegExp(`over ${how}$`)));
  await page.clock.install();
  await page.goto(`${service.url}/?region=Titan`);
  await comes("socket");
  assert.match(await text(page, "#status"), /^Live/);
  await service.send([{ post_id: "first", region_id: "Titan" }]);
  await shows(page, ["first"]);

  mayOpen = false;
  for (const socket of sockets) await socket.close();
  await comes("polling");
  assert.match(await text(page, "#status"), /^Live/);
  await service.send([{ post_id: "second", region_id: "Titan", count: 2 }]);
  await shows(page, ["second", "first"]);

  mayOpen = true;
  // One that failed is tried again after a while.
  await page.clock.fastForward(60_000);
  await comes("socket");
});

test("a page says that it is there, also while its chart stays as it is", async () => {
  const page = await (await browser.newContext()).newPage();
  const [sent, received] = [[], []];
  page.on("websocket", (socket) => {
    socket.on("framesent", ({ payload }) => sent.push(payload));
    socket.on("framereceived", ({ payload }) => payload === "pong" && received.push(payload));
  });
  await page.clock.install();
  await page.goto(`${service.url}/?region=Pluto`);
  await eventually(async () => assert.match(await page.locator("#status").getAttribute("title"), /over socket$/));
  for (let pings = 1; pings <= 2; pings++) {
    await page.clock.fastForward(26_000);
    await eventually(async () => assert.deepEqual([sent, received], [Array(pings).fill("ping"), Array(pings).fill("pong")]));
  }
  // Nothing came, and that is how it is now.
  await page.clock.runFor(1_000);
  assert.match(await text(page, "#status"), /^Live/);
});

test("a region that is deleted says so, and what was shown of it goes", async () => {
  await service.addRegions("Doomed");
  await service.send([{ post_id: "last", region_id: "Doomed" }]);
  const page = await open("/?region=Doomed");
  await shows(page, ["last"]);
  assert.equal(
    (await service.fetch("/regions/Doomed", { method: "DELETE", headers: { authorization: `Bearer ${ADMIN_TOKEN}` } })).status,
    200,
  );
  await eventually(async () => {
    assert.match(await text(page, "#panel"), /Doomed was deleted/);
    assert.ok(await page.getByTestId("chart").isHidden());
    assert.ok(await page.locator("#toast").isHidden());
  });
  await page.getByRole("button", { name: "Show worldwide" }).click();
  await eventually(async () => assert.match(await text(page, "#headline"), /worldwide/));
});

test("a chart that does not get newer says that it is stale", async () => {
  const page = await (await browser.newContext()).newPage();
  await changeCharts(page, (chart) => ({ ...chart, as_of: new Date(Date.now() - 120_000).toISOString() }));
  await page.goto(`${service.url}/?region=Mars`);
  await eventually(async () => assert.match(await text(page, "#status"), /^Stale, 2 min/));
  assert.match(await text(page, "#toast"), /nothing newer/);
  assert.deepEqual(await ids(page), LEADERS);
});

test("rows change places before the reader's eyes, unless motion is unwelcome, and nothing else moves", async () => {
  const entry = (post_id, place) => ({
    rank: place + 1,
    previous_rank: null,
    post_id,
    author: place % 2 ? "Somebody" : null,
    content: null,
    url: null,
    image: null,
    view_count: 100 - place,
    view_count_min: 90 - place,
    view_count_max: 100 - place,
    certain: place !== 2,
  });
  for (const reducedMotion of ["no-preference", "reduce"]) {
    for (const width of [390, 1280]) {
      const page = await (await browser.newContext({ reducedMotion, viewport: { width, height: 844 } })).newPage();
      let order = ["a", "b", "c", "d"];
      await changeCharts(page, (chart) => ({ ...chart, top_posts: order.map(entry) }));
      await page.addInitScript(() => {
        const { animate } = Element.prototype;
        window.moved = 0;
        Element.prototype.animate = function (...given) {
          window.moved += 1;
          return animate.apply(this, given);
        };
      });
      await page.goto(`${service.url}/?region=Mars&k=10`);
      await shows(page, order);
      const places = () =>
        page.evaluate(() =>
          ["controls", "figures", "chart", "footnote", "aside"].map((id) => {
            const { x, y, width: wide } = document.getElementById(id).getBoundingClientRect();
            return [id, x, y, wide];
          }),
        );
      const before = await places();
      order = ["d", "a", "c", "e"];
      await shows(page, order);
      assert.deepEqual(await places(), before);
      assert.equal((await page.evaluate(() => window.moved)) > 0, reducedMotion !== "reduce");
      await page.context().close();
    }
  }
});

test("links of a scheme that runs are not followed, and uncertain ranks say so", async () => {
  const page = await (await browser.newContext()).newPage();
  const urls = ["javascript:pwned=1", "data:text/html,x", "vbscript:x", "//elsewhere.example", "https://example.com/fine"];
  const top_posts = urls.map((url, place) => ({
    rank: place + 1,
    previous_rank: [2, 1, null, 4, 9][place],
    post_id: `p${place}`,
    author: null,
    content: null,
    url,
    image: url,
    view_count: 100 - place,
    view_count_min: 90,
    view_count_max: 100,
    certain: place !== 4,
  }));
  await changeCharts(page, (chart) => ({ ...chart, top_posts }));
  await page.goto(service.url);
  await shows(page, ["p0", "p1", "p2", "p3", "p4"]);
  assert.deepEqual(await page.locator("main a.out[href]").evaluateAll((links) => links.map((link) => link.href)), [
    "https://example.com/fine",
  ]);
  assert.deepEqual(await page.locator(`${ROWS} .move`).evaluateAll((moves) => moves.map((move) => move.ariaLabel)), [
    "Up 1, was 2",
    "Down 1, was 1",
    "New",
    "Unchanged",
    "Up 4, was 9",
  ]);
  assert.equal(await page.locator(".bounds:visible").count(), 1);
  assert.equal(await page.locator(".tip:visible").count(), 0);
  await page.locator(".bounds:visible").focus();
  assert.match(await text(page, ".tip:visible"), /Between 90 and 100 plays\. The place is not certain/);
});

test("rising and distinctive say why, and are offered where they mean something", async () => {
  const page = await open("/?region=Mars&timeframe=1h&sort=distinctive");
  await eventually(async () => assert.match(await text(page, `${ROWS} >> nth=0`), /% here, 0% elsewhere/));
  await page.getByLabel("Rising").check();
  await eventually(async () => assert.match(await text(page, `${ROWS} >> nth=0`), /0 \u2192 300/));
  await page.getByLabel("All time").check();
  assert.equal(await page.getByLabel("Rising").count(), 0);
  await shows(page, LEADERS);
  await page.getByLabel("Worldwide", { exact: true }).check();
  assert.equal(await page.getByLabel("Distinctive").count(), 0);
});

test("numbers and times in the reader's locale", async () => {
  const page = await open("/?region=Pluto", { locale: "de-DE" });
  await eventually(async () => assert.equal(await text(page, `${ROWS} [data-testid=count]`), "1.234.567"));
});

test("empty, unknown, offline, unreachable: each says what it is", async () => {
  const empty = await open("/?region=AF");
  await eventually(async () => assert.match(await text(empty, "#panel"), /Nothing was played here yet/));
  const unknown = await open("/?region=Venus");
  await eventually(async () => assert.match(await text(unknown, "#panel"), /no region “Venus”/));
  await unknown.getByRole("button", { name: "Show worldwide" }).click();
  await eventually(async () => assert.ok((await ids(unknown)).length > 2));

  const page = await open("/?region=Mars");
  await shows(page, LEADERS);
  await page.context().setOffline(true);
  await eventually(async () => assert.match(await text(page, "#toast"), /You are offline/));
  assert.equal(await text(page, "#status"), "Offline");
  await page.context().setOffline(false);
  await eventually(async () => assert.match(await text(page, "#status"), /^Live/));
  assert.ok(await page.locator("#toast").isHidden());

  const broken = await (await browser.newContext()).newPage();
  await broken.route("**/top-posts*", (route) => route.abort());
  await broken.goto(service.url);
  await eventually(async () => assert.match(await text(broken, "#panel"), /cannot be reached/));
  await broken.unroute("**/top-posts*");
  await broken.getByRole("button", { name: "Try again now" }).click();
  await eventually(async () => assert.ok((await ids(broken)).length > 2));
});

test("a region that cannot be reached has no figures of the last one", async () => {
  const page = await open("/?region=Mars");
  await shows(page, LEADERS);
  const figures = () => page.locator("#total, #rate, #window").allInnerTexts();
  await eventually(async () => assert.ok(!(await figures()).includes("–")));
  await page.routeWebSocket(/\/live/, (socket) => socket.close());
  await page.route("**/top-posts*", (route) => route.abort());
  await page.getByLabel("Moon").check();
  await eventually(async () => assert.match(await text(page, "#panel"), /cannot be reached/));
  assert.equal(await text(page, "h1"), "Top 10 in Moon");
  assert.deepEqual(await figures(), ["–", "–", "–"]);
});

test("one play is one play, and a chart without a catalog says whose names it shows", async () => {
  await service.send([{ post_id: "single", region_id: "Titan", count: 1 }]);
  const page = await open("/?region=Titan&timeframe=1h&post=single");
  await eventually(async () => assert.match(await page.getByTestId("series").innerText(), /at most 1 play$/m));
  const chart = await open("/?region=Titan&timeframe=1h");
  await eventually(async () => assert.match(await text(chart, "#footnote"), /the names that senders gave/));
  const described = await open("/?region=Mars");
  await eventually(async () =>
    assert.match(await text(described, "#footnote"), /No other post of the catalog was played in this window\.$/),
  );
});

test("a chart says how many of its plays are of posts that do not show", async () => {
  await service.addRegions("Ganymede");
  await service.put("/posts/unseen", { hidden: true });
  await service.send([
    { post_id: "one", region_id: "Ganymede", count: 3 },
    { post_id: "unseen", region_id: "Ganymede", count: 2 },
  ]);
  const page = await open("/?region=Ganymede&timeframe=1h");
  const words = /2 of the plays are of posts that the catalog does not have, or hides\.$/;
  await eventually(async () => assert.match(await text(page, "#footnote"), words), 20_000);
});

test("a chart says why it is empty where plays came of posts that do not show", async () => {
  await service.addRegions("Io");
  await service.put("/posts/unshown", { hidden: true });
  await service.send([{ post_id: "unshown", region_id: "Io", count: 2 }]);
  const page = await open("/?region=Io");
  await eventually(async () => assert.match(await text(page, "#panel"), /Plays came, but of no post that shows/), 20_000);
});

test("asks for nothing while nobody looks", async () => {
  const page = await (await browser.newContext()).newPage();
  const sockets = new Set();
  page.on("websocket", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  await page.clock.install();
  await page.goto(`${service.url}/?region=Mars`);
  await shows(page, LEADERS);
  await eventually(async () => assert.equal(sockets.size, 1));
  const turn = (visibility) =>
    page.evaluate((value) => {
      Object.defineProperty(document, "visibilityState", { value, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, visibility);
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  const fiveMinutes = () => page.clock.runFor(300_000);

  await turn("hidden");
  await eventually(async () => assert.equal(sockets.size, 0));
  asked.length = 0;
  await fiveMinutes();
  assert.deepEqual(asked, []);
  await turn("visible");
  await fiveMinutes();
  await eventually(async () => assert.ok(asked.length > 10, `${asked}`));
  // Left open, and forgotten: what stands around the chart rests. The socket's pings have no answer in a time that
  // jumps, so the chart is asked for: once a minute.
  for (let minutes = 0; minutes < 15; minutes += 5) await fiveMinutes();
  asked.length = 0;
  await fiveMinutes();
  assert.deepEqual([...new Set(asked.map((url) => new URL(url).search))], ["?region=Mars&timeframe=24h&k=10"]);
  // One that a busy machine answers late is asked for again.
  assert.ok(asked.length <= 12, `${asked}`);
});

test(`the first view is under ${FIRST_VIEW_BYTES} bytes gzipped, from one origin, and does not jump`, async () => {
  for (const width of [390, 1280]) {
    const page = await (await browser.newContext({ viewport: { width, height: 844 } })).newPage();
    const bodies = [];
    const hosts = new Set();
    page.on("response", (response) => {
      hosts.add(new URL(response.url()).origin);
      bodies.push(response.body().catch(() => Buffer.alloc(0)));
    });
    await page.addInitScript(() => {
      window.shift = 0;
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) window.shift += entry.value;
      }).observe({ type: "layout-shift", buffered: true });
    });
    await page.goto(`${service.url}/?region=Mars`, { waitUntil: "networkidle", timeout: 120_000 });
    const bytes = (await Promise.all(bodies)).reduce((sum, body) => sum + gzipSync(body).length, 0);
    assert.ok(bytes < FIRST_VIEW_BYTES, `${bytes} bytes`);
    assert.deepEqual([...hosts], [service.url]);
    assert.ok((await page.evaluate(() => window.shift)) < LAYOUT_SHIFT);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `sideways at ${width}`);
  }
});

test("the widget on a foreign page with a strict policy", async () => {
  const source = await readFile(new URL("../../www/widget.js", import.meta.url), "utf8");
  const { code } = await transform(source, { minify: true, target: "es2022" });
  assert.ok(gzipSync(code, { level: 9 }).length < WIDGET_BYTES);

  const site = await startSite(
    `<!doctype html><title>A page</title><script type="module" src="${service.url}/widget.js"></script>
      <top-posts region="Mars" timeframe="24h" k="2"></top-posts><top-posts region="Moon" counts="off"></top-posts>`,
    `default-src 'none'; script-src ${service.url}; connect-src ${service.url}`,
  );
  try {
    const page = await (await browser.newContext()).newPage();
    const errors = [];
    const methods = new Set();
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    page.on("request", (request) => methods.add(request.method()));
    await page.goto(site.url);
    const [mars, moon] = await page.locator("top-posts").all();
    await eventually(async () => assert.match(await mars.locator("ol").innerText(), /^1\s+First song\s+Somebody\s+300\s+2\s+two\s+200$/));
    assert.equal(await mars.getByRole("link", { name: "First song" }).getAttribute("href"), "https://example.com/one");
    await eventually(async () => assert.match(await moon.locator("ol").innerText(), /<script>pwned=1<\/script>/));
    assert.doesNotMatch(await moon.locator("ol").innerText(), /\b40\b/);
    assert.equal(await page.evaluate(() => window.pwned), undefined);
    assert.deepEqual(errors, []);
    assert.deepEqual([...methods], ["GET"]);
  } finally {
    site.stop();
  }
});

test("a widget keeps room for the posts that it has, and its console says why it has none", async () => {
  await service.addRegions("Nowhere");
  const site = await startSite(
    `<!doctype html><title>A page</title><script type="module" src="${service.url}/widget.js"></script>
      <top-posts id="few" region="Pluto" k="10"></top-posts><top-posts id="none" region="Nowhere" k="10"></top-posts>
      <top-posts id="where" region="Atlantis" data-mine x-mine></top-posts>
      <top-posts id="how" sort="loudest" timefame="7d"></top-posts>
      <top-posts id="off" region="Mars" k="ten" counts="false" images="off"></top-posts>`,
  );
  try {
    const page = await (await browser.newContext()).newPage();
    /** @type {string[]} */
    const warnings = [];
    page.on("console", (message) => message.type() === "warning" && warnings.push(message.text()));
    await page.goto(site.url);
    const rows = (/** @type {string} */ id) =>
      page.locator(`#${id}`).evaluate((widget) => {
        const list = /** @type {HTMLElement} */ (widget.shadowRoot?.querySelector("ol"));
        return list.offsetHeight / parseFloat(getComputedStyle(list).fontSize) / 3.25;
      });
    for (const [id, words] of [
      ["few", /1\s+many/],
      ["none", /No plays in this time/],
      ["where", /There is no such chart/],
      ["how", /There is no such chart/],
      ["off", /^1\s+First song\s+Somebody\s+2\s+two\s+3\s+three$/],
    ]) {
      await eventually(async () => assert.match(await page.locator(`#${id} div`).first().innerText(), words));
      assert.equal(await rows(id), id === "off" ? LEADERS.length : 1, id);
    }
    assert.equal(await page.locator("#off .image").count(), 0);
    assert.equal(warnings.filter((text) => /k=ten is no whole number from 1 to 100/.test(text)).length, 1);
    assert.equal(warnings.filter((text) => /there is no attribute timefame, but board, .* timeframe/.test(text)).length, 1);
    assert.equal(warnings.filter((text) => /Atlantis.*: 404 .*unknown_region/.test(text)).length, 1);
    assert.equal(warnings.filter((text) => /loudest.*: 400 .*sort is one of|loudest.*bad_sort/.test(text)).length, 1);
    assert.equal(warnings.length, 4, warnings.join("\n"));
  } finally {
    site.stop();
  }
});

test("the page of the widget gives two lines that work when copied", async () => {
  const page = await open("/widget.html");
  await page.getByLabel("Region").selectOption("Mars");
  await page.getByLabel("Length").selectOption("3");
  const lines = await text(page, "#code");
  assert.equal(
    lines,
    `<script type="module" src="${service.url}/widget.js"></script>\n<top-posts region="Mars" timeframe="this-week" k="3"><h2 slot="title">Most played this week</h2></top-posts>`,
  );
  await eventually(async () => assert.match(await page.locator("#preview ol").innerText(), /First song/));

  const site = await startSite(lines);
  try {
    const copy = await (await browser.newContext()).newPage();
    await copy.goto(site.url);
    await eventually(async () => assert.match(await copy.locator("top-posts ol").innerText(), /First song/));
    assert.equal(await copy.getByRole("heading").innerText(), "Most played this week");
  } finally {
    site.stop();
  }
});

test("everything that the page of the widget offers is in its lines, and in what it shows", async () => {
  const page = await open("/widget.html");
  await page.getByLabel("Region").selectOption("Mars");
  await page.getByLabel("Title", { exact: true }).fill('R&B <"now">');
  await page.getByLabel("Timeframe").selectOption("span");
  await page.getByLabel("From", { exact: true }).fill("2026-01-01T00:00");
  await page.getByLabel("Titles lead to").selectOption("own");
  await page.getByLabel("Its address").fill("/songs/{id}?a&b");
  await page.getByLabel("Pictures").check();
  await page.getByLabel("Counts and bars").uncheck();
  const from = await page.evaluate(() => new Date("2026-01-01T00:00").toISOString());
  assert.equal(
    (await text(page, "#code")).split("\n")[1],
    `<top-posts region="Mars" from="${from}" k="10" images counts="off" link="/songs/{id}?a&amp;b"><h2 slot="title">R&amp;B &lt;"now"></h2></top-posts>`,
  );
  assert.equal(await text(page, "#preview-title"), 'R&B <"now">');
  await eventually(async () =>
    assert.match(await page.locator("#preview ol").innerText(), /^1\s+First song\s+Somebody\s+2\s+two\s+3\s+three$/),
  );
  assert.equal(await page.locator("#preview .image").count(), 3);
  assert.deepEqual(await page.locator("#preview a").evaluateAll((links) => links.map((link) => link.href)), [
    "https://example.com/one",
    `${service.url}/songs/two?a&b`,
    `${service.url}/songs/three?a&b`,
  ]);
  await page.getByLabel("Titles lead to").selectOption("off");
  await eventually(async () => assert.equal(await page.locator("#preview a").count(), 0));
});

test("pictures of a site in the making are taken on the machine that it is made on", async () => {
  const picture = await startSite('<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>', undefined, "image/svg+xml");
  const image = `${picture.url}cover.svg`;
  try {
    for (const [address, status] of [
      [image, 200],
      ["http://example.com/cover.svg", 400],
    ]) {
      assert.equal((await service.put("/posts/two", { image: address })).status, status, address);
    }
    const loaded = (page, selector) =>
      eventually(async () =>
        assert.ok(
          await page
            .locator(selector)
            .first()
            .evaluate((shown) => shown.complete && shown.naturalWidth > 0),
        ),
      );
    const page = await open("/?region=Mars");
    await loaded(page, ".cover img");
    const widget = await open("/widget.html");
    await widget.getByLabel("Region").selectOption("Mars");
    await widget.getByLabel("Pictures").check();
    await loaded(widget, "#preview img.image");
  } finally {
    picture.stop();
    assert.equal((await service.put("/posts/two", { image: null })).status, 200);
  }
});

/** Somebody else's page, on another origin. @param {string} html @param {string} [policy] @param {string} [type] */
async function startSite(html, policy, type = "text/html") {
  const server = createServer((_, response) => {
    response.setHeader("Content-Type", type);
    if (policy) response.setHeader("Content-Security-Policy", policy);
    response.end(html);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const stop = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://localhost:${server.address().port}/`, stop };
}

test("today, week and month are those of where the reader is, wherever the service is", async () => {
  for (const timezoneId of ["Asia/Kathmandu", "America/New_York"]) {
    const page = await open("/?region=Mars", { timezoneId });
    for (const [label, timeframe, words] of [
      ["Today", "today", /^Most played today$/],
      ["Week", "this-week", /^Most played this week$/],
      ["Month", "this-month", /^Most played this month$/],
    ]) {
      await page.getByRole("radio", { name: label, exact: true }).check();
      await shows(page, LEADERS);
      assert.equal(new URL(page.url()).searchParams.get("timeframe"), timeframe);
      assert.match(await text(page, "#explain"), words);
      const href = await page.locator("#as-json").getAttribute("href");
      const { time_zone, window } = await service.get(href.replace("./", "/"));
      // Which of a zone's names that is, is the browser's choice.
      assert.equal(time_zone, await page.evaluate(() => Intl.DateTimeFormat().resolvedOptions().timeZone));
      // The browser's own clock is the oracle.
      const begins = await page.evaluate((timeframe) => {
        const first = new Date();
        first.setHours(0, 0, 0, 0);
        if (timeframe === "this-week") first.setDate(first.getDate() - ((first.getDay() + 6) % 7));
        if (timeframe === "this-month") first.setDate(1);
        return first.getTime();
      }, timeframe);
      // The service keeps days of UTC: what lies further back begins up to a day before.
      const early_ms = begins - Date.parse(window.from);
      assert.ok(early_ms >= 0 && early_ms < 86_400_000, `${timeframe} begins ${early_ms} ms early`);
      if (timeframe === "today") assert.equal(early_ms, 0, timezoneId);
    }
    const month = await open("/?region=Mars&timeframe=last-month&post=one", { timezoneId });
    await eventually(async () => assert.match(await text(month, "#post .figures"), /Plays.*last month/));
    await month.getByRole("radio", { name: "Yesterday", exact: true }).check();
    await eventually(async () => assert.match(await text(month, "#post .figures"), /Plays.*, yesterday\s+0 Counted exactly\s+Rank.*\s+–/));
    assert.match(await text(month, '[data-testid="by-region"]'), /^Worldwide\s+0\s/);
    await page.close();
  }
});

test("the pages work in a browser that forbids them its storage", async () => {
  const context = await browser.newContext();
  await context.addInitScript(() =>
    Object.defineProperty(window, "sessionStorage", {
      get() {
        throw new DOMException("The operation is insecure.", "SecurityError");
      },
    }),
  );
  const page = await context.newPage();
  await page.goto(`${service.url}/?region=Mars`);
  await shows(page, LEADERS);
  await page.goto(`${service.url}/charts/week`);
  await eventually(async () => assert.match(await text(page, "#panel"), /No chart was published yet/));
  await page.goto(`${service.url}/widget.html`);
  await eventually(async () => assert.match(await text(page, "#code"), /<top-posts/));
  await page.goto(`${service.url}/status`);
  await eventually(async () => assert.match(await text(page, "#asked"), /^As of/));
});

/** Has a page, or a widget, ask anew. @param {import("playwright-core").Page} page */
const lookAgain = (page) => page.evaluate(() => void document.dispatchEvent(new Event("visibilitychange")));

test("a picture that fails is asked for once, by the page and by the widget", async () => {
  for (const path of ["/?region=Mars", "/widget.html"]) {
    const page = await (await browser.newContext()).newPage();
    const isWidget = path === "/widget.html";
    let plays = 0;
    let name = "first";
    /** @type {string[]} */
    const asked = [];
    await page.route("**/*.png", (route) => {
      asked.push(/(\w+)\.png/.exec(route.request().url())[1]);
      return route.fulfill({ status: 404 });
    });
    await changeCharts(page, (chart) => {
      plays += 1;
      const image = `${service.url}/${name}.png`;
      return { ...chart, top_posts: chart.top_posts.slice(0, 1).map((entry) => ({ ...entry, image, view_count: plays })) };
    });
    await page.goto(service.url + path);
    if (isWidget) await page.getByLabel("Pictures").check();
    const [count, failed] = isWidget ? ["#preview .count", "#preview span.image"] : [`${ROWS} .count`, `${ROWS} .cover:not(:has(img))`];
    const changes = async () => {
      const before = plays;
      await lookAgain(page);
      await eventually(async () => assert.ok(Number(await text(page, count)) > before));
      await eventually(async () => assert.equal(await page.locator(failed).count(), 1));
    };
    await eventually(async () => assert.deepEqual(asked, ["first"], path));
    for (let time = 0; time < 3; time += 1) await changes();
    assert.deepEqual(asked, ["first"], path);
    name = "second";
    for (let time = 0; time < 2; time += 1) await changes();
    assert.deepEqual(asked, ["first", "second"], path);
    await page.unrouteAll({ behavior: "ignoreErrors" });
  }
});

test("a widget says that its chart is gone, or old", async () => {
  const page = await (await browser.newContext()).newPage();
  await page.clock.install();
  let status = 200;
  let stale = false;
  await page.route("**/top-posts*", async (route) => {
    if (status === 0) return route.abort();
    if (status !== 200) return route.fulfill({ status, body: "gone" });
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...(await answer.json()), stale } });
  });
  await page.goto(`${service.url}/widget.html`);
  await page.getByLabel("Region").selectOption("Mars");
  const says = async (/** @type {RegExp} */ words) => {
    await lookAgain(page);
    await eventually(async () => assert.match(await text(page, "#preview div"), words));
  };
  const rows = /^1\s+First song\s+Somebody\s+300\s+2\s+two\s+200\s+3\s+three\s+100$/;
  const old = new RegExp(`${rows.source.slice(0, -1)}\\s+The service has nothing newer\\.$`);
  await says(rows);
  status = 410;
  await says(/^There is no such chart\.$/);
  status = 200;
  await says(rows);
  stale = true;
  await says(old);
  stale = false;
  await says(rows);
  // One that is away for a moment is not worth a word.
  status = 0;
  await lookAgainOnFailure(page);
  await says(rows);
  await page.clock.fastForward(240_000);
  await says(old);
  status = 200;
  await says(rows);
});

/** @param {import("playwright-core").Page} page */
async function lookAgainOnFailure(page) {
  const failed = page.waitForEvent("requestfailed");
  await lookAgain(page);
  await failed;
}

const focused = (/** @type {import("playwright-core").Page} */ page) =>
  page.evaluate(() => (document.activeElement?.shadowRoot?.activeElement ?? document.activeElement)?.textContent?.slice(0, 40));

test("a title in a widget keeps the focus where it gets another place", async () => {
  const page = await (await browser.newContext()).newPage();
  let isTurned = false;
  await changeCharts(page, (chart) => ({ ...chart, top_posts: isTurned ? chart.top_posts.reverse() : chart.top_posts }));
  await page.goto(`${service.url}/widget.html`);
  await page.getByLabel("Region").selectOption("Mars");
  await eventually(async () => assert.match(await text(page, "#preview ol"), /First song[^]*three/));
  await page.locator("#preview a").focus();
  isTurned = true;
  await lookAgain(page);
  await eventually(async () => assert.match(await text(page, "#preview ol"), /three[^]*First song/));
  assert.equal(await focused(page), "First song");
});

/** So often again, each time until the answer is shown. @param {import("playwright-core").Page} page @param {RegExp} url */
async function lookAgainUntil(page, url, times = 2) {
  for (let time = 0; time < times; time += 1) {
    const answered = page.waitForResponse((response) => url.test(response.url()));
    await lookAgain(page);
    await (await answered).finished();
    await page.evaluate(() => new Promise((done) => setTimeout(done, 200)));
  }
}

test("the link where there is no such post keeps the focus while the post is asked for again", async () => {
  const page = await open("/?post=never");
  await page.getByRole("link", { name: "To the chart", exact: true }).focus();
  await lookAgainUntil(page, /\/posts\?/);
  assert.equal(await focused(page), "To the chart");
});

test("what is read aloud when it changes is not written again as it was", async () => {
  const page = await (await browser.newContext()).newPage();
  await page.route("**/posts?*", async (route) => {
    const { "if-none-match": known, ...headers } = route.request().headers();
    await route.fulfill({ response: await route.fetch({ headers }) });
  });
  /** @type {Record<string, string[]>} */
  const written = {};
  for (const [path, url, ready] of /** @type {const} */ ([
    ["/?region=Mars&timeframe=24h&post=one", /\/posts\?/, ".readout"],
    ["/status", /\/metrics/, "#figures"],
  ])) {
    await page.goto(service.url + path);
    await page.locator(ready).first().waitFor();
    await lookAgainUntil(page, url, 1);
    await page.evaluate(() => {
      window.written = [];
      const observer = new MutationObserver((changes) => window.written.push(...changes.map(({ target }) => target.textContent)));
      for (const live of document.querySelectorAll("[aria-live], [role=status]"))
        observer.observe(live, { childList: true, characterData: true, subtree: true });
    });
    await lookAgainUntil(page, url);
    const lines = await page.evaluate(() => window.written);
    if (lines.length > 0) written[path] = lines;
  }
  assert.deepEqual(written, {});
});

test("what stands beside the chart says that it rests on a page that nobody touches, and is asked for when somebody does", async () => {
  const page = await (await browser.newContext()).newPage();
  await page.clock.install();
  await page.goto(`${service.url}/?region=Moon`);
  const tile = page.locator('[data-testid="number-ones"] li', { hasText: "Mars" });
  const first = page.locator('[data-testid="chart-beside"] li').nth(1);
  /** @param {string} title @param {boolean} isOld */
  const isThere = async (title, isOld) => {
    for (const it of [tile, first]) assert.ok((await it.innerText()).includes(title), await it.innerText());
    for (const id of ["ones", "beside"]) {
      const said = await page.locator(`#${id}-title`).evaluate((heading) => getComputedStyle(heading, "::after").content);
      assert.equal(/not up to date/.test(said), isOld, id);
    }
  };
  await page.clock.runFor(1_000);
  await eventually(() => isThere("First song", false));
  for (let minutes = 0; minutes < 16; minutes += 4) await page.clock.runFor(240_000);
  let asked = 0;
  page.on("request", (request) => void (asked += Number(/k=1&|k=1$|k=5/.test(request.url()))));
  await page.clock.runFor(60_000);
  assert.equal(asked, 0);
  await eventually(() => isThere("First song", true));
  await changeCharts(page, (chart) => ({
    ...chart,
    top_posts: chart.top_posts.map((post) => (post.post_id === "one" ? { ...post, content: "Changed song" } : post)),
  }));
  // At once, not when it would have been its turn.
  await page.mouse.move(10, 10);
  await eventually(() => isThere("Changed song", false));
});

test("plays per second are not known after an error, nor on a page that nobody touches", async () => {
  const page = await (await browser.newContext()).newPage();
  await page.clock.install();
  await page.goto(`${service.url}/?region=Mars`);
  await shows(page, LEADERS);
  const rate = () => text(page, "#rate");
  /** @param {boolean} isKnown @param {number} [everyMs] */
  const isThere = (isKnown, everyMs = 5_000) =>
    eventually(async () => {
      await page.clock.runFor(everyMs);
      assert.equal((await rate()) !== "–", isKnown);
    });
  await isThere(true);
  await page.route("**/top-posts*timeframe=1m*", (route) => route.abort());
  await isThere(false);
  await page.unroute("**/top-posts*timeframe=1m*");
  await isThere(true);
  for (let minutes = 0; minutes < 16; minutes += 4) await page.clock.runFor(240_000);
  assert.equal(await rate(), "–");
  await page.mouse.move(10, 10);
  await page.mouse.move(20, 20);
  await isThere(true);
});

test("a key that is not the right one is told so", async () => {
  const page = await (await browser.newContext()).newPage();
  await page.route("**/top-posts*", async (route) => {
    const { authorization, ...headers } = route.request().headers();
    if (authorization === "Bearer right") return route.continue({ headers });
    await route.fulfill({ status: 401, json: { status: 401, code: "unauthorized", detail: "A key, please." } });
  });
  await page.goto(`${service.url}/?region=Mars`);
  await eventually(async () => assert.match(await text(page, "#panel"), /need a key[^]*kept in this tab/));
  await page.getByLabel("Key").fill("wrong");
  await page.getByRole("button", { name: "Show the chart" }).click();
  await eventually(async () => assert.match(await text(page, "#panel"), /need a key[^]*The key is not the right one/));
  await page.keyboard.type("right");
  await page.keyboard.press("Enter");
  await shows(page, LEADERS);
});

test("a post's page that does not load says so", async () => {
  const page = await (await browser.newContext()).newPage();
  await page.route("**/page/post.js", (route) => route.abort());
  await page.goto(`${service.url}/?post=one`);
  await eventually(async () => assert.match(await text(page, "#post"), /This post cannot be shown now[^]*Try again/));
  await page.unroute("**/page/post.js");
  await page.getByRole("button", { name: "Try again" }).click();
  await eventually(async () => assert.equal(await text(page, "#post h1"), "First song"));
});

// A second board shows on every page: this is the last one.
test("the number ones are those of regions that have plays on the board that is shown", async () => {
  await service.put("/boards/jazz", { board_name: "Jazz" });
  await service.send([{ post_id: "two", region_id: "AF", boards: ["jazz"] }]);
  const regions = async () => (await service.get("/regions?board=jazz")).regions.filter(({ views_24h }) => views_24h > 0);
  await eventually(async () => assert.deepEqual((await regions()).length, 1));
  const [{ region_name }] = await regions();
  const page = await open("/?region=global");
  const places = () => page.locator("#ones-list .place").allInnerTexts();
  await eventually(async () => assert.ok((await places()).includes("Mars") && !(await places()).includes(region_name)));
  await page.locator("#board-pick").selectOption("jazz");
  await eventually(async () => assert.deepEqual(await places(), [region_name]));
});
