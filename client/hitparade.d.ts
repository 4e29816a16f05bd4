/** One event: a post (song, article, video) was played or viewed. The rules of each field: docs/api.md. */
export interface Play {
  /** 1 to 256 bytes. A whole number stands for its digits. */
  post_id: string | number;
  /** Only with the ingest token; without it, plays count where the request arrives. */
  region_id?: string;
  /** Milliseconds since 1970, or RFC 3339. Default: when `send` was called. */
  timestamp?: number | string;
  /** Default 1; more only with the ingest token. */
  count?: number;
  /** The board where it counts. Default: `main`. */
  board?: string;
  /** Or several, at most 8: it counts once on each. */
  boards?: string[];
}

export interface Rejected {
  /** Of the play, among those given to `send`. */
  index: number;
  /** A stable word, such as `bad_post_id`. */
  code: string;
  /** For people. */
  detail: string;
  /** The board that does not count it; others may. Left out where none does. */
  board?: string;
}

export interface Options {
  /** Makes the sender trusted: a server, an importer. Never in a page. */
  ingestToken?: string;
  /** Where charts need one. */
  readToken?: string;
  /** Instead of the global `fetch`. */
  fetch?: typeof globalThis.fetch;
  /** Instead of the global `WebSocket`, for `live`; where there is none (`null`), `live` looks every 5 s. */
  WebSocket?: typeof globalThis.WebSocket | null;
  /** Called before each wait for another attempt at sending, with why. */
  onRetry?: (why: string) => void;
}

export interface Question {
  /** A board's id. Default: `main`. */
  board?: string;
  /** A region's id. Default: `global`. */
  region?: string;
  /** `15m`, `1h`, `24h`, `7d`, `30d`, `all`, …, or a period of the calendar: `today`, `last-week`, …. Default: `24h`. */
  timeframe?: string;
  /** Whose days, weeks and months these are: `Europe/Berlin`. */
  tz?: string;
  window?: "tumbling";
  /** Without `to`, until now. A day, `2026-11-23`, is its midnight in `tz`. */
  from?: Date | string;
  to?: Date | string;
  /** Gives up. */
  signal?: AbortSignal;
}

export interface ChartQuestion extends Question {
  /** 1 to 1,000. Default: 10. */
  k?: number;
  sort?: "views" | "rising" | "distinctive";
  /** Of posts that have all of these tags, at most 4. */
  tag?: string | string[];
  /** Of posts that have none of these, at most 2. */
  exclude_tag?: string | string[];
  author?: string;
  /** Of posts published in the last `24h`, `7d`, …. */
  published?: string;
}

export interface ListedPost {
  rank: number;
  previous_rank: number | null;
  post_id: string;
  author: string | null;
  content: string | null;
  url: string | null;
  image: string | null;
  /** Absent where it has none. */
  tags?: string[];
  view_count: number;
  view_count_min: number;
  view_count_max: number;
  certain: boolean;
  /** Of `rising` and `distinctive`: by which factor it is played more often for sure, and the counts of the other side. */
  compared?: { times: number; view_count: number; view_count_min: number; view_count_max: number };
}

/** The answer of `GET /top-posts`. */
export interface Chart {
  board: string;
  region: string;
  /** Null of a span. */
  timeframe: string | null;
  /** Of a period of the calendar. */
  time_zone?: string;
  sort: string;
  /** Absent where the chart is of all posts. */
  filter?: { tag?: string[]; exclude_tag?: string[]; author?: string; published?: string };
  window: { from: string; to: string };
  as_of: string;
  total_views: number;
  unlisted_max: number;
  /** Of `rising` and `distinctive`: the other side, the window before or everywhere else. */
  compared_with?: { region: string; elsewhere: boolean; window: { from: string; to: string }; total_views: number };
  /** Plays may be missing. */
  incomplete?: boolean;
  /** The last answer that there was: the service has no newer one. */
  stale?: boolean;
  top_posts: ListedPost[];
}

