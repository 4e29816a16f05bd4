/**
 * Who a visitor is: by the address that connects, and behind a trusted proxy by what that says, in the
 * very headers that the proxies of deploy/ send. `npm run dev -- proxies` has these proxies themselves.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { Model, Service, eventually } from "./harness.mjs";

const PROXY = "127.0.0.1";
const STRANGER = "127.0.0.9";
const CONTINENTS = ["NA", "EU", "AS"].map((id) => ({ id, continents: [id] }));
const regions = (...countries) => JSON.stringify([...CONTINENTS, ...countries.map((id) => ({ id, countries: [id] }))]);
const REGIONS = regions("DE");
const BEHIND_PROXIES = {
  REGIONS,
  TRUSTED_PROXIES: "127.0.0.1, 10.0.0.0/8",
  CLIENT_ADDRESS_HEADER: "X-Forwarded-For",
  COUNTRY_HEADER: "X-Country",
};

/**
 * @param {Service} service @param {string} method @param {string} path
 * @param {{from?: string, headers?: import("node:http").OutgoingHttpHeaders | string[], body?: unknown}} [options]
 */
function ask(service, method, path, { from = PROXY, headers = {}, body } = {}) {
  return new Promise((done, fail) => {
    const asked = request(service.url + path, { method, localAddress: from, headers, agent: false, timeout: 30_000 }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (data) => (text += data));
      answer.on("end", () => done({ status: answer.statusCode, headers: answer.headers, text }));
    });
    asked.on("error", fail).on("timeout", () => asked.destroy(new Error("no answer")));
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

describe("behind a proxy", () => {
  const LIMIT = 100;
  const VOTES = 2;
  /** @type {Service} */
  let service;
  before(async () => {
    service = await Service.start({ ...BEHIND_PROXIES, LIMIT_PER_MINUTE: String(LIMIT), VOTES_PER_MINUTE: String(VOTES) });
  });
  after(() => service?.dispose());

  const play = (post_id, options = {}) =>
    ask(service, "POST", "/plays", { ...options, headers: { "content-type": "text/plain", ...options.headers }, body: [{ post_id }] });
  const model = new Model();

  test("a thousand visitors count in the regions of their countries, none lost, none forged", async () => {
    const countries = { US: "NA", DE: "DE", FR: "EU", JP: "AS", BR: "NA", "": "NA" };
    const visitors = Array.from({ length: 1_000 }, (_, index) => {
      const country = Object.keys(countries)[index % 6];
      // What nginx (appended), Caddy (alone) and HAProxy (a line of its own) make of a forged one.
      const address = index % 5 === 0 ? `2001:db8:${index.toString(16)}::1` : `203.${index >> 8}.${index & 255}.7`;
      const forged = ["198.51.100.1", "127.0.0.1", "garbage", "10.9.9.9, 198.51.100.1"][index % 4];
      const headers = [
        [["X-Forwarded-For", `${forged}, ${address}`]],
        [["X-Forwarded-For", address]],
        [
          ["X-Forwarded-For", forged],
          ["X-Forwarded-For", address],
        ],
        [["X-Forwarded-For", `${forged}, ${address.includes(":") ? `[${address}]` : address}:${40_000 + index}, 10.1.2.3`]],
      ][index % 4];
      if (country) headers.push(["X-Country", country]);
      model.add([{ post_id: "hit" }], countries[country]);
      return ["host", "charts.example", "content-type", "text/plain", ...headers.flat()];
    });
    const statuses = new Map();
    await Promise.all(
      Array.from({ length: 40 }, async () => {
        for (let headers; (headers = visitors.pop());) {
          const { status, text } = await ask(service, "POST", "/plays", { headers, body: [{ post_id: "hit" }] });
          statuses.set(status === 202 ? status : text, (statuses.get(status) ?? 0) + 1);
        }
      }),
    );
    assert.deepEqual([...statuses], [[202, 1_000]]);
    await model.assertExactly(service);
  });

  test("what a visitor writes itself into the headers takes it past no limit", async () => {
    for (const way of [
      (forged) => ({ "x-forwarded-for": `${forged}, 192.0.2.1` }),
      (forged) => ({ "x-forwarded-for": [forged, "192.0.2.2"] }),
      (forged) => ({ "x-forwarded-for": `${forged}, ${forged}, 192.0.2.3, 10.0.0.1` }),
    ]) {
      const codes = [];
      for (let attempt = 0; attempt < 5; attempt++) codes.push((await play("stuffed", { headers: way(`198.51.100.${attempt}`) })).status);
      assert.deepEqual(codes, [202, 202, 400, 400, 400], String(way));
    }
  });

  test("one who is no proxy is who connects, and counts where the runtime says", async () => {
    const codes = [];
    for (let attempt = 0; attempt < 5; attempt++) {
      const forged = `198.51.100.${attempt}`;
      const headers = {
        "x-forwarded-for": forged,
        "x-country": "JP",
        "x-real-ip": forged,
        "cf-connecting-ip": forged,
        forwarded: `for=${forged}`,
      };
      codes.push((await play("from a stranger", { from: STRANGER, headers })).status);
    }
    assert.deepEqual(codes, [202, 202, 400, 400, 400]);
    const chart = await eventually(async () => {
      const { top_posts } = await service.topPosts({ region: "NA", timeframe: "1h", k: 100 });
      return top_posts.find(({ post_id }) => post_id === "from a stranger") ?? assert.fail("not there yet");
    });
    assert.equal(chart.view_count, 2);
  });

  test("the visitors that the Worker's door answers are counted one by one", async () => {
    const chart = (address) =>
      ask(service, "GET", "/top-posts?timeframe=24h", { headers: { "x-forwarded-for": `198.51.100.9, ${address}` } });
    for (const address of ["192.0.2.30", "192.0.2.31"]) {
      const statuses = [];
      const started = performance.now();
      for (let time = 0; time < 2 * LIMIT + 20; time++) statuses.push((await chart(address)).status);
      const backSince = ((performance.now() - started) * LIMIT) / 60_000;
      const served = statuses.filter((status) => status === 200).length;
      assert.ok(served >= LIMIT && served <= LIMIT + backSince + 1, `${address}: ${statuses}`);
    }
    const repeated = (await service.readMetrics()).get('hitparade_charts_total{from="door"}');
    assert.ok(repeated > LIMIT, `${repeated} from the door`);
  });

  test("sockets are counted visitor by visitor", async () => {
    const sockets = [];
    const open = (address) =>
      new Promise((done, fail) => {
        const headers = {
          connection: "upgrade",
          upgrade: "websocket",
          "sec-websocket-version": "13",
          "sec-websocket-key": Buffer.alloc(16).toString("base64"),
          "x-forwarded-for": `198.51.100.${sockets.length}, ${address}`,
        };
        const asked = request(`${service.url}/live`, { headers, agent: false });
        asked
          .on("response", (answer) => done(answer.resume().statusCode))
          .on("error", fail)
          .end();
        asked.on("upgrade", (answer, socket) => done(sockets.push(socket) && answer.statusCode));
      });
    try {
      // A sixth of the requests that it may make a minute.
      const most = Math.floor(LIMIT / 6);
      for (let number = 0; number < most; number++) assert.equal(await open("192.0.2.40"), 101, `socket ${number}`);
      assert.equal(await open("192.0.2.40"), 429);
      assert.equal(await open("192.0.2.41"), 101);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });

  test("headers of any length and of any content cost one request, and say nothing", async () => {
    for (const [number, header] of [
      "10.0.0.1,".repeat(1_000),
      `${"9".repeat(8_000)}`,
      ",".repeat(8_000),
      "::%eth0",
      "[",
      "]:80",
      "\u00ff\u00fe",
      "fe80::1%25",
      "1.2.3.4.5",
      "0x7f.1",
      "127.1",
      "2130706433",
    ].entries()) {
      const { status, text } = await play(`odd ${number}`, { headers: { "x-forwarded-for": `${header}, 192.0.2.${100 + number}` } });
      assert.equal(status, 202, text);
    }
  });
});

describe("a region that REGIONS names", () => {
  test("is made at the next start, and while one is not made, its plays count on its continent and it is said", async () => {
    const service = await Service.start({
      ...BEHIND_PROXIES,
      REGIONS: '[{"id":"NA","continents":["NA"]},{"id":"EU","continents":["EU"]}]',
    });
    try {
      assert.equal((await service.get("/regions")).regions.length, 2);
      await service.terminate();
      service.environment.REGIONS = REGIONS;
      await service.launch();
      const made = (await service.get("/regions")).regions.map(({ region_id }) => region_id);
      assert.deepEqual(made, ["NA", "EU", "AS", "DE"]);
      await eventually(async () => assert.match(service.log, /REGIONS names DE, which was not made; now it is/));

      // A hundred are there: the next one that is named can't be made.
      for (let number = made.length; number < 100; number += 16) {
        await service.addRegions(...Array.from({ length: Math.min(16, 100 - number) }, (_, index) => `R${number + index}`));
      }
      await service.terminate();
      service.environment.REGIONS = regions("DE", "FR");
      await service.launch();
      const headers = { "content-type": "text/plain", "x-country": "FR", "x-forwarded-for": "192.0.2.1" };
      for (let time = 0; time < 3; time++) {
        assert.equal((await ask(service, "POST", "/plays", { headers, body: [{ post_id: "chanson" }] })).status, 202);
      }
      await eventually(async () => assert.match(service.log, /plays of the region FR, which REGIONS names, count in EU/));
      assert.match(service.log, /REGIONS names FR, which is not made: there are 100 regions/);
      assert.equal(service.log.match(/plays of the region FR, which REGIONS names, count in EU/g)?.length, 1, "once an hour");
      assert.equal((await service.readMetrics()).get('hitparade_elsewhere_batches_total{region="FR"}'), 3);
      await eventually(async () => assert.equal((await service.topPosts({ region: "EU", timeframe: "1h" })).total_views, 3));
    } finally {
      await service.dispose();
    }
  });
});

describe("without a proxy that is trusted", () => {
  test("plays of all visitors behind one count where requests of an address are not limited", async () => {
    const service = await Service.start({ LIMIT_PER_MINUTE: "0", VOTES_PER_MINUTE: "" });
    try {
      const plays = await Promise.all(
        Array.from({ length: 200 }, (_, index) =>
          ask(service, "POST", "/plays", {
            headers: { "content-type": "text/plain", "x-forwarded-for": `192.0.2.${index}` },
            body: { post_id: "hit" },
          }),
        ),
      );
      assert.deepEqual(new Set(plays.map(({ status }) => status)), new Set([202]));
      assert.match(service.log, /Nobody is limited by address/);
    } finally {
      await service.dispose();
    }
  });

  test("the server says at its start by what it limits, and what to set behind a proxy", async () => {
    const starts = [
      [
        { LIMIT_PER_MINUTE: "600", VOTES_PER_MINUTE: "" },
        /600 requests and 60 plays of a post a minute from one address.*\n.*CLIENT_ADDRESS_HEADER and TRUSTED_PROXIES/,
      ],
      [
        { ...BEHIND_PROXIES, LIMIT_PER_MINUTE: "600", VOTES_PER_MINUTE: "5" },
        /600 requests and 5 plays of a post a minute from one address, which 127\.0\.0\.1, 10\.0\.0\.0\/8 say in X-Forwarded-For/,
      ],
      [{ LIMIT_PER_MINUTE: "0", VOTES_PER_MINUTE: "7" }, /any number of requests and 7 plays of a post a minute from one address/],
    ];
    for (const [environment, said] of starts) {
      const service = await Service.start(environment);
      await service.dispose();
      assert.match(service.log, said);
    }
  });

  test("settings that can't be meant stop the start and say what to write", () => {
    const starts = {
      "CLIENT_ADDRESS_HEADER: anybody can send a header": { CLIENT_ADDRESS_HEADER: "X-Forwarded-For" },
      "COUNTRY_HEADER: anybody can send a header": { COUNTRY_HEADER: "X-Country" },
      "TRUSTED_PROXIES says who is believed": { TRUSTED_PROXIES: "127.0.0.1" },
      'TRUSTED_PROXIES: "0.0.0.0/0" is everybody': { TRUSTED_PROXIES: "0.0.0.0/0", CLIENT_ADDRESS_HEADER: "X-Forwarded-For" },
      "INGEST_TOKEN has a comma with no token beside it": { INGEST_TOKEN: "new,,old" },
      "ADMIN_TOKEN has more than 4 tokens": { ADMIN_TOKEN: "1,2,3,4,5" },
      'REGIONS: "DE": "Germany" is no country': { REGIONS: '[{"id":"DE","countries":["Germany"]}]' },
    };
    const folder = mkdtempSync(join(tmpdir(), "hitparade-visitors-"));
    after(() => rmSync(folder, { recursive: true, force: true }));
    for (const [said, environment] of Object.entries(starts)) {
      const { status, stderr } = spawnSync(process.execPath, [join(ROOT, "scripts", "serve.mjs"), "--port", "0", "--state", folder], {
        env: { ...process.env, ...environment },
        encoding: "utf8",
        timeout: 60_000,
      });
      assert.equal(status, 1, stderr);
      assert.equal(stderr.split(said).length, 2, `said once:\n${stderr}`);
      assert.doesNotMatch(stderr, /\n {4}at /, "no stack trace");
    }
  });
});
