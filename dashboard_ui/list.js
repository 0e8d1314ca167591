/** The main page: the form, the filters, the cards. */

import { Card } from "./card.js";
import { h, setAttr, setText } from "./dom.js";
import { count, host, reasonOf, titleOf } from "./format.js";
import { now } from "./now.js";
import { byAge, total } from "./store.js";
import { submitForm } from "./submit.js";

/** @type {Array<[Status|"all", string]>} */
const FILTERS = [
  ["all", "All"],
  ["running", "Running"],
  ["queued", "Queued"],
  ["completed", "Completed"],
  ["failed", "Failed"],
];

/** Runs that one "Show more" brings. */
const PAGE = 100;
/** After the last key of a search, before the edge is asked, ms. */
const TYPING_MS = 250;
/** New cards that one frame makes: hundreds at once would hold up those on the screen. */
const NEW_PER_FRAME = 50;
/** Cards off the screen that are drawn at a time, and how long after the last ones, ms: nobody sees them. */
const FAR_AT_ONCE = 25;
const FAR_EVERY_MS = 250;

export class ListPage {
  /**
   * @param {import("./store.js").Store} store
   * @param {Actions} actions
   */
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    /** @type {Map<string, Card>} */
    this.cards = new Map();
    /** @type {Status|"all"} */
    this.filter = "all";
    /** What is shown, in the order of the page. @type {Set<string>} */
    this.shown = new Set();
    /** Cards on or near the screen: the only ones that the clock and the pictures move. @type {Set<Element>} */
    this.near = new Set();
    /** Cards off the screen that are not drawn as their runs are now. @type {Set<string>} */
    this.outdated = new Set();
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.catchingUp = undefined;
    this.watcher = new IntersectionObserver((entries) => this.scrolled(entries), { rootMargin: "200px" });
    /** @type {unknown} the counts that are drawn */
    this.drawnCounts = undefined;
    /** How far this filter and search reach; null: as far as the whole list does. @type {Reach|null} */
    this.reach = null;
    this.asking = false;
    this.breaks = 0;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.typing = undefined;

    this.form = submitForm(actions.submit, (testId) => this.reveal(testId));
    this.filters = new Map(FILTERS.map(([status, name]) => [status, this.filterButton(status, name)]));
    this.search = h("input.search", {
      type: "search",
      placeholder: "Search",
      "aria-label": "Search tests",
      "aria-keyshortcuts": "/",
      oninput: () => this.choose(TYPING_MS),
    });
    this.grid = h("section.grid", { "aria-label": "Tests" });
    this.none = h("p.nothing", { hidden: true });
    this.moreButton = h("button.secondary", { onclick: () => this.ask() }, "Show more");
    this.moreText = h("p");
    this.moreProblem = h("p.form-error", { role: "alert" });
    this.more = h("div.more", { hidden: true }, this.moreText, this.moreButton, this.moreProblem);
    this.empty = this.emptyState();
    this.toolbar = h(
      "div.toolbar",
      { hidden: true },
      h("div.filters", { role: "group", "aria-label": "Filter by status" }, ...this.buttons()),
      this.search,
    );
    this.skeleton = h("div.grid", { "aria-hidden": "true" }, ...[1, 2, 3].map(() => h("div.card.skeleton")));
    this.root = h(
      "main",
      { id: "main" },
      h("h1.visually-hidden", "Tests"),
      this.form.root,
      this.toolbar,
      this.skeleton,
      this.empty,
      this.grid,
      this.none,
      this.more,
    );

