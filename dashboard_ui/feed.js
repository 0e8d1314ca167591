/**
 * The Live Feed of one run: keeps to the bottom until the reader scrolls up, then says what is new.
 *
 * Only the newest lines are in the page (at most MAX_SHOWN while it sticks to the bottom); earlier ones come
 * back in steps at the reader's wish. The lines themselves stay in the store.
 */

import { h, icon, setText } from "./dom.js";
import { clock } from "./format.js";
import { behind } from "./store.js";

/** Lines in the page while the feed sticks to its bottom; a layout of so many takes a few milliseconds. */
export const MAX_SHOWN = 500;
/** How near to the bottom counts as being there, px: less than one line. */
const BOTTOM_PX = 16;

export class Feed {
  /** @param {string} label what the list is called for a screen reader */
  constructor(label) {
    this.first = 0; // index of the first line in the page
    this.next = 0; // index of the first line that is not in the page yet
    this.generation = -1;
    this.stuck = true;
    this.unseen = 0;

    this.list = h("ol.feed-lines");
    this.earlier = h("button.feed-earlier", { hidden: true, onclick: () => this.showEarlier() });
    this.empty = h("p.feed-empty");
    this.scroller = h(
      "div.feed-scroll",
      { tabindex: "0", role: "region", "aria-label": label },
      this.earlier,
      this.empty,
      this.list,
    );
    this.jump = h("button.feed-jump", { hidden: true, onclick: () => this.toBottom() });
    this.root = h("div.feed", this.scroller, this.jump);
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    /** @type {Run|null} */
    this.run = null;
  }

  /** Draws what is new. To be called once a frame, while the feed is visible. @param {Run} run */
  update(run) {
    this.run = run;
    if (run.generation !== this.generation) {
      this.generation = run.generation;
      this.list.replaceChildren();
      this.first = this.next = Math.max(0, run.lines.length - MAX_SHOWN);
      this.unseen = 0;
    }
    const fresh = run.lines.length - this.next;
    if (fresh > 0) {
      // More at once than fits: what would be trimmed at the end of this frame is not drawn at all.
      if (this.stuck && fresh > MAX_SHOWN) {
        this.list.replaceChildren();
        this.first = this.next = run.lines.length - MAX_SHOWN;
      }
      this.list.append(...run.lines.slice(this.next).map(row));
      this.next = run.lines.length;
      if (this.stuck) this.trim();
      else this.unseen += fresh;
    }
    this.empty.hidden = run.lines.length > 0 && run.refusal === null;
    setText(
      this.empty,
      run.refusal ?? (behind(run) ? "Loading the feed…" : "Nothing yet. The first event appears here."),
    );
    this.showEdges();
    if (this.stuck) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  trim() {
    for (let extra = this.list.childElementCount - MAX_SHOWN; extra > 0; extra--) {
      this.list.firstElementChild?.remove();
      this.first++;
    }
  }

  showEdges() {
    this.earlier.hidden = this.first === 0;
    this.earlier.textContent = `Show earlier lines (${this.first.toLocaleString("en")})`;
    this.jump.hidden = this.stuck || this.unseen === 0;
    this.jump.textContent = `↓ ${this.unseen.toLocaleString("en")} new`;
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    if (clientHeight === 0) return; // collapsed just now: not the reader's doing
    this.stuck = scrollHeight - scrollTop - clientHeight < BOTTOM_PX;
    if (this.stuck) this.unseen = 0;
    this.showEdges();
  }

  toBottom() {
    this.stuck = true;
    this.unseen = 0;
    if (this.run) this.update(this.run);
    this.scroller.focus({ preventScroll: true });
  }

  showEarlier() {
    if (!this.run) return;
    const from = Math.max(0, this.first - MAX_SHOWN);
    const height = this.scroller.scrollHeight;
    this.stuck = false;
    this.list.prepend(...this.run.lines.slice(from, this.first).map(row));
    this.first = from;
    this.showEdges();
    // The line that was read stays where it was.
    this.scroller.scrollTop += this.scroller.scrollHeight - height;
  }
}

/** @param {Line} line @returns {HTMLElement} */
function row(line) {
  if (line.kind === "phase") return h("li.line.line-phase", h("span", line.text));
  const time = h("time.line-time", line.time === undefined ? "" : clock(line.time));
  const text = h("span.line-text", line.text, line.detail ? h("span.line-detail", line.detail) : null);
  return h("li", { class: `line line-${line.kind}`, "data-seq": line.seq }, time, icon(line.kind), text);
}
