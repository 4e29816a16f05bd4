/** `npm run dev -- proxies`: nginx, Caddy and HAProxy before the service, with the configurations of deploy/. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ensureBuilt } from "./build.mjs";
import { installPackages } from "./lib/debian.mjs";
import { NODE } from "./lib/npm-packages.mjs";
import { readOptions } from "./lib/options.mjs";
import { ROOT } from "./lib/paths.mjs";
import { run } from "./lib/run.mjs";
import { Advice, runMain } from "./lib/say.mjs";

const USAGE = `usage: npm run dev -- proxies

Sends a thousand visitors of many countries through nginx, Caddy and HAProxy, and counts them.`;

const PACKAGES = ["nginx", "libnginx-mod-http-geoip", "geoip-database", "geoip-bin", "caddy", "haproxy"];
/** Where Debian puts what they are looked for by; not every PATH has /usr/sbin. */
const FOUND_BY = [
  "/usr/sbin/nginx",
  "/usr/share/nginx/modules-available/mod-http-geoip.conf",
  "/usr/share/GeoIP/GeoIP.dat",
  "/usr/bin/geoiplookup",
  "/usr/bin/caddy",
  "/usr/sbin/haproxy",
];

await runMain(async () => {
  if (!readOptions(USAGE, {})) return 0;
  const missing = () => FOUND_BY.filter((path) => !existsSync(path));
  if (missing().length > 0) await installPackages("nginx, Caddy and HAProxy", 30, ...PACKAGES);
  if (missing().length > 0) {
    throw new Advice(`These are missing: ${missing().join(", ")}.`, `On Debian: sudo apt install ${PACKAGES.join(" ")}`);
  }
  await ensureBuilt();
  return run(NODE, ["--test", "--test-reporter=spec", join(ROOT, "tests", "proxies", "proxies.test.mjs")], { stdout: "inherit" });
});
