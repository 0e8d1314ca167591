/** The controls of a game as keycaps, each with its evidence. */

import { h, setText } from "../dom.js";
import { count } from "../format.js";
import { EvidencePicture } from "./evidence.js";
import { controlCap } from "./keycaps.js";
import { seenWords, share } from "./words.js";

export class ControlList {
  /** @param {import("./evidence.js").Evidence} evidence */
  constructor(evidence) {
    this.evidence = evidence;
    this.head = h("h2");
    this.list = h("ul.controls-list");
    /** @type {Map<string, {said: string, item: HTMLElement, picture: EvidencePicture}>} */
    this.items = new Map();
    this.root = h("section.reported-controls", { hidden: true, "aria-label": "Controls" }, this.head, this.list);
  }

  /**
   * @param {ReportedControl[]|null} controls null: nothing is known of their evidence
   * @param {number|null} tried how many inputs were tried
   */
  update(controls, tried) {
    this.root.hidden = controls === null;
    const among = tried === null ? "" : ` among ${count(tried, "input")} that ${tried === 1 ? "was" : "were"} tried`;
    const none = tried === 0 ? "No input was tried as a control" : `No control was found${among}`;
    setText(this.head, controls?.length ? count(controls.length, "control") : none);
    const before = this.items;
    this.items = new Map();
    for (const control of controls ?? []) {
      const said = JSON.stringify(control);
      const known = before.get(control.name);
      this.items.set(control.name, known?.said === said ? known : this.make(control, said));
    }
    this.list.replaceChildren(...[...this.items.values()].map(({ item }) => item));
  }

  /** @param {ReportedControl} control @param {string} said */
  make({ name, change, seen, situations, promised, seq }, said) {
    const picture = new EvidencePicture(this.evidence, seq, `Before and after ${name}`);
    const where = situations.length ? `in ${situations.join(", ")}` : "";
    const item = h(
      "li.control",
      h("div.control-head", controlCap(name), promised && h("span.promised", { title: "The page names it in its text" }, "promised")),
      h("p.control-seen", seenWords(seen), where && ` ${where}`),
      change !== undefined && h("p.control-change", `${share(change)} of the picture changed`),
      picture.root,
    );
    return { said, item, picture };
  }

  drawPictures() {
    for (const { picture } of this.items.values()) picture.draw();
  }
}
