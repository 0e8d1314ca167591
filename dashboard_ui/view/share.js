/** Links that show one run to people without an account: a button, and a dialog that makes, lists and ends them. */

import { BASE, rpc } from "../client/rpc.js";
import { fullTime, when } from "./dates.js";
import { h, setText } from "./dom.js";
import { reasonOf } from "./format.js";

/** @type {Array<[number, string]>} */
const DURATIONS = [
  [3600, "1 hour"],
  [86_400, "1 day"],
  [7 * 86_400, "7 days"],
  [30 * 86_400, "30 days"],
];
const USUAL_S = 7 * 86_400;

export class ShareButton {
  /** @param {string} testId */
  constructor(testId) {
    this.testId = testId;
    /** The link that is shown. */
    this.madeId = "";
    this.duration = h("select", { id: "share-for" });
    for (const [seconds, text] of DURATIONS)
      this.duration.append(h("option", { value: seconds, selected: seconds === USUAL_S }, text));
    this.make = h("button.primary", { onclick: () => this.makeLink() }, "Make a link");
    this.link = h("input.share-link", { readonly: true, "aria-label": "The link", onfocus: () => this.link.select() });
    this.copy = h("button.secondary", { onclick: () => this.copyLink() }, "Copy link");
    this.made = h("div.share-made", { hidden: true }, h("div.sign-in-row", this.link, this.copy));
    this.madeNote = h("p.hint", "It is shown only now. Whoever has it can watch this test, and do nothing else.");
    this.made.append(this.madeNote);
    this.list = h("ul.shares");
    this.listTitle = h("h2", "Links that work now");
    this.problem = h("p.form-error", { role: "alert" });
    this.dialog = h(
      "dialog.keys.share",
      { "aria-labelledby": "share-title" },
      h("h1", { id: "share-title" }, "Share this test"),
      h("p.hint", "A link shows this one test to people who have no account, until it ends."),
      h("div.share-row", h("label", { for: "share-for" }, "For"), this.duration, this.make),
      this.made,
      this.problem,
      this.listTitle,
      this.list,
      h("button.secondary", { onclick: () => this.dialog.close() }, "Close"),
    );
    this.dialog.addEventListener("close", () => this.clear());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.root = h("span.share-box", h("button.secondary", { onclick: () => this.open() }, "Share"), this.dialog);
  }

  open() {
    this.clear();
    this.dialog.showModal();
    void this.refresh();
  }

  /** A link that was made is not shown again. */
  clear() {
    this.hideLink();
    setText(this.problem, "");
    this.listTitle.hidden = this.list.childElementCount === 0;
  }

  hideLink() {
    this.link.value = "";
    this.made.hidden = true;
  }

  async makeLink() {
    this.make.disabled = true;
    await this.tell(async () => {
      const forSeconds = Number(this.duration.value);
      const { path, shareId } = await rpc("shareTest", { testId: this.testId, forSeconds });
      this.link.value = new URL(String(path).replace(/^\//, ""), BASE).href;
      this.madeId = shareId;
      this.made.hidden = false;
      this.link.focus();
      await this.refresh();
    });
    this.make.disabled = false;
  }

  async copyLink() {
    try {
      await navigator.clipboard.writeText(this.link.value);
      setText(this.copy, "Copied");
      setTimeout(() => setText(this.copy, "Copy link"), 2000);
    } catch {
      this.link.select();
      setText(this.problem, "This browser does not let the page copy. The link is selected: press Ctrl+C.");
    }
  }

  refresh() {
    return this.tell(async () => {
      const { shares } = await rpc("listShares", { testId: this.testId }, { get: true });
      this.draw(Array.isArray(shares) ? shares : []);
    });
  }

  /** @param {Array<{shareId: string, by?: string, createdAt?: number, expiresAt?: number}>} shares */
  draw(shares) {
    const rows = shares.map(({ shareId, by, createdAt, expiresAt }) => {
      const end = h("button.quiet.cancel-yes", { onclick: () => this.end(shareId, end) }, "Revoke");
      const until = expiresAt === undefined ? "" : `until ${when(expiresAt, Date.now())}`;
      const made = `${by ? `by ${by}` : ""}${createdAt === undefined ? "" : `, ${when(createdAt, Date.now())}`}`;
      const [untilWhen, madeWhen] = [expiresAt, createdAt].map((ms) => ({ title: fullTime(ms) || null }));
      return h("li", h("span.share-until", untilWhen, until), h("span.share-by", madeWhen, made), end);
    });
    this.list.replaceChildren(...rows);
    this.listTitle.hidden = rows.length === 0;
  }

  /** @param {string} shareId @param {HTMLButtonElement} button */
  async end(shareId, button) {
    button.disabled = true;
    await this.tell(async () => {
      await rpc("unshareTest", { testId: this.testId, shareId });
      if (shareId === this.madeId) this.hideLink();
      await this.refresh();
    });
    button.disabled = false;
  }

  /** Shows what goes wrong. @param {() => Promise<void>} work */
  async tell(work) {
    setText(this.problem, "");
    try {
      await work();
    } catch (error) {
      setText(this.problem, reasonOf(error));
    }
  }
}
