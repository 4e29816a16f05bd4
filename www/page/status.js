/**
 * How fresh the page is, said plainly: live, polling, stale, offline, unreachable, paused.
 * Changes of kind are announced once; the seconds that pass are not.
 */
import { serverNow } from "./api.js";
import * as format from "./format.js";

/** The service promises a play in the chart within 10 s; three times that is not live any more. */
const NOT_LIVE_AFTER_MS = 30_000;

/** @typedef {'loading' | 'live' | 'stale' | 'offline' | 'error'} Kind */

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @param {import('./api.js').RequestFailed} error */
function inShort({ status }) {
  if (status === 0) return "Not reachable";
  if (status === 401) return "Locked";
  if (status === 429 || status === 503) return "Busy";
  return status < 500 ? "No chart" : "In trouble";
}

export function createStatus() {
  /** @type {number | null} */
  let asOf = null;
  /** @type {import('./api.js').RequestFailed | null} */
  let trouble = null;
  let over = "polling";
  let announced = "";

  function kind() {
    if (!navigator.onLine) return "offline";
    if (trouble !== null) return "error";
    if (asOf === null) return "loading";
    return serverNow() - asOf > NOT_LIVE_AFTER_MS ? "stale" : "live";
  }

  function show() {
    const now = kind();
    const age = asOf === null ? null : Math.max(0, serverNow() - asOf) / 1000;
    const when = age === null ? "" : age < 5 ? "just now" : format.secondsAgo(age);
    const words = {
      loading: "Connecting",
      live: `Live, ${when}`,
      stale: `Stale, ${when}`,
      offline: "Offline",
      error: trouble ? inShort(trouble) : "",
    }[now];
    const pill = element("status");
    pill.dataset.kind = now;
    pill.title = asOf === null ? "" : `As of ${format.timeOfDay(new Date(asOf))}, over ${over}`;
    element("status-text").textContent = words;
    document.documentElement.dataset.freshness = now;
    announce(now);
  }

  /** @param {Kind} now */
  function announce(now) {
    const toast = element("toast");
    const shown = asOf === null ? "" : ` What you see is from ${format.timeOfDay(new Date(asOf))}.`;
    const words = {
      loading: "",
      live: "",
      stale: `The service has nothing newer.${shown}`,
      offline: `You are offline.${shown} The chart goes on when you are back.`,
      error: `${trouble?.message ?? ""}${shown} Trying again by itself.`,
    }[now];
    const key = now + (now === "error" ? words : "");
    if (key === announced) return;
    announced = key;
    // Before the first chart the panel in its place says all this at length.
    toast.hidden = words === "" || asOf === null;
    toast.dataset.kind = now;
    toast.textContent = toast.hidden ? "" : words;
  }

  setInterval(show, 1000);
  window.addEventListener("online", show);
  window.addEventListener("offline", show);

  return {
    /** @param {string} time @param {string} source */
    fresh(time, source) {
      asOf = Date.parse(time);
      over = source;
      trouble = null;
      show();
    },
    alive() {
      trouble = null;
      show();
    },
    current() {
      asOf = serverNow();
      show();
    },
    /** @param {import('./api.js').RequestFailed} error */
    failed(error) {
      trouble = error;
      show();
    },
    reset() {
      asOf = null;
      trouble = null;
      show();
    },
  };
}
