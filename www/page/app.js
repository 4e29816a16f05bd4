/**
 * The dashboard: reads the address, watches one chart, and hands what arrives to its parts.
 */
import { ALL_POSTS, MAIN, RequestFailed, boardQuery, chartQuery, filterQuery, get, hasReadToken, setReadToken, wordsOfKey } from "./api.js";
import { showAside } from "./aside.js";
import { isAttended } from "./attention.js";
import { createChart } from "./chart.js";
import { createControls } from "./controls.js";
import * as format from "./format.js";
import { watch } from "./live.js";
import { OWN } from "./own.js";
import { GLOBAL, SORTS, filterWords, hrefOf, readState, timeframeWords } from "./state.js";
import { createStatus } from "./status.js";
import { whyOf } from "./why.js";

/** @typedef {import('./api.js').Chart} Chart */

const REGIONS_MS = 300_000;
const NAMES_WAIT_MS = 400;

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

let state = readState(location.search);
/** @type {import('./api.js').Region[]} */
let regions = [];
/** Asked for only where there are several. @type {import('./api.js').Board[]} */
let boards = [];
/** How many there were when they were asked for. */
let boardsAsked = 1;
/** @type {Chart | null} */
let current = null;
/** @type {ReturnType<typeof watch> | undefined} */
let watching;
/** @type {ReturnType<typeof showAside> | undefined} */
let aside;
/** @type {ReturnType<typeof import('./filters.js').createFilters> | undefined} */
let filters;
let leavePost = () => {};

for (const [name, figure] of [
  ["plays", "total"],
  ["rate", "rate"],
  ["window", "window"],
]) {
  /** @type {HTMLElement} */ (element(figure).parentElement).hidden = !OWN.figures.includes(name);
}
element("figures").hidden = OWN.figures.length === 0;
element("region-choice").hidden = !OWN.regions;

const status = createStatus();
const controls = createControls((change) => go({ ...state, ...change }));
const chart = createChart(
  /** @type {HTMLOListElement} */ (element("chart")),
  /** @type {HTMLTemplateElement} */ (element("row")),
  (postId) => hrefOf({ ...state, post: postId }),
);

/** @param {import('./state.js').State} next */
function go(next) {
  // Read back, since a choice may rule out another: no rising of all time.
  const href = hrefOf(readState(hrefOf(next).replace("./", "")));
  history.pushState(null, "", href === "./" ? location.pathname : href);
  open();
}

/** Shows what the address says. */
function open() {
  const { board } = state;
  state = readState(location.search);
  if (state.board !== board) loadRegions();
  watching?.stop();
  watching = undefined;
  aside?.stop();
  aside = undefined;
  leavePost();
  leavePost = () => {};
  status.reset();
  const post = state.post;
  if (post !== null) element("toast").hidden = true;
  element("board").hidden = post !== null;
  element("post").hidden = post === null;
  if (post === null) openBoard();
  else openPost(post);
}

function openBoard() {
  current = null;
  controls.show(state, regions, boards);
  showFilters(null);
  headline();
  element("chart").classList.toggle("reasoned", state.sort !== "views");
  chart.skeleton(state.k);
  hidePanel();
  // What is not known of this chart is not that of the last one.
  for (const figure of ["total", "rate", "window"]) element(figure).textContent = "–";
  element("footnote").textContent = "\u00a0";
  /** @type {HTMLAnchorElement} */ (element("as-json")).href = `./top-posts?${chartQuery(state)}`;
  /** @type {HTMLAnchorElement} */ (element("as-csv")).href = `./top-posts?${chartQuery(state)}&format=csv`;
  aside = showAside(state, regions);
  watching = watch(chartQuery(state), { data: arrived, failed, alive: status.alive, current: status.current });
}

/** @param {string} postId */
async function openPost(postId) {
  document.title = OWN.title;
  const module = await import("./post.js").catch(() => null);
  if (state.post !== postId) return;
  if (module) leavePost = module.showPost(element("post"), { ...state, post: postId }, () => regions, status, go);
  else {
    const failure = new RequestFailed(0, "unreachable", "A part of it did not load.", 0);
    status.failed(failure);
    // A browser may keep it that a module failed, until the page is loaded anew.
    const again = button("Try again now", () => location.reload());
    const panel = document.createElement("div");
    panel.className = "panel";
    fillPanel(panel, "error", "This post cannot be shown now", failure.message, again);
    element("post").replaceChildren(panel);
  }
}

