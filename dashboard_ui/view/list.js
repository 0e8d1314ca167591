/** The main page: the form, the toolbar and the cards. */

import { CardGrid } from "./card-grid.js";
import { h, setText } from "./dom.js";
import { count, reasonOf } from "./format.js";
import { Listing } from "./listing.js";
import { SubmitForm } from "./submit.js";
import { Toolbar } from "./toolbar.js";

export class ListPage {
  /**
   * @param {import("../client/runs.js").Runs<import("./feed-log.js").FeedLog>} runs
   * @param {Actions} actions
   */
  constructor(runs, actions) {
    this.runs = runs;
    this.listing = new Listing(runs, actions.list);
    this.grid = new CardGrid(runs, actions, (run) => this.listing.shows(run));
    this.toolbar = new Toolbar((waitMs) => this.choose(waitMs));
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.typing = undefined;

    this.none = h("p.nothing", { hidden: true });
    this.moreButton = h("button.secondary", { onclick: () => this.ask() }, "Show more");
    this.moreText = h("p");
    this.moreProblem = h("p.form-error", { role: "alert" });
    this.more = h("div.more", { hidden: true }, this.moreText, this.moreButton, this.moreProblem);
    this.empty = emptyState(actions);
    this.skeleton = h("div.grid", { "aria-hidden": "true" }, ...[1, 2, 3].map(() => h("div.card.skeleton")));
    this.root = h(
      "main",
      { id: "main" },
      h("h1.visually-hidden", "Tests"),
      new SubmitForm(actions.submit, (testId) => this.reveal(testId)).root,
      this.toolbar.root,
      this.skeleton,
      this.empty,
      this.grid.root,
      this.none,
      this.more,
    );
  }

  /**
   * Draws what has changed.
   *
   * @param {string[]} ids
   * @returns {string[]} the ids that are left for the next frame
   */
  update(ids) {
    const later = this.grid.update(ids);
    if (this.listing.takeBreak()) this.choose();
    this.drawFrame();
    // A reader who has loaded more pages keeps them.
    if (!this.listing.reach && !this.listing.asking) this.runs.shed();
    return later;
  }

  /** Applies another filter or search: to the known runs now, to the edge's after `waitMs`. @param {number} [waitMs] */
  choose(waitMs = 0) {
    clearTimeout(this.typing);
    this.listing.choose(this.toolbar.filter, this.toolbar.words.toLowerCase());
    if (this.listing.asking) this.typing = setTimeout(() => this.ask(), waitMs);
    this.draw();
  }

  /** Shows the next page of this filter and search. */
  async ask() {
    const asked = this.listing.ask();
    this.drawFrame();
    if (await asked) requestAnimationFrame(() => this.draw()); // in the frame that makes the cards
  }

  /** Shows or hides every card, and draws the page around them. */
  draw() {
    this.grid.judgeAll();
    this.drawFrame();
  }

  /** Draws the page around the cards: counts and texts. */
  drawFrame() {
    const { listing, runs, toolbar } = this;
    const known = runs.listed || runs.size > 0;
    const shown = this.grid.shown.size;
    const status = listing.filter === "all" ? "" : `${listing.filter} `;
    toolbar.draw(runs.counts);
    this.skeleton.hidden = known;
    this.empty.hidden = !known || runs.size > 0;
    toolbar.root.hidden = runs.size === 0;
    this.none.hidden = runs.size === 0 || shown > 0 || listing.asking;
    this.moreButton.disabled = listing.asking;
    setText(this.none, `No ${status}test${listing.query ? ` matches “${toolbar.words}”` : ""}.`);
    setText(this.moreProblem, listing.problem);
    this.more.hidden = !listing.hasMore && !listing.problem;
    setText(this.moreText, listing.asking ? "Loading…" : `The newest ${count(shown, `${status}test`)} shown.`);
  }

  /** Shows a test that the reader has submitted, whatever the filter. @param {string} testId */
  reveal(testId) {
    this.toolbar.showAll();
    requestAnimationFrame(() => this.grid.cards.get(testId)?.root.scrollIntoView({ block: "nearest" }));
  }
}

/** The page before the first test, with a button that tests the demo game if there is one. @param {Actions} actions */
function emptyState(actions) {
  const problem = h("p.form-error", { role: "alert" });
  const button = h("button.primary", { hidden: true }, "Test the demo game");
  const demo = actions.demoGameUrl().catch(() => undefined);
  void demo.then((url) => (button.hidden = !url));
  button.addEventListener("click", async () => {
    button.disabled = true;
    setText(problem, "");
    try {
      await actions.submit({ gameUrl: await demo, title: "Demo game" });
    } catch (error) {
      setText(problem, reasonOf(error));
    }
    button.disabled = false;
  });
  return h(
    "section.empty",
    { hidden: true },
    h("p", "No tests yet: paste the address of a web game above and watch an agent play it here."),
    button,
    problem,
  );
}
