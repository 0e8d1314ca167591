/** The lines and events of one run's feed, as far as the page keeps them. Pure. */

import { day } from "./dates.js";
import { earlierLine, linesOf, recoveredLine, resetLine, unshownLine } from "./lines.js";
import { oneLine } from "./text.js";

/** Events that a closed feed keeps: a page may stay open for days. The edge has all events. */
export const KEPT = 50;
/** Different reasons for unreadable events that are kept. */
const MAX_REASONS = 20;

/** @implements {EventSink} */
export class FeedLog {
  /**
   * @param {object} [how]
   * @param {boolean} [how.whole] keep every event even while the feed is closed
   * @param {() => number} [how.now] the current time, ms. With it, the days are told apart
   */
  constructor({ whole = false, now } = {}) {
    this.whole = whole;
    /** The day that needs no heading: when the page learnt of the run. */
    this.today = now && day(now());
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
    /** The phase and the day of the newest line. */
    this.phase = "";
    this.day = this.today;
    /** What the edge has passed over because it could not be read. @type {Unread} */
    this.unread = { count: 0, reasons: new Map() };
  }

  /** @param {RunEvent} event */
  take(event) {
    this.lines.push(...this.linesAfter(event, this));
    this.log.push(event);
    this.events++;
    if (this.log.length > 2 * KEPT) this.trim();
  }

  /**
   * @param {RunEvent} event
   * @param {{phase: string, day: string|undefined}} at where the lines before it ended; changed in place
   */
  linesAfter(event, at) {
    let lines = [unshownLine(event)];
    try {
      lines = linesOf(event, at.phase, at.day);
    } catch (error) {
      console.error(`testcast: event ${event.seq} could not be shown`, error);
    }
    at.phase = event.phase ?? at.phase;
    if (this.today) at.day = day(event.timestamp) || at.day;
    return lines;
  }

  /** @param {ResetReason} [reason] */
  restart(reason) {
    const unread = { count: 0, reasons: new Map() };
    const empty = { log: [], events: 0, forgotten: 0, phase: "", day: this.today, unread };
    Object.assign(this, empty, { lines: [resetLine(reason)] });
    this.generation++;
  }

  /** @param {number} count @param {Record<string, number>} reasons how often each */
  unreadable(count, reasons) {
    this.unread.count += count;
    for (const [reason, times] of Object.entries(reasons)) {
      const known = this.unread.reasons;
      const name = oneLine(reason, 200);
      if (Number.isInteger(times) && (known.has(name) || known.size < MAX_REASONS))
        known.set(name, (known.get(name) ?? 0) + times);
    }
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
    const at = { phase: "", day: this.today };
    const lines = earlier.flatMap((event) => this.linesAfter(event, at));
    this.log = [...earlier, ...this.log];
    this.lines = [...lines, ...this.lines.slice(1)];
    this.forgotten = 0;
    this.generation++;
    return true;
  }
}
