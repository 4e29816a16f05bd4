import type { HTMLAttributes, ReactNode } from "react";
import type { Chart, ChartQuestion, ListedPost } from "./hitparade.js";

export type { Chart, ListedPost } from "./hitparade.js";

export interface ChartOptions extends Pick<ChartQuestion, "region" | "timeframe" | "tz" | "k" | "sort" | "tag" | "author" | "published"> {
  /** The address of the installation; in the browser it may be relative to the page. */
  server: string;
  /** What the server loaded, by `new Hitparade(server).topPosts(…)` with the same question. */
  initial?: Chart | null;
  /** Where charts need one. Whoever sees the page sees it. */
  readToken?: string;
}

export interface TopPostsProps extends ChartOptions, Omit<HTMLAttributes<HTMLElement>, "children"> {
  /** What stands in a `<li>`. Default: rank, title (a link where the catalog has one), author, count. */
  renderPost?: (post: ListedPost) => ReactNode;
  /** Instead of an empty list. */
  empty?: ReactNode;
}

/** The chart as it is now; `initial` on the server and until the first one has come. `error`: why the last look failed. */
export function useTopPosts(options: ChartOptions): { chart: Chart | null; error: unknown };

/** A list of the top posts, `<ol class="hitparade">`; other properties go to it. */
export function TopPosts(props: TopPostsProps): ReactNode;
