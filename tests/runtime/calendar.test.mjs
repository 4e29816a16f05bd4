/** Periods of the calendar, in the zone of whoever asks, and in the installation's own. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { read, zone } from "../../src/js/zones.js";
import { ADMIN_TOKEN, Service, eventually, readProblem } from "./harness.mjs";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** The fields of a date, as the clocks of a zone show it. @param {string} timeZone */
const clock = (timeZone) => {
  const shown = new Intl.DateTimeFormat("en-CA", { timeZone, dateStyle: "short" });
  return (/** @type {number} */ ms) => shown.format(ms);
};

/**
 * When a date began in a zone: looked for by the minute, where the service looks at changes of offset.
 * @param {string} date @param {string} timeZone
 */
function midnight(date, timeZone) {
  const shown = clock(timeZone);
  let low = Date.parse(`${date}T00:00:00Z`) - 2 * DAY_MS;
  let high = low + 4 * DAY_MS;
  while (high - low > 60_000) {
    const middle = low + Math.floor((high - low) / 120_000) * 60_000;
    if (shown(middle) >= date) high = middle;
    else low = middle;
  }
  return high;
}

/** @param {string} date @param {(date: Date) => void} change in UTC @returns {string} */
function changed(date, change) {
  const moved = new Date(`${date}T00:00:00Z`);
  change(moved);
  return moved.toISOString().slice(0, 10);
}

/** The first dates of the period before, of the one asked for, and of the next one. @param {string} timeframe @param {string} today */
function dates(timeframe, today) {
  const isLast = /^(yesterday|last-)/.test(timeframe);
  const unit = timeframe.replace(/^(this|last)-/, "");
  /** @param {string} date @param {number} periods */
  const add = (date, periods) =>
    changed(date, (moved) => {
      if (unit === "week") moved.setUTCDate(moved.getUTCDate() + 7 * periods);
      else if (unit === "month") moved.setUTCMonth(moved.getUTCMonth() + periods);
      else if (unit === "year") moved.setUTCFullYear(moved.getUTCFullYear() + periods);
      else moved.setUTCDate(moved.getUTCDate() + periods);
    });
  const running = changed(today, (first) => {
    if (unit === "week") first.setUTCDate(first.getUTCDate() - ((first.getUTCDay() + 6) % 7));
    if (unit === "month" || unit === "year") first.setUTCDate(1);
    if (unit === "year") first.setUTCMonth(0);
  });
  const first = isLast ? add(running, -1) : running;
  return [add(first, -1), first, add(first, 1)];
}

const TIMEFRAMES = ["today", "yesterday", "this-week", "last-week", "this-month", "last-month", "this-year", "last-year"];
const KATHMANDU = "Asia/Kathmandu";

