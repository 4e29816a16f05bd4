/** Many readers of a WebSocket in one process: plain connections that count what comes. */
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** Handshakes under way at once. */
const OPENING = 64;
const HANDSHAKE_MS = 30_000;

export class Readers {
  #sockets = [];
  /** Bytes that each socket got since `expect`. @type {number[]} */
  #bytes = [];

  /** @param {string} url of the socket, with `http:` */
  constructor(url) {
    this.url = new URL(url);
  }

  get count() {
    return this.#sockets.length;
  }

  /** Opens more of them, until there are so many. @param {number} count */
  async open(count) {
    let next = this.count;
    const openNext = async () => {
      while (next < count) {
        const number = next++;
        const { head, socket } = await shakeHands(this.url);
        if (!/^HTTP\/1\.1 101 /.test(head)) throw new Error(`socket ${number}: ${head}`);
        this.#bytes[number] = 0;
        socket.on("data", (data) => (this.#bytes[number] += data.length));
        this.#sockets.push(socket);
      }
    };
    await Promise.all(Array.from({ length: OPENING }, openNext));
  }

  /** What one more is answered. @returns {Promise<string>} head of the answer */
  async refused() {
    const { head, socket } = await shakeHands(this.url);
    socket.destroy();
    return head;
  }

  /** From now on what comes is counted. */
  expect() {
    this.#bytes.fill(0);
  }

  /** Until each has got something. @returns {Promise<number>} bytes in all */
  async got(timeoutMs) {
    for (const deadline = Date.now() + timeoutMs; this.#bytes.some((bytes) => bytes === 0); await sleep(20)) {
      const waiting = this.#bytes.filter((bytes) => bytes === 0).length;
      if (Date.now() > deadline) throw new Error(`${waiting} of ${this.count} sockets got nothing`);
    }
    return this.#bytes.reduce((sum, bytes) => sum + bytes, 0);
  }

  close() {
    for (const socket of this.#sockets.splice(0)) socket.destroy();
    this.#bytes = [];
  }
}

/** @param {URL} url @returns {Promise<{head: string, socket: import("node:net").Socket}>} */
function shakeHands({ hostname, port, pathname, search }) {
  return new Promise((done, fail) => {
    const socket = connect(Number(port), hostname);
    socket.setTimeout(HANDSHAKE_MS, () => socket.destroy(new Error("no handshake in time")));
    socket.on("error", fail);
    socket.once("data", (data) => {
      socket.setTimeout(0);
      done({ head: data.toString("latin1").split("\r\n\r\n")[0], socket });
    });
    socket.write(
      `GET ${pathname}${search} HTTP/1.1\r\nHost: ${hostname}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
  });
}
