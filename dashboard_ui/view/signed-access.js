/** Who the reader is, on an edge that wants to know: signing in and out, how long it lasts, and what they may do. */

import { BASE, RpcError, rpc } from "../client/rpc.js";
import { when } from "./dates.js";
import { h, setText } from "./dom.js";
import { reasonOf } from "./format.js";
import { ShareButton } from "./share.js";
import { AccountMenu, PROBLEMS, SignInForm } from "./sign-in.js";

/** The page says that the sign-in is about to end this long before. */
const WARN_MS = 2 * 60_000;
/** Timers cannot wait longer. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** Pages of one browser tell each other that somebody has signed in. */
const CHANNEL = "testcast-sign-in";
/** What stands in the address of the window that was opened for a sign-in. */
const POPUP = "popup";

/** @implements {PageAccess} */
export class SignedAccess {
  /**
   * @param {string|null} testId of a run's own page
   * @param {string} provider the name of the provider of OpenID Connect; empty for none
   * @param {AccessHooks} hooks
   */
  constructor(testId, provider, hooks) {
    this.testId = testId;
    this.provider = provider;
    this.hooks = hooks;
    /** @type {Session} */
    this.session = { required: true, ways: [] };
    /** Why nothing can be shown; null: something can. @type {string|null} */
    this.blocked = null;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.timer = undefined;
    this.hasEnded = false;
    this.menu = new AccountMenu({ onSignIn: () => this.ask(), onSignOut: () => this.signOut() });
    this.root = this.menu.root;
    this.noticeText = h("span");
    this.notice = h(
      "p.notice",
      { role: "status", hidden: true },
      this.noticeText,
      h("button.secondary", { onclick: () => this.ask() }, "Sign in"),
    );
    this.dialog = h("dialog.keys.sign-in-dialog", { "aria-labelledby": "sign-in-title" });
    document.body.append(this.dialog);
    document.querySelector("header.bar")?.after(this.notice);
    this.channel = new BroadcastChannel(CHANNEL);
    this.channel.onmessage = () => void this.signedIn();
  }

  /** @param {string|null} secret of a share link */
  async start(secret) {
    const said = signInResult();
    if (secret !== null) await this.openShare(secret);
    if (this.blocked !== null) return;
    try {
      this.take(await rpc("getSession", {}, { get: true }));
    } catch (error) {
      this.block(this.form({ problem: reasonOf(error) }));
      return;
    }
    if (said === POPUP && this.session.subject !== undefined) return this.closePopup();
    const known = this.session.subject !== undefined || this.may("list") || this.testId !== null;
    if (!known || (said !== null && said !== POPUP)) this.askFirst(said);
  }

  /** This is the window that another page has opened for the sign-in. */
  closePopup() {
    this.channel.postMessage("signed in");
    window.close();
    const close = h("button.primary", { onclick: () => window.close() }, "Close this window");
    this.block(h("section.empty", h("h1", "You are signed in"), h("p", "Go on in the other window."), close));
  }

  /** @param {string} action */
  may(action) {
    return this.session.actions?.includes(action) ?? false;
  }

  /** Why the page has no form to submit a test with. */
  whyNoSubmit() {
    const { subject } = this.session;
    return subject === undefined
      ? "You are watching without an account. Sign in to submit tests."
      : `${subject} may watch tests here, and not submit any.`;
  }

  /** @param {Session} session */
  take(session) {
    const before = this.session.subject;
    this.session = session;
    if (before !== undefined && session.subject !== undefined && before !== session.subject) location.reload();
    this.menu.update(session);
    clearTimeout(this.timer);
    const { expiresAt } = session;
    if (session.subject === undefined || expiresAt === undefined) return;
    this.hasEnded = false;
    this.notice.hidden = true;
    const wait = expiresAt - WARN_MS - Date.now();
    if (wait <= LONGEST_TIMER_MS) this.timer = setTimeout(() => this.warn(expiresAt), Math.max(0, wait));
  }

  /** @param {number} expiresAt ms */
  warn(expiresAt) {
    if (this.hasEnded) return;
    const left = expiresAt - Date.now();
    if (left <= 0) return this.ended();
    this.say(`Your sign-in ends at ${when(expiresAt, Date.now())}. Sign in again to go on without a break.`);
    this.timer = setTimeout(() => this.warn(expiresAt), left);
  }

