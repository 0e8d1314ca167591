/**
 * The lines of a feed, of which only those near the screen are elements of the page.
 *
 * Padding above and below takes the place of the others: as high as they were measured, or as estimated. Vertical
 * positions are in px from the top of the list.
 */

import { h, icon, setAttr, setTime } from "./dom.js";
import { report, unshown } from "./fence.js";
import { clock } from "./format.js";
import { isHeading } from "./lines.js";
import { Heights } from "./virtual.js";

/** Drawn above and below the screen, px: about two turns of the wheel. */
const BEYOND_PX = 400;
/** Selected lines that stay in the page. A longer selection loses its far end. */
const MAX_SELECTED = 500;
/** Space before the first line and after the last, px. */
const EDGE_PX = 6;

export class Rows {
  /** @param {(seq: number) => string} linkTo the address of the line of an event */
  constructor(linkTo) {
    this.linkTo = linkTo;
    this.root = h("ol.feed-lines", { role: "list" });
    /** The width that the heights belong to, px. */
    this.width = 0;
    /** All lines, drawn or not. @type {Line[]} */
    this.lines = [];
    this.heights = new Heights();
    /** The elements in the page: the lines from `first` on. @type {HTMLElement[]} */
    this.rows = [];
    this.first = 0;
    /** The event whose lines are marked; 0: none. */
    this.marked = 0;
    /** The moment that the page shows, as the seq of its event; Infinity: now. Its later lines are dimmed. */
    this.moment = Infinity;
    /** The first of the later lines; Infinity: there are none. */
    this.later = Infinity;
  }

  /** Marks the line of an event, until another is marked. @param {number} seq 0: none */
  mark(seq) {
    this.marked = seq;
    for (const row of this.rows) setAttr(row, "data-marked", row.getAttribute("data-seq") === String(seq));
  }

  /** @param {number} seq of the newest event of the moment that the page shows; Infinity: now */
  showMoment(seq) {
    this.moment = seq;
    const found = this.lines.findIndex((line) => (line.seq ?? 0) > seq);
    this.later = found < 0 ? Infinity : found;
    this.rows.forEach((row, i) => setAttr(row, "data-later", this.first + i >= this.later));
  }

  clear() {
    Object.assign(this, { lines: [], heights: new Heights(), rows: [], first: 0, later: Infinity });
    this.root.replaceChildren();
  }

  /** @param {Line} line */
  push(line) {
    if (this.later === Infinity && (line.seq ?? 0) > this.moment) this.later = this.lines.length;
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
    if (isHeading({ kind })) return 30;
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

  /** The line that an element of the page belongs to; -1: to none. @param {EventTarget|null} target */
  indexOf(target) {
    const row = this.rows.findIndex((each) => target instanceof Node && each.contains(target));
    return row < 0 ? -1 : this.first + row;
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
      this.lines.slice(from, to).map((line, i) => this.row(line, from + i));
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

  /** @param {Line} line @param {number} index @returns {HTMLElement} */
  row(line, index) {
    const seq = isHeading(line) ? null : line.seq;
    const place = { "aria-posinset": index + 1, "data-seq": seq, "data-later": index >= this.later };
    try {
      return row(line, place, line.seq ? this.linkTo(line.seq) : "", line.seq === this.marked);
    } catch (error) {
      report(`event ${line.seq}`, error);
      return h("li.line.line-system", place, h("span"), h("span"), unshown());
    }
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
    for (const row of this.rows) setAttr(row, "aria-setsize", this.lines.length);
  }
}

/**
 * @param {Line} line
 * @param {Record<string, string|number|boolean|null|undefined>} place
 * @param {string} address
 * @param {boolean} marked
 * @returns {HTMLElement}
 */
function row(line, place, address, marked) {
  const { kind, text, detail, time: ms, output, ansi } = line;
  if (kind === "phase" || kind === "day") {
    return h(`li.line.line-${kind}`, place, h("span", { role: "heading", "aria-level": "3" }, text));
  }
  const time = h("time.line-time");
  if (ms !== undefined) setTime(time, ms, clock(ms));
  // Not in the order of Tab, where thousands of lines would stand before the rest of the page.
  const when = address && ms !== undefined ? h("a.line-link", { href: address, tabindex: "-1" }, time) : time;
  const words = h("span.line-text", text, detail ? h("span.line-detail", detail) : null);
  if (ansi) import("./sgr.js").then(({ runs }) => words.replaceChildren(...runs(ansi).map(([look, part]) => h("span", { class: look }, part))));
  return h("li", { class: `line line-${kind}${output ? ` line-${output}` : ""}`, ...place, "data-marked": marked }, when, icon(kind), words);
}
