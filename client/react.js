"use client";
/**
 * A chart in React: rendered on the server from `initial`, live in the browser.
 *
 *   // on the server (a loader, a page of Next.js, an entry of Vite)
 *   const initial = await new Hitparade(url).topPosts({ region: "EU", k: 10 });
 *   // anywhere
 *   <TopPosts server={url} region="EU" k={10} initial={initial} />
 *
 * Without `initial` it renders an empty list and loads in the browser. What comes from the chart goes in as text.
 */
import { createElement as h, useEffect, useState } from "react";
import { Hitparade } from "./hitparade.js";

/** The same on the server and in the browser, whatever their locales are: else React throws the list away. @param {number} count */
const grouped = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, "\u202f");

/** @param {import("./react.js").ListedPost} post */
function usual({ rank, post_id, content, author, url, view_count }) {
  const title = content || post_id;
  const isAddress = /^https?:\/\//i.test(url ?? "");
  return [
    h("span", { key: "rank", className: "hitparade-rank" }, rank),
    " ",
    isAddress
      ? h("a", { key: "title", className: "hitparade-title", href: url, dir: "auto" }, title)
      : h("span", { key: "title", className: "hitparade-title", dir: "auto" }, title),
    author ? h("span", { key: "author", className: "hitparade-author", dir: "auto" }, " ", author) : null,
    " ",
    h("span", { key: "count", className: "hitparade-count" }, grouped(view_count)),
  ];
}

/** @type {typeof import("./react.js").useTopPosts} */
export function useTopPosts({ server, region, timeframe, tz, k, sort, tag, author, published, initial, readToken }) {
  const name = JSON.stringify([server, region, timeframe, tz, k, sort, tag, author, published, readToken]);
  const [state, setState] = useState({ name, chart: initial ?? null, error: /** @type {unknown} */ (null) });
  useEffect(() => {
    const hitparade = new Hitparade(new URL(server, document.baseURI), { readToken });
    return hitparade.live(
      { region, timeframe, tz, k, sort, tag, author, published },
      (chart) => setState({ name, chart, error: null }),
      (error) => setState((before) => ({ name, chart: before.name === name ? before.chart : null, error })),
    );
  }, [name]);
  // Until another chart has come, the one before is not passed off as it.
  return state.name === name ? { chart: state.chart, error: state.error } : { chart: initial ?? null, error: null };
}

/** @type {typeof import("./react.js").TopPosts} */
export function TopPosts({
  server,
  region,
  timeframe,
  tz,
  k = 10,
  sort,
  tag,
  author,
  published,
  initial,
  readToken,
  renderPost = usual,
  empty = null,
  ...rest
}) {
  const { chart } = useTopPosts({ server, region, timeframe, tz, k, sort, tag, author, published, initial, readToken });
  const posts = chart?.top_posts ?? [];
  if (posts.length === 0 && empty) return h("div", rest, empty);
  return h(
    "ol",
    { "aria-label": `Top ${k}`, ...rest, className: ["hitparade", rest.className].filter(Boolean).join(" ") },
    posts.map((post) => h("li", { key: post.post_id }, renderPost(post))),
  );
}
