/**
 * What an installation has made its own: its settings say it (`PAGE_TITLE` and those after it in
 * wrangler.toml, and `TIME_ZONE`), and the service then answers another file under this name. This one is
 * how the pages are where nothing is set.
 *
 * @typedef {object} Own
 * @property {string} title
 * @property {string} region
 * @property {string} timeframe
 * @property {string[]} figures
 * @property {boolean} regions
 * @property {string} [accent] on light paper: `own.css` has both
 * @property {string} [zone] whose days and times are shown; the reader's own where there is none
 */

/** @type {Own} */
export const OWN = { title: "Hitparade", region: "global", timeframe: "24h", figures: ["plays", "rate", "window"], regions: true };
