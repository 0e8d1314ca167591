/** When to ask for a game's newest picture: at most once a second while it runs, once more at its end. */

import { ended } from "./fold.js";

/** While there is no picture yet, a question every so often is enough. */
const NONE_YET_MS = 3000;
/** A browser opens six connections to a host; pictures leave room for the rest. */
const MAX_IN_FLIGHT = 2;

export class Shots {
  /** @param {(testId: string, etag: string) => Promise<Shot>} fetchShot */
  constructor(fetchShot) {
    this.fetchShot = fetchShot;
    /** @type {Map<string, {etag: string, nextAt: number, final: boolean, asking: boolean}>} */
    this.known = new Map();
    this.inFlight = 0;
    /** @type {Array<[Run, View]>} */
    this.shown = [];
  }

  /** Asks for the pictures that are due. @param {Array<[Run, View]>} shown on the screen @param {number} now ms */
  tick(shown, now) {
    this.shown = shown;
    for (const [run, view] of shown) {
      let known = this.known.get(run.id);
      if (!known) this.known.set(run.id, (known = { etag: "", nextAt: 0, final: false, asking: false }));
      const due = !known.final && !known.asking && now >= known.nextAt && run.snapshot.status !== "queued";
      if (due && this.inFlight < MAX_IN_FLIGHT) void this.ask(run, view, known);
    }
  }

  /** @param {Run} run @param {View} view @param {{etag: string, nextAt: number, final: boolean, asking: boolean}} known */
  async ask(run, view, known) {
    const last = ended(run.snapshot);
    known.asking = true;
    known.nextAt = Date.now() + 950; // a little less than the page's tick of a second
    this.inFlight++;
    const { status, etag, picture } = await this.fetchShot(run.id, known.etag);
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
