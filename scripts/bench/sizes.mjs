/**
 * `npm run bench -- sizes`: what a day of five sites takes, on virtual time through the drivers of src/, and which
 * plan it fits. The sites are those of tests/bill/day.rs; of the larger ones a part is run, and counted as often as
 * it goes into the day.
 */
import { CLOUDFLARE, FREE_A_DAY } from "../cost/prices.mjs";
import { MONTH_S, cloudflareBill, dollarsOf, readMeasured, total } from "../lib/cost.mjs";
import { Report } from "../lib/report.mjs";
import { say } from "../lib/say.mjs";
import { DAY, runBill, sum } from "./bill.mjs";

const SITES = ["blog", "magazine", "radio", "national", "worldwide"];
/** Every request meets a Worker that has just been started; or all meet one, as on one machine. */
const ISOLATES = ["fresh", "one"];
const DAY_S = 86_400;
const DAYS_A_MONTH = MONTH_S / DAY_S;

/** @param {{json: boolean}} how @returns {Promise<boolean>} */
export async function run({ json }) {
  const report = new Report();
  for (const name of SITES) {
    for (const isolates of ISOLATES) {
      say(`▸ ${name}, ${isolates === "one" ? "one Worker" : "fresh Workers"}`);
      const bill = await runBill(DAY, { BILL_SITE: name, BILL_ISOLATES: isolates });
      const { site } = bill;
      const a_day = takenADay(bill);
      const title = `${name}, ${isolates === "one" ? "one Worker" : "fresh Workers"}`;
      report.add(`${title}: requests to Workers a day`, a_day.workerRequests, "");
      report.add("· requests to objects", a_day.objectRequests, "");
      report.add("· rows written", a_day.rowsWritten, "");
      report.add("· rows read", a_day.rowsRead, "");
      report.add("· duration of objects", a_day.objectDuration, "GB-s");
      report.add("· fullest limit of the free plan", fullest(a_day), "×");
      report.add("· a month by list price", fullest(a_day) <= 1 ? 0 : monthly(a_day, site), "$");
      report.add("· as `npm run dev -- cost` has it", modelled(site), "$");
    }
  }
  return report.print({ json, title: "Days of five sites, by the platform's price list", command: "npm run bench -- sizes" });
}

/** @param {any} bill of the part that was run */
function takenADay({ site, requests, requests_to_workers, rows, rows_read, gb_s }) {
  const times = (site.times * DAY_S * 1_000) / site.runs_ms;
  return {
    workerRequests: requests_to_workers * times,
    objectRequests: sum(requests) * times,
    objectDuration: gb_s * times,
    rowsWritten: sum(rows) * times,
    rowsRead: rows_read * times,
  };
}

/** How much of what the free plan gives is taken, of that of which most is. */
const fullest = (a_day) => Math.max(...Object.entries(FREE_A_DAY).map(([what, most]) => a_day[what] / most));

/** On the paid plan. */
function monthly(a_day, site) {
  const { batchCpuMs, readCpuMs } = readMeasured();
  const cpuMs = (site.plays_a_day * batchCpuMs + site.charts_a_day * readCpuMs) * site.times;
  const counted = Object.entries(a_day).map(([what, amount]) => dollarsOf(amount * DAYS_A_MONTH, CLOUDFLARE[what]));
  return CLOUDFLARE.plan.price + dollarsOf(cpuMs * DAYS_A_MONTH, CLOUDFLARE.workerCpu) + counted.reduce((all, it) => all + it, 0);
}

/** Every shard busy and awake all the time. */
function modelled({ regions, plays_a_day, charts_a_day, times }) {
  const workload = {
    regions,
    playsPerSecond: (plays_a_day * times) / DAY_S,
    playsPerBatch: 1,
    readsPerSecond: (charts_a_day * times) / DAY_S,
    charts: regions + 1,
  };
  return total(cloudflareBill(workload, readMeasured(), CLOUDFLARE));
}
