/**
 * The place of the report on a run's page. What draws it is loaded when there is something to report: a verdict, or the
 * first finding or control that an event tells.
 */

import { ended } from "../client/fold.js";
import { h } from "./dom.js";

const load = () => import("./report/report.js");

export class ReportPlace {
  /**
   * @param {string} testId
   * @param {Actions} actions
   * @param {object} page
   * @param {HTMLElement} page.frame the picture. Findings stand before it, once the run has ended: until then it would
   *   move with each
   * @param {HTMLElement} page.rubric the parts of the score
   * @param {(seq: number, number: number) => void} page.choose shows a moment
   * @param {() => void} page.onLoaded
   */
  constructor(testId, { frames, say, offline = false }, page) {
    this.testId = testId;
    this.page = page;
    this.how = { frames, say, offline, go: (/** @type {{seq: number, number: number}} */ address) => this.go(address) };
    /** @type {import("./report/report.js").ReportView|null} */
    this.view = null;
    this.loading = false;
    this.tried = false;
    this.root = h("div.report");
  }

  /**
   * @param {Shown} snapshot
   * @param {ShownRun} run
   * @param {boolean} told whether an event tells of something
   */
  update(snapshot, run, told) {
    const { view } = this;
    if (!view) {
      if (!this.tried && (told || snapshot.metrics !== undefined)) void this.load();
      return;
    }
    view.update(run, snapshot);
    const { parentElement } = view.first;
    if (!ended(snapshot)) parentElement ?? this.root.prepend(view.first);
    else if (parentElement !== this.page.frame.parentElement) this.page.frame.before(view.first);
  }

  /** The reader has chosen a finding: its moment comes into view. @param {{seq: number, number: number}} address */
  go({ seq, number }) {
    this.page.choose(seq, number);
    this.page.frame.scrollIntoView({ block: "nearest" });
  }

  async load() {
    this.loading = this.tried = true;
    try {
      const { openReport } = await load();
      this.view = await openReport(this.testId, this.how);
      this.root.append(this.view.rest);
      this.page.rubric.after(this.view.lost.root);
    } catch {
      this.root.append(h("p.hint", "The report could not be loaded. Reload the page to try again."));
    }
    this.loading = false;
    this.page.onLoaded();
  }
}
