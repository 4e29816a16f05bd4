/** Every code of an error that `/openapi.json` names, brought about on the real runtime. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { ADMIN_TOKEN, INGEST_TOKEN, Service, eventually, readProblem } from "./harness.mjs";
import { CuttableService } from "./outage/service.mjs";

const TRUSTED = { authorization: `Bearer ${INGEST_TOKEN}` };
const ADMIN = { authorization: `Bearer ${ADMIN_TOKEN}` };
const LINES = { "content-type": "application/x-ndjson" };
const NAMED = { client: "sender", seq: 0 };
const A_PLAY = { post_id: "refused" };
const MINUTE_MS = 60_000;

const { schemas } = JSON.parse(readFileSync(join(ROOT, "www", "openapi.json"), "utf8")).components;
const CODES = schemas.Problem.properties.code.enum;
const CODES_OF_REJECTED = schemas.Rejected.properties.code.enum;

/** @type {Service} with every token, and no limit but that of votes */
let open;
/** @type {Service} with no token, few requests a minute, and pages of one origin */
let strict;
/** @type {CuttableService} whose only region has two shards */
let cuttable;
/** @type {CuttableService} with a setting that cannot be read */
let misread;
/** @type {Service} where an address has one socket */
let narrow;
before(async () => {
  [open, strict, cuttable, misread, narrow] = await Promise.all([
    Service.start({ VOTES_PER_MINUTE: "3" }),
    Service.start({ INGEST_TOKEN: "", ADMIN_TOKEN: "", LIMIT_PER_MINUTE: "20", ALLOWED_ORIGINS: "https://a.example" }),
    CuttableService.start({ REGIONS: '[{"id": "EU", "continents": ["EU"]}]' }),
    CuttableService.start({ ALLOWED_ORIGINS: "a.example" }),
    Service.start({ LIMIT_PER_MINUTE: "11" }),
  ]);
  // Made with two, it need not wait for the second one.
  assert.equal((await cuttable.put("/regions/NA", { shards: 2 })).status, 200);
});
after(() => Promise.all([open, strict, cuttable, misread, narrow].map((service) => service?.dispose())));

const play = (body, headers = {}) => open.request("POST", "/plays", body, headers);
const putPost = (path, body) => open.put(`/posts${path}`, body);

/** Names of boards, from one on. */
const boardsFrom = (first, count = 8) => Array.from({ length: count }, (_, number) => `board-${first + number}`);

