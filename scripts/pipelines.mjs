/** `npm run dev -- pipelines`: logs, rsyslog, Kafka, Prometheus and WordPress with the service, as the documents say. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ensureBuilt } from "./build.mjs";
import { installPackages } from "./lib/debian.mjs";
import { NODE } from "./lib/npm-packages.mjs";
import { readOptions } from "./lib/options.mjs";
import { ROOT } from "./lib/paths.mjs";
import { run } from "./lib/run.mjs";
import { Advice, runMain } from "./lib/say.mjs";

const USAGE = `usage: npm run dev -- pipelines [--lines 10000000]

nginx' and CloudFront's logs, rsyslog, tail, Kafka (kcat) through \`hitparade send\`, each killed in the middle and
started again; Prometheus with the shipped rules; the WordPress plugin; and a log of so many lines in bounded memory.`;

const PACKAGES = ["nginx", "rsyslog", "kcat", "prometheus", "php-cli"];
/** Where Debian puts what they are looked for by; not every PATH has /usr/sbin. */
const FOUND_BY = ["/usr/sbin/nginx", "/usr/sbin/rsyslogd", "/usr/bin/kcat", "/usr/bin/prometheus", "/usr/bin/promtool", "/usr/bin/php"];

await runMain(async () => {
  const options = readOptions(USAGE, { lines: "10000000" });
  if (!options) return 0;
  const missing = () => FOUND_BY.filter((path) => !existsSync(path));
  if (missing().length > 0) await installPackages("nginx, rsyslog, kcat, Prometheus and PHP", 30, ...PACKAGES);
  if (missing().length > 0) {
    throw new Advice(`These are missing: ${missing().join(", ")}.`, `On Debian: sudo apt install ${PACKAGES.join(" ")}`);
  }
  await ensureBuilt();
  const env = { ...process.env, PIPELINE_LINES: options.values.lines };
  const files = ["pipelines", "wordpress"].map((name) => join(ROOT, "tests", "pipelines", `${name}.test.mjs`));
  return run(NODE, ["--test", "--test-reporter=spec", "--test-concurrency=1", ...files], { env, stdout: "inherit" });
});
