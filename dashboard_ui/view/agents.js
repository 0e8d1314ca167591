/** The panel of the agents: who is busy with what, how many wait for a test, and how long the queue is. */

import { now } from "../client/now.js";
import { pageOf } from "../client/rpc.js";
import { fields } from "./coerce.js";
import { when } from "./dates.js";
import { h, setText, setTime } from "./dom.js";
import { count, reasonOf } from "./format.js";
import { NO_AGENT } from "./parts.js";
import { oneLine } from "./text.js";

/**
 * What the panel says above its list. Pure.
 *
 * @param {any} answer of listAgents
 * @returns {string[]} sentences
 */
export function summaryOf(answer) {
  const { agents, free, queue } = fields(answer);
  const alive = list(agents).filter(({ silent }) => !silent);
  const busy = alive.filter((agent) => agent.busy).length;
  const waiting = Number(fields(queue).length) || 0;
  const texts = [];
  if (busy) texts.push(`${count(busy, "agent")} busy`);
  if (typeof free === "number" && free > 0) texts.push(`${free.toLocaleString("en")} waiting for a test`);
  texts.push(waiting ? `${waiting.toLocaleString("en")} in the queue` : "the queue is empty");
  const first = texts.join(", ");
  const said = [`${first[0].toUpperCase()}${first.slice(1)}.`];
  if (!alive.length && free === 0) said.unshift(`${NO_AGENT}.`);
  if (typeof free !== "number") said.push("How many agents wait for a test is not known at the moment.");
  return said;
}

/** @param {unknown} value @returns {any[]} */
const list = (value) => (Array.isArray(value) ? value.map(fields) : []);

export class AgentsView {
  constructor() {
    this.summary = h("p");
    this.list = h("ul.agent-list");
    this.hint = h("p.hint", "An agent that waits has no name here: agents give signs of life while they work.");
    this.problem = h("p.form-error", { role: "alert" });
    this.root = h("div", h("strong", "Agents"), this.summary, this.list, this.hint, this.problem);
    this.drawn = "";
  }

  /** @param {unknown} error */
  fail(error) {
    setText(this.problem, reasonOf(error));
  }

  /** @param {any} answer of listAgents */
  update(answer) {
    setText(this.problem, "");
    const [first, ...rest] = summaryOf(answer);
    if (first === `${NO_AGENT}.`) {
      const [sentence, command] = NO_AGENT.split(": ");
      this.summary.replaceChildren(`${sentence}: `, h("code", command), `. ${rest.join(" ")}`);
    } else setText(this.summary, [first, ...rest].join(" "));
    const agents = list(answer.agents);
    const drawn = JSON.stringify(agents);
    if (drawn === this.drawn) return; // the focus stays on its link
    this.drawn = drawn;
    const focused = document.activeElement?.getAttribute("href");
    this.list.replaceChildren(...agents.map((agent) => row(agent)));
    if (focused) [...this.list.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
  }
}

/** @param {any} agent */
function row({ worker, busy, silent, runs, heardMs }) {
  const at = now();
  const time = (/** @type {any} */ ms) => {
    const element = h("time");
    setTime(element, ms, when(ms, at));
    return element;
  };
  const does = list(runs).map(({ testId, title, sinceMs }) => {
    const line = h("span.agent-does", "Busy with ", h("a", { href: pageOf(testId) }, oneLine(title, 200) || testId));
    if (typeof sinceMs === "number") line.append(" since ", time(sinceMs));
    return line;
  });
  if (!does.length) does.push(h("span.agent-does", busy ? "Busy with a test of another project" : "Not busy"));
  const heard = h("span", { class: silent && busy ? "mark mark-stalled" : "agent-heard" }, "last heard of ", time(heardMs));
  return h("li", h("span.agent-name", oneLine(worker, 200)), ...does, heard);
}
