/** The toolbar above the list: filters with counts, and the search. */

import { total } from "../client/runs.js";
import { h, setAttr, setText } from "./dom.js";

/** @type {Array<[Filter, string]>} */
const FILTERS = [
  ["all", "All"],
  ["running", "Running"],
  ["queued", "Queued"],
  ["completed", "Completed"],
  ["failed", "Failed"],
  ["cancelled", "Cancelled"],
  ["pinned", "Pinned"], // without a number: the edge counts by status
];

/** Time after the last key of a search before the edge is asked, ms. */
const TYPING_MS = 250;

export class Toolbar {
  /** @param {(waitMs: number) => void} onChoice the filter or the search has changed; ask the edge after `waitMs` */
  constructor(onChoice) {
    this.onChoice = onChoice;
    /** @type {Filter} */
    this.filter = "all";
    /** @type {Counts|null} */
    this.drawnCounts = null;
    this.filters = new Map(FILTERS.map(([status, name]) => [status, this.filterButton(status, name)]));
    this.search = h("input.search", {
      type: "search",
      placeholder: "Search",
      "aria-label": "Search tests",
      "aria-keyshortcuts": "/",
      oninput: () => onChoice(TYPING_MS),
    });
    const buttons = [...this.filters.values()].map(({ button }) => button);
    this.root = h(
      "div.toolbar",
      { hidden: true },
      h("div.filters", { role: "group", "aria-label": "Filter by status" }, ...buttons),
      this.search,
    );
  }

  /** As the reader typed it. */
  get words() {
    return this.search.value.trim();
  }

  /** @param {Filter} status @param {string} name */
  filterButton(status, name) {
    const number = h("span.count", { hidden: status === "pinned" }, "0");
    const pressed = String(status === "all");
    const attributes = { "data-filter": status, "aria-pressed": pressed, onclick: () => this.choose(status) };
    return { button: h("button.filter", attributes, name, number), number };
  }

  /** @param {Filter} status */
  choose(status) {
    this.set(status, this.search.value);
    this.onChoice(0);
  }

  /** Shows a choice without making it. @param {Filter} status @param {string} words */
  set(status, words) {
    this.filter = status;
    if (this.search.value !== words) this.search.value = words;
    for (const [other, { button }] of this.filters) setAttr(button, "aria-pressed", String(other === status));
  }

  /** Removes the filter and the search. */
  showAll() {
    this.search.value = "";
    this.choose("all");
  }

  /** @param {Counts|null} counts */
  draw(counts) {
    if (counts === this.drawnCounts) return;
    this.drawnCounts = counts;
    for (const [status, { number }] of this.filters) {
      const n = counts && status !== "pinned" && (status === "all" ? total(counts) : counts[status]);
      setText(number, Number.isFinite(n) ? Number(n).toLocaleString("en") : "0");
    }
  }
}
