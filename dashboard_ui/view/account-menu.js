/** Who is signed in, in the page's header: until when, what they may do, and the way out. */

import { when } from "./dates.js";
import { h, setAttr, setText } from "./dom.js";

export class AccountMenu {
  /** @param {{onSignIn: () => void, onSignOut: () => Promise<void>}} hooks */
  constructor({ onSignIn, onSignOut }) {
    this.signIn = h("button.secondary.account-sign-in", { onclick: onSignIn }, "Sign in");
    this.name = h("span.account-name");
    this.button = h("button.account", { popovertarget: "account-panel", hidden: true }, this.name);
    this.who = h("strong.account-who");
    this.facts = h("dl.account-facts");
    this.problem = h("p.form-error", { role: "alert" });
    const out = h("button.secondary", { onclick: () => this.leave(onSignOut) }, "Sign out");
    const panel = h(
      "div.panel.account-panel",
      { id: "account-panel", popover: "auto", role: "dialog", "aria-label": "Account" },
      this.who,
      this.facts,
      this.problem,
      out,
    );
    panel.addEventListener("toggle", () => this.drawFacts());
    this.root = h("div.account-box", this.signIn, this.button, panel);
    /** @type {Session} */
    this.session = { required: true, ways: [] };
  }

  /** @param {Session} session */
  update(session) {
    this.session = session;
    const { subject } = session;
    this.signIn.hidden = subject !== undefined;
    this.button.hidden = subject === undefined;
    setText(this.name, subject ?? "");
    setAttr(this.button, "aria-label", subject === undefined ? null : `Account: ${subject}`);
    setText(this.who, subject ?? "");
    this.drawFacts();
  }

  drawFacts() {
    const { projects, actions = [], expiresAt } = this.session;
    const rows = [
      ["Signed in until", expiresAt === undefined ? "" : when(expiresAt, Date.now())],
      ["Projects", projects === "*" ? "all" : (projects ?? []).join(", ")],
      ["May", actions.join(", ")],
    ].filter(([, value]) => value);
    this.facts.replaceChildren(...rows.map(([name, value]) => h("div", h("dt", name), h("dd", value))));
  }

  /** The edge does not know the reader any more. */
  end() {
    this.signIn.hidden = false;
    this.button.hidden = true;
  }

  /** @param {() => Promise<void>} onSignOut */
  async leave(onSignOut) {
    setText(this.problem, "");
    try {
      await onSignOut();
    } catch {
      setText(this.problem, "The edge did not answer, so you are still signed in. Try again.");
    }
  }
}
