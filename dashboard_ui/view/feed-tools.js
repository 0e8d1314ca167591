/** The tools above a feed: filters, search, copy and download. */

import { h, icon, setAttr, setText } from "./dom.js";
import { count } from "./format.js";
import { GROUPS, fileName, matches, plainText } from "./lines.js";

/** How long a button shows its result, ms. */
const SAID_MS = 2500;
const NONE = { all: 0, steps: 0, actions: 0, problems: 0 };

export class FeedTools {
  /**
   * @param {() => void} onChange the filter or the search has changed
   * @param {((text: string) => void)|undefined} say announces a text; without it there are only the filters
   */
  constructor(onChange, say) {
    this.onChange = onChange;
    /** @type {Group} */
    this.group = "all";
    this.sought = "";
    /** @type {ShownRun|null} */
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

  /** Counts a line. @param {Group|null} group */
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

  /** Chooses as the address says. @param {Group} group @param {string} words as a reader types them */
  set(group, words) {
    this.search.value = words;
    this.choose(group, words.trim().toLowerCase());
  }

  showAll() {
    this.search.value = "";
    this.choose("all", "");
  }

  /** The text that is shown if no line passes. */
  nothing() {
    const name = GROUPS.find(([group]) => group === this.group)?.[1].toLowerCase();
    const what = this.group === "all" ? "line" : `line of ${name}`;
    return this.sought ? `No ${what} has “${this.search.value.trim()}” in it.` : `No ${name} so far.`;
  }

  /** @param {ShownRun|null} run @param {Line[]} lines the lines that are shown */
  draw(run, lines) {
    this.run = run;
    this.lines = lines;
    for (const { group, button, number } of this.buttons) {
      setAttr(button, "aria-pressed", String(group === this.group));
      setText(number, group === "all" ? "" : this.counts[group].toLocaleString("en"));
    }
    this.copyButton.disabled = lines.length === 0;
    this.downloadButton.disabled = !run?.feed.log.length;
  }

  download() {
    if (!this.run) return;
    const text = this.run.feed.log.map((event) => `${JSON.stringify(event)}\n`);
    const address = URL.createObjectURL(new Blob(text, { type: "application/jsonl" }));
    h("a", { href: address, download: fileName(this.run.snapshot) }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000); // Safari reads it after the click event
  }
}

/**
 * @param {"copy"|"download"} name
 * @param {string} words
 * @param {string} title
 * @param {(tell: (said: string) => void) => void} act `tell` shows the result in the button
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

/** @param {string} text @returns {Promise<boolean>} whether the text was copied */
export async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // The clipboard API needs https or localhost. Otherwise the text is copied by way of a selection.
    const before = document.activeElement;
    const field = h("textarea.visually-hidden", { readonly: true });
    field.value = text;
    field.style.whiteSpace = "pre"; // preserves spaces
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    if (before instanceof HTMLElement) before.focus({ preventScroll: true });
    return copied;
  }
}
