/** Firefox and WebKit for the tests of the beacon, and what drives them: nothing that anybody else needs. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { installPackages } from "./debian.mjs";
import { ROOT } from "./paths.mjs";
import { findOnPath, isProgram, mustRun } from "./run.mjs";
import { Advice } from "./say.mjs";
import { step } from "./steps.mjs";

/** @typedef {"firefox" | "webkit"} Engine */

/** @type {Record<Engine, {name: string, packages: string[], drivers: Record<string, string>}>} */
export const ENGINES = {
  firefox: { name: "Firefox", packages: ["firefox-esr"], drivers: { "puppeteer-core": "25.16.0" } },
  webkit: { name: "WebKit", packages: ["webkit2gtk-driver", "xvfb"], drivers: { "selenium-webdriver": "4.49.0" } },
};
const MINI_BROWSERS = ["x86_64", "aarch64"].flatMap((machine) =>
  ["4.1", "4.0"].map((version) => `/usr/lib/${machine}-linux-gnu/webkit2gtk-${version}/MiniBrowser`),
);
const DRIVERS = join(ROOT, "target", "engines");

/** The programs of an engine, or null for one that is not there. @param {Engine} engine */
function find(engine) {
  if (engine === "firefox") return [process.env.FIREFOX_PATH ?? findOnPath("firefox-esr", "firefox")];
  return [findOnPath("WebKitWebDriver"), findOnPath("Xvfb"), MINI_BROWSERS.find(isProgram) ?? null];
}

/** @param {Engine} engine */
export const isThere = (engine) => find(engine).every(Boolean);

/** @param {Engine} engine @returns {string[]} its programs; installed where that can be done */
export function programsOf(engine) {
  const { name, packages } = ENGINES[engine];
  const found = find(engine);
  if (found.every(Boolean)) return /** @type {string[]} */ (found);
  throw new Advice(`${name} is not here, which these tests need.`, whereToGet(engine), `Debian's packages: ${packages.join(", ")}`);
}

/** @param {Engine} engine */
export const whereToGet = (engine) => `apt-get install ${ENGINES[engine].packages.join(" ")}`;

/** Installs engines and what drives them, as far as that can be done. @param {Engine[]} engines */
export async function installEngines(engines) {
  for (const engine of engines.filter((each) => !isThere(each))) {
    await installPackages(ENGINES[engine].name, 60, ...ENGINES[engine].packages);
  }
}

/** Drivers stand in a folder of their own: who only builds and serves needs none. */
export async function installDrivers() {
  const dependencies = Object.assign({}, ...Object.values(ENGINES).map(({ drivers }) => drivers));
  const isInstalled = (name) => {
    const file = join(DRIVERS, "node_modules", name, "package.json");
    return existsSync(file) && createRequire(file)(file).version === dependencies[name];
  };
  if (Object.keys(dependencies).every(isInstalled)) return;
  mkdirSync(DRIVERS, { recursive: true });
  writeFileSync(join(DRIVERS, "package.json"), JSON.stringify({ private: true, dependencies }));
  const npm = findOnPath("npm");
  if (!npm) throw new Advice("npm is not on the path.", "Install Node with npm.");
  await step({ what: "drivers of browsers, with npm", seconds: 20 }, () =>
    mustRun(npm, ["install", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts", "--prefix", DRIVERS]),
  );
}

/** @param {string} name @returns {Promise<any>} */
export const importDriver = (name) => import(pathToFileURL(createRequire(join(DRIVERS, "package.json")).resolve(name)).href);
