/** The two views of the main page, cards and table, and the buttons that choose between them. */

import { h, setAttr } from "./dom.js";
import { remember } from "./history.js";
import { recall, store } from "./storage.js";
import { saysView, viewState, withViewState } from "./view-state.js";

const KEY = "testcast.view";

/** @typedef {import("./card-grid.js").CardGrid|import("./table.js").RunTable} ListView */

export class Views {
  /**
   * @param {import("../client/runs.js").Runs<import("./feed-log.js").FeedLog>} runs
   * @param {import("./card-grid.js").CardGrid} grid
   * @param {object} hooks
   * @param {(run: ShownRun) => boolean} hooks.shows whether a run is visible
   * @param {() => boolean} hooks.hasMore whether the edge has more runs than the page shows
   * @param {() => void} hooks.onShown the view may show other runs than before
   */
  constructor(runs, grid, { shows, hasMore, onShown }) {
    this.runs = runs;
    this.grid = grid;
    this.hooks = { shows, hasMore, onShown };
    /** Made when it is first chosen. @type {import("./table.js").RunTable|null} */
    this.table = null;
    /** The view on the screen; null while the module of the table is fetched. @type {ListView|null} */
    this.active = grid;
    /** The changes that each view has not drawn. @type {Map<ListView, Set<string>>} */
    this.missed = new Map([[grid, new Set()]]);
    const button = (/** @type {string} */ name, /** @type {() => void} */ onclick) =>
      h("button.filter", { "aria-pressed": "false", onclick }, name);
    this.buttons = {
      cards: button("Cards", () => this.choose({ table: false })),
      table: button("Table", () => this.choose({ table: true })),
      grouped: button("By game", () => this.choose({ grouped: !this.state.grouped })),
    };
    const { cards, table, grouped } = this.buttons;
    this.bar = h(
      "div.view-bar",
      h("div.filters", { role: "group", "aria-label": "View" }, cards, table),
      grouped,
    );
    this.root = h("div.views", grid.root);
    const [kept] = recall(KEY);
    if (kept && !saysView(location.search)) remember(withViewState(location.search, viewState(kept)));
    this.state = viewState(location.search);
    addEventListener("popstate", () => this.show(viewState(location.search)));
    void this.show(this.state);
  }

  /** The runs that the view shows. @returns {Set<string>} */
  get shown() {
    return this.active?.shown ?? new Set();
  }

  /** The reader has chosen. @param {Partial<import("./view-state.js").ViewState>} choice */
  choose(choice) {
    const state = { ...this.state, ...choice };
    remember(withViewState(location.search, state), { step: true });
    store(KEY, [withViewState("", state)].filter(Boolean));
    void this.show(state);
  }

  /** @param {import("./view-state.js").ViewState} state */
  async show(state) {
    this.state = state;
    setAttr(this.buttons.cards, "aria-pressed", String(!state.table));
    setAttr(this.buttons.table, "aria-pressed", String(state.table));
    setAttr(this.buttons.grouped, "aria-pressed", String(state.grouped));
    try {
      const [view, groups] = await Promise.all([this.viewOf(state), state.grouped ? import("./groups.js") : null]);
      if (state !== this.state) return; // chosen again meanwhile
      this.setGroups(view, groups);
      if (view === this.table) this.table.setSort(state.sort);
      this.activate(view);
    } catch {
      if (state === this.state) this.activate(this.grid); // the edge does not answer
    }
    this.hooks.onShown();
  }

  /** @param {import("./view-state.js").ViewState} state @returns {Promise<ListView>} */
  async viewOf({ table }) {
    if (!table) return this.grid;
    if (this.table) return this.table;
    if (!this.shown.size) this.active = null; // no card is made that nobody sees
    return this.makeTable();
  }

  async makeTable() {
    const { RunTable } = await import("./table.js");
    if (this.table) return this.table;
    this.table = new RunTable(this.runs, this.hooks.shows, (sort) => this.choose({ sort }));
    this.missed.set(this.table, new Set([...this.runs].map(({ id }) => id)));
    return this.table;
  }

  /** @param {ListView} view @param {typeof import("./groups.js")|null} groups */
  setGroups(view, groups) {
    if (Boolean(view.groups) === Boolean(groups)) return;
    const onToggle = () => view.judgeAll();
    const wrap = (/** @type {HTMLElement} */ heading) =>
      h("div.row.row-group", { role: "row" }, h("div.cell", { role: "cell", "aria-colspan": "8" }, heading));
    const { hasMore } = this.hooks;
    view.setGroups(groups && new groups.Groups({ hasMore, onToggle, ...(view === this.table && { wrap }) }));
  }

  /** @param {ListView} view */
  activate(view) {
    if (view === this.active) return;
    this.active = view;
    this.root.replaceChildren(view.root);
    this.catchUp();
  }

  /** Draws what the view has missed, some of it in each frame. */
  catchUp() {
    const { active } = this;
    const missed = active && this.missed.get(active);
    if (!active || !missed) return;
    const ids = [...missed, ...active.judgeAll()];
    missed.clear();
    for (const id of active.update(ids)) missed.add(id);
    this.hooks.onShown();
    if (missed.size) requestAnimationFrame(() => this.catchUp());
  }

  /**
   * Draws what has changed.
   *
   * @param {string[]} ids
   * @returns {string[]} the ids that are left for the next frame
   */
  update(ids) {
    for (const [view, missed] of this.missed) if (view !== this.active) for (const id of ids) missed.add(id);
    return this.active?.update(ids) ?? [];
  }

  /** Shows or hides every run, after another choice of runs. */
  judgeAll() {
    this.catchUp();
  }

  /** @param {string} testId */
  elementOf(testId) {
    return this.active?.elementOf(testId);
  }

  /** The visible cards near the screen. */
  visible() {
    return this.active === this.grid ? this.grid.visible() : [];
  }

  /** @param {number} at ms, by the edge's clock */
  tick(at) {
    this.active?.tick(at);
  }
}
