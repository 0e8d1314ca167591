/** The games that were tested last in this browser, newest first. A click puts the address into the form. */

import { h, icon } from "./dom.js";
import { webUrl } from "./format.js";

const KEY = "testcast.recent";
const KEPT = 8;

/** @returns {string[]} empty if the browser stores nothing (private mode) or the stored value is not valid */
function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((url) => typeof url === "string" && webUrl(url)).slice(0, KEPT) : [];
  } catch {
    return [];
  }
}

/** @param {string[]} urls */
function write(urls) {
  try {
    localStorage.setItem(KEY, JSON.stringify(urls.slice(0, KEPT)));
  } catch {
    // Private mode, or the storage is full: the games are remembered until the page is closed.
  }
}

export class RecentGames {
  /** @param {(url: string) => void} onChosen */
  constructor(onChosen) {
    this.onChosen = onChosen;
    this.urls = read();
    this.list = h("ul.recent-list");
    this.root = h("div.recent", { role: "group", "aria-label": "Recent games" }, h("span", "Recent"), this.list);
    this.draw();
  }

  /** @param {string} url */
  add(url) {
    this.keep([url, ...this.urls.filter((other) => other !== url)].slice(0, KEPT));
  }

  /** @param {string[]} urls */
  keep(urls) {
    this.urls = urls;
    write(urls);
    this.draw();
  }

  draw() {
    this.root.hidden = this.urls.length === 0;
    this.list.replaceChildren(...this.urls.map((url) => this.entry(url)));
  }

  /** @param {string} url */
  entry(url) {
    const name = url.replace(/^https?:\/\/|\/$/g, "");
    const forget = () => {
      const at = this.urls.indexOf(url);
      this.keep(this.urls.filter((other) => other !== url));
      // The focus moves to the next entry, or to the previous one.
      const left = this.list.querySelectorAll(".recent-forget");
      /** @type {HTMLElement|undefined} */ (left[Math.min(at, left.length - 1)])?.focus();
    };
    return h(
      "li.recent-game",
      h("button.recent-use", { title: url, onclick: () => this.onChosen(url) }, name),
      h("button.recent-forget", { "aria-label": `Forget ${name}`, onclick: forget }, icon("error")),
    );
  }
}
