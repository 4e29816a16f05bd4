/**
 * `npm run dev -- schemathesis`: requests that nobody would write by hand, made from `/openapi.json`, once
 * with every token and once with none. Fails on an answer that the contract does not name. It names 503
 * and 504, which say that something is busy or away, but 500 of /healthz alone.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBuilt } from "./build.mjs";
import { numberOption, readOptions } from "./lib/options.mjs";
import { CACHE_DIR, ROOT } from "./lib/paths.mjs";
import { findOnPath, isProgram, mustRun, outputOf, run } from "./lib/run.mjs";
import { step } from "./lib/steps.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";
import { startServer } from "./lib/server.mjs";

const VERSION = "4.32.5";
const FOLDER = join(CACHE_DIR, "schemathesis");
const PROGRAM = join(FOLDER, "bin", "schemathesis");
const HOOKS = join(ROOT, "scripts", "lib", "schemathesis.py");
const CHECKS = [
  "status_code_conformance",
  "content_type_conformance",
  "response_headers_conformance",
  "response_schema_conformance",
  "unsupported_method",
];
const TOKEN = "token-of-the-check";
const TOKENS = ["INGEST_TOKEN", "ADMIN_TOKEN", "READ_TOKEN", "METRICS_TOKEN"];

const USAGE = `usage: npm run dev -- schemathesis [--examples 50] [--seed N]

  --examples N  requests that are tried for each operation and token
  --seed N      makes the same requests again`;

await runMain(async () => {
  const options = readOptions(USAGE, { examples: "50", seed: String(Math.floor(Math.random() * 1e9)) });
  if (!options) return 0;
  const { values, refuse } = options;
  const examples = numberOption("examples", values.examples, { min: 1, max: 100_000 }, refuse);
  const seed = numberOption("seed", values.seed, { min: 0, max: 2 ** 32 - 1 }, refuse);
  await ensureSchemathesis();
  await ensureBuilt();
  say(`▸ seed ${seed}`);
  const withTokens = await check({ token: TOKEN, examples, seed });
  const without = await check({ token: "", examples, seed });
  return withTokens && without ? 0 : 1;
});

async function check({ token, examples, seed }) {
  const state = mkdtempSync(join(tmpdir(), "hitparade-schemathesis-"));
  const tokens = Object.fromEntries(TOKENS.map((name) => [name, token]));
  const server = await startServer({
    port: 0,
    state,
    environment: { ...process.env, ALLOWED_ORIGINS: "", LIMIT_PER_MINUTE: "0", ...tokens },
  });
  say(`▸ ${token ? "with every token" : "without a token"}`);
  try {
    const how = ["--checks", CHECKS.join(","), "--max-examples", String(examples), "--seed", String(seed), "--continue-on-failure"];
    const header = token ? ["--header", `Authorization: Bearer ${token}`] : [];
    const code = await run(PROGRAM, ["run", `${server.url}/openapi.json`, ...how, ...header], {
      cwd: state,
      env: { ...process.env, SCHEMATHESIS_HOOKS: HOOKS },
    });
    return code === 0;
  } finally {
    await server.stop();
    rmSync(state, { recursive: true, force: true });
  }
}

async function ensureSchemathesis() {
  if (isProgram(PROGRAM) && outputOf(PROGRAM, "--version")?.includes(VERSION)) return;
  const python = findOnPath("python3");
  if (!python)
    throw new Advice(
      "Schemathesis needs Python 3.10 or newer, and there is no python3.",
      "Debian and Ubuntu: apt-get install python3-venv",
    );
  await step({ what: `Schemathesis ${VERSION}, from PyPI`, seconds: 30 }, async () => {
    await mustRun(python, ["-m", "venv", FOLDER], { todo: ["Debian and Ubuntu: apt-get install python3-venv"] });
    await mustRun(join(FOLDER, "bin", "pip"), ["install", "--quiet", "--disable-pip-version-check", `schemathesis==${VERSION}`]);
  });
}
