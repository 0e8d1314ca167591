/**
 * The moments of a run, in order: each event, and each picture that an event does not already show. Pure.
 *
 * Positions on the time line are in ms from its start. A gap between two moments counts for at most `MAX_GAP_MS`: a run
 * that waited an hour, or whose agent has a wrong clock, has a time line that can still be used.
 *
 * A picture belongs to the event that it names; without one, to the newest event at its time. A time that is far from
 * those of all events says nothing: such a picture goes with the one before it, by number.
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
/** A time so long before the first event, or after the newest, is a wrong one. */
const FAR_MS = 60_000;

export class Moments {
  constructor() {
    /** @type {Moment[]} */
    this.list = [];
    /** The index of each picture's moment, by its number. @type {Map<number, number>} */
    this.ofFrame = new Map();
    /** @type {RunEvent[]} */
    this.events = [];
    /** @type {FrameInfo[]} */
    this.frames = [];
    this.generation = -1;
    this.takenEvents = 0;
    this.takenFrames = 0;
    /** @type {FrameInfo|undefined} */
    this.lastFrame = undefined;
    /** The sequence of the event that each picture belongs to, by its number. @type {Map<number, number>} */
    this.places = new Map();
    /** The newest time that a picture was placed by, ms: an event before it changes that place. */
    this.placedByTime = -Infinity;
    /** Of the times that are too far to place a picture by, the nearest to those of the events, ms. */
    this.far = { before: -Infinity, after: Infinity };
    /** The earliest and the latest time of an event, ms. */
    this.span = { from: Infinity, to: -Infinity };
    /** The indexes of events that no later one is earlier than, or as early as. @type {number[]} */
    this.steps = [];
    this.started = false;
    /** Where in the list the run started, when, ms by the publisher's clock, and where that is on the time line, ms. */
    this.startIndex = 0;
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
   * Takes what is new. What belongs before the last moment costs a pass over those that come after it.
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
    const [newEvents, newFrames] = [events.slice(this.takenEvents), frames.slice(this.takenFrames)];
    const isFirst = this.takenEvents === 0;
    Object.assign(this, { events, frames });
    if (replaced || moved || isFirst || !this.takeOn(newEvents, newFrames)) this.takeAll();
    Object.assign(this, { generation, takenEvents: events.length, takenFrames: frames.length, lastFrame: frames.at(-1) });
    return true;
  }

  takeAll() {
    Object.assign(this, { list: [], ofFrame: new Map(), places: new Map(), placedByTime: -Infinity, started: false, startIndex: 0 });
    Object.assign(this, { far: { before: -Infinity, after: Infinity }, span: { from: Infinity, to: -Infinity }, steps: [] });
    this.readTimes(0);
    this.append(this.events, this.frames);
  }

  /** @param {RunEvent[]} events @param {FrameInfo[]} frames @returns {boolean} false: everything has to be taken again */
  takeOn(events, frames) {
    let since = events.length ? events[0].seq : Infinity; // moments from this event on are made again
    const earliest = Math.min(...events.map(({ timestamp }) => timestamp));
    if (earliest <= this.placedByTime) since = Math.min(since, this.eventAt(earliest));
    this.readTimes(this.takenEvents);
    if (this.isNear(this.far.before) || this.isNear(this.far.after)) return false;
    for (const info of frames) since = Math.min(since, this.place(info) + 1);
    const again = this.cut(since);
    if (!again) return false;
    this.append(this.events.slice((this.list.at(-1)?.event ?? -1) + 1), [...again, ...frames]);
    return true;
  }
  /** Takes the times of events. @param {number} from their index */
  readTimes(from) {
    const { events, steps } = this;
    for (let i = from; i < events.length; i++) {
      const { timestamp } = events[i];
      while (steps.length && events[steps[steps.length - 1]].timestamp >= timestamp) steps.pop();
      steps.push(i);
      this.span = { from: Math.min(this.span.from, timestamp), to: Math.max(this.span.to, timestamp) };
    }
  }

  /** Whether a time is one at which the run may have been tested. @param {number} at ms */
  isNear(at) {
    return !this.events.length || (at >= this.span.from - FAR_MS && at <= this.span.to + FAR_MS);
  }

  /** The newest event at a time; the first one if all are later. @param {number} at ms @returns {number} its seq */
  eventAt(at) {
    const { events, steps } = this;
    // A clock may have been set back: the last event of those at or before the time counts.
    const after = firstOf(steps, (index) => events[index].timestamp > at);
    return events[after ? steps[after - 1] : 0].seq;
  }

  /** The event that a picture belongs to. Those before it, by number, have their place. @param {FrameInfo} info @returns {number} its seq */
  place(info) {
    const seq = info.seq > 0 ? info.seq : this.placeByTime(info);
    this.places.set(info.number, seq);
    return seq;
  }

  /** @param {FrameInfo} info @returns {number} */
  placeByTime({ number, at }) {
    if (!this.events.length) return 0;
    if (at > 0 && this.isNear(at)) {
      this.placedByTime = Math.max(this.placedByTime, at);
      return this.eventAt(at);
    }
    if (at > this.span.to) this.far.after = Math.min(this.far.after, at);
    else if (at > 0) this.far.before = Math.max(this.far.before, at);
    const before = this.frames[firstOf(this.frames, (each) => each.number >= number) - 1];
    return (before && this.places.get(before.number)) || this.events[0].seq;
  }

  /**
   * Takes the last moments away, those of an event and all that follow it.
   *
   * @param {number} since the seq of that event
   * @returns {FrameInfo[]|null} their pictures by number; null: the beginning of the run would go, too
   */
  cut(since) {
    const from = firstOf(this.list, ({ seq }) => seq >= since);
    if (from < this.list.length && from <= this.startIndex) return null;
    /** @type {FrameInfo[]} */
    const frames = [];
    for (const [i, { frame }] of this.list.splice(from).entries())
      if (frame && this.ofFrame.get(frame.number) === from + i) frames.push(frame);
    return frames.sort((a, b) => a.number - b.number);
  }

  /** @param {RunEvent[]} events @param {FrameInfo[]} frames by number */
  append(events, frames) {
    const placed = frames.map((info) => ({ info, seq: this.place(info) }));
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
    if (starts && !this.started)
      Object.assign(this, { started: true, startIndex: this.list.length, startedAt: event.timestamp, startsAt: at });
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
    const told = info.at > 0 && (info.seq > 0 || this.isNear(info.at));
    const time = told ? info.at : (last?.time ?? 0);
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
