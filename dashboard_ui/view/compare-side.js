/** One of two runs that are compared: its verdict, its picture and its newest line at a moment, and its strip. */

import { pageOf } from "../client/rpc.js";
import { phaseSpans, timeAt, placeOfStep, STEPS } from "./align.js";
import { shown } from "./coerce.js";
import { when } from "./dates.js";
import { h, setAttr, setText, setTime } from "./dom.js";
import { clock, duration, elapsed, titleOf } from "./format.js";
import { labelChips } from "./labels.js";
import { kindOf } from "./lines.js";
import { badge, marks, ring } from "./parts.js";
import { note, problems } from "./problems.js";
import { controlsOf, once, problem, problemsOf } from "./same.js";
import { advance, timeline } from "./timeline.js";

/** Pictures of a strip. */
const THUMBNAILS = 12;

export class Side {
  /**
   * @param {string} name "A" or "B"
   * @param {import("../client/frames.js").Frames|undefined} frames
   * @param {(share: number) => void} onChosen a place of the strip was chosen
   */
  constructor(name, frames, onChosen) {
    this.frames = frames;
    /** @type {ShownRun|null} */
    this.run = null;
    /** The newest event that is drawn. */
    this.drawnTo = 0;
    this.generation = -1;
    this.taken = 0;
    this.line = timeline();
    this.all = problems();
    /** @type {ReturnType<typeof phaseSpans>} */
    this.spans = [null, null, null, null];
    this.name = h("span.side-name", name);
    this.link = h("a");
    this.parts = { badge: badge(), marks: marks(), ring: ring(), labels: labelChips() };
    this.when = h("time.when");
    this.elapsed = h("span.elapsed");
    this.image = h("img", { alt: "", hidden: true, draggable: "false" });
    this.nothing = h("span.screen-empty");
    this.words = h("p.side-words");
    this.strip = h("div.strip", { "aria-hidden": "true" });
    this.strip.addEventListener("click", (event) => {
      const box = this.strip.getBoundingClientRect();
      onChosen(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
    });
    this.cells = Array.from({ length: THUMBNAILS }, () => h("span.strip-cell"));
    this.cursor = h("span.strip-cursor");
    this.strip.append(...this.cells, this.cursor);
    /** The picture that is shown, or will be. */
    this.wanted = "";
    const { badge: status, marks: signs, ring: score, labels } = this.parts;
    const sep = h("span.sep", { "aria-hidden": "true" }, "·");
    this.root = h(
      "section.side",
      h("header.side-head", h("h2", this.name, this.link), status.root, score.root),
      h("p.meta", this.when, sep, this.elapsed, signs.root),
      h("div.screen", this.nothing, this.image),
      this.strip,
      this.words,
      labels.root,
    );
  }

  /** @param {string} name */
  rename(name) {
    setText(this.name, name);
    setAttr(this.root, "aria-label", `Run ${name}`);
  }

  /** @param {ShownRun} run @param {number} at ms, by the edge's clock */
  update(run, at) {
    this.run = run;
    this.drawnTo = run.seq;
    const snapshot = shown(run.snapshot);
    const { generation, log } = run.feed;
    if (generation !== this.generation)
      Object.assign(this, { generation, taken: 0, line: timeline(), all: problems() });
    for (; this.taken < log.length; this.taken++) {
      advance(this.line, log[this.taken]);
      note(this.all, log[this.taken]);
    }
    this.spans = phaseSpans(this.line, 0); // a phase that goes on reaches to the newest event
    setAttr(this.root, "data-test-id", run.id);
    setAttr(this.link, "href", pageOf(run.id));
    setText(this.link, titleOf(snapshot));
    for (const part of Object.values(this.parts)) part.update(snapshot, at);
    this.tick(at);
  }

  /** @param {number} at */
  tick(at) {
    if (!this.run) return;
    const run = shown(this.run.snapshot);
    setTime(this.when, run.createdAt, when(run.createdAt, at));
    setText(this.elapsed, elapsed(run, at));
  }

  /** The problems by the run's events; by its metrics where the events are not here. */
  get problems() {
    if (this.run?.feed.log.length) return once([...this.all.found.values()].map(({ name, text }) => problem(name, text)));
    return this.run ? problemsOf(this.run.snapshot) : null;
  }

  get controls() {
    return this.run ? controlsOf(this.run.snapshot) : null;
  }

  /**
   * Shows a moment.
   *
   * @param {number|null} at ms by the publisher's clock; null: the run was in no phase
   * @param {number[]} phases of the strip
   * @param {number} share of the strip
   */
  show(at, phases, share) {
    if (!this.run) return;
    const frames = this.frames?.of(this.run.id);
    const picture = at === null ? null : (frames?.nearest(at) ?? null);
    const none = frames?.list.length ? "No picture at this moment" : "No pictures of this run";
    this.picture(picture && this.frames ? this.frames.url(this.run.id, picture.number) : "", none);
    setText(this.words, at === null ? "This run was in no phase yet." : this.wordsAt(at));
    this.cursor.style.left = `${100 * share}%`;
    this.drawStrip(phases);
  }

  /** @param {string} url "": none @param {string} none */
  picture(url, none) {
    setText(this.nothing, none);
    if (url === this.wanted) return;
    this.wanted = url;
    if (!url) {
      this.image.hidden = true;
      this.nothing.hidden = false;
      return;
    }
    const next = new Image();
    next.src = url;
    const done = (/** @type {boolean} */ good) => {
      if (this.wanted !== url) return; // another moment was chosen meanwhile
      this.image.hidden = !good;
      this.nothing.hidden = good;
      if (good) this.image.src = url;
      setAttr(this.image, "alt", `The game of run ${this.name.textContent} at this moment`);
    };
    next.decode().then(() => done(true), () => done(false));
  }

  /** The newest line at a time, and how long the run had gone on. @param {number} at ms */
  wordsAt(at) {
    const log = this.run?.feed.log ?? [];
    let found = log[0];
    for (const event of log) {
      if (event.timestamp > at) break;
      if (kindOf(event) !== "system") found = event;
    }
    const from = this.spans.find(Boolean)?.from ?? at;
    return found ? `${duration(at - from)} · ${clock(found.timestamp)} · ${found.message}` : duration(at - from);
  }

  /** @param {number[]} phases */
  drawStrip(phases) {
    const frames = this.run && this.frames?.of(this.run.id);
    this.cells.forEach((cell, i) => {
      const place = placeOfStep(phases, ((i + 0.5) / THUMBNAILS) * phases.length * STEPS);
      const span = this.spans[place.phase - 1];
      const at = span ? timeAt(this.spans, place) : null;
      const info = at === null ? null : frames?.nearest(at);
      const url = info && this.run && this.frames ? this.frames.url(this.run.id, info.number) : "";
      setAttr(cell, "data-phase", span ? String(place.phase) : null);
      if (cell.dataset.url === url) return;
      cell.dataset.url = url;
      cell.replaceChildren(url && h("img", { src: url, alt: "", loading: "lazy", draggable: "false" }));
    });
  }
}
