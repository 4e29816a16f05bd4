/** The static files as they are served: scripts and styles minified one by one, the rest as it is. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, extname, join, relative } from "node:path";
import { BUILD_DIR, ROOT } from "./paths.mjs";

const SOURCE = join(ROOT, "www");
const TARGET = join(BUILD_DIR, "www");
const LOADERS = { ".js": "js", ".mjs": "js", ".css": "css" };

/** Brings `build/www` up to date: a fraction of a second, and nothing is touched that is so. */
export async function buildAssets() {
  const { transform } = await import("esbuild");
  const files = filesBelow(SOURCE);
  await Promise.all(
    files.map(async (name) => {
      const source = readFileSync(join(SOURCE, name));
      const loader = LOADERS[extname(name)];
      // Paths stay, so that modules find each other: nothing is bundled.
      const options = { loader, minify: true, target: "es2022", legalComments: "none", charset: "utf8" };
      write(join(TARGET, name), loader ? Buffer.from((await transform(source.toString(), options)).code) : source);
    }),
  );
  for (const name of existsSync(TARGET) ? filesBelow(TARGET) : []) {
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

function filesBelow(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith(".d.mts") && !entry.name.endsWith(".new"))
    .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)));
}
