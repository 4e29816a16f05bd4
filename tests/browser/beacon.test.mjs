/**
 * The beacon in a real browser, on a foreign page with a strict policy, against the real service
 * behind a proxy that misbehaves in every way a network may: each play is counted exactly once.
 *
 * Each test trusts what the service answers about a batch, since charts take their seconds; the last
 * one compares the sum of all these answers with the chart.
 */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { gzipSync } from "node:zlib";
import { transform } from "esbuild";
import { CHART_TIMEOUT_MS, Service } from "../runtime/harness.mjs";
import { launchChromium } from "./chromium.mjs";

const WWW = new URL("../../www/", import.meta.url);
const ARGS = ["--disable-blink-features=AutomationControlled", "--autoplay-policy=no-user-gesture-required"];
const GZIPPED_BYTES = 1600;
/** Two failures, their pauses and a slow machine; nothing waits longer than it must. */
const RETRIES_MS = 30_000;

let browser;
let service;
let site;

before(async () => {
  service = await startService();
  site = await startSite(service.url);
  browser = await launchChromium(ARGS, { ignoreDefaultArgs: ["--disable-back-forward-cache"] });
});

after(async () => {
  await browser?.close();
  await Promise.all([service?.stop(), site?.stop()]);
});

beforeEach(() => service.reset());
afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));

test(`is under ${GZIPPED_BYTES} bytes, minified and gzipped`, async () => {
  const { code } = await transform(await readFile(new URL("beacon.js", WWW), "utf8"), { minify: true, target: "es2022" });
  const bytes = gzipSync(code, { level: 9 }).length;
  assert.ok(bytes < GZIPPED_BYTES, `${bytes} bytes`);
});

test("a play is one request: text, no preflight, no cookie", async () => {
  const page = await open("");
  await page.evaluate(() => hitparade.play("a"));
  await counted({ a: 1 });
  assert.equal(service.requests.length, 1);
  const [{ method, headers, body }] = service.requests;
  assert.equal(method, "POST");
  assert.match(headers["content-type"], /^text\/plain/);
  assert.equal(headers.cookie, undefined);
  assert.equal(body.seq, 0);
  assert.ok(body.now >= body.sent && body.sent >= body.plays[0].timestamp);
});

test("1,000 plays in a burst", async () => {
  const page = await open("");
  await page.evaluate(() => {
    for (let i = 0; i < 1000; i += 1) hitparade.play(`p${i % 7}`);
  });
  await counted(Object.fromEntries(Array.from({ length: 7 }, (_, i) => [`p${i}`, i < 6 ? 143 : 142])));
  assert.ok(service.requests.length <= 20, `${service.requests.length} requests`);
});

test("1,000 plays, and the tab is closed at once", async () => {
  const page = await open("");
  await page.evaluate(() => {
    for (let i = 0; i < 1000; i += 1) hitparade.play("x");
  });
  await page.close();
  await counted({ x: 1000 });
});

test("tab closed at once", async () => {
  const page = await open("");
  await page.evaluate(() => hitparade.play("gone"));
  await page.close();
  await counted({ gone: 1 });
});

test("another page at once", async () => {
  const page = await open("");
  await page.evaluate(() => hitparade.play("left"));
  await page.goto(`${site.url}/plain`);
  await counted({ left: 1 });
});

test("offline and back", async () => {
  const page = await open("");
  await page.context().setOffline(true);
  await page.evaluate(() => hitparade.play("tunnel"));
  await page.waitForTimeout(3000);
  assert.deepEqual(service.counts(), {});
  await page.context().setOffline(false);
  await counted({ tunnel: 1 });
});

test("429 and 503: waits as told, comes again under the same name", async () => {
  for (const status of [429, 503]) {
    service.reset();
    const page = await open("");
    service.faults.push({ status, retryAfter: 3 }, { status, retryAfter: 1 });
    await page.evaluate(() => hitparade.play("busy"));
    await counted({ busy: 1 });
    assert.equal(service.requests.length, 3);
    assert.equal(new Set(service.requests.map(({ body }) => `${body.client} ${body.seq} ${body.sent}`)).size, 1);
    const [first, second] = service.requests;
    assert.ok(second.at - first.at >= 3000, `asked again after ${second.at - first.at} ms`);
  }
});

test("a hanging answer is given up and asked for again", async () => {
  const page = await open("");
  service.faults.push({ hang: true });
  await page.evaluate(() => hitparade.play("hang"));
  await counted({ hang: 1 });
});

