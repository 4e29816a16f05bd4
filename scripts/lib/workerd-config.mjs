/** The configuration that bare workerd is started with; it stands beside the two modules of the build. */

/**
 * @param {import("./wrangler-config.mjs").WorkerConfig} config
 * @param {object} where
 * @param {string} where.objects folder of the objects' databases
 * @param {string | null} where.assets folder of the static files, or null for none
 * @param {string[]} where.variables names that the Worker sees, taken from workerd's environment:
 *   tokens never stand in a file
 * @returns {string} Cap'n Proto text
 */
export function workerdConfig(config, { objects, assets, variables }) {
  const list = (rows) => `[\n${rows.map((row) => `    ${row},\n`).join("")}  ]`;
  const text = JSON.stringify;
  const bindings = [
    ...config.objects.map(({ name, className }) => `(name = ${text(name)}, durableObjectNamespace = ${text(className)})`),
    ...variables.map((name) => `(name = ${text(name)}, fromEnvironment = ${text(name)})`),
    ...(assets ? [`(name = ${text(config.assets.binding)}, service = "assets")`] : []),
  ];
  // The unique key goes into the databases' names: changing it starts from nothing.
  const namespaces = config.objects.map(
    ({ className }) => `(className = ${text(className)}, uniqueKey = ${text(`hitparade-${className}`)}, enableSql = true)`,
  );
  const services = [
    `(name = "hitparade", worker = .worker)`,
    `(name = "objects", disk = (path = ${text(objects)}, writable = true))`,
    ...(assets ? [`(name = "assets", disk = (path = ${text(assets)}))`] : []),
  ];
  const flags = config.compatibilityFlags.map((flag) => text(flag)).join(", ");
  return `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = ${list(services)},
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "hitparade")],
);

const worker :Workerd.Worker = (
  modules = [
    (name = "entry.js", esModule = embed "entry.js"),
    (name = "index_bg.wasm", wasm = embed "index_bg.wasm"),
  ],
  compatibilityDate = ${text(config.compatibilityDate)},
  compatibilityFlags = [${flags}],
  bindings = ${list(bindings)},
  durableObjectNamespaces = ${list(namespaces)},
  durableObjectStorage = (localDisk = "objects"),
);
`;
}
