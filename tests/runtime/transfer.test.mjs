/** Leaving: everything goes out as lines, and into another installation, each once. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { exportWhole } from "../../scripts/lib/export.mjs";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { ADMIN_TOKEN, Service, eventually } from "./harness.mjs";

const HOUR_MS = 3_600_000;
const REGIONS = ["NA", "EU", "Südsee 🏝"];
const AGES_MS = [60_000, 40 * 60_000, 5 * HOUR_MS, 80 * HOUR_MS, 500 * HOUR_MS, 9_000 * HOUR_MS];
const admin = { authorization: `Bearer ${ADMIN_TOKEN}` };

/** One of the commands. @returns {Promise<{code: number, stderr: string}>} */
function command(name, ...words) {
  return commandAs({ ADMIN_TOKEN }, name, ...words);
}

function commandAs(environment, name, ...words) {
  return outcomeOf([process.execPath, join(ROOT, "scripts", `${name}.mjs`), ...words], environment);
}

function outcomeOf([program, ...words], environment) {
  const child = spawn(program, words, {
    env: { ...process.env, ...environment },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let stderr = "";
  child.stderr.on("data", (data) => (stderr += data));
  return new Promise((done) => child.on("close", (code) => done({ code, stderr })));
}

async function charts(service) {
  const questions = [...REGIONS, "global"].flatMap((region) =>
    ["all", "400d", "30d", "7d"].map((timeframe) => ({ region, timeframe, k: 1000 })),
  );
  const found = [];
  for (const question of questions) {
    const { as_of: _, window: __, ...chart } = await service.topPosts(question);
    found.push({ question, chart });
  }
  return found;
}

test("an export that lacks something leaves a whole one of before as it was", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hitparade-export-"));
  const file = join(folder, "everything.ndjson");
  const lines = (end) =>
    `{"kind":"export","as_of":"2026-11-26T00:00:00Z"}\n${JSON.stringify({ kind: "end", rows: 1, damaged_rows: 0, ...end })}\n`;
  let said = "";
  const server = createServer(({ url }, response) => response.end(url === "/boards" ? '{"boards":[]}' : said)).listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  const whole = () => exportWhole(file, { url: `http://127.0.0.1:${server.address().port}`, headers: {} }, -1);
  try {
    said = lines({ complete: true });
    await whole();
    const before = readFileSync(file, "utf8");
    for (const end of [{ complete: false }, { complete: false, damaged_rows: 3 }]) {
      said = lines(end);
      await assert.rejects(whole, /everything\.ndjson\.incomplete/);
      assert.equal(readFileSync(file, "utf8"), before);
      assert.equal(readFileSync(`${file}.incomplete`, "utf8"), said);
    }
    said = lines({ complete: true });
    await whole();
    assert.ok(!existsSync(`${file}.incomplete`), "it is there no more once there is a whole one");
    // A file that has reached its limit takes of a write what has room: as a disk that is full.
    said = lines({ complete: true }).replace("\n", `\n{"kind":"post","text":"${"x".repeat(10_000)}"}\n`);
    const full = ["sh", "-c", 'ulimit -f 4 && exec "$0" "$@"', process.execPath, join(ROOT, "scripts", "export.mjs")];
    const { code, stderr } = await outcomeOf([...full, "--file", file, "--url", `http://127.0.0.1:${server.address().port}`], {
      ADMIN_TOKEN,
    });
    assert.equal(code, 1, stderr);
    assert.match(stderr, /EFBIG|ENOSPC/);
    assert.equal(readFileSync(file, "utf8"), lines({ complete: true }));
    const url = `http://127.0.0.1:${server.address().port}`;
    const words = ["--file", join(folder, "nowhere", "x"), "--url", url];
    const nowhere = await outcomeOf([process.execPath, join(ROOT, "scripts", "export.mjs"), ...words], { ADMIN_TOKEN });
    assert.match(nowhere.stderr, /error: ENOENT[^\n]*\n +Is the name right\?/);
    assert.doesNotMatch(nowhere.stderr, /^ +at /m);
    assert.deepEqual(readdirSync(folder), ["everything.ndjson"]);
  } finally {
    server.close();
    rmSync(folder, { recursive: true });
  }
});

test("an export gives up on who says nothing, not on who is slow, and says what to do", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hitparade-slow-"));
  const file = join(folder, "everything.ndjson");
  const text = `{"kind":"export","as_of":"2026-11-26T00:00:00Z"}\n{"kind":"end","rows":1,"damaged_rows":0,"complete":true}\n`;
  /** What is said of an export, a piece each 150 ms, and whether there is an end to it. */
  let [pieces, ends] = [/** @type {string[]} */ ([]), false];
  const server = createServer(async ({ url }, response) => {
    if (url === "/boards") return response.end('{"boards":[]}');
    for (const piece of pieces) {
      response.write(piece);
      await sleep(150);
    }
    if (ends) response.end();
  }).listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  const admin = { url: `http://127.0.0.1:${server.address().port}`, headers: {}, patienceMs: 500 };
  const whole = () => Promise.race([exportWhole(file, admin, 0), sleep(10_000, "hangs", { ref: false })]);
  try {
    for (const said of [[], [text.slice(0, 20)]]) {
      pieces = said;
      await assert.rejects(
        whole,
        /GET http:\S+\/export\?board=main: not done within 0\.5 s \(no byte for 0\.5 s\)\.\n +.*hitparade doctor/,
      );
    }
    // Slower in all than what is waited for a byte.
    [pieces, ends] = [text.match(/[^]{1,12}/g) ?? [], true];
    assert.deepEqual(await whole(), { rows: 1, asOf: "2026-11-26T00:00:00Z" });
    assert.deepEqual(readdirSync(folder), ["everything.ndjson"]);
  } finally {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  }
});