test("an answer that is lost on its way: counted once", async () => {
  const page = await open("");
  service.faults.push({ countThenCut: true }, { countThenCut: true });
  await page.evaluate(() => hitparade.play("lost"));
  await until(() => service.requests.length === 3);
  await counted({ lost: 1 });
});

test("sent again from another country: under the home that it was sealed with, and counted once", async () => {
  for (const persist of ["", "data-persist"]) {
    service.reset();
    const page = await open(persist);
    service.faults.push({ countThenCut: true }, { status: 503 });
    await page.evaluate(() => hitparade.play("travels"));
    await until(() => service.requests.length === 1);
    service.country = "DE";
    await counted({ travels: 1 });
    await until(() => service.requests.length === 3);
    await page.evaluate(() => hitparade.play("has arrived"));
    await counted({ travels: 1, "has arrived": 1 });
    const homes = service.requests.map(({ body }) => body.home);
    assert.deepEqual(homes, ["NA/1", "NA/1", "NA/1", "EU/1"]);
  }
});

test("the service goes away and comes back", async () => {
  const page = await open("");
  await service.away();
  await page.evaluate(() => hitparade.play("away"));
  await page.waitForTimeout(4000);
  await service.back();
  await counted({ away: 1 });
});

test("a refusal is final, and does not hold up others", async () => {
  const page = await open("");
  service.faults.push({ status: 400 });
  await page.evaluate(() => hitparade.play("refused"));
  await until(() => service.requests.length === 1);
  await page.evaluate(() => hitparade.play("fine"));
  await counted({ fine: 1 });
  assert.equal(service.requests.length, 2);
});

test("reload between try and retry", async () => {
  const page = await open("");
  service.faults.push({ countThenCut: true }, { status: 503, retryAfter: 2 });
  await page.evaluate(() => hitparade.play("reload"));
  await until(() => service.requests.length >= 1);
  await page.reload();
  await until(() => service.requests.length >= 3);
  await counted({ reload: 1 });
});

for (const attributes of ["", "data-persist"]) {
  test(`two tabs ${attributes}`, async () => {
    const one = await open(attributes);
    const two = await open(attributes, one.context());
    await one.context().setOffline(true);
    for (const page of [one, two])
      await page.evaluate(() => {
        for (let i = 0; i < 120; i += 1) hitparade.play("tabs");
      });
    await one.waitForTimeout(2500);
    service.faults.push({ countThenCut: true }, { status: 503, retryAfter: 1 });
    await one.context().setOffline(false);
    await counted({ tabs: 240 });
    await one.waitForTimeout(3000);
    await counted({ tabs: 240 });
  });
}

test("data-persist: what was never tried outlives the tab", async () => {
  const page = await open("data-persist");
  const context = page.context();
  await context.setOffline(true);
  await page.evaluate(() => hitparade.play("kept"));
  await page.waitForTimeout(2500);
  await page.close();
  await context.setOffline(false);
  const later = await open("data-persist", context);
  await counted({ kept: 1 });
  await later.waitForFunction(() => localStorage.length === 0);
});

test("past the horizon a tried batch is dropped, one that was never tried is not", async () => {
  const page = await open("data-persist", undefined, "/plain");
  await page.evaluate(() => {
    const batch = { client: "old", plays: [{ post_id: "old", timestamp: Date.now() }] };
    localStorage["hitparade.old0"] = JSON.stringify({ ...batch, seq: 0, sent: Date.now() - 16 * 60_000 });
    localStorage["hitparade.old1"] = JSON.stringify({ ...batch, seq: 1, sent: 0 });
    localStorage["hitparade.junk"] = "{";
  });
  await page.goto(page.address);
  await page.waitForFunction(() => localStorage.length === 0);
  await counted({ old: 1 });
});

test("data-persist: plays that are over a day old when they can be sent are refused, once, and hold up nothing", async () => {
  const page = await open("data-persist", undefined, "/plain");
  await page.evaluate(() => {
    const hoursAgo = (hours) => Date.now() - hours * 3_600_000;
    const keep = (name, hours) => {
      const batch = { client: name, seq: 0, sent: 0, plays: [{ post_id: name, timestamp: hoursAgo(hours) }] };
      localStorage[`hitparade.${name}0`] = JSON.stringify(batch);
    };
    keep("days", 72);
    keep("yesterday", 23);
  });
  await page.goto(page.address);
  await page.waitForFunction(() => localStorage.length === 0);
  assert.deepEqual(service.counts(), { yesterday: 1 });
  assert.equal(service.requests.length, 2);
});

