/**
 * What the runtime's own sockets cost, for `npm run bench -- live`: an object that sends a constant
 * to all of its hibernating sockets, and nothing else. It runs on the same bare workerd.
 *
 *   GET  /      a socket
 *   POST /SIZE  sends so many bytes to all
 */
import { DurableObject } from "cloudflare:workers";

export default {
  /** @param {Request} request @param {{FLOOR: any}} env */
  fetch: (request, env) => env.FLOOR.getByName("sockets").fetch(request),
};

export class Floor extends DurableObject {
  /** @param {Request} request */
  fetch(request) {
    if (request.method === "POST") {
      const text = "x".repeat(Number(new URL(request.url).pathname.slice(1)));
      for (const socket of this.ctx.getWebSockets()) socket.send(text);
      return new Response(null, { status: 202 });
    }
    const [readers, ours] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(ours);
    return new Response(null, { status: 101, webSocket: readers });
  }
}
