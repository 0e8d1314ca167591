/** The page of one run: the verdict, a large screenshot, the feed, and the score with its reasons. */

import { ended } from "../client/fold.js";
import { now } from "../client/now.js";
import { BASE, pageOf } from "../client/rpc.js";
import { behind } from "../client/runs.js";
import { feedState, seqOf, withFeedState } from "./address.js";
import { jobOf, rubricOf, shown } from "./coerce.js";
import { when } from "./dates.js";
import { historyOf } from "./addresses.js";
import { h, icon, setAttr, setText, setTime } from "./dom.js";
import { Feed } from "./feed.js";
import { Fences } from "./fence.js";
import { duration, elapsed, host, reasonOf, titleOf, webUrl } from "./format.js";
import { remember } from "./history.js";
import { labelChips } from "./labels.js";
import { MetricTable } from "./metric-table.js";
import { badge, cancelButton, marks, ring, rubricList, screen } from "./parts.js";
import { Phases } from "./phases.js";
import { ProblemList } from "./problem-list.js";

/** @implements {View} */
export class RunPage {
  /**
   * @param {string} testId
   * @param {Actions} actions
   */
  constructor(testId, actions) {
    /** @type {ShownRun|null} */
    this.run = null;
    /** The event whose line the address asks for; 0: none. */
    this.wanted = 0;
    this.parts = { badge: badge(), marks: marks(), ring: ring({ large: true }), labels: labelChips() };
    this.hasPicture = false;
    this.screen = screen({ onShown: () => this.drawFrame((this.hasPicture = true)) });
    this.feed = new Feed("Live Feed", { say: actions.say, onNarrow: () => this.rememberFeed() });
    this.phases = new Phases((seq) => this.feed.reveal(seq));
    this.problems = new ProblemList((seq) => this.feed.reveal(seq));
    this.metrics = new MetricTable();
    this.past = h("a.past"); // the title leads to the game's history
    this.title = h("h1", this.past);
    setText(this.past, "…");
    this.address = h("a.host", { rel: "noreferrer noopener", target: "_blank" });
    this.elapsed = h("span.elapsed");
    this.when = h("time.when");
    this.message = h("p.message");
    this.count = h("span.count");
    this.problem = h("p.form-error", { role: "alert" });
    this.cancel = cancelButton(testId, actions, (reason) => setText(this.problem, reason), "secondary");
    this.again = h("button.secondary", { hidden: true, onclick: () => this.testAgain(actions) }, "Test again");
    this.failure = h("section.failure", { hidden: true });
    this.verdictWords = h("p.verdict-words");
    this.rubric = h("div.verdict-parts");
    this.verdict = h("section.verdict", { hidden: true, "aria-label": "Score" });
    /** @type {Partial<Shown>} */
    this.drawnScore = {};
    this.frame = h("div.frame");
    this.facts = h("dl.run-facts");
    this.drawnFacts = "";
    this.may = { cancel: actions.may("cancel"), submit: actions.may("submit") };
    this.mayList = actions.may("list");
    this.share = actions.share(testId);
    this.back = h("a.back", { href: BASE, hidden: !this.mayList }, icon("back"), "All tests");
    this.clocks = /** @type {Fences<[Shown, number]>} */ (new Fences(testId));
    this.fences = /** @type {Fences<[Shown, ShownRun, number]>} */ (new Fences(testId));
    this.root = h("main", { id: "main", class: "run" }, this.back, this.head(), this.body());
    this.readAddress();
    for (const type of ["popstate", "hashchange"]) addEventListener(type, () => this.readAddress());
  }

  head() {
    const { badge, marks } = this.parts;
    const sep = () => h("span.sep", { "aria-hidden": "true" }, "·");
    this.fences.add("The title", this.title, this.drawTitle);
    return h(
      "header.run-head",
      h("div.run-title", this.title, this.part("The status", badge), h("span.run-actions", this.share, this.cancel, this.again)),
      h(
        "p.meta",
        this.fences.add("The address", this.address, this.drawAddress),
        sep(),
        this.clocks.add("The time", this.elapsed, (run, at) => setText(this.elapsed, elapsed(run, at))),
        sep(),
        this.clocks.add("The date", this.when, this.drawWhen),
        this.part("The mark", marks),
      ),
      this.part("The labels", this.parts.labels),
      this.problem,
      this.phaseLine(),
    );
  }

