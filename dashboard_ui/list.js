/** The main page: the form, the filters, the cards. */

import { Card } from "./card.js";
import { h, setAttr, setText } from "./dom.js";
import { host, reasonOf, titleOf } from "./format.js";
import { submitForm } from "./submit.js";

/** @type {Array<[Status|"all", string]>} */
const FILTERS = [
  ["all", "All"],
  ["running", "Running"],
  ["queued", "Queued"],
  ["completed", "Completed"],
  ["failed", "Failed"],
];

/** Runs that an edge lists. */
const LISTED = 100;

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

    this.form = submitForm(actions.submit, (testId) => this.reveal(testId));
    this.filters = new Map(FILTERS.map(([status, name]) => [status, this.filterButton(status, name)]));
    this.search = h("input.search", {
      type: "search",
      placeholder: "Search",
      "aria-label": "Search tests",
      "aria-keyshortcuts": "/",
      oninput: () => this.draw(),
    });
    this.grid = h("section.grid", { "aria-label": "Tests" });
    this.none = h("p.nothing", { hidden: true });
    this.more = h("p.nothing", { hidden: true }, `The newest ${LISTED} tests are shown.`);
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
          this.draw();
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

  /** Draws what has changed. @param {string[]} ids */
  update(ids) {
    for (const id of ids) {
      const run = this.store.runs.get(id);
      const card = this.cards.get(id);
      if (!run) {
        card?.root.remove();
        this.cards.delete(id);
      } else if (card) {
        card.update(run);
      } else {
        const fresh = new Card(run, this.actions);
        this.cards.set(id, fresh);
        fresh.update(run);
      }
    }
    this.draw();
  }

  /** Order, filter, counts: the page around the cards. */
  draw() {
    const runs = this.store.list();
    const query = this.search.value.trim().toLowerCase();
    let shown = 0;
    /** @type {Element|null} */
    let at = this.grid.firstElementChild;
    for (const run of runs) {
      const root = this.cards.get(run.id)?.root;
      if (!root) continue;
      const visible = (this.filter === "all" || run.snapshot.status === this.filter) && matches(run, query);
      if (root.hidden === visible) root.hidden = !visible;
      shown += Number(visible);
      // Moves only what is out of place: an element that is moved loses its focus.
      if (root === at) at = at.nextElementSibling;
      else this.grid.insertBefore(root, at);
    }
    for (const [status, { number }] of this.filters) {
      const n = status === "all" ? runs.length : runs.filter((run) => run.snapshot.status === status).length;
      setText(number, String(n));
    }
    const known = this.store.listed || runs.length > 0;
    this.skeleton.hidden = known;
    this.empty.hidden = !known || runs.length > 0;
    this.toolbar.hidden = runs.length === 0;
    this.none.hidden = runs.length === 0 || shown > 0;
    setText(
      this.none,
      `No ${this.filter === "all" ? "" : `${this.filter} `}test${query ? ` matches “${this.search.value.trim()}”` : ""}.`,
    );
    this.more.hidden = runs.length < LISTED;
  }

  /** A test of our own: shown whatever the filter. @param {string} testId */
  reveal(testId) {
    this.search.value = "";
    this.filters.get("all")?.button.click();
    requestAnimationFrame(() => this.cards.get(testId)?.root.scrollIntoView({ block: "nearest" }));
  }

  /** @returns {Array<[Run, Card]>} what is near the screen, for the pictures */
  visible() {
    return this.store.list().flatMap((run) => {
      const card = this.cards.get(run.id);
      if (!card || card.root.hidden) return [];
      const { top, bottom } = card.root.getBoundingClientRect();
      return bottom > -200 && top < innerHeight + 200 ? [/** @type {[Run, Card]} */ ([run, card])] : [];
    });
  }

  /** @param {number} now */
  tick(now) {
    for (const [id, card] of this.cards) {
      const run = this.store.runs.get(id);
      if (run) card.tick(run, now);
    }
  }
}

/** @param {Run} run @param {string} query in lower case */
function matches({ snapshot }, query) {
  return (
    !query ||
    [titleOf(snapshot), host(snapshot), snapshot.gameUrl, snapshot.testId, snapshot.message].some((text) =>
      text?.toLowerCase().includes(query),
    )
  );
}
