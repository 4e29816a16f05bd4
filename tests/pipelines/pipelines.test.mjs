/**
 * What docs/ingest.md shows, with the real programs: nginx' and CloudFront's logs, `tail -F`, rsyslog, Kafka (the mock
 * cluster of librdkafka, by kcat), each killed in the middle and started again; Prometheus with the shipped rules. At the
 * end the charts say exactly what was played.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { Spool } from "../../scripts/lib/send/spool.mjs";
import { freePortFrom } from "../../scripts/lib/server.mjs";
import { INGEST_TOKEN, Model, Service, eventually, randomNumbers } from "../runtime/harness.mjs";
import { snippetsOf } from "../snippets.mjs";

const FIRST_PORT = 18_700;
const LINES = Number(process.env.PIPELINE_LINES ?? 100_000);
/** Node itself needs 60 MiB, and collects what is not needed any more when it likes to. */
const MOST_MEMORY_MIB = 400;
const BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const HITPARADE = `${process.execPath} ${join(ROOT, "scripts", "hitparade.mjs")}`;

/** @type {Service} */
let service;
let folder;
const seed = Date.now();
const random = randomNumbers(seed);
const model = new Model();
/** Processes that a test that fails leaves behind. @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();

before(async () => {
  service = await Service.start();
  folder = mkdtempSync(join(tmpdir(), "hitparade-pipelines-"));
  console.log(`seed ${seed}`);
});
after(async () => {
  for (const child of running) kill(child);
  rmSync(folder, { recursive: true, force: true });
  await service?.dispose();
});

/** A command line, in a process group of its own. @param {string} line @param {import("node:child_process").SpawnOptions} [options] */
function shell(line, options = {}) {
  const child = spawn("/bin/sh", ["-c", line], {
    cwd: folder,
    detached: true,
    env: { ...process.env, INGEST_TOKEN },
    stdio: ["ignore", "pipe", "pipe"],
    ...options,
  });
  running.add(child);
  let said = "";
  child.stderr?.on("data", (data) => (said += data));
  child.stdout?.on("data", (data) => (said += data));
  const ended = once(child, "close").then(([code]) => (running.delete(child), { code, said }));
  return { child, ended, said: () => said };
}
function kill(child, signal = "SIGKILL") {
  try {
    process.kill(-child.pid, signal);
  } catch {}
}
const send = (words) => `${HITPARADE} send --url ${service.url} ${words}`;
/** Puts what is here in place of what an example names. @param {string} text @param {Record<string, string>} here */
function put(text, here) {
  for (const [there, instead] of Object.entries(here)) {
    assert.ok(text.includes(there), `${there} is not in\n${text}`);
    text = text.replaceAll(there, instead);
  }
  return text;
}
/** What docs/ingest.md shows beside a test's name. @param {string} name @param {Record<string, string>} here */
const examples = (name, here) =>
  snippetsOf("docs/ingest.md")
    .filter((each) => each.name === name)
    .map(({ text }) => put(text, { ...here, "https://charts.example": service.url, "npx hitparade": HITPARADE }).trimEnd());
const playsTo = (region, counts) =>
  model.add(
    Object.entries(counts).map(([post_id, count]) => ({ post_id, count })),
    region,
  );
/** All plays that have this beginning, as the chart has them. */
const counted = async (region, beginning) => {
  const { top_posts } = await service.topPosts({ region, timeframe: "all", k: 1000 });
  return Object.fromEntries(
    top_posts.filter(({ post_id }) => post_id.startsWith(beginning)).map(({ post_id, view_count }) => [post_id, view_count]),
  );
};
const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);
const isCounted = (region, beginning, wanted) =>
  eventually(async () => assert.equal(sum(await counted(region, beginning)), wanted), 60_000);

function accessLine(path, ms = Date.now(), agent = BROWSER) {
  // An hour ahead of UTC, and said so.
  const there = new Date(ms + 3_600_000).toISOString();
  const time = `${there.slice(8, 10)}/${MONTHS[Number(there.slice(5, 7)) - 1]}/${there.slice(0, 4)}:${there.slice(11, 19)} +0100`;
  return `203.0.113.7 - - [${time}] "GET ${path} HTTP/1.1" 200 512 "-" "${agent}"`;
}

