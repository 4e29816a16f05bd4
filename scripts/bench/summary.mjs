// The summary beside its peers, its floor and its limits, natively and in Wasm.
//
//   node scripts/bench/summary.mjs           the table
//   node scripts/bench/summary.mjs --json    a line a number: {name, value, unit, must, aim, holds}
//   ... --wasm-only                          without the native part
//
// `npm run bench -- summary` is the same. Exits with 1 if anything is not as it must be.

import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { runMain } from "../lib/say.mjs";
import { setupToBuild } from "../setup.mjs";

/** @typedef {{name: string, value: number, unit: string, must: number | null, aim: number | null, holds: boolean | null}} Line */

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const json = process.argv.includes("--json");
const wasmOnly = process.argv.includes("--wasm-only");

const TARGET = "wasm32-unknown-unknown";
const ROUNDS = 21;
const PLAYS_A_ROUND = 960_000;
const MERGE_ROUNDS = 15;
const PANES = 60;

/**
 * The streams of the table, as `start` of src/summary/benches/parts/wasm.rs numbers them, and how many times the floor
 * of the same run a play may take.
 */
const STREAMS = [
  { name: "zipf 1.0", must: 6, aim: 4, over: [0.11, 0.08] },
  { name: "zipf 1.2", must: 4, aim: 2.5, over: [0.06, 0.05] },
  { name: "uniform", must: 8.5, aim: 4, over: [0.13, 0.07] },
];

/** @returns {Line[]} */
function native() {
  return ["summary", "equal_bytes"].flatMap(linesOf);
}

/** @param {string} bench @returns {Line[]} */
function linesOf(bench) {
  const run = spawnSync("cargo", ["bench", "-q", "-p", "hitparade-summary", "--bench", bench, "--", "--json"], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 1 << 24,
  });
  if (run.status !== 0) throw new Error(`cargo bench failed with status ${run.status}`);
  return run.stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
}

/** Builds the same source for Wasm and gives its exports. */
function instantiate() {
  const build = ["build", "-q", "--release", "--target", TARGET, "-p", "hitparade-summary", "--example", "summary_wasm"];
  execFileSync("cargo", build, { cwd: root, stdio: "inherit" });
  const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
  const file = join(target, TARGET, "release", "examples", "summary_wasm.wasm");
  const module = new WebAssembly.Module(readFileSync(file));
  // What the crate's Workers part imports is never called here.
  /** @type {Record<string, Record<string, any>>} */
  const imports = {};
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    imports[from] ??= {};
    imports[from][name] = kind === "function" ? () => 0 : undefined;
  }
  return /** @type {any} */ (new WebAssembly.Instance(module, imports).exports);
}

/** CPU time in nanoseconds. @param {() => unknown} run */
function time(run) {
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) * 1_000;
}

/** @param {number[]} numbers */
function median(numbers) {
  return numbers.sort((a, b) => a - b)[numbers.length >> 1];
}

/** @returns {Line} */
function atMost(name, value, unit, must, aim) {
  return { name, value, unit, must, aim, holds: value <= must };
}

/** @returns {Line} */
function note(name, value, unit) {
  return { name, value, unit, must: null, aim: null, holds: null };
}

/** Plays, weights and floor in turns, each on the same plays. */
function plays(wasm, lines) {
  STREAMS.forEach(({ name, must, aim, over }, stream) => {
    const unit = [];
    const weighted = [];
    const floor = [];
    wasm.start(stream);
    for (let round = 0; round < ROUNDS; round++) {
      wasm.draw(PLAYS_A_ROUND);
      const turns = [
        () => unit.push(time(wasm.record) / PLAYS_A_ROUND),
        () => weighted.push(time(wasm.record_weighted) / PLAYS_A_ROUND),
        () => floor.push(time(wasm.floor) / PLAYS_A_ROUND),
      ];
      turns.forEach((_, turn) => turns[(turn + round) % turns.length]());
    }
    const ours = median(unit);
    lines.push(note(`wasm, ${name}: a play`, ours, "ns"));
    lines.push(note(`wasm, ${name}: floor`, median(floor), "ns"));
    lines.push(atMost(`wasm, ${name}: against the floor`, ours / median(floor), "x", must, aim));
    lines.push(atMost(`wasm, ${name}: weights 1 to 10^6`, median(weighted) / ours, "x", 1.5, 1.1));
    lines.push(atMost(`wasm, ${name}: overcount of N/m`, wasm.overcount(), "", ...over));
  });
}

function merges(wasm, lines) {
  STREAMS.forEach(({ name, over }, stream) => {
    wasm.start(stream);
    for (let pane = 0; pane < PANES; pane++) {
      wasm.draw(Math.floor(20_000_000 / PANES));
      wasm.add_pane();
    }
    const kept = [];
    const all = [];
    const encode = [];
    const decode = [];
    for (let round = 0; round < MERGE_ROUNDS; round++) {
      all.push(time(wasm.merge_all) / 1e6);
      kept.push(time(wasm.merge) / 1e6);
      encode.push(time(wasm.encode) / 1e3 / PANES);
      decode.push(time(wasm.decode) / 1e3 / PANES);
    }
    if (wasm.decode() !== PANES) throw new Error("a pane is not decoded as it was encoded");
    lines.push(atMost(`wasm, ${name}: merge of 60 panes`, median(kept), "ms", 6, 3));
    lines.push(note(`wasm, ${name}: merge, nothing dropped`, median(all), "ms"));
    lines.push(atMost(`wasm, ${name}: overcount of N/m, merged`, wasm.overcount(), "", 0.12, over[1]));
    lines.push(note(`wasm, ${name}: encode a pane`, median(encode), "us"));
    lines.push(note(`wasm, ${name}: decode a pane`, median(decode), "us"));
  });
}

/** @param {Line[]} lines */
function print(lines) {
  if (json) {
    lines.forEach((line) => console.log(JSON.stringify(line)));
    return;
  }
  const cpu = cpus();
  console.log(`machine: ${cpu[0]?.model.trim()}, ${cpu.length} cores; Node ${process.version}`);
  console.log("command: node scripts/bench/summary.mjs");
  console.log("1,024 counters, 11-byte ids out of a million, 20 million plays, CPU time, medians\n");
  const row = (name, value, unit, must, aim, holds) =>
    `${name.padEnd(58)}${value.padStart(9)} ${unit.padEnd(6)}${must.padStart(7)}${aim.padStart(7)}  ${holds}`;
  console.log(row("", "measured", "", "must", "aim", ""));
  for (const { name, value, unit, must, aim, holds } of lines) {
    const verdict = holds === null ? "" : holds ? "holds" : "MISSED";
    const text = (number) => (number === null ? "" : String(number));
    console.log(row(name, value.toFixed(3), unit, text(must), text(aim), verdict));
  }
}

/** @returns {Promise<boolean>} whether every limit holds */
export async function run() {
  await setupToBuild();
  const lines = wasmOnly ? [] : native();
  const wasm = instantiate();
  plays(wasm, lines);
  merges(wasm, lines);
  print(lines);
  return lines.every((line) => line.holds !== false);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await runMain(async () => ((await run()) ? 0 : 1));
}