/** How each comes about: the status, and a request that gets it. */
const PROBLEMS = {
  bad_board: [400, () => open.put("/boards/Jazz", {})],
  bad_cursor: [400, () => open.fetch("/export?cursor=made-up", { headers: ADMIN })],
  bad_envelope: [400, () => play({ client: "x".repeat(65), seq: 0, plays: [A_PLAY] })],
  bad_filter: [400, () => open.fetch("/top-posts?tag=a&exclude_tag=a")],
  bad_format: [400, () => open.fetch("/top-posts?format=xml")],
  // An instance that has just been started knows no regions before somebody asks for a chart of them.
  bad_home: [400, () => open.fetch("/regions").then(() => play({ ...NAMED, home: "NA", plays: [A_PLAY] }))],
  bad_import: [400, () => open.request("POST", "/import?seed=1&id=2&row=0", '{"kind":"end"}', ADMIN)],
  bad_k: [400, () => open.fetch("/top-posts?k=1001")],
  bad_key: [400, () => play(A_PLAY, { "idempotency-key": "x".repeat(257) })],
  bad_limit: [400, () => open.fetch("/charts/week?limit=101")],
  bad_period: [400, () => open.fetch("/charts/week/2026-W54")],
  bad_post: [400, () => putPost("/x", { url: "javascript:alert(1)" })],
  bad_post_id: [400, () => open.fetch("/posts?post_id=%00")],
  bad_region: [400, () => open.put("/regions/global", {})],
  bad_reset: [400, () => open.request("POST", "/admin/reset", {}, ADMIN)],
  bad_setting: [500, () => misread.fetch("/healthz")],
  bad_sort: [400, () => open.fetch("/top-posts?sort=loudest")],
  bad_timeframe: [400, () => open.fetch("/top-posts?timeframe=401d")],
  bad_tz: [400, () => open.fetch("/top-posts?timeframe=today&tz=Mars/Olympus")],
  bad_window: [400, () => open.fetch("/top-posts?window=sideways")],
  disabled: [403, () => strict.fetch("/posts/x", { method: "DELETE", headers: ADMIN })],
  export_over: [410, readAnExportThatAnotherFollows],
  filter_too_wide: [400, () => tagged(131_073).then(() => onceBuilt(() => open.fetch("/top-posts?tag=wide")))],
  incomplete_body: [400, () => raw("content-length: 100", '{"post_id":', { ends: true })],
  key_required: [
    400,
    () =>
      play(
        ["NA", "EU"].map((region_id) => ({ ...A_PLAY, region_id })),
        TRUSTED,
      ),
  ],
  key_reused: [422, reuseKey],
  malformed_body: [400, () => play("{")],
  method_not_allowed: [405, () => open.fetch("/plays", { method: "DELETE" })],
  no_chart: [404, () => open.fetch("/charts/week/2020-W01")],
  no_good_play: [400, () => play([{ post_id: "" }])],
  no_good_post: [400, () => putPost("", [{ post_id: "" }])],
  not_announced: [503, () => withoutShards(resetCuttable)],
  not_confirmed: [400, () => open.fetch("/boards/jazz", { method: "DELETE", headers: ADMIN })],
  not_found: [404, () => open.fetch("/nowhere")],
  origin_not_allowed: [403, () => strict.request("POST", "/plays", A_PLAY, { origin: "https://b.example" })],
  outcome_unknown: [504, () => withoutShards(() => cuttable.request("POST", "/plays", A_PLAY))],
  overloaded: [503, () => inTurn(overload)],
  rate_limited: [429, () => firstOf("rate_limited", 50, () => strict.fetch("/regions"))],
  region_deleted: [410, () => deleted().then((id) => open.fetch(`/top-posts?region=${id}`))],
  too_large: [413, () => play([{ ...A_PLAY, pad: "x".repeat(2 ** 20) }])],
  too_many_bodies: [
    429,
    () => firstOf("too_many_bodies", 8, () => raw(`content-length: ${2 ** 20}`, " ".repeat(2 ** 20 - 1), { service: misread })),
  ],
  too_many_parts: [413, () => play({ ...NAMED, plays: [0, 1, 2, 3].map((play) => ({ ...A_PLAY, boards: boardsFrom(8 * play) })) })],
  too_many_plays: [413, () => play(Array(1_001).fill(A_PLAY))],
  too_many_posts: [413, () => putPost("", Array(10_001).fill({ post_id: "x" }))],
  too_many_rows: [
    413,
    () => open.request("POST", `/import?seed=${"0".repeat(32)}&id=${"0".repeat(32)}&row=0`, '{"kind":"end"}\n'.repeat(10_001), ADMIN),
  ],
  too_many_sockets: [429, () => withSocket(narrow, () => upgrade(narrow))],
  too_old_to_repeat: [400, () => play({ ...NAMED, sent: Date.now() - 16 * MINUTE_MS, now: Date.now(), plays: [A_PLAY] })],
  too_slow: [408, () => raw("content-length: 100", "{")],
  unauthorized: [401, () => play(A_PLAY, { authorization: "Bearer wrong" })],
  unavailable: [503, () => withoutShards(() => cuttable.request("POST", "/plays", { ...NAMED, plays: [A_PLAY] }))],
  unhealthy: [503, () => withoutShards(failAndAskForHealth)],
  unknown_board: [404, () => open.fetch("/top-posts?board=nowhere")],
  unknown_home: [503, () => play({ ...NAMED, home: "NA/2", plays: [A_PLAY] })],
  unknown_region: [404, () => open.fetch("/top-posts?region=nowhere")],
  unsupported_media_type: [415, () => play("post_id=refused", { "content-type": "application/x-www-form-urlencoded" })],
  upgrade_required: [426, () => open.fetch("/live")],
  wrong_installation: [409, () => open.request("POST", "/admin/reset", { installation_id: "0".repeat(32) }, ADMIN)],
};

/** What an answer with this code must have besides. */
const HEADERS = {
  bad_home: { "hitparade-home": /^NA\/1$/ },
  method_not_allowed: { allow: /^POST, OPTIONS$/ },
  not_announced: { "retry-after": /^\d+$/ },
  overloaded: { "retry-after": /^\d+$/ },
  rate_limited: { "retry-after": /^\d+$/, ratelimit: /^"address";r=0;t=\d+$/, "ratelimit-policy": /^"address";q=20;w=60$/ },
  too_many_bodies: { "retry-after": /^1$/ },
  too_many_sockets: { "retry-after": /^\d+$/ },
  unauthorized: { "www-authenticate": /^Bearer$/ },
  unavailable: { "retry-after": /^\d+$/ },
  unhealthy: { "retry-after": /^\d+$/ },
  unknown_home: { "retry-after": /^\d+$/, "hitparade-home": /^NA\/1$/ },
};

