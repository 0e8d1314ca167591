/**
 * Fetches the newest pictures of the runs on the screen.
 *
 * The edge tells which picture is the newest, and only a new one is fetched. Of a run whose pictures it does not tell,
 * since the edge or the agent is of an earlier version, the newest is asked for once in a while.
 */

import { ended } from "../client/fold.js";

/** The interval while a run has no picture yet, and after a failure. */
const NONE_YET_MS = 3000;
/** A little less than a second, the interval of `tick`: a run is due at each tick. */
const EVERY_MS = 950;
/** Browsers open six connections to a host. The others stay free for the page. */
const MAX_IN_FLIGHT = 2;
/** How long a run waits for the edge to tell its newest picture before that is asked for. */
const TOLD_WITHIN_MS = 1500;

/**
 * @typedef {object} Known what is known of a run's newest picture
 * @property {number} number    of the picture that is shown; 0: none, or its number is not known
 * @property {string} etag      of the picture that was asked for without a number
 * @property {number} firstAt   when the run came to the screen
 * @property {number} nextAt    when it may be asked for again
 * @property {boolean} final    nothing newer is expected of a run without numbers
 * @property {boolean} asking
 */

export class Screenshots {
  /**
   * @param {object} how
   * @param {import("../client/frames.js").Frames} how.frames
   * @param {(testId: string, etag: string) => Promise<Screenshot>} how.fetchShot
   * @param {(address: string) => Promise<Screenshot>} how.fetchFrame
   * @param {number} [how.everyMs] the least time between two pictures of a run
   * @param {number} [how.atOnce] requests at the same time
   */
  constructor({ frames, fetchShot, fetchFrame, everyMs = EVERY_MS, atOnce = MAX_IN_FLIGHT }) {
    this.frames = frames;
    this.fetchShot = fetchShot;
    this.fetchFrame = fetchFrame;
    this.everyMs = everyMs;
    this.atOnce = atOnce;
    /** @type {Map<string, Known>} */
    this.known = new Map();
    this.inFlight = 0;
    /** @type {Map<string, [ShownRun, PictureView]>} */
    this.shown = new Map();
  }

  /** Requests what is due. @param {Array<[ShownRun, PictureView]>} shown the runs on the screen @param {number} now ms */
  tick(shown, now) {
    const before = this.shown;
    this.shown = new Map(shown.map(([run, view]) => [run.id, [run, view]]));
    for (const [id, [run]] of this.shown) {
      const known = this.known.get(id) ?? { number: 0, etag: "", firstAt: now, nextAt: 0, final: false, asking: false };
      if (!before.has(id)) known.firstAt = now;
      this.known.set(id, known);
      if (run.snapshot.status !== "queued") this.frames.want(id);
    }
    for (const id of before.keys()) if (!this.shown.has(id)) this.frames.drop(id);
    for (const id of this.shown.keys()) this.told(id, now);
  }

  /** Requests the newest picture of a run if that is due. @param {string} id @param {number} now ms */
  told(id, now) {
    const [on, known] = [this.shown.get(id), this.known.get(id)];
    if (!on || !known || known.asking || this.inFlight >= this.atOnce || now < known.nextAt) return;
    const [run, view] = on;
    const number = this.frames.of(id).newest?.number ?? 0;
    if (number > known.number) void this.ask(run, view, known, number);
    else if (number === 0 && this.isAskedFor(run, known, now)) void this.ask(run, view, known, 0);
  }

  /** Whether the newest picture of a run is asked for without knowing its number. @param {ShownRun} run @param {Known} known @param {number} now */
  isAskedFor(run, known, now) {
    if (known.final || run.snapshot.status === "queued") return false;
    return this.frames.supported === false || (known.number === 0 && now - known.firstAt >= TOLD_WITHIN_MS);
  }

  /** @param {ShownRun} run @param {PictureView} view @param {Known} known @param {number} number 0: the newest */
  async ask(run, view, known, number) {
    const last = ended(run.snapshot);
    known.asking = true;
    known.nextAt = Date.now() + this.everyMs;
    this.inFlight++;
    const asked = number ? this.fetchFrame(this.frames.url(run.id, number)) : this.fetchShot(run.id, known.etag);
    const { status, etag, picture } = await asked;
    this.inFlight--;
    if (number && (picture || status === 404)) known.number = number;
    else if (!picture && status !== 304) known.nextAt = Date.now() + NONE_YET_MS;
    if (!number) Object.assign(known, { final: last && status !== 0, ...(picture && { etag }) });
    if (status === 404) view.showNone?.();
    this.askMore();
    if (picture) await view.showPicture(picture); // no newer one is asked for before: none overtakes it
    known.asking = false;
    this.told(run.id, Date.now());
  }

  /** A request has ended: others may be waiting. */
  askMore() {
    const now = Date.now();
    const waiting = [...this.shown.keys()];
    // In turn: the first runs of the page would take every request otherwise.
    waiting.sort((a, b) => (this.known.get(a)?.nextAt ?? 0) - (this.known.get(b)?.nextAt ?? 0));
    for (const id of waiting) {
      if (this.inFlight >= this.atOnce) return;
      this.told(id, now);
    }
  }
}
