/** The snapshot of a run at each of its events. Pure. */

import { blank, fold } from "../../client/fold.js";

/** A snapshot of every 200th event is kept, so a look at any event folds at most so many. */
const EVERY = 200;

export class Past {
  /** @param {string} testId */
  constructor(testId) {
    this.first = blank(testId, 0);
    /** The snapshots after each `EVERY` events. @type {Snapshot[]} */
    this.kept = [];
    this.last = { index: -1, snapshot: this.first };
  }

  clear() {
    Object.assign(this, { kept: [], last: { index: -1, snapshot: this.first } });
  }

  /**
   * The run after one of its events. The same object for the same event.
   *
   * @param {RunEvent[]} events the same list as before, or longer
   * @param {number} index -1: before the first
   * @returns {Snapshot}
   */
  at(events, index) {
    if (index < 0) return this.first;
    if (this.last.index === index) return this.last.snapshot;
    const known = Math.min(this.kept.length, Math.floor((index + 1) / EVERY));
    let snapshot = known ? this.kept[known - 1] : this.first;
    let next = known * EVERY;
    if (this.last.index >= next && this.last.index < index) {
      snapshot = this.last.snapshot;
      next = this.last.index + 1;
    }
    for (; next <= index; next++) {
      snapshot = fold(snapshot, events[next]);
      if ((next + 1) % EVERY === 0 && this.kept.length === (next + 1) / EVERY - 1) this.kept.push(snapshot);
    }
    this.last = { index, snapshot };
    return snapshot;
  }
}
