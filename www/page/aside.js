/**
 * What stands beside the chart: the number ones of every region,
 * and the worldwide chart next to a region's.
 */
import { chartQuery, get, titleOf } from "./api.js";
import { isAttended } from "./attention.js";
import * as format from "./format.js";
import { OWN } from "./own.js";
import { GLOBAL, hrefOf } from "./state.js";

/**
 * @typedef {import('./state.js').State} State
 * @typedef {import('./api.js').Chart} Chart
 * @typedef {import('./api.js').Region} Region
 */

const REFRESH_MS = 30_000;
/** Where the chart beside stays as it is, the others mostly do too. */
const REFRESH_QUIET_MS = 300_000;
const RATE_MS = 5_000;
/** So long after the last news, the last minute has no plays any more. */
const RATE_QUIET_MS = 120_000;
/** A view that is only passed on the way to another one, as with the arrow keys, asks for nothing here. */
const SETTLE_MS = 150;
/** One small request each: more regions than this are not asked all at once. */
const REGIONS_AT_MOST = 12;
const BESIDE = 5;
const UNKNOWN = "–";
/** After these somebody may look again. */
const BACK = ["visibilitychange", "attended"];

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @param {string} tag @param {string} className @param {string} [text] */
function make(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  if (text) made.dir = "auto";
  return made;
}

/**
 * Calls `work` soon and then every `everyMs`, only while somebody looks and `isWanted` says so.
 * @param {() => Promise<void>} work @param {number} everyMs @param {(sinceMs: number) => boolean} isWanted `sinceMs`: when it was called last
 * @param {(isOld: boolean) => void} tell whether what is shown is old: nobody looks, or it failed
 */
function whileAttended(work, everyMs, isWanted, tell) {
  let stopped = false;
  let ranMs = -Infinity;
  const run = () => {
    if (stopped || !isAttended() || !isWanted(ranMs)) return;
    ranMs = performance.now();
    work().then(
      () => stopped || tell(false),
      () => stopped || tell(true),
    );
  };
  const timer = setInterval(() => {
    if (isAttended()) return run();
    tell(true);
    ranMs = -Infinity;
  }, everyMs);
  for (const type of BACK) document.addEventListener(type, run);
  const first = setTimeout(run, SETTLE_MS);
  return () => {
    stopped = true;
    clearTimeout(first);
    clearInterval(timer);
    for (const type of BACK) document.removeEventListener(type, run);
  };
}

/**
 * @param {State} state
 * @param {Region[]} regions
 * @returns {{ stop: () => void, chart: (chart: Chart) => void }} `chart` takes what the main column shows
 */
export function showAside(state, regions) {
  /** @type {(() => void)[]} */
  const stops = [];
  /** @type {Chart | null} */
  let world = null;
  /** @type {Chart | null} */
  let here = null;
  const inRegion = OWN.regions && state.region !== GLOBAL;
  /** Which parts are old. @type {Set<string>} */
  const old = new Set();
  const tellOf = (/** @type {string} */ id) => (/** @type {boolean} */ isOld) => {
    old[isOld ? "add" : "delete"](id);
    element(id).classList.toggle("old", isOld);
    if (isOld && id === "rate") element(id).textContent = UNKNOWN;
  };
  let newsMs = performance.now();
  const isNew = (/** @type {number} */ sinceMs) => newsMs > sinceMs || performance.now() - sinceMs > REFRESH_QUIET_MS;

  for (const id of ["beside", "ones"]) element(id).classList.remove("old");
  element("beside").hidden = !inRegion;
  if (inRegion) {
    placeholders(element("beside-list"), BESIDE);
    stops.push(
      whileAttended(
        async () => {
          const { body } = await get(`./top-posts?${chartQuery({ ...state, region: GLOBAL, k: BESIDE, sort: "views" })}`);
          world = body;
          if (world) showBeside(world, here, state);
        },
        REFRESH_MS,
        isNew,
        tellOf("beside"),
      ),
    );
  }

  // Regions that nothing came from are left out, as long as there are others.
  const played = regions.filter((region) => region.views_24h > 0);
  const asked = !OWN.regions
    ? []
    : [...(played.length ? played : regions)].sort((a, b) => b.views_24h - a.views_24h).slice(0, REGIONS_AT_MOST);
  element("ones").hidden = asked.length === 0;
  element("aside").hidden = !OWN.regions;
  const list = element("ones-list");
  const tiles = asked.map((region) => tile(region, state));
  list.replaceChildren(...tiles);
  stops.push(
    whileAttended(
      async () => {
        await Promise.all(
          asked.map(async (region, index) => {
            const { body } = await get(`./top-posts?${chartQuery({ ...state, region: region.region_id, k: 1, sort: "views" })}`);
            if (body) fillTile(tiles[index], body);
          }),
        );
      },
      REFRESH_MS,
      isNew,
      tellOf("ones"),
    ),
  );

  stops.push(
    whileAttended(
      async () => {
        const { body } = await get(`./top-posts?${chartQuery({ board: state.board, region: state.region, timeframe: "1m", k: 1 })}`);
        if (body) element("rate").textContent = format.rate(ratePerSecond(body));
      },
      RATE_MS,
      (sinceMs) => performance.now() - newsMs < RATE_QUIET_MS || sinceMs < newsMs,
      tellOf("rate"),
    ),
  );

  return {
    stop: () => stops.forEach((stop) => stop()),
    chart(chart) {
      // What was computed anew may say the same.
      // After an error a chart that comes says that it is worth asking again.
      if (chart.total_views !== here?.total_views || old.size > 0) newsMs = performance.now();
      here = chart;
      if (world) noteRanks(here, state);
    },
  };
}

