/**
 * The run's page as a recorder: the picture, the time line under it and its controls. All of the page shows the moment
 * that is chosen here, and hears of it by `onMoment`.
 */

import { now as edgeNow } from "../../client/now.js";
import { ended } from "../../client/fold.js";
import { hashOf } from "../address.js";
import { h, setText } from "../dom.js";
import { duration } from "../format.js";
import { rememberMoment } from "../history.js";
import { Controls } from "./controls.js";
import { Marks } from "./marks.js";
import { Picture } from "./picture.js";
import { Playhead } from "./playhead.js";
import { Track } from "./track.js";

/** @typedef {import("./playhead.js").ShownMoment} ShownMoment */

/** The address changes when the reader has not moved for so long, ms. */
const SETTLED_MS = 400;
/** Pictures before and after the moment that are loaded ahead. */
const AHEAD = [1, -1, 2, 3, -2];

export class Recorder {
  /**
   * @param {string} testId
   * @param {object} how
   * @param {import("../../client/frames.js").Frames} how.frames
   * @param {(shown: ShownMoment, how: {byReader: boolean}) => void} how.onMoment another moment is shown, or the run has
   *   changed at this one; byReader: the reader has chosen it
   * @param {() => void} how.onPicture the reader wants to see the line of the picture
   * @param {(text: string) => void} how.say
   */
  constructor(testId, { frames, onMoment, onPicture, say }) {
    this.testId = testId;
    this.frames = frames;
    this.onMoment = onMoment;
    this.onPicture = onPicture;
    this.head = new Playhead(testId);
    this.marks = new Marks();
    /** @type {ShownRun|null} */
    this.run = null;
    this.name = "";
    this.settling = 0;
    /** What the next frame draws; null: nothing. @type {{frames: boolean, byReader: boolean}|null} */
    this.due = null;
    this.ticking = 0;
    this.drawnPictures = "";
    const url = (/** @type {number} */ number) => frames.url(testId, number);
    this.picture = new Picture({ url, onClick: () => this.pictureChosen() });
    this.track = new Track({
      url,
      onSeek: (index) => this.act(() => this.head.goTo(index, performance.now())),
      onLive: () => this.act(() => this.head.goLive()),
      onSettle: () => {
        this.draw(true);
        this.settle();
      },
    });
    this.controls = new Controls(this, say);
    this.note = h("p.recorder-note", { hidden: true });
    this.root = h("section.recorder", { hidden: true, "aria-label": "Recorder" });
    this.root.append(this.track.root, this.controls.root, this.note);
    frames.onChange = (changed) => changed === testId && this.changed({ frames: true });
    frames.want(testId, { history: true });
  }

  get log() {
    return this.frames.of(this.testId);
  }

  /** Whether only the newest picture can be had: the edge or the agent is of an earlier version, or has none. */
  get wantsShot() {
    return this.frames.supported === false || (this.log.loaded && this.log.list.length === 0);
  }

  /** The newest event at the moment; 0: none. */
  get eventSeq() {
    const { moment } = this.head.shown;
    return this.head.moments.events[moment?.event ?? -1]?.seq ?? 0;
  }

  /** Whether there are pictures. */
  get pictured() {
    return this.log.list.length > 0 || this.picture.shot !== null;
  }

  /** @param {ShownRun} run @param {string} name of its game */
  update(run, name) {
    Object.assign(this, { run, name });
    const { head, log, marks } = this;
    marks.update(run.feed);
    const changed = head.update(run, log.list);
    this.root.hidden = head.moments.length < 2;
    const pictures = `${log.loaded} ${log.gone} ${this.root.hidden}`;
    if (changed || pictures !== this.drawnPictures)
      this.track.update(head.moments, marks, { ready: log.loaded || log.list.length > 0, gone: log.gone });
    this.drawnPictures = pictures;
    // Whether there were any is not known: of a run without pictures nothing is said.
    this.note.hidden = !log.gone || log.list.length === 0;
    setText(this.note, "No earlier pictures of this run are kept.");
    this.draw();
  }

  /** The connection has changed: what could not be loaded may be had now. */
  retry() {
    this.picture.retry();
  }

  /** The newest picture of a run that has none over time. @param {Blob} blob */
  async showShot(blob) {
    await this.picture.showShot(blob);
    this.draw();
  }

  // ── drawing ──

