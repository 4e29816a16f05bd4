/** The static files: what is made of them, and what is kept. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { buildAssetsOf } from "../../scripts/lib/assets.mjs";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { readPackage } from "../../scripts/lib/release.mjs";

const { version } = readPackage();
const hashOf = (text) => `sha384-${createHash("sha384").update(text).digest("base64")}`;
let folder, from, to;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "hitparade-assets-"));
  [from, to] = ["www", "served"].map((name) => join(folder, name));
  cpSync(join(ROOT, "www"), from, { recursive: true });
});
after(() => rmSync(folder, { recursive: true }));
const served = (name) => readFileSync(join(to, name), "utf8");

test("the beacon has an address with the version of the package, and the guide names its hash", async () => {
  await buildAssetsOf(from, to);
  const [beacon, elements] = [`beacon.${version}.js`, `beacon-elements.${version}.js`];
  const guide = served("beacon.html");
  assert.ok(guide.includes(beacon) && guide.includes(hashOf(served(beacon))));
  assert.ok(!/VERSION/.test(guide));
  // What it brings is bound to it.
  assert.ok(served(beacon).includes(hashOf(served(elements))) && served(beacon).includes(elements));
  for (const name of ["beacon.js", "beacon.mjs"]) assert.ok(served(name).includes(elements), name);
  assert.ok(!readdirSync(to).includes("beacon-elements.js"));
});

test("a released beacon is served as it was, byte by byte, whatever becomes of the sources", async () => {
  const released = { "beacon.0.0.9.js": "/* as it was */  let a = 1 ;", "beacon-elements.0.0.9.js": "let   b = 2" };
  for (const [name, text] of Object.entries(released)) writeFileSync(join(from, name), text);
  await buildAssetsOf(from, to);
  for (const [name, text] of Object.entries(released)) assert.equal(served(name), text);
  // This version, once it is released.
  const kept = { [`beacon.${version}.js`]: "let c", [`beacon-elements.${version}.js`]: "let d" };
  for (const [name, text] of Object.entries(kept)) writeFileSync(join(from, name), text);
  await buildAssetsOf(from, to);
  for (const [name, text] of Object.entries(kept)) assert.equal(served(name), text);
  assert.ok(served("beacon.html").includes(hashOf("let c")));
});
