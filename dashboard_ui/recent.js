/** The games tested last from this browser, newest first, below the form: one click writes the address again. */

import { h, icon } from "./dom.js";
import { webUrl } from "./format.js";

const KEY = "testcast.recent";
const KEPT = 8;

/** @returns {string[]} none where the browser keeps nothing for us (private mode), or something strange */
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
    // Private mode, or full: they are remembered as long as the page stands.
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
      // The keyboard stays where it was: on the next one, or the one before.
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
