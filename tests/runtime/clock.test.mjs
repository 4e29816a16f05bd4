/** What the Worker keeps, while the machine's clock is set: the Worker's own modules, and a clock that the tests set. */
import assert from "node:assert/strict";
import { registerHooks } from "node:module";
import { beforeEach, test } from "node:test";

// What these modules have of the platform and of Wasm is not reached here: charts without a limit, for bots too.
const ABSENT = {
  "bindgen/index.js": "countAtTheDoor isBot readerAtTheDoor visitorAddress",
  "cloudflare:workers": "waitUntil",
};
registerHooks({
  resolve(name, context, next) {
    const names = ABSENT[name]?.split(" ").map((name) => `export const ${name} = () => { throw new Error("${name}"); };`);
    return names ? { url: `data:text/javascript,${names.join("")}`, shortCircuit: true } : next(name, context);
  },
});
const { again, keep } = await import("../../src/js/door.js");
const { readBody } = await import("../../src/js/bodies.js");
const { steadyMs } = await import("../../src/js/clock.js");

const HOUR_MS = 3_600_000;
const URL_OF_CHART = "http://127.0.0.1/top-posts?k=10";
const ENV = /** @type {any} */ ({});

let now_ms = Date.now();
Date.now = () => now_ms;
beforeEach(() => {
  now_ms += HOUR_MS;
  steadyMs();
});

/** Keeps a chart that was computed at this moment, as src/edge/charts.rs gives it. @param {string} text */
function keepChart(text) {
  const etag = `"${text}"`;
  const given = { body: new TextEncoder().encode(text), content_type: "application/json", etag, limit: 0, not_for_bots: false };
  const times = { renew_ms: steadyMs() + 1_000, expires_ms: steadyMs() + 3_000 };
  keep(URL_OF_CHART, undefined, new Response(text, { headers: { etag } }), { ...given, ...times });
}

const askedAgain = () => again(new Request(URL_OF_CHART), ENV)?.text();

test("a chart goes out again for as long as it may, and one request asks anew", async () => {
  keepChart("first");
  now_ms += 999;
  assert.equal(await askedAgain(), "first");
  now_ms += 1;
  assert.equal(await askedAgain(), undefined);
  assert.equal(await askedAgain(), "first", "while that request asks");
  now_ms += 2_000;
  assert.equal(await askedAgain(), undefined, "for this one asks");
  assert.equal(await askedAgain(), undefined, "too old for the others");
});

test("where the clock was set back, no chart of before goes out, then or when the clock is there again", async () => {
  keepChart("of before");
  now_ms -= HOUR_MS;
  // Until the clock is where the chart was computed, and beyond.
  for (let passed_ms = 0; passed_ms <= HOUR_MS + 10_000; passed_ms += 500) {
    assert.equal(await askedAgain(), undefined, `${passed_ms} ms later`);
    now_ms += 500;
  }
  keepChart("of now");
  assert.equal(await askedAgain(), "of now");
});

test("the first look after the clock was set back may be as late as it likes", async () => {
  keepChart("of before");
  now_ms -= HOUR_MS;
  steadyMs();
  now_ms += HOUR_MS + 500;
  assert.equal(await askedAgain(), undefined);
});

test("the steady clock never goes back, and runs with the machine's", () => {
  let steady_ms = steadyMs();
  for (const [step_ms, passes] of [
    [100, (ms) => ms === 100],
    // Timers that are late look so, and nobody's chart ages for it.
    [-40, (ms) => ms === 0],
    [40, (ms) => ms === 0],
    [7, (ms) => ms === 7],
    [-5_000, (ms) => ms === 0],
    [5_000, (ms) => ms === 0],
    // Then nobody knows how long it was: longer than anything is kept.
    [-5_001, (ms) => ms >= 60_000],
    [250, (ms) => ms === 250],
    [-HOUR_MS, (ms) => ms >= 60_000],
    [HOUR_MS, (ms) => ms === HOUR_MS],
  ]) {
    now_ms += step_ms;
    const passed_ms = steadyMs() - steady_ms;
    assert.ok(passes(passed_ms), `${passed_ms} ms passed at a step of ${step_ms}`);
    steady_ms += passed_ms;
  }
});

test("a body that is coming in while the clock is set back comes in whole", async () => {
  const sent = Promise.withResolvers();
  // Node's readers have no `readAtLeast`.
  const reader = {
    async readAtLeast(/** @type {number} */ _least, /** @type {Uint8Array} */ view) {
      await sent.promise;
      view.set([1, 2, 3]);
      return { value: view.subarray(0, 3), done: false };
    },
    cancel: async () => {},
  };
  const whole = readBody(/** @type {any} */ ({ body: { getReader: () => reader } }), false, 1n, 100, 3, 1_000);
  now_ms += 1_000;
  steadyMs();
  now_ms -= 6_000;
  assert.equal((await readBody(/** @type {any} */ ({ body: null }), false, 2n, 100, 0, 1_000)).length, 0);
  sent.resolve(undefined);
  assert.deepEqual([...(await whole)], [1, 2, 3]);
});
