/** What readers get: from which place, how old, and never what another reader asked for. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { ADMIN_TOKEN, INGEST_TOKEN, Service, eventually, readProblem } from "./harness.mjs";
import { CuttableService } from "./outage/service.mjs";

/** All caches together keep a leaderboard so long. */
const BUDGET_MS = 3_000;
/** How often one chart is asked for anew at most. */
const RENEWAL_MS = 1_000;

const ODD_IDS = [
  'say "hi"',
  "it's",
  "a/b/c",
  "/",
  "100%",
  "%2F",
  "%",
  "a\\b",
  "🎵🎶",
  "👩‍👩‍👧",
  "ü",
  "u\u0308",
  "日本語",
  "שלום",
  "مرحبا",
  "\u202Ertl",
  "a b",
  " a",
  "a,b",
  "a;b",
  "=1+1",
  "+1",
  "-1",
  "@SUM(A1)",
  '=HYPERLINK("x","y")',
  "<script>",
  "&amp;",
  "?q=1&r=2#s",
  "__proto__",
  "null",
  "a\u00a0b",
  "\ufeffx",
];

describe("charts", () => {
  /** @type {Service} */
  let service;
  before(async () => {
    service = await Service.start();
    await service.addRegions("odd", "quiet");
    await service.send(ODD_IDS.map((post_id, index) => ({ post_id, region_id: "odd", count: 1_000 - index })));
    await eventually(async () => {
      const { top_posts } = await service.topPosts({ region: "odd", timeframe: "1h", k: 1000 });
      assert.equal(top_posts.length, ODD_IDS.length);
    });
  });
  after(() => service?.dispose());

  const ODD = "/top-posts?region=odd&timeframe=1h&k=1000";
  const as = (accept) => service.fetch(ODD, { headers: { accept } });

  test("give ids back byte for byte, as JSON, as lines and as CSV", async () => {
    const { top_posts } = await service.get(ODD);
    assert.deepEqual(
      top_posts.map(({ post_id }) => post_id),
      ODD_IDS,
    );
    const lines = await (await as("application/x-ndjson")).text();
    assert.deepEqual(
      lines
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).post_id),
      ODD_IDS,
    );
    const rows = parseCsv(Buffer.from(await (await as("text/csv")).arrayBuffer()).toString("utf8"));
    const column = rows[0].indexOf("post_id");
    // A formula is shown and does not run: an apostrophe stands before it.
    assert.deepEqual(
      rows.slice(1).map((row) => row[column].replace(/^'(?=[=+\-@])/, "")),
      ODD_IDS,
    );
    for (const cell of rows.slice(1).flat()) assert.doesNotMatch(cell, /^[=+\-@\t\r]/);
  });

  test("and so does every post's own route", async () => {
    for (const id of ODD_IDS) assert.equal((await service.post(id, { region: "odd", timeframe: "1h" })).post_id, id);
  });

  const formats = {
    "application/json": "application/json",
    "*/*": "application/json",
    "text/html": "application/json",
    "text/csv": "text/csv; charset=utf-8",
    "text/csv;q=0.9, */*;q=0.1": "text/csv; charset=utf-8",
    "application/x-ndjson": "application/x-ndjson",
    "application/jsonl": "application/x-ndjson",
    "TEXT/CSV": "text/csv; charset=utf-8",
    "text/csv;q=0.5, application/json": "application/json",
    "text/csv;q=0.2,application/json;q=0.1": "text/csv; charset=utf-8",
    "*/*, application/json;q=0": "text/csv; charset=utf-8",
    "": "application/json",
  };
  for (const [accept, type] of Object.entries(formats)) {
    test(`Accept: ${accept || "nothing"} gets ${type}`, async () => {
      for (let time = 0; time < 3; time++) {
        const answer = await as(accept);
        assert.equal(answer.headers.get("content-type"), type);
        assert.equal(answer.headers.get("vary"), "Accept");
        assert.ok((await answer.text()).length > 0);
      }
    });
  }

  test("nothing that one reader sends changes what another gets", async () => {
    const path = "/top-posts?region=odd&timeframe=2h&k=5";
    const plain = async () => {
      const answer = await service.fetch(path);
      const { as_of, ...rest } = JSON.parse(await answer.text());
      assert.equal(answer.status, 200);
      assert.equal(answer.headers.get("content-type"), "application/json");
      assert.equal(answer.headers.get("access-control-allow-origin"), "*");
      assert.match(answer.headers.get("cache-control"), /^public, max-age=[0-3]$/);
      return rest;
    };
    const expected = await plain();
    assert.equal(expected.top_posts.length, 5);
    const { headers } = await service.fetch(path);
    const others = [
      [path, { headers: { accept: "text/csv" } }, 200],
      [path, { headers: { "if-none-match": headers.get("etag") } }, 304],
      [path, { headers: { "if-none-match": "*" } }, 304],
      [path, { headers: { "if-none-match": headers.get("etag").replace("W/", "") } }, 304],
      [path, { headers: { "if-none-match": '"other"' } }, 200],
      [path, { headers: { authorization: "Bearer wrong" } }, 401],
      [path, { headers: { authorization: "Basic eDp5" } }, 401],
      [
        path,
        { headers: { origin: "https://page.example", cookie: "a=b", "x-forwarded-host": "evil.example", "x-forwarded-proto": "ftp" } },
        200,
      ],
      [path, { headers: { range: "bytes=0-3", "accept-language": "de", "accept-encoding": "br" } }, 200],
      [path, { method: "HEAD" }, 200],
      [path, { method: "OPTIONS" }, 204],
      [path, { method: "POST" }, 405],
      [`${path}&k=1&region=NA`, {}, 200],
      [`${path}&colour=red`, {}, 200],
      [path.replace("odd", "%6fdd"), {}, 200],
      [path.replace("k=5", "k=3"), {}, 200],
      [path.replace("k=5", "k=05"), {}, 200],
      [path.replace("k=5", "k=x"), {}, 400],
      [path.replace("odd", "odd%00"), {}, 404],
      [path.replace("2h", "120m"), {}, 200],
      [path.replace("?", "?sort=rising&"), {}, 200],
    ];
    for (const [other, init, status] of others) {
      const answer = await service.fetch(other, init);
      await answer.arrayBuffer();
      assert.equal(answer.status, status, `${other} ${JSON.stringify(init)}`);
      assert.deepEqual(await plain(), expected, `after ${other} ${JSON.stringify(init)}`);
    }
    const same = await service.get(path.replace("2h", "120m"));
    assert.equal(same.timeframe, "120m");
    assert.deepEqual(same.top_posts, expected.top_posts);
    assert.equal((await service.get(path.replace("k=5", "k=3"))).top_posts.length, 3);
  });

  test("are never older than the budget, and never to be kept longer", async () => {
    const path = "/top-posts?region=odd&timeframe=3h";
    for (let time = 0; time < 60; time++) {
      // Its age when it was asked for: a slow machine takes its time to hand it over.
      const asked = Date.now();
      const answer = await service.fetch(path);
      const chart = await answer.json();
      const age_ms = asked - Date.parse(chart.as_of);
      const max_age_ms = 1_000 * Number(/max-age=(\d+)/.exec(answer.headers.get("cache-control"))[1]);
      assert.ok(age_ms + max_age_ms <= BUDGET_MS, `${age_ms} ms old, kept ${max_age_ms} ms more`);
      await sleep(100);
    }
  });

  test("that many ask for at once are computed once", async () => {
    const asked = async () => {
      // What was told serves for a second.
      await sleep(1_100);
      const metrics = await service.readMetrics();
      return metrics.get("hitparade_global_charts_total");
    };
    const before = await asked();
    const started = performance.now();
    const answers = await Promise.all(Array.from({ length: 200 }, () => service.fetch("/top-posts?region=odd&timeframe=4h")));
    for (const answer of answers) assert.equal(answer.status, 200, await answer.text());
    // One for all, and one for each time that it grew old meanwhile.
    const most = 2 + (performance.now() - started) / RENEWAL_MS;
    const times = (await asked()) - before;
    assert.ok(times >= 1 && times <= most, `${times} times`);
  });

  test("of a region that nobody knows are refused, until there is one", async () => {
    for (let time = 0; time < 20; time++) {
      assert.equal((await service.fetch("/top-posts?region=new")).status, 404);
      assert.equal((await service.fetch("/posts/x?region=new")).status, 404);
    }
    await service.addRegions("new");
    await eventually(() => service.topPosts({ region: "new" }));
  });

  test("of names that no region can have are refused, and the names are kept nowhere", async () => {
    const allocated = async () => {
      await sleep(1_100);
      return [...(await service.readMetrics())].find(([name]) => name.startsWith("hitparade_allocated_bytes"))[1];
    };
    const ask = async (path) => {
      const { code } = await readProblem(await service.fetch(path), 404);
      assert.equal(code, "unknown_region");
    };
    await ask(`/top-posts?region=${"x".repeat(10_000)}`);
    const before = await allocated();
    for (let number = 0; number < 300; number++) {
      const name = `${number}-`.padEnd(10_000, "x");
      for (const path of [`/top-posts?region=${name}`, `/posts/a?region=${name}`, `/live?region=${name}`]) await ask(path);
      await ask(`/top-posts?region=${`${number}-`.padEnd(64, "x")}`);
    }
    const grown = (await allocated()) - before;
    assert.ok(grown < 1_000_000, `${grown} bytes more`);
  });

  test("that nobody asked for are limited, and the others go on", async () => {
    const hot = "/top-posts?region=odd&timeframe=5h";
    await service.get(hot);
    const cold = Array.from({ length: 400 }, (_, index) => service.fetch(`/top-posts?region=global&timeframe=${700 + index}m`));
    const hots = [];
    for (let time = 0; time < 20; time++) {
      hots.push((await service.fetch(hot)).status);
      await sleep(100);
    }
    assert.deepEqual([...new Set(hots)], [200]);
    for (const answer of await Promise.all(cold)) {
      assert.ok([200, 503].includes(answer.status), String(answer.status));
      if (answer.status === 503) assert.ok(Number(answer.headers.get("retry-after")) >= 1);
    }
  });
});

