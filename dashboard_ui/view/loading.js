/** A page is shown when its first state is here as a whole: nothing on it moves while it loads. */

/** Then it is shown as it is, ms. */
const AT_LATEST_MS = 3000;

/**
 * @param {HTMLElement} root of the page
 * @returns {() => void} shows it
 */
export function hideWhileLoading(root) {
  const show = () => void root.removeAttribute("data-loading");
  root.toggleAttribute("data-loading", true);
  setTimeout(show, AT_LATEST_MS);
  return show;
}

/**
 * Whether what was published of a run before the page was opened is here and drawn: its events and the list of its
 * pictures. The list may come between the events and the frame that draws them.
 *
 * @param {Run<any>} run
 * @param {number} drawnTo the newest event that is drawn
 * @param {import("../client/frames.js").Frames|undefined} frames
 */
export const isWhole = (run, drawnTo, frames) =>
  run.epoch !== null && drawnTo >= run.syncedTo && (!frames || frames.supported === false || frames.of(run.id).loaded);
