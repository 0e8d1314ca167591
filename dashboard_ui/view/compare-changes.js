/** What changed between two runs: the score with its parts, problems and controls. */

import { rubricOf, shown } from "./coerce.js";
import { h } from "./dom.js";
import { elapsed } from "./format.js";
import { difference } from "./same.js";

/** @typedef {import("./compare-side.js").Side} Side */
/** @typedef {import("./same.js").Found} Found */

export class Changes {
  constructor() {
    this.scores = h("section.metrics.changes-scores", { "aria-label": "Scores" });
    this.problems = h("section.metrics", { "aria-label": "Problems" });
    this.controls = h("section.metrics", { "aria-label": "Controls" });
    this.root = h("div.changes", { hidden: true }, this.scores, h("div.changes-lists", this.problems, this.controls));
    this.drawn = "";
  }

  /** @param {Side} a @param {Side} b */
  update(a, b) {
    if (!a.run || !b.run) return;
    const runs = [shown(a.run.snapshot), shown(b.run.snapshot)];
    const [problemsA, problemsB] = [a.problems, b.problems];
    const [controlsA, controlsB] = [a.controls, b.controls];
    const key = JSON.stringify([runs.map((run) => [run.testId, run.seq]), problemsA, problemsB, controlsA, controlsB]);
    if (key === this.drawn) return;
    this.drawn = key;
    this.root.hidden = false;
    this.scores.replaceChildren(h("h2", "Score"), scoreTable(runs[0], runs[1]));
    const problems = difference(problemsA, problemsB);
    this.problems.replaceChildren(
      h("h2", "Problems"),
      ...lists(problems, ["New in B", "added", "worse"], ["Gone in B", "gone", "better"], "In both", "Neither run had a problem.", [problemsA, problemsB]),
    );
    const controls = difference(controlsA, controlsB);
    this.controls.replaceChildren(
      h("h2", "Controls"),
      ...lists(controls, ["Found in B", "added", "better"], ["Lost in B", "gone", "worse"], "In both", "Neither run found a control.", [controlsA, controlsB]),
    );
  }
}

/**
 * @param {import("./same.js").Difference|null} change
 * @param {[string, "added"|"gone", string]} first
 * @param {[string, "added"|"gone", string]} second
 * @param {string} both
 * @param {string} none
 * @param {Array<Found[]|null>} known
 */
function lists(change, first, second, both, none, known) {
  if (!change) {
    const lacking = known.map((found, i) => !found && "AB"[i]).filter(Boolean);
    return [h("p.hint", `Not known of run ${lacking.join(" and ")}.`)];
  }
  const parts = [first, second].map(([title, which, look]) => list(title, change[which], look));
  const same = list(both, change.same, "same");
  const all = [...parts, same].filter((part) => part !== null);
  return all.length ? all : [h("p.hint", none)];
}

/** @param {string} title @param {Found[]} found @param {string} look */
function list(title, found, look) {
  if (!found.length) return null;
  const items = found.map(({ name, text }) => h("li", name === text ? "" : h("span.problem-name", name), h("span.change-text", text)));
  return h("div.change", { "data-look": look }, h("h3", `${title} (${found.length})`), h("ul", ...items));
}

/** @param {Shown} a @param {Shown} b */
function scoreTable(a, b) {
  const rows = [row("Score", a.score, b.score, 100)];
  const [before, after] = [rubricOf(a), rubricOf(b)];
  const names = [...new Set([...before, ...after].map(({ part }) => part))];
  for (const name of names) {
    const [x, y] = [before, after].map((parts) => parts.find(({ part }) => part === name));
    rows.push(row(name, x?.score, y?.score, x?.max ?? y?.max));
  }
  const took = [a, b].map((run) => (run.startedAt ? elapsed(run, run.finishedAt ?? run.updatedAt ?? run.startedAt) : "–"));
  rows.push(h("tr", h("th", { scope: "row" }, "Took"), ...took.map((text) => h("td", text)), h("td")));
  const heads = ["Part", "A", "B", "Change"].map((name) => h("th", { scope: "col" }, name));
  return h("table", h("thead", h("tr", ...heads)), h("tbody", ...rows));
}

/** @param {string} name @param {number|undefined} a @param {number|undefined} b @param {number|undefined} max */
function row(name, a, b, max) {
  const said = (/** @type {number|undefined} */ value) => (value === undefined ? "–" : `${rounded(value)}${max ? `/${max}` : ""}`);
  const by = a === undefined || b === undefined ? null : rounded(b - a);
  const look = by === null || by === 0 ? "same" : by > 0 ? "better" : "worse";
  const change = by === null ? "" : by > 0 ? `+${by}` : by < 0 ? `−${-by}` : "±0";
  return h("tr", h("th", { scope: "row" }, h("span.rubric-name", name)), h("td", said(a)), h("td", said(b)), h("td.change-by", { "data-look": look }, change));
}

/** @param {number} value */
const rounded = (value) => Math.round(value * 10) / 10;