describe("nginx", { timeout: 300_000 }, () => {
  let port, log, nginx;
  before(async () => {
    port = await freePortFrom(FIRST_PORT);
    log = join(folder, "access.log");
    mkdirSync(join(folder, "nginx"));
    writeFileSync(
      join(folder, "nginx.conf"),
      `pid ${folder}/nginx.pid; error_log ${folder}/nginx/error.log; worker_processes 2; daemon off; events {}
       http { access_log ${log} combined; ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/nginx/${name};`).join(" ")}
         server { listen 127.0.0.1:${port}; location / { return 200 "played\\n"; } location /gone { return 404; } } }`,
    );
    nginx = shell(`exec /usr/sbin/nginx -c ${join(folder, "nginx.conf")} -e ${folder}/nginx/error.log`);
    await eventually(() => fetch(`http://127.0.0.1:${port}/`));
  });
  after(() => kill(nginx.child, "SIGTERM"));
  const played = {};
  /** @param {string} beginning @param {number} times */
  async function play(beginning, times) {
    for (let time = 0; time < times; time++) {
      const id = `${beginning} ${Math.floor(random() ** 2 * 20)} é`;
      // As browsers, as proxies that encode once more, and as requests that are no plays.
      const once = encodeURIComponent(id);
      await fetch(`http://127.0.0.1:${port}/songs/${random() < 0.5 ? once : encodeURIComponent(once)}/stream`, {
        headers: { "user-agent": BROWSER },
      });
      await fetch(`http://127.0.0.1:${port}${["/gone/songs/x/stream", "/songs/x", "/songs/x/stream"][time % 3]}`, {
        headers: { "user-agent": "Googlebot/2.1" },
      });
      played[id] = (played[id] ?? 0) + 1;
    }
  }
  const of = (beginning) => Object.fromEntries(Object.entries(played).filter(([id]) => id.startsWith(beginning)));

  test("by tail -F, killed and started again while it is played", async () => {
    const line = `tail -n +1 -F ${log} | ${send("--from access-log --post '/songs/{post}/stream' --region EU --spool tail")}`;
    for (let round = 0; round < 4; round++) {
      const pipe = shell(line);
      await Promise.all([play("tailed", 400), sleep(500 + random() * 1_500).then(() => kill(pipe.child))]);
      await pipe.ended;
    }
    const pipe = shell(line);
    await isCounted("EU", "tailed", sum(of("tailed")));
    kill(pipe.child, "SIGTERM");
    await pipe.ended;
    playsTo("EU", of("tailed"));
  });

  test("by --follow, rotated by logrotate's signal, killed and started again", async () => {
    const line = `exec ${send(`--from access-log --post '/songs/{post}/stream' --region NA --spool follow --follow ${log}`)}`;
    for (let round = 0; round < 4; round++) {
      const pipe = shell(line);
      // It follows from the moment on at which it has begun.
      await eventually(() => assert.ok(Spool.placeOf(join(folder, "follow"))));
      const rotated = sleep(random() * 1_500).then(() => {
        for (let number = round; number > 0; number--) renameSync(`${log}.${number}`, `${log}.${number + 1}`);
        renameSync(log, `${log}.1`);
        process.kill(Number(readFileSync(join(folder, "nginx.pid"), "utf8")), "SIGUSR1");
      });
      await Promise.all([play("followed", 300), rotated, sleep(500 + random() * 2_000).then(() => kill(pipe.child))]);
      await pipe.ended;
    }
    const pipe = shell(line);
    // Where all was counted before, it has not begun yet.
    await eventually(() => assert.match(pipe.said(), /is passed over/));
    await isCounted("NA", "followed", sum(of("followed")));
    kill(pipe.child, "SIGTERM");
    assert.equal((await pipe.ended).code, 0, pipe.said());
    // The first of its logs has what was tailed before.
    playsTo("NA", await counted("NA", "tailed"));
    playsTo("NA", of("followed"));
    assert.equal(sum(await counted("NA", "tailed")), sum(of("tailed")));
  });
});

test("CloudFront's logs, packed, one more each time, killed in the middle", { timeout: 200_000 }, async () => {
  const played = {};
  const logs = join(folder, "cloudfront");
  mkdirSync(logs);
  const line = `cat ${logs}/*.gz | ${send("--from cloudfront --post '/songs/{post}' --region AS --spool cloudfront")}`;
  for (let number = 0; number < 4; number++) {
    const lines = [
      "#Version: 1.0",
      "#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query",
    ];
    for (let play = 0; play < 20_000; play++) {
      const id = `edge ${Math.floor(random() ** 2 * 50)}`;
      const [date, time] = new Date(Date.now() - play * 100).toISOString().slice(0, 19).split("T");
      lines.push(
        [
          date,
          time,
          "FRA2-C1",
          2390,
          "192.0.2.10",
          "GET",
          "d1.cloudfront.net",
          `/songs/${encodeURIComponent(encodeURIComponent(id))}`,
          200,
          "-",
          encodeURIComponent(BROWSER),
          "-",
        ].join("\t"),
      );
      played[id] = (played[id] ?? 0) + 1;
    }
    writeFileSync(join(logs, `E2.2026-11-26-0${number}.abc.gz`), gzipSync(`${lines.join("\n")}\n`));
    const pipe = shell(line);
    await sleep(300 + random() * 700);
    kill(pipe.child);
    await pipe.ended;
  }
  const { code, said } = await shell(line).ended;
  assert.equal(code, 0, said);
  const again = await shell(line).ended;
  assert.match(again.said, /: 0 plays counted/);
  playsTo("AS", played);
});

