/**
 * Senders that go away: requests of every route that end with a reset of the connection at a random
 * moment, before, within or after what is sent, or in the middle of the answer.
 */
import { connect } from "node:net";
import { gzipSync } from "node:zlib";

const AT_ONCE = 64;
/** Most answers come sooner; a body that is not whole has 15 s. */
const MAX_WAIT_MS = 40;
/** A body has 15 s; a server that was killed does not answer. */
const MAX_SLOW_MS = 60_000;
/** A half is cut within what is sent, the others wait for an answer. */
const CUT_WITHIN = 0.5;
const ADDRESSES = 200;
const DAY_MS = 86_400_000;
const HEX_OF_16 = "0".repeat(32);

/**
 * @param {string} url @param {object} how
 * @param {number} how.resets @param {() => number} how.random from 0 to 1
 * @param {{ingest: string, admin: string}} how.tokens
 * @param {(done: number) => void} [how.onProgress]
 */
export async function resetMany(url, { resets, random, tokens, onProgress = () => {} }) {
  const port = Number(new URL(url).port);
  const routes = routesOf(tokens);
  let begun = 0;
  const lane = async () => {
    while (begun < resets) {
      const number = begun++;
      if (number % 1_000 === 0) onProgress(number);
      const bytes = routes[Math.floor(random() * routes.length)](number);
      const length = random() < CUT_WITHIN ? Math.floor(random() * bytes.length) : bytes.length;
      await reset(port, `127.0.1.${1 + (number % ADDRESSES)}`, bytes.subarray(0, length), random() * MAX_WAIT_MS);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

/** Whether a post is of those that are played by requests of here. */
export const isOfResets = (post_id) => /^reset \d+$/.test(post_id);

/**
 * Sends a body that never comes to its end, a byte a second. The status that it is answered with; null where the
 * connection was broken off. @param {string} url @returns {Promise<number | null>}
 */
export function sendSlowly(url) {
  return new Promise((done) => {
    const socket = connect({ port: Number(new URL(url).port), host: "127.0.0.1" }, () => {
      socket.write(head("POST", "/plays", { "content-length": "1000" }));
    });
    const bytes = setInterval(() => socket.write(" "), 1_000);
    const limit = setTimeout(() => socket.destroy(), MAX_SLOW_MS);
    /** @type {number | null} */
    let status = null;
    socket.on("data", (data) => {
      status ??= Number(/^HTTP\/1\.1 (\d+)/.exec(data.toString("latin1"))?.[1] ?? 0);
      socket.destroy();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      clearInterval(bytes);
      clearTimeout(limit);
      done(status);
    });
  });
}

/** Sends bytes and resets the connection so much later. */
function reset(port, localAddress, bytes, wait_ms) {
  return new Promise((done) => {
    const socket = connect({ port, host: "127.0.0.1", localAddress }, () => {
      socket.write(bytes);
      setTimeout(() => socket.resetAndDestroy(), wait_ms);
    });
    // Most never read what comes.
    if (wait_ms < MAX_WAIT_MS / 2) socket.pause();
    else socket.resume();
    socket.on("error", () => {});
    socket.on("close", done);
  });
}

/** Requests of every route as bytes, some of them in pieces or packed. @returns {((number: number) => Buffer)[]} */
function routesOf({ ingest, admin }) {
  const post = (number) => `reset ${number % 100}`;
  const plays = (number, count, more = {}) =>
    JSON.stringify(Array.from({ length: count }, (_, index) => ({ post_id: post(number + index), ...more })));
  const token = (word) => ({ authorization: `Bearer ${word}` });
  const lines = { "content-type": "application/x-ndjson" };
  return [
    (number) => message("POST", "/plays", {}, plays(number, 1)),
    (number) => message("POST", "/plays", { "idempotency-key": `reset-${number % 100}` }, plays(number, 10)),
    (number) => message("POST", "/plays", {}, plays(number, 900, { pad: "x".repeat(900) })),
    (number) => inPieces("POST", "/plays", {}, plays(number, 900)),
    (number) => message("POST", "/plays", { "content-encoding": "gzip" }, gzipSync(plays(number, 900))),
    (number) =>
      message(
        "POST",
        "/plays",
        { "idempotency-key": `reset-${number % 100}`, ...token(ingest) },
        plays(number, 3_000, { region_id: "EU" }),
      ),
    (number) => inPieces("POST", "/plays", { "content-encoding": "deflate" }, gzipSync(plays(number, 100))),
    () => message("POST", "/plays", {}, " ".repeat(2 << 20)),
    (number) => message("GET", `/top-posts?${aDay(1 + (number % 60))}&k=1000`),
    () => message("GET", "/top-posts"),
    (number) => message("GET", `/posts/${encodeURIComponent(post(number))}`),
    () => message("GET", "/regions"),
    (number) => message("PUT", `/posts/${encodeURIComponent(post(number))}`, token(admin), JSON.stringify({ content: "x" })),
    (number) => message("PUT", "/posts", { ...token(admin), ...lines }, `{"post_id":"${post(number)}","author":"y"}\n`.repeat(1_000)),
    () => message("PUT", "/regions/EU", token(admin), JSON.stringify({ region_name: "Europe" })),
    () => message("GET", "/export", token(admin)),
    () => message("POST", `/import?seed=${HEX_OF_16}&id=${HEX_OF_16}&row=0`, token(admin), `{"kind":"end"}\n`.repeat(9_000)),
    () => message("GET", "/healthz"),
    () => message("GET", "/metrics"),
    () => message("GET", "/"),
    () => message("GET", "/openapi.json"),
    () => message("GET", "/nowhere"),
    () =>
      message("GET", "/live", {
        upgrade: "websocket",
        connection: "upgrade",
        "sec-websocket-key": `${"A".repeat(22)}==`,
        "sec-websocket-version": "13",
      }),
  ];
}

/** A window that time leaves as it is: charts of others are remembered too, for each minute anew. */
function aDay(days_ago) {
  const from_ms = (Math.floor(Date.now() / DAY_MS) - days_ago) * DAY_MS;
  return new URLSearchParams({ from: new Date(from_ms).toISOString(), to: new Date(from_ms + DAY_MS).toISOString() });
}

/** @param {string} method @param {string} path @param {Record<string, string>} [headers] @param {string | Buffer} [body] */
function message(method, path, headers = {}, body = "") {
  const length = method === "GET" ? {} : { "content-length": String(Buffer.byteLength(body)) };
  return Buffer.concat([head(method, path, { ...length, ...headers }), Buffer.from(body)]);
}

/** As `message`, of a sender that doesn't know yet how long the body will be. */
function inPieces(method, path, headers, body) {
  const pieces = Buffer.from(body);
  const parts = [head(method, path, { "transfer-encoding": "chunked", ...headers })];
  for (let at = 0; at < pieces.length; at += 5_000) {
    const piece = pieces.subarray(at, at + 5_000);
    parts.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n"));
  }
  return Buffer.concat([...parts, Buffer.from("0\r\n\r\n")]);
}

function head(method, path, headers) {
  const fields = Object.entries({ host: "x", "content-type": "text/plain", ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`${method} ${path} HTTP/1.1\r\n${fields.join("")}\r\n`);
}
