/**
 * Which picture is loaded next, and which of those that arrive is shown. Pure.
 *
 * The newest wish is always the next to be loaded. A picture that arrives after a newer wish is not shown, with one
 * exception: while pictures go forward (live, or playing), one on the way to the wish is, since on a slow line the wish
 * changes before any picture is here.
 */

/** Browsers open six connections to a host. The others stay free for the page. */
const MAX_LOADING = 2;

export class Wishes {
  /** @param {(number: number) => boolean} isHere whether a picture is loaded */
  constructor(isHere) {
    this.isHere = isHere;
    /** The picture of the moment; 0: there is none. */
    this.wanted = 0;
    /** The picture on the screen; 0: none. */
    this.shown = 0;
    this.forward = false;
    /** @type {Set<number>} */
    this.loading = new Set();
    /** What could not be loaded. The next wish for it tries again. @type {Set<number>} */
    this.failed = new Set();
    /** What is probably wanted next, the likeliest first. @type {number[]} */
    this.neighbours = [];
  }

  /**
   * @param {number} number 0: no picture
   * @param {{forward?: boolean, neighbours?: number[]}} [how]
   */
  wish(number, { forward = false, neighbours = [] } = {}) {
    if (number !== this.wanted) this.failed.delete(number);
    Object.assign(this, { wanted: number, forward, neighbours });
    if (number === 0 || this.isHere(number)) this.shown = number;
  }

  /** @returns {number} the picture to load now; 0: none */
  next() {
    const { wanted, loading } = this;
    const missing = (/** @type {number} */ each) => !this.isHere(each) && !loading.has(each) && !this.failed.has(each);
    if (loading.size >= MAX_LOADING) return 0;
    let next = 0;
    if (wanted && missing(wanted)) next = wanted;
    else if (this.shown === wanted) next = this.neighbours.find(missing) ?? 0; // not before the wish is fulfilled
    if (next) loading.add(next);
    return next;
  }

  /** A picture is here. @param {number} number @returns {boolean} whether to show it now */
  arrived(number) {
    const { wanted, shown } = this;
    this.loading.delete(number);
    const onTheWay = this.forward && number > shown && number < wanted && shown !== wanted;
    if (number !== wanted && !onTheWay) return false;
    this.shown = number;
    return true;
  }

  /** A picture could not be loaded. @param {number} number */
  missed(number) {
    this.loading.delete(number);
    this.failed.add(number);
    // The old picture would be one of another moment. Now, or while it plays, it is the newest that can be had.
    if (number === this.wanted && !this.forward) this.shown = 0;
  }

  /** Tries again what could not be loaded. */
  retry() {
    this.failed.clear();
  }
}
