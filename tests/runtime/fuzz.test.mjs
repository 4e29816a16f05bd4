/**
 * Bad input of every kind, mixed with good plays, from many senders at once: nothing but documented
 * answers, nobody waits for ever, the instance lives on, and the good plays are counted exactly.
 * FUZZ_SECONDS: how long (4); FUZZ_SEED: which. `npm run dev -- fuzz --minutes 10` sets both.
 */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { INGEST_TOKEN, Service, eventually, randomNumbers, sayProgress } from "./harness.mjs";

const SECONDS = Number(process.env.FUZZ_SECONDS ?? 4);
const SEED = Number(process.env.FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 32));
const SENDERS = 12;
/** Few enough to be counted exactly. */
const POSTS = 500;
const REGION = "EXACT";
const ANSWER_TIMEOUT_MS = 30_000;
const PROGRESS_MS = 30_000;
const DOCUMENTED = new Set([202, 400, 401, 413, 415, 429, 503]);

test(`${SECONDS} s of bad input, seed ${SEED}`, { timeout: (SECONDS + 120) * 1_000 }, async (t) => {
  sayProgress(t, `the same again: npm run dev -- fuzz --seed ${SEED}`);
  const service = await Service.start();
  try {
    await service.addRegions(REGION);
    const instance = await instanceOf(service);
    const fuzz = new Fuzz(service);
    const slow = slowSender(service);
    const until = Date.now() + SECONDS * 1_000;
    const sayHowFar = () =>
      sayProgress(t, `${fuzz.requests} requests, ${fuzz.good} good plays, answers ${JSON.stringify(Object.fromEntries(fuzz.answers))}`);
    const saying = setInterval(sayHowFar, PROGRESS_MS);
    try {
      await Promise.all(Array.from({ length: SENDERS }, (_, sender) => fuzz.run(randomNumbers(SEED + sender), until)));
    } finally {
      clearInterval(saying);
    }
    sayHowFar();
    assert.match(await slow, /^HTTP\/1.1 408 /, "a body that never ends");
    await fuzz.assertCounted();
    assert.equal(await instanceOf(service), instance, "the instance was never made anew");
    assert.doesNotMatch(service.log, /panicked|RuntimeError|unreachable/);
  } finally {
    await service.dispose();
  }
});

async function instanceOf(service) {
  const names = [...(await service.readMetrics()).keys()];
  return names.find((name) => name.startsWith("hitparade_instance_started_seconds"));
}

class Fuzz {
  requests = 0;
  good = 0;
  /** @type {Map<number, number>} status to number */
  answers = new Map();
  /** @type {Map<string, number>} */
  #counted = new Map();

  constructor(service) {
    this.service = service;
  }

  /** One sender: a case after the other. */
  async run(random, until) {
    while (Date.now() < until) {
      const kind = random() < 0.6 ? mixed : pick(random, [truncated, malformed, mutated, tooMuch, odd, broken]);
      const request = kind(random);
      try {
        await this.#send(request);
      } catch (error) {
        error.message = `${kind.name}: ${error.message}\n${show(request)}`;
        throw error;
      }
      this.requests++;
    }
  }

