/**
 * What an installation has made its own: its settings say it (`PAGE_TITLE` and those after it in
 * wrangler.toml), and the service then answers another file under this name. This one is how the pages
 * are where nothing is set.
 *
 * @typedef {{ title: string, region: string, timeframe: string, figures: string[], regions: boolean }} Own
 */

/** @type {Own} */
export const OWN = { title: "Hitparade", region: "global", timeframe: "24h", figures: ["plays", "rate", "window"], regions: true };
