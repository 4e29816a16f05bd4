/**
 * The page of published charts: one chart, or the list of them. Its address is that of the data; what is
 * fetched says `format=json`, so that no cache takes one for the other.
 *
 * Everything that comes from data goes in as text.
 */
import { MAIN, boardQuery, get, setReadToken, titleOf, wordsOfKey } from "./api.js";
import { createChart } from "./chart.js";
import * as format from "./format.js";
import { OWN } from "./own.js";
import { namesOf, periodInWords } from "./periods.js";
import { GLOBAL } from "./state.js";

/**
 * @typedef {import('./api.js').Entry} Entry
 * @typedef {import('./periods.js').Kind} Kind
 * @typedef {{ period: string, time_zone: string, region: string, window: { from: string, to: string }, as_of: string,
 *   total_views: number, unlisted_max: number, earlier: string | null, later: string | null, top_posts: Entry[] }} Published
 * @typedef {{ period: string, total_views: number, top_post: Entry | null }} Listed
 */

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const anchor = (/** @type {string} */ id) => /** @type {HTMLAnchorElement} */ (element(id));

const [, , kindName, period = ""] = location.pathname.split("/");
const kind = /** @type {Kind} */ (["day", "week", "month"].includes(kindName) ? kindName : "week");
const asked = new URLSearchParams(location.search);
const region = asked.get("region") || GLOBAL;
const board = asked.get("board") || MAIN;
/** What every address here is of. @param {{ region?: string, board?: string }} [of] */
const placeQuery = (of = {}) => {
  const place = { region, board, ...of };
  return { ...boardQuery(place.board), ...(place.region === GLOBAL ? {} : { region: place.region }) };
};
const names = namesOf(kind);
const chart = createChart(
  /** @type {HTMLOListElement} */ (element("chart")),
  /** @type {HTMLTemplateElement} */ (element("row")),
  (postId) => `/?${new URLSearchParams({ post: postId, ...placeQuery() })}`,
);

/** The address of a chart, of a list where there is no period, or of its data. @param {string} leaf @param {Record<string, string>} [more] @param {{ region?: string, board?: string }} [of] */
function addressOf(leaf, more = {}, of = {}) {
  const query = new URLSearchParams({ ...placeQuery(of), ...more });
  return `/charts/${kind}${leaf && `/${encodeURIComponent(leaf)}`}${query.size > 0 ? `?${query}` : ""}`;
}

/** What this page is asked for, as it is asked for: a chart of a tag is refused, and not shown as one of all posts. @param {string} leaf */
const dataOf = (leaf, before = "") => addressOf(leaf, { ...Object.fromEntries(asked), format: "json", ...(before && { before }) });

for (const link of element("kinds").querySelectorAll("a")) {
  const own = new URL(link.href).pathname === `/charts/${kind}`;
  if (own) link.setAttribute("aria-current", "true");
  link.search = new URLSearchParams(placeQuery()).toString();
}
element("periods-name").textContent = names.several;
element("region-choice").hidden = !OWN.regions;
element("print").addEventListener("click", () => print());
anchor("as-feed").href = addressOf("feed.json");
anchor("as-atom").href = addressOf("feed.atom");

/** @type {Map<string, string>} */
const regionNames = new Map([[GLOBAL, "Worldwide"]]);
const nameOfRegion = () => regionNames.get(region) ?? region;
let boardName = board;

async function open() {
  element("panel").hidden = true;
  // They may be away, or closed to who looks: the chart says so.
  const places = showPlaces().catch(() => {});
  try {
    if (period === "") await openList();
    else await openChart();
  } catch (error) {
    showProblem(/** @type {import('./api.js').RequestFailed} */ (error));
  }
  await places;
}

/** @param {string} id of a select @param {Iterable<[string, string]>} choices values and their names @param {string} chosen */
function fillPick(id, choices, chosen) {
  const pick = /** @type {HTMLSelectElement} */ (element(id));
  pick.replaceChildren(...Array.from(choices, ([value, name]) => new Option(name, value)));
  pick.value = chosen;
}

