/** The tests as a dense table, an alternative to the cards. */

import { now } from "../client/now.js";
import { pageOf } from "../client/rpc.js";
import { shown } from "./coerce.js";
import { day, when } from "./dates.js";
import { h, icon, setAttr, setText, setTime } from "./dom.js";
import { report, unshown } from "./fence.js";
import { duration, host, titleOf } from "./format.js";
import { badge, phaseText, verdict } from "./parts.js";
import { clicked, labelText, playedFor, sortKey, sorted } from "./sorting.js";
import { COLUMNS, NEWEST_FIRST } from "./view-state.js";

/** New rows per frame. */
const NEW_PER_FRAME = 250;

export class RunTable {
  /**
   * @param {import("../client/runs.js").Runs<import("./feed-log.js").FeedLog>} runs
   * @param {(run: ShownRun) => boolean} shows whether the row of a run is visible
   * @param {(sort: import("./view-state.js").Sort) => void} onSort the reader has chosen another order
   */
  constructor(runs, shows, onSort) {
    this.runs = runs;
    this.shows = shows;
    /** @type {import("./view-state.js").Sort} */
    this.sort = NEWEST_FIRST;
    /** @type {import("./groups.js").Groups|null} */
    this.groups = null;
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    /** The visible runs, also those of collapsed games. @type {Set<string>} */
    this.shown = new Set();
    /** Whether the pointer is on the rows: they stay where they are. */
    this.pointed = false;
    this.today = "";
    this.headings = new Map(
      COLUMNS.map((column) => {
        const name = column[0].toUpperCase() + column.slice(1);
        const button = h("button.quiet.sort", { onclick: () => onSort(clicked(this.sort, column)) }, name);
        return [column, h("div.cell", { role: "columnheader", class: `cell cell-${column}` }, button)];
      }),
    );
    this.body = h("div.rows", { role: "rowgroup" });
    this.waiting = h("button.feed-jump.rows-waiting", { hidden: true, onclick: () => this.letGo() });
    const head = h("div.rows-head", { role: "rowgroup" }, h("div.row", { role: "row" }, ...this.headings.values()));
    this.table = h("div.table", { role: "table", "aria-label": "Tests" }, head, this.body);
    this.root = h("section.table-box", this.table, this.waiting);
    this.body.addEventListener("pointerenter", ({ pointerType }) => (this.pointed = pointerType === "mouse"));
    this.body.addEventListener("pointerleave", () => this.letGo());
    this.body.addEventListener("focusout", ({ relatedTarget }) => {
      if (!(relatedTarget instanceof Node && this.body.contains(relatedTarget))) requestAnimationFrame(() => this.arrange());
    });
    this.body.addEventListener("keydown", (event) => this.pressed(event));
  }

  /** Whether somebody reads the rows closely, so that none of them may move. */
  get held() {
    return this.pointed || this.body.contains(document.activeElement);
  }

  letGo() {
    this.pointed = false;
    this.arrange({ force: true });
  }

  /** @param {import("./view-state.js").Sort} sort */
  setSort(sort) {
    this.sort = sort;
    for (const [column, heading] of this.headings)
      setAttr(heading, "aria-sort", column === sort.column ? (sort.down ? "descending" : "ascending") : null);
    this.arrange({ force: true });
  }

  /** @param {import("./groups.js").Groups|null} groups */
  setGroups(groups) {
    if (groups === this.groups) return;
    this.groups?.clear();
    this.groups = groups;
    this.arrange({ force: true });
  }

  /**
   * Draws what has changed.
   *
   * @param {string[]} ids
   * @returns {string[]} the ids that are left for the next frame
   */
  update(ids) {
    let made = 0;
    let moved = false;
    const at = now();
    /** @type {string[]} */
    const later = [];
    for (const id of ids) {
      const run = this.runs.get(id);
      let row = this.rows.get(id);
      if (!run) {
        row?.root.remove();
        moved = this.rows.delete(id) || moved;
        continue;
      }
      if (!row && ++made > NEW_PER_FRAME) {
        later.push(id);
        continue;
      }
      if (!row) this.rows.set(id, (row = new Row(run)));
      row.update(run, at);
      moved = row.moves(this.placeOf(run, at)) || moved;
    }
    if (moved || this.groups) this.arrange();
    return later;
  }

  /** What the place of a run depends on. @param {ShownRun} run @param {number} at */
  placeOf(run, at) {
    const { column } = this.sort;
    const key = column === "duration" && !run.snapshot.finishedAt ? "" : sortKey(run.snapshot, column, at);
    return `${this.shows(run)} ${key} ${run.snapshot.createdAt}`;
  }

  /** Shows or hides every row, after another choice of runs. @returns {string[]} none: every run has a row */
  judgeAll() {
    this.arrange({ force: true });
    return [];
  }

  /**
   * Puts the rows in order, unless somebody reads them closely: then it says how many are new.
   *
   * @param {{force?: boolean}} [how]
   */
  arrange({ force = false } = {}) {
    const visible = sorted([...this.runs].filter((run) => this.rows.has(run.id) && this.shows(run)), this.sort, now());
    if (this.held && !force && this.body.childElementCount > 0) return this.sayWaiting(visible);
    this.waiting.hidden = true;
    this.shown = new Set(visible.map(({ id }) => id));
    const rowOf = (/** @type {ShownRun} */ run) => this.rows.get(run.id)?.root;
    const elements = this.groups ? this.groups.arrange(visible, rowOf) : visible.map(rowOf);
    place(this.body, elements.filter((element) => element !== undefined));
  }

