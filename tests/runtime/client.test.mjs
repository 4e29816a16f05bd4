/** `hitparade/client` against the real service, and against one that loses answers. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { Hitparade, HitparadeError, attempt } from "../../client/hitparade.js";
import { workerd } from "../../scripts/lib/npm-packages.mjs";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { INGEST_TOKEN, Model, Service, eventually } from "./harness.mjs";

describe("the client", { timeout: 120_000 }, () => {
  /** @type {Service} */
  let service, trusted, page;
  const model = new Model();
  before(async () => {
    service = await Service.start();
    trusted = new Hitparade(service.url, { ingestToken: INGEST_TOKEN });
    page = new Hitparade(new URL(service.url));
  });
  after(async () => {
    await Promise.all([trusted?.close(), page?.close()]);
    await service?.dispose();
  });

  test("sends plays of many callers in batches, and tells each of its own", async () => {
    const good = Array.from({ length: 11_000 }, (_, index) => ({ post_id: `post ${index % 13}`, region_id: index % 2 ? "EU" : "NA" }));
    const [all, some, one, none] = await Promise.all([
      trusted.send(good),
      trusted.send([{ post_id: "" }, { post_id: "post 1", region_id: "NA", count: 5 }, { post_id: "x", region_id: "Atlantis" }]),
      page.send({ post_id: "of a page" }),
      page.send([]),
    ]);
    assert.deepEqual(all, { accepted: 11_000, rejected: [] });
    assert.deepEqual(
      [some.accepted, some.rejected.map(({ index, code }) => [index, code])],
      [
        1,
        [
          [0, "bad_post_id"],
          [2, "unknown_region"],
        ],
      ],
    );
    assert.deepEqual(
      [one, none],
      [
        { accepted: 1, rejected: [] },
        { accepted: 0, rejected: [] },
      ],
    );
    const bad = await page.send([{ post_id: ".." }]);
    assert.deepEqual(
      bad.rejected.map(({ code }) => code),
      ["bad_post_id"],
    );
    model.add([...good, { post_id: "post 1", region_id: "NA", count: 5 }, { post_id: "of a page" }]);
    await model.assertExactly(service);
  });

  test("loses no good play with one that is none, and counts nothing where a play cannot be written as JSON", async () => {
    const [good, other] = [{ post_id: "beside none" }, { post_id: "beside none", region_id: "EU" }];
    const { accepted, rejected } = await trusted.send([good, null, other, undefined]);
    assert.equal(accepted, 2);
    assert.deepEqual(
      rejected.map(({ index, code }) => [index, code]),
      [
        [1, "bad_post_id"],
        [3, "bad_post_id"],
      ],
    );
    await assert.rejects(trusted.send([good, { post_id: 1n }]), TypeError);
    assert.deepEqual(await trusted.send(other), { accepted: 1, rejected: [] });
    model.add([good, other, other]);
    await model.assertExactly(service);
  });

  test("reads charts and posts, and says what is wrong by a stable word", async () => {
    const chart = await page.topPosts({ region: "EU", timeframe: "all", k: 2 });
    assert.deepEqual(chart.top_posts.map(({ rank, post_id }) => [rank, post_id]).length, 2);
    assert.equal((await page.post("post 1", { timeframe: "all" })).post_id, "post 1");
    assert.equal(await page.post("never played"), null);
    const named = async (promise) => {
      const error = await promise.then(
        () => null,
        (error) => error,
      );
      assert.ok(error instanceof HitparadeError);
      return [error.status, error.code];
    };
    assert.deepEqual(await named(page.topPosts({ k: 0 })), [400, "bad_k"]);
    assert.deepEqual(await named(page.topPosts({ region: "Atlantis" })), [404, "unknown_region"]);
    assert.deepEqual(await named(page.post("post 1", { region: "Atlantis" })), [404, "unknown_region"]);
    assert.deepEqual(await named(new Hitparade("http://127.0.0.1:9").topPosts()), [0, "no_answer"]);
    assert.deepEqual(await named(new Hitparade(service.url, { ingestToken: "wrong" }).send({ post_id: "a" })), [401, "unauthorized"]);
    assert.throws(() => new Hitparade("charts.example"), TypeError);
  });

  test("does what docs/client.md shows", async () => {
    const [, program] = /^```js\n([^]*?)^```$/m.exec(readFileSync(join(ROOT, "docs", "client.md"), "utf8"));
    const file = join(service.state, "program.mjs");
    const here = program
      .replace('"hitparade/client"', JSON.stringify(pathToFileURL(join(ROOT, "client", "hitparade.js")).href))
      .replace("https://charts.example", service.url);
    writeFileSync(file, `${here}\nexport { accepted, rejected, top_posts, song };\n`);
    process.env.INGEST_TOKEN = INGEST_TOKEN;
    const found = await import(pathToFileURL(file).href);
    assert.deepEqual([found.accepted, found.rejected], [2, []]);
    assert.ok(Array.isArray(found.top_posts));
    assert.ok(found.song === null || found.song.post_id === "song-1");
  });

  for (const [how, options] of /** @type {[string, object][]} */ ([
    ["by a socket", {}],
    ["by looking", { WebSocket: null }],
  ])) {
    // Node 20 has no sockets of its own: there, both look.
    test(`shows a chart live, ${how}`, async () => {
      const client = new Hitparade(service.url, options);
      const charts = [];
      const id = `live ${how}`;
      const stop = client.live(
        { region: "AF", timeframe: "1h", k: 5 },
        (chart) => charts.push(chart),
        (error) => assert.fail(String(error)),
      );
      await eventually(() => assert.ok(charts.length > 0));
      await trusted.send({ post_id: id, region_id: "AF" });
      await eventually(() => assert.ok(charts.at(-1).top_posts.some(({ post_id }) => post_id === id)));
      // A chart that stays as it is says nothing.
      assert.equal(new Set(charts.map(({ top_posts }) => JSON.stringify(top_posts))).size, charts.length);
      stop();
      const seen = charts.length;
      await trusted.send({ post_id: `${id}, later`, region_id: "AF" });
      assert.equal(charts.length, seen);
      await client.close();
    });
  }
});

