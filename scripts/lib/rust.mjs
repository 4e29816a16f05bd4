/** Rust: the tool chain of `rust-toolchain.toml`, the wasm target, the two cargo tools. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { lock } from "./lock.mjs";
import { CACHE_DIR, ROOT, TOOLS_DIR } from "./paths.mjs";
import { findOnPath, isProgram, mustRun, outputOf, step } from "./run.mjs";
import { Advice, say } from "./say.mjs";

const TARGET = "wasm32-unknown-unknown";

/** Rust itself, in the pinned version. */
export async function ensureRust() {
  if (!findOnPath("cargo")) {
    throw new Advice(
      "Rust is not installed: there is no `cargo` on the PATH.",
      "Install it with rustup, https://rustup.rs, then open a new terminal and try again.",
    );
  }
  if (!outputOf("cargo", "--version")) await installToolchain();
  if (!findOnPath("cc", "gcc", "clang")) {
    throw new Advice(
      "There is no C linker (`cc`), which Rust needs to build programs.",
      "Debian and Ubuntu: apt-get install build-essential",
      "macOS: xcode-select --install",
    );
  }
}

/** The wasm target. The tool-chain file names it, but with RUSTUP_AUTO_INSTALL=0 that adds nothing. */
export async function ensureWasmTarget() {
  const sysroot = outputOf("rustc", "--print", "sysroot");
  if (sysroot && existsSync(join(sysroot, "lib", "rustlib", TARGET, "lib"))) return;
  if (!findOnPath("rustup")) {
    throw new Advice(
      `This Rust has no ${TARGET} target, and there is no rustup to add it.`,
      "Install Rust with rustup, https://rustup.rs, or add the target with what installed your Rust.",
    );
  }
  await step(`the ${TARGET} target for Rust`, "5 to 30 s", () =>
    mustRun("rustup", ["target", "add", TARGET], {
      todo: ["Is static.rust-lang.org in reach (or RUSTUP_DIST_SERVER set to a mirror)?"],
    }),
  );
}

/**
 * The cargo tools, from the PATH or the cache when their version is right, else compiled once.
 * @returns {Promise<{workerBuild: string, wasmBindgen: string}>} paths of the programs
 */
export async function ensureCargoTools() {
  // Both go with a library of the same version: Cargo.lock is where that is pinned.
  const workerBuild = await cargoTool("worker-build", "worker-build", lockedVersion("worker"), "3 to 6 min");
  const wasmBindgen = await cargoTool(
    "wasm-bindgen-cli",
    "wasm-bindgen",
    lockedVersion("wasm-bindgen"),
    "2 to 4 min",
  );
  return { workerBuild, wasmBindgen };
}

async function installToolchain() {
  const channel = /channel\s*=\s*"([^"]+)"/.exec(readFileSync(join(ROOT, "rust-toolchain.toml"), "utf8"))?.[1];
  if (!findOnPath("rustup") || !channel) {
    throw new Advice("`cargo --version` fails in this folder.", "Install Rust with rustup, https://rustup.rs.");
  }
  await step(`Rust ${channel}`, "1 to 3 min", () =>
    mustRun(
      "rustup",
      ["toolchain", "install", channel, "--profile", "minimal", "-c", "rustfmt", "-c", "clippy", "-t", TARGET],
      { todo: ["Is static.rust-lang.org in reach (or RUSTUP_DIST_SERVER set to a mirror)?"] },
    ),
  );
}

/** The program of that very version: where it is, or where it now has been installed. */
async function cargoTool(crate, program, version, duration) {
  const cached = join(TOOLS_DIR, "bin", program);
  const find = () => [findOnPath(program), cached].find((path) => path && versionOf(path) === version);
  const found = find();
  if (found) return found;
  const held = await lock(join(CACHE_DIR, "tools.lock"), (holder) =>
    say(`▸ waiting for another set-up (process ${holder}) that installs the cargo tools`),
  );
  try {
    if (!find()) {
      await step(`${crate} ${version}, compiled once into ${TOOLS_DIR}`, duration, () =>
        mustRun("cargo", ["install", crate, "--version", version, "--locked", "--force", "--root", TOOLS_DIR], {
          todo: ["Is the registry of Rust packages in reach? Is there 1 GB free in the temporary folder?", "Then try again."],
        }),
      );
    }
  } finally {
    held.release();
  }
  return find() ?? cached;
}

/** `wasm-bindgen 0.2.129` and `0.8.7` alike. */
function versionOf(path) {
  if (!isProgram(path)) return null;
  return outputOf(path, "--version")?.split(/\s+/).pop() ?? null;
}

function lockedVersion(crate) {
  const text = readFileSync(join(ROOT, "Cargo.lock"), "utf8");
  const version = new RegExp(`^name = "${crate}"\nversion = "([^"]+)"`, "m").exec(text)?.[1];
  if (!version) throw new Advice(`Cargo.lock has no \`${crate}\`.`, "Restore it: git checkout Cargo.lock");
  return version;
}
