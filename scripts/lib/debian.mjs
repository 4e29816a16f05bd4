/** Programs that tests need and Debian has as packages. */
import { existsSync } from "node:fs";
import { findOnPath, mustRun } from "./run.mjs";
import { step } from "./steps.mjs";

/** @returns {boolean} whether packages can be installed: as root, on Debian or its like */
const canInstall = () => process.getuid?.() === 0 && existsSync("/etc/debian_version") && findOnPath("apt-get") !== null;

/**
 * Installs packages where that can be done; whoever needs them looks whether they are there.
 * @param {string} what for the person at the terminal @param {number} seconds it takes so long
 * @param {...string} packages
 */
export async function installPackages(what, seconds, ...packages) {
  if (!canInstall()) return;
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  await step({ what: `${what}, with apt`, seconds }, async () => {
    await mustRun("apt-get", ["update", "-qq"], { env });
    await mustRun("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...packages], { env });
  });
}
