/**
 * Sends what waits in a spool until all of it is answered, a few batches at a time, the oldest first.
 *
 * The service remembers a batch for 20 minutes and takes it for 15 after its first attempt: within that time it is sent
 * again until there is an answer, and counted once. An attempt that nobody can have heard of (no connection) does not
 * begin that time. Beyond it, and where the clock was set back so that nobody knows how long ago it was, a batch is in
 * doubt: it may have been counted, so it is set aside rather than counted twice.
 * So that an outage puts no more batches in doubt than were under way when it began, none is tried for the first time
 * after a failure before `/healthz` says that plays are taken.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { HORIZON_MS, attempt, retryInMs } from "../../../client/hitparade.js";
import { Advice, messageOf } from "../say.mjs";

const PROBE_TIMEOUT_MS = 10_000;
/** A clock is put right by so much; one that shows an earlier time than that was set back, nobody knows how far. */
const MAX_BACK_MS = 60_000;

/** What is told of a batch in doubt, before the name of its file. */
const DOUBT = "got no answer for 15 minutes and may have been counted: they are in";
const SET_BACK = "were tried later than this clock shows: it was set back. They may have been counted, and are in";

/** What to do about answers that each batch would get. */
const FATAL = {
  401: "INGEST_TOKEN is not one of those that the installation knows: `npm run serve` reads its own when it starts.",
  403: "The installation has no INGEST_TOKEN, or it does not allow this.",
  404: "Is --url the address of an installation?",
  405: "Is --url the address of an installation?",
  415: "Is --url the address of an installation?",
};

/** A 413 that is not for bytes: smaller batches would not help. */
const TOO_MANY = ["too_many_parts", "too_many_plays"];

/**
 * @typedef {object} Counts of entries; each is a play, or as many as its `count`
 * @property {number} accepted
 * @property {number} plays that these stand for
 * @property {number} repeated of those, in batches that had been counted before
 * @property {Map<string, number>} rejected by code
 * @property {number} inDoubt
 * @property {number} refused
 */

/** How many plays the entries stand for that were accepted of a batch. @param {string} text of its entries, as JSON */
function countPlays(text, accepted, rejected) {
  if (accepted === 0 || !text.includes('"count":')) return accepted;
  // One that a board did not take was counted on another.
  const left = new Set(rejected.filter(({ board }) => !board).map(({ index }) => index));
  return JSON.parse(text).reduce((sum, { count = 1 }, index) => (left.has(index) ? sum : sum + count), 0);
}

export class Delivery {
  #spool;
  #url;
  #token;
  #connections;
  #tell;
  #flying = new Set();
  #over = new AbortController();
  #failures = 0;
  /** By a clock that nobody sets. */
  #silentUntil = 0;
  /** Called when something was answered, or nothing will be any more. */
  onChange = () => {};
  /** @type {(() => void)[]} */
  #watchers = [];
  /** @type {Error | null} */
  error = null;
  /** @type {Counts} */
  counts = { accepted: 0, plays: 0, repeated: 0, rejected: new Map(), inDoubt: 0, refused: 0 };
  /** Files of batches that were set aside. @type {string[]} */
  setAside = [];
  /** What the service or the network says, while it takes nothing. */
  trouble = "";
  /** A batch of more bytes than this was too large for somebody on the way. */
  mostBytes = Infinity;

