/**
 * What the lines of an input say: plays, or why none. A reader keeps what it must know of earlier lines in `state`,
 * which goes into the spool with each batch.
 */
import { postOfAddress } from "./address.mjs";
import { Table } from "./csv.mjs";
import { momentOf, timestampOf } from "./times.mjs";

/**
 * @typedef {{post_id: string | number, region_id?: string, timestamp?: number | string, count?: number, board?: string,
 *   boards?: string[]}} Play
 * @typedef {{plays: Play[], leftOut?: string[]} | "more" | null} Said `leftOut`: why, of the line or of each of its parts that
 *   is no play; `more`: the line goes on in the next one; null: a line that is no record, such as a header
 * @typedef {{read: (text: string) => Said, state: any}} Reader
 * @typedef {(why: string) => never} Refuse
 */

/** What the service reads of a play. Other fields may tell of people; they stay here. */
const PLAY_FIELDS = ["post_id", "region_id", "timestamp", "count", "board", "boards"];

/** Programs that say that they are no browser of a person. */
const BOT =
  /bot\b|bot[/;\s_-]|crawl|spider|slurp|archiver|facebookexternalhit|bingpreview|lighthouse|headless|monitor|uptime|pingdom|preview|fetch|scrap|^(curl|wget|python|go-http|java|okhttp|axios|node|ruby|perl|libwww|php|apache-httpclient|-?$)/i;

/** @param {string} reason @returns {Said} */
const leftOut = (reason) => ({ plays: [], leftOut: [reason] });

/** @type {Record<string, (options: {post: string, status: string, bots: string, columns: string, dates: string}, refuse: Refuse) => Reader>} */
export const READERS = {
  ndjson: ({ columns }, refuse) => {
    const rename = columnsOf(columns, refuse);
    return { state: null, read: (text) => (text.trim() === "" ? null : playsOf(text, rename)) };
  },

  kcat: ({ columns }, refuse) => new KcatReader(columnsOf(columns, refuse)),

  "access-log": (options, refuse) => {
    const views = viewsOf(options, refuse);
    return { state: null, read: (text) => readAccess(text, views) };
  },

  cloudfront: (options, refuse) => new CloudfrontReader(viewsOf(options, refuse)),

  csv: ({ columns, dates }, refuse) => {
    const names = columnsOf(columns, refuse);
    return new TableReader((row, head) => {
      const [id, region, time, count, board] = PLAY_FIELDS.map((field) => names.get(field) ?? columnNamed(head, field));
      if (!(id in row)) return { fatal: `There is no column \`${id}\`; its columns are ${head.join(", ")}. Name it: --columns post_id=…` };
      return playOfRow({ id: row[id], region: row[region], time: row[time], count: row[count], board: row[board] }, { dates });
    });
  },

  plausible: ({ post, dates }, refuse) => {
    const postOf = addressOf(post, refuse);
    return new TableReader((row, head) => {
      const missing = ["date", "page", "pageviews"].find((name) => !(name in row));
      if (missing) {
        return {
          fatal: `There is no column \`${missing}\`, but ${head.join(", ")}. Of the files of Settings, Imports & exports, take imported_pages_….csv`,
        };
      }
      return playOfRow({ id: postOf(row.page), time: row.date, count: row.pageviews }, { dates });
    });
  },

  matomo: ({ post, dates }, refuse) => {
    const postOf = addressOf(post, refuse);
    return new TableReader((row, head) => {
      const missing = ["date", "label", "nb_hits"].find((name) => !(name in row));
      if (missing) {
        return {
          fatal: `There is no column \`${missing}\`, but ${head.join(", ")}. Ask for method=Actions.getPageUrls&flat=1&period=day&date=FROM,TO&format=CSV&translateColumnNames=0`,
        };
      }
      if (row.idsubdatatable) return leftOut("a folder: its pages are rows of their own with flat=1");
      const address = row.metadata_url || row.url || row.label;
      return playOfRow(
        { id: postOf(address.startsWith("/") || address.includes("://") ? address : `/${address}`), time: row.date, count: row.nb_hits },
        { dates },
      );
    });
  },

  goatcounter: ({ post, bots, dates }, refuse) => {
    const postOf = addressOf(post, refuse);
    return new TableReader((row, head) => {
      // Its first column's name begins with the number of the format.
      const path = row[head[0]];
      if (!/^\d+Path$/.test(head[0]) || !("Date" in row))
        return { fatal: `Its columns are ${head.join(", ")}: no CSV export of GoatCounter.` };
      if (isTrue(row.Event)) return leftOut("an event, not a view");
      if (bots === "no" && isTrue(row.Bot)) return leftOut("a bot");
      return playOfRow({ id: postOf(path), time: row.Date, count: "1" }, { dates });
    });
  },
};

