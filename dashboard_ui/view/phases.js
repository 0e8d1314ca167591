/** The phases on a time line, each as long as it took. A click on a phase shows its first line in the feed. */

import { shown } from "./coerce.js";
import { when } from "./dates.js";
import { h, setAttr, setText } from "./dom.js";
import { PHASES, duration, phaseName, phaseNumber } from "./format.js";
import { NO_AGENT, phaseText } from "./parts.js";
import { advance, phaseTimes, timeline } from "./timeline.js";

export class Phases {
  /** @param {(seq: number) => void} reveal shows an event in the feed */
  constructor(reveal) {
    this.reveal = reveal;
    this.line = timeline();
    this.generation = -1;
    this.taken = 0;
    /** @type {Shown|null} */
    this.run = null;
    /** The run at an earlier moment; null: the moment is now. @type {Shown|null} */
    this.past = null;
    /** The phase of now, as the feed and the message have it. @type {Shown["phase"]} */
    this.phaseNow = undefined;
    /** The current time by the edge's clock, and as the run's agent would say it. */
    this.at = 0;
    this.now = 0;
    /** @type {Map<Span, {item: HTMLElement, button: HTMLElement}>} */
    this.segments = new Map();
    /** The phase that the reader points at. @type {Span|null} */
    this.chosen = null;
    this.bar = h("ol.segments", { "aria-label": "Phases on a time line" });
    this.rest = [0, 1, 2, 3].map(() => h("li.segment.segment-ahead", { "aria-hidden": "true" }));
    this.note = h("p.phase");
    this.names = PHASES.map((_, i) => {
      const [name, time] = [h("span"), h("span.phase-time")];
      return { root: h("li.phase-name", h("span.phase-number", String(i + 1)), name, time), name, time };
    });
    this.bar.append(...this.rest);
    this.root = h(
      "div.timeline",
      this.note,
      this.bar,
      h("ul.phase-names", { "aria-hidden": "true" }, ...this.names.map(({ root }) => root)),
    );
  }

  /** @param {ShownRun} run @param {number} now ms */
  update(run, now) {
    const { generation, log } = run.feed;
    if (generation !== this.generation) Object.assign(this, { generation, line: timeline(), taken: 0 });
    for (; this.taken < log.length; this.taken++) advance(this.line, log[this.taken]);
    this.run = shown(run.snapshot);
    this.root.hidden = this.run.status !== "queued" && this.line.spans.length === 0; // its agent names no phases
    this.draw(now);
  }

  /**
   * Marks the phase of a moment.
   *
   * @param {Shown|null} past the run at that moment; null: now
   * @param {Shown["phase"]} [phaseNow]
   */
  showMoment(past, phaseNow) {
    if (past === this.past && phaseNow === this.phaseNow) return;
    Object.assign(this, { past, phaseNow });
    this.draw(this.at);
  }

  /** @param {number} at ms, by the edge's clock */
  draw(at) {
    // The events have their publisher's times. Its clock may be hours off, so time goes on from its last event.
    const { updatedAt } = this.run ?? {};
    const now = (this.line.spans.at(-1)?.to ?? at) + Math.max(0, at - (updatedAt ?? at));
    Object.assign(this, { at, now });
    const { spans } = this.line;
    for (const [span, { item }] of this.segments) {
      if (spans.includes(span)) continue;
      item.remove();
      this.segments.delete(span);
    }
    for (const span of spans) this.drawSegment(span);
    const reached = spans.at(-1)?.phase ?? 0;
    // Future phases have no length yet. After the end of the run they are hidden.
    const titles = this.run?.phases;
    const isOne = (/** @type {number} */ i) => i < Math.max(reached, titles?.length ?? 4);
    this.rest.forEach((item, i) => (item.hidden = i < reached || this.line.ended || !isOne(i)));
    const times = phaseTimes(this.line, now);
    this.names.forEach(({ root, name, time }, i) => {
      root.hidden = !isOne(i);
      setText(name, phaseName(titles, i + 1));
      setText(time, times[i] === null ? "" : duration(times[i]));
      const current = (this.past !== null || this.line.running) && i + 1 === this.phase;
      setAttr(root, "data-step", current ? "current" : null);
    });
    setText(this.note, this.chosen ? this.describe(this.chosen) : this.summary());
  }

  /** @param {Span} span */
  drawSegment(span) {
    let segment = this.segments.get(span);
    if (!segment) {
      const choose = (/** @type {Span|null} */ chosen) => {
        this.chosen = chosen;
        this.draw(this.at);
      };
      const button = h("button", {
        onclick: () => this.reveal(span.seq),
        onpointerenter: () => choose(span),
        onpointerleave: () => choose(null),
        onfocus: () => choose(span),
        onblur: () => choose(null),
      });
      const before = this.line.spans[this.line.spans.indexOf(span) - 1];
      const again = before ? before.attempt !== span.attempt : span.attempt > 1;
      const item = h("li.segment", again && h("span.segment-attempt", `attempt ${span.attempt}`), button);
      button.textContent = String(span.phase);
      this.segments.set(span, (segment = { item, button }));
      this.bar.insertBefore(item, this.rest[0]);
    }
    segment.item.style.flexGrow = String(Math.max(1, this.end(span) - span.from));
    setAttr(segment.item, "data-step", this.stateOf(span));
    setAttr(segment.button, "aria-label", this.describe(span));
    setAttr(segment.button, "aria-current", this.current(span) && "step");
  }

  /** The phase of the run, as its card has it; 0 if it is in none. */
  get phase() {
    return phaseNumber(this.past ? this.past.phase : (this.phaseNow ?? this.run?.phase));
  }

  /** Whether the run is in this phase, or was at the moment that is shown. @param {Span} span */
  current = (span) =>
    this.past
      ? span.seq <= this.past.seq && span.attempt === (this.past.attempt ?? 1) && span.phase === this.phase
      : this.line.running && span.attempt === this.line.attempt && span.phase === this.phase;
  /** Whether its time goes on: the time line does not go back with the phase. @param {Span} span */
  grows = (span) => this.line.running && span === this.line.spans.at(-1);
  /** @param {Span} span */
  end = (span) => (this.grows(span) ? Math.max(span.to, this.now) : span.to);

  /** @param {Span} span */
  stateOf(span) {
    if (this.current(span)) return "current";
    if (this.past) return span.seq <= this.past.seq ? "done" : "ahead";
    if (this.line.running && span.attempt === this.line.attempt) return "done";
    const lost = this.line.spans[this.line.spans.indexOf(span) + 1]?.attempt !== span.attempt;
    if (!lost || this.run?.status === "completed") return "done";
    return this.run?.look === "cancelled" && span === this.line.spans.at(-1) ? "cancelled" : "failed";
  }

  /** @param {Span} span */
  describe(span) {
    const attempt = this.line.attempt > 1 ? `, attempt ${span.attempt}` : "";
    const end = this.grows(span) ? "now" : when(span.to, this.at);
    const took = duration(this.end(span) - span.from);
    return `Phase ${span.phase}, ${phaseName(this.run?.phases, span.phase)}${attempt}: ${when(span.from, this.at)} to ${end}, ${took}`;
  }

  summary() {
    if (this.past) return phaseText(this.past);
    if (this.run?.noAgent) return NO_AGENT;
    return this.run ? phaseText({ ...this.run, phase: this.phaseNow ?? this.run.phase }) : "";
  }
}
