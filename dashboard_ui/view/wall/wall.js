/** All running tests as pictures that fill the window. */

import { BASE } from "../../client/rpc.js";
import { h } from "../dom.js";
import { report } from "../fence.js";
import { Choice, filterOf } from "./choice.js";
import { layout, moved } from "./layout.js";
import { Tile } from "./tile.js";

/** Between two pictures, px. */
const GAP = 2;

export class Wall {
  /** @param {import("../../client/runs.js").Runs<any>} runs */
  constructor(runs) {
    this.runs = runs;
    this.choice = new Choice(filterOf(location.search));
    /** In the order of the wall: the run that is older is before the other. @type {Map<string, Tile>} */
    this.tiles = new Map();
    this.columns = 1;
    const { gameUrl, labels } = this.choice.filter;
    const which = gameUrl || labels.length ? "test that this wall shows" : "test";
    this.empty = h("p.wall-empty", { hidden: true }, `No ${which} is running: a picture appears here as soon as one starts.`);
    this.grid = h("nav.wall-grid", { "aria-label": "Running tests" });
    this.root = h("main", { id: "main", class: "wall" }, h("h1.visually-hidden", "Wall of running tests"), this.grid, this.empty);
    this.grid.addEventListener("focusin", ({ target }) => this.makeTabStop(target));
    document.addEventListener("keydown", (event) => this.pressed(event));
    new ResizeObserver(() => this.arrange()).observe(this.root);
  }

  /** The runs that have a tile. @returns {Array<[any, Tile]>} */
  visible() {
    return [...this.tiles].flatMap(([id, tile]) => {
      const run = this.runs.get(id);
      return run ? [/** @type {[any, Tile]} */ ([run, tile])] : [];
    });
  }

  /** @returns {string[]} */
  get running() {
    return [...this.choice.shown].filter(([, endedAt]) => endedAt === null).map(([id]) => id);
  }

  /** Draws what has changed. @param {string[]} ids @param {number} now ms */
  update(ids, now) {
    let changed = false;
    for (const id of ids) {
      const run = this.runs.get(id);
      const verdict = this.choice.judge(id, run?.snapshot ?? null, now);
      if (verdict === "none") continue;
      if (verdict === "left") changed = this.remove(id) || changed;
      else if (run) changed = this.draw(run, verdict === "ended") || changed;
    }
    this.leave(now);
    if (changed) this.place();
    this.empty.hidden = this.tiles.size > 0 || !this.runs.listed;
  }

  /** @param {any} run @param {boolean} flashes @returns {boolean} whether its tile is new */
  draw(run, flashes) {
    let tile = this.tiles.get(run.id);
    const isNew = !tile;
    if (!tile) this.tiles.set(run.id, (tile = new Tile(run.id)));
    try {
      tile.update(run);
      if (flashes) tile.flash();
    } catch (error) {
      report(`test ${run.id}`, error);
    }
    return isNew;
  }

  /** Removes the runs that ended a while ago. @param {number} now ms */
  leave(now) {
    const gone = this.choice.leave(now);
    for (const id of gone) this.remove(id);
    if (gone.length) this.place();
    this.empty.hidden = this.tiles.size > 0 || !this.runs.listed;
  }

  /** @param {string} id @returns {boolean} whether it had a tile */
  remove(id) {
    const tile = this.tiles.get(id);
    if (!tile) return false;
    const focused = document.activeElement === tile.root;
    const at = this.order().indexOf(tile);
    tile.clear();
    this.tiles.delete(id);
    const order = this.order();
    if (focused) order[Math.min(at, order.length - 1)]?.root.focus();
    return true;
  }

  /** @returns {Tile[]} oldest first: a new run moves none of the others */
  order() {
    const at = (/** @type {Tile} */ tile) => this.runs.get(tile.id)?.snapshot.createdAt ?? 0;
    return [...this.tiles.values()].sort((a, b) => at(a) - at(b) || (a.id < b.id ? -1 : 1));
  }

  /** Puts the tiles in order. An element that is moved loses the focus: only those out of place are. */
  place() {
    /** @type {Element|null} */
    let at = this.grid.firstElementChild;
    for (const { root } of this.order()) {
      if (root === at) at = at.nextElementSibling;
      else this.grid.insertBefore(root, at);
    }
    if (!this.grid.querySelector('[tabindex="0"]')) this.makeTabStop(this.grid.firstElementChild);
    this.arrange();
  }

  /** Sizes the pictures to the window. */
  arrange() {
    const { clientWidth, clientHeight } = this.root;
    const { columns, width, height } = layout(this.tiles.size, clientWidth, clientHeight, GAP);
    this.columns = columns;
    this.grid.style.gridTemplateColumns = `repeat(${columns}, ${width}px)`;
    this.grid.style.gridAutoRows = `${height}px`;
    this.grid.toggleAttribute("data-small", width < 200);
  }

  // ── keys ──

  /** Tab goes to one tile, arrow keys to the others. @param {any} tile */
  makeTabStop(tile) {
    if (!(tile instanceof HTMLElement) || !tile.matches(".tile")) return;
    for (const each of this.grid.children) each.setAttribute("tabindex", each === tile ? "0" : "-1");
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    const { key, ctrlKey, metaKey, altKey } = event;
    if (ctrlKey || metaKey || altKey || document.querySelector(":popover-open")) return;
    if (key.toLowerCase() === "f") toggleFullScreen();
    else if (key.toLowerCase() === "w") location.assign(BASE);
    else if (!this.move(key)) return;
    event.preventDefault();
  }

  /** @param {string} key @returns {boolean} whether it moves */
  move(key) {
    const tiles = [...this.grid.children];
    const to = moved(key, tiles.indexOf(document.activeElement ?? this.grid), tiles.length, this.columns);
    const tile = tiles[to];
    if (tile instanceof HTMLElement) tile.focus();
    return tile !== undefined;
  }
}

export function toggleFullScreen() {
  const done = document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen?.();
  done?.catch(() => {}); // the browser refuses: the page stays as it is
}
