/** The runtime's own floor (benches/floor) on bare workerd, for benchmarks to compare with. */
import { mkdirSync, writeFileSync, copyFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./paths.mjs";
import { startWorkerd } from "./server.mjs";
import { readWranglerConfig } from "./wrangler-config.mjs";

/**
 * @param {string} folder for all that it stores
 * @returns {Promise<import("./server.mjs").Server>}
 */
export async function startFloor(folder) {
  mkdirSync(join(folder, "objects"), { recursive: true });
  copyFileSync(join(ROOT, "benches", "floor", "worker.js"), join(folder, "worker.js"));
  const path = join(folder, "config.capnp");
  writeFileSync(path, config(join(folder, "objects"), readWranglerConfig().compatibilityDate));
  return startWorkerd(path, 0);
}

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
