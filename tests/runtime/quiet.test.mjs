/** Quiet shards on the real runtime: nothing is pushed for a quarter of an hour, and whoever looks sees every play. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ADMIN_TOKEN, Service, eventually } from "./harness.mjs";

/** The runtime puts an object to sleep that had nothing to do for 10 s. */
const ASLEEP_MS = 15_000;
/** From 202 to chart. */
const PROMISED_MS = 10_000;
/** What an address may add to a post a minute. */
const VOTES = 60;
const QUARTER_MS = 15 * 60_000;
const SEALED_AFTER_MS = 30_000;
/** A play is pushed within 5 s while somebody is thought to look, and told of a second later. */
const TOLD_MS = 8_000;
const AS_ADMIN = { authorization: `Bearer ${ADMIN_TOKEN}` };
const QUERY = { region: "global", timeframe: "24h", k: "3" };

/** @param {any} chart @param {string} post */
const viewsOf = (chart, post) => chart.top_posts.find(({ post_id }) => post_id === post)?.view_count ?? 0;

describe("quiet shards", () => {
  /** @type {Service} */
  let service;
  before(async () => {
    service = await Service.start({ VOTES_PER_MINUTE: String(VOTES) });
    await service.send([{ post_id: "a", count: 5 }]);
    await eventually(() => service.topPosts(QUERY).then((chart) => assert.equal(viewsOf(chart, "a"), 5)));
  });
  after(() => service.dispose());

  it("a chart that slept becomes fresh when it is looked at", async () => {
    await awayFromSealing();
    await sleep(ASLEEP_MS);
    await service.send([{ post_id: "a", count: 2 }]);
    const pushes = await pushesOf(service);
    await sleep(PROMISED_MS);
    assert.equal(await pushesOf(service), pushes, "pushed, though nobody looks");
    const chart = await service.topPosts(QUERY);
    assert.equal(viewsOf(chart, "a"), 7);
    assert.ok(!chart.incomplete);
  });

  it("a socket on a quiet board gets each play within 10 s, also of a shard that sleeps meanwhile", async () => {
    const { socket, shows } = await look(service);
    for (const views of [1, 2]) {
      await sleep(ASLEEP_MS);
      await service.send([{ post_id: "b", count: 1 }]);
      await shows((chart) => viewsOf(chart, "b") === views);
    }
    socket.close();
  });

  it("who comes back after all were told that nobody looks gets each change within 10 s, also while they are told", async () => {
    let views = 0;
    const play = () => service.send([{ post_id: "c", count: 1 }]);
    // Sockets are gone, and a play is told of; then the next one is there long after that, or meanwhile.
    for (const away_ms of [TOLD_MS, TOLD_MS / 2]) {
      await play();
      // What boards hear from the registry and the catalog.
      await service.request("DELETE", "/posts/nobody-looks-at-it", undefined, AS_ADMIN);
      await sleep(away_ms);
      const { socket, shows } = await look(service);
      await shows((chart) => viewsOf(chart, "c") === views + 1);
      await play();
      views += 2;
      await shows((chart) => viewsOf(chart, "c") === views);
      socket.close();
      await once(socket, "close");
    }
    const { socket, shows } = await look(service);
    await shows((chart) => viewsOf(chart, "c") === views);
    await service.request("DELETE", "/posts/c", undefined, AS_ADMIN);
    await shows((chart) => viewsOf(chart, "c") === 0);
    socket.close();
  });

  it("an address may add no more to a post because the shard has nothing else to do", async () => {
    const plays = Array.from({ length: VOTES }, () => ({ post_id: "stuffed" }));
    const started = Date.now();
    const vote = async (/** @type {number} */ seq) => {
      const answer = await service.request("POST", "/plays", { client: "stuffer-of-quiet-shards", seq, plays });
      return { accepted: (await answer.json()).accepted ?? 0, seconds: (Date.now() - started) / 1_000 };
    };
    assert.equal((await vote(1)).accepted, VOTES);
    await sleep(2 * ASLEEP_MS);
    const { accepted, seconds } = await vote(2);
    assert.ok(accepted > 0 && accepted <= seconds, `${accepted} more after ${seconds} s, of one a second`);
  });
});

/** Somebody looks over a socket. `shows` waits for a chart as long as is promised. @param {Service} service */
async function look(service) {
  const url = new URL(`/live?${new URLSearchParams(QUERY)}`, service.url);
  url.protocol = "ws:";
  const socket = new WebSocket(url);
  let last;
  socket.addEventListener("message", ({ data }) => (last = JSON.parse(data)));
  await once(socket, "open");
  const shows = async (/** @type {(chart: any) => boolean} */ isThere) => {
    const late = Date.now() + PROMISED_MS;
    while (!last || !isThere(last)) {
      assert.ok(Date.now() < late, `not there in time: ${JSON.stringify(last)}`);
      await sleep(50);
    }
  };
  return { socket, shows };
}

/** How many pushes the global object has taken. @param {Service} service */
async function pushesOf(service) {
  const metrics = await service.readMetrics();
  return metrics.get("hitparade_global_pushes_total");
}

/** Waits where a quarter's panes are pushed soon, or were a moment ago: 35 to 37 s after its end. */
async function awayFromSealing() {
  const since = (Date.now() - SEALED_AFTER_MS) % QUARTER_MS;
  if (since < 15_000) await sleep(15_000 - since);
  else if (since > QUARTER_MS - 45_000) await sleep(QUARTER_MS - since + 15_000);
}
