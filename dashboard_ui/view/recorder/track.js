/** The time line of a run: a slider over its moments, with phases, thumbnails, and marks for what stands out. */

import { h, setAttr } from "../dom.js";
import { PHASES } from "../format.js";
import { slotsOf } from "./thumbnails.js";

/** @typedef {import("./moments.js").Moments} Moments */
/** @typedef {import("./marks.js").Marks} Marks */
/** @typedef {import("./playhead.js").ShownMoment} ShownMoment */

/** The narrowest thumbnail, px. */
const THUMBNAIL_PX = 64;
/** As close to the right end as this is live, and as close to a mark is the mark, px. */
const CLOSE_PX = 6;
/** The narrowest part of the line that has its phase's name on it, px. */
const NAME_PX = 28;
/** The distance of two marks, px. */
const MARK_PX = 5;

/**
 * @typedef {object} TrackHooks
 * @property {(index: number) => void} onSeek the reader moves the handle to a moment
 * @property {() => void} onLive the reader moves the handle to the right end
 * @property {() => void} onSettle the reader has let go of the handle
 * @property {(number: number) => string} url the address of a picture
 */

export class Track {
  /** @param {TrackHooks} hooks */
  constructor(hooks) {
    this.hooks = hooks;
    /** @type {Moments|null} */
    this.moments = null;
    /** @type {Marks|null} */
    this.marks = null;
    /** Whether the thumbnails can be shown: the pictures are known, and the strip is on the screen. */
    this.ready = false;
    this.seen = false;
    this.dragging = false;
    /** @type {Map<string, HTMLElement>} */
    this.drawn = new Map();
    this.phases = h("div.track-phases");
    this.strip = h("div.track-strip");
    this.points = h("div.track-marks");
    this.gone = h("div.track-gone", { hidden: true });
    this.handle = h("div.track-handle");
    this.root = h(
      "div.track",
      { role: "slider", tabindex: "0", "aria-label": "Time line", "aria-valuemin": "0" },
      this.phases,
      this.strip,
      this.gone,
      this.points,
      this.handle,
    );
    this.root.addEventListener("pointerdown", (event) => this.pressed(event));
    this.root.addEventListener("pointermove", (event) => this.dragging && this.moveTo(event));
    for (const type of ["pointerup", "pointercancel"]) this.root.addEventListener(type, () => this.released());
    new ResizeObserver(() => this.draw()).observe(this.root);
    new IntersectionObserver((entries) => {
      this.seen = entries.at(-1)?.isIntersecting ?? false;
      this.draw();
    }).observe(this.root);
  }

  /** @param {Moments} moments @param {Marks} marks @param {{ready: boolean, gone: boolean}} pictures */
  update(moments, marks, { ready, gone }) {
    Object.assign(this, { moments, marks, ready });
    this.gone.hidden = !gone;
    this.draw();
  }

  /** The place of a moment, from 0 to 1. @param {number} index */
  placeOf(index) {
    const { total = 0, list = [], length = 0 } = this.moments ?? {};
    if (length < 2) return 1;
    return total ? list[index].at / total : index / (length - 1);
  }

  // ── drawing ──

