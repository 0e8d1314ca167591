/**
 * Builds and changes elements. Data becomes text nodes and attributes, never HTML, and every text that a reader sees or
 * hears is cleaned here, whoever wrote it.
 */

import { fullTime, machineTime } from "./dates.js";
import { clean, words } from "./text.js";

/** @typedef {string|number|boolean|null|undefined|((event: any) => void)} Value */
/** @typedef {Node|string|null|undefined|false} Child */
/**
 * @template {string} S
 * @typedef {S extends `${infer T}.${string}` ? T : S} Tag
 */
/**
 * @template {string} S
 * @typedef {Tag<S> extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[Tag<S>] : never} ElementOf
 */

/**
 * Makes an element, as in `h("p.meta", { title: "…" }, "text", child)`.
 *
 * @template {string} S
 * @param {S} what the tag, with classes after dots
 * @param {...(Child|Record<string, Value>)} rest attributes, then children. `on…` with a function adds a listener;
 *   true sets an empty attribute; false, null and undefined set none. A string becomes a text node
 * @returns {ElementOf<S>}
 */
export function h(what, ...rest) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  if (element instanceof HTMLButtonElement) element.type = "button"; // the default is "submit"
  for (const part of rest) {
    if (part === null || part === undefined || part === false) continue;
    if (typeof part === "string" || part instanceof Node) {
      element.append(typeof part === "string" ? clean(part) : part);
      continue;
    }
    for (const [name, value] of Object.entries(part)) {
      if (typeof value === "function") element.addEventListener(name.slice(2), value);
      else setAttr(element, name, value);
    }
  }
  return /** @type {ElementOf<S>} */ (element);
}

/** @param {string} tag @param {Record<string, string|number>} attributes @param {...Node} children */
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** The attributes whose values are read to people. */
const READ = new Set(["title", "aria-label", "alt", "placeholder"]);

/** @param {Element} element @param {string} name @param {string|number|boolean|null|undefined} value */
export function setAttr(element, name, value) {
  const text = value === true ? "" : READ.has(name) ? words(value) : String(value);
  if (value === false || value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Sets a text if it differs: an unchanged node causes no layout. @param {Element} element @param {string} text */
export function setText(element, text) {
  const cleaned = clean(text);
  if (element.textContent !== cleaned) element.textContent = cleaned;
}

/**
 * Sets a point in time: the text, and the full date and time zone on hover.
 *
 * @param {HTMLElement} element a `time`
 * @param {number|undefined} ms
 * @param {string} text
 */
export function setTime(element, ms, text) {
  setText(element, text);
  setAttr(element, "datetime", machineTime(ms));
  setAttr(element, "title", fullTime(ms) || null);
}

/** Paths on a grid of 16 by 16. */
const ICONS = {
  status: "M8 3.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 0 0 0-9Z",
  progress: "M5.5 8h5",
  action: "M6 4l4 4l-4 4",
  problem: "M8 2.5L14 13H2ZM8 6.5v3M8 11.2v.1",
  cancelled: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11ZM4.2 4.2l7.6 7.6",
  error: "M4.5 4.5l7 7M11.5 4.5l-7 7",
  complete: "M3 8.5l3.2 3.2L13 5",
  system: "M12.5 8a4.5 4.5 0 1 1-1.4-3.3M12.5 2.5v2.7H9.8",
  chevron: "M6 4l4 4l-4 4",
  bell: "M4 11V7.5a4 4 0 0 1 8 0V11l1 1.5H3ZM6.8 14h2.4",
  game: "M5 5.5h6a3 3 0 0 1 3 3v1a2 2 0 0 1-3.6 1.2L9.9 10H6.1l-.5.7A2 2 0 0 1 2 9.5v-1a3 3 0 0 1 3-3ZM5.5 7v2M4.5 8h2M10.8 7.9v.1",
  copy: "M6 6h7v7H6ZM3 10V3h7",
  download: "M8 3v7M5 7.5l3 3l3-3M3.5 13h9",
  play: "M5 3.5l7.5 4.5L5 12.5Z",
  pause: "M5.5 4v8M10.5 4v8",
  stepBack: "M11 4L6.5 8l4.5 4M4.5 4v8",
  stepOn: "M5 4l4.5 4L5 12M11.5 4v8",
  flag: "M4 13.5V3h7.5l-2 2.7l2 2.8H4",
  link: "M6.5 9.5l3-3M7 4.8l1.3-1.3a2.6 2.6 0 0 1 3.7 3.7L10.7 8.5M9 11.2l-1.3 1.3a2.6 2.6 0 0 1-3.7-3.7L5.3 7.5",
  bin: "M3 4.5h10M6.5 4.5V3h3v1.5M4.5 4.5l.6 8.5h5.8l.6-8.5M6.8 7v3.5M9.2 7v3.5",
  pin: "M5.5 2.5h5M6.5 2.5v4L4.5 9h7l-2-2.5v-4M8 9v4.5",
  back: "M9.5 3.5L5 8l4.5 4.5",
};

/** An icon. Hidden from screen readers, since a text is beside it. @param {keyof typeof ICONS} name */
export function icon(name) {
  const path = svg("path", { d: ICONS[name] });
  return svg("svg", { viewBox: "0 0 16 16", class: `icon icon-${name}`, "aria-hidden": "true" }, path);
}
