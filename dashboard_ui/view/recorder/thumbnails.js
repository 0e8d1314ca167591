/** Which pictures stand on the strip of a time line. Pure. */

/** @typedef {import("./moments.js").Moments} Moments */
/** @typedef {{from: number, to: number, number: number}} Slot from, to: ms on the time line; number: of its picture, or 0 */

/** The shortest part of a run that has a picture of its own, ms: an agent publishes two a second. */
const SHORTEST_MS = 500;

/**
 * The parts of a time line and the picture of each. While the run goes on, a part keeps its place and its picture: when
 * there are too many parts, every second one stays.
 *
 * @param {Moments} moments
 * @param {number} most how many fit
 * @returns {Slot[]} from left to right
 */
export function slotsOf(moments, most) {
  const { total, list } = moments;
  if (most < 1 || !list.length) return [];
  let length = SHORTEST_MS;
  while (total > most * length) length *= 2;
  /** @type {Slot[]} */
  const slots = [];
  for (let from = 0; from < total || from === 0; from += length) {
    const to = Math.min(from + length, total);
    slots.push({ from, to, number: pictureAt(moments, from, to) });
  }
  return slots;
}

/**
 * The picture that is seen at the start of a part; where there is none yet, its first one.
 *
 * @param {Moments} moments
 * @param {number} from ms
 * @param {number} to ms
 */
function pictureAt(moments, from, to) {
  const { list } = moments;
  for (let i = moments.before(from); i < list.length && list[i].at <= to; i++) {
    const { frame } = list[i];
    if (frame) return frame.number;
  }
  return 0;
}
