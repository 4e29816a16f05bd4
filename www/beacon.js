/**
 * The producer in every browser: counts each play once, or says nothing.
 *
 *   <script async src="https://charts.example/beacon.js" data-post="song-123" data-after="30s"></script>
 *   <audio data-post="song-123" data-after="30s" src="…"></audio>
 *   hitparade.play('song-123')
 *
 * `beacon.mjs` is the same as an ES module. `data-` attributes of the script:
 *
 * | attribute | what |
 * |---|---|
 * | `post` | on the script: this page is a play of that post. On any element: seeing its middle is; on audio and video: playing it is |
 * | `after` | only after so long of visible or audible time: `500ms`, `30s`, `2m`. Also on elements |
 * | `once` | `session`: a post counts once in this tab, however often it is reloaded. Also on elements |
 * | `board` | the boards that plays count on, with spaces between them; else `main`. Also on elements |
 * | `ignore` | hosts of pages that count nothing. `localhost`: this machine by all its names, and files |
 * | `persist` | keeps what could not be sent in `localStorage`: outlives the tab and days offline, for plays under a day old: the service refuses older ones |
 * | `dnt` | counts nothing for those who ask by Do Not Track or Global Privacy Control |
 * | `to` | where plays go, if not to `plays` beside this file |
 *
 * A page view is what an address (path and query) shows. A post that is seen counts once in it, whatever becomes of
 * its element; one that is played counts again when it has ended. `?hitparade=off` on a page keeps this browser from
 * being counted by that site, `?hitparade=on` lets it be counted again.
 *
 * Plays are sealed into batches of 50, or of 2 s. A sealed batch never changes: a random name made by this page,
 * a number, its home (which shard of the service decides about it, wherever it arrives), the time of its first
 * attempt, its plays. It stays in the outbox until the service has answered, is tried
 * again under the same name, by the next page too, and the service counts the name once. After 15 minutes the service
 * could have forgotten the name, so the batch is dropped instead. That clock starts at the first attempt; without
 * `persist` at the sealing, since a tab that is duplicated takes a copy of its outbox along.
 *
 * Runs in browsers since 2020 (ES2021: Chrome 85, Firefox 79, Safari 14); what came later is not needed.
 */
