/** `npm run deploy` up to the upload, offline: what is uploaded is whole, and small enough. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { parse } from "smol-toml";
import { BUILD_DIR, ROOT } from "../../scripts/lib/paths.mjs";

/** The free plan takes a Worker of 3 MB, compressed. */
const MAX_UPLOAD_BYTES = 3_000_000;

/** @param {...string} words @returns {Promise<{code: number, stdout: string, stderr: string}>} */
function deploy(home, ...words) {
  const child = spawn(process.execPath, [join(ROOT, "scripts", "deploy.mjs"), ...words], {
    env: { PATH: process.env.PATH, TMPDIR: home, HOME: home, CI: "1", WRANGLER_SEND_METRICS: "false" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (data) => (stdout += data));
  child.stderr.on("data", (data) => (stderr += data));
  return new Promise((done) => child.on("close", (code) => done({ code, stdout, stderr })));
}

describe("npm run deploy", () => {
  let home;
  before(() => (home = mkdtempSync(join(tmpdir(), "hitparade-deploy-"))));
  after(() => rmSync(home, { recursive: true, force: true }));

  test("uploads the Wasm that was built, with its objects, files, settings and secrets", { timeout: 180_000 }, async () => {
    const outdir = join(home, "out");
    const { code, stdout, stderr } = await deploy(home, "--dry-run", "--outdir", outdir, "--secrets", "ADMIN_TOKEN");
    assert.equal(code, 0, stderr);
    for (const binding of ["SHARD (RegionShard)", "GLOBAL (GlobalBoard)", "ASSETS", "RATE_LIMITER", "LIMIT_PER_MINUTE", "ADMIN_TOKEN"]) {
      assert.ok(stderr.includes(binding), `${binding} is missing:\n${stderr}`);
    }
    assert.equal(stdout, "", "a token that was not put is not shown");
    assert.doesNotMatch(stderr, /warning/i);
    const files = readdirSync(outdir).filter((name) => /\.(js|wasm)$/.test(name));
    const wasm = files.find((name) => name.endsWith(".wasm"));
    assert.ok(wasm && files.includes("entry.js"), files.join(" "));
    assert.deepEqual(readFileSync(join(outdir, wasm)), readFileSync(join(BUILD_DIR, "index_bg.wasm")));
    const bytes = files.reduce((sum, name) => sum + gzipSync(readFileSync(join(outdir, name))).length, 0);
    assert.ok(bytes < MAX_UPLOAD_BYTES, `${bytes} bytes compressed`);
    assert.ok(readdirSync(home).every((name) => !name.startsWith("hitparade-secrets-")), "no file with tokens is left");
  });

  test("says what to do where nobody is logged in, and leaves no token behind", { timeout: 180_000 }, async () => {
    const { code, stdout, stderr } = await deploy(home, "--secrets", "INGEST_TOKEN");
    assert.equal(code, 1);
    assert.match(stderr, /npx wrangler login/);
    assert.equal(stdout, "");
    assert.ok(readdirSync(home).every((name) => !name.startsWith("hitparade-secrets-")));
  });

  test("knows its secrets and its options", async () => {
    for (const words of [["--secrets", "OTHER"], ["--force"]]) {
      const { code, stderr } = await deploy(home, ...words);
      assert.equal(code, 1);
      assert.match(stderr, /usage: npm run deploy/);
    }
  });
});

test("the platform's log is off: it would write down every request with its address and query", async () => {
  const { observability } = parse(readFileSync(join(ROOT, "wrangler.toml"), "utf8"));
  assert.equal(observability.enabled, false);
});

test("the systemd unit starts the server, and ends it cleanly", { timeout: 120_000 }, async () => {
  const unit = readFileSync(join(ROOT, "deploy", "hitparade.service"), "utf8");
  const [, command] = /^ExecStart=(.*)$/m.exec(unit);
  const state = mkdtempSync(join(tmpdir(), "hitparade-unit-"));
  const [program, ...words] = command.replace("--port 8787", "--port 0").replace("/var/lib/hitparade", state).split(" ");
  const child = spawn(program, words, { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, END_WITH_PARENT: "1" } });
  try {
    const [, url] = await new Promise((done, fail) => {
      let text = "";
      child.stdout.on("data", (data) => /^ready (\S+)$/m.test((text += data)) && done(/^ready (\S+)$/m.exec(text)));
      child.on("exit", (code) => fail(new Error(`it ended with ${code}`)));
    });
    assert.equal((await fetch(`${url}/healthz`)).status, 200);
    child.removeAllListeners("exit");
    const ended = new Promise((done) => child.on("exit", (code, signal) => done({ code, signal })));
    child.kill("SIGTERM");
    assert.deepEqual(await ended, { code: 0, signal: null });
  } finally {
    child.kill("SIGKILL");
    rmSync(state, { recursive: true, force: true });
  }
});
