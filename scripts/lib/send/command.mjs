/** `hitparade send`, and what `hitparade import --from` does with its files. */
import { createReadStream, fstatSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { numberOption, readOptions } from "../options.mjs";
import { DEV_VARS } from "../paths.mjs";
import { Advice, say } from "../say.mjs";
import { newestOf, readSettings, workerVariables } from "../variables.mjs";
import { PATTERN_HELP } from "./address.mjs";
import { makeBoard } from "../client.mjs";
import { Delivery } from "./deliver.mjs";
import { Follow } from "./follow.mjs";
import { Lines, unpacked } from "./lines.mjs";
import { LeftOut, pump, takerOf } from "./pump.mjs";
import { preview } from "./preview.mjs";
import { Progress } from "./progress.mjs";
import { READERS, kcatOffset } from "./readers.mjs";
import { Spool } from "./spool.mjs";

/** An input that can be read again needs no more than what keeps the connections busy. */
const WAITING_BATCHES = 8;
/** What cannot be read again waits in the spool: a day of 100 plays/s. */
const MAX_SPOOL_BYTES = 1 << 30;
/** After SIGTERM: what is not answered by then is sent at the next start. */
const END_MS = 10_000;
const MAX_CONNECTIONS = 32;

const SHARED = `  --url URL         the installation (http://127.0.0.1:8787); INGEST_TOKEN is taken from the environment or from .dev.vars
  --region ID       of plays that name none; without it they count where this machine is
  --board ID        of plays that name none; without it they count on \`main\`
  --post PATTERN    which part of an address is the post's id:
${PATTERN_HELP}
  --columns NAMES   where the fields have other names: post_id=slug,timestamp=date
  --dates dmy|mdy   what 1/2/2026 means; without it such a line is left out
  --encoding NAME   if not utf-8, such as latin1; UTF-16 and gzip are recognised
  --connections N   batches at a time (4)
  --dry-run         shows what would come in, and sends nothing`;

const USAGE = `usage: … | npx hitparade send [--url URL] [--region ID] [--board ID] [--from FORM]

Reads plays from standard input and sends them until they are counted, each once, also when it is killed and
started again: what was read before is passed over (docs/ingest.md).

  --from FORM       ndjson (default), csv, access-log (nginx, Apache: common and combined), cloudfront, kcat (-J)
  --follow FILE     instead of standard input: this file as it grows, also when it is rotated
  --stream          each start brings other lines: none is passed over
  --confirm         as --stream; says OK for each line once it is on disk (omprog of rsyslog)
  --status CODES    of requests that count in logs (200)
  --bots no|count   requests of programs in logs, by their agent: left out (default), or counted
  --where PARTITION of Kafka, such as plays/0: only prints where \`kcat -o\` has to go on, by the spool
  --spool DIR       where batches wait, and how far the input was read; .hitparade/send here
${SHARED}`;

const IMPORT_USAGE = `usage: npx hitparade import --from plausible|matomo|goatcounter|csv --file FILE [--url URL] [--region ID] [--board ID]

Brings the views of another system along, at their days. Broken off, it may be started again: what was taken is not
taken twice (docs/ingest.md).

  --file FILE       what the other system exported
  --bots no|count   those that GoatCounter saw: left out (default), or counted
  --spool DIR       where batches wait, and how far the input was read; FILE.sending
${SHARED}`;

const DEFAULTS = {
  url: "http://127.0.0.1:8787",
  region: "",
  board: "",
  from: "",
  post: "",
  columns: "",
  dates: "",
  encoding: "utf-8",
  spool: "",
  connections: "4",
  bots: "no",
  "dry-run": false,
};
const STREAMS = ["ndjson", "csv", "access-log", "cloudfront", "kcat"];
const FILES = ["plausible", "matomo", "goatcounter", "csv"];

/** `hitparade send` @returns {Promise<number>} the exit code */
export async function send() {
  const options = readOptions(USAGE, {
    ...DEFAULTS,
    from: "ndjson",
    status: "200",
    follow: "",
    stream: false,
    confirm: false,
    where: "",
  });
  if (!options) return 0;
  const { values, refuse } = options;
  if (!STREAMS.includes(values.from)) refuse(`--from ${values.from}: one of ${STREAMS.join(", ")}.`);
  const spool = resolve(values.spool || join(".hitparade", "send"));
  if (values.where) {
    process.stdout.write(`${kcatOffset(Spool.placeOf(spool, isOfStream)?.reader, values.where)}\n`);
    return 0;
  }
  if (!values.follow && process.stdin.isTTY) refuse("Nothing is piped in.");
  if (values.follow && (values.stream || values.confirm)) refuse("--follow knows what it has read: without --stream or --confirm.");
  return work(values, refuse, {
    spool,
    input: values.follow ? null : process.stdin,
    isStream: values.stream || values.confirm || values.from === "kcat",
    isFile: !values.follow && fstatSync(0).isFile(),
  });
}

/** `hitparade import --from` @returns {Promise<number>} the exit code */
export async function importFrom() {
  const options = readOptions(IMPORT_USAGE, { ...DEFAULTS, file: "" });
  if (!options) return 0;
  const { values, refuse } = options;
  Object.assign(values, { status: "200", follow: "" });
  if (!FILES.includes(values.from)) refuse(`--from ${values.from}: one of ${FILES.join(", ")}.`);
  const file = values.file || refuse("--file needs the name of a file.");
  if (!statSync(file, { throwIfNoEntry: false })?.isFile()) throw new Advice(`${file} is no file.`);
  const spool = resolve(values.spool || `${file}.sending`);
  return work(values, refuse, { spool, input: createReadStream(file, { highWaterMark: 1 << 18 }), isStream: false, isFile: true });
}

/** @param {string} url @param {(why: string) => never} refuse */
function addressOf(url, refuse) {
  try {
    const { origin, pathname, protocol } = new URL(url);
    if (/^https?:$/.test(protocol)) return origin + pathname.replace(/\/+$/, "");
  } catch {}
  return refuse(`--url ${url}: the address of an installation is needed, such as http://127.0.0.1:8787.`);
}

async function work(values, refuse, { spool: folder, input, isStream, isFile }) {
  const url = addressOf(values.url, refuse);
  const connections = numberOption("connections", values.connections, { min: 1, max: MAX_CONNECTIONS }, refuse);
  for (const [name, allowed] of Object.entries({ bots: ["no", "count"], dates: ["", "dmy", "mdy"] })) {
    if (!allowed.includes(values[name])) refuse(`--${name} ${values[name]}: ${allowed.filter(Boolean).join(" or ")}.`);
  }
  const encoding = encodingOf(values.encoding, refuse);
  const reader = READERS[values.from](values, refuse);
  const leftOut = new LeftOut();
  const take = takerOf({ reader, encoding, region: values.region, board: values.board, leftOut });
  if (values["dry-run"]) {
    const words = await preview(new Lines(unpacked(input ?? createReadStream(values.follow))), take);
    for (const line of [...words, ...leftOut.inWords()]) say(line);
    return 0;
  }

  const token = workerVariables(readSettings([])).INGEST_TOKEN;
  if (!token) throw new Advice("INGEST_TOKEN is needed.", `Put it into the environment or into ${DEV_VARS}.`);
  const stop = stopOnSignals();
  /** When nothing more is read, whatever the reason: who follows a log would wait for its next line. */
  const ended = new AbortController();
  const isPassedOver = !values.stream && !values.confirm;
  const spool = new Spool(folder, url, isPassedOver ? { board: values.board, region: values.region } : null);
  const progress = new Progress(() => inWords());
  const delivery = new Delivery(spool, { url, token: newestOf(token), connections, tell: (text) => progress.say(text) });
  const read = { lines: 0, entries: 0 };
  let isReported = false;
  // Of a log that is read now and then there may be nothing new but lines of programs.
  let goesOn = false;
  const inWords = () => {
    const waiting = spool.waiting.reduce((sum, { count }) => sum + count, 0);
    return `${read.lines} lines read, ${delivery.counts.accepted} ${unitOf(delivery.counts)} counted${waiting ? `, ${waiting} wait` : ""}${delivery.trouble ? ` (${delivery.trouble})` : ""}`;
  };
  try {
    spool.sealConfirmed();
    const before = spool.waiting.reduce((sum, { count }) => sum + count, 0);
    if (before > 0) progress.say(`▸ ${before} plays wait in ${folder} from before`);
    delivery.wake();
    const tell = (text) => progress.say(text);
    const begun = (place) => spool.begunAt({ input: place, reader: reader.state });
    const source = input
      ? new Lines(unpacked(input))
      : new Follow(values.follow, { stop: AbortSignal.any([stop, ended.signal]), tell, begun: isStream ? () => {} : begun });
    const goOn = (place) => {
      if (spool.goOn(place))
        tell("▸ the spool keeps the places of 32 inputs, and this is one more: the one that was read longest ago would count again");
    };
    if (isStream) {
      goOn(spool.places.find(isOfStream) ?? null);
      if (values.from === "kcat") reader.state = spool.place?.reader ?? {};
    } else {
      const inputs = spool.places.map(({ input }) => input).filter(Boolean);
      const said = await Promise.race([source.passOver(inputs), aborted(stop), delivery.failed()]);
      const place = said !== "stop" && "place" in said ? spool.places.find(({ input }) => input === said.place) : null;
      goesOn = Boolean(place);
      if (place?.input.bytes > 0) progress.say(`▸ what was read of this input before is passed over (${place.input.bytes} bytes)`);
      if (said !== "stop" && said.found === "short") return await finish();
      if (place) reader.state = place.reader;
      if (said !== "stop") goOn(place);
    }
    /** @type {unknown} */
    let trouble;
    await pump({
      source,
      take,
      reader,
      spool,
      delivery,
      canRepeat: !isStream,
      knowsPlaces: values.from === "kcat",
      isFile,
      confirm: values.confirm ? (text) => void process.stdout.write(`${text}\n`) : null,
      mostWaiting: isStream ? Infinity : WAITING_BATCHES,
      mostWaitingBytes: MAX_SPOOL_BYTES,
      stop,
      read,
    }).catch((error) => {
      if (delivery.error) throw error;
      trouble = error;
    });
    // What was read before is sent all the same.
    const code = await finish();
    if (trouble) throw trouble;
    return code;
  } catch (error) {
    // The next start passes over what was read: nobody else would say what was left out of it.
    if (!isReported && read.lines > 0) await tellAll();
    throw error;
  } finally {
    ended.abort();
    await delivery.stop();
    progress.end();
    spool.release();
    input?.destroy();
  }

  async function finish() {
    await Promise.race([delivery.room(1), aborted(stop)]);
    // While nobody answers, there is nothing to wait for.
    const over = AbortSignal.timeout(END_MS);
    while (stop.aborted && spool.waiting.length > 0 && !delivery.trouble && !over.aborted)
      await Promise.race([delivery.changed(), sleep(100)]);
    return tellAll();
  }

  async function tellAll() {
    await delivery.stop();
    progress.end();
    isReported = true;
    return report({
      url,
      board: values.board,
      folder,
      read,
      delivery,
      spool,
      leftOut,
      isFruitless: () => !goesOn && !stop.aborted && read.entries === 0,
    });
  }
}

/** Of lines that cannot be read again: where they come from, or the last one that was confirmed. */
const isOfStream = (/** @type {any} */ place) => !place.input;

/** @param {AbortSignal} signal @returns {Promise<"stop">} */
const aborted = (signal) =>
  new Promise((done) => (signal.aborted ? done("stop") : signal.addEventListener("abort", () => done("stop"), { once: true })));

/** The first SIGTERM or SIGINT ends it cleanly, the second at once. */
function stopOnSignals() {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"]) {
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(1);
      stop.abort();
    });
  }
  // Whoever read the progress is gone; the plays are not.
  process.stderr.on("error", () => {});
  process.stdout.on("error", () => stop.abort());
  return stop.signal;
}

