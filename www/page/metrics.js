/**
 * Figures in Prometheus' text format, as `/metrics` answers them.
 *
 * @typedef {{ name: string, labels: Record<string, string>, value: number }} Sample
 */

/** @param {string} text @returns {Sample[]} */
export function parseMetrics(text) {
  return text.split("\n").flatMap((line) => {
    const [, name, labels = "", value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (!name) return [];
    const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, text]) => [
      key,
      text.replace(/\\(.)/g, (_, letter) => (letter === "n" ? "\n" : letter)),
    ]);
    return [{ name, labels: Object.fromEntries(pairs), value: Number(value) }];
  });
}

/** @param {Sample[]} samples @param {string} name without `hitparade_` */
const valuesOf = (samples, name) => samples.filter((sample) => sample.name === `hitparade_${name}`).map(({ value }) => value);

/** @param {Sample[]} samples @param {string} name */
export const sumOf = (samples, name) => valuesOf(samples, name).reduce((sum, value) => sum + value, 0);

/** The largest; null where there is none. @param {Sample[]} samples @param {string} name */
export function maxOf(samples, name) {
  const values = valuesOf(samples, name);
  return values.length ? Math.max(...values) : null;
}

/**
 * The bound under which such a share of a histogram's values is; null where it has none.
 * @param {Sample[]} samples @param {string} name @param {number} share 0 to 1
 */
export function quantileOf(samples, name, share) {
  const buckets = samples
    .filter((sample) => sample.name === `hitparade_${name}_bucket`)
    .sort((a, b) => Number(a.labels.le.replace("+Inf", "Infinity")) - Number(b.labels.le.replace("+Inf", "Infinity")));
  const all = buckets.at(-1)?.value ?? 0;
  const bucket = buckets.find(({ value }) => value >= share * all);
  return all > 0 && bucket ? Number(bucket.labels.le.replace("+Inf", "Infinity")) : null;
}
