/** The static files as they are served: scripts and styles minified one by one, the rest as it is. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, extname, join, relative } from "node:path";
import { filesBelow } from "./files.mjs";
import { BUILD_DIR, ROOT } from "./paths.mjs";
import { readPackage } from "./release.mjs";

const SOURCE = join(ROOT, "www");
const TARGET = join(BUILD_DIR, "www");
/** What stands there for those who write pages, and not for those who look at them. */
const NOT_SERVED = /(\.d\.mts|\.new|\btsconfig\.json)$/;
/** @type {Record<string, "js" | "css">} */
const LOADERS = { ".js": "js", ".mjs": "js", ".css": "css" };
/** The beacon runs on pages of others, in browsers of their visitors. */
const BEACON = /^beacon[^/]*js$/;
/** A file of a release, kept as it was, for the pages that name it. */
const RELEASED = /\.\d+\.\d+\.\d+\.js$/;

/** Brings `build/www` up to date: a fraction of a second, and nothing is touched that is so. */
export const buildAssets = () => buildAssetsOf(SOURCE, TARGET);

/** @param {string} from @param {string} to folders */
export async function buildAssetsOf(from, to) {
  const { transform } = await import("esbuild");
  /** @type {Map<string, Buffer>} */
  const served = new Map();
  await Promise.all(
    servedBelow(from).map(async (name) => {
      const source = readFileSync(join(from, name));
      const loader = RELEASED.test(name) ? undefined : LOADERS[extname(name)];
      // Paths stay, so that modules find each other: nothing is bundled.
      /** @type {import("esbuild").TransformOptions} */
      const options = { loader, minify: true, target: BEACON.test(name) ? "es2021" : "es2022", legalComments: "none", charset: "utf8" };
      served.set(name, loader ? Buffer.from((await transform(source.toString(), options)).code) : source);
    }),
  );
  versionBeacon(served, readPackage().version);
  for (const [name, bytes] of served) write(join(to, name), bytes);
  for (const name of servedBelow(to)) {
    if (!served.has(name)) rmSync(join(to, name));
  }
}

/**
 * The beacon under an address with its version beside the one that moves, for pages that name its integrity hash; what
 * it brings, under such an address alone. Who releases a version puts both into `www`: they are served as they were for
 * ever.
 * @param {Map<string, Buffer>} served by name @param {string} version
 */
function versionBeacon(served, version) {
  const integrity = (/** @type {string} */ name) => `sha384-${createHash("sha384").update(read(name)).digest("base64")}`;
  const read = (/** @type {string} */ name) => served.get(name)?.toString() ?? "";
  const change = (/** @type {string} */ name, /** @type {string} */ what, /** @type {string} */ by) => {
    if (!read(name).includes(what)) throw new Error(`${name} has nothing like ${what}`);
    return Buffer.from(read(name).replaceAll(what, by));
  };
  const [beacon, elements] = ["beacon", "beacon-elements"].map((name) => `${name}.${version}.js`);
  if (!served.has(elements)) served.set(elements, Buffer.from(read("beacon-elements.js")));
  served.delete("beacon-elements.js");
  for (const name of ["beacon.js", "beacon.mjs"]) served.set(name, change(name, "beacon-elements.js", elements));
  const marks = `{crossOrigin:"",integrity:"${integrity(elements)}",src:`;
  if (!served.has(beacon)) served.set(beacon, change("beacon.js", "{src:", marks));
  served.set("beacon.html", change("beacon.html", "beacon.VERSION.js", beacon));
  served.set("beacon.html", change("beacon.html", "sha384-OF-VERSION", integrity(beacon)));
}

/** Replaces a file in one step, for whoever is reading it. */
function write(path, bytes) {
  if (existsSync(path) && readFileSync(path).equals(bytes)) return;
  mkdirSync(dirname(path), { recursive: true });
  const fresh = `${path}.${process.pid}.new`;
  writeFileSync(fresh, bytes);
  renameSync(fresh, path);
}

/** @param {string} folder */
const servedBelow = (folder) =>
  filesBelow(folder)
    .map((path) => relative(folder, path))
    .filter((name) => !NOT_SERVED.test(name));
