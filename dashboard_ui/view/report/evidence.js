/** The picture that was published with a finding or a control: before and after, side by side. */

import { h, setAttr } from "../dom.js";

/** @typedef {import("../../client/frames.js").FrameInfo} FrameInfo */
/**
 * @typedef {object} Evidence
 * @property {(seq: number) => FrameInfo|undefined} of the picture of an event
 * @property {(number: number) => string} url
 * @property {(address: {seq: number, number: number}) => void} go shows a moment
 */

/** Wider than this for its height, two pictures stand side by side. */
const TWO = 3;

export class EvidencePicture {
  /** @param {Evidence} evidence @param {number} seq of the event; 0: not known @param {string} words what it shows */
  constructor(evidence, seq, words) {
    this.evidence = evidence;
    this.seq = seq;
    this.words = words;
    this.number = 0;
    this.root = h("button.evidence", { hidden: true, title: "Show this moment", onclick: () => this.go() });
  }

  go() {
    this.evidence.go({ seq: this.seq, number: this.number });
  }

  /** It may come after its event. */
  draw() {
    const info = this.number ? undefined : this.evidence.of(this.seq);
    if (!info) return;
    this.number = info.number;
    const image = h("img", { alt: this.words, loading: "lazy", draggable: "false" });
    const names = h("span.evidence-names", { hidden: true, "aria-hidden": "true" }, h("span", "before"), h("span", "after"));
    image.addEventListener("load", () => {
      names.hidden = image.naturalWidth < TWO * image.naturalHeight;
      setAttr(this.root, "data-two", !names.hidden);
    });
    image.addEventListener("error", () => (this.root.hidden = true));
    image.src = this.evidence.url(info.number);
    this.root.append(image, names);
    this.root.hidden = false;
  }
}
