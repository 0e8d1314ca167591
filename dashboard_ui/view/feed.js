/**
 * The Live Feed of one run. It follows the newest line until the reader scrolls up, however little, and then counts the
 * new lines. At the bottom it follows again.
 *
 * The line that the reader sees keeps its place on the screen, whatever is added or measured.
 */

import { behind } from "../client/runs.js";
import { h, icon, setText } from "./dom.js";
import { FeedTools } from "./feed-tools.js";
import { groupOf, isHeading, unreadText } from "./lines.js";
import { Rows } from "./rows.js";

/** Closer than this to the bottom is the bottom, px: a browser that zooms rounds positions. */
const BOTTOM_PX = 1;
/** The smallest movement, px. With a zoom, positions are no whole numbers. */
const MOVED_PX = 0.3;

/** What is seen beside the line of a moment, px. */
const BESIDE_PX = 60;

/** @typedef {{seq: number, kind: Line["kind"], part?: number, offset: number}} Place a line, and its part above the screen, px */

export class Feed {
  /**
   * @param {string} label the name of the list for screen readers
   * @param {object} [how]
   * @param {(text: string) => void} [how.say] announces a text; adds search, copy and download
   * @param {(seq: number) => string} [how.linkTo] the address of an event's line
   * @param {() => void} [how.onNarrow] another filter or search was chosen
   * @param {(seq: number) => void} [how.onLine] the reader has chosen the line of an event
   * @param {() => void} [how.onFollow] the reader wants to see the newest line, and follow it
   */
  constructor(label, { say, linkTo = (seq) => `#${seq}`, onNarrow = () => {}, onLine, onFollow = () => {} } = {}) {
    this.onFollow = onFollow;
    /** The event of the moment that is shown; null: now. @type {number|null} */
    this.moment = null;
    /** @type {ShownRun|null} */
    this.run = null;
    this.generation = -1;
    /** Whether the feed follows the newest line. */
    this.stuck = true;
    /** Where the scroller was when it was last looked at. A position above it is a movement of the reader. */
    this.top = 0;
    /** New lines since the reader has scrolled up. */
    this.unseen = 0;
    /** Lines of the run that were processed. */
    this.taken = 0;
    /** The seq of the newest of them. */
    this.newest = 0;

    const narrowed = () => {
      this.narrow();
      onNarrow();
    };
    this.tools = new FeedTools(narrowed, say);
    this.rows = new Rows(linkTo);
    this.unreadWords = h("span.line-text");
    this.unread = h("p.line.line-system.feed-unread", h("span"), icon("system"), this.unreadWords);
    this.empty = h("p.feed-empty");
    this.scroller = h(
      "div.feed-scroll",
      { tabindex: "0", role: "region", "aria-label": label },
      this.rows.root,
      this.empty,
    );
    this.jump = h("button.feed-jump", { hidden: true, onclick: () => this.follow() });
    this.root = h("div.feed", this.tools.root, h("div.feed-box", this.scroller, this.jump));
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.scroller.addEventListener("keydown", (event) => this.pressed(event));
    if (onLine) this.scroller.addEventListener("click", (event) => this.clicked(event, onLine));
    new ResizeObserver(() => this.resized()).observe(this.scroller);
  }

  /** Draws what is new. To be called once a frame while the feed is visible. @param {ShownRun} run */
  update(run) {
    const { feed } = run;
    this.run = run;
    this.rows.width ||= this.scroller.clientWidth;
    const place = feed.generation === this.generation ? null : this.begin(feed);
    const { newest } = this; // a phase's heading has the seq of the line below it
    for (; this.taken < feed.lines.length; this.taken++) {
      const line = feed.lines[this.taken];
      this.tools.count(groupOf(line));
      if (this.tools.passes(line)) this.rows.push(line);
      const seq = line.seq ?? 0;
      if (seq > newest && !this.stuck && !isHeading(line) && this.tools.passes(line)) this.unseen++;
      this.newest = Math.max(this.newest, seq);
    }
    if (place) this.goTo(place);
    const unread = unreadText(feed.unread);
    setText(this.unreadWords, unread);
    if (!unread) this.unread.remove();
    else if (!this.unread.isConnected) this.tools.root.after(this.unread);
    this.draw();
  }

  /**
   * Starts again with other lines: dropped lines were restored, or the run's feed was reset.
   *
   * @param {import("./feed-log.js").FeedLog} feed
   * @returns {Place|null} where the reader was, unless that is the bottom or no longer there
   */
  begin(feed) {
    if (this.scroller.clientHeight === 0) this.stuck = true; // collapsed: it shows the newest line when it opens
    else this.letGo(); // while the lines still stand
    const place = this.stuck ? null : this.place();
    const goesOn = feed.lines.some(({ seq }) => seq === this.newest);
    if (!goesOn) this.newest = 0;
    if (!goesOn || this.stuck) this.unseen = 0;
    Object.assign(this, { generation: feed.generation, taken: 0 });
    this.tools.reset();
    this.rows.clear();
    return goesOn ? place : null;
  }

