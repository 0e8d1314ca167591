/**
 * The picture of a moment. The old one stays until the new one is decoded, and what arrives late is not shown. A click
 * on it shows its line.
 */

import { h, setAttr, setText, icon } from "../dom.js";
import { Wishes } from "./wishes.js";

/** Decoded pictures that are kept: about a megabyte each. */
const KEPT = 32;
const RETRY_MS = 3000;

export class Picture {
  /**
   * @param {object} how
   * @param {(number: number) => string} how.url the address of a picture
   * @param {() => void} how.onClick
   */
  constructor({ url, onClick }) {
    this.url = url;
    /** Decoded, the longest unused first. @type {Map<number, HTMLImageElement>} */
    this.here = new Map();
    this.wishes = new Wishes((number) => this.here.has(number));
    this.words = h("span");
    this.empty = h("span.screen-empty", icon("game"), this.words);
    this.button = h("button.picture", { hidden: true, onclick: onClick });
    /** The newest picture of a run that has none over time. @type {HTMLImageElement|null} */
    this.shot = null;
    this.description = "";
    /** What stands in the place of a picture. */
    this.absent = "";
    /** Whether the moment is now: a run without pictures over time has one only of now. */
    this.live = true;
    this.timer = 0;
    this.root = h("div.screen", { hidden: true }, this.empty, this.button);
  }

  /**
   * @param {number} number of the picture; 0: there is none
   * @param {object} how
   * @param {string} how.description of the picture, for those who do not see it
   * @param {string} how.words in its place
   * @param {boolean} how.live
   * @param {boolean} [how.forward] one picture follows the other
   * @param {number[]} [how.neighbours] what is probably wanted next
   */
  wish(number, { description, words, live, forward, neighbours }) {
    Object.assign(this, { description, absent: words, live });
    this.wishes.wish(number, { forward, neighbours });
    this.draw();
    this.load();
  }

  load() {
    for (let next = this.wishes.next(); next; next = this.wishes.next()) void this.get(next);
  }

  /** @param {number} number */
  async get(number) {
    const image = h("img", { alt: "", draggable: "false" });
    image.decoding = "sync"; // it is decoded, and drawn in the frame in which it is put into the page
    image.src = this.url(number);
    try {
      await image.decode();
    } catch {
      this.missed(number);
      return;
    }
    this.keep(number, image);
    if (this.wishes.arrived(number)) this.draw();
    this.load();
  }

  /** @param {number} number */
  missed(number) {
    this.wishes.missed(number);
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.retry(), RETRY_MS);
    this.draw();
    this.load();
  }

  /** Asks again for what could not be loaded: another edge may have it. */
  retry() {
    if (!this.wishes.failed.size) return;
    this.wishes.retry();
    this.load();
  }

  /** @param {number} number @param {HTMLImageElement} image */
  keep(number, image) {
    this.here.set(number, image);
    for (const old of this.here.keys()) {
      if (this.here.size <= KEPT) break;
      if (old !== this.wishes.shown && old !== this.wishes.wanted) this.here.delete(old);
    }
  }

  /** The newest picture of a run that has none over time. @param {Blob} blob */
  async showShot(blob) {
    const image = h("img", { alt: "", draggable: "false" });
    const address = URL.createObjectURL(blob);
    image.src = address;
    try {
      await image.decode();
      this.shot = image;
      this.draw();
    } catch {
      // What is no picture leaves the page as it is.
    }
    URL.revokeObjectURL(address);
  }

  draw() {
    const { shown, wanted, failed } = this.wishes;
    const image = wanted === 0 ? this.shotNow : this.here.get(shown);
    if (image && this.button.firstChild !== image) this.button.replaceChildren(image);
    if (image && wanted) this.here.delete(shown), this.here.set(shown, image); // the last to be dropped
    const missing = wanted !== 0 && failed.has(wanted) && !image;
    this.button.hidden = !image || missing;
    this.empty.hidden = !this.button.hidden;
    setText(this.words, missing ? "This picture cannot be loaded now" : (this.absent));
    setAttr(this.root, "data-number", image && !missing && wanted ? shown : null);
    setAttr(this.root, "aria-busy", wanted !== 0 && shown !== wanted ? "true" : null);
    if (image) image.alt = this.description;
    setAttr(this.button, "title", "Show the line of this picture");
  }

  get shotNow() {
    return this.live ? (this.shot ?? undefined) : undefined;
  }
}
