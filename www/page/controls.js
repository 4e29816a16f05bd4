/**
 * Board, region, timeframe, order and length: native radio buttons and selects,
 * so the arrow keys and every assistive tool work as people expect.
 */
import { MAIN } from "./api.js";
import { GLOBAL, TIMEFRAMES, sortsOf } from "./state.js";

/** Up to so many regions stand side by side; more go into a select. */
const REGIONS_IN_A_ROW = 12;

/** Beside the orders there is no room for it: a post's page has its button. */
const YESTERDAY = "yesterday";

/** @typedef {import('./state.js').State} State */

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * @param {(change: Partial<State>) => void} changed
 */
export function createControls(changed) {
  const form = /** @type {HTMLFormElement} */ (element("controls"));
  const pick = /** @type {HTMLSelectElement} */ (element("region-pick"));
  const board = /** @type {HTMLSelectElement} */ (element("board-pick"));
  const length = /** @type {HTMLSelectElement} */ (element("length"));

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => {
    const input = /** @type {HTMLInputElement | HTMLSelectElement} */ (event.target);
    if (input === pick) changed({ region: pick.value });
    else if (input === board) changed({ board: board.value });
    else if (input === length) changed({ k: Number(length.value) });
    else changed({ [input.name]: input.value });
  });

  /** @param {State} state @param {{ region_id: string, region_name: string }[]} regions @param {import('./api.js').Board[]} boards */
  function show(state, regions, boards) {
    const hasSeveral = boards.length > 1 || state.board !== MAIN;
    element("board-choice").hidden = !hasSeveral;
    if (hasSeveral) {
      const choices = boards.map(({ board_id, board_name }) => [board_id, board_name]);
      if (!boards.some(({ board_id }) => board_id === state.board)) choices.push([state.board, state.board]);
      options(board, choices);
      board.value = state.board;
    }

    const known = regions.some((region) => region.region_id === state.region);
    const all = [{ region_id: GLOBAL, region_name: "Worldwide" }, ...regions];
    if (!known && state.region !== GLOBAL) all.push({ region_id: state.region, region_name: state.region });

    const many = all.length > REGIONS_IN_A_ROW;
    pick.hidden = !many;
    element("regions").hidden = many;
    if (many) {
      options(
        pick,
        all.map(({ region_id, region_name }) => [region_id, region_name]),
      );
      pick.value = state.region;
    } else {
      radios(
        element("regions"),
        "region",
        all.map(({ region_id, region_name }) => [region_id, region_name]),
        state.region,
      );
    }

    /** @type {string[][]} */
    const timeframes = TIMEFRAMES.filter(([value]) => value !== YESTERDAY || value === state.timeframe).map(([value, label]) => [
      value,
      label,
    ]);
    if (!timeframes.some(([value]) => value === state.timeframe)) timeframes.push([state.timeframe, state.timeframe]);
    radios(element("timeframes"), "timeframe", timeframes, state.timeframe);

    const sorts = sortsOf(state);
    radios(
      element("sorts"),
      "sort",
      sorts.map(([value, label]) => [value, label]),
      state.sort,
    );
    /** @type {HTMLElement} */ (element("sorts").parentElement).hidden = sorts.length < 2;
    length.value = String(state.k);
  }

  return { show };
}

/** @param {HTMLElement} strip @param {string} name @param {string[][]} choices @param {string} chosen */
export function radios(strip, name, choices, chosen) {
  const key = JSON.stringify(choices);
  if (strip.dataset.key !== key) {
    const focused = strip.contains(document.activeElement);
    strip.dataset.key = key;
    strip.replaceChildren(
      ...choices.map(([value, label]) => {
        const input = document.createElement("input");
        input.type = "radio";
        input.name = name;
        input.value = value;
        const text = document.createElement("span");
        text.textContent = label;
        text.dataset.label = label;
        const whole = document.createElement("label");
        whole.append(input, text);
        return whole;
      }),
    );
    if (focused) queueMicrotask(() => /** @type {HTMLElement | null} */ (strip.querySelector("input:checked"))?.focus());
  }
  for (const input of strip.querySelectorAll("input")) {
    const here = input.value === chosen;
    if (here && !input.checked) {
      input.checked = true;
      // Within the strip only: the page itself stays where the reader has it.
      const label = /** @type {HTMLElement} */ (input.parentElement);
      strip.scrollLeft = label.offsetLeft - (strip.clientWidth - label.offsetWidth) / 2;
    }
  }
}

/** @param {HTMLSelectElement} select @param {string[][]} choices */
function options(select, choices) {
  const key = JSON.stringify(choices);
  if (select.dataset.key === key) return;
  select.dataset.key = key;
  select.replaceChildren(...choices.map(([value, label]) => new Option(label, value)));
}
