/**
 * Whether somebody looks at this page. A tab that nobody sees asks for nothing. Nor does one that lies open and that
 * nobody has touched for a while ask for what stands around its chart: forgotten, it would ask for as much as a thousand
 * readers. Its chart goes on. When somebody touches it again, `attended` is told to the document.
 */
const UNTOUCHED_MS = 15 * 60_000;

let touched = performance.now();
function touch() {
  const isBack = isVisible() && !isAttended();
  touched = performance.now();
  if (isBack) document.dispatchEvent(new Event("attended"));
}
for (const type of ["pointermove", "pointerdown", "keydown", "wheel", "scroll", "touchstart", "visibilitychange"]) {
  document.addEventListener(type, touch, { capture: true, passive: true });
}

export const isVisible = () => document.visibilityState === "visible";

export const isAttended = () => isVisible() && performance.now() - touched < UNTOUCHED_MS;
