/**
 * A real panic at each point where it hurts: what was under way gets an answer at once, the next
 * request is served, nothing acknowledged is lost, and nothing is counted twice.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { buildWith } from "../../scripts/build.mjs";
import { startServer } from "../../scripts/lib/server.mjs";
import { TARGET_DIR } from "../../scripts/lib/paths.mjs";
import { ADMIN_TOKEN, CHART_TIMEOUT_MS, INGEST_TOKEN, Model, Service, eventually, randomKey, readProblem } from "./harness.mjs";

/** Where src/ says `point(…)`, and what brings it about: a batch, or its way to the chart. */
const POINTS = {
  worker: "before the Worker has done anything",
  record: "as a shard takes a batch",
  written: "in a shard's commit: written, not yet durable",
  durable: "in a shard's commit: durable, not yet counted or acknowledged",
  transaction: "in the middle of a transaction",
  alarm: "as a shard wakes up",
  taken: "as the global object has taken a push in, and stored nothing of it",
  folded: "as the global object has stored a push, and answered nothing",
  pushed: "as a shard has the answer to its push",
  chart: "as the global object is asked for a chart",
};
/** Comes with what is sealed only: late plays are sealed a minute after they came, and folded 8 s later. */
const SEALED = ["transaction", "folded"];
const SEALED_AND_FOLDED_MS = 110_000;
/** Comes with a push: a quiet shard may wait a quarter of an hour with it, one with so many plays does not. */
const PUSHED = ["taken", "pushed"];
const PUSHED_COUNT = 30;
const SENDERS = 12;
const PLAYS = 10;
const MINUTE_MS = 60_000;
/** An interrupted request waits for nothing: the runtime alone would let it hang for seconds. */
const AT_ONCE_MS = 2_000;

const build = join(TARGET_DIR, "hitparade-panics");

class PanickingService extends Service {
  static async start() {
    const environment = { INGEST_TOKEN, ADMIN_TOKEN, READ_TOKEN: "", METRICS_TOKEN: "", LIMIT_PER_MINUTE: "0", VOTES_PER_MINUTE: "0" };
    const service = new PanickingService(mkdtempSync(join(tmpdir(), "hitparade-test-")), environment);
    service.server = await startServer({ port: 0, state: service.state, environment, build });
    return service;
  }

  get url() {
    return this.server.url;
  }

  async panicAt(point) {
    assert.equal((await this.fetch(`/panic/${point}`)).status, 204);
  }

  async dispose() {
    await this.server.stop();
    rmSync(this.state, { recursive: true, force: true });
  }
}

/** What the server has said, of its start too. */
let said = "";
const write = process.stderr.write.bind(process.stderr);
process.stderr.write = (chunk, ...rest) => {
  said += chunk;
  return write(chunk, ...rest);
};

/** @type {PanickingService} */
let service;
const model = new Model();

before(
  async () => {
    await buildWith(build, ["panics"]);
    service = await PanickingService.start();
  },
  { timeout: 600_000 },
);
after(() => service?.dispose());

test("a panic in what an instance rehearses: whoever asks first is served", async () => {
  await eventually(async () => assert.match(said, /at rehearsal, on command/));
  assert.equal((await service.fetch("/healthz")).status, 200);
  assert.doesNotMatch(await instance(), /"0{16}"/);
});

for (const [point, when] of Object.entries(POINTS)) {
  test(`a panic ${when}`, { timeout: 240_000 }, async () => {
    const before = await instance();
    await service.panicAt(point);
    const batches = Array.from({ length: SENDERS }, (_, sender) => ({
      key: randomKey(),
      plays: Array.from({ length: PLAYS }, (_, index) => ({
        post_id: `${point} ${(sender + index) % 7}`,
        region_id: index % 2 ? "NA" : "EU",
        ...(PUSHED.includes(point) && { count: PUSHED_COUNT }),
        ...(SEALED.includes(point) && { region_id: "NA", timestamp: Date.now() - 10 * MINUTE_MS }),
      })),
    }));
    for (const { plays } of batches) model.add(plays);
    const outcomes = await Promise.all(batches.map((batch) => sendOnce(batch)));
    // A chart that nobody has asked for, where that is what panics.
    const question = point === "chart" ? service.fetch(`/top-posts?region=global&timeframe=77m`) : null;
    for (const { status, waited_ms, text } of outcomes) {
      assert.ok([202, 503].includes(status), `${status}: ${text}`);
      if (status !== 202) assert.ok(waited_ms < AT_ONCE_MS, `answered after ${waited_ms} ms`);
    }
    if (question) assert.ok([200, 503].includes((await question).status));
    const limit_ms = SEALED.includes(point) ? SEALED_AND_FOLDED_MS : 2 * CHART_TIMEOUT_MS;
    await eventually(async () => assert.notEqual(await instance(), before, "there was no panic"), limit_ms);
    assert.equal((await service.fetch("/healthz")).status, 200);

    // What was acknowledged is known, and what was not is counted now.
    for (const [index, { plays, key }] of batches.entries()) {
      const { accepted, repeated } = await service.send(plays, key);
      assert.equal(accepted, plays.length);
      if (outcomes[index].status === 202) assert.ok(repeated, "acknowledged before the panic, forgotten after it");
    }
    await model.assertExactly(service);
  });
}

test(
  "an instance without memory says so while something is under way in it, and is made anew when nothing is",
  { timeout: 60_000 },
  async () => {
    const before = await instance();
    const { port } = new URL(service.url);
    const slow = connect({ port: Number(port), host: "127.0.0.1" });
    slow.write("POST /plays HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{");
    await service.panicAt("memory");
    // The first one loses it all.
    await service.fetch("/regions");
    const problem = await readProblem(await service.fetch("/healthz"), 503);
    assert.equal(problem.code, "unhealthy");
    assert.deepEqual(problem.wrong, [{ what: "memory" }]);
    const refused = await service.request("POST", "/plays", { post_id: "no room", pad: "x".repeat(600_000) });
    assert.equal((await readProblem(refused, 503)).code, "overloaded");
    slow.destroy();
    await eventually(async () => {
      assert.notEqual(await instance(), before);
      assert.equal((await service.fetch("/healthz")).status, 200);
    });
    await model.assertExactly(service);
  },
);

test("a batch without a name is not asked for again: it might count twice", { timeout: 60_000 }, async () => {
  await service.panicAt("durable");
  const answer = await service.request("POST", "/plays", { post_id: "nameless" });
  const problem = await readProblem(answer, 504);
  assert.equal(problem.code, "outcome_unknown");
  assert.equal(answer.headers.get("retry-after"), null);
  await eventually(async () => assert.equal((await service.post("nameless", { timeframe: "all" })).view_count, 1));
});

/** One batch, not sent again. */
async function sendOnce({ plays, key }) {
  const started_ms = Date.now();
  const headers = { authorization: `Bearer ${INGEST_TOKEN}`, "idempotency-key": key };
  const answer = await service.request("POST", "/plays", plays, headers);
  return { status: answer.status, text: await answer.text(), waited_ms: Date.now() - started_ms };
}

/** The name of the instance that answers. */
async function instance() {
  const names = [...(await service.readMetrics()).keys()].filter((name) => name.startsWith("hitparade_instance_started_seconds"));
  assert.equal(names.length, 1, "all that runs here shares one");
  return names[0];
}