  /**
   * @param {import("./spool.mjs").Spool} spool
   * @param {{url: string, token: string | undefined, connections: number, tell: (text: string) => void}} options
   */
  constructor(spool, { url, token, connections, tell }) {
    [this.#spool, this.#url, this.#token, this.#connections, this.#tell] = [spool, url, token, connections, tell];
  }

  /** To be called when something waits. */
  wake() {
    for (const batch of this.#spool.waiting) {
      if (this.#flying.size >= this.#connections || this.#over.signal.aborted) return;
      if (this.#flying.has(batch.key)) continue;
      this.#flying.add(batch.key);
      this.#deliver(batch)
        .catch((error) => {
          this.error ??= error;
          this.#over.abort();
        })
        .finally(() => {
          this.#flying.delete(batch.key);
          this.wake();
          for (const watcher of this.#watchers.splice(0)) watcher();
          this.onChange();
        });
    }
  }

  /** Until fewer than so many batches wait. @param {number} most @throws what ended the delivery */
  async room(most) {
    while (this.#spool.waiting.length >= most && !this.#over.signal.aborted) await this.changed();
    if (this.error) throw this.error;
  }

  /** Never returns. @returns {Promise<never>} @throws what ended the delivery */
  async failed() {
    while (!this.error) await this.changed();
    throw this.error;
  }

  changed() {
    return new Promise((done) => this.#watchers.push(() => done(undefined)));
  }

  /** Ends what is under way; nothing is lost by that. */
  async stop() {
    this.#over.abort();
    while (this.#flying.size > 0) await this.changed();
  }

  async #deliver(batch) {
    const spool = this.#spool;
    const { signal } = this.#over;
    while (!signal.aborted) {
      const age = batch.sent ? this.#ageOf(batch) : 0;
      if (age >= HORIZON_MS) return this.#doubt(batch, DOUBT);
      if (age < -MAX_BACK_MS) return this.#doubt(batch, SET_BACK);
      await this.#silence();
      if (!batch.sent && this.#failures > 0 && !(await this.#isHealthy())) continue;
      if (signal.aborted) return;
      const isFirst = !batch.sent;
      if (isFirst) spool.begin(batch);
      const { client, home } = batch;
      const sent = Math.min(batch.sent, Date.now());
      const plays = spool.playsOf(batch);
      const answer = await attempt(this.#url, { client, seq: 0, sent, home, plays }, { token: this.#token, signal });
      spool.home = answer.home ?? spool.home;
      if (answer.outcome === "again") {
        if (isFirst && answer.unheard) spool.forgetAttempt(batch);
        if (!signal.aborted) this.#fail(answer.why, answer.afterMs);
        continue;
      }
      [this.#failures, this.trouble] = [0, ""];
      if (answer.outcome === "counted") return this.#counted(batch, plays, answer);
      if (answer.code === "no_good_play") return this.#counted(batch, plays, { accepted: 0, repeated: false, rejected: answer.rejected });
      if (answer.code === "too_old_to_repeat") return this.#doubt(batch, DOUBT);
      if (answer.code === "key_reused") spool.rename(batch);
      else if (answer.status === 413) return this.#tooLarge(batch, answer);
      else {
        // None of this was counted: there is time to put it right.
        if (isFirst) spool.forgetAttempt(batch);
        throw new Advice(
          `${this.#url}/plays answers ${answer.why}.`,
          FATAL[answer.status] ?? "Nothing of this batch was counted.",
          `What was not sent is in ${spool.folder}.`,
        );
      }
    }
  }

  #counted(batch, plays, { accepted, repeated, rejected }) {
    this.counts.accepted += accepted;
    this.counts.plays += countPlays(plays, accepted, rejected);
    if (repeated) this.counts.repeated += accepted;
    for (const { code } of rejected) this.counts.rejected.set(code, (this.counts.rejected.get(code) ?? 0) + 1);
    this.#spool.keepRejected(batch, rejected);
    this.#spool.done(batch);
  }

  /**
   * How long ago a batch was tried first, or longer: of one that was tried in this run the clock may have been set back since.
   * @param {import("./spool.mjs").Batch} batch
   */
  #ageOf({ sent, begun }) {
    const age = Date.now() - sent;
    return begun === undefined ? age : Math.max(age, performance.now() - begun);
  }

  /** @param {import("./spool.mjs").Batch} batch @param {string} why and where, without the name of the file */
  #doubt(batch, why) {
    this.counts.inDoubt += batch.count;
    this.setAside.push(this.#spool.setAside(batch, "in-doubt"));
    this.#tell(`! ${batch.count} plays ${why} ${this.setAside.at(-1)}`);
  }

  #tooLarge(batch, { code, why }) {
    if (batch.count > 1) {
      if (!TOO_MANY.includes(code)) this.mostBytes = Math.min(this.mostBytes, Math.ceil(batch.bytes / 2));
      this.#tell(`  ${batch.count} plays (${batch.bytes} bytes) are too much at once for who answers (${why}): halved`);
      return this.#spool.split(batch);
    }
    this.counts.refused += batch.count;
    this.setAside.push(this.#spool.setAside(batch, "refused"));
    this.#tell(`! a play is too large: it is in ${this.setAside.at(-1)}`);
  }

  #fail(why, afterMs) {
    // What fails together, because it was sent together, is one failure.
    if (performance.now() >= this.#silentUntil) this.#failures++;
    this.#silentUntil = Math.max(this.#silentUntil, performance.now() + Math.max(afterMs, retryInMs(this.#failures)));
    if (!this.trouble) this.#tell(`  no answer that counts (${why}); trying again`);
    this.trouble = why;
  }

  async #silence() {
    const { signal } = this.#over;
    for (let ms; (ms = this.#silentUntil - performance.now()) > 0 && !signal.aborted;)
      await sleep(ms, undefined, { signal }).catch(() => {});
  }

  async #isHealthy() {
    const timeout = AbortSignal.timeout(PROBE_TIMEOUT_MS);
    try {
      const answer = await fetch(`${this.#url}/healthz`, { signal: AbortSignal.any([timeout, this.#over.signal]), redirect: "manual" });
      await answer.arrayBuffer();
      // Where only /plays is let through, it has to do.
      if (answer.status < 500) return true;
      this.#fail(`status ${answer.status} of /healthz`, 0);
    } catch (error) {
      if (!this.#over.signal.aborted) this.#fail(messageOf(error), 0);
    }
    return false;
  }
}