/** Plays and posts that are rejected while the others of their batch are stored. */
const REJECTED = {
  bad_boards: () => play([{ post_id: "a", boards: boardsFrom(0, 9) }]),
  bad_count: () => play([{ post_id: "a", count: 0 }]),
  bad_play: () => play([5]),
  bad_post: () => putPost("", [{ post_id: "a", author: 5 }]),
  bad_post_id: () => play([{ post_id: "." }]),
  bad_timestamp: () => play([{ post_id: "a", timestamp: "yesterday" }]),
  bot: () => play([{ post_id: "a" }], { "user-agent": "ExampleBot/1.0" }),
  count_needs_token: () => play([{ post_id: "a", count: 2 }]),
  malformed_line: () => open.put("/posts", '{"post_id":\n', LINES),
  region_deleted: () => deleted().then((region_id) => play([{ post_id: "a", region_id }], TRUSTED)),
  region_needs_token: () => play([{ post_id: "a", region_id: "NA" }]),
  timestamp_out_of_range: () => play([{ post_id: "a", timestamp: 0 }]),
  too_many_votes: stuffVotes,
  unknown_board: () => play([{ post_id: "a", board: "__proto__" }]),
  unknown_region: () => play([{ post_id: "a", region_id: "nowhere" }], TRUSTED),
};

describe("the contract's code of an error", { concurrency: 16 }, () => {
  test("is brought about by a test, whichever it is", () => {
    assert.deepEqual(Object.keys(PROBLEMS), CODES);
    assert.deepEqual(Object.keys(REJECTED), CODES_OF_REJECTED);
  });

  for (const [code, [status, request]] of Object.entries(PROBLEMS)) {
    test(`${code}, with status ${status}`, async () => {
      const answer = await request();
      const problem = await readProblem(answer, status);
      assert.equal(problem.code, code, problem.detail);
      assert.ok(problem.detail.length > 10, "it says what is wrong");
      assert.equal(answer.headers.get("cache-control"), "no-store");
      for (const [name, value] of Object.entries(HEADERS[code] ?? {})) assert.match(answer.headers.get(name) ?? "", value, name);
    });
  }

  test("too many plays, however many, are told the limit of who sends them", async () => {
    for (const [plays, headers, most] of [
      [1_001, {}, 1_000],
      [10_001, {}, 1_000],
      [10_001, TRUSTED, 10_000],
    ]) {
      const { code, detail } = await readProblem(await play(Array(plays).fill(A_PLAY), headers), 413);
      assert.equal(code, "too_many_plays");
      assert.match(detail, new RegExp(`at most ${most} plays a request`));
    }
  });

  for (const [code, request] of Object.entries(REJECTED)) {
    test(`${code}, of one in a batch`, async () => {
      const { rejected } = await readProblem(await request(), 400);
      assert.deepEqual(
        rejected.map(({ index, code: word }) => [index, word]),
        [[0, code]],
      );
    });
  }
});

/** A region that was deleted. */
const deleted = memoised(async () => {
  await open.addRegions("gone");
  const answer = await open.fetch("/regions/gone", { method: "DELETE", headers: ADMIN });
  assert.equal(answer.status, 200, await answer.text());
  return "gone";
});

function memoised(make) {
  let made;
  return () => (made ??= make());
}

async function readAnExportThatAnotherFollows() {
  const first = await open.fetch("/export", { headers: ADMIN });
  const next = /<([^>]+)>/.exec(first.headers.get("link"))[1];
  assert.equal((await open.fetch("/export", { headers: ADMIN })).status, 200);
  return open.fetch(next, { headers: ADMIN });
}

async function reuseKey() {
  const batch = (post_id) => play({ ...NAMED, client: "reuser", plays: [{ post_id }] });
  assert.equal((await batch("first")).status, 202);
  return batch("second");
}

/** Asks for a socket, and gets an answer instead. @param {Service} service */
async function upgrade(service) {
  const { port, host } = new URL(service.url);
  const socket = connect({ port: Number(port), host: "127.0.0.1" });
  socket.write(
    `GET /live HTTP/1.1\r\nhost: ${host}\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: ${"A".repeat(22)}==\r\nsec-websocket-version: 13\r\n\r\n`,
  );
  return readAnswer(socket);
}

