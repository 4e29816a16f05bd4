/** Senders that go away, and senders that are slow: what they hold is theirs, and goes with them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { resetMany } from "../../scripts/lib/resets.mjs";
import { ADMIN_TOKEN, INGEST_TOKEN, Service, eventually, randomNumbers } from "./harness.mjs";

const MIB = 2 ** 20;
/** What `readBody` of src/js/bodies.js gives everybody. */
const ROOM_BYTES = 6 * MIB;
/** Of a second and more, so that a slow body makes way for others. */
const SLOW_MS = 2_500;

const allocated = async (service) => {
  const metrics = await service.readMetrics();
  return Math.max(...[...metrics].filter(([name]) => name.startsWith("hitparade_allocated_bytes")).map(([, bytes]) => bytes));
};

/** A connection of an address that has sent so much of a request. */
class Sender {
  answer = "";

  constructor(service, address, bytes) {
    const { port } = new URL(service.url);
    this.socket = connect({ port: Number(port), host: "127.0.0.1", localAddress: address });
    this.socket.on("error", () => {});
    this.socket.on("data", (data) => (this.answer += data));
    this.closed = new Promise((done) => this.socket.on("close", done));
    this.socket.write(bytes);
  }

  /** 0 while there is no answer. */
  get status() {
    return Number(/^HTTP\/1.1 (\d+)/.exec(this.answer)?.[1] ?? 0);
  }
}

const announced = (length, sent) =>
  `POST /plays HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: ${length}\r\n\r\n${" ".repeat(sent)}`;
const inPieces = (sent) =>
  `POST /plays HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n${sent.toString(16)}\r\n${" ".repeat(sent)}\r\n`;

/** A play of somebody else, complete: its status. @param {(body: string) => string} form */
async function play(service, address, form = (body) => `content-length: ${body.length}\r\n\r\n${body}`) {
  const sender = new Sender(
    service,
    address,
    `POST /plays HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/plain\r\n${form('{"post_id":"a"}')}`,
  );
  await Promise.race([sender.closed, sleep(10_000)]);
  sender.socket.destroy();
  return sender.status;
}

