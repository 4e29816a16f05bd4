/**
 * The npm package as a site owner has it: packed, installed into an empty folder with nothing but
 * Node on the PATH, it shows a chart, serves, and makes a folder that can be deployed.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { filesBelow } from "../../scripts/lib/files.mjs";
import { BUILD_DIR, MODULES, ROOT } from "../../scripts/lib/paths.mjs";
import { readPackage, workerNameOf } from "../../scripts/lib/release.mjs";
import { findOnPath } from "../../scripts/lib/run.mjs";
import { readWranglerConfig } from "../../scripts/lib/wrangler-config.mjs";
import { CHART_TIMEOUT_MS, eventually } from "./harness.mjs";

const MAX_PACKAGE_BYTES = 3_000_000;
/** The free plan takes 3 MB. */
const MAX_WORKER_BYTES = 1 << 20;

let folder;
let program;
let packed;
/** Node, npm and a shell's programs; no Rust, and nothing of the clone. */
let environment;

before(
  async () => {
    folder = mkdtempSync(join(tmpdir(), "hitparade-package-"));
    environment = { PATH: pathWithoutRust(), HOME: folder, TMPDIR: folder, CI: "1" };
    const npm = findOnPath("npm");
    const pack = spawnSync(npm, ["pack", "--json", "--pack-destination", folder], { cwd: ROOT, encoding: "utf8" });
    assert.equal(pack.status, 0, pack.stderr);
    [packed] = JSON.parse(pack.stdout.slice(pack.stdout.indexOf("[\n")));
    const site = join(folder, "site");
    mkdirSync(site);
    writeFileSync(join(site, "package.json"), "{}");
    const install = spawnSync(npm, ["install", "--no-audit", "--no-fund", "--prefer-offline", join(folder, packed.filename)], {
      cwd: site,
      // As whoever runs the tests reaches the registry, and with what was fetched before.
      env: { ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name))), PATH: environment.PATH },
      encoding: "utf8",
    });
    assert.equal(install.status, 0, install.stderr);
    program = join(site, "node_modules", ".bin", "hitparade");
  },
  { timeout: 300_000 },
);
after(() => rmSync(folder, { recursive: true, force: true }));

/** A folder of links to what a machine with Node alone has. */
function pathWithoutRust() {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  for (const name of ["npm", "npx", "sh", "env", "cat", "kill", "uname", "ps"]) {
    const path = findOnPath(name);
    if (path) symlinkSync(path, join(bin, name));
  }
  symlinkSync(process.execPath, join(bin, "node"));
  return bin;
}

