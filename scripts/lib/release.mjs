/** What an installation of one's own is uploaded from: a copy of the build, in a folder of the user's. */
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { filesBelow } from "./files.mjs";
import { BUILD_DIR, MODULES, ROOT } from "./paths.mjs";

const WORKER_FOLDER = "worker";
export const PAGES_FOLDER = "www";
export const UNIT = "hitparade.service";
/** It begins a name of the DNS, which has 63 letters at most between two points. */
const MAX_WORKER_NAME = 63;

/** @returns {{name: string, version: string, devDependencies: Record<string, string>}} */
export const readPackage = () => JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));

/** What of a release stands in such a folder. @param {string} folder @returns {{from: string, to: string}[]} whole paths */
function filesOfRelease(folder) {
  const pages = join(BUILD_DIR, "www");
  return [
    ...MODULES.map((name) => ({ from: join(BUILD_DIR, name), to: join(folder, WORKER_FOLDER, name) })),
    ...filesBelow(pages).map((from) => ({ from, to: join(folder, PAGES_FOLDER, relative(pages, from)) })),
  ];
}

/**
 * Puts the Worker and the pages of this release there; other files of the pages' folder stay. Where that fails, on a full
 * disk, what was there before stays as it was.
 * @param {string} folder
 */
export function copyRelease(folder) {
  const files = filesOfRelease(folder).map(({ from, to }) => ({ to, write: (/** @type {string} */ path) => copyFileSync(from, path) }));
  replace([...files, mark(folder, sha256OfRelease())]);
}

/** Notes that `init` makes this folder: where it is interrupted, it may go on. @param {string} folder */
export const beginRelease = (folder) => replace([mark(folder, "")]);

/**
 * Which release a folder is of that `init` made; null in every other, where nothing may be replaced.
 * @param {string} folder @returns {{version: string, sha256: string} | null} `sha256`: empty until `init` is done
 */
export function releaseIn(folder) {
  try {
    const { version, sha256 } = JSON.parse(readFileSync(markIn(folder), "utf8"));
    return typeof version === "string" && typeof sha256 === "string" ? { version, sha256 } : null;
  } catch {
    return null;
  }
}

/** Whether a whole one is there, and not this one. @param {string} folder */
export function hasOtherRelease(folder) {
  const { sha256 } = releaseIn(folder) ?? { sha256: "" };
  return sha256 !== "" && sha256 !== sha256OfRelease();
}

/** It belongs to the release, as the Worker does beside which it stands. @param {string} folder */
const markIn = (folder) => join(folder, WORKER_FOLDER, "release.json");

/** @param {string} folder @param {string} sha256 */
function mark(folder, sha256) {
  const text = `${JSON.stringify({ version: readPackage().version, sha256 })}\n`;
  return { to: markIn(folder), write: (/** @type {string} */ path) => writeFileSync(path, text) };
}

/** Of its 3 MB: two builds may have one version. */
function sha256OfRelease() {
  const hash = createHash("sha256");
  for (const { from, to } of filesOfRelease(".").sort((one, other) => (one.to < other.to ? -1 : 1))) {
    const bytes = readFileSync(from);
    hash.update(`${to}\n${bytes.length}\n`).update(bytes);
  }
  return hash.digest("hex");
}

/** All or none, as far as a disk lets: first all are written beside. @param {{to: string, write: (path: string) => void}[]} files the last one last */
function replace(files) {
  const beside = (/** @type {string} */ to) => `${to}.hitparade-new`;
  try {
    for (const { to, write } of files) {
      mkdirSync(dirname(to), { recursive: true });
      // A copy of what nobody may write, nobody may write either.
      rmSync(beside(to), { force: true });
      write(beside(to));
    }
  } catch (error) {
    for (const { to } of files) rmSync(beside(to), { force: true });
    throw error;
  }
  for (const { to } of files) renameSync(beside(to), to);
}

/** What the Worker is called that is deployed from a folder: as that, so that no installation replaces another. @param {string} folder */
export function workerNameOf(folder) {
  const name = basename(resolve(folder))
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, MAX_WORKER_NAME)
    .replace(/^-+|-+$/g, "");
  return name || "hitparade";
}

/** Settings as in this release, for those files. @param {string} folder */
export const writeSettings = (folder) =>
  writeChanged("wrangler.toml", join(folder, "wrangler.toml"), [
    [
      /^# The Worker on Cloudflare[^]*?(?=^name = )/m,
      "# The Worker on Cloudflare: `npx hitparade deploy`. `npx hitparade serve` reads it too.\n",
    ],
    [/^name = .*$/m, `name = "${workerNameOf(folder)}"`],
    [/^main = .*$/m, `main = "${WORKER_FOLDER}/entry.js"`],
    [/^build\.command = .*\n\n/m, ""],
    [/^assets\.directory = .*$/m, `assets.directory = "${PAGES_FOLDER}"`],
  ]);

/** The systemd unit of the clone, for `serve` in that folder. @param {string} folder */
export const writeUnit = (folder) =>
  writeChanged("deploy/hitparade.service", join(folder, UNIT), [
    [
      /^# Hitparade on one machine[^]*?(?=\[Unit\])/m,
      `# Hitparade on one machine, on bare workerd. To install:
#   useradd --system --home /var/lib/hitparade hitparade
#   cp ${UNIT} /etc/systemd/system/ && systemctl enable --now hitparade
# \`hitparade\` is installed for everybody (sudo npm install --global). Tokens and settings are in
# /etc/hitparade.env, lines of NAME=value, readable by root only (docs/deploy.md makes it).
# It listens on 127.0.0.1: put a proxy with TLS before it (docs/deploy.md).
`,
    ],
    // A specifier of systemd begins with %.
    [/^WorkingDirectory=.*$/m, `WorkingDirectory=${resolve(folder).replaceAll("%", "%%")}`],
    [/^ExecStart=.*$/m, "ExecStart=/usr/bin/env hitparade serve --port 8787 --state /var/lib/hitparade"],
  ]);

/** @param {string} source of the project @param {string} target @param {[RegExp, string][]} changes each of which must have something to change */
function writeChanged(source, target, changes) {
  const text = changes.reduce(
    (before, [what, by]) => {
      if (!what.test(before)) throw new Error(`${source} has nothing like ${what}`);
      return before.replace(what, () => by);
    },
    readFileSync(join(ROOT, source), "utf8"),
  );
  writeFileSync(target, text);
}
