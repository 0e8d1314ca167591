/** The runs of a game as a table, the newest first. Two of them can be ticked. */

import { pageOf } from "../client/rpc.js";
import { when } from "./dates.js";
import { h, setAttr, setText, setTime } from "./dom.js";
import { elapsed, titleOf } from "./format.js";
import { labelChips } from "./labels.js";
import { badge, scoreBar } from "./parts.js";

/** @typedef {import("./past.js").PastRun} PastRun */

const COLUMNS = ["Compare", "When", "Labels", "Score", "Problems", "Controls", "Took", "Status"];
const UNKNOWN = "not known";

export class PastTable {
  /** @param {(ids: string[]) => void} onTicked the ticked runs, those ticked last at the end */
  constructor(onTicked) {
    this.onTicked = onTicked;
    /** @type {string[]} */
    this.ticked = [];
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    this.body = h("tbody");
    const heads = COLUMNS.map((name, i) => h("th", { scope: "col" }, i ? name : h("span.visually-hidden", name)));
    this.root = h("table.past-runs", { hidden: true }, h("thead", h("tr", ...heads)), this.body);
  }

  /** @param {PastRun[]} past newest first @param {number} now @param {boolean} titles whether they are of several games */
  update(past, now, titles) {
    const ids = new Set(past.map(({ run }) => run.testId));
    for (const [id, row] of this.rows) {
      if (ids.has(id)) continue;
      row.root.remove();
      this.rows.delete(id);
    }
    past.forEach((each, i) => {
      const { testId } = each.run;
      let row = this.rows.get(testId);
      if (!row) this.rows.set(testId, (row = new Row(testId, (on) => this.tick(testId, on))));
      row.update(each, now, titles);
      if (this.body.children[i] !== row.root) this.body.insertBefore(row.root, this.body.children[i] ?? null);
    });
    this.root.hidden = past.length === 0;
    const still = this.ticked.filter((id) => ids.has(id));
    if (still.length < this.ticked.length) this.choose(still);
  }

  /** A third tick takes the first one away. @param {string} testId @param {boolean} on */
  tick(testId, on) {
    const others = this.ticked.filter((id) => id !== testId);
    this.choose(on ? [...others, testId].slice(-2) : others);
  }

  /** @param {string[]} ids */
  choose(ids) {
    this.ticked = ids;
    for (const [id, row] of this.rows) row.box.checked = ids.includes(id);
    this.onTicked(ids);
  }
}

class Row {
  /** @param {string} testId @param {(on: boolean) => void} onTick */
  constructor(testId, onTick) {
    this.box = h("input", { type: "checkbox", onchange: () => onTick(this.box.checked) });
    this.time = h("time");
    this.link = h("a.past-link", { href: pageOf(testId) }, this.time);
    this.title = h("span.past-title");
    this.labels = labelChips({ most: 4 });
    this.score = scoreBar();
    this.problems = new Change("problem");
    this.controls = new Change("control");
    this.took = h("td", { "data-name": "Took" });
    this.badge = badge();
    const cell = (/** @type {string} */ name, /** @type {Node[]} */ ...content) => h("td", { "data-name": name }, ...content);
    this.root = h(
      "tr",
      { "data-test-id": testId },
      cell("", h("label.past-tick", this.box)),
      h("th", { scope: "row" }, this.link, this.title),
      cell("Labels", this.labels.root),
      cell("Score", this.score.root),
      cell("Problems", this.problems.root),
      cell("Controls", this.controls.root),
      this.took,
      cell("Status", this.badge.root),
    );
  }

  /** @param {PastRun} past @param {number} now @param {boolean} titles */
  update({ run, problems, controls, problemChange, controlChange }, now, titles) {
    const at = when(run.createdAt, now);
    setTime(this.time, run.createdAt, at);
    setText(this.title, titles ? titleOf(run) : "");
    setAttr(this.box, "aria-label", `Compare the run of ${at}`);
    this.labels.update(run, now);
    this.score.update(run, now);
    this.problems.update(problems, problemChange);
    this.controls.update(controls, controlChange);
    setText(this.took, run.startedAt ? elapsed(run, now) : "–");
    this.badge.update(run, now);
  }
}

/** How many were found, and what is new and gone; the names on hover, and for screen readers. */
class Change {
  /** @param {"problem"|"control"} noun */
  constructor(noun) {
    const more = noun === "problem" ? "worse" : "better";
    this.words = noun === "problem" ? ["New", "Gone"] : ["Found", "Lost"];
    this.count = h("span.past-count");
    this.added = h("span.past-change", { "data-look": more });
    this.gone = h("span.past-change", { "data-look": more === "worse" ? "better" : "worse" });
    this.said = h("span.visually-hidden");
    this.root = h("span", this.count, this.added, this.gone, this.said);
  }

  /** @param {import("./past.js").Found[]|null} found @param {import("./past.js").Difference|null} change */
  update(found, change) {
    setText(this.count, found ? String(found.length) : UNKNOWN);
    setAttr(this.count, "data-unknown", found ? null : "");
    const { added = [], gone = [] } = change ?? {};
    setText(this.added, added.length ? `+${added.length}` : "");
    setText(this.gone, gone.length ? `−${gone.length}` : "");
    const words = [added, gone].flatMap((list, i) =>
      list.length ? [`${this.words[i]}: ${list.map(({ text }) => text).join("; ")}`] : [],
    );
    setAttr(this.root, "title", words.join("\n") || null);
    setText(this.said, words.length ? `. ${words.join(". ")}.` : "");
  }
}