  async #send({ path = "/plays", method = "POST", headers = {}, body, good, status, raw }) {
    if (raw) return void (await exchange(this.service, raw, 100));
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    const all = { Authorization: `Bearer ${INGEST_TOKEN}`, ...headers };
    for (const [name, value] of Object.entries(all)) if (value === null) delete all[name];
    const answer = await fetch(this.service.url + path, { method, headers: all, body, signal, duplex: "half" });
    const text = await answer.text();
    this.answers.set(answer.status, (this.answers.get(answer.status) ?? 0) + 1);
    if (path !== "/plays") return assert.ok(answer.status < 500 || answer.status === 503, `${answer.status} ${text}`);
    assert.ok(DOCUMENTED.has(answer.status), `${answer.status} ${text}`);
    const verdict = JSON.parse(text);
    if (answer.status !== 202) assert.equal(typeof verdict.code, "string");
    if (status) assert.equal(answer.status, status, text);
    if (!good) return;
    if (good.length === 0) return assert.equal(answer.status, 400, text);
    assert.equal(answer.status, 202, text);
    assert.equal(verdict.accepted, good.length, text);
    for (const { post_id, count = 1 } of good) this.#counted.set(post_id, (this.#counted.get(post_id) ?? 0) + count);
    this.good += good.length;
  }

  /** What the chart of the region says is what was good, and nothing else. */
  async assertCounted() {
    await eventually(async () => {
      const chart = await this.service.topPosts({ region: REGION, timeframe: "all", k: 1000 });
      const listed = chart.top_posts.map(({ post_id, view_count }) => [post_id, view_count]);
      assert.deepEqual(Object.fromEntries(listed), Object.fromEntries(this.#counted));
    });
  }
}

const pick = (random, list) => list[Math.floor(random() * list.length)];
const upTo = (random, most) => Math.floor(random() * (most + 1));
const show = ({ body, raw, headers, path }) =>
  `${path ?? "/plays"} ${JSON.stringify(headers ?? {})} ${Buffer.from(body ?? raw ?? "")
    .subarray(0, 300)
    .toString("latin1")}`;

function goodPlay(random) {
  const play = { post_id: `post ${upTo(random, POSTS - 1)}`, region_id: REGION };
  if (random() < 0.3) play.count = 1 + upTo(random, 9);
  if (random() < 0.5) play.timestamp = Date.now() - upTo(random, 3_600_000);
  return play;
}

/** A good play as JSON, also with what must not matter. */
function goodText(random, play) {
  const text = JSON.stringify(play);
  const rest = text.slice(1);
  return pick(random, [
    () => text,
    () => `{"more":${deep(200)},${rest}`,
    () => `{ "\\u0070ost_id" : ${JSON.stringify(play.post_id)} ,${JSON.stringify({ ...play, post_id: undefined }).slice(1)}`,
    () => `{"nan":"NaN","big":1e999,"":null,${rest}`,
  ])();
}

/** Elements that are JSON and no plays. */
const BAD = [
  () => "7",
  () => "null",
  () => "[]",
  () => '"post"',
  () => "{}",
  () => deep(10_000),
  () => `{"post_id":${deep(10_000)}}`,
  () => `{"post_id":"a","region_id":"${REGION}","timestamp":${deep(5_000)}}`,
  () => '{"post_id":""}',
  () => '{"post_id":7.5}',
  () => '{"post_id":"\\u0000"}',
  () => '{"post_id":"\\ud800"}',
  () => '{"post_id":"\\udc00\\ud800"}',
  () => `{"post_id":"${"x".repeat(257)}"}`,
  () => '{"post_id":"."}',
  () => '{"post_id":"a","post_id":"b"}',
  () => '{"post_id":"a","count":1,"count":2}',
  () => '{"post_id":"a","count":0}',
  () => '{"post_id":"a","count":-1}',
  () => '{"post_id":"a","count":1e400}',
  () => `{"post_id":"a","count":${"9".repeat(1_000)}}`,
  () => '{"post_id":"a","count":1.5}',
  () => '{"post_id":"a","timestamp":-1}',
  () => `{"post_id":"a","timestamp":${"9".repeat(400)}}`,
  () => '{"post_id":"a","timestamp":1e308}',
  () => '{"post_id":"a","timestamp":"yesterday"}',
  () => '{"post_id":"a","timestamp":"2025-99-99T99:99:99Z"}',
  () => '{"post_id":"a","region_id":"nowhere"}',
  () => '{"post_id":"a","region_id":["EXACT"]}',
];

/** Lines that are not even JSON. */
const BROKEN_LINES = [
  "{",
  "}",
  "NaN",
  '{"post_id":"a","timestamp":NaN}',
  '{"post_id":"a"',
  "\u0000",
  "\ufeff",
  "[",
  '"',
  "{'post_id':'a'}",
  "\\",
  "-",
  "\x01\x02",
];

const deep = (depth) => "[".repeat(depth) + "]".repeat(depth);

/** Good and bad plays in any of the forms. */
function mixed(random) {
  const good = Array.from({ length: upTo(random, 20) }, () => goodPlay(random));
  const elements = good.map((play) => goodText(random, play));
  for (let bad = upTo(random, 5); bad > 0; bad--) elements.splice(upTo(random, elements.length), 0, pick(random, BAD)());
  if (elements.length === 0) elements.push("{}");
  const key = { "Idempotency-Key": `key ${random()}` };
  const form = random();
  if (form < 0.4) {
    for (let bad = upTo(random, 3); bad > 0; bad--) elements.splice(upTo(random, elements.length), 0, pick(random, BROKEN_LINES));
    const lines = elements.map((line) => Buffer.from(line));
    if (random() < 0.3) lines.splice(upTo(random, lines.length), 0, Buffer.from([0x22, 0xff, 0xfe, 0x22]));
    const end = Buffer.from(random() < 0.5 ? "\r\n" : "\n");
    const body = Buffer.concat([bom(random), ...lines.flatMap((line) => [line, end])]);
    return { headers: { ...key, "Content-Type": "application/x-ndjson" }, body, good };
  }
  const list = `[${elements.join(random() < 0.5 ? "," : " ,\r\n\t")}]`;
  if (form < 0.7)
    return { headers: { ...key, "Content-Type": "application/json" }, body: Buffer.concat([bom(random), Buffer.from(list)]), good };
  const now = Date.now();
  const envelope = `{"client":"c${random()}","seq":${upTo(random, 1e6)},"sent":${now},"now":${now},"else":${deep(100)},"plays":${list}}`;
  return { headers: { "Content-Type": "text/plain" }, body: chunked(random, envelope), good };
}

const bom = (random) => Buffer.from(random() < 0.2 ? [0xef, 0xbb, 0xbf] : []);

/** As one piece, or as a stream of no announced length. */
function chunked(random, text) {
  if (random() < 0.7) return text;
  const bytes = Buffer.from(text);
  return new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += 100) controller.enqueue(bytes.subarray(at, at + 100));
      controller.close();
    },
  });
}

