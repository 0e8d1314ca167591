/** Requests the newest screenshots: of each run on the screen at most once a second, and once more after its end. */

import { ended } from "../client/fold.js";

/** The interval while a run has no screenshot yet. */
const NONE_YET_MS = 3000;
/** A little less than a second, the interval of `tick`: a run is due at each tick. */
const EVERY_MS = 950;
/** Browsers open six connections to a host. The others stay free for the page. */
const MAX_IN_FLIGHT = 2;

/** @typedef {{etag: string, nextAt: number, final: boolean, asking: boolean}} Known the newest screenshot of a run */

export class Screenshots {
  /** @param {(testId: string, etag: string) => Promise<Screenshot>} fetchScreenshot */
  constructor(fetchScreenshot) {
    this.fetchScreenshot = fetchScreenshot;
    /** @type {Map<string, Known>} */
    this.known = new Map();
    this.inFlight = 0;
    /** @type {Array<[ShownRun, View]>} */
    this.shown = [];
  }

  /** Requests what is due. @param {Array<[ShownRun, View]>} shown the runs on the screen @param {number} now ms */
  tick(shown, now) {
    this.shown = shown;
    for (const [run, view] of shown) {
      let known = this.known.get(run.id);
      if (!known) this.known.set(run.id, (known = { etag: "", nextAt: 0, final: false, asking: false }));
      const due = !known.final && !known.asking && now >= known.nextAt && run.snapshot.status !== "queued";
      if (due && this.inFlight < MAX_IN_FLIGHT) void this.ask(run, view, known);
    }
  }

  /** @param {ShownRun} run @param {View} view @param {Known} known */
  async ask(run, view, known) {
    const last = ended(run.snapshot);
    known.asking = true;
    known.nextAt = Date.now() + EVERY_MS;
    this.inFlight++;
    const { status, etag, picture } = await this.fetchScreenshot(run.id, known.etag);
    this.inFlight--;
    known.asking = false;
    if (picture) {
      known.etag = etag;
      view.showPicture(picture);
    } else if (status !== 304) {
      known.nextAt = Date.now() + NONE_YET_MS;
    }
    known.final = last && status !== 0;
    this.tick(this.shown, Date.now());
  }
}