    document.addEventListener("keydown", (event) => {
      const typing = event.target instanceof Element && event.target.matches("input, textarea, select");
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.search.focus();
    });
  }

  buttons() {
    return [...this.filters.values()].map(({ button }) => button);
  }

  /** @param {Status|"all"} status @param {string} name */
  filterButton(status, name) {
    const number = h("span.count", "0");
    const button = h(
      "button.filter",
      {
        "data-filter": status,
        "aria-pressed": String(status === "all"),
        onclick: () => {
          this.filter = status;
          for (const [other, entry] of this.filters) setAttr(entry.button, "aria-pressed", String(other === status));
          this.choose();
        },
      },
      name,
      number,
    );
    return { button, number };
  }

  emptyState() {
    const problem = h("p.form-error", { role: "alert" });
    const button = h("button.primary", { hidden: true }, "Test the demo game");
    const demo = this.actions.demoGameUrl().catch(() => undefined);
    // No demo, no button: the form above works all the same.
    void demo.then((url) => (button.hidden = !url));
    button.addEventListener("click", async () => {
      button.disabled = true;
      setText(problem, "");
      try {
        await this.actions.submit({ gameUrl: await demo, title: "Demo game" });
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

  /**
   * Draws what has changed; what has not costs nothing.
   *
   * @param {string[]} ids
   * @returns {string[]} those that are left for the next frame
   */
  update(ids) {
    let made = 0;
    /** @type {string[]} */
    const later = [];
    const drawn = ids.filter((id) => {
      const [run, card] = [this.store.runs.get(id), this.cards.get(id)];
      if (!run || run.pinned) return true;
      if (!card) return ++made <= NEW_PER_FRAME || void later.push(id);
      if (this.near.has(card.root) || card.status !== run.snapshot.status) return true;
      this.outdated.add(id);
      return false;
    });
    this.drawCards(drawn);
    if (this.outdated.size) this.catchingUp ??= setTimeout(() => this.catchUp(), FAR_EVERY_MS);
    if (this.breaks !== this.store.breaks) {
      this.breaks = this.store.breaks;
      this.choose();
    }
    this.drawFrame();
    if (!this.reach && !this.asking) this.store.shed(); // who turns pages wants them
    return later;
  }

  /** Some of those off the screen. */
  catchUp() {
    this.catchingUp = undefined;
    this.drawCards([...this.outdated].slice(0, FAR_AT_ONCE));
    if (this.outdated.size) this.catchingUp = setTimeout(() => this.catchUp(), FAR_EVERY_MS);
  }

  /** @param {string[]} ids */
  drawCards(ids) {
    let placed = true;
    for (const id of ids) {
      this.outdated.delete(id);
      const run = this.store.runs.get(id);
      let card = this.cards.get(id);
      if (!run) {
        if (card) this.remove(id, card);
        continue;
      }
      if (!card) {
        card = new Card(run, this.actions);
        this.cards.set(id, card);
        this.watcher.observe(card.root);
        placed = false;
      }
      placed &&= card.createdAt === run.snapshot.createdAt;
      card.update(run);
      this.judge(run, card);
    }
    if (!placed) this.place();
  }

  /** @param {string} id @param {Card} card */
  remove(id, card) {
    this.watcher.unobserve(card.root);
    this.near.delete(card.root);
    this.shown.delete(id);
    this.cards.delete(id);
    card.screen.clear();
    card.root.remove();
  }

  /** Puts the cards in order. Moves only what is out of place: an element that is moved loses its focus. */
  place() {
    /** @type {Element|null} */
    let at = this.grid.firstElementChild;
    for (const run of this.store.list()) {
      const root = this.cards.get(run.id)?.root;
      if (!root) continue;
      if (root === at) at = at.nextElementSibling;
      else this.grid.insertBefore(root, at);
    }
  }

  /** Whether filter, search and reach let a run be seen. @param {Run} run @param {Card} card */
  judge(run, card) {
    const { snapshot } = run;
    const oldest = this.reach ? this.reach.oldest : this.store.oldest;
    const shown =
      (this.filter === "all" || snapshot.status === this.filter) &&
      matches(run, this.query) &&
      // Farther down runs may be missing: a list with holes would look like one without.
      (oldest === null || run.pinned || run.opened || byAge(snapshot, oldest) <= 0);
    if (card.root.hidden === shown) card.root.hidden = !shown;
    if (shown) this.shown.add(run.id);
    else this.shown.delete(run.id);
  }

  get query() {
    return this.search.value.trim().toLowerCase();
  }

  /** All cards anew: another filter or search, or one that reaches farther. */
  draw() {
    for (const [id, card] of this.cards) {
      const run = this.store.runs.get(id);
      if (run) this.judge(run, card);
    }
    this.drawFrame();
  }

  /** Another filter or search: at once what is here, then what the edge knows beyond it. @param {number} [waitMs] */
  choose(waitMs = 0) {
    this.reach = null;
    clearTimeout(this.typing);
    this.asking = this.store.oldest !== null && (this.filter !== "all" || this.query !== "");
    if (this.asking) this.typing = setTimeout(() => this.ask(), waitMs);
    setText(this.moreProblem, "");
    this.draw();
  }

  /** The next page of this filter and search. */
  async ask() {
    const { filter, query, reach } = this;
    const { oldest } = this.store;
    const params = { limit: PAGE, cursor: reach?.cursor, query: query || undefined };
    const status = filter === "all" ? undefined : filter;
    const current = () => filter === this.filter && query === this.query;
    this.asking = true;
    setText(this.moreProblem, "");
    this.drawFrame();
    try {
      let answer = await this.actions.list({ ...params, status });
      // What is here already, the first page and all that has come since, shows nothing new: go on behind it.
      const here = !reach && !status && !query ? oldest : null;
      while (here && answer.nextCursor && byAge(answer.tests.at(-1) ?? here, here) <= 0)
        answer = await this.actions.list({ ...params, cursor: answer.nextCursor });
      if (current()) {
        const { nextCursor, tests } = answer;
        this.reach = { cursor: nextCursor, oldest: nextCursor ? (tests.at(-1) ?? null) : null };
      }
    } catch (error) {
      if (current()) setText(this.moreProblem, reasonOf(error));
    }
    if (!current()) return; // the next one is on its way
    this.asking = false;
    requestAnimationFrame(() => this.draw()); // in the frame that makes the cards
  }

  /** Counts and words: the page around the cards. */
  drawFrame() {
    const { counts, oldest, listed, runs } = this.store;
    if (counts !== this.drawnCounts) {
      this.drawnCounts = counts;
      for (const [status, { number }] of this.filters) {
        const n = counts && (status === "all" ? total(counts) : counts[status]);
        setText(number, n ? n.toLocaleString("en") : "0");
      }
    }
    const known = listed || runs.size > 0;
    const shown = this.shown.size;
    this.skeleton.hidden = known;
    this.empty.hidden = !known || runs.size > 0;
    this.toolbar.hidden = runs.size === 0;
    this.none.hidden = runs.size === 0 || shown > 0 || this.asking;
    this.moreButton.disabled = this.asking;
    const status = this.filter === "all" ? "" : `${this.filter} `;
    setText(this.none, `No ${status}test${this.query ? ` matches “${this.search.value.trim()}”` : ""}.`);
    const rest = this.reach ? this.reach.cursor !== undefined : oldest !== null;
    this.more.hidden = !rest && !this.moreProblem.textContent;
    setText(this.moreText, this.asking ? "Loading…" : `The newest ${count(shown, `${status}test`)} shown.`);
  }

  /** A test of our own: shown whatever the filter. @param {string} testId */
  reveal(testId) {
    this.search.value = "";
    this.filters.get("all")?.button.click();
    requestAnimationFrame(() => this.cards.get(testId)?.root.scrollIntoView({ block: "nearest" }));
  }

  /** @param {IntersectionObserverEntry[]} entries */
  scrolled(entries) {
    for (const { target, isIntersecting } of entries) {
      target.toggleAttribute("data-near", isIntersecting);
      if (isIntersecting) this.near.add(target);
      else this.near.delete(target);
    }
    const come = entries.map(({ target }) => target.getAttribute("data-test-id") ?? "");
    this.drawCards(come.filter((id) => this.outdated.has(id)));
    this.tick(now()); // what came into sight has stood still since it left
  }

  /** @returns {Array<[Run, Card]>} what is near the screen, from the top; for the clock and the pictures */
  visible() {
    return [...this.near].flatMap((root) => {
      const id = root.getAttribute("data-test-id") ?? "";
      const [run, card] = [this.store.runs.get(id), this.cards.get(id)];
      return run && card && !card.root.hidden ? [/** @type {[Run, Card]} */ ([run, card])] : [];
    });
  }

  /** @param {number} at ms, by the edge's clock */
  tick(at) {
    for (const [run, card] of this.visible()) card.tick(run, at);
  }
}

/**
 * @typedef {object} Reach how far the pages of one filter and search go
 * @property {string|undefined} cursor of the next page; undefined: that was the last
 * @property {Snapshot|null} oldest    of the last page; null: nothing is missing
 */

/** @param {Run} run @param {string} query in lower case */
function matches({ snapshot }, query) {
  return (
    !query ||
    [titleOf(snapshot), host(snapshot), snapshot.gameUrl, snapshot.testId, snapshot.message].some((text) =>
      text?.toLowerCase().includes(query),
    )
  );
}