const isTrue = (text = "") => !["", "0", "false"].includes(text.trim().toLowerCase());

/** `post_id=slug,timestamp=date` @param {string} text @param {Refuse} refuse @returns {Map<string, string>} */
function columnsOf(text, refuse) {
  const pairs = text
    .split(",")
    .filter(Boolean)
    .map((pair) => pair.split("="));
  for (const [field, name] of pairs) {
    if (!PLAY_FIELDS.includes(field) || !name)
      refuse(`--columns ${text}: write post_id=NAME,timestamp=NAME; the fields are ${PLAY_FIELDS.join(", ")}.`);
  }
  return new Map(pairs.map(([field, name]) => [field, name]));
}

/** What tables usually call our fields. */
const USUAL = {
  post_id: ["post_id", "post", "id"],
  region_id: ["region_id", "region"],
  timestamp: ["timestamp", "time", "date", "day"],
  count: ["count", "plays", "views"],
  board: ["board"],
  // A list is nothing for a table.
  boards: [],
};

/** @param {string[]} head @param {string} field */
const columnNamed = (head, field) => USUAL[field].find((name) => head.includes(name)) ?? field;

const addressOf = (post, refuse) =>
  post ? postOfAddress(post, refuse) : refuse("--post is needed: which part of an address is the post's id.");

/** @returns {Said} */
function playsOf(text, rename) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return leftOut("not JSON");
  }
  // A producer that names its batches itself writes envelopes.
  const list = Array.isArray(value) ? value : Array.isArray(value?.plays) ? value.plays : [value];
  const said = { plays: /** @type {Play[]} */ ([]), leftOut: /** @type {string[]} */ ([]) };
  for (const object of list) {
    /** @type {any} */
    const play = {};
    // An envelope says it of those plays that don't say it themselves.
    if (object !== value && object?.board == null && object?.boards == null) {
      for (const field of ["board", "boards"]) if (value?.[field] != null) play[field] = value[field];
    }
    for (const field of PLAY_FIELDS) {
      const found = object?.[rename.get(field) ?? field];
      if (found !== undefined && found !== null) play[field] = found;
    }
    // What is no play costs none of the others, as with the service.
    if (play.post_id === undefined) said.leftOut.push(`no ${rename.get("post_id") ?? "post_id"}`);
    else said.plays.push(play);
  }
  return said;
}

/** @param {{id: string | null, region?: string, time?: string, count?: string, board?: string}} row @returns {Said} */
function playOfRow({ id, region, time, count, board }, { dates }) {
  if (id === null) return leftOut("an address of no post");
  if (id === "") return leftOut("no id");
  const moment = time === undefined ? null : momentOf(time, dates);
  if (time !== undefined && !moment) {
    return leftOut(
      /^\d{1,2}\/\d{1,2}\/\d{4}/.test(time) ? "a date that could be two days: --dates dmy or mdy says which" : "a time that cannot be read",
    );
  }
  const plays = count === undefined ? 1 : Number(count.trim() || Number.NaN);
  if (!Number.isSafeInteger(plays) || plays < 0) return leftOut("a count that is no whole number");
  if (plays === 0) return leftOut("a count of 0");
  return {
    plays: [
      {
        post_id: id,
        ...(region ? { region_id: region } : {}),
        ...(board ? { board } : {}),
        ...(moment ? { timestamp: timestampOf(moment) } : {}),
        ...(plays > 1 ? { count: plays } : {}),
      },
    ],
  };
}

class TableReader {
  #table = new Table();
  #row;

  /** @param {(row: Record<string, string>, head: string[]) => Said | {fatal: string}} row */
  constructor(row) {
    this.#row = row;
  }

  get state() {
    return this.#table.head;
  }

  set state(head) {
    this.#table.head = head;
  }

  /** @param {string} line @returns {any} */
  read(line) {
    if (line.trim() === "") return null;
    const read = this.#table.read(line);
    if (read === "more") return read;
    if (read === "head") return null;
    if (typeof read === "string") return leftOut(read);
    return this.#row(read, this.#table.head?.columns ?? []);
  }
}

/**
 * The lines of `kcat -J`: each says from which partition it comes, and its offset there. An offset that was read is
 * passed over, so that kcat may begin anew at any earlier one.
 */