/** The answer of `GET /posts/{post_id}`. */
export interface Post {
  post_id: string;
  author: string | null;
  content: string | null;
  url: string | null;
  image: string | null;
  tags: string[];
  timestamp: string | null;
  hidden: boolean;
  region: string;
  /** Null of a span. */
  timeframe: string | null;
  /** Of a period of the calendar. */
  time_zone?: string;
  window: { from: string; to: string };
  view_count: number;
  view_count_min: number;
  view_count_max: number;
  /** Null beyond 1,000. */
  rank: number | null;
  /** Plays may be missing. */
  incomplete?: boolean;
  series: { from: string; to: string; view_count: number; view_count_min: number; view_count_max: number }[];
  regions: { region_id: string; view_count: number; view_count_min: number; view_count_max: number }[];
}

/** An answer that is not the one that was asked for, or none. */
export class HitparadeError extends Error {
  /** Of the answer; 0 where there was none. */
  status: number;
  /**
   * The stable word of the answer; or one of the client: `no_answer`, `closed`, `full`, and `too_old_to_repeat`
   * where plays were sent again for 15 minutes without an answer: whether they were counted is not known.
   */
  code: string;
}

export class Hitparade {
  /** @param url of the installation, such as `https://charts.example` */
  constructor(url: string | URL, options?: Options);

  /** A chart. Throws {@link HitparadeError}. */
  topPosts(question?: ChartQuestion): Promise<Chart>;

  /** One post; null where it was never played and is not in the catalog, or is hidden. Throws {@link HitparadeError}. */
  post(id: string | number, question?: Question): Promise<Post | null>;

  /**
   * A chart now and whenever it has changed, by a socket or by looking every 5 s.
   * @param onError told why a look failed; it goes on all the same
   * @returns stops it
   */
  live(question: ChartQuestion, onChart: (chart: Chart) => void, onError?: (error: unknown) => void): () => void;

  /**
   * Sends plays, each counted once: they go out after a second, or when there are enough for a batch, and are sent again
   * under the batch's name until there is an answer.
   *
   * At most 100,000 plays wait in a client; beyond that, the promise is rejected with `full`. What waits goes with the
   * program: where it must not, `npx hitparade send` keeps it in a file.
   * @returns when all of these are durable, or were rejected one by one; `accepted` are those that count on one board at
   *   least
   */
  send(plays: Play | Play[]): Promise<{ accepted: number; rejected: Rejected[] }>;

  /** Sends now what waits for others to go with. Resolves when nothing waits any more. */
  flush(): Promise<void>;

  /** As `flush`, for so long; then gives up, ends what is live, and takes nothing more. */
  close(limits?: { withinMs?: number }): Promise<void>;
}

/** How long after its first attempt the service takes a batch again, in milliseconds. */
export const HORIZON_MS: number;

/** How long to wait after so many failures in a row (from 1), drawn by chance, in milliseconds. */
export function retryInMs(failures: number): number;

/** How much fits into a batch, of plays for several boards and regions. `send` sees to it by itself. */
export class Extent {
  /** @param most plays; default: what the service takes at once with the ingest token */
  constructor(most?: number);
  /** Whether there is room for these, too. */
  has(...plays: Play[]): boolean;
  add(play: Play): void;
}

/** A batch that never changes any more. `send` makes them by itself; for senders that keep them elsewhere. */
export interface SealedBatch {
  /** 1 to 64 bytes; with `seq` the batch's name. */
  client: string;
  seq: number;
  /** The sender's clock at the first attempt, in milliseconds; the same in each. */
  sent: number;
  /** What the last answer said when the batch was sealed. */
  home?: string | null;
  /** Or the array as JSON. */
  plays: Play[] | string;
}

export type Answer =
  | { outcome: "counted"; accepted: number; rejected: Rejected[]; repeated: boolean; home: string | null }
  /** Send it again, with the same `sent`. `unheard`: nobody has heard of it yet, so that it was not counted for sure. */
  | { outcome: "again"; status: number; code: string; why: string; afterMs: number; unheard: boolean; home: string | null }
  /** Nothing of it was counted, and a repeat would be answered the same. */
  | { outcome: "refused"; status: number; code: string; why: string; rejected: Rejected[]; home: string | null };

/** One attempt at sending a sealed batch. Never throws. */
export function attempt(
  url: string,
  batch: SealedBatch,
  options?: { token?: string; fetch?: typeof globalThis.fetch; signal?: AbortSignal },
): Promise<Answer>;
