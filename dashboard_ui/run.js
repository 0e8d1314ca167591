/** The page of one run: a large picture, the feed, the score with its reasons. */

import { cancelButton } from "./card.js";
import { h, icon, setAttr, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { ended } from "./fold.js";
import { clock, count, duration, elapsed, host, reasonOf, titleOf, webUrl } from "./format.js";
import { now } from "./now.js";
import { badge, marks, ring, rubricList, rubricOf, screen } from "./parts.js";
import { Phases } from "./phases.js";
import { note, problems } from "./problems.js";

/** @implements {View} */
export class RunPage {
  /**
   * @param {string} testId
   * @param {Actions} actions
   */
  constructor(testId, actions) {
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
    /** @type {Snapshot|null} */
    this.snapshot = null;
    this.again = h("button.secondary", { hidden: true }, "Test again");
    this.again.addEventListener("click", async () => {
      this.again.disabled = true;
      try {
        const { gameUrl, title } = /** @type {Snapshot} */ (this.snapshot);
        location.assign(`/tests/${await actions.submit({ gameUrl, ...(title && { title }) })}`);
      } catch (error) {
        setText(this.problem, reasonOf(error));
      }
      this.again.disabled = false;
    });
    this.failure = h("section.failure", { hidden: true, "aria-label": "Why it failed" });
    this.score = h("section.verdict", { hidden: true, "aria-label": "Score" });
    /** @type {unknown} */
    this.drawnScore = undefined;
    this.facts = h("dl.run-facts");
    this.drawnFacts = "";

    this.body = h(
      "div.run-columns",
      h("div.run-left", this.failure, h("div.frame", this.screen.root, this.message), this.score, this.problems.root, this.facts),
      h("section.run-feed", h("h2", "Live Feed ", this.count), this.feed.root),
    );
    this.head = h(
      "header.run-head",
      h("div.run-title", this.title, this.parts.badge.root, h("span.run-actions", this.cancel, this.again)),
      h("p.meta", this.address, h("span.sep", { "aria-hidden": "true" }, "·"), this.elapsed, this.parts.marks.root),
      this.problem,
      this.phases.root,
    );
    this.root = h(
      "main",
      { id: "main", class: "run" },
      h("a.back", { href: "/" }, icon("back"), "All tests"),
      this.head,
      this.body,
    );
  }

  /** There is no such run: says why, and shows nothing else. @param {string} reason */
  refuse(reason) {
    document.title = "No such test · testcast";
    this.root.replaceChildren(
      /** @type {Node} */ (this.root.firstChild),
      h(
        "section.empty",
        h("h1", "No such test"),
        h("p", { role: "alert" }, reason),
        h("a.secondary", { href: "/" }, "See all tests"),
      ),
    );
  }

  /** @param {Run} run */
  update(run) {
    const { snapshot } = run;
    if (!snapshot.createdAt) return; // nothing is known yet: an empty page is more honest than "queued"
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
    setText(this.count, run.events ? `(${run.events.toLocaleString("en")})` : "");
    this.cancel.hidden = ended(snapshot) || !run.events;
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
    this.message.hidden = !this.failure.hidden; // it would say the same
    if (snapshot.status === "failed") this.failure.replaceChildren(h("h2", icon("error"), "Failed"), h("p", reason));
    this.score.hidden = snapshot.score === undefined;
    if (snapshot.score === undefined || this.drawnScore === snapshot.metrics) return;
    this.drawnScore = snapshot.metrics;
    const rubric = rubricOf(snapshot);
    this.score.replaceChildren(this.parts.ring.root, rubricList(rubric));
  }

  /** @param {Run} run @param {number} at ms, by the edge's clock */
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
    this.screen.show(picture, this.snapshot ? `The newest picture of ${host(this.snapshot)}` : "");
  }
}

/** What the game did wrong, each once; a click shows the first in the feed. */
class ProblemList {
  /** @param {(seq: number) => void} reveal shows an event in the feed */
  constructor(reveal) {
    this.reveal = reveal;
    this.all = problems();
    this.generation = -1;
    this.taken = 0;
    this.title = h("h2");
    this.list = h("ol");
    this.more = h("p.meta", { hidden: true });
    /** @type {Map<Problem, {root: HTMLElement, times: HTMLElement}>} */
    this.items = new Map();
    this.root = h("section.problems", { hidden: true, "aria-label": "Problems" }, this.title, this.list, this.more);
  }

  /** @param {Run} run */
  update(run) {
    if (run.generation !== this.generation) {
      Object.assign(this, { generation: run.generation, all: problems(), taken: 0 });
      this.items.clear();
      this.list.replaceChildren();
    }
    if (this.taken === run.log.length) return;
    for (; this.taken < run.log.length; this.taken++) note(this.all, run.log[this.taken]);
    const { found, more } = this.all;
    this.root.hidden = found.size === 0;
    setText(this.title, count(found.size, "problem"));
    for (const problem of found.values()) {
      const { times } = this.items.get(problem) ?? this.add(problem);
      setText(times, problem.count > 1 ? `× ${problem.count.toLocaleString("en")}` : "");
    }
    this.more.hidden = more === 0;
    setText(this.more, `${count(more, "more line")} in the feed`);
  }

  /** @param {Problem} problem */
  add(problem) {
    const times = h("span.problem-count");
    const first = h("time.line-time", clock(problem.time));
    const words = h("span.problem-text", { title: problem.text }, problem.text);
    const name = h("span.problem-name", problem.name);
    const root = h("li", h("button.problem", { onclick: () => this.reveal(problem.seq) }, first, name, times, words));
    this.list.append(root);
    const item = { root, times };
    this.items.set(problem, item);
    return item;
  }
}