const regionName = () =>
  state.region === GLOBAL ? "Worldwide" : (regions.find((region) => region.region_id === state.region)?.region_name ?? state.region);

const boardName = () => boards.find(({ board_id }) => board_id === state.board)?.board_name ?? state.board;

const isFiltered = () => Object.keys(filterQuery(state.filter)).length > 0;

/** Loaded where there is something to choose. @param {Chart["top_posts"] | null} posts */
async function showFilters(posts) {
  if (!filters && !isFiltered() && !posts?.some(({ tags }) => tags)) return;
  const { createFilters } = await import("./filters.js");
  filters ??= createFilters(element("filters"), (filter) => go({ ...state, filter }));
  filters.show(state.filter, posts);
}

function headline() {
  const place = !OWN.regions ? "" : state.region === GLOBAL ? " worldwide" : ` in ${regionName()}`;
  const of = state.board === MAIN ? "" : `${boardName()}: `;
  const start = { views: `Top ${state.k}`, rising: "Rising", distinctive: "Distinctive" }[state.sort];
  const which = filterWords(state.filter);
  const posts = which && ` · ${which}`;
  element("headline").textContent = `${of}${start}${place}${posts}`;
  const what = SORTS.find(([value]) => value === state.sort)?.[2];
  const words = timeframeWords(state.timeframe);
  const { published } = state.filter;
  const isNew = published && ` Of posts published ${timeframeWords(published)}.`;
  element("explain").textContent = (what || `Most played ${words}${isNew && "."}`) + isNew;
  /** @type {HTMLElement} */ (element("total").previousElementSibling).textContent = isFiltered()
    ? "Plays of all posts"
    : "Plays in this window";
  document.title = `${of}${start}${place}${posts} · ${OWN.title}`;
}

/** @param {Chart} answer @param {string} over */
function arrived(answer, over) {
  current = answer;
  aside?.chart(answer);
  status.fresh(answer.as_of, over);
  const from = new Date(answer.window.from);
  const to = new Date(answer.window.to);
  element("total").textContent = format.count(answer.total_views);
  showFilters(answer.top_posts);
  element("window").textContent = from.getTime() === 0 ? "Since the first play" : format.span(from, to);
  if (answer.top_posts.length === 0) {
    showEmpty();
    return;
  }
  hidePanel();
  element("aside").hidden = !OWN.regions;
  showRows(answer);
  element("footnote").textContent = footnote(answer);
}

/** @param {Chart} answer */
function footnote(answer) {
  const { top_posts: posts, unlisted_max: most } = answer;
  const isDescribed = posts.some(({ author, content, url, image, tags }) => author ?? content ?? url ?? image ?? tags);
  const ofThese = isDescribed ? "post of the catalog" : "post";
  const other = isFiltered() ? "other one of these posts" : most > 0 ? `${ofThese} outside this list` : `other ${ofThese}`;
  const others = most > 0 ? `No ${other} has more than ${format.plays(most)}.` : `No ${other} was played in this window.`;
  const names = isDescribed ? "" : " These are the names that senders gave: with a catalog, its posts show, and no others.";
  const strangers = isDescribed ? ofStrangers(answer) : "";
  return (state.sort === "views" ? `${trust(posts)} ${others}${strangers}` : "") + names;
}

/** Plays of posts that show nowhere, where that is known for sure: all that may show are in the list, each exactly. @param {Chart} answer */
function ofStrangers({ top_posts: posts, unlisted_max: most, total_views: all, incomplete }) {
  const isExact = posts.every((entry) => entry.view_count_min === entry.view_count_max);
  if (!isExact || most > 0 || incomplete || isFiltered()) return "";
  const rest = all - posts.reduce((sum, { view_count }) => sum + view_count, 0);
  if (rest <= 0) return "";
  return ` ${format.count(rest)} of the plays ${rest === 1 ? "is of a post" : "are of posts"} that the catalog does not have, or hides.`;
}

