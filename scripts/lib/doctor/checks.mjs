/**
 * What is looked at, in its order: each check says in a line what it found, and what to do where that is wrong. They lean
 * on each other as little as can be; what cannot be known is said to be unknown, not well.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

/** @typedef {import("./patient.mjs").Patient} Patient */
/** @typedef {{state: "works" | "wrong" | "unknown", said: string, todo?: string}} Finding */

/** From 202 to chart: the contract's 10 s, and some for the way. */
const CHART_MS = 20_000;
/** By then each shard that took the play has pushed it: what counts twice shows it. */
const PUSHED_MS = 10_000;
const LOOK_MS = 500;
/** A page's clock may be wrong, the service's may not: it says what is too old and too new. */
const CLOCK_MS = 30_000;
/** Charts are a few seconds old at most, whatever keeps them on their way. */
const CHART_AGE_S = 10;
/** Nobody's token. */
const WRONG = "a token that is not the right one";

/** @param {string} said @returns {Finding} */
const works = (said) => ({ state: "works", said });
/** @param {string} said @param {string} todo @returns {Finding} */
const wrong = (said, todo) => ({ state: "wrong", said, todo });
/** @param {string} said @param {string} [todo] @returns {Finding} */
const unknown = (said, todo) => ({ state: "unknown", said, todo });

/**
 * What `sends` needs a play of its own and reads charts, what `reads` charts alone, what `shows` a token.
 * @type {[name: string, check: (patient: Patient) => Promise<Finding>, what?: "sends" | "reads" | "shows"][]}
 */
export const CHECKS = [
  ["the service", service],
  ["the address", address],
  ["its clock", clock],
  ["the admin token", admin, "shows"],
  ["the ingest token", ingest, "shows"],
  ["the read token", read, "shows"],
  ["the token of the metrics", metrics, "shows"],
  ["a play of a page", play, "sends"],
  ["pages of other sites", pages],
  ["the same play again", repeat, "sends"],
  ["the region of a play", region, "sends"],
  ["a chart, by a push", chart, "sends"],
  ["a chart over a socket", socket, "sends"],
  ["what is kept on its way", caching, "reads"],
  ["headers of the pages", headers],
  ["beacon.js", beacon],
  ["limits by address", limits, "sends"],
];

/** What is said of a play on main whose post nobody would see, whether it counts or not. */
const UNSEEN = unknown(
  "cannot be seen: of main only posts of the catalog show (REQUIRE_KNOWN_POSTS), or too many are played for each to be listed",
  "Put ADMIN_TOKEN into the environment or .dev.vars: it lets the doctor look on a board of its own.",
);

/** Why something is not looked at. @param {Patient} patient @param {"sends" | "reads" | "shows"} [what] @returns {Finding | null} */
export function leftOut(patient, what) {
  if (what === "shows" && patient.isOverheard) return unknown("not looked at: over http no token is shown");
  if ((what === "sends" || what === "reads") && !patient.mayRead)
    return unknown("not looked at: charts need the read token, and over http no token is shown");
  if (what === "sends" && !patient.maySend) return unknown("not looked at: nothing is sent that the admin token cannot take back");
  return null;
}

/** @param {Patient} patient */
async function service(patient) {
  const { status, json, why, tookMs } = await patient.ask("GET", "/healthz");
  if (status === 200 && json.status === "ok") return works(`version ${json.version} answers, in ${tookMs} ms`);
  if (status === 0)
    return wrong(`no answer: ${why}`, "Is the address right, and does it run? `npx hitparade serve`, `npx hitparade deploy`");
  if (json.code === "bad_setting") return wrong(why, "Correct that setting, and deploy or restart.");
  if (status === 503) return wrong(why, "docs/operate.md says what to do about each of these; /status shows it.");
  return wrong(`answers ${why}`, "Nothing like this service is at this address: what does your route or proxy lead to?");
}

