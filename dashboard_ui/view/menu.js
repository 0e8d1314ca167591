/** A button that opens a short list of further buttons. Escape, a choice, and a click elsewhere close it. */

import { h, setAttr } from "./dom.js";

export class Menu {
  /** @param {string} label what it is a menu of, for screen readers */
  constructor(label) {
    this.list = h("div.menu-list", { role: "group", "aria-label": label, hidden: true });
    this.button = h("button.secondary.menu-button", { "aria-expanded": "false", "aria-label": label, title: label }, "⋯");
    this.button.addEventListener("click", () => this.open(this.list.hidden));
    this.root = h("span.menu", { hidden: true }, this.button, this.list);
    this.root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || this.list.hidden) return;
      this.open(false);
      this.button.focus();
    });
    this.root.addEventListener("focusout", (event) => {
      if (event.relatedTarget instanceof Node && !this.root.contains(event.relatedTarget)) this.open(false);
    });
    document.addEventListener("click", (event) => {
      if (event.target instanceof Node && !this.root.contains(event.target)) this.open(false);
    });
  }

  /** Adds a button; the menu is shown from then on. @param {HTMLElement} item */
  add(item) {
    this.list.append(item);
    this.root.hidden = false;
    item.addEventListener("click", () => this.open(false));
  }

  /** @param {boolean} opened */
  open(opened) {
    this.list.hidden = !opened;
    setAttr(this.button, "aria-expanded", String(opened));
  }
}
