/**
 * The operator's page: whether everything is taken, pushed and fresh; the five figures to watch, what
 * each means and what helps; what was refused, by reason. It reads `/healthz` and `/metrics`, and
 * nothing else.
 */
import { WRONG_KEY, keptInTab } from "./api.js";
import { isAttended } from "./attention.js";
import * as format from "./format.js";
import { maxOf, parseMetrics, quantileOf, sumOf } from "./metrics.js";
import { meaningOf } from "./reasons.js";

/** @typedef {import('./metrics.js').Sample} Sample */
/** @typedef {'good' | 'watch' | 'bad' | 'unknown'} Level */
/** @typedef {{ title: string, value: string, level: Level, means: string, helps: string }} Check */

const EVERY_MS = 10_000;
const TIMEOUT_MS = 10_000;
const MEMORY_BYTES = 96 * 2 ** 20;
/** From there on panes have the least room that there is (`TIGHT_BYTES` in src/global/room.rs). */
const MOST_STORED_SHARE = 0.4;
const token = keptInTab("hitparade-metrics-token");
/** Of the board that the page's address names. */
const BOARD = new URLSearchParams(location.search).get("board");
const METRICS = BOARD ? `./metrics?${new URLSearchParams({ board: BOARD })}` : "./metrics";

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** What was counted when the page was opened. @type {Map<string, number> | null} */
let before = null;
/** @type {{ at: number, plays: number } | null} */
let last = null;

/** @param {string} path */
async function ask(path) {
  const headers = token.get() ? { Authorization: `Bearer ${token.get()}` } : undefined;
  return fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
}

async function look() {
  if (document.visibilityState !== "visible") return;
  try {
    const [health, metrics] = await Promise.all([ask("./healthz"), ask(METRICS)]);
    if (metrics.status === 401) return lock();
    if (!metrics.ok) throw new Error((await metrics.json().catch(() => ({}))).detail ?? `The service answered ${metrics.status}.`);
    show(await health.json().catch(() => ({})), parseMetrics(await metrics.text()));
    say("live", `As of ${format.timeOfDay(new Date())}`);
  } catch (error) {
    say("error", "Not reachable");
    if (!before)
      verdict(
        "The service does not answer",
        error instanceof Error && error.name === "Error" ? error.message : "It is tried again every few seconds.",
      );
  }
}

/** @param {string} kind @param {string} words */
function say(kind, words) {
  element("asked").dataset.kind = kind;
  element("asked-text").textContent = words;
}

/** @param {string} title @param {string} words */
function verdict(title, words) {
  for (const [id, text] of [
    ["verdict", title],
    ["explain", words],
  ]) {
    // Also what stays as it is would be read aloud.
    if (element(id).textContent !== text) element(id).textContent = text;
  }
}

function lock() {
  say("error", "Locked");
  verdict("Status", token.get() ? WRONG_KEY : "");
  element("locked").hidden = false;
  element("figures").hidden = true;
}

/** @param {{ status?: unknown, detail?: string }} health @param {Sample[]} samples */
function show(health, samples) {
  element("locked").hidden = true;
  element("figures").hidden = false;
  const checks = checksOf(health, samples);
  const wrong = checks.filter(({ level }) => level === "bad" || level === "watch");
  const titles = wrong.map(({ title }) => title.toLowerCase()).join(", ");
  if (wrong.length === 0) verdict("All is well", "Plays are taken, pushed, and in charts within seconds.");
  else verdict(wrong.some(({ level }) => level === "bad") ? "Something is wrong" : "Something to watch", `Look at: ${titles}.`);
  element("checks").replaceChildren(...checks.map(drawn));
  showRefused(samples);
}

/** @param {number | null} value @param {number} watch from there on @param {number} bad @returns {Level} */
const levelOf = (value, watch, bad) => (value === null ? "unknown" : value >= bad ? "bad" : value >= watch ? "watch" : "good");

