/** The page of one run: a large screenshot, the feed, and the score with its reasons. */

import { ended } from "../client/fold.js";
import { now } from "../client/now.js";
import { BASE, pageOf } from "../client/rpc.js";
import { h, icon, setAttr, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { clock, duration, elapsed, host, reasonOf, titleOf, webUrl } from "./format.js";
import { badge, cancelButton, marks, ring, rubricList, rubricOf, screen } from "./parts.js";
import { Phases } from "./phases.js";
import { ProblemList } from "./problem-list.js";

/** @implements {View} */
export class RunPage {
  /**
   * @param {string} testId
   * @param {Actions} actions
   */
  constructor(testId, actions) {
    /** @type {Snapshot|null} */
    this.snapshot = null;
    this.parts = { badge: badge(), marks: marks(), ring: ring({ large: true }) };
    this.screen = screen();
    this.feed = new Feed("Live Feed", { say: actions.say });
    this.phases = new Phases((seq) => this.feed.reveal(seq));
    this.problems = new ProblemList((seq) => this.feed.reveal(seq));
    this.title = h("h1", "…");
    this.address = h("a.host", { rel: "noreferrer noopener", target: "_blank" });
    this.elapsed = h("span.elapsed");
    this.message = h("p.message");
    this.count = h("span.count");
    this.problem = h("p.form-error", { role: "alert" });
    this.cancel = cancelButton(testId, actions, (reason) => setText(this.problem, reason), "secondary");
    this.again = h("button.secondary", { hidden: true, onclick: () => this.testAgain(actions) }, "Test again");
    this.failure = h("section.failure", { hidden: true, "aria-label": "Why it failed" });
    this.score = h("section.verdict", { hidden: true, "aria-label": "Score" });
    /** @type {unknown} */
    this.drawnScore = undefined;
    this.facts = h("dl.run-facts");
    this.drawnFacts = "";
    this.root = h(
      "main",
      { id: "main", class: "run" },
      h("a.back", { href: BASE }, icon("back"), "All tests"),
      this.head(),
      this.body(),
    );
  }

  head() {
    const { badge, marks } = this.parts;
    return h(
      "header.run-head",
      h("div.run-title", this.title, badge.root, h("span.run-actions", this.cancel, this.again)),
      h("p.meta", this.address, h("span.sep", { "aria-hidden": "true" }, "·"), this.elapsed, marks.root),
      this.problem,
      this.phases.root,
    );
  }

  body() {
    const frame = h("div.frame", this.screen.root, this.message);
    return h(
      "div.run-columns",
      h("div.run-left", this.failure, frame, this.score, this.problems.root, this.facts),
      h("section.run-feed", h("h2", "Live Feed ", this.count), this.feed.root),
    );
  }

  /** Submits the game again and goes to the new run. @param {Actions} actions */
  async testAgain(actions) {
    this.again.disabled = true;
    try {
      const { gameUrl, title } = /** @type {Snapshot} */ (this.snapshot);
      location.assign(pageOf(await actions.submit({ gameUrl, ...(title && { title }) })));
    } catch (error) {
      setText(this.problem, reasonOf(error));
    }
    this.again.disabled = false;
  }

  /** There is no such run: shows only the reason. @param {string} reason */
  refuse(reason) {
    document.title = "No such test · testcast";
    this.root.replaceChildren(
      /** @type {Node} */ (this.root.firstChild),
      h(
        "section.empty",
        h("h1", "No such test"),
        h("p", { role: "alert" }, reason),
        h("a.secondary", { href: BASE }, "See all tests"),
      ),
    );
  }

  /** @param {ShownRun} run */
  update(run) {
    const { snapshot, feed } = run;
    if (!snapshot.createdAt) return; // nothing is known yet, not even that it is queued
    this.snapshot = snapshot;
    const title = titleOf(snapshot);
    document.title = `${title} · ${snapshot.status} · testcast`;
    setAttr(this.root, "data-test-id", run.id);
    setAttr(this.root, "data-status", snapshot.status);
    setText(this.title, title);
    setText(this.address, snapshot.gameUrl ?? "");
    setAttr(this.address, "href", webUrl(snapshot.gameUrl)?.href);
    setText(this.message, snapshot.message ?? "");
    setAttr(this.message, "title", snapshot.message);
    setText(this.count, feed.events ? `(${feed.events.toLocaleString("en")})` : "");
    this.cancel.hidden = ended(snapshot) || !feed.events;
    this.again.hidden = !ended(snapshot) || !webUrl(snapshot.gameUrl);
    for (const part of Object.values(this.parts)) part.update(snapshot);
    this.screen.update(snapshot);
    this.drawEnd(snapshot);
    this.phases.update(run, now());
    this.tick(run, now());
    this.feed.update(run);
    this.problems.update(run);
  }

  /** @param {Snapshot} snapshot */
  drawEnd(snapshot) {
    const reason = snapshot.error || snapshot.message || "";
    this.failure.hidden = snapshot.status !== "failed";
    this.message.hidden = !this.failure.hidden; // both would show the same text
    if (snapshot.status === "failed") this.failure.replaceChildren(h("h2", icon("error"), "Failed"), h("p", reason));
    this.score.hidden = snapshot.score === undefined;
    if (snapshot.score === undefined || this.drawnScore === snapshot.metrics) return;
    this.drawnScore = snapshot.metrics;
    const rubric = rubricOf(snapshot);
    this.score.replaceChildren(this.parts.ring.root, rubricList(rubric));
  }

  /** @param {ShownRun} run @param {number} at ms, by the edge's clock */
  tick({ snapshot }, at) {
    setText(this.elapsed, elapsed(snapshot, at));
    this.phases.draw(at);
    const facts = [
      ["Submitted", clock(snapshot.createdAt)],
      ["Waited", snapshot.startedAt ? duration(snapshot.startedAt - snapshot.createdAt) : ""],
      ["Attempt", String(snapshot.attempt || "")],
      ["Worker", snapshot.worker ?? ""],
      ["Test id", snapshot.testId],
    ].filter(([, value]) => value);
    if (this.drawnFacts === String(facts)) return;
    this.drawnFacts = String(facts);
    this.facts.replaceChildren(...facts.map(([name, value]) => h("div", h("dt", name), h("dd", value))));
  }

  /** @param {Blob} picture */
  showPicture(picture) {
    this.screen.show(picture, this.snapshot ? `The newest screenshot of ${host(this.snapshot)}` : "");
  }
}
