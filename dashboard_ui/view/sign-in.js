/** The form to sign in with: a token, or a provider of OpenID Connect where there is one. */

import { BASE, RpcError } from "../client/rpc.js";
import { h, setText } from "./dom.js";
import { reasonOf } from "./format.js";

/** What the edge says of a sign-in at a provider that has failed. */
export const PROBLEMS = new Map([
  ["provider_unavailable", "The sign-in service does not answer. Try again in a moment, or sign in with a token."],
  ["denied", "You have not let the sign-in service tell who you are, so nobody is signed in."],
  ["refused", "The sign-in service refused. Try again; if it goes on, ask whoever runs this server."],
  ["wrong_state", "This sign-in was begun in another window, or more than 10 minutes ago. Begin again here."],
  ["not_valid", "The sign-in service sent an answer that this server does not accept. Its log says why."],
  ["no_project", "You are known, but have no project on this server yet. Ask whoever runs it."],
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
