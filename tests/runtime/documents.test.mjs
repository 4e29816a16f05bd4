/** What the documents name is there: links, commands, files, tests, settings, attributes, limits, alerts, mutants. And what is there is named. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { readPackage } from "../../scripts/lib/release.mjs";
import { NAMED, PLACES, notesOf, setVersion } from "../../scripts/lib/version.mjs";

/** Of releases before this one, too. */
const KEPT_BEACON = /^www\/beacon[^/]*\.\d+\.js$/;
const LEFT_OUT = ["node_modules", "target", "build", ".state", ".git", ".wrangler"];

/** The commands of a program that takes their names. @param {string} file in scripts */
const commandsOf = (file) => {
  const [, table] = /const COMMANDS = \{\n([^]*?)\n\};/.exec(readFileSync(join(ROOT, "scripts", file), "utf8"));
  return [...table.matchAll(/^ {2}"?([a-z-]+)"?: /gm)].map(([, name]) => name);
};
const DEV = commandsOf("dev.mjs");
const HITPARADE = commandsOf("hitparade.mjs");

function documents(folder = ROOT) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (LEFT_OUT.includes(entry.name)) return [];
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return documents(path);
    return entry.name.endsWith(".md") ? [path] : [];
  });
}

/** As GitHub makes them of headings. */
function anchors(path) {
  const headings = readFileSync(path, "utf8").matchAll(/^#+ (.+)$/gm);
  return new Set(
    [...headings].map(([, text]) =>
      text
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

const read = (...path) => readFileSync(join(ROOT, ...path), "utf8");
/** @param {string} text @param {RegExp} pattern with one group */
const all = (text, pattern) => new Set([...text.matchAll(pattern)].map(([, found]) => found));
/** Both in one order. @param {Iterable<string>} left @param {Iterable<string>} right @param {string} [why] */
const assertSame = (left, right, why) => assert.deepEqual([...new Set(left)].sort(), [...new Set(right)].sort(), why);

const CARGO = read("Cargo.toml");

/** Native tests by their whole names, as `cargo test` filters them, and the program of each. */
const TESTS = filesIn("src", "tests")
  .filter((path) => path.endsWith(".rs"))
  .flatMap((path) => {
    const [folder, ...rooms] = path.slice(0, -3).split("/");
    // What is not for itself is a room of `tests/native.rs`.
    const own = [rooms[0], `${rooms[0]}/main`].find((name) => CARGO.includes(`path = "tests/${name}.rs"`));
    const program = folder === "src" ? "lib" : own ? rooms[0] : "native";
    return [...all(read(path), /\bfn (\w+)/g)].map((name) => ({ program, name: [...rooms, name].join("::") }));
  });

/** @param {string[]} folders of the repository @returns {string[]} paths in it */
function filesIn(...folders) {
  return folders.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
      const path = `${folder}/${entry.name}`;
      return entry.isDirectory() ? filesIn(path) : [path];
    }),
  );
}

for (const path of documents()) {
  const name = relative(ROOT, path);
  const text = readFileSync(path, "utf8");

  test(`${name}: every link leads somewhere`, () => {
    const prose = text.replace(/^```[^]*?^```/gm, "");
    for (const [, target] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^(https?|mailto):/.test(target)) continue;
      const [file, anchor] = target.split("#");
      const to = file ? join(dirname(path), file) : path;
      assert.ok(existsSync(to), `${target} is not there`);
      if (anchor) assert.ok(anchors(to).has(anchor), `${target}: no such heading`);
    }
  });

  test(`${name}: every command is there`, () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    for (const [, script] of text.matchAll(/npm run ([a-z-]+)/g)) assert.ok(script in scripts, `npm run ${script}`);
    for (const [, command] of text.matchAll(/npm run dev -- ([a-z-]+)/g)) assert.ok(DEV.includes(command), `npm run dev -- ${command}`);
    for (const [, command] of text.matchAll(/npx hitparade ([a-z]+)/g)) assert.ok(HITPARADE.includes(command), `npx hitparade ${command}`);
  });

  test(`${name}: every test is there`, () => {
    for (const [, group, words] of text.matchAll(/npm test -- (runtime|browser)((?: [a-z-]+)+)/g)) {
      for (const word of words.trim().split(" ")) assert.ok(existsSync(join(ROOT, "tests", group, `${word}.test.mjs`)), `${group} ${word}`);
    }
    for (const [command, line] of text.matchAll(/(?:cargo|npm) test (?:-- rust )?((?:[-\w=]+ ?)+)/g)) {
      if (command.startsWith("npm") && !command.includes("rust ")) continue;
      const words = line.replace(" -- ", " ").trim().split(" ");
      const programs = words.filter((_, at) => words[at - 1] === "--test");
      const ofSummary = words.includes("hitparade-summary");
      for (const program of programs) {
        const there = ofSummary
          ? existsSync(join(ROOT, "src/summary/tests", `${program}.rs`))
          : TESTS.some((test) => test.program === program);
        assert.ok(there, command);
      }
      if (ofSummary) continue;
      const there = TESTS.filter(({ program }) => programs.length === 0 || programs.includes(program));
      for (const word of words.filter((word, at) => !/^-/.test(word) && !/^(--test|-p)$/.test(words[at - 1])))
        assert.ok(
          there.some(({ name }) => name.includes(word)),
          `${command}: no test's name contains ${word}`,
        );
    }
  });

  test(`${name}: every file is there`, () => {
    const named = /(?<![\w/.@-])((?:src|tests|benches|scripts|www|client|deploy|docs|demo|tools|integrations)\/[\w./*-]*\w)/g;
    for (const [, file] of text.replace(/https?:\S+/g, "").matchAll(named)) {
      if (/\*|NAME|VERSION/.test(file)) continue;
      assert.ok(existsSync(join(ROOT, file)) || existsSync(join(dirname(path), file)), file);
    }
  });
}

test("every command is in a document", () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  const all = documents()
    .map((path) => readFileSync(path, "utf8"))
    .join("\n");
  for (const command of DEV) {
    const called = ["test", "bench", "simulate"].includes(command) ? command : `npm run dev -- ${command}`;
    assert.ok(all.includes(called), `no document says what ${called} is for`);
  }
  for (const command of HITPARADE.filter((name) => name !== "demo")) {
    assert.ok(all.includes(`npx hitparade ${command}`), `no document says what npx hitparade ${command} is for`);
  }
  for (const script of Object.keys(scripts).filter((name) => !["prepack", "version"].includes(name))) {
    const called = ["start", "test"].includes(script) ? `npm ${script}` : `npm run ${script}`;
    assert.ok(all.includes(called), `no document says what ${called} is for`);
  }
});

test("every setting is read, explained in wrangler.toml and in a document", () => {
  const written = all(read("wrangler.toml"), /^vars\.([A-Z_]+) = /gm);
  const sources = filesIn("src").filter((path) => path.endsWith(".rs"));
  const code = sources.map((path) => read(path).split("#[cfg(test)]")[0]).join("\n");
  const asked = all(code, /\bsetting\(\s*(?:&?[\w.]+,\s*)?"([A-Z_]+)"/g);
  for (const name of asked) assert.ok(written.has(name), `wrangler.toml says nothing of ${name}`);
  const [, settings] = read("docs", "deploy.md").split(/^### Settings$/m);
  const [section] = settings.split(/^### /m);
  for (const name of written) {
    assert.ok(code.includes(`"${name}"`), `nothing reads ${name}`);
    assert.ok(section.includes(`\`${name}\``), `docs/deploy.md#settings says nothing of ${name}`);
  }
});

test("every attribute of the beacon and of the widget is in its document, and no other", () => {
  const ofBeacon = all(read("www", "beacon.js"), /^ \* \| `([a-z]+)` \|/gm);
  const named = (text) => all(text, /\bdata-([a-z]+)/g);
  assertSame(named(read("docs", "beacon.md")), ofBeacon, "docs/beacon.md");
  assertSame(named(read("www", "beacon.html").replaceAll("data-nav", "")), ofBeacon, "www/beacon.html");
  const [, attributes] = /observedAttributes = \[([^\]]+)\]/.exec(read("www", "widget.js"));
  const [, section] = /^## The chart on a page\n([^]*?)^## /m.exec(read("docs", "howto.md"));
  const rows = section.split("\n").filter((line) => line.startsWith("| `"));
  const told = rows.flatMap((row) => [...all(row.split("|")[1], /`([a-z-]+)`/g)]);
  assertSame([...told, "aria-label"], all(attributes, /"([a-z-]+)"/g), "docs/howto.md");
});

test("what one should be woken for is what the rules of Prometheus alert of", () => {
  const [, section] = read("docs", "operate.md").split(/^## Every morning.*$/m);
  const figure = /\b(hitparade_[a-z_]+)/g;
  assertSame(all(section.split(/^## /m)[0], figure), all(read("deploy", "alerts.yml").replace(/^ +summary: .*|^#.*/gm, ""), figure));
});

