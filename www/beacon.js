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
 * | `after` | only after so long of visible or audible time: `30s`, `2m`. Also on elements |
 * | `once` | `session`: a post counts once in this tab, however often it is reloaded. Also on elements |
 * | `persist` | keeps what could not be sent in `localStorage`: outlives the tab and days offline, for plays under a day old: the service refuses older ones |
 * | `dnt` | counts nothing for those who ask by Do Not Track or Global Privacy Control |
 * | `to` | where plays go, if not to `plays` beside this file |
 *
 * Plays are sealed into batches of 50, or of 2 s. A sealed batch never changes: a random name made by this page,
 * a number, its home (which shard of the service decides about it, wherever it arrives), the time of its first
 * attempt, its plays. It stays in the outbox until the service has answered, is tried
 * again under the same name, by the next page too, and the service counts the name once. After 15 minutes the service
 * could have forgotten the name, so the batch is dropped instead. That clock starts at the first attempt; without
 * `persist` at the sealing, since a tab that is duplicated takes a copy of its outbox along.
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
  const KEY = "hitparade.";

  const scope = /** @type {any} */ (window);
  if (scope.hitparade) return;
  const script = /** @type {HTMLScriptElement | null} */ (document.currentScript);
  /** @type {import('./beacon.mjs').Options} */
  const options = { to: script ? new URL("plays", script.src).href : "", ...script?.dataset };

  const name = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(15))));
  /** Where batches are at home that are sealed from now on, in the service's own words. It puts the first into this text. */
  const known = { home: "" };
  let number = 0;
  /** @type {{ post_id: string, timestamp: number }[]} */
  let open = [];
  /** @type {number | undefined} */
  let sealTimer;
  let failures = 0;
  /** Until then the service wants to be left alone; and until then it is left alone, unless the page is closing. */
  let silentUntil = 0;
  let retryAt = 0;
  const flying = new Set();
  const clock = () => performance.now();

  /** Storage may be closed or full; then the page's own memory must do. @type {any} */
  const memory = {};
  /** @param {string} [persist] */
  const storage = (persist) => {
    try {
      return persist == null ? sessionStorage : localStorage;
    } catch {
      return memory;
    }
  };
  const batches = () =>
    [memory, storage(options.persist)].flatMap((store) =>
      Object.keys(store)
        .filter((key) => key.startsWith(KEY))
        .map((key) => [store, key]),
    );

  /** @param {any} store @param {string} key @param {unknown} batch */
  const put = (store, key, batch) => {
    const text = JSON.stringify(batch);
    try {
      store[key] = text;
    } catch {
      memory[key] = text;
    }
  };

  const seal = () => {
    clearTimeout(sealTimer);
    sealTimer = 0;
    if (open.length && batches().length < OUTBOX_BATCHES) {
      put(storage(options.persist), KEY + name + number, {
        client: name,
        seq: number++,
        home: known.home || undefined,
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
    let waitMs = 0;
    flying.add(key);
    try {
      // Read again: another tab may have sent it, or tried it and set its time.
      const batch = JSON.parse(store[key]);
      put(store, key, { ...batch, sent: (batch.sent ||= now) });
      status = 400;
      if (now - batch.sent < HORIZON_MS) {
        status = 0;
        const response = await fetch(/** @type {string} */ (options.to), {
          // Text goes without a preflight; what is kept alive goes on when the page does not.
          method: "POST",
          body: JSON.stringify({ ...batch, now }),
          keepalive: true,
          credentials: "omit",
          referrerPolicy: "origin",
          signal: AbortSignal.timeout(TIMEOUT_MS),
        });
        status = response.status;
        known.home = response.headers.get("Hitparade-Home") || known.home;
        waitMs = 1e3 * Number(response.headers.get("Retry-After")) || 0;
      }
    } catch (error) {
      // What cannot be read is not worth another look.
      if (error instanceof SyntaxError) status = 400;
    }
    flying.delete(key);
    if (/^[05]|408|429/.test(`${status}`)) {
      // What fails together, because it was sent together, is one failure.
      if (clock() > retryAt) failures++;
      silentUntil = clock() + Math.min(waitMs, HORIZON_MS);
      retryAt = Math.max(silentUntil, clock() + Math.min(SLOWEST_RETRY_MS, 500 * 2 ** failures) * (0.5 + Math.random()));
    } else {
      delete store[key];
      failures = 0;
      flush();
    }
  };

  /** One batch after the other while there is time, all at once when there may be none. @param {unknown} [hurry] */
  const flush = (hurry) => {
    for (const [store, key] of batches()) {
      const free = hurry === true ? clock() >= silentUntil && !flying.has(key) : clock() >= retryAt && !flying.size;
      if (free && navigator.onLine) send(store, key);
    }
  };
  const hurry = () => {
    seal();
    flush(true);
  };

  /** @param {string} postId */
  const play = (postId, once = options.once) => {
    if (
      navigator.webdriver ||
      (options.dnt != null && (navigator.doNotTrack === "1" || /** @type {any} */ (navigator).globalPrivacyControl))
    )
      return;
    if (document.prerendering) {
      document.addEventListener("prerenderingchange", () => play(postId, once), { once: true });
      return;
    }
    if (once) {
      const key = "hitparade once " + postId;
      if (memory[key] || storage()[key]) return;
      put(storage(), key, 1);
    }
    if (open.push({ post_id: `${postId}`, timestamp: Date.now() }) < BATCH_PLAYS) sealTimer ||= setTimeout(seal, BATCH_MS);
    else seal();
  };

  /** @type {WeakMap<Element, { post: string, ms: number, on?: boolean, done?: boolean }>} */
  const states = new WeakMap();
  let lastTick = 0;
  /** @param {any} media */
  const heard = (media) => !media.paused && !media.ended && (!document.hidden || (!media.muted && media.volume > 0));
  /** @param {HTMLElement} element */
  const noticed = (element) => {
    if ("paused" in element) return heard(element);
    if (element === script) return !document.hidden || [...document.querySelectorAll("audio,video")].some(heard);
    const { top, bottom } = element.getBoundingClientRect();
    // Its middle is in the window. What is not laid out has its middle at zero.
    return !document.hidden && top + bottom > 0 && top + bottom < 2 * innerHeight;
  };
  const tick = () => {
    const passedMs = clock() - lastTick;
    lastTick += passedMs;
    flush();
    if (document.prerendering) return;
    for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-post]"))) {
      const { post = "", after = "0", once } = element.dataset;
      let state = states.get(element);
      if (state?.post !== post || /** @type {any} */ (element).ended) states.set(element, (state = { post, ms: 0 }));
      const on = noticed(element);
      if (on && state.on) state.ms += passedMs;
      state.on = on;
      if (on && !state.done && state.ms >= parseFloat(after) * (after.endsWith("m") ? 6e4 : 1e3)) {
        state.done = true;
        play(post, once ?? options.once);
      }
    }
  };

  scope.hitparade = { play, options };
  setInterval(tick, 1e3);
  setTimeout(tick);
  addEventListener("visibilitychange", () => {
    tick();
    if (document.hidden) hurry();
  });
  addEventListener("pagehide", hurry);
  addEventListener("online", hurry);
})();
