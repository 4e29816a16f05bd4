/** Chromium, as all browser tests start it. */
import { chromium } from "playwright-core";
import { ensureBrowser } from "../../scripts/lib/browser.mjs";

const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/**
 * @param {string[]} [args] more arguments
 * @param {import("playwright-core").LaunchOptions} [options]
 */
export async function launchChromium(args = [], options = {}) {
  return chromium.launch({ ...options, executablePath: await ensureBrowser(), args: [...ARGS, ...args] });
}
