/**
 * The Live Feed of one run: keeps to the bottom until the reader scrolls up, then says what is new.
 *
 * Only the lines on the screen and some around them are in the page; the others are room above and below, as high
 * as they were measured, or probably are. What is read stays where it is, whatever is measured or comes.
 */

import { h, icon, setAttr, setText } from "./dom.js";
import { FeedTools } from "./feedtools.js";
import { clock } from "./format.js";
import { groupOf } from "./lines.js";
import { behind } from "./store.js";
import { Heights } from "./virtual.js";

/** How near to the bottom counts as being there, px: less than one line. */
const BOTTOM_PX = 16;
/** Drawn above and below the screen, px: a turn of the wheel or two. */
const BEYOND_PX = 400;
/** Lines that stay in the page because they are selected; a longer selection loses its far end. */
const MAX_SELECTED = 500;
/** Room before the first line and after the last, px. */
const EDGE_PX = 6;

export class Feed {
  /**
   * @param {string} label what the list is called for a screen reader
   * @param {{say?: (text: string) => void}} [how] say: tells those who listen; with it come search, copy and download
   */
  constructor(label, { say } = {}) {
    /** @type {Run|null} */
    this.run = null;
    this.generation = -1;
    this.stuck = true;
    this.unseen = 0;
    this.width = 0; // for which the heights hold
    this.taken = 0; // lines of the run that were looked at
    this.newest = 0; // seq of the newest of them
    /** @type {Line[]} those that are shown, drawn or not */
    this.lines = [];
    this.heights = new Heights();
    /** @type {HTMLElement[]} in the page: lines from `first` on */
    this.rows = [];
    this.first = 0;

    this.tools = new FeedTools(() => this.narrow(), say);
    this.list = h("ol.feed-lines", { role: "list" });
    this.empty = h("p.feed-empty");
    this.scroller = h(
      "div.feed-scroll",
      { tabindex: "0", role: "region", "aria-label": label },
      this.list,
      this.empty,
    );
    this.jump = h("button.feed-jump", { hidden: true, onclick: () => this.toBottom() });
    this.root = h("div.feed", this.tools.root, h("div.feed-box", this.scroller, this.jump));
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    // The browser would go smoothly to where it thinks that the ends are, before what is there has been measured.
    this.scroller.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      if (event.key === "End") this.toBottom();
      else if (event.key === "Home") this.show(0);
      else return;
      event.preventDefault();
    });
    new ResizeObserver(() => this.resized()).observe(this.scroller);
  }

  /** Forgets which lines are shown. */
  clear() {
    Object.assign(this, { lines: [], heights: new Heights(), rows: [], first: 0 });
    this.list.replaceChildren();
  }

  /** Draws what is new. To be called once a frame, while the feed is visible. @param {Run} run */
  update(run) {
    this.run = run;
    this.width ||= this.scroller.clientWidth;
    const place = run.generation === this.generation ? null : this.begin(run);
    const { newest } = this; // a phase's heading bears the seq of the line below it
    for (; this.taken < run.lines.length; this.taken++) {
      const line = run.lines[this.taken];
      this.tools.count(groupOf(line));
      this.take(line);
      const seq = line.seq ?? 0;
      if (seq > newest && !this.stuck && line.kind !== "phase" && this.tools.passes(line)) this.unseen++;
      this.newest = Math.max(this.newest, seq);
    }
    if (place) this.goTo(place);
    this.draw();
  }

  /**
   * The run's lines are others now: those that were let go of came back, or it starts again.
   *
   * @param {Run} run
   * @returns {Place|null} where to go on reading, when that is not the bottom
   */
  begin(run) {
    if (this.scroller.clientHeight === 0) this.stuck = true; // collapsed: opened again, it shows what is newest
    const place = this.stuck ? null : this.place();
    const goesOn = run.lines.some(({ seq }) => seq === this.newest);
    if (!goesOn) this.newest = 0;
    if (!goesOn || this.stuck) this.unseen = 0;
    Object.assign(this, { generation: run.generation, taken: 0 });
    this.tools.reset();
    this.clear();
    return goesOn ? place : null;
  }

  /** @param {Line} line */
  take(line) {
    if (!this.tools.passes(line)) return;
    this.lines.push(line);
    this.heights.push(this.estimate(line));
  }

  /** About how high a line will be, px; the more right, the less the scroll bar jumps. @param {Line} line */
  estimate({ kind, text, detail }) {
    if (kind === "phase") return 30;
    const columns = Math.max(10, (this.width - 120) / 6.6); // characters of 13 px beside the time and the icon
    const rows = Math.ceil(text.length / columns) + (detail ? Math.ceil(detail.length / columns) : 0);
    return 4 + 18 * Math.max(1, rows);
  }

  /** Another choice of lines: what was read stays near, as far as it is still there. */
  narrow() {
    const place = this.place();
    this.clear();
    for (const line of this.run?.lines.slice(0, this.taken) ?? []) this.take(line);
    this.unseen = 0;
    if (this.stuck) this.draw();
    else this.goTo(place);
  }

  /** @returns {Place} where the reader is */
  place() {
    const top = this.scroller.scrollTop - EDGE_PX;
    let line = this.heights.at(top);
    while (line < this.lines.length - 1 && !this.lines[line].seq) line++; // what bears no seq may not come back
    const { seq = 0, kind = "system" } = this.lines[line] ?? {};
    return { seq, kind, offset: top - this.heights.top(line) };
  }

  /** Back to a line, or to the last one before it that is still shown. @param {Place} place */
  goTo({ seq, kind, offset }) {
    const same = this.lines.findIndex((line) => line.seq === seq && line.kind === kind);
    if (same >= 0) this.show(same, offset);
    else this.show(this.lines.findLastIndex((line) => (line.seq ?? Infinity) <= seq));
  }

  /** Draws the lines that are to be seen now, measures the new ones, and goes on until nothing changes. */
  draw() {
    const { scroller, heights } = this;
    const height = scroller.clientHeight;
    if (height === 0) return; // collapsed: the ResizeObserver comes when it opens
    // One pass for the lines, one for those that came in since the first were smaller than they seemed; seldom more.
    for (let pass = 0, settled = false; pass < 5 && !settled; pass++) {
      const top = this.stuck ? Math.max(0, heights.total - height) : scroller.scrollTop - EDGE_PX;
      const read = heights.at(top);
      const offset = top - heights.top(read);
      settled = this.lay(...this.withSelection(heights.between(top, top + height, BEYOND_PX)));
      const goal = this.stuck ? scroller.scrollHeight - height : heights.top(read) + offset + EDGE_PX;
      if (Math.abs(goal - scroller.scrollTop) >= 1) scroller.scrollTop = goal;
    }
    this.list.hidden = this.lines.length === 0;
    for (const row of this.rows) setAttr(row, "aria-setsize", this.lines.length);
    this.tools.draw(this.run, this.lines);
    const words = this.emptyWords();
    this.empty.hidden = !words;
    setText(this.empty, words);
    this.showJump();
  }

  emptyWords() {
    const { run } = this;
    if (!run) return "";
    if (run.refusal !== null) return run.refusal;
    if (!run.lines.length) return behind(run) ? "Loading the feed…" : "Nothing yet. The first event appears here.";
    return this.lines.some(({ kind }) => kind !== "phase") ? "" : this.tools.nothing();
  }

  /**
   * Puts the lines from `first` up to `last` in the page. A row that stays is not touched: a selection would break.
   *
   * @param {number} first
   * @param {number} last
   * @returns {boolean} whether all were as high as was thought
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
    this.list.prepend(...above);
    this.list.append(...below);
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

  pad() {
    const end = this.first + this.rows.length;
    this.list.style.paddingTop = `${EDGE_PX + this.heights.top(this.first)}px`;
    this.list.style.paddingBottom = `${EDGE_PX + Math.max(0, this.heights.total - this.heights.top(end))}px`;
  }

  /**
   * Keeps selected lines in the page while the reader scrolls on.
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

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    if (clientHeight === 0) return; // collapsed just now: not the reader's doing
    this.stuck = scrollHeight - scrollTop - clientHeight < BOTTOM_PX;
    if (this.stuck) this.unseen = 0;
    this.draw();
  }

  resized() {
    const width = this.scroller.clientWidth;
    if (width && this.width && width !== this.width) {
      this.width = width;
      const read = this.heights.at(this.scroller.scrollTop);
      const lines = this.lines;
      this.heights = new Heights();
      for (const line of lines) this.heights.push(this.estimate(line));
      this.rows = [];
      this.list.replaceChildren();
      if (!this.stuck) this.show(read);
    }
    this.draw();
  }

  showJump() {
    this.jump.hidden = this.stuck || this.unseen === 0;
    setText(this.jump, `↓ ${this.unseen.toLocaleString("en")} new`);
  }

  toBottom() {
    this.stuck = true;
    this.unseen = 0;
    this.draw();
    this.scroller.focus({ preventScroll: true });
  }

  /** Goes to where a line is at the top. @param {number} line @param {number} [offset] of it above the top, px */
  show(line, offset = 0) {
    this.stuck = false;
    // What is above it may turn out higher than was thought: where it begins is known when it has been drawn.
    for (let pass = 0; pass < 3; pass++) {
      this.pad();
      this.scroller.scrollTop = EDGE_PX + this.heights.top(Math.max(0, line)) + offset;
      this.draw();
    }
    this.scrolled(); // the end may be nearer than that
  }

  /** Shows the line of an event, if need be among all the others, and points it out. @param {number} seq */
  reveal(seq) {
    const find = () => this.lines.findIndex((line) => line.seq === seq && line.kind !== "phase");
    if (find() < 0) this.tools.showAll();
    const found = find();
    if (found < 0) return;
    this.show(Math.max(0, found - 2)); // with a little of what came before
    this.scroller.focus({ preventScroll: true });
    this.root.scrollIntoView({ block: "nearest" });
    this.rows[found - this.first]?.animate([{ background: "var(--amber-soft)" }, {}], { duration: 2000 });
  }
}

/** @typedef {{seq: number, kind: Line["kind"], offset: number}} Place a line, and how much of it is above the top, px */

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
