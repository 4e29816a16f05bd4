/** A Chrome or Chromium for the tests that look at the page. */
import { installPackages } from "./debian.mjs";
import { findOnPath, isProgram } from "./run.mjs";
import { Advice } from "./say.mjs";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const MAC_PROGRAMS = ["/Applications/Google Chrome.app/Contents/MacOS/Google Chrome", "/Applications/Chromium.app/Contents/MacOS/Chromium"];

/** @returns {Promise<string>} the program: named by CHROME_PATH, or installed, or installed now */
export async function ensureBrowser() {
  const named = process.env.CHROME_PATH;
  if (named) {
    if (isProgram(named)) return named;
    throw new Advice(`CHROME_PATH names ${named}, which is not a program.`, "Correct it, or unset it.");
  }
  const installed = findBrowser();
  if (installed) return installed;
  await installPackages("Chromium", 60, "chromium");
  return (
    findBrowser() ??
    fail(
      "There is no Chrome or Chromium, which the tests of the page need.",
      "Install one, or say where it is: CHROME_PATH=/path/to/chrome npm test",
      "The other tests alone: npm test -- rust, npm test -- runtime",
    )
  );
}

const findBrowser = () => findOnPath(...NAMES) ?? MAC_PROGRAMS.find(isProgram);

/** @param {string} what @param {...string} todo @returns {never} */
function fail(what, ...todo) {
  throw new Advice(what, ...todo);
}
