/** Boards: charts of their own, from plays that name them to every question that does. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
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
  });

  test("that are unknown are 404 at every question, and wake no object", async () => {
    for (const board of ["nowhere", "__proto__", "constructor", "UA", "ua.0123456789abcdef", ""]) {
      const query = new URLSearchParams({ board });
      for (const path of ["/top-posts", "/regions", "/metrics", "/posts/x"]) {
        assert.equal((await readProblem(await service.fetch(`${path}?${query}`), 404)).code, "unknown_board", `${path} of ${board}`);
      }
      assert.equal((await readProblem(await service.fetch(`/export?${query}`, { headers: ADMIN }), 404)).code, "unknown_board");
    }
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
    assert.equal((await service.fetch("/top-posts?board=private", { headers: ADMIN })).status, 200);
    const { boards } = await service.get("/boards");
    assert.ok(!boards.some(({ board_id }) => board_id === "private"));
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
