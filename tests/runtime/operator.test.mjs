/**
 * An operator's day, while senders go on: a region is deleted and made again, counting begins anew, an
 * export is made of one moment; and the server is killed in the middle of it.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { ADMIN_TOKEN, INGEST_TOKEN, Service, eventually, readProblem } from "./harness.mjs";

const admin = { authorization: `Bearer ${ADMIN_TOKEN}` };
const DAY_MS = 86_400_000;
/** Of three shards from the start: a change of the number takes minutes. */
const WIDE = "Wide";
const REGIONS = ["NA", "EU", WIDE];
const SENDERS = 24;

/** One of the commands. @returns {Promise<{code: number, stderr: string}>} */
function command(name, ...words) {
  const child = spawn(process.execPath, [join(ROOT, "scripts", `${name}.mjs`), ...words], {
    env: { ...process.env, ADMIN_TOKEN },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let stderr = "";
  child.stderr.on("data", (data) => (stderr += data));
  return new Promise((done) => child.on("close", (code) => done({ code, stderr })));
}

/** @param {Service} service */
const installation = (service) => service.get("/admin", { headers: admin });
/** @param {Service} service @param {string} id */
const reset = (service, id) => service.request("POST", "/admin/reset", { installation_id: id }, admin);
const deleteRegion = (service, id) => service.fetch(`/regions/${encodeURIComponent(id)}`, { method: "DELETE", headers: admin });

/** How often each post was played, as the chart of all time says; all of it must be exact. */
async function counts(service, region = "global") {
  const { total_views, top_posts } = await service.topPosts({ region, timeframe: "all", k: 1000 });
  for (const post of top_posts) assert.equal(post.view_count_min, post.view_count_max, post.post_id);
  const found = new Map(top_posts.map((post) => [post.post_id, post.view_count]));
  assert.equal(
    [...found.values()].reduce((sum, count) => sum + count, 0),
    total_views,
  );
  return found;
}

/**
 * Senders that never wait: each plays a post of its own, one after the other, and a play that got no
 * answer is sent again. So at any moment at most one play of each is under way.
 */
class Senders {
  /** @type {{post: string, region: string, plays: {sentMs: number, ackedMs: number, code?: string}[]}[]} */
  all = [];
  #going = true;
  #running = Promise.resolve();

  /** @param {Service} service @param {string} name of their posts */
  constructor(service, name, regions = REGIONS) {
    this.service = service;
    for (let number = 0; number < SENDERS; number++) {
      this.all.push({ post: `${name} ${number}`, region: regions[number % regions.length], plays: [] });
    }
    this.#running = Promise.all(this.all.map((sender) => this.#send(sender)));
  }

  async #send(sender) {
    const client = crypto.randomUUID();
    for (let seq = 0; this.#going; seq++) {
      const play = { sentMs: Date.now(), ackedMs: Infinity };
      sender.plays.push(play);
      // Those that are under way at the end are waited for.
      for (;;) {
        const code = await this.#attempt(sender, client, seq, play.sentMs);
        if (code === "again") {
          await sleep(100);
          continue;
        }
        if (code) play.code = code;
        else play.ackedMs = Date.now();
        break;
      }
      await sleep(5 + Math.random() * 40);
    }
  }

  async #attempt({ post, region }, client, seq, sent) {
    const body = { client, seq, sent, now: Date.now(), plays: [{ post_id: post, region_id: region, timestamp: sent }] };
    try {
      const answer = await this.service.request("POST", "/plays", body, { authorization: `Bearer ${INGEST_TOKEN}` });
      const said = await answer.json();
      if (answer.status === 202) return undefined;
      if (answer.status === 503) return "again";
      return said.rejected?.[0].code ?? said.code;
    } catch {
      return "again";
    }
  }

  async stop() {
    this.#going = false;
    await this.#running;
  }

  /** Of each post, the least and the most that may be counted of the plays of a span. */
  between(fromMs, toMs, { of = () => true } = {}) {
    return new Map(
      this.all.filter(of).map(({ post, plays }) => {
        const least = plays.filter(({ sentMs, ackedMs }) => sentMs >= fromMs && ackedMs < toMs).length;
        const most = plays.filter(({ sentMs, ackedMs, code }) => !code && ackedMs >= fromMs && sentMs < toMs).length;
        return [post, [least, most]];
      }),
    );
  }
}

/** Every count is within its bounds, and there is no post that has none. */
function assertWithin(found, bounds) {
  for (const [post, [least, most]] of bounds) {
    const count = found.get(post) ?? 0;
    assert.ok(least <= count && count <= most, `${post}: ${count}, not ${least} to ${most}`);
  }
  for (const post of found.keys()) assert.ok(bounds.has(post), `${post} is from somewhere else`);
}

