/** Reading `GET /metrics`. */
import { setTimeout as sleep } from "node:timers/promises";

/** What the Worker was told serves for a second. */
const KEPT_MS = 1_100;
/** Busy shards tell their figures with their pushes, every 5 s; quiet ones are asked for theirs by a chart, as often. */
const TOLD_MS = 7_000;

/** The figures when every shard has told what it has done until now. @param {string} url of the server */
export async function readSettledMetrics(url) {
  await sleep(TOLD_MS - KEPT_MS);
  const chart = await fetch(`${url}/top-posts?timeframe=1h&k=1`);
  if (!chart.ok) throw new Error(`GET /top-posts: ${chart.status} ${await chart.text()}`);
  return readMetrics(url);
}

/** The figures of the Worker and the global object now, of shards as of their last pushes. @param {string} url */
export async function readMetrics(url) {
  await sleep(KEPT_MS);
  const answer = await fetch(`${url}/metrics`);
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`GET /metrics: ${answer.status} ${text}`);
  return new Metrics(text);
}

export class Metrics {
  /** @type {Map<string, number>} name with labels to value */
  samples = new Map();

  /** @param {string} text in Prometheus' format */
  constructor(text) {
    for (const line of text.split("\n")) {
      if (line && !line.startsWith("#")) this.samples.set(line.replace(/ [^ ]+$/, ""), Number(line.split(" ").pop()));
    }
  }

  /** The sum over all labels. @param {string} name */
  total(name) {
    const found = [...this.samples].filter(([sample]) => sample === name || sample.startsWith(`${name}{`));
    return found.reduce((sum, [, value]) => sum + value, 0);
  }
}
