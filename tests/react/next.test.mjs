/**
 * The example for Next.js of docs/beacon.md in an application of Next.js, from npm, in Chromium: in development, where
 * React's strict mode runs everything twice, and as built.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { readPackage } from "../../scripts/lib/release.mjs";
import { findOnPath } from "../../scripts/lib/run.mjs";
import { launchChromium } from "../browser/chromium.mjs";
import { Service, eventually } from "../runtime/harness.mjs";
import { snippet } from "../snippets.mjs";

const NAME = "a page of Next.js counts each post once, also after a change of page";
const { devDependencies } = readPackage();
const DEPENDENCIES = { next: "16.4.6", react: devDependencies.react, "react-dom": devDependencies["react-dom"] };
const PORT = 20_000 + (process.pid % 20_000);

/** @type {Service} */
let service;
let folder, browser;
/** @type {import("node:child_process").ChildProcess | undefined} */
let server;
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_|^NODE_ENV$/i.test(name)));
Object.assign(env, { NEXT_TELEMETRY_DISABLED: "1" });

function mustRun(program, args) {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: folder, encoding: "utf8", env });
  assert.equal(status, 0, `${args.join(" ")}: ${stdout}${stderr}`);
}
const next = (...words) => [join(folder, "node_modules", "next", "dist", "bin", "next"), ...words];

before(
  async () => {
    folder = mkdtempSync(join(tmpdir(), "hitparade-next-"));
    service = await Service.start();
    cpSync(join(ROOT, "tests", "react", "next"), folder, { recursive: true });
    const component = snippet("docs/beacon.md", NAME).replaceAll("https://your-worker.example", service.url).replace('"10s"', '"1s"');
    writeFileSync(join(folder, "app", "post.jsx"), component);
    writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, dependencies: DEPENDENCIES }));
    mustRun(findOnPath("npm"), ["install", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts"]);
    browser = await launchChromium(["--disable-blink-features=AutomationControlled"]);
  },
  { timeout: 300_000 },
);
after(async () => {
  if (server?.pid) process.kill(-server.pid, "SIGKILL");
  await browser?.close();
  await service?.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** Posts by their plays, of both modes. */
const plays = {};
async function counted(expected) {
  for (const [post, count] of Object.entries(expected)) plays[post] = (plays[post] ?? 0) + count;
  await eventually(async () => {
    const { top_posts: posts } = await service.topPosts({ timeframe: "1h" });
    assert.deepEqual(Object.fromEntries(posts.map(({ post_id, view_count }) => [post_id, view_count]).sort()), plays);
  }, 40_000);
}

for (const mode of ["dev", "start"]) {
  test(`${NAME}: next ${mode}`, { timeout: 400_000 }, async () => {
    if (mode === "start") mustRun(process.execPath, next("build"));
    // A group of its own: it starts others.
    server = spawn(process.execPath, next(mode, "--hostname", "127.0.0.1", "--port", String(PORT)), {
      cwd: folder,
      env,
      detached: true,
      stdio: "ignore",
    });
    const url = `http://127.0.0.1:${PORT}/first`;
    await eventually(async () => assert.equal((await fetch(url)).status, 200), 120_000);
    const page = await (await browser.newContext()).newPage();
    await page.goto(url);
    await counted({ first: 1 });
    // Longer than it takes to be counted again.
    await page.waitForTimeout(4_000);
    await page.getByText("On").click();
    await page.waitForURL("**/second");
    await counted({ second: 1 });
    await page.getByText("On").click();
    await page.waitForURL("**/first");
    await counted({ first: 1 });
    process.kill(-server.pid, "SIGKILL");
    server = undefined;
  });
}
