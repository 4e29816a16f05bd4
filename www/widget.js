/**
 * A chart on any page:
 *
 *   <script type="module" src="https://charts.example/widget.js"></script>
 *   <top-posts region="NA" timeframe="7d" k="10" images><h2 slot="title">Most played this week</h2></top-posts>
 *
 * | attribute | what | default |
 * |---|---|---|
 * | `board` | a board's id | `main` |
 * | `region` | a region's id, or `global` | `global` |
 * | `timeframe` | `1h`, `24h`, `7d`, `all`, `today`, `this-week`, `last-month`, any that the service takes | `24h` |
 * | `tz` | whose days, weeks and months: `Europe/Berlin` | the service's |
 * | `from`, `to` | RFC 3339, or days as `2026-11-23`: that span in its place; without `to`, until now | |
 * | `k` | how many, 1 to 100 | 10 |
 * | `sort` | `views`, `rising`, `distinctive` | `views` |
 * | `tag`, `exclude-tag` | of posts that have these tags, and none of those, with commas between them | |
 * | `author`, `published` | of posts of an author; published in the last `24h`, `7d`, … | |
 * | `counts` | `off` or `false` leaves out counts and bars | |
 * | `images` | the catalog's pictures; not with `off` or `false` | |
 * | `link` | where a title leads for which the catalog has no `url`: `/songs/{id}`; `off`: titles are no links | |
 * | `server` | where the charts are, if not where this file is | |
 *
 * What stands in it with `slot="title"` comes above the list.
 *
 * Colours and type come from the page around it; `--top-posts-accent`, `--top-posts-soft`, `--top-posts-line`,
 * `--top-posts-radius` and `--top-posts-row` (height of a row) change them, `::part(row|rank|image|title|author|count|bar)`
 * does the rest. It asks for nothing but the chart, every 5 s while it is in view, once a minute where nobody has touched
 * the page for two; what comes from the chart goes in as text. Why a chart does not come, and an attribute that there is
 * not, stand in the console.
 */

const REFRESH_MS = 5000;
const SLOWEST_MS = 60_000;
/** A page that nobody touches may be a forgotten one. */
const UNTOUCHED_MS = 120_000;
/** Nothing heard for so long: what is shown is old. */
const OLD_MS = 180_000;
const OLD = "The service has nothing newer.";
let touched = 0;
for (const type of ["pointermove", "pointerdown", "keydown", "wheel", "scroll", "visibilitychange"])
  document.addEventListener(type, () => (touched = performance.now()), { capture: true, passive: true });
