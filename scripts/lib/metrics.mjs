/** Reading `GET /metrics`. */

/** @param {string} url of the server */
export async function readMetrics(url) {
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
