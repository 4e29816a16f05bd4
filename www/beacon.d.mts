/** Everything is optional; the attributes of the script, as strings. */
export interface Options extends How {
  /** Where plays go. Default: `plays` beside the beacon's own file. Must be given where a bundler has taken it in. */
  to: string;
  /** Any value, `''` too: what could not be sent outlives the tab. */
  persist?: string;
  /** Any value, `''` too: counts nothing for those who ask by Do Not Track or Global Privacy Control. */
  dnt?: string;
  /**
   * Hosts whose pages count nothing, with commas or spaces between them; `localhost` is this machine by all its names,
   * and files. Default: `localhost`, but where the service is on this machine too.
   */
  ignore?: string;
}

/** How a play counts, or all plays of a page. */
export interface How {
  /** `session`: a post counts once in this tab. */
  once?: "session" | (string & {});
  /** Boards that it counts on, at most 8, with spaces between them. Default: `main`. */
  board?: string;
}

/**
 * Counts one play of a post: 1 to 256 bytes of UTF-8, no control characters. Returns at once, never throws. Calls for
 * one post and the same boards within a second are one play.
 */
export function play(postId: string, how?: How): void;

/** Sets options; before the first play. */
export function configure(changes: Partial<Options>): void;

declare global {
  interface Window {
    /** What the script gives a page without modules. */
    hitparade?: { play: typeof play; options: Options };
  }
  interface Document {
    readonly prerendering?: boolean;
  }
}