async function start(environment) {
  const service = await Service.start(environment);
  const made = await service.put(`/regions/${WIDE}`, { shards: 3 });
  assert.equal(made.status, 200, await made.text());
  return service;
}

describe("while senders go on", { timeout: 600_000 }, () => {
  /** @type {Service} */
  let service;
  before(async () => {
    service = await start();
  });
  after(() => service?.dispose());

  test("an export has exactly what was durable at the moment that it names, and arrives as that", async () => {
    const senders = new Senders(service, "export");
    const file = join(service.state, "moment.ndjson");
    await sleep(6_000);
    const begunMs = Date.now();
    const { code, stderr } = await command("backup", "--url", service.url, "--to", file);
    const endedMs = Date.now();
    await sleep(1_000);
    await senders.stop();
    assert.equal(code, 0, stderr);
    const lines = readFileSync(file, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    const [head, end] = [lines[0], lines.at(-1)];
    assert.deepEqual([end.kind, end.complete, end.rows], ["end", true, lines.length - 1]);
    const momentMs = Date.parse(head.as_of);
    assert.ok(begunMs < momentMs && momentMs < endedMs, head.as_of);
    for (const level of ["all", "1d", "1m"]) {
      for (const scope of [...REGIONS, "global"]) {
        const found = new Map();
        for (const pane of lines.filter((line) => line.kind === "pane" && line.scope === scope && line.level === level)) {
          for (const { post_id, view_count_min, view_count_max } of pane.posts) {
            assert.equal(view_count_min, view_count_max);
            found.set(post_id, (found.get(post_id) ?? 0) + view_count_min);
          }
        }
        const of = ({ region }) => scope === "global" || region === scope;
        const bounds = senders.between(0, momentMs, { of });
        assertWithin(found, bounds);
        assert.ok(
          [...bounds.values()].every(([least, most]) => least > 20 && most - least <= 1),
          "exact but for what was under way",
        );
      }
    }
    // Nothing is lost of what came later.
    await eventually(async () => assertWithin(await counts(service), senders.between(0, Infinity)));

    const next = await start();
    try {
      const { code, stderr } = await command("import", "--url", next.url, "--file", file);
      assert.equal(code, 0, stderr);
      for (const region of [...REGIONS, "global"]) {
        const all = lines.find((line) => line.kind === "pane" && line.scope === region && line.level === "all");
        const exported = new Map(all.posts.map(({ post_id, view_count_max }) => [post_id, view_count_max]));
        assert.deepEqual(new Map([...(await counts(next, region))].sort()), new Map([...exported].sort()), region);
      }
    } finally {
      await next.dispose();
    }
  });

  test("an export that another one follows is over", async () => {
    const first = await service.fetch("/export", { headers: admin });
    const next = /<([^>]+)>/.exec(first.headers.get("link"))[1];
    assert.equal((await service.fetch(next, { headers: admin })).status, 200);
    assert.equal((await service.fetch("/export", { headers: admin })).status, 200);
    assert.equal((await readProblem(await service.fetch(next, { headers: admin }), 410)).code, "export_over");
  });

  test("a region is deleted: no acknowledged play is lost, none counts twice, and it begins with nothing again", async () => {
    const before = await counts(service);
    const senders = new Senders(service, "delete", ["EU", WIDE]);
    await sleep(1_500);
    for (const [index, id] of ["EU", WIDE].entries()) {
      const [first, second] = await Promise.all([deleteRegion(service, id), deleteRegion(service, id)]);
      const [said, again] = [await first.json(), await second.json()];
      assert.deepEqual([first.status, second.status], [200, 200]);
      assert.deepEqual([said.region_id, said], [id, again]);
      const deletedMs = Date.now();
      assert.equal((await readProblem(await service.fetch(`/posts/delete%200?region=${id}`), 410)).code, "region_deleted");
      await eventually(async () => {
        assert.equal((await readProblem(await service.fetch(`/top-posts?region=${id}&timeframe=all`), 410)).code, "region_deleted");
      });
      if (index === 0) {
        // As by a power cut, with what its shard has not told.
        await service.kill();
        await service.launch();
      }
      const plays = () => senders.all.filter(({ region }) => region === id).flatMap(({ plays }) => plays);
      await eventually(async () => assert.ok(plays().some(({ code }) => code === "region_deleted")));
      await sleep(500);
      const late = plays();
      assert.ok(
        late.every(({ sentMs, ackedMs }) => ackedMs === Infinity || sentMs <= deletedMs),
        "none is taken any more",
      );
    }
    await senders.stop();
    const world = senders.between(0, Infinity);
    const all = new Map([...[...before].map(([post, count]) => [post, [count, count]]), ...world]);
    await eventually(async () => assertWithin(await counts(service), all), 30_000);
    const listed = (await service.get("/regions")).regions.map(({ region_id }) => region_id);
    assert.ok(!listed.includes("EU") && !listed.includes(WIDE), listed.join());
    const deleted = (await installation(service)).deleted_regions.map(({ region_id }) => region_id);
    assert.deepEqual(deleted, ["EU", WIDE]);

    const made = await service.put(`/regions/${WIDE}`, { shards: 2 });
    assert.equal(made.status, 200, await made.text());
    await service.send([{ post_id: "new", region_id: WIDE }]);
    await eventually(async () => assert.deepEqual(await counts(service, WIDE), new Map([["new", 1]])));
    await eventually(async () => assertWithin(await counts(service), new Map([...all, ["new", [1, 1]]])));
    assert.equal((await readProblem(await deleteRegion(service, "nowhere"), 404)).code, "unknown_region");
  });

  test("counting begins anew: nothing of before comes back, nothing that is acknowledged later is lost", async () => {
    const { installation_id: id, counting_since } = await installation(service);
    assert.equal(counting_since, null);
    await service.put("/posts/reset%200", { author: "stays" });
    assert.equal((await readProblem(await reset(service, "0".repeat(32)), 409)).code, "wrong_installation");
    assert.equal((await reset(service, "")).status, 400);
    assert.ok((await counts(service)).size > 0);
    const senders = new Senders(service, "reset", ["NA", WIDE]);
    await sleep(2_000);
    // Two operators at once: one of them is told that it was done.
    const askedMs = Date.now();
    const answers = await Promise.all([reset(service, id), reset(service, id)]);
    const doneMs = Date.now();
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200],
    );
    const said = await Promise.all(answers.map((answer) => answer.json()));
    assert.deepEqual(said.map(({ repeated }) => repeated).sort(), [false, true]);
    assert.notEqual(said[0].installation_id, id);
    assert.equal(said[0].installation_id, said[1].installation_id);
    await sleep(2_000);
    // Whoever did not hear the answer asks again: nothing goes.
    assert.equal((await (await reset(service, id)).json()).repeated, true);
    await sleep(1_000);
    const told = service.log.split("\n").filter((line) => line.includes("counting begins anew"));
    assert.notEqual(told.length, 0);
    for (const line of told) assert.equal(JSON.parse(line).level, "info", "what an operator asked for is no fault");
    await senders.stop();
    const bounds = new Map(
      [...senders.between(doneMs, Infinity)].map(([post, [least]]) => [post, [least, senders.between(askedMs, Infinity).get(post)[1]]]),
    );
    await eventually(async () => assertWithin(await counts(service), bounds));
    const since = await installation(service);
    assert.ok(askedMs <= Date.parse(since.counting_since) && Date.parse(since.counting_since) <= doneMs);
    const post = await service.post("reset 0", { timeframe: "all" });
    assert.equal(post.author, "stays");
  });

  test("killed in the middle of it, counting begins anew once the request is sent again", async () => {
    for (let round = 0; round < 2; round++) {
      const { installation_id: id } = await installation(service);
      const senders = new Senders(service, `kill ${round}`, ["NA", WIDE]);
      await sleep(1_500);
      const askedMs = Date.now();
      const under_way = reset(service, id).catch(() => {});
      await sleep(Math.random() * 30);
      await service.kill();
      await under_way;
      await service.launch();
      const answer = await eventually(async () => {
        const answer = await reset(service, id);
        assert.equal(answer.status, 200);
        return answer;
      });
      await answer.json();
      const doneMs = Date.now();
      await sleep(1_000);
      await senders.stop();
      const most = senders.between(askedMs, Infinity);
      const least = senders.between(doneMs, Infinity);
      const bounds = new Map([...most].map(([post, [, count]]) => [post, [least.get(post)[0], count]]));
      await eventually(async () => assertWithin(await counts(service), bounds));
    }
  });
});

