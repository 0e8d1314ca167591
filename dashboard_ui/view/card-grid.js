/**
 * The cards of the main page. Draws the cards on the screen at once and the others later. A run has a card once it is
 * shown: an edge tells of thousands that are running, and the page shows the newest hundred.
 */

import { now } from "../client/now.js";
import { Card } from "./card.js";
import { h, setAttr } from "./dom.js";
import { report, unshown } from "./fence.js";

/** New cards per frame. Hundreds at once would delay the cards on the screen. */
const NEW_PER_FRAME = 50;
/** Cards off the screen are drawn in groups of this size, at this interval. */
const FAR_AT_ONCE = 25;
const FAR_EVERY_MS = 250;

export class CardGrid {
  /**
   * @param {import("../client/runs.js").Runs<import("./feed-log.js").FeedLog>} runs
   * @param {Actions} actions
   * @param {(run: ShownRun) => boolean} shows whether the card of a run is visible
   * @param {(run: ShownRun) => boolean} awaits whether a run needs a card even if it is hidden: to be opened
   */
  constructor(runs, actions, shows, awaits) {
    this.runs = runs;
    this.actions = actions;
    this.shows = shows;
    this.needs = (/** @type {ShownRun} */ run) => shows(run) || awaits(run);
    /** @type {Map<string, Card>} */
    this.cards = new Map();
    /** The visible cards. @type {Set<string>} */
    this.shown = new Set();
    /** Cards on or near the screen. Only these follow the clock and get screenshots. @type {Set<Element>} */
    this.near = new Set();
    /** Cards off the screen that do not show the current state of their runs. @type {Set<string>} */
    this.outdated = new Set();
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.catchingUp = undefined;
    this.watcher = new IntersectionObserver((entries) => this.scrolled(entries), { rootMargin: "200px" });
    /** Null: the cards are not grouped. @type {import("./groups.js").Groups|null} */
    this.groups = null;
    this.root = h("section.grid", { "aria-label": "Tests" });
  }

  /** @param {import("./groups.js").Groups|null} groups */
  setGroups(groups) {
    this.groups?.clear();
    this.groups = groups;
    this.judgeAll();
    this.place();
  }

  /** @param {string} testId */
  elementOf(testId) {
    return this.cards.get(testId)?.root;
  }

  /**
   * Draws what has changed.
   *
   * @param {string[]} ids
   * @returns {string[]} the ids that are left for the next frame
   */
  update(ids) {
    let made = 0;
    /** @type {string[]} */
    const later = [];
    const drawn = ids.filter((id) => {
      const [run, card] = [this.runs.get(id), this.cards.get(id)];
      if (!run || run.pinned) return true;
      if (!card) return this.needs(run) && (++made <= NEW_PER_FRAME || void later.push(id));
      if (this.near.has(card.root) || card.status !== run.snapshot.status) return true;
      this.outdated.add(id);
      return false;
    });
    this.draw(drawn);
    if (this.outdated.size) this.catchingUp ??= setTimeout(() => this.catchUp(), FAR_EVERY_MS);
    return later;
  }

  /** Draws some of the cards off the screen. */
  catchUp() {
    this.catchingUp = undefined;
    this.draw([...this.outdated].slice(0, FAR_AT_ONCE));
    if (this.outdated.size) this.catchingUp = setTimeout(() => this.catchUp(), FAR_EVERY_MS);
  }

  /** @param {string[]} ids */
  draw(ids) {
    let placed = true;
    for (const id of ids) {
      this.outdated.delete(id);
      const run = this.runs.get(id);
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
      this.drawCard(run, card);
    }
    if (!placed || (this.groups && ids.length)) this.place();
  }

  /** A card that can't be drawn says so, and the others are drawn. @param {ShownRun} run @param {Card} card */
  drawCard(run, card) {
    try {
      card.update(run);
      this.judge(run, card);
    } catch (error) {
      report(`test ${run.id}`, error);
      card.root.hidden = false;
      this.shown.add(run.id);
      setAttr(card.root, "data-unshown", true);
      card.root.replaceChildren(h("p", h("a", { href: card.link.getAttribute("href") }, unshown(`Test ${run.id}`))));
    }
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

  /** Puts the cards in order. Moves only those out of place: an element that is moved loses the focus. */
  place() {
    /** @type {Element|null} */
    let at = this.root.firstElementChild;
    for (const root of this.inOrder()) {
      if (root === at) at = at.nextElementSibling;
      else this.root.insertBefore(root, at);
    }
  }

  /** The cards, newest first, or game by game with headings. @returns {Element[]} */
  inOrder() {
    const runs = this.runs.newestFirst();
    const elementOf = (/** @type {ShownRun} */ { id }) => this.elementOf(id);
    const drawn = runs.map(elementOf).filter((element) => element !== undefined);
    if (!this.groups) return drawn;
    const visible = runs.filter(({ id }) => this.shown.has(id));
    return [...new Set([...this.groups.arrange(visible, elementOf), ...drawn])]; // the hidden cards come last
  }

  /**
   * Shows or hides every card, after another choice of runs.
   *
   * @returns {string[]} the runs that need a card now and have none yet, for `update`
   */
  judgeAll() {
    const without = [];
    for (const run of this.runs) {
      const card = this.cards.get(run.id);
      if (card) this.judge(run, card);
      else if (this.needs(run)) without.push(run.id);
    }
    if (this.groups) this.place();
    return without;
  }

  /** @param {ShownRun} run @param {Card} card */
  judge(run, card) {
    const shown = this.shows(run);
    setAttr(card.root, "hidden", !shown || (this.groups?.hides(run) ?? false));
    if (shown) this.shown.add(run.id);
    else this.shown.delete(run.id);
  }

  /** @param {IntersectionObserverEntry[]} entries */
  scrolled(entries) {
    for (const { target, isIntersecting } of entries) {
      target.toggleAttribute("data-near", isIntersecting);
      if (isIntersecting) this.near.add(target);
      else this.near.delete(target);
    }
    const changed = entries.map(({ target }) => target.getAttribute("data-test-id") ?? "");
    this.draw(changed.filter((id) => this.outdated.has(id)));
    this.tick(now()); // the clocks of cards off the screen stand still
  }

  /** @returns {Array<[ShownRun, Card]>} the visible cards near the screen */
  visible() {
    return [...this.near].flatMap((root) => {
      const id = root.getAttribute("data-test-id") ?? "";
      const [run, card] = [this.runs.get(id), this.cards.get(id)];
      return run && card && !card.root.hidden ? [/** @type {[ShownRun, Card]} */ ([run, card])] : [];
    });
  }

  /** @param {number} at ms, by the edge's clock */
  tick(at) {
    for (const [run, card] of this.visible()) card.tick(run, at);
  }
}
