/**
 * Makes the demo's files anew from the full data: `node demo/extract.mjs FOLDER`, where FOLDER has
 * flights.tsv.gz, airports.csv and airlines.csv (see README.md).
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { readFlights, readNames } from "../scripts/lib/flights.mjs";

// Four whole weeks that end on a busy afternoon: so does the backfill, and the loop has no seam.
const FROM = "2013-06-02T18:00:00";
const TO = "2013-06-30T18:00:00";

/** Airports that airports.csv does not have. */
const MORE_AIRPORTS = new Map([
  ["BQN", "Rafael Hernandez"],
  ["PSE", "Mercedita"],
  ["SJU", "Luis Munoz Marin Intl"],
  ["STT", "Cyril E King"],
]);

const source = process.argv[2];
if (!source) throw new Error("usage: node demo/extract.mjs FOLDER");
const here = import.meta.dirname ?? new URL(".", import.meta.url).pathname;

const [header, ...rows] = gunzipSync(readFileSync(join(source, "flights.tsv.gz")))
  .toString("utf8")
  .trimEnd()
  .split("\n");
const extract = rows.filter((row) => row >= FROM && row < TO);
writeFileSync(join(here, "flights.tsv.gz"), gzipSync(`${[header, ...extract].join("\n")}\n`, { level: 9 }));

const flights = readFlights(join(here, "flights.tsv.gz"));
const airports = new Map([...readNames(join(source, "airports.csv")), ...MORE_AIRPORTS]);
writeNames(
  "airports.csv",
  "faa,name",
  airports,
  flights.flatMap(({ origin, dest }) => [origin, dest]),
);
const airlines = readNames(join(source, "airlines.csv"));
writeNames(
  "airlines.csv",
  "carrier,name",
  airlines,
  flights.map(({ carrier }) => carrier),
);

function writeNames(file, heading, names, keys) {
  const quote = (text) => (/[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = [...new Set(keys)].sort().map((key) => `${key},${quote(names.get(key) ?? key)}`);
  writeFileSync(join(here, file), `${[heading, ...lines].join("\n")}\n`);
}
