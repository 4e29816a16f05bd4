/** `npx hitparade send` and `import --from`: what they read, and that each play is counted once whatever happens. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  copyFileSync,
  cpSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { postOfAddress } from "../../scripts/lib/send/address.mjs";
import { Delivery } from "../../scripts/lib/send/deliver.mjs";
import { Lines, unpacked } from "../../scripts/lib/send/lines.mjs";
import { preview } from "../../scripts/lib/send/preview.mjs";
import { Progress } from "../../scripts/lib/send/progress.mjs";
import { READERS, kcatOffset } from "../../scripts/lib/send/readers.mjs";
import { Spool } from "../../scripts/lib/send/spool.mjs";
import { momentOf } from "../../scripts/lib/send/times.mjs";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { INGEST_TOKEN, Model, Service, eventually, randomNumbers } from "./harness.mjs";

const refuse = (why) => {
  throw new Error(why);
};
const OPTIONS = { post: "/songs/{post}", status: "200", bots: "no", columns: "", dates: "" };
/** What a reader says of each line. */
const read = (form, lines, options = {}) => {
  const reader = READERS[form]({ ...OPTIONS, ...options }, refuse);
  return lines.map((line) => reader.read(line));
};
const playsOf = (said) => said.flatMap((one) => one?.plays ?? []);
const leftOutOf = (said) => said.flatMap((one) => one?.leftOut ?? []);
const access = (
  path,
  { time = "26/Nov/2026:08:00:00 +0100", status = 200, method = "GET", rest = ' "-" "Mozilla/5.0 (X11; Linux x86_64)"' } = {},
) => `203.0.113.7 - - [${time}] "${method} ${path} HTTP/1.1" ${status} 512${rest}`;

describe("an address", () => {
  const post = (pattern, address) => postOfAddress(pattern, refuse)(address);

  test("is of one post, however often it is encoded", () => {
    for (const address of [
      "/songs/café",
      "/songs/caf%C3%A9",
      "/songs/caf%25C3%25A9",
      "/songs/caf%25C3%25A9/?ref=1#top",
      "https://example.com/songs/caf%C3%A9",
    ]) {
      assert.equal(post("/songs/{post}", address), "café", address);
    }
    assert.equal(post("/songs/{post}", "/songs/100%"), "100%");
    assert.equal(post("/songs/{post}", "/songs/%E9"), "%E9");
  });

  test("is read by its pattern", () => {
    assert.equal(post("/songs/{post}/stream", "/songs/1/stream"), "1");
    assert.equal(post("/songs/{post}/stream", "/songs/1"), null);
    assert.equal(post("/songs/{post}", "/songs/1/stream"), null);
    assert.equal(post("/*/posts/{post}", "/en/posts/7"), "7");
    assert.equal(post("/blog/{post*}", "/blog/2026/11/a-title/"), "2026/11/a-title");
    assert.equal(post("/blog/{post*}", "/blog"), null);
    assert.equal(post("/watch?v={post}", "/watch?t=3&v=a%2Bb"), "a+b");
    assert.equal(post("/watch?v={post}", "/watch"), null);
    assert.equal(post("^/(?<post>\\d+)-", "/42-a-title"), "42");
    for (const bad of ["songs/{post}", "/songs", "/{post}/{post}", "/{post*}/x", "^/(\\d+)", "^/(?<post>", "/w?v=1"]) {
      assert.throws(() => postOfAddress(bad, refuse), undefined, bad);
    }
  });
});

test("times are read in every style, with their zones, and days as days", () => {
  const at = (text, order) => {
    const moment = momentOf(text, order);
    return moment && new Date(moment.ms).toISOString();
  };
  for (const text of [
    "26/Nov/2026:08:00:00 +0100",
    "2026-11-26T07:00:00Z",
    "2026-11-26 08:00:00+01:00",
    "2026-11-26 07:00",
    "1795676400",
    "1795676400000",
    "2026-11-26T02:30:00.000-0430",
  ]) {
    assert.equal(at(text), "2026-11-26T07:00:00.000Z", text);
  }
  for (const [text, order] of [["2026-11-06"], ["20261106"], ["6.11.2026"], ["06/11/2026", "dmy"], ["11/6/2026", "mdy"]]) {
    assert.equal(at(text, order), "2026-11-06T12:00:00.000Z", text);
  }
  for (const text of ["06/11/2026", "2026-02-30", "2026-13-01", "yesterday", "", "2026-11-26T25:00:00Z", "12"])
    assert.equal(at(text), null, text);
});

describe("a reader", () => {
  test("of access logs takes both forms, and says what it leaves out", () => {
    const said = read("access-log", [
      access("/songs/1"),
      access("/songs/1", { rest: "" }),
      `example.com:443 ${access("/songs/%2531?a=%22")}`,
      access("/songs/a\\x22b"),
      access("/songs/2", { status: 404 }),
      access("/songs/2", { method: "HEAD" }),
      access("/about"),
      access("/songs/2", { rest: ' "-" "Googlebot/2.1 (+http://www.google.com/bot.html)"' }),
      access("/songs/2", { rest: ' "a \\" b" "curl/8.5.0"' }),
      'garbage "',
      "",
    ]);
    const timestamp = Date.parse("2026-11-26T07:00:00Z");
    assert.deepEqual(
      playsOf(said),
      ["1", "1", "1", 'a"b'].map((post_id) => ({ post_id, timestamp })),
    );
    assert.deepEqual(leftOutOf(said), [
      "another status than 200",
      "another method than GET",
      "an address of no post",
      "a bot",
      "a bot",
      "no line of an access log",
    ]);
    assert.equal(playsOf(read("access-log", [access("/songs/2", { rest: ' "-" "curl/8.5.0"' })], { bots: "count" })).length, 1);
  });

  test("of CloudFront's logs goes by the names of the fields", () => {
    const said = read("cloudfront", [
      "#Version: 1.0",
      "#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query",
      "2026-11-26\t07:00:00\tFRA2\t2390\t192.0.2.10\tGET\td.example\t/songs/caf%25C3%25A9\t200\t-\tMozilla/5.0%20(X11)\t-",
      "2026-11-26\t07:00:01\tFRA2\t2390\t192.0.2.10\tGET\td.example\t/songs/b\t200\t-\tGooglebot/2.1\t-",
      "2026-11-26\t07:00:01\tFRA2",
    ]);
    assert.deepEqual(playsOf(said), [{ post_id: "café", timestamp: Date.parse("2026-11-26T07:00:00Z") }]);
    assert.deepEqual(leftOutOf(said), ["a bot", "another number of fields than #Fields names"]);
  });

  test("of NDJSON hands on what the service reads, and nothing else of a line", () => {
    const said = read(
      "ndjson",
      ['{"slug":"a","ip":"203.0.113.7","count":2}', '{"plays":[{"slug":"b"}]}', "[1", '{"post_id":"c"}', "null"],
      { columns: "post_id=slug" },
    );
    assert.deepEqual(playsOf(said), [{ post_id: "a", count: 2 }, { post_id: "b" }]);
    assert.deepEqual(leftOutOf(said), ["not JSON", "no slug", "no slug"]);
  });

  test("leaves out what is no play of an array or an envelope, and takes the others", () => {
    const bad = ['{"post_id":null}', '{"region_id":"EU"}', "null", "7", "[]"];
    const list = `[{"post_id":"a"},${bad},{"post_id":"b"}]`;
    const payload = `{"board":"rock","plays":${list}}`;
    const message = JSON.stringify({ topic: "plays", partition: 0, offset: 0, payload });
    for (const [form, line, board] of [
      ["ndjson", list, {}],
      ["ndjson", payload, { board: "rock" }],
      ["kcat", message, { board: "rock" }],
    ]) {
      const said = read(form, [line]);
      assert.deepEqual(
        playsOf(said),
        ["a", "b"].map((post_id) => ({ post_id, ...board })),
        line,
      );
      assert.deepEqual(leftOutOf(said), Array(bad.length).fill("no post_id"));
    }
    assert.deepEqual(read("ndjson", ["[]"]), [{ plays: [], leftOut: [] }]);
  });

  test("of tables goes by the names of the columns, whatever separates them", () => {
    const said = read("csv", [
      '"plays";"post";"date"',
      '3;"a ""b""; c";2026-11-06',
      '1;"two',
      'lines";6.11.2026',
      "1;a;1/2/2026",
      "x;a;2026-11-06",
      "1;a",
    ]);
    const timestamp = Date.parse("2026-11-06T12:00:00Z");
    assert.deepEqual(playsOf(said), [
      { post_id: 'a "b"; c', timestamp, count: 3 },
      { post_id: "two\nlines", timestamp },
    ]);
    assert.deepEqual(leftOutOf(said), [
      "a date that could be two days: --dates dmy or mdy says which",
      "a count that is no whole number",
      "2 fields where the first line has 3",
    ]);
    assert.match(read("csv", ["a,b", "1,2"])[1].fatal, /no column `post_id`; its columns are a, b/);
  });

  test("of Kafka's messages passes over offsets that it has seen", () => {
    const message = (partition, offset, payload, ts = 1_000 + offset) =>
      JSON.stringify({ topic: "plays", partition, offset, tstype: "create", ts, payload });
    const reader = READERS.kcat({ ...OPTIONS }, refuse);
    reader.state = {};
    const lines = [
      message(0, 0, '{"post_id":"a"}'),
      message(1, 0, '{"post_id":"b"}'),
      message(0, 0, '{"post_id":"a"}'),
      message(0, 4, '[{"post_id":"c"},{"post_id":"d"}]'),
      message(0, 5, null),
    ];
    const said = lines.map((line) => reader.read(line));
    assert.deepEqual(
      playsOf(said).map(({ post_id }) => post_id),
      ["a", "b", "c", "d"],
    );
    assert.deepEqual(leftOutOf(said), ["a message that was read before", "a message without a value"]);
    assert.deepEqual(reader.state, { "plays/0": { next: 6 }, "plays/1": { next: 1 } });
    assert.equal(kcatOffset(reader.state, "plays/0"), "6");
    assert.equal(kcatOffset(null, "plays/0"), "beginning");
  });
});