  /** Applies another filter or search. The reader stays at the same line if it is still shown. */
  narrow() {
    const place = this.place();
    this.rows.clear();
    const lines = this.run?.feed.lines.slice(0, this.taken) ?? [];
    for (const line of lines) if (this.tools.passes(line)) this.rows.push(line);
    this.unseen = 0;
    if (this.stuck) this.draw();
    else this.goTo(place);
  }

  /** @returns {Place} where the reader is */
  place() {
    const { rows } = this;
    const { scrollTop } = this.scroller;
    let line = rows.at(scrollTop);
    while (line < rows.lines.length - 1 && !rows.lines[line].seq) line++; // a line without a seq may not be restored
    const { seq = 0, kind = "system", part } = rows.lines[line] ?? {};
    return { seq, kind, part, offset: scrollTop - rows.top(line) };
  }

  /** Scrolls to a line, or to the last line before it that is shown. @param {Place} place */
  goTo({ seq, kind, part, offset }) {
    const { lines } = this.rows;
    const same = lines.findIndex((line) => line.seq === seq && line.kind === kind && line.part === part);
    if (same >= 0) this.show(same, offset);
    else this.show(lines.findLastIndex((line) => (line.seq ?? Infinity) <= seq));
  }

  /** Draws the lines on the screen, measures the new ones, and repeats until nothing changes. */
  draw() {
    const { scroller, rows } = this;
    const height = scroller.clientHeight;
    if (height === 0) {
      this.top = 0;
      return; // collapsed: the ResizeObserver calls when it opens
    }
    this.letGo();
    const words = this.emptyWords();
    this.empty.hidden = !words;
    setText(this.empty, words);
    rows.root.hidden = rows.lines.length === 0; // before anything is measured: what is hidden has no height
    // The second pass draws the lines that appear because others were lower than estimated. More are rare.
    for (let pass = 0, settled = false; pass < 5 && !settled; pass++) {
      const y = this.stuck ? rows.bottom(height) : scroller.scrollTop;
      const read = rows.at(y);
      const offset = y - rows.top(read);
      settled = rows.show(y, height);
      const goal = this.stuck ? scroller.scrollHeight - height : rows.top(read) + offset;
      if (Math.abs(goal - scroller.scrollTop) >= 1) scroller.scrollTop = goal;
    }
    this.top = scroller.scrollTop;
    rows.finish();
    this.tools.draw(this.run, rows.lines);
    this.showJump();
  }

  /** The text in place of lines; "" if there are lines. */
  emptyWords() {
    const { run } = this;
    if (!run) return "";
    if (run.refusal !== null) return run.refusal;
    if (!run.feed.lines.length) return behind(run) ? "Loading the feed…" : "Nothing yet. The first event appears here.";
    return this.rows.lines.some((line) => !isHeading(line)) ? "" : this.tools.nothing();
  }