/** The regions and, where there are several, the boards. */
async function showPlaces() {
  if (region !== GLOBAL) regionNames.set(region, region);
  fillPick("region", regionNames, region);
  const { body } = await get(`/regions?${new URLSearchParams(boardQuery(board))}`);
  for (const { region_id, region_name } of body.regions) regionNames.set(region_id, region_name);
  fillPick("region", regionNames, region);
  place();
  if (board === MAIN && !(body.boards > 1)) return;
  const boards = /** @type {import('./api.js').Board[]} */ ((await get("/boards")).body.boards);
  const boardNames = new Map([[board, board], ...boards.map(({ board_id, board_name }) => /** @type {const} */ ([board_id, board_name]))]);
  boardName = boardNames.get(board) ?? board;
  fillPick("board-pick", boardNames, board);
  element("board-choice").hidden = boardNames.size < 2;
  place();
}

for (const [id, name] of [
  ["region", "region"],
  ["board-pick", "board"],
]) {
  const pick = /** @type {HTMLSelectElement} */ (element(id));
  pick.addEventListener("change", () => location.assign(addressOf(period, {}, { [name]: pick.value })));
}

/** What the chart covers, once it is known. */
let covers = "";

/** Says which region it is, whose name may come later. */
function place() {
  element("explain").textContent =
    [covers, board === MAIN ? "" : boardName, OWN.regions ? nameOfRegion() : ""].filter(Boolean).join(" · ") || "\u00a0";
}

async function openChart() {
  chart.skeleton(20);
  element("headline").textContent = periodInWords(period);
  const { body } = await get(dataOf(period));
  const { window, total_views, earlier, later, top_posts } = /** @type {Published} */ (body);
  covers = `${format.spanOfDays(window.from, window.to, body.time_zone)} · ${format.plays(total_views)}`;
  element("headline").textContent = periodInWords(body.period);
  place();
  chart.show(top_posts, { moves: true, why: runInWords });
  for (const row of /** @type {NodeListOf<HTMLElement>} */ (element("chart").querySelectorAll(".entry"))) {
    const entry = top_posts.find((entry) => entry.post_id === row.dataset.postId);
    if (entry) fillRun(row, entry);
  }
  element("columns-of").hidden = false;
  turnTo("earlier", earlier, (words) => `← ${words}`);
  turnTo("later", later, (words) => `${words} →`);
  turnTo("all", "", () => `All ${names.several.toLowerCase()}`);
  element("print").hidden = false;
  element("data").hidden = false;
  anchor("as-json").href = addressOf(body.period, { format: "json" });
  anchor("as-csv").href = addressOf(body.period, { format: "csv" });
  const exact = top_posts.every((entry) => entry.view_count_min === entry.view_count_max);
  const closed = format.dayAndTime(new Date(body.as_of));
  element("footnote").textContent =
    `${exact ? "All counts are exact. " : ""}Closed ${closed}; plays that came later count in the live chart.`;
  element("printed").textContent = `${location.origin}${addressOf(body.period)}`;
}

/** @param {string} id @param {string | null} to @param {(words: string) => string} label */
function turnTo(id, to, label) {
  const link = anchor(id);
  link.hidden = to === null;
  if (to === null) return;
  link.href = addressOf(to);
  link.textContent = label(periodInWords(to));
}

/** Where there is no room for columns. @param {Entry} entry */
function runInWords({ peak_rank, periods }) {
  return periods === 1 ? `First ${names.one}` : `Peak ${peak_rank} · ${format.count(periods ?? 1)} ${names.several.toLowerCase()}`;
}

