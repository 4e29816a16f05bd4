/**
 * Lines that somebody keeps until he hears that they are on disk: what `omprog` of rsyslog does with `confirmMessages`, one
 * line at a time. (Not with `useTransactions`: rsyslog 8.2302 loses lines of a transaction in which its program ends.)
 *
 * When this program ends before its `OK` was heard, that line comes again, first of all. So the spool keeps a hash of the
 * last line, and at a start the same one is passed over. That tells it from a new one if no two lines are equal:
 * see docs/ingest.md.
 */
import { createHash } from "node:crypto";

export class Confirmed {
  #spool;
  #confirm;
  #isFirst = true;
  /** Of the line that was confirmed last. @type {string | undefined} */
  #last;
  #hash = "";

  /** @param {import("./spool.mjs").Spool} spool @param {((text: string) => void) | null} confirm null: nobody waits for that */
  constructor(spool, confirm) {
    [this.#spool, this.#confirm] = [spool, confirm];
  }

  /** For the spool. */
  get place() {
    return this.#last;
  }

  begin() {
    if (!this.#confirm) return;
    this.#last = this.#spool.place?.confirmed;
    // This tells rsyslog that somebody is there.
    this.#confirm("OK");
  }

  /** @param {import("./lines.mjs").Line} line @returns {boolean} it was taken before: it is answered */
  isOver({ bytes }) {
    if (!this.#confirm) return false;
    this.#hash = createHash("sha256")
      .update(bytes ?? "")
      .digest("base64url");
    const isOver = this.#isFirst && this.#hash === this.#last;
    this.#isFirst = false;
    if (isOver) this.#confirm("OK");
    return isOver;
  }

  /** The line that was asked about last has become these plays. @param {string[]} texts as JSON */
  taken(texts) {
    if (!this.#confirm) return;
    this.#spool.append({ texts, hash: this.#hash });
    this.#last = this.#hash;
    this.#confirm("OK");
  }
}
