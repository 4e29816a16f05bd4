/** The installation that is looked at: how it is asked, and on which board. */
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { randomBytes } from "node:crypto";
import { messageOf } from "../say.mjs";

const REQUEST_TIMEOUT_MS = 20_000;
/** No chart has more, and no frame of a socket is taken that is larger. */
const MOST_FRAME_BYTES = 4 << 20;

/**
 * @typedef {object} Reply
 * @property {number} status 0: no answer
 * @property {Headers} headers
 * @property {string} text
 * @property {any} json an object, empty where the text is none
 * @property {string} why there was no answer, or what the answer says
 * @property {number} tookMs
 */

export class Patient {
  /** Where the plays of this look go, if a board could be made. @type {string | null} */
  board = null;
  /** Nobody's but this look's. */
  postId = `doctor-${randomBytes(6).toString("hex")}`;
  /** @type {{client: string, seq: number, sent: number, home?: string}} */
  batch = { client: this.postId, seq: 0, sent: Date.now() };
  /** When a play, or a repeat of it, was sent last. */
  playedAtMs = 0;
  /** Whether a play was taken, so that there is something to take back. */
  hasPlayed = false;
  /** Whether plays may be sent: not where nobody could take them back who should be able to. */
  maySend = true;
  /** Whether charts may be asked for: not where they need a token that is not shown. */
  mayRead = true;
  /** Ends what waits for a chart: the look is broken off. */
  ending = new AbortController();

  /**
   * @param {string} url its origin
   * @param {Record<string, string | undefined>} tokens by the names of their settings
   * @param {Record<string, string>} sources where each token comes from
   */
  constructor(url, tokens, sources) {
    this.url = url;
    this.tokens = this.isOverheard ? {} : tokens;
    this.maySend = !(this.isOverheard && tokens.ADMIN_TOKEN);
    this.mayRead = !(this.isOverheard && tokens.READ_TOKEN);
    this.sources = sources;
  }

  /** Whether it runs on this machine. */
  get isLocal() {
    return /^(127\.[\d.]+|localhost|\[::1\])$/.test(new URL(this.url).hostname);
  }

  /** Whether anybody on the way could read what it is shown. */
  get isOverheard() {
    return !this.url.startsWith("https:") && !this.isLocal;
  }

  /**
   * @param {string} method @param {string} path
   * @param {{token?: string, headers?: Record<string, string>, body?: unknown}} [what] `body`: an object, or a text
   * @returns {Promise<Reply>} never throws
   */
  async ask(method, path, { token, headers = {}, body } = {}) {
    const started = performance.now();
    const reply = { status: 0, headers: new Headers(), text: "", json: {}, why: "" };
    try {
      const answer = await fetch(this.url + path, {
        method,
        redirect: "manual",
        headers: { ...headers, ...(token ? { authorization: `Bearer ${token}` } : {}) },
        body: body === undefined || typeof body === "string" ? /** @type {string | undefined} */ (body) : JSON.stringify(body),
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      });
      Object.assign(reply, { status: answer.status, headers: answer.headers, text: await answer.text() });
      try {
        reply.json = Object(JSON.parse(reply.text));
      } catch {}
      const { code = "", detail = "" } = reply.json;
      reply.why = [reply.status, code, detail || (code ? "" : reply.text.slice(0, 80).replaceAll(/\s+/g, " "))].filter(Boolean).join(" ");
    } catch (error) {
      const cause = /** @type {any} */ (error)?.cause;
      reply.why = cause?.code ?? cause?.message ?? messageOf(error);
    }
    return { ...reply, tookMs: Math.round(performance.now() - started) };
  }

  /** The plays' board as a query. @param {Record<string, string>} [question] */
  query(question = {}) {
    return `?${new URLSearchParams({ ...question, ...(this.board ? { board: this.board } : {}) })}`;
  }

  /** One play as a page sends it; the same again is a repeat. @param {{seq?: number, plays?: object[]}} [other] */
  async play({ seq = 0, plays = [{ post_id: this.postId, timestamp: this.batch.sent }] } = {}) {
    this.playedAtMs = Date.now();
    const body = { ...this.batch, seq, now: this.playedAtMs, ...(this.board ? { boards: [this.board] } : {}), plays };
    const reply = await this.ask("POST", "/plays", { headers: { "content-type": "text/plain", origin: "https://a-page.example" }, body });
    this.hasPlayed ||= reply.json.accepted > 0;
    return reply;
  }

