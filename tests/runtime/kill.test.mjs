/**
 * Killed at random moments under load, the service counts every play exactly once on each of its boards: batches that
 * got no answer, for the kill or because their sender hung up, are sent again under the same key,
 * from another country as often as not, while the number of shards changes.
 * KILL_ROUNDS: how often (2); KILL_SEED: which plays. `npm run dev -- kill --rounds 20` sets both.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { INGEST_TOKEN, Model, Service, randomNumbers, sayProgress } from "./harness.mjs";

const ROUNDS = Number(process.env.KILL_ROUNDS ?? 2);
const SEED = Number(process.env.KILL_SEED ?? Math.floor(Math.random() * 2 ** 32));
const SENDERS = 24;
const POSTS = 300;
const MAX_PLAYS = 40;
/** One sender in so many hangs up, after this long at most: counted or not, it does not know. */
const HANG_UP = { oneIn: 8, afterMs: 40 };
const LOAD_MS = { min: 150, max: 3_000 };
const REGIONS = ["NA", "EU", "AS"];
const BOARDS = ["main", "jazz"];
/** What plays name: the one board or the other, both, or none. */
const NAMED_BOARDS = [{}, {}, { board: "jazz" }, { boards: BOARDS }];
const COUNTRIES = ["US", "DE", "JP"];
const RESHARD = { everyMs: 300, mostShards: 5 };
const FROM_A_PROXY = { TRUSTED_PROXIES: "127.0.0.1", CLIENT_ADDRESS_HEADER: "X-Forwarded-For", COUNTRY_HEADER: "X-Country" };
const MINUTE_MS = 60_000;
/** Minutes back: open panes, late ones, and each level of the ladder. */
const AGES_MINUTES = [0, 0, 0, 0, 1, 5, 20, 200, 3_000, 30_000, 500_000];

test(`${ROUNDS} rounds, seed ${SEED}`, { timeout: (60 + ROUNDS * 60) * 1_000 }, async (t) => {
  sayProgress(t, `the same plays again: npm run dev -- kill --rounds ${ROUNDS} --seed ${SEED}`);
  const random = randomNumbers(SEED);
  const service = await Service.start(FROM_A_PROXY);
  try {
    await service.addBoards("jazz");
    const load = new Load(service, random);
    for (let round = 1; round <= ROUNDS; round++) {
      const loadMs = LOAD_MS.min + random() * (LOAD_MS.max - LOAD_MS.min);
      const running = load.run();
      await sleep(loadMs);
      await service.kill();
      load.stop();
      await running;
      const unanswered = load.unanswered.length;
      await service.launch();
      await load.repeatUnanswered();
      await load.repeatSomeAnswered();
      for (const [board, model] of load.models) await model.assertExactly(service, "all", board);
      sayProgress(
        t,
        `round ${round}: killed after ${Math.round(loadMs)} ms, ${load.answered.length} batches counted, ` +
          `${unanswered} unanswered; of all that were sent again, ${load.repeated} had been counted; ${load.reshards} changes of shards`,
      );
    }
  } catch (error) {
    error.message += `\nseed ${SEED}\n${service.log.slice(-4_000)}`;
    throw error;
  } finally {
    await service.dispose();
  }
});

/** Senders that never wait, and what they know of each batch. */
class Load {
  /** By board. */
  models = new Map(BOARDS.map((board) => [board, new Model()]));
  answered = [];
  unanswered = [];
  /** Unanswered batches that turned out to have been counted. */
  repeated = 0;
  reshards = 0;
  /** What answers said last where they were given. @type {Map<string, string>} */
  #homes = new Map();
  #batches = 0;
  #stopped = false;

  constructor(service, random) {
    this.service = service;
    this.random = random;
  }

