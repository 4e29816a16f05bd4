/** `npm run deploy` up to the upload, offline: what is uploaded is whole, and small enough. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { parse } from "smol-toml";
import { BUILD_DIR, ROOT } from "../../scripts/lib/paths.mjs";

/** The free plan takes a Worker of 3 MB, compressed. */
const MAX_UPLOAD_BYTES = 3_000_000;

/** @param {...string} words @returns {Promise<{code: number, stdout: string, stderr: string}>} */
const deploy = (home, ...words) => begin(home, ...words).ended;

function begin(home, ...words) {
  const child = spawn(process.execPath, [join(ROOT, "scripts", "deploy.mjs"), ...words], {
    env: { PATH: process.env.PATH, TMPDIR: home, HOME: home, CI: "1", WRANGLER_SEND_METRICS: "false" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (data) => (stdout += data));
  child.stderr.on("data", (data) => (stderr += data));
  return { child, ended: new Promise((done) => child.on("close", (code) => done({ code, stdout, stderr }))) };
}

describe("npm run deploy", () => {
  let home;
  before(() => (home = mkdtempSync(join(tmpdir(), "hitparade-deploy-"))));
  after(() => rmSync(home, { recursive: true, force: true }));

  test("uploads the Wasm that was built, with its objects, files, settings and secrets", { timeout: 180_000 }, async () => {
    const outdir = join(home, "out");
    const given = join(ROOT, ".wrangler", "hitparade.json");
    rmSync(given, { force: true });
    const { code, stdout, stderr } = await deploy(home, "--dry-run", "--outdir", outdir, "--secrets", "ADMIN_TOKEN");
    assert.equal(code, 0, stderr);
    for (const binding of [
      "SHARD (RegionShard)",
      "GLOBAL (GlobalBoard)",
      "REGISTRY (Registry)",
      "ASSETS",
      "RATE_LIMITER",
      "LIMIT_PER_MINUTE",
      "ADMIN_TOKEN",
    ]) {
      assert.ok(stderr.includes(binding), `${binding} is missing:\n${stderr}`);
    }
    assert.equal(stdout, "", "a token that was not put is not shown");
    assert.doesNotMatch(stderr, /warning/i);
    // Also of `wrangler.toml` alone wrangler is given texts: a number is nothing to the Worker.
    const { vars } = JSON.parse(readFileSync(given, "utf8"));
    assert.deepEqual([...new Set(Object.values(vars).map((value) => typeof value))], ["string"]);
    const files = readdirSync(outdir).filter((name) => /\.(js|wasm)$/.test(name));
    const wasm = files.find((name) => name.endsWith(".wasm"));
    assert.ok(wasm && files.includes("entry.js"), files.join(" "));
    assert.deepEqual(readFileSync(join(outdir, wasm)), readFileSync(join(BUILD_DIR, "index_bg.wasm")));
    const bytes = files.reduce((sum, name) => sum + gzipSync(readFileSync(join(outdir, name))).length, 0);
    assert.ok(bytes < MAX_UPLOAD_BYTES, `${bytes} bytes compressed`);
    assert.ok(
      readdirSync(home).every((name) => !name.startsWith("hitparade-secrets-")),
      "no file with tokens is left",
    );
  });

  test(
    "takes the installation's own settings over the release's, and warns of a line that nothing reads",
    { timeout: 180_000 },
    async () => {
      const own = join(home, "own.toml");
      writeFileSync(
        own,
        'name = "charts-of-mine"\nvars.LIMIT_PER_MINUTE = 321\n\n[observability]\nenabled = false\nroutes = ["charts.example.com/*"]\n',
      );
      const { code, stderr } = await deploy(home, "--dry-run", "--settings", own);
      assert.equal(code, 0, stderr);
      assert.match(stderr, /warning: own\.toml: `routes` stands under \[observability\]/);
      assert.match(stderr, /LIMIT_PER_MINUTE \("321"\)/);
      for (const binding of ["SHARD (RegionShard)", "ASSETS", "RATE_LIMITER"]) assert.ok(stderr.includes(binding), stderr);
      assert.equal(JSON.parse(readFileSync(join(ROOT, ".wrangler", "hitparade.json"), "utf8")).name, "charts-of-mine");
    },
  );

  test(
    "says what to do where nobody is logged in, and says tokens that may be in force, but leaves none behind",
    { timeout: 180_000 },
    async () => {
      const told = ({ stdout, stderr }) => {
        assert.match(stdout, /^INGEST_TOKEN=[\w-]{32}\n$/, stderr);
        assert.match(stderr, /may be in force/);
        assert.ok(readdirSync(home).every((name) => !name.startsWith("hitparade-secrets-")));
      };
      const failed = await deploy(home, "--secrets", "INGEST_TOKEN");
      assert.equal(failed.code, 1);
      assert.match(failed.stderr, /npx wrangler login/);
      told(failed);
      const { child, ended } = begin(home, "--secrets", "INGEST_TOKEN");
      await new Promise((done) => child.stderr.on("data", (said) => /wrangler \d/.test(said) && done(undefined)));
      child.kill("SIGTERM");
      const stopped = await ended;
      assert.equal(stopped.code, 143, stopped.stderr);
      told(stopped);
    },
  );

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

/** The unit's command, whoever runs it. @param {string} root the project @param {string} state */
function unitCommand(root, state) {
  const unit = readFileSync(join(root, "deploy", "hitparade.service"), "utf8");
  const [, command] = /^ExecStart=(.*)$/m.exec(unit);
  return command.replace("--port 8787", "--port 0").replace("/var/lib/hitparade", state).split(" ");
}

/** Starts it; what it says until it is ready, or ends. */
function startUnit(root, state, options = {}) {
  const [program, ...words] = unitCommand(root, state);
  return startCommand(program, words, { cwd: root, ...options, env: { ...process.env, END_WITH_PARENT: "1", ...options.env } });
}

async function startCommand(program, words, options) {
  const child = spawn(program, words, { stdio: ["ignore", "pipe", "pipe"], ...options });
  const ended = new Promise((done) => child.on("exit", (code, signal) => done({ code, signal })));
  const said = { stdout: "", stderr: "" };
  child.stderr.on("data", (data) => (said.stderr += data));
  const url = await new Promise((done) => {
    child.stdout.on("data", (data) => {
      const line = /^ready (\S+)$/m.exec((said.stdout += data));
      if (line) done(line[1]);
    });
    ended.then(() => done(null));
  });
  return { child, ended, url, said };
}

describe("the systemd unit", () => {
  test("starts the server, and ends it cleanly", { timeout: 120_000 }, async () => {
    const state = mkdtempSync(join(tmpdir(), "hitparade-unit-"));
    const { child, ended, url, said } = await startUnit(ROOT, state);
    try {
      assert.ok(url, said.stderr);
      assert.equal((await fetch(`${url}/healthz`)).status, 200);
      child.kill("SIGTERM");
      assert.deepEqual(await ended, { code: 0, signal: null });
    } finally {
      child.kill("SIGKILL");
      rmSync(state, { recursive: true, force: true });
    }
  });

  describe("as a user who can write its state alone", () => {
    /** Nobody, where this is run by root; who runs this cannot write either. */
    const user = process.getuid() === 0 ? { uid: 65_534, gid: 65_534 } : {};
    let home;
    let root;
    before(() => {
      home = mkdtempSync(join(tmpdir(), "hitparade-unit-"));
      root = join(home, "opt");
      mkdirSync(join(root, "node_modules", "@cloudflare"), { recursive: true });
      for (const name of [
        "scripts",
        "deploy",
        "src",
        "tools",
        "package.json",
        "package-lock.json",
        "Cargo.toml",
        "Cargo.lock",
        "rust-toolchain.toml",
        "wrangler.toml",
      ])
        copy(name);
      for (const name of ["workerd", "smol-toml", ".package-lock.json"]) copy(join("node_modules", name));
      for (const name of readdirSync(join(ROOT, "node_modules", "@cloudflare")).filter((name) => name.startsWith("workerd")))
        copy(join("node_modules", "@cloudflare", name));
      // Where the clone is may be for its owner alone.
      cpSync(realpathSync(process.execPath), join(home, "bin", "node"));
      chmodSync(home, 0o755);
      mkdirSync(join(home, "state"));
      if (user.uid) chownSync(join(home, "state"), user.uid, user.gid);
    });
    after(() => {
      spawnSync("chmod", ["-R", "u+w", home]);
      rmSync(home, { recursive: true, force: true });
    });

    const copy = (name) => cpSync(join(ROOT, name), join(root, name), { recursive: true });
    const start = () => {
      const { CARGO_TARGET_DIR: _, ...others } = process.env;
      const env = { ...others, PATH: `${join(home, "bin")}:/usr/bin:/bin`, HOME: "/nonexistent" };
      return startUnit(root, join(home, "state"), { env, ...user });
    };
    const lockTree = () => spawnSync("chmod", ["-R", "a-w,a+rX", root]);

    test("it builds nothing: where nothing was built it says what to run", { timeout: 60_000 }, async () => {
      lockTree();
      const { ended, url, said } = await start();
      assert.equal(url, null);
      assert.deepEqual(await ended, { code: 1, signal: null });
      assert.match(said.stderr, /Nothing is built here yet[^]*npm run dev -- build/);
      assert.doesNotMatch(said.stderr, /EACCES|EROFS|\n {4}at /);
    });

    test("after an update of the sources it serves what was built before, and says how to go on", { timeout: 60_000 }, async () => {
      spawnSync("chmod", ["-R", "u+w", root]);
      copy("build");
      appendFileSync(join(root, "src", "lib.rs"), "\n// pulled\n");
      lockTree();
      const before = filesOf(root);
      const { child, ended, url, said } = await start();
      try {
        assert.ok(url, said.stderr);
        assert.match(said.stderr, /build of older sources; `npm run dev -- build`/);
        const play = await fetch(`${url}/plays`, { method: "POST", body: '{"post_id":"a"}' });
        assert.equal(play.status, 202, await play.text());
        child.kill("SIGTERM");
        assert.deepEqual(await ended, { code: 0, signal: null });
      } finally {
        child.kill("SIGKILL");
      }
      assert.deepEqual(filesOf(root), before);
    });

    test(
      "where it cannot put this release's Worker and pages into a folder of `init`, it serves both as they are",
      { timeout: 60_000 },
      async () => {
        const charts = join(home, "charts");
        const made = spawnSync(process.execPath, [join(ROOT, "scripts", "hitparade.mjs"), "init", charts], { encoding: "utf8" });
        assert.equal(made.status, 0, made.stderr);
        rmSync(join(charts, ".dev.vars"));
        const worker = join(charts, "worker", "entry.js");
        appendFileSync(worker, "// of before\n");
        writeFileSync(join(charts, "www", "index.html"), "of before");
        writeFileSync(join(charts, "worker", "release.json"), JSON.stringify({ version: "0.0.9", sha256: "of before" }));
        spawnSync("chmod", ["-R", "a-w,a+rX", charts]);
        const env = { ...process.env, PATH: `${join(home, "bin")}:/usr/bin:/bin`, HOME: "/nonexistent", END_WITH_PARENT: "1" };
        const words = [join(root, "scripts", "hitparade.mjs"), "serve", "--port", "0", "--state", join(home, "state")];
        const { child, ended, url, said } = await startCommand("node", words, { cwd: charts, env, ...user });
        try {
          assert.ok(url, said.stderr);
          assert.match(said.stderr, /another release than [^]*`npx hitparade init` in .*charts/);
          assert.equal(await (await fetch(url)).text(), "of before");
          assert.deepEqual(readFileSync(join(home, "state", "run", "entry.js")), readFileSync(worker));
        } finally {
          child.kill("SIGTERM");
          await ended;
        }
      },
    );
  });

  test("finds its secrets in a file that was root's alone before they were in it", () => {
    const folder = mkdtempSync(join(tmpdir(), "hitparade-unit-"));
    const file = join(folder, "hitparade.env");
    const text = readFileSync(join(ROOT, "docs", "deploy.md"), "utf8");
    const lines = text.split("\n").filter((line) => line.includes("/etc/hitparade.env") && /^(sudo|echo) /.test(line));
    assert.equal(lines.length, 4, lines.join("\n"));
    // Of the package, whose `init` has made tokens; then of the clone.
    writeFileSync(join(folder, ".dev.vars"), "ADMIN_TOKEN=made-by-init\n", { mode: 0o600 });
    const modes = lines.map((line) => {
      const command = line.replaceAll("sudo ", "").replaceAll("/etc/", `${folder}/`);
      const { stdout, stderr, status } = spawnSync("sh", ["-c", `umask 022; ${command}`], { cwd: folder, encoding: "utf8" });
      assert.equal(status, 0, stderr);
      assert.doesNotMatch(stdout, /TOKEN/, "nobody looks over a shoulder");
      const { mode, size } = statSync(file);
      return [(mode & 0o777).toString(8), size > 0];
    });
    assert.deepEqual(modes, [
      ["600", true],
      ["600", false],
      ["600", true],
      ["600", true],
    ]);
    for (const name of ["INGEST_TOKEN", "ADMIN_TOKEN"]) assert.match(readFileSync(file, "utf8"), new RegExp(`^${name}=\\S{32}$`, "m"));
    rmSync(folder, { recursive: true, force: true });
  });
});

/** Every file with its time. @param {string} folder */
function filesOf(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .map((path) => `${path} ${statSync(path).mtimeMs}`)
    .sort();
}
