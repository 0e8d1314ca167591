/**
 * The report on a run's page: what was found and how to see it again, the controls with their evidence, how the run was
 * tested, the lost points. It is loaded when there is something to report: after the verdict, or with the first finding.
 */

import { ended } from "../../client/fold.js";
import { BASE } from "../../client/rpc.js";
import { h } from "../dom.js";
import { Fences } from "../fence.js";
import { count } from "../format.js";
import { MetricTable } from "../metric-table.js";
import { ControlList } from "./controls.js";
import { FindingList } from "./findings.js";
import { howRows } from "./how.js";
import { LostPoints } from "./lost.js";
import { Told, reportOf, shownIn } from "./read.js";

/** Loads the style of the report; a file has it already. @returns {Promise<unknown>} */
function style() {
  const link = h("link", { rel: "stylesheet", href: `${BASE}view/report/report.css` });
  const loaded = new Promise((resolve) => ["load", "error"].forEach((type) => link.addEventListener(type, resolve)));
  document.head.append(link);
  return loaded;
}

/**
 * @param {string} testId
 * @param {object} how
 * @param {import("../../client/frames.js").Frames} how.frames
 * @param {(address: {seq: number, number: number}) => void} how.go shows a moment
 * @param {(text: string) => void} how.say
 * @param {boolean} how.offline whether this is a file
 */
export async function openReport(testId, how) {
  if (!how.offline) await style();
  return new ReportView(testId, how);
}

export class ReportView {
  /** @param {string} testId @param {Parameters<typeof openReport>[1]} how */
  constructor(testId, { frames, go, say, offline }) {
    this.told = new Told();
    /** @type {{metrics: unknown, version: number}} */
    this.drawn = { metrics: undefined, version: -1 };
    const evidence = {
      /** The picture that was published with an event. @param {number} seq */
      of: (seq) => (seq ? frames.of(testId).list.find((info) => info.seq === seq) : undefined),
      url: (/** @type {number} */ number) => frames.url(testId, number),
      go,
    };
    const base = offline ? "" : BASE;
    this.findings = new FindingList(testId, { evidence, say, base, title: (n) => (n ? count(n, "finding") : "No finding") });
    this.once = new FindingList(testId, { evidence, say, base, title: () => "Seen once", apart: true });
    this.lost = new LostPoints((id) => this.findings.open(id) || this.once.open(id));
    this.controls = new ControlList(evidence);
    this.metrics = new MetricTable();
    this.how = h("section.how", { hidden: true, "aria-label": "How it was tested" }, h("h2", "How it was tested"), h("dl"));
    /** Before the picture, and after it. */
    this.first = h("div.report", this.findings.root, this.once.root);
    this.rest = h("div.report", this.controls.root, this.how, this.metrics.root);
    this.fences = /** @type {Fences<[RunReport, Shown]>} */ (new Fences(testId));
    this.fences.add("The findings", this.first, (report, run) => this.drawFindings(report, run));
    this.fences.add("The controls", this.controls.root, ({ controls, tried }) => this.controls.update(controls, tried));
    this.fences.add("The lost points", this.lost.root, ({ lost }) => this.lost.update(lost));
    this.fences.add("How it was tested", this.how, ({ how }) => this.drawHow(how));
    this.fences.add("The metrics", this.metrics.root, (report, run) => this.metrics.update(run, shownIn(report, run.metrics)));
  }

  /** @param {ShownRun} run @param {Shown} snapshot */
  update(run, snapshot) {
    this.told.update(run.feed);
    const { version } = this.told;
    if (this.drawn.metrics === snapshot.metrics && this.drawn.version === version) return;
    this.drawn = { metrics: snapshot.metrics, version };
    this.fences.draw(reportOf(snapshot.metrics, this.told), snapshot);
    this.drawPictures();
  }

  /** @param {RunReport} report @param {Shown} run */
  drawFindings(report, run) {
    const { findings, once, known } = report;
    this.findings.update(findings, known, noFindings(report));
    if (ended(run)) this.findings.openFirst();
    this.once.update(once, false, "These did not show each time that their inputs were played again, or could not be tried again.");
  }

  /** Pictures may come after the events that they belong to. */
  drawPictures() {
    for (const part of [this.findings, this.once, this.controls]) part.drawPictures();
  }

  /** @param {How} how */
  drawHow(how) {
    const rows = howRows(how);
    this.how.hidden = rows.length === 0;
    const made = rows.map(({ name, text, hint, share, wide }) => {
      const fill = share === undefined ? null : h("span.gauge-fill");
      if (fill && share !== undefined) fill.style.width = `${100 * share}%`;
      return h(wide ? "div.how-wide" : "div", h("dt", name), h("dd", h("span.how-text", text), fill && h("span.gauge", { "aria-hidden": "true" }, fill), hint && h("span.how-hint", hint)));
    });
    this.how.querySelector("dl")?.replaceChildren(...made);
  }
}

/** What stands in the place of findings. @param {RunReport} report */
function noFindings({ how: { gameSeconds } }) {
  const long = gameSeconds ? ` in ${count(Math.round(gameSeconds), "second")} of the game's time` : "";
  return `Nothing that was done broke the game${long}. That does not show that nothing can.`;
}
