/** Why something could not be done: beside the buttons and over what is below them, so that nothing moves. */

import { h, setText } from "./dom.js";

/** @returns {{root: HTMLElement, say: (reason: string) => void}} it goes with Escape and with a click elsewhere */
export function refusal() {
  const root = h("span.form-error.refusal", { role: "alert" });
  const say = (/** @type {string} */ reason) => setText(root, reason);
  addEventListener("keydown", ({ key }) => key === "Escape" && say(""));
  addEventListener("pointerdown", ({ target }) => !(target instanceof Node && root.contains(target)) && say(""));
  return { root, say };
}