describe("the exports of other systems", () => {
  const day = Date.parse("2026-11-06T12:00:00Z");

  test("of Plausible, by its names", () => {
    const head = "date,hostname,page,visits,visitors,pageviews,total_scroll_depth";
    const said = read("plausible", [head, "2026-11-06,example.com,/songs/a,3,3,5,0", "2026-11-06,example.com,/about,1,1,1,0"]);
    assert.deepEqual(playsOf(said), [{ post_id: "a", timestamp: day, count: 5 }]);
    assert.match(read("plausible", ["name,visitors,pageviews", "/a,1,1"])[1].fatal, /no column `date`.*imported_pages_/);
  });

  test("of Matomo, where folders are no pages", () => {
    const head = "date,label,nb_visits,nb_hits,metadata_url,idsubdatatable";
    const said = read("matomo", [
      head,
      "2026-11-06,songs,3,9,,4",
      "2026-11-06,/a,3,5,https://example.com/songs/a,",
      "2026-11-06,/songs/b,1,1,,",
      "2026-11-06,Others,1,7,,",
    ]);
    assert.deepEqual(playsOf(said), [
      { post_id: "a", timestamp: day, count: 5 },
      { post_id: "b", timestamp: day },
    ]);
    assert.deepEqual(leftOutOf(said).length, 2);
  });

  test("of GoatCounter, without bots and events", () => {
    const head = "2Path,Title,Event,UserAgent,Browser,System,Session,Bot,Referrer,Referrer scheme,Screen size,Location,FirstVisit,Date";
    const row = (path, event, bot) => `${path},"A, title",${event},,Firefox,Linux,1,${bot},,,,DE,true,2026-11-06T10:00:00Z`;
    const said = read("goatcounter", [head, row("/songs/a", "false", 0), row("/songs/a", "true", 0), row("/songs/a", "0", 5)]);
    assert.deepEqual(playsOf(said), [{ post_id: "a", timestamp: Date.parse("2026-11-06T10:00:00Z") }]);
    assert.deepEqual(leftOutOf(said), ["an event, not a view", "a bot"]);
  });
});

describe("the lines of an input", () => {
  /** @param {string | Buffer} bytes @param {number} size of a chunk */
  async function* chunks(bytes, size) {
    for (let at = 0; at < bytes.length; at += size) yield Buffer.from(bytes).subarray(at, at + size);
  }
  const all = async (bytes, size = 7) => {
    const lines = new Lines(unpacked(chunks(bytes, size)));
    const found = [];
    for (let some; (some = await lines.next(found.at(-1)?.end ?? 0));) found.push(...some);
    return found.map((line) => ({ ...line, bytes: line.bytes?.toString() }));
  };

  test("are the same packed, in UTF-16, and in chunks of any size", async () => {
    const text = "a\r\nbé\n\nlast";
    const expected = [
      ["a\r", true],
      ["bé", true],
      ["", true],
      ["last", false],
    ];
    const utf16 = Buffer.from(`\ufeff${text}`, "utf16le");
    for (const bytes of [
      Buffer.from(text),
      gzipSync(text),
      Buffer.concat([gzipSync("a\r\nb"), gzipSync("é\n\nlast")]),
      utf16,
      gzipSync(utf16),
      Buffer.from(utf16).swap16(),
    ]) {
      for (const size of [1, 2, 3, 5, 1_000])
        assert.deepEqual(
          (await all(bytes, size)).map(({ bytes, whole }) => [bytes, whole]),
          expected,
        );
    }
    await assert.rejects(all(gzipSync("a\n".repeat(1_000)).subarray(0, 20)), /cannot be unpacked/);
  });

  test("are passed over up to any place, when the same input comes again, grown or not", async () => {
    const random = randomNumbers(4711);
    const text = Array.from({ length: 400 }, (_, index) => `${index} ${"x".repeat(random() * 60)}\n`).join("");
    for (let round = 0; round < 60; round++) {
      const first = new Lines(chunks(text, 1 + Math.floor(random() * 900)));
      let end = 0;
      let taken = 0;
      let place;
      // Places are asked for at any line, also such as are not the last ones that were given out.
      for (let some; !place && (some = await first.next(end));) {
        for (const line of some) {
          taken++;
          if (random() < 0.7) end = line.end;
          if (end && random() < 0.02) place = first.placeAt(end);
          if (place) break;
        }
      }
      if (!place) continue;
      const again = new Lines(chunks(`${text}grown\n`, 1 + Math.floor(random() * 900)));
      const others = [
        { bytes: 5, sha256: "", head: btoa("0 x\nz") },
        { bytes: 0, head: "" },
      ];
      assert.deepEqual(await again.passOver([...others, place]), { found: "again", place });
      let rest = "";
      for (let some, at = 0; (some = await again.next(at)); at = some.at(-1).end) for (const { bytes } of some) rest += `${bytes}\n`;
      assert.equal(rest, `${text}grown\n`.slice(place.bytes));
      assert.deepEqual(await new Lines(chunks(`other ${text}`, 50)).passOver([place]), { found: "new" });
      assert.deepEqual(await new Lines(chunks(text.slice(0, place.bytes - 1), 50)).passOver([place]), { found: "short", place });
      // Of a log that was followed there is no hash: its lines end elsewhere, mostly.
      const followed = { bytes: place.bytes, head: place.head };
      assert.deepEqual(await new Lines(chunks(text, 50)).passOver([followed]), { found: "again", place: followed });
      if (place.bytes > 5_000)
        for (const one of [place, followed])
          await assert.rejects(new Lines(chunks(text.slice(0, 4_500) + text.slice(4_501), 50)).passOver([one]), /another one further on/);
      assert.ok(taken > 0);
    }
  });

  test("that are too long are left out, the next ones are not", async () => {
    const lines = await all(`a\n${"x".repeat(3 << 20)}\nb\n`, 65_536);
    assert.deepEqual(
      lines.map(({ bytes, whole }) => [bytes, whole]),
      [
        ["a", true],
        [undefined, true],
        ["b", true],
      ],
    );
  });
});

test("what would come in is shown without keeping what was read", async () => {
  const ends = [];
  const lines = {
    async next(end) {
      ends.push(end);
      const line = (last) => ({ bytes: Buffer.from("a"), end: 2 * ends.length - (last ? 0 : 1), whole: true });
      return ends.length < 3 ? [line(false), line(true)] : null;
    },
  };
  const [first] = await preview(lines, () => ({ plays: [{ post_id: "a", timestamp: 0 }], isTaken: true }));
  assert.match(first, /^4 plays of 1 post would come in/);
  assert.deepEqual(ends, [0, 2, 4]);
});

for (const isTerminal of [true, false]) {
  test(`progress is ${isTerminal ? "one line that changes, at a terminal" : "a line every 30 s in which it changed, in a log"}`, ({
    mock,
  }) => {
    mock.timers.enable({ apis: ["setInterval"] });
    const { isTTY, columns } = process.stderr;
    Object.assign(process.stderr, { isTTY: isTerminal, columns: 20 });
    let written = "";
    try {
      mock.method(process.stderr, "write", (text) => ((written += text), true));
      let lines = 0;
      const progress = new Progress(() => `${lines} lines read, of very many`);
      for (lines of isTerminal ? [1, 2] : [1, 1, 2]) mock.timers.tick(isTerminal ? 500 : 30_000);
      progress.say("said between");
      progress.end();
      mock.timers.tick(60_000);
    } finally {
      mock.restoreAll();
      Object.assign(process.stderr, { isTTY, columns });
    }
    const shown = ["1", "2"].map((lines) => (isTerminal ? `\r\x1b[K▸ ${lines} lines read, of v` : `▸ ${lines} lines read, of very many\n`));
    const clear = isTerminal ? "\r\x1b[K" : "";
    assert.equal(written, `${shown.join("")}${clear}said between\n${clear}`);
  });
}

