/** The runtime's own floor (benches/floor) on bare workerd, for benchmarks to compare with. */
import { mkdirSync, writeFileSync, copyFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./paths.mjs";
import { startWorkerd } from "./server.mjs";
import { readWranglerConfig } from "./wrangler-config.mjs";

/**
 * @param {string} folder for all that it stores
 * @param {string} [name] of a file with an object `Floor`
 * @returns {Promise<import("./server.mjs").Server>}
 */
export async function startFloor(folder, name = "worker.js") {
  mkdirSync(join(folder, "objects"), { recursive: true });
  copyFileSync(join(ROOT, "benches", "floor", name), join(folder, "worker.js"));
  const path = join(folder, "config.capnp");
  writeFileSync(path, config(join(folder, "objects"), (await readWranglerConfig()).compatibilityDate));
  return startWorkerd(path, 0);
}

/**
 * A Worker that answers a constant of so many bytes at once.
 * @param {string} folder for its configuration
 * @param {number} bytes
 * @returns {Promise<import("./server.mjs").Server>}
 */
export async function startConstant(folder, bytes) {
  mkdirSync(folder, { recursive: true });
  copyFileSync(join(ROOT, "benches", "floor", "constant.js"), join(folder, "constant.js"));
  const path = join(folder, "config.capnp");
  writeFileSync(path, constantConfig(bytes, (await readWranglerConfig()).compatibilityDate));
  return startWorkerd(path, 0);
}

const constantConfig = (bytes, compatibilityDate) => `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "constant", worker = .worker)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "constant")],
);

const worker :Workerd.Worker = (
  modules = [(name = "constant.js", esModule = embed "constant.js")],
  compatibilityDate = ${JSON.stringify(compatibilityDate)},
  bindings = [(name = "SIZE", text = "${bytes}")],
);
`;

const config = (objects, compatibilityDate) => `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "floor", worker = .worker),
    (name = "objects", disk = (path = ${JSON.stringify(objects)}, writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "floor")],
);

const worker :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = ${JSON.stringify(compatibilityDate)},
  bindings = [(name = "FLOOR", durableObjectNamespace = "Floor")],
  durableObjectNamespaces = [(className = "Floor", uniqueKey = "floor", enableSql = true)],
  durableObjectStorage = (localDisk = "objects"),
);
`;
