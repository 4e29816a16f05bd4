/** Boards: charts of their own, from plays that name them to every question that does. */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { readFlights } from "../../scripts/lib/flights.mjs";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { ADMIN_TOKEN, INGEST_TOKEN, Model, Service, eventually, randomKey, readProblem } from "./harness.mjs";

const TRUSTED = { authorization: `Bearer ${INGEST_TOKEN}` };
const ADMIN = { authorization: `Bearer ${ADMIN_TOKEN}` };
/** Airlines with a board: with `main`, at three airports, 15 parts. */
const CARRIERS = ["UA", "B6", "EV", "DL"];
const FLIGHTS = 20_000;
const BATCH = 5_000;
const SENT = Date.now();

describe("boards", { timeout: 240_000 }, () => {
  /** @type {Service} */
  let service;
  before(async () => {
    service = await Service.start();
    await service.addRegions("EWR", "JFK", "LGA");
    await service.addBoards(...CARRIERS.map((carrier) => carrier.toLowerCase()));
  });
  after(() => service?.dispose());

  /** @param {object} envelope @param {Record<string, string>} [headers] */
  const send = (envelope, headers = {}) =>
    service.request("POST", "/plays", { client: randomKey(), seq: 0, sent: SENT, ...envelope }, headers);

  /** @param {Response} answer */
  async function verdict(answer) {
    const text = await answer.text();
    assert.equal(answer.status, 202, text);
    return JSON.parse(text);
  }

  test("count a real stream exactly, each in each region", async () => {
    const flights = readFlights(join(ROOT, "demo", "flights.tsv.gz")).slice(0, FLIGHTS);
    const shiftMs = Date.now() - flights[flights.length - 1].time;
    /** @type {Map<string, Model>} */
    const models = new Map(["main", ...CARRIERS].map((board) => [board.toLowerCase(), new Model()]));
    for (let start = 0; start < flights.length; start += BATCH) {
      const plays = flights.slice(start, start + BATCH).map(({ dest, origin, carrier, time }) => {
        const boards = ["main", ...(CARRIERS.includes(carrier) ? [carrier.toLowerCase()] : [])];
        return { post_id: dest, region_id: origin, timestamp: time + shiftMs, boards };
      });
      const key = randomKey();
      await service.send(plays, key);
      const again = await service.send(plays, key);
      assert.deepEqual([again.accepted, again.rejected, again.repeated], [plays.length, [], true]);
      for (const play of plays) for (const board of play.boards) models.get(board).add([play]);
    }
    for (const [board, model] of models) await model.assertExactly(service, "all", board);
    const { board, region, top_posts } = await service.topPosts({ board: "ua", region: "EWR", k: 1, timeframe: "all" });
    assert.deepEqual([board, region, top_posts.length], ["ua", "EWR", 1]);
    const [{ post_id, view_count }] = top_posts;
    const post = await service.post(post_id, { board: "ua", region: "EWR", timeframe: "all" });
    assert.equal(post.view_count, view_count, "a post's page is of the board, too");
  });

  test("are named by browsers, once for all plays, and each counts", async () => {
    await service.addBoards("sent-a", "sent-b");
    const sent = {
      boards: ["sent-a", "main", "sent-b", "sent-a"],
      plays: [{ post_id: "of three" }, { post_id: "of one", board: "sent-b" }],
    };
    assert.deepEqual(await verdict(await send(sent)), { accepted: 2, rejected: [], repeated: false });
    await eventually(async () => {
      const listed = async (/** @type {string} */ board) => {
        const { top_posts } = await service.topPosts({ board, timeframe: "1h" });
        return top_posts.map(({ post_id, view_count }) => `${post_id} ${view_count}`).sort();
      };
      assert.deepEqual(await listed("sent-a"), ["of three 1"]);
      assert.deepEqual(await listed("sent-b"), ["of one 1", "of three 1"]);
    });
  });

  test("that are none lose no play of the others", async () => {
    await service.addBoards("closed");
    assert.equal((await service.put("/boards/closed", { beacons: false })).status, 200);
    const plays = [
      { post_id: "a", boards: ["main", "__proto__", "closed"] },
      { post_id: "b", boards: ["Ünknown"] },
      { post_id: "c", boards: Array(9).fill("main") },
    ];
    const { accepted, rejected } = await verdict(await send({ plays }));
    assert.equal(accepted, 1);
    assert.deepEqual(
      rejected.map(({ index, board, code }) => [index, board, code]),
      [
        [0, "__proto__", "unknown_board"],
        [0, "closed", "unknown_board"],
        [1, "Ünknown", "unknown_board"],
        [2, undefined, "bad_boards"],
      ],
    );
    assert.equal(new Set(rejected.slice(0, 3).map(({ detail }) => detail)).size, 1, "nobody learns which are closed");
    const trusted = await verdict(await send({ board: "closed", plays: [{ post_id: "a" }] }, TRUSTED));
    assert.deepEqual([trusted.accepted, trusted.rejected], [1, []]);
    for (const [envelope, code] of [
      [{ board: "nowhere", plays: [{ post_id: "a" }] }, "no_good_play"],
      [{ boards: Array.from({ length: 9 }, (_, number) => `b${number}`), plays: [{ post_id: "a" }] }, "bad_envelope"],
      [{ board: "main", boards: ["main"], plays: [{ post_id: "a" }] }, "bad_envelope"],
    ]) {
      assert.equal((await readProblem(await send(envelope), 400)).code, code, JSON.stringify(envelope));
    }
    for (const name of ["board", "boards"]) {
      const answer = await service.request("POST", `/plays?${name}=ua`, { post_id: "in the address" });
      assert.equal((await readProblem(answer, 400)).code, "bad_envelope");
    }
  });

  test("that are unknown are 404 at every question, and wake no object", async () => {
    const stored = async () => (await readdir(service.state, { recursive: true })).filter((file) => file.endsWith(".sqlite")).length;
    const before = await stored();
    assert.ok(before > CARRIERS.length, "each object has a file");
    for (const board of ["nowhere", "__proto__", "constructor", "UA", "ua.0123456789abcdef", ""]) {
      const query = new URLSearchParams({ board });
      for (const path of ["/top-posts", "/regions", "/metrics", "/posts/x"]) {
        assert.equal((await readProblem(await service.fetch(`${path}?${query}`), 404)).code, "unknown_board", `${path} of ${board}`);
      }
      assert.equal((await readProblem(await service.fetch(`/export?${query}`, { headers: ADMIN }), 404)).code, "unknown_board");
      await send({ board, plays: [{ post_id: "nobody's" }] }, TRUSTED);
    }
    assert.equal(await stored(), before);
  });

  test("have figures, regions and exports of their own", async () => {
    await service.addBoards("own");
    await verdict(await send({ board: "own", plays: Array(7).fill({ post_id: "seven", region_id: "EWR" }) }, TRUSTED));
    await eventually(async () => {
      const { board, regions, boards } = await service.get("/regions?board=own");
      assert.equal(board, "own");
      assert.ok(boards > 5);
      assert.deepEqual(regions.map(({ views_24h }) => views_24h).sort(), [0, 0, ...regions.slice(3).map(() => 0), 7].sort());
      const text = await (await service.fetch("/metrics?board=own")).text();
      assert.match(text, /hitparade_\w*plays\w*\{[^}]*\} 7\n/);
    });
    let lines = "";
    for (let next = "/export?board=own"; next;) {
      const page = await service.fetch(next, { headers: ADMIN });
      if (page.status === 503) continue;
      assert.equal(page.status, 200);
      lines += await page.text();
      next = /^<([^>]*)>/.exec(page.headers.get("link") ?? "")?.[1] ?? "";
    }
    assert.match(lines, /"seven"/);
    assert.doesNotMatch(lines, /"of three"/, "those of other boards are not in it");
  });

  test("that are private show themselves to a token alone, as if there were none", async () => {
    await service.addBoards("private");
    assert.equal((await service.put("/boards/private", { public: false })).status, 200);
    await eventually(async () => {
      const answer = await service.fetch("/top-posts?board=private");
      assert.equal((await readProblem(answer, 404)).code, "unknown_board");
    });
    for (const path of ["/top-posts", "/metrics", "/regions"]) {
      const answer = await service.fetch(`${path}?board=private`, { headers: ADMIN });
      assert.equal(answer.status, 200, path);
      assert.match(answer.headers.get("cache-control"), /^private|^no-store/);
      assert.equal((await readProblem(await service.fetch(`${path}?board=private`), 404)).code, "unknown_board");
    }
    const listed = async (/** @type {RequestInit} */ init) => {
      const { boards } = await (await service.fetch("/boards", init)).json();
      return boards.some(({ board_id }) => board_id === "private");
    };
    assert.equal(await listed({}), false);
    assert.equal(await listed({ headers: ADMIN }), true);
  });

  test("are deleted for good with a catalog of their own, and begin with nothing under the same name", async () => {
    const make = async () => {
      const answer = await service.put("/boards/brief", { catalog: "own" });
      assert.equal(answer.status, 200);
      return (await answer.json()).incarnation;
    };
    const first = await make();
    const [key, plays] = [
      randomKey(),
      [
        { post_id: "a", region_id: "EWR" },
        { post_id: "b", region_id: "JFK" },
      ],
    ];
    const batch = { boards: ["brief", "main"], client: key, plays };
    assert.equal((await verdict(await send(batch, TRUSTED))).repeated, false);
    const listed = async () => {
      const { top_posts } = await service.get("/top-posts?board=brief&timeframe=all");
      return top_posts.map(({ post_id, content }) => [post_id, content]).sort();
    };
    assert.equal((await service.put("/posts/a?board=brief", { content: "of the first" })).status, 200);
    const described = [
      ["a", "of the first"],
      ["b", null],
    ];
    await eventually(async () => assert.deepEqual(await listed(), described), 15_000);
    const main = await service.topPosts({ timeframe: "all", k: 1000 });
    assert.ok(!main.top_posts.some(({ content }) => content === "of the first"), "main shows posts of its own catalog");

    assert.equal(
      (await readProblem(await service.fetch("/boards/brief", { method: "DELETE", headers: ADMIN }), 400)).code,
      "not_confirmed",
    );
    const remove = () => service.fetch("/boards/brief?confirm=brief", { method: "DELETE", headers: ADMIN });
    const deleted = await remove();
    const { objects_left } = await deleted.json();
    assert.deepEqual([deleted.status, objects_left], [200, 0]);
    assert.equal((await readProblem(await remove(), 404)).code, "unknown_board");
    for (const path of ["/top-posts", "/posts/a", "/metrics"]) {
      assert.equal((await readProblem(await service.fetch(`${path}?board=brief`), 404)).code, "unknown_board");
    }
    const late = await verdict(await send({ boards: ["brief", "main"], client: randomKey(), plays }, TRUSTED));
    assert.deepEqual(
      late.rejected.map(({ board, code }) => `${board} ${code}`),
      ["brief unknown_board", "brief unknown_board"],
    );

    assert.notEqual(await make(), first);
    await eventually(async () => assert.deepEqual(await listed(), [], "as soon as no cache has the chart of before"));
    const { posts } = await (await service.fetch("/posts?board=brief", { headers: ADMIN })).json();
    assert.deepEqual(posts, [], "its catalog is another one, too");
    await verdict(await send({ board: "brief", client: randomKey(), plays: [{ post_id: "b", region_id: "EWR" }] }, TRUSTED));
    await eventually(async () => assert.deepEqual(await listed(), [["b", null]]));
  });

  test("begin anew when counting does, with nothing left and all that is acknowledged from then on", async () => {
    await service.addBoards("anew");
    const play = { board: "anew", client: randomKey(), plays: [{ post_id: "before", region_id: "EWR" }] };
    await verdict(await send(play, TRUSTED));
    const listed = async () => {
      const { top_posts } = await service.get("/top-posts?board=anew&timeframe=all");
      return top_posts.map(({ post_id, view_count }) => [post_id, view_count]);
    };
    await eventually(async () => assert.deepEqual(await listed(), [["before", 1]]));
    const { installation_id } = await (await service.fetch("/admin", { headers: ADMIN })).json();
    const reset = () => service.request("POST", "/admin/reset", { installation_id }, ADMIN);
    let answer = await reset();
    // Of all boards of this file there are more objects than one request empties.
    for (let again = 0; answer.status === 503 && again < 20; again++) {
      assert.equal((await answer.json()).code, "not_announced");
      answer = await reset();
    }
    assert.equal(answer.status, 200, await answer.text());
    const figures = await (await service.fetch("/metrics")).text();
    assert.match(figures, /^hitparade_registry_deletions 0$/m, "nothing is left to be deleted");
    await verdict(await send({ ...play, client: randomKey(), plays: [{ post_id: "after", region_id: "EWR" }] }, TRUSTED));
    await eventually(async () => assert.deepEqual(await listed(), [["after", 1]]));
  });

  test("keep their shards apart, and homes name them", async () => {
    await service.addBoards("wide");
    const answer = await service.put("/boards/wide", { shards: { EWR: 3 } });
    assert.equal(answer.status, 200, await answer.text());
    const home = await eventually(async () => {
      const sent = await send({ board: "wide", plays: [{ post_id: "w", region_id: "EWR" }] }, TRUSTED);
      assert.equal(sent.status, 202);
      return sent.headers.get("hitparade-home");
    });
    assert.match(home, /^[\w~.%-]+\/1( wide\.[0-9a-f]{16}=3)?$/);
  });
});

