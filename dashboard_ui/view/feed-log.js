/** The lines and events of one run's feed, as far as the page keeps them. Pure. */

import { earlierLine, linesOf, recoveredLine, resetLine } from "./lines.js";

/** Events that a closed feed keeps: a page may stay open for days. The edge has all events. */
export const KEPT = 50;

/** @implements {EventSink} */
export class FeedLog {
  /** @param {{whole?: boolean}} [how] whole: keep every event even while the feed is closed */
  constructor({ whole = false } = {}) {
    this.whole = whole;
    this.open = false;
    /** @type {Line[]} */
    this.lines = [];
    /** The events behind the lines; only the newest ones of a closed feed. @type {RunEvent[]} */
    this.log = [];
    /** The number of events, including those that are not kept. */
    this.events = 0;
    /** Events before this seq are not kept; 0: all are kept. */
    this.forgotten = 0;
    /** Increases when lines are replaced and not only appended. */
    this.generation = 0;
    /** The phase of the newest line. */
    this.phase = "";
  }

  /** @param {RunEvent} event */
  take(event) {
    this.lines.push(...linesOf(event, this.phase));
    this.phase = event.phase ?? this.phase;
    this.log.push(event);
    this.events++;
    if (this.log.length > 2 * KEPT) this.trim();
  }

  /** @param {ResetReason} [reason] */
  restart(reason) {
    Object.assign(this, { lines: [resetLine(reason)], log: [], events: 0, forgotten: 0, phase: "" });
    this.generation++;
  }

  /** @param {number} count */
  recovered(count) {
    this.lines.push(recoveredLine(count));
  }

  /** @param {boolean} open */
  setOpen(open) {
    this.open = open;
    this.trim();
  }

  /** Drops all but the newest events of a closed feed. */
  trim() {
    const { log, lines } = this;
    if (this.open || this.whole || log.length <= KEPT) return;
    this.log = log.slice(-KEPT);
    this.forgotten = this.log[0].seq;
    this.lines = [earlierLine(), ...lines.slice(lines.findIndex((line) => (line.seq ?? 0) >= this.forgotten))];
    this.generation++;
  }

  /**
   * Puts dropped events back in their place.
   *
   * @param {number} before the value of `forgotten` when they were requested
   * @param {RunEvent[]} events from the first retained event at least up to `before`
   * @returns {boolean} false if `forgotten` has changed since: the events are not needed any more
   */
  restore(before, events) {
    if (this.forgotten !== before) return false;
    const earlier = events.filter(({ seq }) => seq < before);
    let phase = "";
    const lines = earlier.flatMap((event) => {
      const found = linesOf(event, phase);
      phase = event.phase ?? phase;
      return found;
    });
    this.log = [...earlier, ...this.log];
    this.lines = [...lines, ...this.lines.slice(1)];
    this.forgotten = 0;
    this.generation++;
    return true;
  }
}
