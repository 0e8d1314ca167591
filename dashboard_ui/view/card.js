/** One run as a card of the main page. */

import { ended } from "../client/fold.js";
import { now } from "../client/now.js";
import { pageOf } from "../client/rpc.js";
import { shown } from "./coerce.js";
import { when } from "./dates.js";
import { h, icon, setAttr, setText, setTime } from "./dom.js";
import { Fences, report } from "./fence.js";
import { elapsed, host, titleOf } from "./format.js";
import { labelChips } from "./labels.js";
import { pinButton } from "./keep.js";
import { notifyButton } from "./notify.js";
import { badge, cancelButton, marks, ring, screen, stepper } from "./parts.js";

/** The modules of a feed: no part of the first load, since most feeds are never opened. */
export const loadFeed = () => import("./feed.js");

/** @implements {View} */
export class Card {
  /** @param {ShownRun} run @param {Actions} actions */
  constructor(run, actions) {
    this.id = run.id;
    this.actions = actions;
    this.opened = false;
    /** As it was last drawn. @type {ShownRun|null} */
    this.run = null;
    /** Determines its place in the list. */
    this.createdAt = 0;
    this.status = "";
    const feedId = `feed-${run.id}`;
    this.link = h("a", { href: pageOf(run.id) });
    this.host = h("span.host");
    this.elapsed = h("span.elapsed");
    this.when = h("time.when");
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
    this.pin = pinButton(run.id, actions, (reason) => setText(this.message, reason));
    this.notify = notifyButton(run.id, actions, (reason) => setText(this.message, reason || this.said), { small: true });
    this.said = "";
    this.parts = { badge: badge(), marks: marks(), stepper: stepper(), ring: ring(), labels: labelChips({ most: 2 }) };
    this.screen = screen();
    /** Made when it is first opened. @type {import("./feed.js").Feed|null} */
    this.feed = null;
    this.drawer = h("div.drawer", { id: feedId, hidden: true });
    this.clocks = /** @type {Fences<[Shown, number]>} */ (new Fences(run.id));
    this.fences = /** @type {Fences<[Shown, ShownRun, number]>} */ (new Fences(run.id));
    this.root = h(
      "article.card",
      { "data-test-id": run.id },
      h("a", { href: pageOf(run.id), tabindex: "-1", "aria-hidden": "true" }, this.part("The picture", this.screen)),
      this.part("The mark", this.parts.marks),
      this.part("The labels", this.parts.labels),
      h(
        "div.card-body",
        this.head(),
        this.clocks.add("The times", this.meta(), this.drawClock),
        this.progress(),
        h("footer.card-foot", this.toggle, this.part("The pin", this.pin), h("span.card-do", this.cancel, this.part("The notification", this.notify))),
      ),
      this.fences.add("The feed", this.drawer, this.drawFeed),
    );
  }

  /** @param {string} name @param {Part} part */
  part(name, part) {
    return this.fences.add(name, part.root, (run, _, at) => part.update(run, at));
  }

  head() {
    const title = this.fences.add("The title", this.link, this.drawTitle);
    return h("header.card-head", h("h2", title), this.part("The status", this.parts.badge));
  }

  progress() {
    const { stepper, ring } = this.parts;
    const phase = h("div.card-phase", this.part("The phase", stepper), this.drawnMessage());
    return h("div.card-progress", phase, this.part("The score", ring));
  }

  meta() {
    const sep = () => h("span.sep", { "aria-hidden": "true" }, "·");
    return h("p.meta", this.host, sep(), this.elapsed, sep(), this.when);
  }

  drawnMessage() {
    return this.fences.add("The message", this.message, ({ message }) => {
      this.said = message;
      setText(this.message, message);
      setAttr(this.message, "title", message || null);
    });
  }

  /** @param {boolean} opened @param {{quietly?: boolean}} [how] quietly: without scrolling to it */
  setOpened(opened, { quietly = false } = {}) {
    this.opened = opened;
    this.drawer.hidden = !opened;
    setAttr(this.toggle, "aria-expanded", String(opened));
    this.actions.open(this.id, opened);
    if (opened) void this.showFeed(quietly);
  }

  /** @param {boolean} quietly */
  async showFeed(quietly) {
    try {
      const { Feed } = await loadFeed();
      if (!this.feed) {
        const linkTo = (/** @type {number} */ seq) => `${this.link.getAttribute("href")}#${seq}`;
        this.feed = new Feed(`Live Feed of ${this.link.textContent}`, { linkTo });
        this.drawer.replaceChildren(this.feed.root);
        if (this.run) this.update(this.run);
      }
    } catch (error) {
      report(`The feed of ${this.id}`, error);
      this.drawer.replaceChildren(h("p.feed-empty", "The edge does not answer. Open the feed again when it does."));
    }
    if (this.opened && !quietly) this.root.scrollIntoView({ block: "nearest" });
  }

  /** @param {ShownRun} run */
  update(run) {
    const snapshot = shown(run.snapshot);
    this.run = run;
    this.createdAt = run.snapshot.createdAt;
    this.status = run.snapshot.status;
    setAttr(this.root, "data-status", snapshot.look);
    setText(this.count, run.feed.events ? `(${run.feed.events.toLocaleString("en")})` : "");
    setAttr(this.cancel, "hidden", ended(snapshot) || !this.actions.may("cancel"));
    this.fences.draw(snapshot, run, now());
    this.tick(run, now());
  }

  /** @param {Shown} run */
  drawTitle = (run) => {
    const title = titleOf(run);
    setText(this.link, title);
    setAttr(this.link, "title", title);
    if (this.feed) setAttr(this.feed.scroller, "aria-label", `Live Feed of ${title}`);
  };

  /** @param {Shown} run @param {number} at */
  drawClock = (run, at) => {
    setText(this.host, host(run));
    setAttr(this.host, "title", run.gameUrl);
    setText(this.elapsed, elapsed(run, at));
    setTime(this.when, run.createdAt || undefined, run.createdAt ? when(run.createdAt, at) : "");
  };

  /** @param {Shown} _ @param {ShownRun} run */
  drawFeed = (_, run) => {
    // A closed feed is updated only to drop the lines that its run has dropped.
    if (this.feed && (this.opened || this.feed.generation !== run.feed.generation)) this.feed.update(run);
  };

  /** @param {ShownRun} run @param {number} at ms, by the edge's clock */
  tick(run, at) {
    this.clocks.draw(shown(run.snapshot), at);
  }

  /** @param {Blob} picture */
  showPicture(picture) {
    return this.screen.show(picture, "");
  }

  showNone() {
    this.screen.showNone();
  }
}