/** @param {{ status?: unknown, detail?: string }} health @param {Sample[]} samples @returns {Check[]} */
function checksOf(health, samples) {
  const plays = sumOf(samples, "plays_total");
  const at = performance.now() / 1000;
  const perSecond = last && plays >= last.plays ? (plays - last.plays) / Math.max(1, at - last.at) : null;
  last = { at, plays };
  const pushed = maxOf(samples, "push_age_seconds");
  const waits = maxOf(samples, "outbox_age_seconds");
  const isUp = maxOf(samples, "global_up") !== 0;
  const age = quantileOf(samples, "chart_age_seconds", 0.99);
  const lost =
    sumOf(samples, "global_gaps_total") +
    sumOf(samples, "damaged_rows") +
    sumOf(samples, "global_damaged_rows") +
    sumOf(samples, "global_damaged_regions");
  const memory = (maxOf(samples, "allocated_bytes") ?? 0) / MEMORY_BYTES;
  const stored = maxOf(samples, "global_stored_share") ?? 0;
  const catalog = maxOf(samples, "global_catalog_share") ?? 0;
  const fullest = Math.max(memory, stored / MOST_STORED_SHARE, catalog);
  const seconds = (/** @type {number} */ value) =>
    value < 120 ? `${format.count(Math.round(value))} s` : `${format.count(Math.round(value / 60))} min`;
  return [
    {
      title: "Plays taken",
      value:
        health.status !== "ok"
          ? "Refused"
          : perSecond !== null
            ? `${format.rate(perSecond)} a second`
            : plays > 0
              ? `${format.count(plays)} so far`
              : "None lately",
      level: health.status === "ok" ? "good" : "bad",
      means:
        health.status === "ok"
          ? "Acknowledged plays are on disk. Counted since each shard woke: one to which none come sleeps."
          : String(health.detail ?? ""),
      helps: 'curl -i ./healthz says why; the log says more. A region that is busy takes more shards: PUT /regions/NA {"shards": 4}.',
    },
    {
      title: "Pushed",
      value: pushed === null ? "Nothing to push" : seconds(pushed),
      level: levelOf(Math.max(pushed ?? 0, (waits ?? 0) / 60), 30, 60),
      means: `How long ago a shard with plays last reached the charts, the slowest of all: 5 to 10 s are usual, 0 where little is played: such shards push by the quarter of an hour, and when somebody looks at a chart.${waits !== null && waits > 120 ? ` The oldest play that waited: ${seconds(waits)}.` : ""} What waits is kept for 7 days.`,
      helps: "One shard: its log says why. All shards: the global object is away or too slow.",
    },
    {
      title: "Charts fresh",
      value: !isUp ? "Stale" : age === null ? "No chart yet" : age === Infinity ? "Over a minute" : `${format.count(age)} s or less`,
      level: isUp ? levelOf(age, 10, 60) : "bad",
      means: "How old 99 of 100 charts are when they are shown, since the start: under 3 s is usual.",
      helps: "If they grow old, too much is asked for at once: fewer different charts, or ones that are asked for again.",
    },
    {
      title: "Lost or damaged",
      value: format.count(lost),
      level: lost > 0 ? "bad" : "good",
      means: "Panes that cannot be filled any more, and stored rows that cannot be read. Always 0.",
      helps: "Was a release rolled back by more than one? Forward again, and all is read. Else restore a backup: npm run restore.",
    },
    {
      title: "Room",
      value: `${format.share(fullest)} used`,
      level: levelOf(fullest, 0.7, 0.9),
      means: `The fullest of memory (${format.share(memory)}), storage (${format.share(stored / MOST_STORED_SHARE)}) and catalog (${format.share(catalog)}).`,
      helps: "Memory: fewer large batches side by side. Storage: shorter ids, or fewer days (RETENTION_DAYS). Catalog: shorter texts.",
    },
  ];
}

/** @param {Check} check */
function drawn({ title, value, level, means, helps }) {
  const item = document.createElement("li");
  item.dataset.level = level;
  const words = { good: "Well", watch: "Watch", bad: "Wrong", unknown: "Not known yet" }[level];
  const make = (/** @type {string} */ tag, /** @type {string} */ className, /** @type {string} */ text) => {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    return made;
  };
  item.append(make("h2", "", title), make("p", "value", value), make("p", "level", words), make("p", "means", means));
  if (level === "bad" || level === "watch") item.append(make("p", "helps", helps));
  return item;
}

/** @param {Sample[]} samples */
function showRefused(samples) {
  const counted = samples.filter(({ name }) => name === "hitparade_problems_total" || name === "hitparade_rejected_plays_total");
  const now = new Map(counted.map(({ name, labels, value }) => [`${name.includes("plays") ? "play" : "request"} ${labels.code}`, value]));
  before ??= now;
  const rows = [...now]
    .map(([key, all]) => ({ key, all, lately: Math.max(0, all - (before?.get(key) ?? 0)) }))
    .filter(({ all }) => all > 0);
  rows.sort((a, b) => b.lately - a.lately || b.all - a.all);
  element("refused-note").textContent = rows.length
    ? "Counted by the instance that answers: all there is on one machine, a sample on Cloudflare."
    : "Nothing was refused since the start.";
  element("refused").replaceChildren(
    ...rows.map(({ key, all, lately }) => {
      const [kind, code] = key.split(" ");
      const row = document.createElement("tr");
      const reason = document.createElement("th");
      reason.scope = "row";
      reason.append(Object.assign(document.createElement("code"), { textContent: code }), kind === "play" ? " (plays)" : "");
      row.append(
        reason,
        ...[
          ["While you look", format.count(lately)],
          ["Since the start", format.count(all)],
          ["", meaningOf(code)],
        ].map(([label, text]) => {
          const cell = Object.assign(document.createElement("td"), { textContent: text });
          // On a phone there is no head to read it from.
          cell.dataset.label = label;
          return cell;
        }),
      );
      return row;
    }),
  );
  /** @type {HTMLElement} */ (element("refused").closest(".scroll")).hidden = rows.length === 0;
}

element("key").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = /** @type {HTMLFormElement} */ (event.target);
  token.set(String(new FormData(form).get("token")));
  look();
});
document.addEventListener("visibilitychange", look);
setInterval(() => isAttended() && look(), EVERY_MS);
look();