/** Starts a command; its address is known when it is ready. */
async function start(words, cwd) {
  const child = spawn(program, words, { cwd, env: environment, stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise((done) => child.once("exit", (code, signal) => done({ code, signal })));
  let log = "";
  child.stderr.on("data", (data) => (log += data));
  const ready = new Promise((done) => {
    let text = "";
    child.stdout.on("data", (data) => {
      const line = /^ready (\S+)$/m.exec((text += data));
      if (line) done(line[1]);
    });
  });
  const url = await Promise.race([ready, ended.then(() => Promise.reject(new Error(`it ended before it was ready:\n${log}`)))]);
  return { url, child, ended, log: () => log };
}

function command(words, cwd) {
  return spawnSync(program, words, { cwd, env: environment, encoding: "utf8", timeout: 60_000 });
}

function emptyFolder(name) {
  const path = join(folder, name);
  mkdirSync(path);
  return path;
}

/** As if an older release had made it. @param {string} charts */
function makeOlder(charts) {
  const path = join(charts, "worker", "release.json");
  const release = JSON.parse(readFileSync(path, "utf8"));
  writeFileSync(path, JSON.stringify({ ...release, version: "0.0.9", sha256: "of before" }));
}

/** @param {string} where @returns {string[]} the files below it, in order */
const filesIn = (where) =>
  filesBelow(where)
    .map((path) => relative(where, path))
    .sort();

/** Listens on a port until told to stop. */
async function take(port) {
  const server = createServer();
  const taken = await new Promise((done) => {
    server.once("error", () => done(false));
    server.listen(port, "127.0.0.1", () => done(true));
  });
  return () => taken && server.close();
}

describe("the npm package", () => {
  test("is small, and holds what is served and nothing to build with", () => {
    assert.ok(packed.size < MAX_PACKAGE_BYTES, `${packed.size} bytes`);
    const names = packed.files.map(({ path }) => path);
    for (const name of [
      "build/entry.js",
      "build/index_bg.wasm",
      "build/www/beacon.js",
      "build/bin/hitparade.mjs",
      "www/beacon.d.mts",
      "deploy/nginx.conf",
      "wrangler.toml",
    ]) {
      assert.ok(names.includes(name), `${name} is missing`);
    }
    const told = names.filter((name) => name.startsWith("build/bin/") || name === "wrangler.toml");
    const documents = told.flatMap((name) => readFileSync(join(ROOT, name), "utf8").match(/\bdocs\/[\w/-]+\.md\b/g) ?? []);
    assert.ok(documents.length > 10);
    for (const name of ["CHANGELOG.md", ...documents]) assert.ok(names.includes(name), `${name} is named, and missing`);
    const strange = names.filter((name) => /\.rs$|tsconfig\.json$|^(src|tests|scripts|target)\//.test(name));
    assert.deepEqual(strange, []);
  });

  test("its Worker takes a third of what the free plan does", () => {
    const bytes = MODULES.reduce((sum, name) => sum + gzipSync(readFileSync(join(BUILD_DIR, name))).length, 0);
    assert.ok(bytes <= MAX_WORKER_BYTES, `${bytes} bytes compressed`);
  });

  test("depends on workerd alone", () => {
    const { dependencies } = JSON.parse(readFileSync(join(dirname(program), "..", "hitparade", "package.json"), "utf8"));
    assert.deepEqual(Object.keys(dependencies), ["workerd"]);
    const installed = readdirSync(join(dirname(program), "..")).filter((name) => !name.startsWith("."));
    assert.deepEqual(installed.sort(), ["@cloudflare", "hitparade", "workerd"]);
  });

  test("shows a moving chart without a question, beside a program on its port, and leaves nothing", { timeout: 120_000 }, async () => {
    const where = emptyFolder("demo");
    const release = await take(8787);
    const demo = await start(["demo"], where).catch((error) => {
      release();
      throw error;
    });
    try {
      assert.notEqual(new URL(demo.url).port, "8787", "that port is taken");
      const chart = async () => (await fetch(`${demo.url}/top-posts?region=global&timeframe=24h&k=10`)).json();
      const first = await chart();
      assert.equal(first.top_posts.length, 10);
      assert.ok(first.top_posts[0].content, "posts have names");
      const moved = async () => assert.ok((await chart()).total_views > first.total_views);
      await eventually(moved, 3 * CHART_TIMEOUT_MS);
      assert.equal((await fetch(demo.url)).headers.get("content-type"), "text/html; charset=utf-8");
      await eventually(async () => assert.ok((await (await fetch(`${demo.url}/charts/day`)).json()).charts.length > 10), CHART_TIMEOUT_MS);
    } finally {
      demo.child.kill("SIGINT");
      await demo.ended;
      release();
    }
    assert.deepEqual(await demo.ended, { code: 0, signal: null }, demo.log());
    assert.deepEqual(readdirSync(where), []);
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.startsWith("hitparade-demo-")),
      [],
    );
    await assert.rejects(fetch(demo.url), "the server has ended");
  });

  test("makes a folder that serves a page of its own as it is", { timeout: 120_000 }, async () => {
    const { status, stdout, stderr } = command(["init", "charts"], folder);
    assert.equal(status, 0, stderr);
    const [beacon, widget, chart] = stdout.trim().split("\n");
    const charts = join(folder, "charts");
    const tokens = readFileSync(join(charts, ".dev.vars"), "utf8");
    assert.match(tokens, /^ADMIN_TOKEN=[\w-]{32}\nINGEST_TOKEN=[\w-]{32}\n$/);
    assert.equal(statSync(join(charts, ".dev.vars")).mode & 0o077, 0, "nobody else reads them");
    const [admin, ingest] = tokens.match(/[\w-]{32}/g) ?? [];
    assert.notEqual(admin, ingest);
    const server = await start(["serve", "--port", "0"], charts);
    try {
      for (const line of [beacon, widget]) {
        const src = /src="([^"]+)"/.exec(line)[1].replace("http://127.0.0.1:8787", server.url);
        assert.equal((await fetch(src)).status, 200, src);
      }
      assert.match(chart, /^<top-posts /);
      const page = await (await fetch(`${server.url}/example.html`)).text();
      assert.match(page, /<script async src="\/beacon.js"/);
      const play = await fetch(`${server.url}/plays`, { method: "POST", body: JSON.stringify({ post_id: "my-first-page" }) });
      assert.equal(play.status, 202, await play.text());
      const catalog = await fetch(`${server.url}/posts`, { headers: { authorization: `Bearer ${admin}` } });
      assert.equal(catalog.status, 200);
    } finally {
      server.child.kill("SIGTERM");
      await server.ended;
    }
    assert.ok(existsSync(join(charts, ".state", "serve")), "what is stored is in that folder");
  });

  test("makes a unit of systemd that serves that folder with the installed program", () => {
    assert.equal(command(["init", "of-50%"], folder).status, 0);
    const charts = realpathSync(join(folder, "of-50%"));
    const [ours, theirs] = [join(charts, "hitparade.service"), join(ROOT, "deploy", "hitparade.service")].map((path) =>
      readFileSync(path, "utf8").split("[Unit]\n"),
    );
    const expected = theirs[1]
      .replace("WorkingDirectory=/opt/hitparade\n", `WorkingDirectory=${charts.replace("%", "%%")}\n`)
      .replace("node scripts/serve.mjs", "hitparade serve");
    assert.equal(ours[1], expected);
    assert.doesNotMatch(ours[0], /git|build/);
    const [user] = /(?<=^User=).*/m.exec(ours[1]);
    const made = readFileSync(join(ROOT, "docs", "deploy.md"), "utf8").match(/(?<=^sudo )useradd --system \S+ \S+ \S+/gm);
    assert.equal(made.length, 2);
    for (const text of [...made, ours[0], theirs[0]])
      assert.match(text, new RegExp(`useradd --system --home /var/lib/hitparade ${user}$`, "m"));
  });

  test(
    "a newer package's serve serves its own pages, and keeps pages of one's own and beacons of before",
    { timeout: 120_000 },
    async () => {
      const charts = join(folder, "upgraded");
      assert.equal(command(["init", "upgraded"], folder).status, 0);
      const page = join(charts, "www", "index.html");
      const ours = readFileSync(page, "utf8");
      const kept = ["mine.html", "example.html", "beacon.0.0.9.js"];
      const write = () => [page, ...kept.map((name) => join(charts, "www", name))].forEach((path) => writeFileSync(path, "of before"));
      write();
      const server = await start(["serve", "--port", "0"], charts);
      try {
        assert.doesNotMatch(server.log(), /are those of release/);
        assert.equal(await (await fetch(server.url)).text(), "of before", "a page of this release that was changed by hand");
        makeOlder(charts);
        const { status, stderr } = command(["serve", "--port", "0"], charts);
        assert.equal(status, 1);
        assert.match(stderr, /is in use/);
        assert.equal(await (await fetch(server.url)).text(), "of before", "whoever may not serve changes nothing for who does");
      } finally {
        server.child.kill("SIGTERM");
        await server.ended;
      }
      const newer = await start(["serve", "--port", "0"], charts);
      try {
        assert.match(newer.log(), /are those of release \d/);
        assert.equal(await (await fetch(newer.url)).text(), ours);
        for (const name of kept) assert.equal(await (await fetch(`${newer.url}/${name}`)).text(), "of before", name);
      } finally {
        newer.child.kill("SIGTERM");
        await newer.ended;
      }
      write();
      const { status, stderr } = command(["init", "upgraded"], folder);
      assert.equal(status, 0, stderr);
      assert.equal(readFileSync(page, "utf8"), ours);
      for (const name of kept) assert.equal(readFileSync(join(charts, "www", name), "utf8"), "of before", name);
    },
  );

  test("changes nothing in the folder of another project, though it has a Worker and pages of the same names", () => {
    const where = emptyFolder("foreign");
    for (const name of ["worker", "www"]) mkdirSync(join(where, name));
    const settings = 'name = "shop"\nmain = "worker/entry.js"\ncompatibility_date = "2026-01-01"\nassets.directory = "www"\n';
    const theirs = { "wrangler.toml": settings, "worker/entry.js": "theirs", "www/index.html": "theirs", "www/404.html": "theirs" };
    for (const [name, text] of Object.entries(theirs)) writeFileSync(join(where, name), text);
    for (const words of [["serve", "--port", "0"], ["init"], ["deploy", "--dry-run"]]) {
      const { status, stderr } = command(words, where);
      assert.equal(status, 1, `${words} ${stderr}`);
      assert.match(stderr, /npx hitparade init my-charts/);
      for (const [name, text] of Object.entries(theirs)) assert.equal(readFileSync(join(where, name), "utf8"), text, `${words} ${name}`);
    }
    assert.deepEqual(filesIn(where), Object.keys(theirs).sort());
  });

  test("a full disk leaves what was there, and init goes on where it ended", () => {
    // In units of 512 or 1,024 bytes: the Worker in WebAssembly is larger.
    const onFullDisk = (words) =>
      spawnSync("sh", ["-c", 'ulimit -f 1000; exec "$0" "$@"', program, ...words], { cwd: folder, env: environment, encoding: "utf8" });
    const charts = join(folder, "full-disk");
    const failed = onFullDisk(["init", "full-disk"]);
    assert.equal(failed.status, 1, failed.stderr);
    assert.match(command(["deploy", "--dry-run"], charts).stderr, /npx hitparade init/, "it is no folder to deploy from");
    assert.equal(command(["init", "full-disk"], folder).status, 0);
    const whole = filesIn(charts);
    for (const name of ["wrangler.toml", "worker/index_bg.wasm", "www/index.html", "www/example.html", ".dev.vars", "hitparade.service"]) {
      assert.ok(whole.includes(name), `${name} is missing`);
    }
    for (const name of ["worker/entry.js", "www/index.html"]) writeFileSync(join(charts, name), "of before");
    makeOlder(charts);
    assert.equal(onFullDisk(["init", "full-disk"]).status, 1);
    for (const name of ["worker/entry.js", "www/index.html"]) assert.equal(readFileSync(join(charts, name), "utf8"), "of before", name);
    assert.deepEqual(filesIn(charts), whole);
  });

  test("its README's ten minutes end with a chart of the week on a page of one's own", { timeout: 120_000 }, async () => {
    const readme = readFileSync(join(ROOT, "README.md"), "utf8");
    const [section] = readme.split("## Most played this week, in ten minutes\n")[1].split(/^## /m);
    const blocks = [...section.matchAll(/^```sh\n([^]*?)^```/gm)].map(([, commands]) => commands);
    const [begin, names, play, ofSection, deploy] = blocks;
    assert.match(deploy, /npx hitparade deploy/);
    assert.equal(blocks.length, 5);
    const where = emptyFolder("ten-minutes");
    // As if it were published: npx would fetch what is installed here.
    const bin = emptyFolder("ten-minutes-bin");
    writeFileSync(join(bin, "npx"), `#!/bin/sh\nshift\nexec "${program}" "$@"\n`, { mode: 0o755 });
    symlinkSync(findOnPath("curl"), join(bin, "curl"));
    const shell = (commands, cwd) => {
      const { status, stdout, stderr } = spawnSync("sh", ["-e", "-c", commands], {
        cwd,
        env: { ...environment, PATH: `${bin}:${environment.PATH}` },
        encoding: "utf8",
      });
      assert.equal(status, 0, `${commands}\n${stdout}${stderr}`);
      return stdout;
    };
    const served = begin.trimEnd().split("\n");
    assert.equal(served.pop(), "npx hitparade serve");
    shell(served.join("\n"), where);
    const charts = join(where, "my-charts");
    const server = await start(["serve", "--port", "0"], charts);
    try {
      const here = (commands) => commands.replaceAll("http://127.0.0.1:8787", server.url);
      assert.match(shell(here(names), charts), /"stored":2/);
      assert.match(shell(here(play), charts), /"accepted":1/);
      const shows = async () => {
        const { top_posts: posts } = await (await fetch(`${server.url}/top-posts?timeframe=7d&k=10`)).json();
        assert.deepEqual(
          posts.map(({ content, view_count: plays }) => [content, plays]),
          [["Slow Comet", 1]],
        );
      };
      await eventually(shows);
      const { chart } = /(?<chart>\{"board".*)$/.exec(shell(`. ./.dev.vars\n${here(ofSection)}`, charts)).groups;
      assert.deepEqual(JSON.parse(chart).filter, { tag: ["jazz"] });
      await eventually(async () => {
        const { top_posts: posts } = await (await fetch(`${server.url}/top-posts?tag=jazz&timeframe=7d`)).json();
        assert.deepEqual(
          posts.map(({ content, tags }) => [content, tags]),
          [["Slow Comet", ["jazz"]]],
        );
      });
      const page = await (await fetch(`${server.url}/example.html`)).text();
      for (const line of [
        '<script type="module" src="/widget.js"></script>',
        '<top-posts timeframe="7d" k="10"><h2 slot="title">Most played this week</h2></top-posts>',
      ]) {
        assert.ok(page.includes(line), line);
        assert.ok(readme.includes(line.replace('src="', 'src="http://127.0.0.1:8787')), line);
      }
      assert.match(server.log(), /ADMIN_TOKEN +set \(\.dev\.vars\)/);
      assert.match(server.log(), /INGEST_TOKEN +set \(\.dev\.vars\)/);
    } finally {
      server.child.kill("SIGTERM");
      await server.ended;
    }
  });

  test("says what is in the way of a new folder, and changes nothing there", () => {
    const where = emptyFolder("full");
    writeFileSync(join(where, "thesis.txt"), "");
    const { status, stderr } = command(["init"], where);
    assert.equal(status, 1);
    assert.match(stderr, /not empty: thesis\.txt/);
    assert.deepEqual(readdirSync(where), ["thesis.txt"]);
  });

  test("its settings for Cloudflare are those of the clone, and name files that are there", async () => {
    const charts = join(folder, "settings");
    assert.equal(command(["init", "settings"], folder).status, 0);
    const { parse } = await import("smol-toml");
    const settings = parse(readFileSync(join(charts, "wrangler.toml"), "utf8"));
    assert.ok(statSync(join(charts, settings.main)).isFile());
    assert.ok(statSync(join(charts, settings.assets.directory, "index.html")).isFile());
    assert.equal(settings.build, undefined);
    assert.equal(settings.name, "settings", "no two installations of an account are one Worker");
    for (const [path, name] of [
      ["/home/me/My Charts!", "my-charts"],
      ["/srv/_charts.example.com/", "charts-example-com"],
      ["/", "hitparade"],
      ["/srv/ヒット", "hitparade"],
      [`/srv/${"a".repeat(62)}-b`, "a".repeat(62)],
    ])
      assert.equal(workerNameOf(path), name);
    assert.deepEqual({ ...settings.vars }, (await readWranglerConfig()).vars);
  });

  test("deploys from such a folder only", () => {
    const { status, stderr } = command(["deploy", "--dry-run"], emptyFolder("nothing"));
    assert.equal(status, 1);
    assert.match(stderr, /npx hitparade init/);
  });

  test("tells its commands and options, with the names that they have here", () => {
    assert.match(command(["--help"], folder).stderr, /usage: hitparade/);
    assert.equal(command(["--version"], folder).stdout, `${readPackage().version}\n`);
    assert.match(command(["export", "--help"], folder).stderr, /usage: npx hitparade export --file/);
    assert.match(command(["backup", "--help"], folder).stderr, /usage: npx hitparade backup --to/);
  });

  test("says that Node is too old, before it needs what an old one has not", () => {
    const older = `Object.defineProperty(process.versions, "node", { value: "16.20.2" });`;
    const { status, stderr } = spawnSync(process.execPath, ["--import", `data:text/javascript,${encodeURIComponent(older)}`, program], {
      env: environment,
      encoding: "utf8",
    });
    assert.equal(status, 1);
    assert.match(stderr, /Node 16\.20\.2 is too old: 20.3 or newer/);
  });
});
