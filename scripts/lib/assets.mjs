/** The static files as they are served: scripts and styles minified one by one, the rest as it is. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, extname, join, relative } from "node:path";
import { filesBelow } from "./files.mjs";
import { BUILD_DIR, ROOT } from "./paths.mjs";

const SOURCE = join(ROOT, "www");
const TARGET = join(BUILD_DIR, "www");
/** What stands there for those who write pages, and not for those who look at them. */
const NOT_SERVED = /(\.d\.mts|\.new|\btsconfig\.json)$/;
/** @type {Record<string, "js" | "css">} */
const LOADERS = { ".js": "js", ".mjs": "js", ".css": "css" };

/** Brings `build/www` up to date: a fraction of a second, and nothing is touched that is so. */
export async function buildAssets() {
  const { transform } = await import("esbuild");
  const files = servedBelow(SOURCE);
  await Promise.all(
    files.map(async (name) => {
      const source = readFileSync(join(SOURCE, name));
      const loader = LOADERS[extname(name)];
      // Paths stay, so that modules find each other: nothing is bundled.
      /** @type {import("esbuild").TransformOptions} */
      const options = { loader, minify: true, target: "es2022", legalComments: "none", charset: "utf8" };
      write(join(TARGET, name), loader ? Buffer.from((await transform(source.toString(), options)).code) : source);
    }),
  );
  for (const name of existsSync(TARGET) ? servedBelow(TARGET) : []) {
    if (!files.includes(name)) rmSync(join(TARGET, name));
  }
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
