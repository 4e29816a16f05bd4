/**
 * Why a post rises or is distinctive: what the service compared it with, said beside it.
 * Rising: its plays in the window just before, and in this one. Distinctive: its share of the plays
 * here and elsewhere.
 */
import * as format from "./format.js";

/**
 * @typedef {import('./api.js').Chart} Chart
 * @typedef {import('./api.js').Entry} Entry
 */

/** @param {Entry} entry @param {Chart} chart @returns {string} empty where nothing was compared */
export function whyOf({ view_count: here, compared }, { total_views: all, compared_with: other }) {
  if (!compared || !other) return "";
  if (other.elsewhere) {
    const elsewhere = compared.view_count / Math.max(1, other.total_views);
    return `${format.share(here / Math.max(1, all))} here, ${format.share(elsewhere)} elsewhere`;
  }
  return `${format.count(compared.view_count)} \u2192 ${format.count(here)}`;
}
