/** The page of all games, or of the history of one: the runs with an address, a label, or both. */

import { now } from "../client/now.js";
import { BASE, rpc } from "../client/rpc.js";
import { total } from "../client/runs.js";
import { comparisonOf, historyOf } from "./addresses.js";
import { shown } from "./coerce.js";
import { when } from "./dates.js";
import { h, icon, setAttr, setText, setTime } from "./dom.js";
import { count, host, reasonOf, titleOf, webUrl } from "./format.js";
import { PastTable } from "./past-table.js";
import { pastOf } from "./past.js";
import { ScoreChart, sparkline } from "./score-chart.js";

/** Rows that one "Show more" adds. */
const PAGE = 50;
/** While runs change, a list that is here is asked for again this often at most, ms. */
const AGAIN_MS = 5000;
const MAX_PAGE = 200;
const UNKNOWN = "Not known: the agent of a run lists no problems or controls, or the run goes on or ended before they were listed.";

/** @param {import("../client/runs.js").Runs<any>} runs @param {string} search of the address */
export function gamesPage(runs, search = location.search) {
  const said = new URLSearchParams(search);
  const [url, label] = [said.get("url") ?? "", said.get("label") ?? ""];
  return url || label ? new HistoryPage(runs, url, label) : new GamesPage();
}

/**
 * The first pages of a list, as far as it was loaded before.
 *
 * @template T
 * @param {(cursor: string|undefined, limit: number) => Promise<{items: T[], nextCursor?: string}>} fetchPage
 * @param {number} size how much of it is here
 * @returns {Promise<{items: T[], cursor: string|undefined}>} at least `size` items, or all of them
 */
export async function firstPages(fetchPage, size) {
  /** @type {T[]} */
  const items = [];
  /** @type {string|undefined} */
  let cursor;
  do {
    const page = await fetchPage(cursor, Math.min(MAX_PAGE, Math.max(PAGE, size - items.length)));
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== undefined && items.length < size);
  return { items, cursor };
}

/** A list that is asked for a page at a time. @abstract */
class Paged {
  constructor() {
    /** Whether what is here may be old, and when it was last asked for, by `performance.now()`. */
    this.changed = false;
    this.askedAt = -Infinity;
    /** @type {string|undefined} */
    this.cursor = undefined;
    this.problem = h("p.form-error", { role: "alert" });
    this.none = h("p.nothing", { hidden: true });
    this.moreButton = h("button.secondary", { hidden: true, onclick: () => this.ask() }, "Show more");
    this.more = h("div.more", this.problem, this.moreButton);
    this.asking = false;
  }

  /** @returns {Promise<void>} */
  async ask() {
    this.asking = this.moreButton.disabled = true;
    this.askedAt = performance.now();
    try {
      await this.take(this.cursor);
      setText(this.problem, "");
      this.moreButton.hidden = this.cursor === undefined;
      setText(this.moreButton, "Show more");
    } catch (error) {
      setText(this.problem, reasonOf(error));
      this.moreButton.hidden = false;
      setText(this.moreButton, "Try again");
    }
    this.asking = this.moreButton.disabled = false;
  }

  /** @param {string|undefined} _cursor @returns {Promise<void>} */
  async take(_cursor) {}

  /** Asks for all that is here once more, if it may be old. */
  async refresh() {
    if (!this.changed || this.asking || performance.now() - this.askedAt < AGAIN_MS) return;
    Object.assign(this, { changed: false, asking: true, askedAt: performance.now() });
    try {
      await this.takeAgain();
      this.moreButton.hidden = this.cursor === undefined;
    } catch {
      this.changed = true; // the next time
    }
    this.asking = false;
  }

  /** @returns {Promise<void>} */
  async takeAgain() {}
}

/** @implements {HistoryView} */
export class GamesPage extends Paged {
  constructor() {
    super();
    /** @type {Map<string, GameRow>} */
    this.rows = new Map();
    this.counted = h("span.count");
    this.list = h("ul.games");
    const back = h("a.back", { href: BASE }, icon("back"), "All tests");
    this.root = h("main", { id: "main" }, back, h("h1.page-title", "Games ", this.counted), this.list, this.none, this.more);
    document.title = "Games · testcast";
  }

  start() {
    return this.ask();
  }

  /** @param {string[]} ids of the runs that have changed */
  update(ids) {
    this.changed ||= ids.length > 0;
  }

