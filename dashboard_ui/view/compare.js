/** Two runs side by side: what changed between them, and the moments of both, locked by phase. */

import { now } from "../client/now.js";
import { BASE, RpcError } from "../client/rpc.js";
import { comparisonOf, historyOf } from "./addresses.js";
import { STEPS, hashOf, phasesOf, placeOfHash, placeOfStep, stepOf, timeAt } from "./align.js";
import { shown } from "./coerce.js";
import { Changes } from "./compare-changes.js";
import { Side } from "./compare-side.js";
import { h, icon, setAttr, setText } from "./dom.js";
import { PHASES, reasonOf, titleOf } from "./format.js";
import { hideWhileLoading, isWhole } from "./loading.js";

const ID = /^[0-9a-f-]{36}$/;
/** Steps of PageUp and PageDown. */
const LARGE_STEP = 10;

/** @implements {HistoryView} */
export class ComparePage {
  /**
   * @param {import("../client/runs.js").Runs<import("./feed-log.js").FeedLog>} runs
   * @param {Actions} actions
   */
  constructor(runs, actions) {
    this.runs = runs;
    this.actions = actions;
    const said = new URLSearchParams(location.search);
    this.ids = [said.get("a") ?? "", said.get("b") ?? ""];
    this.sides = ["A", "B"].map((name) => new Side(name, actions.frames, (share) => this.moveTo(share)));
    this.changes = new Changes();
    /** The phases that the slider goes through. @type {number[]} */
    this.phases = [];
    /** The moment that is shown; null: the newest. */
    this.place = placeOfHash(location.hash);
    this.slider = h("input.moment-slider", { type: "range", min: "0", max: "0", step: "1", "aria-label": "Moment of both runs" });
    this.slider.addEventListener("input", () => this.slid());
    this.slider.addEventListener("change", () => this.remember());
    this.slider.addEventListener("keydown", (event) => this.pressed(event));
    this.moment = h("output.moment-words");
    this.marks = h("ol.moment-phases", { "aria-hidden": "true" });
    this.moments = h("section.moments", { "aria-label": "Moments", hidden: true });
    this.moments.append(h("div.moment-head", h("h2", "Moment"), this.moment), this.slider, this.marks);
    this.back = h("a.back", { href: `${BASE}games` }, icon("back"), "All games");
    this.swapped = h("button.secondary", { onclick: () => this.swap() }, "Swap");
    this.problem = h("p.form-error", { role: "alert" });
    const head = h("header.past-head", h("div.run-title", h("h1.page-title", "Compare"), h("span.run-actions", this.swapped)));
    this.pair = h("div.pair");
    this.drawOrder();
    this.root = h("main", { id: "main", class: "compare" }, this.back, head, this.problem, this.moments, this.pair, this.changes.root);
    this.show = hideWhileLoading(this.root);
    document.title = "Compare · testcast";
    for (const type of ["hashchange", "popstate"])
      addEventListener(type, () => {
        this.place = placeOfHash(location.hash);
        this.draw();
      });
  }

  async start() {
    if (this.ids.some((id) => !ID.test(id)) || this.ids[0] === this.ids[1]) {
      return this.refuse("The address must name two tests. Tick two in the history of a game.");
    }
    this.wantPictures();
    await Promise.all(this.ids.map((id) => this.watch(id)));
  }

  wantPictures() {
    const { frames } = this.actions;
    if (!frames) return;
    const told = frames.onChange;
    frames.onChange = (testId) => {
      told(testId);
      if (this.ids.includes(testId)) this.drawMoment();
    };
    for (const id of this.ids) frames.want(id, { history: true });
  }

  /** @param {string} id */
  async watch(id) {
    try {
      await this.actions.watch(id);
    } catch (error) {
      if (error instanceof RpcError && error.final) return this.refuse(`Test ${id.slice(0, 8)}: ${reasonOf(error)}`);
      this.actions.expect(id); // no answer, or a refusal that passes: the socket and polling go on trying
    }
    this.actions.open(id, true);
  }

