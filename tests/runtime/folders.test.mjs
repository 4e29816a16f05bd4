/** The folders that commands keep: held by one process at a time. */
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { tryLock } from "../../scripts/lib/lock.mjs";

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