test("a clock that is wrong by ten minutes is told as it is", async () => {
  const page = await open("", undefined, "/plain");
  await page.addInitScript(() => {
    const real = Date.now;
    Date.now = () => real() + 600_000;
  });
  await page.goto(page.address);
  service.faults.push({ status: 503, retryAfter: 1 });
  await page.evaluate(() => hitparade.play("clock"));
  await counted({ clock: 1 });
  const { body, at } = service.requests.at(-1);
  assert.ok(Math.abs(body.now - at - 600_000) < 2000);
  assert.ok(body.now - body.sent >= 900);
});

test("back out of the page cache", async () => {
  const page = await open("");
  service.faults.push({ countThenCut: true });
  await page.evaluate(() => {
    addEventListener("pageshow", ({ persisted }) => (window.cached = persisted));
    hitparade.play("cache");
  });
  await page.goto(`${site.url}/plain`);
  await page.waitForTimeout(500);
  await page.goBack({ waitUntil: "commit" });
  await page.waitForFunction(() => window.cached);
  await page.evaluate(() => hitparade.play("cache"));
  await counted({ cache: 2 });
});

test("a storage that is closed, a storage that is full", async () => {
  for (const trouble of ["closed", "full"]) {
    service.reset();
    const page = await open("", undefined, "/plain");
    await page.addInitScript((how) => {
      if (how === "closed")
        Object.defineProperty(window, "sessionStorage", {
          get: () => {
            throw new DOMException("no", "SecurityError");
          },
        });
      else
        for (let size = 2 ** 22; size >= 1; size = Math.floor(size / 2))
          try {
            sessionStorage[`fill${size}`] = "x".repeat(size);
          } catch {}
    }, trouble);
    await page.goto(page.address);
    service.faults.push({ status: 503, retryAfter: 1 });
    await page.evaluate(() => hitparade.play("stored"));
    await counted({ stored: 1 });
    assert.equal(service.requests.length, 2);
  }
});

test("prerendered pages and automated browsers count nothing", async () => {
  const page = await open("data-post=page", undefined, "/plain");
  await page.addInitScript(() => Object.defineProperty(Document.prototype, "prerendering", { get: () => !window.shown }));
  await page.goto(page.address);
  await page.evaluate(() => hitparade.play("early"));
  await page.waitForTimeout(4000);
  assert.deepEqual(service.counts(), {});
  await page.evaluate(() => {
    window.shown = true;
    document.dispatchEvent(new Event("prerenderingchange"));
  });
  await counted({ early: 1, page: 1 });

  service.reset();
  const robot = await open("data-post=page", undefined, "/plain");
  await robot.addInitScript(() => Object.defineProperty(Navigator.prototype, "webdriver", { get: () => true }));
  await robot.goto(robot.address);
  await robot.evaluate(() => hitparade.play("robot"));
  await robot.waitForTimeout(3500);
  assert.deepEqual(service.counts(), {});
});

test("Do Not Track and Global Privacy Control, when told to", async () => {
  for (const [property, value] of [
    ["doNotTrack", "1"],
    ["globalPrivacyControl", true],
  ]) {
    for (const attributes of ["data-dnt", ""]) {
      service.reset();
      const page = await open(attributes, undefined, "/plain");
      await page.addInitScript(([name, said]) => Object.defineProperty(Navigator.prototype, name, { get: () => said }), [property, value]);
      await page.goto(page.address);
      await page.evaluate(() => hitparade.play("dnt"));
      if (attributes) {
        await page.waitForTimeout(3000);
        assert.deepEqual(service.counts(), {});
      } else {
        await counted({ dnt: 1 });
      }
    }
  }
});

test("data-post, data-after: a play after so long of visible time, once in a session", async () => {
  const page = await open("data-post=article data-after=2s data-once=session");
  await counted({ article: 1 });
  const [{ timestamp }] = service.requests[0].body.plays;
  const visibleMs = timestamp - (await page.evaluate(() => performance.timeOrigin));
  assert.ok(visibleMs >= 2000, `counted after ${visibleMs} ms`);
  await page.reload();
  await page.waitForTimeout(6000);
  assert.deepEqual(service.counts(), { article: 1 });
});

test("elements count when they are seen", async () => {
  const page = await open("", undefined, "/feed");
  await counted({ first: 1 });
  await page.evaluate(() => document.getElementById("second").scrollIntoView({ block: "center" }));
  await counted({ first: 1, second: 1 });
  await page.evaluate(() => (document.getElementById("second").dataset.post = "third"));
  await counted({ first: 1, second: 1, third: 1 });
});

