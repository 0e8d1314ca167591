/** Which runs the list shows: the filter, the search, and how far the pages of the edge's list reach. Pure. */

import { byAge } from "../client/runs.js";
import { shown } from "./coerce.js";
import { host, labelText, reasonOf, titleOf } from "./format.js";

/** Runs that one "Show more" adds. */
const PAGE = 100;

/**
 * @typedef {object} Reach how far the pages of one filter and search reach
 * @property {string|undefined} cursor of the next page; undefined: there is none
 * @property {Snapshot|null} oldest    of the last page; null: nothing is missing
 */

export class Listing {
  /**
   * @param {import("../client/runs.js").Runs<any>} runs
   * @param {Actions["list"]} fetchPage
   */
  constructor(runs, fetchPage) {
    this.runs = runs;
    this.fetchPage = fetchPage;
    /** @type {Filter} */
    this.filter = "all";
    /** In lower case. */
    this.query = "";
    /** Null: as far as the whole list reaches. @type {Reach|null} */
    this.reach = null;
    /** Whether a page is being fetched, or will be as soon as the reader stops typing. */
    this.asking = false;
    /** Why the last page could not be fetched. */
    this.problem = "";
    this.breaks = 0;
  }

  /** Whether the list shows a run. @param {Run<any>} run */
  shows(run) {
    const { snapshot } = run;
    const oldest = this.reach ? this.reach.oldest : this.runs.oldest;
    return (
      passes(snapshot, this.filter) &&
      matches(run, this.query) &&
      // Runs below `oldest` are hidden: others between them may be missing.
      (oldest === null || run.pinned || run.opened || byAge(snapshot, oldest) <= 0)
    );
  }

  /** Whether the edge has more runs for this filter and search. */
  get hasMore() {
    return this.reach ? this.reach.cursor !== undefined : this.runs.oldest !== null;
  }

  /**
   * Changes the filter and the search. `asking` is true afterwards if the edge has to be asked for older runs.
   *
   * @param {Filter} filter
   * @param {string} query in lower case
   */
  choose(filter, query) {
    Object.assign(this, { filter, query, reach: null, problem: "" });
    this.asking = this.runs.oldest !== null && (filter !== "all" || query !== "");
  }

  /** Whether the list did not overlap the known runs since the last call: the pages must be fetched again. */
  takeBreak() {
    const broken = this.breaks !== this.runs.breaks;
    this.breaks = this.runs.breaks;
    return broken;
  }

  /**
   * Fetches the next page of this filter and search. Sets `asking` before it returns.
   *
   * @returns {Promise<boolean>} false if the filter or the search has changed since: the page is not needed any more
   */
  async ask() {
    const { filter, query } = this;
    const current = () => filter === this.filter && query === this.query;
    this.asking = true;
    this.problem = "";
    try {
      const { nextCursor, tests } = await this.nextPage();
      if (current()) this.reach = { cursor: nextCursor, oldest: nextCursor ? (tests.at(-1) ?? null) : null };
    } catch (error) {
      if (current()) this.problem = reasonOf(error);
    }
    if (!current()) return false;
    this.asking = false;
    return true;
  }

  /** @returns {Promise<ListAnswer>} */
  async nextPage() {
    const { filter, query, reach, runs } = this;
    const pinned = filter === "pinned" || undefined;
    const status = filter === "all" || pinned ? undefined : filter;
    // Without filter and search, the pages down to `oldest` contain only runs that are here already.
    const here = !reach && filter === "all" && !query ? runs.oldest : null;
    const params = { limit: PAGE, query: query || undefined, status, pinned };
    let answer = await this.fetchPage({ ...params, cursor: reach?.cursor });
    while (here && answer.nextCursor && byAge(answer.tests.at(-1) ?? here, here) <= 0)
      answer = await this.fetchPage({ ...params, cursor: answer.nextCursor });
    return answer;
  }
}

/** @param {Snapshot} snapshot @param {Filter} filter */
const passes = (snapshot, filter) =>
  filter === "all" || (filter === "pinned" ? snapshot.pinned === true : shown(snapshot).look === filter);

/** @param {Run<any>} run @param {string} query in lower case */
function matches({ snapshot }, query) {
  if (!query) return true;
  const run = shown(snapshot);
  const labels = Object.entries(run.labels).map(labelText);
  const texts = [titleOf(run), host(run), run.gameUrl, run.testId, run.message, ...labels];
  return texts.some((text) => text?.toLowerCase().includes(query));
}