  /** @param {number} at ms, by the edge's clock */
  tick(at) {
    for (const row of this.rows.values()) row.tick(at);
    void this.refresh();
  }

  /** @param {string|undefined} cursor */
  async take(cursor) {
    const { items, nextCursor } = await this.page(cursor, PAGE);
    this.cursor = nextCursor;
    this.list.append(...items.map((game) => this.row(game).root));
    this.draw();
  }

  async takeAgain() {
    const { items, cursor } = await firstPages((from, limit) => this.page(from, limit), this.rows.size);
    this.cursor = cursor;
    const here = new Set(items.map(({ gameUrl }) => gameUrl));
    for (const [gameUrl, row] of this.rows) {
      if (here.has(gameUrl)) continue;
      row.root.remove();
      this.rows.delete(gameUrl);
    }
    let at = this.list.firstElementChild;
    for (const game of items) {
      const { root } = this.row(game);
      if (root === at) at = at.nextElementSibling;
      else this.list.insertBefore(root, at);
    }
    this.draw();
  }

  /** @param {string|undefined} cursor @param {number} limit @returns {Promise<{items: any[], nextCursor?: string}>} */
  async page(cursor, limit) {
    const answer = await rpc("getGames", { limit, cursor }, { get: true });
    setText(this.counted, `(${answer.total.toLocaleString("en")})`);
    return { items: answer.games, nextCursor: answer.nextCursor };
  }

  draw() {
    this.none.hidden = this.rows.size > 0;
    setText(this.none, "No game has been tested yet.");
    this.tick(now());
  }

  /** @param {any} game */
  row(game) {
    let row = this.rows.get(game.gameUrl);
    if (!row) this.rows.set(game.gameUrl, (row = new GameRow(game.gameUrl)));
    row.update(game);
    return row;
  }
}

class GameRow {
  /** @param {string} gameUrl */
  constructor(gameUrl) {
    this.lastAt = 0;
    this.title = h("a.game-title", { href: historyOf(gameUrl) });
    this.address = h("span.game-address", gameUrl);
    this.line = h("span.game-line");
    this.score = h("span.game-score");
    this.runs = h("span.game-runs");
    this.time = h("time.game-when");
    this.root = h("li.game", h("div.game-names", this.title, this.address), this.line, this.score, this.runs, this.time);
  }

  /** @param {any} game an element of the answer to getGames */
  update(game) {
    this.lastAt = game.lastAt;
    setText(this.title, titleOf({ ...game, testId: game.lastTestId }));
    const running = game.active ? `, ${game.active.toLocaleString("en")} not ended` : "";
    setText(this.runs, `${count(game.runs, "test")}${running}`);
    const known = typeof game.lastScore === "number";
    setText(this.score, known ? String(Math.round(game.lastScore)) : "–");
    setAttr(this.score, "title", known ? "The newest score" : "No test of it has a score");
    this.line.replaceChildren(sparkline(game.scores));
  }

  /** @param {number} at */
  tick(at) {
    setTime(this.time, this.lastAt, when(this.lastAt, at));
  }
}

/** @implements {HistoryView} */
export class HistoryPage extends Paged {
  /** @param {import("../client/runs.js").Runs<any>} known @param {string} url @param {string} label `name=value` */
  constructor(known, url, label) {
    super();
    this.known = known;
    this.url = url;
    this.label = label;
    /** @type {Map<string, Snapshot>} */
    this.runs = new Map();
    /** The oldest run down to which the list is complete. */
    this.reach = Infinity;
    this.matching = 0;
    /** How many runs the edge had. When they become fewer, one of these may have been deleted. */
    this.total = 0;
    this.chart = new ScoreChart();
    this.table = new PastTable((ids) => this.drawCompare(ids));
    this.title = h("h1.page-title", label || host({ gameUrl: url }));
    this.address = h("a.host", { rel: "noreferrer noopener", target: "_blank", href: webUrl(url)?.href }, url);
    this.counted = h("span");
    this.compare = h("button.primary", { onclick: () => this.openComparison(), disabled: true }, "Compare");
    this.hint = h("span.hint", { role: "status" });
    this.bar = h("div.past-bar", { hidden: true }, this.compare, this.hint);
    this.note = h("p.hint", { hidden: true }, UNKNOWN);
    const back = h("a.back", { href: `${BASE}games` }, icon("back"), "All games");
    const meta = h("p.meta", url && this.address, url && h("span.sep", { "aria-hidden": "true" }, "·"), this.counted);
    const head = h("header.past-head", this.title, meta);
    const parts = [this.chart.root, this.bar, this.table.root, this.note, this.none, this.more];
    this.root = h("main", { id: "main" }, back, head, ...parts);
    document.title = `${label || host({ gameUrl: url })} · testcast`;
    this.drawCompare([]);
  }

