/** docs/api.md, row by row, against the real runtime. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { deflateSync, gzipSync } from "node:zlib";
import { ADMIN_TOKEN, INGEST_TOKEN, Service, eventually, randomKey, readProblem } from "./harness.mjs";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const TRUSTED = { authorization: `Bearer ${INGEST_TOKEN}` };
const ADMIN = { authorization: `Bearer ${ADMIN_TOKEN}` };
const RFC3339_UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;

/** Charts follow within seconds: the tests of a group wait for theirs at the same time. */
const SIDE_BY_SIDE = { concurrency: 16 };

let ids = 0;
/** A post that no other test has. */
const newPost = (name = "post") => `${name}-${++ids}`;

/** @type {Service} */
let service;
before(async () => {
  service = await Service.start();
  await service.addRegions("one", "two");
});
after(() => service?.dispose());

/** The stable words of each status. */
const CODES = {
  400: /^(bad_(envelope|k|key|post|post_id|region|sort|timeframe|window)|key_required|malformed_body|no_good_(play|post)|too_old_to_repeat)$/,
  401: "unauthorized",
  403: /^(disabled|origin_not_allowed)$/,
  404: /^(not_found|unknown_region)$/,
  405: "method_not_allowed",
  413: /^(too_large|too_many_(plays|posts))$/,
  415: "unsupported_media_type",
};

/** One of the words of its status, or the one that is expected. */
async function assertProblem(answer, status, code = CODES[status]) {
  const problem = await readProblem(answer, status);
  if (code) assert.match(problem.code, code instanceof RegExp ? code : new RegExp(`^${code}$`), problem.detail);
  return problem;
}

/** A 202 with exactly these. */
async function assertCounted(answer, accepted, { rejected = [], repeated = false } = {}) {
  const text = await answer.text();
  assert.equal(answer.status, 202, text);
  assert.match(answer.headers.get("content-type"), /^application\/json/);
  const body = JSON.parse(text);
  assert.deepEqual(Object.keys(body).sort(), ["accepted", "rejected", "repeated"]);
  assert.equal(body.accepted, accepted, text);
  assert.equal(body.repeated, repeated, text);
  assert.deepEqual(
    body.rejected.map(({ index, code }) => ({ index, code })),
    rejected,
  );
  for (const { detail } of body.rejected) assert.equal(typeof detail, "string", text);
  return body;
}

/** The post has been counted this often, no more and no less. */
async function assertViews(post_id, count, question = { timeframe: "1h" }) {
  const answer = await eventually(async () => {
    const post = await service.post(post_id, question);
    assert.equal(post.view_count, count, `views of ${post_id}`);
    return post;
  });
  assert.deepEqual([answer.view_count_min, answer.view_count_max], [count, count]);
}

describe("POST /plays counts", SIDE_BY_SIDE, () => {
  const forms = {
    "one play as text/plain": (id) => [{ post_id: id }, "text/plain", 1],
    "one play as application/json": (id) => [{ post_id: id }, "application/json", 1],
    "a type with a charset": (id) => [{ post_id: id }, "application/json; charset=utf-8", 1],
    "an array": (id) => [[{ post_id: id }, { post_id: id }], "application/json", 2],
    "an array as text/plain": (id) => [[{ post_id: id }, { post_id: id }], "text/plain", 2],
    "lines that end in LF": (id) => [`{"post_id":"${id}"}\n{"post_id":"${id}"}\n`, "application/x-ndjson", 2],
    "lines that end in CRLF": (id) => [`{"post_id":"${id}"}\r\n{"post_id":"${id}"}\r\n`, "application/x-ndjson", 2],
    "lines without the last end": (id) => [`{"post_id":"${id}"}\n{"post_id":"${id}"}`, "application/x-ndjson", 2],
    "lines as text/plain": (id) => [`{"post_id":"${id}"}\n{"post_id":"${id}"}`, "text/plain", 2],
    "lines with empty ones between": (id) => [`{"post_id":"${id}"}\n\n{"post_id":"${id}"}\n`, "application/x-ndjson", 2],
    "an envelope": (id) => [{ client: id, seq: 0, plays: [{ post_id: id }, { post_id: id }] }, "application/json", 2],
    "an envelope as text/plain": (id) => [{ client: id, seq: 1, plays: [{ post_id: id }] }, "text/plain", 1],
    "an envelope without a name": (id) => [{ plays: [{ post_id: id }] }, "application/json", 1],
    "spaces and line ends within JSON": (id) => [`\n [ {\n "post_id" : "${id}" } ] \n`, "application/json", 1],
    "fields that nobody knows": (id) => [{ post_id: id, colour: "red", nested: { a: [1] } }, "application/json", 1],
    "a timestamp in milliseconds": (id) => [{ post_id: id, timestamp: Date.now() }, "application/json", 1],
    "a timestamp in RFC 3339": (id) => [{ post_id: id, timestamp: new Date().toISOString() }, "application/json", 1],
    "a timestamp with an offset": (id) => [{ post_id: id, timestamp: withOffset(Date.now()) }, "application/json", 1],
    "lines as application/ndjson": (id) => [`{"post_id":"${id}"}\n{"post_id":"${id}"}`, "application/ndjson", 2],
    "lines as application/jsonl": (id) => [`{"post_id":"${id}"}\n{"post_id":"${id}"}`, "Application/JSONL; charset=utf-8", 2],
    "lines with byte order marks between": (id) => [`\ufeff{"post_id":"${id}"}\n\ufeff{"post_id":"${id}"}\n`, "application/x-ndjson", 2],
    "a count of 1": (id) => [{ post_id: id, count: 1 }, "application/json", 1],
  };
  for (const [name, form] of Object.entries(forms)) {
    test(name, async () => {
      const id = newPost();
      const [body, type, count] = form(id);
      await assertCounted(await service.request("POST", "/plays", body, { "content-type": type }), count);
      await assertViews(id, count);
    });
  }

  for (const [coding, pack] of Object.entries({ gzip: gzipSync, "X-Gzip": gzipSync, deflate: deflateSync, identity: Buffer.from })) {
    test(`a body with Content-Encoding: ${coding}`, async () => {
      const id = newPost();
      const body = pack(JSON.stringify(Array(1_000).fill({ post_id: id })));
      const headers = { "content-type": "application/json", "content-encoding": coding };
      await assertCounted(await service.fetch("/plays", { method: "POST", headers, body }), 1_000);
      await assertViews(id, 1_000);
    });
  }

  test("an id that is a whole number under its digits", async () => {
    const id = Number.MAX_SAFE_INTEGER - ++ids;
    await assertCounted(await service.request("POST", "/plays", [{ post_id: id }, { post_id: `${id}` }]), 2);
    await assertViews(`${id}`, 2);
    assert.equal((await service.put("/posts", [{ post_id: id, content: "C" }])).status, 200);
    await eventually(async () => assert.equal((await service.post(`${id}`)).content, "C"));
  });

  test("without a token, in the first region where the runtime does not know the place", async () => {
    const id = newPost();
    await assertCounted(await service.request("POST", "/plays", { post_id: id }), 1);
    await assertViews(id, 1, { timeframe: "1h", region: "NA" });
    await assertViews(id, 1, { timeframe: "1h", region: "global" });
  });

  test("a trusted sender's regions, old timestamps and counts", async () => {
    const id = newPost();
    const plays = [
      { post_id: id, region_id: "one", count: 5 },
      { post_id: id, region_id: "one", count: 2 ** 32 - 1, timestamp: Date.now() - 390 * DAY_MS },
    ];
    await assertCounted(await service.request("POST", "/plays", plays, TRUSTED), 2);
    await assertViews(id, 5, { timeframe: "1h", region: "one" });
    await assertViews(id, 5 + 2 ** 32 - 1, { timeframe: "400d", region: "one" });
    await assertViews(id, 5 + 2 ** 32 - 1, { timeframe: "all" });
  });

  test("each play in the time of its own timestamp", async () => {
    const id = newPost();
    const plays = [0, 30, 90, 600].map((minutes) => ({ post_id: id, timestamp: Date.now() - minutes * 60_000 }));
    await assertCounted(await service.request("POST", "/plays", plays), 4);
    await assertViews(id, 2, { timeframe: "1h" });
    await assertViews(id, 3, { timeframe: "2h" });
    await assertViews(id, 4, { timeframe: "24h" });
  });

  test("by the sender's clock, corrected", async () => {
    const id = newPost();
    // Its clock is a day ahead: without correction every play would be out of range.
    const now = Date.now() + DAY_MS;
    const envelope = { client: id, seq: 0, sent: now - 1_000, now, plays: [{ post_id: id, timestamp: now - 2_000 }] };
    await assertCounted(await service.request("POST", "/plays", envelope), 1);
    await assertViews(id, 1, { timeframe: "5m" });
  });

  const names = ["ü", "日本語", "🎵🎶", 'say "hi"', "a/b/c", "100%", "%2F", "a\\b", "a b", " a", "?q=1&r=2#s", "<b>x</b>"];
  for (const name of [...names, "__proto__", "constructor", "...", "é".repeat(128), "x".repeat(256)]) {
    test(`ids of any text: ${name.length > 20 ? `${name.slice(0, 5)}… of 256 bytes` : name}`, async () => {
      await assertCounted(await service.request("POST", "/plays", { post_id: name }), 1);
      await assertViews(name, 1);
      const query = new URLSearchParams({ post_id: name, timeframe: "1h" });
      assert.equal((await service.get(`/posts?${query}`)).post_id, name);
      // Answers about posts and charts are kept each for itself, for some seconds.
      await eventually(async () => {
        const chart = await service.topPosts({ timeframe: "1h", k: 1000 });
        assert.ok(chart.top_posts.some(({ post_id }) => post_id === name));
      });
    });
  }
});

