/**
 * One post: what it is, how it is doing, when it was played, and where.
 */
import { ALL_POSTS, boardQuery, get, serverNow, timeframeQuery, titleOf } from "./api.js";
import { isAttended } from "./attention.js";
import { radios } from "./controls.js";
import * as format from "./format.js";
import { OWN } from "./own.js";
import { showRun } from "./run.js";
import { createSeries } from "./series.js";
import { GLOBAL, TIMEFRAMES, hrefOf, safeUrl, timeframeWords } from "./state.js";

/**
 * @typedef {import('./state.js').State} State
 * @typedef {State & { post: string }} PostState
 * @typedef {import('./api.js').Region} Region
 * @typedef {{ region_id: string, view_count: number, view_count_min: number, view_count_max: number }} Share
 * @typedef {{ post_id: string, author: string | null, content: string | null, url: string | null, image: string | null, tags?: string[],
 *   timestamp: string | null, window: { from: string, to: string }, as_of?: string, rank: number | null,
 *   view_count: number, view_count_min: number, view_count_max: number,
 *   series: import('./series.js').Span[], regions: Share[] }} Post
 */

const REFRESH_MS = 5000;

/** @param {string} tag @param {string} [className] @param {string} [text] */
function make(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** @param {string} label @param {State} state */
function link(label, state) {
  const made = document.createElement("a");
  made.textContent = label;
  made.href = hrefOf(state);
  made.dataset.nav = "";
  return made;
}

/**
 * @param {HTMLElement} article
 * @param {PostState} state
 * @param {() => Region[]} regions
 * @param {{ fresh: (asOf: string, over: string) => void, failed: (error: import('./api.js').RequestFailed) => void }} status
 * @param {(next: State) => void} go
 * @returns {() => void} stops it
 */
export function showPost(article, state, regions, status, go) {
  const nameOf = (/** @type {string} */ id) =>
    id === GLOBAL ? "Worldwide" : regions().find((region) => region.region_id === id)?.region_name || id;
  const inPlace = !OWN.regions ? "" : state.region === GLOBAL ? " worldwide" : ` in ${nameOf(state.region)}`;

  const back = link(!OWN.regions ? "Chart" : state.region === GLOBAL ? "Worldwide chart" : `Chart of ${nameOf(state.region)}`, {
    ...state,
    post: null,
  });
  back.className = "back";
  const head = make("header", "head");
  const strip = make("div", "strip");
  const choice = document.createElement("fieldset");
  choice.className = "choice";
  choice.append(make("legend", "vh", "Timeframe"), strip);
  const controls = document.createElement("form");
  controls.className = "controls";
  controls.append(choice);
  /** @type {string[][]} */
  const timeframes = TIMEFRAMES.map(([value, label]) => [value, label]);
  if (!timeframes.some(([value]) => value === state.timeframe)) timeframes.push([state.timeframe, state.timeframe]);
  radios(strip, "timeframe", timeframes, state.timeframe);
  controls.addEventListener("change", (event) => go({ ...state, timeframe: /** @type {HTMLInputElement} */ (event.target).value }));

  const figures = document.createElement("dl");
  figures.className = "figures";
  const line = make("div", "series");
  line.dataset.testid = "series";
  const series = createSeries(line);
  const where = make("section", "where");
  const places = document.createElement("ol");
  places.dataset.testid = "by-region";
  where.append(make("h2", "", "By region"), places);
  const run = make("section", "weeks");
  run.hidden = true;
  run.dataset.testid = "run";
  const runLine = make("div", "series");
  run.append(make("h2", "", "Weeks on the chart"), runLine);
  const body = make("div", "body");
  where.hidden = !OWN.regions;
  body.append(controls, figures, line, run, where);
  article.replaceChildren(back, head, body);
  fillHead(head, { post_id: state.post, author: null, content: null, url: null, image: null, timestamp: null }, state);
  fillFigures(figures, [
    ["Plays", "–", ""],
    [`Rank${inPlace}`, "–", ""],
  ]);

  let stopped = false;
  let filled = false;
  /** @type {string | null} */
  let etag = null;

  async function refresh() {
    if (stopped || document.visibilityState !== "visible") return;
    const query = new URLSearchParams({
      post_id: state.post,
      ...boardQuery(state.board),
      region: state.region,
      ...timeframeQuery(state.timeframe),
    });
    try {
      const answer = await get(`./posts?${query}`, { etag });
      if (stopped) return;
      etag = answer.etag;
      if (answer.body) {
        fill(answer.body);
        filled = true;
      }
      status.fresh(answer.body?.as_of ?? new Date(serverNow()).toISOString(), "polling");
    } catch (error) {
      if (stopped) return;
      const failure = /** @type {import('./api.js').RequestFailed} */ (error);
      status.failed(failure);
      if (!filled) fillMissing(failure);
    }
  }

  /** @param {Post} post */
  function fill(post) {
    document.title = `${titleOf(post)} · ${OWN.title}`;
    body.hidden = false;
    fillHead(head, post, state);
    const exact = post.view_count_min === post.view_count_max;
    fillFigures(figures, [
      [
        `Plays${inPlace}, ${timeframeWords(state.timeframe)}`,
        format.count(post.view_count),
        exact ? "Counted exactly" : `between ${format.count(post.view_count_min)} and ${format.count(post.view_count_max)}`,
      ],
      [`Rank${inPlace}`, post.rank !== null ? format.count(post.rank) : post.view_count_max > 0 ? "Not among the first 1,000" : "–", ""],
    ]);
    series.show(post.series ?? [], titleOf(post));
    fillPlaces(places, post.regions ?? [], state, nameOf);
  }

  /** @param {import('./api.js').RequestFailed} error */
  function fillMissing(error) {
    body.hidden = true;
    const isMissing = error.status === 404;
    const kind = isMissing ? "empty" : navigator.onLine ? "error" : "offline";
    const key = JSON.stringify([kind, error.message]);
    if (head.dataset.key === key) return;
    head.dataset.key = key;
    const panel = make("div", "panel");
    panel.dataset.kind = kind;
    panel.append(
      make("h1", "", isMissing ? "There is no such post" : "This post cannot be shown now"),
      make(
        "p",
        "",
        isMissing
          ? "Nobody has played it yet, or it is not in the catalog: perhaps the address is not quite right."
          : `${error.message} It is tried again every few seconds.`,
      ),
    );
    if (isMissing) {
      const chart = link("To the chart", { ...state, post: null });
      chart.className = "button";
      panel.append(chart);
    }
    head.replaceChildren(panel);
  }

  /** Its ranks by week: where it was on a chart that was published. */
  async function showWeeks() {
    const query = new URLSearchParams({
      ...boardQuery(state.board),
      post_id: state.post,
      region: state.region,
      limit: "100",
      format: "json",
    });
    const { body } = await get(`./charts/week?${query}`);
    if (stopped || body.charts.length === 0) return;
    run.hidden = false;
    showRun(runLine, body.charts, { ...boardQuery(state.board), ...(state.region === GLOBAL ? {} : { region: state.region }) });
  }

  refresh();
  // A page without them is a page all the same.
  showWeeks().catch(() => {});
  const timer = setInterval(() => isAttended() && refresh(), REFRESH_MS);
  document.addEventListener("visibilitychange", refresh);
  return () => {
    stopped = true;
    clearInterval(timer);
    series.stop();
    document.removeEventListener("visibilitychange", refresh);
  };
}

/**
 * @param {HTMLElement} head
 * @param {Pick<Post, 'post_id' | 'author' | 'content' | 'url' | 'image' | 'timestamp' | 'tags'>} post
 * @param {State} state
 */
function fillHead(head, post, state) {
  const key = JSON.stringify([post.content, post.author, post.url, post.image, post.tags]);
  if (head.dataset.key === key) return;
  head.dataset.key = key;
  const text = make("div", "text");
  const title = make("h1", "", titleOf(post));
  title.dir = "auto";
  title.classList.toggle("long", titleOf(post).length > 40);
  const under = make("p", "explain");
  if (post.author) {
    const author = link("", { ...state, post: null, filter: { ...ALL_POSTS, author: post.author } });
    author.append(make("bdi", "", post.author));
    under.append(author);
  }
  const url = safeUrl(post.url);
  if (url) {
    const out = document.createElement("a");
    out.href = url;
    out.target = "_blank";
    out.rel = "noopener noreferrer nofollow";
    out.textContent = `Open on ${new URL(url).host}`;
    if (post.author) under.append(" · ");
    under.append(out);
  }
  if (!under.hasChildNodes()) under.textContent = "\u00a0";
  text.append(title, under);
  if (post.tags?.length) {
    const chips = make("p", "chips");
    for (const tag of post.tags) {
      const chip = link(tag, { ...state, post: null, filter: { ...ALL_POSTS, tags: [tag] } });
      chip.className = "chip";
      chip.dir = "auto";
      chips.append(chip);
    }
    text.append(chips);
  }
  head.replaceChildren();
  const source = safeUrl(post.image);
  if (source) {
    const image = document.createElement("img");
    image.alt = "";
    image.width = image.height = 96;
    image.loading = "lazy";
    image.referrerPolicy = "no-referrer";
    image.onerror = () => image.remove();
    image.src = source;
    head.append(image);
  }
  head.append(text);
}

/** @param {HTMLElement} list @param {string[][]} rows name, value, what else there is to say */
function fillFigures(list, rows) {
  list.replaceChildren(
    ...rows.map(([name, value, more]) => {
      const pair = document.createElement("div");
      const amount = make("dd", "", value);
      if (more) amount.append(" ", make("span", "more", more));
      pair.append(make("dt", "", name), amount);
      return pair;
    }),
  );
}

/** @param {HTMLElement} list @param {Share[]} shares @param {PostState} state @param {(id: string) => string} nameOf */
function fillPlaces(list, shares, state, nameOf) {
  const sorted = shares.filter((share) => share.region_id !== GLOBAL).sort((a, b) => b.view_count - a.view_count);
  const top = Math.max(1, ...sorted.map((share) => share.view_count));
  const total = sorted.reduce((sum, share) => sum + share.view_count, 0);
  const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset.region;
  const world = document.createElement("li");
  world.className = "world";
  world.append(placeLink(GLOBAL), make("span", "count", format.count(total)));
  list.replaceChildren(
    world,
    ...sorted.map((share) => {
      const row = document.createElement("li");
      const bar = make("span", "bar");
      bar.style.setProperty("--sure", String((share.view_count_min ?? share.view_count) / top));
      bar.style.setProperty("--most", String((share.view_count_max ?? share.view_count) / top));
      row.append(
        placeLink(share.region_id),
        make("span", "note", format.share(share.view_count / Math.max(1, total))),
        make("span", "count", format.count(share.view_count)),
        bar,
      );
      return row;
    }),
  );
  if (focused)
    /** @type {HTMLElement | null} */ (list.querySelector(`[data-region="${CSS.escape(focused)}"]`))?.focus({ preventScroll: true });

  /** @param {string} region */
  function placeLink(region) {
    const made = link(nameOf(region), { ...state, region });
    made.dataset.region = region;
    made.dir = "auto";
    if (region === state.region) made.setAttribute("aria-current", "true");
    return made;
  }
}
