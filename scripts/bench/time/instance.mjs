/** An instance of the benchmark's Wasm, and messages to it. */
import { instantiate } from "../../lib/wasm-example.mjs";

export function start(module, storage) {
  storage.instance = instantiate(module, storage.imports);
  return storage.instance;
}

export function send(instance, message) {
  const at = instance.message(message.length) >>> 0;
  new Uint8Array(instance.memory.buffer, at, message.length).set(message);
}

export function check(answer) {
  if (answer < 0) throw new Error("the benchmark's global object refused");
  return answer;
}
