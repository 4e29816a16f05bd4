/** What is set where: one order, told at the start, and one's own settings in a file of one's own. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parse } from "smol-toml";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { readSettings, settingsInWords, workerVariables } from "../../scripts/lib/variables.mjs";
import { readWranglerConfig } from "../../scripts/lib/wrangler-config.mjs";

let folder;
before(() => (folder = mkdtempSync(join(tmpdir(), "hitparade-settings-"))));
after(() => rmSync(folder, { recursive: true, force: true }));

/** @param {string} name @param {string} text */
function file(name, text) {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

test("the environment goes before .dev.vars, that before hitparade.toml, that before wrangler.toml", () => {
  file(".dev.vars", "A=2\nB=2\nADMIN_TOKEN=two\nINGEST_TOKEN='secret two'\n");
  const layers = [
    { source: "hitparade.toml", vars: { A: "3", B: "3", C: "3" } },
    { source: "wrangler.toml", vars: { A: "4", B: "4", C: "4", D: "4" } },
  ];
  const settings = readSettings(layers, { A: "1", ADMIN_TOKEN: "one", READ_TOKEN: "", OTHER: "x" }, join(folder, ".dev.vars"));
  assert.deepEqual(workerVariables(settings), { INGEST_TOKEN: "secret two", ADMIN_TOKEN: "one", A: "1", B: "2", C: "3", D: "4" });
  const [title, dev, sports, release, ...lines] = settingsInWords(
    settings,
    ["/my/sports.toml", join(ROOT, "wrangler.toml")],
    ["A", "B", "C", "D"],
  ).split("\n");
  assert.equal(title, "Settings, each from the first that has it: the environment,");
  assert.ok(dev.startsWith(`    ${join(ROOT, ".dev.vars")}`), dev);
  assert.deepEqual([sports, release], ["    /my/sports.toml (there is none)", `    ${join(ROOT, "wrangler.toml")}`]);
  assert.deepEqual(lines, [
    "  INGEST_TOKEN  set (.dev.vars)",
    "  ADMIN_TOKEN   set (the environment; that of .dev.vars does not count)",
    "  READ_TOKEN    empty (the environment)",
    "  A             1 (the environment; that of .dev.vars and hitparade.toml does not count)",
    "  B             2 (.dev.vars; that of hitparade.toml does not count)",
    "  C             3 (hitparade.toml)",
    "  D             4 (wrangler.toml)",
  ]);
});

test("one's own file has what differs; the rest is the release's", async () => {
  const release = await readWranglerConfig();
  const own = await readWranglerConfig(
    file(
      "hitparade.toml",
      `name = "charts-of-mine"
routes = [{ pattern = "charts.example.com", custom_domain = true }]
vars.LIMIT_PER_MINUTE = 300
vars.REGIONS = [{ id = "DE", countries = ["DE"] }]
assets.html_handling = "auto-trailing-slash"
`,
    ),
  );
  assert.deepEqual(own.vars, { ...release.vars, LIMIT_PER_MINUTE: "300", REGIONS: '[{"id":"DE","countries":["DE"]}]' });
  const { name, routes, assets, main, durable_objects } = /** @type {any} */ (own.toml);
  assert.deepEqual([name, routes.length, assets.html_handling, assets.binding], ["charts-of-mine", 1, "auto-trailing-slash", "ASSETS"]);
  assert.deepEqual(durable_objects, release.toml.durable_objects);
  assert.equal(main, join(ROOT, "build", "entry.js"));
  assert.deepEqual(own.warnings, []);
  assert.deepEqual(own.files, [join(folder, "hitparade.toml"), join(ROOT, "wrangler.toml")]);
  await assert.rejects(readWranglerConfig(join(folder, "not-there.toml")), /There is no file/);
});

test("what is added at the end of wrangler.toml belongs to no table", () => {
  const text = readFileSync(join(ROOT, "wrangler.toml"), "utf8");
  const routes = 'routes = [{ pattern = "charts.example.com", custom_domain = true }]';
  assert.equal(/** @type {any} */ (parse(`${text}\n${routes}\n`)).routes[0].pattern, "charts.example.com");
});

test("a line that nothing reads is warned of: a misplaced one, an unknown name, a secret for all to read", async () => {
  const { warnings } = await readWranglerConfig(
    file(
      "wrong.toml",
      '[vars]\nREQUIRED_KNOWN_POSTS = "true"\nADMIN_TOKEN = "x"\n[observability]\nenabled = true\nroutes = ["charts.example.com"]\n',
    ),
  );
  assert.equal(warnings.length, 3, warnings.join("\n"));
  assert.match(warnings[0], /^wrong\.toml: `routes` stands under \[observability\]/);
  assert.match(warnings[1], /there is no setting REQUIRED_KNOWN_POSTS/);
  assert.match(warnings[2], /ADMIN_TOKEN is a secret/);
  assert.deepEqual((await readWranglerConfig()).warnings, []);
});

test("a setting that stands where nothing reads it is warned of with the line to write", async () => {
  const { vars, warnings } = await readWranglerConfig(
    file(
      "astray.toml",
      'TIME_ZONE = "Europe/Berlin"\nTIMEZONE = "x"\nINGEST_TOKEN = "x"\nsettings.PAGE_TITLE = "Mine"\n[var]\nLIMIT_PER_MINUTE = 1\n',
    ),
  );
  assert.equal(vars.TIME_ZONE, (await readWranglerConfig()).vars.TIME_ZONE, "it does not count");
  assert.equal(warnings.length, 5, warnings.join("\n"));
  for (const told of [
    /^astray\.toml: nothing reads `TIME_ZONE` there: write vars\.TIME_ZONE\.$/,
    /^astray\.toml: there is no setting TIMEZONE/,
    /^astray\.toml: INGEST_TOKEN is a secret/,
    /^astray\.toml: `LIMIT_PER_MINUTE` stands under \[var\], where nothing reads it: write vars\.LIMIT_PER_MINUTE/,
    /^astray\.toml: `PAGE_TITLE` stands under \[settings\], where nothing reads it: write vars\.PAGE_TITLE/,
  ])
    assert.ok(
      warnings.some((warning) => told.test(warning)),
      `${told}\n${warnings.join("\n")}`,
    );
});

describe("a folder with settings is an installation, also for the commands of a clone", { timeout: 60_000 }, () => {
  const program = join(ROOT, "scripts", "hitparade.mjs");
  const { ADMIN_TOKEN: _, INGEST_TOKEN: __, ...env } = process.env;
  const own = () => {
    const home = join(folder, "own");
    mkdirSync(home, { recursive: true });
    file("own/hitparade.toml", "vars.LIMIT_PER_MINUTE = 123\n");
    file("own/.dev.vars", "ADMIN_TOKEN=of-this-folder\nADMIN_TOKNE=with-letters-changed\n");
    return home;
  };
  /** @param {string[]} words @param {string} cwd */
  const said = (words, cwd) => {
    const { status, stderr } = spawnSync(process.execPath, [program, ...words], { cwd, env, encoding: "utf8" });
    return { status, stderr };
  };

  test("where workerd ends at its start, what it said is shown", () => {
    const objects = join(folder, "odd", "objects");
    mkdirSync(objects, { recursive: true });
    writeFileSync(join(objects, "hitparade-Registry"), "a file in place of a folder");
    const { status, stderr } = said(["serve", "--port", "0", "--state", join(folder, "odd")], own());
    assert.equal(status, 1, stderr);
    assert.match(stderr, /hitparade-Registry[^]*error: workerd ended at its start \(exit code 1\); its messages are above/);
  });

  test("what the system refuses is told in a sentence, with what to do", () => {
    const { status, stderr } = said(["serve", "--port", "0", "--settings", join(folder, "nowhere", "x.toml")], own());
    assert.equal(status, 1, stderr);
    assert.doesNotMatch(stderr, /^ +at /m);
  });

  test("what is served there has its settings, its tokens and its state, and says where each is", async () => {
    const home = own();
    const child = spawn(process.execPath, [program, "serve", "--port", "0"], { cwd: home, env, stdio: ["ignore", "pipe", "pipe"] });
    let [stdout, stderr] = ["", ""];
    child.stderr.on("data", (data) => (stderr += data));
    await new Promise((done) => {
      child.stdout.on("data", (data) => /^ready /m.test((stdout += data)) && done(null));
      child.once("exit", done);
    });
    try {
      const [, url] = /^ready (\S+)$/m.exec(stdout) ?? [];
      assert.ok(url, stderr);
      const files = [join(home, ".dev.vars"), join(home, "hitparade.toml"), join(ROOT, "wrangler.toml")];
      assert.ok(stderr.includes(files.map((path) => `    ${path}\n`).join("")), stderr);
      assert.match(stderr, /LIMIT_PER_MINUTE +123 \(hitparade\.toml\)/);
      assert.match(stderr, /^warning: \.dev\.vars: there is no setting ADMIN_TOKNE\.$/m);
      assert.match(stderr, /ADMIN_TOKNE +set \(\.dev\.vars\)/);
      assert.doesNotMatch(stderr, /with-letters-changed|of-this-folder/);
      // As in a folder that is not the installation's: then somebody should see it.
      assert.ok(stderr.includes(`State: ${join(home, ".state", "serve")} (new: nothing was stored there before)\n`), stderr);
      assert.ok(existsSync(join(home, ".state", "serve", "objects")));
      const answer = await fetch(`${url}/posts`, { headers: { authorization: "Bearer of-this-folder" } });
      assert.equal(answer.status, 200);
      const headers = { authorization: "Bearer of-this-folder", "content-type": "application/json" };
      assert.ok((await fetch(`${url}/boards/jazz`, { method: "PUT", headers, body: "{}" })).ok);
      const backup = said(["backup", "--url", url, "--to", "copy.ndjson"], home);
      assert.equal(backup.status, 0, backup.stderr);
      assert.match(backup.stderr, /Settings and tokens are not in a backup/);
      const exported = said(["export", "--url", url, "--file", "all.ndjson"], home);
      assert.equal(exported.status, 0, exported.stderr);
      for (const { stderr } of [backup, exported]) assert.match(stderr, /Not in it: the boards jazz, each of which needs a file/);
    } finally {
      child.kill("SIGTERM");
    }
  });

  test("where a token is missing, the file is named that it may stand in", () => {
    const home = own();
    rmSync(join(home, ".dev.vars"));
    const { status, stderr } = said(["export", "--file", "x"], home);
    assert.equal(status, 1);
    assert.ok(stderr.includes(`into ${join(home, ".dev.vars")}`), stderr);
  });

  test("no command at all says what can be done, and starts no demo where nobody sees it", () => {
    for (const [cwd, words] of [
      [own(), /own is an installation: `npx hitparade serve` serves it\.[^]*usage: hitparade/],
      [tmpdir(), /^usage: hitparade/],
    ]) {
      const { status, stderr } = said([], cwd);
      assert.equal(status, 1, stderr);
      assert.match(stderr, words);
    }
  });

  test("an option of another command, and a backup of another kind, are told by the right command", () => {
    const home = own();
    for (const [words, told] of /** @type {[string[], RegExp][]} */ ([
      [["export", "--to", "x"], /--to is of `npx hitparade backup`/],
      [["backup", "--file", "x"], /--file is of `npx hitparade export`/],
      [["restore", "--file", "x"], /npx hitparade import --file FILE/],
      [["restore", "--from", "hitparade.toml"], /is a file[^]*npx hitparade import --file/],
      [["import", "--file", "."], /is a folder[^]*npx hitparade restore --from \./],
    ])) {
      const { status, stderr } = said(words, home);
      assert.equal(status, 1, stderr);
      assert.match(stderr, told);
    }
  });
});