/** @param {HTMLElement} row @param {Entry} entry */
function fillRun(row, { previous_rank, peak_rank, periods, debut }) {
  const cells = /** @type {const} */ ([
    [
      "last",
      previous_rank === null ? "–" : String(previous_rank),
      previous_rank === null ? "Not on the last chart" : `Last ${previous_rank}`,
    ],
    ["peak", String(peak_rank), `Peak ${peak_rank}`],
    [
      "periods",
      String(periods),
      `${periods} ${periods === 1 ? names.one : names.several.toLowerCase()} on the chart, since ${periodInWords(debut ?? "")}`,
    ],
  ]);
  for (const [name, text, words] of cells) {
    const cell = /** @type {HTMLElement} */ (row.querySelector(`.${name}`));
    cell.textContent = text;
    cell.title = words;
  }
  row.classList.toggle("top-again", peak_rank === 1);
}

async function openList(before = "") {
  const list = element("archive");
  list.hidden = false;
  element("chart").hidden = true;
  element("headline").textContent = `${names.several} on the chart`;
  covers = names.explain;
  place();
  const { body } = await get(dataOf("", before));
  const charts = /** @type {Listed[]} */ (body.charts);
  for (const { period, total_views, top_post } of charts) {
    const row = document.createElement("li");
    const link = document.createElement("a");
    link.href = addressOf(period);
    link.textContent = periodInWords(period);
    const first = document.createElement("span");
    first.className = "first";
    first.dir = "auto";
    first.textContent = top_post ? [titleOf(top_post), top_post.author].filter(Boolean).join(" – ") : "";
    const count = document.createElement("span");
    count.className = "count";
    // It stands beside the name of the first post, whose plays it is not.
    count.textContent = `${format.plays(total_views)} of all posts`;
    row.append(link, first, count);
    list.append(row);
  }
  if (list.childElementCount === 0) {
    showNone();
  }
  const more = /** @type {HTMLButtonElement} */ (element("more"));
  more.hidden = body.next === null;
  more.onclick = function again() {
    // Not before the answer: the same would come twice.
    more.onclick = null;
    openList(charts[charts.length - 1].period).catch((error) => {
      more.onclick = again;
      showProblem(error);
    });
  };
}

const showNone = () => showPanel("empty", "No chart was published yet", `The first one is, when its ${names.one} is over.`);

/** @param {import('./api.js').RequestFailed} error */
function showProblem(error) {
  element("chart").replaceChildren();
  element("chart").setAttribute("aria-busy", "false");
  if (error.status === 401) return showLock();
  if (error.code === "no_chart" && !error.closesAt) {
    // The answer says besides what its operator can do.
    if (period === "latest") showNone();
    else showPanel("empty", "There is no such chart", `Nothing was played in this ${names.one}, or no charts were published here then.`);
  } else if (error.status === 404 || error.status === 400 || error.status === 410) {
    showPanel("empty", "There is no such chart", sentence(error.message));
  } else {
    showPanel(navigator.onLine ? "error" : "offline", "The chart cannot be shown now", sentence(error.message));
  }
  if (period !== "") turnTo("all", "", () => `All ${names.several.toLowerCase()}`);
}

/** @param {string} detail */
const sentence = (detail) => `${detail.charAt(0).toUpperCase()}${detail.slice(1)}${/[.!?]$/.test(detail) ? "" : "."}`;

/** @param {string} kind @param {string} title @param {string} text */
function showPanel(kind, title, text) {
  const panel = element("panel");
  const heading = document.createElement("h2");
  heading.textContent = title;
  const words = document.createElement("p");
  words.textContent = text;
  panel.dataset.kind = kind;
  panel.replaceChildren(heading, words);
  panel.hidden = false;
}

/** The charts are closed to all but those with a key. */
function showLock() {
  showPanel("locked", "These charts need a key", wordsOfKey());
  const form = document.createElement("form");
  const key = document.createElement("input");
  key.type = "password";
  key.autocomplete = "off";
  key.required = true;
  key.setAttribute("aria-label", "Key");
  const send = document.createElement("button");
  send.className = "button";
  send.textContent = "Show the chart";
  form.append(key, " ", send);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    setReadToken(key.value);
    open();
  });
  element("panel").append(form);
}

open();
