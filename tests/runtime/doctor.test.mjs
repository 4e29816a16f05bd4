/**
 * `npx hitparade doctor` looks at the real service as it is, and behind a proxy that breaks it: each time it names what is
 * broken, and nothing that is not.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer, request as ask } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { ADMIN_TOKEN, CHART_TIMEOUT_MS, INGEST_TOKEN, Service, eventually } from "./harness.mjs";

const MAIN = "the look is on main";

/** @type {Service} */
let service;
before(async () => void (service = await Service.start({ LIMIT_PER_MINUTE: "6000" })));
after(() => service?.dispose());

/**
 * What the doctor says of an installation.
 * @param {string} url @param {Record<string, string>} [tokens] @param {string} [until] when it has said this, Ctrl-C is pressed
 * @returns {Promise<{code: number | null, said: string, findings: Map<string, {sign: string, said: string, todo: string}>}>}
 */
function examine(url, tokens = { ADMIN_TOKEN, INGEST_TOKEN }, until = "") {
  const env = { ...process.env, INGEST_TOKEN: "", ADMIN_TOKEN: "", READ_TOKEN: "", METRICS_TOKEN: "", ...tokens };
  const child = spawn(process.execPath, [join(ROOT, "scripts", "hitparade.mjs"), "doctor", "--url", url], {
    cwd: ROOT,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (data) => {
    const was = stdout;
    stdout += data;
    if (until && stdout.includes(until) && !was.includes(until)) child.kill("SIGINT");
  });
  child.stderr.on("data", (data) => (stderr += data));
  return new Promise((done) =>
    child.on("close", (code) => {
      const lines = [...stdout.matchAll(/^([✔✖?]) ([^:]+): (.*)\n(?: {4}(.*)\n)?/gm)];
      const findings = new Map(lines.map(([, sign, name, said, todo]) => [name, { sign, said, todo: todo ?? "" }]));
      done({ code, said: stdout + stderr, findings });
    }),
  );
}

/** @param {Map<string, {sign: string}>} findings @param {string} sign */
const named = (findings, sign) => [...findings].filter(([, finding]) => finding.sign === sign).map(([name]) => name);

/**
 * @typedef {object} Fault
 * @property {(request: {method: string, url: string, headers: Record<string, any>, body: string}) => any} [asked] changes
 *   what is asked; what it returns is answered in the service's place: `[status, headers, body]`
 * @property {(answer: {status: number, headers: Record<string, any>, body: string}, request: any) => void} [answered]
 *   changes what is answered
 * @property {boolean} [noSockets]
 * @property {(message: string) => boolean} [drops]
 */

/** The service, behind a proxy with a fault. @param {Fault} fault */
async function standBehind({ asked, answered, noSockets }) {
  const { port } = new URL(service.url);
  const server = createServer(async (incoming, response) => {
    const request = { method: incoming.method, url: incoming.url, headers: { ...incoming.headers }, body: "" };
    for await (const chunk of incoming) request.body += chunk;
    const instead = asked?.(request);
    if (instead) return response.writeHead(instead[0], instead[1]).end(instead[2]);
    delete request.headers["content-length"];
    delete request.headers["transfer-encoding"];
    const { method, url: path, headers } = request;
    const upstream = ask({ port, host: "127.0.0.1", method, path, headers }, async (reply) => {
      const answer = { status: reply.statusCode, headers: { ...reply.headers }, body: "" };
      for await (const chunk of reply.setEncoding("utf8")) answer.body += chunk;
      answered?.(answer, request);
      delete answer.headers["content-length"];
      delete answer.headers["transfer-encoding"];
      response.sendDate = false;
      response.writeHead(answer.status, answer.headers).end(answer.body);
    });
    upstream.on("error", () => response.destroy());
    upstream.end(request.body);
  });
  server.on("upgrade", (incoming, socket, head) => {
    if (noSockets) return socket.end("HTTP/1.1 426 Upgrade Required\r\nconnection: close\r\n\r\n");
    const upstream = connect(Number(port), "127.0.0.1", () => {
      const lines = Object.entries(incoming.headers).map(([name, value]) => `${name}: ${value}`);
      upstream.write(`${incoming.method} ${incoming.url} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
      upstream.write(head);
      upstream.pipe(socket).pipe(upstream);
    });
    for (const end of [socket, upstream]) end.on("error", () => end.destroy());
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { server, url: `http://127.0.0.1:${server.address().port}` };
}

/** @param {{headers: Record<string, any>}} message @param {RegExp} names */
function without({ headers }, names) {
  for (const name of Object.keys(headers)) if (names.test(name)) delete headers[name];
}
const kept = new Map();

/**
 * What is broken on the way; what is wrong then, and nothing else is. What may be: on main others play, too, so that something
 * comes over a socket.
 * @type {Record<string, Fault & {wrong: string[], maybe?: string[], told: RegExp}>}
 */
const FAULTS = {
  "takes Authorization out": {
    asked: (request) => without(request, /^authorization$/),
    wrong: ["the admin token", "the ingest token"],
    told: /does it pass on Authorization/,
  },
  "puts the admin token into every request": {
    asked: (request) => void (request.headers.authorization &&= `Bearer ${ADMIN_TOKEN}`),
    wrong: ["the admin token", "the ingest token"],
    told: /anybody may delete everything/,
  },
  "names batches anew, so that a repeat is another one": {
    asked: (request) => void (request.body = request.body.replace(/"client":"[^"]*"/, () => `"client":"${crypto.randomUUID()}"`)),
    wrong: ["the same play again", "a chart, by a push"],
    told: /must arrive as they were sent/,
  },
  "answers plays itself": {
    asked: ({ method, url, headers, body }) =>
      method === "POST" &&
      url === "/plays" &&
      !headers.authorization && [
        202,
        {
          "content-type": "application/json",
          "access-control-allow-origin": "*",
          "access-control-expose-headers": "Retry-After, Hitparade-Home",
          "hitparade-home": "NA/1",
          "ratelimit-policy": '"minute";q=600;w=60',
          date: new Date().toUTCString(),
        },
        JSON.stringify({ accepted: JSON.parse(body).plays.length, rejected: [], repeated: true }),
      ],
    wrong: ["the region of a play", "a chart, by a push"],
    maybe: ["a chart over a socket"],
    told: /do its shards push/,
  },
  "keeps charts for good": {
    asked: ({ method, url }) => method === "GET" && /^\/(top-posts|posts)/.test(url) && kept.get(url),
    answered: ({ status, headers, body }, { method, url }) => {
      if (method !== "GET" || !/^\/(top-posts|posts)/.test(url)) return;
      kept.set(url, [status, { ...headers, age: "3600" }, body]);
    },
    wrong: ["what is kept on its way"],
    maybe: ["the region of a play", "a chart, by a push"],
    told: /follow Cache-Control/,
  },
  "opens no sockets": { noSockets: true, wrong: ["a chart over a socket"], told: /pass on Upgrade/ },
  "has a clock that is ten minutes slow": {
    answered: ({ headers }) => void (headers.date = new Date(Date.now() - 600_000).toUTCString()),
    wrong: ["its clock"],
    told: /(59|60)\d s off[^]*NTP/,
  },
  "lets no other site read": {
    answered: (answer) => without(answer, /^access-control-/),
    wrong: ["pages of other sites"],
    told: /Access-Control/,
  },
  "loses types and policies": {
    answered: (answer) => {
      without(answer, /^content-security-policy$/);
      answer.headers["content-type"] = "application/octet-stream";
    },
    wrong: ["headers of the pages", "beacon.js"],
    told: /browsers do not run/,
  },
  "keeps the beacon for everybody": {
    answered: ({ headers }) => void (headers["cache-control"] &&= headers["cache-control"].replace("private", "public")),
    wrong: ["beacon.js"],
    told: /one visitor's region/,
  },
  "takes bodies of 100 bytes": {
    asked: ({ body, headers }) => !headers.authorization && body.length > 100 && [413, { "content-type": "text/html" }, "<h1>413</h1>"],
    wrong: ["a play of a page", "pages of other sites", "the same play again", "the region of a play", "a chart, by a push"],
    maybe: ["a chart over a socket"],
    told: /pass bodies of 1 MiB/,
  },
  "takes out headers that it does not know": {
    answered: (answer) => without(answer, /^(hitparade-home|etag)$/),
    wrong: ["the region of a play", "what is kept on its way"],
    told: /Hitparade-Home/,
  },
};

describe("the doctor", { concurrency: true, timeout: 300_000 }, () => {
  test("finds nothing wrong with the service as it is served, and leaves nothing in its charts", async () => {
    const { code, said, findings } = await examine(service.url);
    assert.deepEqual([code, named(findings, "✖"), named(findings, "?")], [0, [], []], said);
    assert.ok(findings.size >= 17, said);
    const { top_posts: posts } = await service.topPosts({ timeframe: "1h", k: 1000 });
    const own = /doctor-[0-9a-f]{12}/.exec(findings.get("what is left of this look").said)?.[0];
    assert.ok(own && !posts.some(({ post_id }) => post_id === own), said);
    assert.doesNotMatch(service.log, /who watches|its board is deleted/, "the board that it deleted is no fault for the log");
  });

  test("says what it was not given, and is not for that wrong", async () => {
    const { code, said, findings } = await examine(service.url, {});
    assert.deepEqual([code, named(findings, "✖")], [0, []], said);
    assert.deepEqual(named(findings, "?").slice(0, 2), ["the admin token", "the ingest token"], said);
    assert.match(findings.get("the admin token").said, new RegExp(MAIN));
  });

  test("says of the token of the metrics that it is not in force, where everybody may read them", async () => {
    const { code, said, findings } = await examine(service.url, {
      ADMIN_TOKEN,
      INGEST_TOKEN,
      METRICS_TOKEN: "metrics",
    });
    assert.deepEqual([code, named(findings, "✖")], [1, ["the token of the metrics"]], said);
    assert.match(findings.get("the token of the metrics").todo, /wrangler secret put METRICS_TOKEN/);
  });

  test("does not know, without the admin token, what counts where only posts of the catalog show, and says why", async () => {
    const own = await Service.start({ LIMIT_PER_MINUTE: "6000", REQUIRE_KNOWN_POSTS: "auto" });
    try {
      const put = await own.request("PUT", "/posts/a-post", '{"content":"A post"}', {
        "content-type": "application/json",
        authorization: `Bearer ${ADMIN_TOKEN}`,
      });
      assert.ok(put.ok, await put.text());
      await own.send([{ post_id: "a-stranger", region_id: "NA", count: 1 }]);
      await eventually(async () => {
        assert.equal((await own.topPosts({ timeframe: "1h" })).total_views, 1);
        assert.equal((await own.fetch("/posts/a-stranger?timeframe=1h")).status, 404);
      }, 3 * CHART_TIMEOUT_MS);
      const { code, said, findings } = await examine(own.url, {});
      assert.deepEqual([code, named(findings, "✖")], [0, []], said);
      for (const name of ["the region of a play", "a chart, by a push"]) {
        assert.match(findings.get(name).said, /REQUIRE_KNOWN_POSTS/, said);
        assert.match(findings.get(name).todo, /ADMIN_TOKEN/);
      }
      const admin = await examine(own.url);
      assert.deepEqual([admin.code, named(admin.findings, "?")], [0, []], admin.said);
    } finally {
      await own.dispose();
    }
  });

  test("says without the admin token, too, that a play is lost, where those of others count", async () => {
    await service.send([{ post_id: "of-others", region_id: "NA", count: 5 }]);
    await eventually(async () => assert.ok((await service.topPosts({ timeframe: "1h" })).total_views >= 5), 3 * CHART_TIMEOUT_MS);
    const { server, url } = await standBehind(FAULTS["answers plays itself"]);
    const { code, said, findings } = await examine(url, {});
    server.close();
    server.closeAllConnections();
    const found = named(findings, "✖").filter((name) => name !== "a chart over a socket");
    assert.deepEqual([code, found], [1, ["the region of a play", "a chart, by a push"]], said);
    assert.match(said, /do its shards push/);
  });

  test("sends no play where its admin token is refused, and says which token that is and where the right one may be", async () => {
    /** @type {string[]} */
    const sent = [];
    const asked = ({ method, url, body }) => void (method === "POST" && url === "/plays" && sent.push(body));
    const { server, url } = await standBehind({ asked });
    const { code, said, findings } = await examine(url, { ADMIN_TOKEN: "another", INGEST_TOKEN });
    server.close();
    server.closeAllConnections();
    assert.deepEqual([code, named(findings, "✖")], [1, ["the admin token"]], said);
    assert.match(findings.get("the admin token").said, /the environment is refused: 401 .*no play is sent/);
    assert.match(findings.get("the admin token").todo, /\.dev\.vars of the folder that is served/);
    assert.equal(named(findings, "?").length, 6, said);
    // Plays of nobody, and none at all, are what it asks with.
    const plays = sent.map((body) => JSON.parse(body)).flatMap(({ plays, post_id }) => plays ?? [post_id]);
    assert.ok(sent.length > 0 && plays.every((post) => post === ""), JSON.stringify(sent));
    assert.ok(!findings.has("what is left of this look"), said);
  });

  test("takes back what it has left, also where Ctrl-C ends it", async () => {
    const begun = Date.now();
    const { code, said, findings } = await examine(service.url, undefined, "the same play again");
    assert.equal(code, 130, said);
    const [, board] = /the board (doctor-[0-9a-f]{12}) is deleted/.exec(findings.get("what is left of this look")?.said ?? "") ?? [];
    assert.ok(board, said);
    const { boards } = await service.get("/boards", { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
    assert.ok(!boards.some(({ board_id }) => board_id === board), board);
    assert.ok(!findings.has("a chart, by a push") && Date.now() - begun < 20_000, said);
    assert.doesNotMatch(said, /mistake of the doctor's/);
  });

  test("shows no token where anybody on the way may read it, and sends no play that nobody could take back", async () => {
    /** @type {string[]} */
    const shown = [];
    const asked = ({ method, url, headers }) =>
      void ((headers.authorization || (method === "POST" && url === "/plays")) && shown.push(`${method} ${url}`));
    const { server, url } = await standBehind({ asked });
    // This machine, by an address that does not say so.
    const { code, said, findings } = await examine(url.replace("127.0.0.1", "0.0.0.0"));
    server.close();
    server.closeAllConnections();
    assert.deepEqual(
      shown.filter((request) => request !== "POST /plays"),
      [],
      said,
    );
    assert.deepEqual([code, named(findings, "✖")], [1, ["the address"]], said);
    assert.match(findings.get("the address").said, /no token is shown/);
    assert.match(findings.get("the admin token").said, /not looked at: [^]*http/);
    assert.match(findings.get("a chart, by a push").said, /not looked at/);
    assert.ok(!findings.has("what is left of this look"), said);
  });

  test("says of charts for which it may show no token that it did not look at them, and not that they are wrong", async () => {
    const isChart = ({ url }) => /^\/(top-posts|posts|regions|ws)\b/.test(url);
    const { server, url } = await standBehind({ asked: (request) => isChart(request) && [401, {}, `{"code":"unauthorized"}`] });
    const { said, findings } = await examine(url.replace("127.0.0.1", "0.0.0.0"), { READ_TOKEN: "a read token" });
    server.close();
    server.closeAllConnections();
    assert.deepEqual(named(findings, "✖"), ["the address"], said);
    for (const name of ["the region of a play", "what is kept on its way"]) assert.match(findings.get(name).said, /read token/);
  });

  test("says of nobody, and of something else, that it is no such service", async () => {
    const nobody = await examine("http://127.0.0.1:9");
    assert.deepEqual([nobody.code, named(nobody.findings, "✖")[0]], [1, "the service"], nobody.said);
    assert.match(nobody.said, /Is the address right/);
    assert.ok(!nobody.findings.has("what is left of this look"), nobody.said);
    const other = createServer((_, response) => response.setHeader("content-type", "text/html").end("<h1>It works!</h1>"));
    await new Promise((done) => other.listen(0, "127.0.0.1", done));
    const { code, said, findings } = await examine(`http://127.0.0.1:${other.address().port}`);
    other.close();
    assert.equal(code, 1);
    assert.equal(findings.get("the service")?.sign, "✖", said);
    assert.match(said, /Nothing like this service/);
  });

  for (const [name, { wrong, maybe = [], told, ...fault }] of Object.entries(FAULTS)) {
    test(`names what is wrong where a proxy ${name}`, async () => {
      const { server, url } = await standBehind(fault);
      const { code, said, findings } = await examine(url);
      server.close();
      server.closeAllConnections();
      const found = named(findings, "✖").filter((each) => !maybe.includes(each));
      assert.deepEqual(found.sort(), [...wrong].sort(), said);
      assert.equal(code, 1);
      assert.match(said, told);
      for (const each of wrong) assert.notEqual(findings.get(each).todo, "", `${each} says nothing of what to do`);
    });
  }
});
