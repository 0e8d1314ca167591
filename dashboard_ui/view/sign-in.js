/** The form to sign in with (a token, or a provider of OpenID Connect), and the menu of who has. */

import { BASE, RpcError } from "../client/rpc.js";
import { when } from "./dates.js";
import { h, setAttr, setText } from "./dom.js";
import { reasonOf } from "./format.js";

/** What the edge says of a sign-in at a provider that has failed. */
export const PROBLEMS = new Map([
  ["provider_unavailable", "The sign-in service does not answer. Try again, or sign in with a token."],
  ["denied", "You did not let the sign-in service tell who you are, so nobody is signed in."],
  ["refused", "The sign-in service refused. Ask whoever runs this server."],
  ["wrong_state", "This sign-in began in another window, or more than 10 minutes ago. Begin again."],
  ["not_valid", "This server does not accept the sign-in service's answer. Its log says why."],
  ["no_project", "You have no project on this server yet. Ask whoever runs this server."],
  ["no_subject", "The sign-in service did not say who you are. Ask whoever runs this server."],
]);

export class SignInForm {
  /**
   * @param {object} how
   * @param {string} how.title
   * @param {string} [how.problem]
   * @param {string} how.provider its name; empty for none
   * @param {string|null} how.popup the name of the window in which a provider is shown; null: in this one
   * @param {(token: string) => Promise<void>} how.onToken
   */
  constructor({ title, problem = "", provider, popup, onToken }) {
    this.onToken = onToken;
    this.token = h("input", {
      type: "password",
      id: "token",
      autocomplete: "off",
      spellcheck: "false",
      autocapitalize: "off",
      "aria-describedby": "sign-in-problem",
    });
    this.problem = h("p.form-error", { id: "sign-in-problem", role: "alert" }, problem);
    this.button = h("button", { type: "submit", class: provider ? "secondary" : "primary" }, "Sign in");
    const field = h("div.sign-in-row", this.token, this.button);
    const label = h("label", { for: "token" }, provider ? "Or with a token" : "Token");
    const hint = h("p.hint", "Made by ", h("code", "testcast token issue"), ". It is not kept by this page.");
    this.root = h(
      "form.sign-in",
      { novalidate: true },
      h("h1", { id: "sign-in-title" }, title),
      provider && withProvider(provider, popup),
      this.problem,
      label,
      field,
      hint,
    );
    this.root.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.send();
    });
    this.token.addEventListener("input", () => setText(this.problem, ""));
  }

  async send() {
    const { token, button, problem } = this;
    const given = token.value.trim();
    if (!given) {
      setText(problem, "Paste a token.");
      return token.focus();
    }
    button.disabled = true;
    setText(problem, "");
    try {
      await this.onToken(given);
      token.value = "";
    } catch (error) {
      const wrong = error instanceof RpcError && error.status === 401;
      setText(problem, wrong ? `This token is not accepted: ${reasonOf(error)}` : reasonOf(error));
      token.select();
      token.focus();
    }
    button.disabled = false;
  }
}

/**
 * A link to the provider. In a window of its own, the page stays as it is; where a browser allows none, this one goes.
 *
 * @param {string} provider
 * @param {string|null} popup
 */
function withProvider(provider, popup) {
  const here = below(location.pathname) + location.search;
  const to = (/** @type {string} */ next) => `${BASE}oidc/login?next=${encodeURIComponent(next)}`;
  const link = h("a.primary.sign-in-provider", { href: to(here) }, `Sign in with ${provider}`);
  if (popup !== null)
    link.addEventListener("click", (event) => {
      if (window.open(to("/?signed-in=popup"), popup, "popup,width=520,height=680")) event.preventDefault();
    });
  return link;
}

/** A path of this edge without the path that a proxy serves it below. @param {string} pathname */
function below(pathname) {
  const root = new URL(BASE).pathname;
  return pathname.startsWith(root) ? `/${pathname.slice(root.length)}` : "/";
}

/** Who is signed in, in the page's header: until when, what they may do, and the way out. */
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