test("charts that need a token are kept for nobody else", async () => {
  const service = await Service.start({ READ_TOKEN: "read-token", METRICS_TOKEN: "metrics-token" });
  try {
    const authorization = "Bearer read-token";
    for (let time = 0; time < 5; time++) {
      const answer = await service.fetch("/top-posts", { headers: { authorization } });
      assert.equal(answer.status, 200);
      assert.match(answer.headers.get("cache-control"), /^private/);
      for (const headers of [{}, { authorization: "Bearer other" }]) {
        assert.equal((await service.fetch("/top-posts", { headers })).status, 401);
      }
    }
    await service.send([{ post_id: "a" }], undefined, { token: INGEST_TOKEN });
    await eventually(() => service.get("/posts/a", { headers: { authorization } }));
    const tokens = { read: "read-token", admin: ADMIN_TOKEN, metrics: "metrics-token" };
    const { paths } = JSON.parse(readFileSync(join(ROOT, "www", "openapi.json"), "utf8"));
    const secured = Object.entries(paths).filter(([, { get }]) => get?.security);
    assert.ok(secured.length >= 7, "there are routes that need a token");
    for (const [path, { get }] of secured) {
      const [scheme] = Object.keys(get.security.find((scheme) => Object.keys(scheme).length > 0));
      const named = path.replace("{post_id}", "a").replace("{kind}", "week").replace("{period}", "latest");
      const address = path === "/posts" ? "/posts?post_id=a" : named;
      // No week is over yet.
      const usual = path === "/live" ? 426 : path.startsWith("/charts/{kind}/{period}") ? 404 : 200;
      for (const method of ["GET", "HEAD"]) {
        const answer = await service.fetch(address, { method, headers: { authorization: `Bearer ${tokens[scheme]}` } });
        assert.equal(answer.status, usual, `${method} ${address}`);
        assert.match(answer.headers.get("cache-control"), /private|no-store/, `${method} ${address}`);
        assert.doesNotMatch(answer.headers.get("cache-control"), /public/, `${method} ${address}`);
        const refused = await service.fetch(address, { method });
        assert.deepEqual([refused.status, refused.headers.get("cache-control")], [401, "no-store"], `${method} ${address}`);
      }
    }
  } finally {
    await service.dispose();
  }
});