/** @param {Patient} patient */
async function address({ isLocal, isOverheard }) {
  if (!isOverheard) return works(isLocal ? "this machine" : "https");
  return wrong(
    "http, over which anybody on the way reads tokens, so no token is shown",
    "Use https: a page of https cannot send plays to it either.",
  );
}

/** @param {Patient} patient */
async function clock(patient) {
  const sent = Date.now();
  const { headers, json } = await patient.ask("GET", "/top-posts?timeframe=1h", { token: patient.tokens.READ_TOKEN });
  // Where there is no Date, a chart says since when it is so, which is a few seconds ago.
  const said = Date.parse(headers.get("date") ?? json.as_of ?? "");
  if (!said) return unknown("no answer says what time it is");
  const offMs = Math.max(sent - said, said - Date.now());
  if (offMs > CLOCK_MS) {
    return wrong(
      `${Math.round(offMs / 1_000)} s off from the one here`,
      "Set the clocks (NTP): plays count at the time that the service knows.",
    );
  }
  return works(`right, as far as the one here is (${new Date(said).toISOString()})`);
}

/** Makes the board that the others use. @param {Patient} patient */
async function admin(patient) {
  const { ADMIN_TOKEN: token } = patient.tokens;
  const board = `doctor-${randomBytes(6).toString("hex")}`;
  const refused = await patient.ask("PUT", `/boards/${board}`, { token: WRONG, headers: { "content-type": "application/json" }, body: {} });
  const deleted = await patient.ask("DELETE", `/posts/${patient.postId}-none`, { token: WRONG });
  if (refused.status === 200 || deleted.status < 300) {
    if (refused.status === 200) patient.board = board;
    return wrong(
      "a wrong token is taken: anybody may delete everything",
      "Something on the way puts a token into requests: let it stop that.",
    );
  }
  if (!token) return unknown("not given, so the look is on main", "Put ADMIN_TOKEN into the environment or .dev.vars.");
  const made = await patient.ask("PUT", `/boards/${board}`, {
    token,
    headers: { "content-type": "application/json" },
    body: { board_name: "Doctor", catalog: "own", public: !patient.tokens.READ_TOKEN },
  });
  if (made.status === 200 || made.status === 201) {
    patient.board = board;
    return works("is taken, a wrong one is not; the look is on a board of its own");
  }
  // Without boards of one's own the post is hidden at the end.
  const known = await patient.ask("DELETE", `/posts/${patient.postId}-none`, { token });
  if (![401, 403].includes(known.status) && [404, 405].includes(made.status))
    return works("is taken, a wrong one is not; the look is on main");
  if ([401, 403].includes(made.status) || [401, 403].includes(known.status)) {
    patient.maySend = false;
    return wrong(
      `that of ${patient.sources.ADMIN_TOKEN} is refused: ${made.why}; so no play is sent, which would stay on main`,
      patient.isLocal
        ? "Is it the one in .dev.vars of the folder that is served? And where a proxy is: does it pass on Authorization?"
        : "Is it the one of this installation (`npx wrangler secret put ADMIN_TOKEN`), and does your proxy pass on Authorization?",
    );
  }
  return wrong(`no board could be made: ${made.why}`, "docs/operate.md; the look goes on on main.");
}

/** @param {Patient} patient */
async function ingest(patient) {
  const { INGEST_TOKEN: token } = patient.tokens;
  const send = (/** @type {string} */ shown) =>
    patient.ask("POST", "/plays", {
      token: shown,
      headers: { "content-type": "application/json", "idempotency-key": `${patient.postId}-${shown === WRONG}` },
      // Of nobody: it is refused by itself, so nothing of it counts.
      body: { post_id: "", count: 2, ...(patient.board ? { board: patient.board } : {}) },
    });
  const stranger = await send(WRONG);
  if (![401, 403].includes(stranger.status)) {
    return wrong(`a wrong token is answered with ${stranger.status}`, "Does something on the way take Authorization out, or put one in?");
  }
  if (!token) return unknown("not given", "Put INGEST_TOKEN into the environment or .dev.vars, if servers are to send.");
  const { status, json, why } = await send(token);
  if ([401, 403].includes(status))
    return wrong(
      `that of ${patient.sources.INGEST_TOKEN} is refused: ${why}`,
      patient.isLocal
        ? "Is it the one in .dev.vars of the folder that is served? And where a proxy is: does it pass on Authorization?"
        : "Set it: npx wrangler secret put INGEST_TOKEN; and does your proxy pass on Authorization?",
    );
  const code = json.rejected?.[0]?.code ?? json.code;
  return /post_id|rejected|plays/.test(code)
    ? works("is taken, a wrong one is not")
    : wrong(`answers ${why}`, "docs/ingest.md says what each answer means.");
}

