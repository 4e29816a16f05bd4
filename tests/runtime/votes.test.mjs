/** What one address can add to one post, on the real runtime. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Model, Service } from "./harness.mjs";

const LIMIT = 10;
const MINUTE_MS = 60_000;
/** Longer than the test takes to use up what a minute allows. */
const TEST_MS = 15_000;

describe("vote stuffing", () => {
  /** @type {Service} */
  let service;
  before(async () => {
    service = await Service.start({ VOTES_PER_MINUTE: String(LIMIT) });
  });
  after(() => service.dispose());

  const plays = (post_id, count) => Array.from({ length: count }, () => ({ post_id }));

  /** With a new minute come new votes. */
  const untilVotesLast = async () => {
    const leftMs = MINUTE_MS - (Date.now() % MINUTE_MS);
    if (leftMs < TEST_MS) await sleep(leftMs);
  };

  it("counts so many plays of a post, rejects the others with their places, and says the same again", async () => {
    await untilVotesLast();
    const model = new Model();
    const body = { client: "stuffer", seq: 1, plays: [{ post_id: "other" }, ...plays("stuffed", 8), {}, ...plays("stuffed", 4)] };
    const verdicts = [];
    for (const repeated of [false, true]) {
      const answer = await service.request("POST", "/plays", body);
      assert.equal(answer.status, 202);
      const verdict = await answer.json();
      assert.equal(verdict.repeated, repeated);
      verdicts.push({ accepted: verdict.accepted, rejected: verdict.rejected.map(({ index, code }) => [index, code]) });
    }
    assert.deepEqual(verdicts[0], {
      accepted: 11,
      rejected: [
        [9, "bad_post_id"],
        [12, "too_many_votes"],
        [13, "too_many_votes"],
      ],
    });
    assert.deepEqual(verdicts[1], verdicts[0]);
    model.add([{ post_id: "other" }, ...plays("stuffed", 10)]);

    const full = await service.request("POST", "/plays", { client: "stuffer", seq: 2, plays: plays("stuffed", 2) });
    assert.equal(full.status, 400);
    assert.deepEqual(
      (await full.json()).rejected.map(({ code }) => code),
      ["too_many_votes", "too_many_votes"],
    );

    const trusted = plays("stuffed", 100).map((play) => ({ ...play, region_id: "NA" }));
    await service.send(trusted);
    model.add(trusted);
    await model.assertExactly(service);
  });
});