  draw(byReader = false) {
    const { head, run } = this;
    if (!run) return;
    const { shown } = head;
    this.drawPicture(shown);
    this.drawTime();
    this.controls.draw(shown);
    this.onMoment(shown, { byReader });
  }

  /** @param {ShownMoment} shown */
  drawPicture({ moment, index, live, playing }) {
    const { list } = this.head.moments;
    const number = moment?.frame?.number ?? 0;
    const neighbours = live ? [] : this.neighbours(list, index);
    this.picture.wish(number, {
      description: `${this.name} at ${this.elapsedText}`,
      words: this.wordsWithout(),
      live,
      forward: live || playing,
      neighbours,
    });
    this.picture.root.hidden = !this.pictured;
  }

  /** @param {import("./moments.js").Moment[]} list @param {number} index @returns {number[]} numbers of pictures */
  neighbours(list, index) {
    const found = AHEAD.flatMap((by) => list[index + by]?.frame?.number ?? []);
    return [...new Set(found)];
  }

  /** What stands in the place of a picture that does not exist. */
  wordsWithout() {
    if (this.log.gone) return "No picture of this moment is kept";
    if (this.log.list.length) return "No picture yet";
    return this.head.live ? "No picture" : "Only the newest picture was kept";
  }

  /** How long the run has gone on at the moment, and in all, ms. */
  get elapsed() {
    const { newest, moments, shown } = this.head;
    const total = moments.duration(newest, edgeNow());
    return { at: shown.live || !shown.moment ? total : moments.elapsed(shown.moment, total), total };
  }

  get elapsedText() {
    return duration(this.elapsed.at);
  }

  drawTime() {
    const { shown } = this.head;
    const { at, total } = this.elapsed;
    const { phase, message = "" } = shown.snapshot;
    const where = shown.live ? (this.ended ? "End" : "Live") : `${duration(at)} of ${duration(total)}`;
    this.track.show(shown, [where, phase && `phase ${phase.slice(-1)}`, message].filter(Boolean).join(", "));
    this.controls.drawTime(duration(at), duration(total));
  }

  get ended() {
    return this.run !== null && ended(this.run.snapshot);
  }

  // ── commands ──

  /** The reader does something. @param {() => void} command */
  act(command) {
    const { live } = this.head;
    command();
    this.changed({ byReader: true });
    if (this.head.live !== live || !this.track.dragging) this.settleLater();
    if (this.head.playing) this.play();
  }

  /** Draws in the next frame, whatever else comes before it. @param {{frames?: boolean, byReader?: boolean}} what */
  changed({ frames = false, byReader = false }) {
    const due = this.due;
    this.due = { frames: frames || due?.frames === true, byReader: byReader || due?.byReader === true };
    if (due) return;
    requestAnimationFrame(() => {
      const { frames, byReader } = this.due ?? {};
      this.due = null;
      if (frames && this.run) this.update(this.run, this.name);
      if (byReader || !frames) this.draw(byReader);
    });
  }

  play() {
    if (this.ticking) return;
    const tick = () => {
      this.ticking = 0;
      if (!this.head.playing) return;
      if (this.head.tick(performance.now())) this.draw();
      if (this.head.playing) this.ticking = requestAnimationFrame(tick);
      else this.settle();
    };
    this.ticking = requestAnimationFrame(tick);
  }

  /** Shows the moment of an address: a line, a problem, a phase. @param {import("./moments.js").Address} address */
  seek(address) {
    this.head.pause();
    this.head.seek(address, performance.now());
    this.draw(true);
  }

  goLive() {
    if (!this.head.live) this.act(() => this.head.goLive());
  }

  pictureChosen() {
    const { moment } = this.head.shown;
    if (!moment) return;
    this.seek(moment);
    this.settle({ step: true });
    this.onPicture();
  }

  // ── the address ──

  settleLater() {
    window.clearTimeout(this.settling);
    this.settling = window.setTimeout(() => this.settle(), SETTLED_MS);
  }

  /** The address names the moment that is shown. @param {{step?: boolean}} [how] step: Back returns to the one before */
  settle({ step = false } = {}) {
    window.clearTimeout(this.settling);
    if (this.head.playing || this.track.dragging) return;
    const { moment, live } = this.head.shown;
    rememberMoment(live || !moment ? "" : hashOf(moment), { step });
  }

  /** The link to the moment. */
  get link() {
    const { moment, live } = this.head.shown;
    return new URL(live || !moment ? location.pathname + location.search : hashOf(moment), location.href).href;
  }
}