describe("more shards than one request may tell", { timeout: 120_000 }, () => {
  const MANY = "Many";
  const SHARDS = 100;
  /** @type {Service} */
  let service;
  before(async () => {
    service = await Service.start();
    assert.equal((await service.put(`/regions/${MANY}`, { shards: SHARDS })).status, 200);
  });
  after(() => service?.dispose());

  /** Sends a request until it is carried out. @returns {Promise<number[]>} how many knew after each before the last */
  async function untilTold(send, between = async () => {}) {
    const told = [];
    for (;;) {
      const answer = await send();
      if (answer.status === 200) return told;
      const problem = await readProblem(answer, 503);
      assert.deepEqual(
        [problem.code, problem.of > SHARDS - 1, answer.headers.get("retry-after")],
        ["not_announced", true, "1"],
        problem.detail,
      );
      told.push(problem.told);
      await between();
    }
  }

  test("an export tells them all, page by page, before its moment", async () => {
    await Promise.all(Array.from({ length: 200 }, (_, index) => service.send([{ post_id: "cut", region_id: MANY }], `cut ${index}`)));
    const file = join(service.state, "many.ndjson");
    const { code, stderr } = await command("backup", "--url", service.url, "--to", file);
    assert.equal(code, 0, stderr);
    const lines = readFileSync(file, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.equal(lines.at(-1).complete, true);
    const all = lines.find((line) => line.kind === "pane" && line.scope === MANY && line.level === "all");
    assert.equal(all.total_views, 200);
  });

  test("counting begins anew for all of them, the same request after the other, also where the server is killed in between", async () => {
    const { installation_id: id } = await installation(service);
    const told = await untilTold(
      () => reset(service, id),
      async () => {
        await service.kill();
        await service.launch();
      },
    );
    assert.deepEqual(told, [40, 80], "it goes on, and none is told twice");
    assert.equal((await (await reset(service, id)).json()).repeated, true);
    await service.send([{ post_id: "anew", region_id: MANY }]);
    await eventually(async () => assert.deepEqual(await counts(service), new Map([["anew", 1]])));
  });

  test("a region of so many is deleted, and its id made again, by a request each", async () => {
    assert.equal((await deleteRegion(service, MANY)).status, 200);
    assert.equal((await service.put(`/regions/${MANY}`, { shards: 1 })).status, 200);
  });
});

describe("a batch that is sent again after its region was deleted", { timeout: 60_000 }, () => {
  test("counts once, whether the region was made again or another one takes its place", async () => {
    const service = await start();
    try {
      const batch = (client, region_id) => ({ client, seq: 1, sent: Date.now(), plays: [{ post_id: client, region_id }] });
      const send = async (batch, token) => {
        const answer = await service.request(
          "POST",
          "/plays",
          { ...batch, now: Date.now() },
          token && { authorization: `Bearer ${token}` },
        );
        return { status: answer.status, ...(await answer.json()) };
      };
      const named = batch("named", WIDE);
      const [unsent, beacon, server] = [batch("unsent", WIDE), batch("beacon"), batch("server")];
      // Plays that name no region count in the first one: no country is known here.
      for (const [sent, token] of [[named, INGEST_TOKEN], [beacon], [server, INGEST_TOKEN]]) {
        const { status, repeated } = await send(sent, token);
        assert.deepEqual([status, repeated], [202, false]);
      }
      for (const id of [WIDE, "NA"]) assert.equal((await deleteRegion(service, id)).status, 200);
      assert.equal((await send(named, INGEST_TOKEN)).rejected[0].code, "region_deleted");
      assert.equal((await service.put(`/regions/${WIDE}`, { shards: 2 })).status, 200);
      for (const [sent, token] of [[named, INGEST_TOKEN], [beacon], [server, INGEST_TOKEN]]) {
        const { status, repeated } = await send(sent, token);
        assert.deepEqual([status, repeated], [202, true]);
      }
      const once = await send(unsent, INGEST_TOKEN);
      assert.deepEqual([once.status, once.repeated], [202, false]);
      const each = new Map(["named", "unsent", "beacon", "server"].map((post) => [post, [1, 1]]));
      await eventually(async () => assertWithin(await counts(service), each));
      assert.deepEqual(await counts(service, WIDE), new Map([["unsent", 1]]));
      const listed = (await service.get("/regions")).regions.map(({ region_id }) => region_id);
      for (const id of listed.slice(1)) assert.equal((await deleteRegion(service, id)).status, 200);
      assert.equal((await readProblem(await deleteRegion(service, listed[0]), 400)).code, "bad_region");
    } finally {
      await service.dispose();
    }
  });
});

describe("RETENTION_DAYS", { timeout: 60_000 }, () => {
  test("says how far back a window reaches; all time forgets nothing", async () => {
    const service = await Service.start({ RETENTION_DAYS: "30" });
    try {
      const plays = [1, 20, 45, 300].map((days) => ({ post_id: `${days} days`, region_id: "NA", timestamp: Date.now() - days * DAY_MS }));
      await service.send(plays);
      await eventually(async () => assert.equal((await counts(service)).size, 4));
      const chart = await service.topPosts({ region: "NA", timeframe: "400d" });
      assert.equal(chart.total_views, 2);
      const days = (Date.now() - Date.parse(chart.window.from)) / DAY_MS;
      assert.ok(30 <= days && days <= 31, chart.window.from);
      const gone = await service.fetch("/top-posts?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z");
      assert.equal((await readProblem(gone, 400)).code, "bad_window");
      assert.equal((await installation(service)).retention_days, 30);
    } finally {
      await service.dispose();
    }
  });
});
