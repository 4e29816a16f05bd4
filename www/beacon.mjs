/** `beacon.js` as an ES module: `import { play } from 'https://charts.example/beacon.mjs'`. */
import "./beacon.js";
import "./beacon-elements.js";

const { play: count, options } = /** @type {any} */ (window).hitparade;
// What a bundler has taken in, a `.js`, is from the page's own host, which takes no plays: `configure({ to })` says who does.
if (new URL(import.meta.url).pathname.endsWith(".mjs")) options.to ||= new URL("plays", import.meta.url).href;

/** Counts one play. @type {typeof import('./beacon.mjs').play} */
export const play = (postId, how) => void count(postId, how);

/** Sets options; before the first play. @type {typeof import('./beacon.mjs').configure} */
export const configure = (changes) => void Object.assign(options, changes);
