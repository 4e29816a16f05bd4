/** The published contract against the code: every route, method, status and code. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { REASONS, meaningOf } from "../../www/page/reasons.js";
import { Service, eventually } from "./harness.mjs";

const METHODS = ["get", "put", "post", "delete"];
/** Without their tests. */
const read = (...folder) =>
  readdirSync(join(ROOT, ...folder))
    .filter((name) => name.endsWith(".rs"))
    .map((name) => readFileSync(join(ROOT, ...folder, name), "utf8").split("#[cfg(test)]")[0])
    .join("\n");
const edge = read("src", "edge");
const sources = edge + read("src", "http");

describe("/openapi.json", () => {
  let service;
  let contract;
  before(async () => {
    service = await Service.start();
    contract = await service.get("/openapi.json");
  });
  after(() => service?.dispose());

  test("the operator's page explains every code that there is, and no other", () => {
    const { Problem, Rejected } = contract.components.schemas;
    const codes = new Set([...Problem.properties.code.enum, ...Rejected.properties.code.enum]);
    for (const code of Object.keys(REASONS)) assert.ok(codes.has(code), code);
    for (const code of codes) assert.doesNotMatch(meaningOf(code), /docs\/api\.md/, code);
  });

  test("names every route with its methods", async () => {
    for (const [path, operations] of Object.entries(contract.paths)) {
      const answer = await service.fetch(path.replace(/\{\w+\}/g, "x"), { method: "OPTIONS" });
      assert.equal(answer.status, 204, path);
      const allowed = answer.headers
        .get("allow")
        .split(", ")
        .filter((method) => !["HEAD", "OPTIONS"].includes(method));
      const named = Object.keys(operations).filter((key) => METHODS.includes(key));
      assert.deepEqual(allowed.map((method) => method.toLowerCase()).sort(), named.sort(), path);
    }
  });

  test("names every first word of a path that the code routes", () => {
    const [, route] = /let allowed: &\[Method\][^{]*\{(.*?)\n {4}\};/s.exec(sources);
    const words = [...route.matchAll(/^\s*\[\s*"([^\],]+)"/gm)].flatMap(([, words]) => words.split(/"\s*\|\s*"/));
    const named = Object.keys(contract.paths).map((path) => path.split("/")[1]);
    assert.deepEqual([...new Set(words), "openapi.json"].sort(), [...new Set(named)].sort());
  });

  test("names every code of an error, and no other", () => {
    const { enum: codes } = contract.components.schemas.Problem.properties.code;
    const thrown = [...sources.matchAll(/Problem::(?:new\(\s*\d+,\s*|bad\(\s*|busy\(\s*|refused\(\s*\w+,\s*)"([a-z_]+)"/g)];
    assert.ok(thrown.length > 30, String(thrown.length));
    for (const [, code] of thrown) assert.ok(codes.includes(code), `${code} is not in the contract`);
    for (const code of codes) assert.ok(sources.includes(`"${code}"`) || code === "bad_post_id", `${code} is in no file`);
  });

  test("names every code of what is rejected in a batch, and no other", () => {
    const { enum: codes } = contract.components.schemas.Rejected.properties.code;
    const [catalog, routing] = [["http", "catalog.rs"], ["routing.rs"]].map((path) => readFileSync(join(ROOT, "src", ...path), "utf8"));
    const given = (edge + catalog.split("#[cfg(test)]")[0] + routing + read("src", "play")).matchAll(
      /(?:Refused::new\(\s*|\bcode: |\bbad_code: (?="bad_post")|(?<!bad)\((?="\w+", (?:error|wrong\()))"([a-z_]+)"/g,
    );
    assert.deepEqual([...new Set([...given].map(([, code]) => code))].sort(), codes);
  });

  test("names every status of an error", () => {
    const thrown = [...sources.matchAll(/Problem::new\(\s*(\d+)/g)].map(([, status]) => status);
    assert.deepEqual([...new Set([...thrown, "400", "503"])].sort(), Object.keys(contract.components.responses).sort());
  });

  test("names that a board may not be there, wherever one is asked for", () => {
    for (const [path, methods] of Object.entries(contract.paths))
      for (const [method, { parameters = [], responses }] of Object.entries(methods))
        if (parameters.some(({ name }) => name === "board")) assert.ok("404" in responses, `${method} ${path}`);
  });

  test("names an error of the program's own of /healthz alone", () => {
    for (const [path, methods] of Object.entries(contract.paths))
      for (const [method, { responses }] of Object.entries(methods))
        for (const status of Object.keys(responses)) assert.ok(status !== "500" || path === "/healthz", `${method} ${path}: ${status}`);
  });

  test("names the fields that charts and posts have", async () => {
    await service.send([{ post_id: "a", region_id: "NA" }]);
    const check = (answer, name) => {
      const { properties, required } = contract.components.schemas[name];
      for (const field of required) assert.ok(field in answer, `${name} has no ${field}`);
      for (const field of Object.keys(answer)) assert.ok(field in properties, `${name}: ${field} is not in the contract`);
    };
    const chart = await service.topPosts({ region: "NA" });
    check(chart, "Chart");
    for (const row of chart.top_posts) check(row, "Row");
    check(await eventually(() => service.post("a")), "Post");
    check(await (await service.fetch("/nowhere")).json(), "Problem");
  });
});
