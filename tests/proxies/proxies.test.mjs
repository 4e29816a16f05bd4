/**
 * nginx, Caddy and HAProxy as Debian has them, with the configurations of deploy/, before the real
 * service: a thousand visitors of many addresses and countries each, none lost, none forged.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { freePortFrom } from "../../scripts/lib/server.mjs";
import { Model, Service, eventually, randomNumbers } from "../runtime/harness.mjs";

const VISITORS = 1_000;
const AT_ONCE = 40;
/** An address may add so many plays to a post a minute. */
const VOTES = 2;
const FIRST_PORT = 18_950;

/** Countries with many addresses, and the regions that are theirs. */
const REGION_OF = {
  US: "NA",
  CA: "NA",
  MX: "NA",
  BR: "SA",
  AR: "SA",
  ZA: "AF",
  EG: "AF",
  MA: "AF",
  CN: "AS",
  JP: "AS",
  KR: "AS",
  IN: "AS",
  GB: "EU",
  FR: "EU",
  IT: "EU",
  NL: "EU",
  ES: "EU",
  RU: "EU",
  DE: "DE",
  AU: "OC",
  NZ: "OC",
};
const REGIONS = JSON.stringify([
  ...["NA", "SA", "EU", "AF", "AS", "OC"].map((id) => ({ id, continents: [id] })),
  { id: "DE", countries: ["DE"] },
]);
/** Of visitors whose country nobody knows. */
const FIRST_REGION = "NA";

/** @typedef {{address: string, country: string | null}} Visitor */

/** Addresses of the whole Internet with what the database of Debian's nginx says of them. */
function visitorsOfTheWorld() {
  const random = randomNumbers(20_261_126);
  /** @type {Visitor[]} */
  const visitors = [];
  while (visitors.length < VISITORS - 50) {
    const address = [1 + Math.floor(random() * 222), 0, 0, 0].map((first) => first || Math.floor(random() * 256)).join(".");
    const said = spawnSync("geoiplookup", ["-f", "/usr/share/GeoIP/GeoIP.dat", address], { encoding: "utf8" }).stdout;
    const [, country] = /: ([A-Z]{2}),/.exec(said) ?? [];
    if (country in REGION_OF && !/^(10|127)\./.test(address)) visitors.push({ address, country });
  }
  while (visitors.length < VISITORS) visitors.push({ address: `2001:db8:${visitors.length.toString(16)}::7`, country: null });
  return visitors;
}

/** Addresses of this machine, of which a file of ranges says the country. */
function visitorsOfThisMachine() {
  const countries = Object.keys(REGION_OF);
  return Array.from({ length: VISITORS }, (_, index) => {
    const range = index % (countries.length + 1);
    return { address: `127.${10 + range}.${index >> 8}.${1 + (index & 127)}`, country: countries[range] ?? null };
  });
}

/** @typedef {{start: (folder: string, port: number, service: string, visitors: Visitor[]) => string[], visitors: () => Visitor[], announces: boolean}} Proxy
 * `announces`: visitors come as from a load balancer that says their addresses (the PROXY protocol) */

