/**
 * The sockets of `/live`, which sleep with their object. What is done for each of them is done on
 * this side: a loop over 10,000 crosses the border of Wasm once, with one text.
 *
 * The runtime does not tell how much a socket has still to send, and answers a `ping` without
 * waking the object. Its `pong` comes after all that was sent before; so a reader that sends the
 * next `ping` once it has that, says how far it has read.
 */

const TRY_AGAIN_LATER = 1013;
/** Our own: the HTTP status of the chart that was shown, behind 4,000. */
const REGION_DELETED = 4410;
const UNKNOWN_BOARD = 4404;
/** So few need not be spread. */
const ENDED_AT_ONCE = 50;

/** Begins the second tag, which says whose a socket is and sleeps with it too. */
const ADDRESS = "address:";

/** @param {DurableObjectState} context */
export function answerPings(context) {
  context.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
}

/**
 * @param {DurableObjectState} context @param {string} tag @param {string | undefined} address whose it is
 * @param {Uint8Array} asks what it asks for, which is given back as it is @param {string} text its first message
 * @returns {WebSocket} the reader's end
 */
export function accept(context, tag, address, asks, text) {
  const [readers, ours] = Object.values(new WebSocketPair());
  context.acceptWebSocket(ours, address === undefined ? [tag] : [tag, ADDRESS + address]);
  ours.serializeAttachment({ opened_ms: Date.now(), asks });
  ours.send(text);
  return readers;
}

/**
 * @param {DurableObjectState} context @param {string} [tag] only of this one
 * @returns {number} sockets that are open
 */
export const count = (context, tag) => context.getWebSockets(tag).filter(isOpen).length;

/** @param {DurableObjectState} context @param {string} address @returns {number} its sockets that are open */
export const countOf = (context, address) => count(context, ADDRESS + address);

/**
 * @param {DurableObjectState} context @param {string} address
 * @returns {string[]} the tags of the charts that it reads, each once
 */
export function tagsOf(context, address) {
  const open = context.getWebSockets(ADDRESS + address).filter(isOpen);
  return [...new Set(open.map((socket) => context.getTags(socket)[0]))];
}

/**
 * What the sockets of a tag ask for.
 * @param {DurableObjectState} context @param {string} tag @returns {Uint8Array | undefined}
 */
export const asksOf = (context, tag) => context.getWebSockets(tag)[0]?.deserializeAttachment().asks;

/**
 * A look at every socket: to be asked rarely.
 * @param {DurableObjectState} context
 * @returns {string[]} the tag of each chart that is shown, and behind a space the address of all its
 * sockets, where that is one
 */
export function census(context) {
  const owners = new Map();
  for (const socket of context.getWebSockets()) {
    if (!isOpen(socket)) continue;
    const [tag, owner = ""] = context.getTags(socket);
    const address = owner.slice(ADDRESS.length);
    owners.set(tag, owners.has(tag) && owners.get(tag) !== address ? "" : address);
  }
  return Array.from(owners, ([tag, address]) => `${tag} ${address}`);
}

/** Closes all sockets of a tag, whose place others need. @param {DurableObjectState} context @param {string} tag */
export const giveUp = (context, tag) => closeAll(context.getWebSockets(tag), TRY_AGAIN_LATER, "others need the place");

/** Closes all sockets of a tag, whose region is no more. @param {DurableObjectState} context @param {string} tag */
export const endDeleted = (context, tag) => closeAll(context.getWebSockets(tag), REGION_DELETED, "region_deleted");

/** Closes all sockets of a tag, whose board is closed to the public. @param {DurableObjectState} context @param {string} tag */
export const endPrivate = (context, tag) => closeAll(context.getWebSockets(tag), UNKNOWN_BOARD, "unknown_board");

/**
 * Closes some sockets of a tag, whose period is over: a quarter of them, so that their readers do not all come
 * back at the same moment.
 * @param {DurableObjectState} context @param {string} tag
 * @returns {boolean} whether some are left
 */
export function endPeriod(context, tag) {
  const open = context.getWebSockets(tag).filter(isOpen);
  const ended = Math.max(ENDED_AT_ONCE, Math.ceil(open.length / 4));
  closeAll(open.slice(0, ended), TRY_AGAIN_LATER, "the period is over");
  return open.length > ended;
}

/** Closes all sockets of a board that was deleted. @param {DurableObjectState} context */
export const endAll = (context) => closeAll(context.getWebSockets(), REGION_DELETED, "board_deleted");

/**
 * Closes the sockets that were heard from last before a moment, whether or not anything was sent to them:
 * whoever goes away before the 101 arrives leaves one that is open for ever, as the runtime tells nobody.
 * @param {DurableObjectState} context @param {number} heard_since_ms
 */
export function closeUnheard(context, heard_since_ms) {
  const unheard = context.getWebSockets().filter((socket) => isOpen(socket) && heardOf_ms(context, socket) < heard_since_ms);
  closeAll(unheard, TRY_AGAIN_LATER, "not heard of");
}

/** @param {WebSocket[]} sockets @param {number} code @param {string} reason */
function closeAll(sockets, code, reason) {
  for (const socket of sockets) {
    try {
      socket.close(code, reason);
    } catch {
      // The other side closed it just now.
    }
  }
}

/**
 * Sends a text to all sockets of a tag, and closes those that were heard from last before a moment:
 * they get no more, and whoever reads on may connect again.
 * @param {DurableObjectState} context @param {string} tag @param {string} text
 * @param {number} heard_since_ms 0: all are in time
 */
export function send(context, tag, text, heard_since_ms) {
  for (const socket of context.getWebSockets(tag)) {
    if (!isOpen(socket)) continue;
    try {
      if (heard_since_ms > 0 && heardOf_ms(context, socket) < heard_since_ms) socket.close(TRY_AGAIN_LATER, "too slow");
      else socket.send(text);
    } catch {
      // The other side closed it just now.
    }
  }
}

/** When it sent its last ping, or was opened. @param {DurableObjectState} context @param {WebSocket} socket */
const heardOf_ms = (context, socket) =>
  context.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? socket.deserializeAttachment().opened_ms;

/** @param {WebSocket} socket */
const isOpen = ({ readyState }) => readyState === WebSocket.OPEN;