describe("one bad play does not lose the good ones", SIDE_BY_SIDE, () => {
  /** A timestamp so far from the moment it is sent. */
  const at = (ms) => () => Date.now() + ms;
  const now = ({ timestamp, ...play }) => ({ ...play, timestamp: typeof timestamp === "function" ? timestamp() : timestamp });
  const bad = {
    "an empty id": [{ post_id: "" }, "bad_post_id"],
    "an id of 257 bytes": [{ post_id: "x".repeat(257) }, "bad_post_id"],
    "an id of 258 bytes in 129 characters": [{ post_id: "é".repeat(129) }, "bad_post_id"],
    "an id with NUL": [{ post_id: "a\u0000b" }, "bad_post_id"],
    "an id with a line end": [{ post_id: "a\nb" }, "bad_post_id"],
    "an id with DEL": [{ post_id: "a\u007fb" }, "bad_post_id"],
    "an id with a control character beyond ASCII": [{ post_id: "a\u0085b" }, "bad_post_id"],
    "an id that is a space": [{ post_id: " " }, "bad_post_id"],
    "an id of spaces of all kinds": [{ post_id: "\u00a0\u2003\u3000" }, "bad_post_id"],
    "an id that is a space without width": [{ post_id: "\u200b" }, "bad_post_id"],
    "an id that is a byte order mark": [{ post_id: "\ufeff" }, "bad_post_id"],
    "an id of marks that nobody sees": [{ post_id: "\u2060\u2800\u3164\u00ad" }, "bad_post_id"],
    "an id that is a dot": [{ post_id: "." }, "bad_post_id"],
    "an id that is two dots": [{ post_id: ".." }, "bad_post_id"],
    "an id that is a number and a half": [{ post_id: 5.5 }, "bad_post_id"],
    "an id that is a number below 0": [{ post_id: -5 }, "bad_post_id"],
    "an id that is null": [{ post_id: null }, "bad_post_id"],
    "an id that is a list": [{ post_id: ["a"] }, "bad_post_id"],
    "no id": [{}, "bad_post_id"],
    "a timestamp in words": [{ post_id: "a", timestamp: "yesterday" }, "bad_timestamp"],
    "a timestamp that is true": [{ post_id: "a", timestamp: true }, "bad_timestamp"],
    "a timestamp that does not exist": [{ post_id: "a", timestamp: "2026-02-30T00:00:00Z" }, "bad_timestamp"],
    "a timestamp two minutes ahead": [{ post_id: "a", timestamp: at(120_000) }, "timestamp_out_of_range"],
    "a timestamp 25 hours back": [{ post_id: "a", timestamp: at(-25 * HOUR_MS) }, "timestamp_out_of_range"],
    "a timestamp of 1970": [{ post_id: "a", timestamp: 0 }, "timestamp_out_of_range"],
    "a region without token": [{ post_id: "a", region_id: "NA" }, "region_needs_token"],
    "a count of 2 without token": [{ post_id: "a", count: 2 }, "count_needs_token"],
    "a count of 0": [{ post_id: "a", count: 0 }, "bad_count"],
    "a count below 0": [{ post_id: "a", count: -1 }, "bad_count"],
    "a count and a half": [{ post_id: "a", count: 1.5 }, "bad_count"],
    "a count in words": [{ post_id: "a", count: "3" }, "bad_count"],
  };
  const badTrusted = {
    "a region that is not": [{ post_id: "a", region_id: "nowhere" }, "unknown_region"],
    "a region that is global": [{ post_id: "a", region_id: "global" }, "unknown_region"],
    "a region that is a number": [{ post_id: "a", region_id: 1 }, "unknown_region"],
    "a trusted timestamp 401 days back": [{ post_id: "a", timestamp: at(-401 * DAY_MS) }, "timestamp_out_of_range"],
    "a trusted timestamp two minutes ahead": [{ post_id: "a", timestamp: at(120_000) }, "timestamp_out_of_range"],
    "a count of 2^32": [{ post_id: "a", count: 2 ** 32 }, "bad_count"],
  };
  const cases = [
    ...Object.entries(bad).map(([name, row]) => [name, ...row, {}, {}]),
    ...Object.entries(badTrusted).map(([name, row]) => [name, ...row, TRUSTED, { region_id: "one" }]),
  ];
  for (const [name, play, code, headers, where] of cases) {
    test(name, async () => {
      const id = newPost();
      const good = { post_id: id, ...where };
      const batch = [good, { ...where, ...now(play) }, good];
      const answer = await service.request("POST", "/plays", batch, headers);
      await assertCounted(answer, 2, { rejected: [{ index: 1, code }] });
      await assertViews(id, 2);
      const alone = await assertProblem(await service.request("POST", "/plays", { ...where, ...now(play) }, headers), 400);
      assert.deepEqual(
        alone.rejected.map(({ index, code: word }) => ({ index, code: word })),
        [{ index: 0, code }],
      );
    });
  }

  /** What is said of one bad play. */
  const said = async (play) => {
    const body = `[{"post_id":"good"},${play}]`;
    const answer = await service.request("POST", "/plays", body, { "content-type": "application/json" });
    assert.equal(answer.status, 202);
    const [{ index, code, detail }] = (await answer.json()).rejected;
    assert.equal(index, 1);
    return `${code}: ${detail}`;
  };

  test("a number of more digits than JavaScript keeps says to quote it", async () => {
    for (const id of ["12345678901234567890", "9007199254740992"]) {
      assert.match(await said(`{"post_id":${id}}`), /^bad_post_id: .*quote it/);
    }
  });

  test("a timestamp in seconds says that it looks like that", async () => {
    const now = Date.now() / 1_000;
    for (const timestamp of [Math.floor(now), now]) {
      assert.match(await said(`{"post_id":"a","timestamp":${timestamp}}`), /^timestamp_out_of_range: .*looks like seconds.*milliseconds/);
    }
  });

  test("a line that is not JSON", async () => {
    const id = newPost();
    const lines = `{"post_id":"${id}"}\n{"post_id":\n{"post_id":"${id}"}\n`;
    const answer = await service.request("POST", "/plays", lines, { "content-type": "application/x-ndjson" });
    const body = await answer.json();
    assert.deepEqual([answer.status, body.accepted, body.rejected.map(({ index }) => index)], [202, 2, [1]]);
    await assertViews(id, 2);
  });

  test("an element that is no play", async () => {
    const id = newPost();
    const answer = await service.request("POST", "/plays", [{ post_id: id }, 5, null, "x", [], { post_id: id }]);
    const body = await answer.json();
    assert.deepEqual([answer.status, body.accepted, body.rejected.map(({ index }) => index)], [202, 2, [1, 2, 3, 4]]);
    await assertViews(id, 2);
  });
});