const chunked = (body) => `transfer-encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;

describe("a sender that goes away", () => {
  /** @type {Service} */
  let service;
  before(async () => {
    service = await Service.start();
  });
  after(() => service.dispose());

  test("leaves nothing of its upload behind", { timeout: 60_000 }, async () => {
    assert.equal(await play(service, "127.0.0.10"), 202);
    const before = await allocated(service);
    for (let upload = 0; upload < 40; upload++) {
      const sender = new Sender(service, "127.0.0.10", inPieces(700_000));
      await sleep(30);
      sender.socket.resetAndDestroy();
    }
    await eventually(async () => {
      const grown = (await allocated(service)) - before;
      assert.ok(grown < MIB, `${grown} bytes of 28 MB are still held`);
    });
    assert.equal(await play(service, "127.0.0.11", chunked), 202);
  });

  test("leaves nothing behind at any moment of any route", { timeout: 120_000 }, async () => {
    const random = randomNumbers(20);
    const tokens = { ingest: INGEST_TOKEN, admin: ADMIN_TOKEN };
    // What is known of the charts and posts that are asked for stays, as it should.
    await resetMany(service.url, { resets: 400, random, tokens });
    const before = await eventually(() => settled(service));
    await resetMany(service.url, { resets: 600, random, tokens });
    await eventually(async () => {
      const grown = (await settled(service)) - before;
      assert.ok(grown < 600 * 500, `${grown} bytes are held after 600 resets`);
    });
    assert.equal(await play(service, "127.0.0.12"), 202);
    assert.equal((await service.fetch("/healthz")).status, 200);
  });
});

/** Once nothing is under way any more. */
async function settled(service) {
  const first = await allocated(service);
  await sleep(500);
  const second = await allocated(service);
  assert.ok(Math.abs(first - second) < 20_000, "it still changes");
  return second;
}

describe("bodies that come slowly", () => {
  /** @type {Service} */
  let service;
  /** @type {Sender[]} */
  let slow = [];
  before(async () => {
    service = await Service.start();
  });
  after(() => service.dispose());

  const statuses = () => slow.reduce((counts, { status }) => counts.set(status, (counts.get(status) ?? 0) + 1), new Map());
  const send = (count, address, bytes) => {
    slow = Array.from({ length: count }, (_, index) => new Sender(service, typeof address === "string" ? address : address(index), bytes));
  };
  const endAll = async () => {
    for (const { socket } of slow) socket.destroy();
    await Promise.all(slow.map(({ closed }) => closed));
  };

  for (const [what, bytes] of [
    ["of an announced length", announced(MIB - 10, MIB - 20)],
    ["of no announced length", inPieces(MIB - 20)],
  ]) {
    test(`${what}, of one address, are refused beyond what there is room for, and others go on`, { timeout: 60_000 }, async () => {
      send(100, "127.0.0.20", bytes);
      const neighbours = await Promise.all(
        Array.from({ length: 30 }, (_, index) => play(service, "127.0.0.21", index % 2 ? chunked : undefined)),
      );
      assert.deepEqual(new Set(neighbours), new Set([202]));
      await eventually(() => {
        const waiting = statuses().get(0) ?? 0;
        assert.ok(waiting * MIB <= ROOM_BYTES, `${waiting} bodies of a MiB are held`);
        assert.equal(statuses().get(429), 100 - waiting, JSON.stringify([...statuses()]));
      });
      const [refused] = slow.filter(({ status }) => status === 429);
      assert.match(refused.answer, /"code":"too_many_bodies"/);
      assert.match(refused.answer, /^retry-after: 1\r$/im);
      assert.ok((await allocated(service)) < 8 * MIB, "Wasm has none of them");
      // The sender's own next one finds room too, once these have had their time.
      await sleep(SLOW_MS);
      assert.equal(await play(service, "127.0.0.20"), 202);
      await endAll();
    });
  }

  test("of many addresses, make way for who sends at once", { timeout: 60_000 }, async () => {
    // Each holds what one holds that has just begun: no one holds more than another.
    send(1_000, (index) => `127.0.2.${1 + (index % 250)}`, announced(1_000, 1));
    await sleep(SLOW_MS);
    const neighbours = await Promise.all(
      Array.from({ length: 30 }, (_, index) => play(service, `127.0.3.${1 + index}`, index % 2 ? chunked : undefined)),
    );
    assert.deepEqual(new Set(neighbours), new Set([202]));
    assert.ok((statuses().get(0) ?? 0) > 500, "they are under way");
    await endAll();
  });

  test("with a token have room of their own, which nobody else can fill", { timeout: 60_000 }, async () => {
    send(100, (index) => `127.0.2.${1 + index}`, announced(MIB - 10, MIB - 20));
    const plays = Array.from({ length: 8_000 }, (_, index) => ({ post_id: `post ${index % 100}`, region_id: "EU", pad: "x".repeat(400) }));
    const { accepted } = await service.send(plays, "large");
    assert.equal(accepted, 8_000);
    await endAll();
  });

  test("make no way for an address that holds more", { timeout: 60_000 }, async () => {
    const text = JSON.stringify({ post_id: "a", pad: "x".repeat(16_000) });
    const honest = new Sender(
      service,
      "127.0.0.30",
      `POST /plays HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: ${text.length}\r\n\r\n${text.slice(0, -10)}`,
    );
    await sleep(SLOW_MS);
    send(20, "127.0.0.31", announced(MIB - 10, MIB - 20));
    await eventually(() => assert.ok((statuses().get(429) ?? 0) >= 14, "the room is full"));
    // Nor for somebody else's, as long as that one holds most.
    assert.equal(await play(service, "127.0.0.32"), 202);
    honest.socket.write(text.slice(-10));
    await honest.closed;
    assert.equal(honest.status, 202, honest.answer);
    await endAll();
  });
});

describe("bodies of senders with a token", () => {
  /** @type {Service} */
  let service;
  before(async () => {
    service = await Service.start();
  });
  after(() => service.dispose());

  const plays = Array.from({ length: 7_000 }, (_, index) => ({ post_id: `post ${index % 100}`, region_id: "EU", pad: "x".repeat(500) }));
  const batch = JSON.stringify(plays);
  const begin = (token, path, length) =>
    new Sender(
      service,
      "127.0.0.40",
      `POST ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n `,
    );
  const sendBatch = async (name) => {
    const headers = { authorization: `Bearer ${INGEST_TOKEN}`, "content-type": "application/json", "idempotency-key": name };
    const answer = await service.fetch("/plays", { method: "POST", headers, body: batch });
    return [answer.status, await answer.text()];
  };

  test("wait for each other", { timeout: 60_000 }, async () => {
    assert.ok(batch.length > 3.6 * MIB);
    const answers = await Promise.all(Array.from({ length: 6 }, (_, index) => sendBatch(`at once ${index}`)));
    for (const [status, text] of answers) assert.equal(status, 202, text);
  });

  test("wait for an import, which they do not break off, and are told to come back where too many wait", { timeout: 60_000 }, async () => {
    const importing = begin(ADMIN_TOKEN, "/import", 8 * MIB - 10);
    await sleep(500);
    const waiting = Array.from({ length: 32 }, () => begin(INGEST_TOKEN, "/plays", 4 * MIB - 10));
    await sleep(500);
    assert.ok(
      [importing, ...waiting].every(({ status }) => status === 0),
      "they wait",
    );
    const one_more = begin(INGEST_TOKEN, "/plays", 4 * MIB - 10);
    await eventually(() => assert.equal(one_more.status, 503));
    assert.match(one_more.answer, /^retry-after: 1\r$/im);
    assert.match(one_more.answer, /"code":"overloaded"/);
    // The other token's own turn is kept for it.
    const admin = begin(ADMIN_TOKEN, "/import", 8 * MIB - 10);
    await sleep(200);
    assert.equal(admin.status, 0);
    for (const { socket } of [admin, importing, one_more, ...waiting]) socket.destroy();
    await eventually(async () => {
      const [status, text] = await sendBatch("after the import");
      assert.equal(status, 202, text);
    });
  });

  test("are told to come back before their time is over", { timeout: 60_000 }, async () => {
    const importing = begin(ADMIN_TOKEN, "/import", 8 * MIB - 10);
    await sleep(500);
    const batch = begin(INGEST_TOKEN, "/plays", 4 * MIB - 10);
    await eventually(() => assert.equal(batch.status, 503, batch.answer), 14_000);
    for (const { socket } of [importing, batch]) socket.destroy();
  });
});

describe("answers of the largest kind", () => {
  /** @type {Service} */
  let service;
  before(async () => {
    service = await Service.start();
    // As the catalog's limits allow, of characters that JSON writes as two.
    const posts = Array.from({ length: 1_000 }, (_, index) => ({
      post_id: String(index).padStart(256, '"'),
      author: "a".repeat(256),
      content: "c".repeat(1_024),
      url: `https://e.com/${"u".repeat(1_000)}`,
      image: `https://e.com/${"i".repeat(1_000)}`,
    }));
    for (const part of [posts.slice(0, 500), posts.slice(500)]) assert.equal((await service.put("/posts", part)).status, 200);
    await service.send(posts.map(({ post_id }) => ({ post_id, region_id: "NA" })));
    await eventually(async () => {
      const answer = await (await service.fetch("/top-posts?k=1000")).text();
      assert.ok(answer.length > 3_700_000, `${answer.length} bytes`);
    });
  });
  after(() => service.dispose());

  const get = (address, path) => new Sender(service, address, `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
  /** Of one address, which takes nothing of them: behind each other, as the first ones fit into what the system keeps for a socket. */
  const fill = async () => {
    const asked = (k) => `GET /top-posts?k=${k} HTTP/1.1\r\nhost: x\r\n\r\n`;
    const readers = [900, 850, 600, 300].map(
      (k) => new Sender(service, "127.0.8.1", Array.from({ length: 12 }, (_, more) => asked(k + more)).join("")),
    );
    for (const { socket } of readers) socket.pause();
    await sleep(500);
    return () => readers.forEach(({ socket }) => socket.destroy());
  };

  test("find room for two readers at once", { timeout: 60_000 }, async () => {
    for (let round = 0; round < 3; round++) {
      const readers = [get("127.0.9.1", "/top-posts?k=1000"), get("127.0.9.2", "/top-posts?k=999")];
      await Promise.all(readers.map(({ closed }) => closed));
      assert.deepEqual(
        readers.map(({ status }) => status),
        [200, 200],
      );
      for (const { answer } of readers) assert.ok(JSON.parse(answer.split("\r\n\r\n")[1]).top_posts.length >= 999);
    }
  });

  test("make way where one address holds most of them", { timeout: 60_000 }, async () => {
    const end = await fill();
    const reader = get("127.0.9.3", "/top-posts?k=995");
    await reader.closed;
    assert.equal(reader.status, 200, reader.answer.slice(0, 500));
    assert.equal(JSON.parse(reader.answer.split("\r\n\r\n")[1]).top_posts.length, 995);
    end();
  });

  test("do not keep a sender from the answer that its plays were counted", { timeout: 60_000 }, async () => {
    const plays = [
      { post_id: "counted once", region_id: "NA" },
      ...Array.from({ length: 9_990 }, () => ({ post_id: "x", region_id: "NA", count: 0 })),
    ];
    const headers = { authorization: `Bearer ${INGEST_TOKEN}`, "content-type": "application/json" };
    const end = await fill();
    const answer = await service.fetch("/plays", { method: "POST", headers, body: JSON.stringify(plays) });
    const text = await answer.text();
    assert.equal(answer.status, 202, text.slice(0, 500));
    assert.equal(JSON.parse(text).rejected.length, 9_990);
    end();
  });

  test("come page by page in an export", { timeout: 60_000 }, async () => {
    // Of several spans each, in a region and worldwide.
    let [next, pages, largest] = ["/export", 0, 0];
    for (; next; pages++) {
      const answer = await service.fetch(next, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
      const text = await answer.text();
      assert.equal(answer.status, 200, text.slice(0, 500));
      const lines = text.split("\n");
      const longest = Math.max(...lines.map((line) => line.length));
      assert.ok(text.length < 2 * MIB + longest + 1, `page ${pages} has ${text.length} bytes, its longest line ${longest}`);
      largest = Math.max(largest, text.length);
      next = /<([^>]+)>/.exec(answer.headers.get("link") ?? "")?.[1];
    }
    assert.ok(largest > MIB, `${largest} bytes`);
  });
});

describe("answers that are read slowly", () => {
  const QUESTION = "/top-posts?k=1000";
  const READERS = 400;
  /** @type {Service} */
  let service;
  let answer;
  before(async () => {
    service = await Service.start();
    const ids = Array.from({ length: 1_000 }, (_, index) => `post ${index}`);
    const stored = await service.put(
      "/posts",
      ids.map((post_id) => ({ post_id, content: "x".repeat(1_000) })),
    );
    assert.equal(stored.status, 200);
    await service.send(ids.map((post_id) => ({ post_id, region_id: "NA" })));
    await eventually(async () => {
      answer = await (await service.fetch(QUESTION)).text();
      assert.equal(JSON.parse(answer).top_posts.length, ids.length);
    });
    assert.ok(answer.length > MIB, `${answer.length} bytes`);
  });
  after(() => service.dispose());

  const get = (address) => {
    const reader = new Sender(service, address, `GET ${QUESTION} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
    return reader;
  };
  const whole = async (address) => {
    const reader = get(address);
    await reader.closed;
    return [reader.status, JSON.parse(reader.answer.split("\r\n\r\n")[1]).top_posts?.length];
  };

  test("hold a piece each, and make way for who reads", { timeout: 60_000 }, async () => {
    const before = residentBytes(service);
    const slow = Array.from({ length: READERS }, (_, index) => get(`127.0.4.${1 + (index % 250)}`));
    for (const { socket } of slow) socket.pause();
    await sleep(SLOW_MS);
    const grown = residentBytes(service) - before;
    assert.ok(grown < READERS * (MIB / 2), `${grown} bytes for ${READERS} answers of ${answer.length}`);
    for (let reader = 1; reader <= 10; reader++) assert.deepEqual(await whole(`127.0.5.${reader}`), [200, 1_000]);
    for (const { socket } of slow) socket.resume();
    await Promise.all(slow.map(({ closed }) => closed));
    const complete = slow.filter((reader) => reader.answer.endsWith(answer.slice(-100))).length;
    const refused = slow.filter(({ status }) => status === 503).length;
    // Those that were not read for long may have had to make way.
    assert.ok(complete > 150 && refused < 250, `${complete} complete, ${refused} refused`);
  });

  test("whose readers go away in the middle leave nothing behind", { timeout: 60_000 }, async () => {
    for (let round = 0; round < 3; round++) {
      const gone = Array.from({ length: 250 }, (_, index) => get(`127.0.6.${1 + index}`));
      for (const { socket } of gone) socket.once("data", () => socket.resetAndDestroy());
      await Promise.all(gone.map(({ closed }) => closed));
    }
    // Nobody makes way so soon: there is room for as many as ever.
    const readers = await Promise.all(Array.from({ length: 100 }, (_, index) => whole(`127.0.7.${1 + index}`)));
    assert.ok(readers.every(([status, posts]) => status === 200 && posts === 1_000));
  });
});

/** Of workerd. @param {Service} service */
function residentBytes({ state }) {
  const { stdout } = spawnSync("pgrep", ["-f", `serve ${state}`], { encoding: "utf8" });
  const sizes = stdout
    .split("\n")
    .filter(Boolean)
    .map((pid) => Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0));
  return Math.max(...sizes) * 1024;
}