/** @type {Record<string, Proxy>} */
const PROXIES = {
  nginx: {
    visitors: visitorsOfTheWorld,
    announces: true,
    start(folder, port, service) {
      const site = withPorts("nginx.conf", service, [
        "listen 80;",
        `listen 127.0.0.1:${port} proxy_protocol;\n  set_real_ip_from 127.0.0.1;\n  real_ip_header proxy_protocol;`,
      ]);
      writeFileSync(join(folder, "site.conf"), site);
      const main = `user root root;\nload_module modules/ngx_http_geoip_module.so;\ndaemon off;\npid ${folder}/pid;\nerror_log stderr;\nevents { }\nhttp {\n  access_log off;\n  client_body_temp_path ${folder}/body;\n  proxy_temp_path ${folder}/proxy;\n  include site.conf;\n}\n`;
      writeFileSync(join(folder, "nginx.conf"), main);
      return ["/usr/sbin/nginx", "-p", "/usr/lib/nginx", "-c", join(folder, "nginx.conf")];
    },
  },
  Caddy: {
    visitors: visitorsOfThisMachine,
    announces: false,
    start(folder, port, service) {
      const site = withPorts("Caddyfile", service, [":80 {", `http://:${port} {\n\tbind 127.0.0.1`]);
      writeFileSync(join(folder, "Caddyfile"), `{\n\tadmin off\n\tauto_https off\n}\n${site}`);
      const ranges = Object.keys(REGION_OF).map(
        (country, range) => `@${country} remote_ip 127.${10 + range}.0.0/16\nrequest_header @${country} X-Country ${country}\n`,
      );
      writeFileSync(join(folder, "countries.caddy"), ranges.join(""));
      return ["/usr/bin/caddy", "run", "--config", join(folder, "Caddyfile"), "--adapter", "caddyfile"];
    },
  },
  HAProxy: {
    visitors: visitorsOfTheWorld,
    announces: true,
    start(folder, port, service, visitors) {
      const map = join(folder, "countries.map");
      const known = visitors.filter(({ country }) => country !== null);
      writeFileSync(map, known.map(({ address, country }) => `${address}/32 ${country}\n`).join(""));
      const config = withPorts(
        "haproxy.cfg",
        service,
        ["bind :80", `bind 127.0.0.1:${port} accept-proxy`],
        ["/etc/haproxy/countries.map", map],
      );
      writeFileSync(join(folder, "haproxy.cfg"), config);
      return ["/usr/sbin/haproxy", "-db", "-f", join(folder, "haproxy.cfg")];
    },
  },
};

/** A configuration of deploy/ with the places of this test. @param {string} name @param {string} service @param {...[string, string]} changes */
function withPorts(name, service, ...changes) {
  let text = readFileSync(join(ROOT, "deploy", name), "utf8");
  for (const [from, to] of [["127.0.0.1:8787", service], ...changes]) {
    assert.equal(text.split(from).length, 2, `${name} has ${from} once`);
    text = text.replace(from, to);
  }
  return text;
}

