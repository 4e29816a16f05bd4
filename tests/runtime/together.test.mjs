/** Batches of many senders share calls to their shard; each sender is answered by itself. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Model, Service } from "./harness.mjs";

/** As many as it takes until the runtime has compiled the way there to machine code, and twice that. */
const BEACONS = 30_000;
const AT_ONCE = 192;
const POSTS = 100;

describe("many senders at once", () => {
  /** @type {Service} */
  let service;
  before(async () => {
    service = await Service.start();
  });
  after(() => service.dispose());

  const beacon = (client, post_id, init = {}) => {
    const body = JSON.stringify({ client, seq: 1, plays: [{ post_id }] });
    return service.fetch("/plays", { method: "POST", body, ...init });
  };

  it("each is answered, and each play counted once", { timeout: 240_000 }, async () => {
    const model = new Model();
    let next = 0;
    const sender = async () => {
      for (let number = next++; number < BEACONS; number = next++) {
        const post_id = `post ${number % POSTS}`;
        const answer = await beacon(`sender ${number}`, post_id);
        const text = await answer.text();
        assert.equal(answer.status, 202, text);
        assert.deepEqual(JSON.parse(text), { accepted: 1, rejected: [], repeated: false });
        model.add([{ post_id }]);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, sender));
    await model.assertExactly(service);
  });

  it("one that hangs up takes nobody along", { timeout: 120_000 }, async () => {
    const senders = Array.from({ length: AT_ONCE }, (_, number) => `hasty ${number}`);
    for (let round = 0; round < 20; round++) {
      const answers = senders.map(async (client, number) => {
        const hasty = number % 3 === 0;
        const signal = AbortSignal.timeout(hasty ? round : 60_000);
        try {
          const answer = await beacon(`${client} ${round}`, "hasty", { signal });
          return answer.status;
        } catch (error) {
          if (!hasty) throw error;
          return "hung up";
        }
      });
      const others = (await Promise.all(answers)).filter((_, number) => number % 3 !== 0);
      assert.deepEqual([...new Set(others)], [202], `round ${round}`);
    }
    // Sent again, all of them are counted once.
    const model = new Model();
    for (let round = 0; round < 20; round++) {
      const again = await Promise.all(senders.map((client) => beacon(`${client} ${round}`, "hasty")));
      assert.deepEqual([...new Set(again.map(({ status }) => status))], [202], `again ${round}`);
    }
    model.add([{ post_id: "hasty", count: 20 * AT_ONCE }]);
    for (let post = 0; post < POSTS; post++) model.add([{ post_id: `post ${post}`, count: BEACONS / POSTS }]);
    await model.assertExactly(service);
  });
});
