/**
 * Keeps one chart up to date: over a socket where that works, by polling where it does not,
 * and not at all while nobody looks.
 *
 * A socket that fails is no error to the reader. Polling takes over at once, and the socket is
 * tried again later, ever less often, since a network that blocks sockets goes on doing so.
 */
import { RequestFailed, get, hasReadToken } from "./api.js";
import { isAttended, isVisible } from "./attention.js";
import { retryInMs } from "./backoff.js";
import { SERVES } from "./serves.js";

const POLL_MS = 5000;
const POLL_SLOWEST_MS = 30_000;
/** A page that nobody has touched for long is looked at now and then at most. */
const POLL_UNATTENDED_MS = 60_000;
/** "Not modified" says nothing about how fresh the service itself is: now and then the whole answer does. */
const WHOLE_ANSWER_MS = 8000;
/** A quiet chart sends nothing, but a socket answers each ping. One that has not for so long is dead. */
const SOCKET_SILENT_MS = 40_000;
/** That the service itself is away, a quiet socket does not tell: now and then a whole answer does. */
const SOCKET_CHECK_MS = 600_000;
const SOCKET_RETRY = { baseMs: 15_000, mostMs: 600_000 };
/** A reader of whom the service does not hear is taken for one that does not read, or has gone. */
const PING_MS = 25_000;
/** What the service closes a socket with whose region was deleted. */
const REGION_DELETED = 4410;

let socketFailures = 0;
let socketRetryAt = 0;

/**
 * @param {string} query of the chart
 * @param {{ data: (chart: import('./api.js').Chart, over: 'socket' | 'polling') => void,
 *   failed: (error: RequestFailed, retryInMs: number) => void,
 *   alive?: () => void, current?: () => void }} handlers `current`: what was shown is so now
 * @returns {{ stop: () => void, now: () => void }}
 */
export function watch(query, handlers) {
  let stopped = false;
  let failures = 0;
  /** @type {string | null} */
  let etag = null;
  let wholeAt = -Infinity;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let silence;
  /** @type {AbortController | undefined} */
  let request;
  /** @type {WebSocket | undefined} */
  let socket;
  let socketWorks = false;
  let isStale = false;

  async function poll() {
    clearTimeout(timer);
    if (stopped || !isVisible()) return;
    request?.abort();
    const mine = (request = new AbortController());
    let waitMs = isAttended() ? POLL_MS : POLL_UNATTENDED_MS;
    try {
      const whole = performance.now() - wholeAt > WHOLE_ANSWER_MS;
      const answer = await get(`./top-posts?${query}`, { etag: whole ? null : etag, signal: mine.signal });
      if (stopped || mine.signal.aborted) return;
      failures = 0;
      etag = answer.etag;
      if (answer.body) {
        wholeAt = performance.now();
        handlers.data(answer.body, socketWorks ? "socket" : "polling");
      }
      handlers.alive?.();
    } catch (error) {
      if (stopped || mine.signal.aborted || !(error instanceof RequestFailed)) return;
      failures += 1;
      waitMs = Math.max(error.retryAfterMs, Math.min(POLL_MS * 2 ** (failures - 1), POLL_SLOWEST_MS));
      waitMs *= 1 + Math.random() * 0.4;
      handlers.failed(error, waitMs);
    }
    timer = setTimeout(poll, socketWorks && !failures ? SOCKET_CHECK_MS : waitMs);
    if (failures === 0) openSocket();
  }

  function openSocket() {
    if (!SERVES.has("live") || stopped || socket || !isVisible() || hasReadToken() || Date.now() < socketRetryAt) return;
    const url = new URL(`./live?${query}`, document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    const mine = (socket = new WebSocket(url));
    // The next one goes when the answer to the last has come, after everything that was sent before.
    const ping = () => setTimeout(() => mine.readyState === WebSocket.OPEN && mine.send("ping"), PING_MS);
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => lost({}), SOCKET_SILENT_MS);
    };
    mine.onopen = ping;
    mine.onmessage = (event) => {
      if (mine !== socket) return;
      heard();
      if (event.data === "pong") {
        ping();
        if (socketWorks && !isStale) handlers.current?.();
        return;
      }
      const chart = parse(event.data);
      if (!chart) return;
      socketWorks = true;
      isStale = chart.stale === true;
      socketFailures = 0;
      failures = 0;
      // The answer of a request under way could be older than what has just come.
      request?.abort();
      clearTimeout(timer);
      timer = setTimeout(poll, SOCKET_CHECK_MS);
      handlers.data(chart, "socket");
      handlers.alive?.();
    };
    /** @param {{ code?: number }} how */
    const lost = ({ code }) => {
      if (mine !== socket) return;
      const worked = socketWorks;
      closeSocket();
      if (stopped || !isVisible()) return;
      // The answer says what happened, and whether there is a new region of that name.
      if (code === REGION_DELETED) return void poll();
      socketRetryAt = Date.now() + retryInMs(socketFailures, SOCKET_RETRY);
      socketFailures += worked ? 0 : 1;
      clearTimeout(timer);
      // Polling takes over, not by all readers of a server that went away at once.
      timer = setTimeout(poll, retryInMs(0, { baseMs: POLL_MS, mostMs: POLL_MS }));
    };
    mine.onclose = lost;
  }

  function closeSocket() {
    const open = socket;
    clearTimeout(silence);
    socket = undefined;
    socketWorks = false;
    open?.close();
  }

  function look() {
    if (isVisible()) {
      poll();
    } else {
      clearTimeout(timer);
      request?.abort();
      closeSocket();
    }
  }

  function stop() {
    stopped = true;
    clearTimeout(timer);
    request?.abort();
    closeSocket();
    document.removeEventListener("visibilitychange", look);
    window.removeEventListener("online", poll);
  }

  document.addEventListener("visibilitychange", look);
  window.addEventListener("online", poll);
  poll();
  return { stop, now: poll };
}

/** @param {unknown} data @returns {import('./api.js').Chart | null} */
function parse(data) {
  try {
    const chart = JSON.parse(String(data));
    return Array.isArray(chart?.top_posts) ? chart : null;
  } catch {
    return null;
  }
}
