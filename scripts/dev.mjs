/** `npm run dev -- NAME`: what developers of Hitparade do; `npm test` and its like come here too. */
import { runCommand } from "./lib/command.mjs";

const USAGE = `usage: npm run dev -- NAME [OPTIONS]

  setup         installs what building and testing need
  build         the Worker in \`build\`, if a source has changed
  package       the npm package, as \`npm pack\` makes it
  first-run     how long it takes from nothing to the first chart, and to tests that passed
  kill          kill -9 under load, restart, send again, count
  soak          the highest rate, killed every minute; or senders that go away at every moment
  fuzz          bad input of every kind
  proxies       a thousand visitors through nginx, Caddy and HAProxy
  pipelines     logs, rsyslog, Kafka, Prometheus and WordPress with the service
  engines       the beacon in Firefox and WebKit, or in Chromium many times
  react         hitparade/react in an application of Vite, the beacon in one of Next.js, the client in Deno
  schemathesis  requests made from /openapi.json
  pictures      every page in every state, as Chromium shows it
  types         TypeScript reads all JavaScript
  format        all JavaScript in one form
  cost          what a size needs and costs
  version       what \`npm version\` calls: every place that names it
  bench         \`npm run bench\`
  simulate      \`npm run simulate\`
  test          \`npm test\``;

const COMMANDS = {
  setup: () => import("./setup.mjs").then(({ main }) => main()),
  build: () => import("./build.mjs").then(({ main }) => main()),
  package: () => import("./package.mjs"),
  "first-run": () => import("./first-run.mjs"),
  kill: () => import("./kill.mjs"),
  soak: () => import("./soak.mjs"),
  fuzz: () => import("./fuzz.mjs"),
  proxies: () => import("./proxies.mjs"),
  pipelines: () => import("./pipelines.mjs"),
  engines: () => import("./engines.mjs"),
  react: () => import("./react.mjs"),
  schemathesis: () => import("./schemathesis.mjs"),
  pictures: () => import("./pictures.mjs"),
  types: () => import("./types.mjs"),
  format: () => import("./format.mjs"),
  cost: () => import("./cost.mjs"),
  version: () => import("./version.mjs"),
  bench: () => import("./bench.mjs"),
  simulate: () => import("./simulate.mjs"),
  test: () => import("./test.mjs"),
};

runCommand(COMMANDS, "", USAGE);
