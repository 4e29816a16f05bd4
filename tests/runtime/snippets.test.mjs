/** What docs/ingest.md shows is run as it stands there, against the real service. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { DOCUMENTS, snippet, snippetsOf } from "../snippets.mjs";
import { INGEST_TOKEN, Model, Service, eventually } from "./harness.mjs";

const INGEST = "docs/ingest.md";
const A_PLAY = { post_id: "123", region_id: "EU" };

/** @type {Service} */
let service;
let folder;
const model = new Model();
before(async () => {
  service = await Service.start();
  folder = mkdtempSync(join(tmpdir(), "hitparade-snippets-"));
  writeFileSync(join(folder, "npx"), `#!/bin/sh\nshift\nexec "${process.execPath}" "${join(ROOT, "scripts", "hitparade.mjs")}" "$@"\n`, {
    mode: 0o755,
  });
});
after(async () => {
  await service?.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs commands of a document with the service in place of its own. @param {string} commands @returns {Promise<string>} */
function run(commands) {
  const here = commands.replaceAll(/https:\/\/charts\.example|http:\/\/127\.0\.0\.1:8787/g, service.url);
  const env = { ...process.env, PATH: `${folder}:${process.env.PATH}`, INGEST_TOKEN };
  const child = spawn("sh", ["-e", "-c", here], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (data) => (stdout += data));
  child.stderr.on("data", (data) => (stderr += data));
  return new Promise((done, fail) =>
    child.on("close", (code) => (code === 0 ? done(stdout + stderr) : fail(new Error(`${commands}\n${stdout}${stderr}`)))),
  );
}

for (const document of DOCUMENTS) {
  test(`${document}: each example names the test that runs it`, () => {
    for (const { text, file, name } of snippetsOf(document)) {
      assert.ok(file && name, `no test stands beside\n${text}`);
      assert.ok(existsSync(join(ROOT, file)), file);
      assert.ok(readFileSync(join(ROOT, file), "utf8").includes(name), `${file} has no test “${name}”`);
    }
  });
}

test("one bad play loses no good ones", async () => {
  const [commands, said] = snippet(INGEST, "one bad play loses no good ones").split(/^(?=\{)/m);
  assert.equal(await run(commands.replace(/^\$ /, "")), said.trimEnd());
  model.add([
    { post_id: "a", region_id: "EU" },
    { post_id: "b", region_id: "NA", count: 250 },
  ]);
});

test("plays of a file, and of a log", { timeout: 60_000 }, async () => {
  const plays = ["x", "x", "y"].map((post_id) => ({ post_id, region_id: "EU" }));
  writeFileSync(join(folder, "plays.ndjson"), plays.map(({ post_id }) => `${JSON.stringify({ post_id })}\n`).join(""));
  const now = new Date().toUTCString().replace(/^\w+, (\d+) (\w+) (\d+) (.*) GMT$/, "$1/$2/$3:$4 +0000");
  writeFileSync(join(folder, "access.log"), `192.0.2.1 - - [${now}] "GET /songs/comet?x HTTP/1.1" 200 5 "-" "Mozilla/5.0"\n`);
  await run(snippet(INGEST, "plays of a file, and of a log"));
  model.add([...plays, { post_id: "comet", region_id: "EU" }]);
});

test("what would come in of another system", { timeout: 60_000 }, async () => {
  const lines = ["date,hostname,page,visits,visitors,pageviews", "2026-11-20,example.com,/songs/comet,3,2,5"];
  writeFileSync(join(folder, "imported_pages_20251001_20261125.csv"), `${lines.join("\n")}\n`);
  assert.match(await run(snippet(INGEST, "what would come in of another system")), /comet/);
});

test("an envelope of a topic, sent as Kafka Connect is told to", async () => {
  const [envelope, connector] = snippetsOf(INGEST).filter(
    ({ name }) => name === "an envelope of a topic, sent as Kafka Connect is told to",
  );
  const { config } = JSON.parse(connector.text);
  assert.equal(new URL(config["http.url"]).pathname, "/plays");
  const headers = {
    authorization: config["http.headers.authorization"].replace(/\$\{.*\}/, INGEST_TOKEN),
    "content-type": config["http.headers.content.type"],
  };
  const body = envelope.text.replace(", …]", "]").replace("1763900000000", String(Date.now()));
  assert.deepEqual(JSON.parse(body).plays.length, 1);
  for (const repeated of [false, true]) {
    const answer = await service.request("POST", "/plays", body, headers);
    assert.deepEqual([answer.status, await answer.json()], [202, { accepted: 1, rejected: [], repeated }]);
  }
  model.add([A_PLAY]);
});

test("the charts say what the examples have sent", () => eventually(() => model.assertExactly(service)));
