/** Keys as keycaps and gestures of the pointer as places in a small picture. */

import { h, svg } from "../dom.js";
import { capOf, frameTime, heldOf, keysOf, pointerWords } from "./words.js";

/** Keys that are pressed together; screen readers hear their names. @param {string[]} keys */
export function keycaps(keys) {
  const caps = keys.flatMap((key, i) => {
    const cap = capOf(key);
    const name = cap === key ? cap : h("span", h("span", { "aria-hidden": "true" }, cap), h("span.visually-hidden", key));
    return [i > 0 && h("span.keycap-plus", "+"), h("kbd.keycap", name)];
  });
  return h("span.keycaps", ...caps);
}

/** A control: a key, several together, or a gesture. @param {string} name */
export function controlCap(name) {
  const keys = keysOf(name);
  return keys ? keycaps(keys) : h("span.keycaps", h("span.gesture", name));
}

/** The size of the small picture. */
const [WIDTH, HEIGHT] = [32, 18];

/** Where on the picture. @param {Gesture} gesture */
function place({ place: from, to }) {
  if (!from) return null;
  const [x, y] = [from.x * WIDTH, from.y * HEIGHT];
  const line = to && svg("line", { x1: x, y1: y, x2: to.x * WIDTH, y2: to.y * HEIGHT });
  const end = to ? svg("circle", { cx: to.x * WIDTH, cy: to.y * HEIGHT, r: 2.5 }) : svg("circle", { cx: x, cy: y, r: 2.5 });
  const parts = [svg("rect", { x: 0.5, y: 0.5, width: WIDTH - 1, height: HEIGHT - 1, rx: 2 }), ...(line ? [line] : []), end];
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "gesture-place", "aria-hidden": "true" }, ...parts);
}

/** @param {Gesture} gesture */
function gestureItem(gesture) {
  const held = heldOf(gesture);
  const what = gesture.keys.length
    ? keycaps(gesture.keys)
    : h("span.keycaps", place(gesture), h("span.gesture", pointerWords(gesture)));
  const when = h("span.gesture-time", frameTime(gesture.at), held && `, ${held}`);
  return h("li", { title: `Frame ${gesture.at}, for ${gesture.hold || 1}` }, what, when);
}

/** The gestures of a finding in order, each with its time, and when it shows. @param {Finding} finding */
export function gestureList({ inputs, more, until }) {
  const items = inputs.map(gestureItem);
  if (more) items.push(h("li", h("span.gesture", `and ${more.toLocaleString("en")} more`)));
  if (until !== undefined) {
    const alone = inputs.length ? "" : "do nothing: ";
    items.push(h("li.gesture-end", { title: `Frame ${until}` }, h("span.gesture", `${alone}it shows`), h("span.gesture-time", `by ${frameTime(until)}`)));
  }
  return h("ol.gestures", ...items);
}