  draw() {
    const { moments, marks } = this;
    const width = this.root.clientWidth;
    if (!moments?.length || !marks || !width) return;
    const placeOf = (/** @type {number} */ seq) => this.placeOf(moments.find({ seq, number: 0 }));
    /** @type {Map<string, HTMLElement>} */
    const drawn = new Map();
    const { spans } = marks.line;
    spans.forEach(({ phase, title, seq, attempt }, i) => {
      const next = spans[i + 1];
      const [from, to] = [placeOf(seq), next ? placeOf(next.seq) : 1];
      const element = this.put(drawn, this.phases, `phase ${seq}`, from, to);
      const name = `${phase} ${(title ?? PHASES[phase - 1]).split(" ")[0].toLowerCase()}`;
      const words = attempt > 1 && attempt !== spans[i - 1]?.attempt ? `${name}, attempt ${attempt}` : name;
      element.textContent = (to - from) * width < NAME_PX ? "" : words; // half a name would run into the next one
    });
    const pictured = this.ready && moments.ofFrame.size > 0;
    const { total } = moments;
    this.strip.hidden = !pictured;
    if (pictured) {
      for (const { from, to, number } of slotsOf(moments, Math.floor(width / THUMBNAIL_PX))) {
        const element = this.put(drawn, this.strip, `slot ${from}`, total ? from / total : 0, total ? to / total : 1);
        if (this.seen) this.picture(element, number);
      }
      const first = moments.list.findIndex(({ frame }) => frame !== null);
      this.gone.style.width = `${100 * this.placeOf(Math.max(0, first))}%`;
    }
    for (const { kind, place, seq } of marks.drawn(placeOf, Math.floor(width / MARK_PX))) {
      setAttr(this.put(drawn, this.points, `mark ${seq}`, place), "data-kind", kind);
    }
    for (const [key, element] of this.drawn) if (!drawn.has(key)) element.remove();
    this.drawn = drawn;
  }

  /**
   * Puts an element where it belongs, the same as before if there was one.
   *
   * @param {Map<string, HTMLElement>} drawn
   * @param {HTMLElement} parent
   * @param {string} key
   * @param {number} from 0 to 1
   * @param {number} [to]
   */
  put(drawn, parent, key, from, to) {
    let element = this.drawn.get(key);
    if (!element) parent.append((element = h("span")));
    element.style.left = `${100 * from}%`;
    if (to !== undefined) element.style.width = `${100 * Math.max(0, to - from)}%`;
    drawn.set(key, element);
    return element;
  }

  /** @param {HTMLElement} element @param {number} number */
  picture(element, number) {
    if (element.dataset.number === String(number)) return;
    element.dataset.number = String(number);
    if (number) element.replaceChildren(h("img", { alt: "", draggable: "false", src: this.hooks.url(number) }));
    else element.replaceChildren();
  }

  /** @param {ShownMoment} shown @param {string} words about it */
  show({ index, live }, words) {
    const { moments } = this;
    setAttr(this.root, "aria-valuemax", Math.max(0, (moments?.length ?? 0) - 1));
    setAttr(this.root, "aria-valuenow", Math.max(0, index));
    setAttr(this.root, "aria-valuetext", words);
    setAttr(this.root, "data-live", live);
    this.handle.style.left = `${100 * (live || index < 0 ? 1 : this.placeOf(index))}%`;
  }

  // ── the pointer ──

  /** @param {PointerEvent} event */
  pressed(event) {
    if (event.button !== 0 || !this.moments?.length) return;
    event.preventDefault(); // no text is selected
    this.root.focus({ preventScroll: true });
    this.root.setPointerCapture(event.pointerId);
    this.dragging = true;
    setAttr(this.root, "data-dragging", true);
    this.moveTo(event, CLOSE_PX);
  }

  /** @param {PointerEvent} event @param {number} [snaps] px */
  moveTo({ clientX }, snaps = 0) {
    const { moments, marks } = this;
    if (!moments || !marks) return;
    const { left, width } = this.root.getBoundingClientRect();
    const x = Math.max(0, Math.min(clientX - left, width));
    if (x >= width - CLOSE_PX) return this.hooks.onLive();
    const near = [...this.points.children].find(
      (point) => Math.abs((parseFloat(/** @type {HTMLElement} */ (point).style.left) / 100) * width - x) < snaps,
    );
    const seq = near && [...this.drawn].find(([, element]) => element === near)?.[0].split(" ")[1];
    if (seq) this.hooks.onSeek(moments.find({ seq: Number(seq), number: 0 }));
    else if (moments.total) this.hooks.onSeek(moments.nearest((x / width) * moments.total));
    else this.hooks.onSeek(Math.round((x / width) * (moments.length - 1)));
  }

  released() {
    if (!this.dragging) return;
    this.dragging = false;
    setAttr(this.root, "data-dragging", false);
    this.hooks.onSettle();
  }
}
