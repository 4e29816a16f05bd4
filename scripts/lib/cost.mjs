/**
 * What an installation of a size needs and costs: arithmetic on measured figures, list prices and
 * the platform's limits. Everything that it takes for granted is an argument or a constant here.
 *
 * @typedef {object} Workload
 * @property {number} regions
 * @property {number} playsPerSecond over all regions
 * @property {number} playsPerBatch in one request
 * @property {number} readsPerSecond charts that are asked for
 * @property {number} charts different ones; readers of every region look at all of them
 *
 * @typedef {object} Measured
 * @property {number} pushMs processor time of the global object for a push, its share of folds included
 * @property {number} liveMs … for merging what is live, once a second, at 1,000 shards
 * @property {number} chartMs … for a chart, with its previous ranks
 * @property {number} pushBytes copies of the open panes of a busy shard
 * @property {number} playsPerSecondOfShard in large batches
 * @property {number} rowsPerBatch of a busy shard
 * @property {number} globalRowsPerMinute of 10 regions
 * @property {[{shards: number, mib: number}, {shards: number, mib: number}]} memory of the global object, at two sizes
 * @property {number} batchCpuMs of a Worker and its shard for a batch of one play: of the Worker, at most
 * @property {number} readCpuMs of a Worker for a chart that was given a moment ago
 * @property {number} storageMbPerRegion after a year
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./paths.mjs";

/** Figures of this service, and where they are from. @returns {Measured & {source: string}} */
export const readMeasured = () => JSON.parse(readFileSync(join(ROOT, "scripts", "cost", "measured.json"), "utf8"));

export const MONTH_S = 730 * 3_600;
const GB = 1e9;

/** Of the platform: a soft limit of requests a second an object, and its memory. */
export const OBJECT_REQUESTS_PER_SECOND = 1_000;
const MEMORY_GB = 0.128;
/** Plan for so much of a limit: load is not even. */
const HEADROOM = 0.7;
const PUSH_INTERVAL_S = 5;
/** Pushes that the global object takes a second; more shards are told to push less often (src/global/pace.rs). */
const PUSHES_PER_SECOND = 500;
/** What all caches of charts together keep one for. */
const CACHES_S = 3;
/** How long merged copies of open panes serve charts (`LIVE_MAX_AGE_MS` of src/global). */
const LIVE_S = 1;
/** A shard asks for a chart that readers look at this often (`FRESH_MS` of src/region/charts.rs). */
const CHART_INTERVAL_S = 2;
/** Warm charts that the global object computes a second (src/global/turns.rs). */
export const CHARTS_PER_SECOND = 60;

/**
 * @param {Workload} workload
 * @param {Measured} measured
 */
export function sizeOf(workload, measured) {
  const { regions, playsPerSecond, playsPerBatch, readsPerSecond, charts } = workload;
  const batchesPerSecond = playsPerSecond / playsPerBatch;
  const perRegion = { batches: batchesPerSecond / regions, plays: playsPerSecond / regions };
  const shardsPerRegion = Math.max(
    Math.ceil(perRegion.batches / (HEADROOM * OBJECT_REQUESTS_PER_SECOND)),
    Math.ceil(perRegion.plays / (HEADROOM * measured.playsPerSecondOfShard)),
    1,
  );
  const shards = regions * shardsPerRegion;
  const pushIntervalS = Math.max(PUSH_INTERVAL_S, shards / PUSHES_PER_SECOND);
  const pushesPerSecond = shards / pushIntervalS;
  const chartsPerSecond = (regions * charts) / CHART_INTERVAL_S;
  // Whoever asks before anything can be different gets the one that is there (src/global/chart.rs).
  const chartsComputed = Math.min(chartsPerSecond, charts / LIVE_S);
  const pushBusy = (pushesPerSecond * measured.pushMs + (shards / 1_000) * measured.liveMs) / 1_000;
  const chartBusy = (Math.min(chartsComputed, CHARTS_PER_SECOND) * measured.chartMs) / 1_000;
  return {
    batchesPerSecond,
    readsPerSecond,
    shardsPerRegion,
    shards,
    shardRequestsPerSecond: batchesPerSecond / shards,
    pushIntervalS,
    pushesPerSecond,
    chartsPerSecond,
    chartsComputed,
    globalRequestsPerSecond: pushesPerSecond + chartsPerSecond,
    pushBusy,
    chartBusy,
    /** Charts a second for which there is time beside the pushes. */
    chartsWithRoom: Math.min(CHARTS_PER_SECOND, (1_000 * Math.max(0, HEADROOM - pushBusy)) / measured.chartMs),
    pushedBytesPerSecond: pushesPerSecond * measured.pushBytes,
    foldsPerMinute: 1,
    globalMemoryMiB: memoryAt(shards, measured.memory),
    storageGb: ((regions + 1) * measured.storageMbPerRegion) / 1_000,
    playToChartS: pushIntervalS + LIVE_S + CACHES_S,
  };
}