test("every mutant is in the table of the step that it leaves out", () => {
  const [, variants] = /pub enum Mutant \{\n([^]*?)\n\}/.exec(read("src", "mutants.rs"));
  const told = read("docs", "inside", "how-it-works.md");
  for (const mutant of all(variants, /^ {4}([A-Z]\w+),/gm)) assert.ok(told.includes(`\`${mutant}\``), mutant);
});

test("every route, parameter and code of the contract is in docs/api.md", () => {
  const { paths, components } = JSON.parse(read("www", "openapi.json"));
  const told = read("docs", "api.md");
  for (const [path, operations] of Object.entries(paths))
    for (const [method, { parameters = [] }] of Object.entries(operations)) {
      assert.ok(told.includes(`${method.toUpperCase()} ${path}`), `${method} ${path}`);
      for (const { name, $ref } of parameters) {
        const parameter = name ?? components.parameters[$ref.split("/").at(-1)].name;
        assert.match(told, new RegExp(`\\b${parameter}\\b`), parameter);
      }
    }
  for (const code of components.schemas.Rejected.properties.code.enum) assert.ok(told.includes(`\`${code}\``), code);
  const rows = told
    .split(/^## Codes$/m)[1]
    .split("\n")
    .filter((line) => /^\| \d/.test(line));
  assertSame(
    rows.flatMap((row) => [...all(row.split("|")[2], /`([a-z_]+)`/g)]),
    components.schemas.Problem.properties.code.enum,
  );
});

/** Of constants: of Rust each by its name, of JavaScript behind that of its file; null where several differ. @type {Map<string, number | null>} */
const VALUES = new Map();
for (const path of [...filesIn("src").filter((path) => /\.(rs|js)$/.test(path)), "www/beacon.js"])
  for (const [, constant, said] of read(path)
    .split("#[cfg(test)]")[0]
    .matchAll(/\bconst ([A-Z][A-Z_\d]+)(?:: \w+)? = ([^;{]+);/g)) {
    const sum = said.replace(/ as \w+|(?<=\d)_(?=\d)/g, "").replace(/(?:\w+::)*([A-Z][A-Z_\d]+)/g, (_, other) => `${VALUES.get(other)}`);
    if (!/^[\d\s<*/+()e-]+$/.test(sum)) continue;
    const value = Number(new Function(`return ${sum}`)());
    const name = path.endsWith(".js") ? `${basename(path, ".js")}.${constant}` : constant;
    VALUES.set(name, VALUES.has(name) && VALUES.get(name) !== value ? null : value);
  }

const UNITS = { KiB: 2 ** 10, MiB: 2 ** 20, s: 1e3, min: 6e4, h: 36e5, d: 864e5 };

/** What documents say of limits: a constant of src/ in braces, and behind a stroke the unit that the words go on with. */
const SAID = {
  "docs/api.md": [
    "1 to {MAX_POST_ID_BYTES} bytes, with at least one visible character",
    "a list of up to {MAX_BOARDS_A_PLAY}",
    "1 to {MAX_CLIENT_BYTES} bytes, and the batch's number",
    "At most {MAX_AHEAD_MS/s} s ahead; back at most {MAX_AGE_MS/h} h, with the token {MAX_AGE_TRUSTED_MS/d} days",
    "`Idempotency-Key` of 1 to {MAX_IDEMPOTENCY_KEY_BYTES} bytes",
    "at most {MAX_PARTS} parts",
    "remembered for {REMEMBER_MS/min} minutes",
    "After {REPEAT_HORIZON_MS/min} minutes repeats are refused",
    "at most {MAX_PLAYS} plays or {MAX_BODY_BYTES/MiB} MiB, with the token {MAX_PLAYS_TRUSTED} or {MAX_BODY_BYTES_TRUSTED/MiB} MiB",
    "not complete after {DEADLINE_MS/s} s is 408",
    "have all of these tags: {MAX_WANTED_TAGS} at most",
    "have none of these: {MAX_EXCLUDED_TAGS} at most",
    "matches more than {MAX_MEMBERS} posts",
    "`CLOSE_AFTER` ({CLOSE_AFTER_MS/h} h)",
    "`limit` is 1 to {MAX_LISTED_CHARTS}, default {USUAL_LIST}",
    "have the last {FEED_CHARTS}",
    "It works for {HISTORY_AT_ONCE_MS/s} s",
    "at most {SERIES_POINTS} steps",
    "`author` (≤ {MAX_AUTHOR_BYTES} bytes)",
    "`tags` (≤ {MAX_TAGS} of ≤ {MAX_TAG_BYTES} bytes",
    "`PUT /posts` takes {MAX_PUT_POSTS} of them",
    "`shards` (1 to {MAX_SHARDS};",
    "at most {MAX_REGIONS} regions, with {MAX_SHARDS_IN_ALL} shards in all. An id has 1 to {MAX_REGION_ID_BYTES} bytes",
    "cannot be deleted. {MAX_DELETED_REGIONS} deleted regions are remembered",
    "An id has 1 to {MAX_BOARD_ID_BYTES} of `a-z`",
    "at most {MAX_BOARDS} boards besides",
    "more than the {SHARDS_A_REQUEST} that one request tells",
    "did not push within {CUT_WITHIN_MS/s} s",
    "too much changed meanwhile ({MAX_KEPT_BYTES/MiB} MiB",
    "At most {MAX_IMPORT_ROWS} lines or {MAX_IMPORT_BYTES/MiB} MiB",
  ],
  "SECURITY.md": [
    "An address may send {DEFAULT_LIMIT} beacons a minute",
    "add {DEFAULT_VOTES} plays at once on each shard",
    "reads {MAX_RENDERINGS_OF_ADDRESS} of its charts",
    "One budget of {INSTANCE_BYTES/MiB} MiB",
    "{bodies.MAX_BYTES/MiB} MiB, and {bodies.TRUSTED_BYTES/MiB} MiB for senders with a token",
    "what is over {bodies.SLOW_MS/s} s old first",
    "waits up to {bodies.LONGEST_WAIT_MS/s} s, in turn",
    "Each has {DEADLINE_MS/s} s",
    "over {answers.LARGE_BYTES/KiB} KiB is given to the runtime a piece of {answers.PIECE_BYTES/KiB} KiB at a time",
    "{answers.MAX_ANSWERS} of them, and {answers.MAX_BYTES/MiB} MiB of different texts",
    "nothing was taken for {answers.STALLED_MS/s} s",
    "those of over {answers.LONG_MS/s} s",
    "At most {MAX_BOARDS}, those whose",
    "{MAX_BOARDS_A_PLAY} on a play, {MAX_PARTS} parts a batch",
    "ten minutes or {MAX_KEPT_BYTES/MiB} MiB",
  ],
  "docs/live.md": [
    "One object takes {MAX_SOCKETS} sockets, {MAX_CHARTS} different charts, and {MAX_RENDERINGS} renderings",
    "of the renderings {MAX_RENDERINGS_OF_ADDRESS}",
    "sends nothing for {UNHEARD_MS/min} minutes",
    "more than {MAX_UNHEARD_BYTES/MiB} MiB was sent",
    "more than {MIN_UNHEARD_MS/s} s ago",
    "at most every {TELL_INTERVAL_MS/s} s",
  ],
  "docs/operate.md": [
    "up to {MAX_SHOWN} shards",
    "at {MAX_WAITING_REQUESTS} senders are told",
    "less than 2 of {INSTANCE_BYTES/MiB} MiB",
    "open panes than it holds ({MAX_COPY_BYTES/MiB} MiB)",
    "did not answer within {PULL_WAIT_MS/s} s",
    "after {MAX_OUTBOX_AGE_MS/d} days or 1 GiB",
    "| {MAX_CATALOG_POSTS} posts or 4 GB",
    "| {MAX_HIDDEN_POSTS}, or {MAX_HIDDEN_BYTES/MiB} MiB of memory",
    "more than {MAX_VOTES_OF_ADDRESS} in all on a shard",
  ],
  "docs/ingest.md": [
    "and {MAX_VOTES_OF_ADDRESS} to all posts together",
    "| {DEFAULT_LIMIT} (`LIMIT_PER_MINUTE`)",
    "each {BYTES_A_REQUEST/KiB} KiB of plays",
  ],
  "docs/beacon.md": [
    "({beacon.BATCH_PLAYS} plays or {beacon.BATCH_MS/s} s)",
    "at most {beacon.OUTBOX_BATCHES} of {beacon.BATCH_PLAYS} plays",
    "after {beacon.TIMEOUT_MS/s} s without",
  ],
  "docs/privacy.md": ["| {REMEMBER_MS/min} minutes |", "for {MAX_DAYS} d"],
  "docs/deploy.md": ["nothing for up to {BLIND_BATCHES} beacons"],
  "docs/inside/how-it-works.md": [
    "Of a board, {MAX_PULLED_SHARDS} shards at most are quiet with something open",
    "every {MAX_PUSH_INTERVAL_MS/s} s at most",
    "or after {MAX_WAITING_READERS} others",
    "that lies over {CUT_AHEAD_MOST_MS/min} minutes ahead",
    "refused after {TOO_OLD_MS/min}.",
    "fullest minute of up to 60 plays makes it quiet, one of more than {MOST_QUIET_PLAYS}, or {MOST_QUIET_BYTES/KiB} KiB, busy",
    "pushes every {PUSH_INTERVAL_MS/s} s",
    "the last {MAX_BOARD_CHANGES} changes",
  ],
  "docs/inside/performance.md": ["closes at {GROUP_REQUESTS} requests, {GROUP_BYTES/KiB} KiB or {GROUP_WAIT_MS} ms"],
  "docs/inside/accuracy.md": [
    "with up to {SMALL_COPY_POSTS} posts {SMALL_SEALED_BYTES/KiB} KiB",
    "| {SMALL_COPY_POSTS} posts in {SMALL_COPY_BYTES/KiB} KiB",
    "a copy has {COPY_COUNTERS} in {COPY_BYTES/KiB} KiB",
    "| {THINNED_BYTES/KiB} KiB: some",
  ],
};

test("a limit in a document is that of its constant", () => {
  for (const [file, phrases] of Object.entries(SAID)) {
    const told = read(file).replace(/\s+/g, " ");
    for (const phrase of phrases) {
      const said = phrase.replace(/\{([\w.]+?)(?:\/(\w+))?\}/g, (_, name, unit) => {
        const value = VALUES.get(name);
        assert.ok(typeof value === "number", `${name} is no constant, or several`);
        return (value / (unit ? UNITS[unit] : 1)).toLocaleString("en-US");
      });
      assert.ok(told.includes(said), `${file} does not say: ${said}`);
    }
  }
});

test("the client's types have the fields that the contract has", () => {
  const { schemas } = JSON.parse(read("www", "openapi.json")).components;
  /** What published charts have besides, which the client does not read. */
  const published = ["period", "earlier", "later", "peak_rank", "periods", "streak", "debut", "re_entry"];
  for (const [name, schema] of Object.entries({ Chart: schemas.Chart, ListedPost: schemas.Row, Post: schemas.Post })) {
    const [, body] = new RegExp(`^export interface ${name} \\{\\n([^]*?)^\\}`, "m").exec(read("client", "hitparade.d.ts"));
    const fields = Object.keys(schema.properties).filter((field) => !published.includes(field));
    assertSame(all(body, /^ {2}(\w+)\??: /gm), fields, name);
  }
});

test("whatever names the version of the release names that of package.json", () => {
  const { version } = readPackage();
  for (const [file, pattern] of PLACES) assert.deepEqual([...new Set(read(file).match(pattern))], [version], file);
  const texts = filesIn("client", "demo", "deploy", "docs", "integrations", "scripts", "www").filter((path) => !KEPT_BEACON.test(path));
  for (const path of [...texts, ...documents().map((path) => relative(ROOT, path))])
    for (const named of path === "CHANGELOG.md" ? [] : (read(path).match(NAMED) ?? [])) assert.equal(named, version, path);
  assert.ok(notesOf(ROOT, version).length > 0);
  assert.match(read("integrations", "wordpress", "readme.txt"), new RegExp(`^== Changelog ==\\s+= ${version} =$`, "m"));
});

test("`npm version` changes each place that names it, and dates what CHANGELOG.md has as unreleased", () => {
  const copy = mkdtempSync(join(tmpdir(), "hitparade-version-"));
  try {
    const lay = (file, text = read(file)) => {
      mkdirSync(dirname(join(copy, file)), { recursive: true });
      writeFileSync(join(copy, file), text);
    };
    for (const [file] of PLACES) lay(file);
    lay("CHANGELOG.md");
    assert.throws(() => setVersion(copy, "9.8.7", "2030-01-02"), /CHANGELOG.md says nothing of 9.8.7/);
    const older = read("CHANGELOG.md").match(/^## .*[^]*/m)[0];
    lay("CHANGELOG.md", `# Changes\n\n## [Unreleased]\n\nNew.\n\n${older}`);
    const written = setVersion(copy, "9.8.7", "2030-01-02");
    assertSame(written, [...PLACES.map(([file]) => file), "CHANGELOG.md"]);
    for (const [file, pattern] of PLACES)
      assert.deepEqual([...new Set(readFileSync(join(copy, file), "utf8").match(pattern))], ["9.8.7"], file);
    assert.equal(readFileSync(join(copy, "CHANGELOG.md"), "utf8"), `# Changes\n\n## [9.8.7] - 2030-01-02\n\nNew.\n\n${older}`);
    assert.equal(notesOf(copy, "9.8.7"), "New.\n");
    assert.deepEqual(setVersion(copy, "9.8.7", "2030-01-03"), [], "once");
  } finally {
    rmSync(copy, { recursive: true });
  }
});

test("every file of native tests is in their program", () => {
  const program = readFileSync(join(ROOT, "tests", "native.rs"), "utf8");
  for (const file of readdirSync(join(ROOT, "tests"))) {
    const [, name] = /^(.*)\.rs$/.exec(file) ?? [];
    if (name && name !== "native") assert.ok(program.includes(`\nmod ${name};\n`), `tests/native.rs lacks ${name}`);
  }
});
