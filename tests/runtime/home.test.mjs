/** The home of batches: what answers say of it, and that a batch counts once wherever it is sent again. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { toNdjson } from "../../scripts/lib/client.mjs";
import { ADMIN_TOKEN, INGEST_TOKEN, Model, Service, eventually, randomKey, readProblem } from "./harness.mjs";
import { CuttableService } from "./outage/service.mjs";

const TRUSTED = { authorization: `Bearer ${INGEST_TOKEN}` };
const VOTES = 5;
const ISLANDS = "a é";
const PROXIED = { TRUSTED_PROXIES: "127.0.0.1", CLIENT_ADDRESS_HEADER: "X-Forwarded-For", COUNTRY_HEADER: "X-Country" };
const REGIONS = JSON.stringify([
  { id: "NA", continents: ["NA"] },
  { id: "EU", continents: ["EU"] },
  { id: ISLANDS, countries: ["FJ"] },
]);

describe("the home of batches", { timeout: 120_000 }, () => {
  /** @type {Service} */
  let service;
  const model = new Model();
  let sequence = 0;
  /** Posts with a play in one of two regions: nobody says which of two attempts came first. */
  const either = new Set();

  /** @param {string} region @returns {Promise<Map<string, number>>} */
  async function counts(region) {
    const { top_posts } = await service.topPosts({ region, timeframe: "all", k: 1_000 });
    return new Map(top_posts.map(({ post_id, view_count }) => [post_id, view_count]));
  }
  before(async () => {
    service = await Service.start({ REGIONS, VOTES_PER_MINUTE: String(VOTES), ...PROXIED });
  });
  after(() => service?.dispose());

  /** @param {string} country @param {unknown} body @param {Record<string, string>} [headers] */
  const from = (country, body, headers = {}) =>
    service.request("POST", "/plays", body, { "x-country": country, "x-forwarded-for": "203.0.113.7", ...headers });

  /** @param {object} fields */
  const batch = (fields) => ({ client: "sender", seq: sequence++, sent: Date.now(), now: Date.now(), ...fields });

  /** @param {string} country @param {unknown} body @param {boolean} repeated @param {Record<string, string>} [headers] */
  async function assertCounted(country, body, repeated, headers) {
    const answer = await from(country, body, headers);
    const text = await answer.text();
    assert.equal(answer.status, 202, text);
    assert.equal(JSON.parse(text).repeated, repeated, `${country} ${JSON.stringify(body)}`);
    return JSON.parse(text);
  }

  /** @param {string} region @param {number} shards */
  async function reshard(region, shards) {
    const answer = await service.put(`/regions/${encodeURIComponent(region)}`, { shards });
    assert.equal((await answer.json()).shards, shards);
  }

  test("is in every answer, that of refusals too, for pages as well", async () => {
    for (const [country, home] of [
      ["US", "NA/1"],
      ["DE", "EU/1"],
      ["FJ", "a%20%C3%A9/1"],
      ["", "NA/1"],
    ]) {
      for (const [status, body, headers] of [
        [202, [{ post_id: "homes" }], {}],
        [400, "{", {}],
        [400, [{ post_id: "" }], {}],
        [401, [{ post_id: "homes" }], { authorization: "Bearer wrong" }],
        [415, "x", { "content-type": "image/png" }],
      ]) {
        const answer = await from(country, body, { origin: "https://a.example", ...headers });
        assert.deepEqual([answer.status, answer.headers.get("hitparade-home")], [status, home], country);
        assert.match(answer.headers.get("access-control-expose-headers"), /\bHitparade-Home\b/);
        await answer.text();
      }
      model.add([{ post_id: "homes" }], { US: "NA", DE: "EU", FJ: ISLANDS, "": "NA" }[country]);
    }
  });

  test("lets a batch count once that is sent again from another country, whatever the first one knew", async () => {
    const travels = [
      ["US", "NA"],
      ["DE", "EU"],
      ["FJ", ISLANDS],
    ];
    for (const home of [undefined, "NA/1", "EU/1", "a%20%C3%A9/1"]) {
      for (const [first, region] of travels) {
        const sent = batch({ home, plays: [{ post_id: `from ${first}` }] });
        await assertCounted(first, sent, false);
        for (const [next] of travels) await assertCounted(next, { ...sent, now: Date.now() }, true);
        model.add(sent.plays, region);
      }
    }
  });

  test("lets a batch count once whose answer never came, while the number of shards changes", async () => {
    for (const shards of [3, 1, 4, 2]) {
      const known = await from("DE", "{");
      const home = known.headers.get("hitparade-home");
      const sent = Array.from({ length: 12 }, (_, seq) =>
        batch({ client: `sender ${seq}`, home, plays: [{ post_id: `either ${sequence}` }] }),
      );
      // Sent by a page that is closing: nobody waits for these.
      const lost = sent.slice(0, 8).map((body) => from("DE", body).then((answer) => answer.text()));
      await reshard("EU", shards);
      await Promise.all(sent.map((body) => from("US", body).then(async (answer) => assert.equal(answer.status, 202, await answer.text()))));
      await Promise.all(lost);
      for (const body of sent) await assertCounted("FJ", body, true);
      for (const { plays } of sent) either.add(plays[0].post_id);
    }
    const answer = await from("DE", "{");
    assert.equal(answer.headers.get("hitparade-home"), "EU/2");
  });

  test("that is malformed is 400, that is unknown 503, and nothing is counted", async () => {
    const plays = [{ post_id: "never" }];
    for (const home of ["", "EU", "EU/0", "EU/x", "EU/01", "/1", "EU/1001", "a/b/c/1", 5, {}, "x".repeat(300)]) {
      const { code } = await readProblem(await from("DE", batch({ home, plays })), 400);
      assert.equal(code, "bad_home", JSON.stringify(home));
    }
    for (const home of ["EU/1000", "nowhere/1", "EU/1/1"]) {
      const sent = batch({ home, plays });
      for (let attempt = 0; attempt < 2; attempt++) {
        const answer = await from("DE", sent);
        assert.ok(Number(answer.headers.get("retry-after")) > 0);
        assert.match(answer.headers.get("hitparade-home"), /^EU\/\d+$/);
        assert.equal((await readProblem(answer, 503)).code, "unknown_home", home);
      }
    }
    const header = { "idempotency-key": randomKey(), "hitparade-home": "nowhere" };
    assert.equal((await readProblem(await from("DE", plays, header), 400)).code, "bad_home");
    await reshard("EU", 6);
    const sent = batch({ home: "EU/6", plays: [{ post_id: "known at once" }] });
    await assertCounted("DE", sent, false);
    model.add(sent.plays, "EU");
  });

  test("of servers may be a header, and a number alone where each play names its region", async () => {
    const plays = [
      { post_id: "lines", region_id: "NA" },
      { post_id: "lines", region_id: "EU" },
    ];
    for (const home of ["/8", "EU/2", "NA/1"]) {
      const headers = { ...TRUSTED, "idempotency-key": randomKey(), "hitparade-home": home, "content-type": "application/x-ndjson" };
      await assertCounted("DE", toNdjson(plays), false, headers);
      await assertCounted("US", toNdjson(plays), true, headers);
      model.add(plays);
    }
    const headers = { ...TRUSTED, "idempotency-key": randomKey(), "hitparade-home": "/8" };
    const { code } = await readProblem(await from("DE", [...plays, { post_id: "placed" }], headers), 400);
    assert.equal(code, "bad_home", "a play that names no region");
  });

  test("keeps plays apart that name the region of their sender, and that name none", async () => {
    const plays = [{ post_id: "both", region_id: "EU" }, { post_id: "both" }, { post_id: "both", region_id: "NA" }];
    for (const home of [undefined, "EU/2", "NA/1"]) {
      const sent = batch({ home, plays });
      await assertCounted("DE", sent, false, TRUSTED);
      for (const country of ["US", "DE", "FJ"]) await assertCounted(country, sent, true, TRUSTED);
      model.add(plays, "EU");
    }
  });

  test("says the same again of votes, wherever the batch is sent again", async () => {
    const leftMs = 60_000 - (Date.now() % 60_000);
    if (leftMs < 5_000) await new Promise((done) => setTimeout(done, leftMs));
    for (const home of ["EU/2", "NA/1"]) {
      const post_id = `stuffed at ${home}`;
      const sent = batch({ home, plays: Array(VOTES + 2).fill({ post_id }) });
      const verdicts = [];
      for (const [index, country] of ["DE", "US", "DE", "FJ"].entries()) {
        const { accepted, rejected } = await assertCounted(country, sent, index > 0);
        verdicts.push([accepted, ...rejected.map(({ index, code }) => `${index} ${code}`)]);
      }
      const expected = [VOTES, `${VOTES} too_many_votes`, `${VOTES + 1} too_many_votes`];
      assert.deepEqual(verdicts, Array(4).fill(expected));
      model.add(sent.plays.slice(2), "EU");
    }
  });

  test("stands in the text of the beacon, which is another one in each region", async () => {
    const beacon = (country, headers = {}) => service.fetch("/beacon.js", { headers: { "x-country": country, ...headers } });
    const here = await beacon("FJ");
    assert.equal(here.status, 200);
    assert.match(await here.text(), /home:"a%20%C3%A9\/1"/);
    assert.match(here.headers.get("cache-control"), /^private, max-age=\d+$/);
    const known = { "if-none-match": here.headers.get("etag") };
    assert.equal((await beacon("FJ", known)).status, 304);
    const there = await beacon("US", known);
    assert.equal(there.status, 200);
    assert.match(await there.text(), /home:"NA\/1"/);
  });

  test("has left every play in one region, once", () =>
    eventually(async () => {
      for (const [region, posts] of model.scopes()) {
        const found = await counts(region);
        if (region === "global") for (const post of either) posts.set(post, 1);
        else for (const post of either) found.delete(post);
        assert.deepEqual(new Map([...found].sort()), new Map([...posts].sort()), region);
      }
    }));

  test("decides also when its region is gone", async () => {
    const sent = [undefined, "a%20%C3%A9/1"].map((home) => batch({ home, plays: [{ post_id: "gone" }] }));
    for (const body of sent) await assertCounted("FJ", body, false);
    const path = `/regions/${encodeURIComponent(ISLANDS)}`;
    const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
    assert.equal((await service.fetch(path, { method: "DELETE", headers })).status, 200);
    const late = batch({ home: "a%20%C3%A9/1", plays: [{ post_id: "late" }] });
    await assertCounted("DE", late, false);
    for (const body of [...sent, late]) await assertCounted("US", body, true);
    await reshard(ISLANDS, 2);
    for (const body of [...sent, late]) await assertCounted("FJ", body, true);
    const again = await from("FJ", "{");
    assert.equal(again.headers.get("hitparade-home"), "a%20%C3%A9/1/2");
    const anew = batch({ home: "a%20%C3%A9/1/2", plays: [{ post_id: "anew" }] });
    await assertCounted("FJ", anew, false);
    await assertCounted("US", anew, true);
    await eventually(async () => {
      const world = await counts("global");
      assert.deepEqual(
        ["gone", "late", "anew"].map((post) => world.get(post)),
        [2, 1, 1],
      );
      assert.equal((await counts("EU")).get("late"), 1);
      assert.deepEqual(await counts(ISLANDS), new Map([["anew", 1]]));
    });
  });
});

