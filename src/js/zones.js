/**
 * What the clocks of a zone show, read from the platform's `Intl`, which knows it for a moment only:
 * changes are found by bisection. Each zone is looked at once in the life of an isolate.
 */

const MINUTE_MS = 60_000;
/** No zone has two changes within a week: tests/runtime/calendar.test.mjs looks at each, by the day. */
const STEP_MS = 7 * 24 * 60 * MINUTE_MS;
/** Panes are kept for 800 days, and a span may end 400 days ahead. */
const YEARS_BEFORE = 3;
const YEARS_AFTER = 3;

/** Of a name that is not known yet, one look costs some 50 µs; of a zone, all looks some 2 ms. */
const MAX_NAMES = 1_024;

/** @type {Map<string, string>} how the platform calls the zone of a name, as it was asked for; "" where there is none */
const names = new Map();
/** What was found of each zone, and for which year. There are as many as the tz database has, some 450. @type {Map<string, {year: number, text: string}>} */
const zones = new Map();

/**
 * A zone, a line each: the seconds by which its clocks are ahead of UTC at first, and each change:
 * when, in milliseconds since 1970, and the seconds from then on.
 * @param {string} name as of the tz database, in any case
 * @param {number} now_ms
 * @returns {string | undefined} none where there is no such zone
 */
export function zone(name, now_ms) {
  let canonical = names.get(name);
  if (canonical === undefined) {
    if (names.size >= MAX_NAMES) names.clear();
    names.set(name, (canonical = canonicalName(name)));
  }
  if (canonical === "") return undefined;
  const year = new Date(now_ms).getUTCFullYear();
  let known = zones.get(canonical);
  if (known?.year !== year) {
    known = { year, text: read(canonical, Date.UTC(year - YEARS_BEFORE, 0), Date.UTC(year + YEARS_AFTER, 0)) };
    zones.set(canonical, known);
  }
  return known.text;
}

/** @param {string} name */
function canonicalName(name) {
  try {
    // An offset such as +01:00 is a zone to newer platforms, which has no place.
    return /^[A-Za-z]/.test(name) ? clock(name).resolvedOptions().timeZone : "";
  } catch {
    return "";
  }
}

/** @param {string} timeZone */
const clock = (timeZone) =>
  new Intl.DateTimeFormat("en-US", {
    timeZone,
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  });

/**
 * @param {string} name @param {number} from_ms @param {number} to_ms
 */
export function read(name, from_ms, to_ms) {
  const shown = clock(name);
  /** @param {number} ms a whole second */
  const offset_s = (ms) => {
    // "11/26/2026, 15:04:05"
    const [month, day, year, hour, minute, second] = shown.format(ms).match(/\d+/g)?.map(Number) ?? [];
    return (Date.UTC(year, month - 1, day, hour, minute, second) - ms) / 1_000;
  };
  let before_s = offset_s(from_ms);
  const lines = [`${before_s}`];
  for (let step_ms = from_ms; step_ms < to_ms; step_ms += STEP_MS) {
    const next_ms = Math.min(step_ms + STEP_MS, to_ms);
    const after_s = offset_s(next_ms);
    if (after_s === before_s) continue;
    // Clocks change on whole minutes.
    let [low_ms, high_ms] = [step_ms, next_ms];
    while (high_ms - low_ms > MINUTE_MS) {
      const middle_ms = low_ms + Math.floor((high_ms - low_ms) / 2 / MINUTE_MS) * MINUTE_MS;
      if (offset_s(middle_ms) === before_s) low_ms = middle_ms;
      else high_ms = middle_ms;
    }
    lines.push(`${high_ms} ${after_s}`);
    before_s = after_s;
  }
  return lines.join("\n");
}