test("charts go on while the global object is away, and heal when it is back", async () => {
  const service = await CuttableService.start();
  try {
    const question = { region: "NA", timeframe: "1h" };
    const send = (post_id, count) => service.send([{ post_id, region_id: "NA", count }]);
    await send("before", 3);
    await eventually(async () => assert.equal((await service.topPosts(question)).total_views, 3));

    await service.connection.cut();
    const accepted = await service.request("POST", "/plays", [{ post_id: "meanwhile", count: 2 }], {
      authorization: `Bearer ${INGEST_TOKEN}`,
    });
    assert.equal(accepted.status, 202, await accepted.text());
    let stale = 0;
    for (const end = Date.now() + 60_000; stale < 10; await sleep(250)) {
      assert.ok(Date.now() < end, "it does not say that nobody could be asked");
      const asked = Date.now();
      const answer = await service.fetch(`/top-posts?${new URLSearchParams(question)}`);
      const text = await answer.text();
      assert.equal(answer.status, 200, text);
      const chart = JSON.parse(text);
      assert.deepEqual(
        chart.top_posts.map(({ post_id }) => post_id),
        ["before"],
      );
      const age_ms = asked - Date.parse(chart.as_of);
      if (chart.stale) stale++;
      else assert.ok(age_ms < 8_000, `${age_ms} ms old and does not say so`);
    }
    const unknown = await service.fetch("/top-posts?region=NA&timeframe=2h");
    assert.equal(unknown.status, 503, "nobody knows this one");
    assert.ok(unknown.headers.get("retry-after"));

    await service.connection.mend();
    await eventually(async () => {
      const chart = await service.topPosts(question);
      assert.equal(chart.stale, undefined);
      assert.deepEqual(
        chart.top_posts.map(({ post_id, view_count }) => [post_id, view_count]),
        [
          ["before", 3],
          ["meanwhile", 2],
        ],
      );
    });
    await service.topPosts({ region: "NA", timeframe: "2h" });
  } finally {
    await service.dispose();
  }
});

