/** Hides what is around the pictures while nobody touches anything. */

/** Without input for this long, ms. */
export const IDLE_MS = 5000;

/** What counts as input. */
const INPUTS = ["pointermove", "pointerdown", "keydown", "wheel", "touchstart", "focusin"];

/**
 * Sets `data-idle` on the page's root while nobody has touched anything for a while.
 *
 * @param {() => boolean} isHeld whether something is open that must stay
 */
export function hideWhenIdle(isHeld) {
  const root = document.documentElement;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  let [x, y] = [-1, -1];
  const rest = () => {
    if (isHeld()) return wait();
    root.toggleAttribute("data-idle", true);
  };
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(rest, IDLE_MS);
  };
  /** @param {Event} event */
  const touched = (event) => {
    if (event instanceof PointerEvent && event.type === "pointermove") {
      if (event.screenX === x && event.screenY === y) return; // what is below the pointer has moved, not the pointer
      [x, y] = [event.screenX, event.screenY];
    }
    root.toggleAttribute("data-idle", false);
    wait();
  };
  for (const type of INPUTS) addEventListener(type, touched, { capture: true, passive: true });
  wait();
}

/** Keeps the screen on while the page is seen, where the browser can. */
export function stayAwake() {
  /** @type {WakeLockSentinel|null} */
  let lock = null;
  const ask = async () => {
    if (document.hidden || (lock && !lock.released)) return;
    lock = await navigator.wakeLock.request("screen").catch(() => null); // refused, as on a low battery
  };
  if (!("wakeLock" in navigator)) return;
  void ask();
  document.addEventListener("visibilitychange", () => void ask());
}