/** A body that ends too early: lines before the cut count. */
function truncated(random) {
  const plays = Array.from({ length: 1 + upTo(random, 20) }, () => goodPlay(random));
  const lines = plays.map((play) => JSON.stringify(play));
  if (random() < 0.5) {
    const body = `[${lines.join(",")}]`;
    return { body: body.slice(0, upTo(random, body.length - 1)), good: [] };
  }
  const whole = lines.join("\n");
  const body = whole.slice(0, upTo(random, whole.length));
  const left = body.split("\n");
  const good = plays.filter((_, index) => left[index] === lines[index]);
  return { headers: { "Content-Type": "application/x-ndjson", "Idempotency-Key": `cut ${random()}` }, body, good };
}

/** Nothing in it can be used. */
function malformed(random) {
  const list = JSON.stringify([goodPlay(random)]);
  const body = pick(random, [
    () => "",
    () => "7",
    () => "NaN",
    () => "\u0000",
    () => deep(10_000),
    () => "[".repeat(10_000),
    () => '{"a":'.repeat(10_000),
    () => gzipSync(list),
    () => list.replace("]", ",]"),
    () => list.replace("]", ",NaN]"),
    () => list.replace('"post', "'post"),
    () => Buffer.concat([Buffer.from('[{"post_id":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}]')]),
    () => Buffer.from(list, "utf16le"),
    () => `{"client":"c","plays":${list}}`,
    () => `{"client":"","seq":1,"plays":${list}}`,
    () => `{"client":"c","seq":1e99,"plays":${list}}`,
    () => `{"client":"c","client":"d","seq":1,"plays":${list}}`,
    () => `{"client":"c","seq":1,"sent":0,"plays":${list}}`,
    () => `{"client":"c","seq":1,"sent":${Date.now() + 1e9},"plays":${list}}`,
    () => `{"plays":${deep(10)}}`,
    () => '{"plays":7}',
    () => '{"plays":[]}',
    () => "[]",
  ])();
  return { body, good: [] };
}

/** Bytes changed at random: anything may come of it, so these name no region of ours. */
function mutated(random) {
  const list = Array.from({ length: upTo(random, 5) }, () => ({ post_id: `m ${upTo(random, 9)}`, timestamp: Date.now() }));
  const body = Buffer.from(JSON.stringify(random() < 0.5 ? list : { client: `m${random()}`, seq: 1, sent: Date.now(), plays: list }));
  for (let changes = 1 + upTo(random, 4); changes > 0; changes--) body[upTo(random, body.length - 1)] = upTo(random, 255);
  return {
    headers: { Authorization: null, "Content-Type": pick(random, ["text/plain", "application/json", "application/x-ndjson"]) },
    body,
  };
}

