/**
 * The service for programs: charts, posts, live charts, plays. For Node 20.3 or newer, Deno, Workers and browsers;
 * needs nothing but `fetch`.
 *
 *   import { Hitparade } from "hitparade/client";
 *   const hitparade = new Hitparade("https://charts.example", { ingestToken });
 *   await hitparade.send([{ post_id: "song-1", region_id: "EU" }]);
 *   const { top_posts } = await hitparade.topPosts({ region: "EU", timeframe: "24h" });
 *
 * Types and what each thing means: hitparade.d.ts.
 */

/** The service takes so much at once: MAX_PLAYS and MAX_BODY_BYTES of src/play/mod.rs, MAX_PARTS of src/routing.rs. */
const MOST = { plays: 1_000, bytes: 1 << 20 };
const MOST_TRUSTED = { plays: 10_000, bytes: 4 << 20 };
const MOST_PARTS = 24;
/** What stands around the plays of a body: names, three times and a home of 24 boards are under 2,600 bytes. */
const ENVELOPE_BYTES = 4_096;
/** How long after its first attempt the service takes a batch again (REPEAT_HORIZON_MS). */
export const HORIZON_MS = 15 * 60_000;
const REQUEST_TIMEOUT_MS = 30_000;
/** As the beacon: 1 s, 2 s, 4 s, … a minute, each from half to one and a half times that. */
const FIRST_RETRY_MS = 500;
const SLOWEST_RETRY_MS = 60_000;
/** Plays wait so long for others to go with. */
const BATCH_MS = 1_000;
/** About 20 MB of a program's memory. */
const WAITING_PLAYS = 100_000;
/** A chart is looked at so often where there is no socket. */
const POLL_MS = 5_000;
/** The service closes a socket that was sent 1 MiB and did not say for 30 s how far it has read. */
const PING_MS = 25_000;

/** @type {(play: { board?: string, boards?: string[] }) => string[]} */
const boardsOf = ({ board = "main", boards = [board] }) => (Array.isArray(boards) ? boards : []);
/** @type {(play: import("./hitparade.js").Play) => string[]} */
const partsOf = (play) => boardsOf(play).map((board) => `${board} ${play.region_id}`);

/**
 * What a batch comes to: a play is one on each of its boards, and boards in their regions are parts.
 * @type {typeof import("./hitparade.js").Extent}
 */
export class Extent {
  #plays = 0;
  /** @type {Set<string>} */
  #parts = new Set();
  #most;

  constructor(most = MOST_TRUSTED.plays) {
    this.#most = most;
  }

  /** @param {import("./hitparade.js").Play[]} plays @returns {boolean} */
  has(...plays) {
    const named = plays.flatMap(partsOf);
    const added = new Set(named.filter((part) => !this.#parts.has(part)));
    return this.#plays + named.length <= this.#most && this.#parts.size + added.size <= MOST_PARTS;
  }

  /** @param {import("./hitparade.js").Play} play */
  add(play) {
    const named = partsOf(play);
    this.#plays += named.length;
    for (const part of named) this.#parts.add(part);
  }
}

/** An answer that is not the one that was asked for. */
export class HitparadeError extends Error {
  /** @param {string} message @param {{status?: number, code?: string, cause?: unknown}} what */
  constructor(message, { status = 0, code = "", cause } = {}) {
    super(message, { cause });
    this.name = "HitparadeError";
    this.status = status;
    this.code = code;
  }
}

/** @param {number} ms @param {AbortSignal} [signal] ends it early, without an error */
const pause = (ms, signal) =>
  new Promise((done) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      done(undefined);
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end);
  });

/** @param {number} failures in a row, from 1 */
export const retryInMs = (failures) => Math.min(SLOWEST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures) * (0.5 + Math.random());

/** What `Retry-After` asks for: seconds, or a date. @param {string | null} value */
function askedMs(value) {
  if (!value) return 0;
  const ms = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now();
  return Math.min(Math.max(ms || 0, 0), HORIZON_MS);
}

/** What the network says when nobody has heard a word of a request. */
const UNHEARD = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT)$/;

/** The word for why there was no answer: `fetch` puts it below its own error. @param {any} error @returns {string} */
const wordOf = (error) => error?.cause?.code ?? error?.cause?.errors?.[0]?.code ?? error?.message ?? String(error);

/** An answer's text as an object, whatever it is. @param {string} text @returns {any} */
function objectOf(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}

/**
 * One attempt at sending a sealed batch.
 * @type {typeof import("./hitparade.js").attempt}
 */