  async run() {
    this.#stopped = false;
    const senders = Array.from({ length: SENDERS }, async () => {
      while (!this.#stopped) await this.#sendNew();
    });
    await Promise.all([...senders, this.#reshard()]);
  }

  /** Each region has now more shards, now fewer. */
  async #reshard() {
    while (!this.#stopped) {
      const shards = 1 + Math.floor(this.random() * RESHARD.mostShards);
      try {
        const answer = await this.service.put(`/regions/${this.#pick(REGIONS)}`, { shards });
        await answer.text();
        this.reshards++;
      } catch {
        return;
      }
      await sleep(this.random() * RESHARD.everyMs);
    }
  }

  stop() {
    this.#stopped = true;
  }

  async #sendNew() {
    const batch = this.#newBatch();
    let answer;
    try {
      answer = await this.#post(batch, this.#patience());
    } catch {
      this.unanswered.push(batch);
      return;
    }
    if (answer.status === 429 || answer.status === 503) {
      // Neither counted nor lost: to be sent again, as after no answer at all.
      this.unanswered.push(batch);
      await sleep(200);
      return;
    }
    this.#assertAnswer(batch, answer, false);
    this.#counted(batch);
  }

  async repeatUnanswered() {
    const batches = this.unanswered.splice(0);
    for (const batch of batches) {
      const { repeated } = await this.#untilCounted(batch);
      if (repeated) this.repeated++;
      this.#counted(batch);
    }
  }

  /** A client whose answer was lost on its way repeats what had been counted. */
  async repeatSomeAnswered() {
    for (let times = 0; times < Math.min(20, this.answered.length); times++) {
      const batch = this.answered[Math.floor(this.random() * this.answered.length)];
      const { repeated } = await this.#untilCounted(batch);
      assert.equal(repeated, true, `batch ${batch.key} had been answered with 202`);
    }
  }

  #counted(batch) {
    for (const play of batch.plays) {
      for (const board of play.boards ?? [play.board ?? "main"]) {
        if (play.region_id) this.models.get(board).add([play]);
        else this.models.get(board).addSomewhere([play]);
      }
    }
    this.answered.push(batch);
  }

  async #untilCounted(batch) {
    for (;;) {
      const answer = await this.#post(batch);
      if (answer.status !== 429 && answer.status !== 503) return this.#assertAnswer(batch, answer);
      await sleep(200);
    }
  }

  #assertAnswer(batch, { status, text }, repeated) {
    assert.equal(status, 202, text);
    const body = JSON.parse(text);
    assert.deepEqual([body.accepted, body.rejected], [batch.plays.length, []], text);
    if (repeated !== undefined) assert.equal(body.repeated, repeated, text);
    return body;
  }

  /** A signal that ends a request early, or none. */
  #patience() {
    if (this.random() * HANG_UP.oneIn >= 1) return {};
    return { signal: AbortSignal.timeout(1 + Math.floor(this.random() * HANG_UP.afterMs)) };
  }

  /** Each attempt is from any country, and with the home of the first. */
  async #post({ key, plays, home }, patience = {}) {
    const country = this.#pick(COUNTRIES);
    const answer = await this.service.fetch("/plays", {
      method: "POST",
      headers: {
        authorization: `Bearer ${INGEST_TOKEN}`,
        "idempotency-key": key,
        "x-country": country,
        ...(home && { "hitparade-home": home }),
      },
      body: JSON.stringify(plays),
      ...patience,
    });
    this.#homes.set(country, answer.headers.get("hitparade-home"));
    return { status: answer.status, text: await answer.text() };
  }

  #pick(list) {
    return list[Math.floor(this.random() * list.length)];
  }

  /** Every third batch is of several regions, and some plays name none. */
  #newBatch() {
    const pick = (list) => this.#pick(list);
    const number = this.#batches++;
    const region = pick(REGIONS);
    const home = number % 4 === 0 ? undefined : this.#homes.get(pick(COUNTRIES));
    const now = Date.now();
    const plays = Array.from({ length: 1 + Math.floor(this.random() * MAX_PLAYS) }, () => {
      // Few posts are played a lot, most of them seldom.
      const post = Math.floor(POSTS * this.random() ** 3);
      const isPlaced = number % 5 === 0 || (number % 3 === 0 && this.random() < 0.2);
      return {
        ...(isPlaced
          ? { post_id: `somewhere-${post}` }
          : { post_id: `post-${post}`, region_id: number % 3 === 0 ? pick(REGIONS) : region }),
        timestamp: now - pick(AGES_MINUTES) * MINUTE_MS,
        ...pick(NAMED_BOARDS),
        count: 1 + Math.floor(this.random() * 3),
      };
    });
    return { key: `seed-${SEED}-${number}`, plays, home };
  }
}
