/**
 * The beacon in real browsers, on a foreign page with a strict policy, against the real service
 * behind a proxy that misbehaves in every way a network may: each play is counted exactly once.
 * ENGINE says in which browser (`npm run dev -- engines`); Chromium if nothing does.
 *
 * Each test trusts what the service answers about a batch, since charts take their seconds; the last
 * one compares the sum of all these answers with the chart.
 */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { readPackage } from "../../scripts/lib/release.mjs";
import { Service, eventually } from "../runtime/harness.mjs";
import { CANNOT, launch } from "./engines.mjs";
import { silentWav } from "./sound.mjs";

const GZIPPED_BYTES = 1900;
/** Two failures, their pauses and a slow machine; nothing waits longer than it must. */
const RETRIES_MS = 30_000;
/** What comes by itself has come by then: two ticks, a batch, its way. */
const SETTLED_MS = 4_500;
const ENGINE = process.env.ENGINE ?? "chromium";
/** The few tests that say most about an engine, for who has three minutes. */
const IS_SHORT = process.env.SHORT === "1";
const VERSION = readPackage().version;

/** A test for all engines. */
const everywhere = (name, work) => test(name, { timeout: 120_000 }, work);
/** … for those whose driver can do a thing, which the others list in CANNOT, and where there is time. */
const where = (need, name, work) => !IS_SHORT && !CANNOT[ENGINE][need] && everywhere(name, work);
const ifTime = (name, work) => !IS_SHORT && everywhere(name, work);

let browser;
let service;
let site;

before(async () => {
  service = await startService();
  site = await startSite(service.url);
  browser = await launch(ENGINE);
});

after(async () => {
  await browser?.close();
  await Promise.all([service?.stop(), site?.stop()]);
});

beforeEach(() => service.reset());
const visitors = new Set();
const allLeave = async () => {
  for (const visitor of visitors) await visitor.leave().catch(() => {});
  visitors.clear();
};
afterEach(allLeave);

