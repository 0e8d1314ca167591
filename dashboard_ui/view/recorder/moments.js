/**
 * The moments of a run, in order: each event, and each picture that an event does not already show. Pure.
 *
 * Positions on the time line are in ms from its start. A gap between two moments counts for at most `MAX_GAP_MS`: a run
 * that waited an hour, or whose agent has a wrong clock, has a time line that can still be used.
 */

import { ended } from "../../client/fold.js";

/** @typedef {import("../../client/frames.js").FrameInfo} FrameInfo */
/**
 * @typedef {object} Moment
 * @property {number} seq of the newest event at this moment; of a picture without one, of the event before it
 * @property {number} number of the picture that makes this moment; 0: it is an event
 * @property {number} time ms, by the publisher's clock
 * @property {number} at its position on the time line, ms
 * @property {number} event the index of the newest event; -1: it has gone, or there is none yet
 * @property {FrameInfo|null} frame the picture that is seen
 */
/** @typedef {{seq: number, number: number}} Address a moment, as its address names it */

export const MAX_GAP_MS = 10_000;
/** Until the run starts, there is nothing to see. */
const MAX_WAIT_MS = 1000;
/** An agent publishes two pictures a second: the first of an event that is older shows something that came later. */
const SAME_MOMENT_MS = 1000;

export class Moments {
  constructor() {
    /** @type {Moment[]} */
    this.list = [];
    /** The index of each picture's moment, by its number. @type {Map<number, number>} */
    this.ofFrame = new Map();
    /** @type {RunEvent[]} */
    this.events = [];
    this.generation = -1;
    this.takenEvents = 0;
    this.takenFrames = 0;
    /** @type {FrameInfo|undefined} */
    this.lastFrame = undefined;
    /** The newest time of a picture that names no event, ms: an event before it changes its place. */
    this.placedByTime = -Infinity;
    /** For each event, the earliest time of it and all that follow it, ms. @type {number[]} */
    this.earliest = [];
    this.started = false;
    /** When the run started, ms by the publisher's clock, and where that is on the time line, ms. */
    this.startedAt = 0;
    this.startsAt = 0;
  }

  get length() {
    return this.list.length;
  }

  /** The length of the time line, ms. */
  get total() {
    return this.list.at(-1)?.at ?? 0;
  }

  /**
   * Takes what is new. What belongs before the last moment costs a pass over all of them.
   *
   * @param {RunEvent[]} events by seq
   * @param {FrameInfo[]} frames by number
   * @param {number} generation changes when `events` are others and not only more
   * @returns {boolean} whether anything has changed
   */
  update(events, frames, generation) {
    const replaced = generation !== this.generation || events.length < this.takenEvents;
    const moved = this.takenFrames > 0 && frames[this.takenFrames - 1] !== this.lastFrame;
    if (!replaced && !moved && events.length === this.takenEvents && frames.length === this.takenFrames) return false;
    const newEvents = events.slice(this.takenEvents);
    const newFrames = frames.slice(this.takenFrames);
    this.events = events;
    if (replaced || moved || !this.follows(newEvents, newFrames)) {
      Object.assign(this, { list: [], ofFrame: new Map(), placedByTime: -Infinity, earliest: [], started: false });
      this.append(events, frames);
    } else this.append(newEvents, newFrames);
    Object.assign(this, { generation, takenEvents: events.length, takenFrames: frames.length, lastFrame: frames.at(-1) });
    return true;
  }

  /** Whether all of these come after the last moment. @param {RunEvent[]} events @param {FrameInfo[]} frames */
  follows(events, frames) {
    const last = this.list.at(-1);
    if (!last) return true;
    if (events.length && events[0].seq <= last.seq) return false;
    if (events.some(({ timestamp }) => timestamp <= this.placedByTime)) return false;
    const newest = this.takenFrames ? (this.lastFrame?.number ?? 0) : 0;
    return frames.every((info) => info.number > newest && this.seqOf(info) >= last.seq);
  }

  /** The event that a picture belongs to: the one that it names, or the newest at its time. @param {FrameInfo} info */
  seqOf({ seq, at }) {
    if (seq > 0) return seq;
    const { events } = this;
    if (!events.length) return 0;
    // A clock may have been set back: the last event of those at or before the time counts.
    const after = at > 0 ? firstOf(this.earliestTimes(), (time) => time > at) : events.length;
    return events[Math.max(0, after - 1)].seq;
  }

