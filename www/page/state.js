/**
 * What the page shows, kept in its address: a link to a view is the view.
 *
 * @typedef {'views' | 'rising' | 'distinctive'} Sort
 * @typedef {{ board: string, region: string, timeframe: string, sort: Sort, k: number, post: string | null,
 *   filter: import('./api.js').Filter }} State
 */

import { MAIN, filterQuery, isCalendar } from "./api.js";
import { OWN } from "./own.js";
import { SERVES } from "./serves.js";

/** Value, label, and how the headline says it. */
export const TIMEFRAMES = /** @type {const} */ ([
  ["15m", "15 min", "in the last 15 minutes"],
  ["1h", "1 hour", "in the last hour"],
  ["24h", "24 hours", "in the last 24 hours"],
  ["7d", "7 days", "in the last 7 days"],
  ["30d", "30 days", "in the last 30 days"],
  ["today", "Today", "today"],
  ["yesterday", "Yesterday", "yesterday"],
  ["this-week", "Week", "this week"],
  ["this-month", "Month", "this month"],
  ["all", "All time", "of all time"],
]);

/** Other periods of the calendar, which have no button, and how the headline says them. */
const PERIODS = new Map([
  ["last-week", "last week"],
  ["last-month", "last month"],
  ["this-year", "this year"],
  ["last-year", "last year"],
]);

/** Value, label, and what the order means. */
const ALL_SORTS = /** @type {const} */ ([
  ["views", "Most played", ""],
  ["rising", "Rising", "What grows fastest against the window just before."],
  ["distinctive", "Distinctive", "What is played more here than in the rest of the world."],
]);
export const SORTS = ALL_SORTS.filter(([value]) => value === "views" || SERVES.has(value));

export const GLOBAL = "global";
const DEFAULTS = { board: MAIN, region: OWN.region, timeframe: OWN.timeframe, sort: "views", k: 10 };
const LENGTHS = [10, 25, 50, 100];

/** @param {string} text */
const isTimeframe = (text) => /^([1-9]\d{0,5}[mhd]|all)$/.test(text) || isCalendar(text);

/** @param {string} search @returns {State} */
export function readState(search) {
  const query = new URLSearchParams(search);
  const timeframe = query.get("timeframe") ?? "";
  const k = Number(query.get("k"));
  const region = query.get("region") || DEFAULTS.region;
  const state = {
    board: query.get("board") || DEFAULTS.board,
    region,
    timeframe: isTimeframe(timeframe) ? timeframe : DEFAULTS.timeframe,
    sort: /** @type {Sort} */ ("views"),
    k: LENGTHS.includes(k) ? k : DEFAULTS.k,
    post: query.get("post"),
    filter: readFilter(query),
  };
  state.sort = sortsOf(state).find(([value]) => value === query.get("sort"))?.[0] ?? "views";
  return state;
}

/** @param {URLSearchParams} query @returns {import('./api.js').Filter} */
function readFilter(query) {
  const listed = (/** @type {string} */ name) => [...new Set(query.getAll(name).flatMap((tags) => tags.split(",")))].filter(Boolean);
  return {
    tags: listed("tag"),
    excluded: listed("exclude_tag"),
    author: query.get("author") ?? "",
    published: query.get("published") ?? "",
  };
}

/** What a headline says of the posts; when they were published stands elsewhere. @param {import('./api.js').Filter} filter */
export const filterWords = ({ tags, excluded, author }) =>
  [...tags, ...excluded.map((tag) => `not ${tag}`), ...(author ? [`by ${author}`] : [])].join(", ");

/** Worldwide has nothing to differ from, all time nothing before it. @param {{ region: string, timeframe: string }} shown */
export const sortsOf = ({ region, timeframe }) =>
  SORTS.filter(([value]) => (value !== "distinctive" || region !== GLOBAL) && (value !== "rising" || timeframe !== "all"));

/** The address of a state: only what differs from the first view. @param {State} state */
export function hrefOf(state) {
  const query = new URLSearchParams();
  if (state.post !== null) query.set("post", state.post);
  for (const key of /** @type {const} */ (["board", "region", "timeframe", "sort", "k"])) {
    if (state[key] !== DEFAULTS[key]) query.set(key, String(state[key]));
  }
  for (const [name, value] of Object.entries(filterQuery(state.filter))) query.set(name, value);
  const search = query.toString();
  return search ? `?${search}` : "./";
}

/** @param {string} timeframe */
export function timeframeWords(timeframe) {
  const known = TIMEFRAMES.find(([value]) => value === timeframe);
  const words = known?.[2] ?? PERIODS.get(timeframe);
  if (words) return words;
  const unit = { m: "minutes", h: "hours", d: "days" }[timeframe.slice(-1)];
  return `in the last ${timeframe.slice(0, -1)} ${unit}`;
}

/** Keeps links harmless: data may name any scheme, only these two are followed. @param {string | null | undefined} url */
export function safeUrl(url) {
  if (!url) return null;
  try {
    const parsed = new URL(url);
    return parsed.protocol === "https:" || parsed.protocol === "http:" ? parsed.href : null;
  } catch {
    return null;
  }
}