/** The window of the last minute starts on a full minute, so its length is taken from what was answered. @param {Chart} chart */
function ratePerSecond(chart) {
  const end = Math.min(Date.parse(chart.as_of), Date.parse(chart.window.to));
  const seconds = Math.max(1, (end - Date.parse(chart.window.from)) / 1000);
  return chart.total_views / seconds;
}

/** @param {HTMLElement} list @param {number} length */
function placeholders(list, length) {
  list.replaceChildren(...Array.from({ length }, () => make("li", "ghost")));
}

/** @param {Chart} world @param {Chart | null} here @param {State} state */
function showBeside(world, here, state) {
  element("beside-list").replaceChildren(
    ...world.top_posts.map((entry) => {
      const row = document.createElement("li");
      const link = /** @type {HTMLAnchorElement} */ (make("a", "title", titleOf(entry)));
      link.href = hrefOf({ ...state, region: GLOBAL, post: entry.post_id });
      link.dataset.nav = "";
      row.dataset.postId = entry.post_id;
      row.append(make("span", "rank", String(entry.rank)), link, make("span", "note"));
      return row;
    }),
  );
  if (here) noteRanks(here, state);
}

/** Beside each of the world's posts, where it stands here. @param {Chart} here @param {State} state */
function noteRanks(here, state) {
  if (state.sort !== "views") return;
  const ranks = new Map(here.top_posts.map((entry) => [entry.post_id, entry.rank]));
  for (const row of /** @type {NodeListOf<HTMLElement>} */ (element("beside-list").querySelectorAll("[data-post-id]"))) {
    const rank = ranks.get(row.dataset.postId ?? "");
    /** @type {HTMLElement} */ (row.querySelector(".note")).textContent = rank === undefined ? `not in top ${state.k}` : `no. ${rank} here`;
  }
}

/** @param {Region} region @param {State} state */
function tile(region, state) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = hrefOf({ ...state, region: region.region_id, post: null });
  link.dataset.nav = "";
  if (region.region_id === state.region) link.setAttribute("aria-current", "true");
  link.append(
    make("span", "place", region.region_name || region.region_id),
    make("span", "title", "\u00a0"),
    make("span", "note", "\u00a0"),
  );
  item.append(link);
  return item;
}

/** @param {HTMLElement} item @param {Chart} chart */
function fillTile(item, chart) {
  const [title, note] = /** @type {[HTMLElement, HTMLElement]} */ ([item.querySelector(".title"), item.querySelector(".note")]);
  const [one] = chart.top_posts;
  title.textContent = one ? titleOf(one) : chart.total_views > 0 ? "No post to show" : "No plays";
  title.dir = "auto";
  item.classList.toggle("none", !one);
  note.textContent = one ? format.playsInShort(one.view_count) : "\u00a0";
}