describe("the calendar of an installation in Kathmandu", { timeout: 240_000 }, () => {
  /** @type {Service} */
  let service;
  /** A play each twelve hours, for 400 days: each day has its own number. */
  const NOW_MS = Date.now();
  const plays = Array.from({ length: 798 }, (_, half) => NOW_MS - 60_000 - half * (DAY_MS / 2));
  before(async () => {
    service = await Service.start({ TIME_ZONE: KATHMANDU });
    // What comes before its shard knows of days is recorded by the quarter of an hour.
    await service.send([{ post_id: "all", region_id: "EU", timestamp: NOW_MS - 1_000 }]);
    await eventually(async () => assert.equal((await service.topPosts({ timeframe: "all" })).total_views, 1));
    await service.send(plays.map((timestamp) => ({ post_id: "all", region_id: "EU", timestamp })));
    await eventually(async () => assert.equal((await service.topPosts({ timeframe: "all" })).total_views, plays.length + 1));
  });
  after(() => service?.dispose());

  const count = (/** @type {number} */ from, /** @type {number} */ to) =>
    [NOW_MS - 1_000, ...plays].filter((ms) => from <= ms && ms < to).length;

  for (const timeframe of TIMEFRAMES) {
    test(`${timeframe} has its own plays and no others, from midnight to midnight`, async () => {
      const [, from, to] = dates(timeframe, clock(KATHMANDU)(Date.now())).map((date) => midnight(date, KATHMANDU));
      const chart = await service.topPosts({ timeframe, region: "EU" });
      assert.deepEqual([chart.timeframe, chart.time_zone], [timeframe, KATHMANDU]);
      // Of a year, what lies more than 800 days ago is gone.
      assert.equal(chart.window.from, new Date(from).toISOString().replace(".000Z", "Z"));
      assert.ok(Date.parse(chart.window.to) <= to, chart.window.to);
      if (to <= Date.now()) assert.equal(Date.parse(chart.window.to), to);
      assert.equal(chart.total_views, count(from, Math.min(to, Date.now())));
    });
  }

  test("a period that is over is compared with the one before it, a running one with the whole last one", async () => {
    for (const timeframe of ["yesterday", "this-week", "this-month"]) {
      const chart = await service.topPosts({ timeframe, region: "EU", sort: "rising" });
      const [before, from] = dates(timeframe, clock(KATHMANDU)(Date.now())).map((date) => midnight(date, KATHMANDU));
      const { window } = chart.compared_with;
      assert.deepEqual([Date.parse(window.from), Date.parse(window.to)], [before, from], timeframe);
      assert.equal((await service.topPosts({ timeframe, region: "EU" })).top_posts[0].previous_rank, 1);
    }
  });

  test("another zone's days are exact for two days, and what was before then says what it covers", async () => {
    for (const tz of ["America/New_York", "Australia/Lord_Howe", "America/St_Johns", "UTC"]) {
      const today = clock(tz)(Date.now());
      for (const timeframe of ["today", "yesterday"]) {
        const [, from, to] = dates(timeframe, today).map((date) => midnight(date, tz));
        const chart = await service.topPosts({ timeframe, tz, region: "EU" });
        assert.equal(Date.parse(chart.window.from), from, `${timeframe} in ${tz}`);
        assert.equal(chart.time_zone, tz);
        assert.equal(chart.total_views, count(from, Math.min(to, Date.now())));
      }
      const [, from] = dates("last-month", today).map((date) => midnight(date, tz));
      const chart = await service.topPosts({ timeframe: "last-month", tz, region: "EU" });
      const covered = [chart.window.from, chart.window.to].map((text) => Date.parse(text));
      assert.ok(covered[0] <= from && from - covered[0] < DAY_MS, chart.window.from);
      assert.equal(chart.total_views, count(covered[0], covered[1]), "exactly what it says");
    }
  });

  test("from alone is until now, and days are those of tz", async () => {
    const today = clock(KATHMANDU)(Date.now());
    const since = await service.topPosts({ from: today });
    assert.equal(Date.parse(since.window.from), midnight(today, KATHMANDU));
    assert.equal(since.timeframe, null);
    const [, from, to] = dates("yesterday", clock("America/New_York")(Date.now()));
    const day = await service.topPosts({ from, to, tz: "America/New_York" });
    assert.deepEqual(
      [day.window.from, day.window.to].map((text) => Date.parse(text)),
      [from, to].map((date) => midnight(date, "America/New_York")),
    );
  });

  test("one post has its yesterday, too", async () => {
    const [, from, to] = dates("yesterday", clock(KATHMANDU)(Date.now())).map((date) => midnight(date, KATHMANDU));
    const post = await service.post("all", { timeframe: "yesterday" });
    assert.deepEqual([post.timeframe, post.time_zone, post.view_count], ["yesterday", KATHMANDU, count(from, to)]);
    const { series } = post;
    assert.deepEqual([Date.parse(series[0].from), Date.parse(series.at(-1).to)], [from, to]);
  });

  test("what no calendar has is refused, and an empty period is empty", async () => {
    for (const [query, code] of [
      ["timeframe=today&tz=Mars/Olympus", "bad_tz"],
      ["timeframe=24h&tz=Europe", "bad_tz"],
      ["timeframe=today&tz=%2B01:00", "bad_tz"],
      [`timeframe=today&tz=${"x".repeat(1_000)}`, "bad_tz"],
      ["timeframe=today&timezone=UTC", "bad_tz"],
      ["timeframe=tomorrow", "bad_timeframe"],
      ["timeframe=next-week", "bad_timeframe"],
      ["from=2026-02-30", "bad_window"],
      ["from=2026-W54", "bad_window"],
      ["from=2999-01-01", "bad_window"],
      ["to=2026-11-01", "bad_window"],
      ["from=2011-12-30&to=2011-12-31&tz=Pacific/Apia", "bad_window"],
    ]) {
      const problem = await readProblem(await service.fetch(`/top-posts?${query}`), 400);
      assert.equal(problem.code, code, query);
    }
    const empty = await service.topPosts({ timeframe: "last-year", region: "AF" });
    assert.deepEqual([empty.total_views, empty.top_posts], [0, []]);
  });

  test("what was counted by the days of one zone stays so when the installation moves to another", async () => {
    const [, from, to] = dates("last-month", clock(KATHMANDU)(Date.now())).map((date) => midnight(date, KATHMANDU));
    const before = await service.topPosts({ timeframe: "last-month", region: "EU" });
    await service.terminate();
    service.environment.TIME_ZONE = "America/New_York";
    await service.launch();
    assert.equal(before.total_views, count(from, to));
    // What was not folded yet comes with the next pushes.
    await eventually(async () => {
      const after = await service.topPosts({ timeframe: "last-month", region: "EU", tz: KATHMANDU });
      assert.deepEqual([after.window, after.total_views], [before.window, before.total_views]);
    });
    const own = await service.topPosts({ timeframe: "today", region: "EU" });
    assert.equal(own.time_zone, "America/New_York");
    assert.equal(Date.parse(own.window.from), midnight(clock("America/New_York")(Date.now()), "America/New_York"));
  });

  test("an export says where its days begin", async () => {
    const lines = [];
    for (let page = "/export"; page;) {
      const exported = await service.fetch(page, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
      assert.equal(exported.status, 200);
      lines.push(...(await exported.text()).split("\n"));
      page = /<([^>]*)>; rel="next"/.exec(exported.headers.get("link") ?? "")?.[1] ?? "";
    }
    const days = lines.findIndex((line) => line.includes('"kind":"days"'));
    assert.ok(days > 0 && days < lines.findIndex((line) => line.includes('"kind":"pane"')), "before the panes");
    const { eras } = JSON.parse(lines[days]);
    assert.deepEqual(
      eras.map((/** @type {any} */ era) => era.zone.name),
      [KATHMANDU, "America/New_York"],
    );
  });
});

test("a zone that is none is told before anybody relies on it", async () => {
  await assert.rejects(
    Service.start({ TIME_ZONE: "Mars/Olympus" }).then((service) => service.dispose()),
    /TIME_ZONE must be the name of a zone/,
  );
});

test("no zone changes twice within the step in which changes are looked for", () => {
  const from = Date.UTC(2023, 0);
  const to = Date.UTC(2029, 0);
  for (const name of Intl.supportedValuesOf("timeZone")) {
    const lines = read(name, from, to).split("\n");
    const at = lines.slice(1).map((line) => Number(line.split(" ")[0]));
    assert.ok(at.length <= 32, name);
    // By the day: whatever changed and changed back between two steps shows.
    const offset = clockOffset(name);
    let known = Number(lines[0]);
    for (let ms = from, next = 0; ms < to; ms += DAY_MS) {
      while (next < at.length && at[next] <= ms) known = Number(lines[++next].split(" ")[1]);
      assert.equal(offset(ms), known, `${name} at ${new Date(ms).toISOString()}`);
    }
  }
});

/** @param {string} timeZone */
function clockOffset(timeZone) {
  const shown = new Intl.DateTimeFormat("en-US", { timeZone, timeZoneName: "longOffset" });
  return (/** @type {number} */ ms) => {
    const [, sign, hours, minutes, seconds] = /GMT(?:([+-])(\d+):(\d+)(?::(\d+))?)?$/.exec(shown.format(ms)) ?? [];
    const size = Number(hours ?? 0) * 3_600 + Number(minutes ?? 0) * 60 + Number(seconds ?? 0);
    return sign === "-" ? -size : size;
  };
}

test("names of zones are those of the tz database, in any case, and offsets are none", () => {
  const now = Date.UTC(2026, 10);
  assert.equal(zone("europe/BERLIN", now), zone("Europe/Berlin", now));
  for (const none of ["", "Mars/Olympus", "+01:00", "Europe", "UTC+1"]) assert.equal(zone(none, now), undefined, none);
  for (let number = 0; number < 5_000; number++) assert.equal(zone(`No/Zone${number}`, now), undefined);
  assert.equal(zone("UTC", now), "0");
});
