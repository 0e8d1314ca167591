/**
 * The page of one run: the verdict, the picture with its time line, the feed, and the score with its reasons. Picture, feed,
 * phase, elapsed time, message and score are those of the moment that the recorder shows.
 */

import { ended } from "../client/fold.js";
import { now } from "../client/now.js";
import { BASE, pageOf } from "../client/rpc.js";
import { behind } from "../client/runs.js";
import { feedState, momentOf, withFeedState } from "./address.js";
import { jobOf, rubricOf, shown } from "./coerce.js";
import { when } from "./dates.js";
import { historyOf } from "./addresses.js";
import { h, icon, setAttr, setText, setTime } from "./dom.js";
import { ExportMenu } from "./export-menu.js";
import { Feed } from "./feed.js";
import { Fences } from "./fence.js";
import { duration, elapsed, host, reasonOf, titleOf, webUrl } from "./format.js";
import { remember } from "./history.js";
import { labelChips } from "./labels.js";
import { hideWhileLoading, isWhole } from "./loading.js";
import { DeleteButton, pinButton } from "./keep.js";
import { Menu } from "./menu.js";
import { notifyButton } from "./notify.js";
import { badge, cancelButton, marks, ring, rubricList } from "./parts.js";
import { Phases } from "./phases.js";
import { ProblemList } from "./problem-list.js";
import { Recorder } from "./recorder/recorder.js";
import { refusal } from "./refusal.js";
import { ReportPlace } from "./report-place.js";

/** @typedef {import("./recorder/playhead.js").ShownMoment} ShownMoment */

/** How often the feed follows while the handle is dragged, ms. */
const FOLLOW_MS = 150;

/** @implements {View} */
export class RunPage {
  /**
   * @param {string} testId
   * @param {Actions} actions
   */
  constructor(testId, actions) {
    /** @type {ShownRun|null} */
    this.run = null;
    this.drawnTo = 0; // the newest event that is drawn
    /** The moment that the address asks for, until it is shown. @type {{seq: number, number: number}|null} */
    this.wanted = null;
    this.parts = { badge: badge(), marks: marks(), ring: ring({ large: true }), labels: labelChips({ linked: BASE !== "" && actions.may("list") }) };
    this.recorder = new Recorder(testId, {
      frames: actions.frames,
      onMoment: (shown, { byReader }) => this.drawMoment(shown, byReader),
      onPicture: () => this.feed.reveal(this.recorder.eventSeq),
      say: actions.say,
    });
    const choose = (/** @type {number} */ seq) => this.choose(seq);
    this.feed = new Feed("Live Feed", {
      say: actions.say,
      onNarrow: () => this.rememberFeed(),
      onLine: choose,
      onFollow: () => this.recorder.goLive(),
    });
    this.phases = new Phases(choose);
    this.problems = new ProblemList(choose);
    this.past = h("a.past"); // the title leads to the game's history
    this.title = h("h1", this.past);
    setText(this.past, "…");
    this.address = h("a.host", { rel: "noreferrer noopener", target: "_blank" });
    this.elapsed = h("span.elapsed");
    this.when = h("time.when");
    this.message = h("p.message");
    this.count = h("span.count");
    this.problem = refusal();
    this.cancel = cancelButton(testId, actions, this.problem.say, "secondary");
    this.notify = notifyButton(testId, actions, this.problem.say);
    this.again = h("button.secondary", { hidden: true, onclick: () => this.testAgain(actions) }, "Test again");
    this.pin = pinButton(testId, actions, this.problem.say, "secondary");
    this.menu = new Menu("More");
    this.delete = new DeleteButton(testId, actions);
    if (actions.may("delete")) this.menu.add(this.delete.root);
    this.failure = h("section.failure", { hidden: true });
    this.verdictWords = h("p.verdict-words");
    this.rubric = h("div.verdict-parts");
    this.verdict = h("section.verdict", { hidden: true, "aria-label": "Score" });
    /** In the place of the score and the failure at a moment when they were not known. */
    this.noVerdict = h("p.not-yet", { hidden: true });
    this.noFailure = h("p.not-yet", { hidden: true });
    /** @type {Partial<Shown>} */
    this.drawnScore = {};
    this.frame = h("div.frame");
    const { frame, rubric } = this;
    this.report = new ReportPlace(testId, actions, { frame, rubric, choose: (seq, number) => this.choose(seq, number), onLoaded: () => this.run && this.update(this.run) });
    this.facts = h("dl.run-facts");
    this.drawnFacts = "";
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.following = undefined;
    this.may = { cancel: actions.may("cancel"), submit: actions.may("submit") };
    this.mayList = actions.may("list");
    this.offline = actions.offline ?? false;
    this.share = actions.share(testId);
    this.export = new ExportMenu(testId, {
      frames: actions.frames,
      moment: () => (this.recorder.head.live ? 0 : this.recorder.eventSeq),
      events: () => this.run?.feed.log ?? [],
      edge: !actions.offline,
    });
    this.back = h("a.back", { href: BASE, hidden: !this.mayList }, icon("back"), "All tests");
    this.clocks = /** @type {Fences<[Shown, number]>} */ (new Fences(testId));
    this.fences = /** @type {Fences<[Shown, ShownRun, number]>} */ (new Fences(testId));
    /** What shows the moment: the run then, or null for now; whether the reader has chosen it; the run then, or now. */
    this.moments = /** @type {Fences<[Shown|null, boolean, Shown]>} */ (new Fences(testId));
    this.root = h("main", { id: "main", class: "run" }, this.back, this.head(), this.body());
    this.show = hideWhileLoading(this.root);
    this.readAddress();
    for (const type of ["popstate", "hashchange"]) addEventListener(type, () => this.readAddress());
  }