/** Over the limits: refused whole. */
function tooMuch(random) {
  const json = "application/json";
  const [type, make] = pick(random, [
    ["application/x-ndjson", () => "{}\n".repeat(100_000)],
    [json, () => `[${"{},".repeat(1_000_000)}{}]`],
    [json, () => `{"plays":[${"0,".repeat(400_000)}0]}`],
    [json, () => Buffer.alloc((4 << 20) + 1, 0x20)],
    ["text/plain", () => Buffer.alloc(6 << 20, 0x5b)],
  ]);
  return { headers: { "Content-Type": type }, body: make(), status: 413 };
}

/** Requests that are odd besides their body. */
function odd(random) {
  const body = JSON.stringify(goodPlay(random));
  const untrusted = { Authorization: null };
  return pick(random, [
    () => ({ headers: { "Content-Type": "image/png" }, body, status: 415 }),
    () => ({ headers: { "Content-Type": "multipart/form-data; boundary=x" }, body, status: 415 }),
    () => ({ headers: { Authorization: "Bearer wrong" }, body, status: 401 }),
    () => ({ headers: { Authorization: "Basic eDp5" }, body, status: 401 }),
    () => ({ headers: { Authorization: "é" }, body, status: 401 }),
    () => ({ headers: { "Idempotency-Key": "k".repeat(257) }, body, good: [] }),
    () => ({ headers: untrusted, body, good: [] }),
    () => ({ headers: { ...untrusted, "User-Agent": "\u00ff bot" }, body: '{"post_id":"a"}', good: [] }),
    () => ({ path: "/plays/%00", body }),
    () => ({ path: `/posts/${"%ff".repeat(50)}`, method: "GET" }),
    () => ({ path: `/posts/${"x".repeat(2_000)}`, method: "GET" }),
    () => ({ path: `/top-posts?k=${pick(random, ["NaN", "-1", "1e3", "9".repeat(99), "%00"])}`, method: "GET" }),
    () => ({ path: `/top-posts?timeframe=${pick(random, ["", "1x", "99999999d", "-1h", "%F0%9F%98%80"])}`, method: "GET" }),
    () => ({ path: "/top-posts?from=1970-01-01T00:00:00Z&to=9999-12-31T23:59:59Z", method: "GET" }),
    () => ({ path: `/regions/${pick(random, ["%2F", "global", "%00", "..", "x".repeat(65)])}`, method: "PUT", body }),
    () => ({ path: "/plays", method: "DELETE", raw: "DELETE /plays HTTP/1.1\r\nHost: x\r\n\r\n" }),
  ])();
}

/** Senders that lie about the length, break off, or speak no HTTP. */
function broken(random) {
  const head = (length) => `POST /plays HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`;
  const raw = pick(random, [
    () => `${head(100)}{"post_id":"a`,
    () => `${head(-1)}{}`,
    () => `${head("9".repeat(30))}{}`,
    () => `${head(2)}{}{}{}`,
    () => "POST /plays HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n",
    () => 'POST /plays HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nf\r\n{"post_id":"a"}\r\n',
    () => "POST /plays HTTP/1.1\r\n",
    () => "\u0000\u0001\u0002",
  ])();
  return { raw };
}

/** Sends bytes, reads for a while, hangs up. What comes back, if anything, is HTTP. */
function exchange(service, bytes, waitMs) {
  return new Promise((done, fail) => {
    let text = "";
    const socket = connect(new URL(service.url).port, "127.0.0.1", () => socket.write(bytes));
    socket.on("data", (data) => (text += data));
    socket.on("error", (error) => (error.code === "ECONNREFUSED" ? fail(error) : done(text)));
    socket.on("close", () => done(text));
    setTimeout(() => socket.destroy(), waitMs);
  }).then((text) => {
    assert.doesNotMatch(text, /^HTTP\/1.1 50[0-2]/);
    return text;
  });
}

/** A sender that gives a byte now and then, until it is told to stop. */
async function slowSender(service) {
  const socket = connect(new URL(service.url).port, "127.0.0.1");
  let text = "";
  socket.on("data", (data) => (text += data));
  socket.on("error", () => {});
  socket.write("POST /plays HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
  for (let second = 0; second < 25 && text === ""; second++) {
    socket.write("[");
    await sleep(1_000);
  }
  socket.destroy();
  return text;
}
