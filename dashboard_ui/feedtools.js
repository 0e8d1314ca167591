/** Above a feed: which lines are shown, and ways to take them along. */

import { h, icon, setAttr, setText } from "./dom.js";
import { count } from "./format.js";
import { GROUPS, fileName, matches, plainText } from "./lines.js";

/** How long a button says what it has done, ms. */
const SAID_MS = 2500;
const NONE = { all: 0, steps: 0, actions: 0, problems: 0 };

export class FeedTools {
  /**
   * @param {() => void} onChange other lines are to be shown
   * @param {((text: string) => void)|undefined} say tells those who listen; without it there are the filters only
   */
  constructor(onChange, say) {
    this.onChange = onChange;
    /** @type {Group} */
    this.group = "all";
    this.sought = "";
    /** @type {Run|null} */
    this.run = null;
    /** @type {Line[]} */
    this.lines = [];
    this.counts = { ...NONE };
    this.buttons = GROUPS.map(([group, name]) => {
      const number = h("span.count");
      const button = h("button.filter", { onclick: () => this.choose(group, this.sought) }, name, number);
      return { group, button, number };
    });
    this.search = h("input.search", {
      type: "search",
      placeholder: "Search the feed",
      "aria-label": "Search the feed",
      oninput: () => this.choose(this.group, this.search.value.trim().toLowerCase()),
    });
    this.copyButton = toolButton("copy", "Copy", "Copy these lines as text", async (tell) => {
      const copied = await toClipboard(this.lines.map(plainText).join("\n"));
      const words = copied ? `Copied ${count(this.lines.length, "line")}` : "The browser refused";
      tell(words);
      say?.(words);
    });
    this.downloadButton = toolButton("download", "JSON", "Download every event as JSON lines", () => this.download());
    this.root = h(
      "div.feed-tools",
      h("div.filters", { role: "group", "aria-label": "Show" }, ...this.buttons.map(({ button }) => button)),
      say && h("div.feed-take", this.search, this.copyButton, this.downloadButton),
    );
  }

  reset() {
    this.counts = { ...NONE };
  }

  /** @param {Group|null} group of one more line */
  count(group) {
    this.counts.all++;
    if (group) this.counts[group]++;
  }

  /** @param {Line} line */
  passes(line) {
    return matches(line, this.group, this.sought);
  }

  /** @param {Group} group @param {string} sought */
  choose(group, sought) {
    if (group === this.group && sought === this.sought) return;
    Object.assign(this, { group, sought });
    this.onChange();
  }

  showAll() {
    this.search.value = "";
    this.choose("all", "");
  }

  /** Why no line is shown. */
  nothing() {
    const name = GROUPS.find(([group]) => group === this.group)?.[1].toLowerCase();
    const what = this.group === "all" ? "line" : `line of ${name}`;
    return this.sought ? `No ${what} has “${this.search.value.trim()}” in it.` : `No ${name} so far.`;
  }

  /** @param {Run|null} run @param {Line[]} lines those that are shown */
  draw(run, lines) {
    this.run = run;
    this.lines = lines;
    for (const { group, button, number } of this.buttons) {
      setAttr(button, "aria-pressed", String(group === this.group));
      setText(number, group === "all" ? "" : this.counts[group].toLocaleString("en"));
    }
    this.copyButton.disabled = lines.length === 0;
    this.downloadButton.disabled = !run?.log.length;
  }

  download() {
    if (!this.run) return;
    const text = this.run.log.map((event) => `${JSON.stringify(event)}\n`);
    const address = URL.createObjectURL(new Blob(text, { type: "application/jsonl" }));
    h("a", { href: address, download: fileName(this.run.snapshot) }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000); // Safari reads it later than it says
  }
}

/**
 * @param {"copy"|"download"} name
 * @param {string} words
 * @param {string} title
 * @param {(tell: (said: string) => void) => void} act `tell` has the button say what has become of it
 */
function toolButton(name, words, title, act) {
  const label = h("span", words);
  const button = h("button.quiet", { class: `quiet feed-${name}`, title, onclick: () => act(tell) }, icon(name), label);
  let timer = 0;
  /** @param {string} said */
  function tell(said) {
    setText(label, said);
    clearTimeout(timer);
    timer = window.setTimeout(() => setText(label, words), SAID_MS);
  }
  return button;
}

/** @param {string} text @returns {Promise<boolean>} whether it is there */
async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard but over https or on the own machine: the old way, by way of a selection.
    const before = document.activeElement;
    const field = h("textarea.visually-hidden", { readonly: true });
    field.value = text;
    field.style.whiteSpace = "pre"; // its spaces would become one
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    if (before instanceof HTMLElement) before.focus({ preventScroll: true });
    return copied;
  }
}
