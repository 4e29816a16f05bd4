/**
 * The ranked list. Rows are kept by post and moved, never made again, so that a row can be
 * followed with the eye, keeps its focus, and costs nothing while it does not change.
 *
 * Everything that comes from data goes in as text.
 */
import { titleOf } from "./api.js";
import * as format from "./format.js";
import { safeUrl } from "./state.js";

/** @typedef {import('./api.js').Entry} Entry */

const MOVE_MS = 600;
const EASE = "cubic-bezier(.2, .8, .2, 1)";
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** @param {string} selector @param {Element} within @returns {HTMLElement} */
const find = (selector, within) => /** @type {HTMLElement} */ (within.querySelector(selector));

/**
 * @param {HTMLOListElement} list
 * @param {HTMLTemplateElement} template
 * @param {(postId: string) => string} hrefOf address of a post's own view
 */
export function createChart(list, template, hrefOf) {
  /** @type {Map<string, HTMLElement>} */
  let rows = new Map();

  /** @param {number} length */
  function skeleton(length) {
    rows = new Map();
    list.setAttribute("aria-busy", "true");
    list.replaceChildren(
      ...Array.from({ length }, () => {
        const row = document.createElement("li");
        row.className = "entry ghost";
        return row;
      }),
    );
  }

  /**
   * @param {Entry[]} entries
   * @param {{ moves: boolean, why: (entry: Entry) => string }} options `moves`: whether there is a window before to
   *   compare with; `why`: what puts the entry here, where that is not its count
   */
  function show(entries, { moves, why }) {
    const first = rows.size === 0;
    const before = first ? new Map() : positions(rows);
    const focused = document.activeElement;
    const bars = barsOf(entries);
    const covers = entries.some((entry) => safeUrl(entry.image));

    const next = new Map();
    for (const entry of entries) {
      const row = rows.get(entry.post_id) ?? create(entry.post_id);
      fill(row, entry, { bar: bars(entry), moves, covers, why: why(entry), href: hrefOf(entry.post_id) });
      next.set(entry.post_id, row);
    }
    rows = next;
    arrange(list, [...next.values()]);
    list.setAttribute("aria-busy", "false");
    if (focused instanceof HTMLElement && focused !== document.activeElement && list.contains(focused)) {
      focused.focus({ preventScroll: true });
    }
    if (!first && !still.matches) animate(next, before);
  }

  /** @param {string} postId */
  function create(postId) {
    const row = /** @type {HTMLElement} */ (/** @type {DocumentFragment} */ (template.content.cloneNode(true)).firstElementChild);
    row.dataset.postId = postId;
    return row;
  }

  return { show, skeleton };
}

/**
 * @param {HTMLElement} row
 * @param {Entry} entry
 * @param {{ bar: Bar, moves: boolean, covers: boolean, why: string, href: string }} context
 */
function fill(row, entry, { bar, moves, covers, why, href }) {
  const title = /** @type {HTMLAnchorElement} */ (find(".title", row));
  setText(title, titleOf(entry));
  title.dir = "auto";
  title.title = titleOf(entry);
  title.href = href;
  setText(find(".why", row), why);
  setText(find(".author", row), entry.author ?? "");

  const out = /** @type {HTMLAnchorElement} */ (find(".out", row));
  const url = safeUrl(entry.url);
  out.hidden = url === null;
  if (url) {
    out.href = url;
    out.ariaLabel = `Open ${titleOf(entry)} on ${new URL(url).host}`;
  } else {
    out.removeAttribute("href");
  }

  setText(find(".rank", row), String(entry.rank));
  fillMove(find(".move", row), entry, moves);
  fillCover(find(".cover", row), entry, covers);
  fillCount(row, entry, bar);
}

/** @typedef {{ sure: number, most: number }} Bar shares of the longest one, 0 to 1 */

/**
 * Bars show what the order is made of: plays, or by how much there are more than there were. Where all
 * are the same they would tell nothing, and there are none.
 * @param {Entry[]} entries @returns {(entry: Entry) => Bar}
 */
function barsOf(entries) {
  /** @param {Entry} entry @returns {Bar} */
  const length = ({ compared, view_count_min, view_count_max }) =>
    compared ? { sure: compared.times, most: compared.times } : { sure: view_count_min, most: view_count_max };
  const lengths = entries.map(length);
  const top = Math.max(Number.MIN_VALUE, ...lengths.map(({ most }) => most));
  if (lengths.every(({ sure }) => sure === top)) return () => ({ sure: 0, most: 0 });
  return (entry) => {
    const { sure, most } = length(entry);
    return { sure: sure / top, most: most / top };
  };
}

