/**
 * Plays over time as a line in a band of its bounds: a small SVG of our own,
 * read with the pointer or the arrow keys.
 *
 * A point is what was counted in one span. All are of one length, which stands beside them; the first
 * and the last may be cut short by the window.
 */
import { serverNow } from "./api.js";
import * as format from "./format.js";

/** @typedef {{ from: string, to: string, view_count: number, view_count_min: number, view_count_max: number }} Span */
/** @typedef {{ from: number, to: number, until: number, count: number, min: number, max: number }} Point */

const HEIGHT = 280;
const PAD = { top: 16, right: 4, bottom: 28, left: 4 };

/** @param {string} tag @param {Record<string, string | number>} attributes */
function svg(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  return made;
}

/** @param {HTMLElement} box an empty element, which becomes the figure */
export function createSeries(box) {
  /** @type {Point[]} */
  let points = [];
  let title = "";
  /** @type {number | null} the point that is read */
  let read = null;

  const drawing = svg("svg", { height: HEIGHT, width: "100%", "aria-hidden": "true" });
  const readout = document.createElement("p");
  readout.className = "readout";
  readout.setAttribute("aria-live", "polite");
  box.replaceChildren(readout, drawing);
  box.tabIndex = 0;
  box.setAttribute("role", "group");

  const scale = () => {
    const width = box.clientWidth;
    const start = points[0].from;
    const end = points[points.length - 1].until;
    const top = Math.max(...points.map((point) => point.max), Number.MIN_VALUE);
    return {
      width,
      x: (/** @type {number} */ time) => PAD.left + ((time - start) / Math.max(1, end - start)) * (width - PAD.left - PAD.right),
      y: (/** @type {number} */ value) => HEIGHT - PAD.bottom - (value / top) * (HEIGHT - PAD.top - PAD.bottom),
    };
  };

  /** @param {Point} point */
  const middle = (point) => (point.from + point.until) / 2;

  function draw() {
    drawing.replaceChildren();
    if (points.length === 0 || box.clientWidth === 0) return;
    const { width, x, y } = scale();
    drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const first = points[0];
    const last = points[points.length - 1];

    /** @param {(point: Point) => number} value @returns {[number, number][]} flat to both edges */
    const line = (value) => [
      [x(first.from), y(value(first))],
      ...points.map((point) => /** @type {[number, number]} */ ([x(middle(point)), y(value(point))])),
      [x(last.until), y(value(last))],
    ];
    const path = (/** @type {[number, number][]} */ places) => places.map(([a, b]) => `${a.toFixed(1)} ${b.toFixed(1)}`).join("L");

    const lower = line((point) => point.min);
    const upper = line((point) => point.max);
    const middleLine = path(line((point) => point.count));
    const floor = HEIGHT - PAD.bottom;

    drawing.append(svg("path", { class: "axis", d: `M0 ${floor + 0.5}H${width}` }));
    // An hour and a day have whole minutes and hours in each of so many parts.
    const parts = [6, 4, 3, 2].find((parts) => parts * 130 <= width) ?? 1;
    for (let index = 0; index <= parts; index += 1) {
      const time = first.from + ((last.until - first.from) * index) / parts;
      const anchor = index === 0 ? "start" : index === parts ? "end" : "middle";
      const label = svg("text", { class: "tick", x: x(time), y: HEIGHT - 8, "text-anchor": anchor });
      label.textContent = format.tick(new Date(time), last.until - first.from);
      drawing.append(label);
    }
    drawing.append(
      svg("path", { class: "area", d: `M${middleLine}L${x(last.until)} ${floor}L${x(first.from)} ${floor}Z` }),
      svg("path", { class: "band", d: `M${path(upper)}L${path(lower.reverse())}Z` }),
      svg("path", { class: "line", d: `M${middleLine}` }),
    );
    if (read !== null && points[read]) {
      const point = points[read];
      drawing.append(
        svg("path", { class: "cross", d: `M${x(middle(point)).toFixed(1)} ${PAD.top}V${floor}` }),
        svg("circle", { class: "spot", r: 5, cx: x(middle(point)), cy: y(point.count) }),
      );
    }
  }

  function say() {
    const words = wordsOf(read === null ? undefined : points[read]);
    // Also what stays as it is would be read aloud.
    if (readout.textContent !== words) readout.textContent = words;
  }

  /** @param {Point | undefined} point */
  function wordsOf(point) {
    if (!point) return title;
    const exact = point.min === point.max;
    const bounds = exact ? "" : ` (${format.count(point.min)} to ${format.count(point.max)})`;
    const when = format.span(new Date(point.from), new Date(point.to));
    return `${when}: ${format.plays(point.count)}${bounds}`;
  }

  /** @param {number | null} index */
  function point(index) {
    if (index === read) return;
    read = index === null ? null : Math.max(0, Math.min(points.length - 1, index));
    say();
    draw();
  }

  box.addEventListener("pointermove", (event) => {
    if (points.length === 0) return;
    const { x } = scale();
    const place = event.clientX - box.getBoundingClientRect().left;
    const after = points.findIndex((candidate) => x(candidate.until) >= place);
    point(after === -1 ? points.length - 1 : after);
  });
  box.addEventListener("pointerleave", () => point(null));
  box.addEventListener("blur", () => point(null));
  box.addEventListener("keydown", (event) => {
    const end = points.length - 1;
    const to = { ArrowLeft: (read ?? end + 1) - 1, ArrowRight: (read ?? -1) + 1, Home: 0, End: end, Escape: null }[event.key];
    if (to === undefined || points.length === 0) return;
    event.preventDefault();
    point(to);
  });
  const watched = new ResizeObserver(draw);
  watched.observe(box);

  return {
    /** @param {Span[]} series @param {string} name what the line shows, said to those who cannot see it */
    show(series, name) {
      points = toPoints(series);
      const length = Math.max(0, ...points.map(({ from, to }) => to - from));
      const peak = Math.max(0, ...points.map(({ count }) => count));
      title =
        peak === 0
          ? "No plays in this window"
          : points.length === 1
            ? format.plays(peak)
            : `Each point is ${format.length(length)}; at most ${format.plays(peak)}`;
      box.setAttribute("aria-label", `${name}: ${title}. Arrow keys read single spans.`);
      if (read !== null && read >= points.length) read = null;
      say();
      draw();
    },
    stop: () => watched.disconnect(),
  };
}

/** @param {Span[]} series @returns {Point[]} */
function toPoints(series) {
  const now = serverNow();
  return series.map((span) => {
    const from = Date.parse(span.from);
    const to = Date.parse(span.to);
    const until = Math.max(from + 1000, Math.min(to, now));
    return { from, to, until, count: span.view_count, min: span.view_count_min, max: span.view_count_max };
  });
}
