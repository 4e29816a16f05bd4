/**
 * Why a post rises or is distinctive: the number it is compared with, said beside it.
 * Rising: its plays in the window just before. Distinctive: its share here and worldwide.
 */
import { get } from './api.js';
import * as format from './format.js';
import { GLOBAL } from './state.js';

/**
 * @typedef {import('./api.js').Chart} Chart
 * @typedef {import('./api.js').Entry} Entry
 */

/** What it is compared with moves slowly, and is the longest answer the page asks for. */
const REFRESH_MS = 30_000;
const COMPARED = 1000;

/**
 * @param {import('./state.js').State} state
 * @param {() => void} changed called when there is something new to say
 */
export function createWhy(state, changed) {
  /** @type {Chart | null} */
  let other = null;
  /** @type {Map<string, Entry>} */
  let entries = new Map();
  let askedAt = -Infinity;
  const wanted = state.sort === 'distinctive' || (state.sort === 'rising' && state.timeframe !== 'all');

  /** @param {Chart} chart */
  async function compareWith(chart) {
    if (!wanted || performance.now() - askedAt < REFRESH_MS) return;
    askedAt = performance.now();
    try {
      const { body } = await get(`./top-posts?${state.sort === 'rising' ? before(chart) : worldwide(state)}`);
      other = /** @type {Chart} */ (body);
      entries = new Map(other.top_posts.map((entry) => [entry.post_id, entry]));
      changed();
    } catch {
      // The chart stands without its reasons; they are asked for again later.
    }
  }

  /** @param {Entry} entry @param {Chart} chart @returns {string} */
  function words(entry, chart) {
    if (!other) return '';
    const compared = entries.get(entry.post_id);
    return state.sort === 'rising' ? rise(entry, compared, other) : difference(entry, compared, chart, other);
  }

  return { compareWith, words };
}

/** @param {Chart} chart */
function before({ region, window }) {
  const from = Date.parse(window.from);
  const length = Date.parse(window.to) - from;
  return new URLSearchParams({ region, from: new Date(from - length).toISOString(), to: window.from, k: String(COMPARED) });
}

/** @param {import('./state.js').State} state */
const worldwide = ({ timeframe }) => new URLSearchParams({ region: GLOBAL, timeframe, k: String(COMPARED) });

/** @param {Entry} now @param {Entry | undefined} before @param {Chart} other */
function rise(now, before, other) {
  if (before) {
    const times = now.view_count / Math.max(1, before.view_count);
    return `×${format.rate(times)}, from ${format.count(before.view_count)}`;
  }
  return other.unlisted_max === 0 ? 'from nothing' : `from at most ${format.count(other.unlisted_max)}`;
}

/** @param {Entry} here @param {Entry | undefined} there @param {Chart} chart @param {Chart} other */
function difference(here, there, chart, other) {
  const share = here.view_count / Math.max(1, chart.total_views);
  const worldShare = (there ? there.view_count : other.unlisted_max) / Math.max(1, other.total_views);
  return `${format.share(share)} here, ${there ? '' : 'at most '}${format.share(worldShare)} worldwide`;
}