const BY_RSYSLOG = "rsyslog's omprog, its program killed in the middle";
test(BY_RSYSLOG, { timeout: 200_000 }, async () => {
  const port = await freePortFrom(FIRST_PORT + 100);
  const played = {};
  mkdirSync(join(folder, "rsyslog"));
  const [action] = examples(BY_RSYSLOG, {
    "--region EU": "--region SA",
    "/usr/bin/npx": "npx",
    "/var/spool/hitparade": `${folder}/rsyslog/spool`,
  });
  writeFileSync(
    join(folder, "rsyslog.conf"),
    `global(workDirectory="${folder}/rsyslog")
     module(load="imptcp")
     input(type="imptcp" address="127.0.0.1" supportOctetCountedFraming="off" port="${port}")
     ${action}`,
  );
  const rsyslog = shell(`exec /usr/sbin/rsyslogd -n -f ${folder}/rsyslog.conf -i ${folder}/rsyslog.pid`);
  const programs = () =>
    spawnSync("ps", ["-o", "pid=,args=", "--ppid", String(rsyslog.child.pid)], { encoding: "utf8" })
      .stdout.split("\n")
      .filter((line) => line.includes("hitparade.mjs"));
  const socket = await eventually(async () => {
    const opened = connect(port, "127.0.0.1");
    await once(opened, "connect");
    return opened;
  });
  let kills = 0;
  for (let round = 0; round < 6; round++) {
    await eventually(() => assert.ok(round === 0 || programs().length > 0));
    for (let play = 0; play < 300; play++) {
      const id = `syslog ${play % 7}`;
      // Many of these lines are the same.
      socket.write(`${accessLine(`/songs/${encodeURIComponent(id)}`)}\n`);
      played[id] = (played[id] ?? 0) + 1;
    }
    await eventually(() => assert.ok(programs().length > 0));
    await sleep(200 + random() * 600);
    for (const line of programs()) kills += process.kill(Number.parseInt(line, 10), "SIGKILL") ? 1 : 0;
  }
  assert.ok(kills >= 3, `${kills} times: ${rsyslog.said()}`);
  await isCounted("SA", "syslog", sum(played));
  socket.end();
  kill(rsyslog.child, "SIGTERM");
  await rsyslog.ended;
  playsTo("SA", played);
});

const BY_KCAT = "Kafka by kcat, killed in the middle";
test(BY_KCAT, { timeout: 200_000 }, async () => {
  const cluster = shell("sleep 1000 | exec kcat -P -t unused -b mock -X test.mock.num.brokers=1 -d mock");
  const broker = await eventually(async () => {
    const [, address] = /bootstrap\.servers=(127\.0\.0\.1:\d+)/.exec(cluster.said()) ?? [];
    assert.ok(address);
    return address;
  });
  const played = {};
  const [whole, part] = examples(BY_KCAT, { "broker:9092": broker, "--region EU": "--region AF", "/var/spool/hitparade": "kafka" });
  const parts = [0, 1, 2, 3].map((partition) =>
    put(`${part} &`, {
      "-t plays": "-t parts",
      "-p 0": `-p ${partition}`,
      "plays/0": `parts/${partition}`,
      "kafka-0": `kafka-${partition}`,
    }),
  );
  const start = () => [shell(whole), shell(`${parts.join("\n")}\nwait`)];
  for (let round = 0; round < 5; round++) {
    const pipes = start();
    for (const topic of ["plays", "parts"]) {
      const plays = Array.from({ length: 5_000 }, () => ({
        post_id: `kafka ${topic} ${Math.floor(random() ** 2 * 30)}`,
        timestamp: Date.now(),
      }));
      for (const { post_id } of plays) played[post_id] = (played[post_id] ?? 0) + 1;
      const file = join(folder, "messages");
      writeFileSync(file, plays.map((play) => `${JSON.stringify(play)}\n`).join(""));
      const produced = await shell(`kcat -P -b ${broker} -t ${topic} < ${file}`).ended;
      assert.equal(produced.code, 0, produced.said);
    }
    await sleep(random() * 2_000);
    for (const { child, ended } of pipes) {
      kill(child);
      await ended;
    }
  }
  const pipes = start();
  await isCounted("AF", "kafka", sum(played));
  for (const { child, ended } of pipes) {
    kill(child, "SIGTERM");
    await ended;
  }
  kill(cluster.child);
  playsTo("AF", played);
});