test("an export says of another one's answer that it is no installation", async () => {
  const server = createServer((_, response) => response.end("<h1>It works!</h1>")).listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  const url = `http://127.0.0.1:${server.address().port}`;
  const { code, stderr } = await command("export", "--url", url, "--file", join(tmpdir(), "nothing.ndjson"));
  server.close();
  assert.equal(code, 1);
  assert.match(stderr, /GET \S+\/boards: 200 <h1>It works!<\/h1>\n +This is no answer of Hitparade's/);
});

test("an import sends nothing of a file that is not as it was written, and names the line", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hitparade-import-"));
  const file = join(folder, "everything.ndjson");
  let sent = 0;
  const server = createServer(async ({ url, method }, response) => {
    if (method === "POST") sent++;
    if (!url?.startsWith("/import")) return response.end('{"boards":[{"board_id":"main"}]}');
    const detail = '{"code":"bad_import","detail":"line 3 of the body: level: 3m is none"}';
    response.writeHead(400, { "content-type": "application/problem+json" }).end(detail);
  }).listen(0, "127.0.0.1");
  await new Promise((done) => server.once("listening", done));
  const row = (post_id) => JSON.stringify({ kind: "post", post_id });
  const whole = ['{"kind":"export","seed":"1","id":"2"}', row("a"), row("b"), row("c"), '{"kind":"end","rows":4,"complete":true}'];
  /** @param {string[]} lines */
  const put = async (lines) => {
    writeFileSync(file, `${lines.join("\n")}\n`);
    const { code, stderr } = await command("import", "--file", file, "--url", `http://127.0.0.1:${server.address().port}`);
    assert.equal(code, 1, stderr);
    assert.doesNotMatch(stderr, /^ +at /m, "no stack trace");
    return stderr.replaceAll(file, "FILE");
  };
  try {
    assert.match(await put(whole.toSpliced(2, 1)), /FILE has 3 lines before its end, which says that they were 4\.\n +Export again/);
    for (const broken of [row("b").slice(0, 12), "", "null", '{"post_id":"b"}'])
      assert.match(await put(whole.with(2, broken)), /Line 3 of FILE is none of an export[^\n]*\n +Export again/, broken);
    assert.match(await put(whole.with(0, "null")), /FILE is no export\./);
    assert.match(await put(whole.with(4, '{"kind":"en')), /FILE is cut off/);
    assert.equal(sent, 0);
    // What only the service knows to be wrong.
    assert.match(await put(whole), /400 bad_import: line 3 of FILE: level/);
  } finally {
    server.close();
    rmSync(folder, { recursive: true });
  }
});

