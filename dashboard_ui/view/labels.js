/** The labels of a run: chips that lead to all runs with the same, and the field of the form. */

import { BASE } from "../client/rpc.js";
import { historyOfLabel } from "./addresses.js";
import { h, setAttr } from "./dom.js";
import { labelText } from "./format.js";

/**
 * Chips; the rest of many is a number with the others on hover.
 *
 * @param {{most?: number, linked?: boolean}} [how] linked: the reader may see the list
 * @returns {Part}
 */
export function labelChips({ most = Infinity, linked = BASE !== "" } = {}) {
  const root = h("ul.labels", { "aria-label": "Labels", hidden: true });
  let drawn = "";
  return {
    root,
    update({ labels }) {
      const texts = Object.entries(labels).map(labelText);
      if (drawn === texts.join("\n")) return;
      drawn = texts.join("\n");
      setAttr(root, "hidden", texts.length === 0);
      const chips = texts.slice(0, most).map((text) => h("li", chip(text, linked)));
      const rest = texts.slice(most);
      if (rest.length) chips.push(h("li.label-rest", { title: rest.join("\n") }, `+${rest.length}`));
      root.replaceChildren(...chips);
    },
  };
}

/** @param {string} text @param {boolean} linked */
const chip = (text, linked) =>
  linked ? h("a.label", { href: historyOfLabel(text), title: `All tests with ${text}` }, text) : h("span.label", text);

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
