/** What would come in: for `--dry-run`. */
const MOST_POSTS = 100_000;
const SHOWN = 10;
/** The service takes no older ones, with the token (src/play/mod.rs). */
const MAX_AGE_TRUSTED_MS = 400 * 86_400_000;

const countOf = (/** @type {number} */ number, /** @type {string} */ what) => `${number} ${what}${number === 1 ? "" : "s"}`;

class Preview {
  #plays = 0;
  #lines = 0;
  #old = 0;
  #from = Infinity;
  #to = -Infinity;
  /** @type {Map<string, number>} */
  #posts = new Map();
  #isFull = false;

  /** @param {import("./readers.mjs").Play} play */
  add({ post_id, count = 1, timestamp = Date.now() }) {
    const ms = typeof timestamp === "number" ? timestamp : Date.parse(timestamp);
    this.#lines++;
    this.#plays += count;
    if (ms < Date.now() - MAX_AGE_TRUSTED_MS) this.#old += count;
    this.#from = Math.min(this.#from, ms);
    this.#to = Math.max(this.#to, ms);
    const id = String(post_id);
    if (this.#posts.size < MOST_POSTS || this.#posts.has(id)) this.#posts.set(id, (this.#posts.get(id) ?? 0) + count);
    else this.#isFull = true;
  }

  /** @returns {string[]} */
  inWords() {
    if (this.#lines === 0) return ["No plays would come in."];
    const time = (/** @type {number} */ ms) => (Number.isFinite(ms) ? new Date(ms).toISOString() : "an unknown time");
    const top = [...this.#posts].sort(([, a], [, b]) => b - a).slice(0, SHOWN);
    return [
      `${countOf(this.#plays, "play")} of ${this.#isFull ? "over " : ""}${countOf(this.#posts.size, "post")} would come in, from ${time(this.#from)} to ${time(this.#to)}:`,
      ...top.map(([id, count]) => `  ${String(count).padStart(10)}  ${id}`),
      ...(this.#old > 0 ? [`! ${this.#old} of them are over 400 days old: the service refuses those`] : []),
    ];
  }
}

/**
 * Reads all of an input.
 * @param {{next: (end: number) => Promise<import("./lines.mjs").Line[] | null>}} lines
 * @param {ReturnType<typeof import("./pump.mjs").takerOf>} take
 * @returns {Promise<string[]>} what would come in of it
 */
export async function preview(lines, take) {
  const found = new Preview();
  // What stands before the end of these is kept no longer.
  for (let some, end = 0; (some = await lines.next(end)); end = some[some.length - 1].end)
    for (const line of some) for (const play of take(line).plays) found.add(play);
  return found.inWords();
}