export async function attempt(url, { client, seq, sent, home, plays }, { token, fetch = globalThis.fetch, signal } = {}) {
  const text = typeof plays === "string" ? plays : JSON.stringify(plays);
  const envelope = JSON.stringify({ client, seq, sent, now: Date.now(), ...(home ? { home } : {}) });
  const timeout = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  let answer, said;
  try {
    answer = await fetch(`${url}/plays`, {
      method: "POST",
      body: `${envelope.slice(0, -1)},"plays":${text}}`,
      // Text goes without a preflight from a page.
      headers: token ? { "content-type": "application/json", authorization: `Bearer ${token}` } : { "content-type": "text/plain" },
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      redirect: "manual",
    });
    said = await answer.text();
  } catch (error) {
    const why = wordOf(error);
    // An answer that broke off may have been one that says "counted".
    return { outcome: "again", status: 0, code: "", why, afterMs: 0, unheard: !answer && UNHEARD.test(why), home: null };
  }
  const { status, headers } = answer;
  const { accepted, rejected = [], repeated, code = "", detail = "" } = objectOf(said);
  const learned = headers.get("hitparade-home");
  if (status === 202 && typeof accepted === "number")
    return { outcome: "counted", accepted, rejected, repeated: repeated === true, home: learned };
  const why = [status, code, detail || (code ? "" : said.slice(0, 200))].filter(Boolean).join(" ");
  if (status >= 500 || status === 408 || status === 429) {
    return { outcome: "again", status, code, why, afterMs: askedMs(headers.get("retry-after")), unheard: false, home: learned };
  }
  return { outcome: "refused", status, code, why, rejected, home: learned };
}

/** @typedef {import("./hitparade.js").Play} Play */
/** @typedef {{plays: string[], places: {receipt: Receipt, index: number, boards: number}[], extent: Extent, bytes: number, client: string, seq: number, home: string | null}} Batch */
/** @typedef {{left: number, accepted: number, rejected: import("./hitparade.js").Rejected[], done: (value: any) => void, fail: (error: Error) => void}} Receipt */

export class Hitparade {
  #url;
  #options;
  #fetch;
  #most;
  #name = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(15))));
  #number = 0;
  /** @type {string | null} */
  #home = null;
  /** @type {Batch | null} */
  #open = null;
  /** @type {Batch[]} */
  #sealed = [];
  #waiting = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #sealTimer;
  /** @type {Promise<void> | null} */
  #sending = null;
  #closed = new AbortController();

  /** @param {string | URL} url @param {import("./hitparade.js").Options} [options] */
  constructor(url, options = {}) {
    const { protocol, origin, pathname } = new URL(url);
    if (!/^https?:$/.test(protocol)) throw new TypeError(`${url}: the address of an installation begins with http:// or https://`);
    this.#url = origin + pathname.replace(/\/+$/, "");
    this.#options = options;
    // Called as a function: a browser's own `fetch` is nobody's method.
    this.#fetch = (/** @type {Parameters<typeof fetch>} */ ...words) => (options.fetch ?? globalThis.fetch)(...words);
    this.#most = options.ingestToken ? MOST_TRUSTED : MOST;
  }

  /** @type {import("./hitparade.js").Hitparade["topPosts"]} */
  topPosts({ signal, ...question } = {}) {
    return this.#get(`/top-posts?${queryOf(question)}`, signal);
  }

  /** @type {import("./hitparade.js").Hitparade["post"]} */
  async post(id, { signal, ...question } = {}) {
    try {
      return await this.#get(`/posts?${queryOf({ post_id: id, ...question })}`, signal);
    } catch (error) {
      if (error instanceof HitparadeError && error.status === 404 && error.code === "not_found") return null;
      throw error;
    }
  }

  /** @type {import("./hitparade.js").Hitparade["live"]} */
  live(question, onChart, onError = () => {}) {
    const { signal: outer, ...rest } = question;
    const over = new AbortController();
    const stop = () => over.abort();
    if (outer?.aborted || this.#closed.signal.aborted) stop();
    outer?.addEventListener("abort", stop, { once: true });
    this.#closed.signal.addEventListener("abort", stop, { once: true });
    let shown = "";
    /** @param {any} chart */
    const show = (chart) => {
      // A chart that only got older is the same one.
      const { as_of: _, window: __, ...content } = chart;
      const text = JSON.stringify(content);
      if (over.signal.aborted || text === shown) return;
      shown = text;
      onChart(chart);
    };
    void follow(this.#url, queryOf(rest), {
      // A socket of a browser cannot carry a token.
      Socket: this.#options.readToken ? null : this.#options.WebSocket === undefined ? globalThis.WebSocket : this.#options.WebSocket,
      look: () => this.topPosts({ ...rest, signal: over.signal }),
      show,
      fail: (error) => over.signal.aborted || onError(error),
      signal: over.signal,
    });
    return stop;
  }

