/** `/live` on the real runtime: the chart now, at each change, after restarts, through an outage. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, readdirSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { Readers } from "../../scripts/lib/readers.mjs";
import { accept, asksOf, closeUnheard, endPeriod } from "../../src/js/sockets.js";
import { retryInMs } from "../../www/page/backoff.js";
import { ADMIN_TOKEN, CHART_TIMEOUT_MS, Service, eventually } from "./harness.mjs";
import { CuttableService } from "./outage/service.mjs";

/** A socket whose messages can be waited for. */
class Listener {
  messages = [];
  pongs = 0;
  #waiting = [];

  constructor(service, query) {
    const url = new URL(`/live?${new URLSearchParams(query)}`, service.url);
    url.protocol = "ws:";
    this.opened = Date.now();
    this.socket = new WebSocket(url);
    this.closed = new Promise((done) => this.socket.addEventListener("close", done));
    this.socket.addEventListener("message", ({ data }) => {
      if (data === "pong") return void this.pongs++;
      this.messages.push({ chart: JSON.parse(data), at: Date.now() });
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  /** @param {(chart: any) => boolean} wanted */
  async until(wanted, timeoutMs = CHART_TIMEOUT_MS) {
    const late = Date.now() + timeoutMs;
    for (;;) {
      const found = this.messages.find(({ chart }) => wanted(chart));
      if (found) return found.chart;
      const left = late - Date.now();
      assert.ok(left > 0, `not seen in time; last: ${JSON.stringify(this.messages.at(-1)?.chart)}`);
      await new Promise((wake) => {
        this.#waiting.push(wake);
        setTimeout(wake, left);
      });
    }
  }

  close() {
    this.socket.close();
    return this.closed;
  }
}

/** Asks for a socket from an address of this machine. @param {Service} service @param {string} address */
async function open(service, address, query = "timeframe=1h") {
  const asking = ask(service, address, query);
  return new Promise((done, fail) => {
    asking.on("error", fail);
    asking.on("upgrade", (_, socket) => done({ socket: socket.on("error", () => {}) }));
    asking.on("response", async (answer) => done({ status: answer.statusCode, headers: answer.headers, problem: await json(answer) }));
  });
}

function ask(service, address, query) {
  const headers = {
    upgrade: "websocket",
    connection: "upgrade",
    "sec-websocket-key": randomBytes(16).toString("base64"),
    "sec-websocket-version": "13",
  };
  return request(`${service.url}/live?${query}`, { localAddress: address, headers, agent: false }).end();
}

/** Queries of different charts, of which only 84 are different questions. */
const CHARTS = ["global", "NA", "SA", "EU", "AF", "AS", "OC"].flatMap((region) =>
  ["views", "rising"].flatMap((sort) =>
    [10, 100, 1000].flatMap((k) =>
      ["60m", "1h", "120m", "2h", "1440m", "24h", "1d"].map((timeframe) => `region=${region}&sort=${sort}&k=${k}&timeframe=${timeframe}`),
    ),
  ),
);
const MAX_CHARTS = 256;
const MAX_RENDERINGS_OF_ADDRESS = 16;

/** A socket is closed of which nobody has heard for so long. */
const UNHEARD_MS = 15 * 60_000;
/** Not more often than once a second. */
const MESSAGE_INTERVAL_MS = 1_000;

const QUERY = { region: "global", timeframe: "1h", k: "3" };
const listed = (post, views) => (chart) => chart.top_posts.some((row) => row.post_id === post && row.view_count === views);

describe("/live", () => {
  /** @type {Service} */
  let service;
  before(async () => {
    service = await Service.start();
    await service.send([{ post_id: "a", count: 5 }]);
  });
  after(() => service.dispose());

  it("sends what /top-posts answers, now and when it changes, and not more often than once a second", async () => {
    const listener = new Listener(service, QUERY);
    const first = await listener.until(() => true);
    assert.deepEqual(Object.keys(first), Object.keys(await service.topPosts(QUERY)));
    await listener.until(listed("a", 5));
    for (let turn = 1; turn <= 3; turn++) {
      await service.send([{ post_id: "b", count: 10 }]);
      await listener.until(listed("b", 10 * turn));
    }
    // The first one comes at once. How far apart two of them arrive is up to the way they took, but
    // none arrives before it was sent.
    for (const [index, { at }] of listener.messages.slice(1).entries()) {
      assert.ok(at - listener.opened >= index * MESSAGE_INTERVAL_MS, `${index + 2} messages in ${at - listener.opened} ms`);
    }
    await listener.close();
  });

  it("serves many readers of several charts with one look", async () => {
    const queries = [QUERY, { ...QUERY, k: "1" }, { ...QUERY, timeframe: "24h" }];
    const listeners = Array.from({ length: 60 }, (_, index) => new Listener(service, queries[index % 3]));
    await Promise.all(listeners.map((listener) => listener.until(() => true)));
    await service.send([{ post_id: "c", count: 1000 }]);
    await Promise.all(listeners.map((listener) => listener.until(listed("c", 1000))));
    for (const [index, listener] of listeners.entries()) {
      assert.equal(listener.messages.at(-1).chart.top_posts.length, index % 3 === 1 ? 1 : 3);
    }
    await Promise.all(listeners.map((listener) => listener.close()));
  });

  it("goes on after a restart, for whoever connects again", async () => {
    const listener = new Listener(service, QUERY);
    await listener.until(() => true);
    await service.kill();
    await listener.closed;
    await service.launch();
    const again = new Listener(service, QUERY);
    await again.until(listed("c", 1000));
    await service.send([{ post_id: "c", count: 1 }]);
    await again.until(listed("c", 1001));
    await again.close();
  });

  it("lets one address have so many sockets at once, and others theirs", async () => {
    // A sixth of the requests of a minute.
    const limited = await Service.start({ LIMIT_PER_MINUTE: "60" });
    try {
      const [one, other] = ["127.0.0.1", "127.0.0.2"];
      // A chart that somebody has looked at: for others an address has a limit of its own.
      await limited.topPosts({ timeframe: "1h" });
      const asked = await Promise.all(Array.from({ length: 16 }, () => open(limited, one)));
      const sockets = asked.filter(({ socket }) => socket);
      assert.equal(sockets.length, 10);
      for (const { status, headers, problem } of asked.filter(({ socket }) => !socket)) {
        assert.deepEqual([status, problem.code], [429, "too_many_sockets"]);
        assert.match(problem.detail, /at most 10 sockets/);
        assert.ok(headers["retry-after"] >= 10 && headers["retry-after"] <= 30, headers["retry-after"]);
      }
      const others = await open(limited, other);
      assert.ok(others.socket, "another address");
      assert.ok(!(await open(limited, one)).socket, "it stays a limit");
      sockets[0].socket.destroy();
      await eventually(async () => {
        const again = await open(limited, one);
        assert.ok(again.socket);
        sockets.push(again);
      });
      for (const { socket } of [...sockets, others]) socket.destroy();
    } finally {
      await limited.dispose();
    }
  });

  it("lets one address read so many different charts, whatever their k, and others theirs", async () => {
    const limited = await Service.start({ LIMIT_PER_MINUTE: "600" });
    const sockets = [];
    try {
      await eventually(async () => assert.equal((await limited.fetch("/top-posts?timeframe=1h")).status, 200));
      const statuses = new Map();
      for (let k = 1; k <= 300; k++) {
        const { socket, status = 101 } = await open(limited, "127.0.0.16", `timeframe=1h&k=${k}`);
        if (socket) sockets.push(socket);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
      assert.deepEqual(
        [...statuses],
        [
          [101, MAX_RENDERINGS_OF_ADDRESS],
          [429, 300 - MAX_RENDERINGS_OF_ADDRESS],
        ],
      );
      for (const query of ["timeframe=24h&k=10", "timeframe=1h&k=123"]) {
        const other = await open(limited, "127.0.0.17", query);
        assert.ok(other.socket, `another reader: ${JSON.stringify(other)}`);
        sockets.push(other.socket);
      }
      const known = await open(limited, "127.0.0.16", "timeframe=1h&k=1");
      assert.ok(known.socket, "one that it reads already");
      sockets.push(known.socket);
    } finally {
      for (const socket of sockets) socket.destroy();
      await limited.dispose();
    }
  });

  it("takes a chart from whoever has most where there is no room for somebody's first", async () => {
    const limited = await Service.start({ LIMIT_PER_MINUTE: "600" });
    const sockets = [];
    try {
      // Looked at before, by an address of its own each: for others there is a limit of its own.
      for (const query of new Set(CHARTS.slice(0, MAX_CHARTS))) {
        const number = sockets.length;
        const address = `127.0.1.${1 + Math.floor(number / MAX_RENDERINGS_OF_ADDRESS)}`;
        const { socket } = await eventually(async () => {
          const opened = await open(limited, address, query);
          assert.ok(opened.socket, JSON.stringify(opened));
          return opened;
        });
        sockets.push(socket);
      }
      assert.equal(sockets.length, MAX_CHARTS);
      const closed = sockets.map(closeOf);
      for (const [number, query] of ["timeframe=3h", "timeframe=5h"].entries()) {
        const reader = await eventually(async () => {
          const opened = await open(limited, `127.0.2.${1 + number}`, query);
          assert.ok(opened.socket, JSON.stringify(opened));
          return opened;
        });
        sockets.push(reader.socket);
      }
      assert.equal(await Promise.race(closed), "1013 others need the place");
      // Two of them have given one up, and get none for it.
      const greedy = await Promise.all([1, 2, 3].map((number) => open(limited, `127.0.1.${number}`, "timeframe=7h")));
      const codes = greedy.map(({ problem }) => problem?.code);
      assert.ok(
        codes.includes("too_many_sockets") && codes.every((code) => ["too_many_sockets", "overloaded"].includes(code)),
        codes.join(),
      );
    } finally {
      for (const socket of sockets) socket.destroy();
      await limited.dispose();
    }
  });

  it("refuses with a reason what is no socket and what cannot be answered", async () => {
    const plain = await service.fetch("/live?region=global");
    assert.equal(plain.status, 426);
    assert.equal((await plain.json()).code, "upgrade_required");
    const bad = await service.fetch("/live?k=0");
    assert.equal(bad.status, 400);
    const unknown = new Listener(service, { region: "nowhere" });
    assert.notEqual((await unknown.closed).code, 1000);
    assert.equal(unknown.messages.length, 0);
  });
});

// They wait, each for a service of its own.
describe("/live, when things go wrong", { concurrency: 4 }, () => {
  it("readers who keep coming do not hold up the plays", async () => {
    const service = await Service.start();
    try {
      await service.send([{ post_id: "a", count: 5 }]);
      const listeners = [];
      const seen = eventually(() => service.topPosts(QUERY).then((chart) => assert.ok(listed("a", 5)(chart))));
      let done = false;
      const coming = (async () => {
        for (; !done; await sleep(200)) listeners.push(new Listener(service, QUERY));
      })();
      await seen.finally(() => (done = true));
      await coming;
      await Promise.all(listeners.map((listener) => listener.until(listed("a", 5))));
      await Promise.all(listeners.map((listener) => listener.close()));
    } finally {
      await service.dispose();
    }
  });

  it("readers of more different charts than one object shows are told when to come back", async () => {
    const service = await Service.start();
    const open = [];
    try {
      const readers = (query) => {
        const more = new Readers(`${service.url}/live?${query}`);
        open.push(more);
        return more;
      };
      for (const query of CHARTS.slice(0, MAX_CHARTS)) await readers(query).open(1);
      const waits = new Set();
      for (const query of CHARTS.slice(MAX_CHARTS, MAX_CHARTS + 20)) {
        const head = await readers(query).refused();
        assert.match(head, /^HTTP\/1\.1 503 /);
        waits.add(Number(/^retry-after: (\d+)$/im.exec(head)[1]));
      }
      assert.ok(
        [...waits].every((seconds) => seconds >= 10 && seconds < 30),
        [...waits].join(),
      );
      assert.ok(waits.size > 3, "not all at once");
      await readers(CHARTS[0]).open(1);
      await readers(CHARTS[0].replace("k=10", "k=7")).open(1);
    } finally {
      for (const readers of open) readers.close();
      await service.dispose();
    }
  });

  it("a reader who does not read is dropped, and one who reads and pings is not", async () => {
    const service = await Service.start();
    try {
      const query = { region: "global", timeframe: "1h", k: "1000" };
      // A chart of half a megabyte that changes with every look.
      const posts = Array.from({ length: 1_000 }, (_, index) => `${index}-`.padEnd(250, "x"));
      const send = () => service.send(posts.map((post_id) => ({ post_id })));
      await send();
      await eventually(async () => assert.equal((await service.topPosts(query)).top_posts.length, posts.length));
      const reader = new Listener(service, query);
      const stuck = await openAndStopReading(service, query);
      let changes = 0;
      for (const end = Date.now() + 50_000; Date.now() < end; changes++) {
        await send();
        if (changes % 5 === 0) reader.socket.send("ping");
        await sleep(1_000);
      }
      assert.equal(reader.socket.readyState, WebSocket.OPEN, "whoever reads stays");
      assert.ok(reader.pongs > 0);
      assert.ok(reader.messages.length > 8);
      const received = await stuck.readAll();
      assert.equal(received.close, "1013 too slow");
      assert.ok(received.messages < reader.messages.length, `${received.messages} of ${reader.messages.length} messages`);
      await reader.close();
    } finally {
      await service.dispose();
    }
  });

  it("a reader who resets the connection before its socket is there leaves none, and one who says ping stays", async () => {
    const service = await CuttableService.start();
    try {
      await service.send([{ post_id: "a" }]);
      await eventually(() => service.topPosts(QUERY));
      const reader = await open(service, "127.0.0.1", new URLSearchParams(QUERY));
      assert.ok(reader.socket, JSON.stringify(reader));
      assert.equal(await service.sockets(), 1);
      // Some come too early, and some are told of; those between are left in the shard.
      for (let attempt = 0; (await service.sockets()) < 3; attempt++) {
        assert.ok(attempt < 400, "no moment was one at which a socket is left");
        const gone = ask(service, "127.0.0.1", new URLSearchParams(QUERY));
        gone.on("error", () => {});
        gone.on("upgrade", (_, socket) => socket.on("error", () => {}));
        gone.on("socket", (socket) => socket.once("connect", () => setTimeout(() => socket.resetAndDestroy(), attempt % 20)));
        await new Promise((done) => gone.on("close", done));
        await sleep(100);
      }
      await sleep(20_000);
      const pong = once(reader.socket, "data");
      reader.socket.write(Buffer.from([0x81, 0x84, 0, 0, 0, 0, ...Buffer.from("ping")]));
      await pong;
      const closed = closeOf(reader.socket);
      // All but the one that has just said something were heard from a quarter of an hour ago then. A play wakes the
      // object, which else sleeps for up to half an hour.
      await service.later(UNHEARD_MS - 15_000);
      await service.send([{ post_id: "a" }]);
      await eventually(async () => assert.equal(await service.sockets(), 1));
      assert.equal(await Promise.race([closed, "open"]), "open");
      await service.later(2 * UNHEARD_MS);
      await service.send([{ post_id: "a" }]);
      assert.equal(await closed, "1013 not heard of");
    } finally {
      await service.dispose();
    }
  });

  it("a region that is deleted closes the sockets of its charts, and no others, and says why", async () => {
    const service = await Service.start();
    try {
      await service.addRegions("Doomed");
      const reader = await open(service, "127.0.0.1", new URLSearchParams({ ...QUERY, region: "Doomed" }));
      assert.ok(reader.socket, JSON.stringify(reader));
      const closed = closeOf(reader.socket);
      const other = new Listener(service, QUERY);
      await other.until(() => true);
      const deleted = await service.fetch("/regions/Doomed", { method: "DELETE", headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
      assert.equal(deleted.status, 200);
      assert.equal(await Promise.race([closed, sleep(CHART_TIMEOUT_MS, "still open", { ref: false })]), "4410 region_deleted");
      reader.socket.destroy();
      await service.send([{ post_id: "z", count: 3 }]);
      await other.until(listed("z", 3));
      await other.close();
    } finally {
      await service.dispose();
    }
  });

  it("sockets outlive an outage of the global object and its restart", async () => {
    const service = await CuttableService.start();
    try {
      await service.send([{ post_id: "before", count: 5 }]);
      await eventually(() => service.topPosts(QUERY).then((chart) => assert.ok(listed("before", 5)(chart))));
      const listener = new Listener(service, QUERY);
      await listener.until(listed("before", 5));

      await service.connection.cut();
      await service.send([{ post_id: "meanwhile", count: 7 }]);
      const aged = await listener.until((chart) => chart.stale);
      assert.deepEqual(
        aged.top_posts.map(({ post_id }) => post_id),
        ["before"],
      );
      const newcomer = new Listener(service, QUERY);
      assert.deepEqual(
        (await newcomer.until(() => true)).top_posts.map(({ post_id }) => post_id),
        ["before"],
      );

      await service.restartGlobal();
      await service.connection.mend();
      for (const socket of [listener, newcomer]) {
        const healed = await socket.until(listed("meanwhile", 7), 2 * CHART_TIMEOUT_MS);
        assert.equal(healed.stale, undefined);
        assert.ok(listed("before", 5)(healed));
        assert.equal(socket.socket.readyState, WebSocket.OPEN, "the same socket");
        await socket.close();
      }
    } finally {
      await service.dispose();
    }
  });

  it("a chart that stays as it is costs next to nothing, and what changes it without a play is seen all the same", async () => {
    const service = await CuttableService.start();
    try {
      await service.send([
        { post_id: "a", count: 5 },
        { post_id: "b", count: 3 },
      ]);
      await eventually(() => service.topPosts(QUERY).then((chart) => assert.ok(listed("a", 5)(chart))));
      const listener = new Listener(service, { ...QUERY, timeframe: "24h" });
      await listener.until(listed("a", 5));
      // The minute of these plays is sealed, and told of, 30 s after its end.
      const quiet = async () => {
        const before = service.connection.passed;
        await sleep(10_000);
        assert.ok(service.connection.passed - before <= 1, `${service.connection.passed - before} messages in 10 s`);
      };
      await eventually(quiet, 120_000);
      await service.send([{ post_id: "a", count: 2 }]);
      await listener.until(listed("a", 7));
      await service.request("DELETE", "/posts/a", undefined, { authorization: `Bearer ${ADMIN_TOKEN}` });
      await listener.until((chart) => chart.top_posts[0]?.post_id === "b");
      await listener.close();
    } finally {
      await service.dispose();
    }
  });

  it("a board that is closed to the public closes the sockets of those who showed no token", async () => {
    const service = await Service.start({ READ_TOKEN: "" });
    try {
      await service.addBoards("jazz");
      const reader = await open(service, "127.0.0.1", "board=jazz&timeframe=24h");
      assert.ok(reader.socket, JSON.stringify(reader));
      const closed = closeOf(reader.socket);
      const other = new Listener(service, QUERY);
      await other.until(() => true);
      const put = await service.request("PUT", "/boards/jazz", { public: false }, { authorization: `Bearer ${ADMIN_TOKEN}` });
      assert.equal(put.status, 200, JSON.stringify(put));
      assert.equal(await Promise.race([closed, sleep(CHART_TIMEOUT_MS, "still open", { ref: false })]), "4404 unknown_board");
      reader.socket.destroy();
      assert.equal(other.socket.readyState, WebSocket.OPEN);
      await other.close();
    } finally {
      await service.dispose();
    }
  });

  it("what is kept of a socket while its shard sleeps is read, of every version", () => {
    // CONTRIBUTING.md, "A stored or sent form".
    const folder = join(ROOT, "tests", "golden", "attachment");
    const attachments = readdirSync(folder)
      .sort()
      .map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")));
    for (const { opened_ms, asks } of attachments) {
      const closed = [];
      const socket = {
        readyState: WebSocket.OPEN,
        deserializeAttachment: () => ({ opened_ms, asks: Buffer.from(asks, "hex") }),
        close: (code) => closed.push(code),
      };
      const context = { getWebSockets: () => [socket], getWebSocketAutoResponseTimestamp: () => null };
      assert.equal(Buffer.from(asksOf(context, "tag")).toString("hex"), asks);
      closeUnheard(context, opened_ms);
      assert.deepEqual(closed, []);
      closeUnheard(context, opened_ms + 1);
      assert.deepEqual(closed, [1013]);
    }
    let kept;
    globalThis.WebSocketPair = class {
      0 = {};
      1 = { serializeAttachment: (attachment) => (kept = attachment), send: () => {} };
    };
    accept({ acceptWebSocket: () => {} }, "tag", undefined, new Uint8Array([1]), "chart");
    assert.deepEqual(Object.keys(kept), Object.keys(attachments.at(-1)));
    assert.ok(Number.isInteger(kept.opened_ms) && kept.asks instanceof Uint8Array);
  });

  it("sockets whose period is over end a quarter at a time", () => {
    for (const [readers, mostSteps] of [
      [10, 1],
      [1_000, 12],
      [10_000, 20],
    ]) {
      const open = Array.from({ length: readers }, () => ({ readyState: WebSocket.OPEN, close: () => ended.push(open.splice(0, 1)) }));
      const ended = [];
      const context = { getWebSockets: () => [...open] };
      for (let steps = 1, left = true; left; steps++) {
        const before = open.length;
        left = endPeriod(context, "tag");
        assert.equal(left, open.length > 0);
        assert.ok(before - open.length <= Math.max(50, Math.ceil(before / 4)));
        assert.ok(steps <= mostSteps, `${readers}: ${steps}`);
      }
      assert.equal(ended.length, readers);
    }
  });

  it("our own readers come back spread over the whole wait, and ever later", () => {
    const limits = { baseMs: 15_000, mostMs: 600_000 };
    for (const [failures, mostMs] of [
      [0, 15_000],
      [1, 30_000],
      [3, 120_000],
      [40, 600_000],
      [5_000, 600_000],
    ]) {
      const tenths = new Array(10).fill(0);
      // 10,000 readers, drawn evenly: a tenth of them in each tenth of the time.
      for (let reader = 0; reader < 10_000; reader++) {
        const waitMs = retryInMs(failures, limits, () => (reader + 0.5) / 10_000);
        tenths[Math.floor((waitMs / mostMs) * 10)]++;
      }
      assert.deepEqual(tenths, new Array(10).fill(1_000));
    }
    const waits = Array.from({ length: 100 }, () => retryInMs(0, limits));
    assert.equal(new Set(waits).size, 100, "each reader draws for itself");
  });
});

/** A socket of which nothing is read until `readAll`. */
async function openAndStopReading(service, query) {
  const { hostname, port } = new URL(service.url);
  const socket = connect(Number(port), hostname);
  socket.write(
    `GET /live?${new URLSearchParams(query)} HTTP/1.1\r\nHost: ${hostname}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  const [first] = await once(socket, "data");
  socket.pause();
  assert.match(first.toString("latin1"), /^HTTP\/1\.1 101 /);
  const head = first.indexOf("\r\n\r\n") + 4;
  return {
    /** @returns {Promise<{messages: number, close: string}>} what was sent, up to the end */
    readAll: async () => {
      const parts = [first.subarray(head)];
      socket.on("data", (data) => parts.push(data));
      socket.resume();
      return eventually(async () => {
        const frames = [...framesOf(Buffer.concat(parts))];
        const close = frames.find(({ opcode }) => opcode === 8);
        assert.ok(close, `${frames.length} messages, and not closed`);
        socket.destroy();
        return { messages: frames.length - 1, close: `${close.payload.readUInt16BE(0)} ${close.payload.subarray(2)}` };
      });
    },
  };
}

/** What a socket is closed with. @param {import("node:net").Socket} socket @returns {Promise<string>} */
function closeOf(socket) {
  const parts = [];
  return new Promise((done) => {
    socket.on("data", (data) => {
      parts.push(data);
      const close = [...framesOf(Buffer.concat(parts))].find(({ opcode }) => opcode === 8);
      if (close) done(`${close.payload.readUInt16BE(0)} ${close.payload.subarray(2)}`);
    });
  });
}

/** RFC 6455, as servers send it: without a mask. */
function* framesOf(bytes) {
  for (let at = 0; at + 2 <= bytes.length;) {
    const opcode = bytes[at] & 15;
    let length = bytes[at + 1] & 127;
    let header = 2;
    if (length === 126) [length, header] = [bytes.readUInt16BE(at + 2), 4];
    else if (length === 127) [length, header] = [Number(bytes.readBigUInt64BE(at + 2)), 10];
    if (at + header + length > bytes.length) return;
    yield { opcode, payload: bytes.subarray(at + header, at + header + length) };
    at += header + length;
  }
}