  head() {
    const { badge, marks } = this.parts;
    const sep = () => h("span.sep", { "aria-hidden": "true" }, "·");
    this.fences.add("The title", this.title, this.drawTitle);
    return h(
      "header.run-head",
      h("div.run-title", this.title, this.part("The status", badge), this.buttons()),
      h(
        "p.meta",
        this.fences.add("The address", this.address, this.drawAddress),
        sep(),
        this.clocks.add("The time", this.elapsed, (run, at) => this.drawElapsed(run, at)),
        sep(),
        this.clocks.add("The date", this.when, this.drawWhen),
        this.part("The mark", marks),
      ),
      this.part("The labels", this.parts.labels),
      this.phaseLine(),
    );
  }

  buttons() {
    const pin = this.part("The pin", this.pin);
    const notify = this.offline ? "" : this.part("The notification", this.notify);
    this.fences.add("The menu", this.menu.root, (run) => this.delete.update(run));
    const { menu, problem } = this;
    return h("span.run-actions", notify, this.export.root, this.share, pin, this.cancel, this.again, menu.root, problem.root, this.delete.dialog);
  }

  phaseLine() {
    this.clocks.add("The time line", this.phases.root, (_, at) => this.phases.draw(at));
    this.moments.add("The time line", this.phases.root, (past, _, run) => this.phases.showMoment(past, past ? undefined : run.phase));
    return this.fences.add("The time line", this.phases.root, (_, run, at) => this.phases.update(run, at));
  }

