/** One client that asks for charts that nobody asked for before, at a rate, whatever it is answered. */
import { connect } from "node:net";

/** Requests of a connection wait behind each other; this many can be under way. */
const CONNECTIONS = 512;
const TICK_MS = 10;
/** Lengths in minutes that are allowed: up to 400 days. */
const MAX_MINUTES = 400 * 24 * 60;

let asked = 0;

/**
 * @param {string} url
 * @param {{perSecond: number}} how
 * @returns {{stop: () => Promise<Map<string, number>>}} the answers by status
 */
export function askForColdCharts(url, { perSecond }) {
  const { hostname, port } = new URL(url);
  /** @type {Map<string, number>} */
  const statuses = new Map();
  const idle = [];
  const sockets = [];
  const open = () => {
    const socket = connect(Number(port), hostname);
    sockets.push(socket);
    socket.setNoDelay();
    socket.on("error", () => {});
    socket.on("data", (data) => {
      const status = /^HTTP\/1\.1 (\d{3})/.exec(data.toString("latin1", 0, 12))?.[1];
      // The rest of an answer that came before.
      if (!status) return;
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      idle.push(socket);
    });
    return socket;
  };
  let due = 0;
  const timer = setInterval(() => {
    for (due += (perSecond * TICK_MS) / 1000; due >= 1; due--) {
      const minutes = 1 + ((asked++ * 7_919) % MAX_MINUTES);
      const socket = idle.pop() ?? (sockets.length < CONNECTIONS ? open() : null);
      if (!socket) {
        statuses.set("unsent", (statuses.get("unsent") ?? 0) + 1);
        continue;
      }
      socket.write(`GET /top-posts?region=global&timeframe=${minutes}m&k=100 HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`);
    }
  }, TICK_MS);
  return {
    stop: async () => {
      clearInterval(timer);
      for (const socket of sockets) socket.destroy();
      return statuses;
    },
  };
}