  /** @param {string} reason */
  refuse(reason) {
    setText(this.problem, reason);
    this.show();
    this.pair.hidden = this.changes.root.hidden = this.moments.hidden = true;
  }

  /** @param {string[]} ids of the runs that have changed */
  update(ids) {
    if (this.ids.some((id) => ids.includes(id))) this.draw();
  }

  /** @param {number} at ms, by the edge's clock */
  tick(at) {
    for (const side of this.sides) side.tick(at);
  }

  draw() {
    this.ids.forEach((id, i) => {
      const run = this.runs.get(id);
      if (run?.refusal) this.refuse(`Test ${id.slice(0, 8)}: ${run.refusal}`);
      else if (run?.snapshot.createdAt) this.sides[i].update(run, now());
      else if (!run && this.sides[i].run) this.refuse(`Test ${id.slice(0, 8)} was deleted.`);
    });
    const [a, b] = this.sides;
    if (a.run && b.run) {
      this.changes.update(a, b);
      const [first, second] = [a.run, b.run].map((run) => shown(run.snapshot));
      document.title = `${titleOf(first)} and ${titleOf(second)} · testcast`;
      if (first.gameUrl && first.gameUrl === second.gameUrl) {
        setAttr(this.back, "href", historyOf(first.gameUrl));
        this.back.lastChild?.replaceWith("All tests of this game");
      }
    }
    this.drawMoment();
  }

  drawMoment() {
    if (this.sides.every(({ run, drawnTo }) => run && isWhole(run, drawnTo, this.actions.frames))) this.show();
    const spans = this.sides.map((side) => side.spans);
    const phases = phasesOf(spans);
    this.moments.hidden = phases.length === 0 || this.pair.hidden;
    if (String(phases) !== String(this.phases)) {
      this.phases = phases;
      this.marks.replaceChildren(...phases.map((phase) => h("li", `${phase} ${PHASES[phase - 1]}`)));
      setAttr(this.slider, "max", String(phases.length * STEPS));
    }
    if (phases.length === 0) return;
    const place = this.place ?? placeOfStep(phases, phases.length * STEPS);
    const step = stepOf(phases, place);
    if (this.slider.value !== String(step)) this.slider.value = String(step);
    const words = `Phase ${place.phase}, ${PHASES[place.phase - 1]}, ${Math.round(place.share * 100)} %`;
    setText(this.moment, this.place ? words : `${words} (the newest)`);
    setAttr(this.slider, "aria-valuetext", words);
    this.sides.forEach((side) => side.show(timeAt(side.spans, place), phases, step / (phases.length * STEPS)));
  }

  // ── the moment ──

  slid() {
    this.place = placeOfStep(this.phases, Number(this.slider.value));
    this.drawMoment();
  }

  /** @param {number} share of the strip */
  moveTo(share) {
    this.slider.value = String(Math.round(share * this.phases.length * STEPS));
    this.slid();
    this.remember();
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    const by = { PageUp: LARGE_STEP, PageDown: -LARGE_STEP }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    this.slider.value = String(Number(this.slider.value) + by);
    this.slid();
    this.remember();
  }

  /** The address holds the moment. */
  remember() {
    history.replaceState(null, "", location.pathname + location.search + (this.place ? hashOf(this.place) : ""));
  }

  // ── the order ──

  swap() {
    this.ids.reverse();
    this.sides.reverse();
    const { hash } = location;
    history.replaceState(null, "", comparisonOf(this.ids[0], this.ids[1]) + hash);
    this.drawOrder();
    this.draw();
    this.actions.say("Swapped");
  }

  drawOrder() {
    this.sides.forEach((side, i) => side.rename("AB"[i]));
    this.pair.replaceChildren(...this.sides.map((side) => side.root));
  }
}