  body() {
    const { recorder, moments, problems, report } = this;
    this.frame.append(recorder.picture.root, this.message);
    this.verdict.append(this.parts.ring.root, h("div.verdict-body", this.verdictWords, this.rubric), this.noVerdict);
    moments.add("The score", this.verdict, this.drawNotYet);
    moments.add("The feed", this.feed.root, (_, byReader) => this.drawFeed(byReader));
    this.fences.add("The problems", problems.root, (_, run) => problems.update(run, report.view !== null));
    this.fences.add("The report", report.root, (snapshot, run) => report.update(snapshot, run, problems.all.reports)); // loads before the page is shown
    this.fences.add("The recorder", recorder.root, (_, run) => recorder.update(run, host(shown(run.snapshot))));
    this.clocks.add("The recorder", recorder.root, () => recorder.drawTime());
    return h(
      "div.run-columns",
      h(
        "div.run-left",
        this.fences.add("The reason", this.failure, this.drawFailure),
        this.fences.add("The score", this.verdict, this.drawVerdict),
        moments.add("The picture", this.frame, this.drawMessage),
        recorder.root,
        problems.root,
        report.root,
        this.clocks.add("The facts", this.facts, this.drawFacts),
      ),
      h("section.run-feed", h("h2", "Live Feed ", this.count), this.fences.add("The feed", this.feed.root, (_, run) => this.feed.update(run))),
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
      this.problem.say(reasonOf(error));
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
    const titles = { forbidden: "You may not watch this test", deleted: "This test was deleted" };
    const title = titles[/** @type {keyof titles} */ (code)] ?? "No such test";
    document.title = `${title} · testcast`;
    this.show();
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
    this.drawnTo = run.seq;
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
    this.failure.replaceChildren(heading, known ? "" : h("p", why), this.noFailure);
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

  // ── the moment ──

  /** @param {ShownMoment} moment @param {boolean} byReader */
  drawMoment({ live, snapshot }, byReader) {
    const run = shown(snapshot);
    this.moments.draw(live ? null : run, byReader, run);
    if (!this.run) return;
    this.drawElapsed(shown(this.run.snapshot), now());
    this.report.view?.drawPictures();
    if (!this.report.loading && isWhole(this.run, this.drawnTo, this.recorder.frames)) this.show();
  }

  /** @param {Shown} run @param {number} at ms */
  drawElapsed(run, at) {
    setText(this.elapsed, this.recorder.head.live ? elapsed(run, at) : this.recorder.elapsedText);
  }

  /** While the handle is dragged, the feed follows a few times a second: its lines take longer to lay out. @param {boolean} byReader */
  drawFeed(byReader) {
    const { recorder, feed } = this;
    const show = () => feed.showMoment(recorder.head.live ? null : recorder.eventSeq, byReader);
    if (!recorder.track.dragging) return show();
    this.following ??= setTimeout(() => {
      this.following = undefined;
      show();
    }, FOLLOW_MS);
  }

  /** @param {Shown|null} past @param {boolean} _ @param {Shown} run at the moment */
  drawMessage = (past, _, run) => {
    setText(this.message, run.message);
    // Without a picture it would only repeat what stands above it.
    const said = past === null && (run.status === "failed" || run.score !== undefined);
    this.frame.hidden = said && !this.recorder.pictured;
  };

  /** At a moment before them, the score and the failure are a line: the picture is what the reader wants to see. @param {Shown|null} past */
  drawNotYet = (past) => {
    const { elapsedText } = this.recorder;
    const noScore = past !== null && past.score === undefined;
    const noFailure = past !== null && past.status !== "failed";
    setAttr(this.verdict, "data-not-yet", noScore);
    setAttr(this.failure, "data-not-yet", noFailure);
    this.noVerdict.hidden = !noScore;
    this.noFailure.hidden = !noFailure;
    setText(this.noVerdict, noScore ? `No score yet at ${elapsedText}` : "");
    setText(this.noFailure, noFailure ? `Not ended yet at ${elapsedText}` : "");
  };

  /** The reader has chosen a line, a phase or a problem: the page shows its moment. @param {number} seq */
  choose(seq, number = 0) {
    this.recorder.seek({ seq, number });
    this.recorder.settle({ step: true });
    this.feed.reveal(seq);
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

  /** The newest picture of a run that has none over time. @param {Blob} picture */
  showPicture(picture) {
    return this.recorder.showShot(picture);
  }

  // ── the address ──

  readAddress() {
    const { group, sought } = feedState(location.search);
    this.feed.tools.set(group, sought);
    this.wanted = momentOf(location.hash);
    if (this.run && this.wanted) this.goToWanted();
    else if (this.run) this.recorder.goLive();
  }

  rememberFeed() {
    const { group, search } = this.feed.tools;
    remember(withFeedState(location.search, { group, sought: search.value.trim() }));
  }

  /** Shows the moment that the address asks for, as soon as its event is here. Its picture may come later. */
  goToWanted() {
    const { run, wanted } = this;
    if (!run || !wanted || run.refusal !== null) return;
    const replayed = run.epoch !== null && run.seq >= run.syncedTo; // what was published before the page was opened
    if (!replayed || (run.seq < wanted.seq && behind(run))) return;
    this.wanted = null;
    const found = wanted.number > 0 || this.feed.reveal(wanted.seq);
    this.problem.say(found ? "" : `This run has no event ${wanted.seq}, or it is no longer kept.`);
    if (!found) return;
    this.recorder.seek(wanted);
    this.feed.reveal(this.recorder.eventSeq);
  }
}