/** @param {Patient} patient */
async function read(patient) {
  const open = await patient.ask("GET", "/top-posts?timeframe=1h");
  const { READ_TOKEN: token } = patient.tokens;
  if (!token) {
    if (open.status === 200) return works("none: charts are public");
    if ([401, 403].includes(open.status))
      return wrong("charts need one, and it is not given", "Put READ_TOKEN into the environment or .dev.vars.");
    return wrong(`charts answer ${open.why}`, "docs/operate.md says what to do about each.");
  }
  if (open.status === 200) return wrong("charts are public, though a token was given", "Set it: npx wrangler secret put READ_TOKEN");
  const shown = await patient.ask("GET", "/top-posts?timeframe=1h", { token });
  return shown.status === 200 ? works("is asked for, and taken") : wrong(`is refused: ${shown.why}`, "Is it the one of this installation?");
}

/** @param {Patient} patient */
async function metrics(patient) {
  const { METRICS_TOKEN: token } = patient.tokens;
  const open = await patient.ask("GET", "/metrics");
  if (open.status === 200 && token)
    return wrong("/metrics is public, though a token was given", "Set it: npx wrangler secret put METRICS_TOKEN");
  if (open.status === 200) return works("none: /metrics is public");
  if (!token)
    return unknown(`/metrics answers ${open.status}, and no token was given`, "Put METRICS_TOKEN into the environment or .dev.vars.");
  const shown = await patient.ask("GET", "/metrics", { token });
  return shown.status === 200 ? works("is asked for, and taken") : wrong(`is refused: ${shown.why}`, "Is it the one of this installation?");
}

/** @param {Patient} patient */
async function play(patient) {
  const { status, json, why, tookMs } = await patient.play();
  if (status === 202 && json.accepted === 1) return works(`is taken, in ${tookMs} ms`);
  if (status === 403)
    return wrong(`is refused: ${why}`, "ALLOWED_ORIGINS names the pages that may send; if a page of yours is refused too, add its origin.");
  if (status === 413) return wrong(`is too large: ${why}`, "Let your proxy pass bodies of 1 MiB (4 MiB with the token).");
  return wrong(`is not taken: ${why}`, "docs/operate.md says what to do about each answer.");
}

/** @param {Patient} patient */
async function pages(patient) {
  const { status, headers } = await patient.play({ plays: [] });
  const { headers: chart } = await patient.ask("GET", `/top-posts${patient.query({ timeframe: "1h" })}`, {
    headers: { origin: "https://a-page.example" },
  });
  const allowed = headers.get("access-control-allow-origin") ?? chart.get("access-control-allow-origin");
  if (!allowed && status === 403) return works("are refused, but those that ALLOWED_ORIGINS names");
  if (!allowed)
    return wrong("cannot read answers: Access-Control-Allow-Origin is missing", "Let your proxy pass on the headers Access-Control-*.");
  const exposed = (headers.get("access-control-expose-headers") ?? "").toLowerCase();
  for (const name of ["retry-after", "hitparade-home"]) {
    if (!exposed.includes(name)) return wrong(`cannot read ${name}`, "Let your proxy pass on Access-Control-Expose-Headers.");
  }
  return works("may send, and read charts");
}

