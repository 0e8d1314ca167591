/** One run as a card of the main page. */

import { ended } from "../client/fold.js";
import { now } from "../client/now.js";
import { pageOf } from "../client/rpc.js";
import { h, icon, setAttr, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { elapsed, host, titleOf } from "./format.js";
import { badge, cancelButton, marks, ring, screen, stepper } from "./parts.js";

/** @implements {View} */
export class Card {
  /** @param {ShownRun} run @param {Actions} actions */
  constructor(run, actions) {
    this.id = run.id;
    this.actions = actions;
    this.opened = false;
    /** Determines its place in the list. */
    this.createdAt = 0;
    this.status = "";
    const feedId = `feed-${run.id}`;
    this.link = h("a", { href: pageOf(run.id) });
    this.host = h("span.host");
    this.elapsed = h("span.elapsed");
    this.message = h("p.message");
    this.count = h("span.count");
    this.toggle = h(
      "button.quiet.toggle",
      { "aria-expanded": "false", "aria-controls": feedId, onclick: () => this.setOpened(!this.opened) },
      icon("chevron"),
      "Live Feed",
      this.count,
    );
    this.cancel = cancelButton(run.id, actions, (reason) => setText(this.message, reason));
    this.parts = { badge: badge(), marks: marks(), stepper: stepper(), ring: ring() };
    this.screen = screen();
    /** Made when it is first opened: most cards never are. @type {Feed|null} */
    this.feed = null;
    this.drawer = h("div.drawer", { id: feedId, hidden: true });
    this.root = h(
      "article.card",
      { "data-test-id": run.id },
      h("a", { href: pageOf(run.id), tabindex: "-1", "aria-hidden": "true" }, this.screen.root),
      this.parts.marks.root,
      h(
        "div.card-body",
        h("header.card-head", h("h2", this.link), this.parts.badge.root),
        h("p.meta", this.host, h("span.sep", { "aria-hidden": "true" }, "·"), this.elapsed),
        h("div.card-progress", h("div.card-phase", this.parts.stepper.root, this.message), this.parts.ring.root),
        h("footer.card-foot", this.toggle, this.cancel),
      ),
      this.drawer,
    );
  }

  /** @param {boolean} opened */
  setOpened(opened) {
    this.opened = opened;
    if (opened && !this.feed) {
      this.feed = new Feed(`Live Feed of ${this.link.textContent}`);
      this.drawer.append(this.feed.root);
    }
    this.drawer.hidden = !opened;
    setAttr(this.toggle, "aria-expanded", String(opened));
    this.actions.open(this.id, opened);
    if (opened) this.root.scrollIntoView({ block: "nearest" });
  }

  /** @param {ShownRun} run */
  update(run) {
    const { snapshot, feed } = run;
    const title = titleOf(snapshot);
    this.createdAt = snapshot.createdAt;
    this.status = snapshot.status;
    setAttr(this.root, "data-status", snapshot.status);
    setText(this.link, title);
    setAttr(this.link, "title", title);
    setText(this.host, host(snapshot));
    setAttr(this.host, "title", snapshot.gameUrl);
    setText(this.message, snapshot.message ?? "");
    setAttr(this.message, "title", snapshot.message);
    setText(this.count, feed.events ? `(${feed.events.toLocaleString("en")})` : "");
    setAttr(this.cancel, "hidden", ended(snapshot));
    for (const part of Object.values(this.parts)) part.update(snapshot);
    this.screen.update(snapshot);
    this.tick(run, now());
    if (!this.feed) return;
    setAttr(this.feed.scroller, "aria-label", `Live Feed of ${title}`);
    // A closed feed is updated only to drop the lines that its run has dropped.
    if (this.opened || this.feed.generation !== feed.generation) this.feed.update(run);
  }

  /** @param {ShownRun} run @param {number} at ms, by the edge's clock */
  tick(run, at) {
    setText(this.elapsed, elapsed(run.snapshot, at));
  }

  /** @param {Blob} picture */
  showPicture(picture) {
    this.screen.show(picture, "");
  }
}