test("a spool holds what was sealed, and the place after it, at every moment", () => {
  const folder = mkdtempSync(join(tmpdir(), "hitparade-spool-"));
  try {
    let spool = new Spool(folder, "http://a", { board: "jazz", region: "" });
    assert.throws(() => new Spool(folder, "http://a"), /is in use/);
    spool.seal(['{"post_id":"a"}', '{"post_id":"b"}'], { input: 1 }, "x");
    spool.home = "EU/4";
    spool.seal(['{"post_id":"c"}'], { input: 2 }, "y");
    spool.begin(spool.waiting[0]);
    const names = spool.waiting.map(({ client }) => client);
    spool.release();
    assert.throws(() => new Spool(folder, "http://b"), /holds what was read for http:\/\/a/);

    spool = new Spool(folder, "http://a", { board: "jazz", region: "" });
    spool.release();
    for (const [asked, told] of [
      [{ board: "rock", region: "" }, /holds what was read with --board jazz\.[^]*For --board rock take another --spool/],
      [{ board: "", region: "" }, /with --board jazz\.[^]*Without --board take another --spool/],
      [{ board: "jazz", region: "EU" }, /without --region\.[^]*For --region EU take another --spool/],
    ])
      assert.throws(() => new Spool(folder, "http://a", asked), told);

    spool = new Spool(folder, "http://a", { board: "jazz", region: "" });
    assert.deepEqual(
      spool.waiting.map(({ client }) => client),
      names,
    );
    assert.deepEqual(
      spool.waiting.map(({ home }) => home),
      [null, "EU/4"],
    );
    assert.ok(spool.waiting[0].sent > 0 && spool.waiting[1].sent === 0);
    assert.deepEqual(spool.place, { input: 2 });
    // Also for somebody who only looks.
    assert.deepEqual(Spool.placeOf(folder), { input: 2 });
    assert.equal(Spool.placeOf(join(folder, "none")), null);
    // The later batch first: the earlier one stays.
    spool.done(spool.waiting[1]);
    spool.release();

    spool = new Spool(folder, "http://a");
    assert.deepEqual([spool.place, spool.waiting.length], [{ input: 2 }, 1]);
    spool.split(spool.waiting[0]);
    assert.deepEqual(
      spool.waiting.map((batch) => spool.playsOf(batch)),
      ['[{"post_id":"a"}]', '[{"post_id":"b"}]'],
    );
    for (const batch of [...spool.waiting]) spool.done(batch);
    spool.release();
    spool = new Spool(folder, "http://a");
    assert.deepEqual([spool.place, spool.waiting.length], [{ input: 2 }, 0]);
    // Confirmed lines are there until they are sealed, and half a line was not confirmed.
    spool.append("one");
    spool.release();
    const [open] = readdirSync(folder).filter((name) => name.startsWith("open-"));
    appendFileSync(join(folder, open), "tw");
    spool = new Spool(folder, "http://a");
    assert.deepEqual(spool.appended(), ["one"]);
    spool.append("two");
    assert.deepEqual(spool.appended(), ["one", "two"]);
    spool.seal(['{"post_id":"d"}'], { input: 3 }, "z");
    assert.deepEqual(spool.appended(), []);
    // One that a disk has damaged holds up no other, and is kept as it is.
    spool.append("three");
    const [next] = readdirSync(folder).filter((name) => name.startsWith("open-"));
    appendFileSync(join(folder, next), '{"texts":["{\\"post{"texts":[]}\n');
    spool.append("four");
    spool.release();
    spool = new Spool(folder, "http://a");
    for (const time of ["first", "second"]) assert.deepEqual(spool.appended(), ["three", "four"], time);
    assert.deepEqual(spool.damaged, { lines: 1, file: join(folder, "damaged", next) });
    assert.equal(readFileSync(join(folder, "damaged", next), "utf8"), '{"texts":["{\\"post{"texts":[]}\n');
    spool.release();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

/** Of each version: CONTRIBUTING.md, "A stored or sent form". */
const SPOOLS = join(ROOT, "tests", "golden", "spool");
const golden = (/** @type {string} */ name) =>
  readFileSync(join(SPOOLS, /** @type {string} */ (readdirSync(SPOOLS).sort().at(-1)), name), "utf8");
/** What is in a record, but for its values. @returns {any} */
const formOf = (/** @type {any} */ value) =>
  value && typeof value === "object" && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).map(([key, each]) => [key, formOf(each)]))
    : typeof value;

test("a spool is written as it was", () => {
  const folder = mkdtempSync(join(tmpdir(), "hitparade-spool-"));
  try {
    const written = (name) => readFileSync(join(folder, name), "utf8");
    const { url, asked, home } = JSON.parse(golden("state.json"));
    const [head, plays] = golden("0000000003.batch").split("\n");
    const spool = new Spool(folder, url, asked);
    spool.home = home;
    const texts = JSON.parse(plays).map((play) => JSON.stringify(play));
    spool.seal(texts, JSON.parse(head).place, "z");
    spool.begin(spool.waiting[0]);
    spool.append(JSON.parse(golden("open-0000000004")));
    assert.equal(written("0000000001.batch"), golden("0000000003.batch"));
    assert.equal(written("open-0000000002"), golden("open-0000000004"));
    assert.match(written("0000000001.sent"), /^\d{13}$/);
    spool.goOn(null);
    spool.release();
    const [state, was] = [written("state.json"), golden("state.json")].map((text) => JSON.parse(text));
    assert.equal(state.version, was.version);
    assert.deepEqual(Object.keys(state), Object.keys(was));
    assert.deepEqual(formOf(state.others[0]), formOf(was.others[0]));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("a spool knows the last line that was confirmed, also where it holds no play, and every file that was read", () => {
  const folder = mkdtempSync(join(tmpdir(), "hitparade-spool-"));
  try {
    const spool = new Spool(folder, "http://a");
    spool.seal(['{"post_id":"a"}'], { input: { bytes: 9 } }, "x");
    spool.append({ texts: [], hash: "of a robot" });
    spool.sealConfirmed();
    assert.deepEqual([spool.place, spool.waiting.length], [{ reader: undefined, confirmed: "of a robot" }, 1]);
    assert.deepEqual(spool.places.at(-1), { input: { bytes: 9 } });
    spool.release();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("a spool keeps the places of its last 32 inputs", () => {
  const folder = mkdtempSync(join(tmpdir(), "hitparade-spool-"));
  try {
    let spool = new Spool(folder, "http://a");
    for (let input = 1; input <= 40; input++) {
      spool.goOn(null);
      spool.seal(['{"post_id":"a"}'], { input }, "x");
    }
    const inputs = () => spool.places.map(({ input }) => input);
    const last = Array.from({ length: 32 }, (_, index) => 40 - index);
    assert.deepEqual(inputs(), last);
    // None of the batches was answered.
    for (const place of [30, 30]) {
      spool.release();
      spool = new Spool(folder, "http://a");
      spool.goOn(spool.places.find(({ input }) => input === place));
      assert.deepEqual(inputs(), [30, ...last.filter((input) => input !== 30)]);
    }
    spool.release();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("a spool of many batches is read in little more time than its files take", () => {
  const folder = mkdtempSync(join(tmpdir(), "hitparade-spool-"));
  try {
    new Spool(folder, "http://a").release();
    const keys = Array.from({ length: 20_000 }, (_, index) => String(index + 1).padStart(10, "0"));
    for (const key of keys) writeFileSync(join(folder, `${key}.batch`), `{"client":"${key}","count":1,"bytes":2}\n[]`);
    // Of a batch that was about to be halved, and of one that was.
    for (const key of [`${keys[0]}.a`, `${keys[1]}.a`, `${keys[1]}.b`])
      writeFileSync(join(folder, `${key}.batch`), `{"client":"${key}","count":1,"bytes":2}\n[]`);
    rmSync(join(folder, `${keys[1]}.batch`));
    const begun = performance.now();
    for (const name of readdirSync(folder)) readFileSync(join(folder, name));
    const readMs = performance.now() - begun;
    const spool = new Spool(folder, "http://a");
    const ms = performance.now() - begun - readMs;
    spool.release();
    assert.deepEqual(
      spool.waiting.map(({ key }) => key),
      [keys[0], `${keys[1]}.a`, `${keys[1]}.b`, ...keys.slice(2)],
    );
    assert.ok(ms < 5 * readMs + 500, `${ms} ms, and its files ${readMs} ms`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

/** Those that a test that fails leaves behind. @type {Set<import("node:child_process").ChildProcess>} */
const children = new Set();
/** The command. @param {string} url @param {string[]} words */
function start(url, words, { cwd, program = "send", input = null, blocks = "unlimited" } = {}) {
  // A file that has reached its limit takes of a write what has room, and then nothing: as a disk that is full.
  const limited = ["-c", `ulimit -f ${blocks} && exec "$0" "$@"`, process.execPath];
  const child = spawn("sh", [...limited, join(ROOT, "scripts", "hitparade.mjs"), program, "--url", url, ...words], {
    cwd,
    env: { ...process.env, INGEST_TOKEN },
    stdio: ["pipe", "pipe", "pipe"],
  });
  children.add(child);
  let [said, out] = ["", ""];
  child.stderr.on("data", (data) => (said += data));
  child.stdout.on("data", (data) => (out += data));
  child.stdin.on("error", () => {});
  const ended = once(child, "close").then(([code]) => (children.delete(child), { code, said, out }));
  if (input !== null) child.stdin.end(input);
  return { child, ended, said: () => said, out: () => out };
}

describe("sending", { timeout: 300_000 }, () => {
  /** @type {Service} */
  let service;
  let folder;
  const model = new Model();
  const lineOf = (play) => `${JSON.stringify(play)}\n`;
  before(async () => {
    service = await Service.start();
    folder = mkdtempSync(join(tmpdir(), "hitparade-send-"));
    front = createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      const answer = await service.request(request.method, request.url, body || undefined, {
        "content-type": "application/json",
        authorization: request.headers.authorization ?? "",
      });
      const text = await answer.text();
      homes.push([body ? JSON.parse(body).home : undefined, answer.headers.get("hitparade-home")]);
      const { accepted, repeated } = JSON.parse(text);
      if (accepted && !repeated) for (const { post_id } of JSON.parse(body).plays) answered.set(post_id, (answered.get(post_id) ?? 0) + 1);
      response.writeHead(answer.status, Object.fromEntries(answer.headers));
      response.end(text);
    });
    await new Promise((done) => front.listen(0, "127.0.0.1", done));
  });
  after(async () => {
    front.close();
    for (const child of children) child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
    await service?.dispose();
  });
  /** Between the sender and the service, for tests that wait for an answer: charts are some seconds later. */
  let front;
  const answered = new Map();
  /** Of each request: the home that it named, and the one that its answer named. */
  const homes = [];
  const isAnswered = (id, times, run) =>
    eventually(async () => assert.equal(answered.get(id), times, `${id}: ${answered.get(id)}, not ${times}. ${run?.said() ?? ""}`));
  const send = (words, input, options = {}) => start(`http://127.0.0.1:${front.address().port}`, words, { cwd: folder, input, ...options });

  test("counts each line once, though it was killed at any moment and started again, and the input has grown", async () => {
    const plays = Array.from({ length: 60_000 }, (_, index) => ({
      post_id: `post ${index % 97}`,
      ...(index % 3 ? { region_id: "NA" } : {}),
      timestamp: Date.now() - index,
    }));
    const text = plays.map(lineOf).join("");
    const seed = Date.now();
    const random = randomNumbers(seed);
    for (let round = 0; round < 5; round++) {
      // Each time some more of it is there.
      const run = send(["--region", "EU"], text.slice(0, (text.length * (round + 1)) / 5));
      await sleep(200 + random() * 500);
      run.child.kill("SIGKILL");
      await run.ended;
    }
    const last = await send(["--region", "EU"], text).ended;
    assert.equal(last.code, 0, `seed ${seed}: ${last.said}`);
    const again = await send(["--region", "EU"], text).ended;
    assert.match(again.said, /: 0 plays counted, of 0 lines/);
    model.add(plays, "EU");
  });

  test("names batches by what is in them: without its spool, a repeat is counted once, too", async () => {
    const plays = Array.from({ length: 12_000 }, (_, index) => ({
      post_id: `named ${index % 7}`,
      region_id: "NA",
      timestamp: Date.now() - index,
    }));
    const file = join(folder, "plays.ndjson");
    writeFileSync(file, plays.map(lineOf).join(""));
    // What the service names as home in between is another one.
    for (const [spool, shards] of [
      ["one", 1],
      ["two", 4],
    ]) {
      assert.equal((await service.put("/regions/NA", { shards })).status, 200);
      const { code, said } = await send(["--spool", spool, "--connections", "1"], readFileSync(file)).ended;
      assert.equal(code, 0, said);
      assert.match(said, spool === "one" ? /12000 plays counted, of 12000 lines\.$/m : /\(12000 of them had been counted already\)/);
    }
    model.add(plays);
  });

  test("sends what came alone after a second, and ends cleanly on SIGTERM", async () => {
    const run = send(["--region", "NA", "--stream", "--spool", "stream"], null);
    run.child.stdin.write('{"post_id":"alone"}\n');
    await isAnswered("alone", 1);
    run.child.stdin.write('{"post_id":"at the end"}\n{"post_id":"cut o');
    await sleep(50);
    run.child.kill("SIGTERM");
    const { code, said } = await run.ended;
    assert.equal(code, 0, said);
    model.add([{ post_id: "alone" }, { post_id: "at the end" }]);
  });

  test("confirms a line when it is on disk, and takes one that it confirmed unheard once", async () => {
    const words = ["--region", "NA", "--confirm", "--spool", "confirm"];
    const line = (id) => `{"post_id":"confirmed","id":${id}}\n`;
    const first = send(words, null);
    await eventually(() => assert.equal(first.out(), "OK\n"));
    first.child.stdin.write(line(1));
    await eventually(() => assert.equal(first.out(), "OK\nOK\n"));
    first.child.stdin.write(line(2));
    await eventually(() => assert.equal(first.out(), "OK\nOK\nOK\n"));
    first.child.kill("SIGKILL");
    await first.ended;
    const second = send(words, line(2) + line(3));
    const { code, said, out } = await second.ended;
    assert.deepEqual([code, out], [0, "OK\nOK\nOK\n"], said);
    model.add(Array.from({ length: 3 }, () => ({ post_id: "confirmed" })));
  });

  test("counts lines that it confirmed before it was killed, also where another input is sent next", async () => {
    const first = send(["--region", "NA", "--confirm", "--spool", "mixed"], null);
    first.child.stdin.write('{"post_id":"kept","id":1}\n');
    await eventually(() => assert.equal(first.out(), "OK\nOK\n"));
    first.child.kill("SIGKILL");
    await first.ended;
    const [open] = readdirSync(join(folder, "mixed")).filter((name) => name.startsWith("open-"));
    const [line] = readFileSync(join(folder, "mixed", open), "utf8").split("\n");
    assert.deepEqual(formOf(JSON.parse(line)), formOf(JSON.parse(golden("open-0000000004"))));
    const file = await send(["--region", "NA", "--spool", "mixed"], '{"post_id":"other"}\n').ended;
    assert.equal(file.code, 0, file.said);
    assert.match(file.said, /: 2 plays counted, of 1 lines/);
    // Its OK was not heard, for all that is known.
    const second = await send(["--region", "NA", "--confirm", "--spool", "mixed"], '{"post_id":"kept","id":1}\n').ended;
    assert.match(second.said, /: 0 plays counted, of 1 lines/);
    model.add([{ post_id: "kept" }, { post_id: "other" }]);
  });

  test("confirms no line for which the disk had no room, and takes it when there is room again", async () => {
    const words = ["--region", "NA", "--confirm", "--spool", "full"];
    const lines = Array.from({ length: 100 }, (_, id) => `{"post_id":"full","id":${id}}\n`);
    const first = await send(words, lines.join(""), { blocks: 4 }).ended;
    assert.equal(first.code, 1);
    assert.match(first.said, /EFBIG|ENOSPC/);
    // The first OK says that somebody is there.
    const confirmed = first.out.split("\n").length - 2;
    assert.ok(confirmed > 0 && confirmed < lines.length, first.out);
    const second = await send(words, lines.slice(confirmed).join("")).ended;
    assert.equal(second.code, 0, second.said);
    assert.match(second.said, /: 100 plays counted, of/);
    model.add(lines.map(() => ({ post_id: "full" })));
  });

  test("follows a log that is rotated and emptied, also while nobody follows it", async () => {
    const log = join(folder, "access.log");
    const words = ["--from", "access-log", "--post", "/songs/{post}", "--region", "NA", "--follow", log, "--spool", "follow"];
    const now = new Date().toISOString();
    const time = `${now.slice(8, 10)}/${["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][Number(now.slice(5, 7)) - 1]}/${now.slice(0, 4)}:${now.slice(11, 19)} +0000`;
    let written = 0;
    const write = (file, times = 1) => {
      for (let index = 0; index < times; index++)
        appendFileSync(file, `${access("/songs/followed", { time, rest: ` "-" "Mozilla/5.0 number ${written++}"` })}\n`);
    };
    let run = send(words, null);
    const counted = () => isAnswered("followed", written, run);
    write(log, 3);
    await counted();
    renameSync(log, `${log}.1`);
    write(`${log}.1`);
    write(log, 2);
    await counted();
    run.child.kill("SIGKILL");
    await run.ended;
    // Nobody follows: the file grows, is rotated twice, and the next one is begun. A copy is no log.
    write(log);
    for (const times of [3, 2]) {
      renameSync(`${log}.1`, `${log}.${times}`);
      renameSync(log, `${log}.1`);
      await sleep(20);
      write(log, times);
    }
    copyFileSync(log, `${log}.bak`);
    run = send(words, null);
    await counted();
    truncateSync(log);
    await sleep(600);
    write(log);
    await counted();
    run.child.kill("SIGTERM");
    const { code, said } = await run.ended;
    assert.equal(code, 0, said);
    model.add(Array.from({ length: written }, () => ({ post_id: "followed" })));
  });

  test("follows a log from the moment on at which it was begun, though it was rotated before anything was sent", async () => {
    const log = join(folder, "begun.log");
    const spool = join(folder, "begun");
    const words = ["--region", "NA", "--follow", log, "--spool", spool];
    writeFileSync(log, "");
    let run = send(words, null);
    await eventually(() => assert.ok(Spool.placeOf(spool)));
    run.child.kill("SIGKILL");
    await run.ended;
    for (const name of [`${log}.1`, ""]) {
      appendFileSync(log, lineOf({ post_id: "begun" }));
      if (name) renameSync(log, name);
    }
    run = send(words, null);
    await isAnswered("begun", 2, run);
    run.child.kill("SIGTERM");
    const { code, said } = await run.ended;
    assert.equal(code, 0, said);
    model.add([{ post_id: "begun", region_id: "NA", count: 2 }]);
  });

  test("reads a log on that was rotated while its writer has not heard of it, however quiet it was before", async () => {
    const log = join(folder, "quiet.log");
    writeFileSync(log, lineOf({ post_id: "quiet" }));
    const run = send(["--region", "NA", "--follow", log, "--spool", "quiet"], null);
    await isAnswered("quiet", 1, run);
    // Longer than it is waited for after the last line.
    await sleep(1_200);
    renameSync(log, `${log}.1`);
    writeFileSync(log, "");
    await sleep(400);
    appendFileSync(`${log}.1`, lineOf({ post_id: "quiet" }));
    await isAnswered("quiet", 2, run);
    appendFileSync(log, lineOf({ post_id: "quiet" }));
    await isAnswered("quiet", 3, run);
    run.child.kill("SIGTERM");
    assert.equal((await run.ended).code, 0, run.said());
    model.add([{ post_id: "quiet", region_id: "NA", count: 3 }]);
  });

  test("sends batches with the home that the service named before, also after its shards changed", async () => {
    const words = ["--spool", "homes", "--stream"];
    /** @type {string | undefined} */
    let before;
    for (const [shards, id] of [
      [1, "first"],
      [4, "second"],
      [4, "third"],
    ]) {
      assert.equal((await service.put("/regions/NA", { shards })).status, 200);
      homes.length = 0;
      const { code, said } = await send(words, `{"post_id":"home ${id}"}\n`).ended;
      assert.equal(code, 0, said);
      const learned = JSON.parse(readFileSync(join(folder, "homes", "state.json"), "utf8")).home;
      const [[home, next]] = homes;
      assert.match(next, /^[^/]+\/\d+$/);
      assert.equal(learned, next);
      assert.equal(home, before);
      before = next;
    }
    model.add(["first", "second", "third"].map((id) => ({ post_id: `home ${id}` })));
  });

  test("says in its help where batches wait", async () => {
    const helpOf = async (program, ...words) => (await send([...words, "--help"], null, { program }).ended).said;
    assert.match(await helpOf("send"), /--spool DIR .* \.hitparade\/send here$/m);
    assert.match(await helpOf("import", "--from", "csv"), /--spool DIR .* FILE\.sending$/m);
  });

  test("brings days along as weighted plays, once, and shows before what would come in", async () => {
    const days = [3, 2, 1].map((age) => new Date(Date.now() - age * 86_400_000).toISOString().slice(0, 10));
    const file = join(folder, "imported_pages.csv");
    const text = [
      "date,hostname,page,visits,visitors,pageviews",
      ...days.map((day, index) => `${day},example.com,/songs/old%2520song,1,1,${100 + index}`),
      "2020-01-01,example.com,/songs/too-old,1,1,7",
    ].join("\n");
    // As Matomo and Excel write tables.
    writeFileSync(file, Buffer.from(`\ufeff${text}\n`, "utf16le"));
    const words = ["--from", "plausible", "--file", file, "--post", "/songs/{post}", "--region", "EU"];
    const dry = await send([...words, "--dry-run"], null, { program: "import" }).ended;
    assert.equal(dry.code, 0, dry.said);
    assert.match(dry.said, /310 plays of 2 posts would come in, from 2020-01-01T12:00:00.000Z/);
    assert.match(dry.said, /303 {2}old song/);
    assert.match(dry.said, /7 of them are over 400 days old/);
    const first = await send(words, null, { program: "import" }).ended;
    assert.equal(first.code, 1, first.said);
    assert.match(first.said, /: 3 entries counted, of 5 lines\.\n {2}Entries with a count stand for many plays: these for 303\./);
    assert.match(first.said, /1 entries were rejected: timestamp_out_of_range/);
    const second = await send(words, null, { program: "import" }).ended;
    assert.match(second.said, /: 0 plays counted/);
    model.add([{ post_id: "old song", count: 303 }], "EU");
    await eventually(async () => {
      const { series } = await service.post("old song", { region: "EU", timeframe: "7d" });
      const byDay = new Map();
      for (const { from, view_count } of series) byDay.set(from.slice(0, 10), (byDay.get(from.slice(0, 10)) ?? 0) + view_count);
      assert.deepEqual(
        days.map((day) => byDay.get(day)),
        [100, 101, 102],
      );
    });
  });

  test("says what to do where nothing can be sent", async () => {
    for (const [words, message] of [
      [["--from", "xml"], /--from xml: one of ndjson/],
      [["--from", "access-log"], /--post is needed/],
      [["--url", "charts.example"], /--url charts\.example: the address/],
      [["--encoding", "klingon"], /no such encoding/],
      [["--url", "http://127.0.0.1:PORT/elsewhere", "--spool", "elsewhere"], /404[^]*address of an installation/],
    ]) {
      const here = words.map((word) => word.replace("PORT", String(front.address().port)));
      const { code, said } = await send(here, '{"post_id":"a","region_id":"NA"}\n').ended;
      assert.equal(code, 1, said);
      assert.match(said, message);
    }
    const unknown = await send(["--spool", "unknown", "--region", "Atlantis"], '{"post_id":"a"}\n{"post_id":"b"}').ended;
    assert.equal(unknown.code, 1);
    assert.match(unknown.said, /2 plays were rejected: unknown_region/);
    assert.match(unknown.said, /Which there are: curl \S+\/regions;[^]*Then send them: npx hitparade send --spool \S+again < /);
    const elsewhere = await send(["--spool", "unknown", "--region", "NA"], '{"post_id":"a"}\n{"post_id":"b"}').ended;
    assert.equal(elsewhere.code, 1);
    assert.match(elsewhere.said, /with --region Atlantis\.[^]*For --region NA take another --spool/);
    const nothing = await send(["--spool", "nothing", "--from", "access-log", "--post", "/songs/{post}"], "no log\nnor this\n").ended;
    assert.equal(nothing.code, 1);
    assert.match(nothing.said, /2 left out: [^]*Every line was left out: --dry-run/);
    const again = await send(["--spool", "nothing", "--region", "NA"], '{"post_id":"the first that is a play"}\n').ended;
    assert.equal(again.code, 0, again.said);
    model.add([{ post_id: "the first that is a play" }]);
    assert.match(readFileSync(join(folder, "unknown", "rejected.ndjson"), "utf8"), /"post_id":"b".*"unknown_region"/);
    const text = Buffer.from('{"post_id":"caf\xe9","region_id":"NA"}\n', "latin1");
    const latin = await send(["--spool", "latin"], text).ended;
    assert.match(latin.said, /1 left out: not UTF-8: --encoding/);
    const told = await send(["--spool", "told", "--encoding", "latin1"], text).ended;
    assert.equal(told.code, 0, told.said);
    model.add([{ post_id: "café", region_id: "NA" }]);
  });

  test("has counted each play once, in the charts", () => model.assertExactly(service));
});

describe("a service that misbehaves", { timeout: 120_000 }, () => {
  let folder, server, answers, bodies;
  let isHealthy = true;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "hitparade-send-"));
    server = createServer(async (request, response) => {
      let text = "";
      for await (const chunk of request) text += chunk;
      if (request.url === "/healthz") return response.writeHead(isHealthy ? 200 : 503).end("{}");
      const body = JSON.parse(text);
      bodies.push(body);
      const answer = answers(body, text, bodies.length);
      if (answer === null) return request.socket.destroy();
      const [status, value, headers = {}] = answer;
      response.writeHead(status, { "content-type": "application/json", ...headers });
      response.end(JSON.stringify(value));
    });
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
  });
  after(() => {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const run = (words, input) => {
    bodies = [];
    return start(`http://127.0.0.1:${server.address().port}`, words, { cwd: folder, input });
  };
  const counted = (body) => [202, { accepted: body.plays.length, rejected: [], repeated: false }];

  test("gets the very same batch until it answers, and is left alone as long as it asks for", async () => {
    let asked = 0;
    answers = (body, _, number) => {
      if (number === 1) return null;
      if (number === 2) return [asked ? 500 : 503, {}, { "retry-after": "2" }, (asked = Date.now())];
      assert.ok(Date.now() - asked >= 1_990);
      return counted(body);
    };
    const { code, said } = await run(["--spool", "again", "--region", "NA"], '{"post_id":"a"}\n').ended;
    assert.equal(code, 0, said);
    assert.equal(bodies.length, 3);
    for (const body of bodies.slice(1)) assert.deepEqual({ ...body, now: 0 }, { ...bodies[0], now: 0 });
  });

  test("that takes less at once gets halves, and a play that is too large is set aside", async () => {
    answers = (body, text) => (text.length > 2_000 ? [413, { code: "too_large" }] : counted(body));
    const plays = Array.from({ length: 300 }, (_, index) => ({
      post_id: index === 100 ? "x".repeat(2_500) : `post ${index}`,
      timestamp: 1,
    }));
    const { code, said } = await run(["--spool", "large"], plays.map((play) => `${JSON.stringify(play)}\n`).join("")).ended;
    assert.equal(code, 1, said);
    assert.match(said, /299 plays counted/);
    const small = bodies.filter((body) => JSON.stringify(body).length <= 2_000).flatMap(({ plays }) => plays.map(({ post_id }) => post_id));
    assert.deepEqual(
      small.sort(),
      plays
        .map(({ post_id }) => post_id)
        .filter((id) => id.length < 100)
        .sort(),
    );
    const [file] = readdirSync(join(folder, "large", "refused"));
    assert.match(readFileSync(join(folder, "large", "refused", file), "utf8"), /x{2500}/);
  });

  test("gets the good plays of a message in which others are none, and the command says how many and where", async () => {
    answers = counted;
    const good = Array.from({ length: 999 }, (_, index) => ({ post_id: `post ${index}` }));
    const lines = [good.toSpliced(500, 0, { post_id: null }), [{}, {}], { post_id: "c" }, [{}], {}, [{}], [], [{}, {}]];
    const { code, said } = await run(["--spool", "some"], lines.map((line) => `${JSON.stringify(line)}\n`).join("")).ended;
    assert.equal(code, 0, said);
    assert.deepEqual(
      bodies.flatMap(({ plays }) => plays.map(({ post_id }) => post_id)),
      [...good.map(({ post_id }) => post_id), "c"],
    );
    assert.match(said, /1000 plays counted, of 8 lines\.\n {2}8 left out: no post_id \(line 1, 2, 4, …\)\n/);
    const none = await run(["--spool", "none"], "[{},{}]\n[{},{}]").ended;
    assert.equal(none.code, 1, none.said);
    assert.match(
      none.said,
      /2 left out: no post_id \(line 1\)\n {2}2 left out: the last line is cut off \(no post_id\) \(line 2\)\n! Every line/,
    );
  });

  test("that takes a play on one of its boards gets it on the other one alone, when it is sent again", async () => {
    answers = () => [
      202,
      {
        accepted: 1,
        rejected: [
          { index: 0, code: "unknown_board", detail: "none", board: "jazz" },
          { index: 1, code: "bad_post_id", detail: "bad" },
        ],
        repeated: false,
      },
    ];
    const lines = ['{"post_id":"a","boards":["main","jazz"]}', '{"post_id":"","boards":["main","jazz"]}'];
    const { code, said } = await run(["--spool", "two"], lines.join("\n")).ended;
    assert.equal(code, 1, said);
    answers = counted;
    await run(["--spool", "two/again"], readFileSync(join(folder, "two", "rejected.ndjson"))).ended;
    const [{ plays }] = bodies;
    assert.deepEqual(
      plays.map(({ board, boards }) => ({ board, boards })),
      [
        { board: "jazz", boards: undefined },
        { board: undefined, boards: ["main", "jazz"] },
      ],
    );
  });

  const idsOf = () => bodies.flatMap(({ plays }) => plays.map(({ post_id }) => post_id));

  test("gets each line of several inputs once, though they are sent through one spool in turn and again", async () => {
    answers = counted;
    const lines = (id, times) => Array.from({ length: times }, (_, index) => `{"post_id":"${id} ${index}","timestamp":1}\n`).join("");
    const message = (offset) => `${JSON.stringify({ topic: "plays", partition: 0, offset, payload: `{"post_id":"kafka ${offset}"}` })}\n`;
    const words = ["--spool", "turns"];
    for (const [input, ids, more = []] of [
      [lines("a", 2), ["a 0", "a 1"]],
      [lines("b", 1), ["b 0"]],
      [message(0) + message(1), ["kafka 0", "kafka 1"], ["--from", "kcat"]],
      [lines("a", 3), ["a 2"]],
      ['{"post_id":"stream"}\n', ["stream"], ["--stream"]],
      [message(0) + message(1) + message(2), ["kafka 2"], ["--from", "kcat"]],
      [lines("b", 2), ["b 1"]],
      [lines("a", 3), []],
    ]) {
      const { code, said } = await run([...words, ...more], input).ended;
      assert.equal(code, 0, said);
      assert.deepEqual(idsOf(), ids, said);
    }
    assert.deepEqual(Spool.placeOf(join(folder, "turns"), ({ input }) => !input).reader, { "plays/0": { next: 3 } });
    // Also what was sealed and not answered before the next one was sent.
    answers = () => null;
    const killed = run(words, lines("a", 4));
    await eventually(() => assert.ok(bodies.length > 0));
    killed.child.kill("SIGKILL");
    await killed.ended;
    answers = counted;
    await run(words, lines("b", 3)).ended;
    assert.deepEqual(idsOf().sort(), ["a 3", "b 2"]);
    const { said } = await run(words, lines("a", 4)).ended;
    assert.deepEqual(idsOf(), [], said);
  });

  test("gets the same plays of two inputs by two names, though one was begun where the other goes on", async () => {
    answers = counted;
    const play = (id, number = 0) => `{"post_id":"${id}","region_id":"NA","timestamp":1,"number":${number}}\n`;
    const names = new Set();
    // The last one is like the second, but for what is not sent, and also begun after the first.
    for (const input of [play("a"), play("b"), play("a"), play("b", 1), play("a") + play("b")]) {
      const { code, said } = await run(["--spool", "names"], input).ended;
      assert.equal(code, 0, said);
      for (const { client } of bodies) names.add(client);
    }
    assert.equal(names.size, 4);
  });

  test("gets no line twice unsaid: the command says when the place of an input is kept no longer", async () => {
    answers = counted;
    const spool = new Spool(join(folder, "many"), `http://127.0.0.1:${server.address().port}`);
    for (let input = 1; input < 32; input++) {
      spool.goOn(null);
      spool.begunAt({ input: { bytes: 2, head: btoa(`${input}\n`) } });
    }
    spool.release();
    for (const [id, isTold] of [
      ["a", false],
      ["b", true],
      ["b", false],
    ]) {
      const { code, said } = await run(["--spool", "many"], `{"post_id":"${id}"}\n`).ended;
      assert.equal(code, 0, said);
      assert.equal(said.split("would count again").length - 1, Number(isTold), said);
    }
  });

  describe("while a log is followed", () => {
    const line = (id) => `{"post_id":"${id}","timestamp":1}\n`;
    const follow = (name) => run(["--follow", join(folder, name), "--spool", `${name}.sending`], null);
    const areCounted = (ids, running) =>
      eventually(() => {
        const [counted, expected] = [idsOf().sort(), [...ids].sort()];
        // To show how 100,000 lines differ from others takes `deepEqual` minutes.
        assert.ok(String(counted) === String(expected), `${counted.slice(0, 20)}, not ${expected.slice(0, 20)}: ${running.said()}`);
      }).finally(() => end(running));
    const end = (running) => (running.child.kill("SIGTERM"), running.ended);
    /** The same, after what is done meanwhile. */
    const areCountedAfter = async (meanwhile, ids, running) => {
      await meanwhile().catch((error) => end(running).then(() => Promise.reject(error)));
      await areCounted(ids, running);
    };

    test("hears at once of one that is not there, and gets it when it is", async () => {
      answers = counted;
      const running = follow("late.log");
      await eventually(() => assert.match(running.said(), /late\.log is not there: it is waited for/), 5_000);
      writeFileSync(join(folder, "late.log"), line("late"));
      await areCounted(["late"], running);
      assert.equal(running.said().split("waited for").length, 2);
    });

    test("gets nothing twice though it was not there for a moment, or its disk has another number", async () => {
      answers = counted;
      const log = join(folder, "away.log");
      writeFileSync(log, line("a"));
      await areCounted(["a"], follow("away.log"));
      renameSync(log, join(folder, "elsewhere"));
      let running = follow("away.log");
      await eventually(() => assert.match(running.said(), /away\.log is not there: it is waited for/), 5_000);
      renameSync(join(folder, "elsewhere"), log);
      appendFileSync(log, line("b"));
      await areCounted(["b"], running);
      const state = join(folder, "away.log.sending", "state.json");
      writeFileSync(state, readFileSync(state, "utf8").replace(/"inode":"\d+:/, '"inode":"4711:'));
      running = follow("away.log");
      appendFileSync(log, line("c"));
      await areCounted(["c"], running);
    });

    test("gets what was read by a pipe before no second time", async () => {
      answers = counted;
      const log = join(folder, "piped.log");
      writeFileSync(log, line("a") + line("b"));
      assert.equal((await run(["--spool", "piped.log.sending"], readFileSync(log)).ended).code, 0);
      const running = follow("piped.log");
      appendFileSync(log, line("c"));
      await areCounted(["c"], running);
      await run(["--spool", "piped.log.sending"], readFileSync(log)).ended;
      assert.deepEqual(idsOf(), []);
    });

    test("gets nothing twice of its rotated files that were read by a pipe before", async () => {
      answers = counted;
      for (const isFollowedBefore of [false, true]) {
        const name = `days-${isFollowedBefore}.log`;
        const log = join(folder, name);
        const days = [1, 2, 3, 4].map((day) => `${log}-2026112${day}`);
        for (const [index, file] of days.entries()) {
          if (isFollowedBefore && index === 0) {
            writeFileSync(log, line("day 0"));
            await areCounted(["day 0"], follow(name));
            renameSync(log, file);
          } else {
            writeFileSync(file, line(`day ${index}`));
          }
          utimesSync(file, 1_000 + index, 1_000 + index);
        }
        // The last one nobody has read.
        for (const file of days.slice(0, 3)) assert.equal((await run(["--spool", `${name}.sending`], readFileSync(file)).ended).code, 0);
        writeFileSync(log, line("today"));
        await areCounted(["day 3", "today"], follow(name));
      }
    });

    test("goes on where it was left though less of its beginning is known than is kept now", async () => {
      answers = counted;
      const log = join(folder, "known.log");
      const lines = (from, to) => Array.from({ length: to - from }, (_, index) => `a line of some length, ${from + index}`);
      writeFileSync(log, lines(0, 100).map(line).join(""));
      await areCounted(lines(0, 100), follow("known.log"));
      const file = join(folder, "known.log.sending", "state.json");
      const state = JSON.parse(readFileSync(file, "utf8"));
      state.place.input.head = Buffer.from(state.place.input.head, "base64").subarray(0, 1_024).toString("base64");
      writeFileSync(file, JSON.stringify(state));
      const running = follow("known.log");
      const grow = async () => {
        for (const id of ["one", "two"]) {
          appendFileSync(log, line(id));
          await eventually(() => assert.ok(idsOf().includes(id), running.said()));
        }
      };
      await areCountedAfter(grow, ["one", "two"], running);
    });

    test("gets all of files that came while it was followed, though they begin like one that was read before", async () => {
      answers = counted;
      const log = join(folder, "alike.log");
      const same = '{"post_id":"a"}\n';
      assert.equal((await run(["--spool", "alike.log.sending"], same.repeat(3)).ended).code, 0);
      writeFileSync(log, line("b"));
      const running = follow("alike.log");
      const rotate = async () => {
        await eventually(() => assert.deepEqual(idsOf(), ["b"]));
        for (const [round, ending] of ["2", "1"].entries()) {
          renameSync(log, `${log}.${ending}`);
          writeFileSync(log, same.repeat(5));
          await eventually(() => assert.equal(idsOf().length, 1 + 5 * (round + 1), running.said()));
        }
      };
      await areCountedAfter(rotate, ["b", ...Array(10).fill("a")], running);
    });

    test("gets no file twice that was written to once more when the next one, which stayed empty, was there", async () => {
      answers = counted;
      const log = join(folder, "quiet.log");
      writeFileSync(log, line("a"));
      const running = follow("quiet.log");
      const rotate = async () => {
        await eventually(() => assert.deepEqual(idsOf(), ["a"]));
        renameSync(log, `${log}.1`);
        writeFileSync(log, "");
        await sleep(50);
        appendFileSync(`${log}.1`, line("b"));
        await eventually(() => assert.deepEqual(idsOf(), ["a", "b"]));
        await sleep(2_500);
        renameSync(`${log}.1`, `${log}.2`);
        renameSync(log, `${log}.1`);
        writeFileSync(log, line("c"));
        await eventually(() => assert.ok(idsOf().includes("c")));
      };
      await areCountedAfter(rotate, ["a", "b", "c"], running);
    });

    test("gets it though something else than a file is beside it", async () => {
      answers = counted;
      writeFileSync(join(folder, "beside.log"), line("a"));
      execFileSync("mkfifo", [join(folder, "beside.log.pipe")]);
      await areCounted(["a"], follow("beside.log"));
      renameSync(join(folder, "beside.log"), join(folder, "beside.log.1"));
      writeFileSync(join(folder, "beside.log"), line("b"));
      await areCounted(["b"], follow("beside.log"));
    });

    test("ends the command where it refuses the token, also while the log is not there", async () => {
      answers = () => [401, { code: "unauthorized" }];
      const log = join(folder, "refused.log");
      writeFileSync(log, line("a"));
      for (const time of ["there", "not there"]) {
        const running = follow("refused.log");
        const ended = await Promise.race([running.ended, sleep(10_000)]);
        running.child.kill("SIGKILL");
        assert.equal(ended?.code, 1, `${time}: ${running.said()}`);
        assert.match(ended.said, /INGEST_TOKEN is not one/);
        rmSync(log, { force: true });
      }
    });

    test("gets all of one that was copied and emptied while nothing was taken, and has outgrown what was read", async () => {
      [isHealthy, answers] = [false, () => [503, {}]];
      const log = join(folder, "copied.log");
      const all = (name, times) => Array.from({ length: times }, (_, index) => `${name} ${index}`);
      writeFileSync(log, all("old", 110_000).map(line).join(""));
      writeFileSync(`${log}.2`, all("old", 110_000).map(line).join(""));
      utimesSync(`${log}.2`, 1, 1);
      let running = follow("copied.log");
      const waiting = () => readdirSync(join(folder, "copied.log.sending")).filter((name) => name.endsWith(".batch")).length;
      await eventually(() => assert.ok(waiting() >= 8));
      copyFileSync(log, `${log}.1`);
      writeFileSync(log, all("new", 120_000).map(line).join(""));
      [isHealthy, answers, bodies] = [true, counted, []];
      await areCounted([...all("old", 110_000), ...all("new", 120_000)], running);
      assert.match(running.said(), /was emptied/);
      // While nobody follows it, too.
      appendFileSync(log, line("last"));
      copyFileSync(log, `${log}.1`);
      writeFileSync(log, line("first"));
      running = follow("copied.log");
      await areCounted(["last", "first"], running);
    });
  });

  /** What the service does with a batch of over 24 parts. */
  const withFewParts = (body) =>
    new Set(body.plays.map(({ board, region_id }) => `${board} ${region_id}`)).size > 24
      ? [413, { code: "too_many_parts" }]
      : counted(body);
  const onBoards = (from, to) => Array.from({ length: to - from }, (_, index) => ({ post_id: "a", board: `board ${from + index}` }));

  test("that takes fewer boards at once gets a message of many in halves, and later batches as large as ever", async () => {
    answers = withFewParts;
    const running = run(["--spool", "parts"], null);
    running.child.stdin.write(`${JSON.stringify(onBoards(0, 30))}\n`);
    await eventually(() => assert.equal(bodies.length, 3));
    running.child.stdin.end('{"post_id":"b"}\n'.repeat(2_000));
    const { code, said } = await running.ended;
    assert.equal(code, 0, said);
    assert.match(said, /2030 plays counted/);
    // The first three, and one for what came within a second.
    assert.ok(bodies.length <= 6, `${bodies.length} requests, of ${bodies.map(({ plays }) => plays.length)} plays`);
    assert.match(said, /30 plays \(1\d{3} bytes\) are too much at once for who answers \(413 too_many_parts\): halved/);
  });

  test("that takes fewer boards at once gets no batch of more, wherever in a message they stand", async () => {
    answers = withFewParts;
    const lines = [onBoards(0, 20), [...onBoards(19, 30), ...onBoards(19, 30)], onBoards(29, 43)];
    const { code, said } = await run(["--spool", "boards"], lines.map((line) => `${JSON.stringify(line)}\n`).join("")).ended;
    assert.equal(code, 0, said);
    assert.deepEqual(
      bodies.map(({ plays }) => plays.length),
      [20, 36],
    );
  });

  test("that has no answer for 15 minutes gets nothing twice: the batch is set aside, later ones are sent", async () => {
    answers = () => null;
    const first = run(["--spool", "doubt"], '{"post_id":"a"}\n');
    await eventually(() => assert.ok(bodies.length > 0));
    first.child.kill("SIGKILL");
    await first.ended;
    const [sent] = readdirSync(join(folder, "doubt")).filter((name) => name.endsWith(".sent"));
    writeFileSync(join(folder, "doubt", sent), String(Date.now() - 16 * 60_000));
    answers = counted;
    const { code, said } = await run(["--spool", "doubt"], '{"post_id":"a"}\n{"post_id":"b"}\n').ended;
    assert.equal(code, 1, said);
    assert.match(said, /1 plays got no answer for 15 minutes/);
    assert.deepEqual(
      bodies.flatMap(({ plays }) => plays.map(({ post_id }) => post_id)),
      ["b"],
    );
  });

  for (const version of readdirSync(SPOOLS))
    test(`gets what a spool of ${version} holds, and of its input what came since`, async () => {
      answers = counted;
      const spool = join(folder, `golden ${version}`);
      cpSync(join(SPOOLS, version), spool, { recursive: true });
      const state = readFileSync(join(spool, "state.json"), "utf8");
      // Of the service of this test.
      const url = `http://127.0.0.1:${server.address().port}`;
      writeFileSync(join(spool, "state.json"), state.replace("http://127.0.0.1:8787", url));
      const play = (id, more = {}) => `${JSON.stringify({ post_id: id, timestamp: 1795676400000, ...more })}\n`;
      const input = [play("tried", { region_id: "EU" }), play("é"), play("counted twice", { count: 2 }), play("new")];
      const words = ["--spool", spool, "--board", "jazz"];
      const { code, said } = await run(words, input.join("")).ended;
      // What was tried longer than 15 minutes ago is set aside.
      assert.equal(code, 1, said);
      assert.match(said, /1 plays got no answer for 15 minutes/);
      assert.match(said, /: 4 entries counted, of 1 lines[^]*stand for many plays: these for 5\.$/m, "also of what waited");
      const named = bodies.find(({ client }) => client === "MJvzgRtXaZu2vgSQ5eaybPyDnRYAoCPHlIX7ltmyxeo");
      assert.deepEqual([named?.home, named?.plays.map(({ post_id }) => post_id)], ["EU/4", ["é", "counted twice"]]);
      assert.deepEqual(idsOf().sort(), ["confirmed", "counted twice", "new", "é"]);
      assert.deepEqual([...new Set(bodies.flatMap(({ plays }) => plays.map(({ board }) => board)))], ["jazz"]);
      const other = await run(words, play("of another input")).ended;
      assert.deepEqual([other.code, idsOf()], [0, []], other.said);
    });

  /** What the service does with a batch from the future, by the sender's own clock. */
  const notAhead = (body) =>
    body.sent - body.now > 60_000 ? [400, { code: "bad_envelope", detail: "sent lies in the future" }] : counted(body);

  test("gets nothing twice though the sender's clock was set back: a batch that was tried later than now is set aside", async () => {
    answers = () => null;
    const first = run(["--spool", "clock"], '{"post_id":"a"}\n');
    await eventually(() => assert.ok(bodies.length > 0));
    first.child.kill("SIGKILL");
    await first.ended;
    const [sent] = readdirSync(join(folder, "clock")).filter((name) => name.endsWith(".sent"));
    writeFileSync(join(folder, "clock", sent), String(Date.now() + 3_600_000));
    answers = notAhead;
    const { code, said } = await run(["--spool", "clock"], '{"post_id":"a"}\n{"post_id":"b"}\n').ended;
    assert.equal(code, 1, said);
    assert.match(said, /1 plays were tried later than this clock shows: it was set back\. They may have been counted, and are in/);
    assert.deepEqual(
      bodies.flatMap(({ plays }) => plays.map(({ post_id }) => post_id)),
      ["b"],
    );
  });

  test(
    "gets a batch again soon though the sender's clock is set back between two attempts, and as long as it may",
    {
      timeout: 20_000,
    },
    async ({ mock }) => {
      bodies = [];
      const clock = Date.now;
      let aheadMs = 0;
      mock.method(Date, "now", () => clock() + aheadMs);
      answers = (body) => {
        if (bodies.length > 1) return notAhead(body);
        aheadMs -= 3_600_000;
        return null;
      };
      const spool = new Spool(join(folder, "set back"), "http://a");
      const delivery = new Delivery(spool, { url: `http://127.0.0.1:${server.address().port}`, token: "", connections: 1, tell: () => {} });
      try {
        spool.seal(['{"post_id":"a"}'], null, "x");
        delivery.wake();
        await eventually(() => assert.deepEqual([delivery.error, delivery.counts.accepted], [null, 1]));
        spool.seal(['{"post_id":"b"}'], null, "y");
        spool.begin(spool.waiting[0]);
        aheadMs -= 3_600_000;
        mock.method(performance, "now", () => 15 * 60_000 + 3_600_000);
        delivery.wake();
        await eventually(() => assert.equal(delivery.counts.inDoubt, 1));
      } finally {
        mock.restoreAll();
        await delivery.stop();
        spool.release();
      }
    },
  );

  test("gets no batch for the first time, after a failure, before it says that it is well", async () => {
    [isHealthy, answers] = [false, () => null];
    const plays = Array.from({ length: 45_000 }, (_, index) => `{"post_id":"post ${index}","timestamp":1}\n`);
    const running = run(["--spool", "outage", "--connections", "2"], plays.join(""));
    const names = (ending) => readdirSync(join(folder, "outage")).filter((name) => name.endsWith(ending));
    await eventually(() => assert.ok(bodies.length >= 2 && names(".batch").length >= 5));
    // As many as were under way when the first one failed.
    const tried = new Set(bodies.map(({ client }) => client)).size;
    assert.ok(tried <= 2, String(tried));
    assert.equal(names(".sent").length, tried);
    const headOf = (/** @type {string} */ text) => JSON.parse(text.slice(0, text.indexOf("\n")));
    const { place } = headOf(readFileSync(join(folder, "outage", names(".batch")[0]), "utf8"));
    const was = headOf(golden("0000000003.batch")).place;
    // What a reader keeps of an input is its own: nothing of NDJSON.
    assert.deepEqual([Object.keys(place), formOf(place.input)], [Object.keys(was), formOf(was.input)]);
    [isHealthy, answers] = [true, counted];
    const { code, said } = await running.ended;
    assert.equal(code, 0, said);
    assert.match(said, /45000 plays counted/);
    // Each batch under its name, whatever it took.
    assert.equal(new Set(bodies.map(({ client, plays }) => `${client} ${plays.length}`)).size, 5);
  });

  test("that refuses the token hides nothing of what was left out of its input", async () => {
    answers = () => [401, { code: "unauthorized" }];
    const input = '{"post_id":"a"}\nno play\n{"post_id":"b"}\n';
    const { code, said } = await run(["--spool", "token"], input).ended;
    assert.equal(code, 1, said);
    assert.match(said, /0 plays counted, of 3 lines\.\n {2}1 left out: [^\n]*\(line 2\)\n[^]*2 plays wait in [^]*INGEST_TOKEN is not one/);
    // What is passed over then was told of.
    answers = counted;
    const again = await run(["--spool", "token"], input).ended;
    assert.equal(again.code, 0, again.said);
    assert.match(again.said, /2 plays counted, of 0 lines/);
    assert.doesNotMatch(again.said, /left out/);
  });

  test("that is not there begins no clock", async () => {
    const free = createServer();
    await new Promise((done) => free.listen(0, "127.0.0.1", done));
    const { port } = free.address();
    await new Promise((done) => free.close(done));
    const away = start(`http://127.0.0.1:${port}`, ["--spool", "away"], { cwd: folder, input: '{"post_id":"a"}\n' });
    await eventually(() => assert.match(away.said(), /ECONNREFUSED/));
    assert.deepEqual(
      readdirSync(join(folder, "away")).filter((name) => name.endsWith(".sent")),
      [],
    );
    away.child.kill("SIGTERM");
    const { code, said } = await away.ended;
    assert.equal(code, 0);
    assert.match(said, /1 plays wait in .*away: the next start sends them/);
  });

  test("gets the home that its last answer named, in batches that are sealed later and have plays without a region", async () => {
    answers = (body) => [...counted(body), { "hitparade-home": "EU/4" }];
    const all = '{"post_id":"a","region_id":"NA"}\n';
    for (const [input, home] of [
      ['{"post_id":"a"}\n', undefined],
      ['{"post_id":"b"}\n', "EU/4"],
      [all, undefined],
      [`${all}{"post_id":"c"}\n`, "EU/4"],
    ]) {
      const { code, said } = await run(["--spool", "home", "--stream"], input).ended;
      assert.equal(code, 0, said);
      assert.equal(bodies[0].home, home, input);
    }
    const { code, said } = await run(["--spool", "home", "--stream", "--region", "NA"], '{"post_id":"d"}\n').ended;
    assert.equal(code, 0, said);
    assert.equal(bodies[0].home, undefined);
  });
});
