/** Which pictures of a run an animation takes, and its limits. Pure. */

/** @typedef {"webp"|"gif"} Form */

/** The most pictures of an animation: all of them are in memory until it is whole. */
export const MAX_PICTURES = 600;
/** Pixels. Wider pictures are made smaller. @type {Record<Form, number>} */
export const MAX_WIDTH = { webp: 960, gif: 480 };

/**
 * The pictures of a stretch: those between two events, and the one that was shown when it began.
 *
 * @param {import("../client/frames.js").FrameInfo[]} list by number
 * @param {{from: number, to: number}} stretch of sequences
 * @param {{begin: number, end: number}} times of its first and last event, ms; 0: not known
 */
export function picturesOf(list, { from, to }, { begin, end }) {
  const inside = (/** @type {import("../client/frames.js").FrameInfo} */ { seq, at }) => {
    const [value, first, last] = seq ? [seq, from, to] : [at, begin, end];
    return value < first ? -1 : value <= last ? 0 : 1;
  };
  const before = list.filter((info) => inside(info) < 0).slice(-1);
  return [...before, ...list.filter((info) => inside(info) === 0)];
}
