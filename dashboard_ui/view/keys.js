/** The keys of a page, and the dialog that lists them. */

import { BASE } from "../client/rpc.js";
import { h } from "./dom.js";

/** @type {Array<[string, string]>} */
const KEYS = [
  ["/", "Search"],
  ["W", "Show all running tests as pictures, and come back"],
  ["?", "Show these keys"],
  ["Esc", "Close this list, a panel or a question"],
  ["Home  End", "In a feed: its first line; its newest line, and follow it"],
  ["↑  ↓", "In a feed: scroll. Up stops following"],
  ["Tab", "Go to the next control"],
];

export class Keys {
  /** @param {HTMLInputElement|undefined} search of the page @param {boolean} wall whether the reader may see the wall */
  constructor(search, wall) {
    this.search = search;
    this.wall = wall;
    const rows = KEYS.map(([keys, does]) => {
      const caps = keys.split("  ").map((key) => h("kbd", key));
      return h("div", h("dt", ...caps), h("dd", does));
    });
    const close = h("button.secondary", { onclick: () => this.dialog.close() }, "Close");
    this.dialog = h("dialog.keys", { "aria-labelledby": "keys-title" });
    this.dialog.append(h("h2", { id: "keys-title" }, "Keys"), h("dl", ...rows), close);
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.button = h("button.quiet", { "aria-keyshortcuts": "?", onclick: () => this.show() }, "Keys ", h("kbd", "?"));
    document.addEventListener("keydown", (event) => this.pressed(event));
  }

  show() {
    if (!this.dialog.open) this.dialog.showModal();
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    const { target, key } = event;
    const typing = target instanceof Element && target.matches("input, textarea, select, [contenteditable]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || this.dialog.open) return;
    if (key === "?") this.show();
    else if (key.toLowerCase() === "w" && this.wall) location.assign(`${BASE}wall`);
    else if (key === "/" && this.search?.checkVisibility()) this.search.focus();
    else return;
    event.preventDefault();
  }
}
