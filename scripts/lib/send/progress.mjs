/** How far it is: at a terminal one line that changes, elsewhere a line now and then. */
import { say } from "../say.mjs";

const LINE_INTERVAL_MS = 30_000;
const TERMINAL_INTERVAL_MS = 500;

export class Progress {
  #isTerminal = process.stderr.isTTY;
  #timer;
  #shown = "";

  /** @param {() => string} inWords */
  constructor(inWords) {
    const show = () => {
      const text = inWords();
      if (this.#isTerminal) process.stderr.write(`\r\x1b[K▸ ${text}`.slice(0, 4 + (process.stderr.columns ?? 80)));
      else if (text !== this.#shown) say(`▸ ${text}`);
      this.#shown = text;
    };
    this.#timer = setInterval(show, this.#isTerminal ? TERMINAL_INTERVAL_MS : LINE_INTERVAL_MS);
  }

  /** @param {string} text a line of its own */
  say(text) {
    if (this.#isTerminal) process.stderr.write("\r\x1b[K");
    say(text);
  }

  end() {
    clearInterval(this.#timer);
    if (this.#isTerminal && this.#shown) process.stderr.write("\r\x1b[K");
    this.#shown = "";
  }
}