const HERE = new URL(".", import.meta.url).href;

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
:host { display: block; --row: var(--top-posts-row, 3.25em); --soft: var(--top-posts-soft, color-mix(in srgb, currentColor 70%, transparent)); --line: var(--top-posts-line, color-mix(in srgb, currentColor 14%, transparent)); --accent: var(--top-posts-accent, #c93a17); }
:host([hidden]) { display: none; }
div { position: relative; }
ol { list-style: none; margin: 0; padding: 0; min-height: calc(var(--rows) * var(--row)); }
li { position: relative; display: flex; align-items: center; gap: .75em; height: var(--row); }
.rank { flex: none; min-width: 1.6em; text-align: end; color: var(--soft); font-variant-numeric: tabular-nums; }
.image { flex: none; width: calc(var(--row) * .8); height: calc(var(--row) * .8); object-fit: cover; border-radius: var(--top-posts-radius, 0); background: var(--line); }
.what { flex: 1; min-width: 0; }
.what > * { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; text-align: -webkit-match-parent; text-align: match-parent; }
.title { font-weight: 600; color: inherit; text-decoration: none; }
a.title:hover { text-decoration: underline; }
.author { font-size: .85em; color: var(--soft); }
.count { flex: none; font-variant-numeric: tabular-nums; }
.bar { position: absolute; inset: auto 0 0; height: 2px; background: var(--line); border-radius: var(--top-posts-radius, 0); overflow: hidden; }
.bar::after { content: ""; display: block; height: 100%; width: calc(var(--share) * 100%); background: var(--accent); transition: width .6s; }
.quiet :is(.count, .bar) { display: none; }
p { margin: 0; color: var(--soft); }
ol:empty + p { position: absolute; inset: 0 0 auto; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
@media (prefers-reduced-motion: reduce) { .bar::after { transition: none; } }
`);

/** Attributes that every element has, frameworks' own among them. */
const GLOBAL =
  /[^a-z-]|^(id|class|style|hidden|lang|dir|title|role|slot|part|is|inert|nonce|tabindex|translate|(aria|data|on|ng|x|v)-?.*|.*-(id|ref))$/;
let warned = "";
/** Once as long as nothing else is said: a chart is asked for again and again. @param {string} text */
const warn = (text) => warned === text || console.warn((warned = text));

/** @typedef {{ rank: number, post_id: string, author: string | null, content: string | null, url: string | null, image: string | null, view_count: number, compared?: { times: number } | null }} Entry */
/** @typedef {{ top: number, images: boolean, link: string | null }} Look how rows are filled; `link`: of titles without a `url`, or `off` */

const number = new Intl.NumberFormat();
/** What the order is made of: plays, or by how much there are more than there were. @param {Entry} entry */
const size = (entry) => entry.compared?.times ?? entry.view_count;

class TopPosts extends HTMLElement {
  static observedAttributes = [
    "board",
    "region",
    "timeframe",
    "tz",
    "k",
    "from",
    "to",
    "sort",
    "tag",
    "exclude-tag",
    "author",
    "published",
    "counts",
    "images",
    "link",
    "server",
    "aria-label",
  ];

  #root = this.attachShadow({ mode: "open" });
  #list = document.createElement("ol");
  #note = document.createElement("p");
  #body = document.createElement("div");
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  #url = "";
  /** @type {Entry[]} */
  #entries = [];
  #images = false;
  #seen = false;
  #failures = 0;
  #heard = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {AbortController | undefined} */
  #request;
  #watcher = new IntersectionObserver(
    (entries) => {
      this.#seen = entries[entries.length - 1].isIntersecting;
      this.#load();
    },
    { rootMargin: "200px" },
  );
  #look = () => this.#load();

  constructor() {
    super();
    this.#root.adoptedStyleSheets = [sheet];
    const title = document.createElement("slot");
    title.name = "title";
    this.#body.append(this.#list, this.#note);
    this.#root.append(title, this.#body);
    this.#list.part.add("list");
  }

  connectedCallback() {
    const known = TopPosts.observedAttributes;
    for (const name of this.getAttributeNames())
      if (!known.includes(name) && !GLOBAL.test(name)) warn(`<top-posts>: there is no attribute ${name}, but ${known.join(", ")}`);
    this.#read();
    this.#watcher.observe(this);
    document.addEventListener("visibilitychange", this.#look);
  }

  disconnectedCallback() {
    this.#watcher.disconnect();
    document.removeEventListener("visibilitychange", this.#look);
    this.#seen = false;
    this.#load();
  }

  attributeChangedCallback() {
    if (this.isConnected) this.#read();
  }

  /** Takes over the attributes; another chart than before starts anew. */
  #read() {
    const get = (/** @type {string} */ name, /** @type {string} */ otherwise) => this.getAttribute(name) || otherwise;
    const isOff = (/** @type {string} */ name) => /^(off|false)$/.test(get(name, ""));
    if (!/^([1-9]\d?|100)$/.test(get("k", "10"))) warn(`<top-posts>: k=${get("k", "")} is no whole number from 1 to 100`);
    const k = Math.min(100, Math.max(1, parseInt(get("k", "10"), 10) || 10));
    const span = ["from", "to"].filter((name) => this.getAttribute(name)).map((name) => [name, get(name, "")]);
    const window = span.length ? Object.fromEntries(span) : { timeframe: get("timeframe", "24h") };
    const query = { region: get("region", "global"), ...window, k: String(k), sort: get("sort", "views") };
    const others = ["board", "tz", "tag", "exclude-tag", "author", "published"].filter((name) => this.getAttribute(name));
    for (const name of others) Object.assign(query, { [name.replace("-", "_")]: get(name, "") });
    this.#keepRoom(k);
    this.#list.className = isOff("counts") ? "quiet" : "";
    this.#images = this.hasAttribute("images") && !isOff("images");
    this.#list.ariaLabel = get("aria-label", `Top ${k}`);
    const server = new URL(get("server", HERE), document.baseURI).href.replace(/\/?$/, "/");
    const url = `${server}top-posts?${new URLSearchParams(query)}`;
    if (url === this.#url) return this.#show(this.#entries);
    this.#url = url;
    this.#failures = 0;
    this.#show([]);
    this.#note.textContent = "";
    this.#load();
  }

  async #load() {
    clearTimeout(this.#timer);
    this.#request?.abort();
    this.#request = undefined;
    if (!this.isConnected || !this.#seen || document.hidden) return;
    const mine = (this.#request = new AbortController());
    const timeout = setTimeout(() => mine.abort(), 10_000);
    let isGone = false;
    try {
      // No header of our own: a foreign origin would have to ask for leave first, every time.
      const response = await fetch(this.#url, { signal: mine.signal, credentials: "omit", referrerPolicy: "no-referrer" });
      if (!response.ok) {
        isGone = /^4(?!29)/.test(String(response.status));
        throw warn(`<top-posts>: ${this.#url}: ${response.status} ${await response.text()}`);
      }
      const { top_posts: entries, total_views: plays, stale } = await response.json();
      if (this.#request !== mine) return;
      this.#failures = 0;
      this.#heard = performance.now();
      this.#show(entries);
      this.#keepRoom(entries.length);
      this.#note.textContent = entries.length ? (stale ? OLD : "") : plays ? "No post to show." : "No plays in this time.";
    } catch {
      if (this.#request !== mine) return;
      this.#failures += 1;
      if (isGone) this.#show([]);
      if (this.#rows.size === 0) {
        this.#note.textContent = isGone ? "There is no such chart." : "The chart cannot be reached.";
        this.#keepRoom(1);
      } else if (performance.now() - this.#heard > OLD_MS) this.#note.textContent = OLD;
    } finally {
      clearTimeout(timeout);
    }
    const isTouched = performance.now() - touched < UNTOUCHED_MS;
    this.#timer = setTimeout(() => this.#load(), isTouched ? Math.min(SLOWEST_MS, REFRESH_MS * 2 ** this.#failures) : SLOWEST_MS);
  }

  /** For so many rows, or for a word: what stands below moves once at most. @param {number} rows */
  #keepRoom(rows) {
    this.#list.style.setProperty("--rows", String(rows || 1));
  }

  /** @param {Entry[]} entries */
  #show(entries) {
    const list = this.#list;
    this.#entries = entries;
    const before = new Map([...this.#rows].map(([id, row]) => [id, row.offsetTop]));
    const counts = entries.map(size);
    // Bars that are all the same would tell nothing.
    const top = Math.min(...counts) === Math.max(...counts) ? Infinity : Math.max(...counts);
    const look = { top, images: this.#images, link: this.getAttribute("link") };
    const rows = new Map(entries.map((entry) => [entry.post_id, fill(this.#rows.get(entry.post_id) ?? create(), entry, look)]));
    this.#rows = rows;
    if (!entries.length || [...rows.values()].some((row, place) => row !== list.children[place])) {
      const focused = /** @type {HTMLElement | null} */ (this.#root.activeElement);
      list.replaceChildren(...rows.values());
      focused?.focus({ preventScroll: true });
    } else while (list.children.length > rows.size) list.lastElementChild?.remove();
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    for (const [id, row] of rows) {
      const moved = (before.get(id) ?? row.offsetTop) - row.offsetTop;
      if (moved) row.animate([{ transform: `translateY(${moved}px)` }, { transform: "none" }], { duration: 500, easing: "ease-out" });
    }
  }
}

function create() {
  const row = document.createElement("li");
  const make = (/** @type {string} */ name, /** @type {Element} */ within) => {
    const made = document.createElement("span");
    made.className = name;
    made.part.add(name);
    within.append(made);
    return made;
  };
  row.part.add("row");
  make("rank", row);
  const what = make("what", row);
  make("title", what).dir = "auto";
  make("author", what).dir = "auto";
  make("count", row);
  make("bar", row);
  return row;
}

/** @param {HTMLElement} row @param {Entry} entry @param {Look} look */
function fill(row, entry, { top, images, link }) {
  const put = (/** @type {string} */ name, /** @type {string} */ text) => {
    const cell = /** @type {HTMLElement} */ (row.querySelector(`.${name}`));
    if (cell.textContent !== text) cell.textContent = text;
    return cell;
  };
  put("rank", String(entry.rank));
  put("author", entry.author ?? "").hidden = !entry.author;
  put("count", number.format(entry.view_count));
  put("bar", "").style.setProperty("--share", String(size(entry) / top));
  putImage(row, images ? entry.image : null, images);
  const url = link === "off" ? null : (safe(entry.url) ?? safe(link?.replaceAll("{id}", encodeURIComponent(entry.post_id))));
  let title = put("title", entry.content || entry.post_id);
  if ((title.localName === "a") !== (url !== null)) {
    const other = document.createElement(url ? "a" : "span");
    other.className = "title";
    other.part.add("title");
    other.dir = "auto";
    other.textContent = title.textContent;
    title.replaceWith(other);
    title = other;
  }
  if (title instanceof HTMLAnchorElement) {
    title.href = /** @type {string} */ (url);
    title.rel = "noopener nofollow";
    // In a frame the page around is what the reader means.
    title.target = window === window.top ? "" : "_top";
  }
  return row;
}

/** Data may name any scheme; only these two are followed. @param {string | null | undefined} url */
function safe(url) {
  const parsed = url && URL.canParse(url, document.baseURI) ? new URL(url, document.baseURI) : null;
  return parsed && /^https?:$/.test(parsed.protocol) ? parsed.href : null;
}

/** Where pictures are wanted, a post without one keeps the place of one. @param {HTMLElement} row @param {string | null} url @param {boolean} wanted */
function putImage(row, url, wanted) {
  const shown = /** @type {HTMLElement | null} */ (row.querySelector(".image"));
  if (!wanted) return shown?.remove();
  const source = safe(url) ?? "";
  if (shown?.dataset.source === source) return;
  shown?.remove();
  const make = (/** @type {string} */ tag) => {
    const made = document.createElement(tag);
    made.className = "image";
    made.part.add("image");
    // Of one that failed, too: it is not asked for again.
    made.dataset.source = source;
    return made;
  };
  const image = make(source ? "img" : "span");
  if (source)
    Object.assign(image, {
      alt: "",
      loading: "lazy",
      decoding: "async",
      referrerPolicy: "no-referrer",
      onerror: () => image.replaceWith(make("span")),
      src: source,
    });
  row.querySelector(".rank")?.after(image);
}

if (!customElements.get("top-posts")) customElements.define("top-posts", TopPosts);