describe("an export", { timeout: 600_000 }, () => {
  /** @type {Service} */
  let [old, next] = [];
  let file;
  before(async () => {
    [old, next] = await Promise.all([Service.start(), Service.start()]);
    file = join(old.state, "export.ndjson");
    await old.addRegions("Südsee 🏝");
    await old.put("/posts", [
      { post_id: "post 1", author: "A", url: "https://example.com/1", timestamp: "2026-01-02T03:04:05Z" },
      { post_id: "post 2", content: "hidden" },
    ]);
    await old.request("DELETE", "/posts/post%202", "", admin);
    for (const [number, region_id] of REGIONS.entries()) {
      const plays = AGES_MS.flatMap((age, index) =>
        Array.from({ length: 30 }, (_, post) => ({
          post_id: `post ${post + 3}`,
          region_id,
          timestamp: Date.now() - age,
          count: 1 + ((post * 7 + index + number) % 5),
        })),
      );
      await old.send(plays);
    }
    // More posts than a day's pane has counters, so that some bounds are apart.
    const many = Array.from({ length: 9_000 }, (_, post) => ({
      post_id: `one of many ${post}`,
      region_id: "EU",
      timestamp: Date.now() - AGES_MS[3],
      count: 1 + (post % 3),
    }));
    await old.send(many);
  });
  after(() => Promise.all([old?.dispose(), next?.dispose()]));

  test("needs the admin token", async () => {
    assert.equal((await old.fetch("/export")).status, 401);
    const asked = await old.fetch("/import", { method: "POST", headers: { origin: "https://elsewhere.example" } });
    assert.deepEqual([asked.status, asked.headers.get("access-control-allow-origin")], [401, null]);
    assert.equal((await old.fetch("/export?cursor=00", { headers: admin })).status, 400);
  });

  test("says at once whose token is wrong, and where nobody is", async () => {
    const wrong = await commandAs({ ADMIN_TOKEN: "wrong" }, "backup", "--url", old.url, "--to", file);
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /401 unauthorized: .*\n {2}The token is taken from the environment/);
    assert.doesNotMatch(wrong.stderr, /\n {4}at /, "no stack trace");
    const nobody = await command("export", "--url", "http://127.0.0.1:65001", "--file", file);
    assert.equal(nobody.code, 1);
    assert.match(nobody.stderr, /Nobody answers at http:\/\/127\.0\.0\.1:65001 \(ECONNREFUSED\)/);
    const within = await command("import", "--url", `${old.url}/charts`, "--file", file);
    assert.match(within.stderr, /the address alone is needed/);
  });

  test("holds everything, in lines that people can read", async () => {
    const { code, stderr } = await command("export", "--url", old.url, "--file", file, "--wait", "0");
    assert.equal(code, 0, stderr);
    const lines = readFileSync(file, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    const of = (kind) => lines.filter((line) => line.kind === kind);
    assert.deepEqual(of("end"), [{ kind: "end", rows: lines.length - 1, damaged_rows: 0, complete: true }]);
    assert.equal(of("region").length, 7);
    assert.deepEqual(
      of("post").map(({ post_id, hidden }) => [post_id, hidden]),
      [
        ["post 1", false],
        ["post 2", true],
      ],
    );
    const all = of("pane").find(({ scope, level }) => scope === "NA" && level === "all");
    assert.equal(
      all.total_views,
      all.posts.reduce((sum, { view_count_max }) => sum + view_count_max, 0),
    );
    assert.equal(all.posts.length, 30);
  });

  test("gives every chart again, though the import was killed and sent again", async () => {
    const lines = readFileSync(file, "utf8").trimEnd().split("\n");
    const { seed, id } = JSON.parse(lines[0]);
    const send = (first, rows) =>
      next.request("POST", `/import?${new URLSearchParams({ seed, id, row: String(first) })}`, rows.join("\n"), admin);
    const part = Math.ceil(lines.length / 3);
    for (const first of [0, part]) {
      const answer = await send(first, lines.slice(first, first + part));
      assert.deepEqual(await answer.json(), { board: "main", next_row: first + part });
      await next.kill();
      await next.launch();
    }
    const gap = await send(lines.length + 5, lines.slice(0, 1));
    assert.deepEqual(await gap.json(), { board: "main", next_row: 2 * part });
    for (let time = 0; time < 2; time++) {
      const { code, stderr } = await command("import", "--url", next.url, "--file", file);
      assert.equal(code, 0, stderr);
    }
    const [was, is] = [await charts(old), await charts(next)];
    assert.ok(
      was.some(({ chart }) => chart.unlisted_max > 0),
      "some bounds are apart",
    );
    assert.deepEqual(is, was);
    const post = await next.post("post 1", { timeframe: "all" });
    assert.deepEqual([post.author, post.url, post.timestamp], ["A", "https://example.com/1", "2026-01-02T03:04:05Z"]);
    assert.equal((await next.fetch("/posts/post%202")).status, 404);
    assert.equal((await next.get("/posts/post%202?timeframe=all", { headers: admin })).hidden, true);
  });

  test("of a board that is not for everybody, with posts of its own, goes into such a board alone", async () => {
    const secret = { board_name: "It's ours", public: false, catalog: "own" };
    assert.equal((await old.put("/boards/secret", secret)).status, 200);
    assert.equal((await old.put("/posts?board=secret", [{ post_id: "draft" }])).status, 200);
    await old.send([{ post_id: "draft", region_id: "EU", board: "secret" }]);
    const copy = join(old.state, "secret.ndjson");
    const made = await command("backup", "--url", old.url, "--board", "secret", "--to", copy);
    assert.equal(made.code, 0, made.stderr);
    const put = (board) => command("import", "--url", next.url, "--file", copy, ...(board ? ["--board", board] : []));
    const unsaid = await put();
    assert.equal(unsaid.code, 1);
    assert.match(unsaid.stderr, /is of the board secret\.[^]*--board secret puts it into[^]*--board main adds it to/);
    for (const [settings, why] of [
      [{ catalog: "own" }, /was not public, and open of .* is/],
      [{ public: false }, /had posts of its own, and open of .* shares/],
    ]) {
      assert.equal((await next.put("/boards/open", settings)).status, 200);
      const refused = await put("open");
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, why);
      await next.request("DELETE", "/boards/open?confirm=open", "", admin);
    }
    const { code, stderr } = await put("secret");
    assert.equal(code, 1);
    const [advised] = /curl -X PUT .*$/m.exec(stderr);
    const followed = await outcomeOf(["sh", "-c", `${advised} -fsS`], { ADMIN_TOKEN });
    assert.equal(followed.code, 0, followed.stderr);
    const imported = await put("secret");
    assert.equal(imported.code, 0, imported.stderr);
    assert.equal((await next.fetch("/top-posts?board=secret")).status, 404);
    const { boards } = await next.get("/boards", { headers: admin });
    const { board_name, public: isPublic, catalog } = boards.find(({ board_id }) => board_id === "secret");
    assert.deepEqual({ board_name, public: isPublic, catalog }, secret);
    const shown = await next.get("/top-posts?board=secret&region=EU&timeframe=all", { headers: admin });
    assert.deepEqual(
      shown.top_posts.map(({ post_id }) => post_id),
      ["draft"],
    );
    assert.equal((await next.fetch("/posts/draft", { headers: admin })).status, 404);
  });

  test("is taken once: neither by the installation that it is of, nor from a file that is cut off", async () => {
    const itself = await command("import", "--url", old.url, "--file", file);
    assert.equal(itself.code, 1);
    assert.match(itself.stderr, /this is where the export comes from/);
    const cut = join(old.state, "cut.ndjson");
    writeFileSync(cut, readFileSync(file, "utf8").split("\n").slice(0, 5).join("\n"));
    const { code, stderr } = await command("import", "--url", next.url, "--file", cut);
    assert.equal(code, 1);
    assert.match(stderr, /cut off/);
  });

  test("goes on with new plays where it arrived", async () => {
    const plays = [{ post_id: "post 3", region_id: "NA", count: 1_000_000 }];
    const before = await next.topPosts({ region: "NA", timeframe: "all" });
    await next.send(plays);
    const want = before.total_views + 1_000_000;
    await eventually(async () => {
      assert.equal((await next.topPosts({ region: "NA", timeframe: "all" })).total_views, want);
    });
  });
});
