/**
 * The service, as this page reads it.
 *
 * @typedef {{ tags: string[], excluded: string[], author: string, published: string }} Filter which posts a chart is of
 * @typedef {{ rank: number, previous_rank: number | null, post_id: string,
 *   author: string | null, content: string | null, url: string | null, image: string | null, tags?: string[],
 *   view_count: number, view_count_min: number, view_count_max: number, certain: boolean,
 *   peak_rank?: number, periods?: number, streak?: number, debut?: string, re_entry?: boolean,
 *   compared?: { times: number, view_count: number, view_count_min: number, view_count_max: number } | null }} Entry
 * @typedef {{ region: string, timeframe: string, sort: string, window: { from: string, to: string },
 *   as_of: string, stale?: boolean, incomplete?: boolean, total_views: number, unlisted_max: number, top_posts: Entry[],
 *   compared_with?: { elsewhere: boolean, total_views: number } | null }} Chart
 * @typedef {{ region_id: string, region_name: string, views_24h: number }} Region
 * @typedef {{ board_id: string, board_name: string }} Board
 */

import { OWN } from "./own.js";

/** The board that is always there. */
export const MAIN = "main";
/** @type {Filter} */
export const ALL_POSTS = { tags: [], excluded: [], author: "", published: "" };

const TIMEOUT_MS = 10_000;

/** A request that got no usable answer. `status` 0: nothing came back at all. */
export class RequestFailed extends Error {
  /** @param {number} status @param {string} code @param {string} detail @param {number} retryAfterMs @param {string} [closesAt] when a chart is published that is not yet */
  constructor(status, code, detail, retryAfterMs, closesAt) {
    super(detail);
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
    this.closesAt = closesAt;
  }
}

/** How far the server's clock is ahead of this one, so that freshness does not depend on the reader's. */
let skewMs = 0;
export const serverNow = () => Date.now() + skewMs;

/** What lives as long as the tab; where the browser forbids storage, as long as the page. @param {string} name */
export function keptInTab(name) {
  let value = "";
  try {
    value = sessionStorage.getItem(name) ?? "";
  } catch {}
  return {
    get: () => value,
    set(/** @type {string} */ next) {
      value = next;
      try {
        sessionStorage.setItem(name, next);
      } catch {}
    },
  };
}

/** The key that a service with closed charts asks for. */
const readToken = keptInTab("hitparade-read-token");
export const hasReadToken = () => readToken.get() !== "";
export const setReadToken = readToken.set;

export const WRONG_KEY = "The key is not the right one.";
/** What is said where the charts are closed. */
export const wordsOfKey = () => (hasReadToken() ? WRONG_KEY : "It is kept in this tab only, until you close it.");

/**
 * @param {string} path with its query, relative to the page
 * @param {{ etag?: string | null, signal?: AbortSignal }} [options]
 * @returns {Promise<{ body: any, etag: string | null }>} `body` is null on 304
 */
export async function get(path, { etag = null, signal } = {}) {
  const headers = new Headers({ Accept: "application/json" });
  if (etag) headers.set("If-None-Match", etag);
  if (hasReadToken()) headers.set("Authorization", `Bearer ${readToken.get()}`);
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), TIMEOUT_MS);
  signal?.addEventListener("abort", () => timeout.abort(), { once: true });
  let response;
  try {
    response = await fetch(path, { headers, signal: timeout.signal });
    learnClock(response);
    if (response.status === 304) return { body: null, etag };
    if (!response.ok) throw await failure(response);
    return { body: await response.json(), etag: response.headers.get("ETag") };
  } catch (error) {
    if (error instanceof RequestFailed) throw error;
    const detail = response ? "The answer could not be read." : "No answer from the service.";
    throw new RequestFailed(0, "unreachable", detail, 0);
  } finally {
    clearTimeout(timer);
  }
}

/** @param {Response} response */
function learnClock(response) {
  const date = Date.parse(response.headers.get("Date") ?? "");
  if (!Number.isNaN(date) && !response.headers.has("Age")) {
    // The header is cut to the second. Within two of ours, ours is the finer one.
    const difference = date + 500 - Date.now();
    skewMs = Math.abs(difference) < 2000 ? 0 : difference;
  }
}

/** @param {Response} response */
async function failure(response) {
  const problem = await response.json().catch(() => ({}));
  const retryAfter = Number(response.headers.get("Retry-After"));
  return new RequestFailed(
    response.status,
    String(problem.code ?? "error"),
    String(problem.detail ?? problem.title ?? `The service answered ${response.status}.`),
    Number.isFinite(retryAfter) ? Math.min(retryAfter, 300) * 1000 : 0,
    problem.closes_at,
  );
}

/** @param {{ board: string, region: string, timeframe: string, k: number, sort?: string, filter?: Filter }} query */
export function chartQuery({ board, region, timeframe, k, sort = "views", filter = ALL_POSTS }) {
  const query = new URLSearchParams({ ...boardQuery(board), region, ...timeframeQuery(timeframe), k: String(k), ...filterQuery(filter) });
  if (sort !== "views") query.set("sort", sort);
  return query.toString();
}

/** What asks for some posts; nothing does for all. @param {Filter} filter @returns {Record<string, string>} */
export function filterQuery({ tags, excluded, author, published }) {
  const all = { tag: tags.join(","), exclude_tag: excluded.join(","), author, published };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value));
}

/** Whether a timeframe is a period of the calendar, which is one of a zone. @param {string} timeframe */
export const isCalendar = (timeframe) => /^(today|yesterday|(this|last)-(week|month|year))$/.test(timeframe);

/**
 * What asks for a timeframe: days, weeks and months are the installation's where it has set a zone, else the reader's.
 * @param {string} timeframe @returns {Record<string, string>}
 */
export const timeframeQuery = (timeframe) =>
  isCalendar(timeframe) && !OWN.zone ? { timeframe, tz: Intl.DateTimeFormat().resolvedOptions().timeZone } : { timeframe };

/** What asks for a board; nothing does for the usual one. @param {string} board @returns {Record<string, string>} */
export const boardQuery = (board) => (board === MAIN ? {} : { board });

/** The title of a post, or its id where the catalog does not know it. @param {{ content: string | null, post_id: string }} post */
export const titleOf = (post) => post.content || post.post_id;