class KcatReader {
  /** By `topic/partition`: the next offset. @type {Record<string, {next: number}>} */
  state = {};
  #rename;

  constructor(rename) {
    this.#rename = rename;
  }

  /** @param {string} text @returns {Said} */
  read(text) {
    if (text.trim() === "") return null;
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return leftOut("not JSON");
    }
    const { topic, partition, offset, payload } = message ?? {};
    if (typeof topic !== "string" || !Number.isSafeInteger(partition) || !Number.isSafeInteger(offset))
      return leftOut("no line of `kcat -J`");
    const partitionName = `${topic}/${partition}`;
    if (offset < (this.state[partitionName]?.next ?? 0)) return leftOut("a message that was read before");
    this.state = { ...this.state, [partitionName]: { next: offset + 1 } };
    if (payload === null || payload === undefined) return leftOut("a message without a value");
    return playsOf(typeof payload === "string" ? payload : JSON.stringify(payload), this.#rename);
  }
}

/** Where kcat has to go on, as its `-o` wants it. @param {any} state @param {string} partition `topic/number` */
export const kcatOffset = (state, partition) => String(state?.[partition]?.next ?? "beginning");

/** @typedef {(view: {method: string, address: string, status: string, agent: string | null, time: string}) => Said} Views */

/** Which requests are views of a post. @param {{post: string, status: string, bots: string}} options @param {Refuse} refuse @returns {Views} */
function viewsOf({ post, status, bots }, refuse) {
  const postOf = addressOf(post, refuse);
  const good = new Set(status.split(","));
  if (![...good].every((code) => /^[1-5]\d\d$/.test(code))) refuse(`--status ${status}: write them like 200,304.`);
  return (view) => {
    if (view.method !== "GET") return leftOut("another method than GET");
    if (!good.has(view.status)) return leftOut(`another status than ${status}`);
    const id = postOf(view.address);
    if (!id) return leftOut("an address of no post");
    if (bots === "no" && view.agent !== null && BOT.test(view.agent)) return leftOut("a bot");
    const moment = momentOf(view.time);
    return moment ? { plays: [{ post_id: id, timestamp: moment.ms }] } : leftOut("a time that cannot be read");
  };
}

/** Wherever it stands: before it may be a host's name, or what syslog puts there. */
const ACCESS =
  /\[(\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "([A-Z]+) ([^" ]*)(?: [^"]*)?" (\d{3}) (?:\d+|-)(?: "(?:[^"\\]|\\.)*" "((?:[^"\\]|\\.)*)")?/;

/** The common form, and the combined one, which also has the referrer and the agent. @param {string} text @param {Views} views @returns {Said} */
function readAccess(text, views) {
  if (text.trim() === "") return null;
  const [found, time, method, address, status, agent] = ACCESS.exec(text) ?? [];
  if (found === undefined) return leftOut("no line of an access log");
  // nginx and Apache write bytes that could break the line as \x22.
  const unescaped = address.includes("\\x") ? address.replace(/\\x([0-9A-Fa-f]{2})/g, "%$1") : address;
  return views({ time, method, address: unescaped, status, agent: agent ?? null });
}

/** A log of CloudFront, or another that names its fields in a line `#Fields:`. */
class CloudfrontReader {
  /** @type {string[] | null} */
  state = null;
  #views;

  /** @param {Views} views */
  constructor(views) {
    this.#views = views;
  }

  /** @param {string} text @returns {Said} */
  read(text) {
    if (text.trim() === "") return null;
    if (text.startsWith("#")) {
      if (text.startsWith("#Fields:")) this.state = text.slice(8).trim().split(/\s+/);
      return null;
    }
    if (!this.state) return leftOut("before the line #Fields");
    const values = text.split(text.includes("\t") ? "\t" : " ");
    if (values.length !== this.state.length) return leftOut("another number of fields than #Fields names");
    const of = (/** @type {string} */ name) => values[/** @type {string[]} */ (this.state).indexOf(name)] ?? "-";
    const query = of("cs-uri-query");
    const agent = of("cs(User-Agent)");
    return this.#views({
      time: `${of("date")}T${of("time")}Z`,
      method: of("cs-method"),
      address: query === "-" ? of("cs-uri-stem") : `${of("cs-uri-stem")}?${query}`,
      status: of("sc-status"),
      agent: agent === "-" ? null : decodeAgent(agent),
    });
  }
}

const decodeAgent = (text) => text.replace(/%(?:25)?20|\+/g, " ");
