/** A copy of a stopped server's state, put back, goes on where it was taken. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { appendFileSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { Model, Service } from "./harness.mjs";

/** @returns {{status: number, stderr: string}} */
const command = (name, ...words) => spawnSync(process.execPath, [join(ROOT, "scripts", `${name}.mjs`), ...words], { encoding: "utf8" });

describe("a backup", { timeout: 240_000 }, () => {
  let service;
  let folder;
  const model = new Model();
  const kept = [
    { post_id: "kept", region_id: "EU" },
    { post_id: "also kept", region_id: "NA", timestamp: Date.now() - 9e8 },
  ];
  const paths = {};
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "hitparade-backup-"));
    Object.assign(paths, { copy: join(folder, "copy"), state: join(folder, "state") });
    service = await Service.start();
    await service.send(kept, "before");
    model.add(kept);
  });
  after(async () => {
    await service.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  test("is refused while the server runs", () => {
    const { status, stderr } = command("backup", "--state", service.state, "--to", paths.copy);
    assert.equal(status, 1);
    assert.match(stderr, /in use by a server/);
    assert.deepEqual(readdirSync(folder), []);
  });

  test("brings back what was there when it was made, repeats included", async () => {
    // As hard as a server can end: nothing that was acknowledged is anywhere but in its files.
    await service.kill();
    const made = command("backup", "--state", service.state, "--to", paths.copy);
    assert.equal(made.status, 0, made.stderr);
    await service.launch();
    await service.send([{ post_id: "later", region_id: "EU" }]);
    const put = command("restore", "--from", paths.copy, "--state", paths.state);
    assert.equal(put.status, 0, put.stderr);
    const restored = new Service(paths.state, service.environment);
    await restored.launch();
    try {
      await model.assertExactly(restored);
      assert.equal((await restored.send(kept, "before")).repeated, true);
      await restored.send(kept, "after");
      model.add(kept);
      await model.assertExactly(restored);
    } finally {
      await restored.terminate();
    }
  });

  test("does not overwrite, neither a copy nor a state", () => {
    const again = command("backup", "--state", paths.state, "--to", paths.copy);
    assert.equal(again.status, 1);
    assert.match(again.stderr, /exists already/);
    const over = command("restore", "--from", paths.copy, "--state", paths.state);
    assert.equal(over.status, 1);
    assert.match(over.stderr, /holds the state of a server already/);
  });

  test("that is damaged is not put back", () => {
    const [name] = readdirSync(join(paths.copy, "objects", "hitparade-GlobalBoard"));
    appendFileSync(join(paths.copy, "objects", "hitparade-GlobalBoard", name), "x");
    const { status, stderr } = command("restore", "--from", paths.copy, "--state", join(folder, "other"));
    assert.equal(status, 1);
    assert.match(stderr, /damaged/);
    assert.equal(command("restore", "--from", folder, "--state", join(folder, "other")).status, 1);
  });
});

/** CONTRIBUTING.md, "A stored or sent form". */
describe("the list in a backup", () => {
  const BACKUPS = join(ROOT, "tests", "golden", "backup");
  let folder;
  before(() => (folder = mkdtempSync(join(tmpdir(), "hitparade-backup-"))));
  after(() => rmSync(folder, { recursive: true, force: true }));

  for (const version of readdirSync(BACKUPS))
    test(`of ${version} is read`, () => {
      const state = join(folder, version);
      const { status, stderr } = command("restore", "--from", join(BACKUPS, version), "--state", state);
      assert.equal(status, 0, stderr);
      assert.match(stderr, /1 files, 22 bytes, as of 2026-11-27T23:17:37\.935Z/);
      const [name] = readdirSync(join(BACKUPS, version, "objects", "hitparade-GlobalBoard"));
      const text = readFileSync(join(state, "objects", "hitparade-GlobalBoard", name), "utf8");
      assert.equal(text, "stands for a database\n");
    });

  test("is written as it was", () => {
    const [newest] = readdirSync(BACKUPS).sort().reverse();
    const copy = join(folder, "copy");
    const { status, stderr } = command("backup", "--state", join(folder, newest), "--to", copy);
    assert.equal(status, 0, stderr);
    const listOf = (backup) => JSON.parse(readFileSync(join(backup, "backup.json"), "utf8"));
    const { made, ...was } = listOf(join(BACKUPS, newest));
    assert.deepEqual(listOf(copy), { ...was, made: listOf(copy).made });
    assert.match(listOf(copy).made, /^\d{4}-[\d-]{5}T[\d:.]{12}Z$/, made);
  });
});