test("audio counts when it has played long enough, and again when it is played again", async () => {
  const page = await open("", undefined, "/song");
  await page.waitForTimeout(2500);
  assert.deepEqual(service.counts(), {});
  await page.evaluate(() => document.querySelector("audio").play());
  await counted({ song: 1 });
  await page.waitForFunction(() => document.querySelector("audio").ended);
  // The beacon looks every second: on the page's own clock it has by then, however slow the machine is.
  await page.evaluate(() => new Promise((done) => setTimeout(done, 1500)));
  await page.evaluate(() => document.querySelector("audio").play());
  await counted({ song: 2 });
});

test("as a module", async () => {
  const page = await open("", undefined, "/plain");
  await page.goto(`${site.url}/module`);
  await counted({ module: 1 });
});

test("under names of its own, which no block list knows", async () => {
  const own = await Service.start({ BEACON_PATH: "/media/s.js", PLAYS_PATH: "/media/p" });
  const ownSite = await startSite(own.url, "/media/s.js");
  try {
    const page = await (await browser.newContext()).newPage();
    const paths = [];
    page.on("request", (request) => paths.push(new URL(request.url()).pathname));
    for (const path of ["/page?data-post=own", "/module"]) {
      const answered = page.waitForResponse(`${own.url}/media/p`);
      await page.goto(ownSite.url + path);
      assert.deepEqual(await (await answered).json(), { accepted: 1, rejected: [], repeated: false });
    }
    assert.ok(paths.includes("/media/s.mjs"), `${paths}`);
    assert.deepEqual(
      paths.filter((path) => /beacon|plays/.test(path)),
      [],
    );
    // The usual names stay; what is served under them sends to the new one.
    assert.match(await (await own.fetch("/beacon.js")).text(), /"\/media\/p"/);
    assert.equal((await own.request("POST", "/plays", { post_id: "own" })).status, 202);
  } finally {
    ownSite.stop();
    await own.dispose();
  }
});

test("the chart says the same as all the answers before", async () => {
  const chart = async () => {
    const { top_posts: posts } = await service.upstream.get("/top-posts?timeframe=all&k=1000");
    return Object.fromEntries(posts.map((post) => [post.post_id, post.view_count]));
  };
  for (const end = Date.now() + CHART_TIMEOUT_MS; Date.now() < end;) {
    if (JSON.stringify(sorted(await chart())) === JSON.stringify(sorted(service.totals))) break;
    await new Promise((done) => setTimeout(done, 500));
  }
  assert.deepEqual(sorted(await chart()), sorted(service.totals));
});

/** A page with the beacon; `/plain` opens one without it first, to prepare what the beacon then finds at `address`. */
async function open(attributes, context, path = "/page") {
  const page = await (context ?? (await browser.newContext())).newPage();
  page.address = `${site.url}${path === "/plain" ? "/page" : path}?${encodeURIComponent(attributes)}`;
  await page.goto(path === "/plain" ? `${site.url}/plain` : page.address);
  return page;
}

/** Waits for exactly these counts. */
async function counted(expected, withinMs = RETRIES_MS) {
  await until(() => JSON.stringify(sorted(service.counts())) === JSON.stringify(sorted(expected)), withinMs).catch(() => {});
  assert.deepEqual(service.counts(), expected);
}

const sorted = (counts) => Object.entries(counts).sort();

