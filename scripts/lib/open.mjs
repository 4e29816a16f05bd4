/** Showing a page to whoever sits at this machine. */
import { spawn } from "node:child_process";
import { findOnPath } from "./run.mjs";

/** Opens a page in the browser, where there is a desktop and somebody at the terminal. @param {string} url */
export function openPage(url) {
  const { CI, DISPLAY, WAYLAND_DISPLAY, SSH_CONNECTION } = process.env;
  if (!process.stderr.isTTY || CI || SSH_CONNECTION) return;
  const hasDesktop = process.platform === "darwin" || DISPLAY || WAYLAND_DISPLAY;
  const program = hasDesktop && findOnPath(process.platform === "darwin" ? "open" : "xdg-open");
  if (!program) return;
  const child = spawn(program, [url], { detached: true, stdio: "ignore" });
  // The address is on the screen too.
  child.on("error", () => {});
  child.unref();
}