/** How far down the places can be trusted. @param {Chart["top_posts"]} posts */
function trust(posts) {
  if (posts.every((entry) => entry.view_count_min === entry.view_count_max)) return "All counts are exact.";
  const uncertain = posts.findIndex((entry) => !entry.certain);
  if (uncertain === -1) return "All places are certain.";
  if (uncertain === 0) return "The first place is not certain yet.";
  return uncertain === 1 ? "The first place is certain." : `The first ${format.count(uncertain)} places are certain.`;
}

/** @param {Chart} shown */
function showRows(shown) {
  // With no post known before, this is the start of counting: nothing is news.
  const moves = shown.top_posts.some((entry) => entry.previous_rank !== null);
  chart.show(shown.top_posts, { moves, why: (entry) => whyOf(entry, shown) });
}

/** @param {import('./api.js').RequestFailed} error @param {number} retryInMs */
function failed(error, retryInMs) {
  if (error.code === "region_deleted") {
    // What is shown is nobody's chart any more.
    current = null;
    status.reset();
  }
  status.failed(error);
  if (current) return;
  if (error.status === 401) showLocked();
  else showError(error, retryInMs);
}

/** @param {string} kind @param {string} title @param {string} text @param {HTMLElement[]} more */
function showPanel(kind, title, text, ...more) {
  const panel = element("panel");
  const key = JSON.stringify([kind, title, text]);
  element("chart").hidden = true;
  element("data").hidden = true;
  element("footnote").textContent = "\u00a0";
  panel.hidden = false;
  if (panel.dataset.key === key) return;
  panel.dataset.key = key;
  fillPanel(panel, kind, title, text, ...more);
}

/** @param {HTMLElement} panel @param {string} kind @param {string} title @param {string} text @param {HTMLElement[]} more */
function fillPanel(panel, kind, title, text, ...more) {
  panel.dataset.kind = kind;
  const heading = document.createElement("h2");
  heading.textContent = title;
  const words = document.createElement("p");
  words.textContent = text;
  panel.replaceChildren(heading, words, ...more);
}

function hidePanel() {
  const panel = element("panel");
  panel.hidden = true;
  delete panel.dataset.key;
  element("chart").hidden = false;
  // A link shows no key.
  element("data").hidden = hasReadToken();
}

/** @param {string} label @param {() => void} act */
function button(label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "button";
  made.textContent = label;
  made.addEventListener("click", act);
  return made;
}

function showEmpty() {
  if (isFiltered() && current && current.total_views > 0) {
    const all = button("Show all posts", () => go({ ...state, filter: ALL_POSTS }));
    const words = state.sort === "views" ? "None of these posts was played in this window." : "None of these posts stands out for sure.";
    return showPanel("empty", "No post to show", words, all);
  }
  if (state.sort !== "views" && current && current.total_views > 0) {
    const back = button("Show the most played", () => go({ ...state, sort: "views" }));
    if (state.sort === "rising")
      showPanel("empty", "Nothing rises for sure", "No post is above the window just before by more than chance.", back);
    else showPanel("empty", "Nothing stands out for sure", "No post is played more here than elsewhere by more than chance.", back);
    return;
  }
  const more = state.timeframe === "all" ? [] : [button("Look at all time", () => go({ ...state, timeframe: "all" }))];
  if (current && current.total_views > 0) {
    const words = "A play shows where it names a post as the catalog does, letter by letter, and the post is not hidden.";
    return showPanel("empty", "Plays came, but of no post that shows", words, ...more);
  }
  if (regions.some((region) => region.views_24h > 0))
    return showPanel("empty", "Nothing was played here yet", "The first play shows up by itself.", ...more);
  // Whoever sets it up looks at it now, and nobody else.
  const command = document.createElement("pre");
  command.tabIndex = 0;
  command.textContent = `curl ${new URL("./plays", document.baseURI)} -H 'Content-Type: application/json' -d '${JSON.stringify({ post_id: "hello", ...boardQuery(state.board) })}'`;
  showPanel("empty", "Nothing was played yet", "The first play shows up by itself. To send one:", command, ...more);
}

