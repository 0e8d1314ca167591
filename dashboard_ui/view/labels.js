/** The labels of a run: chips that lead to the list of all runs with the same, and the field of the form. */

import { BASE } from "../client/rpc.js";
import { h, setAttr } from "./dom.js";
import { labelText } from "./format.js";

/** The list of the runs with a label. @param {string} text `name=value` */
export const labelled = (text) => `${BASE}?${new URLSearchParams({ q: text })}`;

/**
 * Chips; the rest of many is a number with the others on hover.
 *
 * @param {{most?: number}} [how]
 * @returns {Part}
 */
export function labelChips({ most = Infinity } = {}) {
  const root = h("ul.labels", { "aria-label": "Labels", hidden: true });
  let drawn = "";
  return {
    root,
    update({ labels }) {
      const texts = Object.entries(labels).map(labelText);
      if (drawn === texts.join("\n")) return;
      drawn = texts.join("\n");
      setAttr(root, "hidden", texts.length === 0);
      const chips = texts.slice(0, most).map((text) => h("li", chip(text)));
      const rest = texts.slice(most);
      if (rest.length) chips.push(h("li.label-rest", { title: rest.join("\n") }, `+${rest.length}`));
      root.replaceChildren(...chips);
    },
  };
}

/** In a file there is no list to lead to. @param {string} text */
const chip = (text) => !BASE ? h("span.label", { "data-label": text }, text) : h("a.label", { href: labelled(text), "data-label": text, title: `All tests with ${text}` }, text);

/**
 * The labels that a reader typed: `commit=abc, branch=main`. The edge judges names and values.
 *
 * @param {string} typed
 * @returns {Record<string, string>|undefined} undefined: none
 * @throws {Error} for the reader
 */
export function labelsTyped(typed) {
  const labels = typed.split(",").map((each) => each.trim()).filter(Boolean).map((each) => {
    const [name, ...value] = each.split("=");
    if (!value.length) throw new Error(`Write each label as name=value, for example commit=abc: “${each.slice(0, 80)}” is none.`);
    return [name.trim(), value.join("=").trim()];
  });
  return labels.length ? Object.fromEntries(labels) : undefined;
}
