/** `beacon.js` as an ES module: `import { play } from 'https://charts.example/beacon.mjs'`. */
import "./beacon.js";

const { play: count, options } = /** @type {any} */ (window).hitparade;
options.to ||= new URL("plays", import.meta.url).href;

/** Counts one play. @type {typeof import('./beacon.mjs').play} */
export const play = (postId) => count(postId);

/** Sets options; before the first play. @type {typeof import('./beacon.mjs').configure} */
export const configure = (changes) => void Object.assign(options, changes);
