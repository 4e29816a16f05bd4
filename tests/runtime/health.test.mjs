/** `/healthz` says when plays cannot be taken, by what shards answered a moment ago. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventually, readProblem } from "./harness.mjs";
import { CuttableService } from "./outage/service.mjs";

/** Three push intervals, and the alarm's lateness. */
const FAILING_MS = 40_000;

describe("/healthz", { concurrency: true }, () => {
  test("says nothing of shards that it has not heard of, and wakes none", { timeout: 60_000 }, () =>
    withService(async (service) => {
      await service.connection.cut();
      await service.cutShards();
      const { status, shards_heard } = await service.get("/healthz");
      assert.deepEqual([status, shards_heard], ["ok", 0]);
      assert.equal(service.connection.passed, 0, "nobody was asked");
    }),
  );

  test("fails while a shard does not answer, and is well again with its next answer", { timeout: 60_000 }, () =>
    withService(async (service) => {
      assert.equal((await play(service)).status, 202);
      assert.equal((await service.get("/healthz")).shards_heard, 1);
      await service.cutShards();
      assert.equal((await play(service)).status, 503);
      await fails(service, "away", /a shard of NA does not answer/);
      await service.mendShards();
      assert.equal((await play(service)).status, 202);
      assert.equal((await service.fetch("/healthz")).status, 200);
    }),
  );

  test("fails while a shard cannot store what it takes", { timeout: 60_000 }, () =>
    withService(async (service) => {
      assert.equal((await play(service)).status, 202);
      await service.tellShard("/break");
      assert.equal((await play(service)).status, 503);
      await fails(service, "storage", /a shard of NA cannot store plays/);
      await service.tellShard("/mend");
      await eventually(async () => assert.equal((await play(service)).status, 202));
      assert.equal((await service.fetch("/healthz")).status, 200);
    }),
  );

  test("fails when pushes do for three intervals, while plays go on being taken", { timeout: 120_000 }, () =>
    withService(async (service) => {
      assert.equal((await play(service)).status, 202);
      await service.connection.cut();
      await eventually(async () => {
        assert.equal((await play(service)).status, 202);
        await fails(service, "pushes", /a shard of NA has not reached the global object for three intervals/);
      }, FAILING_MS);
      await service.connection.mend();
      await eventually(async () => {
        assert.equal((await play(service)).status, 202);
        assert.equal((await service.fetch("/healthz")).status, 200);
      }, FAILING_MS);
    }),
  );
});

let number = 0;
const play = (service) => service.request("POST", "/plays", { client: "sender", seq: number++, plays: [{ post_id: `post ${number}` }] });

async function fails(service, what, detail) {
  const answer = await service.fetch("/healthz");
  const problem = await readProblem(answer, 503);
  assert.equal(problem.code, "unhealthy");
  assert.deepEqual(problem.wrong, [{ what, region_id: "NA" }]);
  assert.match(problem.detail, detail);
  assert.match(answer.headers.get("retry-after"), /^\d+$/);
}

async function withService(work) {
  const service = await CuttableService.start();
  try {
    await work(service);
  } finally {
    await service.dispose();
  }
}
