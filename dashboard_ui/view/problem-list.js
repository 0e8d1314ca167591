/** The problems of a game, each once. A click shows the first occurrence in the feed. */

import { now } from "../client/now.js";
import { when } from "./dates.js";
import { h, setText, setTime } from "./dom.js";
import { count } from "./format.js";
import { note, problems } from "./problems.js";

export class ProblemList {
  /** @param {(seq: number) => void} reveal shows an event in the feed */
  constructor(reveal) {
    this.reveal = reveal;
    this.all = problems();
    this.generation = -1;
    this.taken = 0;
    this.reported = false;
    this.title = h("h2");
    this.list = h("ol");
    this.more = h("p.meta", { hidden: true });
    /** @type {Map<Problem, {root: HTMLElement, times: HTMLElement}>} */
    this.items = new Map();
    this.root = h("section.problems", { hidden: true, "aria-label": "Problems" }, this.title, this.list, this.more);
  }

  /** @param {ShownRun} run @param {boolean} [reported] whether the report shows the findings: what one of them says is not listed again */
  update(run, reported = false) {
    const { generation, log } = run.feed;
    if (generation !== this.generation) {
      Object.assign(this, { generation, all: problems(), taken: 0 });
      this.items.clear();
      this.list.replaceChildren();
    }
    if (this.taken === log.length && this.reported === reported) return;
    this.reported = reported;
    for (; this.taken < log.length; this.taken++) note(this.all, log[this.taken]);
    const { found, more } = this.all;
    const told = [...found.values()].filter(({ finding }) => finding && reported).map(({ text }) => text);
    const listed = new Set([...found.values()].filter(({ text }) => !told.some((each) => each.includes(text))));
    this.root.hidden = listed.size === 0;
    setText(this.title, count(listed.size, "problem"));
    for (const problem of found.values()) {
      const { root, times } = this.items.get(problem) ?? this.add(problem);
      root.hidden = !listed.has(problem);
      setText(times, problem.count > 1 ? `× ${problem.count.toLocaleString("en")}` : "");
    }
    this.more.hidden = more === 0;
    setText(this.more, `${count(more, "more line")} in the feed`);
  }

  /** @param {Problem} problem */
  add(problem) {
    const times = h("span.problem-count");
    const first = h("time.line-time");
    setTime(first, problem.time, when(problem.time, now()));
    const words = h("span.problem-text", { title: problem.text }, problem.text);
    const name = h("span.problem-name", problem.name);
    const root = h("li", h("button.problem", { onclick: () => this.reveal(problem.seq) }, first, name, times, words));
    this.list.append(root);
    const item = { root, times };
    this.items.set(problem, item);
    return item;
  }
}