test(
  "a beacon that meets an isolate that has just been started asks the registry nothing, and is limited",
  { timeout: 60_000 },
  async () => {
    const LIMIT = 8;
    const service = await CuttableService.start({ REGIONS, ...PROXIED, LIMIT_PER_MINUTE: String(LIMIT), VOTES_PER_MINUTE: String(VOTES) });
    try {
      let seq = 0;
      const play = (/** @type {string} */ address) => {
        const now = Date.now();
        const body = { client: "visitor", seq: seq++, sent: now, now, home: "NA/1", plays: [{ post_id: "song" }] };
        return service.request("POST", "/plays", body, { "x-country": "US", "x-forwarded-for": address });
      };
      // The shard learns its region.
      assert.equal((await play("203.0.113.7")).status, 202);
      await service.restartShards();
      const asked = service.connection.toRegistry;
      assert.ok(asked > 0, "it is counted who asks");
      for (let vote = 0; vote < VOTES; vote++) assert.equal((await play("203.0.113.7")).status, 202);
      assert.deepEqual((await (await play("203.0.113.7")).json()).code, "no_good_play", "votes are limited");
      const statuses = new Set();
      for (let beacon = VOTES + 1; beacon <= LIMIT; beacon++) statuses.add((await play("203.0.113.7")).status);
      assert.ok(statuses.has(429), `beacons are limited: ${[...statuses]}`);
      assert.equal((await play("203.0.113.8")).status, 202, "others are not");
      assert.equal(service.connection.toRegistry, asked, "the registry was asked");
    } finally {
      await service.dispose();
    }
  },
);