describe("POST /plays refuses whole", SIDE_BY_SIDE, () => {
  const envelope = (fields) => ({ client: newPost("client"), seq: 0, plays: [{ post_id: "refused" }], ...fields });
  const ago = (ms) => Date.now() - ms;
  const bodies = {
    "an empty body": ["", {}, 400],
    "malformed JSON": ['{"post_id": "refused"', {}, 400],
    "a text": ['"refused"', {}, 400],
    "a number": ["5", {}, 400],
    null: ["null", {}, 400],
    "no plays": ["[]", {}, 400],
    "an envelope with no plays": [{ plays: [] }, {}, 400],
    "plays that are no list": [{ plays: "refused" }, {}, 400],
    "bytes that are not UTF-8": [Buffer.from('{"post_id":"\xff\xfe"}', "latin1"), {}, 400],
    "a client of 65 bytes": [envelope({ client: "x".repeat(65) }), {}, 400],
    "an empty client": [envelope({ client: "" }), {}, 400],
    "a client that is a number": [envelope({ client: 7 }), {}, 400],
    "a seq below 0": [envelope({ seq: -1 }), {}, 400],
    "a seq of 2^53": [envelope({ seq: 2 ** 53 }), {}, 400],
    "a seq in words": [envelope({ seq: "1" }), {}, 400],
    "a client without seq": [envelope({ seq: undefined }), {}, 400],
    "a key of 257 bytes": [{ post_id: "refused" }, { "idempotency-key": "x".repeat(257) }, 400],
    "a batch first sent 16 minutes ago": [envelope({ sent: ago(16 * 60_000), now: ago(0) }), {}, 400, "too_old_to_repeat"],
    "the same by a clock that is ahead": [envelope({ sent: ago(-DAY_MS + 16 * 60_000), now: ago(-DAY_MS) }), {}, 400, "too_old_to_repeat"],
    "several regions without a key": [
      [
        { post_id: "refused", region_id: "one" },
        { post_id: "refused", region_id: "two" },
      ],
      TRUSTED,
      400,
      "key_required",
    ],
    "another type": [{ post_id: "refused" }, { "content-type": "image/png" }, 415],
    "a form": ["post_id=refused", { "content-type": "application/x-www-form-urlencoded" }, 415],
    "a wrong token": [{ post_id: "refused" }, { authorization: "Bearer wrong" }, 401],
    "the admin's token": [{ post_id: "refused" }, ADMIN, 401],
    "another scheme": [{ post_id: "refused" }, { authorization: `Basic ${INGEST_TOKEN}` }, 401],
    "1,001 plays": [Array(1_001).fill({ post_id: "refused" }), {}, 413],
    "10,001 plays with the token": [Array(10_001).fill({ post_id: "refused", region_id: "one" }), TRUSTED, 413],
    "over 1 MiB": [[{ post_id: "refused", pad: "x".repeat(2 ** 20) }], {}, 413],
    "over 4 MiB with the token": [[{ post_id: "refused", pad: "x".repeat(2 ** 22) }], TRUSTED, 413],
  };
  for (const [name, [body, headers, status, code]] of Object.entries(bodies)) {
    test(name, async () => {
      const raw = typeof body === "string" || Buffer.isBuffer(body);
      const init = { "content-type": "application/json", ...headers };
      const answer = await service.fetch("/plays", {
        method: "POST",
        headers: init,
        body: raw ? body : JSON.stringify(body),
      });
      await assertProblem(answer, status, code);
    });
  }

  const packed = (body, coding, more = {}) =>
    service.fetch("/plays", { method: "POST", headers: { "content-type": "application/json", "content-encoding": coding, ...more }, body });

  test("a bomb: nearly 1 GiB of spaces in a megabyte", async () => {
    // 60 files of 16 MiB behind each other, as gzip allows.
    const bomb = Buffer.concat(Array(60).fill(gzipSync(Buffer.alloc(2 ** 24, " "))));
    assert.ok(bomb.length < 2 ** 20, String(bomb.length));
    for (const headers of [{}, TRUSTED]) await assertProblem(await packed(bomb, "gzip", headers), 413, "too_large");
  });

  test("a body over the limit that is packed", async () => {
    const plays = JSON.stringify([{ post_id: "refused", pad: "x".repeat(2 ** 20) }]);
    await assertProblem(await packed(gzipSync(plays), "gzip"), 413, "too_large");
  });

  test("a body that is not packed as it says, or not to its end", async () => {
    const plays = JSON.stringify({ post_id: "refused" });
    for (const body of [plays, gzipSync(plays).subarray(0, -9), deflateSync(plays), ""]) {
      const { detail } = await assertProblem(await packed(body, "gzip"), 400, "malformed_body");
      if (body !== "") assert.match(detail, /gzip/);
    }
  });

  test("a coding that is not read here, and says which are", async () => {
    for (const coding of ["br", "zstd", "gzip, gzip"]) {
      const answer = await packed(gzipSync("{}"), coding);
      assert.equal(answer.headers.get("accept-encoding"), "gzip, deflate");
      const { detail } = await assertProblem(answer, 415);
      assert.match(detail, /gzip, deflate/);
    }
  });

  test("a form, and shows the header to add", async () => {
    const answer = await service.request("POST", "/plays", '{"post_id":"refused"}', {
      "content-type": "application/x-www-form-urlencoded",
    });
    const { detail } = await assertProblem(answer, 415);
    assert.match(detail, /-H 'Content-Type: application\/json'/);
  });

  test("UTF-16, and says so", async () => {
    for (const text of ['[{"post_id":"refused"}]', '\ufeff{"post_id":"refused"}']) {
      const little = Buffer.from(text, "utf16le");
      for (const body of [little, Buffer.from(little).swap16()]) {
        for (const type of ["application/json", "application/x-ndjson"]) {
          const answer = await service.fetch("/plays", { method: "POST", headers: { "content-type": type }, body });
          const { detail } = await assertProblem(answer, 400, "malformed_body");
          assert.match(detail, /UTF-16.*UTF-8/);
        }
      }
    }
  });

  test("a batch whose first attempt is told in seconds", async () => {
    const answer = await service.request("POST", "/plays", envelope({ sent: Math.floor(Date.now() / 1_000) }));
    assert.match((await assertProblem(answer, 400, "bad_envelope")).detail, /seconds/);
  });

  test("nothing of what is within the limits: 1,000 plays, 10,000 with the token", async () => {
    const id = newPost();
    await assertCounted(await service.request("POST", "/plays", Array(1_000).fill({ post_id: id })), 1_000);
    const trusted = Array(10_000).fill({ post_id: id, region_id: "one" });
    await assertCounted(await service.request("POST", "/plays", trusted, TRUSTED), 10_000);
    await assertViews(id, 11_000);
  });
});

