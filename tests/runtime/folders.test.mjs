/** The folders that commands keep: held by one process at a time, and for nobody else to read. */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { tryLock } from "../../scripts/lib/lock.mjs";
import { Spool } from "../../scripts/lib/send/spool.mjs";
import { backUp, lockState, restore } from "../../scripts/lib/state.mjs";

const modeOf = (path) => statSync(path).mode & 0o777;
/** A folder and all that is in it. @returns {string[]} */
const allBelow = (folder) => [folder, ...readdirSync(folder, { recursive: true }).map((name) => join(folder, String(name)))];
/** What others than its owner may do something with. */
const othersIn = (folder) => allBelow(folder).filter((path) => modeOf(path) & 0o077 && !path.endsWith("lock"));

/** No process has it: Linux gives numbers up to 4194304. */
const NOBODY = 4_194_305;

describe("a lock", () => {
  const { PATH } = process.env;
  let folder, path;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "hitparade-lock-"));
    path = join(folder, "lock");
    process.env.PATH = `${folder}:${PATH}`;
  });
  after(() => {
    process.env.PATH = PATH;
    rmSync(folder, { recursive: true, force: true });
  });
  /** What a process without a folder in /proc is asked about with. @param {string} script */
  const asPs = (script) => {
    writeFileSync(join(folder, "ps"), `#!/bin/sh\n${script}\n`);
    chmodSync(join(folder, "ps"), 0o755);
  };

  test("is one process's, and another's once it is released or that one has ended", () => {
    asPs("exit 1");
    const held = tryLock(path);
    assert.ok("release" in held);
    assert.deepEqual(tryLock(path), { holder: process.pid });
    held.release();
    writeFileSync(path, `${NOBODY}\nonce\n`);
    const next = tryLock(path);
    assert.ok("release" in next);
    next.release();
    assert.deepEqual(readdirSync(folder), ["ps"]);
  });

  test("that was left behind is not taken from who has taken it over meanwhile", () => {
    const held = tryLock(path);
    assert.ok("release" in held);
    const text = readFileSync(path, "utf8");
    held.release();
    // While this process asks whether the owner still runs, another one takes it over.
    for (const place of [path, `${path}.left`]) {
      writeFileSync(path, `${NOBODY}\nonce\n`);
      asPs(`printf '${text}' > '${place}.other' && mv '${place}.other' '${place}'; exit 1`);
      assert.deepEqual(tryLock(path), { holder: process.pid }, place);
      rmSync(path);
      rmSync(`${path}.left`, { force: true });
    }
    assert.deepEqual(readdirSync(folder), ["ps"]);
  });

  test("knows its owner in whatever language and time zone the system speaks to either", () => {
    asPs(`echo "S $LC_ALL $TZ"`);
    writeFileSync(path, `${NOBODY}\nC UTC0\n`);
    const { LC_ALL, TZ } = process.env;
    Object.assign(process.env, { LC_ALL: "de_DE.UTF-8", TZ: "Europe/Berlin" });
    try {
      assert.deepEqual(tryLock(path), { holder: NOBODY });
    } finally {
      for (const [name, value] of Object.entries({ LC_ALL, TZ })) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    }
  });
});

test("folders that commands make, and files in them, are for who runs them alone, whatever the umask", () => {
  const folder = mkdtempSync(join(tmpdir(), "hitparade-folders-"));
  const before = process.umask(0);
  try {
    const spool = new Spool(join(folder, "spools", "send"), "http://a");
    spool.append("confirmed");
    spool.seal(['{"post_id":"a"}'], null, "x");
    spool.seal(['{"post_id":"b"}'], null, "y");
    spool.append("confirmed");
    spool.begin(spool.waiting[0]);
    spool.keepRejected(spool.waiting[0], [{ index: 0, code: "bad_post_id", detail: "" }]);
    spool.setAside(spool.waiting[0], "in-doubt");
    assert.ok(allBelow(spool.folder).length >= 8);
    assert.deepEqual(othersIn(spool.folder), []);
    // What it is in may be for others, too.
    assert.equal(modeOf(join(folder, "spools")), 0o777);
    spool.release();
    // Whatever the runtime stores is below it.
    lockState(join(folder, "state")).release();
    assert.deepEqual(othersIn(join(folder, "state")), []);
  } finally {
    process.umask(before);
    rmSync(folder, { recursive: true, force: true });
  }
});

test("a copy of a state is for who made it alone, though the state is not, and so is what is made of it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hitparade-folders-"));
  const [state, copy, restored] = ["state", "shelf/copy", "restored"].map((name) => join(folder, name));
  const before = process.umask(0o022);
  try {
    mkdirSync(join(state, "objects", "shard"), { recursive: true, mode: 0o755 });
    writeFileSync(join(state, "objects", "shard", "1.sqlite"), "plays", { mode: 0o644 });
    await backUp(state, copy);
    assert.deepEqual([modeOf(copy), modeOf(dirname(copy))], [0o700, 0o755]);
    await restore(copy, restored);
    for (const made of [restored, join(restored, "objects")]) assert.equal(modeOf(made), 0o700);
    assert.equal(readFileSync(join(restored, "objects", "shard", "1.sqlite"), "utf8"), "plays");
  } finally {
    process.umask(before);
    rmSync(folder, { recursive: true, force: true });
  }
});