async function until(holds, withinMs = RETRIES_MS) {
  for (const end = Date.now() + withinMs; !holds();) {
    if (Date.now() > end) throw new Error("did not happen in time");
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** The real service, behind a proxy that does to one request after the other what `faults` says. */
async function startService() {
  const upstream = await Service.start({
    TRUSTED_PROXIES: "127.0.0.1",
    CLIENT_ADDRESS_HEADER: "X-Forwarded-For",
    COUNTRY_HEADER: "X-Country",
  });
  const service = { upstream, faults: [], requests: [], totals: {}, country: "US" };
  let counts = {};
  service.counts = () => ({ ...counts });
  service.reset = () => {
    counts = {};
    service.faults = [];
    service.requests = [];
    service.country = "US";
  };

  const forward = async (request, text) => {
    const { method, headers } = request;
    const type = headers["content-type"];
    const from = { "X-Country": service.country, ...(type && { "Content-Type": type }) };
    const answer = await upstream.fetch(request.url, { method, headers: from, body: text || undefined });
    return { status: answer.status, headers: answer.headers, text: await answer.text() };
  };
  const count = ({ plays }, { accepted, rejected, repeated }) => {
    assert.deepEqual({ accepted, rejected }, { accepted: plays.length, rejected: [] });
    if (repeated) return;
    for (const { post_id } of plays) {
      counts[post_id] = (counts[post_id] ?? 0) + 1;
      service.totals[post_id] = (service.totals[post_id] ?? 0) + 1;
    }
  };
  const server = createServer(async (request, response) => {
    const at = Date.now();
    const { method, headers } = request;
    let text = "";
    for await (const chunk of request) text += chunk;
    let fault = {};
    if (request.url === "/plays") {
      service.requests.push({ at, method, headers, body: JSON.parse(text) });
      fault = service.faults.shift() ?? {};
    }
    if (fault.hang) return;
    response.setHeader("Access-Control-Allow-Origin", "*");
    response.setHeader("Access-Control-Expose-Headers", "Retry-After, Hitparade-Home");
    if (fault.status) {
      if (fault.retryAfter) response.setHeader("Retry-After", String(fault.retryAfter));
      return response.writeHead(fault.status).end("{}");
    }
    const answer = await forward(request, text);
    if (answer.status === 202) count(JSON.parse(text), JSON.parse(answer.text));
    if (fault.countThenCut) return request.socket.destroy();
    for (const name of ["Content-Type", "Hitparade-Home"]) {
      if (answer.headers.has(name)) response.setHeader(name, answer.headers.get(name));
    }
    response.writeHead(answer.status).end(answer.text);
  });
  const listen = (port) => new Promise((done) => server.listen(port, "127.0.0.1", done));
  await listen(0);
  const { port } = server.address();
  service.url = `http://127.0.0.1:${port}`;
  service.away = () =>
    new Promise((done) => {
      server.close(done);
      server.closeAllConnections();
    });
  service.back = () => listen(port);
  service.stop = () => Promise.all([service.away(), upstream.dispose()]);
  return service;
}

/** The page that wants its plays counted: another origin, which allows the service's and nothing else. */
async function startSite(serviceUrl, beacon = "/beacon.js") {
  const silence = silentWav(3);
  const server = createServer((request, response) => {
    const { pathname, search } = new URL(request.url, "http://site");
    if (pathname === "/silence.wav") return response.setHeader("Content-Type", "audio/wav").end(silence);
    response.setHeader(
      "Content-Security-Policy",
      `default-src 'none'; script-src ${serviceUrl} 'self'; connect-src ${serviceUrl}; media-src 'self'`,
    );
    if (pathname === "/module.js") {
      return response
        .setHeader("Content-Type", "text/javascript")
        .end(`import { play } from "${serviceUrl}${beacon.replace(".js", ".mjs")}"; play("module");`);
    }
    response.setHeader("Content-Type", "text/html");
    const script = `<script async src="${serviceUrl}${beacon}" ${decodeURIComponent(search.slice(1))}></script>`;
    const bodies = {
      "/page": script,
      "/feed": `${script}<p data-post="first">First</p>${"<br>".repeat(200)}<p id="second" data-post="second">Second</p>${"<br>".repeat(200)}`,
      "/song": `${script}<audio src="/silence.wav" data-post="song" data-after="1s"></audio>`,
      "/module": `<script type="module" src="/module.js"></script>`,
    };
    response.end(`<!doctype html><title>A page</title>${bodies[pathname] ?? ""}`);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://localhost:${server.address().port}`,
    stop: () =>
      new Promise((done) => {
        server.close(done);
        server.closeAllConnections();
      }),
  };
}

/** A sound without sound: 8 kHz, 8 bit, one channel. */
function silentWav(seconds) {
  const samples = 8000 * seconds;
  const wav = Buffer.alloc(44 + samples, 128);
  wav.write("RIFF", 0);
  wav.writeUInt32LE(36 + samples, 4);
  wav.write("WAVEfmt ", 8);
  wav.writeUInt32LE(16, 16);
  wav.writeUInt16LE(1, 20);
  wav.writeUInt16LE(1, 22);
  wav.writeUInt32LE(8000, 24);
  wav.writeUInt32LE(8000, 28);
  wav.writeUInt16LE(1, 32);
  wav.writeUInt16LE(8, 34);
  wav.write("data", 36);
  wav.writeUInt32LE(samples, 40);
  return wav;
}
