/**
 * The WordPress plugin with PHP as Debian has it and a real installation. Of WordPress there are the functions that it calls
 * (wordpress/stand-ins.php): hooks, options, cron and escaping, as they do it.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ROOT } from "../../scripts/lib/paths.mjs";
import { ADMIN_TOKEN, Service, eventually } from "../runtime/harness.mjs";

describe("the WordPress plugin", { timeout: 60_000 }, () => {
  /** @type {Service} */
  let service;
  let seen;
  before(async () => {
    service = await Service.start();
    await service.send([
      { post_id: "7", region_id: "EU", count: 1_234 },
      { post_id: "10", region_id: "EU", count: 3 },
      { post_id: "12", region_id: "EU", count: 2 },
    ]);
    await eventually(async () => assert.equal((await service.topPosts({ region: "EU", timeframe: "all" })).total_views, 1_239));
    const plugin = join(ROOT, "integrations", "wordpress", "hitparade.php");
    const scenario = join(ROOT, "tests", "pipelines", "wordpress", "scenario.php");
    // Every warning of PHP is an error here.
    const php = spawnSync("php", ["-d", "error_reporting=-1", "-d", "display_errors=stderr", scenario, plugin, service.url, ADMIN_TOKEN], {
      encoding: "utf8",
    });
    assert.equal(php.stderr, "");
    seen = JSON.parse(php.stdout);
  });
  after(() => service?.dispose());
  const card = async (id) => {
    const answer = await service.fetch(`/posts/${id}`, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
    return answer.status === 200 ? answer.json() : null;
  };

  test("does nothing before it is set up, but tell the editor of its block", () => {
    assert.deepEqual(seen.without, [0, ""]);
    assert.ok(seen.block);
  });

  test("keeps what fits of what is entered, and never shows a token", () => {
    assert.deepEqual(seen.settings, {
      url: service.url,
      after: "10s",
      dnt: true,
      admin_token: ADMIN_TOKEN,
      read_token: "",
      types: ["post", "page"],
    });
    assert.deepEqual([seen.kept, seen.forgotten], [true, ""]);
    assert.deepEqual([seen.bad_url[0], seen.bad_url[1].length], ["", 1]);
    assert.deepEqual(seen.page, [true, 2, 2]);
  });

  test("is for who may manage options, with a nonce", () => {
    assert.deepEqual(seen.stranger, ["", "You may not do this."]);
    assert.equal(seen.forged, "wrong nonce");
    assert.match(seen.send_all, /^redirected to https:\/\/blog\.example\/wp-admin\//);
  });

  test("tells the beacon which post a page is, and none of one behind a password", () => {
    const [source, tag] = seen.beacon;
    assert.equal(source, `${service.url}/beacon.js`);
    assert.equal(
      tag,
      `<script data-post="8&quot; onload=&quot;x" data-after="10s" data-dnt src="${service.url}/beacon.js" async></script>`,
    );
    assert.equal(seen.beacon_of_secret, false);
  });

  test("sends a card when a post changes, once, as plain text that fits", async () => {
    assert.equal(seen.scheduled, 1);
    assert.deepEqual(seen.meta, { 7: { _hitparade: "shown" }, 10: { _hitparade: "shown" } });
    const { content, author, url, image, timestamp } = await card(7);
    assert.deepEqual(
      { content, author, url, image, timestamp: Date.parse(timestamp) },
      {
        content: "Fish & “Chips“",
        author: "Ada Lovelace",
        url: "https://blog.example/?p=7",
        image: "https://blog.example/7.jpg",
        timestamp: 1_790_000_000_000,
      },
    );
    const long = await card(10);
    assert.deepEqual([long.content, long.image], ["é".repeat(512), null]);
  });

  test("hides what is not public any more, and what is gone", async () => {
    assert.deepEqual(seen.hidden_meta, { _hitparade: "hidden" });
    for (const id of [12, 13]) assert.equal((await card(id)).hidden, true, String(id));
    // Back again, as it was this plugin that had hidden it.
    assert.equal((await card(14)).hidden, false);
    await eventually(async () => {
      const { top_posts } = await service.topPosts({ region: "EU", timeframe: "all" });
      assert.deepEqual(
        top_posts.map(({ post_id }) => post_id),
        ["7", "10"],
      );
    });
  });

  test("sends the cards of all posts by pages, and a card that was not taken later", async () => {
    // 450 and the few before in threes of 200, and one that finds none.
    assert.equal(seen.pages, 3);
    assert.equal((await card(1_449)).content, "Post 1449");
    assert.ok(seen.again_in_s >= 55 && seen.again_in_s <= 60, String(seen.again_in_s));
  });

  test("says how far the sending of all cards is, and what stopped it", () => {
    // 450, and those of before that are public.
    assert.match(seen.sending[0], /^All cards were sent: 4\d\d\.$/);
    assert.deepEqual(seen.sending.slice(1), [
      "Cards are being sent; 0 so far.",
      "0 cards were sent, then no more: the admin token is missing, or the installation refuses it",
    ]);
    assert.ok(seen.said);
  });

  test("hides what is not public any more as soon as it may, whatever stood in the way", async () => {
    assert.deepEqual(seen.waiting, [2, 0, 0]);
    assert.ok(seen.last_try_in_s > 3_600 && seen.last_try_in_s < 6 * 3_600, String(seen.last_try_in_s));
    for (const id of [20, 21, 22, 23]) assert.equal((await card(id))?.hidden, true, String(id));
  });

  test("hides what it has shown, also of a type that counts no more", async () => {
    const nothingCounts = "1 cards were sent, then no more: nothing is chosen that counts";
    assert.deepEqual(seen.deselected, [["24", "26"], 2, 0, true, 0, nothingCounts, 0]);
    for (const [id, isHidden] of Object.entries({ 24: true, 25: true, 26: true, 27: false, 28: true })) {
      assert.equal((await card(id)).hidden, isHidden, id);
    }
    assert.equal(await card(29), null);
  });

  test("hides what was taken back while its card was on its way, and shows what was published then", async () => {
    assert.deepEqual(seen.meanwhile, [0, 0]);
    for (const id of [33, 34, 35]) assert.equal((await card(id)).hidden, true, String(id));
    assert.ok(!(await card(36)).hidden);
  });

  test("says of which cards the installation refused some, and sends those of posts without a time and of old ones", async () => {
    const [said, posts, isNoted, old] = seen.refused;
    assert.equal(
      said,
      `Cards were sent: ${posts - 1}. Refused were 1, such as that of 32: timestamp is milliseconds since 1970 or RFC 3339`,
    );
    assert.deepEqual([isNoted, old], [false, { _hitparade: "shown" }]);
    for (const [id, content] of Object.entries({ 30: "without a time", 31: "of an old newspaper" })) {
      const { content: found, timestamp } = await card(id);
      assert.deepEqual([found, timestamp], [content, null]);
    }
  });

  test("shows the chart from a cache, also while nobody answers, escaped", () => {
    assert.match(
      seen.chart,
      /^<ol class="hitparade wp-block-hitparade-top-posts"><li><a href="https:\/\/blog\.example\/\?p=7">Fish &amp; “Chips“<\/a> <span class="hitparade-author">Ada Lovelace<\/span> <span class="hitparade-count">1,234<\/span><\/li>/,
    );
    assert.deepEqual([seen.again, seen.asked], [true, 1]);
    assert.ok(seen.month, "a period of the calendar is asked for as well");
    assert.deepEqual(seen.window, ["last-week", "90d", "24h", "24h"]);
    // Nobody answers: one asks, and what there was stays.
    assert.deepEqual(seen.nothing, ["", "", 1]);
    assert.match(seen.stale, /<li>&lt;img onerror=x&gt; <span class="hitparade-author">&quot;&gt;&lt;b&gt;<\/span>/);
  });
});