/** @param {import('./api.js').RequestFailed} error @param {number} retryInMs */
function showError(error, retryInMs) {
  const again = button("Try again now", () => watching?.now());
  // What stands beside it would be as empty.
  if (error.status !== 404) element("aside").hidden = true;
  if (!navigator.onLine) {
    showPanel("offline", "You are offline", "The chart comes by itself when you are back.", again);
  } else if (error.code === "unknown_board") {
    showPanel(
      "error",
      `There is no board “${state.board}”`,
      "The address names one that this service does not have, or that needs a key.",
      button("Show the main chart", () => go({ ...state, board: MAIN })),
    );
  } else if (error.status === 404 && state.region !== GLOBAL) {
    showPanel(
      "error",
      `There is no region “${state.region}”`,
      "The address names one that this service does not have.",
      button("Show worldwide", () => go({ ...state, region: GLOBAL })),
    );
  } else if (error.code === "region_deleted") {
    showPanel(
      "error",
      `${regionName()} was deleted`,
      "This region has no chart any more. Its plays stay in the worldwide one.",
      button("Show worldwide", () => go({ ...state, region: GLOBAL })),
    );
  } else if (error.status >= 400 && error.status < 500 && error.status !== 429) {
    showPanel(
      "error",
      "The service does not answer this",
      error.message,
      button("Back to the first view", () => go(readState(""))),
    );
  } else {
    const busy = error.status === 429 || error.status === 503;
    const soon = retryInMs > 5000 ? "It is tried again by itself." : "It is tried again every few seconds.";
    showPanel("error", busy ? "The service is busy" : "The service cannot be reached", `${error.message} ${soon}`, again);
  }
}

function showLocked() {
  element("aside").hidden = true;
  const form = document.createElement("form");
  const label = document.createElement("label");
  label.textContent = "Key ";
  const input = document.createElement("input");
  input.type = "password";
  input.autocomplete = "off";
  input.required = true;
  label.append(input);
  const send = button("Show the chart", () => {});
  send.setAttribute("type", "submit");
  form.append(label, send);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    setReadToken(input.value);
    loadRegions();
    open();
  });
  const words = wordsOfKey();
  showPanel("locked", "These charts need a key", words, form);
  // There the reader was.
  if (hasReadToken()) input.focus();
}

async function loadRegions() {
  const board = state.board;
  try {
    const { body } = await get(`./regions?${new URLSearchParams(boardQuery(board))}`);
    if (!Array.isArray(body?.regions) || board !== state.board) return;
    const shown = () =>
      JSON.stringify([
        // Which have plays chooses the number ones.
        regions.map(({ region_id, region_name, views_24h }) => [region_id, region_name, views_24h > 0]),
        boards.map((it) => [it.board_id, it.board_name]),
      ]);
    const before = shown();
    regions = body.regions;
    await loadBoards(body.boards ?? 1);
    if (shown() !== before && watching) {
      controls.show(state, regions, boards);
      headline();
      aside?.stop();
      aside = showAside(state, regions);
      if (current) aside.chart(current);
    }
  } catch {
    // The chart itself says when the service is away; the choice of regions stays as it was.
  }
}

/** @param {number} count how many there are now */
async function loadBoards(count) {
  if (count === boardsAsked) return;
  const { body } = await get("./boards");
  boards = Array.isArray(body?.boards) ? body.boards : [];
  boardsAsked = count;
}

document.addEventListener("click", (event) => {
  const link = /** @type {Element} */ (event.target).closest?.("a[data-nav]");
  if (!(link instanceof HTMLAnchorElement) || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
    return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  open();
  window.scrollTo(0, 0);
});
window.addEventListener("popstate", open);
setInterval(() => {
  if (isAttended()) loadRegions();
}, REGIONS_MS);

// The headline names a region as people do: its name is worth a moment's wait, but not more.
const named = loadRegions();
if (state.region !== GLOBAL) await Promise.race([named, new Promise((done) => setTimeout(done, NAMES_WAIT_MS))]);
open();