  earliestTimes() {
    const { events } = this;
    if (this.earliest.length !== events.length) {
      this.earliest = events.map(({ timestamp }) => timestamp);
      for (let i = events.length - 2; i >= 0; i--) this.earliest[i] = Math.min(this.earliest[i], this.earliest[i + 1]);
    }
    return this.earliest;
  }

  /** @param {RunEvent[]} events @param {FrameInfo[]} frames */
  append(events, frames) {
    const placed = frames.map((info) => ({ info, seq: this.seqOf(info) }));
    placed.sort((a, b) => a.seq - b.seq || a.info.number - b.info.number);
    let next = 0;
    const framesBefore = (/** @type {number} */ seq) => {
      for (; next < placed.length && placed[next].seq < seq; next++) this.takeFrame(placed[next]);
    };
    for (const event of events) {
      framesBefore(event.seq);
      this.takeEvent(event);
    }
    framesBefore(Infinity);
  }

  /** @param {RunEvent} event */
  takeEvent(event) {
    const last = this.list.at(-1);
    const starts = event.type !== "status" || event.status !== "queued";
    const at = this.position(event.timestamp);
    if (starts && !this.started) Object.assign(this, { started: true, startedAt: event.timestamp, startsAt: at });
    this.list.push({
      seq: event.seq,
      number: 0,
      time: event.timestamp,
      at,
      event: (last?.event ?? -1) + 1,
      frame: last?.frame ?? null,
    });
  }

  /** @param {{info: FrameInfo, seq: number}} placed */
  takeFrame({ info, seq }) {
    const last = this.list.at(-1);
    if (info.seq === 0) this.placedByTime = Math.max(this.placedByTime, info.at || Infinity);
    const time = info.at || (last?.time ?? 0);
    const same = last?.number === 0 && info.seq === last.seq && last.frame?.seq !== seq;
    if (last && same && time - last.time <= SAME_MOMENT_MS) last.frame = info;
    else {
      const at = this.position(time);
      this.list.push({ seq, number: info.number, time, at, event: last?.event ?? -1, frame: info });
    }
    this.ofFrame.set(info.number, this.list.length - 1);
  }

  /** @param {number} time ms @returns {number} where on the time line the next moment stands */
  position(time) {
    const last = this.list.at(-1);
    if (!last) return 0;
    const most = this.started ? MAX_GAP_MS : MAX_WAIT_MS;
    return last.at + (Math.min(Math.max(time - last.time, 0), most) || 0);
  }

  /** The moment of an address, or the last one before it; the first if it is older. @param {Address} address */
  find({ seq, number }) {
    const known = number > 0 ? this.ofFrame.get(number) : undefined;
    if (known !== undefined) return known;
    const past = (/** @type {Moment} */ m) => m.seq > seq || (m.seq === seq && m.number > number);
    return Math.max(0, firstOf(this.list, past) - 1);
  }

  /** The last moment at or before a position; the first if it is before all. @param {number} at ms */
  before(at) {
    return Math.max(0, firstOf(this.list, (moment) => moment.at > at) - 1);
  }

  /** The moment that is nearest to a position. @param {number} at ms */
  nearest(at) {
    const before = this.before(at);
    const after = this.list[before + 1];
    return after && after.at - at < at - this.list[before].at ? before + 1 : before;
  }

  /** How many events are newer. @param {number} seq */
  newerThan(seq) {
    return this.events.length - firstOf(this.events, (event) => event.seq > seq);
  }

  /**
   * How long the run has gone on, ms. An agent may tell its events later than they happened: then not what the broker's
   * clock says, but what the time line shows.
   *
   * @param {Snapshot|null} run
   * @param {number} now ms, by the edge's clock
   */
  duration(run, now) {
    return Math.max(run ? lengthOf(run, now) : 0, this.started ? this.total - this.startsAt : 0);
  }

  /** How long the run had gone on, ms. @param {Moment} moment @param {number} total how long it has gone on in all, ms */
  elapsed(moment, total) {
    if (!this.started || moment.event < 0) return 0;
    return Math.min(Math.max(moment.time - this.startedAt, 0) || 0, Math.max(0, total));
  }
}

/**
 * @template T
 * @param {T[]} list
 * @param {(item: T) => boolean} passes false for the first items, true for all others
 * @returns {number} the index of the first that passes; the length if none does
 */
export function firstOf(list, passes) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (passes(list[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The length of a run by the broker's clock, ms. @param {Snapshot} run @param {number} now ms, by the edge's clock */
export function lengthOf(run, now) {
  if (!run.startedAt) return 0;
  return Math.max(0, (run.finishedAt ?? (ended(run) ? (run.updatedAt ?? now) : now)) - run.startedAt);
}
