/**
 * Days, weeks and months by their names, as people say them.
 *
 * @typedef {'day' | 'week' | 'month'} Kind
 */

const NAMES = {
  day: { one: "day", several: "Days", explain: "The most played of each day" },
  week: { one: "week", several: "Weeks", explain: "The most played of each week, Monday to Sunday" },
  month: { one: "month", several: "Months", explain: "The most played of each month" },
};

/** @param {Kind} kind */
export const namesOf = (kind) => NAMES[kind];

const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });
const month = new Intl.DateTimeFormat(undefined, { month: "long", year: "numeric", timeZone: "UTC" });

/** `2026-W47`, `2026-11-23`, `2026-11`; what is none of these stays as it is. @param {string} period */
export function periodInWords(period) {
  const [, year, week, monthOf, dayOf] = /^(\d{4})-(?:W(\d\d)|(\d\d)(?:-(\d\d))?)$/.exec(period) ?? [];
  if (week) return `Week ${Number(week)} of ${year}`;
  if (!monthOf) return period === "latest" ? "Latest" : period;
  const date = new Date(Date.UTC(Number(year), Number(monthOf) - 1, Number(dayOf ?? 1)));
  return (dayOf ? day : month).format(date);
}

/** In as few letters as an axis has room for. @param {string} period */
export const periodInShort = (period) => period.replace(/^\d{4}-/, "");
