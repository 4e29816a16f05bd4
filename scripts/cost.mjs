/** `npm run dev -- cost`: what 10 regions at a million plays and a million readers a second need, and cost. */
import { CLOUDFLARE, USUAL } from "./cost/prices.mjs";
import { CHARTS_PER_SECOND, OBJECT_REQUESTS_PER_SECOND, cloudflareBill, readMeasured, sizeOf, total, usualBill } from "./lib/cost.mjs";
import { numberOption, readOptions } from "./lib/options.mjs";
import { runMain } from "./lib/say.mjs";

const USAGE = `usage: npm run dev -- cost [--plays 1000000] [--reads 1000000] [--regions 10] [--charts 10] [--batch N]

  --plays N    plays a second, over all regions
  --reads N    charts that are asked for a second
  --regions N  regions, of the same size
  --charts N   different charts; the readers of every region look at all of them
  --batch N    plays in one request; without it three kinds of senders are compared

What was measured is in scripts/cost/measured.json, prices in scripts/cost/prices.mjs.`;

const SENDERS = [
  { name: "browsers, one play a beacon", playsPerBatch: 1 },
  { name: "apps, 20 plays a beacon", playsPerBatch: 20 },
  { name: "servers, 1,000 plays a batch", playsPerBatch: 1_000 },
];

const print = (line) => void process.stdout.write(`${line}\n`);
const count = (number) => Math.round(number).toLocaleString("en");

await runMain(async () => {
  const options = readOptions(USAGE, { plays: "1000000", reads: "1000000", regions: "10", charts: "10", batch: "" });
  if (!options) return;
  const { values, refuse } = options;
  const number = (name, min, max) => numberOption(name, values[name], { min, max }, refuse);
  const workload = {
    playsPerSecond: number("plays", 1, 1e9),
    readsPerSecond: number("reads", 0, 1e9),
    regions: number("regions", 1, 100),
    charts: number("charts", 1, 1_000),
  };
  const senders = values.batch ? [{ name: `${values.batch} plays a batch`, playsPerBatch: number("batch", 1, 10_000) }] : SENDERS;
  const { source, ...measured } = readMeasured();
  print(
    `${workload.regions} regions, ${count(workload.playsPerSecond)} plays/s, ${count(workload.readsPerSecond)} charts/s, ${workload.charts} different charts`,
  );
  print(`measured: ${source}\n`);
  const cases = senders.map(({ name, playsPerBatch }) => ({ name, load: { ...workload, playsPerBatch } }));
  for (const { name, load } of cases) {
    print(`── ${name} ${"─".repeat(Math.max(0, 70 - name.length))}`);
    const size = sizeOf(load, measured);
    printSize(size);
    for (const warning of breaksAt(size)) print(`  ! ${warning}`);
    printBill("Cloudflare, a month", cloudflareBill(load, measured, CLOUDFLARE));
    printBill("Kafka + Flink + Cassandra + Redis on AWS, a month", usualBill(load, USUAL));
  }
});

function printSize(size) {
  const row = (name, value, limit = "") => print(`  ${name.padEnd(46)} ${String(value).padStart(14)}  ${limit}`);
  row("requests with plays, /s", count(size.batchesPerSecond));
  row("shards a region", count(size.shardsPerRegion), "of 1,000");
  row("requests/s of a shard", count(size.shardRequestsPerSecond), `of ${count(OBJECT_REQUESTS_PER_SECOND)}`);
  row("requests/s of the global object", count(size.globalRequestsPerSecond), `of ${count(OBJECT_REQUESTS_PER_SECOND)}`);
  row("· pushes/s", count(size.pushesPerSecond));
  row("· charts/s that shards ask for", count(size.chartsPerSecond));
  row(
    "charts/s that it computes",
    count(size.chartsComputed),
    `of ${CHARTS_PER_SECOND}, and of ${count(size.chartsWithRoom)} for which it has time`,
  );
  row("its processor: pushes, folds, what is live", `${(100 * size.pushBusy).toFixed(0)} %`, "of one core");
  row("its processor: charts", `${(100 * size.chartBusy).toFixed(0)} %`, "of the same");
  row("its memory, MiB", count(size.globalMemoryMiB), "of 128");
  row("bytes pushed to it, MB/s", (size.pushedBytesPerSecond / 1e6).toFixed(1));
  row("folds a minute", size.foldsPerMinute);
  row("storage after a year, GB", size.storageGb.toFixed(2));
  row("play → chart, s: a push and the caches", `≤ ${Math.ceil(size.playToChartS)}`, "of 10");
}

/** Where it does not fit, and what is next. */
function breaksAt(size) {
  const reasons = [];
  if (size.shardsPerRegion > 1_000) reasons.push("more than 1,000 shards a region: make more regions");
  if (size.chartsComputed > size.chartsWithRoom)
    reasons.push("more charts are asked for than the global object has time for: charts grow older");
  if (size.globalMemoryMiB > 96) reasons.push("the global object's memory is short");
  if (size.pushBusy > 0.5 || size.globalRequestsPerSecond > 0.7 * OBJECT_REQUESTS_PER_SECOND) {
    reasons.push("the global object has too many shards: a middle tier, one merging object a region, would push once for all of its own");
  }
  return reasons;
}

function printBill(title, bill) {
  print(`  ${title}`);
  for (const { name, amount, unit, dollars } of bill) {
    print(`    ${name.padEnd(54)} ${short(amount).padStart(9)} ${unit.padEnd(9)} ${`$${count(dollars)}`.padStart(12)}`);
  }
  print(`    ${"".padEnd(74)} ${`$${count(total(bill))}`.padStart(12)}\n`);
}

function short(amount) {
  /** @type {[number, string][]} */
  const units = [
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ];
  const [size, name] = units.find(([size]) => amount >= size) ?? [1, ""];
  return `${Number((amount / size).toPrecision(3))}${name}`;
}
