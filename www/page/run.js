/**
 * A post's run: its rank on each week's chart, as a line with the first place at the top. Weeks at
 * number one stand out, weeks off the chart are gaps. Each week is a link to its chart.
 *
 * Everything that comes from data goes in as text.
 */
import * as format from "./format.js";
import { periodInShort, periodInWords } from "./periods.js";

/** @typedef {{ period: string, post: { rank: number, peak_rank: number, periods: number, debut: string, view_count: number } }} Week */

const HEIGHT = 160;
const PAD = { top: 14, right: 14, bottom: 26, left: 34 };
const WEEK_MS = 7 * 86_400_000;

/** @param {string} tag @param {Record<string, string | number>} attributes */
function svg(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  return made;
}

/** Weeks are told apart by the window that the list gives them. @param {Week & { window: { from: string } }} week */
const numberOf = (week) => Math.round(Date.parse(week.window.from) / WEEK_MS);

/**
 * @param {HTMLElement} box @param {(Week & { window: { from: string } })[]} latestFirst
 * @param {Record<string, string>} place the board and the region, as a query
 */
export function showRun(box, latestFirst, place) {
  const weeks = [...latestFirst].reverse();
  const last = weeks[weeks.length - 1].post;
  const tops = weeks.filter(({ post }) => post.rank === 1).length;
  const facts = [
    `Peak ${last.peak_rank}`,
    `${format.count(last.periods)} ${last.periods === 1 ? "week" : "weeks"} on the chart`,
    tops > 0 ? `${format.count(tops)} at number one` : "",
    `since ${periodInWords(last.debut)}`,
  ];
  const words = document.createElement("p");
  words.className = "readout";
  words.textContent = facts.filter(Boolean).join(" · ");
  box.replaceChildren(words, draw(weeks, place, words.textContent));
}

/** @param {(Week & { window: { from: string } })[]} weeks @param {Record<string, string>} place @param {string} words */
function draw(weeks, place, words) {
  const search = new URLSearchParams(place).toString();
  const query = search && `?${search}`;
  const first = numberOf(weeks[0]);
  const span = Math.max(1, numberOf(weeks[weeks.length - 1]) - first);
  const width = Math.max(320, Math.min(900, PAD.left + PAD.right + span * 26));
  const worst = Math.max(10, ...weeks.map(({ post }) => post.rank));
  const x = (/** @type {Week & { window: { from: string } }} */ week) =>
    weeks.length === 1 ? PAD.left + 12 : PAD.left + ((numberOf(week) - first) / span) * (width - PAD.left - PAD.right);
  const y = (/** @type {number} */ rank) => PAD.top + ((rank - 1) / (worst - 1)) * (HEIGHT - PAD.top - PAD.bottom);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width: "100%", role: "group", "aria-label": words, class: "run-line" });
  drawing.style.maxWidth = `${width}px`;
  for (const rank of [1, worst]) {
    drawing.append(svg("path", { class: "axis", d: `M${PAD.left} ${y(rank)}H${width}` }));
    const label = svg("text", { class: "tick", x: PAD.left - 8, y: y(rank) + 4, "text-anchor": "end" });
    label.textContent = String(rank);
    drawing.append(label);
  }
  // Where it was off the chart the line has a gap.
  let path = "";
  weeks.forEach((week, at) => {
    const follows = at > 0 && numberOf(week) - numberOf(weeks[at - 1]) === 1;
    path += `${follows ? "L" : "M"}${x(week).toFixed(1)} ${y(week.post.rank).toFixed(1)}`;
  });
  drawing.append(svg("path", { class: "line", d: path }));
  const every = Math.ceil(weeks.length / (width / 60));
  weeks.forEach((week, at) => {
    const link = svg("a", { href: `/charts/week/${week.period}${query}` });
    const title = svg("title", {});
    title.textContent = `${periodInWords(week.period)}: number ${week.post.rank}, ${format.plays(week.post.view_count)}`;
    link.setAttribute("aria-label", title.textContent);
    const isTop = week.post.rank === 1;
    link.append(
      title,
      svg("circle", { class: isTop ? "dot-of-run top" : "dot-of-run", r: isTop ? 6 : 4, cx: x(week), cy: y(week.post.rank) }),
    );
    drawing.append(link);
    if (at % every === 0) {
      const label = svg("text", { class: "tick", x: x(week), y: HEIGHT - 6, "text-anchor": "middle" });
      label.textContent = periodInShort(week.period);
      drawing.append(label);
    }
  });
  return drawing;
}