for (const [what, messages] of /** @type {[string, string[]][]} */ ([
  ["went dead after a chart", ['{"top_posts":[]}']],
  ["never opened", []],
])) {
  test(`a live chart is looked at where its socket ${what}`, async ({ mock }) => {
    mock.timers.enable({ apis: ["setInterval"] });
    let [sockets, closed, looks] = [0, 0, 0];
    class Dead extends EventTarget {
      constructor() {
        super();
        sockets++;
        for (const data of messages) queueMicrotask(() => this.dispatchEvent(Object.assign(new Event("message"), { data })));
      }
      send() {}
      close() {
        closed++;
      }
    }
    const fetch = async () => (looks++, Response.json({ top_posts: [] }));
    const client = new Hitparade("http://127.0.0.1:9", { fetch, WebSocket: /** @type {any} */ (Dead) });
    const stop = client.live({}, () => {});
    await new Promise(setImmediate);
    assert.deepEqual([sockets, closed, looks], [1, 0, 0]);
    // A ping, and no answer to it.
    for (let spans = 0; spans < 2; spans++) mock.timers.tick(25_000);
    await new Promise(setImmediate);
    assert.deepEqual([closed, looks], [1, 1]);
    stop();
    await client.close();
  });
}

describe("a service that loses answers", { timeout: 60_000 }, () => {
  let server, answer, bodies;
  before(async () => {
    server = createServer(async (request, response) => {
      let text = "";
      for await (const chunk of request) text += chunk;
      bodies.push(JSON.parse(text));
      const [status, body, headers = {}] = answer(bodies.length) ?? [];
      if (!status) return request.socket.destroy();
      response.writeHead(status, headers);
      response.end(JSON.stringify(body));
    });
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
  });
  after(() => server.close());
  const url = () => `http://127.0.0.1:${server.address().port}`;
  const counted = [202, { accepted: 1, rejected: [], repeated: false }, { "hitparade-home": "EU/2" }];

  test("gets the very same batch again under its name, and later ones with the home that it named", async () => {
    bodies = [];
    answer = (number) => [null, [503, {}, { "retry-after": "1" }], counted][Math.min(number - 1, 2)];
    const waits = [];
    const client = new Hitparade(url(), { onRetry: (why) => waits.push(why) });
    assert.deepEqual(await client.send({ post_id: "a" }), { accepted: 1, rejected: [] });
    assert.equal(bodies.length, 3);
    for (const body of bodies) assert.deepEqual({ ...body, now: 0 }, { ...bodies[0], now: 0 });
    assert.equal("home" in bodies[0], false);
    assert.deepEqual(waits.length, 2);
    await client.send({ post_id: "b" });
    assert.deepEqual([bodies[3].client, bodies[3].seq, bodies[3].home], [bodies[0].client, 1, "EU/2"]);
    await client.close();
    await assert.rejects(client.send({ post_id: "c" }), { code: "closed" });
  });

  test("gets a batch again from a clock that was set back, and not as one of the future", async ({ mock }) => {
    bodies = [];
    answer = (number) => (number > 1 ? counted : null);
    const client = new Hitparade(url(), { onRetry: () => mock.method(Date, "now", () => bodies[0].now - 3_600_000) });
    assert.deepEqual(await client.send({ post_id: "a" }), { accepted: 1, rejected: [] });
    assert.deepEqual(bodies[1], { ...bodies[0], sent: bodies[0].now - 3_600_000, now: bodies[0].now - 3_600_000 });
    await client.close();
  });

  test("holds up no more than so many plays, and a client that is closed says what it had", async () => {
    bodies = [];
    answer = () => null;
    const client = new Hitparade(url());
    const first = client.send(Array.from({ length: 99_999 }, () => ({ post_id: "a" })));
    await assert.rejects(client.send([{ post_id: "b" }, { post_id: "c" }]), { code: "full" });
    await eventually(() => assert.ok(bodies.length > 0));
    void client.close({ withinMs: 50 });
    await assert.rejects(first, { code: "closed" });
  });

  test("is asked again many times, and nothing piles up meanwhile", async () => {
    const { setTimeout: wait } = globalThis;
    const warnings = [];
    const heard = (warning) => warnings.push(warning.name);
    process.on("warning", heard);
    // Pauses grow to a minute: not here.
    globalThis.setTimeout = /** @type {any} */ ((run, ms) => wait(run, Math.min(ms, 2)));
    try {
      let asked = 0;
      const body = JSON.stringify({ accepted: 1, rejected: [], repeated: false });
      const fetch = async () => (++asked < 30 ? new Response("{}", { status: 503 }) : new Response(body, { status: 202 }));
      const client = new Hitparade("http://127.0.0.1:9", { fetch });
      assert.equal((await client.send({ post_id: "a" })).accepted, 1);
      await client.close();
      assert.equal(asked, 30);
      await new Promise((done) => wait(done, 10));
      assert.deepEqual(warnings, []);
    } finally {
      globalThis.setTimeout = wait;
      process.off("warning", heard);
    }
  });

  test("is told apart: who refused, who has heard nothing, whose answer was lost", async () => {
    const batch = { client: "c", seq: 0, sent: Date.now(), plays: [{ post_id: "a" }] };
    const said = async (at = url()) => {
      const { outcome, unheard, status, code } = /** @type {any} */ (await attempt(at, batch));
      return [outcome, unheard ?? null, status ?? null, code ?? null];
    };
    bodies = [];
    answer = () => null;
    assert.deepEqual(await said(), ["again", false, 0, ""]);
    assert.deepEqual(await said("http://127.0.0.1:9"), ["again", false, 0, ""]);
    const free = createServer();
    await new Promise((done) => free.listen(0, "127.0.0.1", done));
    const { port } = free.address();
    await new Promise((done) => free.close(done));
    assert.deepEqual(await said(`http://127.0.0.1:${port}`), ["again", true, 0, ""]);
    answer = () => [422, { code: "key_reused", detail: "" }];
    assert.deepEqual(await said(), ["refused", null, 422, "key_reused"]);
    answer = () => [301, "moved"];
    assert.deepEqual(await said(), ["refused", null, 301, ""]);
    answer = () => [202, "<html>"];
    assert.deepEqual(await said(), ["refused", null, 202, ""]);
  });
});

