/**
 * List prices, in US dollars, each with where it stood. "stored copy": what the address said in a
 * copy of the page that was read on 2026-11-23. Check them before you rely on them.
 */

/** The Workers Paid plan: `price` for each `per` beyond `included`, a month. */
export const CLOUDFLARE = {
  // developers.cloudflare.com/workers/platform/pricing, as transcribed at
  // github.com/halideworks/onelight/wiki/Pricing (2026-08-03)
  plan: { price: 5, per: 1, included: 0 },
  workerRequests: { price: 0.3, per: 1e6, included: 10e6 },
  workerCpu: { price: 0.02, per: 1e6, included: 30e6 },
  // developers.cloudflare.com/durable-objects/platform/pricing (stored copy)
  objectRequests: { price: 0.15, per: 1e6, included: 1e6 },
  objectDuration: { price: 12.5, per: 1e6, included: 400_000 },
  // The same page, in a copy that was read on 2026-11-26
  rowsWritten: { price: 1, per: 1e6, included: 50e6 },
  rowsRead: { price: 0.001, per: 1e6, included: 25e9 },
  storage: { price: 0.2, per: 1, included: 5 },
};

/** What the free plan gives a day; the same pages, in copies that were read on 2026-11-26. */
export const FREE_A_DAY = {
  workerRequests: 100_000,
  objectRequests: 100_000,
  objectDuration: 13_000,
  rowsWritten: 100_000,
  rowsRead: 5e6,
};

/** Kafka, Flink, Cassandra and Redis on AWS, us-east-1 unless it says otherwise. */
export const USUAL = {
  prices: {
    // aws.amazon.com/elasticloadbalancing/pricing, as transcribed 2026-09-20 at
    // raw.githubusercontent.com/api-evangelist/amazon-elastic-load-balancing
    lcuHour: 0.008,
    // m5.2xlarge, gist.github.com/burnsie7/0c439c9e837e0b06f3a82f3ecfc12bfb (2020), rounded there
    machineHour: 0.38,
    // kafka.m5.2xlarge in Seoul, as transcribed from aws.amazon.com/ko/msk/pricing; that of
    // us-east-1 could not be verified
    brokerHour: 1.033,
    // Could not be verified: a GB-month of a broker's disk
    brokerStorage: 0.1,
    // aws.amazon.com/managed-service-apache-flink/pricing, as transcribed 2026-09-20 at
    // raw.githubusercontent.com/api-evangelist/kinesis
    kpuHour: 0.11,
    // Could not be verified: a GB to the internet beyond 150 TB a month
    egressGb: 0.05,
  },
  /** Rules of thumb, none of them measured here: generous to that stack. */
  rates: {
    requestBytes: 600,
    playBytes: 100,
    chartBytes: 1_600,
    /** A collector of 8 cores, over TLS. */
    requestsPerCollector: 40_000,
    requestsPerConnection: 5,
    /** An LCU has 25 new connections a second. */
    connectionsPerLcu: 25,
    /** In, with three copies. */
    mbPerBroker: 60,
    /** A core that keys, counts and merges windows. */
    playsPerKpu: 50_000,
    retentionS: 86_400,
    replicas: 3,
    cassandraMachines: 6,
    redisMachines: 6,
  },
};
