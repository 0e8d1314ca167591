/**
 * The lines of a feed, of which only those near the screen are elements of the page.
 *
 * Padding above and below takes the place of the others: as high as they were measured, or as estimated. Vertical
 * positions are in px from the top of the list.
 */

import { h, icon, setAttr } from "./dom.js";
import { clock } from "./format.js";
import { Heights } from "./virtual.js";

/** Drawn above and below the screen, px: about two turns of the wheel. */
const BEYOND_PX = 400;
/** Selected lines that stay in the page. A longer selection loses its far end. */
const MAX_SELECTED = 500;
/** Space before the first line and after the last, px. */
const EDGE_PX = 6;

export class Rows {
  constructor() {
    this.root = h("ol.feed-lines", { role: "list" });
    /** The width that the heights belong to, px. */
    this.width = 0;
    /** All lines, drawn or not. @type {Line[]} */
    this.lines = [];
    this.heights = new Heights();
    /** The elements in the page: the lines from `first` on. @type {HTMLElement[]} */
    this.rows = [];
    this.first = 0;
  }

  clear() {
    Object.assign(this, { lines: [], heights: new Heights(), rows: [], first: 0 });
    this.root.replaceChildren();
  }

  /** @param {Line} line */
  push(line) {
    this.lines.push(line);
    this.heights.push(this.estimate(line));
  }

  /** Estimates all heights again. @param {number} width px */
  resize(width) {
    const { lines } = this;
    this.width = width;
    this.clear();
    for (const line of lines) this.push(line);
  }

  /** The probable height of a line, px. A good estimate keeps the scroll bar steady. @param {Line} line */
  estimate({ kind, text, detail }) {
    if (kind === "phase") return 30;
    const columns = Math.max(10, (this.width - 120) / 6.6); // characters of 13 px beside the time and the icon
    const rows = Math.ceil(text.length / columns) + (detail ? Math.ceil(detail.length / columns) : 0);
    return 4 + 18 * Math.max(1, rows);
  }

  /** The line at a position. @param {number} y */
  at(y) {
    return this.heights.at(y - EDGE_PX);
  }

  /** The position of a line. @param {number} line */
  top(line) {
    return EDGE_PX + this.heights.top(line);
  }

  /** The position that shows the last line at the end of the screen. @param {number} height of the screen, px */
  bottom(height) {
    return EDGE_PX + Math.max(0, this.heights.total - height);
  }

  /** The element of a line, if it is in the page. @param {number} line @returns {HTMLElement|undefined} */
  element(line) {
    return this.rows[line - this.first];
  }

  /**
   * Puts the lines around a part of the list into the page.
   *
   * @param {number} y
   * @param {number} height
   * @returns {boolean} whether every new line was as high as estimated
   */
  show(y, height) {
    const top = y - EDGE_PX;
    return this.lay(...this.withSelection(this.heights.between(top, top + height, BEYOND_PX)));
  }

  /**
   * Puts the lines from `first` up to `last` into the page. Rows that stay are not touched: a selection would break.
   *
   * @param {number} first
   * @param {number} last
   * @returns {boolean} whether every new line was as high as estimated
   */
  lay(first, last) {
    const drop = (/** @type {HTMLElement|undefined} */ row) => row?.remove();
    while (this.rows.length && this.first < first) drop(this.rows.shift()), this.first++;
    while (this.rows.length && this.first + this.rows.length > last) drop(this.rows.pop());
    if (!this.rows.length) this.first = first;
    const drawn = this.first + this.rows.length;
    const make = (/** @type {number} */ from, /** @type {number} */ to) =>
      this.lines.slice(from, to).map((line, i) => row(line, from + i));
    const [above, below] = [make(first, this.first), make(drawn, last)];
    this.root.prepend(...above);
    this.root.append(...below);
    this.rows = [...above, ...this.rows, ...below];
    this.first = first;
    this.pad();
    let settled = true;
    const measure = (/** @type {HTMLElement} */ element, /** @type {number} */ line) => {
      if (this.heights.set(line, element.getBoundingClientRect().height)) settled = false;
    };
    above.forEach((element, i) => measure(element, first + i));
    below.forEach((element, i) => measure(element, drawn + i));
    if (!settled) this.pad();
    return settled;
  }

  /** Sets the space that the lines outside the page take. */
  pad() {
    const end = this.first + this.rows.length;
    this.root.style.paddingTop = `${EDGE_PX + this.heights.top(this.first)}px`;
    this.root.style.paddingBottom = `${EDGE_PX + Math.max(0, this.heights.total - this.heights.top(end))}px`;
  }

  /**
   * Extends a range by the selected lines, which stay in the page while the reader scrolls.
   *
   * @param {[number, number]} range
   * @returns {[number, number]}
   */
  withSelection([first, last]) {
    const selection = document.getSelection();
    if (!selection || selection.isCollapsed || !this.rows.length) return [first, last];
    const ends = [selection.anchorNode, selection.focusNode]
      .map((node) => this.rows.findIndex((element) => element.contains(node)))
      .filter((i) => i >= 0)
      .map((i) => this.first + i);
    const [from, to] = [Math.min(first, ...ends), Math.max(last, ...ends.map((i) => i + 1))];
    return to - from > MAX_SELECTED ? [first, last] : [from, to];
  }

  /** To be called after `show`. */
  finish() {
    this.root.hidden = this.lines.length === 0;
    for (const row of this.rows) setAttr(row, "aria-setsize", this.lines.length);
  }
}

/** @param {Line} line @param {number} index @returns {HTMLElement} */
function row(line, index) {
  const place = { "aria-posinset": index + 1, "data-seq": line.kind === "phase" ? null : line.seq };
  if (line.kind === "phase") {
    return h("li.line.line-phase", place, h("span", { role: "heading", "aria-level": "3" }, line.text));
  }
  const time = h("time.line-time", line.time === undefined ? "" : clock(line.time));
  const text = h("span.line-text", line.text, line.detail ? h("span.line-detail", line.detail) : null);
  return h("li", { class: `line line-${line.kind}`, ...place }, time, icon(line.kind), text);
}
