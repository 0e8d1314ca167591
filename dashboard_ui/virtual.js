/** Where each of many rows of differing heights stands, when only the few that were drawn have been measured. Pure. */

/**
 * Heights with their running sums, in a Fenwick tree: a change, a sum and a search cost a logarithm of the rows, so
 * that 20,000 of them can be measured one by one while somebody scrolls. All in px.
 */
export class Heights {
  constructor() {
    /** @type {number[]} */
    this.heights = [];
    /** @type {number[]} sums of stretches; sums[i] ends with row i - 1, and is as long as i's lowest bit says */
    this.sums = [0];
    this.total = 0;
  }

  get length() {
    return this.heights.length;
  }

  /** @param {number} height what the next row measures, or probably will */
  push(height) {
    const end = this.heights.push(height);
    let sum = height;
    for (let step = 1; step < (end & -end); step *= 2) sum += this.sums[end - step];
    this.sums.push(sum);
    this.total += height;
  }

  /** @param {number} row @param {number} height @returns {boolean} whether that is news */
  set(row, height) {
    const more = height - this.heights[row];
    if (Math.abs(more) < 0.01) return false;
    this.heights[row] = height;
    this.total += more;
    for (let end = row + 1; end < this.sums.length; end += end & -end) this.sums[end] += more;
    return true;
  }

  /** Where a row begins; `length` gives the end of the last. @param {number} row */
  top(row) {
    let sum = 0;
    for (let end = row; end > 0; end -= end & -end) sum += this.sums[end];
    return sum;
  }

  /** The row that covers `y`: the first for what is above it, the last for what is below. @param {number} y */
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
   * The rows to be drawn: those between two heights, and some beyond, so that a turn of the wheel finds them there.
   *
   * @param {number} from
   * @param {number} to
   * @param {number} beyond px
   * @returns {[number, number]} the first, and the one after the last
   */
  between(from, to, beyond) {
    return this.length ? [this.at(from - beyond), this.at(to + beyond) + 1] : [0, 0];
  }
}
