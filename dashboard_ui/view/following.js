/**
 * Notifies the reader when a run that they follow ends. All tabs of this browser share what is followed: one of them
 * notifies, once, and none does while a tab that shows the run is in front. Takes the browser as an argument.
 */

/**
 * @typedef {object} Browser
 * @property {() => string[]} read                what is followed
 * @property {(ids: string[]) => boolean} write   false if the browser keeps nothing
 * @property {<T>(work: () => T) => Promise<T>} alone runs it while no other tab does
 * @property {(ms: number) => Promise<void>} wait
 * @property {(testId: string) => boolean} inFront whether the reader looks at this tab, and it shows the run
 * @property {(run: Snapshot) => void} notify
 */

/** A tab in front takes the end of a run first: then nobody needs to be told. */
export const OTHERS_FIRST_MS = 1000;
/** The oldest are forgotten. */
const MAX_FOLLOWED = 50;

export class Following {
  /**
   * @param {Browser} browser
   * @param {() => void} [onChange]
   */
  constructor(browser, onChange = () => {}) {
    this.browser = browser;
    this.onChange = onChange;
    this.ids = new Set(browser.read());
    /** Whether other tabs can be told. */
    this.shared = true;
    /** @type {Set<string>} */
    this.ending = new Set();
  }

  /** @param {string} testId */
  has(testId) {
    return this.ids.has(testId);
  }

  /** Another tab has changed what is followed. */
  reread() {
    if (!this.shared) return;
    this.ids = new Set(this.browser.read());
    this.onChange();
  }

  /** @param {string} testId @param {boolean} on @returns {Promise<boolean>} whether it was changed by this call */
  set(testId, on) {
    return this.browser.alone(() => {
      const ids = this.shared ? new Set(this.browser.read()) : this.ids;
      const changed = ids.has(testId) !== on;
      ids.delete(testId);
      if (on) ids.add(testId);
      if (changed) this.shared = this.browser.write([...ids].slice(-MAX_FOLLOWED));
      this.ids = ids;
      this.onChange();
      return changed;
    });
  }

  /**
   * Looks whether a followed run has ended.
   *
   * @param {(testId: string) => Snapshot|undefined} snapshotOf of the runs that this tab knows
   */
  check(snapshotOf) {
    for (const id of this.ids) {
      const run = snapshotOf(id);
      const over = run?.status === "completed" || run?.status === "failed";
      if (run && over && !this.ending.has(id)) void this.end(id, run);
    }
  }

  /** @param {string} testId @param {Snapshot} run */
  async end(testId, run) {
    this.ending.add(testId);
    const seen = this.browser.inFront(testId);
    if (!seen) await this.browser.wait(OTHERS_FIRST_MS);
    const first = await this.set(testId, false);
    if (first && !seen) this.browser.notify(run);
    this.ending.delete(testId);
  }
}