/** On the line through two measurements; never less than the first. */
function memoryAt(shards, [small, large]) {
  const perShard = (large.mib - small.mib) / (large.shards - small.shards);
  return Math.max(small.mib, small.mib + (shards - small.shards) * perShard);
}

/** What so much of something costs in a month. @param {number} amount @param {{price: number, per: number, included: number}} list */
export const dollarsOf = (amount, { price, per, included }) => (Math.max(0, amount - included) / per) * price;

/**
 * The bill of a month on Cloudflare.
 * @param {Workload} workload
 * @param {Measured} measured
 * @param {Record<string, {price: number, per: number, included: number}>} prices
 * @returns {{name: string, amount: number, unit: string, dollars: number}[]}
 */
export function cloudflareBill(workload, measured, prices) {
  const size = sizeOf(workload, measured);
  const alarmsPerSecond = size.pushesPerSecond;
  const workerRequests = (size.batchesPerSecond + size.readsPerSecond) * MONTH_S;
  // A batch is a request to its shard; a push an alarm and a request; a chart that is asked for, two.
  const objectRequests = (size.batchesPerSecond + 2 * size.pushesPerSecond + 2 * size.chartsPerSecond) * MONTH_S;
  const cpuMs = (size.batchesPerSecond * measured.batchCpuMs + size.readsPerSecond * measured.readCpuMs) * MONTH_S;
  const rows =
    (size.batchesPerSecond * measured.rowsPerBatch + alarmsPerSecond + (measured.globalRowsPerMinute * workload.regions) / 600) * MONTH_S;
  const line = (name, amount, unit, price) => ({ name, amount, unit, dollars: dollarsOf(amount, price) });
  return [
    { name: "Workers Paid", amount: 1, unit: "month", dollars: prices.plan.price },
    line("requests to Workers: batches and charts", workerRequests, "requests", prices.workerRequests),
    line("processor time of Workers", cpuMs, "ms", prices.workerCpu),
    line("requests to objects: batches, alarms, pushes, charts", objectRequests, "requests", prices.objectRequests),
    line("duration of objects, awake all the time", (size.shards + 1) * MEMORY_GB * MONTH_S, "GB-s", prices.objectDuration),
    line("rows written", rows, "rows", prices.rowsWritten),
    line("storage", size.storageGb, "GB", prices.storage),
  ];
}

/**
 * The same on Kafka, Flink, Cassandra and Redis with collectors in front, in one cloud region.
 * Sizing rules are those of `prices`' comments: coarse, and in favour of that stack.
 * @param {Workload} workload
 * @param {typeof import("../cost/prices.mjs").USUAL} usual
 */
export function usualBill({ playsPerSecond, playsPerBatch, readsPerSecond }, usual) {
  const { rates, prices } = usual;
  const hours = MONTH_S / 3_600;
  const requestsPerSecond = playsPerSecond / playsPerBatch + readsPerSecond;
  const inGbPerHour = (((playsPerSecond / playsPerBatch) * rates.requestBytes + playsPerSecond * rates.playBytes) * 3_600) / GB;
  const outGbPerHour = (readsPerSecond * rates.chartBytes * 3_600) / GB;
  const kafkaMbPerSecond = (playsPerSecond * rates.playBytes) / 1e6;
  const machines = (perSecond, each) => Math.max(3, Math.ceil(perSecond / (HEADROOM * each)));
  const line = (name, amount, unit, dollars) => ({ name, amount, unit, dollars });
  const collectors = machines(requestsPerSecond, rates.requestsPerCollector);
  const brokers = machines(kafkaMbPerSecond, rates.mbPerBroker);
  const kpus = Math.ceil(playsPerSecond / (HEADROOM * rates.playsPerKpu)) + 1;
  const lcus = Math.max(inGbPerHour + outGbPerHour, requestsPerSecond / rates.requestsPerConnection / rates.connectionsPerLcu);
  const retainedGb = (kafkaMbPerSecond * 1e6 * rates.retentionS * rates.replicas) / GB;
  return [
    line("load balancer capacity units", lcus, "LCU", lcus * prices.lcuHour * hours),
    line("collectors and chart servers", collectors, "machines", collectors * prices.machineHour * hours),
    line("Kafka brokers", brokers, "brokers", brokers * prices.brokerHour * hours),
    line("Kafka storage, a day, three copies", retainedGb, "GB", retainedGb * prices.brokerStorage),
    line("Flink", kpus, "KPU", kpus * prices.kpuHour * hours),
    line("Cassandra, three copies", rates.cassandraMachines, "machines", rates.cassandraMachines * prices.machineHour * hours),
    line("Redis", rates.redisMachines, "machines", rates.redisMachines * prices.machineHour * hours),
    line("data out to readers", outGbPerHour * hours, "GB", outGbPerHour * hours * prices.egressGb),
  ];
}

export const total = (bill) => bill.reduce((sum, { dollars }) => sum + dollars, 0);
