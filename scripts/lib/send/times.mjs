/** Times as they stand in logs and tables. */

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

/** @typedef {{ms: number, isDay: boolean}} Moment a day stands for its noon (UTC), so that it is that day in most places */

/**
 * Milliseconds or seconds since 1970, RFC 3339, a log's `26/Nov/2026:08:00:00 +0100`, or a day. Where no zone is named it is UTC.
 * @param {string} text
 * @param {"" | "dmy" | "mdy"} [order] of days that are written `1/2/2026`
 * @returns {Moment | null} null where it is none of these, or could be two of them
 */
export function momentOf(text, order = "") {
  const word = text.trim();
  if (/^\d{13}$/.test(word)) return { ms: Number(word), isDay: false };
  if (/^\d{9,10}(\.\d+)?$/.test(word)) return { ms: Math.round(Number(word) * 1_000), isDay: false };
  let found = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)? ?(Z|UTC|[+-]\d\d:?\d\d)?)?$/i.exec(word);
  if (found) return momentFrom(found[1], found[2], found[3], found.slice(4));
  found = /^(\d{4})(\d\d)(\d\d)$/.exec(word);
  if (found) return momentFrom(found[1], found[2], found[3], []);
  found = /^(\d\d)\/([A-Z][a-z]{2})\/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-]\d{4})$/.exec(word);
  if (found) return momentFrom(found[3], String(MONTHS.indexOf(found[2]) + 1), found[1], [found[4], found[5], found[6], "", found[7]]);
  found = /^(\d{1,2})([./])(\d{1,2})\2(\d{4})$/.exec(word);
  if (!found) return null;
  // With dots, the day comes first wherever this is written.
  const dayFirst = found[2] === "." || order === "dmy";
  if (!dayFirst && order !== "mdy") return null;
  return momentFrom(found[4], dayFirst ? found[3] : found[1], dayFirst ? found[1] : found[3], []);
}

/** @param {string[]} time its parts; none for a day @returns {Moment | null} */
function momentFrom(year, month, day, time) {
  const [hour, minute, second = "0", fraction = "", zone = "Z"] = time;
  const midnight = Date.UTC(Number(year), Number(month) - 1, Number(day));
  const date = new Date(midnight);
  // 31 November is no day.
  if (date.getUTCMonth() !== Number(month) - 1 || date.getUTCDate() !== Number(day)) return null;
  if (hour === undefined) return { ms: midnight + DAY_MS / 2, isDay: true };
  const [hours, minutes, seconds] = [hour, minute, second].map(Number);
  if (hours > 24 || minutes > 59 || seconds > 60) return null;
  const [, sign, zoneHours, zoneMinutes] = /^([+-])(\d\d):?(\d\d)$/.exec(zone) ?? ["", "+", "0", "0"];
  const aheadMs = (sign === "-" ? -1 : 1) * (Number(zoneHours) * 60 + Number(zoneMinutes)) * MINUTE_MS;
  const ms = midnight + (hours * 60 + minutes) * MINUTE_MS + seconds * 1_000 + Math.floor(Number(`0.${fraction || 0}`) * 1_000);
  return { ms: ms - aheadMs, isDay: false };
}

/** A day that is not over stands for now at the latest: the service takes nothing from the future. @param {Moment} moment */
export const timestampOf = ({ ms, isDay }, now = Date.now()) => (isDay ? Math.min(ms, Math.max(now, ms - DAY_MS / 2)) : ms);
