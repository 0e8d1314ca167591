/** The foot of a page, with the version of the edge; and the line that says what is wrong with the edge. */

import { h, setText } from "./dom.js";

export class Foot {
  /** @param {HTMLElement} keys the button that shows the keys */
  constructor(keys) {
    this.version = h("span.version", "testcast");
    this.root = h("footer.foot", this.version, keys);
    this.degraded = h("p.degraded", { hidden: true });
  }

  /** @param {{version?: unknown, degraded?: unknown}} config */
  update({ version, degraded }) {
    if (typeof version === "string") setText(this.version, `testcast ${version}`);
    const reasons = Array.isArray(degraded) ? degraded.filter((each) => typeof each === "string") : [];
    this.degraded.hidden = reasons.length === 0;
    setText(this.degraded, reasons.map(sentence).join(" "));
  }
}

/** @param {string} text */
const sentence = (text) => text.trim().replace(/^\p{Ll}/u, (letter) => letter.toUpperCase()).replace(/\.?$/, ".");