  /** The browser would scroll to the estimated ends of the list. @param {KeyboardEvent} event */
  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const onLine = event.target !== this.scroller;
    const way = event.key === "ArrowUp" ? -1 : event.key === "ArrowDown" ? 1 : 0;
    if (event.key === "End") this.follow();
    else if (event.key === "Home") this.show(0);
    else if (event.key === "Enter" && !onLine) this.focusLine(this.lineInView(), -1);
    else if (way && onLine) this.focusLine(this.rows.indexOf(event.target) + way, way);
    else return;
    event.preventDefault();
  }

  /** The distance to the bottom, px. */
  get below() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight;
  }

  /**
   * Stops following if the reader has scrolled up, by whatever means: wheel, finger, key, scroll bar. Each drawing calls
   * it too, since a browser may scroll before it reports it. Lines that disappear also move the scroller up, but then it
   * is at the bottom.
   */
  letGo() {
    if (this.stuck && this.scroller.scrollTop < this.top - MOVED_PX && this.below >= BOTTOM_PX) this.stuck = false;
  }

  scrolled() {
    if (this.scroller.clientHeight === 0) return; // collapsed, not scrolled
    if (this.stuck) this.letGo();
    else if (this.moment !== null) this.unseen = this.below < BOTTOM_PX ? 0 : this.unseen;
    else this.stuck = this.scroller.scrollTop >= this.top - MOVED_PX && this.below < BOTTOM_PX;
    if (this.stuck) this.unseen = 0;
    this.draw();
  }

  resized() {
    const { rows, scroller } = this;
    const width = scroller.clientWidth;
    if (width && rows.width && width !== rows.width) {
      const read = rows.at(scroller.scrollTop);
      rows.resize(width);
      if (!this.stuck) this.show(read);
    }
    this.draw();
  }

  showJump() {
    this.jump.hidden = this.stuck || this.unseen === 0;
    setText(this.jump, `↓ ${this.unseen.toLocaleString("en")} new`);
  }

  /** To the newest line, which the feed follows from now on. */
  follow() {
    this.onFollow();
    this.toBottom();
    this.scroller.focus({ preventScroll: true });
  }

  toBottom() {
    this.stuck = true;
    this.top = this.scroller.scrollTop; // the reader may have been moving up
    this.unseen = 0;
    this.draw();
  }

  /**
   * Shows a moment: its line is marked, and later lines are dimmed.
   *
   * @param {number|null} seq of its event; null: now, and the feed follows the newest line again
   * @param {boolean} byReader whether the reader has chosen it. Otherwise a reader who looks elsewhere is left there
   */
  showMoment(seq, byReader) {
    const { rows, moment } = this;
    if (seq === moment) return;
    const looksOn = byReader || moment === null || this.isSeen(this.lineOf(moment));
    this.moment = seq;
    rows.showMoment(seq ?? Infinity);
    rows.mark(seq ?? 0);
    if (seq === null) return this.toBottom();
    this.stuck = false;
    if (looksOn) this.bring(this.lineOf(seq), seq < (moment ?? Infinity));
  }

  /** The line of an event, or the last one before it. @param {number} seq */
  lineOf(seq) {
    const { lines, later, moment } = this.rows;
    let line = seq === moment ? Math.min(later, lines.length) - 1 : lines.findLastIndex((each) => (each.seq ?? Infinity) <= seq);
    while (line > 0 && isHeading(lines[line])) line--;
    return line;
  }

  /** Whether a line is on the screen as a whole. @param {number} line */
  isSeen(line) {
    const { rows, scroller } = this;
    return line >= 0 && rows.top(line) >= scroller.scrollTop && rows.top(line + 1) <= scroller.scrollTop + scroller.clientHeight;
  }

  /** Scrolls to a line unless it is on the screen. @param {number} line @param {boolean} upward */
  bring(line, upward) {
    const height = this.scroller.clientHeight;
    if (line < 0 || height === 0 || this.isSeen(line)) return;
    this.show(line, upward ? BESIDE_PX + this.rows.top(line + 1) - this.rows.top(line) - height : -BESIDE_PX);
  }

  /** The line of the moment if it is on the screen; otherwise the last line that is. */
  lineInView() {
    const { rows, scroller, moment } = this;
    const line = moment === null ? -1 : this.lineOf(moment);
    return this.isSeen(line) ? line : rows.at(scroller.scrollTop + scroller.clientHeight - BOTTOM_PX);
  }

  /** Moves the focus to a line, or to the next one that has an address. @param {number} line @param {1|-1|0} way */
  focusLine(line, way) {
    const { lines } = this.rows;
    while (lines[line] && (isHeading(lines[line]) || !lines[line].seq)) line += way || 1;
    if (!lines[line]) return;
    this.bring(line, way < 0);
    this.rows.element(line)?.querySelector("a")?.focus({ preventScroll: true });
  }

  /** A click on a line, unless it selects text or follows a link. @param {MouseEvent} event @param {(seq: number) => void} onLine */
  clicked({ target, defaultPrevented }, onLine) {
    if (defaultPrevented || !(target instanceof Element) || target.closest("a")) return;
    if (document.getSelection()?.isCollapsed === false) return;
    const seq = Number(target.closest(".line[data-seq]")?.getAttribute("data-seq"));
    if (seq) onLine(seq);
  }

  /** Scrolls to a line. @param {number} line @param {number} [offset] the part of it above the screen, px */
  show(line, offset = 0) {
    this.stuck = false;
    // The lines above may be higher than estimated: the position of the line is known after they were drawn.
    for (let pass = 0; pass < 3; pass++) {
      this.rows.pad();
      this.scroller.scrollTop = this.rows.top(Math.max(0, line)) + offset;
      this.draw();
    }
    this.scrolled(); // the list may end before that position
  }

  /**
   * Shows and marks the line of an event. Removes the filter if it hides the line.
   *
   * @param {number} seq
   * @returns {boolean} whether there is such a line
   */
  reveal(seq) {
    const isIt = (/** @type {Line} */ line) => line.seq === seq && !isHeading(line);
    if (!this.run?.feed.lines.slice(0, this.taken).some(isIt)) return false;
    if (!this.rows.lines.some(isIt)) this.tools.showAll();
    const found = this.rows.lines.findIndex(isIt);
    this.rows.mark(seq);
    this.show(Math.max(0, found - 2)); // with some of the lines before it
    this.scroller.focus({ preventScroll: true });
    this.root.scrollIntoView({ block: "nearest" });
    return true;
  }
}
