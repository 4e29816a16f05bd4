/** Rust: the tool chain of `rust-toolchain.toml`, the wasm target. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./paths.mjs";
import { findOnPath, mustRun, outputOf } from "./run.mjs";
import { step } from "./steps.mjs";
import { Advice } from "./say.mjs";

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
  await step({ what: `the ${TARGET} target for Rust`, seconds: 15 }, () =>
    mustRun("rustup", ["target", "add", TARGET], {
      todo: ["Is static.rust-lang.org in reach (or RUSTUP_DIST_SERVER set to a mirror)?"],
    }),
  );
}

async function installToolchain() {
  const channel = /channel\s*=\s*"([^"]+)"/.exec(readFileSync(join(ROOT, "rust-toolchain.toml"), "utf8"))?.[1];
  if (!findOnPath("rustup") || !channel) {
    throw new Advice("`cargo --version` fails in this folder.", "Install Rust with rustup, https://rustup.rs.");
  }
  await step({ what: `Rust ${channel}`, seconds: 60 }, () =>
    mustRun("rustup", ["toolchain", "install", channel, "--profile", "minimal", "-c", "rustfmt", "-c", "clippy", "-t", TARGET], {
      todo: ["Is static.rust-lang.org in reach (or RUSTUP_DIST_SERVER set to a mirror)?"],
    }),
  );
}
