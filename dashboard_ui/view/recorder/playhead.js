/**
 * Which moment of a run is shown: now (*live*, and it stays there), or an earlier one. Pure: the time is an argument.
 *
 * A moment is kept by its address and not by its place, since earlier pictures and held events may still come.
 */

import { ended } from "../../client/fold.js";
import { Moments } from "./moments.js";
import { Past } from "./past.js";

/** @typedef {import("./moments.js").Moment} Moment */
/** @typedef {import("./moments.js").Address} Address */
/** @typedef {import("../../client/frames.js").FrameInfo} FrameInfo */
/**
 * @typedef {object} ShownMoment
 * @property {boolean} live
 * @property {number} index of `moment` in the list of moments; -1: there is none
 * @property {Moment|null} moment
 * @property {Snapshot} snapshot the run at this moment
 * @property {number} fresh events that came since live was left; 0 while live
 * @property {boolean} playing
 */

export const SPEEDS = [1, 2, 4, 8];

export class Playhead {
  /** @param {string} testId */
  constructor(testId) {
    this.moments = new Moments();
    this.past = new Past(testId);
    /** @type {string|null} */
    this.epoch = null;
    /** The newest snapshot of the run. @type {Snapshot|null} */
    this.newest = null;
    /** The moment that is shown; null: live. @type {Address|null} */
    this.address = null;
    /** The newest event when live was left. */
    this.leftAt = 0;
    this.speed = 1;
    /** Where playing began, ms on the time line, and when. @type {{at: number, since: number}|null} */
    this.playing = null;
  }

  get live() {
    return this.address === null;
  }

  /**
   * Takes what has changed.
   *
   * @param {{snapshot: Snapshot, epoch: string|null, feed: {log: RunEvent[], generation: number}}} run
   * @param {FrameInfo[]} frames by number
   * @returns {boolean} whether there are other moments
   */
  update({ snapshot, epoch, feed }, frames) {
    this.newest = snapshot;
    if (epoch !== this.epoch && this.epoch !== null) this.goLive(); // the numbers of its moments name others now
    this.epoch = epoch;
    if (feed.generation !== this.moments.generation) this.past.clear();
    return this.moments.update(feed.log, frames, feed.generation);
  }

  /** @returns {ShownMoment} */
  get shown() {
    const { moments, address } = this;
    const last = moments.length - 1;
    const index = address && last >= 0 ? moments.find(address) : last;
    const moment = moments.list[index] ?? null;
    const snapshot = address && moment ? this.past.at(moments.events, moment.event) : this.now;
    const fresh = address ? moments.newerThan(this.leftAt) : 0;
    return { live: address === null, index, moment, snapshot, fresh, playing: this.playing !== null };
  }

  /** The run as the page shows it now: an edge holds progress back, and its list is ahead of the events meanwhile. */
  get now() {
    const { moments, newest } = this;
    const last = moments.events.at(-1);
    if (!newest || !last || ended(newest) || newest.seq <= last.seq) return newest ?? this.past.first;
    const { phase = newest.phase, message = newest.message } = this.past.at(moments.events, moments.events.length - 1);
    return { ...newest, phase, message };
  }

  // ── commands ──

  /** To now, and stays there. */
  goLive() {
    this.address = null;
    this.playing = null;
  }

  /** Shows a moment. Playing goes on from there. @param {number} index @param {number} now ms */
  goTo(index, now) {
    const { moments } = this;
    const moment = moments.list[Math.max(0, Math.min(index, moments.length - 1))];
    if (moment) this.seek(moment, now);
  }

  /** Shows the moment of an address. @param {Address} address @param {number} now ms */
  seek({ seq, number }, now) {
    if (this.address === null) this.leftAt = this.moments.events.at(-1)?.seq ?? 0;
    this.address = { seq, number };
    if (this.playing) this.playing = { at: this.at, since: now };
  }

  /** The position of the moment that is shown, ms. */
  get at() {
    const { list, total } = this.moments;
    return this.address ? (list[this.moments.find(this.address)]?.at ?? 0) : total;
  }

  /** Goes by moments. Beyond the last is live. @param {number} by @param {number} now ms */
  step(by, now) {
    const { index, live } = this.shown;
    if (index < 0 || (live && by > 0)) return;
    if (index + by >= this.moments.length) this.goLive();
    else this.goTo(index + by, now);
  }

  /**
   * Goes to the next or the previous of some events. Stays where it is if there is none.
   *
   * @param {number[]} seqs ascending
   * @param {1|-1} way
   * @param {number} now ms
   */
  stepTo(seqs, way, now) {
    const { moment } = this.shown;
    if (!moment) return;
    const here = this.live ? Infinity : moment.seq;
    const isPast = (/** @type {number} */ seq) => (way > 0 ? seq > here : seq < here || (seq === here && moment.number > 0));
    const found = way > 0 ? seqs.find(isPast) : seqs.findLast(isPast);
    if (found !== undefined) this.seek({ seq: found, number: 0 }, now);
  }

  /** Plays from the moment that is shown; from the first one if that is now. @param {number} now ms */
  play(now) {
    if (this.playing || this.moments.length < 2) return;
    if (this.live) this.goTo(0, now);
    this.playing = { at: this.at, since: now };
  }

  pause() {
    this.playing = null;
  }

  /** @param {number} now ms */
  toggle(now) {
    if (this.playing) this.pause();
    else this.play(now);
  }

  /** @param {number} speed @param {number} now ms */
  setSpeed(speed, now) {
    if (this.playing) this.playing = { at: this.playedTo(now), since: now };
    this.speed = speed;
  }

  /** @param {number} now ms */
  playedTo(now) {
    const { at, since } = this.playing ?? { at: this.at, since: now };
    return at + Math.max(0, now - since) * this.speed;
  }

  /** Plays on. @param {number} now ms @returns {boolean} whether another moment is shown */
  tick(now) {
    if (!this.playing) return false;
    const at = this.playedTo(now);
    const { moments, shown } = this;
    const index = Math.max(moments.before(at), shown.index);
    if (at >= moments.total && index >= moments.length - 1) {
      this.goLive(); // it has caught up
      return true;
    }
    if (index === shown.index) return false;
    const { seq, number } = moments.list[index];
    this.address = { seq, number };
    return true;
  }
}
