/** Where the pictures of a wall are: as large as they can be in the window. Pure. */

/** Width by height of a picture. */
export const RATIO = 16 / 9;

/** @typedef {{columns: number, rows: number, width: number, height: number}} Layout the size is that of one picture, px */

/**
 * The grid that shows pictures of 16 by 9 at their largest; of several, the widest.
 *
 * @param {number} count of pictures
 * @param {number} width of the window, px
 * @param {number} height
 * @param {number} [gap] between two pictures, px
 * @returns {Layout} with whole pixels, at least 1
 */
export function layout(count, width, height, gap = 0) {
  /** @type {Layout} */
  let best = { columns: 1, rows: 1, width: 1, height: 1 };
  for (let columns = 1; columns <= Math.max(1, count); columns++) {
    const rows = Math.max(1, Math.ceil(count / columns));
    const [across, down] = [(width - gap * (columns - 1)) / columns, (height - gap * (rows - 1)) / rows];
    const w = Math.max(1, Math.floor(Math.min(across, down * RATIO)));
    if (w >= best.width) best = { columns, rows, width: w, height: Math.max(1, Math.floor(w / RATIO)) };
  }
  return best;
}

/** What a key moves by, as columns and rows. @type {Record<string, [number, number]>} */
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * The picture that a key leads to.
 *
 * @param {string} key
 * @param {number} at the place of the present one; -1: none
 * @param {number} count
 * @param {number} columns
 * @returns {number} its place; -1: the key does not move, or there is nowhere to go
 */
export function moved(key, at, count, columns) {
  if (count === 0) return -1;
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  const move = MOVES[key];
  if (!move) return -1;
  if (at < 0) return 0;
  const to = at + move[0] + move[1] * columns;
  return to >= 0 && to < count ? to : -1;
}
