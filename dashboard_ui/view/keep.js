/** What keeps a run for good, and what deletes it: a button that pins, and one that asks first. */

import { ended } from "../client/fold.js";
import { BASE } from "../client/rpc.js";
import { h, icon, setAttr, setText } from "./dom.js";
import { reasonOf, titleOf } from "./format.js";

/**
 * A button that is pressed while the run is pinned. Who may not pin sees it only then.
 *
 * @param {string} testId
 * @param {Actions} actions
 * @param {(reason: string) => void} onRefused
 * @param {"quiet"|"secondary"} [look]
 * @returns {Part}
 */
export function pinButton(testId, actions, onRefused, look = "quiet") {
  const words = h("span", { hidden: look === "quiet" });
  const root = h("button", { class: `${look} pin`, hidden: true, disabled: !actions.may("delete") }, icon("pin"), words);
  let pinned = false;
  root.addEventListener("click", async () => {
    root.disabled = true;
    try {
      await actions.keep(pinned ? "unpinTest" : "pinTest", testId);
    } catch (error) {
      onRefused(reasonOf(error));
    }
    root.disabled = false;
    root.focus({ preventScroll: true });
  });
  return {
    root,
    update(run) {
      pinned = run.pinned === true;
      root.hidden = !pinned && !actions.may("delete");
      setText(words, pinned ? "Pinned" : "Pin");
      setAttr(root, "aria-pressed", String(pinned));
      setAttr(root, "aria-label", `Pin ${titleOf(run)}`);
      setAttr(root, "title", pinned ? "Pinned: it is kept for good" : "Keep this test for good");
    },
  };
}

/** A button for a menu, and the question that it asks. */
export class DeleteButton {
  /** @param {string} testId @param {Actions} actions */
  constructor(testId, actions) {
    this.testId = testId;
    this.actions = actions;
    this.root = h("button.quiet.delete", { onclick: () => this.ask() }, icon("bin"), "Delete…");
    this.name = h("strong");
    this.why = h("p.hint");
    this.problem = h("p.form-error", { role: "alert" });
    this.yes = h("button.primary.danger", { onclick: () => this.delete() }, "Delete");
    this.no = h("button.secondary", { onclick: () => this.dialog.close() }, "Keep it");
    this.dialog = h(
      "dialog.keys.delete-dialog",
      { "aria-labelledby": "delete-title", "aria-describedby": "delete-words" },
      h("h2", { id: "delete-title" }, "Delete this test?"),
      h("p", { id: "delete-words" }, this.name, " goes for good, for everybody: its events, pictures, score and share links."),
      this.why,
      this.problem,
      h("div.dialog-buttons", this.no, this.yes),
    );
  }

  /** @param {Shown} run */
  update(run) {
    setText(this.name, `“${titleOf(run)}”`);
    const why = !ended(run) ? "It has not ended: cancel it first." : run.pinned ? "It is pinned: unpin it first." : "";
    setText(this.why, why);
    this.why.hidden = !why;
    this.yes.disabled = Boolean(why);
  }

  /** The focus goes to "Keep it": a second Enter deletes nothing. */
  ask() {
    setText(this.problem, "");
    this.dialog.showModal();
    this.no.focus();
  }

  async delete() {
    this.yes.disabled = true;
    try {
      await this.actions.keep("deleteTest", this.testId);
      location.assign(BASE);
    } catch (error) {
      setText(this.problem, reasonOf(error));
      this.yes.disabled = false;
    }
  }
}