  /** The edge wants another proof of who this is, and waits a moment for it. */
  expiring() {
    if (this.session.subject !== undefined) this.ended();
  }

  /** The edge does not show this test any more. */
  lost() {
    if (this.session.subject === undefined) this.ended();
  }

  /** The edge does not know the reader any more. What is shown stays. */
  ended() {
    if (this.hasEnded || this.blocked !== null) return;
    if (this.session.subject === undefined && !this.hooks.hasContent()) return this.askFirst(null);
    this.hasEnded = true;
    if (this.session.subject === undefined)
      return this.say("You may not watch this any longer: the link has ended. What is here stays.");
    this.menu.end();
    this.say("Your sign-in has ended. What is here stays. Sign in again to see what is new.");
    this.ask();
  }

  /** @param {string} text */
  say(text) {
    setText(this.noticeText, text);
    this.notice.hidden = false;
  }

  /** Asks the edge again after a failed connection: an upgrade that it refuses does not say why. */
  async check() {
    if (this.session.subject === undefined || this.hasEnded) return;
    const session = await rpc("getSession", {}, { get: true }).catch(() => null);
    if (session && session.subject === undefined) this.ended();
  }

  // ── signing in and out ──

  /** In place of the page. @param {string|null} problem */
  askFirst(problem) {
    this.block(this.form({ problem: problem === null ? "" : (PROBLEMS.get(problem) ?? PROBLEMS.get("refused")) }));
  }

  /** Beside what is shown. */
  ask() {
    if (this.blocked !== null || this.dialog.open) return;
    const close = h("button.quiet", { onclick: () => this.dialog.close() }, "Not now");
    const title = this.hasEnded ? "Your sign-in has ended" : "Sign in";
    this.dialog.replaceChildren(this.form({ title, popup: true }), close);
    this.dialog.showModal();
  }

  /** @param {{problem?: string, title?: string, popup?: boolean}} how */
  form({ problem = "", title = "Sign in", popup = false }) {
    return new SignInForm({
      title,
      problem,
      provider: this.provider,
      popup: popup ? CHANNEL : null,
      onToken: async (token) => {
        this.take(await rpc("signIn", { token }));
        this.channel.postMessage("signed in");
        await this.goOn();
      },
    }).root;
  }

  /** Somebody has signed in on another page of this browser. */
  async signedIn() {
    try {
      this.take(await rpc("getSession", {}, { get: true }));
    } catch {
      return;
    }
    if (this.session.subject !== undefined) await this.goOn();
  }

  async goOn() {
    if (this.blocked !== null) return location.reload();
    this.dialog.close();
    await this.hooks.onSignedIn(() => rpc("getTicket").then(({ ticket }) => ticket));
  }

  async signOut() {
    await rpc("signOut");
    location.assign(BASE);
  }

  // ── share links ──

  /** @param {string} secret */
  async openShare(secret) {
    try {
      await rpc("openShare", { testId: this.testId, secret });
    } catch (error) {
      const gone = error instanceof RpcError && error.code === "not_found";
      const text = gone
        ? "Somebody has ended it, or its time is over. Ask whoever sent it for another one."
        : reasonOf(error);
      const title = gone ? "This link no longer works" : "The link could not be opened";
      this.block(h("section.empty", h("h1", title), h("p", { role: "alert" }, text)));
      document.title = `${title} · testcast`;
    }
  }

  /** A button that makes links to a run, for who may hand them on. @param {string} testId */
  share(testId) {
    return this.session.subject === undefined ? null : new ShareButton(testId).root;
  }

  /** Shows only this. @param {HTMLElement} shown */
  block(shown) {
    this.blocked = document.title;
    this.dialog.close();
    this.hooks.onBlocked(h("main", { id: "main" }, shown));
  }
}

/**
 * What signing in at a provider has come to, which the edge says in the address: POPUP, the word for a problem, or null
 * for neither. It is taken out of the address.
 */
function signInResult() {
  const asked = new URLSearchParams(location.search);
  const said = asked.get("sign-in-problem") ?? (asked.get("signed-in") === POPUP ? POPUP : null);
  if (said === null) return null;
  asked.delete("signed-in");
  asked.delete("sign-in-problem");
  history.replaceState(null, "", `${location.pathname}${asked.size ? `?${asked}` : ""}${location.hash}`);
  return said;
}
