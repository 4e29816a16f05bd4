/** The service with connections to the global object and to the shards that can be cut and mended. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUILD_DIR, MODULES, ROOT } from "../../../scripts/lib/paths.mjs";
import { startWorkerd } from "../../../scripts/lib/server.mjs";
import { readSettings, workerVariables } from "../../../scripts/lib/variables.mjs";
import { workerdConfig } from "../../../scripts/lib/workerd-config.mjs";
import { readWranglerConfig } from "../../../scripts/lib/wrangler-config.mjs";
import { ADMIN_TOKEN, INGEST_TOKEN, Service } from "../harness.mjs";

const START_ATTEMPTS = 3;

/** Two servers: one for the Worker and the shards, one for the global object. */
export class CuttableService extends Service {
  /** @param {Record<string, string>} [environment] over the defaults */
  static async start(environment = {}) {
    for (let attempt = 1; ; attempt++) {
      const service = new CuttableService(mkdtempSync(join(tmpdir(), "hitparade-test-")), environment);
      service.connection = new Connection();
      await service.connection.mend();
      try {
        await service.launch();
        return service;
      } catch (error) {
        await service.dispose();
        // A port that was free has been taken meanwhile, by a test beside this one.
        if (attempt === START_ATTEMPTS) throw error;
      }
    }
  }

  get url() {
    return this.server.url;
  }

  async launch() {
    this.connection.to = await freePort();
    for (const name of MODULES) copyFileSync(join(BUILD_DIR, name), join(this.state, name));
    copyFileSync(join(ROOT, "tests", "runtime", "outage", "worker.js"), join(this.state, "worker.js"));
    this.shardsPort = await freePort();
    this.global = await this.#start("global", this.#farEnd());
    this.server = await this.#start("shards", socketTo("Shards", this.shardsPort));
  }

  /** The Worker reaches no shard any more. */
  async cutShards() {
    await this.tellShard("/cut");
  }

  /** It does again; they can store again too. */
  async mendShards() {
    await this.tellShard("/mend");
  }

  /** Open sockets of the first region's first shard. @returns {Promise<number>} */
  async sockets() {
    const answer = await fetch(`http://127.0.0.1:${this.shardsPort}/sockets?name=${encodeURIComponent("main/NA/0")}`);
    return answer.json();
  }

  /** Lets the clock of the Worker and its shards be so much ahead. @param {number} ms */
  async later(ms) {
    await this.tellShard(`/later?ms=${ms}`);
  }

  /** What the test does to the shards, past the Worker. @param {string} path */
  async tellShard(path) {
    const answer = await fetch(`http://127.0.0.1:${this.shardsPort}${path}`, { method: "POST" });
    assert.equal(answer.status, 200, await answer.text());
  }

  /** The same with that of the Worker and its shards. */
  async restartShards() {
    process.kill(this.server.pid, "SIGKILL");
    await this.server.ended;
    this.server = await this.#start("shards", socketTo("Shards", this.shardsPort));
  }

  /** Ends the server of the global object as a power cut does, and starts it on what it stored. */
  async restartGlobal() {
    process.kill(this.global.pid, "SIGKILL");
    await this.global.ended;
    this.global = await this.#start("global", this.#farEnd());
  }

  async dispose() {
    await Promise.all([this.server?.stop(), this.global?.stop()]);
    await this.connection.cut();
    rmSync(this.state, { recursive: true, force: true });
  }

  /** @param {string} name @param {number} port */
  #external = (name, port) => `\n    (name = "${name}", external = (address = "127.0.0.1:${port}", http = ())),`;

  #farEnd() {
    return socketTo("FarEnd", this.connection.to);
  }

  async #start(name, moreSockets) {
    const config = await readWranglerConfig();
    const defaults = { INGEST_TOKEN, ADMIN_TOKEN, LIMIT_PER_MINUTE: "0", ALLOWED_ORIGINS: "", READ_TOKEN: "", METRICS_TOKEN: "" };
    const variables = workerVariables(readSettings(config.layers, { ...defaults, ...this.environment }));
    const objects = join(this.state, name);
    mkdirSync(objects, { recursive: true });
    const path = join(this.state, `${name}.capnp`);
    writeFileSync(
      path,
      workerdConfig(config, { objects, assets: null, variables: Object.keys(variables) })
        .replace("modules = [", 'modules = [\n    (name = "worker.js", esModule = embed "worker.js"),')
        .replace(
          "services = [",
          `services = [${this.#external("connection", this.connection.port)}${this.#external("back", this.shardsPort)}`,
        )
        .replace("bindings = [", 'bindings = [\n    (name = "CONNECTION", service = "connection"),\n    (name = "BACK", service = "back"),')
        .replace("sockets = [", `sockets = [${moreSockets}`),
    );
    return startWorkerd(path, 0, variables);
  }
}

/** Passes requests on, as long as it is not cut. */
class Connection {
  /** Requests so far. */
  passed = 0;
  /** Those to the registry. */
  toRegistry = 0;
  port = 0;
  to = 0;
  #server = null;

  async mend() {
    this.#server = createServer((incoming, outgoing) => {
      const { method, url, headers } = incoming;
      this.passed++;
      if (headers["object-binding"] === "REGISTRY") this.toRegistry++;
      const onward = request({ host: "127.0.0.1", port: this.to, method, path: url, headers }, (answer) => {
        outgoing.writeHead(answer.statusCode, answer.headers);
        answer.pipe(outgoing);
      });
      onward.on("error", () => outgoing.destroy());
      incoming.pipe(onward);
    });
    this.#server.listen(this.port, "127.0.0.1");
    await once(this.#server, "listening");
    this.port = this.#server.address().port;
  }

  async cut() {
    this.#server?.closeAllConnections();
    this.#server?.close();
    this.#server = null;
  }
}

const socketTo = (entrypoint, port) =>
  `(name = "${entrypoint}", address = "127.0.0.1:${port}", http = (), service = (name = "hitparade", entrypoint = "${entrypoint}")), `;

async function freePort() {
  const probe = createServer();
  probe.listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}
