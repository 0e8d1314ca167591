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
 * Whether what was published of a run before the page was opened is here: its events and the list of its pictures.
 *
 * @param {Run<any>} run
 * @param {import("../client/frames.js").Frames|undefined} frames
 */
export const isWhole = (run, frames) =>
  run.epoch !== null && run.seq >= run.syncedTo && (!frames || frames.supported === false || frames.of(run.id).loaded);
