/** The headings of the games in a grouped list. Each can be collapsed, and stays so. */

import { BASE } from "../client/rpc.js";
import { h, icon, setAttr, setText } from "./dom.js";
import { count } from "./format.js";
import { gameOf, gamesOf } from "./grouping.js";
import { recall, store } from "./storage.js";

const KEY = "testcast.collapsed";
/** The most collapsed games that are remembered. */
const MAX_COLLAPSED = 100;

/** Shared by the cards and the table. */
const collapsed = new Set(recall(KEY).slice(-MAX_COLLAPSED));

export class Groups {
  /**
   * @param {object} how
   * @param {() => boolean} how.hasMore whether the edge has more runs than the page shows
   * @param {() => void} how.onToggle a game was collapsed or opened
   * @param {(heading: HTMLElement) => HTMLElement} [how.wrap] puts a heading into a row
   */
  constructor({ hasMore, onToggle, wrap = (heading) => heading }) {
    this.hasMore = hasMore;
    this.onToggle = onToggle;
    this.wrap = wrap;
    /** @type {Map<string, Heading>} */
    this.headings = new Map();
  }

  /** Whether the run's game is collapsed. @param {ShownRun} run */
  hides(run) {
    return collapsed.has(gameOf(run.snapshot));
  }

  /**
   * The elements of the list in order, with a heading before each game. The headings are brought up to date.
   *
   * @param {ShownRun[]} runs that are visible, in the order of the list
   * @param {(run: ShownRun) => Element|undefined} elementOf
   * @returns {Element[]}
   */
  arrange(runs, elementOf) {
    const games = gamesOf(runs);
    const known = new Set(games.map(({ key }) => key));
    for (const [key, { root }] of this.headings) {
      if (known.has(key)) continue;
      root.remove();
      this.headings.delete(key);
    }
    return games.flatMap((game) => {
      const elements = collapsed.has(game.key) ? [] : game.runs.map(elementOf);
      return [this.headingOf(game).root, ...elements.filter((element) => element !== undefined)];
    });
  }

  /** @param {import("./grouping.js").Game} game */
  headingOf(game) {
    let heading = this.headings.get(game.key);
    if (!heading) {
      heading = new Heading(game.key, () => this.toggle(game.key), this.wrap);
      this.headings.set(game.key, heading);
    }
    heading.update(game, this.hasMore());
    return heading;
  }

  /** @param {string} key */
  toggle(key) {
    if (!collapsed.delete(key)) collapsed.add(key);
    store(KEY, [...collapsed].slice(-MAX_COLLAPSED));
    this.onToggle();
  }

  clear() {
    for (const { root } of this.headings.values()) root.remove();
    this.headings.clear();
  }
}

class Heading {
  /** @param {string} key @param {() => void} toggle @param {(heading: HTMLElement) => HTMLElement} wrap */
  constructor(key, toggle, wrap) {
    this.title = h("span.group-title");
    this.button = h("button.quiet.toggle", { onclick: toggle }, icon("chevron"), this.title);
    this.address = h("span.host");
    this.facts = h("span.group-facts");
    this.history = h("a.group-history", { hidden: !key, href: `${BASE}games?url=${encodeURIComponent(key)}` }, "History");
    this.root = wrap(h("div.group", h("h2", this.button), this.address, this.facts, this.history));
  }

  /** @param {import("./grouping.js").Game} game @param {boolean} more */
  update({ key, title, address, runs, lastScore }, more) {
    setAttr(this.button, "aria-expanded", String(!collapsed.has(key)));
    setText(this.title, title);
    setText(this.address, title === address ? "" : address);
    setAttr(this.address, "title", key || null);
    const score = lastScore === undefined ? "" : ` · last score ${Math.round(lastScore)}`;
    setText(this.facts, `${count(runs.length, "run")}${more ? " shown" : ""}${score}`);
    setAttr(this.history, "aria-label", `History of ${title}`);
  }
}
