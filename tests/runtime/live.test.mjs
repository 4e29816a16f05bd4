/** `/live` on the real runtime: the chart now, at each change, after a restart. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { CHART_TIMEOUT_MS, Service } from "./harness.mjs";

/** A socket whose messages can be waited for. */
class Listener {
  messages = [];
  #waiting = [];

  constructor(service, query) {
    const url = new URL(`/live?${new URLSearchParams(query)}`, service.url);
    url.protocol = "ws:";
    this.opened = Date.now();
    this.socket = new WebSocket(url);
    this.closed = new Promise((done) => this.socket.addEventListener("close", done));
    this.socket.addEventListener("message", ({ data }) => {
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