  phaseLine() {
    this.clocks.add("The time line", this.phases.root, (_, at) => this.phases.draw(at));
    return this.fences.add("The time line", this.phases.root, (_, run, at) => this.phases.update(run, at));
  }

  body() {
    this.frame.append(this.part("The picture", this.screen), this.message);
    this.verdict.append(this.parts.ring.root, h("div.verdict-body", this.verdictWords, this.rubric));
    return h(
      "div.run-columns",
      h(
        "div.run-left",
        this.fences.add("The reason", this.failure, this.drawFailure),
        this.fences.add("The score", this.verdict, this.drawVerdict),
        this.fences.add("The picture", this.frame, () => this.drawFrame()),
        this.fences.add("The metrics", this.metrics.root, (run) => this.metrics.update(run)),
        this.fences.add("The problems", this.problems.root, (_, run) => this.problems.update(run)),
        this.clocks.add("The facts", this.facts, this.drawFacts),
      ),
      h(
        "section.run-feed",
        h("h2", "Live Feed ", this.count),
        this.fences.add("The feed", this.feed.root, (_, run) => this.feed.update(run)),
      ),
    );
  }

  /** @param {string} name @param {Part} part */
  part(name, part) {
    return this.fences.add(name, part.root, (run, _, at) => part.update(run, at));
  }

  /** Submits the game again, with the same time to play, seed, project and labels, and goes to the new run. @param {Actions} actions */
  async testAgain(actions) {
    const { run } = this;
    if (!run) return;
    this.again.disabled = true;
    try {
      const { gameUrl, title } = run.snapshot;
      const job = jobOf(run.snapshot, this.firstEvent ?? (await actions.firstEvent(run.id)));
      const about = { gameUrl, ...(title && { title }), ...job };
      location.assign(pageOf(await actions.submit(about)));
    } catch (error) {
      setText(this.problem, reasonOf(error));
    }
    this.again.disabled = false;
  }

  /** The run's first event, if it is here. */
  get firstEvent() {
    const first = this.run?.feed.log[0];
    return first?.type === "status" && first.status === "queued" ? first : undefined;
  }

  /** There is no such run, or it may not be watched: shows only the reason. @param {string} reason @param {string} [code] */
  refuse(reason, code) {
    const title = code === "forbidden" ? "You may not watch this test" : "No such test";
    document.title = `${title} · testcast`;
    this.root.replaceChildren(
      this.back,
      h(
        "section.empty",
        h("h1", title),
        h("p", { role: "alert" }, reason),
        this.mayList && h("a.secondary", { href: BASE }, "See all tests"),
      ),
    );
  }

  /** @param {ShownRun} run */
  update(run) {
    if (!run.snapshot.createdAt) return; // nothing is known yet, not even that it is queued
    this.run = run;
    const snapshot = shown(run.snapshot);
    setAttr(this.root, "data-test-id", run.id);
    setAttr(this.root, "data-status", snapshot.look);
    setText(this.count, run.feed.events ? `(${run.feed.events.toLocaleString("en")})` : "");
    this.cancel.hidden = !this.may.cancel || ended(snapshot) || !run.feed.events;
    this.again.hidden = !this.may.submit || !ended(snapshot) || !webUrl(snapshot.gameUrl);
    this.fences.draw(snapshot, run, now());
    this.tick(run, now());
    this.goToWanted();
  }

  /** @param {Shown} run */
  drawTitle = (run) => {
    const title = titleOf(run);
    document.title = `${title} · ${run.look} · testcast`;
    setText(this.past, title);
    setAttr(this.past, "href", this.mayList && run.gameUrl ? historyOf(run.gameUrl) : null);
    setAttr(this.past, "title", this.past.hasAttribute("href") ? "All tests of this game" : null);
  };

  /** @param {Shown} run */
  drawAddress = (run) => {
    setText(this.address, run.gameUrl ?? "");
    setAttr(this.address, "href", webUrl(run.gameUrl)?.href);
  };

  /** @param {Shown} run @param {number} at */
  drawWhen = (run, at) => setTime(this.when, run.createdAt, when(run.createdAt, at));

