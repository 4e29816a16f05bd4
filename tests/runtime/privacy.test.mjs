/** What docs/privacy.md says is nowhere: looked for in every file that the service stores, and in its log. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { filesBelow } from "../../scripts/lib/files.mjs";
import { Service, eventually } from "./harness.mjs";

/** 2001:db8:9c5e:71ab:d2f3:4786:1b0a:e694, as a proxy writes it and as bytes; its first half is what limits go by. */
const ADDRESS = "2001:db8:9c5e:71ab:d2f3:4786:1b0a:e694";
const ADDRESS_BYTES = Buffer.from("20010db89c5e71abd2f347861b0ae694", "hex");
const VISITOR = {
  "x-forwarded-for": ADDRESS,
  "x-country": "FR",
  "user-agent": "Mozilla/5.0 (a-browser-like-no-other)",
  "accept-language": "tlh-KX",
  cookie: "session=cookie-of-a-visitor",
  referer: "https://page.example/diary-of-a-visitor",
};
const NOWHERE = [ADDRESS, "9c5e:71ab", "a-browser-like-no-other", "tlh-KX", "cookie-of-a-visitor", "diary-of-a-visitor"].map((text) =>
  Buffer.from(text),
);

/** @type {Service} */
let service;
after(() => service?.dispose());

test("nothing of a visitor is stored or written down but what was played", { timeout: 120_000 }, async () => {
  service = await Service.start({
    TRUSTED_PROXIES: "127.0.0.1",
    CLIENT_ADDRESS_HEADER: "X-Forwarded-For",
    COUNTRY_HEADER: "X-Country",
    LOG_REQUESTS: "all",
    LIMIT_PER_MINUTE: "600",
    VOTES_PER_MINUTE: "2",
  });
  const ask = (path, init = {}) => service.fetch(path, { ...init, headers: { ...VISITOR, ...init.headers } });
  const play = () =>
    ask("/plays", { method: "POST", body: JSON.stringify({ post_id: "what-was-played" }), headers: { "content-type": "text/plain" } });
  assert.equal((await play()).status, 202);
  // Limited, so its address was counted.
  await play();
  assert.equal((await (await play()).json()).rejected[0].code, "too_many_votes");
  await eventually(async () => assert.equal((await service.topPosts({ region: "EU", timeframe: "1h" })).total_views, 2));
  assert.equal((await ask("/top-posts?region=EU&timeframe=1h&k=7")).status, 200);
  assert.equal((await ask("/posts/what-was-played")).status, 200);
  assert.equal((await ask("/top-posts?k=0&author=query-of-a-visitor")).status, 400);
  await service.terminate();

  const stored = filesBelow(service.state).map((path) => readFileSync(path));
  assert.ok(
    stored.some((bytes) => bytes.includes("what-was-played")),
    "what is looked at is what is stored",
  );
  for (const bytes of stored) {
    for (const text of NOWHERE) assert.ok(!bytes.includes(text), `${text} is stored`);
    assert.ok(!bytes.includes(ADDRESS_BYTES.subarray(0, 8)), "the address is stored as bytes");
  }
  assert.match(service.log, /"path":"\/top-posts"/);
  for (const text of [...NOWHERE, "query-of-a-visitor"]) assert.ok(!service.log.includes(String(text)), `${text} is in the log`);
});
