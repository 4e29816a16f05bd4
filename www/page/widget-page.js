/**
 * The page of the widget: choices on one side, the widget itself on the other, and the two lines to copy.
 */
import { MAIN, get, isCalendar } from "./api.js";
import { OWN } from "./own.js";
import { SORTS, TIMEFRAMES, sortsOf } from "./state.js";

/** The widget's own. */
const ACCENT = "#c93a17";
/** In place of a timeframe: from one moment to another. */
const SPAN = "span";
const DAY_MS = 86_400_000;
/** Where the one who makes it is. */
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const form = /** @type {HTMLFormElement} */ (element("maker"));
const preview = element("preview");
const control = (/** @type {string} */ name) => /** @type {HTMLInputElement & HTMLSelectElement} */ (form.elements.namedItem(name));

for (const [value, label] of TIMEFRAMES) control("timeframe").append(new Option(label, value));
for (const [value, label] of SORTS) control("sort").append(new Option(label, value));
control("timeframe").append(new Option("From … to …", SPAN));
control("timeframe").value = "this-week";
control("accent").value = OWN.accent ?? ACCENT;
control("tz").append(new Option(ZONE.replaceAll("_", " "), ZONE));
/** @type {HTMLElement} */ (control("sort").parentElement).hidden = SORTS.length < 2;
element("origin").textContent = location.origin;

/** What is written into a page goes between quotes. @param {string} text */
const quoted = (text) => `"${text.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;")}"`;

/** The same between tags. @param {string} words */
const text = (words) => words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** In UTC, as the page around may be read anywhere. @param {string} name */
function moment(name) {
  const { value } = control(name);
  return value ? new Date(value).toISOString() : null;
}

function show() {
  const possible = sortsOf({ region: control("region").value, timeframe: control("timeframe").value }).map(([value]) => String(value));
  for (const option of control("sort").options) option.disabled = !possible.includes(option.value);
  if (!possible.includes(control("sort").value)) control("sort").value = "views";

  const isSpan = control("timeframe").value === SPAN;
  const isPeriod = isCalendar(control("timeframe").value);
  const isOwnLink = control("link").value === "own";
  /** @type {Record<string, boolean>} */
  const needed = { [SPAN]: isSpan, calendar: isPeriod, link: isOwnLink };
  for (const label of form.querySelectorAll("label")) {
    if (label.dataset.for) label.hidden = !needed[label.dataset.for];
  }
  // What is not chosen yet is the last week.
  const from = moment("from") ?? new Date(Math.floor(Date.now() / DAY_MS - 7) * DAY_MS).toISOString();
  const attributes = {
    board: control("board").value || null,
    region: control("region").value,
    timeframe: isSpan ? null : control("timeframe").value,
    tz: (isPeriod && control("tz").value) || null,
    from: isSpan ? from : null,
    to: isSpan ? moment("to") : null,
    k: control("k").value,
    sort: control("sort").value === "views" ? null : control("sort").value,
    tag: control("tag").value.trim() || null,
    author: control("author").value || null,
    published: control("published").value || null,
    images: control("images").checked ? "" : null,
    counts: control("counts").checked ? null : "off",
    link: isOwnLink ? control("address").value || null : control("link").value || null,
  };
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null) preview.removeAttribute(name);
    else preview.setAttribute(name, value);
  }
  const accent = control("accent").value;
  preview.style.setProperty("--top-posts-accent", accent);

  const title = control("title").value.trim();
  element("preview-title").textContent = title;
  element("preview-title").hidden = title === "";

  const written = Object.entries(attributes)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => (value === "" ? ` ${name}` : ` ${name}=${quoted(String(value))}`));
  if (accent !== ACCENT) written.push(` style=${quoted(`--top-posts-accent: ${accent}`)}`);
  element("code").textContent =
    `<script type="module" src=${quoted(new URL("./widget.js", location.href).href)}></script>\n<top-posts${written.join("")}>${title ? `<h2 slot="title">${text(title)}</h2>` : ""}</top-posts>`;
  element("said").textContent = "";
}

form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
element("copy").addEventListener("click", async () => {
  const code = element("code");
  try {
    await navigator.clipboard.writeText(code.textContent ?? "");
    element("said").textContent = "Copied.";
  } catch {
    getSelection()?.selectAllChildren(code);
    element("said").textContent = "Selected: copy it with your keyboard.";
  }
});

show();
get("./regions").then(
  ({ body }) => {
    for (const { region_id, region_name } of body.regions) control("region").append(new Option(region_name || region_id, region_id));
    if (body.boards > 1) return addBoards();
  },
  () => {},
);

async function addBoards() {
  const { body } = await get("./boards");
  const others = body.boards.filter((/** @type {import('./api.js').Board} */ board) => board.board_id !== MAIN);
  for (const { board_id, board_name } of others) control("board").append(new Option(board_name, board_id));
  /** @type {HTMLElement} */ (control("board").parentElement).hidden = others.length === 0;
}