/** @param {Patient} patient */
async function repeat(patient) {
  const { status, json, why } = await patient.play();
  if (status === 202 && json.repeated === true) return works("is known, and not counted again");
  if (status === 202)
    return wrong("is taken for another one", "Bodies must arrive as they were sent: does something on the way change them?");
  return wrong(`is not taken: ${why}`, "docs/operate.md says what to do about each answer.");
}

/** @param {Patient} patient */
async function region(patient) {
  const { headers } = await patient.play();
  const home = headers.get("hitparade-home");
  if (!home)
    return wrong(
      "answers have no Hitparade-Home",
      "Let your proxy pass on that header: batches that are sent again from elsewhere need it.",
    );
  const here = decodeURIComponent(home.split("/")[0]);
  const { json } = await patient.ask("GET", `/regions${patient.query()}`, { token: patient.tokens.READ_TOKEN });
  const all = (json.regions ?? []).map((/** @type {any} */ each) => each.region_id);
  if (!all.includes(here))
    return wrong(`is ${here}, which /regions does not list`, "Something answers for the service: what is kept on the way?");
  const { count } = await until(
    patient,
    () => patient.countIn({ region: here }),
    ({ count }) => count > 0,
  );
  if (count === 0 && (await patient.mayCountUnseen({ region: here }))) return UNSEEN;
  if (count === 0) return wrong(`should be ${here}, whose chart does not have the play`, "docs/operate.md: do its shards push?");
  return works(`${here}, of ${all.length}. If you are not there: COUNTRY_HEADER and TRUSTED_PROXIES, docs/deploy.md`);
}

/** @param {Patient} patient */
async function chart(patient) {
  const started = Date.now();
  await until(
    patient,
    () => patient.countIn({}),
    ({ count }) => count > 0,
  );
  const tookMs = Date.now() - started;
  // Repeats that were taken for other batches may be at other shards, which push when they do.
  await sleep(Math.max(0, patient.playedAtMs + PUSHED_MS - Date.now()), undefined, { signal: patient.ending.signal });
  const { count, reply } = await patient.countIn({});
  if (count === 0 && (await patient.mayCountUnseen({}))) return UNSEEN;
  if (reply.status !== 200) return wrong(`answers ${reply.why}`, "docs/operate.md says what to do about each answer.");
  if (count === 0)
    return wrong("does not have the play", "Do alarms run? /status says how long ago shards pushed. Or is an old chart kept on the way?");
  if (count > 1) return wrong(`counts one play ${count} times`, "Bodies must arrive once and as they were sent: what changes them?");
  return works(`has the play once, ${Math.round(tookMs / 1_000)} s after it was looked for`);
}

/** @param {Patient} patient */
async function socket(patient) {
  /** @type {any[]} */
  const messages = [];
  const { opened, why, close } = await patient.socket({ timeframe: "1h", k: "10" }, (message) => messages.push(message));
  if (!opened) return wrong(`does not open: ${why}`, "Let your proxy pass on Upgrade and Connection; charts are polled until then.");
  try {
    // What the chart has in all: on main others play, too, and then something comes at least.
    const countOf = (/** @type {any} */ message) => message?.total_views ?? 0;
    await until(
      patient,
      async () => messages.length,
      (number) => number > 0,
    );
    if (messages.length === 0) return wrong("opens, and nothing comes", "Let your proxy pass on what comes later: no buffers for /live.");
    const before = countOf(messages.at(-1));
    await patient.play({ seq: 1, plays: [{ post_id: patient.postId, timestamp: Date.now() }] });
    await until(
      patient,
      async () => countOf(messages.at(-1)),
      (count) => count > before,
    );
    if (countOf(messages.at(-1)) === before)
      return wrong(
        "opens, and says nothing of a new play",
        "Is the chart of /top-posts right? Then something holds back what comes later.",
      );
    return works(`says of a new play (${messages.length} messages)`);
  } finally {
    close();
  }
}

