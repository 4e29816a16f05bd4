/** The build on bare workerd, everything it stores under one folder. */
import { spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { workerd } from "./npm-packages.mjs";
import { MODULES } from "./paths.mjs";
import { Advice } from "./say.mjs";
import { makeOwnFolder } from "./files.mjs";
import { lockState, objectsOf } from "./state.mjs";
import { readSettings, workerVariables } from "./variables.mjs";
import { workerdConfig } from "./workerd-config.mjs";
import { readWranglerConfig } from "./wrangler-config.mjs";

const HOST = "127.0.0.1";
const START_TIMEOUT_MS = 30_000;
const PORT_TIMEOUT_MS = 1_000;
/** workerd lets requests finish after SIGTERM; one that never does must not hold it up. */
const STOP_TIMEOUT_MS = 5_000;
/** Of what workerd says while it is held back, the last so many pieces of up to 64 KiB. */
const MOST_HELD = 100;

/**
 * @typedef {object} Server
 * @property {string} url
 * @property {() => Promise<void>} stop ends it cleanly
 * @property {Promise<string>} ended how it ended; resolves when it has
 * @property {number} pid of workerd
 * @property {() => Promise<void>} tell shows what workerd has said until now, and says from now on, until it ends
 */

/** A setting that cannot be read, by the name that it has for people. */
class BadSetting extends Advice {}

/**
 * Starts the server; resolves when it answers.
 * @param {object} options
 * @param {number} options.port 0: any free one
 * @param {string} options.state folder for all that it stores; made if need be
 * @param {NodeJS.ProcessEnv} [options.environment] where tokens come from
 * @param {string} [options.build] folder of the modules; without one, that which wrangler.toml names beside the pages' own
 * @param {string} [options.own] the installation's own file of settings
 * @param {() => void} [options.prepare] puts in place what is served: port, state and settings are in order
 * @returns {Promise<Server>}
 */
export async function startServer({ port, state, environment = process.env, build, own, prepare }) {
  await refuseTakenPort(port);
  const folder = resolve(state);
  const held = lockState(folder);
  try {
    makeOwnFolder(objectsOf(folder));
    const config = await readWranglerConfig(own);
    const variables = workerVariables(readSettings(config.layers, environment));
    prepare?.();
    const path = writeConfig(folder, build ?? dirname(config.main), config, variables);
    const server = await startWorkerd(path, port, variables, { isHeld: true, onEnd: () => held.release() });
    try {
      await answering(server.url, server.ended);
      server.tell();
      return server;
    } catch (error) {
      // Of a setting the log says the same, for programs.
      const said = error instanceof BadSetting ? null : server.tell();
      await server.stop();
      await said;
      throw error;
    }
  } catch (error) {
    held.release();
    throw error;
  }
}

/**
 * workerd on a configuration whose socket is called `http`; resolves when it listens.
 * @param {string} configPath
 * @param {number} port 0: any free one
 * @param {Record<string, string>} [variables] its environment
 * @param {{isHeld?: boolean, onEnd?: () => void}} [options] `isHeld`: what it says is held back until `tell`
 * @returns {Promise<Server>}
 */
export async function startWorkerd(configPath, port, variables = {}, { isHeld = false, onEnd = () => {} } = {}) {
  const child = spawnWorkerd(configPath, port, variables);
  const log = /** @type {import("node:stream").Readable} */ (child.stderr);
  // Read in any case: of a process that has ended the runtime lets go what nobody reads.
  /** @type {Buffer[] | null} */
  let held = isHeld ? [] : null;
  log.on("data", (chunk) => (held ? held.push(chunk) > MOST_HELD && held.shift() : process.stderr.write(chunk)));
  const logEnded = new Promise((done) => log.once("close", () => done(undefined)));
  const tell = () => {
    for (const chunk of held ?? []) process.stderr.write(chunk);
    held = null;
    return logEnded;
  };
  const ended = new Promise((done) => {
    child.on("error", (error) => done(error.message));
    child.on("exit", (code, signal) => done(signal ?? `exit code ${code}`));
  }).then((how) => {
    onEnd();
    return how;
  });
  const stop = async () => {
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await ended;
    clearTimeout(timer);
  };
  try {
    const url = `http://${HOST}:${await listening(child, ended)}`;
    return { url, stop, ended, tell, pid: /** @type {number} */ (child.pid) };
  } catch (error) {
    const said = isHeld ? tell() : null;
    await stop();
    await said;
    throw error;
  }
}

/**
 * A server that was just killed may hold its port a moment longer; only then is it taken.
 * @param {number} port
 */
export async function refuseTakenPort(port) {
  for (const deadline = Date.now() + PORT_TIMEOUT_MS; ; await sleep(100)) {
    const error = await listenOnce(port);
    if (!error) return;
    if (error.code !== "EADDRINUSE") {
      throw new Advice(`Cannot listen on port ${port}: ${error.message}.`, "Take another one with --port.");
    }
    if (Date.now() > deadline) {
      const free = await freePortFrom(port + 1);
      throw new Advice(
        `Port ${port} is taken by another program.`,
        ...(free === null ? [] : [`Port ${free} is free: --port ${free}`]),
        "Or end that program.",
      );
    }
  }
}

/**
 * The first port from this one on that nobody listens on, of the next hundred.
 * @param {number} port @returns {Promise<number | null>}
 */
export async function freePortFrom(port) {
  for (let next = port; next < Math.min(port + 100, 65_536); next++) {
    if (!(await listenOnce(next))) return next;
  }
  return null;
}

function listenOnce(port) {
  const probe = createServer();
  return new Promise((done) => {
    probe.once("error", done);
    probe.listen(port, HOST, () => probe.close(() => done(null)));
  });
}

/** A copy of the build goes beside the configuration: a later build does not disturb a server. */
function writeConfig(folder, build, config, variables) {
  const run = join(folder, "run");
  mkdirSync(run, { recursive: true });
  for (const name of MODULES) {
    // A copy of what nobody may write, nobody may write either.
    rmSync(join(run, name), { force: true });
    copyFileSync(join(build, name), join(run, name));
  }
  const assets = config.assets.directory;
  const path = join(run, "config.capnp");
  writeFileSync(
    path,
    workerdConfig(config, {
      objects: objectsOf(folder),
      assets: existsSync(assets) ? assets : null,
      variables: Object.keys(variables),
    }),
  );
  return path;
}

/** In our own process group, and never longer alive than we are. */
function spawnWorkerd(configPath, port, variables) {
  const child = spawn(workerd(), ["serve", configPath, `--socket-addr=http=${HOST}:${port}`, "--control-fd=3"], {
    env: { PATH: process.env.PATH, ...variables },
    stdio: ["ignore", 2, "pipe", "pipe"],
  });
  if (child.pid) {
    // Ends when our end of its input closes, which it does however we end.
    const guard = spawn("/bin/sh", ["-c", `cat; kill -KILL ${child.pid} 2>&-`], { stdio: ["pipe", "ignore", "ignore"] });
    guard.unref();
    /** @type {import("node:net").Socket} */ (guard.stdin).unref?.();
    child.on("exit", () => {
      guard.kill("SIGKILL");
      guard.stdin.destroy();
    });
  }
  return child;
}

/** The port that workerd reports on its control channel. */
async function listening(child, ended) {
  const reported = new Promise((done) => {
    let text = "";
    child.stdio[3].on("data", (data) => {
      text += data;
      for (const line of text.split("\n").slice(0, -1)) {
        const event = JSON.parse(line);
        if (event.event === "listen" && event.socket === "http") done(event.port);
      }
    });
  });
  return orEnded(reported, ended);
}

async function answering(url, ended) {
  const answers = async () => {
    let seen = "no answer";
    for (const deadline = Date.now() + START_TIMEOUT_MS; Date.now() < deadline; await sleep(25)) {
      const answer = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(5_000) }).catch(() => null);
      if (answer?.ok) return;
      if (answer) seen = await whyNot(answer);
    }
    throw new Advice(`The server does not answer ${url}/healthz in ${START_TIMEOUT_MS / 1000} s (${seen}).`);
  };
  await orEnded(answers(), ended);
}

/** A setting that cannot be read stays so: there is nothing to wait for. @param {Response} answer */
async function whyNot(answer) {
  const text = await answer.text();
  if (answer.status === 500 && text.includes('"bad_setting"')) throw new BadSetting(`${JSON.parse(text).detail}.`);
  return `status ${answer.status}: ${text.slice(0, 200)}`;
}

async function orEnded(wanted, ended) {
  const failed = ended.then((how) => {
    throw new Advice(`workerd ended at its start (${how}); its messages are above.`);
  });
  return Promise.race([wanted, failed]);
}
