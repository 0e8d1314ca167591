/** The positions of many rows of different heights, of which only some have been measured. Pure. */

/**
 * Heights and their running sums in a Fenwick tree, in px. A change, a sum and a search take logarithmic time, so
 * 20,000 rows can be measured one by one while the reader scrolls.
 */
export class Heights {
  constructor() {
    /** @type {number[]} */
    this.heights = [];
    /** sums[i] covers the rows up to i - 1; how many is the lowest bit of i. @type {number[]} */
    this.sums = [0];
    this.total = 0;
  }

  get length() {
    return this.heights.length;
  }

  /** Adds a row. @param {number} height measured or estimated */
  push(height) {
    const end = this.heights.push(height);
    let sum = height;
    for (let step = 1; step < (end & -end); step *= 2) sum += this.sums[end - step];
    this.sums.push(sum);
    this.total += height;
  }

  /** @param {number} row @param {number} height @returns {boolean} whether it has changed */
  set(row, height) {
    const more = height - this.heights[row];
    if (Math.abs(more) < 0.01) return false;
    this.heights[row] = height;
    this.total += more;
    for (let end = row + 1; end < this.sums.length; end += end & -end) this.sums[end] += more;
    return true;
  }

  /** The position of a row; with `length`, the end of the last row. @param {number} row */
  top(row) {
    let sum = 0;
    for (let end = row; end > 0; end -= end & -end) sum += this.sums[end];
    return sum;
  }

  /** The row at `y`: the first row if `y` is above it, the last row if `y` is below it. @param {number} y */
  at(y) {
    let row = 0;
    let step = 1;
    while (step * 2 <= this.length) step *= 2;
    for (; step >= 1; step /= 2) {
      if (row + step > this.length || this.sums[row + step] > y) continue;
      row += step;
      y -= this.sums[row];
    }
    return Math.max(0, Math.min(row, this.length - 1));
  }

  /**
   * The rows between two positions, and some above and below.
   *
   * @param {number} from
   * @param {number} to
   * @param {number} beyond the height of the additional rows on each side, px
   * @returns {[number, number]} the first row, and the row after the last
   */
  between(from, to, beyond) {
    return this.length ? [this.at(from - beyond), this.at(to + beyond) + 1] : [0, 0];
  }
}
