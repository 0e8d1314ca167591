/** What a reader sees of the page while they are elsewhere: the tab's title and icon, and notifications. */

import { now } from "../client/now.js";
import { BASE } from "../client/rpc.js";
import { shown } from "./coerce.js";
import { following } from "./notify.js";
import { Tab, newestEnd, tabOfList, tabOfRun } from "./tab.js";

/** The least time between two looks in a hidden tab, ms. */
const HIDDEN_EVERY_MS = 250;

export class Outside {
  /**
   * @param {import("../client/runs.js").Runs<any>} runs
   * @param {string|null} testId of a run's own page
   */
  constructor(runs, testId) {
    this.runs = runs;
    this.testId = testId;
    /** Another page without a run of its own has a title of its own. */
    const path = location.pathname.replace(/index\.html$/, "");
    this.isMain = path.replace(/\/$/, "") === new URL(BASE).pathname.replace(/\/$/, "");
    this.tab = new Tab();
    /** When the tab was hidden, by the edge's clock; Infinity: it is not. */
    this.hiddenAt = Infinity;
    this.shownAt = -Infinity;
    this.later = false;
    document.addEventListener("visibilitychange", () => {
      this.hiddenAt = document.hidden ? now() : Infinity;
      this.show();
    });
  }

  /** Something has changed. A hidden tab draws no frames, so this must not wait for one. */
  changed() {
    const wait = HIDDEN_EVERY_MS - (performance.now() - this.shownAt);
    if (!document.hidden || this.later) return;
    if (wait <= 0) return this.show();
    this.later = true;
    setTimeout(() => {
      this.later = false;
      this.show();
    }, wait);
  }

  show() {
    this.shownAt = performance.now();
    following.check((id) => this.runs.get(id)?.snapshot);
    const run = this.testId === null ? undefined : this.runs.get(this.testId);
    if (run?.snapshot.createdAt) this.tab.show(tabOfRun(shown(run.snapshot)));
    if (this.isMain)
      this.tab.show(tabOfList(this.runs.counts?.running ?? 0, newestEnd(this.runs, this.hiddenAt)));
  }

  /** Asks for the followed runs, which the list may not contain. @param {(testId: string) => Promise<unknown>} watch */
  watchFollowed(watch) {
    for (const id of following.ids) {
      watch(id).catch(({ code }) => {
        if (code === "not_found") void following.set(id, false);
      });
    }
  }
}
