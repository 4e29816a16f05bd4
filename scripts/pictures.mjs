/**
 * `npm run dev -- pictures`: every page in every state that a reader may meet it in, as Chromium shows it,
 * for whoever changes one to look at.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { launchChromium } from "../tests/browser/chromium.mjs";
import { ensureBuilt } from "./build.mjs";
import { sendPlays, toNdjson } from "./lib/client.mjs";
import { backfill, loadCatalog, playLive, readDemo } from "./lib/demo.mjs";
import { readOptions } from "./lib/options.mjs";
import { ROOT } from "./lib/paths.mjs";
import { Advice, runMain, say } from "./lib/say.mjs";
import { startServer } from "./lib/server.mjs";

const USAGE = `usage: npm run dev -- pictures [--to .state/pictures] [--only WORD] | --documents

  --to DIR     where the pictures go
  --only WORD  those whose name contains it
  --documents  makes those of the documents anew, from the demo`;

const TOKENS = { INGEST_TOKEN: "pictures-ingest", ADMIN_TOKEN: "pictures-admin" };
const REGIONS = [
  { id: "DE", name: "Germany", countries: ["DE"] },
  { id: "FR", name: "France", countries: ["FR"] },
  { id: "EG", name: "مصر", countries: ["EG"] },
  { id: "LONG", name: "The region of a very long name, which hardly fits anywhere" },
  { id: "EVEN", name: "Even" },
  { id: "EMPTY", name: "Empty" },
];
const MINUTE_MS = 60_000;
const CHART_TIMEOUT_MS = 30_000;
/** What was just played is in no chart that is closed for two minutes. */
const CLOSING_TIMEOUT_MS = 300_000;

const SONGS = [
  "Slow Comet",
  "Paper Boats",
  "The Long Way Down",
  "Marigold",
  "Static on the Line",
  "Northern Window",
  "Blue Hour",
  "Little Engine",
  "Salt",
  "Tidewater",
  "Kites",
  "After the Rain",
];
const AUTHORS = ["Ada Winter", "The Lanterns", "Mori", "Fern & Co.", "Okabe"];
const NAMES = {
  LONG: [
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft und andere Lieder",
    "https://example.com/articles/2026/11/26/a-title-that-somebody-took-from-an-address-and-that-goes-on-and-on",
    "A",
  ],
  EG: ["مرحبا بالعالم", "أغنية طويلة جدا عن الصيف والبحر والمدينة القديمة", "ليلى 2026 (live)"],
};

/**
 * What is shown, and what is done to the page first.
 * @type {{ name: string, path: string, before?: (page: import("playwright-core").Page) => Promise<unknown> }[]}
 */
const PICTURES = [
  { name: "chart", path: "/" },
  { name: "region", path: "/?region=DE&timeframe=1h" },
  { name: "rising", path: "/?region=DE&timeframe=1h&sort=rising" },
  { name: "distinctive", path: "/?region=FR&sort=distinctive" },
  { name: "even", path: "/?region=EVEN&timeframe=1h" },
  { name: "long-names", path: "/?region=LONG&timeframe=1h" },
  { name: "right-to-left", path: "/?region=EG&timeframe=1h" },
  { name: "empty", path: "/?region=EMPTY" },
  { name: "no-region", path: "/?region=nowhere" },
  { name: "away", path: "/?region=DE", before: (page) => page.route("**/top-posts*", (route) => route.abort()) },
  {
    name: "locked",
    path: "/?region=DE",
    before: (page) =>
      page.route("**/top-posts*", (route) => route.fulfill({ status: 401, json: { code: "unauthorized", detail: "a key is needed" } })),
  },
  { name: "post", path: "/?post=song-0&timeframe=1h" },
  { name: "post-of-a-day", path: "/?post=song-0&region=DE" },
  { name: "post-long", path: "/?post=LONG-0&region=LONG&timeframe=1h" },
  { name: "post-missing", path: "/?post=never" },
  { name: "board", path: "/?board=jazz" },
  { name: "tag", path: "/?tag=live&timeframe=7d" },
  { name: "week", path: "/charts/week/latest" },
  { name: "week-of-a-region", path: "/charts/week/latest?region=DE" },
  { name: "week-of-a-board", path: "/charts/week/latest?board=jazz" },
  { name: "week-long-names", path: "/charts/week/latest?region=LONG" },
  { name: "weeks", path: "/charts/week" },
  { name: "weeks-none", path: "/charts/week?board=new" },
  { name: "week-missing", path: "/charts/week/2019-W01" },
  { name: "month", path: "/charts/month/latest" },
  { name: "widget", path: "/widget.html" },
  { name: "beacon", path: "/beacon.html" },
  { name: "status", path: "/status" },
  { name: "wrong-address", path: "/no/such/page" },
];
/** @type {{ look: string, width: number, height: number, colorScheme?: "light" | "dark" }[]} */
const LOOKS = [
  { look: "desktop", width: 1280, height: 900 },
  { look: "dark", width: 1280, height: 900, colorScheme: "dark" },
  { look: "phone", width: 390, height: 844 },
  { look: "dark-phone", width: 390, height: 844, colorScheme: "dark" },
];