(() => {
  /** So small that the outbox of a burst fits what browsers let a closing page send (64 KiB). */
  const BATCH_PLAYS = 50;
  const BATCH_MS = 2000;
  /** With ids of 256 bytes this is 1 MB, a fifth of what a browser stores for an origin. */
  const OUTBOX_BATCHES = 64;
  const HORIZON_MS = 9e5;
  const TIMEOUT_MS = 15e3;
  const SLOWEST_RETRY_MS = 6e4;
  /** Looked at so often; what comes much later than that was asleep meanwhile, or nobody's view. */
  const TICK_MS = 1e3;
  const LONGEST_TICK_MS = 3e3;
  /** Looks between two requests for the file of elements: all bits set. */
  const REST_TICKS = 63;
  /** What calls for a post so soon again is an effect that ran twice. */
  const TWICE_MS = 1e3;
  const KEY = "hitparade.";
  const ONCE = "hitparade once";
  const OFF = "hitparade off";

  const scope = /** @type {any} */ (window);
  if (scope.hitparade) return;
  const script = /** @type {HTMLScriptElement | null} */ (document.currentScript);
  /** Empty in a module, which says by itself where plays go. */
  const source = script?.src ?? "";
  /**
   * `home`: where batches are at home that are sealed from now on, in the service's own words. It puts the first one
   * into this text.
   * @type {import('./beacon.mjs').Options & { home: string }}
   */
  const options = { home: "", to: source && new URL("plays", source).href, ...script?.dataset };
  const name = crypto.getRandomValues(new Uint32Array(4)).join();
  let number = 0;
  /** @type {{ post_id: string, timestamp: number, boards?: string[] }[]} */
  let open = [];
  /** @type {number | undefined} */
  let sealTimer;
  let failures = 0;
  /** Until then the service wants to be left alone; and until then it is left alone, unless the page is closing. */
  let silentUntil = 0;
  let retryAt = 0;
  /** Browsers that say they are offline are not always right: whether the service was heard since it last was not. */
  let heard = false;
  const flying = new Set();
  const clock = () => performance.now();

  /** @param {string} [text] */
  const words = (text) => /** @type {string[] | undefined} */ (text?.match(/[^\s,]+/g) || undefined);

  /** Storage may be closed, missing or full; then the page's own memory must do. @type {any} */
  const memory = {};
  /** Each thing once. @param {string} text */
  const say = (text) => (memory[text] ||= console.error("hitparade: " + text) ?? 1);
  /** @param {string} [persist] */
  const storage = (persist) => {
    try {
      return (persist == null ? sessionStorage : localStorage) || memory;
    } catch {
      return memory;
    }
  };
  const batches = () => {
    /** @type {any[][]} */
    const found = [];
    for (const store of [memory, storage(options.persist)]) for (const key in store) if (key.startsWith(KEY)) found.push([store, key]);
    return found;
  };

  /** @param {any} store @param {string} key @param {unknown} batch */
  const put = (store, key, batch) => {
    const text = JSON.stringify(batch);
    try {
      // What is full has no room for more, and would keep what was tried as untried.
      delete store[key];
      store[key] = text;
    } catch {
      memory[key] = text;
    }
  };

  const seal = () => {
    // A timer that is still under way seals early what comes next, and loses nothing.
    sealTimer = 0;
    if (open[0] && batches().length < OUTBOX_BATCHES) {
      // A file that is the same everywhere has its first home in a header, which is kept with it. A CDN may add to that.
      options.home ||= /** @type {any} */ (performance.getEntriesByName(source)[0])?.serverTiming?.find(
        (/** @type {any} */ entry) => entry.name == "home",
      )?.description;
      put(storage(options.persist), KEY + name + number, {
        client: name,
        seq: number++,
        home: options.home,
        boards: words(options.board),
        sent: options.persist == null ? Date.now() : 0,
        plays: open,
      });
    }
    open = [];
    flush();
  };

  /** @param {any} store @param {string} key */
  const send = async (store, key) => {
    const now = Date.now();
    let status = 0;
    /** @type {Response | undefined} */
    let response;
    // Text goes without a preflight; what is kept alive goes on when the page does not. Given up whatever becomes of it: in
    // Firefox's page cache a request never ends.
    /** @param {unknown} body @returns {Promise<Response>} */
    const ask = (body) =>
      Promise.race([
        fetch(options.to, {
          method: "POST",
          body: JSON.stringify(body),
          keepalive: true,
          credentials: "omit",
          referrerPolicy: "origin",
        }),
        new Promise((_, fail) => setTimeout(fail, TIMEOUT_MS)),
      ]);
    flying.add(key);
    try {
      // A question that counts nothing: whoever is offline begins no attempt.
      if (!navigator.onLine && !heard) await ask({ plays: [] });
      heard = true;
      // Read again: another tab may have sent it, or tried it and set its time. What cannot be read is not worth another look.
      status = 400;
      const batch = JSON.parse(store[key]);
      batch.sent ||= now;
      put(store, key, batch);
      if (now - batch.sent < HORIZON_MS) {
        status = 0;
        response = await ask({ ...batch, now });
        status = response.status;
        options.home = response.headers.get("Hitparade-Home") || options.home;
      }
    } catch {
      heard = false;
    }
    flying.delete(key);
    if (/^[05]|408|429/.test(/** @type {any} */ (status))) {
      // What fails together, because it was sent together, is one failure.
      if (clock() > retryAt) failures++;
      const waitMs = 1e3 * /** @type {any} */ (response?.headers.get("Retry-After")) || 0;
      silentUntil = clock() + Math.min(waitMs, HORIZON_MS);
      retryAt = Math.max(silentUntil, clock() + Math.min(SLOWEST_RETRY_MS, 500 * 2 ** failures) * (0.5 + Math.random()));
    } else {
      delete store[key];
      failures = 0;
      // What was refused of a batch that was taken is told without its number, so that the same is said once.
      response?.text().then((text) => (status == 202 ? text.match(/"code[^}]+/g) : [`${options.to} ${status} ${text}`])?.map(say));
      flush();
    }
  };

  /** One batch after the other while there is time, all at once when there may be none. @param {unknown} [hurry] */
  const flush = (hurry) => {
    for (const [store, key] of batches()) {
      const free = hurry ? clock() >= silentUntil && !flying.has(key) : clock() >= retryAt && !flying.size;
      if (free && options.to) send(store, key);
    }
  };
  const hurry = () => {
    seal();
    flush(true);
  };

  /** This page's host; files, and this machine by all its names, are `localhost`. */
  const host = /^$|^127\.|^\[::1|localhost$/.test(location.hostname) ? "localhost" : location.hostname;
  const choice = /[?&]hitparade=(on|off)/.exec(location.search);
  if (choice) put(storage(""), OFF, choice[1]);

  /** When posts were last counted, by post and boards; at most a thousand. @type {any} */
  const recent = new Map();
  /** @param {string} postId @param {{ once?: string, board?: string }} [how] */
  const play = (postId, how) => {
    const { once = options.once, board } = Object(how);
    if (
      navigator.webdriver ||
      (options.dnt != null && (navigator.doNotTrack == "1" || /** @type {any} */ (navigator).globalPrivacyControl))
    )
      return;
    if (!(options.to && scope.fetch)) return say("data-to? fetch?");
    if (
      /off/.test(storage("")[OFF]) ||
      // Who tries the service out on one machine is counted there.
      words(options.ignore ?? (/\/\/(localhost|127)/.test(options.to) ? "" : "localhost"))?.includes(host)
    )
      return say("data-ignore or ?hitparade=off");
    // Dispatched once in a page's life.
    if (document.prerendering) return document.addEventListener("prerenderingchange", () => play(postId, how));
    const key = ONCE + [postId, board];
    if (clock() - recent.get(key) < TWICE_MS) return;
    if (recent.size > 999) recent.clear();
    recent.set(key, clock());
    if (once) {
      if (memory[key] || storage()[key]) return;
      put(storage(), key, 1);
    }
    if (open.push({ post_id: postId + "", timestamp: Date.now(), boards: words(board) }) < BATCH_PLAYS)
      sealTimer ||= setTimeout(seal, BATCH_MS);
    else seal();
  };

  /** Not a number, which no time reaches, where the text is no time. @param {string} [text] */
  const readMs = (text = "") => {
    const ms = (parseFloat(text) || 0) * /** @type {any} */ ({ "": 1e3, s: 1e3, ms: 1, m: 6e4 })[text.replace(/[\d.]+/, "")];
    if (isNaN(ms)) say(`data-after=${text}?`);
    return ms;
  };

  /** @type {string | undefined} */
  let pagePost;
  let seenMs = 0;
  let wasSeen = false;
  let lastTick = 0;
  let waits = 0;
  const tick = () => {
    const passedMs = Math.min(clock() - lastTick, LONGEST_TICK_MS);
    lastTick = clock();
    flush();
    // Elements are another file's, which the module has with it. If it does not come it is asked for again, seldom.
    if (source && !api.isHeard && document.querySelector("audio,video,:not(script)[data-post]") && !(waits++ & REST_TICKS))
      document.head.append(Object.assign(document.createElement("script"), { src: new URL("./beacon-elements.js", source).href }));
    const isSeen = !document.hidden || api.isHeard?.();
    if (isSeen && wasSeen) seenMs += passedMs;
    wasSeen = isSeen;
    const { post, after } = Object(script?.dataset);
    if (post !== pagePost) seenMs = 0;
    pagePost = post;
    if (isSeen && post && seenMs >= readMs(after)) {
      seenMs = NaN;
      play(post);
    }
  };

  /** What pages call, and what the file of elements needs. @type {any} */
  const api = (scope.hitparade = { play, options, readMs });
  setInterval(tick, TICK_MS);
  setTimeout(tick);
  document.addEventListener("visibilitychange", () => {
    tick();
    if (document.hidden) hurry();
  });
  addEventListener("pagehide", hurry);
  addEventListener("online", hurry);
})();
