/** Everything is optional; the attributes of the script, as strings. */
export interface Options {
  /** Where plays go. Default: `plays` beside the beacon's own file. */
  to: string;
  /** `session`: a post counts once in this tab. */
  once?: "session" | (string & {});
  /** Any value, `''` too: what could not be sent outlives the tab. */
  persist?: string;
  /** Any value, `''` too: counts nothing for those who ask by Do Not Track or Global Privacy Control. */
  dnt?: string;
}

/** Counts one play of a post: 1 to 256 bytes of UTF-8, no control characters. Returns at once, never throws. */
export function play(postId: string): void;

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
