/** What docs/howto.md shows is run, in its order, on the real service. */
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { ADMIN_TOKEN, INGEST_TOKEN, Service, eventually } from "./harness.mjs";

/** @type {Service} */
let service;
let folder;
before(async () => {
  service = await Service.start();
  folder = mkdtempSync(join(tmpdir(), "hitparade-howto-"));
  // The commands of a clone, by the names that they have in the package.
  writeFileSync(join(folder, "npx"), `#!/bin/sh\nshift\nexec "${process.execPath}" "${join(ROOT, "scripts", "hitparade.mjs")}" "$@"\n`);
  chmodSync(join(folder, "npx"), 0o755);
  await service.send([{ post_id: "slow-comet", region_id: "EU", count: 5 }]);
  await eventually(async () => assert.equal((await service.topPosts({ timeframe: "1h" })).total_views, 5));
});
after(async () => {
  await service?.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** @param {string} commands @returns {Promise<string>} what they print */
function run(commands) {
  const env = { ...process.env, PATH: `${folder}:${process.env.PATH}`, URL: service.url, ADMIN_TOKEN, INGEST_TOKEN };
  const child = spawn("sh", ["-e", "-c", commands], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (data) => (stdout += data));
  child.stderr.on("data", (data) => (stderr += data));
  return new Promise((done, fail) =>
    child.on("close", (code) => (code === 0 ? done(stdout) : fail(new Error(`${commands}\n${stdout}${stderr}`)))),
  );
}

/** What is to be seen after the commands of a section. */
const SEEN = {
  "This week in Berlin": async (said) => assert.equal(JSON.parse(said).total_views, 5),
  "Yesterday of one post": async (said) => assert.equal(JSON.parse(said).post_id, "slow-comet"),
  "A spreadsheet": async () => assert.match(readFileSync(join(folder, "week.csv"), "utf8"), /^rank,[^]*slow-comet/),
  "The chart of last week, to share": async (said) => assert.match(said, /"code":"no_chart"[^]*"done":true/),
  "Correct a name": async () => eventually(async () => assert.equal((await service.post("slow-comet")).content, "Slow Comet (live)")),
  "Hide a post, and show it again": async () => eventually(async () => assert.equal((await service.post("slow-comet")).hidden, false)),
  "A list of the catalog": async () =>
    assert.match(readFileSync(join(folder, "catalog.ndjson"), "utf8"), /^\{"post_id":"slow-comet"[^\n]*comet\.jpg[^\n]*\}\n$/),
  "A chart for a section": async () => {
    const { top_posts } = await service.topPosts({ tag: "jazz", timeframe: "7d" });
    assert.deepEqual(
      top_posts.map(({ post_id, tags }) => [post_id, tags]),
      [["slow-comet", ["jazz", "live"]]],
    );
  },
  "A board": async (said) => assert.match(said, /"board":"sports"/),
  "Start again from zero": async () => eventually(async () => assert.equal((await service.topPosts({ timeframe: "all" })).total_views, 0)),
  "Undo an import": async () => eventually(async () => assert.equal((await service.topPosts({ timeframe: "all" })).total_views, 5)),
};

const sections = readFileSync(join(ROOT, "docs", "howto.md"), "utf8")
  .split(/^## /m)
  .slice(1);
for (const section of sections) {
  const [title] = section.split("\n");
  const blocks = [...section.matchAll(/^```sh\n([^]*?)^```/gm)].map(([, commands]) => commands);
  if (blocks.length === 0) continue;
  test(title, { timeout: 120_000 }, async () => {
    const said = await run(blocks.join("\n"));
    assert.ok(SEEN[title], `nothing says what is to be seen after ${title}`);
    await SEEN[title](said);
  });
}

test("nothing else is expected", () => {
  const titles = sections.filter((section) => section.includes("```sh\n")).map((section) => section.split("\n")[0]);
  assert.deepEqual(Object.keys(SEEN), titles);
});