const PHONE = { width: 390, height: 800 };
const GAP_PX = 20;
/** How long the demo plays before it is shown: then the last minutes have moved. */
const DEMO_PLAYS_MS = 90_000;

await runMain(async () => {
  const options = readOptions(USAGE, { to: ".state/pictures", only: "", documents: false });
  if (!options) return;
  if (options.values.documents) return ofDocuments();
  const { to, only } = options.values;
  const wanted = PICTURES.filter(({ name }) => name.includes(only));
  if (wanted.length === 0) throw new Advice(`No picture's name contains ${only}.`, PICTURES.map(({ name }) => name).join(", "));
  await ensureBuilt();
  const folder = resolve(to);
  mkdirSync(folder, { recursive: true });
  const state = mkdtempSync(join(tmpdir(), "hitparade-pictures-"));
  const environment = {
    PATH: process.env.PATH,
    ...TOKENS,
    LIMIT_PER_MINUTE: "0",
    REQUIRE_KNOWN_POSTS: "auto",
    REGIONS: JSON.stringify(REGIONS),
  };
  const server = await startServer({ port: 0, state, environment });
  const browser = await launchChromium();
  try {
    await fill(server.url);
    for (const picture of wanted) {
      for (const look of LOOKS) await take(browser, server.url, picture, look, folder);
      say(`  ${picture.name}`);
    }
  } finally {
    await browser.close();
    await server.stop();
    rmSync(state, { recursive: true, force: true });
  }
  writeFileSync(join(folder, "index.html"), overview(wanted));
  say(`${wanted.length * LOOKS.length} pictures; ${join(folder, "index.html")} shows all of them`);
});

/**
 * @param {import("playwright-core").Browser} browser @param {string} url @param {(typeof PICTURES)[number]} picture
 * @param {(typeof LOOKS)[number]} looks @param {string} folder
 */
async function take(browser, url, { name, path, before }, { look, width, height, colorScheme = "light" }, folder) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, reducedMotion: "reduce", locale: "en-GB" });
  const page = await context.newPage();
  await before?.(page);
  await page.goto(url + path);
  // What comes after the chart: the numbers beside it, and a socket that says how fresh all is.
  await page.waitForLoadState("networkidle", { timeout: 3_000 }).catch(() => {});
  await sleep(400);
  await page.screenshot({ path: join(folder, `${name}-${look}.png`), fullPage: true });
  await context.close();
}

/** @param {typeof PICTURES} pictures */
function overview(pictures) {
  const row = ({ name }) => `<h2>${name}</h2><p>${LOOKS.map(({ look }) => `<img src="${name}-${look}.png" alt="${look}">`).join(" ")}</p>`;
  return `<!doctype html><meta charset="utf-8"><title>Pictures</title><style>body{background:#888;font:16px sans-serif}img{height:70vh;vertical-align:top}p{overflow-x:auto;white-space:nowrap}</style>${pictures.map(row).join("\n")}`;
}