test("what was refused whole is not counted", async () => {
  // By now a play that was counted would show.
  const id = newPost();
  await service.send([{ post_id: id, region_id: "one" }]);
  await assertViews(id, 1);
  const answer = await service.fetch("/posts/refused?timeframe=all");
  if (answer.status !== 404) assert.equal((await answer.json()).view_count, 0);
});

describe("a repeat is counted once", SIDE_BY_SIDE, () => {
  test("by client and seq", async () => {
    const id = newPost();
    const envelope = { client: id, seq: 7, plays: [{ post_id: id }, { post_id: id }] };
    await assertCounted(await service.request("POST", "/plays", envelope), 2);
    await assertCounted(await service.request("POST", "/plays", envelope), 2, { repeated: true });
    await assertCounted(await service.request("POST", "/plays", { ...envelope, seq: 8 }), 2);
    await assertViews(id, 4);
  });

  test("by Idempotency-Key, over several regions", async () => {
    const id = newPost();
    const plays = ["one", "two", "one"].map((region_id) => ({ post_id: id, region_id }));
    const headers = { ...TRUSTED, "idempotency-key": randomKey() };
    await assertCounted(await service.request("POST", "/plays", plays, headers), 3);
    await assertCounted(await service.request("POST", "/plays", plays, headers), 3, { repeated: true });
    await assertViews(id, 3);
    await assertViews(id, 2, { region: "one", timeframe: "1h" });
    await assertViews(id, 1, { region: "two", timeframe: "1h" });
  });

  test("with the rejected ones told again", async () => {
    const id = newPost();
    const headers = { "idempotency-key": randomKey() };
    const plays = [{ post_id: "" }, { post_id: id }];
    const rejected = [{ index: 0, code: "bad_post_id" }];
    await assertCounted(await service.request("POST", "/plays", plays, headers), 1, { rejected });
    await assertCounted(await service.request("POST", "/plays", plays, headers), 1, { rejected, repeated: true });
    await assertViews(id, 1);
  });

  test("when both arrive at once", async () => {
    const id = newPost();
    const headers = { "idempotency-key": randomKey() };
    const answers = await Promise.all(Array.from({ length: 8 }, () => service.request("POST", "/plays", { post_id: id }, headers)));
    const bodies = await Promise.all(answers.map((answer) => answer.json()));
    assert.deepEqual(
      answers.map(({ status }) => status),
      Array(8).fill(202),
    );
    assert.equal(bodies.filter(({ repeated }) => !repeated).length, 1);
    await assertViews(id, 1);
  });

  test("but trusted and untrusted ones, keys and clients, are told apart", async () => {
    const id = newPost();
    const key = { "idempotency-key": id };
    await assertCounted(await service.request("POST", "/plays", { post_id: id }, key), 1);
    const trusted = { post_id: id, region_id: "NA" };
    await assertCounted(await service.request("POST", "/plays", trusted, { ...TRUSTED, ...key }), 1);
    await assertCounted(await service.request("POST", "/plays", { client: id, seq: 0, plays: [{ post_id: id }] }), 1);
    await assertViews(id, 3);
  });

  test("without a key, every request is one of its own", async () => {
    const id = newPost();
    await assertCounted(await service.request("POST", "/plays", { post_id: id }), 1);
    await assertCounted(await service.request("POST", "/plays", { post_id: id }), 1);
    await assertViews(id, 2);
  });
});

