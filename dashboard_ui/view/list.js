/** The main page: the form, the toolbar and the cards. */

import { listState, withListState } from "./address.js";
import { CardGrid } from "./card-grid.js";
import { loadFeed } from "./card.js";
import { h, setText } from "./dom.js";
import { count, reasonOf } from "./format.js";
import { remember } from "./history.js";
import { Listing } from "./listing.js";
import { SubmitForm } from "./submit.js";
import { Toolbar } from "./toolbar.js";
import { Views } from "./views.js";

/** Time between the first list and the request for the modules of a feed, ms. */
const FEED_AFTER_MS = 1000;

export class ListPage {
  /**
   * @param {import("../client/runs.js").Runs<import("./feed-log.js").FeedLog>} runs
   * @param {Actions} actions
   */
  constructor(runs, actions) {
    this.runs = runs;
    this.listing = new Listing(runs, actions.list);
    const open = (/** @type {string} */ testId, /** @type {boolean} */ opened) => {
      actions.open(testId, opened);
      this.rememberOpen(testId, opened);
    };
    const shows = (/** @type {ShownRun} */ run) => this.listing.shows(run);
    this.grid = new CardGrid(runs, { ...actions, open }, shows, ({ id }) => this.awaited.has(id));
    this.views = new Views(runs, this.grid, {
      shows,
      hasMore: () => this.listing.hasMore,
      onShown: () => this.root && this.shown(),
    });
    this.watch = actions.watch;
    this.toolbar = new Toolbar((waitMs) => this.chosen(waitMs));
    this.toolbar.search.before(this.views.bar);
    /** The tests whose feeds are open, and those that the address asks for and that are not here yet. */
    this.open = new Set(/** @type {string[]} */ ([]));
    this.awaited = new Set(/** @type {string[]} */ ([]));
    this.asked = new Set(/** @type {string[]} */ ([]));
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.typing = undefined;
    /** Whether the first list was drawn. */
    this.drawn = false;

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
      actions.may("submit")
        ? new SubmitForm(actions, (testId) => this.reveal(testId)).root
        : h("p.no-submit", actions.whyNoSubmit()),
      this.toolbar.root,
      this.skeleton,
      this.empty,
      this.views.root,
      this.none,
      this.more,
    );
    this.readAddress();
    addEventListener("popstate", () => this.readAddress());
  }

  // ── the address ──

  /** Shows what the address says: after a reload, or after Back. */
  readAddress() {
    const { filter, query, open } = listState(location.search);
    this.toolbar.set(filter, query);
    for (const id of this.open) if (!open.includes(id)) this.grid.cards.get(id)?.setOpened(false);
    for (const id of open) if (!this.open.has(id)) this.awaited.add(id);
    this.choose();
    this.openAwaited();
  }

  /** @param {{step?: boolean}} [how] */
  writeAddress(how) {
    const open = [...this.open, ...this.awaited];
    const state = { filter: this.toolbar.filter, query: this.toolbar.words, open };
    remember(withListState(location.search, state), how);
  }

  /** @param {string} testId @param {boolean} opened */
  rememberOpen(testId, opened) {
    this.awaited.delete(testId);
    if (opened) this.open.add(testId);
    else this.open.delete(testId);
    this.writeAddress();
  }

  /** Opens the feeds that the address names. A test that the list does not contain is asked for. */
  openAwaited() {
    if (!this.runs.listed) return;
    for (const id of this.awaited) {
      const card = this.grid.cards.get(id);
      if (card) card.setOpened(true, { quietly: true });
      else if (!this.runs.has(id) && !this.asked.has(id)) {
        this.asked.add(id);
        this.watch(id).catch(() => this.rememberOpen(id, false)); // there is no such test
      }
    }
  }

  /** The reader has chosen another filter or search. @param {number} waitMs */
  chosen(waitMs) {
    this.writeAddress({ step: waitMs === 0 }); // before a feed that opens now writes its own
    this.choose(waitMs);
  }

  /**
   * Draws what has changed.
   *
   * @param {string[]} ids
   * @returns {string[]} the ids that are left for the next frame
   */
  update(ids) {
    const later = this.views.update(ids);
    if (this.listing.takeBreak()) this.choose();
    this.shown();
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
    this.views.judgeAll();
    this.drawFrame();
  }

  /** The view may show other runs than before, and have cards that it had not. */
  shown() {
    if (this.awaited.size > 0) this.openAwaited();
    this.drawFrame();
  }

  /** Draws the page around the cards: counts and texts. */
  drawFrame() {
    const { listing, runs, toolbar } = this;
    const known = runs.listed || runs.size > 0;
    const shown = this.views.shown.size;
    const status = listing.filter === "all" ? "" : `${listing.filter} `;
    if (known && !this.drawn) {
      this.drawn = true;
      setTimeout(() => loadFeed().catch(() => {}), FEED_AFTER_MS); // when it is opened, it is here
    }
    toolbar.draw(runs.counts);
    this.skeleton.hidden = known;
    this.empty.hidden = !known || runs.size > 0;
    toolbar.root.hidden = runs.size === 0;
    this.none.hidden = runs.size === 0 || shown > 0 || listing.asking || !this.views.active;
    this.moreButton.disabled = listing.asking;
    setText(this.none, `No ${status}test${listing.query ? ` matches “${toolbar.words}”` : ""}.`);
    setText(this.moreProblem, listing.problem);
    this.more.hidden = !listing.hasMore && !listing.problem;
    setText(this.moreText, listing.asking ? "Loading…" : `The newest ${count(shown, `${status}test`)} shown.`);
  }

  /** Shows a test that the reader has submitted, whatever the filter. @param {string} testId */
  reveal(testId) {
    this.toolbar.showAll();
    requestAnimationFrame(() => this.views.elementOf(testId)?.scrollIntoView({ block: "nearest" }));
  }
}

/** The page before the first test, with a button that tests the demo game if there is one. @param {Actions} actions */
function emptyState(actions) {
  const problem = h("p.form-error", { role: "alert" });
  const button = h("button.primary", { hidden: true }, "Test the demo game");
  const demo = actions.config().then(({ demoGameUrl }) => demoGameUrl, () => undefined);
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
    h(
      "p",
      actions.may("submit")
        ? "No tests yet: paste the address of a web game above and watch an agent play it here."
        : "No tests yet. A test appears here as soon as somebody submits one.",
    ),
    actions.may("submit") && button,
    problem,
  );
}
