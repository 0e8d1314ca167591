/** The scores of a game's runs as a line, whose points lead to the runs. */

import { pageOf } from "../client/rpc.js";
import { when } from "./dates.js";
import { h, setAttr, setText, svg } from "./dom.js";
import { labelText } from "./format.js";
import { datedPoints, linePath, scorePoints, smallLine } from "./past.js";

const HEIGHT = 152;
/** Around the line: above for a point at 100, left for the numbers of the axis, below for runs without a score and dates. */
const EDGE = { top: 10, right: 14, bottom: 42, left: 34 };
const MIN_WIDTH = 240;

export class ScoreChart {
  constructor() {
    this.words = h("p.chart-words", { "aria-live": "polite" });
    this.box = h("div.chart-box");
    this.root = h("section.chart", { "aria-label": "Scores over time", hidden: true }, h("h2", "Scores"), this.box, this.words);
    /** @type {Shown[]} */
    this.runs = [];
    this.now = 0;
    this.width = 0;
    this.drawn = "";
    /** The point that Tab reaches. */
    this.current = -1;
    /** @type {SVGElement[]} */
    this.links = [];
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  /** @param {Shown[]} runs @param {number} now */
  update(runs, now) {
    Object.assign(this, { runs, now });
    this.draw();
  }

  draw() {
    const width = Math.max(MIN_WIDTH, this.box.clientWidth);
    const inner = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
    const points = scorePoints(this.runs, inner);
    this.root.hidden = points.length < 2;
    const dated = datedPoints(points.length, inner.width).map((i) => ({ i, text: when(points[i].run.createdAt, this.now) }));
    const key = `${width} ${points.map(({ run, y }) => `${run.testId} ${y}`).join()} ${dated.map(({ text }) => text)}`;
    if (key === this.drawn || this.root.hidden) return;
    this.drawn = key;
    const placed = points.map(({ x, y, run }) => ({ x: x + EDGE.left, y: y === null ? null : y + EDGE.top, run }));
    const chart = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "group" });
    setAttr(chart, "aria-label", "Scores, the oldest run left. The arrow keys go from run to run.");
    for (const score of [0, 50, 100]) chart.append(...axis(score, width, inner.height));
    for (const { i, text } of dated) chart.append(dateBelow(placed[i].x, text, i === 0 ? "first" : i === placed.length - 1 ? "last" : "between"));
    chart.append(svg("path", { d: linePath(placed), class: "chart-line" }));
    const focused = this.links.findIndex((link) => link === document.activeElement);
    this.links = placed.map((point, i) => this.point(point, i));
    chart.append(...this.links);
    this.box.replaceChildren(chart);
    this.stop(this.links[this.current] ? this.current : this.links.length - 1);
    if (focused >= 0) this.links[Math.min(focused, this.links.length - 1)]?.focus();
    chart.addEventListener("keydown", (event) => this.pressed(event));
  }

  /** @param {{x: number, y: number|null, run: Shown}} point @param {number} i */
  point({ x, y, run }, i) {
    const at = y ?? HEIGHT - EDGE.bottom + 14; // below the axis: no score is not 0
    const mark =
      y === null
        ? svg("path", { d: `M${x - 3.5} ${at - 3.5}l7 7m0-7l-7 7`, class: "chart-miss" })
        : svg("circle", { cx: x, cy: at, r: 3.5, class: "chart-point" });
    const target = svg("circle", { cx: x, cy: at, r: 12, class: "chart-target" });
    const link = svg("a", { href: pageOf(run.testId), tabindex: -1 }, target, mark);
    const words = this.describe(run);
    setAttr(link, "aria-label", words);
    for (const type of ["focus", "pointerenter"])
      link.addEventListener(type, () => {
        if (type === "focus") this.stop(i);
        setText(this.words, words);
      });
    return link;
  }

  /** @param {Shown} run */
  describe(run) {
    const score = run.score === undefined ? `no score, ${run.look}` : `score ${Math.round(run.score)} of 100`;
    const labels = Object.entries(run.labels).map(labelText);
    return [`${when(run.createdAt, this.now)}: ${score}`, ...labels].join(", ");
  }

  /** @param {number} i */
  stop(i) {
    this.links.forEach((link, at) => setAttr(link, "tabindex", at === i ? "0" : "-1"));
    this.current = i;
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    const last = this.links.length - 1;
    /** @type {Record<string, number>} */
    const to = { ArrowLeft: this.current - 1, ArrowRight: this.current + 1, Home: 0, End: last };
    if (!(event.key in to) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.links[Math.max(0, Math.min(last, to[event.key]))]?.focus();
  }
}

/** @param {number} score @param {number} width @param {number} height */
function axis(score, width, height) {
  const y = EDGE.top + height * (1 - score / 100);
  const text = svg("text", { x: EDGE.left - 8, y: y + 4, class: "chart-number", "aria-hidden": "true" });
  text.append(String(score));
  return [svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y, class: "chart-axis" }), text];
}

/** @param {number} x of the point @param {string} text @param {"first"|"between"|"last"} place */
function dateBelow(x, text, place) {
  const shift = { first: -4, between: 0, last: 4 }[place];
  const date = svg("text", { x: x + shift, y: HEIGHT - 4, class: "chart-date", "data-place": place, "aria-hidden": "true" });
  date.append(text);
  return date;
}

const SMALL = { width: 96, height: 24 };

/** A small line of scores, for the eye only: the numbers stand beside it. @param {Array<number|null>} scores */
export function sparkline(scores) {
  const placed = smallLine(scores, SMALL).map(({ x, y }) => ({ x: x + 2, y: y === null ? null : y + 2 }));
  const box = `0 0 ${SMALL.width + 4} ${SMALL.height + 4}`;
  const dots = placed.flatMap(({ x, y }, i) =>
    y !== null && (i === placed.length - 1 || (placed[i - 1]?.y ?? null) === null)
      ? [svg("circle", { cx: x, cy: y, r: 1.8, class: "chart-point" })]
      : [],
  );
  const line = svg("path", { d: linePath(placed), class: "chart-line" });
  return svg("svg", { viewBox: box, class: "sparkline", "aria-hidden": "true" }, line, ...dots);
}
