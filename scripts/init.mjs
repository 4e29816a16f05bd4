/** `npx hitparade init`: a folder for an installation of one's own. Asks nothing. */
import { existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { ensureBuilt } from "./build.mjs";
import {
  PAGES_FOLDER,
  UNIT,
  beginRelease,
  copyRelease,
  readPackage,
  releaseIn,
  workerNameOf,
  writeSettings,
  writeUnit,
} from "./lib/release.mjs";
import { Advice, messageOf, runMain, say } from "./lib/say.mjs";
import { newToken } from "./lib/tokens.mjs";

const USAGE = `usage: npx hitparade init [DIR]

  DIR  an empty folder, made if need be; the one where you are if not given. In one that it made before it replaces the
       Worker and the pages by those of this release; settings, tokens and pages of your own stay`;

/** What may be there before: npm's own, and the package itself. */
const HARMLESS = /^(\..*|node_modules|package\.json|package-lock\.json|hitparade-.*\.tgz)$/;
const TOKENS = ".dev.vars";
const IGNORED = `.state/\n.hitparade/\n${TOKENS}\n.wrangler/\nnode_modules/\n`;
const SERVED_AT = "http://127.0.0.1:8787";

/** @param {string} origin of the installation; empty on a page of its own */
const snippet = (origin) => [
  `<script async src="${origin}/beacon.js" data-post="my-first-page"></script>`,
  `<script type="module" src="${origin}/widget.js"></script>`,
  `<top-posts timeframe="7d" k="10"><h2 slot="title">Most played this week</h2></top-posts>`,
];

await runMain(async () => {
  const folder = readFolder();
  const before = releaseIn(folder);
  if (before?.sha256) {
    await ensureBuilt();
    copyRelease(folder);
    return say(
      `${folder}: its Worker and its pages are those of release ${readPackage().version} now; settings, tokens and your own pages stay. A service that runs there shows these pages over its older Worker until it is started again: do that now.`,
    );
  }
  const there = existsSync(folder) ? readdirSync(folder).filter((name) => !HARMLESS.test(name)) : [];
  if (!before && there.length > 0) {
    throw new Advice(
      `${folder} is not empty: ${there.slice(0, 5).join(", ")}${there.length > 5 ? ", …" : ""}. Nothing was written.`,
      "Name a new folder: npx hitparade init my-charts",
    );
  }
  await ensureBuilt();
  beginRelease(folder);
  writeSettings(folder);
  writeUnit(folder);
  mkdirSync(join(folder, PAGES_FOLDER), { recursive: true });
  writeFileSync(join(folder, PAGES_FOLDER, "example.html"), examplePage());
  if (!existsSync(join(folder, ".gitignore"))) writeFileSync(join(folder, ".gitignore"), IGNORED);
  // On Cloudflare they are others: `deploy --secrets` makes those.
  const tokens = ["ADMIN_TOKEN", "INGEST_TOKEN"].map((name) => `${name}=${newToken()}\n`);
  if (!existsSync(join(folder, TOKENS))) {
    writeFileSync(join(folder, `${TOKENS}.new`), tokens.join(""), { mode: 0o600 });
    renameSync(join(folder, `${TOKENS}.new`), join(folder, TOKENS));
  }
  // Last: from then on it is a folder of this release.
  copyRelease(folder);
  tell(folder);
});

function readFolder() {
  let parsed;
  try {
    parsed = parseArgs({ options: { help: { type: "boolean", short: "h" } }, allowPositionals: true });
  } catch (error) {
    throw new Advice(messageOf(error), ...USAGE.split("\n"));
  }
  const { values, positionals } = parsed;
  if (values.help || positionals.length > 1) {
    say(USAGE);
    process.exit(values.help ? 0 : 1);
  }
  return resolve(positionals[0] ?? ".");
}

function examplePage() {
  const lines = snippet("").map((line) => `  ${line}`);
  return `<!doctype html>
<html lang="en">
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>My first page</title>
  <link rel="icon" href="/icon.svg">
  <h1>My first page</h1>
  <p>Each time that somebody opens it is a play of <em>my-first-page</em>. The chart:</p>
${lines.join("\n")}
</html>
`;
}

function tell(folder) {
  const way = relative(process.cwd(), folder);
  say(`${folder}: wrangler.toml has the settings with their usual values, and what you want otherwise goes into a file hitparade.toml beside it; ${TOKENS} has its tokens; ${PAGES_FOLDER} has the pages; \`worker\` belongs to the release; ${UNIT} is for systemd, on a server of yours.

  ${way ? `cd ${way}\n  ` : ""}npx hitparade serve     then open ${SERVED_AT}/example.html
  npx hitparade deploy    the same on Cloudflare, as the Worker "${workerNameOf(folder)}"

Three lines for any page of yours, as long as it serves here; then with the address that \`deploy\` prints:
`);
  process.stdout.write(`${snippet(SERVED_AT).join("\n")}\n`);
}