  /** @param {ShownRun[]} visible in the order that they would have */
  sayWaiting(visible) {
    const fresh = visible.filter(({ id }) => !this.shown.has(id)).length;
    const order = visible.map(({ id }) => id).filter((id) => this.shown.has(id));
    const drawn = [...this.body.querySelectorAll("[data-test-id]")].map((row) => row.getAttribute("data-test-id"));
    const moved = this.groups ? order.length !== this.shown.size : String(order) !== String(drawn);
    this.waiting.hidden = !fresh && !moved;
    setText(this.waiting, fresh ? `↑ ${fresh} new` : "Sort again");
  }

  /** The arrow keys go from row to row. @param {KeyboardEvent} event */
  pressed(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    const stops = [...this.body.querySelectorAll(".cell-title a, .group .toggle")];
    const at = stops.findIndex((stop) => stop.closest(".row") === document.activeElement?.closest(".row"));
    const next = stops[at + step];
    if (at < 0 || !(next instanceof HTMLElement)) return;
    next.focus();
    event.preventDefault();
  }

  /** @param {string} testId */
  elementOf(testId) {
    return this.rows.get(testId)?.root;
  }

  /** Moves the clocks. @param {number} at ms, by the edge's clock */
  tick(at) {
    const today = day(at);
    const all = today !== this.today; // each date is written in another way
    this.today = today;
    for (const id of this.shown) {
      const run = this.runs.get(id);
      if (run && (all || !run.snapshot.finishedAt)) this.rows.get(id)?.tick(shown(run.snapshot), at);
    }
  }
}

/** Puts children in order and removes all others. Moves only those out of place. @param {Element} parent @param {Element[]} wanted */
function place(parent, wanted) {
  const kept = new Set(wanted);
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
  let at = parent.firstElementChild;
  for (const element of wanted) {
    if (element === at) at = at.nextElementSibling;
    else parent.insertBefore(element, at);
  }
}

class Row {
  /** @param {ShownRun} run */
  constructor(run) {
    this.id = run.id;
    this.place = "";
    this.when = h("time");
    this.link = h("a", { href: pageOf(run.id) });
    this.host = h("span.host");
    this.pinned = h("span.pinned", { hidden: true, title: "Pinned: it is kept for good" }, icon("pin"), h("span.visually-hidden", "pinned"));
    this.badge = badge();
    this.mark = h("span.mark.mark-stalled", { hidden: true }, "stalled");
    /** @type {Record<import("./view-state.js").Column, HTMLElement>} */
    this.cells = {
      when: cell("when", this.when),
      title: cell("title", this.link, this.host, this.pinned),
      status: cell("status", this.badge.root, this.mark),
      phase: cell("phase"),
      score: cell("score"),
      duration: cell("duration"),
      label: cell("label"),
      agent: cell("agent"),
    };
    this.root = h("div.row", { role: "row", "data-test-id": run.id }, ...COLUMNS.map((column) => this.cells[column]));
  }

  /** @param {string} place @returns {boolean} whether it is another one than before */
  moves(place) {
    const before = this.place;
    this.place = place;
    return before !== place;
  }

  /** A row that can't be drawn says so, and the others are drawn. @param {ShownRun} run @param {number} at */
  update(run, at) {
    try {
      this.draw(run, shown(run.snapshot), at);
    } catch (error) {
      report(`the row of ${this.id}`, error);
      this.link.replaceChildren(unshown(`Test ${this.id}`));
    }
  }

  /** @param {ShownRun} run @param {Shown} snapshot @param {number} at */
  draw(run, snapshot, at) {
    const { cells } = this;
    const title = titleOf(snapshot);
    setAttr(this.root, "data-status", snapshot.look);
    setText(this.link, title);
    setAttr(this.link, "title", title);
    setText(this.host, host(snapshot) === title ? "" : host(snapshot));
    setAttr(this.host, "title", snapshot.gameUrl);
    this.badge.update(snapshot, at);
    this.mark.hidden = !snapshot.stalled;
    this.pinned.hidden = snapshot.pinned !== true;
    for (const [name, text] of [["phase", phaseText(snapshot)], ["label", labelText(run.snapshot)], ["agent", snapshot.worker ?? ""]]) {
      const cell = cells[/** @type {"phase"} */ (name)];
      setText(cell, text);
      setAttr(cell, "title", text || null);
    }
    setText(cells.score, snapshot.score === undefined ? "" : String(Math.round(snapshot.score)));
    setAttr(cells.score, "data-verdict", snapshot.score === undefined ? null : verdict(snapshot.score));
    this.tick(snapshot, at);
  }

  /** @param {Shown} snapshot @param {number} at ms, by the edge's clock */
  tick(snapshot, at) {
    const { createdAt } = snapshot;
    setTime(this.when, createdAt || undefined, createdAt ? when(createdAt, at) : "");
    const played = playedFor(snapshot, at);
    setText(this.cells.duration, played === undefined ? "" : duration(played));
  }
}

/** @param {string} column @param {...HTMLElement} children */
const cell = (column, ...children) => h("div", { role: "cell", class: `cell cell-${column}` }, ...children);