  start() {
    return this.ask();
  }

  /** @param {string|undefined} cursor */
  async take(cursor) {
    const { items, nextCursor } = await this.page(cursor, PAGE);
    this.put(items, nextCursor);
    this.draw();
  }

  async takeAgain() {
    const before = [...this.runs.keys()];
    const { items, cursor } = await firstPages((from, limit) => this.page(from, limit), before.length);
    const here = new Set(items.map(({ testId }) => testId));
    for (const id of before) if (!here.has(id)) this.runs.delete(id);
    this.put(items, cursor);
    this.draw();
  }

  /** @param {string|undefined} cursor @param {number} limit @returns {Promise<{items: Snapshot[], nextCursor?: string}>} */
  async page(cursor, limit) {
    const wanted = { gameUrl: this.url || undefined, labels: this.label ? [this.label] : undefined };
    const { tests, nextCursor, matching } = await rpc("listTests", { ...wanted, limit, cursor }, { get: true });
    this.matching = matching ?? tests.length;
    return { items: tests, nextCursor };
  }

  /** @param {Snapshot[]} runs to the end of a page @param {string|undefined} cursor of the next page */
  put(runs, cursor) {
    for (const run of runs) this.keep(run);
    this.cursor = cursor;
    this.reach = cursor ? (runs.at(-1)?.createdAt ?? this.reach) : 0;
  }

  /** @param {Snapshot} run */
  keep(run) {
    const before = this.runs.get(run.testId);
    if (!before || before.seq <= run.seq) this.runs.set(run.testId, run);
  }

  /** Takes what the list of all tests tells of these. @param {string[]} ids of the runs that have changed */
  update(ids) {
    const before = this.runs.size;
    let changed = false;
    for (const id of ids) {
      const snapshot = this.known.get(id)?.snapshot;
      if (!snapshot) changed = this.runs.delete(id) || changed;
      else if (this.runs.has(id) || (snapshot.createdAt > this.reach && this.matches(shown(snapshot)))) {
        this.keep(snapshot);
        changed = true;
      }
    }
    this.matching += this.runs.size - before;
    const { counts } = this.known;
    if (counts && total(counts) < this.total) this.changed = true;
    this.total = counts ? total(counts) : this.total;
    if (changed) this.draw();
  }

  /** @param {Shown} run */
  matches(run) {
    const [name, ...value] = this.label.split("=");
    return (!this.url || run.gameUrl === this.url) && (!this.label || run.labels[name] === value.join("="));
  }

  draw() {
    const past = pastOf([...this.runs.values()].map(shown));
    const runs = past.map(({ run }) => run);
    const at = now();
    const newest = runs[0];
    if (newest && !this.label) {
      setText(this.title, titleOf(newest));
      document.title = `${titleOf(newest)}: history · testcast`;
    }
    this.chart.update(runs, at);
    this.table.update(past, at, this.label !== "");
    setText(this.counted, count(this.matching, "test"));
    this.bar.hidden = runs.length < 2;
    this.note.hidden = past.every(({ problems, controls }) => problems && controls);
    this.none.hidden = runs.length > 0;
    setText(this.none, this.label ? `No test has the label ${this.label}.` : "No test of this game is known.");
  }

  /** @param {number} _at */
  tick(_at) {
    if ([...this.runs.values()].some((run) => !run.finishedAt)) this.draw();
    void this.refresh();
  }

  /** @param {string[]} ticked */
  drawCompare(ticked) {
    this.compare.disabled = ticked.length !== 2;
    setText(this.hint, ["Tick two tests to compare them.", "Tick one more test.", "Two tests are ticked."][ticked.length]);
  }

  openComparison() {
    const [a, b] = [...this.table.ticked].sort((x, y) => this.createdAt(x) - this.createdAt(y));
    location.assign(comparisonOf(a, b));
  }

  /** @param {string} testId */
  createdAt(testId) {
    return this.runs.get(testId)?.createdAt ?? 0;
  }
}