/** Posts with all sorts of names, played now, an hour ago, and through the last day. */
async function fill(url) {
  const posts = [
    ...SONGS.map((content, place) => ({
      post_id: `song-${place}`,
      content,
      author: AUTHORS[place % AUTHORS.length],
      url: `https://example.com/${place}`,
      ...(place % 3 === 0 && { tags: place % 2 ? ["jazz"] : ["jazz", "live"] }),
    })),
    ...Object.entries(NAMES).flatMap(([region, names]) =>
      names.map((content, place) => ({ post_id: `${region}-${place}`, content, author: place === 1 ? content : null })),
    ),
  ];
  /** @param {string} method @param {string} path @param {string} [body] */
  const ask = async (method, path, body) => {
    const headers = { authorization: `Bearer ${TOKENS.ADMIN_TOKEN}`, "content-type": "application/x-ndjson" };
    const answer = await fetch(url + path, { method, headers, body });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  };
  await ask("PUT", "/posts", toNdjson(posts));
  await ask("PUT", "/boards/jazz", JSON.stringify({ board_name: "Jazz, and what is near it" }));
  await ask("PUT", "/boards/new", JSON.stringify({ board_name: "New" }));
  const now = Date.now();
  /** @type {import("./lib/client.mjs").Play[]} */
  const plays = [];
  const add = (post_id, region_id, count, minutes_ago = 1, board = "main") =>
    count > 0 && plays.push({ post_id, region_id, count, timestamp: now - minutes_ago * MINUTE_MS, ...(board !== "main" && { board }) });
  // Weeks in which places change, and some come later.
  for (let week = 1; week <= 9; week++) {
    for (const [place] of SONGS.entries()) {
      const count = place > week + 4 ? 0 : 100 + Math.round(90 * Math.sin(place * 2 + week / 2));
      for (const region of ["DE", "FR"]) add(`song-${place}`, region, count, week * 7 * 24 * 60);
      if (place % 3 === 0) add(`song-${place}`, "DE", count, week * 7 * 24 * 60, "jazz");
    }
    for (const place of NAMES.LONG.keys()) add(`LONG-${place}`, "LONG", 1_234_567 >> (4 * place), week * 7 * 24 * 60);
  }
  for (const [place] of SONGS.entries()) {
    for (const [region, share] of Object.entries({ DE: 3, FR: 2 })) {
      for (let ago = 2; ago < 24 * 60; ago += 23)
        add(`song-${place}`, region, Math.round(share * (14 - place) * (1.5 + Math.sin(ago / 90 + place))), ago);
    }
    add(`song-${place}`, "FR", place === 5 ? 4_000 : 0);
    for (let ago = 1; ago < 50; ago += 3) add(`song-${place}`, "DE", place === 7 ? 60 : place === 3 ? 25 : 1, ago);
    if (place < 6) add(`song-${place}`, "EVEN", 1);
  }
  for (const [region, names] of Object.entries(NAMES))
    names.forEach((_, place) => add(`${region}-${place}`, region, 1_234_567 >> (4 * place)));
  await sendPlays(url, { plays, key: "pictures", token: TOKENS.INGEST_TOKEN });
  for (const deadline = Date.now() + CHART_TIMEOUT_MS; ; await sleep(500)) {
    const { top_posts: shown } = await (await fetch(`${url}/top-posts?region=LONG&timeframe=1h`)).json();
    if (shown?.length === NAMES.LONG.length) break;
    if (Date.now() > deadline) throw new Advice("The plays are in no chart after half a minute; messages of the service are above.");
  }
  for (const board of ["main", "jazz"]) {
    for (const deadline = Date.now() + CLOSING_TIMEOUT_MS; ; await sleep(2_000)) {
      const { done } = await ask("POST", `/admin/close-charts?board=${board}`);
      if (done) break;
      if (Date.now() > deadline) throw new Advice(`No chart of the board ${board} is published after five minutes.`);
    }
  }
}

/** The dashboard and what rises on a desk, and three views on a phone side by side. */
async function ofDocuments() {
  await ensureBuilt();
  const demo = readDemo();
  const state = mkdtempSync(join(tmpdir(), "hitparade-pictures-"));
  const server = await startServer({
    port: 0,
    state,
    environment: { PATH: process.env.PATH, ...TOKENS, LIMIT_PER_MINUTE: "0", REGIONS: JSON.stringify(demo.regions) },
  });
  const browser = await launchChromium();
  const end = new AbortController();
  const sending = { token: TOKENS.INGEST_TOKEN, signal: end.signal, onRetry: () => {}, onProgress: () => {} };
  try {
    await loadCatalog(server.url, demo, { adminToken: TOKENS.ADMIN_TOKEN, signal: end.signal });
    await backfill(server.url, demo, sending);
    const played = playLive(server.url, demo, { ...sending, speed: 1800 }).catch(() => {});
    await sleep(DEMO_PLAYS_MS);
    /** @param {string} path @param {import("playwright-core").BrowserContextOptions} [options] */
    const shot = async (path, options) => {
      const context = await browser.newContext({
        viewport: { width: 1280, height: 900 },
        locale: "en-US",
        reducedMotion: "reduce",
        ...options,
      });
      const page = await context.newPage();
      await page.goto(server.url + path);
      await sleep(4_000);
      const picture = await page.screenshot();
      await context.close();
      return picture;
    };
    const phone = (path, colorScheme) => shot(path, { viewport: PHONE, deviceScaleFactor: 1.5, colorScheme });
    const documents = join(ROOT, "docs");
    writeFileSync(join(documents, "dashboard.png"), await shot("/"));
    writeFileSync(join(documents, "rising.png"), await shot("/?region=JFK&timeframe=1h&sort=rising"));
    const phones = [
      await phone("/?region=LGA", "dark"),
      await phone("/?region=LGA&timeframe=7d&sort=distinctive", "light"),
      await phone("/?region=JFK&timeframe=1h&post=LAX", "dark"),
    ];
    const page = await (
      await browser.newContext({ viewport: { width: 3 * PHONE.width + 2 * GAP_PX, height: PHONE.height }, deviceScaleFactor: 1.5 })
    ).newPage();
    await page.setContent(
      `<body style="margin:0;display:flex;gap:${GAP_PX}px">${phones.map((picture) => `<img width="${PHONE.width}" src="data:image/png;base64,${picture.toString("base64")}">`).join("")}`,
    );
    writeFileSync(join(documents, "phone.png"), await page.screenshot());
    end.abort();
    await played;
  } finally {
    end.abort();
    await browser.close();
    await server.stop();
    rmSync(state, { recursive: true, force: true });
  }
}