for (const [name, proxy] of Object.entries(PROXIES)) {
  describe(`behind ${name}`, { timeout: 180_000 }, () => {
    /** @type {Service} */
    let service;
    /** @type {import("node:child_process").ChildProcess} */
    let child;
    let folder;
    let port;
    let said = "";
    const visitors = proxy.visitors();
    before(async () => {
      folder = mkdtempSync(join(tmpdir(), "hitparade-proxy-"));
      service = await Service.start({
        REGIONS,
        TRUSTED_PROXIES: "127.0.0.1",
        CLIENT_ADDRESS_HEADER: "X-Forwarded-For",
        COUNTRY_HEADER: "X-Country",
        LIMIT_PER_MINUTE: "600",
        VOTES_PER_MINUTE: String(VOTES),
      });
      port = await freePortFrom(FIRST_PORT);
      const [program, ...args] = proxy.start(folder, port, service.url.slice("http://".length), visitors);
      child = spawn(program, args, {
        cwd: folder,
        stdio: ["ignore", "pipe", "pipe"],
        env: { PATH: process.env.PATH, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
      });
      for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (said += data));
      await eventually(async () => assert.equal((await ask(visitors[0], "GET", "/healthz")).status, 200), 20_000).catch((error) => {
        throw new Error(`${name} does not answer: ${error.message}\n${said}`);
      });
    });
    after(async () => {
      if (child && child.exitCode === null) {
        child.kill("SIGTERM");
        await once(child, "exit");
      }
      await service?.dispose();
      if (folder) rmSync(folder, { recursive: true, force: true });
    });

    /** @param {Visitor} visitor @param {string} method @param {string} path @param {import("node:http").OutgoingHttpHeaders} [headers] @param {unknown} [body] */
    function ask({ address }, method, path, headers = {}, body) {
      const connection = () => {
        const socket = connect({ port, host: "127.0.0.1", localAddress: proxy.announces ? "127.0.0.1" : address });
        if (proxy.announces)
          socket.write(
            `PROXY ${address.includes(":") ? "TCP6" : "TCP4"} ${address} ${address.includes(":") ? "::1" : "127.0.0.1"} 40000 80\r\n`,
          );
        return socket;
      };
      return new Promise((done, fail) => {
        const asked = request(
          { createConnection: connection, host: "127.0.0.1", port, method, path, headers, timeout: 30_000 },
          (answer) => {
            let text = "";
            answer.setEncoding("utf8").on("data", (data) => (text += data));
            answer.on("end", () => done({ status: answer.statusCode, text }));
          },
        );
        asked.on("error", fail).on("timeout", () => asked.destroy(new Error("no answer")));
        asked.on("upgrade", (answer, socket, head) => {
          const end = (data) => {
            socket.destroy();
            done({ status: answer.statusCode, text: data.toString() });
          };
          // The first message may come with the answer.
          if (head.length > 0) end(head);
          else socket.once("data", end);
        });
        asked.end(body === undefined ? undefined : JSON.stringify(body));
      });
    }

    const play = (visitor, post_id, forged = {}) =>
      ask(visitor, "POST", "/plays", { "content-type": "text/plain", ...forged }, [{ post_id }]);

    test("a thousand visitors count where they are, each for itself, whatever they claim to be", async () => {
      const model = new Model();
      const left = visitors.entries();
      const statuses = new Map();
      await Promise.all(
        Array.from({ length: AT_ONCE }, async () => {
          for (const [index, visitor] of left) {
            // Some claim nothing; others to be elsewhere and somebody else, in whatever header.
            const claimed = ["198.51.100.7", "127.0.0.1", "not an address", "198.51.100.7, 127.0.0.1"][index % 4];
            const forged = {
              "x-forwarded-for": claimed,
              "x-country": "FR",
              "x-real-ip": claimed,
              "cf-connecting-ip": claimed,
              "cf-ipcountry": "FR",
              forwarded: `for=${claimed}`,
            };
            for (let time = 0; time < VOTES; time++) {
              const { status, text } = await play(visitor, "hit", index % 5 === 0 ? {} : forged);
              statuses.set(status === 202 ? status : text, (statuses.get(status) ?? 0) + 1);
              model.add([{ post_id: "hit" }], REGION_OF[visitor.country] ?? FIRST_REGION);
            }
          }
        }),
      );
      assert.deepEqual([...statuses], [[202, VISITORS * VOTES]]);
      await model.assertExactly(service);
    });

    test("one visitor stays one, by whatever addresses it claims to have", async () => {
      for (const visitor of visitors.slice(0, 3)) {
        const codes = [];
        for (let time = 0; time < VOTES + 3; time++) {
          codes.push(
            (
              await play(visitor, "stuffed", {
                "x-forwarded-for": time % 2 ? `198.51.100.${time}` : [`198.51.100.${time}`, `192.0.2.${time}`],
              })
            ).status,
          );
        }
        assert.deepEqual(codes, [202, 202, 400, 400, 400]);
      }
    });

    test("the page of a chart names the address by which it was asked for, whatever a visitor claims that to be", async () => {
      const { text } = await ask(visitors[4], "GET", "/charts/week", { accept: "text/html", "x-forwarded-proto": "https" });
      assert.match(text, new RegExp(`<link rel="canonical" href="http://127\\.0\\.0\\.1:${port}/charts/week`));
    });

    test("a chart comes over a socket, too", async () => {
      const headers = {
        connection: "upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": Buffer.alloc(16).toString("base64"),
      };
      const { status, text } = await ask(visitors[5], "GET", "/live", headers);
      assert.equal(status, 101);
      assert.match(text, /"top_posts"/);
    });
  });
}