describe("GET /top-posts", SIDE_BY_SIDE, () => {
  test("has exactly this shape", async () => {
    await service.addRegions("shape");
    const [first, second] = [newPost("first"), newPost("second")];
    const entry = { author: "Artist1", content: "Post Content 1", url: "https://a.example/1", image: null };
    assert.equal((await service.put(`/posts/${first}`, entry)).status, 200);
    await service.send([
      { post_id: first, region_id: "shape", count: 3 },
      { post_id: second, region_id: "shape", count: 2 },
    ]);
    const chart = await eventually(async () => {
      const answer = await service.topPosts({ region: "shape" });
      assert.equal(answer.total_views, 5);
      assert.equal(answer.top_posts[0].author, "Artist1");
      return answer;
    });
    const { window, as_of, ...rest } = chart;
    assert.deepEqual(Object.keys(window).sort(), ["from", "to"]);
    for (const time of [window.from, window.to, as_of]) assert.match(time, RFC3339_UTC);
    assert.ok(Math.abs(Date.parse(as_of) - Date.now()) < 60_000, as_of);
    const length = Date.parse(window.to) - Date.parse(window.from);
    assert.ok(length >= DAY_MS && length <= DAY_MS + HOUR_MS, `a window of ${length} ms`);
    const counts = (count) => ({ view_count: count, view_count_min: count, view_count_max: count, certain: true });
    const none = { author: null, content: null, url: null, image: null };
    assert.deepEqual(rest, {
      board: "main",
      region: "shape",
      timeframe: "24h",
      sort: "views",
      total_views: 5,
      unlisted_max: 0,
      top_posts: [
        { rank: 1, previous_rank: null, post_id: first, ...entry, ...counts(3) },
        { rank: 2, previous_rank: null, post_id: second, ...none, ...counts(2) },
      ],
    });
  });

  test("orders equal counts by the bytes of their ids, and cuts at k", async () => {
    await service.addRegions("order");
    const tied = ["B", "a", "ß", "Z", "ä", "10", "9"];
    const plays = ["top", "top", ...tied, "\uffee", "😀"].map((post_id) => ({ post_id, region_id: "order" }));
    await service.send(plays);
    const chart = await eventually(async () => {
      const answer = await service.topPosts({ region: "order", k: 1000, timeframe: "1h" });
      assert.equal(answer.total_views, plays.length);
      return answer;
    });
    const order = ["top", "10", "9", "B", "Z", "a", "ß", "ä", "\uffee", "😀"];
    assert.deepEqual(
      chart.top_posts.map(({ post_id }) => post_id),
      order,
    );
    assert.deepEqual(
      chart.top_posts.map(({ rank }) => rank),
      order.map((_, index) => index + 1),
    );
    for (const k of [1, 2, 5]) {
      const { top_posts, unlisted_max } = await service.topPosts({ region: "order", k, timeframe: "1h" });
      assert.deepEqual(
        top_posts.map(({ post_id }) => post_id),
        order.slice(0, k),
      );
      assert.equal(unlisted_max, 1);
    }
  });

  test("of everything begins in 1970", async () => {
    const { window, timeframe } = await service.topPosts({ timeframe: "all" });
    assert.deepEqual([window.from, timeframe], ["1970-01-01T00:00:00Z", "all"]);
  });

  test("of a span is that span", async () => {
    await service.addRegions("span");
    const hour = Math.floor(Date.now() / HOUR_MS) * HOUR_MS;
    await service.send([
      { post_id: "in", region_id: "span", timestamp: hour - 1.5 * HOUR_MS },
      { post_id: "out", region_id: "span", timestamp: hour - 3.5 * HOUR_MS },
    ]);
    const [from, to] = [hour - 2 * HOUR_MS, hour - HOUR_MS].map((ms) => new Date(ms).toISOString());
    await eventually(async () => {
      const { window, top_posts } = await service.topPosts({ region: "span", from, to });
      assert.deepEqual([Date.parse(window.from), Date.parse(window.to)], [Date.parse(from), Date.parse(to)]);
      assert.deepEqual(
        top_posts.map(({ post_id, view_count }) => [post_id, view_count]),
        [["in", 1]],
      );
    });
  });

  for (const timeframe of ["1m", "90m", "1h", "24h", "7d", "30d", "400d", "all"]) {
    test(`takes timeframe=${timeframe}`, async () => {
      const chart = await service.topPosts({ timeframe });
      assert.equal(chart.timeframe, timeframe);
      if (timeframe === "all") return;
      const units = { m: 60_000, h: HOUR_MS, d: DAY_MS };
      const length = Number.parseInt(timeframe, 10) * units[timeframe.at(-1)];
      const [from, to] = [Date.parse(chart.window.from), Date.parse(chart.window.to)];
      assert.ok(to >= Date.now() - 60_000 && from <= Date.now() - length + 60_000, JSON.stringify(chart.window));
    });
  }

  const refused = {
    "k=0": [400],
    "k=1001": [400],
    "k=abc": [400],
    "k=-1": [400],
    "k=1.5": [400],
    "k=": [400],
    "timeframe=5x": [400],
    "timeframe=0m": [400],
    "timeframe=401d": [400],
    "timeframe=h": [400],
    "timeframe=-1h": [400],
    "timeframe=": [400],
    "timeframe=99999999999999999999d": [400],
    "window=sideways": [400],
    "sort=loudest": [400],
    "from=yesterday&to=2026-01-01T00:00:00Z": [400],
    "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z": [400],
    "region=nowhere": [404, "unknown_region"],
    "region=": [404],
    "region=na": [404],
  };
  for (const [query, [status, code]] of Object.entries(refused)) {
    test(`refuses ${query}`, async () => {
      const { detail } = await assertProblem(await service.fetch(`/top-posts?${query}`), status, code);
      if (query.startsWith("k=")) assert.match(detail, /1.*1,?000/);
    });
  }

  test("tells the usual other names of its parameters", async () => {
    for (const [query, code, ours] of [
      ["limit=50&period=7d", "bad_k", /\bk=50/],
      ["period=7d", "bad_timeframe", /\btimeframe=7d/],
      ["since=2026-11-25", "bad_window", /\bfrom=/],
      ["order_by=views", "bad_sort", /\bsort=/],
    ]) {
      const { detail } = await assertProblem(await service.fetch(`/top-posts?${query}`), 400, code);
      assert.match(detail, ours);
      await assertProblem(await service.fetch(`/posts/x?${query}`), 400, code);
    }
    assert.equal((await service.get("/top-posts?limit=50&k=1&period=7d&timeframe=1h")).timeframe, "1h");
  });

  test("understands an offset whose plus became a space", async () => {
    const day = new Date(Date.now() - DAY_MS).toISOString().slice(0, 10);
    for (const plus of ["+", "%2B", "%20"]) {
      const { window } = await service.get(`/top-posts?from=${day}T00:00:00${plus}01:00&to=${day}T05:30:00${plus}05:30`);
      const [from, to] = [Date.parse(`${day}T00:00:00+01:00`), Date.parse(`${day}T00:00:00Z`)];
      assert.deepEqual([Date.parse(window.from), Date.parse(window.to)], [from, to]);
    }
  });

  test("ignores what it does not know, and takes the first of two", async () => {
    const chart = await service.get("/top-posts?colour=red&k=1&k=abc&timeframe=1h&timeframe=5x");
    assert.equal(chart.timeframe, "1h");
    assert.ok(chart.top_posts.length <= 1);
  });

  test("says when nothing has changed", async () => {
    await service.addRegions("quiet");
    await eventually(async () => {
      const path = "/top-posts?region=quiet&timeframe=30d";
      const answer = await service.fetch(path);
      const etag = answer.headers.get("etag");
      assert.match(etag, /^(W\/)?".+"$/);
      assert.ok(answer.headers.get("cache-control"));
      const again = await service.fetch(path, { headers: { "if-none-match": etag } });
      assert.equal(again.status, 304);
      assert.equal(await again.text(), "");
      assert.equal(again.headers.get("etag"), etag);
      const strong = etag.replace(/^W\//, "");
      for (const known of [strong, `"other", ${strong}`, `"a,b" , ${etag}`, "*"]) {
        assert.equal((await service.fetch(path, { headers: { "if-none-match": known } })).status, 304, known);
      }
      assert.equal((await service.fetch(path, { headers: { "if-none-match": '"other"' } })).status, 200);
    });
  });

  test("answers HEAD without a body", async () => {
    const answer = await service.fetch("/top-posts", { method: "HEAD" });
    assert.deepEqual([answer.status, await answer.text()], [200, ""]);
  });
});

describe("GET /posts/{post_id}", SIDE_BY_SIDE, () => {
  test("tells everything about a post", async () => {
    const id = newPost();
    await service.put(`/posts/${id}`, { author: "A", content: "C", timestamp: 1_700_000_000_000 });
    await service.send([
      { post_id: id, region_id: "one", count: 4 },
      { post_id: id, region_id: "two", count: 1 },
    ]);
    const post = await eventually(async () => {
      const answer = await service.post(id, { timeframe: "24h" });
      assert.equal(answer.view_count, 5);
      // A page is made in steps: pushes may arrive between them.
      const counts = Object.fromEntries(answer.regions.map(({ region_id, view_count }) => [region_id, view_count]));
      assert.deepEqual([counts.one, counts.two], [4, 1]);
      assert.equal(answer.incomplete, undefined);
      return answer;
    });
    const counts = "view_count view_count_min view_count_max";
    const fields = `post_id author content url image tags timestamp hidden region timeframe window ${counts} rank series regions`;
    assert.equal(Object.keys(post).join(" "), fields, "in the order of the contract");
    assert.equal(Object.keys(post.series[0]).join(" "), `from to ${counts}`);
    assert.equal(Object.keys(post.regions[0]).join(" "), `region_id ${counts}`);
    assert.deepEqual([post.author, post.content, post.hidden, post.region], ["A", "C", false, "global"]);
    const sum = post.series.reduce((total, { view_count }) => total + view_count, 0);
    assert.equal(sum, 5, "the series adds up");
    for (const { from, to } of post.series) assert.ok(Date.parse(from) < Date.parse(to));
  });

  test("knows a post of the catalog that nobody played", async () => {
    const id = newPost();
    await service.put(`/posts/${id}`, { content: "C" });
    const post = await eventually(() => service.post(id));
    assert.deepEqual([post.view_count, post.content, post.rank], [0, "C", null]);
  });

  test("does not know what never was", async () => {
    await assertProblem(await service.fetch("/posts/never-seen"), 404);
    await assertProblem(await service.fetch("/posts?post_id=never-seen"), 404);
  });

  test("tells a post that is not among those counted from one that nobody played", async () => {
    await service.addRegions("late");
    // Of this minute, which is open for half a minute more at least: what is sealed has them all.
    const timestamp = Math.floor(Date.now() / 60_000) * 60_000;
    const plays = Array.from({ length: 9_000 }, (_, number) => ({ post_id: `early-${number}`, region_id: "late", timestamp }));
    await service.send(plays);
    // A few of those that come late take counters over.
    const late = Array.from({ length: 20 }, () => newPost("late"));
    await service.send(late.map((post_id) => ({ post_id, region_id: "late", timestamp })));
    const question = { region: "late", timeframe: "1h" };
    await eventually(async () => assert.equal((await service.topPosts(question)).total_views, 9_020));
    const get = (id) => service.fetch(`/posts/${id}?${new URLSearchParams(question)}`);
    const answers = await Promise.all(late.map(async (id) => ({ id, answer: await get(id) })));
    const { id, answer } = answers.find(({ answer }) => answer.status === 404);
    const problem = await assertProblem(answer, 404, "not_found");
    const most = problem.view_count_max;
    assert.ok(Number.isInteger(most) && most >= 1 && most < 9_020, `${most}`);
    assert.equal(problem.detail, `not among those counted; at most ${most} plays`);
    await service.put(`/posts/${id}`, { content: "C" });
    const post = await eventually(async () => {
      const answer = await get(id);
      assert.equal(answer.status, 200);
      return answer.json();
    });
    assert.deepEqual([post.content, post.view_count_min, post.view_count_max], ["C", 0, most]);
    // In another region nobody played anything.
    await service.addRegions("silent");
    const silent = await service.fetch(`/posts/${newPost("never")}?region=silent&timeframe=1h`);
    assert.equal((await assertProblem(silent, 404, "not_found")).view_count_max, undefined);
  });

  for (const query of ["timeframe=5x", "region=nowhere"]) {
    test(`refuses ${query}`, async () => {
      await assertProblem(await service.fetch(`/posts/x?${query}`), query.startsWith("region") ? 404 : 400);
    });
  }
});

describe("the catalog", SIDE_BY_SIDE, () => {
  test("stores and changes posts", async () => {
    const id = newPost("é/ü");
    const path = `/posts/${encodeURIComponent(id)}`;
    const entry = { author: "A", content: "C", url: "https://a.example/", image: "https://a.example/i.png" };
    const first = await service.put(path, entry);
    const stored = await first.json();
    assert.equal(first.status, 200);
    for (const [field, value] of Object.entries({ post_id: id, ...entry })) assert.equal(stored[field], value, field);
    const changed = await (await service.put(path, { ...entry, author: "B" })).json();
    assert.equal(changed.author, "B");
  });

  test("takes many at once, and tells those it refuses", async () => {
    const posts = [{ post_id: newPost(), content: "C" }, { post_id: "" }, { post_id: newPost(), author: 5 }, { post_id: newPost() }];
    for (const body of [posts, JSON.stringify(posts)]) {
      const type = typeof body === "string" ? "application/json" : "application/x-ndjson";
      const answer = await service.put("/posts", body, { "content-type": type });
      const text = await answer.text();
      assert.equal(answer.status, 200, text);
      const { stored, rejected } = JSON.parse(text);
      assert.equal(stored, 2);
      assert.deepEqual(
        rejected.map(({ index }) => index),
        [1, 2],
      );
    }
  });

  test("hides a post from every chart and its page, whatever is put, until it is told not to", async () => {
    await service.addRegions("hidden");
    const [id, other] = [newPost(), newPost()];
    await service.send([
      { post_id: id, region_id: "hidden", count: 2 },
      { post_id: other, region_id: "hidden" },
    ]);
    const assertListed = (...expected) =>
      eventually(async () => {
        const chart = await service.topPosts({ region: "hidden", timeframe: "1h" });
        assert.deepEqual(
          chart.top_posts.map(({ post_id, rank }) => [post_id, rank]),
          expected.map((post_id, index) => [post_id, index + 1]),
        );
        assert.equal(chart.total_views, 3);
      });
    await assertListed(id, other);
    /** @param {object | null} entry what a moderator sees; everybody else sees it, or nothing */
    const assertPage = async (entry) => {
      for (const path of [`/posts/${id}?region=hidden`, `/posts?region=hidden&post_id=${id}`]) {
        const answer = await service.fetch(path, { headers: ADMIN });
        assert.equal(answer.headers.get("cache-control"), "private, no-store");
        const { author, content, hidden, view_count } = await answer.json();
        assert.deepEqual({ author, content, hidden, view_count }, { ...entry, view_count: 2 });
        if (!entry.hidden) assert.equal((await service.post(id)).content, entry.content);
        else assert.equal((await assertProblem(await service.fetch(path), 404, "not_found")).view_count_max, undefined);
      }
    };
    const steps = [
      [
        { author: "A", content: "text" },
        { author: "A", content: "text", hidden: false },
      ],
      ["", { author: "A", content: "text", hidden: true }],
      [{ content: "routine" }, { author: "A", content: "routine", hidden: true }],
      [{ hidden: false }, { author: "A", content: "routine", hidden: false }],
      [{ hidden: true }, { author: "A", content: "routine", hidden: true }],
      ["?erase=true", { author: null, content: null, hidden: true }],
      [{ author: "B" }, { author: "B", content: null, hidden: true }],
      [{ hidden: false }, { author: "B", content: null, hidden: false }],
    ];
    for (const [index, [change, entry]] of steps.entries()) {
      const path = `/posts/${id}`;
      // One by one and in a list: both keep what is not said.
      const answer =
        typeof change === "string"
          ? await service.fetch(path + change, { method: "DELETE", headers: ADMIN })
          : await (index % 2 ? service.put("/posts", [{ post_id: id, ...change }]) : service.put(path, change));
      assert.equal(answer.status, 200, await answer.text());
      await assertPage(entry);
      await assertListed(...(entry.hidden ? [] : [id]), other);
    }
    await assertProblem(await service.fetch(`/posts/${id}?erase=yes`, { method: "DELETE", headers: ADMIN }), 400, "bad_post");
    await assertProblem(await service.put(`/posts/${id}`, { hidden: null }), 400);
    await assertPage({ author: "B", content: null, hidden: false });
  });

  const refused = {
    "an author of 257 bytes": { author: "x".repeat(257) },
    "content over 1 KiB": { content: "x".repeat(1_025) },
    "an address that is not https": { url: "http://a.example/" },
    "an address that is a script": { url: "javascript:alert(1)" },
    "an image over 1 KiB": { image: `https://a.example/${"x".repeat(1_024)}` },
    "an author that is a number": { author: 5 },
  };
  for (const [name, entry] of Object.entries(refused)) {
    test(`refuses ${name}`, async () => assertProblem(await service.put(`/posts/${newPost()}`, entry), 400));
  }
  test("refuses a body that is no JSON", async () => {
    await assertProblem(await service.request("PUT", "/posts/x", "{", ADMIN), 400, "malformed_body");
  });
  test("says whether the catalog had a post before, so that a mistyped id is seen", async () => {
    const post_id = newPost();
    const known = async (method, query = "", id = post_id) => {
      const answer = await service.request(method, `/posts/${id}${query}`, method === "PUT" ? { content: "A" } : undefined, ADMIN);
      assert.equal(answer.status, 200);
      return (await answer.json()).known;
    };
    assert.deepEqual([await known("PUT"), await known("PUT"), await known("DELETE")], [false, true, true]);
    for (const query of ["", "?erase=true"]) assert.equal(await known("DELETE", query, `${newPost()}-typo`), false, query);
  });
  test("tells a field that is something else than it must be what it must be, in words of ours", async () => {
    for (const [entry, says] of [
      [{ tags: "jazz" }, 'tags is a list of texts, as in ["jazz", "live"], or null'],
      [{ hidden: "yes" }, "hidden is true or false"],
      [{ title: "A" }, "a post has no title: write content instead"],
      [["A"], "a post is an object of JSON, {…}"],
    ]) {
      const { detail } = await assertProblem(await service.put(`/posts/${newPost()}`, entry), 400, "bad_post");
      assert.equal(detail, says);
    }
  });
  test("refuses 10,001 posts, and stores none of them", async () => {
    const many = Array.from({ length: 10_001 }, (_, index) => ({ post_id: `one-of-too-many-${index}` }));
    await assertProblem(await service.put("/posts", many), 413, "too_many_posts");
    await assertProblem(await service.fetch("/posts/one-of-too-many-0"), 404, "not_found");
  });
});

describe("regions", SIDE_BY_SIDE, () => {
  test("are listed", async () => {
    await service.send([{ post_id: newPost(), region_id: "one", count: 2 }]);
    const { regions } = await service.get("/regions");
    const known = regions.map(({ region_id }) => region_id);
    for (const id of ["NA", "SA", "EU", "AF", "AS", "OC", "one", "two"]) assert.ok(known.includes(id), id);
    const fields = ["region_id", "region_name", "shards", "hint", "views_24h", "push_age_ms"];
    for (const region of regions) assert.deepEqual(Object.keys(region), fields);
    assert.equal(regions.find(({ region_id }) => region_id === "NA").region_name, "North America");
  });

  test("are created and changed", async () => {
    const id = "Île de France";
    const answer = await service.put(`/regions/${encodeURIComponent(id)}`, { region_name: "Paris", shards: 2 });
    const stored = await answer.json();
    assert.deepEqual([answer.status, stored.region_id, stored.region_name, stored.shards], [200, id, "Paris", 2]);
    const post_id = newPost();
    await service.send([{ post_id, region_id: id, count: 3 }]);
    await assertViews(post_id, 3, { region: id, timeframe: "1h" });
    const renamed = await (await service.put(`/regions/${encodeURIComponent(id)}`, { region_name: "P" })).json();
    assert.equal(renamed.region_name, "P");
  });

  test("have a hint that the platform knows, which can be cleared", async () => {
    const put = async (body) => (await service.put("/regions/hinted", body)).json();
    assert.equal((await put({ hint: "weur" })).hint, "weur");
    assert.equal((await put({ region_name: "Hinted" })).hint, "weur", "left out, it stays");
    for (const hint of ["europe", "WEUR", "", " weur"]) {
      await assertProblem(await service.put("/regions/hinted", { hint }), 400, "bad_region");
    }
    const listed = async () => (await service.get("/regions")).regions.find(({ region_id }) => region_id === "hinted").hint;
    assert.equal(await listed(), "weur");
    assert.equal((await put({ hint: null })).hint, null);
    assert.equal(await listed(), null);
  });

  test("and boards have the fields that they have: another one is refused with our name, and what is listed may be sent back", async () => {
    for (const [path, code, body, says] of [
      ["/regions/fields", "bad_region", { name: "F" }, "a region has no name: write region_name instead"],
      ["/regions/fields", "bad_region", { shards: "two" }, "shards is a whole number"],
      ["/regions/fields", "bad_region", { shard: 2 }, 'a region has no field "shard"; it has region_id, region_name, shards, hint'],
      ["/boards/fields", "bad_board", { title: "F" }, "a board has no title: write board_name instead"],
      ["/boards/fields", "bad_board", { public: "no" }, "public is true or false"],
      ["/boards/fields", "bad_board", { catalog: "mine" }, 'catalog is "shared" or "own"'],
      ["/boards/fields", "bad_board", { publik: false }, /^a board has no field "publik"; it has board_id, board_name, /],
    ]) {
      const { detail } = await assertProblem(await service.put(path, body), 400, code);
      if (typeof says === "string") assert.equal(detail, says);
      else assert.match(detail, says);
    }
    for (const list of ["regions", "boards"]) {
      const [first] = (await service.get(`/${list}`))[list].filter(({ board_id }) => board_id !== "main");
      if (first) assert.equal((await service.put(`/${list}/${first.region_id ?? first.board_id}`, first)).status, 200, list);
    }
  });

  const refused = {
    "the name of all": ["global", {}],
    "an id of 65 bytes": ["x".repeat(65), {}],
    "an id with a slash": [encodeURIComponent("a/b"), {}],
    "an id with a control character": [encodeURIComponent("a\nb"), {}],
    "an id that nobody sees": ["%E2%80%8B", {}],
    "a name that nobody sees": ["three", { region_name: "\u200b " }],
    "no shards": ["three", { region_name: "x", shards: 0 }],
    "shards in words": ["three", { region_name: "x", shards: "two" }],
    "a name that is a number": ["three", { region_name: 3 }],
  };
  for (const [name, [id, body]] of Object.entries(refused)) {
    test(`refuse ${name}`, async () => assertProblem(await service.put(`/regions/${id}`, body), 400));
  }
});

describe("every route", SIDE_BY_SIDE, () => {
  const wrongMethods = [
    ["GET", "/plays", "POST"],
    ["PUT", "/plays", "POST"],
    ["POST", "/top-posts", "GET"],
    ["DELETE", "/top-posts", "GET"],
    ["POST", "/posts", "PUT"],
    ["POST", "/posts/x", "PUT"],
    ["DELETE", "/regions", "GET"],
    ["GET", "/regions/NA", "PUT"],
    ["POST", "/healthz", "GET"],
    ["POST", "/", "GET"],
  ];
  for (const [method, path, allowed] of wrongMethods) {
    test(`${method} ${path} is 405 and says what is allowed`, async () => {
      const answer = await service.fetch(path, { method, headers: ADMIN });
      const allow = answer.headers.get("allow") ?? "";
      await assertProblem(answer, 405);
      assert.ok(allow.split(/,\s*/).includes(allowed), `Allow: ${allow}`);
      assert.ok(!allow.split(/,\s*/).includes(method), `Allow: ${allow}`);
    });
  }

  for (const path of ["/nowhere", "/plays/", "/top-posts/x", "/regions/a/b", "/../etc/passwd", "/index.htm"]) {
    test(`GET ${path} is 404`, async () => assertProblem(await service.fetch(path), 404));
  }

  for (const [method, path, body] of [
    ["PUT", "/posts/x", { content: "C" }],
    ["PUT", "/posts", [{ post_id: "x" }]],
    ["DELETE", "/posts/x", undefined],
    ["PUT", "/regions/x", { region_name: "X" }],
  ]) {
    for (const [who, headers] of Object.entries({
      nobody: {},
      "the ingest token": TRUSTED,
      "a wrong token": { authorization: "Bearer x" },
    })) {
      test(`${method} ${path} is not for ${who}`, async () => {
        await assertProblem(await service.request(method, path, body, headers), 401);
      });
    }
  }

  test("healthz", async () => {
    const { status, version } = await service.get("/healthz");
    assert.equal(status, "ok");
    assert.equal(typeof version, "string");
  });

  test("is open to every page, for charts and plays", async () => {
    const origin = { origin: "https://page.example" };
    const mayRead = (answer) => assert.match(answer.headers.get("access-control-allow-origin") ?? "", /^(\*|https:\/\/page\.example)$/);
    mayRead(await service.fetch("/top-posts", { headers: origin }));
    mayRead(await service.fetch("/top-posts?k=0", { headers: origin }));
    mayRead(await service.request("POST", "/plays", { post_id: newPost() }, origin));
    const asks = { ...origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type,idempotency-key" };
    const preflight = await service.fetch("/plays", { method: "OPTIONS", headers: asks });
    assert.ok(preflight.ok, String(preflight.status));
    mayRead(preflight);
    assert.match(preflight.headers.get("access-control-allow-methods"), /POST/);
    assert.match(preflight.headers.get("access-control-allow-headers"), /content-type/i);
    assert.match(preflight.headers.get("access-control-allow-headers"), /idempotency-key/i);
    // The catalog is no business of other pages.
    const foreign = await service.fetch("/posts/x", { method: "OPTIONS", headers: { ...asks, "access-control-request-method": "PUT" } });
    assert.doesNotMatch(foreign.headers.get("access-control-allow-methods") ?? "", /PUT/);
  });
});

describe("settings", SIDE_BY_SIDE, () => {
  test("a route whose token is not configured is disabled; charts can need a token", async () => {
    const other = await Service.start({ INGEST_TOKEN: "", ADMIN_TOKEN: "", READ_TOKEN: "read-token" });
    try {
      for (const [method, path] of [
        ["PUT", "/posts/x"],
        ["DELETE", "/posts/x"],
        ["PUT", "/regions/x"],
      ]) {
        const body = method === "PUT" ? "{}" : undefined;
        await assertProblem(await other.fetch(path, { method, body, headers: ADMIN }), 403, "disabled");
      }
      await assertProblem(await other.fetch("/top-posts"), 401);
      await assertProblem(await other.fetch("/top-posts", { headers: { authorization: "Bearer x" } }), 401);
      await other.get("/top-posts", { headers: { authorization: "Bearer read-token" } });
      await assertCounted(await other.request("POST", "/plays", { post_id: "a" }), 1);
    } finally {
      await other.dispose();
    }
  });

  test("each of two tokens of a secret is valid, and nothing else is", async () => {
    const other = await Service.start({
      INGEST_TOKEN: "new-ingest, old-ingest",
      ADMIN_TOKEN: "new-admin,old-admin",
      READ_TOKEN: "new-read,old-read",
    });
    try {
      const as = (token) => ({ authorization: `Bearer ${token}` });
      const routes = {
        ingest: (token) => other.request("POST", "/plays", [{ post_id: "a", region_id: "NA" }], as(token)),
        admin: (token) => other.request("PUT", "/regions/EU", {}, as(token)),
        read: (token) => other.fetch("/top-posts", { headers: as(token) }),
      };
      for (const [name, ask] of Object.entries(routes)) {
        for (const token of [`new-${name}`, `old-${name}`]) assert.ok((await ask(token)).ok, token);
        const wrong = [
          "",
          ",",
          `new-${name},old-${name}`,
          `new-${name}, old-${name}`,
          `new-${name},`,
          `new-${name}old-${name}`,
          "new",
          "new-other",
        ];
        for (const token of wrong) await assertProblem(await ask(token), 401, "unauthorized");
      }
    } finally {
      await other.dispose();
    }
  });

  test("ALLOWED_ORIGINS in any form of an origin", async () => {
    const other = await Service.start({ ALLOWED_ORIGINS: "https://Example.com/, https://b.example:443" });
    try {
      for (const origin of ["https://example.com", "https://b.example"]) {
        const answer = await other.request("POST", "/plays", { post_id: "a" }, { origin });
        assert.equal(answer.headers.get("access-control-allow-origin"), origin);
        await assertCounted(answer, 1);
      }
      const foreign = await other.request("POST", "/plays", { post_id: "a" }, { origin: "https://example.com.evil" });
      await assertProblem(foreign, 403, "origin_not_allowed");
    } finally {
      await other.dispose();
    }
  });

  test("a server with a setting that cannot be read does not start, and says what to write", async () => {
    const started = performance.now();
    await assert.rejects(Service.start({ ALLOWED_ORIGINS: "example.com" }), /ALLOWED_ORIGINS.*write https:\/\/example\.com/);
    assert.ok(performance.now() - started < 20_000, "at once");
  });

  test("NORMALISE_IDS makes one post of ids that look alike; without it they are several", async () => {
    const alike = ["Beyonc\u00e9", "Beyonce\u0301", " Beyonc\u00e9", "Beyonc\u00e9\u200b", "\u00a0Bey\u00adonce\u0301\ufeff"];
    const other = await Service.start({ NORMALISE_IDS: "true" });
    try {
      await assertCounted(
        await other.request(
          "POST",
          "/plays",
          [...alike, " plain "].map((post_id) => ({ post_id })),
        ),
        6,
      );
      await assertProblem(await other.request("POST", "/plays", { post_id: " \u200b" }), 400, "no_good_play");
      assert.equal((await other.put(`/posts/${encodeURIComponent(alike[1])}`, { post_id: alike[3], content: "C" })).status, 200);
      await eventually(async () => {
        for (const id of alike) {
          const { post_id, view_count, content } = await other.post(id, { timeframe: "1h" });
          assert.deepEqual([post_id, view_count, content], [alike[0], alike.length, "C"]);
        }
        assert.equal((await other.post("plain", { timeframe: "1h" })).view_count, 1);
      });
    } finally {
      await other.dispose();
    }
    // A service of their own, too: where few posts are counted, all are counted exactly.
    const apart = await Service.start();
    try {
      await assertCounted(
        await apart.request(
          "POST",
          "/plays",
          alike.map((post_id) => ({ post_id })),
        ),
        alike.length,
      );
      await eventually(async () => {
        for (const id of alike) assert.equal((await apart.post(id, { timeframe: "1h" })).view_count, 1);
      });
    } finally {
      await apart.dispose();
    }
  });

  test("as usual a stranger's post shows until there is a catalog, and from then on only its posts", async () => {
    const other = await Service.start({ REQUIRE_KNOWN_POSTS: "" });
    try {
      await other.send([
        { post_id: "BUY CHEAP PILLS at evil.example", region_id: "NA", count: 2 },
        { post_id: "known", region_id: "NA" },
      ]);
      const shows = (...ids) =>
        eventually(async () => {
          const { top_posts: posts, total_views: total } = await other.topPosts({ region: "NA", timeframe: "1h" });
          assert.deepEqual([posts.map(({ post_id }) => post_id), total], [ids, 3]);
        });
      await shows("BUY CHEAP PILLS at evil.example", "known");
      assert.equal((await other.request("DELETE", "/posts/else", undefined, { authorization: `Bearer ${ADMIN_TOKEN}` })).status, 200);
      await shows("BUY CHEAP PILLS at evil.example", "known");
      assert.equal((await other.put("/posts/known", { content: "C" })).status, 200);
      await shows("known");
    } finally {
      await other.dispose();
    }
  });

  test("the catalog in pages, for who keeps it", async () => {
    const other = await Service.start();
    try {
      const posts = Array.from({ length: 1_500 }, (_, number) => ({
        post_id: `p\u00e9 ${number}`,
        content: `Song ${number}`,
        hidden: number % 100 === 0,
      }));
      assert.equal((await other.put("/posts", posts)).status, 200);
      const admin = { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } };
      const listed = [];
      let pages = 0;
      for (let next = "/posts"; next; pages++) {
        const answer = await other.fetch(next, admin);
        const page = await answer.json();
        listed.push(...page.posts);
        assert.equal(answer.headers.get("link"), page.next && `<${page.next}>; rel="next"`);
        assert.equal(answer.headers.get("cache-control"), "private, no-store");
        next = page.next;
      }
      assert.equal(pages, 2);
      const byId = (a, b) => Buffer.compare(Buffer.from(a.post_id), Buffer.from(b.post_id));
      assert.deepEqual(
        listed.map(({ post_id, content, hidden }) => ({ post_id, content, hidden })),
        posts.sort(byId),
      );
      const lines = await other.fetch("/posts?format=ndjson&after=p%C3%A9%20997", admin);
      assert.equal(lines.headers.get("content-type"), "application/x-ndjson");
      const again = await other.request("PUT", "/posts", await lines.text(), { ...admin.headers, "content-type": "application/x-ndjson" });
      assert.deepEqual(await again.json(), { stored: 2, rejected: [] });
      await assertProblem(await other.fetch("/posts", { headers: { authorization: "Bearer other" } }), 401, "unauthorized");
      await assertProblem(await other.fetch("/posts"), 400, "bad_post_id");
      await assertProblem(await other.fetch("/posts?format=csv", admin), 400, "bad_format");
    } finally {
      await other.dispose();
    }
  });

  test("ALLOWED_ORIGINS and REQUIRE_KNOWN_POSTS", async () => {
    const other = await Service.start({ ALLOWED_ORIGINS: "https://a.example", REQUIRE_KNOWN_POSTS: "true" });
    try {
      const allowed = await other.fetch("/top-posts", { headers: { origin: "https://a.example" } });
      assert.equal(allowed.headers.get("access-control-allow-origin"), "https://a.example");
      const foreign = await other.fetch("/top-posts", { headers: { origin: "https://b.example" } });
      assert.equal(foreign.headers.get("access-control-allow-origin"), null);
      assert.equal((await other.put("/posts/known", { content: "C" })).status, 200);
      await other.send([
        { post_id: "unknown", region_id: "NA", count: 2 },
        { post_id: "known", region_id: "NA" },
      ]);
      await eventually(async () => {
        const chart = await other.topPosts({ timeframe: "1h" });
        assert.deepEqual(
          chart.top_posts.map(({ post_id }) => post_id),
          ["known"],
        );
        assert.equal(chart.total_views, 3);
      });
    } finally {
      await other.dispose();
    }
  });
});

/** The same moment as a clock two hours east tells it. */
function withOffset(ms) {
  return new Date(ms + 2 * HOUR_MS).toISOString().replace("Z", "+02:00");
}