test("with the shards away the global object answers, and a batch that none of them took counts once after", async () => {
  const service = await CuttableService.start();
  try {
    await service.send([{ post_id: "before", region_id: "NA", count: 3 }]);
    const chart = (question) => service.topPosts({ region: "NA", ...question });
    await eventually(async () => assert.equal((await chart({ timeframe: "1h" })).total_views, 3));

    await service.cutShards();
    const headers = { authorization: `Bearer ${INGEST_TOKEN}`, "idempotency-key": "sent twice" };
    const send = () => service.request("POST", "/plays", [{ post_id: "meanwhile", region_id: "NA", count: 2 }], headers);
    assert.equal((await readProblem(await send(), 503)).code, "unavailable");
    // Nobody asked for these before, so nothing keeps them, and none of them is old.
    for (const timeframe of ["2h", "3h", "7d", "all"]) {
      const { top_posts, stale } = await chart({ timeframe });
      assert.deepEqual(
        top_posts.map(({ post_id, view_count }) => [post_id, view_count]),
        [["before", 3]],
      );
      assert.equal(stale, undefined);
    }
    assert.equal((await service.post("before", { region: "NA" })).view_count, 3);

    await service.mendShards();
    const [first, second] = [await (await send()).json(), await (await send()).json()];
    assert.deepEqual([first.repeated, second.repeated], [false, true]);
    await eventually(async () => assert.equal((await chart({ timeframe: "1h" })).total_views, 5));
  } finally {
    await service.dispose();
  }
});

/** RFC 4180. */
function parseCsv(text) {
  const rows = [[]];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/g)) {
    rows.at(-1).push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === "\r\n") rows.push([]);
  }
  return rows.slice(0, -1);
}