describe("a hundred small boards", { timeout: 120_000 }, () => {
  const BOARDS = 100;
  const POSTS = 10;
  /** What a board that is awake and small may take in Wasm, all its objects together. */
  const MOST_BYTES = 80_000;
  /** @type {Service} */
  let service;
  before(async () => {
    service = await Service.start();
    await service.addRegions("EWR");
  });
  after(() => service?.dispose());

  /** Bytes that are in use, once all boards have told what they have. */
  async function allocated() {
    const text = await (await service.fetch("/metrics")).text();
    const bytes = [...text.matchAll(/^hitparade_allocated_bytes\{[^}]*\} (\d+)$/gm)].map(([, bytes]) => Number(bytes));
    return bytes.reduce((sum, bytes) => sum + bytes, 0);
  }

  test("take at most 80 kB each, awake and with a chart", async () => {
    const boards = Array.from({ length: BOARDS }, (_, number) => `small-${number}`);
    await service.addBoards(...boards);
    await service.topPosts({ timeframe: "all" });
    await sleep(1_100);
    const before = await allocated();
    for (const board of boards) {
      const plays = Array.from({ length: POSTS }, (_, post) => ({ post_id: `post ${post} of ${board}`, region_id: "EWR" }));
      const envelope = { board, client: randomKey(), seq: 0, sent: Date.now(), plays };
      assert.equal((await service.request("POST", "/plays", envelope, TRUSTED)).status, 202);
    }
    for (const board of boards) {
      await eventually(async () => {
        const { total_views } = await service.get(`/top-posts?board=${board}&timeframe=all`);
        assert.equal(total_views, POSTS);
      });
    }
    await sleep(1_100);
    const each = ((await allocated()) - before) / BOARDS;
    console.log(`a small board that is awake takes ${Math.round(each)} bytes`);
    assert.ok(each > 1_000 && each < MOST_BYTES, `${each} bytes`);
  });
});
