/**
 * The rows of a benchmark, as a table or as JSON lines, on standard output.
 *
 * @typedef {object} Row
 * @property {string} name
 * @property {number} value
 * @property {string} unit
 * @property {number | null} must
 * @property {number | null} aim
 * @property {boolean | null} holds null where there is no limit
 * @property {boolean} reached whether the aim holds too
 */
import { cpus } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

export class Report {
  /** @type {Row[]} */
  rows = [];

  /**
   * @param {string} name
   * @param {number} value
   * @param {string} unit
   * @param {{must?: number, atLeast?: number, aim?: number}} [limits] `must`: at most so much
   */
  add(name, value, unit, { must, atLeast, aim } = {}) {
    const limit = must ?? atLeast;
    const within = (bound) => (atLeast === undefined ? value <= bound : value >= bound);
    const reached = aim !== undefined && within(aim);
    this.rows.push({
      name,
      value,
      unit,
      must: limit ?? null,
      aim: aim ?? null,
      holds: limit === undefined ? null : within(limit),
      reached,
    });
  }

  /**
   * @param {{json: boolean, title: string, command: string, notes?: string[]}} how
   * @returns {boolean} whether every limit holds
   */
  print({ json, title, command, notes = [] }) {
    if (json) {
      for (const { reached: _, ...row } of this.rows) console.log(JSON.stringify(row));
    } else {
      console.log(`\n${title}\n${command} · ${machine()} · ${new Date().toISOString().slice(0, 10)}\n`);
      const line = (cells) =>
        console.log(
          `${cells[0].padEnd(58)} ${cells
            .slice(1, 4)
            .map((cell) => cell.padStart(9))
            .join(" ")}  ${cells[4]}`,
        );
      line(["", "measured", "must", "aim", ""]);
      for (const { name, value, unit, must, aim, holds, reached } of this.rows) {
        const judged = holds === null ? "" : holds ? (reached ? "holds, aim reached" : "holds") : "MISSED";
        line([name, `${short(value)} ${unit}`, short(must), short(aim), judged]);
      }
      for (const note of notes) console.log(note);
    }
    return this.rows.every(({ holds }) => holds !== false);
  }
}

const short = (value) => (value === null ? "" : String(Number(value.toPrecision(3))));

export function machine() {
  return `${cpus().length} × ${cpus()[0]?.model.trim() || "unknown processor"}, Node ${process.versions.node}`;
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

/**
 * The processor time that `work` takes, in milliseconds: what others on this machine do costs
 * nothing.
 * @param {() => void} work
 */
export function cpuMs(work) {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** Lets the engine finish what it compiles and collects in the background. */
export const settle = () => sleep(300);
