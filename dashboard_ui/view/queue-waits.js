/** About how long the next runs of the queue wait, as an edge has said last. */

/** By place, ms; empty: not known. @type {readonly number[]} */
let waits = [];

/** @param {unknown} told `queue.waitsMs` of listAgents @returns {boolean} whether anything has changed */
export function setWaits(told) {
  const next = Array.isArray(told) ? told.filter((each) => Number.isFinite(each) && each >= 0) : [];
  const changed = String(next) !== String(waits);
  waits = next;
  return changed;
}

/** `about 40 s` or `about 3 min`; "" if nothing is known. @param {number|undefined} place 1 is the next */
export function aboutWait(place) {
  const ms = place === undefined ? undefined : waits[place - 1];
  if (ms === undefined) return "";
  const s = Math.max(5, Math.round(ms / 5000) * 5);
  return s < 90 ? `about ${s} s` : `about ${Math.round(s / 60)} min`;
}