  /**
   * How often the play of this look counts: by the chart of its board; on main, where there may be a million posts, and
   * only those of the catalog show, by its own page.
   * @param {Record<string, string>} question @returns {Promise<{count: number, reply: Reply}>}
   */
  async countIn(question) {
    const path = this.board ? "/top-posts" : `/posts/${this.postId}`;
    const reply = await this.ask("GET", `${path}${this.query({ timeframe: "1h", ...question })}`, { token: this.tokens.READ_TOKEN });
    const listed = this.board ? (reply.json.top_posts ?? []).find((/** @type {any} */ post) => post.post_id === this.postId) : reply.json;
    return { count: listed?.view_count ?? 0, reply };
  }

  /**
   * Whether the play may count though it is not seen: on main, where other posts have plays, too, that no chart lists. Where
   * all plays that count are of posts in the chart, this one does not.
   * @param {Record<string, string>} question @returns {Promise<boolean>}
   */
  async mayCountUnseen(question) {
    if (this.board) return false;
    const { reply } = await this.countIn(question);
    if (reply.status !== 404 || reply.json.code !== "not_found") return false;
    const path = `/top-posts${this.query({ timeframe: "1h", k: "1000", ...question })}`;
    const { json: all } = await this.ask("GET", path, { token: this.tokens.READ_TOKEN });
    const listed = (all.top_posts ?? []).reduce((/** @type {number} */ sum, /** @type {any} */ post) => sum + post.view_count, 0);
    return all.total_views > listed;
  }

  /**
   * A chart over a socket: its messages as they come. By hand, as Node 20 has no WebSocket.
   * @param {Record<string, string>} question
   * @param {(message: any) => void} onMessage
   * @returns {Promise<{opened: boolean, why: string, close: () => void}>}
   */
  socket(question, onMessage) {
    const { READ_TOKEN: token } = this.tokens;
    const { protocol } = new URL(this.url);
    const send = protocol === "https:" ? httpsRequest : httpRequest;
    const request = send(`${this.url}/live${this.query(question)}`, {
      headers: {
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": randomBytes(16).toString("base64"),
        ...(token ? { authorization: `Bearer ${token}` } : {}),
      },
    });
    return new Promise((done) => {
      const fail = (/** @type {string} */ why) => done({ opened: false, why, close: () => {} });
      request.setTimeout(REQUEST_TIMEOUT_MS, () => request.destroy(new Error("no answer")));
      request.on("error", (error) => fail(messageOf(error)));
      request.on("response", (answer) => {
        answer.resume();
        fail(`answered with ${answer.statusCode} instead of a socket`);
      });
      request.on("upgrade", (_, stream, head) => {
        stream.setTimeout(0);
        let rest = head;
        const read = (/** @type {Buffer} */ data) => {
          rest = Buffer.concat([rest, data]);
          for (let frame; (frame = readFrame(rest)); rest = rest.subarray(frame.end)) {
            try {
              if (frame.text !== null) onMessage(JSON.parse(frame.text));
            } catch {}
          }
          if (rest.length > MOST_FRAME_BYTES) stream.destroy();
        };
        stream.on("data", read);
        stream.on("error", () => {});
        read(Buffer.alloc(0));
        done({ opened: true, why: "", close: () => stream.destroy() });
      });
      request.end();
    });
  }
}

/**
 * The first frame of what a server has sent (RFC 6455, 5.2): its text, or null for one that has none.
 * @param {Buffer} bytes @returns {{text: string | null, end: number} | null} null: it is not all there yet
 */
function readFrame(bytes) {
  if (bytes.length < 2) return null;
  let [start, length] = [2, bytes[1] & 127];
  if (length === 126) {
    if (bytes.length < 4) return null;
    [start, length] = [4, bytes.readUInt16BE(2)];
  } else if (length === 127) {
    if (bytes.length < 10) return null;
    [start, length] = [10, Number(bytes.readBigUInt64BE(2))];
  }
  if (bytes.length < start + length) return null;
  const isText = (bytes[0] & 15) === 1;
  return { text: isText ? bytes.subarray(start, start + length).toString() : null, end: start + length };
}
