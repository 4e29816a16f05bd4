/** The name of a batch: other plays under it are refused and counted nowhere, on the real runtime. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { toNdjson } from "../../scripts/lib/client.mjs";
import { INGEST_TOKEN, Model, Service, randomKey, readProblem } from "./harness.mjs";

const TRUSTED = { authorization: `Bearer ${INGEST_TOKEN}` };

describe("the same name with other plays", () => {
  /** @type {Service} */
  let service;
  const model = new Model();
  before(async () => {
    service = await Service.start();
  });
  after(() => service?.dispose());

  const send = (plays, key) =>
    service.request("POST", "/plays", toNdjson(plays), { ...TRUSTED, "content-type": "application/x-ndjson", "idempotency-key": key });
  const assertReused = async (answer) => {
    const { code, detail } = await readProblem(answer, 422);
    assert.equal(code, "key_reused");
    assert.match(detail, /name of its own/);
  };
  const assertCounted = async (answer, accepted, repeated) => {
    const text = await answer.text();
    assert.equal(answer.status, 202, text);
    assert.deepEqual(JSON.parse(text), { accepted, rejected: [], repeated });
  };
  const day1 = (region_id = "EU") => [
    { post_id: "day1", region_id },
    { post_id: "day1", region_id },
  ];
  const day2 = (region_id = "EU") => [
    { post_id: "day2", region_id },
    { post_id: "day2", region_id },
  ];

  test("is refused, and the batch can be sent under a name of its own", async () => {
    const key = "access.log batch-aa";
    await assertCounted(await send(day1(), key), 2, false);
    await assertReused(await send(day2(), key));
    await assertReused(await send(day1().slice(1), key));
    await assertCounted(await send(day1(), key), 2, true);
    await assertCounted(await send(day2(), `${key} of its own`), 2, false);
    model.add([...day1(), ...day2()]);
  });

  test("is refused also by client and seq, whatever the clocks and the region say", async () => {
    const envelope = (more) => ({
      client: "sender",
      seq: 1,
      sent: Date.now() - 5_000,
      now: Date.now(),
      plays: [{ post_id: "named" }],
      ...more,
    });
    const post = (body, headers = {}) => service.request("POST", "/plays", body, headers);
    await assertCounted(await post(envelope({})), 1, false);
    await assertCounted(await post(envelope({ now: Date.now() + 3_000 })), 1, true);
    await assertReused(await post(envelope({ plays: [{ post_id: "other" }] })));
    await assertReused(await post(envelope({ plays: [{ post_id: "named" }, { post_id: "" }] })));
    await assertCounted(await post(envelope({ seq: 2, plays: [{ post_id: "other" }] })), 1, false);
    model.add([{ post_id: "named" }, { post_id: "other" }]);
  });

  test("is refused whole where only one of its regions knows the name", async () => {
    const key = randomKey();
    const plays = (post_id, regions) => regions.map((region_id) => ({ post_id, region_id }));
    await assertCounted(await send(plays("first", ["EU", "NA"]), key), 2, false);
    for (const regions of [
      ["EU", "SA"],
      ["SA", "EU"],
      ["AF", "AS", "SA", "NA"],
    ])
      await assertReused(await send(plays("second", regions), key));
    await assertCounted(await send(plays("first", ["EU", "NA"]), key), 2, true);
    model.add(plays("first", ["EU", "NA"]));
  });

  test("is refused after the server was killed, from the journal and from what was stored", async () => {
    const key = randomKey();
    await assertCounted(await send(day1("OC"), key), 2, false);
    model.add(day1("OC"));
    for (let time = 0; time < 2; time++) {
      await service.kill();
      await service.launch();
      await assertReused(await send(day2("OC"), key));
      await assertCounted(await send(day1("OC"), key), 2, true);
    }
  });

  test("and nothing was lost or counted twice", async () => {
    await model.assertExactly(service);
  });
});