test("the client inside a Worker sends, reads, and hears what comes over a socket", { timeout: 90_000 }, async () => {
  const service = await Service.start();
  const folder = mkdtempSync(join(tmpdir(), "hitparade-worker-"));
  try {
    copyFileSync(join(ROOT, "client", "hitparade.js"), join(folder, "hitparade.js"));
    writeFileSync(
      join(folder, "worker.js"),
      `import { Hitparade } from "./hitparade.js";
      export default {
        async fetch(request, { URL, INGEST_TOKEN }) {
          const hitparade = new Hitparade(URL, { ingestToken: INGEST_TOKEN });
          const sent = await hitparade.send([{ post_id: "from a Worker", region_id: "EU", count: 7 }]);
          const shown = new Promise((done) => {
            const stop = hitparade.live({ region: "EU", timeframe: "1h" }, ({ top_posts }) => {
              if (!top_posts.some(({ post_id }) => post_id === "from a Worker")) return;
              stop();
              done(top_posts);
            });
          });
          const live = await shown;
          const { top_posts } = await hitparade.topPosts({ region: "EU", timeframe: "1h" });
          await hitparade.close();
          return Response.json({ sent, live, top_posts });
        },
      };`,
    );
    writeFileSync(
      join(folder, "config.capnp"),
      `using Workerd = import "/workerd/workerd.capnp";
      const config :Workerd.Config = (
        services = [
          (name = "main", worker = (
            modules = [(name = "worker.js", esModule = embed "worker.js"), (name = "hitparade.js", esModule = embed "hitparade.js")],
            compatibilityDate = "2026-11-17",
            bindings = [(name = "URL", text = "${service.url}"), (name = "INGEST_TOKEN", text = "${INGEST_TOKEN}")],
          )),
          (name = "internet", network = (allow = ["local"])),
        ],
        sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
      );`,
    );
    const runtime = spawn(workerd(), ["serve", join(folder, "config.capnp"), "--control-fd=3"], {
      stdio: ["ignore", "inherit", "inherit", "pipe"],
    });
    try {
      const port = await new Promise((done, fail) => {
        runtime.on("exit", (code) => fail(new Error(`workerd ended with ${code}`)));
        runtime.stdio[3].on("data", (data) => {
          const said = /"port":(\d+)/.exec(String(data));
          if (said) done(said[1]);
        });
      });
      const answer = await fetch(`http://127.0.0.1:${port}/`);
      const text = await answer.text();
      assert.equal(answer.status, 200, text);
      const { sent, live, top_posts } = JSON.parse(text);
      assert.deepEqual(sent, { accepted: 1, rejected: [] });
      for (const posts of [live, top_posts]) {
        assert.deepEqual(
          posts.map(({ post_id, view_count }) => [post_id, view_count]),
          [["from a Worker", 7]],
        );
      }
    } finally {
      runtime.kill("SIGKILL");
    }
  } finally {
    rmSync(folder, { recursive: true });
    await service.dispose();
  }
});