/** Gives so many posts one tag. @param {number} posts */
async function tagged(posts) {
  for (let from = 0; from < posts; from += 10_000) {
    const some = Array.from({ length: Math.min(10_000, posts - from) }, (_, place) => ({ post_id: `w${from + place}`, tags: ["wide"] }));
    assert.equal((await putPost("", some)).status, 200);
  }
}

/** Asks until the catalog has made its index. @param {() => Promise<Response>} request */
async function onceBuilt(request) {
  for (const deadline = Date.now() + 120_000; ;) {
    const answer = await request();
    if (answer.status !== 503 || Date.now() > deadline) return answer;
    await answer.text();
    await new Promise((done) => setTimeout(done, 1_000));
  }
}

async function withSocket(service, request) {
  const socket = new WebSocket(`${service.url.replace("http", "ws")}/live`);
  await once(socket, "message");
  try {
    return await request();
  } finally {
    socket.close();
  }
}

/** Tests of shards that are away, or not, take turns. */
let turn = Promise.resolve();
function inTurn(request) {
  const answer = turn.then(request);
  turn = answer.catch(() => {});
  return answer;
}

const withoutShards = (request) =>
  inTurn(async () => {
    await cuttable.cutShards();
    try {
      return await request();
    } finally {
      await cuttable.mendShards();
    }
  });

async function failAndAskForHealth() {
  await cuttable.request("POST", "/plays", { ...NAMED, plays: [A_PLAY] });
  return cuttable.fetch("/healthz");
}

async function resetCuttable() {
  const { installation_id } = await (await cuttable.fetch("/admin", { headers: ADMIN })).json();
  return cuttable.request("POST", "/admin/reset", { installation_id }, ADMIN);
}

/** More charts than there is time for: each merges the plays of a hundred days. */
async function overload() {
  const plays = Array.from({ length: 10_000 }, (_, number) => ({
    post_id: `old ${number % 100}`,
    region_id: "NA",
    timestamp: Date.now() - (1 + Math.floor(number / 100)) * 24 * 60 * MINUTE_MS,
  }));
  assert.equal((await cuttable.request("POST", "/plays", plays, TRUSTED)).status, 202);
  await eventually(async () => {
    const chart = await cuttable.fetch("/top-posts?region=NA&timeframe=399d");
    assert.ok((await chart.json()).total_views >= plays.length);
  });
  return firstOf("overloaded", 1_000, (number) => cuttable.fetch(`/top-posts?region=NA&timeframe=${300_000 + number}m`));
}

/** More plays of one post than an address may add in a minute; a new minute brings new ones. */
async function stuffVotes() {
  return eventually(async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => play([{ post_id: "stuffed" }])));
    const refused = answers.find(({ status }) => status === 400);
    assert.ok(refused, answers.map(({ status }) => status).join());
    return refused;
  });
}

/** The first answer with a code, of so many requests at once: while shards are away there are others. */
async function firstOf(code, count, request) {
  const answers = await Promise.all(Array.from({ length: count }, (_, number) => request(number)));
  for (const answer of answers.filter(({ status }) => status >= 400)) {
    if ((await answer.clone().json()).code === code) return answer;
  }
  return answers[0];
}

/** A `POST /plays` byte by byte, whose sender may end it early. */
async function raw(header, body, { ends = false, service = open } = {}) {
  const socket = connect({ port: Number(new URL(service.url).port), host: "127.0.0.1", allowHalfOpen: true }, () => {
    socket.write(`POST /plays HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n${header}\r\n\r\n${body}`);
    if (ends) socket.end();
  });
  return readAnswer(socket);
}

/** The one answer on a connection. @param {import("node:net").Socket} socket */
async function readAnswer(socket) {
  const text = await new Promise((done, fail) => {
    let received = "";
    socket.setTimeout(30_000, () => socket.destroy(new Error("no answer in 30 s")));
    socket.on("error", fail);
    socket.on("data", (data) => {
      received += data;
      const length = Number(/content-length: (\d+)/i.exec(received)?.[1] ?? Infinity);
      if (received.split("\r\n\r\n")[1]?.length >= length) socket.destroy();
    });
    socket.on("close", () => done(received));
  });
  const [head, answer] = text.split("\r\n\r\n");
  const [line, ...headers] = head.split("\r\n");
  return new Response(answer, { status: Number(line.split(" ")[1]), headers: headers.map((header) => header.split(": ")) });
}
