/**
 * The elements of a page that are plays: what `data-post` names, on anything that is seen, on audio and video that are
 * heard or seen. Pages that have some load this beside `beacon.js`, which counts.
 *
 * A page view is what an address (path and query) shows. A post that is seen counts once in it, whatever becomes of its
 * element: pages replace elements when they come alive, lists when they scroll. Audio and video count again when they
 * have ended, or have played another post.
 */
(() => {
  const scope = /** @type {any} */ (window);
  const hitparade = scope.hitparade;
  if (!hitparade || hitparade.isHeard) return;
  /** Looked at so often; what comes much later than that was asleep meanwhile. */
  const TICK_MS = 1e3;
  const LONGEST_TICK_MS = 3e3;

  /** @typedef {{ key: string, ms: number, turn: number, done?: boolean }} View a post in a page view: how long it was noticed, and in which turn last */
  /** An element keeps its view while it keeps its post: it does not count again because the address changes. @type {WeakMap<Element, View>} */
  const viewOf = new WeakMap();
  /** Those of this page view, which elements that come later share. @type {Map<string, View>} */
  const views = new Map();
  let address = "";
  let turn = 0;
  let lastTick = 0;

  /** @param {any} media */
  const isAudible = (media) => !media.paused && !media.ended && !media.muted && media.volume > 0;
  /** @param {any} element */
  const isNoticed = (element) => {
    if (element.paused || element.ended) return false;
    if ("paused" in element && isAudible(element)) return true;
    const { top, bottom, left, right } = element.getBoundingClientRect();
    const isWithin = (/** @type {number} */ twice, /** @type {number} */ length) => twice > 0 && twice < 2 * length;
    // Its middle is in the window. What is not laid out has its middle at zero.
    return !document.hidden && isWithin(top + bottom, innerHeight) && isWithin(left + right, innerWidth);
  };

  /** @param {HTMLElement} element @param {string} key what tells a post that is heard from one that is seen */
  const viewBy = (element, key) => {
    let view = viewOf.get(element);
    if (view?.key !== key) {
      // A player that goes on to another post has ended this one.
      if (view && "paused" in element) views.delete(view.key);
      view = views.get(key) ?? { key, ms: 0, turn: 0 };
      views.set(key, view);
      viewOf.set(element, view);
    }
    return /** @type {View} */ (view);
  };

  /** @param {unknown} [stopped] a player that played until now, or whatever else brings a look about */
  const tick = (stopped) => {
    const now = performance.now();
    const passedMs = Math.min(now - lastTick, LONGEST_TICK_MS);
    lastTick = now;
    turn++;
    if (document.prerendering) return;
    const here = location.pathname + location.search;
    if (here !== address) views.clear();
    address = here;
    const page = /** @type {HTMLElement | null} */ (document.querySelector("script[data-post][src]"));
    for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-post]"))) {
      const { post, after } = element.dataset;
      if (!post || element.localName === "script") continue;
      const isMedia = "paused" in element;
      // What the page itself is a play of is counted with the page.
      if (!isMedia && post === page?.dataset.post) continue;
      const view = viewBy(element, isMedia + post);
      if (view.done || !(isNoticed(element) || (element === stopped && view.turn === turn - 1))) continue;
      // Several elements of a post are one view of it.
      if (view.turn === turn - 1) view.ms += passedMs;
      view.turn = turn;
      if (view.ms >= hitparade.readMs(after)) {
        view.done = true;
        hitparade.play(post, element.dataset);
      }
    }
  };

  /** Whether anything on the page is heard: then the page counts in the background too. */
  hitparade.isHeard = () => [...document.querySelectorAll("audio,video")].some(isAudible);
  setInterval(tick, TICK_MS);
  // A module that brings this knows only then where plays go.
  setTimeout(tick);
  document.addEventListener("visibilitychange", tick);
  // Before a short sound is over; and before it begins again.
  document.addEventListener("playing", tick, true);
  document.addEventListener("pause", ({ target }) => tick(target), true);
  document.addEventListener(
    "ended",
    ({ target }) => {
      const media = /** @type {Element} */ (target);
      tick(media);
      const view = viewOf.get(media);
      if (view) views.delete(view.key);
      viewOf.delete(media);
    },
    true,
  );
})();