/** @param {Patient} patient */
async function caching(patient) {
  const ask = () => patient.ask("GET", `/top-posts${patient.query({ timeframe: "1h", k: "10" })}`, { token: patient.tokens.READ_TOKEN });
  await ask();
  await sleep(LOOK_MS);
  // Whoever keeps it shows it now.
  const { headers, status, json, why } = await ask();
  if (status !== 200) return wrong(`charts answer ${why}`, "docs/operate.md says what to do about each answer.");
  const age = Number(headers.get("age") ?? 0);
  const control = headers.get("cache-control") ?? "";
  const most = Number(/max-age=(\d+)/.exec(control)?.[1] ?? 0);
  const oldS = (Date.now() - Date.parse(json.as_of ?? "")) / 1_000;
  if (age > CHART_AGE_S || most > CHART_AGE_S || oldS > 3 * CHART_AGE_S) {
    return wrong(
      `a chart is kept for ${Math.round(Math.max(age, most, oldS || 0))} s`,
      "Let your proxy's cache follow Cache-Control, or not keep /top-posts.",
    );
  }
  const etag = headers.get("etag");
  if (!etag) return wrong("charts have no ETag", "Let your proxy pass it on: who polls then loads nothing that is as it was.");
  const plays = await patient.play({ plays: [] });
  if (/max-age=[1-9]|public/.test(plays.headers.get("cache-control") ?? ""))
    return wrong("answers to plays may be kept", "Let your proxy keep no answer to POST.");
  return works(`charts for a moment (${control || "no Cache-Control"}), with an ETag`);
}

/** @param {Patient} patient */
async function headers(patient) {
  const { status, headers: of, why } = await patient.ask("GET", "/");
  if (status !== 200) return wrong(`the dashboard answers ${why}`, "Are the static files there? `npx hitparade deploy` uploads them.");
  const policy = of.get("content-security-policy") ?? "";
  if (!policy.includes("default-src 'none'"))
    return wrong("the dashboard has no Content-Security-Policy of ours", "Let your proxy pass it on, or set none of its own.");
  if (!/text\/html/.test(of.get("content-type") ?? ""))
    return wrong(`the dashboard is ${of.get("content-type")}`, "Let your proxy pass on Content-Type.");
  return works("the dashboard, with its policy");
}

/** @param {Patient} patient */
async function beacon(patient) {
  const { status, headers: of, text, why } = await patient.ask("GET", "/beacon.js");
  if (status !== 200) return wrong(`answers ${why}`, "Are the static files there? `npx hitparade deploy` uploads them.");
  if (!/javascript/.test(of.get("content-type") ?? ""))
    return wrong(`is ${of.get("content-type")}, which browsers do not run`, "Let your proxy pass on Content-Type.");
  if (/public|s-maxage/.test(of.get("cache-control") ?? ""))
    return wrong("is kept for everybody, with one visitor's region in it", "Let your proxy pass on Cache-Control: private.");
  if (!text.includes("hitparade")) return wrong("is something else", "What does your route or proxy lead to?");
  return works("is served, and kept by browsers only");
}

/** @param {Patient} patient */
async function limits(patient) {
  const { headers: of, status, why } = await patient.play();
  if (status === 429)
    return wrong(
      `this address may not send: ${why}`,
      "Others use its requests: is every visitor seen by your proxy's address? TRUSTED_PROXIES, docs/deploy.md",
    );
  const policy = of.get("ratelimit-policy");
  const left = of.get("ratelimit");
  if (!policy)
    return unknown(
      "none is told",
      'With LIMIT_PER_MINUTE = "0" there is none: anybody may send any number. Or your proxy takes RateLimit out.',
    );
  return works([policy, left].filter(Boolean).join("; now "));
}

/**
 * Asks again until what it hears is so, or for as long as a chart may take.
 * @template T @param {Patient} patient @param {() => Promise<T>} ask @param {(heard: T) => boolean} isSo @returns {Promise<T>} what it heard last
 */
async function until({ ending }, ask, isSo) {
  for (const end = Date.now() + CHART_MS; ; await sleep(LOOK_MS, undefined, { signal: ending.signal })) {
    const heard = await ask();
    if (isSo(heard) || Date.now() > end) return heard;
  }
}
