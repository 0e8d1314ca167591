/**
 * Fences between what is drawn: an exception in one part leaves every other part as it is.
 *
 * The values of a run are coerced before they are drawn, so no exception is expected. A fence holds what nobody
 * expected: the part says that it could not be shown, and the console says why, once.
 */

import { h } from "./dom.js";

/** @type {Set<string>} */
const told = new Set();
const MAX_TOLD = 500;

/** @param {string} where what could not be shown, and of which run @param {unknown} error */
export function report(where, error) {
  if (told.has(where)) return;
  if (told.size === MAX_TOLD) told.clear();
  told.add(where);
  console.error(`testcast: ${where} could not be shown`, error);
}

/** The element in the place of a part that could not be drawn. @param {string} [what] */
export const unshown = (what = "") => h("span.unshown", `${what} could not be shown`.trim());

/** @template {unknown[]} Given */
export class Fences {
  /** @param {string} owner what the parts belong to, for the console */
  constructor(owner) {
    this.owner = owner;
    /** @type {Array<{name: string, root: HTMLElement, instead: HTMLElement, draw: (...given: Given) => void}>} */
    this.parts = [];
  }

  /**
   * @template {HTMLElement} E
   * @param {string} name of the part, for the reader
   * @param {E} root
   * @param {(...given: Given) => void} draw
   * @returns {E} root
   */
  add(name, root, draw) {
    this.parts.push({ name, root, instead: unshown(name), draw });
    return root;
  }

  /** Draws each part. @param {Given} given */
  draw(...given) {
    for (const { name, root, instead, draw } of this.parts) {
      try {
        draw(...given);
        if (instead.parentNode) instead.replaceWith(root);
      } catch (error) {
        report(`${name} of ${this.owner}`, error);
        if (root.parentNode) root.replaceWith(instead);
      }
    }
  }
}
