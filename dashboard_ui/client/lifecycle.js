/** The lifecycle of the page that a client runs in. In Node there is none: never hidden, no events. */

/** Whether nobody can see the page. */
export const pageHidden = () => globalThis.document?.hidden ?? false;

/**
 * Reports when the page becomes usable again and when it enters the back/forward cache.
 *
 * @param {object} hooks
 * @param {() => void} hooks.onWake the page is online or visible again
 * @param {(seen: boolean) => void} hooks.onSeen the page is visible, or no longer
 * @param {() => void} hooks.onRestore the page comes from the back/forward cache
 * @param {() => void} hooks.onLeave the page enters the back/forward cache
 * @param {AbortSignal} signal ends the reports
 */
export function followPage({ onWake, onSeen, onRestore, onLeave }, signal) {
  if (!globalThis.document) return;
  addEventListener("online", onWake, { signal });
  document.addEventListener("visibilitychange", () => onSeen(!pageHidden()), { signal });
  document.addEventListener("visibilitychange", () => pageHidden() || onWake(), { signal });
  addEventListener("pagehide", ({ persisted }) => persisted && onLeave(), { signal });
  // `pageshow` also follows the first load, when the first connection is already being made.
  addEventListener("pageshow", ({ persisted }) => persisted && onRestore(), { signal });
}