ifTime(`is at most ${GZIPPED_BYTES} bytes, gzipped, as it is served, but for the home in it`, async () => {
  const served = await (await service.upstream.fetch("/beacon.js")).text();
  const bytes = gzipSync(served.replace(/home:"[^"]*"/, 'home:""'), { level: 9 }).length;
  assert.ok(bytes <= GZIPPED_BYTES, `${bytes} bytes`);
});

everywhere("a play is one request: text, no preflight, no cookie", async () => {
  const tab = await open("");
  await tab.evaluate(() => hitparade.play("a"));
  await counted({ a: 1 });
  assert.equal(service.requests.length, 1);
  const [{ method, headers, body }] = service.requests;
  assert.equal(method, "POST");
  assert.match(headers["content-type"], /^text\/plain/);
  assert.equal(headers.cookie, undefined);
  assert.equal(body.seq, 0);
  assert.ok(body.now >= body.sent && body.sent >= body.plays[0].timestamp);
});

ifTime("1,000 plays in a burst", async () => {
  const tab = await open("");
  await playMany(tab, 1000);
  await counted(many(1000));
  assert.ok(service.requests.length <= 20, `${service.requests.length} requests`);
});

where("burst", "1,000 plays, and the tab is closed at once", async () => {
  const tab = await open("");
  await playMany(tab, 1000);
  await tab.close();
  await counted(many(1000));
});

everywhere("tab closed at once", async () => {
  const tab = await open("");
  await tab.evaluate(() => hitparade.play("gone"));
  await tab.close();
  await counted({ gone: 1 });
});

ifTime("another page at once", async () => {
  const tab = await open("");
  await tab.evaluate(() => hitparade.play("left"));
  await tab.goto(`${site.url}/plain`);
  await counted({ left: 1 });
});

where("offline", "offline and back", async () => {
  const tab = await open("");
  await tab.visitor.setOffline(true);
  await tab.evaluate(() => hitparade.play("tunnel"));
  await sleep(3000);
  assert.deepEqual(service.counts(), {});
  await tab.visitor.setOffline(false);
  await counted({ tunnel: 1 });
});

ifTime("429 and 503: waits as told, comes again under the same name", async () => {
  for (const status of [429, 503]) {
    service.reset();
    const tab = await open("");
    service.faults.push({ status, retryAfter: 3 }, { status, retryAfter: 1 });
    await tab.evaluate(() => hitparade.play("busy"));
    await counted({ busy: 1 });
    assert.equal(service.requests.length, 3);
    assert.equal(new Set(service.requests.map(({ body }) => `${body.client} ${body.seq} ${body.sent}`)).size, 1);
    const [first, second] = service.requests;
    assert.ok(second.at - first.at >= 3000, `asked again after ${second.at - first.at} ms`);
  }
});

ifTime("a hanging answer is given up and asked for again", async () => {
  const tab = await open("");
  service.faults.push({ hang: true });
  await tab.evaluate(() => hitparade.play("hang"));
  await counted({ hang: 1 });
});

everywhere("an answer that is lost on its way: counted once", async () => {
  const tab = await open("");
  service.faults.push({ countThenCut: true }, { countThenCut: true });
  await tab.evaluate(() => hitparade.play("lost"));
  await until(() => service.requests.length >= 3);
  await counted({ lost: 1 });
});

ifTime("sent again from another country: under the home that it was sealed with, and counted once", async () => {
  for (const persist of ["", "data-persist"]) {
    service.reset();
    const tab = await open(persist);
    service.faults.push({ countThenCut: true }, { status: 503 });
    await tab.evaluate(() => hitparade.play("travels"));
    await until(() => service.requests.length === 1);
    service.country = "DE";
    await counted({ travels: 1 });
    await until(() => service.requests.length === 3);
    await tab.evaluate(() => hitparade.play("has arrived"));
    await counted({ travels: 1, "has arrived": 1 });
    const homes = service.requests.map(({ body }) => body.home);
    assert.deepEqual(homes, ["NA/1", "NA/1", "NA/1", "EU/1"]);
  }
});

ifTime("the service goes away and comes back", async () => {
  const tab = await open("");
  await service.away();
  await tab.evaluate(() => hitparade.play("away"));
  await sleep(4000);
  await service.back();
  await counted({ away: 1 });
});

everywhere("a refusal is final, does not hold up others, and is said on the console", async () => {
  const tab = await open("");
  service.faults.push({ status: 400 });
  await tab.evaluate(() => hitparade.play("refused"));
  await until(() => service.requests.length === 1);
  await tab.evaluate(() => hitparade.play("fine"));
  await counted({ fine: 1 });
  assert.equal(service.requests.length, 2);
  assert.deepEqual(await tab.evaluate("said"), [`hitparade: ${service.url}/plays 400 {}`]);
});

ifTime("a board that there is not is said on the console, once, and the others count", async () => {
  const tab = await open("");
  for (const [number, post] of ["a", "b"].entries()) {
    await tab.evaluate((id) => hitparade.play(id, { board: "main,typo" }), post);
    await until(() => service.requests.length > number);
  }
  await counted({ a: 1, b: 1 });
  await holds(tab, "said.length > 0");
  const said = await tab.evaluate("said");
  assert.equal(said.length, 1, `${said}`);
  assert.match(said[0], /^hitparade: "code":"unknown_board",.*"board":"typo"$/);
});

ifTime("a page that ALLOWED_ORIGINS does not name is told so on the console, once, and what to do", async () => {
  const closed = await Service.start({ ALLOWED_ORIGINS: "https://elsewhere.example" });
  const closedSite = await startSite(closed.url);
  try {
    const tab = await open("", { site: closedSite });
    for (const [number, post] of ["one", "two"].entries()) {
      await tab.evaluate((id) => hitparade.play(id), post);
      const answers = `performance.getEntriesByType("resource").filter(({ name }) => name.endsWith("/plays")).length`;
      await holds(tab, `${answers} > ${number} && sessionStorage.length === 0`);
    }
    await sleep(500);
    const said = await tab.evaluate("said");
    assert.equal(said.length, 1, `${said}`);
    assert.match(said[0], /^hitparade: .*\/plays 403 .*ALLOWED_ORIGINS/);
    assert.equal(await tab.evaluate("Object.keys(sessionStorage).length"), 0);
  } finally {
    closedSite.stop();
    await closed.dispose();
  }
});

ifTime("reload between try and retry", async () => {
  const tab = await open("");
  service.faults.push({ countThenCut: true }, { status: 503, retryAfter: 2 });
  await tab.evaluate(() => hitparade.play("reload"));
  await until(() => service.requests.length >= 1);
  await tab.reload();
  await until(() => service.requests.length >= 3);
  await counted({ reload: 1 });
});

for (const attributes of ["", "data-persist"]) {
  where("offline", `two tabs ${attributes}`, async () => {
    const one = await open(attributes);
    const two = await open(attributes, { visitor: one.visitor });
    await one.visitor.setOffline(true);
    for (const tab of [one, two]) await playMany(tab, 120);
    await sleep(2500);
    service.faults.push({ countThenCut: true }, { status: 503, retryAfter: 1 });
    await one.visitor.setOffline(false);
    await counted(many(120, 2));
    await sleep(3000);
    await counted(many(120, 2));
  });
}

where("offline", "data-persist: what was never tried outlives the tab", async () => {
  const tab = await open("data-persist");
  const { visitor } = tab;
  const spare = await open("data-persist", { visitor, path: "/plain" });
  await visitor.setOffline(true);
  await tab.evaluate(() => hitparade.play("kept"));
  await holds(tab, "localStorage.length === 1");
  await sleep(2000);
  // It has been asked whether there is a network; the batch was never tried.
  assert.equal(await tab.evaluate(`JSON.parse(Object.values(localStorage)[0]).sent`), 0);
  await tab.close();
  await visitor.setOffline(false);
  await spare.goto(spare.address);
  await counted({ kept: 1 });
  await holds(spare, "localStorage.length === 0");
});

ifTime("past the horizon a tried batch is dropped, one that was never tried is not", async () => {
  const tab = await open("data-persist", { path: "/plain" });
  await tab.evaluate(() => {
    const batch = { client: "old", plays: [{ post_id: "old", timestamp: Date.now() }] };
    localStorage["hitparade.old0"] = JSON.stringify({ ...batch, seq: 0, sent: Date.now() - 16 * 60_000 });
    localStorage["hitparade.old1"] = JSON.stringify({ ...batch, seq: 1, sent: 0 });
    localStorage["hitparade.junk"] = "{";
  });
  await tab.goto(tab.address);
  await holds(tab, "localStorage.length === 0");
  await counted({ old: 1 });
});

const OUTBOXES = join(ROOT, "tests", "golden", "outbox");
for (const file of readdirSync(OUTBOXES))
  everywhere(`data-persist: an outbox of ${file.slice(0, -5)} is sent as it was sealed`, async () => {
    const outbox = JSON.parse(readFileSync(join(OUTBOXES, file), "utf8"));
    const tab = await open("data-persist", { path: "/plain" });
    await tab.evaluate((kept) => {
      for (const [key, batch] of Object.entries(kept)) {
        // A minute ago, as the service knows a batch for 15, and takes no plays that are older than a day.
        for (const play of batch.plays) play.timestamp = Date.now() - 60_000;
        localStorage[key] = JSON.stringify({ ...batch, sent: batch.sent && Date.now() - 59_000 });
      }
    }, outbox);
    await tab.goto(tab.address);
    await holds(tab, "localStorage.length === 0");
    await counted({ tried: 1, untried: 1, "on another": 1 });
    const sent = service.requests.map(({ body }) => body);
    for (const batch of Object.values(outbox)) {
      const body = sent.find(({ client, seq }) => client === batch.client && seq === batch.seq);
      assert.deepEqual([body?.home, body?.boards], [batch.home, batch.boards]);
      const playsOf = ({ plays }) => plays.map(({ post_id, boards }) => [post_id, boards]);
      assert.deepEqual(playsOf(body), playsOf(batch));
    }
  });

ifTime("data-persist: the outbox is as it was", async () => {
  const [newest] = readdirSync(OUTBOXES).sort().reverse();
  const tab = await open('data-persist data-board="main"');
  await tab.visitor.setOffline(true);
  await tab.evaluate(() => hitparade.play("kept", { board: "main" }));
  await holds(tab, "localStorage.length === 1");
  const [[key, batch]] = await tab.evaluate("Object.entries(localStorage)");
  const formOf = ([key, batch]) => [
    key.replace(/\d+/g, "0"),
    Object.keys(batch).sort(),
    ...batch.plays.map((play) => Object.entries(play).map(([name, value]) => `${name} ${typeof value}`)),
  ];
  const was = Object.entries(JSON.parse(readFileSync(join(OUTBOXES, newest), "utf8")))[0];
  assert.deepEqual(formOf([key, JSON.parse(batch)]), formOf(was));
});

ifTime("data-persist: plays that are over a day old when they can be sent are refused, once, and hold up nothing", async () => {
  const tab = await open("data-persist", { path: "/plain" });
  await tab.evaluate(() => {
    const hoursAgo = (hours) => Date.now() - hours * 3_600_000;
    const keep = (name, hours) => {
      const batch = { client: name, seq: 0, sent: 0, plays: [{ post_id: name, timestamp: hoursAgo(hours) }] };
      localStorage[`hitparade.${name}0`] = JSON.stringify(batch);
    };
    keep("days", 72);
    keep("yesterday", 23);
  });
  await tab.goto(tab.address);
  await holds(tab, "localStorage.length === 0");
  assert.deepEqual(service.counts(), { yesterday: 1 });
  assert.equal(service.requests.length, 2);
});

ifTime("a clock that is wrong by ten minutes is told as it is", async () => {
  const tab = await open("", {
    before: () => {
      const real = Date.now;
      Date.now = () => real() + 600_000;
    },
  });
  service.faults.push({ status: 503, retryAfter: 1 });
  await tab.evaluate(() => hitparade.play("clock"));
  await counted({ clock: 1 });
  const { body, at } = service.requests.at(-1);
  assert.ok(Math.abs(body.now - at - 600_000) < 10_000);
  assert.ok(body.now - body.sent >= 900);
});

where("bfcache", "back out of the page cache: what waited is sent, what was counted is not counted again", async () => {
  const tab = await open("data-post=page data-after=1s");
  await counted({ page: 1 });
  service.faults.push({ countThenCut: true });
  await tab.evaluate(() => {
    addEventListener("pageshow", ({ persisted }) => (window.cached = persisted));
    hitparade.play("cache");
  });
  await tab.goto(`${site.url}/plain`);
  await sleep(1500);
  await tab.back();
  await holds(tab, "window.cached");
  await tab.evaluate(() => hitparade.play("cache"));
  // Firefox lets a request that the cache has broken off hang until it is given up.
  await counted({ page: 1, cache: 2 }, 2 * RETRIES_MS);
  await sleep(SETTLED_MS);
  await counted({ page: 1, cache: 2 });
});

for (const trouble of ["closed", "missing", "full"]) {
  ifTime(`a storage that is ${trouble}`, async () => {
    const tab = await open("", {
      before: (how) => {
        const instead = (get) => Object.defineProperty(window, "sessionStorage", { get });
        if (how === "closed")
          instead(() => {
            throw new DOMException("no", "SecurityError");
          });
        else if (how === "missing") instead(() => null);
        else
          for (let size = 2 ** 22; size >= 1; size = Math.floor(size / 2))
            try {
              sessionStorage[`fill${size}`] = "x".repeat(size);
            } catch {}
      },
      argument: trouble,
    });
    service.faults.push({ status: 503, retryAfter: 1 });
    await tab.evaluate(() => hitparade.play("stored"));
    await counted({ stored: 1 });
    assert.equal(service.requests.length, 2);
  });
}

ifTime("data-persist: what was tried is not kept as untried where the storage became full", async () => {
  const visitor = await browser.newVisitor();
  visitors.add(visitor);
  service.faults.push({ countThenCut: true }, { status: 503, retryAfter: 900 });
  const tab = await open("data-persist", {
    visitor,
    before: () => {
      const own = localStorage;
      let writes = 0;
      const full = new Proxy(own, {
        get: (_, name) => own[name],
        deleteProperty: (_, name) => delete own[name],
        set: (_, name, value) => {
          if (writes++ > 0) throw new DOMException("full", "QuotaExceededError");
          own[name] = value;
          return true;
        },
      });
      Object.defineProperty(window, "localStorage", { get: () => full });
    },
  });
  const spare = await open("data-persist", {
    visitor,
    path: "/plain",
    before: () => {
      const real = Date.now;
      Date.now = () => real() + 21 * 60_000;
    },
  });
  await tab.evaluate(() => hitparade.play("tried"));
  await until(() => service.requests.length > 1);
  await tab.close();
  await spare.goto(spare.address);
  await sleep(SETTLED_MS);
  assert.equal(new Set(service.requests.map(({ body }) => body.sent)).size, 1, "it is not taken for new");
});

everywhere("a browser without AbortSignal.timeout, or that cannot abort at all, counts", async () => {
  for (const missing of ["timeout", "everything"]) {
    service.reset();
    const tab = await open("data-post=page", {
      before: (what) => {
        delete AbortSignal.timeout;
        delete AbortSignal.any;
        if (what === "everything") delete window.AbortController;
      },
      argument: missing,
    });
    await tab.evaluate(() => hitparade.play("old"));
    await counted({ old: 1, page: 1 });
  }
});

ifTime("a browser that has no fetch says so on the console, once, and throws nothing", async () => {
  const tab = await open("data-post=page", { before: () => delete window.fetch });
  await holds(tab, "said.length > 0");
  await sleep(1500);
  assert.deepEqual(await tab.evaluate("said"), ["hitparade: data-to? fetch?"]);
});

ifTime("navigator.onLine is a hint: who is online and said not to be counts, after a question that counts nothing", async () => {
  const tab = await open("", { before: () => Object.defineProperty(Navigator.prototype, "onLine", { get: () => false }) });
  await tab.evaluate(() => hitparade.play("vpn"));
  await counted({ vpn: 1 });
  await sleep(1100);
  await tab.evaluate(() => hitparade.play("vpn"));
  await counted({ vpn: 2 });
  assert.deepEqual(service.questions, ['{"plays":[]}']);
});

ifTime("who is said to be offline and is begins no attempt", async () => {
  const tab = await open("data-persist", { before: () => Object.defineProperty(Navigator.prototype, "onLine", { get: () => false }) });
  await service.away();
  await tab.evaluate(() => hitparade.play("tunnel"));
  await holds(tab, "localStorage.length === 1");
  await sleep(2000);
  assert.equal(await tab.evaluate(`JSON.parse(Object.values(localStorage)[0]).sent`), 0);
  await service.back();
  await counted({ tunnel: 1 });
});

ifTime("prerendered pages and automated browsers count nothing", async () => {
  const tab = await open("data-post=page", {
    before: () => {
      Object.defineProperty(Document.prototype, "prerendering", { get: () => !window.shown });
      Object.defineProperty(Document.prototype, "hidden", { get: () => !window.shown });
    },
  });
  await tab.evaluate(() => hitparade.play("early"));
  await sleep(4000);
  assert.deepEqual(service.counts(), {});
  await tab.evaluate(() => {
    window.shown = true;
    document.dispatchEvent(new Event("prerenderingchange"));
  });
  await counted({ early: 1, page: 1 });

  service.reset();
  const robot = await open("data-post=page", { before: () => (window.isRobot = true) });
  await robot.evaluate(() => hitparade.play("robot"));
  await sleep(3500);
  assert.deepEqual(service.counts(), {});
});

everywhere("a tab in the background counts when it is seen", async () => {
  const tab = await open("data-post=page", {
    path: "/feed",
    before: () => {
      window.isHidden = true;
      Object.defineProperty(Document.prototype, "hidden", { get: () => window.isHidden });
    },
  });
  await sleep(SETTLED_MS);
  assert.deepEqual(service.counts(), {});
  await tab.evaluate(() => {
    window.isHidden = false;
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await counted({ page: 1, first: 1 });
});

ifTime("Do Not Track and Global Privacy Control, when told to", async () => {
  for (const asked of [
    ["doNotTrack", "1"],
    ["globalPrivacyControl", true],
  ]) {
    for (const attributes of ["data-dnt", ""]) {
      service.reset();
      const tab = await open(attributes, {
        before: ([name, said]) => Object.defineProperty(Navigator.prototype, name, { get: () => said }),
        argument: asked,
      });
      await tab.evaluate(() => hitparade.play("dnt"));
      if (attributes) {
        await sleep(3000);
        assert.deepEqual(service.counts(), {});
      } else {
        await counted({ dnt: 1 });
      }
    }
  }
});

everywhere("data-post, data-after: a play after so long of visible time, once in a session", async () => {
  const tab = await open("data-post=article data-after=2s data-once=session");
  await counted({ article: 1 });
  const [{ timestamp }] = service.requests[0].body.plays;
  const visibleMs = timestamp - (await tab.evaluate("performance.timeOrigin"));
  assert.ok(visibleMs >= 2000, `counted after ${visibleMs} ms`);
  await tab.reload();
  await sleep(SETTLED_MS);
  assert.deepEqual(service.counts(), { article: 1 });
});

ifTime("data-after knows 500ms, 1s and 0.01m, and says of other words that they are none", async () => {
  const times = { half: "500ms", second: "1s", minute: "0.01m", number: "1", none: "", never: "60m", words: "soon" };
  const tab = await open("", { path: "/empty" });
  await tab.evaluate((all) => {
    for (const [post, after] of Object.entries(all)) {
      const element = document.createElement("p");
      Object.assign(element.dataset, { post, after });
      document.body.append(((element.textContent = post), element));
    }
  }, times);
  await counted({ half: 1, second: 1, minute: 1, number: 1, none: 1 });
  await sleep(2000);
  await counted({ half: 1, second: 1, minute: 1, number: 1, none: 1 });
  assert.deepEqual(await tab.evaluate("said"), ["hitparade: data-after=soon?"]);
});

ifTime("a machine that slept has seen nothing meanwhile", async () => {
  const tab = await open("data-post=page data-after=30s", {
    path: "/empty",
    before: () => {
      const real = performance.now.bind(performance);
      performance.now = () => real() + (window.sleptMs ?? 0);
    },
  });
  await tab.evaluate(() => (document.querySelector("main").innerHTML = '<p data-post="text" data-after="30s">Text</p>'));
  await sleep(3000);
  await tab.evaluate(() => (window.sleptMs = 8 * 3_600_000));
  await sleep(SETTLED_MS);
  assert.deepEqual(service.counts(), {});
});

everywhere("elements count when they are seen", async () => {
  const tab = await open("", { path: "/feed" });
  await counted({ first: 1 });
  await tab.evaluate(() => document.getElementById("second").scrollIntoView({ block: "center" }));
  await counted({ first: 1, second: 1 });
  await tab.evaluate(() => (document.getElementById("second").dataset.post = "third"));
  await counted({ first: 1, second: 1, third: 1 });
});

ifTime("what lies beside the window is not seen", async () => {
  const tab = await open("", { path: "/empty" });
  await tab.evaluate(() => {
    const row = document.querySelector("main").appendChild(document.createElement("div"));
    Object.assign(row.style, { display: "flex", overflowX: "auto" });
    for (const post of ["here", "right"]) {
      const card = row.appendChild(Object.assign(document.createElement("p"), { id: post, textContent: post }));
      card.dataset.post = post;
      Object.assign(card.style, { flex: "none", width: "100vw" });
    }
  });
  await counted({ here: 1 });
  await sleep(SETTLED_MS);
  await counted({ here: 1 });
  await tab.evaluate(() => document.getElementById("right").scrollIntoView());
  await counted({ here: 1, right: 1 });
});

ifTime("elements are counted also where their file could not be loaded at first", async () => {
  service.losesElements = true;
  await open("", {
    path: "/feed",
    // A minute is over soon.
    before: () => {
      const real = setInterval;
      window.setInterval = (work, ms) => real(work, ms / 20);
    },
  });
  await until(() => service.lostElements > 0);
  await sleep(SETTLED_MS);
  assert.ok(service.lostElements < 5, "at most once a minute");
  service.losesElements = false;
  await counted({ first: 1 });
});

ifTime("what is seen counts once a page view, whatever becomes of its element", async () => {
  const tab = await open("", { path: "/feed" });
  const replace = () =>
    tab.evaluate(() => {
      const old = document.querySelector("#first");
      old.replaceWith(old.cloneNode(true));
    });
  await counted({ first: 1 });
  for (let times = 0; times < 2; times++) {
    await replace();
    await sleep(2500);
  }
  await counted({ first: 1 });
  // A new address is a new page view: for elements that are made for it, not for one that stays.
  await tab.evaluate(() => history.replaceState(null, "", "?campaign=gone"));
  await sleep(SETTLED_MS);
  await counted({ first: 1 });
  await tab.evaluate(() => history.pushState(null, "", "/other"));
  await replace();
  await counted({ first: 2 });
});

ifTime("an element that is replaced while it is looked at has been seen all the time", async () => {
  const tab = await open("", { path: "/empty" });
  await tab.evaluate(() => {
    const show = () => (document.querySelector("main").innerHTML = '<p data-post="list" data-after="4s">Text</p>');
    show();
    setInterval(show, 700);
  });
  await counted({ list: 1 });
});

ifTime("calls for one post within a second are one play, later ones are another", async () => {
  service.refuses = true;
  const tab = await open("");
  const twice = () =>
    tab.evaluate(() => {
      hitparade.play("effect");
      hitparade.play("effect", null);
    });
  await twice();
  await sleep(1500);
  await twice();
  await tab.evaluate(() => hitparade.play("effect", { board: "jazz" }));
  await until(() => service.requests.length > 0);
  await sleep(SETTLED_MS);
  const plays = service.requests.flatMap(({ body }) => body.plays.map(({ post_id, boards }) => [post_id, boards]));
  assert.deepEqual(plays, [
    ["effect", undefined],
    ["effect", undefined],
    ["effect", ["jazz"]],
  ]);
});

ifTime("data-board: what is said on the script is said of the batch, on an element of its play", async () => {
  // Boards of these names are nowhere: what is asked of them matters here.
  service.refuses = true;
  await open('data-board="jazz,  main" data-post=page', { path: "/board" });
  await until(() => service.requests.length > 0);
  const plays = service.requests.flatMap(({ body }) => body.plays);
  const [{ body }] = service.requests;
  assert.deepEqual(body.boards, ["jazz", "main"]);
  assert.deepEqual(new Map(plays.map(({ post_id, boards }) => [post_id, boards])).get("page"), undefined);
  await until(() => service.requests.flatMap(({ body }) => body.plays).some(({ boards }) => boards?.join() === "rock"));
});

where("sound", "audio counts when it has played long enough, and again when it is played again", async () => {
  const tab = await open("", { path: "/song" });
  await sleep(2500);
  assert.deepEqual(service.counts(), {});
  await playAudio(tab);
  await counted({ song: 1 });
  await holds(tab, `document.querySelector("audio").ended`);
  await playAudio(tab);
  await counted({ song: 2 });
  // Another post in the same player, and the first one again.
  for (const [post, expected] of [
    ["other", { song: 2, other: 1 }],
    ["song", { song: 3, other: 1 }],
  ]) {
    await tab.evaluate((id) => {
      const audio = document.querySelector("audio");
      audio.dataset.post = id;
      audio.currentTime = 0;
    }, post);
    await playAudio(tab);
    await counted(expected);
  }
});

where("sound", "a sound of half a second counts, when it is played again too", async () => {
  const tab = await open("", { path: "/jingle" });
  await holds(tab, "window.hitparade?.isHeard");
  for (const times of [1, 2]) {
    await playAudio(tab);
    await counted({ jingle: times });
    await holds(tab, `document.querySelector("audio").ended`);
  }
});

where("sound", "what plays muted counts where it is in view, what is heard wherever it is", async () => {
  const tab = await open("", { path: "/video" });
  await holds(tab, "window.hitparade?.isHeard");
  await holds(tab, `[...document.querySelectorAll("video")].every((video) => !video.paused)`);
  await counted({ heard: 1 });
  await sleep(SETTLED_MS);
  await counted({ heard: 1 });
  await tab.evaluate(() => document.querySelector("#muted").scrollIntoView({ block: "center" }));
  await counted({ heard: 1, muted: 1 });
});

everywhere("as a module", async () => {
  await open("", { path: "/module" });
  await counted({ module: 1, seen: 1 });
});

everywhere("put into the page by another script, plays go to the service", async () => {
  await open("", { path: "/injected" });
  await counted({ injected: 1 });
});

ifTime("taken in by a bundler it says what it needs, and counts nothing at the page's own host", async () => {
  const tab = await open("", { path: "/bundle" });
  await holds(tab, "said.length > 0");
  await sleep(SETTLED_MS);
  assert.deepEqual(await tab.evaluate("said"), ["hitparade: data-to? fetch?"]);
  assert.deepEqual(site.posted, []);
  assert.deepEqual(service.counts(), {});
  await tab.evaluate((to) => {
    bundled.configure({ to });
    bundled.play("bundled");
  }, `${service.url}/plays`);
  await counted({ bundled: 1 });
});

ifTime("data-ignore: hosts that count nothing, and say so", async () => {
  for (const [attributes, isCounted] of [
    ["data-ignore=localhost", false],
    ['data-ignore="staging.example.com, localhost"', false],
    ["data-ignore=staging.example.com", true],
    ["data-ignore", true],
    // Who tries the service out on one machine is counted; a page in the making, by the service that all use, is not.
    ["", true],
    ["data-to=https://charts.example/plays", false],
  ]) {
    service.reset();
    const tab = await open(attributes);
    await tab.evaluate(() => hitparade.play("own"));
    if (isCounted) await counted({ own: 1 });
    else {
      assert.deepEqual(await tab.evaluate("said"), ["hitparade: data-ignore or ?hitparade=off"], attributes);
      assert.equal(await tab.evaluate("sessionStorage.length"), 0);
    }
    await tab.visitor.leave();
  }
});

where("files", "a page that is a file counts nothing, but where data-ignore says so", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hitparade-file-"));
  try {
    for (const [attributes, expected] of [
      ["data-ignore=localhost", {}],
      ["data-ignore", { file: 1 }],
    ]) {
      service.reset();
      const file = join(folder, "page.html");
      writeFileSync(
        file,
        `<!doctype html>${PREAMBLE}<script async src="${service.url}/beacon.js" data-post="file" ${attributes}></script>`,
      );
      const tab = await open("", { path: "/plain" });
      await tab.goto(pathToFileURL(file).href);
      if (!expected.file) await sleep(SETTLED_MS);
      await counted(expected);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

ifTime("?hitparade=off keeps a browser from being counted by a site, until ?hitparade=on", async () => {
  const tab = await open("");
  const play = async (choice) => {
    await tab.goto(tab.address + choice);
    await tab.evaluate(() => hitparade.play("choice"));
    return tab.evaluate("said");
  };
  assert.equal((await play("&hitparade=off")).length, 1);
  assert.equal((await play("")).length, 1);
  const other = await open("", { visitor: tab.visitor });
  await other.evaluate(() => hitparade.play("choice"));
  await sleep(3500);
  assert.deepEqual(service.counts(), {});
  assert.deepEqual(await play("&hitparade=on"), []);
  await counted({ choice: 1 });
  assert.deepEqual(await play(""), []);
  await counted({ choice: 2 });
});

everywhere("under its versioned address: immutable, of the hash that /beacon.html names, at home from the first batch on", async () => {
  const guide = await (await service.upstream.fetch("/beacon.html")).text();
  const [, hash] = /integrity="(sha384-[^"]+)"/.exec(guide);
  assert.ok(guide.includes(`beacon.${VERSION}.js`));
  const tab = await open(`integrity="${hash}" crossorigin`, { path: "/versioned" });
  await tab.evaluate(() => hitparade.play("of a version"));
  await counted({ "of a version": 1, seen: 1 });
  const text = await service.upstream.fetch(`/beacon.${VERSION}.js`);
  assert.equal(text.headers.get("cache-control"), "private, max-age=31536000, immutable");
  assert.ok(!/home:"[^"]/.test(await text.text()));
  const homes = new Set(service.requests.map(({ body }) => body.home));
  assert.deepEqual([...homes], [CANNOT[ENGINE].timing ? undefined : "NA/1"]);

  service.reset();
  const wrong = await open(`integrity="sha384-${"A".repeat(64)}" crossorigin`, { path: "/versioned" });
  await sleep(1500);
  assert.equal(await wrong.evaluate("typeof hitparade"), "undefined");
});

where("timing", "at home from the first batch on, whatever else a network on the way says of its time", async () => {
  const foreign = ["cdn-cache; desc=DYNAMIC", "cfOrigin;dur=0,cfEdge;desc=EU/7"];
  for (const [timing, home] of [
    [(own) => [...foreign, own], "NA/1"],
    [(own) => `${foreign}, ${own}, home2;desc="EU/8"`, "NA/1"],
    [() => foreign, undefined],
  ]) {
    service.reset();
    service.timing = timing;
    const tab = await open("", { path: "/versioned" });
    await tab.evaluate(() => hitparade.play("behind a CDN"));
    await counted({ "behind a CDN": 1, seen: 1 }, SETTLED_MS);
    assert.equal(service.requests[0].body.home, home);
  }
});

ifTime("under names of its own, which no block list knows", async () => {
  const own = await Service.start({ BEACON_PATH: "/media/s.js", PLAYS_PATH: "/media/p" });
  const ownSite = await startSite(own.url, "/media/s.js");
  try {
    for (const path of ["/page", "/module", "/feed"]) {
      const tab = await open("data-post=own", { site: ownSite, path });
      const loaded = () => tab.evaluate(`performance.getEntriesByType("resource").map(({ name }) => new URL(name).pathname)`);
      await eventually(async () => assert.ok((await loaded()).includes("/media/p")));
      if (path === "/module") assert.ok((await loaded()).includes("/media/s.mjs"));
      if (path === "/feed") assert.ok((await loaded()).includes(`/media/s-elements.${VERSION}.js`));
      assert.deepEqual(
        (await loaded()).filter((name) => /beacon|plays/.test(name)),
        [],
      );
    }
    await eventually(async () => {
      const { top_posts } = await own.topPosts({ timeframe: "1h" });
      assert.deepEqual(top_posts.map(({ post_id }) => post_id).sort(), ["first", "module", "own", "seen"]);
    });
    // The usual names stay; what is served under them sends to the new one.
    assert.match(await (await own.fetch("/beacon.js")).text(), /"\/media\/p"/);
    assert.equal((await own.request("POST", "/plays", { post_id: "own" })).status, 202);
  } finally {
    ownSite.stop();
    await own.dispose();
  }
});

everywhere("the charts say the same as all the answers before", async () => {
  const expected = Object.values(service.totals).reduce((sum, count) => sum + count, 0);
  await eventually(async () => assert.equal((await service.upstream.topPosts({ timeframe: "all" })).total_views, expected));
  // Of the bursts, whose posts all begin alike, one in a hundred.
  const posts = Object.entries(service.totals).filter(([post]) => !/^many \d*(?!00)\d\d$/.test(post));
  for (const [post, count] of posts) {
    assert.equal((await service.upstream.post(post, { timeframe: "all" })).view_count, count, post);
  }
});

/**
 * Starts the sound of a page. What `play()` promises is not waited for: in WebKitGTK a sound that is set back to its
 * beginning goes on without another `playing`, and such a promise stays open for ever.
 */
const playAudio = (tab) => tab.evaluate(() => void document.querySelector("audio").play());
/** @param {any} tab @param {number} number of plays, each of another post */
const playMany = (tab, number) =>
  tab.evaluate((most) => {
    for (let i = 0; i < most; i += 1) hitparade.play(`many ${i}`);
  }, number);
const many = (number, times = 1) => Object.fromEntries(Array.from({ length: number }, (_, i) => [`many ${i}`, times]));

/**
 * A page with the beacon, in a tab of a visitor: a new one, if none is given. `/plain` is one without, to prepare what
 * the beacon then finds at `address`. `before` runs there before any script of the page.
 */
async function open(attributes, { visitor, path = "/page", before, argument, site: at = site } = {}) {
  if (!visitor) {
    // One at a time is what all drivers can.
    await allLeave();
    visitors.add((visitor = await browser.newVisitor()));
  }
  const tab = await visitor.newTab();
  tab.visitor = visitor;
  const query = new URLSearchParams({ attributes });
  if (before) query.set("before", at.keep(`(${before})(${JSON.stringify(argument ?? null)});`));
  tab.address = `${at.url}${path === "/plain" ? "/page" : path}?${query}`;
  await tab.goto(path === "/plain" ? `${at.url}/plain` : tab.address);
  if (path !== "/plain" && !/integrity|module|bundle/.test(tab.address)) await holds(tab, "window.hitparade");
  return tab;
}

/** Waits for exactly these counts. */
async function counted(expected, withinMs = RETRIES_MS) {
  await until(() => JSON.stringify(sorted(service.counts())) === JSON.stringify(sorted(expected)), withinMs).catch(() => {});
  assert.deepEqual(service.counts(), expected);
}

const sorted = (counts) => Object.entries(counts).sort();

async function until(holds, withinMs = RETRIES_MS) {
  for (const end = Date.now() + withinMs; !(await holds()); await sleep(50)) {
    if (Date.now() > end) throw new Error(`did not happen in time: ${holds}`);
  }
}

/** Waits until an expression is true on a page. */
const holds = (tab, expression) => until(async () => Boolean(await tab.evaluate(`Boolean(${expression})`)));

/** What a page has before all else: it notes what is said on its console, and is nobody's robot. */
const PREAMBLE = `<script nonce="site">
  window.said = [];
  const say = console.error;
  console.error = (...words) => (said.push(words.join(" ")), say(...words));
  Object.defineProperty(Navigator.prototype, "webdriver", { get: () => window.isRobot === true });
</script>`;

/** The real service, behind a proxy that does to one request after the other what `faults` says. */
async function startService() {
  const upstream = await Service.start({
    TRUSTED_PROXIES: "127.0.0.1",
    CLIENT_ADDRESS_HEADER: "X-Forwarded-For",
    COUNTRY_HEADER: "X-Country",
  });
  const service = { upstream, faults: [], requests: [], questions: [], refuses: false, totals: {}, country: "US" };
  let counts = {};
  service.counts = () => ({ ...counts });
  service.reset = () => {
    counts = {};
    service.faults = [];
    service.requests = [];
    service.questions = [];
    service.refuses = false;
    service.country = "US";
    service.losesElements = false;
    service.lostElements = 0;
    /** What pages are told of in place of the service's own `Server-Timing`. */
    service.timing = (own) => own;
  };

  const forward = async (request, text) => {
    const { method, headers } = request;
    const type = headers["content-type"];
    const from = { "X-Country": service.country, ...(type && { "Content-Type": type }) };
    const answer = await upstream.fetch(request.url, { method, headers: from, body: text || undefined });
    return { status: answer.status, headers: answer.headers, text: await answer.text() };
  };
  const count = ({ plays }, { accepted, rejected, repeated }) => {
    const refused = rejected.filter(({ board }) => board !== "typo");
    assert.deepEqual({ accepted, refused }, { accepted: plays.length, refused: [] });
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
    const body = request.url === "/plays" && method === "POST" ? JSON.parse(text) : null;
    if (body && body.plays.length === 0) service.questions.push(text);
    else if (body) {
      service.requests.push({ at, method, headers, body });
      fault = service.refuses ? { status: 400 } : (service.faults.shift() ?? {});
    }
    if (fault.hang) return;
    if (service.losesElements && request.url.includes("elements")) {
      service.lostElements += 1;
      return response.writeHead(503).end();
    }
    response.setHeader("Access-Control-Allow-Origin", "*");
    response.setHeader("Access-Control-Expose-Headers", "Retry-After, Hitparade-Home");
    if (fault.status) {
      if (fault.retryAfter) response.setHeader("Retry-After", String(fault.retryAfter));
      return response.writeHead(fault.status).end("{}");
    }
    const answer = await forward(request, text);
    if (answer.status === 202 && body?.plays.length > 0) count(body, JSON.parse(answer.text));
    if (fault.countThenCut) return request.socket.destroy();
    for (const name of ["Content-Type", "Hitparade-Home", "Cache-Control", "Server-Timing", "Timing-Allow-Origin"]) {
      const own = answer.headers.get(name);
      if (own) response.setHeader(name, name === "Server-Timing" ? service.timing(own) : own);
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
  const [song, jingle] = [3, 0.5].map(silentWav);
  const bundle = await build({
    stdin: {
      contents: `export * from "${ROOT}/www/beacon.mjs"; import { play } from "${ROOT}/www/beacon.mjs"; play("too early");`,
      resolveDir: ROOT,
    },
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
  });
  const texts = [];
  const site = { posted: [], keep: (text) => String(texts.push(text) - 1) };
  const module = beacon.replace(".js", ".mjs");
  const scripts = {
    "/module.js": () => `import { play } from "${serviceUrl}${module}"; play("module");`,
    "/bundle.js": () => bundle.outputFiles[0].text,
    "/use-bundle.js": () => `import * as bundled from "/bundle.js"; window.bundled = bundled;`,
  };
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://site");
    if (request.method !== "GET") {
      site.posted.push(pathname);
      return response.writeHead(405).end();
    }
    if (pathname.endsWith(".wav")) return response.setHeader("Content-Type", "audio/wav").end(pathname === "/jingle.wav" ? jingle : song);
    if (pathname === "/favicon.ico") return response.writeHead(404).end();
    response.setHeader(
      "Content-Security-Policy",
      `default-src 'none'; script-src ${serviceUrl} 'self' 'nonce-site'; connect-src ${serviceUrl}; media-src 'self'`,
    );
    if (pathname in scripts) return response.setHeader("Content-Type", "text/javascript").end(scripts[pathname]());
    response.setHeader("Content-Type", "text/html");
    const attributes = searchParams.get("attributes") ?? "";
    const script = `<script async src="${serviceUrl}${beacon}" ${attributes}></script>`;
    const far = "<br>".repeat(200);
    const bodies = {
      "/page": script,
      "/empty": `${script}<main></main>`,
      "/feed": `${script}<p id="first" data-post="first">First</p>${far}<p id="second" data-post="second">Second</p>${far}`,
      "/board": `${script}<p data-post="on another" data-board="rock">Rock</p>`,
      "/song": `${script}<audio src="/silence.wav" data-post="song" data-after="500ms"></audio>`,
      "/jingle": `${script}<audio src="/jingle.wav" data-post="jingle"></audio>`,
      "/video": `${script}${far}<video src="/silence.wav" data-post="heard" data-after="1s" loop autoplay></video>${far}
        <video id="muted" src="/silence.wav" data-post="muted" data-after="1s" muted loop autoplay></video>${far}`,
      "/module": `<p data-post="seen">Seen</p><script type="module" src="/module.js"></script>`,
      "/injected": `<script nonce="site">
        const script = document.createElement("script");
        Object.assign(script, { src: "${serviceUrl}${beacon}" }).dataset.post = "injected";
        document.head.append(script);
        </script>`,
      "/bundle": `<script type="module" src="/use-bundle.js"></script>`,
      "/versioned": `<p data-post="seen">Seen</p><script async src="${serviceUrl}/beacon.${VERSION}.js" ${attributes}></script>`,
    };
    const before = searchParams.has("before") ? `<script nonce="site">${texts[Number(searchParams.get("before"))]}</script>` : "";
    response.end(`<!doctype html><meta charset="utf-8"><title>A page</title>${PREAMBLE}${before}<body>${bodies[pathname] ?? ""}`);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  site.url = `http://localhost:${server.address().port}`;
  site.stop = () =>
    new Promise((done) => {
      server.close(done);
      server.closeAllConnections();
    });
  return site;
}