  /** @type {import("./hitparade.js").Hitparade["send"]} */
  send(plays) {
    const list = Array.isArray(plays) ? plays : [plays];
    if (this.#closed.signal.aborted) return Promise.reject(new HitparadeError("This client is closed.", { code: "closed" }));
    if (this.#waiting + list.length > WAITING_PLAYS && this.#waiting > 0) {
      const detail = `${this.#waiting} plays wait already for the service: send these later.`;
      return Promise.reject(new HitparadeError(detail, { code: "full" }));
    }
    return new Promise((done, fail) => {
      const receipt = { left: list.length, accepted: 0, rejected: [], done, fail };
      if (list.length === 0) return done({ accepted: 0, rejected: [] });
      const now = Date.now();
      // What is no object is rejected by the service, the others count.
      const whole = list.map((play) => ({ timestamp: now, ...play }));
      // Throws before anything is taken.
      const texts = whole.map((play) => JSON.stringify(play));
      this.#waiting += list.length;
      whole.forEach((play, index) => this.#add(play, texts[index], { receipt, index, boards: boardsOf(play).length }));
      this.#sealTimer ??= setTimeout(() => this.#seal(), BATCH_MS);
    });
  }

  /** @type {import("./hitparade.js").Hitparade["flush"]} */
  async flush() {
    this.#seal();
    await this.#sending;
  }

  /** @type {import("./hitparade.js").Hitparade["close"]} */
  async close({ withinMs = 10_000 } = {}) {
    await Promise.race([this.flush(), pause(withinMs, this.#closed.signal)]);
    this.#closed.abort();
  }

  /** @param {Play} play @param {string} text of it @param {Batch["places"][0]} place */
  #add(play, text, place) {
    const bytes = new TextEncoder().encode(text).length + 1;
    const open = this.#open;
    if (open && (!open.extent.has(play) || open.bytes + bytes > this.#most.bytes - ENVELOPE_BYTES)) this.#seal();
    const extent = new Extent(this.#most.plays);
    const batch = (this.#open ??= { plays: [], places: [], extent, bytes: 0, client: "", seq: 0, home: null });
    batch.plays.push(text);
    batch.places.push(place);
    batch.extent.add(play);
    batch.bytes += bytes;
  }

  /** From here on the batch never changes. */
  #seal() {
    clearTimeout(this.#sealTimer);
    this.#sealTimer = undefined;
    if (this.#open) this.#sealed.push({ ...this.#open, client: this.#name, seq: this.#number++, home: this.#home });
    this.#open = null;
    this.#sending ??= this.#sendAll().finally(() => (this.#sending = null));
  }

  async #sendAll() {
    for (let batch; (batch = this.#sealed[0]); this.#sealed.shift()) {
      const { plays, places } = batch;
      /** @type {Error | null} */
      let lost = null;
      let rejected = /** @type {import("./hitparade.js").Rejected[]} */ ([]);
      const answer = await this.#deliver(batch);
      if (answer.outcome === "counted" || answer.code === "no_good_play") rejected = answer.rejected;
      else lost = new HitparadeError(`${this.#url}/plays: ${answer.why}`, { status: answer.status, code: answer.code });
      this.#waiting -= plays.length;
      /** @type {Map<number, import("./hitparade.js").Rejected[]>} */
      const bad = new Map();
      for (const rejection of rejected) bad.set(rejection.index, [...(bad.get(rejection.index) ?? []), rejection]);
      for (const [place, { receipt, index, boards }] of places.entries()) {
        const of = bad.get(place) ?? [];
        if (lost) receipt.fail(lost);
        receipt.rejected.push(...of.map((rejection) => ({ ...rejection, index })));
        // What is rejected on one board counts on the others.
        if (of.every(({ board }) => board !== undefined) && of.length < boards) receipt.accepted++;
        if (--receipt.left === 0) receipt.done({ accepted: receipt.accepted, rejected: receipt.rejected });
      }
    }
  }

  /** @param {Batch} batch */
  async #deliver({ client, seq, home, plays }) {
    const { ingestToken: token, onRetry = () => {} } = this.#options;
    const { signal } = this.#closed;
    const sealed = { client, seq, home, plays: `[${plays.join(",")}]` };
    let [sent, begun] = [0, 0];
    for (let failures = 1; ; failures++) {
      const [now, passed] = [Date.now(), performance.now()];
      if (signal.aborted) return refusal("closed", "The client was closed before there was an answer.");
      if (sent && Math.max(now - sent, passed - begun) >= HORIZON_MS) {
        return refusal("too_old_to_repeat", "There was no answer for 15 minutes: whether these plays were counted is not known.");
      }
      if (!sent) [sent, begun] = [now, passed];
      // Where the clock was set back, it was not sent in the future.
      const answer = await attempt(this.#url, { ...sealed, sent: Math.min(sent, now) }, { token, fetch: this.#fetch, signal });
      this.#home = answer.home ?? this.#home;
      if (answer.outcome !== "again") return answer;
      // Nobody has heard of it: its clock has not begun.
      if (answer.unheard && failures === 1) [sent, failures] = [0, 0];
      onRetry(answer.why);
      await pause(Math.max(answer.afterMs, retryInMs(Math.max(failures, 1))), signal);
    }
  }

  /** @param {string} path @param {AbortSignal} [signal] */
  async #get(path, signal) {
    const { readToken } = this.#options;
    const timeout = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
    let answer, text;
    try {
      answer = await this.#fetch(this.#url + path, {
        headers: readToken ? { authorization: `Bearer ${readToken}` } : {},
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      });
      text = await answer.text();
    } catch (cause) {
      throw new HitparadeError(`${this.#url}${path}: ${wordOf(cause)}`, { code: "no_answer", cause });
    }
    if (answer.ok) return objectOf(text);
    const { code = "", detail = text.slice(0, 200) } = objectOf(text);
    throw new HitparadeError(`${this.#url}${path}: ${answer.status} ${detail}`, { status: answer.status, code });
  }
}

/** @param {string} code @param {string} why */
const refusal = (code, why) => ({ outcome: /** @type {const} */ ("refused"), status: 0, code, why, rejected: [], home: null });

/** @param {Record<string, unknown>} question what is undefined or null is left out */
function queryOf(question) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(question)) {
    if (value === undefined || value === null) continue;
    query.set(name, value instanceof Date ? value.toISOString() : String(value));
  }
  return query;
}

/**
 * A chart from now on: by a socket where there is one, else by looking. When a socket ends it is opened again after a
 * random part of a span that doubles with each failure, since mostly all sockets end at the same moment; until then the
 * chart is looked at.
 * @param {string} url @param {URLSearchParams} query
 * @param {{Socket: typeof WebSocket | null | undefined, look: () => Promise<any>, show: (chart: any) => void,
 *   fail: (error: unknown) => void, signal: AbortSignal}} how
 */
async function follow(url, query, { Socket, look, show, fail, signal }) {
  let socketAt = 0;
  for (let [closed, failures] = [0, 0]; !signal.aborted;) {
    if (isHidden()) {
      await seen(signal);
      socketAt = closed = 0;
      continue;
    }
    if (Socket && Date.now() >= socketAt) {
      const opened = await listen(new Socket(`${url.replace(/^http/, "ws")}/live?${query}`), show, signal);
      if (opened) closed = 0;
      socketAt = Date.now() + Math.random() * Math.min(15_000 * 2 ** closed++, 600_000);
      if (signal.aborted) return;
      if (isHidden()) continue;
    }
    try {
      show(await look());
      failures = 0;
    } catch (error) {
      failures++;
      fail(error);
    }
    await pause(failures ? retryInMs(failures + 2) : POLL_MS, signal);
  }
}

/** A page that nobody sees needs no chart. In a server or a Worker there is none. */
const isHidden = () => globalThis.document?.visibilityState === "hidden";

/** Until the page is seen. @param {AbortSignal} signal @returns {Promise<void>} */
function seen(signal) {
  return new Promise((done) => {
    const look = () => {
      if (!signal.aborted && isHidden()) return;
      document.removeEventListener("visibilitychange", look);
      signal.removeEventListener("abort", look);
      done();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look);
    look();
  });
}

/** Until the socket ends, or nobody sees the page any more. @param {WebSocket} socket @param {(chart: any) => void} show @param {AbortSignal} signal @returns {Promise<boolean>} whether it brought something */
function listen(socket, show, signal) {
  return new Promise((done) => {
    let opened = false;
    let read = true;
    const timer = setInterval(() => {
      // The `pong` stands behind all that was sent before. A connection that went dead says nothing, and no end either.
      if (!opened || !read) return close();
      read = false;
      socket.send("ping");
    }, PING_MS);
    const hide = () => isHidden() && close();
    const end = () => {
      clearInterval(timer);
      globalThis.document?.removeEventListener("visibilitychange", hide);
      signal.removeEventListener("abort", close);
      done(opened);
    };
    const close = () => {
      socket.close();
      end();
    };
    signal.addEventListener("abort", close, { once: true });
    globalThis.document?.addEventListener("visibilitychange", hide);
    socket.addEventListener("message", ({ data }) => {
      if (data === "pong") return void (read = true);
      opened = true;
      const chart = objectOf(String(data));
      if (Array.isArray(chart.top_posts)) show(chart);
    });
    socket.addEventListener("close", end, { once: true });
    socket.addEventListener("error", close, { once: true });
  });
}
