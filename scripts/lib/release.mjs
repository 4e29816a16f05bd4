/** What an installation of one's own is uploaded from: a copy of the build, in a folder of the user's. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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

/** Puts the Worker and the pages of this release there; other files of the pages' folder stay. @param {string} folder */
export function copyRelease(folder) {
  for (const { from, to } of filesOfRelease(folder)) {
    mkdirSync(dirname(to), { recursive: true });
    rmSync(to, { force: true });
    copyFileSync(from, to);
  }
}

/** Whether `init` has made this folder: its Worker is there. @param {string} folder */
export const hasRelease = (folder) => existsSync(join(folder, "wrangler.toml")) && existsSync(join(folder, WORKER_FOLDER, MODULES[0]));

/** Whether the Worker and the pages there are of this release: some 3 MB are compared. @param {string} folder */
export const isThisRelease = (folder) =>
  filesOfRelease(folder).every(({ from, to }) => existsSync(to) && readFileSync(to).equals(readFileSync(from)));

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