/** @param {HTMLElement} cell @param {Entry} entry @param {boolean} moves */
function fillMove(cell, entry, moves) {
  const places = (entry.previous_rank ?? 0) - entry.rank;
  const isBack = entry.re_entry === true;
  const kind = !moves ? "none" : isBack ? "back" : entry.previous_rank === null ? "new" : places > 0 ? "up" : places < 0 ? "down" : "same";
  const was = entry.previous_rank === null ? "" : `, was ${entry.previous_rank}`;
  const words = {
    none: "",
    new: "New",
    back: "Back on the chart",
    same: "Unchanged",
    up: `Up ${places}${was}`,
    down: `Down ${-places}${was}`,
  }[kind];
  cell.dataset.kind = kind;
  cell.title = words;
  setText(cell, kind === "new" ? "New" : kind === "back" ? "Back" : kind === "up" || kind === "down" ? String(Math.abs(places)) : "");
  // The arrow is drawn by the style sheet; who cannot see it hears it.
  if (kind === "none") {
    cell.removeAttribute("role");
    cell.removeAttribute("aria-label");
  } else {
    cell.setAttribute("role", "img");
    cell.setAttribute("aria-label", words);
  }
}

/** @param {HTMLElement} cell @param {Entry} entry @param {boolean} covers */
function fillCover(cell, entry, covers) {
  cell.hidden = !covers;
  const source = (covers && safeUrl(entry.image)) || "";
  const isNew = cell.dataset.source !== source;
  // Kept where the picture failed, too: it is not asked for again.
  cell.dataset.source = source;
  if (source && isNew) {
    const image = document.createElement("img");
    image.alt = "";
    image.width = image.height = 44;
    image.loading = "lazy";
    image.decoding = "async";
    image.referrerPolicy = "no-referrer";
    image.onerror = () => image.replaceWith(initial(entry));
    image.src = source;
    cell.replaceChildren(image);
  } else if (covers && !(source && cell.querySelector("img"))) {
    setText(cell, initial(entry));
  }
}

/** @param {Entry} entry the first character a reader would see as one */
const initial = (entry) => (Array.from(titleOf(entry).trim())[0] ?? "").toLocaleUpperCase();

/** @param {HTMLElement} row @param {Entry} entry @param {Bar} length */
function fillCount(row, entry, { sure, most }) {
  const exact = entry.view_count_min === entry.view_count_max;
  setText(find(".count", row), format.count(entry.view_count));
  const bounds = /** @type {HTMLButtonElement} */ (find(".bounds", row));
  bounds.hidden = entry.certain;
  row.classList.toggle("uncertain", !entry.certain);

  const between = exact ? "Counted exactly" : `Between ${format.count(entry.view_count_min)} and ${format.plays(entry.view_count_max)}`;
  const words = entry.certain ? between : `${between}. The place is not certain.`;
  bounds.setAttribute("aria-label", words);
  setText(find(".tip", row), exact && entry.certain ? "" : words);

  const bar = find(".bar", row);
  bar.style.setProperty("--sure", String(sure));
  bar.style.setProperty("--most", String(most));
}

/** @param {HTMLElement} element @param {string} text */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Puts the rows in order, touching only those that are not where they belong. @param {HTMLElement} list @param {HTMLElement[]} ordered */
function arrange(list, ordered) {
  const kept = new Set(ordered);
  for (const child of [...list.children]) {
    if (!kept.has(/** @type {HTMLElement} */ (child))) child.remove();
  }
  ordered.forEach((row, place) => {
    if (list.children[place] !== row) list.insertBefore(row, list.children[place] ?? null);
  });
}

/** @param {Map<string, HTMLElement>} rows @returns {Map<string, number>} */
function positions(rows) {
  return new Map([...rows].map(([id, row]) => [id, row.getBoundingClientRect().top]));
}

/** First, last, invert, play. @param {Map<string, HTMLElement>} rows @param {Map<string, number>} before */
function animate(rows, before) {
  for (const row of rows.values()) {
    for (const animation of row.getAnimations()) if (animation.id === "move") animation.cancel();
  }
  const after = positions(rows);
  for (const [id, row] of rows) {
    const from = before.get(id);
    const moved = from === undefined ? 0 : from - /** @type {number} */ (after.get(id));
    if (from === undefined) {
      row.animate([{ opacity: 0 }, { opacity: 1 }], { id: "move", duration: MOVE_MS, easing: EASE });
    } else if (Math.abs(moved) > 1) {
      // What rises passes in front of what it overtakes.
      row.animate(
        [
          { transform: `translateY(${moved}px)`, zIndex: moved > 0 ? 2 : 1 },
          { transform: "none", zIndex: moved > 0 ? 2 : 1 },
        ],
        { id: "move", duration: MOVE_MS, easing: EASE },
      );
    }
  }
}
