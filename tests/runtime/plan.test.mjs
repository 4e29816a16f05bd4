/** What happens where the plan's day is used up: every call to an object and to its storage is refused until midnight. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CHART_TIMEOUT_MS, eventually, readProblem } from "./harness.mjs";
import { CuttableService } from "./outage/service.mjs";

const SENDERS = 5;

test(
  "at the plan's limit nothing acknowledged is lost, and whoever sends or looks is told to come back",
  { timeout: 180_000 },
  async () => {
    const service = await CuttableService.start();
    try {
      const acknowledged = new Set();
      for (let sender = 0; sender < SENDERS; sender++) {
        assert.equal((await play(service, sender)).status, 202);
        acknowledged.add(sender);
      }
      // Before the alarm that would push them.
      await service.tellShard("/use-up?what=rows");
      await isToldToComeBack(await play(service, SENDERS));

      await service.connection.cut();
      await service.tellShard("/use-up?what=requests");
      await isToldToComeBack(await play(service, SENDERS));
      await isToldToComeBack(await service.fetch("/top-posts?region=NA&timeframe=1h"));
      assert.equal((await service.fetch("/healthz")).status, 503);

      // Midnight.
      await service.connection.mend();
      await service.tellShard("/mend");
      await eventually(async () => {
        const answer = await play(service, SENDERS);
        assert.equal(answer.status, 202);
        acknowledged.add(SENDERS);
      });
      await eventually(async () => {
        const chart = await (await service.fetch("/top-posts?region=NA&timeframe=1h")).json();
        assert.equal(chart.total_views, acknowledged.size);
      }, 3 * CHART_TIMEOUT_MS);
      // What was refused came again under its name, and counts once.
      const again = await (await play(service, SENDERS)).json();
      assert.equal(again.repeated, true);
    } finally {
      await service.dispose();
    }
  },
);

/** A beacon as browsers send it: with a name. @param {CuttableService} service @param {number} sender */
const play = (service, sender) =>
  service.fetch("/plays", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ client: `sender-${sender}`, seq: 1, plays: [{ post_id: "song" }] }),
  });

/** @param {Response} answer */
async function isToldToComeBack(answer) {
  await readProblem(answer, 503);
  assert.ok(Number(answer.headers.get("retry-after")) > 0, "no Retry-After");
}