test("Prometheus scrapes, and alerts by the shipped rules", { timeout: 100_000 }, async () => {
  for (const [what, file] of [
    ["rules", "alerts.yml"],
    ["config", "prometheus.yml"],
  ]) {
    const { status, stdout, stderr } = spawnSync("promtool", ["check", what, join(ROOT, "deploy", file)], { encoding: "utf8" });
    assert.equal(status, 0, stdout + stderr);
  }
  const port = await freePortFrom(FIRST_PORT + 200);
  const dead = await freePortFrom(port + 1);
  const at = join(folder, "prometheus");
  mkdirSync(at);
  writeFileSync(join(at, "alerts.yml"), readFileSync(join(ROOT, "deploy", "alerts.yml")));
  const config = readFileSync(join(ROOT, "deploy", "prometheus.yml"), "utf8")
    .replace('"127.0.0.1:8787"', `"${service.url.slice(7)}", "127.0.0.1:${dead}"`)
    .replace("30s", "1s");
  writeFileSync(join(at, "prometheus.yml"), `global: { evaluation_interval: 1s }\n${config}`);
  const prometheus = shell(
    `exec prometheus --config.file=${at}/prometheus.yml --storage.tsdb.path=${at}/data --web.listen-address=127.0.0.1:${port}`,
  );
  const ask = async (path) => (await (await fetch(`http://127.0.0.1:${port}/api/v1/${path}`)).json()).data;
  await eventually(async () => {
    const { activeTargets } = await ask("targets");
    assert.deepEqual(activeTargets.map(({ health }) => health).sort(), ["down", "up"]);
    const { groups } = await ask("rules");
    const rules = groups.flatMap(({ rules }) => rules);
    assert.equal(rules.length, 13);
    for (const { name, health, lastError } of rules) assert.equal(health, "ok", `${name}: ${lastError}`);
    // The service that is not there is noticed; the one that is well is not complained about.
    assert.deepEqual(
      rules.filter(({ state }) => state !== "inactive").map(({ name, state, alerts }) => [name, state, alerts[0].labels.instance]),
      [["HitparadeAway", "pending", `127.0.0.1:${dead}`]],
    );
  }, 60_000);
  // Each figure that a rule asks for is there.
  const text = await (await service.fetch("/metrics")).text();
  for (const [name] of readFileSync(join(ROOT, "deploy", "alerts.yml"), "utf8").matchAll(/^ +expr: .*$/gm)) {
    for (const [metric] of name.matchAll(/hitparade_[a-z_]+/g))
      assert.match(text, new RegExp(`^# TYPE ${metric.replace(/_bucket$/, "")} `, "m"));
  }
  kill(prometheus.child, "SIGTERM");
  await prometheus.ended;
});

test(`a log of ${LINES} lines, in memory that does not grow`, { timeout: 3_000_000 }, async () => {
  const generator = join(folder, "generate.mjs");
  const posts = 500;
  writeFileSync(
    generator,
    `const line = (index) => ${JSON.stringify(accessLine("/songs/INDEX"))}.replace("INDEX", "long%2520" + (index % ${posts}));
     for (let at = 0; at < ${LINES}; ) {
       let text = "";
       for (const end = Math.min(at + 5000, ${LINES}); at < end; at++) text += line(at) + "\\n";
       if (!process.stdout.write(text)) await new Promise((done) => process.stdout.once("drain", done));
     }`,
  );
  const started = Date.now();
  const pipe = shell(`${process.execPath} ${generator} | ${send("--from access-log --post '/songs/{post}' --region OC --spool long")}`);
  let most = 0;
  const timer = setInterval(() => {
    const lines = spawnSync("ps", ["-o", "rss=,args=", "-g", String(pipe.child.pid)], { encoding: "utf8" }).stdout.split("\n");
    for (const line of lines) if (line.includes("hitparade.mjs send")) most = Math.max(most, Number.parseInt(line, 10) / 1024);
  }, 250);
  const { code, said } = await pipe.ended;
  clearInterval(timer);
  assert.equal(code, 0, said);
  console.log(`${LINES} lines in ${Math.round((Date.now() - started) / 1_000)} s, ${Math.round(most)} MiB at most`);
  assert.ok(most > 0 && most < MOST_MEMORY_MIB, `${most} MiB`);
  const counts = {};
  for (let post = 0; post < posts; post++) counts[`long ${post}`] = Math.floor(LINES / posts) + (post < LINES % posts ? 1 : 0);
  playsTo("OC", counts);
});

test("the charts say exactly what was played", () => model.assertExactly(service));
