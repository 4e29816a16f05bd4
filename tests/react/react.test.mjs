/**
 * `hitparade/react` in an application of Vite, from npm, with the packed package: rendered on the server, taken over by
 * React in Chromium without a complaint, live; in development with strict mode, where each effect runs twice, and as built.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { readPackage } from "../../scripts/lib/release.mjs";
import { findOnPath } from "../../scripts/lib/run.mjs";
import { launchChromium } from "../browser/chromium.mjs";
import { Service, eventually } from "../runtime/harness.mjs";

const { devDependencies } = readPackage();
const DEPENDENCIES = { vite: "8.3.8", react: devDependencies.react, "react-dom": devDependencies["react-dom"] };

/** @type {Service} */
let service;
let folder, browser;
/** @type {import("node:child_process").ChildProcess[]} */
const children = [];

function mustRun(program, args, cwd) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)));
  const { status, stdout, stderr } = spawnSync(program, args, { cwd, encoding: "utf8", env });
  assert.equal(status, 0, `${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

before(
  async () => {
    folder = mkdtempSync(join(tmpdir(), "hitparade-react-"));
    cpSync(join(ROOT, "tests", "react", "app"), folder, { recursive: true });
    const npm = findOnPath("npm");
    const packed = mustRun(npm, ["pack", "--ignore-scripts", "--silent", "--pack-destination", folder], ROOT).trim().split("\n").at(-1);
    writeFileSync(
      join(folder, "package.json"),
      JSON.stringify({ type: "module", dependencies: { ...DEPENDENCIES, hitparade: `file:./${packed}` } }),
    );
    // Without workerd, which this application needs nothing of.
    mustRun(npm, ["install", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts"], folder);
    const vite = join(folder, "node_modules", "vite", "bin", "vite.js");
    mustRun(process.execPath, [vite, "build", "--outDir", "dist/client", "--logLevel", "error"], folder);
    mustRun(process.execPath, [vite, "build", "--ssr", "entry-server.jsx", "--outDir", "dist/server", "--logLevel", "error"], folder);
    service = await Service.start();
    browser = await launchChromium();
  },
  { timeout: 300_000 },
);
after(async () => {
  for (const child of children) child.kill("SIGKILL");
  await browser?.close();
  await service?.dispose();
  rmSync(folder, { recursive: true, force: true });
});

async function startApplication(mode) {
  const child = spawn(process.execPath, ["server.mjs", mode, service.url], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  return new Promise((done, fail) => {
    child.on("exit", (code) => fail(new Error(`the application ended with ${code}`)));
    child.stdout.on("data", (data) => {
      const line = /^ready (\S+)$/m.exec(String(data));
      if (line) done(line[1]);
    });
  });
}

for (const mode of ["dev", "production"]) {
  describe(`an application, ${mode}`, { timeout: 120_000 }, () => {
    const id = `<b>song</b> & "${mode}"`;
    test("shows on the server what it goes on with in the browser, and what comes", async () => {
      await service.send([{ post_id: id, region_id: "EU", count: 1_234_567 }]);
      await eventually(async () =>
        assert.ok((await service.topPosts({ region: "EU", timeframe: "1h" })).top_posts.some(({ post_id }) => post_id === id)),
      );
      const url = await startApplication(mode);
      const rendered = await eventually(async () => {
        const html = await (await fetch(url)).text();
        assert.match(html, /1\u202f234\u202f567/);
        return html;
      });
      assert.ok(rendered.includes("&lt;b&gt;song&lt;/b&gt; &amp; &quot;"), rendered);

      const page = await browser.newPage();
      const said = [];
      const open = new Set();
      page.on("console", (message) => ["error", "warning"].includes(message.type()) && said.push(message.text()));
      page.on("pageerror", (error) => said.push(String(error)));
      page.on("websocket", (socket) => {
        if (!socket.url().includes("/live")) return;
        open.add(socket);
        socket.on("close", () => open.delete(socket));
      });
      await page.goto(url);
      await page.waitForFunction("window.hydrated");
      const listed = () => page.locator("ol.hitparade > li").allTextContents();
      assert.ok((await listed()).some((text) => text.includes(id)));
      // In strict mode two were opened, and one of them closed.
      await eventually(() => assert.equal(open.size, 1));

      await service.send([{ post_id: `new in ${mode}`, region_id: "EU", count: 5_000_000 }]);
      await eventually(async () => assert.ok((await listed()).some((text) => text.includes(`new in ${mode}`))));

      // Another question: nothing of the one before stays.
      await page.getByRole("button").click();
      assert.ok(!(await listed()).some((text) => text.includes("new in")));
      if (mode === "dev") assert.equal(await page.locator("p").textContent(), "Nothing yet.");
      await service.send([{ post_id: `in Africa, ${mode}`, region_id: "AF" }]);
      await eventually(async () => assert.ok((await listed()).some((text) => text.includes(`in Africa, ${mode}`))));
      await eventually(() => assert.equal(open.size, 1));
      assert.deepEqual(await page.evaluate("window.mismatches"), []);
      // What strict mode closes at once, Chromium complains about.
      assert.deepEqual(
        said.filter((text) => !/WebSocket is closed before the connection is established/.test(text)),
        [],
      );
      await page.close();
    });
  });
}
