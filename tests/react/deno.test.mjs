/**
 * The client as it stands, in Deno, from npm: the program of docs/client.md, with no right but the network of this machine
 * and the token; then a chart that comes over a socket.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { findOnPath } from "../../scripts/lib/run.mjs";
import { INGEST_TOKEN, Service } from "../runtime/harness.mjs";

const DEPENDENCIES = { deno: "2.9.6" };

/** @type {Service} */
let service;
let folder;
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)));
Object.assign(env, { INGEST_TOKEN, DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1" });

/** @param {string} program @param {string[]} args @param {number} [timeout] */
function mustRun(program, args, timeout) {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: folder, encoding: "utf8", env, timeout });
  assert.equal(status, 0, `${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

before(
  async () => {
    folder = mkdtempSync(join(tmpdir(), "hitparade-deno-"));
    service = await Service.start();
    writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, dependencies: DEPENDENCIES }));
    mustRun(findOnPath("npm"), ["install", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts"]);
    copyFileSync(join(ROOT, "client", "hitparade.js"), join(folder, "hitparade.js"));
  },
  { timeout: 300_000 },
);
after(async () => {
  await service?.dispose();
  rmSync(folder, { recursive: true, force: true });
});

test("the client in Deno does what docs/client.md shows, and hears what comes over a socket", { timeout: 90_000 }, () => {
  const [, shown] = /^```js\n([^]*?)^```$/m.exec(readFileSync(join(ROOT, "docs", "client.md"), "utf8"));
  const program = shown.replace('"hitparade/client"', '"./hitparade.js"').replace("https://charts.example", service.url);
  writeFileSync(
    join(folder, "program.mjs"),
    `${program}
    const client = new Hitparade("${service.url}", { ingestToken: process.env.INGEST_TOKEN });
    const heard = new Promise((done, fail) => {
      const stop = client.live({ region: "EU", timeframe: "1h" }, ({ top_posts }) => {
        if (!top_posts.some(({ post_id, view_count }) => post_id === "from Deno" && view_count === 7)) return;
        stop();
        done(top_posts.length);
      }, fail);
    });
    await client.send({ post_id: "from Deno", region_id: "EU", count: 7 });
    const listed = await heard;
    await client.close();
    console.log(JSON.stringify({ accepted, rejected, isChart: Array.isArray(top_posts), listed, hasSocket: typeof WebSocket === "function" }));`,
  );
  const said = mustRun(
    process.execPath,
    [
      join(folder, "node_modules", "deno", "bin.cjs"),
      "run",
      "--no-config",
      "--no-prompt",
      "--allow-net=127.0.0.1",
      "--allow-env=INGEST_TOKEN",
      "program.mjs",
    ],
    60_000,
  );
  const told = JSON.parse(said.trim().split("\n").at(-1));
  assert.deepEqual(told, { accepted: 2, rejected: [], isChart: true, listed: 2, hasSocket: true });
});
