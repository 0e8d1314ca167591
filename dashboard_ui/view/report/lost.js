/** Every point that a run has lost, with its reason; a click shows the finding that cost it. */

import { h, icon, setAttr, setText } from "../dom.js";
import { count } from "../format.js";

export class LostPoints {
  /** @param {(finding: string) => boolean} open shows a finding, if it is here */
  constructor(open) {
    this.open = open;
    this.head = h("h3");
    this.list = h("ul");
    this.reasons = h("button.quiet.lost-reasons", { "aria-expanded": "false", onclick: () => this.showReasons() }, icon("chevron"), "What each part was given for");
    this.root = h("div.lost", { hidden: true }, this.head, this.list, this.reasons);
  }

  /** @param {Lost[]} lost */
  update(lost) {
    this.root.hidden = lost.length === 0;
    const sum = Math.round(10 * lost.reduce((all, { points }) => all + points, 0)) / 10;
    setText(this.head, `${count(sum, "point")} lost`);
    this.list.replaceChildren(...lost.map((each) => this.item(each)));
  }

  /** The reasons of the parts, beside their bars. */
  showReasons() {
    const shown = this.root.toggleAttribute("data-reasons");
    setAttr(this.reasons, "aria-expanded", String(shown));
  }

  /** @param {Lost} lost */
  item({ points, why, finding, parts }) {
    const words = finding ? h("button.lost-why", { title: why, onclick: () => this.open(finding) }, why) : h("span.lost-why", why);
    const number = points.toLocaleString("en", { maximumFractionDigits: 1 });
    return h("li", h("span.lost-points", `−${number}`), words, parts.length > 0 && h("span.lost-parts", parts.join(", ")));
  }
}
