/**
 * Which posts the chart is of: chips for what is chosen, which take it away again, and for tags of the posts that
 * are shown; and how new the posts are. Loaded where there is something to choose.
 */
import { ALL_POSTS } from "./api.js";
import { timeframeWords } from "./state.js";

/** @typedef {import('./api.js').Filter} Filter */

/** As many as the service takes (MAX_WANTED_TAGS of src/filter.rs). */
const MOST_TAGS = 4;
/** Tags that are offered: those of the most posts shown. */
const OFFERED = 12;
const PUBLISHED = ["24h", "7d", "30d"];

/**
 * @param {HTMLElement} fieldset
 * @param {(filter: Filter) => void} changed
 */
export function createFilters(fieldset, changed) {
  const chips = document.createElement("div");
  chips.className = "chips";
  const published = document.createElement("select");
  published.className = "pick";
  published.ariaLabel = "How new the posts are";
  fieldset.append(chips, published);
  let shown = ALL_POSTS;
  /** @type {string[]} */
  let offered = [];
  published.addEventListener("change", (event) => {
    event.stopPropagation();
    changed({ ...shown, published: published.value });
  });

  /** @param {Filter} filter @param {{ tags?: string[] }[] | null} posts null: not known yet */
  function show(filter, posts) {
    shown = filter;
    if (posts) offered = mostOf(posts);
    const { tags, excluded, author } = filter;
    const without = (/** @type {string[]} */ list, /** @type {string} */ tag) => list.filter((other) => other !== tag);
    const others = tags.length < MOST_TAGS ? offered.filter((tag) => !tags.includes(tag) && !excluded.includes(tag)) : [];
    /** @type {[string, string, Filter, boolean][]} */
    const all = [
      ...tags.map((tag) => chipOf(`tag ${tag}`, tag, { ...filter, tags: without(tags, tag) }, true)),
      ...excluded.map((tag) => chipOf(`not ${tag}`, `not ${tag}`, { ...filter, excluded: without(excluded, tag) }, true)),
      ...(author ? [chipOf("author", `by ${author}`, { ...filter, author: "" }, true)] : []),
      ...others.map((tag) => chipOf(`tag ${tag}`, tag, { ...filter, tags: [...tags, tag] }, false)),
    ];
    fieldset.hidden = all.length === 0 && filter.published === "";
    fill(chips, all, changed);
    const choices = ["", ...PUBLISHED];
    if (!choices.includes(filter.published)) choices.push(filter.published);
    published.replaceChildren(
      ...choices.map((value) => new Option(value ? `Published ${timeframeWords(value)}` : "Published at any time", value)),
    );
    published.value = filter.published;
  }

  return { show };
}

/** @param {string} key @param {string} label @param {Filter} next @param {boolean} chosen @returns {[string, string, Filter, boolean]} */
const chipOf = (key, label, next, chosen) => [key, label, next, chosen];

/** @param {HTMLElement} chips @param {[string, string, Filter, boolean][]} all @param {(filter: Filter) => void} changed */
function fill(chips, all, changed) {
  const looks = JSON.stringify(all.map(([key, label, , chosen]) => [key, label, chosen]));
  const focused = chips.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement).dataset.chip : undefined;
  if (chips.dataset.looks !== looks) {
    chips.dataset.looks = looks;
    chips.replaceChildren(
      ...all.map(([key, label, , chosen]) => {
        const chip = document.createElement("button");
        chip.type = "button";
        chip.className = "chip";
        chip.dataset.chip = key;
        chip.ariaPressed = String(chosen);
        chip.dir = "auto";
        chip.textContent = label;
        return chip;
      }),
    );
    if (focused)
      /** @type {HTMLElement | null} */ (chips.querySelector(`[data-chip="${CSS.escape(focused)}"]`))?.focus({ preventScroll: true });
  }
  for (const [place, [, , next]] of all.entries()) /** @type {HTMLElement} */ (chips.children[place]).onclick = () => changed(next);
}

/** The tags of most posts, then by name. @param {{ tags?: string[] }[]} posts */
function mostOf(posts) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const tag of posts.flatMap(({ tags = [] }) => tags)) counts.set(tag, (counts.get(tag) ?? 0) + 1);
  const sorted = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  return sorted.slice(0, OFFERED).map(([tag]) => tag);
}