function encodingOf(name, refuse) {
  try {
    return new TextDecoder(name).encoding;
  } catch {
    return refuse(`--encoding ${name}: there is no such encoding.`);
  }
}

/** What the service says that it took: an entry with a count is one, and stands for many plays. */
const unitOf = ({ accepted, plays }) => (plays > accepted ? "entries" : "plays");

function report({ url, board, folder, read, delivery, spool, leftOut, isFruitless }) {
  const { accepted, plays, repeated, rejected, inDoubt, refused } = delivery.counts;
  const unit = unitOf(delivery.counts);
  say(`${url}: ${accepted} ${unit} counted, of ${read.lines} lines${repeated ? ` (${repeated} of them had been counted already)` : ""}.`);
  if (plays > accepted) say(`  Entries with a count stand for many plays: these for ${plays}.`);
  for (const line of leftOut.inWords()) say(line);
  for (const [code, times] of rejected) {
    say(`! ${times} ${unit} were rejected: ${code} (${join(folder, "rejected.ndjson")})`);
    if (code === "unknown_board") {
      say(`  ${makeBoard(url, board || "ID")}`);
      sendAgain(folder);
    }
    if (code === "unknown_region") {
      say(
        `  Which there are: curl ${url}/regions; the admin token makes another one (PUT /regions/ID, docs/api.md). Or correct region_id in that file.`,
      );
      sendAgain(folder);
    }
  }
  if (inDoubt + refused > 0) say(`! ${inDoubt + refused} ${unit} were set aside: ${delivery.setAside.join(", ")}`);
  const { damaged } = spool;
  if (damaged.lines > 0) say(`! ${damaged.lines} confirmed lines are damaged on the disk and were set aside: ${damaged.file}`);
  const waiting = spool.waiting.reduce((sum, { count }) => sum + count, 0);
  if (waiting > 0) say(`▸ ${waiting} ${unit} wait in ${folder}: the next start sends them`);
  if (leftOut.reasons.size > 0 && isFruitless()) {
    say("! Every line was left out: --dry-run shows what would come in.");
    return 1;
  }
  return rejected.size > 0 || inDoubt + refused + damaged.lines > 0 ? 1 : 0;
}

/** @param {string} folder of the spool */
const sendAgain = (folder) =>
  say(`  Then send them: npx hitparade send --spool ${join(folder, "again")} < ${join(folder, "rejected.ndjson")}`);
