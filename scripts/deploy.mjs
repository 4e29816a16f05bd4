/** `npm run deploy`: sets up, builds, and puts the Worker on Cloudflare. Nothing is to be provisioned. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { ensureBuilt } from "./build.mjs";
import { NODE, WRANGLER } from "./lib/npm-packages.mjs";
import { HOME, IS_PACKAGE, ROOT } from "./lib/paths.mjs";
import { copyRelease, hasOtherRelease, readPackage, releaseIn } from "./lib/release.mjs";
import { mustRun } from "./lib/run.mjs";
import { Advice, messageOf, runMain, say } from "./lib/say.mjs";
import { newToken } from "./lib/tokens.mjs";
import { SECRETS } from "./lib/variables.mjs";
import { readWranglerConfig } from "./lib/wrangler-config.mjs";

const USAGE = `usage: npm run deploy -- [--secrets INGEST_TOKEN,ADMIN_TOKEN] [--settings FILE] [--dry-run] [--outdir DIR]

  --secrets NAMES  makes a random token for each of these, in place of one that is there, and prints
                   them once (${SECRETS.join(", ")})
  --settings FILE  the installation's own settings, in place of hitparade.toml
  --dry-run        builds and checks everything, and uploads nothing
  --outdir DIR     keeps what is uploaded in this folder`;

await runMain(async () => {
  const { values, secrets } = readWords();
  if (values.help) return void say(USAGE);
  await ensureBuilt();
  if (HOME !== ROOT) requireFolder();
  const tokens = Object.fromEntries(secrets.map((name) => [name, newToken()]));
  const config = await readWranglerConfig(values.settings || undefined);
  if (HOME !== ROOT && hasOtherRelease(HOME)) copyRelease(HOME);
  for (const warning of config.warnings) say(`warning: ${warning}`);
  const args = ["deploy", "--config", writeConfig(config.toml)];
  if (values["dry-run"]) args.push("--dry-run");
  if (values.outdir) args.push("--outdir", values.outdir);
  if (secrets.length > 0) {
    args.push("--secrets-file", writeSecrets(tokens));
    if (!values["dry-run"]) tellAtEnd(tokens);
  }
  await runWrangler(args, {
    stdin: "inherit",
    todo: [
      "Not logged in? `npx wrangler login` opens a browser; without one, set CLOUDFLARE_API_TOKEN",
      "and CLOUDFLARE_ACCOUNT_ID (docs/deploy.md).",
    ],
  });
  if (values["dry-run"]) say("\nEverything is ready to be uploaded; nothing was.");
});

/**
 * One file for wrangler of the release's and the installation's own, in which numbers are the texts that the Worker
 * takes. It is built already.
 * @param {import("./lib/wrangler-config.mjs").Toml} toml
 */
function writeConfig({ build: _, ...toml }) {
  const path = join(HOME, ".wrangler", "hitparade.json");
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, JSON.stringify(toml, null, 2));
  return path;
}

/** The folder that `npx hitparade init` made: in no other is anything replaced. */
function requireFolder() {
  if (releaseIn(HOME)?.sha256) return;
  throw new Advice(
    `${HOME} is no folder that \`npx hitparade init\` made.`,
    "`npx hitparade init my-charts` makes a folder that can be deployed; call this there.",
  );
}

/** wrangler from the clone's packages; the npm package has it fetched by npx, in the same version. */
function runWrangler(args, options) {
  if (!IS_PACKAGE) return mustRun(NODE, [WRANGLER, ...args], { ...options, cwd: HOME });
  const { devDependencies } = readPackage();
  const names = nodeIsNewEnough() ? ["wrangler"] : ["wrangler", "node"];
  const packages = names.flatMap((name) => ["--package", `${name}@${devDependencies[name]}`]);
  return mustRun("npx", ["--yes", ...packages, "--", "wrangler", ...args], { ...options, cwd: HOME });
}

/** wrangler 4.164 needs Node 22.12; where this one is older, npx brings one. */
function nodeIsNewEnough() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  return major > 22 || (major === 22 && minor >= 12);
}

function readWords() {
  const options = /** @type {const} */ ({
    secrets: { type: "string", default: "" },
    settings: { type: "string", default: "" },
    outdir: { type: "string", default: "" },
    "dry-run": { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  });
  let values;
  try {
    ({ values } = parseArgs({ options }));
  } catch (error) {
    throw new Advice(messageOf(error), ...USAGE.split("\n"));
  }
  const secrets = values.secrets.split(",").filter(Boolean);
  const unknown = secrets.find((name) => !SECRETS.includes(name));
  if (unknown) throw new Advice(`There is no secret \`${unknown}\`.`, ...USAGE.split("\n"));
  return { values, secrets };
}

/**
 * Tokens go to wrangler in a file that only this user can read, until this program ends: what stands
 * in arguments can be seen by everybody on this machine.
 * @param {Record<string, string>} tokens
 */
function writeSecrets(tokens) {
  const folder = mkdtempSync(join(tmpdir(), "hitparade-secrets-"));
  // A signal ends this program, too.
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "secrets.json");
  writeFileSync(path, JSON.stringify(tokens), { mode: 0o600 });
  return path;
}

/** Says the tokens, however it ends: wrangler goes on after they are in force, and may fail then. @param {Record<string, string>} tokens */
function tellAtEnd(tokens) {
  process.once("exit", (code) => {
    const what = code === 0 ? "Keep these" : "These may be in force all the same. Keep them until the next deploy with --secrets";
    say(`\n${what}: nobody can read them from Cloudflare again.`);
    for (const [name, token] of Object.entries(tokens)) process.stdout.write(`${name}=${token}\n`);
  });
}
