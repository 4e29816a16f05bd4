/** What a first start meets on the machines of others: no network, no room, a port that is taken. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";

/** Nobody listens there. */
const NOWHERE = "http://127.0.0.1:9";

/** A clone in which nothing was set up. */
let clone;
let home;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "hitparade-setup-"));
  clone = join(home, "clone");
  mkdirSync(clone);
  for (const name of [
    "scripts",
    "src",
    "tools",
    "benches",
    "demo",
    "www",
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "package.json",
    "package-lock.json",
    ".npmrc",
    "wrangler.toml",
  ]) {
    cpSync(join(ROOT, name), join(clone, name), { recursive: true });
  }
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const withPackages = () => symlinkSync(join(ROOT, "node_modules"), join(clone, "node_modules"));

function start(environment, words = ["demo"]) {
  const { CARGO_TARGET_DIR: _, ...others } = process.env;
  return spawnSync(process.execPath, [join(clone, "scripts", "hitparade.mjs"), ...words], {
    cwd: clone,
    env: { ...others, ...environment },
    encoding: "utf8",
    timeout: 120_000,
  });
}

test("without a network for npm the start names the step, and says what to do", { timeout: 120_000 }, () => {
  const { status, stderr } = start({ npm_config_registry: NOWHERE, npm_config_cache: join(home, "npm"), npm_config_fetch_retries: "0" });
  assert.equal(status, 1);
  assert.match(stderr, /✘ \S*\s?npm packages from package-lock\.json/);
  assert.match(stderr, /Is the npm registry in reach/);
  assert.doesNotMatch(stderr, /\n {4}at /, "no stack trace");
});

test("without a network for cargo it names the step, and keeps what was done", { timeout: 120_000 }, () => {
  withPackages();
  const { status, stderr } = start({ CARGO_HOME: join(home, "cargo"), CARGO_NET_OFFLINE: "true" });
  assert.equal(status, 1);
  assert.match(stderr, /✘ \S*\s?the Worker in WebAssembly/);
  assert.match(stderr, /what was compiled is kept/);
  assert.ok(existsSync(join(clone, "node_modules")));
});

test("where nothing can be written it says so, and names the folder", { timeout: 120_000 }, () => {
  withPackages();
  // A folder that is full and one that is not there fail alike: at the first file.
  const { status, stderr } = start({ CARGO_TARGET_DIR: "/dev/null/target" });
  assert.equal(status, 1);
  assert.match(stderr, /failed to create directory `\/dev\/null/);
  assert.match(stderr, /disk is full/);
});

test("a port that is taken is refused with the next free one", { timeout: 60_000 }, async () => {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  try {
    const { port } = server.address();
    const { status, stderr } = spawnSync(
      process.execPath,
      [join(ROOT, "scripts", "hitparade.mjs"), "serve", "--port", String(port), "--state", join(home, "state")],
      {
        cwd: ROOT,
        encoding: "utf8",
        timeout: 30_000,
      },
    );
    assert.equal(status, 1);
    assert.match(stderr, new RegExp(`Port ${port} is taken`));
    const [, free] = /Port (\d+) is free: --port \1/.exec(stderr) ?? [];
    assert.ok(Number(free) > port, stderr);
  } finally {
    server.close();
  }
});
