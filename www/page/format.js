/**
 * Numbers and times in the reader's own locale, by the clocks of the installation's zone where it has set one. One
 * formatter of each kind, since making one costs more than using it a thousand times.
 */
import { OWN } from "./own.js";

/** @param {string} [timeZone] the reader's where it is left out */
const zoneOf = (timeZone) => new Intl.DateTimeFormat(undefined, { timeZone }).resolvedOptions().timeZone;

/** A reader whose clock shows other times is told whose these are. @returns {Intl.DateTimeFormatOptions} */
function clocks() {
  try {
    return OWN.zone && zoneOf(OWN.zone) !== zoneOf() ? { timeZone: OWN.zone, timeZoneName: "short" } : {};
  } catch {
    // A browser that does not know the zone shows its own.
    return {};
  }
}

const inZone = clocks();
const { timeZone } = inZone;

const whole = new Intl.NumberFormat();
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const tenth = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const hundredth = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
/** @param {Intl.DateTimeFormatOptions} options */
const time = (options) => new Intl.DateTimeFormat(undefined, options);
const tickClock = time({ hour: "numeric", minute: "2-digit", timeZone });
const weekdayClock = time({ weekday: "short", hour: "numeric", minute: "2-digit", timeZone });
const monthDay = time({ month: "short", day: "numeric", timeZone });
const clock = time({ hour: "numeric", minute: "2-digit", ...inZone });
const clockSeconds = time({ hour: "numeric", minute: "2-digit", second: "2-digit", ...inZone });
const dayClock = time({ month: "short", day: "numeric", hour: "numeric", minute: "2-digit", ...inZone });
const day = time({ year: "numeric", month: "short", day: "numeric", timeZone });
const ago = new Intl.RelativeTimeFormat(undefined, { numeric: "always" });

const DAY_MS = 86_400_000;

/** @param {number} value */
export const count = (value) => whole.format(value);

/** @param {number} plays */
export const plays = (plays) => `${whole.format(plays)} ${plays === 1 ? "play" : "plays"}`;

/** The same where the place is small. @param {number} plays */
export const playsInShort = (plays) => `${short.format(plays)} ${plays === 1 ? "play" : "plays"}`;

/** 15 minutes, 2 hours, 1 day. @param {number} ms */
export function length(ms) {
  const [size, name] = ms % DAY_MS === 0 ? [DAY_MS, "day"] : ms % 3_600_000 === 0 ? [3_600_000, "hour"] : [60_000, "minute"];
  const number = Math.round(ms / size);
  return `${whole.format(number)} ${name}${number === 1 ? "" : "s"}`;
}

/** @param {number} share 0 to 1 */
export const share = (share) => percent.format(share);

/** Plays per second: more digits the slower it is. @param {number} perSecond */
export function rate(perSecond) {
  if (perSecond >= 100) return whole.format(Math.round(perSecond));
  return (perSecond >= 1 ? tenth : hundredth).format(perSecond);
}

/** @param {Date} time */
export const timeOfDay = (time) => clockSeconds.format(time);

/**
 * A span as a person would say it: hours within a day, days beyond.
 * @param {Date} from
 * @param {Date} to
 */
export function span(from, to) {
  const length = to.getTime() - from.getTime();
  if (length > 4 * DAY_MS) return day.formatRange(from, to);
  if (day.format(from) === day.format(to)) return clock.formatRange(from, to);
  return dayClock.formatRange(from, to);
}

/**
 * The days of a period as its own zone counts them; the last moment is not one of them.
 * @param {string} from @param {string} to @param {string} timeZone
 */
export function spanOfDays(from, to, timeZone) {
  const days = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric", timeZone });
  return days.formatRange(new Date(from), new Date(Date.parse(to) - 1));
}

const dayTime = time({ year: "numeric", month: "short", day: "numeric", hour: "numeric", minute: "2-digit", ...inZone });
/** @param {Date} time */
export const dayAndTime = (time) => dayTime.format(time);

/** @param {Date} time @param {number} spanMs how long the axis is that it stands on */
export function tick(time, spanMs) {
  if (spanMs > 4 * DAY_MS) return monthDay.format(time);
  return (spanMs > DAY_MS / 2 ? weekdayClock : tickClock).format(time);
}

/** @param {number} seconds */
export function secondsAgo(seconds) {
  if (seconds < 60) return ago.format(-Math.round(seconds), "second");
  if (seconds < 3600) return ago.format(-Math.round(seconds / 60), "minute");
  if (seconds < 86_400) return ago.format(-Math.round(seconds / 3600), "hour");
  return ago.format(-Math.round(seconds / 86_400), "day");
}