  /** @param {Shown} run */
  drawFailure = (run) => {
    this.failure.hidden = run.status !== "failed";
    if (this.failure.hidden) return;
    const cancelled = run.look === "cancelled";
    setAttr(this.failure, "data-look", run.look);
    setAttr(this.failure, "aria-label", cancelled ? "Cancelled" : "Why it failed");
    const heading = h("h2", icon(cancelled ? "cancelled" : "error"), cancelled ? "Cancelled" : "Failed");
    const why = run.error || run.message;
    const known = cancelled && /^cancell?ed\.?$/i.test(why.trim());
    this.failure.replaceChildren(heading, known ? "" : h("p", why));
  };

  /** @param {Shown} run */
  drawVerdict = (run) => {
    this.verdict.hidden = run.score === undefined;
    this.parts.ring.update(run, 0);
    setText(this.verdictWords, run.message);
    if (this.drawnScore.score === run.score && this.drawnScore.metrics === run.metrics) return;
    this.drawnScore = run;
    this.rubric.replaceChildren(rubricList(rubricOf(run)));
  };

  /** A run without pictures gets no space for one. @param {boolean} [picture] */
  drawFrame(picture = this.hasPicture) {
    const run = this.run && shown(this.run.snapshot);
    const said = run?.status === "failed" || run?.score !== undefined; // the message stands elsewhere
    this.screen.root.hidden = !picture;
    setText(this.message, run?.message ?? "");
    this.message.hidden = !run || said;
    this.frame.hidden = !picture && this.message.hidden;
  }

  /** @param {ShownRun} run @param {number} at ms, by the edge's clock */
  tick(run, at) {
    this.clocks.draw(shown(run.snapshot), at);
  }

  /** @param {Shown} run @param {number} at */
  drawFacts = (run, at) => {
    const { budgetSeconds, seed } = jobOf(this.run?.snapshot, this.firstEvent);
    /** @type {Array<[string, string, number?]>} */
    const all = [
      ["Submitted", when(run.createdAt, at), run.createdAt],
      ["Started", run.startedAt ? when(run.startedAt, at) : "", run.startedAt],
      ["Ended", run.finishedAt ? when(run.finishedAt, at) : "", run.finishedAt],
      ["Waited", run.startedAt ? duration(run.startedAt - run.createdAt) : ""],
      ["Time to play", budgetSeconds === undefined ? "" : `${budgetSeconds} s`],
      ["Seed", seed === undefined ? "" : String(seed)],
      ["Attempt", String(run.attempt ?? "")],
      ["Worker", run.worker ?? ""],
      ["Project", run.project ?? ""],
      ["Test id", run.testId],
    ];
    const facts = all.filter(([, value]) => value);
    if (this.drawnFacts === String(facts)) return;
    this.drawnFacts = String(facts);
    const rows = facts.map(([name, value, ms]) => {
      const said = ms === undefined ? value : h("time");
      if (said instanceof HTMLElement) setTime(said, ms, value);
      return h("div", h("dt", name), h("dd", said));
    });
    this.facts.replaceChildren(...rows);
  };

  /** @param {Blob} picture */
  showPicture(picture) {
    return this.screen.show(picture, this.run ? `The newest screenshot of ${host(shown(this.run.snapshot))}` : "");
  }

  // ── the address ──

  readAddress() {
    const { group, sought } = feedState(location.search);
    this.feed.tools.set(group, sought);
    this.wanted = seqOf(location.hash);
    if (this.run) this.goToWanted();
  }

  rememberFeed() {
    const { group, search } = this.feed.tools;
    remember(withFeedState(location.search, { group, sought: search.value.trim() }));
  }

  /** Shows the line that the address asks for, as soon as it is here. */
  goToWanted() {
    const { run, wanted } = this;
    if (!run || !wanted || run.refusal !== null) return;
    const replayed = run.epoch !== null && run.seq >= run.syncedTo; // what was published before the page was opened
    if (!replayed || (run.seq < wanted && behind(run))) return;
    this.wanted = 0;
    if (!this.feed.reveal(wanted)) setText(this.problem, `This run has no event ${wanted}, or it is no longer kept.`);
  }
}
